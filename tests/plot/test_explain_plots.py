"""Figures of explanations: what is drawn, and that files are whole."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from autolens_ml.explain import class_image, kernel_answers
from autolens_ml.explain.sanity import Sanity
from autolens_ml.plot import explain_plots
from tests.explain.known import cutout, made

GRID = {"bands": ("J", "H"), "pixel_scale": 0.3}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frames(path):
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("RGB")).astype(int))
    return found


def share(values, colour):
    """Of the pixels near a colour."""
    return (np.abs(values - colour).max(axis=-1) < 30).mean()


def made_maps(sign=1.0):
    maps = np.zeros((1, 24, 24))
    maps[0, :12] = -1.0
    maps[0, 12:, :6] = 0.8
    return sign * maps


def test_negative_is_blue_and_above_where_row_0_is(tmp_path):
    image = cutout(2, 24)
    values = pixels(explain_plots.map_plot(image, made_maps(), tmp_path / "a" / "m.png", **GRID))
    darkest = share(values, (5, 48, 97)), share(values, (103, 0, 31))
    assert darkest[0] > darkest[1]
    blue = np.nonzero(np.abs(values - (5, 48, 97)).max(-1) < 12)
    red = np.nonzero((values[..., 0] > 150) & (values[..., 1] < 60) & (values[..., 2] < 80))
    columns = blue[1] < 0.85 * values.shape[1]  # without the colour bar
    assert np.median(blue[0][columns]) < np.median(red[0])
    turned = pixels(explain_plots.map_plot(image, made_maps(-1.0), tmp_path / "n.png", **GRID))
    assert share(turned, (103, 0, 31)) > share(values, (103, 0, 31))
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "m.png"]


def test_maps_by_band_have_a_panel_each(tmp_path):
    image = cutout(2, 24)
    one = pixels(explain_plots.map_plot(image, made_maps(), tmp_path / "1.png", **GRID))
    two = pixels(
        explain_plots.map_plot(image, made_maps().repeat(2, 0), tmp_path / "2.png", **GRID)
    )
    assert two.shape[0] > 1.5 * one.shape[0]
    flat = explain_plots.map_plot(image, np.zeros((1, 24, 24)), tmp_path / "0.png", **GRID)
    assert flat.exists()


def test_animations_fade_from_the_cut_out_to_the_map(tmp_path):
    image = cutout(2, 24)
    found = frames(explain_plots.map_animation(image, made_maps(), tmp_path / "m.gif", **GRID))
    blue = [share(frame, (5, 48, 97)) for frame in found]
    assert blue[0] < 0.01 and max(blue) == max(blue[10:13]) and blue[11] > 0.1
    assert blue[-1] < 0.02


def test_occlusion_maps_grow_row_by_row(tmp_path):
    found = frames(
        explain_plots.occlusion_animation(
            cutout(2, 24), made_maps(), tmp_path / "o.gif", window=2, **GRID
        )
    )
    blue = [share(frame, (5, 48, 97)) for frame in found]
    assert blue[0] < 0.2 * blue[-1] and blue[-1] > 0.05
    assert all(b >= a - 0.01 for a, b in pairwise(blue))


def test_kernels(tmp_path):
    network = made("DihedralFinder", 2)
    answers = kernel_answers(network, cutout(2, 24))
    values = pixels(explain_plots.kernels_plot(answers, tmp_path / "k.png", title="t"))
    assert share(values, (31, 78, 121)) > 0.0
    assert len(frames(explain_plots.kernels_animation(answers, tmp_path / "k.gif"))) == len(answers)


@pytest.mark.parametrize("n", [1, 3])
def test_images_that_grow(tmp_path, n):
    result = class_image(made("DihedralFinder", 2), n=n, n_steps=4, n_frames=5)
    names = [f"image {i}" for i in range(n)]
    path = explain_plots.maximised_plot(result, tmp_path / "c.png", names=names, **GRID)
    assert pixels(path).std() > 10.0
    found = frames(explain_plots.maximised_animation(result, tmp_path / "c.gif", names=names))
    assert len(found) == 5 and not np.array_equal(found[0], found[-1])


def test_correlations(tmp_path):
    rng = np.random.default_rng(0)
    stages = ("head", "middle", "first")

    def result(value):
        signed = np.clip(value + 0.05 * rng.standard_normal((3, 3, 2)), -1.0, 1.0)
        return Sanity(stages, signed, np.abs(signed), rng.standard_normal((4, 1, 24, 24)))

    results = {"good": result(0.05), "poor": result(0.95)}
    assert results["good"].passed and not results["poor"].passed
    values = pixels(explain_plots.sanity_plot(results, tmp_path / "s.png", title="t"))
    assert share(values, (31, 78, 121)) > 0.0 and share(values, (192, 57, 43)) > 0.0
    assert len(frames(explain_plots.sanity_animation(results, tmp_path / "s.gif"))) == 4
