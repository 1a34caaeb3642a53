r"""Vortices of a superfluid dark-matter halo as mass profiles.

A quantised vortex of a condensate is a long thin filament. Alexander et al. (2020, ApJ 893, 15)
lens it as a tube of density :math:`\rho_v(r) = \rho_{v0}[(r/r_v)^{\alpha_v} - 1]` for :math:`r \le
r_v`: with :math:`\rho_{v0} > 0` that is the missing mass of the core, while simulations built on
the paper put the same shape into the halo as extra mass. Both are available here: **a negative**
`einstein_radius` **is a negative mass**, so one prior that spans zero lets a fit decide the sign.

A string of kiloparsec length that holds per cents of a halo's mass is a toy: published estimates of
the mass in vortices are far smaller.
"""

from types import ModuleType
from typing import Any, ClassVar, Self

import autoarray as aa
import numpy as np
from autoarray import validate
from autogalaxy import exc
from autogalaxy.cosmology.model import LensingCosmology
from autogalaxy.profiles.mass.abstract.abstract import MassProfile

from autolens_ml.profiles.mass import physical
from autolens_ml.profiles.mass.straight_string import LINE, TUBE, ClosedForms

__all__ = ["VortexLine", "VortexLineComps", "VortexTube"]


# Of strings by components [arcsec]: with it gradients are finite where length or mass is zero.
_LEAST_LENGTH = 1e-9


class _StraightString(MassProfile):
    """A straight string with a given cross profile: all that lines and tubes share.

    A subclass names its closed forms and the width (core or radius) that they take.
    """

    _forms: ClassVar[ClosedForms]
    _width_name: ClassVar[str]
    position_angle: Any
    half_length: Any
    einstein_radius: Any

    def __init__(self, centre: tuple[float, float]) -> None:
        super().__init__(centre=centre, ell_comps=(0.0, 0.0))

    @property
    def _shape(self) -> tuple[Any, Any, Any]:
        return self.half_length, getattr(self, self._width_name), self.einstein_radius

    def angle(self, xp: ModuleType = np) -> float:
        """The angle [deg] by which PyAutoLens's geometry rotates into the frame of the string."""
        return self.position_angle

    @aa.decorators.to_vector_yx
    @aa.decorators.transform(rotate_back=True)
    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        v, u = grid.array[:, 0], grid.array[:, 1]
        along, across = self._forms.deflections(u, v, *self._shape, xp=xp)
        return xp.stack((across, along), axis=-1)

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        v, u = grid.array[:, 0], grid.array[:, 1]
        return self._forms.convergence(u, v, *self._shape, xp=xp)

    @aa.over_sample
    @aa.decorators.to_array
    @aa.decorators.transform
    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        v, u = grid.array[:, 0], grid.array[:, 1]
        return self._forms.potential(u, v, *self._shape, xp=xp)

    def convergence_func(self, grid_radius: Any, xp: ModuleType = np) -> Any:
        """Return the convergence averaged over circles around the centre.

        Parameters
        ----------
        grid_radius
            Radii of the circles [arcsec], any shape. Numbers, not tracers: the average is
            integrated by quadrature.
        """
        radii = np.asarray(getattr(grid_radius, "array", grid_radius), dtype=float)
        mean = np.vectorize(lambda r: self._forms.mean_convergence(r, *self._shape), otypes=[float])
        return mean(radii)

    def mass_angular_within_circle_from(self, radius: float) -> float:
        """Return the integral of the convergence in a circle around the centre [arcsec^2]."""
        return self._forms.mass_within(radius, *self._shape)

    @property
    def average_convergence_of_1_radius(self) -> float:
        """Radius of the circle around the centre inside which the mean convergence is 1 [arcsec].

        Raises
        ------
        ProfileException
            If no circle has a mean convergence of 1: the mass is negative or too spread out.
        """
        from scipy.optimize import brentq

        def excess(radius: float) -> float:
            return self.mass_angular_within_circle_from(radius) / (np.pi * radius**2) - 1.0

        # The enclosed mass never exceeds the total, so the root is at most the Einstein radius.
        outer = self.einstein_radius * (1.0 + 1e-9)
        inner = 1e-6 * outer
        if outer <= 0.0 or excess(inner) <= 0.0:
            raise exc.ProfileException(
                f"the mean convergence of this {type(self).__name__} is below 1 in every circle. "
                "Make it heavier (einstein_radius), shorter or thinner, or ask the whole lens: a "
                "vortex is usually a perturber"
            )
        return float(brentq(excess, inner, outer, xtol=1e-12))


class _StringByAngle(_StraightString):
    """A string of which an angle and a length are parameters."""

    def __init__(
        self,
        centre: tuple[float, float],
        position_angle: float,
        half_length: float,
        einstein_radius: float,
    ) -> None:
        super().__init__(centre)
        _check_length(half_length, "half_length")
        self.position_angle = position_angle
        self.half_length = half_length
        self.einstein_radius = einstein_radius


