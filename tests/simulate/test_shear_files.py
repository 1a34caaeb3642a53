"""Stamps as files: LensNet's layout, what is continued and read, and every problem of a set."""

import json

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from skimage import io

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.shear_files import (
    StampProblems,
    image_from,
    stamp_files_from,
    write_stamps,
)
from autolens_ml.simulate.shear_population import ShearPopulation

POPULATION = ShearPopulation(size=16, galaxies={"sersic": 1.0}, psfs={"moffat": 1.0})
LENSNET = {"galaxy", "psf", "e1", "e2", "g1", "g2"}


def write(folder, n=3, **options):
    return write_stamps(POPULATION, n, folder, **options)


def picture(name="gal_0.fits", folder=None):
    return fits.getdata(folder / name)


@pytest.fixture
def stamps(tmp_path):
    """Two pairs; returns their data.json."""
    return write(tmp_path / "set", 2, noise=True, seed=1)


def changed(path, change):
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def test_layout_is_that_of_lensnet(tmp_path):
    done = []
    path = write(tmp_path / "set", 3, say=lambda *numbers: done.append(numbers))
    assert path == tmp_path / "set" / "data.json"
    entries = json.loads(path.read_text())
    assert len(entries) == 3 and done[-1] == (3, 3)
    for i, entry in enumerate(entries):
        assert set(entry) >= LENSNET
        assert (entry["galaxy"], entry["psf"]) == (f"gal_{i}.fits", f"psf_{i}.fits")
        assert entry["convention"] == "shear" and entry["row_0"] == "+y"
        assert abs(entry["g1"]) <= 0.05 and abs(entry["e1"]) <= 0.04
        header = fits.getheader(path.parent / entry["galaxy"])
        assert header["CONVENT"] == "shear" and header["ROW_0"] == "+y"
        assert header["G1"] == pytest.approx(entry["g1"])
        assert header["PIXSCALE"] == 0.1
        assert picture(entry["psf"], path.parent).shape == (16, 16)
        assert picture(entry["psf"], path.parent).sum() == pytest.approx(1.0, abs=0.1)
    # Nothing else is left behind.
    assert len(list(path.parent.iterdir())) == 8


def test_galaxies_depend_on_seed_and_number_alone(tmp_path):
    write(tmp_path / "three", 3, seed=5)
    write(tmp_path / "seventy", 70, seed=5)
    write(tmp_path / "other", 3, seed=6)
    for name in ("gal_2.fits", "psf_2.fits"):
        first = picture(name, tmp_path / "three")
        np.testing.assert_array_equal(first, picture(name, tmp_path / "seventy"))
        assert not np.array_equal(first, picture(name, tmp_path / "other"))
    entries = [json.loads((tmp_path / n / "data.json").read_text()) for n in ("three", "seventy")]
    assert entries[0] == entries[1][:3] and len(entries[1]) == 70


def test_noise_is_all_that_noise_adds(tmp_path):
    plain = write(tmp_path / "plain", 2, seed=2)
    noisy = write(tmp_path / "noisy", 2, seed=2, noise=True)
    assert json.loads(plain.read_text()) == json.loads(noisy.read_text())
    noise = picture(folder=noisy.parent) - picture(folder=plain.parent)
    assert noise.std() == pytest.approx(1.0, abs=0.2)
    signal = json.loads(plain.read_text())[0]["signal_to_noise"]
    assert np.linalg.norm(picture(folder=plain.parent)) == pytest.approx(signal, rel=1e-3)
    np.testing.assert_array_equal(
        picture("psf_0.fits", plain.parent), picture("psf_0.fits", noisy.parent)
    )


def test_tiff_files_are_the_same_images(tmp_path):
    path = write(tmp_path / "both", 2, formats=("tiff", "fits"))
    assert json.loads(path.read_text())[1]["galaxy"] == "gal_1.tif"
    for stem in ("gal_1", "psf_1"):
        image = tifffile.imread(path.parent / f"{stem}.tif")
        np.testing.assert_array_equal(image, picture(f"{stem}.fits", path.parent))
        np.testing.assert_array_equal(image_from(path.parent / f"{stem}.tif")[0], image)


