"""What is told apart, how heavy it must be, and where in an image it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from autofit.tools.util import open_atomic
from matplotlib.figure import Figure

from autolens_ml.simulate.morphology.systems import CLASSES, KINDS, MorphologySystems
from autolens_ml.training.detection import roc_from
from autolens_ml.training.morphology_accuracy import ClassScores, Curve

if TYPE_CHECKING:
    from autolens_ml.networks.anomaly import AnomalyNetwork
    from autolens_ml.simulate.morphology.comparison import Construction
    from autolens_ml.training.anomaly_accuracy import ScoreTable
    from autolens_ml.training.morphology_set import MorphologyBatch

__all__ = [
    "anomaly_plot",
    "class_roc_plot",
    "dependence_plot",
    "detection_limit_plot",
    "example_plot",
    "heat_map_plot",
    "score_plot",
    "vortex_plot",
]

WORDS = {
    "no_sub": "no substructure",
    "cdm": "subhaloes",
    "vortex": "vortex",
    "lattice": "lattice of vortices",
}
_COLORS = (
    *("#1f4e79", "#c0392b", "#d68910", "#1e8449", "#6c3483"),
    *("#117a65", "#7b7d7d", "#a04000", "#e84393", "#17202a"),
)
_FEWEST = 1e-3
_HEAT = 5.0


def class_roc_plot(scores: Mapping[str, ClassScores], path: str | Path) -> Path:
    """True against false positive rates of each class against the others.

    Parameters
    ----------
    scores
        By name of the network.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(4.2 * len(CLASSES), 4.2), layout="constrained")
    axes = fig.subplots(1, len(CLASSES), sharey=True)
    for i, (ax, name) in enumerate(zip(axes, CLASSES, strict=True)):
        for color, (network, found) in zip(cycle(_COLORS), scores.items(), strict=False):
            area = found.area(name)
            label = f"{network}: {area['value']:.4f} ({area['low']:.4f} to {area['high']:.4f})"
            false, true = roc_from(found.probabilities[:, i], found.classes == i)
            ax.step(false, true, where="post", color=color, lw=1.6, label=label)
        ax.axvline(0.01, color="0.75", lw=0.8, ls="--")
        ax.set(xscale="log", xlim=(_FEWEST, 1.0), ylim=(0.0, 1.01))
        ax.set_title(f"{WORDS[name]} against the others", fontsize=11)
        ax.set_xlabel("False positive rate", fontsize=11)
        ax.grid(color="0.92")
        ax.legend(fontsize=8, loc="lower right", title="AUC", title_fontsize=8)
    axes[0].set_ylabel("True positive rate", fontsize=11)
    return _saved(fig, path)


def dependence_plot(curves: Mapping[str, Curve], path: str | Path) -> Path:
    """Shares that are detected at 1 % false positives, against what they depend on.

    Parameters
    ----------
    curves
        By name, ``CLASS by QUANTITY``.
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    quantities = list(dict.fromkeys(name.partition(" by ")[2] for name in curves))
    fig = Figure(figsize=(4.6 * len(quantities), 4.0), layout="constrained")
    axes = np.atleast_1d(fig.subplots(1, len(quantities), sharey=True))
    for ax, quantity in zip(axes, quantities, strict=True):
        for color, name in zip(_COLORS[1:], CLASSES[1:], strict=False):
            curve = curves.get(f"{name} by {quantity}")
            if curve is not None:
                _band(ax, curve, color, WORDS[name])
        label = "log$_{10}$ mass of substructure [M$_\\odot$]"
        ax.set_xlabel(label if quantity == "mass" else quantity.capitalize(), fontsize=11)
        ax.set_ylim(0.0, 1.02)
        ax.grid(color="0.92")
        ax.legend(fontsize=9, loc="lower right")
    axes[0].set_ylabel("Detected at 1 % false positives", fontsize=11)
    return _saved(fig, path)


def detection_limit_plot(
    curves: Mapping[str, Curve], limits: Mapping[str, float], halo_mass: float, path: str | Path
) -> Path:
    """Which vortices each method detects at 1 % false positives, and where it reaches 90 %.

    Parameters
    ----------
    curves
        By method: the share detected against log10 of the mass of a vortex [solar masses].
    limits
        Log10 of the mass at which each reaches 90 %, NaN where it does not.
    halo_mass
        Of the halo [solar masses], for the upper axis.
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(7.2, 6.0), layout="constrained")
    ax = fig.subplots()
    for color, (name, curve) in zip(cycle(_COLORS), curves.items(), strict=False):
        limit = limits[name]
        words = f"90 % at {10.0**limit:.1e} M$_\\odot$" if np.isfinite(limit) else "below 90 %"
        _band(ax, curve, color, f"{name}: {words}")
        if np.isfinite(limit):
            ax.plot([limit] * 2, [0.0, 0.9], color=color, lw=0.9, ls=":")
    ax.axhline(0.9, color="0.6", lw=0.8, ls="--")
    ax.axhline(0.01, color="0.8", lw=0.8)
    ax.set(ylim=(0.0, 1.02))
    ax.set_xlabel("log$_{10}$ mass of the vortex [M$_\\odot$]", fontsize=11)
    ax.set_ylabel("Detected at 1 % false positives", fontsize=11)
    ax.grid(color="0.93")
    fig.legend(fontsize=8, loc="outside lower center", ncols=2)  # curves are all over the axes
    shift = np.log10(halo_mass) - 2.0
    above = ax.secondary_xaxis(
        "top", functions=(lambda x: 10.0 ** (x - shift), lambda x: np.log10(x) + shift)
    )
    above.set_xlabel("% of the halo's mass", fontsize=10)
    return _saved(fig, path)


