"""Networks for weak lensing: ellipticities of galaxies, freed of their PSF, from stamps.

Row 0 of a stamp is +y. Ellipticities are (a - b) / (a + b), first the component along x, then that
along the diagonal x = y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.backbones import ResNet
from autolens_ml.networks.equivariant import ORDER, DihedralConv

__all__ = ["ShearNetwork", "StampRegressor", "brightness_from", "noise_from", "psf_moments"]

# Width [px] of the frame of a stamp that its noise is measured in.
_FRAME = 3
# A stamp without noise is taken for one whose brightest pixel is this many sigma.
_BRIGHTEST = 500.0
_MAD_TO_SIGMA = 1.4826
# Side [px] of the middle of the PSF that is looked at, and of its Gaussian weight (1 sigma).
_PSF_SIZE = 32
_PSF_WEIGHT = 2.0
_N_CENTRINGS = 4
# What the polynomials of the calibration are scaled to: log odds [v : prior - v], log brightness.
_LOG_ODDS = (-6.0, 2.0)
_LOG_BRIGHTNESS = (1.0, 6.0)
_N_TERMS = 6
# Gaussian that brightness is measured in [px], 1 sigma.
_APERTURE = 4.0


def noise_from(stamps: torch.Tensor) -> torch.Tensor:
    """RMS noise of stamps (n, y, x) from their frames, by the median deviation, shape (n,)."""
    inner = torch.zeros(stamps.shape[-2:], dtype=torch.bool, device=stamps.device)
    inner[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    frame = stamps[:, ~inner]
    deviation = (frame - frame.median(dim=1, keepdim=True).values).abs()
    measured = _MAD_TO_SIGMA * deviation.median(dim=1).values
    return torch.maximum(measured, stamps.abs().amax(dim=(1, 2)) / _BRIGHTEST)


def brightness_from(stamps: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise of the light in a round Gaussian in the middle of stamps, shape (n,)."""
    y, x = (
        torch.arange(side, device=stamps.device) - 0.5 * (side - 1) for side in stamps.shape[-2:]
    )
    weight = torch.exp(-0.5 * (y[:, None] ** 2 + x**2) / _APERTURE**2)
    light = (stamps * (weight / torch.linalg.vector_norm(weight))).sum((1, 2))
    return light / noise_from(stamps)


def psf_moments(psfs: torch.Tensor) -> torch.Tensor:
    """Ellipticities of PSFs (n, y, x) by moments in a round Gaussian about them, shape (n, 2)."""
    psfs = _middle(psfs)
    side = torch.arange(_PSF_SIZE, device=psfs.device) - 0.5 * (_PSF_SIZE - 1)
    column = row = psfs.new_zeros(len(psfs), 1, 1)
    for _ in range(_N_CENTRINGS):
        x, y = side - column, -side[:, None] - row
        light = psfs * torch.exp(-0.5 * (x**2 + y**2) / _PSF_WEIGHT**2)
        total = light.sum((1, 2), keepdim=True)
        column = column + (light * x).sum((1, 2), keepdim=True) / total
        row = row + (light * y).sum((1, 2), keepdim=True) / total
    trace = (light * (x**2 + y**2)).sum((1, 2))
    parts = ((light * (x**2 - y**2)).sum((1, 2)), (light * 2.0 * x * y).sum((1, 2)))
    return torch.stack(parts, -1) / trace[:, None]


