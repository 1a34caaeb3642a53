"""``autolens-ml morphology``."""

import json

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from autolens_ml.cli import app
from autolens_ml.networks.checkpoint import find_card
from tests.morphologies import (
    observed,
    small_systems,
    stored_autoencoder,
    stored_classifier,
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("morphology")
    _, systems = small_systems()
    images, _ = observed(systems)
    np.save(folder / "lens.npy", images[0])
    classifier = stored_classifier(folder, sees=["image"])
    return folder / "lens.npy", classifier.path, stored_autoencoder(folder).path


def run(*arguments):
    return CliRunner().invoke(app, ["morphology", *map(str, arguments)])


def test_classify(paths, tmp_path):
    file, classifier, _ = paths
    done = run("classify", file, "--network", classifier, "--out", tmp_path / "o.csv", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rows"][0]["name"] == str(file)
    assert (tmp_path / "o.csv").read_text().startswith("name,no_sub,cdm,vortex,verdict")


def test_anomaly(paths):
    file, _, autoencoder = paths
    done = run("anomaly", file, "--network", autoencoder, "--score", "elbo")
    assert done.exit_code == 0, done.output
    assert "mahalanobis" in done.stdout and str(file) in done.stdout


def test_report(paths):
    file, classifier, autoencoder = paths
    done = run("report", file, "--network", classifier, "--autoencoder", autoencoder, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found) == {"classes", "anomalies", "fits"} and found["fits"] == []


def test_bad_input(paths, tmp_path):
    _, classifier, _ = paths
    done = run("classify", tmp_path / "none.fits", "--network", classifier)
    assert done.exit_code == 2 and "no such file" in done.output


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--max-likelihood-calls", 0), "set --max-likelihood-calls"), (("--seed", -1), "set --seed")],
)
def test_what_no_lens_could_be_fitted_with(paths, tmp_path, option, message):
    file, classifier, autoencoder = paths
    networks = ("--network", classifier, "--autoencoder", autoencoder)
    done = run("report", file, *networks, "--fit", "--output", tmp_path / "o", *option)
    assert done.exit_code == 2 and message in done.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["classify", "anomaly", "report"])
def test_psf_and_noise_map_in_files_of_their_own(paths, tmp_path, command):
    file, *networks = paths
    scale = find_card(networks[0]).inputs["pixel_scale"]
    header = fits.Header({"PIXSCALE": scale})
    image, kernel = np.load(file), np.ones((3, 3)) / 9.0
    for name, array in (("data", image), ("noise", np.ones_like(image)), ("psf", kernel)):
        fits.writeto(tmp_path / f"{name}.fits", array, header)
    used = {
        "classify": ["--network", networks[0]],
        "anomaly": ["--network", networks[1]],
        "report": ["--network", networks[0], "--autoencoder", networks[1]],
    }[command]
    alone = run(command, tmp_path / "data.fits", *used)
    assert alone.exit_code == 2 and "--psf" in alone.output
    given = ("--psf", tmp_path / "psf.fits", "--noise-map", tmp_path / "noise.fits")
    done = run(command, tmp_path / "data.fits", *used, *given)
    assert done.exit_code == 0, done.output
