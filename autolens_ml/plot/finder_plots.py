"""How well lenses are found: ROC curves with intervals, and whether probabilities are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.figure import Figure

from autolens_ml.training.detection import Detection

__all__ = ["reliability_plot", "roc_plot"]

_COLORS = ("#1f4e79", "#c0392b", "#d68910", "#1e8449", "#6c3483", "#117a65", "#7b7d7d", "#a04000")
# A survey has far more galaxies than lenses: false positives below this rate are what matters.
_FEWEST = 1e-4


def roc_plot(detections: Mapping[str, Detection], path: str | Path) -> Path:
    """True against false positive rates, on a linear and a logarithmic axis.

    Bands hold 95 per cent of the bootstraps' curves.

    Parameters
    ----------
    detections
        By name of the network.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(9.6, 4.6), layout="constrained")
    whole, rare = fig.subplots(1, 2)
    for color, (name, detection) in zip(_cycled(detections), detections.items(), strict=True):
        roc, auc = detection.roc, detection.figures["auc"]
        label = f"{name}: AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        for ax in (whole, rare):
            x = roc.false_positive_rate
            ax.fill_between(x, roc.low, roc.high, color=color, alpha=0.2, lw=0, step="post")
            ax.step(x, roc.true_positive_rate, where="post", color=color, lw=1.5, label=label)
    whole.axline((0.0, 0.0), slope=1.0, color="0.6", lw=0.8, ls="--")
    whole.set(xlim=(0.0, 1.0), ylim=(0.0, 1.01), aspect="equal")
    whole.legend(fontsize=8, loc="lower right")
    rare.set(xlim=(_FEWEST, 1.0), ylim=(0.0, 1.01), xscale="log")
    rare.grid(color="0.9")
    for ax in (whole, rare):
        ax.set_xlabel("False positive rate", fontsize=11)
    whole.set_ylabel("True positive rate", fontsize=11)
    return _saved(fig, path)


def reliability_plot(detections: Mapping[str, Detection], path: str | Path) -> Path:
    """How often what was called this probable is a lens, with 95 per cent intervals.

    Below the diagonal a network is overconfident that it sees lenses. The histogram shows how often
    it gives each probability.

    Parameters
    ----------
    detections, path
        As for :func:`roc_plot`.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(5.2, 6.2), layout="constrained")
    curve, counts = fig.subplots(2, 1, sharex=True, height_ratios=(3.5, 1.0))
    curve.axline((0.0, 0.0), slope=1.0, color="0.6", lw=0.8, ls="--")
    for color, (name, detection) in zip(_cycled(detections), detections.items(), strict=True):
        r = detection.reliability
        error = detection.figures["calibration_error"]["value"]
        label = f"{name}: calibration error {error:.3f}"
        bounds = [r.observed - r.low, r.high - r.observed]
        curve.errorbar(
            r.predicted, r.observed, bounds, fmt="o-", ms=3.5, lw=1.2, color=color, label=label
        )
        bins = np.linspace(0.0, 1.0, 26)
        counts.hist(detection.probabilities, bins=bins, histtype="step", color=color, lw=1.2)
    curve.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    curve.set_ylabel("Share of lenses", fontsize=11)
    curve.legend(fontsize=8, loc="upper left")
    counts.set_yscale("log")
    counts.set_xlabel("Probability of a lens", fontsize=11)
    counts.set_ylabel("Systems", fontsize=11)
    return _saved(fig, path)


def _cycled(detections: Mapping[str, Detection]) -> list[str]:
    return [_COLORS[i % len(_COLORS)] for i in range(len(detections))]


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
