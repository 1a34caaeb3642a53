"""Populations: the same lens for the same number, noise as declared, and what they refuse."""

import os

import autofit as af
import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.simulate.population import ARRAYS, Population, simulate
from autolens_ml.simulate.sources import StampLibrary
from tests.simulate import models


def assert_equal(lenses, others):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(lenses, name), getattr(others, name), err_msg=name)


def test_a_lens_depends_on_its_number_alone(plain, plain_lenses, monkeypatch):
    assert_equal(simulate(plain, 40, seed=3), plain_lenses[:40])
    (resumed,) = plain.batches(150, seed=3, start=CHUNK)
    assert_equal(resumed, plain_lenses[CHUNK:])
    # On one core every batch is one chunk or a few, on many more.
    for n_cores in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda n_cores=n_cores: n_cores)
        assert_equal(simulate(plain, 150, seed=3), plain_lenses)


def test_batches_are_multiples_of_a_chunk(plain, plain_lenses, monkeypatch):
    monkeypatch.setattr("autolens_ml.simulate.population._BATCH_SIZE", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    batches = list(plain.batches(150, seed=3))
    assert [len(batch) for batch in batches] == [2 * CHUNK, 150 - 2 * CHUNK]
    assert_equal(batches[1], plain_lenses[2 * CHUNK :])
    assert list(plain.batches(0, seed=3)) == []


def test_another_seed_gives_other_lenses(plain, plain_lenses):
    other = simulate(plain, 5, seed=4)
    assert not np.any(other.latents == plain_lenses.latents[:5])
    assert not np.any(other.data == plain_lenses.data[:5])


def test_the_random_streams_stay_what_they_are(plain_lenses):
    """Stored sets are continued by drawing the same numbers again."""
    ends = plain_lenses[::149]
    assert plain_lenses.population.names[0] == "galaxies.lens.shear.gamma_1"
    expected = {
        "latents": [0.523938904361351, 0.34951594786797713],
        "psf_fwhm": [0.49314370805247193, 0.3688632871124189],
        "exposure_times": [608.8791159769112, 1697.8383738180362],
    }
    for name, values in expected.items():
        found = getattr(ends, name)
        np.testing.assert_allclose(found.reshape(2, -1)[:, 0], values, rtol=1e-12, err_msg=name)
    # Images may differ in the last digit from one processor to the next.
    np.testing.assert_allclose(ends.data[:, 10, 10], [0.5537266201785, 1.4980729601493], rtol=1e-6)


def test_columns_are_the_parameters_by_name(plain, plain_lenses):
    instance = plain_lenses.instance_from(7)
    for name, value in zip(plain.names, plain_lenses.parameters[7], strict=True):
        *path, last = name.split(".")
        if last.startswith(f"{path[-1]}_"):
            path, last = path[:-1], (path[-1], int(last[-1]))
        owner = instance.object_for_path(tuple(path))
        found = (
            getattr(owner, last[0])[last[1]] if isinstance(last, tuple) else getattr(owner, last)
        )
        assert found == value
    space = plain.space
    np.testing.assert_array_equal(
        space.physical_from(plain_lenses.latents), plain_lenses.parameters
    )


def test_ranges_of_the_instrument_are_drawn_from(plain_lenses):
    widths, times = plain_lenses.psf_fwhm, plain_lenses.exposure_times
    assert 0.3 <= widths.min() < 0.32 and 0.48 < widths.max() <= 0.5
    assert 500.0 <= times.min() < 530.0 and 1900.0 < times.max() <= 2000.0
    # Log-uniform: half of them are below the geometric mean.
    assert np.mean(times < 1000.0) == pytest.approx(0.5, abs=0.15)


def test_noise_is_that_of_photons_sky_and_detector(plain_lenses):
    lenses, camera = plain_lenses, models.CAMERA
    times = lenses.exposure_times[:, None, None]
    images = np.maximum(lenses.images, 0.0)
    variance = (images + camera.background_sky_level) / times + (camera.read_noise / times) ** 2
    np.testing.assert_allclose(lenses.noise_maps**2, variance, rtol=1e-12)
    deviations = (lenses.data - lenses.images) / lenses.noise_maps
    # Half the variance of empty pixels is the sky's, half the read noise, that of bright ones is
    # the photons': the mean of squares would show any that is missing.
    empty = images * times < 100.0
    bright = images * times > 2000.0
    assert empty.sum() > 10_000 and bright.sum() > 5_000
    for pixels in (empty, bright):
        error = np.sqrt(2.0 / pixels.sum())
        assert abs(np.mean(deviations[pixels] ** 2) - 1.0) < 5.0 * error
        assert abs(np.mean(deviations[pixels])) < 5.0 / np.sqrt(pixels.sum())
    neighbours = np.mean(deviations[:, :, 1:] * deviations[:, :, :-1])
    assert abs(neighbours) < 5.0 / np.sqrt(deviations.size)


def test_few_photons_are_counted_one_by_one():
    camera = {**models.SMALL_CAMERA.as_dict(), "background_sky_level": 1e-4}
    lenses = simulate(Population(models.small_model(), camera), 64, seed=2)
    counts = (lenses.data + 1e-4) * 1000.0
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)


