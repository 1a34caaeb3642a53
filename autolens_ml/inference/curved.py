"""Curved densities: posteriors that bend, which ellipsoids cover only wastefully.

A triangular map (Knothe-Rosenblatt; El Moselhy & Marzouk 2012, J. Comput. Phys. 231, 7815) of
second order takes the posterior to independent standard variables: along its principal axes, the
longest first, every coordinate is a Student-t whose location and log width are polynomials in
the coordinates before it. It is fitted in closed form but for the widths, and draws are as cheap
as densities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import gammaln

from autolens_ml.inference.importance import effective_sample_size
from autolens_ml.inference.mixture import weighted_moments

# Coordinates that bend others: of the shortest axes there is nothing to see.
_MAX_BENDING = 12
# Pseudo-count of samples by which every polynomial is drawn towards a constant.
_RIDGE = 80.0
# Polynomials are held constant beyond this many sigma: there are no samples to bend them.
_REACH = 4.0
_MAX_LOG_WIDTH = 2.0
_NEWTON_STEPS = 8
_LONGEST_NEWTON_STEP = 0.5
# Of a residual in units of its axis: samples on a line leave none.
_LEAST_VARIANCE = 1e-12
_DOF = 20.0
# Draws are spread this much wider than the samples, as those of the mixture beside it are.
_WIDENING = 1.05


class Density(Protocol):
    """What proposals are made of."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""


@dataclass(frozen=True)
class CurvedDensity:
    """Student-t variables behind a triangular map of second order.

    Parameters
    ----------
    mean
        Shape (D,).
    axes
        Columns are the principal axes divided by the standard deviations along them, the longest
        first, shape (D, D).
    location, log_width
        Coefficients of the polynomials, shape (n_terms, D): see ``_terms``.
    """

    mean: np.ndarray
    axes: np.ndarray
    location: np.ndarray
    log_width: np.ndarray

    @classmethod
    def fitted_to(cls, z: np.ndarray, weights: np.ndarray) -> CurvedDensity:
        """The density of weighted samples, shapes (n, D) and (n,)."""
        weights = weights / weights.sum()
        mean, covariance = weighted_moments(z, weights)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        axes = vectors / np.sqrt(np.maximum(values, max(values[0] * 1e-12, 1e-24)))
        y = (z - mean) @ axes
        terms = _terms(y)
        ridge = _RIDGE / effective_sample_size(np.log(np.maximum(weights, 1e-300)))
        location, log_width = np.zeros((2, terms.shape[1], len(mean)))
        for i in range(len(mean)):
            allowed = terms[:, : _n_terms(i)]
            location[: _n_terms(i), i] = _regression(allowed, y[:, i], weights, ridge)
            residual = y[:, i] - allowed @ location[: _n_terms(i), i]
            # Widths without cross terms: products of two coordinates overfit them.
            plain = _plain_terms(i)
            log_width[plain, i] = _log_width(terms[:, plain], residual, weights, ridge)
        return cls(mean, axes, location, log_width)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        dim = len(self.mean)
        noise = rng.standard_t(_DOF, size=(n, dim)) * _UNIT_SCALE
        y = np.zeros((n, dim))
        for i in range(dim):
            allowed = _terms(y[:, :i])
            k = allowed.shape[1]
            width = np.exp(self._clipped(allowed @ self.log_width[:k, i], i))
            y[:, i] = allowed @ self.location[:k, i] + width * noise[:, i]
        return self.mean + np.linalg.solve(self.axes.T, y.T).T

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""
        y = (z - self.mean) @ self.axes
        terms = _terms(y)
        log_width = self._clipped(terms @ self.log_width)
        t = (y - terms @ self.location) * np.exp(-log_width) / _UNIT_SCALE
        norm = gammaln(0.5 * (_DOF + 1.0)) - gammaln(0.5 * _DOF) - 0.5 * np.log(_DOF * np.pi)
        each = norm - np.log(_UNIT_SCALE) - log_width - 0.5 * (_DOF + 1.0) * np.log1p(t**2 / _DOF)
        return each.sum(axis=-1) + np.linalg.slogdet(self.axes)[1]

    def _clipped(self, log_width: np.ndarray, i: int | None = None) -> np.ndarray:
        """Widths at most a factor from the constant term: extrapolation must stay bounded."""
        constant = self.log_width[0] if i is None else self.log_width[0, i]
        return np.clip(log_width, constant - _MAX_LOG_WIDTH, constant + _MAX_LOG_WIDTH)


