"""Images of lenses with slots of substructure are PyAutoLens's."""

import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from autolens_ml.exceptions import DataError
from autolens_ml.profiles.mass import VortexLine
from autolens_ml.simulate.morphology.lensing import LensImages, Swarm
from tests.morphologies import small_setting

MACRO = np.array([1.5, 0.02, 0.1, 0.05, -0.02, 0.1, 0.2, 0.25, 0.1, -0.1, 1.2, 2.0])
POINTS = np.array([[1.0, 0.5, 0.1], [-0.3, 1.4, 0.15], [0.2, 0.1, 0.0]])
STRINGS = np.array([[0.4, 0.8, 30.0, 0.6, 0.05, 0.25]])


def tracer(points=POINTS, strings=STRINGS):
    parts = {
        f"p{i}": al.mp.PointMass(centre=(y, x), einstein_radius=r)
        for i, (y, x, r) in enumerate(points)
    }
    parts |= {
        f"s{i}": VortexLine((y, x), angle, length, core, radius)
        for i, (y, x, angle, length, core, radius) in enumerate(strings)
    }
    lens = al.Galaxy(
        redshift=0.5,
        mass=al.mp.Isothermal(ell_comps=(0.02, 0.1), einstein_radius=1.5),
        shear=al.mp.ExternalShear(gamma_1=0.05, gamma_2=-0.02),
        **parts,
    )
    light = al.lp.Sersic((0.1, 0.2), (0.1, -0.1), 2.0, 0.25, 1.2)
    return al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)])


@pytest.mark.parametrize("kind", ["points", "strings"])
def test_swarm_is_the_sum_of_its_profiles(kind):
    grid = al.Grid2DIrregular(np.random.default_rng(0).uniform(-2.0, 2.0, (50, 2)))
    slots = {"points": POINTS, "strings": STRINGS}[kind]
    swarm = Swarm(kind, slots)
    only = {"points": POINTS[:0], "strings": STRINGS[:0], kind: slots}
    lens = tracer(**only).planes[0][0]
    profiles = [p for name, p in vars(lens).items() if name[0] in "ps" and name[1:].isdigit()]
    for method in ("deflections_yx_2d_from", "potential_2d_from", "convergence_2d_from"):
        expected = sum(np.asarray(getattr(p, method)(grid)) for p in profiles)
        np.testing.assert_allclose(np.asarray(getattr(swarm, method)(grid)), expected, rtol=1e-12)
    with jax.enable_x64(True):
        made = Swarm(kind, jnp.asarray(slots)).deflections_yx_2d_from(grid, xp=jnp)
        expected = sum(np.asarray(p.deflections_yx_2d_from(grid)) for p in profiles)
        np.testing.assert_allclose(np.asarray(made.array), expected, rtol=1e-9)


def test_images_are_those_of_pyautolens():
    instrument = small_setting().instrument
    found = LensImages(instrument).images_from(
        MACRO[None], POINTS[None], STRINGS[None], np.array([0.2])
    )
    grid = al.Grid2D.uniform(shape_native=(36, 36), pixel_scales=0.2, over_sample_size=2)
    sharp = tracer().image_2d_from(grid).native.array
    (kernel,) = instrument.psf_kernels_from(np.array([0.2]))
    expected = signal.convolve2d(sharp, kernel, mode="same")[2:-2, 2:-2]
    np.testing.assert_allclose(found[0], expected, atol=2e-6 * expected.max())


def test_empty_slots_change_nothing():
    images = LensImages(small_setting().instrument)
    macro, fwhm = np.stack([MACRO] * 2), np.full(2, 0.2)
    none = images.images_from(macro, np.zeros((2, 0, 3)), np.zeros((2, 0, 6)), fwhm)
    empty = images.images_from(macro, np.zeros((2, 4, 3)), np.zeros((2, 2, 6)), fwhm)
    np.testing.assert_allclose(none, empty, atol=1e-6 * none.max())


def test_pictures_of_sources_are_needed_where_sources_are_pictures():
    instrument = small_setting().instrument
    arrays = MACRO[None], POINTS[None], STRINGS[None], np.array([0.2])
    with pytest.raises(DataError, match="pictures of sources"):
        LensImages(instrument, stamp_size=16).images_from(*arrays)
    with pytest.raises(DataError, match="or none for Sersic"):
        LensImages(instrument).images_from(*arrays, stamps=np.ones((1, 16, 16)))


def test_a_picture_has_its_size_and_place():
    instrument = small_setting().instrument
    y, x = np.indices((32, 32)) - 15.5
    # Half-light radius of a tenth of the width.
    stamp = np.exp(-0.5 * (x**2 + y**2) / (3.2 / 1.1774) ** 2)
    macro = MACRO.copy()
    macro[[0, 1, 2, 3, 4]] = 1e-6
    macro[[8, 9]] = 0.0, 1.0
    (image,) = LensImages(instrument, stamp_size=32).images_from(
        macro[None], POINTS[None, :0], STRINGS[None, :0], np.array([0.2]), stamp[None]
    )
    rows, columns = (np.indices(image.shape) - 15.5) * 0.2
    total = image.sum()
    assert (image * -rows).sum() / total == pytest.approx(0.1, abs=0.01)
    assert (image * columns).sum() / total == pytest.approx(0.2, abs=0.01)
    inside = np.hypot(-rows - 0.1, columns - 0.2) < 0.25
    assert 0.3 < image[inside].sum() / total < 0.65
