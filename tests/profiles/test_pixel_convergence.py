"""A map as a mass profile: its lensing against exact sums, isothermals and other codes; models."""

import autofit as af  # first: it switches 64-bit JAX on
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.mapper.identifier import Identifier
from autogalaxy import exc
from autonerves import conf
from scipy.integrate import dblquad

import autolens_ml as aml
from autolens_ml.profiles.mass import convergence_map
from autolens_ml.profiles.mass.pixel import PixelConvergence
from tests.physics.convergence import (
    HALF_WIDTH,
    beyond_the_frame,
    isothermal_map,
    smooth_map,
)

PIXEL = 0.1
RNG = np.random.default_rng(3)
# Odd by even, and no symmetry.
MAP = RNG.uniform(0.2, 1.0, (7, 10))
PARAMETERS = {
    "centre": (0.13, -0.21),
    "position_angle": 34.0,
    "amplitude": 1.7,
    "scale": 1.3,
}
QUANTITIES = ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from")


def irregular(number=500, half_width=1.2, seed=5):
    yx = np.random.default_rng(seed).uniform(-half_width, half_width, (number, 2))
    return al.Grid2DIrregular(yx)


def exact_sums(values, row, column):
    """The five fields of `pixel_fields` at any positions, summed over the pixels one by one."""
    rows, columns = np.indices(values.shape)
    offsets = row[:, None] - rows.ravel(), column[:, None] - columns.ravel()
    return convergence_map.pixel_fields(*offsets) @ values.ravel()


# ----------------------------------------------------------------------------- one pixel, exactly


@pytest.mark.parametrize("point", [(0.0, 1.0), (1.3, -2.4), (4.0, 3.0)])
def test_a_pixel_is_the_integral_of_point_masses_over_its_tent(point):
    """`pixel_fields` against adaptive quadrature of ln r and its gradient over the tent."""
    row, column = point

    def integral(field):
        quarters = [(a, b) for a in (-1.0, 0.0) for b in (-1.0, 0.0)]
        return sum(
            dblquad(
                lambda y, x: (1 - abs(x)) * (1 - abs(y)) * field(row - y, column - x) / np.pi,
                left,
                left + 1.0,
                low,
                low + 1.0,
                epsabs=1e-9,
            )[0]
            for left, low in quarters
        )

    expected = [
        integral(lambda y, x: 0.5 * np.log(x * x + y * y)),
        integral(lambda y, x: y / (x * x + y * y)),
        integral(lambda y, x: x / (x * x + y * y)),
    ]
    found = convergence_map.pixel_fields(np.array(row), np.array(column))
    assert np.allclose(found[:3], expected, rtol=0, atol=1e-7)


def test_the_fields_of_a_pixel_are_derivatives_of_its_potential():
    """Central differences; the trace of the second derivatives is twice the tent."""
    row, column = np.random.default_rng(1).uniform(-3.0, 3.0, (2, 200))
    step = 1e-4

    def slope(down, right):
        upper = convergence_map.pixel_fields(row + down * step, column + right * step)
        lower = convergence_map.pixel_fields(row - down * step, column - right * step)
        return (upper - lower) / (2.0 * step)

    fields, by_row, by_column = convergence_map.pixel_fields(row, column), slope(1, 0), slope(0, 1)
    assert np.allclose(fields[1:3], (by_row[0], by_column[0]), atol=1e-6)
    assert np.allclose(fields[4], by_column[1], atol=1e-6)
    assert np.allclose(fields[3], 0.5 * (by_row[1] - by_column[2]), atol=1e-6)
    tent = np.maximum(1.0 - np.abs(row), 0.0) * np.maximum(1.0 - np.abs(column), 0.0)
    assert np.allclose(0.5 * (by_row[1] + by_column[2]), tent, atol=1e-6) and tent.max() > 0.5


