"""The posterior an engine samples: a log likelihood in unit-normal latents, with counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autolens_ml.latent import LatentSpace

# Likelihoods below this are the sentinels searches use for models that cannot be evaluated.
_INVALID_BELOW = -1e90
_DIFFERENCE_STEP = 1e-5


class Target:
    """A log likelihood over the unit-normal latents of a model.

    Parameters
    ----------
    space
        The map from latents to physical parameters.
    log_likelihood
        Log likelihood of one vector of physical parameters, shape (dim,).
    value_and_gradient
        Log likelihood and its gradient with respect to the physical parameters; ``None`` where
        the likelihood cannot be differentiated, and central differences stand in.
    residuals
        Normalised residuals r of one vector of physical parameters, with
        ln L = constant - r.r / 2; ``None`` where there are none.
    plausible_log_likelihood
        A best fit below this does not explain the data: worth looking for a better mode. It
        never changes a result.

    Attributes
    ----------
    n_likelihood, n_gradient : int
        Evaluations so far. A difference gradient counts its likelihoods, not as a gradient.
    """

    def __init__(
        self,
        space: LatentSpace,
        log_likelihood: Callable[[np.ndarray], float],
        value_and_gradient: Callable[[np.ndarray], tuple[float, np.ndarray]] | None = None,
        residuals: Callable[[np.ndarray], np.ndarray] | None = None,
        plausible_log_likelihood: float = -np.inf,
    ) -> None:
        self.space = space
        self.dim = space.dim
        self.n_likelihood = 0
        self.n_gradient = 0
        self.plausible_log_likelihood = plausible_log_likelihood
        self._log_likelihood = log_likelihood
        self._value_and_gradient = value_and_gradient
        self._residuals = residuals

    @property
    def has_gradient(self) -> bool:
        """Whether exact gradients are available."""
        return self._value_and_gradient is not None

    @property
    def has_residuals(self) -> bool:
        """Whether least squares can be used."""
        return self._residuals is not None

    def log_likelihood(self, z: np.ndarray) -> np.ndarray:
        """Log likelihoods, shape (n,), of latents of shape (n, dim); ``-inf`` where invalid."""
        physical = self.space.physical_from(z)
        self.n_likelihood += len(z)
        return _validated(np.array([self._log_likelihood(p) for p in physical], dtype=float))

    def log_posterior(self, z: np.ndarray) -> np.ndarray:
        """ln L - |z|^2 / 2: the log posterior density up to a constant, shape (n,)."""
        return self.log_likelihood(z) - 0.5 * np.sum(z**2, axis=-1)

    def log_posterior_and_gradient(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """The log posterior of one latent vector, shape (dim,), and its gradient.

        Where the gradient is not finite the value is ``-inf``: an optimiser steps back, as it
        does from a model that cannot be evaluated.
        """
        if self._value_and_gradient is None:
            return self._differences(z)
        self.n_gradient += 1
        value, gradient = self._value_and_gradient(self.space.physical_from(z[None])[0])
        gradient = np.asarray(gradient, dtype=float) * self.space.derivative_from(z[None])[0]
        value = float(_validated(np.array([value]))[0]) - 0.5 * float(z @ z)
        if not np.all(np.isfinite(gradient)):
            return -np.inf, np.zeros(self.dim)
        return value, gradient - z

    def residuals(self, z: np.ndarray) -> np.ndarray:
        """Residuals of data and prior, shape (n_data + dim,): half their square is -ln p."""
        if self._residuals is None:
            raise ValueError("this target has no residuals: check has_residuals first")
        self.n_likelihood += 1
        return np.concatenate([self._residuals(self.space.physical_from(z[None])[0]), z])

    def _differences(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        step = _DIFFERENCE_STEP * np.eye(self.dim)
        values = self.log_posterior(np.concatenate([z[None], z + step, z - step]))
        up, down = values[1 : self.dim + 1], values[self.dim + 1 :]
        with np.errstate(invalid="ignore"):
            gradient = (up - down) / (2.0 * _DIFFERENCE_STEP)
        if not np.all(np.isfinite(gradient)):
            return -np.inf, np.zeros(self.dim)
        return float(values[0]), gradient


def _validated(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values) & (values > _INVALID_BELOW), values, -np.inf)
