"""A map as a light profile: geometry, flux, gradients, lensing, model files."""

import autofit as af  # first: it switches 64-bit JAX on
import autolens as al
import autolens.plot as aplt
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.mapper.identifier import Identifier
from autogalaxy import exc
from autonerves import conf

from autolens_ml.profiles.light import PixelLight

PIXEL = 0.1
RNG = np.random.default_rng(3)
# Odd by even, and no symmetry.
MAP = RNG.uniform(0.2, 1.0, (7, 10))
PARAMETERS = {
    "centre": (0.13, -0.21),
    "position_angle": 34.0,
    "intensity": 1.7,
    "scale": 1.3,
}


def irregular(number=500, half_width=1.2, seed=5):
    yx = np.random.default_rng(seed).uniform(-half_width, half_width, (number, 2))
    return al.Grid2DIrregular(yx)


def flux(profile, half_width=2.0, spacing=0.01):
    """The integral over the plane [arcsec^2]."""
    side = int(2 * half_width / spacing)
    grid = al.Grid2D.uniform((side, side), pixel_scales=spacing, over_sample_size=1)
    return float(np.sum(profile.image_2d_from(grid).array)) * spacing**2


def sersic_map(profile, pixel_scale=0.02, side=301):
    """A profile on a fine grid."""
    grid = al.Grid2D.uniform((side, side), pixel_scales=pixel_scale, over_sample_size=1)
    return PixelLight(profile.image_2d_from(grid).native.array, pixel_scale)


@pytest.mark.parametrize("shape", [(7, 10), (8, 8), (9, 9), (1, 3)])
def test_at_the_pixel_centres_it_is_the_map(shape):
    values = RNG.normal(size=shape)
    grid = al.Grid2D.uniform(shape, pixel_scales=PIXEL, over_sample_size=1)
    image = PixelLight(values, PIXEL, intensity=2.5).image_2d_from(grid)
    assert np.allclose(image.native.array, 2.5 * values, rtol=0, atol=1e-13)


def test_row_0_is_the_top_and_column_0_the_left():
    values = np.zeros((5, 5))
    values[0, 1] = 1.0
    top_left = al.Grid2DIrregular([(2 * PIXEL, -PIXEL), (-2 * PIXEL, -PIXEL), (2 * PIXEL, PIXEL)])
    assert np.allclose(PixelLight(values, PIXEL).image_2d_from(top_left).array, [1.0, 0.0, 0.0])


def test_position_angle_turns_counter_clockwise_about_the_centre():
    values = np.zeros((5, 5))
    values[2, 4] = 1.0  # to the right of the middle
    profile = PixelLight(values, PIXEL, centre=(0.3, -0.4), position_angle=90.0, scale=2.0)
    above = al.Grid2DIrregular([(0.3 + 4 * PIXEL, -0.4), (0.3 - 4 * PIXEL, -0.4)])
    assert np.allclose(profile.image_2d_from(above).array, [1.0, 0.0], atol=1e-12)


def test_between_pixels_it_is_bilinear_and_beyond_them_it_falls_to_zero():
    profile = PixelLight(np.array([[1.0, 2.0], [3.0, 5.0]]), 1.0)
    points = [(0.0, 0.0), (0.5, 0.0), (0.25, -0.5), (0.5, 1.0), (0.5, 1.5), (1e300, 0.0), (0, 9.0)]
    image = profile.image_2d_from(al.Grid2DIrregular(points)).array
    assert np.allclose(image, [2.75, 1.5, 1.5, 1.0, 0.0, 0.0, 0.0])


def test_flux_is_kept_by_shift_and_rotation_and_goes_with_the_square_of_scale():
    total = MAP.sum() * PIXEL**2
    assert flux(PixelLight(MAP, PIXEL)) == pytest.approx(total, rel=1e-9)
    assert flux(PixelLight(MAP, PIXEL, centre=(0.123, -0.2))) == pytest.approx(total, rel=1e-9)
    assert flux(PixelLight(MAP, PIXEL, position_angle=27.0)) == pytest.approx(total, rel=1e-4)
    assert flux(PixelLight(MAP, PIXEL, scale=1.7)) == pytest.approx(1.7**2 * total, rel=1e-4)
    assert flux(PixelLight(MAP, 2 * PIXEL)) == pytest.approx(4.0 * total, rel=1e-4)
    assert flux(PixelLight(MAP, PIXEL, intensity=-3.0)) == pytest.approx(-3.0 * total, rel=1e-9)


