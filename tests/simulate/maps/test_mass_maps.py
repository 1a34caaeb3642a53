"""Einstein radii that are measured on maps, and maps stretched to others."""

import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.mass_maps import ConvergenceMaps, einstein_radii_from

SHAPE, SCALE = (48, 48), 0.1


def convergence(profile, shape=SHAPE, scale=SCALE):
    """Mean over pixels."""
    grid = al.Grid2D.uniform(shape, pixel_scales=scale, over_sample_size=16)
    return profile.convergence_2d_from(grid).native.array


def mean_on_circle(profile, radius):
    angle = np.linspace(0.0, 2.0 * np.pi, 2000, endpoint=False)
    circle = radius * np.stack((np.sin(angle), np.cos(angle)), axis=-1) + profile.centre
    return np.mean(profile.convergence_2d_from(al.Grid2DIrregular(circle)).array)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.13, -0.21)])
@pytest.mark.parametrize("radius", [0.4, 1.0, 1.9])
def test_isothermal_sphere(centre, radius):
    maps = convergence(al.mp.IsothermalSph(centre=centre, einstein_radius=radius))[None]
    (measured,), (place,) = einstein_radii_from(maps, SCALE)
    assert measured == pytest.approx(radius, abs=0.05 * SCALE)
    assert np.allclose(place, centre, atol=0.12 * SCALE)


def test_ellipse_in_a_circle():
    profile = al.mp.Isothermal(einstein_radius=1.2, ell_comps=(0.2, 0.1))
    # Of a convergence g(angle) / r the mean inside of r is 2 <g> / r.
    expected = 2.0 * mean_on_circle(profile, 1.0)
    (measured,), _ = einstein_radii_from(convergence(profile)[None], SCALE)
    assert measured == pytest.approx(expected, rel=5e-3)


def test_rectangular_frames_and_the_unit():
    profile = al.mp.IsothermalSph(centre=(0.2, 0.6), einstein_radius=0.8)
    maps = convergence(profile, shape=(40, 60))[None]
    (measured,), (place,) = einstein_radii_from(maps, 3.0 * SCALE)
    assert measured == pytest.approx(2.4, rel=1e-2)
    assert np.allclose(place, (0.6, 1.8), atol=0.6 * SCALE)


def test_lenses_without_a_ring():
    hill = convergence(al.mp.IsothermalSph(einstein_radius=0.5))
    sheets = np.stack((0.1 * np.minimum(hill, 5.0), 1.1 + 0.01 * hill, np.full(SHAPE, 0.9)))
    radii, _ = einstein_radii_from(sheets, SCALE)
    # Too thin anywhere, critical beyond the frame, flat and thin.
    assert radii[0] == 0.0 and np.isnan(radii[1]) and radii[2] == 0.0


def test_maps_carry_what_is_measured_on_them():
    values = np.stack(
        [convergence(al.mp.IsothermalSph(einstein_radius=radius)) for radius in (0.5, 1.0, 1.5)]
    )
    maps = ConvergenceMaps.of(values, SCALE)
    assert len(maps) == 3 and maps.values.dtype == np.float32
    assert np.allclose(maps.einstein_radius, (0.5, 1.0, 1.5), atol=0.05 * SCALE)
    part = maps[np.array([False, True, True])]
    assert np.array_equal(part.values, maps.values[1:]) and len(part) == 2
    assert np.array_equal(part.einstein_radius, maps.einstein_radius[1:])


def test_stretched_isothermal_spheres_are_isothermal_spheres():
    centres = np.array([(0.0, 0.0), (0.15, -0.1), (-0.1, 0.2)])
    values = np.stack(
        [convergence(al.mp.IsothermalSph(centre=tuple(c), einstein_radius=1.0)) for c in centres]
    )
    wanted = np.array([0.7, 1.1, 1.6])
    places = np.array([(0.0, 0.1), (0.0, 0.0), (-0.2, 0.2)])
    maps = ConvergenceMaps.of(values, SCALE)
    stretched = maps.rescaled(wanted, centre=places, shape=(30, 28))
    assert stretched.values.shape == (3, 30, 28) and stretched.pixel_scale == SCALE
    assert np.allclose(stretched.einstein_radius[:2], wanted[:2], rtol=0.02)
    # The last one's ring does not fit into the smaller frame.
    assert np.isnan(stretched.einstein_radius[2])
    assert np.allclose(stretched.centre, places, atol=0.4 * SCALE)
    for got, place, radius in zip(stretched.values, places, wanted, strict=True):
        profile = al.mp.IsothermalSph(centre=tuple(place), einstein_radius=radius)
        expected = convergence(profile, shape=(30, 28))
        assert np.allclose((got / expected)[expected < 1.0], 1.0, atol=0.04)


def test_finer_pixels():
    values = convergence(al.mp.IsothermalSph(einstein_radius=1.0))[None]
    fine = ConvergenceMaps.of(values, SCALE).rescaled([1.2], shape=(64, 64), pixel_scale=0.05)
    assert fine.pixel_scale == 0.05 and fine.einstein_radius[0] == pytest.approx(1.2, rel=0.01)


def test_maps_that_cannot_be_stretched():
    values = convergence(al.mp.IsothermalSph(einstein_radius=1.0))[None]
    maps = ConvergenceMaps.of(values, SCALE)
    with pytest.raises(DataError, match="1 maps do not cover"):
        maps.rescaled([0.5])
    with pytest.raises(DataError, match="do not cover"):
        maps.rescaled([1.1], centre=np.array([(0.5, 0.0)]))
    for wanted in ([1.0, 1.0], [0.0], [np.nan]):
        with pytest.raises(OptionError, match="one for each map"):
            maps.rescaled(wanted)
    with pytest.raises(DataError, match="1 maps have no Einstein radius"):
        ConvergenceMaps.of(np.minimum(values, 0.5), SCALE).rescaled([1.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((8, 8)), "give .n, y, x."),
        (np.ones((1, 6, 8)), "at least 7 x 7"),
        (np.full((1, 8, 8), np.inf), "64 NaN or infinite"),
    ],
)
def test_no_convergence_maps(values, message):
    with pytest.raises(DataError, match=message):
        einstein_radii_from(values, SCALE)
    with pytest.raises(OptionError, match="pixel_scale"):
        einstein_radii_from(np.ones((1, 8, 8)), -1.0)
