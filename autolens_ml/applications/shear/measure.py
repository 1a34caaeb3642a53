"""Networks at work on files, and against each other: predictions, and their errors in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofit.tools.util import open_atomic
from rich.table import Table
from rich.text import Text
from scipy import stats

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.shear.estimator import ShearEstimator
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.shear import ShearNetwork, StampRegressor
from autolens_ml.simulate.shear_files import StampProblems, image_from, stamp_files_from
from autolens_ml.simulate.shear_population import ShearPopulation
from autolens_ml.training.shear_bias import SHEARS, PairedSample, estimator_of, paired_sample
from autolens_ml.training.shearing import verdict_of
from autolens_ml.training.stamp_regression import regressed

__all__ = [
    "BiasReport",
    "Prediction",
    "SetReport",
    "measure_biases",
    "numbers_from",
    "predict_image",
    "predict_set",
    "shear_cards",
]

_TASKS = ("shear", "stamp-regression")
_ERROR = "error"


def shear_cards(networks: Sequence[str | Path]) -> dict[str, Card]:
    """The cards of networks, by names that tell them apart.

    Parameters
    ----------
    networks
        Shipped networks by name, or paths of cards or their folders.

    Raises
    ------
    NetworkError
        When one is not there or damaged.
    OptionError
        When one is not for stamps, or none is given.
    """
    if not networks:
        raise OptionError("no network: give one or more with --model")
    cards: dict[str, Card] = {}
    for network in networks:
        card = find_card(network)
        if card.task not in _TASKS:
            raise OptionError(
                f"{network}: a network for {card.task}: give one for {' or '.join(_TASKS)}"
            )
        cards[card.name if card.name not in cards else str(network)] = card
    return cards


@dataclass(frozen=True, eq=False)
class Prediction:
    """What networks say of one image.

    Attributes
    ----------
    values : dict
        By network and by name of the number; a calibrated shear has an ``error`` as well.
    """

    values: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"predictions": self.values}

    def table(self) -> Table:
        """One row for each network."""
        names = list(dict.fromkeys(name for row in self.values.values() for name in row))
        rows = [
            [network, *(f"{row[name]:+.4f}" if name in row else "" for name in names)]
            for network, row in self.values.items()
        ]
        return _table(["network", *names], rows)


@dataclass(frozen=True, eq=False)
class SetReport:
    """What networks say of a set, and, where the truth is known, how far they are from it.

    Attributes
    ----------
    predictions : dict
        By network and by name, each of shape (n,).
    truths : dict
        By name, each of shape (n,); of those names that every entry has.
    """

    predictions: dict[str, dict[str, np.ndarray]]
    truths: dict[str, np.ndarray]

    def rows(self) -> list[dict[str, Any]]:
        """For each network and number: errors, and the line estimate = (1 + m) truth + c.

        ``rmse`` and ``mae`` are those of single images, of which most for a calibrated shear is
        the intrinsic ellipticity; m, c and their errors are those of a weighted straight line.
        """
        rows = []
        for network, values in self.predictions.items():
            for name, truth in self.truths.items():
                if name in values:
                    errors = values[name] - truth
                    rows.append(
                        {
                            "network": network,
                            "number": name,
                            "n": len(truth),
                            "rmse": float(np.sqrt(np.mean(errors**2))),
                            "mae": float(np.mean(np.abs(errors))),
                            **_line(truth, values[name], values.get(_ERROR)),
                        }
                    )
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "predictions": {
                network: {name: column.tolist() for name, column in values.items()}
                for network, values in self.predictions.items()
            },
            "compared": self.rows(),
        }

    def table(self) -> Table:
        """One row for each network and number; without truths, means and scatters."""
        if rows := self.rows():
            cells = [
                [
                    row["network"],
                    row["number"],
                    f"{row['n']:,}",
                    f"{row['rmse']:.4f}",
                    f"{row['mae']:.4f}",
                    *_line_words(row),
                ]
                for row in rows
            ]
            return _table(["network", "number", "n", "rmse", "mae", "m", "c", "r"], cells)
        cells = [
            [network, name, f"{len(column):,}", f"{column.mean():+.4f}", f"{column.std():.4f}"]
            for network, values in self.predictions.items()
            for name, column in values.items()
        ]
        return _table(["network", "number", "n", "mean", "scatter"], cells)

    def write(self, folder: Path) -> list[Path]:
        """Write ``predictions.json`` and, where truths are known, ``predictions.png``."""
        from autolens_ml.plot.shear_plots import estimates_plot

        written = [_written(self.as_dict(), folder / "predictions.json")]
        shown = {row["number"] for row in self.rows()}
        if shown:
            truths = {name: truth for name, truth in self.truths.items() if name in shown}
            written.append(estimates_plot(self.predictions, truths, folder / "predictions.png"))
        return written


@dataclass(frozen=True, eq=False)
class BiasReport:
    """Biases of networks, all from galaxies of one population.

    Attributes
    ----------
    samples : dict
        Paired simulations by network.
    """

    samples: dict[str, PairedSample]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {network: sample.as_dict() for network, sample in self.samples.items()}

    def table(self) -> Table:
        """Two rows for each network: all galaxies, and the bright ones."""
        rows = []
        for network, sample in self.samples.items():
            for which, chosen in (("all", sample), ("bright", sample.bright())):
                bias = chosen.bias()
                numbers = (bias.m_1, bias.m_2, bias.c_1, bias.c_2, bias.alpha)
                rows.append(
                    [
                        network,
                        which,
                        f"{bias.n:,}",
                        *(f"{number.value:+.5f} +- {number.error:.5f}" for number in numbers),
                        f"{bias.shape_noise:.3f}",
                        f"{bias.quality:.0f}",
                    ]
                )
        columns = ["network", "galaxies", "n", "m1", "m2", "c1", "c2", "alpha", "sigma", "Q"]
        return _table(columns, rows)

    def verdicts(self) -> list[str]:
        """For each network, whether it meets the targets."""
        return [
            f"{network}: {verdict_of(sample.bright().bias())}"
            for network, sample in self.samples.items()
        ]

    def write(self, folder: Path) -> list[Path]:
        """Write ``bias.json`` and ``bias.png``."""
        from autolens_ml.plot.shear_plots import bias_plot

        return [
            _written(self.as_dict(), folder / "bias.json"),
            bias_plot(self.samples, folder / "bias.png"),
        ]


def measure_biases(
    networks: Sequence[str | Path],
    population: ShearPopulation,
    n: int,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> BiasReport:
    """Measure the biases of networks by paired simulations, the same for all of them.

    Parameters
    ----------
    networks
        As for :func:`shear_cards`.
    population
        Of the galaxies.
    n
        How many, at least 100; each is seen four times.
    seed
        Of the simulations.
    progress
        Takes a line at a time.

    Raises
    ------
    NetworkError, OptionError
        As :func:`shear_cards`, or when a network takes other stamps or estimates no shears.
    """
    if n < 100:
        raise OptionError(f"{n} galaxies are too few for a bias: set --n to 100 or more")
    loaded = {name: stored_network(card) for name, card in shear_cards(networks).items()}
    for name, network in loaded.items():
        shape = network.config["size"]
        if shape not in (population.size, [population.size] * 2):
            raise OptionError(
                f"{name}: sees stamps of {shape} pixels, the population has {population.size}: set "
                "the population's size"
            )
        if network.config.get("in_channels", 1) != 1:
            raise OptionError(f"{name}: sees colours, which simulated galaxies have none of")
    samples = {}
    for name, network in loaded.items():
        say = partial(_named_line, progress, name)
        samples[name] = paired_sample(estimator_of(network), population, n, seed, say)
    return BiasReport(samples)


def predict_set(
    networks: Sequence[str | Path], data: str | Path, flip_rows: bool = False
) -> SetReport:
    """Predict all images of a ``data.json``.

    Parameters
    ----------
    networks
        As for :func:`shear_cards`.
    data
        The file.
    flip_rows
        See :func:`~autolens_ml.simulate.shear_files.stamp_files_from`.

    Raises
    ------
    StampProblems
        When something of the set is missing or cannot be read.
    NetworkError, OptionError
        As :func:`shear_cards`.
    """
    predictions, truths = {}, {}
    for name, card in shear_cards(networks).items():
        network = stored_network(card)
        is_calibrated = isinstance(network, ShearNetwork)
        files = stamp_files_from(
            data,
            wanted=SHEARS if is_calibrated else network.config["classes"],
            shape=None if is_calibrated else tuple(network.config["size"]),
            mode="rgb" if network.config.get("in_channels") == 3 else "grayscale",
            psfs=is_calibrated,
            flip_rows=flip_rows,
        )
        truths |= files.values
        try:
            predictions[name] = _predicted(network, files.galaxies, files.psfs)
        except DataError as error:
            raise StampProblems([f"{data}: {error}"]) from error
    return SetReport(predictions, truths)


def predict_image(
    networks: Sequence[str | Path],
    image: str | Path,
    psf: str | Path | None = None,
    flip_rows: bool = False,
) -> Prediction:
    """Predict one image.

    Parameters
    ----------
    networks
        As for :func:`shear_cards`.
    image
        FITS file or picture of a galaxy.
    psf
        That of its PSF, which calibrated networks need.
    flip_rows
        Whether row 0 of files that do not say so is at -y.

    Raises
    ------
    DataError
        When a file cannot be read, or is too small.
    NetworkError, OptionError
        As :func:`shear_cards`, or when the PSF is missing.
    """
    values = {}
    for name, card in shear_cards(networks).items():
        values[name] = numbers_from(stored_network(card), name, image, psf, flip_rows)
    return Prediction(values)


def numbers_from(
    network: ShearNetwork | StampRegressor,
    name: str,
    image: str | Path,
    psf: str | Path | None = None,
    flip_rows: bool = False,
) -> dict[str, float]:
    """What one loaded network says of one image, by name of the number.

    Parameters
    ----------
    network
        As `stored_network` loads it.
    name
        Of the network, for errors.
    image, psf, flip_rows
        As of `predict_image`.

    Raises
    ------
    DataError
        When a file cannot be read, or is too small.
    OptionError
        When the PSF is missing.
    """
    mode = "rgb" if network.config.get("in_channels") == 3 else "grayscale"
    galaxies = image_from(image, mode, flip_rows)[None]
    psfs = None
    if isinstance(network, ShearNetwork):
        if psf is None:
            raise OptionError(f"{name} needs the PSF of the galaxy: set --psf")
        psfs = image_from(psf, flip_rows=flip_rows)
    elif list(galaxies.shape[-2:]) != network.config["size"]:
        y, x = galaxies.shape[-2:]
        wanted = " x ".join(map(str, network.config["size"]))
        raise DataError(f"{image}: {y} x {x} pixels, {name} sees {wanted}: cut the image")
    found = _predicted(network, galaxies, psfs)
    return {number: float(column[0]) for number, column in found.items()}


def _predicted(
    network: ShearNetwork | StampRegressor, galaxies: np.ndarray, psfs: np.ndarray | None
) -> dict[str, np.ndarray]:
    if isinstance(network, ShearNetwork):
        shears = ShearEstimator(network).measure(galaxies[:, 0], psfs)
        return dict(zip((*SHEARS, _ERROR), (*shears.shear.T, shears.error), strict=True))
    columns = regressed(network, torch.from_numpy(galaxies)).T
    return dict(zip(network.config["classes"], columns, strict=True))


def _line(truth: np.ndarray, estimate: np.ndarray, error: np.ndarray | None) -> dict[str, Any]:
    """The straight line through estimates, weighted where they have errors, or None of it."""
    if len(truth) < 3 or np.ptp(truth) == 0.0:
        return dict.fromkeys(("m", "m_error", "c", "c_error", "r"))
    weight = np.ones_like(truth) if error is None else error**-2.0
    design = np.stack((truth, np.ones_like(truth)), axis=-1)
    normal = np.linalg.inv(design.T @ (weight[:, None] * design))
    slope, offset = normal @ design.T @ (weight * estimate)
    # The scatter is that which is found, whatever errors were stated.
    left = estimate - slope * truth - offset
    spread = design.T @ ((weight * left)[:, None] ** 2 * design)
    variances = np.diag(normal @ spread @ normal) * len(truth) / (len(truth) - 2)
    is_constant = np.ptp(estimate) == 0.0
    return {
        "m": float(slope - 1.0),
        "m_error": float(np.sqrt(variances[0])),
        "c": float(offset),
        "c_error": float(np.sqrt(variances[1])),
        "r": 0.0 if is_constant else float(stats.pearsonr(truth, estimate).statistic),
    }


def _line_words(row: Mapping[str, Any]) -> tuple[str, str, str]:
    if row["m"] is None:
        return "", "", ""
    m, c = (f"{row[x]:+.4f} +- {row[f'{x}_error']:.4f}" for x in ("m", "c"))
    return m, c, f"{row['r']:.3f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _written(values: Mapping[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path) as stream:
        stream.write(json.dumps(values, indent=1))
    return path


def _named_line(progress: Progress, name: str, line: str) -> None:
    progress(f"{name}: {line}")
