"""The one place that reads an autofit fit: its likelihood, gradient and residuals as a target."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import autofit as af
import numpy as np
from autofit.non_linear.search.fit_context import FitContext

from autolens_ml.inference.target import Target
from autolens_ml.latent import LatentSpace

logger = logging.getLogger(__name__)

_RESIDUAL_TOLERANCE = 1e-6
_POOR_CHI_SQUARED = 2.0


def target_from(ctx: FitContext) -> Target:
    """The posterior of a fit as a target over unit-normal latents.

    Parameters
    ----------
    ctx
        The context autofit hands a search: its model, likelihood and analysis.
    """
    space = LatentSpace.from_model(ctx.model)
    is_jax = bool(ctx.fitness.analysis.is_jax)
    start = space.physical_from(np.zeros((1, space.dim)))[0]
    return Target(
        space,
        ctx.fitness.call_wrap,
        _value_and_gradient(ctx, start) if is_jax else None,
        None if is_jax else _residuals(ctx, space),
        plausible_log_likelihood=_plausible_log_likelihood(ctx.fitness.analysis),
    )


def dataset_of(analysis: Any) -> Any:
    """The dataset of an analysis; ``None`` where it has none of its own, as in a factor graph."""
    return getattr(analysis, "dataset", None)


def _plausible_log_likelihood(analysis: Any) -> float:
    """The log likelihood at a chi-squared of two per datum; ``-inf`` where no noise map tells."""
    noise_map = getattr(dataset_of(analysis), "noise_map", None)
    if noise_map is None:
        return -np.inf
    noise = np.ravel(np.asarray(noise_map))
    noise = np.concatenate([noise.real, noise.imag]) if np.iscomplexobj(noise) else noise
    noise = noise[np.isfinite(noise) & (noise > 0.0)]
    return float(-0.5 * np.sum(_POOR_CHI_SQUARED + np.log(2.0 * np.pi * noise**2)))


def _value_and_gradient(
    ctx: FitContext, start: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]] | None:
    """The gradient of the likelihood, or ``None`` where JAX cannot differentiate it."""
    try:
        ctx.fitness.call_wrap_value_and_grad(start)
    except Exception as error:
        # Meshes and solvers that call back to numpy raise many kinds of errors when traced.
        logger.info("no gradient of this likelihood (%s): differences are used", error)
        return None
    return ctx.fitness.call_wrap_value_and_grad


def _residuals(ctx: FitContext, space: LatentSpace) -> Callable[[np.ndarray], np.ndarray] | None:
    """Normalised residuals of a fit, where its likelihood is a constant minus half their square."""
    analysis, model = ctx.fitness.analysis, ctx.model
    if not hasattr(analysis, "fit_from"):
        return None
    size: list[int] = []

    def residuals(vector: np.ndarray) -> np.ndarray:
        try:
            fit = analysis.fit_from(instance=model.instance_from_vector(vector))
            values = np.ravel(np.asarray(fit.normalized_residual_map))
        except af.exc.FitException:
            return np.full(size[0] if size else 1, np.nan)
        values = np.concatenate([values.real, values.imag]) if np.iscomplexobj(values) else values
        size[:] = [len(values)]
        return values

    # Two points tell whether the difference in ln L is the difference in chi-squared.
    z = np.stack([np.zeros(space.dim), np.full(space.dim, 0.05)])
    points = space.physical_from(z)
    try:
        r = [residuals(point) for point in points]
        values = [float(ctx.fitness.call_wrap(point)) for point in points]
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return None
    expected = -0.5 * (r[0] @ r[0] - r[1] @ r[1])
    agrees = abs((values[0] - values[1]) - expected) <= _RESIDUAL_TOLERANCE * max(
        1.0, *(abs(value) for value in values)
    )
    return residuals if agrees else None