class VortexLine(_StringByAngle):
    r"""A straight string of mass softened by a Plummer core: exact, and smooth everywhere.

    .. math::
        \alpha_u = \frac{m}{4L}\ln\frac{(u+L)^2+w^2}{(u-L)^2+w^2},\quad
        \alpha_v = \frac{m}{2L}\,\frac{v}{w}\left[\arctan\frac{u+L}{w}-\arctan\frac{u-L}{w}\right]

    with :math:`u, v` along and across the string, :math:`w^2 = v^2 + c^2`, half-length :math:`L`,
    core :math:`c` and :math:`m = \theta_E|\theta_E|`. It is the limit of a row of N Plummer points
    of Einstein radius :math:`\theta_E/\sqrt N`. Far away it is a point mass of Einstein radius
    :math:`\theta_E`. With ``core_radius=0`` it is the thin string (:math:`\alpha_v` jumps by
    :math:`\pi m/L` across it), with ``half_length=0`` a Plummer point, with both zero a point mass.
    """

    _forms = LINE
    _width_name = "core_radius"

    def __init__(
        self,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        half_length: float = 0.5,
        core_radius: float = 0.05,
        einstein_radius: float = 0.3,
    ) -> None:
        """
        Parameters
        ----------
        centre
            The (y,x) coordinates of the midpoint [arcsec].
        position_angle
            Direction of the string, counter-clockwise from the positive x-axis [deg]; it repeats
            after 180.
        half_length
            Half the length on the sky [arcsec], >= 0.
        core_radius
            Softening length [arcsec], >= 0; of a long string, 71 % of the mass lies within it of
            the axis.
        einstein_radius
            Einstein radius of the total mass [arcsec]. **Negative: a negative mass** of the same
            size.

        Raises
        ------
        ModelParameterException
            If `half_length` or `core_radius` is a number below zero or not finite.
        """
        super().__init__(centre, position_angle, half_length, einstein_radius)
        _check_length(core_radius, "core_radius")
        self.core_radius = core_radius

    @classmethod
    def from_physical(
        cls,
        mass: Any,
        length_kpc: Any,
        core_kpc: Any,
        redshift_lens: float,
        redshift_source: float,
        cosmology: LensingCosmology | None = None,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        inclination: float = 90.0,
    ) -> Self:
        """A vortex of a given mass and size, by angular-diameter distances.

        Parameters
        ----------
        mass
            Total mass: a float in solar masses, or an astropy quantity. Negative for a deficit.
        length_kpc
            Full length of the string: a float in kpc, or an astropy quantity.
        core_kpc
            Softening length: a float in kpc, or an astropy quantity.
        redshift_lens, redshift_source
            Redshifts of the vortex and of the source.
        cosmology
            A PyAutoLens cosmology; `al.cosmo.Planck15()` by default, as in `al.Tracer`.
        centre
            The (y,x) coordinates of the midpoint [arcsec].
        position_angle
            Direction on the sky, counter-clockwise from the positive x-axis [deg].
        inclination
            Angle between the string and the line of sight [deg]: 90 lies in the sky, 0 is seen
            end-on.

        Raises
        ------
        ModelParameterException
            For redshifts out of order, negative lengths or quantities of the wrong dimension.
        """
        return cls(
            centre=centre,
            position_angle=position_angle,
            half_length=_projected_half_length(length_kpc, inclination, redshift_lens, cosmology),
            core_radius=physical.arcsec_from(core_kpc, redshift_lens, "core_kpc", cosmology),
            einstein_radius=physical.einstein_radius_from(
                mass, redshift_lens, redshift_source, cosmology
            ),
        )


