"""Presets for a user's model and data: what is taken from each, and what is refused."""

import json
import warnings
from types import SimpleNamespace

import autofit as af
import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import DataError, DataWarning, ModelError
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.observation import psf_fwhm_from
from autolens_ml.training.for_model import preset_for
from autolens_ml.training.preset import Preset, TrainingOptions
from autolens_ml.training.task import task_of

SCALE = 0.08
UNIT, TIME = 0.02, 500.0  # RMS of an empty pixel, seconds: ten electrons of noise
FWHM = 0.17


def dataset_of(side=80, radius=None, brightest=4.0, unit=UNIT, time=TIME) -> al.Imaging:
    """A round galaxy, with the noise of empty sky and of its own light."""
    y, x = (np.indices((side, side)) - 0.5 * (side - 1)) * SCALE
    light = brightest * np.exp(-0.5 * (y**2 + x**2) / 0.6**2)
    noise = np.sqrt(unit**2 + light / time)
    data = light + noise * np.random.default_rng(0).standard_normal(light.shape)
    instrument = Instrument("any", (side, side), SCALE, FWHM, TIME, 1.0)
    (kernel,) = instrument.psf_kernels_from(np.array([FWHM]))
    arrays = [al.Array2D.no_mask(values, pixel_scales=SCALE) for values in (data, noise, kernel)]
    psf = al.Convolver(kernel=arrays[2], normalize=True)
    dataset = al.Imaging(data=arrays[0], noise_map=arrays[1], psf=psf)
    if radius is None:
        return dataset
    mask = al.Mask2D.circular(shape_native=(side, side), pixel_scales=SCALE, radius=radius)
    return dataset.apply_mask(mask=mask)


def model_of(light, mass=None) -> af.Collection:
    """A lens with that light and a source with an intensity in the units of the data."""
    lens = af.Model(al.Galaxy, redshift=0.5, bulge=light, mass=mass or af.Model(al.mp.Isothermal))
    source = af.Model(al.Galaxy, redshift=1.0, bulge=af.Model(al.lp.ExponentialSph))
    source.bulge.intensity = af.LogUniformPrior(0.1, 1.0)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


def converted(light, **options):
    """The light of the lens as it is simulated."""
    return population_for(model_of(light), dataset_of(**options)).model.galaxies.lens.bulge


def population_for(model, dataset):
    return task_of(preset_for(model, dataset, "mine")).population


def limits(prior):
    return type(prior), prior.lower_limit, prior.upper_limit


def test_instrument_is_like_the_dataset():
    instrument = population_for(model_of(af.Model(al.lp_linear.Sersic)), dataset_of()).instrument
    assert instrument.shape == (80, 80) and instrument.pixel_scale == SCALE
    np.testing.assert_allclose(instrument.psf_fwhm, [0.85 * FWHM, 1.15 * FWHM], rtol=0.01)
    # The middle of the range has the noise of an empty pixel, and that of bright ones.
    time = np.sqrt(np.prod(instrument.exposure_time))
    assert time == pytest.approx(TIME, rel=0.05)
    assert instrument.background_noise_from(time) == pytest.approx(UNIT, rel=0.05)
    assert instrument.exposure_time[1] / instrument.exposure_time[0] == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize(("unit", "time"), [(2e-4, 5e4), (20.0, 0.5)])
def test_units_of_the_data_do_not_matter(unit, time):
    """The same image in other units of flux is the same preset but for the instrument's units."""
    factor = unit / UNIT
    model = model_of(af.Model(al.lp.SersicSph))
    source = model.galaxies.source.bulge
    expected = population_for(model, dataset_of())
    source.intensity = af.LogUniformPrior(0.1 * factor, 1.0 * factor)
    other = population_for(model, dataset_of(brightest=4.0 * factor, unit=unit, time=time))
    for prior, same in zip(
        other.model.priors_ordered_by_id, expected.model.priors_ordered_by_id, strict=True
    ):
        np.testing.assert_allclose(prior.value_for(0.3), same.value_for(0.3), rtol=1e-3)
    times, expected_times = (p.instrument.exposure_time[0] for p in (other, expected))
    electrons = other.instrument.background_noise_from(times) * times
    expected_noise = expected.instrument.background_noise_from(expected_times)
    assert electrons == pytest.approx(expected_noise * expected_times, rel=1e-3)


