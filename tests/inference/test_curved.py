"""Densities behind a triangular map."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal, norm

from autolens_ml.inference.curved import Blend, CurvedDensity, Noise
from autolens_ml.inference.mixture import StudentMixture


def banana(n, rng, dim=3):
    z = rng.standard_normal((n, dim))
    z[:, 1] = 0.3 * z[:, 1] + 0.5 * (z[:, 0] ** 2 - 1.0)
    z[:, 2] = 0.2 * z[:, 2] * np.exp(0.4 * z[:, 0])
    return z @ np.linalg.qr(np.random.default_rng(5).standard_normal((dim, dim)))[0].T + 1.0


@pytest.fixture(scope="module")
def fitted():
    z = banana(6000, np.random.default_rng(1))
    return CurvedDensity.fitted_to(z, np.full(len(z), 1.0 / len(z)))


def test_it_is_normalised():
    rng = np.random.default_rng(2)
    z = rng.standard_normal((3000, 2))
    z[:, 1] = 0.5 * z[:, 1] + 0.6 * z[:, 0] ** 2
    density = CurvedDensity.fitted_to(z, np.full(len(z), 1.0 / len(z)))
    x, y = np.meshgrid(np.linspace(-9, 9, 901), np.linspace(-9, 25, 1701), indexing="ij")
    cell = (x[1, 0] - x[0, 0]) * (y[0, 1] - y[0, 0])
    total = np.exp(density.log_pdf(np.column_stack([x.ravel(), y.ravel()]))).sum() * cell
    assert total == pytest.approx(1.0, abs=2e-3)


def test_draws_follow_the_density(fitted):
    """The ratio of another normalised density to this one has mean one over its draws."""
    z = fitted.sample(200_000, np.random.default_rng(3))
    inside = multivariate_normal(z.mean(axis=0), 0.3 * np.cov(z.T))
    ratio = np.exp(inside.logpdf(z) - fitted.log_pdf(z))
    error = ratio.std() / np.sqrt(len(z))
    assert error < 0.05
    assert abs(ratio.mean() - 1.0) < 4.0 * error


def test_it_bends_where_an_ellipsoid_cannot(fitted):
    z = banana(4000, np.random.default_rng(4))
    ellipsoid = StudentMixture.single(z.mean(axis=0), np.cov(z.T), 50.0)
    gain = np.mean(fitted.log_pdf(z) - ellipsoid.log_pdf(z))
    assert gain > 0.5


def test_draws_have_the_marginals_of_the_samples(fitted):
    z, draws = (
        banana(20_000, np.random.default_rng(6)),
        fitted.sample(20_000, np.random.default_rng(7)),
    )
    for i in range(3):
        assert kstest(z[:, i], draws[:, i]).statistic < 0.05


def test_a_gaussian_stays_one():
    rng = np.random.default_rng(8)
    root = np.tril(rng.standard_normal((6, 6))) + 3.0 * np.eye(6)
    z = rng.standard_normal((20_000, 6)) @ root.T
    density = CurvedDensity.fitted_to(z, np.full(len(z), 1.0 / len(z)))
    exact = multivariate_normal(np.zeros(6), root @ root.T)
    fresh = rng.standard_normal((5000, 6)) @ root.T
    loss = np.mean(exact.logpdf(fresh) - density.log_pdf(fresh))
    assert 0.0 <= loss < 0.05


def test_weights_count():
    """Samples of a wide Gaussian weighted to a narrow one give the narrow one."""
    rng = np.random.default_rng(9)
    z = 2.0 * rng.standard_normal((40_000, 4))
    narrow = multivariate_normal(np.full(4, 0.5), 0.49 * np.eye(4))
    weights = np.exp(narrow.logpdf(z) - multivariate_normal(np.zeros(4), 4 * np.eye(4)).logpdf(z))
    density = CurvedDensity.fitted_to(z, weights)
    draws = density.sample(20_000, rng)
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=0.06)
    # A little wider, on purpose.
    assert np.all((draws.std(axis=0) > 0.7) & (draws.std(axis=0) < 0.83))


def test_few_samples_give_a_finite_density():
    rng = np.random.default_rng(10)
    z = rng.standard_normal((25, 17))
    density = CurvedDensity.fitted_to(z, np.full(25, 0.04))
    draws = density.sample(100, rng)
    assert np.isfinite(draws).all()
    assert np.isfinite(density.log_pdf(draws)).all()
    assert np.isfinite(density.log_pdf(50.0 * draws)).all()


def test_noise_that_is_no_gaussian():
    """Skewed and heavy-tailed noise is described better than by a Gaussian."""
    rng = np.random.default_rng(14)
    skewed = np.column_stack([rng.gamma(2.0, size=20_000), rng.standard_t(4.0, size=20_000)])
    fitted, fresh = skewed[:10_000], skewed[10_000:]
    noise = Noise.fitted_to(fitted, np.full(10_000, 1e-4))
    gaussian = norm(fitted.mean(axis=0), fitted.std(axis=0)).logpdf(fresh).mean(axis=0)
    assert np.all(noise.log_pdf(fresh).mean(axis=0) > gaussian + 0.05)
    draws = noise.sample(50_000, rng)
    np.testing.assert_allclose(draws.mean(axis=0), skewed.mean(axis=0), atol=0.05)
    x = np.linspace(-400.0, 400.0, 400_001)
    total = np.exp(noise.log_pdf(np.column_stack([x, x]))).sum(axis=0) * (x[1] - x[0])
    np.testing.assert_allclose(total, 1.0, atol=1e-4)


def test_a_blend_is_the_mixture_of_both(fitted):
    other = StudentMixture.single(np.zeros(3), 4.0 * np.eye(3), 4.0)
    blend = Blend(other, fitted, 0.3)
    z = banana(100, np.random.default_rng(11))
    expected = 0.7 * np.exp(other.log_pdf(z)) + 0.3 * np.exp(fitted.log_pdf(z))
    np.testing.assert_allclose(np.exp(blend.log_pdf(z)), expected, rtol=1e-10)
    draws = blend.sample(40_000, np.random.default_rng(12))
    mean = 0.7 * other.means[0] + 0.3 * fitted.sample(40_000, np.random.default_rng(13)).mean(0)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.05)
