"""What a network for lens parameters is worth: accuracy and calibration on unseen lenses."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autolens_ml.exceptions import NetworkError
from autolens_ml.latent import LatentSpace
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.description import population_from
from autolens_ml.training.calibration import LEVELS, Calibration, accuracy_from, calibration_from
from autolens_ml.training.lens_set import (
    Batch,
    LensSet,
    Observer,
    leading_intensities,
    target_columns,
)
from autolens_ml.training.merit import pooled_coverage, speed_of
from autolens_ml.training.stored import space_from
from autolens_ml.training.task import Evaluation, Say, silent

_BATCH = 64
_N_DRAWS = 500
# Parameters that people read together, by the last parts of their paths.
# Arcs whose brightest pixel is this many sigma: what a modeller would call clear.
_CLEAR_ARCS = (5.0, 60.0)
_GROUPS = {
    "einstein_radius": ("mass.einstein_radius",),
    "centre": ("mass.centre.centre_0", "mass.centre.centre_1"),
    "ell_comps": ("mass.ell_comps.ell_comps_0", "mass.ell_comps.ell_comps_1"),
    "shear": ("shear.gamma_1", "shear.gamma_2"),
}


@dataclass(frozen=True, kw_only=True)
class LensAccuracy(Evaluation):
    """Figures of merit of a network for lens parameters.

    Attributes
    ----------
    calibration : Calibration
        Accuracy, coverage, ranks and joint tests, in physical units.
    arc_signal_to_noise : ndarray
        Of the brightest pixel of every test lens's source, shape (n,).
    """

    calibration: Calibration
    arc_signal_to_noise: np.ndarray


def measured(card: Card, n: int = 4000, seed: int = 0, say: Say = silent) -> LensAccuracy:
    """Measure a network on ``n`` fresh lenses of the population it was trained on.

    Parameters
    ----------
    card
        Of a network for ``lens-parameters``.
    n
        Test lenses.
    seed
        Of the test lenses; their stream is apart from those of training.
    say
        Takes a line of progress.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what population it is for.
    """
    network = stored_network(card)
    space = space_from(card)
    if "population" not in card.outputs:
        raise NetworkError(f"{card.path}: names no population, so no test set can be made")
    population = population_from(card.outputs["population"])
    targets = target_columns(population.model, card.outputs["parameters"])
    columns = [targets[name] for name in card.outputs["parameters"]]
    # Test lenses may have other priors than those of training.
    priors = population.model.priors_ordered_by_id
    drawn = LatentSpace([priors[column] for column in columns])
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))
    generator = torch.Generator().manual_seed(seed)
    samples, truths, signal = [], [], []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        lenses = LensSet.simulated(
            population,
            n,
            int(np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1)[0]),
            Path(folder),
            lambda done, n: say(f"simulating test lenses: {done:,} of {n:,}"),
        )
        observer = Observer(lenses, columns, augment=False)
        for i in range(0, n, _BATCH):
            batch = observer.batch_from(np.arange(i, min(i + _BATCH, n)), rng)
            draws = network(*batch.inputs).sample(_N_DRAWS, generator).transpose(0, 1)
            z = draws.double().numpy()
            physical = space.physical_from(z.reshape(-1, space.dim)).reshape(z.shape)
            samples.append(physical.astype(np.float32))
            truths.append(drawn.physical_from(batch.latents.double().numpy()))
            signal.append(_source_signal(lenses, slice(i, i + _BATCH), batch))
        batch = observer.batch_from(np.arange(min(_BATCH, n)), rng)
        speed = speed_of(
            lambda: network(*batch.inputs).sample(_N_DRAWS, generator), len(batch.images)
        )
    from autolens_ml.plot.calibration_plots import plots_of

    say("computing the diagnostics")
    calibration = calibration_from(
        np.concatenate(samples), np.concatenate(truths), space.names, seed
    )
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    signal_to_noise = np.concatenate(signal)
    measured = {**_metrics(calibration, signal_to_noise), "lenses_per_second": speed}
    metrics = {name: {**metric, "command": command} for name, metric in measured.items()}
    return LensAccuracy(
        card=card.with_metrics(metrics),
        report=calibration.as_dict(),
        plots=plots_of(calibration),
        verdict=calibration.verdict,
        calibration=calibration,
        arc_signal_to_noise=signal_to_noise,
    )


# Keeps the test lenses apart from any training set with the same seed.
_STREAM = 7919


def _source_signal(lenses: LensSet, rows: slice, batch: Batch) -> np.ndarray:
    """Signal-to-noise of the brightest pixel of the lensed source, shape (n,)."""
    (*_, (plane, column)) = sorted(leading_intensities(lenses.population).items())
    intensity = lenses.population.space.physical_from(lenses.latents[rows])[:, column]
    source = lenses.planes[rows, plane].astype(float) * intensity[:, None, None]
    return (source / batch.noise.numpy()).max(axis=(1, 2))


def _metrics(calibration: Calibration, signal_to_noise: np.ndarray) -> dict[str, dict[str, float]]:
    """Errors of groups of parameters, coverage over all of them, then errors of each."""
    names = calibration.names
    errors = calibration.medians - calibration.truths
    low, high = _CLEAR_ARCS
    clear = (signal_to_noise >= low) & (signal_to_noise <= high)
    metrics = {}
    for where, rows in (("", slice(None)), (f"_arc_sn_{low:g}_{high:g}", clear)):
        for group, endings in _GROUPS.items():
            columns = [i for i, name in enumerate(names) if name.endswith(endings)]
            if columns and len(errors[rows]) > 1:
                pooled = errors[rows][:, columns].reshape(-1, 1)
                measured = accuracy_from(pooled, np.zeros_like(pooled)).quantile_68
                n = len(errors[rows])
                metrics[f"error_68_{group}{where}"] = {**measured.as_dict(0), "n": n}
    for i, level in enumerate(LEVELS):
        metrics[f"coverage_{100 * level:g}"] = pooled_coverage(calibration, i)
    for i, name in enumerate(names):
        measured = calibration.accuracy.quantile_68.as_dict(i)
        metrics[f"error_68 {name}"] = {**measured, "n": calibration.n_lenses}
    return metrics
