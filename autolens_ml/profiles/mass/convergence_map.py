r"""Lensing by a map of convergence that is bilinear between the centres of its pixels.

Everything here is in pixels: positions are rows (downwards) and columns from the centre of the
first pixel, :math:`\boldsymbol\alpha = \nabla\psi` has the components along rows and columns, and
:math:`\nabla\cdot\boldsymbol\alpha = 2\kappa`.

A bilinear map is a sum of tents :math:`\Lambda(x)\Lambda(y)`, :math:`\Lambda(t) = \max(0, 1-|t|)`,
one for each pixel and of its mass. The lensing of a tent is the second difference, in both
directions, of functions :math:`F` with :math:`\partial_x^2\partial_y^2 F` that of a point mass.
They are elementary: of :math:`\ln r` it is

.. math::
    \frac{1}{6}\left(x^3y\arctan\frac yx + xy^3\arctan\frac xy\right) -
    \frac{x^4-6x^2y^2+y^4}{48}\ln r^2 - \frac{25}{48}x^2y^2,

and of the derivatives of :math:`\ln r` the derivatives of this. Far away a tent is a point mass
with :math:`\psi = \frac1\pi\left(\ln r + \frac{1}{120}{\rm Re}\,z^{-4}\right)`, but for terms of
the order :math:`z^{-8}`.

On the centres of pixels, in the map and around it, sums over the pixels are convolutions, made once
by FFT. Between them, deflections and potential are bicubic Hermite polynomials of the exact values
and the exact derivatives there; far outside they are a multipole series. Deflections are continuous
with their first derivatives, to a part in a million where the series begins; their divergence is
twice the bilinear map at the centres of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb, hypot
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from autogalaxy import exc
from scipy.fft import next_fast_len

__all__ = ["LensingMaps", "deflections", "lensing_maps", "pixel_fields", "potential", "spectra"]

# Beyond this distance [px] the closed form loses more to rounding than the point mass to its form.
_FAR = 12.0
# Terms of the multipole series, which is used where the map's size over the distance is < 0.71.
_N_MULTIPOLES = 32


# ----------------------------------------------------------------------------- one pixel, exactly


def pixel_fields(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    r"""Lensing by one pixel (tent) of convergence 1 at the origin.

    Parameters
    ----------
    row, column
        Positions relative to the pixel [px], of any one shape.

    Returns
    -------
    Shape (5, ...): the potential :math:`\psi` [px^2]; its derivatives along the rows and the
    columns [px]; half the difference of the second derivatives along rows and along columns; and
    the mixed derivative.
    """
    row, column = np.broadcast_arrays(np.asarray(row, float), np.asarray(column, float))
    fields = np.empty((5, *row.shape))
    near = np.maximum(np.abs(row), np.abs(column)) < _FAR
    y, x = row[near], column[near]
    weights = {-1: 1.0, 0: -2.0, 1: 1.0}
    fields[:, near] = sum(
        weights[i] * weights[j] * _integrated_point(y + i, x + j) for i in weights for j in weights
    )
    z = column[~near] + 1j * row[~near]
    first, second = 1.0 / z - z**-5 / 30.0, z**-6 / 6.0 - z**-2
    fields[:, ~near] = (
        np.log(np.abs(z)) + (z**-4).real / 120.0,
        -first.imag,
        first.real,
        -second.real,
        -second.imag,
    )
    return fields / np.pi


def _integrated_point(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Two-fold integrals, along both axes, of ln r and its derivatives as in `pixel_fields`.

    Terms that second differences remove are left out.
    """
    x, y = np.abs(column), np.abs(row)
    x2, y2, xy = x * x, y * y, x * y
    logarithm = np.log(np.where(x2 + y2 > 0.0, x2 + y2, 1.0))
    # arctan(y/x) and arctan(x/y).
    to_y, to_x = np.arctan2(y, x), np.arctan2(x, y)
    along_rows = 0.5 * xy * y * to_x + x * x2 * to_y / 6.0 - y * (y2 - 3.0 * x2) * logarithm / 12.0
    along_columns = (
        0.5 * xy * x * to_y + y * y2 * to_x / 6.0 - x * (x2 - 3.0 * y2) * logarithm / 12.0
    )
    return np.stack(
        (
            xy * (x2 * to_y + y2 * to_x) / 6.0
            - (x2 * x2 - 6.0 * x2 * y2 + y2 * y2) * logarithm / 48.0
            - 25.0 / 48.0 * x2 * y2,
            np.sign(row) * along_rows,
            np.sign(column) * along_columns,
            0.25 * (x2 - y2) * logarithm + 0.5 * xy * (to_x - to_y),
            0.5 * np.sign(row) * np.sign(column) * (xy * logarithm + x2 * to_y + y2 * to_x),
        )
    )


