"""The tasks of morphology: sets, observations, and a network from a preset to its figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.simulate.morphology.lensing import MACRO, STRING, LensImages
from autolens_ml.simulate.morphology.systems import CLASSES, MorphologyPopulation
from autolens_ml.training.detection import area_under_curve
from autolens_ml.training.morphology import TASK, Morphology
from autolens_ml.training.morphology_accuracy import (
    ClassScores,
    bootstrapped,
    curve_against,
    dependences,
    detected_share,
    observed_batches,
    separation,
)
from autolens_ml.training.morphology_set import (
    MorphologySource,
    stored_systems,
    turned_columns,
)
from autolens_ml.training.preset import Preset, preset_from, presets
from autolens_ml.training.task import task_of
from autolens_ml.training.train import Hardware, train
from tests.morphologies import CHANGES, small_setting, small_systems, stored_classifier

SMALL = {
    "name": "small",
    "description": "For tests.",
    "task": TASK,
    "data": {"setting": {"name": "model-i", **CHANGES}},
    "network": {"sees": ["image"], "options": {"widths": [4]}},
    "training": {
        "n_training": 64,
        "n_validation": 64,
        "n_steps": 2,
        "batch_size": 4,
        "validate_every": 2,
    },
}


def preset(**changes):
    values = json.loads(json.dumps(SMALL))
    for section, entries in changes.items():
        values[section] = values[section] | entries
    return Preset.from_dict(values)


@pytest.mark.parametrize("turn", range(8))
def test_parameters_turn_with_the_image(turn):
    population, systems = small_systems()
    row = int(np.flatnonzero(systems.kinds == 2)[0])
    one = systems[row : row + 1]
    source = MorphologySource(one, population, augment=False)
    turns = np.array([turn])
    macro = turned_columns(one.macro, MACRO, turns)
    string = turned_columns(one.strings[:, 0], STRING, turns)
    images = LensImages(population.setting.instrument)
    (made,) = images.images_from(macro, np.zeros((1, 0, 3)), string[:, None], one.psf_fwhm)
    expected = source.systems.images[0]
    expected = np.flip(expected, -1) if turn >= 4 else expected
    expected = np.rot90(expected, turn % 4)
    np.testing.assert_allclose(made / population.unit, expected, atol=2e-3 * expected.max())


def test_observations_have_the_noise_they_say():
    population, systems = small_systems()
    source = MorphologySource(systems, population, augment=False)
    rows = np.arange(len(systems))
    first, second = (source.batch_from(rows, np.random.default_rng(i)) for i in (0, 1))
    white = ((first.images - second.images) / (np.sqrt(2.0) * first.noise)).numpy()
    assert white.std() == pytest.approx(1.0, abs=0.01)
    dark = systems.images < 1e-3
    assert first.noise.numpy()[dark] == pytest.approx(1.0, abs=1e-3)
    peak = systems.images.max()
    expected = np.sqrt(1.0 + peak / (population.unit * population.exposure_time))
    assert float(first.noise.max()) == pytest.approx(expected, rel=1e-3)
    # A smooth fit leaves of lenses without substructure nothing but noise.
    smooth = first.residuals[first.labels == 0].numpy()
    assert stats.kstest(smooth.ravel()[::7], "norm").pvalue > 1e-3
    again = source.batch_from(rows, np.random.default_rng(0))
    torch.testing.assert_close(again.images, first.images)


def test_exposures_differ_in_training():
    population, systems = small_systems()
    source = MorphologySource(systems, population, augment=True)
    batch = source.batch_from(np.arange(len(systems)), np.random.default_rng(0))
    signal = batch.images.sum((1, 2)) / torch.from_numpy(systems.images.sum((1, 2)))
    low, high = population.setting.instrument.exposure_time
    # Where the sky is all the noise, signals are in units of the root of the time.
    assert signal.max() / signal.min() == pytest.approx(np.sqrt(high / low), rel=0.15)


def test_sets_are_kept(tmp_path):
    population = MorphologyPopulation(small_setting())
    first = stored_systems(population, 80, 4, tmp_path)
    calls = []
    again = stored_systems(population, 80, 4, tmp_path, lambda done, n: calls.append(done))
    assert not calls
    np.testing.assert_array_equal(first.images, again.images)
    assert first.images.dtype == np.float16 and len(first) == 80 and first.smooth is None
    other = MorphologyPopulation(small_setting(), {"no_sub": 1.0})
    assert (stored_systems(other, 80, 4, tmp_path).classes == 0).all()
    assert len(list(tmp_path.iterdir())) == 2
    next(tmp_path.glob("*/images.npy")).write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        for each in (population, other):
            stored_systems(each, 80, 4, tmp_path)


def test_shipped_presets_are_of_known_tasks():
    names = [name for name in presets() if name.startswith("morphology-")]
    assert {"morphology-i", "morphology-real", "morphology-resnet"} <= set(names)
    for name in names:
        task = task_of(preset_from(name))
        assert isinstance(task, Morphology)
        assert task.network().config["side"] == 64
    first, second = (preset_from(n) for n in ("morphology-i", "morphology-resnet"))
    assert first.data == second.data and first.training.n_training == second.training.n_training


def test_from_a_preset_to_figures(tmp_path):
    wanted = preset()
    card = train(wanted, tmp_path, Hardware(accelerator="cpu", devices=1))
    assert card.outputs["classes"] == list(CLASSES)
    assert float(task_of(wanted).network().temperature) == 1.0
    result = Morphology.evaluate(replace(card), 40, 3)
    figures = result.card.metrics
    assert 0.0 <= figures["auc_macro"]["low"] <= figures["auc_macro"]["value"] <= 1.0
    assert figures["auc_macro"]["n"] == 120
    assert figures["accuracy"]["command"].endswith("--n 40 --seed 3")
    assert {"tpr_1_percent_cdm", "wasserstein_vortex", "auc_no_sub"} <= set(figures)
    assert np.sum(result.report["confusion"]) == 120
    assert "macro AUC" in result.verdict
    for name, draw in result.plots.items():
        assert draw(tmp_path / f"{name}.png").stat().st_size > 5000


def test_residuals_tell_what_images_of_noise_do_not(tmp_path):
    # The sum of squared residuals alone separates what a network that sees them can.
    population, systems = small_systems()
    batch = MorphologySource(systems, population, augment=False).batch_from(
        np.arange(len(systems)), np.random.default_rng(0)
    )
    score = batch.residuals.square().mean((1, 2)).numpy()
    assert area_under_curve(score, systems.classes > 0) > 0.8
    assert area_under_curve(batch.images.mean((1, 2)).numpy(), systems.classes > 0) < 0.75


def test_a_card_without_a_setting_is_refused(tmp_path):
    card = stored_classifier(tmp_path)
    without = replace(card, outputs={})
    with pytest.raises(NetworkError, match="names no setting"):
        Morphology.evaluate(without, 4, 0)
    assert find_card(tmp_path / "classifier.json").name == "classifier"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"colour": 1}}, "unknown colour"),
        ({"data": {"setting": "model-x"}}, "no setting 'model-x'"),
        ({"data": {"setting": 3}}, "must be a name or a mapping"),
        ({"data": {"changes": [1]}}, "must be a mapping"),
        ({"network": {"depth": 3}}, "depth"),
        ({"data": {"changes": {"instrument": {"shape": [32, 48]}}}}, "must be square"),
    ],
)
def test_refused_presets(changes, words):
    with pytest.raises(OptionError, match=words):
        task_of(preset(**changes)).network()


def scores(n=600, seed=0, separated=3.0):
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 3
    logits = rng.standard_normal((n, 3))
    logits[np.arange(n), classes] += separated
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mass = np.where(classes > 0, 10.0 ** rng.uniform(9.0, 11.0, n), 0.0)
    return ClassScores(p, classes, mass, rng.uniform(10.0, 40.0, n))


def test_figures_of_known_classifiers():
    perfect = scores(separated=50.0)
    assert perfect.macro_area()["value"] == 1.0
    assert np.trace(perfect.confusion()) == 600
    chance = scores(separated=0.0).macro_area()
    assert chance["low"] < 0.5 < chance["high"]
    good = scores()
    expected = stats.norm.cdf(0.0)
    assert good.area("cdm")["low"] < good.area("cdm")["value"] < good.area("cdm")["high"]
    assert good.area("cdm")["value"] > expected


def test_detected_share_and_separation():
    rng = np.random.default_rng(0)
    is_anomalous = np.arange(20_000) % 2 == 1
    score = rng.standard_normal(20_000) + 3.0 * is_anomalous
    # 1 % of ordinary ones are above 2.326.
    expected = stats.norm.sf(2.326 - 3.0)
    assert detected_share(score, is_anomalous) == pytest.approx(expected, abs=0.03)
    # Shifted normal distributions are as far apart as they are shifted.
    assert separation(score, is_anomalous) == pytest.approx(3.0, abs=0.05)
    interval = bootstrapped(detected_share, score[:2000], is_anomalous[:2000])
    assert interval["low"] < interval["value"] < interval["high"]


def test_curves_follow_what_they_depend_on():
    rng = np.random.default_rng(1)
    x = rng.uniform(0.0, 1.0, 6000)
    found = (rng.random(6000) < x).astype(float)
    curve = curve_against(x, found)
    np.testing.assert_allclose(curve.value, curve.x, atol=0.06)
    assert np.all((curve.low <= curve.value) & (curve.value <= curve.high))
    assert curve.n.sum() == 6000
    known = dependences(scores())
    assert set(known) == {
        f"{name} by {what}" for name in ("cdm", "vortex") for what in ("mass", "signal-to-noise")
    }


def test_test_lenses_are_their_own():
    population = MorphologyPopulation(small_setting())
    made = observed_batches(population, 70, 1)
    assert [len(s) for s, _ in made] == [64, 6]
    (training,) = population.batches(64, 1)
    assert not np.array_equal(made[0][0].macro, training.macro)
