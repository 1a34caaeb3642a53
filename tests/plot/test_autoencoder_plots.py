"""Figures of autoencoders: what they show, and the files they leave."""

import matplotlib
import numpy as np
import pytest
from matplotlib import image as mpimg
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from autolens_ml.plot.autoencoder_plots import reconstructions_plot, samples_plot, spectra_plot
from autolens_ml.simulate.maps import coherence, power_spectrum

RNG = np.random.default_rng(1)
MAPS = np.exp(RNG.normal(size=(60, 16, 16)))
DECODED = MAPS * np.exp(0.2 * RNG.normal(size=MAPS.shape))
NOISE = np.full(MAPS.shape, 0.1)
KINDS = ["smooth"] * 20 + ["clumpy"] * 20 + ["real"] * 20
SPECTRA = {
    "power_of_maps": power_spectrum(MAPS, 0.2),
    "power_of_reconstructions": power_spectrum(DECODED, 0.2),
    "power_of_samples": power_spectrum(MAPS[::-1], 0.2),
    "coherence_of_reconstructions": coherence(MAPS, DECODED, 0.2),
}


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Every figure that is saved."""
    saved = []
    save = Figure.savefig

    def remember(self, *args, **kwargs):
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved


@pytest.mark.parametrize(
    "plot",
    [
        lambda path: reconstructions_plot(MAPS[:2], DECODED[:2], NOISE[:2], KINDS[:2], path),
        lambda path: samples_plot(MAPS[:3], DECODED[:3], path),
        lambda path: spectra_plot(SPECTRA, path),
    ],
    ids=["reconstructions", "samples", "spectra"],
)
def test_file(plot, tmp_path):
    """A PNG in a new folder, and nothing else: no figure, no setting."""
    before = dict(matplotlib.rcParams)
    path = plot(tmp_path / "new" / "figure.png")
    assert np.ptp(mpimg.imread(path)[..., :3]) > 0.5
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]
    assert dict(matplotlib.rcParams) == before and not plt.get_fignums()


def test_reconstructions_are_below_their_maps_and_differences_below_both(tmp_path, figures):
    reconstructions_plot(MAPS, DECODED, NOISE, KINDS, tmp_path / "figure.png")
    panels = np.array(figures[0].axes[:36]).reshape(3, 12)
    assert [ax.get_title() for ax in panels[0]] == ["smooth"] * 4 + ["clumpy"] * 4 + ["real"] * 4
    for column, i in zip(panels.T, [*range(4), *range(20, 24), *range(40, 44)], strict=True):
        shown = [ax.images[0].get_array() for ax in column]
        assert np.allclose(0.1 * np.sinh(shown[0]), MAPS[i])
        assert np.allclose(0.1 * np.sinh(shown[1]), DECODED[i])
        assert np.allclose(shown[2], (MAPS[i] - DECODED[i]) / 0.1)
        # One scale of brightness for all.
        assert column[0].images[0].get_clim() == panels[1, 0].images[0].get_clim()


def test_spectra_are_drawn_as_they_are(tmp_path, figures):
    spectra_plot(SPECTRA, tmp_path / "figure.png")
    power, shared = figures[0].axes
    curves = {line.get_label(): line.get_ydata() for line in power.lines}
    assert set(curves) == {"maps", "reconstructions", "samples"}
    for name, values in curves.items():
        assert np.array_equal(values, SPECTRA[f"power_of_{name}"].value)
    assert np.array_equal(
        shared.lines[0].get_ydata(), SPECTRA["coherence_of_reconstructions"].value
    )
