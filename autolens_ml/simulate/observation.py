"""A dataset as a network sees it: on its grid, in units of the noise, with mask and PSF width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from autolens_ml.exceptions import DataError

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
# The quietest pixels tell the noise of empty sky; the very lowest may be flukes.
_QUIET_PERCENTILE = 5.0
# No photon noise is this many times that of empty sky: such pixels were scaled out of the fit.
_SCALED_OUT = 1e3
# Pixel scales this close are the same.
_SAME_SCALE = 0.005
# A resampled pixel counts when this share of it was observed.
_COVERED = 0.5
# PSFs narrower than this many pixels cannot be told apart.
_NARROWEST_PSF = 0.5
# Pixels this many sigma bright tell how noise grows with light, when there are enough of them.
_BRIGHT = 10.0
_MIN_BRIGHT = 10


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
        RMS noise of an empty pixel of the grid, in the units of the data.
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

    @property
    def background_electrons(self) -> float:
        """RMS noise of an empty pixel of the grid in electrons: the depth, whatever the units.

        Read off the growth of the variance with brightness, which is that of counted electrons;
        ``inf`` where the noise does not grow, NaN where hardly any pixel is bright.
        """
        bright = (self.mask > 0) & (self.images > _BRIGHT * self.noise)
        if bright.sum() < _MIN_BRIGHT:
            return np.nan
        growth = float(np.median((self.noise[bright] ** 2 - 1.0) / self.images[bright]))
        return 1.0 / growth if growth > 0.0 else np.inf


def observation_from(
    dataset: Any, shape: tuple[int, int], pixel_scale: float, psf_beta: float | None = None
) -> Observation:
    """An ``al.Imaging`` on a grid of ``shape`` pixels of ``pixel_scale`` arcsec around (0, 0).

    An image on the same pixel scale is cut or padded by whole pixels, so that (0, 0) may be half a
    pixel off the middle; others are averaged over the overlaps of pixels, with their noise. Both
    keep surface brightness, and so the units of intensities.

    Parameters
    ----------
    dataset
        Masked or not. Pixels whose noise was scaled up to take them out of the fit are masked.
    shape, pixel_scale
        Of the network.
    psf_beta
        Index of the Moffat profiles with which the network was trained; ``None`` for Gaussians.

    Raises
    ------
    DataError
        When it is not imaging data, has no PSF, has NaNs, or nothing of it lies on the grid.
    """
    scale = _pixel_scale_of(dataset)
    data, noise = (
        np.asarray(array.native.array, dtype=float) for array in (dataset.data, dataset.noise_map)
    )
    used = ~np.asarray(dataset.mask.array, dtype=bool)
    n_bad = int(np.sum(used & ~(np.isfinite(data) & np.isfinite(noise) & (noise > 0.0))))
    if n_bad:
        raise DataError(
            f"{n_bad} of {int(used.sum())} unmasked pixels have NaNs, infinities or no noise: mask "
            "them with dataset.apply_mask"
        )
    fwhm = psf_fwhm_from(dataset, psf_beta)
    if used.any():
        used &= noise <= _SCALED_OUT * np.percentile(noise[used], _QUIET_PERCENTILE)
    data, noise = np.where(used, data, 0.0), np.where(used, noise, 1.0)
    # The middle of the data along rows, which count downwards, and columns.
    middle = (-float(dataset.mask.origin[0]), float(dataset.mask.origin[1]))
    if abs(scale / pixel_scale - 1.0) <= _SAME_SCALE:
        (images, sigma, mask), centre = _cut(data, noise, used, scale, middle, shape)
    else:
        images, sigma, mask = _resampled(data, noise, used, scale, middle, shape, pixel_scale)
        centre = (0.0, 0.0)
    covered = mask > 0
    if not covered.any():
        raise DataError(
            f"no unmasked pixel lies on the {shape[0] * pixel_scale:g} x "
            f'{shape[1] * pixel_scale:g}" around (0, 0) that the network sees: give the data an '
            "origin that puts the lens there, or cut them around it"
        )
    unit = float(np.percentile(sigma[covered], _QUIET_PERCENTILE))
    return Observation(
        images=images / unit,
        noise=np.where(covered, sigma / unit, 1.0),
        mask=mask,
        psf_width=fwhm / pixel_scale,
        unit=unit,
        centre=centre,
        pixel_scale=scale,
    )


def psf_fwhm_from(dataset: Any, psf_beta: float | None = None) -> float:
    """Full width at half maximum, in arcsec, of the round PSF that is nearest to a dataset's.

    Nearest in least squares among Gaussians, or Moffat profiles of index ``psf_beta``, sampled at
    the centres of pixels as :class:`~autolens_ml.simulate.instrument.Instrument` samples them: for
    those it is exact, and for others the images that both blur differ least.

    Raises
    ------
    DataError
        When the dataset is not imaging data, or has no usable PSF.
    """
    scale = _pixel_scale_of(dataset)
    values = np.asarray(dataset.psf.kernel.native.array, dtype=float)
    if not np.isfinite(values).all() or values.sum() <= 0.0:
        raise DataError("the PSF has NaNs or no light: give the al.Imaging another one")
    values = values / values.sum()
    y, x = np.indices(values.shape)
    weights = values**2 / np.sum(values**2)
    r_squared = (y - np.sum(weights * y)) ** 2 + (x - np.sum(weights * x)) ** 2

    def distance(log_fwhm: float) -> float:
        in_fwhm = r_squared / np.exp(2.0 * log_fwhm)
        if psf_beta is None:
            profile = np.exp(-0.5 * _FWHM_PER_SIGMA**2 * in_fwhm)
        else:
            profile = (1.0 + 4.0 * (2.0 ** (1.0 / psf_beta) - 1.0) * in_fwhm) ** -psf_beta
        return float(np.sum((profile / profile.sum() - values) ** 2))

    bounds = np.log((_NARROWEST_PSF, max(values.shape)))
    in_pixels = np.exp(minimize_scalar(distance, bounds=bounds, method="bounded").x)
    return float(in_pixels * scale / dataset.psf.convolve_over_sample_size)


def _pixel_scale_of(dataset: Any) -> float:
    """arcsec per pixel of an ``al.Imaging`` with all a network needs."""
    if dataset is None:
        raise DataError("there is no dataset, and networks need an al.Imaging: use network=None")
    missing = [n for n in ("data", "noise_map", "psf") if getattr(dataset, n, None) is None]
    if missing:
        raise DataError(
            "networks need an al.Imaging with data, noise_map and psf, and this "
            f"{type(dataset).__name__} has no {missing[0]}: give it one, or use network=None"
        )
    y, x = (float(value) for value in dataset.pixel_scales)
    if abs(y / x - 1.0) > _SAME_SCALE:
        raise DataError(f'pixels of {y:g} x {x:g}": networks need square ones, resample the image')
    return y


def _cut(
    data: np.ndarray,
    noise: np.ndarray,
    used: np.ndarray,
    scale: float,
    middle: tuple[float, float],
    shape: tuple[int, int],
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[float, float]]:
    """The pixels around (0, 0); and the (y, x) of the middle of those."""
    arrays = (np.zeros(shape), np.ones(shape), np.zeros(shape))
    into, out_of, offsets = [], [], []
    for side, wanted, position in zip(data.shape, shape, middle, strict=True):
        exact = 0.5 * (side - wanted) - position / scale
        start = int(np.ceil(exact - 0.5))
        low, high = np.clip((start, start + wanted), 0, side)
        out_of.append(slice(low, high))
        into.append(slice(low - start, high - start))
        offsets.append((start - exact) * scale)
    for array, values in zip(arrays, (data, noise, used), strict=True):
        array[tuple(into)] = values[tuple(out_of)]
    return arrays, (-offsets[0], offsets[1])


def _resampled(
    data: np.ndarray,
    noise: np.ndarray,
    used: np.ndarray,
    scale: float,
    middle: tuple[float, float],
    shape: tuple[int, int],
    pixel_scale: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Averages over what each new pixel shares with the old ones."""
    rows, columns = (
        _overlaps(side, scale, position, wanted, pixel_scale)
        for side, position, wanted in zip(data.shape, middle, shape, strict=True)
    )
    weight = rows @ used.astype(float) @ columns.T
    covered = weight >= _COVERED * pixel_scale**2
    safe = np.where(covered, weight, 1.0)
    images = rows @ data @ columns.T / safe
    variance = rows**2 @ (noise**2 * used) @ (columns**2).T / safe**2
    return (
        np.where(covered, images, 0.0),
        np.where(covered, np.sqrt(variance), 1.0),
        covered.astype(float),
    )


def _overlaps(n_old: int, old: float, middle: float, n_new: int, new: float) -> np.ndarray:
    """Lengths that rows of pixels share, the old around ``middle`` and the new around 0.

    Returns
    -------
    ndarray
        Shape (n_new, n_old).
    """
    old_edges = (np.arange(n_old + 1) - 0.5 * n_old) * old + middle
    new_edges = (np.arange(n_new + 1) - 0.5 * n_new) * new
    low = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    high = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    return np.maximum(high - low, 0.0)
