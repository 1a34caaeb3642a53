"""Drawn convergence maps: each ingredient against its formula, and the seeds."""

import autolens as al
import numpy as np
import pytest
from scipy import integrate

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.maps.convergence import ConvergenceGenerator

SHAPE, SCALE = (32, 32), 0.12
PLAIN = {
    "shape": SHAPE,
    "pixel_scale": SCALE,
    "einstein_radius": (0.6, 1.4),
    "subhalo_fraction": (0.0, 0.0),
    "texture": (0.0, 0.0),
}


def positions(centre=(0.0, 0.0)):
    """(y, x) of the pixels from a place, shape (y, x, 2)."""
    grid = al.Grid2D.uniform(SHAPE, pixel_scales=SCALE).native.array
    return grid - np.asarray(centre)


@pytest.fixture(scope="module")
def plain():
    return ConvergenceGenerator(**PLAIN)


@pytest.fixture(scope="module")
def default():
    return ConvergenceGenerator(shape=SHAPE, pixel_scale=SCALE, einstein_radius=(0.6, 1.4))


def test_maps_are_lenses(default):
    maps = default.generate(200, seed=1)
    assert maps.values.shape == (200, *SHAPE) and maps.values.dtype == np.float32
    assert np.isfinite(maps.values).all() and maps.values.min() > 0.0
    # Cores of a fifth of a pixel and subhaloes change the radii by a few hundredths of an arcsec.
    assert maps.einstein_radius.min() > 0.5 and maps.einstein_radius.max() < 1.5
    assert np.std(maps.einstein_radius) == pytest.approx(0.8 / np.sqrt(12.0), rel=0.15)
    assert np.abs(maps.centre).max() < 0.1 + 0.5 * SCALE


def test_map_depends_on_its_number_and_the_seed_alone(default):
    maps = default.generate(70, seed=3)
    part = default.generate(10, seed=3, start=60)
    assert np.array_equal(part.values, maps.values[60:])
    assert np.array_equal(part.einstein_radius, maps.einstein_radius[60:])
    again = ConvergenceGenerator(shape=list(SHAPE), pixel_scale=SCALE, einstein_radius=[0.6, 1.4])
    assert np.array_equal(again.generate(3, seed=3).values, maps.values[:3])
    assert not np.allclose(default.generate(3, seed=4).values, maps.values[:3])
    assert len(np.unique(maps.values[:, 3, 3])) == 70


def test_galaxy_is_an_elliptical_power_law(plain):
    # An ellipse of constant convergence encloses pi times the square of the intermediate radius.
    generator = ConvergenceGenerator(
        **{**PLAIN, "einstein_radius": (1.1, 1.1), "slope": (2.2, 2.2), "axis_ratio": (0.6, 0.6)}
    )
    maps = generator.generate(64, seed=2)
    for level in (0.45, 0.6, 0.9):
        area = np.sum(maps.values > level, axis=(1, 2)) * SCALE**2
        radius = 1.1 * (0.5 * (3.0 - 2.2) / level) ** (1.0 / (2.2 - 1.0))
        assert area.mean() == pytest.approx(np.pi * radius**2, rel=0.02)
    # With the axis ratio asked for, in all directions.
    y, x = np.moveaxis(positions(), -1, 0)
    inside = (maps.values > 0.6).astype(float)
    xx, yy, xy = (np.mean(inside * each, axis=(1, 2)) for each in (x * x, y * y, x * y))
    spread = np.hypot(0.5 * (xx - yy), xy)
    ratio = np.sqrt((0.5 * (xx + yy) - spread) / (0.5 * (xx + yy) + spread))
    assert ratio.mean() == pytest.approx(0.6, abs=0.02)
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    assert abs(np.mean(np.exp(2j * angle))) < 4.0 / np.sqrt(64)


def test_round_galaxy_is_that_of_pyautolens():
    generator = ConvergenceGenerator(
        **{
            **PLAIN,
            "einstein_radius": (1.2, 1.2),
            "slope": (1.8, 1.8),
            "axis_ratio": (1.0, 1.0),
            "offset": 0.0,
        }
    )
    profile = al.mp.PowerLawSph(einstein_radius=1.2, slope=1.8)
    grid = al.Grid2D.uniform(SHAPE, pixel_scales=SCALE, over_sample_size=16)
    expected = profile.convergence_2d_from(grid).native.array
    ratio = generator.generate(1, seed=0).values[0] / expected
    radius = np.linalg.norm(positions(), axis=-1)
    assert np.allclose(ratio[radius > 0.4], 1.0, atol=5e-3)
    assert np.all(ratio <= 1.002) and ratio[radius < SCALE].min() > 0.7


def test_multipoles_have_their_strength_and_no_mass(plain):
    options = {"multipoles": (3,), "multipole_strength": (0.1, 0.1), "slope": (2.0, 2.0)}
    with_multipoles = ConvergenceGenerator(**{**PLAIN, **options, "offset": 0.0})
    without = ConvergenceGenerator(**{**PLAIN, "slope": (2.0, 2.0), "offset": 0.0})
    first, second = with_multipoles.generate(20, seed=5), without.generate(20, seed=5)
    # Drawn last, they leave the galaxies as they are.
    change = first.values.astype(float) - second.values
    y, x = np.moveaxis(positions(), -1, 0)
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    ring = (radius > 0.6) & (radius < 1.6)
    for order, strength in ((1, 0.0), (2, 0.0), (3, 0.1), (4, 0.0)):
        wave = 2.0 * np.mean((change * radius * np.exp(1j * order * angle))[:, ring], axis=1)
        # Half of (Einstein radius / r) times the strength; the radius is from 0.6 to 1.4.
        assert np.all(np.abs(wave) >= 0.5 * strength * 0.58)
        assert np.all(np.abs(wave) <= 0.5 * strength * 1.42 + 2e-3)
    assert np.abs(change[:, ring].mean(axis=1)).max() < 2e-3 and first.values.min() > 0.0


