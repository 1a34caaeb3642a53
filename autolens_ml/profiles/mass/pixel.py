"""The mass of a pixelized map: a reconstruction or a simulated halo as a mass profile."""

from types import ModuleType
from typing import Any

import autoarray as aa
import numpy as np
from autogalaxy import exc
from autogalaxy.profiles.mass.abstract.abstract import MassProfile

from autolens_ml.profiles.light.pixel import bilinear
from autolens_ml.profiles.mass import convergence_map
from autolens_ml.profiles.mass.convergence_map import LensingMaps
from autolens_ml.profiles.pixel_map import PixelMap

__all__ = ["PixelConvergence"]

# Points on a circle over which deflections and convergence are averaged.
_N_ANGLES = 4096


class PixelConvergence(PixelMap, MassProfile):
    r"""A galaxy whose convergence is a map: bilinear between the pixels, zero outside.

    At the centre of a pixel the convergence is the pixel's value times `amplitude`, wherever the
    map is moved, turned or scaled to. Half a pixel of mass reaches beyond the map's edge (the slope
    to zero), so the total mass is the sum of the map times ``amplitude * (scale * pixel_scale)**2``
    [arcsec^2], :math:`\pi` times the square of the Einstein radius of a point of that mass.

    Deflections and potential are those of the bilinear map: exact at the centres of pixels, in the
    map and on a border around it; between them bicubic, with a continuous magnification; further
    out a multipole series (`autolens_ml.profiles.mass.convergence_map`). Nothing lies beyond the
    map: where a halo is cut off, the deflections of what was cut off are missing.

    The map and its pixel scale are fixed, the other arguments are free parameters:
    ``af.Model(aml.mp.PixelConvergence, values=kappa, pixel_scale=0.05)``.
    """

    def __init__(
        self,
        values: np.ndarray,
        pixel_scale: float,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        amplitude: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        """
        Parameters
        ----------
        values
            The convergence, an array of shape (rows, columns) of numpy or JAX. As in a PyAutoLens
            array, row 0 is the top (+y) and column 0 the left (-x). Give float64 to an `af.Model`
            that is fitted: autofit's names of output folders do not see the values of float32
            arrays.
        pixel_scale
            Side of a pixel at scale 1 [arcsec], > 0.
        centre
            The (y,x) coordinates of the middle of the map [arcsec].
        position_angle
            Angle by which the map is turned counter-clockwise about `centre` [deg]; it repeats
            after 360.
        amplitude
            What the map is multiplied by, of either sign.
        scale
            What lengths on the map are multiplied by, > 0. Convergence stays, so deflections go
            with it and the mass with its square.

        Raises
        ------
        ModelParameterException
            If `values` is not two-dimensional, or `pixel_scale` or `scale` is a number that is not
            above zero and finite.
        """
        super().__init__(centre=centre, ell_comps=(0.0, 0.0))
        self._set_map(values, pixel_scale, position_angle, scale, quantity="convergence")
        self.amplitude = amplitude

    @aa.decorators.to_vector_yx
    @aa.decorators.transform(rotate_back=True)
    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        row, column = self._rows_and_columns(grid.array)
        down, right = convergence_map.deflections(self._lensing_maps(xp), row, column, xp=xp)
        return self.amplitude * self._pixel * xp.stack((-down, right), axis=-1)

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        row, column = self._rows_and_columns(grid.array)
        return self.amplitude * bilinear(self.values, row, column, xp=xp)

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        row, column = self._rows_and_columns(grid.array)
        maps = self._lensing_maps(xp)
        # The zero point is that of ln r in arcsec.
        zero = xp.sum(xp.asarray(self.values)) / np.pi * xp.log(self._pixel)
        potential = convergence_map.potential(maps, row, column, xp=xp) + zero
        return self.amplitude * self._pixel**2 * potential

    def convergence_func(self, grid_radius: Any, xp: ModuleType = np) -> Any:
        """Return the convergence averaged over circles around the centre.

        Parameters
        ----------
        grid_radius
            Radii of the circles [arcsec], any shape. Numbers, not tracers.
        """
        radii = np.asarray(getattr(grid_radius, "array", grid_radius), dtype=float)
        y, x = _circle()
        rows, columns = np.shape(self.values)

        def mean(radius: float) -> float:
            row = 0.5 * (rows - 1) - radius / self._pixel * y
            column = 0.5 * (columns - 1) + radius / self._pixel * x
            return np.mean(bilinear(self.values, row, column))

        return self.amplitude * np.vectorize(mean, otypes=[float])(radii)

    def mass_angular_within_circle_from(self, radius: float) -> float:
        r"""Return the integral of the convergence in a circle around the centre [arcsec^2].

        By Gauss's theorem half the flux of the deflections through the circle, :math:`\frac12
        \oint\boldsymbol\alpha\cdot\hat{\mathbf n}\,dl`.
        """
        y, x = _circle()
        rows, columns = np.shape(self.values)
        row = 0.5 * (rows - 1) - radius / self._pixel * y
        column = 0.5 * (columns - 1) + radius / self._pixel * x
        down, right = convergence_map.deflections(self._lensing_maps(np), row, column)
        outwards = self.amplitude * self._pixel * np.mean(right * x - down * y)
        return float(np.pi * radius * outwards)

    @property
    def average_convergence_of_1_radius(self) -> float:
        """Radius of the largest circle around the centre whose mean convergence is 1 [arcsec].

        Raises
        ------
        ProfileException
            If the mean convergence is below 1 in every circle.
        """
        from scipy.optimize import brentq

        def excess(radius: float) -> float:
            return self.mass_angular_within_circle_from(radius) / (np.pi * radius**2) - 1.0

        # No circle holds more than all mass above zero, which bounds the radius.
        mass = np.sum(np.maximum(self.amplitude * np.asarray(self.values), 0.0)) * self._pixel**2
        outer = np.sqrt(mass / np.pi) * (1.0 + 1e-6)
        radii = np.arange(outer, 0.0, -0.5 * self._pixel)
        inner = next((radius for radius in radii if excess(radius) > 0.0), None)
        if inner is None:
            raise exc.ProfileException(
                "the mean convergence of this PixelConvergence is below 1 in every circle around "
                "its centre. Ask the galaxy or the tracer that holds it, or move its centre"
            )
        return float(brentq(excess, inner, inner + 0.5 * self._pixel, xtol=1e-12))

    def _lensing_maps(self, xp: ModuleType) -> LensingMaps:
        return convergence_map.lensing_maps(self.values, xp=xp)


def _circle() -> tuple[np.ndarray, np.ndarray]:
    """The (y,x) coordinates of points on a circle of radius 1."""
    angles = 2.0 * np.pi * (np.arange(_N_ANGLES) + 0.5) / _N_ANGLES
    return np.sin(angles), np.cos(angles)
