"""Stored networks, made ready for use from their cards."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.checkpoint import Card, find_card, load_state

if TYPE_CHECKING:
    from torch import nn

# Each is made again by the ``config`` of its card.
ARCHITECTURES = {
    "AnomalyNetwork": "autolens_ml.networks.anomaly",
    "Autoencoder": "autolens_ml.networks.autoencoder",
    "DihedralFinder": "autolens_ml.networks.finder",
    "EnsembleNetwork": "autolens_ml.networks.ensemble",
    "MorphologyNetwork": "autolens_ml.networks.morphology",
    "OU200": "autolens_ml.networks.finder",
    "OU66": "autolens_ml.networks.finder",
    "LearnedOptimizer": "autolens_ml.networks.learned_optimizer",
    "PosteriorNetwork": "autolens_ml.networks.posterior",
    "RecurrentInferenceMachine": "autolens_ml.networks.rim",
    "ShearNetwork": "autolens_ml.networks.shear",
    "StampRegressor": "autolens_ml.networks.shear",
}


def architecture(name: str) -> type[nn.Module]:
    """The class of a network by its name.

    Raises
    ------
    NetworkError
        When there is none of this name.
    """
    if name not in ARCHITECTURES:
        raise NetworkError(
            f"no network class {name!r}, only {', '.join(ARCHITECTURES)}: update autolens_ml"
        )
    return getattr(import_module(ARCHITECTURES[name]), name)


def stored_network(card: Card) -> nn.Module:
    """The network of a card, ready to be evaluated.

    Raises
    ------
    NetworkError
        When the weights are missing, altered or of another architecture.
    """
    state = load_state(card)
    try:
        network = architecture(card.architecture["class"])(**card.architecture["config"])
        network.load_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError, OptionError, RuntimeError) as error:
        raise NetworkError(
            f"{card.weights}: the weights do not fit the architecture of their card; reinstall "
            "autolens_ml or train the network again"
        ) from error
    return network.eval()


def kept_network(card: Card) -> nn.Module:
    """As `stored_network`, but loaded once in a process for as long as its weights are the same.

    Raises
    ------
    NetworkError
        As of `stored_network`.
    """
    return _kept_network(card.path, card.sha256)


@lru_cache(maxsize=4)
def _kept_network(path: Path, sha256: str) -> nn.Module:
    # Another checksum is another network: one that was trained again under its old name.
    return stored_network(find_card(path))
