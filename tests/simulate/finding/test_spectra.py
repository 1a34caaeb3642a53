"""Colours: what redshift, dust and temperature do to them."""

import numpy as np
import pytest
from astropy.cosmology import Planck15

from autolens_ml.simulate.finding import spectra
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.spectra import TYPES, magnitudes

VIS, Y, J, H = range(4)


def colours(kind, redshift, dust=0.0):
    n = len(np.atleast_1d(redshift))
    return magnitudes(np.full(n, TYPES.index(kind)), redshift, np.full(n, 20.0), dust)


def test_bands_are_in_order():
    assert list(BANDS) == ["VIS", "Y", "J", "H"]


def test_the_magnitude_in_vis_is_the_one_given():
    mags = magnitudes(np.arange(4), np.full(4, 0.7), np.array([18.0, 20.0, 22.0, 24.0]), 0.5)
    assert np.allclose(mags[:, VIS], [18.0, 20.0, 22.0, 24.0])


def test_old_galaxies_are_redder_and_the_break_makes_them_ever_redder():
    redshift = np.linspace(0.0, 1.2, 13)
    old, young = colours("elliptical", redshift), colours("starburst", redshift)
    assert np.all(old[:, VIS] - old[:, H] > young[:, VIS] - young[:, H] + 0.5)
    assert np.all(np.diff(old[:, VIS] - old[:, Y]) > 0.0)
    # Luminous red galaxies at redshift 0.5.
    assert old[5, VIS] - old[5, H] == pytest.approx(1.7, abs=0.3)


def test_types_are_in_the_order_of_their_colours():
    reddening = [colours(kind, 0.4)[0, VIS] - colours(kind, 0.4)[0, H] for kind in TYPES]
    assert np.all(np.diff(reddening) < 0.0)


def test_dust_reddens():
    clean, dusty = colours("late", 0.5), colours("late", 0.5, 1.0)
    assert np.all(np.diff(clean[0] - dusty[0]) > 0.0)


def test_hydrogen_takes_vis_away():
    near, far = colours("starburst", 3.0)[0], colours("starburst", 5.5)[0]
    assert far[VIS] - far[J] > near[VIS] - near[J] + 0.7


def test_stars_are_black_bodies():
    mags = spectra.star_magnitudes(np.array([3000.0, 9000.0]), np.array([15.0, 15.0]))
    cool, hot = mags[:, VIS] - mags[:, H]
    assert cool > 1.0 and hot < 0.0
    # Of a body hotter than anything, fluxes per frequency go with the square of the frequency.
    (hottest,) = spectra.star_magnitudes(np.array([1e9]), np.array([15.0]))
    middles = [np.mean(band.wavelengths) for band in BANDS.values()]
    assert hottest[H] - hottest[VIS] == pytest.approx(
        5.0 * np.log10(middles[3] / middles[0]), abs=1e-4
    )


def test_distances_are_those_of_astropy():
    redshift = np.array([0.05, 0.5, 2.0, 4.5])
    assert spectra.distance_modulus(redshift) == pytest.approx(
        Planck15.distmod(redshift).value, abs=1e-3
    )
    expected = 1.0 / Planck15.arcsec_per_kpc_proper(redshift).value
    assert spectra.kpc_per_arcsec(redshift) == pytest.approx(expected, rel=1e-4)


def test_absolute_magnitudes_are_apparent_ones_at_ten_parsec():
    kinds, redshift = np.arange(4), np.full(4, 1e-3)
    apparent = spectra.apparent_magnitude(kinds, redshift, np.full(4, -21.0))
    # VIS is hardly redder than where absolute magnitudes are measured.
    assert apparent == pytest.approx(-21.0 + Planck15.distmod(1e-3).value, abs=0.35)


def test_what_shines_as_one_frequency_as_another_has_a_known_k_correction(monkeypatch):
    monkeypatch.setattr(spectra, "_SPECTRA", {kind: [0.0] * 19 for kind in TYPES})
    spectra._band_table.cache_clear()
    try:
        redshift = np.array([0.5])
        apparent = spectra.apparent_magnitude(np.array([0]), redshift, np.array([-21.0]))
        # Luminosity per frequency: distance modulus less 2.5 log(1 + z).
        expected = -21.0 + Planck15.distmod(0.5).value - 2.5 * np.log10(1.5)
        assert apparent == pytest.approx(expected, abs=1e-3)
    finally:
        spectra._band_table.cache_clear()
