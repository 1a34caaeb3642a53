"""The Gaussian that fits the surroundings of a mode, from gradients at its own draws.

The curvature at a mode is that of its tip. Where a posterior is skewed its bulk lies elsewhere and
is wider, and where a likelihood is rough the highest point a climb finds is one of many spikes.
Gradients at draws of a Gaussian see past both.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import sqrtm

from autolens_ml.inference.polish import Mode
from autolens_ml.inference.target import Target

_DRAWS_PER_DIMENSION = 2
# It ends when so many iterations in a row gained less than this in the evidence lower bound.
_IDLE_ITERATIONS, _SMALL_GAIN = 4, 0.5
# Relative variances below this are rounding errors; the prior is no wider than one.
_LEAST_VARIANCE, _MOST_VARIANCE = 1e-14, 1.0


def matched(target: Target, mode: Mode, n_gradients: int, rng: np.random.Generator) -> Mode:
    """The Gaussian whose scores match the posterior's: "batch and match".

    Cai, Modi, Pillaud-Vivien, Margossian, Gower, Blei & Saul (2024), arXiv:2402.14758, with steps
    of batch size over iteration.

    Parameters
    ----------
    target
        The posterior; it has exact gradients.
    mode
        Where to start.
    n_gradients
        Gradients at most; the mode is returned as it is where they make no iteration.
    rng
        For the draws.

    Returns
    -------
    Mode
        Mean and covariance of the Gaussian, with the log posterior at which Laplace's evidence is
        the evidence lower bound.
    """
    n = _DRAWS_PER_DIMENSION * target.dim
    mean, covariance, peak = mode.z, mode.covariance, mode.log_posterior
    best, n_idle = -np.inf, 0
    for iteration in range(n_gradients // n):
        noise = rng.standard_normal((n, target.dim))
        z = mean + noise @ np.linalg.cholesky(covariance).T
        values, scores = map(np.array, zip(*map(target.log_posterior_and_gradient, z), strict=True))
        usable = np.isfinite(values)
        if usable.sum() <= target.dim:  # mostly outside of what can be evaluated
            break
        # Draws of a Gaussian are dim / 2 below its peak on average.
        peak = float(np.median(values[usable])) + 0.5 * target.dim
        bound = peak + 0.5 * np.linalg.slogdet(covariance)[1]
        n_idle = n_idle + 1 if bound < best + _SMALL_GAIN else 0
        best = max(best, bound)
        if n_idle == _IDLE_ITERATIONS:
            break
        step = n / (iteration + 1.0)
        mean, covariance = _next(mean, covariance, z[usable], scores[usable], step)
    return Mode(mean, peak, covariance)


def _next(
    mean: np.ndarray, covariance: np.ndarray, z: np.ndarray, scores: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance whose scores match those at draws, near the ones they are drawn from."""
    dim, share = len(mean), step / (1.0 + step)
    z_mean, score_mean = z.mean(axis=0), scores.mean(axis=0)
    u = step * np.cov(scores.T, bias=True) + share * np.outer(score_mean, score_mean)
    v = covariance + step * np.cov(z.T, bias=True)
    v = v + share * np.outer(mean - z_mean, mean - z_mean)
    root = np.real(sqrtm(np.eye(dim) + 4.0 * u @ v))
    covariance = 2.0 * v @ np.linalg.inv(np.eye(dim) + root)
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    values = np.clip(values, _LEAST_VARIANCE, _MOST_VARIANCE)
    covariance = (vectors * values) @ vectors.T
    return (1.0 - share) * mean + share * (covariance @ score_mean + z_mean), covariance