def test_closed_form_and_point_mass_meet():
    """The fields far from a pixel are those near it: no step where the formula changes."""
    angle = np.linspace(0.0, np.pi / 4.0, 50)
    radius = convergence_map._FAR / np.cos(angle)
    inner, outer = (
        convergence_map.pixel_fields(r * np.sin(angle), r * np.cos(angle))
        for r in (radius * (1.0 - 1e-12), radius * (1.0 + 1e-12))
    )
    assert np.allclose(inner, outer, rtol=0, atol=1e-10)


# --------------------------------------------------------------------------------------- lensing


@pytest.mark.parametrize("shape", [(7, 10), (8, 8), (1, 3), (30, 6)])
def test_lensing_is_that_of_all_pixels(shape):
    """FFT, interpolation and multipoles against the sum over the pixels at the same points."""
    values = np.random.default_rng(6).uniform(0.0, 1.0, shape)
    maps = convergence_map.lensing_maps(values)
    rows, columns = np.indices(np.array(shape) + 8).reshape(2, -1) - 4.0
    exact = exact_sums(values, rows, columns)
    assert np.allclose(convergence_map.deflections(maps, rows, columns), exact[1:3], atol=1e-12)
    assert np.allclose(convergence_map.potential(maps, rows, columns), exact[0], atol=1e-11)

    middle, reach = np.array(maps.centre), 5.0 * maps.reach
    everywhere = middle[:, None] + np.random.default_rng(7).uniform(-reach, reach, (2, 4000))
    exact = exact_sums(values, *everywhere)
    errors = np.array(convergence_map.deflections(maps, *everywhere)) - exact[1:3]
    lattice = 0.5 * np.array(maps.potential.shape[2:]) + 0.5
    beyond = np.any(np.abs(everywhere - middle[:, None]) > lattice[:, None], axis=0)
    assert 0.1 < beyond.mean() < 1.0 and np.max(np.abs(exact[1:3])) > 0.1
    # A white map is the worst case: between its pixels everything changes.
    assert np.max(np.abs(errors)) < 0.02
    assert np.max(np.abs(errors[:, beyond])) < 1e-6
    psi = convergence_map.potential(maps, *everywhere)
    assert np.max(np.abs(psi - exact[0])) < 0.01
    assert np.max(np.abs((psi - exact[0])[beyond])) < 1e-5


def test_nothing_jumps_where_the_multipoles_begin():
    """Deflections, their derivatives and the potential on both sides of the lattice's border."""
    maps = convergence_map.lensing_maps(smooth_map())
    rows, columns = maps.potential.shape[2:]
    column = jnp.linspace(0.0, columns - 1.0, 500) + maps.start[1]

    @jax.jit
    def fields(row):
        def deflections(row, column):
            return jnp.stack(convergence_map.deflections(maps, row, column, jnp))

        at = jnp.full(len(column), row), column
        slopes = [jax.jvp(deflections, at, jax.tree.map(jnp.ones_like, at))[1]]
        return [deflections(*at), convergence_map.potential(maps, *at, jnp), *slopes]

    last = maps.start[0] + rows - 1.0
    for inside, outside in zip(fields(last - 1e-9), fields(last + 1e-9), strict=True):
        assert np.max(np.abs(inside)) > 1e-3
        assert np.allclose(inside, outside, rtol=0, atol=2e-6)


