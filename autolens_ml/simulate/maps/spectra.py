"""Power spectra of maps, cross spectra, and the coherence of two maps wave by wave.

Spectra are averages over rings of wavenumbers one fundamental frequency wide, and over the maps of
a stack. The coherence of a prediction with the truth is

    gamma(k) = sum Re(conj(x) y) / sqrt(sum abs(x)^2 sum abs(y)^2),

with sums over all waves of a ring and all maps: 1 where the two agree up to a factor, 0 where they
have nothing in common, negative where one is the other's negative. With the modulus of each wave's
product in place of its real part, as in the code of the first pixelized RIM (Adam et al. 2023,
arXiv:2301.04168), two independent maps would come out as coherent by pi / 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal.windows import hann
from scipy.sparse import csr_array

from autolens_ml.exceptions import DataError, OptionError

__all__ = ["Spectrum", "coherence", "cross_spectrum", "power_spectrum"]

# Maps transformed at once.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A function of the wavenumber, one value for each ring.

    Attributes
    ----------
    wavenumber : ndarray
        Mean of the waves of the ring, in cycles per arcsec: one over the wavelength.
    value : ndarray
        Power in units of the maps' squared times arcsec^2, or a coherence; NaN where a map has no
        power.
    error : ndarray
        One standard deviation: the jackknife over the maps of a stack; for a single map that of
        Gaussian fields, whose waves are independent.
    n_waves : ndarray
        Waves of the ring in one map, each counted with its conjugate.
    """

    wavenumber: np.ndarray
    value: np.ndarray
    error: np.ndarray
    n_waves: np.ndarray


def power_spectrum(maps: np.ndarray, pixel_scale: float, taper: bool = False) -> Spectrum:
    """Isotropic power spectrum: what a ring of waves adds to the variance, per unit of its area.

    The sum over all waves of ``value * (wavenumber spacing)^2`` is the variance of a map.

    Parameters
    ----------
    maps
        One map (y, x) or a stack (n, y, x).
    pixel_scale
        Side of a pixel [arcsec].
    taper
        Multiply maps without their mean by a Hann window, whose mean square is one. For maps that
        do not end in zeros, such as convergences, whose edges would otherwise leak into all waves.

    Raises
    ------
    DataError
        If the maps have another shape, fewer than 4 pixels a side, or values that are not finite.
    OptionError
        If `pixel_scale` is not above zero.
    """
    rings, sums, _, _ = _sums(maps, maps, pixel_scale, taper)
    value = sums.mean(axis=0) / rings.n_waves
    if len(sums) == 1:
        return rings.spectrum(value, value * np.sqrt(2.0 / rings.n_waves))
    return rings.spectrum(value, _jackknife(_without_each(sums) / rings.n_waves))


def cross_spectrum(
    first: np.ndarray, second: np.ndarray, pixel_scale: float, taper: bool = False
) -> Spectrum:
    """Real part of the cross spectrum; that of a map with itself is its power spectrum.

    Parameters
    ----------
    first, second
        Maps (y, x) or stacks (n, y, x), of one shape.
    pixel_scale, taper
        As for :func:`power_spectrum`.

    Raises
    ------
    DataError, OptionError
        As for :func:`power_spectrum`, and if the shapes differ.
    """
    rings, xx, yy, xy = _sums(first, second, pixel_scale, taper)
    value = xy.mean(axis=0) / rings.n_waves
    if len(xy) == 1:
        product = xx[0] * yy[0] / rings.n_waves**2
        return rings.spectrum(value, np.sqrt((product + value**2) / rings.n_waves))
    return rings.spectrum(value, _jackknife(_without_each(xy) / rings.n_waves))


def coherence(
    first: np.ndarray, second: np.ndarray, pixel_scale: float, taper: bool = False
) -> Spectrum:
    """Coherence of two maps or of two stacks, map by map; see the module's equation.

    Parameters
    ----------
    first, second
        Maps (y, x) or stacks (n, y, x), of one shape.
    pixel_scale, taper
        As for :func:`power_spectrum`.

    Raises
    ------
    DataError, OptionError
        As for :func:`cross_spectrum`.
    """
    rings, *sums = _sums(first, second, pixel_scale, taper)
    value = _ratio(*(each.sum(axis=0) for each in sums))
    if len(sums[0]) == 1:
        return rings.spectrum(value, (1.0 - value**2) / np.sqrt(rings.n_waves))
    return rings.spectrum(value, _jackknife(_ratio(*(_without_each(each) for each in sums))))


