"""Populations of lenses: an ``af.Model`` as prior over lenses, seen with an instrument."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import autolens as al
import numpy as np

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.simulate.forward import CHUNK, ForwardModel, instance_at, profiles_of
from autolens_ml.simulate.instrument import Instrument, instrument_from
from autolens_ml.simulate.selection import Selection
from autolens_ml.simulate.sources import StampLibrary

# Draws of the prior per accepted lens after which a selection is called impossible.
_MAX_TRIES = 1000
# Bytes of noise-free planes in a batch.
_BATCH_SIZE = 2**27


class Population:
    """A prior over lenses and the instrument that observes them.

    Parameters
    ----------
    model
        Any ``af.Model`` or ``af.Collection`` with ``galaxies`` at fixed redshifts; its priors and
        assertions are the population. Keep the ellipticities in its priors below 1: PyAutoLens
        refuses larger ones, which JAX cuts off.
    instrument
        An :class:`Instrument`, the name of a shipped one, or a dictionary of its values.
    max_source_offset
        Keep lenses whose source would be seen within this many Einstein radii of the lens if
        nothing deflected its light. ``None`` keeps all. See :class:`Selection`.
    noise_units
        Whether the intensities of ``model``, free or fixed, are in units of the RMS of an empty
        pixel (so that one population serves every depth) instead of electrons per second.
    stamps
        Source stamps by model path, such as ``{"galaxies.source.bulge": library}``: the map of
        the ``PixelLight`` at that path is a random one of the library in every lens. All
        libraries have stamps of one size.

    Attributes
    ----------
    names : tuple of str
        Dotted model paths of the parameters, in the model's own order.
    space : LatentSpace
        The map from unit-normal latents to physical parameters.
    forward : ForwardModel
        What makes noise-free images of parameters.
    selection : Selection
        Which draws of the prior are kept.

    Raises
    ------
    ModelError
        When the model cannot be simulated (see :class:`ForwardModel`), has no free parameter or,
        where ``max_source_offset`` needs them, no Einstein radius; when ``noise_units`` would
        scale light that is mass as well.
    OptionError
        When the instrument is unknown, or the stamps are no libraries of one size.
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
        _check_stamps(self.stamps)
        paths = tuple(tuple(path.split(".")) for path in self.stamps)
        self.forward = ForwardModel(model, self.instrument, paths)
        if model.prior_count == 0:
            raise ModelError("the model has no free parameter: give at least one a prior")
        self.selection = Selection(model, max_source_offset)
        self.space = LatentSpace.from_model(model)
        self.names = self.space.names
        self._scaled = _light_intensities(model) if noise_units else None
        self._has_run = False

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Unit-normal latents of ``n`` lenses that the selection keeps, shape (n, n_parameters).

        Raises
        ------
        ModelError
            When hardly any draw of the prior passes the selection.
        """
        kept = [np.empty((0, self.space.dim))]
        n_kept = n_tried = 0
        while n_kept < n:
            z = rng.standard_normal((max(n, CHUNK), self.space.dim))
            n_tried += len(z)
            z = z[self.selection.accepts(self.space.physical_from(z))]
            kept.append(z)
            n_kept += len(z)
            if n_tried > _MAX_TRIES * n and n_kept < n:
                raise ModelError(
                    f"only {n_kept} of {n_tried} draws of the priors satisfy the model's "
                    f"assertions and max_source_offset ({self.max_source_offset}): narrow the "
                    "priors, of the source's centre above all"
                )
        return np.concatenate(kept)[:n]

    def batches(self, n: int, seed: int, start: int = 0) -> Iterator[SimulatedLenses]:
        """Lenses ``start`` to ``n`` in batches of a multiple of ``CHUNK``, the last one cut.

        Lens i depends on the seed and on i alone: not on ``n``, nor on where a run was resumed,
        nor on the number of cores, which work on a batch together.

        Raises
        ------
        OptionError
            When ``n`` or ``seed`` is not a whole number of at least 0, or ``start`` not a multiple
            of ``CHUNK``.
        ModelError
            When hardly any draw of the prior passes the selection, or an image is not finite.
        """
        for name, value in (("n", n), ("seed", seed), ("start", start)):
            if not isinstance(value, Integral) or value < 0:
                raise OptionError(f"{name} must be a whole number of at least 0, not {value!r}")
        if start % CHUNK:
            raise OptionError(f"start must be a multiple of {CHUNK}, not {start}")
        return self._batches(n, seed, start)

    def _batches(self, n: int, seed: int, start: int) -> Iterator[SimulatedLenses]:
        n_cores = os.cpu_count() or 1
        chunk_size = 8 * CHUNK * self.forward.n_planes * int(np.prod(self.instrument.shape))
        n_chunks = max(n_cores, min(4 * n_cores, _BATCH_SIZE // chunk_size))
        with ThreadPoolExecutor(n_cores) as pool:
            for first in range(start, n, n_chunks * CHUNK):
                last = min(first + n_chunks * CHUNK, n)
                indices = range(first // CHUNK, -(-last // CHUNK))
                # The first chunk compiles, which threads would otherwise do at once.
                head = [] if self._has_run else [self._chunk(seed, indices[0])]
                self._has_run = True
                rest = pool.map(lambda index: self._chunk(seed, index), indices[len(head) :])
                yield _joined(self, [*head, *rest])[: last - first]

    def _chunk(self, seed: int, index: int) -> SimulatedLenses:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        latents = self.draw(CHUNK, rng)
        fwhm = rng.uniform(*self.instrument.psf_fwhm, size=CHUNK)
        times = np.exp(rng.uniform(*np.log(self.instrument.exposure_time), size=CHUNK))
        indices = np.empty((CHUNK, len(self.stamps)), dtype=int)
        for i, library in enumerate(self.stamps.values()):
            indices[:, i] = library.sample(CHUNK, rng)
        model_units = self.space.physical_from(latents)
        planes = self.forward.planes_from(
            model_units, self.instrument.psf_kernels_from(fwhm), self._maps(indices)
        )
        self._check_finite(planes, model_units)
        parameters = model_units
        if self.noise_units:
            unit = self.instrument.background_noise_from(times)
            planes = planes * unit[:, None, None, None]
            parameters = np.where(self._scaled, model_units * unit[:, None], model_units)
        data, noise_maps = self._observed(planes.sum(axis=1), times, rng)
        return SimulatedLenses(
            self, latents, parameters, planes, data, noise_maps, fwhm, times, indices
        )

    def _maps(self, indices: np.ndarray) -> np.ndarray | None:
        if not self.stamps:
            return None
        libraries = self.stamps.values()
        return np.stack(
            [library.stamps[i] for library, i in zip(libraries, indices.T, strict=True)], axis=1
        )

    def _check_finite(self, planes: np.ndarray, parameters: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(planes).all(axis=(1, 2, 3)))
        if bad.size:
            values = zip(self.names, parameters[bad[0]], strict=True)
            raise ModelError(
                "narrow the priors, or add an assertion: an image is not finite where "
                + ", ".join(f"{name} = {value:.4g}" for name, value in values)
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
    stamps : ndarray
        Which stamp of its library each lens has, shape (n, n_libraries), integers.
    """

    population: Population
    latents: np.ndarray
    parameters: np.ndarray
    planes: np.ndarray
    data: np.ndarray
    noise_maps: np.ndarray
    psf_fwhm: np.ndarray
    exposure_times: np.ndarray
    stamps: np.ndarray

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
        return self.population.instrument.imaging_from(
            self.data[index], self.noise_maps[index], self.psf_fwhm[index]
        )

    def instance_from(self, index: int) -> Any:
        """The model instance of one lens: ``al.Tracer(galaxies=instance.galaxies)``.

        Its intensities are in electrons per second, and it has the stamps of this lens.
        """
        population = self.population
        (vector,) = population.space.physical_from(self.latents[[index]])
        instance = population.model.instance_from_vector(list(vector), ignore_assertions=True)
        # What is fixed in the model is the same object in every instance.
        instance = copy.deepcopy(instance)
        for i, (path, library) in enumerate(population.stamps.items()):
            instance.object_for_path(tuple(path.split("."))).values = library[self.stamps[index, i]]
        if population.noise_units:
            unit = population.instrument.background_noise_from(self.exposure_times[index])
            lights = {id(light): light for _, light in profiles_of(instance, al.LightProfile)}
            for light in lights.values():
                light.intensity = light.intensity * unit
        return instance


