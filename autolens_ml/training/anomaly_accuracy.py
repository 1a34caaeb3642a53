"""How well what is strange is told from what is not, by every score of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.networks.anomaly import SCORES, AnomalyNetwork
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.morphology.lensing import MACRO
from autolens_ml.simulate.morphology.smooth_fit import SmoothFits
from autolens_ml.simulate.morphology.systems import CLASSES, MorphologySystems
from autolens_ml.training.anomaly import CONDITIONS
from autolens_ml.training.detection import area_under_curve
from autolens_ml.training.merit import speed_of
from autolens_ml.training.morphology import test_population_of
from autolens_ml.training.morphology_accuracy import (
    bootstrapped,
    detected_share,
    observed_batches,
    separation,
    smooth_fits,
)
from autolens_ml.training.morphology_set import MorphologyBatch
from autolens_ml.training.task import Evaluation, Say, silent

__all__ = ["ScoreTable", "conditions_of", "figures_of", "measured", "network_scores"]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of lenses whose class is known.

    Attributes
    ----------
    scores : dict
        By name, larger is stranger, each of shape (n,).
    classes : ndarray
        Indices into ``systems.CLASSES``, shape (n,).
    """

    scores: dict[str, np.ndarray]
    classes: np.ndarray


def measured(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
    """Figures of merit of the scores on ``n`` lenses of each class.

    A conditional network is told what a fit of a smooth lens finds, as with real lenses.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what it was trained on.
    """
    network = stored_network(card)
    population = test_population_of(card)
    made = observed_batches(population, len(CLASSES) * n, seed, say)
    instrument = population.setting.instrument
    parts, done = [], 0
    for _, batch in made:
        told = None
        if network.kind == "conditional":
            told = conditions_of(smooth_fits(batch, instrument))
        parts.append(network_scores(network, batch, told))
        done += len(batch.images)
        say(f"scores: {done:,} of {len(CLASSES) * n:,}")
    table = ScoreTable(
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        np.concatenate([systems.classes for systems, _ in made]),
    )
    figures = figures_of(table)
    first = made[0][1]
    told = torch.zeros(len(first.images), network.config["n_conditions"])
    figures["images_per_second"] = speed_of(
        lambda: network_scores(network, first, told), len(first.images)
    )
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    return Evaluation(
        card=card.with_metrics({k: {**v, "command": command} for k, v in figures.items()}),
        plots=_plots(table, network, made, instrument.pixel_scale),
        verdict=_verdict(figures),
    )


@torch.inference_mode()
def network_scores(
    network: AnomalyNetwork, batch: MorphologyBatch, told: torch.Tensor | None = None
) -> dict[str, np.ndarray]:
    """Those of ``SCORES`` that a network has, each of shape (n,)."""
    found = network.scores(batch.images, batch.noise, told)
    return {
        name: score.double().numpy()
        for name, score in zip(SCORES, found, strict=True)
        if torch.isfinite(score).all()
    }


def conditions_of(fits: SmoothFits) -> torch.Tensor:
    """What a conditional network is told, shape (n, n_conditions)."""
    return torch.from_numpy(fits.macro[:, [MACRO.index(name) for name in CONDITIONS]]).float()


def figures_of(table: ScoreTable) -> dict[str, dict[str, float]]:
    """AUC, share found at 1 % false positives and separation of each score, by class and for all.

    Raises
    ------
    ValueError
        When there is no lens without substructure, or none with.
    """
    figures = {}
    for name, score in table.scores.items():
        for i, what in enumerate(("all", *CLASSES[1:])):
            rows = np.isin(table.classes, (0, i)) if i else np.full(len(score), True)
            pair = score[rows], table.classes[rows] > 0
            figures[f"auc_{name}_{what}"] = bootstrapped(area_under_curve, *pair)
            figures[f"tpr_1_percent_{name}_{what}"] = bootstrapped(detected_share, *pair)
            figures[f"wasserstein_{name}_{what}"] = bootstrapped(separation, *pair)
    best = max(table.scores, key=lambda name: figures[f"auc_{name}_all"]["value"])
    return {"auc": figures[f"auc_{best}_all"], **figures}


def _verdict(figures: dict[str, dict[str, float]]) -> str:
    words = []
    for name in SCORES:
        if f"auc_{name}_all" in figures:
            by_class = ", ".join(
                f"{what} {figures[f'auc_{name}_{what}']['value']:.3f}" for what in CLASSES[1:]
            )
            figure = figures[f"auc_{name}_all"]
            words.append(
                f"{name} {figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f}; "
                f"{by_class})"
            )
    return "AUC against lenses without substructure: " + "; ".join(words)


def _plots(
    table: ScoreTable,
    network: AnomalyNetwork,
    made: list[tuple[MorphologySystems, MorphologyBatch]],
    pixel_scale: float,
) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.morphology_plots import heat_map_plot, score_plot

    plots: dict[str, Callable[[Path], Any]] = {"scores": partial(score_plot, table)}
    if network.kind != "conditional":
        plots["heat_maps"] = partial(heat_map_plot, network, *made[0], pixel_scale)
    return plots
