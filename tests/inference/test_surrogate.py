"""Log posteriors where they were not evaluated."""

import pickle

import numpy as np
import pytest

from autolens_ml.inference.mixture import StudentMixture
from autolens_ml.inference.surrogate import Surrogate, _gradients


def log_posterior(z):
    """A banana, times a factor of its own in each other coordinate; no norm."""
    step = (z[:, 1] - 0.5 * (z[:, 0] ** 2 - 1.0)) / 0.3
    return -0.5 * z[:, 0] ** 2 - 0.5 * step**2 - np.log(np.cosh(z[:, 2])) - 1000.0


def learned(n, seed=0):
    rng = np.random.default_rng(seed)
    density = StudentMixture.single(np.zeros(3), 2.0 * np.eye(3), 8.0)
    z = density.sample(n, rng)
    log_weights = log_posterior(z) - density.log_pdf(z)
    weights = np.exp(log_weights - log_weights.max())
    return Surrogate.fitted_to(z, log_posterior(z), weights, rng)


@pytest.fixture(scope="module")
def surrogate():
    return learned(3000)


@pytest.fixture(scope="module")
def elsewhere():
    """Points that were not evaluated, where the posterior has its mass."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((2000, 3))
    z[:, 1] = 0.5 * (z[:, 0] ** 2 - 1.0) + 0.3 * z[:, 1]
    return z


def test_it_predicts_where_nothing_was_evaluated(surrogate, elsewhere):
    errors = surrogate.log_posterior(elsewhere) - log_posterior(elsewhere)
    assert np.sqrt(np.mean(errors**2)) < 0.25


def test_it_learns_from_more_points(surrogate, elsewhere):
    def error(surrogate):
        return np.std(surrogate.log_posterior(elsewhere) - log_posterior(elsewhere))

    assert error(surrogate) < 0.7 * error(learned(300))


def test_networks_add_to_what_the_curved_gaussian_says(surrogate, elsewhere):
    y, log_widths = surrogate.curved.straightened(elsewhere)
    gaussian = -np.sum(0.5 * y**2 + log_widths, axis=-1)
    truth = log_posterior(elsewhere)
    assert np.std(surrogate.log_posterior(elsewhere) - truth) < 0.5 * np.std(gaussian - truth)


def test_of_members_that_disagree_the_higher_ones_count_most(surrogate):
    far = 6.0 * np.random.default_rng(2).standard_normal((100, 3))
    members = surrogate.of_members(far)
    predicted = surrogate.log_posterior(far)
    assert members.shape == (4, 100)
    assert np.all(predicted >= members.mean(axis=0) - 1e-9)
    assert np.all(predicted <= members.max(axis=0) + 1e-9)


def test_far_away_it_falls_off(surrogate):
    far = surrogate.log_posterior(1e3 * np.eye(3))
    assert np.all(far < -2000.0)


def test_one_seed_gives_one_surrogate_that_can_be_stored(surrogate, elsewhere):
    again = pickle.loads(pickle.dumps(learned(3000)))
    np.testing.assert_array_equal(
        again.log_posterior(elsewhere), surrogate.log_posterior(elsewhere)
    )
    assert not np.array_equal(learned(3000, 1).matrices[0], surrogate.matrices[0])


def test_gradients_are_those_of_differences():
    rng = np.random.default_rng(5)
    sizes = [(3, 8), (8, 8), (8, 1)]
    matrices = [rng.standard_normal((2, *size)) for size in sizes]
    biases = [rng.standard_normal((2, 1, size[1])) for size in sizes]
    x, target, weights = (
        rng.standard_normal((2, 5, 3)),
        rng.standard_normal((2, 5, 1)),
        rng.uniform(0.5, 2.0, (2, 5, 1)),
    )
    gradients = _gradients(matrices, biases, x, target, weights)

    def loss():
        y = x
        for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            y = y @ matrix + bias
            y = y / (1.0 + np.exp(-y)) if i < 2 else y
        return np.sum(weights * (y - target) ** 2) / x.shape[1]

    for parameter, gradient in zip(matrices + biases, gradients, strict=True):
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + 1e-6
            up = loss()
            parameter[index] = kept - 1e-6
            down = loss()
            parameter[index] = kept
            assert gradient[index] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-6)


def test_equal_values_are_learned():
    z = np.random.default_rng(3).standard_normal((200, 2))
    surrogate = Surrogate.fitted_to(z, np.zeros(200), np.ones(200), np.random.default_rng(4))
    assert np.abs(surrogate.log_posterior(z)).max() < 1.0
