"""Images on the grid of a reconstruction."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError
from autolens_ml.inference.reconstruction.lens_image import LensImage, joined, on_grid
from autolens_ml.inference.reconstruction.loop import gaussian_psfs

SHAPE, PIXEL = (24, 24), 0.15


def lens_image(size=24, pixel_scale=PIXEL, fwhm=0.3, psf_size=7, mask=None, noise=0.5, seed=1):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - 0.5 * (size - 1)
    ring = 20.0 * np.exp(-0.5 * ((pixel_scale * np.hypot(y, x) - 0.8) / 0.2) ** 2)
    psf = gaussian_psfs(torch.tensor([fwhm]), pixel_scale, psf_size)[0].numpy()
    noise_map = np.full((size, size), noise)
    return LensImage(
        ring + noise_map * rng.normal(size=ring.shape), noise_map, psf, pixel_scale, mask
    )


def test_images_on_the_same_pixels_stay_as_they_are():
    image = lens_image()
    found = on_grid(image, SHAPE, PIXEL)
    seen = found.observed
    assert np.allclose(found.unit * seen.image[0].numpy(), image.image, rtol=1e-5, atol=1e-5)
    assert np.allclose(found.unit * seen.noise_map[0].numpy(), image.noise_map, rtol=1e-5)
    assert np.allclose(seen.psf[0].numpy(), image.psf, atol=1e-6) and seen.mask.all()
    assert float(seen.psf_fwhm) == pytest.approx(0.3, rel=0.02)
    assert found.centre == (0.0, 0.0) and found.pixel_scale == pytest.approx(PIXEL)
    assert 0.7 < float(seen.image.max()) < 1.5
    assert found.signal_to_noise == pytest.approx(found.unit / 0.5, rel=1e-4)


def test_an_imaging_dataset_is_the_same_image():
    image = lens_image()
    ours, theirs = (on_grid(each, SHAPE, PIXEL) for each in (image, image.imaging()))
    for a, b in zip(vars(ours.observed).values(), vars(theirs.observed).values(), strict=True):
        assert torch.equal(a, b)


def test_masked_pixels_are_not_used_whatever_they_are():
    image = lens_image()
    mask = np.ones(SHAPE, bool)
    mask[:5] = False
    wild = np.where(mask, image.image, np.nan)
    found = on_grid(LensImage(wild, image.noise_map, image.psf, PIXEL, mask), SHAPE, PIXEL)
    assert np.array_equal(found.observed.mask[0].numpy() > 0, mask)
    assert torch.isfinite(found.observed.image).all()
    used = found.observed.mask > 0
    whole = on_grid(image, SHAPE, PIXEL)
    assert torch.allclose(
        found.unit * found.observed.image[used], whole.unit * whole.observed.image[used]
    )


def test_smaller_and_larger_images_are_padded_and_cut():
    small, large = (on_grid(lens_image(size), SHAPE, PIXEL) for size in (20, 30))
    assert float(small.observed.mask.sum()) == 400 and large.observed.mask.all()
    odd = on_grid(lens_image(25), SHAPE, PIXEL)
    assert np.abs(odd.centre) == pytest.approx((0.075, 0.075))


def test_other_pixels_are_averaged_and_their_point_spread_function_keeps_its_width():
    fine = lens_image(size=48, pixel_scale=0.1, fwhm=0.4, psf_size=15)
    found = on_grid(fine, SHAPE, PIXEL)
    assert found.observed.image.shape == (1, 24, 24) and found.observed.mask.all()
    kernel = found.observed.psf
    assert float(kernel.sum()) == pytest.approx(1.0, rel=1e-5)
    expected = gaussian_psfs(torch.tensor([0.4]), PIXEL, kernel.shape[1])
    assert torch.allclose(kernel, expected, atol=0.004)
    # Each is of one pixel and a half along both axes.
    noise = found.unit * found.observed.noise_map
    assert torch.allclose(noise, torch.tensor(0.5 * (1.0 + 0.25) / 1.5**2), rtol=1e-4)


def test_batches_take_point_spread_functions_of_any_size():
    images = [on_grid(lens_image(psf_size=n), SHAPE, PIXEL) for n in (5, 9)]
    both = joined(images)
    assert both.psf.shape == (2, 9, 9) and len(both) == 2
    assert torch.equal(both.psf[0, 2:7, 2:7], images[0].observed.psf[0])
    assert torch.equal(both.image[1], images[1].observed.image[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_map": np.ones((3, 3))}, "arrays .* of one shape"),
        ({"image": np.ones(9)}, "arrays .* of one shape"),
        ({"mask": np.ones((3, 3))}, "mask of shape"),
        ({"psf": np.ones((4, 5))}, "odd number of rows"),
        ({"pixel_scale": 0.0}, "pixel_scale must be above 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        LensImage(**{**vars(lens_image()), **changes})


def test_bad_pixels_are_refused():
    image = lens_image()
    broken = image.image.copy()
    broken[3, 3] = np.nan
    with pytest.raises(DataError, match="NaNs"):
        on_grid(LensImage(broken, image.noise_map, image.psf, PIXEL), SHAPE, PIXEL)


def test_data_far_from_the_lens_are_refused():
    mask = np.zeros((40, 40))
    mask[:3] = 1.0
    with pytest.raises(DataError, match="no unmasked pixel"):
        on_grid(lens_image(size=40, mask=mask), SHAPE, PIXEL)
