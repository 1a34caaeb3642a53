"""Student-t mixtures: densities, draws and fits."""

import numpy as np
import pytest
from scipy import stats

from autolens_ml.inference.learning import defended, learned_from, proposal_from_modes
from autolens_ml.inference.mixture import (
    StudentMixture,
    cholesky_of,
    started_from,
    weighted_moments,
)
from autolens_ml.inference.polish import Mode


def covariance_of(dim, rng):
    a = rng.normal(size=(dim, dim))
    return a @ a.T / dim + 0.2 * np.eye(dim)


def mixture_of(dim, size, seed, dof=6.0):
    rng = np.random.default_rng(seed)
    parts = [
        StudentMixture.single(2.0 * rng.normal(size=dim), covariance_of(dim, rng), dof + k)
        for k in range(size)
    ]
    return StudentMixture.joined(parts, rng.random(size) + 0.2)


@pytest.mark.parametrize("dim", [1, 2, 7, 20])
@pytest.mark.parametrize("dof", [1.0, 4.0, 100.0])
def test_log_pdf_is_that_of_scipy(dim, dof):
    rng = np.random.default_rng(dim)
    mean, scale = rng.normal(size=dim), covariance_of(dim, rng)
    z = mean + 5.0 * rng.normal(size=(50, dim))
    expected = stats.multivariate_t(mean, scale, df=dof).logpdf(z)
    actual = StudentMixture.single(mean, scale, dof).log_pdf(z)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dim", "size"), [(2, 3), (5, 2)])
def test_log_pdf_of_a_mixture(dim, size):
    """A weighted sum of the densities of its components."""
    mixture = mixture_of(dim, size, 1)
    assert (mixture.dim, mixture.size) == (dim, size)
    assert mixture.weights.sum() == pytest.approx(1.0)
    z = 3.0 * np.random.default_rng(2).normal(size=(40, dim))
    densities = [
        stats.multivariate_t(m, f @ f.T, df=d).pdf(z)
        for m, f, d in zip(mixture.means, mixture.factors, mixture.dofs, strict=True)
    ]
    np.testing.assert_allclose(np.exp(mixture.log_pdf(z)), mixture.weights @ densities, rtol=1e-9)


@pytest.mark.parametrize("dim", [1, 3, 8])
@pytest.mark.parametrize("kind", ["plain", "widened", "with_dof", "defended"])
def test_density_is_normalised(dim, kind):
    """An importance estimate of its integral with a wider density is one."""
    rng = np.random.default_rng(3)
    mixture = mixture_of(dim, 3, 3)
    if kind == "widened":
        mixture = mixture.widened(0.3)
    elif kind == "with_dof":
        mixture = mixture.with_dof(3.0)
    elif kind == "defended":
        z = mixture.sample(500, rng)
        blocks = [np.arange(1), np.arange(1, dim)] if dim > 1 else []
        mixture = defended(mixture, z, np.full(500, 1 / 500), blocks)
    assert mixture.weights.sum() == pytest.approx(1.0)
    wide = mixture.widened(2.0).with_dof(2.0)
    z = wide.sample(40000, rng)
    ratio = np.exp(mixture.log_pdf(z) - wide.log_pdf(z))
    error = ratio.std() / np.sqrt(len(z))
    assert error < 0.03
    assert abs(ratio.mean() - 1.0) < 4.0 * error


def test_moments_of_the_draws():
    """Mean and covariance dof / (dof - 2) times the scale, over the components."""
    mixture = mixture_of(3, 2, 4, dof=12.0)
    z = mixture.sample(200000, np.random.default_rng(5))
    mean = mixture.weights @ mixture.means
    covariance = -np.outer(mean, mean)
    for w, m, f, d in zip(
        mixture.weights, mixture.means, mixture.factors, mixture.dofs, strict=True
    ):
        covariance += w * (d / (d - 2.0) * f @ f.T + np.outer(m, m))
    n = np.sqrt(len(z))
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=5 * np.sqrt(covariance.max()) / n)
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=10 * covariance.max() / n)


def test_draws_follow_the_density():
    """One-dimensional draws against the exact cumulative, by Kolmogorov and Smirnov."""
    mixture = mixture_of(1, 3, 6, dof=3.0)

    def cumulative(x):
        return sum(
            w * stats.t(d, m[0], f[0, 0]).cdf(x)
            for w, m, f, d in zip(
                mixture.weights, mixture.means, mixture.factors, mixture.dofs, strict=True
            )
        )

    z = mixture.sample(20000, np.random.default_rng(7))[:, 0]
    assert stats.kstest(z, cumulative).pvalue > 1e-3
    assert stats.kstest(1.05 * z + 0.05, cumulative).pvalue < 1e-3


