"""Presets: what is wrong with one is said at once, in one line."""

import json

import pytest
import yaml

from autolens_ml.exceptions import OptionError
from autolens_ml.training.preset import (
    Preset,
    TrainingOptions,
    preset_from,
    presets,
)
from tests.training.small import preset

GIVEN = preset().as_dict()


def assert_refused(match, call, *arguments, error=OptionError):
    with pytest.raises(error, match=match) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", presets())
def test_shipped_presets(name):
    shipped = preset_from(name)
    assert shipped.name == name
    assert Preset.from_dict(json.loads(json.dumps(shipped.as_dict()))) == shipped


def test_from_yaml(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GIVEN))
    assert preset_from(file) == preset()


def test_changed():
    changed = preset().changed(n_steps=7, seed=0)
    assert (changed.training.n_steps, changed.seed) == (7, 0)
    assert changed.changed(n_steps=20, n_training=64, seed=1) == preset().changed() == preset()
    assert_refused("n_training must be a whole number", preset().changed, None, 0)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("euclid-sei", "'euclid-sei'.*did you mean euclid-sie"),
        ("no-such-thing", "choose one of .*euclid-sie.*YAML"),
        ("missing.yaml", "no preset file missing.yaml"),
    ],
)
def test_unknown_presets(name, match):
    assert_refused(match, preset_from, name)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a: [1", "not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"- a\n- b", "needs entries"),
        (b"", "needs entries"),
        (b"name: x", "needs description, task, data"),
    ],
)
def test_bad_files(content, match, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert_refused(f"bad.yaml.*{match}", preset_from, file)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tragets": []}, "unknown tragets; known: data, description"),
        ({"name": 3}, "name must be text, not 3"),
        ({"description": ""}, "description must be text"),
        ({"data": "euclid"}, "data must be a mapping"),
        ({"task": ["lens-parameters"]}, "task must be text"),
        ({"network": ["mixture"]}, "network must be a mapping"),
        ({"training": [1]}, "training: needs a mapping"),
        ({"training": {"steps": 1}}, "training: unknown steps; known: .*n_steps"),
        ({"seed": -1}, "seed must be a whole number >= 0, not -1"),
        ({"seed": True}, "seed must be a whole number"),
        ({"initial": ["euclid-sie"]}, "initial must name a network"),
    ],
)
def test_bad_entries(changes, match):
    assert_refused(match, Preset.from_dict, {**GIVEN, **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_training", 0),
        ("n_training", 100.0),
        ("n_cycles", 0),
        ("n_cycles", 12_001),  # more than steps
        ("batch_size", True),
        ("patience", 0),
        ("validate_every", -5),
        ("learning_rate", "1e-3"),  # as YAML reads it
        ("learning_rate", -1e-3),
        ("weight_decay", float("nan")),
        ("gradient_clip", None),
        ("ema_decay", 1.1),
        ("warm_up", 2),
    ],
)
def test_bad_training_options(name, value):
    assert_refused(
        f"training: {name} must be ", Preset.from_dict, {**GIVEN, "training": {name: value}}
    )


def test_training_options_are_numbers_of_their_kind():
    assert TrainingOptions(weight_decay=0, warm_up=1, ema_decay=0.0).weight_decay == 0
