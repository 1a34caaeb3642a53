"""Training lenses: simulated once, observed afresh in every step.

Light is linear in its intensity. Noise-free planes stored at unit intensity therefore give exact
new draws of the population's brightness, noise, flips and turns at every step: a set of 10^5 lenses
is worth many times its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import autofit as af
import autolens as al
import numpy as np
import torch
from autogalaxy.profiles.mass.abstract.abstract import MassProfile
from scipy.special import ndtr, ndtri

from autolens_ml.exceptions import OptionError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.networks.orientations import turned
from autolens_ml.simulate.forward import CHUNK, instance_at, profiles_of
from autolens_ml.simulate.population import Population, SimulatedLenses
from autolens_ml.simulate.selection import Selection
from autolens_ml.simulate.symmetries import Symmetry, symmetries_of
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.degradation import depths, resampled

# Radii of the circular masks that users draw, in units of half the image.
_MASK_RADII = (0.6, 1.3)
# Discs masked out of the rest: neighbours, cosmic rays.
_MAX_HOLES = 3
_HOLE_RADII = (0.03, 0.12)
# Half precision holds values up to 65504.
_LARGEST = 6.0e4
# Where autofit looks for the galaxies of a lens.
_GALAXIES = ("galaxies", "extra_galaxies", "scaling_galaxies")
# Rounding must not take latents to infinity.
_UNIT_MARGIN = 1e-12
# Draws of the prior on which its symmetries are tested, and what differs between equals.
_N_ASSERTED = 4096
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LensSet:
    """Noise-free planes at unit intensity, with what they were drawn with.

    Attributes
    ----------
    population : Population
        What the lenses were drawn from.
    planes : ndarray
        Shape (n, n_planes, y, x), float16, in units of the RMS of an empty pixel, at an intensity
        of one, in the same units, where `leading_intensities` has one for the plane.
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
        """Simulate into ``folder``; what an interrupted call left there is kept.

        Parameters
        ----------
        population
            What to draw from.
        n
            How many lenses.
        seed
            Lens i depends on it and on i alone.
        folder
            Where the arrays are kept; made if need be.
        say
            Takes the number of lenses that are there, and ``n``.

        Raises
        ------
        DataError
            When the folder holds another set, or a damaged one.
        OptionError
            When the set does not fit on the disk.
        """
        layout: Layout = {
            "planes": ((n, population.forward.n_planes, *population.instrument.shape), np.float16),
            "latents": ((n, population.space.dim), np.float32),
            "psf_fwhm": ((n,), np.float32),
            "exposure_times": ((n,), np.float32),
        }

        def made(start: int) -> Iterator[dict[str, np.ndarray]]:
            return map(_stored, population.batches(n, seed, start=start))

        return cls(population, **stored_arrays(folder, layout, seed, made, CHUNK, say))


def _stored(lenses: SimulatedLenses) -> dict[str, np.ndarray]:
    """What is kept of simulated lenses."""
    unit = lenses.population.instrument.background_noise_from(lenses.exposure_times)
    planes = lenses.planes / unit[:, None, None, None]
    for plane, column in leading_intensities(lenses.population).items():
        planes[:, plane] /= (lenses.parameters[:, column] / unit)[:, None, None]
    return {
        "planes": np.clip(planes, -_LARGEST, _LARGEST),
        "latents": lenses.latents,
        "psf_fwhm": lenses.psf_fwhm,
        "exposure_times": lenses.exposure_times,
    }


def leading_intensities(population: Population) -> dict[int, int]:
    """The first free intensity of each plane: plane -> column of the parameters."""
    plane_of = _plane_of(population.model)
    leading: dict[int, int] = {}
    for path, column in indexed_paths(population.model):
        if path[-1] == "intensity" and path[:2] in plane_of:
            leading.setdefault(plane_of[path[:2]], column)
    return leading


def _plane_of(model: Any) -> dict[tuple[str, ...], int]:
    """The plane of every galaxy, by the path of the galaxy."""
    redshifts = {
        (group, name): float(galaxy.redshift)
        for group in _GALAXIES
        for name, galaxy in (getattr(model, group, None) or af.Collection()).items()
    }
    order = sorted(set(redshifts.values()))
    return {path: order.index(redshift) for path, redshift in redshifts.items()}


