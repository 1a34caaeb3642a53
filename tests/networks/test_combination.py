"""Combined networks: weights that are best, signs that agree, and what is refused."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.combination import Combination
from autolens_ml.networks.losses import flip_invariant_mse

ERRORS = torch.tensor([0.1, 0.2, 0.3, 0.4])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


@pytest.fixture
def true(generator):
    return torch.randn(4000, 5, generator=generator)


@pytest.fixture
def outputs(true, generator):
    """Four networks, each worse than the one before."""
    noise = torch.randn(4, *true.shape, generator=generator)
    return true + ERRORS[:, None, None] * noise


def with_signs(values, generator):
    """Each lens of each network with a sign of its own."""
    signs = torch.randint(2, (*values.shape[:-1], 1), generator=generator) * 2.0 - 1.0
    values = values.clone()
    values[..., 1:3] *= signs
    return values


def test_four_networks_of_five_parameters_have_twenty_weights(outputs):
    combination = Combination(4)
    assert sum(parameter.numel() for parameter in combination.parameters()) == 20
    plain = Combination(4, columns=())
    torch.testing.assert_close(plain(outputs), outputs.mean(0))


def test_weights_that_made_the_truths_are_found(outputs):
    weights = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    true = (outputs * weights[:, None]).sum(0)
    combination = Combination(4, columns=())
    rms = combination.fit(outputs, true)
    torch.testing.assert_close(combination.weights.data, weights, atol=1e-5, rtol=1e-4)
    assert rms.max() < 1e-5
    torch.testing.assert_close(combination(outputs), true, atol=1e-4, rtol=1e-4)


def test_weights_are_inverse_variances_and_beat_the_best_network(outputs, true):
    combination = Combination(4, columns=())
    rms = combination.fit(outputs, true)
    # Of networks that are right on average with independent errors, for truths of variance one.
    precision = ERRORS**-2
    expected = precision / (precision.sum() + 1.0)
    torch.testing.assert_close(
        combination.weights.data, expected[:, None].expand(4, 5), atol=0.02, rtol=0.0
    )
    assert torch.all(rms < (outputs[0] - true).square().mean(0).sqrt())
    torch.testing.assert_close(rms, (combination(outputs) - true).square().mean(0).sqrt())


def test_no_other_weights_are_better(outputs, true, generator):
    outputs, true = with_signs(outputs, generator), with_signs(true, generator)
    combination = Combination(4)
    combination.fit(outputs, true)
    best = combination.weights.data.clone()
    with torch.no_grad():
        loss = flip_invariant_mse(combination(outputs), true)
        for i in range(4):
            for j in range(5):
                for step in (-0.01, 0.01):
                    combination.weights.copy_(best)
                    combination.weights[i, j] += step
                    assert flip_invariant_mse(combination(outputs), true) > loss


def test_signs_do_not_matter(outputs, true, generator):
    plain = Combination(4)
    rms = plain.fit(outputs, true)
    combination = Combination(4)
    mixed = with_signs(outputs, generator)
    torch.testing.assert_close(combination.fit(mixed, with_signs(true, generator)), rms)
    torch.testing.assert_close(combination.weights.data, plain.weights.data)
    # The first network's signs are the combination's.
    combined, reference = combination(mixed), plain(outputs)
    torch.testing.assert_close(combined.abs(), reference.abs())
    product = (combined * mixed[0])[:, 1:3].sum(1)
    assert torch.all(product[reference[:, 1:3].norm(dim=1) > 1.5] > 0.0)
    # A mean over signs as they come is useless.
    blind = Combination(4, columns=())
    assert torch.all(blind.fit(mixed, true)[1:3] > 3.0 * rms[1:3])


def test_poor_networks_do_no_harm(true, generator):
    # Their plain mean is so far off that it has the wrong sign for many lenses.
    noise = torch.randn(4, *true.shape, generator=generator)
    outputs = true + torch.tensor([0.1, 5.0, 5.0, 5.0])[:, None, None] * noise
    true = with_signs(true, generator)
    combination = Combination(4)
    combination.fit(outputs, true)
    with torch.no_grad():
        assert flip_invariant_mse(combination(outputs), true) < flip_invariant_mse(outputs[0], true)
    torch.testing.assert_close(combination.weights.data[0], torch.ones(5), atol=0.05, rtol=0)
    # What is best stays so.
    found = combination.weights.data.clone()
    combination.fit(outputs, true)
    torch.testing.assert_close(combination.weights.data, found)


def test_alignment_changes_nothing_but_signs_of_ellipticities(outputs, generator):
    mixed = with_signs(outputs, generator)
    aligned = Combination(4).aligned(mixed)
    assert torch.equal(aligned.abs(), mixed.abs())
    assert torch.equal(aligned[0], mixed[0])
    assert torch.equal(aligned[..., [0, 3, 4]], mixed[..., [0, 3, 4]])
    distance = (aligned - aligned[0])[..., 1:3].square().sum(-1)
    other = (aligned + aligned[0])[..., 1:3].square().sum(-1)
    assert torch.all(distance <= other)
    # Both components or none.
    assert torch.equal(aligned[..., 1] * mixed[..., 2], aligned[..., 2] * mixed[..., 1])


def test_equal_networks_share_their_weight(outputs, true):
    combination = Combination(2, columns=())
    combination.fit(outputs[[0, 0]], true)
    weights = combination.weights.data
    torch.testing.assert_close(weights[0], weights[1])
    alone = Combination(1, columns=())
    alone.fit(outputs[:1], true)
    torch.testing.assert_close(weights.sum(0), alone.weights.data[0])


def test_stored_and_loaded(outputs, true):
    combination = Combination(4)
    combination.fit(outputs, true)
    state = combination.state_dict()
    assert list(state) == ["weights"]
    again = Combination(4)
    assert not torch.equal(again(outputs), combination(outputs))
    again.load_state_dict(state)
    assert torch.equal(again(outputs), combination(outputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "at least one"),
        ((2, 0), "at least one"),
        ((2, 2), "columns"),
        ((2, 5, (5,)), "columns"),
        ((2, 5, (-1,)), "columns"),
    ],
)
def test_combinations_that_mean_nothing(arguments, message):
    with pytest.raises(OptionError, match=message):
        Combination(*arguments)


@pytest.mark.parametrize("shape", [(3, 10, 5), (4, 10, 4), (10, 5)])
def test_outputs_of_another_shape(shape):
    with pytest.raises(OptionError, match="takes"):
        Combination(4)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda outputs, true: (outputs, true[:-1]), "truths of shape"),
        (lambda outputs, true: (outputs[:, :3], true[:3]), "do not fix"),
        (lambda outputs, true: (outputs, true / 0.0), "NaN"),
        (lambda outputs, true: (outputs * torch.nan, true), "NaN"),
    ],
)
def test_fits_that_cannot_be(outputs, true, change, message):
    combination = Combination(4)
    with pytest.raises(OptionError, match=message) as error:
        combination.fit(*change(outputs, true))
    assert "\n" not in str(error.value)
    assert torch.equal(combination.weights.data, torch.full((4, 5), 0.25))
