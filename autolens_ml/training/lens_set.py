"""Training lenses: simulated once, observed afresh in every step.

Light is linear in its intensity. Noise-free planes stored at unit intensity therefore give exact
new draws of the population's intensities, noise, flips and turns at every step: a set of 10^5
lenses is worth many times its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofit.tools.util import open_atomic

from autolens_ml.latent import indexed_paths
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.symmetries import latent_symmetries_of, symmetries_of

# Radii of the circular masks that users draw, in units of half the image.
_MASK_RADII = (0.6, 1.3)
# Discs masked out of the rest: neighbours, cosmic rays.
_MAX_HOLES = 3
_HOLE_RADII = (0.03, 0.12)
# Half precision holds values up to 65504.
_LARGEST = 6.0e4


@dataclass(frozen=True)
class LensSet:
    """Noise-free planes at unit intensity, with what they were drawn with.

    Attributes
    ----------
    population : Population
        In noise units.
    planes : ndarray
        Shape (n, n_planes, y, x), float16, at an intensity of one where the plane has a free one.
    latents : ndarray
        Shape (n, n_parameters).
    psf_fwhm : ndarray
        In arcsec, shape (n,).
    exposure_times : ndarray
        In seconds, shape (n,).
    """

    population: Population
    planes: np.ndarray
    latents: np.ndarray
    psf_fwhm: np.ndarray
    exposure_times: np.ndarray

    def __len__(self) -> int:
        return len(self.planes)

    @classmethod
    def simulated(
        cls,
        population: Population,
        n: int,
        seed: int,
        folder: Path,
        say: Callable[[int, int], None] = lambda done, n: None,
    ) -> LensSet:
        """Simulate into ``folder``; what an interrupted call left there is kept."""
        n_planes, shape = population.forward.n_planes, population.instrument.shape
        folder.mkdir(parents=True, exist_ok=True)
        progress = folder / "progress.json"
        done = json.loads(progress.read_text())["done"] if progress.is_file() else 0
        arrays = {
            "planes": ((n, n_planes, *shape), np.float16),
            "latents": ((n, population.space.dim), np.float32),
            "psf_fwhm": ((n,), np.float32),
            "exposure_times": ((n,), np.float32),
        }
        maps = {
            name: np.lib.format.open_memmap(
                folder / f"{name}.npy", mode="r+" if done else "w+", dtype=dtype, shape=size
            )
            for name, (size, dtype) in arrays.items()
        }
        leading = leading_intensities(population)
        for lenses in population.batches(n, seed, start=done - done % CHUNK) if done < n else ():
            start = done - done % CHUNK
            rows = slice(start, start + len(lenses))
            unit = population.instrument.background_noise_from(lenses.exposure_times)
            planes = lenses.planes / unit[:, None, None, None]
            for plane, column in leading.items():
                planes[:, plane] /= (lenses.parameters[:, column] / unit)[:, None, None]
            maps["planes"][rows] = np.clip(planes, -_LARGEST, _LARGEST)
            maps["latents"][rows] = lenses.latents
            maps["psf_fwhm"][rows] = lenses.psf_fwhm
            maps["exposure_times"][rows] = lenses.exposure_times
            done = rows.stop
            for array in maps.values():
                array.flush()
            with open_atomic(progress) as file:
                file.write(json.dumps({"done": done}))
            say(done, n)
        return cls(population, **maps)


def leading_intensities(population: Population) -> dict[int, int]:
    """The first free intensity of each plane: plane -> column of the parameters."""
    model = population.model
    redshifts = sorted({float(galaxy.redshift) for galaxy in model.galaxies})
    leading: dict[int, int] = {}
    for path, column in indexed_paths(model):
        if path[-1] == "intensity" and path[0] == "galaxies":
            galaxy = model.object_for_path(path[:2])
            leading.setdefault(redshifts.index(float(galaxy.redshift)), column)
    return leading


@dataclass(frozen=True)
class Batch:
    """Observed lenses as a network sees them, in units of the noise of an empty pixel.

    Attributes
    ----------
    images, noise, mask : Tensor
        Shape (n, y, x).
    psf_width : Tensor
        In pixels, shape (n,).
    latents : Tensor
        Of the targets, shape (n, n_targets).
    """

    images: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor
    psf_width: torch.Tensor
    latents: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Arguments of a ``PosteriorNetwork``."""
        return self.images, self.noise, self.mask, self.psf_width


