"""``autolens-ml shear``: LensNet's whole behaviour, exit codes, JSON alone on stdout."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from autolens_ml.applications.shear.commands import app
from autolens_ml.networks.checkpoint import find_card

runner = CliRunner()
CONFIG = """
classes: [g1, g2]
epochs: 2
batch_size: 8
image_height: 16
image_width: 16
learning_rate: 0.005
metrics: [mae]
"""


def invoke(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_help_has_an_example_and_is_quick():
    for command in ("simulate", "config", "train", "evaluate", "predict"):
        text = " ".join(invoke(command, "--help").stdout.split())
        assert f"Example: autolens-ml shear {command}" in text
    heavy = ("torch", "autolens", "jax", "astropy")
    code = (
        "import sys, autolens_ml.applications.shear.commands; "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_simulate(tmp_path):
    population = tmp_path / "small.yaml"
    population.write_text("{size: 16, galaxies: {sersic: 1.0}}")
    options = ("-n", 2, "-o", tmp_path / "set", "--population", population, "--noise")
    formats = ("--format", "fits", "--format", "tiff")
    result = invoke("simulate", *options, *formats, "--json")
    report = json.loads(result.stdout)
    assert report["n"] == 2 and report["noise"] is True
    names = {path.name for path in (tmp_path / "set").iterdir()}
    assert {"gal_1.fits", "psf_1.tif", "data.json"} < names
    assert str(tmp_path / "set") in invoke("simulate", *options, *formats).stdout
    refused = invoke("simulate", *options, *formats, "--seed", 4, code=2)
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert "holds another set" in refused.stderr


def test_train_evaluate_load_and_remove(data, config, tmp_path):
    model = tmp_path / "models" / "mine"
    train = ("train", data, "-m", model, "-c", config, "--accelerator", "cpu", "--json")
    card = json.loads(invoke(*train, "--evaluate").stdout)
    assert card["name"] == "mine" and card["task"] == "stamp-regression"
    assert card["metrics"]["mean_absolute_error g1"]["n"] == 10
    weights = (model / "mine.safetensors").read_bytes()
    # What is there is loaded, not trained again.
    again = invoke(*train)
    assert json.loads(again.stdout) == card and "trained already" in again.stderr
    # Another configuration is refused, and nothing is overwritten.
    config.write_text(CONFIG.replace("epochs: 2", "epochs: 3"))
    refused = invoke(*train, code=2)
    assert "start afresh with --remove" in refused.stderr
    assert (model / "mine.safetensors").read_bytes() == weights
    fresh = json.loads(invoke(*train, "--remove").stdout)
    assert fresh["training"]["steps"] == 9 and fresh["metrics"] == {}
    # Renamed, it still knows its normalisation.
    before = json.loads(invoke("predict", data, "-m", model, "--json").stdout)["predictions"]
    model.rename(tmp_path / "renamed")
    after = json.loads(invoke("predict", data, "-m", tmp_path / "renamed", "--json").stdout)
    assert after["predictions"] == before
    assert find_card(tmp_path / "renamed").architecture["config"]["high"][0] > 0.3


def test_training_deletes_nothing_that_is_not_its_own(data, config, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("mine")
    result = invoke("train", data, "-m", folder, "-c", config, "--remove", code=2)
    assert "holds no network of this kind" in result.stderr
    assert (folder / "chapter.txt").read_text() == "mine"
    # A set that cannot be read is found before a network is deleted.
    (data.parent / "gal_3.fits").unlink()
    result = invoke("train", data, "-m", tmp_path / "new", "-c", config, code=2)
    reason = f"error: {data.parent / 'gal_3.fits'}: no such file; give an image"
    assert any(line.startswith(reason) for line in result.stderr.splitlines())
    assert not (tmp_path / "new").exists()


def test_several_networks_in_one_table(data, calibrated, naive, tmp_path):
    out = tmp_path / "out"
    result = invoke("evaluate", data, "-m", calibrated, "-m", naive, "-o", out)
    assert "calibrated" in result.stdout and "naive" in result.stdout
    assert str(out / "predictions.png") in result.stdout
    report = json.loads(
        invoke("evaluate", data, "-m", calibrated, "-m", naive, "-o", out, "--json").stdout
    )
    assert len(report["compared"]) == 5
    assert report["files"] == [str(out / "predictions.json"), str(out / "predictions.png")]


def test_biases(calibrated, naive, tmp_path):
    population = tmp_path / "small.yaml"
    population.write_text("{size: 16, galaxies: {sersic: 1.0}}")
    options = ("--population", population, "--n", 100, "-o", tmp_path / "out")
    result = invoke("evaluate", "-m", calibrated, "-m", naive, *options)
    assert "alpha" in result.stdout and "Signal-to-noise of 20 and more" in result.stdout
    report = json.loads(invoke("evaluate", "-m", naive, *options, "--json").stdout)
    assert report["naive"]["all"]["n"] == 100


def test_predict_one_image(data, calibrated, naive):
    folder = data.parent
    options = (folder / "gal_0.fits", "-m", naive, "--json")
    values = json.loads(invoke("predict", *options).stdout)["predictions"]["naive"]
    assert set(values) == {"g1", "g2", "psf_fwhm"}
    both = (folder / "gal_0.fits", "-m", naive, "-m", calibrated, "--psf", folder / "psf_0.fits")
    assert "error" in invoke("predict", *both).stdout
    assert "set --psf" in invoke("predict", folder / "gal_0.fits", "-m", calibrated, code=2).stderr


def test_config_is_printed(tmp_path):
    text = invoke("config").stdout
    (tmp_path / "config.yaml").write_text(text)
    assert "classes:" in text and "normalize_output: true" in text


def test_every_problem_has_one_line_and_exit_code_2(data, naive):
    entries = json.loads(data.read_text())
    (data.parent / "gal_1.fits").unlink()
    (data.parent / "gal_2.fits").write_text("no image")
    entries[3]["galaxy"] = None
    data.write_text(json.dumps(entries))
    result = invoke("predict", data, "-m", naive, code=2)
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for command in (
        ("predict", data.parent / "none.json", "-m", naive),
        ("predict", data.parent / "none.fits", "-m", naive),
        ("predict", data, "-m", "none"),
        ("train", data, "-m", data.parent, "-c", data),
        ("simulate", "--population", "none", "-o", data.parent),
        ("simulate", "--population", "none.yaml", "-o", data.parent / "new"),
    ):
        result = invoke(*command, code=2)
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, result.stderr
