"""Stored networks, made ready for use from their cards."""

from __future__ import annotations

import autofit as af

from autolens_ml.exceptions import NetworkError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.networks.checkpoint import Card, load_state
from autolens_ml.networks.posterior import PosteriorNetwork


def network_from(card: Card) -> PosteriorNetwork:
    """The posterior network of a card, ready to be evaluated.

    Raises
    ------
    NetworkError
        When the weights are missing, altered or of another architecture.
    """
    network = PosteriorNetwork(**card.architecture["config"])
    try:
        network.load_state_dict(load_state(card))
    except RuntimeError as error:
        raise NetworkError(
            f"{card.weights}: the weights do not fit the architecture of their card; reinstall "
            "autolens_ml or train the network again"
        ) from error
    return network.eval()


def space_from(card: Card) -> LatentSpace:
    """Latents of the parameters that a network estimates, from its training prior.

    Raises
    ------
    NetworkError
        When the prior lacks one of them.
    """
    model = af.AbstractPriorModel.from_dict(card.outputs["prior"])
    columns = {".".join(path): i for path, i in indexed_paths(model)}
    priors = model.priors_ordered_by_id
    names = card.outputs["parameters"]
    try:
        return LatentSpace([priors[columns[name]] for name in names], names)
    except KeyError as error:
        raise NetworkError(f"{card.path}: its prior has no parameter {error}") from error
