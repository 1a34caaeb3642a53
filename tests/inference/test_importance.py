"""Diagnostics of importance weights, on weights whose answers are known."""

import numpy as np
import pytest

from autolens_ml.inference.engine import Engine
from autolens_ml.inference.importance import (
    Status,
    effective_sample_size,
    k_threshold,
    log_evidence_from,
    pareto_k,
)
from autolens_ml.inference.mixture import StudentMixture
from autolens_ml.inference.state import Settings, Stage, State, Summary
from autolens_ml.inference.symmetry import Proposal
from tests.inference import problems

GAUSSIAN_DOF = 1e7


def pareto_log_weights(k, n, seed):
    """Weights u^-k: a Pareto tail of shape k."""
    return -k * np.log(np.random.default_rng(seed).random(n))


@pytest.mark.parametrize("k", [0.2, 0.5, 0.8, 1.2])
def test_pareto_k_of_known_tails(k):
    """k-hat is right on average, and no single estimate is far off."""
    n_draws = 10000
    k_hats = [pareto_k(pareto_log_weights(k, n_draws, seed)) for seed in range(30)]
    # The prior pulls k-hat towards one half, with the weight of ten of 300 tail draws.
    expected = (300 * k + 10 * 0.5) / 310
    assert np.mean(k_hats) == pytest.approx(expected, abs=0.05)
    scatter = (1.0 + k) / np.sqrt(300)  # of maximum likelihood
    assert 0.5 * scatter < np.std(k_hats) < 1.4 * scatter
    assert np.max(np.abs(np.array(k_hats) - k)) < 4.0 * scatter


def test_pareto_k_ignores_the_scale_and_the_order():
    log_weights = pareto_log_weights(0.6, 2000, 1)
    k_hat = pareto_k(log_weights)
    assert pareto_k(log_weights - 12345.0) == pytest.approx(k_hat, abs=1e-6)
    assert pareto_k(log_weights[::-1]) == k_hat


def test_pareto_k_of_thin_tails():
    """Bounded weights have no tail to fear; log-normal ones are in between."""
    rng = np.random.default_rng(2)
    assert pareto_k(np.log(rng.random(4000))) < 0.0
    assert -0.2 < pareto_k(0.5 * rng.standard_normal(4000)) < 0.5
    assert pareto_k(3.0 * rng.standard_normal(4000)) > 0.7


def test_pareto_k_with_invalid_models():
    """Draws that cannot be evaluated are weights of zero: they count as draws."""
    log_weights = pareto_log_weights(0.5, 4000, 3)
    log_weights[::2] = -np.inf
    assert pareto_k(log_weights) == pytest.approx(0.5, abs=0.3)


def test_equal_weights():
    log_weights = np.full(500, -3.5)
    assert effective_sample_size(log_weights) == pytest.approx(500)
    assert log_evidence_from(log_weights) == pytest.approx((-3.5, 0.0), abs=1e-7)
    assert pareto_k(log_weights) == -np.inf


@pytest.mark.parametrize("log_weights", [np.full(200, -np.inf), np.empty(0)])
def test_no_weight(log_weights):
    """Nothing to go on is never good news."""
    assert effective_sample_size(log_weights) == 0.0
    assert log_evidence_from(log_weights) == (-np.inf, np.inf)
    assert pareto_k(log_weights) == np.inf


def test_single_weight():
    log_weights = np.full(200, -np.inf)
    log_weights[17] = 800.0  # exp would overflow
    value, error = log_evidence_from(log_weights)
    assert effective_sample_size(log_weights) == pytest.approx(1.0)
    assert value == pytest.approx(800.0 - np.log(200))
    assert error == pytest.approx(np.sqrt(1.0 - 1.0 / 200))
    assert pareto_k(log_weights) == np.inf


def test_effective_sample_size_by_hand():
    assert effective_sample_size(np.log([1.0, 2.0, 3.0])) == pytest.approx(36.0 / 14.0)
    assert effective_sample_size(np.log([1.0, 2.0, 3.0]) + 900.0) == pytest.approx(36.0 / 14.0)


def test_error_of_the_log_evidence():
    """The stated error is the scatter of ln Z between independent sets of weights."""
    rng = np.random.default_rng(4)
    sets = 0.8 * rng.standard_normal((800, 1000)) - 0.5 * 0.8**2  # log-normal, of mean one
    values, errors = np.array([log_evidence_from(log_weights) for log_weights in sets]).T
    assert abs(values.mean()) < 4.0 * values.std() / np.sqrt(len(sets)) + 1e-3
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_k_threshold():
    assert k_threshold(100) == pytest.approx(0.5)
    assert k_threshold(1000) == pytest.approx(1.0 - 1.0 / 3.0)
    assert k_threshold(10**6) == 0.7
    assert [k_threshold(n) for n in (0, 1, 10)] == [k_threshold(11)] * 3
    assert np.all(np.diff([k_threshold(n) for n in range(5, 5000, 7)]) >= 0.0)


