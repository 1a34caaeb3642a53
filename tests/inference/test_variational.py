"""A Gaussian finds the bulk of a posterior from a start that is far off, too narrow or a spike."""

import numpy as np
import pytest

from autolens_ml.inference.polish import Mode
from autolens_ml.inference.target import Target
from autolens_ml.inference.variational import matched
from tests.inference.test_polish import Plain

DIM = 6
TRUTH = np.linspace(-1.0, 1.0, DIM)
WIDTHS = np.geomspace(0.003, 0.3, DIM)


def rotation(seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, DIM)))[0]


def gaussian(spike: float = 0.0) -> tuple[Target, np.ndarray, np.ndarray]:
    """A correlated Gaussian, perhaps with ripples: target, posterior mean and covariance."""
    turned = rotation()
    precision = (turned / WIDTHS**2) @ turned.T
    covariance = np.linalg.inv(precision + np.eye(DIM))
    mean = covariance @ precision @ TRUTH

    def value_and_gradient(x):
        step = x - TRUTH
        along = turned.T @ step / (0.05 * WIDTHS)
        ripples = spike * np.cos(along).sum()
        slope = -spike * turned @ (np.sin(along) / (0.05 * WIDTHS))
        return float(-0.5 * step @ precision @ step + ripples), -precision @ step + slope

    return (
        Target(Plain(DIM), lambda x: value_and_gradient(x)[0], value_and_gradient),
        mean,
        covariance,
    )


def divergence(found: Mode, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Kullback-Leibler divergence of the true Gaussian from what was found."""
    inverse = np.linalg.inv(covariance)
    step = mean - found.z
    trace = np.trace(inverse @ found.covariance)
    log_det = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(found.covariance)[1]
    return 0.5 * float(trace + step @ inverse @ step - DIM + log_det)


@pytest.mark.parametrize("width", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gaussian_is_recovered(width, seed):
    target, mean, covariance = gaussian()
    rng = np.random.default_rng(seed)
    away = mean + 3.0 * np.linalg.cholesky(covariance) @ rng.normal(size=DIM)
    start = Mode(away, float(target.log_posterior(away[None])[0]), width * covariance)
    found = matched(target, start, 2000, rng)
    assert divergence(found, mean, covariance) < 0.03
    top = float(target.log_posterior(mean[None])[0])
    truth = Mode(mean, top, covariance).log_evidence
    assert found.log_evidence == pytest.approx(truth, abs=1.0)


def test_spikes_are_seen_past():
    """The curvature of a ripple is twenty times that of what it rides on."""
    target, mean, covariance = gaussian(spike=0.05)
    spike = Mode(TRUTH, float(target.log_posterior(TRUTH[None])[0]), 0.05 * covariance)
    before = divergence(spike, mean, covariance)
    found = matched(target, spike, 2000, np.random.default_rng(3))
    assert divergence(found, mean, covariance) < 0.1 * before


def test_what_cannot_be_paid_is_not_done():
    target, mean, covariance = gaussian()
    start = Mode(mean, 0.0, covariance)
    assert matched(target, start, 2 * DIM - 1, np.random.default_rng(0)) == start
    for budget in (2 * DIM, 5 * DIM, 100):
        before = target.n_gradient
        matched(target, start, budget, np.random.default_rng(0))
        assert target.n_gradient - before <= budget


def test_it_ends_when_nothing_is_gained():
    target, mean, covariance = gaussian()
    matched(target, Mode(mean, 0.0, covariance), 10**5, np.random.default_rng(0))
    assert target.n_gradient < 300


def test_where_nothing_can_be_evaluated_the_start_stays():
    target = Target(Plain(DIM), lambda x: np.nan, lambda x: (np.nan, np.full(DIM, np.nan)))
    start = Mode(np.zeros(DIM), -1.0, np.eye(DIM))
    found = matched(target, start, 1000, np.random.default_rng(0))
    np.testing.assert_array_equal(found.z, start.z)
    np.testing.assert_array_equal(found.covariance, start.covariance)


def test_it_is_no_wider_than_the_prior():
    flat = Target(Plain(DIM), lambda x: 0.0, lambda x: (0.0, np.zeros(DIM)))
    start = Mode(np.zeros(DIM), 0.0, 0.01 * np.eye(DIM))
    found = matched(flat, start, 1000, np.random.default_rng(0))
    assert np.linalg.eigvalsh(found.covariance).max() <= 1.0 + 1e-12
