"""Figures of merit of classifiers, against hand-made examples and known distributions."""

import numpy as np
import pytest
from scipy import stats

from autolens_ml.exceptions import DataError
from autolens_ml.training import detection
from autolens_ml.training.detection import (
    area_under_curve,
    calibration_error,
    detection_from,
    f_beta,
    reliability_from,
    roc_from,
    share_from,
    temperature_from,
    true_positives_before,
)

P = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
Y = np.array([1, 1, 0, 1, 0, 1, 0, 0], dtype=bool)


def gaussian(n, shift, seed=0):
    """Scores of two normal distributions of unit width, as well-calibrated probabilities."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2 == 1
    logit = shift * (rng.standard_normal(n) + shift * (y - 0.5))
    return 1.0 / (1.0 + np.exp(-logit)), y


def test_area_by_hand():
    # Of 16 pairs of a lens and a non-lens, 3 are the wrong way round.
    assert area_under_curve(P, Y) == pytest.approx(13 / 16)
    assert area_under_curve(np.full(8, 0.5), Y) == 0.5
    assert area_under_curve(1.0 - P, Y) == pytest.approx(3 / 16)


def test_area_of_two_normal_distributions():
    p, y = gaussian(40_000, 1.5)
    assert area_under_curve(p, y) == pytest.approx(stats.norm.cdf(1.5 / np.sqrt(2)), abs=0.005)
    false_rate, true_rate = roc_from(p, y)
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(area_under_curve(p, y))


def test_curve_by_hand():
    false_rate, true_rate = roc_from(P, Y)
    assert true_rate.tolist() == [0, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1]
    assert false_rate.tolist() == [0, 0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 1]
    # What has one probability is called together: no curve can be had by sorting ties.
    false_rate, true_rate = roc_from(np.full(8, 0.5), Y)
    assert false_rate.tolist() == true_rate.tolist() == [0, 1]


def test_f_scores_by_hand():
    # Above one half: 3 true, 1 false, 1 missed.
    assert f_beta(P, Y) == pytest.approx(0.75)
    precision, recall = 0.75, 0.75
    for b in (0.001, 1.0, 4.0):
        expected = (1 + b) * precision * recall / (b * precision + recall)
        assert f_beta(P, Y, b) == pytest.approx(expected)
    # Precision is 1 for the first two; at the first alone recall is less.
    best = f_beta(P, Y, 0.001, threshold=None)
    assert best == pytest.approx(1.001 * 0.5 / (0.001 + 0.5))
    assert f_beta(np.zeros(8), Y) == 0.0


def test_true_positives_before_false_ones():
    assert true_positives_before(P, Y, 1) == 0.5
    assert true_positives_before(P, Y, 2) == 0.75
    assert true_positives_before(P, Y, 3) == 1.0
    assert true_positives_before(P, Y, 10) == 1.0
    # A non-lens as probable as the best lens leaves none.
    assert true_positives_before(np.array([0.9, 0.9]), np.array([True, False]), 1) == 0.0


def test_figures_have_intervals_that_hold_the_truth():
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    held = []
    for seed in range(8):
        p, y = gaussian(400, 1.5, seed)
        figure = detection_from(p, y, seed).figures["auc"]
        assert figure["low"] < figure["value"] < figure["high"] and figure["n"] == 400
        held.append(figure["low"] <= truth <= figure["high"])
    assert sum(held) >= 6


def test_all_figures_are_there_and_the_same_for_the_same_seed():
    p, y = gaussian(400, 2.0)
    first, again = (detection_from(p, y, 1) for _ in range(2))
    assert set(first.figures) == set(detection.FIGURES)
    assert first.figures == again.figures
    for figure in first.figures.values():
        assert 0.0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1.0
    roc = first.roc
    assert np.all(roc.low <= roc.true_positive_rate + 1e-9)
    assert np.all(roc.high >= roc.true_positive_rate - 1e-9)
    assert roc.true_positive_rate[-1] == 1.0


def test_reliability_of_right_and_of_bold_probabilities():
    p, y = gaussian(20_000, 1.5)
    right = reliability_from(p, y)
    assert calibration_error(p, y) < 0.02
    assert np.mean((right.low <= right.predicted) & (right.predicted <= right.high)) > 0.7
    logit = np.log(p / (1.0 - p))
    bold = 1.0 / (1.0 + np.exp(-3.0 * logit))
    assert calibration_error(bold, y) > 0.05
    seen = reliability_from(bold, y)
    assert np.all((seen.observed - seen.predicted)[seen.predicted < 0.2] > 0.0)
    assert right.n.sum() == seen.n.sum() == 20_000


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperatures_are_found_again(temperature):
    p, y = gaussian(20_000, 1.5)
    logit = temperature * np.log(p / (1.0 - p))
    logits = np.stack([np.zeros_like(logit), logit], axis=1) + 7.0
    assert temperature_from(logits, y.astype(int)) == pytest.approx(temperature, rel=0.05)


def test_shares_have_exact_intervals():
    share = share_from(np.array([True] * 8 + [False] * 2))
    expected = stats.binomtest(8, 10).proportion_ci(0.95, "exact")
    assert (share["value"], share["n"]) == (0.8, 10)
    assert (share["low"], share["high"]) == pytest.approx((expected.low, expected.high))
    assert share_from(np.zeros(5, dtype=bool))["low"] == 0.0
    assert share_from(np.ones(5, dtype=bool))["high"] == 1.0


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        (P, Y[:4], "give"),
        (P, np.ones(8, dtype=bool), "both classes"),
        (np.append(P[:7], 1.2), Y, "between 0 and 1"),
        (np.append(P[:7], np.nan), Y, "between 0 and 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(p, y, words):
    for judge in (detection_from, roc_from):
        with pytest.raises(DataError, match=words):
            judge(p, y)
