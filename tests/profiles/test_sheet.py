"""The mass sheet and the mass-sheet transform."""

import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autogalaxy import exc

import autolens_ml as aml

SHEETS = pytest.mark.parametrize(
    "sheet",
    [
        aml.mp.MassSheet(centre=(0.5, -0.3), kappa=0.2),
        aml.mp.MassSheet(centre=(0.5, -0.3), kappa=-0.3, radius=0.8),
    ],
    ids=["infinite", "disc"],
)


def irregular(number=10_000, half_length=2.0):
    yx = np.random.default_rng(3).uniform(-half_length, half_length, (number, 2))
    return al.Grid2DIrregular(yx)


@SHEETS
def test_potential_deflections_and_convergence_belong_together(sheet):
    def potential(p):
        grid = al.Grid2DIrregular(p[None], xp=jnp)
        return sheet.potential_2d_from(grid, xp=jnp).array[0]

    def deflection(p):
        return sheet.deflections_yx_2d_from(al.Grid2DIrregular(p[None], xp=jnp), xp=jnp).array[0]

    grid = irregular()
    yx = jnp.concatenate((grid.array, jnp.array([sheet.centre])))
    gradient = jax.jit(jax.vmap(jax.grad(potential)))(yx)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(deflection)))(yx)
    assert np.allclose(gradient[:-1], sheet.deflections_yx_2d_from(grid).array, rtol=0, atol=1e-12)
    assert np.all(gradient[-1] == 0.0)
    trace = jacobian[:-1, 0, 0] + jacobian[:-1, 1, 1]
    assert np.allclose(trace, 2.0 * sheet.convergence_2d_from(grid).array, rtol=0, atol=1e-12)


def test_lenstronomy_sheet_agrees():
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    sheet = aml.mp.MassSheet(centre=(0.5, -0.3), kappa=0.2)
    grid = irregular(100)
    y, x = grid.array.T
    other = lens_model.LensModel(["CONVERGENCE"])
    keywords = [{"kappa": 0.2, "ra_0": -0.3, "dec_0": 0.5}]
    alpha_x, alpha_y = other.alpha(x, y, keywords)
    assert np.allclose(sheet.deflections_yx_2d_from(grid).array.T, (alpha_y, alpha_x), atol=1e-12)
    assert np.allclose(sheet.potential_2d_from(grid).array, other.potential(x, y, keywords))


def test_enclosed_mass():
    sheet = aml.mp.MassSheet(centre=(0.5, -0.3), kappa=0.2)
    assert sheet.mass_angular_within_circle_from(1.5) == pytest.approx(np.pi * 0.2 * 1.5**2)
    integrated = al.mp.MassProfile.mass_angular_within_circle_from(sheet, 1.5)
    assert integrated == pytest.approx(np.pi * 0.2 * 1.5**2)
    assert sheet.density_between_circular_annuli(0.5, 1.0) == pytest.approx(0.2)
    disc = aml.mp.MassSheet(kappa=0.2, radius=0.8)
    assert disc.mass_angular_within_circle_from(1.5) == pytest.approx(np.pi * 0.2 * 0.64)
    far = disc.deflections_yx_2d_from(al.Grid2DIrregular([(0.0, 50.0)])).array
    assert far[0] == pytest.approx((0.0, 0.2 * 0.64 / 50.0))


def test_radius_of_mean_convergence_one():
    for sheet in (aml.mp.MassSheet(kappa=0.99), aml.mp.MassSheet(kappa=-2.0, radius=1.0)):
        with pytest.raises(exc.ProfileException, match="below 1 in every circle"):
            _ = sheet.average_convergence_of_1_radius
    assert aml.mp.MassSheet(kappa=4.0, radius=0.5).average_convergence_of_1_radius == 1.0
    assert aml.mp.MassSheet(kappa=1.0).average_convergence_of_1_radius == np.inf


