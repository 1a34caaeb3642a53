"""What the searches of this package share: the likelihood has the last word, and says how sure."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import autofit as af
import numpy as np
from autofit.mapper.prior_model.abstract import AbstractPriorModel
from autofit.non_linear.analysis import Analysis
from autofit.non_linear.checkpoint import PickleCheckpointer
from autofit.non_linear.initializer import AbstractInitializer
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.samples.adapter import RawSamples
from autofit.non_linear.samples.nest import SamplesNest
from autofit.non_linear.search import capabilities as cap
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.fit_context import FitContext
from autofit.non_linear.search.posterior_kind import WEIGHTED
from autofit.tools.util import open_atomic

from autolens_ml.inference.engine import Engine
from autolens_ml.inference.importance import Status
from autolens_ml.inference.state import Settings, Stage, State
from autolens_ml.inference.symmetry import candidate_exchanges
from autolens_ml.inference.target import Target
from autolens_ml.latent import blocks_of
from autolens_ml.search.analysis import dataset_of
from autolens_ml.search.roughness import ROUGH, roughness_of
from autolens_ml.search.starts import Starts, starts_at, starts_from

_STAGE_TEXT = {
    Stage.RANK: "ranking {n_draws} draws (the likelihood compiles first)",
    Stage.POLISH: "polishing the best starts (the gradient compiles first)",
    Stage.HOP: "looking for better modes",
    Stage.CURVATURE: "measuring the curvature of the modes",
    Stage.ADAPT: "adapting the proposal",
    Stage.CERTIFY: "certifying with a frozen proposal",
}

# Beside the draws of a network or user, one in so many of the prior is ranked: they may be wrong.
_PRIOR_DRAWS = 4
# How widely modes are looked for when a user or a network that fits the data proposes.
_TRUSTED_FANS = (3, 1, 1)
_TRUSTED_HOPS = 2

_SUMMARY_LINES = {
    "status": "Status of the result",
    "log_evidence": "Log Evidence",
    "log_evidence_error": "Log Evidence Error",
    "ess": "Effective Sample Size",
    "pareto_k": "Pareto k-hat",
    "roughness": "Roughness of the likelihood",
    "n_likelihood": "Likelihood Evaluations",
    "n_gradient": "Gradient Evaluations",
    "network": "Network",
    "network_doubts": "Doubts about the network",
    "optimizer": "Learned optimizer",
    "reduced_chi_squared": "Reduced chi-squared",
    "uncertainty": "Uncertainties",
}


class CorrectedSearch(NonLinearSearch):
    """The part of a search that ends in the engine, and all that autofit asks of one.

    A subclass has a ``run`` that makes starts, and stores ``n_draws`` and ``n_polish``.

    Parameters
    ----------
    n_effective, max_likelihood_calls, fallback, initializer
        As :class:`autolens_ml.search.cnn.CNN` explains them.
    name, path_prefix, unique_tag, number_of_cores, silence, session, kwargs
        As of every autofit search.
    """

    jax_use = cap.JaxUse.OPTIONAL
    gradient = cap.Gradient.USES
    batched = False
    honours_gradient_mode = False
    posterior_kind = cap.PosteriorKind.WEIGHTED
    produces_evidence = True
    resumable = True
    warm_start = cap.WarmStart.PROVIDER
    install_extra = ""
    upstream_url = ""
    citation_keys = ()
    status = cap.Status.EXPERIMENTAL
    objective_target = cap.ObjectiveTarget(
        cap.ObjectiveQuantity.LOG_LIKELIHOOD, cap.CoordinateSpace.UNIT_CUBE
    )
    invalid_value = -1.0e99
    requires_fp64 = True

    samples_cls = SamplesNest
    resume_state = PickleCheckpointer("engine_state.pickle", retain_after_completion=False)

    def __init__(
        self,
        name: str | None = None,
        path_prefix: str | None = None,
        unique_tag: str | None = None,
        n_effective: int = 2000,
        max_likelihood_calls: int = 20000,
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
            initializer=WEIGHTED.initializer_for(initializer),
            iterations_per_quick_update=iterations_per_quick_update,
            iterations_per_full_update=iterations_per_full_update,
            number_of_cores=number_of_cores,
            silence=silence,
            session=session,
            **kwargs,
        )
        self.n_effective = n_effective
        self.max_likelihood_calls = max_likelihood_calls
        self.fallback = fallback

    @property
    def public_name(self) -> str:
        """What users call the search, in lines for them."""
        return f"aml.{type(self).__name__}"

    def fit(self, model: Any, analysis: Analysis, info: dict | None = None) -> Any:
        """Fit the model; where the result is FAILED and a ``fallback`` is set, fit with that."""
        result = super().fit(model=model, analysis=analysis, info=info)
        if self.fallback is None or _status_of(result) is not Status.FAILED:
            return result
        self.logger.warning("The result is FAILED: running the fallback search.")
        return self.fallback.fit(model=model, analysis=analysis, info=info)

    def pre_fit_output(
        self, analysis: Analysis, model: AbstractPriorModel, info: dict | None = None
    ) -> None:
        """autofit's output before a fit; a network that cannot be used is refused before it.

        A completed fit is loaded without its network.
        """
        if not self.paths.is_complete:
            self.check_network(model)
        super().pre_fit_output(analysis=analysis, model=model, info=info)

    @abstractmethod
    def check_network(self, model: Any) -> None:
        """Refuse a network that cannot be used for a model, as far as that is known before a fit.

        Raises
        ------
        NetworkError
            When it is not known, damaged, or for something else.
        """

    def starts_for(self, ctx: FitContext, network: str | None) -> Starts:
        """Where a fit starts: as the initializer says, or else as a network does."""
        if isinstance(self.initializer, af.InitializerPrior):  # autofit's where none is given
            return starts_from(network, ctx.model, dataset_of(ctx.fitness.analysis))
        return starts_at(self.initializer, ctx.model)

    def settings_for(self, starts: Starts) -> Settings:
        """What the engine is told where it starts from these."""
        settings = Settings(
            self.n_effective, self.n_draws, self.n_polish, self.max_likelihood_calls
        )
        if not starts.are_prior:
            settings = replace(settings, n_prior_draws=self.n_draws // _PRIOR_DRAWS)
        if starts.are_trusted:
            settings = replace(settings, polish_fans=_TRUSTED_FANS, n_hops=_TRUSTED_HOPS)
        return settings

    def engine_for(self, ctx: FitContext, target: Target, starts: Starts) -> Engine:
        """The engine of a fit."""
        return Engine(
            target,
            starts.draw,
            self.settings_for(starts),
            candidate_exchanges(ctx.model),
            blocks_of(ctx.model),
        )

    def run_engine(self, engine: Engine, state: State, save: Callable[[State], None]) -> State:
        """Advance a state to its end, saying what is done; ``save`` is called after every step."""
        said = state.stage

        def saved(state: State) -> None:
            nonlocal said
            save(state)
            if state.stage is not said and state.stage in _STAGE_TEXT:
                said = state.stage
                self._say_stage(state)

        self._say_stage(state)
        return engine.run(state, saved)

    def say(self, line: str) -> None:
        """A line for the user, in the log."""
        self.logger.info(f"{self.public_name}: {line}")

    def raw_samples_from(self, model: Any, internal: dict) -> RawSamples:
        """The weighted draws."""
        return RawSamples(
            parameters=internal["parameters"],
            log_likelihood=internal["log_likelihood"],
            weights=internal["weights"],
            info=self.info_from(internal),
            label=type(self).__name__,
        )

    def info_from(self, internal: dict) -> dict:
        """Evidence, diagnostics and counts for ``samples_info.json``."""
        return dict(internal["info"])

    def _test_mode_samples_info(self) -> dict[str, Any]:
        """What stands for the figures of a result where autofit's test mode skips the search.

        Nothing was drawn, so no number of it can be taken for a good one.
        """
        return {
            "log_evidence_error": json_number(float("inf")),
            "ess": 0.0,
            "pareto_k": json_number(float("inf")),
            "status": "SKIPPED",
            "n_likelihood": 0,
            "n_gradient": 0,
            "network": None,
        }

    def execution_settings(self, analysis: Analysis) -> Any:
        """autofit's execution settings, without a trace of the gradient.

        A likelihood that JAX cannot differentiate is no error here: differences stand in.
        """
        return replace(super().execution_settings(analysis), uses_gradient=False)

    def plot_results(self, samples: Any) -> None:
        """One corner plot of the main parameters, in seconds whatever the number of samples.

        Switched by the same key of ``plots_search.nest`` as autofit's own, which takes minutes.
        """
        if WEIGHTED.should_plot("corner_anesthetic", default=True):
            from autolens_ml.plot import corner  # matplotlib and corner: only when drawn

            corner(samples, self.paths.image_path / "search" / "corner.png")

    def plot_latent_results(self, samples: Any) -> None:
        """None: autofit's plot of latent parameters takes minutes; their values are written."""

    def perform_update(self, *args: Any, **kwargs: Any) -> Any:
        """autofit's update, with the status of the result first in ``search.summary``."""
        samples = super().perform_update(*args, **kwargs)
        info = samples.samples_info or {}
        if isinstance(self.paths, NullPaths) or "status" not in info:
            return samples
        summary = Path(self.paths.output_path) / "search.summary"
        if summary.is_file():
            result = "\n".join(
                f"{label} = {info[key]}"
                for key, label in _SUMMARY_LINES.items()
                if info.get(key) not in (None, "")
            )
            text = summary.read_text()
            with open_atomic(summary) as file:
                file.write(f"{result}\n\n{text}")
        return samples

    def internal_from(
        self, ctx: FitContext, engine: Engine, state: State, about: dict[str, Any]
    ) -> dict:
        """Samples and figures of a finished state, as plain arrays and numbers.

        Parameters
        ----------
        ctx, engine
            Of the fit.
        state
            At its end.
        about
            What else ``samples_info`` says.
        """
        summary = engine.summary(state)
        if state.certified is not None and np.any(np.isfinite(state.certified_log_weights)):
            z, log_likelihood = state.certified, state.certified_log_likelihood
            log_weights = state.certified_log_weights
        else:
            z = state.draws
            log_likelihood = state.draw_log_posteriors + 0.5 * np.sum(z**2, axis=-1)
            log_weights = state.draw_log_posteriors
        used = np.isfinite(log_weights)
        if not used.any():
            raise af.exc.SearchException(
                f"none of {len(z)} draws of the prior has a finite likelihood: "
                "check the data (NaNs, zero noise) and the limits of the priors"
            )
        weights = np.exp(log_weights[used] - log_weights[used].max())
        parameters = engine.target.space.physical_from(z[used])
        roughness = None
        if summary.status is not Status.CONVERGED:
            roughness = roughness_of(
                self,
                ctx.model,
                ctx.fitness.analysis,
                parameters,
                log_likelihood[used],
                weights,
            )
        info = {
            "log_evidence": summary.log_evidence,
            "log_evidence_error": summary.log_evidence_error,
            "ess": summary.ess,
            "pareto_k": summary.pareto_k,
            "status": str(summary.status),
            "n_likelihood": int(state.n_likelihood),
            "n_gradient": int(state.n_gradient),
            "n_modes": len(state.modes),
            "n_relabellings": 1 if state.relabellings is None else len(state.relabellings),
            "attempts": int(state.attempt),
            "roughness": roughness,
            **about,
            "total_samples": int(state.n_likelihood),
            "total_accepted_samples": int(used.sum()),
            "number_live_points": int(used.sum()),
        }
        if roughness is not None and roughness > ROUGH:
            self.logger.warning(
                "The likelihood is rough: with twice as many sub-pixels the log likelihoods of "
                f"posterior models scatter by {roughness:.1f}. Raise over_sample_size_lp where "
                "the image is bright (al.util.over_sample.over_sample_size_via_adapt_from)."
            )
        if summary.status is Status.FAILED:
            self._warn_failed(info)
        elif log_likelihood[used].max() < engine.target.plausible_log_likelihood:
            self.logger.warning(
                "The best fit found leaves a chi-squared above two per datum: the model may not "
                "describe these data, or a better mode was missed (raise n_draws, narrow priors)."
            )
        return {
            "parameters": parameters,
            "log_likelihood": log_likelihood[used],
            "weights": weights / weights.sum(),
            "info": {k: json_number(v) for k, v in info.items()},
        }

    def _say_stage(self, state: State) -> None:
        text = _STAGE_TEXT.get(state.stage, "").format(n_draws=self.n_draws)
        self.say(f"{text} ({state.n_likelihood} likelihoods, {state.n_gradient} gradients so far)")

    def _warn_failed(self, info: dict) -> None:
        text = (
            f"{self.public_name} FAILED: effective sample size {info['ess']:.0f}, Pareto k-hat "
            f"{info['pareto_k']:.2f} after {info['n_likelihood']} likelihoods. Its posterior and "
            "evidence are not to be used: raise max_likelihood_calls "
            f"(now {self.max_likelihood_calls}), use af.Nautilus (or fallback=af.Nautilus(...)), "
            "or check the priors of parameters the data do not constrain."
        )
        # Some of PyAutoLens's modules silence all warnings of a process: the log is not.
        self.logger.warning(text)
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def entropy_of(ctx: FitContext) -> int:
    """The seed of a run, from that of the search."""
    return int(np.random.default_rng(ctx.rng.spawn(1)[0]).integers(2**63))


def network_info(starts: Starts) -> dict[str, Any]:
    """What ``samples_info`` says of the network that proposed starts."""
    card = starts.card
    return {
        "network": None if card is None else card.name,
        "network_sha256": None if card is None else card.sha256,
        "network_doubts": None if card is None else "; ".join(starts.proposal.doubts),
    }


def _status_of(result: Any) -> Status | None:
    first = result[0] if isinstance(result, list) else result
    info = first.samples.samples_info or {}
    status = info.get("status")
    return Status(status) if status in set(Status) else None


def json_number(value: Any) -> Any:
    """JSON has no infinities: they are written as large numbers of the same sign."""
    if isinstance(value, float) and not np.isfinite(value):
        return 1e99 if value > 0 else -1e99
    return value
