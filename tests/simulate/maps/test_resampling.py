"""Maps on other pixels: where things come to lie, and how much light there is."""

import numpy as np
import pytest
from scipy import ndimage

from autolens_ml.simulate.maps.resampling import resampled

SIZE, SCALE = 24, 0.1


def spots():
    """Blurred spots of different brightness, above and right of the middle: no symmetry."""
    values = np.zeros((SIZE, SIZE))
    values[8, 13] = 1.0
    values[11, 16] = 0.5
    return ndimage.gaussian_filter(values, 1.0)


def moments(values, scale):
    """Light, and its centroid (y, x)."""
    middle = 0.5 * (np.array(values.shape) - 1.0)
    row, column = np.array(ndimage.center_of_mass(values)) - middle
    return values.sum() * scale**2, np.array([-row, column]) * scale


def test_light_and_centroid_follow_the_move():
    n = 20
    rng = np.random.default_rng(1)
    centre = rng.uniform(-0.3, 0.3, (n, 2))
    angle, scale = rng.uniform(0.0, 360.0, n), rng.uniform(0.5, 1.5, n)
    maps = resampled(
        np.repeat(spots()[None], n, axis=0), SCALE, (60, 64), 0.06, centre, angle, scale
    )
    assert maps.shape == (n, 60, 64)
    light, (y, x) = moments(spots(), SCALE)
    for moved, place, turn, factor in zip(maps, centre, np.radians(angle), scale, strict=True):
        got, centroid = moments(moved, 0.06)
        assert got == pytest.approx(light * factor**2, rel=2e-3)
        turned = (x * np.sin(turn) + y * np.cos(turn), x * np.cos(turn) - y * np.sin(turn))
        assert np.allclose(centroid, place + factor * np.array(turned), atol=2e-3)


def test_unmoved_pixels_are_local_averages():
    still = resampled(spots()[None], SCALE, (SIZE, SIZE), SCALE, np.zeros((1, 2)), [0.0], [1.0])[0]
    # A bilinear map averaged over its own pixels: 1/8, 3/4, 1/8 along each axis, but for the
    # four positions a side that stand for the integral.
    weights = np.array([0.125, 0.75, 0.125])
    expected = ndimage.convolve(spots(), np.outer(weights, weights), mode="constant")
    assert np.allclose(still, expected, atol=0.01 * spots().max())


def test_no_maps():
    empty = np.empty((0, SIZE, SIZE))
    assert resampled(empty, SCALE, (5, 6), SCALE, np.empty((0, 2)), [], []).shape == (0, 5, 6)
