"""Paired simulations for weak lensing: the same galaxies, sheared one way and the other.

A response to shear is a difference of two answers to images that differ by the shear alone. Shapes
and noise, which would need a million galaxies to average out, are the same in both and cancel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from autolens_ml.simulate.shear_population import Scenes, ShearPopulation
from autolens_ml.simulate.shear_stamps import StampRenderer

__all__ = ["psf_pairs", "shear_pairs"]

# Reduced shear, and ellipticity of the PSF, that is added and taken away: far below what bends a
# response, far above what single precision rounds.
SHEAR = 0.02
PSF_SHEAR = 0.03

_BATCH = 128

# Scenes, the component (0 or 1) that each galaxy is sheared in, galaxies and PSFs (m, n, y, x).
Pairs = tuple[Scenes, torch.Tensor, torch.Tensor, torch.Tensor]


def shear_pairs(
    population: ShearPopulation, n: int, seed: np.random.SeedSequence, turned: bool = False
) -> Iterator[Pairs]:
    """Galaxies under the shears plus and minus ``SHEAR``, one component for each.

    Parameters
    ----------
    population
        Of the galaxies; its own shears are not used.
    n
        How many galaxies.
    seed
        Of everything random.
    turned
        Whether both come again with the galaxies turned by 90 degrees, so that the mean of all four
        has no intrinsic ellipticity.

    Yields
    ------
    Pairs
        Scenes, components, galaxies and PSFs, a batch of a hundred or so at a time.
    """
    renderer = StampRenderer(population)
    for scenes, component, unit in _batches(population, n, seed):
        kinds = (scenes, scenes.turned()) if turned else (scenes,)
        variants = [kind.changed(shear=sign * SHEAR * unit) for kind in kinds for sign in (1, -1)]
        yield (scenes, component, *renderer.alike(variants))


def psf_pairs(population: ShearPopulation, n: int, seed: np.random.SeedSequence) -> Iterator[Pairs]:
    """Galaxies without shear behind PSFs whose own is larger and smaller by ``PSF_SHEAR``.

    Parameters
    ----------
    population, n, seed
        As for :func:`shear_pairs`.

    Yields
    ------
    Pairs
        As :func:`shear_pairs`.
    """
    renderer = StampRenderer(population)
    for scenes, component, unit in _batches(population, n, seed):
        variants = [
            scenes.changed(psf_ellipticity=scenes.psf_ellipticity + sign * PSF_SHEAR * unit)
            for sign in (1, -1)
        ]
        yield (scenes, component, *renderer.alike(variants))


def _batches(
    population: ShearPopulation, n: int, seed: np.random.SeedSequence
) -> Iterator[tuple[Scenes, torch.Tensor, torch.Tensor]]:
    """Unsheared scenes, alternating components, and these as complex numbers."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, _BATCH):
        scenes = population.draw(min(_BATCH, n - start), rng)
        component = torch.arange(len(scenes)) % 2
        unit = torch.complex(1.0 - component, 1.0 * component)
        yield scenes.changed(shear=torch.zeros_like(unit)), component, unit
