"""``aml.CNN``: a network proposes, the user's own likelihood decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from autofit.non_linear.initializer import AbstractInitializer
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.fit_context import FitContext

from autolens_ml.exceptions import NetworkError
from autolens_ml.inference.matching import card_from
from autolens_ml.inference.state import State
from autolens_ml.latent import LatentSpace
from autolens_ml.search.analysis import dataset_of, target_from
from autolens_ml.search.corrected import CorrectedSearch, entropy_of, network_info
from autolens_ml.search.starts import Starts, starts_from

# What an uncorrected result is called where others have a status.
UNCORRECTED = "UNCORRECTED"


class CNN(CorrectedSearch):
    """A posterior and evidence by corrected proposals: a one-line swap for ``af.Nautilus``.

    Draws are ranked by the likelihood and the best polished to their modes; a mixture of
    Student-t densities on the modes is adapted by importance sampling, and where it fits poorly
    its draws are thinned by a small network that learns the likelihood during the fit;
    independent draws of the frozen proposal, weighted by the likelihood, are the result.
    Evidence, effective sample size and Pareto k-hat say how far it may be trusted.

    Parameters
    ----------
    name, path_prefix, unique_tag
        Where results are written, as for every autofit search.
    network
        What proposes the starts. ``None``: the prior. ``"auto"``: the shipped network that
        matches model and data, the prior where none does. A name or path: that network.
    correct
        Whether the likelihood corrects what the network proposes. ``False`` returns the
        network's own posterior at the price of one likelihood: approximate, without evidence,
        with status UNCORRECTED; parameters the network does not know keep their priors.
    n_effective
        Effective sample size at which the search is done.
    n_draws
        Draws that are ranked for starts. Beside those of a network a quarter as many of the
        prior are ranked apart, lest a network that is wrong hide a mode.
    n_polish
        Starts that are polished to the end; eight times as many are polished briefly.
    max_likelihood_calls
        Budget of likelihood evaluations; gradients are counted apart. Below about a thousand
        the search for modes alone may exceed it.
    fallback
        A search to run instead, from the same priors, when the result is FAILED.
    initializer
        Where to start, instead of a network's posterior or the prior, such as
        ``af.InitializerParamStartPoints.from_result(...)`` of an earlier fit. Beside it, as beside
        a network, draws of the prior are ranked.
    seed
        Same seed, same result.
    number_of_cores
        Accepted as every autofit search does; the engine itself runs in one process.

    Raises
    ------
    NetworkError
        When the named network is not known, damaged, or knows nothing of the model; with
        ``correct=False`` also when there is no network, or its posterior is outside the priors.
        Raised by ``fit``.
    DataError
        When a network is named and the dataset is not an image as it needs them. Raised by
        ``fit``.

    OptionError
        When a range of ``initializer`` lies outside of the prior. Raised by ``fit``.

    Notes
    -----
    ``result.samples.samples_info`` carries ``log_evidence``, ``log_evidence_error``, ``ess``,
    ``pareto_k``, ``n_likelihood``, ``n_gradient``, ``status`` (CONVERGED, MARGINAL, FAILED or
    UNCORRECTED), ``network``, ``network_sha256`` and ``network_doubts``. Of an uncorrected
    result the highest log likelihood is computed, and the others are what the network's densities
    make of it.
    """

    test_mode_budget = {  # noqa: RUF012 - autofit reads a plain class attribute
        "n_effective": 20,
        "n_draws": 16,
        "n_polish": 1,
        "max_likelihood_calls": 1000,
    }

    __identifier_fields__ = (
        "network",
        "n_effective",
        "n_draws",
        "n_polish",
        "max_likelihood_calls",
        "correct",
    )

    def __init__(
        self,
        name: str | None = None,
        path_prefix: str | None = None,
        unique_tag: str | None = None,
        network: str | Path | None = "auto",
        n_effective: int = 2000,
        n_draws: int = 256,
        n_polish: int = 4,
        max_likelihood_calls: int = 20000,
        correct: bool = True,
        fallback: NonLinearSearch | None = None,
        initializer: AbstractInitializer | None = None,
        iterations_per_quick_update: int | None = None,
        iterations_per_full_update: int | None = None,
        number_of_cores: int = 1,
        silence: bool = False,
        session: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name=name,
            path_prefix=path_prefix,
            unique_tag=unique_tag,
            n_effective=n_effective,
            max_likelihood_calls=max_likelihood_calls,
            fallback=fallback,
            initializer=initializer,
            iterations_per_quick_update=iterations_per_quick_update,
            iterations_per_full_update=iterations_per_full_update,
            number_of_cores=number_of_cores,
            silence=silence,
            session=session,
            **kwargs,
        )
        self.network = None if network is None else str(network)
        self.n_draws = n_draws
        self.n_polish = n_polish
        self.correct = correct

    def check_network(self, model: Any) -> None:
        """Refuse a network that cannot be used, before anything is written.

        Raises
        ------
        NetworkError
            When it is not known, damaged or for another task, or is needed and not given.
        """
        if self.network is None and not self.correct:
            raise NetworkError(
                "correct=False needs a network: set network to 'auto', a name or a path"
            )
        if self.network not in (None, "auto"):
            card_from(self.network)

    def run(self, ctx: FitContext) -> dict:
        """Rank, polish, adapt and certify; returns plain arrays and numbers."""
        if self.correct:
            starts = self.starts_for(ctx, self.network)
        else:
            starts = starts_from(self.network, ctx.model, dataset_of(ctx.fitness.analysis))
        for line in starts.lines:
            self.say(line)
        if not self.correct:
            return self._uncorrected(starts, ctx)
        engine = self.engine_for(ctx, target_from(ctx), starts)
        if ctx.resume is not None:
            state = ctx.resume.load(ctx.paths)
        else:
            state = State(entropy=entropy_of(ctx))
        self.run_engine(engine, state, lambda state: self.resume_state.save(ctx.paths, state))
        return self.internal_from(ctx, engine, state, network_info(starts))

    def _uncorrected(self, starts: Starts, ctx: FitContext) -> dict:
        """The network's own posterior."""
        if starts.proposal is None:
            raise NetworkError(
                f"correct=False needs a network: {starts.lines[0]}; name one, or use correct=True"
            )
        rng = np.random.default_rng(ctx.rng.spawn(1)[0])
        z, log_ratio = starts.proposal.posterior_draws(self.n_effective, rng)
        parameters = LatentSpace.from_model(ctx.model).physical_from(z)
        # autofit compares the highest likelihood with a new one when a fit is resumed.
        best = int(np.argmax(log_ratio))
        log_likelihood = (
            log_ratio - log_ratio[best] + float(ctx.fitness.call_wrap(parameters[best]))
        )
        info = {
            "log_evidence": None,
            "status": UNCORRECTED,
            "n_likelihood": 1,
            "n_gradient": 0,
            **network_info(starts),
            "total_samples": len(z),
            "total_accepted_samples": len(z),
            "number_live_points": len(z),
        }
        return {
            "parameters": parameters,
            "log_likelihood": log_likelihood,
            "weights": np.full(len(z), 1.0 / len(z)),
            "info": info,
        }
