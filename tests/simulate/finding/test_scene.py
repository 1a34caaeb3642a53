"""Scenes: fluxes, places and PSFs in the images of all bands."""

import numpy as np
import pytest
from scipy import ndimage

from autolens_ml.simulate.finding.bands import BANDS, bands_from
from autolens_ml.simulate.finding.scene import N_WIDTHS, Scene, images_of
from autolens_ml.simulate.finding.shapes import point
from autolens_ml.simulate.sources import hubble_deep_field

ALL = tuple(BANDS.values())
FLUX = np.array([1000.0, 200.0, 300.0, 400.0])
WIDTH = np.array([4])


def centroid(image, band):
    """(y, x) in arcsec."""
    row, column = ndimage.center_of_mass(image)
    middle, scale = 0.5 * (len(image) - 1), band.instrument.pixel_scale
    return (middle - row) * scale, (column - middle) * scale


def test_points_have_their_flux_and_place_in_all_bands():
    scene = Scene(shapes=[(point((1.23, -2.34)), FLUX)])
    images = images_of([scene], WIDTH, ALL)
    for band, flux in zip(ALL, FLUX, strict=True):
        (image,) = images[band.name]
        assert image.shape == band.instrument.shape and image.dtype == np.float32
        assert image.sum() == pytest.approx(flux, rel=0.03)  # wings leave the field
        assert centroid(image, band) == pytest.approx((1.23, -2.34), abs=0.03)


def test_points_are_the_psf():
    band = BANDS["VIS"]
    # In the middle of a pixel.
    (image,) = images_of([Scene(shapes=[(point((0.05, 0.05)), FLUX)])], WIDTH, (band,))["VIS"]
    fwhm = np.linspace(*band.instrument.psf_fwhm, N_WIDTHS)[WIDTH]
    (kernel,) = band.instrument.psf_kernels_from(fwhm)
    reach = len(kernel) // 2
    cut = image[99 - reach : 100 + reach, 100 - reach : 101 + reach]
    assert np.allclose(cut / cut.sum(), kernel, atol=1e-4)


def test_wider_psfs_lower_peaks():
    scene = Scene(shapes=[(point((0.0, 0.0)), FLUX)])
    images = images_of([scene] * 2, np.array([0, N_WIDTHS - 1]), ALL)
    for band in ALL:
        sharp, blurred = images[band.name].max(axis=(1, 2))
        assert sharp > 1.05 * blurred


def test_bands_do_not_depend_on_which_others_are_made():
    scene = Scene(shapes=[(point((0.4, 0.3)), FLUX)])
    together = images_of([scene], WIDTH, ALL)
    alone = images_of([scene], WIDTH, bands_from(["J"]))
    assert list(alone) == ["J"] and np.array_equal(alone["J"], together["J"])


@pytest.mark.parametrize("radius", [0.12, 0.3, 1.0])
def test_galaxies_of_the_deep_field_have_their_flux_place_and_size(radius):
    library = hubble_deep_field()
    # The roundest one: its radius does not depend on how it is turned.
    scene = Scene(stamps=[(3, np.array([2.0, -3.0]), radius, 40.0, FLUX)])
    (image,) = images_of([scene], np.array([0]), bands_from(["VIS"]))["VIS"]
    band = BANDS["VIS"]
    assert image.sum() == pytest.approx(FLUX[0], rel=0.03)
    assert centroid(image, band) == pytest.approx((2.0, -3.0), abs=0.05)
    y, x = np.indices(image.shape) * 0.1
    y_0, x_0 = (value * 0.1 for value in ndimage.center_of_mass(image))
    half = image[np.hypot(y - y_0, x - x_0) < radius].sum() / image.sum()
    # The PSF blurs small ones.
    assert half == pytest.approx(0.5, abs=0.05 if radius > 0.2 else 0.25)
    assert len(library) > 3


def test_stamps_turn_counter_clockwise():
    library = hubble_deep_field(64)
    moments = []
    for angle in (0.0, 90.0):
        scene = Scene(stamps=[(10, np.zeros(2), 1.0, angle, FLUX)])
        (image,) = images_of([scene], np.array([0]), bands_from(["VIS"]))["VIS"]
        moments.append(image)
    # Turning an array by 90 degrees counter-clockwise turns the sky the same way.
    assert np.allclose(np.rot90(moments[0]), moments[1], atol=0.02 * moments[0].max())
    assert not np.allclose(moments[0], moments[1], atol=0.1 * moments[0].max())
    assert library.size == 64


def test_stamps_beyond_the_field_are_left_out():
    scene = Scene(stamps=[(0, np.array([40.0, 0.0]), 0.3, 0.0, FLUX)])
    assert not images_of([scene], WIDTH, ALL)["VIS"].any()


def test_full_wells_end_all_light():
    scene = Scene(shapes=[(point((0.05, 0.05)), 1e9 * np.ones(4))])
    images = images_of([scene], WIDTH, ALL)
    for band in ALL:
        assert images[band.name].max() == pytest.approx(band.full_well / band.unit)
        # What is stored has half precision.
        assert np.isfinite(np.float16(images[band.name].max()))


def test_what_is_seen_is_not_blurred_and_defects_come_last():
    seen = point((0.05, 0.05))

    def defect(images):
        for image in images.values():
            image += 1.0

    scene = Scene(seen=[(seen, FLUX)], defects=[defect])
    (image,) = images_of([scene], WIDTH, bands_from(["VIS"]))["VIS"]
    assert image.max() == pytest.approx(FLUX[0] + 1.0)
    assert np.median(image) == pytest.approx(1.0, abs=1e-3)
