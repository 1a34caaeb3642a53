"""The vortex profiles as PyAutoLens sees them: geometry, tracers, physical units, other codes."""

import astropy.units as u
import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autogalaxy import exc
from hypothesis import given, settings
from hypothesis import strategies as st

import autolens_ml as aml
from autolens_ml.profiles.mass.straight_string import LINE, TUBE

PROFILES = pytest.mark.parametrize(
    ("cls", "forms", "width"),
    [(aml.mp.VortexLine, LINE, "core_radius"), (aml.mp.VortexTube, TUBE, "tube_radius")],
    ids=["line", "tube"],
)
CLASSES = pytest.mark.parametrize("cls", [aml.mp.VortexLine, aml.mp.VortexTube])
FLAT_70_03 = al.cosmo.FlatLambdaCDM(H0=70.0, Om0=0.3)


def irregular(number=200, half_length=2.0, seed=2):
    yx = np.random.default_rng(seed).uniform(-half_length, half_length, (number, 2))
    return al.Grid2DIrregular(yx)


@PROFILES
def test_the_string_lies_along_the_position_angle_from_its_centre(cls, forms, width):
    profile = cls(centre=(0.4, -0.2), position_angle=30.0, half_length=0.7, einstein_radius=0.4)
    grid = irregular()
    y, x = grid.array[:, 0] - 0.4, grid.array[:, 1] + 0.2
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    along, across = c * x + s * y, -s * x + c * y
    shape = (0.7, getattr(profile, width), 0.4)

    a_u, a_v = forms.deflections(along, across, *shape)
    expected = np.stack((s * a_u + c * a_v, c * a_u - s * a_v), axis=-1)
    assert np.allclose(profile.deflections_yx_2d_from(grid).array, expected, atol=1e-12)
    potential = forms.potential(along, across, *shape)
    assert np.allclose(profile.potential_2d_from(grid).array, potential, atol=1e-12)
    kappa = forms.convergence(along, across, *shape)
    assert np.allclose(profile.convergence_2d_from(grid).array, kappa, atol=1e-12)


@CLASSES
def test_negative_einstein_radius_is_negative_mass(cls):
    grid = irregular()
    plus, minus = cls(einstein_radius=0.3), cls(einstein_radius=-0.3)
    for name in ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from"):
        a, b = getattr(plus, name)(grid).array, getattr(minus, name)(grid).array
        assert np.allclose(a, -b, rtol=1e-14) and np.max(np.abs(a)) > 0.01


@CLASSES
def test_jax_agrees_and_differentiates_through_the_profile(cls):
    grid = irregular(10_000)

    @jax.jit
    def deflections(yx):
        return (
            cls(centre=(0.1, 0.2), position_angle=70.0)
            .deflections_yx_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp)
            .array
        )

    expected = cls(centre=(0.1, 0.2), position_angle=70.0).deflections_yx_2d_from(grid).array
    assert np.allclose(deflections(jnp.asarray(grid.array)), expected, rtol=0, atol=1e-12)

    def total(centre, angle):
        profile = cls(centre=centre, position_angle=angle)
        yx = jnp.array([[0.1, 0.2], [0.3, 0.4], [0.1, 0.7]])
        return jnp.sum(profile.potential_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp).array)

    # The first point is on the centre of the string.
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))((0.1, 0.2), 70.0)
    assert np.all(np.isfinite(jnp.array(jax.tree.leaves(gradients))))


def test_length_and_direction_as_components_are_the_same_string():
    grid = irregular()
    for angle in (0.0, 40.0, 90.0, 135.0, 179.0):
        twice = np.radians(2.0 * angle)
        by_comps = aml.mp.VortexLineComps(
            centre=(0.2, -0.1),
            length_comps=(0.7 * np.sin(twice), 0.7 * np.cos(twice)),
            core_radius=0.04,
            mass_angular=-np.pi * 0.3**2,
        )
        by_angle = aml.mp.VortexLine((0.2, -0.1), angle, 0.7, 0.04, -0.3)
        assert by_comps.half_length == pytest.approx(0.7)
        assert np.mod(by_comps.position_angle, 180.0) == pytest.approx(angle, abs=1e-6)
        for name in ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from"):
            expected = getattr(by_angle, name)(grid).array
            assert np.allclose(getattr(by_comps, name)(grid).array, expected, atol=1e-7), name


