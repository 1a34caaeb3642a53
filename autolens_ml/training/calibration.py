"""Whether the posteriors of a neural estimator may be believed, judged on held-out lenses.

Everything rests on one fact: where a posterior is right, the truth is one more draw of it. Its rank
among the draws is then uniform, for each parameter and for any distance in the space of all of
them, exactly and however few the draws. ``samples`` has shape (n_lenses, n_draws, n_parameters) and
``truths`` (n_lenses, n_parameters). An angle that wraps has no ranks: pass its components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from autolens_ml.exceptions import DataError

__all__ = [
    "Accuracy",
    "Calibration",
    "JointCoverage",
    "Measured",
    "Uniformity",
    "accuracy_from",
    "calibration_from",
    "ellipsoid_coverage",
    "marginal_coverage",
    "n_rank_bins",
    "tarp_coverage",
    "uniformity_from",
    "unit_ranks",
]

LEVELS = (0.683, 0.955, 0.997)
CONFIDENCE = 0.95  # of every interval that is reported
SIGNIFICANCE = 0.01  # the chance that anything at all is found wrong with right posteriors
CURVE = np.linspace(0.0, 1.0, 51)

type Seed = int | np.random.SeedSequence | np.random.Generator


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured values and the bounds of their 95 per cent confidence intervals.

    Attributes
    ----------
    value, low, high
        Arrays of one shape, whose last axis is that of the parameters where there is one.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def as_dict(self, index: Any = ...) -> dict[str, Any]:
        """``value``, ``low`` and ``high`` at ``index``, as floats or lists."""
        return {key: getattr(self, key)[index].tolist() for key in ("value", "low", "high")}


@dataclass(frozen=True, eq=False)
class Accuracy:
    """How far point estimates are from the truths; every array has shape (n_parameters,).

    Attributes
    ----------
    rms
        Root mean square of estimate - truth.
    quantile_68
        What 68.3 per cent of the absolute errors stay below: ``rms`` without its outliers.
    bias
        Mean of estimate - truth.
    bias_error
        Standard error of ``bias``.
    """

    rms: Measured
    quantile_68: Measured
    bias: Measured
    bias_error: np.ndarray


@dataclass(frozen=True, eq=False)
class Uniformity:
    """What is wrong with the ranks of each parameter; every array has shape (n_parameters,).

    Attributes
    ----------
    shift, spread
        Mean and standard deviation of the ranks' normal scores, 0 and 1 for right posteriors:
        about how many sigma the truths lie above the medians, and how many times the stated errors
        they scatter. Neither exceeds the normal score of the outermost draw, so what is far off is
        further off than it says.
    p_shift
        p-value of ``shift``, two-sided.
    p_narrow
        p-value of truths that scatter this widely about their own shift: overconfidence.
    p_wide
        p-value of truths that lie this close to the medians: underconfidence.
    p_uniform
        p-value of the binned ranks' chi-squared: any other shape.
    """

    shift: np.ndarray
    spread: np.ndarray
    p_shift: np.ndarray
    p_narrow: np.ndarray
    p_wide: np.ndarray
    p_uniform: np.ndarray


@dataclass(frozen=True, eq=False)
class JointCoverage:
    """How often credible regions in the space of all parameters hold the truth.

    Attributes
    ----------
    levels
        Credible levels from 0 to 1.
    expected
        Share of the truths inside, at each level, with its bootstrap band.
    area
        Area between the curve and the diagonal above level one half: negative where posteriors are
        overconfident, positive where they are underconfident, between -3/8 and 1/8.
    p_area
        p-value of ``area``, two-sided.
    deviation
        The largest distance of the curve from the diagonal (Kolmogorov and Smirnov's).
    p_deviation
        p-value of ``deviation``.
    """

    levels: np.ndarray
    expected: Measured
    area: float
    p_area: float
    deviation: float
    p_deviation: float

    @property
    def p_value(self) -> float:
        """The smaller of the two p-values."""
        return min(self.p_area, self.p_deviation)

    def as_dict(self) -> dict[str, Any]:
        """Everything as floats and lists."""
        return {
            "levels": self.levels.tolist(),
            "expected": self.expected.as_dict(),
            "area": self.area,
            "p_area": self.p_area,
            "deviation": self.deviation,
            "p_deviation": self.p_deviation,
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out lenses say of a posterior estimator; made by :func:`calibration_from`.

    Attributes
    ----------
    names
        Names of the parameters.
    n_draws
        Posterior draws of each lens.
    truths, medians, lower, upper
        True values, posterior medians and bounds of the central 68.3 per cent, each of shape
        (n_lenses, n_parameters).
    ranks
        Unit ranks of the truths, shape (n_lenses, n_parameters).
    accuracy, uniformity
        Of each parameter.
    coverage
        Of the central credible intervals at ``LEVELS``, shape (3, n_parameters).
    tarp, ellipsoids
        Of all parameters jointly.
    """

    names: tuple[str, ...]
    n_draws: int
    truths: np.ndarray
    medians: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    ranks: np.ndarray
    accuracy: Accuracy
    coverage: Measured
    uniformity: Uniformity
    tarp: JointCoverage
    ellipsoids: JointCoverage

    @property
    def n_lenses(self) -> int:
        """How many lenses were held out."""
        return len(self.truths)

    @property
    def threshold(self) -> float:
        """The p-value below which one test speaks: ``SIGNIFICANCE``, shared by all (Bonferroni)."""
        return SIGNIFICANCE / (4 * len(self.names) + 4)

    @property
    def verdicts(self) -> dict[str, str]:
        """For each name: calibrated, biased, overconfident, underconfident or misshapen.

        A bias with wrong errors is ``biased and overconfident`` or ``biased and underconfident``;
        misshapen is a posterior whose ranks are wrong in none of these ways.
        """
        tests = self.uniformity
        verdicts = {}
        for j, name in enumerate(self.names):
            found = {
                "biased": tests.p_shift[j],
                "overconfident": tests.p_narrow[j],
                "underconfident": tests.p_wide[j],
            }
            words = [word for word, p in found.items() if p < self.threshold]
            if not words:
                words = ["misshapen" if tests.p_uniform[j] < self.threshold else "calibrated"]
            verdicts[name] = " and ".join(words)
        return verdicts

    @property
    def joint_verdict(self) -> str:
        """Calibrated, overconfident, underconfident or misshapen, of all parameters together.

        A bias makes regions hold too few truths, so it is overconfident here; correlations that are
        missing are misshapen.
        """
        joint = min(self.tarp, self.ellipsoids, key=lambda test: test.p_value)
        if joint.p_area < self.threshold:
            return "overconfident" if joint.area < 0.0 else "underconfident"
        return "misshapen" if joint.p_deviation < self.threshold else "calibrated"

    @property
    def verdict(self) -> str:
        """The verdicts in one paragraph, with the numbers behind them."""
        verdicts = self.verdicts
        sentences = [
            f"{name} is {word}: {self._evidence(j, word)}."
            for j, (name, word) in enumerate(verdicts.items())
            if word != "calibrated"
        ]
        calibrated = [name for name, word in verdicts.items() if word == "calibrated"]
        if calibrated:
            # What p_narrow notices in nine of ten sets of lenses.
            noticed, usual = stats.chi2.isf([self.threshold, 0.9], self.n_lenses - 1)
            size = np.sqrt(noticed / usual) - 1.0
            sentences.append(
                f"No fault in {', '.join(calibrated)}, "
                f"where {self.n_lenses} lenses would show a scatter {size:.0%} above the stated."
            )
        sentences.append(
            f"All parameters together are {self.joint_verdict} "
            f"(p = {self.tarp.p_value:.1g} by TARP, {self.ellipsoids.p_value:.1g} by ellipsoids)."
        )
        return " ".join(sentences)

    def _evidence(self, j: int, word: str) -> str:
        """What makes the j-th parameter's verdict plain."""
        parts = []
        if "biased" in word:
            parts.append(f"{np.mean(self.ranks[:, j] > 0.5):.0%} of the truths exceed its median")
        if "confident" in word:
            levels = ", ".join(f"{100 * level:.1f}" for level in LEVELS)
            inside = ", ".join(f"{100 * share:.1f}" for share in self.coverage.value[:, j])
            parts.append(f"its {levels} % intervals hold {inside} % of the truths")
        p = self.uniformity.p_uniform[j]
        return " and ".join(parts) or f"its ranks are not uniform (p = {p:.1g})"

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain floats, strings and lists, for JSON; without those of each lens."""
        parameters = {}
        for j, (name, word) in enumerate(self.verdicts.items()):
            parameters[name] = {
                "verdict": word,
                "rms": self.accuracy.rms.as_dict(j),
                "quantile_68": self.accuracy.quantile_68.as_dict(j),
                "bias": self.accuracy.bias.as_dict(j),
                "bias_error": float(self.accuracy.bias_error[j]),
                "coverage": {
                    str(level): self.coverage.as_dict((i, j)) for i, level in enumerate(LEVELS)
                },
                **{key: float(value[j]) for key, value in vars(self.uniformity).items()},
            }
        return {
            "n_lenses": self.n_lenses,
            "n_draws": self.n_draws,
            "confidence": CONFIDENCE,
            "significance": SIGNIFICANCE,
            "verdict": self.verdict,
            "parameters": parameters,
            "joint": {
                "verdict": self.joint_verdict,
                "tarp": self.tarp.as_dict(),
                "ellipsoids": self.ellipsoids.as_dict(),
            },
        }


def calibration_from(
    samples: np.ndarray, truths: np.ndarray, names: Sequence[str], seed: int = 0
) -> Calibration:
    """Every diagnostic of this module.

    Parameters
    ----------
    samples
        Posterior draws, shape (n_lenses, n_draws, n_parameters).
    truths
        True values, shape (n_lenses, n_parameters).
    names
        Names of the parameters, all different.
    seed
        Of all random numbers: the same seed gives the same numbers.

    Raises
    ------
    DataError
        For shapes that do not belong together, fewer than two lenses or draws, values that are not
        finite, and names that do not fit.
    """
    samples, truths = _checked(samples, truths)
    if len(names) != truths.shape[1] or len(set(names)) != len(names):
        raise DataError(
            f"names: {len(set(names))} different ones for {truths.shape[1]} parameters; "
            "give one for each parameter"
        )
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
    tail = 0.5 * (1.0 - LEVELS[0])
    quantiles = [np.quantile(draws, [0.5, tail, 1.0 - tail], axis=0) for draws in samples]
    medians, lower, upper = np.stack(quantiles, axis=1)
    ranks = unit_ranks(samples, truths, rngs[0])
    return Calibration(
        names=tuple(names),
        n_draws=samples.shape[1],
        truths=truths,
        medians=medians,
        lower=lower,
        upper=upper,
        ranks=ranks,
        accuracy=accuracy_from(medians, truths, rngs[1]),
        coverage=marginal_coverage(ranks),
        uniformity=uniformity_from(ranks),
        tarp=tarp_coverage(samples, truths, rngs[2]),
        ellipsoids=ellipsoid_coverage(samples, truths, rngs[3]),
    )


def accuracy_from(
    estimates: np.ndarray, truths: np.ndarray, seed: Seed = 0, n_bootstrap: int = 1000
) -> Accuracy:
    """Errors of point estimates, with bootstrap intervals over the lenses.

    Parameters
    ----------
    estimates
        Posterior medians or means, shape (n_lenses, n_parameters).
    truths
        True values, shape (n_lenses, n_parameters).
    seed
        Of the bootstrap.
    n_bootstrap
        Resamples of the lenses.

    Raises
    ------
    DataError
        As :func:`calibration_from`.
    """
    estimates, truths = np.asarray(estimates), np.asarray(truths)
    if estimates.ndim != 2 or estimates.shape != truths.shape or len(truths) < 2:
        raise DataError(
            f"estimates: shape {estimates.shape} with truths of shape {truths.shape}; "
            "give both as (n_lenses, n_parameters), of two lenses or more"
        )
    _require_finite("estimates", estimates)
    _require_finite("truths", truths)
    rng = np.random.default_rng(seed)
    errors = (estimates - truths).T.copy()  # a parameter's errors lie together: faster
    n = errors.shape[1]

    def measures(errors: np.ndarray) -> np.ndarray:
        rms = np.sqrt(np.mean(errors**2, axis=1))
        return np.stack([rms, np.quantile(np.abs(errors), LEVELS[0], axis=1), errors.mean(axis=1)])

    resampled = [measures(errors[:, rng.integers(n, size=n)]) for _ in range(n_bootstrap)]
    low, high = _central(np.array(resampled))
    rms, quantile_68, bias = map(Measured, measures(errors), low, high)
    return Accuracy(rms, quantile_68, bias, errors.std(axis=1, ddof=1) / np.sqrt(n))


def unit_ranks(samples: np.ndarray, truths: np.ndarray, seed: Seed = 0) -> np.ndarray:
    """Ranks of the truths among the draws, made continuous (Talts et al. 2018, arXiv:1804.06788).

    ``floor(u * (n_draws + 1))`` is the paper's rank, from 0 to n_draws, with ties broken at random;
    what u adds to it is uniform too. So for exact posteriors u is uniform and independent between
    lenses for any number of draws, and for parameters with discrete values.

    Returns
    -------
    np.ndarray
        u in (0, 1), shape (n_lenses, n_parameters): near 0 where a truth is below its posterior.

    Raises
    ------
    DataError
        As :func:`calibration_from`.
    """
    samples, truths = _checked(samples, truths)
    rng = np.random.default_rng(seed)
    below = np.count_nonzero(samples < truths[:, None], axis=1)
    up_to = np.count_nonzero(samples <= truths[:, None], axis=1)
    u = (below + (up_to - below + 1) * rng.random(truths.shape)) / (samples.shape[1] + 1)
    eps = np.finfo(float).eps  # rounding can reach 1, whose normal score is infinite
    return np.clip(u, eps, 1.0 - eps)


def marginal_coverage(ranks: np.ndarray, levels: Sequence[float] = LEVELS) -> Measured:
    """Share of the truths in the central credible intervals of each parameter.

    The intervals are those of the ranks, so right posteriors have exactly the nominal coverage even
    at levels that no two of a few draws enclose.

    Parameters
    ----------
    ranks
        From :func:`unit_ranks`, shape (n_lenses, n_parameters).
    levels
        Credible levels, between 0 and 1.

    Returns
    -------
    Measured
        Shape (n_levels, n_parameters), with Clopper & Pearson's (1934) intervals.
    """
    n = len(ranks)
    distance = 2.0 * np.abs(ranks - 0.5)
    inside = np.array([np.count_nonzero(distance <= level, axis=0) for level in levels])
    tail = 0.5 * (1.0 - CONFIDENCE)
    # The beta distribution has no zeroth shape: there the bounds are 0 and 1.
    low = np.where(inside > 0, stats.beta.ppf(tail, np.maximum(inside, 1), n - inside + 1), 0.0)
    high = np.where(inside < n, stats.beta.isf(tail, inside + 1, np.maximum(n - inside, 1)), 1.0)
    return Measured(inside / n, low, high)


def uniformity_from(ranks: np.ndarray) -> Uniformity:
    """Tests of simulation-based calibration, of each parameter.

    The normal scores of uniform ranks are standard normal, so the tests of their mean and their
    variance are exact; a trend of the ranks has more power there than in a histogram's chi-squared.

    Parameters
    ----------
    ranks
        From :func:`unit_ranks`, shape (n_lenses, n_parameters).
    """
    n = len(ranks)
    scores = stats.norm.ppf(ranks)
    shift, variance = scores.mean(axis=0), scores.var(axis=0, ddof=1)
    counts = [np.histogram(u, bins=n_rank_bins(n), range=(0.0, 1.0))[0] for u in ranks.T]
    return Uniformity(
        shift=shift,
        spread=np.sqrt(variance),
        p_shift=2.0 * stats.norm.sf(np.abs(shift) * np.sqrt(n)),
        p_narrow=stats.chi2.sf((n - 1) * variance, n - 1),
        # About zero, not the mean: where all truths lie beyond the draws their scores are alike,
        # and a bias would pass for width.
        p_wide=stats.chi2.cdf(np.sum(scores**2, axis=0), n),
        p_uniform=stats.chisquare(counts, axis=1).pvalue,
    )


def n_rank_bins(n_lenses: int) -> int:
    """Bins of a rank histogram: some twenty lenses in each (Talts et al. 2018), at most 20."""
    return int(np.clip(n_lenses // 20, 2, 20))


def tarp_coverage(samples: np.ndarray, truths: np.ndarray, seed: Seed = 0) -> JointCoverage:
    """Coverage of balls about random points (TARP: Lemos et al. 2023, arXiv:2302.03026).

    Each lens has one reference point, uniform in the box of all truths, whose sides are the units
    of distance; the truth is at the level of the share of draws that are closer to it. This sees a
    posterior that forgot the prior, which no rank of one parameter does. Correlations that are
    missing from a posterior widen some directions and narrow others, which largely cancels here:
    :func:`ellipsoid_coverage` has far more power against them.

    Raises
    ------
    DataError
        As :func:`calibration_from`.
    """
    samples, truths = _checked(samples, truths)
    rng = np.random.default_rng(seed)
    low, side = truths.min(axis=0), np.ptp(truths, axis=0)
    side[side == 0.0] = 1.0  # one truth for all lenses: any unit will do
    references = low + side * rng.random(truths.shape)

    def distances(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.sum(((points - reference) / side) ** 2, axis=-1)

    of_draws = np.stack([distances(*pair) for pair in zip(samples, references, strict=True)])
    return _joint_from(of_draws, distances(truths, references), rng)


def ellipsoid_coverage(samples: np.ndarray, truths: np.ndarray, seed: Seed = 0) -> JointCoverage:
    """Coverage of ellipsoids of the posterior's own shape: its mean and its covariance.

    Mean and covariance are those of the draws and the truth together, which treats all alike: the
    ranks of the Mahalanobis distances are uniform for exact posteriors of any shape. With no more
    draws than parameters all distances are the same, and nothing can be seen.

    Raises
    ------
    DataError
        As :func:`calibration_from`.
    """
    samples, truths = _checked(samples, truths)
    leverages = np.empty((len(truths), samples.shape[1] + 1))
    for leverage, draws, truth in zip(leverages, samples, truths, strict=True):
        points = np.vstack([truth, draws], dtype=float)
        points -= points.mean(axis=0)
        scale = points.std(axis=0)
        points /= np.where(scale > 0.0, scale, 1.0)
        precision = np.linalg.pinv(points.T @ points, rcond=1e-12, hermitian=True)
        leverage[:] = np.sum(points @ precision * points, axis=1)
    leverages = leverages.round(9)  # equal distances are ties, whatever their rounding errors
    return _joint_from(leverages[:, 1:], leverages[:, 0], np.random.default_rng(seed))


def _joint_from(
    of_draws: np.ndarray, of_truths: np.ndarray, rng: np.random.Generator
) -> JointCoverage:
    """Coverage of regions that grow with a distance, from that of draws and truths."""
    levels = unit_ranks(of_draws[..., None], of_truths[:, None], rng)[:, 0]
    n = len(levels)
    counts = np.histogram(levels, bins=CURVE)[0]
    resampled = np.cumsum(rng.multinomial(n, counts / n, size=1000), axis=1) / n
    low, high = _central(resampled)
    expected = [np.concatenate([[0.0], curve]) for curve in (np.cumsum(counts) / n, low, high)]
    # The integral of the distribution function from 1/2 to 1; the variance is a uniform level's.
    area = float(np.mean(1.0 - np.maximum(levels, 0.5)) - 0.375)
    deviation = stats.kstest(levels, "uniform")
    return JointCoverage(
        levels=CURVE,
        expected=Measured(*expected),
        area=area,
        p_area=float(2.0 * stats.norm.sf(abs(area) / np.sqrt(5.0 / 192.0 / n))),
        deviation=float(deviation.statistic),
        p_deviation=float(deviation.pvalue),
    )


def _central(resampled: np.ndarray) -> np.ndarray:
    """Bounds of the bootstrap's central interval, along the first axis."""
    tail = 0.5 * (1.0 - CONFIDENCE)
    return np.quantile(resampled, [tail, 1.0 - tail], axis=0)


def _checked(samples: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples and truths as arrays that belong together."""
    samples, truths = np.asarray(samples), np.asarray(truths)
    if samples.ndim != 3:
        raise DataError(f"samples: shape {samples.shape}; give (n_lenses, n_draws, n_parameters)")
    n_lenses, n_draws, n_parameters = samples.shape
    for name, n, least in (
        ("lenses", n_lenses, 2),
        ("draws", n_draws, 2),
        ("parameters", n_parameters, 1),
    ):
        if n < least:
            raise DataError(f"samples: {n} {name} in shape {samples.shape}; give at least {least}")
    if truths.shape != (n_lenses, n_parameters):
        raise DataError(
            f"truths: shape {truths.shape} with samples of shape {samples.shape}; "
            f"give {(n_lenses, n_parameters)}, a row for each lens"
        )
    _require_finite("samples", samples)
    _require_finite("truths", truths)
    return samples, truths


def _require_finite(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fiu":
        raise DataError(f"{name}: of type {values.dtype}; give an array of real numbers")
    finite = np.isfinite(values)
    if not finite.all():
        lens = np.argwhere(~finite)[0, 0]
        raise DataError(f"{name}: NaN or infinity at lens {lens}; leave such lenses out")
