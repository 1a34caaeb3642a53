"""Ways to make a vortex of profiles that lensing codes have, beside the exact one.

The first is a row of point masses, as simulations of lensing by vortices use. The second is a halo
with a sheet: an isothermal sphere whose mass a disc of negative convergence makes finite within
the length of the vortex. It has the mass and nothing of the shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import autolens as al
import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.mass import MassSheet, VortexLine

__all__ = ["Construction", "halo_with_sheet", "row_of_points", "vortex_constructions"]

_SIDE = 121


@dataclass(frozen=True, eq=False)
class Construction:
    """Deflections of a vortex along x.

    Attributes
    ----------
    name : str
        How it is made.
    y, x : ndarray
        Coordinates of rows and columns [arcsec], shape (121,), y descending.
    across, along : ndarray
        Deflection in y and in x [arcsec], shape (121, 121).
    """

    name: str
    y: np.ndarray
    x: np.ndarray
    across: np.ndarray
    along: np.ndarray


def row_of_points(
    half_length: float, einstein_radius: float, n_points: int = 100
) -> list[al.mp.PointMass]:
    """Equal point masses at the middles of equal parts of a string along x.

    Together they have the mass of the string: each has the Einstein radius of the whole over the
    root of their number.

    Raises
    ------
    OptionError
        When there is no point.
    """
    if n_points < 1:
        raise OptionError(f"a row of {n_points} points; give at least one")
    places = half_length * ((np.arange(n_points) + 0.5) / n_points * 2.0 - 1.0)
    radius = einstein_radius / np.sqrt(n_points)
    return [al.mp.PointMass(centre=(0.0, float(x)), einstein_radius=radius) for x in places]


def halo_with_sheet(half_length: float, einstein_radius: float) -> list[al.mp.MassProfile]:
    """An isothermal sphere and a disc of negative convergence, as heavy as a vortex together.

    Within ``half_length`` the convergence of the sphere, b / 2r, less that of the disc, b / 2L, is
    above zero and vanishes at its edge; it holds the mass of the vortex if b is twice the square
    of its Einstein radius over its half-length. Beyond, the sphere goes on.

    Raises
    ------
    OptionError
        When the length is not positive.
    """
    if not half_length > 0.0:
        raise OptionError(f"half_length must be above 0, not {half_length}")
    strength = 2.0 * einstein_radius**2 / half_length
    return [
        al.mp.IsothermalSph(einstein_radius=strength),
        MassSheet(kappa=-0.5 * strength / half_length, radius=half_length),
    ]


def vortex_constructions(
    half_length: float = 0.5,
    einstein_radius: float = 0.284,
    core_radius: float = 0.0,
    n_points: int = 100,
    extent: float = 1.5,
) -> list[Construction]:
    """The exact vortex first, then the two other ways to make it.

    Parameters
    ----------
    half_length, einstein_radius, core_radius
        Of the vortex, which lies along x [arcsec].
    n_points
        Of the row of points.
    extent
        Half the side of the square on which deflections are given [arcsec].
    """
    # An even number of sub-steps keeps points off the string and off its points.
    y = np.linspace(extent, -extent, _SIDE) + 0.5 * extent / _SIDE
    x = np.linspace(-extent, extent, _SIDE) + 0.37 * extent / _SIDE
    grid = al.Grid2DIrregular(np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2))
    exact = VortexLine(
        half_length=half_length, core_radius=core_radius, einstein_radius=einstein_radius
    )
    ways = {
        "exact string": [exact],
        f"row of {n_points} points": row_of_points(half_length, einstein_radius, n_points),
        "halo and sheet": halo_with_sheet(half_length, einstein_radius),
    }
    made = []
    for name, profiles in ways.items():
        total = sum(np.asarray(p.deflections_yx_2d_from(grid=grid).array) for p in profiles)
        across, along = total.T.reshape(2, _SIDE, _SIDE)
        made.append(Construction(name, y, x, across, along))
    return made
