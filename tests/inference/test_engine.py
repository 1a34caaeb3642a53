"""Runs as a whole: reproducible, resumable, within their budget, honest when they fail."""

import pickle
from dataclasses import fields

import numpy as np
import pytest
from scipy.special import log_ndtr

from autolens_ml.inference.importance import Status, effective_sample_size, log_evidence_from
from autolens_ml.inference.state import Settings, Stage, State
from autolens_ml.inference.target import Target
from autolens_ml.inference.thinned import ThinnedDensity
from tests.inference import problems

SMALL = {"n_effective": 200, "n_draws": 16, "n_polish": 1, "max_likelihood_calls": 2000}


def assert_same_state(a, b):
    """Bit by bit, the arrays that are the result and all counts."""
    for name in ("step", "stage", "n_likelihood", "n_gradient", "attempt", "efficiencies"):
        assert getattr(a, name) == getattr(b, name), name
    for field in fields(State):
        value = getattr(a, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(b, field.name), err_msg=field.name)
    np.testing.assert_array_equal(a.mixture.means, b.mixture.means)
    np.testing.assert_array_equal(a.mixture.factors, b.mixture.factors)


def copied(state):
    return pickle.loads(pickle.dumps(state))


def small_problems():
    return {
        "gaussian": problems.gaussian(2, 0.3),
        "banana": problems.banana(2),
        "two-modes": problems.two_modes(2, width=0.3),
    }


@pytest.mark.parametrize("name", small_problems())
def test_same_seed_same_result(name):
    problem = small_problems()[name]
    first, second = (problems.run(problem.target(), 5, **SMALL) for _ in range(2))
    assert_same_state(first.state, second.state)
    assert first.summary == second.summary
    other = problems.run(problem.target(), 6, **SMALL)
    assert other.summary.log_evidence != first.summary.log_evidence


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("name", small_problems())
def test_resumed_from_every_stage(name, gradient):
    """A process that dies as a stage begins, and begins anew, changes nothing."""
    problem = small_problems()[name]
    engine = problems.engine_for(problem.target(gradient), Settings(**SMALL))
    saved = {Stage.RANK: pickle.dumps(State(entropy=9))}
    expected = engine.run(
        State(entropy=9), lambda state: saved.setdefault(state.stage, pickle.dumps(state))
    )
    assert set(saved) == set(Stage)
    for state in saved.values():
        fresh = problems.engine_for(problem.target(gradient), Settings(**SMALL))
        assert_same_state(fresh.run(pickle.loads(state)), expected)


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("name", small_problems())
def test_interrupted_after_every_step(name, gradient):
    """One run that is saved, forgotten and loaded between all of its steps."""
    problem = small_problems()[name]
    engine = problems.engine_for(problem.target(gradient), Settings(**SMALL))
    expected = engine.run(State(entropy=10))
    state = State(entropy=10)
    while state.stage is not Stage.DONE:
        state = copied(state)
        problems.engine_for(problem.target(gradient), Settings(**SMALL)).advance(state)
    assert_same_state(state, expected)


@pytest.mark.parametrize("invalid", [np.nan, -np.inf, -1e99, np.inf])
def test_no_valid_model(invalid):
    """FAILED, no exception, and no more likelihoods than it took to see."""
    target = Target(
        problems.gaussian(3, 1.0).space, lambda x: invalid, lambda x: (invalid, np.full(3, np.nan))
    )
    run = problems.run(target, 1)
    assert run.summary.status is Status.FAILED
    assert run.summary.log_evidence == -np.inf
    assert run.summary.ess == 0.0
    assert run.state.n_likelihood <= 300


def test_half_of_the_prior_is_invalid():
    """Models that cannot be evaluated have no posterior; the rest is right."""
    problem = problems.gaussian(3, 1.0)
    middle = problem.priors[0].mean

    def log_likelihood(x):
        return problem.log_likelihood(x) if x[0] > middle else -1e99

    target = Target(
        problem.space, log_likelihood, lambda x: (log_likelihood(x), problem.gradient(x))
    )
    run = problems.run(target, 2)
    sigma = np.sqrt(problem.covariance[0, 0])
    expected = problem.log_evidence + log_ndtr((problem.mean[0] - middle) / sigma)
    assert run.summary.status is not Status.FAILED
    assert abs(run.summary.log_evidence - expected) < 4.0 * run.summary.log_evidence_error


def test_an_unfinished_state_is_failed():
    engine = problems.engine_for(problems.gaussian(2, 1.0).target(), Settings())
    summary = engine.summary(State(entropy=1))
    assert summary.status is Status.FAILED
    assert summary.log_evidence_error == np.inf


HARD = {"banana": problems.banana(4), "funnel": problems.funnel(6), "narrow": problems.two_modes(8)}


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("budget", [1000, 3000])
@pytest.mark.parametrize("name", HARD)
def test_budget_is_kept(name, budget, gradient):
    """Within a tenth and one round; what cannot be done for it is not CONVERGED."""
    problem = HARD[name]
    run = problems.run(problem.target(gradient), 3, max_likelihood_calls=budget)
    one_round = min(max(50 * problem.dim, 200), 1000)
    assert run.state.n_likelihood <= 1.1 * budget + one_round
    if budget <= 1000:
        assert run.summary.status is not Status.CONVERGED


