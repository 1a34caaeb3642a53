"""Maps that autoencoders learn: galaxies in a frame of their own, lenses of one Einstein radius.

What a profile has parameters for, an autoencoder need not learn: place, size and brightness, and
the direction of a galaxy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.maps import (
    ConvergenceGenerator,
    GalaxySampler,
    prepared,
    smooth_galaxies,
)
from autolens_ml.simulate.maps.resampling import resampled
from autolens_ml.simulate.sources import StampLibrary, clumpy, library_from
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.task import Say, reporter, silent

__all__ = ["Galaxies", "Lenses", "MapPopulation", "frames_of", "population_of"]

# Maps that are made together.
_CHUNK = 64
# Galaxies of each library that is drawn, not observed.
_N_DRAWN = 2000
_DRAWN = {"clumpy": clumpy, "smooth": smooth_galaxies}
# What a generator of lenses is given here, not by presets.
_GIVEN = ("shape", "pixel_scale", "einstein_radius", "offset")
# By how much galaxies do not quite stand alike, one sigma: place in radii of the disc, angle [deg],
# logarithm of the size. A hundred real galaxies are soon known by heart otherwise: those held out
# came back with a fifth less chi-squared.
_JITTER_PLACE, _JITTER_ANGLE, _JITTER_SIZE = 0.04, 3.0, 0.05
# Share of the galaxies that are not learned from.
_HELD_OUT = 0.15


class MapPopulation(ABC):
    """Where maps are drawn from.

    Parameters
    ----------
    size
        Pixels a side.
    disc_radius
        Of the disc in which the network's maps have a mean of one, in units of half a side.

    Attributes
    ----------
    quantity : str
        What the maps are of, as cards say it.
    kinds : tuple of str
        What a map may be of.
    """

    quantity: ClassVar[str]
    kinds: tuple[str, ...]

    def __init__(self, size: int, disc_radius: float) -> None:
        self.size = size
        self.disc_radius = disc_radius

    @property
    def pixel(self) -> float:
        """Side of a pixel in radii of the disc."""
        return 2.0 / (self.disc_radius * self.size)

    def stored(
        self, folder: Path, n: int, seed: int, held_out: bool, say: Say = silent
    ) -> dict[str, np.ndarray]:
        """``maps``, shape (n, size, size), and ``kind``, (n,), in a folder: missing ones are made.

        Raises
        ------
        DataError
            When the folder holds another set, or a damaged one.
        OptionError
            When the set does not fit on the disk.
        """
        layout: Layout = {
            "maps": ((n, self.size, self.size), np.float16),
            "kind": ((n,), np.int16),
        }

        def made(start: int) -> Iterator[dict[str, np.ndarray]]:
            for first in range(start, n, _CHUNK):
                maps, kind = self.drawn(min(_CHUNK, n - first), seed, first, held_out)
                yield {"maps": maps.astype(np.float16), "kind": kind.astype(np.int16)}

        return stored_arrays(folder, layout, seed, made, _CHUNK, reporter(folder.name, say))

    @abstractmethod
    def drawn(self, n: int, seed: int, start: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        """Maps ``start`` to ``start + n``, a chunk at most, (n, size, size), and kinds, (n,).

        Parameters
        ----------
        n
            How many, of the first of a chunk on.
        seed
            Of everything random.
        start
            A multiple of the length of a chunk.
        held_out
            Whether of what is not learned from.
        """

    @abstractmethod
    def varied(self, maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Maps as good as these, by their symmetries."""


