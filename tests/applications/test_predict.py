"""Lens parameters of files by a network alone: what it is given of each, and the table."""

import csv
from dataclasses import replace
from pathlib import Path

import autofit as af
import autolens as al
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.stats import mad_std
from astropy.wcs import WCS
from skimage import io

from autolens_ml.applications import predict
from autolens_ml.applications.fit.dataset import imaging_from_fits
from autolens_ml.applications.predict import Prediction, predict_files, write_table
from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.inference.amortised import LensNetwork, load_network
from autolens_ml.networks.checkpoint import save_network
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.instrument import Instrument
from tests.stored_networks import card_fields

SIDE, SCALE, FWHM = 24, 0.2, 0.4
CAMERA = Instrument(
    name="camera",
    shape=(SIDE, SIDE),
    pixel_scale=SCALE,
    psf_fwhm=(0.3, 0.5),
    exposure_time=(500.0, 2000.0),
    background_sky_level=0.2,
)
MASS = "galaxies.lens.mass"
NAMES = [f"{MASS}.centre.centre_0", f"{MASS}.centre.centre_1", f"{MASS}.einstein_radius"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The card of a network to which every pixel, its noise and the PSF matter."""
    small = {"widths": [8, 8], "depths": [1, 1], "n_features": 16, "map_size": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = PosteriorNetwork(3, backbone_options=small, head_options={"n_components": 1})
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=af.Model(al.mp.IsothermalSph))
        )
    )
    fields = card_fields(model, network, NAMES, CAMERA.as_dict(), task="arc-parameters")
    folder = tmp_path_factory.mktemp("network")
    return save_network(folder, fields, network.state_dict(), dtype="float32")


@pytest.fixture(scope="module")
def network(stored) -> LensNetwork:
    return load_network(stored.path)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Noise, and a bright arc that no flip leaves as it is; whole numbers of 8 bits."""
    rng = np.random.default_rng(1)
    y, x = np.indices((SIDE, SIDE)) - 0.5 * (SIDE - 1)
    arc = 150.0 * np.exp(-0.5 * (np.hypot(y, x) - 6.0) ** 2) * (y + 0.3 * x > 0)
    return np.rint(40.0 + 5.0 * rng.standard_normal((SIDE, SIDE)) + arc)


@pytest.fixture
def write(tmp_path):
    """Write an image as a FITS file with nothing else."""

    def write(values, name="lens.fits", **header):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        fits.PrimaryHDU(np.asarray(values, dtype=np.float32), fits.Header(header)).writeto(path)
        return path

    return write


def expected_of(network, dataset) -> dict[str, tuple[float, ...]]:
    draws = network.posterior_from(dataset).sample(2000, 0)
    bounds = np.quantile(draws, (0.1585, 0.5, 0.8415), axis=0)
    return {name: tuple(bounds[:, i]) for i, name in enumerate(NAMES)}


def dataset_of(image, noise, fwhm=FWHM, scale=SCALE) -> al.Imaging:
    camera = replace(CAMERA, shape=image.shape, pixel_scale=scale, psf_shape=None)
    return camera.imaging_from(image, np.full(image.shape, noise), fwhm)


def one(path, stored, **options) -> Prediction:
    (prediction,) = predict_files([path], stored.path, **options)
    return prediction


def assert_same(prediction, expected, is_same=True):
    assert prediction.error == ""
    if isinstance(expected, Prediction):
        expected = expected.values
    assert list(prediction.values) == NAMES
    got, wanted = (np.array(list(values.values())) for values in (prediction.values, expected))
    assert np.allclose(got, wanted, rtol=1e-5, atol=1e-6) == is_same
    for low, median, high in prediction.values.values():
        assert low < median < high


# One file.


def test_an_image_with_noise_and_psf(stored, network, image, write):
    path = write(image)
    prediction = one(path, stored, noise=5.0, psf_fwhm=0.35)
    assert_same(prediction, expected_of(network, dataset_of(image, 5.0, 0.35)))
    assert prediction.file == path and prediction.concerns == ()
    for other in ({"noise": 2.0, "psf_fwhm": 0.35}, {"noise": 5.0, "psf_fwhm": 0.5}):
        assert_same(one(path, stored, **other), prediction, is_same=False)


def test_an_image_alone(stored, network, image, write):
    """Its noise is the scatter of its pixels, its PSF that of the network's instrument."""
    prediction = one(write(image), stored)
    assert_same(prediction, expected_of(network, dataset_of(image, mad_std(image), 0.4)))
    # Units mean nothing then.
    assert_same(one(write(1e-3 * image, "faint.fits"), stored), prediction)


def test_a_file_with_all_there_is(stored, network, image, tmp_path):
    noise = 5.0 + np.sqrt(np.maximum(image - 40.0, 0.0))
    (kernel,) = CAMERA.psf_kernels_from(np.array([0.45]))
    units = [fits.PrimaryHDU()]
    for name, values in (("SCI", image), ("ERR", noise), ("PSF", kernel)):
        units.append(fits.ImageHDU(values, name=name))
        units[-1].header["PIXSCALE"] = SCALE
    path = tmp_path / "all.fits"
    fits.HDUList(units).writeto(path)
    expected = expected_of(network, imaging_from_fits(path, mask_radius=None))
    # What the file says counts.
    assert_same(one(path, stored, noise=1.0, psf_fwhm=1.0), expected)
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, unit in zip(("data", "noise_map", "psf"), units[1:], strict=True):
        fits.PrimaryHDU(unit.data, unit.header).writeto(folder / f"{name}.fits")
    prediction = one(folder, stored)
    assert_same(prediction, expected)
    assert prediction.file == folder


def test_pixel_scales(stored, network, image, write):
    """The option, then the header, then the network."""
    fine = np.kron(image, np.ones((2, 2)))
    path = write(fine, PIXSCALE=0.1)
    prediction = one(path, stored, noise=5.0)
    assert_same(prediction, expected_of(network, dataset_of(fine, 5.0, scale=0.1)))
    assert 'pixels of 0.1" resampled to its 0.2"' in prediction.concerns
    coarse = one(path, stored, noise=5.0, pixel_scale=0.2)
    assert_same(coarse, expected_of(network, dataset_of(fine, 5.0)))
    assert_same(one(write(fine, "bare.fits"), stored, noise=5.0), coarse)


@pytest.mark.parametrize(("second", "is_square"), [(0.1, True), (0.2, False)])
def test_pixel_scales_of_a_wcs(stored, image, tmp_path, second, is_square):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-0.1 / 3600.0, second / 3600.0]
    path = tmp_path / "sky.fits"
    fits.PrimaryHDU(np.kron(image, np.ones((2, 2))), wcs.to_header()).writeto(path)
    prediction = one(path, stored, noise=5.0)
    if is_square:
        assert 'pixels of 0.1" resampled to its 0.2"' in prediction.concerns
    else:
        assert "arcsec are not square" in prediction.error and not prediction.values
    assert one(path, stored, noise=5.0, pixel_scale=0.1).values


