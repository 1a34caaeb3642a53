"""Datasets on the grid of a network: positions, units, masks, noise and PSF width."""

from pathlib import Path

import autolens as al
import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.observation import observation_from, psf_fwhm_from

SCALE = 0.1
SHAPE = (64, 64)
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
EUCLID = Path(__file__).resolve().parents[3] / "shared" / "data" / "euclid_q1_102018665.fits"


def gaussian_psf(sigma: float = SCALE, side: int = 11, scale: float = SCALE) -> al.Convolver:
    return al.Convolver.from_gaussian(
        shape_native=(side, side), sigma=sigma, pixel_scales=scale, normalize=True
    )


def psf_of(values: np.ndarray, scale: float = SCALE, **options) -> al.Convolver:
    kernel = al.Array2D.no_mask(values, pixel_scales=scale)
    return al.Convolver(kernel=kernel, normalize=True, **options)


def imaging(
    data: np.ndarray,
    noise: np.ndarray | float = 1.0,
    scale: float = SCALE,
    origin: tuple[float, float] = (0.0, 0.0),
    psf: al.Convolver | None = None,
    **options,
) -> al.Imaging:
    noise_map = np.broadcast_to(np.asarray(noise, dtype=float), data.shape).copy()
    data, noise_map = (
        al.Array2D.no_mask(array, pixel_scales=scale, origin=origin) for array in (data, noise_map)
    )
    return al.Imaging(
        data=data, noise_map=noise_map, psf=psf or gaussian_psf(scale=scale), **options
    )


def masked(dataset: al.Imaging, radius: float) -> al.Imaging:
    return dataset.apply_mask(
        al.Mask2D.circular(
            shape_native=dataset.shape_native, pixel_scales=dataset.pixel_scales, radius=radius
        )
    )


def coordinates(observation, shape: tuple[int, int], pixel_scale: float) -> np.ndarray:
    """(y, x) of the pixels of the grid, shape (2, y, x), in the coordinates of the data."""
    rows, columns = np.indices(shape)
    y = (0.5 * (shape[0] - 1) - rows) * pixel_scale + observation.centre[0]
    x = (columns - 0.5 * (shape[1] - 1)) * pixel_scale + observation.centre[1]
    return np.stack([y, x])


# --- positions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [(0.0, 0.0), (0.4, -0.7), (0.03, 0.26)])
@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (63, 66), (100, 41), (31, 90)])
def test_every_pixel_keeps_its_position(shape, origin):
    """Cut or padded, whatever the parities: the grid's coordinates are PyAutoLens's."""
    rng = np.random.default_rng(1)
    dataset = imaging(rng.normal(size=shape), origin=origin)
    observation = observation_from(dataset, SHAPE, SCALE)
    theirs = {
        (round(float(y), 6) + 0.0, round(float(x), 6) + 0.0): value
        for (y, x), value in zip(dataset.grid.array, dataset.data.array, strict=True)
    }
    ours = coordinates(observation, SHAPE, SCALE)
    n = 0
    for row, column in np.argwhere(observation.mask > 0):
        y, x = ours[:, row, column]
        assert observation.images[row, column] == theirs[round(y, 6) + 0.0, round(x, 6) + 0.0]
        n += 1
    # All that lies on the grid is there, and (0, 0) is at most half a pixel off its middle.
    middle = np.array(observation.centre)
    on_grid = np.all(np.abs(np.array(list(theirs)) - middle) < 0.5 * 64 * SCALE, axis=1)
    assert n == on_grid.sum() > 1000
    assert np.all(np.abs(middle) < 0.5 * SCALE + 1e-9)


