"""Task ``find``: the probability that each candidate is a lens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolens_ml.applications.finder.cutouts import Candidate, cutout_from
from autolens_ml.applications.finder.find import finder_card, probabilities_of
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.networks.architectures import kept_network, stored_network
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.training.detection import THRESHOLD
from autolens_ml.training.finding import grid_of

__all__ = ["FindOptions"]


@dataclass(frozen=True)
class FindOptions:
    """As of ``autolens-ml find``; ``ra`` and ``dec`` in degrees where files are larger images."""

    network: str = "finder-vis"
    threshold: float = THRESHOLD
    pixel_scale: float | None = None
    ra: float | None = None
    dec: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise OptionError(f"threshold of {self.threshold}; set it between 0 and 1")
        if self.pixel_scale is not None and not 0.0 < self.pixel_scale < np.inf:
            raise OptionError(f"pixel scale of {self.pixel_scale} arcsec; set it above 0")


def looked_at(entry: Entry, options: FindOptions, folder: Path) -> Outcome:
    """Look at one candidate."""
    if (options.ra is None) != (options.dec is None):
        raise DataError(f"{entry.name}: give both ra and dec, or neither")
    position = None if options.ra is None else (options.ra, options.dec)
    card = finder_card(options.network)
    bands, shape, pixel_scale = grid_of(card)
    candidate = Candidate(entry.name, entry.files, position)
    with whole_files(entry.files.values()):
        image = cutout_from(candidate, bands, shape, pixel_scale, options.pixel_scale)
    probability = float(probabilities_of(kept_network(card), image[None])[0])
    status = "LENS" if probability > options.threshold else "NO LENS"
    return Outcome(status, {"probability": probability, "network": card.name})


def _check(options: FindOptions) -> None:
    stored_network(finder_card(options.network))


TASK = Task("find", FindOptions, looked_at, _check, chunk=32, file_columns=tuple(BANDS))
