"""Figures of shear networks: what they draw, and that they are files."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from autolens_ml.plot.shear_plots import bias_plot, estimates_plot
from autolens_ml.training.shear_bias import Changes, PairedSample


def sample(m=0.0, n=3000, seed=0):
    rng = np.random.default_rng(seed)
    ones = np.ones(n)

    def changes(slope):
        return Changes(
            component=np.arange(n) % 2,
            change=slope + rng.normal(0.0, 0.1, n),
            weight=ones,
            offset=rng.normal(0.0, 0.02, (n, 2)),
            square=0.07 * ones,
            signal_to_noise=np.exp(rng.uniform(np.log(10.0), np.log(200.0), n)),
            radius=np.exp(rng.uniform(np.log(0.7), np.log(5.0), n)),
            kind=rng.integers(0, 3, n),
        )

    return PairedSample(changes(1.0 + m), changes(0.01))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    save = Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_biases(drawn, tmp_path):
    samples = {"calibrated": sample(), "naive": sample(-0.56, seed=1)}
    path = bias_plot(samples, tmp_path / "bias.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    axes = figure.axes
    assert len(axes) == 4
    expected = [bias.m.value for _, _, bias in samples["naive"].binned("signal_to_noise")]
    points = [np.asarray(container[0].get_ydata(orig=False)) for container in axes[0].containers]
    np.testing.assert_allclose(points[1], expected)
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels[0].startswith("calibrated: m = ") and "-0.55" in labels[1]


def test_estimates(drawn, tmp_path):
    truth = {"g1": np.linspace(-0.1, 0.1, 50), "flux": np.linspace(1.0, 9.0, 50)}
    estimates = {"one": {"g1": 0.5 * truth["g1"], "error": truth["g1"]}, "two": truth}
    path = estimates_plot(estimates, truth, tmp_path / "estimates.pdf")
    assert path.read_bytes().startswith(b"%PDF")
    (figure,) = drawn
    # The first network says nothing of the flux.
    assert [ax.get_title() for ax in figure.axes] == ["one: g1", "two: g1", "two: flux"]
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 0.5 * np.asarray(line.get_xdata()))
