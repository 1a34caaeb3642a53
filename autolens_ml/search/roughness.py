"""Whether a likelihood is rough: what changes when light is sampled more finely."""

from __future__ import annotations

import copy
from typing import Any

import autolens as al
import numpy as np
from autofit.mapper.prior_model.abstract import AbstractPriorModel
from autofit.non_linear.search.abstract_search import NonLinearSearch

# Models that are evaluated again, and the scatter from which on a likelihood is called rough: a
# proposal that follows the smooth part alone loses exp(-scatter^2) of its effective draws.
_N_MODELS = 16
ROUGH = 0.5


def roughness_of(
    search: NonLinearSearch,
    model: AbstractPriorModel,
    analysis: Any,
    parameters: np.ndarray,
    log_likelihood: np.ndarray,
    weights: np.ndarray,
) -> float | None:
    """Scatter of the change in log likelihood when there are twice as many sub-pixels per side.

    A profile with a cusp, seen at the centres of few sub-pixels, makes a likelihood that jumps from
    model to model.

    Parameters
    ----------
    search
        What evaluates likelihoods.
    model, analysis
        Of the fit.
    parameters
        Weighted samples of the posterior, shape (n, dim).
    log_likelihood, weights
        Their log likelihoods and weights, shape (n,).

    Returns
    -------
    float or None
        The standard deviation over the heaviest samples; ``None`` where there is no over-sampled
        image, or too little to tell.
    """
    finer = _more_finely_sampled(analysis)
    heaviest = np.argsort(-weights, kind="stable")[:_N_MODELS]
    heaviest = heaviest[weights[heaviest] > 0.0]
    if finer is None or len(heaviest) < 2:
        return None
    fitness = search.make_fitness(finer, model, paths=None, iterations_per_quick_update=None)
    values = np.array([float(fitness.call_wrap(point)) for point in parameters[heaviest]])
    change = (values - log_likelihood[heaviest])[values > search.invalid_value]
    return float(np.std(change)) if len(change) > 1 else None


def _more_finely_sampled(analysis: Any) -> Any | None:
    """The analysis with twice as many sub-pixels per side for light profiles."""
    if not isinstance(analysis, al.AnalysisImaging):
        return None
    dataset = analysis.dataset
    if dataset.convolve_over_sample_size_lp > 1:  # such a PSF fixes the number of sub-pixels
        return None
    finer = copy.copy(analysis)
    finer.dataset = dataset.apply_over_sampling(over_sample_size_lp=2 * dataset.over_sample_size_lp)
    return finer
