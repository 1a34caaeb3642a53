"""Maps of what matters: against what can be worked out, and symmetries."""

import sys
import warnings

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop

from autolens_ml.exceptions import OptionError
from autolens_ml.explain import METHODS, guided_backprop, guided_grad_cam, occlusion_map
from autolens_ml.explain.attribution import grad_cam
from autolens_ml.explain.scores import Score, normalised_from
from tests.explain.known import NETWORKS, SMALL, ChannelFinder, LinearFinder, cutout, made, ring

COARSE = {"occlusion": {"window": 6}, "OU66": {"window": 22}, "OU200": {"window": 100}}


def options(method, name):
    return COARSE.get(name, COARSE["occlusion"]) if method == "occlusion" else {}


def in_blocks(values, window):
    """Sums over squares, at each of their pixels."""
    n_bands, side, _ = values.shape
    n = side // window
    sums = values.reshape(n_bands, n, window, n, window).sum((0, 2, 4))
    return np.kron(sums, np.ones((window, window)))


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("lens", [True, False])
def test_occlusion_of_a_linear_network_is_what_the_squares_added(window, lens):
    rng = np.random.default_rng(2)
    network = LinearFinder(0.02 * rng.standard_normal((2, 24, 24)), temperature=2.0)
    image = cutout(2, 24)
    seen = normalised_from(network, image)[0].double().numpy()
    weights = network.weights.detach().double().numpy()
    sign = 1.0 if lens else -1.0
    lost = sign * in_blocks(seen * weights, window) / 2.0
    whole = sign * float((seen * weights).sum()) / 2.0

    odds = occlusion_map(network, image, lens=lens, window=window, log_odds=True)
    assert odds.shape == (1, 24, 24)
    assert odds[0] == pytest.approx(-lost, abs=2e-6)
    found = occlusion_map(network, image, lens=lens, window=window)
    expected = 1.0 / (1.0 + np.exp(lost - whole)) - 1.0 / (1.0 + np.exp(-whole))
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_occlusion_is_negative_where_a_lens_is_seen():
    image = cutout(1, 24)
    network = LinearFinder(ring())
    found = occlusion_map(network, image)[0]
    y, x = np.indices((24, 24)) - 11.5
    arc = (np.abs(np.hypot(y, x) / 24 - 0.2) < 0.02) & (x > y)
    assert found[arc].max() < 0.0
    assert np.all(found[:, -3:] == 0.0)


def test_occlusion_by_band_adds_up_for_a_linear_network():
    network = LinearFinder(np.concatenate((ring(), -0.5 * ring())))
    image = cutout(2, 24)
    both = occlusion_map(network, image, window=2, log_odds=True)
    each = occlusion_map(network, image, window=2, log_odds=True, by_band=True)
    assert each.shape == (2, 24, 24) and not np.allclose(each[0], each[1])
    assert each.sum(0) == pytest.approx(both[0], abs=2e-6)


def test_squares_that_overlap_are_averaged():
    weights = np.zeros((1, 24, 24))
    weights[0, 12, 12] = 0.1
    network, image = LinearFinder(weights), cutout(1, 24)
    found = occlusion_map(network, image, window=2, stride=1, log_odds=True)[0]
    loss = found[12, 12]
    # All four squares with this pixel hide it, and half or a quarter of those with its neighbours.
    assert loss == pytest.approx(-0.1 * float(normalised_from(network, image)[0, 0, 12, 12]))
    assert found[11, 12] == pytest.approx(0.5 * loss, abs=1e-6)
    assert found[11, 11] == pytest.approx(0.25 * loss, abs=1e-6)


@pytest.mark.parametrize(("side", "window"), [(66, 1), (200, 4)])
def test_squares_have_the_sizes_of_the_paper(side, window, monkeypatch):
    from captum import attr

    asked = {}

    class Occlusion:
        def __init__(self, function):
            pass

        def attribute(self, images, **options):
            asked.update(options)
            return torch.zeros_like(images)

    monkeypatch.setattr(attr, "Occlusion", Occlusion)
    occlusion_map(LinearFinder(np.ones((3, side, side))), cutout(3, side))
    assert asked["sliding_window_shapes"] == asked["strides"] == (3, window, window)
    assert asked["baselines"] == 0.0


@pytest.mark.parametrize("channel", [0, 2])
def test_grad_cam_is_the_map_of_the_only_channel_that_counts(channel):
    factors = [0.0, 0.0, 0.0]
    factors[channel] = 3.0
    network, image = ChannelFinder([1.0, -1.0, 0.5], factors), cutout(1, 12)
    seen = normalised_from(network, image)[0, 0].numpy()
    # The gradient of a mean over 144 pixels is 1 / 144 at each of them.
    expected = 3.0 / 144.0 * np.maximum(seen * [1.0, -1.0, 0.5][channel], 0.0)
    assert grad_cam(network, image)[0] == pytest.approx(expected, rel=1e-5, abs=1e-8)
    # What speaks for one class speaks against the other, and is not shown there.
    assert np.all(grad_cam(network, image, lens=False) == 0.0)


