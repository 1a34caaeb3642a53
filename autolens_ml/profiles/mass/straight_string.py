r"""Closed-form lensing of a straight finite string of mass, in the frame of the string.

One formula each for numpy, JAX and the tests. Everywhere

- `u` is the coordinate along the string and `v` the one across it [arcsec], from its midpoint,
- the string lies on :math:`|u| \le L` with constant mass per length, `half_length` :math:`= L`,
- `einstein_radius` :math:`= b` is that of the total mass and carries its sign: :math:`m = b|b|`,
  so a negative value is a deficit of mass,
- :math:`\boldsymbol\alpha = \nabla\psi` and :math:`\nabla\cdot\boldsymbol\alpha = 2\kappa`.

The *line* is a string of Plummer points (:math:`\kappa = m c^2/(r^2+c^2)^2` each, core :math:`c`).
The *tube* is the vortex core of Alexander et al. (2020, ApJ 893, 15), :math:`\rho \propto 1 -
(r/R)^{\alpha_v}` inside a cylinder of radius :math:`R`, for :math:`\alpha_v = 2`, lying in the
plane of the sky.

Zero lengths are limits: a length below its floor is evaluated at the floor, which keeps every value
and every derivative finite on the axis and at the ends.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

RADIUS_FLOOR = 1e-10
"""Smallest core radius, tube radius and half-length of a line [arcsec]."""

TUBE_LENGTH_FLOOR = 1e-6
"""Smallest half-length of a tube [arcsec]: its closed form is a difference between its two ends."""

# Of p(t) = 8/(3 pi) (1 - t^2)^(3/2): <ln(xi - i R t)> = ln(R W/2) - A W^-2 - B W^-4.
_A, _B = 2.0 / 3.0, 1.0 / 12.0


def signed_mass(einstein_radius: Any, xp: ModuleType = np) -> Any:
    """Deflection mass :math:`b|b|` [arcsec^2]; the mass in angular units is pi times this."""
    return einstein_radius * xp.abs(einstein_radius)


def _at_least(length: Any, floor: float, xp: ModuleType) -> Any:
    return xp.maximum(xp.abs(length), floor)


# ------------------------------------------------------------------------------------------ line


def _line_terms(u: Any, v: Any, half_length: Any, core_radius: Any, xp: ModuleType) -> tuple:
    """Return (L, w^2, w, A B, atanh term / 2L, arctan term / 2L) of the softened line."""
    L = _at_least(half_length, RADIUS_FLOOR, xp)
    w2 = v * v + _at_least(core_radius, RADIUS_FLOOR, xp) ** 2
    w = xp.sqrt(w2)
    sign = xp.where(u < 0, -1.0, 1.0)
    distance = sign * u
    near2 = (distance - L) ** 2 + w2
    far2 = (distance + L) ** 2 + w2
    # As log1p: exact at the ends, where atanh has a pole, and for L -> 0, where logs cancel.
    logarithm = sign * xp.log1p(4.0 * L * distance / near2) / (4.0 * L)
    arctangent = xp.arctan2(2.0 * L * w, (u - L) * (u + L) + w2) / (2.0 * L)
    return L, w2, w, near2 * far2, logarithm, arctangent


def line_deflections(
    u: Any, v: Any, half_length: Any, core_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> tuple[Any, Any]:
    r"""Deflection angles of the Plummer-softened line.

    .. math::
        \alpha_u = \frac{m}{4L}\ln\frac{(u+L)^2+w^2}{(u-L)^2+w^2},\quad \alpha_v =
        \frac{m}{2L}\,\frac{v}{w}\left[\arctan\frac{u+L}{w}-\arctan\frac{u-L}{w}\right],\quad w^2 =
        v^2 + c^2

    Parameters
    ----------
    u, v
        Coordinates along and across the string [arcsec], any shape (the same for both).
    half_length, core_radius, einstein_radius
        See the module docstring [arcsec].
    xp
        `numpy` or `jax.numpy`.

    Returns
    -------
    The components along and across the string [arcsec], of the shape of `u`.
    """
    _, _, w, _, logarithm, arctangent = _line_terms(u, v, half_length, core_radius, xp)
    m = signed_mass(einstein_radius, xp)
    return m * logarithm, m * v / w * arctangent


def line_potential(
    u: Any, v: Any, half_length: Any, core_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> Any:
    r"""Lensing potential of the Plummer-softened line [arcsec^2]; parameters as `line_deflections`.

    .. math::
        \psi = m\left\{\frac{u\,\alpha_u}{m} + \tfrac14\ln AB - 1 +
        \frac{w}{2L}\left[\arctan\frac{u+L}{w} -\arctan\frac{u-L}{w}\right]\right\},\quad A, B =
        (u\pm L)^2+w^2

    with the zero point that makes :math:`\psi \to m\ln r` far away.
    """
    _, _, w, product, logarithm, arctangent = _line_terms(u, v, half_length, core_radius, xp)
    m = signed_mass(einstein_radius, xp)
    return m * (u * logarithm + 0.25 * xp.log(product) - 1.0 + w * arctangent)


def line_convergence(
    u: Any, v: Any, half_length: Any, core_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> Any:
    r"""Convergence of the Plummer-softened line [dimensionless]; parameters as `line_deflections`.

    .. math::
        \kappa = \frac{m c^2}{2w^2}\left\{\frac{L^2+w^2-u^2}{AB} +
        \frac{1}{2Lw}\left[\arctan\frac{u+L}{w} -\arctan\frac{u-L}{w}\right]\right\}
    """
    L, w2, w, product, _, arctangent = _line_terms(u, v, half_length, core_radius, xp)
    c2 = _at_least(core_radius, RADIUS_FLOOR, xp) ** 2
    bracket = (w2 + (L - u) * (L + u)) / product + arctangent / w
    return 0.5 * signed_mass(einstein_radius, xp) * c2 / w2 * bracket


def line_mass_within(
    radius: float, half_length: float, core_radius: float, einstein_radius: float
) -> float:
    r"""Integral of the convergence of the line in a circle around its midpoint [arcsec^2].

    The mean over the string of the mass of a Plummer point at distance :math:`s` from the midpoint,
    :math:`\frac{\pi m}{2}\left[1 + (r^2-s^2-c^2)/\sqrt{((r-s)^2+c^2)((r+s)^2+c^2)}\right]`.
    """
    from scipy.integrate import quad

    L = max(abs(half_length), RADIUS_FLOOR)
    c2 = max(abs(core_radius), RADIUS_FLOOR) ** 2

    def share(s: float) -> float:
        root = np.sqrt(((radius - s) ** 2 + c2) * ((radius + s) ** 2 + c2))
        return 0.5 * (1.0 + (radius**2 - s**2 - c2) / root)

    breaks = [radius] if 0.0 < radius < L else None
    mean = quad(share, 0.0, L, points=breaks, limit=200)[0] / L
    return float(np.pi * signed_mass(einstein_radius) * mean)


def line_mean_convergence(
    radius: float, half_length: float, core_radius: float, einstein_radius: float
) -> float:
    """Convergence of the line averaged over the circle of this radius around its midpoint."""
    from scipy.integrate import quad

    L = max(abs(half_length), RADIUS_FLOOR)
    c = max(abs(core_radius), RADIUS_FLOOR)

    # A Plummer point at s adds c^2 (r^2+s^2+c^2) / [((r-s)^2+c^2)((r+s)^2+c^2)]^(3/2);
    # s = r + c sinh(t) resolves its peak however small the core is.
    def integrand(t: float) -> float:
        s = radius + c * np.sinh(t)
        return (radius**2 + s**2 + c**2) / (np.cosh(t) ** 2 * ((radius + s) ** 2 + c**2) ** 1.5)

    low, high = np.arcsinh((-L - radius) / c), np.arcsinh((L - radius) / c)
    peaks = [t for t in (np.arcsinh(-2.0 * radius / c), 0.0) if low < t < high]
    integral = quad(integrand, low, high, points=peaks or None, limit=200)[0]
    return float(signed_mass(einstein_radius) * integral / (2.0 * L))


# ------------------------------------------------------------------------------------------ tube


def _inside(t: Any, xp: ModuleType) -> tuple[Any, Any, Any]:
    """Return (|t| < 1, t made safe, sqrt(1 - t^2)): no branch then has an infinite derivative."""
    inside = xp.abs(t) < 1.0
    x = xp.where(inside, t, 0.0)
    return inside, x, xp.sqrt(1.0 - x * x)


def _profile(t: Any, xp: ModuleType) -> Any:
    """The cross profile p(t) = 8/(3 pi) (1 - t^2)^(3/2), of unit integral."""
    inside, _, q = _inside(t, xp)
    return xp.where(inside, 8.0 / (3.0 * np.pi) * q * q * q, 0.0)


def _mean_sign(t: Any, xp: ModuleType) -> Any:
    """The mean of sign(t - t') over p(t')."""
    inside, x, q = _inside(t, xp)
    mean = 2.0 / np.pi * (xp.arcsin(x) + x * q * (5.0 - 2.0 * x * x) / 3.0)
    return xp.where(inside, mean, xp.sign(t))


def _mean_distance(t: Any, xp: ModuleType) -> Any:
    """The mean of |t - t'| over p(t')."""
    inside, x, q = _inside(t, xp)
    mean = x * _mean_sign(x, xp) + 16.0 / (15.0 * np.pi) * q**5
    return xp.where(inside, mean, xp.abs(t))


def _root(x: Any, y: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Real and imaginary part of W = eta + sqrt(1 + eta^2) of eta = x + iy, x > 0; |W| >= 1.

    In real arithmetic: complex roots and logarithms of numpy take most of the time otherwise.
    """
    real, imag = 1.0 + x * x - y * y, 2.0 * x * y
    larger = xp.sqrt(0.5 * (xp.sqrt(real * real + imag * imag) + xp.abs(real)))
    smaller = 0.5 * imag / larger
    sign = xp.where(y < 0, -1.0, 1.0)
    right = real >= 0.0
    root_real = xp.where(right, larger, sign * smaller)
    root_imag = xp.where(right, smaller, sign * larger)
    return x + root_real, y + root_imag


