"""Figures of many lenses: histograms, parameters against each other, and their population."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy import stats

from autolens_ml.catalogue.population import PopulationPosterior
from autolens_ml.plot.corner_plots import label_from

__all__ = ["histograms", "parameter_plots", "population_plot"]

_BLUE, _RED = "#1f4e79", "#c0392b"
_COLUMNS = 4
# More lenses than these hide each other, and their errors all.
_FEW = 500
_CURVES, _MOST_BINS = 60, 60


def histograms(columns: Mapping[str, np.ndarray], path: Path) -> Path:
    """One histogram for each column, without what is not a number.

    Parameters
    ----------
    columns
        By name, each of shape (n,).
    path
        The file to write.
    """
    fig, axes = _panels(len(columns))
    for axis, (name, values) in zip(axes, columns.items(), strict=True):
        values = values[np.isfinite(values)]
        low, high = _ends(values)
        axis.hist(values, bins=_n_bins(values), range=(low, high), color=_BLUE)
        if beyond := int(np.sum((values < low) | (values > high))):
            axis.set_title(f"{beyond:,} beyond", fontsize="small")
        axis.set_xlabel(label_from(name))
        axis.set_ylabel("lenses")
    return _saved(fig, path)


def _n_bins(values: np.ndarray) -> int:
    """As many as there are lenses for; without a regard for the width, which one lens can make."""
    return int(np.clip(2.0 * np.cbrt(values.size), 5, _MOST_BINS))


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Between which values are shown: a single one that is far off would leave one bar."""
    low, high = np.quantile(values, (0.05, 0.95))
    span = (high - low) or (np.ptp(values))
    return max(values.min(), low - span), min(values.max(), high + span)


def parameter_plots(
    columns: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], path: Path
) -> Path:
    """The first column against each of the others, with errors.

    Parameters
    ----------
    columns
        By name, each of shape (n,).
    errors
        Of those that have them, (minus, plus), shape (2, n).
    path
        The file to write.
    """
    (first, x), *others = columns.items()
    if len(x) > _FEW:
        errors = {}
    fig, axes = _panels(len(others))
    for axis, (name, y) in zip(axes, others, strict=True):
        axis.errorbar(
            x,
            y,
            xerr=errors.get(first),
            yerr=errors.get(name),
            fmt="o",
            markersize=3.0 if len(x) <= _FEW else 1.2,
            linewidth=0.8,
            color=_BLUE,
            alpha=1.0 if len(x) <= _FEW else 0.4,
            ecolor=_BLUE + "60",
        )
        axis.set_xlabel(label_from(first))
        axis.set_ylabel(label_from(name))
    return _saved(fig, path)


def population_plot(posterior: PopulationPosterior, name: str, path: Path, seed: int = 0) -> Path:
    """The lenses and the distributions they may come from; the posterior of mean and width.

    Parameters
    ----------
    posterior
        Of the population.
    name
        Of the parameter.
    path
        The file to write.
    seed
        Of the distributions that are drawn.
    """
    values = np.log10(posterior.medians) if posterior.log else posterior.medians
    label = " ".join(label_from(name).split())
    label = f"log10 {label}" if posterior.log else label
    fig, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.4), layout="constrained")
    left.hist(
        values, bins=_n_bins(values), density=True, color=_BLUE + "60", label="medians of lenses"
    )
    spread = 3.0 * posterior.width[1]
    low = max(posterior.bounds[0], min(values.min(), posterior.mean[1] - spread))
    high = min(posterior.bounds[1], max(values.max(), posterior.mean[1] + spread))
    x = np.linspace(low, high, 300)
    for number, (mean, width) in enumerate(posterior.sample(_CURVES, seed)):
        a, b = ((bound - mean) / width for bound in posterior.bounds)
        density = stats.truncnorm.pdf(x, a, b, mean, width)
        left.plot(x, density, color=_RED, alpha=0.12, label=None if number else "population")
    left.set_xlabel(label)
    left.set_ylabel("density")
    left.legend(frameon=False)
    order = np.sort(posterior.density.ravel())[::-1]
    levels = [order[np.searchsorted(np.cumsum(order), share)] for share in (0.954, 0.683)]
    right.contourf(
        posterior.means,
        posterior.widths,
        posterior.density.T,
        levels=[*levels, posterior.density.max() * 1.001],
        colors=[_BLUE + "60", _BLUE],
    )
    right.set_xlabel(f"mean of {label}")
    right.set_ylabel("width")
    return _saved(fig, path)


def _panels(n: int) -> tuple[plt.Figure, list[plt.Axes]]:
    rows = -(-n // _COLUMNS)
    columns = min(n, _COLUMNS)
    fig, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 3.0 * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.ravel())
    for axis in flat[n:]:
        axis.set_visible(False)
    for axis in flat[:n]:
        axis.xaxis.set_major_locator(MaxNLocator(4))  # more numbers overlap
    return fig, flat[:n]


def _saved(fig: plt.Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)
    return path
