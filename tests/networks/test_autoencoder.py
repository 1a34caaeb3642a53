"""Autoencoders of maps: what is decoded, what is lowered, what is learned."""

import math

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.autoencoder import Autoencoder, Encoding
from tests.profiles.decoders import SMALL, autoencoder

SIDE, DIM = SMALL["size"], SMALL["latent_dim"]


def blobs(n: int, seed: int = 3) -> torch.Tensor:
    """Gaussians of two parameters, their width and their axis ratio; shape (n, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    width, ratio = 2.0 + 3.0 * torch.rand(2, n, 1, 1, generator=generator)
    y, x = torch.meshgrid(*(2 * [torch.arange(SIDE) - 0.5 * (SIDE - 1)]), indexing="ij")
    return torch.exp(-0.5 * ((x / width) ** 2 + (y / (0.5 * ratio)) ** 2))


def draws(n: int, seed: int = 4) -> torch.Tensor:
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))


def in_disc(maps: torch.Tensor, radius: float) -> torch.Tensor:
    """Means of bilinear maps in a disc, by points on a fine grid."""
    side = maps.shape[-1]
    fine = torch.nn.functional.interpolate(
        torch.nn.functional.pad(maps[:, None].double(), (1, 1, 1, 1)),
        scale_factor=40,
        mode="bilinear",
        align_corners=False,
    )[:, 0]
    points = (torch.arange(40 * (side + 2)) + 0.5) / 40 - 0.5 * (side + 2)
    inside = points[:, None] ** 2 + points**2 <= (0.5 * side * radius) ** 2
    return fine[:, inside].mean(1)


@pytest.mark.parametrize("radius", [0.2, 0.4, 0.9])
@torch.no_grad()
def test_decoded_maps_are_above_zero_with_a_mean_of_one_in_the_disc(radius):
    network = autoencoder(size=32, disc_radius=radius, spread=0.3)
    maps = network.decode(draws(20))
    assert maps.shape == (20, 32, 32) and (maps > 0.0).all()
    assert maps.max() > 3.0
    torch.testing.assert_close(in_disc(maps, radius), torch.ones(20).double(), rtol=3e-3, atol=0.0)


@torch.no_grad()
def test_the_disc_is_centred_and_as_large_as_it_should_be():
    disc = Autoencoder(**{**SMALL, "disc_radius": 0.6}).disc
    assert float(disc.sum()) == pytest.approx(math.pi * (0.6 * SIDE / 2) ** 2, rel=2e-3)
    for other in (disc.T, disc.flip(0), disc.flip(1)):
        torch.testing.assert_close(disc, other)
    assert disc[0, 0] == 0.0 and disc[SIDE // 2, SIDE // 2] == pytest.approx(1.0)


@torch.no_grad()
def test_units_of_maps_do_not_matter():
    network, maps = autoencoder(), blobs(5)
    units = torch.tensor([1.0, 1e-6, 3.0, 1e5, 0.2])[:, None, None]
    for first, second in zip(network.encode(maps), network.encode(units * maps), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    before, after = (network.objective(each, draws(5)) for each in (maps, units * maps))
    assert float(after.loss) == pytest.approx(float(before.loss), rel=1e-4)


@torch.no_grad()
def test_the_weights_and_the_config_are_the_network():
    network = autoencoder()
    again = Autoencoder(**network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.decode(draws(4)), network.decode(draws(4)))
    assert torch.equal(again.encode(blobs(4)).mean, network.encode(blobs(4)).mean)


def test_the_divergence_is_that_of_normal_distributions():
    encoding = Encoding(draws(6), draws(6, seed=5))
    normal = torch.distributions.Normal(encoding.mean, (0.5 * encoding.log_variance).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(normal, prior)
    torch.testing.assert_close(encoding.divergence(), expected)
    assert Encoding(torch.zeros(1, 2), torch.zeros(1, 2)).divergence().sum() == 0.0
    samples = encoding.at(torch.randn(20000, 1, 1, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(samples.mean(0), encoding.mean, rtol=0.0, atol=0.1)
    torch.testing.assert_close(samples.std(0), normal.stddev, rtol=0.03, atol=0.0)


@torch.no_grad()
def test_the_loss_is_the_bound_on_the_evidence_at_its_best_noise():
    network, maps, noise = autoencoder(), blobs(8), draws(8)
    encoding, truth = network.encode(maps), network.normalised(maps)
    decoded, sigma = network.decode(encoding.at(noise)), network.noise(truth)
    pixels, divergence = truth[0].numel(), encoding.divergence().sum(1).mean()

    def minus_bound(factor):
        """Per pixel, but for what does not depend on the network."""
        terms = 0.5 * ((decoded - truth) / (factor * sigma)).square() + math.log(factor)
        return float(terms.mean() + divergence / pixels)

    found = network.objective(maps, noise)
    best = float(found.chi_squared.sqrt())
    assert float(found.loss) == pytest.approx(minus_bound(best) - 0.5, rel=1e-5)
    assert minus_bound(best) < min(minus_bound(0.9 * best), minus_bound(1.1 * best))
    assert float(found.divergence) == pytest.approx(float(divergence), rel=1e-5)


@torch.no_grad()
def test_beta_and_free_bits_change_the_price_of_the_divergence():
    network, maps, noise = autoencoder(), blobs(8), draws(8)
    pixels = SIDE**2
    each = network.encode(maps).divergence().mean(0)
    free = 1.1 * float(each.min())
    without = float(network.objective(maps, noise, beta=0.0).loss)
    for beta, free_bits, price in (
        (1.0, 0.0, each.sum()),
        (0.3, 0.0, 0.3 * each.sum()),
        (1.0, free, each.clamp(min=free).sum()),
    ):
        loss = float(network.objective(maps, noise, beta, free_bits).loss)
        assert (loss - without) * pixels == pytest.approx(float(price), rel=1e-3)


def test_every_parameter_learns():
    network = autoencoder()
    network.objective(blobs(8), draws(8)).loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_it_learns_what_maps_have_in_common():
    torch.manual_seed(0)
    network = Autoencoder(**{**SMALL, "latent_dim": 3})
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    maps, generator = blobs(512), torch.Generator().manual_seed(6)
    for step in range(150):
        batch = maps[torch.randint(len(maps), (64,), generator=generator)]
        noise = torch.randn(64, DIM, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1.0 - step / 150)
        optimizer.zero_grad()
        network.objective(batch, noise, beta=min(1.0, step / 50)).loss.backward()
        optimizer.step()
    network.eval()
    unseen = blobs(256, seed=9)
    with torch.no_grad():
        encoding, truth = network.encode(unseen), network.normalised(unseen)
        decoded = network.decode(encoding.mean)
        typical = truth.mean(0)
    # The error over the spread of the maps.
    share = (decoded - truth).square().mean() / (typical - truth).square().mean()
    assert share < 0.01


@torch.no_grad()
def test_the_prior_is_what_all_encodings_look_like():
    network, maps = autoencoder(spread=0.3), blobs(200)
    before, decoded = network.encode(maps), network.decode(network.encode(maps).mean)
    assert (before.mean.square() + before.log_variance.exp()).mean(0).min() > 1.5
    network.learn_prior(before)
    after = network.encode(maps)
    torch.testing.assert_close(after.mean.mean(0), torch.zeros(DIM), rtol=0.0, atol=1e-4)
    covariance = torch.cov(after.mean.T, correction=0)
    variance = covariance.diag() + after.log_variance.exp().mean(0)
    torch.testing.assert_close(variance, torch.ones(DIM), rtol=1e-3, atol=0.0)
    # Of the uncertainty of single encodings, correlations are not known.
    assert (covariance - covariance.diag().diag()).abs().max() < 0.1
    # Latents are called otherwise; what they mean is the same.
    torch.testing.assert_close(network.decode(after.mean), decoded, rtol=1e-4, atol=1e-5)


def test_maps_are_encoded_in_half_precision_and_decoded_in_single():
    network, maps = autoencoder(), blobs(4)
    latents = draws(4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed, encoding = network.decode(latents), network.encode(maps)
    with torch.no_grad():
        assert torch.equal(network.decode(latents), mixed)
        single = network.encode(maps)
    assert not torch.equal(single.mean, encoding.mean) and encoding.mean.dtype == torch.float32
    torch.testing.assert_close(encoding.mean, single.mean, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size must be above 0"),
        ({"latent_dim": 0}, "latent_dim must be 1 to 32"),
        ({"latent_dim": 33}, "latent_dim must be 1 to 32"),
        ({"n_hidden": 0}, "n_hidden must be above 0"),
        ({"floor": 0.0}, "floor must be above 0"),
        ({"relative_noise": float("nan")}, "relative_noise must be above 0"),
        ({"disc_radius": 0.01}, "disc_radius must be at least half a pixel"),
        ({"disc_radius": 1.1}, "at most half the side"),
        ({"widths": []}, "widths has 0 entries"),
        ({"widths": [4, 4, 4, 4, 4]}, "size of 16 must be divisible by 2 as often"),
        ({"encoder_widths": [8, 12]}, "multiples of 8"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Autoencoder(**{**SMALL, **changes})
