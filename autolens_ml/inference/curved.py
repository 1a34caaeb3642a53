"""Curved densities: posteriors that bend, which ellipsoids cover only wastefully.

A triangular map (Knothe-Rosenblatt; El Moselhy & Marzouk 2012, J. Comput. Phys. 231, 7815) of
second order takes the posterior to independent standard variables: along its principal axes, the
longest first, every coordinate is noise of its own shape, moved and stretched by polynomials in
the coordinates before it. Draws are as cheap as densities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student_t

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
# The noise: so many Gaussians, every one a little widened, and a broad Student-t for the tails.
_N_GAUSSIANS = 3
_WIDENING = 1.05
_BROAD_SHARE, _BROAD_WIDTH, _BROAD_DOF = 0.06, 1.6, 8.0
_BROAD_NORM = student_t.pdf(0.0, _BROAD_DOF)
_EM_STEPS = 20
# Pseudo-count of samples by which the width of a Gaussian is drawn towards that of the whole.
_WIDTH_SAMPLES = 10.0


class Density(Protocol):
    """What proposals are made of."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""


@dataclass(frozen=True)
class Noise:
    """Independent variables, each a mixture of Gaussians and of one broad Student-t.

    Parameters
    ----------
    shares, means, widths
        Of the components of every variable, shape (D, K): the last one is the Student-t.
    """

    shares: np.ndarray
    means: np.ndarray
    widths: np.ndarray

    @classmethod
    def fitted_to(cls, x: np.ndarray, weights: np.ndarray) -> Noise:
        """The noise of weighted samples, shapes (n, D) and (n,), by expectation maximisation."""
        mean = weights @ x
        width = np.sqrt(np.maximum(weights @ (x - mean) ** 2, _LEAST_VARIANCE))
        y = ((x - mean) / width).T
        count = _WIDTH_SAMPLES / effective_sample_size(np.log(np.maximum(weights, 1e-300)))
        # Components first, samples last: (K, D, 1) beside (D, n).
        quantiles = ndtri((np.arange(_N_GAUSSIANS) + 0.5) / _N_GAUSSIANS)
        shares = np.full((_N_GAUSSIANS, len(y), 1), 1.0 / _N_GAUSSIANS)
        means, widths = quantiles[:, None, None] + np.zeros_like(shares), 0.7 * np.ones_like(shares)
        for _ in range(_EM_STEPS):
            of_each = shares / widths * np.exp(-0.5 * ((y - means) / widths) ** 2)
            of_each *= weights / np.maximum(of_each.sum(axis=0), _LEAST_VARIANCE)
            mass = of_each.sum(axis=-1, keepdims=True)
            means = (of_each * y).sum(axis=-1, keepdims=True) / np.maximum(mass, _LEAST_VARIANCE)
            variances = (of_each * (y - means) ** 2).sum(axis=-1, keepdims=True)
            widths = np.sqrt((variances + 0.5 * count) / (mass + count))
            shares = (mass + 0.1 * count) / (mass + 0.1 * count).sum(axis=0)
        shares, means, widths = shares[..., 0].T, means[..., 0].T, widths[..., 0].T
        column = np.ones((x.shape[1], 1))
        return cls(
            np.hstack([(1.0 - _BROAD_SHARE) * shares, _BROAD_SHARE * column]),
            mean[:, None] + width[:, None] * np.hstack([means, 0.0 * column]),
            width[:, None] * np.hstack([_WIDENING * widths, _BROAD_WIDTH * column]),
        )

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        u = rng.random((n, len(self.shares)))
        chosen = (u[:, :, None] > np.cumsum(self.shares, axis=-1)[:, :-1]).sum(axis=-1)
        noise = np.where(
            chosen == _N_GAUSSIANS,
            rng.standard_t(_BROAD_DOF, size=u.shape),
            rng.standard_normal(u.shape),
        )
        variable = np.arange(len(self.shares))
        return self.means[variable, chosen] + self.widths[variable, chosen] * noise

    def log_pdf(self, x: np.ndarray) -> np.ndarray:
        """Log density of every variable, shape (n, D)."""
        *gaussians, broad = zip(self.shares.T, self.means.T, self.widths.T, strict=True)
        # The tails of the Student-t leave nothing of this that underflows.
        share, mean, width = broad
        t = (x - mean) / width
        pdf = share / width * _BROAD_NORM * (1.0 + t**2 / _BROAD_DOF) ** (-0.5 * (_BROAD_DOF + 1.0))
        for share, mean, width in gaussians:
            t = (x - mean) / width
            pdf += share / width * np.exp(-0.5 * t**2) / np.sqrt(2.0 * np.pi)
        return np.log(pdf)