def test_deflections_convergence_and_potential_belong_together():
    """Divergence of the deflections = 2 kappa, curl = 0, gradient of the potential = deflections.

    By central differences: at the centres of pixels for any map (where second derivatives jump, the
    step is small), between those of a smooth one to its interpolation.
    """
    rough = PixelConvergence(MAP, PIXEL, **PARAMETERS)
    nodes = al.Grid2D.uniform((9, 12), pixel_scales=1.3 * PIXEL, over_sample_size=1)
    nodes = rough.transformed_from_reference_frame_grid_from(nodes).array
    smooth = PixelConvergence(smooth_map(), 0.1, **PARAMETERS)
    step = 1e-6

    def slope(profile, name, yx, axis):
        upper, lower = (
            getattr(profile, name)(al.Grid2DIrregular(yx + sign * step * np.eye(2)[axis])).array
            for sign in (1, -1)
        )
        return (upper - lower) / (2.0 * step)

    for profile, yx, atol in ((rough, nodes, 1e-4), (smooth, irregular(3000).array, 4e-3)):
        by_y, by_x = (slope(profile, "deflections_yx_2d_from", yx, axis) for axis in (0, 1))
        kappa = profile.convergence_2d_from(al.Grid2DIrregular(yx)).array
        assert np.max(kappa) > 1.0
        assert np.allclose(0.5 * (by_y[:, 0] + by_x[:, 1]), kappa, rtol=0, atol=atol)
        assert np.allclose(by_y[:, 1], by_x[:, 0], rtol=0, atol=atol)

    grid = irregular(3000, half_width=8.0)
    gradient = [slope(smooth, "potential_2d_from", grid.array, axis) for axis in (0, 1)]
    deflections = smooth.deflections_yx_2d_from(grid).array
    assert np.allclose(np.transpose(gradient), deflections, rtol=0, atol=2e-4)


def test_a_pixelized_isothermal_becomes_the_isothermal():
    """Deflections within 2" against `al.mp.Isothermal`, less its mass beyond the frame.

    The error of 32, 64 and 128 pixels on 6.4" is of second order in the pixel.
    """
    isothermal = al.mp.Isothermal(ell_comps=(0.1, -0.15), einstein_radius=1.2)
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(0.6, 2.0, 2000), rng.uniform(0.0, 2.0 * np.pi, 2000)
    yx = radius[:, None] * np.stack((np.sin(angle), np.cos(angle)), axis=-1)
    grid = al.Grid2DIrregular(yx)
    expected = isothermal.deflections_yx_2d_from(grid).array - beyond_the_frame(isothermal, yx)
    rms = []
    for side in (32, 64, 128):
        pixel = 2.0 * HALF_WIDTH / side
        profile = PixelConvergence(isothermal_map(isothermal, side), pixel)
        errors = profile.deflections_yx_2d_from(grid).array - expected
        rms.append(np.sqrt(np.mean(errors**2)))
        assert rms[-1] < 0.16 * pixel**2
        assert np.max(np.abs(errors)) < 0.6 * pixel**2
    assert rms[0] > 3.0 * rms[1] > 9.0 * rms[2]


def test_caustics_pixelated_convergence_agrees():
    """Deflections of a Gaussian on 128 pixels of 0.05", against caustics on the same map.

    caustics 1.7 samples the kernel of a point mass at half-integer offsets, so that what it gives
    for a pixel belongs half a pixel further to +y and +x: it is compared there.
    """
    caustics = pytest.importorskip(
        "caustics", reason="caustics, an optional code to compare with, is not installed"
    )
    torch = pytest.importorskip("torch")
    side, pixel = 128, 0.05
    grid = al.Grid2D.uniform((side, side), pixel_scales=pixel, over_sample_size=1)
    y, x = np.moveaxis(grid.native.array, -1, 0)
    values = 0.5 * np.exp(-0.5 * (((x - 0.2) / 1.3) ** 2 + ((y + 0.1) / 1.5) ** 2))
    other = caustics.PixelatedConvergence(
        pixelscale=pixel,
        cosmology=caustics.FlatLambdaCDM(name="cosmology"),
        z_l=0.5,
        z_s=1.0,
        # Its rows go upwards.
        convergence_map=torch.as_tensor(values[::-1].copy(), dtype=torch.float32),
    )
    inside = np.maximum(np.abs(y), np.abs(x)) < 2.9
    yx = np.stack((y[inside], x[inside]), axis=-1)
    alpha_x, alpha_y = other.reduced_deflection_angle(
        *(torch.as_tensor(yx[:, i], dtype=torch.float32) for i in (1, 0))
    )
    ours = PixelConvergence(values, pixel).deflections_yx_2d_from(
        al.Grid2DIrregular(yx + 0.5 * pixel)
    )
    expected = np.stack((alpha_y.numpy(), alpha_x.numpy()), axis=-1)
    assert np.max(np.abs(expected)) > 0.5
    assert np.allclose(ours.array, expected, rtol=0, atol=1e-4)


