"""How well classes of substructure are told apart: AUCs, and what mass and depth do to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.smooth_fit import SmoothFits, smooth_fit_for
from autolens_ml.simulate.morphology.systems import (
    CLASSES,
    MorphologyPopulation,
    MorphologySystems,
)
from autolens_ml.training.detection import CONFIDENCE, area_under_curve
from autolens_ml.training.merit import speed_of
from autolens_ml.training.morphology import test_population_of
from autolens_ml.training.morphology_set import MorphologyBatch, MorphologySource
from autolens_ml.training.task import Evaluation, Say, silent

__all__ = [
    "FALSE_POSITIVES",
    "ClassScores",
    "Curve",
    "bootstrapped",
    "curve_against",
    "detected_share",
    "measured",
    "observed_batches",
    "peak_signal_to_noise",
    "scored",
    "separation",
    "smooth_fits",
    "with_residuals",
]

# Share of lenses without substructure that are called anomalous by mistake.
FALSE_POSITIVES = 0.01
_N_BOOTSTRAPS = 400
_N_BINS = 6
# Keeps test lenses apart from any training set with the same seed.
_STREAM = 8111


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What a classifier says to lenses whose class is known.

    Attributes
    ----------
    probabilities : ndarray
        Of the classes, shape (n, 3).
    classes : ndarray
        The true ones, indices into ``systems.CLASSES``, shape (n,).
    mass : ndarray
        Of all substructure [solar masses], shape (n,).
    signal_to_noise : ndarray
        Of the brightest pixel, shape (n,).
    """

    probabilities: np.ndarray
    classes: np.ndarray
    mass: np.ndarray
    signal_to_noise: np.ndarray

    @property
    def suspicion(self) -> np.ndarray:
        """Log odds of substructure, shape (n,)."""
        p = np.clip(self.probabilities, 1e-12, 1.0)
        return np.log(p[:, 1:].sum(axis=1)) - np.log(p[:, 0])

    def area(self, name: str) -> dict[str, float]:
        """AUC of one class against the others."""
        index = CLASSES.index(name)
        return bootstrapped(area_under_curve, self.probabilities[:, index], self.classes == index)

    def macro_area(self) -> dict[str, float]:
        """Mean of the AUCs of the classes."""

        def macro(rows: np.ndarray) -> float:
            return float(
                np.mean(
                    [
                        area_under_curve(self.probabilities[rows, i], self.classes[rows] == i)
                        for i in range(len(CLASSES))
                    ]
                )
            )

        return _interval(macro, self.classes)

    def confusion(self) -> np.ndarray:
        """Numbers of lenses of each true class (rows) called each (columns), shape (3, 3)."""
        table = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
        np.add.at(table, (self.classes, self.probabilities.argmax(axis=1)), 1)
        return table


@dataclass(frozen=True, eq=False)
class Curve:
    """A share, and what it depends on.

    Attributes
    ----------
    x : ndarray
        Means of the bins.
    value, low, high : ndarray
        The share in each, and its interval.
    n : ndarray
        Lenses in each.
    """

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray

    def as_dict(self) -> dict[str, list[float]]:
        """Plain values, for JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}


def bootstrapped(
    figure: Callable[[np.ndarray, np.ndarray], float],
    scores: np.ndarray,
    is_positive: np.ndarray,
    seed: int = 0,
) -> dict[str, float]:
    """A figure of scores, shape (n,), and of which are positive, with its 95 per cent interval."""
    return _interval(lambda rows: figure(scores[rows], is_positive[rows]), is_positive, seed)


def detected_share(
    scores: np.ndarray, is_anomalous: np.ndarray, false_positives: float = FALSE_POSITIVES
) -> float:
    """Share of anomalous lenses above the score that a few ordinary ones exceed."""
    threshold = np.quantile(scores[~is_anomalous], 1.0 - false_positives)
    return float(np.mean(scores[is_anomalous] > threshold))


def curve_against(x: np.ndarray, found: np.ndarray, n_bins: int = _N_BINS, seed: int = 0) -> Curve:
    """The share of ``found``, or the mean of any other values, in bins of equal numbers of ``x``.

    Parameters
    ----------
    x, found
        Shape (n,).
    n_bins
        Number of bins.
    seed
        Of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    bins = np.array_split(np.argsort(x, kind="stable"), n_bins)
    tails = (0.5 * (1.0 - CONFIDENCE), 0.5 * (1.0 + CONFIDENCE))
    limits = [
        np.quantile(rng.choice(found[rows], size=(_N_BOOTSTRAPS, len(rows))).mean(axis=1), tails)
        for rows in bins
    ]
    low, high = np.transpose(limits)
    return Curve(
        np.array([x[rows].mean() for rows in bins]),
        np.array([found[rows].mean() for rows in bins]),
        low,
        high,
        np.array([len(rows) for rows in bins]),
    )


def separation(scores: np.ndarray, is_anomalous: np.ndarray) -> float:
    """Wasserstein distance of anomalous from ordinary scores, in their pooled deviations."""
    deviation = np.sqrt(0.5 * (np.var(scores[is_anomalous]) + np.var(scores[~is_anomalous])))
    distance = stats.wasserstein_distance(scores[is_anomalous], scores[~is_anomalous])
    return float(distance / max(deviation, 1e-12))


def peak_signal_to_noise(batch: MorphologyBatch) -> np.ndarray:
    """Of the brightest pixel of each image, shape (n,)."""
    return (batch.images / batch.noise).amax((1, 2)).double().numpy()


