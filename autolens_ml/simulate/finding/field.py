"""What else lies in the field of a galaxy: faint galaxies, companions, a star now and then."""

from __future__ import annotations

import numpy as np

from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.galaxies import (
    ELLIPTICAL,
    LATE,
    SPIRAL,
    STARBURST,
    draw_magnitudes,
    draw_source_redshifts,
    fluxes_from,
    galaxy_radii,
)
from autolens_ml.simulate.finding.light import PIXEL_SCALE, SIDE
from autolens_ml.simulate.finding.scene import Scene
from autolens_ml.simulate.finding.shapes import point
from autolens_ml.simulate.finding.spectra import star_magnitudes
from autolens_ml.simulate.sources import hubble_deep_field

__all__ = ["add_companions", "add_galaxies", "add_neighbours", "add_star"]

# Galaxies of a field of 21.6", mean number and magnitudes in VIS: 80 of them per square arcminute.
_N_FIELD, _FIELD_MAGNITUDES = 10.0, (19.5, 26.3)
_N_STARS, _STAR_MAGNITUDES = 0.25, (17.5, 24.0)
HALF_FIELD = 0.5 * SIDE * PIXEL_SCALE


def add_neighbours(scene: Scene, rng: np.random.Generator) -> None:
    """Galaxies and stars anywhere in the field, as many as there are on the sky."""
    n = rng.poisson(_N_FIELD)
    magnitude = draw_magnitudes(n, *_FIELD_MAGNITUDES, rng)
    redshift = draw_source_redshifts(np.full(n, 0.05), rng)
    types = rng.choice([STARBURST, LATE, SPIRAL, ELLIPTICAL], size=n, p=[0.45, 0.3, 0.15, 0.1])
    centres = rng.uniform(-HALF_FIELD, HALF_FIELD, size=(n, 2))
    add_galaxies(scene, centres, types, redshift, magnitude, rng)
    for _ in range(rng.poisson(_N_STARS)):
        place = rng.uniform(-HALF_FIELD + 0.2, HALF_FIELD - 0.2, size=2)
        add_star(scene, tuple(place), float(rng.uniform(*_STAR_MAGNITUDES)), rng)


def add_companions(
    scene: Scene,
    number: float,
    distance: tuple[float, float],
    redshift: float,
    magnitude: float,
    rng: np.random.Generator,
) -> None:
    """Red galaxies of the same group, on average ``number`` of them.

    Parameters
    ----------
    scene
        To which they are added.
    number
        Mean of a Poisson distribution.
    distance
        Nearest and farthest, in arcsec.
    redshift, magnitude
        Of the main galaxy; they are 0.5 to 4 magnitudes fainter.
    rng
        Of all that is drawn.
    """
    n = rng.poisson(number)
    fainter = magnitude + rng.uniform(0.5, 4.0, size=n)
    types = rng.choice([ELLIPTICAL, SPIRAL], size=n, p=[0.75, 0.25])
    add_galaxies(scene, around(n, distance, rng), types, np.full(n, redshift), fainter, rng)


def around(n: int, distance: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Positions (y, x) at these distances from the middle, evenly over the ring, shape (n, 2)."""
    radius = np.sqrt(rng.uniform(distance[0] ** 2, distance[1] ** 2, size=n))
    angle = rng.uniform(0.0, 2.0 * np.pi, size=n)
    return radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def add_galaxies(
    scene: Scene,
    centres: np.ndarray,
    types: np.ndarray,
    redshift: np.ndarray,
    magnitude: np.ndarray,
    rng: np.random.Generator,
    radii: np.ndarray | None = None,
) -> None:
    """Galaxies with the shapes of real ones, at positions (y, x) of shape (n, 2)."""
    n = len(centres)
    if n == 0:
        return
    flux = fluxes_from(types, redshift, magnitude, rng)
    radii = galaxy_radii(magnitude, rng) if radii is None else radii
    numbers = hubble_deep_field().sample(n, rng)
    angles = rng.uniform(0.0, 360.0, size=n)
    scene.stamps.extend(
        (int(numbers[i]), centres[i], float(radii[i]), float(angles[i]), flux[i]) for i in range(n)
    )


def add_star(
    scene: Scene, centre: tuple[float, float], magnitude: float, rng: np.random.Generator
) -> np.ndarray:
    """A star without wings; its fluxes, shape (n_bands,)."""
    temperature = np.exp(rng.uniform(*np.log([2900.0, 8000.0])))
    (mags,) = star_magnitudes(np.array([temperature]), np.array([magnitude]))
    flux = np.array([band.flux_from(m) for band, m in zip(BANDS.values(), mags, strict=True)])
    scene.shapes.append((point(centre), flux))
    return flux
