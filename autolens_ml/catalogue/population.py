"""From the posteriors of single lenses to the distribution that the lenses come from.

The posterior of each lens is its likelihood times the prior of its fit. With that prior divided out
its samples weigh what any other distribution of the parameter says of the lens: the likelihood of
a mean and a width is, up to a constant,

    prod_i sum_j w_ij p(x_ij | mean, width) / prior_i(x_ij),

for lenses i and their samples j (Hogg, Myers & Bovy 2010, ApJ 725, 2166, eq. 8). The other
parameters of the fit keep their priors, of which this one must be independent. Which lenses are
found at all is left out: a survey that finds wide lenses has a population of wide lenses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import log_ndtr

from autolens_ml.applications.fit.report import QUANTILES, quantiles
from autolens_ml.catalogue.posteriors import LensSamples
from autolens_ml.exceptions import DataError, OptionError

__all__ = ["PopulationPosterior", "infer_population"]

# Bins of the parameter, points of the grid, and how far below the peak the grid still looks.
_N_BINS, _N_COARSE, _N_FINE, _DEPTH = 1000, 32, 64, 12.0
# The narrowest width, in bins: what is narrower falls between them.
_NARROWEST = 2.0
# Widths up to the range of all samples; zooms after which the grid has to be fine enough.
_N_ZOOMS = 6
# Fewer effective samples cannot say what a distribution makes of a lens.
_FEW = 10.0
_POOR_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class PopulationPosterior:
    """The mean and the width of a Gaussian that is cut at the limits of the prior.

    Attributes
    ----------
    means, widths : ndarray
        Of the grid, shapes (n,) and (m,): of the Gaussian before it is cut.
    density : ndarray
        Posterior probability of each point, shape (n, m); they sum to 1.
    bounds : tuple of float
        Where the Gaussian is cut.
    log : bool
        Whether mean and width are those of the parameter's decimal logarithm.
    medians : ndarray
        Of the lenses, in the units of the parameter, shape (n_lenses,).
    effective : ndarray
        For each lens, how many of its samples count under the best population, shape (n_lenses,).
    concerns : tuple of str
        What is doubtful.
    """

    means: np.ndarray
    widths: np.ndarray
    density: np.ndarray
    bounds: tuple[float, float]
    log: bool
    medians: np.ndarray
    effective: np.ndarray
    concerns: tuple[str, ...] = ()

    @property
    def n_lenses(self) -> int:
        """How many lenses."""
        return len(self.medians)

    @property
    def mean(self) -> tuple[float, float, float]:
        """Lower bound, median and upper bound of the mean: the central 68.3 per cent."""
        return quantiles(self.means, self.density.sum(axis=1), QUANTILES)

    @property
    def width(self) -> tuple[float, float, float]:
        """Lower bound, median and upper bound of the width: the central 68.3 per cent."""
        return quantiles(self.widths, self.density.sum(axis=0), QUANTILES)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draws of (mean, width), shape (n, 2), between the points of the grid as well."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(self.density.size, size=n, p=self.density.ravel())
        rows, columns = np.unravel_index(chosen, self.density.shape)
        steps = [axis[1] - axis[0] for axis in (self.means, self.widths)]
        draws = np.stack((self.means[rows], self.widths[columns]), axis=-1)
        return draws + (rng.random((n, 2)) - 0.5) * steps

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        mean, width = self.mean, self.width
        return {
            "n_lenses": self.n_lenses,
            "log": self.log,
            "bounds": [b if np.isfinite(b) else None for b in self.bounds],
            "mean": {"value": mean[1], "low": mean[0], "high": mean[2]},
            "width": {"value": width[1], "low": width[0], "high": width[2]},
            "concerns": list(self.concerns),
        }

    def __str__(self) -> str:
        of = "decimal logarithm, " if self.log else ""
        lines = [
            f"{self.n_lenses} lenses: {of}mean {_words(self.mean)}, width {_words(self.width)}"
        ]
        return "\n".join([*lines, *(f"caution: {concern}" for concern in self.concerns)])


def infer_population(
    lenses: Sequence[LensSamples],
    *,
    log: bool = False,
    mean_range: tuple[float, float] | None = None,
    width_range: tuple[float, float] | None = None,
) -> PopulationPosterior:
    """The mean and width of the Gaussian that the values of all lenses come from.

    Both have uniform priors over their ranges. The Gaussian is cut where the prior of the fits is
    zero, and the prior of each fit is divided out of its samples.

    Parameters
    ----------
    lenses
        Samples of each lens, as of `samples_from`; they are gone through twice, one at a time.
    log
        Whether the decimal logarithm of the parameter is Gaussian: masses.
    mean_range
        Between which the mean lies; by default the limits of the prior, and of all samples where
        it has none.
    width_range
        Between which the width lies, above 0; by default up to the range of all samples.

    Raises
    ------
    DataError
        When there are fewer than two lenses, they have different limits, or a logarithm is asked
        of values that are not positive.
    OptionError
        When a range is empty.
    """
    if len(lenses) < 2:
        raise DataError(f"{len(lenses)} lenses have no distribution; give at least two")
    medians, bounds, (low, high) = _extent(lenses, log)
    if not high > low:
        raise DataError("all samples of all lenses are the same; give posteriors")
    step = (high - low) / _N_BINS
    means = mean_range or tuple(
        bound if np.isfinite(bound) else end for bound, end in zip(bounds, (low, high), strict=True)
    )
    widths = width_range or (_NARROWEST * step, high - low)
    widths = (max(widths[0], _NARROWEST * step), widths[1])
    for what, (first, last) in (("mean", means), ("width", widths)):
        if not (np.isfinite([first, last]).all() and first < last):
            raise OptionError(f"{what} between {first:g} and {last:g}: give an increasing range")
    likelihood = _Likelihood(lenses, log, low, step, bounds)
    grid = _zoomed(likelihood, means, widths)
    log_density = likelihood(*grid)
    density = np.exp(log_density - log_density.max())
    best = np.unravel_index(np.argmax(density), density.shape)
    effective = likelihood.effective(grid[0][best[0]], grid[1][best[1]])
    return PopulationPosterior(
        means=grid[0],
        widths=grid[1],
        density=density / density.sum(),
        bounds=bounds,
        log=log,
        medians=medians,
        effective=effective,
        concerns=_concerns(effective, density, widths, grid[1]),
    )


def _extent(
    lenses: Iterable[LensSamples], log: bool
) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """Medians of the lenses, limits of their prior, and between which their samples lie."""
    medians, first = [], None
    low, high = np.inf, -np.inf
    for lens in lenses:
        medians.append(quantiles(lens.values, lens.weights, (0.5,))[0])
        own = _logarithm(lens) if log else lens
        first = first or (own.name, own.bounds)
        if not np.allclose(own.bounds, first[1]):
            raise DataError(
                f"{own.name}: prior between {own.bounds}, that of {first[0]} between {first[1]}; "
                "fit all with one prior"
            )
        low, high = min(low, own.values.min()), max(high, own.values.max())
    return np.array(medians), first[1], (low, high)


class _Likelihood:
    """The log likelihood of means and widths; samples are counted in narrow bins."""

    def __init__(
        self,
        lenses: Iterable[LensSamples],
        log: bool,
        low: float,
        step: float,
        bounds: tuple[float, float],
    ) -> None:
        self._bounds = bounds
        self._centres = low + (np.arange(_N_BINS) + 0.5) * step
        parts = []
        for lens in lenses:
            own = _logarithm(lens) if log else lens
            bins = np.minimum(((own.values - low) / step).astype(int), _N_BINS - 1)
            shares = _likelihood_weights(own)
            sums, squares = (np.bincount(bins, each, _N_BINS) for each in (shares, shares**2))
            seen = np.flatnonzero(sums)
            parts.append((seen, sums[seen], squares[seen]))
        # Lens after lens: bins that it has samples in, sums of weights there, and of their squares.
        self._bins, self._sums, self._squares = map(np.concatenate, zip(*parts, strict=True))
        sizes = np.array([seen.size for seen, _, _ in parts])
        self._starts = np.cumsum(sizes) - sizes
        self._lenses = np.repeat(np.arange(len(parts)), sizes)
        shape = (_N_BINS, len(parts))
        self._counts = sparse.csr_array((self._sums, (self._bins, self._lenses)), shape=shape)

    def __call__(self, means: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Shape (n, m) for n means and m widths."""
        result = np.empty((len(means), len(widths)))
        for column, width in enumerate(widths):
            z = (self._centres - means[:, None]) / width
            # Beside its nearest bin a Gaussian may be zero everywhere: that is kept out of the exp.
            peak = -0.5 * np.min(z**2, axis=1, keepdims=True)
            of_lenses = np.exp(-0.5 * z**2 - peak) @ self._counts
            with np.errstate(divide="ignore"):
                logs = np.log(of_lenses) + peak
            norm = np.log(width) + _log_share(means, width, self._bounds)
            result[:, column] = logs.sum(axis=1) - norm * self._counts.shape[1]
        return result

    def effective(self, mean: float, width: float) -> np.ndarray:
        """Effective samples of each lens under a population, shape (n_lenses,)."""
        logs = (-0.5 * ((self._centres - mean) / width) ** 2)[self._bins]
        weights = np.exp(logs - np.maximum.reduceat(logs, self._starts)[self._lenses])
        total = np.add.reduceat(weights * self._sums, self._starts)
        return total**2 / np.add.reduceat(weights**2 * self._squares, self._starts)