def test_intensities_in_units_of_the_noise(rich, rich_lenses):
    is_intensity = np.array([name.endswith("intensity") for name in rich.names])
    assert is_intensity.sum() == 2
    unit = models.MOFFAT_CAMERA.background_noise_from(rich_lenses.exposure_times)
    model_units = rich.space.physical_from(rich_lenses.latents)
    expected = np.where(is_intensity, model_units * unit[:, None], model_units)
    np.testing.assert_array_equal(rich_lenses.parameters, expected)
    stamps = np.stack([rich.stamps["galaxies.source.structure"].stamps[i] for i in [0, 1]])
    planes = rich.forward.planes_from(
        model_units[:5], rich_lenses.psfs[:5], stamps[rich_lenses.stamps[:5]]
    )
    np.testing.assert_allclose(rich_lenses.planes[:5], planes * unit[:5, None, None, None])


def test_fixed_intensities_are_scaled_once(rich_lenses):
    unit = models.MOFFAT_CAMERA.background_noise_from(500.0)
    for _ in range(2):
        instance = rich_lenses.instance_from(3)
        assert instance.galaxies.source.bulge.intensity == pytest.approx(20.0 * unit)
        assert instance.galaxies.middle.light.intensity == pytest.approx(30.0 * unit)
        assert instance.extra_galaxies.neighbour.light.intensity == pytest.approx(25.0 * unit)


def test_every_lens_has_a_stamp_of_the_library(rich_lenses, library):
    assert rich_lenses.stamps.shape == (70, 1)
    assert set(rich_lenses.stamps.ravel()) == {0, 1}
    for index in (0, 1, 2, 3):
        values = rich_lenses.instance_from(index).galaxies.source.structure.values
        np.testing.assert_array_equal(values, library[rich_lenses.stamps[index, 0]])


def test_datasets_are_what_pyautolens_fits(plain_lenses):
    dataset = plain_lenses.imaging_from(2)
    np.testing.assert_array_equal(dataset.data.native.array, plain_lenses.data[2])
    np.testing.assert_array_equal(dataset.noise_map.native.array, plain_lenses.noise_maps[2])
    np.testing.assert_allclose(dataset.psf.kernel.native.array, plain_lenses.psfs[2], rtol=1e-12)
    mask = al.Mask2D.circular(shape_native=(21, 26), pixel_scales=0.2, radius=1.8)
    dataset = dataset.apply_mask(mask).apply_over_sampling(over_sample_size_lp=2)
    tracer = al.Tracer(galaxies=plain_lenses.instance_from(2).galaxies)
    fit = al.FitImaging(dataset=dataset, tracer=tracer)
    # The truth fits to within the noise, and the model image is the simulated one.
    assert fit.reduced_chi_squared == pytest.approx(1.0, abs=0.35)
    model_image = fit.model_data.native.array
    inside = ~np.asarray(mask.array)
    expected = plain_lenses.images[2]
    np.testing.assert_allclose(model_image[inside], expected[inside], rtol=0.02)


