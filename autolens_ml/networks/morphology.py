"""Networks that tell what dark matter is made of from lensed images.

They take images in units of the noise of an empty pixel and, beside them, what the smooth lens
that fits best leaves of each, in units of the noise, both of shape (n, y, x), and give logits of
classes, (n, n_classes). What they see of an image is arcsinh(image / 3): linear where there is
noise, logarithmic where there is light.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.backbones import ResNet
from autolens_ml.networks.equivariant import DihedralConv, halved, invariant
from autolens_ml.networks.finder import _DihedralBlock

__all__ = ["BACKBONES", "MorphologyNetwork"]

_SOFTENING = 3.0
_CHANNELS = ("image", "residual")
# Of ResNet-18 (He et al. 2016); its stem shrinks images four times, as folding 4 x 4 pixels does.
_RESNET_18 = {
    "widths": (64, 128, 256, 512),
    "depths": (2, 2, 2, 2),
    "fold": 4,
    "map_size": 1,
    "pooled_last": True,
    "n_features": 256,
}


class MorphologyNetwork(nn.Module):
    """A classifier of lensed images.

    Parameters
    ----------
    side
        Pixels a side of the images.
    n_classes
        Number of classes.
    backbone
        ``"dihedral"``, group convolutions whose answer does not change when an image is turned or
        flipped; or ``"resnet-18"``, the blocks of ResNet-18 with group normalisation and, as stem,
        one convolution of images folded 4 x 4, which loses no detail where the original's pooling
        does.
    sees
        ``"image"``, ``"residual"``, or both.
    options
        Of the backbone: ``widths``, ``n_hidden`` and ``dropout`` of ``"dihedral"``; arguments of
        :class:`~autolens_ml.networks.backbones.ResNet` that differ from ResNet-18.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    temperature : Tensor
        What logits are divided by before they become probabilities, a number learned after
        training (Guo et al. 2017, arXiv:1706.04599).

    Raises
    ------
    OptionError
        When there is no such backbone, or an option of it is wrong.
    """

    def __init__(
        self,
        side: int = 64,
        n_classes: int = 3,
        backbone: str = "dihedral",
        sees: Sequence[str] = ("image", "residual"),
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "side": side,
            "n_classes": n_classes,
            "backbone": backbone,
            "sees": list(sees),
            "options": dict(options or {}),
        }
        if backbone not in BACKBONES:
            raise OptionError(f"no backbone {backbone!r}: choose {' or '.join(BACKBONES)}")
        if n_classes < 2:
            raise OptionError(f"n_classes must be 2 or more, not {n_classes}")
        if not sees or set(sees) - set(_CHANNELS):
            raise OptionError(f"sees must be of {', '.join(_CHANNELS)}, not {list(sees)}")
        try:
            self.backbone = BACKBONES[backbone](side, len(sees), **self.config["options"])
        except (TypeError, ValueError) as error:
            raise OptionError(f"network: {error}") from error
        self.head = nn.Linear(self.backbone.n_features, n_classes)
        self.side = side
        self.register_buffer("temperature", torch.ones(()))

    @property
    def needs_fit(self) -> bool:
        """Whether it sees residuals of a smooth lens."""
        return "residual" in self.config["sees"]

    def forward(self, images: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, n_classes).

        Raises
        ------
        OptionError
            When shapes are not (n, side, side).
        """
        for given in (images, residuals):
            if given.ndim != 3 or given.shape[1:] != (self.side, self.side):
                raise OptionError(
                    f"images of shape {tuple(given.shape)}; this network takes "
                    f"(n, {self.side}, {self.side})"
                )
        # Linear up to a few sigma, and never so large that one pixel is all that counts.
        seen = {
            "image": torch.asinh(images / _SOFTENING),
            "residual": torch.asinh(residuals / _SOFTENING),
        }
        x = torch.stack([seen[name] for name in self.config["sees"]], dim=1)
        return self.head(self.backbone(x.contiguous(memory_format=torch.channels_last))).float()

    def probabilities(self, images: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        """Calibrated probabilities of the classes, shape (n, n_classes)."""
        return torch.softmax(self.forward(images, residuals) / self.temperature, dim=-1)


class _Dihedral(nn.Module):
    """A residual network of group convolutions, and what of its maps turns do not change."""

    def __init__(
        self,
        side: int,
        n_channels: int,
        widths: Sequence[int] = (4, 8, 16),
        n_hidden: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not widths or any(width < 4 or width % 4 for width in widths):
            raise ValueError(f"widths must be multiples of 4, not {list(widths)}")
        if side % 2 or side < 2 ** (len(widths) + 1):
            raise ValueError(f"side must be even and at least {2 ** (len(widths) + 1)}, not {side}")
        self.n_features = n_hidden
        # Six pixels two apart: symmetric about the middle.
        self.stem = DihedralConv(n_channels, widths[0], 6, stride=2, padding=2, lifting=True)
        self.blocks = nn.ModuleList(
            _DihedralBlock(before, after)
            for before, after in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Sequential(
            nn.Linear(2 * widths[-1], n_hidden), nn.SiLU(), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (n, n_hidden), of images (n, n_channels, y, x)."""
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(halved(x) if i else x)
        x = nn.functional.silu(x)
        everywhere = torch.full(x.shape[-2:], 1.0 / x[0, 0].numel(), dtype=x.dtype, device=x.device)
        return self.head(invariant(x, everywhere))


class _ResNet18(ResNet):
    """ResNet-18 without scalars."""

    def __init__(self, side: int, n_channels: int, **options: Any) -> None:
        options = {**_RESNET_18, **options}
        if side % options["fold"]:
            raise ValueError(f"fold must divide the side of the images, {side}")
        super().__init__(n_channels, 1, **options)
        self.n_features = options["n_features"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x, torch.ones_like(x[:, 0, 0, :1]))


BACKBONES: dict[str, type[nn.Module]] = {"dihedral": _Dihedral, "resnet-18": _ResNet18}