def test_noise_that_does_not_grow_with_light():
    dataset = dataset_of(time=1e12)
    instrument = population_for(model_of(af.Model(al.lp.SersicSph)), dataset)
    times = np.array(instrument.instrument.exposure_time)
    assert np.all(instrument.instrument.background_noise_from(times) * times > 1e3)


@pytest.mark.parametrize(
    ("side", "radius", "expected"),
    [(80, None, 80), (83, None, 88), (30, None, 64), (150, 3.0, 80), (150, 1.0, 64)],
)
def test_shape(side, radius, expected):
    """Of all that is not masked: a multiple of 8 from 64 to 192 pixels."""
    preset = preset_for(model_of(af.Model(al.lp.SersicSph)), dataset_of(side, radius), "mine")
    assert task_of(preset).population.instrument.shape == (expected, expected)


def test_masks_away_from_the_middle():
    mask = np.ones((150, 150), dtype=bool)
    mask[70:74, 120:126] = False  # from the middle 51 pixels to the right
    dataset = dataset_of(150).apply_mask(mask=al.Mask2D(mask=mask, pixel_scales=SCALE))
    preset = preset_for(model_of(af.Model(al.lp.SersicSph)), dataset, "mine")
    assert preset.data["population"]["instrument"]["shape"] == [104, 104]


def test_large_images():
    model = model_of(af.Model(al.lp.SersicSph))
    with pytest.warns(DataWarning, match="202 pixels wide.*middle 192"):
        preset = preset_for(model, dataset_of(202), "mine")
    assert preset.data["population"]["instrument"]["shape"] == [192, 192]
    # The training set stays below 4 GB.
    assert (
        preset.training.n_training * 2 * 192**2 * 2 < 4e9 < (preset.training.n_training + 1) * 2e5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = preset_for(model, dataset_of(64), "mine")
    assert small.training == TrainingOptions()


def test_linear_light():
    """Its shape stays the user's; its intensity is what can be seen."""
    linear = af.Model(al.lp_linear.Sersic)
    linear.effective_radius = af.UniformPrior(0.3, 0.9)
    linear.sersic_index = 2.5
    light = converted(linear)
    assert light.cls is al.lp.Sersic
    assert limits(light.effective_radius) == (af.UniformPrior, 0.3, 0.9)
    assert light.sersic_index == 2.5
    kind, low, high = limits(light.intensity)
    assert kind is af.LogUniformPrior and low == 0.1
    assert high == pytest.approx(4.0 / UNIT, rel=0.2)


def test_bases():
    """A multi-Gaussian expansion becomes a Sersic profile with its centre and shape."""
    basis = al.model_util.mge_model_from(mask_radius=3.0, total_gaussians=4, gaussian_per_basis=2)
    preset = preset_for(model_of(basis), dataset_of(), "mine")
    light = task_of(preset).population.model.galaxies.lens.bulge
    first = basis.profile_list[0]
    assert light.cls is al.lp.Sersic
    assert limits(light.centre.centre_0) == limits(first.centre.centre_0)
    assert limits(light.ell_comps.ell_comps_1) == limits(first.ell_comps.ell_comps_1)
    names = [name.removeprefix("galaxies.lens.bulge.") for name in preset.data["targets"][:7]]
    assert names == [
        "centre.centre_0",
        "centre.centre_1",
        "ell_comps.ell_comps_0",
        "ell_comps.ell_comps_1",
        "intensity",
        "effective_radius",
        "sersic_index",
    ]
    _, low, high = limits(light.effective_radius)
    assert low == pytest.approx(SCALE) and high == pytest.approx(0.25 * 80 * SCALE)
    round_basis = af.Model(al.lp_basis.Basis, profile_list=[af.Model(al.lp_linear.GaussianSph)])
    assert converted(round_basis).cls is al.lp.SersicSph


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (af.UniformPrior(0.1, 0.4), (af.UniformPrior, 5.0, 20.0)),
        (af.LogUniformPrior(0.1, 0.4), (af.LogUniformPrior, 5.0, 20.0)),
        # Cut to what can be seen, unless nothing would be left.
        (af.LogUniformPrior(1e-6, 0.4), (af.LogUniformPrior, 0.1, 20.0)),
        (af.LogUniformPrior(1e-6, 1e-5), (af.LogUniformPrior, 5e-5, 5e-4)),
        (
            af.TruncatedGaussianPrior(mean=0.2, sigma=0.1, lower_limit=0.0, upper_limit=0.4),
            (af.TruncatedGaussianPrior, 0.0, 20.0),
        ),
    ],
)
def test_intensities_in_units_of_the_noise(prior, expected):
    light = af.Model(al.lp.SersicSph, intensity=prior)
    kind, low, high = limits(converted(light, brightest=1.0).intensity)
    assert kind is expected[0]
    # The unit is that of the quietest pixels, not exactly that of empty sky.
    assert (low, high) == pytest.approx(expected[1:], rel=0.01)


