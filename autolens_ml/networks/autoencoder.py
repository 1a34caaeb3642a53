"""Variational autoencoders of maps that are nowhere negative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, silu

from autolens_ml.exceptions import OptionError

__all__ = ["Autoencoder", "Encoding", "Objective"]

_GROUPS = 8
# Points a side of a pixel at which a disc is inside or outside.
_SUB = 16
_MAX_LATENTS = 32
# Variances of encodings: between e^-12 and e^4 of the prior's.
_LOG_VARIANCE = (-12.0, 4.0)


class Encoding(NamedTuple):
    """A batch of normal distributions of latents.

    Attributes
    ----------
    mean, log_variance : Tensor
        Shape (n, latent_dim).
    """

    mean: torch.Tensor
    log_variance: torch.Tensor

    def at(self, draws: torch.Tensor) -> torch.Tensor:
        """Latents at unit-normal draws, both of shape (n, latent_dim)."""
        return self.mean + (0.5 * self.log_variance).exp() * draws

    def divergence(self) -> torch.Tensor:
        """Kullback-Leibler divergence from N(0, 1) in nats, of each latent, (n, latent_dim)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)


class Objective(NamedTuple):
    """What training lowers, and its parts.

    Attributes
    ----------
    loss : Tensor
        Minus the bound on the evidence of a map, in nats per pixel.
    chi_squared : Tensor
        Mean squared error of reconstructions in units of :meth:`Autoencoder.noise`.
    divergence : Tensor
        Of the latents from their prior, mean over the maps, in nats.
    """

    loss: torch.Tensor
    chi_squared: torch.Tensor
    divergence: torch.Tensor


