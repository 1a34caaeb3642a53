"""Maps of what matters for the probability that a cut-out shows a lens.

All take one cut-out as networks do: shape (n_bands, y, x), in any units, NaN where there are no
data; it is normalised as the network does it. Maps have the pixels of the cut-out, shape (1, y, x)
when one map is for all bands, or (n_bands, y, x).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.explain.layers import layer_from, placed
from autolens_ml.explain.scores import Score, captum_attr, normalised_from
from autolens_ml.networks.finder import Finder

__all__ = [
    "METHODS",
    "grad_cam",
    "guided_backprop",
    "guided_grad_cam",
    "occlusion_map",
    "usual_window",
]

# Windows of occlusion per side of an image: 1 x 1 pixel of 66, 4 x 4 of 200, as Wilde et al. had.
_WINDOWS = 50


def occlusion_map(
    network: Finder,
    image: np.ndarray,
    *,
    lens: bool = True,
    window: int | None = None,
    stride: int | None = None,
    by_band: bool = False,
    log_odds: bool = False,
    batch_size: int = 32,
) -> np.ndarray:
    """How the probability changes when a square of the cut-out is not seen.

    Negative where the network sees what speaks for the class: without it, the probability drops
    (Wilde et al. 2022, arXiv:2202.12776; captum's own sign is the other). Squares are set to zero
    after normalisation, which is the sky for networks with normalisation ``"noise"``, and the
    faintest pixel for those with ``"min-max"``, as in the paper. Where squares overlap, their
    effects are averaged.

    Parameters
    ----------
    network
        Ready to be evaluated.
    image
        Shape (n_bands, y, x).
    lens
        Whether the probability is that of a lens.
    window
        Pixels a side of the squares; by default a fiftieth of the image: 1 of 66, 4 of 200.
    stride
        Pixels from one square to the next; by default as many as a square has.
    by_band
        Whether bands are hidden one at a time, or all together.
    log_odds
        Whether the change is that of the log-odds, which do not saturate where the probability is
        nearly 0 or 1.
    batch_size
        Images that the network looks at together.

    Returns
    -------
    ndarray
        Shape (n_bands, y, x) or (1, y, x), the change in probability or log-odds.

    Raises
    ------
    OptionError
        When captum is not installed, the image is not one for this network, or the window or the
        stride is not of the image's size.
    """
    attr = captum_attr()
    seen = normalised_from(network, image)
    n_bands, side = network.n_bands, network.side
    window = usual_window(side) if window is None else window
    stride = window if stride is None else stride
    if not 1 <= window <= side or not 1 <= stride <= window:
        raise OptionError(
            f"windows of {window} pixels every {stride}; set windows from 1 to {side} pixels, and "
            "no larger steps"
        )
    score = Score(network, lens)

    def value_of(images: torch.Tensor) -> torch.Tensor:
        # Single precision has no number between 1 - 6e-8 and 1.
        odds = score(images).double()
        return odds if log_odds else torch.sigmoid(odds)

    bands = 1 if by_band else n_bands
    with torch.inference_mode():
        drop = attr.Occlusion(value_of).attribute(
            seen,
            sliding_window_shapes=(bands, window, window),
            strides=(bands, stride, stride),
            baselines=0.0,
            perturbations_per_eval=batch_size,
        )
    return -drop[0, : None if by_band else 1].double().numpy()


def usual_window(side: int) -> int:
    """Pixels a side of the squares that are hidden of an image of ``side`` pixels."""
    return max(1, round(side / _WINDOWS))


def grad_cam(
    network: Finder, image: np.ndarray, *, lens: bool = True, layer: int | None = None
) -> np.ndarray:
    """Where the features of a layer are that speak for the class (Selvaraju et al. 2017).

    The maps of all kernels are added, each weighted by the mean of the gradient of the log-odds
    over its pixels; what is negative becomes zero. Every pixel of the sum is placed where its
    receptive field has its middle, see `autolens_ml.explain.layers.placed`.

    Parameters
    ----------
    network
        Ready to be evaluated.
    image
        Shape (n_bands, y, x).
    lens
        Whether the class is that of lenses.
    layer
        Number of the convolution, from 1; by default the last one whose maps have at least 6
        pixels a side.

    Returns
    -------
    ndarray
        Shape (1, y, x), in units of the log-odds per pixel of the maps.

    Raises
    ------
    OptionError
        When captum is not installed, there is no such layer, or the image is not one for this
        network.
    """
    attr = captum_attr()
    seen = normalised_from(network, image).requires_grad_()
    chosen = layer_from(network, layer)
    method = attr.LayerGradCam(Score(network, lens), chosen.features)
    maps = method.attribute(seen, relu_attributions=True).detach()
    return placed(maps[0].double(), chosen, network.side).numpy()


def guided_backprop(network: Finder, image: np.ndarray, *, lens: bool = True) -> np.ndarray:
    """Which pixels would make the features stronger that speak for the class.

    The gradient of the log-odds by the normalised image, where negative gradients become zero at
    every ReLU or SiLU on the way (Springenberg et al. 2015, arXiv:1412.6806).

    Parameters
    ----------
    network, image, lens
        As of `grad_cam`.

    Returns
    -------
    ndarray
        Shape (n_bands, y, x), zero where there are no data.

    Raises
    ------
    OptionError
        When captum is not installed, or the image is not one for this network.
    """
    attr = captum_attr()
    seen = normalised_from(network, image)
    with warnings.catch_warnings():
        # captum says that it sets hooks, and that they are removed afterwards.
        warnings.simplefilter("ignore", UserWarning)
        found = attr.GuidedBackprop(Score(network, lens)).attribute(seen.requires_grad_())
    return np.where(np.isfinite(image), found[0].detach().double().numpy(), 0.0)


def guided_grad_cam(
    network: Finder, image: np.ndarray, *, lens: bool = True, layer: int | None = None
) -> np.ndarray:
    """Guided backpropagation where Grad-CAM sees something: their product.

    Parameters
    ----------
    network, image, lens, layer
        As of `grad_cam`.

    Returns
    -------
    ndarray
        Shape (n_bands, y, x).

    Raises
    ------
    OptionError
        As `grad_cam`.
    """
    where = grad_cam(network, image, lens=lens, layer=layer)
    return where * guided_backprop(network, image, lens=lens)


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "occlusion": occlusion_map,
    "grad-cam": grad_cam,
    "guided-backprop": guided_backprop,
    "guided-grad-cam": guided_grad_cam,
}
