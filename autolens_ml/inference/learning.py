"""From weighted samples to the next proposal."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from autolens_ml.inference.curved import Blend, CurvedDensity, Density
from autolens_ml.inference.importance import effective_sample_size
from autolens_ml.inference.mixture import (
    StudentMixture,
    cholesky_of,
    started_from,
    weighted_moments,
)
from autolens_ml.inference.polish import Mode

# Degrees of freedom tried: heavy tails cost dearly in many dimensions (at D = 17 a mixture with
# 6 needs twice the draws of one with 100 on a near-Gaussian posterior), so they must be earned.
_DOFS = (4.0, 15.0, 100.0)
# Samples say little of the tails they do not reach: lighter ones need this much in log density.
_TAIL_INSURANCE = 0.05
# Weights are tempered to so many effective samples per dimension, or to this share of all.
_TAUGHT_ESS, _TAUGHT_SHARE = 12.0, 0.25
_MAX_COMPONENTS = 12
_EM_STEPS = 30
# How the draws of a proposal are shared out.
_CORE_SHARE = 0.6
_WHOLE_SHARE = 0.15  # one density with the moments of all samples: it cannot overfit
_WIDE_SHARE = 0.15  # every component made wide and heavy-tailed
_BLOCK_SHARE = 0.1  # one block of parameters from the prior, the rest as in the whole
_WHOLE_DOF = 30.0
# What a curved density may take of the draws: the rest stays, to bound the weights.
_CURVED_SHARES = (0.25, 0.5)
# Effective samples per dimension below which curvature is noise.
_CURVED_ESS = 8.0
# Beside a curved density one that bends as it does and is wider: that of the posterior to this
# power. What is wide around an ellipsoid misses the ends of a banana.
_FLAT_POWER, _FLAT_SHARE = 0.3, 0.15
# Its share where draws are to be thinned: then width costs next to nothing.
_FLAT_SHARE_THINNED = 0.4
_WIDE_DOF = 4.0
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


def clipped(log_weights: np.ndarray) -> np.ndarray:
    """Log weights with the largest cut to sqrt(n) times the mean (Ionides 2008).

    Only to learn from: single weights that dominate would make components of their own.
    """
    n = len(log_weights)
    return np.minimum(log_weights, logsumexp(log_weights) - 0.5 * np.log(n))


def tamed(log_weights: np.ndarray, dim: int) -> np.ndarray:
    """Log weights of which enough matter to learn a shape in ``dim`` dimensions."""
    least_ess = min(_TAUGHT_ESS * dim, _TAUGHT_SHARE * len(log_weights))
    return tempered(clipped(log_weights), least_ess)


def learned_from(
    z: np.ndarray,
    log_weights: np.ndarray,
    log_posterior: np.ndarray,
    current: StudentMixture,
    blocks: list[np.ndarray],
    rng: np.random.Generator,
) -> tuple[StudentMixture, Density]:
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
    log_posterior
        Their log densities, without norm, shape (n,).
    current
        The mixture learned last.
    blocks
        Indices of parameters that belong together, see ``latent.blocks_of``.
    rng
        For the split and the starts of EM.

    Returns
    -------
    mixture, proposal
        The mixture itself, and the proposal made of it by ``defended``, blended with curved
        densities of the samples where held-out samples ask for one.
    """
    dim = z.shape[1]
    samples = z, log_weights, log_posterior
    log_weights = tamed(log_weights, dim)
    weights = np.exp(log_weights - log_weights.max())
    used = weights > 1e-6
    z, weights = z[used], weights[used] / weights[used].sum()
    ess = effective_sample_size(np.log(weights))
    shrinkage = 2.0 * dim
    fit = _split(weights, rng)

    held_out = weights[~fit] / weights[~fit].sum()

    def trained(start: StudentMixture) -> tuple[float, StudentMixture]:
        mixture = start.fitted_to(z[fit], weights[fit], _EM_STEPS, shrinkage)
        proposal = defended(mixture, z[fit], weights[fit], blocks)
        return float(held_out @ proposal.log_pdf(z[~fit])), mixture

    candidates = [trained(started_from(z[fit], weights[fit], 1, dof, rng)) for dof in _DOFS]
    enough = max(score for score, _ in candidates) - _TAIL_INSURANCE
    dof = min(float(mixture.dofs[0]) for score, mixture in candidates if score >= enough)
    candidates.append(trained(current.with_dof(dof)))
    largest = int(np.clip(ess / (5.0 * dim), 1, _MAX_COMPONENTS))
    size = 2
    while size <= largest:
        candidates.append(trained(started_from(z[fit], weights[fit], size, dof, rng)))
        size *= 2
    score, mixture = max(candidates, key=lambda c: c[0])
    best = mixture.fitted_to(z, weights, _EM_STEPS, shrinkage)
    final = defended(best, z, weights, blocks)
    if ess < _CURVED_ESS * dim:
        return best, final
    curved = CurvedDensity.fitted_to(z[fit], weights[fit])
    blends = {
        share: float(
            held_out @ _bent(mixture, curved, share, z[fit], weights[fit], blocks).log_pdf(z[~fit])
        )
        for share in _CURVED_SHARES
    }
    share = max(blends, key=blends.__getitem__)
    if blends[share] <= score:
        return best, final
    bent = _bent(best, CurvedDensity.fitted_to(z, weights), share, z, weights, blocks)
    return best, Blend(bent, _flat(*samples), _FLAT_SHARE)


