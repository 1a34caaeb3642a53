"""Losses against their formulas, and what each of them is for."""

import math

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.losses import ELLIPTICITY, flip_invariant_mse, gaussian_nll


@pytest.fixture
def true():
    return torch.randn(50, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def predicted(true):
    return true + 0.8 * torch.randn(50, 5, generator=torch.Generator().manual_seed(2))


def flipped(values, rows):
    values = values.clone()
    values[rows, 1:3] *= -1.0
    return values


def test_squared_error_with_the_better_sign_of_each_lens(true, predicted):
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.0])
    expected = 0.0
    for i in range(50):
        errors = []
        for sign in (1.0, -1.0):
            guess = predicted[i] * torch.tensor([1.0, sign, sign, 1.0, 1.0])
            errors.append(float((weights * (guess - true[i]) ** 2).sum() / 5))
        expected += min(errors) / 50
    assert float(flip_invariant_mse(predicted, true, weights)) == pytest.approx(expected, rel=1e-5)


def test_signs_of_predictions_and_truths_do_not_matter(true, predicted):
    loss = flip_invariant_mse(predicted, true)
    rows = torch.arange(0, 50, 3)
    assert torch.equal(flip_invariant_mse(flipped(predicted, rows), true), loss)
    assert torch.equal(flip_invariant_mse(predicted, flipped(true, rows)), loss)
    assert float(flip_invariant_mse(flipped(true, rows), true)) == 0.0


@pytest.mark.parametrize("column", range(5))
def test_one_sign_alone_matters(true, column):
    other = true.clone()
    other[:, column] *= -1.0
    assert float(flip_invariant_mse(other, true)) > 0.1


def test_without_columns_it_is_the_mean_squared_error(true, predicted):
    plain = torch.nn.functional.mse_loss(predicted, true)
    torch.testing.assert_close(flip_invariant_mse(predicted, true, columns=()), plain)
    assert flip_invariant_mse(predicted, true) < plain


def test_the_best_constant_answer_is_round_only_under_the_plain_error():
    signs = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    true = torch.zeros(100, 5)
    true[:, 1:3] = signs * torch.tensor([0.3, 0.4])
    found = {}
    for columns in ((), ELLIPTICITY):
        guess = torch.full((5,), 0.05, requires_grad=True)
        optimiser = torch.optim.SGD([guess], lr=0.5)
        for _ in range(200):
            optimiser.zero_grad()
            flip_invariant_mse(guess.expand(100, 5), true, columns=columns).backward()
            optimiser.step()
        found[columns] = guess.detach()[1:3]
    assert found[()].abs().max() < 1e-3
    torch.testing.assert_close(found[ELLIPTICITY], torch.tensor([0.3, 0.4]), atol=1e-3, rtol=0)


def test_likelihood_is_that_of_a_normal_distribution(true, predicted):
    log_variance = torch.randn(50, 5, generator=torch.Generator().manual_seed(3))
    normal = torch.distributions.Normal(predicted, (0.5 * log_variance).exp())
    expected = -normal.log_prob(true).mean() - 0.5 * math.log(2.0 * math.pi)
    torch.testing.assert_close(gaussian_nll(predicted, log_variance, true), expected)


def test_likelihood_is_best_at_the_true_errors(true):
    sigma = torch.tensor([0.1, 0.2, 0.5, 1.0, 3.0])
    noise = torch.randn(20000, 5, generator=torch.Generator().manual_seed(4))
    zero = torch.zeros(20000, 5)
    log_variance = torch.zeros(5, requires_grad=True)
    gradient = None
    for _ in range(200):
        loss = gaussian_nll(sigma * noise, log_variance.expand(20000, 5), zero)
        (gradient,) = torch.autograd.grad(loss, log_variance)
        with torch.no_grad():
            log_variance -= 2.0 * gradient
    # The spread of 20000 numbers is known to 0.5 %.
    torch.testing.assert_close((0.5 * log_variance).exp().detach(), sigma, rtol=0.03, atol=0.0)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 5), (1, 5)), "both must be"),
        (((5,), (5,)), "both must be"),
        (((3, 4), (3, 5)), "both must be"),
    ],
)
def test_shapes_are_not_broadcast(shapes, message):
    first, second = map(torch.zeros, shapes)
    with pytest.raises(OptionError, match=message) as error:
        flip_invariant_mse(first, second)
    assert "\n" not in str(error.value)
    with pytest.raises(OptionError, match=message):
        gaussian_nll(first, torch.zeros_like(second), second)


def test_weights_for_each_parameter():
    with pytest.raises(OptionError, match="one for each of 5"):
        flip_invariant_mse(torch.zeros(3, 5), torch.zeros(3, 5), torch.ones(3, 5))


def test_a_variance_for_each_prediction():
    with pytest.raises(OptionError, match="both must be"):
        gaussian_nll(torch.zeros(3, 5), torch.zeros(5), torch.zeros(3, 5))