@dataclass(frozen=True)
class Blend:
    """A mixture of two densities.

    Parameters
    ----------
    first, second
        The densities.
    share
        Weight of the second.
    """

    first: Density
    second: Density
    share: float

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        from_second = rng.random(n) < self.share
        first, second = self.first.sample(n, rng), self.second.sample(n, rng)
        return np.where(from_second[:, None], second, first)

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""
        return np.logaddexp(
            np.log1p(-self.share) + self.first.log_pdf(z),
            np.log(self.share) + self.second.log_pdf(z),
        )


_UNIT_SCALE = _WIDENING * np.sqrt((_DOF - 2.0) / _DOF)


def _n_terms(i: int) -> int:
    """Terms of a polynomial of second order in the bending coordinates before the i-th."""
    k = min(i, _MAX_BENDING)
    return 1 + k + k * (k + 1) // 2


def _terms(y: np.ndarray) -> np.ndarray:
    """One, then for every bending coordinate itself and its products with those up to it.

    Ordered so that the terms of fewer coordinates come first; shape (n, n_terms).
    """
    y = np.clip(y[:, :_MAX_BENDING], -_REACH, _REACH)
    columns = [np.ones(len(y))]
    for a in range(y.shape[1]):
        columns.append(y[:, a])
        columns += [y[:, a] * y[:, b] - (a == b) for b in range(a + 1)]
    return np.stack(columns, axis=1)


def _plain_terms(i: int) -> np.ndarray:
    """Columns of one, and of every coordinate before the i-th and its square."""
    columns = [0]
    for a in range(min(i, _MAX_BENDING)):
        columns += [_n_terms(a), _n_terms(a + 1) - 1]
    return np.array(columns)


def _penalty(n_terms: int, ridge: float) -> np.ndarray:
    """The constant term is free."""
    return np.diag(np.concatenate([[0.0], np.full(n_terms - 1, ridge)]))


def _regression(terms: np.ndarray, y: np.ndarray, weights: np.ndarray, ridge: float) -> np.ndarray:
    weighted = terms * weights[:, None]
    return np.linalg.solve(weighted.T @ terms + _penalty(terms.shape[1], ridge), weighted.T @ y)


def _log_width(
    terms: np.ndarray, residual: np.ndarray, weights: np.ndarray, ridge: float
) -> np.ndarray:
    """Maximum likelihood of a Gaussian whose log width is a polynomial: Newton's method."""
    penalty = _penalty(terms.shape[1], ridge)
    coefficients = np.zeros(terms.shape[1])
    coefficients[0] = 0.5 * np.log(max(float(weights @ residual**2), _LEAST_VARIANCE))
    for _ in range(_NEWTON_STEPS):
        excess = residual**2 * np.exp(-2.0 * (terms @ coefficients))
        gradient = terms.T @ (weights * (1.0 - excess)) + penalty @ coefficients
        hessian = 2.0 * (terms * (weights * excess)[:, None]).T @ terms + penalty
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        longest = np.abs(step).max()
        coefficients = coefficients - step * min(1.0, _LONGEST_NEWTON_STEP / max(longest, 1e-300))
    # Whatever the polynomial, the residuals' overall width is right.
    excess = residual**2 * np.exp(-2.0 * (terms @ coefficients))
    coefficients[0] += 0.5 * np.log(max(float(weights @ excess), _LEAST_VARIANCE))
    return coefficients