def test_gaussian_and_fixed_intensities():
    light = converted(af.Model(al.lp.SersicSph, intensity=af.GaussianPrior(0.2, 0.02))).intensity
    assert (light.mean, light.sigma) == pytest.approx((10.0, 1.0), rel=0.01)
    assert converted(af.Model(al.lp.SersicSph, intensity=0.2)).intensity == pytest.approx(
        10.0, rel=0.01
    )
    instance = al.lp.SersicSph(intensity=0.2, effective_radius=0.3)
    light = converted(instance)
    assert light.intensity == pytest.approx(10.0, rel=0.01) and light.effective_radius == 0.3
    assert instance.intensity == 0.2


def test_what_is_shared_stays_shared():
    model = model_of(af.Model(al.lp_linear.Sersic))
    lens, source = model.galaxies.lens, model.galaxies.source
    lens.bulge.centre = lens.mass.centre
    lens.disk = af.Model(al.lp.ExponentialSph, intensity=source.bulge.intensity)
    made = population_for(model, dataset_of()).model.galaxies
    assert made.lens.bulge.centre.centre_0 == made.lens.mass.centre.centre_0
    assert made.lens.disk.intensity == made.source.bulge.intensity


def test_the_users_model_stays_as_it_is():
    model = model_of(af.Model(al.lp_linear.Sersic))
    before = json.dumps(model.dict())
    preset_for(model, dataset_of(), "mine")
    assert json.dumps(model.dict()) == before


def test_equal_in_every_session():
    """Or a training could not be resumed: autofit numbers priors anew."""

    def made():
        model = model_of(al.model_util.mge_model_from(mask_radius=3.0, total_gaussians=3))
        model.add_assertion(model.galaxies.lens.mass.einstein_radius > 0.5)
        return preset_for(model, dataset_of(), "mine", seed=4)

    first, second = made(), made()
    assert first == second == Preset.from_dict(json.loads(json.dumps(first.as_dict())))
    assert first.seed == 4 and first.name == "mine"
    assert first.data["targets"] == list(task_of(first).population.names)
    assert not task_of(first).population.model.gathered_assertions()


def test_psf():
    assert psf_fwhm_from(dataset_of()) == pytest.approx(FWHM, rel=1e-3)


def pixelized():
    mesh = al.mesh.RectangularUniform(shape=(10, 10))
    return af.Model(al.Pixelization, mesh=mesh, regularization=al.reg.Constant)


@pytest.mark.parametrize(
    ("light", "match"),
    [
        (lambda: al.lp_linear.SersicSph(), "bulge is linear light"),
        (lambda: af.Model(al.lmp_linear.Sersic), "bulge is linear light"),
        (lambda: af.Model(al.lp_linear_operated.Sersic), "bulge is linear light"),
        (lambda: af.Model(al.lp_operated.Sersic), "already convolved"),
        (
            lambda: af.Model(al.lp.SersicSph, intensity=af.LogGaussianPrior(0.0, 1.0)),
            "bulge.intensity: a LogGaussianPrior",
        ),
        (
            lambda: af.Model(al.lp_basis.Basis, profile_list=[af.Model(al.lmp.Gaussian)]),
            "basis of mass",
        ),
        (pixelized, "pixelized source"),
    ],
)
def test_light_that_cannot_be_simulated(light, match):
    with pytest.raises(ModelError, match=match) as raised:
        preset_for(model_of(light()), dataset_of(), "mine")
    assert "\n" not in str(raised.value)


def test_other_input_is_refused():
    model = model_of(af.Model(al.lp.SersicSph))
    with pytest.raises(DataError, match="Imaging"):
        preset_for(model, "lens.fits", "mine")
    with pytest.raises(ModelError, match="galaxies"):
        preset_for({"lens": 3}, dataset_of(), "mine")
    masked = SimpleNamespace(mask=al.Mask2D(mask=np.ones((8, 8), dtype=bool), pixel_scales=SCALE))
    with pytest.raises(DataError, match="every pixel"):
        preset_for(model, masked, "mine")
