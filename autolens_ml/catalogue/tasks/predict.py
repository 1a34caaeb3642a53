"""Task ``predict``: the parameters of each lens by a network alone, without any likelihood."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autolens_ml.applications.predict import predict_files
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError
from autolens_ml.inference.amortised import LensNetwork
from autolens_ml.inference.matching import card_from

__all__ = ["PredictOptions"]


@dataclass(frozen=True)
class PredictOptions:
    """As of ``autolens-ml predict``."""

    network: str = "euclid-sie"
    pixel_scale: float | None = None
    noise: float | None = None
    psf_fwhm: float | None = None
    flip_rows: bool = False
    seed: int = 0


def predicted(entry: Entry, options: PredictOptions, folder: Path) -> Outcome:
    """Predict one lens."""
    if "" not in entry.files:
        raise DataError(f"{entry.name}: no image; give it in a column file")
    # As simulations are stored: the image, its noise map and its PSF in one folder.
    file = entry.file.parent if entry.file.name == "data.fits" else entry.file
    card = card_from(options.network)
    # Unlike that of a path, this answer is no error where the name is too long.
    with whole_files(sorted(file.glob("*.fits")) if os.path.isdir(file) else [file]):
        (prediction,) = predict_files(
            [file],
            _network(card.path, card.sha256),
            pixel_scale=options.pixel_scale,
            noise=options.noise,
            psf_fwhm=options.psf_fwhm,
            flip_rows=options.flip_rows,
            seed=options.seed,
        )
    if prediction.error:
        raise DataError(prediction.error)
    values: dict[str, float | str] = {"network": card.name}
    for name, (low, median, high) in prediction.values.items():
        values |= {
            name: median,
            f"{name}_error_minus": median - low,
            f"{name}_error_plus": high - median,
        }
    return Outcome("DONE", values, prediction.concerns)


@lru_cache(maxsize=4)
def _network(path: Path, sha256: str) -> LensNetwork:
    # As of `kept_network`.
    return LensNetwork(card_from(path))


def _check(options: PredictOptions) -> None:
    LensNetwork(card_from(options.network))


TASK = Task("predict", PredictOptions, predicted, _check, chunk=16)
