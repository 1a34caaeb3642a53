"""The published class folders are read, and nothing else of a pickle."""

import numpy as np
import pytest
from skimage import io

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.morphology.published import image_from, published_set


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("no_sub", "sub", "axion", "notes"):
        (tmp_path / name).mkdir()
    for i in range(3):
        np.save(tmp_path / "no_sub" / f"{i}.npy", rng.random((1, 20, 20)))
        picture = (255 * rng.random((20, 20))).astype(np.uint8)
        io.imsave(tmp_path / "sub" / f"{i}.png", picture, check_contrast=False)
        pair = np.empty(2, dtype=object)
        pair[0], pair[1] = rng.random((20, 20)), np.float64(10.0 ** -(22 + i))
        np.save(tmp_path / "axion" / f"{i}.npy", pair)
    (tmp_path / "no_sub" / "readme.txt").write_text("not an image")
    return tmp_path


def test_classes_and_masses(folder):
    found = published_set(folder)
    assert found.images.shape == (9, 20, 20) and found.images.dtype == np.float32
    assert found.classes.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    np.testing.assert_allclose(found.axion_mass[6:], [1e-22, 1e-23, 1e-24])
    assert np.isnan(found.axion_mass[:6]).all()
    np.testing.assert_allclose(found.images[0], np.load(folder / "no_sub" / "0.npy")[0], rtol=1e-6)
    np.testing.assert_allclose(found.images[3], io.imread(folder / "sub" / "0.png"))
    assert len(published_set(folder, n_per_class=1)) == 3


def test_colours_become_grey(tmp_path):
    io.imsave(tmp_path / "c.png", np.full((8, 8, 3), 100, np.uint8), check_contrast=False)
    image, _ = image_from(tmp_path / "c.png")
    assert image.shape == (8, 8) and np.ptp(image) < 1e-4


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_is_no_array_is_refused(tmp_path, capsys):
    pair = np.empty(1, dtype=object)
    pair[0] = Evil()
    np.save(tmp_path / "evil.npy", pair)
    with pytest.raises(DataError, match="is no array"):
        image_from(tmp_path / "evil.npy")
    assert capsys.readouterr().out == ""


def test_refusals(folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        published_set(folder / "none")
    (tmp_path / "up" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no folder of a class .*; perhaps .*train"):
        published_set(tmp_path / "up")
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(DataError, match="no images"):
        published_set(tmp_path / "empty")
    np.save(folder / "sub" / "9.npy", np.ones((21, 20)))
    with pytest.raises(DataError, match="21 x 20 pixels"):
        published_set(folder)
    (folder / "no_sub" / "0.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an array"):
        published_set(folder)
    np.save(folder / "no_sub" / "0.npy", np.full((3, 20, 20), np.nan))
    with pytest.raises(DataError, match="holds no image"):
        published_set(folder)
