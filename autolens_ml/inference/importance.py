"""What importance weights say: evidence, effective sample size and whether to trust them.

Log weights are ln w_i = ln L(z_i) + ln N(z_i; 0, I) - ln q(z_i) for draws z_i of the proposal q.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from scipy.special import logsumexp, softmax

MIN_TAIL = 5


class Status(StrEnum):
    """How far a result may be trusted."""

    CONVERGED = "CONVERGED"
    MARGINAL = "MARGINAL"
    FAILED = "FAILED"


def effective_sample_size(log_weights: np.ndarray) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2, between 0 and n."""
    peak = np.max(log_weights, initial=-np.inf)
    if not np.isfinite(peak):
        return 0.0
    w = np.exp(log_weights - peak)
    return float(w.sum() ** 2 / np.sum(w**2))


def log_evidence_from(log_weights: np.ndarray) -> tuple[float, float]:
    """The log evidence ln(mean w) and its standard error sqrt(1/ESS - 1/n).

    Returns
    -------
    value, error
        ``-inf`` and ``inf`` where no weight is positive.
    """
    n = len(log_weights)
    ess = effective_sample_size(log_weights)
    if ess == 0.0:
        return -np.inf, np.inf
    value = float(logsumexp(log_weights) - np.log(n))
    return value, float(np.sqrt(max(1.0 / ess - 1.0 / n, 0.0)))


def pareto_k(log_weights: np.ndarray) -> float:
    """The shape of the generalised Pareto tail of the weights (Vehtari et al. 2024, JMLR 25, 72).

    The largest min(n/5, 3 sqrt(n)) weights are fitted by the profile posterior of Zhang &
    Stephens (2009, Technometrics 51, 316) with the weak prior k = 0.5 worth ten samples.

    Returns
    -------
    float
        k-hat: below 0.5 the weights have finite variance, above 0.7 their mean cannot be
        trusted at any affordable n. ``inf`` where too few weights are positive to tell.
    """
    n = len(log_weights)
    n_tail = int(np.ceil(min(0.2 * n, 3.0 * np.sqrt(n))))
    finite = np.sort(log_weights[np.isfinite(log_weights)])
    if n_tail < MIN_TAIL or len(finite) <= n_tail:
        return np.inf
    shifted = np.exp(finite - finite[-1])
    excess = shifted[-n_tail:] - shifted[-n_tail - 1]
    if excess[-1] <= np.finfo(float).eps:  # equal weights: no tail
        return -np.inf
    excess = np.maximum(excess, np.finfo(float).tiny)
    return _generalised_pareto_shape(excess)


def k_threshold(n: int) -> float:
    """The largest k-hat at which ``n`` draws can be trusted: min(1 - 1/log10 n, 0.7)."""
    return min(1.0 - 1.0 / np.log10(max(n, 11)), 0.7)


def _generalised_pareto_shape(excess: np.ndarray) -> float:
    """Shape k of the generalised Pareto distribution of ascending excesses."""
    n = len(excess)
    grid_size = 30 + int(np.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    index = np.arange(1, grid_size + 1)
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid_size / (index - 0.5))) / (3.0 * quartile)
    k = np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    profile = n * (np.log(-theta / k) - k - 1.0)
    best = softmax(profile) @ theta
    shape = np.mean(np.log1p(-best * excess))
    return float((n * shape + 10 * 0.5) / (n + 10))
