"""Files in, classes and scores out."""

import csv

import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.morphology.look import anomalies, classes_and_anomalies, classify
from autolens_ml.applications.morphology.observed import batch_of, files_from, lens_from
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.training.morphology_accuracy import smooth_fits
from tests.morphologies import (
    observed,
    small_systems,
    stored_autoencoder,
    stored_classifier,
)


@pytest.fixture(scope="module")
def lenses(tmp_path_factory):
    """A FITS file with all that there is to know, and an array."""
    folder = tmp_path_factory.mktemp("lenses")
    population, systems = small_systems()
    images, noise = observed(systems)
    (kernel,) = population.setting.instrument.psf_kernels_from(np.array([0.2]))
    header = fits.Header({"PIXSCALE": 0.2})
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(3.0 * images[0], header, name="DATA"),
            fits.ImageHDU(3.0 * noise[0], header, name="NOISE"),
            fits.ImageHDU(kernel, header, name="PSF"),
        ]
    ).writeto(folder / "a.fits")
    np.save(folder / "b.npy", 7.0 * images[1] + 5.0)
    return folder


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return stored_classifier(tmp_path_factory.mktemp("networks"))


def test_lenses_come_in_units_of_their_noise(lenses, card):
    _, systems = small_systems()
    images, noise = observed(systems)
    lens = lens_from(lenses / "a.fits", card, pixel_scale=0.2)
    np.testing.assert_allclose(lens.image, images[0] / np.quantile(noise[0], 0.05), rtol=1e-5)
    np.testing.assert_allclose(lens.noise.min(), 1.0, atol=1e-3)
    assert lens.psf_fwhm == pytest.approx(0.2, rel=0.2)
    assert lens.dataset is not None
    array = lens_from(lenses / "b.npy", card)
    # The background is gone, and the noise of the edge is one.
    assert np.std(array.image[:4]) == pytest.approx(1.0, abs=0.25)
    scale = (array.image * images[1]).sum() / np.square(images[1]).sum()
    assert scale == pytest.approx(1.0, abs=0.2)
    batch = batch_of([lens, array], 0.2)
    assert batch.images.shape == batch.noise.shape == (2, 32, 32)


def test_small_pixels_are_summed(tmp_path, card):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((74, 74))
    np.save(tmp_path / "fine.npy", image)
    lens = lens_from(tmp_path / "fine.npy", card, pixel_scale=0.1)
    inner = image[4:68, 4:68].reshape(32, 2, 32, 2).sum(axis=(1, 3))
    correlation = np.corrcoef(lens.image.ravel(), inner.ravel())[0, 1]
    assert correlation > 0.999
    assert np.std(lens.image) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(DataError, match="resample the image first"):
        lens_from(tmp_path / "fine.npy", card, pixel_scale=0.15)
    np.save(tmp_path / "flat.npy", np.ones((32, 32)))
    with pytest.raises(DataError, match="no noise around its edge"):
        lens_from(tmp_path / "flat.npy", card)


def test_small_images_are_framed(tmp_path, card):
    np.save(tmp_path / "small.npy", np.random.default_rng(0).standard_normal((20, 20)))
    lens = lens_from(tmp_path / "small.npy", card)
    assert np.all(lens.image[:6] == 0.0) and np.all(lens.noise[:6] == 1.0)
    assert np.std(lens.image[6:-6, 6:-6]) > 0.5


def test_classify(lenses, card, tmp_path):
    report = classify([lenses], network=card.path)
    assert [row.name for row in report.rows] == [str(lenses / n) for n in ("a.fits", "b.npy")]
    for row in report.rows:
        assert sum(row.values.values()) == pytest.approx(1.0)
        assert row.verdict == max(row.values, key=row.values.get)
        assert row.flagged == (row.values["no_sub"] < 0.5)
    with report.write(tmp_path / "out.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert [r["verdict"] for r in written] == [row.verdict for row in report.rows]
    assert report.as_dict()["n_flagged"] == len(report.flagged)


@pytest.mark.parametrize("kind", ["variational", "conditional"])
def test_anomalies(lenses, tmp_path, kind):
    card = stored_autoencoder(tmp_path, kind)
    report = anomalies([lenses], network=card.path, maps=tmp_path / "maps")
    assert report.columns == ["error", "elbo", "mahalanobis"]
    for row in report.rows:
        assert row.flagged == (row.values["error"] > 1.5) == (row.verdict == "strange")
    drawn = sorted(path.stem for path in (tmp_path / "maps").glob("*.png"))
    assert drawn == sorted(row.name.split("/")[-1].split(".")[0] for row in report.flagged)
    by_elbo = anomalies([lenses], network=card.path, score="elbo")
    assert [r.flagged for r in by_elbo.rows] == [r.values["elbo"] > 1.5 for r in report.rows]


def test_both_networks_share_readings_and_fits(lenses, card, tmp_path, monkeypatch):
    autoencoder = stored_autoencoder(tmp_path, "conditional")
    fitted = []

    def counted(batch, instrument):
        fitted.append(len(batch.images))
        return smooth_fits(batch, instrument)

    monkeypatch.setattr("autolens_ml.applications.morphology.look.smooth_fits", counted)
    networks = {"network": card.path, "autoencoder": autoencoder.path}
    classes, strange = classes_and_anomalies([lenses], **networks)
    assert fitted == [2]
    assert classes == classify([lenses], network=card.path)
    assert strange == anomalies([lenses], network=autoencoder.path)


def test_one_bad_file_ends_nothing(lenses, card, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    report = classify([lenses / "b.npy", tmp_path / "bad.npy"], network=card.path)
    (bad,) = [row for row in report.rows if row.error]
    assert "not an array" in bad.error and not bad.flagged
    assert bad.error in str(report.as_dict())
    with pytest.raises(DataError, match="not an array"):
        classify([tmp_path / "bad.npy"], network=card.path)


def test_refusals(lenses, card, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        files_from([tmp_path / "none.fits"])
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="give FITS files"):
        files_from([tmp_path / "x.txt"])
    with pytest.raises(DataError, match="no images"):
        files_from([tmp_path])
    with pytest.raises(NetworkError):
        anomalies([lenses], network=card.path)
    autoencoder = stored_autoencoder(tmp_path, "adversarial")
    with pytest.raises(OptionError, match="has error, mahalanobis"):
        anomalies([lenses], network=autoencoder.path, score="elbo")
