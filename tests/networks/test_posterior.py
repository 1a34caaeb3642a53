"""Posterior networks: what they see of an image, what they call unusual, what is stored."""

import json
import math

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.posterior import PosteriorNetwork, _asinh

DIM, SIDE = 3, 16
SMALL = {"widths": [8, 16], "depths": [1, 1], "n_features": 16, "map_size": 2}


def network_of(head: str = "mixture", **backbone) -> PosteriorNetwork:
    """With weights as after training."""
    torch.manual_seed(1)
    options = {"n_components": 2} if head == "mixture" else {"n_transforms": 2, "n_hidden": 16}
    network = PosteriorNetwork(DIM, head, {**SMALL, **backbone}, options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.eval()


def inputs(n: int = 4, side: int = SIDE) -> tuple[torch.Tensor, ...]:
    """Images with noise that grows with light, a third of their pixels masked, and PSF widths."""
    generator = torch.Generator().manual_seed(2)
    signal = 10.0 * torch.rand(n, side, side, generator=generator)
    noise = (1.0 + 0.05 * signal).sqrt()
    images = signal + noise * torch.randn(signal.shape, generator=generator)
    mask = (torch.rand(signal.shape, generator=generator) > 1.0 / 3.0).float()
    return images, noise, mask, 1.5 + torch.rand(n, generator=generator)


def channels_of(network: PosteriorNetwork, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The channels and scalars that the residual network is given."""
    seen = []
    backbone = network.backbone
    hooks = [
        module.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        for module in (backbone.stem, backbone.blocks[0].film)
    ]
    network.features(*arguments)
    for hook in hooks:
        hook.remove()
    return tuple(seen)


@pytest.mark.parametrize("value", [0.0, -1e6, float("inf"), float("nan")])
@torch.no_grad()
def test_values_under_the_mask_are_not_seen(value):
    network = network_of()
    images, noise, mask, width = inputs()
    expected = network.features(images, noise, mask, width)
    hidden = torch.where(mask > 0, images, value)
    hidden_noise = torch.where(mask > 0, noise, value)
    assert torch.equal(network.features(hidden, hidden_noise, mask, width), expected)
    assert expected.isfinite().all()


@pytest.mark.parametrize("index", range(4))
@torch.no_grad()
def test_every_input_matters(index):
    network, given = network_of(), list(inputs())
    expected = network.features(*given)
    given[index] = torch.ones_like(given[index])
    assert not torch.allclose(network.features(*given), expected, atol=1e-3)


def test_channels_and_their_order():
    """Stored weights mean these and no others."""
    images, noise, mask, width = inputs()
    images[0, 0, 0], mask[0, 0, 0] = 1e5, 1.0
    channels, scalars = channels_of(network_of(), images, noise, mask, width)
    ratio = images / noise
    expected = (ratio.asinh() * mask, (0.1 * ratio).clip(-10, 100) * mask, noise.log() * mask)
    torch.testing.assert_close(channels, torch.stack((*expected, mask - 1.0), dim=1))
    assert channels[0, 1, 0, 0] == 100.0
    torch.testing.assert_close(scalars, width.log()[:, None])


def test_units_change_the_noise_channel_alone():
    images, noise, mask, width = inputs()
    before, _ = channels_of(network_of(), images, noise, mask, width)
    after, _ = channels_of(network_of(), 4.0 * images, 4.0 * noise, mask, width)
    expected = before.clone()
    expected[:, 2] += mask * torch.tensor(4.0).log()
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("head", ["mixture", "flow"])
@torch.no_grad()
def test_config_and_weights_are_the_network(head):
    network = network_of(head)
    network.learn_features(torch.randn(50, 16))
    again = PosteriorNetwork(**json.loads(json.dumps(network.config)))
    again.load_state_dict(network.state_dict())
    z = torch.randn(4, DIM)
    expected = network(*inputs()).log_prob(z)
    assert torch.equal(again.eval()(*inputs()).log_prob(z), expected)
    assert again.typical_distance == network.typical_distance


def test_names_of_the_weights():
    """Stored networks are read by them."""
    names = set(network_of().state_dict())
    block = {"norm_1.weight", "norm_1.bias", "conv_1.weight", "film.weight", "film.bias"}
    block |= {"conv_2.weight", "conv_2.bias"}
    expected = {f"backbone.blocks.{i}.{name}" for i in (0, 1) for name in block}
    expected |= {"backbone.blocks.1.skip.1.weight"}
    expected |= {
        f"backbone.{part}.{kind}"
        for part in ("stem.1", "head.0", "head.3")
        for kind in ("weight", "bias")
    }
    expected |= {"head.outputs.weight", "head.outputs.bias"}
    assert names == expected | {"feature_mean", "feature_whitener", "typical_distance"}


@pytest.mark.parametrize("head", ["mixture", "flow"])
@torch.no_grad()
def test_half_precision_changes_little(head):
    network = network_of(head)
    features = network.features(*inputs(200))
    network.learn_features(features)
    z = torch.randn(200, DIM)
    expected, distances = network(*inputs(200)).log_prob(z), network.distances(features)
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    difference = (network(*inputs(200)).log_prob(z) - expected).abs()
    assert difference.mean() < 0.01 and difference.max() < 0.1
    torch.testing.assert_close(
        network.distances(network.features(*inputs(200))), distances, rtol=0.02, atol=0.05
    )


@pytest.mark.parametrize("side", [64, 72, 96, 128, 192])
@torch.no_grad()
def test_images_of_64_to_192_pixels(side):
    network = network_of(widths=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    density = network(*inputs(2, side))
    assert density.log_prob(torch.zeros(2, DIM)).isfinite().all()


def correlated(n: int, seed: int) -> torch.Tensor:
    """Features of very different widths, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    values = torch.randn(n, 16, generator=generator) @ mixing + 3.0
    values[:, 5] = 0.25
    return values


@pytest.mark.parametrize("n", [100, 2000])
def test_one_in_a_thousand_is_untypical(n):
    network = network_of()
    network.learn_features(correlated(n, seed=1))
    share = (network.distances(correlated(100_000, seed=2)) > network.typical_distance).float()
    # The largest of a hundred are what one in a hundred are above.
    assert share.mean() < (0.002 if n == 2000 else 0.015)
    assert n < 2000 or share.mean() > 0.0002


def test_outliers_are_untypical():
    network = network_of()
    network.learn_features(correlated(2000, seed=1))
    typical = correlated(1, seed=3)
    spread = correlated(2000, seed=1).std(0)
    assert network.distances(typical) < network.typical_distance
    for i in (0, 7):
        outlier = typical.clone()
        outlier[:, i] += 6.0 * spread[i]
        assert network.distances(outlier) > network.typical_distance
    constant = typical.clone()
    constant[:, 5] += 3.0 * spread.max()
    assert network.distances(constant) > network.typical_distance


def test_nothing_is_untypical_before_features_are_learned():
    network = network_of()
    assert network.distances(1e3 * torch.randn(10, 16)).max() < network.typical_distance


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"head": "spline"}, "head 'spline'.*mixture, flow"),
        ({"backbone_options": {"width": [8]}}, "'width'"),
        ({"backbone_options": {"widths": [12], "depths": [1]}}, "divisible"),
        ({"backbone_options": {"widths": [8, 8], "depths": [1]}}, "2 widths for 1 depths"),
        ({"backbone_options": {"in_channels": 2}}, "in_channels"),
        ({"backbone_options": {"fovea": {"size": 13}}}, "fovea must be a multiple of its fold"),
        ({"head_options": {"n_bins": 8}}, "'n_bins'"),
        ({"head": "flow", "head_options": {"n_components": 8}}, "'n_components'"),
    ],
)
def test_bad_options(changes, match):
    with pytest.raises(OptionError, match=match) as raised:
        PosteriorNetwork(DIM, **changes)
    assert "\n" not in str(raised.value)


