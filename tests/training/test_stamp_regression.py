"""LensNet's task: the split, the data, a training from end to end, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.simulate.shear_files import StampProblems, write_stamps
from autolens_ml.simulate.shear_population import ShearPopulation
from autolens_ml.training.preset import Preset, TrainingOptions
from autolens_ml.training.stamp_regression import (
    LOSSES,
    StampData,
    StampRegression,
    errors_of,
    split,
)
from autolens_ml.training.train import Hardware, train

POPULATION = ShearPopulation(
    size=16,
    galaxies={"sersic": 1.0},
    psfs={"gaussian": 1.0},
    ellipticity_rms=0.0,
    max_shear=0.4,
    half_light_radius=(0.2, 0.3),
    signal_to_noise=(100.0, 200.0),
)
CPU = Hardware(accelerator="cpu", devices=1, precision="32-true")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamps") / "set"
    return write_stamps(POPULATION, 200, folder, noise=True, seed=1)


def preset(data, **options):
    return Preset(
        name="mine",
        description="Shears of round galaxies.",
        task="stamp-regression",
        data={"file": str(data), "image_height": 16, "image_width": 16, **options},
        network={"backbone_options": {"widths": [8, 16], "depths": [1, 1], "map_size": 2}},
        training=TrainingOptions(
            n_training=135,
            n_validation=15,
            n_steps=160,
            batch_size=32,
            learning_rate=5e-3,
            ema_decay=0.9,
            validate_every=80,
        ),
    )


def test_split_is_a_partition():
    parts = split(101, 0.25, 3)
    assert [len(parts[name]) for name in ("test", "validation", "training")] == [26, 8, 67]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(101))
    for name, rows in split(101, 0.25, 3).items():
        assert np.array_equal(rows, parts[name])
    assert not np.array_equal(split(101, 0.25, 4)["test"], parts["test"])
    with pytest.raises(OptionError, match="2 images are too few"):
        split(2, 0.25, 0)


def test_a_training_learns_and_its_card_remembers(data, tmp_path):
    task = StampRegression(preset(data))
    network = task.network()
    values = np.array([[e["g1"], e["g2"]] for e in json.loads(data.read_text())])
    seen = np.concatenate([split(200, 0.25, 42)[name] for name in ("training", "validation")])
    assert network.config["low"] == pytest.approx(values[seen].min(0).tolist())
    assert network.config["high"] == pytest.approx(values[seen].max(0).tolist())
    sources = task.sources(tmp_path)
    assert [len(sources[name]) for name in ("training", "validation", "test")] == [135, 15, 50]
    card = train(preset(data), tmp_path / "mine", CPU)
    found = StampRegression.evaluate(card, 1000, 0).card.metrics
    # Round galaxies have the shape of their shear: it can be read off.
    spread = np.abs(values - values.mean(0)).mean()
    for name in ("g1", "g2"):
        metric = found[f"mean_absolute_error {name}"]
        assert metric["n"] == 50
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["value"] < 0.7 * spread
    assert set(found) >= {"mean_squared_error g1", "images_per_second"}
    limited = StampRegression.evaluate(card, 10, 0).card.metrics
    assert limited["mean_squared_error g1"]["n"] == 10
    with pytest.raises(NetworkError, match="does not say what it was trained on"):
        StampRegression.evaluate(dataclasses.replace(card, outputs={}), 10, 0)


def test_output_that_is_not_normalised(data):
    network = StampRegression(preset(data, normalize_output=False)).network()
    assert network.config["low"] == [0.0, 0.0] and network.config["high"] == [1.0, 1.0]


def test_any_numbers_can_be_classes(data):
    task = StampRegression(preset(data, classes=["psf_fwhm", "e1", "signal_to_noise"]))
    batch = task.sources(None)["training"].batch_from(np.arange(4), np.random.default_rng(0))
    assert batch.images.shape == (4, 1, 16, 16) and batch.values.shape == (4, 3)
    entries = json.loads(data.read_text())
    rows = split(200, 0.25, 42)["training"][:4]
    assert batch.values[:, 2].tolist() == pytest.approx(
        [entries[i]["signal_to_noise"] for i in rows]
    )
    assert torch.isfinite(task.loss(task.network(), batch))


def test_colours_are_three_channels(data):
    task = StampRegression(preset(data, mode="rgb"))
    batch = task.sources(None)["training"].batch_from(np.arange(2), np.random.default_rng(0))
    assert batch.images.shape == (2, 3, 16, 16)
    assert task.network()(batch.images).shape == (2, 2)
    assert task.card_fields()["inputs"]["channels"] == ["red", "green", "blue"]


def test_losses_are_what_they_are_called():
    error = torch.tensor([[0.0, -2.0], [1.0, 0.5]], dtype=torch.double)
    expected = {
        "mean_squared_error": 5.25 / 4,
        "mean_absolute_error": 3.5 / 4,
        "root_mean_squared_error": np.sqrt(5.25 / 4),
        "huber": (0.0 + 1.5 + 0.5 + 0.125) / 4,
        "log_cosh": np.log(np.cosh([0.0, 2.0, 1.0, 0.5])).mean(),
    }
    assert set(LOSSES) == set(expected)
    for name, value in expected.items():
        assert float(LOSSES[name](error)) == pytest.approx(value), name


def test_intervals_of_errors():
    rng = np.random.default_rng(0)
    error = torch.from_numpy(rng.normal(0.0, 0.1, 400))
    found = errors_of(error, "root_mean_squared_error")
    assert found["low"] < 0.1 < found["high"]
    # Of 400 normal numbers, the RMS is known to 1 / sqrt(800).
    assert found["high"] - found["low"] == pytest.approx(4.0 * 0.1 / np.sqrt(800.0), rel=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": []}, "classes must be different keys"),
        ({"classes": ["g1", "g1"]}, "classes must be different keys"),
        ({"classes": "g1"}, "classes must be a list of names"),
        ({"metrics": ["speed"]}, "no loss or metric 'speed'"),
        ({"loss_function": "hinge"}, "no loss or metric 'hinge'"),
        ({"mode": "cmyk"}, "mode must be grayscale or rgb"),
        ({"test_ratio": 1.5}, "test_ratio must be above 0 and below 1"),
        ({"image_height": 4}, "image_height must be a whole number from 8"),
        ({"random_state": -1}, "random_state must be a whole number from 0"),
        ({"normalize_output": 1}, "normalize_output must be true or false"),
    ],
)
def test_data_that_mean_nothing(options, message):
    with pytest.raises(OptionError, match=message):
        StampData(file="data.json", **options)


def test_unknown_entries_are_named(data):
    with pytest.raises(OptionError, match=r"data: .*stars.*known: file, classes"):
        StampRegression(preset(data, stars=1))
    with pytest.raises(OptionError, match=r"network: .*depths"):
        task = StampRegression(dataclasses.replace(preset(data), network={"depths": 1}))
        task.network()


def test_sets_that_cannot_be_learned(data, tmp_path):
    with pytest.raises(StampProblems, match="16 x 16 pixels, not 24 x 16"):
        StampRegression(preset(data, image_height=24)).network()
    with pytest.raises(OptionError, match="pixel_scale is the same for all images"):
        StampRegression(preset(data, classes=["pixel_scale"])).network()
    with pytest.raises(StampProblems, match="no such file"):
        StampRegression(preset(tmp_path / "none.json")).network()
