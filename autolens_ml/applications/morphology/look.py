"""What networks say to observed lenses: classes, and how strange they are."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofit.tools.util import open_atomic
from rich.table import Table

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.morphology.observed import (
    ObservedLens,
    batch_of,
    files_from,
    lens_from,
)
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.networks.anomaly import SCORES, UNKNOWN
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.morphology import MorphologyNetwork
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.systems import CLASSES
from autolens_ml.training.anomaly import TASK as ANOMALY
from autolens_ml.training.anomaly_accuracy import conditions_of, network_scores
from autolens_ml.training.morphology import TASK as MORPHOLOGY
from autolens_ml.training.morphology_accuracy import smooth_fits

__all__ = ["Looked", "Report", "anomalies", "classes_of", "classify"]

_BATCH = 64
# Probability of substructure above which a lens is flagged.
_FLAGGED = 0.5


@dataclass(frozen=True)
class Looked:
    """What is said of one file.

    Attributes
    ----------
    name : str
        Of the file.
    values : dict
        Probabilities of the classes, or scores, by name.
    verdict : str
        The most probable class, or ``ordinary`` or ``strange``.
    flagged : bool
        Whether it is worth a fit.
    error : str
        Why it could not be looked at, in one line.
    """

    name: str
    values: dict[str, float] = field(default_factory=dict)
    verdict: str = ""
    flagged: bool = False
    error: str = ""


@dataclass(frozen=True)
class Report:
    """What is said of all files.

    Attributes
    ----------
    network : Card
        Of the network that looked.
    rows : tuple of Looked
        One for each file.
    """

    network: Card
    rows: tuple[Looked, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the values."""
        return list(next((row.values for row in self.rows if row.values), {}))

    @property
    def flagged(self) -> list[Looked]:
        """Rows worth a fit."""
        return [row for row in self.rows if row.flagged]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "network": self.network.name,
            "sha256": self.network.sha256,
            "n_flagged": len(self.flagged),
            "rows": [vars(row) for row in self.rows],
        }

    def table(self) -> Table:
        """The rows, to be read."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("lens", overflow="fold")
        for name in (*self.columns, "verdict"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            cells = [f"{row.values[name]:.4g}" if row.values else "" for name in self.columns]
            table.add_row(row.name, *cells, row.error or row.verdict)
        return table

    def write(self, path: str | Path) -> Path:
        """The rows as a CSV file."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            header = ("name", *self.columns, "verdict", "flagged", "network", "error")
            writer.writerow(header)
            for row in self.rows:
                cells = [row.values.get(name, "") for name in self.columns]
                writer.writerow(
                    [row.name, *cells, row.verdict, int(row.flagged), self.network.name, row.error]
                )
        return path


def classify(
    inputs: Sequence[str | Path],
    *,
    network: str | Path = "morphology-i",
    pixel_scale: float | None = None,
    band: str | None = None,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
    progress: Progress = lambda line: None,
) -> Report:
    """Calibrated probabilities of no substructure, subhaloes and a vortex.

    A file that cannot be read has its reason in its row, and ends nothing.

    Parameters
    ----------
    inputs
        Files and folders of images without lens light, see
        :func:`~autolens_ml.applications.morphology.observed.lens_from`.
    network
        For morphology, by name or path.
    pixel_scale, band, psf, noise_map
        As of ``lens_from``, for all files.
    progress
        Takes a line at a time.

    Raises
    ------
    DataError
        When an input is not there, or no file can be read.
    NetworkError
        When there is no such network.
    """
    card = find_card(network, MORPHOLOGY)
    classifier = stored_network(card)
    rows = []
    reading = {"pixel_scale": pixel_scale, "band": band, "psf": psf, "noise_map": noise_map}
    for lenses, errors in _read(inputs, card, progress, reading):
        rows += errors
        if lenses:
            rows += classes_of(lenses, card, classifier)
    return _report(card, rows)


