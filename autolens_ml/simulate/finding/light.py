"""Galaxies of Sersic light by PyAutoLens, finely sampled where they peak, many in one call."""

from __future__ import annotations

from functools import cache
from typing import Any

import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gamma, gammaincinv

from autolens_ml.simulate.fast_math import accelerated

__all__ = ["PIXEL_SCALE", "SIDE", "sersic_flux", "sersic_images"]

# The grid on which scenes are made: VIS pixels, and a margin from which light spills in.
PIXEL_SCALE = 0.1
SIDE = 216
# Sub-pixels a side within these radii [arcsec] of the middle, where the main galaxies peak.
_SUB_PIXELS = ((0.5, 8), (1.2, 4), (2.5, 2))
# Galaxies per compiled call.
_CHUNK = 64


def sersic_images(parameters: np.ndarray) -> np.ndarray:
    """Images of Sersic profiles that hold a flux of one each, light beyond the frame included.

    Parameters
    ----------
    parameters
        ``centre`` (y, x), ``ell_comps``, ``effective_radius`` and ``sersic_index`` of each, shape
        (n, 6).

    Returns
    -------
    ndarray
        Flux per pixel, float32, shape (n, 216, 216), row 0 at +y.
    """
    parameters = np.asarray(parameters, dtype=float)
    n = len(parameters)
    if n == 0:
        return np.empty((0, SIDE, SIDE), dtype=np.float32)
    padded = np.concatenate([parameters, np.repeat(parameters[-1:], -n % _CHUNK, axis=0)])
    images = np.empty((len(padded), SIDE, SIDE), dtype=np.float32)
    with jax.enable_x64(True):
        for i in range(0, len(padded), _CHUNK):
            images[i : i + _CHUNK] = _rendered()(jnp.asarray(padded[i : i + _CHUNK]))
    flux = sersic_flux(parameters[:, 4], parameters[:, 5])
    return images[:n] * (PIXEL_SCALE**2 / flux)[:, None, None].astype(np.float32)


def sersic_flux(effective_radius: np.ndarray, sersic_index: np.ndarray) -> np.ndarray:
    """Flux of Sersic profiles of intensity 1, whose ellipses have the area of their circle."""
    n = np.asarray(sersic_index, dtype=float)
    b = gammaincinv(2.0 * n, 0.5)
    return 2.0 * np.pi * effective_radius**2 * n * np.exp(b) * b ** (-2.0 * n) * gamma(2.0 * n)


@cache
def _grid() -> al.Grid2D:
    mask = al.Mask2D.all_false((SIDE, SIDE), pixel_scales=PIXEL_SCALE)
    y, x = np.moveaxis(np.asarray(al.Grid2D.from_mask(mask).native.array), -1, 0)
    sizes = np.ones((SIDE, SIDE), dtype=int)
    for radius, size in reversed(_SUB_PIXELS):
        sizes[np.hypot(y, x) < radius] = size
    return al.Grid2D.from_mask(mask, over_sample_size=al.Array2D(sizes, mask=mask))


@cache
def _rendered() -> Any:
    grid = _grid()

    def image(row: Any) -> Any:
        light = al.lp.Sersic(
            centre=(row[0], row[1]),
            ell_comps=(row[2], row[3]),
            effective_radius=row[4],
            sersic_index=row[5],
        )
        values = light.image_2d_from(grid=grid, xp=jnp)
        values = getattr(values, "array", values) / light.intensity
        return jnp.reshape(values, (SIDE, SIDE)).astype(jnp.float32)

    fused = accelerated(image)
    return jax.jit(lambda rows: jax.lax.map(fused, rows))