def test_an_interrupted_set_goes_on(tmp_path):
    whole = write(tmp_path / "whole", 70)
    path = write(tmp_path / "cut", 70)
    for name in ("gal_69.fits", "data.json"):
        (path.parent / name).unlink()
    before = (path.parent / "gal_3.fits").stat().st_mtime_ns
    write(tmp_path / "cut", 70)
    assert (path.parent / "gal_3.fits").stat().st_mtime_ns == before
    assert path.read_text() == whole.read_text()
    np.testing.assert_array_equal(
        picture("gal_69.fits", path.parent), picture("gal_69.fits", whole.parent)
    )
    # A smaller call changes nothing, a larger one adds.
    write(tmp_path / "cut", 5)
    assert len(json.loads(path.read_text())) == 70
    assert len(json.loads(write(tmp_path / "cut", 71).read_text())) == 71


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "differs in seed: give another output"),
        ({"noise": True}, "differs in noise"),
        ({"formats": ("tiff",)}, "differs in formats"),
    ],
)
def test_another_set_is_not_overwritten(tmp_path, options, message):
    path = write(tmp_path / "set")
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(OptionError, match=message):
        write(tmp_path / "set", **options)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "gal_0.fits").write_text("mine")
    with pytest.raises(OptionError, match="holds something else"):
        write(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OptionError, match="holds something else"):
        write(tmp_path / "file")
    assert (tmp_path / "gal_0.fits").read_text() == "mine"
    folder = tmp_path / "damaged"
    write(folder)
    (folder / "population.json").write_text("[")
    with pytest.raises(DataError, match="damaged"):
        write(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "must be positive"),
        ({"seed": -1}, "must not be negative"),
        ({"formats": ("png",)}, "no format png"),
        ({"formats": ()}, "no format none"),
    ],
)
def test_options_that_mean_nothing(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        write(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_a_set_is_read_as_it_was_written(stamps):
    files = stamp_files_from(stamps, classes=("g2", "signal_to_noise"), wanted=("g1",), psfs=True)
    assert len(files) == 2
    assert files.galaxies.shape == (2, 1, 16, 16) and files.psfs.shape == (2, 16, 16)
    np.testing.assert_array_equal(files.galaxies[1, 0], picture("gal_1.fits", stamps.parent))
    entries = json.loads(stamps.read_text())
    for name in ("g1", "g2", "signal_to_noise"):
        assert files.values[name].tolist() == [entry[name] for entry in entries]
    assert list(files.values) == ["g2", "signal_to_noise", "g1"]
    assert stamp_files_from(stamps).psfs is None


def test_rows_are_where_files_say(stamps):
    image = picture(folder=stamps.parent)
    # Headers of our own files know better than the caller.
    np.testing.assert_array_equal(
        image_from(stamps.parent / "gal_0.fits", flip_rows=True)[0], image
    )
    fits.PrimaryHDU(image).writeto(stamps.parent / "plain.fits")
    np.testing.assert_array_equal(image_from(stamps.parent / "plain.fits")[0], image)
    flipped = image_from(stamps.parent / "plain.fits", flip_rows=True)[0]
    np.testing.assert_array_equal(flipped, image[::-1])

    def galsim(entries):
        for entry in entries:
            entry.update(galaxy="plain.fits", row_0="-y")

    changed(stamps, galsim)
    np.testing.assert_array_equal(stamp_files_from(stamps).galaxies[0, 0], image[::-1])
    changed(stamps, lambda entries: entries[1].update(row_0="up"))
    with pytest.raises(StampProblems, match=r"entry 1: row_0 must be \+y or -y, not 'up'"):
        stamp_files_from(stamps)


def test_colours(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (12, 10, 3)).astype(np.uint8)
    io.imsave(tmp_path / "colours.png", colours, check_contrast=False)
    rgb = image_from(tmp_path / "colours.png", "rgb")
    np.testing.assert_array_equal(rgb, np.moveaxis(colours, -1, 0))
    grey = image_from(tmp_path / "colours.png")
    weights = np.array([0.2125, 0.7154, 0.0721])
    np.testing.assert_allclose(grey[0], colours @ weights, rtol=1e-5)
    tifffile.imwrite(tmp_path / "grey.tif", colours[..., 0])
    assert image_from(tmp_path / "grey.tif", "rgb").shape == (3, 12, 10)


def test_every_problem_has_its_line(stamps):
    folder = stamps.parent
    (folder / "psf_0.fits").unlink()
    (folder / "gal_1.fits").write_text("no image")

    def spoil(entries):
        del entries[0]["g1"]
        entries[1]["g2"] = "much"
        entries.append({"galaxy": "gal_0.fits", "g1": 0.0, "g2": 0.0})
        entries.append({"galaxy": 3, "psf": "psf_1.fits", "g1": 0.0, "g2": True})

    changed(stamps, spoil)
    with pytest.raises(StampProblems) as caught:
        stamp_files_from(stamps, classes=("g1", "g2"), psfs=True)
    assert caught.value.problems == [
        f"{stamps}: entry 0 has no number g1",
        f"{stamps}: entry 1 has no number g2",
        f"{stamps}: entry 3 has no number g2",
        f"{folder / 'psf_0.fits'}: no such file; give an image in FITS, PNG or TIFF",
        f"{folder / 'gal_1.fits'}: not a readable FITS file",
        f"{stamps}: entry 2 names no psf",
        f"{stamps}: entry 3 names no galaxy",
    ]
    assert str(caught.value).splitlines() == caught.value.problems


def test_sizes_must_be_alike(stamps):
    with pytest.raises(StampProblems) as caught:
        stamp_files_from(stamps, shape=(24, 24))
    assert len(caught.value.problems) == 2
    assert "16 x 16 pixels, not 24 x 24: set image_height and image_width" in str(caught.value)
    fits.PrimaryHDU(np.ones((16, 12))).writeto(stamps.parent / "gal_1.fits", overwrite=True)
    with pytest.raises(StampProblems, match=r"gal_1\.fits: 16 x 12 pixels, not 16 x 16"):
        stamp_files_from(stamps)


def test_keys_that_no_entry_has(stamps):
    with pytest.raises(StampProblems, match="no entry has a number flux; there are e1, e2, elli"):
        stamp_files_from(stamps, classes=("flux",))
    assert "flux" not in stamp_files_from(stamps, wanted=("flux",)).values


def test_long_lists_of_problems_end(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"galaxy": f"gal_{i}.fits"} for i in range(50)]))
    with pytest.raises(StampProblems) as caught:
        stamp_files_from(path)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("{}", "must be a list of entries"),
        ("[]", "must be a list of entries"),
        ("[3]", "must be a list of entries"),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    path = tmp_path / "data.json"
    with pytest.raises(StampProblems, match="no such file; give the"):
        stamp_files_from(path)
    path.write_text(text)
    with pytest.raises(StampProblems, match=message):
        stamp_files_from(path)


def test_images_that_are_none(tmp_path):
    path = tmp_path / "gal.fits"
    fits.HDUList([fits.PrimaryHDU()]).writeto(path)
    with pytest.raises(DataError, match="holds no two-dimensional image"):
        image_from(path)
    fits.PrimaryHDU(np.full((9, 9), np.nan)).writeto(path, overwrite=True)
    with pytest.raises(DataError, match="NaN or infinite"):
        image_from(path)
    (tmp_path / "gal.tif").write_text("text")
    with pytest.raises(DataError, match="not a readable image"):
        image_from(tmp_path / "gal.tif")
    tifffile.imwrite(
        tmp_path / "cube.tif", np.ones((2, 2, 9, 9), dtype=np.float32), photometric="minisblack"
    )
    with pytest.raises(DataError, match="dimensions"):
        image_from(tmp_path / "cube.tif")
    with pytest.raises(DataError, match="no such file"):
        image_from(tmp_path / "none.png")
