"""Maps between their pixels, in torch."""

import numpy as np
import pytest
import torch

from autolens_ml.physics import bicubic, bilinear
from autolens_ml.profiles.light.pixel import bilinear as bilinear_of_profiles

LOOKUPS = pytest.mark.parametrize("lookup", [bilinear, bicubic], ids=["bilinear", "bicubic"])
PIXEL = 0.2


def maps(n=2, shape=(7, 10), seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(n, *shape)))


def centres(shape, n=2):
    """The (y,x) positions of the pixels, (n, 2, rows, columns)."""
    y = PIXEL * (0.5 * (shape[0] - 1) - torch.arange(shape[0], dtype=torch.float64))
    x = PIXEL * (torch.arange(shape[1], dtype=torch.float64) - 0.5 * (shape[1] - 1))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(n, -1, -1, -1)


def somewhere(half_width, n=2, seed=1):
    return torch.as_tensor(
        np.random.default_rng(seed).uniform(-half_width, half_width, (n, 2, 40, 30))
    )


@LOOKUPS
@pytest.mark.parametrize("shape", [(7, 10), (1, 1), (8, 8)])
def test_on_the_pixels_they_are_the_map(lookup, shape):
    values = maps(shape=shape)
    assert torch.allclose(lookup(values, PIXEL, centres(shape)), values, rtol=0, atol=1e-13)


def test_bilinear_is_that_of_the_profiles():
    """Against the numpy function of `aml.lp.PixelLight`, also on the edge and outside."""
    values, positions = maps(), somewhere(1.6)
    found = bilinear(values, PIXEL, positions)
    for one, at, expected in zip(values.numpy(), positions.numpy(), found.numpy(), strict=True):
        row, column = 3.0 - at[0] / PIXEL, 4.5 + at[1] / PIXEL
        assert np.allclose(bilinear_of_profiles(one, row, column), expected, rtol=0, atol=1e-12)
    assert 0.1 < float((found == 0.0).double().mean()) < 0.9


def test_bicubic_reproduces_quadratic_surfaces():
    """Inside, where all 16 pixels are those of the surface; torch's own bicubic would not."""

    def surface(positions):
        y, x = positions.unbind(1)
        return 1.0 + 2.0 * y - x + 3.0 * y * y - 0.5 * x * y + x * x

    inside = somewhere(0.35)
    found = bicubic(surface(centres((7, 10))), PIXEL, inside)
    assert torch.allclose(found, surface(inside), rtol=0, atol=1e-12)


def test_bicubic_and_its_slopes_are_continuous():
    values = maps(1)
    y = torch.full((1, 1, 200), 0.137, dtype=torch.float64)
    # Every border between pixels, and those of the map and of its fading.
    borders = PIXEL * (torch.arange(-9, 10, dtype=torch.float64) + 0.5)

    def row(x):
        x = x.clone().requires_grad_()
        found = bicubic(values, PIXEL, torch.stack((y[0, :, : len(x)], x[None]))[None])
        return found.detach(), torch.autograd.grad(found.sum(), x)[0]

    for before, after in zip(row(borders - 1e-9), row(borders + 1e-9), strict=True):
        assert torch.allclose(before, after, rtol=0, atol=1e-6) and before.abs().max() > 0.1


@LOOKUPS
def test_far_outside_there_is_nothing_and_gradients_are_finite(lookup):
    values = maps(1).requires_grad_()
    positions = torch.tensor(
        [[[[1e6, 0.0, 3.0, 0.0]], [[0.0, -1e6, 3.0, 0.0]]]], dtype=torch.float64, requires_grad=True
    )
    found = lookup(values, PIXEL, positions)
    assert torch.all(found[..., :3] == 0.0) and found[..., 3] != 0.0
    for gradient in torch.autograd.grad(found.sum(), (values, positions)):
        assert torch.isfinite(gradient).all() and gradient.any()


@LOOKUPS
def test_gradients_are_those_of_finite_differences(lookup):
    values, positions = maps(2, (4, 5)).requires_grad_(), somewhere(0.6)[:, :, :4, :4]
    assert torch.autograd.gradcheck(
        lambda v, p: lookup(v, PIXEL, p), (values, positions.clone().requires_grad_())
    )
