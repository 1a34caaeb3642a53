"""Diagnostics of posterior estimators, on posteriors whose faults are known."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from autolens_ml.exceptions import DataError
from autolens_ml.training.calibration import (
    LEVELS,
    SIGNIFICANCE,
    accuracy_from,
    calibration_from,
    ellipsoid_coverage,
    marginal_coverage,
    n_rank_bins,
    tarp_coverage,
    uniformity_from,
    unit_ranks,
)

NOISE = 0.5


def conjugate(
    *,
    n_lenses=600,
    n_draws=200,
    n_parameters=2,
    width=1.0,
    shift=0.0,
    correlation=(0.0, 0.0),
    seed=0,
):
    """Draws of a Gaussian model's posterior, and truths from its prior.

    Every parameter has the prior N(0, 1) and one datum of noise ``NOISE``. The posterior has
    ``width`` times the right errors and lies ``shift`` of them too high; ``correlation`` is that of
    the right posterior, and that of the draws.
    """
    rng = np.random.default_rng([17, seed])
    error = NOISE / np.hypot(1.0, NOISE)
    right, drawn = (
        np.linalg.cholesky(np.full((n_parameters,) * 2, c) + (1.0 - c) * np.eye(n_parameters))
        for c in correlation
    )
    # Marginally the prior: posterior means have what is left of its variance.
    means = np.sqrt(1.0 - error**2) * rng.standard_normal((n_lenses, n_parameters))
    truths = means + error * rng.standard_normal((n_lenses, n_parameters)) @ right.T
    noise = rng.standard_normal((n_lenses, n_draws, n_parameters)) @ drawn.T
    return (means + shift * error)[:, None] + width * error * noise, truths


def calibration_of(samples, truths):
    return calibration_from(samples, truths, [f"p{j}" for j in range(truths.shape[1])])


def assert_uniform(p_values):
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


# Right posteriors


@pytest.mark.parametrize("n_draws", [2, 10, 300])
@pytest.mark.parametrize("n_parameters", [1, 6])
def test_right_posteriors_are_calibrated(n_draws, n_parameters):
    calibration = calibration_of(*conjugate(n_draws=n_draws, n_parameters=n_parameters))
    assert set(calibration.verdicts.values()) == {"calibrated"}
    assert calibration.joint_verdict == "calibrated"
    assert "No fault in p0" in calibration.verdict


def test_right_posteriors_are_rarely_blamed():
    """Every p-value is uniform, so the chance of any false alarm is the one that is stated."""
    single, joint, blamed = [], [], 0
    for seed in range(300):
        samples, truths = conjugate(n_lenses=100, n_draws=30, seed=seed)
        tests = uniformity_from(unit_ranks(samples, truths, seed))
        single.append([tests.p_shift, tests.p_narrow, tests.p_wide, tests.p_uniform])
        regions = tarp_coverage(samples, truths, seed), ellipsoid_coverage(samples, truths, seed)
        joint.append([[region.p_area, region.p_deviation] for region in regions])
        smallest = min(np.min(single[-1]), np.min(joint[-1]))
        blamed += smallest < SIGNIFICANCE / (4 * 2 + 4)
    for column in np.reshape(single, (300, -1)).T[:6]:
        assert_uniform(column)
    for column in np.reshape(joint, (300, -1)).T:
        assert_uniform(column)
    # The chi-squared of 100 lenses in five bins takes few values, but the right share of them.
    assert np.mean(np.array(single)[:, 3] < 0.05) == pytest.approx(0.05, abs=0.03)
    assert blamed <= stats.binom.isf(1e-3, 300, SIGNIFICANCE)


@pytest.mark.parametrize("n_draws", [2, 7, 400])
def test_coverage_of_right_posteriors_is_nominal(n_draws):
    """Also where no two of the draws are a 99.7 per cent interval apart."""
    samples, truths = conjugate(n_lenses=4000, n_draws=n_draws, seed=n_draws)
    levels = np.array([0.1, 0.5, *LEVELS])[:, None]
    coverage = marginal_coverage(unit_ranks(samples, truths), levels.ravel())
    error = np.sqrt(levels * (1.0 - levels) / len(truths))
    assert np.all(np.abs(coverage.value - levels) < 4.0 * error)


@pytest.mark.parametrize("n_draws", [3, 60])
def test_ellipsoids_are_exact_for_posteriors_of_any_shape(n_draws):
    """Ranks under curved, skewed posteriors of six parameters, with fewer draws than those too."""
    rng = np.random.default_rng(n_draws)
    p_values = []
    for seed in range(150):
        points = rng.standard_normal((80, n_draws + 1, 6))
        points[..., 1] += points[..., 0] ** 2
        points[..., 2] = np.exp(points[..., 2] + points[..., 0])
        p_values.append(ellipsoid_coverage(points[:, 1:], points[:, 0], seed).p_deviation)
    assert_uniform(p_values)


def test_ellipsoids_are_blind_with_no_more_draws_than_parameters():
    """All distances are then the same: rounding errors must not pass for a measurement."""
    right = ellipsoid_coverage(*conjugate(n_draws=3, n_parameters=6))
    wrong = ellipsoid_coverage(*conjugate(n_draws=3, n_parameters=6, shift=20.0))
    assert np.array_equal(wrong.expected.value, right.expected.value)


# Wrong posteriors


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"width": 0.7}, "overconfident"),
        ({"width": 0.05}, "overconfident"),
        ({"width": 1.4}, "underconfident"),
        ({"width": 20.0}, "underconfident"),
        ({"shift": 0.3}, "biased"),
        ({"shift": -0.3}, "biased"),
        ({"shift": 20.0}, "biased"),
        ({"shift": 0.5, "width": 0.6}, "biased and overconfident"),
        ({"shift": 0.4, "width": 2.0}, "biased and underconfident"),
    ],
)
def test_faults_are_called_by_their_names(fault, word):
    calibration = calibration_of(*conjugate(**fault))
    assert calibration.verdicts == {"p0": word, "p1": word}
    assert f"p1 is {word}: " in calibration.verdict
    assert "No fault" not in calibration.verdict


def test_one_wrong_parameter_does_not_blame_the_others():
    samples, truths = conjugate(n_parameters=5)
    samples[:, :, 3] = conjugate(n_parameters=5, width=0.6)[0][:, :, 3]
    verdicts = calibration_of(samples, truths).verdicts
    assert verdicts.pop("p3") == "overconfident"
    assert set(verdicts.values()) == {"calibrated"}


def test_misshapen_posterior():
    """Truths on two sides of a posterior that has one hill, with its mean and its variance."""
    rng = np.random.default_rng(3)
    samples = rng.standard_normal((600, 200, 1))
    truths = 0.95 * rng.choice([-1.0, 1.0], (600, 1)) + 0.3 * rng.standard_normal((600, 1))
    calibration = calibration_of(samples, truths)
    assert calibration.verdicts == {"p0": "misshapen"}
    assert "p0 is misshapen: its ranks are not uniform" in calibration.verdict


def test_direction_of_a_bias():
    samples, truths = conjugate(shift=0.5)
    calibration = calibration_of(samples, truths)
    assert np.all(calibration.uniformity.shift < -0.3)
    assert np.all(calibration.accuracy.bias.low > 0.0)
    exceeding = np.mean(calibration.ranks[:, 0] > 0.5)
    assert exceeding < 0.4
    assert f"{exceeding:.0%} of the truths exceed its median" in calibration.verdict


@pytest.mark.parametrize(("width", "rel"), [(0.5, 0.2), (0.8, 0.04), (1.0, 0.04), (1.3, 0.04)])
def test_spread_is_by_how_much_the_errors_are_wrong(width, rel):
    """Nearly: among 200 draws no score is far beyond three, which takes from a large spread."""
    samples, truths = conjugate(n_lenses=4000, width=width)
    spread = uniformity_from(unit_ranks(samples, truths)).spread
    assert spread == pytest.approx(np.full(2, 1.0 / width), rel=rel)
    assert np.all(spread < 1.0 / width + 0.04)


def test_stated_scatter_would_have_been_noticed():
    """In nine of ten sets of lenses."""
    calibration = calibration_of(*conjugate(n_lenses=300))
    (size,) = re.findall(r"where 300 lenses would show a scatter (\d+)% above", calibration.verdict)
    scores = (1.0 + int(size) / 100) * np.random.default_rng(6).standard_normal((300, 500))
    noticed = uniformity_from(stats.norm.cdf(scores)).p_narrow < calibration.threshold
    assert 0.85 < np.mean(noticed) < 0.98


@pytest.mark.parametrize(
    ("width", "word"), [(0.7, "overconfident"), (1.4, "underconfident"), (1.0, "calibrated")]
)
def test_joint_verdict(width, word):
    samples, truths = conjugate(n_parameters=6, width=width)
    calibration = calibration_of(samples, truths)
    assert calibration.joint_verdict == word
    assert f"All parameters together are {word}" in calibration.verdict
    if width != 1.0:
        sign = np.sign(width - 1.0)
        assert np.sign([calibration.tarp.area, calibration.ellipsoids.area]).tolist() == [sign] * 2


@pytest.mark.parametrize(
    ("correlation", "word"), [((0.9, 0.0), "misshapen"), ((0.0, 0.9), "overconfident")]
)
def test_wrong_correlations_are_seen_jointly_only(correlation, word):
    """Both joint tests notice strong correlations that are missing, or that are made up."""
    samples, truths = conjugate(n_lenses=2000, n_parameters=4, correlation=correlation)
    calibration = calibration_of(samples, truths)
    assert set(calibration.verdicts.values()) == {"calibrated"}
    assert calibration.joint_verdict == word
    assert calibration.tarp.p_value < calibration.threshold
    assert calibration.ellipsoids.p_value < 1e-30


@pytest.mark.parametrize("correlation", [(0.5, 0.0), (0.0, 0.5)])
def test_ellipsoids_see_correlations_that_random_points_do_not(correlation):
    samples, truths = conjugate(n_lenses=1000, n_parameters=4, correlation=correlation)
    assert tarp_coverage(samples, truths).p_value > 0.01
    assert ellipsoid_coverage(samples, truths).p_value < 1e-3


def test_random_points_see_a_forgotten_prior():
    """Draws of the likelihood alone: no rank of a parameter or an ellipsoid tells."""
    rng = np.random.default_rng(5)
    truths = rng.standard_normal((600, 3))
    data = truths + rng.standard_normal(truths.shape)
    samples = data[:, None] + rng.standard_normal((600, 200, 3))
    calibration = calibration_of(samples, truths)
    assert set(calibration.verdicts.values()) == {"calibrated"}
    assert calibration.ellipsoids.p_value > 0.01
    assert calibration.tarp.p_value < 1e-6
    assert calibration.joint_verdict != "calibrated"


# Ranks


def test_ranks_by_hand():
    samples = np.array([[[3.0], [1.0], [2.0]]] * 4)
    truths = np.array([[0.0], [1.5], [2.5], [9.0]])
    u = unit_ranks(samples, truths)
    assert np.floor(4 * u).ravel().tolist() == [0, 1, 2, 3]


def test_ranks_do_not_change_with_the_parametrisation():
    samples, truths = conjugate()
    assert np.array_equal(unit_ranks(np.exp(samples), np.exp(truths)), unit_ranks(samples, truths))


@pytest.mark.parametrize("n_values", [1, 3])
def test_ties_are_broken_at_random(n_values):
    """A parameter with few values, or one, has uniform ranks if its posterior is right."""
    rng = np.random.default_rng(n_values)
    points = rng.integers(n_values, size=(3000, 11, 1))
    u = unit_ranks(points[:, 1:], points[:, 0])
    assert_uniform(u.ravel())
    assert np.all((u > 0.0) & (u < 1.0))


def test_ranks_are_never_one():
    """Where rounding makes them so, their normal scores would be infinite."""

    class Edge(np.random.Generator):
        def random(self, size=None):
            return np.full(size, np.nextafter(1.0, 0.0))

    samples, truths = conjugate(n_lenses=10, n_draws=50, shift=-20.0)
    u = unit_ranks(samples, truths, Edge(np.random.PCG64()))
    assert u == pytest.approx(1.0)
    assert np.all(np.isfinite(stats.norm.ppf(u)))


def test_bins_hold_some_twenty_lenses():
    assert [n_rank_bins(n) for n in (2, 59, 60, 200, 400, 10**6)] == [2, 2, 3, 10, 20, 20]


# Coverage, accuracy and the curve of joint coverage


@pytest.mark.parametrize("n_inside", [0, 1, 25, 39, 40])
def test_coverage_and_its_interval_by_hand(n_inside):
    ranks = np.where(np.arange(40) < n_inside, 0.3, 0.99)[:, None]
    coverage = marginal_coverage(ranks, [0.683])
    expected = stats.binomtest(n_inside, 40).proportion_ci(0.95, method="exact")
    assert coverage.value[0, 0] == n_inside / 40
    assert (coverage.low[0, 0], coverage.high[0, 0]) == pytest.approx(tuple(expected), abs=1e-12)


def test_coverage_grows_with_the_level():
    ranks = unit_ranks(*conjugate(width=0.7))
    curve = marginal_coverage(ranks, np.linspace(0.0, 1.0, 101)).value
    assert np.all(np.diff(curve, axis=0) >= 0.0)
    assert curve[0].tolist() == [0.0, 0.0]
    assert curve[-1].tolist() == [1.0, 1.0]


def test_accuracy_by_hand():
    errors = np.array([[-3.0], [1.0], [0.0], [4.0]])
    accuracy = accuracy_from(errors + 10.0, np.full((4, 1), 10.0))
    assert accuracy.rms.value == pytest.approx(np.sqrt(26.0 / 4.0))
    assert accuracy.bias.value == pytest.approx(0.5)
    assert accuracy.bias_error == pytest.approx(np.std(errors, ddof=1) / 2.0)
    assert accuracy.quantile_68.value == pytest.approx(np.quantile([0.0, 1.0, 3.0, 4.0], 0.683))


def test_intervals_of_the_accuracy_hold_what_they_measure():
    """Nineteen of twenty bootstrap intervals, over repeats with errors N(0.2, 1)."""
    rng = np.random.default_rng(9)
    errors = 0.2 + rng.standard_normal((150, 400))  # 400 repeats as parameters
    accuracy = accuracy_from(errors, np.zeros_like(errors), n_bootstrap=300)
    absolute = stats.foldnorm(0.2)
    known = {"rms": np.sqrt(1.04), "quantile_68": absolute.ppf(LEVELS[0]), "bias": 0.2}
    for key, value in known.items():
        measured = getattr(accuracy, key)
        inside = np.mean((measured.low <= value) & (value <= measured.high))
        assert 0.9 < inside < 0.98, key
    width = accuracy.bias.high - accuracy.bias.low
    assert np.median(width / accuracy.bias_error) == pytest.approx(2 * 1.96, rel=0.05)


@pytest.mark.parametrize("coverage_of", [tarp_coverage, ellipsoid_coverage])
def test_curve_of_joint_coverage(coverage_of):
    samples, truths = conjugate(n_parameters=3, width=0.7)
    joint = coverage_of(samples, truths)
    curve = joint.expected
    for bound in (curve.low, curve.value, curve.high):
        assert (bound[0], bound[-1]) == (0.0, 1.0)
        assert np.all(np.diff(bound) >= 0.0)
    assert np.all((curve.low <= curve.value) & (curve.value <= curve.high))
    upper = joint.levels >= 0.5
    area = np.trapezoid((curve.value - joint.levels)[upper], joint.levels[upper])
    assert joint.area == pytest.approx(area, abs=5e-3)
    assert joint.deviation == pytest.approx(np.max(np.abs(curve.value - joint.levels)), abs=0.02)


@pytest.mark.parametrize("coverage_of", [tarp_coverage, ellipsoid_coverage])
def test_joint_coverage_does_not_depend_on_units(coverage_of):
    samples, truths = conjugate(n_parameters=3, correlation=(0.8, 0.8))
    units = 2.0 ** np.array([-30, 0, 20])
    scaled = coverage_of(samples * units, truths * units)
    plain = coverage_of(samples, truths)
    assert scaled.expected.value == pytest.approx(plain.expected.value, abs=1e-12)


@pytest.mark.parametrize("coverage_of", [tarp_coverage, ellipsoid_coverage])
def test_joint_coverage_with_a_parameter_that_never_varies(coverage_of):
    samples, truths = conjugate(n_parameters=3)
    samples[:, :, 1], truths[:, 1] = 0.7, 0.7
    assert coverage_of(samples, truths).p_value > 0.01


# The whole


def test_seed_fixes_every_number():
    samples, truths = conjugate(n_lenses=100)
    first, again, other = (
        calibration_from(samples, truths, ["a", "b"], seed=seed).as_dict() for seed in (1, 1, 2)
    )
    assert first == again
    assert first["parameters"]["a"]["rms"]["value"] == other["parameters"]["a"]["rms"]["value"]
    assert first["parameters"]["a"]["rms"]["low"] != other["parameters"]["a"]["rms"]["low"]
    assert first["joint"] != other["joint"]


def test_seed_may_be_a_generator_or_a_sequence():
    samples, truths = conjugate(n_lenses=50)
    expected = unit_ranks(samples, truths, 4)
    assert np.array_equal(unit_ranks(samples, truths, np.random.default_rng(4)), expected)
    assert np.array_equal(unit_ranks(samples, truths, np.random.SeedSequence(4)), expected)


def test_json_holds_what_was_measured():
    samples, truths = conjugate(n_lenses=300, width=0.6)
    calibration = calibration_from(samples, truths, ["theta_E", "q"])
    read = json.loads(json.dumps(calibration.as_dict(), allow_nan=False))
    assert read == calibration.as_dict()
    assert (read["n_lenses"], read["n_draws"]) == (300, 200)
    assert read["verdict"] == calibration.verdict
    q = read["parameters"]["q"]
    assert q["verdict"] == "overconfident"
    assert q["rms"]["low"] < q["rms"]["value"] < q["rms"]["high"]
    assert q["coverage"]["0.955"]["value"] == calibration.coverage.value[1, 1]
    assert q["p_narrow"] == calibration.uniformity.p_narrow[1]
    assert read["joint"]["tarp"]["expected"]["value"] == calibration.tarp.expected.value.tolist()


def test_credible_intervals_are_those_of_the_draws():
    samples, truths = conjugate(n_lenses=20, n_draws=999)
    calibration = calibration_of(samples, truths)
    assert np.array_equal(calibration.medians, np.median(samples, axis=1))
    for bound, shares in ((calibration.lower, 0.1585), (calibration.upper, 0.8415)):
        assert np.mean(samples < bound[:, None], axis=1) == pytest.approx(shares, abs=2e-3)


def test_inputs_are_left_as_they_are():
    samples, truths = conjugate(n_lenses=30)
    copies = samples.copy(), truths.copy()
    calibration_of(samples, truths)
    assert np.array_equal(samples, copies[0])
    assert np.array_equal(truths, copies[1])


def test_single_precision_and_integers():
    samples, truths = conjugate(n_lenses=200)
    single = calibration_of(samples.astype(np.float32), truths.astype(np.float32))
    assert single.ranks == pytest.approx(calibration_of(samples, truths).ranks, abs=1e-9)
    rng = np.random.default_rng(1)
    integers = rng.integers(40, size=(400, 60, 2))
    calibration = calibration_of(integers[:, 1:], integers[:, 0])
    assert set(calibration.verdicts.values()) == {"calibrated"}
    assert calibration.joint_verdict == "calibrated"


def with_nan(shape):
    values = np.zeros(shape)
    values[3] = np.nan
    return values


@pytest.mark.parametrize(
    ("samples", "truths", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 2)), r"samples: shape \(5, 2\); give \(n_lenses"),
        (np.zeros((5, 9, 2)), np.zeros((9, 2)), r"truths: shape \(9, 2\).*give \(5, 2\)"),
        (np.zeros((5, 9, 2)), np.zeros((5, 3)), r"truths: shape \(5, 3\).*give \(5, 2\)"),
        (np.zeros((5, 9, 2)), np.zeros(5), r"truths: shape \(5,\)"),
        (np.zeros((5, 1, 2)), np.zeros((5, 2)), "samples: 1 draws .*give at least 2"),
        (np.zeros((1, 9, 2)), np.zeros((1, 2)), "samples: 1 lenses .*give at least 2"),
        (np.zeros((5, 9, 0)), np.zeros((5, 0)), "samples: 0 parameters .*give at least 1"),
        (with_nan((5, 9, 2)), np.zeros((5, 2)), "samples: NaN or infinity at lens 3; leave"),
        (np.zeros((5, 9, 2)), with_nan((5, 2)), "truths: NaN or infinity at lens 3; leave"),
        (np.full((5, 9, 2), "a"), np.zeros((5, 2)), "samples: of type <U1; give"),
    ],
)
def test_bad_inputs(samples, truths, message):
    names = ["a", "b"][: truths.shape[-1]]
    for diagnose in (unit_ranks, tarp_coverage, ellipsoid_coverage):
        with pytest.raises(DataError, match=message):
            diagnose(samples, truths)
    with pytest.raises(DataError, match=message) as error:
        calibration_from(samples, truths, names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "a"]])
def test_bad_names(names):
    with pytest.raises(DataError, match=r"names: .* for 2 parameters; give one for each"):
        calibration_from(*conjugate(n_lenses=10, n_draws=5), names)


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        (np.zeros((5, 3)), r"estimates: shape \(5, 3\) with truths of shape \(5, 2\)"),
        (np.zeros((5, 9, 2)), "give both as"),
        (with_nan((5, 2)), "estimates: NaN or infinity at lens 3"),
    ],
)
def test_bad_estimates(estimates, message):
    with pytest.raises(DataError, match=message):
        accuracy_from(estimates, np.zeros((5, 2)))
