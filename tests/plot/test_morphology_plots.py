"""Figures of morphology are drawn of what they are given."""

import numpy as np

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
