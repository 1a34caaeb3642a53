"""Convergence maps of haloes in cosmological simulations, from files of their particles.

Files have the layout of IllustrisTNG's public cut-outs and snapshots (Nelson et al. 2019,
arXiv:1812.05609), HDF5 with

- ``Header``, with the attributes ``Redshift``, ``HubbleParam`` (h), ``BoxSize`` [ckpc/h] and, where
  a type of particle has one mass for all, ``MassTable`` [10^10 solar masses / h];
- ``PartType0`` (gas), ``PartType1`` (dark matter), ``PartType4`` (stars and wind) and
  ``PartType5`` (black holes), as far as there are any, with ``Coordinates`` [ckpc/h], shape (n, 3),
  and ``Masses`` [10^10 solar masses / h], shape (n,). Dark matter has no ``Masses`` in TNG, but an
  entry in ``MassTable``.

Lengths come out in proper kpc, a factor of 1 / (1 + z) / h of those in the files, masses in solar
masses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import autolens as al
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from autogalaxy.cosmology.model import LensingCosmology
from scipy.spatial import cKDTree

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.mass_maps import ConvergenceMaps

__all__ = ["ParticleHalo", "maps_from_snapshots"]

# Types of particles that have mass.
_TYPES = (0, 1, 4, 5)
_SOLAR_MASSES = 1e10
# Standard deviation along an axis of the cubic spline kernel of simulations, over the radius at
# which it ends (Dehnen & Aly 2012, MNRAS, 425, 1068, table 1: half of 1 / 1.825742).
_KERNEL = 0.5 / 1.825742
# Particles at a time, and beyond how many standard deviations they leave nothing.
_BLOCK, _FARTHEST = 16384, 6.0
# Smallest standard deviation [kpc]: of particles on one spot.
_SMALLEST = 1e-3
# The centre: spheres shrink by this factor while they hold as many particles.
_SHRINKING, _FEWEST = 0.9, 100
# Smallest stretch on the sky that halo maps are made with: they would show the halo's outskirts,
# where a file of one halo ends.
_LEAST_STRETCH = 0.1


@dataclass(frozen=True, eq=False)
class ParticleHalo:
    """Particles around the centre of a halo.

    Attributes
    ----------
    positions : ndarray
        From the centre [proper kpc], shape (n, 3).
    masses : ndarray
        In solar masses, shape (n,).
    smoothing : ndarray
        Standard deviations of the Gaussians that stand for the particles [proper kpc], shape (n,).
    redshift : float
        Of the snapshot.
    """

    positions: np.ndarray
    masses: np.ndarray
    smoothing: np.ndarray
    redshift: float

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        centre: Sequence[float] | None = None,
        n_neighbours: int = 64,
        max_radius: float | None = None,
    ) -> Self:
        """Read a halo.

        Every particle is smoothed as by a simulation's spline kernel that ends at its
        `n_neighbours`-th neighbour: by a Gaussian of the same standard deviation. Neighbours are of
        the particle's own type, or of any where there are not as many of it. Where the box ends, it
        goes on from its other side.

        Parameters
        ----------
        path
            HDF5 file in the layout above.
        centre
            In the coordinates of the file [ckpc/h], such as ``SubhaloPos`` of the catalogue; by
            default that of spheres that shrink around their centre of mass (Power et al. 2003,
            MNRAS, 338, 14).
        n_neighbours
            How many neighbours, 2 to 99.
        max_radius
            Leave out what is farther from the centre [proper kpc].

        Raises
        ------
        DataError
            If the file is missing, not readable, not in this layout, or holds values that are not
            finite or too few particles.
        OptionError
            If `n_neighbours` or `max_radius` is out of its range.
        """
        if not 2 <= n_neighbours < _FEWEST:
            raise OptionError(f"n_neighbours must be 2 to {_FEWEST - 1}, not {n_neighbours}")
        if max_radius is not None and not max_radius > 0.0:
            raise OptionError(f"max_radius must be above 0 kpc, not {max_radius}")
        path = Path(path)
        types, header = _read(path)
        to_kpc = 1.0 / (1.0 + header["Redshift"]) / header["HubbleParam"]
        reference = types[0][0][0] if centre is None else np.asarray(centre, dtype=float)
        positions = [_nearest(where - reference, header["BoxSize"]) for where, _ in types]
        masses = [mass * _SOLAR_MASSES / header["HubbleParam"] for _, mass in types]
        if centre is None:
            middle = _shrinking_centre(np.concatenate(positions), np.concatenate(masses))
            positions = [where - middle for where in positions]
        positions = [where * to_kpc for where in positions]
        if max_radius is not None:
            inside = [np.linalg.norm(where, axis=1) <= max_radius for where in positions]
            positions = [where[rows] for where, rows in zip(positions, inside, strict=True)]
            masses = [mass[rows] for mass, rows in zip(masses, inside, strict=True)]
        everything = np.concatenate(positions)
        if len(everything) < _FEWEST:
            raise DataError(f"{path}: {len(everything)} particles; give a larger halo or radius")
        smoothing = [
            _smoothing(where, where if len(where) > n_neighbours else everything, n_neighbours)
            for where in positions
        ]
        return cls(
            everything, np.concatenate(masses), np.concatenate(smoothing), header["Redshift"]
        )

    def surface_density(
        self,
        axis: int,
        shape: tuple[int, int],
        pixel: float,
        centre: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """Projected mass along an axis [solar masses / kpc^2], shape `shape`.

        The mass of every particle's Gaussian is shared by the pixels exactly: none is lost but what
        is outside of the frame.

        Parameters
        ----------
        axis
            Along which to look: 0, 1 or 2. On the map, x is the next axis and y (up) the one after
            it, in cyclic order.
        shape
            Rows and columns.
        pixel
            Side of a pixel [proper kpc].
        centre
            Where the centre of the halo lies, (y, x) from the middle of the map [proper kpc].
        """
        y = self.positions[:, (axis + 2) % 3] + centre[0]
        x = self.positions[:, (axis + 1) % 3] + centre[1]
        edges_y, edges_x = (pixel * (np.arange(length + 1) - 0.5 * length) for length in shape)
        reach = _FARTHEST * self.smoothing
        near = (np.abs(x) < edges_x[-1] + reach) & (np.abs(y) < edges_y[-1] + reach)
        particles = np.stack((x, y, self.smoothing, self.masses))[:, near]
        # Particles without mass fill the last block.
        particles = np.pad(particles, ((0, 0), (0, -particles.shape[1] % _BLOCK)), mode="edge")
        particles[3, np.count_nonzero(near) :] = 0.0
        mass = np.zeros(shape)
        for start in range(0, particles.shape[1], _BLOCK):
            block = particles[:, start : start + _BLOCK]
            mass += np.asarray(_deposited(*block.astype(np.float32), edges_x, edges_y))
        return mass[::-1] / pixel**2

    def einstein_radius(self, axis: int, critical_density: float) -> float:
        """Radius of the largest circle in which the mean projected density is critical.

        Of the particles themselves, without smoothing, around the centre.

        Parameters
        ----------
        axis
            Along which to look: 0, 1 or 2.
        critical_density
            In solar masses / kpc^2.

        Returns
        -------
        The radius [proper kpc]; 0 if there is none that holds more than a few particles.
        """
        plane = np.delete(self.positions, axis, axis=1)
        squared = np.sum(plane**2, axis=1)
        order = np.argsort(squared)
        squared, mass = squared[order][_FEWEST:], np.cumsum(self.masses[order])[_FEWEST:]
        critical = np.flatnonzero(mass >= np.pi * squared * critical_density)
        return float(np.sqrt(squared[critical[-1]])) if critical.size else 0.0

    def convergence(
        self,
        shape: tuple[int, int],
        pixel_scale: float,
        redshift_lens: float,
        redshift_source: float,
        cosmology: LensingCosmology | None = None,
    ) -> ConvergenceMaps:
        """The halo as a lens, seen along each axis.

        Parameters
        ----------
        shape
            Rows and columns of the maps.
        pixel_scale
            Side of a pixel [arcsec].
        redshift_lens
            Where the halo is put; the snapshot's own redshift need not be it.
        redshift_source
            Of the source, behind the lens.
        cosmology
            ``al.cosmo.Planck15()`` by default, which IllustrisTNG has, too.

        Returns
        -------
        Three maps, along axes 0, 1 and 2.

        Raises
        ------
        OptionError
            If the redshifts are not in order.
        """
        critical, kpc = _critical(redshift_lens, redshift_source, cosmology)
        maps = [self.surface_density(axis, shape, pixel_scale * kpc) for axis in range(3)]
        return ConvergenceMaps.of(np.array(maps) / critical, pixel_scale)


def maps_from_snapshots(
    paths: Sequence[str | Path],
    shape: tuple[int, int],
    pixel_scale: float,
    einstein_radius: tuple[float, float],
    redshift_lens: float = 0.5,
    redshift_source: float = 1.5,
    n_per_halo: int = 1,
    offset: float = 0.0,
    n_neighbours: int = 64,
    max_radius: float | None = None,
    seed: int = 0,
    cosmology: LensingCosmology | None = None,
) -> ConvergenceMaps:
    """Convergence maps of many haloes, each seen along three axes, with wanted Einstein radii.

    Every map is stretched on the sky to an Einstein radius drawn for it, moved, and reflected and
    turned into one of its eight symmetric forms. Haloes that no circle of makes critical, or whose
    Einstein radius would have to be shrunk more than tenfold, are left out.

    Parameters
    ----------
    paths
        Files, one halo in each.
    shape, pixel_scale
        Of the maps, which are square; [arcsec].
    einstein_radius
        Least and largest [arcsec], drawn uniformly.
    redshift_lens, redshift_source
        For the critical surface density.
    n_per_halo
        Maps of each halo and axis.
    offset
        Largest distance of the centre from the middle of the frame, along y and along x [arcsec].
    n_neighbours, max_radius
        See :meth:`ParticleHalo.from_file`.
    seed
        Of everything random.
    cosmology
        ``al.cosmo.Planck15()`` by default.

    Raises
    ------
    DataError
        If a file cannot be read, or no halo is massive enough.
    OptionError
        If a value is out of its range.
    """
    low, high = einstein_radius
    widest = 0.5 * min(shape) * pixel_scale
    if not 0.0 < low <= high or not offset >= 0.0 or high + offset >= widest:
        raise OptionError(
            f"einstein_radius {einstein_radius} and offset {offset}: give values above 0, low to "
            f"high, that fit into half a frame of {widest:.3g} arcsec"
        )
    if shape[0] != shape[1]:
        raise OptionError(f"shape {tuple(shape)}: maps that are turned must be square")
    if n_per_halo < 1:
        raise OptionError(f"n_per_halo must be at least 1, not {n_per_halo}")
    critical, kpc = _critical(redshift_lens, redshift_source, cosmology)
    rng = np.random.default_rng(seed)
    maps = []
    for path in paths:
        halo = ParticleHalo.from_file(path, n_neighbours=n_neighbours, max_radius=max_radius)
        for axis in range(3):
            native = halo.einstein_radius(axis, critical) / kpc
            for wanted in rng.uniform(low, high, size=n_per_halo):
                shift = rng.uniform(-offset, offset, size=2)
                form = int(rng.integers(8))
                if native * _LEAST_STRETCH > wanted or native == 0.0:
                    continue
                # Lengths in the halo of an arcsec on the stretched sky.
                unit = kpc * native / wanted
                density = halo.surface_density(axis, shape, pixel_scale * unit, shift * unit)
                maps.append(_symmetric(density / critical, form))
    if not maps:
        raise DataError(f"none of {len(paths)} haloes is massive enough to be a lens; give others")
    return ConvergenceMaps.of(np.array(maps), pixel_scale)


def _read(path: Path) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, float]]:
    """Coordinates and masses of each type that has particles, and the header, as in the file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a snapshot or a cut-out in HDF5")
    try:
        with h5py.File(path) as file:
            header = {
                name: float(file["Header"].attrs[name])
                for name in ("Redshift", "HubbleParam", "BoxSize")
            }
            table = np.asarray(file["Header"].attrs.get("MassTable", np.zeros(6)), dtype=float)
            types = [
                _particles(path, file[f"PartType{number}"], number, table)
                for number in _TYPES
                if "Coordinates" in file.get(f"PartType{number}", ())
            ]
    except (KeyError, OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].strip("'\"")
        raise DataError(
            f"{path}: not a snapshot in the layout of IllustrisTNG ({reason}); give HDF5 with "
            "Header (Redshift, HubbleParam, BoxSize) and PartType groups"
        ) from error
    types = [each for each in types if len(each[0])]
    if not types:
        raise DataError(f"{path}: holds no particles; ask for Coordinates and Masses")
    if not (header["HubbleParam"] > 0.0 and header["BoxSize"] > 0.0 and header["Redshift"] >= 0.0):
        raise DataError(f"{path}: a header of {header} is none of a simulation; give another file")
    return types, header


