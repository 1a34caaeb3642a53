"""Corner plots show the columns that they say, of one posterior or of several."""

from collections.abc import Iterator

import autofit as af
import autolens as al
import matplotlib.pyplot as plt
import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.plot import corner, corner_plots

MEANS = {"centre_0": 1.0, "centre_1": 2.0, "ell_comps_0": 3.0, "ell_comps_1": 4.0}
N = 400


@pytest.fixture
def model():
    """Priors whose order is not that of the paths; lens and light share a centre."""
    mass, light = af.Model(al.mp.Isothermal), af.Model(al.lp.SersicSph)
    mass.ell_comps.ell_comps_0 = af.GaussianPrior(mean=0.0, sigma=1.0)
    mass.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=1.0)
    light.centre = mass.centre
    return af.Collection(lens=af.Collection(mass=mass, light=light))


def samples_of(model, shift=0.0, seed=0):
    """Samples of narrow Gaussians, the mean of each by its name."""
    rng = np.random.default_rng(seed)
    paths = model.unique_prior_paths
    means = [MEANS.get(path[-1], 5.0) + shift for path in paths]
    values = np.array(means) + 0.01 * rng.standard_normal((N, len(means)))
    sample_list = [
        af.Sample(
            log_likelihood=0.0,
            log_prior=0.0,
            weight=1.0 / N,
            kwargs=dict(zip(paths, map(float, row), strict=True)),
        )
        for row in values
    ]
    return af.SamplesNest(model=model, sample_list=sample_list)


class Posterior:
    """What a network says about a lens."""

    names = ("lens.mass.centre.centre_0", "lens.mass.centre.centre_1")

    def sample(self, n, seed=0):
        return np.array([1.0, 2.0]) + 0.1 * np.random.default_rng(seed).standard_normal((n, 2))


@pytest.fixture
def figures(monkeypatch) -> Iterator[list]:
    """Figures that are drawn, and not closed."""
    drawn: list = []
    monkeypatch.setattr(corner_plots.plt, "close", drawn.append)
    yield drawn
    monkeypatch.undo()
    for figure in drawn:
        plt.close(figure)


def middles(figure):
    """Where the panels of the diagonal are, by the names below the columns."""
    n = int(len(figure.axes) ** 0.5)
    labels = [figure.axes[n * (n - 1) + j].get_xlabel().split("\n")[-1] for j in range(n)]
    return {label: np.mean(figure.axes[j * (n + 1)].get_xlim()) for j, label in enumerate(labels)}


def test_columns_are_those_of_their_names(model, tmp_path, figures):
    names = [f"lens.mass.{name}" for name in ("ell_comps_1", "centre_0", "ell_comps_0")]
    path = corner(samples_of(model), tmp_path / "a" / "corner.png", parameters=names)
    assert path.is_file() and plt.imread(path).shape[0] > 300
    assert middles(figures[0]) == pytest.approx(
        {name.split(".")[-1]: MEANS[name.split(".")[-1]] for name in names}, abs=0.02
    )


def test_names_may_have_the_tuple_and_shared_parameters_have_all_names(model, tmp_path, figures):
    parameters = ["lens.light.centre.centre_0", "lens.mass.centre_1"]
    truth = {"lens.light.centre_0": 1.0, "lens.mass.centre.centre_1": 2.0}
    corner(samples_of(model), tmp_path / "corner.pdf", parameters=parameters, truth=truth)
    found = middles(figures[0])
    assert found == pytest.approx({"centre_0": 1.0, "centre_1": 2.0}, abs=0.02)
    vertical = [
        line.get_xdata()[0] for line in figures[0].axes[0].get_lines() if len(line.get_xdata()) == 2
    ]
    assert vertical == [1.0]


def test_several_posteriors_are_drawn_where_all_can_be_seen(model, tmp_path, figures):
    posteriors = {
        "network": Posterior(),
        "search": samples_of(model),
        "reference": samples_of(model, shift=0.2, seed=1),
    }
    corner(posteriors, tmp_path / "corner.png")
    (figure,) = figures
    # Only what all have.
    assert set(middles(figure)) == {"centre_0", "centre_1"}
    low, high = figure.axes[0].get_xlim()
    assert low < 0.8 and high > 1.22
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(posteriors)
    # A narrow posterior does not hide a wide one: all curves have one height.
    heights = [max(line.get_ydata()) for line in figure.axes[0].get_lines()]
    assert heights == [1.0, 1.0, 1.0]


def test_letters_are_the_same_after_a_fit(model, tmp_path, figures):
    """autofit leaves large ones behind."""
    with plt.rc_context({"font.size": 30.0}):
        corner(samples_of(model), tmp_path / "corner.png")
    (figure,) = figures
    sizes = {
        label.get_size()
        for ax in figure.axes
        for label in (*ax.get_xticklabels(), *ax.get_yticklabels())
    }
    assert sizes and max(sizes) <= 11.0


def test_what_cannot_be_drawn_is_said(model, tmp_path):
    samples = samples_of(model)
    with pytest.raises(OptionError, match=r"other\.thing not among those of b"):
        corner({"b": samples}, tmp_path / "c.png", parameters=["other.thing"])
    with pytest.raises(OptionError, match="one to 5 posteriors, not 0"):
        corner({}, tmp_path / "c.png")
    other = Posterior()
    other.names = ("x", "y")
    with pytest.raises(OptionError, match="share no parameter"):
        corner({"a": samples, "b": other}, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())
