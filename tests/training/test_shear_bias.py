"""Biases of estimates whose biases are known."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.shear import StampRegressor
from autolens_ml.training.shear_bias import (
    Changes,
    Measured,
    PairedSample,
    estimator_of,
    paired_sample,
)
from tests.training.shears import POPULATION, MomentNetwork

TRUTH = {"m_1": 0.03, "m_2": -0.02, "c_1": 2e-3, "c_2": -1e-3, "alpha": 0.05}


def changes(n, rng, slope, offset):
    """Estimates that respond by ``slope`` (of each component), with weights that vary."""
    component = np.arange(n) % 2
    weight = rng.uniform(1.0, 3.0, n)
    # Brighter galaxies weigh more and respond alike: a mean without weights has the same slope.
    estimates = rng.normal(0.0, 0.1, (n, 2)) + offset
    return Changes(
        component=component,
        change=weight * (np.asarray(slope)[component] + rng.normal(0.0, 0.3, n)),
        weight=weight,
        offset=weight[:, None] * estimates,
        square=weight**2 * 0.09,
        signal_to_noise=rng.uniform(10.0, 200.0, n),
        radius=rng.uniform(0.6, 5.0, n),
        kind=rng.integers(0, 3, n),
    )


def sample(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    slope = (1.0 + TRUTH["m_1"], 1.0 + TRUTH["m_2"])
    shear = changes(n, rng, slope, np.array([TRUTH["c_1"], TRUTH["c_2"]]))
    return PairedSample(shear, changes(n, rng, (TRUTH["alpha"], TRUTH["alpha"]), np.zeros(2)))


def test_known_biases_are_found_within_their_errors():
    pulls = {name: [] for name in TRUTH}
    for seed in range(60):
        bias = sample(1000, seed).bias()
        for name, truth in TRUTH.items():
            measured = getattr(bias, name)
            pulls[name].append((measured.value - truth) / measured.error)
    for name, values in pulls.items():
        assert abs(np.mean(values)) < 4.0 / np.sqrt(len(values)), name
        # 60 draws know a standard deviation to 9 per cent.
        assert 0.65 < np.std(values) < 1.4, name


def test_numbers_that_are_sums_of_others():
    bias = sample().bias()
    assert bias.n == 4000
    assert bias.m.value == pytest.approx(0.5 * (bias.m_1.value + bias.m_2.value), abs=2e-3)
    # Weights from 1 to 3 make a mean that is as good as one of 1 / (1 + 1/12) of the galaxies.
    assert bias.shape_noise == pytest.approx(0.3 * np.sqrt(13.0 / 12.0), rel=0.02)
    low_high = Measured(0.1, 0.01).as_dict()
    assert low_high == pytest.approx({"value": 0.1, "low": 0.0804, "high": 0.1196}, abs=1e-4)


def test_quality_is_1000_on_the_targets_of_great3():
    def exact(m, c):
        n = 400
        component = np.arange(n) % 2
        ones = np.ones(n)
        rest = {"square": ones, "signal_to_noise": ones, "radius": ones, "kind": np.zeros(n)}
        shear = Changes(component, ones * (1.0 + m), ones, np.full((n, 2), c), **rest)
        return PairedSample(shear, shear).bias().quality

    assert exact(2e-3, 2e-4) == pytest.approx(2000.0 * 1.232 / np.sqrt(5.0))
    assert exact(0.0, 0.0) == pytest.approx(2464.0)
    assert exact(-0.56, 0.0) < 10.0


def test_bins_share_the_galaxies():
    whole = sample()
    for by in ("signal_to_noise", "radius"):
        bins = whole.binned(by)
        values = getattr(whole.shear, by)
        assert sum(bias.n for _, _, bias in bins) == np.sum(
            (values >= bins[0][0]) & (values < bins[-1][1])
        )
        for low, high, bias in bins:
            assert bias.n == np.sum((values >= low) & (values < high))
    assert set(whole.by_kind()) == {"sersic", "bulge-disc", "cut-out"}
    assert whole.bright().shear.signal_to_noise.min() >= 20.0
    assert len(sample(100).binned("radius")) < 5  # bins of too few galaxies say nothing
    report = whole.as_dict()
    assert report["bright"]["m"]["low"] < report["bright"]["m"]["value"]
    assert report["kinds"]["sersic"]["n"] + report["kinds"]["cut-out"]["n"] < 4000


def test_too_few_galaxies():
    with pytest.raises(OptionError, match="3 galaxies are too few"):
        sample(3).bias()


def test_additive_and_multiplicative_bias_of_an_estimator():
    """Whatever an estimator adds or multiplies is what is found, weights or not."""
    network = MomentNetwork()

    def biased(stamps, psfs):
        shears, errors = network.shears(stamps, psfs)
        return 2.0 * shears + torch.tensor([0.03, -0.01]), errors

    plain, changed = (
        paired_sample(estimate, POPULATION, 200, 1).bias() for estimate in (network.shears, biased)
    )
    assert 1.0 + changed.m.value == pytest.approx(2.0 * (1.0 + plain.m.value), rel=1e-3)
    assert changed.c_1.value == pytest.approx(2.0 * plain.c_1.value + 0.03, abs=1e-4)
    assert changed.c_2.value == pytest.approx(2.0 * plain.c_2.value - 0.01, abs=1e-4)
    assert changed.alpha.value == pytest.approx(2.0 * plain.alpha.value, rel=1e-3)


def test_samples_depend_on_their_seed_alone():
    network = MomentNetwork()
    first, second, other = (
        paired_sample(network.shears, POPULATION, 40, seed).shear.change for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_naive_networks_estimate_what_they_were_taught():
    regressor = StampRegressor(["flux", "g2", "g1"], [0, -1, -1], [9, 1, 1], size=(32, 32)).eval()
    stamps = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    shears, errors = estimator_of(regressor)(stamps, stamps)
    assert torch.equal(shears, regressor(stamps)[:, [2, 1]])
    assert torch.equal(errors, torch.ones(3))
    with pytest.raises(OptionError, match="estimates no g2"):
        estimator_of(StampRegressor(["g1", "e2"], [0, 0], [1, 1], size=(32, 32)))
