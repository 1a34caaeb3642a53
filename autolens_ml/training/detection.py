"""How well a network tells two classes apart, and whether its probabilities may be believed.

``probabilities`` of the class that is looked for and ``is_lens``, whether each example is of it,
have shape (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats
from scipy.optimize import minimize_scalar

from autolens_ml.exceptions import DataError

__all__ = [
    "FIGURES",
    "Detection",
    "Reliability",
    "Roc",
    "area_under_curve",
    "calibration_error",
    "detection_from",
    "f_beta",
    "reliability_from",
    "roc_from",
    "share_from",
    "temperature_from",
    "true_positives_before",
]

CONFIDENCE = 0.95  # of every interval
THRESHOLD = 0.5
# Of the lens-finding challenge (Metcalf et al. 2019, A&A 625, A119): precision is all that counts.
_CHALLENGE_BETA_SQUARED = 0.001
_N_BOOTSTRAPS = 400
_N_BINS = 12
_FALSE_POSITIVES = np.concatenate([[0.0], np.logspace(-4.0, 0.0, 161)])
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class Roc:
    """Receiver operating characteristic, with the band of its bootstraps.

    Attributes
    ----------
    false_positive_rate : ndarray
        From 0 to 1, evenly in the logarithm.
    true_positive_rate, low, high : ndarray
        Of the same shape.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often what was called this probable is so.

    Attributes
    ----------
    predicted : ndarray
        Mean probability in each bin; bins hold equal numbers of examples.
    observed, low, high : ndarray
        Share of lenses in it, and its interval (Clopper & Pearson 1934).
    n : ndarray
        Examples in it.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


@dataclass(frozen=True, eq=False)
class Detection:
    """What is known of a classifier from examples it never saw; made by `detection_from`.

    Attributes
    ----------
    probabilities, is_lens : ndarray
        Shape (n,).
    figures : dict
        Those of ``FIGURES`` by name: ``value``, ``low``, ``high`` and ``n``.
    roc : Roc
        For figures.
    reliability : Reliability
        For figures.
    """

    probabilities: np.ndarray
    is_lens: np.ndarray
    figures: dict[str, dict[str, float]]
    roc: Roc
    reliability: Reliability


def detection_from(probabilities: np.ndarray, is_lens: np.ndarray, seed: int = 0) -> Detection:
    """Figures of merit with bootstrap intervals.

    Raises
    ------
    DataError
        When there are not both classes, or a probability is not between 0 and 1.
    """
    p, y = _checked(probabilities, is_lens)
    rng = np.random.default_rng(seed)
    lenses, others = np.flatnonzero(y), np.flatnonzero(~y)
    drawn: dict[str, list[float]] = {name: [] for name in FIGURES}
    curves = []
    for _ in range(_N_BOOTSTRAPS):
        # Class by class: their numbers are not random.
        rows = np.concatenate([rng.choice(part, size=len(part)) for part in (lenses, others)])
        for name, figure in FIGURES.items():
            drawn[name].append(figure(p[rows], y[rows]))
        curves.append(_curve(p[rows], y[rows]))
    tails = 100.0 * (0.5 + 0.5 * np.array([-CONFIDENCE, CONFIDENCE]))
    figures = {}
    for name, figure in FIGURES.items():
        value = float(figure(p, y))
        low, high = np.percentile(drawn[name], tails)
        # The best threshold of a bootstrap is chosen on it: value and interval may then disagree.
        figures[name] = {
            "value": value,
            "low": float(min(low, value)),
            "high": float(max(high, value)),
            "n": len(y),
        }
    low, high = np.percentile(curves, tails, axis=0)
    roc = Roc(_FALSE_POSITIVES, _curve(p, y), low, high)
    return Detection(p, y, figures, roc, reliability_from(p, y))


