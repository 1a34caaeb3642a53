"""Chi-squared and likelihood of images, in torch."""

import autoarray as aa
import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import numpy as np
import pytest
import torch

from autolens_ml.physics import chi_squared, log_likelihood, normalised_residuals


class Fit(aa.FitImaging):
    """The fit of a given image, by the arithmetic that `al.FitImaging` inherits."""

    def __init__(self, dataset, image):
        super().__init__(dataset=dataset)
        self.image = image

    @property
    def model_data(self):
        return self.image


@pytest.fixture(name="fits")
def make_fits():
    """Data, images, noise and masks of 3 lenses, as tensors."""
    rng = np.random.default_rng(0)
    data, image = rng.normal(size=(2, 3, 9, 8))
    noise = rng.uniform(0.1, 0.5, (3, 9, 8))
    mask = rng.uniform(size=(3, 9, 8)) < 0.6
    return [torch.as_tensor(a) for a in (image, data, noise, mask)]


def test_they_are_those_of_a_fit_of_pyautolens(fits):
    """Chi-squared and log likelihood of each lens against the base class of `al.FitImaging`."""
    image, data, noise, mask = fits
    found = chi_squared(*fits), log_likelihood(*fits)
    for i in range(3):
        sky = aa.Mask2D(mask=~mask[i].numpy(), pixel_scales=0.1)
        dataset = aa.Imaging(
            data=aa.Array2D.no_mask(data[i].numpy(), pixel_scales=0.1),
            noise_map=aa.Array2D.no_mask(noise[i].numpy(), pixel_scales=0.1),
        ).apply_mask(sky)
        fit = Fit(dataset, aa.Array2D(image[i].numpy(), mask=sky))
        assert float(found[0][i]) == pytest.approx(float(fit.chi_squared), rel=1e-9)
        assert float(found[1][i]) == pytest.approx(float(fit.log_likelihood), rel=1e-9)


def test_without_a_mask_all_pixels_are_used(fits):
    image, data, noise, _ = fits
    expected = (((data - image) / noise) ** 2).sum(dim=(1, 2))
    assert torch.allclose(chi_squared(image, data, noise), expected)
    everywhere = torch.ones_like(image)
    for function in (chi_squared, log_likelihood):
        masked = function(image, data, noise, everywhere)
        assert torch.allclose(function(image, data, noise), masked)


def test_one_noise_map_serves_all(fits):
    image, data, noise, mask = fits
    for function in (chi_squared, log_likelihood):
        one = function(image, data, noise[:1], mask[:1])
        repeated = function(image, data, noise[:1].expand(3, -1, -1), mask[:1].expand(3, -1, -1))
        assert torch.allclose(one, repeated) and one.shape == (3,)
    level = torch.tensor(0.2, dtype=torch.float64)
    assert torch.allclose(
        log_likelihood(image, data, level), log_likelihood(image, data, level.expand(3, 9, 8))
    )


def test_what_is_masked_does_not_matter(fits):
    """Neither values nor gradients, whatever stands there: zero noise, NaN, infinity."""
    image, data, noise, mask = fits
    expected = log_likelihood(*fits)
    data, noise = data.clone(), noise.clone()
    bad = torch.tensor([0.0, float("nan"), float("inf")], dtype=torch.float64)
    data[~mask] = bad[torch.arange(int((~mask).sum())) % 3]
    noise[~mask] = bad[torch.arange(int((~mask).sum())) % 3]
    image = image.clone().requires_grad_()
    found = log_likelihood(image, data, noise, mask)
    assert torch.allclose(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), image)
    assert torch.isfinite(gradient).all() and torch.all(gradient[~mask] == 0.0)
    assert torch.all(normalised_residuals(image, data, noise, mask)[~mask] == 0.0)


def test_the_gradient_is_the_residual_over_the_variance(fits):
    image, data, noise, mask = fits
    image.requires_grad_()
    (gradient,) = torch.autograd.grad(log_likelihood(image, data, noise, mask).sum(), image)
    assert torch.allclose(gradient, mask * (data - image) / noise**2)
