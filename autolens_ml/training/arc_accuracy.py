"""What a network for arcs is worth: Ensai's errors, and calibration, on arcs it never saw."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autolens_ml.exceptions import NetworkError
from autolens_ml.latent import LatentSpace
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.ensai_conventions import ENSAI_PARAMETERS, ensai_from_isothermal
from autolens_ml.training.arc_parameters import ArcBatch, ArcParameters, ArcSource
from autolens_ml.training.calibration import LEVELS, Calibration, accuracy_from, calibration_from
from autolens_ml.training.merit import pooled_coverage, speed_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.stored import space_from
from autolens_ml.training.task import Evaluation, Say, silent

_BATCH = 64
_N_DRAWS = 500
# Keeps the test arcs apart from any training set with the same seed.
_STREAM = 7919
# Arcs are where the light is above this share of the brightest pixel.
_ON_ARCS = 0.1
# Of the circle about the middle of an image, by which arcs are measured [deg].
_SECTOR = 5.0
# The largest norm of `ell_comps` that still is an ellipse.
_FLATTEST = 0.999


@dataclass(frozen=True, kw_only=True)
class ArcAccuracy(Evaluation):
    """Figures of merit of a network for arcs.

    Attributes
    ----------
    calibration : Calibration
        Accuracy, coverage, ranks and joint tests of the parameters of ``al.mp.Isothermal``.
    errors : ndarray
        Of Ensai's parameters, medians minus truths, of the sign of the ellipticity that is nearer,
        shape (n, 5).
    einstein_radius, signal_to_noise, arc_length : ndarray
        Of each test image: Ensai's Einstein radius [arcsec]; its brightest pixel over the noise of
        an empty one; the angle about the lens that arcs fill [deg]. Each of shape (n,).
    """

    calibration: Calibration
    errors: np.ndarray
    einstein_radius: np.ndarray
    signal_to_noise: np.ndarray
    arc_length: np.ndarray


def measured(card: Card, n: int = 4000, seed: int = 0, say: Say = silent) -> ArcAccuracy:
    """Measure a network on ``n`` fresh arcs of the population it was trained on.

    They are observed as Ensai does, whose own errors can then be compared. Of a network that was
    trained on effects of surveys, errors and coverage with these are metrics as well, whose names
    begin with ``survey_``.

    Parameters
    ----------
    card
        Of a network for ``arc-parameters``.
    n
        Test images.
    seed
        Of the images; their stream is apart from those of training.
    say
        Takes a line of progress.

    Raises
    ------
    NetworkError
        When the weights are damaged, the card does not say what was learned from, or the network
        gives no posterior.
    """
    task = task_of_card(card)
    network, space = stored_network(card), space_from(card)
    stream = int(np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1)[0])
    with tempfile.TemporaryDirectory() as folder:
        source_of = partial(task.source, n, stream, Path(folder), "test", say)
        source = source_of()
        plain = _answered(network, space, source, seed)
        survey = _answered(network, space, source_of(survey=True), seed) if task.survey else None
        batch = source.batch_from(np.arange(min(_BATCH, n)), np.random.default_rng(seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        speed = speed_of(
            lambda: network(*batch.inputs).sample(_N_DRAWS, generator), len(batch.images)
        )
    say("computing the diagnostics")
    calibration = plain.calibration(space.names, seed)
    errors, true = ensai_errors(calibration.medians, calibration.truths)
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    metrics = _metrics(errors, calibration, plain.widths, seed)
    if survey is not None:
        seen = survey.calibration(space.names, seed)
        theirs = _metrics(ensai_errors(seen.medians, seen.truths)[0], seen, survey.widths, seed)
        metrics |= {f"survey_{name}": value for name, value in theirs.items()}
    metrics["images_per_second"] = speed
    described = {
        "einstein_radius": true[:, 0],
        "signal_to_noise": plain.signal_to_noise,
        "arc_length": plain.arc_length,
    }
    return ArcAccuracy(
        card=card.with_metrics({k: {**v, "command": command} for k, v in metrics.items()}),
        report=calibration.as_dict(),
        plots=_plots_of(calibration, errors, described),
        verdict=calibration.verdict,
        calibration=calibration,
        errors=errors,
        **described,
    )


@dataclass(frozen=True)
class _Answers:
    """What a network says of test images, and what they are."""

    samples: np.ndarray
    truths: np.ndarray
    widths: np.ndarray
    signal_to_noise: np.ndarray
    arc_length: np.ndarray

    def calibration(self, names: Sequence[str], seed: int) -> Calibration:
        return calibration_from(self.samples, self.truths, names, seed)


@torch.no_grad()
def _answered(
    network: torch.nn.Module, space: LatentSpace, source: ArcSource, seed: int
) -> _Answers:
    """Show a network all images of a source."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[np.ndarray, ...]] = []
    for first in range(0, len(source), _BATCH):
        rows = np.arange(first, min(first + _BATCH, len(source)))
        batch = source.batch_from(rows, rng)
        draws = network(*batch.inputs).sample(_N_DRAWS, generator).transpose(0, 1)
        z = draws.double().numpy()
        physical = space.physical_from(z.reshape(-1, space.dim)).reshape(z.shape)
        low, high = np.quantile(physical, (0.5 - 0.5 * LEVELS[0], 0.5 + 0.5 * LEVELS[0]), axis=1)
        parts.append(
            (
                physical.astype(np.float32),
                batch.parameters.double().numpy(),
                0.5 * (high - low),
                *_described(np.asarray(source.images[rows], dtype=float), batch),
            )
        )
    return _Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def ensai_errors(estimates: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors and truths in Ensai's parameters, of those of ``al.mp.Isothermal``, each (n, 5).

    (e_x, e_y) and (-e_x, -e_y) are one lens: of the two the nearer one to the truth counts.
    Estimates outside of the disc of ``ell_comps`` count as the ellipse at its edge.
    """
    estimates = np.array(estimates, dtype=float)
    norm = np.hypot(estimates[:, 2], estimates[:, 3])
    estimates[:, 2:4] *= (_FLATTEST / np.maximum(norm, _FLATTEST))[:, None]
    estimated, true = ensai_from_isothermal(estimates), ensai_from_isothermal(truths)
    against = np.sum(estimated[:, 1:3] * true[:, 1:3], axis=1) < 0.0
    estimated[against, 1:3] *= -1.0
    return estimated - true, true


def task_of_card(card: Card) -> ArcParameters:
    """The task of a stored network, which makes arcs as it was trained on.

    Raises
    ------
    NetworkError
        When the card does not say what was learned from, or the network gives no posterior.
    """
    if "data" not in card.outputs:
        raise NetworkError(f"{card.path}: does not say what it learned from: train it again")
    if card.outputs["parameters"] == list(ENSAI_PARAMETERS):
        raise NetworkError(
            f"{card.path}: gives Ensai's parameters without errors: only networks trained with the "
            "loss density can be measured or combined"
        )
    return ArcParameters(Preset(card.name, card.description, card.task, card.outputs["data"]))


def _described(arcs: np.ndarray, batch: ArcBatch) -> tuple[np.ndarray, np.ndarray]:
    """Brightest pixels in units of the noise, and lengths of arcs in degrees, each (n,)."""
    signal = batch.images.amax((1, 2)).numpy()
    middle = 0.5 * (arcs.shape[-1] - 1)
    lengths = np.empty(len(arcs))
    for i, image in enumerate(arcs):
        row, column = np.nonzero(image > _ON_ARCS * image.max())
        angle = np.degrees(np.arctan2(middle - row, column - middle))
        lengths[i] = _SECTOR * len(np.unique(angle // _SECTOR))
    return signal, lengths


def _metrics(
    errors: np.ndarray, calibration: Calibration, widths: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Errors in Ensai's parameters; coverage and widths of posteriors in PyAutoLens's."""
    n = {"n": calibration.n_lenses}
    accuracy = accuracy_from(errors, np.zeros_like(errors), seed)
    metrics = {}
    for i, name in enumerate(ENSAI_PARAMETERS):
        metrics[f"rms_{name}"] = {**accuracy.rms.as_dict(i), **n}
    for i, name in enumerate(ENSAI_PARAMETERS):
        metrics[f"error_68_{name}"] = {**accuracy.quantile_68.as_dict(i), **n}
    for i, level in enumerate(LEVELS):
        metrics[f"coverage_{100 * level:g}"] = pooled_coverage(calibration, i)
    for i, name in enumerate(calibration.names):
        value, low, high = np.quantile(widths[:, i], (0.5, 0.16, 0.84))
        metrics[f"width_68 {name}"] = {
            "value": float(value),
            "low": float(low),
            "high": float(high),
            **n,
        }
    return metrics


def _plots_of(
    calibration: Calibration, errors: np.ndarray, described: dict[str, np.ndarray]
) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.calibration_plots import plots_of, trend_plot

    words = {
        "einstein_radius": 'Einstein radius ["]',
        "signal_to_noise": "signal-to-noise of the brightest pixel",
        "arc_length": "length of the arcs [deg]",
    }
    trends = {words[name]: values for name, values in described.items()}
    labels = ('Einstein radius ["]', "$e_x$", "$e_y$", 'x ["]', 'y ["]')
    return {**plots_of(calibration), "trends": partial(trend_plot, errors, trends, labels)}