def ensai_of(head="moments", n_draws=16, **options):
    options = {"name": "ensai-6", "width": 0.5, "image_size": 96, "dropout": 0.1, **options}
    torch.manual_seed(3)
    return PosteriorNetwork(DIM, head, options, backbone="ensai", n_dropout_draws=n_draws).eval()


def images_of(n=3, side=96):
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(n, side, side, generator=generator)
    mask = torch.ones_like(images)
    mask[:, :20, :30] = 0.0
    return images, 0.1 * torch.ones_like(images), mask, torch.full((n,), 2.0)


@torch.no_grad()
def test_networks_of_ensai_see_shapes_alone():
    """Neither the unit, nor the background, nor what is masked matters."""
    network = ensai_of()
    images, noise, mask, width = images_of()
    expected = network(images, noise, mask, width).mean
    # The brightest pixel is the unit: the background has to leave it as it is.
    hidden = torch.where(mask > 0, 7.0 * images, torch.nan)
    again = network(hidden, 3.0 * noise, mask, 2.0 * width).mean
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(images.mT, noise, mask, width).mean, expected, atol=1e-3)


@torch.no_grad()
def test_dropout_widens_posteriors():
    """Mean and variance over draws: that of the mixture is their mean plus the scatter."""
    network, inputs = ensai_of(), images_of()
    plain = network(*inputs)
    assert plain.means.shape == (3, 1, DIM)
    network.dropout_rate.fill_(0.2)
    density = network(*inputs)
    assert density.means.shape == (3, 16, DIM)
    between = density.means.var(1, correction=0)
    within = density.roots.diagonal(dim1=-2, dim2=-1).pow(-2).mean(1)
    torch.testing.assert_close(density.variance, between + within, rtol=1e-4, atol=1e-6)
    assert (between > 0.0).all()
    # The same image has the same posterior.
    torch.testing.assert_close(network(*inputs).means, density.means)


@torch.no_grad()
def test_dropout_is_tuned_for_coverage():
    """Truths that scatter by what dropout does ask for dropout; by nothing more, for none."""
    network, inputs = ensai_of(n_draws=4), images_of(16)
    plain = network(*inputs)
    generator = torch.Generator().manual_seed(1)
    truths = plain.sample(1, generator)[0]
    network.learn_dropout([(inputs, truths)])
    assert float(network.dropout_rate) <= 0.02
    network.dropout_rate.fill_(0.15)
    truths = network(*inputs).sample(1, generator)[0]
    network.learn_dropout([(inputs, truths)])
    assert float(network.dropout_rate) >= 0.05


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"backbone": "vgg"}, "no backbone 'vgg': choose one of resnet, ensai"),
        ({"backbone": "ensai"}, "needs? .*name|missing .*'name'"),
        (
            {
                "backbone": "ensai",
                "backbone_options": {"name": "alexnet"},
                "head": "moments",
                "head_options": {"k": 3},
            },
            "unexpected keyword argument 'k'",
        ),
        ({"head": "moments"}, "256 features are not means and variances of 3 latents"),
    ],
)
def test_bad_backbones(arguments, match):
    with pytest.raises(OptionError, match=match):
        PosteriorNetwork(3, **arguments)


def test_asinh_is_that_of_torch():
    x = torch.cat((torch.logspace(-6, 4, 200), torch.zeros(1)))
    x = torch.cat((x, -x))
    torch.testing.assert_close(_asinh(x), torch.asinh(x), rtol=1e-5, atol=2e-7)
    assert math.copysign(1.0, float(_asinh(torch.tensor(-0.0)))) == -1.0
