"""The engine: exact posteriors and evidences from a proposal and a likelihood.

Draws of a proposal are ranked by the likelihood, the best are polished to their modes, Student-t
mixtures on the modes and along the ridges that leave them are adapted by importance sampling,
their draws thinned by a surrogate that learns the likelihood as it goes, and a frozen proposal
certifies: all that is reported comes from independent draws of a proposal that never learned from
them.
Weights recycled over adaptive rounds only ever teach; they bias ln Z.

Every step is a deterministic function of the state, so an interrupted run that starts again from
a saved state ends in bit-identical results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from autolens_ml.inference.importance import (
    Status,
    effective_sample_size,
    k_threshold,
    log_evidence_from,
    pareto_k,
)
from autolens_ml.inference.learning import (
    clipped,
    learned_from,
    proposal_from_modes,
    tamed,
    widened,
)
from autolens_ml.inference.polish import at_scale, mode_at, polished
from autolens_ml.inference.ridges import along_ridges
from autolens_ml.inference.state import Settings, Stage, State, Summary
from autolens_ml.inference.surrogate import Surrogate
from autolens_ml.inference.symmetry import Proposal, confirmed_relabellings
from autolens_ml.inference.target import Target
from autolens_ml.inference.thinned import ThinnedDensity
from autolens_ml.inference.variational import matched

# Two points are in one basin when the log posterior between them dips by less than this.
_BARRIER = 0.5
# Iterations of the rounds of polishing, each on a fraction of the starts of the one before.
_POLISH_ITERATIONS = (20, 60, 400)
_STARTS_PER_DIMENSION = 6
# So many of the prior's best draws are polished beside those of a network.
_PRIOR_STARTS = 6
# Gains in log posterior at which a climb ends: of starts that compete, and of a mode.
_COARSE, _FINE = 0.1, 1e-3
# A hop draws this many candidates and climbs from the best; hops end after some without a gain.
_HOP_DRAWS = 32
_HOP_CLIMBS = 2
_HOP_JITTER = 0.03
_HOP_ITERATIONS = 60
# Local maxima this far below the best in log posterior are kept as modes of their own.
_WORTH_KEEPING = 15.0
# How often the search for modes starts afresh when no mode explains the data.
_MAX_RESTARTS = 3
# Points this far below the best are not polished further: a hop may still find their mode.
_HOPELESS = 3000.0
# Shares of the budget that the first round of polishing, and all of it, may plan for.
_FIRST_POLISH_SHARE = 0.1
_POLISH_SHARE = 0.4
# Share of the budget that gradients around a mode may take.
_MATCHING_SHARE = 0.08
# Adaptation goes on while two rounds are this much better than the two before, ...
_IMPROVEMENT = 1.15
# ... and while the effective number of samples learned from is below this times the dimension,
# or below a least number: a covariance of D (D + 1) / 2 numbers learned from fewer is too thin
# somewhere, and a surrogate hides where.
_LEARNED_ESS, _LEAST_LEARNED_ESS = 40.0, 500.0
_GOOD_EFFICIENCY = 0.4
# Likelihoods per dimension from which on a surrogate of the posterior thins draws.
_SURROGATE_LIKELIHOODS = 80
_ADAPTATION_SHARE = 0.5
# A proposal that missed something is worth another attempt while so many rounds are left.
_ROUNDS_OF_AN_ATTEMPT = 6
_CONFIRMATION = 1.5
_MARGINAL_ESS = 100.0
_MARGINAL_K = 1.0


class Engine:
    """Runs a state to its end, one checkpointable step at a time.

    Parameters
    ----------
    target
        The posterior.
    draw
        Proposes starts: (n, rng) -> latents of shape (n, dim). The prior where there is no
        network.
    settings
        Budgets.
    exchanges
        Permutations of the parameters that may leave the likelihood unchanged; they are checked.
    blocks
        Indices of parameters that belong together, see ``latent.blocks_of``.
    """

    def __init__(
        self,
        target: Target,
        draw: Callable[[int, np.random.Generator], np.ndarray],
        settings: Settings,
        exchanges: list[np.ndarray] | None = None,
        blocks: list[np.ndarray] | None = None,
    ) -> None:
        self.target = target
        self._draw = draw
        self._settings = settings
        self._exchanges = exchanges or []
        self._blocks = blocks or []
        self._round_size = int(np.clip(50 * target.dim, 200, 1000))
        # Likelihoods that an iteration of the polish costs.
        if target.has_gradient:
            self._iteration_cost = 1
        else:
            self._iteration_cost = target.dim + 1 if target.has_residuals else 2 * target.dim + 1

    def run(
        self,
        state: State,
        save: Callable[[State], None] = lambda state: None,
    ) -> State:
        """Advance ``state`` to its end; ``save`` is called after every step."""
        # The matrices are small: threads of the linear algebra cost far more than they give.
        with threadpool_limits(1, user_api="blas"):
            while state.stage is not Stage.DONE:
                self.advance(state)
                save(state)
        return state

    def advance(self, state: State) -> None:
        """One step, in place."""
        self.target.n_likelihood = state.n_likelihood
        self.target.n_gradient = state.n_gradient
        rng = np.random.default_rng(np.random.SeedSequence(state.entropy, spawn_key=(state.step,)))
        {
            Stage.RANK: self._rank,
            Stage.POLISH: self._polish,
            Stage.HOP: self._hop,
            Stage.CURVATURE: self._curvature,
            Stage.ADAPT: self._adapt,
            Stage.CERTIFY: self._certify,
        }[state.stage](state, rng)
        state.step += 1
        state.n_likelihood = self.target.n_likelihood
        state.n_gradient = self.target.n_gradient

    # -- starts ---------------------------------------------------------------------------------

    def _rank(self, state: State, rng: np.random.Generator) -> None:
        n_draws = min(self._settings.n_draws, max(self._left() // 4, 1))
        z = self._draw(n_draws, rng)
        log_posterior = self.target.log_posterior(z)
        order = np.argsort(-log_posterior, kind="stable")
        state.draws, state.draw_log_posteriors = z[order], log_posterior[order]
        state.relabellings = confirmed_relabellings(self.target, self._exchanges, state.draws)
        n_most = self._settings.polish_fans[0] * self._settings.n_polish
        n_most = min(n_most, max(_STARTS_PER_DIMENSION * self.target.dim, n_most // 4))
        budget = _FIRST_POLISH_SHARE * self._settings.max_likelihood_calls
        n_affordable = int(budget / (_POLISH_ITERATIONS[0] * self._iteration_cost))
        n = int(np.clip(n_affordable, 1, n_most))
        finite = np.isfinite(state.draw_log_posteriors)
        state.pending = [
            (state.draws[i], float(state.draw_log_posteriors[i]))
            for i in np.flatnonzero(finite)[:n]
        ]
        state.pending += self._best_of_prior(rng)
        if state.pending:
            state.stage = Stage.POLISH
        elif state.found:
            self._end_search_for_modes(state)
        else:
            state.stage = Stage.DONE

    def _best_of_prior(self, rng: np.random.Generator) -> list:
        """The best of draws of the prior: where a network is wrong, its own all rank above them."""
        z = rng.standard_normal((self._settings.n_prior_draws, self.target.dim))
        log_posterior = self.target.log_posterior(z)
        best = np.argsort(-log_posterior, kind="stable")[:_PRIOR_STARTS]
        return [(z[i], float(log_posterior[i])) for i in best if np.isfinite(log_posterior[i])]

    def _polish(self, state: State, rng: np.random.Generator) -> None:
        start, _ = state.pending.pop(0)
        n_iterations = self._affordable(_POLISH_ITERATIONS[state.polish_round])
        is_last = state.polish_round == len(self._settings.polish_fans) - 1
        tolerance = _FINE if is_last else _COARSE
        state.starts.append(polished(self.target, start, n_iterations, rng, tolerance))
        if self._is_polish_spent():
            state.pending = []
        if state.pending:
            return
        points = self._distinct(sorted(state.starts, key=lambda p: -p[1]), state.relabellings)
        state.starts = []
        state.polish_round += 1
        if state.polish_round < len(self._settings.polish_fans) and points:
            n = self._settings.polish_fans[state.polish_round] * self._settings.n_polish
            state.pending = [p for p in points[:n] if p[1] > points[0][1] - _HOPELESS]
        else:
            state.starts = points
            state.stage = Stage.HOP

    def _hop(self, state: State, rng: np.random.Generator) -> None:
        """Redraw some blocks of the best point, keep the rest, climb: does anything beat it?

        A fit that found the lens light but a wrong lens, or a source without its lens, is stuck
        for a gradient and one block away from better.
        """
        best, value = state.starts[0]
        fresh = self._draw(_HOP_DRAWS, rng)
        redrawn = np.stack([self._redrawn(rng) for _ in range(_HOP_DRAWS)])
        near = best + _HOP_JITTER * rng.standard_normal(fresh.shape)
        candidates = np.where(redrawn, fresh, near)
        order = np.argsort(-self.target.log_posterior(candidates), kind="stable")
        found = [
            polished(self.target, candidates[i], self._affordable(_HOP_ITERATIONS), rng, _COARSE)
            for i in order[:_HOP_CLIMBS]
        ]
        found = [point for point in found if point[1] > value - _WORTH_KEEPING]
        if found and max(point[1] for point in found) > value + _BARRIER:
            top = max(found, key=lambda point: point[1])
            n_iterations = self._affordable(_POLISH_ITERATIONS[-1])
            found.append(polished(self.target, top[0], n_iterations, rng, _FINE))
            state.hops_without_gain = 0
        else:
            state.hops_without_gain += 1
        points = sorted(state.starts + found, key=lambda point: -point[1])
        state.starts = self._distinct(points, state.relabellings)[: 2 * self._settings.n_polish]
        n_hops = min(self._settings.n_hops, self.target.dim)
        if state.hops_without_gain >= n_hops or self._is_polish_spent():
            self._end_search_for_modes(state)

    def _end_search_for_modes(self, state: State) -> None:
        """Go on with the modes found, or start afresh where none explains the data."""
        points = sorted(state.found + state.starts, key=lambda point: -point[1])
        state.starts, state.polish_round, state.hops_without_gain = [], 0, 0
        z, value = points[0]
        implausible = value + 0.5 * float(z @ z) < self.target.plausible_log_likelihood
        if implausible and state.restarts < _MAX_RESTARTS and not self._is_polish_spent():
            state.found = points
            state.restarts += 1
            state.stage = Stage.RANK
            return
        state.found = []
        state.pending = self._distinct(points, state.relabellings)[: 2 * self._settings.n_polish]
        state.stage = Stage.CURVATURE

    def _redrawn(self, rng: np.random.Generator) -> np.ndarray:
        """Which parameters a hop draws anew: some blocks, or some parameters, but not all."""
        blocks = self._blocks or [np.array([i]) for i in range(self.target.dim)]
        n = rng.integers(1, max(len(blocks) - 1, 1) + 1)
        mask = np.zeros(self.target.dim, dtype=bool)
        for i in rng.choice(len(blocks), size=n, replace=False):
            mask[blocks[i]] = True
        return mask

    def _affordable(self, n_iterations: int) -> int:
        """At most ``n_iterations`` of a climb, fewer where every one costs many likelihoods."""
        share = 0.25 * _POLISH_SHARE * self._settings.max_likelihood_calls
        return int(
            np.clip(share / (self._settings.n_polish * self._iteration_cost), 1, n_iterations)
        )

    def _is_polish_spent(self) -> bool:
        spent = self.target.n_likelihood + self.target.n_gradient
        return spent > _POLISH_SHARE * self._settings.max_likelihood_calls

    def _distinct(self, points: list, relabellings: np.ndarray) -> list:
        """The best point of every basin, from points sorted best first."""
        kept: list = []
        for z, value in points:
            if np.isfinite(value) and not any(
                self._share_basin(z, value, other, relabellings) for other, _ in kept
            ):
                kept.append((z, value))
        return kept

    def _share_basin(
        self, z: np.ndarray, value: float, better: np.ndarray, relabellings: np.ndarray
    ) -> bool:
        images = z[relabellings]
        nearest = images[np.argmin(np.sum((images - better) ** 2, axis=-1))]
        between = self.target.log_posterior(0.5 * (nearest + better)[None])[0]
        return between > value - _BARRIER

    def _curvature(self, state: State, rng: np.random.Generator) -> None:
        z, log_posterior = state.pending.pop(0)
        mode = mode_at(self.target, z, log_posterior)
        best = state.modes[0].log_posterior if state.modes else log_posterior
        matters = log_posterior > best - _WORTH_KEEPING
        if self.target.has_gradient and matters:
            n_gradients = int(_MATCHING_SHARE * self._settings.max_likelihood_calls)
            mode = matched(self.target, at_scale(self.target, mode), n_gradients, rng)
            state.beyond += along_ridges(self.target, mode, rng)
        state.modes.append(mode)
        if state.pending:
            return
        state.mixture = proposal_from_modes(state.modes + state.beyond)
        state.proposal = Proposal(state.mixture, state.relabellings)
        state.adapting_since = self.target.n_likelihood
        state.stage = Stage.ADAPT

    # -- adaptation -----------------------------------------------------------------------------

    def _adapt(self, state: State, rng: np.random.Generator) -> None:
        n = min(self._round_size, self._left())
        if n == 0:
            state.stage = Stage.DONE
            return
        z, log_likelihood, log_weights = self._drawn(state.proposal, n, rng)
        self._teach(state, z, log_likelihood)
        state.efficiencies.append(effective_sample_size(log_weights) / n)
        is_poor = state.efficiencies[-1] < _GOOD_EFFICIENCY
        if is_poor or len(state.efficiencies) == 1:
            self._learn(state, rng, thins=is_poor)
        if self._is_adapted(state):
            state.stage = Stage.CERTIFY
            state.attempt += 1
            self._freeze(state, rng)

    def _is_adapted(self, state: State) -> bool:
        """Whether to freeze: the proposal is good, no longer improves, or has cost its share."""
        spent = self.target.n_likelihood - state.adapting_since
        if spent > _ADAPTATION_SHARE * (spent + self._left()):
            return True
        efficiencies = state.efficiencies
        is_good = efficiencies[-1] >= _GOOD_EFFICIENCY
        if is_good and not isinstance(state.proposal.density, ThinnedDensity):
            return True
        learned = effective_sample_size(clipped(self._log_weights(state)))
        if learned < max(_LEARNED_ESS * self.target.dim, _LEAST_LEARNED_ESS):
            return False
        if is_good:
            return True
        if len(efficiencies) < 4:
            return False
        return np.mean(efficiencies[-2:]) < _IMPROVEMENT * np.mean(efficiencies[-4:-2])

    def _left(self) -> int:
        """Likelihoods left of the budget."""
        return max(self._settings.max_likelihood_calls - self.target.n_likelihood, 0)

    def _log_weights(self, state: State) -> np.ndarray:
        """Recycled log weights of all draws that taught: to learn from, never to report."""
        log_mixture = state.log_mixture - np.log(len(state.z))
        return state.log_likelihood + _log_prior(state.z) - log_mixture

    def _learn(self, state: State, rng: np.random.Generator, thins: bool) -> None:
        z = state.proposal.folded(state.z)
        log_weights = self._log_weights(state)
        log_posterior = state.log_likelihood + _log_prior(state.z)
        state.mixture, proposal = learned_from(
            z, log_weights, log_posterior, state.mixture, self._blocks, rng
        )
        known = np.isfinite(log_posterior)
        if thins and known.sum() >= _SURROGATE_LIKELIHOODS * self.target.dim:
            wide = widened(proposal, z, log_weights, log_posterior)
            weights = tamed(log_weights[known], self.target.dim)
            surrogate = Surrogate.fitted_to(
                z[known], log_posterior[known], np.exp(weights - weights.max()), rng
            )
            proposal = ThinnedDensity.made_of(wide, surrogate, rng)
        state.proposal = Proposal(proposal, state.relabellings)

    def _teach(self, state: State, z: np.ndarray, log_likelihood: np.ndarray) -> None:
        """Add the draws of the current proposal to those that teach."""
        state.rounds.append((state.proposal, len(z)))
        of_new = [np.log(n) + proposal.log_pdf(z) for proposal, n in state.rounds]
        log_mixture = logsumexp(of_new, axis=0)
        if state.z is None:
            state.z, state.log_likelihood, state.log_mixture = z, log_likelihood, log_mixture
            return
        of_old = np.log(len(z)) + state.proposal.log_pdf(state.z)
        state.log_mixture = np.concatenate([np.logaddexp(state.log_mixture, of_old), log_mixture])
        state.z = np.concatenate([state.z, z])
        state.log_likelihood = np.concatenate([state.log_likelihood, log_likelihood])

    def _drawn(
        self, proposal: Proposal, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z = proposal.sample(n, rng)
        log_likelihood = self.target.log_likelihood(z)
        return z, log_likelihood, log_likelihood + _log_prior(z) - proposal.log_pdf(z)

    # -- certification --------------------------------------------------------------------------

    def _certify(self, state: State, rng: np.random.Generator) -> None:
        n = self._next_chunk(state)
        if n == 0:
            state.stage = Stage.DONE
            return
        z, log_likelihood, log_weights = self._drawn(state.proposal, n, rng)
        state.certified = np.concatenate([state.certified, z])
        state.certified_log_likelihood = np.concatenate(
            [state.certified_log_likelihood, log_likelihood]
        )
        state.certified_log_weights = np.concatenate([state.certified_log_weights, log_weights])
        summary = self.summary(state)
        n = len(state.certified)
        # To stop at the first sight of good figures would favour draws that missed a tail: they
        # must still be good at a number of draws fixed now.
        first_look = self._settings.n_effective / _CONFIRMATION
        if state.n_confirm == 0 and summary.ess >= first_look and self._is_trusted(summary, n):
            state.n_confirm = int(_CONFIRMATION * n)
        if summary.status is Status.CONVERGED and n >= state.n_confirm > 0:
            state.stage = Stage.DONE
        elif self._needs_another_attempt(state, summary):
            self._teach(state, state.certified, state.certified_log_likelihood)
            self._learn(state, rng, thins=True)
            state.efficiencies = []
            state.adapting_since = self.target.n_likelihood
            state.stage = Stage.ADAPT

    def _next_chunk(self, state: State) -> int:
        """How many frozen draws to make now: what is missing, as far as the budget goes."""
        n = len(state.certified)
        if n < state.n_confirm:
            return min(state.n_confirm - n, self._left())
        if n == 0:
            efficiency = max(state.efficiencies[-2:], default=0.1)
            missing = self._settings.n_effective / _CONFIRMATION
        else:
            ess = effective_sample_size(state.certified_log_weights)
            efficiency = max(ess / n, 1e-3)
            missing = self._settings.n_effective - ess
        wanted = 1.1 * max(missing, 0.0) / max(efficiency, 0.02)
        return min(int(np.clip(wanted, self._round_size, 4 * self._round_size)), self._left())

    def _needs_another_attempt(self, state: State, summary: Summary) -> bool:
        """Whether to learn from the frozen draws and freeze anew rather than to draw more.

        That pays when the proposal misses something, or when what is missing would cost more
        than all that was learned from so far.
        """
        n = len(state.certified)
        if n < 2 * self._round_size:
            return False
        if not self._is_trusted(summary, n):
            return self._left() >= _ROUNDS_OF_AN_ATTEMPT * self._round_size
        if self._left() < 2 * n:
            return False
        efficiency = max(summary.ess / n, 1e-6)
        missing = (self._settings.n_effective - summary.ess) / efficiency
        return efficiency < _GOOD_EFFICIENCY and missing > len(state.z) + n

    def _freeze(self, state: State, rng: np.random.Generator) -> None:
        """No more learning: the proposal as it is will be judged by draws of its own."""
        if isinstance(state.proposal.density, ThinnedDensity):
            density = state.proposal.density.frozen(rng)
            state.proposal = Proposal(density, state.relabellings)
        state.n_confirm = 0
        state.certified = np.empty((0, self.target.dim))
        state.certified_log_likelihood = np.empty(0)
        state.certified_log_weights = np.empty(0)

    @staticmethod
    def _is_trusted(summary: Summary, n: int) -> bool:
        return summary.pareto_k <= k_threshold(n)

    def summary(self, state: State) -> Summary:
        """Evidence and diagnostics of the frozen draws made so far."""
        if state.certified_log_weights is None or len(state.certified_log_weights) == 0:
            return Summary(-np.inf, np.inf, 0.0, np.inf, Status.FAILED)
        log_weights = state.certified_log_weights
        log_evidence, error = log_evidence_from(log_weights)
        if isinstance(state.proposal.density, ThinnedDensity):
            error = float(np.hypot(error, state.proposal.density.log_kept_error))
        ess = effective_sample_size(log_weights)
        k_hat = pareto_k(log_weights)
        trusted = k_hat <= k_threshold(len(log_weights))
        if trusted and ess >= self._settings.n_effective:
            status = Status.CONVERGED
        elif (trusted and ess >= _MARGINAL_ESS) or (
            k_hat < _MARGINAL_K and ess >= self._settings.n_effective
        ):
            status = Status.MARGINAL
        else:
            status = Status.FAILED
        return Summary(log_evidence, error, ess, k_hat, status)


def _log_prior(z: np.ndarray) -> np.ndarray:
    """ln N(z; 0, I), shape (n, dim) -> (n,)."""
    return -0.5 * np.sum(z**2, axis=-1) - 0.5 * z.shape[-1] * np.log(2.0 * np.pi)