def test_subhaloes_have_the_mass_and_the_number_that_are_asked_for():
    options = {**PLAIN, "slope": (2.0, 2.0), "einstein_radius": (1.0, 1.0)}
    lumpy = ConvergenceGenerator(
        **{**options, "subhalo_fraction": (0.05, 0.05), "subhalo_mass": (1e-3, 1e-3)}
    )
    smooth = ConvergenceGenerator(**options)
    values = lumpy.generate(128, seed=6).values.astype(float)
    lumps = values - smooth.generate(128, seed=6).values
    assert lumps.min() > -1e-4
    # An isothermal sphere of a thousandth of the mass, 0.01" strong and truncated at 0.1"; the core
    # of 0.4 pixels does not change its mass.
    core = 0.4 * SCALE
    profile = al.mp.dPIEMassB0Sph(ra=core, rs=0.1 + core, b0=0.01 * 0.1 / (0.1 + core))
    side = SHAPE[0] * SCALE
    wide = al.Grid2D.uniform((256, 256), pixel_scales=2.0 * side / 256)
    # Of one anywhere in the frame, what is inside of the frame.
    share = np.prod(1.0 - np.abs(wide.array) / side, axis=1)
    expected = np.sum(profile.convergence_2d_from(wide).array * share) * wide.pixel_scale**2
    assert 0.8 * np.pi * 1e-3 < expected < np.pi * 1e-3
    number = 0.025 * side**2 / (np.pi * 1e-3)
    mass = lumps.sum(axis=(1, 2)) * SCALE**2 / expected
    assert mass.mean() == pytest.approx(number, rel=0.03)
    # A Poisson number.
    assert mass.std() == pytest.approx(np.sqrt(number), rel=0.25)


def test_subhalo_masses_follow_their_power_law(default):
    shares = np.linspace(0.0, 1.0, 7)
    masses = default._subhalo_masses(shares)
    assert masses[0] == pytest.approx(1e-3) and masses[-1] == pytest.approx(3e-2)
    total = integrate.quad(lambda m: m**-1.9, 1e-3, 3e-2)[0]
    for share, mass in zip(shares, masses, strict=True):
        assert integrate.quad(lambda m: m**-1.9, 1e-3, mass)[0] == pytest.approx(share * total)
    mean = integrate.quad(lambda m: m**-0.9, 1e-3, 3e-2)[0] / total
    assert default._mean_subhalo_mass == pytest.approx(mean)
    # A slope of -1 is no power law of the masses below.
    log = ConvergenceGenerator(**{**PLAIN, "subhalo_mass_slope": -1.0})
    assert log._subhalo_masses(np.array([0.5]))[0] == pytest.approx(np.sqrt(3e-5))


def test_texture_is_relative_and_has_its_rms(plain):
    rough = ConvergenceGenerator(**{**PLAIN, "texture": (0.08, 0.08)})
    ratio = np.log(rough.generate(64, seed=7).values.astype(float))
    ratio -= np.log(plain.generate(64, seed=7).values)
    assert np.allclose(ratio.std(axis=(1, 2)), 0.08, rtol=1e-3)
    assert np.allclose(np.mean(np.exp(ratio), axis=(1, 2)), 1.0, atol=5e-3)
    # Steep spectra: neighbours are alike.
    assert np.mean(ratio[:, 1:] * ratio[:, :-1]) > 0.7 * 0.08**2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4, 64)}, "at least 8 pixels"),
        ({"pixel_scale": 0.0}, "pixel_scale"),
        ({"einstein_radius": (1.0, 0.5)}, "einstein_radius must be a range"),
        ({"slope": (1.0, 2.0)}, "slope must be"),
        ({"axis_ratio": (0.5, 1.1)}, "axis_ratio"),
        ({"multipole_strength": (0.0, 0.5)}, "multipole_strength"),
        ({"multipoles": (0,)}, "whole numbers"),
        (
            {"multipoles": (3, 4), "multipole_strength": (0.0, 0.2), "slope": (2.0, 2.7)},
            "multipole_strength must be below 0.0832",
        ),
        ({"subhalo_fraction": (0.1, np.nan)}, "subhalo_fraction"),
        ({"subhalo_mass": (0.0, 0.1)}, "subhalo_mass"),
        ({"subhalo_mass_slope": np.inf}, "finite"),
        ({"texture": (0.1,)}, "texture must be a range"),
        ({"texture_slope": (-1.0, 2.0)}, "texture_slope"),
        ({"einstein_radius": (1.0, 3.0)}, "leaves a frame"),
        ({"offset": -0.1}, "leaves a frame"),
    ],
)
def test_impossible_populations(options, message):
    with pytest.raises(OptionError, match=message):
        ConvergenceGenerator(**options)


def test_impossible_numbers(plain):
    for n, start in ((0, 0), (3, -1)):
        with pytest.raises(OptionError, match="set n to 1"):
            plain.generate(n, seed=0, start=start)
