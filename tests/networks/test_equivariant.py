"""Group convolutions: what turns and flips do to them, and what they must not do."""

import pytest
import torch

from autolens_ml.networks.equivariant import (
    ORDER,
    DihedralConv,
    DihedralNorm,
    _inverse,
    _moved,
    _product,
    halved,
    invariant,
)


def moved(x, g):
    """An image or a map of scalars, turned and flipped."""
    return _moved(x, g)


def carried(maps, g):
    """Feature maps of a moved image: moved, with their orientations in other places."""
    by_orientation = maps.unflatten(1, (-1, ORDER))
    order = [_product(_inverse(g), h) for h in range(ORDER)]
    return _moved(by_orientation[:, :, order], g).flatten(1, 2)


def test_the_symmetries_of_the_square_are_a_group():
    x = torch.randn(5, 5)
    for g in range(ORDER):
        assert _product(g, _inverse(g)) == _product(_inverse(g), g) == 0
        assert sorted(_product(g, h) for h in range(ORDER)) == list(range(ORDER))
        for h in range(ORDER):
            assert torch.equal(_moved(_moved(x, h), g), _moved(x, _product(g, h)))


@pytest.mark.parametrize("g", range(ORDER))
@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"), [(3, 1, 1, 9), (5, 1, 2, 8), (6, 2, 2, 12), (1, 1, 0, 7)]
)
def test_layers_are_equivariant(g, size, stride, padding, side):
    torch.manual_seed(0)
    lifting = DihedralConv(2, 3, size, stride, padding, lifting=True)
    image = torch.randn(2, 2, side, side)
    maps = lifting(image)
    assert maps.shape[1] == 3 * ORDER
    torch.testing.assert_close(lifting(moved(image, g)), carried(maps, g), atol=1e-5, rtol=1e-4)

    layer = DihedralConv(3, 4, 3, padding=1)
    norm = DihedralNorm(4, n_groups=2)
    torch.nn.init.normal_(norm.weight)

    def deeper(x):
        return halved(torch.relu(norm(layer(x))))

    expected = carried(deeper(maps), g)
    torch.testing.assert_close(deeper(carried(maps, g)), expected, atol=1e-5, rtol=1e-4)
    even = torch.full(expected.shape[-2:], 1.0 / expected[0, 0].numel())
    torch.testing.assert_close(
        invariant(deeper(carried(maps, g)), even),
        invariant(deeper(maps), even),
        atol=1e-5,
        rtol=1e-4,
    )


def test_orientations_differ():
    torch.manual_seed(0)
    maps = DihedralConv(1, 1, 3, lifting=True)(torch.randn(1, 1, 6, 6))[0]
    for g in range(1, ORDER):
        assert not torch.allclose(maps[g], maps[0])


def test_layers_start_with_the_variance_of_their_input():
    torch.manual_seed(0)
    x = torch.randn(4, 4 * ORDER, 16, 16).relu()
    out = DihedralConv(4, 6, 3, padding=1)(x)
    assert out.var().item() == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("side", [8, 9])
def test_halving_keeps_the_middle(side):
    image = torch.zeros(1, 1, side, side)
    image[..., side // 2, side // 2] = 1.0
    if side % 2 == 0:
        image += moved(image, 2)
    small = halved(image)
    assert small.shape[-1] == (side + 1) // 2
    torch.testing.assert_close(small, moved(small, 2))
    assert halved(torch.ones(1, 1, side, side)).unique().tolist() == [1.0]