def _particles(
    path: Path, group: h5py.Group, number: int, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    where = np.asarray(group["Coordinates"], dtype=float)
    if "Masses" in group:
        mass = np.asarray(group["Masses"], dtype=float)
    elif number < len(table) and table[number] > 0.0:
        mass = np.full(len(where), table[number])
    else:
        raise DataError(
            f"{path}: PartType{number} has neither Masses nor an entry in the header's MassTable; "
            "write one of them to the file"
        )
    if where.ndim != 2 or where.shape[1] != 3 or mass.shape != (len(where),):
        raise DataError(
            f"{path}: PartType{number} has Coordinates of shape {where.shape} and Masses of "
            f"{mass.shape}; they are (n, 3) and (n,)"
        )
    if not (np.isfinite(where).all() and np.all((mass >= 0.0) & np.isfinite(mass))):
        raise DataError(f"{path}: PartType{number} has values that are not finite, or below zero")
    return where, mass


def _nearest(where: np.ndarray, box: float) -> np.ndarray:
    """Positions relative to a place in a periodic box, the nearest of their images."""
    return where - box * np.round(where / box)


def _shrinking_centre(where: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The densest place: centre of mass of ever smaller spheres."""
    centre = np.average(where, axis=0, weights=mass)
    radius = np.max(np.linalg.norm(where - centre, axis=1))
    while len(where) > _FEWEST:
        radius *= _SHRINKING
        inside = np.linalg.norm(where - centre, axis=1) < radius
        if np.count_nonzero(inside) < _FEWEST:
            break
        where, mass = where[inside], mass[inside]
        centre = np.average(where, axis=0, weights=mass)
    return centre


def _smoothing(where: np.ndarray, among: np.ndarray, n_neighbours: int) -> np.ndarray:
    """Standard deviations of kernels that end at a neighbour [kpc]."""
    # A particle is its own nearest.
    # Neighbours one after the other find the tree's branches in the cache.
    order = cKDTree(where).indices
    distance, _ = cKDTree(among).query(where[order], k=[n_neighbours + 1], workers=-1)
    smoothing = np.empty(len(where))
    smoothing[order] = np.maximum(_KERNEL * distance[:, 0], _SMALLEST)
    return smoothing


@jax.jit
def _deposited(x: Any, y: Any, sigma: Any, mass: Any, edges_x: Any, edges_y: Any) -> Any:
    """Masses of Gaussians in pixels between edges, row 0 at the lowest y, float32."""

    def shares(where: Any, edges: Any) -> Any:
        # In units of the width that the error function has.
        relative = (edges.astype(jnp.float32) - where[:, None]) / (math.sqrt(2.0) * sigma[:, None])
        return 0.5 * jnp.diff(jax.lax.erf(relative), axis=1)

    return (shares(y, edges_y) * mass[:, None]).T @ shares(x, edges_x)


def _critical(
    redshift_lens: float, redshift_source: float, cosmology: LensingCosmology | None
) -> tuple[float, float]:
    """Critical surface density [solar masses / kpc^2], and kpc per arcsec at the lens."""
    if not 0.0 < redshift_lens < redshift_source < np.inf:
        raise OptionError(
            f"redshift_lens {redshift_lens} and redshift_source {redshift_source}; the source must "
            "be behind the lens"
        )
    cosmology = cosmology or al.cosmo.Planck15()
    critical = cosmology.critical_surface_density_between_redshifts_solar_mass_per_kpc2_from(
        redshift_0=redshift_lens, redshift_1=redshift_source
    )
    return float(critical), float(cosmology.kpc_per_arcsec_from(redshift=redshift_lens))


def _symmetric(values: np.ndarray, form: int) -> np.ndarray:
    """One of the eight forms of a square map, 0 to 7."""
    turned = np.rot90(values, form % 4)
    return turned[:, ::-1] if form >= 4 else turned
