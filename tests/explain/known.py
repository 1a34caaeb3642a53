"""Finders whose explanations can be worked out on paper, and cut-outs to explain."""

import numpy as np
import torch
from torch import nn

from autolens_ml.networks.finder import OU66, OU200, DihedralFinder, Finder

SMALL = {"side": 24, "crop": 20, "widths": (4, 8), "n_hidden": 8}
NETWORKS = {
    "OU66": (OU66, {}),
    "OU200": (OU200, {}),
    "DihedralFinder": (DihedralFinder, SMALL),
    "DihedralFinder, stride 1": (DihedralFinder, {**SMALL, "stride": 1}),
}


def made(name: str, n_bands: int = 1, **options) -> Finder:
    """One of the networks, whose weights are random, but none of them zero."""
    cls, own = NETWORKS[name]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        network = cls(n_bands=n_bands, **{**own, **options}).eval()
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


def cutout(n_bands: int, side: int, seed: int = 0) -> np.ndarray:
    """A galaxy with an arc in noise; the last three columns were not observed."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)) - 0.5 * (side - 1)
    r = np.hypot(y, x) / side
    light = 40.0 * np.exp(-r / 0.04) + 15.0 * np.exp(-0.5 * ((r - 0.2) / 0.02) ** 2) * (x > y)
    image = light + rng.standard_normal((n_bands, side, side))
    image[..., -3:] = np.nan
    return image.astype(np.float32)


class LinearFinder(Finder):
    """Log-odds that are a sum of the normalised pixels with weights."""

    def __init__(self, weights: np.ndarray, temperature: float = 1.0) -> None:
        super().__init__(len(weights), weights.shape[-1], "noise", {})
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))
        self.temperature.fill_(temperature)

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        odds = (normalised * self.weights).sum((1, 2, 3))
        return torch.stack((-0.25 * odds, 0.75 * odds), dim=1)


class ChannelFinder(Finder):
    """Log-odds that are the mean answer of kernels, times known factors, after ReLU or SiLU.

    Kernel i is the pixel itself, times ``kernels[i]``.
    """

    def __init__(
        self, kernels: list[float], factors: list[float], silu: bool = False, side: int = 12
    ) -> None:
        super().__init__(1, side, "noise", {})
        self.convolution = nn.Conv2d(1, len(kernels), 3, padding=1, bias=False)
        self.activation = nn.SiLU() if silu else nn.ReLU()
        self.factors = torch.tensor(factors)
        with torch.no_grad():
            self.convolution.weight.zero_()
            self.convolution.weight[:, 0, 1, 1] = torch.tensor(kernels)

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        answers = self.activation(self.convolution(normalised)).mean((2, 3))
        odds = answers @ self.factors
        return torch.stack((-0.5 * odds, 0.5 * odds), dim=1)


def ring(side: int = 24, n_bands: int = 1) -> np.ndarray:
    """Weights of a network that has learned to look for a ring."""
    y, x = np.indices((side, side)) - 0.5 * (side - 1)
    r = np.hypot(y, x) / side
    own = np.exp(-0.5 * ((r - 0.2) / 0.03) ** 2) - 0.5 * np.exp(-0.5 * ((r - 0.35) / 0.05) ** 2)
    return np.repeat(own[None], n_bands, axis=0) / side
