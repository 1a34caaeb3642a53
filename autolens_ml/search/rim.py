"""``aml.RIM``: recurrent inference machines find the modes, the user's likelihood decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autofit.non_linear.analysis import Analysis
from autofit.non_linear.initializer import AbstractInitializer
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.search.abstract_search import NonLinearSearch
from autofit.non_linear.search.fit_context import FitContext
from autonerves import conf

from autolens_ml.exceptions import OptionError
from autolens_ml.inference import matching
from autolens_ml.inference.state import State
from autolens_ml.inference.symmetry import candidate_exchanges
from autolens_ml.inference.target import Target
from autolens_ml.networks.checkpoint import Card, cards, find_card
from autolens_ml.search.analysis import dataset_of, target_from
from autolens_ml.search.corrected import (
    CorrectedSearch,
    entropy_of,
    json_number,
    network_info,
)
from autolens_ml.search.pixelized import Maps, is_pixelized, maps_for
from autolens_ml.search.starts import Starts

# The task of the networks that climb.
OPTIMIZER = "optimizer"


class RIM(CorrectedSearch):
    """A posterior and evidence by learned climbs: a one-line swap for ``af.Nautilus``.

    Draws are ranked by the likelihood. From the best of them a recurrent network climbs with the
    likelihood's gradient, in the unit-normal latents of the model: it is shared by all parameters,
    so that it serves any ``af.Model``. What it reaches is corrected as ``aml.CNN`` corrects:
    adaptive importance sampling with the likelihood, whose evidence, effective sample size and
    Pareto k-hat say how far the result may be trusted.

    A model with ``aml.mp.PixelConvergence`` or ``aml.lp.PixelLight`` has their maps made first, in
    place of those it has: a pixelized machine reconstructs source and convergence from the data,
    and the free parameters of the model, amplitudes and shear above all, are then fitted with these
    maps. That is a point estimate of the maps: the posterior is of those parameters alone, and no
    evidence is claimed. A known map, of a simulated halo say, is fitted by ``aml.CNN``.

    Parameters
    ----------
    name, path_prefix, unique_tag
        Where results are written, as for every autofit search.
    network
        The machine. ``"auto"``: the shipped one for the model. A name or path: that network.
        ``None``: the rule of the climbs without what a network learned, which is the control.
    starts
        What proposes the starts of climbs, as ``network`` does for ``aml.CNN``.
    n_starts
        Climbs that begin; the lower ones are given up on the way.
    n_steps
        Of a climb that is not given up, each with one gradient.
    fine_tune
        Of pixelized models: whether the network is tuned to the data first, which takes up to half
        a minute.
    n_noise
        Of pixelized models: noise-perturbed copies of the data that are reconstructed too. The
        scatter of their maps is the uncertainty of the maps: that of noise alone, not of what the
        network was trained on.
    n_effective
        Effective sample size at which the search is done.
    n_draws
        Draws that are ranked for starts, see ``aml.CNN``.
    n_polish
        Climbs that are polished to the end.
    max_likelihood_calls
        Budget of likelihood evaluations; gradients are counted apart, and climbs ask for no more
        than a quarter as many.
    fallback
        A search to run instead, from the same priors, when the result is FAILED.
    initializer
        Where to start, instead of ``starts``, see ``aml.CNN``; not used by pixelized models.
    seed
        Same seed, same result.
    number_of_cores
        Accepted as every autofit search does; the engine itself runs in one process.

    Raises
    ------
    NetworkError
        When the named network is not known, damaged or for something else. Raised by ``fit``.
    DataError
        When a network is to see the data and they are not an image as it needs them. Raised by
        ``fit``.
    OptionError
        When ``n_starts``, ``n_steps`` or ``n_noise`` is no whole number of its range.

    Notes
    -----
    ``result.samples.samples_info`` carries what that of ``aml.CNN`` does, ``optimizer`` and
    ``optimizer_sha256``, and for pixelized models ``reduced_chi_squared``, ``concerns`` and
    ``uncertainty``. Where the likelihood has no exact gradient there are no learned climbs: starts
    are polished by least squares or differences instead, and the log says so.
    """

    test_mode_budget = {  # noqa: RUF012 - autofit reads a plain class attribute
        "n_effective": 20,
        "n_starts": 2,
        "n_steps": 10,
        "n_draws": 16,
        "n_polish": 1,
        "max_likelihood_calls": 1000,
    }

    __identifier_fields__ = (
        "network",
        "starts",
        "n_starts",
        "n_steps",
        "fine_tune",
        "n_noise",
        "n_effective",
        "n_draws",
        "n_polish",
        "max_likelihood_calls",
    )

    def __init__(
        self,
        name: str | None = None,
        path_prefix: str | None = None,
        unique_tag: str | None = None,
        network: str | Path | None = "auto",
        starts: str | Path | None = "auto",
        n_starts: int = 32,
        n_steps: int = 100,
        fine_tune: bool = False,
        n_noise: int = 8,
        n_effective: int = 2000,
        n_draws: int = 256,
        n_polish: int = 4,
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
        for option, value, least in (
            ("n_starts", n_starts, 1),
            ("n_steps", n_steps, 1),
            ("n_noise", n_noise, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{option} must be a whole number >= {least}, not {value!r}")
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
        self.starts = None if starts is None else str(starts)
        self.n_starts = n_starts
        self.n_steps = n_steps
        self.fine_tune = fine_tune
        self.n_noise = n_noise
        self.n_draws = n_draws
        self.n_polish = n_polish
        self._maps: Maps | None = None

    def fit(self, model: Any, analysis: Analysis, info: dict | None = None) -> Any:
        """Fit the model; one with pixel maps has them made from the data first."""
        if not is_pixelized(model):
            return super().fit(model=model, analysis=analysis, info=info)
        self._maps = self._maps_of(analysis)
        return super().fit(model=self._maps.put_into(model), analysis=analysis, info=info)

    def check_network(self, model: Any) -> None:
        """Refuse networks that cannot be used, before anything is written.

        Raises
        ------
        NetworkError
            When one is not known, damaged or for another task.
        """
        if is_pixelized(model):
            return  # its maps are there already
        if self.network not in (None, "auto"):
            find_card(self.network, OPTIMIZER)
        if self.starts not in (None, "auto"):
            matching.card_from(self.starts)

    def run(self, ctx: FitContext) -> dict:
        """Climb, adapt and certify; returns plain arrays and numbers."""
        target = target_from(ctx)
        if is_pixelized(ctx.model):
            return self._run_with_maps(ctx, target)
        starts = self.starts_for(ctx, self.starts)
        card, reason = self._optimizer()
        for line in (*starts.lines, reason):
            self.say(line)
        about = {**network_info(starts), **_optimizer_info(card, target)}
        return self._climbed(ctx, target, starts, card, about)

    def _climbed(
        self, ctx: FitContext, target: Target, starts: Starts, card: Card | None, about: dict
    ) -> dict:
        # torch is loaded only where there is something to climb with.
        from autolens_ml.inference.ascent import Ascent, Climber, learned_optimizer

        def save(progress: Ascent | State) -> None:
            self.resume_state.save(ctx.paths, progress)

        engine = self.engine_for(ctx, target, starts)
        progress = None if ctx.resume is None else ctx.resume.load(ctx.paths)
        if progress is None:
            progress = (Ascent if target.has_gradient else State)(entropy=entropy_of(ctx))
            if not target.has_gradient:
                self.say("no exact gradient: starts are polished without the learned optimizer")
        if isinstance(progress, Ascent):
            self.say(f"climbing from {self.n_starts} of {self.n_draws} draws (compiles first)")
            climber = Climber(
                target,
                starts.draw,
                learned_optimizer(card),
                self.settings_for(starts),
                self.n_starts,
                self.n_steps,
            )
            ascent = climber.run(progress, save)
            progress = climber.state_from(ascent, candidate_exchanges(ctx.model))
        return self.internal_from(ctx, engine, self.run_engine(engine, progress, save), about)

    def _test_mode_samples_info(self) -> dict[str, Any]:
        """As of every search; and nothing was reconstructed."""
        return {
            **super()._test_mode_samples_info(),
            "optimizer": None,
            "reduced_chi_squared": json_number(float("inf")),
            "uncertainty": None,
        }

    def _run_with_maps(self, ctx: FitContext, target: Target) -> dict:
        """The free parameters of a model whose maps are made."""
        starts = Starts(self._maps.draws(ctx.model, target.space))
        card, reason = self._optimizer(shipped_only=True)
        self.say(reason)
        about = {**network_info(starts), **_optimizer_info(card, target), **self._maps.info}
        internal = self._climbed(ctx, target, starts, card, about)
        # Of the maps, not only of what is free here, there would have to be a posterior.
        internal["info"] |= {"log_evidence": None, "log_evidence_error": None}
        return internal

    def _maps_of(self, analysis: Analysis) -> Maps:
        return maps_for(
            dataset_of(analysis),
            self.network,
            fine_tune=self.fine_tune,
            n_noise=self.n_noise,
            seed=0 if self.seed is None else int(self.seed),
            folder=self._folder_of_maps(),
            say=self.say,
        )

    def _folder_of_maps(self) -> Path | None:
        """That of all fits of this name, whatever their models are."""
        if isinstance(self.paths, NullPaths):
            return None
        parts = (conf.instance.output_path, self.path_prefix, self.unique_tag, self.name)
        return Path(*(str(part) for part in parts if part))

    def _optimizer(self, shipped_only: bool = False) -> tuple[Card | None, str]:
        """The network that climbs, and a line that says so."""
        if self.network is None:
            return None, "no network climbs: the rule of its steps alone"
        if self.network != "auto" and not shipped_only:
            card = find_card(self.network, OPTIMIZER)
            return card, f"{card.name} climbs"
        shipped = cards(OPTIMIZER)
        if not shipped:
            return None, "no network for climbs is installed: the rule of their steps alone"
        return shipped[0], f"{shipped[0].name} climbs"


def _optimizer_info(card: Card | None, target: Target) -> dict[str, Any]:
    used = card is not None and target.has_gradient
    return {
        "optimizer": card.name if used else None,
        "optimizer_sha256": card.sha256 if used else None,
    }