class _Dimmer:
    """Draws the brightness of a plane anew.

    One intensity is drawn from its prior. Several keep their ratios and move together, uniformly
    within all their priors if these are log-uniform: a Gibbs step, which leaves the prior of all
    intensities, and everything that depends on their ratios, as it is.

    Parameters
    ----------
    columns
        Of the intensities of the plane.
    priors
        Their priors.
    """

    def __init__(self, columns: list[int], priors: list[Any]) -> None:
        self._columns = columns
        self._widths = None
        if len(columns) > 1:
            self._widths = np.array([np.log(p.upper_limit / p.lower_limit) for p in priors])

    def redraw(self, latents: np.ndarray, rng: np.random.Generator) -> None:
        """Change the intensities among latents, shape (n, n_parameters), in place."""
        if self._widths is None:
            latents[:, self._columns] = rng.standard_normal((len(latents), 1))
            return
        unit = ndtr(latents[:, self._columns])
        lowest = np.max(-unit * self._widths, axis=1)
        highest = np.min((1.0 - unit) * self._widths, axis=1)
        shift = lowest + (highest - lowest) * rng.random(len(unit))
        moved = unit + shift[:, None] / self._widths
        latents[:, self._columns] = ndtri(np.clip(moved, _UNIT_MARGIN, 1.0 - _UNIT_MARGIN))

    def keeps(
        self, z: np.ndarray, asserted: Selection, space: LatentSpace, rng: np.random.Generator
    ) -> bool:
        """Whether latents that satisfy the model's assertions still do when they are redrawn."""
        z = z.copy()
        self.redraw(z, rng)
        return bool(asserted.accepts(space.physical_from(z)).all())


def _dimmers_of(population: Population) -> list[_Dimmer]:
    """One for each plane whose light is proportional to intensities that are free to change."""
    model = population.model
    plane_of = _plane_of(model)
    columns = {prior: i for i, prior in enumerate(model.priors_ordered_by_id)}
    owners: dict[int, set[Any]] = {}
    for path, column in indexed_paths(model):
        # A parameter that is more than an intensity of one plane cannot be changed alone.
        owner = plane_of.get(path[:2]) if path[-1] == "intensity" else path
        owners.setdefault(column, set()).add(owner)
    intensities: dict[int, set[Any]] = {}
    for path, light in profiles_of(instance_at(model), al.LightProfile):
        plane = plane_of[tuple(str(part) for part in path[:2])]
        value = getattr(model.object_for_path(path), "intensity", None)
        is_free = isinstance(value, af.Prior) and not isinstance(light, MassProfile)
        intensities.setdefault(plane, set()).add(columns[value] if is_free else None)
    dimmers = []
    for plane, found in sorted(intensities.items()):
        if None in found or any(owners[column] != {plane} for column in found):
            continue
        priors = [model.priors_ordered_by_id[column] for column in sorted(found)]
        if len(found) == 1 or all(type(prior) is af.LogUniformPrior for prior in priors):
            dimmers.append(_Dimmer(sorted(found), priors))
    rng = np.random.default_rng(0)
    asserted = Selection(model)
    z = rng.standard_normal((_N_ASSERTED, population.space.dim))
    z = z[asserted.accepts(population.space.physical_from(z))]
    return [dimmer for dimmer in dimmers if dimmer.keeps(z, asserted, population.space, rng)]


def symmetries_in_training(population: Population, columns: list[int]) -> list[Symmetry]:
    """The flips and turns that take lenses of a population to lenses of the same population.

    Parameters
    ----------
    population
        Of lenses.
    columns
        Of the parameters that are asked for: on their latents, symmetries act by ``matrix``. An
        angle that is uniform over its whole period may turn if it is none of them.
    """
    model, space = population.model, population.space
    rng = np.random.default_rng(0)
    z = rng.standard_normal((_N_ASSERTED, space.dim))
    physical = space.physical_from(z)
    asserted = Selection(model)
    scale = np.maximum(np.abs(physical).max(axis=0), _TOLERANCE)
    y, x = population.instrument.shape
    kept = []
    for symmetry in symmetries_of(model):
        moved = symmetry.parameters_from(physical)
        expected = space.physical_from(z @ symmetry.matrix.T)
        same = np.all(np.abs(moved - expected) <= _TOLERANCE * scale, axis=0)
        for i in set(np.flatnonzero(symmetry.offset)) - set(columns):
            prior = model.priors_ordered_by_id[i]
            same[i] = type(prior) is af.UniformPrior and np.isclose(
                prior.upper_limit - prior.lower_limit, symmetry.periods[i]
            )
        fits = x == y or symmetry.turns % 2 == 0
        if (
            fits
            and same.all()
            and np.array_equal(asserted.accepts(moved), asserted.accepts(physical))
        ):
            kept.append(symmetry)
    return kept


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


@dataclass(frozen=True)
class Shares:
    """How often training images have what real ones have.

    Attributes
    ----------
    masked, uneven_depth, resampled : float
        Shares of lenses that are seen through a mask, have patches of missing exposures, and
        correlated noise.
    photon_spread : float
        Largest factor, either way, by which the photon noise differs from the instrument's.

    Raises
    ------
    OptionError
        When one of them is not a number, or out of its range.
    """

    masked: float = 0.0
    uneven_depth: float = 0.0
    resampled: float = 0.0
    photon_spread: float = 1.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            low, high = (1.0, np.inf) if entry.name == "photon_spread" else (0.0, 1.0)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            # Written so that NaN fails.
            if not (is_number and low <= value <= high and np.isfinite(value)):
                raise OptionError(
                    f"shares: {entry.name} must be a number from {low:g} to {high:g}, not {value!r}"
                )


