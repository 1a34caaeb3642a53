"""Images that a class or a kernel answers to most."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.explain import (
    activation_maximisation,
    class_image,
    class_score,
    deep_dream,
    exciting_images,
    kernel_score,
)
from autolens_ml.explain.layers import layer_from
from tests.explain.known import NETWORKS, LinearFinder, cutout, made, ring

QUICK = {"n_steps": 8, "n_frames": 3}


@pytest.mark.parametrize(("name", "lens"), [*((n, True) for n in NETWORKS), ("OU66", False)])
def test_class_images_are_more_of_their_class(name, lens):
    network = made(name, 2)
    n = 1 if name == "OU200" else 2
    result = class_image(network, lens=lens, n=n, **QUICK)
    assert result.images.shape == (n, 2, network.side, network.side)
    assert result.steps.tolist() == [0, 4, 8] and result.scores.shape == (3, n)
    assert np.all(result.scores[-1] > result.scores[0])
    # They are cut-outs like any other, of which the network says the same.
    with torch.no_grad():
        probabilities = network.probabilities(torch.from_numpy(result.images)).numpy()
    expected = 1.0 / (1.0 + np.exp(-result.scores[-1] * (1.0 if lens else -1.0)))
    assert probabilities == pytest.approx(expected, abs=1e-3)


def test_a_class_image_shows_what_the_network_looks_for():
    weights = ring()
    result = class_image(LinearFinder(weights), n_steps=40, jitter=0, blur=0.5)
    found = np.arcsinh(result.images[0, 0] / 3.0)
    assert np.corrcoef(found.ravel(), weights.ravel())[0, 1] > 0.9
    assert result.images.min() >= -4.0 and result.images.max() <= 1500.0


def test_dreams_begin_with_the_cut_out():
    network, image = made("OU66", 2), cutout(2, 66)
    result = deep_dream(network, image, **QUICK)
    first = result.frames[0, 0]
    known = np.isfinite(image)
    assert np.array_equal(np.isfinite(first), known)
    assert np.array_equal(np.isfinite(result.images[0]), known)
    # In units of the noise of the sky.
    for own, raw in zip(first, image, strict=True):
        rest = raw - np.nanmedian(raw)
        expected = rest / (1.4826 * np.nanmedian(np.abs(rest)))
        inside = np.isfinite(raw) & (expected > -3.0) & (expected < 1000.0)
        assert own[inside] == pytest.approx(expected[inside], rel=0.01, abs=0.02)
    assert result.scores[-1, 0] > result.scores[0, 0]


def test_kernels_are_excited_one_by_one():
    network, kernels = made("DihedralFinder"), [3, 9, 3, 17]
    result = exciting_images(network, 3, kernels, n_steps=20)
    images = np.arcsinh(result.images / 3.0)
    assert np.allclose(images[0], images[2], atol=1e-4)
    # Each image excites its own kernel more than those of the others do.
    for image in range(4):
        start = np.repeat(result.images[image][None], 4, axis=0)
        scores = activation_maximisation(
            network, kernel_score(network, layer_from(network, 3), kernels), start, n_steps=1
        ).scores[0]
        assert np.all(scores <= result.scores[-1] + 1e-3)
    assert np.all(result.scores[-1] > result.scores[0])


@pytest.mark.parametrize("name", ["OU66", "DihedralFinder, stride 1"])
def test_kernels_of_several_networks(name):
    result = exciting_images(made(name, 1), 2, [3], **QUICK)
    assert result.scores[-1, 0] > result.scores[0, 0]


def test_the_seed_decides():
    network = made("DihedralFinder")
    first, same, other = (class_image(network, seed=seed, **QUICK) for seed in (3, 3, 4))
    assert np.array_equal(first.frames, same.frames)
    assert not np.allclose(first.images, other.images)
    state = torch.random.get_rng_state()
    deep_dream(network, cutout(1, 24), seed=5, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_regularisers_do_what_they_say():
    network = LinearFinder(np.random.default_rng(0).standard_normal((1, 24, 24)))
    start = np.zeros((1, 1, 24, 24)) + np.random.default_rng(1).standard_normal((24, 24))

    def roughness(**options):
        result = activation_maximisation(
            network, class_score(network), start, n_steps=20, n_octaves=1, jitter=0, **options
        )
        light = np.arcsinh(result.images[0, 0] / 3.0)
        return np.square(np.diff(light, axis=0)).mean() / np.square(light).mean()

    assert roughness(blur=2.0) < 0.7 * roughness(blur=0.0)
    # Without new light a decay takes the galaxy away.
    image = cutout(1, 24)
    flat = LinearFinder(np.zeros((1, 24, 24)))
    options = {"n_steps": 30, "blur": 0.0, "n_octaves": 1}
    kept, faded = (
        np.nanmax(deep_dream(flat, image, decay=decay, **options).images) for decay in (0.0, 0.05)
    )
    assert kept == pytest.approx(np.nanmax(deep_dream(flat, image, n_steps=1).frames[0]), rel=0.01)
    assert faded < 0.8 * kept


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n: class_image(n, n=0), "n must be"),
        (lambda n: class_image(n, n_steps=0), "n_steps"),
        (lambda n: class_image(n, n_octaves=0), "n_octaves"),
        (lambda n: class_image(n, jitter=-1), "jitter"),
        (lambda n: class_image(n, n_frames=1), "n_frames"),
        (lambda n: class_image(n, rate=0.0), "rate"),
        (lambda n: class_image(n, blur=-1.0), "blur"),
        (lambda n: class_image(n, decay=1.0), "decay"),
        (lambda n: exciting_images(n, 1, []), "at least one"),
        (lambda n: exciting_images(n, 9, [0]), "no layer 9"),
        (lambda n: exciting_images(n, 1, [0, 32]), "no kernel 32 in layer 1"),
        (lambda n: deep_dream(n, np.zeros((1, 9, 9))), "images of shape"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(OptionError, match=words):
        call(made("DihedralFinder"))
