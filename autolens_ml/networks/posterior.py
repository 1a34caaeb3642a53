"""Networks that estimate posteriors from observed images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.backbones import FoveatedResNet
from autolens_ml.networks.ensai import (
    Dropout,
    EnsaiNetwork,
    sampled_dropout,
    subtract_background,
)
from autolens_ml.networks.heads import (
    FlowDensity,
    FlowHead,
    GaussianMixture,
    MixtureHead,
    MomentsHead,
)
from autolens_ml.networks.orientations import Orientation, averaged, orbits_of, scale_from

__all__ = ["PosteriorEstimator", "PosteriorNetwork"]

# Stored until `learn_features` has seen data: no image is then called unusual.
_UNKNOWN_DISTANCE = 6.0e4
_TYPICAL_QUANTILE = 0.999
# Of the covariance of features, in units of its largest eigenvalue.
_SHRINKAGE = 1e-3
_N_CHANNELS, _N_SCALARS, _N_FEATURES = 4, 1, 256
# Rates of dropout that are tried, and draws that tell what an interval holds.
_DROPOUT_RATES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
_N_DRAWS = 200


class _ResNetOfObservations(FoveatedResNet):
    """A ResNet that sees all there is to see."""

    def __init__(self, dim: int, options: dict[str, Any]) -> None:
        options = {"n_features": _N_FEATURES, **options}
        super().__init__(_N_CHANNELS, _N_SCALARS, **options)
        self.n_features = options["n_features"]

    def inputs_from(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """What ``forward`` takes."""
        ratio, log_noise = (
            torch.where(mask > 0, values, 0.0) for values in (images / noise, noise.log())
        )
        channels = torch.stack(
            (_asinh(ratio), (0.1 * ratio).clamp(-10.0, 100.0), log_noise, mask - 1.0), dim=1
        )
        return channels, psf_width.log()[:, None]


def _asinh(x: torch.Tensor) -> torch.Tensor:
    """Four times as fast as ``torch.asinh`` on a CPU, and as exact as single precision needs."""
    size = x.abs()
    return torch.log(size + torch.sqrt(size.square() + 1.0)).copysign(x)


class _EnsaiOfObservations(EnsaiNetwork):
    """A network of Ensai, which sees the image alone."""

    def __init__(self, dim: int, options: dict[str, Any]) -> None:
        super().__init__(**{"n_outputs": 2 * dim, **options})
        self.n_features = self.config["n_outputs"]
        # Network 11 normalises its own input.
        self._has_background = self.config["name"] == "ensai-11"

    def inputs_from(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """What ``forward`` takes."""
        seen = torch.where(mask > 0, images, 0.0)
        seen = seen / seen.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(seen.dtype).tiny)
        if not self._has_background:
            seen = subtract_background(seen, mask)
        return (seen[:, None],)


_HEADS = {"mixture": MixtureHead, "flow": FlowHead, "moments": MomentsHead}
_BACKBONES = {"resnet": _ResNetOfObservations, "ensai": _EnsaiOfObservations}


class PosteriorEstimator(nn.Module):
    """What gives densities of latents, and knows which images are unlike those of its training.

    Parameters
    ----------
    n_features
        Length of the features that tell.

    Attributes
    ----------
    typical_distance : Tensor
        All but one in a thousand images like those of training are nearer than this to the mean
        of their features, see :meth:`distances`.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_whitener", torch.eye(n_features))
        self.register_buffer("typical_distance", torch.tensor(_UNKNOWN_DISTANCE))

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


