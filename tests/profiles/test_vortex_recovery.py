"""A lens with a vortex is simulated, and a search recovers the vortex's mass and prefers it."""

import autofit as af
import autolens as al
import numpy as np
import pytest

import autolens_ml as aml

TRUE_EINSTEIN_RADIUS = 0.22


def simulated_dataset():
    """A 5 arcsec image of an isothermal lens with a vortex beside its ring, S/N up to about 25."""
    grid = al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.1)
    lens = al.Galaxy(
        redshift=0.5,
        mass=al.mp.Isothermal(ell_comps=(0.05, 0.1), einstein_radius=1.3),
        vortex=aml.mp.VortexLine(
            centre=(0.8, 0.6),
            position_angle=60.0,
            half_length=0.5,
            core_radius=0.05,
            einstein_radius=TRUE_EINSTEIN_RADIUS,
        ),
    )
    source = al.Galaxy(
        redshift=1.0,
        light=al.lp.ExponentialSph(centre=(0.05, 0.08), intensity=1.0, effective_radius=0.25),
    )
    simulator = al.SimulatorImaging(
        exposure_time=500.0,
        psf=al.Convolver.from_gaussian(shape_native=(7, 7), pixel_scales=0.1, sigma=0.08),
        background_sky_level=0.2,
        noise_seed=1,
    )
    dataset = simulator.via_tracer_from(tracer=al.Tracer([lens, source]), grid=grid)
    mask = al.Mask2D.circular(shape_native=(50, 50), pixel_scales=0.1, radius=2.3)
    return dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)


def model_with(**components):
    """The lens and source with priors as a first, quick look at the image would set them."""
    mass = af.Model(al.mp.Isothermal)
    for name in ("centre_0", "centre_1"):
        setattr(mass.centre, name, af.GaussianPrior(mean=0.0, sigma=0.05))
    mass.einstein_radius = af.UniformPrior(lower_limit=1.1, upper_limit=1.5)
    light = af.Model(al.lp.ExponentialSph)
    for name in ("centre_0", "centre_1"):
        setattr(light.centre, name, af.GaussianPrior(mean=0.0, sigma=0.2))
    light.intensity = af.LogUniformPrior(lower_limit=0.1, upper_limit=10.0)
    light.effective_radius = af.UniformPrior(lower_limit=0.05, upper_limit=1.0)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, **components),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


def vortex_model():
    """A vortex somewhere near the disturbed side of the ring, with any direction and mass."""
    vortex = af.Model(aml.mp.VortexLine, half_length=0.5, core_radius=0.05)
    vortex.centre.centre_0 = af.GaussianPrior(mean=0.8, sigma=0.3)
    vortex.centre.centre_1 = af.GaussianPrior(mean=0.6, sigma=0.3)
    vortex.einstein_radius = af.UniformPrior(lower_limit=0.0, upper_limit=0.6)
    return vortex


def fitted(name, model, dataset, path_prefix):
    search = aml.CNN(
        name=name,
        path_prefix=path_prefix,
        network=None,
        n_effective=500,
        max_likelihood_calls=40_000,
        seed=3,
    )
    return search.fit(model=model, analysis=al.AnalysisImaging(dataset=dataset, use_jax=True))


@pytest.mark.slow
def test_the_search_recovers_the_mass_of_the_vortex(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = simulated_dataset()
    with_vortex = fitted("vortex", model_with(vortex=vortex_model()), dataset, "recovery")
    smooth = fitted("smooth", model_with(), dataset, "recovery")

    low, high = (
        getattr(with_vortex.samples, method)(sigma=3.0).galaxies.lens.vortex.einstein_radius
        for method in ("values_at_lower_sigma", "values_at_upper_sigma")
    )
    assert low < TRUE_EINSTEIN_RADIUS < high
    assert high - low < 0.5 * TRUE_EINSTEIN_RADIUS
    gain = with_vortex.samples.log_evidence - smooth.samples.log_evidence
    assert np.isfinite(gain) and gain > 10.0
