"""Sanity checks tell maps of what was learned from maps of the image alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from autolens_ml.exceptions import OptionError
from autolens_ml.explain import occlusion_map, sanity_check
from autolens_ml.explain.sanity import randomised
from tests.explain.known import LinearFinder, cutout, made, ring


@pytest.fixture(scope="module")
def trained():
    return LinearFinder(ring(n_bands=2))


@pytest.fixture(scope="module")
def images():
    return np.stack([cutout(2, 24, seed) for seed in range(2)])


def edges(network, image):
    """Looks like an explanation, and is none."""
    return ndimage.gaussian_gradient_magnitude(np.nan_to_num(image), (0.0, 1.0, 1.0))


def signed_edges(network, image):
    """The same, with a sign that depends on the weights."""
    return float(torch.sign(network.weights.detach().sum())) * edges(network, image)


def test_maps_of_what_was_learned_pass(trained, images):
    before = trained.weights.detach().clone()
    lines = []
    result = sanity_check(
        trained, images, "occlusion", window=2, log_odds=True, progress=lines.append
    )
    assert result.passed and result.figure()["value"] < 0.3
    assert result.signed.shape == result.absolute.shape == (4, 1, 2)
    assert result.maps.shape == (2, 1, 24, 24) and len(lines) == 4
    assert np.array_equal(
        result.maps[0].astype(np.float32),
        occlusion_map(trained, images[0], window=2, log_odds=True).astype(np.float32),
    )
    assert torch.equal(trained.weights, before)


@pytest.mark.parametrize("method", [edges, signed_edges])
def test_maps_that_know_no_weights_are_caught(trained, images, method):
    result = sanity_check(trained, images, method, n_draws=6)
    assert not result.passed
    assert result.figure()["value"] == pytest.approx(1.0)
    assert result.absolute == pytest.approx(1.0)


def test_the_seed_decides(images):
    network = made("DihedralFinder", 2)
    first, same, other = (
        sanity_check(network, images[:1], "guided-backprop", n_draws=2, seed=seed)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.signed, same.signed)
    assert not np.array_equal(first.signed, other.signed)
    assert first.stages[0] == "head.3" and first.stages[-1] == "stem"


def test_layers_are_randomised_from_the_last_to_the_first():
    network = made("OU66", 1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    changed = []
    for copy in randomised(network, np.random.SeedSequence(0)):
        now = copy.state_dict()
        changed.append({k.rpartition(".")[0] for k in now if not torch.equal(now[k], before[k])})
    assert len(changed) == 11 and changed[0] == {"fc_layer.2"}
    assert all(a < b for a, b in pairwise(changed))
    assert "layer.0" in changed[-1] and "layer.0" not in changed[-2]
    first, drawn = before["layer.4.weight"], now["layer.4.weight"]
    assert drawn.std() == pytest.approx(first.std().item(), rel=0.05)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_map_without_structure_is_not_correlated(images):
    network = made("DihedralFinder", 2)

    def one_then_nothing(other, image):
        return np.ones((1, 24, 24)) * (np.arange(24.0) if other is network else 0.0)

    result = sanity_check(network, images[:1], one_then_nothing, n_draws=2)
    assert np.all(result.signed == 0.0) and result.passed


def test_pixels_that_are_never_used_do_not_count(trained, images):
    def half(network, image):
        found = np.zeros((1, 24, 24))
        rng = np.random.default_rng(abs(hash(float(network.weights.detach().sum()))) % 2**32)
        found[:, 8:16, 8:16] = 1.0 + rng.random((8, 8))
        return found

    # All pixels together would be alike: those outside are zero in any case.
    assert sanity_check(trained, images[:1], half, n_draws=4).figure()["value"] < 0.4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "saliency"}, "choose occlusion"),
        ({"n_draws": 1}, "n_draws"),
        ({"images": np.zeros((2, 24, 24))}, "images of shape"),
        ({"method": lambda network, image: np.ones((1, 24, 24))}, "same everywhere"),
    ],
)
def test_bad_arguments_are_refused(trained, images, options, words):
    with pytest.raises(OptionError, match=words):
        sanity_check(trained, **{"images": images, "method": "occlusion", **options})