@pytest.mark.parametrize("scale", [0.05, 0.07, 0.16])
@pytest.mark.parametrize("shape", [(61, 80), (80, 61)])
def test_resampling_keeps_positions(scale, shape):
    dataset = imaging(np.zeros(shape), scale=scale, origin=(0.3, -0.2))
    y, x = dataset.grid.native.array.transpose(2, 0, 1)
    blob = np.exp(-0.5 * ((y - 0.5) ** 2 + (x + 0.6) ** 2) / 0.3**2)
    dataset = imaging(blob, scale=scale, origin=(0.3, -0.2))
    observation = observation_from(dataset, SHAPE, SCALE)
    weights = observation.images / observation.images.sum()
    centroid = np.sum(weights * coordinates(observation, SHAPE, SCALE), axis=(1, 2))
    np.testing.assert_allclose(centroid, (0.5, -0.6), atol=2e-3)
    assert observation.centre == (0.0, 0.0)


# --- units and noise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        pytest.param(SCALE, 2.0, id="same"),
        pytest.param(0.05, 1.0, id="four-in-one"),
        pytest.param(0.2, 2.0, id="one-in-four"),
    ],
)
def test_unit_is_the_noise_of_an_empty_pixel_of_the_grid(scale, expected):
    dataset = imaging(np.full((128, 128), 7.0), noise=2.0, scale=scale)
    observation = observation_from(dataset, SHAPE, SCALE)
    assert observation.unit == pytest.approx(expected)
    np.testing.assert_allclose(observation.images * observation.unit, 7.0)
    np.testing.assert_allclose(observation.noise, 1.0)
    assert observation.mask.all()
    assert observation.pixel_scale == scale


def test_bright_pixels_do_not_set_the_unit():
    """Nine in ten pixels are noisier than empty sky, as within a tight mask."""
    rng = np.random.default_rng(2)
    noise = np.where(rng.random(SHAPE) < 0.9, rng.uniform(1.0, 5.0, SHAPE), 0.5)
    observation = observation_from(imaging(np.zeros(SHAPE), noise), SHAPE, SCALE)
    assert observation.unit == pytest.approx(0.5)
    np.testing.assert_allclose(observation.noise, noise / 0.5)


@pytest.mark.parametrize("scale", [0.06, 0.17])
def test_noise_of_resampled_pixels(scale):
    """Resampling is linear: its response to every pixel gives the variance exactly."""
    sides, shape = (10, 10), (6, 6)
    noise = np.random.default_rng(3).uniform(0.5, 2.0, sides)
    responses = [
        observation_from(imaging(pixel.reshape(sides), noise, scale), shape, SCALE).images
        for pixel in np.eye(100)
    ]
    variance = np.tensordot(noise.ravel() ** 2, np.square(responses), axes=1)
    observation = observation_from(imaging(np.zeros(sides), noise, scale), shape, SCALE)
    seen = observation.mask > 0
    assert seen.any()
    np.testing.assert_allclose(observation.noise[seen], np.sqrt(variance)[seen])


# --- masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [SCALE, 0.05])
def test_masked_pixels_are_not_seen(scale):
    rng = np.random.default_rng(4)
    clean = rng.normal(size=(100, 100))
    dirty = clean.copy()
    y, x = imaging(clean, scale=scale).grid.native.array.transpose(2, 0, 1)
    dirty[np.hypot(y, x) > 1.8] = np.nan
    with_mask = observation_from(masked(imaging(dirty, scale=scale), 1.5), SHAPE, SCALE)
    without = observation_from(imaging(clean, scale=scale), SHAPE, SCALE)
    radii = np.hypot(*coordinates(with_mask, SHAPE, SCALE))
    assert np.all(with_mask.mask[radii < 1.35] == 1.0)
    assert np.all(with_mask.mask[radii > 1.65] == 0.0)
    outside = with_mask.mask == 0.0
    assert np.all(with_mask.images[outside] == 0.0)
    assert np.all(with_mask.noise[outside] == 1.0)
    inside = radii < 1.35
    np.testing.assert_allclose(with_mask.images[inside], without.images[inside])


def test_partly_observed_pixels_are_not_diluted():
    dataset = masked(imaging(np.full((100, 100), 3.0), scale=0.07), 1.5)
    observation = observation_from(dataset, SHAPE, SCALE)
    seen = observation.mask > 0
    assert 0 < seen.sum() < seen.size
    np.testing.assert_allclose(observation.images[seen] * observation.unit, 3.0)


