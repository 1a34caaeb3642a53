"""The closed forms of the line and the tube against definitions, quadrature and their limits."""

import functools
import itertools

import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from autolens_ml.profiles.mass import straight_string
from autolens_ml.profiles.mass.straight_string import LINE, TUBE

FORMS = pytest.mark.parametrize("forms", [LINE, TUBE], ids=["line", "tube"])

# half_length, width, einstein_radius: ordinary, long and thin, short and fat, negative mass.
SHAPES = [(0.8, 0.06, 0.27), (2.0, 0.02, 0.5), (0.1, 0.3, 1.1), (0.6, 0.1, -0.4)]


def points(number: int, half_length: float = 2.5) -> np.ndarray:
    return np.random.default_rng(1).uniform(-half_length, half_length, (2, number))


@functools.cache
def compiled(forms):
    """Gradient of the potential and Jacobian of the deflections at (N, 2) points, for one shape."""

    def potential(p, shape):
        return forms.potential(p[0], p[1], *shape, xp=jnp)

    def deflections(p, shape):
        return jnp.stack(forms.deflections(p[0], p[1], *shape, xp=jnp))

    def both(p, shape):
        return jax.grad(potential)(p, shape), jax.jacfwd(deflections)(p, shape)

    return jax.jit(jax.vmap(both, in_axes=(0, None)))


def quantities(forms, xp):
    functions = (forms.deflections, forms.potential, forms.convergence)
    return [functools.partial(function, xp=xp) for function in functions]


@functools.cache
def compiled_quantities(forms):
    return [jax.jit(function) for function in quantities(forms, jnp)]


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
def test_potential_deflections_and_convergence_belong_together(forms, shape):
    u, v = points(10_000)
    gradient, jacobian = compiled(forms)(jnp.stack((u, v), -1), jnp.array(shape))

    assert np.max(np.abs(gradient.T - np.stack(forms.deflections(u, v, *shape)))) <= 1e-10
    twice_kappa = 2.0 * forms.convergence(u, v, *shape)
    assert np.max(np.abs(jacobian[:, 0, 0] + jacobian[:, 1, 1] - twice_kappa)) <= 1e-10
    assert np.max(np.abs(jacobian[:, 0, 1] - jacobian[:, 1, 0])) <= 1e-10


@FORMS
@pytest.mark.parametrize("shape", [*SHAPES, (0.5, 0.0, 0.3), (1e-3, 0.1, 0.3)])
def test_numpy_and_jax_agree(forms, shape):
    u, v = points(10_000)
    for ours, jitted in zip(quantities(forms, np), compiled_quantities(forms), strict=True):
        assert np.allclose(ours(u, v, *shape), jitted(u, v, *shape), rtol=0, atol=1e-12)


def test_line_is_the_integral_of_plummer_points():
    half_length, core, einstein_radius = shape = (0.8, 0.06, 0.27)
    mu = einstein_radius**2 / (2.0 * half_length)
    u, v = points(20)

    def integral(i, integrand):
        def f(s):
            return mu * integrand(u[i] - s, (u[i] - s) ** 2 + v[i] ** 2 + core**2)

        peak = [float(np.clip(u[i], -half_length, half_length))]
        return quad(f, -half_length, half_length, points=peak, epsabs=1e-13)[0]

    along, across = LINE.deflections(u, v, *shape)
    for i in range(u.size):
        assert along[i] == pytest.approx(integral(i, lambda d, r2: d / r2), abs=1e-12)
        assert across[i] == pytest.approx(integral(i, lambda d, r2, y=v[i]: y / r2), abs=1e-12)
        kappa = integral(i, lambda d, r2: core**2 / r2**2)
        assert LINE.convergence(u, v, *shape)[i] == pytest.approx(kappa, abs=1e-12)
        psi = integral(i, lambda d, r2: 0.5 * np.log(r2))
        assert LINE.potential(u, v, *shape)[i] == pytest.approx(psi, abs=1e-12)


def test_tube_is_the_integral_of_thin_strings():
    half_length, radius, einstein_radius = shape = (0.8, 0.3, 0.27)
    rng = np.random.default_rng(4)
    u, v = rng.uniform(-1.5, 1.5, 12), rng.uniform(-0.6, 0.6, 12)

    def integral(i, thin):
        def f(t):
            profile = 8.0 / (3.0 * np.pi) * (1.0 - t * t) ** 1.5
            return profile * thin(u[i], v[i] - radius * t, half_length, 0.0, einstein_radius)

        peak = [float(np.clip(v[i] / radius, -1.0, 1.0))]
        return quad(f, -1.0, 1.0, points=peak, epsabs=1e-12, limit=300)[0]

    along, across = TUBE.deflections(u, v, *shape)
    for i in range(u.size):
        assert along[i] == pytest.approx(integral(i, lambda *a: LINE.deflections(*a)[0]), abs=1e-10)
        assert across[i] == pytest.approx(
            integral(i, lambda *a: LINE.deflections(*a)[1]), abs=1e-10
        )
        assert TUBE.potential(u, v, *shape)[i] == pytest.approx(
            integral(i, LINE.potential), abs=1e-10
        )


