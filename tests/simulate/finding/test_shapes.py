"""Shapes of galaxies and stars that no smooth profile has."""

import numpy as np
import pytest

from autolens_ml.simulate.finding import shapes
from autolens_ml.simulate.finding.light import SIDE
from autolens_ml.simulate.finding.scene import pixel_of, positions


def rng():
    return np.random.default_rng(3)


def radius():
    return np.hypot(*positions())


ALL = {
    "spiral": lambda: shapes.spiral(1.0, 0.6, 0.4, rng()),
    "ring": lambda: shapes.ring(1.5, 0.15, 0.7, 0.4, rng()),
    "tail": lambda: shapes.tail(1.0, 0.2, rng()),
    "shells": lambda: shapes.shells(1.5, rng()),
    "point": lambda: shapes.point((0.33, -1.27)),
}


@pytest.mark.parametrize("name", ALL)
def test_shapes_hold_a_flux_of_one_and_are_the_same_for_the_same_seed(name):
    image = ALL[name]()
    assert image.shape == (SIDE, SIDE) and image.dtype == np.float32
    assert image.min() >= 0.0 and np.isfinite(image).all()
    assert image.sum(dtype=float) == pytest.approx(1.0, rel=1e-4)
    assert np.array_equal(image, ALL[name]())


def test_positions_are_y_upwards_and_x_to_the_right():
    y, x = positions()
    assert y[0, 0] == -y[-1, 0] == pytest.approx(10.75) and x[0, -1] == pytest.approx(10.75)
    row, column = pixel_of((0.25, -0.35))
    assert y[int(row), 0] == pytest.approx(0.25) and x[0, int(column)] == pytest.approx(-0.35)


def test_the_light_of_a_ring_lies_at_its_radius():
    image = shapes.ring(2.0, 0.1, 1.0, 0.0, rng())
    at = np.average(radius(), weights=image)
    assert at == pytest.approx(2.0, abs=0.05)
    assert image[radius() < 1.4].sum() < 0.01


def test_the_frame_of_a_disc():
    # Seen edge on with its long axis along +y.
    distance, azimuth = shapes.disc_frame(0.5, 0.5 * np.pi)
    row, column = (round(value) for value in pixel_of((1.05, 0.05)))
    assert distance[row, column] == pytest.approx(np.hypot(1.05, 0.1), abs=1e-5)
    assert azimuth[row, column] == pytest.approx(np.arctan2(-0.1, 1.05), abs=1e-5)


def test_points_have_their_centroid_where_they_were_put():
    y, x = positions()
    image = shapes.point((0.33, -1.27))
    assert np.sum(image * y) == pytest.approx(0.33, abs=1e-5)
    assert np.sum(image * x) == pytest.approx(-1.27, abs=1e-5)


def test_wings_of_stars_have_six_spikes():
    image = shapes.star_wings((0.05, 0.05), 0.3)
    assert image.sum(dtype=float) == pytest.approx(0.035, rel=1e-3)
    distance, azimuth = shapes.disc_frame(1.0, 0.0)
    annulus = np.abs(distance - 3.0) < 0.1
    by_angle = [
        image[annulus & (np.abs(np.mod(azimuth - a + 0.05, 2.0 * np.pi) - 0.05) < 0.05)].max()
        for a in np.linspace(-np.pi, np.pi, 72, endpoint=False)
    ]
    bright = np.array(by_angle) > 0.5 * max(by_angle)
    assert np.sum(bright & ~np.roll(bright, 1)) == 6


def test_textures_are_many_and_of_unit_variance():
    generator = rng()
    fields = np.array([shapes.texture(generator) for _ in range(20)])
    assert fields.std(axis=(1, 2)) == pytest.approx(1.0, abs=1e-3)
    assert len(np.unique(fields[:, 0, 0])) == 20
