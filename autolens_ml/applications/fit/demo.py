"""The lens that ships with the package: how it was simulated, and its fit.

``truth.json`` holds what it was made with, ``demo.fits`` what `simulate_demo` makes of it;
``python -m autolens_ml.applications.fit.demo`` writes that file anew.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import autolens as al
import numpy as np
from astropy.io import fits

from autolens_ml.applications.fit.dataset import imaging_from_fits
from autolens_ml.applications.fit.model import model_from
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.fit.report import FitReport
from autolens_ml.applications.fit.run import fit_imaging

DEMO_FOLDER = Path(str(files("autolens_ml") / "data" / "demo"))
DEMO_FITS = DEMO_FOLDER / "demo.fits"
DEMO_TRUTH = DEMO_FOLDER / "truth.json"
DEMO_MODEL = "sie+shear+sersic"


def demo_truth() -> dict[str, Any]:
    """What the demo lens was made with: instrument, redshifts, each parameter by model path."""
    return json.loads(DEMO_TRUTH.read_text(encoding="utf-8"))


def simulate_demo() -> al.Imaging:
    """Simulate the demo lens from ``truth.json``, noise included: the same image every time.

    Returns
    -------
    al.Imaging
        The unmasked dataset, in electrons per second.
    """
    truth = demo_truth()
    model = _demo_model(truth)
    galaxies = model.instance_from_vector(
        [truth["parameters"][path] for path in model.model_component_and_parameter_names]
    ).galaxies
    lens = al.Galaxy(
        redshift=truth["redshift_lens"],
        bulge=_with_intensity(galaxies.lens.bulge, truth["intensity_lens"]),
        mass=galaxies.lens.mass,
        shear=galaxies.lens.shear,
    )
    source = al.Galaxy(
        redshift=truth["redshift_source"],
        bulge=_with_intensity(galaxies.source.bulge, truth["intensity_source"]),
    )
    scale = truth["pixel_scale"]
    simulator = al.SimulatorImaging(
        exposure_time=truth["exposure_time"],
        background_sky_level=truth["background_sky_level"],
        psf=al.Convolver.from_gaussian(
            shape_native=tuple(truth["psf_shape"]),
            sigma=truth["psf_sigma"],
            pixel_scales=scale,
            normalize=True,
        ),
        noise_seed=truth["seed"],
    )
    grid = al.Grid2D.uniform(
        shape_native=tuple(truth["shape_native"]),
        pixel_scales=scale,
        over_sample_size=truth["over_sample_size"],
    )
    return simulator.via_tracer_from(tracer=al.Tracer(galaxies=[lens, source]), grid=grid)


def demo_dataset() -> al.Imaging:
    """The shipped image, masked and over-sampled as it was simulated."""
    truth = demo_truth()
    dataset = imaging_from_fits(DEMO_FITS, mask_radius=truth["mask_radius"])
    # Coarser than PyAutoLens's default of 4, in both: the demo is to be quick on any machine.
    return dataset.apply_over_sampling(over_sample_size_lp=truth["over_sample_size"])


def _demo_model(truth: dict[str, Any]) -> Any:
    return model_from(
        DEMO_MODEL,
        mask_radius=truth["mask_radius"],
        redshift_lens=truth["redshift_lens"],
        redshift_source=truth["redshift_source"],
    )


def _with_intensity(light: al.lp_linear.Sersic, intensity: float) -> al.lp.Sersic:
    return al.lp.Sersic(
        centre=light.centre,
        ell_comps=light.ell_comps,
        intensity=intensity,
        effective_radius=light.effective_radius,
        sersic_index=light.sersic_index,
    )


def write_demo(path: Path = DEMO_FITS) -> None:
    """Write the simulated lens as one FITS file with extensions DATA, PSF and NOISE_MAP."""
    dataset = simulate_demo()
    units = [fits.PrimaryHDU()]
    for name, array in (
        ("DATA", dataset.data.native.array),
        ("PSF", dataset.psf.kernel.native.array),
        ("NOISE_MAP", dataset.noise_map.native.array),
    ):
        unit = fits.ImageHDU(np.asarray(array, dtype=np.float32), name=name)
        unit.header["PIXSCALE"] = (dataset.pixel_scales[0], "arcsec per pixel")
        units.append(unit)
    fits.HDUList(units).writeto(path, overwrite=True)


def fit_demo(
    *,
    search: str = "cnn",
    output: str | Path = "output",
    seed: int | None = 1,
    max_likelihood_calls: int | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Fit the demo lens, as `fit_imaging` does, with the truth beside each parameter."""
    truth = demo_truth()
    return fit_imaging(
        demo_dataset(),
        _demo_model(truth),
        search=search,
        name="demo",
        output=output,
        seed=seed,
        max_likelihood_calls=max_likelihood_calls,
        truth=truth["parameters"],
        progress=progress,
    )


if __name__ == "__main__":
    write_demo()
