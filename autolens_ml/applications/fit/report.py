"""What a fit says at its end: a table to read, and the same numbers as JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import autofit as af
import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

QUANTILES = (0.158655, 0.5, 0.841345)

# Fewer cannot give a median and its errors: a search that was stopped early.
MIN_EFFECTIVE_SAMPLES = 50

STATUS_STYLES = {"CONVERGED": "bold green", "MARGINAL": "bold yellow", "FAILED": "bold red"}
STATUS_ADVICE = {
    "MARGINAL": "usable with care: raise --max-likelihood-calls, or check with --search nautilus",
    "FAILED": "do not use these numbers: raise --max-likelihood-calls, tighten the priors, "
    "or use --search nautilus",
}


@dataclass(frozen=True)
class Parameter:
    """The marginal posterior of one free parameter.

    Attributes
    ----------
    path
        Its path in the model, ``galaxies.lens.mass.einstein_radius``.
    median
        Weighted median, in the parameter's units.
    error_minus, error_plus
        Distance from the median to the 15.9 and 84.1 per cent quantiles, both positive.
    truth
        The value a simulation was made with; None for real data.
    """

    path: str
    median: float
    error_minus: float
    error_plus: float
    truth: float | None = None

    @property
    def sigmas_from_truth(self) -> float | None:
        """How far the truth is from the median, in the error on its side."""
        if self.truth is None:
            return None
        error = self.error_plus if self.truth > self.median else self.error_minus
        return (self.truth - self.median) / error if error > 0.0 else math.inf


@dataclass(frozen=True)
class FitReport:
    """The numbers of a finished fit.

    Attributes
    ----------
    search
        The name of the search.
    parameters
        One entry per free parameter, galaxy by galaxy.
    log_evidence, log_evidence_error
        Natural logarithm of the evidence and its standard error; None where a search gives none.
    ess
        Effective sample size of the weighted samples.
    pareto_k
        Pareto shape of the importance weights; None for a search that has none.
    status
        ``"CONVERGED"``, ``"MARGINAL"`` or ``"FAILED"``. A search that does not judge itself has
        None, or ``"FAILED"`` below `MIN_EFFECTIVE_SAMPLES`.
    n_likelihood, n_gradient
        Evaluations of the likelihood, and of its gradient; None where a search does not count them.
    max_log_likelihood
        The log likelihood of the best sample.
    seconds
        Wall time of the search and of its output.
    resumed
        Whether an earlier, finished fit was read from the output folder.
    output, figures
        The folder of the fit, and the figures made from it.
    """

    search: str
    parameters: tuple[Parameter, ...]
    log_evidence: float | None
    log_evidence_error: float | None
    ess: float
    pareto_k: float | None
    status: str | None
    n_likelihood: int | None
    n_gradient: int | None
    max_log_likelihood: float
    seconds: float
    resumed: bool
    output: Path
    figures: tuple[Path, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON types; numbers that are not finite become None."""
        values = asdict(self)
        values["parameters"] = {
            parameter.pop("path"): parameter for parameter in values["parameters"]
        }
        return _json_types(values)

    def __rich__(self) -> Group:
        """The report as rich prints it."""
        return Group(self._table(), self._summary(), *self._paths())

    def _paths(self) -> list[Text]:
        """The files, each on one line whatever the width, so that it can be copied."""
        lines = [f"figure             {figure}" for figure in self.figures]
        lines.append(f"output             {self.output}")
        return [Text(line, no_wrap=True, overflow="ignore") for line in lines]

    def _table(self) -> Table:
        truths = any(parameter.truth is not None for parameter in self.parameters)
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("parameter", no_wrap=True)
        table.add_column("median", justify="right", no_wrap=True)
        table.add_column("error", justify="right", no_wrap=True)
        if truths:
            table.add_column("truth", justify="right", no_wrap=True)
            table.add_column("off by (sigma)", justify="right", no_wrap=True)
        for label, parameter in zip(labels_from(self.parameters), self.parameters, strict=True):
            row = [label, *_value_and_error(parameter)]
            if truths:
                sigmas = parameter.sigmas_from_truth
                row += (
                    ["", ""]
                    if sigmas is None
                    else [_rounded(parameter.truth, _decimals(parameter)), f"{sigmas:+.1f}"]
                )
            table.add_row(*row)
        return table

    def _summary(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style="bold")
        table.add_column(overflow="fold")
        table.add_row("", "")
        if self.status is not None:
            status = Text(self.status, style=STATUS_STYLES.get(self.status, "bold"))
            if self.status in STATUS_ADVICE:
                status.append(f"  {STATUS_ADVICE[self.status]}", style="not bold")
            table.add_row("status", status)
        if self.log_evidence is not None:
            error = "" if self.log_evidence_error is None else f" +- {self.log_evidence_error:.2g}"
            table.add_row("log evidence", f"{self.log_evidence:.2f}{error}")
        table.add_row("effective samples", f"{self.ess:.0f}")
        if self.pareto_k is not None:
            table.add_row("Pareto k-hat", f"{self.pareto_k:.2f}")
        if self.n_likelihood is not None:
            gradients = f" and {self.n_gradient} gradients" if self.n_gradient else ""
            table.add_row("likelihoods", f"{self.n_likelihood}{gradients}")
        table.add_row(
            "wall time",
            f"{self.seconds:.1f} s" + (" (an earlier fit, read back)" if self.resumed else ""),
        )
        return table


