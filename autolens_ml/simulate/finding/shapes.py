"""Shapes that no smooth profile has: spiral arms, rings, tails, shells, stars with spikes.

All are images of unit flux on the field of a scene, float32, shape (216, 216), around (0, 0) unless
a centre is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import fft

from autolens_ml.simulate.finding.light import SIDE
from autolens_ml.simulate.finding.scene import pixel_of, positions

__all__ = ["disc_frame", "point", "ring", "shells", "spiral", "star_wings", "tail", "texture"]

type Position = Sequence[float] | np.ndarray

_N_TEXTURES, _TEXTURE_SLOPE = 16, 1.3
# Share of a star's light in its halo and in its spikes, and their lengths [arcsec].
_HALO_SHARE, _HALO_CORE, _HALO_SLOPE = 0.02, 0.6, 2.6
_SPIKE_SHARE, _SPIKE_WIDTH, _SPIKE_CORE = 0.015, 0.06, 0.4
_N_SPIKES = 6


def spiral(
    scale: float,
    axis_ratio: float,
    angle: float,
    rng: np.random.Generator,
    centre: Position = (0.0, 0.0),
) -> np.ndarray:
    """Arms of a disc: logarithmic spirals, more or less broken up, with knots of young stars.

    Parameters
    ----------
    scale
        Scale length of the disc in arcsec.
    axis_ratio, angle
        Of the disc as it is seen; the angle is in radians.
    rng
        Of number, pitch, sharpness and knots of the arms.
    centre
        (y, x) in arcsec.
    """
    radius, azimuth = disc_frame(axis_ratio, angle, centre)
    n_arms = rng.choice([1, 2, 3, 4], p=[0.08, 0.62, 0.18, 0.12])
    pitch = np.deg2rad(rng.uniform(9.0, 28.0)) * rng.choice([-1.0, 1.0])
    in_scales = np.maximum(radius / scale, 1e-2)
    phase = n_arms * (azimuth - np.log(in_scales) / np.tan(pitch)) + rng.uniform(0.0, 2.0 * np.pi)
    arms = (0.5 + 0.5 * np.cos(phase)) ** rng.uniform(1.5, 6.0)
    envelope = in_scales * np.exp(-in_scales * rng.uniform(0.9, 1.3))
    inner = 1.0 / (1.0 + np.exp(-8.0 * (in_scales - rng.uniform(0.3, 0.9))))
    light = arms * envelope * inner * np.exp(rng.uniform(0.2, 0.8) * texture(rng))
    light += _knots(light, rng, rng.integers(0, 20), 0.08 * scale + 0.05)
    return _of_unit_flux(light)


def ring(
    radius: float,
    width: float,
    axis_ratio: float,
    angle: float,
    rng: np.random.Generator,
    centre: Position = (0.0, 0.0),
) -> np.ndarray:
    """A whole ring with knots; ``radius`` and ``width`` in arcsec, the angle in radians."""
    distance, azimuth = disc_frame(axis_ratio, angle, centre)
    light = np.exp(-0.5 * ((distance - radius) / width) ** 2)
    light *= 1.0 + rng.uniform(0.0, 0.5) * np.cos(azimuth - rng.uniform(0.0, 2.0 * np.pi))
    light *= np.exp(rng.uniform(0.1, 0.7) * texture(rng))
    light += _knots(light, rng, rng.integers(0, 12), 0.6 * width)
    return _of_unit_flux(light)


def tail(radius: float, width: float, rng: np.random.Generator) -> np.ndarray:
    """A tidal tail that winds out from about ``radius``, of this width, both in arcsec."""
    distance, azimuth = disc_frame(1.0, 0.0)
    length, growth = rng.uniform(0.8, 3.2), rng.uniform(0.1, 0.6)
    turned = rng.choice([-1.0, 1.0]) * azimuth - rng.uniform(0.0, 2.0 * np.pi)
    along = np.mod(turned, 2.0 * np.pi)
    middle = radius * np.exp(growth * along)
    wider = width * (1.0 + 0.5 * along)
    light = np.exp(-0.5 * ((distance - middle) / wider) ** 2 - along / length)
    light *= 1.0 / (1.0 + np.exp(12.0 * (along - length)))
    # It begins as gently as it ends.
    light *= 1.0 - np.exp(-6.0 * along)
    return _of_unit_flux(light * np.exp(0.4 * texture(rng)))


def shells(radius: float, rng: np.random.Generator) -> np.ndarray:
    """Shells of a merger long ago: sharp outer edges at radii around ``radius`` [arcsec]."""
    axis = rng.uniform(0.0, 2.0 * np.pi)
    distance, azimuth = disc_frame(rng.uniform(0.75, 1.0), axis)
    light = np.zeros((SIDE, SIDE), dtype=np.float32)
    for _ in range(rng.integers(1, 5)):
        edge, fade = radius * rng.uniform(0.6, 2.0), radius * rng.uniform(0.08, 0.3)
        side = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.15)
        width = rng.uniform(0.3, 0.8)
        apart = np.mod(azimuth - side + np.pi, 2.0 * np.pi) - np.pi
        inside = np.exp(np.minimum(distance - edge, 0.0) / fade) * (distance < edge)
        light += rng.uniform(0.3, 1.0) * inside * np.exp(-0.5 * (apart / width) ** 2) / edge
    return _of_unit_flux(light)


def point(centre: Position) -> np.ndarray:
    """A point of light, shared by the four pixels around it."""
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    row, column = pixel_of(centre)
    i, j = int(np.floor(row)), int(np.floor(column))
    v, u = row - i, column - j
    image[i : i + 2, j : j + 2] = np.outer([1.0 - v, v], [1.0 - u, u])
    return image


def star_wings(centre: Position, angle: float) -> np.ndarray:
    """What a point source has beyond the core of the PSF: halo and six spikes.

    Its flux is 3.5 per cent of that of the star; the angle of the spikes is in radians.
    """
    y, x = positions()
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    distance = np.hypot(y, x)
    halo = (1.0 + (distance / _HALO_CORE) ** 2) ** (-0.5 * _HALO_SLOPE)
    light = _HALO_SHARE * _of_unit_flux(halo)
    spikes = np.zeros((SIDE, SIDE), dtype=np.float32)
    # A vane makes two spikes, so three lines make six.
    for i in range(_N_SPIKES // 2):
        turn = angle + np.pi * i / (_N_SPIKES // 2)
        across = y * np.cos(turn) - x * np.sin(turn)
        fall = (1.0 + (distance / _SPIKE_CORE) ** 2) ** -0.9
        spikes += np.exp(-0.5 * (across / _SPIKE_WIDTH) ** 2) * fall
    return light + _SPIKE_SHARE * _of_unit_flux(spikes)


def disc_frame(
    axis_ratio: float, angle: float, centre: Position = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Radius [arcsec] and azimuth within a disc seen at an angle, of all pixels of the field."""
    y, x = positions()
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    along, across = x * cosine + y * sine, (y * cosine - x * sine) / np.float32(axis_ratio)
    return np.hypot(along, across), np.arctan2(across, along)


