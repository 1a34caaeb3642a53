"""Heads: conditional densities over unit-normal latents.

Latents z with u = Phi(z) in the unit cube of the training prior: whatever a density does in z, no
probability leaves the prior. Densities are computed in single precision also where the rest of a
network is trained in half of it: posteriors are narrow, and their means must be exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

__all__ = ["FlowDensity", "FlowHead", "GaussianMixture", "MixtureHead", "MomentsHead"]

# Logarithms of the inverse widths of a mixture: between 55 and 1/3000 of the prior's.
_LOG_DIAGONAL = (-4.0, 8.0)


def _single_precision(tensor: torch.Tensor) -> AbstractContextManager:
    """Where mixed precision does not apply."""
    return torch.autocast(tensor.device.type, enabled=False)


class GaussianMixture:
    """A batch of Gaussian mixtures with full covariances.

    Parameters
    ----------
    log_weights
        Shape (n, k), normalised.
    means
        Shape (n, k, d).
    roots
        Lower-triangular roots R of the precisions, precision = R^T R, shape (n, k, d, d).
    """

    def __init__(self, log_weights: torch.Tensor, means: torch.Tensor, roots: torch.Tensor) -> None:
        self.log_weights = log_weights
        self.means = means
        self.roots = roots

    def __getitem__(self, rows: slice) -> GaussianMixture:
        return GaussianMixture(self.log_weights[rows], self.means[rows], self.roots[rows])

    @property
    def mean(self) -> torch.Tensor:
        """Shape (n, d)."""
        return torch.einsum("nk,nkd->nd", self.log_weights.exp(), self.means)

    @property
    def variance(self) -> torch.Tensor:
        """Of each latent alone, shape (n, d)."""
        identity = torch.eye(self.means.shape[-1], device=self.means.device, dtype=self.means.dtype)
        inverse = torch.linalg.solve_triangular(self.roots, identity, upper=False)
        within = inverse.square().sum(-1)
        between = (self.means - self.mean[:, None]).square()
        return torch.einsum("nk,nkd->nd", self.log_weights.exp(), within + between)

    @staticmethod
    def of(mixtures: Sequence[GaussianMixture]) -> GaussianMixture:
        """The mixture in equal parts of mixtures of one batch."""
        weights = torch.cat([m.log_weights for m in mixtures], dim=1) - math.log(len(mixtures))
        means, roots = (
            torch.cat([getattr(m, name) for m in mixtures], dim=1) for name in ("means", "roots")
        )
        return GaussianMixture(weights, means, roots)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """Log densities, shape (..., n), at z of shape (..., n, d)."""
        with _single_precision(z):
            y = torch.einsum("nkij,...nkj->...nki", self.roots, z[..., None, :] - self.means)
        log_det = torch.diagonal(self.roots, dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * z.shape[-1] * math.log(2.0 * math.pi)
        return torch.logsumexp(
            self.log_weights - 0.5 * y.square().sum(-1) + log_det - constant, dim=-1
        )

    def sample(self, n_draws: int, generator: torch.Generator) -> torch.Tensor:
        """Draws, shape (n_draws, n, d)."""
        n, _, d = self.means.shape
        k = torch.multinomial(
            self.log_weights.exp(), n_draws, replacement=True, generator=generator
        ).T
        noise = torch.randn(
            n_draws, n, d, 1, generator=generator, device=k.device, dtype=self.means.dtype
        )
        rows = torch.arange(n, device=k.device)
        scatter = torch.linalg.solve_triangular(self.roots[rows, k], noise, upper=False)
        return self.means[rows, k] + scatter[..., 0]


class MixtureHead(nn.Module):
    """Full-covariance Gaussian mixtures (Bishop 1994, with a Cholesky root of the precision).

    Parameters
    ----------
    n_features, dim
        Lengths of the input and of the latents.
    n_components
        Components of a mixture.
    """

    def __init__(self, n_features: int, dim: int, n_components: int = 4) -> None:
        super().__init__()
        self.dim = dim
        self.n_components = n_components
        n_off = dim * (dim - 1) // 2
        self.outputs = nn.Linear(n_features, n_components * (1 + 2 * dim + n_off))
        # Start at the prior, N(0, I), with means apart so that components can divide the work.
        nn.init.normal_(self.outputs.weight, std=0.01)
        nn.init.zeros_(self.outputs.bias)
        with torch.no_grad():
            spread = 0.3 * torch.randn(n_components, dim)
            self.outputs.bias[n_components : n_components * (1 + dim)] = spread.flatten()
        rows, columns = torch.tril_indices(dim, dim, offset=-1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, features: torch.Tensor) -> GaussianMixture:
        """The mixtures of features, shape (n, n_features)."""
        k, d = self.n_components, self.dim
        with _single_precision(features):
            outputs = self.outputs(features.float())
        n_off = len(self.rows)
        logits, means, log_diagonal, below = outputs.split((k, k * d, k * d, k * n_off), dim=-1)
        roots = torch.diag_embed(log_diagonal.clamp(*_LOG_DIAGONAL).exp().unflatten(-1, (k, d)))
        roots[..., self.rows, self.columns] = below.unflatten(-1, (k, n_off))
        return GaussianMixture(logits.log_softmax(-1), means.unflatten(-1, (k, d)), roots)


class MomentsHead(nn.Module):
    """One Gaussian without correlations, whose means and log variances are the features.

    The heteroscedastic Gaussian of Kendall & Gal 2017 (arXiv:1703.04977).

    Parameters
    ----------
    n_features, dim
        Lengths of the input and of the latents; the first is twice the second.

    Raises
    ------
    ValueError
        When it is not.
    """

    def __init__(self, n_features: int, dim: int) -> None:
        super().__init__()
        if n_features != 2 * dim:
            raise ValueError(f"{n_features} features are not means and variances of {dim} latents")

    def forward(self, features: torch.Tensor) -> GaussianMixture:
        """The Gaussians of features, shape (n, 2 dim), as mixtures of one component."""
        means, log_variance = features.float().chunk(2, dim=-1)
        low, high = (-2.0 * limit for limit in reversed(_LOG_DIAGONAL))
        roots = torch.diag_embed((-0.5 * log_variance.clamp(low, high)).exp())
        weights = torch.zeros_like(means[:, :1])
        return GaussianMixture(weights, means[:, None], roots[:, None])


class FlowHead(nn.Module):
    """A neural spline flow (Durkan et al. 2019, arXiv:1906.04032) of zuko.

    Couplings instead of autoregression: draws cost as little as densities.

    Parameters
    ----------
    n_features, dim
        Lengths of the input and of the latents.
    n_transforms, n_hidden, n_bins
        Couplings, width of their networks, and spline segments.
    """

    def __init__(
        self,
        n_features: int,
        dim: int,
        n_transforms: int = 5,
        n_hidden: int = 128,
        n_bins: int = 8,
    ) -> None:
        import zuko  # only where a flow is used

        super().__init__()
        self.flow = zuko.flows.NSF(
            dim,
            n_features,
            bins=n_bins,
            transforms=n_transforms,
            hidden_features=(n_hidden, n_hidden),
            passes=2,
        )

    def forward(self, features: torch.Tensor) -> FlowDensity:
        """The densities of features, shape (n, n_features)."""
        return FlowDensity(self.flow, features.float())


class FlowDensity:
    """A batch of flows with the interface of :class:`GaussianMixture`.

    Parameters
    ----------
    flow
        A lazy distribution of zuko.
    features
        What it is conditioned on, shape (n, n_features).
    """

    def __init__(self, flow: Any, features: torch.Tensor) -> None:
        self._flow = flow
        self._features = features

    def __getitem__(self, rows: slice) -> FlowDensity:
        return FlowDensity(self._flow, self._features[rows])

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """Log densities, shape (..., n), at z of shape (..., n, d)."""
        with _single_precision(z):
            return self._flow(self._features).log_prob(z)

    def sample(self, n_draws: int, generator: torch.Generator) -> torch.Tensor:
        """Draws, shape (n_draws, n, d)."""
        distribution = self._flow(self._features)
        # zuko draws its noise from torch's global stream: ours comes from the generator.
        shape = (n_draws, *distribution.batch_shape, *distribution.event_shape)
        noise = torch.randn(shape, generator=generator, device=self._features.device)
        return distribution.transform.inv(noise)
