"""A likelihood that jumps from model to model is recognised, and a smooth one is not."""

import autofit as af
import autolens as al
import numpy as np
import pytest
from autonerves import conf

import autolens_ml as aml
from autolens_ml.search.roughness import ROUGH, roughness_of
from tests.search import targets

SCALE, SIDE, CENTRE = 0.1, 24, (0.03, 0.02)


def fit(source_index: float, sub_pixels: int):
    """An image of a round profile, its model with a free centre, and posterior-like samples."""
    grid = al.Grid2D.uniform(shape_native=(SIDE, SIDE), pixel_scales=SCALE, over_sample_size=16)
    profile = {"effective_radius": 0.3, "sersic_index": source_index, "intensity": 2.0}
    galaxy = al.Galaxy(redshift=0.5, bulge=al.lp.SersicSph(centre=CENTRE, **profile))
    psf = al.Convolver.from_gaussian(
        shape_native=(5, 5), sigma=0.08, pixel_scales=SCALE, normalize=True
    )
    dataset = al.SimulatorImaging(
        exposure_time=3000.0, psf=psf, background_sky_level=1.0, noise_seed=1
    ).via_galaxies_from(galaxies=[galaxy], grid=grid)
    mask = al.Mask2D.circular(shape_native=dataset.shape_native, pixel_scales=SCALE, radius=0.8)
    dataset = dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=sub_pixels)
    bulge = af.Model(al.lp.SersicSph, **profile)
    for i, value in enumerate(CENTRE):
        setattr(bulge.centre, f"centre_{i}", af.UniformPrior(value - 0.02, value + 0.02))
    model = af.Collection(
        galaxies=af.Collection(lens=af.Model(al.Galaxy, redshift=0.5, bulge=bulge))
    )
    return model, al.AnalysisImaging(dataset=dataset, use_jax=False)


def roughness(model, analysis) -> float | None:
    search = aml.CNN(network=None)
    parameters = np.array(CENTRE) + 0.02 * np.random.default_rng(0).uniform(-1, 1, (12, 2))
    fitness = search.make_fitness(analysis, model, paths=None)
    values = np.array([fitness.call_wrap(point) for point in parameters])
    return roughness_of(search, model, analysis, parameters, values, np.full(12, 1 / 12))


def test_a_cusp_between_few_sub_pixels_is_rough():
    assert roughness(*fit(source_index=4.0, sub_pixels=1)) > ROUGH


def test_more_sub_pixels_make_it_smoother():
    coarse, fine = (roughness(*fit(source_index=4.0, sub_pixels=n)) for n in (2, 8))
    assert fine < 0.3 * coarse


def test_a_profile_without_a_cusp_is_smooth():
    assert roughness(*fit(source_index=0.7, sub_pixels=4)) < ROUGH


def test_what_has_no_sub_pixels_has_no_roughness():
    assert (
        roughness_of(
            aml.CNN(network=None),
            targets.model(),
            targets.Gaussian(),
            np.zeros((4, 3)),
            np.zeros(4),
            np.full(4, 0.25),
        )
        is None
    )


@pytest.mark.filterwarnings("ignore:aml.CNN FAILED")
def test_a_fit_that_is_not_converged_says_that_its_likelihood_is_rough(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(conf.instance, "output_path", str(tmp_path))
    for switch in ("VISUALIZATION", "LATENTS", "WORKSPACE_VERSION_CHECK"):
        monkeypatch.setenv(f"PYAUTO_SKIP_{switch}", "1")
    model, analysis = fit(source_index=4.0, sub_pixels=1)
    search = aml.CNN(name="rough", network=None, max_likelihood_calls=400, n_draws=64, seed=1)
    with caplog.at_level("WARNING"):
        result = search.fit(model=model, analysis=analysis)
    info = result.samples.samples_info
    assert info["status"] != "CONVERGED"
    assert info["roughness"] > ROUGH
    assert any("over_sample_size_lp" in record.getMessage() for record in caplog.records)
