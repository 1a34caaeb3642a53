"""Colours: simple spectra of galaxies and stars, redshifted through the bands.

Four spectra stand for all galaxies: tables of what old, mixed and young stars send out, drawn after
the classical sequence of Coleman, Wu & Weedman 1980 (ApJS 43, 393) and, beyond it, by hand. Dust
reddens them as the inverse wavelength (nearly the law of Calzetti et al. 2000, ApJ 533, 682), and
hydrogen between the galaxies takes away what is blue of Lyman alpha (Madau 1995, ApJ 441, 18).
Stars are black bodies. Magnitudes are AB.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from astropy.cosmology import Planck15
from scipy.constants import c, h, k

from autolens_ml.simulate.finding.bands import BANDS

__all__ = [
    "TYPES",
    "apparent_magnitude",
    "comoving_distance",
    "distance_modulus",
    "kpc_per_arcsec",
    "magnitudes",
    "star_magnitudes",
]

# The logarithm of the flux per frequency over that at 0.62 micrometres: at these wavelengths, from
# what is blue of the Balmer break to what is red of the bump at 1.6.
_WAVELENGTHS = np.array(
    [
        *(0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.36, 0.39, 0.405),
        *(0.48, 0.55, 0.62, 0.76, 0.90, 1.05, 1.25, 1.65, 2.2, 3.5),
    ]
)
_SPECTRA = {
    "elliptical": [
        *(-5.0, -4.0, -2.2, -2.3, -2.0, -1.55, -1.02, -0.92, -0.55),
        *(-0.30, -0.13, 0.0, 0.15, 0.24, 0.32, 0.40, 0.49, 0.40, 0.10),
    ],
    "spiral": [
        *(-3.0, -1.6, -1.15, -1.10, -0.98, -0.85, -0.70, -0.62, -0.42),
        *(-0.20, -0.08, 0.0, 0.10, 0.15, 0.19, 0.25, 0.32, 0.22, 0.0),
    ],
    "late": [
        *(-2.5, -1.1, -0.75, -0.70, -0.65, -0.58, -0.52, -0.45, -0.30),
        *(-0.15, -0.06, 0.0, 0.06, 0.08, 0.10, 0.13, 0.16, 0.05, -0.20),
    ],
    "starburst": [
        *(-2.0, -0.5, -0.36, -0.34, -0.34, -0.33, -0.32, -0.25, -0.15),
        *(-0.07, -0.02, 0.0, 0.0, 0.0, -0.01, -0.01, 0.0, -0.10, -0.30),
    ],
}
TYPES = tuple(_SPECTRA)

_DUST_AT, _DUST_SLOPE = 0.55, -0.9
_LYMAN_ALPHA, _LYMAN_LIMIT = 0.1216, 0.0912
_REDSHIFTS = np.linspace(0.0, 7.0, 281)
_SAMPLES = 40  # of each band


def magnitudes(
    types: np.ndarray, redshifts: np.ndarray, mag_vis: np.ndarray, dust: np.ndarray | float = 0.0
) -> np.ndarray:
    """Magnitudes of galaxies in all ``BANDS``.

    Parameters
    ----------
    types
        Indices into ``TYPES``, shape (n,).
    redshifts
        From 0 to 7, shape (n,).
    mag_vis
        Magnitude in VIS, dust included, shape (n,).
    dust
        Extinction at 0.55 micrometres in the galaxy's frame, in magnitudes, >= 0.

    Returns
    -------
    ndarray
        Shape (n, n_bands), in the order of ``BANDS``.
    """
    types, redshifts = np.atleast_1d(types), np.atleast_1d(redshifts).astype(float)
    table, centres = _band_table()
    raw = np.empty((len(types), len(BANDS)))
    for i in range(len(TYPES)):
        rows = types == i
        for j in range(len(BANDS)):
            raw[rows, j] = np.interp(redshifts[rows], _REDSHIFTS, table[i, :, j])
    rest = centres / (1.0 + redshifts[:, None])
    raw += np.reshape(dust, (-1, 1)) * (rest / _DUST_AT) ** _DUST_SLOPE
    (vis,) = np.flatnonzero(np.array(list(BANDS)) == "VIS")
    return raw - raw[:, [vis]] + np.reshape(mag_vis, (-1, 1))


def apparent_magnitude(
    types: np.ndarray, redshifts: np.ndarray, absolute: np.ndarray
) -> np.ndarray:
    """VIS magnitudes of galaxies of these absolute magnitudes at 0.62 micrometres, shape (n,)."""
    table, _ = _band_table()
    types, redshifts = np.atleast_1d(types), np.atleast_1d(redshifts)
    (vis,) = np.flatnonzero(np.array(list(BANDS)) == "VIS")
    k_correction = np.array(
        [np.interp(z, _REDSHIFTS, table[t, :, vis]) for t, z in zip(types, redshifts, strict=True)]
    )
    # Frequencies are squeezed as well.
    return absolute + distance_modulus(redshifts) + k_correction - 2.5 * np.log10(1.0 + redshifts)


def star_magnitudes(temperatures: np.ndarray, mag_vis: np.ndarray) -> np.ndarray:
    """Magnitudes of stars in all ``BANDS``, shape (n, n_bands).

    Parameters
    ----------
    temperatures
        In kelvin, shape (n,).
    mag_vis
        Magnitude in VIS, shape (n,).
    """
    temperatures = np.atleast_1d(temperatures).astype(float)
    values = np.empty((len(temperatures), len(BANDS)))
    for j, band in enumerate(BANDS.values()):
        frequency = c / (1e-6 * np.mean(band.wavelengths))
        flux = frequency**3 / np.expm1(h * frequency / (k * temperatures))
        values[:, j] = -2.5 * np.log10(flux)
    (vis,) = np.flatnonzero(np.array(list(BANDS)) == "VIS")
    return values - values[:, [vis]] + np.reshape(mag_vis, (-1, 1))


def comoving_distance(redshifts: np.ndarray | float) -> np.ndarray:
    """Comoving distances in Mpc, of the cosmology of PyAutoLens (Planck 2015)."""
    return np.interp(redshifts, *_distances())


def distance_modulus(redshifts: np.ndarray | float) -> np.ndarray:
    """Apparent minus absolute magnitude."""
    luminosity = comoving_distance(redshifts) * (1.0 + np.asarray(redshifts))
    return 5.0 * np.log10(luminosity) + 25.0


def kpc_per_arcsec(redshifts: np.ndarray | float) -> np.ndarray:
    """Length at a redshift that is seen as one arcsec."""
    return comoving_distance(redshifts) / (1.0 + np.asarray(redshifts)) * 1e3 * np.deg2rad(1 / 3600)


@cache
def _distances() -> tuple[np.ndarray, np.ndarray]:
    redshifts = np.concatenate([[0.0], np.linspace(0.01, 7.0, 700)])
    return redshifts, Planck15.comoving_distance(redshifts).value


@cache
def _band_table() -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of unit spectra, shape (types, redshifts, bands), and the bands' middles."""
    table = np.empty((len(TYPES), len(_REDSHIFTS), len(BANDS)))
    for j, band in enumerate(BANDS.values()):
        observed = np.linspace(*band.wavelengths, _SAMPLES)
        rest = observed / (1.0 + _REDSHIFTS[:, None])
        through = _transmission(observed, _REDSHIFTS[:, None])
        for i, spectrum in enumerate(_SPECTRA.values()):
            flux = 10.0 ** np.interp(np.log(rest), np.log(_WAVELENGTHS), spectrum) * through
            # Detectors count photons: weights are d(frequency) / frequency.
            mean = np.sum(flux / observed, axis=1) / np.sum(1.0 / observed)
            table[i, :, j] = -2.5 * np.log10(np.maximum(mean, 1e-6))
    return table, np.array([np.mean(band.wavelengths) for band in BANDS.values()])


def _transmission(observed: np.ndarray, redshifts: np.ndarray) -> np.ndarray:
    """Share of the light that intergalactic hydrogen leaves."""
    rest = observed / (1.0 + redshifts)
    depth = 0.0036 * (observed / _LYMAN_ALPHA) ** 3.46
    return np.where(rest < _LYMAN_LIMIT, 0.0, np.where(rest < _LYMAN_ALPHA, np.exp(-depth), 1.0))
