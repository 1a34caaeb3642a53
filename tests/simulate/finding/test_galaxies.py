"""Draws of galaxies."""

import numpy as np
import pytest
from astropy.cosmology import Planck15

from autolens_ml.simulate.finding import galaxies
from autolens_ml.simulate.finding.galaxies import (
    deflector_light,
    dispersions_from,
    draw_deflectors,
    draw_sources,
    einstein_radii,
)
from autolens_ml.simulate.finding.spectra import TYPES, apparent_magnitude


def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def deflectors():
    return draw_deflectors(400, rng())


def test_einstein_radii_of_isothermal_spheres():
    theta = einstein_radii(np.array([250.0]), np.array([0.5]), np.array([2.0]))
    near, far = Planck15.comoving_distance([0.5, 2.0])
    ratio = (far - near) / far  # in a flat universe
    expected = 4.0 * np.pi * (250.0 / 299792.458) ** 2 * ratio.value * 206264.806
    assert theta[0] == pytest.approx(expected, rel=1e-3)
    assert einstein_radii(np.array([250.0]), np.array([1.0]), np.array([0.5]))[0] == 0.0


def test_deflectors_lens_what_is_behind_them(deflectors):
    assert len(deflectors) == 400
    assert np.all(deflectors.source_redshift > deflectors.redshift + 0.1)
    low, high = galaxies.EINSTEIN_RADII
    assert np.all((deflectors.einstein_radius > low) & (deflectors.einstein_radius < high))
    assert np.allclose(
        deflectors.einstein_radius,
        einstein_radii(deflectors.dispersion, deflectors.redshift, deflectors.source_redshift),
    )
    assert np.all(np.hypot(*deflectors.ell_comps.T) < 0.45)


def test_massive_galaxies_are_bright_and_large(deflectors):
    near = np.abs(deflectors.redshift - 0.5) < 0.15
    assert near.sum() > 50
    for values, sign in ((deflectors.magnitude, -1.0), (deflectors.radius, 1.0)):
        assert sign * np.corrcoef(deflectors.dispersion[near], values[near])[0, 1] > 0.4


def test_faber_and_jackson_are_inverted():
    redshift, kind = np.array([0.4]), np.array([0])
    # At 200 km/s, with passive evolution.
    absolute = np.array([-21.3 - 0.9 * 0.4])
    magnitude = apparent_magnitude(kind, redshift, absolute)
    assert dispersions_from(kind, redshift, magnitude) == pytest.approx(200.0)
    # Sixteen times the light is twice the dispersion.
    brighter = magnitude - 2.5 * np.log10(16.0)
    assert dispersions_from(kind, redshift, brighter) == pytest.approx(400.0)


def test_sources_are_blue_faint_and_small():
    sources = draw_sources(np.full(2000, 1.5), rng())
    low, high = galaxies.SOURCE_MAGNITUDES
    assert np.all((sources.magnitude > low) & (sources.magnitude < high))
    # Counts grow by 10^0.3 per magnitude.
    faint, bright = (np.sum(np.abs(sources.magnitude - m) < 0.5) for m in (24.7, 23.7))
    assert faint / bright == pytest.approx(10.0**0.3, rel=0.15)
    assert 0.1 < np.median(sources.radius) < 0.3
    deflectors_like = galaxies.fluxes_from(
        np.zeros(2000, dtype=int), sources.redshift, sources.magnitude, rng()
    )
    assert np.median(sources.flux[:, 3] / deflectors_like[:, 3]) < 0.3
    assert TYPES[0] == "elliptical"


def test_light_of_deflectors_adds_up_to_their_magnitude(deflectors):
    generator = rng()
    with_disc = 0
    for i in range(40):
        one = deflectors[i : i + 1]
        parts = deflector_light(one, generator)
        with_disc += len(parts) == 2
        vis = sum(flux[0] for _, flux in parts)
        assert vis == pytest.approx(galaxies.BANDS["VIS"].flux_from(one.magnitude[0]))
    assert 2 <= with_disc <= 16


def test_truncated_normal_draws():
    values = galaxies.truncated(1.0, 2.0, 0.0, 1.5, 3000, rng())
    assert values.min() > 0.0 and values.max() < 1.5
    # Nearly flat between its ends, which are close together.
    assert values.mean() == pytest.approx(0.77, abs=0.03)
