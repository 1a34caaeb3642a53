"""Models and cameras of the tests."""

import autofit as af
import autolens as al
import numpy as np
from autolens.analysis.analysis.lens import AnalysisLens

import autolens_ml as aml
from autolens_ml.simulate.instrument import Instrument

# Neither square nor even, and as much read noise as sky.
CAMERA = Instrument(
    name="camera",
    shape=(21, 26),
    pixel_scale=0.2,
    psf_fwhm=(0.3, 0.5),
    exposure_time=(500.0, 2000.0),
    background_sky_level=0.2,
    read_noise=15.0,
)
MOFFAT_CAMERA = Instrument(
    name="moffat",
    shape=(20, 22),
    pixel_scale=0.25,
    psf_fwhm=(0.5, 0.7),
    exposure_time=(500.0, 500.0),
    background_sky_level=0.4,
    psf_beta=2.5,
    psf_shape=(11, 11),
    over_sample_size=3,
)
SMALL_CAMERA = Instrument(
    name="small",
    shape=(16, 16),
    pixel_scale=0.25,
    psf_fwhm=(0.4, 0.4),
    exposure_time=(1000.0, 1000.0),
    background_sky_level=0.1,
    over_sample_size=1,
)


def light(cls=al.lp.Sersic, intensity=(1.0, 5.0), centre=0.3, **fixed):
    model = af.Model(cls, **fixed)
    for name in ("centre_0", "centre_1"):
        setattr(model.centre, name, af.GaussianPrior(mean=0.0, sigma=centre))
    for name in ("ell_comps_0", "ell_comps_1") if hasattr(model, "ell_comps") else ():
        setattr(model.ell_comps, name, af.GaussianPrior(mean=0.0, sigma=0.1))
    model.intensity = af.LogUniformPrior(*intensity)
    model.effective_radius = af.UniformPrior(0.2, 0.5)
    return model


def mass():
    model = af.Model(al.mp.Isothermal)
    model.einstein_radius = af.UniformPrior(0.7, 1.4)
    for name in ("centre_0", "centre_1"):
        setattr(model.centre, name, af.GaussianPrior(mean=0.0, sigma=0.1))
    for name in ("ell_comps_0", "ell_comps_1"):
        setattr(model.ell_comps, name, af.GaussianPrior(mean=0.0, sigma=0.1))
    return model


def galaxies(**parts):
    return af.Collection(galaxies=af.Collection(**parts))


def lens(**parts):
    return af.Model(al.Galaxy, redshift=0.5, mass=mass(), **parts)


def source(redshift=1.0, **parts):
    return af.Model(al.Galaxy, redshift=redshift, **(parts or {"light": light()}))


def plain_model():
    shear = af.Model(al.mp.ExternalShear)
    return galaxies(lens=lens(light=light(), shear=shear), source=source())


def small_model():
    """The cheapest lens there is."""
    ring = af.Model(al.mp.IsothermalSph, centre=(0.0, 0.0))
    ring.einstein_radius = af.UniformPrior(0.8, 1.2)
    return galaxies(
        lens=af.Model(al.Galaxy, redshift=0.5, mass=ring),
        source=source(light=light(al.lp.ExponentialSph)),
    )


def vortex():
    model = af.Model(aml.mp.VortexLine, half_length=0.5, core_radius=0.05)
    model.einstein_radius = af.UniformPrior(0.1, 0.3)
    return model


def pixel_light():
    model = af.Model(aml.lp.PixelLight, values=np.zeros((2, 2)), pixel_scale=0.1)
    model.intensity = af.LogUniformPrior(10.0, 100.0)
    model.scale = af.UniformPrior(0.5, 1.5)
    return model


def rich_model():
    middle = af.Model(al.mp.IsothermalSph, einstein_radius=0.2)
    bright = af.Model(al.lp.GaussianSph, centre=(0.8, -0.5), intensity=30.0, sigma=0.2)
    model = galaxies(
        lens=lens(vortex=vortex(), light=light(intensity=(10.0, 100.0))),
        middle=af.Model(al.Galaxy, redshift=0.8, mass=middle, light=bright),
        source=source(2.0, structure=pixel_light(), bulge=al.lp.ExponentialSph(intensity=20.0)),
    )
    neighbour = al.Galaxy(
        redshift=0.5,
        mass=al.mp.IsothermalSph(centre=(1.5, 1.0), einstein_radius=0.3),
        light=al.lp.SersicSph(centre=(1.5, 1.0), intensity=25.0, effective_radius=0.3),
    )
    model.extra_galaxies = af.Collection(neighbour=neighbour)
    return model


def image_by_pyautolens(lenses, index, galaxies_of=None):
    """The noise-free image of one lens as ``al.SimulatorImaging`` makes it, without JAX."""
    instrument = lenses.population.instrument
    instance = lenses.instance_from(index)
    tracer = AnalysisLens(use_jax=False).tracer_via_instance_from(instance)
    if galaxies_of is not None:
        tracer = al.Tracer(galaxies=galaxies_of(instance))
    grid = al.Grid2D.uniform(
        shape_native=instrument.shape,
        pixel_scales=instrument.pixel_scale,
        over_sample_size=instrument.over_sample_size,
    )
    psf = al.Array2D.no_mask(lenses.psfs[index], pixel_scales=instrument.pixel_scale)
    simulator = al.SimulatorImaging(
        exposure_time=1.0,
        background_sky_level=1.0,
        psf=al.Convolver(kernel=psf),
        add_poisson_noise_to_data=False,
        include_poisson_noise_in_noise_map=False,
    )
    return simulator.via_tracer_from(tracer=tracer, grid=grid).data.native.array
