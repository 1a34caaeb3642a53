"""Source maps: what is varied, and who is on which side."""

import numpy as np
import pytest
from scipy import ndimage, stats

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.galaxies import (
    GalaxySampler,
    smooth_galaxies,
    split_by_galaxy,
)
from autolens_ml.simulate.sources import StampLibrary, clumpy

SIZE = 48
# One frame for all, which is compiled once.
FRAME = {"shape": (44, 40), "pixel_scale": 0.07}


@pytest.fixture(scope="module")
def clean():
    return clumpy(12, size=SIZE, seed=1)


@pytest.fixture(scope="module")
def smooth():
    return smooth_galaxies(30, size=SIZE, seed=2)


def outermost(maps):
    return np.concatenate(
        [maps[:, 0].ravel(), maps[:, -1].ravel(), maps[:, :, 0].ravel(), maps[:, :, -1].ravel()]
    )


def bar():
    """A long galaxy with one spot beside its right end: its mirror image is another."""
    y, x = 0.5 * (SIZE - 1) - np.indices((SIZE, SIZE))[0], np.indices((SIZE, SIZE))[1] - 23.5
    light = np.exp(-0.5 * ((x / 6.0) ** 2 + (y / 2.0) ** 2))
    return light + 0.5 * np.exp(-0.5 * (((x - 8.0) / 1.5) ** 2 + ((y - 5.0) / 1.5) ** 2))


def test_no_galaxy_is_on_both_sides(smooth):
    training, validation = split_by_galaxy(smooth, 0.3, seed=4)
    assert set(training.names) | set(validation.names) == set(smooth.names)
    assert not set(training.names) & set(validation.names)
    assert len(training) + len(validation) == len(smooth)
    for library in (training, validation):
        rows = [smooth.names.index(name) for name in library.names]
        assert np.array_equal(library.stamps, smooth.stamps[rows])
        assert np.array_equal(library.half_light_radius, smooth.half_light_radius[rows])
    # Whatever else is in the library, and at any size.
    part = StampLibrary.from_stamps(smooth.stamps[::-2, 8:-8, 8:-8], smooth.names[::-2])
    first, second = split_by_galaxy(part, 0.3, seed=4)
    assert set(first.names) <= set(training.names) and set(second.names) <= set(validation.names)
    other, _ = split_by_galaxy(smooth, 0.3, seed=5)
    assert set(other.names) != set(training.names)


def test_share_of_the_split():
    names = [f"galaxy_{i}" for i in range(600)]
    library = StampLibrary.from_stamps(np.ones((600, 4, 4)), names)
    _, validation = split_by_galaxy(library, 0.1)
    assert abs(len(validation) - 60) < 4.0 * np.sqrt(54.0)


@pytest.mark.parametrize("validation", [0.0, 1.0, np.nan])
def test_impossible_splits(smooth, validation):
    with pytest.raises(OptionError, match="between 0 and 1"):
        split_by_galaxy(smooth, validation)


def test_one_galaxy_does_not_split(smooth):
    with pytest.raises(DataError, match="do not divide"):
        split_by_galaxy(StampLibrary.from_stamps(smooth.stamps[:1], smooth.names[:1]))


def test_samplers_of_both_sides_share_no_galaxy(smooth, clean):
    training, validation = GalaxySampler((smooth, clean), **FRAME).split(0.3, seed=1)
    assert training.shape == (44, 40) and validation.pixel_scale == 0.07
    rng = np.random.default_rng(1)
    first, second = (set(each.sample(100, rng).names) for each in (training, validation))
    assert len(first) > 15 and len(second) > 3 and not first & second


def test_maps_are_galaxies_of_the_size_that_is_asked_for(smooth):
    maps = GalaxySampler((smooth,), **FRAME).sample(60, np.random.default_rng(2))
    assert maps.values.shape == (60, 44, 40) and maps.values.dtype == np.float32
    assert len(maps) == 60 and maps.pixel_scale == 0.07
    assert maps.values.min() >= 0.0 and np.all(maps.values.max(axis=(1, 2)) == 1.0)
    assert not outermost(maps.values).any()
    assert maps.half_light_radius.min() >= 0.15 and maps.half_light_radius.max() <= 0.5
    # In the frame, which shows nearly all light and averages over pixels.
    measured = StampLibrary.from_stamps(np.pad(maps.values, ((0, 0), (0, 0), (2, 2))))
    ratio = 0.07 * measured.half_light_radius / maps.half_light_radius
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05) and np.all(np.abs(ratio - 1.0) < 0.2)
    # Anywhere up to 0.3" from the middle along both axes, but for companions.
    places = 0.07 * np.array([ndimage.center_of_mass(each) for each in maps.values])
    places -= 0.07 * np.array([21.5, 19.5])
    assert places.std() == pytest.approx(0.3 / np.sqrt(3.0), rel=0.2)


