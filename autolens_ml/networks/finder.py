"""Networks that tell lenses from everything else in cut-outs of a survey.

All take images of shape (n, bands, y, x) in any units, NaN where there are no data, and give logits
of two classes, (no lens, lens). Units and backgrounds differ between surveys, so each network
normalises every image and band by itself before it looks:

- ``"noise"``: the median is subtracted, then arcsinh(z / 3) taken, z being what is left in units of
  1.4826 times its median absolute value, the noise of a field that is mostly empty. Colours and
  brightness stay visible, as signal-to-noise.
- ``"min-max"``: the faintest pixel becomes 0, the brightest 1, as Wilde et al. 2022 did; colours
  are lost.

Pixels without data become 0 either way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.equivariant import (
    DihedralConv,
    DihedralNorm,
    halved,
    invariant,
)

__all__ = ["NORMALISATIONS", "OU66", "OU200", "DihedralFinder", "Finder"]

_SOFTENING = 3.0
_MAD_TO_SIGMA = 1.4826
_LENS = 1  # index of the class
_PIXELS_AT_ONCE, _FEWEST_AT_ONCE = 70_000, 4
# Where the zones end over which features are averaged, in units of half of what is looked at.
_ZONES = (0.3, 0.6, torch.inf)


def _by_noise(images: torch.Tensor) -> torch.Tensor:
    flat = images.flatten(-2)
    middle = flat.nanmedian(-1, keepdim=True).values
    rest = flat - middle
    noise = _MAD_TO_SIGMA * rest.abs().nanmedian(-1, keepdim=True).values
    scaled = rest / (_SOFTENING * noise.clamp(min=torch.finfo(noise.dtype).tiny))
    return torch.asinh(scaled).unflatten(-1, images.shape[-2:])


def _by_extremes(images: torch.Tensor) -> torch.Tensor:
    flat = images.flatten(-2)
    low = flat.nan_to_num(nan=torch.inf).amin(-1, keepdim=True)
    high = flat.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True)
    scaled = (flat - low) / (high - low).clamp(min=torch.finfo(flat.dtype).tiny)
    return scaled.unflatten(-1, images.shape[-2:])


NORMALISATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "noise": _by_noise,
    "min-max": _by_extremes,
}


class Finder(nn.Module, ABC):
    """What networks that find lenses have in common.

    Parameters
    ----------
    n_bands
        Bands of the images.
    side
        Pixels a side.
    normalisation
        A key of ``NORMALISATIONS``.
    config
        The arguments that make this network again.

    Attributes
    ----------
    temperature : Tensor
        What logits are divided by before they become probabilities, a number learned after
        training (Guo et al. 2017, arXiv:1706.04599).

    Raises
    ------
    OptionError
        When ``n_bands`` is not positive, or there is no such normalisation.
    """

    def __init__(self, n_bands: int, side: int, normalisation: str, config: dict[str, Any]) -> None:
        super().__init__()
        if n_bands < 1:
            raise OptionError(f"n_bands must be at least 1, not {n_bands}")
        if normalisation not in NORMALISATIONS:
            raise OptionError(
                f"normalisation {normalisation!r}: choose {' or '.join(NORMALISATIONS)}"
            )
        self.n_bands = n_bands
        self.side = side
        self.config = config
        self._normalisation = normalisation
        self.register_buffer("temperature", torch.ones(()))

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the first layer sees them, single precision.

        Raises
        ------
        OptionError
            When their shape is not (n, n_bands, side, side).
        """
        expected = (self.n_bands, self.side, self.side)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise OptionError(
                f"images of shape {tuple(images.shape)}; this network takes (n, {self.n_bands}, "
                f"{self.side}, {self.side})"
            )
        with torch.autocast(images.device.type, enabled=False):
            scaled = NORMALISATIONS[self._normalisation](images.float())
            scaled = scaled.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        # Convolutions are about twice as fast with channels side by side.
        return scaled.contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, 2)."""
        return self.logits(self.normalised(images)).float()

    @abstractmethod
    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        """Logits of images that are normalised already, shape (n, 2)."""

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Calibrated probabilities of a lens, shape (n,)."""
        pieces = [images]
        if images.device.type == "cpu":
            # What a layer gives should stay in the cache until the next layer wants it.
            pieces = images.split(max(_FEWEST_AT_ONCE, _PIXELS_AT_ONCE // self.side**2))
        logits = torch.cat([self.forward(piece) for piece in pieces])
        return torch.softmax(logits / self.temperature, dim=-1)[:, _LENS]


class _OU(Finder):
    """Convolutions without padding, then two linear layers.

    As in the published code, a layer is a convolution, ReLU, at times a maximum over 2 x 2 pixels,
    and dropout. The maximum is taken before ReLU here, which changes nothing but the time it takes.
    Weights that were published fit: they are called the same.
    """

    def __init__(
        self,
        n_bands: int,
        side: int,
        layers: Sequence[tuple[int, int, bool]],
        n_hidden: int,
        dropout: float,
        normalisation: str,
    ) -> None:
        config = {"n_bands": n_bands, "dropout": dropout, "normalisation": normalisation}
        super().__init__(n_bands, side, normalisation, config)
        stack: list[nn.Module] = []
        previous = n_bands
        for width, size, pooled in layers:
            stack.append(nn.Conv2d(previous, width, size))
            side = side - size + 1
            if pooled:
                stack.append(nn.MaxPool2d(2))
                side //= 2
            stack += [nn.ReLU(), nn.Dropout(dropout)]
            previous = width
        self.layer = nn.Sequential(*stack)
        self.fc_layer = nn.Sequential(
            nn.Linear(previous * side**2, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 2)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        # Images of one band are in both orders of memory: the weights decide, and the maxima are
        # four times as fast with channels side by side.
        self.to(memory_format=torch.channels_last)

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        return self.fc_layer(self.layer(normalised).flatten(1))


class OU66(_OU):
    """The network for images of 66 x 66 pixels of Wilde et al. 2022 (arXiv:2202.12776).

    Nine convolutions of 3 x 3, 203,192 parameters with four bands, 201,842 with one. In the paper
    it is called J, Y, H, JYH or OU-66 by the bands it sees.

    Parameters
    ----------
    n_bands
        Bands of the images.
    dropout
        Share of the activations that are dropped in training.
    normalisation
        A key of ``NORMALISATIONS``; the paper's is ``"min-max"``.

    Raises
    ------
    OptionError
        When there is no such normalisation, or no band.
    """

    def __init__(
        self, n_bands: int = 4, dropout: float = 0.2, normalisation: str = "noise"
    ) -> None:
        layers = [
            *((50, 3, True), (50, 3, False), (50, 3, False), (50, 3, False)),
            *((40, 3, True), (40, 3, False), (40, 3, False), (40, 3, False)),
            (30, 3, True),
        ]
        super().__init__(n_bands, 66, layers, 500, dropout, normalisation)


class OU200(_OU):
    """The network for images of 200 x 200 pixels of Wilde et al. 2022 (arXiv:2202.12776).

    Two convolutions of 5 x 5 and four of 3 x 3, 331,632 parameters with four bands, 327,882 with
    one. In the paper it is called VIS or OU-200 by the bands it sees.

    Parameters
    ----------
    n_bands, dropout, normalisation
        As of :class:`OU66`.

    Raises
    ------
    OptionError
        When there is no such normalisation, or no band.
    """

    def __init__(
        self, n_bands: int = 4, dropout: float = 0.2, normalisation: str = "noise"
    ) -> None:
        layers = [
            *((50, 5, True), (40, 5, True), (30, 3, True), (20, 3, True)),
            *((20, 3, False), (20, 3, False)),
        ]
        super().__init__(n_bands, 200, layers, 350, dropout, normalisation)


class DihedralFinder(Finder):
    """A residual network whose answer does not change when an image is turned or flipped.

    Group convolutions over the eight symmetries of the square (see ``networks.equivariant``).
    Beside each image they see what is left of it when it is turned by 180 degrees and subtracted:
    galaxies and rings are nearly symmetric, arcs are not. Features are averaged over three zones
    around the middle, where a survey found a galaxy.

    Parameters
    ----------
    n_bands
        Bands of the images.
    side
        Pixels a side of the images.
    crop
        Pixels a side of the middle that is looked at; the whole image is normalised. Divisible by
        the stride.
    stride
        1 or 2: pixels between the centres of the kernels of the first layer.
    widths
        Channels of every stage, multiples of 4, not counting orientations; each stage after the
        first halves the resolution.
    n_hidden
        Width of the last layer but one.
    dropout
        Share of its activations that are dropped in training.

    Raises
    ------
    OptionError
        When ``crop``, ``stride`` or a width is not of these, or there is no band.
    """

    def __init__(
        self,
        n_bands: int = 1,
        side: int = 200,
        crop: int = 112,
        stride: int = 2,
        widths: Sequence[int] = (4, 8, 12),
        n_hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        config = {
            "n_bands": n_bands,
            "side": side,
            "crop": crop,
            "stride": stride,
            "widths": list(widths),
            "n_hidden": n_hidden,
            "dropout": dropout,
        }
        super().__init__(n_bands, side, "noise", config)
        if stride not in (1, 2):
            raise OptionError(f"stride must be 1 or 2, not {stride}")
        if not 0 < crop <= side or (side - crop) % 2 or crop % stride:
            raise OptionError(
                f"crop must be up to {side}, even or odd as that is, and a multiple of the stride "
                f"{stride}, not {crop}"
            )
        if not widths or any(width < 4 or width % 4 for width in widths):
            raise OptionError(f"widths must be multiples of 4, not {list(widths)}")
        self.crop = crop
        # Six pixels two apart, or five: symmetric about the middle either way.
        size, padding = (6, 2) if stride == 2 else (5, 2)
        self.stem = DihedralConv(2 * n_bands, widths[0], size, stride, padding, lifting=True)
        self.blocks = nn.ModuleList(
            _DihedralBlock(before, after)
            for before, after in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Sequential(
            nn.Linear(2 * len(_ZONES) * widths[-1], n_hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(n_hidden, 2),
        )

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        first = (self.side - self.crop) // 2
        middle = slice(first, first + self.crop)
        x = normalised[:, :, middle, middle]
        light = torch.sinh(x)
        x = torch.cat((x, torch.asinh(light - torch.rot90(light, 2, (-2, -1)))), dim=1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for i, block in enumerate(self.blocks):
            x = block(halved(x) if i else x)
        x = nn.functional.silu(x)
        return self.head(torch.cat([invariant(x, zone) for zone in _zones(x)], dim=1))


def _zones(x: torch.Tensor) -> list[torch.Tensor]:
    """Weights of the zones around the middle of maps, shape (y, x) each."""
    side = x.shape[-1]
    along = (torch.arange(side, device=x.device) - 0.5 * (side - 1)) / (0.5 * side)
    radius = torch.hypot(along[:, None], along[None, :])
    inside = [
        ((radius >= low) & (radius < high)).to(x.dtype) for low, high in pairwise((0.0, *_ZONES))
    ]
    return [zone / zone.sum().clamp(min=1.0) for zone in inside]


class _DihedralBlock(nn.Module):
    """Two group convolutions beside a skip connection."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm_1 = DihedralNorm(n_in)
        self.conv_1 = DihedralConv(n_in, n_out, 3, padding=1)
        self.norm_2 = DihedralNorm(n_out)
        self.conv_2 = DihedralConv(n_out, n_out, 3, padding=1)
        # A block starts as its skip connection: deep stacks then train from the first step.
        nn.init.zeros_(self.conv_2.weight)
        self.skip = nn.Identity() if n_in == n_out else DihedralConv(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv_1(nn.functional.silu(self.norm_1(x)))
        h = self.conv_2(nn.functional.silu(self.norm_2(h)))
        return self.skip(x) + h
