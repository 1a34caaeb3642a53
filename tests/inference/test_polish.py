"""Climbing to modes, and the curvature there."""

import numpy as np
import pytest

from autolens_ml.inference.polish import Mode, at_scale, mode_at, polished
from autolens_ml.inference.target import Target
from tests.inference import problems

KINDS = ("gradient", "differences", "residuals")


class Plain:
    """Latents that are the parameters."""

    names = ()

    def __init__(self, dim):
        self.dim = dim

    def physical_from(self, z):
        return z

    def derivative_from(self, z):
        return np.ones_like(z)


def linear(kind, dim=4, seed=0):
    """A linear least-squares problem: target, optimum, covariance and log posterior there."""
    rng = np.random.default_rng(seed)
    design, data = 5.0 * rng.normal(size=(30, dim)), 5.0 * rng.normal(size=30)

    def residuals(x):
        return design @ x - data

    def log_likelihood(x):
        return -0.5 * float(residuals(x) @ residuals(x))

    def value_and_gradient(x):
        return log_likelihood(x), -design.T @ residuals(x)

    target = Target(
        Plain(dim),
        log_likelihood,
        value_and_gradient if kind == "gradient" else None,
        residuals if kind == "residuals" else None,
    )
    covariance = np.linalg.inv(design.T @ design + np.eye(dim))
    optimum = covariance @ design.T @ data
    return target, optimum, covariance, log_likelihood(optimum) - 0.5 * optimum @ optimum


