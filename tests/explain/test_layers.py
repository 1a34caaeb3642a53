"""Convolutions, and where on the image their answers lie."""

import numpy as np
import pytest
import torch

from autolens_ml.explain import kernel_answers, layers_of
from autolens_ml.explain.layers import placed
from tests.explain.known import NETWORKS, ChannelFinder, cutout, made


@pytest.mark.parametrize("name", ["OU66", "OU200"])
def test_pixels_of_maps_lie_in_the_middle_of_what_they_see(name):
    network = made(name, 1)
    side = network.side
    x = torch.randn(
        1, 1, side, side, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    layers = layers_of(network)
    indices = {"OU66": (0, 4, 7, 10, 13, 17, 20, 23, 26), "OU200": (0, 4, 8, 12, 16, 19)}[name]
    assert [layer.name for layer in layers] == [f"layer.{i}" for i in indices]
    for layer in layers:
        found = []
        handle = layer.convolution.register_forward_hook(lambda *call, f=found: f.append(call[2]))
        network.logits(x)
        handle.remove()
        assert found[0].shape == (1, layer.n_kernels, layer.side, layer.side)
        for i in (0, layer.side - 1):
            (gradient,) = torch.autograd.grad(
                found[0][0, :, i, i].square().sum(), x, retain_graph=True
            )
            rows = torch.nonzero(gradient[0, 0].abs().sum(1))
            middle = 0.5 * float(rows.min() + rows.max())
            assert middle == layer.start + layer.spacing * i


@pytest.mark.parametrize("name", ["DihedralFinder", "DihedralFinder, stride 1"])
def test_maps_of_symmetric_networks_lie_around_the_middle(name):
    network = made(name, 1)
    layers = layers_of(network)
    stride = 1.0 if "stride" in name else 2.0
    assert [layer.spacing for layer in layers] == [stride] * 3 + [2.0 * stride] * 3
    for layer in layers:
        middle = layer.start + 0.5 * layer.spacing * (layer.side - 1)
        assert middle == 0.5 * (network.side - 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_next_layer_sees(name):
    network = made(name, 1)
    layers = layers_of(network)
    assert [layer.number for layer in layers] == list(range(1, len(layers) + 1))
    shapes = {}
    for layer in layers:
        for module in (layer.convolution, layer.features):
            module.register_forward_hook(lambda m, i, o: shapes.setdefault(m, o))
    network(torch.from_numpy(cutout(1, network.side)[None]))
    for layer in layers:
        assert shapes[layer.convolution].shape == shapes[layer.features].shape
    if name == "OU66":
        # After ReLU, where no maximum comes first.
        eighth = layers[7]
        assert torch.equal(shapes[eighth.features], shapes[eighth.convolution].relu())


def test_maps_are_placed_where_they_belong():
    layer = layers_of(made("OU66", 1))[7]
    assert (layer.side, layer.spacing, layer.start) == (6, 4.0, 22.5)
    maps = torch.zeros(6, 6)
    maps[1, 4] = 2.0
    on_image = placed(maps, layer, 66)
    rows, columns = on_image.sum(1), on_image.sum(0)
    at = torch.arange(66.0)
    assert float(rows @ at / rows.sum()) == pytest.approx(26.5)
    assert float(columns @ at / columns.sum()) == pytest.approx(38.5)
    # Light is shared among pixels, and a flat map is flat within.
    assert float(on_image.sum()) == pytest.approx(2.0 * 4.0**2)
    flat = placed(torch.ones(6, 6), layer, 66)
    assert torch.all(flat[23:43, 23:43] == 1.0) and torch.all(flat[:18] == 0.0)


def test_answers_are_those_of_the_kernels():
    network, image = ChannelFinder([1.0, -2.0], [1.0, 1.0]), cutout(1, 12)
    (answers,) = kernel_answers(network, image)
    seen = network.normalised(torch.from_numpy(image[None]))[0, 0].numpy()
    assert answers.maps[0] == pytest.approx(seen)
    assert answers.maps[1] == pytest.approx(-2.0 * seen)
    assert answers.means == pytest.approx([seen.mean(), -2.0 * seen.mean()])
    assert answers.strongest(5).tolist() == [1, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_all_kernels_answer(name):
    network = made(name, 2)
    answers = kernel_answers(network, cutout(2, network.side))
    assert [answer.maps.shape for answer in answers] == [
        (layer.n_kernels, layer.side, layer.side) for layer in layers_of(network)
    ]
    assert all(np.isfinite(answer.maps).all() for answer in answers)
