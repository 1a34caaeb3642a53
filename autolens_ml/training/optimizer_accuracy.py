"""How far a learned optimiser climbs fresh lenses, beside L-BFGS and Adam from the same starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import bootstrap

from autolens_ml.exceptions import ModelError, NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.learned_optimizer import LearnedOptimizer
from autolens_ml.simulate.description import population_from
from autolens_ml.training.optimizer_problems import Lenses, LensLikelihood, lens_problems
from autolens_ml.training.task import Evaluation, Say, silent

# Gradients after which climbs are compared, and those of the headline.
GRADIENTS = (20, 50, 100)
_HEADLINE = 50
# Lenses that climb at once.
_BATCH = 16
# Learning rates of Adam, in prior standard deviations: the best for each number of gradients.
_RATES = (0.01, 0.03, 0.1)
_LEVEL = 0.95
# Differences of log posteriors below this mean nothing.
_TIE = 0.1

Posterior = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Climbs:
    """What is left to climb after some gradients, in log posterior.

    Attributes
    ----------
    left : dict
        Name of an optimiser -> array of shape (n_lenses, number of ``GRADIENTS``).
    """

    left: dict[str, np.ndarray]

    def as_dict(self) -> dict[str, Any]:
        """Quantiles over the lenses, as plain values."""
        levels = (0.25, 0.5, 0.75)
        return {
            "gradients": list(GRADIENTS),
            "quantiles": list(levels),
            "left": {
                name: np.quantile(values, levels, axis=0).T.tolist()
                for name, values in self.left.items()
            },
        }


def measured(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
    """The figures of merit of a card, on ``n`` fresh lenses of its populations.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card names no populations.
    """
    climbs = compared(stored_network(card), _likelihoods(card), n, seed, say)
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    metrics = {name: {**metric, "command": command} for name, metric in _metrics(climbs).items()}
    return Evaluation(
        card=card.with_metrics(metrics), report=climbs.as_dict(), verdict=_verdict(climbs)
    )


def compared(
    network: LearnedOptimizer,
    likelihoods: list[LensLikelihood],
    n: int,
    seed: int,
    say: Say = silent,
) -> Climbs:
    """Climb ``n`` lenses with a network, with its rule untrained, with L-BFGS and with Adam.

    Parameters
    ----------
    network
        The learned optimiser.
    likelihoods
        Of the populations, from which lenses are drawn in turn.
    n
        How many lenses.
    seed
        Of lenses and starts.
    say
        Takes a line of progress.
    """
    left: dict[str, list[np.ndarray]] = {}
    done = 0
    for problems, posterior in _batches(likelihoods, n, seed):
        start, reference = problems.start.numpy(), problems.reference.numpy()
        values = {
            "learned": learned_values(network, posterior, start),
            "untrained": learned_values(LearnedOptimizer(), posterior, start),
            "L-BFGS": _by_lbfgs(likelihoods[int(problems.population[0])], problems),
            **{f"Adam {rate:g}": adam_values(posterior, start, rate) for rate in _RATES},
        }
        for name, path in values.items():
            left.setdefault(name, []).append((reference - path[list(GRADIENTS)]).T)
        done += len(start)
        say(f"climbed {done} of {n} lenses")
    return Climbs({name: np.concatenate(parts) for name, parts in left.items()})


@torch.no_grad()
def learned_values(
    network: LearnedOptimizer, posterior: Posterior, start: np.ndarray
) -> np.ndarray:
    """Best log posteriors after each gradient, shape (1 + most of ``GRADIENTS``, n)."""
    z = torch.as_tensor(start)
    climb = network.start(z, *map(torch.as_tensor, posterior(start)))
    values = [climb.value.numpy()]
    for _ in range(max(GRADIENTS)):
        climb, z = network(climb)
        climb = network.advanced(climb, z, *map(torch.as_tensor, posterior(z.numpy())))
        values.append(climb.value.numpy())
    return np.stack(values)


def adam_values(posterior: Posterior, start: np.ndarray, rate: float) -> np.ndarray:
    """As `learned_values`, by Adam with its usual decays (Kingma & Ba 2015)."""
    z = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=rate)
    values = []
    for _ in range(1 + max(GRADIENTS)):
        value, gradient = posterior(z.detach().numpy())
        values.append(np.nan_to_num(value, nan=-np.inf))
        z.grad = -torch.as_tensor(np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
        optimizer.step()
    return np.maximum.accumulate(np.stack(values))


def lbfgs_values(posterior: Posterior, start: np.ndarray) -> np.ndarray:
    """As `learned_values`, of one start of shape (1, dim), by the L-BFGS of SciPy."""
    values: list[float] = []

    def negative(z: np.ndarray) -> tuple[float, np.ndarray]:
        if len(values) > max(GRADIENTS):
            raise StopIteration
        value, gradient = (array[0] for array in posterior(z[None]))
        values.append(value if np.isfinite(value) else -np.inf)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return 1e15, np.zeros_like(z)
        return -value, -gradient

    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-6, "maxiter": 10_000, "maxfun": 10_000}
    bounds = [(-8.0, 8.0)] * start.shape[1]
    with contextlib.suppress(StopIteration):
        minimize(negative, start[0], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    best = np.maximum.accumulate(np.array(values))
    return np.pad(best, (0, 1 + max(GRADIENTS) - len(best)), mode="edge")[:, None]


def _batches(
    likelihoods: list[LensLikelihood], n: int, seed: int
) -> Iterator[tuple[Lenses, Posterior]]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    for i, first in enumerate(range(0, n, _BATCH)):
        which = i % len(likelihoods)
        # All of one size, which is compiled once.
        problems = lens_problems(likelihoods[which], which, _BATCH, rng)
        problems = _rows(problems, slice(0, min(_BATCH, n - first)))
        yield problems, _posterior(likelihoods[which], problems)


def _posterior(likelihood: LensLikelihood, problems: Lenses) -> Posterior:
    maps = (problems.images, problems.noise_maps, problems.kernels)
    images = [array.numpy() for array in maps]
    return lambda z: likelihood.value_and_gradient(z, *images)


def _by_lbfgs(likelihood: LensLikelihood, problems: Lenses) -> np.ndarray:
    parts = []
    for i in range(len(problems.start)):
        one = _rows(problems, slice(i, i + 1))
        parts.append(lbfgs_values(_posterior(likelihood, one), one.start.numpy()))
    return np.concatenate(parts, axis=1)


def _rows(problems: Lenses, rows: slice) -> Lenses:
    return Lenses(**{name: array[rows] for name, array in vars(problems).items()})


def _likelihoods(card: Card) -> list[LensLikelihood]:
    try:
        populations = [population_from(each) for each in card.outputs["populations"].values()]
    except (KeyError, AttributeError, OptionError, ModelError) as error:
        raise NetworkError(f"{card.path}: names no lenses to measure it on") from error
    if not populations:
        raise NetworkError(f"{card.path}: names no lenses to measure it on")
    return [LensLikelihood(population) for population in populations]


def _best_adam(climbs: Climbs) -> np.ndarray:
    """Of the learning rate that is best at each number of gradients."""
    left = np.stack([values for name, values in climbs.left.items() if name.startswith("Adam")])
    best = np.argmin(np.median(left, axis=1), axis=0)
    return np.stack([left[rate, :, i] for i, rate in enumerate(best)], axis=1)


def _metrics(climbs: Climbs) -> dict[str, dict[str, Any]]:
    ours = climbs.left["learned"]
    others = {
        "lbfgs": climbs.left["L-BFGS"],
        "adam": _best_adam(climbs),
        "untrained": climbs.left["untrained"],
    }
    column = GRADIENTS.index(_HEADLINE)
    metrics = {
        f"left_after_{_HEADLINE}": _interval(ours[:, column], np.median),
        f"wins_over_lbfgs_after_{_HEADLINE}": _interval(
            _wins(ours[:, column], others["lbfgs"][:, column]), np.mean
        ),
    }
    for i, n in enumerate(GRADIENTS):
        metrics[f"left_after_{n}"] = _interval(ours[:, i], np.median)
        for name, left in others.items():
            metrics[f"left_by_{name}_after_{n}"] = _interval(left[:, i], np.median)
            metrics[f"wins_over_{name}_after_{n}"] = _interval(
                _wins(ours[:, i], left[:, i]), np.mean
            )
    return metrics


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """One where ours leaves less, a half where they are about the same."""
    return np.where(np.abs(ours - theirs) < _TIE, 0.5, (ours < theirs).astype(float))


def _interval(values: np.ndarray, statistic: Callable) -> dict[str, Any]:
    value = float(statistic(values))
    if len(values) < 2 or np.ptp(values) == 0.0:
        return {"value": value, "low": value, "high": value, "n": len(values)}
    found = bootstrap(
        (values,),
        statistic,
        confidence_level=_LEVEL,
        method="percentile",
        n_resamples=999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = min(float(found.low), value), max(float(found.high), value)
    return {"value": value, "low": low, "high": high, "n": len(values)}


def _verdict(climbs: Climbs) -> str:
    column = GRADIENTS.index(_HEADLINE)
    medians = {
        "the learned optimizer": climbs.left["learned"],
        "its untrained rule": climbs.left["untrained"],
        "L-BFGS": climbs.left["L-BFGS"],
        "Adam at its best rate": _best_adam(climbs),
    }
    words = ", ".join(f"{np.median(v[:, column]):.1f} by {k}" for k, v in medians.items())
    return f"Left of the log posterior after {_HEADLINE} gradients, medians: {words}."
