"""Maps moved, turned, stretched and seen with other pixels, many at once."""

from __future__ import annotations

from functools import cache
from typing import Any

import autolens as al
import jax
import jax.numpy as jnp
import numpy as np

from autolens_ml.profiles.light import PixelLight

__all__ = ["resampled"]

# Maps per compiled call, whatever their number.
_CHUNK = 16
# Pixels are averages of this many positions a side.
_OVER_SAMPLE = 4


def resampled(
    values: np.ndarray,
    pixel_scale: float,
    new_shape: tuple[int, int],
    new_pixel_scale: float,
    centre: np.ndarray,
    position_angle: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Maps as :class:`PixelLight` has them, averaged over the pixels of another frame.

    Parameters
    ----------
    values
        Shape (n, y, x), row 0 at +y.
    pixel_scale
        Side of their pixels [arcsec].
    new_shape
        Rows and columns of the frame, whose middle is the origin.
    new_pixel_scale
        Side of its pixels [arcsec].
    centre
        Where the middles of the maps come to lie, (y, x) [arcsec], shape (n, 2).
    position_angle
        By which they are turned counter-clockwise about their middles [deg], shape (n,).
    scale
        What lengths on them are multiplied by, shape (n,). Their values stay.

    Returns
    -------
    ndarray
        Shape (n, *new_shape), float64; zero outside of the maps.
    """
    n = len(values)
    if n == 0:
        return np.empty((0, *new_shape))
    arrays = [np.asarray(array, dtype=float) for array in (values, centre, position_angle, scale)]
    arrays = [np.concatenate([a, np.repeat(a[-1:], -n % _CHUNK, axis=0)]) for a in arrays]
    with jax.enable_x64(True):
        move = _compiled(float(pixel_scale), tuple(new_shape), float(new_pixel_scale))
        moved = [
            np.asarray(move(*(array[start : start + _CHUNK] for array in arrays)))
            for start in range(0, n, _CHUNK)
        ]
    return np.concatenate(moved)[:n]


@cache
def _compiled(pixel_scale: float, new_shape: tuple[int, int], new_pixel_scale: float) -> Any:
    grid = al.Grid2D.uniform(
        shape_native=new_shape, pixel_scales=new_pixel_scale, over_sample_size=_OVER_SAMPLE
    )

    def one(arrays: tuple[Any, ...]) -> Any:
        values, centre, position_angle, scale = arrays
        light = PixelLight(
            values=values,
            pixel_scale=pixel_scale,
            centre=(centre[0], centre[1]),
            position_angle=position_angle,
            scale=scale,
        )
        return light.image_2d_from(grid=grid, xp=jnp).array.reshape(new_shape)

    return jax.jit(lambda *arrays: jax.lax.map(one, arrays))
