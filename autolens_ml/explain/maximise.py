"""Images that a class or a kernel answers to most: one ascent, three uses.

Images are kept in units of the noise of their sky, and are what a survey could have seen: after
each step the sky has its median and noise again, and no pixel is far below it or brighter than
galaxies are. What comes out can be given to the network like any cut-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.explain.layers import Layer, layer_from
from autolens_ml.explain.scores import Score
from autolens_ml.networks.finder import NORMALISATIONS, Finder

__all__ = [
    "Maximised",
    "Objective",
    "activation_maximisation",
    "class_image",
    "class_score",
    "deep_dream",
    "exciting_images",
    "kernel_score",
]

# What is made large: a number for each of n images, as the first layer sees them.
type Objective = Callable[[torch.Tensor], torch.Tensor]

# Pixels stay between these, in units of the noise of the sky.
_LIMITS = (-3.0, 1000.0)
# Of the arcsinh scale of the normalisation by noise.
_SOFTENING = 3.0


@dataclass(frozen=True)
class Maximised:
    """Images, and how they came about.

    Attributes
    ----------
    steps : ndarray
        After how many steps the frames are, shape (n_frames,), from 0.
    frames : ndarray
        The images then, in units of the noise of the sky, NaN where there were no data, shape
        (n_frames, n, n_bands, y, x).
    scores : ndarray
        What was made large, shape (n_frames, n).
    """

    steps: np.ndarray
    frames: np.ndarray
    scores: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """After the last step, shape (n, n_bands, y, x)."""
        return self.frames[-1]


def activation_maximisation(
    network: Finder,
    objective: Objective,
    start: np.ndarray,
    *,
    n_steps: int = 96,
    rate: float = 0.05,
    n_octaves: int = 3,
    blur: float = 1.0,
    jitter: int = 2,
    decay: float = 0.0,
    seed: int = 0,
    n_frames: int = 25,
) -> Maximised:
    """Change images step by step so that a network answers more.

    Each step goes along the gradient by the normalised image, with a length that is the same for
    all images. The gradient is smoothed: over octaves of scales, the coarsest first, as in
    Mordvintsev et al. 2015 ("Inceptionism"), whose smaller images these networks could not take.

    Parameters
    ----------
    network
        Ready to be evaluated.
    objective
        What is made large, `class_score` or `kernel_score`.
    start
        Images to begin with, shape (n, n_bands, y, x), in any units, NaN where there are no data.
    n_steps
        Over all octaves.
    rate
        Root mean square of the change of a pixel in one step, on the scale arcsinh(z / 3), z being
        a pixel in units of the noise.
    n_octaves
        Scales, each half of the one before.
    blur
        The finest scale: standard deviation in pixels of the Gaussian that smooths gradients; 0 for
        none.
    jitter
        Pixels by which images are shifted at random, at most, when gradients are taken.
    decay
        Share of its light that a pixel loses in each step, on the scale of ``rate``.
    seed
        Of the shifts.
    n_frames
        Stages that are kept, with the first and the last one.

    Raises
    ------
    OptionError
        When the images are not those of the network, or an option is not of its range.
    """
    for name, value, least in (
        ("n_steps", n_steps, 1),
        ("n_octaves", n_octaves, 1),
        ("jitter", jitter, 0),
        ("n_frames", n_frames, 2),
    ):
        if value < least:
            raise OptionError(f"{name} must be at least {least}, not {value}")
    if not rate > 0.0 or not blur >= 0.0 or not 0.0 <= decay < 1.0:
        raise OptionError(
            f"rate {rate}, blur {blur}, decay {decay}; set a rate above 0, a blur of at least 0, "
            "and a decay of at least 0 and below 1"
        )
    ascent = _Ascent(network, objective, blur, jitter, seed)
    light = ascent.scaled(torch.as_tensor(np.asarray(start)))
    kept = np.unique(np.linspace(0, n_steps, n_frames).round().astype(int))
    frames, scores = [], []
    for step in range(n_steps + 1):
        if step in kept:
            frames.append(ascent.sky(light).numpy())
            scores.append(ascent.scores(light).numpy())
        if step < n_steps:
            octave = n_octaves - 1 - step * n_octaves // n_steps
            light = (1.0 - decay) * light + rate * ascent.direction(light, octave)
            light = ascent.scaled(ascent.sky(light))
    return Maximised(kept, np.stack(frames), np.stack(scores))


class _Ascent:
    """Steps of activation maximisation, on the scale arcsinh(z / 3)."""

    def __init__(
        self, network: Finder, objective: Objective, blur: float, jitter: int, seed: int
    ) -> None:
        self._network = network
        self._objective = objective
        self._blur = blur
        self._jitter = jitter
        self._generator = torch.Generator().manual_seed(seed)
        self._limits = [float(np.arcsinh(limit / _SOFTENING)) for limit in _LIMITS]

    def sky(self, light: torch.Tensor) -> torch.Tensor:
        """Images in units of the noise, within the limits."""
        return _SOFTENING * torch.sinh(light.clamp(*self._limits))

    def scaled(self, images: torch.Tensor) -> torch.Tensor:
        """Images in any units on the scale of the steps: their sky is at 0, its noise at 1/3."""
        return NORMALISATIONS["noise"](images.float())

    @torch.no_grad()
    def scores(self, light: torch.Tensor) -> torch.Tensor:
        """Of images where they are."""
        return self._objective(self._network.normalised(self.sky(light)))

    def direction(self, light: torch.Tensor, octave: int) -> torch.Tensor:
        """The smoothed gradient, with a mean square of one for each image."""
        shift = torch.randint(
            -self._jitter, self._jitter + 1, (2,), generator=self._generator
        ).tolist()
        with torch.no_grad():
            seen = self._network.normalised(self.sky(light)).roll(shift, (-2, -1))
        seen.requires_grad_()
        (gradient,) = torch.autograd.grad(self._objective(seen).sum(), seen)
        gradient = _smoothed(gradient.roll([-s for s in shift], (-2, -1)), self._blur * 2**octave)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        return gradient / size.clamp(min=torch.finfo(size.dtype).tiny)


def _smoothed(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images folded with a Gaussian, which ends with them."""
    if sigma == 0.0:
        return images
    at = torch.arange(images.shape[-1], dtype=images.dtype)
    weights = torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    return weights @ images @ weights.T