def test_em_recovers_two_components_from_weighted_samples():
    """Samples of something else, weighted to a known mixture of unequal components."""
    truth = StudentMixture.joined(
        [
            StudentMixture.single(np.array([2.0, 0.0]), np.diag([0.3, 0.1]), 15.0),
            StudentMixture.single(np.array([-1.5, 1.0]), np.array([[0.5, 0.3], [0.3, 0.4]]), 15.0),
        ],
        np.array([0.25, 0.75]),
    )
    rng = np.random.default_rng(8)
    broad = StudentMixture.single(np.zeros(2), 4.0 * np.eye(2), 5.0)
    z = broad.sample(30000, rng)
    weights = np.exp(truth.log_pdf(z) - broad.log_pdf(z))
    start = started_from(z, weights, 2, 15.0, rng)
    fitted = start.fitted_to(z, weights, 500, shrinkage=0.0)
    order = np.argsort(-fitted.means[:, 0])
    np.testing.assert_allclose(fitted.weights[order], truth.weights, atol=0.03)
    np.testing.assert_allclose(fitted.means[order], truth.means, atol=0.06)
    for k, j in enumerate(order):
        expected = truth.factors[k] @ truth.factors[k].T
        actual = fitted.factors[j] @ fitted.factors[j].T
        np.testing.assert_allclose(actual, expected, atol=0.06)


def test_em_raises_the_likelihood():
    rng = np.random.default_rng(9)
    truth = mixture_of(4, 3, 9)
    z = truth.sample(2000, rng)
    weights = np.full(len(z), 1.0 / len(z))
    mixture = started_from(z, weights, 3, 7.0, rng)
    values = []
    for _ in range(15):
        values.append(float(weights @ mixture.log_pdf(z)))
        mixture = mixture.fitted_to(z, weights, 1, shrinkage=0.0)
    assert np.all(np.diff(values) > -1e-9)
    assert values[-1] > values[0] + 0.01


def test_order_of_the_components_is_nothing():
    """A permuted mixture is the same density, also after EM and of permuted samples."""
    mixture = mixture_of(3, 4, 10)
    order = np.array([2, 0, 3, 1])
    permuted = StudentMixture(
        mixture.weights[order], mixture.means[order], mixture.factors[order], mixture.dofs[order]
    )
    rng = np.random.default_rng(11)
    z = mixture.sample(800, rng)
    weights = rng.random(800)
    np.testing.assert_allclose(mixture.log_pdf(z), permuted.log_pdf(z), rtol=1e-12)
    shuffled = rng.permutation(800)
    a = mixture.fitted_to(z, weights, 5, shrinkage=4.0)
    b = permuted.fitted_to(z[shuffled], weights[shuffled], 5, shrinkage=4.0)
    np.testing.assert_allclose(a.log_pdf(z), b.log_pdf(z), rtol=1e-8)


def degenerate(kind, dim, rng):
    """Samples and log weights no fit can be made of in the usual way."""
    z, log_weights = rng.normal(size=(60, dim)), np.zeros(60)
    if kind == "one dominates":
        log_weights[3] = 500.0
    elif kind == "one is finite":
        log_weights[:] = -np.inf
        log_weights[7] = 0.0
    elif kind == "duplicates":
        z[:] = z[0]
    elif kind == "two points":
        z[:30], z[30:] = z[0], z[1]
    elif kind == "on a line":
        z[:, 1:] = z[:, :1]
    elif kind == "huge range":
        log_weights = np.linspace(-1e5, 1e5, 60)
    return z, log_weights


DEGENERATE = ("one dominates", "one is finite", "duplicates", "two points", "on a line")


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("kind", [*DEGENERATE, "huge range"])
def test_fits_survive_degenerate_samples(kind, dim):
    """Whatever the samples, a fit is a finite density that can be drawn from."""
    rng = np.random.default_rng(12)
    z, log_weights = degenerate(kind, dim, rng)
    weights = np.exp(log_weights - log_weights.max())
    for size in (1, 3):
        start = started_from(z, weights, size, 4.0, rng)
        fitted = start.fitted_to(z, weights, 20, shrinkage=2.0 * dim)
        assert np.all(np.isfinite(fitted.sample(100, rng)))
        assert not np.any(np.isnan(fitted.log_pdf(rng.normal(size=(50, dim)))))
        assert fitted.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("dim", [2, 4])
@pytest.mark.parametrize("kind", [*DEGENERATE, "huge range"])
def test_learning_survives_degenerate_samples(kind, dim):
    rng = np.random.default_rng(13)
    z, log_weights = degenerate(kind, dim, rng)
    current = StudentMixture.single(np.zeros(dim), np.eye(dim), 4.0)
    blocks = [np.array([0]), np.arange(1, dim)]
    mixture, proposal = learned_from(z, log_weights, log_weights, current, blocks, rng)
    for density in (mixture, proposal):
        assert np.all(np.isfinite(density.sample(100, rng)))
        assert not np.any(np.isnan(density.log_pdf(rng.normal(size=(50, dim)))))


