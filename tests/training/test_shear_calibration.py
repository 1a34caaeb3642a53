"""Calibration: a biased network becomes an unbiased one, on galaxies that it has not seen."""

import numpy as np
import pytest
import torch

from autolens_ml.training.shear_bias import paired_sample
from autolens_ml.training.shear_calibration import calibrate
from autolens_ml.training.shear_pairs import PSF_SHEAR, SHEAR, psf_pairs, shear_pairs
from tests.training.shears import POPULATION, PRIOR_VARIANCE, MomentNetwork


def seed(number):
    return np.random.SeedSequence(number)


def test_pairs_differ_by_the_shear_alone():
    ((scenes, component, stamps, psfs),) = shear_pairs(POPULATION, 20, seed(1), turned=True)
    assert stamps.shape == psfs.shape == (4, 20, 32, 32)
    assert component.tolist() == [0, 1] * 10
    assert scenes.shear.abs().max() == 0.0
    assert torch.equal(psfs[0], psfs[3])
    # To first order, the mean of both shears is the galaxy without.
    middle = 0.5 * (stamps[0] + stamps[1])
    assert (stamps[0] - stamps[1]).abs().max() > 10.0 * (SHEAR**2) * stamps.abs().max()
    turned = 0.5 * (stamps[2] + stamps[3])
    assert not torch.allclose(middle, turned, atol=1.0)
    again = next(iter(shear_pairs(POPULATION, 20, seed(1), turned=True)))
    assert torch.equal(again[2], stamps)
    assert sum(len(pair[0]) for pair in shear_pairs(POPULATION, 150, seed(1))) == 150


def test_psf_pairs_differ_by_the_psf():
    ((scenes, _, stamps, psfs),) = psf_pairs(POPULATION, 10, seed(2))
    assert stamps.shape == (2, 10, 32, 32)
    difference = (psfs[0] - psfs[1]).abs().amax((1, 2)) / psfs[0].amax((1, 2))
    assert (difference > 0.3 * PSF_SHEAR).all()
    assert scenes.shear.abs().max() == 0.0


@pytest.fixture(scope="module")
def networks():
    plain, calibrated = MomentNetwork(), MomentNetwork()
    lines = []
    calibrate(calibrated, POPULATION, 1000, 1, lines.append)
    assert any("1,000 of 1,000" in line for line in lines)
    return plain, calibrated


def test_biases_vanish(networks):
    before, after = (paired_sample(net.shears, POPULATION, 500, 5) for net in networks)
    assert abs(before.bias().m.value) > 0.1
    for sample in (after, after.where(lambda c: c.signal_to_noise < 70.0)):
        bias = sample.bias()
        # The calibration is known as well as half the galaxies that it is tested with.
        for name in ("m", "m_1", "m_2"):
            measured = getattr(bias, name)
            assert abs(measured.value) < 5.0 * measured.error
        assert bias.m.error < 0.01
    assert abs(before.bias().alpha.value) > 0.04
    alpha = after.bias().alpha
    assert abs(alpha.value) < max(5.0 * alpha.error, 0.02)
    for measured in (after.bias().c_1, after.bias().c_2):
        assert abs(measured.value) < 4.5 * measured.error


def test_errors_are_the_scatter(networks):
    _, calibrated = networks
    pulls = []
    for _, _, stamps, psfs in shear_pairs(POPULATION, 600, seed(8)):
        shears, errors = calibrated.shears(stamps[0], psfs[0])
        pulls.append(shears / errors[:, None])
    assert torch.cat(pulls).square().mean() == pytest.approx(1.0, abs=0.1)
    assert calibrated.noise_scale != 1.0
    assert calibrated.config["prior_variance"] == PRIOR_VARIANCE


def test_calibration_depends_on_its_seed_alone():
    found = []
    for number in (3, 3, 4):
        network = MomentNetwork()
        # What was there before plays no part.
        network.response.fill_(0.5 * number)
        calibrate(network, POPULATION, 200, number)
        found.append(network.response.clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