# -------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("shape", [(7, 10), (8, 8), (1, 3)])
def test_at_the_pixel_centres_it_is_the_map(shape):
    values = RNG.normal(size=shape)
    grid = al.Grid2D.uniform(shape, pixel_scales=PIXEL, over_sample_size=1)
    kappa = PixelConvergence(values, PIXEL, amplitude=2.5).convergence_2d_from(grid)
    assert np.allclose(kappa.native.array, 2.5 * values, rtol=0, atol=1e-13)


def test_mass_moves_turns_and_grows_as_light_does():
    """Convergence against the image of an `aml.lp.PixelLight` of the same map and geometry."""
    light = aml.lp.PixelLight(
        MAP, PIXEL, **{k: v for k, v in PARAMETERS.items() if k != "amplitude"}, intensity=1.7
    )
    kappa = PixelConvergence(MAP, PIXEL, **PARAMETERS).convergence_2d_from(irregular())
    assert np.array_equal(kappa.array, light.image_2d_from(irregular()).array)
    assert np.max(kappa.array) > 1.0


def test_lensing_turns_and_grows_with_the_map():
    """A quarter turn of the pixels is one of `position_angle`, larger pixels are `scale`."""
    turned = PixelConvergence(np.rot90(MAP), 1.3 * PIXEL, centre=(0.1, 0.2), amplitude=0.7)
    angle = PixelConvergence(MAP, PIXEL, (0.1, 0.2), 90.0, amplitude=0.7, scale=1.3)
    doubled = PixelConvergence(2.0 * MAP, PIXEL, (0.1, 0.2), 90.0, amplitude=0.35, scale=1.3)
    grid = irregular(half_width=3.0)
    for name in QUANTITIES:
        expected = getattr(turned, name)(grid).array
        for profile in (angle, doubled):
            found = getattr(profile, name)(grid).array
            assert np.allclose(found, expected, rtol=0, atol=1e-11), name
        assert np.ptp(expected) > 0.1
    # The other sense of rotation would not pass.
    other = PixelConvergence(MAP, PIXEL, (0.1, 0.2), -90.0, amplitude=0.7, scale=1.3)
    found = other.deflections_yx_2d_from(grid).array
    assert not np.allclose(found, turned.deflections_yx_2d_from(grid).array, rtol=0, atol=1e-2)


def test_far_away_it_is_a_point_of_its_mass():
    """Deflections and potential at 4000" against `al.mp.PointMass`."""
    profile = PixelConvergence(MAP, PIXEL, centre=(0.3, -0.2), amplitude=-1.5, scale=2.0)
    mass = -1.5 * np.sum(MAP) * (2.0 * PIXEL) ** 2
    point = al.mp.PointMass(centre=(0.3, -0.2), einstein_radius=np.sqrt(-mass / np.pi))
    grid = al.Grid2DIrregular([(3000.0, -2600.0), (-4000.0, 300.0)])
    for name in ("deflections_yx_2d_from", "potential_2d_from"):
        expected = -getattr(point, name)(grid).array
        assert np.allclose(getattr(profile, name)(grid).array, expected, rtol=3e-4), name


def test_enclosed_mass_and_einstein_radius_of_a_pixelized_isothermal():
    """Against the closed forms of `al.mp.IsothermalSph`: pi theta_E r, and theta_E."""
    sphere = al.mp.IsothermalSph(einstein_radius=1.2, centre=(0.0, 0.0))
    profile = PixelConvergence(isothermal_map(sphere, 64), 0.1, centre=(0.4, 0.1))
    for radius in (0.8, 1.2, 2.0):
        mass = profile.mass_angular_within_circle_from(radius)
        # The bilinear map smooths the convergence by a sixth of a square pixel.
        assert mass == pytest.approx(np.pi * 1.2 * radius, rel=4e-3)
        assert profile.convergence_func(radius) == pytest.approx(0.6 / radius, rel=6e-3)
    assert profile.average_convergence_of_1_radius == pytest.approx(1.2, abs=2e-3)
    total = profile.mass_angular_within_circle_from(50.0)
    assert total == pytest.approx(np.sum(profile.values) * 0.01, rel=1e-9)
    # Gauss's theorem against rings of the convergence.
    edges = np.linspace(0.0, 1.0, 201)
    middles = 0.5 * (edges[1:] + edges[:-1])
    rings = np.sum(np.pi * np.diff(edges**2) * profile.convergence_func(middles))
    assert rings == pytest.approx(profile.mass_angular_within_circle_from(1.0), rel=1e-4)
    assert profile.convergence_func(np.array([[0.5], [1.0]])).shape == (2, 1)


