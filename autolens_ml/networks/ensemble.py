"""Several stored networks as one: a mixture of densities, or a weighted sum of their means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.networks.combination import Combination
from autolens_ml.networks.heads import GaussianMixture
from autolens_ml.networks.posterior import PosteriorEstimator

__all__ = ["EnsembleNetwork"]

# What a Gaussian holds within its width.
_ONE_SIGMA = 0.683
_NARROWEST = 1e-6


class EnsembleNetwork(PosteriorEstimator):
    """Networks of one set of latents, each of them stored on its own.

    Parameters
    ----------
    members
        ``name`` and ``sha256`` of each network; ``folder`` as well if it does not ship.
    dim
        Number of latents.
    weighted
        Whether means are summed with weights of their own for each latent, as Hezaveh et al. 2017
        combine four networks (20 weights), and widths rescaled to be calibrated: one Gaussian.
        Otherwise the density is the mixture of all, in equal parts: a deep ensemble
        (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Attributes
    ----------
    config : dict
        The arguments.

    Raises
    ------
    NetworkError
        When a member is not there, is another one than that of the same name, or its density is
        no mixture of Gaussians.
    OptionError
        When there is no member.
    """

    def __init__(self, members: Sequence[dict[str, str]], dim: int, weighted: bool = False) -> None:
        if not members:
            raise OptionError("an ensemble needs networks: give at least one")
        super().__init__(len(members) * dim)
        self.config: dict[str, Any] = {
            "members": [dict(member) for member in members],
            "dim": dim,
            "weighted": weighted,
        }
        self.combination = Combination(len(members), dim, columns=()) if weighted else None
        self.register_buffer("scale", torch.ones(dim))
        # Not among the submodules: their weights are stored in their own files.
        self._members: list[list[nn.Module]] = [[_member(member)] for member in members]

    @property
    def members(self) -> list[PosteriorEstimator]:
        """The networks."""
        return [network for (network,) in self._members]

    def forward(self, *inputs: torch.Tensor) -> GaussianMixture:
        """Densities of a batch; arguments as of ``PosteriorNetwork``."""
        return self.features_and_densities(*inputs)[1]

    def features_and_densities(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, GaussianMixture]:
        """Means of all members, side by side, and densities."""
        return self._joined([member(*inputs) for member in self.members])

    def _joined(self, densities: list[GaussianMixture]) -> tuple[torch.Tensor, GaussianMixture]:
        means = torch.stack([density.mean for density in densities])
        features = means.transpose(0, 1).flatten(1)
        if self.combination is None:
            return features, GaussianMixture.of(densities)
        variance = torch.stack([density.variance for density in densities]).mean(0)
        width = variance.sqrt() * self.scale
        roots = torch.diag_embed(1.0 / width.clamp(min=_NARROWEST))
        mean = self.combination(means)
        weights = torch.zeros_like(mean[:, :1])
        return features, GaussianMixture(weights, mean[:, None], roots[:, None])

    @torch.no_grad()
    def learn(self, batches: Iterable[tuple[tuple[torch.Tensor, ...], torch.Tensor]]) -> None:
        """Find weights and widths, and how features are distributed.

        Parameters
        ----------
        batches
            Inputs and true latents of images that no member was trained on.
        """
        per_batch, truths = [], []
        for inputs, true in batches:
            per_batch.append([member(*inputs) for member in self.members])
            truths.append(true)
        latents = torch.cat(truths)
        if self.combination is not None:
            means = torch.cat(
                [torch.stack([density.mean for density in one]) for one in per_batch], dim=1
            )
            self.combination.fit(means, latents)
            self.scale.fill_(1.0)
            joined = [self._joined(one)[1] for one in per_batch]
            mean = torch.cat([density.mean for density in joined])
            width = torch.cat([density.variance for density in joined]).sqrt()
            pulls = ((latents - mean) / width).abs()
            self.scale.copy_(torch.quantile(pulls, _ONE_SIGMA, dim=0))
        self.learn_features(torch.cat([self._joined(one)[0] for one in per_batch]))


def _member(member: dict[str, str]) -> nn.Module:
    from autolens_ml.networks.architectures import stored_network

    where = member.get("folder")
    card = find_card(member["name"] if where is None else f"{where}/{member['name']}.json")
    if card.sha256 != member["sha256"]:
        raise NetworkError(
            f"{card.path} is another network than the ensemble was made of: give it that one, or "
            "make the ensemble again"
        )
    network = stored_network(card)
    if network.config.get("head") == "flow":
        raise NetworkError(f"{card.path}: a flow is no mixture of Gaussians: leave it out")
    return network.requires_grad_(False)
