"""Whether a map depends on what a network has learned (Adebayo et al. 2018, arXiv:1810.03292).

A network's weights are drawn anew, layer by layer from the last to the first, and each time the
maps are made again. A map that explains what was learned loses its structure; one that stays the
same would look as convincing for a network that has learned nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.explain.attribution import METHODS
from autolens_ml.networks.finder import Finder

__all__ = ["Sanity", "randomised", "sanity_check", "sanity_checks"]

# Maps that share less than a quarter of the variance of their ranks have lost their structure.
_LOST = 0.5
_TWO_SIGMA = 2.0
# A check makes a hundred occlusion maps: of larger squares than usual, a twelfth of the side each.
_COARSE = 12


@dataclass(frozen=True)
class Sanity:
    """Correlations of maps before and after weights are randomised.

    Attributes
    ----------
    stages : tuple of str
        The layer that was randomised last, from the last one of the network to its first.
    signed, absolute : ndarray
        Rank correlation (Spearman) with the maps of the trained network, of maps and of their
        absolute values, shape (n_draws, n_stages, n_images); 0 for a map without any structure.
        Pixels that are zero in all maps of an image, as those without data, do not count.
    maps : ndarray
        Of the first image, by the trained network and after each stage of the first draw, shape
        (n_stages + 1, n_maps, y, x).
    """

    stages: tuple[str, ...]
    signed: np.ndarray
    absolute: np.ndarray
    maps: np.ndarray

    def figure(self) -> dict[str, float]:
        """Mean size of the signed correlation when all layers are random, +- 2 standard errors.

        The size, since one random layer may turn the sign of a map that else stays as it was.
        """
        last = np.abs(self.signed[:, -1]).mean(axis=1)
        error = float(_TWO_SIGMA * last.std(ddof=1) / np.sqrt(len(last)))
        value = float(last.mean())
        return {
            "value": value,
            "low": value - error,
            "high": value + error,
            "n": int(self.signed[:, -1].size),
        }

    @property
    def passed(self) -> bool:
        """Whether maps lose their structure: the correlation is below 0.5 within its error."""
        return self.figure()["high"] < _LOST


def sanity_check(
    network: Finder,
    images: np.ndarray,
    method: str | Callable[..., np.ndarray],
    *,
    n_draws: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Sanity:
    """Randomise a network layer by layer, and correlate its maps with those from before.

    Parameters
    ----------
    network
        Trained; it is not changed.
    images
        Cut-outs, shape (n, n_bands, y, x).
    method
        A key of ``METHODS``, or a function of a network and an image that gives a map.
    n_draws
        How often weights are drawn, at least 2.
    seed
        Of the weights.
    progress
        Takes a line at a time.
    options
        Of the method.

    Raises
    ------
    OptionError
        When there is no such method, image or number of draws; or a map of the trained network has
        no structure that it could lose.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise OptionError(f"method {method!r}: choose {', '.join(METHODS)}")
        method = METHODS[method]
    if n_draws < 2:
        raise OptionError(f"n_draws must be at least 2, not {n_draws}")
    if np.ndim(images) != 4 or not len(images):
        raise OptionError(
            f"images of shape {np.shape(images)}; give at least one, shape (n, n_bands, y, x)"
        )
    trained = [method(network, image, **options) for image in images]
    for i, found in enumerate(trained):
        if np.ptp(found) == 0.0:
            raise OptionError(f"the map of image {i} is the same everywhere; choose another one")
    names = [name for name, _ in _layers(network)]
    maps = np.empty((n_draws, len(names), *np.shape(trained)), dtype=np.float32)
    for draw, own in enumerate(np.random.SeedSequence(seed).spawn(n_draws)):
        for stage, changed in enumerate(randomised(network, own)):
            maps[draw, stage] = [method(changed, image, **options) for image in images]
            progress(f"draw {draw + 1} of {n_draws}, layer {stage + 1} of {len(names)}")
    signed = np.empty(maps.shape[:3])
    absolute = np.empty_like(signed)
    for i, first in enumerate(trained):
        used = (maps[:, :, i] != 0.0).any(axis=(0, 1)) | (first != 0.0)
        for at in np.ndindex(signed.shape[:2]):
            pair = first[used], maps[(*at, i)][used]
            signed[(*at, i)] = _correlation(*pair)
            absolute[(*at, i)] = _correlation(*map(np.abs, pair))
    shown = np.concatenate((np.asarray(trained)[None, 0], maps[0, :, 0]))
    return Sanity(tuple(names), signed, absolute, shown)


def sanity_checks(
    network: Finder,
    images: np.ndarray,
    *,
    window: int | None = None,
    n_draws: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> dict[str, Sanity]:
    """Check all of ``METHODS``, by name; occlusion by log-odds, of larger squares than usual.

    Parameters
    ----------
    window
        Pixels a side of the squares of occlusion; by default a twelfth of the image.
    network, images, n_draws, seed, progress
        As of `sanity_check`.
    options
        Of all methods.

    Raises
    ------
    OptionError
        As `sanity_check`.
    """
    hidden = {"window": window or max(1, network.side // _COARSE), "log_odds": True}
    return {
        name: sanity_check(
            network,
            images,
            method,
            n_draws=n_draws,
            seed=seed,
            progress=lambda line, name=name: progress(f"{name}: {line}"),
            **options,
            **(hidden if name == "occlusion" else {}),
        )
        for name, method in METHODS.items()
    }


def randomised(network: Finder, seed: np.random.SeedSequence) -> Iterator[Finder]:
    """A copy of a network with more and more of its layers randomised, from the last to the first.

    Each tensor of weights becomes one of normal deviates with its own mean and standard deviation,
    so that what a layer gives keeps its size. The copy is one and the same, and changes.
    """
    copy = deepcopy(network)
    rng = np.random.default_rng(seed)
    for _, layer in _layers(copy):
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                drawn = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)))
                drawn = drawn.to(parameter) * parameter.std(correction=0) + parameter.mean()
                parameter.copy_(drawn)
        yield copy


def _layers(network: Finder) -> list[tuple[str, nn.Module]]:
    """Modules with weights of their own, the last first."""
    found = [
        (name, module)
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    return found[::-1]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, of two maps; 0 where one of them is the same everywhere."""
    ranks = [rankdata(values, axis=None) for values in (first, second)]
    if any(np.ptp(values) == 0.0 for values in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