@pytest.mark.parametrize("silu", [False, True])
def test_guided_backprop_drops_negative_gradients(silu):
    network, image = ChannelFinder([1.0, 2.0], [1.0, -1.0], silu), cutout(1, 12)
    x = normalised_from(network, image)[0].double().numpy()
    if silu:
        s = 1.0 / (1.0 + np.exp(-x))
        slope = s * (1.0 + x * (1.0 - s))
    else:
        slope = (x > 0.0).astype(float)
    # The second kernel speaks against the class: its gradients are negative, but where SiLU falls.
    expected = np.maximum(slope, 0.0) / 144.0
    if silu:
        s = 1.0 / (1.0 + np.exp(-2.0 * x))
        expected += 2.0 * np.maximum(-s * (1.0 + 2.0 * x * (1.0 - s)), 0.0) / 144.0
    expected[np.isnan(image)] = 0.0
    assert guided_backprop(network, image) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["OU66", "OU200"])
def test_guided_backprop_is_captums_where_there_are_relus(name):
    network = made(name, 2)
    image = cutout(2, network.side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = normalised_from(network, image).requires_grad_()
        expected = GuidedBackprop(_Difference(network)).attribute(seen)[0]
    expected = np.where(np.isnan(image), 0.0, expected.detach().numpy())
    found = guided_backprop(network, image)
    assert found == pytest.approx(expected, abs=1e-6)
    assert not network.layer[2]._forward_pre_hooks and not network.layer[2]._backward_hooks


class _Difference(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network.logits(x)
        return logits[:, 1] - logits[:, 0]


def test_guided_grad_cam_is_the_product():
    network = made("OU66", 2)
    image = cutout(2, 66)
    where, what = grad_cam(network, image, layer=6), guided_backprop(network, image)
    assert guided_grad_cam(network, image, layer=6) == pytest.approx(where * what)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_all_methods_on_all_networks(method, name):
    network = made(name, 2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    image = cutout(2, network.side)
    found = METHODS[method](network, image, **options(method, name))
    n_maps = 2 if "guided" in method else 1
    assert found.shape == (n_maps, network.side, network.side) and np.isfinite(found).all()
    if "guided" in method:
        assert np.all(found[..., -3:] == 0.0)
    # Where nothing speaks for the one class, something speaks for the other.
    other = METHODS[method](network, image, lens=False, **options(method, name))
    assert np.ptp(found) > 0.0 or np.ptp(other) > 0.0
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    again = METHODS[method](network, image, **options(method, name))
    assert np.array_equal(again, found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalisation", ["noise", "min-max"])
def test_units_do_not_matter(method, normalisation):
    network = made("OU66", 1, normalisation=normalisation)
    image = cutout(1, 66)
    own = options(method, "OU66")
    found = METHODS[method](network, image, **own)
    other = METHODS[method](network, 40.0 * image.astype(float) - 20.0, **own)
    assert other == pytest.approx(found, abs=1e-3 * np.abs(found).max())


@pytest.mark.parametrize("name", ["DihedralFinder", "DihedralFinder, stride 1"])
@pytest.mark.parametrize("method", METHODS)
def test_an_equivariant_network_has_equivariant_maps(method, name):
    network = made(name, 2)
    image = cutout(2, SMALL["side"])
    own = {"window": 4} if method == "occlusion" else {}
    found = METHODS[method](network, image, **own)
    for turns, flip in ((1, False), (0, True), (3, True)):

        def turned(values, turns=turns, flip=flip):
            return np.rot90(values[..., ::-1] if flip else values, turns, (-2, -1)).copy()

        other = METHODS[method](network, turned(image), **own)
        assert other == pytest.approx(turned(found), abs=1e-4 * np.abs(found).max())
    assert not np.allclose(np.rot90(found, 1, (-2, -1)), found)


def test_the_score_is_the_log_odds_of_the_probability():
    network = made("OU66", 1)
    network.temperature.fill_(3.0)
    image = cutout(1, 66)
    with torch.no_grad():
        odds = Score(network)(normalised_from(network, image))
        assert Score(network, lens=False)(normalised_from(network, image)) == -odds
        probability = network.probabilities(torch.from_numpy(image[None]))
    torch.testing.assert_close(torch.sigmoid(odds), probability)


@pytest.mark.parametrize("method", METHODS)
def test_captum_is_named_where_it_is_missing(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(OptionError, match=r"autolens_ml\[explain\]"):
        METHODS[method](made("DihedralFinder"), cutout(1, 24))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, i: occlusion_map(n, i, window=0), "windows of 0"),
        (lambda n, i: occlusion_map(n, i, window=25), "windows of 25"),
        (lambda n, i: occlusion_map(n, i, window=2, stride=3), "every 3"),
        (lambda n, i: grad_cam(n, i, layer=0), "no layer 0"),
        (lambda n, i: grad_cam(n, i, layer=99), "no layer 99"),
        (lambda n, i: guided_backprop(n, i[0]), "images of shape"),
        (lambda n, i: grad_cam(n, i[:, 1:]), "images of shape"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(OptionError, match=words):
        call(made("DihedralFinder"), cutout(1, 24))


def test_grad_cam_needs_convolutions():
    with pytest.raises(OptionError, match="has no convolution"):
        grad_cam(LinearFinder(ring()), cutout(1, 24))
