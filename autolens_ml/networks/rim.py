"""The recurrent network of a Recurrent Inference Machine: one step of a learned optimiser of maps.

A U-Net whose skip connections and bottleneck remember what they saw in earlier steps, each by a
convolutional gated recurrent unit. It is a function of tensors alone; what its channels are, and
the loop around it, is :mod:`autolens_ml.inference.reconstruction.loop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from autolens_ml.exceptions import OptionError

__all__ = ["PUBLISHED", "ConvGRU", "RecurrentInferenceMachine"]

_ACTIVATIONS = {"tanh": nn.Tanh, "silu": nn.SiLU}

#: Arguments of the network of Adam et al. (2023, arXiv:2301.04168) for maps of 128 pixels.
PUBLISHED: dict[str, Any] = {
    "n_inputs": 5,
    "n_maps": 2,
    "n_numbers": 0,
    "widths": [128, 256, 512, 1024, 1024, 1024],
    "n_convolutions": 2,
    "kernel_size": 3,
    "input_kernel_size": 11,
    "patch": 1,
    "activation": "tanh",
    "n_groups": 0,
}


class ConvGRU(nn.Module):
    """A gated recurrent unit of convolutions (Ballas et al. 2016, arXiv:1511.06432).

    Parameters
    ----------
    width
        Channels of its input and of its hidden state.
    kernel_size
        Side of the convolutions [px], odd.
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.gates = nn.Conv2d(2 * width, 2 * width, kernel_size, padding=padding)
        self.candidate = nn.Conv2d(2 * width, width, kernel_size, padding=padding)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """The new hidden state, which is the output as well; all of shape (n, width, y, x)."""
        hidden = torch.zeros_like(x) if hidden is None else hidden
        update, reset = self.gates(torch.cat((x, hidden), 1)).sigmoid().chunk(2, dim=1)
        new = self.candidate(torch.cat((x, reset * hidden), 1)).tanh()
        return hidden + update * (new - hidden)