def test_directions_and_mirror_images_are_any():
    library = StampLibrary.from_stamps(bar()[None])
    sampler = GalaxySampler((library,), half_light_radius=(0.3, 0.35), offset=0.0, **FRAME)
    maps = sampler.sample(120, np.random.default_rng(3)).values.astype(float)
    rows, columns = np.indices((44, 40))
    light = maps.sum(axis=(1, 2))
    y0, x0 = ((maps * each).sum(axis=(1, 2)) / light for each in (-rows, columns))
    y, x = -rows - y0[:, None, None], columns - x0[:, None, None]
    xx, yy, xy = ((maps * each).sum(axis=(1, 2)) for each in (x * x, y * y, x * y))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    assert stats.kstest(angle / np.pi + 0.5, "uniform").pvalue > 1e-3
    # The third moments along and across the bar have the same sign in one of two mirror images.
    along = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None]
    across = y * np.cos(angle)[:, None, None] - x * np.sin(angle)[:, None, None]
    hand = np.sign((maps * along**3).sum(axis=(1, 2)) * (maps * across**3).sum(axis=(1, 2)))
    assert abs(hand.sum()) < 4.0 * np.sqrt(120)


def test_draws_follow_the_generator_and_the_weights(smooth, clean):
    sampler = GalaxySampler((smooth, clean), (3.0, 1.0), **FRAME)
    first, again = (sampler.sample(40, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first.values, again.values) and first.names == again.names
    assert not np.array_equal(first.values, sampler.sample(40, np.random.default_rng(5)).values)
    names = sampler.sample(200, np.random.default_rng(6)).names
    share = np.mean([name.startswith("smooth") for name in names])
    assert share == pytest.approx(0.75, abs=4.0 * np.sqrt(0.1875 / 200))
    never = GalaxySampler((smooth, clean), (0.0, 1.0), **FRAME)
    assert all(n.startswith("clumpy") for n in never.sample(30, np.random.default_rng(7)).names)


def test_light_stays_in_the_frame():
    library = StampLibrary.from_stamps(bar()[None])
    options = {**FRAME, "half_light_radius": (0.1, 1.2)}
    free = GalaxySampler((library,), **options, flux_inside=0.0, offset=1.0)
    kept = GalaxySampler((library,), **options, flux_inside=0.97, offset=1.0)
    rng = np.random.default_rng(8)
    # The larger a galaxy, the rarer does it fit.
    sizes = [each.sample(80, rng).half_light_radius.mean() for each in (kept, free)]
    assert sizes[0] < 0.8 * sizes[1]
    large = GalaxySampler((library,), **{**options, "half_light_radius": (3.0, 3.0)})
    with pytest.raises(OptionError, match="half_light_radius, offset or flux_inside down"):
        large.sample(2, rng)


def test_smooth_galaxies_are_as_large_as_clumpy_ones(smooth, clean):
    assert smooth.stamps.shape == (30, SIZE, SIZE) and len(set(smooth.names)) == 30
    assert not outermost(smooth.stamps).any()
    assert np.median(smooth.half_light_radius) == pytest.approx(0.1 * SIZE, rel=0.15)
    again = smooth_galaxies(3, size=SIZE, seed=2)
    assert np.array_equal(again.stamps, smooth.stamps[:3])
    assert not np.allclose(smooth_galaxies(1, size=SIZE, seed=3).stamps, smooth.stamps[:1])
    # Some lean on a companion, most are symmetric about their middle.
    mirrored = smooth.stamps[:, ::-1, ::-1]
    lopsided = np.abs(mirrored - smooth.stamps).sum(axis=(1, 2)) / smooth.stamps.sum(axis=(1, 2))
    assert 0.05 < np.mean(lopsided > 1e-3) < 0.5


def test_samplers_by_name(tmp_path, monkeypatch):
    from astropy.io import fits

    monkeypatch.setattr("autolens_ml.simulate.maps.galaxies._N_SMOOTH", 3)
    rng = np.random.default_rng(9)
    for i in range(2):
        image = np.pad(bar(), 20) + 1e-3 * rng.standard_normal((SIZE + 40, SIZE + 40))
        fits.writeto(tmp_path / f"{i}.fits", image)
    sampler = GalaxySampler.from_names({"smooth": 1.0, str(tmp_path): 3.0}, **FRAME)
    assert sampler.weights == (0.25, 0.75) and sampler.shape == (44, 40)
    assert sampler.libraries[1].names == ("0.fits", "1.fits")
    with pytest.raises(OptionError, match="no source stamps 'spirals'"):
        GalaxySampler.from_names({"spirals": 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"libraries": ()}, "one or more"),
        ({"weights": (1.0, 2.0)}, "one for each library"),
        ({"weights": (0.0,)}, "one for each library"),
        ({"shape": (4, 32)}, "give 8 pixels"),
        ({"pixel_scale": -0.1}, "pixel_scale"),
        ({"half_light_radius": (0.5, 0.1)}, "low to high"),
        ({"offset": -0.1}, "offset"),
        ({"flux_inside": 1.0}, "flux_inside"),
    ],
)
def test_impossible_samplers(smooth, options, message):
    with pytest.raises(OptionError, match=message):
        GalaxySampler(**{"libraries": (smooth,)} | options)


def test_unlike_sizes_and_other_impossible_numbers(smooth):
    with pytest.raises(OptionError, match="all of one size"):
        GalaxySampler((smooth, smooth_galaxies(1, size=16)))
    for n, size in ((0, 32), (1, 8)):
        with pytest.raises(OptionError, match="size to 16"):
            smooth_galaxies(n, size)
    with pytest.raises(OptionError, match="set n to 1"):
        GalaxySampler((smooth,)).sample(0, np.random.default_rng(0))