def test_pictures(stored, image, write, tmp_path):
    expected = one(write(image), stored, noise=5.0)
    pictures = {
        "grey.png": image.astype(np.uint8),
        "deep.png": image.astype(np.uint16),
        "grey.tif": image.astype(np.float32),
    }
    for name, pixels in pictures.items():
        io.imsave(tmp_path / name, pixels, check_contrast=False)
        assert_same(one(tmp_path / name, stored, noise=5.0), expected)
    grey = image.astype(np.uint8)
    opaque = np.full_like(grey, 255)
    for name, layers in (("rgb", (grey,) * 3), ("rgba", (grey, grey, grey, opaque))):
        io.imsave(tmp_path / f"{name}.png", np.stack(layers, axis=-1), check_contrast=False)
        # Colours are shares of the brightest.
        assert_same(one(tmp_path / f"{name}.png", stored, noise=5.0 / 255.0), expected)


def test_rows_of_pictures(stored, image, write, tmp_path):
    """Ensai writes row 0 at -y; of FITS files PyAutoLens's own reading counts."""
    io.imsave(tmp_path / "flipped.png", image[::-1].astype(np.uint8), check_contrast=False)
    expected = one(write(image), stored, noise=5.0)
    assert_same(one(tmp_path / "flipped.png", stored, noise=5.0, flip_rows=True), expected)
    assert_same(one(tmp_path / "flipped.png", stored, noise=5.0), expected, is_same=False)
    assert_same(one(tmp_path / "lens.fits", stored, noise=5.0, flip_rows=True), expected)


