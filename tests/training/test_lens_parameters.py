"""Estimating lens parameters as a task: its sets, its loss, and what is wrong with its presets."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.training.lens_parameters import LensParameters, lens_sets
from autolens_ml.training.task import task_class, task_of
from tests.training.small import preset


@pytest.fixture(scope="module")
def task():
    return task_of(preset())


def test_sets_are_apart(task, tmp_path):
    options, said = task.preset.training, []
    sets = lens_sets(task.population, options, 1, tmp_path, said.append)
    first, second = (lenses.latents for lenses in sets.values())
    assert first.shape == second.shape
    assert not np.intersect1d(first, second).size
    other = lens_sets(task.population, options, 2, tmp_path / "other")
    assert not np.intersect1d(other["training"].latents, np.concatenate([first, second])).size
    assert all("64 of 64" in line for line in said)


def test_loss_is_minus_the_mean_log_density(task, tmp_path):
    validation = task.sources(tmp_path)["validation"]
    batch = validation.batch_from(np.arange(16), np.random.default_rng(1))
    network = task.network()
    density = network(batch.images, batch.noise, batch.mask, batch.psf_width)
    assert task.loss(network, batch) == -density.log_prob(batch.latents).mean()


def test_networks_know_unusual_features(task, tmp_path):
    """Before training has finished no image is unusual, and after it some can be."""
    network = task.network().eval()
    before = float(network.typical_distance)
    task.finish(network, task.sources(tmp_path)["validation"])
    assert 0.0 < float(network.typical_distance) < 1e3 < before
    assert not torch.equal(network.feature_mean, torch.zeros_like(network.feature_mean))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"targets": "galaxies.lens.mass"}, "targets must be paths"),
        ({"targets": []}, "targets must be paths"),
        ({"targets": [1]}, r"targets must be paths.*not \[1\]"),
        ({"targets": ["galaxies.lens.mas"]}, "did you mean galaxies.lens.mass"),
        ({"population": "euclid"}, "population must be a mapping, not 'euclid'"),
        ({"pupulation": {}}, "data: unknown pupulation; known: population"),
        ({"shares": 0.5}, "shares must be a mapping, not 0.5"),
        ({"shares": {"maskd": 0.5}}, "shares has maskd; known: masked"),
        ({"shares": {"masked": 1.5}}, "masked must be a number from 0 to 1, not 1.5"),
        ({"shares": {"masked": True}}, "masked must be a number"),
        ({"shares": {"resampled": float("nan")}}, "resampled must be a number"),
        ({"shares": {"photon_spread": 0.5}}, "photon_spread must be a number from 1"),
    ],
)
def test_bad_data(data, match):
    with pytest.raises(OptionError, match=match) as raised:
        LensParameters(preset(data=data))
    assert "\n" not in str(raised.value)


def test_data_need_a_population_and_targets():
    made = preset()
    made.data.clear()
    with pytest.raises(OptionError, match="data: needs population, targets"):
        LensParameters(made)


def test_unknown_tasks():
    with pytest.raises(OptionError, match="no task 'lens-parameter': choose one of lens-param"):
        task_class("lens-parameter")
