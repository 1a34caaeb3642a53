"""Autoencoders of four kinds: shapes, scores, and what they refuse."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.anomaly import KINDS, SCORES, UNKNOWN, AnomalyNetwork

SMALL = {
    "side": 16,
    "latent_dim": 3,
    "encoder_widths": [8, 8],
    "widths": [8, 8],
    "n_hidden": 8,
}


def made(kind, **options):
    torch.manual_seed(0)
    n_conditions = 2 if kind == "conditional" else 0
    return AnomalyNetwork(kind=kind, **{"n_conditions": n_conditions, **SMALL, **options})


def inputs(network, n=4):
    generator = torch.Generator().manual_seed(1)
    images = 5.0 * torch.randn(n, 16, 16, generator=generator)
    noise = 1.0 + torch.rand(n, 16, 16, generator=generator)
    told = torch.randn(n, network.config["n_conditions"], generator=generator)
    return images, noise, told


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    network = made(kind)
    torch.nn.init.normal_(network.decoder.last.weight)
    images, noise, told = inputs(network)
    loss = network.loss(images, noise, torch.randn(4, 3), told)
    loss.backward()
    assert loss.ndim == 0 and torch.isfinite(loss)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    again = AnomalyNetwork(**network.config)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(
        again.eval().reconstruct(images, told), network.eval().reconstruct(images, told)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scores(kind):
    network = made(kind).eval()
    images, noise, told = inputs(network)
    with torch.inference_mode():
        scores = network.scores(images, noise, told)
        louder = network.scores(images, 0.5 * noise, told)
        again = network.scores(images, noise, told)
    assert all(score.shape == (4,) for score in scores)
    # Untrained networks are dark: there are no arcs, so nothing is wrong in them.
    assert torch.all(scores.error == 0.0)
    assert torch.isfinite(scores.elbo).all() == network.is_variational
    if network.is_variational:
        assert torch.all(louder.elbo > scores.elbo)
        torch.testing.assert_close(again.elbo, scores.elbo)


def test_error_is_one_for_noise_alone():
    network = made("autoencoder").eval()
    torch.nn.init.constant_(network.decoder.last.bias, 0.3)  # a flat image of 3
    noise = torch.full((64, 16, 16), 2.0)
    generator = torch.Generator().manual_seed(0)
    images = 3.0 + noise * torch.randn(64, 16, 16, generator=generator)
    with torch.inference_mode():
        error = network.scores(images, noise).error
        heat = network.heat_map(images, noise)
    assert error.mean() == pytest.approx(1.0, abs=0.03)
    # Smoothed white noise of unit variance has unit variance, away from edges.
    assert heat[:, 4:-4, 4:-4].std() == pytest.approx(1.0, abs=0.05)


def test_a_heat_map_is_hot_where_the_anomaly_is():
    network = made("variational").eval()
    images = torch.zeros(1, 16, 16)
    images[0, 5, 9] = 8.0
    with torch.inference_mode():
        heat = network.heat_map(images, torch.ones(1, 16, 16))[0]
    assert divmod(int(heat.argmax()), 16) == (5, 9)


def test_the_bound_is_that_of_gaussian_noise():
    network = made("variational").eval()
    # Encodings are the prior's, and images dark: the bound is half of chi-squared.
    for layer in (network.encoder.dense[-1],):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images, noise, _ = inputs(network)
    with torch.inference_mode():
        elbo = network.scores(images, noise).elbo
    expected = 0.5 * (images / noise).square().mean((1, 2))
    torch.testing.assert_close(elbo, expected)


def test_an_adversary_is_deceived_and_not_helped():
    network = made("adversarial", adversarial_weight=1.0)
    images, noise, _ = inputs(network, 16)
    draws = torch.randn(16, 3)
    network.zero_grad()
    network.loss(images, noise, draws).backward()
    encoder = network.encoder.dense[-1].bias
    with torch.no_grad():
        encoder -= 0.05 * encoder.grad / encoder.grad.norm()
        means = network.encode(images).mean
        told = network.discriminator(means)
    before = AnomalyNetwork(**network.config)
    before.load_state_dict(network.state_dict())
    with torch.no_grad():
        before.encoder.dense[-1].bias += 0.05 * encoder.grad / encoder.grad.norm()
        less = before.discriminator(before.encode(images).mean)
    # A step of the encoder makes its latents look more like draws of the prior.
    assert told.mean() > less.mean()


def test_conditions_are_told_in_units_of_their_scatter():
    network = made("conditional").eval()
    torch.nn.init.normal_(network.decoder.last.weight)
    images, _, told = inputs(network)
    first = network.reconstruct(images, told)
    network.learn_conditions(torch.tensor([[1.0, 1.0], [3.0, 5.0]]))
    scale = torch.tensor([2.0, 4.0]) / 2.0**0.5
    shifted = torch.tensor([2.0, 3.0]) + scale * told
    torch.testing.assert_close(network.reconstruct(images, shifted), first)
    assert not torch.allclose(network.reconstruct(images, told), first)


def test_thresholds_are_exceeded_by_one_in_a_hundred():
    network = made("autoencoder")
    scores = torch.linspace(0.0, 1.0, 1001)
    network.learn_thresholds(
        type(network.scores(torch.zeros(1, 16, 16), torch.ones(1, 16, 16)))(
            scores, torch.full_like(scores, float("nan")), 2.0 * scores
        )
    )
    assert network.thresholds.tolist() == pytest.approx([0.99, UNKNOWN, 1.98])
    assert len(SCORES) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "gan"}, "no kind 'gan'"),
        ({"latent_dim": 0}, "latent_dim must be above 0"),
        ({"n_conditions": 2}, "the others none"),
        ({"kind": "conditional"}, "at least one"),
        ({"widths": [8] * 5}, "widths has 5 entries"),
        ({"encoder_widths": [9]}, "multiples of 8"),
    ],
)
def test_refused_arguments(options, words):
    with pytest.raises(OptionError, match=words):
        AnomalyNetwork(**{**SMALL, **options})


def test_refused_inputs():
    network = made("conditional")
    images, _, told = inputs(network)
    with pytest.raises(OptionError, match="takes"):
        network.encode(images[:, 1:], told)
    with pytest.raises(OptionError, match="conditions of shape"):
        network.encode(images)