@dataclass(frozen=True)
class CurvedDensity:
    """Noise behind a triangular map of second order.

    Parameters
    ----------
    mean
        Shape (D,).
    axes
        Columns are the principal axes divided by the standard deviations along them, the longest
        first, shape (D, D).
    location, log_width
        Coefficients of the polynomials, shape (n_terms, D): see ``_terms``.
    noise
        What is left when a coordinate is moved to its location and divided by its width.
    """

    mean: np.ndarray
    axes: np.ndarray
    location: np.ndarray
    log_width: np.ndarray
    noise: Noise

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
        noise = (y - terms @ location) * np.exp(-_clipped(terms @ log_width, log_width[0]))
        return cls(mean, axes, location, log_width, Noise.fitted_to(noise, weights))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        noise = self.noise.sample(n, rng)
        y = np.zeros_like(noise)
        bending = np.zeros((n, min(y.shape[1], _MAX_BENDING)))
        terms = np.ones((_n_terms(y.shape[1]), n))
        for i in range(y.shape[1]):
            k = _n_terms(i)
            log_width = _clipped(terms[:k].T @ self.log_width[:k, i], self.log_width[0, i])
            y[:, i] = terms[:k].T @ self.location[:k, i] + np.exp(log_width) * noise[:, i]
            if i < _MAX_BENDING:
                bending[:, i] = _clipped_to_reach(y[:, i])
                _add_terms(terms, bending, i)
        return self.mean + np.linalg.solve(self.axes.T, y.T).T

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""
        noise, log_widths = self.straightened(z)
        each = self.noise.log_pdf(noise) - log_widths
        return each.sum(axis=-1) + np.linalg.slogdet(self.axes)[1]

    def straightened(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in which the density does not bend, and the logs of their widths.

        Both of shape (n, D).
        """
        y = (z - self.mean) @ self.axes
        terms = _terms(y)
        log_widths = _clipped(terms @ self.log_width, self.log_width[0])
        return (y - terms @ self.location) * np.exp(-log_widths), log_widths


def _clipped(log_width: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Widths at most a factor from the constant term: extrapolation must stay bounded."""
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


def _n_terms(i: int) -> int:
    """Terms of a polynomial of second order in the bending coordinates before the i-th."""
    k = min(i, _MAX_BENDING)
    return 1 + k + k * (k + 1) // 2


def _terms(y: np.ndarray) -> np.ndarray:
    """One, then for every bending coordinate itself and its products with those up to it.

    Ordered so that the terms of fewer coordinates come first; shape (n, n_terms).
    """
    y = _clipped_to_reach(y[:, :_MAX_BENDING])
    terms = np.ones((_n_terms(y.shape[1]), len(y)))
    for a in range(y.shape[1]):
        _add_terms(terms, y, a)
    return terms.T


def _add_terms(terms: np.ndarray, y: np.ndarray, a: int) -> None:
    """Fill in the rows of ``terms``, shape (n_terms, n), that the a-th coordinate adds."""
    first = _n_terms(a)
    terms[first] = y[:, a]
    for b in range(a + 1):
        np.multiply(y[:, a], y[:, b], out=terms[first + 1 + b])
    terms[first + 1 + a] -= 1.0


def _clipped_to_reach(y: np.ndarray) -> np.ndarray:
    return np.clip(y, -_REACH, _REACH)


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
