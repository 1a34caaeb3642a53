"""Figures of morphology are drawn of what they are given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autolens_ml.plot import heat_map_plot, morphology_plots
from autolens_ml.plot.morphology_plots import (
    detection_limit_plot,
    example_plot,
    vortex_plot,
)
from autolens_ml.simulate.morphology.comparison import vortex_constructions
from autolens_ml.training.morphology_accuracy import Curve
from tests.morphologies import small_systems


def curve(shift):
    x = np.linspace(9.5, 11.0, 8)
    value = 1.0 / (1.0 + np.exp(-8.0 * (x - 10.0 - shift)))
    return Curve(x, value, value - 0.02, value + 0.02, np.full(8, 50))


def test_figures(tmp_path):
    _, systems = small_systems()
    curves = {"classifier": curve(0.0), "Bayes factor": curve(0.4)}
    limits = {"classifier": 10.3, "Bayes factor": np.nan}
    written = [
        detection_limit_plot(curves, limits, 1e12, tmp_path / "limit.pdf"),
        example_plot(systems, 0.2, tmp_path / "new/examples.png", n=3),
        vortex_plot(vortex_constructions(), tmp_path / "vortex.png"),
    ]
    for path in written:
        assert path.stat().st_size > 10_000
    assert not list(tmp_path.glob("**/*.tmp"))


def test_every_method_has_its_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(morphology_plots, "_saved", lambda fig, path: drawn.append(fig))
    names = [f"method {i}" for i in range(10)]
    curves = {name: curve(0.1 * i) for i, name in enumerate(names)}
    detection_limit_plot(curves, dict.fromkeys(names, np.nan), 1e12, tmp_path / "limit.png")
    labels = [text.get_text() for legend in drawn[0].legends for text in legend.get_texts()]
    labels += [
        text.get_text()
        for ax in drawn[0].axes
        if ax.get_legend()
        for text in ax.get_legend().get_texts()
    ]
    assert sorted(label.split(":")[0] for label in labels) == sorted(names)


class Autoencoder:
    """One that would have half of everything, and finds the rest strange."""

    def reconstruct(self, images):
        return 0.5 * images

    def heat_map(self, images, noise):
        return images / noise


def test_heat_maps_are_beside_what_is_seen_and_the_truth_is_on_them(tmp_path, monkeypatch):
    kept = []
    save = morphology_plots._saved
    monkeypatch.setattr(
        morphology_plots, "_saved", lambda fig, path: (kept.append(fig), save(fig, path))[1]
    )
    _, systems = small_systems()
    images = torch.from_numpy(np.asarray(systems.images, dtype=np.float32))
    batch = SimpleNamespace(images=images, noise=torch.full_like(images, 2.0))
    path = heat_map_plot(Autoencoder(), systems, batch, 0.2, tmp_path / "heat.png")
    assert path.stat().st_size > 10_000
    axes = np.reshape(kept[0].axes[:9], (3, 3))
    rows = [int(np.flatnonzero(systems.classes == i)[0]) for i in range(3)]
    for line, row in zip(axes, rows, strict=True):
        seen, rebuilt, heat = (ax.images[0].get_array() for ax in line)
        assert np.allclose(np.sinh(seen), 2.0 * np.sinh(rebuilt), rtol=1e-4, atol=1e-5)
        assert np.allclose(heat, images[row] / 2.0)
        assert line[2].images[0].norm.vmin == -line[2].images[0].norm.vmax
        # A cross for each subhalo, a line for each vortex, where rows count down from +y.
        crosses = [mark for mark in line[2].lines if mark.get_marker() == "+"]
        strings = [mark for mark in line[2].lines if mark.get_marker() != "+"]
        points = systems.points[row][systems.points[row][:, -1] > 0.0]
        assert len(crosses) == len(points)
        assert len(strings) == np.count_nonzero(systems.strings[row][:, -1] > 0.0)
        for mark, (y, x, _) in zip(crosses, points, strict=True):
            assert mark.get_xdata()[0] == pytest.approx(15.5 + x / 0.2, abs=1e-4)
            assert mark.get_ydata()[0] == pytest.approx(15.5 - y / 0.2, abs=1e-4)
    assert not axes[0, 2].lines and axes[1, 2].lines and axes[2, 2].lines