def test_what_is_unlike_the_training_is_said(stored, image, write):
    (concern,) = one(write(image), stored, noise=5.0, psf_fwhm=1.2).concerns
    assert concern.startswith("PSF width 1.2")


# Many files.


def test_folders(stored, image, write, tmp_path):
    """Images and datasets in them, by name; what else there is does not count."""
    folder = tmp_path / "many"
    for name in ("b.fits", "a.FITS", "c.fits.gz"):
        write(image, f"many/{name}")
    io.imsave(folder / "d.PNG", image.astype(np.uint8), check_contrast=False)
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").mkdir()
    (folder / "e").mkdir()
    write(image, "many/e/data.fits", PIXSCALE=SCALE)
    write(np.full_like(image, 5.0), "many/e/noise_map.fits")
    write(CAMERA.psf_kernels_from(np.array([0.4]))[0], "many/e/psf.fits")
    last = write(image, "last.fits")
    said = []
    predictions = predict_files([folder, last], stored.path, noise=5.0, progress=said.append)
    names = ["a.FITS", "b.fits", "c.fits.gz", "d.PNG", "e"]
    assert [p.file for p in predictions] == [*(folder / name for name in names), last]
    for prediction in predictions:
        assert_same(prediction, predictions[0])
    assert said == ["6 of 6 files"]


def test_files_do_not_depend_on_each_other(stored, image, write, monkeypatch):
    paths = [write(np.roll(image, i, axis=1), f"{i}.fits") for i in range(5)]
    alone = [one(path, stored, noise=5.0) for path in paths]
    monkeypatch.setattr(predict, "_BATCH", 2)
    said = []
    # The same file may be asked for twice.
    asked = [*paths, paths[1]]
    together = predict_files(asked, stored.path, noise=5.0, progress=said.append)
    assert [prediction.file for prediction in together] == asked
    for prediction, expected in zip(together, [*alone, alone[1]], strict=True):
        assert_same(prediction, expected)
    assert_same(alone[0], alone[1], is_same=False)
    assert said == ["2 of 6 files", "4 of 6 files", "6 of 6 files"]


def test_the_seed_is_that_of_the_draws(stored, image, write):
    path = write(image)
    first, again, other = (one(path, stored, noise=5.0, seed=seed) for seed in (0, 0, 1))
    assert first == again
    for name, values in first.values.items():
        width = values[2] - values[0]
        assert 0.0 < abs(other.values[name][1] - values[1]) < 0.1 * width


def test_files_that_cannot_be_read(stored, image, write, tmp_path):
    """A row each, with the reason; the others are as they would be without them."""
    fine = write(image, "fine.fits")
    holes, flat = image.copy(), np.full_like(image, 3.0)
    holes[3, 4] = np.nan
    png = tmp_path / "cut.png"
    io.imsave(png, image.astype(np.uint8), check_contrast=False)
    png.write_bytes(png.read_bytes()[:100])
    for name, content in (("text.fits", b"no FITS"), ("empty.tif", b""), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
    cut = write(image, "cut.fits")
    cut.write_bytes(cut.read_bytes()[:3000])
    infinite = np.where(np.isnan(holes), np.inf, holes)
    write(image, "set/data.fits", PIXSCALE=SCALE)
    two = tmp_path / "two.fits"
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(image, name="A"), fits.ImageHDU(image, name="B")]
    ).writeto(two)
    reasons = {
        tmp_path / "nothing.fits": "no such file",
        tmp_path / "nothing.png": "not a readable picture; give PNG, TIFF or FITS",
        tmp_path / "text.fits": "not a readable FITS file",
        cut: "not a readable FITS file",
        png: "not a readable picture",
        tmp_path / "empty.tif": "not a readable picture",
        tmp_path / "empty.png": "not a readable picture",
        write(holes, "holes.fits"): "has NaN or infinite pixels; replace them or mask them",
        write(infinite, "infinite.fits"): "has NaN or infinite pixels",
        write(flat, "flat.fits"): "most pixels are equal, so its noise is unknown: set --noise",
        write(np.stack([image] * 3), "cube.fits"): "a two-dimensional image is needed",
        tmp_path / "set": "psf.fits: no such file",
        two: "cannot tell which image is the data",
    }
    predictions = predict_files([fine, *reasons, fine], stored.path)
    assert [prediction.file for prediction in predictions] == [fine, *reasons, fine]
    for prediction, reason in zip(predictions[1:-1], reasons.values(), strict=True):
        assert reason in prediction.error, prediction.file
        assert str(prediction.file.name) in prediction.error and "\n" not in prediction.error
        assert prediction.values == {} and prediction.concerns == ()
    assert_same(predictions[-1], one(fine, stored))
    # With the noise known, flat images are images.
    assert one(tmp_path / "flat.fits", stored, noise=1.0).values


