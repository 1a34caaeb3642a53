"""Figures of merit that cards of several tasks hold."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from autolens_ml.training.calibration import Calibration

_REPEATS = 5


def pooled_coverage(calibration: Calibration, level: int) -> dict[str, float]:
    """Mean coverage of all parameters; the interval spans the parameters' own values.

    Parameters
    ----------
    calibration
        Of a posterior estimator.
    level
        Index among ``calibration.LEVELS``.
    """
    values = calibration.coverage.value[level]
    return {
        "value": float(values.mean()),
        "low": float(values.min()),
        "high": float(values.max()),
        "n": calibration.n_lenses,
    }


def speed_of(call: Callable[[], object], n: int) -> dict[str, float]:
    """How many examples per second a call on ``n`` of them makes here: median, least and most."""
    rates = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        call()
        rates.append(n / (time.perf_counter() - started))
    return {
        "value": float(np.median(rates)),
        "low": float(min(rates)),
        "high": float(max(rates)),
        "n": _REPEATS,
    }
