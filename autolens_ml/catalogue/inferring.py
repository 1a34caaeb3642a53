"""The population of a run: samples in, JSON and a figure out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofit.tools.util import open_atomic

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.catalogue.figures import population_plot
from autolens_ml.catalogue.population import PopulationPosterior, infer_population
from autolens_ml.catalogue.posteriors import USED, samples_from
from autolens_ml.catalogue.runs import checked_run

__all__ = ["PopulationReport", "infer"]


@dataclass(frozen=True, eq=False)
class PopulationReport:
    """A population and its files.

    Attributes
    ----------
    parameter : str
        Whose distribution it is.
    posterior : PopulationPosterior
        Of its mean and width.
    files : tuple of Path
        The numbers as JSON, and the figure.
    """

    parameter: str
    posterior: PopulationPosterior
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {"parameter": self.parameter, **self.posterior.as_dict()}
        return values | {"files": [str(file) for file in self.files]}

    def __str__(self) -> str:
        return "\n".join([f"{self.parameter}, {self.posterior}", *map(str, self.files)])


def infer(
    run: str | Path,
    parameter: str,
    *,
    log: bool = False,
    statuses: Sequence[str] | None = None,
    output: str | Path | None = None,
    progress: Progress = lambda line: None,
) -> PopulationReport:
    """Infer the population of a parameter from a run, and write it down.

    Parameters
    ----------
    run
        The folder of the run.
    parameter
        Path of the parameter, or the end of it.
    log
        Whether its decimal logarithm is Gaussian.
    statuses
        Of the fits that are used; by default CONVERGED and MARGINAL.
    output
        Folder of the files; by default ``population`` in that of the run.
    progress
        Takes a line at a time.

    Raises
    ------
    DataError, OptionError
        As `samples_from` and `infer_population`.
    """
    run, _ = checked_run(run)
    lenses = samples_from(run, parameter, tuple(statuses or USED))
    progress(f"reading the samples of {len(lenses):,} lenses, and inferring their population")
    posterior = infer_population(lenses, log=log)
    folder = run / "population" if output is None else Path(output)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", parameter).strip(".-") or "parameter"
    figure = population_plot(posterior, parameter, folder / f"{name}.png")
    path = folder / f"{name}.json"
    with open_atomic(path, "wb") as stream:
        stream.write(json.dumps({"parameter": parameter, **posterior.as_dict()}, indent=1).encode())
    return PopulationReport(parameter, posterior, (path, figure))
