"""A set of lenses from a preset's or a model's name, as the command line asks for it."""

import json
from pathlib import Path

import pytest

from autolens_ml.applications import simulate as room
from autolens_ml.applications.simulate import simulate_set
from autolens_ml.exceptions import AutolensMLError, OptionError
from autolens_ml.simulate.stored import open_set
from tests.simulate import models

PRESET = """
name: tiny
description: The smallest lens.
task: lens-parameters
data:
  population:
    instrument: {instrument}
    noise_units: true
    model:
      lens:
        redshift: 0.5
        mass: {{class: al.mp.IsothermalSph, centre: [0.0, 0.0]}}
      source:
        redshift: 1.0
        light: {{class: al.lp.ExponentialSph, intensity: {{log_uniform: [5.0, 50.0]}}}}
  targets: [galaxies.lens.mass]
"""


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PRESET.format(instrument=json.dumps(models.SMALL_CAMERA.as_dict())))
    return str(path)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(models.small_model().dict()))
    return str(path)


def test_presets_without_a_population(tmp_path):
    with pytest.raises(OptionError, match="preset ensai-alexnet has no population"):
        simulate_set("ensai-alexnet", 4, tmp_path / "set.h5")


def test_a_preset_into_hdf5_and_on(preset, tmp_path):
    lines = []
    output = tmp_path / "set.h5"
    report = simulate_set(preset, 70, output, seed=4, planes=True, progress=lines.append)
    assert report.as_dict() | {"seconds": None} == {
        "output": str(output),
        "format": "hdf5",
        "n": 70,
        "n_simulated": 70,
        "n_parameters": 5,
        "instrument": "small",
        "seed": 4,
        "seconds": None,
    }
    json.dumps(report.as_dict())
    assert report.seconds > 0.0
    assert "70 lenses of 5 parameters, seen with small (seed 4)" in str(report)
    assert lines[0] == "compiling the forward model of 5 parameters"
    assert lines[1] == "0 of 70 lenses"
    assert lines[-1].startswith("70 of 70 lenses, ") and lines[-1].endswith(" 0 s left")
    with open_set(output) as lenses:
        assert lenses.population["noise_units"] is True
        assert lenses.planes.shape == (70, 2, 16, 16)
    again = simulate_set(preset, 70, output, seed=4, planes=True)
    assert (again.n, again.n_simulated) == (70, 0)


def test_a_model_into_fits(model, tmp_path):
    report = simulate_set(model, 2, tmp_path / "set", instrument="euclid-nisp", seed=1)
    assert (report.format, report.instrument) == ("fits", "euclid-nisp")
    info = json.loads((report.output / "lens_0000001" / "info.json").read_text())
    assert info["instrument"] == "euclid-nisp"


def test_another_instrument_for_a_preset(preset, tmp_path):
    report = simulate_set(preset, 1, tmp_path / "set.hdf5", instrument="euclid-nisp")
    assert (report.format, report.instrument) == ("hdf5", "euclid-nisp")


def test_the_format_is_asked_for_or_follows_the_name(preset, tmp_path, monkeypatch):
    written = []
    for name in ("write_hdf5", "write_fits"):

        def write(*arguments, name=name):
            written.append((name, arguments[3].name))
            arguments[-1](0, 1)

        monkeypatch.setattr(room, name, write)
    for output, format in (("a.h5", None), ("b.x", "hdf5"), ("c", None), ("d.h5", "fits")):
        simulate_set(preset, 1, tmp_path / output, format=format)
    assert written == [
        ("write_hdf5", "a.h5"),
        ("write_hdf5", "b.x"),
        ("write_fits", "c"),
        ("write_fits", "d.h5"),
    ]


BAD = {
    "format": ({"format": "zarr"}, "set --format to hdf5 or fits"),
    "planes in FITS": ({"planes": True}, "leave --planes out"),
    "no preset": ({"model": "euclid-sue"}, "did you mean euclid-sie?"),
    "no preset file": ({"model": "nope.yaml"}, "no preset file nope.yaml"),
    "no model file": ({"model": "nope.json", "instrument": "lsst"}, "nope.json: no such file"),
    "instrument": ({"instrument": "hubble"}, "no instrument 'hubble'"),
    "n": ({"n": 0}, "the number of lenses must be positive, not 0"),
    "seed": ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_said_on_one_line(case, preset, tmp_path):
    changes, message = BAD[case]
    arguments = {"model": preset, "n": 1, "output": tmp_path / "set", **changes}
    with pytest.raises(AutolensMLError) as error:
        simulate_set(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_model_needs_an_instrument(model, tmp_path):
    with pytest.raises(OptionError, match="set --instrument to euclid-vis, euclid-nisp"):
        simulate_set(model, 1, tmp_path / "set")
    assert not Path(tmp_path / "set").exists()