def test_a_disc_needs_a_radius_above_zero():
    for radius in (0.0, -1.0, float("inf")):
        with pytest.raises(exc.ModelParameterException, match="radius"):
            aml.mp.MassSheet(kappa=0.1, radius=radius)


def test_half_over_x_is_the_isothermal_sphere():
    sphere = al.mp.IsothermalSph(einstein_radius=1.3)
    radii = np.array([0.5, 1.0, 2.0])
    grid = al.Grid2DIrregular(1.3 * np.stack((0.0 * radii, radii), axis=-1))
    assert np.allclose(sphere.convergence_2d_from(grid).array, 1.0 / (2.0 * radii), atol=1e-7)


def test_vmapped_sheets_add_up():
    grid = irregular(20)
    batch = jnp.array([[0.1, 0.2, 0.05], [-0.4, 0.0, 0.1], [9.0, 9.0, 9.0]])
    total = aml.mp.MassSheet.vmapped_deflections_from(
        jnp.asarray(grid.array), batch, jnp.array([True, True, False])
    )
    expected = sum(
        aml.mp.MassSheet(centre=(y, x), kappa=k).deflections_yx_2d_from(grid).array
        for y, x, k in np.asarray(batch[:2])
    )
    assert np.allclose(total, expected, atol=1e-12)


# ------------------------------------------------------------------------- mass-sheet transform

LAMBDA, ORIGIN = 0.85, (0.1, -0.2)


@pytest.fixture(name="galaxies")
def make_galaxies():
    lens = al.Galaxy(
        redshift=0.5,
        bulge=al.lp.Sersic(intensity=0.3, effective_radius=0.8),
        mass=al.mp.Isothermal(centre=(0.02, 0.01), ell_comps=(0.1, 0.05), einstein_radius=1.2),
        shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
    )
    source = al.Galaxy(
        redshift=1.0,
        bulge=al.lp.Sersic(centre=(0.06, 0.03), ell_comps=(0.1, 0.2), effective_radius=0.3),
        point=al.ps.PointFlux(centre=(0.06, 0.03), flux=2.0),
    )
    return [lens, source]


def image_positions(galaxies):
    grid = al.Grid2D.uniform(shape_native=(100, 100), pixel_scales=0.05)
    solver = al.PointSolver.for_grid(grid=grid, pixel_scale_precision=1e-7)
    tracer = al.Tracer(galaxies)
    found = solver.solve(tracer=tracer, source_plane_coordinate=galaxies[1].point.centre).array
    found = found[np.isfinite(found).all(axis=1)]
    return al.Grid2DIrregular(found[np.lexsort(found.T)])


def test_transform_keeps_the_image_and_scales_the_rest(galaxies):
    transformed = aml.mass_sheet_transform(galaxies, LAMBDA, centre=ORIGIN)
    before, after = al.Tracer(galaxies), al.Tracer(transformed)
    grid = al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.1)
    assert np.max(before.image_2d_from(grid).array) > 1.0
    assert np.allclose(before.image_2d_from(grid), after.image_2d_from(grid), rtol=1e-9, atol=1e-12)

    kappa = before.convergence_2d_from(grid).array
    assert np.allclose(
        after.convergence_2d_from(grid).array, LAMBDA * kappa + 1.0 - LAMBDA, atol=1e-12
    )
    source, shifted = galaxies[1].bulge, transformed[1].bulge
    moved = LAMBDA * np.array(source.centre) + (1.0 - LAMBDA) * np.array(ORIGIN)
    assert shifted.centre == pytest.approx(tuple(moved))
    assert shifted.effective_radius == pytest.approx(LAMBDA * source.effective_radius)
    assert shifted.intensity == source.intensity and shifted.ell_comps == source.ell_comps
    # The originals and the light of the lens are as they were.
    assert galaxies[1].bulge.centre == (0.06, 0.03) and not hasattr(galaxies[0], "mass_sheet")
    assert transformed[0].bulge is galaxies[0].bulge


