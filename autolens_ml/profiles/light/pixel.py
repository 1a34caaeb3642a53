"""The light of a pixelized map: a real or a simulated galaxy as a light profile."""

from types import ModuleType
from typing import Any

import autoarray as aa
import numpy as np
from autogalaxy.profiles.light.abstract import LightProfile
from autogalaxy.profiles.light.decorators import check_operated_only

from autolens_ml.profiles.pixel_map import PixelMap

__all__ = ["PixelLight", "bilinear"]


def bilinear(values: Any, row: Any, column: Any, xp: ModuleType = np) -> Any:
    """A map between its pixel centres: bilinear, and zero from one pixel beyond the last ones.

    It is continuous everywhere, and its integral over the plane is the sum of the map. Derivatives
    jump from pixel to pixel and are finite.

    Parameters
    ----------
    values
        The map, of shape (rows, columns).
    row, column
        Positions in pixels, of any one shape; 0 is the centre of the first row or column.
    xp
        `numpy` or `jax.numpy`.

    Returns
    -------
    The map at the positions, of their shape.
    """
    # One ring of zeros is what the map fades to.
    padded = xp.pad(xp.asarray(values), 1)
    rows, columns = padded.shape
    r, c = xp.clip(row + 1.0, 0.0, rows - 1.0), xp.clip(column + 1.0, 0.0, columns - 1.0)
    i = xp.clip(xp.floor(r).astype(int), 0, rows - 2)
    j = xp.clip(xp.floor(c).astype(int), 0, columns - 2)
    v, u = r - i, c - j
    lower = (1.0 - u) * padded[i, j] + u * padded[i, j + 1]
    upper = (1.0 - u) * padded[i + 1, j] + u * padded[i + 1, j + 1]
    return (1.0 - v) * lower + v * upper


class PixelLight(PixelMap, LightProfile):
    """A galaxy whose surface brightness is a map: bilinear between the pixels, zero outside.

    At the centre of a pixel the surface brightness is the pixel's value times `intensity`, wherever
    the map is moved, turned or scaled to. Half a pixel of light reaches beyond the map's edge (the
    slope to zero), so the total flux is the sum of the map times ``intensity * (scale *
    pixel_scale)**2``.

    The map and its pixel scale are fixed, the other arguments are free parameters:
    ``af.Model(aml.lp.PixelLight, values=stamp, pixel_scale=0.05)``.
    """

    def __init__(
        self,
        values: np.ndarray,
        pixel_scale: float,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        intensity: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        """
        Parameters
        ----------
        values
            The surface brightness, an array of shape (rows, columns) of numpy or JAX. As in a
            PyAutoLens array, row 0 is the top (+y) and column 0 the left (-x). Give float64 to an
            `af.Model` that is fitted: autofit's names of output folders do not see the values of
            float32 arrays.
        pixel_scale
            Side of a pixel at scale 1 [arcsec], > 0.
        centre
            The (y,x) coordinates of the middle of the map [arcsec].
        position_angle
            Angle by which the map is turned counter-clockwise about `centre` [deg]; it repeats
            after 360.
        intensity
            What the map is multiplied by.
        scale
            What lengths on the map are multiplied by, > 0. Surface brightness stays, so the flux
            goes with the square.

        Raises
        ------
        ModelParameterException
            If `values` is not two-dimensional, or `pixel_scale` or `scale` is a number that is not
            above zero and finite.
        """
        super().__init__(centre=centre, ell_comps=(0.0, 0.0), intensity=intensity)
        self._set_map(values, pixel_scale, position_angle, scale, quantity="surface brightness")

    @aa.over_sample
    @aa.decorators.to_array
    @check_operated_only
    @aa.decorators.transform
    def image_2d_from(
        self,
        grid: aa.type.Grid2DLike,
        xp: ModuleType = np,
        operated_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the surface brightness, (N,), at (y,x) positions (N, 2)."""
        row, column = self._rows_and_columns(grid.array)
        return self._intensity * bilinear(self.values, row, column, xp=xp)
