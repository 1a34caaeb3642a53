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
_WARM_UP = 100
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
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
            rng,
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
    y: np.ndarray, target: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Matrices and biases of the members, by AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).

    In numpy: torch would take longer to load than this does, and half a gigabyte.
    """
    sizes = [y.shape[1], _WIDTH, _WIDTH, 1]
    layers = list(pairwise(sizes))

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)

    matrices = [uniform(_N_MEMBERS, n_in, n_out) / n_in**0.5 for n_in, n_out in layers]
    biases = [uniform(_N_MEMBERS, 1, n_out) / n_in**0.5 for n_in, n_out in layers]
    parameters = matrices + biases
    means = [np.zeros_like(parameter) for parameter in parameters]
    squares = [np.zeros_like(parameter) for parameter in parameters]
    y, target, weights = (
        array.astype(np.float32) for array in (y, target[:, None], weights[:, None])
    )
    weights /= weights.mean()
    for step in range(1, _STEPS + 1):
        batch = rng.integers(len(y), size=(_N_MEMBERS, _BATCH))
        gradients = _gradients(matrices, biases, y[batch], target[batch], weights[batch])
        norm = np.sqrt(sum(float(np.sum(gradient**2)) for gradient in gradients) / _N_MEMBERS)
        rate = _LEARNING_RATE * min(step / _WARM_UP, 1.0) * np.cos(0.5 * np.pi * step / _STEPS) ** 2
        for parameter, gradient, mean, square in zip(
            parameters, gradients, means, squares, strict=True
        ):
            gradient /= max(norm, 1.0)
            mean += (1.0 - _BETAS[0]) * (gradient - mean)
            square += (1.0 - _BETAS[1]) * (gradient**2 - square)
            corrected = np.sqrt(square / (1.0 - _BETAS[1] ** step)) + _EPSILON
            parameter -= rate * mean / (1.0 - _BETAS[0] ** step) / corrected
            parameter *= 1.0 - rate * _WEIGHT_DECAY
    return matrices, biases


def _gradients(
    matrices: list[np.ndarray],
    biases: list[np.ndarray],
    x: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
) -> list[np.ndarray]:
    """Of the weighted mean square of every member: of all matrices, then of all biases."""
    inputs, slopes = [x], []
    for matrix, bias in zip(matrices[:-1], biases[:-1], strict=True):
        x = inputs[-1] @ matrix + bias
        gate = expit(x)
        inputs.append(x * gate)
        slopes.append(gate * (1.0 + x * (1.0 - gate)))
    of_output = 2.0 / x.shape[1] * weights * (inputs[-1] @ matrices[-1] + biases[-1] - target)
    of_matrices, of_biases = [], []
    for i in reversed(range(len(matrices))):
        of_matrices.insert(0, inputs[i].transpose(0, 2, 1) @ of_output)
        of_biases.insert(0, of_output.sum(axis=1, keepdims=True))
        if i > 0:
            of_output = of_output @ matrices[i].transpose(0, 2, 1) * slopes[i - 1]
    return of_matrices + of_biases