class ShearNetwork(nn.Module):
    r"""Ellipticities of galaxies before their PSF, with errors, and calibrated estimates of shear.

    One branch sees the galaxy, one its PSF; every layer is equivariant under the flips and quarter
    turns of a square (Cohen & Welling 2016, arXiv:1602.07576): what turns with galaxy and PSF turns
    with the answer, so that galaxies without preferred direction have none here.

    The answer is the mean of the posterior of the ellipticity after shear, and its variance. A mean
    shrinks: with a prior variance :math:`\sigma_\epsilon^2` and a posterior variance v its response
    to shear is about :math:`\rho = 1 - v / \sigma_\epsilon^2`. So :math:`\hat\epsilon / \rho` is an
    estimate of shear, and :math:`\rho / \sigma_\epsilon^2` the weight it deserves. How far this is
    from the true response, and how much of the PSF's ellipticity is left, is measured on sheared
    simulations and kept in the buffers ``response`` and ``leakage``, which :meth:`shears` applies.

    Parameters
    ----------
    prior_variance
        Of one component of the ellipticity after shear, in training.
    size
        Pixels a side of galaxies, a multiple of 8; PSFs may have others.
    widths
        Orbits of 8 channels in each of the four layers that see galaxies.
    psf_widths
        In each of the four layers that see PSFs.
    n_hidden
        In the two layers that join them.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    response, leakage : Tensor
        Coefficients of the calibration for :meth:`terms`, shape (n_terms, 2).
    noise_scale : Tensor
        What the errors of shears are multiplied with.

    Raises
    ------
    OptionError
        When an argument is out of its range.
    """

    def __init__(
        self,
        prior_variance: float,
        size: int = 48,
        widths: Sequence[int] = (4, 8, 8, 12),
        psf_widths: Sequence[int] = (2, 4, 4, 4),
        n_hidden: int = 12,
    ) -> None:
        super().__init__()
        self.config = {
            "prior_variance": float(prior_variance),
            "size": size,
            "widths": list(widths),
            "psf_widths": list(psf_widths),
            "n_hidden": n_hidden,
        }
        if size < 16 or size % 8:
            raise OptionError(f"network: size must be a multiple of 8 from 16, not {size}")
        if not prior_variance > 0.0:
            raise OptionError(f"network: prior_variance must be above 0, not {prior_variance}")
        if len(widths) != 4 or len(psf_widths) != 4 or min(*widths, *psf_widths, n_hidden) < 1:
            raise OptionError("network: widths and psf_widths must be four numbers above 0 each")
        a, b, c, d = widths
        p, q, r, s = psf_widths
        # Even kernels halve even numbers of pixels symmetrically.
        self.galaxy = nn.Sequential(
            _Layer(2, a, 4, stride=2, padding=1, lifting=True),
            _Layer(a, b, 4, stride=2, padding=1),
        )
        self.psf = nn.Sequential(
            _Layer(2, p, 4, stride=2, padding=1, lifting=True),
            _Layer(p, q, 4, stride=2, padding=1),
            _Layer(q, r, 4, stride=2, padding=1),
            _Layer(r, s, _PSF_SIZE // 8),
        )
        self.both = nn.Sequential(
            _Layer(b + s, c, 3, padding=1),
            _Layer(c, d, 4, stride=2, padding=1),
            _Layer(d, n_hidden, size // 8),
        )
        self.join = _Layer(n_hidden + s, n_hidden, 1)
        self.readout = nn.Parameter(torch.randn(3, n_hidden) / (ORDER * n_hidden) ** 0.5)
        self.level = nn.Parameter(torch.zeros(()))
        # Orientations 0 to 3 are quarter turns, 4 to 7 the same of what is flipped.
        elements = torch.arange(ORDER)
        quarter, flip = 1.0 - 2.0 * (elements % 2), 1.0 - 2.0 * (elements // 4)
        # What each element does to the two components, and to what has no direction.
        signs = torch.stack((quarter, quarter * flip, torch.ones(ORDER)))
        self.register_buffer("signs", signs, persistent=False)
        # The pixels' grid treats the two components differently.
        self.register_buffer("response", torch.zeros(_N_TERMS, 2))
        self.register_buffer("leakage", torch.zeros(_N_TERMS, 2))
        self.register_buffer("noise_scale", torch.ones(()))

    def forward(
        self, stamps: torch.Tensor, psfs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and log odds of the variances of the ellipticities.

        Parameters
        ----------
        stamps
            Galaxies, their background subtracted, in any units, shape (n, size, size).
        psfs
            Their PSFs on the same pixels, anywhere within a pixel of the middle, shape (n, y, x).

        Returns
        -------
        tuple of Tensor
            Shape (n, 2); and ln(v / (prior variance - v)), v the variance of either component,
            shape (n,).
        """
        psf = self.psf(_psf_channels(psfs))
        galaxy = self.galaxy(_galaxy_channels(stamps))
        spread = psf.expand(-1, -1, *galaxy.shape[-2:])
        both = self.both(torch.cat((galaxy, spread), 1))
        orbits = self.join(torch.cat((both, psf), 1)).float().unflatten(1, (-1, ORDER))
        with torch.autocast(stamps.device.type, enabled=False):
            # An orbit gives each answer by one sum alone: any other would break the symmetry.
            sums = torch.einsum("ncg,kg,kc->nk", orbits[..., 0, 0], self.signs, self.readout)
        return sums[:, :2], sums[:, 2] + self.level

    def log_variance(self, log_odds: torch.Tensor) -> torch.Tensor:
        """Log variances of the ellipticities."""
        return functional.logsigmoid(log_odds) + math.log(self.config["prior_variance"])

    def response_of(self, log_odds: torch.Tensor) -> torch.Tensor:
        """How means should respond to shear: the share of the prior variance that is explained."""
        return torch.sigmoid(-log_odds.clamp(*_LOG_ODDS))

    def terms(self, stamps: torch.Tensor, log_odds: torch.Tensor) -> torch.Tensor:
        """Polynomials of the calibration, shape (n, n_terms): of log odds and log brightness."""
        brightness = brightness_from(stamps).clamp(min=1.0).log()
        x, y = _scaled(log_odds, *_LOG_ODDS), _scaled(brightness, *_LOG_BRIGHTNESS)
        return torch.stack((torch.ones_like(x), x, y, x**2, x * y, y**2), -1)

    @torch.no_grad()
    def shears(self, stamps: torch.Tensor, psfs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An estimate of the shear from each galaxy, with its error.

        Means of many, weighted by the inverse squares of the errors, are unbiased for galaxies like
        those of the calibration; no single one means much.

        Parameters
        ----------
        stamps, psfs
            As for :meth:`forward`.

        Returns
        -------
        tuple of Tensor
            Reduced shears (g_1, g_2), shape (n, 2), and the standard deviation of either component
            from intrinsic shapes and noise, shape (n,).
        """
        mean, log_odds = self(stamps, psfs)
        rho = self.response_of(log_odds)
        terms = self.terms(stamps, log_odds)
        corrected = mean * (1.0 + terms @ self.response)
        leaked = psf_moments(psfs) * (terms @ self.leakage)
        error = self.noise_scale * (self.config["prior_variance"] / rho).sqrt()
        return (corrected - leaked) / rho[:, None], error


class StampRegressor(nn.Module):
    """Numbers that belong to stamps, regressed: what LensNet does.

    Trained on shears it answers with the mean of their posterior, which for one galaxy is near
    zero: it is here to be compared with.

    Parameters
    ----------
    classes
        Names of the numbers.
    low, high
        Their smallest and largest values in training: these are 0 and 1 inside.
    size
        Pixels (y, x) of a stamp, multiples of ``fold``.
    in_channels
        1, or 3 for images in colour.
    backbone_options
        Of :class:`~autolens_ml.networks.backbones.ResNet`.

    Attributes
    ----------
    config : dict
        The arguments.

    Raises
    ------
    OptionError
        When an argument is out of its range.
    """

    def __init__(
        self,
        classes: Sequence[str],
        low: Sequence[float],
        high: Sequence[float],
        size: Sequence[int] = (48, 48),
        in_channels: int = 1,
        backbone_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        options = {**_REGRESSOR, **(backbone_options or {})}
        self.config = {
            "classes": list(classes),
            "low": [float(value) for value in low],
            "high": [float(value) for value in high],
            "size": list(size),
            "in_channels": in_channels,
            "backbone_options": options,
        }
        try:
            self.backbone = ResNet(in_channels, 1, **options)
        except (TypeError, ValueError, RuntimeError) as error:  # as Python and torch refuse them
            raise OptionError(f"network: {str(error).splitlines()[0]}") from error
        if any(side % options["fold"] for side in size):
            raise OptionError(
                f"network: fold {options['fold']} must divide both sides of {list(size)}"
            )
        self.head = nn.Linear(options["n_features"], len(self.config["classes"]))
        low_high = torch.tensor([self.config["low"], self.config["high"]])
        self.register_buffer("limits", low_high, persistent=False)

    def scaled(self, values: torch.Tensor) -> torch.Tensor:
        """Values as the network answers them, 0 to 1 in training, shape (n, n_classes)."""
        low, high = self.limits
        return (values - low) / (high - low)

    def raw(self, stamps: torch.Tensor) -> torch.Tensor:
        """Scaled answers, shape (n, n_classes), for stamps (n, y, x) or (n, channels, y, x)."""
        channels = stamps.unflatten(0, (-1, 1)) if stamps.ndim == 3 else stamps
        noise = noise_from(channels.mean(1))
        inputs = torch.asinh(channels / noise[:, None, None, None])
        brightness = inputs.amax(dim=(1, 2, 3))[:, None]
        return self.head(self.backbone(inputs, brightness))

    def forward(self, stamps: torch.Tensor) -> torch.Tensor:
        """The numbers, in their own units; arguments as for :meth:`raw`."""
        low, high = self.limits
        return low + (high - low) * self.raw(stamps)


_REGRESSOR: dict[str, Any] = {
    "widths": (16, 32, 64),
    "depths": (1, 1, 1),
    "n_features": 64,
    "fold": 2,
    "map_size": 3,
}


class _Layer(nn.Module):
    """An equivariant convolution with one shift for all orientations of a channel, and SiLU."""

    def __init__(self, n_in: int, n_out: int, size: int, **options: Any) -> None:
        super().__init__()
        self.convolution = DihedralConv(n_in, n_out, size, **options)
        self.shift = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shift = self.shift.repeat_interleave(ORDER)[:, None, None]
        return functional.silu(self.convolution(x) + shift)


def _galaxy_channels(stamps: torch.Tensor) -> torch.Tensor:
    """What the network sees of galaxies: their signal-to-noise and their shape."""
    noise = noise_from(stamps)[:, None, None]
    norm = torch.linalg.vector_norm(stamps, dim=(1, 2), keepdim=True)
    return torch.stack((torch.asinh(stamps / noise), 8.0 * stamps / norm), 1)


def _psf_channels(psfs: torch.Tensor) -> torch.Tensor:
    """What the network sees of PSFs: their core and their wings."""
    psfs = _middle(psfs)
    peak = psfs.amax(dim=(1, 2), keepdim=True)
    return torch.stack((psfs / peak, 0.2 * torch.asinh(100.0 * psfs / peak)), 1)


def _scaled(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Values from -1 to 1, those beyond at the ends."""
    return ((2.0 * values - high - low) / (high - low)).clamp(-1.0, 1.0)


def _middle(psfs: torch.Tensor) -> torch.Tensor:
    """The middle of PSFs, or, of small ones, the PSF in the middle of nothing."""
    spare = [_PSF_SIZE - side for side in psfs.shape[-2:]]
    (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in spare)
    return functional.pad(psfs, (left, right, top, bottom))
