"""Gaussian random fields: variance, spectrum, distribution."""

import numpy as np
import pytest
from scipy import stats

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.maps.random_fields import gaussian_random_fields


@pytest.mark.parametrize("shape", [(32, 48), (31, 33)])
def test_every_slope_has_a_variance_of_one_and_no_constant(shape):
    slopes = np.tile([0.0, 2.0, 5.0], 600)
    fields = gaussian_random_fields(1800, shape, slopes, np.random.default_rng(1))
    assert fields.shape == (1800, *shape) and np.abs(fields.mean(axis=(1, 2))).max() < 1e-5
    for slope in (0.0, 2.0, 5.0):
        variances = np.mean(fields[slopes == slope] ** 2, axis=(1, 2))
        assert abs(variances.mean() - 1.0) < 4.0 * variances.std() / np.sqrt(len(variances))


@pytest.mark.parametrize("slope", [0.0, 3.0, 6.0])
def test_power_falls_with_the_wavenumber(slope):
    fields = gaussian_random_fields(400, (32, 32), slope, np.random.default_rng(2))
    power = np.mean(np.abs(np.fft.fft2(fields)) ** 2, axis=0)
    for wave in ((0, 8), (8, 0), (0, -8), (-8, 0)):
        # Two exponential variates averaged over 400 fields.
        assert power[wave] / power[0, 1] == pytest.approx(8.0**-slope, rel=0.3)
    assert power[3, 4] / power[0, 5] == pytest.approx(1.0, rel=0.3)


def test_values_are_normal_and_follow_the_generator():
    fields = gaussian_random_fields(2000, (8, 8), 2.0, np.random.default_rng(3))
    assert stats.kstest(fields[:, 3, 4], "norm").pvalue > 1e-3
    again = gaussian_random_fields(2000, (8, 8), 2.0, np.random.default_rng(3))
    other = gaussian_random_fields(2000, (8, 8), 2.0, np.random.default_rng(4))
    assert np.array_equal(fields, again) and not np.allclose(fields, other)


def test_one_pixel_is_no_field():
    with pytest.raises(OptionError, match="2 pixels or more"):
        gaussian_random_fields(1, (1, 8), 2.0, np.random.default_rng(0))
