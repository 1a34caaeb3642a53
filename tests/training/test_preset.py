"""Presets: what is wrong with one is said at once, in one line."""

import json

import autofit as af
import autolens as al
import pytest
import yaml

from autolens_ml.exceptions import AutolensMLError, ModelError, OptionError
from autolens_ml.training.preset import (
    Preset,
    TrainingOptions,
    population_from,
    preset_from,
    presets,
)
from tests.training.small import INSTRUMENT, LENS, SOURCE, preset

GIVEN = preset().as_dict()
POPULATION = GIVEN["population"]


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
    assert changed.changed(n_steps=20, n_lenses=64, seed=1) == preset().changed() == preset()
    assert_refused("n_lenses must be a whole number", preset().changed, None, 0)


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
        (b"name: x", "needs description, population, targets"),
    ],
)
def test_bad_files(content, match, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert_refused(f"bad.yaml.*{match}", preset_from, file)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tragets": []}, "unknown tragets; known: description"),
        ({"name": 3}, "name must be text, not 3"),
        ({"description": ""}, "description must be text"),
        ({"population": "euclid"}, "population must be a mapping"),
        ({"targets": "galaxies.lens.mass"}, "targets must be a list of paths"),
        ({"targets": []}, "targets must be a list of paths"),
        ({"targets": [1]}, r"targets must be paths, not \[1\]"),
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
        ("n_lenses", 0),
        ("n_lenses", 100.0),
        ("batch_size", True),
        ("patience", 0),
        ("validate_every", -5),
        ("learning_rate", "1e-3"),  # as YAML reads it
        ("learning_rate", -1e-3),
        ("weight_decay", float("nan")),
        ("gradient_clip", None),
        ("mask_share", 1.5),
        ("ema_decay", 1.1),
        ("warm_up", 2),
        ("photon_spread", 0.5),
        ("resampled_share", 1.1),
    ],
)
def test_bad_training_options(name, value):
    assert_refused(
        f"training: {name} must be ", Preset.from_dict, {**GIVEN, "training": {name: value}}
    )


def test_training_options_are_numbers_of_their_kind():
    assert TrainingOptions(mask_share=0, warm_up=1, ema_decay=0.0).mask_share == 0


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"modle": {}}, "population: unknown modle; known: model"),
        ({"instrument": "hubble"}, "hubble"),
        ({"instrument": {**INSTRUMENT, "depth": 3}}, "depth"),
        ({"stamps": ["hubble-deep-field"]}, "stamps must be libraries by path"),
        ({"stamps": {"galaxies.source.bulge": "no-such-folder"}}, "no-such-folder"),
        ({"model": {"type": "model", "arguments": {}}}, "af.Model.dict"),
        ({"model": {"lens": {**LENS, "bulge": {"class": "al.lp.Sérsic"}}}}, "Sérsic"),
        ({"model": 3}, "galaxies"),
    ],
)
def test_bad_populations(changes, match):
    assert_refused(match, population_from, {**POPULATION, **changes}, error=AutolensMLError)


def test_populations_need_a_model_and_an_instrument():
    assert_refused("needs model, instrument", population_from, {})


def test_stored_models():
    """A preset may hold what ``af.Model.dict()`` gives; making it leaves it as it is."""
    light = af.Model(al.lp.SersicSph)
    mass = af.Model(al.mp.IsothermalSph, centre=light.centre)
    lens = af.Model(al.Galaxy, redshift=0.5, mass=mass, bulge=light)
    model = af.Collection(galaxies=af.Collection(lens=lens))
    given = {**POPULATION, "model": json.loads(json.dumps(model.dict()))}
    before = json.dumps(given)
    names = population_from(given).names
    assert json.dumps(given) == before
    assert population_from(given).names == names
    assert len(names) == model.prior_count == 6


def test_described_models():
    population = preset().make_population()
    assert population.noise_units and population.instrument.shape == (16, 16)
    assert set(population.model.galaxies.dict()["arguments"]) == {"lens", "source"}
    free = {**SOURCE, "redshift": {"uniform": [0.8, 1.2]}}
    with pytest.raises(ModelError, match="redshift"):
        population_from({**POPULATION, "model": {"lens": LENS, "source": free}})