def observed_batches(
    population: MorphologyPopulation, n: int, seed: int, say: Say = silent, what: str = "lenses"
) -> list[tuple[MorphologySystems, MorphologyBatch]]:
    """Test lenses and their observations, whose exposure times differ, in batches.

    Images are not turned: where the substructure is, is where the lenses have it.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM,))
    own, noise = (int(s) for s in sequence.generate_state(2))
    rng, made = np.random.default_rng(noise), []
    for systems in population.batches(n, own):
        source = MorphologySource(systems, population, augment=True, turn=False)
        made.append((systems, source.batch_from(np.arange(len(systems)), rng)))
        say(f"{what}: {sum(len(s) for s, _ in made):,} of {n:,}")
    return made


def with_residuals(
    made: list[tuple[MorphologySystems, MorphologyBatch]],
    instrument: Instrument,
    say: Say = silent,
) -> list[tuple[MorphologySystems, MorphologyBatch]]:
    """Observed lenses with what the smooth lens leaves that is fitted to each, knowing nothing."""
    fitted = []
    for systems, batch in made:
        found = smooth_fits(batch, instrument)
        residuals = torch.from_numpy(found.residuals).float()
        fitted.append((systems, replace(batch, residuals=residuals)))
        say(f"smooth fits: {sum(len(s) for s, _ in fitted):,} of {sum(len(s) for s, _ in made):,}")
    return fitted


def smooth_fits(batch: MorphologyBatch, instrument: Instrument) -> SmoothFits:
    """Smooth lenses fitted to observed ones."""
    fwhm = batch.psf_width.double().numpy() * instrument.pixel_scale
    fit = smooth_fit_for(instrument)
    return fit.fit(batch.images.double().numpy(), batch.noise.double().numpy(), fwhm)


@torch.inference_mode()
def scored(
    network: torch.nn.Module, made: list[tuple[MorphologySystems, MorphologyBatch]]
) -> ClassScores:
    """What a classifier says to observed lenses."""
    parts = [
        (
            network.probabilities(batch.images, batch.residuals).double().numpy(),
            systems.classes,
            systems.substructure_mass,
            peak_signal_to_noise(batch),
        )
        for systems, batch in made
    ]
    return ClassScores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def measured(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
    """Figures of merit of a classifier on ``n`` lenses of each class.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what it was trained on.
    """
    network = stored_network(card)
    population = test_population_of(card)
    made = observed_batches(population, len(CLASSES) * n, seed, say)
    if network.needs_fit:
        made = with_residuals(made, population.setting.instrument, say)
    scores = scored(network, made)
    figures = {"auc_macro": scores.macro_area()}
    for name in CLASSES:
        figures[f"auc_{name}"] = scores.area(name)
    for i, name in enumerate(CLASSES[1:], start=1):
        rows = np.isin(scores.classes, (0, i))
        pair = (scores.suspicion[rows], scores.classes[rows] == i)
        figures[f"tpr_1_percent_{name}"] = bootstrapped(detected_share, *pair)
        figures[f"wasserstein_{name}"] = bootstrapped(separation, *pair)
    right = scores.probabilities.argmax(axis=1) == scores.classes
    figures["accuracy"] = _interval(lambda rows: float(right[rows].mean()), scores.classes)
    first = made[0][1]
    with torch.inference_mode():
        figures["images_per_second"] = speed_of(
            lambda: network.probabilities(first.images, first.residuals), len(first.images)
        )
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    return Evaluation(
        card=card.with_metrics({k: {**v, "command": command} for k, v in figures.items()}),
        report=_report(scores),
        plots=_plots(scores, card.name),
        verdict=_verdict(figures),
    )


def dependences(scores: ClassScores) -> dict[str, Curve]:
    """Share of lenses with substructure that are detected, by class against mass and depth."""
    threshold = np.quantile(scores.suspicion[scores.classes == 0], 1.0 - FALSE_POSITIVES)
    found = (scores.suspicion > threshold).astype(float)
    curves = {}
    for i, name in enumerate(CLASSES[1:], start=1):
        rows = scores.classes == i
        mass = scores.mass[rows]
        if np.ptp(mass) > 1e-6 * mass.max():
            curves[f"{name} by mass"] = curve_against(np.log10(mass), found[rows])
        curves[f"{name} by signal-to-noise"] = curve_against(
            scores.signal_to_noise[rows], found[rows]
        )
    return curves


def _report(scores: ClassScores) -> dict[str, Any]:
    return {
        "confusion": scores.confusion().tolist(),
        "detected": {name: curve.as_dict() for name, curve in dependences(scores).items()},
    }


def _plots(scores: ClassScores, name: str) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.morphology_plots import class_roc_plot, dependence_plot

    return {
        "roc": partial(class_roc_plot, {name: scores}),
        "dependence": partial(dependence_plot, dependences(scores)),
    }


def _verdict(figures: dict[str, dict[str, float]]) -> str:
    def words(name: str) -> str:
        figure = figures[name]
        return f"{figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"

    classes = ", ".join(f"{name} {words(f'auc_{name}')}" for name in CLASSES)
    found = ", ".join(f"{name} {words(f'tpr_1_percent_{name}')}" for name in CLASSES[1:])
    return f"macro AUC {words('auc_macro')}: {classes}; found at 1 % false positives: {found}"


def _interval(
    figure: Callable[[np.ndarray], float], groups: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """A figure of rows, with the interval of its bootstraps group by group."""
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    value = figure(np.arange(len(groups)))
    drawn = [
        figure(np.concatenate([rng.choice(part, size=len(part)) for part in parts]))
        for _ in range(_N_BOOTSTRAPS)
    ]
    low, high = np.quantile(drawn, (0.5 * (1.0 - CONFIDENCE), 0.5 * (1.0 + CONFIDENCE)))
    # The threshold of a bootstrap is chosen on it: value and interval may then disagree.
    return {
        "value": value,
        "low": float(min(low, value)),
        "high": float(max(high, value)),
        "n": len(groups),
    }
