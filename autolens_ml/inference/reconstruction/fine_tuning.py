r"""A network tuned to one lens: the steps themselves learn to reproduce the data.

What is lowered are the chi-squared of all steps. Elastic weight consolidation (Kirkpatrick et al.
2017, PNAS, 114, 3521) keeps weights where they matter for lenses like this one,

.. math:: J(\phi) = \frac{\sum_t t\,\chi^2_t(\phi)}{\sum_t t}
          + \frac{\lambda}{2} \sum_i F_i (\phi_i - \phi_{0,i})^2,

with the diagonal F of the Fisher information, from gradients of the training's loss on neighbours
of the first reconstruction (Adam et al. 2023, arXiv:2301.04168). The tuning ends where the data are
reproduced to the noise, and the weights that did best are kept. The network itself is not changed.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.inference.reconstruction.loop import Loop, Observed
from autolens_ml.inference.reconstruction.loss import LossWeights, Maps
from autolens_ml.inference.reconstruction.neighbours import (
    field_neighbours,
    latent_neighbours,
    observed_as,
)
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.networks.rim import RecurrentInferenceMachine

__all__ = ["FineTuning", "Tuned", "fine_tuned"]

_METHODS = ("ewc", "likelihood")
_NEIGHBOURS = ("fields", "autoencoders")
_AUTOENCODERS = ("source-vae", "convergence-vae")


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a network is tuned to a lens.

    Attributes
    ----------
    method : str
        ``"ewc"``, elastic weight consolidation, or ``"likelihood"``, chi-squared alone.
    n_steps : int
        Most steps of the optimiser.
    learning_rate : float
        Of Adam.
    target : float
        Reduced chi-squared at which the tuning ends.
    strength : float
        What the consolidation is multiplied by.
    n_neighbours : int
        Lenses from which the Fisher information is.
    neighbours : str
        ``"fields"``, random fields, or ``"autoencoders"``, the shipped ones.
    spread : float
        Of the latents of neighbours, in units of their prior's.
    frozen_levels : int or None
        The bottleneck and so many of the coarsest levels keep their weights; ``None`` for none.
    checkpoint_every : int
        Steps between checkpoints.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    method: str = "ewc"
    n_steps: int = 150
    learning_rate: float = 1e-4
    target: float = 1.0
    strength: float = 1.0
    n_neighbours: int = 32
    neighbours: str = "fields"
    spread: float = 0.3
    frozen_levels: int | None = None
    checkpoint_every: int = 25

    def __post_init__(self) -> None:
        for name, known in (("method", _METHODS), ("neighbours", _NEIGHBOURS)):
            if getattr(self, name) not in known:
                raise OptionError(
                    f"fine_tuning: {name} must be one of {', '.join(known)}, not "
                    f"{getattr(self, name)!r}"
                )
        for name in ("n_steps", "n_neighbours", "checkpoint_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"fine_tuning: {name} must be a whole number > 0, not {value!r}")
        for name in ("learning_rate", "target", "strength", "spread"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise OptionError(
                    f"fine_tuning: {name} must be 0 or more, not {getattr(self, name)!r}"
                )


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a tuning found.

    Attributes
    ----------
    network : RecurrentInferenceMachine
        A copy with the weights that did best.
    chi_squared : ndarray
        Reduced chi-squared of the last step of the loop before the tuning and after each of its
        steps, shape (n_steps + 1,) or fewer.
    """

    network: RecurrentInferenceMachine
    chi_squared: np.ndarray


def fine_tuned(
    network: RecurrentInferenceMachine,
    loop: Loop,
    observed: Observed,
    options: FineTuning,
    loss: LossWeights,
    seed: int = 0,
    checkpoint: Path | None = None,
    identity: str = "",
    say: Callable[[str], None] | None = None,
) -> Tuned:
    """Tune a copy of a network to one lens.

    Two calls with one seed agree bit for bit on a CPU, also where one of them was interrupted.

    Parameters
    ----------
    network
        Of a reconstruction; it is not changed.
    loop
        Of which it is a part.
    observed
        A batch of one.
    options
        How it is tuned.
    loss
        Of its training.
    seed
        Of the neighbours.
    checkpoint
        A file that the tuning goes on from; deleted at the end.
    identity
        Of network and data: a checkpoint of others is refused.
    say
        Takes a line of progress.

    Raises
    ------
    DataError
        When the data are of several lenses, or the checkpoint is of another tuning or damaged.
    NetworkError
        When autoencoders are asked for and are not there.
    """
    if len(observed) != 1:
        raise DataError(f"{len(observed)} lenses: a network is tuned to one at a time")
    run = _Run(network, loop, observed, options, identity=f"{identity}:{seed}")
    if checkpoint is None or not run.resume(checkpoint):
        if options.method == "ewc":
            run.fisher = run.fisher_from(loss, np.random.default_rng(seed))
        run.save(checkpoint)
    while not run.finished:
        run.step()
        if say is not None:
            say(
                f"tuning: step {run.done} of {options.n_steps}, reduced chi-squared "
                f"{run.history[-1]:.3f}, best {run.least:.3f}"
            )
        if run.done % options.checkpoint_every == 0:
            run.save(checkpoint)
    if len(run.history) == run.done:
        run.look()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    run.network.load_state_dict(run.best)
    return Tuned(run.network.requires_grad_(False), np.array(run.history))