@lru_cache(maxsize=4)
def spectra(
    shape: tuple[int, int], out_shape: tuple[int, int], start: tuple[float, float]
) -> tuple[tuple[int, int], np.ndarray]:
    """Real FFTs of `pixel_fields` that take a zero-padded map to its lensing on a lattice.

    ::

        padded, kernels = spectra(shape, out_shape, start)
        fields = np.fft.irfft2(kernels * np.fft.rfft2(values, padded), padded)[:, :rows, :columns]

    Parameters
    ----------
    shape
        Rows and columns of the map.
    out_shape
        Rows and columns of the lattice, which has the map's spacing.
    start
        Row and column of its first point on the map; not always whole numbers.

    Returns
    -------
    The padded shape, and the spectra of shape (5, padded rows, padded columns // 2 + 1).
    """
    padded, offsets = [], []
    for n_in, n_out, first in zip(shape, out_shape, start, strict=True):
        size = next_fast_len(n_in + n_out - 1, real=True)
        index = np.arange(size)
        padded.append(size)
        # The end of the axis holds the negative offsets of the convolution.
        offsets.append(first + np.where(index < n_out, index, index - size))
    kernels = pixel_fields(offsets[0][:, None], offsets[1][None, :])
    return (padded[0], padded[1]), np.fft.rfft2(kernels)


# ------------------------------------------------------------------------------------------- maps


class LensingMaps(NamedTuple):
    """What a map of convergence does, on the pixel centres of a square around it and far away.

    Attributes
    ----------
    start : tuple
        Row and column of the first of these centres on the map.
    centre : tuple
        Row and column of the middle of the map.
    reach : float
        Radius of a circle around the middle that holds all mass [px].
    potential : array
        (1, 4, rows, columns): potential, its derivatives along rows and columns, mixed derivative.
    deflections : array
        (2, 4, rows, columns): the same of the deflections along rows and along columns.
    moments : array
        Complex, (terms,): integrals of the convergence times (z / reach)^l around the middle.
    """

    start: tuple[int, int]
    centre: tuple[float, float]
    reach: float
    potential: Any
    deflections: Any
    moments: Any


def lensing_maps(values: Any, xp: ModuleType = np) -> LensingMaps:
    """Potential and deflections of a map on a lattice, and its moments.

    Of the same values they are computed once: the last few are kept. Values that JAX traces are
    transformed by JAX, and may be differentiated.

    Parameters
    ----------
    values
        Convergence at the pixel centres, of shape (rows, columns).
    xp
        `numpy` or `jax.numpy`.

    Raises
    ------
    ModelParameterException
        If values that are not traced are not finite.
    """
    if xp is not np:
        from jax.core import Tracer

        if isinstance(values, Tracer):
            return _computed_maps(values, xp)
    array = np.ascontiguousarray(values, dtype=float)
    return _stored_maps(array.tobytes(), array.shape)


