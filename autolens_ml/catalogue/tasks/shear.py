"""Task ``shear``: the shear of each galaxy from its stamp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autolens_ml.applications.shear.measure import numbers_from, shear_cards
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError
from autolens_ml.networks.architectures import kept_network, stored_network

__all__ = ["ShearOptions"]


@dataclass(frozen=True)
class ShearOptions:
    """As of ``autolens-ml shear predict``."""

    network: str = "shear-euclid"
    psf: Path | None = None
    flip_rows: bool = False


def measured(entry: Entry, options: ShearOptions, folder: Path) -> Outcome:
    """Measure one galaxy."""
    if "" not in entry.files:
        raise DataError(f"{entry.name}: no stamp; give it in a column file")
    ((name, card),) = shear_cards([options.network]).items()
    network = kept_network(card)
    with whole_files((entry.file, options.psf)):
        values = numbers_from(network, name, entry.file, options.psf, options.flip_rows)
    return Outcome("DONE", {**values, "network": name})


def _check(options: ShearOptions) -> None:
    ((_, card),) = shear_cards([options.network]).items()
    stored_network(card)


TASK = Task("shear", ShearOptions, measured, _check, chunk=32)
