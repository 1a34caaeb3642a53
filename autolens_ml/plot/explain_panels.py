"""Panels and frames of the figures in ``plot.explain_plots``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from autolens_ml.explain.kernels import KernelAnswers

__all__ = [
    "animated",
    "brightest",
    "brightest_band",
    "colours_of",
    "contours",
    "extent",
    "figure_of",
    "frame_of",
    "in_noise",
    "row_of_panels",
    "saved",
    "show_image",
    "show_montage",
    "show_tile",
    "stretched",
    "tile",
]

_PANEL = 2.6  # inches
_DPI = 120
_ANIMATED_DPI = 80
# Grey levels of an image: arcsinh(z / 3) of these multiples of the noise.
_STRETCH = (-2.0, 100.0)
_FAINTEST = 5.0  # brightest pixel of a picture, at least
_MISSING = "0.35"


def stretched(image: np.ndarray) -> np.ndarray:
    """Grey levels of an image in units of its noise."""
    return np.arcsinh(image / 3.0)


def in_noise(plane: np.ndarray) -> np.ndarray:
    """An image in units of the noise of its sky."""
    rest = plane - np.nanmedian(plane)
    noise = 1.4826 * np.nanmedian(np.abs(rest))
    return rest / noise if noise > 0.0 else rest


def show_image(ax: Axes, plane: np.ndarray, pixel_scale: float) -> AxesImage:
    low, high = stretched(np.array(_STRETCH))
    ax.set_facecolor(_MISSING)
    return ax.imshow(
        stretched(in_noise(plane)),
        extent=extent(plane, pixel_scale),
        cmap="gray",
        vmin=low,
        vmax=high,
    )


def tile(image: np.ndarray) -> np.ndarray:
    return np.concatenate(list(image), axis=1)


def show_tile(ax: Axes, image: np.ndarray, last: np.ndarray) -> AxesImage:
    """Bands side by side, as bright as the last frame needs."""
    low, _ = stretched(np.array(_STRETCH))
    high = max(stretched(np.array(_FAINTEST)), stretched(np.nanmax(last)))
    drawn = ax.imshow(stretched(tile(image)), cmap="gray", vmin=low, vmax=high)
    ax.set_facecolor(_MISSING)
    ax.set_xticks([])
    ax.set_yticks([])
    return drawn


def show_montage(ax: Axes, answer: KernelAnswers, kernels: np.ndarray, columns: int) -> None:
    """Answers of kernels side by side, each from its faintest pixel to its brightest."""
    side = answer.layer.side
    gap = max(1, side // 16)
    rows = -(-len(kernels) // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap), np.nan)
    for i, kernel in enumerate(kernels):
        row, column = ((side + gap) * at for at in divmod(i, columns))
        values = answer.maps[kernel] - answer.maps[kernel].min()
        sheet[row : row + side, column : column + side] = values / (values.max() or 1.0)
    ax.imshow(sheet, cmap="gray", vmin=0.0, vmax=1.0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_frame_on(False)


def brightest_band(image: np.ndarray) -> int:
    return int(np.argmax([np.nanmax(in_noise(plane)) for plane in image]))


def brightest(image: np.ndarray) -> np.ndarray:
    """The band in which a system stands out most, in units of its noise."""
    return in_noise(image[brightest_band(image)])


def colours_of(maps: np.ndarray) -> dict[str, object]:
    """Colours of maps: white is zero, or black where there is nothing below it."""
    largest = float(np.abs(maps).max()) or 1.0
    if maps.min() < 0.0:
        return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    return {"cmap": "inferno", "vmin": 0.0, "vmax": largest}


def contours(ax: Axes, plane: np.ndarray, pixel_scale: float) -> None:
    largest = float(np.abs(plane).max())
    for sign, color in ((-1.0, "#4fa3e0"), (1.0, "#e06050")):
        if largest > 0.0 and np.any(sign * plane >= 0.5 * largest):
            ax.contour(
                sign * plane,
                levels=[0.5 * largest],
                colors=[color],
                linewidths=0.9,
                extent=extent(plane, pixel_scale),
                origin="upper",
            )


def extent(plane: np.ndarray, pixel_scale: float) -> tuple[float, float, float, float]:
    y, x = (0.5 * pixel_scale * side for side in plane.shape)
    return -x, x, -y, y


def figure_of(columns: int, rows: int) -> Figure:
    """A figure for so many panels."""
    size = (_PANEL * columns + 0.8, _PANEL * rows + 0.7)
    return Figure(figsize=size, layout="constrained")


def row_of_panels(names: Sequence[str], title: str) -> tuple[Figure, np.ndarray]:
    """A figure with one panel for each name."""
    fig = figure_of(len(names), 1)
    axes = fig.subplots(1, len(names), squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, fontsize=10)
    fig.suptitle(title, fontsize=11)
    return fig, axes


def frame_of(fig: Figure) -> np.ndarray:
    """The pixels of a figure."""
    fig.set_dpi(_ANIMATED_DPI)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    # Later frames have the layout of the first, which takes most of the time.
    fig.set_layout_engine("none")
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def animated(frames: Iterable[np.ndarray], path: str | Path, durations: list[int]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = [Image.fromarray(frame) for frame in frames]
    with open_atomic(path, "wb") as file:
        first.save(
            file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0
        )
    return path


def saved(fig: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path, "wb") as file:
        fig.savefig(file, dpi=_DPI, format=path.suffix.removeprefix(".") or "png")
    return path
