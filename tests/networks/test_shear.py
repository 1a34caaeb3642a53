"""Shear networks: exact symmetry, units, calibration arithmetic, normalisation, refusals."""

import math

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.shear import (
    ShearNetwork,
    StampRegressor,
    brightness_from,
    noise_from,
    psf_moments,
)

# What flips and turns of an image do to (epsilon_1, epsilon_2).
SYMMETRIES = {
    "flip up and down": (lambda x: x.flip(-2), (1.0, -1.0)),
    "flip left and right": (lambda x: x.flip(-1), (1.0, -1.0)),
    "transpose": (lambda x: x.transpose(-2, -1), (-1.0, 1.0)),
    "quarter turn": (lambda x: torch.rot90(x, 1, (-2, -1)), (-1.0, -1.0)),
    "half turn": (lambda x: torch.rot90(x, 2, (-2, -1)), (1.0, 1.0)),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(n, size, seed=0):
    """Elliptical blobs of all sizes, with noise."""
    generator = seeded(seed)
    side = torch.arange(size) - 0.5 * (size - 1)
    x, y = side[None, None, :], -side[None, :, None]
    parts = torch.rand(n, 3, generator=generator)[:, :, None, None]
    a, b, c = 2.0 + 4.0 * parts[:, 0], 2.0 + 4.0 * parts[:, 1], 3.0 * (parts[:, 2] - 0.5)
    light = torch.exp(-0.5 * (a * x**2 + b * y**2 + 2.0 * c * x * y) / 16.0)
    return 20.0 * light + torch.randn(n, size, size, generator=generator)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = ShearNetwork(prior_variance=0.07, size=32, widths=(2, 3, 3, 4), n_hidden=5)
    return made.eval()


@pytest.fixture(scope="module")
def images():
    return blobs(6, 32), blobs(6, 40, seed=1).abs()


@pytest.mark.parametrize("name", SYMMETRIES)
def test_what_turns_with_the_image_turns_with_the_answer(network, images, name):
    move, signs = SYMMETRIES[name]
    stamps, psfs = images
    network.leakage.copy_(torch.linspace(-0.2, 0.2, 12).reshape(6, 2))
    network.response.copy_(torch.linspace(0.3, -0.1, 12).reshape(6, 2))
    signs = torch.tensor(signs)
    mean, log_odds = network(stamps, psfs)
    moved_mean, moved_log_odds = network(move(stamps), move(psfs))
    assert mean.abs().min() > 1e-4
    torch.testing.assert_close(moved_mean, signs * mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_log_odds, log_odds, atol=1e-5, rtol=1e-4)
    shears, errors = network.shears(stamps, psfs)
    moved_shears, moved_errors = network.shears(move(stamps), move(psfs))
    torch.testing.assert_close(moved_shears, signs * shears, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_errors, errors, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        psf_moments(move(psfs)), signs * psf_moments(psfs), atol=1e-5, rtol=0
    )


def test_units_do_not_matter(network, images):
    stamps, psfs = images
    for first, second in zip(
        network(stamps, psfs), network(1e-3 * stamps, 50.0 * psfs), strict=True
    ):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_answers_are_those_of_each_galaxy_alone(network, images):
    stamps, psfs = images
    together = network.shears(stamps, psfs)
    alone = network.shears(stamps[2:3], psfs[2:3])
    for whole, part in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[2:3], part, atol=1e-5, rtol=1e-4)


def test_both_images_matter_and_every_weight_learns(network, images):
    stamps, psfs = images
    mean, log_odds = network(stamps, psfs)
    assert not torch.allclose(mean, network(stamps, psfs.flip(0))[0], atol=1e-4)
    assert not torch.allclose(mean, network(stamps.flip(0), psfs)[0], atol=1e-4)
    (mean.square().sum() + log_odds.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0.0, name
    network.zero_grad()


def test_variances_stay_below_the_prior(network):
    log_odds = torch.tensor([-20.0, 0.0, 20.0])
    variance = network.log_variance(log_odds).exp()
    assert variance[1] == pytest.approx(0.035)
    assert (variance < 0.07 * 1.0001).all() and (variance > 0.0).all()


def test_calibration_is_the_arithmetic_that_it_states(network, images):
    stamps, psfs = images
    network.response.zero_()[0] = torch.tensor([0.05, 0.1])
    network.leakage.zero_()[0] = 0.2
    network.noise_scale.fill_(1.5)
    mean, log_odds = network(stamps, psfs)
    rho = torch.sigmoid(-log_odds)
    shears, errors = network.shears(stamps, psfs)
    expected = torch.tensor([1.05, 1.1]) * mean - 0.2 * psf_moments(psfs)
    torch.testing.assert_close(shears, expected / rho[:, None])
    torch.testing.assert_close(errors, 1.5 * torch.sqrt(0.07 / rho))
    torch.testing.assert_close(network.response_of(log_odds), rho)
    network.noise_scale.fill_(1.0)


def test_terms_of_the_calibration(network):
    log_odds = torch.tensor([-9.0, -6.0, -2.0, 2.0, 5.0])
    stamps = torch.randn(5, 32, 32, generator=seeded())
    stamps[:, 14:18, 14:18] += 30.0
    one, x, y, *products = network.terms(stamps, log_odds).T
    torch.testing.assert_close(one, torch.ones(5))
    torch.testing.assert_close(x, torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))
    expected = (2.0 * brightness_from(stamps).log() - 7.0) / 5.0
    torch.testing.assert_close(y, expected)
    for found, product in zip(products, (x * x, x * y, y * y), strict=True):
        torch.testing.assert_close(found, product)