def score_plot(table: ScoreTable, path: str | Path) -> Path:
    """Distributions of anomaly scores by class; the line is that of 1 % false positives.

    Parameters
    ----------
    table
        Scores of lenses whose class is known.
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(4.2 * len(table.scores), 3.6), layout="constrained")
    axes = np.atleast_1d(fig.subplots(1, len(table.scores)))
    for ax, (name, score) in zip(axes, table.scores.items(), strict=True):
        low, high = np.quantile(score, (0.001, 0.99))
        bins = np.linspace(low, high, 50)
        for i, (color, kind) in enumerate(zip(_COLORS, CLASSES, strict=False)):
            values = np.clip(score[table.classes == i], low, high)
            ax.hist(values, bins, histtype="step", density=True, color=color, label=WORDS[kind])
        ordinary = score[table.classes == 0]
        ax.axvline(np.quantile(ordinary, 0.99), color="0.5", lw=0.8, ls="--")
        ax.set_xlabel(name, fontsize=11)
        ax.set_yticks([])
    axes[0].legend(fontsize=9)
    return _saved(fig, path)


def heat_map_plot(
    network: AnomalyNetwork,
    systems: MorphologySystems,
    batch: MorphologyBatch,
    pixel_scale: float,
    path: str | Path,
) -> Path:
    """Lenses of each class: what is seen, what the network would have, where it is strange.

    Crosses are true subhaloes, the larger the heavier, and lines are true vortices.

    Parameters
    ----------
    network
        An autoencoder that is told nothing.
    systems, batch
        Lenses and their observations.
    pixel_scale
        arcsec per pixel.
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    rows = [int(np.flatnonzero(systems.classes == i)[0]) for i in np.unique(systems.classes)]
    images, noise = batch.images[rows], batch.noise[rows]
    with torch.inference_mode():
        found = network.reconstruct(images).numpy()
        heat = network.heat_map(images, noise).numpy()
    columns = ("observed", "reconstruction", "anomaly [σ]")
    fig = Figure(figsize=(3.2 * len(columns), 3.1 * len(rows)), layout="constrained")
    axes = np.atleast_2d(fig.subplots(len(rows), len(columns)))
    for i, row in enumerate(rows):
        brightest = float(images[i].max())
        for ax, picture in zip(axes[i], (images[i].numpy(), found[i]), strict=False):
            ax.imshow(np.arcsinh(picture / 3.0), vmin=-0.5, vmax=np.arcsinh(brightest / 3.0))
        shown = axes[i, 2].imshow(heat[i], cmap="RdBu_r", vmin=-_HEAT, vmax=_HEAT)
        _mark(axes[i, 2], systems, row, heat.shape[-1], pixel_scale)
        axes[i, 0].set_ylabel(WORDS[KINDS[systems.kinds[row]]], fontsize=11)
    fig.colorbar(shown, ax=axes[:, 2], shrink=0.7)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, fontsize=11)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return _saved(fig, path)


