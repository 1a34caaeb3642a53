"""The task of climbing posteriors: a learned optimiser trained on a population of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.learned_optimizer import LearnedOptimizer
from autolens_ml.simulate.description import population_from
from autolens_ml.training.optimizer_problems import (
    DIMENSIONS,
    Lenses,
    LensLikelihood,
    Problems,
    fitted_problems,
    lens_problems,
    warped_problems,
)
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, silent

TASK = "optimizer"

_ENTRIES = ("populations", "shares", "n_climb_steps", "n_lenses")
_FAMILIES = ("warped", "fitted", "lenses")
_N_CLIMB_STEPS, _N_LENSES = 50, 24
# Losses look back over this many steps, and no further.
_N_BACK = 25
# What is left of a displacement after a step, in derivatives: later steps make good for earlier
# ones, and losses that are propagated as if they did not (1) mislead.
_PERSISTENCE = 0.25
# Share of the points that are looked at, beside that of the best points so far, in the loss; the
# logarithms of their deficits end here: how bad a bad step is does not matter.
_SHARE_LOOKED, _WORST = 0.3, 20.0


class Optimizing(Task):
    """Learned climbs, whose loss is the logarithm of what they leave to be climbed.

    Latents of a population of models have the same prior whatever the model, and every coordinate
    has the same network: what was learned on some models serves any other. The gradient of the log
    posterior is data for the network; losses are propagated through points and memories alone
    (Andrychowicz et al. 2016, arXiv:1606.04474). The ``data`` of presets of this task are

    - ``populations``, by name, as :func:`~autolens_ml.simulate.description.population_from` takes
      them, of lenses with intensities in units of the noise;
    - ``shares``, of the families ``warped``, ``fitted`` and ``lenses`` among batches, see
      :mod:`~autolens_ml.training.optimizer_problems`;
    - ``n_climb_steps``, of every climb, 50 by default;
    - ``n_lenses``, in a batch of lenses, 24 by default: theirs are the dearer steps.

    ``network`` has the arguments of :class:`LearnedOptimizer`.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        self._shares = _shares_from(data.get("shares") or dict.fromkeys(_FAMILIES, 1.0))
        populations = data.get("populations") or {}
        if not isinstance(populations, Mapping):
            raise OptionError(f"data: populations must be by name, not {populations!r}")
        if self._shares[_FAMILIES.index("lenses")] > 0.0 and not populations:
            raise OptionError("data: needs populations, or a share of lenses that is 0")
        self.likelihoods = [_likelihood(name, values) for name, values in populations.items()]
        self._n_climb_steps = _count(data, "n_climb_steps", _N_CLIMB_STEPS)
        self._n_lenses = _count(data, "n_lenses", _N_LENSES)

    def network(self) -> LearnedOptimizer:
        """The untrained network."""
        try:
            return LearnedOptimizer(**self.preset.network)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error

    def sources(self, folder: Path, say: Say = silent) -> dict[str, _Range]:
        """Problems without end; of those for validation, ``n_validation``."""
        options = self.preset.training
        return {
            "training": _Range(self, options.n_training),
            "validation": _Range(self, options.n_validation),
        }

    def problems(self, n: int, rng: np.random.Generator) -> Problems:
        """Problems of one family drawn by its share: ``n`` formulas or ``n_lenses`` lenses."""
        family = rng.choice(_FAMILIES, p=self._shares)
        if family == "warped":
            return warped_problems(n, rng)
        if family == "fitted":
            return fitted_problems(n, rng)
        which = int(rng.integers(len(self.likelihoods)))
        return lens_problems(self.likelihoods[which], which, min(n, self._n_lenses), rng)

    def loss(self, network: LearnedOptimizer, batch: Problems) -> Tensor:
        """The mean logarithm of what climbs leave, over all their steps."""
        with torch.autocast(batch.start.device.type, enabled=False):
            return climb_loss(network, batch, self.oracle(batch), self._n_climb_steps)

    def oracle(self, problems: Problems) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """What gives log posteriors and gradients of latents, shape (n, dim)."""
        if not isinstance(problems, Lenses):
            return problems.value_and_gradient
        likelihood = self.likelihoods[int(problems.population[0])]
        maps = (problems.images, problems.noise_maps, problems.kernels)
        images = [array.cpu().numpy() for array in maps]

        def value_and_gradient(z: Tensor) -> tuple[Tensor, Tensor]:
            both = likelihood.value_and_gradient(z.cpu().numpy(), *images)
            return tuple(torch.as_tensor(array, device=z.device) for array in both)

        return value_and_gradient

    def card_fields(self) -> dict[str, Any]:
        """What goes in and comes out."""
        return {
            "instrument": {"name": "any"},
            "bands": [],
            "inputs": {
                "latents": "unit-normal, of any af.Model",
                "dimensions": list(DIMENSIONS),
                "derivatives": "gradient of the log posterior",
            },
            "outputs": {
                "parameters": ["step"],
                "populations": self.preset.data.get("populations") or {},
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Against L-BFGS and Adam from the same starts, on ``n`` fresh lenses."""
        from autolens_ml.training.optimizer_accuracy import measured

        return measured(card, n, seed, say)


def climb_loss(
    network: LearnedOptimizer,
    problems: Problems,
    value_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    n_steps: int,
) -> Tensor:
    """The mean logarithm of what climbs leave to be climbed, over all steps.

    Parameters
    ----------
    network
        What climbs.
    problems
        Starts and references.
    value_and_gradient
        Log posteriors and gradients of latents; no gradient is propagated through it.
    n_steps
        Of every climb.
    """
    start = problems.start
    value, gradient = value_and_gradient(start)
    climb = network.start(start, value, gradient)
    total = torch.zeros((), device=start.device)
    for step in range(n_steps):
        if step and step % _N_BACK == 0:
            climb = climb.detached()
        climb, z = network(climb)
        here = z.detach()
        value, gradient = value_and_gradient(here)
        usable = torch.isfinite(value) & torch.isfinite(gradient).all(dim=-1)
        slope = torch.where(usable[:, None], gradient, 0.0)
        # Of the value of a black box only its change with the point is propagated.
        value = torch.where(usable, value, torch.nan) + (slope * (z - here)).sum(-1)
        climb = network.advanced(climb, z, value, gradient)
        climb = replace(climb, z=torch.lerp(climb.z.detach(), climb.z, _PERSISTENCE))
        looked = _deficit(problems, torch.where(usable, value, climb.value.detach()))
        best = _deficit(problems, climb.value)
        mean = _SHARE_LOOKED * looked.clamp(max=_WORST) + (1.0 - _SHARE_LOOKED) * best
        total = total + mean.mean().float()
    return total / n_steps


def _deficit(problems: Problems, value: Tensor) -> Tensor:
    """The logarithm of what is left; linear where that is less than one."""
    return torch.asinh(problems.reference - value)


class _Range:
    """Problems of a task, new ones every time."""

    def __init__(self, task: Optimizing, n: int) -> None:
        self._task = task
        self._n = n

    def __len__(self) -> int:
        return self._n

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Problems:
        """As many problems as rows, whatever these are; fewer where they are lenses."""
        return self._task.problems(len(rows), rng)


def _likelihood(name: str, values: Any) -> LensLikelihood:
    if not isinstance(values, Mapping):
        raise OptionError(f"data: population {name} must be a mapping, not {values!r}")
    population = population_from(values)
    if not population.noise_units or population.stamps:
        raise OptionError(f"data: population {name} needs noise_units: true, and no stamps")
    return LensLikelihood(population)


def _shares_from(values: Any) -> np.ndarray:
    if not isinstance(values, Mapping) or set(values) - set(_FAMILIES):
        raise OptionError(f"data: shares must be of {', '.join(_FAMILIES)}, not {values!r}")
    shares = [values.get(name, 0.0) for name in _FAMILIES]
    numbers = all(isinstance(s, int | float) and not isinstance(s, bool) for s in shares)
    if not numbers or not all(0.0 <= s < np.inf for s in shares) or sum(shares) == 0.0:
        raise OptionError(f"data: shares must be numbers >= 0, not all 0, not {values!r}")
    return np.array(shares, dtype=float) / sum(shares)


def _count(data: Mapping[str, Any], name: str, default: int) -> int:
    value = data.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"data: {name} must be a whole number > 0, not {value!r}")
    return value
