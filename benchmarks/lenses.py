"""The lenses searches are measured on: simulated ones with fixed seeds, and one real one.

Signal-to-noise is that of the whole lensed source, sqrt(sum (signal / noise)^2) over the pixels.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import autofit as af
import autolens as al
import numpy as np

from autolens_ml.applications.fit import finely_sampled, imaging_from_fits, model_from
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.instrument import instrument_from
from autolens_ml.simulate.population import SimulatedLenses
from autolens_ml.training.preset import preset_from

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
EUCLID_FILE = "euclid_q1_102018665.fits"


@dataclass(frozen=True)
class Lens:
    """A dataset, the model to fit it with, and what the data was simulated with.

    Attributes
    ----------
    truth
        True values by model path; empty for real data.
    batched
        Whether searches may evaluate batches: a vmapped non-negative multi-Gaussian likelihood does
        not return within minutes on two cores.
    exchangeable
        The path of components whose order means nothing: their medians are not compared.
    """

    description: str
    dataset: al.Imaging
    model: af.Collection
    truth: dict[tuple[str, ...], float]
    batched: bool = True
    exchangeable: tuple[str, ...] | None = None

    @property
    def analysis(self) -> al.AnalysisImaging:
        return al.AnalysisImaging(dataset=self.dataset, use_jax=True)


@dataclass(frozen=True)
class Sky:
    """What is simulated: isothermal ellipsoid, shear, Sersic source, perhaps Sersic lens light.

    Attributes
    ----------
    sub_pixels
        Sub-pixels per side that the image is made with, and that bright pixels are fitted with: a
        compact source needs many.
    """

    description: str
    signal_to_noise: float
    source_centre: tuple[float, float]
    seed: int
    einstein_radius: float = 1.2
    ell_comps: tuple[float, float] = (0.10, 0.05)
    shear: tuple[float, float] = (0.03, -0.02)
    source_radius: float = 0.15
    source_index: float = 1.5
    source_ell_comps: tuple[float, float] = (0.05, -0.10)
    lens_light: bool = False
    pixel_scale: float = 0.1
    n_pixels: int = 64
    psf_fwhm: float = 0.21
    mask_radius: float = 2.5
    sub_pixels: int = 8


EUCLID = Sky("", 60.0, (0.0, 0.0), 0)
HST = replace(EUCLID, pixel_scale=0.05, n_pixels=100, psf_fwhm=0.09, mask_radius=2.2)

SKIES: dict[str, Sky] = {
    "arc-20": replace(
        EUCLID,
        description="faint arc and counter-image, no lens light",
        signal_to_noise=20.0,
        source_centre=(0.25, 0.30),
        sub_pixels=16,
        seed=1,
    ),
    "arc-80": replace(
        EUCLID,
        description="arc and counter-image, no lens light",
        signal_to_noise=80.0,
        source_centre=(-0.30, 0.15),
        source_radius=0.2,
        sub_pixels=16,
        seed=2,
    ),
    "arc-light-60": replace(
        EUCLID,
        description="arc below bright lens light",
        signal_to_noise=60.0,
        source_centre=(0.20, -0.30),
        lens_light=True,
        seed=3,
    ),
    "quad-50": replace(
        EUCLID,
        description="quad of a compact source, no lens light",
        signal_to_noise=50.0,
        source_centre=(0.05, 0.04),
        source_radius=0.08,
        sub_pixels=16,
        seed=4,
    ),
    "quad-150": replace(
        HST,
        description="quad of a compact source, no lens light",
        signal_to_noise=150.0,
        source_centre=(-0.04, 0.07),
        source_radius=0.07,
        einstein_radius=1.0,
        sub_pixels=16,
        seed=5,
    ),
    "quad-light-100": replace(
        EUCLID,
        description="quad below bright lens light",
        signal_to_noise=100.0,
        source_centre=(0.02, -0.06),
        source_radius=0.1,
        lens_light=True,
        seed=6,
    ),
    "ring-120": replace(
        EUCLID,
        description="ring of an extended source, no lens light",
        signal_to_noise=120.0,
        source_centre=(0.02, 0.01),
        ell_comps=(0.03, -0.02),
        shear=(0.01, 0.01),
        source_radius=0.25,
        seed=7,
    ),
    "ring-300": replace(
        HST,
        description="bright ring of an extended source, no lens light",
        signal_to_noise=300.0,
        source_centre=(0.03, -0.02),
        einstein_radius=1.0,
        ell_comps=(-0.05, 0.04),
        shear=(-0.02, 0.01),
        source_radius=0.2,
        source_index=1.0,
        seed=8,
    ),
    "ring-light-200": replace(
        EUCLID,
        description="ring below bright lens light",
        signal_to_noise=200.0,
        source_centre=(-0.02, 0.03),
        ell_comps=(0.06, 0.02),
        source_radius=0.2,
        lens_light=True,
        seed=9,
    ),
}

# The sky is bright: the noise map is made from the data, and few counts would bias every fit.
LIGHT_RADIUS, LIGHT_INDEX, SKY_LEVEL = 0.7, 3.0, 1000.0


def _tracer(sky: Sky) -> al.Tracer:
    lens = {
        "mass": al.mp.Isothermal(
            centre=(0.0, 0.0), ell_comps=sky.ell_comps, einstein_radius=sky.einstein_radius
        ),
        "shear": al.mp.ExternalShear(gamma_1=sky.shear[0], gamma_2=sky.shear[1]),
    }
    if sky.lens_light:
        lens["bulge"] = al.lp.Sersic(
            centre=(0.0, 0.0),
            ell_comps=sky.ell_comps,
            intensity=1.0,
            effective_radius=LIGHT_RADIUS,
            sersic_index=LIGHT_INDEX,
        )
    source = al.lp.Sersic(
        centre=sky.source_centre,
        ell_comps=sky.source_ell_comps,
        intensity=1.0,
        effective_radius=sky.source_radius,
        sersic_index=sky.source_index,
    )
    return al.Tracer(
        galaxies=[al.Galaxy(redshift=0.5, **lens), al.Galaxy(redshift=1.0, bulge=source)]
    )


def _dataset(sky: Sky) -> al.Imaging:
    shape = (sky.n_pixels, sky.n_pixels)
    grid = al.Grid2D.uniform(
        shape_native=shape, pixel_scales=sky.pixel_scale, over_sample_size=sky.sub_pixels
    )
    psf = al.Convolver.from_gaussian(
        shape_native=(7, 7),
        sigma=sky.psf_fwhm / 2.3548,
        pixel_scales=sky.pixel_scale,
        normalize=True,
    )
    tracer = _tracer(sky)
    images = [np.asarray(image) for image in tracer.image_2d_list_from(grid=grid)]
    # Noise is Poisson with the sky: (S/N)^2 is proportional to the exposure time.
    exposure_time = sky.signal_to_noise**2 / np.sum(images[-1] ** 2 / (sum(images) + SKY_LEVEL))
    dataset = al.SimulatorImaging(
        exposure_time=exposure_time,
        psf=psf,
        background_sky_level=SKY_LEVEL,
        add_poisson_noise_to_data=True,
        noise_seed=sky.seed,
    ).via_tracer_from(tracer=tracer, grid=grid)
    mask = al.Mask2D.circular(
        shape_native=shape, pixel_scales=sky.pixel_scale, radius=sky.mask_radius
    )
    return finely_sampled(dataset.apply_mask(mask=mask), sky.sub_pixels)


def _model(sky: Sky) -> af.Collection:
    mass = af.Model(al.mp.Isothermal)
    mass.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.1)
    mass.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.1)
    mass.einstein_radius = af.UniformPrior(0.5, 2.0)
    lens = {"mass": mass, "shear": af.Model(al.mp.ExternalShear)}
    if sky.lens_light:
        lens["bulge"] = af.Model(al.lp_linear.Sersic, centre=mass.centre)
    source = af.Model(al.lp_linear.Sersic if sky.lens_light else al.lp.Sersic)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, **lens),
            source=af.Model(al.Galaxy, redshift=1.0, bulge=source),
        )
    )


def _truth(sky: Sky, model: af.Collection) -> dict[tuple[str, ...], float]:
    tracer = _tracer(sky)
    galaxies = dict(zip(("lens", "source"), tracer.galaxies, strict=True))
    truth = {}
    for path in model.unique_prior_paths:
        _, galaxy, profile, *rest = path
        value = getattr(getattr(galaxies[galaxy], profile), rest[0])
        truth[path] = float(value[int(rest[1][-1])] if len(rest) > 1 else value)
    return truth


def simulated(name: str) -> Lens:
    """Simulate one of `SKIES`."""
    sky = SKIES[name]
    model = _model(sky)
    description = f'{sky.description}; S/N {sky.signal_to_noise:g}, {sky.pixel_scale}"/px'
    return Lens(description, _dataset(sky), model, _truth(sky, model))


def euclid() -> Lens:
    """Load the real Euclid lens with the model a lens modeller fits to it."""
    return Lens(
        "real: Euclid Q1 102018665, VIS, non-negative multi-Gaussian light",
        imaging_from_fits(SHARED_DATA / EUCLID_FILE, band="VIS", mask_radius=3.0),
        model_from("sie+shear+mge", mask_radius=3.0),
        truth={},
        batched=False,
        exchangeable=("galaxies", "lens", "bulge"),
    )


# The network `euclid-sie` never saw these: another stream of the generator, other lenses.
HELD_OUT_SEED = 271828
HELD_OUT = tuple(f"held-out-{i:03d}" for i in range(100))
# Arcs below this many sigma in their brightest pixel are no arcs to the eye.
FAINTEST_ARC = 5.0
HELD_OUT_MASK = 3.0
HELD_OUT_SUB_PIXELS = 8


def held_out(name: str) -> Lens:
    """Simulate one of `HELD_OUT`: Sersic lens light and source as the network's population has.

    The disc and the structure of the source are left out, so that the model can be right, and light
    is sampled more finely than the network's training needed: the likelihood of bright lens light
    is rough otherwise. The priors are PyAutoLens's own but for radii, which end at the mask.
    """
    described = copy.deepcopy(preset_from("euclid-sie").data["population"])
    del described["stamps"], described["model"]["lens"]["disk"]
    del described["model"]["source"]["structure"]
    described["instrument"] = replace(
        instrument_from(described["instrument"]), over_sample_size=HELD_OUT_SUB_PIXELS
    )
    population = population_from(described)
    wanted, found = HELD_OUT.index(name), 0
    for batch in population.batches(10 * len(HELD_OUT), HELD_OUT_SEED):
        peaks = (batch.planes[:, -1] / batch.noise_maps).max(axis=(1, 2))
        for i in np.flatnonzero(peaks >= FAINTEST_ARC):
            if found == wanted:
                return _held_out_lens(batch, i, peaks[i])
            found += 1
    raise ValueError(f"fewer than {wanted + 1} lenses have arcs above {FAINTEST_ARC} sigma")


def _held_out_lens(batch: SimulatedLenses, index: int, peak: float) -> Lens:
    values = dict(zip(batch.population.names, batch.parameters[index], strict=True))
    dataset = batch.imaging_from(index)
    mask = al.Mask2D.circular(
        shape_native=dataset.shape_native, pixel_scales=dataset.pixel_scales, radius=HELD_OUT_MASK
    )
    mass = af.Model(al.mp.Isothermal)
    light = af.Model(al.lp_linear.Sersic, centre=mass.centre)
    source = af.Model(al.lp_linear.Sersic)
    for radius in (mass, light, source):
        name = "einstein_radius" if radius is mass else "effective_radius"
        setattr(radius, name, af.UniformPrior(0.0, HELD_OUT_MASK))
    lens = {"mass": mass, "shear": af.Model(al.mp.ExternalShear), "bulge": light}
    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, **lens),
            source=af.Model(al.Galaxy, redshift=1.0, bulge=source),
        )
    )
    truth = {
        path: values[".".join(path)]
        for paths in model.all_paths
        for path in paths
        if ".".join(path) in values
    }
    description = (
        f'Einstein radius {values["galaxies.lens.mass.einstein_radius"]:.2f}", brightest pixel of '
        f"the arcs {peak:.0f} sigma"
    )
    dataset = finely_sampled(dataset.apply_mask(mask=mask), HELD_OUT_SUB_PIXELS)
    return Lens(description, dataset, model, truth)


def lenses() -> dict[str, Callable[[], Lens]]:
    """Return what makes each lens, by name; the real one only where its file is present."""
    made: dict[str, Callable[[], Lens]] = {
        name: (lambda name=name: simulated(name)) for name in SKIES
    }
    if (SHARED_DATA / EUCLID_FILE).is_file():
        made["euclid"] = euclid
    return made