@pytest.mark.parametrize("angle", [20.0, 75.0, 130.0])
def test_angle_and_scale_are_those_of_a_sersic(angle):
    shape = {"intensity": 1.0, "sersic_index": 1.0}
    flat = al.lp.Sersic(
        ell_comps=al.convert.ell_comps_from(axis_ratio=0.5, angle=0.0),
        effective_radius=0.5,
        **shape,
    )
    turned = al.lp.Sersic(
        centre=(0.1, 0.2),
        ell_comps=al.convert.ell_comps_from(axis_ratio=0.5, angle=angle),
        effective_radius=0.6,
        **shape,
    )
    pixels = sersic_map(flat)
    profile = PixelLight(pixels.values, pixels.pixel_scale, (0.1, 0.2), angle, scale=1.2)
    # Interpolation rounds the cusp in the middle off.
    grid = irregular()
    away = np.hypot(grid.array[:, 0] - 0.1, grid.array[:, 1] - 0.2) > 0.1
    expected = turned.image_2d_from(grid).array[away]
    assert np.allclose(profile.image_2d_from(grid).array[away], expected, rtol=4e-3)
    # The other sense of rotation would not pass.
    mirrored = PixelLight(pixels.values, pixels.pixel_scale, (0.1, 0.2), -angle, scale=1.2)
    assert not np.allclose(mirrored.image_2d_from(grid).array[away], expected, rtol=0.1)


def test_numpy_and_jax_agree():
    profile = PixelLight(MAP, PIXEL, **PARAMETERS)
    over_sampled = al.Grid2D.uniform((20, 20), pixel_scales=0.1, over_sample_size=4)
    for grid in (irregular(5000), over_sampled):
        expected = profile.image_2d_from(grid).array
        image = profile.image_2d_from(grid, xp=jnp).array
        assert isinstance(image, jax.Array)
        assert np.allclose(image, expected, rtol=0, atol=1e-12) and np.max(expected) > 1.0


def test_the_map_may_be_traced():
    grid = irregular()
    yx = jnp.asarray(grid.array)

    def image(values, pixel_scale):
        profile = PixelLight(values, pixel_scale, **PARAMETERS)
        return profile.image_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp).array

    def swapped(values, pixel_scale):
        profile = PixelLight(jnp.zeros(MAP.shape), pixel_scale, **PARAMETERS)
        profile.values = values
        return profile.image_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp).array

    stack = np.stack((MAP, MAP[::-1], MAP[:, ::-1]))
    for function in (image, swapped):
        batch = jax.jit(jax.vmap(function, in_axes=(0, None)))(stack, PIXEL)
        for values, one in zip(stack, batch, strict=True):
            expected = PixelLight(values, PIXEL, **PARAMETERS).image_2d_from(grid).array
            assert np.allclose(one, expected, rtol=0, atol=1e-12)

    # The image is linear in the map.
    gradient = jax.grad(lambda values: jnp.sum(image(values, PIXEL)))(jnp.asarray(MAP))
    assert float(jnp.vdot(gradient, MAP)) == pytest.approx(float(image(MAP, PIXEL).sum()))


def image_of(vector, yx):
    y, x, angle, intensity, scale = vector
    profile = PixelLight(MAP, PIXEL, (y, x), angle, intensity, scale)
    return profile.image_2d_from(al.Grid2DIrregular(yx, xp=jnp), xp=jnp).array


