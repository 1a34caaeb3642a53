"""Images of any size and pixel scale on the grid of a network."""

from __future__ import annotations

import numpy as np

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.observation import _overlaps

__all__ = ["regridded"]

# A new pixel has data when this share of it was observed.
_COVERED = 0.5
# Pixel scales this close are the same.
_SAME_SCALE = 0.005


def regridded(
    images: np.ndarray,
    pixel_scale: float,
    shape: tuple[int, int],
    new_pixel_scale: float,
    centre: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Images averaged over the pixels of another grid; the middles of both coincide.

    What is larger is cut, what is smaller is padded with NaN, and pixels are merged or divided so
    that surface brightness stays. Where both have pixels of one size, whole pixels are taken, and
    the middles may be half a pixel apart.

    Parameters
    ----------
    images
        Shape (..., y, x), NaN where there are no data.
    pixel_scale
        Of the images, in arcsec.
    shape
        Pixels of the new grid, (y, x).
    new_pixel_scale
        In arcsec.
    centre
        (y, x) of the middle of the new grid from that of the images, in arcsec, row 0 at +y.

    Returns
    -------
    ndarray
        Shape (..., *shape), NaN where less than half of a pixel was observed.

    Raises
    ------
    DataError
        When a pixel scale is not a positive number.
    """
    if not (0.0 < pixel_scale < np.inf and 0.0 < new_pixel_scale < np.inf):
        raise DataError(
            f"pixel scales of {pixel_scale} and {new_pixel_scale} arcsec; give ones above 0"
        )
    images = np.asarray(images)
    if not np.issubdtype(images.dtype, np.floating):
        images = images.astype(float)
    # Rows count downwards.
    middles = (centre[0], -centre[1])
    if abs(pixel_scale / new_pixel_scale - 1.0) <= _SAME_SCALE:
        new_pixel_scale = pixel_scale
        middles = tuple(
            pixel_scale * (0.5 * (old - new) - np.floor(0.5 * (old - new) - at / pixel_scale + 0.5))
            for old, new, at in zip(images.shape[-2:], shape, middles, strict=True)
        )
    rows, columns = (
        _overlaps(old, pixel_scale, middle, new, new_pixel_scale).astype(images.dtype)
        for old, new, middle in zip(images.shape[-2:], shape, middles, strict=True)
    )
    observed = np.isfinite(images)
    area = rows @ observed.astype(images.dtype) @ columns.T
    covered = area >= _COVERED * new_pixel_scale**2
    total = rows @ np.where(observed, images, 0.0) @ columns.T
    return np.where(covered, total / np.where(covered, area, 1.0), np.nan).astype(images.dtype)
