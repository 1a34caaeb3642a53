"""The convolutions of a network, and where on its images their answers lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.equivariant import DihedralConv
from autolens_ml.networks.finder import Finder

__all__ = ["Layer", "layer_from", "layers_of", "placed"]

# Grad-CAM looks by itself at no coarser maps: the last ones of OU-66 have 4 pixels a side.
_COARSEST = 6


@dataclass(frozen=True)
class Layer:
    """One convolution.

    Attributes
    ----------
    number : int
        From 1, in the order in which they are computed.
    name : str
        Of its module in the network.
    convolution : nn.Module
        Its output is what its kernels answer.
    features : nn.Module
        Its output is what has become of the answers, at the same resolution, before the next
        convolution.
    n_kernels : int
        Kernels; one that is there in eight orientations counts as eight.
    side : int
        Pixels a side of its maps.
    spacing : float
        Pixels of the network's images from one pixel of a map to the next.
    start : float
        Row and column of the image that the first pixel of a map is centred on.
    """

    number: int
    name: str
    convolution: nn.Module
    features: nn.Module
    n_kernels: int
    side: int
    spacing: float
    start: float


class _Geometry(TorchFunctionMode):
    """Follows the middle of the first pixel of maps, and the spacing of pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.spacing = 1.0
        self.start = 0.0
        self._side: int | None = side

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "conv2d":
            if self._side is not None:
                # What is cut off before the first layer is cut off evenly.
                self.start = 0.5 * (self._side - args[0].shape[-1])
                self._side = None
            self._follow(args[1].shape[-1], *_given(args[3:], kwargs, 1))
        elif func in (nn.functional.max_pool2d, nn.functional.avg_pool2d):
            self._follow(args[1], *_given(args[2:], kwargs, args[1]))
        return func(*args, **kwargs)

    def _follow(self, size: int, stride: int, padding: int) -> None:
        self.start += self.spacing * (0.5 * (size - 1) - padding)
        self.spacing *= stride


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any], stride: int) -> tuple[int, int]:
    """Stride and padding of a call, the same along y and x."""
    found = []
    for i, (name, usual) in enumerate((("stride", stride), ("padding", 0))):
        value = args[i] if len(args) > i else kwargs.get(name, usual)
        found.append(value[0] if isinstance(value, tuple) else value)
    return found[0], found[1]


@torch.no_grad()
def layers_of(network: Finder) -> tuple[Layer, ...]:
    """All convolutions of a network, in the order in which they are computed."""
    names = {module: name for name, module in network.named_modules()}
    # Modules that made maps, the shapes of these, and where they lie.
    calls: list[tuple[nn.Module, torch.Size, float, float]] = []

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            calls.append((module, output.shape, geometry.spacing, geometry.start))

    handles = [module.register_forward_hook(record) for module in names if module is not network]
    try:
        with _Geometry(network.side) as geometry:
            network.logits(torch.zeros(1, network.n_bands, network.side, network.side))
    finally:
        for handle in handles:
            handle.remove()
    at = [i for i, call in enumerate(calls) if isinstance(call[0], nn.Conv2d | DihedralConv)]
    layers = []
    for number, (i, following) in enumerate(zip(at, [*at, len(calls)][1:], strict=True), start=1):
        convolution, shape, spacing, start = calls[i]
        features = [module for module, other, *_ in calls[i:following] if other == shape][-1]
        layers.append(
            Layer(
                number,
                names[convolution],
                convolution,
                features,
                n_kernels=shape[1],
                side=shape[-1],
                spacing=spacing,
                start=start,
            )
        )
    return tuple(layers)


def layer_from(network: Finder, number: int | None = None) -> Layer:
    """A convolution by its number, by default the last one whose maps are not too coarse.

    Raises
    ------
    OptionError
        When there is none of this number, or none at all.
    """
    layers = layers_of(network)
    if not layers:
        raise OptionError(f"{type(network).__name__} has no convolution; take occlusion maps")
    if number is None:
        return next((layer for layer in reversed(layers) if layer.side >= _COARSEST), layers[0])
    if not 1 <= number <= len(layers):
        raise OptionError(
            f"no layer {number}; choose one of the {len(layers)} convolutions, from 1"
        )
    return layers[number - 1]


def placed(maps: torch.Tensor, layer: Layer, side: int) -> torch.Tensor:
    """Maps of a layer on the pixels of the network's images.

    Between the centres of two pixels of a map it is interpolated; it falls to zero beyond the
    outermost ones. Stretched over the whole image, as is usual, maps of convolutions without
    padding would be at the wrong place: those of OU-66 end up to 23 pixels before its edge.

    Parameters
    ----------
    maps
        Shape (..., layer.side, layer.side).
    layer
        Whose maps they are.
    side
        Pixels a side of the images.

    Returns
    -------
    Tensor
        Shape (..., side, side).
    """
    centres = layer.start + layer.spacing * torch.arange(layer.side)
    distance = (torch.arange(side)[:, None] - centres).abs() / layer.spacing
    weights = (1.0 - distance).clamp(min=0.0).to(maps.dtype)
    return weights @ maps @ weights.T