def report_from(
    samples: af.Samples,
    *,
    search: str,
    seconds: float,
    resumed: bool,
    output: Path,
    truth: Mapping[str, float] | None = None,
) -> FitReport:
    """Summarise the samples of any autofit search.

    Parameters
    ----------
    samples
        Weighted samples, as ``result.samples``.
    search
        The name of the search, for the report.
    seconds
        Wall time in seconds.
    resumed
        Whether the samples come from an earlier, finished fit.
    output
        The folder of the fit.
    truth
        True values by parameter path, for simulated data.

    Returns
    -------
    FitReport
        The report, without figures.
    """
    info = samples.samples_info
    weights = np.asarray(samples.weight_list, dtype=float)
    ess = _number(info.get("ess")) or float(weights.sum() ** 2 / np.sum(weights**2))
    status = info.get("status")
    if status is None and ess < MIN_EFFECTIVE_SAMPLES:
        status = "FAILED"
    calls = info.get("n_likelihood", info.get("total_samples"))
    return FitReport(
        search=search,
        parameters=parameters_from(samples, truth or {}),
        log_evidence=_number(info.get("log_evidence")),
        log_evidence_error=_number(info.get("log_evidence_error")),
        ess=ess,
        pareto_k=_number(info.get("pareto_k")),
        status=status,
        n_likelihood=None if calls is None else int(calls),
        n_gradient=None if info.get("n_gradient") is None else int(info["n_gradient"]),
        max_log_likelihood=float(np.max(samples.log_likelihood_list)),
        seconds=seconds,
        resumed=resumed,
        output=output,
    )


def parameters_from(samples: af.Samples, truth: Mapping[str, float]) -> tuple[Parameter, ...]:
    """The marginals of every free parameter, ordered by galaxy and component."""
    paths = samples.model.model_component_and_parameter_names
    values = np.asarray(samples.parameter_lists, dtype=float)
    weights = np.asarray(samples.weight_list, dtype=float)
    parameters = []
    for index, path in enumerate(paths):
        lower, median, upper = quantiles(values[:, index], weights, QUANTILES)
        parameters.append(Parameter(path, median, median - lower, upper - median, truth.get(path)))
    # autofit's order is that in which the priors were made: components come apart when one is
    # replaced.
    return tuple(sorted(parameters, key=lambda parameter: _component(parameter.path)))


def _component(path: str) -> tuple[int, str]:
    order = ("mass", "shear")
    parts = path.split(".")
    rank = next((order.index(part) for part in parts if part in order), len(order))
    return (0 if "lens" in parts else 1, f"{rank}{'.'.join(parts[:3])}")


def quantiles(
    values: np.ndarray, weights: np.ndarray, levels: tuple[float, ...]
) -> tuple[float, ...]:
    """Quantiles of weighted samples.

    Parameters
    ----------
    values
        Samples, shape (n,).
    weights
        Their weights, shape (n,), of any normalisation.
    levels
        Probabilities between 0 and 1.

    Returns
    -------
    tuple of float
        One value per level, by linear interpolation at the middle of each sample's weight.
    """
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    middle = (mass - 0.5 * weights[order]) / mass[-1]
    return tuple(float(value) for value in np.interp(levels, middle, values[order]))


def labels_from(parameters: tuple[Parameter, ...]) -> list[str]:
    """Short names for a table: without ``galaxies.``, the Gaussians of a basis counted as one."""
    seen: dict[str, int] = {}
    labels = []
    for parameter in parameters:
        parts = parameter.path.removeprefix("galaxies.").split(".")
        label = ".".join(p for p in parts if p != "profile_list" and not p.isdigit())
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def _decimals(parameter: Parameter) -> int:
    """Decimals that show two significant digits of the larger error."""
    error = max(parameter.error_minus, parameter.error_plus)
    return max(0, 1 - math.floor(math.log10(error))) if error > 0.0 else 4


def _rounded(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def _value_and_error(parameter: Parameter) -> tuple[str, str]:
    decimals = _decimals(parameter)
    return (
        _rounded(parameter.median, decimals),
        f"-{_rounded(parameter.error_minus, decimals)} +{_rounded(parameter.error_plus, decimals)}",
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _json_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_types(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
