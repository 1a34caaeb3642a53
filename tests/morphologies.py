"""Small lenses with substructure, and stored networks for them; for tests of morphology."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.networks.anomaly import AnomalyNetwork
from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.morphology import MorphologyNetwork
from autolens_ml.simulate.morphology.settings import Setting, setting_from
from autolens_ml.simulate.morphology.systems import MorphologyPopulation, MorphologySystems

# Coarse pixels, and a few heavy subhaloes: a lens is simulated in a fraction of a millisecond.
CHANGES: dict[str, Any] = {
    "instrument": {
        "shape": [32, 32],
        "pixel_scale": 0.2,
        "psf_fwhm": [0.2, 0.2],
        "psf_shape": [3, 3],
        "over_sample_size": 2,
    },
    "subhalo_mass": [2e9, 1e10],
}
SIDE = 32


def small_setting(**changes: Any) -> Setting:
    return setting_from({"name": "model-i", **CHANGES, **changes})


@cache
def small_systems() -> tuple[MorphologyPopulation, MorphologySystems]:
    """A hundred and twenty-eight lenses of all kinds, with their smooth fits."""
    shares = dict.fromkeys(("no_sub", "cdm", "vortex", "lattice"), 1.0)
    population = MorphologyPopulation(small_setting(), shares, with_smooth=True)
    (first,) = population.batches(64, seed=3)
    return population, first


def untrained(make: Any) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make().eval()


def stored(folder: Path, name: str, network: torch.nn.Module, task: str, **outputs: Any) -> Card:
    """Store a network of the small setting."""
    instrument = small_setting().instrument
    fields = {
        "name": name,
        "task": task,
        "description": "For tests.",
        "instrument": instrument.as_dict(),
        "bands": [],
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "inputs": {"shape": list(instrument.shape), "pixel_scale": 0.2, "units": "noise"},
        "outputs": {"data": {"setting": {"name": "model-i", **CHANGES}}, **outputs},
        "training": {"preset": "none", "seed": 1, "samples": 1, "hours": 0.0},
        "metrics": {},
    }
    return save_network(folder, fields, network.state_dict(), "float32")


def stored_classifier(folder: Path, **options: Any) -> Card:
    options = {"sees": ["residual"], "options": {"widths": [4]}, **options}
    network = untrained(lambda: MorphologyNetwork(side=SIDE, **options))
    return stored(folder, "classifier", network, "morphology")


def stored_autoencoder(folder: Path, kind: str = "variational", **options: Any) -> Card:
    n_conditions = 11 if kind == "conditional" else 0
    network = untrained(
        lambda: AnomalyNetwork(
            side=SIDE,
            kind=kind,
            latent_dim=4,
            n_conditions=n_conditions,
            encoder_widths=[8, 8],
            widths=[8, 8],
            n_hidden=8,
            **options,
        )
    )
    network.thresholds.fill_(1.5)
    if not network.is_variational:
        network.thresholds[1] = 6e4
    return stored(folder, f"autoencoder-{kind}", network, "anomaly")


def observed(systems: MorphologySystems, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images with noise of a tenth of what photons add, and their noise, in its units."""
    noise = np.sqrt(1.0 + 0.03 * np.maximum(systems.images, 0.0))
    return (
        systems.images + noise * np.random.default_rng(seed).standard_normal(noise.shape),
        noise,
    )