@dataclass(frozen=True, eq=False)
class _Rings:
    """Which wave of a map, flattened, is in which ring, shape (rings, waves)."""

    members: csr_array
    wavenumber: np.ndarray
    n_waves: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, int], pixel_scale: float) -> _Rings:
        rows, columns = (np.fft.fftfreq(length, pixel_scale) for length in shape)
        wavenumber = np.hypot(rows[:, None], columns).ravel()
        # Longer waves than fit into the shorter side are in the first ring; corners beyond the
        # shortest wave along an axis are in none.
        ring = np.maximum(np.rint(wavenumber * min(shape) * pixel_scale).astype(int), 1) - 1
        inside = np.flatnonzero((ring < min(shape) // 2) & (wavenumber > 0.0))
        ring = ring[inside]
        shape_out = (min(shape) // 2, wavenumber.size)
        members = csr_array((np.ones(len(ring)), (ring, inside)), shape=shape_out)
        n_waves = np.bincount(ring)
        return cls(members, members @ wavenumber / n_waves, n_waves)

    def spectrum(self, value: np.ndarray, error: np.ndarray) -> Spectrum:
        return Spectrum(self.wavenumber, value, error, self.n_waves)


def _sums(
    first: np.ndarray, second: np.ndarray, pixel_scale: float, taper: bool
) -> tuple[_Rings, np.ndarray, np.ndarray, np.ndarray]:
    """Powers of both and real parts of their products, summed over rings, shape (n, rings)."""
    if not 0.0 < pixel_scale < np.inf:
        raise OptionError(f"pixel_scale must be above 0, not {pixel_scale}")
    pair = [_stack(first)] if first is second else [_stack(first), _stack(second)]
    if pair[0].shape != pair[-1].shape:
        raise DataError(
            f"maps of shapes {pair[0].shape} and {pair[-1].shape}; give two of one shape"
        )
    n, *shape = pair[0].shape
    rings = _Rings.of((shape[0], shape[1]), pixel_scale)
    # The square of the transform over the area of the map.
    unit = pixel_scale**2 / np.prod(shape)
    window = None
    if taper:
        window = np.outer(*(hann(length, sym=False) for length in shape))
        window /= np.sqrt(np.mean(window**2))
    sums = np.empty((3, n, len(rings.n_waves)))
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        waves = [_waves(maps[rows], window) for maps in pair]
        x, y = waves[0], waves[-1]
        for each, product in zip(sums, (x * x.conj(), y * y.conj(), x.conj() * y), strict=True):
            each[rows] = unit * (rings.members @ product.real.T).T
    return rings, sums[0], sums[1], sums[2]


def _stack(maps: np.ndarray) -> np.ndarray:
    maps = np.asarray(maps)
    stack = maps[None] if maps.ndim == 2 else maps
    if stack.ndim != 3 or stack.shape[0] == 0 or min(stack.shape[1:]) < 4:
        raise DataError(
            f"maps of shape {maps.shape}; give (y, x) or (n, y, x) of at least 4 x 4 pixels"
        )
    if not np.isfinite(stack).all():
        raise DataError(f"maps have {np.sum(~np.isfinite(stack))} NaN or infinite pixels")
    return stack


def _waves(maps: np.ndarray, window: np.ndarray | None) -> np.ndarray:
    if window is not None:
        maps = (maps - maps.mean(axis=(1, 2), keepdims=True)) * window
    return np.fft.fft2(maps).reshape(len(maps), -1)


def _ratio(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
    norm = np.sqrt(xx * yy)
    return np.divide(xy, norm, out=np.full_like(xy, np.nan), where=norm > 0.0)


def _without_each(sums: np.ndarray) -> np.ndarray:
    """Means over all maps but one, shape (n, rings)."""
    return (sums.sum(axis=0) - sums) / (len(sums) - 1)


def _jackknife(values: np.ndarray) -> np.ndarray:
    """Standard deviation of an estimate from its values without each map, shape (n, rings)."""
    return np.sqrt((len(values) - 1) * np.var(values, axis=0))
