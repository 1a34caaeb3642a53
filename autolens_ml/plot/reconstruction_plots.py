"""Reconstructions of lenses: data, model and maps side by side, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from autolens_ml.simulate.maps import Spectrum

if TYPE_CHECKING:
    from autolens_ml.inference.reconstruction.reconstruct import Reconstruction

__all__ = ["TrueMaps", "accuracy_plot", "reconstruction_plot", "steps_plot"]

_COLORS = ("#1f4e79", "#c0392b", "#d68910", "#6a1b9a")

_PANEL = 1.7  # inches
_RESIDUAL = 5.0  # units of noise
# Faint light is seen as well.
_GAMMA = 0.6
# A source is shown where its light is: this many times the radius that holds 90 per cent of it.
_CLOSE = 2.0


@dataclass(frozen=True, eq=False)
class TrueMaps:
    """What a simulated lens is.

    Attributes
    ----------
    source : ndarray
        On the pixels of the reconstruction, shape (rows, columns).
    convergence : ndarray
        On its pixels, shape (y, x).
    """

    source: np.ndarray
    convergence: np.ndarray


def reconstruction_plot(
    reconstructions: Sequence[Reconstruction],
    path: str | Path,
    truths: Sequence[TrueMaps] | None = None,
    labels: Sequence[str] | None = None,
) -> Path:
    """One lens in each row: data, model, residuals, source and convergence, and the true ones.

    Panels of one quantity in one row have one scale. Residuals are in units of the noise; below
    them is the reduced chi-squared.

    Parameters
    ----------
    reconstructions
        The lenses.
    path
        The file to write; its ending sets the format.
    truths
        What they are, as many, if it is known.
    labels
        What to call them, as many.

    Returns
    -------
    Path
        The file.
    """
    titles = ["data", "model", "residuals", "source", "convergence"]
    if truths is not None:
        titles[4:4] = ["true source"]
        titles.append("true convergence")
    n = len(reconstructions)
    fig = Figure(figsize=(_PANEL * len(titles) + 0.8, _PANEL * n + 0.35), layout="constrained")
    panels = fig.subplots(n, len(titles), squeeze=False)
    for title, ax in zip(titles, panels[0], strict=True):
        ax.set_title(title, fontsize=9)
    for i, (row, found) in enumerate(zip(panels, reconstructions, strict=True)):
        truth = None if truths is None else truths[i]
        residuals = _row(row, found, truth)
        if labels is not None:
            row[0].set_ylabel(labels[i], fontsize=8)
    fig.colorbar(residuals, ax=panels[:, -1], label="residuals (noise)", shrink=0.8, pad=0.03)
    return _saved(fig, path)


def steps_plot(found: Reconstruction, path: str | Path, truth: TrueMaps | None = None) -> Path:
    """Source and convergence after each step, from left to right.

    Parameters
    ----------
    found
        The reconstruction; above each step is its reduced chi-squared.
    path
        The file to write; its ending sets the format.
    truth
        What the lens is, in a last column, if it is known.

    Returns
    -------
    Path
        The file.
    """
    sources, convergences = list(found.steps.source), list(found.steps.convergence)
    titles = [
        f"step {t}\n$\\chi^2_\\nu$ = {value:.3g}"
        for t, value in enumerate(found.chi_squared, start=1)
    ]
    if truth is not None:
        sources.append(truth.source)
        convergences.append(truth.convergence)
        titles.append("truth")
    fig = Figure(figsize=(_PANEL * len(titles), 2 * _PANEL + 0.5), layout="constrained")
    panels = fig.subplots(2, len(titles), squeeze=False)
    brightest = float(np.max(sources[-1]))
    lowest, highest = _range(convergences[-1])
    for column, source, convergence, title in zip(
        panels.T, sources, convergences, titles, strict=True
    ):
        _light(column[0], source, found.source_pixel_scale, brightest)
        _mass(column[1], convergence, found.pixel_scale, lowest, highest)
        column[0].set_title(title, fontsize=8)
    for ax, label in zip(panels[:, 0], ("source", "convergence"), strict=True):
        ax.set_ylabel(label, fontsize=9)
    _without_ticks(panels.ravel())
    return _saved(fig, path)


def accuracy_plot(
    chi_squared: Mapping[str, np.ndarray],
    einstein_radii: tuple[np.ndarray, np.ndarray],
    coherences: Mapping[str, Spectrum],
    path: str | Path,
) -> Path:
    """How well many lenses are reproduced, their Einstein radii, and which waves are right.

    Parameters
    ----------
    chi_squared
        Reduced, by what it is of; those of one name are one histogram.
    einstein_radii
        True and reconstructed ones [arcsec].
    coherences
        Of reconstructions and truth, by what they are of; bands are two standard deviations.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(11.4, 3.7), layout="constrained")
    left, middle, right = fig.subplots(1, 3)
    highest = max(float(np.quantile(each, 0.98)) for each in chi_squared.values())
    bins = np.geomspace(0.85, max(highest, 1.5), 40)
    for color, (name, values) in zip(_COLORS, chi_squared.items(), strict=False):
        inside = np.clip(values, bins[0], bins[-1])
        left.hist(inside, bins, histtype="step", color=color, lw=1.5, label=name)
    left.axvspan(0.95, 1.1, color="0.9", lw=0)
    left.set(xscale="log", xlabel="Reduced chi-squared", ylabel="Lenses")
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0)))
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.legend(fontsize=8, frameon=False)
    truth, found = einstein_radii
    ends = (0.9 * float(np.min(truth)), 1.05 * float(np.max(truth)))
    middle.plot(ends, ends, color="0.6", lw=0.8)
    middle.plot(truth, found, ".", color=_COLORS[0], ms=4)
    middle.set(xlim=ends, ylim=ends)
    middle.set(xlabel="True Einstein radius (arcsec)", ylabel="Reconstructed (arcsec)")
    for color, (name, spectrum) in zip(_COLORS, coherences.items(), strict=False):
        x, y, error = spectrum.wavenumber, spectrum.value, 2.0 * spectrum.error
        right.fill_between(x, y - error, y + error, color=color, alpha=0.2, lw=0)
        right.plot(x, y, color=color, lw=1.5, label=name)
    for height in (0.0, 1.0):
        right.axhline(height, color="0.6", lw=0.8)
    right.set(xlabel="Wavenumber (cycles per arcsec)", ylabel="Coherence with the truth")
    right.legend(fontsize=8, frameon=False)
    return _saved(fig, path)