def test_the_largest_circle_of_mean_convergence_one_is_found():
    ring = np.zeros((41, 41))
    y, x = np.indices(ring.shape) - 20.0
    ring[np.abs(np.hypot(y, x) - 12.0) < 1.5] = 4.0
    radius = PixelConvergence(ring, PIXEL).average_convergence_of_1_radius
    # Empty within 1.05", so only the outer of its two critical circles has that mean from inside.
    assert radius == pytest.approx(np.sqrt(ring.sum() * PIXEL**2 / np.pi), rel=1e-3)
    for faint in (PixelConvergence(0.9 * np.ones((5, 5)), PIXEL), PixelConvergence(-MAP, PIXEL)):
        with pytest.raises(exc.ProfileException, match="below 1 in every circle"):
            _ = faint.average_convergence_of_1_radius


# ------------------------------------------------------------------------------- numpy and JAX


def test_numpy_and_jax_agree():
    """All quantities inside the map, around it, far away, and over-sampled."""
    profile = PixelConvergence(MAP, PIXEL, **PARAMETERS)

    @jax.jit
    def all_of(yx):
        grid = al.Grid2DIrregular(yx, xp=jnp)
        return [getattr(profile, name)(grid, xp=jnp).array for name in QUANTITIES]

    for half_width in (0.3, 4.0):
        grid = irregular(2000, half_width)
        for name, found in zip(QUANTITIES, all_of(jnp.asarray(grid.array)), strict=True):
            expected = getattr(profile, name)(grid).array
            assert np.allclose(found, expected, rtol=0, atol=1e-12), name
            assert np.max(np.abs(expected)) > 0.1
    over_sampled = al.Grid2D.uniform((5, 5), pixel_scales=0.3, over_sample_size=4)
    found = profile.convergence_2d_from(over_sampled, xp=jnp).array
    assert isinstance(found, jax.Array)
    assert np.allclose(found, profile.convergence_2d_from(over_sampled).array, rtol=0, atol=1e-12)


def test_the_map_may_be_traced():
    """Traced, batched and differentiated values against profiles of the values themselves."""
    grid = irregular(half_width=2.0)
    yx = jnp.asarray(grid.array)

    def all_of(values):
        profile = PixelConvergence(values, PIXEL, **PARAMETERS)
        at = al.Grid2DIrregular(yx, xp=jnp)
        return [getattr(profile, name)(at, xp=jnp).array for name in QUANTITIES]

    def total(values):
        found = all_of(values)
        return sum(jnp.sum(quantity[:7]) for quantity in found), found

    stack = np.stack((MAP, MAP[::-1], MAP[:, ::-1]))
    totals = jax.jit(jax.vmap(jax.value_and_grad(total, has_aux=True)))
    (values, batch), gradients = totals(jnp.asarray(stack))
    for i in range(3):
        profile = PixelConvergence(stack[i], PIXEL, **PARAMETERS)
        for name, found in zip(QUANTITIES, batch, strict=True):
            expected = getattr(profile, name)(grid).array
            assert np.allclose(found[i], expected, rtol=0, atol=1e-12), name
        # Everything is linear in the map.
        assert float(jnp.vdot(gradients[i], stack[i])) == pytest.approx(float(values[i]), rel=1e-10)


