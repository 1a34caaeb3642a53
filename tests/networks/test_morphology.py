"""Classifiers of substructure."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.morphology import BACKBONES, MorphologyNetwork

SMALL = {
    "dihedral": {"widths": [4, 4]},
    "resnet-18": {"widths": [16, 16, 16, 16], "depths": [1] * 4, "fold": 2},
}


def made(backbone="dihedral", **options):
    torch.manual_seed(0)
    return MorphologyNetwork(
        **{"side": 32, "backbone": backbone, "options": SMALL.get(backbone), **options}
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_learns(backbone):
    network = made(backbone)
    for module in network.modules():  # blocks start as their skip connections
        if hasattr(module, "conv_2"):
            torch.nn.init.normal_(module.conv_2.weight, std=0.1)
    images, residuals = torch.randn(2, 6, 32, 32)
    loss = torch.nn.functional.cross_entropy(
        network(10.0 * images, residuals), torch.tensor([0, 1, 2] * 2)
    )
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    again = MorphologyNetwork(**network.config).eval()
    again.load_state_dict(network.state_dict())
    probabilities = again.probabilities(images, residuals)
    torch.testing.assert_close(probabilities, network.eval().probabilities(images, residuals))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))


def test_group_convolutions_do_not_care_how_the_sky_is_turned():
    network = made().eval()
    for block in network.backbone.blocks:
        torch.nn.init.normal_(block.conv_2.weight, std=0.1)
    images, residuals = 5.0 * torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network(images, residuals)
        for turns in range(1, 4):
            turned = [torch.rot90(x, turns, (1, 2)) for x in (images, residuals)]
            torch.testing.assert_close(network(*turned), expected, atol=1e-4, rtol=1e-4)
        flipped = [torch.flip(x, (2,)) for x in (images, residuals)]
        torch.testing.assert_close(network(*flipped), expected, atol=1e-4, rtol=1e-4)


def test_what_is_seen():
    images, residuals = torch.randn(2, 3, 32, 32)
    blind = made(sees=["image"]).eval()
    assert not blind.needs_fit and made().needs_fit
    with torch.inference_mode():
        torch.testing.assert_close(blind(images, residuals), blind(images, 9.0 * residuals))
        both = made().eval()
        assert not torch.allclose(both(images, residuals), both(images, 9.0 * residuals))


def test_temperature_softens():
    network = made().eval()
    images, residuals = 5.0 * torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        sharp = network.probabilities(images, residuals)
        network.temperature.fill_(10.0)
        soft = network.probabilities(images, residuals)
    assert torch.all(soft.amax(1) <= sharp.amax(1))


def test_the_full_resnet_has_its_size():
    with torch.random.fork_rng(devices=[]):
        n = sum(p.numel() for p in MorphologyNetwork(backbone="resnet-18").parameters())
    # torchvision's has 11.2 M without its last layer.
    assert 10.5e6 < n < 12.0e6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "vit", "options": {}}, "no backbone 'vit'"),
        ({"n_classes": 1}, "n_classes"),
        ({"sees": []}, "sees must be"),
        ({"sees": ["spectrum"]}, "sees must be"),
        ({"options": {"widths": [5]}}, "multiples of 4"),
        ({"options": {"colour": 1}}, "colour"),
        ({"side": 31}, "side must be even"),
    ],
)
def test_refused_arguments(options, words):
    with pytest.raises(OptionError, match=words):
        made(**options)


def test_refused_images():
    with pytest.raises(OptionError, match="takes"):
        made()(torch.zeros(2, 30, 30), torch.zeros(2, 30, 30))