def test_components_have_gradients_also_where_the_string_is_a_point_or_nothing():
    @jax.jit
    def total(y, x, mass):
        profile = aml.mp.VortexLineComps(length_comps=(y, x), mass_angular=mass)
        yx = jnp.array([[0.1, 0.2], [0.3, 0.4], [0.1, 0.7]])
        return jnp.sum(profile.potential_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp).array)

    gradient = jax.grad(total, argnums=(0, 1, 2))
    assert np.allclose(gradient(0.0, 0.0, 0.3)[:2], 0.0, atol=1e-6)  # even in the length
    assert np.all(np.isfinite(gradient(0.3, -0.2, 0.0)))
    point, h = np.array((0.3, -0.2, 0.3)), 1e-6
    expected = [(total(*(point + h * e)) - total(*(point - h * e))) / (2 * h) for e in np.eye(3)]
    assert np.allclose(gradient(*point), expected, atol=1e-8)


def test_a_point_by_components_is_a_plummer_point():
    grid = irregular()
    angular = np.pi * 0.3**2
    profile = aml.mp.VortexLineComps(length_comps=(0.0, 0.0), mass_angular=angular)
    assert profile.mass_angular_within_circle_from(1e4) == pytest.approx(angular, rel=1e-6)
    point = profile.deflections_yx_2d_from(grid).array
    expected = aml.mp.VortexLine(half_length=0.0).deflections_yx_2d_from(grid).array
    assert np.allclose(point, expected, atol=1e-8)
    with pytest.raises(exc.ModelParameterException, match="core_radius"):
        aml.mp.VortexLineComps(core_radius=-0.1)


coordinate = st.floats(-1e3, 1e3)
length = st.one_of(st.just(0.0), st.floats(0.0, 1e-6), st.floats(0.0, 1e3))


@CLASSES
@settings(max_examples=300, deadline=None)
@given(
    y=coordinate,
    x=coordinate,
    centre=st.tuples(coordinate, coordinate),
    angle=st.floats(-720.0, 720.0),
    half_length=length,
    width=length,
    einstein_radius=st.floats(-100.0, 100.0),
    on_centre=st.booleans(),
)
def test_no_parameters_give_nan(
    cls, y, x, centre, angle, half_length, width, einstein_radius, on_centre
):
    profile = cls(centre, angle, half_length, width, einstein_radius)
    end = np.array(centre) + half_length * np.array(
        (np.sin(np.radians(angle)), np.cos(np.radians(angle)))
    )
    grid = al.Grid2DIrregular([centre if on_centre else (y, x), end])
    for name in ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from"):
        assert np.all(np.isfinite(getattr(profile, name)(grid).array)), name


@PROFILES
def test_lengths_below_zero_are_refused(cls, forms, width):
    for bad in ({"half_length": -0.1}, {width: -0.1}, {width: float("nan")}):
        with pytest.raises(exc.ModelParameterException, match=next(iter(bad))):
            cls(**bad)


@CLASSES
def test_enclosed_mass_and_radial_convergence(cls):
    profile = cls(einstein_radius=0.6, half_length=0.3)
    assert profile.mass_angular_within_circle_from(1e3) == pytest.approx(np.pi * 0.36, rel=1e-5)
    # The base class integrates the radial convergence, ours is a closed form or one quadrature.
    integrated = al.mp.MassProfile.mass_angular_within_circle_from(profile, 0.25)
    assert profile.mass_angular_within_circle_from(0.25) == pytest.approx(integrated, rel=1e-6)
    assert profile.convergence_func(np.array([[0.1], [0.2]])).shape == (2, 1)