def anomaly_plot(
    image: np.ndarray, rebuilt: np.ndarray, heat: np.ndarray, path: str | Path
) -> Path:
    """One lens, what a network would have instead, and where it is strange.

    Parameters
    ----------
    image, rebuilt
        In units of the noise, shape (y, x).
    heat
        Smoothed residuals in units of their noise, shape (y, x).
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(10.2, 3.3), layout="constrained")
    axes = fig.subplots(1, 3)
    top = np.arcsinh(image.max() / 3.0)
    for ax, picture, title in zip(
        axes, (image, rebuilt), ("observed", "reconstruction"), strict=False
    ):
        ax.imshow(np.arcsinh(picture / 3.0), vmin=-0.5, vmax=top)
        ax.set_title(title, fontsize=11)
    shown = axes[2].imshow(heat, cmap="RdBu_r", vmin=-_HEAT, vmax=_HEAT)
    axes[2].set_title("anomaly [σ]", fontsize=11)
    fig.colorbar(shown, ax=axes[2], shrink=0.8)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return _saved(fig, path)


def example_plot(
    systems: MorphologySystems, pixel_scale: float, path: str | Path, n: int = 6
) -> Path:
    """Noise-free lenses of every kind, one row each, with their true substructure."""
    kinds = np.unique(systems.kinds)
    fig = Figure(figsize=(2.1 * n, 2.2 * len(kinds)), layout="constrained")
    axes = np.atleast_2d(fig.subplots(len(kinds), n))
    for line, kind in zip(axes, kinds, strict=True):
        line[0].set_ylabel(WORDS[KINDS[kind]], fontsize=11)
        for ax, row in zip(line, np.flatnonzero(systems.kinds == kind), strict=False):
            ax.imshow(np.arcsinh(systems.images[row].astype(float) / 3.0))
            _mark(ax, systems, row, systems.images.shape[-1], pixel_scale, color="w")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return _saved(fig, path)


def vortex_plot(constructions: Sequence[Construction], path: str | Path) -> Path:
    """Ways to make a vortex beside the exact one: deflections across it, and their difference.

    Parameters
    ----------
    constructions
        The exact one first.
    path
        The file to write.

    Returns
    -------
    Path
        The file.
    """
    exact, others = constructions[0], constructions[1:]
    fig = Figure(figsize=(4.0 * len(constructions), 6.6), layout="constrained")
    maps, profiles = fig.subplots(2, len(constructions))
    largest = float(np.abs(exact.across).max())
    extent = (exact.x[0], exact.x[-1], exact.y[-1], exact.y[0])
    for ax, each in zip(maps, constructions, strict=True):
        shown = ax.imshow(each.across, extent=extent, cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set_title(each.name, fontsize=11)
        ax.set_xlabel("along [arcsec]", fontsize=10)
    maps[0].set_ylabel("across [arcsec]", fontsize=10)
    fig.colorbar(shown, ax=maps, shrink=0.8, label="deflection across [arcsec]")
    middle = exact.across.shape[1] // 2
    profiles[0].plot(exact.y, exact.across[:, middle], color=_COLORS[0], label=exact.name)
    for color, each in zip(_COLORS[1:], others, strict=False):
        profiles[0].plot(each.y, each.across[:, middle], color=color, lw=1.2, label=each.name)
    profiles[0].set_ylabel("deflection across [arcsec]", fontsize=10)
    profiles[0].legend(fontsize=8, loc="upper left")
    for ax, each, color in zip(profiles[1:], others, _COLORS[1:], strict=False):
        error = np.hypot(each.across - exact.across, each.along - exact.along)
        for share, style in ((50, "-"), (100, ":")):
            ax.plot(exact.y, np.percentile(error, share, axis=1), style, color=color, lw=1.2)
        ax.set_yscale("log")
        ax.set_title("difference: median and largest along a row", fontsize=9)
        ax.set_ylabel("[arcsec]", fontsize=10)
    for ax in profiles:
        ax.set_xlabel("across [arcsec]", fontsize=10)
        ax.grid(color="0.92")
    return _saved(fig, path)


def _mark(
    ax: Any, systems: MorphologySystems, row: int, side: int, pixel_scale: float, color: str = "k"
) -> None:
    """Draw the true substructure over an image."""

    def place(y: Any, x: Any) -> tuple[Any, Any]:
        middle = 0.5 * (side - 1)
        return middle + x / pixel_scale, middle - y / pixel_scale

    for y, x, radius in systems.points[row]:
        if radius > 0.0:
            ax.plot(*place(y, x), "+", color=color, ms=2.0 + 60.0 * radius, mew=0.8)
    for y, x, angle, half_length, _, radius in systems.strings[row]:
        if radius > 0.0:
            phi = np.radians(angle)
            ends = np.array([-half_length, half_length])
            ax.plot(*place(y + ends * np.sin(phi), x + ends * np.cos(phi)), color=color, lw=1.0)
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))


def _band(ax: Any, curve: Curve, color: str, label: str) -> None:
    ax.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.12, lw=0)
    ax.plot(curve.x, curve.value, "o-", ms=3.5, lw=1.4, color=color, label=label)


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
