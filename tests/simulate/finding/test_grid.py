"""Images on the grid of a network."""

import numpy as np
import pytest

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.finding.grid import regridded


def test_larger_pixels_are_means_of_smaller_ones():
    image = np.random.default_rng(0).normal(size=(2, 200, 200))
    binned = regridded(image, 0.1, (66, 66), 0.3)
    expected = image[:, 1:199, 1:199].reshape(2, 66, 3, 66, 3).mean(axis=(2, 4))
    assert np.allclose(binned, expected)


def test_smaller_pixels_repeat_larger_ones_and_the_rest_has_no_data():
    image = np.random.default_rng(0).normal(size=(66, 66))
    fine = regridded(image, 0.3, (200, 200), 0.1)
    assert np.allclose(fine[1:199, 1:199], np.kron(image, np.ones((3, 3))))
    assert np.isnan(fine[0]).all() and np.isnan(fine[:, -1]).all()


def test_larger_images_are_cut_and_smaller_ones_padded():
    image = np.arange(100.0).reshape(10, 10)
    assert np.allclose(regridded(image, 0.1, (4, 4), 0.1), image[3:7, 3:7])
    padded = regridded(image, 0.1, (14, 14), 0.1)
    assert np.allclose(padded[2:12, 2:12], image)
    assert np.isnan(padded).sum() == 14**2 - 10**2


@pytest.mark.parametrize("scale", [0.1, 0.1004])
def test_pixels_of_one_size_stay_whole(scale):
    image = np.random.default_rng(0).normal(size=(11, 12))
    cut = regridded(image, scale, (6, 6), 0.1, centre=(0.02, 0.0))
    assert np.allclose(cut, image[2:8, 3:9])


def test_the_cut_out_is_where_it_was_asked_for():
    image = np.zeros((20, 20))
    image[4, 15] = 1.0  # 0.55" up and 0.55" to the right of the middle
    cut = regridded(image, 0.1, (3, 3), 0.1, centre=(0.55, 0.55))
    assert cut[1, 1] == pytest.approx(1.0) and np.sum(cut) == pytest.approx(1.0)


def test_pixels_without_data_are_left_out_of_means():
    image = np.ones((6, 6), dtype=np.float32)
    image[0, :2] = np.nan  # 2 of the 9 pixels of the first large one
    image[3:6, 3:5] = np.nan  # 6 of the 9 of the last
    binned = regridded(image, 0.1, (2, 2), 0.3)
    assert binned.dtype == np.float32
    assert np.allclose(binned[[0, 0, 1], [0, 1, 0]], 1.0) and np.isnan(binned[1, 1])


def test_integers_are_taken():
    assert regridded(np.ones((4, 4), dtype=int), 1.0, (2, 2), 2.0) == pytest.approx(1.0)


@pytest.mark.parametrize("scales", [(0.0, 0.1), (0.1, -1.0), (np.nan, 0.1)])
def test_pixels_without_size_are_refused(scales):
    with pytest.raises(DataError, match="above 0"):
        regridded(np.ones((4, 4)), scales[0], (2, 2), scales[1])
