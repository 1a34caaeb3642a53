"""Instruments: what they refuse, their PSFs, their noise, their way to JSON and back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.instrument import INSTRUMENTS, Instrument, instrument_from

VALUES = {
    "name": "x",
    "shape": (32, 40),
    "pixel_scale": 0.1,
    "psf_fwhm": (0.2, 0.3),
    "exposure_time": (100.0, 200.0),
    "background_sky_level": 0.1,
    "read_noise": 4.0,
}


def made(**changes):
    return Instrument.from_dict({**VALUES, **changes})


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_shipped_instruments_survive_json(name):
    instrument = instrument_from(name)
    assert instrument.name == name
    assert Instrument.from_dict(json.loads(json.dumps(instrument.as_dict()))) == instrument
    assert instrument_from(instrument.as_dict()) == instrument


def test_one_value_stands_for_both():
    assert made(psf_fwhm=0.25).psf_fwhm == (0.25, 0.25)
    assert made(shape=20, psf_shape=7).shape == (20, 20)


def test_the_kernel_is_four_times_as_wide_as_the_psf():
    assert made(psf_fwhm=(0.2, 0.3)).psf_shape == (13, 13)


@pytest.mark.parametrize("beta", [None, 2.5])
def test_psfs_have_their_width_and_sum_to_one(beta):
    fine = made(pixel_scale=0.01, psf_fwhm=(0.2, 0.3), psf_beta=beta)
    widths = np.array([0.2, 0.24, 0.3])
    kernels = fine.psf_kernels_from(widths)
    assert kernels.shape == (3, 121, 121)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1.0, rtol=1e-12)
    for kernel, width in zip(kernels, widths, strict=True):
        np.testing.assert_array_equal(kernel, kernel.T)
        profile = kernel[60] / kernel[60, 60]
        half = 60 + round(0.5 * width / 0.01)
        assert profile[half] == pytest.approx(0.5, rel=1e-9)
        assert profile[-half - 1] == pytest.approx(0.5, rel=1e-9)


def test_a_moffat_falls_as_its_index_says():
    beta = 3.0
    kernel = made(pixel_scale=0.1, psf_fwhm=0.1, psf_beta=beta, psf_shape=201).psf_kernels_from(
        [0.1]
    )
    # Far out, (1 + r^2 / alpha^2)^-beta is a power law.
    slope = np.log(kernel[0, 100, 200] / kernel[0, 100, 150]) / np.log(2.0)
    assert slope == pytest.approx(-2.0 * beta, rel=1e-3)


def test_noise_of_an_empty_pixel():
    instrument = made(background_sky_level=0.4, read_noise=6.0)
    # 0.4 * 160 electrons of sky and 6^2 of the detector are a variance of 100.
    assert instrument.background_noise_from(160.0) == pytest.approx(10.0 / 160.0)
    both = instrument.background_noise_from(np.array([160.0, 640.0]))
    np.testing.assert_allclose(both, [10.0 / 160.0, np.sqrt(292.0) / 640.0])


BAD_VALUES = {
    "no pixels": ({"shape": (0, 5)}, "whole numbers"),
    "half a pixel": ({"shape": (32.5, 32.5)}, "whole numbers"),
    "three sides": ({"shape": (1, 2, 3)}, "needs two values"),
    "text": ({"pixel_scale": "0.1"}, "'0.1' is no finite number"),
    "yes": ({"read_noise": True}, "True is no finite number"),
    "infinite": ({"exposure_time": (1.0, np.inf)}, "inf is no finite number"),
    "NaN": ({"psf_fwhm": (np.nan, 1.0)}, "nan is no finite number"),
    "zero": ({"pixel_scale": 0.0}, "must be positive"),
    "negative": ({"exposure_time": (-1.0, 1.0)}, "must be positive"),
    "reversed": ({"psf_fwhm": (0.3, 0.2)}, "psf_fwhm (0.3, 0.2) is reversed"),
    "negative sky": ({"background_sky_level": -1.0}, "cannot be negative"),
    "no noise": ({"background_sky_level": 0.0, "read_noise": 0.0}, "needs sky or read noise"),
    "endless PSF": ({"psf_beta": 1.0}, "psf_beta 1.0 must be above 1"),
    "even PSF": ({"psf_shape": (8, 8)}, "odd number"),
    "oblong PSF": ({"psf_shape": (7, 9)}, "odd number"),
    "over-sampling": ({"over_sample_size": 0}, "whole numbers"),
    "unknown": ({"gain": 2.0, "aperture": 1.0}, "unknown aperture, gain; known: background_sky"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_values_out_of_range(case):
    changes, message = BAD_VALUES[case]
    with pytest.raises(OptionError) as error:
        made(**changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_values():
    with pytest.raises(OptionError, match="instrument: needs shape, pixel_scale"):
        Instrument.from_dict({k: v for k, v in VALUES.items() if k not in ("shape", "pixel_scale")})


@pytest.mark.parametrize("value", ["hubble", None, ["euclid-vis"]])
def test_unknown_instruments(value):
    with pytest.raises(OptionError, match="choose one of euclid-vis, euclid-nisp, hst-acs"):
        instrument_from(value)


def test_an_instrument_stays_itself():
    instrument = made()
    assert instrument_from(instrument) is instrument
    assert replace(instrument, pixel_scale=0.2).psf_shape == instrument.psf_shape
