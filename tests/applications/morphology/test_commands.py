"""``autolens-ml morphology``."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from autolens_ml.cli import app
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
