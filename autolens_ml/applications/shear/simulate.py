"""A set of stamps from the command line: a population in, files out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.shear_files import write_stamps
from autolens_ml.simulate.shear_population import ShearPopulation
from autolens_ml.training.shearing import shear_population_from

__all__ = ["StampReport", "requested_population", "simulate_stamps"]


@dataclass(frozen=True)
class StampReport:
    """What was written.

    Attributes
    ----------
    data : Path
        ``data.json``.
    n : int
        Pairs in the set.
    noise : bool
        Whether galaxies have noise.
    formats : tuple of str
        Of the files.
    seed : int
        What the pairs were drawn with.
    seconds : float
        Wall time.
    """

    data: Path
    n: int
    noise: bool
    formats: tuple[str, ...]
    seed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "data": str(self.data), "formats": list(self.formats)}

    def __str__(self) -> str:
        noise = "with noise" if self.noise else "without noise"
        return (
            f"{self.n} galaxies {noise} and their PSFs (seed {self.seed}, "
            f"{' and '.join(self.formats)}): {self.data}\nin {self.seconds:.1f} s"
        )


def simulate_stamps(
    population: str,
    n: int,
    folder: str | Path,
    *,
    noise: bool = False,
    formats: Sequence[str] = ("fits",),
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> StampReport:
    """Simulate galaxies and PSFs into a folder; an interrupted call goes on where it stopped.

    Parameters
    ----------
    population
        ``euclid``, ``seed``, or a YAML or JSON file of what it differs in from ``euclid``.
    n
        How many, at least 1.
    folder
        Where.
    noise
        Whether galaxies have noise.
    formats
        ``fits``, ``tiff`` or both.
    seed
        Of everything random.
    progress
        Takes a line at a time.

    Raises
    ------
    AutolensMLError
        One line that names the input and the remedy.
    """
    began = time.monotonic()
    data = write_stamps(
        requested_population(population),
        n,
        folder,
        noise=noise,
        formats=formats,
        seed=seed,
        say=lambda done, n: progress(f"{done:,} of {n:,} galaxies"),
    )
    return StampReport(data, n, noise, tuple(formats), seed, time.monotonic() - began)


def requested_population(name: str) -> ShearPopulation:
    """A population by name, or from a YAML or JSON file.

    Raises
    ------
    OptionError
        When there is none, or it cannot be read.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".json"):
        return shear_population_from(name)
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: neither YAML nor JSON") from error
    try:
        return ShearPopulation.from_dict(values)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
