"""Galaxies of Sersic light."""

import autolens as al
import numpy as np
import pytest

from autolens_ml.simulate.finding.light import PIXEL_SCALE, SIDE, sersic_flux, sersic_images
from autolens_ml.simulate.finding.scene import positions

# Off the middle, and both cuspy and flat.
ROUND = np.array([0.0, 0.0, 0.0, 0.0, 0.6, 1.0])
CUSPY = np.array([0.12, -0.23, 0.2, -0.1, 0.8, 4.0])


@pytest.fixture(scope="module")
def images():
    return sersic_images(np.array([ROUND, CUSPY]))


@pytest.mark.parametrize(
    ("index", "ell_comps"), [(0.5, (0.0, 0.0)), (1.0, (0.3, -0.2)), (4.0, (-0.1, 0.1))]
)
def test_flux_of_a_profile(index, ell_comps):
    light = al.lp.Sersic(ell_comps=ell_comps, effective_radius=0.3, sersic_index=index)
    grid = al.Grid2D.uniform((301, 301), pixel_scales=0.05, over_sample_size=2)
    image = light.image_2d_from(grid).native.array / light.intensity
    # A cusp has light beyond any frame, and a peak within any pixel.
    tolerance = 0.003 if index <= 1.0 else 0.05
    flux = sersic_flux(0.3, index)
    assert image.sum() * 0.05**2 == pytest.approx(flux, rel=tolerance)


def test_images_hold_a_flux_of_one(images):
    assert images.shape == (2, SIDE, SIDE) and images.dtype == np.float32
    assert images[0].sum(dtype=float) == pytest.approx(1.0, rel=1e-3)
    assert 0.94 < images[1].sum(dtype=float) < 1.0


def test_half_of_the_light_is_within_the_effective_radius(images):
    inside = np.hypot(*positions()) < 0.6
    assert images[0][inside].sum(dtype=float) == pytest.approx(0.5, abs=0.01)


def test_images_are_those_of_pyautolens(images):
    light = al.lp.Sersic(
        centre=tuple(CUSPY[:2]),
        ell_comps=tuple(CUSPY[2:4]),
        intensity=PIXEL_SCALE**2 / sersic_flux(*CUSPY[4:]),
        effective_radius=CUSPY[4],
        sersic_index=CUSPY[5],
    )
    grid = al.Grid2D.uniform((SIDE, SIDE), pixel_scales=PIXEL_SCALE, over_sample_size=8)
    expected = light.image_2d_from(grid).native.array
    assert np.allclose(images[1], expected, rtol=0.02, atol=1e-7)
    # Where it peaks, sub-pixels are the same.
    peak = np.hypot(*positions()) < 0.4
    assert np.allclose(images[1][peak], expected[peak], rtol=1e-4)


def test_no_galaxies_make_no_images():
    assert sersic_images(np.empty((0, 6))).shape == (0, SIDE, SIDE)
