"""Task ``fit``: the posterior of each lens by a search, with the output of PyAutoLens."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolens_ml.applications.fit import fit_imaging, imaging_from_fits, model_from
from autolens_ml.applications.fit.run import search_from
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError, OptionError

__all__ = ["FitOptions"]

_DONE = "DONE"
_SWITCHES = ("PYAUTO_SKIP_LATENTS", "PYAUTO_SKIP_VISUALIZATION")


@dataclass(frozen=True)
class FitOptions:
    """As of ``autolens-ml fit``; the seed of each lens comes of this one and of its name.

    Without ``figures`` PyAutoLens draws none of its own and computes no latent variables, which
    may take longer than the fit.
    """

    psf: Path | None = None
    noise_map: Path | None = None
    pixel_scale: float | None = None
    band: str | None = None
    hdu: str | None = None
    psf_hdu: str | None = None
    noise_map_hdu: str | None = None
    mask_radius: float = 3.0
    over_sampling: int | None = None
    model: str = "sie+shear+mge"
    redshift_lens: float = 0.5
    redshift_source: float = 1.0
    search: str = "cnn"
    max_likelihood_calls: int | None = None
    seed: int | None = 0
    figures: bool = True

    def __post_init__(self) -> None:
        if not (self.mask_radius > 0.0 and math.isfinite(self.mask_radius)):
            raise OptionError(f"mask radius of {self.mask_radius} arcsec; set it above 0")


def fitted(entry: Entry, options: FitOptions, folder: Path) -> Outcome:
    """Fit one lens."""
    if "" not in entry.files:
        raise DataError(f"{entry.name}: no file to fit; give it in a column file")
    with whole_files((entry.file, options.psf, options.noise_map)):
        dataset = imaging_from_fits(
            entry.file,
            psf=options.psf,
            noise_map=options.noise_map,
            pixel_scale=options.pixel_scale,
            mask_radius=options.mask_radius,
            band=options.band,
            hdu=options.hdu,
            psf_hdu=options.psf_hdu,
            noise_map_hdu=options.noise_map_hdu,
            over_sample_size=options.over_sampling,
        )
    model = model_from(
        options.model,
        mask_radius=options.mask_radius,
        redshift_lens=options.redshift_lens,
        redshift_source=options.redshift_source,
        dataset=dataset,
    )
    with contextlib.nullcontext() if options.figures else _without_figures():
        report = fit_imaging(
            dataset,
            model,
            search=options.search,
            name=entry.key,
            output=folder,
            seed=seed_of(options.seed, entry.name),
            max_likelihood_calls=options.max_likelihood_calls,
        )
    values = {
        name: getattr(report, name)
        for name in (
            "log_evidence",
            "log_evidence_error",
            "max_log_likelihood",
            "ess",
            "pareto_k",
            "n_likelihood",
            "n_gradient",
        )
    }
    for parameter in report.parameters:
        values |= {
            parameter.path: parameter.median,
            f"{parameter.path}_error_minus": parameter.error_minus,
            f"{parameter.path}_error_plus": parameter.error_plus,
        }
    return Outcome(report.status or _DONE, values, (), report.output, report.figures)


def seed_of(seed: int | None, name: str) -> int | None:
    """The seed of one lens, whatever others are in the catalogue."""
    if seed is None:
        return None
    entropy = [seed, *name.encode("utf-8", "backslashreplace")]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@contextlib.contextmanager
def _without_figures() -> Iterator[None]:
    """PyAutoLens reads these switches from the environment, for every fit anew."""
    before = {name: os.environ.get(name) for name in _SWITCHES}
    os.environ.update(dict.fromkeys(_SWITCHES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check(options: FitOptions) -> None:
    """What every lens would be refused for."""
    search_from(
        options.search,
        name="",
        unique_tag="",
        seed=options.seed,
        max_likelihood_calls=options.max_likelihood_calls,
    )
    for what, path in (("psf", options.psf), ("noise_map", options.noise_map)):
        if path is not None and not path.is_file():
            raise DataError(f"{path}: no such file; set {what} to a FITS file")
    if not options.model.rpartition(":")[0].endswith(".py"):  # those may ask for the dataset
        model_from(
            options.model,
            mask_radius=options.mask_radius,
            redshift_lens=options.redshift_lens,
            redshift_source=options.redshift_source,
        )


TASK = Task("fit", FitOptions, fitted, _check, effort=("max_likelihood_calls",))
