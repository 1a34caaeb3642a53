"""Simulated lenses: numbers, masses, and what makes each."""

import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.morphology.lensing import MACRO, STRING
from autolens_ml.simulate.morphology.settings import einstein_radii_from, masses_from
from autolens_ml.simulate.morphology.systems import KINDS, MorphologyPopulation
from tests.morphologies import small_setting, small_systems


def test_numbers_of_subhaloes_are_poisson():
    setting = small_setting()
    population = MorphologyPopulation(setting, {"cdm": 1.0})
    systems = [s for s in population.batches(192, seed=1)]
    masses = np.concatenate([s.subhalo_masses for s in systems])
    numbers = (masses > 0.0).sum(axis=1)
    mean = setting.largest_number
    assert abs(numbers.mean() - mean) < 4.0 * np.sqrt(mean / len(numbers))
    # Always the same number would have no variance, and a uniform one far more.
    assert 0.6 < numbers.var() / mean < 1.6
    low, high = setting.subhalo_mass
    there = masses[masses > 0.0]
    assert low * (1 - 1e-9) <= there.min() and there.max() <= high * (1 + 1e-9)
    points = np.concatenate([s.points for s in systems])
    radius = np.hypot(points[..., 0], points[..., 1])[masses > 0.0]
    assert setting.subhalo_radius[0] <= radius.min() and radius.max() <= setting.subhalo_radius[1]


def test_the_halo_loses_the_mass_of_its_substructure():
    setting = small_setting(halo_scatter=0.0)
    population = MorphologyPopulation(setting, dict.fromkeys(KINDS, 1.0))
    (systems,) = population.batches(64, seed=5)
    halo = masses_from(systems.macro[:, MACRO.index("einstein_radius")])
    np.testing.assert_allclose(halo + systems.substructure_mass, setting.halo_mass, rtol=1e-9)
    share = systems.substructure_mass / setting.halo_mass
    is_vortex = systems.classes == 2
    low, high = setting.vortex_share
    assert np.all(share[systems.classes == 0] == 0.0)
    assert np.all((share[is_vortex] >= low * 0.999) & (share[is_vortex] <= high * 1.001))


def test_a_lens_depends_on_the_seed_and_its_number_alone():
    population = MorphologyPopulation(small_setting())
    whole = list(population.batches(100, seed=2))
    (again,) = population.batches(100, seed=2, start=64)
    assert [len(s) for s in whole] == [64, 36]
    for name in ("images", "kinds", "macro", "points", "strings", "psf_fwhm"):
        np.testing.assert_array_equal(getattr(whole[1], name), getattr(again, name))
    (other,) = population.batches(64, seed=3)
    assert not np.array_equal(other.macro, whole[0].macro)
    assert np.bincount(whole[0].kinds, minlength=3).tolist() == pytest.approx([21, 21, 21], abs=2)


def test_lattices_are_parallel_and_equal():
    _, systems = small_systems()
    lattices = systems.strings[systems.kinds == KINDS.index("lattice")]
    assert len(lattices) > 5
    angle, length, radius = (STRING.index(n) for n in ("position_angle", "half_length", STRING[-1]))
    for strings in lattices:
        there = strings[strings[:, radius] > 0.0]
        assert len(there) >= 2
        for column in (angle, length, radius):
            assert np.ptp(there[:, column]) < 1e-9
        places = there[:, :2]
        assert np.min(np.hypot(*(places[1:] - places[0]).T)) > 0.1
    single = systems.strings[systems.kinds == KINDS.index("vortex")]
    assert np.all((single[..., radius] > 0.0).sum(axis=1) == 1)


def test_smooth_fits_absorb_what_a_smooth_lens_can():
    population, systems = small_systems()
    noise = np.sqrt(1.0 + systems.images / (population.unit * population.exposure_time))
    residual = (systems.images - systems.smooth) / noise
    chi_squared = np.square(residual).sum(axis=(1, 2))
    assert np.all(chi_squared[systems.classes == 0] == 0.0)
    assert np.median(chi_squared[systems.classes == 1]) > 20.0
    (bare,) = MorphologyPopulation(small_setting(), dict.fromkeys(KINDS, 1.0)).batches(64, seed=3)
    assert bare.smooth is None
    np.testing.assert_array_equal(bare.images, systems.images)


def test_held_out_sources_are_not_learned_from():
    setting = small_setting(stamps="hubble-deep-field")
    rng = np.random.default_rng(0)
    pictures = [
        {
            stamp.tobytes()
            for stamp in MorphologyPopulation(setting, held_out=held).smooth_lenses(300, rng)[1]
        }
        for held in (False, True)
    ]
    assert len(pictures[1]) > 5
    assert not pictures[0] & pictures[1]


def test_brightness_is_the_flux_of_the_setting():
    setting = small_setting(
        halo_mass=1e4, ell_comps_scatter=0.0, shear=[0.0, 0.0], shear_scatter=0.0
    )
    population = MorphologyPopulation(setting, {"no_sub": 1.0})
    (systems,) = population.batches(8, seed=0)
    assert einstein_radii_from(setting.halo_mass) < 1e-3
    flux = systems.images.sum(axis=(1, 2)) * population.unit
    np.testing.assert_allclose(flux, setting.source_flux[0], rtol=0.03)


@pytest.mark.parametrize("shares", [{"axion": 1.0}, {}, {"cdm": -1.0}])
def test_refused_shares(shares):
    with pytest.raises(OptionError, match="shares"):
        MorphologyPopulation(small_setting(), shares)


def test_refused_numbers():
    population = MorphologyPopulation(small_setting())
    with pytest.raises(OptionError, match="n must be"):
        population.batches(-1, 0)
    with pytest.raises(OptionError, match="multiple of 64"):
        population.batches(100, 0, start=10)