def classes_of(
    lenses: Sequence[ObservedLens], card: Card, classifier: MorphologyNetwork
) -> list[Looked]:
    """The classes of lenses that are read, by a network that is loaded.

    Parameters
    ----------
    lenses
        At least one, as `lens_from` reads them for this network.
    card, classifier
        Of the network, and as `stored_network` loads it.
    """
    batch = batch_of(lenses, card.inputs["pixel_scale"])
    if classifier.needs_fit:
        fits = smooth_fits(batch, Instrument.from_dict(card.instrument))
        batch = replace(batch, residuals=torch.from_numpy(fits.residuals).float())
    with torch.inference_mode():
        found = classifier.probabilities(batch.images, batch.residuals).double().numpy()
    rows = []
    for lens, p in zip(lenses, found, strict=True):
        values = {name: float(value) for name, value in zip(CLASSES, p, strict=True)}
        best = CLASSES[int(np.argmax(p))]
        rows.append(Looked(lens.name, values, best, bool(1.0 - p[0] > _FLAGGED)))
    return rows


def anomalies(
    inputs: Sequence[str | Path],
    *,
    network: str | Path = "anomaly-cvae",
    score: str | None = None,
    pixel_scale: float | None = None,
    band: str | None = None,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
    maps: str | Path | None = None,
    progress: Progress = lambda line: None,
) -> Report:
    """How strange lenses are to a network that knows those without substructure alone.

    Parameters
    ----------
    inputs, pixel_scale, band, psf, noise_map, progress
        As of `classify`.
    network
        For anomalies, by name or path. One that is told the smooth lens is told what a fit finds.
    score
        One of ``SCORES``, which says what is strange: that is flagged which only one in a hundred
        ordinary lenses exceeds. By default the first that the network has.
    maps
        A folder for a figure of each flagged lens that shows where it is strange.

    Raises
    ------
    DataError
        When an input is not there, or no file can be read.
    NetworkError
        When there is no such network.
    OptionError
        When the network has no such score.
    """
    card = find_card(network, ANOMALY)
    autoencoder = stored_network(card)
    known = [n for n, t in zip(SCORES, autoencoder.thresholds, strict=True) if t < UNKNOWN]
    score = score or known[0]
    if score not in known:
        raise OptionError(f"score {score!r}: {card.name} has {', '.join(known)}")
    threshold = float(autoencoder.thresholds[SCORES.index(score)])
    rows, scale = [], card.inputs["pixel_scale"]
    instrument = Instrument.from_dict(card.instrument)
    reading = {"pixel_scale": pixel_scale, "band": band, "psf": psf, "noise_map": noise_map}
    for lenses, errors in _read(inputs, card, progress, reading):
        rows += errors
        if not lenses:
            continue
        batch = batch_of(lenses, scale)
        told = None
        if autoencoder.kind == "conditional":
            told = conditions_of(smooth_fits(batch, instrument))
        scores = network_scores(autoencoder, batch, told)
        for i, lens in enumerate(lenses):
            values = {name: float(column[i]) for name, column in scores.items()}
            strange = values[score] > threshold
            rows.append(Looked(lens.name, values, "strange" if strange else "ordinary", strange))
        if maps is not None:
            from autolens_ml.plot.morphology_plots import anomaly_plot

            flagged = [i for i, row in enumerate(rows[-len(lenses) :]) if row.flagged]
            with torch.inference_mode():
                rebuilt = autoencoder.reconstruct(batch.images, told).numpy()
                heat = autoencoder.heat_map(batch.images, batch.noise, told).numpy()
            for i in flagged:
                target = Path(maps) / f"{Path(lenses[i].name).stem}.png"
                anomaly_plot(lenses[i].image, rebuilt[i], heat[i], target)
    return _report(card, rows)


def _read(
    inputs: Sequence[str | Path],
    card: Card,
    progress: Progress,
    reading: dict[str, Any],
) -> Iterator[tuple[list[ObservedLens], list[Looked]]]:
    """Lenses in batches, and rows of files that could not be read."""
    files = files_from(inputs)
    for first in range(0, len(files), _BATCH):
        lenses, errors = [], []
        for path in files[first : first + _BATCH]:
            try:
                lenses.append(lens_from(path, card, **reading))
            except DataError as error:
                errors.append(Looked(str(path), error=" ".join(str(error).split())))
        yield lenses, errors
        progress(f"{min(first + _BATCH, len(files)):,} of {len(files):,} lenses")


def _report(card: Card, rows: list[Looked]) -> Report:
    if all(row.error for row in rows):
        raise DataError(rows[0].error)
    return Report(card, tuple(sorted(rows, key=lambda row: row.name)))
