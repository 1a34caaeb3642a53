"""Points along the ridges of a posterior: found where there are any, none where there are none."""

import numpy as np
import pytest
from scipy.special import logsumexp

from autolens_ml.inference.polish import Mode, mode_at
from autolens_ml.inference.ridges import along_ridges
from autolens_ml.inference.target import Target
from tests.inference.test_polish import Plain


def target_of(log_posterior_and_gradient, dim):
    """A target of which the posterior is known, prior included."""

    def value_and_gradient(x):
        value, gradient = log_posterior_and_gradient(x)
        return value + 0.5 * float(x @ x), gradient + x

    return Target(Plain(dim), lambda x: value_and_gradient(x)[0], value_and_gradient)


def bulks(places, widths):
    """Equal Gaussians at some places."""

    def log_posterior_and_gradient(x):
        steps = (x - places) / widths
        each = -0.5 * np.sum(steps**2, axis=1)
        share = np.exp(each - logsumexp(each))
        return float(logsumexp(each)), -share @ (steps / widths)

    return target_of(log_posterior_and_gradient, len(widths))


def curved(x):
    """A banana, three and more of its narrow widths from its tangent."""
    along, across = x[0] / 0.3, (x[1] - 2.0 * x[0] ** 2) / 0.02
    gradient = np.array([-along / 0.3 + 4.0 * x[0] * across / 0.02, -across / 0.02])
    return -0.5 * float(along**2 + across**2), gradient


def test_a_gaussian_has_no_ridges():
    widths = np.array([0.3, 0.1, 0.03, 0.01])
    target = bulks(np.zeros((1, 4)), widths)
    mode = Mode(np.zeros(4), 0.0, np.diag(widths**2))
    assert along_ridges(target, mode, np.random.default_rng(0)) == []
    assert target.n_gradient < 100


def test_a_second_bulk_is_found():
    widths = np.array([0.08, 0.05, 0.02])
    away = np.array([0.33, 0.08, -0.03])
    target = bulks(np.stack([np.zeros(3), away]), widths)
    mode = mode_at(target, np.zeros(3), float(target.log_posterior(np.zeros((1, 3)))[0]))
    found = along_ridges(target, mode, np.random.default_rng(0))
    nearest = min(found, key=lambda node: np.sum(((node.z - away) / widths) ** 2))
    assert np.linalg.norm((nearest.z - away) / widths) < 1.5
    assert nearest.log_posterior > mode.log_posterior - 1.5
    assert all(node.covariance is mode.covariance for node in found)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_both_arms_of_a_banana_are_followed(side):
    target = target_of(curved, 2)
    mode = mode_at(target, np.zeros(2), 0.0)
    # As a likelihood that is narrower at its tip.
    mode = Mode(mode.z, 0.0, mode.covariance * np.array([[0.25, 0.5], [0.5, 1.0]]))
    found = along_ridges(target, mode, np.random.default_rng(0))
    arm = [node for node in found if side * node.z[0] > 0.3]
    assert arm and all(abs(node.z[1] - 2.0 * node.z[0] ** 2) < 0.04 for node in arm)
    for node in found:
        assert node.log_posterior == pytest.approx(curved(node.z)[0], abs=1e-9)


def test_a_mode_that_cannot_be_evaluated_has_none():
    target = target_of(lambda x: (-np.inf, np.zeros(2)), 2)
    mode = Mode(np.zeros(2), 0.0, np.eye(2))
    assert along_ridges(target, mode, np.random.default_rng(0)) == []


def test_nothing_beyond_what_a_prior_allows():
    target = target_of(lambda x: (0.0, np.zeros(2)), 2)  # the ridge is endless
    found = along_ridges(target, Mode(np.zeros(2), 0.0, np.eye(2)), np.random.default_rng(0))
    assert 5.0 < max(np.abs(node.z).max() for node in found) <= 8.0
