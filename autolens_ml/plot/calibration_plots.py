"""Calibration and accuracy of a posterior estimator on held-out lenses, a panel per parameter."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from autolens_ml.exceptions import DataError
from autolens_ml.plot.corner_plots import label_from
from autolens_ml.training.calibration import (
    LEVELS,
    Calibration,
    JointCoverage,
    marginal_coverage,
    n_rank_bins,
)

BLUE, RED, ORANGE, GREY = "#1f4e79", "#c0392b", "#d68910", "0.88"
BAND = 0.99  # what right posteriors stay inside, at each level or in each bin
PANEL = 2.5  # inches
N_TREND_BINS = 8
TICK_STEPS = (1, 2, 5, 10)


def plots_of(calibration: Calibration) -> dict[str, Callable[[Path], Path]]:
    """All figures of a calibration, by name; each takes the file to write."""
    plots = (accuracy_plot, coverage_plot, sbc_plot, tarp_plot)
    return {plot.__name__.removesuffix("_plot"): partial(plot, calibration) for plot in plots}


def trend_plot(
    errors: np.ndarray, against: Mapping[str, np.ndarray], labels: Sequence[str], path: str | Path
) -> Path:
    """The 68 per cent error of each parameter in bins of what it may depend on.

    Parameters
    ----------
    errors
        Estimates minus truths, shape (n, n_parameters).
    against
        Label -> values, shape (n,): a column of panels each, in bins of as many lenses.
    labels
        What to call the parameters, with their units.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    n_rows, n_columns = len(labels), len(against)
    figure = Figure(figsize=(1.3 * PANEL * n_columns, 0.75 * PANEL * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex="col", sharey="row")
    for column, (words, values) in enumerate(against.items()):
        order = np.argsort(values, kind="stable")
        bins = [rows for rows in np.array_split(order, N_TREND_BINS) if len(rows)]
        middles = [np.median(values[rows]) for rows in bins]
        for row, label in enumerate(labels):
            ax = axes[row, column]
            limits = [np.quantile(np.abs(errors[rows, row]), LEVELS[0]) for rows in bins]
            ax.plot(middles, limits, "o-", color=BLUE, ms=4)
            ax.grid(color=GREY, lw=0.6)
            if column == 0:
                ax.set_ylabel(label)
        axes[-1, column].set_xlabel(words)
    for ax in axes[:, 0]:  # once all of a row is drawn: its panels share their limits
        ax.set_ylim(0.0, 1.1 * ax.get_ylim()[1])
    figure.suptitle("68 % of errors are below")
    return _saved(figure, path)


def coverage_plot(
    calibration: Calibration, path: str | Path, *, labels: Sequence[str] | None = None
) -> Path:
    """How many truths the central credible intervals hold, against how many they should.

    A curve below the diagonal is overconfident, one above it underconfident. The band holds 99 per
    cent of right posteriors' curves at each level; the points are the 1, 2 and 3 sigma intervals.

    Parameters
    ----------
    calibration
        As made by ``calibration_from``.
    path
        The file to write; its ending sets the format.
    labels
        What to call the parameters; by default from their names.

    Returns
    -------
    Path
        The file.
    """
    fig, panels = _panels(calibration, labels)
    nominal = np.linspace(0.0, 1.0, 201)
    curves = marginal_coverage(calibration.ranks, nominal).value
    points = calibration.coverage
    for j, ax in enumerate(panels):
        color = _color(calibration, j)
        ax.fill_between(nominal, *_binomial_band(calibration.n_lenses, nominal), color=GREY, lw=0)
        ax.axline((0.0, 0.0), slope=1.0, color="0.5", lw=0.8)
        ax.plot(nominal, curves[:, j], color=color, lw=1.5)
        value = points.value[:, j]
        bounds = [value - points.low[:, j], points.high[:, j] - value]
        ax.errorbar(LEVELS, value, bounds, fmt="o", ms=3.5, color=color, elinewidth=1.0)
        ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02), aspect="equal")
    fig.supxlabel("Credible level", fontsize=11)
    fig.supylabel("Share of truths inside", fontsize=11)
    return _saved(fig, path)


def sbc_plot(
    calibration: Calibration, path: str | Path, *, labels: Sequence[str] | None = None
) -> Path:
    """Histograms of the ranks of the truths among their posterior draws, over the expected counts.

    Flat is right; a valley is overconfident, a hill underconfident, a slope biased. The band holds
    99 per cent of right posteriors' bins.

    Parameters
    ----------
    calibration, path, labels
        As for :func:`coverage_plot`.

    Returns
    -------
    Path
        The file.
    """
    fig, panels = _panels(calibration, labels)
    n, n_bins = calibration.n_lenses, n_rank_bins(calibration.n_lenses)
    band = [bound * n_bins for bound in _binomial_band(n, 1.0 / n_bins)]
    for j, ax in enumerate(panels):
        counts, edges = np.histogram(calibration.ranks[:, j], bins=n_bins, range=(0.0, 1.0))
        heights = counts * n_bins / n
        ax.axhspan(*band, color=GREY, lw=0)
        ax.axhline(1.0, color="0.5", lw=0.8)
        ax.stairs(heights, edges, color=_color(calibration, j), lw=1.5)
        ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.15 * max(heights.max(), band[1])))
    fig.supxlabel("Rank of the truth / number of draws", fontsize=11)
    fig.supylabel("Lenses / lenses expected", fontsize=11)
    return _saved(fig, path)