class PosteriorNetwork(PosteriorEstimator):
    """A conditional density of latents given an image, its noise, its mask and its PSF width.

    Parameters
    ----------
    dim
        Number of latents.
    head
        ``"mixture"``, ``"flow"`` or ``"moments"``.
    backbone_options, head_options
        Arguments of the backbone, but for its inputs, and of :class:`MixtureHead`,
        :class:`FlowHead` or :class:`MomentsHead`, but for their lengths.
    backbone
        ``"resnet"``, a :class:`FoveatedResNet` of images, noise, mask and PSF width; or
        ``"ensai"``, an :class:`~autolens_ml.networks.ensai.EnsaiNetwork` of the image alone, in
        units of its brightest pixel and without its background, whose last layer gives the
        features: by default means and log variances.
    n_dropout_draws
        Draws of the dropout that make a density, see :meth:`learn_dropout`.
    orientations
        Flips and turns of images, the identity first, over which densities are averaged once
        :meth:`learn_orientations` was called: arguments of
        :class:`~autolens_ml.networks.orientations.Orientation`. By default there are none.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    dropout_rate : Tensor
        Of the draws of the dropout when the network is used; zero for none.
    width_scale : Tensor
        Factors on the widths of densities that are averaged over orientations, zero until they are
        learned, shape (dim,); only with orientations.

    Raises
    ------
    OptionError
        When the head or backbone is unknown, or an option of it is; when orientations are asked of
        a flow, or do not begin with the identity.
    """

    def __init__(
        self,
        dim: int,
        head: str = "mixture",
        backbone_options: dict[str, Any] | None = None,
        head_options: dict[str, Any] | None = None,
        backbone: str = "resnet",
        n_dropout_draws: int = 16,
        orientations: Sequence[dict[str, Any]] = (),
    ) -> None:
        config = {
            "dim": dim,
            "head": head,
            "backbone_options": dict(backbone_options or {}),
            "head_options": dict(head_options or {}),
            "backbone": backbone,
            "n_dropout_draws": n_dropout_draws,
            "orientations": [dict(orientation) for orientation in orientations],
        }
        for kind, name, known in (("head", head, _HEADS), ("backbone", backbone, _BACKBONES)):
            if name not in known:
                raise OptionError(f"network: no {kind} {name!r}: choose one of {', '.join(known)}")
        try:
            made = _BACKBONES[backbone](dim, config["backbone_options"])
            densities = _HEADS[head](made.n_features, dim, **config["head_options"])
        except (TypeError, ValueError, RuntimeError) as error:  # as Python and torch refuse them
            raise OptionError(f"network: {str(error).splitlines()[0]}") from error
        super().__init__(made.n_features)
        self.orientations = [Orientation(**each) for each in config["orientations"]]
        if self.orientations:
            if head == "flow":
                raise OptionError("network: a flow cannot be averaged over orientations")
            if not self.orientations[0].is_identity:
                raise OptionError("network: orientations must begin with the identity")
            self.register_buffer("width_scale", torch.zeros(dim))
        self.config = config
        self.backbone, self.head = made, densities
        if self.has_dropout:
            self.register_buffer("dropout_rate", torch.tensor(0.0))

    @property
    def has_dropout(self) -> bool:
        """Whether there is dropout to draw."""
        return any(isinstance(module, Dropout) for module in self.modules())

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
            Shape (n, y, x), in units of the noise of an empty pixel, or any units if the backbone
            is one of Ensai's.
        mask
            Shape (n, y, x), 1 where data are used and 0 elsewhere.
        psf_width
            Full width at half maximum in pixels, shape (n,).
        """
        return self.backbone(*self.backbone.inputs_from(images, noise, mask, psf_width))

    def forward(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> GaussianMixture | FlowDensity:
        """The densities of a batch; arguments as of :meth:`features`.

        With dropout they are mixtures of its draws, except in training.
        """
        return self.features_and_densities(images, noise, mask, psf_width)[1]

    def features_and_densities(
        self, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, GaussianMixture | FlowDensity]:
        """Features and densities of a batch, in one go; arguments as of :meth:`features`."""
        features, density = self._seen(*inputs)
        if self.training or not self.orientations or not self.width_scale.any():
            return features, density
        return features, averaged(self._by_orientation(density, *inputs), self.width_scale)

    def _seen(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, GaussianMixture | FlowDensity]:
        """Features and densities of images as they are."""
        prepared = self.backbone.inputs_from(*inputs)
        features = self.backbone(*prepared)
        if self.training or not self.has_dropout or float(self.dropout_rate) == 0.0:
            return features, self.head(features)
        # The same image has the same posterior.
        generator = torch.Generator(features.device).manual_seed(0)
        n_draws = self.config["n_dropout_draws"]
        with sampled_dropout(self, generator, float(self.dropout_rate)):
            draws = self.backbone.draws(*prepared, n_draws)
        return features, GaussianMixture.of([self.head(draw) for draw in draws])

    def _by_orientation(
        self,
        density: GaussianMixture,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> list[GaussianMixture]:
        """What each orientation says of the same latents; ``density`` is what the first says."""
        others = []
        for orientation in self.orientations[1:]:
            turned = (orientation.image_from(maps) for maps in (images, noise, mask))
            others.append(orientation.density_from(self._seen(*turned, psf_width)[1]))
        return [density, *others]

    @torch.no_grad()
    def learn_orientations(
        self,
        batches: Sequence[tuple[tuple[torch.Tensor, ...], torch.Tensor]],
        level: float = 0.683,
    ) -> None:
        """From now on, average densities over orientations; find how wide they are to be.

        Parameters
        ----------
        batches, level
            As of :meth:`learn_dropout`, which comes first.
        """
        draws, means, truths = [], [], []
        for inputs, latents in batches:
            density = averaged(
                self._by_orientation(self._seen(*inputs)[1], *inputs),
                torch.ones_like(self.width_scale),
            )
            draws.append(density.sample(_N_DRAWS, torch.Generator(latents.device).manual_seed(0)))
            means.append(density.mean)
            truths.append(latents)
        scale = scale_from(
            torch.cat(draws, dim=1),
            torch.cat(means),
            torch.cat(truths),
            orbits_of(self.orientations),
            level,
        )
        self.width_scale.copy_(scale)

    @torch.no_grad()
    def learn_dropout(
        self,
        batches: Sequence[tuple[tuple[torch.Tensor, ...], torch.Tensor]],
        level: float = 0.683,
    ) -> None:
        """Find the rate of dropout at which intervals hold the truth as often as they say.

        As in Perreault Levasseur et al. 2017 (arXiv:1708.08843), who tune it for coverage; here it
        is that of the draws when the network is used. The larger it is, the wider are posteriors.

        Parameters
        ----------
        batches
            Arguments of :meth:`forward`, and true latents, of images not trained on.
        level
            Credible level whose coverage is to be nominal.
        """
        rates = torch.tensor(_DROPOUT_RATES)
        covered = []
        for rate in _DROPOUT_RATES:
            self.dropout_rate.fill_(rate)
            inside = [
                self._inside(self._seen(*inputs)[1], latents, level) for inputs, latents in batches
            ]
            covered.append(float(torch.cat(inside).mean()))
        self.dropout_rate.copy_(rates[(torch.tensor(covered) - level).abs().argmin()])

    @staticmethod
    def _inside(density: GaussianMixture, latents: torch.Tensor, level: float) -> torch.Tensor:
        """Whether each latent is within its central interval, shape (n, dim)."""
        draws = density.sample(_N_DRAWS, torch.Generator(latents.device).manual_seed(0))
        ranks = (draws < latents).float().mean(0)
        return ((ranks - 0.5).abs() <= 0.5 * level).float()
