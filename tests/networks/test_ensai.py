"""Ensai's networks: their layers counted by hand, and what holds for all eleven of them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.ensai import (
    ALIASES,
    ENSAI,
    SLIM_WIDTHS,
    Conv,
    Dropout,
    EnsaiNetwork,
    Mean,
    _Options,
    ensai_network,
    sampled_dropout,
    subtract_background,
)
from autolens_ml.networks.heads import FlowHead, MixtureHead


def conv(n_in, n_out, *kernel):
    """Weights and biases; a kernel of one number is square."""
    return n_in * n_out * kernel[0] * kernel[-1] + n_out


def dense(n_in, n_out):
    return n_in * n_out + n_out


def normed(n_in, n_out, *kernel):
    """Weights, and scale and shift of the batch normalisation."""
    return n_in * n_out * kernel[0] * kernel[-1] + 2 * n_out


def block(n_in):
    return (
        conv(n_in, 32, 1)
        + conv(n_in, 16, 1)
        + conv(16, 16, 3)
        + conv(n_in, 32, 1)
        + conv(32, 32, 3)
        + conv(32, 32, 5)
        + conv(32, 32, 10)
        + conv(n_in, 32, 1)
    )


def linear_start(n):
    return conv(1, n, 3) + conv(n, n, 1) + conv(n, n, 5) + conv(n, n, 1)


def inception(n_channels):
    """Inception-v4 without its last layer, from the figures of Szegedy et al. 2016."""
    stem = normed(n_channels, 32, 3) + normed(32, 32, 3) + normed(32, 64, 3) + normed(64, 96, 3)
    stem += normed(160, 64, 1) + normed(64, 96, 3)
    stem += normed(160, 64, 1) + normed(64, 64, 1, 7) + normed(64, 64, 7, 1) + normed(64, 96, 3)
    stem += normed(192, 192, 3)
    a = 2 * normed(384, 96, 1) + 2 * normed(384, 64, 1) + 2 * normed(64, 96, 3) + normed(96, 96, 3)
    to_b = normed(384, 384, 3) + normed(384, 192, 1) + normed(192, 224, 3) + normed(224, 256, 3)
    b = normed(1024, 384, 1) + normed(1024, 128, 1)
    b += normed(1024, 192, 1) + normed(192, 224, 7, 1) + normed(224, 256, 7, 1)
    b += normed(1024, 192, 1) + normed(192, 192, 7, 1) + normed(192, 224, 7, 1)
    b += normed(224, 224, 7, 1) + normed(224, 256, 7, 1)
    to_c = normed(1024, 192, 1) + normed(192, 192, 3)
    to_c += normed(1024, 256, 1) + normed(256, 256, 7, 1) + normed(256, 320, 7, 1)
    to_c += normed(320, 320, 3)
    c = 2 * normed(1536, 256, 1) + normed(1536, 384, 1) + 2 * normed(384, 256, 3, 1)
    c += normed(1536, 384, 1) + normed(384, 448, 3, 1) + normed(448, 512, 3, 1)
    c += 2 * normed(512, 256, 3, 1)
    return stem + 4 * a + to_b + 7 * b + to_c + 3 * c


# Sides of the maps: 192 pixels, halved by "same" strides; (n - k) // s + 1 otherwise.
COUNTS = {
    # 192 -> 95 -> 47
    "ensai-1": block(1) + 3 * block(112) + dense(47**2 * 112, 124) + dense(124, 5),
    # 192 -> 95 -> 47 -> 24 -> 12 -> 6
    "ensai-2": conv(1, 16, 3)
    + conv(16, 16, 3)
    + conv(16, 32, 3)
    + conv(32, 32, 1)
    + 3 * conv(32, 32, 5)
    + conv(32, 32, 1)
    + dense(6**2 * 32, 124)
    + dense(124, 5),
    # 192 -> 96 -> 48 -> 24 -> 12
    "ensai-3": linear_start(16)
    + 2 * (conv(16, 16, 10) + conv(16, 16, 1))
    + (conv(16, 32, 10) + conv(32, 32, 1))
    + (conv(32, 64, 3) + conv(64, 64, 1))
    + dense(12**2 * 64, 124)
    + dense(124, 5),
    # 192 -> 96
    "ensai-4": linear_start(16)
    + (conv(16, 16, 20) + conv(16, 16, 1))
    + (dense(96**2 * 16, 32) + dense(32, 16) + dense(16, 5)),
    # 192 -> 46 -> 23 -> 19 -> 9 -> 4 -> 3
    "ensai-5": conv(1, 64, 11)
    + conv(64, 256, 5)
    + conv(256, 512, 3)
    + conv(512, 1024, 3)
    + conv(1024, 1024, 3)
    + conv(1024, 3072, 2)
    + conv(3072, 4096, 1)
    + conv(4096, 5, 1)
    + dense(3**2 * 5, 5),
    # 192 -> 95 -> 47 -> 23 -> 11 -> 5
    "ensai-6": conv(1, 8, 3)
    + conv(8, 8, 5)
    + conv(8, 16, 5)
    + 2 * conv(16, 16, 3)
    + dense(5**2 * 16, 128)
    + dense(128, 5),
    "ensai-7": dense(192**2, 128) + dense(128, 64) + dense(64, 5),
    # 192 -> 96 -> 48 -> 24
    "ensai-8": linear_start(32)
    + 2 * (conv(32, 32, 10) + conv(32, 32, 1))
    + (conv(32, 64, 10) + conv(64, 64, 1))
    + (conv(64, 64, 10) + conv(64, 64, 1))
    + (conv(64, 128, 10) + conv(128, 128, 1))
    + (conv(128, 256, 3) + conv(256, 256, 1))
    + dense(24**2 * 256, 512)
    + dense(512, 5),
    # 192 -> 46 -> 22 -> 10 -> 4 -> 1
    "ensai-9": conv(1, 64, 11)
    + conv(64, 192, 5)
    + conv(192, 384, 3)
    + conv(384, 384, 3)
    + conv(384, 256, 3)
    + conv(256, 4096, 4)
    + conv(4096, 4096, 1)
    + conv(4096, 5, 1),
    # 192 -> 96 -> 48 -> 24 -> 12 -> 6
    "ensai-10": conv(1, 64, 2)
    + 2 * conv(64, 64, 2)
    + conv(64, 128, 3)
    + conv(128, 128, 3)
    + conv(128, 256, 3)
    + (dense(6**2 * 256, 1024) + dense(1024, 128) + dense(128, 5)),
    "ensai-11": inception(1) + dense(1536, 5),
}

FEATURES = dict(zip(ENSAI, (124, 124, 124, 16, 9 * 5, 128, 64, 512, 4096, 128, 1536), strict=True))


def on_meta(name, **options):
    with torch.device("meta"):
        return ensai_network(name, **options)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def images(n, seed=0, size=192):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def small(name, **options):
    """A network of random weights that is fast."""
    torch.manual_seed(0)
    return ensai_network(name, width=0.15, **options)


@pytest.mark.parametrize("name", ENSAI)
def test_parameters_at_full_width(name):
    network = on_meta(name)
    assert count(network) == COUNTS[name]
    assert network.n_features == FEATURES[name]


def test_inception_has_the_published_number_of_parameters():
    # 42.68 million for the 1000 classes and three colours of ImageNet, without auxiliary outputs.
    assert count(on_meta("inception-v4", n_outputs=1000, in_channels=3)) == 42_679_816


def test_maps_of_inception_are_those_of_the_paper():
    network = on_meta("inception-v4", in_channels=3, image_size=299)
    shapes = []
    maps = torch.empty(1, 3, 299, 299, device="meta")
    for layer in network.layers:
        maps = layer(maps)
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.ReLU):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == [
        *((160, 73, 73), (192, 71, 71), (384, 35, 35)),
        *[(384, 35, 35)] * 4,
        *[(1024, 17, 17)] * 8,
        *[(1536, 8, 8)] * 4,
        (1536, 1, 1),
    ]


def test_means_of_inception_leave_padding_out():
    (pool,), _ = Mean(3).built((1, 5, 5), _Options(1.0, 1, 0.0, "all"))
    ones = torch.ones(1, 1, 5, 5)
    assert torch.equal(pool(ones), ones)


def test_slim_networks_are_alike_in_size():
    assert set(SLIM_WIDTHS) == set(ALIASES.values())
    for name, width in SLIM_WIDTHS.items():
        network = on_meta(name, width=width, n_outputs=10)
        stored = sum(values.numel() for values in network.state_dict().values())
        assert 0.6e6 < stored < 0.8e6, name


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias, name):
    assert on_meta(alias, width=0.1).config == on_meta(name, width=0.1).config


@pytest.mark.parametrize("name", ENSAI)
def test_shapes_gradients_and_single_images(name):
    network = small(name, n_outputs=7)
    batch = images(3)
    features = network.features(batch)
    assert features.shape == (3, network.n_features)
    outputs = network(batch)
    assert outputs.shape == (3, 7) and outputs.isfinite().all()
    outputs.square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and gradient.isfinite().all(), parameter_name
        assert gradient.abs().max() > 0.0, parameter_name

    network.eval()
    with torch.no_grad():
        outputs = network(batch)
        alone = torch.cat([network(image[None]) for image in batch])
        torch.testing.assert_close(outputs, alone, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.readout(network.features(batch)), outputs)


def test_images_with_more_channels_and_pixels():
    network = small("alexnet", in_channels=4, image_size=224)
    # 224 -> 54 -> 26 -> 12 -> 5: two positions a side see windows of four.
    assert network.n_features == 2**2 * round(0.15 * 4096)
    assert network(torch.rand(2, 4, 224, 224)).shape == (2, 5)


def test_a_network_at_full_width_answers():
    with torch.no_grad():
        assert ensai_network("ensai-6")(images(2)).shape == (2, 5)


@pytest.mark.parametrize(
    ("kernel", "stride", "tap", "expected"),
    [
        # All that TensorFlow cannot halve it pads below and to the right.
        (2, 1, 0, slice(None)),
        (10, 1, 4, slice(None)),
        (3, 2, 0, slice(0, None, 2)),
        (5, 2, 1, slice(0, None, 2)),
        (10, 2, 4, slice(0, None, 2)),
        (3, 1, 1, slice(None)),
    ],
)
def test_same_padding_is_that_of_tensorflow(kernel, stride, tap, expected):
    layer = Conv(1, kernel, stride, activation="linear")
    modules, shape = layer.built((1, 24, 24), _Options(1.0, 1, 0.0, "all"))
    stack = nn.Sequential(*modules)
    with torch.no_grad():
        stack[-1].weight.zero_()
        stack[-1].weight[..., tap, tap] = 1.0
        picture = images(1, size=24)
        seen = stack(picture)
    assert seen.shape[1:] == shape
    assert torch.equal(seen, picture[..., expected, expected])


def test_signals_neither_vanish_nor_explode():
    for name in SLIM_WIDTHS:
        torch.manual_seed(1)
        network = ensai_network(name, width=SLIM_WIDTHS[name]).eval()
        with torch.no_grad():
            spread = network.features(images(8)).std()
        assert 1e-2 < spread < 1e2, name


@pytest.mark.parametrize("name", ENSAI)
def test_dropout_stands_before_every_layer_with_weights(name):
    network = on_meta(name, width=0.1, dropout=0.1)
    kinds = [m for m in network.modules() if isinstance(m, Dropout | nn.Conv2d | nn.Linear)]
    assert all(isinstance(module, Dropout) for module in kinds[::2])
    assert not any(isinstance(module, Dropout) for module in kinds[1::2])
    assert len(kinds) == 2 * sum(isinstance(m, nn.Conv2d | nn.Linear) for m in kinds)
    assert all(module.rate == 0.1 for module in kinds[::2])
    assert not any(isinstance(m, Dropout) for m in on_meta(name, width=0.1).modules())


@pytest.mark.parametrize("name", ENSAI)
def test_dropout_before_dense_layers_alone(name):
    network = on_meta(name, width=0.1, dropout=0.1, dropout_layers="dense")
    kinds = [m for m in network.modules() if isinstance(m, Dropout | nn.Conv2d | nn.Linear)]
    before = [
        isinstance(earlier, Dropout)
        for earlier, later in pairwise([None, *kinds])
        if isinstance(later, nn.Linear)
    ]
    assert before and all(before)
    assert sum(isinstance(m, Dropout) for m in kinds) == len(before)


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = Dropout(0.3).eval()
    ones = torch.ones(200, 1000)
    assert torch.equal(layer(ones), ones)
    with sampled_dropout(layer, torch.Generator().manual_seed(1)):
        dropped = layer(ones)
    # The share of 2e5 numbers is known to 0.001.
    assert (dropped == 0.0).float().mean() == pytest.approx(0.3, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1.0 / 0.7])
    assert layer.train()(ones).mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["ensai-6", "inception-v4"])
def test_monte_carlo_dropout(name):
    network = small(name, dropout=0.1).eval()
    batch = images(2)
    statistics = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        fixed = network(batch)
        draws = []
        for seed in (1, 1, 2):
            with sampled_dropout(network, torch.Generator().manual_seed(seed)):
                draws.append(torch.stack([network(batch), network(batch)]))
        assert torch.equal(network(batch), fixed)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], fixed)
    # Statistics of a batch normalisation stay those of training.
    assert all(torch.equal(v, statistics[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("layers", ["all", "dense"])
@pytest.mark.parametrize("name", ["ensai-6", "inception-v4"])
def test_draws_are_calls_that_share_what_is_not_dropped(name, layers):
    network = small(name, dropout=0.1, dropout_layers=layers).eval()
    convolution = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    calls = []
    convolution.register_forward_hook(lambda *_: calls.append(1))
    batch = images(2)
    with torch.no_grad():
        with sampled_dropout(network, torch.Generator().manual_seed(1)):
            expected = [network(batch) for _ in range(3)]
        calls.clear()
        with sampled_dropout(network, torch.Generator().manual_seed(1)):
            drawn = network.draws(batch, 3)
    assert len(drawn) == 3 and all(map(torch.equal, drawn, expected))
    assert not torch.equal(drawn[0], drawn[1])
    assert len(calls) == (3 if layers == "all" else 1)
    with pytest.raises(OptionError, match="images of shape"):
        network.draws(torch.zeros(1, 1, 3, 3), 2)


def test_dropout_is_off_again_after_an_error():
    network = small("ensai-6", dropout=0.2).eval()
    with (
        pytest.raises(OptionError),
        sampled_dropout(network, torch.Generator()),
    ):
        network(torch.zeros(1, 1, 3, 3))
    assert torch.equal(network(images(1)), network(images(1)))


def test_a_network_without_dropout_has_no_draws():
    with (
        pytest.raises(OptionError, match="no dropout"),
        sampled_dropout(small("ensai-6"), torch.Generator()),
    ):
        pass


def test_config_and_weights_make_the_network_again():
    network = small("overfeat", n_outputs=10, dropout=0.05, dropout_layers="dense").eval()
    again = EnsaiNetwork(**network.config).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images(1)), network(images(1)))


@pytest.mark.parametrize("head", [MixtureHead, FlowHead])
def test_other_heads_sit_on_the_features(head):
    network = small("alexnet")
    density = head(network.n_features, 5)(network.features(images(3)))
    log_prob = density.log_prob(torch.zeros(3, 5))
    assert log_prob.shape == (3,)
    log_prob.sum().backward()
    gradients = [p.grad for p in network.layers.parameters()]
    assert all(gradient is not None and gradient.abs().max() > 0.0 for gradient in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet"}, "no network 'resnet': choose one of ensai-1"),
        ({"width": 0.0}, "width"),
        ({"width": math.nan}, "width"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout_layers": "last"}, "dropout_layers must be all or dense, not 'last'"),
        ({"n_outputs": 0}, "n_outputs"),
        ({"in_channels": 0}, "in_channels"),
        ({"image_size": 96}, "image_size is too small"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(OptionError, match=message) as error:
        on_meta(**{"name": "alexnet", **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(1, 1, 96, 96), (1, 2, 192, 192), (192, 192)])
def test_images_of_another_shape(shape):
    with pytest.raises(OptionError, match="takes"):
        small("ensai-6")(torch.zeros(shape))


def test_background_is_the_lowest_mean_of_four_by_four():
    picture = images(2)[:, 0]
    mask = torch.ones_like(picture)
    windows = np.lib.stride_tricks.sliding_window_view(picture.numpy(), (4, 4), axis=(1, 2))
    lowest = windows.mean(axis=(3, 4)).min(axis=(1, 2))
    seen = subtract_background(picture, mask)
    np.testing.assert_allclose(seen, picture.numpy() - lowest[:, None, None], atol=1e-6)
    torch.testing.assert_close(subtract_background(picture + 0.7, mask), seen)


def test_background_without_masked_pixels():
    picture = images(2)[:, 0]
    mask = torch.ones_like(picture)
    mask[0, 30:60, 40:70] = 0.0
    seen = subtract_background(picture, mask)
    for value in (-5.0, 1e6, math.nan):
        changed = torch.where(mask > 0, picture, value)
        assert torch.equal(subtract_background(changed, mask), seen)
    assert not seen[mask == 0].any()
    # The other image is nobody's business.
    assert torch.equal(seen[1:], subtract_background(picture[1:], mask[1:]))


def test_background_of_an_image_with_no_free_square():
    picture = images(1)[:, 0]
    mask = torch.ones_like(picture)
    mask[:, ::3, ::3] = 0.0
    assert torch.equal(subtract_background(picture, mask), picture * mask)