def _inverse_square(re: Any, im: Any, squared: Any) -> tuple[Any, Any]:
    """Real and imaginary part of W^-2, given those of W and |W|^2."""
    inverse = 1.0 / squared
    a, b = re * inverse, im * inverse
    return a * a - b * b, -2.0 * a * b


def _tube_ends(u: Any, v: Any, half_length: Any, tube_radius: Any, xp: ModuleType) -> tuple:
    """Return (L, R, beside, t, x of the far end, x and y of the near end), in units of R from x on.

    Evaluated on |u|; `beside` is true where |u| < L. The far end sees the point at (x, t), the near
    end at (x, y), both with x > 0.
    """
    L = _at_least(half_length, TUBE_LENGTH_FLOOR, xp)
    R = _at_least(tube_radius, RADIUS_FLOOR, xp)
    distance = xp.where(u < 0, -u, u)
    beside = distance < L
    t = v / R
    sign = xp.where(beside, 1.0, -1.0)
    # The shift keeps the root differentiable at the corners, where it is zero.
    near = sign * (L - distance) / R + 1e-20
    return L, R, beside, t, (distance + L) / R, near, -sign * t


def tube_deflections(
    u: Any, v: Any, half_length: Any, tube_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> tuple[Any, Any]:
    r"""Deflection angles of the tube with cross profile :math:`p(t) = \frac{8}{3\pi}(1-t^2)^{3/2}`.

    With :math:`\xi = R\eta`, :math:`W = \eta+\sqrt{1+\eta^2}`, :math:`\Lambda(\xi) = \ln(RW/2) -
    \tfrac23 W^{-2} - \tfrac1{12}W^{-4}`, and :math:`z = |u| + iv`,

    .. math::
        \alpha_u - i\alpha_v = \frac{m}{2L}\begin{cases} \Lambda(L+z) - \Lambda(L-z) - i\pi C(v/R) &
        |u| < L \\ \Lambda(z+L) - \Lambda(z-L) & |u| \ge L \end{cases},\quad C(t) = \int {\rm
        sign}(t-t')\,p(t')\,dt'

    Parameters
    ----------
    u, v
        Coordinates along and across the string [arcsec], any shape (the same for both).
    half_length, tube_radius, einstein_radius
        See the module docstring [arcsec].
    xp
        `numpy` or `jax.numpy`.

    Returns
    -------
    The components along and across the string [arcsec], of the shape of `u`.
    """
    L, _, beside, t, x_far, x_near, y_near = _tube_ends(u, v, half_length, tube_radius, xp)
    far_re, far_im = _root(x_far, t, xp)
    near_re, near_im = _root(x_near, y_near, xp)
    far2, near2 = far_re * far_re + far_im * far_im, near_re * near_re + near_im * near_im
    logarithm = 0.5 * xp.log(far2 / near2)
    angle = xp.arctan2(far_im * near_re - far_re * near_im, far_re * near_re + far_im * near_im)
    # (p - n)(A + B (p + n)) with p, n = W^-2 of the far and the near end.
    p_re, p_im = _inverse_square(far_re, far_im, far2)
    n_re, n_im = _inverse_square(near_re, near_im, near2)
    d_re, d_im = p_re - n_re, p_im - n_im
    s_re, s_im = _A + _B * (p_re + n_re), _B * (p_im + n_im)
    scale = signed_mass(einstein_radius, xp) / (2.0 * L)
    along = scale * xp.where(u < 0, -1.0, 1.0) * (logarithm - d_re * s_re + d_im * s_im)
    odd = xp.where(beside, np.pi * _mean_sign(t, xp), 0.0)
    return along, scale * (odd - angle + d_re * s_im + d_im * s_re)


def tube_potential(
    u: Any, v: Any, half_length: Any, tube_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> Any:
    r"""Lensing potential of the tube [arcsec^2]; parameters as `tube_deflections`.

    .. math::
        \psi = \frac{m}{2L}\begin{cases}{\rm Re}[I(L+z)+I(L-z)] + \pi R\,D(v/R) & |u|<L\\
        {\rm Re}[I(z+L)-I(z-L)] & |u|\ge L\end{cases},\quad D(t) = \int|t-t'|\,p(t')\,dt'

    with :math:`I' = \Lambda`, and the zero point that makes :math:`\psi \to m\ln r` far away.
    """
    L, R, beside, t, x_far, x_near, y_near = _tube_ends(u, v, half_length, tube_radius, xp)

    def integral(x: Any, y: Any) -> Any:
        re, im = _root(x, y, xp)
        square = re * re + im * im
        logarithm, angle = 0.5 * xp.log(0.25 * R * R * square), xp.arctan2(im, re)
        i = (re - 1j * im) / square
        i2 = i * i
        tail = xp.real(i * (_A - 1.0 + i2 * ((_A + _B) / 3.0 + i2 * _B / 5.0)))
        return 0.5 * R * (2.0 * (x * logarithm - y * angle) - re + tail)

    ends = integral(x_far, t) + xp.where(beside, 1.0, -1.0) * integral(x_near, y_near)
    scale = signed_mass(einstein_radius, xp) / (2.0 * L)
    return scale * (ends + xp.where(beside, np.pi * R * _mean_distance(t, xp), 0.0))


def tube_convergence(
    u: Any, v: Any, half_length: Any, tube_radius: Any, einstein_radius: Any, xp: ModuleType = np
) -> Any:
    r"""Convergence of the tube [dimensionless]; parameters as `tube_deflections`.

    :math:`\kappa = \frac{\pi m}{2LR}\,p(v/R)` for :math:`|u|<L,\ |v|<R`, and zero elsewhere: the
    projection of the density :math:`\rho_0[1-(r/R)^2]`, :math:`\Sigma = \frac43\rho_0
    (R^2-v^2)^{3/2}/R^2`.
    """
    L = _at_least(half_length, TUBE_LENGTH_FLOOR, xp)
    R = _at_least(tube_radius, RADIUS_FLOOR, xp)
    scale = np.pi * signed_mass(einstein_radius, xp) / (2.0 * L * R)
    return scale * xp.where(xp.abs(u) < L, _profile(v / R, xp), 0.0)


def tube_mass_within(
    radius: float, half_length: float, tube_radius: float, einstein_radius: float
) -> float:
    """Integral of the convergence of the tube in a circle around its midpoint [arcsec^2]."""
    from scipy.integrate import quad

    L = max(abs(half_length), TUBE_LENGTH_FLOOR)
    R = max(abs(tube_radius), RADIUS_FLOOR)

    def strip(t: float) -> float:
        return _profile(t, np) * min(1.0, np.sqrt(radius**2 - (R * t) ** 2) / L)

    edge = min(1.0, radius / R)
    corner = np.sqrt(max(radius**2 - L**2, 0.0)) / R
    breaks = [corner] if 0.0 < corner < edge else None
    inside = 2.0 * quad(strip, 0.0, edge, points=breaks, limit=200)[0]
    return float(np.pi * signed_mass(einstein_radius) * inside)


def tube_mean_convergence(
    radius: float, half_length: float, tube_radius: float, einstein_radius: float
) -> float:
    """Convergence of the tube averaged over the circle of this radius around its midpoint."""
    from scipy.integrate import quad

    L = max(abs(half_length), TUBE_LENGTH_FLOOR)
    R = max(abs(tube_radius), RADIUS_FLOOR)
    first = np.arccos(min(1.0, L / radius)) if radius > 0.0 else 0.0
    last = np.arcsin(min(1.0, R / radius)) if radius > 0.0 else 0.5 * np.pi
    if last <= first:
        return 0.0

    def profile(angle: float) -> float:
        return float(_profile(radius * np.sin(angle) / R, np))

    scale = np.pi * signed_mass(einstein_radius) / (2.0 * L * R)
    return float(scale * quad(profile, first, last, limit=200)[0] * 2.0 / np.pi)


class ClosedForms(NamedTuple):
    """The functions of a kind of string; they end in (half_length, width, einstein_radius)."""

    deflections: Callable[..., tuple[Any, Any]]
    potential: Callable[..., Any]
    convergence: Callable[..., Any]
    mass_within: Callable[..., float]
    mean_convergence: Callable[..., float]


LINE = ClosedForms(
    line_deflections, line_potential, line_convergence, line_mass_within, line_mean_convergence
)
TUBE = ClosedForms(
    tube_deflections, tube_potential, tube_convergence, tube_mass_within, tube_mean_convergence
)
