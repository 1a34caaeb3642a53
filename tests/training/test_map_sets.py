"""Maps to learn: galaxies that stand alike, lenses of one Einstein radius, none on both sides."""

import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.maps import einstein_radii_from
from autolens_ml.training import map_sets
from autolens_ml.training.map_sets import Galaxies, Lenses, frames_of, population_of

SIZE, RADIUS = 32, 0.25
SMOOTH = {"multipoles": [], "subhalo_fraction": [0.0, 0.0], "texture": [0.0, 0.0]}


@pytest.fixture(scope="module")
def galaxies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_sets, "_N_DRAWN", 40)
        population = Galaxies({"smooth": 1.0, "clumpy": 2.0}, SIZE, RADIUS, seed=3)
        assert len(population._samplers[0].libraries) == 2  # made while the patch is on
    return population


@pytest.fixture(scope="module")
def lenses():
    return Lenses(SMOOTH, SIZE, 0.4)


def tailed(angle, size=101):
    """An ellipse with a blob at one end of its major axis."""
    grid = al.Grid2D.uniform((size, size), pixel_scales=1.0, over_sample_size=1)
    ell_comps = al.convert.ell_comps_from(axis_ratio=0.5, angle=angle)
    y, x = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    galaxy = al.lp.Gaussian(centre=(2.0, -1.0), ell_comps=ell_comps, sigma=6.0)
    blob = al.lp.GaussianSph(centre=(2.0 + 30.0 * y, -1.0 + 30.0 * x), sigma=2.0, intensity=0.05)
    return sum(light.image_2d_from(grid).native.array for light in (galaxy, blob))


def test_frames_lie_along_the_major_axis_towards_the_tail():
    angles = np.array([0.0, 30.0, 100.0, 170.0, 200.0, 340.0])
    centroids, found = frames_of(np.array([tailed(angle) for angle in angles]))
    outwards = np.stack((np.sin(np.radians(angles)), np.cos(np.radians(angles))), axis=-1)
    from_galaxy = centroids - (2.0, -1.0)
    # The blob draws the centroid towards it.
    shift = np.sum(from_galaxy * outwards, axis=1)
    assert np.allclose(from_galaxy, shift[:, None] * outwards, atol=1e-3) and shift.min() > 0.05
    assert np.allclose((found - angles + 180.0) % 360.0 - 180.0, 0.0, atol=1.0)


def test_galaxies_stand_alike(galaxies):
    maps, kind = galaxies.drawn(64, seed=1, start=0, held_out=False)
    assert maps.shape == (64, SIZE, SIZE) and maps.min() >= 0.0
    assert np.allclose(maps.max(axis=(1, 2)), 1.0)
    assert set(kind) == {0, 1} and galaxies.kinds == ("smooth", "clumpy")
    _, angles = frames_of(maps)
    # Round ones have no direction that pixels would not change.
    assert np.mean(np.abs((angles + 90.0) % 180.0 - 90.0) < 10.0) > 0.8
    pixels = np.arange(SIZE) - 0.5 * (SIZE - 1)
    light = maps / maps.sum(axis=(1, 2), keepdims=True)
    for axis in (1, 2):
        assert np.abs(light.sum(axis=axis) @ pixels).max() < 0.8
    # The longer tail is to the right, where there is one.
    along = light.sum(axis=1)
    x = pixels - (along @ pixels)[:, None]
    skewness = np.sum(along * x**3, axis=1) / np.sum(along * x**2, axis=1) ** 1.5
    assert skewness.min() > -0.1 and np.mean(skewness > 0.1) > 0.3
    # Half the light is in the disc, as far as pixels and the frame tell.
    inside = np.hypot(pixels[:, None], pixels) <= 0.5 * SIZE * RADIUS
    assert np.median(light[:, inside].sum(axis=1)) == pytest.approx(0.5, abs=0.04)


