"""How well an image of a lens fits data: sums over the pixels that are used, one for each lens."""

from __future__ import annotations

import math

import torch

__all__ = ["chi_squared", "log_likelihood", "normalised_residuals"]


def normalised_residuals(
    image: torch.Tensor,
    data: torch.Tensor,
    noise_map: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Data minus image, in units of the noise; zero where the mask is.

    Parameters
    ----------
    image, data
        Shape (n, y, x).
    noise_map
        Root mean square of the noise of each pixel, shape (n, y, x) or one that broadcasts to it;
        above zero where data are used. Where they are not, it may be anything.
    mask
        True or 1 where data are used and False or 0 elsewhere, of the shape of `noise_map` or one
        that broadcasts to it; by default all are.

    Returns
    -------
    Shape (n, y, x).
    """
    if mask is None:
        return (data - image) / noise_map
    used = mask.bool()
    # Masked before the division: neither values nor gradients may become NaN there.
    residuals = torch.where(used, data - image, 0.0)
    return residuals / torch.where(used, noise_map, 1.0)


def chi_squared(
    image: torch.Tensor,
    data: torch.Tensor,
    noise_map: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sums of squared normalised residuals, shape (n,); parameters as `normalised_residuals`."""
    return normalised_residuals(image, data, noise_map, mask).square().sum(dim=(-2, -1))


def log_likelihood(
    image: torch.Tensor,
    data: torch.Tensor,
    noise_map: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Logarithms of Gaussian likelihoods, shape (n,), as those of an `al.FitImaging`.

    :math:`-\frac12\left[\chi^2 + \sum\ln(2\pi\sigma^2)\right]` over the pixels that are used.
    Parameters as `normalised_residuals`.
    """
    variance = noise_map.square()
    if mask is not None:
        variance = torch.where(mask.bool(), variance, 0.5 / math.pi)
    normalisation = torch.log(2.0 * math.pi * variance).expand(data.shape).sum(dim=(-2, -1))
    return -0.5 * (chi_squared(image, data, noise_map, mask) + normalisation)
