"""Small stored autoencoders for tests of neural profiles."""

from pathlib import Path
from typing import Any

import torch

from autolens_ml.networks.autoencoder import Autoencoder
from autolens_ml.networks.checkpoint import Card, save_network

LIGHT, MASS = "surface brightness", "convergence"
SMALL = {
    "size": 16,
    "latent_dim": 3,
    "disc_radius": 0.4,
    "n_hidden": 8,
    "widths": [4, 4],
    "encoder_widths": [8, 8],
}


def autoencoder(seed: int = 1, spread: float = 0.2, **changes: Any) -> Autoencoder:
    """An autoencoder whose weights are random, all of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Autoencoder(**{**SMALL, **changes})
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += spread * torch.randn_like(parameter)
    return network.eval()


def stored(
    folder: Path,
    network: Autoencoder | None = None,
    quantity: str = LIGHT,
    dtype: str = "float16",
    **fields: Any,
) -> Card:
    """Store an autoencoder, as training does."""
    network = autoencoder() if network is None else network
    described = {
        "name": "small",
        "task": "autoencoder",
        "description": "A small network of random weights.",
        "instrument": {},
        "bands": [],
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": "Autoencoder", "config": network.config},
        "inputs": {"shape": [network.config["size"]] * 2},
        "outputs": {"quantity": quantity, "latents": network.config["latent_dim"]},
        "training": {},
        "metrics": {},
        **fields,
    }
    return save_network(folder, described, network.state_dict(), dtype)