def test_small_images_are_padded_with_mask():
    observation = observation_from(imaging(np.ones((40, 30))), SHAPE, SCALE)
    assert observation.mask.sum() == 40 * 30
    assert observation.mask[12:52, 17:47].all()


def test_pixels_scaled_out_of_the_fit_are_masked():
    """``apply_noise_scaling`` gives neighbours a noise of 1e8 instead of a mask."""
    neighbour = al.Mask2D.circular(
        shape_native=SHAPE, pixel_scales=SCALE, radius=0.4, centre=(2.0, 2.0)
    )
    dataset = imaging(np.ones(SHAPE)).apply_noise_scaling(mask=neighbour)
    observation = observation_from(dataset, SHAPE, SCALE)
    np.testing.assert_array_equal(observation.mask == 0.0, ~neighbour.array)
    assert observation.noise.max() == 1.0


# --- depth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [SCALE, 0.05])
@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_depth_in_electrons_whatever_the_units(scale, gain):
    """RMS of 20 electrons in an empty pixel of the data."""
    light = np.full((128, 128), 0.0)
    light[50:80, 50:80] = 3000.0
    dataset = imaging(gain * light, gain * np.sqrt(400.0 + light), scale)
    observation = observation_from(dataset, SHAPE, SCALE)
    expected = 20.0 * SCALE / scale
    assert observation.background_electrons == pytest.approx(expected, rel=0.02)


def test_depth_is_unknown_without_bright_pixels():
    assert np.isnan(observation_from(imaging(np.ones(SHAPE)), SHAPE, SCALE).background_electrons)


def test_depth_without_photon_noise_is_infinite():
    observation = observation_from(imaging(np.full(SHAPE, 50.0)), SHAPE, SCALE)
    assert observation.background_electrons == np.inf


# --- PSF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("instrument", INSTRUMENTS.values(), ids=lambda i: i.name)
def test_psf_width_is_that_of_training(instrument):
    """Exact over the whole range of widths, for Gaussian and Moffat PSFs alike."""
    widths = np.linspace(*instrument.psf_fwhm, 5)
    scale = instrument.pixel_scale
    for width, kernel in zip(widths, instrument.psf_kernels_from(widths), strict=True):
        dataset = imaging(np.ones(instrument.shape), scale=scale, psf=psf_of(kernel, scale))
        assert psf_fwhm_from(dataset, instrument.psf_beta) == pytest.approx(width, rel=1e-3)
        observation = observation_from(dataset, instrument.shape, scale, instrument.psf_beta)
        assert observation.psf_width == pytest.approx(width / scale, rel=1e-3)


def test_psf_width_includes_the_pixels_that_are_in_the_psf():
    """Integrated over its pixels a Gaussian is wider: variances add."""
    sigma, fine = 0.9, 9
    offsets = (np.arange(15 * fine) - 0.5 * (15 * fine - 1)) / fine
    line = np.exp(-0.5 * (offsets / sigma) ** 2).reshape(15, fine).sum(axis=1)
    dataset = imaging(np.ones(SHAPE), psf=psf_of(np.outer(line, line)))
    expected = FWHM_PER_SIGMA * np.sqrt(sigma**2 + 1.0 / 12.0) * SCALE
    assert psf_fwhm_from(dataset) == pytest.approx(expected, rel=5e-3)


def test_psf_need_not_be_centred():
    y, x = np.indices((17, 17)) - 8.0
    shifted = np.exp(-0.5 * ((y - 0.4) ** 2 + (x + 0.3) ** 2) / 1.1**2)
    dataset = imaging(np.ones(SHAPE), psf=psf_of(shifted))
    assert psf_fwhm_from(dataset) == pytest.approx(1.1 * FWHM_PER_SIGMA * SCALE, rel=1e-3)