def test_gradients_are_those_of_finite_differences():
    yx = jnp.asarray(irregular(200, half_width=0.7).array)
    vector = np.array([0.13, -0.21, 34.0, 1.7, 1.3])
    exact = jax.jit(jax.jacfwd(image_of))(vector, yx)
    steps = np.array([1e-6, 1e-6, 1e-4, 1e-4, 1e-6])
    for i, step in enumerate(steps * np.eye(5)):
        upper, lower = image_of(vector + step, yx), image_of(vector - step, yx)
        difference = (upper - lower) / (2.0 * step[i])
        # A point that a step carries over the border of a pixel sees both slopes.
        close = np.isclose(exact[:, i], difference, rtol=1e-5, atol=1e-6)
        assert close.mean() > 0.98
        assert np.any(np.abs(exact[:, i]) > 1e-3)


def test_gradients_are_finite_on_pixel_centres_edges_and_outside():
    grid = al.Grid2D.uniform((13, 16), pixel_scales=PIXEL, over_sample_size=1)
    yx = jnp.concatenate((grid.array, jnp.array([[0.0, 0.0], [1e8, -1e8]])))
    gradients = jax.jacrev(image_of)(jnp.array([0.0, 0.0, 0.0, 1.0, 1.0]), yx)
    assert np.all(np.isfinite(gradients))


def test_a_lensed_map_of_a_sersic_is_the_lensed_sersic():
    source = al.lp.Sersic(
        centre=(0.05, 0.08),
        ell_comps=(0.1, 0.2),
        intensity=2.0,
        effective_radius=0.25,
        sersic_index=1.0,
    )
    lens = al.Galaxy(
        redshift=0.5,
        mass=al.mp.Isothermal(einstein_radius=1.0, ell_comps=(0.1, 0.05)),
        shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
    )
    grid = al.Grid2D.uniform((80, 80), pixel_scales=0.05, over_sample_size=2)

    def lensed(light):
        return al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)]).image_2d_from(grid).array

    expected = lensed(source)
    fine, finer = (
        (lensed(sersic_map(source, pixel_scale, side)) - expected) / expected.max()
        for pixel_scale, side in ((0.02, 201), (0.01, 401))
    )
    assert np.max(np.abs(finer)) < 0.01 and np.std(finer) < 5e-4
    # Bilinear interpolation is of second order.
    assert np.std(fine) > 3.0 * np.std(finer)


def test_it_is_light_that_the_telescope_has_yet_to_blur():
    grid = al.Grid2D.uniform((9, 9), pixel_scales=PIXEL)
    profile = PixelLight(MAP, PIXEL)
    assert not np.any(profile.image_2d_from(grid, operated_only=True))
    unblurred = profile.image_2d_from(grid, operated_only=False).array
    assert np.array_equal(unblurred, profile.image_2d_from(grid).array) and unblurred.any()


def lens_model(values=MAP):
    light = af.Model(PixelLight, values=values, pixel_scale=PIXEL)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


def test_the_model_has_five_parameters_and_keeps_the_map():
    model = af.Model(PixelLight, values=MAP, pixel_scale=PIXEL)
    names = {path[-1] for path in model.paths}
    assert names == {"centre_0", "centre_1", "position_angle", "intensity", "scale"}
    assert "PixelLight (N=5)" in model.info
    for name in (*names, "pixel_scale"):
        assert name in model.info
    instance = model.instance_from_prior_medians()
    assert np.array_equal(instance.values, MAP) and instance.pixel_scale == PIXEL
    # An angle past 180 degrees is another image, so the prior spans the circle.
    assert (model.position_angle.lower_limit, model.position_angle.upper_limit) == (0.0, 360.0)
    assert instance.scale == pytest.approx(1.0) and instance.intensity == pytest.approx(1.0)


def test_every_free_parameter_has_a_label_and_a_format():
    notation = conf.instance["notation"]
    for path in af.Model(PixelLight, values=MAP, pixel_scale=PIXEL).paths:
        # A name without an entry raises.
        assert notation["label"]["label"][path[-1]]
        assert "{" in notation["label_format"]["format"][path[-1]]


