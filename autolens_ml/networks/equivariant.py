"""Convolutions that know the eight symmetries of the square, as the sky does.

A feature map has, for each channel, eight orientations: what one kernel sees, turned by quarters
and flipped (Cohen & Welling 2016, arXiv:1602.07576, the group p4m). Turn or flip an image, and its
feature maps are turned or flipped and their orientations change places; an average over
orientations and positions does not change at all. Maps have the shape (n, 8 c, y, x), orientations
of one channel side by side.
"""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["ORDER", "DihedralConv", "DihedralNorm", "halved", "invariant"]

ORDER = 8  # orientations: 0 to 3 quarter turns, then the same of a flipped kernel


def _product(g: int, h: int) -> int:
    """One after the other, h first: R^a F^f R^b F^e = R^(a + (-1)^f b) F^(f + e)."""
    flipped = g >= 4
    turns = (g % 4 + (-1 if flipped else 1) * (h % 4)) % 4
    return turns + 4 * ((g >= 4) ^ (h >= 4))


def _inverse(g: int) -> int:
    return next(h for h in range(ORDER) if _product(g, h) == 0)


def _moved(kernel: torch.Tensor, g: int) -> torch.Tensor:
    """A kernel, shape (..., k, k), in orientation g."""
    if g >= 4:
        kernel = torch.flip(kernel, (-1,))
    return torch.rot90(kernel, g % 4, (-2, -1))


class DihedralConv(nn.Module):
    """A convolution whose kernels are there in all eight orientations.

    Parameters
    ----------
    n_in, n_out
        Channels, not counting orientations.
    size
        Side of the kernels.
    stride, padding
        As of ``nn.Conv2d``. The result is exact where the kernel's steps are symmetric about the
        middle of the image: always with a stride of 1; with a stride of 2 for even sizes of kernels
        and images.
    lifting
        Whether the input is an image, of ``n_in`` channels without orientations.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int,
        stride: int = 1,
        padding: int = 0,
        lifting: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        orientations = 1 if lifting else ORDER
        self.weight = nn.Parameter(torch.empty(n_out, n_in, orientations, size, size))
        fan_in = n_in * orientations * size**2
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / fan_in))
        # In orientation g, what a kernel has for orientation h comes from that for g^-1 h.
        order = [[_product(_inverse(g), h) for h in range(ORDER)] for g in range(ORDER)]
        self._order = None if lifting else order

    def kernels(self) -> torch.Tensor:
        """All kernels, as an ordinary convolution takes them."""
        n_out, n_in, orientations, size, _ = self.weight.shape
        turned = []
        for g in range(ORDER):
            weight = self.weight if self._order is None else self.weight[:, :, self._order[g]]
            turned.append(_moved(weight, g))
        stacked = torch.stack(turned, dim=1)
        return stacked.reshape(n_out * ORDER, n_in * orientations, size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps, shape (n, 8 n_out, y, x)."""
        return nn.functional.conv2d(x, self.kernels(), stride=self.stride, padding=self.padding)


class DihedralNorm(nn.Module):
    """Group normalisation with one scale and one shift for all orientations of a channel.

    Parameters
    ----------
    n_channels
        Not counting orientations.
    n_groups
        Divides ``n_channels``.
    """

    def __init__(self, n_channels: int, n_groups: int = 4) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps of the same shape."""
        weight, bias = (p.repeat_interleave(ORDER) for p in (self.weight, self.bias))
        return nn.functional.group_norm(x, self.n_groups, weight, bias)


def halved(x: torch.Tensor) -> torch.Tensor:
    """Maps at half the resolution, averaged so that the middle stays the middle."""
    if x.shape[-1] % 2 == 0:
        return nn.functional.avg_pool2d(x, 2)
    return nn.functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


def invariant(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What of maps does not depend on orientation: shape (n, 2 c).

    The mean over positions and orientations of each channel, and the mean over positions of its
    strongest orientation.

    Parameters
    ----------
    x
        Maps, shape (n, 8 c, y, x).
    weights
        Of the positions, shape (y, x), with the symmetries of the square and a sum of one.
    """
    by_orientation = x.unflatten(1, (-1, ORDER)).flatten(-2)
    flat = weights.flatten()
    mean = by_orientation.mean(2) @ flat
    strongest = by_orientation.amax(2) @ flat
    return torch.cat((mean, strongest), dim=1)
