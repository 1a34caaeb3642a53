"""Surface-brightness maps of sources: real and drawn galaxies, varied and split.

Galaxies come from libraries of stamps (:mod:`autolens_ml.simulate.sources`). They are cleaned once
(:mod:`autolens_ml.simulate.maps.preparation`) and divided into those to learn from and those to be
tested on (:meth:`GalaxySampler.split`). Every draw is seen with another size, direction and place:

>>> galaxies = prepared(hubble_deep_field())
>>> training, validation = GalaxySampler((galaxies, clumpy(500)), shape=(32, 32)).split()
>>> maps = training.sample(64, np.random.default_rng(1))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import autolens as al
import numpy as np

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.preparation import fading, prepared
from autolens_ml.simulate.maps.resampling import resampled
from autolens_ml.simulate.sources import StampLibrary, library_from

__all__ = [
    "GalaxyMaps",
    "GalaxySampler",
    "smooth_galaxies",
    "split_by_galaxy",
]

# Galaxies of the library that is called "smooth".
_N_SMOOTH = 500
# How often galaxies that do not fit into the frame are drawn again.
_MAX_TRIES = 20


def smooth_galaxies(n: int, size: int = 64, seed: int = 0) -> StampLibrary:
    """Galaxies of Sersic profiles: discs and ellipticals, bulges in discs, pairs.

    Four in ten are a single profile with an index of 0.5 to 2.5. Four are a disc (0.5 to 1.2) with
    a bulge that has 5 to 40 % of the light, 0.2 to 0.5 of the radius and an index of 1 to 3. Two
    have a companion with 5 to 50 % of the light, 1 to 3 half-light radii away. Axis ratios are 0.3
    to 1, of bulges half as far from 1 as that of their disc.

    Parameters
    ----------
    n
        Number of galaxies.
    size
        Pixels a side of the stamps, at least 16: ten half-light radii of the main profile.
    seed
        Of everything random.

    Raises
    ------
    OptionError
        If `n` is below 1 or `size` below 16.
    """
    if n < 1 or size < 16:
        raise OptionError(f"{n} galaxies of {size} pixels; set n to 1 and size to 16 or more")
    rng = np.random.default_rng(seed)
    grid = al.Grid2D.uniform(shape_native=(size, size), pixel_scales=1.0, over_sample_size=4)
    border = fading((size, size))
    stamps = [border * _smooth_galaxy(grid, 0.1 * size, rng) for _ in range(n)]
    return StampLibrary.from_stamps(np.array(stamps), [f"smooth_{seed}_{i}" for i in range(n)])


def split_by_galaxy(
    library: StampLibrary, validation: float = 0.15, seed: int = 0
) -> tuple[StampLibrary, StampLibrary]:
    """Galaxies to learn from and galaxies to be tested on, by their names.

    A galaxy's side depends on its name and the seed alone. It is the same whatever else the library
    holds, and at every size, so that no galaxy is ever on both sides.

    Parameters
    ----------
    library
        The galaxies.
    validation
        Expected share of those to be tested on.
    seed
        Of the division.

    Returns
    -------
    training, validation
        Two libraries.

    Raises
    ------
    DataError
        If a side is empty.
    OptionError
        If `validation` is not between 0 and 1.
    """
    if not 0.0 < validation < 1.0:
        raise OptionError(f"validation must be a share between 0 and 1, not {validation}")
    tested = np.array([_share(name, seed) < validation for name in library.names])
    if tested.all() or not tested.any():
        raise DataError(
            f"{len(library)} galaxies do not divide into two with {validation} for validation; "
            "give more galaxies, or another seed"
        )
    training, validation_ = (
        StampLibrary(
            library.stamps[rows],
            tuple(np.array(library.names)[rows].tolist()),
            library.half_light_radius[rows],
        )
        for rows in (~tested, tested)
    )
    return training, validation_


@dataclass(frozen=True, eq=False)
class GalaxyMaps:
    """Surface brightnesses of galaxies.

    Attributes
    ----------
    values : ndarray
        Shape (n, y, x), float32, with a peak of one and nothing below zero, row 0 at +y.
    pixel_scale : float
        Side of a pixel [arcsec].
    half_light_radius : ndarray
        Of the whole galaxy [arcsec], shape (n,).
    names : tuple of str
        Of the galaxies.
    """

    values: np.ndarray
    pixel_scale: float
    half_light_radius: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class GalaxySampler:
    """Draws galaxies from libraries, each time with another size, direction and place.

    Parameters
    ----------
    libraries
        Stamps of one size.
    weights
        How often each library is drawn from; by default all as often.
    shape
        Rows and columns of the maps.
    pixel_scale
        Side of a pixel [arcsec].
    half_light_radius
        Least and largest [arcsec], drawn uniformly in the logarithm.
    offset
        Largest distance from the middle, along y and along x [arcsec].
    flux_inside
        Share of a galaxy's light that must be inside the map; otherwise its size, direction and
        place are drawn again.

    Raises
    ------
    OptionError
        If there is no library, they differ in size, or a value is out of its range.
    """

    libraries: Sequence[StampLibrary]
    weights: Sequence[float] | None = None
    shape: tuple[int, int] = (64, 64)
    pixel_scale: float = 0.05
    half_light_radius: tuple[float, float] = (0.15, 0.5)
    offset: float = 0.3
    flux_inside: float = 0.97

    def __post_init__(self) -> None:
        if len({library.size for library in self.libraries}) != 1:
            raise OptionError("libraries: give one or more, whose stamps are all of one size")
        weights = np.ones(len(self.libraries)) if self.weights is None else self.weights
        weights = np.asarray(weights, dtype=float)
        if weights.shape != (len(self.libraries),) or weights.min() < 0.0 or not weights.any():
            raise OptionError(f"weights: give one for each library, 0 or more, not {self.weights}")
        object.__setattr__(self, "weights", tuple(weights / weights.sum()))
        object.__setattr__(self, "shape", tuple(self.shape))
        low, high = self.half_light_radius
        if min(self.shape) < 8 or not 0.0 < self.pixel_scale < np.inf or not 0.0 < low <= high:
            raise OptionError(
                f"shape {self.shape}, pixel_scale {self.pixel_scale}, half_light_radius "
                f"{self.half_light_radius}: give 8 pixels or more, and lengths above 0, low to high"
            )
        if not (0.0 <= self.offset < np.inf and 0.0 <= self.flux_inside < 1.0):
            raise OptionError(
                f"offset {self.offset} must be 0 or more, flux_inside {self.flux_inside} below 1"
            )

    @classmethod
    def from_names(cls, weights: Mapping[str, float], **options: Any) -> Self:
        """A sampler of libraries by name, as a preset gives them.

        Real galaxies, those of files and of the Hubble Deep Field, are :func:`prepared`.

        Parameters
        ----------
        weights
            How often each library is drawn from, such as ``{"hubble-deep-field": 0.6, "clumpy":
            0.2, "smooth": 0.2}``; ``"smooth"`` is 500 of :func:`smooth_galaxies`, the others are
            those of :func:`autolens_ml.simulate.sources.library_from`.
        options
            Other arguments of the sampler.

        Raises
        ------
        DataError
            If files cannot be read, or none of their galaxies is good enough.
        OptionError
            If a name is not known, or an argument out of its range.
        """
        libraries = []
        for name in weights:
            if name == "smooth":
                libraries.append(smooth_galaxies(_N_SMOOTH))
            else:
                library = library_from(name)
                libraries.append(library if name == "clumpy" else prepared(library))
        return cls(tuple(libraries), tuple(weights.values()), **options)

    def split(self, validation: float = 0.15, seed: int = 0) -> tuple[Self, Self]:
        """Samplers of galaxies to learn from and of others to be tested on.

        Parameters
        ----------
        validation, seed
            As for :func:`split_by_galaxy`.

        Raises
        ------
        DataError, OptionError
            As :func:`split_by_galaxy`.
        """
        pairs = [split_by_galaxy(library, validation, seed) for library in self.libraries]
        training, tested = zip(*pairs, strict=True)
        return replace(self, libraries=training), replace(self, libraries=tested)

    def sample(self, n: int, rng: np.random.Generator) -> GalaxyMaps:
        """`n` galaxies, drawn independently.

        Parameters
        ----------
        n
            Number of maps, at least 1.
        rng
            Of everything random.

        Raises
        ------
        OptionError
            If `n` is below 1, or a galaxy does not fit into the frame, however often it is drawn.
        """
        if n < 1:
            raise OptionError(f"{n} galaxies; set n to 1 or more")
        which = rng.choice(len(self.libraries), size=n, p=self.weights)
        index = [int(self.libraries[i].sample(1, rng)[0]) for i in which]
        stamps = np.array([self.libraries[i].stamps[j] for i, j in zip(which, index, strict=True)])
        stamps = np.where(rng.random((n, 1, 1)) < 0.5, stamps, stamps[:, :, ::-1])
        native = np.array(
            [self.libraries[i].half_light_radius[j] for i, j in zip(which, index, strict=True)]
        )
        values = np.empty((n, *self.shape))
        radius = np.empty(n)
        rows = np.arange(n)
        for _ in range(_MAX_TRIES):
            radius[rows] = np.exp(rng.uniform(*np.log(self.half_light_radius), size=len(rows)))
            values[rows], inside = self._seen(stamps[rows], radius[rows] / native[rows], rng)
            rows = rows[inside < self.flux_inside]
            if len(rows) == 0:
                break
        else:
            raise OptionError(
                f"{len(rows)} galaxies have less than {self.flux_inside} of their light in the "
                "frame; set half_light_radius, offset or flux_inside down, or shape up"
            )
        values /= values.max(axis=(1, 2), keepdims=True)
        names = [self.libraries[i].names[j] for i, j in zip(which, index, strict=True)]
        return GalaxyMaps(values.astype(np.float32), self.pixel_scale, radius, tuple(names))

    def _seen(
        self, stamps: np.ndarray, scale: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stamps with pixels of `scale` arcsec in the frame, and the share of light inside."""
        n = len(stamps)
        values = resampled(
            stamps,
            1.0,
            self.shape,
            self.pixel_scale,
            centre=rng.uniform(-self.offset, self.offset, size=(n, 2)),
            position_angle=rng.uniform(0.0, 360.0, size=n),
            scale=scale,
        )
        values *= fading(self.shape)
        light = stamps.sum(axis=(1, 2), dtype=float) * scale**2
        return values, values.sum(axis=(1, 2)) * self.pixel_scale**2 / light


