"""From a start to the mode it belongs to, and the curvature found there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, least_squares, minimize

from autolens_ml.inference.target import Target

# Beyond eight prior standard deviations Phi(z) leaves double precision.
BOUND = 8.0
_CURVATURE_STEP = 1e-4
_WALL = 0.1
_LINE_SEARCH_FAILED = 2
_KICK = 0.05
_MAX_KICKS = 2
# A direction is as long as a drop of four sigma in log posterior says: a spike is lower than that.
_DROP = 8.0
_LENGTHS = 12
_RESOLUTION = 1.8
_PASSES = 3
# How far curvatures in units of those lengths are believed.
_LEAST_CURVATURE, _MOST_CURVATURE = 0.03, 30.0


@dataclass(frozen=True)
class Mode:
    """A local maximum of the posterior.

    Parameters
    ----------
    z
        Its latents, shape (dim,).
    log_posterior
        ln L - |z|^2 / 2 there.
    covariance
        Inverse curvature, shape (dim, dim); positive definite and no wider than the prior.
    """

    z: np.ndarray
    log_posterior: float
    covariance: np.ndarray

    @property
    def log_evidence(self) -> float:
        """Laplace's approximation of the log evidence of this mode alone."""
        return self.log_posterior + 0.5 * np.linalg.slogdet(self.covariance)[1]

    def distance_to(self, z: np.ndarray) -> float:
        """Mahalanobis distance to latents of shape (dim,)."""
        step = z - self.z
        return float(np.sqrt(step @ np.linalg.solve(self.covariance, step)))


def polished(
    target: Target,
    z: np.ndarray,
    n_iterations: int,
    rng: np.random.Generator,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, float]:
    """Climb from ``z``, shape (dim,), for at most ``n_iterations``.

    Least squares on the residuals where the likelihood has no exact gradient but residuals (it
    needs dim + 1 likelihoods an iteration), L-BFGS otherwise.

    Parameters
    ----------
    target
        The posterior.
    z
        The start, shape (dim,).
    n_iterations
        Iterations at most.
    rng
        For the steps away from singular points.
    tolerance
        A step that gains less than this in the log posterior is the last.

    Returns
    -------
    z, log_posterior
        The best point seen, never worse than the start.
    """
    z = np.clip(z, -BOUND, BOUND)
    if target.has_residuals and not target.has_gradient:
        return _by_least_squares(target, z, n_iterations)
    return _by_lbfgs(target, z, n_iterations, rng, tolerance)


def mode_at(target: Target, z: np.ndarray, log_posterior: float) -> Mode:
    """The mode at ``z`` with its curvature by central differences of the gradient."""
    if target.has_residuals and not target.has_gradient:
        jacobian = least_squares(target.residuals, z, max_nfev=1).jac
        hessian = jacobian.T @ jacobian
    else:
        rows = []
        for axis in np.eye(target.dim):
            up = target.log_posterior_and_gradient(z + _CURVATURE_STEP * axis)[1]
            down = target.log_posterior_and_gradient(z - _CURVATURE_STEP * axis)[1]
            rows.append((down - up) / (2.0 * _CURVATURE_STEP))
        hessian = 0.5 * (np.array(rows) + np.array(rows).T)
    values, vectors = np.linalg.eigh(hessian)
    # The prior alone has curvature one; kinks and saddles must not make a start wider than it.
    return Mode(z, log_posterior, (vectors / np.maximum(values, 1.0)) @ vectors.T)


def at_scale(target: Target, mode: Mode) -> Mode:
    """The same mode with the curvature that the posterior has on its own scale.

    A cuspy profile centred on a sub-pixel is a spike, and the curvature at its tip says nothing of
    the posterior below. Here every principal direction is first given the length at which the
    posterior has dropped, and curvatures are those of gradients at such distances. Needs an exact
    gradient.
    """
    values, vectors = np.linalg.eigh(mode.covariance)
    steps = vectors * [
        _length(target, mode, vector, np.sqrt(value))
        for value, vector in zip(values, vectors.T, strict=True)
    ]
    for _ in range(_PASSES):
        rows = []
        for step in steps.T:
            up = target.log_posterior_and_gradient(mode.z + step)[1]
            down = target.log_posterior_and_gradient(mode.z - step)[1]
            rows.append(0.5 * (down - up) @ steps)
        curvatures, rotation = np.linalg.eigh(0.5 * (np.array(rows) + np.array(rows).T))
        believed = np.clip(curvatures, _LEAST_CURVATURE, _MOST_CURVATURE)
        steps, lengths, _ = np.linalg.svd(steps @ rotation / np.sqrt(believed))
        steps = steps * np.minimum(lengths, 1.0)  # no wider than the prior
    return Mode(mode.z, mode.log_posterior, steps @ steps.T)


