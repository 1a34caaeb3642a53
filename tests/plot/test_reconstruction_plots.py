"""Figures of reconstructions: files are written, and panels show what they say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from autolens_ml.inference.reconstruction.reconstruct import Reconstruction, Steps
from autolens_ml.plot import reconstruction_plots
from autolens_ml.plot.reconstruction_plots import (
    TrueMaps,
    accuracy_plot,
    reconstruction_plot,
    steps_plot,
)
from autolens_ml.simulate.maps import coherence

SIZE = 16


def maps():
    y, x = np.mgrid[:SIZE, :SIZE] - 0.5 * (SIZE - 1)
    return np.exp(-0.5 * (x**2 + (y - 1) ** 2) / 4.0), 4.0 / np.sqrt(x**2 + y**2 + 0.5)


def reconstruction(n_steps=3):
    source, kappa = maps()
    mask = np.ones((SIZE, SIZE))
    mask[:2] = 0.0
    rng = np.random.default_rng(1)
    noise_map = np.full(mask.shape, 0.05)
    return Reconstruction(
        source=source,
        source_pixel_scale=0.05,
        convergence=kappa,
        pixel_scale=0.1,
        shear=(0.0, 0.0),
        centre=(0.0, 0.0),
        data=source + noise_map * rng.normal(size=mask.shape),
        noise_map=noise_map,
        mask=mask,
        model_image=source,
        chi_squared=np.linspace(3.0, 1.0, n_steps),
        steps=Steps(
            source=np.stack([source] * n_steps),
            convergence=np.stack([kappa] * n_steps),
            shear=np.zeros((n_steps, 2)),
        ),
        concerns=(),
        tuning=np.empty(0),
    )


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    kept = []
    save = reconstruction_plots._saved
    monkeypatch.setattr(
        reconstruction_plots, "_saved", lambda fig, path: (kept.append(fig), save(fig, path))[1]
    )
    return kept


def titles(fig: Figure):
    return [ax.get_title() for ax in fig.axes if ax.get_title()]


def test_the_truth_is_shown_where_it_is_known(figures, tmp_path):
    truth = TrueMaps(*maps())
    found = [reconstruction(), reconstruction()]
    alone = reconstruction_plot(found, tmp_path / "alone.png")
    beside = reconstruction_plot(found, tmp_path / "both.pdf", [truth, truth], ["first", "second"])
    assert alone.stat().st_size > 5000 and beside.read_bytes()[:4] == b"%PDF"
    assert titles(figures[0]) == ["data", "model", "residuals", "source", "convergence"]
    assert titles(figures[1])[4:] == ["true source", "convergence", "true convergence"]
    # Residuals are in units of the noise, and nothing is shown where no data are used.
    residuals = figures[0].axes[2].images[0].get_array()
    assert np.ma.filled(residuals, np.nan)[2:].std() == pytest.approx(1.0, abs=0.15)
    assert not np.isfinite(np.ma.filled(residuals, np.nan)[:2]).any()
    # One scale for a quantity and its truth.
    source, true_source = (figures[1].axes[i].images[0] for i in (3, 4))
    assert source.norm.vmax == true_source.norm.vmax


def test_steps_are_shown_one_after_the_other(figures, tmp_path):
    steps_plot(reconstruction(4), tmp_path / "steps.png")
    steps_plot(reconstruction(4), tmp_path / "truth.png", TrueMaps(*maps()))
    assert [title.split("\n")[0] for title in titles(figures[0])] == [
        f"step {t}" for t in (1, 2, 3, 4)
    ]
    assert titles(figures[1])[-1] == "truth" and len(figures[1].axes) == 10


def test_accuracy(figures, tmp_path):
    rng = np.random.default_rng(1)
    source = rng.normal(size=(20, SIZE, SIZE))
    same = coherence(source, source, 0.1)
    radii = np.linspace(0.5, 1.5, 20)
    path = accuracy_plot(
        {"before": rng.uniform(1.0, 3.0, 20), "after": rng.uniform(0.95, 1.1, 20)},
        (radii, radii + 0.01),
        {"source": same},
        tmp_path / "accuracy.png",
    )
    assert path.stat().st_size > 5000
    (points,) = [line for line in figures[0].axes[1].lines if line.get_linestyle() == "None"]
    assert np.allclose(points.get_ydata() - points.get_xdata(), 0.01)
