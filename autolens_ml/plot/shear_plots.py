"""Biases of shear estimates, and estimates against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter, StrMethodFormatter

from autolens_ml.training.shear_bias import EDGES, PairedSample, ShearBias

COLORS = ("#1f4e79", "#c0392b", "#d68910", "#2e7d32", "#6a1b9a")
TARGET = "0.88"
# Within these, axes are linear: a naive network's bias is a hundred times that of a calibrated one.
_LINEAR = {"m": 1e-2, "c": 1e-3}
_TARGETS = {"m": 5e-3, "c": 5e-4}
_LABELS = {
    "signal_to_noise": "Signal-to-noise",
    "radius": "Half-light radius / PSF full width",
    "m": "Multiplicative bias m",
    "c": "Additive bias c",
}
# Points of several networks in one bin stand beside each other, in steps of this many per cent.
_STEP = 0.03
_PANEL = 3.6  # inches
_MAX_POINTS = 2000


def bias_plot(samples: Mapping[str, PairedSample], path: str | Path) -> Path:
    """Multiplicative and additive bias against signal-to-noise and size, with 1 sigma errors.

    The grey bands are the targets; axes are linear around them, and logarithmic beyond where a bias
    is large. Filled points are m, or
    c_1, open ones c_2.

    Parameters
    ----------
    samples
        Paired simulations by the name of the network that estimated their shears.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(2.3 * _PANEL, 2.0 * _PANEL))
    fig.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    axes = fig.subplots(2, 2, sharex="col", sharey="row")
    for row, bias in zip(axes, ("m", "c"), strict=True):
        for ax, by in zip(row, EDGES, strict=True):
            _bias_panel(ax, samples, by, bias)
    axes[0, 1].legend(fontsize=8, frameon=False)
    return _saved(fig, path)


def estimates_plot(
    estimates: Mapping[str, Mapping[str, np.ndarray]],
    truths: Mapping[str, np.ndarray],
    path: str | Path,
) -> Path:
    """Estimates against the truth, a row for each network and a column for each quantity.

    Parameters
    ----------
    estimates
        By network and by quantity, each of shape (n,); a quantity may be missing.
    truths
        By quantity, each of shape (n,).
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(_PANEL * len(truths), _PANEL * len(estimates)))
    fig.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    axes = fig.subplots(len(estimates), len(truths), squeeze=False)
    for row, (network, values), color in zip(axes, estimates.items(), _cycle(), strict=False):
        for ax, (name, truth) in zip(row, truths.items(), strict=True):
            if name not in values:
                ax.remove()
                continue
            shown = slice(None, None, max(1, len(truth) // _MAX_POINTS))
            ax.plot(truth[shown], values[name][shown], ".", ms=3.0, mew=0.0, color=color, alpha=0.5)
            ax.axline((0.0, 0.0), slope=1.0, color="k", lw=0.8)
            ax.set_title(f"{network}: {name}", fontsize=9)
            ax.tick_params(labelsize=8)
    fig.supxlabel("Truth", fontsize=11)
    fig.supylabel("Estimate", fontsize=11)
    return _saved(fig, path)


def _bias_panel(ax: Axes, samples: Mapping[str, PairedSample], by: str, bias: str) -> None:
    ax.axhspan(-_TARGETS[bias], _TARGETS[bias], color=TARGET, lw=0)
    ax.axhline(0.0, color="0.5", lw=0.8)
    for i, ((name, sample), color) in enumerate(zip(samples.items(), _cycle(), strict=False)):
        bins = sample.binned(by)
        middles = np.array([np.sqrt(low * high) for low, high, _ in bins])
        middles *= 1.0 + _STEP * (i - 0.5 * (len(samples) - 1))
        shown = {"m": {"m": color}, "c": {"c_1": color, "c_2": "w"}}[bias]
        for j, (attribute, fill) in enumerate(shown.items()):
            found = [getattr(measured, attribute) for _, _, measured in bins]
            ax.errorbar(
                middles * (1.0 + j * _STEP),
                [number.value for number in found],
                [number.error for number in found],
                fmt="o",
                ms=4.5,
                color=color,
                mfc=fill,
                elinewidth=1.0,
                label=_label(name, sample.bright().bias()) if attribute == "m" else None,
            )
    ax.set_xscale("log")
    low, high = ax.get_ylim()
    if max(-low, high) > _LINEAR[bias]:
        ax.set_yscale("symlog", linthresh=_LINEAR[bias])
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    edges = EDGES[by]
    ax.set_xticks(edges, [f"{edge:g}" for edge in edges])
    ax.tick_params(labelsize=8)
    if bias == "c":
        ax.set_xlabel(_LABELS[by])
    if by == next(iter(EDGES)):
        ax.set_ylabel(_LABELS[bias])


def _label(name: str, bias: ShearBias) -> str:
    return f"{name}: m = {bias.m.value:+.4f} $\\pm$ {bias.m.error:.4f}"


def _cycle() -> list[str]:
    return list(COLORS) * 10


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
