"""LensNet's configuration: its keys, its files, and the training that it makes."""

import json

import pytest

from autolens_ml.applications.shear.config import ShearConfig
from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.shear_files import StampProblems

LENSNET = {
    "batch_size",
    "classes",
    "epochs",
    "image_height",
    "image_width",
    "learning_rate",
    "loss_function",
    "metrics",
    "mode",
    "normalize_output",
    "random_state",
    "test_ratio",
}


def test_keys_are_those_of_lensnet():
    assert set(ShearConfig.__dataclass_fields__) == LENSNET | {"flip_rows"}
    assert ShearConfig().classes == ("g1", "g2") and ShearConfig().test_ratio == 0.25


def test_text_is_read_back(tmp_path):
    config = ShearConfig(classes=("e1", "flux"), epochs=3, mode="rgb", metrics=("huber",))
    path = tmp_path / "config.yaml"
    path.write_text(config.as_text())
    assert ShearConfig.from_file(path) == config


def test_files_of_lensnet_are_read(tmp_path):
    path = tmp_path / "config.json"
    values = {"classes": ["g1"], "loss_function": "mse", "metrics": ["mae", "mse"], "epochs": 7}
    path.write_text(json.dumps({"default": values, "model": {"normalize_output": {}}}))
    config = ShearConfig.from_file(path)
    assert config.classes == ("g1",) and config.epochs == 7
    assert config.loss_function == "mean_squared_error"
    assert config.metrics == ("mean_absolute_error", "mean_squared_error")


def test_presets_see_every_image_once_in_an_epoch(data):
    config = ShearConfig(batch_size=4, epochs=5, image_height=16, image_width=16, random_state=3)
    preset = config.preset("my model!", data)
    assert preset.name == "my-model" and preset.task == "stamp-regression"
    assert preset.seed == 3
    # Of 40 images, 10 are for tests and 3 for validation.
    assert preset.training.n_training == 27 and preset.training.n_validation == 3
    assert preset.training.n_steps == 30 and preset.training.validate_every == 6
    assert preset.data["file"] == str(data.resolve())
    assert preset.data["test_ratio"] == 0.25


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"batch_size": True}, "batch_size must be a whole number from 1"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": "fast"}, "learning_rate must be above 0"),
        ({"loss_function": "hinge"}, "no loss or metric 'hinge'"),
        ({"metrics": "mae"}, "metrics must be a list"),
        ({"test_ratio": 0}, "test_ratio must be above 0"),
        ({"image_height": 48.0}, "image_height must be a whole number"),
        ({"epoch": 3}, "unknown epoch; known: batch_size"),
        ([1], "needs keys such as classes"),
    ],
)
def test_values_that_mean_nothing(tmp_path, values, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(OptionError, match=f"config.json: {message}"):
        ShearConfig.from_file(path)


def test_files_that_cannot_be_read(tmp_path, data):
    with pytest.raises(OptionError, match="cannot be read"):
        ShearConfig.from_file(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(OptionError, match="neither YAML nor JSON"):
        ShearConfig.from_file(tmp_path / "bad.yaml")
    with pytest.raises(StampProblems, match="no such file"):
        ShearConfig().preset("name", tmp_path / "none.json")
    data.write_text(json.dumps(json.loads(data.read_text())[:2]))
    with pytest.raises(OptionError, match="2 images are too few"):
        ShearConfig().preset("name", data)
