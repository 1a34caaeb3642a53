"""Fits of smooth lenses find the truth, and leave substructure."""

import jax
import numpy as np
import pytest

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.morphology.lensing import MACRO
from autolens_ml.simulate.morphology.smooth_fit import SmoothFit
from tests.morphologies import observed, small_systems


@pytest.fixture(scope="module")
def fitted():
    population, systems = small_systems()
    rows = np.concatenate([np.flatnonzero(systems.classes == c)[:3] for c in (0, 1)])
    chosen = systems[rows]
    images, noise = observed(chosen)
    # In other units: a fit does not know what the noise of an empty pixel is.
    fit = SmoothFit(population.setting.instrument)
    return chosen, noise, fit.fit(0.02 * images, 0.02 * noise, chosen.psf_fwhm), population


def test_smooth_lenses_are_fitted_to_the_noise(fitted):
    chosen, _, fits, population = fitted
    n = fits.residuals[0].size
    smooth = fits.chi_squared[chosen.classes == 0]
    assert np.all(np.abs(smooth - n) < 5.0 * np.sqrt(2.0 * n))
    radius = MACRO.index("einstein_radius")
    is_smooth = chosen.classes == 0
    errors = fits.macro[is_smooth, radius] - chosen.macro[is_smooth, radius]
    assert np.abs(errors).max() < 0.02
    intensity = MACRO.index("source_intensity")
    ratio = fits.macro[is_smooth, intensity] / (0.02 * chosen.macro[is_smooth, intensity])
    np.testing.assert_allclose(ratio * population.unit, 1.0, rtol=0.1)


def test_substructure_is_left_over(fitted):
    chosen, noise, fits, _ = fitted
    arcs = fits.arc_chi_squared(0.02 * noise)
    assert np.median(arcs[chosen.classes == 1]) > np.max(arcs[chosen.classes == 0])


def test_images_of_another_psf_compile_nothing(fitted):
    chosen, noise, _, population = fitted
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    images, _ = observed(chosen)
    fit = SmoothFit(population.setting.instrument)
    fit.fit(images[:1], noise[:1], np.array([0.15]))
    assert compiled
    compiled.clear()
    fit.fit(images[:1], noise[:1], np.array([0.18]))
    assert not compiled


def test_refused_data(fitted):
    population, _ = small_systems()
    fit = SmoothFit(population.setting.instrument)
    with pytest.raises(DataError, match=r"give both as \(n, 32, 32\)"):
        fit.fit(np.ones((1, 16, 16)), np.ones((1, 16, 16)), np.array([0.2]))
    with pytest.raises(DataError, match="above 0"):
        fit.fit(np.ones((1, 32, 32)), np.zeros((1, 32, 32)), np.array([0.2]))
