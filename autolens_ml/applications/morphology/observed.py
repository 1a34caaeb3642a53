"""Images of lenses as networks for substructure take them, from files of many kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import autolens as al
import numpy as np
import torch

from autolens_ml.applications.fit import imaging_from_fits
from autolens_ml.exceptions import DataError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.morphology.published import image_from
from autolens_ml.training.morphology_set import MorphologyBatch

__all__ = ["ObservedLens", "batch_of", "files_from", "lens_from"]

_FITS = (".fits", ".fit", ".gz")
_OTHERS = (".npy", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
# Pixel scales that differ by less are the same.
SAME_SCALE = 0.02
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class ObservedLens:
    """One lens on the grid of a network.

    Attributes
    ----------
    name : str
        Of its file.
    image, noise : ndarray
        In units of the noise of an empty pixel, shape (side, side).
    psf_fwhm : float
        In arcsec.
    dataset : al.Imaging or None
        As it was read, if it has all that a fit needs.
    """

    name: str
    image: np.ndarray
    noise: np.ndarray
    psf_fwhm: float
    dataset: al.Imaging | None = None


def files_from(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files among files and folders, in the order of their names within a folder.

    Raises
    ------
    DataError
        When an input is not there, is of no known kind, or there is nothing in any.
    """
    files: list[Path] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in _FITS + _OTHERS]
            if not inside:
                raise DataError(f"{path}: no images ({', '.join((*_FITS, *_OTHERS))}) in there")
            files += inside
        elif not path.is_file():
            raise DataError(f"{path}: no such file; give images, or a folder of them")
        elif path.suffix.lower() not in _FITS + _OTHERS:
            raise DataError(f"{path}: give FITS files, .npy arrays or pictures")
        else:
            files.append(path)
    return files


def lens_from(
    path: str | Path,
    card: Card,
    pixel_scale: float | None = None,
    band: str | None = None,
    *,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
) -> ObservedLens:
    """Read one lens, without lens light, and bring it onto the grid of a network.

    Pixels are summed where the network's are a whole number of them; the middle is cut out, and
    what is missing around it has no light.

    Parameters
    ----------
    path
        A FITS file with image, noise map and PSF; or an array or picture, whose noise is taken from
        its differences between neighbouring pixels around the edge, and whose PSF is the network's.
    card
        Of the network.
    pixel_scale
        arcsec per pixel; by default of the header, or of the network.
    band
        Which band of a FITS file with several.
    psf, noise_map
        FITS files of these, where they are not in that of the image.

    Raises
    ------
    DataError
        When it cannot be read, or its pixels do not fit those of the network.
    """
    path = Path(path)
    side, own_scale = card.inputs["shape"][0], card.inputs["pixel_scale"]
    dataset, fwhm = None, float(np.mean(card.instrument["psf_fwhm"]))
    if path.suffix.lower() in _FITS:
        dataset = imaging_from_fits(
            path, psf=psf, noise_map=noise_map, pixel_scale=pixel_scale, band=band
        )
        scale = float(dataset.pixel_scales[0])
        image, noise = (
            np.asarray(a.native.array, dtype=float) for a in (dataset.data, dataset.noise_map)
        )
        fwhm = _width_of(np.asarray(dataset.psf.kernel.native.array, dtype=float)) * scale
    elif psf or noise_map:
        raise DataError(f"{path}: a PSF or noise map of its own needs a FITS image; give one")
    else:
        image, _ = image_from(path)
        image = image.astype(float) - _background(image)
        noise = np.full(image.shape, _noise_of(image, path))
        scale = pixel_scale or own_scale
    ratio = own_scale / scale
    number = max(round(ratio), 1)
    if abs(ratio - number) > SAME_SCALE * number:
        raise DataError(
            f'{path}: pixels of {scale:g}", and the network takes {own_scale:g}" or whole '
            "fractions of it; resample the image first"
        )
    image, noise = _binned(image, number), np.sqrt(_binned(np.square(noise), number))
    unit = float(np.quantile(noise, 0.05))
    return ObservedLens(
        name=str(path),
        image=_middle(image / unit, side, 0.0),
        noise=_middle(noise / unit, side, 1.0),
        psf_fwhm=fwhm,
        dataset=dataset,
    )


def batch_of(lenses: Sequence[ObservedLens], pixel_scale: float) -> MorphologyBatch:
    """Observed lenses as networks take them; what only simulations know is zero."""
    images, noise = (
        torch.from_numpy(np.stack([getattr(lens, name) for lens in lenses])).float()
        for name in ("image", "noise")
    )
    n = len(lenses)
    return MorphologyBatch(
        images=images,
        noise=noise,
        psf_width=torch.tensor([float(lens.psf_fwhm) / pixel_scale for lens in lenses]).float(),
        labels=torch.zeros(n, dtype=torch.long),
        macro=torch.zeros(n, 12),
        residuals=torch.zeros_like(images),
        vortex=torch.zeros(n, 6),
    )


def _frame(image: np.ndarray) -> np.ndarray:
    """Whether a pixel is in the outer eighth, shape (y, x)."""
    frame = np.ones(image.shape, dtype=bool)
    y, x = (max(side // 8, 2) for side in image.shape)
    frame[y:-y, x:-x] = False
    return frame


def _background(image: np.ndarray) -> float:
    return float(np.median(image[_frame(image)]))


def _noise_of(image: np.ndarray, path: Path) -> float:
    """RMS of an empty pixel, from differences between neighbours, which smooth light cancels in."""
    frame = _frame(image)
    across = (image[:, 1:] - image[:, :-1])[frame[:, 1:] & frame[:, :-1]]
    noise = _MAD_TO_SIGMA * float(np.median(np.abs(across - np.median(across)))) / np.sqrt(2.0)
    if not noise > 0.0:
        raise DataError(
            f"{path}: no noise around its edge, and scores are in units of it; add noise, or give "
            "a FITS file with a noise map"
        )
    return noise


def _width_of(kernel: np.ndarray) -> float:
    """Full width at half maximum in pixels of the Gaussian of a kernel's noise-equivalent area."""
    area = kernel.sum() ** 2 / np.square(kernel).sum()
    return float(_FWHM_PER_SIGMA * np.sqrt(area / (4.0 * np.pi)))


def _binned(values: np.ndarray, number: int) -> np.ndarray:
    """Sums over squares of pixels; what is left over at the edges is cut off evenly."""
    if number == 1:
        return values
    y, x = (side // number for side in values.shape)
    first = [(side - number * n) // 2 for side, n in zip(values.shape, (y, x), strict=True)]
    cut = values[first[0] : first[0] + number * y, first[1] : first[1] + number * x]
    return cut.reshape(y, number, x, number).sum(axis=(1, 3))


def _middle(values: np.ndarray, side: int, outside: float) -> np.ndarray:
    """The middle square of an image, with what is beyond its edges filled in."""
    placed = np.full((side, side), outside)
    cuts = []
    for length in values.shape:
        kept = min(length, side)
        cuts.append(
            (
                slice((length - kept) // 2, (length - kept) // 2 + kept),
                slice((side - kept) // 2, (side - kept) // 2 + kept),
            )
        )
    (from_y, to_y), (from_x, to_x) = cuts
    placed[to_y, to_x] = values[from_y, from_x]
    return placed
