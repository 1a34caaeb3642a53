"""Proposals thinned by a surrogate: exact whatever the surrogate says."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from autolens_ml.inference.importance import effective_sample_size, log_evidence_from
from autolens_ml.inference.mixture import StudentMixture
from autolens_ml.inference.thinned import ThinnedDensity

DIM = 6
POSTERIOR = multivariate_normal(np.zeros(DIM), np.eye(DIM))
LOG_EVIDENCE = 123.0


def log_posterior(z):
    return POSTERIOR.logpdf(z) + LOG_EVIDENCE


@dataclass(frozen=True)
class Predicted:
    """A surrogate that says what it is told to."""

    width: float = 1.0
    shift: float = 0.0
    noise: float = 0.0

    def log_posterior(self, z):
        rough = np.sin(1e4 * z.sum(axis=-1))
        return log_posterior(z / self.width + self.shift) + self.noise * rough


@pytest.fixture(scope="module")
def wide():
    return StudentMixture.single(np.full(DIM, 0.3), 3.0 * np.eye(DIM), 6.0)


SURROGATES = {
    "right": Predicted(),
    "narrow": Predicted(width=0.6),
    "shifted": Predicted(shift=1.0),
    "rough": Predicted(noise=2.0),
    "wild": Predicted(noise=50.0),
}


@pytest.mark.parametrize("surrogate", SURROGATES.values(), ids=SURROGATES)
def test_evidence_is_right_however_wrong_the_surrogate(wide, surrogate):
    rng = np.random.default_rng(1)
    thinned = ThinnedDensity.made_of(wide, surrogate, rng).frozen(rng)
    z = thinned.sample(20_000, rng)
    value, error = log_evidence_from(log_posterior(z) - thinned.log_pdf(z))
    assert z.shape == (20_000, DIM)
    assert error < 0.06
    assert abs(value - LOG_EVIDENCE) < 4.0 * np.hypot(error, thinned.log_kept_error)


@pytest.mark.parametrize("surrogate", SURROGATES.values(), ids=SURROGATES)
def test_it_is_normalised(wide, surrogate):
    rng = np.random.default_rng(2)
    thinned = ThinnedDensity.made_of(wide, surrogate, rng).frozen(rng)
    z = wide.sample(100_000, rng)
    ratio = np.exp(thinned.log_pdf(z) - wide.log_pdf(z))
    error = np.hypot(ratio.std() / np.sqrt(len(z)), thinned.log_kept_error)
    assert abs(ratio.mean() - 1.0) < 4.0 * error


def test_fewer_likelihoods_are_wasted(wide):
    rng = np.random.default_rng(3)
    thinned = ThinnedDensity.made_of(wide, Predicted(noise=0.3), rng)

    def efficiency(density):
        z = density.sample(4000, rng)
        return effective_sample_size(log_posterior(z) - density.log_pdf(z)) / len(z)

    assert efficiency(wide) < 0.35
    assert efficiency(thinned) > 0.6


def test_weights_stay_bounded_where_the_surrogate_sees_nothing(wide):
    rng = np.random.default_rng(4)
    thinned = ThinnedDensity.made_of(wide, Predicted(width=0.05), rng)
    z = wide.sample(20_000, rng)
    assert np.all(thinned.log_pdf(z) > wide.log_pdf(z) + np.log(0.25))


def test_draws_stay_affordable_where_a_surrogate_is_wild(wide):
    rng = np.random.default_rng(5)
    thinned = ThinnedDensity.made_of(wide, Predicted(noise=300.0), rng)
    assert np.exp(thinned.log_kept) > 0.009


def test_a_better_measured_share_changes_the_norm_alone(wide):
    rng = np.random.default_rng(6)
    rough = ThinnedDensity.made_of(wide, Predicted(), rng)
    frozen = rough.frozen(rng)
    assert frozen.log_kept_error < 0.6 * rough.log_kept_error
    assert abs(frozen.log_kept - rough.log_kept) < 5.0 * rough.log_kept_error
    assert replace(frozen, log_kept=0.0, log_kept_error=0.0) == replace(
        rough, log_kept=0.0, log_kept_error=0.0
    )


def test_same_seed_same_draws(wide):
    thinned = ThinnedDensity.made_of(wide, Predicted(), np.random.default_rng(7))
    draws = [thinned.sample(500, np.random.default_rng(8)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)
