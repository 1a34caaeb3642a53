"""The kinds of systems that are no lenses, from the plain to the confusing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autolens_ml.simulate.finding import shapes
from autolens_ml.simulate.finding.defects import DEFECTS
from autolens_ml.simulate.finding.field import (
    add_companions,
    add_galaxies,
    add_neighbours,
    add_star,
    around,
)
from autolens_ml.simulate.finding.galaxies import (
    ELLIPTICAL,
    LATE,
    SPIRAL,
    STARBURST,
    Deflectors,
    deflector_light,
    draw_centres,
    draw_source_redshifts,
    ell_comps_from,
    fluxes_from,
    truncated,
)
from autolens_ml.simulate.finding.scene import Scene
from autolens_ml.simulate.finding.spectra import apparent_magnitude, kpc_per_arcsec

__all__ = ["NON_LENSES", "add_deflector"]

# Spirals: redshift, absolute magnitude at 0.62 micrometres, and half-light radius in kpc at -21.
_DISC_REDSHIFT = (0.35, 0.22, 0.06, 1.0)
_DISC_MAGNITUDE = (-21.2, 0.8, -23.0, -19.0)
_DISC_SIZE, _DISC_SIZE_SLOPE, _DISC_SIZE_SCATTER = 5.5, -0.15, 0.13
_FAINTEST = 22.3
_MIN_RADIUS = 0.35


def add_deflector(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """An early-type galaxy (a draw of length 1) in the middle, its group, and the field."""
    scene.sersics.extend(deflector_light(deflector, rng))
    redshift, magnitude = float(deflector.redshift[0]), float(deflector.magnitude[0])
    add_companions(scene, rng.choice([0.5, 4.0]), (2.0, 12.0), redshift, magnitude, rng)
    add_neighbours(scene, rng)


def elliptical(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """A galaxy as lenses are, at times with blue or red galaxies close by."""
    add_deflector(scene, deflector, rng)
    redshift, magnitude = float(deflector.redshift[0]), float(deflector.magnitude[0])
    chance = rng.random()
    if chance < 0.25:
        n = rng.integers(1, 4)
        beyond = draw_source_redshifts(np.full(n, redshift), rng)
        types = rng.choice([STARBURST, LATE, SPIRAL], size=n)
        faint = rng.uniform(22.5, 25.0, size=n)
        add_galaxies(scene, around(n, (0.8, 3.5), rng), types, beyond, faint, rng)
    elif chance < 0.4:
        add_companions(scene, 2.0, (0.7, 3.0), redshift, magnitude, rng)


def spiral(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """A disc with arms, at any inclination; or any real galaxy of the Hubble Deep Field."""
    redshift, magnitude, radius = _draw_disc(rng)
    add_neighbours(scene, rng)
    (centre,) = draw_centres(1, rng)
    if rng.random() < 0.3:
        types = rng.choice([SPIRAL, LATE, STARBURST], size=1)
        seen = (np.array([value]) for value in (redshift, magnitude))
        add_galaxies(scene, centre[None], types, *seen, rng, np.array([radius]))
        return
    axis_ratio, angle = max(0.15, rng.random()), rng.uniform(0.0, np.pi)
    ell_comps = _ell_comps(axis_ratio, angle)
    young = rng.choice([SPIRAL, LATE])
    bulge, disc, arms = (
        fluxes_from(np.array([t]), np.array([redshift]), np.array([magnitude]), rng)[0]
        for t in (ELLIPTICAL, young, rng.choice([LATE, STARBURST]))
    )
    in_bulge, in_arms = rng.beta(1.5, 5.0), rng.uniform(0.1, 0.6)
    round_bulge = ell_comps_from(np.array([rng.uniform(0.6, 1.0)]), rng)[0]
    if axis_ratio > 0.3:
        round_bulge = 0.5 * (round_bulge + ell_comps)
    scene.sersics += [
        (
            np.array([*centre, *round_bulge, 0.25 * radius, rng.uniform(1.0, 4.0)]),
            in_bulge * bulge,
        ),
        (
            np.array([*centre, *ell_comps, radius, 1.0]),
            (1.0 - in_bulge) * (1.0 - in_arms) * disc,
        ),
    ]
    image = shapes.spiral(radius / 1.68, axis_ratio, angle, rng, centre)
    scene.shapes.append((image, (1.0 - in_bulge) * in_arms * arms))
    if rng.random() < 0.25:
        add_companions(scene, 1.0, (1.0, 4.0), redshift, magnitude, rng)


def ring(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """A ring galaxy: an old core, a whole ring of young stars, and often a disc between them."""
    redshift, magnitude, radius = _draw_disc(rng)
    add_neighbours(scene, rng)
    (centre,) = draw_centres(1, rng)
    radius = float(np.clip(radius, 0.6, 2.2))
    axis_ratio, angle = rng.uniform(0.4, 1.0), rng.uniform(0.0, np.pi)
    young = rng.choice([SPIRAL, LATE, STARBURST], p=[0.2, 0.4, 0.4])
    core, around_it = (
        fluxes_from(np.array([t]), np.array([redshift]), np.array([magnitude]), rng)[0]
        for t in (ELLIPTICAL, young)
    )
    in_ring, in_disc = rng.uniform(0.15, 0.6), rng.choice([0.0, 1.0]) * rng.uniform(0.1, 0.4)
    ell_comps = _ell_comps(axis_ratio, angle)
    core_shape = ell_comps_from(np.array([rng.uniform(0.6, 1.0)]), rng)[0]
    index, size = rng.uniform(1.5, 4.0), radius * rng.uniform(0.2, 0.5)
    scene.sersics.append(
        (np.array([*centre, *core_shape, size, index]), (1.0 - in_ring) * (1.0 - in_disc) * core)
    )
    if in_disc:
        disc = np.array([*centre, *ell_comps, radius, 1.0])
        scene.sersics.append((disc, (1.0 - in_ring) * in_disc * around_it))
    width = radius * rng.uniform(0.08, 0.25)
    image = shapes.ring(radius, width, axis_ratio, angle, rng, centre)
    scene.shapes.append((image, in_ring * around_it))


def merger(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """Two or three galaxies that meet, with tails; or the shells that a meeting left long ago."""
    add_neighbours(scene, rng)
    if rng.random() < 0.25:
        scene.sersics.extend(deflector_light(deflector, rng))
        redshift, magnitude = deflector.redshift, deflector.magnitude + rng.uniform(2.0, 3.5)
        flux = fluxes_from(np.array([ELLIPTICAL]), redshift, magnitude, rng)[0]
        radius = float(np.clip(2.0 * deflector.radius[0], 0.8, 3.0))
        scene.shapes.append((shapes.shells(radius, rng), flux))
        return
    redshift, magnitude, radius = _draw_disc(rng)
    n = 2 + int(rng.random() < 0.25)
    types = rng.choice([ELLIPTICAL, SPIRAL, LATE, STARBURST], size=n, p=[0.25, 0.35, 0.25, 0.15])
    fainter = magnitude + np.concatenate([[0.0], rng.exponential(0.8, n - 1)])
    centres = np.concatenate([[[0.0, 0.0]], around(n - 1, (0.4, 3.0), rng)])
    centres += draw_centres(1, rng) - 0.3 * centres.mean(axis=0)
    sizes = radius * rng.uniform(0.3, 0.9, size=n)
    real = rng.random(n) < 0.6
    where = np.flatnonzero(real)
    add_galaxies(
        scene,
        centres[where],
        types[where],
        np.full(len(where), redshift),
        fainter[where],
        rng,
        sizes[where],
    )
    flux = fluxes_from(types, np.full(n, redshift), fainter, rng)
    for i in np.flatnonzero(~real):
        ell_comps = ell_comps_from(rng.uniform(0.4, 1.0, size=1), rng)[0]
        index = rng.uniform(1.0, 4.0)
        scene.sersics.append((np.array([*centres[i], *ell_comps, sizes[i], index]), flux[i]))
    for _ in range(rng.integers(1, 4)):
        in_tail = rng.uniform(0.03, 0.2) * flux[rng.integers(n)]
        image = shapes.tail(rng.uniform(0.4, 2.0), rng.uniform(0.08, 0.35), rng)
        scene.shapes.append((image, in_tail))


def star(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """A star, or two close together, with the wings of bright ones."""
    add_neighbours(scene, rng)
    spikes = rng.uniform(0.0, np.pi)
    centre = rng.normal(0.0, 0.15, size=2)
    for i in range(1 + int(rng.random() < 0.4)):
        magnitude = float(rng.uniform(14.5, 21.5))
        place = tuple(centre + (around(1, (0.3, 2.5), rng)[0] if i else 0.0))
        flux = add_star(scene, place, magnitude, rng)
        scene.seen.append((shapes.star_wings(place, spikes), flux))
    if rng.random() < 0.2:
        add_companions(scene, 2.0, (0.8, 3.0), 0.4, 20.0, rng)


def artefact(scene: Scene, deflector: Deflectors, rng: np.random.Generator) -> None:
    """Any of the above, or an empty field, with something on it that no telescope should see."""
    beneath = rng.choice([elliptical, spiral, star, None], p=[0.5, 0.25, 0.1, 0.15])
    if beneath is None:
        add_neighbours(scene, rng)
    else:
        beneath(scene, deflector, rng)
    defect = rng.choice(DEFECTS)
    # Drawn from now: images may be made in any order.
    own = np.random.default_rng(rng.integers(2**62))
    scene.defects.append(lambda images: defect(images, own))


NON_LENSES: dict[str, Callable[[Scene, Deflectors, np.random.Generator], None]] = {
    "elliptical": elliptical,
    "spiral": spiral,
    "ring": ring,
    "merger": merger,
    "star": star,
    "artefact": artefact,
}


def _draw_disc(rng: np.random.Generator) -> tuple[float, float, float]:
    """Redshift, VIS magnitude and half-light radius in arcsec of a disc galaxy."""
    while True:
        redshift = truncated(*_DISC_REDSHIFT, 1, rng)
        absolute = truncated(*_DISC_MAGNITUDE, 1, rng)
        magnitude = float(apparent_magnitude(np.array([SPIRAL]), redshift, absolute)[0])
        size = _DISC_SIZE * 10.0 ** (
            _DISC_SIZE_SLOPE * (absolute + 21.0) + _DISC_SIZE_SCATTER * rng.standard_normal(1)
        )
        radius = float((size / kpc_per_arcsec(redshift))[0])
        if magnitude < _FAINTEST and radius > _MIN_RADIUS:
            return float(redshift[0]), magnitude, min(radius, 4.0)


def _ell_comps(axis_ratio: float, angle: float) -> np.ndarray:
    """Of an angle in radians."""
    size = (1.0 - axis_ratio) / (1.0 + axis_ratio)
    return size * np.array([np.sin(2.0 * angle), np.cos(2.0 * angle)])
