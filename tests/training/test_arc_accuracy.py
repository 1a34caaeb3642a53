"""What a network for arcs is worth: errors as Ensai states them, and coverage."""

import json

import numpy as np
import pytest
import torch
from matplotlib import image as mpimg

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.networks.heads import GaussianMixture
from autolens_ml.simulate.ensai_conventions import ENSAI_PARAMETERS, isothermal_from_ensai
from autolens_ml.training import arc_accuracy
from autolens_ml.training.arc_accuracy import (
    _described,
    ensai_errors,
    measured,
    task_of_card,
)
from autolens_ml.training.arc_parameters import ArcBatch, ArcSource
from autolens_ml.training.evaluate import evaluate, store
from autolens_ml.training.train import train
from tests.training.arcs import SIDE, preset, small_arcs, untrained

N = 128


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_arcs():
        yield


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """Of a network trained for a moment."""
    return train(preset(), tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def evaluation(card):
    return evaluate(card, N, seed=3)


# Errors.


def lenses(n: int, seed: int = 1) -> np.ndarray:
    """Ensai's parameters of lenses, shape (n, 5)."""
    rng = np.random.default_rng(seed)
    e, turn = rng.uniform(0.0, 0.9, n), rng.uniform(0.0, 2.0 * np.pi, n)
    radius, centre = rng.uniform(0.1, 3.0, n), rng.uniform(-0.3, 0.3, (2, n))
    return np.stack((radius, e * np.cos(turn), e * np.sin(turn), *centre), axis=1)


def test_a_perfect_estimate_has_no_error():
    ensai = lenses(200)
    truths = isothermal_from_ensai(ensai)
    errors, true = ensai_errors(truths, truths)
    np.testing.assert_allclose(errors, 0.0, atol=1e-12)
    sign = np.where(ensai[:, 1] < 0.0, -1.0, 1.0)[:, None]
    np.testing.assert_allclose(true[:, 1:3], sign * ensai[:, 1:3], atol=1e-12)
    np.testing.assert_allclose(true[:, [0, 3, 4]], ensai[:, [0, 3, 4]], atol=1e-12)


def test_errors_are_those_of_ensais_parameters():
    ensai = lenses(200)
    ensai[:, 1] = np.abs(ensai[:, 1])
    offsets = np.array([0.02, 0.01, -0.02, 0.03, -0.04])
    errors, _ = ensai_errors(isothermal_from_ensai(ensai + offsets), isothermal_from_ensai(ensai))
    # Where e_x stays positive; elsewhere the other sign may be the nearer one.
    kept = ensai[:, 1] > 0.05
    np.testing.assert_allclose(errors[kept], np.repeat(offsets[None], kept.sum(), 0), atol=1e-9)


def test_signs_are_those_of_the_truth():
    """Minor axes at 89 and 91 degrees are two degrees apart."""
    turn = np.radians([89.0, 91.0])
    ensai = np.array([(1.0, 0.5 * np.cos(t), 0.5 * np.sin(t), 0.0, 0.0) for t in turn])
    estimates, truths = isothermal_from_ensai(ensai)[:, None]
    for pair in ((estimates, truths), (truths, estimates)):
        errors, _ = ensai_errors(*pair)
        np.testing.assert_allclose(np.abs(errors[0, 1:3]), [0.0175, 0.0], atol=1e-3)


def test_estimates_that_are_no_ellipse():
    """The prior of ``ell_comps`` is a square, with room outside of the disc."""
    truths = isothermal_from_ensai(np.array([[1.0, 0.6, 0.6, 0.0, 0.0]]))
    estimates = truths.copy()
    estimates[:, 2:4] *= 1.2 / np.hypot(*truths[0, 2:4])
    errors, true = ensai_errors(estimates, truths)
    np.testing.assert_allclose(np.hypot(*(errors + true)[0, 1:3]), 0.999, atol=1e-3)
    assert np.hypot(*estimates[0, 2:4]) == pytest.approx(1.2)


# What errors hang on.


def observed(signal: float, n: int) -> ArcBatch:
    ones = torch.ones(n, SIDE, SIDE)
    images = torch.zeros(n, SIDE, SIDE)
    images[:, 10, 20] = signal
    empty = torch.zeros(n, 5)
    return ArcBatch(images, ones, ones, torch.ones(n), empty, empty)


@pytest.mark.parametrize(("start", "stop"), [(0.0, 360.0), (20.0, 110.0), (-60.0, 60.0)])
def test_lengths_of_arcs(start, stop):
    y, x = 0.5 * (SIDE - 1) - np.indices((SIDE, SIDE))
    radius, angle = np.hypot(y, x), np.degrees(np.arctan2(y, -x))
    inside = (angle - start) % 360.0 < stop - start
    arcs = np.where((np.abs(radius - 15.0) < 2.0) & inside, 0.5, 0.04)
    signal, (length,) = _described(arcs[None], observed(30.0, 1))
    assert signal == [30.0]
    assert length == pytest.approx(stop - start, abs=10.0)


# A whole evaluation.


def test_what_is_measured(card, evaluation):
    metrics = evaluation.card.metrics
    names = [f"rms_{name}" for name in ENSAI_PARAMETERS]
    assert list(metrics)[:5] == names
    names += [f"error_68_{name}" for name in ENSAI_PARAMETERS]
    names += ["coverage_68.3", "coverage_95.5", "coverage_99.7", "images_per_second"]
    names += [f"width_68 {name}" for name in card.outputs["parameters"]]
    assert set(metrics) == set(names)
    for name, metric in metrics.items():
        assert metric["low"] <= metric["value"] <= metric["high"], name
        assert metric["n"] == N or name == "images_per_second"
        assert metric["command"] == f"autolens-ml evaluate {card.name} --n {N} --seed 3"
    assert evaluation.verdict and evaluation.as_dict()["n_lenses"] == N
    json.dumps(evaluation.as_dict())


def test_networks_for_surveys_are_measured_on_both(tmp_path):
    """On Ensai's images as any other, and on those with the effects of surveys."""
    plain = measured(untrained(tmp_path / "plain", "plain", 1), 64, seed=2).card.metrics
    survey = untrained(tmp_path / "survey", "survey", 1, data={"effects": "survey"})
    metrics = measured(survey, 64, seed=2).card.metrics
    both = set(plain) - {"images_per_second"}
    assert set(metrics) == set(plain) | {f"survey_{name}" for name in both}
    for name in both:
        assert metrics[name]["value"] == plain[name]["value"], name
        assert metrics[f"survey_{name}"]["n"] == metrics[name]["n"]
    rms = [f"rms_{name}" for name in ENSAI_PARAMETERS]
    assert any(metrics[name]["value"] != metrics[f"survey_{name}"]["value"] for name in rms)


def test_errors_are_those_of_the_medians(evaluation):
    calibration = evaluation.calibration
    errors, true = ensai_errors(calibration.medians, calibration.truths)
    np.testing.assert_array_equal(evaluation.errors, errors)
    np.testing.assert_array_equal(evaluation.einstein_radius, true[:, 0])
    rms = evaluation.card.metrics["rms_einstein_radius"]["value"]
    assert rms == pytest.approx(np.sqrt(np.mean(errors[:, 0] ** 2)))
    assert 0.1 <= true[:, 0].min() < true[:, 0].max() <= 3.0
    widths = 0.5 * (calibration.upper - calibration.lower)
    width = evaluation.card.metrics[f"width_68 {calibration.names[-1]}"]["value"]
    assert width == pytest.approx(np.median(widths[:, -1]), rel=1e-3)
    assert 0.0 < evaluation.arc_length.min() < evaluation.arc_length.max() <= 360.0
    assert 3.0 < np.median(evaluation.signal_to_noise) < 100.0


def test_same_seed_same_arcs_and_posteriors(card, evaluation):
    """And fresh arcs with another one, none of them from the training."""
    again = evaluate(card, 64, seed=3)
    for name in ("truths", "medians", "lower", "upper"):
        expected = getattr(evaluation.calibration, name)[:64]
        np.testing.assert_array_equal(getattr(again.calibration, name), expected)
    # Training has ten times the seed of its preset.
    other = evaluate(card, 64, seed=10 * card.training["seed"])
    trained = np.load(card.folder / "training" / "parameters.npy")
    for truths in (evaluation.calibration.truths, other.calibration.truths):
        assert not np.intersect1d(np.float32(truths[:, 4]), trained[:, 4]).size
    assert not np.intersect1d(evaluation.calibration.truths, other.calibration.truths).size


def test_figures_are_written(evaluation, tmp_path):
    files = store(evaluation, tmp_path)
    names = ["evaluation.json", "accuracy.png", "coverage.png", "sbc.png", "tarp.png", "trends.png"]
    assert [file.name for file in files] == names
    assert mpimg.imread(tmp_path / "trends.png").std() > 0.01


class Oracle(torch.nn.Module):
    """Posteriors of a given width, about means that scatter as much about the truth."""

    width = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.truths: torch.Tensor | None = None
        # Of its own: with the seed of the draws both would be the same numbers.
        self.generator = torch.Generator().manual_seed(12345)

    def forward(self, *inputs: torch.Tensor) -> GaussianMixture:
        n, d = self.truths.shape
        means = self.truths + self.width * torch.randn(n, d, generator=self.generator)
        roots = (torch.eye(d) / self.width).expand(n, 1, d, d)
        return GaussianMixture(torch.zeros(n, 1), means[:, None], roots)


@pytest.fixture
def oracle(monkeypatch):
    oracle, observe = Oracle(), ArcSource.batch_from

    def spied(self, rows, rng):
        batch = observe(self, rows, rng)
        oracle.truths = batch.latents
        return batch

    monkeypatch.setattr(ArcSource, "batch_from", spied)
    monkeypatch.setattr(arc_accuracy, "stored_network", lambda card: oracle)
    return oracle


def test_a_right_estimator_is_calibrated(card, oracle):
    accuracy = measured(card, 320, seed=1)
    metrics = accuracy.card.metrics
    for level, tolerance in ((68.3, 0.04), (95.5, 0.02), (99.7, 0.01)):
        assert metrics[f"coverage_{level:g}"]["value"] == pytest.approx(level / 100, abs=tolerance)
    assert set(accuracy.calibration.verdicts.values()) == {"calibrated"}
    oracle.width = 1e-6
    metrics = measured(card, 64, seed=1).card.metrics
    for name in ENSAI_PARAMETERS:
        assert metrics[f"rms_{name}"]["value"] < 1e-4


# Cards.


def test_the_task_of_a_card(card):
    task = task_of_card(card)
    assert task.space.names == tuple(card.outputs["parameters"])
    assert task.preset.data == {"galaxies": "clumpy"}


def changed(card, **outputs):
    return type(card).from_dict({**card.as_dict(), "outputs": outputs}, card.folder)


def test_a_card_that_does_not_say_what_it_is_for(card):
    outputs = {name: value for name, value in card.outputs.items() if name != "data"}
    with pytest.raises(NetworkError, match="does not say what it learned from: train it again"):
        evaluate(changed(card, **outputs), N)


def test_networks_without_errors_are_not_measured(tmp_path):
    card = untrained(tmp_path, "numbers", 1, data={"loss": "flip-invariant"})
    with pytest.raises(NetworkError, match="without errors: only networks trained with the loss"):
        evaluate(find_card(card.path), N)