def test_over_sampled_psf():
    fine = gaussian_psf(sigma=0.12, side=31, scale=SCALE / 2).kernel
    psf = al.Convolver(kernel=fine, convolve_over_sample_size=2)
    dataset = imaging(
        np.ones(SHAPE), psf=psf, over_sample_size_lp=2, convolve_over_sample_size_lp=2
    )
    assert psf_fwhm_from(dataset) == pytest.approx(0.12 * FWHM_PER_SIGMA, rel=1e-3)


def test_psf_width_in_pixels_of_the_grid():
    dataset = imaging(np.ones(SHAPE), scale=0.05, psf=gaussian_psf(sigma=0.08, scale=0.05))
    observation = observation_from(dataset, SHAPE, SCALE)
    assert observation.psf_width == pytest.approx(0.8 * FWHM_PER_SIGMA, rel=1e-3)


@pytest.mark.skipif(not EUCLID.is_file(), reason="the Euclid lens is not in this checkout")
def test_psf_width_of_a_real_psf():
    """The width that the survey gives for the VIS PSF of a lens."""
    with fits.open(EUCLID) as file:
        hdu = file["VIS_PSF"]
        dataset = imaging(np.ones(SHAPE), psf=psf_of(hdu.data.astype(float)))
        assert psf_fwhm_from(dataset) == pytest.approx(hdu.header["FWHM"], rel=0.05)


# --- what cannot be used ------------------------------------------------------------------------


def interferometer() -> al.Interferometer:
    mask = al.Mask2D.circular(shape_native=(16, 16), pixel_scales=SCALE, radius=0.7)
    return al.Interferometer(
        data=al.Visibilities.ones(shape_slim=(3,)),
        noise_map=al.VisibilitiesNoiseMap.ones(shape_slim=(3,)),
        uv_wavelengths=np.ones((3, 2)),
        real_space_mask=mask,
        transformer_class=al.TransformerDFT,
    )


def point_source() -> al.PointDataset:
    return al.PointDataset(
        name="point_0", positions=al.Grid2DIrregular([(0.0, 1.0)]), positions_noise_map=0.1
    )


def with_nan(where: str) -> al.Imaging:
    arrays = {"data": np.ones(SHAPE), "noise": np.ones(SHAPE)}
    arrays[where][5, 5:8] = np.nan
    return imaging(**arrays)


def unmasked_nowhere_near() -> al.Imaging:
    mask = al.Mask2D.circular(
        shape_native=(200, 200), pixel_scales=SCALE, radius=1.0, centre=(7.0, 7.0)
    )
    return imaging(np.ones((200, 200))).apply_mask(mask)


def without_psf() -> al.Imaging:
    array = al.Array2D.no_mask(np.ones(SHAPE), pixel_scales=SCALE)
    return al.Imaging(data=array, noise_map=array)


def broken_psf() -> al.Imaging:
    values = np.ones((5, 5))
    values[2, 2] = np.nan
    return imaging(np.ones(SHAPE), psf=psf_of(values))


UNUSABLE = {
    "none": (lambda: None, "there is no dataset.*network=None"),
    "interferometer": (interferometer, "Interferometer has no psf.*network=None"),
    "point-source": (point_source, "PointDataset has no data.*network=None"),
    "no-psf": (without_psf, "Imaging has no psf: give it one"),
    "broken-psf": (broken_psf, "PSF has NaNs.*give"),
    "nan-in-data": (lambda: with_nan("data"), "3 of 4096 unmasked pixels.*apply_mask"),
    "nan-in-noise": (lambda: with_nan("noise"), "3 of 4096 unmasked pixels.*apply_mask"),
    "far-away": (unmasked_nowhere_near, "no unmasked pixel.*cut them around it"),
    "oblong-pixels": (
        lambda: imaging(np.ones(SHAPE), scale=(0.1, 0.2), psf=gaussian_psf()),
        "pixels of 0.1 x 0.2.*resample",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_data_are_refused_with_a_remedy(kind):
    make, message = UNUSABLE[kind]
    with pytest.raises(DataError, match=message) as error:
        observation_from(make(), SHAPE, SCALE)
    assert "\n" not in str(error.value)
