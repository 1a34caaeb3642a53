"""Autoencoders that learn what lenses without substructure look like, and score what does not.

One encoder and one decoder serve four kinds:

- ``autoencoder``: convolutional, without any prior on its latents;
- ``variational``: a VAE (Kingma & Welling 2014, arXiv:1312.6114) whose likelihood is that of the
  noise, which is known, so that the bound on the evidence is in nats and has no free weight;
- ``conditional``: a VAE (Sohn et al. 2015) that is told the smooth lens and its source;
- ``adversarial``: an autoencoder whose latents are made unit-normal by a network that tries to
  tell them from it (Makhzani et al. 2015, arXiv:1511.05644), as the unsupervised networks of
  Alexander et al. (2020, arXiv:2008.12731) are.

Images and their RMS are in units of the noise of an empty pixel, shape (n, y, x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, silu

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.autoencoder import Encoding
from autolens_ml.networks.posterior import PosteriorEstimator

__all__ = ["KINDS", "SCORES", "UNKNOWN", "AnomalyNetwork", "AnomalyScores"]

KINDS = ("autoencoder", "variational", "conditional", "adversarial")
# All are larger the stranger an image is.
SCORES = ("error", "elbo", "mahalanobis")
_SOFTENING = 3.0
_GROUPS = 8
# Pixels in which a reconstruction is brighter than this belong to the arcs.
_ARC = 0.5
# What leaves the decoder is in this unit.
_UNIT = 10.0
_LOG_VARIANCE = (-12.0, 4.0)
# Of the latents for a bound on the evidence.
_N_DRAWS = 4
# Width of the smoothing of heat maps, in pixels, and what cuts it off.
_HEAT_WIDTH, _HEAT_REACH = 1.0, 3
_N_DISCRIMINATOR = 64
# Validation images above the thresholds.
_FALSE_POSITIVES = 0.01
# Threshold of a score that a network has not; what is stored must be finite in half precision.
UNKNOWN = 6.0e4


class AnomalyScores(NamedTuple):
    """How strange images are, each of shape (n,); larger is stranger.

    Attributes
    ----------
    error : Tensor
        Mean squared error of the reconstruction in units of the noise, in the pixels of the arcs.
    elbo : Tensor
        Minus the bound on the evidence, without its constant, in nats per pixel; NaN without a
        prior.
    mahalanobis : Tensor
        Distance of the latents from those of training.
    """

    error: torch.Tensor
    elbo: torch.Tensor
    mahalanobis: torch.Tensor


class AnomalyNetwork(PosteriorEstimator):
    """An autoencoder of noisy images.

    Parameters
    ----------
    side
        Pixels a side of the images, divisible by 16.
    kind
        One of ``KINDS``.
    latent_dim
        Number of latents.
    n_conditions
        Numbers that a conditional network is told, 0 for the others.
    encoder_widths
        Channels of the encoder after each halving of the resolution, multiples of 8.
    widths
        Channels of the decoder before each doubling of the resolution.
    n_hidden
        Width of the decoder's dense layers.
    adversarial_weight
        Of the prior of an adversarial network.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    condition_mean, condition_scale : Tensor
        Of the conditions of training.
    thresholds : Tensor
        Scores that one in a hundred ordinary images exceeds, in the order of ``SCORES``.

    Raises
    ------
    OptionError
        When an argument is out of its range.
    """

    def __init__(
        self,
        side: int = 64,
        kind: str = "variational",
        latent_dim: int = 24,
        n_conditions: int = 0,
        encoder_widths: Sequence[int] = (16, 32, 64, 64),
        widths: Sequence[int] = (64, 48, 32),
        n_hidden: int = 128,
        adversarial_weight: float = 0.02,
    ) -> None:
        if kind not in KINDS:
            raise OptionError(f"network: no kind {kind!r}: choose one of {', '.join(KINDS)}")
        for name, value in (("latent_dim", latent_dim), ("n_hidden", n_hidden)):
            if value < 1:
                raise OptionError(f"network: {name} must be above 0, not {value}")
        if (kind == "conditional") != (n_conditions > 0):
            raise OptionError(
                f"network: {n_conditions} conditions of a network of kind {kind!r}: a conditional "
                "one needs at least one, the others none"
            )
        for name, each in (("encoder_widths", encoder_widths), ("widths", widths)):
            if not each or side % 2 ** len(each):
                raise OptionError(
                    f"network: {name} has {len(each)} entries; a side of {side} must be divisible "
                    "by 2 as often, and at least once"
                )
        if any(width % _GROUPS for width in encoder_widths):
            raise OptionError(f"network: encoder_widths must be multiples of {_GROUPS}")
        super().__init__(latent_dim)
        self.config: dict[str, Any] = {
            "side": side,
            "kind": kind,
            "latent_dim": latent_dim,
            "n_conditions": n_conditions,
            "encoder_widths": list(encoder_widths),
            "widths": list(widths),
            "n_hidden": n_hidden,
            "adversarial_weight": adversarial_weight,
        }
        self.side, self.kind = side, kind
        self.is_variational = kind in ("variational", "conditional")
        n_codes = 2 * latent_dim if self.is_variational else latent_dim
        self.encoder = _Encoder(side, n_codes, n_conditions, encoder_widths)
        self.decoder = _Decoder(side, latent_dim + n_conditions, n_hidden, widths)
        self.discriminator = None
        if kind == "adversarial":
            self.discriminator = nn.Sequential(
                nn.Linear(latent_dim, _N_DISCRIMINATOR),
                nn.SiLU(),
                nn.Linear(_N_DISCRIMINATOR, _N_DISCRIMINATOR),
                nn.SiLU(),
                nn.Linear(_N_DISCRIMINATOR, 1),
            )
        self.register_buffer("condition_mean", torch.zeros(n_conditions))
        self.register_buffer("condition_scale", torch.ones(n_conditions))
        self.register_buffer("thresholds", torch.full((len(SCORES),), UNKNOWN))

    def encode(self, images: torch.Tensor, conditions: torch.Tensor | None = None) -> Encoding:
        """Means and log variances of latents, (n, latent_dim); variances are 0 without a prior.

        Parameters
        ----------
        images
            Shape (n, side, side).
        conditions
            Of a conditional network, in their own units, shape (n, n_conditions).

        Raises
        ------
        OptionError
            When a shape is not of these.
        """
        if images.ndim != 3 or images.shape[1:] != (self.side, self.side):
            raise OptionError(
                f"images of shape {tuple(images.shape)}; this network takes "
                f"(n, {self.side}, {self.side})"
            )
        x = torch.asinh(images[:, None] / _SOFTENING).contiguous(memory_format=torch.channels_last)
        codes = self.encoder(x, self._told(conditions, len(images))).float()
        if not self.is_variational:
            return Encoding(codes, torch.full_like(codes, -math.inf))
        mean, log_variance = codes.chunk(2, dim=1)
        return Encoding(mean, log_variance.clamp(*_LOG_VARIANCE))

    def decode(self, latents: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Images without noise, shape (n, side, side), of latents (n, latent_dim)."""
        told = self._told(conditions, len(latents))
        return _UNIT * self.decoder(torch.cat((latents, told), dim=1)).float()

    def reconstruct(
        self, images: torch.Tensor, conditions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Images as the network would have them, without noise, shape (n, side, side)."""
        return self.decode(self.encode(images, conditions).mean, conditions)

    def loss(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        draws: torch.Tensor,
        conditions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What training lowers: per pixel, half the mean squared error in units of the noise.

        Variational networks add the divergence of the latents from their prior, adversarial ones
        what the discriminator is deceived by.

        Parameters
        ----------
        images, noise
            Shape (n, side, side).
        draws
            Unit-normal numbers, shape (n, latent_dim).
        conditions
            Of a conditional network.
        """
        encoding = self.encode(images, conditions)
        latents = encoding.at(draws) if self.is_variational else encoding.mean
        errors = (self.decode(latents, conditions) - images) / noise
        loss = 0.5 * errors.square().mean()
        if self.is_variational:
            return loss + encoding.divergence().sum(1).mean() / self.side**2
        if self.discriminator is not None:
            # With its gradient reversed, what the discriminator learns by the encoder unlearns.
            told = self.discriminator(torch.cat((_Reversed.apply(latents), draws)))[:, 0].float()
            is_prior = torch.cat((torch.zeros(len(latents)), torch.ones(len(draws)))).to(told)
            lie = nn.functional.binary_cross_entropy_with_logits(told, is_prior)
            return loss + self.config["adversarial_weight"] * lie
        return loss

    def scores(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        conditions: torch.Tensor | None = None,
    ) -> AnomalyScores:
        """How strange images are; arguments as of :meth:`loss`."""
        encoding = self.encode(images, conditions)
        found = self.decode(encoding.mean, conditions)
        arcs = found > _ARC
        squares = ((found - images) / noise).square()
        error = (squares * arcs).sum((1, 2)) / arcs.sum((1, 2)).clamp(min=1)
        elbo = torch.full_like(error, math.nan)
        if self.is_variational:
            # The same image has the same score.
            generator = torch.Generator(images.device).manual_seed(0)
            elbo = encoding.divergence().sum(1)
            for _ in range(_N_DRAWS):
                draws = torch.randn(encoding.mean.shape, generator=generator, device=images.device)
                drawn = self.decode(encoding.at(draws), conditions)
                elbo = elbo + 0.5 * ((drawn - images) / noise).square().sum((1, 2)) / _N_DRAWS
        return AnomalyScores(error, elbo / self.side**2, self.distances(encoding.mean))

    def heat_map(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        conditions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Where images are strange: smoothed residuals in units of their noise, (n, side, side)."""
        residual = (images - self.reconstruct(images, conditions)) / noise
        x = torch.arange(-_HEAT_REACH, _HEAT_REACH + 1, device=images.device, dtype=residual.dtype)
        line = torch.exp(-0.5 * (x / _HEAT_WIDTH).square())
        # White noise of unit variance stays so.
        kernel = torch.outer(line, line) / line.square().sum()
        return nn.functional.conv2d(residual[:, None], kernel[None, None], padding="same")[:, 0]

    @torch.no_grad()
    def learn_conditions(self, conditions: torch.Tensor) -> None:
        """Remember mean and scatter of the conditions of training, shape (n, n_conditions)."""
        self.condition_mean.copy_(conditions.mean(0))
        self.condition_scale.copy_(conditions.std(0).clamp(min=1e-3))

    @torch.no_grad()
    def learn_thresholds(self, scores: AnomalyScores) -> None:
        """Remember what one in a hundred ordinary images exceeds."""
        for i, score in enumerate(scores):
            known = bool(torch.isfinite(score).all())
            value = torch.quantile(score, 1.0 - _FALSE_POSITIVES) if known else UNKNOWN
            self.thresholds[i] = value

    def _told(self, conditions: torch.Tensor | None, n: int) -> torch.Tensor:
        expected = (n, self.config["n_conditions"])
        if conditions is None:
            conditions = self.condition_mean.new_zeros((n, 0))
        if tuple(conditions.shape) != expected:
            raise OptionError(
                f"conditions of shape {tuple(conditions.shape)}; this network takes {expected}"
            )
        return (conditions - self.condition_mean) / self.condition_scale


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -gradient


class _Encoder(nn.Module):
    """Strided convolutions, and dense layers from all places and conditions to codes."""

    def __init__(self, side: int, n_codes: int, n_conditions: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1
        for width in widths:
            layers += [
                nn.Conv2d(previous, width, 4, stride=2, padding=1),
                nn.GroupNorm(_GROUPS, width),
                nn.SiLU(),
            ]
            previous = width
        n_places = previous * (side // 2 ** len(widths)) ** 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Sequential(
            nn.Linear(n_places + n_conditions, 2 * previous),
            nn.SiLU(),
            nn.Linear(2 * previous, n_codes),
        )

    def forward(self, x: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        return self.dense(torch.cat((self.convolutions(x), conditions.to(x.dtype)), dim=1))


class _Decoder(nn.Module):
    """Dense layers, and sub-pixel upsampling (Shi et al. 2016, arXiv:1609.05158)."""

    def __init__(self, side: int, n_inputs: int, n_hidden: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.coarse_side = side // 2 ** len(widths)
        self.dense = nn.Sequential(
            nn.Linear(n_inputs, n_hidden),
            nn.SiLU(),
            nn.Linear(n_hidden, n_hidden),
            nn.SiLU(),
            nn.Linear(n_hidden, widths[0] * self.coarse_side**2),
        )
        last = widths[-1] // 2
        self.convolutions = nn.ModuleList(
            # Four channels are the four quarters of a pixel.
            nn.Conv2d(n_in, 4 * n_out, 3, padding=1)
            for n_in, n_out in zip(widths, (*widths[1:], last), strict=True)
        )
        self.last = nn.Conv2d(last, 1, 3, padding=1)
        # It starts with dark images.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Shape (n, side, side), of latents (n, n_inputs)."""
        x = self.dense(latents).unflatten(1, (-1, self.coarse_side, self.coarse_side))
        x = x.contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            x = pixel_shuffle(convolution(silu(x)), 2)
        return self.last(silu(x))[:, 0]
