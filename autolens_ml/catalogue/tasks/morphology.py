"""Task ``morphology``: no substructure, subhaloes or a vortex in each lens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolens_ml.applications.morphology.look import classes_of
from autolens_ml.applications.morphology.observed import lens_from
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.networks.architectures import kept_network, stored_network
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.training.morphology import TASK as MORPHOLOGY

__all__ = ["MorphologyOptions"]

# What a table calls the classes of a network.
_STATUSES = {"no_sub": "NO SUBSTRUCTURE", "cdm": "SUBHALOES", "vortex": "VORTEX"}


@dataclass(frozen=True)
class MorphologyOptions:
    """As of ``autolens-ml morphology classify``, and files of PSF and noise map as of ``fit``."""

    network: str = "morphology-i"
    psf: Path | None = None
    noise_map: Path | None = None
    pixel_scale: float | None = None
    band: str | None = None

    def __post_init__(self) -> None:
        if self.pixel_scale is not None and not 0.0 < self.pixel_scale < np.inf:
            raise OptionError(f"pixel scale of {self.pixel_scale} arcsec; set it above 0")


def classified(entry: Entry, options: MorphologyOptions, folder: Path) -> Outcome:
    """Classify one lens."""
    if "" not in entry.files:
        raise DataError(f"{entry.name}: no image; give it in a column file")
    card = find_card(options.network, MORPHOLOGY)
    with whole_files((entry.file, options.psf, options.noise_map)):
        if not entry.file.is_file():
            raise DataError(f"{entry.file}: no such file; give the path of a FITS or NumPy image")
        lens = lens_from(
            entry.file,
            card,
            options.pixel_scale,
            options.band,
            psf=options.psf,
            noise_map=options.noise_map,
        )
    (row,) = classes_of([lens], card, kept_network(card))
    flags = () if max(row.values.values()) > 0.5 else ("no class has more than half",)
    return Outcome(_STATUSES[row.verdict], {**row.values, "network": card.name}, flags)


def _check(options: MorphologyOptions) -> None:
    stored_network(find_card(options.network, MORPHOLOGY))


TASK = Task("morphology", MorphologyOptions, classified, _check, chunk=16)