def test_mirrored_galaxies_are_as_good(galaxies):
    maps, _ = galaxies.drawn(64, seed=1, start=0, held_out=False)
    varied = galaxies.varied(maps, np.random.default_rng(2))
    same = np.array([np.array_equal(a, b) for a, b in zip(varied, maps, strict=True)])
    mirrored = np.array([np.array_equal(a, b[::-1]) for a, b in zip(varied, maps, strict=True)])
    assert np.all(same | mirrored) and 10 < same.sum() < 54


def test_no_galaxy_is_on_both_sides(galaxies):
    names = [
        {name for library in sampler.libraries for name in library.names}
        for sampler in galaxies._samplers
    ]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 80 and len(names[1]) > 3
    learned, _ = galaxies.drawn(64, seed=1, start=0, held_out=False)
    unseen, _ = galaxies.drawn(64, seed=1, start=0, held_out=True)
    nearest = [np.abs(learned - one).mean(axis=(1, 2)).min() for one in unseen]
    assert min(nearest) > 1e-4


def test_lenses_have_one_einstein_radius_and_centre(lenses):
    maps, kind = lenses.drawn(40, seed=1, start=0, held_out=False)
    assert maps.shape == (40, SIZE, SIZE) and not kind.any()
    radii, centres = einstein_radii_from(maps, lenses.pixel)
    # Cores of a fraction of a pixel take some mass away.
    assert np.allclose(radii, 0.96, atol=0.04) and np.abs(centres).max() < 0.05
    assert np.ptp(maps, axis=0).max() > 0.5


def test_symmetries_of_lenses(lenses):
    maps = np.random.default_rng(1).random((64, 5, 5))
    varied = lenses.varied(maps, np.random.default_rng(2))
    seen = set()
    for before, after in zip(maps, varied, strict=True):
        squares = [np.rot90(m, k) for m in (before, before.T) for k in range(4)]
        (which,) = [i for i, square in enumerate(squares) if np.array_equal(square, after)]
        seen.add(which)
    assert seen == set(range(8))


@pytest.mark.parametrize("which", ["galaxies", "lenses"])
def test_sets_are_stored_and_the_same_however_they_are_made(which, request, tmp_path):
    population = request.getfixturevalue(which)
    said = []
    whole = population.stored(tmp_path / "whole", 70, 5, True, said.append)
    assert whole["maps"].shape == (70, SIZE, SIZE) and whole["maps"].dtype == np.float16
    assert whole["kind"].shape == (70,) and "70 of 70" in said[-1]
    again = population.stored(tmp_path / "whole", 70, 5, True, said.append)
    assert len(said) == 2 and np.array_equal(again["maps"], whole["maps"])
    rest, kind = population.drawn(6, 5, 64, True)
    assert np.allclose(rest, whole["maps"][64:], rtol=1e-3, atol=1e-6)
    assert np.array_equal(kind, whole["kind"][64:])
    other, _ = population.drawn(6, 6, 64, True)
    assert not np.allclose(other, rest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "needs either galaxies"),
        ({"galaxies": {"smooth": 1.0}, "lenses": SMOOTH}, "needs either galaxies"),
        ({"galaxies": ["smooth"]}, "needs either galaxies"),
        ({"galaxies": {"smooth": 0.0}}, "smooth needs a weight above 0"),
        ({"galaxies": {"smooth": "many"}}, "smooth needs a weight above 0"),
        ({"lenses": {"pixel_scale": 0.1}}, "pixel_scale follow from the network"),
        ({"lenses": {"slopes": [1.0, 2.0]}}, "lenses: .*slopes"),
        ({"lenses": {"axis_ratio": [0.5, 1.5]}}, "axis_ratio must be a range"),
    ],
)
def test_bad_data_are_refused(data, message):
    with pytest.raises(OptionError, match=message):
        population_of(data, SIZE, 0.4, seed=1)


def test_unknown_libraries_are_refused():
    with pytest.raises(OptionError, match="no source stamps 'spirals'"):
        Galaxies({"spirals": 1.0}, SIZE, RADIUS, seed=1).drawn(2, 1, 0, False)