def test_the_map_of_one_profile_may_change():
    """What is computed once is computed anew for other values, also of the same array."""
    values = MAP.copy()
    profile = PixelConvergence(values, PIXEL)
    grid = irregular()
    before = profile.deflections_yx_2d_from(grid).array.copy()
    values *= 2.0
    assert np.allclose(profile.deflections_yx_2d_from(grid).array, 2.0 * before, rtol=1e-12)


def test_transforms_are_made_once_for_a_map(monkeypatch):
    calls = []
    compute = convergence_map._computed_maps
    monkeypatch.setattr(
        convergence_map, "_computed_maps", lambda *args: (calls.append(args), compute(*args))[1]
    )
    values = np.random.default_rng(99).uniform(size=(6, 6))
    for centre in (0.0, 0.1, 0.2):
        profile = PixelConvergence(values, PIXEL, centre=(centre, 0.0))
        for name in QUANTITIES:
            getattr(profile, name)(irregular())
    assert len(calls) == 1


def test_gradients_are_those_of_finite_differences():
    """By the five parameters, of deflections in the map and around it."""
    grid = irregular(200, half_width=4.0)
    yx = jnp.asarray(grid.array)
    values = smooth_map()

    def deflections(vector, grid, xp):
        y, x, angle, amplitude, scale = vector
        profile = PixelConvergence(values, 0.1, (y, x), angle, amplitude, scale)
        return profile.deflections_yx_2d_from(grid, xp=xp).array

    vector = np.array([0.13, -0.21, 34.0, 1.7, 1.3])
    exact = jax.jit(
        jax.jacfwd(lambda vector: deflections(vector, al.Grid2DIrregular(yx, xp=jnp), jnp))
    )(vector)
    steps = np.array([1e-5, 1e-5, 1e-3, 1e-4, 1e-5])
    for i, step in enumerate(steps * np.eye(5)):
        upper, lower = (deflections(v, grid, np) for v in (vector + step, vector - step))
        difference = (upper - lower) / (2.0 * step[i])
        assert np.allclose(exact[..., i], difference, rtol=1e-6, atol=1e-6)
        assert np.any(np.abs(exact[..., i]) > 1e-3)


def test_gradients_are_finite_on_pixel_centres_edges_and_far_outside():
    grid = al.Grid2D.uniform((13, 16), pixel_scales=PIXEL, over_sample_size=1)
    yx = jnp.concatenate((grid.array, jnp.array([[0.0, 0.0], [1e8, -1e8]])))

    def everything(vector, yx):
        y, x, angle, amplitude, scale = vector
        profile = PixelConvergence(MAP, PIXEL, (y, x), angle, amplitude, scale)
        at = al.Grid2DIrregular(yx, xp=jnp)
        return sum(jnp.sum(getattr(profile, name)(at, xp=jnp).array) for name in QUANTITIES)

    parameters = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0])
    gradients = jax.jit(jax.grad(everything, argnums=(0, 1)))(parameters, yx)
    assert all(np.all(np.isfinite(gradient)) and np.any(gradient) for gradient in gradients)


# ----------------------------------------------------------------------------- tracers and models


def test_a_lens_with_a_map_images_as_the_lens_it_is_a_map_of():
    """The image of a Sersic behind an isothermal against that behind its map, 128 pixels."""
    isothermal = al.mp.Isothermal(ell_comps=(0.1, -0.15), einstein_radius=1.2)
    source = al.Galaxy(
        redshift=1.0,
        bulge=al.lp.Sersic(centre=(0.05, 0.08), effective_radius=0.3, sersic_index=1.0),
    )
    grid = al.Grid2D.uniform((80, 80), pixel_scales=0.05, over_sample_size=2)
    profile = PixelConvergence(isothermal_map(isothermal, 128), 2.0 * HALF_WIDTH / 128)
    # What the frame cuts off is a shear there, to first order.
    pull = beyond_the_frame(isothermal, np.array([[1e-3, 0.0], [0.0, 1e-3]])) / 1e-3
    cut = al.mp.ExternalShear(gamma_1=pull[1, 1], gamma_2=pull[0, 1])
    expected, found = (
        al.Tracer([al.Galaxy(redshift=0.5, **masses), source]).image_2d_from(grid).array
        for masses in ({"mass": isothermal}, {"mass": profile, "beyond": cut})
    )
    arcs = np.hypot(*np.moveaxis(grid.array, -1, 0)) > 0.6
    difference = (found - expected)[arcs] / np.max(expected[arcs])
    assert np.std(difference) < 5e-3 and np.max(np.abs(difference)) < 0.05


