"""Parameters of lenses in files, by a network alone: a table with errors, and no likelihood."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import autolens as al
import numpy as np
from astropy.stats import mad_std
from astropy.wcs import WCS
from autofit.tools.util import open_atomic
from autonerves.fitsable import ndarray_via_fits_from
from skimage import io
from skimage.color import rgb2gray

from autolens_ml.applications.fit.dataset import (
    Extension,
    extensions_from,
    imaging_from_fits,
    pixel_scale_from,
)
from autolens_ml.exceptions import AutolensMLError, DataError, OptionError
from autolens_ml.inference.amortised import LensNetwork, load_network
from autolens_ml.simulate.observation import Observation

_BATCH = 64
_N_DRAWS = 2000
# Central credible intervals of the table.
_QUANTILES = (0.1585, 0.5, 0.8415)
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SUFFIXES = (".fits", ".fit", ".fits.gz", *_PICTURES)
_DATASET = {"data": "data.fits", "psf": "psf.fits", "noise_map": "noise_map.fits"}


@dataclass(frozen=True)
class Prediction:
    """What a network says about one file.

    Attributes
    ----------
    file : Path
        The image, or the folder of a dataset.
    values : dict
        By parameter: the bounds and the middle of its central 68.3 per cent, (low, median, high).
    concerns : tuple of str
        What about the data is unlike the network's training.
    error : str
        Why there are no values; empty if there are.
    """

    file: Path
    values: dict[str, tuple[float, float, float]]
    concerns: tuple[str, ...] = ()
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A row of a table."""
        row: dict[str, Any] = {"file": str(self.file), "error": self.error}
        for name, (low, median, high) in self.values.items():
            row |= {name: median, f"{name}_low": low, f"{name}_high": high}
        return row | {"concerns": "; ".join(self.concerns)}


def predict_files(
    files: Sequence[Path],
    network: str | Path | LensNetwork,
    *,
    pixel_scale: float | None = None,
    noise: float | None = None,
    psf_fwhm: float | None = None,
    flip_rows: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Prediction]:
    """Estimate the parameters of the lenses in files.

    Parameters
    ----------
    files
        FITS files, PNG and other pictures, folders of them, or folders with ``data.fits``,
        ``noise_map.fits`` and ``psf.fits``. A FITS file with image, noise map and PSF is taken as
        it is; of an image alone, ``noise`` and ``psf_fwhm`` say the rest.
    network
        A network by name, the path of its card, or one that is loaded.
    pixel_scale
        arcsec per pixel; by default the file's own, and the network's for pictures.
    noise
        Root mean square of the noise of an empty pixel, in the units of the image; by default from
        the scatter of the pixels, most of which have to be empty.
    psf_fwhm
        Full width at half maximum of the PSF [arcsec]; by default the middle of the network's.
    flip_rows
        Whether row 0 of pictures is at -y, as in Ensai's files, instead of +y.
    seed
        Of the draws of the posterior.
    progress
        Takes a line at a time.

    Returns
    -------
    list of Prediction
        One for each file; a file that cannot be read has an error instead of values.

    Raises
    ------
    OptionError
        When there are no files, or a pixel scale, noise or PSF width is not above zero.
    NetworkError
        When the network is not there, is damaged, or gives no posterior.
    """
    numbers = {"pixel scale": pixel_scale, "noise": noise, "PSF width": psf_fwhm}
    for what, number in numbers.items():
        if number is not None and not 0.0 < number < math.inf:
            raise OptionError(f"{what} of {number:g}: give a finite number above 0")
    found = _files_of(files)
    net = network if isinstance(network, LensNetwork) else load_network(network)
    options = (pixel_scale, noise, psf_fwhm, flip_rows)
    predictions: list[Prediction] = []
    for first in range(0, len(found), _BATCH):
        batch = found[first : first + _BATCH]
        predictions += _predicted(net, batch, options, seed)
        progress(f"{len(predictions)} of {len(found)} files")
    return predictions