def tarp_plot(calibration: Calibration, path: str | Path) -> Path:
    """How many truths the credible regions of all parameters together hold.

    Two families of regions: balls about random points (TARP) and ellipsoids of the posterior's own
    shape. The bands hold 95 per cent of the bootstrap's curves.

    Parameters
    ----------
    calibration, path
        As for :func:`coverage_plot`.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(5.0, 5.3), layout="constrained")
    ax = fig.subplots()
    ax.axline((0.0, 0.0), slope=1.0, color="0.5", lw=0.8)
    _draw_joint(ax, calibration.tarp, BLUE, "random points (TARP)")
    _draw_joint(ax, calibration.ellipsoids, ORANGE, "ellipsoids")
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    ax.set(xlabel="Credible level", ylabel="Share of truths inside")
    ax.set_title(f"All parameters of {calibration.n_lenses} lenses: {calibration.joint_verdict}")
    ax.legend(loc="upper left", frameon=False)
    return _saved(fig, path)


def accuracy_plot(
    calibration: Calibration, path: str | Path, *, labels: Sequence[str] | None = None
) -> Path:
    """Posterior medians with their 68.3 per cent intervals against the truths.

    Parameters
    ----------
    calibration, path, labels
        As for :func:`coverage_plot`.

    Returns
    -------
    Path
        The file.
    """
    fig, panels = _panels(calibration, labels)
    accuracy = calibration.accuracy
    for j, ax in enumerate(panels):
        truth, median = calibration.truths[:, j], calibration.medians[:, j]
        bounds = [median - calibration.lower[:, j], calibration.upper[:, j] - median]
        # Among thousands of lenses the bars are a cloud, behind medians that still show.
        alpha = float(np.clip(150.0 / len(truth), 0.08, 0.6))
        color = _color(calibration, j)
        ax.errorbar(
            truth,
            median,
            bounds,
            fmt="none",
            elinewidth=0.7,
            color=color,
            alpha=alpha,
            rasterized=True,
        )
        ax.plot(truth, median, ".", ms=3.0, mew=0.0, color=color, alpha=min(5.0 * alpha, 1.0))
        ax.axline((truth[0], truth[0]), slope=1.0, color="k", lw=0.8)
        low, high = min(truth.min(), median.min()), max(truth.max(), median.max())
        pad = 0.05 * (high - low) or 1.0
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        ax.annotate(
            f"rms {accuracy.rms.value[j]:.2g}\n68 % < {accuracy.quantile_68.value[j]:.2g}",
            (0.05, 0.95),
            xycoords="axes fraction",
            va="top",
            fontsize=8,
        )
    fig.supxlabel("Truth", fontsize=11)
    fig.supylabel("Posterior median", fontsize=11)
    return _saved(fig, path)


def _panels(calibration: Calibration, labels: Sequence[str] | None) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel per parameter."""
    names = calibration.names
    if labels is None:
        labels = [label_from(name).strip().replace("\n", " ") for name in names]
    if len(labels) != len(names):
        raise DataError(f"labels: {len(labels)} for {len(names)} parameters; give one for each")
    n_columns = min(5, int(np.ceil(np.sqrt(len(names)))))
    n_rows = -(-len(names) // n_columns)
    fig = Figure(figsize=(PANEL * n_columns + 0.5, (PANEL + 0.2) * n_rows + 0.5))
    fig.set_layout_engine("constrained", h_pad=0.08, w_pad=0.06)
    axes = fig.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for ax in axes[len(names) :]:
        ax.remove()
    verdicts = calibration.verdicts
    for ax, name, label in zip(axes, names, labels, strict=False):
        word = verdicts[name]
        ax.set_title(f"{label}\n{word}", fontsize=9, color="k" if word == "calibrated" else RED)
        ax.tick_params(labelsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=TICK_STEPS))
        ax.yaxis.set_major_locator(MaxNLocator(3, steps=TICK_STEPS))
    return fig, axes[: len(names)]


def _color(calibration: Calibration, j: int) -> str:
    return BLUE if calibration.verdicts[calibration.names[j]] == "calibrated" else RED


def _binomial_band(n: int, share: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Between which shares of ``n`` lenses lie where ``share`` is expected."""
    tail = 0.5 * (1.0 - BAND)
    return stats.binom.ppf(tail, n, share) / n, stats.binom.isf(tail, n, share) / n


def _draw_joint(ax: Axes, joint: JointCoverage, color: str, name: str) -> None:
    expected = joint.expected
    ax.fill_between(joint.levels, expected.low, expected.high, color=color, alpha=0.2, lw=0)
    label = f"{name}\narea {joint.area:+.3f}, p = {joint.p_value:.1g}"
    ax.plot(joint.levels, expected.value, color=color, lw=1.5, label=label)


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