@pytest.mark.filterwarnings("ignore:LensCalc Hessian")
def test_critical_curves_of_a_map():
    sphere = al.mp.IsothermalSph(einstein_radius=1.2)
    tracer = al.Tracer(
        [
            al.Galaxy(redshift=0.5, mass=PixelConvergence(isothermal_map(sphere, 64), 0.1)),
            al.Galaxy(redshift=1.0),
        ]
    )
    grid = al.Grid2D.uniform((60, 60), pixel_scales=0.1)
    calculator = al.LensCalc.from_tracer(tracer)
    assert calculator.einstein_radius_from(grid=grid) == pytest.approx(1.2, abs=0.01)
    images = al.PointSolver.for_grid(grid=grid, pixel_scale_precision=1e-4).solve(
        tracer=tracer, source_plane_coordinate=(0.0, 0.3)
    )
    images = images.array[np.isfinite(images.array).all(axis=1)]
    radii = np.sort(np.abs(images[:, 1]))
    # At theta_E +- beta, beside the image in the softened middle of the map.
    assert np.allclose(radii[-2:], (0.9, 1.5), atol=0.01) and np.allclose(
        images[:, 0], 0, atol=0.01
    )


def lens_model(values=MAP):
    mass = af.Model(PixelConvergence, values=values, pixel_scale=PIXEL)
    light = af.Model(al.lp.ExponentialSph)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


def test_the_model_has_five_parameters_and_keeps_the_map():
    model = af.Model(PixelConvergence, values=MAP, pixel_scale=PIXEL)
    names = {path[-1] for path in model.paths}
    assert names == {"centre_0", "centre_1", "position_angle", "amplitude", "scale"}
    assert "PixelConvergence (N=5)" in model.info
    for name in (*names, "pixel_scale"):
        assert name in model.info
    instance = model.instance_from_prior_medians()
    assert np.array_equal(instance.values, MAP) and instance.pixel_scale == PIXEL
    # An angle past 180 degrees is another lens, so the prior spans the circle.
    assert (model.position_angle.lower_limit, model.position_angle.upper_limit) == (0.0, 360.0)
    assert instance.scale == pytest.approx(1.0) and instance.amplitude == pytest.approx(1.0)


def test_every_free_parameter_has_a_label_and_a_format():
    notation = conf.instance["notation"]
    for path in af.Model(PixelConvergence, values=MAP, pixel_scale=PIXEL).paths:
        # A name without an entry raises.
        assert notation["label"]["label"][path[-1]]
        assert "{" in notation["label_format"]["format"][path[-1]]


def test_model_json_round_trip(tmp_path):
    model = lens_model()
    al.output_to_json(model, tmp_path / "model.json")
    back = af.AbstractPriorModel.from_json(str(tmp_path / "model.json"))
    before, after = dict(model.path_priors_tuples), dict(back.path_priors_tuples)
    assert before.keys() == after.keys() and len(before) == 9
    for path, prior in before.items():
        assert after[path].parameter_string == prior.parameter_string
    mass = back.instance_from_prior_medians().galaxies.lens.mass
    assert type(mass) is PixelConvergence
    assert np.array_equal(mass.values, MAP) and mass.pixel_scale == PIXEL


def test_instance_round_trip(tmp_path):
    profile = PixelConvergence(MAP.astype(np.float32), PIXEL, **PARAMETERS)
    tracer = al.Tracer([al.Galaxy(redshift=0.5, mass=profile), al.Galaxy(redshift=1.0)])
    al.output_to_json(tracer, tmp_path / "tracer.json")
    back = al.from_json(tmp_path / "tracer.json").galaxies[0].mass
    assert back == profile and back.values.dtype == np.float32


