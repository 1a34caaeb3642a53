"""Systems without simulation, and stored finders whose answer is known; for tests of finding."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.finder import OU66, Finder
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.systems import KINDS, TRUTHS, Systems
from autolens_ml.simulate.forward import CHUNK


class MiddleFinder(Finder):
    """Calls a lens what is brighter in the middle than half a kilosigma."""

    def __init__(self, n_bands: int = 1, side: int = 66, normalisation: str = "noise") -> None:
        config = {"n_bands": n_bands, "side": side, "normalisation": normalisation}
        super().__init__(n_bands, side, normalisation, config)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        half = self.side // 2
        middle = normalised[:, :, half - 2 : half + 2, half - 2 : half + 2].amax((1, 2, 3))
        excess = 4.0 * self.scale * (middle - torch.asinh(torch.tensor(500.0 / 3.0)))
        return torch.stack((-excess, excess), dim=1)


def fake_systems(n: int, seed: int = 0, bands: tuple[str, ...] = tuple(BANDS)) -> Systems:
    """Points in the middle: lenses are 1000 sigma bright, others 250, in all bands.

    One pixel of VIS and NISP, off the middle towards +y and +x, is 50 sigma bright.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.choice([KINDS.index("lens"), KINDS.index("spiral")], size=n)
    images = {}
    for name in bands:
        side = BANDS[name].instrument.shape[0]
        image = np.zeros((n, side, side), dtype=np.float32)
        bright = np.where(kinds == KINDS.index("lens"), 1000.0, 250.0)
        image[:, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1] = bright[
            :, None, None
        ]
        image[:, side // 6, 3 * side // 4] = 50.0
        images[name] = image
    return Systems(images, kinds, np.zeros((n, len(TRUTHS)), dtype=np.float32))


class FakePopulation:
    """In place of a ``FindingPopulation``; compound lenses are half as bright as others."""

    def __init__(self, shares: Any = None, bands: Any = tuple(BANDS)) -> None:
        self.bands = tuple(BANDS[name] for name in bands)
        self.kind = next(iter(shares)) if shares else None

    def batches(self, n: int, seed: int, start: int = 0) -> Any:
        for first in range(start, n, CHUNK):
            names = tuple(band.name for band in self.bands)
            systems = fake_systems(CHUNK, seed + first, names)
            if self.kind is not None:
                images = {k: v + 0 * v for k, v in systems.images.items()}
                for image in images.values():
                    image[image >= 250.0] = 5000.0 if self.kind == "double-ring" else 10.0
                kinds = np.full(CHUNK, KINDS.index(self.kind))
                systems = Systems(images, kinds, systems.truths)
            yield systems[: n - first]


def card_fields(network: Finder, name: str, bands: tuple[str, ...], **changes: Any) -> dict:
    side = network.side
    return {
        "name": name,
        "task": "lens-finding",
        "description": "A network whose answer is known.",
        "instrument": {"name": "euclid"},
        "bands": list(bands),
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "inputs": {
            "shape": [side, side],
            "pixel_scale": 0.3 if side == 66 else 0.1,
            "units": "any",
        },
        "outputs": {"classes": ["no lens", "lens"]},
        "training": {"preset": "none", "seed": 1, "samples": 1, "hours": 0.0},
        "metrics": {},
        **changes,
    }


def stored_finder(
    folder: Path, bands: tuple[str, ...] = ("J",), name: str = "middle", side: int = 66
) -> Card:
    """Store a `MiddleFinder`; ``MIDDLE`` must be among the architectures."""
    network = MiddleFinder(len(bands), side)
    return save_network(folder, card_fields(network, name, bands), network.state_dict(), "float32")


def untrained_finder(folder: Path, bands: tuple[str, ...] = ("J",)) -> Card:
    """Store an ``OU66`` that has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OU66(len(bands))
    return save_network(folder, card_fields(network, "untrained", bands), network.state_dict())


# Name and module of `MiddleFinder`, for `networks.architectures.ARCHITECTURES`.
MIDDLE = ("MiddleFinder", __name__)
