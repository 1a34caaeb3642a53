"""The figure of a fit shows the arrays of the fit."""

import autolens as al
import matplotlib.pyplot as plt
import numpy as np
import pytest

from autolens_ml.plot import fit_plots, subplot_fit


@pytest.fixture(scope="module")
def fit():
    grid = al.Grid2D.uniform(shape_native=(24, 24), pixel_scales=0.2, over_sample_size=2)
    lens = al.Galaxy(
        redshift=0.5,
        light=al.lp.SersicSph(intensity=0.3, effective_radius=0.4, sersic_index=1.5),
        mass=al.mp.IsothermalSph(einstein_radius=1.2),
    )
    source = al.Galaxy(
        redshift=1.0,
        light=al.lp.ExponentialSph(centre=(0.1, 0.1), intensity=1.0, effective_radius=0.2),
    )
    tracer = al.Tracer([lens, source])
    simulator = al.SimulatorImaging(
        exposure_time=500.0,
        psf=al.Convolver.from_gaussian(shape_native=(5, 5), pixel_scales=0.2, sigma=0.1),
        background_sky_level=0.5,
        noise_seed=1,
    )
    dataset = simulator.via_tracer_from(tracer=tracer, grid=grid)
    mask = al.Mask2D.circular(shape_native=(24, 24), pixel_scales=0.2, radius=2.0)
    return al.FitImaging(dataset=dataset.apply_mask(mask=mask), tracer=tracer)


def test_panels_are_the_arrays_of_the_fit(fit, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(fit_plots.plt, "close", drawn.append)
    path = subplot_fit(fit, tmp_path / "new" / "fit.png", title="A lens")
    monkeypatch.undo()
    (figure,) = drawn
    panels = {ax.get_title(): ax.images[0] for ax in figure.axes if ax.images and ax.get_title()}
    expected = {
        "Data": fit.data,
        "Model": fit.model_data,
        "Residuals / noise": fit.normalized_residual_map,
        "Data without lens light": fit.subtracted_images_of_planes_list[-1],
        "Lensed source model": fit.model_images_of_planes_list[-1],
    }
    assert set(panels) == {*expected, "Source"}
    for name, array in expected.items():
        # PyAutoLens zooms in on the mask.
        shown = np.ma.filled(panels[name].get_array(), 0.0)
        values = array.array
        for total in (np.sum, lambda x: np.sum(x**2), np.max, np.min):
            if total is not np.min or values.min() < 0.0:
                assert total(shown) == pytest.approx(total(values), rel=1e-6, abs=1e-9), name
    # One scale for data and model, and a fixed one for residuals.
    assert panels["Data"].norm.vmax == panels["Model"].norm.vmax
    assert (panels["Residuals / noise"].norm.vmin, panels["Residuals / noise"].norm.vmax) == (-5, 5)
    assert figure.get_suptitle() == "A lens"
    assert path.stat().st_size > 10_000
    plt.close(figure)
