"""The posterior samples of one parameter, lens by lens, from the output of PyAutoLens."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import autofit as af
import numpy as np

from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import DataError, OptionError

__all__ = ["USED", "LensSamples", "RunSamples", "samples_from"]

# Statuses of results that may be used.
USED = ("CONVERGED", "MARGINAL", "DONE")


@dataclass(frozen=True, eq=False)
class LensSamples:
    """Samples of one parameter of one lens.

    Attributes
    ----------
    name : str
        Of the lens.
    values : ndarray
        Shape (n,), in the units of the parameter.
    weights : ndarray
        Shape (n,), they sum to 1.
    log_prior : ndarray
        Logarithm of the density of the fit's prior at each value, up to a constant, shape (n,).
    bounds : tuple of float
        Between which that prior is not zero.

    Raises
    ------
    DataError
        When there are no samples, shapes differ, or values, weights and priors are not finite.
    """

    name: str
    values: np.ndarray
    weights: np.ndarray
    log_prior: np.ndarray
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def __post_init__(self) -> None:
        arrays = {
            name: np.asarray(getattr(self, name), dtype=float)
            for name in ("values", "weights", "log_prior")
        }
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or not arrays["values"].size or arrays["values"].ndim != 1:
            raise DataError(f"{self.name}: samples, weights and priors of shapes {sorted(shapes)}")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise DataError(f"{self.name}: samples, weights or priors that are not finite")
        total = arrays["weights"].sum()
        if (arrays["weights"] < 0.0).any() or not total > 0.0:
            raise DataError(f"{self.name}: weights must be positive")
        arrays["weights"] = arrays["weights"] / total
        for name, array in arrays.items():
            object.__setattr__(self, name, array)


class RunSamples(Sequence[LensSamples]):
    """The samples of all lenses of a run, each read when it is asked for.

    Those of a large run would not fit into memory together.

    Parameters
    ----------
    lenses
        Name, and folder of PyAutoLens's output, of each.
    parameter
        Path of the parameter, or the end of it.

    Raises
    ------
    DataError
        When the output of a lens that is asked for is damaged.
    OptionError
        When no or several of its parameters end so.
    """

    def __init__(self, lenses: Sequence[tuple[str, Path]], parameter: str) -> None:
        self._lenses, self._parameter = lenses, parameter

    def __len__(self) -> int:
        return len(self._lenses)

    @overload
    def __getitem__(self, index: int) -> LensSamples: ...

    @overload
    def __getitem__(self, index: slice) -> RunSamples: ...

    def __getitem__(self, index: int | slice) -> LensSamples | RunSamples:
        if isinstance(index, slice):
            return RunSamples(self._lenses[index], self._parameter)
        return _samples_of(*self._lenses[index], self._parameter)


def samples_from(output: str | Path, parameter: str, statuses: Sequence[str] = USED) -> RunSamples:
    """The samples of a parameter of every lens that a run has fitted, read lens by lens.

    Parameters
    ----------
    output
        The folder of the run.
    parameter
        Path of the parameter, or the end of it: ``einstein_radius``.
    statuses
        Of the results that are used.

    Raises
    ------
    OptionError
        When no or several parameters end so.
    DataError
        When no fit can be used, or the output of the first is damaged; that of another is found
        when it is read.
    """
    lenses = [
        (record["name"], Path(output) / record["output"])
        for record in Records(output)
        if record["status"] in statuses and record.get("output")
    ]
    if not lenses:
        raise DataError(f"{output}: no fits with status {' or '.join(statuses)} in it")
    samples = RunSamples(lenses, parameter)
    samples[0]  # a parameter that is not there is said at once
    return samples


def _samples_of(name: str, folder: Path, parameter: str) -> LensSamples:
    path = folder / "files" / "samples.csv"
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            columns = [column.strip() for column in next(csv.reader(stream), ())]
            model = af.AbstractPriorModel.from_json(str(folder / "files" / "model.json"))
            paths = list(model.model_component_and_parameter_names)
            full = _full_path(parameter, paths)
            wanted = (columns.index("weight"), columns.index(full))
            rows = list(stream)
        if not rows:
            raise ValueError("no samples")
        weights, values = np.loadtxt(rows, delimiter=",", usecols=wanted, unpack=True, ndmin=2)
    except (OSError, ValueError, AttributeError, LookupError, TypeError, csv.Error) as error:
        raise DataError(
            f"{name}: output that cannot be read ({path.parent}); fit it again"
        ) from error
    prior = model.priors_ordered_by_id[paths.index(full)]
    log_prior = np.asarray(prior.log_prior_from_value(values), dtype=float)
    inside = np.isfinite(log_prior) & (weights > 0.0)
    if not inside.any():
        raise DataError(f"{name}: no sample of {full} lies within its prior; fit it again")
    return LensSamples(name, values[inside], weights[inside], log_prior[inside], _bounds_of(prior))


def _full_path(parameter: str, paths: Sequence[str]) -> str:
    if parameter in paths:
        return parameter
    ending = [path for path in paths if path.endswith(f".{parameter}")]
    if len(ending) != 1:
        what = "no parameter ends" if not ending else "several parameters end"
        raise OptionError(f"{what} in {parameter!r}; give one of: {', '.join(ending or paths)}")
    return ending[0]


def _bounds_of(prior: Any) -> tuple[float, float]:
    bounds = (getattr(prior, "lower_limit", -np.inf), getattr(prior, "upper_limit", np.inf))
    return float(bounds[0]), float(bounds[1])
