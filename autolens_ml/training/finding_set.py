"""Sets of lenses and non-lenses: simulated once for all networks, observed afresh in every step.

What is stored has no noise. At every step exposure times, noise, orientation, middle and edge of
the cut-out are drawn anew, so that no image is ever seen twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autolens_ml.simulate.finding.bands import BANDS, Band, bands_from
from autolens_ml.simulate.finding.grid import regridded
from autolens_ml.simulate.finding.systems import TRUTHS, FindingPopulation, Systems
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.degradation import depths, resampled

__all__ = ["FindingBatch", "FindingSet", "FindingSource", "turned"]

# Shares of images with patches of missing exposures, with noise correlated by resampling, and with
# an edge nearer than that of the field, this far from the middle [arcsec].
_UNEVEN_DEPTH, _RESAMPLED, _FRAMED = 0.2, 0.5, 0.25
_FRAMES = (4.0, 10.0)
# How far the middles of cut-outs are from those of galaxies along y and x, an rms in arcsec.
_OFF_CENTRE = 0.25
# Half precision holds values up to 65504.
_LARGEST = 6.0e4


@dataclass(frozen=True)
class FindingBatch:
    """Observed systems.

    Attributes
    ----------
    images : Tensor
        Shape (n, n_bands, y, x), NaN where there are no data.
    labels : Tensor
        1 for lenses, 0 for all others, shape (n,), integers.
    """

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class FindingSet:
    """Noise-free systems on disk, in all bands.

    Attributes
    ----------
    systems : Systems
        Memory maps, images in half precision.
    """

    systems: Systems

    def __len__(self) -> int:
        return len(self.systems)

    @classmethod
    def simulated(
        cls,
        population: FindingPopulation,
        n: int,
        seed: int,
        folder: Path,
        say: Callable[[int, int], None] = lambda done, n: None,
    ) -> FindingSet:
        """Simulate into ``folder``; what an interrupted call left there is kept.

        Raises
        ------
        DataError
            When the folder holds another set, or a damaged one.
        OptionError
            When the set does not fit on the disk.
        """
        layout: Layout = {
            band.name: ((n, *band.instrument.shape), np.float16) for band in population.bands
        }
        layout |= {"kinds": ((n,), np.int8), "truths": ((n, len(TRUTHS)), np.float32)}

        def made(start: int) -> Iterator[dict[str, np.ndarray]]:
            for systems in population.batches(n, seed, start):
                images = {k: np.minimum(v, _LARGEST) for k, v in systems.images.items()}
                yield {**images, "kinds": systems.kinds, "truths": systems.truths}

        arrays = stored_arrays(folder, layout, seed, made, CHUNK, say)
        images = {band.name: arrays[band.name] for band in population.bands}
        return cls(Systems(images, arrays["kinds"], arrays["truths"]))


class FindingSource:
    """Makes batches of systems in the bands and on the grid of a network.

    Parameters
    ----------
    systems
        What is observed.
    bands
        Names, in the order of the network's channels.
    shape, pixel_scale
        Pixels (y, x) and arcsec per pixel of the network's grid.
    augment
        Whether exposure times, orientation, middles and edges are drawn anew; otherwise systems are
        seen in the middle of a typical observation, with nothing drawn but the noise.
    """

    def __init__(
        self,
        systems: Systems,
        bands: Sequence[str],
        shape: tuple[int, int],
        pixel_scale: float,
        augment: bool = True,
    ) -> None:
        self.systems = systems
        self.bands = bands_from(bands)
        self.shape = shape
        self.pixel_scale = pixel_scale
        self.augment = augment
        self.labels = torch.from_numpy(systems.is_lens.astype(np.int64))

    def __len__(self) -> int:
        return len(self.systems)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> FindingBatch:
        """Observe the systems at ``rows``, an ascending array."""
        n = len(rows)
        # Bands are observed together: what is deep in one is deep in all.
        longer = rng.random(n) if self.augment else None
        turns = rng.integers(8, size=n) if self.augment else np.zeros(n, dtype=int)
        framed = rng.random(n) < (_FRAMED if self.augment else 0.0)
        frames = np.where(framed, rng.uniform(*_FRAMES, size=n), np.inf)
        # By whole pixels of the coarsest band, so that all bands move by the same angle.
        step = max(band.instrument.pixel_scale for band in self.bands)
        off = np.rint(rng.normal(scale=_OFF_CENTRE / step, size=(n, 2))) * step * self.augment
        planes = []
        for band, own in zip(self.bands, _streams(self.bands, rng), strict=True):
            side, scale = band.instrument.shape[0], band.instrument.pixel_scale
            image = np.asarray(self.systems.images[band.name][rows], dtype=np.float32)
            image = _moved(image, np.rint(off / scale).astype(int))
            observed = self._observed(torch.from_numpy(image), band, longer, own)
            observed[_beyond(frames, side, scale)] = torch.nan
            if (side, scale) != (self.shape[0], self.pixel_scale):
                observed = torch.from_numpy(
                    regridded(observed.numpy(), scale, self.shape, self.pixel_scale)
                )
            planes.append(observed)
        images = turned(torch.stack(planes, dim=1), turns)
        return FindingBatch(images, self.labels[torch.from_numpy(rows)])

    def _observed(
        self,
        images: torch.Tensor,
        band: Band,
        longer: np.ndarray | None,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """Images with noise, in units of that of an empty pixel, shape (n, y, x)."""
        n, instrument = len(images), band.instrument
        times = np.full(n, band.exposure_time)
        if longer is not None:
            shortest, longest = instrument.exposure_time
            times = shortest * (longest / shortest) ** longer
        unit = instrument.background_noise_from(times)
        images = images * _column(band.unit / unit)
        noise = torch.sqrt(1.0 + _column(1.0 / (unit * times)) * images.clamp(min=0.0))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        white = torch.randn(images.shape, generator=generator)
        if self.augment:
            noise = noise * depths(n, tuple(images.shape[1:]), _UNEVEN_DEPTH, rng)
            white = resampled(white, _RESAMPLED, rng)
        return images + noise * white


def _streams(bands: Sequence[Band], rng: np.random.Generator) -> list[np.random.Generator]:
    """A stream for each band, the same whichever bands there are beside it."""
    keys = rng.integers(2**62, size=len(BANDS))
    names = list(BANDS)
    return [np.random.default_rng(keys[names.index(band.name)]) for band in bands]


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()[:, None, None]


def _moved(images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Images, shape (n, y, x), each moved by pixels (y, x), shape (n, 2); edges wrap around."""
    return np.stack(
        [np.roll(image, by, axis=(0, 1)) for image, by in zip(images, pixels, strict=True)]
    )


def _beyond(frames: np.ndarray, side: int, pixel_scale: float) -> torch.Tensor:
    """Whether pixels are more than so far from the middle along y or x, shape (n, side, side)."""
    x = np.abs(np.arange(side) - 0.5 * (side - 1)) * pixel_scale
    outside = x > frames[:, None]
    return torch.from_numpy(outside[:, :, None] | outside[:, None, :])


def turned(images: torch.Tensor, turns: np.ndarray) -> torch.Tensor:
    """Images, shape (n, n_bands, y, x), in one of eight orientations each."""
    turned = torch.empty_like(images)
    for orientation in np.unique(turns):
        rows = torch.from_numpy(np.flatnonzero(turns == orientation))
        part = images[rows]
        part = torch.flip(part, (-1,)) if orientation >= 4 else part
        turned[rows] = torch.rot90(part, int(orientation) % 4, (-2, -1))
    return turned