def test_pictures_of_too_many_layers(stored, image, tmp_path):
    layers = np.stack([image.astype(np.uint8)] * 5, axis=-1)
    io.imsave(tmp_path / "five.tif", layers, check_contrast=False)
    assert "is no picture of one lens" in one(tmp_path / "five.tif", stored).error


def test_no_files(stored, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(OptionError, match=r"no images in .*: give FITS or PNG files"):
        predict_files([tmp_path], stored.path)
    with pytest.raises(OptionError, match="no images in : give FITS or PNG files"):
        predict_files([], stored.path)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("option", "words"),
    [("noise", "noise"), ("pixel_scale", "pixel scale"), ("psf_fwhm", "PSF width")],
)
def test_numbers_that_mean_nothing(option, words, value, stored, image, write):
    with pytest.raises(OptionError, match=f"{words} of {value:g}: give a finite number above 0"):
        predict_files([write(image)], stored.path, **{option: value})


def test_networks_that_give_no_posterior(stored, image, write, tmp_path):
    path = write(image)
    with pytest.raises(NetworkError, match="no network 'nothing'"):
        predict_files([path], "nothing")
    fields = {**stored.as_dict(), "task": "shear", "name": "other"}
    state = torch.nn.Linear(1, 1).state_dict()
    other = save_network(tmp_path, {k: v for k, v in fields.items() if k != "sha256"}, state)
    with pytest.raises(NetworkError, match="network other is for shear, not for lens-parameters"):
        predict_files([path], other.path)


# The table.


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


GOOD = Prediction(
    Path("a.fits"),
    {"radius": (1.0, 1.25, 1.5), "x": (-0.5, 0.0, 0.25)},
    ("one, with a comma", "two"),
)
BAD = Prediction(Path("b.fits"), {}, error="b.fits: no such file")
COLUMNS = ["file", "error", "radius", "radius_low", "radius_high", "x", "x_low", "x_high"]


@pytest.mark.parametrize("predictions", [(GOOD, BAD), (BAD, GOOD), (GOOD,), (BAD,)])
def test_table(predictions, tmp_path):
    path = tmp_path / "new" / "table.csv"
    write_table(predictions, path)
    rows = rows_of(path)
    assert [row["file"] for row in rows] == [str(p.file) for p in predictions]
    columns = [*COLUMNS, "concerns"] if GOOD in predictions else ["file", "error", "concerns"]
    for row, prediction in zip(rows, predictions, strict=True):
        assert list(row) == columns
        assert row["error"] == prediction.error
        assert row["concerns"] == "; ".join(prediction.concerns)
        for name in COLUMNS[2:]:
            if prediction is GOOD:
                assert float(row[name]) == GOOD.as_dict()[name]
            else:
                assert row.get(name, "") == ""
    assert list(path.parent.iterdir()) == [path]


def test_values_of_a_row():
    row = GOOD.as_dict()
    assert (row["radius_low"], row["radius"], row["radius_high"]) == (1.0, 1.25, 1.5)
    assert list(row) == [*COLUMNS, "concerns"]


def test_tables_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "table.csv"):
        with pytest.raises(OptionError, match="cannot be written"):
            write_table([GOOD], path)
