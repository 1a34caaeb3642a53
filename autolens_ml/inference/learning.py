"""From weighted samples to the next proposal."""

from __future__ import annotations

import numpy as np

from autolens_ml.inference.importance import effective_sample_size
from autolens_ml.inference.mixture import (
    StudentMixture,
    started_from,
    weighted_moments,
)
from autolens_ml.inference.polish import Mode

# Degrees of freedom tried: heavy tails cost dearly in many dimensions (at D = 17 a mixture with
# 6 needs twice the draws of one with 100 on a near-Gaussian posterior), so they must be earned.
_DOFS = (4.0, 15.0, 100.0)
_MAX_COMPONENTS = 12
_EM_STEPS = 30
_DEFENSIVE_SHARE = 0.1
_DEFENSIVE_WIDTH = 2.0
_DEFENSIVE_DOF = 4.0
# Modes whose Laplace evidence is this much below the best are noise to the posterior.
_NEGLIGIBLE = 12.0
# Laplace's evidence is rough, so no mode that is kept gets less than this share of the draws.
_LEAST_SHARE = 0.1


def proposal_from_modes(modes: list[Mode]) -> StudentMixture:
    """Student-t densities on every mode that matters, weighted by Laplace's evidences.

    Three widths a mode: the curvature at the peak is only the first guess of the width.
    """
    log_evidence = np.array([mode.log_evidence for mode in modes])
    relative = log_evidence - log_evidence.max()
    kept = [i for i, r in enumerate(relative) if r > -_NEGLIGIBLE]
    shares = np.maximum(np.exp(relative[kept]), _LEAST_SHARE)
    parts, weights = [], []
    for i, share in zip(kept, shares, strict=True):
        for width, weight, dof in ((1.2, 0.6, 15.0), (2.5, 0.3, 8.0), (8.0, 0.1, 4.0)):
            covariance = width * modes[i].covariance
            parts.append(StudentMixture.single(modes[i].z, covariance, dof))
            weights.append(share * weight)
    return StudentMixture.joined(parts, np.array(weights))


def tempered(log_weights: np.ndarray, least_ess: float) -> np.ndarray:
    """Log weights raised to the largest power at most one that leaves ``least_ess``.

    Only to learn from weights that are still dominated by a few: never for a result.
    """
    if effective_sample_size(log_weights) >= least_ess:
        return log_weights
    low, high = 0.0, 1.0
    finite = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    for _ in range(30):
        middle = 0.5 * (low + high)
        if effective_sample_size(middle * finite) >= least_ess:
            low = middle
        else:
            high = middle
    return low * finite if low > 0.0 else 1e-9 * finite


def learned_from(
    z: np.ndarray,
    log_weights: np.ndarray,
    current: StudentMixture,
    rng: np.random.Generator,
) -> tuple[StudentMixture, StudentMixture]:
    """The mixture that explains weighted samples best, and the proposal made of it.

    Number of components and degrees of freedom are chosen by the log density of held-out
    samples, the cross entropy that importance sampling wants small. The current mixture is a
    candidate start, so separated modes once found are not lost.

    Parameters
    ----------
    z
        Samples, shape (n, D).
    log_weights
        Their log importance weights, shape (n,).
    current
        The mixture learned last.
    rng
        For the split and the starts of EM.

    Returns
    -------
    mixture, proposal
        The mixture itself, and the proposal: slightly wider, with defensive components.
    """
    dim = z.shape[1]
    log_weights = tempered(log_weights, min(12.0 * dim, 0.25 * len(z)))
    weights = np.exp(log_weights - log_weights.max())
    used = weights > 1e-6
    z, weights = z[used], weights[used] / weights[used].sum()
    ess = effective_sample_size(np.log(weights))
    shrinkage = 2.0 * dim
    fit = rng.random(len(z)) < 0.7
    if fit.all() or not fit.any() or weights[~fit].sum() <= 0.0 or weights[fit].sum() <= 0.0:
        fit = np.arange(len(z)) % 2 == 0

    def score(mixture: StudentMixture) -> float:
        held_out = weights[~fit] / weights[~fit].sum()
        return float(held_out @ with_defence(mixture, z, weights).log_pdf(z[~fit]))

    def trained(start: StudentMixture) -> tuple[float, StudentMixture]:
        mixture = start.fitted_to(z[fit], weights[fit], _EM_STEPS, shrinkage)
        return score(mixture), mixture

    candidates = [
        trained(started_from(z[fit], weights[fit], 1, dof, rng)) for dof in _DOFS
    ]
    dof = float(max(candidates, key=lambda c: c[0])[1].dofs[0])
    candidates.append(trained(_with_dof(current, dof)))
    largest = int(np.clip(ess / (5.0 * dim), 1, _MAX_COMPONENTS))
    size = 2
    while size <= largest:
        candidates.append(trained(started_from(z[fit], weights[fit], size, dof, rng)))
        size *= 2
    best = max(candidates, key=lambda c: c[0])[1]
    best = best.fitted_to(z, weights, _EM_STEPS, shrinkage)
    return best, with_defence(best.widened(1.1), z, weights)


def with_defence(mixture: StudentMixture, z: np.ndarray, weights: np.ndarray) -> StudentMixture:
    """The mixture with a share of its draws from every component made wide and heavy-tailed."""
    wide = StudentMixture(
        mixture.weights,
        mixture.means,
        mixture.factors * np.sqrt(_DEFENSIVE_WIDTH),
        np.full(mixture.size, _DEFENSIVE_DOF),
    )
    mean, covariance = weighted_moments(z, weights)
    overall = StudentMixture.single(
        mean, _DEFENSIVE_WIDTH * covariance + 1e-12 * np.eye(len(mean)), _DEFENSIVE_DOF
    )
    half = 0.5 * _DEFENSIVE_SHARE
    return StudentMixture.joined(
        [mixture, wide, overall], np.array([1.0 - _DEFENSIVE_SHARE, half, half])
    )


def _with_dof(mixture: StudentMixture, dof: float) -> StudentMixture:
    return StudentMixture(
        mixture.weights, mixture.means, mixture.factors, np.full(mixture.size, dof)
    )
