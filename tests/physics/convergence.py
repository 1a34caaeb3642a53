"""Maps of convergence with known lensing."""

import autolens as al
import numpy as np

# Of the frame of the maps of isothermals [arcsec].
HALF_WIDTH = 3.2


def smooth_map(side=40, pixel_scale=0.1):
    """A tilted Gaussian on a grid of `side` pixels."""
    grid = al.Grid2D.uniform((side, side), pixel_scales=pixel_scale, over_sample_size=1)
    y, x = np.moveaxis(grid.native.array, -1, 0)
    return 0.8 * np.exp(-0.5 * (((x - 0.2) / 0.7) ** 2 + ((y + 0.1 + 0.2 * x) / 0.5) ** 2))


def beyond_the_frame(profile, yx):
    r"""Deflections inside a square by the mass of an isothermal outside of it.

    With :math:`\kappa = f(\phi)/r`, :math:`\alpha_x - i\alpha_y = -\frac1\pi\sum_k z^k
    \int\frac{f(\phi)e^{-i(k+1)\phi}}{k R(\phi)^k}d\phi` of the square's edge R.
    """
    phi = 2.0 * np.pi * (np.arange(20000) + 0.5) / 20000
    edge = HALF_WIDTH / np.maximum(np.abs(np.cos(phi)), np.abs(np.sin(phi)))
    circle = al.Grid2DIrregular(np.stack((np.sin(phi), np.cos(phi)), axis=-1))
    f = profile.convergence_2d_from(circle).array
    z = yx[:, 1] + 1j * yx[:, 0]
    total = sum(
        z**k * np.mean(f * np.exp(-1j * (k + 1) * phi) / (k * edge**k)) for k in range(1, 40)
    )
    return np.stack((2.0 * total.imag, -2.0 * total.real), axis=-1)


def isothermal_map(profile, side):
    """The mean convergence in each pixel of a grid; finely sampled in the cusp."""
    grid = al.Grid2D.uniform((side, side), pixel_scales=2.0 * HALF_WIDTH / side)
    sizes = al.util.over_sample.over_sample_size_via_radial_bins_from(
        grid=grid, sub_size_list=[128, 8], radial_list=[0.3]
    )
    fine = al.Grid2D.uniform(
        (side, side), pixel_scales=2.0 * HALF_WIDTH / side, over_sample_size=sizes
    )
    return profile.convergence_2d_from(fine).native.array
