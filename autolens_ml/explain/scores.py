"""What is explained: the odds that a network gives to one of its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.finder import Finder

__all__ = ["Score", "captum_attr", "normalised_from"]


class Score(nn.Module):
    """Log-odds of a class, as captum calls it.

    The two logits of an image are known but for a number that is added to both; their difference,
    divided by the network's temperature, is the logarithm of the odds of its probability.

    Parameters
    ----------
    network
        Ready to be evaluated.
    lens
        Whether the class is that of lenses, or the other.
    """

    def __init__(self, network: Finder, lens: bool = True) -> None:
        super().__init__()
        self.network = network
        self.sign = 1.0 if lens else -1.0
        self.silu = _Silu()

    def forward(self, normalised: torch.Tensor) -> torch.Tensor:
        """Log-odds of images as the first layer sees them, shape (n,)."""
        with _Replaced(self.silu):
            logits = self.network.logits(normalised)
        return self.sign * (logits[:, 1] - logits[:, 0]) / self.network.temperature


class _Silu(nn.ReLU):
    """SiLU, and yet a ReLU to captum, which guides gradients through modules of that class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(x)


class _Replaced(TorchFunctionMode):
    """Calls a module wherever a network calls ``silu``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is nn.functional.silu:
            return self._module(args[0])
        return func(*args, **(kwargs or {}))


def normalised_from(network: Finder, image: np.ndarray) -> torch.Tensor:
    """A cut-out as the first layer of a network sees it, shape (1, n_bands, y, x).

    Parameters
    ----------
    network
        Whose normalisation is applied.
    image
        Shape (n_bands, y, x), in any units, NaN where there are no data.

    Raises
    ------
    OptionError
        When the shape is not that of the network's images.
    """
    with torch.no_grad():
        return network.normalised(torch.as_tensor(np.asarray(image))[None])


def captum_attr() -> ModuleType:
    """captum's attribution methods.

    Raises
    ------
    OptionError
        When captum is not installed.
    """
    try:
        from captum import attr
    except ModuleNotFoundError as error:
        raise OptionError("captum is not installed: pip install 'autolens_ml[explain]'") from error
    return attr