@lru_cache(maxsize=8)
def _stored_maps(data: bytes, shape: tuple[int, int]) -> LensingMaps:
    values = np.frombuffer(data).reshape(shape)
    if not np.isfinite(values).all():
        raise exc.ModelParameterException(
            "a map of convergence holds values that are not finite, and a single one makes all "
            "deflections so: set them to 0, or to what is around them"
        )
    return _computed_maps(values, np)


def _computed_maps(values: Any, xp: ModuleType) -> LensingMaps:
    rows, columns = values.shape
    # Half a pixel of tent reaches beyond the outermost pixels.
    reach = 0.5 * hypot(rows + 1, columns + 1)
    half = 2.0**0.5 * reach
    margin = [int(np.ceil(half - 0.5 * (n - 1))) for n in (rows, columns)]
    # One ring more, for differences.
    out_shape = (rows + 2 * margin[0] + 2, columns + 2 * margin[1] + 2)
    padded, kernels = spectra((rows, columns), out_shape, (-1.0 - margin[0], -1.0 - margin[1]))
    spectrum = xp.fft.rfft2(values, s=padded)
    fields = xp.fft.irfft2(kernels * spectrum, s=padded)[:, : out_shape[0], : out_shape[1]]
    psi, d_row, d_column, half_difference, mixed = fields
    kappa = xp.pad(values, [(m + 1, m + 1) for m in margin])
    row_row, column_column = kappa + half_difference, kappa - half_difference
    inner = (slice(1, -1), slice(1, -1))
    potential = [f[inner] for f in (psi, d_row, d_column, mixed)]
    row_row_column = 0.5 * (mixed[2:, 1:-1] - mixed[:-2, 1:-1])
    row_column_column = 0.5 * (mixed[1:-1, 2:] - mixed[1:-1, :-2])
    along_rows = [f[inner] for f in (d_row, row_row, mixed)] + [row_row_column]
    along_columns = [f[inner] for f in (d_column, mixed, column_column)] + [row_column_column]
    return LensingMaps(
        start=(-margin[0], -margin[1]),
        centre=(0.5 * (rows - 1), 0.5 * (columns - 1)),
        reach=reach,
        potential=xp.stack(potential)[None],
        deflections=xp.stack((xp.stack(along_rows), xp.stack(along_columns))),
        moments=xp.tensordot(_moment_weights((rows, columns)), values, axes=2),
    )


@lru_cache(maxsize=8)
def _moment_weights(shape: tuple[int, int]) -> np.ndarray:
    """Moments about the middle of pixels (tents) of unit mass, (terms, rows, columns)."""
    rows, columns = shape
    reach = 0.5 * hypot(rows + 1, columns + 1)
    row, column = (np.arange(n) - 0.5 * (n - 1) for n in shape)
    z = (column[None, :] + 1j * row[:, None]) / reach
    # Of a tent around 0: of t^m along one axis 2 / ((m + 1) (m + 2)) for even m, and 0.
    axis = [0.0 if m % 2 else 2.0 / ((m + 1) * (m + 2)) for m in range(_N_MULTIPOLES)]
    tent = [
        sum(comb(k, m) * axis[k - m] * (axis[m] * 1j**m).real for m in range(k + 1)) / reach**k
        for k in range(_N_MULTIPOLES)
    ]
    powers = z ** np.arange(_N_MULTIPOLES)[:, None, None]
    return np.stack(
        [
            sum(comb(l, k) * tent[k] * powers[l - k] for k in range(l + 1))
            for l in range(_N_MULTIPOLES)
        ]
    )


# ------------------------------------------------------------------------------ between the pixels


