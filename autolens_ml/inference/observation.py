"""A dataset as a network sees it: on its grid, in units of the noise, with mask and PSF width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autolens_ml.exceptions import DataError

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
# The quietest pixels tell the noise of empty sky; the very lowest may be flukes.
_QUIET_PERCENTILE = 5.0
# Pixel scales this close are the same.
_SAME_SCALE = 0.01
# A resampled pixel counts when this share of it was observed.
_COVERED = 0.5


@dataclass(frozen=True)
class Observation:
    """An image on the grid of a network.

    Attributes
    ----------
    images, noise : ndarray
        Shape (y, x), in units of ``unit``; zero and one where ``mask`` is zero.
    mask : ndarray
        Shape (y, x), 1 where there are data.
    psf_width : float
        Full width at half maximum of the PSF in pixels of the grid.
    unit : float
        RMS noise of an empty pixel, in the units of the data.
    centre : tuple of float
        (y, x) of the middle of the grid in the coordinates of the data, in arcsec.
    pixel_scale : float
        arcsec per pixel of the data themselves.
    """

    images: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    psf_width: float
    unit: float
    centre: tuple[float, float]
    pixel_scale: float


def observation_from(dataset: Any, shape: tuple[int, int], pixel_scale: float) -> Observation:
    """An ``al.Imaging`` on a grid of ``shape`` pixels of ``pixel_scale`` arcsec.

    An image on the same pixel scale is cut or padded; others are averaged over the overlaps of
    pixels, with their noise.

    Raises
    ------
    DataError
        When it is not imaging data, has no PSF, or nothing of it lies on the grid.
    """
    for name in ("data", "noise_map", "psf"):
        if getattr(dataset, name, None) is None:
            raise DataError(
                f"a network for images needs an al.Imaging with {name}: this dataset has none"
            )
    try:
        scale = float(dataset.pixel_scales[0])
        used = ~np.asarray(dataset.mask.array if hasattr(dataset.mask, "array") else dataset.mask)
        data, noise = (
            np.asarray(getattr(array.native, "array", array.native), dtype=float)
            for array in (dataset.data, dataset.noise_map)
        )
    except (AttributeError, TypeError) as error:
        raise DataError("a network for images needs an al.Imaging") from error
    used = used & np.isfinite(data) & np.isfinite(noise) & (noise > 0.0)
    if not used.any():
        raise DataError("no pixel of the image has finite data and noise: check mask and files")
    unit = float(np.percentile(noise[used], _QUIET_PERCENTILE))
    data = np.where(used, data / unit, 0.0)
    noise = np.where(used, noise / unit, 1.0)
    if abs(scale / pixel_scale - 1.0) <= _SAME_SCALE:
        (images, sigma, mask), centre = _cut(data, noise, used, shape, scale)
    else:
        images, sigma, mask = _resampled(data, noise, used, scale, shape, pixel_scale)
        centre = (0.0, 0.0)
    if not mask.any():
        raise DataError("no unmasked pixel lies on the grid of the network: is the lens centred?")
    return Observation(
        images=images,
        noise=sigma,
        mask=mask,
        psf_width=_psf_fwhm(dataset.psf) * scale / pixel_scale,
        unit=unit,
        centre=centre,
        pixel_scale=scale,
    )


def _psf_fwhm(psf: Any) -> float:
    """Width in pixels of the Gaussian with the same noise-equivalent area, 1 / sum p^2."""
    kernel = getattr(psf, "kernel", psf)
    values = np.asarray(getattr(kernel.native, "array", kernel.native), dtype=float)
    values = values / values.sum()
    return float(_FWHM_PER_SIGMA / np.sqrt(4.0 * np.pi * np.sum(values**2)))


def _cut(
    data: np.ndarray, noise: np.ndarray, used: np.ndarray, shape: tuple[int, int], scale: float
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[float, float]]:
    """The middle of the arrays, whole pixels; and where the middle of that is."""
    arrays = (np.zeros(shape), np.ones(shape), np.zeros(shape))
    into, out_of, offsets = [], [], []
    for side, wanted in zip(data.shape, shape, strict=True):
        start = (side - wanted) // 2
        low, high = max(start, 0), min(start + wanted, side)
        out_of.append(slice(low, high))
        into.append(slice(low - start, high - start))
        offsets.append(start + 0.5 * (wanted - side))
    for array, values in zip(arrays, (data, noise, used), strict=True):
        array[tuple(into)] = values[tuple(out_of)]
    # Rows count downwards, y upwards.
    return arrays, (-offsets[0] * scale, offsets[1] * scale)


def _resampled(
    data: np.ndarray,
    noise: np.ndarray,
    used: np.ndarray,
    scale: float,
    shape: tuple[int, int],
    pixel_scale: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Averages over what each new pixel shares with the old ones."""
    rows, columns = (
        _overlaps(side, scale, wanted, pixel_scale)
        for side, wanted in zip(data.shape, shape, strict=True)
    )
    weight = rows @ used.astype(float) @ columns.T
    covered = weight >= _COVERED * pixel_scale**2
    safe = np.where(covered, weight, 1.0)
    images = rows @ (data * used) @ columns.T / safe
    variance = rows**2 @ (noise**2 * used) @ (columns**2).T / safe**2
    return (
        np.where(covered, images, 0.0),
        np.where(covered, np.sqrt(variance), 1.0),
        covered.astype(float),
    )


def _overlaps(n_old: int, old: float, n_new: int, new: float) -> np.ndarray:
    """Lengths that centred rows of pixels share, shape (n_new, n_old)."""
    old_edges = (np.arange(n_old + 1) - 0.5 * n_old) * old
    new_edges = (np.arange(n_new + 1) - 0.5 * n_new) * new
    low = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    high = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    return np.maximum(high - low, 0.0)