class Galaxies(MapPopulation):
    """Surface brightness of galaxies that all stand alike, but for a little.

    The centroid is in the middle, the half-light radius is that of the disc, the major axis lies
    along x, and the longer tail of light along it is to the right. Mirrored, a galaxy is as good.

    Parameters
    ----------
    weights
        How often each library is drawn from: ``hubble-deep-field``, ``clumpy``, ``smooth``, a
        folder of FITS stamps or a catalogue in GalSim's format.
    size, disc_radius
        As of :class:`MapPopulation`.
    seed
        Of the galaxies that are drawn, and of the division into those that are learned from and
        others.

    Raises
    ------
    OptionError
        When a weight is not a number above zero.
    """

    quantity = "surface brightness"

    def __init__(
        self, weights: Mapping[str, float], size: int, disc_radius: float, seed: int
    ) -> None:
        super().__init__(size, disc_radius)
        self.kinds = tuple(weights)
        self._weights = dict(weights)
        self._seed = seed
        for name, weight in weights.items():
            if not isinstance(weight, int | float) or not 0.0 < weight < np.inf:
                raise OptionError(f"data: galaxies: {name} needs a weight above 0, not {weight!r}")

    @cached_property
    def _samplers(self) -> tuple[GalaxySampler, GalaxySampler]:
        libraries = [self._library(name) for name in self.kinds]
        sampler = GalaxySampler(libraries, weights=tuple(self._weights.values()))
        return sampler.split(_HELD_OUT, self._seed)

    def _library(self, name: str) -> StampLibrary:
        if name in _DRAWN:
            return _DRAWN[name](_N_DRAWN, seed=self._seed)
        return prepared(library_from(name))

    def drawn(self, n: int, seed: int, start: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        sampler = self._samplers[held_out]
        spawn_key = (start // _CHUNK,)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))
        kind = rng.choice(len(self.kinds), size=_CHUNK, p=sampler.weights)[:n]
        libraries = [sampler.libraries[i] for i in kind]
        chosen = [int(library.sample(1, rng)[0]) for library in libraries]
        stamps = np.array([library[i] for library, i in zip(libraries, chosen, strict=True)])
        radii = [library.half_light_radius[i] for library, i in zip(libraries, chosen, strict=True)]
        scale = np.exp(_JITTER_SIZE * rng.standard_normal(n)) / (self.pixel * np.array(radii))
        centroid, angle = frames_of(stamps)
        angle = angle + _JITTER_ANGLE * rng.standard_normal(n)
        turn = np.radians(angle)
        y, x = centroid.T
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        offset = _JITTER_PLACE / self.pixel * rng.standard_normal((n, 2))
        maps = resampled(
            stamps,
            1.0,
            (self.size, self.size),
            1.0,
            centre=offset - scale[:, None] * np.stack((across, along), axis=-1),
            position_angle=-angle,
            scale=scale,
        )
        return maps / maps.max(axis=(1, 2), keepdims=True), kind

    def varied(self, maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random((len(maps), 1, 1)) < 0.5, maps, maps[:, ::-1])


class Lenses(MapPopulation):
    """Convergence of lenses with their centre in the middle; the disc has the Einstein radius.

    Parameters
    ----------
    options
        Arguments of :class:`~autolens_ml.simulate.maps.ConvergenceGenerator`, but for the frame and
        the Einstein radius.
    size, disc_radius
        As of :class:`MapPopulation`.

    Raises
    ------
    OptionError
        When an argument is unknown, given here, or out of its range.
    """

    quantity = "convergence"
    kinds = ("lens",)

    def __init__(self, options: Mapping[str, Any], size: int, disc_radius: float) -> None:
        super().__init__(size, disc_radius)
        if given := [name for name in _GIVEN if name in options]:
            raise OptionError(
                f"data: lenses: {', '.join(given)} follow from the network: take them out"
            )
        try:
            self._generator = ConvergenceGenerator(
                shape=(size, size),
                pixel_scale=self.pixel,
                einstein_radius=(1.0, 1.0),
                offset=0.0,
                **options,
            )
        except TypeError as error:
            raise OptionError(f"data: lenses: {error}") from error

    def drawn(self, n: int, seed: int, start: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        # Every lens is a new one: what is held out has a seed of its own.
        maps = self._generator.generate(n, seed, start).values
        return maps, np.zeros(n, dtype=int)

    def varied(self, maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flipped, mirrored, turned = rng.random((3, len(maps), 1, 1)) < 0.5
        maps = np.where(flipped, maps[:, ::-1], maps)
        maps = np.where(mirrored, maps[:, :, ::-1], maps)
        return np.where(turned, maps.transpose(0, 2, 1), maps)


def population_of(
    data: Mapping[str, Any], size: int, disc_radius: float, seed: int
) -> MapPopulation:
    """The population that the ``data`` of a preset describe, by ``galaxies`` or ``lenses``.

    Raises
    ------
    OptionError
        When there is none or there are two, or an entry is not what it should be.
    """
    named = [name for name in ("galaxies", "lenses") if name in data]
    if len(named) != 1 or not isinstance(data[named[0]], Mapping) or not data[named[0]]:
        raise OptionError(
            "data: needs either galaxies, libraries with weights, or lenses, arguments of their "
            "generator"
        )
    if named == ["galaxies"]:
        return Galaxies(data["galaxies"], size, disc_radius, seed)
    return Lenses(data["lenses"], size, disc_radius)


def frames_of(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids, and directions of major axes towards the longer tail, by moments up to the third.

    Parameters
    ----------
    maps
        Shape (n, y, x), nowhere negative, row 0 at +y.

    Returns
    -------
    centroid : ndarray
        (y, x) from the middle [px], shape (n, 2).
    angle : ndarray
        Counter-clockwise from +x [deg], shape (n,).
    """
    x = np.arange(maps.shape[2]) - 0.5 * (maps.shape[2] - 1)
    y = 0.5 * (maps.shape[1] - 1) - np.arange(maps.shape[1])
    light = maps / maps.sum(axis=(1, 2), keepdims=True)
    centroid = np.stack((light.sum(axis=2) @ y, light.sum(axis=1) @ x), axis=-1)
    y, x = y - centroid[:, :1], x - centroid[:, 1:]
    xx = np.einsum("nij,nj->n", light, x * x)
    yy = np.einsum("nij,ni->n", light, y * y)
    xy = np.einsum("nij,ni,nj->n", light, y, x)
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    along = np.cos(angle)[:, None, None] * x[:, None] + np.sin(angle)[:, None, None] * y[:, :, None]
    backwards = np.sum(light * along**3, axis=(1, 2)) < 0.0
    return centroid, np.degrees(angle + np.pi * backwards)
