"""Compound lenses: two galaxies at different distances lens a third one far behind them.

The priors are those with which Wilde et al. 2022 (arXiv:2202.12776) made their compound arcs and
double Einstein rings, except for two things. Their middle galaxy was not lensed itself; here all
three planes are traced, as they should be. Their half-light radii, 0.2" to 7" for all three
galaxies alike, would leave sources beyond redshift 3 too dim to see: sizes and magnitudes here are
those of the other systems. As theirs, our redshifts and magnitudes are of lenses and sources of the
same survey, with velocity dispersions by Faber & Jackson.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import autofit as af
import autolens as al
import numpy as np

from autolens_ml.simulate.finding.galaxies import (
    LATE,
    SPIRAL,
    STARBURST,
    Deflectors,
    Sources,
    dispersions_from,
    draw_deflectors,
    draw_magnitudes,
    draw_source_redshifts,
    einstein_radii,
    ell_comps_from,
    fluxes_from,
    galaxy_radii,
)
from autolens_ml.simulate.finding.lensing import (
    Arcs,
    arcs_from,
    deflector_model,
    planes_from,
    source_light,
    source_parameters,
    window,
)
from autolens_ml.simulate.finding.spectra import comoving_distance
from autolens_ml.simulate.forward import ForwardModel

__all__ = ["ARCS", "RING", "draw_compound"]

ARCS, RING = "compound-arcs", "double-ring"

# Wilde et al. 2022: axis ratios, shear components, and for double rings offsets in arcsec of both
# lenses from the source; for compound arcs, these are shares of their Einstein radii.
_AXIS_RATIOS = (0.3, 1.0)
_SHEAR = 0.05
_RING_OFFSET, _ARC_OFFSET = 0.25, 0.5
# The far source, and the limit of the middle galaxy.
_FAR_REDSHIFTS = (3.0, 4.5)
_FAR_MAGNITUDES, _MIDDLE_MAGNITUDES = (22.0, 25.6), (21.0, 24.5)
_MAX_DISPERSION = 300.0  # km/s
# Redshifts of the planes that are compiled. Where Einstein radii are given, redshifts act by one
# number alone: the share of the first deflection that the middle galaxy sees.
_NEAR, _FAR = 0.5, 3.5
_MIDDLES = (0.85, 1.15, 1.75)


def draw_compound(kind: str, n: int, rng: np.random.Generator) -> tuple[Deflectors, Arcs, Arcs]:
    """Compound lenses, whether or not they can be seen.

    Parameters
    ----------
    kind
        ``ARCS`` or ``RING``: how far from each other the galaxies are.
    n
        How many.
    rng
        Of all that is drawn.

    Returns
    -------
    tuple
        The nearest galaxies, with the redshift of the far source; the far source; the middle
        galaxy, which is lensed by the nearest.
    """
    near = draw_deflectors(n, rng)
    far_redshift = rng.uniform(*_FAR_REDSHIFTS, size=n)
    near = replace(
        near,
        source_redshift=far_redshift,
        einstein_radius=einstein_radii(near.dispersion, near.redshift, far_redshift),
        ell_comps=ell_comps_from(rng.uniform(*_AXIS_RATIOS, size=n), rng),
    )
    middle_redshift = np.minimum(draw_source_redshifts(near.redshift + 0.15, rng), 2.9)
    middle_magnitude = draw_magnitudes(n, *_MIDDLE_MAGNITUDES, rng)
    # The light of the middle galaxy gives away its mass, as in the paper.
    types = np.full(n, SPIRAL)
    dispersion = np.minimum(
        dispersions_from(types, middle_redshift, middle_magnitude), _MAX_DISPERSION
    )
    middle_radius = einstein_radii(dispersion, middle_redshift, far_redshift)
    middle = Sources(
        middle_redshift,
        middle_magnitude,
        galaxy_radii(middle_magnitude, rng),
        fluxes_from(types, middle_redshift, middle_magnitude, rng),
    )
    far_magnitude = draw_magnitudes(n, *_FAR_MAGNITUDES, rng)
    blue = rng.choice([STARBURST, LATE], size=n, p=[0.75, 0.25])
    far = Sources(
        far_redshift,
        far_magnitude,
        galaxy_radii(far_magnitude, rng),
        fluxes_from(blue, far_redshift, far_magnitude, rng),
    )
    planes = _planes(kind, near, middle, middle_radius, far, rng)
    return near, arcs_from(planes[:, 2], far), arcs_from(planes[:, 1], middle)


def _planes(
    kind: str,
    near: Deflectors,
    middle: Sources,
    middle_radius: np.ndarray,
    far: Sources,
    rng: np.random.Generator,
) -> np.ndarray:
    """Surface brightness of all three planes, that of the nearest zero, shape (n, 3, y, x)."""
    n = len(near)
    if kind == RING:
        limits = np.full((2, n), _RING_OFFSET)
    else:
        limits = _ARC_OFFSET * np.stack([near.einstein_radius, middle_radius])
    # Offsets are from the far source, while the nearest galaxy is in the middle of the image.
    of_near, of_middle = rng.uniform(-1.0, 1.0, size=(2, n, 2)) * limits[:, :, None]
    far_centre = near.centre - of_near
    middle_centre = far_centre + of_middle
    mass = {
        "near": (near.einstein_radius, near.ell_comps, near.centre),
        "middle": (
            middle_radius,
            ell_comps_from(rng.uniform(*_AXIS_RATIOS, size=n), rng),
            middle_centre,
        ),
    }
    values: dict[str, np.ndarray] = {}
    for name, (radius, ell_comps, centre) in mass.items():
        values[f"galaxies.{name}.mass.einstein_radius"] = radius
        for i in range(2):
            values[f"galaxies.{name}.mass.centre.centre_{i}"] = centre[:, i]
            values[f"galaxies.{name}.mass.ell_comps.ell_comps_{i}"] = ell_comps[:, i]
            values[f"galaxies.{name}.shear.gamma_{i + 1}"] = rng.uniform(-_SHEAR, _SHEAR, size=n)
    stamps = []
    for name, sources, centre in (("middle", middle, middle_centre), ("far", far, far_centre)):
        light, own = source_parameters(centre, sources.radius, rng)
        values |= {f"galaxies.{name}.{path}": column for path, column in light.items()}
        stamps.append(own)
    nearest = _nearest_configuration(near.redshift, middle.redshift, far.redshift)
    planes: np.ndarray | None = None
    for number in np.unique(nearest):
        rows = nearest == number
        forward = _forward(_MIDDLES[number])
        chosen = {path: column[rows] for path, column in values.items()}
        part = planes_from(forward, chosen, np.stack(stamps, axis=1)[rows])
        if planes is None:
            planes = np.empty((n, *part.shape[1:]))
        planes[rows] = part
    return planes


def _seen_share(near: np.ndarray, middle: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Deflection of the middle plane by the nearest, over that of the far plane."""
    near, middle, far = (comoving_distance(z) for z in (near, middle, far))
    return (1.0 - near / middle) / (1.0 - near / far)


def _nearest_configuration(near: np.ndarray, middle: np.ndarray, far: np.ndarray) -> np.ndarray:
    compiled = _seen_share(_NEAR, np.array(_MIDDLES), _FAR)
    return np.argmin(np.abs(compiled[:, None] - _seen_share(near, middle, far)), axis=0)


@cache
def _forward(middle_redshift: float) -> ForwardModel:
    galaxies = af.Collection(
        near=deflector_model(_NEAR),
        middle=deflector_model(middle_redshift, **source_light()),
        far=af.Model(al.Galaxy, redshift=_FAR, **source_light()),
    )
    paths = (("galaxies", "middle", "structure"), ("galaxies", "far", "structure"))
    return window(af.Collection(galaxies=galaxies), paths)