@pytest.mark.filterwarnings("ignore:LensCalc Hessian")
def test_transform_scales_magnification_flux_and_time_delays(galaxies):
    transformed = aml.mass_sheet_transform(galaxies, LAMBDA, centre=ORIGIN)
    before, after = al.Tracer(galaxies), al.Tracer(transformed)
    images = image_positions(galaxies)
    assert len(images) == 4
    assert np.allclose(images.array, image_positions(transformed).array, atol=1e-5)

    mu_before = al.LensCalc.from_tracer(before).magnification_2d_via_hessian_from(grid=images)
    mu_after = al.LensCalc.from_tracer(after).magnification_2d_via_hessian_from(grid=images)
    mu_before, mu_after = np.asarray(mu_before), np.asarray(mu_after)
    assert np.allclose(mu_after * LAMBDA**2, mu_before, rtol=1e-4)
    fluxes = galaxies[1].point.flux * mu_before, transformed[1].point.flux * mu_after
    assert np.allclose(*fluxes, rtol=1e-4)

    def delays(tracer):
        arrival = np.asarray(tracer.time_delays_from(grid=images))
        return arrival[1:] - arrival[0]

    assert np.max(np.abs(delays(before))) > 1.0
    assert np.allclose(delays(after), LAMBDA * delays(before), rtol=1e-5)


def test_transforms_compose_and_one_is_no_change(galaxies):
    grid = al.Grid2D.uniform(shape_native=(20, 20), pixel_scales=0.2)
    twice = aml.mass_sheet_transform(aml.mass_sheet_transform(galaxies, 0.9), 1.2)
    assert [n for n in vars(twice[0]) if "sheet" in n] == ["mass_sheet", "mass_sheet_1"]
    once = aml.mass_sheet_transform(galaxies, 1.08)
    for a, b in ((twice, once), (aml.mass_sheet_transform(galaxies, 1.0), galaxies)):
        a, b = al.Tracer(a), al.Tracer(b)
        for name in ("deflections_yx_2d_from", "potential_2d_from", "image_2d_from"):
            assert np.allclose(getattr(a, name)(grid), getattr(b, name)(grid), atol=1e-12), name


LIGHTS = [
    al.lp.Sersic(),
    al.lp.SersicCore(),
    al.lp.ExponentialSph(),
    al.lp.DevVaucouleurs(),
    al.lp.Gaussian(),
    al.lp.Moffat(),
    al.lp.ElsonFreeFall(),
    al.lp.Chameleon(),
    al.lp.SersicMultipole(multipole_3_comps=(0.02, 0.01)),
    al.lp.ShapeletPolar(n=2, m=0),
    al.lp.ShapeletCartesian(n_y=2, n_x=0),
    aml.lp.PixelLight(np.arange(12.0).reshape(3, 4), 0.2, (0.1, 0.2), 30.0, scale=1.5),
    al.lp_basis.Basis([al.lp.Gaussian(sigma=0.1), al.lp.Gaussian(sigma=0.4)]),
]


@pytest.mark.parametrize("light", LIGHTS, ids=lambda p: type(p).__name__)
def test_every_source_profile_follows(light):
    lens = al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=1.0))
    before = [lens, al.Galaxy(redshift=1.0, light=light)]
    after = aml.mass_sheet_transform(before, 0.7)
    grid = al.Grid2D.uniform(shape_native=(20, 20), pixel_scales=0.13)
    a, b = (al.Tracer(g).image_2d_from(grid).array for g in (before, after))
    assert np.max(np.abs(a)) > 0.0
    assert np.allclose(a, b, rtol=1e-9, atol=1e-12)


MASSES = [
    al.mp.PowerLaw(slope=1.7, einstein_radius=1.0),
    al.mp.NFW(kappa_s=0.2, scale_radius=3.0),
    al.mp.PointMass(einstein_radius=0.8),
    al.lmp.Sersic(intensity=0.7, effective_radius=0.7),
    al.lmp.GaussianGradient(intensity=0.7, mass_to_light_ratio_base=1.4),
    al.lp_basis.Basis([al.lmp.Gaussian(sigma=0.3, intensity=1.0), al.lmp.Gaussian(sigma=0.4)]),
    aml.mp.VortexLine(),
    aml.mp.PixelConvergence(np.arange(12.0).reshape(3, 4), 0.3, (0.1, 0.2), 30.0, 0.2),
]