def class_score(network: Finder, lens: bool = True) -> Objective:
    """Log-odds of a class."""
    return Score(network, lens)


def kernel_score(network: Finder, layer: Layer, kernels: Sequence[int]) -> Objective:
    """Mean answer of a kernel of a layer, before any activation: image i has kernel i.

    Raises
    ------
    OptionError
        When the layer has no such kernel.
    """
    if bad := [kernel for kernel in kernels if not 0 <= kernel < layer.n_kernels]:
        raise OptionError(
            f"no kernel {bad[0]} in layer {layer.number}; choose from 0 to {layer.n_kernels - 1}"
        )
    rows, columns = torch.arange(len(kernels)), torch.tensor(list(kernels))

    def score(images: torch.Tensor) -> torch.Tensor:
        with _outputs(layer.convolution) as found:
            network.logits(images)
        return found[0][rows, columns].mean((-2, -1))

    return score


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What a module gives while it is watched."""
    found: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda *call: found.append(call[2]))
    try:
        yield found
    finally:
        handle.remove()


def class_image(
    network: Finder, *, lens: bool = True, n: int = 1, seed: int = 0, **options: float
) -> Maximised:
    """Images of a class, from nothing but noise.

    Parameters
    ----------
    network
        Ready to be evaluated.
    lens
        Whether the class is that of lenses.
    n
        Images, from different noise.
    seed
        Of the noise and of the shifts.
    options
        Of `activation_maximisation`.

    Raises
    ------
    OptionError
        As `activation_maximisation`, and when ``n`` is not positive.
    """
    if n < 1:
        raise OptionError(f"n must be at least 1, not {n}")
    start = _noise(network, n, seed)
    return activation_maximisation(network, class_score(network, lens), start, seed=seed, **options)


def deep_dream(
    network: Finder, image: np.ndarray, *, lens: bool = True, seed: int = 0, **options: float
) -> Maximised:
    """A cut-out with more and more of what the network takes for a class.

    Parameters
    ----------
    network
        Ready to be evaluated.
    image
        Shape (n_bands, y, x), in any units, NaN where there are no data.
    lens, seed, options
        As of `class_image`.

    Raises
    ------
    OptionError
        As `activation_maximisation`.
    """
    return activation_maximisation(
        network, class_score(network, lens), np.asarray(image)[None], seed=seed, **options
    )


def exciting_images(
    network: Finder, layer: int, kernels: Sequence[int], *, seed: int = 0, **options: float
) -> Maximised:
    """For each kernel the image that it answers to most, from the same noise.

    Parameters
    ----------
    network
        Ready to be evaluated.
    layer
        Number of the convolution, from 1.
    kernels
        Numbers of its kernels, from 0.
    seed, options
        As of `class_image`.

    Raises
    ------
    OptionError
        As `activation_maximisation`, and when there is no such layer or kernel, or none is chosen.
    """
    if not kernels:
        raise OptionError("no kernel to excite: choose at least one")
    objective = kernel_score(network, layer_from(network, layer), kernels)
    start = np.repeat(_noise(network, 1, seed), len(kernels), axis=0)
    return activation_maximisation(network, objective, start, seed=seed, **options)


def _noise(network: Finder, n: int, seed: int) -> np.ndarray:
    shape = (n, network.n_bands, network.side, network.side)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
