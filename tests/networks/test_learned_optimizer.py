"""The learned optimiser climbs, whatever its weights, and does not care for the order of things."""

import pickle

import numpy as np
import pytest
import torch

from autolens_ml.networks.learned_optimizer import LearnedOptimizer
from tests.networks.climbs import Quadratic, climbed, random_optimizer

NETWORKS = {"untrained": LearnedOptimizer, "random": random_optimizer}


@pytest.fixture(params=NETWORKS, ids=str)
def network(request):
    """One that answers with zeros, and one that answers at random."""
    return NETWORKS[request.param]()


def test_an_untrained_network_finds_the_mode_of_any_gaussian():
    posterior = Quadratic(condition=1e4)
    climb = climbed(LearnedOptimizer(), posterior, 120)[-1]
    assert torch.all(climb.value > -1e-6)
    torch.testing.assert_close(climb.z, posterior.centre, atol=1e-3, rtol=0.0)


def test_values_never_fall(network):
    values = torch.stack([climb.value for climb in climbed(network, Quadratic(), 40)])
    assert torch.all(values.diff(dim=0) >= 0.0)
    assert torch.all(values[-1] > values[0])


def test_values_and_gradients_are_those_of_the_points(network):
    posterior = Quadratic()
    for climb in climbed(network, posterior, 15):
        value, gradient = posterior(climb.z)
        torch.testing.assert_close(climb.value, value)
        torch.testing.assert_close(climb.gradient, gradient)


def test_parameters_may_be_permuted(network):
    posterior, order = Quadratic(), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    permuted = Quadratic()
    permuted.matrix = posterior.matrix[:, order][:, :, order]
    permuted.centre, permuted.start = posterior.centre[:, order], posterior.start[:, order]
    ours, theirs = climbed(network, posterior, 12)[-1], climbed(network, permuted, 12)[-1]
    torch.testing.assert_close(ours.z[:, order], theirs.z, rtol=1e-5, atol=1e-7)


def test_signs_of_parameters_change_nothing_for_the_untrained_rule():
    posterior, mirrored = Quadratic(), Quadratic()
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    mirrored.matrix = posterior.matrix * signs[:, None] * signs[None, :]
    mirrored.centre, mirrored.start = posterior.centre * signs, posterior.start * signs
    ours = climbed(LearnedOptimizer(), posterior, 12)[-1]
    theirs = climbed(LearnedOptimizer(), mirrored, 12)[-1]
    torch.testing.assert_close(ours.z * signs, theirs.z, rtol=1e-6, atol=1e-9)


def test_climbs_do_not_see_each_other(network):
    posterior, alone = Quadratic(), Quadratic()
    for name in ("matrix", "centre", "start"):
        setattr(alone, name, getattr(posterior, name)[2:3])
    together = climbed(network, posterior, 10)[-1][torch.tensor([2])]
    # The network's own numbers are in single precision.
    torch.testing.assert_close(climbed(network, alone, 10)[-1].z, together.z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 40])
def test_any_number_of_parameters(network, dim):
    posterior = Quadratic(n=3, dim=dim, condition=10.0)
    climbs = climbed(network, posterior, 25)
    assert torch.all(climbs[-1].value > 0.5 * climbs[0].value)


def test_walls_are_stepped_back_from(network):
    """Beyond the wall there is nothing; the mode is on this side."""

    def walled(z):
        value, gradient = inside(z)
        there = z[:, 0] > 1.0
        return torch.where(there, -torch.inf, value), torch.where(there[:, None], 0.0, gradient)

    inside = Quadratic(condition=10.0)
    inside.centre[:, 0], inside.start[:, 0] = 0.9, -1.0
    climb = climbed(network, walled, 60, start=inside.start)[-1]
    assert torch.all(torch.isfinite(climb.z))
    assert torch.all(climb.z[:, 0] <= 1.0)
    assert torch.all(climb.value > inside(inside.start)[0])


def test_points_stay_in_bounds(network):
    posterior = Quadratic(condition=2.0)
    posterior.centre[:] = 100.0
    for climb in climbed(network, posterior, 60):
        assert torch.all(climb.z.abs() <= 8.0)


def test_curvatures_stay_positive_and_are_learned(network):
    posterior = Quadratic(dim=4, condition=30.0)
    for climb in climbed(network, posterior, 30):
        assert torch.all(torch.linalg.eigvalsh(climb.curvature) > 0.0)
    climb = climbed(LearnedOptimizer(), posterior, 40)[-1]
    error = torch.linalg.matrix_norm(climb.curvature - posterior.matrix)
    at_first = torch.linalg.matrix_norm(torch.eye(4) - posterior.matrix)
    assert torch.all(error < 0.3 * at_first)


def test_interrupted_climbs_go_on_bit_by_bit():
    network, posterior = random_optimizer(), Quadratic()
    climbs = climbed(network, posterior, 20)
    climb = pickle.loads(pickle.dumps(climbs[8]))
    with torch.no_grad():
        for _ in range(12):
            climb, z = network(climb)
            climb = network.advanced(climb, z, *posterior(z))
    assert torch.equal(climb.z, climbs[-1].z)
    assert torch.equal(climb.hidden, climbs[-1].hidden)


def test_gradients_reach_every_weight_but_not_the_posterior():
    network, posterior = random_optimizer(), Quadratic()
    climb = network.start(posterior.start, *posterior(posterior.start))
    for _ in range(3):
        climb, z = network(climb)
        value, gradient = posterior(z.detach())
        value = value + (gradient * (z - z.detach())).sum(-1)
        climb = network.advanced(climb, z, value, gradient)
    assert not climb.curvature.requires_grad
    assert not climb.gradient.requires_grad
    climb.value.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0.0, name


def test_config_makes_the_network_again():
    network = random_optimizer()
    again = LearnedOptimizer(**network.config)
    again.load_state_dict(network.state_dict())
    posterior = Quadratic()
    np.testing.assert_array_equal(
        climbed(network, posterior, 5)[-1].z, climbed(again, posterior, 5)[-1].z
    )