def test_brightness_is_a_signal_to_noise():
    stamps = torch.randn(2000, 32, 32, generator=seeded())
    assert brightness_from(stamps).std() == pytest.approx(1.0, abs=0.06)
    side = torch.arange(32) - 15.5
    matched = torch.exp(-0.5 * (side[:, None] ** 2 + side**2) / 16.0)
    matched = 30.0 * matched / torch.linalg.vector_norm(matched)
    assert brightness_from(stamps + matched).mean() == pytest.approx(30.0, rel=0.02)


def test_moments_of_psfs():
    side = torch.arange(24) - 11.5
    x, y = side[None, :], -side[:, None]

    def psf(e, dx=0.0, dy=0.0):
        # Second moments of sigma 1.5 px and ellipticity e, less what the weight takes.
        xx, yy, xy = 2.25 * (1.0 + e[0]), 2.25 * (1.0 - e[0]), 2.25 * e[1]
        u, v = x - dx, y - dy
        return torch.exp(-0.5 * (yy * u**2 - 2 * xy * u * v + xx * v**2) / (xx * yy - xy**2))

    found = psf_moments(torch.stack((psf((0.1, 0.0)), psf((0.0, 0.1)), psf((0.0, 0.0)))))
    assert found[0, 0] > 0.05 and found[1, 1] == pytest.approx(float(found[0, 0]), rel=1e-3)
    assert found[0, 1].abs() < 1e-5 and found[2].abs().max() < 1e-5
    moved = psf_moments(psf((0.1, 0.0), 0.6, -0.4)[None])
    torch.testing.assert_close(moved[0], found[0], atol=2e-3, rtol=0)
    # An odd number of pixels puts the PSF off the middle by half of one.
    odd = psf_moments(torch.nn.functional.pad(psf((0.1, 0.0))[1:, 1:], (4, 4, 4, 4))[None])
    torch.testing.assert_close(odd[0], found[0], atol=2e-3, rtol=0)


def test_noise_of_stamps():
    stamps = 3.0 * torch.randn(200, 48, 48, generator=seeded())
    stamps[:, 20:28, 20:28] += 100.0
    assert noise_from(stamps).mean() == pytest.approx(3.0, rel=0.02)
    # Without noise, something finite: a fraction of the brightest pixel.
    silent = torch.zeros(1, 48, 48)
    silent[0, 24, 24] = 50.0
    assert noise_from(silent)[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_variance": 0.0}, "prior_variance must be above 0"),
        ({"size": 44}, "size must be a multiple of 8"),
        ({"size": 8}, "size must be a multiple of 8"),
        ({"widths": (4, 8, 8)}, "must be four numbers above 0"),
        ({"psf_widths": (4, 8, 8, 0)}, "must be four numbers above 0"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=message):
        ShearNetwork(**{"prior_variance": 0.07, **options})


def test_networks_are_made_again_from_their_arguments(network):
    again = ShearNetwork(**network.config)
    again.load_state_dict(network.state_dict())
    assert again.config == network.config
    stored = set(network.state_dict())
    assert {"response", "leakage", "noise_scale"} < stored and "signs" not in stored


@pytest.fixture(scope="module")
def regressor():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return StampRegressor(["g1", "flux"], [-0.4, 10.0], [0.4, 30.0], size=(24, 32)).eval()


def test_normalisation_is_part_of_the_network(regressor):
    values = torch.tensor([[-0.4, 10.0], [0.0, 20.0], [0.4, 30.0]])
    expected = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    torch.testing.assert_close(regressor.scaled(values), expected)
    stamps = torch.randn(3, 24, 32, generator=seeded())
    torch.testing.assert_close(regressor.scaled(regressor(stamps)), regressor.raw(stamps))
    again = StampRegressor(**regressor.config)
    again.load_state_dict(regressor.state_dict())
    torch.testing.assert_close(again.eval()(stamps), regressor(stamps))


def test_colours_and_channels(regressor):
    stamps = torch.randn(2, 24, 32, generator=seeded())
    torch.testing.assert_close(regressor(stamps), regressor(stamps[:, None]))
    colours = StampRegressor(["g1"], [0.0], [1.0], size=(24, 32), in_channels=3)
    assert colours(torch.randn(2, 3, 24, 32, generator=seeded())).shape == (2, 1)


def test_regressors_that_cannot_be():
    with pytest.raises(OptionError, match="fold 2 must divide both sides"):
        StampRegressor(["g1"], [0.0], [1.0], size=(24, 33))
    with pytest.raises(OptionError, match=r"network: .*depth"):
        StampRegressor(["g1"], [0.0], [1.0], backbone_options={"depth": 3})


def test_log_prior(network):
    assert network.log_variance(torch.tensor(50.0)) == pytest.approx(math.log(0.07), abs=1e-5)
