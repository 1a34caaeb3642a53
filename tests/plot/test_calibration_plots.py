"""Figures of calibration and accuracy: what they show, and the files they leave."""

import matplotlib
import numpy as np
import pytest
from matplotlib import image as mpimg
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from autolens_ml.exceptions import DataError
from autolens_ml.plot.calibration_plots import (
    accuracy_plot,
    coverage_plot,
    plots_of,
    sbc_plot,
    tarp_plot,
    trend_plot,
)
from autolens_ml.training.calibration import Calibration, calibration_from, marginal_coverage

PER_PARAMETER = [coverage_plot, sbc_plot, accuracy_plot]


def calibration_of(n_parameters: int, n_lenses: int = 400) -> Calibration:
    """Right posteriors, but the first parameter's are half as wide as they should be."""
    rng = np.random.default_rng(n_parameters)
    points = rng.standard_normal((n_lenses, 101, n_parameters))
    points += 3.0 * rng.standard_normal((n_lenses, 1, n_parameters))
    samples, truths = points[:, 1:], points[:, 0]
    means = samples[:, :, 0].mean(axis=1, keepdims=True)
    samples[:, :, 0] = means + 0.5 * (samples[:, :, 0] - means)
    names = [f"galaxies.lens.mass.p{j}" for j in range(n_parameters)]
    return calibration_from(samples, truths, names)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibration_of(3)


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


@pytest.mark.parametrize("plot", [*PER_PARAMETER, tarp_plot])
def test_file(plot, calibration, tmp_path, figures):
    """A PNG of the figure's size in a new folder, and nothing else: no figure, no setting."""
    before = dict(matplotlib.rcParams)
    path = plot(calibration, tmp_path / "new" / "figure.png")
    pixels = mpimg.imread(path)[..., :3]
    width, height = figures[0].get_size_inches() * 120
    assert pixels.shape[:2] == (int(height), int(width))
    assert np.mean(pixels.min(axis=2) < 0.9) > 0.02
    assert list(path.parent.iterdir()) == [path]
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_ending_sets_the_format(calibration, tmp_path):
    path = tarp_plot(calibration, str(tmp_path / "figure.pdf"))
    assert path.read_bytes().startswith(b"%PDF")


def test_a_failed_save_leaves_the_old_file(calibration, tmp_path, monkeypatch):
    path = tarp_plot(calibration, tmp_path / "figure.png")
    old = path.read_bytes()

    def broken(self, file, **kwargs):
        file.write(b"half a figure")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        tarp_plot(calibration, path)
    assert path.read_bytes() == old


@pytest.mark.parametrize("plot", PER_PARAMETER)
@pytest.mark.parametrize("n_parameters", [1, 7, 20])
def test_a_panel_for_each_parameter(plot, n_parameters, tmp_path, figures):
    plot(calibration_of(n_parameters, n_lenses=100), tmp_path / "figure.png")
    (fig,) = figures
    assert len(fig.axes) == n_parameters
    # No panel, with its title and ticks, runs into another or over the edge.
    fig.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)
    assert all(fig.bbox.y0 <= box.y0 and box.y1 <= fig.bbox.y1 for box in boxes)
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize("plot", PER_PARAMETER)
def test_titles(plot, calibration, tmp_path, figures):
    plot(calibration, tmp_path / "figure.png")
    plot(calibration, tmp_path / "figure.png", labels=["$a$", "$b$", "$c$"])
    named, labelled = ([ax.get_title() for ax in fig.axes] for fig in figures)
    assert named[:2] == ["lens mass p0\noverconfident", "lens mass p1\ncalibrated"]
    assert labelled[2] == "$c$\ncalibrated"
    assert len({ax.title.get_color() for ax in figures[0].axes}) == 2