class Autoencoder(nn.Module):
    """A variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) of square maps.

    It learns the shape of maps: they may come in any unit, and leave with a mean of one in a disc
    around their middle. A decoded map is the exponential of what the last layer gives over its mean
    in that disc, so it is above zero everywhere.

    The decoder is small enough for a likelihood: two dense layers, from which convolutions at low
    resolution make structure that is alike everywhere, by sub-pixel upsampling (Shi et al. 2016,
    arXiv:1609.05158), and one dense layer what belongs to a place, such as the cusp in the middle.

    Parameters
    ----------
    size
        Pixels a side of the maps.
    latent_dim
        Number of latents, at most 32.
    disc_radius
        Radius of the disc in units of half the side of a map.
    floor, relative_noise
        The noise of a pixel, in which errors are measured, is ``floor`` (in units of the mean in
        the disc) and ``relative_noise`` times its value, added in quadrature.
    n_hidden
        Width of the decoder's dense layers.
    widths
        Channels of the decoder before each doubling of the resolution.
    encoder_widths
        Channels of the encoder after each halving of the resolution, multiples of 8.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    latent_mean, latent_root : Tensor
        What the layers call latents is the mean plus the root times what is called so outside.
    n_batches : Tensor
        Batches that it has learned from.

    Raises
    ------
    OptionError
        When an argument is out of its range.
    """

    def __init__(
        self,
        size: int = 64,
        latent_dim: int = 16,
        disc_radius: float = 0.2,
        floor: float = 0.02,
        relative_noise: float = 0.05,
        n_hidden: int = 32,
        widths: Sequence[int] = (12, 8, 4),
        encoder_widths: Sequence[int] = (16, 32, 64, 64),
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "size": size,
            "latent_dim": latent_dim,
            "disc_radius": disc_radius,
            "floor": floor,
            "relative_noise": relative_noise,
            "n_hidden": n_hidden,
            "widths": list(widths),
            "encoder_widths": list(encoder_widths),
        }
        if not 1 <= latent_dim <= _MAX_LATENTS:
            raise OptionError(f"network: latent_dim must be 1 to {_MAX_LATENTS}, not {latent_dim}")
        for name in ("size", "n_hidden"):
            if self.config[name] < 1:
                raise OptionError(f"network: {name} must be above 0, not {self.config[name]}")
        for name in ("floor", "relative_noise"):
            if not 0.0 < self.config[name] < math.inf:
                raise OptionError(f"network: {name} must be above 0, not {self.config[name]}")
        if not 1.0 / size <= disc_radius <= 1.0:
            raise OptionError(
                "network: disc_radius must be at least half a pixel and at most half the side of a "
                f"map, {1.0 / size:g} to 1, not {disc_radius}"
            )
        for name in ("widths", "encoder_widths"):
            if not self.config[name] or size % 2 ** len(self.config[name]):
                raise OptionError(
                    f"network: {name} has {len(self.config[name])} entries; a size of {size} must "
                    "be divisible by 2 as often, and at least once"
                )
        if any(width % _GROUPS for width in encoder_widths):
            raise OptionError(f"network: encoder_widths must be multiples of {_GROUPS}")
        self.encoder = _encoder(size, latent_dim, encoder_widths)
        self.decoder = _Decoder(size, latent_dim, n_hidden, widths)
        self.register_buffer("disc", _disc(size, disc_radius))
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_root", torch.eye(latent_dim))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.long))

    def normalised(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps, shape (n, size, size), over their means in the disc."""
        means = (maps * self.disc).sum((1, 2), keepdim=True) / self.disc.sum()
        return maps / means

    def noise(self, maps: torch.Tensor) -> torch.Tensor:
        """The noise of the pixels of normalised maps, of their shape."""
        relative = self.config["relative_noise"] * maps
        return (self.config["floor"] ** 2 + relative.square()).sqrt()

    def encode(self, maps: torch.Tensor) -> Encoding:
        """The latents of maps in any unit, shape (n, size, size)."""
        shapes = self.normalised(maps)
        # Linear where noise is constant, and then logarithmic.
        channels = torch.asinh(shapes / self.config["floor"])
        mean, log_variance = self.encoder(channels[:, None]).float().chunk(2, dim=1)
        with _single_precision(mean):
            inverse = torch.linalg.inv(self.latent_root)
            variance = log_variance.clamp(*_LOG_VARIANCE).exp() @ inverse.square().T
            return Encoding((mean - self.latent_mean) @ inverse.T, variance.log())

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Maps, shape (n, size, size), with a mean of one in the disc, of latents (n, d)."""
        # Exponentials are taken of what comes out: half precision would be off by per cents.
        with _single_precision(latents):
            logarithms = self.decoder(self.latent_mean + latents.float() @ self.latent_root.T)
        weights = (self.disc / self.disc.sum()).log()
        means = torch.logsumexp((logarithms + weights).flatten(1), dim=1)
        return (logarithms - means[:, None, None]).exp()

    @torch.no_grad()
    def learn_prior(self, encoding: Encoding) -> None:
        """Measure latents such that N(0, 1) is what those of all maps together look like.

        Training brings them near to it; this gives them its mean and its covariance.

        Parameters
        ----------
        encoding
            Of many maps like those of training, more than there are latents.
        """
        mean = encoding.mean.mean(0)
        covariance = torch.cov(encoding.mean.T, correction=0).reshape(2 * (len(mean),))
        covariance = covariance + encoding.log_variance.exp().mean(0).diag()
        root = torch.linalg.cholesky(covariance)
        self.latent_mean += self.latent_root @ mean
        self.latent_root.copy_(self.latent_root @ root)

    def objective(
        self,
        maps: torch.Tensor,
        draws: torch.Tensor,
        beta: float = 1.0,
        free_bits: float = 0.0,
    ) -> Objective:
        """Minus the bound on the evidence, with noise as large as the errors that are made.

        The noise of the bound is :meth:`noise` times the factor that maximises it, the root mean
        square of the errors (Rybkin et al. 2021, arXiv:2006.13202): the weight of the prior then
        needs no tuning.

        Parameters
        ----------
        maps
            In any unit, shape (n, size, size).
        draws
            Unit-normal numbers, shape (n, latent_dim).
        beta
            What the divergence from the prior is multiplied by.
        free_bits
            Nats below which the mean divergence of a latent costs nothing (Kingma et al. 2016,
            arXiv:1606.04934).
        """
        encoding = self.encode(maps)
        truth = self.normalised(maps)
        errors = (self.decode(encoding.at(draws)) - truth) / self.noise(truth)
        chi_squared = errors.square().mean()
        divergences = encoding.divergence().mean(0)
        priced = divergences.clamp(min=free_bits).sum()
        loss = 0.5 * chi_squared.log() + beta * priced / self.config["size"] ** 2
        return Objective(loss, chi_squared.detach(), divergences.sum().detach())


def _single_precision(tensor: torch.Tensor) -> AbstractContextManager:
    """Where mixed precision does not apply."""
    return torch.autocast(tensor.device.type, enabled=False)


def _encoder(size: int, latent_dim: int, widths: Sequence[int]) -> nn.Sequential:
    """Strided convolutions, and a dense layer from all places to means and log variances."""
    layers: list[nn.Module] = []
    previous = 1
    for width in widths:
        layers += [
            nn.Conv2d(previous, width, 4, stride=2, padding=1),
            nn.GroupNorm(_GROUPS, width),
            nn.SiLU(),
        ]
        previous = width
    side = size // 2 ** len(widths)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(previous * side**2, 2 * latent_dim))


class _Decoder(nn.Module):
    """Latents to logarithms of maps; :mod:`autolens_ml.profiles.decoder` evaluates the same."""

    def __init__(self, size: int, latent_dim: int, n_hidden: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.side = size // 2 ** len(widths)
        self.first = nn.Linear(latent_dim, n_hidden)
        self.second = nn.Linear(n_hidden, n_hidden)
        self.coarse = nn.Linear(n_hidden, widths[0] * self.side**2)
        self.fine = nn.Linear(n_hidden, size**2)
        self.convolutions = nn.ModuleList(
            # Four channels are the four quarters of a pixel.
            nn.Conv2d(n_in, 4 * n_out, 3, padding=1)
            for n_in, n_out in zip(widths, (*widths[1:], 1), strict=True)
        )
        # What belongs to a place is learned, not random from the start.
        nn.init.zeros_(self.fine.weight)
        nn.init.zeros_(self.fine.bias)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Shape (n, size, size), of latents (n, latent_dim)."""
        hidden = silu(self.second(silu(self.first(latents))))
        x = self.coarse(hidden).unflatten(1, (-1, self.side, self.side))
        for convolution in self.convolutions:
            x = pixel_shuffle(convolution(silu(x)), 2)
        return x[:, 0] + self.fine(hidden).unflatten(1, (self.size, self.size))


def _disc(size: int, radius: float) -> torch.Tensor:
    """What each pixel adds to the mean in a disc of a map that is bilinear between the pixels.

    In units of a pixel that is well inside; shape (size, size).
    """
    points = (torch.arange(size * _SUB, dtype=torch.float64) + 0.5) / _SUB - 0.5
    from_middle = points - 0.5 * (size - 1)
    inside = from_middle[:, None].square() + from_middle.square() <= (0.5 * size * radius) ** 2
    tents = (1.0 - (points - torch.arange(size)[:, None]).abs()).clamp(min=0.0)
    return (tents @ inside.double() @ tents.T / _SUB**2).float()
