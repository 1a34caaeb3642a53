"""Where a posterior goes on beyond the Gaussian of its mode: points along its ridges.

A degeneracy bends, and a second bulk may be joined to the first by a ridge that hardly falls. The
Gaussian around a mode sees neither, and importance sampling, which finds mass only where it has
some already, takes many rounds to creep there. Moved outward along a soft direction, with all
else free to climb, a point follows the ridge in a few gradients.
"""

from __future__ import annotations

import numpy as np

from autolens_ml.inference.polish import BOUND, Mode, polished
from autolens_ml.inference.target import Target

_N_DIRECTIONS = 6
# Steps outward in sigma of the Gaussian, and how often.
_FIRST_STEP, _STEP, _MAX_STEPS = 3.0, 2.5, 4
_CLIMB_ITERATIONS = 6
# Sigma in a unit across: climbs go no farther than `BOUND` units.
_UNIT = 4.0
_CLIMB_TOLERANCE = 0.1
# A ridge ends where the log posterior has dropped by this, or by this share of the Gaussian's.
_DROP, _GAUSSIAN_SHARE = 6.0, 0.6


def along_ridges(target: Target, mode: Mode, rng: np.random.Generator) -> list[Mode]:
    """Points of the posterior that the Gaussian of a mode takes to be far less likely.

    Parameters
    ----------
    target
        The posterior; it has exact gradients.
    mode
        Where to start, with the covariance that tells soft directions.
    rng
        For climbs that get stuck.

    Returns
    -------
    list of Mode
        With the covariance of the mode; none where the posterior is as the Gaussian says.
    """
    variances, vectors = np.linalg.eigh(mode.covariance)
    axes = vectors * np.sqrt(variances)
    peak = float(target.log_posterior(mode.z[None])[0])
    if not np.isfinite(peak):  # a Gaussian around what cannot be evaluated
        return []
    found = []
    for k in range(target.dim - 1, max(target.dim - 1 - _N_DIRECTIONS, -1), -1):
        across = _UNIT * np.delete(axes, k, axis=1)
        for axis in (axes[:, k], -axes[:, k]):
            distance, y = _FIRST_STEP, np.zeros(target.dim - 1)
            for _ in range(_MAX_STEPS):
                start = mode.z + distance * axis
                y, value = polished(
                    _Across(target, start, across), y, _CLIMB_ITERATIONS, rng, _CLIMB_TOLERANCE
                )
                drop, z = peak - value, start + across @ y
                expected = 0.5 * (distance**2 + _UNIT**2 * y @ y)
                if drop > min(_DROP, _GAUSSIAN_SHARE * expected) or np.any(np.abs(z) > BOUND):
                    break
                found.append(Mode(z, mode.log_posterior - drop, mode.covariance))
                # The ridge goes on as it went.
                y = y * (distance + _STEP) / distance
                distance += _STEP
    return found


class _Across:
    """The posterior across a direction: on the plane through a point, by its axes."""

    has_gradient, has_residuals = True, False

    def __init__(self, target: Target, point: np.ndarray, axes: np.ndarray) -> None:
        self._target, self._point, self._axes = target, point, axes
        self.dim = axes.shape[1]

    def log_posterior(self, y: np.ndarray) -> np.ndarray:
        return self._target.log_posterior(self._point + y @ self._axes.T)

    def log_posterior_and_gradient(self, y: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self._target.log_posterior_and_gradient(self._point + self._axes @ y)
        return value, self._axes.T @ gradient
