"""Stamps that are cleaned, and those that are cut."""

import numpy as np
import pytest
from scipy import ndimage

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.preparation import QualityCuts, prepared
from autolens_ml.simulate.sources import StampLibrary, clumpy, hubble_deep_field

SIZE = 48


@pytest.fixture(scope="module")
def clean():
    return clumpy(12, size=SIZE, seed=1)


def noisy(library, sigma, seed=0):
    noise = sigma * np.random.default_rng(seed).standard_normal(library.stamps.shape)
    # Cut out as stamps are: sky is zero.
    return StampLibrary.from_stamps(
        (library.stamps + noise) * (library.stamps > 0.002), library.names
    )


def outermost(maps):
    return np.concatenate(
        [maps[:, 0].ravel(), maps[:, -1].ravel(), maps[:, :, 0].ravel(), maps[:, :, -1].ravel()]
    )


def bar():
    y, x = np.indices((SIZE, SIZE)) - 0.5 * (SIZE - 1)
    return np.exp(-0.5 * ((x / 6.0) ** 2 + (y / 2.0) ** 2))


def test_denoised_galaxies_are_nearer_to_the_truth(clean):
    given = noisy(clean, 0.02)
    cuts = QualityCuts(signal_to_noise=5.0)
    for noise in (None, 0.02):
        mended = prepared(given, cuts, noise=noise)
        assert mended.names == clean.names
        inside = clean.stamps > 0.002
        before, after = (
            np.sqrt(np.mean((library.stamps - clean.stamps)[inside] ** 2))
            for library in (given, mended)
        )
        assert after < 0.7 * before
    untouched = prepared(given, cuts, denoise=False)
    middle = slice(6, -6)
    assert np.array_equal(untouched.stamps[:, middle, middle], given.stamps[:, middle, middle])
    assert not outermost(mended.stamps).any() and np.all(mended.stamps.max(axis=(1, 2)) == 1.0)


def test_galaxies_without_noise_are_left_alone(clean):
    assert np.allclose(prepared(clean, noise=0.0).stamps, clean.stamps, atol=2e-3)


def test_real_galaxies_stay_and_lose_their_specks():
    library = hubble_deep_field(64)
    assert 0.8 * len(library) < np.sum(QualityCuts().passes(library)) < len(library)
    given = StampLibrary.from_stamps(library.stamps[::8], library.names[::8])
    mended = prepared(given)
    rows = [given.names.index(name) for name in mended.names]
    before, after = given.stamps[rows].astype(float), mended.stamps.astype(float)
    # All but a few percent of the light is where it was.
    assert np.all(np.abs(after - before).sum(axis=(1, 2)) < 0.1 * before.sum(axis=(1, 2)))
    # Second differences in faint places are fewer.
    faint = (before > 0.0) & (before < 0.1)
    roughness = [np.mean(np.abs(ndimage.laplace(s, axes=(1, 2)))[faint]) for s in (before, after)]
    assert roughness[1] < 0.9 * roughness[0]


def test_cuts_take_what_they_say():
    y, x = np.indices((SIZE, SIZE)) - 0.5 * (SIZE - 1)
    good = np.exp(-0.5 * (x**2 + y**2) / 16.0)
    wide = np.exp(-0.5 * (x**2 + y**2) / 144.0)
    spread = good + 0.6 * np.exp(-0.5 * ((x - 16.0) ** 2 + (y - 16.0) ** 2) / 3.0)
    library = StampLibrary.from_stamps(np.array([good, good, wide, spread]))
    noise = np.array([0.001, 0.1, 0.001, 0.001])
    assert QualityCuts().passes(library, noise).tolist() == [True, False, False, False]
    for cuts, passes in (
        (QualityCuts(signal_to_noise=1.0), [True, True, False, False]),
        (QualityCuts(flux_inside=0.0), [True, False, False, True]),
        (QualityCuts(edge=1.0), [True, False, False, False]),
        (QualityCuts(edge=1.0, flux_inside=0.5), [True, False, True, True]),
    ):
        assert cuts.passes(library, noise).tolist() == passes
    with pytest.raises(DataError, match="none of 4 stamps"):
        prepared(library, QualityCuts(signal_to_noise=1e6), noise=0.1)


@pytest.mark.parametrize("sigma", [0.01, 0.04])
def test_noise_is_estimated(sigma):
    bars = StampLibrary.from_stamps(np.repeat(bar()[None], 10, axis=0))
    given = noisy(bars, sigma)
    signal = 0.5 * bars.stamps[0].sum() / (np.pi * bars.half_light_radius[0] ** 2)
    # Ten of ten have less than 1 / 0.6 times the noise, none has less than 1 / 1.6 times.
    for factor, passes in ((0.6, True), (1.6, False)):
        cuts = QualityCuts(signal_to_noise=factor * signal / sigma)
        assert np.all(cuts.passes(given) == passes)


def test_impossible_cuts_and_noise(clean):
    for options in ({"flux_inside": 1.1}, {"edge": -0.1}, {"signal_to_noise": -1.0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            QualityCuts(**options)
    for noise in (-1.0, np.nan, np.ones(3)):
        with pytest.raises(OptionError, match="one for each of 12"):
            prepared(clean, noise=noise)
