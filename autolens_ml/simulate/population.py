"""Populations of lenses: an ``af.Model`` as prior over lenses, seen with an instrument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import autolens as al
import numpy as np

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.simulate.forward import CHUNK, ForwardModel
from autolens_ml.simulate.instrument import Instrument, instrument_from

if TYPE_CHECKING:
    from autolens_ml.simulate.sources import StampLibrary

# Draws of the prior per accepted lens after which a selection is called impossible.
_MAX_TRIES = 1000


class Population:
    """A prior over lenses and the instrument that observes them.

    Parameters
    ----------
    model
        Any ``af.Model`` or ``af.Collection`` with ``galaxies``; its priors are the population.
    instrument
        An :class:`Instrument`, the name of a shipped one, or a dictionary of its values.
    max_source_offset
        Keep lenses whose source lies within this many Einstein radii of the lens, as seen on
        the sky. ``None`` keeps all.
    noise_units
        Whether the intensities of ``model`` are in units of the RMS of an empty pixel (so that
        one population serves every depth) instead of electrons per second.
    stamps
        Source stamps by model path, such as ``{"galaxies.source.bulge": library}``: the map of
        the ``PixelLight`` at that path is a random one of the library in every lens.

    Attributes
    ----------
    names : tuple of str
        Dotted model paths of the parameters, in the model's own order.

    Raises
    ------
    ModelError
        When the model cannot be simulated, or has no Einstein radius or source to select by.
    OptionError
        When the instrument is unknown.
    """

    def __init__(
        self,
        model: Any,
        instrument: str | Instrument | dict[str, Any],
        max_source_offset: float | None = None,
        noise_units: bool = False,
        stamps: Mapping[str, StampLibrary] | None = None,
    ) -> None:
        self.model = model
        self.instrument = instrument_from(instrument)
        self.max_source_offset = max_source_offset
        self.noise_units = noise_units
        self.stamps = dict(stamps or {})
        paths = tuple(tuple(path.split(".")) for path in self.stamps)
        self.forward = ForwardModel(model, self.instrument, paths)
        self.space = LatentSpace.from_model(model)
        self.names = self.space.names
        self._offset_indices = None if max_source_offset is None else _offset_indices(model)

    @cached_property
    def intensities(self) -> np.ndarray:
        """Whether each parameter is an intensity, shape (n_parameters,)."""
        return np.array([name.split(".")[-1] == "intensity" for name in self.names])

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Unit-normal latents of ``n`` lenses, shape (n, n_parameters).

        Raises
        ------
        ModelError
            When hardly any draw of the prior passes the selection.
        """
        kept: list[np.ndarray] = []
        n_kept = n_tried = 0
        while n_kept < n:
            z = rng.standard_normal((max(n, CHUNK), self.space.dim))
            n_tried += len(z)
            z = z[self._selected(self.space.physical_from(z))]
            kept.append(z)
            n_kept += len(z)
            if n_tried > _MAX_TRIES * n and n_kept < n:
                raise ModelError(
                    f"{n_kept} of {n_tried} draws of the priors have their source within "
                    f"{self.max_source_offset} Einstein radii: narrow the source's centre"
                )
        return np.concatenate(kept)[:n]

    def batches(self, n: int, seed: int, start: int = 0) -> Iterator[SimulatedLenses]:
        """Lenses ``start`` to ``n`` in batches of at most ``CHUNK`` times the number of cores.

        Lens i depends on the seed and on i alone: not on ``n``, nor on where a run was resumed.

        Raises
        ------
        OptionError
            When ``start`` is not a multiple of ``CHUNK``.
        """
        if start % CHUNK:
            raise OptionError(f"start must be a multiple of {CHUNK}, not {start}")
        for first in range(start, n, _CHUNKS_PER_BATCH * CHUNK):
            last = min(first + _CHUNKS_PER_BATCH * CHUNK, n)
            chunks = range(first // CHUNK, -(-last // CHUNK))
            yield self._simulated([self._chunk(seed, i) for i in chunks])[: last - first]

    def _chunk(self, seed: int, index: int) -> _Chunk:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        z = self.draw(CHUNK, rng)
        fwhm = rng.uniform(*self.instrument.psf_fwhm, size=CHUNK)
        log_times = rng.uniform(*np.log(self.instrument.exposure_time), size=CHUNK)
        stamps = [library.sample(CHUNK, rng) for library in self.stamps.values()]
        return _Chunk(z, fwhm, np.exp(log_times), np.array(stamps, dtype=int).T, rng)

    def _simulated(self, chunks: list[_Chunk]) -> SimulatedLenses:
        z, fwhm, times = (
            np.concatenate([getattr(chunk, name) for chunk in chunks])
            for name in ("z", "psf_fwhm", "exposure_time")
        )
        model_units = self.space.physical_from(z)
        kernels = self.instrument.psf_kernels_from(fwhm)
        stamps = None
        if self.stamps:
            indices = np.concatenate([chunk.stamps for chunk in chunks])
            stamps = np.stack(
                [library.stamps[indices[:, i]] for i, library in enumerate(self.stamps.values())],
                axis=1,
            )
        planes = self.forward.planes_from(model_units, kernels, stamps)
        parameters = model_units
        if self.noise_units:
            unit = self.instrument.background_noise_from(times)
            planes = planes * unit[:, None, None, None]
            parameters = np.where(self.intensities, model_units * unit[:, None], model_units)
        data, noise_maps = [], []
        for i, chunk in enumerate(chunks):
            here = slice(i * CHUNK, (i + 1) * CHUNK)
            observed = self._observed(planes[here].sum(axis=1), times[here], chunk.rng)
            data.append(observed[0])
            noise_maps.append(observed[1])
        return SimulatedLenses(
            population=self,
            latents=z,
            parameters=parameters,
            planes=planes,
            data=np.concatenate(data),
            noise_maps=np.concatenate(noise_maps),
            psf_fwhm=fwhm,
            exposure_times=times,
        )

    def _observed(
        self, images: np.ndarray, times: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Noisy images without the sky, and their true RMS, in electrons per second."""
        time = times[:, None, None]
        read_noise = self.instrument.read_noise
        expected = (np.maximum(images, 0.0) + self.instrument.background_sky_level) * time
        counts = rng.poisson(expected) + read_noise * rng.standard_normal(images.shape)
        sky = self.instrument.background_sky_level
        return counts / time - sky, np.sqrt(expected + read_noise**2) / time

    def _selected(self, parameters: np.ndarray) -> np.ndarray:
        if self._offset_indices is None:
            return np.ones(len(parameters), dtype=bool)
        radius, lens, source = self._offset_indices
        offset = np.hypot(*(parameters[:, source] - parameters[:, lens]).T)
        return offset <= self.max_source_offset * parameters[:, radius]


@dataclass(frozen=True)
class _Chunk:
    z: np.ndarray
    psf_fwhm: np.ndarray
    exposure_time: np.ndarray
    stamps: np.ndarray
    rng: np.random.Generator


# Large enough for every core to have work, small enough to stream in little memory.
_CHUNKS_PER_BATCH = 8


@dataclass(frozen=True)
class SimulatedLenses:
    """Simulated observations with everything that made them.

    Attributes
    ----------
    population : Population
        What they were drawn from.
    latents : ndarray
        Unit-normal latents, shape (n, n_parameters).
    parameters : ndarray
        Physical parameters, shape (n, n_parameters), columns as ``population.names``;
        intensities in electrons per second.
    planes : ndarray
        PSF-convolved images of each plane without noise, shape (n, n_planes, y, x), in
        electrons per second.
    data, noise_maps : ndarray
        Observed image and its RMS, shape (n, y, x), in electrons per second.
    psf_fwhm : ndarray
        Full widths at half maximum in arcsec, shape (n,).
    exposure_times : ndarray
        Seconds, shape (n,).
    """

    population: Population
    latents: np.ndarray
    parameters: np.ndarray
    planes: np.ndarray
    data: np.ndarray
    noise_maps: np.ndarray
    psf_fwhm: np.ndarray
    exposure_times: np.ndarray

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: slice) -> SimulatedLenses:
        arrays = {name: getattr(self, name)[index] for name in ARRAYS}
        return SimulatedLenses(self.population, **arrays)

    @property
    def images(self) -> np.ndarray:
        """Noise-free images of all planes together, shape (n, y, x)."""
        return self.planes.sum(axis=1)

    @property
    def psfs(self) -> np.ndarray:
        """PSF kernels, shape (n, y, x)."""
        return self.population.instrument.psf_kernels_from(self.psf_fwhm)

    def imaging_from(self, index: int) -> al.Imaging:
        """One lens as the dataset that PyAutoLens fits."""
        scale = self.population.instrument.pixel_scale
        return al.Imaging(
            data=al.Array2D.no_mask(self.data[index], pixel_scales=scale),
            noise_map=al.Array2D.no_mask(self.noise_maps[index], pixel_scales=scale),
            psf=al.Convolver(
                kernel=al.Array2D.no_mask(self.psfs[index], pixel_scales=scale), normalize=True
            ),
            over_sample_size_lp=self.population.instrument.over_sample_size,
        )

    def instance_from(self, index: int) -> Any:
        """The model instance of one lens: ``al.Tracer(galaxies=instance.galaxies)``."""
        return self.population.model.instance_from_vector(
            list(self.parameters[index]), ignore_assertions=True
        )


ARRAYS = (
    "latents",
    "parameters",
    "planes",
    "data",
    "noise_maps",
    "psf_fwhm",
    "exposure_times",
)


def simulate(population: Population, n: int, seed: int = 0) -> SimulatedLenses:
    """Simulate ``n`` lenses of a population, all in memory.

    Parameters
    ----------
    population
        What to draw from; :meth:`Population.batches` streams instead.
    n
        How many.
    seed
        Lens i is the same for every ``n``.

    Raises
    ------
    OptionError
        When ``n`` is not positive.
    """
    if n < 1:
        raise OptionError(f"the number of lenses must be positive, not {n}")
    batches = list(population.batches(n, seed))
    arrays = {name: np.concatenate([getattr(b, name) for b in batches]) for name in ARRAYS}
    return SimulatedLenses(population, **arrays)


def _offset_indices(model: Any) -> tuple[int, list[int], list[int]]:
    """Columns of the Einstein radius, of the lens's centre and of the source's centre."""
    columns = dict(indexed_paths(model))
    lens = next((path[:-1] for path in columns if path[-1] == "einstein_radius"), None)
    if lens is None:
        raise ModelError("max_source_offset needs a mass profile with a free einstein_radius")
    galaxy = {path: model.object_for_path(path[:2]) for path in columns if len(path) > 2}
    farthest = max(float(g.redshift) for g in galaxy.values() if hasattr(g, "redshift"))
    source = next(
        (
            path[:-2]
            for path in columns
            if path[-1] == "centre_0" and float(galaxy[path].redshift) == farthest
        ),
        None,
    )
    try:
        centres = [
            [columns[(*owner, "centre", f"centre_{axis}")] for axis in (0, 1)]
            for owner in (lens, source)
        ]
    except (KeyError, TypeError) as error:
        raise ModelError(
            "max_source_offset needs free centres of the lens mass and of the source"
        ) from error
    return columns[(*lens, "einstein_radius")], *centres
