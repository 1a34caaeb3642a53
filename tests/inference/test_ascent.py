"""Climbs from many starts: budgets, interruptions, and where the engine goes on."""

import copy
import pickle

import autofit as af
import numpy as np
import pytest

from autolens_ml.inference.ascent import Ascent, Climber, learned_optimizer
from autolens_ml.inference.state import Settings, Stage
from autolens_ml.inference.target import Target
from autolens_ml.latent import LatentSpace
from tests.networks.climbs import random_optimizer, stored

DIM = 5
SETTINGS = Settings(n_draws=40, n_polish=2)


def target(wall: float = np.inf) -> Target:
    """A Gaussian of unit priors at 0.7, narrow; nothing where the first latent is above a wall."""
    widths = np.geomspace(0.01, 0.5, DIM)

    def value_and_gradient(x):
        if x[0] > wall:
            return -np.inf, np.full(DIM, np.nan)
        pull = (0.7 - x) / widths**2
        return -0.5 * float(np.sum((x - 0.7) * -pull)), pull

    space = LatentSpace([af.GaussianPrior(mean=0.0, sigma=1.0) for _ in range(DIM)])
    return Target(space, lambda x: value_and_gradient(x)[0], value_and_gradient)


def draw(n, rng):
    return rng.standard_normal((n, DIM))


def climber(settings=SETTINGS, n_starts=8, n_steps=60, wall=np.inf):
    return Climber(target(wall), draw, learned_optimizer(None), settings, n_starts, n_steps)


def test_climbs_reach_the_mode():
    ascent = climber().run(Ascent(entropy=3))
    best = max(ascent.points, key=lambda point: point[1])
    np.testing.assert_allclose(best[0], 0.7 / (1.0 + np.geomspace(0.01, 0.5, DIM) ** 2), atol=0.01)
    assert len(ascent.points) == 8
    assert ascent.climb is None


def test_draws_are_ranked_and_the_best_climb():
    ours = climber(n_starts=3)
    ascent = Ascent(entropy=3)
    ours.advance(ascent)
    assert np.all(np.diff(ascent.draw_log_posteriors) <= 0.0)
    assert ascent.n_likelihood == SETTINGS.n_draws
    ours.advance(ascent)
    np.testing.assert_array_equal(ascent.climb.z, ascent.draws[:3])


def test_draws_of_the_prior_are_ranked_beside_those_of_a_network():
    settings = Settings(n_draws=40, n_polish=2, n_prior_draws=10)
    ours = Climber(
        target(), lambda n, rng: np.full((n, DIM), -3.0), random_optimizer(), settings, 4
    )
    ascent = Ascent(entropy=1)
    ours.advance(ascent)
    assert np.sum(np.all(ascent.draws == -3.0, axis=1)) == 40
    assert len(ascent.draws) == 50


def test_lower_climbs_are_given_up():
    ours, ascent, sizes = climber(n_starts=10, n_steps=40), Ascent(entropy=3), []
    while not ascent.is_done:
        ours.advance(ascent)
        if ascent.climb is not None:
            sizes.append(len(ascent.climb.z))
    assert sizes[0] == 10
    assert sizes[7] <= 4
    assert ascent.n_gradient <= 10 * 7 + 4 * 33 + 10
    assert len(ascent.points) == 10


def test_budget_of_gradients_is_kept():
    settings = Settings(n_draws=40, n_polish=1, max_likelihood_calls=200)
    ascent = climber(settings, n_starts=32, n_steps=100).run(Ascent(entropy=3))
    assert ascent.n_gradient <= 0.25 * 200 + 2


def test_interrupted_climbs_go_on_bit_by_bit():
    network = random_optimizer()

    def run(ascent, save):
        return Climber(target(), draw, network, SETTINGS, 6, 30).run(ascent, save)

    saved = []
    whole = run(Ascent(entropy=5), lambda ascent: saved.append(pickle.dumps(ascent)))
    assert len(saved) > 20
    again = run(pickle.loads(saved[11]), lambda ascent: None)
    assert again.n_gradient == whole.n_gradient
    for (z, value), (other, other_value) in zip(whole.points, again.points, strict=True):
        np.testing.assert_array_equal(z, other)
        assert value == other_value


def test_the_engine_goes_on_from_the_best():
    ours = climber()
    ascent = ours.run(Ascent(entropy=3))
    state = ours.state_from(ascent, [])
    assert state.stage is Stage.POLISH
    assert state.pending[0][1] == max(value for _, value in ascent.points)
    assert len(state.pending) <= 2 * SETTINGS.n_polish
    assert state.n_gradient == ascent.n_gradient
    np.testing.assert_array_equal(state.relabellings, [np.arange(DIM)])


def test_starts_beyond_walls_do_not_climb():
    ascent = climber(wall=0.0).run(Ascent(entropy=3))
    assert ascent.points
    assert all(z[0] <= 0.0 and np.isfinite(value) for z, value in ascent.points)
    ours = climber(wall=-np.inf)
    ascent = ours.run(Ascent(entropy=3))
    assert ascent.points == []
    # The engine ranks draws of its own, and says that none can be evaluated.
    assert ours.state_from(ascent, []).stage is Stage.RANK


@pytest.mark.parametrize("seed", [3, 4])
def test_seeds(seed):
    first, second = (climber().run(Ascent(entropy=seed)) for _ in range(2))
    np.testing.assert_array_equal(first.points[0][0], second.points[0][0])
    other = climber().run(Ascent(entropy=9))
    assert not np.array_equal(first.points[0][0], other.points[0][0])


def test_networks_from_cards(tmp_path):
    card = stored(tmp_path)
    network = learned_optimizer(card)
    assert not network.training
    state = copy.deepcopy(random_optimizer().state_dict())
    for name, tensor in network.state_dict().items():
        np.testing.assert_allclose(tensor, state[name], atol=1e-3)