@CLASSES
def test_radius_of_mean_convergence_one(cls):
    profile = cls(einstein_radius=1.0, half_length=0.2)
    radius = profile.average_convergence_of_1_radius
    assert 0.9 < radius <= 1.0
    assert profile.mass_angular_within_circle_from(radius) == pytest.approx(np.pi * radius**2)
    for faint in (cls(half_length=2.0, einstein_radius=0.05), cls(einstein_radius=-0.3)):
        with pytest.raises(exc.ProfileException, match="below 1 in every circle"):
            _ = faint.average_convergence_of_1_radius


def test_lenstronomy_chain_of_point_masses_agrees():
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    number, b, half_length, phi = 400, 0.3, 0.5, np.radians(25.0)
    s = ((np.arange(number) + 0.5) / number * 2.0 - 1.0) * half_length
    chain = lens_model.LensModel(["POINT_MASS"] * number)
    keywords = [
        {
            "theta_E": b / np.sqrt(number),
            "center_x": 0.1 + si * np.cos(phi),
            "center_y": -0.2 + si * np.sin(phi),
        }
        for si in s
    ]
    profile = aml.mp.VortexLine((-0.2, 0.1), 25.0, half_length, 0.0, b)
    grid = irregular()
    y, x = grid.array.T
    off_axis = np.abs(-np.sin(phi) * (x - 0.1) + np.cos(phi) * (y + 0.2)) > 0.1
    alpha_x, alpha_y = chain.alpha(x, y, keywords)
    deflections = profile.deflections_yx_2d_from(grid).array
    difference = deflections - np.stack((alpha_y, alpha_x), axis=-1)
    assert np.max(np.abs(difference[off_axis])) < 5e-6
    potential = profile.potential_2d_from(grid).array - chain.potential(x, y, keywords)
    assert np.max(np.abs(potential[off_axis])) < 1e-6


def test_from_physical_uses_angular_diameter_distances():
    # 1e10, 3e10 and 1e12 solar masses at z = 0.5 / 1.0 for H0 = 70, Om0 = 0.3.
    for mass, expected in ((1e10, 0.1665), (3e10, 0.2883), (1e12, 1.665)):
        profile = aml.mp.VortexLine.from_physical(mass, 6.104, 0.6104, 0.5, 1.0, FLAT_70_03)
        assert profile.einstein_radius == pytest.approx(expected, rel=1e-3)
    # 6.104 kpc per arcsec.
    assert profile.half_length == pytest.approx(0.5, rel=1e-3)
    assert profile.core_radius == pytest.approx(0.1, rel=1e-3)
    default = aml.mp.VortexLine.from_physical(1e10, 6.288, 0.0, 0.5, 1.0)
    assert default.half_length == pytest.approx(0.5, rel=1e-3)  # Planck15: 6.288 kpc per arcsec


def test_from_physical_takes_quantities_inclination_and_signs():
    plain = aml.mp.VortexTube.from_physical(2e10, 5.0, 0.4, 0.5, 1.0)
    units = aml.mp.VortexTube.from_physical(
        2e40 * u.Msun.to(u.g) / 1e30 * u.g, 5000.0 * u.pc, (400.0 * u.pc).to(u.m), 0.5, 1.0
    )
    for name in ("einstein_radius", "half_length", "tube_radius"):
        assert getattr(units, name) == pytest.approx(getattr(plain, name), rel=1e-9)
    tilted = aml.mp.VortexTube.from_physical(2e10, 5.0, 0.4, 0.5, 1.0, inclination=30.0)
    assert tilted.half_length == pytest.approx(0.5 * plain.half_length)
    deficit = aml.mp.VortexTube.from_physical(-2e10, 5.0, 0.4, 0.5, 1.0)
    assert deficit.einstein_radius == pytest.approx(-plain.einstein_radius)


