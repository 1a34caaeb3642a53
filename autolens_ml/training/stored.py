"""What stored networks say: latents and priors from their cards."""

from __future__ import annotations

from copy import deepcopy

import autofit as af

from autolens_ml.exceptions import NetworkError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.networks.checkpoint import Card


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
