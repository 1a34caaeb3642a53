"""Round profiles of galaxies and point spread functions as tables of their Fourier transforms.

Stamps for weak lensing are made in Fourier space, where shear, convolution and sub-pixel offsets
are exact: the transform of a sheared profile is that of the round one at sheared wavenumbers. One
table serves all profiles, so a batch may mix them. Every transform is one at wavenumber zero.

References
----------
Sersic 1963; Ciotti & Bertin 1999, A&A, 352, 447 (half-light radius); Trujillo et al. 2001, MNRAS,
328, 977 (transform of a Moffat profile); Goodman, Introduction to Fourier Optics, 6.3 (aperture).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy import fft, integrate, optimize, special

__all__ = [
    "AIRY_BLURS",
    "MOFFAT_BETAS",
    "SERSIC_INDICES",
    "airy_rows",
    "gaussian_rows",
    "moffat_rows",
    "radial_transforms",
    "sersic_rows",
    "transform_table",
]

# Ranges of the shapes in the table.
SERSIC_INDICES = (0.5, 6.0)
MOFFAT_BETAS = (1.6, 6.0)
# RMS of the Gaussian that blurs an aperture's pattern, in units of wavelength over diameter.
AIRY_BLURS = (0.1, 0.6)

# Rows of each family; between two of them the table is interpolated.
_N_SERSIC, _N_MOFFAT, _N_AIRY = 96, 32, 16
# Wavenumber times size, log-spaced.
_LOG_Q = np.linspace(np.log(1e-4), np.log(1e3), 2048)
# Radii for the Hankel transforms of Sersic profiles, in half-light radii, and the power law that is
# taken out of them: with it, transforms are good to 1e-6 at all wavenumbers of the table.
_LOG_R = np.linspace(np.log(1e-7), np.log(1e6), 4096)
_BIAS = -0.5


def sersic_rows(index: np.ndarray) -> np.ndarray:
    """Rows of Sersic profiles; their size is the half-light radius.

    Parameters
    ----------
    index
        Sersic indices between 0.5, a Gaussian, and 6.
    """
    low, high = np.log(SERSIC_INDICES)
    return (np.log(index) - low) / (high - low) * (_N_SERSIC - 1)


def moffat_rows(beta: np.ndarray) -> np.ndarray:
    """Rows of Moffat profiles; their size is the full width at half maximum.

    Parameters
    ----------
    beta
        Indices of the wings between 1.6 and 6.
    """
    low, high = MOFFAT_BETAS
    return _N_SERSIC + (np.asarray(beta) - low) / (high - low) * (_N_MOFFAT - 1)


def airy_rows(blur: np.ndarray) -> np.ndarray:
    """Rows of the patterns of circular apertures, blurred; their size is the full width.

    Parameters
    ----------
    blur
        RMS of the Gaussian that they are convolved with, which stands for jitter and detector, in
        units of wavelength over diameter, between 0.1 and 0.6.
    """
    low, high = AIRY_BLURS
    return _N_SERSIC + _N_MOFFAT + (np.asarray(blur) - low) / (high - low) * (_N_AIRY - 1)


def gaussian_rows(n: int) -> np.ndarray:
    """Rows of ``n`` Gaussians; their size is the full width at half maximum."""
    return np.full(n, float(_N_SERSIC + _N_MOFFAT + _N_AIRY))


@cache
def transform_table() -> torch.Tensor:
    """Transforms by row, at log-spaced products of wavenumber and size, float32."""
    q = np.exp(_LOG_Q)
    indices = np.geomspace(*SERSIC_INDICES, _N_SERSIC)
    betas = np.linspace(*MOFFAT_BETAS, _N_MOFFAT)
    blurs = np.linspace(*AIRY_BLURS, _N_AIRY)
    rows = [
        *(_sersic_transform(index) for index in indices),
        *(_moffat_transform(q, beta) for beta in betas),
        *(_airy_transform(q / _airy_width(blur), blur) for blur in blurs),
        np.exp(-(q**2) / (16.0 * np.log(2.0))),
    ]
    return torch.from_numpy(np.array(rows)).float()


def radial_transforms(rows: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
    """Transforms of round profiles.

    Parameters
    ----------
    rows
        As of `sersic_rows` and its brothers, shape (n,).
    squared
        Squares of wavenumber [rad per length] times size [length], shape (n, m).

    Returns
    -------
    Tensor
        Shape (n, m).
    """
    table = transform_table().to(squared.device)
    lower = rows.floor().long().clamp(max=len(table) - 2)
    own = torch.lerp(table[lower], table[lower + 1], (rows - lower)[:, None].to(table.dtype))
    step = float(_LOG_Q[1] - _LOG_Q[0])
    place = squared.clamp(min=1e-30).log().mul_(0.5 / step).sub_(float(_LOG_Q[0]) / step)
    place = place.clamp_(0.0, table.shape[1] - 1.001)
    left = place.long()
    place -= left
    low = own.gather(1, left)
    return low + place * (own.gather(1, left.add_(1)) - low)


def _sersic_transform(index: float) -> np.ndarray:
    """Of a Sersic profile at the wavenumbers of the table, in units of its half-light radius."""
    b = special.gammaincinv(2.0 * index, 0.5)
    step = _LOG_R[1] - _LOG_R[0]
    radii = np.exp(_LOG_R)
    flux = 2.0 * np.pi * index * special.gamma(2.0 * index) * b ** (-2.0 * index)
    offset = fft.fhtoffset(step, mu=0.0, bias=_BIAS)
    wavenumbers = np.exp(offset - _LOG_R[::-1])
    light = radii * np.exp(-b * radii ** (1.0 / index)) / flux
    values = 2.0 * np.pi * fft.fht(light, step, mu=0.0, offset=offset, bias=_BIAS) / wavenumbers
    return np.interp(_LOG_Q, np.log(wavenumbers), values)


def _moffat_transform(q: np.ndarray, beta: float) -> np.ndarray:
    """Of (1 + r^2 / a^2)^-beta, with the full width at half maximum as unit."""
    order = beta - 1.0
    k = q * 0.5 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    return 2.0 * (0.5 * k) ** order * special.kv(order, k) / special.gamma(order)


def _airy_transform(k: np.ndarray, blur: float) -> np.ndarray:
    """Of an aperture's pattern with a Gaussian, in units of wavelength over diameter."""
    share = np.minimum(k / (2.0 * np.pi), 1.0)
    aperture = 2.0 / np.pi * (np.arccos(share) - share * np.sqrt(1.0 - share**2))
    return aperture * np.exp(-0.5 * (blur * k) ** 2)


def _airy_width(blur: float) -> float:
    """Full width at half maximum, in units of wavelength over diameter."""
    k = np.linspace(0.0, 2.0 * np.pi, 2001)
    transform = k * _airy_transform(k, blur)

    def light(radius: float) -> float:
        return float(integrate.simpson(transform * special.j0(k * radius), x=k))

    half = 0.5 * light(0.0)
    return 2.0 * optimize.brentq(lambda radius: light(radius) - half, 0.1, 3.0)