def deflections(maps: LensingMaps, row: Any, column: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """Deflections along rows and along columns [px], of the shape of `row`.

    Parameters
    ----------
    maps
        Of `lensing_maps`.
    row, column
        Positions on the map [px], (N,).
    xp
        `numpy` or `jax.numpy`.
    """
    inside, near = _interpolated(maps.deflections, maps, row, column, xp)

    def series(inverse: Any) -> Any:
        return inverse * xp.polyval(maps.moments[::-1], inverse) / (np.pi * maps.reach)

    far = _beyond(series, inside, _inverse_position(maps, row, column, inside, xp)[0], xp)
    along_rows = xp.where(inside, near[0], -xp.imag(far))
    along_columns = xp.where(inside, near[1], xp.real(far))
    if xp is np:
        return along_rows, along_columns
    from jax.lax import optimization_barrier

    # Otherwise XLA computes all of this anew for every use of a deflection, in 4 times the time.
    return optimization_barrier((along_rows, along_columns))


def potential(maps: LensingMaps, row: Any, column: Any, xp: ModuleType = np) -> Any:
    """Potential [px^2], of the shape of `row`; parameters as `deflections`.

    Far away it is the mass over pi times the logarithm of the distance to the middle [px].
    """
    inside, near = _interpolated(maps.potential, maps, row, column, xp)
    inverse, distance = _inverse_position(maps, row, column, inside, xp)
    coefficients = maps.moments[1:] / np.arange(1, len(maps.moments))

    def series(inverse: Any) -> Any:
        return inverse * xp.polyval(coefficients[::-1], inverse)

    tail = xp.real(_beyond(series, inside, inverse, xp))
    far = (xp.real(maps.moments[0]) * xp.log(distance) - tail) / np.pi
    return xp.where(inside, near[0], far)


def _interpolated(
    nodes: Any, maps: LensingMaps, row: Any, column: Any, xp: ModuleType
) -> tuple[Any, list[Any]]:
    """Whether points are on the lattice, and the bicubic Hermite polynomials of `nodes` there."""
    rows, columns = nodes.shape[2:]
    nodes = xp.asarray(nodes).reshape(*nodes.shape[:2], -1)
    r, c = row - maps.start[0], column - maps.start[1]
    inside = (r >= 0.0) & (r <= rows - 1.0) & (c >= 0.0) & (c <= columns - 1.0)
    r, c = xp.where(inside, r, 0.0), xp.where(inside, c, 0.0)
    i = xp.clip(xp.floor(r).astype(int), 0, rows - 2)
    j = xp.clip(xp.floor(c).astype(int), 0, columns - 2)
    totals = [0.0] * len(nodes)
    for down, (value_r, slope_r) in enumerate(_hermite(r - i)):
        for right, (value_c, slope_c) in enumerate(_hermite(c - j)):
            weights = (value_r * value_c, slope_r * value_c, value_r * slope_c, slope_r * slope_c)
            corner = (i + down) * columns + (j + right)
            for k, field in enumerate(nodes):
                totals[k] += sum(f[corner] * w for f, w in zip(field, weights, strict=True))
    return inside, totals


def _hermite(t: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Weights of value and slope at 0, and of value and slope at 1, of a cubic at t."""
    s = 1.0 - t
    return (s * s * (1.0 + 2.0 * t), t * s * s), (t * t * (3.0 - 2.0 * t), -t * t * s)


def _inverse_position(
    maps: LensingMaps, row: Any, column: Any, inside: Any, xp: ModuleType
) -> tuple[Any, Any]:
    """Return reach / z about the middle, complex, and |z| [px]; on the lattice any safe number."""
    y = xp.where(inside, 2.0 * maps.reach, row - maps.centre[0])
    x = xp.where(inside, 2.0 * maps.reach, column - maps.centre[1])
    distance = xp.hypot(y, x)
    return maps.reach / distance * ((x - 1j * y) / distance), distance


def _beyond(series: Callable[[Any], Any], inside: Any, inverse: Any, xp: ModuleType) -> Any:
    """The series; zeros, without computing it, where all points are on the lattice."""
    if xp is np:
        return np.zeros_like(inverse) if inside.all() else series(inverse)
    from jax.lax import cond

    return cond(xp.all(inside), xp.zeros_like, series, inverse)
