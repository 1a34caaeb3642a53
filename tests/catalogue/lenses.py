"""Small simulated lenses as FITS files, and the model that fits each in seconds."""

from pathlib import Path

import autofit as af
import autolens as al
import numpy as np
from astropy.io import fits

SHAPE = (24, 24)
PIXEL_SCALE = 0.2
MASK_RADIUS = 2.2
# For --model: this file and its function.
MODEL = f"{__file__}:model"


def model() -> af.Collection:
    """An isothermal sphere in the middle, and a round source: four free parameters."""
    lens = af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph)
    lens.mass.centre = (0.0, 0.0)
    lens.mass.einstein_radius = af.UniformPrior(lower_limit=0.5, upper_limit=2.0)
    source = af.Model(al.Galaxy, redshift=1.0, bulge=al.lp_linear.ExponentialSph)
    source.bulge.effective_radius = af.UniformPrior(lower_limit=0.05, upper_limit=1.0)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


def simulate(einstein_radius: float = 1.2, seed: int = 4) -> al.Imaging:
    """A lens of that model, with a source off the middle."""
    grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=PIXEL_SCALE, over_sample_size=2)
    source = al.lp.ExponentialSph(centre=(0.1, 0.05), intensity=0.5, effective_radius=0.3)
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=einstein_radius)),
            al.Galaxy(redshift=1.0, bulge=source),
        ]
    )
    simulator = al.SimulatorImaging(
        exposure_time=100.0,
        background_sky_level=0.5,
        psf=al.Convolver.from_gaussian(shape_native=(3, 3), sigma=0.15, pixel_scales=PIXEL_SCALE),
        noise_seed=seed,
    )
    return simulator.via_tracer_from(tracer=tracer, grid=grid)


def write(path: Path, dataset: al.Imaging, **changes) -> Path:
    """One FITS file of image, PSF and noise map; ``changes`` replace an array, or drop it."""
    arrays = {
        "DATA": dataset.data.native.array,
        "PSF": dataset.psf.kernel.native.array,
        "NOISE_MAP": dataset.noise_map.native.array,
    } | changes
    units = [fits.PrimaryHDU()]
    for name, array in arrays.items():
        if array is not None:
            units.append(fits.ImageHDU(np.array(array, dtype=float), name=name))
            units[-1].header["PIXSCALE"] = PIXEL_SCALE
    fits.HDUList(units).writeto(path, overwrite=True)
    return path
