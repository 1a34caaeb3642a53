"""What a network is worth: accuracy and calibration on lenses it never saw."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofit.tools.util import open_atomic

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.checkpoint import Card, save_card
from autolens_ml.training.calibration import LEVELS, Calibration, accuracy_from, calibration_from
from autolens_ml.training.lens_set import (
    Batch,
    LensSet,
    Observer,
    leading_intensities,
    target_columns,
)
from autolens_ml.training.preset import population_from
from autolens_ml.training.stored import network_from, space_from

_BATCH = 64
_N_DRAWS = 500
# Lenses whose speed is measured, as often.
_SPEED_BATCH, _SPEED_REPEATS = 64, 5
# Parameters that people read together, by the last parts of their paths.
# Arcs whose brightest pixel is this many sigma: what a modeller would call clear.
_CLEAR_ARCS = (5.0, 60.0)
_GROUPS = {
    "einstein_radius": ("mass.einstein_radius",),
    "centre": ("mass.centre.centre_0", "mass.centre.centre_1"),
    "ell_comps": ("mass.ell_comps.ell_comps_0", "mass.ell_comps.ell_comps_1"),
    "shear": ("shear.gamma_1", "shear.gamma_2"),
}


@dataclass(frozen=True)
class Evaluation:
    """A network's figures of merit.

    Attributes
    ----------
    card : Card
        Of the network, with the metrics.
    calibration : Calibration
        Accuracy, coverage, ranks and joint tests, in physical units.
    arc_signal_to_noise : ndarray
        Of the brightest pixel of every test lens's source, shape (n,).
    """

    card: Card
    calibration: Calibration
    arc_signal_to_noise: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, for JSON."""
        return {
            "network": self.card.name,
            "sha256": self.card.sha256,
            "metrics": self.card.metrics,
            **self.calibration.as_dict(),
        }


def evaluate(
    card: Card,
    n: int = 4000,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Evaluation:
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
    network = network_from(card)
    space = space_from(card)
    if "population" not in card.outputs:
        raise NetworkError(f"{card.path}: names no population, so no test set can be made")
    population = population_from(card.outputs["population"])
    targets = target_columns(population.model, card.outputs["parameters"])
    columns = [targets[name] for name in card.outputs["parameters"]]
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
            truths.append(space.physical_from(batch.latents.double().numpy()))
            signal.append(_source_signal(lenses, slice(i, i + _BATCH), batch))
        speed = _speed(network, observer, rng, generator)
    say("computing the diagnostics")
    calibration = calibration_from(
        np.concatenate(samples), np.concatenate(truths), space.names, seed
    )
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    signal_to_noise = np.concatenate(signal)
    measured = {**_metrics(calibration, signal_to_noise), "lenses_per_second": speed}
    metrics = {name: {**metric, "command": command} for name, metric in measured.items()}
    return Evaluation(card.with_metrics(metrics), calibration, signal_to_noise)


def store(evaluation: Evaluation, folder: Path, with_card: bool = False) -> list[Path]:
    """Write ``evaluation.json`` and figures to a folder; with ``with_card`` also the card.

    Returns
    -------
    list of Path
        What was written.
    """
    from autolens_ml.plot.calibration_plots import (
        accuracy_plot,
        coverage_plot,
        sbc_plot,
        tarp_plot,
    )

    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "evaluation.json"
    with open_atomic(report) as stream:
        stream.write(json.dumps(evaluation.as_dict(), indent=1))
    calibration = evaluation.calibration
    written = [report] + [
        plot(calibration, folder / f"{name}.png")
        for name, plot in {
            "accuracy": accuracy_plot,
            "coverage": coverage_plot,
            "sbc": sbc_plot,
            "tarp": tarp_plot,
        }.items()
    ]
    if with_card:
        save_card(evaluation.card)
        written.append(evaluation.card.path)
    return written


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
        metrics[f"coverage_{100 * level:g}"] = _pooled_coverage(calibration, i)
    for i, name in enumerate(names):
        measured = calibration.accuracy.quantile_68.as_dict(i)
        metrics[f"error_68 {name}"] = {**measured, "n": calibration.n_lenses}
    return metrics


def _pooled_coverage(calibration: Calibration, level: int) -> dict[str, float]:
    """Mean coverage of all parameters; the interval spans the parameters' own values."""
    values = calibration.coverage.value[level]
    return {
        "value": float(values.mean()),
        "low": float(values.min()),
        "high": float(values.max()),
        "n": calibration.n_lenses,
    }


@torch.no_grad()
def _speed(
    network: Any, observer: Observer, rng: np.random.Generator, generator: torch.Generator
) -> dict[str, float]:
    """Lenses per second, from arrays to draws, on this machine."""
    batch = observer.batch_from(np.arange(min(_SPEED_BATCH, len(observer.lenses))), rng)
    rates = []
    for _ in range(_SPEED_REPEATS):
        started = time.perf_counter()
        network(*batch.inputs).sample(_N_DRAWS, generator)
        rates.append(len(batch.images) / (time.perf_counter() - started))
    return {
        "value": float(np.median(rates)),
        "low": float(min(rates)),
        "high": float(max(rates)),
        "n": _SPEED_REPEATS,
    }
