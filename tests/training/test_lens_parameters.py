"""Estimating lens parameters as a task: its sets, its loss, and what is wrong with its presets."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.symmetries import symmetries_of
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


@torch.no_grad()
def test_orientations_are_those_of_the_population(task, tmp_path):
    """The latents of a lens that is turned and simulated again."""
    turning = task_of(preset(network={"orientations": 8}))
    network = turning.network().eval()
    assert len(network.orientations) == 8 and network.orientations[0].is_identity
    symmetries = symmetries_of(turning.population.model)
    columns = list(turning.targets.values())
    z = np.random.default_rng(1).standard_normal((20, turning.population.space.dim))
    physical = turning.population.space.physical_from(z)
    for symmetry, orientation in zip(symmetries, network.orientations, strict=True):
        assert (symmetry.flip, symmetry.turns) == (orientation.flip, orientation.turns)
        moved = turning.population.space.latent_from(symmetry.parameters_from(physical))
        expected = np.array(orientation.signs) * z[:, columns][:, list(orientation.order)]
        np.testing.assert_allclose(moved[:, columns], expected, atol=1e-6)
    turning.finish(network, turning.sources(tmp_path)["validation"])
    assert (network.width_scale > 0.0).all()
    assert len(task_of(preset(network={"orientations": 2})).network().orientations) == 2
    assert not task.network().orientations
    alone = task_of(preset(network={"orientations": 1}))
    network = alone.network().eval()
    alone.finish(network, alone.sources(tmp_path)["validation"])
    assert len(network.orientations) == 1 and (network.width_scale > 0.0).all()


@pytest.mark.parametrize("number", [0, 9, True, "all", 2.0])
def test_orientations_are_a_number(number):
    with pytest.raises(OptionError, match="orientations must be a number from 1 to 8, not"):
        task_of(preset(network={"orientations": number})).network()


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
