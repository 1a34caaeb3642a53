"""Where a search starts: draws of the prior, or of a network's posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autofit as af
import numpy as np
from autofit.non_linear.initializer import AbstractInitializer
from scipy.special import ndtri

from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.inference.matching import TASK, card_from, matching_network
from autolens_ml.latent import UNIT_MARGIN, LatentSpace
from autolens_ml.networks.checkpoint import cards

# torch is loaded only where a network is used.
if TYPE_CHECKING:
    from autolens_ml.inference.amortised import NetworkProposal
    from autolens_ml.networks.checkpoint import Card

# Draws whose spread sets the range of start points, and the quantiles that bound it.
_N_RANGE = 1000
_RANGE = (0.16, 0.84)


@dataclass(frozen=True)
class Starts:
    """A proposal of starts.

    Attributes
    ----------
    draw
        (n, rng) -> unit-normal latents, shape (n, dim).
    lines : tuple of str
        Which network and why, or why none, and what of the data it was not trained for.
    proposal : NetworkProposal or None
        The network's posterior for the model; ``None`` where no network proposes.
    are_given : bool
        Whether the user says where to start.
    """

    draw: Callable[[int, np.random.Generator], np.ndarray]
    lines: tuple[str, ...] = ()
    proposal: NetworkProposal | None = None
    are_given: bool = False

    @property
    def card(self) -> Card | None:
        """Of the network."""
        return None if self.proposal is None else self.proposal.posterior.network.card

    @property
    def are_prior(self) -> bool:
        """Whether they are draws of the prior."""
        return self.proposal is None and not self.are_given

    @property
    def are_trusted(self) -> bool:
        """Whether a user proposes, or a network that knows most of the model and such data."""
        proposal = self.proposal
        return self.are_given or (
            proposal is not None and proposal.knows_most and not proposal.doubts
        )


def starts_from(network: str | Path | None, model: Any, dataset: Any) -> Starts:
    """The starts that ``aml.CNN(network=...)`` asks for.

    Parameters
    ----------
    network
        ``None`` for the prior, ``"auto"`` for the shipped network that matches model and data, a
        name or path.
    model
        What is fitted.
    dataset
        What it is fitted to; ``None`` where an analysis has no dataset of its own.

    Raises
    ------
    NetworkError
        When the named network does not exist, is damaged, or knows nothing of the model.
    DataError
        When a network is named and the dataset is not an image as it needs them.
    """
    prior = _prior_draws(model.prior_count)
    if network is None:
        return Starts(prior)
    proposal, reason = _proposal_from(network, model, dataset)
    if proposal is None:
        return Starts(prior, (f"no network ({reason}): draws of the prior",))
    cautions = (f"caution: {doubt}" for doubt in proposal.doubts)
    return Starts(proposal.draw, (f"network {reason}", *cautions), proposal)


def starts_at(initializer: AbstractInitializer, model: Any) -> Starts:
    """The starts that ``initializer=...`` asks for.

    Parameters
    ----------
    initializer
        Of autofit: ranges or points, such as ``af.InitializerParamBounds``.
    model
        What is fitted.

    Raises
    ------
    OptionError
        When a range lies outside of a prior. Raised by the first draw.
    """

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        initializer._rng = rng  # what it would be given by the searches of autofit
        try:
            unit = np.array([initializer._generate_unit_parameter_list(model) for _ in range(n)])
        except OverflowError as error:  # outside of a prior there is no unit value
            raise OptionError(
                "initializer: a range lies outside of the prior of its parameter; give one inside"
            ) from error
        return ndtri(np.clip(unit, UNIT_MARGIN, 1.0 - UNIT_MARGIN))

    return Starts(draw, (f"starts of {type(initializer).__name__}",), are_given=True)


def initializer_from(network: str | Path, dataset: Any, model: Any, seed: int = 0) -> Any:
    """Start points of a network for any search that takes an ``initializer``.

    Walkers and chains start within the central 68 per cent of the network's posterior:
    ``af.Emcee(initializer=aml.initializer_from("euclid-sie", dataset, model))``. The priors of
    the model stay as they are.

    Parameters
    ----------
    network
        The name or path of a network, or ``"auto"``.
    dataset
        The ``al.Imaging`` that is fitted.
    model
        The ``af.Model`` or ``af.Collection`` that is fitted.
    seed
        Of the network's draws.

    Returns
    -------
    af.InitializerParamBounds
        Parameters that the network does not know start anywhere in their priors.

    Raises
    ------
    NetworkError
        When no network matches, or hardly any of its posterior lies within the priors.
    DataError
        When a network is named and the dataset is not an image as it needs them.
    """
    proposal, reason = _proposal_from(network, model, dataset)
    if proposal is None:
        raise NetworkError(f"no start points: {reason}; give the name or path of a network")
    z, _ = proposal.posterior_draws(_N_RANGE, np.random.default_rng(seed))
    physical = LatentSpace.from_model(model).physical_from(z)
    priors = model.priors_ordered_by_id
    return af.InitializerParamBounds(
        {
            priors[i]: tuple(float(q) for q in np.quantile(physical[:, i], _RANGE))
            for i in proposal.matched
        }
    )


def _proposal_from(
    network: str | Path, model: Any, dataset: Any
) -> tuple[NetworkProposal | None, str]:
    """The posterior of a network for a model; and why that network, or why none."""
    if network == "auto":
        card, reason = matching_network(model, dataset, cards(TASK))
        if card is None:
            return None, reason
    else:
        card, reason = card_from(network), ""
    from autolens_ml.inference.amortised import LensNetwork, NetworkProposal

    try:
        posterior = LensNetwork(card).posterior_from(dataset)
    except DataError as error:
        if network != "auto":
            raise
        return None, str(error)
    proposal = NetworkProposal(posterior, model)
    n_known = len(proposal.matched)
    return proposal, reason or f"{card.name} knows {n_known} of {model.prior_count} parameters"


def _prior_draws(dim: int) -> Callable[[int, np.random.Generator], np.ndarray]:
    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, dim))

    return draw
