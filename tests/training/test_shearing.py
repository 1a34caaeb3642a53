"""The task of estimating shears, from preset to figures of merit, with the smallest networks."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import FORMAT, Card, save_network
from autolens_ml.networks.shear import ShearNetwork, StampRegressor
from autolens_ml.simulate.shear_population import POPULATIONS
from autolens_ml.training.preset import Preset, TrainingOptions, preset_from
from autolens_ml.training.shear_bias import Measured, ShearBias
from autolens_ml.training.shearing import (
    Shearing,
    shear_population_from,
    shear_population_of,
    verdict_of,
)
from tests.training.shears import POPULATION

SMALL = {"widths": [1, 2, 2, 2], "psf_widths": [1, 1, 1, 1], "n_hidden": 3}


def preset(estimates="ellipticity", network=None, **data):
    return Preset(
        name="tiny",
        description="The smallest network.",
        task="shear",
        data={
            "population": POPULATION.as_dict(),
            "estimates": estimates,
            "n_calibration": 200,
            **data,
        },
        network=SMALL if network is None else network,
        training=TrainingOptions(n_training=1000, n_validation=64, n_steps=4, batch_size=32),
        seed=4,
    )


def batch(task, n=32, seed=0):
    source = task.sources(None)["training"]
    return source.batch_from(np.arange(n), np.random.default_rng(seed))


def untrained(task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return task.network()


def card_of(task, network, folder):
    fields = {
        "name": "tiny",
        "task": "shear",
        "description": "The smallest network.",
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "training": {},
        "metrics": {},
        **task.card_fields(),
    }
    return save_network(folder, fields, network.state_dict())


def test_prior_variance_is_that_of_the_galaxies():
    network = untrained(Shearing(preset()))
    ellipticities = POPULATION.draw(20_000, np.random.default_rng(5)).observed_ellipticity
    expected = float(0.5 * ellipticities.abs().square().mean())
    assert network.config["prior_variance"] == pytest.approx(expected, rel=0.03)
    assert network.config["size"] == POPULATION.size


def test_batches_are_fresh_scenes_and_validation_is_the_same_every_time():
    task = Shearing(preset())
    sources = task.sources(None)
    assert [len(sources[name]) for name in ("training", "validation")] == [1000, 64]
    rng = np.random.default_rng(0)
    first, second = (sources["training"].batch_from(np.arange(8), rng) for _ in range(2))
    assert len(first) == 8 and not torch.equal(first.ellipticity, second.ellipticity)
    looks = [
        sources["validation"].batch_from(np.arange(8), np.random.default_rng(1)) for _ in range(2)
    ]
    for name, value in vars(looks[0]).items():
        assert torch.equal(value, getattr(looks[1], name)), name


@pytest.mark.parametrize("estimates", ["ellipticity", "shear"])
def test_training_lowers_the_loss(estimates):
    options = {"widths": [8, 8], "depths": [1, 1], "n_features": 16}
    population = {**POPULATION.as_dict(), "max_shear": 0.3, "ellipticity_rms": 0.05}
    network_options = None if estimates == "ellipticity" else {"backbone_options": options}
    task = Shearing(preset(estimates, network_options, population=population))
    network = untrained(task)
    held_out = batch(task, 64, seed=9)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    with torch.no_grad():
        before = float(task.loss(network, held_out))
    for seed in range(40):
        optimiser.zero_grad()
        task.loss(network, batch(task, seed=seed)).backward()
        optimiser.step()
    with torch.no_grad():
        assert float(task.loss(network, held_out)) < before - 0.1 * abs(before)


def test_loss_in_mixed_precision_is_the_same_loss():
    task = Shearing(preset())
    network, scenes = untrained(task), batch(task)
    with torch.no_grad():
        exact = task.loss(network, scenes)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = task.loss(network, scenes)
    assert mixed.dtype == torch.float32
    assert float(mixed) == pytest.approx(float(exact), rel=0.02)


def test_stored_networks_answer_as_they_were_calibrated(tmp_path):
    task = Shearing(preset())
    network = untrained(task).eval()
    task.finish(network, task.sources(None)["validation"])
    assert network.response.abs().max() > 0.0 and network.noise_scale != 1.0
    scenes = batch(task)
    stamps, psfs = task._renderer.stamps(scenes)
    card = card_of(task, network, tmp_path)
    stored = stored_network(card)
    for ours, theirs in zip(network.shears(stamps, psfs), stored.shears(stamps, psfs), strict=True):
        # Of the calibration alone, half precision takes a part in two thousand.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, stored.get_parameter(name)), name


def test_evaluation_fills_a_card(tmp_path):
    task = Shearing(preset())
    network = untrained(task).eval()
    task.finish(network, task.sources(None)["validation"])
    card = card_of(task, network, tmp_path)
    lines = []
    found = Shearing.evaluate(card, 120, 1, lines.append)
    assert lines
    for name in ("m_sn_20", "c_1_sn_20", "m", "alpha", "galaxies_per_second"):
        metric = found.card.metrics[name]
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["command"] == "autolens-ml evaluate tiny --n 120 --seed 1"
    assert next(iter(found.card.metrics)) == "m_sn_20"
    assert found.card.metrics["m"]["n"] == 120
    json.dumps(found.as_dict())
    assert "m = " in found.verdict
    path = found.plots["shear_bias"](tmp_path / "bias.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_naive_network_needs_no_calibration(tmp_path):
    population = {**POPULATION.as_dict(), "max_shear": 0.4}
    task = Shearing(preset("shear", {}, population=population))
    network = untrained(task).eval()
    assert isinstance(network, StampRegressor)
    assert network.config["classes"] == ["g1", "g2"] and network.config["high"] == [0.4, 0.4]
    task.finish(network, task.sources(None)["validation"])
    # Untrained, it answers about the same to everything: m is -1.
    bias = Shearing.evaluate(card_of(task, network, tmp_path), 100, 0).report["all"]
    assert bias["m"]["value"] == pytest.approx(-1.0, abs=0.3)


@pytest.mark.parametrize("name", ["shear-euclid", "shear-naive"])
def test_shipped_presets(name):
    task = Shearing(preset_from(name))
    network = task.network()
    kinds = {"shear-euclid": ShearNetwork, "shear-naive": StampRegressor}
    assert type(network) is kinds[name]
    fields = task.card_fields()
    assert fields["inputs"]["shape"] == [48, 48]
    assert shear_population_from(fields["outputs"]["population"]) == task.population


def test_populations_by_name():
    assert shear_population_from("seed") is POPULATIONS["seed"]
    with pytest.raises(OptionError, match="no population 'lsst'"):
        shear_population_from("lsst")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stars": 1}, "data: unknown stars"),
        ({"estimates": "flux"}, "estimates must be ellipticity or shear"),
        ({"n_calibration": 3}, "n_calibration must be a whole number from 100"),
        ({"population": {"size": 3}}, "size must be even"),
    ],
)
def test_data_that_mean_nothing(data, message):
    with pytest.raises(OptionError, match=message):
        Shearing(preset(**data))


def test_networks_that_cannot_be():
    with pytest.raises(OptionError, match=r"network: .*depths"):
        Shearing(preset(network={"depths": 3})).network()


def test_cards_without_galaxies(tmp_path):
    task = Shearing(preset())
    card = card_of(task, untrained(task), tmp_path)
    for outputs in ({}, {"population": {"size": 3}}, {"population": "lsst"}):
        with pytest.raises(NetworkError, match="names no galaxies"):
            shear_population_of(dataclasses.replace(card, outputs=outputs))


def test_verdicts():
    def bias(m, error):
        zero = Measured(0.0, 1e-5)
        m = Measured(m, error)
        return ShearBias(m, m, m, zero, zero, zero, 0.3, 1000.0, 10)

    assert "m = +0.00100 +- 0.00100 meets" in verdict_of(bias(0.001, 0.001))
    assert "m = +0.00400 +- 0.00100 is compatible" in verdict_of(bias(0.004, 0.001))
    assert "m = -0.56000 +- 0.01000 misses" in verdict_of(bias(-0.56, 0.01))
    assert "c_2 = +0.00000 +- 0.00001 meets the target of 0.0005" in verdict_of(bias(0.0, 0.1))


def test_card_is_one_that_checkpoints_take(tmp_path):
    task = Shearing(preset())
    values = card_of(task, untrained(task), tmp_path).as_dict()
    assert Card.from_dict(values).outputs["parameters"] == ["g1", "g2"]
    assert values["format"] == FORMAT
