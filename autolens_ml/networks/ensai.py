"""The eleven networks of Hezaveh et al. 2017 (arXiv:1708.08842), by name and at any width.

They take an image of 192 pixels a side to numbers: the five parameters of a lens, or what another
head makes of the features before their last linear layer. At full width and size each has the
layers of Ensai, the code that came with the paper. Six things of it are left out, for they did
nothing or did harm: a spatial transformer that was never connected and whose trunk narrows to five
numbers; residual tails of the blocks of network 1 that stand after their ``return``; the three
copies of the one channel that Inception-v4 was given; its batch normalisation frozen at its initial
statistics; weights of a standard deviation of 0.005 before the last layers of 5 and 9, too small
for slim networks (all weights start after He et al. 2015, arXiv:1502.01852); and the guess that
masked pixels are those of exactly zero, for :func:`subtract_background` is given the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from autolens_ml.exceptions import OptionError

__all__ = [
    "ALIASES",
    "ENSAI",
    "SLIM_WIDTHS",
    "Dropout",
    "EnsaiNetwork",
    "ensai_network",
    "sampled_dropout",
    "subtract_background",
]

# Of the batch normalisation of Inception-v4.
_EPSILON = 1e-3
# Side of the windows whose lowest mean is the background of an image.
_WINDOW = 4

_DROPOUT_LAYERS = ("all", "dense")

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "linear": nn.Identity}

_Shape = tuple[int, int, int]


@dataclass(frozen=True)
class _Options:
    width: float
    n_outputs: int
    dropout: float
    dropout_layers: str

    def channels(self, full: int | None) -> int:
        """Channels of a layer that has ``full`` at a width of one; ``None``: one per output."""
        return self.n_outputs if full is None else max(1, round(full * self.width))

    def dropouts(self, dense: bool) -> list[nn.Module]:
        """What stands before a layer with weights, which is dense or a convolution."""
        wanted = self.dropout > 0.0 and (dense or self.dropout_layers == "all")
        return [Dropout(self.dropout)] if wanted else []


class _Layer(Protocol):
    """A row of a table: makes modules that take maps of a shape (c, y, x), and says what shape."""

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]: ...


@dataclass(frozen=True)
class Conv:
    """A convolution; "same" pads as TensorFlow does, the odd pixel below and to the right."""

    channels: int | None
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: str = "same"
    activation: str = "relu"
    norm: bool = False

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        channels = options.channels(self.channels)
        kernel = _pair(self.kernel)
        (top, bottom, rows), (left, right, columns) = (
            _fitted(size, k, self.stride, self.padding)
            for size, k in zip(shape[1:], kernel, strict=True)
        )
        modules = options.dropouts(dense=False)
        padding = (top, left)
        if padding != (bottom, right):
            modules.append(nn.ZeroPad2d((left, right, top, bottom)))
            padding = (0, 0)
        conv = nn.Conv2d(shape[0], channels, kernel, self.stride, padding, bias=not self.norm)
        modules.append(_initialised(conv, self.activation))
        if self.norm:
            modules.append(nn.BatchNorm2d(channels, eps=_EPSILON))
        if self.activation != "linear":
            modules.append(_ACTIVATIONS[self.activation]())
        return modules, (channels, rows, columns)


@dataclass(frozen=True)
class Pool:
    """The largest value of every second window."""

    kernel: int

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        rows, columns = (_fitted(size, self.kernel, 2, "valid")[-1] for size in shape[1:])
        return [nn.MaxPool2d(self.kernel, 2)], (shape[0], rows, columns)


@dataclass(frozen=True)
class Mean:
    """The mean of the neighbourhood of every pixel, as far as it lies inside the map."""

    kernel: int

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        padding = self.kernel // 2
        return [nn.AvgPool2d(self.kernel, 1, padding, count_include_pad=False)], shape


@dataclass(frozen=True)
class GlobalMean:
    """The mean of every channel."""

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        return [nn.AdaptiveAvgPool2d(1)], (shape[0], 1, 1)


@dataclass(frozen=True)
class Dense:
    """A linear layer over all that a map holds."""

    units: int
    activation: str = "relu"

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        units = options.channels(self.units)
        linear = _initialised(nn.Linear(math.prod(shape), units), self.activation)
        modules = [
            *options.dropouts(dense=True),
            nn.Flatten(),
            linear,
            _ACTIVATIONS[self.activation](),
        ]
        return modules, (units, 1, 1)


@dataclass(frozen=True)
class Branches:
    """Stacks of layers side by side, their channels joined."""

    stacks: tuple[tuple[_Layer, ...], ...]

    def built(self, shape: _Shape, options: _Options) -> tuple[list[nn.Module], _Shape]:
        modules, shapes = zip(*(_stack(s, shape, options) for s in self.stacks), strict=True)
        return [_Joined(modules)], (sum(c for c, *_ in shapes), *shapes[0][1:])


class _Joined(nn.Module):
    def __init__(self, branches: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _stack(
    layers: tuple[_Layer, ...], shape: _Shape, options: _Options
) -> tuple[nn.Sequential, _Shape]:
    modules: list[nn.Module] = []
    for layer in layers:
        built, shape = layer.built(shape, options)
        modules += built
    return nn.Sequential(*modules), shape


def _pair(kernel: int | tuple[int, int]) -> tuple[int, int]:
    return kernel if isinstance(kernel, tuple) else (kernel, kernel)


def _fitted(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Padding before and after, and the size that is left, along one axis."""
    if padding == "valid":
        if size < kernel:
            raise OptionError(f"image_size is too small: a kernel of {kernel} meets {size} pixels")
        return 0, 0, (size - kernel) // stride + 1
    left = -(-size // stride)
    total = max((left - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, left


def _initialised(layer: nn.Conv2d | nn.Linear, activation: str) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, nonlinearity=activation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _linear(channels: int | None, kernel: int) -> Conv:
    return Conv(channels, kernel, activation="linear")


# Network 1: blocks of four branches (Szegedy et al. 2015).
_BLOCK = Branches(
    (
        (Conv(32, 1),),
        (Conv(16, 1), Conv(16, 3)),
        (Conv(32, 1), Conv(32, 3), Conv(32, 5), Conv(32, 10)),
        (Conv(32, 1),),
    )
)


# Inception-v4: figures 3 to 9 of Szegedy et al. 2016, arXiv:1602.07261.
def _inception(channels: int, kernel: int | tuple[int, int], stride: int = 1) -> Conv:
    padding = "same" if stride == 1 else "valid"
    return Conv(channels, kernel, stride, padding, norm=True)


def _unpadded(channels: int) -> Conv:
    return Conv(channels, 3, padding="valid", norm=True)


_STEM = (
    _inception(32, 3, stride=2),
    _unpadded(32),
    _inception(64, 3),
    Branches(((Pool(3),), (_inception(96, 3, stride=2),))),
    Branches(
        (
            (_inception(64, 1), _unpadded(96)),
            (_inception(64, 1), _inception(64, (1, 7)), _inception(64, (7, 1)), _unpadded(96)),
        )
    ),
    Branches(((_inception(192, 3, stride=2),), (Pool(3),))),
)
_INCEPTION_A = Branches(
    (
        (_inception(96, 1),),
        (_inception(64, 1), _inception(96, 3)),
        (_inception(64, 1), _inception(96, 3), _inception(96, 3)),
        (Mean(3), _inception(96, 1)),
    )
)
_REDUCTION_A = Branches(
    (
        (_inception(384, 3, stride=2),),
        (_inception(192, 1), _inception(224, 3), _inception(256, 3, stride=2)),
        (Pool(3),),
    )
)
_INCEPTION_B = Branches(
    (
        (_inception(384, 1),),
        (_inception(192, 1), _inception(224, (1, 7)), _inception(256, (7, 1))),
        (
            _inception(192, 1),
            _inception(192, (7, 1)),
            _inception(224, (1, 7)),
            _inception(224, (7, 1)),
            _inception(256, (1, 7)),
        ),
        (Mean(3), _inception(128, 1)),
    )
)
_REDUCTION_B = Branches(
    (
        (_inception(192, 1), _inception(192, 3, stride=2)),
        (
            _inception(256, 1),
            _inception(256, (1, 7)),
            _inception(320, (7, 1)),
            _inception(320, 3, stride=2),
        ),
        (Pool(3),),
    )
)
_SPLIT = Branches(((_inception(256, (1, 3)),), (_inception(256, (3, 1)),)))
_INCEPTION_C = Branches(
    (
        (_inception(256, 1),),
        (_inception(384, 1), _SPLIT),
        (_inception(384, 1), _inception(448, (3, 1)), _inception(512, (1, 3)), _SPLIT),
        (Mean(3), _inception(256, 1)),
    )
)

# All layers but the last linear one, which takes the features to the outputs.
ENSAI: dict[str, tuple[_Layer, ...]] = {
    "ensai-1": (_BLOCK, _BLOCK, Pool(3), _BLOCK, _BLOCK, Pool(3), Dense(124)),
    "ensai-2": (
        *(Conv(16, 3), Conv(16, 3), Pool(3)),
        *(Conv(32, 3), Conv(32, 1), Pool(3)),
        *(Conv(32, 5, 2), Conv(32, 5, 2), Conv(32, 1), Conv(32, 5, 2)),
        Dense(124),
    ),
    "ensai-3": (
        *(_linear(16, 3), _linear(16, 1), _linear(16, 5), Conv(16, 1)),
        *(Conv(16, 10, 2), Conv(16, 1), Conv(16, 10, 2), Conv(16, 1)),
        *(Conv(32, 10, 2), Conv(32, 1), Conv(64, 3, 2), Conv(64, 1)),
        Dense(124),
    ),
    "ensai-4": (
        *(_linear(16, 3), _linear(16, 1), _linear(16, 5), Conv(16, 1)),
        *(Conv(16, 20, 2), Conv(16, 1)),
        *(Dense(32), Dense(16)),
    ),
    # OverFeat (Sermanet et al. 2013, arXiv:1312.6229): its outputs at nine positions are combined.
    "ensai-5": (
        *(Conv(64, 11, 4, "valid"), Pool(2), Conv(256, 5, padding="valid"), Pool(2)),
        *(Conv(512, 3), Conv(1024, 3), Conv(1024, 3), Pool(2)),
        *(Conv(3072, 2, padding="valid"), Conv(4096, 1), _linear(None, 1)),
    ),
    "ensai-6": (
        *(Conv(8, 3), Pool(3), Conv(8, 5), Pool(3), Conv(16, 5), Pool(2)),
        *(Conv(16, 3), Pool(3), Conv(16, 3), Pool(2)),
        Dense(128),
    ),
    "ensai-7": (Dense(128), Dense(64)),
    "ensai-8": (
        *(_linear(32, 3), _linear(32, 1), _linear(32, 5), Conv(32, 1)),
        *(Conv(32, 10, 2), Conv(32, 1), Conv(32, 10), Conv(32, 1)),
        *(Conv(64, 10, 2), Conv(64, 1), Conv(64, 10), Conv(64, 1)),
        *(Conv(128, 10, 2), Conv(128, 1), Conv(256, 3), Conv(256, 1)),
        Dense(512),
    ),
    # AlexNet (Krizhevsky 2014, arXiv:1404.5997).
    "ensai-9": (
        *(Conv(64, 11, 4, "valid"), Pool(3), Conv(192, 5), Pool(3)),
        *(Conv(384, 3), Conv(384, 3), Conv(256, 3), Pool(3)),
        *(Conv(4096, 4, padding="valid"), Conv(4096, 1)),
    ),
    "ensai-10": (
        *(Conv(64, 2), Pool(2), Conv(64, 2), Pool(2), Conv(64, 2), Pool(2)),
        *(Conv(128, 3), Pool(2), Conv(128, 3), Pool(2), Conv(256, 3)),
        *(Dense(1024, "tanh"), Dense(128, "tanh")),
    ),
    "ensai-11": (
        *_STEM,
        *(_INCEPTION_A,) * 4,
        _REDUCTION_A,
        *(_INCEPTION_B,) * 7,
        _REDUCTION_B,
        *(_INCEPTION_C,) * 3,
        GlobalMean(),
    ),
}

ALIASES = {
    "overfeat": "ensai-5",
    "ensai8": "ensai-8",
    "alexnet": "ensai-9",
    "inception-v4": "ensai-11",
}

# Of the four networks that Ensai combines: about 0.7 million numbers, 1.4 MB in half precision.
SLIM_WIDTHS = {"ensai-5": 0.13, "ensai-8": 0.095, "ensai-9": 0.138, "ensai-11": 0.13}


class Dropout(nn.Module):
    """Dropout that can also be drawn where a network is used, from a generator of its own.

    See :func:`sampled_dropout`; without it this is ``nn.Dropout``.

    Parameters
    ----------
    rate
        Probability of a number to be dropped; the others grow by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = self.drawn_rate = rate
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers of any shape, some of them zero."""
        if self.generator is None:
            return nn.functional.dropout(x, self.rate, self.training)
        kept = torch.empty_like(x).bernoulli_(1.0 - self.drawn_rate, generator=self.generator)
        return x * kept / (1.0 - self.drawn_rate)

    def extra_repr(self) -> str:
        """The rate."""
        return f"{self.rate}"


@contextmanager
def sampled_dropout(
    network: nn.Module, generator: torch.Generator, rate: float | None = None
) -> Iterator[None]:
    """Draw the dropout of a network at test time: Monte Carlo dropout.

    Every call of the network inside the context is one draw of its weights from their approximate
    posterior (Gal & Ghahramani 2016, arXiv:1506.02142). What else differs between training and
    evaluation, such as batch normalisation, stays as it is.

    Parameters
    ----------
    network
        Any module that holds :class:`Dropout`.
    generator
        On the device of the images; the same state gives the same draws.
    rate
        Of the draws; by default that of the training.

    Raises
    ------
    OptionError
        If the network has no dropout.
    """
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    if not layers:
        raise OptionError("the network has no dropout to draw: make it with dropout above 0")
    for layer in layers:
        layer.generator = generator
        layer.drawn_rate = layer.rate if rate is None else rate
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None


class EnsaiNetwork(nn.Module):
    """One of Ensai's networks: a stack of layers and a last linear one.

    Parameters
    ----------
    name
        One of ``ENSAI`` or ``ALIASES``.
    width
        Factor on the channels of every layer but the last ones.
    n_outputs
        Numbers that the last layer gives: five parameters, or ten with their variances.
    in_channels
        Channels of the images.
    image_size
        Pixels a side of the images.
    dropout
        Rate of the dropout before layers with weights; see :func:`sampled_dropout`.
    dropout_layers
        Which: ``"all"``, the first and the last included, as in Perreault Levasseur et al. 2017
        (arXiv:1708.08843); or ``"dense"``, those after the last convolution, the last included:
        deep networks learn sooner, and a draw takes next to no time.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.
    n_features : int
        Length of what :meth:`features` gives. Of network 5 that is ``n_outputs`` for each of nine
        positions; with another head, choose more outputs than it has parameters.

    Raises
    ------
    OptionError
        If the name is unknown, a number is out of its range, or the image too small for the layers.
    """

    def __init__(
        self,
        name: str,
        width: float = 1.0,
        n_outputs: int = 5,
        in_channels: int = 1,
        image_size: int = 192,
        dropout: float = 0.0,
        dropout_layers: str = "all",
    ) -> None:
        super().__init__()
        name = ALIASES.get(name, name)
        if name not in ENSAI:
            raise OptionError(f"no network {name!r}: choose one of {', '.join([*ENSAI, *ALIASES])}")
        if not width > 0.0:
            raise OptionError(f"width must be positive, not {width}")
        if not 0.0 <= dropout < 1.0:
            raise OptionError(f"dropout must be at least 0 and below 1, not {dropout}")
        if dropout_layers not in _DROPOUT_LAYERS:
            raise OptionError(
                f"dropout_layers must be {' or '.join(_DROPOUT_LAYERS)}, not {dropout_layers!r}"
            )
        if min(n_outputs, in_channels, image_size) < 1:
            raise OptionError(
                "n_outputs, in_channels and image_size must be positive, not "
                f"{n_outputs}, {in_channels} and {image_size}"
            )
        self.config: dict[str, Any] = {
            "name": name,
            "width": width,
            "n_outputs": n_outputs,
            "in_channels": in_channels,
            "image_size": image_size,
            "dropout": dropout,
            "dropout_layers": dropout_layers,
        }
        options = _Options(width, n_outputs, dropout, dropout_layers)
        self.input_shape = (in_channels, image_size, image_size)
        self.layers, shape = _stack(ENSAI[name], self.input_shape, options)
        self.n_features = math.prod(shape)
        linear = _initialised(nn.Linear(self.n_features, n_outputs), "linear")
        self.readout = nn.Sequential(*options.dropouts(dense=True), linear)
        # Few channels and wide kernels: up to three times faster on a CPU.
        self.to(memory_format=torch.channels_last)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, shape (n, n_features).

        Parameters
        ----------
        images
            Shape (n, in_channels, image_size, image_size). Ensai's have a brightest pixel of
            about one and, but for network 11, no background, see :func:`subtract_background`.

        Raises
        ------
        OptionError
            If the images have another shape.
        """
        self._check(images)
        return self.layers(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs, shape (n, n_outputs), of images as of :meth:`features`."""
        return self.readout(self.features(images))

    def draws(self, images: torch.Tensor, n_draws: int) -> list[torch.Tensor]:
        """Outputs of draws of the dropout, each of shape (n, n_outputs).

        To be called inside :func:`sampled_dropout`. Layers before the first dropout see the images
        once.

        Parameters
        ----------
        images
            As of :meth:`features`.
        n_draws
            How many.

        Raises
        ------
        OptionError
            If the images have another shape.
        """
        self._check(images)
        drops = [any(isinstance(m, Dropout) for m in layer.modules()) for layer in self.layers]
        first = [*drops, True].index(True)
        fixed = self.layers[:first](images)
        return [self.readout(self.layers[first:](fixed).flatten(1)) for _ in range(n_draws)]

    def _check(self, images: torch.Tensor) -> None:
        if tuple(images.shape[1:]) != self.input_shape:
            raise OptionError(
                f"images of shape {tuple(images.shape)}; the network takes "
                f"(n, {', '.join(map(str, self.input_shape))})"
            )


def ensai_network(
    name: str,
    width: float = 1.0,
    n_outputs: int = 5,
    in_channels: int = 1,
    image_size: int = 192,
    dropout: float = 0.0,
    dropout_layers: str = "all",
) -> EnsaiNetwork:
    """One of Ensai's networks by name; arguments as of :class:`EnsaiNetwork`.

    >>> ensai_network("alexnet", width=SLIM_WIDTHS["ensai-9"]).n_features
    565
    """
    return EnsaiNetwork(name, width, n_outputs, in_channels, image_size, dropout, dropout_layers)


def subtract_background(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Images without their background: the lowest mean of all squares of four pixels a side.

    Ensai does so to what its networks 1 to 10 see, which takes an unknown zero point away.
    Squares that hold a masked pixel do not count. The lowest of many noisy means lies below the
    true background, by an amount that the networks learn.

    Parameters
    ----------
    images
        Shape (n, y, x).
    mask
        Shape (n, y, x), 1 where data are used and 0 elsewhere.

    Returns
    -------
    Shape (n, y, x), zero where masked; as they were where no square is free of masked pixels.
    """
    means = nn.functional.avg_pool2d(images, _WINDOW, stride=1)
    used = -nn.functional.max_pool2d(-mask, _WINDOW, stride=1) > 0
    lowest = means.masked_fill(~used, torch.inf).amin(dim=(-2, -1), keepdim=True)
    lowest = torch.where(lowest.isfinite(), lowest, 0.0)
    return torch.where(mask > 0, images - lowest, 0.0)
