"""Figures of finders: what is drawn, and that files are whole."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from autolens_ml.plot.finder_plots import reliability_plot, roc_plot
from autolens_ml.training.detection import detection_from


@pytest.fixture(scope="module")
def detections():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2 == 1
    made = {}
    for name, shift in (("good", 3.0), ("poor", 0.7)):
        logit = shift * (rng.standard_normal(300) + shift * (y - 0.5))
        made[name] = detection_from(1.0 / (1.0 + np.exp(-logit)), y)
    return made


@pytest.mark.parametrize("plot", [roc_plot, reliability_plot])
def test_figures_are_saved(plot, detections, tmp_path):
    path = plot(detections, tmp_path / "deeper" / "figure.png")
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**20)
    # Both networks have their colour.
    found = {colour for _, colour in colours}
    assert {(31, 78, 121), (192, 57, 43)} <= found
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda fig, *a, **k: (figures.append(fig), save(fig, *a, **k))[1]
    )
    return figures


def test_curves_are_those_of_the_detections(detections, drawn, tmp_path):
    roc_plot(detections, tmp_path / "roc.png")
    for ax in drawn[0].axes:
        curves = {line.get_label().split(":")[0]: line for line in ax.lines}
        for name, detection in detections.items():
            x, y = curves[name].get_data()
            np.testing.assert_array_equal(x, detection.roc.false_positive_rate)
            np.testing.assert_array_equal(y, detection.roc.true_positive_rate)
            assert f"{detection.figures['auc']['value']:.3f}" in curves[name].get_label()
    reliability_plot(detections, tmp_path / "reliability.png")
    bars = {c.get_label().split(":")[0]: c for c in drawn[1].axes[0].containers}
    for name, detection in detections.items():
        x, y = bars[name].lines[0].get_data()
        np.testing.assert_allclose(x, detection.reliability.predicted)
        np.testing.assert_allclose(y, detection.reliability.observed)
