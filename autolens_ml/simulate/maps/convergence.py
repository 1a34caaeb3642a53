"""Convergence maps of lens galaxies that are drawn, not simulated: smooth, lumpy, irregular.

A lens is an elliptical power law, to which multipoles may be added; subhaloes, a Poisson number of
truncated isothermal spheres; and a Gaussian random field in the logarithm of the convergence, which
stands for everything that no profile describes and keeps the convergence above zero. All but the
random field are PyAutoLens mass profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import exprel, inv_boxcox

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.fast_math import accelerated
from autolens_ml.simulate.maps.mass_maps import ConvergenceMaps
from autolens_ml.simulate.maps.random_fields import gaussian_random_fields

__all__ = ["ConvergenceGenerator"]

# Maps drawn with one seed, in one compiled call.
_CHUNK = 64
# Positions a side over which a pixel is averaged, and core radii [px] below which a cusp would slip
# between them: eight tenths of their distance. The galaxy's cusp and the subhaloes'.
_GALAXY_BITS, _GALAXY_CORE = 4, 0.2
_SUBHALO_BITS, _SUBHALO_CORE = 2, 0.4
_GALAXY = ("centre", "ell_comps", "einstein_radius", "slope", "multipole_comps")
# Random fields are cut out of periodic ones as many times as wide.
_FIELD_WIDTH = 2
# An Einstein radius may come out larger than that of the galaxy alone by this factor.
_MARGIN = 1.1


@dataclass(frozen=True, kw_only=True)
class ConvergenceGenerator:
    """A population of convergence maps.

    Pairs are ranges from which a value is drawn uniformly for each map.

    Parameters
    ----------
    shape
        Rows and columns of the maps, each at least 8.
    pixel_scale
        Side of a pixel [arcsec].
    einstein_radius
        Of the galaxy, without its core and its subhaloes, in the intermediate-axis convention
        [arcsec]. That of the map is measured, and is given with it.
    slope
        Logarithmic slope of the galaxy's density, above 1 and below 3; 2 is isothermal.
    axis_ratio
        Of the galaxy, above 0 and at most 1; its position angle is any.
    offset
        Largest distance of the galaxy from the middle of the frame, along y and along x [arcsec].
    multipoles
        Orders of multipoles, such as ``(3, 4)``; none by default.
    multipole_strength
        `k_m` of each (see ``al.mp.PowerLawMultipole``), at most 0.2; its direction is any.
    subhalo_fraction
        Mean convergence of the subhaloes over that of the galaxy at its Einstein radius. They lie
        anywhere in the frame.
    subhalo_mass
        Least and largest mass of a subhalo, over the mass inside the galaxy's Einstein radius.
    subhalo_mass_slope
        The number of subhaloes per unit of mass goes with this power of the mass.
    texture
        Root mean square of the random field over the frame: the relative change of the convergence.
    texture_slope
        The power of the random field goes with minus this power of the wavenumber.

    Raises
    ------
    OptionError
        If a value is out of its range, or the largest Einstein ring does not fit into the frame.

    Notes
    -----
    A subhalo of mass m inside of an isothermal galaxy of Einstein radius t is an isothermal sphere
    with an Einstein radius of (m / M)^(2/3) t, M the mass inside of t, truncated where the tides of
    the galaxy do so at the Einstein radius (Dalal & Kochanek 2002, ApJ, 572, 25), as a pseudo-Jaffe
    profile. Its core of 0.4 pixels keeps its mass. The mass function's slope of -1.9
    is that of cold dark matter (Springel et al. 2008, MNRAS, 391, 1685).
    """

    shape: tuple[int, int] = (64, 64)
    pixel_scale: float = 0.1
    einstein_radius: tuple[float, float] = (0.5, 2.0)
    slope: tuple[float, float] = (1.7, 2.3)
    axis_ratio: tuple[float, float] = (0.5, 1.0)
    offset: float = 0.1
    multipoles: tuple[int, ...] = ()
    multipole_strength: tuple[float, float] = (0.0, 0.02)
    subhalo_fraction: tuple[float, float] = (0.0, 0.02)
    subhalo_mass: tuple[float, float] = (1e-3, 3e-2)
    subhalo_mass_slope: float = -1.9
    texture: tuple[float, float] = (0.0, 0.1)
    texture_slope: tuple[float, float] = (2.0, 6.0)

    def __post_init__(self) -> None:
        # As JSON and YAML give them.
        for name in ("shape", "multipoles"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.shape) != 2 or min(self.shape) < 8:
            raise OptionError(f"shape must be two numbers of at least 8 pixels, not {self.shape}")
        if not 0.0 < self.pixel_scale < np.inf:
            raise OptionError(f"pixel_scale must be above 0, not {self.pixel_scale}")
        for name, (lowest, highest) in _RANGES.items():
            pair = tuple(getattr(self, name))
            object.__setattr__(self, name, pair)
            if len(pair) != 2 or not lowest <= pair[0] <= pair[1] <= highest:
                raise OptionError(
                    f"{name} must be a range, low to high, within {lowest} to {highest}, not {pair}"
                )
        if not all(isinstance(m, int) and m >= 1 for m in self.multipoles):
            raise OptionError(f"multipoles must be whole numbers above 0, not {self.multipoles}")
        # Along its minor axis the galaxy is thinnest.
        slope, thinnest = self.slope[1], self.axis_ratio[0]
        least = (3.0 - slope) * thinnest ** (0.5 * (slope - 1.0))
        if len(self.multipoles) * self.multipole_strength[1] >= least:
            raise OptionError(
                f"multipole_strength must be below {least / len(self.multipoles):.3g} for the "
                f"convergence to stay above zero, not {self.multipole_strength[1]}"
            )
        if not np.isfinite(self.subhalo_mass_slope):
            raise OptionError(f"subhalo_mass_slope must be finite, not {self.subhalo_mass_slope}")
        widest = 0.5 * min(self.shape) * self.pixel_scale
        if not self.offset >= 0.0 or _MARGIN * self.einstein_radius[1] + self.offset > widest:
            raise OptionError(
                f"an Einstein radius of {self.einstein_radius[1]} at an offset of {self.offset} "
                f"leaves a frame of half {widest:.3g} arcsec; set one of them down"
            )

    def generate(self, n: int, seed: int, start: int = 0) -> ConvergenceMaps:
        """Maps ``start`` to ``start + n`` of the population.

        Map i depends on the seed and on i alone. Lenses whose Einstein ring is not inside the frame
        are drawn again.

        Parameters
        ----------
        n
            Number of maps, at least 1.
        seed
            Of everything random.
        start
            First map.

        Raises
        ------
        OptionError
            If `n` is below 1, or `start` below 0.
        """
        if n < 1 or start < 0:
            raise OptionError(f"maps {start} to {start + n}; set n to 1 and start to 0 or more")
        first, last = start // _CHUNK, -(-(start + n) // _CHUNK)
        chunks = [self._chunk(seed, index) for index in range(first, last)]
        rows = slice(start - first * _CHUNK, start - first * _CHUNK + n)
        return _joined(chunks)[rows]

    def _chunk(self, seed: int, index: int) -> ConvergenceMaps:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        kept: list[ConvergenceMaps] = []
        while sum(map(len, kept)) < _CHUNK:
            maps = ConvergenceMaps.of(self._values(rng), self.pixel_scale)
            kept.append(maps[maps.einstein_radius > 0.0])
        return _joined(kept)[:_CHUNK]

    def _values(self, rng: np.random.Generator) -> np.ndarray:
        galaxies = self._galaxies(rng)
        with jax.enable_x64(True):
            values = np.asarray(self._smooth(galaxies, self._subhaloes(galaxies, rng)))
        rms = rng.uniform(*self.texture, size=(_CHUNK, 1, 1))
        fields = gaussian_random_fields(
            _CHUNK,
            tuple(_FIELD_WIDTH * length for length in self.shape),
            rng.uniform(*self.texture_slope, size=_CHUNK),
            rng,
        )[:, : self.shape[0], : self.shape[1]]
        fields = fields - fields.mean(axis=(1, 2), keepdims=True)
        fields /= fields.std(axis=(1, 2), keepdims=True)
        # Half a variance keeps the mean of the exponential at one.
        return values * np.exp(rms * fields - 0.5 * rms**2)

    def _galaxies(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        def drawn(bounds: tuple[float, float], *shape: int) -> np.ndarray:
            return rng.uniform(*bounds, size=(_CHUNK, *shape))

        n_orders = len(self.multipoles)
        centre = drawn((-self.offset, self.offset), 2)
        radius, slope = drawn(self.einstein_radius), drawn(self.slope)
        ell_comps = al.convert.ell_comps_from(drawn(self.axis_ratio), drawn((0.0, 180.0)))
        strength = drawn(self.multipole_strength, n_orders)
        phase = drawn((0.0, 2.0 * np.pi), n_orders)
        return {
            "centre": centre,
            "ell_comps": np.stack(ell_comps, axis=-1),
            "einstein_radius": radius,
            "slope": slope,
            "multipole_comps": np.stack(
                (strength * np.sin(phase), strength * np.cos(phase)), axis=-1
            ),
        }

    def _subhaloes(
        self, galaxies: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Numbers of subhaloes, shape (n,), and their profiles, shape (n, most)."""
        radius, slope = galaxies["einstein_radius"], galaxies["slope"]
        sides = np.array(self.shape) * self.pixel_scale
        # The convergence of a power law at its Einstein radius is (3 - slope) / 2.
        convergence = rng.uniform(*self.subhalo_fraction, size=_CHUNK) * 0.5 * (3.0 - slope)
        mass = convergence * sides.prod() / (np.pi * radius**2)
        number = rng.poisson(mass / self._mean_subhalo_mass)
        # Powers of two: arrays of another length are compiled anew.
        most = 1 << int(max(number.max(), 1) - 1).bit_length()
        masses = self._subhalo_masses(rng.uniform(size=(_CHUNK, most)))
        core = _SUBHALO_CORE * self.pixel_scale
        truncation = core + masses ** (1.0 / 3.0) * radius[:, None]
        return {
            "number": number,
            "centre": (rng.uniform(size=(_CHUNK, most, 2)) - 0.5) * sides,
            "truncation": truncation,
            # The mass of the profile is pi times the product of strength and truncation.
            "strength": masses * radius[:, None] ** 2 / truncation,
        }

    def _subhalo_masses(self, share: np.ndarray) -> np.ndarray:
        """Masses below which a share of the subhaloes is."""
        power, width = self.subhalo_mass_slope + 1.0, np.log(np.divide(*self.subhalo_mass[::-1]))
        return self.subhalo_mass[0] * inv_boxcox(share * width * exprel(power * width), power)

    @property
    def _mean_subhalo_mass(self) -> float:
        power, width = self.subhalo_mass_slope + 1.0, np.log(np.divide(*self.subhalo_mass[::-1]))
        return self.subhalo_mass[0] * exprel((power + 1.0) * width) / exprel(power * width)

    @cached_property
    def _smooth(self) -> Any:
        """Convergence of galaxies and their subhaloes, compiled: from arrays to (n, y, x)."""
        galaxy = accelerated(self._galaxy)

        def one(arrays: tuple[dict[str, Any], dict[str, Any]]) -> Any:
            values, subhaloes = arrays
            return galaxy(*(values[name] for name in _GALAXY)) + self._substructure(subhaloes)

        return jax.jit(lambda *arrays: jax.lax.map(one, arrays))

    def _galaxy(self, *arrays: Any) -> Any:
        values = dict(zip(_GALAXY, arrays, strict=True))
        grid = self._grid(_GALAXY_BITS)
        centre = (values["centre"][0], values["centre"][1])
        core = _GALAXY_CORE * self.pixel_scale
        power_law = al.mp.PowerLawIntermediate(
            centre=centre,
            ell_comps=(values["ell_comps"][0], values["ell_comps"][1]),
            einstein_radius=values["einstein_radius"],
            slope=values["slope"],
        )
        cored = al.mp.PowerLawCore(
            centre=centre,
            ell_comps=power_law.ell_comps,
            einstein_radius=power_law.einstein_radius_major_from(xp=jnp),
            slope=values["slope"],
            core_radius=core,
        )
        total = cored.convergence_2d_from(grid=grid, xp=jnp).array
        positions = jnp.asarray(grid.array) - values["centre"]
        squared = jnp.sum(positions**2, axis=1)
        for i, order in enumerate(self.multipoles):
            multipole = al.mp.PowerLawMultipole(
                m=order,
                centre=centre,
                einstein_radius=values["einstein_radius"],
                slope=values["slope"],
                multipole_comps=tuple(values["multipole_comps"][i]),
            )
            # A core has no direction.
            outside = squared / (squared + core**2)
            total += outside * multipole.convergence_2d_from(grid=grid, xp=jnp).array
        return self._averaged(total, _GALAXY_BITS)

    def _substructure(self, values: dict[str, Any]) -> Any:
        grid = self._grid(_SUBHALO_BITS)

        def with_another(i: Any, total: Any) -> Any:
            subhalo = al.mp.dPIEMassB0Sph(
                centre=(values["centre"][i, 0], values["centre"][i, 1]),
                ra=_SUBHALO_CORE * self.pixel_scale,
                rs=values["truncation"][i],
                b0=values["strength"][i],
            )
            return total + subhalo.convergence_2d_from(grid=grid, xp=jnp).array

        empty = jnp.zeros(len(grid.array))
        total = jax.lax.fori_loop(0, values["number"], with_another, empty)
        return self._averaged(total, _SUBHALO_BITS)

    def _grid(self, bits: int) -> al.Grid2D:
        return al.Grid2D.uniform(
            shape_native=tuple(bits * length for length in self.shape),
            pixel_scales=self.pixel_scale / bits,
            over_sample_size=1,
        )

    def _averaged(self, values: Any, bits: int) -> Any:
        rows, columns = self.shape
        return values.reshape(rows, bits, columns, bits).mean(axis=(1, 3))


_RANGES = {
    "einstein_radius": (1e-3, np.inf),
    "slope": (1.1, 2.9),
    "axis_ratio": (0.05, 1.0),
    "multipole_strength": (0.0, 0.2),
    "subhalo_fraction": (0.0, 1.0),
    "subhalo_mass": (1e-9, 1.0),
    "texture": (0.0, 1.0),
    "texture_slope": (0.0, 10.0),
}


def _joined(maps: list[ConvergenceMaps]) -> ConvergenceMaps:
    return ConvergenceMaps(
        np.concatenate([each.values for each in maps]),
        maps[0].pixel_scale,
        np.concatenate([each.einstein_radius for each in maps]),
        np.concatenate([each.centre for each in maps]),
    )
