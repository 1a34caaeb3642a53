"""Learned optimisers with weights at random, and what they climb; importable by a fresh process."""

from pathlib import Path

import numpy as np
import torch

from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.learned_optimizer import Climb, LearnedOptimizer


def random_optimizer(seed: int = 0, spread: float = 0.3) -> LearnedOptimizer:
    """One that answers, where an untrained one answers with zeros."""
    generator = torch.Generator().manual_seed(seed)
    network = LearnedOptimizer(n_hidden=6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def stored(folder: Path, name: str = "climber", task: str = "optimizer") -> Card:
    """The same as a network on disk."""
    network = random_optimizer()
    fields = {
        "name": name,
        "task": task,
        "description": "A learned optimiser that has learned nothing.",
        "instrument": {"name": "any"},
        "bands": [],
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": "LearnedOptimizer", "config": network.config},
        "inputs": {},
        "outputs": {"parameters": ["step"], "populations": {}},
        "training": {"preset": "none"},
        "metrics": {},
    }
    return save_network(folder, fields, network.state_dict())


class Quadratic:
    """-(z - centre)^T A (z - centre) / 2 for n different A, and counts of its evaluations."""

    def __init__(self, n: int = 5, dim: int = 7, condition: float = 1e4, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.standard_normal((n, dim, dim)))[0]
        sizes = condition ** rng.random((n, dim))
        self.matrix = torch.as_tensor(np.einsum("nij,nj,nkj->nik", axes, sizes, axes))
        self.centre = torch.as_tensor(0.5 * rng.standard_normal((n, dim)))
        self.start = torch.as_tensor(rng.standard_normal((n, dim)))
        self.n_evaluations = 0

    def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.n_evaluations += 1
        gradient = -torch.einsum("nij,nj->ni", self.matrix, z - self.centre)
        return 0.5 * (gradient * (z - self.centre)).sum(-1), gradient


@torch.no_grad()
def climbed(network: LearnedOptimizer, posterior, n_steps: int, start=None) -> list[Climb]:
    """The state after every step."""
    z = posterior.start if start is None else start
    climbs = [network.start(z, *posterior(z))]
    for _ in range(n_steps):
        climb, z = network(climbs[-1])
        climbs.append(network.advanced(climb, z, *posterior(z)))
    return climbs
