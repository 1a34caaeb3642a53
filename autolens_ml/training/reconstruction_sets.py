"""Lenses that pixelized reconstructions are learned from: maps, and images of finer ones.

Images are made on pixels half as wide as those that are reconstructed, from convergences that go on
beyond the frame, with four rays along each side of a pixel. So no network is rewarded for what only
a model on its own pixels can do, and the errors of pixels are among those it has to live with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.inference.reconstruction.loop import (
    LoopOptions,
    Observed,
    gaussian_psfs,
    units_of,
)
from autolens_ml.physics import PixelizedLens, blurred
from autolens_ml.simulate.maps import (
    ConvergenceGenerator,
    GalaxySampler,
    prepared,
    smooth_galaxies,
)
from autolens_ml.simulate.sources import StampLibrary, clumpy, library_from
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.task import Say, reporter, silent

__all__ = ["LensMaps", "Observations", "Truth", "exposed", "turned"]

# Lenses that are made together.
_CHUNK = 64
# So many more are drawn than are missing: some are not good enough.
_SPARE = 4
# Pixels of the finer grid along a pixel, and rays along a fine one.
_FINE, _RAYS = 2, 2
# Convergences go on beyond the frame: sides of theirs over those of the frame.
_WIDE = 1.5
# The shear of what is beyond the frame is that inside of this [arcsec].
_SHEARED_WITHIN = 1.5
# Galaxies of each library that is drawn, not observed.
_N_DRAWN = 800
_DRAWN = {"clumpy": clumpy, "smooth": smooth_galaxies}
# Share of the galaxies that are not learned from.
_HELD_OUT = 0.15
# Lenses that are good enough: flux of the image over that of the source, and brightest pixel of the
# frame's border over the brightest of all.
_LEAST_MAGNIFICATION, _LARGEST_EDGE = 3.0, 0.1
# What generators are given here, not by presets.
_GIVEN = ("shape", "pixel_scale")


@dataclass(frozen=True, kw_only=True)
class Observations:
    """How lenses are observed; each draws its own values.

    Attributes
    ----------
    psf_fwhm : tuple of float
        Least and largest full width at half maximum [arcsec], uniform.
    psf_size : int
        Pixels a side of the point spread functions, odd.
    signal_to_noise : tuple of float
        Peak of the image over the noise of an empty pixel, log-uniform.
    background : tuple of float
        Noise of an empty pixel in electrons, log-uniform: the variance grows with the light in
        units of that noise over this number.
    shear : float
        Standard deviation of each component of the external shear; none is above three.
    masked : float
        Share of the lenses whose data are masked outside of a circle.
    mask_radius : tuple of float
        Of those circles [arcsec], uniform.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    psf_fwhm: tuple[float, float] = (0.12, 0.28)
    psf_size: int = 11
    signal_to_noise: tuple[float, float] = (10.0, 100.0)
    background: tuple[float, float] = (8.0, 200.0)
    shear: float = 0.04
    masked: float = 0.3
    mask_radius: tuple[float, float] = (2.0, 3.0)

    def __post_init__(self) -> None:
        for name in ("psf_fwhm", "signal_to_noise", "background", "mask_radius"):
            pair = tuple(getattr(self, name))
            object.__setattr__(self, name, pair)
            if len(pair) != 2 or not 0.0 < pair[0] <= pair[1] < np.inf:
                raise OptionError(
                    f"data: observations: {name} must be two numbers above 0, low to high, not "
                    f"{pair}"
                )
        if self.psf_size < 1 or self.psf_size % 2 == 0:
            raise OptionError(f"data: observations: psf_size must be odd, not {self.psf_size}")
        if not 0.0 <= self.shear <= 0.2 or not 0.0 <= self.masked <= 1.0:
            raise OptionError(
                f"data: observations: shear {self.shear} must be 0 to 0.2, masked {self.masked} "
                "0 to 1"
            )

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The observations that a mapping describes.

        Raises
        ------
        OptionError
            When an entry is unknown or out of its range.
        """
        known = [entry.name for entry in fields(cls)]
        if not isinstance(values, Mapping) or set(values) - set(known):
            raise OptionError(f"data: observations: {values!r} is no mapping of {', '.join(known)}")
        return cls(**values)


@dataclass(frozen=True)
class Truth:
    """Lenses as they are.

    Attributes
    ----------
    image : ndarray
        Without noise and before any point spread function, shape (n, y, x).
    source : ndarray
        Surface brightness, shape (n, rows, columns).
    convergence : ndarray
        Common logarithm, shape (n, y, x).
    shear : ndarray
        That of all mass beyond the frame, shape (n, 2).
    """

    image: np.ndarray
    source: np.ndarray
    convergence: np.ndarray
    shear: np.ndarray


@dataclass(frozen=True, eq=False)
class LensMaps:
    """A population of lenses in pixels.

    Parameters
    ----------
    frame
        Whose pixels.
    lenses
        Arguments of :class:`~autolens_ml.simulate.maps.ConvergenceGenerator`, but for the frame.
    galaxies
        How often each library of sources is drawn from: ``hubble-deep-field``, ``clumpy``,
        ``smooth``, a folder of FITS stamps or a catalogue in GalSim's format.
    sources
        Other arguments of :class:`~autolens_ml.simulate.maps.GalaxySampler`, but for the frame.
    shear
        Standard deviation of each component of the external shear.
    seed
        Of the galaxies that are drawn, and of the division into those that are learned from and
        others.

    Raises
    ------
    OptionError
        When an argument is unknown, given here, or out of its range.
    """

    frame: LoopOptions
    lenses: Mapping[str, Any]
    galaxies: Mapping[str, float]
    sources: Mapping[str, Any] = field(default_factory=dict)
    shear: float = 0.04
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("lenses", "galaxies", "sources"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or (name == "galaxies" and not value):
                raise OptionError(f"data: {name} must be a mapping, not {value!r}")
            if given := [key for key in _GIVEN if key in value]:
                raise OptionError(
                    f"data: {name}: {', '.join(given)} follow from the loop: take them out"
                )
        for name, weight in self.galaxies.items():
            if not isinstance(weight, int | float) or not 0.0 < weight < np.inf:
                raise OptionError(f"data: galaxies: {name} needs a weight above 0, not {weight!r}")
        # What is wrong is better said now.
        _ = self._generator, self._sampler_options

    def stored(
        self, folder: Path, n: int, seed: int, held_out: bool, say: Say = silent
    ) -> dict[str, np.ndarray]:
        """The arrays of :class:`Truth` by name, in a folder: missing lenses are made.

        Raises
        ------
        DataError
            When the folder holds another set, or a damaged one, or files of galaxies cannot be
            read.
        OptionError
            When the set does not fit on the disk.
        """
        shape, source_shape = self.frame.shape, self.frame.source_shape
        layout: Layout = {
            "image": ((n, *shape), np.float16),
            "source": ((n, *source_shape), np.float16),
            "convergence": ((n, *shape), np.float16),
            "shear": ((n, 2), np.float32),
        }

        def made(start: int) -> Iterator[dict[str, np.ndarray]]:
            for first in range(start, n, _CHUNK):
                truth = self.drawn(first // _CHUNK, seed, held_out)
                values = {name: value[: n - first] for name, value in vars(truth).items()}
                yield {name: value.astype(layout[name][1]) for name, value in values.items()}

        return stored_arrays(folder, layout, seed, made, _CHUNK, reporter(folder.name, say))

    def drawn(self, chunk: int, seed: int, held_out: bool) -> Truth:
        """The lenses of a chunk, 64 of them.

        Parameters
        ----------
        chunk
            Its number.
        seed
            Of everything random.
        held_out
            Whether sources are those that are not learned from.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(chunk,)))
        kept: list[Truth] = []
        while (missing := _CHUNK - sum(len(each.image) for each in kept)) > 0:
            kept.append(self._good(min(missing + _SPARE, _CHUNK), rng, held_out))
        return Truth(
            *(
                np.concatenate([getattr(each, entry.name) for each in kept])[:_CHUNK]
                for entry in fields(Truth)
            )
        )

    def _good(self, n: int, rng: np.random.Generator, held_out: bool) -> Truth:
        """Of n lenses those that are good enough."""
        maps = self._generator.generate(n, int(rng.integers(2**31)))
        galaxies = self._samplers[held_out].sample(n, rng)
        limit = 3.0 * self.shear
        shear = rng.normal(scale=self.shear, size=(n, 2)).clip(-limit, limit)
        with torch.no_grad():
            wide = torch.from_numpy(np.array(maps.values))
            light = torch.from_numpy(galaxies.values)
            fine = self._fine_lens(wide, light, torch.from_numpy(shear).float())
            image = _averaged(_middle(fine, [_FINE * n for n in self.frame.shape]), _FINE)
            wide, source = _averaged(wide, _FINE), _averaged(light, _FINE)
            convergence = _middle(wide, self.frame.shape)
            beyond = _middle(self._wide.deflections(wide), self.frame.shape)
            beyond = beyond - self._narrow.deflections(convergence)
            tides = _shear_of(self._narrow.rays, beyond)
        area = (self.frame.pixel_scale / self.frame.source_pixel_scale) ** 2
        flux = [each.sum(dim=(1, 2)) for each in (image, source)]
        border = torch.ones(self.frame.shape, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        edge = image[:, border].amax(dim=1) / image.amax(dim=(1, 2))
        good = (area * flux[0] / flux[1] > _LEAST_MAGNIFICATION) & (edge < _LARGEST_EDGE)
        found = (image, source, convergence.log10(), torch.from_numpy(shear).float() + tides)
        return Truth(*(each[good].numpy() for each in found))

    @cached_property
    def _generator(self) -> ConvergenceGenerator:
        shape = tuple(2 * round(0.5 * _WIDE * n) * _FINE for n in self.frame.shape)
        try:
            return ConvergenceGenerator(
                shape=shape, pixel_scale=self.frame.pixel_scale / _FINE, **self.lenses
            )
        except TypeError as error:
            raise OptionError(f"data: lenses: {error}") from error

    @cached_property
    def _sampler_options(self) -> dict[str, Any]:
        options = {
            "shape": tuple(_FINE * n for n in self.frame.source_shape),
            "pixel_scale": self.frame.source_pixel_scale / _FINE,
            **self.sources,
        }
        try:
            # Stamps that are cheap to make tell whether the options are right.
            GalaxySampler((StampLibrary.from_stamps(np.ones((1, 16, 16))),), **options)
        except TypeError as error:
            raise OptionError(f"data: sources: {error}") from error
        return options

    @cached_property
    def _samplers(self) -> tuple[GalaxySampler, GalaxySampler]:
        libraries = [_library(name, self.seed, _N_DRAWN) for name in self.galaxies]
        weights = tuple(self.galaxies.values())
        sampler = GalaxySampler(libraries, weights=weights, **self._sampler_options)
        return sampler.split(_HELD_OUT, self.seed)

    @cached_property
    def _fine_lens(self) -> PixelizedLens:
        return PixelizedLens(
            self._generator.shape,
            self._generator.pixel_scale,
            self._sampler_options["shape"],
            self._sampler_options["pixel_scale"],
            over_sampling=_RAYS,
        )

    @cached_property
    def _wide(self) -> PixelizedLens:
        shape = tuple(n // _FINE for n in self._generator.shape)
        return PixelizedLens(shape, self.frame.pixel_scale, (1, 1), 1.0)

    @cached_property
    def _narrow(self) -> PixelizedLens:
        return PixelizedLens(self.frame.shape, self.frame.pixel_scale, (1, 1), 1.0)


@cache
def _library(name: str, seed: int, n_drawn: int) -> StampLibrary:
    if name in _DRAWN:
        return _DRAWN[name](n_drawn, seed=seed)
    return prepared(library_from(name))


def _middle(maps: torch.Tensor, shape: tuple[int, ...] | list[int]) -> torch.Tensor:
    """The middle of maps, whose margins are even."""
    rows, columns = ((n - m) // 2 for n, m in zip(maps.shape[-2:], shape, strict=True))
    return maps[..., rows : rows + shape[0], columns : columns + shape[1]]


def _averaged(maps: torch.Tensor, factor: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(maps[:, None], factor)[:, 0]


def _shear_of(rays: torch.Tensor, deflections: torch.Tensor) -> torch.Tensor:
    """The shears whose deflections are nearest to these in the middle of the frame, (n, 2)."""
    y, x = rays
    inside = x.square() + y.square() < _SHEARED_WITHIN**2
    along_y, along_x = deflections.unbind(dim=1)
    norm = (inside * (x.square() + y.square())).sum()
    gamma_1 = (inside * (x * along_x - y * along_y)).sum(dim=(1, 2))
    gamma_2 = (inside * (y * along_x + x * along_y)).sum(dim=(1, 2))
    return torch.stack((gamma_1, gamma_2), dim=1) / norm


def turned(truth: Truth, form: np.ndarray) -> Truth:
    """The same lenses in one of the eight forms of a square.

    Parameters
    ----------
    truth
        n lenses, of square maps.
    form
        0 to 7, shape (n,): whether they are flipped up and down (1), left and right (2), and then
        along the diagonal (4), added up.
    """
    upside, mirrored, transposed = ((form & bit > 0)[:, None, None] for bit in (1, 2, 4))

    def maps(values: np.ndarray) -> np.ndarray:
        values = np.where(upside, values[:, ::-1], values)
        values = np.where(mirrored, values[:, :, ::-1], values)
        return np.where(transposed, values.transpose(0, 2, 1), values)

    signs = np.ones((len(form), 2), dtype=truth.shear.dtype)
    signs[:, 1] *= np.where((form & 1 > 0) != (form & 2 > 0), -1.0, 1.0)
    # Rows count downwards: they change places with columns in a mirror along y = -x.
    signs[:, 0] *= np.where(form & 4 > 0, -1.0, 1.0)
    return Truth(
        maps(truth.image), maps(truth.source), maps(truth.convergence), signs * truth.shear
    )


def exposed(
    truth: Truth, observations: Observations, pixel_scale: float, rng: np.random.Generator
) -> tuple[Observed, torch.Tensor]:
    """Lenses as they are observed, in units in which networks see them.

    Parameters
    ----------
    truth
        n lenses.
    observations
        How they are observed.
    pixel_scale
        Side of a pixel of the image [arcsec].
    rng
        Of everything random.

    Returns
    -------
    observed : Observed
        The data.
    units : Tensor
        What the light of the truth is divided by, shape (n,).
    """
    n = len(truth.image)
    fwhm = torch.from_numpy(rng.uniform(*observations.psf_fwhm, size=n)).float()
    ratio, background = (
        np.exp(rng.uniform(*np.log(pair), size=(n, 1, 1)))
        for pair in (observations.signal_to_noise, observations.background)
    )
    psf = gaussian_psfs(fwhm, pixel_scale, observations.psf_size)
    image = blurred(torch.from_numpy(np.asarray(truth.image, dtype=np.float32)), psf).numpy()
    sky = image.max(axis=(1, 2), keepdims=True) / ratio
    noise = sky * np.sqrt(1.0 + image.clip(min=0.0) / (sky * background))
    image = image + noise * rng.standard_normal(image.shape)
    mask = np.ones(image.shape, dtype=np.float32)
    y, x = (pixel_scale * (np.arange(m) - 0.5 * (m - 1)) for m in image.shape[1:])
    radius = rng.uniform(*observations.mask_radius, size=(n, 1, 1))
    radius = np.where(rng.random((n, 1, 1)) < observations.masked, radius, np.inf)
    mask[np.hypot(y[:, None], x) > radius] = 0.0
    image, noise, mask = (torch.from_numpy(np.asarray(a)).float() for a in (image, noise, mask))
    units = units_of(image, noise, mask)
    of_map = units[:, None, None]
    return Observed(image / of_map, noise / of_map, mask, psf, fwhm), units
