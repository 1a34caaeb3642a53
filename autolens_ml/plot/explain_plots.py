"""What networks look at: maps over cut-outs, what kernels answer, and images that excite them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autolens_ml.explain.kernels import KernelAnswers
from autolens_ml.explain.maximise import Maximised
from autolens_ml.explain.sanity import Sanity
from autolens_ml.plot.explain_panels import (
    animated,
    brightest,
    brightest_band,
    colours_of,
    contours,
    extent,
    figure_of,
    frame_of,
    row_of_panels,
    saved,
    show_image,
    show_montage,
    show_tile,
    stretched,
    tile,
)

__all__ = [
    "kernels_animation",
    "kernels_plot",
    "map_animation",
    "map_plot",
    "maximised_animation",
    "maximised_plot",
    "occlusion_animation",
    "sanity_animation",
    "sanity_plot",
]

# Milliseconds of a frame, and of the last one.
_FRAME, _LAST = 120, 1500
_FADES = 12
_ROWS = 20  # frames of an occlusion
_KERNELS = 64  # of a layer, in a frame
_SHOWN = 8  # of a layer, in a figure
_TILE = 1.5  # inches of an image among others
_BLUE, _RED = "#1f4e79", "#c0392b"


def map_plot(
    image: np.ndarray,
    maps: np.ndarray,
    path: str | Path,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    label: str = "",
    title: str = "",
) -> Path:
    """A cut-out above the maps that explain it, on axes in arcsec from its middle.

    Maps with both signs are blue where they are negative and red where they are positive. In the
    cut-out, lines enclose what is above half of a map's largest absolute value.

    Parameters
    ----------
    image
        Shape (n_bands, y, x), in any units, NaN where there are no data.
    maps
        Shape (1, y, x) or (n_bands, y, x).
    path
        The file to write; its ending sets the format.
    bands
        Names.
    pixel_scale
        In arcsec.
    label
        What the maps are, for the colour bar.
    title
        Of the figure.

    Returns
    -------
    Path
        The file.
    """
    shared = len(maps) == 1
    columns = len(bands) + 1 if shared else len(bands)
    fig = figure_of(columns, 1 if shared else 2)
    axes = fig.subplots(1 if shared else 2, columns, squeeze=False, sharex=True, sharey=True)
    images, shown = (axes[0, :-1], axes[0, -1:]) if shared else axes
    style = colours_of(maps)
    for i, (ax, band, plane) in enumerate(zip(images, bands, image, strict=True)):
        show_image(ax, plane, pixel_scale)
        contours(ax, maps[0 if shared else i], pixel_scale)
        ax.set_title(band, fontsize=10)
    for ax, plane in zip(shown, maps, strict=True):
        drawn = ax.imshow(plane, extent=extent(plane, pixel_scale), **style)
    fig.colorbar(drawn, ax=list(shown), shrink=0.8).set_label(label, fontsize=9)
    fig.supylabel("y (arcsec)", fontsize=10)
    fig.supxlabel("x (arcsec)", fontsize=10)
    fig.suptitle(title, fontsize=11)
    return saved(fig, path)


def map_animation(
    image: np.ndarray,
    maps: np.ndarray,
    path: str | Path,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    title: str = "",
) -> Path:
    """A cut-out that fades into the maps that explain it, and back, as a GIF.

    Parameters
    ----------
    image, maps, path, bands, pixel_scale, title
        As of `map_plot`.

    Returns
    -------
    Path
        The file.
    """
    style = colours_of(maps)
    fig, axes = row_of_panels(bands, title)
    for ax, plane in zip(axes, image, strict=True):
        show_image(ax, plane, pixel_scale)
    before = frame_of(fig)
    for i, ax in enumerate(axes):
        own = maps[i if len(maps) > 1 else 0]
        ax.imshow(own, extent=extent(own, pixel_scale), **style)
    after = frame_of(fig)
    steps = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, _FADES))
    frames = [
        ((1.0 - alpha) * before + alpha * after).round().astype(np.uint8)
        for alpha in (*steps, *steps[-2:0:-1])
    ]
    # At the ends the eye needs time to compare.
    durations = [_FRAME] * len(frames)
    durations[0] = durations[_FADES - 1] = _LAST // 2
    return animated(frames, path, durations)


def occlusion_animation(
    image: np.ndarray,
    maps: np.ndarray,
    path: str | Path,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    window: int,
    label: str = "",
    title: str = "",
) -> Path:
    """An occlusion map as it is made: a square moves over the cut-out, row by row, as a GIF.

    Parameters
    ----------
    image, maps, path, bands, pixel_scale, label, title
        As of `map_plot`.
    window
        Pixels a side of the square.

    Returns
    -------
    Path
        The file.
    """
    fig = figure_of(2, 1)
    seen, found = fig.subplots(1, 2)
    plane, answer = brightest(image), maps.sum(axis=0)
    hidden = show_image(seen, plane, pixel_scale)
    drawn = found.imshow(
        np.full_like(answer, np.nan), extent=extent(answer, pixel_scale), **colours_of(maps)
    )
    found.set_facecolor("0.9")
    seen.set_title(bands[brightest_band(image)], fontsize=10)
    found.set_title(label, fontsize=10)
    fig.suptitle(title, fontsize=11)
    side = answer.shape[0]
    rows = np.unique(np.linspace(0, side - window, _ROWS).astype(int) // window * window)

    def frames() -> Iterable[np.ndarray]:
        for number, row in enumerate(rows):
            # From left to right, faster than the rows go down.
            column = (5 * number * window) % max(side - window, 1)
            cut = plane.copy()
            cut[row : row + window, column : column + window] = np.nan
            hidden.set_data(stretched(cut))
            known = answer.copy()
            known[row + window :] = np.nan
            drawn.set_data(known)
            yield frame_of(fig)
        hidden.set_data(stretched(plane))
        drawn.set_data(answer)
        yield frame_of(fig)

    return animated(frames(), path, [_FRAME] * len(rows) + [_LAST])


def kernels_plot(answers: Sequence[KernelAnswers], path: str | Path, *, title: str = "") -> Path:
    """What kernels answer: those of each layer that vary most, and the mean answers of all.

    Parameters
    ----------
    answers
        Of all layers.
    path
        The file to write; its ending sets the format.
    title
        Of the figure.

    Returns
    -------
    Path
        The file.
    """
    fig = Figure(figsize=(1.05 * (_SHOWN + 4), 1.1 * len(answers) + 0.8), layout="constrained")
    grid = fig.add_gridspec(len(answers), _SHOWN + 4)
    means = fig.add_subplot(grid[:, _SHOWN + 1 :])
    for row, answer in enumerate(answers):
        ax = fig.add_subplot(grid[row, : _SHOWN + 1])
        kernels = answer.strongest(_SHOWN)
        show_montage(ax, answer, kernels, columns=_SHOWN)
        ax.set_title(f"kernels {', '.join(map(str, kernels))}", fontsize=7, pad=2.0)
        ax.set_ylabel(f"{answer.layer.number}: {answer.layer.side} px", fontsize=8)
        values = answer.means
        # Layers answer on different scales.
        means.plot(
            values / max(np.abs(values).max(), np.finfo(float).tiny),
            np.full(len(values), answer.layer.number),
            "|",
            color=_BLUE,
            ms=9.0,
            mew=1.0,
        )
    means.axvline(0.0, color="0.7", lw=0.8)
    means.set(ylim=(len(answers) + 0.5, 0.5), xlim=(-1.1, 1.1), yticks=range(1, len(answers) + 1))
    means.set_xlabel("Mean answer / largest", fontsize=9)
    means.set_ylabel("Layer", fontsize=9)
    means.tick_params(labelsize=8)
    fig.suptitle(title, fontsize=11)
    return saved(fig, path)


def kernels_animation(
    answers: Sequence[KernelAnswers], path: str | Path, *, title: str = ""
) -> Path:
    """What kernels answer, layer by layer, as a GIF.

    Parameters
    ----------
    answers, path, title
        As of `kernels_plot`.

    Returns
    -------
    Path
        The file.
    """
    columns = int(np.ceil(np.sqrt(min(_KERNELS, max(len(a.maps) for a in answers)))))

    def frames() -> Iterable[np.ndarray]:
        for answer in answers:
            fig = figure_of(2, 2)
            show_montage(fig.subplots(), answer, np.sort(answer.strongest(columns**2)), columns)
            fig.suptitle(f"{title} layer {answer.layer.number}", fontsize=10)
            yield frame_of(fig)

    return animated(frames(), path, [8 * _FRAME] * len(answers))


def maximised_plot(
    result: Maximised,
    path: str | Path,
    *,
    bands: Sequence[str],
    pixel_scale: float,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Images before and after, and how what was made large grew.

    Parameters
    ----------
    result
        Of an activation maximisation. Several images are shown as they are in the end alone.
    path
        The file to write; its ending sets the format.
    bands
        Names.
    pixel_scale
        In arcsec.
    names
        Of the images.
    title
        Of the figure.

    Returns
    -------
    Path
        The file.
    """
    n = len(result.images)
    # One image before and after, by band; or several after, their bands side by side.
    columns = len(bands) if n == 1 else min(n, 4)
    rows = 2 if n == 1 else -(-n // columns)
    wide = _TILE if n == 1 else _TILE * len(bands)
    fig = Figure(
        figsize=(wide * columns + 2.2 * _TILE, 1.15 * _TILE * rows + 0.7), layout="constrained"
    )
    grid = fig.add_gridspec(rows, columns + 1, width_ratios=[wide] * columns + [2.2 * _TILE])
    curve = fig.add_subplot(grid[:, -1])
    if n == 1:
        for row, frame in enumerate((0, -1)):
            for column, (band, plane) in enumerate(
                zip(bands, result.frames[frame, 0], strict=True)
            ):
                ax = fig.add_subplot(grid[row, column])
                show_image(ax, plane, pixel_scale)
                ax.tick_params(labelsize=7)
                if row == 0:
                    ax.set_title(band, fontsize=10)
                if column == 0:
                    ax.set_ylabel(f"step {result.steps[frame]}", fontsize=9)
    else:
        for i, image in enumerate(result.images):
            ax = fig.add_subplot(grid[divmod(i, columns)])
            show_tile(ax, image, image)
            ax.set_title(names[i] if names else "", fontsize=8)
        if len(bands) > 1:
            fig.supxlabel(f"Bands from left to right: {', '.join(bands)}", fontsize=9)
    curve.plot(result.steps, result.scores, lw=1.2, color=_BLUE if n == 1 else None)
    curve.set_xlabel("Step", fontsize=9)
    curve.set_ylabel("What is made large", fontsize=9)
    curve.tick_params(labelsize=8)
    fig.suptitle(title, fontsize=11)
    return saved(fig, path)


def maximised_animation(
    result: Maximised,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Images as they grow, as a GIF; bands stand side by side.

    Parameters
    ----------
    result, path, names, title
        As of `maximised_plot`.

    Returns
    -------
    Path
        The file.
    """
    n, n_bands = result.images.shape[:2]
    columns = min(n, 4)
    rows = -(-n // columns)
    fig = Figure(
        figsize=(max(_TILE * n_bands * columns, 2.0), 1.15 * _TILE * rows + 0.5),
        layout="constrained",
    )
    axes = fig.subplots(rows, columns, squeeze=False)
    shown = []
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.remove()
            continue
        shown.append(show_tile(ax, result.frames[0, i], result.images[i]))
        ax.set_title(names[i] if names else "", fontsize=8)

    def frames() -> Iterable[np.ndarray]:
        for step, images in zip(result.steps, result.frames, strict=True):
            for drawn, image in zip(shown, images, strict=True):
                drawn.set_data(stretched(tile(image)))
            fig.suptitle(f"{title} step {step}", fontsize=10)
            yield frame_of(fig)

    return animated(frames(), path, [_FRAME] * (len(result.steps) - 1) + [_LAST])


def sanity_plot(results: dict[str, Sanity], path: str | Path, *, title: str = "") -> Path:
    """Correlations of maps with those of the trained network, as its layers are randomised.

    Lines are means over images and draws of the weights, bands two standard errors of the draws.
    Signed correlations are full lines, those of absolute values dotted; maps count as having lost
    their structure within the grey area.

    Parameters
    ----------
    results
        By method.
    path
        The file to write; its ending sets the format.
    title
        Of the figure.

    Returns
    -------
    Path
        The file.
    """
    rows = len(results)
    fig = Figure(figsize=(10.5, 2.3 * rows + 1.0), layout="constrained")
    grid = fig.add_gridspec(rows, 6)
    for row, (name, result) in enumerate(results.items()):
        ax = fig.add_subplot(grid[row, :3])
        _correlations(ax, result)
        verdict = "structure lost" if result.passed else "structure stays"
        figure = result.figure()
        ax.set_title(f"{name}: {verdict}, correlation {figure['value']:.2f}", fontsize=9)
        if row < rows - 1:
            ax.set_xticklabels([])
        middle = len(result.stages) // 2
        for column, (stage, words) in enumerate(
            ((0, "trained"), (middle, f"from {result.stages[middle - 1]}"), (-1, "all random"))
        ):
            picture = fig.add_subplot(grid[row, 3 + column])
            picture.imshow(result.maps[stage].sum(axis=0), **colours_of(result.maps[stage]))
            picture.set_title(words, fontsize=8)
            picture.set_xticks([])
            picture.set_yticks([])
    fig.suptitle(title, fontsize=11)
    return saved(fig, path)


def sanity_animation(results: dict[str, Sanity], path: str | Path, *, title: str = "") -> Path:
    """Maps of the first image as layer after layer is randomised, as a GIF.

    Parameters
    ----------
    results, path, title
        As of `sanity_plot`.

    Returns
    -------
    Path
        The file.
    """
    stages = ("trained", *next(iter(results.values())).stages)
    fig, axes = row_of_panels(list(results), title)

    def frames() -> Iterable[np.ndarray]:
        for i, stage in enumerate(stages):
            for ax, (name, result) in zip(axes, results.items(), strict=True):
                ax.clear()
                ax.imshow(result.maps[i].sum(axis=0), **colours_of(result.maps[i]))
                ax.set_title(name, fontsize=9)
                ax.set_xticks([])
                ax.set_yticks([])
            fig.suptitle(f"{title} {stage if i == 0 else f'random from {stage}'}", fontsize=10)
            yield frame_of(fig)

    return animated(frames(), path, [4 * _FRAME] * (len(stages) - 1) + [_LAST])


def _correlations(ax: Axes, result: Sanity) -> None:
    x = np.arange(len(result.stages) + 1)
    ax.axhspan(-0.5, 0.5, color="0.93", lw=0)
    for values, color, style in ((result.signed, _BLUE, "-"), (result.absolute, _RED, ":")):
        draws = values.mean(axis=2)
        mean = np.concatenate(([1.0], draws.mean(axis=0)))
        error = 2.0 * draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
        error = np.concatenate(([0.0], error))
        ax.fill_between(x, mean - error, mean + error, color=color, alpha=0.2, lw=0)
        ax.plot(x, mean, style, color=color, lw=1.4)
    ax.axhline(0.0, color="0.6", lw=0.8)
    ax.set_xticks(x, ["trained", *result.stages], rotation=90, fontsize=6)
    ax.set(xlim=(0, len(result.stages)), ylim=(-1.05, 1.05))
    ax.set_ylabel("Correlation", fontsize=9)
    ax.tick_params(axis="y", labelsize=8)