def certified_with(proposal: StudentMixture, problem, seed: int, **settings) -> Summary:
    """Certify with a given proposal that is never adapted."""

    class Frozen(Engine):
        def _needs_another_attempt(self, state, summary):
            return False

    engine = Frozen(problem.target(), problems.prior_draws(problem.dim), Settings(**settings))
    state = State(
        entropy=seed,
        stage=Stage.CERTIFY,
        proposal=Proposal(proposal, np.arange(problem.dim)[None]),
        efficiencies=[0.4],
        certified=np.empty((0, problem.dim)),
        certified_log_likelihood=np.empty(0),
        certified_log_weights=np.empty(0),
    )
    engine.run(state)
    assert state.n_likelihood == len(state.certified) <= engine._settings.max_likelihood_calls
    return engine.summary(state)


def posterior_of(problem):
    """Mean and covariance of a Gaussian problem's posterior in latents."""
    means = np.array([prior.mean for prior in problem.priors])
    sigmas = np.array([prior.sigma for prior in problem.priors])
    return (problem.mean - means) / sigmas, problem.covariance / np.outer(sigmas, sigmas)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [0.3, 0.5, 0.59])
@pytest.mark.parametrize("dim", [4, 6, 10, 20])
def test_too_narrow_proposal_never_converges(dim, width, seed):
    """A Gaussian narrower than the posterior in every direction, in short and long runs."""
    problem = problems.gaussian(dim, 0.3)
    mean, covariance = posterior_of(problem)
    proposal = StudentMixture.single(mean, width**2 * covariance, GAUSSIAN_DOF)
    for budget in (4000, 12000):
        summary = certified_with(proposal, problem, seed, max_likelihood_calls=budget)
        assert summary.status is not Status.CONVERGED


@pytest.mark.parametrize("width", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("dim", [6, 10, 20])
def test_pareto_k_flags_a_too_narrow_proposal(dim, width):
    """It is k-hat that tells, without any look at the effective sample size."""
    problem = problems.gaussian(dim, 0.3)
    mean, covariance = posterior_of(problem)
    proposal = StudentMixture.single(mean, width**2 * covariance, GAUSSIAN_DOF)
    for seed in range(3):
        summary = certified_with(proposal, problem, seed, max_likelihood_calls=8000)
        assert summary.pareto_k > k_threshold(8000)
        assert summary.status is Status.FAILED


@pytest.mark.parametrize("seed", range(3))
def test_proposal_too_narrow_in_one_direction(seed):
    """One direction of ten that is missed is enough."""
    problem = problems.gaussian(10, 0.3)
    mean, covariance = posterior_of(problem)
    values, vectors = np.linalg.eigh(covariance)
    values[0] *= 0.2**2
    proposal = StudentMixture.single(mean, (vectors * values) @ vectors.T, GAUSSIAN_DOF)
    summary = certified_with(proposal, problem, seed)
    assert summary.status is not Status.CONVERGED
    assert summary.pareto_k > 0.6


@pytest.mark.parametrize("dof", [4.0, 15.0])
@pytest.mark.parametrize("width", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("dim", [4, 10])
def test_heavy_tails_save_a_narrow_proposal_or_it_fails(dim, width, dof):
    """Where the tails are heavy enough to converge, the evidence is right."""
    problem = problems.gaussian(dim, 0.3)
    mean, covariance = posterior_of(problem)
    proposal = StudentMixture.single(mean, width**2 * covariance, dof)
    for seed in range(3):
        summary = certified_with(proposal, problem, seed)
        if summary.status is Status.CONVERGED:
            error = summary.log_evidence - problem.log_evidence
            assert abs(error) < 4.0 * summary.log_evidence_error


@pytest.mark.parametrize("width", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("dim", [2, 4, 6, 10])
def test_too_wide_proposal_costs_samples_only(dim, width):
    """A wide proposal is inefficient; what it says of the evidence is right."""
    problem = problems.gaussian(dim, 0.1)
    mean, covariance = posterior_of(problem)
    proposal = StudentMixture.single(mean, width**2 * covariance, GAUSSIAN_DOF)
    for seed in range(3):
        summary = certified_with(proposal, problem, seed)
        error = summary.log_evidence - problem.log_evidence
        assert abs(error) < 4.0 * summary.log_evidence_error
        if width ** (2 * dim) < 20.0:
            assert summary.status is Status.CONVERGED
        assert summary.status is Status.CONVERGED or summary.ess < 2000


def test_perfect_proposal_converges():
    problem = problems.gaussian(8, 0.1)
    mean, covariance = posterior_of(problem)
    summary = certified_with(StudentMixture.single(mean, covariance, 100.0), problem, 1)
    assert summary.status is Status.CONVERGED
    assert abs(summary.log_evidence - problem.log_evidence) < 4.0 * summary.log_evidence_error


def test_shifted_proposal_never_converges():
    """Three sigma beside the posterior in every direction."""
    problem = problems.gaussian(6, 0.1)
    mean, covariance = posterior_of(problem)
    shifted = mean + 3.0 * np.linalg.cholesky(covariance) @ np.ones(6)
    proposal = StudentMixture.single(shifted, covariance, GAUSSIAN_DOF)
    for seed in range(3):
        assert certified_with(proposal, problem, seed).status is not Status.CONVERGED