def test_equality_compares_maps():
    profile = PixelConvergence(MAP, PIXEL, **PARAMETERS)
    assert profile == PixelConvergence(MAP.copy(), PIXEL, **PARAMETERS)
    assert profile != PixelConvergence(MAP + 1e-9, PIXEL, **PARAMETERS)
    assert profile != PixelConvergence(MAP[:-1], PIXEL, **PARAMETERS)
    assert profile != PixelConvergence(MAP, PIXEL)
    assert profile != aml.lp.PixelLight(MAP, PIXEL) and profile in {profile}


def test_fits_with_different_maps_have_different_folders():
    identifiers = {str(Identifier(lens_model(values))) for values in (MAP, MAP[::-1])}
    assert len(identifiers) == 2


def test_a_likelihood_is_the_same_on_numpy_and_jax_and_has_a_gradient():
    """`al.AnalysisImaging` with and without JAX, and its gradient by finite differences."""
    model = lens_model(smooth_map(20, 0.2) * 2.0)
    model.galaxies.lens.mass.pixel_scale = 0.2
    truth = {
        "galaxies.lens.mass.centre.centre_0": 0.03,
        "galaxies.lens.mass.centre.centre_1": -0.02,
        "galaxies.lens.mass.position_angle": 40.0,
        "galaxies.lens.mass.amplitude": 1.1,
        "galaxies.lens.mass.scale": 0.9,
        "galaxies.source.light.centre.centre_0": 0.05,
        "galaxies.source.light.centre.centre_1": 0.02,
        "galaxies.source.light.intensity": 1.0,
        "galaxies.source.light.effective_radius": 0.3,
    }
    vector = np.array([truth[".".join(path)] for path in model.paths])
    data = al.Array2D.no_mask(np.zeros((40, 40)), pixel_scales=0.1)
    psf = al.Convolver.from_gaussian(shape_native=(5, 5), sigma=0.1, pixel_scales=0.1)
    dataset = al.Imaging(data=data, noise_map=data + 0.1, psf=psf).apply_mask(
        al.Mask2D.circular(shape_native=(40, 40), pixel_scales=0.1, radius=1.5)
    )
    on_numpy, on_jax = (al.AnalysisImaging(dataset=dataset, use_jax=use) for use in (False, True))

    def likelihood(x):
        return on_jax.log_likelihood_function(model.instance_from_vector(x, xp=jnp))

    value, gradient = jax.jit(jax.value_and_grad(likelihood))(jnp.array(vector))

    def reference(x):
        return on_numpy.log_likelihood_function(model.instance_from_vector(x))

    assert float(value) == pytest.approx(reference(vector), rel=1e-9)
    for i, step in enumerate(1e-5 * np.eye(len(vector))):
        difference = (reference(vector + step) - reference(vector - step)) / 2e-5
        assert float(gradient[i]) == pytest.approx(difference, rel=1e-3) and difference != 0.0


def test_what_is_no_map_or_no_size_is_refused():
    for values in (MAP.ravel(), MAP[None], 1.0):
        with pytest.raises(exc.ModelParameterException, match=r"two-dimensional.*convergence"):
            PixelConvergence(values, PIXEL)
    for bad in ({"pixel_scale": 0.0}, {"pixel_scale": PIXEL, "scale": -1.0}):
        with pytest.raises(exc.ModelParameterException, match="finite positive"):
            PixelConvergence(MAP, **bad)
    forgotten = af.Model(PixelConvergence, pixel_scale=PIXEL)
    with pytest.raises(exc.ModelParameterException, match="two-dimensional"):
        forgotten.instance_from_prior_medians()
    holed = MAP.copy()
    holed[2, 3] = np.nan
    with pytest.raises(exc.ModelParameterException, match="not finite"):
        PixelConvergence(holed, PIXEL).deflections_yx_2d_from(irregular())
