"""How well a vortex is measured, and whether its posteriors may be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.morphology.settings import Setting, setting_from
from autolens_ml.simulate.morphology.systems import MorphologyPopulation
from autolens_ml.training.calibration import LEVELS, Calibration, accuracy_from, calibration_from
from autolens_ml.training.merit import pooled_coverage, speed_of
from autolens_ml.training.morphology_accuracy import observed_batches
from autolens_ml.training.morphology_set import MorphologyBatch
from autolens_ml.training.morphology_vortex import (
    PARAMETERS,
    inputs_of,
    latents_from,
    parameters_from,
)
from autolens_ml.training.task import Evaluation, Say, silent

__all__ = ["NAMES", "VortexAccuracy", "measured", "setting_of", "vortex_draws"]

# What is calibrated: an angle that wraps has no ranks, its components do.
NAMES = (*PARAMETERS[:-1], "sin_2_angle", "cos_2_angle")
_N_DRAWS = 500
# Vortices longer than this [arcsec] have a direction that can be seen.
_LONG = 0.3


@dataclass(frozen=True, kw_only=True)
class VortexAccuracy(Evaluation):
    """Figures of merit of a network that measures vortices.

    Attributes
    ----------
    calibration : Calibration
        Of ``NAMES``.
    """

    calibration: Calibration


def vortex_draws(
    network: PosteriorNetwork, batch: MorphologyBatch, n_draws: int, seed: int = 0
) -> np.ndarray:
    """Draws of the latents of the vortex of each lens, shape (n, n_draws, 5)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        draws = network(*inputs_of(batch)).sample(n_draws, generator)
    return draws.transpose(0, 1).double().numpy()


def measured(card: Card, n: int, seed: int, say: Say = silent) -> VortexAccuracy:
    """Measure a network on ``n`` fresh lenses, drawn as those that it was trained on.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what it was trained on.
    """
    network, setting = stored_network(card), setting_of(card)
    population = MorphologyPopulation(setting, {"vortex": 1.0}, held_out=True)
    made = observed_batches(population, n, seed, say)
    latents = np.concatenate([latents_from(b.vortex, setting).double().numpy() for _, b in made])
    draws = np.concatenate(
        [vortex_draws(network, batch, _N_DRAWS, seed + i) for i, (_, batch) in enumerate(made)]
    )
    say("computing the diagnostics")
    truths, samples = _calibrated(latents, setting), _calibrated(draws, setting)
    calibration = calibration_from(samples, truths, NAMES, seed)
    figures = _errors(calibration, latents, draws, setting)
    for i, level in enumerate(LEVELS):
        figures[f"coverage_{100 * level:g}"] = pooled_coverage(calibration, i)
    first = made[0][1]
    figures["lenses_per_second"] = speed_of(
        lambda: vortex_draws(network, first, _N_DRAWS), len(first.images)
    )
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    from autolens_ml.plot.calibration_plots import plots_of

    return VortexAccuracy(
        card=card.with_metrics({k: {**v, "command": command} for k, v in figures.items()}),
        report=calibration.as_dict(),
        plots=plots_of(calibration),
        verdict=calibration.verdict,
        calibration=calibration,
    )


def setting_of(card: Card) -> Setting:
    """The setting that a network for vortices was trained in.

    Raises
    ------
    NetworkError
        When its card does not say.
    """
    try:
        return setting_from(card.outputs["setting"])
    except (KeyError, TypeError, OptionError) as error:
        raise NetworkError(f"{card.path}: does not say what it was trained on") from error


def _calibrated(latents: np.ndarray, setting: Setting) -> np.ndarray:
    """Columns as in ``NAMES`` of latents, shape (..., 5)."""
    direction = latents[..., 3:5]
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return np.concatenate((parameters_from(latents, setting)[..., :4], unit), axis=-1)


def _errors(
    calibration: Calibration, latents: np.ndarray, draws: np.ndarray, setting: Setting
) -> dict[str, dict[str, float]]:
    """Errors that hold 68 per cent, of groups of parameters."""
    errors = calibration.medians - calibration.truths
    truths = parameters_from(latents, setting)
    # The mean of the directions is that of the draws.
    found = parameters_from(draws.mean(axis=1), setting)
    angle = np.mod(found[:, 4] - truths[:, 4] + 90.0, 180.0) - 90.0
    is_long = 10.0 ** truths[:, 3] > _LONG
    groups = {
        "position": errors[:, :2].reshape(-1, 1),
        "log10_mass": errors[:, 2:3],
        "log10_half_length": errors[:, 3:4],
        "position_angle_of_long": angle[is_long, None],
    }
    return {
        f"error_68_{name}": {
            **accuracy_from(values, np.zeros_like(values)).quantile_68.as_dict(0),
            "n": len(errors),
        }
        for name, values in groups.items()
        if len(values) > 1
    }
