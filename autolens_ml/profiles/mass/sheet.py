r"""Sheets of constant convergence, and the mass-sheet transform of real galaxies.

A sheet has the *same* convergence everywhere. The often quoted :math:`\kappa(x) = 1/(2x)`, with
:math:`x` the radius in units of the Einstein radius, is no sheet: it is the isothermal sphere,
which is `al.mp.IsothermalSph`.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import autoarray as aa
import autolens as al
import numpy as np
from autoarray import validate
from autogalaxy import exc
from autogalaxy.profiles.basis import Basis
from autogalaxy.profiles.light.abstract import LightProfile
from autogalaxy.profiles.light_and_mass_profiles import LightMassProfile
from autogalaxy.profiles.mass.abstract.abstract import MassProfile
from autonerves.dictable import get_arguments

from autolens_ml.profiles.light.pixel import PixelLight

__all__ = ["MassSheet", "ScaledMass", "mass_sheet_transform"]


class MassSheet(MassProfile):
    r"""A sheet of constant convergence, infinite or cut to a disc.

    With :math:`\mathbf r` the position relative to the centre, inside the sheet

    .. math::
        \kappa = \kappa_0,\quad \boldsymbol\alpha = \kappa_0\mathbf r,\quad \psi = \tfrac12\kappa_0
        r^2

    and outside a disc of radius :math:`R` the point mass :math:`\pi\kappa_0R^2`:
    :math:`\boldsymbol\alpha = \kappa_0R^2\,\mathbf r/r^2`, :math:`\psi = \kappa_0R^2[\tfrac12 +
    \ln(r/R)]`.

    Differences to `al.mp.MassSheet`: the potential is that of the deflections for any centre, the
    enclosed mass is that of the sheet, and the disc.

    References
    ----------
    Falco, Gorenstein & Shapiro 1985, ApJ, 289, L1; Schneider & Sluse 2013, A&A, 559, A37.
    """

    def __init__(
        self,
        centre: tuple[float, float] = (0.0, 0.0),
        kappa: float = 0.0,
        radius: float | None = None,
    ) -> None:
        """
        Parameters
        ----------
        centre
            The (y,x) coordinates of the point that the sheet does not deflect [arcsec].
        kappa
            Its convergence, of either sign.
        radius
            Radius of the disc [arcsec], > 0; None for an infinite sheet.

        Raises
        ------
        ModelParameterException
            If `radius` is a number that is not above zero and finite.
        """
        super().__init__(centre=centre, ell_comps=(0.0, 0.0))
        if radius is not None:
            validate.validate_positive_finite(
                value=radius,
                name="radius",
                exc_type=exc.ModelParameterException,
                extra="It is the radius of the disc [arcsec]; None is an infinite sheet",
            )
        self.kappa = kappa
        self.radius = radius

    @aa.decorators.to_vector_yx
    @aa.decorators.transform
    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        if self.radius is None:
            return self.kappa * grid.array
        outside = self._squared_radii_outside(grid.array, xp)
        return self.kappa * (self.radius**2 / outside)[:, None] * grid.array

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        return self._convergence(xp.sum(grid.array**2, axis=1), xp)

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        r2 = xp.sum(grid.array**2, axis=1)
        if self.radius is None:
            return 0.5 * self.kappa * r2
        outside = self._squared_radii_outside(grid.array, xp)
        inner = 0.5 * self.kappa * xp.minimum(r2, self.radius**2)
        return inner + 0.5 * self.kappa * self.radius**2 * xp.log(outside / self.radius**2)

    def convergence_func(self, grid_radius: Any, xp: ModuleType = np) -> Any:
        """Return the convergence at radii [arcsec] of any shape around the centre."""
        return self._convergence(xp.asarray(getattr(grid_radius, "array", grid_radius)) ** 2, xp)

    def mass_angular_within_circle_from(self, radius: float) -> float:
        """Return the integral of the convergence in a circle around the centre [arcsec^2]."""
        edge = radius if self.radius is None else min(radius, self.radius)
        return np.pi * self.kappa * edge**2

    @staticmethod
    def radial_deflection_from(r: Any, params: Any, xp: ModuleType) -> Any:
        """Radial deflection [arcsec] of infinite sheets at radii `r`; ``params[0]`` is `kappa`."""
        return params[0] * r

    @property
    def average_convergence_of_1_radius(self) -> float:
        """Radius of the circle around the centre inside which the mean convergence is 1 [arcsec].

        A disc of convergence above 1 has one; of an infinite sheet the mean stays at `kappa`, so
        from 1 on the radius is infinite.

        Raises
        ------
        ProfileException
            If `kappa` is below 1: the mean convergence is below 1 in every circle.
        """
        if self.kappa < 1.0:
            raise exc.ProfileException(
                f"a mass sheet of kappa={self.kappa:.4g} has a mean convergence below 1 in every "
                "circle, so it has no Einstein radius. Ask the galaxy or the tracer that holds it"
            )
        return float("inf") if self.radius is None else float(self.radius * np.sqrt(self.kappa))

    def _convergence(self, squared_radii: Any, xp: ModuleType) -> Any:
        if self.radius is None:
            return self.kappa * xp.ones_like(squared_radii)
        return xp.where(squared_radii < self.radius**2, self.kappa, 0.0)

    def _squared_radii_outside(self, yx: Any, xp: ModuleType) -> Any:
        """Squared distances to the centre, those inside the disc replaced by its radius."""
        return xp.maximum(xp.sum(yx**2, axis=1), self.radius**2)


class ScaledMass(MassProfile):
    """Any mass profile with its convergence, deflections and potential multiplied by one factor.

    The amplitudes of PyAutoLens's profiles enter their lensing in different powers (an isothermal's
    Einstein radius linearly, a point mass's squared, a power law's to the slope minus 1), and some
    are not arguments at all; multiplying what comes out is right for all of them.
    """

    def __init__(self, profile: MassProfile, factor: float = 1.0) -> None:
        """
        Parameters
        ----------
        profile
            The mass profile.
        factor
            What its convergence is multiplied by, of either sign.
        """
        super().__init__(centre=profile.centre, ell_comps=profile.ell_comps)
        self.profile = profile
        self.factor = factor

    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        return self.factor * self.profile.deflections_yx_2d_from(grid=grid, xp=xp, **kwargs)

    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        return self.factor * self.profile.convergence_2d_from(grid=grid, xp=xp, **kwargs)

    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        return self.factor * self.profile.potential_2d_from(grid=grid, xp=xp, **kwargs)

    def convergence_func(self, grid_radius: Any, xp: ModuleType = np) -> Any:
        """Return the factor times the radial convergence of the profile."""
        return self.factor * self.profile.convergence_func(grid_radius=grid_radius, xp=xp)

    def mass_angular_within_circle_from(self, radius: float) -> float:
        """Return the integral of the convergence in a circle around the centre [arcsec^2]."""
        return self.factor * self.profile.mass_angular_within_circle_from(radius=radius)


# Powers of lambda by which the arguments of a source follow its scaling. Surface brightness stays,
# but some intensities are per length or per pixel; point fluxes make up for the magnification.
_SOURCE_POWERS: dict[type, dict[str, int]] = {
    al.lp.Sersic: {"effective_radius": 1},
    al.lp.SersicCore: {"effective_radius": 1, "radius_break": 1},
    al.lp.Gaussian: {"sigma": 1},
    al.lp.Moffat: {"alpha": 1},
    al.lp.ElsonFreeFall: {"effective_radius": 1},
    al.lp.Chameleon: {"core_radius_0": 1, "core_radius_1": 1, "intensity": 1},
    al.lp.PointSource: {"intensity": 2},
    al.lp.ShapeletPolar: {"beta": 1, "intensity": 1},
    al.lp.ShapeletCartesian: {"beta": 1, "intensity": 1},
    al.ps.PointFlux: {"flux": 2},
    al.ps.Point: {},
    PixelLight: {"scale": 1},
}


def mass_sheet_transform(
    galaxies: Sequence[al.Galaxy], lambda_: float, centre: tuple[float, float] = (0.0, 0.0)
) -> list[al.Galaxy]:
    r"""Apply the mass-sheet transform: another lens and source with exactly the same images.

    .. math::
        \kappa \to \lambda\kappa + (1-\lambda),\quad
        \boldsymbol\beta \to \lambda\boldsymbol\beta + (1-\lambda)\boldsymbol\theta_0

    Positions, shapes and flux ratios of the images stay; the magnification becomes
    :math:`\mu/\lambda^2` and time delays :math:`\lambda\,\Delta t` (Falco, Gorenstein & Shapiro
    1985, ApJ, 289, L1).

    Parameters
    ----------
    galaxies
        Galaxies of a system with one lens plane and one source plane, in any order. They are not
        changed.
    lambda_
        The :math:`\lambda` of the transform, above 0; 1 changes nothing.
    centre
        The (y,x) point :math:`\boldsymbol\theta_0` that the sheet does not deflect [arcsec].

    Returns
    -------
    New galaxies in the same order. Every mass profile of the lens is a `ScaledMass` under its old
    name (a light-and-mass profile keeps its light and has its mass-to-light ratio scaled), and the
    first lens galaxy also has a `MassSheet` named ``mass_sheet``, with a number if that is taken.
    Light profiles and point sources of the source have scaled centres and sizes, and fluxes where
    they are point-like. A pixelized source follows the traced coordinates by itself and is left
    alone.

    Raises
    ------
    ModelParameterException
        If `lambda_` is not above zero and finite.
    GalaxyException
        If the mass is not in exactly one plane in front of exactly one source plane (the transform
        is not exact then), or a source holds a profile that can't be scaled.
    """
    validate.validate_positive_finite(
        value=lambda_,
        name="lambda_",
        exc_type=exc.ModelParameterException,
        extra="1 changes nothing",
    )
    lens_redshift, source_redshift = _two_planes(galaxies)
    transformed, sheet_placed = [], False
    for galaxy in galaxies:
        parts = {k: v for k, v in vars(galaxy).items() if k not in ("redshift", "id", "label")}
        if galaxy.redshift == lens_redshift:
            parts = {name: _scaled_mass(part, lambda_) for name, part in parts.items()}
            if not sheet_placed:
                parts[_free_name(parts)] = MassSheet(centre=centre, kappa=1.0 - lambda_)
                sheet_placed = True
        elif galaxy.redshift == source_redshift:
            parts = {name: _scaled_source(part, lambda_, centre) for name, part in parts.items()}
        transformed.append(al.Galaxy(redshift=galaxy.redshift, **parts))
    return transformed


def _two_planes(galaxies: Sequence[al.Galaxy]) -> tuple[float, float]:
    """Return the redshifts of the one lens plane and the one source plane."""
    redshifts = sorted({float(galaxy.redshift) for galaxy in galaxies})
    # Mass in the last plane deflects nothing.
    lenses = {
        float(galaxy.redshift)
        for galaxy in galaxies
        if galaxy.redshift < redshifts[-1] and any(map(_has_mass, vars(galaxy).values()))
    }
    between = [z for z in redshifts if lenses and min(lenses) < z < redshifts[-1]]
    if len(lenses) != 1 or between:
        raise exc.GalaxyException(
            "the mass-sheet transform is exact only for one lens and one source plane; "
            f"these galaxies are at {redshifts}, with mass in front of the last at {sorted(lenses)}"
        )
    return lenses.pop(), redshifts[-1]


def _has_mass(part: Any) -> bool:
    return (
        any(map(_has_mass, part.profile_list))
        if isinstance(part, Basis)
        else isinstance(part, MassProfile)
    )


def _free_name(parts: dict[str, Any]) -> str:
    name, number = "mass_sheet", 0
    while name in parts:
        number += 1
        name = f"mass_sheet_{number}"
    return name


def _rebuilt(part: Any, **changes: Any) -> Any:
    """A copy made by the constructor, which also renews what it derives from its arguments."""
    arguments = {
        name: getattr(part, name) for name in get_arguments(type(part)) if hasattr(part, name)
    }
    return type(part)(**{**arguments, **changes})


def _scaled_mass(part: Any, factor: float) -> Any:
    if isinstance(part, Basis):
        return _rebuilt(part, profile_list=[_scaled_mass(p, factor) for p in part.profile_list])
    if isinstance(part, LightMassProfile):
        # Its light must stay, and its convergence is linear in the ratio.
        arguments = get_arguments(type(part))
        ratio = next(
            n for n in ("mass_to_light_ratio_base", "mass_to_light_ratio") if n in arguments
        )
        return _rebuilt(part, **{ratio: factor * getattr(part, ratio)})
    return ScaledMass(profile=part, factor=factor) if isinstance(part, MassProfile) else part


def _scaled_source(part: Any, factor: float, origin: tuple[float, float]) -> Any:
    if isinstance(part, Basis):
        members = [_scaled_source(p, factor, origin) for p in part.profile_list]
        return _rebuilt(part, profile_list=members)
    if not isinstance(part, LightProfile | al.ps.Point):
        return part
    family = next((c for c in type(part).__mro__ if c in _SOURCE_POWERS), None)
    if family is None:
        raise exc.GalaxyException(
            f"a source with the profile {type(part).__name__} can't be transformed. Known are "
            f"{', '.join(sorted(c.__name__ for c in _SOURCE_POWERS))} and what derives from them"
        )
    arguments = get_arguments(type(part))
    changes: dict[str, Any] = {
        name: factor**power * getattr(part, name)
        for name, power in _SOURCE_POWERS[family].items()
        if name in arguments
    }
    changes["centre"] = tuple(
        factor * c + (1.0 - factor) * o for c, o in zip(part.centre, origin, strict=True)
    )
    return _rebuilt(part, **changes)