def test_tube_convergence_is_the_projected_density():
    half_length, radius, einstein_radius = 0.5, 0.2, 0.3
    # rho0 of Alexander et al. for alpha_v = 2: the mass per length is pi/2 rho0 R^2.
    rho0 = einstein_radius**2 * np.pi / (2.0 * half_length) / (0.5 * np.pi * radius**2)
    for v in (0.0, 0.05, -0.17):
        depth = np.sqrt(radius**2 - v**2)
        sigma = quad(lambda z, v=v: rho0 * (1.0 - (v**2 + z**2) / radius**2), -depth, depth)[0]
        kappa = TUBE.convergence(0.1, v, half_length, radius, einstein_radius)
        assert kappa == pytest.approx(sigma, rel=1e-12)
    outside = TUBE.convergence(
        np.array([0.51, 0.0]), np.array([0.0, 0.21]), half_length, radius, einstein_radius
    )
    assert np.all(outside == 0.0)


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
def test_far_away_it_is_a_point_mass(forms, shape):
    m = shape[2] * abs(shape[2])
    angle, r = np.linspace(0.0, 2.0 * np.pi, 25), 1e4
    u, v = r * np.cos(angle), r * np.sin(angle)
    expected = m / r**2 * np.stack((u, v))
    assert np.allclose(forms.deflections(u, v, *shape), expected, rtol=0, atol=1e-7 * abs(m) / r)
    assert np.allclose(forms.potential(u, v, *shape), m * np.log(r), rtol=0, atol=1e-7)


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
def test_total_mass_is_that_of_the_einstein_radius(forms, shape):
    half_length, width, einstein_radius = shape
    # Stretched coordinates reach far out across and beyond the ends.
    x, nodes = np.linspace(-14.0, 14.0, 1601), np.polynomial.legendre.leggauss(400)
    v, weight_v = width * np.sinh(x), width * np.cosh(x) * (x[1] - x[0])
    if forms is TUBE:  # nothing outside the tube
        v, weight_v = width * nodes[0], width * nodes[1]
    s = np.linspace(-25.0, 14.0, 601)
    beyond, weight_beyond = half_length + np.exp(s), np.exp(s) * (s[1] - s[0])
    total = 0.0
    for u, weight_u in (
        (half_length * nodes[0], half_length * nodes[1]),
        (beyond, 2.0 * weight_beyond),
    ):
        total += weight_u @ forms.convergence(u[:, None], v[None, :], *shape) @ weight_v
    expected = np.pi * einstein_radius * abs(einstein_radius)
    assert total == pytest.approx(expected, rel=1e-5)
    assert forms.mass_within(1e4, *shape) == pytest.approx(expected, rel=1e-5)


@FORMS
@pytest.mark.parametrize("shape", [*SHAPES, (0.5, 0.0, 0.3)])
@pytest.mark.parametrize("radius", [0.03, 0.31, 0.7, 1.9])
def test_mass_within_a_circle_is_the_flux_of_the_deflections(forms, shape, radius):
    def outward(angle):
        along, across = forms.deflections(radius * np.cos(angle), radius * np.sin(angle), *shape)
        return radius * (along * np.cos(angle) + across * np.sin(angle))

    half_length, width, _ = shape
    corners = {np.arcsin(min(1.0, width / radius)), np.arccos(min(1.0, half_length / radius))}
    flux = 2.0 * quad(outward, 0, np.pi / 2, points=sorted(corners), limit=400, epsabs=1e-12)[0]
    assert forms.mass_within(radius, *shape) == pytest.approx(flux, rel=1e-7, abs=1e-10)


@FORMS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.05, 0.33, 1.7])
def test_mean_convergence_is_the_average_over_the_circle(forms, shape, radius):
    def kappa(angle):
        return float(forms.convergence(radius * np.cos(angle), radius * np.sin(angle), *shape))

    half_length, width, _ = shape
    corners = {np.arcsin(min(1.0, width / radius)), np.arccos(min(1.0, half_length / radius))}
    mean = 2.0 / np.pi * quad(kappa, 0.0, np.pi / 2, points=sorted(corners), limit=400)[0]
    assert forms.mean_convergence(radius, *shape) == pytest.approx(mean, rel=1e-6, abs=1e-9)


def test_line_of_no_length_is_a_plummer_point_and_without_core_a_point_mass():
    u, v = points(1000)
    for half_length in (0.0, 1e-9, 1e-5):
        for core in (0.0, 0.06):
            r2 = u**2 + v**2 + core**2
            shape = (half_length, core, 0.27)
            expected = 0.27**2 * np.stack((u, v)) / r2
            assert np.allclose(LINE.deflections(u, v, *shape), expected, rtol=1e-7, atol=0)
            assert np.allclose(
                LINE.potential(u, v, *shape), 0.5 * 0.27**2 * np.log(r2), rtol=0, atol=1e-9
            )
            kappa = 0.27**2 * core**2 / r2**2
            assert np.allclose(LINE.convergence(u, v, *shape), kappa, rtol=1e-6, atol=1e-12)


