"""Gaussian random fields with a power-law spectrum."""

from __future__ import annotations

import numpy as np
from scipy import fft

from autolens_ml.exceptions import OptionError

__all__ = ["gaussian_random_fields"]


def gaussian_random_fields(
    n: int, shape: tuple[int, int], slope: float | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Periodic Gaussian random fields with power as wavenumber to the power of minus `slope`.

    Their expectation and constant term are zero, their expected variance is one.

    Parameters
    ----------
    n
        Number of fields.
    shape
        Rows and columns.
    slope
        0 is white noise; one for all fields or an array of shape (n,).
    rng
        Of the numbers.

    Returns
    -------
    ndarray
        Shape (n, y, x), float32.

    Raises
    ------
    OptionError
        If a shape has fewer than 2 pixels a side.
    """
    if min(shape) < 2:
        raise OptionError(f"fields of shape {tuple(shape)}; set both sides to 2 pixels or more")
    wavenumber = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    # Relative to the longest wave, so that steep spectra do not overflow. A constant is no wave.
    shortest = np.min(wavenumber, where=wavenumber > 0.0, initial=np.inf)
    logarithm = np.log(np.maximum(wavenumber, shortest) / shortest).astype(np.float32)
    slopes = np.broadcast_to(np.asarray(slope, dtype=np.float32), (n,))[:, None, None]
    amplitude = np.exp(-0.5 * slopes * logarithm)
    amplitude[:, 0, 0] = 0.0
    # All columns but the first, and the last of an even number, stand for their conjugates, too.
    twice = np.full(wavenumber.shape[1], 2.0, dtype=np.float32)
    twice[[0, -1] if shape[1] % 2 == 0 else [0]] = 1.0
    variance = np.mean(twice * amplitude**2, axis=(1, 2), keepdims=True) * len(twice) / shape[1]
    white = fft.rfft2(rng.standard_normal((n, *shape), dtype=np.float32))
    return fft.irfft2(white * (amplitude / np.sqrt(variance)), s=shape)
