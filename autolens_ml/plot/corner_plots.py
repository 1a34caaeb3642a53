"""Corner plots that take seconds whatever the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import autofit as af
import corner as corner_py
import matplotlib.pyplot as plt
import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.lines import Line2D

from autolens_ml.exceptions import OptionError
from autolens_ml.latent import indexed_paths

if TYPE_CHECKING:
    from autolens_ml.inference.amortised import LensPosterior

MAX_PARAMETERS = 8
_FONT_SIZE = 10.0
_COLORS = ("#1f4e79", "#d68910", "#2e8b57", "#7d3c98", "#c0392b")
# One and two sigma of a two-dimensional Gaussian.
_LEVELS = (0.393, 0.865)
_TRUTH = "#c0392b"
_N_DRAWS = 4000
# The central share that ranges hold.
_SHOWN = (0.0015, 0.9985)


def corner(
    samples: af.Samples | LensPosterior | Mapping[str, af.Samples | LensPosterior],
    path: str | Path,
    *,
    parameters: Sequence[str] | None = None,
    truth: Mapping[str, float] | None = None,
) -> Path:
    """One- and two-dimensional marginals of a posterior, or of several on top of each other.

    Parameters
    ----------
    samples
        Weighted samples, as ``result.samples``; what a network says about a lens, as
        ``aml.load_network(...).posterior_from(dataset)``; or several by the names that the legend
        gives them, the first below the others: a search and its reference, a network's posterior
        and the corrected one.
    path
        The file to write; its ending sets the format.
    parameters
        Paths of the parameters to show, with or without the tuples that they are in
        (``lens.mass.centre.centre_0`` or ``lens.mass.centre_0``); by default those of the mass and
        the shear that all have, or the first eight of a model without them.
    truth
        True values by parameter path, drawn as lines.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OptionError
        When there are no posteriors or more than five, one has not the parameters, or the
        posteriors share none.
    """
    by_name = dict(samples) if isinstance(samples, Mapping) else {"": samples}
    if not 1 <= len(by_name) <= len(_COLORS):
        raise OptionError(f"samples: give one to {len(_COLORS)} posteriors, not {len(by_name)}")
    columns = {label: _columns(each) for label, each in by_name.items()}
    if parameters is not None:
        shown = [_short(name) for name in parameters]
    else:
        first, *others = columns.values()
        shared = {j: name for name, j in reversed(first.items()) if all(name in o for o in others)}
        shown = main_parameters([shared[j] for j in sorted(shared)])
    for label, own in columns.items():
        if missing := [name for name in shown if name not in own]:
            where = f" of {label}" if label else ""
            raise OptionError(f"parameters: {', '.join(missing)} not among those{where}")
    true_values = {_short(name): value for name, value in (truth or {}).items()}
    if not shown:
        raise OptionError("samples: the posteriors share no parameter")

    marginals = [
        _marginals(each, [columns[label][name] for name in shown])
        for label, each in by_name.items()
    ]
    limits = [
        _union(_range(values[:, j], weights) for values, weights in marginals)
        for j in range(len(shown))
    ]
    fig: plt.Figure | None = None
    for color, (values, weights) in zip(_COLORS, marginals, strict=False):
        # A fit leaves autofit's large fonts behind, whose ticks lie over the labels.
        with plt.rc_context({"font.size": _FONT_SIZE}):
            fig = corner_py.corner(
                values,
                fig=fig,
                weights=weights / weights.sum(),
                labels=[label_from(name) for name in shown],
                range=limits,
                bins=_n_bins(values, weights, limits),
                smooth=1.0,
                smooth1d=1.0,
                plot_datapoints=False,
                plot_density=False,
                fill_contours=len(marginals) == 1,
                no_fill_contours=len(marginals) > 1,
                levels=_LEVELS,
                color=color,
                truths=[true_values.get(name) for name in shown],
                truth_color=_TRUTH,
                label_kwargs={"fontsize": 11},
                max_n_ticks=3,
                labelpad=0.08,
                use_math_text=True,
            )
    if len(marginals) > 1:
        _level(fig, len(shown))
        handles = [
            Line2D([], [], color=color, label=label)
            for color, label in zip(_COLORS, by_name, strict=False)
        ]
        if truth:
            handles.append(Line2D([], [], color=_TRUTH, label="truth"))
        fig.legend(handles=handles, loc="upper right", fontsize=12, frameon=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(
            file, dpi=110, bbox_inches="tight", format=path.suffix.removeprefix(".") or "png"
        )
    plt.close(fig)
    return path


def main_parameters(names: Sequence[str]) -> list[str]:
    """Which parameters a reader looks for first: the mass and the shear, Einstein radius first."""
    mass = [name for name in names if {"mass", "shear"} & set(name.split("."))]
    mass.sort(key=lambda name: not name.endswith("einstein_radius"))
    return (mass or list(names))[:MAX_PARAMETERS]


def label_from(name: str) -> str:
    """Two lines for an axis: the component, then the parameter."""
    *component, parameter = [
        part
        for part in name.removeprefix("galaxies.").split(".")
        if part != "profile_list" and not part.isdigit()
    ]
    return f"{' '.join(component)}\n{parameter}"


def _range(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The central 99.7 per cent, widened where there is no spread, which corner cannot draw."""
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    lower, upper = np.interp(_SHOWN, mass / mass[-1], values[order])
    pad = 0.1 * (upper - lower) or max(abs(lower), 1.0) * 1e-6
    return float(lower - pad), float(upper + pad)


def _union(limits: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lower, upper = zip(*limits, strict=True)
    return min(lower), max(upper)


def _columns(posterior: af.Samples | LensPosterior) -> dict[str, int]:
    """The column of each parameter by its short path, or paths where components share it."""
    if isinstance(posterior, af.Samples):
        paths = indexed_paths(posterior.model)
    else:
        paths = [(tuple(name.split(".")), j) for j, name in enumerate(posterior.names)]
    return {_short(".".join(path)): column for path, column in paths}


def _short(name: str) -> str:
    """A path as autofit prints it: without the tuple that a parameter is in."""
    parts = name.split(".")
    kept = [
        part
        for part, following in zip(parts, [*parts[1:], ""], strict=True)
        if not following.startswith(f"{part}_")
    ]
    return ".".join(kept)


def _marginals(
    posterior: af.Samples | LensPosterior, columns: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Values, shape (n, n_shown), and weights, (n,)."""
    if isinstance(posterior, af.Samples):
        values = np.asarray(posterior.parameter_lists, dtype=float)
        weights = np.asarray(posterior.weight_list, dtype=float)
    else:
        values = posterior.sample(_N_DRAWS)
        weights = np.ones(len(values))
    return values[:, columns], weights


def _n_bins(
    values: np.ndarray, weights: np.ndarray, limits: list[tuple[float, float]]
) -> list[int]:
    """As fine for a narrow posterior among wide ones as for it alone, within reason."""
    n_bins = []
    for column, (low, high) in zip(values.T, limits, strict=True):
        own_low, own_high = _range(column, weights)
        n_bins.append(int(min(25 * (high - low) / (own_high - own_low), 100)))
    return n_bins


def _level(fig: plt.Figure, n: int) -> None:
    """Give the curves in a panel of the diagonal the same height: their bins are not the same."""
    for j in range(n):
        ax = fig.axes[j * (n + 1)]
        for line in ax.get_lines():
            heights = np.asarray(line.get_ydata(), dtype=float)
            if len(heights) > 2:  # not a true value
                line.set_ydata(heights / heights.max())
        ax.set_ylim(0.0, 1.1)
