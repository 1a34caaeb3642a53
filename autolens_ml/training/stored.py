"""Stored networks, made ready for use from their cards."""

from __future__ import annotations

from copy import deepcopy

import autofit as af

from autolens_ml.exceptions import NetworkError, OptionError
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
    state = load_state(card)
    try:
        network = PosteriorNetwork(**card.architecture["config"])
        network.load_state_dict(state)
    except (KeyError, TypeError, OptionError, RuntimeError) as error:
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
        When the prior cannot be made, or lacks one of them.
    """
    try:
        # autofit takes the dictionary apart that it reads.
        model = af.AbstractPriorModel.from_dict(deepcopy(card.outputs["prior"]))
        columns = {".".join(path): i for path, i in indexed_paths(model)}
        names = list(card.outputs["parameters"])
    except Exception as error:  # autofit raises whatever the classes that it imports raise
        raise NetworkError(
            f"{card.path}: its prior is no model that can be made here ({type(error).__name__})"
        ) from error
    if missing := [name for name in names if name not in columns]:
        raise NetworkError(f"{card.path}: its prior has no parameter {', '.join(missing)}")
    priors = model.priors_ordered_by_id
    return LatentSpace([priors[columns[name]] for name in names], names)
