"""Backbones: networks that turn images into features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import OptionError

__all__ = ["FoveatedResNet", "ResNet"]

_GROUPS = 8


class ResNet(nn.Module):
    """A residual network (He et al. 2016, arXiv:1603.05027) for small images.

    Pixels are first folded into channels, which loses no detail and saves most of the cost; a
    coarse map of positions at the end, instead of one average, keeps where things are. Scalars that
    describe an observation, such as the width of its PSF, scale and shift the channels of every
    block (FiLM, Perez et al. 2018, arXiv:1709.07871).

    Parameters
    ----------
    in_channels
        Channels of the images.
    n_scalars
        Scalars that come with every image.
    widths
        Channels of every stage, multiples of 8; each stage after the first halves the resolution.
    depths
        Residual blocks of every stage.
    n_features
        Length of the output.
    fold
        Side of the squares of pixels that are folded into channels; divides the sides of images.
    map_size
        Side of the map of positions that the last stage is averaged to.
    pooled_last
        Whether averages are taken as in the original, of what is activated. Otherwise they are
        taken before, and normalised: how much there is of something all over an image is then all
        but lost, which classifiers with a ``map_size`` of 1 live on.

    Raises
    ------
    ValueError
        When widths and depths do not belong together, or a width is no multiple of 8.
    """

    def __init__(
        self,
        in_channels: int,
        n_scalars: int,
        widths: Sequence[int] = (32, 64, 128, 192),
        depths: Sequence[int] = (1, 1, 1, 1),
        n_features: int = 256,
        fold: int = 2,
        map_size: int = 4,
        pooled_last: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"{len(widths)} widths for {len(depths)} depths: give one of each")
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(in_channels * fold**2, widths[0], 3, padding=1),
        )
        self.blocks = nn.ModuleList()
        previous = widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            self.blocks.append(_Block(previous, width, n_scalars, stride=1 if i == 0 else 2))
            self.blocks.extend(_Block(width, width, n_scalars) for _ in range(depth - 1))
            previous = width
        pool = nn.AdaptiveAvgPool2d(map_size)
        activation = (nn.GroupNorm(_GROUPS, previous), nn.SiLU())
        self.pool: nn.Module = nn.Sequential(*activation, pool) if pooled_last else pool
        self.head = nn.Sequential(
            *(() if pooled_last else activation),
            nn.Flatten(),
            nn.Linear(previous * map_size**2, n_features),
            nn.SiLU(),
        )

    def forward(self, images: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        """Features, shape (n, n_features), of images (n, c, y, x) and scalars (n, n_scalars)."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, scalars)
        return self.head(self.pool(x))


class FoveatedResNet(ResNet):
    """A residual network that looks at the middle of an image a second time, and closer.

    A second network sees the middle alone, folded less. Its features are added to those of the
    first and start at zero: with the weights of a network without it, it begins as that one.

    Parameters
    ----------
    in_channels, n_scalars, n_features, **options
        As of :class:`ResNet`.
    fovea
        ``size``, the pixels a side of the middle, and options of its network; by default there is
        none.

    Raises
    ------
    ValueError
        When the fovea is no mapping, its size is missing or no multiple of its ``fold``, or an
        option is wrong.
    """

    def __init__(
        self,
        in_channels: int,
        n_scalars: int,
        n_features: int = 256,
        fovea: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, n_scalars, n_features=n_features, **options)
        self.fovea: ResNet | None = None
        if fovea is not None:
            if not isinstance(fovea, Mapping):
                raise ValueError(f"a fovea must have a size and options, not be {fovea!r}")
            inner = dict(fovea)
            self.fovea_size = inner.pop("size", None)
            fold = inner.setdefault("fold", 2)
            if (
                not isinstance(self.fovea_size, int)
                or self.fovea_size < 1
                or self.fovea_size % fold
            ):
                raise ValueError(
                    f"the size of a fovea must be a multiple of its fold, {fold}, not "
                    f"{self.fovea_size}"
                )
            self.fovea = ResNet(in_channels, n_scalars, n_features=n_features, **inner)
            last = self.fovea.head[-2]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, images: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        """Features, shape (n, n_features), of images (n, c, y, x) and scalars (n, n_scalars).

        Raises
        ------
        OptionError
            If the images are smaller than the fovea.
        """
        features = super().forward(images, scalars)
        if self.fovea is None:
            return features
        margins = [(side - self.fovea_size) // 2 for side in images.shape[-2:]]
        if min(margins) < 0:
            raise OptionError(
                f"network: a fovea of {self.fovea_size} pixels is larger than images of "
                f"{tuple(images.shape[-2:])}"
            )
        middle = images[..., *(slice(m, m + self.fovea_size) for m in margins)]
        return features + self.fovea(middle, scalars)


class _Block(nn.Module):
    """Two convolutions beside a skip connection, conditioned on scalars."""

    def __init__(self, n_in: int, n_out: int, n_scalars: int, stride: int = 1) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(_GROUPS, n_in)
        self.conv_1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm_2 = nn.GroupNorm(_GROUPS, n_out, affine=False)
        self.film = nn.Linear(n_scalars, 2 * n_out)
        self.conv_2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        # A block starts as the identity: deep stacks then train from the first step.
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.skip = nn.Sequential(
                # Rounding up, as the strided convolution does with odd numbers of pixels.
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(n_in, n_out, 1, bias=False),
            )

    def forward(self, x: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        h = self.conv_1(nn.functional.silu(self.norm_1(x)))
        scale, shift = self.film(scalars)[:, :, None, None].chunk(2, dim=1)
        h = self.norm_2(h) * (1.0 + scale) + shift
        return self.skip(x) + self.conv_2(nn.functional.silu(h))