@pytest.mark.parametrize("mass", MASSES, ids=lambda p: type(p).__name__)
def test_every_mass_profile_follows_and_keeps_its_light(mass):
    source = al.Galaxy(redshift=1.0, light=al.lp.Sersic(centre=(0.1, 0.0), effective_radius=0.2))
    before = [source, al.Galaxy(redshift=0.5, mass=mass)]
    after = aml.mass_sheet_transform(before, 0.8, ORIGIN)
    grid = al.Grid2D.uniform(shape_native=(12, 12), pixel_scales=0.3)
    a, b = (al.Tracer(g) for g in (before, after))
    assert np.allclose(a.image_2d_from(grid), b.image_2d_from(grid), rtol=1e-6, atol=1e-9)
    scaled = 0.8 * before[1].deflections_yx_2d_from(grid).array
    sheet = 0.2 * (grid.array - np.array(ORIGIN))
    assert np.allclose(after[1].deflections_yx_2d_from(grid).array, scaled + sheet, atol=1e-9)


def test_transformed_galaxies_survive_json(galaxies, tmp_path):
    tracer = al.Tracer(aml.mass_sheet_transform(galaxies, LAMBDA, centre=ORIGIN))
    al.output_to_json(tracer, tmp_path / "tracer.json")
    back = al.from_json(tmp_path / "tracer.json")
    grid = al.Grid2D.uniform(shape_native=(10, 10), pixel_scales=0.3)
    assert isinstance(back.galaxies[0].mass, aml.mp.ScaledMass)
    assert np.array_equal(back.image_2d_from(grid), tracer.image_2d_from(grid))


def test_scaled_mass_encloses_the_scaled_mass():
    scaled = aml.mp.ScaledMass(al.mp.IsothermalSph(einstein_radius=1.2), 0.5)
    assert scaled.mass_angular_within_circle_from(2.0) == pytest.approx(np.pi * 1.2, rel=1e-5)


def test_transform_refuses_what_it_is_not_exact_for(galaxies):
    lens, source = galaxies
    for lambda_ in (0.0, -1.0, float("nan")):
        with pytest.raises(exc.ModelParameterException, match="lambda_"):
            aml.mass_sheet_transform(galaxies, lambda_)
    far = al.Galaxy(redshift=2.0, light=al.lp.Sersic())
    halo = al.Galaxy(redshift=0.7, mass=al.mp.IsothermalSph())
    for systems in ([lens, source, far], [lens, halo, source], [source], [lens]):
        with pytest.raises(exc.GalaxyException, match="one source plane"):
            aml.mass_sheet_transform(systems, 0.9)

    odd = al.Galaxy(redshift=1.0, light=al.lp.ShapeletExponential(n=2, m=0))
    with pytest.raises(exc.GalaxyException, match="ShapeletExponential"):
        aml.mass_sheet_transform([lens, odd], 0.9)


def test_scaled_mass_differentiates_in_its_factor():
    yx = irregular(50).array

    def total(factor, xp):
        profile = aml.mp.ScaledMass(al.mp.Isothermal(ell_comps=(0.1, 0.0)), factor)
        grid = al.Grid2DIrregular(xp.asarray(yx), xp=xp)
        return xp.sum(xp.abs(profile.deflections_yx_2d_from(grid, xp=xp).array))

    value, slope = jax.jit(jax.value_and_grad(lambda f: total(f, jnp)))(0.7)
    assert float(value) == pytest.approx(total(0.7, np), rel=1e-12)
    assert float(slope) == pytest.approx(total(1.0, np), rel=1e-12)