@pytest.mark.parametrize("kind", KINDS)
def test_reaches_the_analytic_optimum(kind):
    target, optimum, covariance, top = linear(kind)
    rng = np.random.default_rng(1)
    for start in rng.normal(size=(3, 4)):
        z, value = polished(target, start, 200, rng)
        assert Mode(optimum, top, covariance).distance_to(z) < 0.02
        assert top - 1e-3 < value <= top + 1e-9
        assert value == pytest.approx(target.log_posterior(z[None])[0], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_curvature_and_evidence_are_the_analytic_ones(kind):
    """Of a Gaussian, for which Laplace's evidence is exact."""
    target, optimum, covariance, top = linear(kind)
    mode = mode_at(target, optimum, top)
    scale = np.sqrt(np.diag(covariance))
    difference = (mode.covariance - covariance) / np.outer(scale, scale)
    # Differences of differences are good to a few per cent, enough for a start.
    assert np.abs(difference).max() < (1e-4 if kind != "differences" else 0.05)
    expected = top + 0.5 * np.linalg.slogdet(covariance)[1]
    assert mode.log_evidence == pytest.approx(expected, abs=0.1)


def test_curved_valley():
    """The posterior of a banana in real priors is climbed to its top."""
    target = problems.banana(4).target()
    rng = np.random.default_rng(2)
    z, value = polished(target, rng.normal(size=4), 400, rng)
    assert polished(target, z, 400, rng)[1] < value + 0.01
    assert value == pytest.approx(target.log_posterior(z[None])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_never_worse_than_the_start(kind):
    target, _, _, _ = linear(kind)
    rng = np.random.default_rng(3)
    for n_iterations in (1, 2, 5):
        start = rng.normal(size=4)
        before = target.log_posterior(start[None])[0]
        assert polished(target, start, n_iterations, rng)[1] >= before


def test_evaluations_are_counted():
    target, *_ = linear("gradient")
    polished(target, np.zeros(4), 50, np.random.default_rng(0))
    assert target.n_gradient > 0
    assert target.n_likelihood == 0
    target, *_ = linear("differences")
    target.log_posterior_and_gradient(np.zeros(4))
    assert (target.n_likelihood, target.n_gradient) == (9, 0)


@pytest.mark.parametrize("beyond", [0.3, 3.0])
@pytest.mark.parametrize("what", ["gradient", "value"])
def test_nans_are_survived(what, beyond):
    """A region of NaNs beyond the optimum, near or far, is stepped back from."""
    good, optimum, covariance, top = linear("gradient")

    def value_and_gradient(x):
        value, gradient = good._value_and_gradient(x)
        if x[0] > optimum[0] + beyond:
            return (np.nan, gradient) if what == "value" else (value, np.full(4, np.nan))
        return value, gradient

    target = Target(Plain(4), lambda x: value_and_gradient(x)[0], value_and_gradient)
    rng = np.random.default_rng(4)
    start = optimum - np.array([1.0, 0.5, -0.5, 0.2])
    z, value = polished(target, start, 200, rng)
    assert Mode(optimum, top, covariance).distance_to(z) < 0.2
    assert value == pytest.approx(top, abs=0.05)


def test_start_that_cannot_be_evaluated():
    """All NaN: minus infinity, no exception."""
    nan = float("nan")
    for kind in KINDS:
        target = Target(
            Plain(2),
            lambda x: nan,
            (lambda x: (nan, np.full(2, nan))) if kind == "gradient" else None,
            (lambda x: np.full(5, nan)) if kind == "residuals" else None,
        )
        z, value = polished(target, np.ones(2), 20, np.random.default_rng(0))
        assert value == -np.inf
        assert np.all(np.isfinite(z))


def singular(dim=3, width=0.01):
    """A broad peak at 1, and near 0 a gradient that the values do not follow: no step is uphill."""

    def value_and_gradient(x):
        radius = np.sqrt(x @ x + 1e-16)
        gradient = -(x - 1.0) / 0.1**2
        if radius < width:
            gradient = -gradient - 1e4 * x / radius
        return -0.5 * np.sum((x - 1.0) ** 2) / 0.1**2, gradient

    return Target(Plain(dim), lambda x: value_and_gradient(x)[0], value_and_gradient)


@pytest.mark.parametrize("seed", range(2))
def test_cusp_is_left(seed):
    """A climb that begins on the spike ends on the peak, like that of a cuspy light profile."""
    target = singular()
    rng = np.random.default_rng(seed)
    z, value = polished(target, 1e-4 * rng.normal(size=3), 200, rng)
    assert value > -10.0
    np.testing.assert_allclose(z, 1.0 / (1.0 + 0.1**2), atol=0.02)


def test_stays_within_bounds():
    """A likelihood that rises for ever ends at eight prior sigmas, also from outside."""

    def value_and_gradient(x):
        return 50.0 * float(x.sum()), np.full(2, 50.0)

    for kind in KINDS:
        target = Target(
            Plain(2),
            lambda x: value_and_gradient(x)[0],
            value_and_gradient if kind == "gradient" else None,
        )
        if kind == "residuals":
            target = Target(
                Plain(2),
                lambda x: -0.5 * float(np.sum((x - 1e3) ** 2)),
                None,
                lambda x: x - 1e3,
            )
        for start in (np.zeros(2), np.array([20.0, 0.0])):
            z, _ = polished(target, start, 100, np.random.default_rng(0))
            np.testing.assert_allclose(z, 8.0, atol=1e-6)


def test_curvature_is_never_wider_than_the_prior():
    """A saddle of the likelihood gives the prior's width, not a negative one."""

    def value_and_gradient(x):
        return 3.0 * x[0] ** 2 - 50.0 * x[1] ** 2, np.array([6.0 * x[0], -100.0 * x[1]])

    target = Target(Plain(2), lambda x: value_and_gradient(x)[0], value_and_gradient)
    mode = mode_at(target, np.zeros(2), 0.0)
    np.testing.assert_allclose(mode.covariance, np.diag([1.0, 1.0 / 101.0]), atol=1e-6)


def spiked(height=4.0, width=2e-4, dim=5):
    """A Gaussian with a needle on its top, as a cuspy profile on a sub-pixel makes: the covariance
    below it, and the target."""
    rng = np.random.default_rng(3)
    root = 0.05 * (0.5 * np.tril(rng.normal(size=(dim, dim))) + 2.0 * np.eye(dim))
    covariance = root @ root.T
    precision = np.linalg.inv(covariance) - np.eye(dim)  # the prior does the rest

    def value_and_gradient(x):
        needle = height * np.exp(-0.5 * x @ x / width**2)
        return -0.5 * x @ precision @ x + needle, -precision @ x - needle * x / width**2

    return Target(Plain(dim), lambda x: value_and_gradient(x)[0], value_and_gradient), covariance


@pytest.mark.parametrize("factor", [1.0, 1e-4, 25.0])
def test_the_curvature_at_the_scale_of_the_posterior(factor):
    """Whatever the tip says, a needle is looked past; 30 per cent is what a start needs."""
    target, covariance = spiked()
    top = float(target.log_posterior(np.zeros((1, 5)))[0])
    mode = at_scale(target, Mode(np.zeros(5), top, factor * 0.01 * np.eye(5)))
    ratios = np.linalg.eigvals(np.linalg.solve(covariance, mode.covariance)).real
    assert np.all((ratios > 0.6) & (ratios < 1.5))
    assert target.n_likelihood < 60 * 5 and target.n_gradient == 3 * 2 * 5
    assert np.linalg.eigvalsh(mode.covariance).max() <= 1.0 + 1e-12


def test_no_wider_than_the_prior():
    flat = Target(Plain(3), lambda x: 0.0, lambda x: (0.0, np.zeros(3)))
    mode = at_scale(flat, Mode(np.zeros(3), 0.0, 1e-4 * np.eye(3)))
    np.testing.assert_allclose(mode.covariance, np.eye(3), atol=0.2)