def _share(name: str, seed: int) -> float:
    """A number between 0 and 1 that is as good as random."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2.0**64


def _smooth_galaxy(grid: al.Grid2D, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A galaxy of half-light radius `radius` [px], its main profile in the middle."""
    kind = rng.choice(["single", "bulge", "pair"], p=[0.4, 0.4, 0.2])
    index = rng.uniform(0.5, 1.2 if kind == "bulge" else 2.5)
    axis_ratio, angle = rng.uniform((0.3, 0.0), (1.0, 180.0))
    light = _profile(grid, (0.0, 0.0), radius, index, axis_ratio, angle)
    if kind == "single":
        return light
    if kind == "bulge":
        share, size, index = rng.uniform((0.05, 0.2, 1.0), (0.4, 0.5, 3.0))
        # Seen from the same side, and rounder.
        rounder = 0.5 * (1.0 + axis_ratio)
        small = _profile(grid, (0.0, 0.0), size * radius, index, rounder, angle)
    else:
        share, size, index = rng.uniform((0.05, 0.2, 0.5), (0.5, 0.8, 2.5))
        distance, direction = rng.uniform((1.0, 0.0), (3.0, 2.0 * np.pi))
        centre = (
            radius * distance * np.sin(direction),
            radius * distance * np.cos(direction),
        )
        axis_ratio, angle = rng.uniform((0.3, 0.0), (1.0, 180.0))
        small = _profile(grid, centre, size * radius, index, axis_ratio, angle)
    return (1.0 - share) * light + share * small


def _profile(
    grid: al.Grid2D,
    centre: tuple[float, float],
    radius: float,
    index: float,
    axis_ratio: float,
    angle: float,
) -> np.ndarray:
    """A Sersic profile with a light of one in the frame."""
    profile = al.lp.Sersic(
        centre=centre,
        ell_comps=al.convert.ell_comps_from(axis_ratio=axis_ratio, angle=angle),
        effective_radius=radius,
        sersic_index=index,
    )
    light = profile.image_2d_from(grid).native.array
    return light / light.sum()
