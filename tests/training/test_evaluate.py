"""Figures of merit of a stored network."""

import json

import numpy as np
import pytest

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.training.evaluate import evaluate, store
from autolens_ml.training.train import train
from tests.training.small import preset

N = 128


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return train(preset(), tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def evaluation(card):
    return evaluate(card, N, seed=3)


def test_what_is_measured(card, evaluation):
    names = set(evaluation.card.metrics)
    assert {"error_68_einstein_radius", "error_68_centre", "coverage_68.3"} <= names
    assert {f"error_68 {name}" for name in card.outputs["parameters"]} <= names
    radius = evaluation.card.metrics["error_68_einstein_radius"]
    assert radius["n"] == N
    assert radius["low"] <= radius["value"] <= radius["high"]
    assert radius["command"] == f"autolens-ml evaluate {card.name} --n {N} --seed 3"


def test_errors_are_those_of_the_medians(evaluation):
    calibration = evaluation.calibration
    i = calibration.names.index("galaxies.lens.mass.einstein_radius")
    errors = np.abs(calibration.medians[:, i] - calibration.truths[:, i])
    expected = np.quantile(errors, 0.683)
    value = evaluation.card.metrics["error_68 galaxies.lens.mass.einstein_radius"]["value"]
    assert value == pytest.approx(expected, rel=0.02)


def test_truths_are_of_the_population(evaluation):
    i = evaluation.calibration.names.index("galaxies.lens.mass.einstein_radius")
    radii = evaluation.calibration.truths[:, i]
    assert radii.min() >= 0.8
    assert radii.max() <= 1.6
    assert radii.std() == pytest.approx(0.8 / np.sqrt(12.0), rel=0.15)


def test_signal_to_noise_is_that_of_the_source(evaluation):
    signal = evaluation.arc_signal_to_noise
    assert signal.shape == (N,)
    assert np.all(signal > 0.0)
    assert 1.0 < np.median(signal) < 100.0


def test_same_seed_same_figures(card, evaluation):
    again = evaluate(card, N, seed=3)
    for name, metric in again.card.metrics.items():
        if name != "lenses_per_second":
            assert metric == evaluation.card.metrics[name]


def test_what_is_written(card, evaluation, tmp_path):
    files = store(evaluation, tmp_path / "figures")
    assert [file.suffix for file in files] == [".json"] + 4 * [".png"]
    assert all(file.stat().st_size > 1000 for file in files)
    report = json.loads(files[0].read_text())
    assert report["network"] == card.name
    assert find_card(card.path).metrics == {}
    store(evaluation, tmp_path / "figures", with_card=True)
    assert find_card(card.path).metrics.keys() == evaluation.card.metrics.keys()


def test_a_card_without_population(card):
    outputs = {k: v for k, v in card.outputs.items() if k != "population"}
    without = type(card).from_dict({**card.as_dict(), "outputs": outputs}, card.folder)
    with pytest.raises(NetworkError, match="no population"):
        evaluate(without, N)
