"""What a log posterior is where it was not evaluated, learned from where it was.

Densities learned from weighted samples are as good as there are effective samples; a regression
of log posteriors learns from every likelihood, the low ones too, so it tells more of the shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import expit, logsumexp

from autolens_ml.inference.curved import CurvedDensity

_N_MEMBERS = 4
_WIDTH = 64
_STEPS, _BATCH = 1000, 256
_LEARNING_RATE, _WEIGHT_DECAY = 1e-2, 1e-3
# Points matter by the posterior to this power, and not at all below a depth: where nothing weighs
# there is no need to be right.
_POWER, _DEPTH = 0.2, 12.0
# Networks see no farther than this many widths.
_REACH = 30.0
_CHUNK = 8192


@dataclass(frozen=True)
class Surrogate:
    """An ensemble of networks that predicts log posteriors.

    A curved Gaussian and what networks add to it, in the coordinates that straighten it.

    Parameters
    ----------
    curved
        What straightens.
    shift, scale
        From the output of a network to what is added.
    matrices, biases
        Of the layers of all K members, shapes (K, n_in, n_out) and (K, 1, n_out).
    """

    curved: CurvedDensity
    shift: float
    scale: float
    matrices: list[np.ndarray]
    biases: list[np.ndarray]

    @classmethod
    def fitted_to(
        cls,
        z: np.ndarray,
        log_posterior: np.ndarray,
        weights: np.ndarray,
        rng: np.random.Generator,
    ) -> Surrogate:
        """The ensemble of evaluated points.

        Parameters
        ----------
        z, log_posterior
            The points, shape (n, D), and their finite log posteriors, shape (n,).
        weights
            Importance weights, shape (n,), that make the curved Gaussian.
        rng
            For starts and batches.
        """
        curved = CurvedDensity.fitted_to(z, weights)
        y, log_gaussian = _straightened(curved, z)
        added = log_posterior - log_gaussian
        depth = log_posterior.max() - log_posterior - 0.5 * z.shape[1]
        used = depth < _DEPTH
        shift, scale = float(added[used].mean()), float(max(added[used].std(), 1e-6))
        matrices, biases = _trained(
            y[used],
            (added[used] - shift) / scale,
            np.exp(-_POWER * depth[used]),
            int(rng.integers(2**62)),
        )
        return cls(curved, shift, scale, matrices, biases)

    def log_posterior(self, z: np.ndarray) -> np.ndarray:
        """Predictions, (n, D) -> (n,): of members that disagree the higher ones count most."""
        return logsumexp(self.of_members(z), axis=0) - np.log(_N_MEMBERS)

    def of_members(self, z: np.ndarray) -> np.ndarray:
        """Predictions of every member, (n, D) -> (K, n)."""
        return np.concatenate(
            [self._of_chunk(z[i : i + _CHUNK]) for i in range(0, len(z), _CHUNK)], axis=1
        )

    def _of_chunk(self, z: np.ndarray) -> np.ndarray:
        y, log_gaussian = _straightened(self.curved, z)
        return log_gaussian + self.shift + self.scale * self._outputs(y).astype(float)

    def _outputs(self, y: np.ndarray) -> np.ndarray:
        x = y.astype(np.float32)
        *inner, (last, bias) = zip(self.matrices, self.biases, strict=True)
        for matrix, shift in inner:
            x = x @ matrix + shift
            x = x * expit(x)
        return (x @ last + bias)[..., 0]


def _straightened(curved: CurvedDensity, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Straight coordinates, (n, D), and the log of the Gaussian in them up to a constant, (n,)."""
    y, log_widths = curved.straightened(z)
    log_gaussian = -np.sum(0.5 * y**2 + log_widths, axis=-1)
    return np.clip(y, -_REACH, _REACH), log_gaussian


def _trained(
    y: np.ndarray, target: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Matrices and biases of the members."""
    import torch  # only where there is something to learn: it takes seconds to load

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the layers are small, and sums must not depend on the machine
    try:
        return _descended(y, target, weights, seed)
    finally:
        torch.set_num_threads(n_threads)


def _descended(
    y: np.ndarray, target: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """By gradient descent on mean squares."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    sizes = [y.shape[1], _WIDTH, _WIDTH, 1]
    layers = list(pairwise(sizes))

    def uniform(*shape: int) -> torch.Tensor:
        return 2.0 * torch.rand(*shape, generator=generator) - 1.0

    matrices = [uniform(_N_MEMBERS, n_in, n_out) / n_in**0.5 for n_in, n_out in layers]
    biases = [uniform(_N_MEMBERS, 1, n_out) / n_in**0.5 for n_in, n_out in layers]
    parameters = [parameter.requires_grad_() for parameter in matrices + biases]
    y, target, weights = (
        torch.as_tensor(array, dtype=torch.float32)
        for array in (y, target, weights / weights.mean())
    )
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, _STEPS)
    for _ in range(_STEPS):
        batch = torch.randint(len(y), (_N_MEMBERS, _BATCH), generator=generator)
        x = y[batch]
        for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            x = torch.baddbmm(bias, x, matrix)
            if i < len(layers) - 1:
                x = torch.nn.functional.silu(x)
        loss = (weights[batch] * (x[..., 0] - target[batch]) ** 2).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, _N_MEMBERS**0.5)
        optimizer.step()
        schedule.step()
    return (
        [matrix.detach().numpy() for matrix in matrices],
        [bias.detach().numpy() for bias in biases],
    )