class VortexLineComps(_StraightString):
    r"""A `VortexLine` by parameters that a fit can move along straight lines.

    `length_comps` is :math:`L\,(\sin 2\phi, \cos 2\phi)` with half-length :math:`L` and position
    angle :math:`\phi`, as `ell_comps` are of an ellipse: no angle jumps from 180 degrees to 0, and
    none means nothing where the string is short. `mass_angular` is what the convergence adds up to,
    and is traded linearly for that of other profiles, where an Einstein radius is its root.
    """

    _forms = LINE
    _width_name = "core_radius"

    def __init__(
        self,
        centre: tuple[float, float] = (0.0, 0.0),
        length_comps: tuple[float, float] = (0.0, 0.5),
        core_radius: float = 0.05,
        mass_angular: float = 0.3,
    ) -> None:
        """
        Parameters
        ----------
        centre
            The (y,x) coordinates of the midpoint [arcsec].
        length_comps
            The half-length [arcsec] times the sine and the cosine of twice the position angle
            (counter-clockwise from the positive x-axis).
        core_radius
            Softening length [arcsec], >= 0.
        mass_angular
            Integral of the convergence [arcsec^2]: pi times the square of the Einstein radius of
            the total mass. Negative: a negative mass.

        Raises
        ------
        ModelParameterException
            If `core_radius` is a number below zero or not finite.
        """
        super().__init__(centre)
        _check_length(core_radius, "core_radius")
        self.mass_angular = mass_angular
        self.length_comps = length_comps
        self.core_radius = core_radius

    @property
    def einstein_radius(self) -> Any:
        """Einstein radius of the total mass [arcsec], negative for a negative mass."""
        square = self.mass_angular / np.pi
        return square / (abs(square) + _LEAST_LENGTH**2) ** 0.5

    @property
    def half_length(self) -> Any:
        """Half the length on the sky [arcsec]."""
        y, x = self.length_comps
        return (y * y + x * x + _LEAST_LENGTH**2) ** 0.5

    @property
    def position_angle(self) -> Any:
        """Direction of the string, counter-clockwise from the positive x-axis [deg]."""
        return self.angle()

    def angle(self, xp: ModuleType = np) -> Any:
        """The angle [deg] by which PyAutoLens's geometry rotates into the frame of the string."""
        y, x = self.length_comps
        return 0.5 * xp.degrees(xp.arctan2(y, x + _LEAST_LENGTH))


class VortexTube(_StringByAngle):
    r"""The vortex tube of Alexander et al. (2020, ApJ 893, 15) with :math:`\alpha_v = 2`.

    In the plane of the sky, the density :math:`\rho = \rho_0[1-(r/R)^2]` inside a cylinder of
    radius :math:`R` and length :math:`2L` projects to :math:`\Sigma =
    \frac43\rho_0(R^2-v^2)^{3/2}/R^2`; its mass per length is :math:`\frac{\pi}{2}\rho_0R^2`.
    Deflections and potential are exact
    (`autolens_ml.profiles.mass.straight_string.tube_deflections`). Far away it is a point mass of
    Einstein radius `einstein_radius`; with ``tube_radius=0`` it is the thin string. A `half_length`
    below 1e-6 arcsec is taken as 1e-6 arcsec.
    """

    _forms = TUBE
    _width_name = "tube_radius"

    def __init__(
        self,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        half_length: float = 0.5,
        tube_radius: float = 0.1,
        einstein_radius: float = 0.3,
    ) -> None:
        """
        Parameters
        ----------
        centre
            The (y,x) coordinates of the midpoint [arcsec].
        position_angle
            Direction of the tube, counter-clockwise from the positive x-axis [deg]; it repeats
            after 180.
        half_length
            Half the length on the sky [arcsec], >= 0.
        tube_radius
            Radius of the tube [arcsec], >= 0; all of its mass lies inside.
        einstein_radius
            Einstein radius of the total mass [arcsec]. **Negative: a negative mass** of the same
            size.

        Raises
        ------
        ModelParameterException
            If `half_length` or `tube_radius` is a number below zero or not finite.
        """
        super().__init__(centre, position_angle, half_length, einstein_radius)
        _check_length(tube_radius, "tube_radius")
        self.tube_radius = tube_radius

    @classmethod
    def from_physical(
        cls,
        mass: Any,
        length_kpc: Any,
        tube_radius_kpc: Any,
        redshift_lens: float,
        redshift_source: float,
        cosmology: LensingCosmology | None = None,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        inclination: float = 90.0,
    ) -> Self:
        """A tube of a given mass and size; parameters and errors as `VortexLine.from_physical`.

        `inclination` shortens the projected length and neglects that the ends of a tilted tube are
        ellipses.
        """
        return cls(
            centre=centre,
            position_angle=position_angle,
            half_length=_projected_half_length(length_kpc, inclination, redshift_lens, cosmology),
            tube_radius=physical.arcsec_from(
                tube_radius_kpc, redshift_lens, "tube_radius_kpc", cosmology
            ),
            einstein_radius=physical.einstein_radius_from(
                mass, redshift_lens, redshift_source, cosmology
            ),
        )


def _check_length(value: Any, name: str) -> None:
    validate.validate_non_negative_finite(
        value=value,
        name=name,
        exc_type=exc.ModelParameterException,
        extra="It is a length in arcseconds; zero is allowed: the thin or the point-like limit",
    )


def _projected_half_length(
    length_kpc: Any, inclination: float, redshift: float, cosmology: LensingCosmology | None
) -> float:
    """Half the length on the sky [arcsec]; `inclination` is from the line of sight [deg]."""
    length = physical.arcsec_from(length_kpc, redshift, "length_kpc", cosmology)
    return 0.5 * length * abs(float(np.sin(np.radians(inclination))))