def _row(row: Sequence[Axes], found: Reconstruction, truth: TrueMaps | None) -> AxesImage:
    used = found.mask > 0
    data = np.where(used, found.data, np.nan)
    # One bright pixel of noise must not set the scale.
    brightest = float(np.quantile(found.data[used], 0.998))
    _light(row[0], data, found.pixel_scale, brightest)
    _light(row[1], found.model_image, found.pixel_scale, brightest)
    shown = np.where(used, found.normalised_residuals, np.nan)
    residuals = row[2].imshow(shown, vmin=-_RESIDUAL, vmax=_RESIDUAL, cmap="RdBu_r")
    row[2].set_xlabel(f"$\\chi^2_\\nu$ = {found.reduced_chi_squared:.2f}", fontsize=8)
    sources = [found.source] if truth is None else [found.source, truth.source]
    convergences = [found.convergence] if truth is None else [found.convergence, truth.convergence]
    brightest = max(float(np.max(each)) for each in sources)
    for ax, source in zip(row[3:], sources, strict=False):
        _light(ax, source, found.source_pixel_scale, brightest)
        _closer(ax, found)
    lowest, highest = _range(convergences[-1])
    for ax, convergence in zip(row[3 + len(sources) :], convergences, strict=True):
        _mass(ax, convergence, found.pixel_scale, lowest, highest)
    _without_ticks(row)
    return residuals


def _light(ax: Axes, values: np.ndarray, pixel_scale: float, brightest: float) -> None:
    norm = PowerNorm(_GAMMA, vmin=0.0, vmax=brightest, clip=True)
    ax.imshow(values, norm=norm, cmap="inferno", extent=_extent(values, pixel_scale))
    ax.set_facecolor("0.5")


def _mass(ax: Axes, values: np.ndarray, pixel_scale: float, lowest: float, highest: float) -> None:
    norm, extent = LogNorm(lowest, highest, clip=True), _extent(values, pixel_scale)
    ax.imshow(values, norm=norm, cmap="viridis", extent=extent)
    # Lines of one convergence tell shapes apart that colours do not.
    levels = np.geomspace(lowest, highest, 6)[1:-1]
    ax.contour(values, levels, colors="white", linewidths=0.5, extent=extent, origin="upper")


def _closer(ax: Axes, found: Reconstruction) -> None:
    """Where the light of the source is, inside of the map."""
    (y, x), radius = found.summary.source_centroid, _CLOSE * found.summary.source_radii[0.9]
    for set_limits, middle, n in ((ax.set_ylim, y, 0), (ax.set_xlim, x, 1)):
        half = 0.5 * found.source.shape[n] * found.source_pixel_scale
        set_limits(max(middle - radius, -half), min(middle + radius, half))
    ax.set_box_aspect(1.0)
    ax.set_aspect("auto")


def _range(convergence: np.ndarray) -> tuple[float, float]:
    return float(np.quantile(convergence, 0.005)), float(np.quantile(convergence, 0.998))


def _extent(values: np.ndarray, pixel_scale: float) -> tuple[float, float, float, float]:
    height, width = (0.5 * n * pixel_scale for n in values.shape)
    return (-width, width, -height, height)


def _without_ticks(panels: Sequence[Axes]) -> None:
    for ax in panels:
        ax.set(xticks=[], yticks=[])


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