@FORMS
def test_without_width_it_is_the_thin_string(forms):
    u, v = points(1000)
    shape = (0.8, 0.0, 0.27)
    z = u + 1j * v
    thin = 0.27**2 / 1.6 * np.log((z + 0.8) / (z - 0.8))
    assert np.allclose(forms.deflections(u, v, *shape), (thin.real, -thin.imag), atol=1e-11)
    assert np.max(np.abs(forms.convergence(u, v, *shape))) < 1e-12
    # It deflects by pi m / 2L on either side, and not at all on the axis, by symmetry.
    across = forms.deflections(np.zeros(3), np.array([1e-7, 0.0, -1e-7]), *shape)[1]
    assert np.allclose(across, np.pi * 0.27**2 / 1.6 * np.array([1.0, 0.0, -1.0]), atol=1e-6)


def test_tube_of_little_length_is_a_segment_across():
    u, v = points(500)
    short = np.stack(TUBE.deflections(u, v, 0.0, 0.3, 0.27))
    assert np.allclose(short, TUBE.deflections(u, v, 1e-4, 0.3, 0.27), atol=1e-6)
    assert np.allclose(TUBE.deflections(0.0, 1e3, 0.0, 0.3, 0.27), (0.0, 0.27**2 / 1e3), atol=1e-10)


def test_chains_of_point_masses_converge_to_the_line():
    u, v = points(400)
    off_axis = np.abs(v) > 0.1
    exact = np.stack(LINE.deflections(u, v, 0.8, 0.0, 0.27))
    errors = []
    for number in (10, 30, 90):
        s = ((np.arange(number) + 0.5) / number * 2.0 - 1.0)[:, None] * 0.8
        chain = 0.27**2 / number * np.stack((u - s, v + 0.0 * s)) / ((u - s) ** 2 + v**2)
        errors.append(np.max(np.abs(chain.sum(axis=1) - exact)[:, off_axis]))
    assert errors[0] > 5.0 * errors[1] > 25.0 * errors[2]
    assert errors[2] < 2e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_hessian_of_the_line(shape):
    half_length, core, einstein_radius = shape
    u, v = points(2000)
    a, b = (u + half_length) ** 2 + v**2 + core**2, (u - half_length) ** 2 + v**2 + core**2
    mu = einstein_radius * abs(einstein_radius) / (2.0 * half_length)
    uu = mu * ((u + half_length) / a - (u - half_length) / b)
    uv = mu * v * (1.0 / a - 1.0 / b)
    vv = 2.0 * LINE.convergence(u, v, *shape) - uu
    _, jacobian = compiled(LINE)(jnp.stack((u, v), -1), jnp.array(shape))
    for value, (i, j) in ((uu, (0, 0)), (uv, (0, 1)), (vv, (1, 1))):
        assert np.allclose(jacobian[:, i, j], value, rtol=0, atol=1e-10)


def special_arguments():
    """On the axis, at the ends and at the edges, for every limit and sign: (N, 5)."""
    rows = []
    for L, w in itertools.product((0.0, 1e-9, 1e-3, 0.8), (0.0, 1e-9, 0.06)):
        places = [(0, 0), (L, 0), (-L, 0), (L, w), (-L, -w), (L, -w), (0, w), (0.3, 0), (2, 0)]
        places += [(0, 1), (L, 1), (L, -1), (-L, -1), (1e-9, 1e-9), (-0.0, -0.0)]
        rows += [(*p, L, w, b) for p in places for b in (0.3, -0.3, 0.0)]
    return np.array(rows, dtype=float)


@FORMS
def test_values_and_gradients_are_finite_on_the_axis_the_ends_and_the_edges(forms):
    arguments = special_arguments()

    def everything(q):
        return jnp.hstack(
            [jnp.ravel(jnp.asarray(function(*q))) for function in quantities(forms, jnp)]
        )

    values, gradients = jax.jit(jax.vmap(lambda q: (everything(q), jax.jacrev(everything)(q))))(
        arguments
    )
    assert np.all(np.isfinite(values))
    bad = ~np.isfinite(gradients).all(axis=(1, 2))
    assert not np.any(bad), arguments[bad]
    for function in quantities(forms, np):
        assert np.all(np.isfinite(function(*arguments.T)))


@FORMS
def test_parameter_gradients_are_the_slopes(forms):
    u, v = points(50, 1.0)

    @jax.jit
    def total(shape):
        return jnp.sum(jnp.stack(forms.deflections(u, v, *shape, xp=jnp)) ** 2)

    shape, h = np.array([0.6, 0.1, 0.3]), 1e-5
    slopes = [(total(shape + h * e) - total(shape - h * e)) / (2.0 * h) for e in np.eye(3)]
    assert np.allclose(jax.grad(total)(shape), slopes, rtol=1e-5)


def test_signed_mass_is_odd():
    assert straight_string.signed_mass(-0.3) == pytest.approx(-0.09)
    assert jax.grad(lambda b: straight_string.signed_mass(b, jnp))(-0.3) == pytest.approx(0.6)