ARRAYS = (
    "latents",
    "parameters",
    "planes",
    "data",
    "noise_maps",
    "psf_fwhm",
    "exposure_times",
    "stamps",
)


def simulate(population: Population, n: int, seed: int = 0) -> SimulatedLenses:
    """Simulate ``n`` lenses of a population, all in memory.

    Parameters
    ----------
    population
        What to draw from; :meth:`Population.batches` streams instead.
    n
        How many, at least 1.
    seed
        Lens i is the same for every ``n``.

    Raises
    ------
    OptionError
        When ``n`` is not positive, or the seed negative.
    ModelError
        When hardly any draw of the prior passes the selection, or an image is not finite.
    """
    batches = population.batches(n, seed)
    if n < 1:
        raise OptionError(f"the number of lenses must be positive, not {n}")
    return _joined(population, list(batches))


def _joined(population: Population, parts: list[SimulatedLenses]) -> SimulatedLenses:
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return SimulatedLenses(population, **arrays)


def _check_stamps(stamps: Mapping[str, Any]) -> None:
    for path, library in stamps.items():
        if not isinstance(library, StampLibrary):
            raise OptionError(f"stamps at {path}: needs a StampLibrary, not {library!r}")
    sizes = sorted({library.size for library in stamps.values()})
    if len(sizes) > 1:
        raise OptionError(f"stamps of {sizes} pixels a side: make all libraries of one size")


def _light_intensities(model: Any) -> np.ndarray:
    """Whether each parameter is the intensity of light, shape (n_parameters,)."""
    instance = instance_at(model)
    owners = {
        tuple(str(part) for part in path): isinstance(light, al.mp.MassProfile)
        for path, light in profiles_of(instance, al.LightProfile)
    }
    is_light = np.zeros((2, model.prior_count), dtype=bool)
    for path, column in indexed_paths(model):
        cut = path.index("intensity") if "intensity" in path else None
        is_light[int(path[:cut] in owners), column] = True
    if any(owners.values()) or is_light.all(axis=0).any():
        raise ModelError(
            "noise_units scale light, but the intensity of some light of the model is mass as "
            "well: give intensities in electrons per second"
        )
    return is_light[1]
