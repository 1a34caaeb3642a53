"""Settings: right distances, the stated mass function, and refusals."""

import numpy as np
import pytest
from scipy import integrate, stats

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.mass.physical import einstein_radius_from
from autolens_ml.simulate.morphology.settings import (
    SETTINGS,
    einstein_radii_from,
    masses_from,
    setting_from,
)


def test_einstein_radii_are_of_angular_diameter_distances():
    masses = np.array([1e8, 3e10, 1e12])
    expected = [einstein_radius_from(mass, 0.5, 1.0) for mass in masses]
    np.testing.assert_allclose(einstein_radii_from(masses), expected)
    np.testing.assert_allclose(masses_from(einstein_radii_from(masses)), masses)
    # The published code has 1.281" for this halo.
    assert einstein_radii_from(1e12) == pytest.approx(1.64, abs=0.01)


@pytest.mark.parametrize("slope", [-1.9, -1.0, -2.0, 0.0])
def test_mass_function(slope):
    setting = setting_from({"name": "model-i", "slope": slope})
    low, high = setting.subhalo_mass
    norm, _ = integrate.quad(lambda t: np.exp((slope + 1.0) * t), np.log(low), np.log(high))
    mass, _ = integrate.quad(lambda t: np.exp((slope + 2.0) * t), np.log(low), np.log(high))
    assert setting.mean_subhalo_mass == pytest.approx(mass / norm, rel=1e-6)
    u = np.random.default_rng(0).random(4000)
    drawn = setting.subhalo_masses_from(u)

    def cumulative(m):
        if slope == -1.0:
            return np.log(m / low) / np.log(high / low)
        power = slope + 1.0
        return (m**power - low**power) / (high**power - low**power)

    assert stats.kstest(drawn, cumulative).pvalue > 0.01


def test_subhaloes_hold_the_stated_mass():
    setting = SETTINGS["model-i"]
    expected = setting.largest_number * setting.mean_subhalo_mass
    assert expected == pytest.approx(setting.subhalo_share[1] * setting.halo_mass)


def test_a_setting_is_its_plain_values():
    setting = setting_from({"name": "real-sources", "vortex_share": 0.02})
    assert setting_from(setting.as_dict()) == setting
    assert setting.vortex_share == (0.02, 0.02)
    shaped = setting_from({"name": "model-i", "instrument": {"shape": [32, 32]}})
    assert shaped.instrument.shape == (32, 32)
    assert shaped.instrument.pixel_scale == SETTINGS["model-i"].instrument.pixel_scale


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("model-v", "no setting 'model-v'"),
        ({"name": "model-i", "colour": 1}, "no colour"),
        ({"name": "model-i", "vortex_share": [0.2, 0.1]}, "must be above 0 and ascend"),
        ({"name": "model-i", "vortex_share": [0.1, 1.5]}, "below 1"),
        ({"name": "model-i", "half_length": "long"}, "must be two numbers"),
        ({"name": "model-i", "ell_comps": [0.6, 0.6]}, "below 0.6"),
        ({"name": "model-i", "halo_scatter": -1.0}, "must be a number from 0"),
        ({"name": "model-i", "halo_mass": 0.0}, "above 0"),
        ({"name": "model-i", "slope": float("nan")}, "slope must be a number"),
    ],
)
def test_refusals(values, words):
    with pytest.raises(OptionError, match=words):
        setting_from(values)
