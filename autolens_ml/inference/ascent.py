"""From many starts to modes by a learned optimiser, one checkpointable step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from autolens_ml.inference.state import Settings, Stage, State
from autolens_ml.inference.symmetry import confirmed_relabellings
from autolens_ml.inference.target import Target
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.learned_optimizer import Climb, LearnedOptimizer

# After these shares of the steps, these shares of the climbs go on: those that are highest.
_LEGS = ((0.08, 0.5), (0.16, 0.5), (0.35, 0.5))
# A climb ends after so many steps in a row that gain less than this.
_IDLE_STEPS, _SMALL_GAIN = 6, 1e-2
# Share of the likelihoods of a fit that climbs may ask for gradients.
_SHARE = 0.25
# Points this far below the best are not polished: a hop may still find their mode.
_HOPELESS = 3000.0


@dataclass
class Ascent:
    """All that interrupted climbs need to go on.

    Attributes
    ----------
    entropy : int
        Seed of the run.
    draws, draw_log_posteriors : ndarray or None
        The ranked draws, best first; ``None`` before they are made.
    climb : Climb or None
        Of the climbs that go on; ``None`` before the first step, and after the last.
    idle : ndarray
        How many steps in a row each of them gained next to nothing.
    points : list of (ndarray, float)
        Where climbs ended, with their log posteriors.
    n_likelihood, n_gradient : int
        Evaluations so far.
    is_done : bool
        Whether all climbs have ended.
    """

    entropy: int
    draws: np.ndarray | None = None
    draw_log_posteriors: np.ndarray | None = None
    climb: Climb | None = None
    idle: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    points: list = field(default_factory=list)
    n_likelihood: int = 0
    n_gradient: int = 0
    is_done: bool = False


class Climber:
    """Climbs from the best of many draws.

    Parameters
    ----------
    target
        The posterior, with exact gradients.
    draw
        Proposes starts: (n, rng) -> latents of shape (n, dim).
    network
        What climbs.
    settings
        Budgets of the fit.
    n_starts
        Climbs that begin; the lower ones are given up on the way.
    n_steps
        Of a climb that is not given up.
    """

    def __init__(
        self,
        target: Target,
        draw: Callable[[int, np.random.Generator], np.ndarray],
        network: LearnedOptimizer,
        settings: Settings,
        n_starts: int = 32,
        n_steps: int = 100,
    ) -> None:
        self.target = target
        self._draw = draw
        self._network = network
        self._settings = settings
        budget = _SHARE * settings.max_likelihood_calls
        self._n_starts = int(np.clip(budget / max(n_steps, 1), 1, n_starts))
        self._n_steps = int(np.clip(budget / self._n_starts, 1, n_steps))

    def run(self, ascent: Ascent, save: Callable[[Ascent], None] = lambda ascent: None) -> Ascent:
        """Go on to the end of all climbs; ``save`` is called after every step."""
        with threadpool_limits(1, user_api="blas"):
            while not ascent.is_done:
                self.advance(ascent)
                save(ascent)
        return ascent

    def advance(self, ascent: Ascent) -> None:
        """One step of all climbs, in place."""
        self.target.n_likelihood = ascent.n_likelihood
        self.target.n_gradient = ascent.n_gradient
        if ascent.draws is None:
            self._rank(ascent)
        elif ascent.climb is None:
            self._begin(ascent)
        else:
            self._step(ascent)
        ascent.n_likelihood = self.target.n_likelihood
        ascent.n_gradient = self.target.n_gradient

    def state_from(self, ascent: Ascent, exchanges: list[np.ndarray]) -> State:
        """Where the engine goes on: it polishes what was reached and looks for better modes.

        Parameters
        ----------
        ascent
            At its end.
        exchanges
            Permutations of the parameters that may leave the likelihood unchanged.
        """
        state = State(
            entropy=ascent.entropy,
            n_likelihood=ascent.n_likelihood,
            n_gradient=ascent.n_gradient,
        )
        points = sorted(ascent.points, key=lambda point: -point[1])
        if not points:
            return state  # nothing to climb: the engine ranks draws of its own and says so
        self.target.n_likelihood = ascent.n_likelihood
        state.draws, state.draw_log_posteriors = ascent.draws, ascent.draw_log_posteriors
        state.relabellings = confirmed_relabellings(self.target, exchanges, ascent.draws)
        state.n_likelihood = self.target.n_likelihood
        state.pending = [
            point
            for point in points[: 2 * self._settings.n_polish]
            if point[1] > points[0][1] - _HOPELESS
        ]
        state.polish_round = len(self._settings.polish_fans) - 1
        state.stage = Stage.POLISH
        return state

    def _rank(self, ascent: Ascent) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(ascent.entropy, spawn_key=(0, 0)))
        n = min(self._settings.n_draws, max(self._settings.max_likelihood_calls // 4, 1))
        prior = rng.standard_normal((self._settings.n_prior_draws, self.target.dim))
        z = np.concatenate([self._draw(n, rng), prior])
        log_posterior = self.target.log_posterior(z)
        order = np.argsort(-log_posterior, kind="stable")
        ascent.draws, ascent.draw_log_posteriors = z[order], log_posterior[order]

    def _begin(self, ascent: Ascent) -> None:
        finite = np.isfinite(ascent.draw_log_posteriors)
        z = np.clip(ascent.draws[finite][: self._n_starts], -8.0, 8.0)
        value, gradient = self._looked_at(z)
        usable = np.isfinite(value)
        if not usable.any():
            ascent.is_done = True
            return
        ascent.climb = self._network.start(
            *(torch.as_tensor(array[usable]) for array in (z, value, gradient))
        )
        ascent.idle = np.zeros(int(usable.sum()), dtype=int)

    @torch.no_grad()
    def _step(self, ascent: Ascent) -> None:
        climb, z = self._network(ascent.climb)
        before = climb.value.numpy()
        looked = self._looked_at(z.numpy())
        climb = self._network.advanced(climb, z, *map(torch.as_tensor, looked))
        value = climb.value.numpy()
        idle = np.where(value - before > _SMALL_GAIN, 0, ascent.idle + 1)
        goes_on = idle < _IDLE_STEPS
        if climb.n_steps >= self._n_steps:
            goes_on[:] = False
        for share, kept in _LEGS:
            if climb.n_steps == int(share * self._n_steps):
                n = max(int(np.ceil(kept * goes_on.sum())), self._settings.n_polish)
                places = np.argsort(np.argsort(-np.where(goes_on, value, -np.inf), kind="stable"))
                goes_on &= places < n
        ended = np.flatnonzero(~goes_on)
        ascent.points += [(climb.z[i].numpy().copy(), float(value[i])) for i in ended]
        ascent.idle = idle[goes_on]
        ascent.is_done = not goes_on.any()
        ascent.climb = None if ascent.is_done else climb[torch.as_tensor(goes_on)]

    def _looked_at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = [self.target.log_posterior_and_gradient(point) for point in z]
        return np.array([value for value, _ in both]), np.array([slope for _, slope in both])


def learned_optimizer(card: Card | None) -> LearnedOptimizer:
    """The network of a card, or one that has learned nothing, which still climbs.

    Raises
    ------
    NetworkError
        When the weights are missing, altered or of another architecture.
    """
    return LearnedOptimizer().eval() if card is None else stored_network(card)
