"""What an autoencoder makes of maps: reconstructions, samples of its prior, spectra of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from autolens_ml.simulate.maps import Spectrum

__all__ = ["reconstructions_plot", "samples_plot", "spectra_plot"]

_COLORS = {"maps": "#1f4e79", "reconstructions": "#d68910", "samples": "#c0392b"}
# Maps are shown linearly up to here, in units of their mean in the disc, and then logarithmically.
_LINEAR = 0.1
_N_COLUMNS = 12
_SAMPLES = (4, 6)
_RESIDUAL = 5.0  # units of noise


def reconstructions_plot(
    maps: np.ndarray,
    reconstructions: np.ndarray,
    noise: np.ndarray,
    labels: Sequence[str],
    path: str | Path,
) -> Path:
    """Maps, what they are decoded to, and the difference in units of noise, one below the other.

    Parameters
    ----------
    maps, reconstructions, noise
        Shape (n, y, x).
    labels
        What each map is of, n of them; as many of each are shown.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    kinds = list(dict.fromkeys(labels))
    each = [np.flatnonzero(np.array(labels) == kind)[: _N_COLUMNS // len(kinds)] for kind in kinds]
    shown = np.concatenate(each)
    fig = Figure(figsize=(1.25 * len(shown) + 0.9, 4.4), layout="constrained")
    panels = fig.subplots(3, len(shown), squeeze=False)
    highest = np.arcsinh(np.quantile(maps[shown], 0.999) / _LINEAR)
    for column, i in zip(panels.T, shown, strict=True):
        for ax, image in zip(column[:2], (maps[i], reconstructions[i]), strict=True):
            ax.imshow(np.arcsinh(image / _LINEAR), vmin=0.0, vmax=highest, cmap="inferno")
        residual = (maps[i] - reconstructions[i]) / noise[i]
        difference = column[2].imshow(residual, vmin=-_RESIDUAL, vmax=_RESIDUAL, cmap="RdBu_r")
        column[0].set_title(labels[i], fontsize=7)
    for ax, label in zip(panels[:, 0], ("map", "reconstruction", "difference"), strict=True):
        ax.set_ylabel(label, fontsize=9)
    _without_ticks(panels.ravel())
    fig.colorbar(difference, ax=panels[2], label="noise", pad=0.01)
    return _saved(fig, path)


def samples_plot(maps: np.ndarray, samples: np.ndarray, path: str | Path) -> Path:
    """Maps on the left, draws of the prior on the right, alike if the prior is any good.

    Parameters
    ----------
    maps, samples
        Shape (n, y, x), with a mean of one in the disc; the first are shown.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    rows, columns = _SAMPLES
    fig = Figure(figsize=(2 * columns * 0.95 + 0.3, rows * 0.95 + 0.4), layout="constrained")
    highest = np.arcsinh(np.quantile(maps[: rows * columns], 0.999) / _LINEAR)
    sides = fig.subfigures(1, 2, wspace=0.03)
    for side, images, title in zip(sides, (maps, samples), ("maps", "samples"), strict=True):
        panels = side.subplots(rows, columns, gridspec_kw={"wspace": 0.02, "hspace": 0.02}).ravel()
        for ax, image in zip(panels, images, strict=False):
            ax.imshow(np.arcsinh(image / _LINEAR), vmin=0.0, vmax=highest, cmap="inferno")
        _without_ticks(panels)
        side.suptitle(title, fontsize=11)
    return _saved(fig, path)


def spectra_plot(spectra: Mapping[str, Spectrum], path: str | Path) -> Path:
    """Power of maps, reconstructions and samples, and the coherence of reconstructions with maps.

    Spectra of maps less the typical one show whether what sets a map apart is right. Bands are two
    standard deviations either way.

    Parameters
    ----------
    spectra
        ``power_of_maps``, ``power_of_reconstructions``, ``power_of_samples`` and
        ``coherence_of_reconstructions``; wavenumbers in cycles per radius of the disc.
    path
        The file to write; its ending sets the format.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(9.6, 4.2), layout="constrained")
    power, shared = fig.subplots(1, 2)
    for name, color in _COLORS.items():
        _curve(power, spectra[f"power_of_{name}"], color, name)
    power.set(xscale="log", yscale="log")
    power.set_ylabel("Power", fontsize=11)
    power.legend(fontsize=9)
    coherence = spectra["coherence_of_reconstructions"]
    _curve(shared, coherence, _COLORS["reconstructions"], "reconstructions")
    for height in (0.0, 1.0):
        shared.axhline(height, color="0.6", lw=0.8)
    shared.set(xscale="log", ylim=(min(-0.05, np.nanmin(coherence.value)), 1.03))
    shared.set_ylabel("Coherence with the map", fontsize=11)
    for ax in (power, shared):
        ax.set_xlabel("Wavenumber (cycles per radius of the disc)", fontsize=11)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    return _saved(fig, path)


def _curve(ax: Axes, spectrum: Spectrum, color: str, label: str) -> None:
    x, y, error = spectrum.wavenumber, spectrum.value, 2.0 * spectrum.error
    ax.fill_between(x, y - error, y + error, color=color, alpha=0.2, lw=0)
    ax.plot(x, y, color=color, lw=1.5, label=label)


def _without_ticks(panels: Sequence[Axes]) -> None:
    for ax in panels:
        ax.set(xticks=[], yticks=[])


def _saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=120, format=path.suffix.removeprefix(".") or "png")
    return path
