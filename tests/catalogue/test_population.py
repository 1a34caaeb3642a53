"""Populations: known hyperparameters come back, and their errors mean what they say."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace

import autofit as af
import numpy as np
import pytest
from scipy import stats

from autolens_ml.catalogue.population import _log_share, infer_population
from autolens_ml.catalogue.posteriors import LensSamples, samples_from
from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import DataError, OptionError

BOUNDS = (0.0, 3.0)


def truths(mean, width, n, rng, bounds=BOUNDS):
    a, b = ((bound - mean) / width for bound in bounds)
    return stats.truncnorm.rvs(a, b, mean, width, size=n, random_state=rng)


def measured(values, errors, rng, prior=None, n_samples=1000, bounds=BOUNDS):
    """Posteriors of values with Gaussian errors, under a prior that is uniform or a normal."""
    lenses = []
    for number, (value, error) in enumerate(zip(values, errors, strict=True)):
        seen = rng.normal(value, error)
        a, b = ((bound - seen) / error for bound in bounds)
        draws = stats.truncnorm.rvs(a, b, seen, error, size=n_samples, random_state=rng)
        log_prior = np.zeros(n_samples) if prior is None else prior.logpdf(draws)
        weights = np.exp(log_prior - log_prior.max())
        lenses.append(LensSamples(f"lens {number}", draws, weights, log_prior, bounds))
    return lenses


def test_hyperparameters_come_back_whatever_the_prior_of_the_fits():
    rng = np.random.default_rng(1)
    values = truths(1.2, 0.25, 300, rng)
    errors = rng.uniform(0.05, 0.3, size=300)
    pulled = stats.norm(2.0, 0.3)
    lenses = measured(values, errors, rng, pulled)

    found = infer_population(lenses)

    for (low, middle, high), truth in ((found.mean, 1.2), (found.width, 0.25)):
        assert low < middle < high
        assert abs(middle - truth) < 3.0 * 0.5 * (high - low)
        assert high - low < 0.06
    assert found.concerns == ()
    # Were the prior left in, the mean would be off by many times its error.
    left_in = [
        LensSamples(s.name, s.values, s.weights, np.zeros_like(s.values), s.bounds) for s in lenses
    ]
    wrong = infer_population(left_in)
    assert wrong.mean[0] - 1.2 > 5.0 * (wrong.mean[2] - wrong.mean[0])


def test_exact_posteriors_have_the_exact_answer():
    """With Gaussian likelihoods of one width the marginal likelihood is known in closed form."""
    rng = np.random.default_rng(2)
    error, far = 0.1, (-50.0, 50.0)
    seen = rng.normal(1.5, 0.3, size=40)
    # Samples on quantiles, so that no chance of theirs is in the comparison.
    units = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    lenses = [
        LensSamples(f"{i}", s + error * units, np.ones(4000), np.zeros(4000), far)
        for i, s in enumerate(seen)
    ]
    found = infer_population(lenses, mean_range=(1.0, 2.0), width_range=(0.05, 1.0))
    means, widths = np.meshgrid(found.means, found.widths, indexing="ij")
    total = np.hypot(widths, error)
    log = stats.norm.logpdf(seen[:, None, None], means, total).sum(axis=0)
    exact = np.exp(log - log.max())
    exact /= exact.sum()
    assert np.abs(found.density - exact).sum() < 0.02
    draws = found.sample(4000, seed=3)
    np.testing.assert_allclose(draws.mean(axis=0)[0], found.mean[1], atol=0.01)
    np.testing.assert_allclose(np.quantile(draws[:, 1], 0.5), found.width[1], atol=0.01)


def test_errors_cover_the_truth_as_often_as_they_say():
    """Hyperparameters drawn of their own prior: 68.3 per cent of intervals hold them."""
    rng = np.random.default_rng(4)
    n, inside = 40, np.zeros(2)
    for _ in range(n):
        mean, width = rng.uniform(0.8, 2.2), rng.uniform(0.1, 0.6)
        values = truths(mean, width, 25, rng)
        lenses = measured(values, np.full(25, 0.15), rng, n_samples=300)
        found = infer_population(lenses, mean_range=(0.8, 2.2), width_range=(0.1, 0.6))
        inside += [
            low < truth < high
            for (low, _, high), truth in ((found.mean, mean), (found.width, width))
        ]
    low, high = stats.binom(n, 0.683).interval(0.999)
    assert (inside >= low).all(), inside
    assert (inside <= high).all(), inside


def test_masses_are_inferred_in_logarithms():
    rng = np.random.default_rng(5)
    bounds = (5.0, 11.0)
    logs = truths(8.0, 0.5, 150, rng, bounds)
    lenses = []
    for lens in measured(logs, np.full(150, 0.2), rng, bounds=bounds):
        # A fit of the mass itself with a uniform prior of it: log-uniform draws are weighed so.
        mass = 10.0**lens.values
        limits = tuple(10.0**b for b in bounds)
        weights = lens.weights * mass / mass.max()
        lenses.append(LensSamples(lens.name, mass, weights, np.zeros_like(mass), limits))
    found = infer_population(lenses, log=True)
    np.testing.assert_allclose(found.bounds, bounds)
    assert abs(found.mean[1] - 8.0) < 1.5 * (found.mean[2] - found.mean[0])
    assert abs(found.width[1] - 0.5) < 1.5 * (found.width[2] - found.width[0])


def test_the_share_within_limits_is_accurate_in_the_tails():
    means = np.array([-3.0, 0.0, 1.0, 8.0])
    expected = np.log(stats.norm.sf(0.0, means[:3], 0.5) - stats.norm.sf(3.0, means[:3], 0.5))
    np.testing.assert_allclose(_log_share(means, 0.5, BOUNDS)[:3], expected, rtol=1e-6)
    # Ten widths beyond the limit: the share is that of the tail.
    np.testing.assert_allclose(
        _log_share(means, 0.5, BOUNDS)[3], stats.norm.logcdf(3.0, 8.0, 0.5), rtol=1e-9
    )
    np.testing.assert_allclose(_log_share(means, 0.5, (-np.inf, np.inf)), 0.0, atol=1e-12)


def test_what_is_doubtful_is_said():
    rng = np.random.default_rng(6)
    values = truths(1.5, 0.02, 30, rng)
    few = measured(values, np.full(30, 0.8), rng, n_samples=12)
    found = infer_population(few)
    assert found.n_lenses == 30
    assert "have fewer than 10 samples where the population is" in found.concerns[0]
    assert str(found).startswith("30 lenses: mean ")
    assert "caution: " in str(found)
    assert found.as_dict()["bounds"] == list(BOUNDS)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda s: s[:1], {}, DataError, "1 lenses have no distribution; give at least two"),
        (
            lambda s: [s[0], LensSamples("other", s[1].values, s[1].weights, s[1].log_prior)],
            {},
            DataError,
            "other: prior between",
        ),
        (
            lambda s: [LensSamples(t.name, t.values - 3.0, t.weights, t.log_prior) for t in s],
            {"log": True},
            DataError,
            "values that are not positive have no logarithm",
        ),
        (lambda s: s, {"mean_range": (2.0, 1.0)}, OptionError, "mean between 2 and 1: give an"),
        (lambda s: s, {"width_range": (1.0, 0.5)}, OptionError, "width between 1 and 0.5"),
    ],
)
def test_what_cannot_be_inferred(change, options, error, message):
    rng = np.random.default_rng(7)
    lenses = measured(truths(1.2, 0.2, 5, rng), np.full(5, 0.1), rng, n_samples=50)
    with pytest.raises(error, match=message):
        infer_population(change(lenses), **options)


class Counted(Sequence):
    """Lenses that are made when they are asked for, and never two at a time."""

    def __init__(self, lenses):
        self.lenses, self.asked, self.alive = lenses, 0, weakref.WeakSet()

    def __len__(self):
        return len(self.lenses)

    def __getitem__(self, index):
        given = replace(self.lenses[index])
        self.asked += 1
        self.alive.add(given)
        assert len(self.alive) <= 2  # this one, and the one before until the name is bound anew
        return given


@pytest.mark.parametrize("log", [False, True])
def test_lenses_are_gone_through_one_at_a_time(log):
    rng = np.random.default_rng(8)
    lenses = measured(truths(1.2, 0.2, 20, rng), np.full(20, 0.1), rng, n_samples=200)
    counted = Counted(lenses)
    found, expected = infer_population(counted, log=log), infer_population(lenses, log=log)
    np.testing.assert_allclose(found.density, expected.density, rtol=1e-9)
    assert counted.asked == 40
    np.testing.assert_allclose(found.medians, [np.median(lens.values) for lens in lenses], rtol=0.1)
    # Of samples of equal weight, those that count under the population, without bins.
    best = np.unravel_index(np.argmax(found.density), found.density.shape)
    mean, width = found.means[best[0]], found.widths[best[1]]
    for lens, effective in zip(lenses, found.effective, strict=True):
        values = np.log10(lens.values) if log else lens.values
        # As a density of the logarithm, the prior is not flat.
        weights = stats.norm.pdf(values, mean, width) / (lens.values if log else 1.0)
        assert effective == pytest.approx(weights.sum() ** 2 / np.sum(weights**2), rel=0.02)


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        (np.empty(0), np.empty(0), "of shapes"),
        (np.ones(3), np.ones(2), "of shapes"),
        (np.array([1.0, np.nan]), np.ones(2), "not finite"),
        (np.ones(2), np.array([1.0, -1.0]), "weights must be positive"),
        (np.ones(2), np.zeros(2), "weights must be positive"),
    ],
)
def test_samples_that_mean_nothing(values, weights, message):
    with pytest.raises(DataError, match=message):
        LensSamples("lens", values, weights, np.zeros(len(values)))


@pytest.mark.parametrize(
    ("model", "samples"),
    [
        (None, "weight,radius\n1.0,0.5\n"),
        (b"[]", "weight,radius\n1.0,0.5\n"),
        ("own", "weight,other\n1.0,0.5\n"),
        ("own", "weight,radius\n1.0\n"),
        ("own", "weight,radius\n"),
        ("own", ""),
    ],
)
def test_damaged_output_is_named(tmp_path, model, samples):
    files = tmp_path / "lenses" / "a" / "files"
    files.mkdir(parents=True)
    known = {"name": "a", "key": "a", "status": "DONE", "reason": "", "values": {}}
    Records(tmp_path).write(known | {"output": "lenses/a"})
    (files / "samples.csv").write_text(samples)
    if model == "own":
        own = af.Collection(radius=af.UniformPrior(lower_limit=0.0, upper_limit=1.0))
        model = json.dumps(own.dict()).encode()
    if model is not None:
        (files / "model.json").write_bytes(model)
    with pytest.raises(DataError, match=r"a: output that cannot be read .*; fit it again"):
        samples_from(tmp_path, "radius")