@pytest.mark.parametrize(
    "arguments",
    [
        (1e10, 5.0, 0.4, 1.0, 0.5),
        (1e10, 5.0, 0.4, 0.5, 0.5),
        (1e10, 5.0, 0.4, 0.0, 0.5),
        (1e10, -5.0, 0.4, 0.5, 1.0),
        (1e10, 5.0, -0.4, 0.5, 1.0),
        (1e10 * u.kpc, 5.0, 0.4, 0.5, 1.0),
        (1e10, 5.0 * u.Msun, 0.4, 0.5, 1.0),
        (float("nan"), 5.0, 0.4, 0.5, 1.0),
        ("heavy", 5.0, 0.4, 0.5, 1.0),
    ],
)
@CLASSES
def test_from_physical_refuses_what_makes_no_sense(cls, arguments):
    with pytest.raises(exc.ModelParameterException):
        cls.from_physical(*arguments)


@pytest.fixture(name="tracer")
def make_tracer():
    lens = al.Galaxy(
        redshift=0.5,
        mass=al.mp.Isothermal(einstein_radius=1.2, ell_comps=(0.1, 0.0)),
        vortex=aml.mp.VortexLine(centre=(0.9, 0.2), position_angle=30.0, core_radius=0.02),
        tube=aml.mp.VortexTube(centre=(-0.6, 0.5), einstein_radius=-0.1),
    )
    source = al.Galaxy(redshift=1.0, bulge=al.lp.Sersic(centre=(0.05, 0.1), effective_radius=0.3))
    return al.Tracer([lens, source])


@pytest.mark.filterwarnings("ignore:LensCalc Hessian")
def test_critical_curves_of_a_tracer_with_vortices(tracer):
    grid = al.Grid2D.uniform(shape_native=(60, 60), pixel_scales=0.08)
    calculator = al.LensCalc.from_tracer(tracer)
    curves = calculator.tangential_critical_curve_list_from(grid=grid)
    smooth = al.LensCalc.from_mass_obj(tracer.galaxies[0].mass)
    assert len(curves) >= 1 and calculator.tangential_caustic_list_from(grid=grid)
    # The vortex (0.3^2) less the deficit (0.1^2) adds to the mass inside the critical curve.
    area = calculator.einstein_radius_from(grid=grid) - smooth.einstein_radius_from(grid=grid)
    assert 0.0 < area < 0.1

    inside = al.Grid2DIrregular([(1.3, 0.4), (-0.8, 0.9)])
    hessian_yy, _, _, hessian_xx = calculator.hessian_from(grid=inside)
    kappa = tracer.convergence_2d_from(grid=inside).array
    assert np.allclose(0.5 * (hessian_yy + hessian_xx), kappa, atol=1e-4)


def test_images_of_a_point_source_behind_a_vortex(tracer):
    grid = al.Grid2D.uniform(shape_native=(100, 100), pixel_scales=0.05)
    solver = al.PointSolver.for_grid(grid=grid, pixel_scale_precision=1e-4)
    images = solver.solve(tracer=tracer, source_plane_coordinate=(0.05, 0.1))
    images = images.array[np.isfinite(images.array).all(axis=1)]
    assert len(images) >= 4
    traced = tracer.traced_grid_2d_list_from(grid=al.Grid2DIrregular(images))[-1]
    assert np.allclose(traced.array, (0.05, 0.1), atol=5e-3)


@pytest.mark.filterwarnings("ignore:LensCalc Hessian")
def test_a_tracer_with_vortices_plots(tracer, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import autolens.plot as aplt

    grid = al.Grid2D.uniform(shape_native=(30, 30), pixel_scales=0.15)
    aplt.subplot_tracer(tracer=tracer, grid=grid, output_path=tmp_path, output_format="png")
    assert [p.stat().st_size > 1000 for p in tmp_path.glob("*.png")] == [True]
