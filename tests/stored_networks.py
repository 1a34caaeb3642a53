"""Stored networks whose answer is known, importable by a fresh process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.latent import indexed_paths
from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.instrument import instrument_from

TASK = "lens-parameters"


def card_fields(
    model: Any,
    network: PosteriorNetwork,
    names: Sequence[str],
    instrument: str | dict = "euclid-vis",
    **changes: Any,
) -> dict[str, Any]:
    """The fields of a card, as training writes them."""
    instrument = instrument_from(instrument)
    return {
        "name": "known",
        "task": TASK,
        "description": "A network whose answer is known.",
        "instrument": instrument.as_dict(),
        "bands": list(instrument.bands),
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "inputs": {
            "shape": list(instrument.shape),
            "pixel_scale": instrument.pixel_scale,
            "units": "noise of an empty pixel",
        },
        "outputs": {
            "parameters": list(names),
            "prior": model.dict(),
            "noise_units": True,
            "population": {},
        },
        "training": {"preset": "none", "seed": 1, "samples": 1, "hours": 0.0},
        "metrics": {},
        **changes,
    }


def untrained(dim: int, head: str = "mixture", **head_options: Any) -> PosteriorNetwork:
    """A small network with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        options = {"widths": (8, 8), "depths": (1, 1), "n_features": 16, "map_size": 2}
        return PosteriorNetwork(dim, head, options, head_options)


def unsure(folder: Path, model: Any, head: str = "mixture", **fields: Any) -> Card:
    """Store an untrained network for all parameters of ``model``: close to its prior."""
    names = list(dict((i, ".".join(path)) for path, i in indexed_paths(model)).values())
    network = untrained(len(names), head)
    return save_network(folder, card_fields(model, network, names, **fields), network.state_dict())


def certain(
    folder: Path,
    model: Any,
    values: dict[str, float],
    sigma: float = 0.02,
    typical_distance: float | None = None,
    **fields: Any,
) -> Card:
    """Store a network that sees the same lens in every image.

    Parameters
    ----------
    folder
        Where.
    model
        Whose priors it was trained with.
    values
        Physical values of the parameters that it estimates, by path; intensities in units of the
        noise of an empty pixel, centres from the middle of the image.
    sigma
        Its standard deviation in unit-normal latents, without correlations.
    typical_distance
        Features farther than this from zero are called unusual; none are by default.
    fields
        Of the card; ``instrument`` by name or as a dictionary.
    """
    priors = model.priors_ordered_by_id
    columns = {".".join(path): i for path, i in indexed_paths(model)}
    unit = [float(priors[columns[path]].unit_value_for(value)) for path, value in values.items()]
    means = torch.special.ndtri(torch.tensor(unit, dtype=torch.float64))
    network = untrained(len(values), n_components=1)
    with torch.no_grad():
        outputs = network.head.outputs
        outputs.weight.zero_()
        outputs.bias.zero_()
        outputs.bias[1 : 1 + len(values)] = means
        outputs.bias[1 + len(values) : 1 + 2 * len(values)] = -np.log(sigma)
        if typical_distance is not None:
            network.typical_distance.fill_(typical_distance)
    described = card_fields(model, network, list(values), **fields)
    return save_network(folder, described, network.state_dict(), dtype="float32")
