"""Tuning a network to a lens: it helps, it is repeatable, and it changes nobody's network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.inference.reconstruction.fine_tuning import FineTuning, _Run, fine_tuned
from autolens_ml.inference.reconstruction.loop import Loop
from autolens_ml.inference.reconstruction.loss import LossWeights, Maps
from autolens_ml.inference.reconstruction.neighbours import (
    field_neighbours,
    latent_neighbours,
    observed_as,
)
from autolens_ml.networks.autoencoder import Autoencoder
from tests.inference.reconstruction.lenses import OPTIONS, network, observed, true_maps

LIKELIHOOD = FineTuning(method="likelihood", n_steps=6, learning_rate=3e-3, checkpoint_every=2)
EWC = replace(LIKELIHOOD, method="ewc", n_neighbours=3)
LOSS = LossWeights()


def tuned(options=LIKELIHOOD, seed=0, net=None, **others):
    net = network() if net is None else net
    return fine_tuned(net, Loop(OPTIONS), observed(), options, LOSS, seed=seed, **others)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class Interrupted(Exception):
    """What a user does."""


def interrupting(step):
    def say(line):
        if line.startswith(f"tuning: step {step} "):
            raise Interrupted

    return say


@pytest.mark.parametrize("options", [LIKELIHOOD, EWC], ids=["likelihood", "ewc"])
def test_tuning_lowers_chi_squared_and_gives_the_best_weights(options):
    net = network()
    before = weights(net)
    found = tuned(options, net=net)
    assert len(found.chi_squared) == 7
    assert found.chi_squared.min() < 0.8 * found.chi_squared[0]
    with torch.no_grad():
        again = Loop(OPTIONS).unroll(found.network, observed())[-1].chi_squared
    assert float(again) == pytest.approx(found.chi_squared.min(), rel=1e-5)
    # Another lens starts from the same network.
    assert torch.equal(weights(net), before)
    assert not torch.equal(weights(found.network), before)


@pytest.mark.parametrize("options", [LIKELIHOOD, EWC], ids=["likelihood", "ewc"])
def test_two_runs_of_one_seed_agree_bit_for_bit_also_where_one_was_interrupted(tmp_path, options):
    checkpoint = tmp_path / "tuning.pt"
    straight = tuned(options, seed=3)
    with pytest.raises(Interrupted):
        tuned(options, seed=3, checkpoint=checkpoint, say=interrupting(5))
    assert checkpoint.is_file()
    lines = []
    resumed = tuned(options, seed=3, checkpoint=checkpoint, say=lines.append)
    # Steps 1 to 4 are in the checkpoint.
    assert lines[0].startswith("tuning: step 5 of 6") and len(lines) == 2
    assert np.array_equal(resumed.chi_squared, straight.chi_squared)
    assert torch.equal(weights(resumed.network), weights(straight.network))
    assert not checkpoint.exists()


def test_the_seed_is_that_of_the_neighbours():
    one, other = (tuned(replace(EWC, strength=1e4), seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.chi_squared, other.chi_squared)


def test_checkpoints_of_others_are_refused(tmp_path):
    checkpoint = tmp_path / "tuning.pt"
    with pytest.raises(Interrupted):
        tuned(checkpoint=checkpoint, identity="a", say=interrupting(3))
    for others in ({"identity": "b"}, {"identity": "a", "seed": 1}):
        with pytest.raises(DataError, match="checkpoint of another tuning"):
            tuned(checkpoint=checkpoint, **others)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        tuned(checkpoint=checkpoint)


def test_tuning_ends_at_the_noise():
    first = tuned().chi_squared
    target = float(0.5 * (first[0] + first.min()))
    found = tuned(replace(LIKELIHOOD, target=target)).chi_squared
    assert found[-1] <= target < found[:-1].min() and len(found) < len(first)


def test_consolidation_keeps_weights_where_they_were():
    origin = weights(network())
    moved = [
        float((weights(tuned(options).network) - origin).norm())
        for options in (LIKELIHOOD, replace(EWC, strength=1e8))
    ]
    assert moved[1] < 0.5 * moved[0]


def test_frozen_levels_keep_their_weights():
    net = network()
    found = tuned(replace(LIKELIHOOD, frozen_levels=0), net=net).network
    for old, new in zip(net.coarse_parameters(0), found.coarse_parameters(0), strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(weights(found), weights(net))


def test_information_is_the_mean_square_of_gradients():
    """Of one neighbour, the square of its own gradient, here by another way."""
    loop, options = Loop(OPTIONS), replace(EWC, n_neighbours=1)
    run = _Run(network(), loop, observed(), options, "")
    fisher = run.fisher_from(LOSS, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    maps = run._neighbours(rng)
    seen = observed_as(observed(), loop, maps, rng)
    states = loop.unroll(run.network, seen, through_lens=True)
    torch.stack([LOSS.of(state, maps).mean() for state in states]).mean().backward()
    for found, parameter in zip(fisher, run.parameters, strict=True):
        assert torch.allclose(found, parameter.grad.square(), rtol=1e-3, atol=1e-12)
    assert sum(float(each.sum()) for each in fisher) > 0.0


def test_the_loss_is_zero_at_the_truth_but_for_the_noise():
    loop, maps = Loop(replace(OPTIONS, source_link="identity")), true_maps(2)
    at = loop.state(observed(2), type(loop.start(2))(*maps))
    without = LossWeights(chi_squared=0.0)
    assert torch.equal(without.of(at, maps), torch.zeros(2))
    assert torch.allclose(LOSS.of(at, maps), 0.05 * at.chi_squared.log1p())
    # A tenth of a dex everywhere, whatever the weights of pixels; and half of the light missing.
    wrong = Maps(2.0 * maps.source, maps.convergence + 0.1, maps.shear)
    assert torch.allclose(without.of(at, wrong), torch.tensor(10.0 * 0.01 + 0.25), rtol=1e-4)


def test_neighbours_by_fields_are_near_and_positive():
    maps = true_maps()
    found = field_neighbours(maps, 50, np.random.default_rng(1))
    assert found.source.shape == (50, 24, 24) and found.source.min() >= 0.0
    ratio = 10.0 ** (found.convergence - maps.convergence)
    assert float(ratio.log().std()) == pytest.approx(0.05, rel=0.3)
    assert torch.allclose(found.shear.mean(dim=0), maps.shear[0], atol=0.01)


def autoencoder(disc_radius):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        found = Autoencoder(
            size=32,
            latent_dim=3,
            disc_radius=disc_radius,
            n_hidden=8,
            widths=(4, 4),
            encoder_widths=(8, 8),
        )
        torch.nn.init.normal_(found.decoder.fine.weight, std=0.3)
    return found.eval()


def test_neighbours_by_autoencoders_are_the_lens_itself_without_spread():
    maps = true_maps()
    source, convergence = autoencoder(0.2), autoencoder(0.4)
    rng = np.random.default_rng(1)
    same = latent_neighbours(maps, 3, 0.0, source, convergence, rng)
    assert torch.allclose(same.source, maps.source.expand(3, -1, -1), atol=1e-5)
    assert torch.allclose(same.convergence, maps.convergence.expand(3, -1, -1), atol=1e-5)
    other = latent_neighbours(maps, 3, 0.5, source, convergence, rng)
    assert other.source.min() >= 0.0 and torch.isfinite(other.convergence).all()
    for name in ("source", "convergence"):
        differ = (getattr(other, name) - getattr(maps, name)).abs().amax(dim=(1, 2))
        assert (differ > 1e-3).all(), name


def test_neighbours_are_observed_with_the_noise_of_the_lens():
    loop, seen, maps = Loop(OPTIONS), observed(), true_maps()
    many = Maps(*(each.expand(40, *each.shape[1:]) for each in maps))
    found = observed_as(seen, loop, many, np.random.default_rng(1))
    image = loop.lens(maps.convergence, maps.source, maps.shear, seen.psf)
    residuals = ((found.image - image) / found.noise_map)[found.mask > 0]
    assert float(residuals.std()) == pytest.approx(1.0, abs=0.02)
    assert not found.image[found.mask == 0].any()


def test_one_lens_at_a_time():
    with pytest.raises(DataError, match="2 lenses"):
        fine_tuned(network(), Loop(OPTIONS), observed(2), LIKELIHOOD, LOSS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "sgd"}, "method must be one of"),
        ({"neighbours": "friends"}, "neighbours must be one of"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"learning_rate": -1.0}, "learning_rate must be 0 or more"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        FineTuning(**changes)


def test_loss_weights_are_checked():
    with pytest.raises(OptionError, match="shear must be 0 or more"):
        LossWeights(shear=-1.0)
    with pytest.raises(OptionError, match="no mapping of"):
        LossWeights.from_dict({"mass": 1.0})