def widened(
    proposal: Density, z: np.ndarray, log_weights: np.ndarray, log_posterior: np.ndarray
) -> Blend:
    """A proposal that also reaches where the posterior is low, for draws that cost nothing.

    Parameters
    ----------
    proposal
        What ``learned_from`` makes of the samples.
    z, log_weights, log_posterior
        The samples, as there.
    """
    return Blend(proposal, _flat(z, log_weights, log_posterior), _FLAT_SHARE_THINNED)


def _flat(z: np.ndarray, log_weights: np.ndarray, log_posterior: np.ndarray) -> CurvedDensity:
    """The curved density of the posterior to a small power."""
    allowed = np.isfinite(log_posterior)
    log_weights = log_weights[allowed] - (1.0 - _FLAT_POWER) * log_posterior[allowed]
    weights = np.exp(clipped(log_weights) - np.max(log_weights, initial=-np.inf))
    return CurvedDensity.fitted_to(z[allowed], weights)


def _bent(
    mixture: StudentMixture,
    curved: CurvedDensity,
    share: float,
    z: np.ndarray,
    weights: np.ndarray,
    blocks: list[np.ndarray],
) -> Blend:
    """A defended proposal with a share of its draws from a curved density, core before others."""
    rest = defended(mixture, z, weights, blocks, (1.0 - share) * _CORE_SHARE)
    return Blend(rest, curved, share)


def defended(
    mixture: StudentMixture,
    z: np.ndarray,
    weights: np.ndarray,
    blocks: list[np.ndarray],
    core_share: float = _CORE_SHARE,
) -> StudentMixture:
    """A proposal that bounds the weights where ``mixture`` is too thin.

    Beside the mixture, slightly widened: one density with the moments of all samples; every
    component wide and heavy-tailed; and densities in which one block of parameters is drawn from
    the prior, because a component that fades to nothing leaves its other parameters free.
    """
    weights = weights / weights.sum()
    mean, covariance = weighted_moments(z, weights)
    covariance = covariance + 1e-14 * np.eye(len(mean))
    whole = StudentMixture.single(mean, 1.1 * covariance, _WHOLE_DOF)
    wide = mixture.widened(2.0).with_dof(_WIDE_DOF)
    parts = [mixture.widened(1.1), whole, wide]
    shares = [core_share, _WHOLE_SHARE, _WIDE_SHARE]
    if blocks:
        freed = [
            _freed(mean, covariance, block, follows)
            for block in blocks
            for follows in (False, True)
        ]
        log_pdf = np.stack([part.log_pdf(z) for part in freed], axis=-1)
        others = StudentMixture.joined(parts, np.array(shares)).log_pdf(z)
        parts += freed
        shares += list(_BLOCK_SHARE * _earned(log_pdf, others, weights))
    return StudentMixture.joined(parts, np.array(shares))


def _freed(
    mean: np.ndarray, covariance: np.ndarray, block: np.ndarray, follows: bool
) -> StudentMixture:
    """The whole with one block as wide as the prior, which the rest follows or not."""
    rest = np.setdiff1d(np.arange(len(mean)), block)
    of_block, of_both = covariance[np.ix_(block, block)], covariance[np.ix_(rest, block)]
    slope = np.linalg.solve(of_block, of_both.T).T if follows else np.zeros_like(of_both)
    mean, covariance = mean.copy(), covariance.copy()
    mean[rest] -= slope @ mean[block]
    mean[block] = 0.0
    covariance[np.ix_(rest, rest)] += slope @ (np.eye(len(block)) - of_block) @ slope.T
    covariance[np.ix_(rest, block)] = slope
    covariance[np.ix_(block, rest)] = slope.T
    covariance[np.ix_(block, block)] = np.eye(len(block))
    # Steep slopes leave little of the digits of what is narrow.
    factor = cholesky_of(covariance)
    return StudentMixture(np.ones(1), mean[None], factor[None], np.array([_WHOLE_DOF]))


def _earned(log_pdf: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shares of the block densities: half evenly, half by what each explains of the samples."""
    size = log_pdf.shape[1]
    even = np.full(size, 1.0 / size)
    log_all = np.column_stack([log_pdf + np.log(_BLOCK_SHARE / size), others])
    rho = np.exp(log_pdf + np.log(_BLOCK_SHARE / size) - logsumexp(log_all, axis=1)[:, None])
    explained = weights @ rho
    total = explained.sum()
    return 0.5 * even + 0.5 * (explained / total if total > 0.0 else even)


def _split(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which samples to fit on; the rest, never without weight, judges the fit."""
    fit = rng.random(len(weights)) < 0.7
    if min(weights[fit].sum(), weights[~fit].sum()) > 0.0:
        return fit
    return np.arange(len(weights)) % 2 == 0