class RecurrentInferenceMachine(nn.Module):
    """One step: from maps and hidden states to updates of maps and of a few numbers.

    Parameters
    ----------
    n_inputs
        Maps that a step is given.
    n_maps
        Maps that are updated.
    n_numbers
        Numbers that are updated, by a dense layer behind the bottleneck.
    widths
        Channels of each level from fine to coarse, the last those of the bottleneck. Each level has
        half the pixels a side of the one before.
    n_convolutions
        Of each level, on the way down and on the way up.
    kernel_size, input_kernel_size
        Side of the convolutions, and of the first one [px], odd.
    patch
        Pixels a side that the first level sees as one: the first convolution leaps by so many, and
        the last one gives so many times as many. A power of 2; 1 is a plain U-Net.
    activation
        ``"tanh"`` as published, or ``"silu"``.
    n_groups
        Of group normalisation of each convolution of a level; 0 for none, as published.

    Attributes
    ----------
    config : dict
        The arguments: with the weights all that is needed to make the network again.

    Raises
    ------
    OptionError
        When an argument is out of its range.
    """

    def __init__(
        self,
        n_inputs: int = 10,
        n_maps: int = 2,
        n_numbers: int = 2,
        widths: Sequence[int] = (16, 32, 64),
        n_convolutions: int = 1,
        kernel_size: int = 3,
        input_kernel_size: int = 5,
        patch: int = 1,
        activation: str = "silu",
        n_groups: int = 0,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "n_inputs": n_inputs,
            "n_maps": n_maps,
            "n_numbers": n_numbers,
            "widths": list(widths),
            "n_convolutions": n_convolutions,
            "kernel_size": kernel_size,
            "input_kernel_size": input_kernel_size,
            "patch": patch,
            "activation": activation,
            "n_groups": n_groups,
        }
        _check(self.config)
        self.patch = patch
        make = _ACTIVATIONS[activation]

        def convolution(n_in: int, n_out: int) -> list[nn.Module]:
            norm = [nn.GroupNorm(n_groups, n_out)] if n_groups else []
            return [nn.Conv2d(n_in, n_out, kernel_size, padding=kernel_size // 2), *norm, make()]

        def convolutions(n_in: int, n_out: int) -> nn.Sequential:
            first = convolution(n_in, n_out)
            others = [
                layer for _ in range(n_convolutions - 1) for layer in convolution(n_out, n_out)
            ]
            return nn.Sequential(*first, *others)

        finest, *_, coarsest = widths
        # A stride of a patch leaves as many pixels as there are patches, whatever the kernel.
        self.first = nn.Sequential(
            nn.Conv2d(
                n_inputs,
                finest,
                input_kernel_size,
                stride=patch,
                padding=(input_kernel_size - 1) // 2,
            ),
            make(),
        )
        pairs = list(pairwise(widths))
        self.encoders = nn.ModuleList(convolutions(width, width) for width, _ in pairs)
        self.descents = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, coarser, 3, stride=2, padding=1), make())
            for width, coarser in pairs
        )
        self.memories = nn.ModuleList(ConvGRU(width, kernel_size) for width in widths)
        self.ascents = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(coarser, width, 3, stride=2, padding=1, output_padding=1), make()
            )
            for width, coarser in pairs
        )
        self.decoders = nn.ModuleList(convolutions(2 * width, width) for width, _ in pairs)
        self.last = nn.Conv2d(finest, n_maps * patch**2, 1)
        self.numbers = nn.Linear(coarsest, n_numbers) if n_numbers else None
        self._initialise()
        # Before it has learned anything, a step changes nothing.
        for layer in filter(None, (self.last, self.numbers)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _initialise(self) -> None:
        """Signals as strong behind a layer as before (He et al. 2015, arXiv:1502.01852)."""
        gain = "relu" if self.config["activation"] == "silu" else "tanh"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity=gain)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.ConvTranspose2d):
                # Of its nine taps a quarter reaches a pixel.
                scale = 2.0 * nn.init.calculate_gain(gain) / (9.0 * module.in_channels) ** 0.5
                nn.init.normal_(module.weight, std=scale)
                nn.init.zeros_(module.bias)
        for memory in self.memories:
            nn.init.xavier_uniform_(memory.gates.weight)
            nn.init.xavier_uniform_(memory.candidate.weight)

    @property
    def n_levels(self) -> int:
        """How often the number of pixels a side is halved."""
        return len(self.encoders)

    def forward(
        self, maps: torch.Tensor, hidden: Sequence[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """One step.

        Parameters
        ----------
        maps
            Shape (n, n_inputs, y, x); y and x can be divided by the patch and, then, by 2 as often
            as there are levels.
        hidden
            Of the step before, in the order of the levels; ``None`` in the first step.

        Returns
        -------
        updates : Tensor
            Of the maps, shape (n, n_maps, y, x).
        numbers : Tensor
            Updates of the numbers, shape (n, n_numbers).
        hidden : list of Tensor
            For the next step.

        Raises
        ------
        OptionError
            When the maps have another number of channels, or a side that cannot be halved so often.
        """
        multiple = self.patch * 2**self.n_levels
        wanted = self.config["n_inputs"]
        if maps.ndim != 4 or maps.shape[1] != wanted or any(n % multiple for n in maps.shape[2:]):
            raise OptionError(
                f"maps of shape {tuple(maps.shape)}: this network takes (n, {wanted}, y, x), with "
                f"sides that are multiples of {multiple}"
            )
        states = [None] * len(self.memories) if hidden is None else hidden
        x = self.first(maps)
        skips = []
        for encoder, memory, descent, state in zip(
            self.encoders, self.memories, self.descents, states, strict=False
        ):
            x = encoder(x)
            skips.append(memory(x, state))
            x = descent(x)
        x = self.memories[-1](x, states[-1])
        new = [*skips, x]
        numbers = x.mean(dim=(2, 3))
        numbers = self.numbers(numbers) if self.numbers is not None else numbers[:, :0]
        for ascent, decoder, skip in zip(
            reversed(self.ascents), reversed(self.decoders), reversed(skips), strict=True
        ):
            x = decoder(torch.cat((ascent(x), skip), 1))
        return pixel_shuffle(self.last(x), self.patch), numbers, new

    def coarse_parameters(self, n_levels: int) -> list[nn.Parameter]:
        """Parameters of the bottleneck and of the coarsest levels.

        Parameters
        ----------
        n_levels
            How many of :attr:`n_levels`, from the coarsest; 0 for the bottleneck alone.

        Raises
        ------
        OptionError
            When there are not as many levels.
        """
        if not 0 <= n_levels <= self.n_levels:
            raise OptionError(f"{n_levels} levels: this network has {self.n_levels}")
        parts: list[nn.Module] = [self.memories[-1]]
        for i in range(self.n_levels - n_levels, self.n_levels):
            parts += [self.encoders[i], self.memories[i], self.descents[i]]
            parts += [self.ascents[i], self.decoders[i]]
        if self.numbers is not None:
            parts.append(self.numbers)
        return [parameter for part in parts for parameter in part.parameters()]


def _check(config: dict[str, Any]) -> None:
    for name, least in (("n_inputs", 1), ("n_maps", 1), ("n_numbers", 0), ("n_convolutions", 1)):
        if config[name] < least:
            raise OptionError(f"network: {name} must be at least {least}, not {config[name]}")
    widths = config["widths"]
    if len(widths) < 2 or min(widths) < 1:
        raise OptionError(f"network: widths must be two or more numbers above 0, not {widths}")
    for name in ("kernel_size", "input_kernel_size"):
        if config[name] < 1 or config[name] % 2 == 0:
            raise OptionError(f"network: {name} must be odd, not {config[name]}")
    if config["patch"] < 1 or config["patch"] & (config["patch"] - 1):
        raise OptionError(f"network: patch must be a power of 2, not {config['patch']}")
    if config["input_kernel_size"] < config["patch"]:
        raise OptionError("network: input_kernel_size must be at least the patch")
    if config["activation"] not in _ACTIVATIONS:
        raise OptionError(
            f"network: activation must be one of {', '.join(_ACTIVATIONS)}, not "
            f"{config['activation']!r}"
        )
    if config["n_groups"] and any(width % config["n_groups"] for width in widths):
        raise OptionError(f"network: widths {widths} must be multiples of {config['n_groups']}")