def texture(rng: np.random.Generator) -> np.ndarray:
    """A random field of unit variance with structure of all sizes, one of a few thousand."""
    field = _textures()[rng.integers(_N_TEXTURES)]
    field = np.roll(field, tuple(rng.integers(SIDE, size=2)), axis=(0, 1))
    return field.T if rng.random() < 0.5 else field


@cache
def _textures() -> np.ndarray:
    rng = np.random.default_rng(0)
    k = np.hypot(fft.fftfreq(SIDE)[:, None], fft.rfftfreq(SIDE)[None, :])
    k[0, 0] = np.inf
    white = fft.rfft2(rng.standard_normal((_N_TEXTURES, SIDE, SIDE)))
    fields = fft.irfft2(white * k**-_TEXTURE_SLOPE, (SIDE, SIDE))
    return (fields / fields.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _knots(light: np.ndarray, rng: np.random.Generator, number: int, size: float) -> np.ndarray:
    """Clumps where there is light, each a few per cent of it; sizes are in arcsec."""
    knots = np.zeros_like(light)
    if number == 0:
        return knots
    y, x = positions()
    cumulated = np.cumsum(light, dtype=np.float64)
    places = np.searchsorted(cumulated, cumulated[-1] * rng.random(number))
    for place in places:
        row, column = divmod(int(place), SIDE)
        sigma = np.float32(max(size, 0.04) * rng.uniform(0.5, 1.2))
        reach = int(np.ceil(4.0 * sigma / 0.1)) + 1
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        down = np.exp(-0.5 * ((y[rows] - y[row]) / sigma) ** 2)
        across = np.exp(-0.5 * ((x[:, columns] - x[:, [column]]) / sigma) ** 2)
        knots[rows, columns] += rng.uniform(0.3, 1.0) * down * across / sigma**2
    share = rng.uniform(0.05, 0.4)
    return knots * np.float32(share * light.sum() / knots.sum())


def _of_unit_flux(light: np.ndarray) -> np.ndarray:
    return (light / light.sum(dtype=np.float64)).astype(np.float32)