class Observer:
    """Makes batches of a set: new brightness, orientation, mask and noise every time.

    Parameters
    ----------
    lenses
        What is observed.
    columns
        Of the latents that the network estimates.
    shares
        Shares of lenses that are seen through a mask and so on; by default none is.
    augment
        Whether brightness and orientation are drawn anew; the lenses as they were simulated
        otherwise.
    """

    def __init__(
        self,
        lenses: LensSet,
        columns: list[int],
        shares: Shares | None = None,
        augment: bool = True,
    ) -> None:
        self.lenses = lenses
        self.columns = columns
        self.shares = shares or Shares()
        population = lenses.population
        instrument = population.instrument
        self._leading = leading_intensities(population)
        self._dimmers = _dimmers_of(population) if augment else []
        self._symmetries = symmetries_in_training(population, columns) if augment else []
        self._pixel_scale = instrument.pixel_scale
        times = np.asarray(lenses.exposure_times, dtype=np.float64)
        unit = instrument.background_noise_from(times)
        self._photon_noise = 1.0 / (unit * times)
        # Of intensities, in their own units.
        self._unit = np.ones_like(unit) if population.noise_units else unit
        self._y, self._x = (np.arange(side) - (side - 1) / 2.0 for side in instrument.shape)
        self._radii = np.hypot(self._y[:, None], self._x[None, :])

    def __len__(self) -> int:
        return len(self.lenses)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Observe the lenses at ``rows``, an ascending array."""
        lenses = self.lenses
        latents = np.array(lenses.latents[rows], dtype=np.float64)
        for dimmer in self._dimmers:
            dimmer.redraw(latents, rng)
        parameters = lenses.population.space.physical_from(latents)
        planes = torch.from_numpy(np.asarray(lenses.planes[rows])).float()
        for plane, column in self._leading.items():
            brightness = torch.from_numpy(parameters[:, column] / self._unit[rows]).float()
            planes[:, plane] *= brightness[:, None, None]
        images = planes.sum(1)
        if self._symmetries:
            symmetry = self._symmetries[rng.integers(len(self._symmetries))]
            images = turned(images, symmetry.flip, symmetry.turns)
            latents = latents @ symmetry.matrix.T
        shares, shape = self.shares, self._radii.shape
        log_spread = np.log(shares.photon_spread)
        spread = np.exp(rng.uniform(-log_spread, log_spread, size=len(rows)))
        photons = torch.from_numpy(self._photon_noise[rows] * spread).float()[:, None, None]
        noise = torch.sqrt(1.0 + photons * images.clamp(min=0.0))
        noise = noise * depths(len(rows), shape, shares.uneven_depth, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        white = torch.randn(images.shape, generator=generator)
        images = images + noise * resampled(white, shares.resampled, rng)
        return Batch(
            images=images,
            noise=noise,
            mask=torch.from_numpy(self._masks(len(rows), rng)),
            psf_width=torch.from_numpy(lenses.psf_fwhm[rows] / self._pixel_scale).float(),
            latents=torch.from_numpy(latents[:, self.columns]).float(),
        )

    def _masks(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Circles, some with holes, for a share of the lenses; all pixels for the others."""
        masks = np.ones((n, *self._radii.shape), dtype=np.float32)
        half = 0.5 * min(self._radii.shape)
        for i in np.flatnonzero(rng.random(n) < self.shares.masked):
            masks[i] = self._radii < half * rng.uniform(*_MASK_RADII)
            for _ in range(rng.integers(_MAX_HOLES + 1)):
                row, column = rng.uniform(-half, half, size=2)
                radius = half * rng.uniform(*_HOLE_RADII)
                distance = np.add.outer((self._y - row) ** 2, (self._x - column) ** 2)
                masks[i][distance < radius**2] = 0.0
        return masks


def target_columns(model: Any, targets: list[str]) -> dict[str, int]:
    """Columns of the parameters that have a path which is, or begins with, one of ``targets``.

    Returns
    -------
    dict
        Path -> column, in the order of the columns; of several paths of a shared parameter the
        one that matches the earliest target.

    Raises
    ------
    OptionError
        When a target is, or begins, no path of the model.
    """
    found: dict[int, tuple[int, str]] = {}
    names = {".".join(path): column for path, column in indexed_paths(model)}
    for rank, target in enumerate(targets):
        matched = [name for name in names if name == target or name.startswith(f"{target}.")]
        if not matched:
            parts = {name.rsplit(".", i)[0] for name in names for i in range(3)}
            close = get_close_matches(target, sorted(parts), n=1)
            hint = f"did you mean {close[0]}?" if close else f"one of its paths is {min(names)}"
            raise OptionError(f"target {target!r}: the model has no such parameter; {hint}")
        for name in matched:
            column = names[name]
            found[column] = min(found.get(column, (rank, name)), (rank, name))
    return {found[column][1]: column for column in sorted(found)}
