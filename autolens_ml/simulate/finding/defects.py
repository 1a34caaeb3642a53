"""What instruments add to the sky: cosmic rays, ghosts, trails, gaps, persistence, bad pixels.

Each defect changes images by band in place; those are in units of the noise of an empty pixel, and
may be of all bands or of some: what happens to one does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from autolens_ml.simulate.finding.bands import BANDS

__all__ = ["DEFECTS", "cosmic_rays", "gap"]

type Images = dict[str, np.ndarray]


def cosmic_rays(images: Images, rng: np.random.Generator) -> None:
    """Tracks in VIS, whose exposures are too few to find them all; NISP reads them away."""
    n = rng.integers(3, 25)
    if "VIS" not in images:
        return
    image = images["VIS"]
    side = len(image)
    for _ in range(n):
        length = np.exp(rng.uniform(np.log(1.0), np.log(50.0)))
        angle = rng.uniform(0.0, np.pi)
        steps = np.arange(0.0, length, 0.5)
        rows = np.rint(rng.uniform(0, side) + steps * np.sin(angle)).astype(int)
        columns = np.rint(rng.uniform(0, side) + steps * np.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        image[rows[inside], columns[inside]] += np.exp(rng.uniform(np.log(10.0), np.log(2000.0)))


def ghost(images: Images, rng: np.random.Generator) -> None:
    """A reflection out of focus: a flat disc with a hole, in one band."""
    image = _any_band(images, rng)
    radius, hole = rng.uniform(0.1, 0.35), rng.uniform(0.2, 0.75)
    y, x = _offsets(image, rng, 0.25)
    distance = np.hypot(y, x * rng.uniform(0.85, 1.15))
    disc = _edge(distance, radius) - _edge(distance, hole * radius)
    image += (rng.uniform(1.0, 12.0) * disc).astype(image.dtype)


def stray_arc(images: Images, rng: np.random.Generator) -> None:
    """A glint of a bright star outside the field: a wide arc around nothing, in one band."""
    image = _any_band(images, rng)
    y, x = _offsets(image, rng, 0.3)
    distance, azimuth = np.hypot(y, x), np.arctan2(y, x)
    radius, width = rng.uniform(0.15, 0.6), rng.uniform(0.01, 0.04)
    apart = np.mod(azimuth - rng.uniform(0.0, 2.0 * np.pi) + np.pi, 2.0 * np.pi) - np.pi
    arc = np.exp(
        -0.5 * ((distance - radius) / width) ** 2 - 0.5 * (apart / rng.uniform(0.3, 1)) ** 2
    )
    image += (rng.uniform(2.0, 30.0) * arc).astype(image.dtype)


def trail(images: Images, rng: np.random.Generator) -> None:
    """A satellite that crossed one exposure, in one band."""
    image = _any_band(images, rng)
    y, x = _offsets(image, rng, 0.3)
    angle = rng.uniform(0.0, np.pi)
    across = y * np.cos(angle) - x * np.sin(angle)
    width = rng.uniform(0.008, 0.03)
    image += (rng.uniform(2.0, 60.0) * np.exp(-0.5 * (across / width) ** 2)).astype(image.dtype)


def gap(images: Images, rng: np.random.Generator) -> None:
    """The edge of a detector: pixels without data beyond a line, the same in all bands."""
    where, side = rng.uniform(0.55, 0.95), rng.integers(4)
    for image in images.values():
        turned = np.rot90(image, side)
        turned[round(where * len(image)) :] = np.nan


def persistence(images: Images, rng: np.random.Generator) -> None:
    """What a bright star of an earlier exposure left in NISP: blobs, one of them in the middle."""
    for name, image, own in _each_band(images, rng):
        for i in range(own.integers(1, 4) if name != "VIS" else 0):
            y, x = _offsets(image, own, 0.4 if i else 0.05)
            radius = own.uniform(0.02, 0.08)
            blob = own.uniform(3.0, 60.0) * _edge(np.hypot(y, x), radius)
            image += blob.astype(image.dtype)


def bad_pixels(images: Images, rng: np.random.Generator) -> None:
    """Hot pixels and columns that no calibration took away, and dead ones."""
    for _, image, own in _each_band(images, rng):
        side = len(image)
        rows, columns = own.integers(side, size=(2, own.integers(2, 30)))
        image[rows, columns] += np.exp(own.uniform(np.log(5.0), np.log(500.0), size=len(rows)))
        for column in own.integers(side, size=own.integers(0, 4)):
            image[:, column] += own.choice([-1.0, 1.0]) * own.uniform(2.0, 30.0)


def bleeding(images: Images, rng: np.random.Generator) -> None:
    """A saturated star just outside: charge that spilled along a column of VIS, and its halo."""
    column = rng.uniform(-0.25, 0.25)
    level = rng.uniform(0.5, 6.0)
    for image in images.values():
        side = len(image)
        x = (np.arange(side) - 0.5 * (side - 1)) / side
        image += (level * np.exp(-np.abs(x - column) / 0.1)).astype(image.dtype)
    if "VIS" in images:
        image = images["VIS"]
        side = len(image)
        first = int((0.5 + column) * side)
        height = rng.integers(side // 4, side)
        rows = slice(0, height) if rng.random() < 0.5 else slice(side - height, side)
        image[rows, first : first + rng.integers(1, 5)] += rng.uniform(100.0, 20000.0)


DEFECTS: tuple[Callable[[Images, np.random.Generator], None], ...] = (
    cosmic_rays,
    ghost,
    stray_arc,
    trail,
    gap,
    persistence,
    bad_pixels,
    bleeding,
)


def _any_band(images: Images, rng: np.random.Generator) -> np.ndarray:
    """The image of one of all bands; where it is not asked for, one that nobody sees."""
    name = rng.choice(list(BANDS))
    return images.get(name, np.zeros(BANDS[name].instrument.shape))


def _each_band(
    images: Images, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, np.random.Generator]]:
    """Bands that are asked for, their images, and a stream of random numbers for each."""
    for name, own in zip(BANDS, rng.spawn(len(BANDS)), strict=True):
        if name in images:
            yield name, images[name], own


def _offsets(
    image: np.ndarray, rng: np.random.Generator, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates around a place within ``spread`` of the middle; the field's side is 1."""
    side = len(image)
    x = (np.arange(side) - 0.5 * (side - 1)) / side
    y_0, x_0 = rng.uniform(-spread, spread, size=2)
    return -x[:, None] - y_0, x[None, :] - x_0


def _edge(distance: np.ndarray, radius: float) -> np.ndarray:
    """1 within a radius, 0 beyond, over a hundredth of the field."""
    return 0.5 - 0.5 * np.tanh((distance - radius) / 0.01)
