"""Spectra of fields whose spectra are known, and whether their errors are honest."""

import numpy as np
import pytest

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.random_fields import gaussian_random_fields
from autolens_ml.simulate.maps.spectra import coherence, cross_spectrum, power_spectrum

SCALE = 0.05


def fields(n, shape=(32, 32), slope=2.0, seed=0):
    return gaussian_random_fields(n, shape, slope, np.random.default_rng(seed)).astype(float)


def pulls(spectrum, truth):
    return (spectrum.value - truth) / spectrum.error


@pytest.mark.parametrize("shape", [(32, 32), (33, 33)])
def test_a_wave_is_in_its_ring_with_its_variance(shape):
    x = np.arange(shape[1]) * SCALE
    wavenumber = 5.0 / (shape[1] * SCALE)
    wave = np.broadcast_to(3.0 * np.cos(2.0 * np.pi * wavenumber * x + 0.4), shape)
    spectrum = power_spectrum(wave, SCALE)
    ring = np.argmax(spectrum.value)
    assert spectrum.wavenumber[ring] == pytest.approx(wavenumber, rel=0.05)
    spacing = 1.0 / (shape[0] * SCALE)
    variance = spectrum.value * spectrum.n_waves * spacing**2
    assert variance[ring] == pytest.approx(4.5) and np.allclose(np.delete(variance, ring), 0.0)


def test_white_noise_is_flat_and_waves_are_counted():
    noise = 0.3 * np.random.default_rng(1).standard_normal((300, 24, 40))
    spectrum = power_spectrum(noise, SCALE)
    assert np.abs(pulls(spectrum, 0.09 * SCALE**2)).max() < 4.5
    assert len(spectrum.value) == 12 and spectrum.wavenumber[-1] == pytest.approx(
        0.5 / SCALE, rel=0.05
    )
    # A ring of the plane of waves has the area 2 pi k dk, over that of a wave.
    rings = 2.0 * np.pi * spectrum.wavenumber / (24 * SCALE) * (24 * SCALE * 40 * SCALE)
    assert np.allclose(spectrum.n_waves[2:-1], rings[2:-1], rtol=0.1)


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_power_law_comes_back_with_its_amplitude(slope):
    shape = (32, 32)
    spectrum = power_spectrum(fields(500, shape, slope), SCALE)
    k = np.hypot(*np.meshgrid(*(np.fft.fftfreq(length, SCALE) for length in shape)))
    k[0, 0] = np.inf
    # The mean over all waves is the variance, one, per pixel.
    power = k**-slope / np.mean(k**-slope) * SCALE**2
    ring = np.rint(k * shape[0] * SCALE)
    truth = [power[ring == i + 1].mean() for i in range(len(spectrum.value))]
    assert np.abs(pulls(spectrum, truth)).max() < 4.5
    assert np.mean(pulls(spectrum, truth) ** 2) < 2.5


@pytest.mark.parametrize("n", [1, 12])
def test_errors_are_the_scatter_of_repetitions(n):
    x = fields(200 * n, (16, 16), 1.0, seed=2).reshape(200, n, 16, 16)
    y = 0.6 * x + 0.8 * fields(200 * n, (16, 16), 1.0, seed=3).reshape(200, n, 16, 16)
    for measure in (
        lambda i: power_spectrum(x[i], SCALE),
        lambda i: cross_spectrum(x[i], y[i], SCALE),
        lambda i: coherence(x[i], y[i], SCALE),
    ):
        spectra = [measure(i) for i in range(200)]
        scatter = np.std([each.value for each in spectra], axis=0)
        stated = np.sqrt(np.mean([each.error**2 for each in spectra], axis=0))
        # From 12 waves a ring on, where errors are small and their estimate is good.
        assert np.allclose(stated[1:] / scatter[1:], 1.0, atol=0.25)


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.9])
@pytest.mark.parametrize("n", [1, 40])
def test_coherence_is_the_correlation_of_waves(rho, n):
    x, noise = fields(n, (64, 64), 2.0, seed=4), fields(n, (64, 64), 2.0, seed=5)
    spectrum = coherence(x, 5.0 * (rho * x + np.sqrt(1.0 - rho**2) * noise), SCALE)
    assert np.abs(pulls(spectrum, rho)[3:]).max() < 4.5
    assert abs(np.mean(spectrum.value[5:]) - rho) < 0.1 / np.sqrt(n)


def test_maps_equal_up_to_a_factor_are_coherent():
    x = fields(5)
    assert np.allclose(coherence(x, 3.0 * x, SCALE).value, 1.0)
    assert np.allclose(coherence(x, -x, SCALE).value, -1.0)
    # A shift turns the phases of short waves: to a quarter at a wavelength of four shifts.
    shifted = coherence(x, np.roll(x, 2, axis=(1, 2)), SCALE).value
    assert shifted[0] > 0.8 and abs(shifted[3:].mean()) < 0.2


def test_cross_spectrum_of_a_map_with_itself_is_its_power():
    x = fields(4)
    first, second = power_spectrum(x, SCALE), cross_spectrum(x, x.copy(), SCALE)
    assert np.allclose(first.value, second.value) and np.allclose(first.error, second.error)


def test_pixel_scale_is_the_unit_of_length():
    first, second = power_spectrum(fields(3), SCALE), power_spectrum(fields(3), 2.0 * SCALE)
    assert np.allclose(second.value, 4.0 * first.value)
    assert np.allclose(second.wavenumber, 0.5 * first.wavenumber)


def test_a_taper_keeps_edges_out():
    noise = 0.01 * np.random.default_rng(6).standard_normal((50, 64, 64))
    ramp = noise + np.linspace(0.0, 1.0, 64)
    truth = 1e-4 * SCALE**2
    assert np.all(power_spectrum(ramp, SCALE).value[10:] > 1.5 * truth)
    tapered = power_spectrum(ramp, SCALE, taper=True)
    assert np.abs(pulls(tapered, truth)[10:]).max() < 4.5
    assert np.allclose(tapered.value[10:], truth, rtol=0.1)


def test_no_power_is_no_coherence():
    assert np.isnan(coherence(np.zeros((3, 16, 16)), fields(3, (16, 16)), SCALE).value).all()


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros(8), "give .y, x. or"),
        (np.zeros((0, 8, 8)), "give .y, x. or"),
        (np.zeros((3, 8)), "at least 4 x 4"),
        (np.full((8, 8), np.nan), "64 NaN"),
    ],
)
def test_maps_that_have_no_spectrum(maps, message):
    with pytest.raises(DataError, match=message):
        power_spectrum(maps, SCALE)


def test_unlike_shapes_and_pixel_scales():
    with pytest.raises(DataError, match="two of one shape"):
        coherence(np.ones((8, 8)), np.ones((2, 8, 8)), SCALE)
    with pytest.raises(OptionError, match="pixel_scale"):
        power_spectrum(np.ones((8, 8)), 0.0)