def test_counts_are_those_of_the_likelihood():
    """Every evaluation is counted, and nothing else."""
    problem = problems.banana(2)
    calls = {"likelihood": 0, "gradient": 0}

    def log_likelihood(x):
        calls["likelihood"] += 1
        return problem.log_likelihood(x)

    def value_and_gradient(x):
        calls["gradient"] += 1
        return problem.log_likelihood(x), problem.gradient(x)

    run = problems.run(Target(problem.space, log_likelihood, value_and_gradient), 4, **SMALL)
    assert calls == {"likelihood": run.state.n_likelihood, "gradient": run.state.n_gradient}


def residual_target(dim=5):
    """A linear model with Gaussian noise, seen through its residuals only."""
    problem = problems.gaussian(dim, 0.1)
    mean = np.array([prior.mean for prior in problem.priors])
    sigma = np.array([prior.sigma for prior in problem.priors])
    # The likelihood's Gaussian in prior sigmas: what the posterior has beyond the prior.
    posterior = problem.covariance / np.outer(sigma, sigma)
    precision = np.linalg.inv(posterior) - np.eye(dim)
    root = np.linalg.cholesky(precision).T
    centre = np.linalg.solve(precision, np.linalg.solve(posterior, (problem.mean - mean) / sigma))
    offset = problem.log_likelihood(mean + sigma * centre)

    def residuals(x):
        return root @ ((x - mean) / sigma - centre)

    def log_likelihood(x):
        return offset - 0.5 * float(residuals(x) @ residuals(x))

    x = np.ones(dim)
    assert log_likelihood(x) == pytest.approx(problem.log_likelihood(x))
    return Target(problem.space, log_likelihood, None, residuals), problem


def test_residual_target_converges():
    target, problem = residual_target()
    run = problems.run(target, 1)
    assert run.summary.status is Status.CONVERGED
    assert run.state.n_gradient == 0
    error = run.summary.log_evidence - problem.log_evidence
    assert abs(error) < 4.0 * run.summary.log_evidence_error


@pytest.mark.parametrize("name", ["gaussian", "banana", "at-wall"])
def test_target_without_gradient_converges(name):
    problem = {
        "gaussian": problems.gaussian(5, 0.1),
        "banana": problems.banana(2),
        "at-wall": problems.at_wall(3),
    }[name]
    run = problems.run(problem.target(gradient=False), 1, max_likelihood_calls=40000)
    assert run.summary.status is Status.CONVERGED
    assert run.state.n_gradient == 0
    error = run.summary.log_evidence - problem.log_evidence
    assert abs(error) < 4.0 * run.summary.log_evidence_error


@pytest.mark.parametrize("name", ["gaussian", "banana", "two-modes"])
def test_seeds_agree(name):
    """Within three of their combined errors, from independent draws."""
    problem = small_problems()[name]
    a, b = (problems.run(problem.target(), seed).summary for seed in (11, 12))
    assert a.log_evidence != b.log_evidence
    error = np.hypot(a.log_evidence_error, b.log_evidence_error)
    assert abs(a.log_evidence - b.log_evidence) < 3.0 * error


def test_what_is_reported_was_never_learned_from():
    """The certified draws are of one proposal, and none of them taught it."""
    run = problems.run(problems.banana(2).target(), 13)
    state = run.state
    taught = {tuple(z) for z in state.z}
    assert not any(tuple(z) in taught for z in state.certified)
    prior = -0.5 * np.sum(state.certified**2, axis=1) - np.log(2.0 * np.pi)
    expected = state.certified_log_likelihood + prior - state.proposal.log_pdf(state.certified)
    np.testing.assert_allclose(state.certified_log_weights, expected, rtol=1e-12)


# --- surrogates ---------------------------------------------------------------------------------


def test_a_surrogate_thins_where_the_proposal_fits_poorly():
    run = problems.run(problems.banana(4).target(), 3, n_effective=500)
    density = run.state.proposal.density
    assert isinstance(density, ThinnedDensity)
    # What is left of the proposal's draws is worth more than the proposal's own.
    z = density.density.sample(4000, np.random.default_rng(0))
    log_weights = run.engine.target.log_posterior(z) - density.density.log_pdf(z)
    of_all = effective_sample_size(log_weights) / len(z)
    of_kept = run.summary.ess / len(run.state.certified)
    assert of_kept > 2.0 * of_all
    _, error = log_evidence_from(run.state.certified_log_weights)
    assert run.summary.log_evidence_error == pytest.approx(
        np.hypot(error, density.log_kept_error), rel=1e-12
    )


def test_no_surrogate_is_learned_where_the_proposal_fits():
    run = problems.run(problems.gaussian(4, 0.05).target(), 3, n_effective=500)
    assert run.summary.status is Status.CONVERGED
    assert not isinstance(run.state.proposal.density, ThinnedDensity)
