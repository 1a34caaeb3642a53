"""Figures of finders: what is drawn, and that files are whole."""

import numpy as np
import pytest
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