def _zoomed(
    likelihood: _Likelihood, means: tuple[float, float], widths: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The grid that holds what is not negligible."""
    ranges = [means, widths]
    for _ in range(_N_ZOOMS):
        axes = [np.linspace(*each, _N_COARSE) for each in ranges]
        values = likelihood(*axes)
        if not np.isfinite(values).any():
            raise DataError("no population within the ranges explains the lenses: widen them")
        matters = values > values.max() - _DEPTH
        shrunk = []
        for axis, seen in zip(axes, (matters.any(axis=1), matters.any(axis=0)), strict=True):
            where = np.flatnonzero(seen)
            shrunk.append((axis[max(where[0] - 1, 0)], axis[min(where[-1] + 1, _N_COARSE - 1)]))
        done = all(
            new[1] - new[0] > 0.5 * (old[1] - old[0])
            for new, old in zip(shrunk, ranges, strict=True)
        )
        ranges = shrunk
        if done:
            break
    return np.linspace(*ranges[0], _N_FINE), np.linspace(*ranges[1], _N_FINE)


def _likelihood_weights(lens: LensSamples) -> np.ndarray:
    """Weights with the prior of the fit divided out."""
    logs = -lens.log_prior
    weights = lens.weights * np.exp(logs - logs.max())
    return weights / weights.sum()


def _log_share(means: np.ndarray, width: float, bounds: tuple[float, float]) -> np.ndarray:
    """Logarithm of the share of Gaussians that is within bounds."""
    a, b = ((bound - means) / width for bound in bounds)
    # In the tail where it is accurate: Phi(b) - Phi(a) = Phi(-a) - Phi(-b).
    flip = b > -a
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_ndtr(b) + np.log1p(-np.exp(log_ndtr(a) - log_ndtr(b)))


def _logarithm(lens: LensSamples) -> LensSamples:
    if not (lens.values > 0.0).all():
        raise DataError(f"{lens.name}: values that are not positive have no logarithm")
    with np.errstate(divide="ignore"):
        bounds = tuple(float(np.log10(max(bound, 0.0))) for bound in lens.bounds)
    # p(log x) = p(x) x ln 10.
    log_prior = lens.log_prior + np.log(lens.values)
    return replace(lens, values=np.log10(lens.values), log_prior=log_prior, bounds=bounds)


def _concerns(
    effective: np.ndarray, density: np.ndarray, widths: tuple[float, float], axis: np.ndarray
) -> tuple[str, ...]:
    concerns = []
    n_poor = int(np.sum(effective < _FEW))
    if n_poor > _POOR_SHARE * len(effective):
        concerns.append(
            f"{n_poor} of {len(effective)} lenses have fewer than {_FEW:.0f} samples where the "
            "population is: draw more, or leave out fits that did not converge"
        )
    of_width = density.sum(axis=0)
    if axis[-1] >= widths[1] and of_width[-1] > 0.01 * of_width.max():
        concerns.append("the width reaches the end of its range: there are too few lenses")
    return tuple(concerns)


def _words(bounds: tuple[float, float, float]) -> str:
    low, middle, high = bounds
    return f"{middle:.4g} -{middle - low:.2g} +{high - middle:.2g}"