def _length(target: Target, mode: Mode, direction: np.ndarray, guess: float) -> float:
    """One sigma along a direction, as the distance of a drop of `_DROP` on both sides says."""
    sigmas = np.sqrt(2.0 * _DROP)
    reached = []
    for side in (direction, -direction):
        inside, outside, x = 0.0, np.inf, guess * sigmas
        for _ in range(_LENGTHS):
            drop = mode.log_posterior - target.log_posterior((mode.z + x * side)[None])[0]
            inside, outside = (x, outside) if drop < _DROP else (inside, x)
            if outside < _RESOLUTION * inside or x > sigmas:  # the prior alone drops by then
                break
            if inside == 0.0:
                x = outside / 3.0
            else:
                x = 3.0 * inside if np.isinf(outside) else np.sqrt(inside * outside)
        inner = inside if inside > 0.0 else outside / 3.0
        reached.append(np.sqrt(inner * min(outside, 3.0 * inner)))
    return float(min(np.sqrt(reached[0] * reached[1]) / sigmas, 1.0))


def _by_lbfgs(
    target: Target,
    z: np.ndarray,
    n_iterations: int,
    rng: np.random.Generator,
    tolerance: float,
) -> tuple[np.ndarray, float]:
    best = [z, -np.inf]

    def negative(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = target.log_posterior_and_gradient(point)
        if not np.isfinite(value):
            # A wall that rises from the best point: a line search steps back from it at once,
            # and a constant would make its interpolation collapse.
            step = point - best[0]
            height = _WALL * max(abs(best[1]), 10.0) if np.isfinite(best[1]) else _WALL
            base = -best[1] if np.isfinite(best[1]) else 0.0
            return base + height * (1.0 + step @ step), 2.0 * height * step
        if value > best[1]:
            best[:] = [point.copy(), value]
        return -value, -gradient

    for _ in range(_MAX_KICKS + 1):
        fit = minimize(
            negative,
            z,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-BOUND, BOUND)] * target.dim,
            callback=_Stop(tolerance),
            options={"maxiter": n_iterations, "maxcor": 20, "ftol": 0.0, "gtol": 1e-4},
        )
        n_iterations -= fit.nit
        if fit.status != _LINE_SEARCH_FAILED or n_iterations <= 0:
            break
        # A cuspy profile centred on a sub-pixel is a spike no line search leaves: step off it.
        z = np.clip(best[0] + _KICK * rng.standard_normal(target.dim), -BOUND, BOUND)
    if not np.isfinite(best[1]):  # no usable gradient at the start
        return best[0], float(target.log_posterior(best[0][None])[0])
    return best[0], float(best[1])


class _Stop:
    """Ends a climb after two steps in a row that gain less than a tolerance."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._value = np.inf
        self._n_small = 0

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        gain = self._value - intermediate_result.fun
        self._value = intermediate_result.fun
        self._n_small = self._n_small + 1 if gain < self._tolerance else 0
        if self._n_small >= 2:
            raise StopIteration


def _by_least_squares(target: Target, z: np.ndarray, n_iterations: int) -> tuple[np.ndarray, float]:
    start = float(target.log_posterior(z[None])[0])
    if not np.isfinite(start):
        return z, start
    fit = least_squares(
        target.residuals,
        z,
        bounds=(-BOUND - 1e-9, BOUND + 1e-9),
        x_scale="jac",
        max_nfev=n_iterations,
    )
    value = float(target.log_posterior(fit.x[None])[0])
    return (fit.x, value) if value > start else (z, start)
