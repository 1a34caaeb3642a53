"""Networks that estimate posteriors from observed images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.backbones import ResNet
from autolens_ml.networks.heads import FlowDensity, FlowHead, GaussianMixture, MixtureHead

__all__ = ["PosteriorNetwork"]

# Stored until `learn_features` has seen data: no image is then called unusual.
_UNKNOWN_DISTANCE = 6.0e4
_TYPICAL_QUANTILE = 0.999
# Of the covariance of features, in units of its largest eigenvalue.
_SHRINKAGE = 1e-3
_N_CHANNELS, _N_SCALARS, _N_FEATURES = 4, 1, 256

_HEADS = {"mixture": MixtureHead, "flow": FlowHead}


class PosteriorNetwork(nn.Module):
    """A conditional density of latents given an image, its noise, its mask and its PSF width.

    Parameters
    ----------
    dim
        Number of latents.
    head
        ``"mixture"`` or ``"flow"``.
    backbone_options, head_options
        Arguments of :class:`ResNet`, but for its inputs, and of :class:`MixtureHead` or
        :class:`FlowHead`, but for their lengths.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    typical_distance : Tensor
        All but one in a thousand images like those of training are nearer than this to the mean
        of their features, see :meth:`distances`.

    Raises
    ------
    OptionError
        When the head is unknown, or an option of it or of the backbone is.
    """

    def __init__(
        self,
        dim: int,
        head: str = "mixture",
        backbone_options: dict[str, Any] | None = None,
        head_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "dim": dim,
            "head": head,
            "backbone_options": dict(backbone_options or {}),
            "head_options": dict(head_options or {}),
        }
        if head not in _HEADS:
            raise OptionError(f"network: no head {head!r}: choose one of {', '.join(_HEADS)}")
        n_features = self.config["backbone_options"].get("n_features", _N_FEATURES)
        try:
            self.backbone = ResNet(
                _N_CHANNELS, _N_SCALARS, **{"n_features": n_features, **(backbone_options or {})}
            )
            self.head = _HEADS[head](n_features, dim, **(head_options or {}))
        except (TypeError, ValueError, RuntimeError) as error:  # as Python and torch refuse them
            raise OptionError(f"network: {str(error).splitlines()[0]}") from error
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_whitener", torch.eye(n_features))
        self.register_buffer("typical_distance", torch.tensor(_UNKNOWN_DISTANCE))

    def features(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> torch.Tensor:
        """What the head sees, shape (n, n_features).

        Parameters
        ----------
        images, noise
            Shape (n, y, x), in units of the noise of an empty pixel.
        mask
            Shape (n, y, x), 1 where data are used and 0 elsewhere.
        psf_width
            Full width at half maximum in pixels, shape (n,).
        """
        ratio, log_noise = (
            torch.where(mask > 0, values, 0.0) for values in (images / noise, noise.log())
        )
        channels = torch.stack(
            (torch.asinh(ratio), (0.1 * ratio).clamp(-10.0, 100.0), log_noise, mask - 1.0), dim=1
        )
        return self.backbone(channels, psf_width.log()[:, None])

    def forward(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> GaussianMixture | FlowDensity:
        """The densities of a batch; arguments as of :meth:`features`."""
        return self.head(self.features(images, noise, mask, psf_width))

    @torch.no_grad()
    def learn_features(self, features: torch.Tensor) -> None:
        """Remember how features of images like those of training are distributed.

        Parameters
        ----------
        features
            Of held-out images, shape (n, n_features), n > 2.
        """
        n = len(features)
        self.feature_mean.copy_(features.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(features.T))
        values = values.clamp(min=0.0) + _SHRINKAGE * values.max()
        self.feature_whitener.copy_(vectors / values.sqrt())
        # Part of a mean and covariance, an image is nearer to them than a new one would be. These
        # are the distances to those of the others, by the Sherman-Morrison formula.
        leverage = self.distances(features).square() * n / (n - 1) ** 2
        unseen = (leverage * n * (n - 2) / ((n - 1) * (1.0 - leverage))).sqrt()
        self.typical_distance.copy_(torch.quantile(unseen, _TYPICAL_QUANTILE))

    def distances(self, features: torch.Tensor) -> torch.Tensor:
        """Mahalanobis distances of features, shape (n, n_features), from those learned, (n,)."""
        return torch.linalg.vector_norm(
            (features - self.feature_mean) @ self.feature_whitener, dim=-1
        )