class _Run:
    """A tuning in the middle."""

    def __init__(
        self,
        network: RecurrentInferenceMachine,
        loop: Loop,
        observed: Observed,
        options: FineTuning,
        identity: str,
    ) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(True)
        if options.frozen_levels is not None:
            for parameter in self.network.coarse_parameters(options.frozen_levels):
                parameter.requires_grad_(False)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.origin = [p.detach().clone() for p in self.parameters]
        self.fisher: list[torch.Tensor] = []
        self.optimizer = torch.optim.Adam(self.parameters, lr=options.learning_rate)
        self.history: list[float] = []
        self.done = 0
        self._loop, self._observed, self._options = loop, observed, options
        self._identity = json.dumps({"of": identity, **asdict(options)})
        self.best = self._weights()

    @property
    def least(self) -> float:
        """The smallest chi-squared so far."""
        return min(self.history, default=np.inf)

    @property
    def finished(self) -> bool:
        """Whether the data are reproduced, or all steps are done."""
        return self.done >= self._options.n_steps or self.least <= self._options.target

    def step(self) -> None:
        """Look at the weights as they are; a step of the optimiser if they are not good enough."""
        states = self._loop.unroll(self.network, self._observed, through_lens=True)
        chi_squared = torch.stack([state.chi_squared[0] for state in states])
        self._keep(float(chi_squared[-1].detach()))
        if self.finished:
            return
        weights = torch.arange(1.0, len(states) + 1.0)
        loss = (weights * chi_squared).sum() / weights.sum()
        for parameter, origin, fisher in zip(
            self.parameters, self.origin, self.fisher, strict=False
        ):
            moved = (parameter - origin).square()
            loss = loss + 0.5 * self._options.strength * (fisher * moved).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.done += 1

    @torch.no_grad()
    def look(self) -> None:
        """Look at the weights as they are."""
        states = self._loop.unroll(self.network, self._observed)
        self._keep(float(states[-1].chi_squared[0]))

    def fisher_from(self, loss: LossWeights, rng: np.random.Generator) -> list[torch.Tensor]:
        """Mean squared gradients of the training's loss on neighbours, for each parameter."""
        maps = self._neighbours(rng)
        seen = observed_as(self._observed, self._loop, maps, rng)
        fisher = [torch.zeros_like(p) for p in self.parameters]
        n = len(maps.source)
        for i in range(n):
            rows = slice(i, i + 1)
            truth = Maps(*(each[rows] for each in maps))
            states = self._loop.unroll(self.network, seen[rows], through_lens=True)
            value = torch.stack([loss.of(state, truth)[0] for state in states]).mean()
            for total, gradient in zip(
                fisher, torch.autograd.grad(value, self.parameters), strict=True
            ):
                total += gradient.square() / n
        return fisher

    def _neighbours(self, rng: np.random.Generator) -> Maps:
        options = self._options
        with torch.no_grad():
            last = self._loop.unroll(self.network, self._observed)[-1]
        maps = Maps(last.source, last.latents.convergence, last.latents.shear)
        if options.neighbours == "fields":
            return field_neighbours(maps, options.n_neighbours, rng)
        autoencoders = [stored_network(find_card(name, "autoencoder")) for name in _AUTOENCODERS]
        return latent_neighbours(maps, options.n_neighbours, options.spread, *autoencoders, rng)

    def _keep(self, chi_squared: float) -> None:
        # Written so that NaN is never the best.
        if chi_squared < self.least:
            self.best = self._weights()
        self.history.append(chi_squared)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def save(self, path: Path | None) -> None:
        """At once or not at all."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            torch.save(
                {
                    "identity": self._identity,
                    "done": self.done,
                    "history": self.history,
                    "network": self.network.state_dict(),
                    "best": self.best,
                    "fisher": self.fisher,
                    "optimizer": self.optimizer.state_dict(),
                },
                partial,
            )
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def resume(self, path: Path) -> bool:
        """Go on from a checkpoint, if there is one."""
        if not path.is_file():
            return False
        try:
            stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            identity = stored["identity"]
        except Exception as error:  # a foreign file can fail anywhere in the reader
            raise DataError(f"{path}: not a readable checkpoint; delete it") from error
        if identity != self._identity:
            raise DataError(
                f"{path}: the checkpoint of another tuning (data, network, options or seed); "
                "delete it, or give another file"
            )
        self.network.load_state_dict(stored["network"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.best, self.fisher = stored["best"], stored["fisher"]
        self.done, self.history = stored["done"], stored["history"]
        return True
