"""Draws of galaxies: deflectors, sources and what else lies in a field, with sizes and colours.

Relations are those of the literature in their simplest form, with scatter: Faber & Jackson 1976 for
velocity dispersions, Bernardi et al. 2003 (AJ 125, 1849) for the sizes of early types.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import autolens as al
import numpy as np
from scipy import stats

from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.spectra import (
    TYPES,
    apparent_magnitude,
    comoving_distance,
    kpc_per_arcsec,
    magnitudes,
)

__all__ = [
    "Deflectors",
    "Sources",
    "deflector_light",
    "draw_centres",
    "draw_deflectors",
    "draw_sources",
    "ell_comps_from",
    "fluxes_from",
    "truncated",
]

ELLIPTICAL, SPIRAL, LATE, STARBURST = range(len(TYPES))

# Deflectors: redshifts, velocity dispersions [km/s], and what is bright and wide enough to be seen.
_LENS_REDSHIFT = (0.65, 0.27, 0.18, 1.3)
_DISPERSION = (235.0, 50.0, 150.0, 400.0)
_MAX_MAGNITUDE = 22.8
EINSTEIN_RADII = (0.5, 2.6)
# At a velocity dispersion of 200 km/s: absolute magnitude at redshift 0, and half-light radius in
# kpc at that magnitude with its slope.
_MAGNITUDE_200, _MAGNITUDE_SCATTER, _EVOLUTION = -21.3, 0.35, 0.9
_SIZE_200, _SIZE_SLOPE, _SIZE_SCATTER = 4.0, -0.24, 0.12
_SPEED_OF_LIGHT = 299792.458
_ARCSEC = np.rad2deg(1.0) * 3600.0
# Of catalogues, in arcsec along each axis.
_CENTRING = 0.06
# Sources: VIS magnitudes and their counts, sizes [arcsec] at magnitude 24.
SOURCE_MAGNITUDES = (21.5, 25.6)
_COUNT_SLOPE = 0.30
_SOURCE_SIZE, _SOURCE_SIZE_SLOPE, _SOURCE_SIZE_SCATTER = 0.24, -0.12, 0.17


@dataclass(frozen=True)
class Deflectors:
    """Massive galaxies, each with a redshift behind it at which a source may lie.

    Attributes
    ----------
    redshift, source_redshift : ndarray
        Shape (n,), as all others but the last.
    dispersion : ndarray
        Velocity dispersion in km/s.
    einstein_radius : ndarray
        Of a singular isothermal sphere of that dispersion, in arcsec.
    magnitude : ndarray
        In VIS.
    radius : ndarray
        Half-light radius in arcsec.
    ell_comps : ndarray
        Of light and mass, shape (n, 2).
    centre : ndarray
        (y, x) of light and mass in arcsec, shape (n, 2): catalogues are a little off.
    """

    redshift: np.ndarray
    source_redshift: np.ndarray
    dispersion: np.ndarray
    einstein_radius: np.ndarray
    magnitude: np.ndarray
    radius: np.ndarray
    ell_comps: np.ndarray
    centre: np.ndarray

    def __len__(self) -> int:
        return len(self.redshift)

    def __getitem__(self, rows: np.ndarray | slice) -> Deflectors:
        return Deflectors(*(getattr(self, entry.name)[rows] for entry in fields(self)))


@dataclass(frozen=True)
class Sources:
    """Galaxies to be lensed.

    Attributes
    ----------
    redshift, magnitude : ndarray
        Magnitude in VIS without lensing; shape (n,), as the next.
    radius : ndarray
        Half-light radius in arcsec.
    flux : ndarray
        Without lensing, in units of the noise of an empty pixel, shape (n, n_bands).
    """

    redshift: np.ndarray
    magnitude: np.ndarray
    radius: np.ndarray
    flux: np.ndarray


def draw_deflectors(n: int, rng: np.random.Generator) -> Deflectors:
    """Early-type galaxies that are bright and massive enough for Euclid to see what they lens."""
    kept: list[Deflectors] = []
    while sum(len(part) for part in kept) < n:
        drawn = _drawn_deflectors(max(2 * n, 64), rng)
        low, high = EINSTEIN_RADII
        good = (drawn.einstein_radius > low) & (drawn.einstein_radius < high)
        kept.append(drawn[good & (drawn.magnitude < _MAX_MAGNITUDE)])
    arrays = (np.concatenate([getattr(p, e.name) for p in kept])[:n] for e in fields(Deflectors))
    return Deflectors(*arrays)


def _drawn_deflectors(n: int, rng: np.random.Generator) -> Deflectors:
    redshift = truncated(*_LENS_REDSHIFT, n, rng)
    dispersion = truncated(*_DISPERSION, n, rng)
    source_redshift = draw_source_redshifts(redshift + 0.15, rng)
    absolute = _MAGNITUDE_200 - 10.0 * np.log10(dispersion / 200.0)
    absolute += _MAGNITUDE_SCATTER * rng.standard_normal(n)
    size = _SIZE_200 * 10.0 ** (_SIZE_SLOPE * (absolute - _MAGNITUDE_200))
    size *= 10.0 ** (_SIZE_SCATTER * rng.standard_normal(n))
    absolute -= _EVOLUTION * redshift
    types = np.full(n, ELLIPTICAL)
    return Deflectors(
        redshift=redshift,
        source_redshift=source_redshift,
        dispersion=dispersion,
        einstein_radius=einstein_radii(dispersion, redshift, source_redshift),
        magnitude=apparent_magnitude(types, redshift, absolute),
        radius=size / kpc_per_arcsec(redshift),
        ell_comps=ell_comps_from(truncated(0.78, 0.13, 0.4, 1.0, n, rng), rng),
        centre=draw_centres(n, rng),
    )


def draw_centres(n: int, rng: np.random.Generator) -> np.ndarray:
    """Where galaxies are that a catalogue has in the middle, (y, x) in arcsec, shape (n, 2)."""
    return _CENTRING * rng.standard_normal((n, 2))


def einstein_radii(
    dispersion: np.ndarray, redshift: np.ndarray, source_redshift: np.ndarray
) -> np.ndarray:
    """Einstein radii in arcsec of singular isothermal spheres, of dispersions in km/s.

    4 pi (sigma / c)^2 D_ls / D_s (Narayan & Bartelmann 1996, astro-ph/9606001, equation 26), zero
    where the source is in front.
    """
    ratio = 1.0 - comoving_distance(redshift) / comoving_distance(source_redshift)
    return 4.0 * np.pi * (dispersion / _SPEED_OF_LIGHT) ** 2 * np.maximum(ratio, 0.0) * _ARCSEC


def dispersions_from(types: np.ndarray, redshift: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Velocity dispersions in km/s of galaxies of these VIS magnitudes, without scatter."""
    absolute = magnitude - apparent_magnitude(types, redshift, np.zeros(len(types)))
    return 200.0 * 10.0 ** (-0.1 * (absolute + _EVOLUTION * redshift - _MAGNITUDE_200))