def roc_from(probabilities: np.ndarray, is_lens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at all thresholds, from (0, 0) to (1, 1).

    Raises
    ------
    DataError
        As `detection_from`.
    """
    p, y = _checked(probabilities, is_lens)
    order = np.argsort(-p, kind="stable")
    true = np.cumsum(y[order])
    # Examples of one probability are called together.
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    true, called = true[last], last + 1
    rates = true / y.sum(), (called - true) / (~y).sum()
    true_rate, false_rate = (np.concatenate([[0.0], rate]) for rate in rates)
    return false_rate, true_rate


def area_under_curve(probabilities: np.ndarray, is_lens: np.ndarray) -> float:
    """Chance that a lens has a higher probability than what is none; ties count half."""
    p, y = np.asarray(probabilities), np.asarray(is_lens, dtype=bool)
    ranks = stats.rankdata(p)
    n_lenses, n_others = int(y.sum()), int((~y).sum())
    return float((ranks[y].sum() - 0.5 * n_lenses * (n_lenses + 1)) / (n_lenses * n_others))


def f_beta(
    probabilities: np.ndarray,
    is_lens: np.ndarray,
    beta_squared: float = 1.0,
    threshold: float | None = THRESHOLD,
) -> float:
    """(1 + b) P R / (b P + R) of precision P and recall R, b = beta squared.

    Parameters
    ----------
    probabilities, is_lens
        Shape (n,).
    beta_squared
        0 is precision alone, infinity recall alone.
    threshold
        Above which an example is called a lens; ``None`` takes the best one.
    """
    p, y = np.asarray(probabilities), np.asarray(is_lens, dtype=bool)
    if threshold is None:
        order = np.argsort(-p, kind="stable")
        last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
        true, called = np.cumsum(y[order])[last], last + 1
    else:
        true, called = np.array([np.sum(y & (p > threshold))]), np.array([np.sum(p > threshold)])
    # In terms of counts: (1 + b) TP / (called + b P).
    return float(np.max((1.0 + beta_squared) * true / (called + beta_squared * y.sum())))


def true_positives_before(probabilities: np.ndarray, is_lens: np.ndarray, n_false: int) -> float:
    """Share of the lenses found before the ``n_false``-th false positive, at least the first."""
    p, y = np.asarray(probabilities), np.asarray(is_lens, dtype=bool)
    others = np.sort(p[~y])[::-1]
    if len(others) < n_false:
        return 1.0
    return float(np.mean(p[y] > others[n_false - 1]))


# The figures of merit of cards and tables. TPR_0 and TPR_10 are the challenge's: the share of the
# lenses found before the first and before the tenth false positive.
FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": area_under_curve,
    "f1": f_beta,
    "f_beta": lambda p, y: f_beta(p, y, _CHALLENGE_BETA_SQUARED, None),
    "tpr_0": lambda p, y: true_positives_before(p, y, 1),
    "tpr_10": lambda p, y: true_positives_before(p, y, 10),
    "recall": lambda p, y: float(np.mean(p[y] > THRESHOLD)),
    "precision": lambda p, y: float(np.mean(y[p > THRESHOLD])) if np.any(p > THRESHOLD) else 0.0,
    "calibration_error": lambda p, y: calibration_error(p, y),
}


def share_from(found: np.ndarray) -> dict[str, float]:
    """Share of true values among ``found``, with its interval (Clopper & Pearson 1934)."""
    found = np.asarray(found, dtype=bool)
    low, high = _binomial_interval(found.sum(), len(found))
    return {
        "value": float(found.mean()),
        "low": float(low),
        "high": float(high),
        "n": len(found),
    }


def reliability_from(probabilities: np.ndarray, is_lens: np.ndarray) -> Reliability:
    """Predicted probabilities against observed shares, in bins of equal numbers."""
    predicted, lenses, n = _binned(probabilities, is_lens)
    return Reliability(predicted, lenses / n, *_binomial_interval(lenses, n), n)


def calibration_error(probabilities: np.ndarray, is_lens: np.ndarray) -> float:
    """Mean distance between predicted and observed in the bins of `reliability_from`."""
    predicted, lenses, n = _binned(probabilities, is_lens)
    return float(np.sum(np.abs(lenses - n * predicted)) / n.sum())


def _binned(
    probabilities: np.ndarray, is_lens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, lenses and examples of bins with equal numbers of examples."""
    p, y = np.asarray(probabilities, dtype=float), np.asarray(is_lens, dtype=float)
    order = np.argsort(p, kind="stable")
    first = np.unique(np.linspace(0, len(p), _N_BINS, endpoint=False).astype(int))
    n = np.diff(np.append(first, len(p)))
    return np.add.reduceat(p[order], first) / n, np.add.reduceat(y[order], first), n


def temperature_from(logits: np.ndarray, labels: np.ndarray) -> float:
    """What logits, shape (n, n_classes), are to be divided by for calibrated probabilities.

    The number that makes the labels, shape (n,), most probable (Guo et al. 2017, arXiv:1706.04599),
    between 1/20 and 20.
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)

    def loss(log_temperature: float) -> float:
        scaled = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded").x))


def _checked(probabilities: np.ndarray, is_lens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(probabilities, dtype=float), np.asarray(is_lens, dtype=bool)
    if p.shape != y.shape or p.ndim != 1:
        raise DataError(f"probabilities of shape {p.shape} for truths of {y.shape}; give (n,)")
    # Written so that NaN fails.
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise DataError("probabilities must lie between 0 and 1; take out what has none")
    if not 0 < y.sum() < len(y):
        raise DataError(f"{int(y.sum())} lenses among {len(y)} examples; both classes are needed")
    return p, y


def _curve(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """True positive rates at the false positive rates of figures."""
    false_rate, true_rate = roc_from(p, y)
    # Where the curve rises straight up, its upper end counts.
    return true_rate[np.searchsorted(false_rate, _FALSE_POSITIVES, side="right") - 1]


def _binomial_interval(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tail = 0.5 * (1.0 - CONFIDENCE)
    k, n = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    with np.errstate(invalid="ignore"):
        low, high = stats.beta.ppf(tail, k, n - k + 1.0), stats.beta.isf(tail, k + 1.0, n - k)
    return np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)