def test_an_image_that_is_not_finite_is_named(plain, monkeypatch):
    good = plain.forward.planes_from

    def planes_from(*arguments):
        planes = good(*arguments)
        planes[5, 1, 0, 0] = np.nan
        return planes

    monkeypatch.setattr(plain.forward, "planes_from", planes_from)
    with pytest.raises(
        ModelError, match=r"an image is not finite where galaxies\.lens\.shear\.gamma_1 = "
    ) as error:
        simulate(plain, 1, seed=3)
    assert "\n" not in str(error.value)


def fixed_model():
    return models.galaxies(
        lens=al.Galaxy(redshift=0.5, mass=al.mp.Isothermal()),
        source=al.Galaxy(redshift=1.0, light=al.lp.Sersic()),
    )


def light_and_mass():
    return models.galaxies(lens=models.lens(stars=af.Model(al.lmp.Sersic)), source=models.source())


def shared_intensity():
    stars = af.Model(al.mp.Sersic)
    model = models.galaxies(
        lens=models.lens(light=models.light(), stars=stars), source=models.source()
    )
    stars.intensity = model.galaxies.lens.light.intensity
    return model


def library_of(size):
    return StampLibrary.from_stamps(np.ones((1, size, size)))


BAD = {
    "instrument": (
        lambda: Population(models.plain_model(), "hubble"),
        OptionError,
        "no instrument",
    ),
    "nothing free": (lambda: Population(fixed_model(), "lsst"), ModelError, "no free parameter"),
    "light and mass": (
        lambda: Population(light_and_mass(), "lsst", noise_units=True),
        ModelError,
        "noise_units scale light, but",
    ),
    "shared intensity": (
        lambda: Population(shared_intensity(), "lsst", noise_units=True),
        ModelError,
        "noise_units scale light, but",
    ),
    "no library": (
        lambda: Population(models.rich_model(), "lsst", stamps={"galaxies.source.structure": "x"}),
        OptionError,
        "stamps at galaxies.source.structure: needs a StampLibrary, not 'x'",
    ),
    "two sizes": (
        lambda: Population(
            models.rich_model(), "lsst", stamps={"a": library_of(16), "b": library_of(20)}
        ),
        OptionError,
        "stamps of [16, 20] pixels a side",
    ),
    "no PixelLight": (
        lambda: Population(
            models.rich_model(), "lsst", stamps={"galaxies.lens.light": library_of(16)}
        ),
        ModelError,
        "stamps at galaxies.lens.light: the model has no",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_populations_that_cannot_be(case):
    make, kind, message = BAD[case]
    with pytest.raises(kind) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_light_and_mass_is_welcome_in_electrons():
    assert Population(light_and_mass(), "lsst").names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0), "n must be a whole number of at least 0, not -1"),
        ((1.5, 0), "n must be a whole number of at least 0, not 1.5"),
        ((10, -3), "seed must be a whole number of at least 0, not -3"),
        ((10, None), "seed must be a whole number of at least 0, not None"),
        ((100, 0, 32), "start must be a multiple of 64, not 32"),
        ((100, 0, -64), "start must be a whole number of at least 0, not -64"),
    ],
)
def test_numbers_are_checked_at_once(plain, arguments, message):
    with pytest.raises(OptionError, match=message):
        plain.batches(*arguments)


def test_no_lenses_at_all(plain):
    with pytest.raises(OptionError, match="must be positive, not 0"):
        simulate(plain, 0)
