"""What the engine is told, what it carries from step to step, and what it says in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from autolens_ml.inference.importance import Status
from autolens_ml.inference.mixture import StudentMixture
from autolens_ml.inference.polish import Mode
from autolens_ml.inference.symmetry import Proposal


class Stage(StrEnum):
    """What the engine does next."""

    RANK = "rank"
    POLISH = "polish"
    HOP = "hop"
    CURVATURE = "curvature"
    ADAPT = "adapt"
    CERTIFY = "certify"
    DONE = "done"


@dataclass(frozen=True)
class Settings:
    """What a user sets, see ``autolens_ml.search.CNN``, and how widely modes are looked for.

    Attributes
    ----------
    polish_fans
        Starts of each round of polishing, in units of ``n_polish``.
    n_hops
        Hops without a gain after which the search for modes ends.
    n_prior_draws
        Draws of the prior that are ranked apart from those of a network.
    """

    n_effective: int = 2000
    n_draws: int = 256
    n_polish: int = 4
    max_likelihood_calls: int = 20000
    polish_fans: tuple[int, ...] = (8, 2, 1)
    n_hops: int = 8
    n_prior_draws: int = 0


@dataclass
class State:
    """All an interrupted run needs to go on, and all a finished one has to say.

    Attributes
    ----------
    entropy : int
        Seed of the run: step k draws from the stream (entropy, k).
    draws, draw_log_posteriors : ndarray
        The ranked draws.
    polish_round, hops_without_gain, restarts : int
        How far the search for modes is.
    found : list of (ndarray, float)
        What earlier starts of the search for modes found.
    starts : list of (ndarray, float)
        Points under polish, with their log posteriors.
    pending : list of (ndarray, float)
        Points not yet polished in this round of polishing.
    modes : list of Mode
        Distinct polished modes with their curvature.
    beyond : list of Mode
        Points that the Gaussians of modes take to be less likely than they are.
    relabellings : ndarray
        Exchangeable parameters, see ``symmetry``.
    rounds : list of (proposal, n)
        Proposals that taught, with their number of draws.
    z, log_likelihood, log_mixture : ndarray
        All draws that taught, and the log of sum_t n_t q_t at each.
    certified, certified_log_likelihood, certified_log_weights : ndarray
        Draws of the frozen proposal: the result.
    efficiencies : list of float
        ESS / n of the adaptive rounds, each against its own proposal, since the last attempt.
    adapting_since : int
        Likelihoods spent when the adaptation began.
    attempt : int
        How often a frozen proposal was tried.
    n_confirm : int
        Frozen draws at which good figures are judged again; 0 until they were good once.
    """

    entropy: int
    stage: Stage = Stage.RANK
    step: int = 0
    n_likelihood: int = 0
    n_gradient: int = 0
    draws: np.ndarray | None = None
    draw_log_posteriors: np.ndarray | None = None
    polish_round: int = 0
    hops_without_gain: int = 0
    restarts: int = 0
    found: list = field(default_factory=list)
    starts: list = field(default_factory=list)
    pending: list = field(default_factory=list)
    modes: list[Mode] = field(default_factory=list)
    beyond: list[Mode] = field(default_factory=list)
    relabellings: np.ndarray | None = None
    mixture: StudentMixture | None = None
    proposal: Proposal | None = None
    rounds: list = field(default_factory=list)
    z: np.ndarray | None = None
    log_likelihood: np.ndarray | None = None
    log_mixture: np.ndarray | None = None
    efficiencies: list[float] = field(default_factory=list)
    adapting_since: int = 0
    certified: np.ndarray | None = None
    certified_log_likelihood: np.ndarray | None = None
    certified_log_weights: np.ndarray | None = None
    attempt: int = 0
    n_confirm: int = 0


@dataclass(frozen=True)
class Summary:
    """The figures that say how far a result may be trusted."""

    log_evidence: float
    log_evidence_error: float
    ess: float
    pareto_k: float
    status: Status