class Observer:
    """Makes batches of a set: new intensities, orientation, mask and noise every time.

    Parameters
    ----------
    lenses
        What is observed.
    columns
        Of the latents that the network estimates.
    mask_share
        Share of lenses seen through a mask.
    augment
        Whether intensities and orientation are drawn anew; the lenses as they were simulated
        otherwise.
    """

    def __init__(
        self, lenses: LensSet, columns: list[int], mask_share: float, augment: bool = True
    ) -> None:
        self.lenses = lenses
        self.columns = columns
        self.mask_share = mask_share
        self.augment = augment
        population = lenses.population
        self._leading = leading_intensities(population)
        self._priors = population.model.priors_ordered_by_id
        instrument = population.instrument
        self._pixel_scale = instrument.pixel_scale
        symmetries = symmetries_of(population.model) if augment else []
        self._symmetries = latent_symmetries_of(population.model, symmetries)
        times = lenses.exposure_times
        self._photon_noise = 1.0 / (instrument.background_noise_from(times) * times)
        self._radii = _pixel_radii(instrument.shape)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Observe the lenses at ``rows``, an ascending array."""
        lenses = self.lenses
        planes = torch.from_numpy(np.asarray(lenses.planes[rows])).float()
        latents = np.array(lenses.latents[rows], dtype=np.float64)
        leading = list(self._leading.values())
        if self.augment:
            latents[:, leading] = rng.standard_normal((len(rows), len(leading)))
        intensities = lenses.population.space.physical_from(latents)[:, leading]
        for plane, values in zip(self._leading, intensities.T, strict=True):
            planes[:, plane] *= torch.from_numpy(values).float()[:, None, None]
        images = planes.sum(1)
        if self._symmetries:
            symmetry = self._symmetries[rng.integers(len(self._symmetries))]
            images = torch.flip(images, (-2,)) if symmetry.flip else images
            images = torch.rot90(images, symmetry.turns, (-2, -1))
            latents = latents @ symmetry.matrix.T
        photons = torch.from_numpy(self._photon_noise[rows]).float()[:, None, None]
        noise = torch.sqrt(1.0 + photons * images.clamp(min=0.0))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images = images + noise * torch.randn(images.shape, generator=generator)
        return Batch(
            images=images,
            noise=noise,
            mask=self._masks(len(rows), rng),
            psf_width=torch.from_numpy(lenses.psf_fwhm[rows] / self._pixel_scale).float(),
            latents=torch.from_numpy(latents[:, self.columns]).float(),
        )

    def _masks(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Circles, some with holes, for a share of the lenses; all pixels for the others."""
        shape = self._radii.shape
        masks = np.ones((n, *shape), dtype=np.float32)
        y, x = (np.arange(side) - (side - 1) / 2.0 for side in shape)
        half = 0.5 * min(shape)
        for i in np.flatnonzero(rng.random(n) < self.mask_share):
            masks[i] = self._radii < half * rng.uniform(*_MASK_RADII)
            for _ in range(rng.integers(_MAX_HOLES + 1)):
                row, column = rng.uniform(-half, half, size=2)
                radius = half * rng.uniform(*_HOLE_RADII)
                masks[i][(y[:, None] - row) ** 2 + (x[None, :] - column) ** 2 < radius**2] = 0.0
        return torch.from_numpy(masks)


def _pixel_radii(shape: tuple[int, int]) -> np.ndarray:
    y, x = (np.arange(side) - (side - 1) / 2.0 for side in shape)
    return np.hypot(y[:, None], x[None, :])


def target_columns(model: Any, targets: list[str]) -> dict[str, int]:
    """Columns of the parameters that have a path which is, or begins with, one of ``targets``.

    Returns
    -------
    dict
        Path -> column, in the order of the columns; of several paths of a shared parameter the
        one that matches the earliest target.
    """
    found: dict[int, tuple[int, str]] = {}
    for path, column in indexed_paths(model):
        name = ".".join(path)
        for rank, target in enumerate(targets):
            if name == target or name.startswith(f"{target}."):
                found[column] = min(found.get(column, (rank, name)), (rank, name))
    return {found[column][1]: column for column in sorted(found)}