def write_table(predictions: Sequence[Prediction], path: Path) -> None:
    """Write predictions as a CSV file: parameters, their bounds, concerns and errors.

    Raises
    ------
    OptionError
        When the file cannot be written.
    """
    rows = [prediction.as_dict() for prediction in predictions]
    # Whatever comes first, a row of values has all columns in their order.
    columns = max(rows, key=len, default={})
    if path.is_dir():
        raise OptionError(f"{path}: cannot be written, it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            table = csv.DictWriter(file, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        raise OptionError(f"{path}: cannot be written ({error.strerror})") from error


def _files_of(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not (path / _DATASET["data"]).is_file():
            found += sorted(
                file
                for file in path.iterdir()
                if file.name.lower().endswith(_SUFFIXES) or (file / _DATASET["data"]).is_file()
            )
        else:
            found.append(path)
    if not found:
        raise OptionError(f"no images in {', '.join(map(str, paths))}: give FITS or PNG files")
    return found


def _predicted(
    network: LensNetwork, files: Sequence[Path], options: tuple[Any, ...], seed: int
) -> list[Prediction]:
    """Predictions of a batch, in the order of the files."""
    results: dict[Path, Prediction] = {}
    observations: dict[Path, Observation] = {}
    for file in files:
        try:
            dataset = _dataset_from(network, file, *options)
            observations[file] = network.observation_from(dataset)
        except AutolensMLError as error:  # one file must not stop the others
            results[file] = Prediction(file, {}, error=str(error))
    posteriors = network.posteriors_of(list(observations.values()))
    for file, posterior in zip(observations, posteriors, strict=True):
        bounds = np.quantile(posterior.sample(_N_DRAWS, seed), _QUANTILES, axis=0)
        values = {
            name: tuple(float(value) for value in column)
            for name, column in zip(posterior.names, bounds.T, strict=True)
        }
        results[file] = Prediction(file, values, posterior.concerns)
    return [results[file] for file in files]


def _dataset_from(
    network: LensNetwork,
    file: Path,
    pixel_scale: float | None,
    noise: float | None,
    psf_fwhm: float | None,
    flip_rows: bool,
) -> Any:
    if file.is_dir():
        parts = {role: file / name for role, name in _DATASET.items()}
        return imaging_from_fits(**parts, mask_radius=None, pixel_scale=pixel_scale)
    if file.suffix.lower() in _PICTURES:
        image = _picture(file)
        image = image[::-1] if flip_rows else image
        scale = pixel_scale or network.pixel_scale
    else:
        extensions = extensions_from(file)
        if len(extensions) > 1:
            return imaging_from_fits(file, mask_radius=None, pixel_scale=pixel_scale)
        (extension,) = extensions
        scale = pixel_scale or _header_scale(extension) or network.pixel_scale
        # PyAutoLens's own reader, so that rows are where they are for it.
        image = ndarray_via_fits_from(file, extension.number)
    return _imaging(network, file, image, scale, noise, psf_fwhm)


def _header_scale(extension: Extension) -> float | None:
    """The pixel scale of a header, ``None`` if it has none."""
    try:
        return pixel_scale_from(extension)
    except DataError:
        with warnings.catch_warnings():
            # As in `pixel_scale_from`, cards that do not touch the pixel scale.
            warnings.simplefilter("ignore")
            if WCS(extension.header).has_celestial:
                raise
        return None


def _picture(file: Path) -> np.ndarray:
    """Grey levels of a picture, shape (y, x)."""
    try:
        pixels = np.asarray(io.imread(file))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file}: not a readable picture; give PNG, TIFF or FITS") from error
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        pixels = rgb2gray(pixels[..., :3])
    if pixels.ndim != 2:
        raise DataError(f"{file}: an array of shape {pixels.shape} is no picture of one lens")
    return pixels.astype(float)


def _imaging(
    network: LensNetwork,
    file: Path,
    image: np.ndarray,
    scale: float,
    noise: float | None,
    psf_fwhm: float | None,
) -> al.Imaging:
    """An image whose noise is the same everywhere, with a round PSF."""
    if not np.isfinite(image).all():
        raise DataError(f"{file}: has NaN or infinite pixels; replace them or mask them")
    rms = mad_std(image) if noise is None else noise
    if not rms > 0.0:
        raise DataError(f"{file}: most pixels are equal, so its noise is unknown: set --noise")
    fwhm = float(np.mean(network.instrument.psf_fwhm)) if psf_fwhm is None else psf_fwhm
    instrument = replace(
        network.instrument,
        shape=image.shape,
        pixel_scale=scale,
        psf_fwhm=(fwhm, fwhm),
        psf_shape=None,
    )
    return instrument.imaging_from(image, np.full(image.shape, rms), fwhm)
