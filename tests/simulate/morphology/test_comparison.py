"""Ways to make a vortex have its mass, and one of them its shape."""

import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.mass import VortexLine
from autolens_ml.simulate.morphology.comparison import (
    halo_with_sheet,
    row_of_points,
    vortex_constructions,
)


def deflections(profiles, grid):
    return sum(np.asarray(p.deflections_yx_2d_from(grid).array) for p in profiles)


def test_a_row_of_points_tends_to_the_string():
    grid = al.Grid2DIrregular(
        np.random.default_rng(0).uniform((0.1, -1.0), (1.0, 1.0), size=(200, 2))
    )
    exact = deflections([VortexLine(half_length=0.5, core_radius=0.0, einstein_radius=0.3)], grid)
    errors = [
        np.abs(deflections(row_of_points(0.5, 0.3, n), grid) - exact).max() for n in (5, 10, 40)
    ]
    # Points at the middles of equal parts: the error falls at least with their square.
    assert errors[1] < 0.3 * errors[0] and errors[2] < 0.1 * errors[1]
    far = al.Grid2DIrregular([(300.0, 0.0)])
    total = deflections(row_of_points(0.5, 0.3, 25), far)[0, 0]
    assert total == pytest.approx(0.3**2 / 300.0, rel=1e-5)


def test_halo_and_sheet_hold_the_mass_within_the_length():
    halo, sheet = profiles = halo_with_sheet(0.5, 0.3)
    edge = al.Grid2DIrregular([(0.5, 0.0), (0.0, 0.4999)])
    # A round mass deflects as what it encloses.
    assert deflections(profiles, edge)[0, 0] == pytest.approx(0.3**2 / 0.5)
    kappa = sum(np.asarray(p.convergence_2d_from(edge)) for p in profiles)
    assert kappa[1] == pytest.approx(0.0, abs=1e-3)
    assert halo.einstein_radius > 0.0 > sheet.kappa


def test_constructions_are_of_one_vortex():
    exact, points, sheet = vortex_constructions()
    assert exact.across.shape == exact.along.shape == (121, 121)
    error = [
        np.median(np.hypot(w.across - exact.across, w.along - exact.along)) for w in (points, sheet)
    ]
    assert error[0] < 1e-4 < 0.01 < error[1]
    # A string deflects towards it, from both sides.
    middle = exact.across[:, 60]
    assert np.all(middle[exact.y > 0.1] > 0.0) and np.all(middle[exact.y < -0.1] < 0.0)


def test_refusals():
    with pytest.raises(OptionError, match="at least one"):
        row_of_points(0.5, 0.3, 0)
    with pytest.raises(OptionError, match="half_length"):
        halo_with_sheet(0.0, 0.3)