@pytest.mark.parametrize("plot", PER_PARAMETER)
def test_labels_that_do_not_fit(plot, calibration, tmp_path):
    with pytest.raises(DataError, match="labels: 2 for 3 parameters; give one for each"):
        plot(calibration, tmp_path / "figure.png", labels=["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_coverage_panels(calibration, tmp_path, figures):
    coverage_plot(calibration, tmp_path / "figure.png")
    for j, ax in enumerate(figures[0].axes):
        curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
        nominal, inside = curve.get_data()
        expected = marginal_coverage(calibration.ranks[:, [j]], nominal).value[:, 0]
        assert np.array_equal(inside, expected)
        (points,) = ax.containers
        assert np.array_equal(points.lines[0].get_ydata(), calibration.coverage.value[:, j])
        bars = np.array(points.lines[2][0].get_segments())[:, :, 1]
        assert bars[:, 0] == pytest.approx(calibration.coverage.low[:, j])
        assert bars[:, 1] == pytest.approx(calibration.coverage.high[:, j])
        band = ax.collections[0].get_paths()[0]
        in_band = band.contains_points(np.stack([nominal, inside], axis=1)[20:-20])
        assert in_band.all() if j else not in_band.any()


def test_rank_histograms(calibration, tmp_path, figures):
    sbc_plot(calibration, tmp_path / "figure.png")
    for j, ax in enumerate(figures[0].axes):
        (stairs,) = (patch for patch in ax.patches if hasattr(patch, "get_data"))
        heights, edges, _ = stairs.get_data()
        counts = np.histogram(calibration.ranks[:, j], edges)[0]
        assert heights * calibration.n_lenses / 20 == pytest.approx(counts)
        (band,) = (patch for patch in ax.patches if patch is not stairs)
        low, high = band.get_y(), band.get_y() + band.get_height()
        # 400 lenses in 20 bins: 20 +- 2.6 sqrt(19) in each.
        assert (low, high) == pytest.approx((1.0 - 0.56, 1.0 + 0.56), abs=0.1)
        if j == 0:
            assert min(heights[0], heights[-1]) > high
        else:
            assert np.sum((heights < low) | (heights > high)) <= 1


def test_accuracy_panels(calibration, tmp_path, figures):
    accuracy_plot(calibration, tmp_path / "figure.png")
    for j, ax in enumerate(figures[0].axes):
        points = max(ax.lines, key=lambda line: len(line.get_xdata()))
        assert np.array_equal(points.get_xdata(), calibration.truths[:, j])
        assert np.array_equal(points.get_ydata(), calibration.medians[:, j])
        bars = np.array(ax.collections[0].get_segments())[:, :, 1]
        assert bars[:, 0] == pytest.approx(calibration.lower[:, j])
        assert bars[:, 1] == pytest.approx(calibration.upper[:, j])
        assert ax.get_xlim() == ax.get_ylim()
        rms, quantile = calibration.accuracy.rms, calibration.accuracy.quantile_68
        (text,) = (text.get_text() for text in ax.texts)
        assert text == f"rms {rms.value[j]:.2g}\n68 % < {quantile.value[j]:.2g}"


def test_joint_curves(calibration, tmp_path, figures):
    tarp_plot(calibration, tmp_path / "figure.png")
    (ax,) = figures[0].axes
    for joint, name in ((calibration.tarp, "TARP"), (calibration.ellipsoids, "ellipsoids")):
        (line,) = (line for line in ax.lines if name in line.get_label())
        assert np.array_equal(line.get_xdata(), joint.levels)
        assert np.array_equal(line.get_ydata(), joint.expected.value)
        assert f"p = {joint.p_value:.1g}" in line.get_label()
    assert len(ax.collections) == 2
    assert calibration.joint_verdict == "overconfident"
    assert ax.get_title() == "All parameters of 400 lenses: overconfident"


@pytest.mark.parametrize("plot", [*PER_PARAMETER, tarp_plot])
def test_two_lenses_and_a_parameter_without_spread(plot, tmp_path):
    """The least that can be judged can be drawn."""
    calibration = calibration_from(np.full((2, 2, 1), 0.7), np.full((2, 1), 0.7), ["kappa"])
    assert mpimg.imread(plot(calibration, tmp_path / "figure.png")).std() > 0.01


def test_all_figures_of_a_calibration(calibration, tmp_path):
    plots = plots_of(calibration)
    assert list(plots) == ["accuracy", "coverage", "sbc", "tarp"]
    for name, plot in plots.items():
        assert mpimg.imread(plot(tmp_path / f"{name}.png")).std() > 0.01
    again = coverage_plot(calibration, tmp_path / "again.png")
    assert again.read_bytes() == (tmp_path / "coverage.png").read_bytes()


def test_trends(tmp_path, figures):
    """Errors of two parameters: one grows with what the bins are of, the other does not."""
    rng = np.random.default_rng(1)
    n = 4000
    brightness, length = rng.uniform(1.0, 9.0, n), rng.permutation(n).astype(float)
    errors = rng.standard_normal((n, 2)) * np.stack((brightness, np.full(n, 2.0)), axis=1)
    path = tmp_path / "new" / "trends.png"
    labels = ['radius ["]', "$e_x$"]
    assert trend_plot(errors, {"brightness": brightness, "length": length}, labels, path) == path
    (figure,) = figures
    axes = np.array(figure.axes).reshape(2, 2)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == labels
    assert [ax.get_xlabel() for ax in axes[1]] == ["brightness", "length"]
    for column, values in enumerate((brightness, length)):
        edges = np.quantile(values, np.linspace(0.0, 1.0, 9))
        for row in range(2):
            (line,) = axes[row, column].lines
            middles, limits = line.get_data()
            assert len(middles) == 8 and np.all(np.diff(middles) > 0.0)
            for k in range(8):
                inside = (values >= edges[k]) & (values < edges[k + 1])
                assert middles[k] == pytest.approx(np.median(values[inside]), rel=0.01, abs=1.0)
                share = np.mean(np.abs(errors[inside, row]) < limits[k])
                assert share == pytest.approx(0.683, abs=0.005)
            bottom, top = axes[row, column].get_ylim()
            assert bottom == 0.0 and top > limits.max()
    growing, flat = (axes[row, 0].lines[0].get_ydata() for row in range(2))
    assert growing[-1] / growing[0] == pytest.approx(8.5 / 1.5, rel=0.15)
    assert flat == pytest.approx(np.full(8, 2.0), rel=0.15)
    assert mpimg.imread(path).std() > 0.01


@pytest.mark.parametrize("n", [1, 5])
def test_trends_of_fewer_lenses_than_bins(n, tmp_path, figures):
    errors = np.arange(1.0, n + 1.0)[:, None]
    trend_plot(errors, {"number": np.arange(n)}, ["x"], tmp_path / "trends.png")
    np.testing.assert_array_equal(figures[0].axes[0].lines[0].get_ydata(), errors[:, 0])