def draw_source_redshifts(nearest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Redshifts of galaxies as faint as sources are, each farther than ``nearest``."""
    distribution = stats.gamma(a=3.5, scale=0.42)
    low, high = distribution.cdf(nearest), distribution.cdf(4.5)
    return distribution.ppf(low + (high - low) * rng.random(len(nearest)))


def draw_sources(redshift: np.ndarray, rng: np.random.Generator) -> Sources:
    """Galaxies at these redshifts, shape (n,): most are blue, with numbers growing as they fade."""
    n = len(redshift)
    magnitude = draw_magnitudes(n, *SOURCE_MAGNITUDES, rng)
    types = rng.choice([STARBURST, LATE, SPIRAL, ELLIPTICAL], size=n, p=[0.60, 0.27, 0.10, 0.03])
    return Sources(
        redshift=redshift,
        magnitude=magnitude,
        radius=galaxy_radii(magnitude, rng),
        flux=fluxes_from(types, redshift, magnitude, rng),
    )


def draw_magnitudes(n: int, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitudes whose counts grow by 10^(0.3 m), as those of faint galaxies do."""
    ends = 10.0 ** (_COUNT_SLOPE * np.array([low, high]))
    return np.log10(rng.uniform(*ends, size=n)) / _COUNT_SLOPE


def galaxy_radii(magnitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half-light radii in arcsec of faint galaxies of these VIS magnitudes."""
    scatter = _SOURCE_SIZE_SCATTER * rng.standard_normal(np.shape(magnitude))
    logarithm = np.log10(_SOURCE_SIZE) + _SOURCE_SIZE_SLOPE * (magnitude - 24.0) + scatter
    return np.clip(10.0**logarithm, 0.04, 1.2)


def fluxes_from(
    types: np.ndarray, redshift: np.ndarray, magnitude: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fluxes in units of the noise of an empty pixel, shape (n, n_bands); colours have scatter."""
    dust = np.where(np.asarray(types) == ELLIPTICAL, 0.0, rng.exponential(0.25, len(types)))
    mags = magnitudes(types, redshift, magnitude, np.minimum(dust, 1.2))
    mags[:, 1:] += 0.05 * rng.standard_normal((len(mags), mags.shape[1] - 1))
    columns = zip(BANDS.values(), mags.T, strict=True)
    return np.stack([band.flux_from(column) for band, column in columns], axis=1)


def deflector_light(
    deflector: Deflectors, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bulge of one deflector (of length 1), and a disc in one of five: ``sersics`` of a scene."""
    magnitude, radius = deflector.magnitude, float(deflector.radius[0])
    centre, ell_comps = deflector.centre[0], deflector.ell_comps[0]
    flux = fluxes_from(np.array([ELLIPTICAL]), deflector.redshift, magnitude, rng)[0]
    index = float(truncated(4.0, 1.0, 2.0, 6.0, 1, rng)[0])
    if rng.random() < 0.8:
        return [(np.array([*centre, *ell_comps, radius, index]), flux)]
    share = rng.uniform(0.2, 0.6)
    older = fluxes_from(np.array([SPIRAL]), deflector.redshift, magnitude, rng)[0]
    disc = ell_comps_from(np.array([rng.uniform(0.35, 1.0)]), rng)[0]
    return [
        (np.array([*centre, *ell_comps, 0.6 * radius, index]), (1.0 - share) * flux),
        (np.array([*centre, *disc, 1.5 * radius, 1.0]), share * older),
    ]


def ell_comps_from(axis_ratio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ellipticities of these axis ratios in random directions, shape (n, 2)."""
    angle = rng.uniform(0.0, 180.0, size=len(axis_ratio))
    return np.stack(al.convert.ell_comps_from(axis_ratio=axis_ratio, angle=angle), axis=-1)


def truncated(
    mean: float, sigma: float, low: float, high: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws of a normal distribution that ends at ``low`` and ``high``, shape (n,)."""
    ends = (low - mean) / sigma, (high - mean) / sigma
    return stats.truncnorm.ppf(rng.random(n), *ends, loc=mean, scale=sigma)