def test_model_json_round_trip(tmp_path):
    model = lens_model()
    al.output_to_json(model, tmp_path / "model.json")
    back = af.AbstractPriorModel.from_json(str(tmp_path / "model.json"))
    before, after = dict(model.path_priors_tuples), dict(back.path_priors_tuples)
    assert before.keys() == after.keys() and len(before) == 8
    for path, prior in before.items():
        assert after[path].parameter_string == prior.parameter_string
    light = back.instance_from_prior_medians().galaxies.source.light
    assert type(light) is PixelLight
    assert np.array_equal(light.values, MAP) and light.pixel_scale == PIXEL


def test_instance_round_trip(tmp_path):
    profile = PixelLight(MAP.astype(np.float32), PIXEL, **PARAMETERS)
    tracer = al.Tracer([al.Galaxy(redshift=0.5), al.Galaxy(redshift=1.0, light=profile)])
    al.output_to_json(tracer, tmp_path / "tracer.json")
    back = al.from_json(tmp_path / "tracer.json").galaxies[1].light
    assert back == profile and back.values.dtype == np.float32


def test_equality_compares_maps():
    profile = PixelLight(MAP, PIXEL, **PARAMETERS)
    assert profile == PixelLight(MAP.copy(), PIXEL, **PARAMETERS)
    assert profile != PixelLight(MAP + 1e-9, PIXEL, **PARAMETERS)
    assert profile != PixelLight(MAP[:-1], PIXEL, **PARAMETERS)
    assert profile != PixelLight(MAP, PIXEL)
    assert profile != al.lp.Sersic() and profile in {profile}


def test_fits_with_different_maps_have_different_folders():
    identifiers = {str(Identifier(lens_model(values))) for values in (MAP, MAP[::-1])}
    assert len(identifiers) == 2


def test_a_likelihood_is_the_same_on_numpy_and_jax_and_has_a_gradient():
    model = lens_model()
    truth = [0.05, 0.02, 0.02, -0.05, 40.0, 2.0, 0.5, 0.8]
    truth = dict(zip([".".join(path) for path in model.paths], truth, strict=True))
    truth["galaxies.lens.mass.einstein_radius"] = 0.8
    vector = list(truth.values())
    grid = al.Grid2D.uniform((40, 40), pixel_scales=0.1)
    data = al.Array2D.no_mask(np.zeros((40, 40)), pixel_scales=0.1)
    psf = al.Convolver.from_gaussian(shape_native=(5, 5), sigma=0.1, pixel_scales=0.1)
    dataset = al.Imaging(data=data, noise_map=data + 0.1, psf=psf).apply_mask(
        al.Mask2D.circular(shape_native=grid.shape_native, pixel_scales=0.1, radius=1.5)
    )
    on_numpy, on_jax = (al.AnalysisImaging(dataset=dataset, use_jax=use) for use in (False, True))

    def likelihood(x):
        return on_jax.log_likelihood_function(model.instance_from_vector(x, xp=jnp))

    value, gradient = jax.jit(jax.value_and_grad(likelihood))(jnp.array(vector))
    expected = on_numpy.log_likelihood_function(model.instance_from_vector(vector))
    assert float(value) == pytest.approx(expected, rel=1e-9)
    assert np.all(np.isfinite(gradient)) and np.all(gradient != 0.0)


def test_what_is_no_map_or_no_size_is_refused():
    for values in (MAP.ravel(), MAP[None], 1.0):
        with pytest.raises(exc.ModelParameterException, match="two-dimensional"):
            PixelLight(values, PIXEL)
    for bad in ({"pixel_scale": 0.0}, {"pixel_scale": PIXEL, "scale": -1.0}):
        with pytest.raises(exc.ModelParameterException, match="finite positive"):
            PixelLight(MAP, **bad)
    forgotten = af.Model(PixelLight, pixel_scale=PIXEL)
    with pytest.raises(exc.ModelParameterException, match="two-dimensional"):
        forgotten.instance_from_prior_medians()


def test_its_image_plots(tmp_path):
    grid = al.Grid2D.uniform((20, 20), pixel_scales=0.1)
    image = PixelLight(MAP, PIXEL).image_2d_from(grid)
    aplt.plot_array(
        array=image, output_path=str(tmp_path), output_filename="image", output_format="png"
    )
    assert (tmp_path / "image.png").stat().st_size > 1000
