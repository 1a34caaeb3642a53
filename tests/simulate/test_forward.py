"""The forward model: PyAutoLens's own images, plane by plane, and what has none."""

import autofit as af
import autolens as al
import jax
import numpy as np
import pytest

from autolens_ml.exceptions import DataError, ModelError
from autolens_ml.simulate.forward import ForwardModel
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.population import Population, simulate
from tests.simulate import models


def assert_same(image, expected):
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-10 * expected.max())


@pytest.mark.parametrize("index", [0, 63, 149])
def test_images_are_those_of_pyautolens(plain_lenses, index):
    assert_same(plain_lenses.images[index], models.image_by_pyautolens(plain_lenses, index))


@pytest.mark.parametrize("index", [0, 69])
def test_three_planes_vortex_stamps_moffat_are_those_of_pyautolens(rich_lenses, index):
    assert_same(rich_lenses.images[index], models.image_by_pyautolens(rich_lenses, index))


def test_the_nearest_plane_comes_first(rich_lenses):
    assert rich_lenses.planes.shape == (70, 3, 20, 22)
    assert rich_lenses.population.forward.n_planes == 3

    def foreground(instance):
        lens, neighbour = instance.galaxies.lens, instance.extra_galaxies.neighbour
        return [lens, neighbour, al.Galaxy(redshift=2.0)]

    expected = models.image_by_pyautolens(rich_lenses, 4, foreground)
    assert_same(rich_lenses.planes[4, 0], expected)


def test_any_number_of_lenses(plain, plain_lenses):
    forward, psfs = plain.forward, plain_lenses.psfs
    for n in (1, 64, 65):
        planes = forward.planes_from(plain_lenses.parameters[:n], psfs[:n])
        np.testing.assert_array_equal(planes, plain_lenses.planes[:n])
    assert forward.planes_from(plain_lenses.parameters[:0], psfs[:0]).shape == (0, 2, 21, 26)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument_simulates_a_lens(name):
    lenses = simulate(Population(models.small_model(), name), 1, seed=1)
    instrument = INSTRUMENTS[name]
    assert lenses.data.shape == (1, *instrument.shape)
    assert_same(lenses.images[0], models.image_by_pyautolens(lenses, 0))
    # The source is seen: its light is far above what the noise adds up to.
    noise = np.sqrt(np.sum(lenses.noise_maps[0] ** 2))
    assert lenses.data[0].sum() > 5.0 * noise


def test_doubles_whatever_the_default_of_jax(plain, plain_lenses):
    with jax.enable_x64(False):
        again = simulate(plain, 64, seed=3)
    np.testing.assert_array_equal(again.planes, plain_lenses.planes[:64])
    np.testing.assert_array_equal(again.latents, plain_lenses.latents[:64])


def test_planes_behind_all_light_are_empty():
    model = models.galaxies(
        lens=models.lens(), source=models.source(), behind=models.source(2.0, mass=models.mass())
    )
    lenses = simulate(Population(model, models.SMALL_CAMERA), 2)
    assert lenses.planes.shape[1] == 3
    assert not lenses.planes[:, 2].any()
    assert_same(lenses.images[0], models.image_by_pyautolens(lenses, 0))


def linear():
    return models.galaxies(lens=models.lens(), source=models.source(light=al.lp_linear.Sersic))


def free_redshift():
    model = models.plain_model()
    model.galaxies.lens.redshift = af.UniformPrior(0.2, 0.6)
    return model


def no_prior():
    light = af.Model(al.lp.Sersic)
    light.intensity = af.Model(al.lp_snr.Sersic).signal_to_noise_ratio
    return models.galaxies(lens=models.lens(), source=models.source(light=light))


BAD_MODELS = {
    "not a model": (lambda: al.Tracer([al.Galaxy(redshift=1.0)]), "model with galaxies"),
    "no galaxies": (lambda: af.Collection(lens=models.lens()), "model with galaxies"),
    "no light": (lambda: models.galaxies(lens=models.lens()), "no light"),
    "free redshift": (free_redshift, "galaxies.lens.redshift is free"),
    "linear light": (linear, "galaxies.source.light is linear light"),
    "linear basis": (
        lambda: models.galaxies(
            lens=models.lens(),
            source=models.source(light=al.model_util.mge_model_from(3.0, 4)),
        ),
        "is linear light",
    ),
    "fixed linear light": (
        lambda: models.galaxies(
            lens=models.lens(), source=al.Galaxy(redshift=1.0, light=al.lp_linear.Sersic())
        ),
        "galaxies.source.light is linear light",
    ),
    "operated light": (
        lambda: models.galaxies(
            lens=models.lens(point=al.lp_operated.Gaussian()), source=models.source()
        ),
        "galaxies.lens.point is light that is already convolved",
    ),
    "light of an S/N": (
        lambda: models.galaxies(
            lens=models.lens(), source=models.source(light=al.lp_snr.SersicSph())
        ),
        "galaxies.source.light is light of a signal-to-noise ratio",
    ),
    "pixelization": (
        lambda: models.galaxies(
            lens=models.lens(),
            source=models.source(pixels=al.Pixelization(mesh=al.mesh.RectangularUniform())),
        ),
        "galaxies.source.pixels is a pixelized source",
    ),
    "no prior": (no_prior, "galaxies.source.light.intensity has no prior"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_models_that_make_no_image(case):
    make, message = BAD_MODELS[case]
    with pytest.raises(ModelError) as error:
        ForwardModel(make(), models.SMALL_CAMERA)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path", ["galaxies.lens.light", "galaxies.source.nothing", "extra_galaxies.neighbour.light"]
)
def test_stamps_need_a_pixel_light(path):
    with pytest.raises(ModelError, match=r"has no af.Model\(aml.lp.PixelLight\) there"):
        ForwardModel(models.rich_model(), models.SMALL_CAMERA, [tuple(path.split("."))])


@pytest.mark.parametrize("stamps", [None, np.ones((3, 2, 12, 12)), np.ones((2, 1, 12, 12))])
def test_stamps_are_one_for_every_lens_and_path(rich, rich_lenses, stamps):
    vectors = rich.space.physical_from(rich_lenses.latents[:3])
    with pytest.raises(DataError, match="give \\(n, n_paths, y, x\\)"):
        rich.forward.planes_from(vectors, rich_lenses.psfs[:3], stamps)


class Untraceable(al.lp.GaussianSph):
    """A profile that JAX cannot follow."""

    def image_2d_from(self, grid, xp=np, operated_only=None, **kwargs):
        return super().image_2d_from(grid, xp=xp) * (1.0 if self.sigma > 0.1 else 0.5)


def test_a_profile_that_jax_cannot_trace():
    light = af.Model(Untraceable, centre=(0.0, 0.0), intensity=1.0)
    light.sigma = af.UniformPrior(0.1, 1.0)
    population = Population(
        models.galaxies(lens=models.lens(), source=models.source(light=light)), models.SMALL_CAMERA
    )
    with pytest.raises(ModelError, match="JAX cannot trace a profile") as error:
        simulate(population, 1)
    assert "\n" not in str(error.value)
