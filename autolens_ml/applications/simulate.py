"""A set of simulated lenses from the command line: a model or preset in, files out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolens_ml.applications.fit.model import model_from
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.stored import write_fits, write_hdf5
from autolens_ml.training.preset import preset_from

FORMATS = ("hdf5", "fits")
_HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class SetReport:
    """What was written.

    Attributes
    ----------
    output : Path
        The HDF5 file, or the folder of folders.
    format : str
        ``"hdf5"`` or ``"fits"``.
    n, n_simulated : int
        Lenses in the set, and how many of them this call simulated.
    n_parameters : int
        Free parameters of the model.
    instrument : str
        Its name.
    seed : int
        What the lenses were drawn with.
    seconds : float
        Wall time.
    """

    output: Path
    format: str
    n: int
    n_simulated: int
    n_parameters: int
    instrument: str
    seed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "output": str(self.output)}

    def __str__(self) -> str:
        return (
            f"{self.n} lenses of {self.n_parameters} parameters, seen with {self.instrument} "
            f"(seed {self.seed}): {self.output}\n"
            f"{self.n_simulated} simulated in {self.seconds:.1f} s"
        )


def simulate_set(
    model: str,
    n: int,
    output: str | Path,
    *,
    format: str | None = None,
    instrument: str | None = None,
    seed: int = 0,
    planes: bool = False,
    progress: Progress = lambda line: None,
) -> SetReport:
    """Simulate a population into files; a call that was interrupted goes on where it stopped.

    Parameters
    ----------
    model
        A shipped preset by name; the YAML file of a preset; the JSON file of an ``af.Model``; or
        ``script.py:function``, which returns one.
    n
        How many lenses, at least 1.
    output
        The HDF5 file, or the folder of the FITS folders.
    format
        ``"hdf5"`` or ``"fits"``; by default HDF5 where ``output`` ends in ``.h5`` or ``.hdf5``.
    instrument
        Name of a shipped instrument; by default the preset's own.
    seed
        Of everything random.
    planes
        Whether an HDF5 file keeps noise-free images of the planes.
    progress
        Takes a line at a time.

    Raises
    ------
    AutolensMLError
        One line that names the input and the remedy.
    """
    began = time.monotonic()
    output = Path(output)
    if format is None:
        format = "hdf5" if output.suffix in _HDF5_SUFFIXES else "fits"
    if format not in FORMATS:
        raise OptionError(f"no format {format!r}; set --format to {' or '.join(FORMATS)}")
    if planes and format == "fits":
        raise OptionError("FITS folders hold no planes; leave --planes out, or write HDF5")
    population = _population_from(model, instrument)
    begun: list[tuple[int, float]] = []

    def say(done: int, n: int) -> None:
        now = time.monotonic()
        if not begun:
            begun.append((done, now))
        first, then = begun[0]
        line = f"{done} of {n} lenses"
        if done > first:
            rate = (done - first) / (now - then)
            line += f", {rate:.0f} per second, {(n - done) / rate:.0f} s left"
        progress(line)

    progress(f"compiling the forward model of {len(population.names)} parameters")
    if format == "hdf5":
        write_hdf5(population, n, seed, output, planes, say)
    else:
        write_fits(population, n, seed, output, say)
    return SetReport(
        output=output,
        format=format,
        n=n,
        n_simulated=n - begun[0][0],
        n_parameters=len(population.names),
        instrument=population.instrument.name,
        seed=seed,
        seconds=time.monotonic() - began,
    )


def _population_from(model: str, instrument: str | None) -> Population:
    if not (model.endswith(".json") or ".py:" in model):
        preset = preset_from(model)
        if "population" not in preset.data:
            raise OptionError(f"preset {preset.name} has no population of lenses to simulate")
        options = dict(preset.data["population"])
        if instrument is not None:
            options["instrument"] = instrument
        return population_from(options)
    if instrument is None:
        raise OptionError(
            f"{model} has no instrument: set --instrument to {', '.join(INSTRUMENTS)}"
        )
    return Population(model_from(model), instrument)