def test_cholesky_of_singular_matrices():
    for matrix in (np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, -1e-9, 0.0])):
        factor = cholesky_of(matrix)
        assert np.all(np.isfinite(factor))
        assert np.all(np.diag(factor) > 0.0)
        np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-8)


def test_weighted_moments():
    rng = np.random.default_rng(14)
    z, weights = rng.normal(size=(50, 3)), rng.random(50)
    weights /= weights.sum()
    mean, covariance = weighted_moments(z, weights)
    np.testing.assert_allclose(mean, np.average(z, axis=0, weights=weights))
    np.testing.assert_allclose(covariance, np.cov(z.T, aweights=weights, ddof=0))


def test_learning_fits_what_the_samples_say():
    """From one broad density to two separate narrow modes."""
    rng = np.random.default_rng(15)
    truth = StudentMixture.joined(
        [
            StudentMixture.single(np.full(3, centre), 0.05 * np.eye(3), 50.0)
            for centre in (1.5, -1.0)
        ],
        np.array([0.5, 0.5]),
    )
    current = StudentMixture.single(np.zeros(3), 2.0 * np.eye(3), 4.0)
    z = current.sample(6000, rng)
    log_posterior = truth.log_pdf(z)
    log_weights = log_posterior - current.log_pdf(z)
    _, proposal = learned_from(z, log_weights, log_posterior, current, [], rng)
    fresh = proposal.sample(4000, rng)
    ratio = np.exp(truth.log_pdf(fresh) - proposal.log_pdf(fresh))
    assert ratio.sum() ** 2 / np.sum(ratio**2) > 0.35 * len(fresh)
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ends_of_a_banana_are_proposed(seed):
    """Where ellipsoids and what is extrapolated from the middle are thin, the flat density is."""

    def log_pdf(z):
        a, b = z[:, :2], z[:, 2:]
        step = (b - 0.5 * (a**2 - 1.0)) / 0.3
        return np.sum(-0.5 * a**2 - 0.5 * step**2 - np.log(2.0 * np.pi * 0.3), axis=1)

    rng = np.random.default_rng(seed)
    current = StudentMixture.single(np.zeros(4), np.diag([1.5, 1.5, 0.9, 0.9]), 4.0)
    z = current.sample(4000, rng)
    log_posterior = log_pdf(z)
    log_weights = log_posterior - current.log_pdf(z)
    _, proposal = learned_from(z, log_weights, log_posterior, current, [], rng)
    a = rng.standard_normal((20_000, 2))
    drawn = np.column_stack([a, 0.5 * (a**2 - 1.0) + 0.3 * rng.standard_normal(a.shape)])
    log_ratio = log_pdf(drawn) - proposal.log_pdf(drawn)
    assert np.quantile(log_ratio, 0.999) < 5.0


def test_proposal_from_modes_drops_what_is_negligible():
    covariance = 0.01 * np.eye(2)
    modes = [
        Mode(np.array([1.0, 1.0]), -10.0, covariance),
        Mode(np.array([-1.0, 0.0]), -11.0, covariance),
        Mode(np.array([0.0, -2.0]), -40.0, covariance),
    ]
    proposal = proposal_from_modes(modes)
    shares = [proposal.weights[np.all(proposal.means == mode.z, axis=1)].sum() for mode in modes]
    assert shares[0] > shares[1] > 0.05
    assert shares[2] == 0.0
    assert sum(shares) == pytest.approx(1.0)


def test_what_a_freed_block_drags_along():
    """A posterior that a few samples show the beginning of, along a line they tell the slope of."""
    rng = np.random.default_rng(0)
    slope = np.array([0.5, -2.0])
    block = 0.05 * rng.standard_normal((400, 1)) + 0.3
    rest = 1.0 + (block - 0.3) * slope + 1e-3 * rng.standard_normal((400, 2))
    z, weights = np.hstack([block, rest]), np.full(400, 1.0 / 400)
    blocks = [np.array([0]), np.array([1, 2])]
    proposal = defended(StudentMixture.single(z.mean(0), np.cov(z.T), 100.0), z, weights, blocks)
    far = np.hstack([[-1.5], 1.0 - 1.8 * slope])[None]
    beside = far + np.array([0.0, 0.5, 0.0])
    assert proposal.log_pdf(far)[0] > np.log(1e-3) > proposal.log_pdf(beside)[0]
    # One that is narrower than its digits.
    flat = np.hstack([1e-9 * rng.standard_normal((400, 1)), rest])
    thin = defended(StudentMixture.single(np.zeros(3), np.eye(3), 4.0), flat, weights, blocks)
    assert np.all(np.isfinite(thin.log_pdf(flat)))
