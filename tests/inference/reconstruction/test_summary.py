"""Maps in numbers: lenses and sources whose numbers are known."""

import numpy as np
import pytest

from autolens_ml.exceptions import DataError
from autolens_ml.inference.reconstruction.summary import (
    compared,
    convergence_slopes,
    light_radii,
    mass_sheet_factor,
    summary_of,
)

SIZE, PIXEL, SOURCE_PIXEL = 64, 0.1, 0.05
BITS = 5


def power_law(radius, slope=1.0, centre=(0.0, 0.0)):
    """Convergence of a power law, averaged over pixels."""
    side = np.arange(SIZE * BITS) + 0.5 - 0.5 * SIZE * BITS
    y, x = -side[:, None] * PIXEL / BITS - centre[0], side * PIXEL / BITS - centre[1]
    distance = np.hypot(y, x)
    values = (2.0 - slope) / 2.0 * (radius / distance) ** slope
    return values.reshape(SIZE, BITS, SIZE, BITS).mean(axis=(1, 3))


def gaussian(sigma, centre=(0.0, 0.0)):
    side = (np.arange(SIZE) - 0.5 * (SIZE - 1)) * SOURCE_PIXEL
    return np.exp(-0.5 * ((-side[:, None] - centre[0]) ** 2 + (side - centre[1]) ** 2) / sigma**2)


@pytest.mark.parametrize("slope", [0.8, 1.0, 1.2])
def test_lenses(slope):
    found = summary_of(gaussian(0.2), SOURCE_PIXEL, power_law(1.2, slope, (0.05, -0.1)), PIXEL)
    assert found.einstein_radius == pytest.approx(1.2, abs=0.02)
    assert found.centre == pytest.approx((0.05, -0.1), abs=0.02)
    assert found.slope == pytest.approx(slope, abs=0.02)
    outside = found.slope_radii > 0.5
    assert np.allclose(found.local_slope[outside], slope, atol=0.08)
    assert found.slope_radii[-1] < 3.2


def test_sources():
    """Half of a Gaussian's light is inside of 1.177 sigma, 80 per cent of 1.794, 90 of 2.146."""
    found = summary_of(gaussian(0.25, (0.2, -0.1)), SOURCE_PIXEL, power_law(1.0), PIXEL)
    assert found.source_centroid == pytest.approx((0.2, -0.1), abs=1e-3)
    assert found.source_flux == pytest.approx(2.0 * np.pi * 0.25**2, rel=1e-3)
    expected = {0.5: 1.1774, 0.8: 1.7941, 0.9: 2.1460}
    for share, radius in expected.items():
        assert found.source_radii[share] == pytest.approx(0.25 * radius, rel=0.02)


def test_lenses_without_a_ring():
    found = summary_of(gaussian(0.2), SOURCE_PIXEL, 0.01 * power_law(1.0), PIXEL)
    assert found.einstein_radius < 0.1
    empty = summary_of(gaussian(0.2), SOURCE_PIXEL, np.full((SIZE, SIZE), 0.1), PIXEL)
    assert empty.einstein_radius == 0.0 and np.isnan(empty.slope)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.15])
def test_mass_sheets_are_found(factor):
    kappa = power_law(1.0)
    truth = factor * kappa + 1.0 - factor
    assert mass_sheet_factor(kappa, truth) == pytest.approx(factor)
    near = (kappa > 0.5).astype(float)
    assert mass_sheet_factor(kappa, np.where(near > 0, truth, 9.0), near) == pytest.approx(factor)


def test_slopes_are_of_rings_about_the_centre():
    about = convergence_slopes(power_law(1.0, centre=(0.5, 0.3)), PIXEL, (0.5, 0.3))[1]
    beside = convergence_slopes(power_law(1.0, centre=(0.5, 0.3)), PIXEL)[1]
    assert np.abs(about[5:] - 1.0).max() < 0.1 < np.abs(beside[:8] - 1.0).max()


def test_the_truth_compares_as_the_truth():
    source, kappa = gaussian(0.2), power_law(1.0)
    same = compared(source, source, SOURCE_PIXEL, kappa, kappa, PIXEL)
    assert (same.einstein_radius_error, same.slope_error, same.flux_ratio) == (0.0, 0.0, 1.0)
    assert same.source_correlation == pytest.approx(1.0)
    assert same.mass_sheet_factor == pytest.approx(1.0)
    assert np.allclose(same.convergence_coherence.value, 1.0)
    assert np.array_equal(same.source_power.value, same.true_source_power.value)
    rng = np.random.default_rng(1)
    noisy = source + 0.3 * rng.normal(size=source.shape)
    other = compared(noisy, source, SOURCE_PIXEL, 1.1 * kappa, kappa, PIXEL)
    assert other.einstein_radius_error == pytest.approx(0.1, abs=0.02)
    assert other.source_correlation < 0.8 and other.convergence_correlation > 0.99
    # Noise spoils short waves, long ones are right.
    assert other.source_coherence.value[0] > 0.9 > 0.5 > other.source_coherence.value[-1]


def test_maps_that_do_not_fit_are_refused():
    source, kappa = gaussian(0.2), power_law(1.0)
    with pytest.raises(DataError, match="source of shapes"):
        compared(source[:8], source, SOURCE_PIXEL, kappa, kappa, PIXEL)
    with pytest.raises(DataError, match="no light"):
        light_radii(-source, SOURCE_PIXEL)
