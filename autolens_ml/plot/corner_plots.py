"""A corner plot that takes seconds whatever the number of samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import autofit as af
import corner as corner_py
import matplotlib.pyplot as plt
import numpy as np

MAX_PARAMETERS = 8


def corner(
    samples: af.Samples,
    path: str | Path,
    *,
    parameters: Sequence[str] | None = None,
    truth: Mapping[str, float] | None = None,
) -> Path:
    """One- and two-dimensional marginals of weighted samples.

    Parameters
    ----------
    samples
        Weighted samples, as ``result.samples``.
    path
        The file to write; its ending sets the format.
    parameters
        Paths of the parameters to show; by default those of the mass and the shear, or the first
        eight of a model without them.
    truth
        True values by parameter path, drawn as lines.

    Returns
    -------
    Path
        The file.
    """
    names = samples.model.model_component_and_parameter_names
    shown = list(parameters) if parameters is not None else main_parameters(names)
    columns = [names.index(name) for name in shown]
    values = np.asarray(samples.parameter_lists, dtype=float)[:, columns]
    weights = np.asarray(samples.weight_list, dtype=float)

    fig = corner_py.corner(
        values,
        weights=weights,
        labels=[label_from(name) for name in shown],
        range=[_range(column, weights) for column in values.T],
        bins=25,
        smooth=1.0,
        smooth1d=1.0,
        plot_datapoints=False,
        plot_density=False,
        fill_contours=True,
        levels=(0.393, 0.865),
        color="#1f4e79",
        truths=[(truth or {}).get(name) for name in shown],
        truth_color="#c0392b",
        label_kwargs={"fontsize": 11},
        max_n_ticks=3,
        labelpad=0.08,
        use_math_text=True,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)
    return path


def main_parameters(names: Sequence[str]) -> list[str]:
    """Which parameters a reader looks for first: the mass and the shear, Einstein radius first."""
    mass = [name for name in names if {"mass", "shear"} & set(name.split("."))]
    mass.sort(key=lambda name: not name.endswith("einstein_radius"))
    return (mass or list(names))[:MAX_PARAMETERS]


def label_from(name: str) -> str:
    """Two lines for an axis: the component, then the parameter."""
    *component, parameter = [
        part
        for part in name.removeprefix("galaxies.").split(".")
        if part != "profile_list" and not part.isdigit()
    ]
    return f"{' '.join(component)}\n{parameter}"


def _range(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The central 99.7 per cent, widened where there is no spread, which corner cannot draw."""
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    lower, upper = np.interp([0.0015, 0.9985], mass / mass[-1], values[order])
    pad = 0.1 * (upper - lower) or max(abs(lower), 1.0) * 1e-6
    return float(lower - pad), float(upper + pad)
