"""What networks say to observed lenses: classes, and how strange they are."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

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
from autolens_ml.networks.anomaly import SCORES, UNKNOWN, AnomalyNetwork
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.morphology import MorphologyNetwork
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.smooth_fit import SmoothFits
from autolens_ml.simulate.morphology.systems import CLASSES
from autolens_ml.training.anomaly import TASK as ANOMALY
from autolens_ml.training.anomaly_accuracy import conditions_of, network_scores
from autolens_ml.training.morphology import TASK as MORPHOLOGY
from autolens_ml.training.morphology_accuracy import smooth_fits
from autolens_ml.training.morphology_set import MorphologyBatch

__all__ = ["Looked", "Report", "anomalies", "classes_and_anomalies", "classes_of", "classify"]

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
    reading = {"pixel_scale": pixel_scale, "band": band, "psf": psf, "noise_map": noise_map}
    (report,) = _reports(inputs, [_Classes.named(network)], progress, reading)
    return report


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
    classes = _Classes(card, classifier)
    return classes.rows(lenses, *_seen(lenses, card, classes.needs_fit))


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
    reading = {"pixel_scale": pixel_scale, "band": band, "psf": psf, "noise_map": noise_map}
    (report,) = _reports(inputs, [_Strangeness.named(network, score, maps)], progress, reading)
    return report


def classes_and_anomalies(
    inputs: Sequence[str | Path],
    *,
    network: str | Path = "morphology-i",
    autoencoder: str | Path = "anomaly-cvae",
    pixel_scale: float | None = None,
    band: str | None = None,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
    progress: Progress = lambda line: None,
) -> tuple[Report, Report]:
    """What `classify` and `anomalies` say; networks of the same images share readings and fits.

    Parameters
    ----------
    inputs, pixel_scale, band, psf, noise_map, progress
        As of `classify`.
    network, autoencoder
        For morphology and for anomalies, by name or path.

    Raises
    ------
    DataError
        When an input is not there, or no file can be read.
    NetworkError
        When there is no such network.
    """
    reading = {"pixel_scale": pixel_scale, "band": band, "psf": psf, "noise_map": noise_map}
    looks = [_Classes.named(network), _Strangeness.named(autoencoder)]
    first, second = (look.card for look in looks)
    if first.inputs == second.inputs and first.instrument == second.instrument:
        classes, strange = _reports(inputs, looks, progress, reading)
    else:
        classes, strange = (_reports(inputs, [look], progress, reading)[0] for look in looks)
    return classes, strange


@dataclass(frozen=True)
class _Classes:
    """What a classifier says."""

    card: Card
    network: MorphologyNetwork

    @classmethod
    def named(cls, network: str | Path) -> Self:
        card = find_card(network, MORPHOLOGY)
        return cls(card, stored_network(card))

    @property
    def needs_fit(self) -> bool:
        return self.network.needs_fit

    def rows(
        self, lenses: Sequence[ObservedLens], batch: MorphologyBatch, fits: SmoothFits | None
    ) -> list[Looked]:
        """Of each lens; ``fits`` are the best smooth lenses where they are needed."""
        if fits is not None:
            batch = replace(batch, residuals=torch.from_numpy(fits.residuals).float())
        with torch.inference_mode():
            found = self.network.probabilities(batch.images, batch.residuals).double().numpy()
        rows = []
        for lens, p in zip(lenses, found, strict=True):
            values = {name: float(value) for name, value in zip(CLASSES, p, strict=True)}
            best = CLASSES[int(np.argmax(p))]
            rows.append(Looked(lens.name, values, best, bool(1.0 - p[0] > _FLAGGED)))
        return rows


@dataclass(frozen=True)
class _Strangeness:
    """What an autoencoder says, and a score of it that flags."""

    card: Card
    network: AnomalyNetwork
    score: str
    maps: Path | None = None

    @classmethod
    def named(
        cls, network: str | Path, score: str | None = None, maps: str | Path | None = None
    ) -> Self:
        card = find_card(network, ANOMALY)
        autoencoder = stored_network(card)
        known = [n for n, t in zip(SCORES, autoencoder.thresholds, strict=True) if t < UNKNOWN]
        score = score or known[0]
        if score not in known:
            raise OptionError(f"score {score!r}: {card.name} has {', '.join(known)}")
        return cls(card, autoencoder, score, None if maps is None else Path(maps))

    @property
    def needs_fit(self) -> bool:
        return self.network.kind == "conditional"

    def rows(
        self, lenses: Sequence[ObservedLens], batch: MorphologyBatch, fits: SmoothFits | None
    ) -> list[Looked]:
        """Of each lens, as `_Classes.rows`; those that are flagged get their figures."""
        told = conditions_of(fits) if self.needs_fit else None
        threshold = float(self.network.thresholds[SCORES.index(self.score)])
        scores = network_scores(self.network, batch, told)
        rows = []
        for i, lens in enumerate(lenses):
            values = {name: float(column[i]) for name, column in scores.items()}
            strange = values[self.score] > threshold
            rows.append(Looked(lens.name, values, "strange" if strange else "ordinary", strange))
        if self.maps is not None:
            from autolens_ml.plot.morphology_plots import anomaly_plot

            with torch.inference_mode():
                rebuilt = self.network.reconstruct(batch.images, told).numpy()
                heat = self.network.heat_map(batch.images, batch.noise, told).numpy()
            for i, lens in enumerate(lenses):
                if rows[i].flagged:
                    target = self.maps / f"{Path(lens.name).stem}.png"
                    anomaly_plot(lens.image, rebuilt[i], heat[i], target)
        return rows


def _seen(
    lenses: Sequence[ObservedLens], card: Card, needs_fit: bool
) -> tuple[MorphologyBatch, SmoothFits | None]:
    """What a network takes of lenses, and the best smooth lenses if it needs them."""
    batch = batch_of(lenses, card.inputs["pixel_scale"])
    if not needs_fit:
        return batch, None
    return batch, smooth_fits(batch, Instrument.from_dict(card.instrument))


def _reports(
    inputs: Sequence[str | Path],
    looks: Sequence[_Classes | _Strangeness],
    progress: Progress,
    reading: Mapping[str, Any],
) -> list[Report]:
    """Of each look; all take the same images."""
    card = looks[0].card
    needs_fit = any(look.needs_fit for look in looks)
    rows: list[list[Looked]] = [[] for _ in looks]
    for lenses, errors in _read(inputs, card, progress, reading):
        seen = _seen(lenses, card, needs_fit) if lenses else None
        for own, look in zip(rows, looks, strict=True):
            own += errors
            if seen is not None:
                own += look.rows(lenses, *seen)
    return [_report(look.card, own) for look, own in zip(looks, rows, strict=True)]


def _read(
    inputs: Sequence[str | Path],
    card: Card,
    progress: Progress,
    reading: Mapping[str, Any],
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
