"""Networks on files and against each other."""

import json

import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.shear.estimator import ShearEstimator
from autolens_ml.applications.shear.measure import (
    SetReport,
    measure_biases,
    predict_image,
    predict_set,
    shear_cards,
)
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks.shear import StampRegressor
from autolens_ml.simulate.shear_files import StampProblems
from tests.applications.shear.conftest import POPULATION, store


def test_a_set_is_predicted_as_its_images_are(data, calibrated, naive):
    report = predict_set([calibrated, naive], data)
    assert set(report.predictions) == {"calibrated", "naive"}
    assert set(report.predictions["calibrated"]) == {"g1", "g2", "error"}
    assert set(report.predictions["naive"]) == {"g1", "g2", "psf_fwhm"}
    folder = data.parent
    single = predict_image([naive, calibrated], folder / "gal_3.fits", folder / "psf_3.fits")
    for network, values in single.values.items():
        for name, value in values.items():
            assert value == pytest.approx(report.predictions[network][name][3], abs=1e-4)
    stamps = np.stack([fits.getdata(folder / f"gal_{i}.fits") for i in range(40)])
    psfs = np.stack([fits.getdata(folder / f"psf_{i}.fits") for i in range(40)])
    measured = ShearEstimator(calibrated / "calibrated.json").measure(stamps, psfs)
    np.testing.assert_allclose(
        report.predictions["calibrated"]["g2"], measured.shear[:, 1], atol=1e-5
    )


def test_truths_are_compared_with(data, calibrated, naive):
    report = predict_set([calibrated, naive], data)
    entries = json.loads(data.read_text())
    np.testing.assert_array_equal(report.truths["g1"], [entry["g1"] for entry in entries])
    rows = {(row["network"], row["number"]): row for row in report.rows()}
    assert set(rows) == {
        ("calibrated", "g1"),
        ("calibrated", "g2"),
        ("naive", "g1"),
        ("naive", "g2"),
        ("naive", "psf_fwhm"),
    }
    row = rows["naive", "g1"]
    errors = report.predictions["naive"]["g1"] - report.truths["g1"]
    assert row["n"] == 40
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    slope, offset = np.polyfit(report.truths["g1"], report.predictions["naive"]["g1"], 1)
    assert row["m"] == pytest.approx(slope - 1.0) and row["c"] == pytest.approx(offset)
    assert report.table().row_count == 5


def test_lines_are_found_within_their_errors():
    rng = np.random.default_rng(0)
    pulls = []
    for _ in range(200):
        truth, error = rng.uniform(-0.1, 0.1, 300), rng.uniform(0.1, 0.4, 300)
        estimate = 0.9 * truth + 0.01 + rng.normal(0.0, error)
        report = SetReport({"a": {"g1": estimate, "error": error}}, {"g1": truth})
        (row,) = report.rows()
        pulls.append(((row["m"] + 0.1) / row["m_error"], (row["c"] - 0.01) / row["c_error"]))
    pulls = np.array(pulls)
    assert np.abs(pulls.mean(0)).max() < 4.0 / np.sqrt(len(pulls))
    np.testing.assert_allclose(pulls.std(0), 1.0, atol=0.2)


def test_truths_without_spread_have_no_line():
    values = np.array([0.1, 0.2, 0.3])
    report = SetReport({"a": {"g1": values}}, {"g1": np.zeros(3)})
    (row,) = report.rows()
    assert row["m"] is None and row["rmse"] == pytest.approx(np.sqrt(0.14 / 3.0))
    assert report.table().row_count == 1
    json.dumps(report.as_dict(), allow_nan=False)


def test_sets_without_truths_are_predicted(data, naive, tmp_path):
    entries = json.loads(data.read_text())
    data.write_text(json.dumps([{"galaxy": entry["galaxy"]} for entry in entries]))
    report = predict_set([naive], data)
    assert report.truths == {} and report.rows() == []
    assert report.table().row_count == 3
    assert [path.name for path in report.write(tmp_path / "out")] == ["predictions.json"]
    stored = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(stored["predictions"]["naive"]["g1"]) == 40


def test_files_of_a_comparison(data, naive, tmp_path):
    files = predict_set([naive], data).write(tmp_path / "out")
    assert [path.name for path in files] == ["predictions.json", "predictions.png"]
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_biases_of_several_networks_are_from_the_same_galaxies(calibrated, naive, tmp_path):
    lines = []
    networks = [calibrated, naive, naive / "naive.json"]
    report = measure_biases(networks, POPULATION, 100, 3, lines.append)
    assert list(report.samples) == ["calibrated", "naive", str(naive / "naive.json")]
    first, second, third = report.samples.values()
    np.testing.assert_array_equal(first.shear.signal_to_noise, second.shear.signal_to_noise)
    np.testing.assert_array_equal(second.shear.change, third.shear.change)
    assert report.table().row_count == 6
    assert len(report.verdicts()) == 3 and report.verdicts()[1].startswith("naive: ")
    assert any(line.startswith("naive: ") for line in lines)
    files = report.write(tmp_path / "out")
    assert [path.name for path in files] == ["bias.json", "bias.png"]
    json.loads(files[0].read_text())


def test_networks_that_cannot_be_compared(calibrated, naive, tmp_path):
    with pytest.raises(OptionError, match="no network: give one"):
        shear_cards([])
    with pytest.raises(NetworkError, match="no network 'none'"):
        shear_cards(["none"])
    other = store(StampRegressor(["g1"], [0], [1], size=(16, 16)), tmp_path / "other", "finder")
    with pytest.raises(OptionError, match="a network for finder"):
        shear_cards([other])
    with pytest.raises(OptionError, match="too few for a bias"):
        measure_biases([calibrated], POPULATION, 20)
    larger = POPULATION.from_dict({**POPULATION.as_dict(), "size": 32})
    with pytest.raises(OptionError, match="sees stamps of 16 pixels, the population has 32"):
        measure_biases([calibrated], larger, 100)
    options = {"size": (16, 16), "in_channels": 3}
    colours = StampRegressor(["g1", "g2"], [0, 0], [1, 1], **options)
    store(colours, tmp_path / "colours", "stamp-regression")
    with pytest.raises(OptionError, match="sees colours"):
        measure_biases([tmp_path / "colours"], POPULATION, 100)


def test_images_that_cannot_be_predicted(data, calibrated, naive):
    folder = data.parent
    with pytest.raises(OptionError, match="calibrated needs the PSF of the galaxy: set --psf"):
        predict_image([calibrated], folder / "gal_0.fits")
    fits.PrimaryHDU(np.ones((20, 16))).writeto(folder / "wide.fits")
    with pytest.raises(DataError, match=r"wide\.fits: 20 x 16 pixels, naive sees 16 x 16"):
        predict_image([naive], folder / "wide.fits")
    fits.PrimaryHDU(np.ones((8, 8))).writeto(folder / "gal_0.fits", overwrite=True)
    with pytest.raises(DataError, match="stamps of 8 x 8 pixels"):
        predict_image([calibrated], folder / "gal_0.fits", folder / "psf_0.fits")
    with pytest.raises(StampProblems, match=r"gal_0\.fits: 8 x 8 pixels, not 16 x 16"):
        predict_set([naive], data)
