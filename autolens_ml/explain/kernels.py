"""What each kernel of each convolution answers to a cut-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from autolens_ml.explain.layers import Layer, layers_of
from autolens_ml.explain.scores import Score, captum_attr, normalised_from
from autolens_ml.networks.finder import Finder

__all__ = ["KernelAnswers", "kernel_answers"]


@dataclass(frozen=True)
class KernelAnswers:
    """Images that the kernels of one layer make of a cut-out.

    Attributes
    ----------
    layer : Layer
        The convolution, and where its maps lie.
    maps : ndarray
        What it answers, before any activation, shape (n_kernels, side, side).
    """

    layer: Layer
    maps: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Mean answer of each kernel, shape (n_kernels,)."""
        return self.maps.mean(axis=(1, 2))

    def strongest(self, n: int) -> np.ndarray:
        """Up to ``n`` kernels whose answers vary most over the image, the first most."""
        return np.argsort(-self.maps.std(axis=(1, 2)), kind="stable")[:n]


def kernel_answers(network: Finder, image: np.ndarray) -> tuple[KernelAnswers, ...]:
    """What the kernels of all convolutions answer, in the order in which they are computed.

    Parameters
    ----------
    network
        Ready to be evaluated.
    image
        Shape (n_bands, y, x), in any units, NaN where there are no data.

    Raises
    ------
    OptionError
        When captum is not installed, or the image is not one for this network.
    """
    attr = captum_attr()
    seen = normalised_from(network, image)
    layers = layers_of(network)
    score = Score(network)
    with torch.inference_mode():
        found = [
            attr.LayerActivation(score, layer.convolution).attribute(seen)[0] for layer in layers
        ]
    return tuple(
        KernelAnswers(layer, maps.float().numpy())
        for layer, maps in zip(layers, found, strict=True)
    )
