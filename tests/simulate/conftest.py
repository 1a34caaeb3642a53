"""Populations that several tests share: each is compiled once."""

import numpy as np
import pytest

from autolens_ml.simulate.population import Population, simulate
from autolens_ml.simulate.sources import StampLibrary
from tests.simulate import models


@pytest.fixture(scope="session")
def plain():
    """A lens with light and shear, and a source behind it, in electrons per second."""
    return Population(models.plain_model(), models.CAMERA, max_source_offset=0.6)


@pytest.fixture(scope="session")
def plain_lenses(plain):
    """Two chunks and a part of a third."""
    return simulate(plain, 150, seed=3)


@pytest.fixture(scope="session")
def library():
    """Two maps of no symmetry whatsoever."""
    rng = np.random.default_rng(5)
    bumps = rng.uniform(0.1, 1.0, (2, 12, 12))
    return StampLibrary.from_stamps(bumps, ["first", "second"])


@pytest.fixture(scope="session")
def rich(library):
    """Three planes, a vortex, a neighbour, stamps, fixed light, units of the noise."""
    return Population(
        models.rich_model(),
        models.MOFFAT_CAMERA,
        noise_units=True,
        stamps={"galaxies.source.structure": library},
    )


@pytest.fixture(scope="session")
def rich_lenses(rich):
    return simulate(rich, 70, seed=11)
