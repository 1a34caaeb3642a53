"""Backbones: what holds for images of every size."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.backbones import FoveatedResNet, ResNet


def backbone(**options) -> ResNet:
    """With weights that are nowhere zero, as after training."""
    torch.manual_seed(0)
    network = ResNet(2, 1, **{"widths": (8, 16), "depths": (1, 2), "n_features": 12, **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("shape", [(24, 24), (64, 64), (66, 66), (72, 96), (80, 80), (192, 192)])
@pytest.mark.parametrize("widths", [(8,), (8, 8, 8, 8)])
def test_images_of_any_even_size(shape, widths):
    network = backbone(widths=widths, depths=[1] * len(widths))
    features = network(torch.randn(3, 2, *shape), torch.randn(3, 1))
    assert features.shape == (3, 12) and features.isfinite().all()


def test_fold_of_three():
    assert backbone(fold=3)(torch.randn(1, 2, 96, 96), torch.zeros(1, 1)).shape == (1, 12)


def test_in_the_order_of_the_original_nothing_averages_to_zero():
    maps = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(1))
    maps = maps - maps.mean(dim=(-2, -1), keepdim=True)
    assert backbone(map_size=1).pool(maps).abs().max() < 1e-5
    assert backbone(map_size=1, pooled_last=True).pool(maps).abs().mean() > 0.1
    assert backbone(map_size=2, pooled_last=True)(maps[:, :2], maps[:, 0, 0, :1]).shape == (2, 12)


def test_every_parameter_learns():
    network = backbone()
    network(torch.randn(4, 2, 16, 16), torch.randn(4, 1)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_blocks_start_as_their_skip_connection():
    torch.manual_seed(0)
    block = ResNet(2, 1, widths=(8, 16), depths=(1, 1)).blocks[1]
    x = torch.randn(2, 8, 7, 7)
    out = block(x, torch.randn(2, 1))
    assert torch.equal(out, block.skip(x)) and out.shape == (2, 16, 4, 4)


def test_scalars_and_positions_matter():
    network = backbone()
    image = torch.zeros(1, 2, 16, 16)
    image[..., 4, 4] = 1.0
    scalar = torch.zeros(1, 1)
    features = network(image, scalar)
    assert not torch.allclose(features, network(image, scalar + 1.0), atol=1e-3)
    # By half a map of positions, and by one pixel.
    for shift in ((8, 8), (0, 1)):
        moved = network(torch.roll(image, shift, dims=(-2, -1)), scalar)
        assert not torch.allclose(features, moved, atol=1e-4)


def test_images_do_not_see_each_other():
    network = backbone()
    images, scalars = torch.randn(5, 2, 16, 16), torch.randn(5, 1)
    alone = torch.cat([network(images[i : i + 1], scalars[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(network(images, scalars), alone)


FOVEA = {"size": 12, "widths": (8,), "depths": (1,)}


def foveated(fovea=FOVEA, **options) -> FoveatedResNet:
    torch.manual_seed(0)
    options = {"widths": (8, 16), "depths": (1, 2), "n_features": 12, **options}
    return FoveatedResNet(2, 1, fovea=fovea, **options)


def test_a_fovea_begins_as_if_it_were_not_there():
    """With the weights of a network without it; and learns from the first step."""
    plain, network = backbone(), foveated()
    missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("fovea.") for name in missing) and not unexpected
    images, scalars = torch.randn(3, 2, 24, 24), torch.randn(3, 1)
    assert torch.equal(network(images, scalars), plain(images, scalars))
    network(images, scalars).square().sum().backward()
    assert network.fovea.head[-2].weight.grad.any()
    assert foveated(None).fovea is None


@pytest.mark.parametrize("side", [12, 24, 30])
def test_a_fovea_sees_the_middle_alone(side):
    network = foveated()
    with torch.no_grad():
        network.fovea.head[-2].weight += 0.1
    seen = []
    network.fovea.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    image, scalar = torch.randn(2, 2, side, side), torch.zeros(2, 1)
    outside = image.clone()
    margin = (side - 12) // 2
    outside[..., :margin, :] += 1.0
    network(image, scalar)
    network(outside, scalar)
    assert torch.equal(seen[0], image[..., margin : margin + 12, margin : margin + 12])
    assert torch.equal(seen[0], seen[1])


def test_a_fovea_needs_room():
    with pytest.raises(OptionError, match=r"fovea of 12 pixels is larger than images of \(12, 8\)"):
        foveated()(torch.zeros(1, 2, 12, 8), torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("fovea", "match"),
    [
        ({"widths": (8,), "depths": (1,)}, "size of a fovea must be a multiple of its fold, 2"),
        ({**FOVEA, "size": 13}, "multiple of its fold, 2, not 13"),
        ({**FOVEA, "size": 10, "fold": 4}, "multiple of its fold, 4, not 10"),
        ({**FOVEA, "size": 0}, "not 0"),
        (12, "a fovea must have a size and options, not be 12"),
        ({**FOVEA, "depths": (1, 1)}, "1 widths for 2 depths"),
    ],
)
def test_what_is_no_fovea(fovea, match):
    with pytest.raises(ValueError, match=match):
        foveated(fovea)
