"""The pixelized lens in torch: against PyAutoLens, exact sums, and finite differences."""

import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import autolens as al
import numpy as np
import pytest
import torch

import autolens_ml as aml
from autolens_ml.exceptions import OptionError
from autolens_ml.physics import PixelizedLens, blurred
from autolens_ml.profiles.mass.convergence_map import pixel_fields
from tests.physics.convergence import (
    HALF_WIDTH,
    beyond_the_frame,
    isothermal_map,
    smooth_map,
)

RNG = np.random.default_rng(4)
SHEAR = (0.06, -0.04)


def double(values):
    return torch.as_tensor(np.array(values), dtype=torch.float64)


def lens_of(shape=(12, 15), source_shape=(9, 8), **options):
    return PixelizedLens(shape, 0.2, source_shape, 0.25, dtype=torch.float64, **options)


def source_map(side=30, pixel_scale=0.05):
    """Two Gaussians."""
    half = 0.5 * side * pixel_scale
    y, x = np.mgrid[half : -half : side * 1j, -half : half : side * 1j]
    first = np.exp(-0.5 * (((x - 0.1) / 0.12) ** 2 + ((y + 0.05) / 0.2) ** 2))
    return first + 0.5 * np.exp(-0.5 * ((x + 0.2) ** 2 + (y - 0.25) ** 2) / 0.1**2)


# ----------------------------------------------------------------------------------- deflections


@pytest.mark.parametrize("over_sampling", [1, 2, 3])
def test_deflections_are_sums_over_all_pixels(over_sampling):
    """Each ray against the sum over the pixels of the lensing of one of them."""
    lens = lens_of(over_sampling=over_sampling)
    values = RNG.uniform(size=(2, 12, 15))
    found = lens.deflections(double(values)).numpy()
    y, x = lens.rays.numpy()
    rows, columns = np.indices((12, 15))
    row, column = (5.5 - y / 0.2).ravel(), (7.0 + x / 0.2).ravel()
    fields = pixel_fields(row[:, None] - rows.ravel(), column[:, None] - columns.ravel())
    for one, alpha in zip(values, found, strict=True):
        down, right = 0.2 * (fields[1:3] @ one.ravel())
        assert np.allclose(alpha[0], -down.reshape(y.shape), rtol=0, atol=1e-12)
        assert np.allclose(alpha[1], right.reshape(y.shape), rtol=0, atol=1e-12)


def test_deflections_are_those_of_the_profile():
    """Against `aml.mp.PixelConvergence` of the same map: the same kernel, single precision."""
    values = smooth_map(40, 0.1)
    profile = aml.mp.PixelConvergence(values, 0.1)
    for over_sampling, atol in ((1, 2e-6), (4, 1e-4)):
        lens = PixelizedLens((40, 40), 0.1, (20, 20), 0.1, over_sampling=over_sampling)
        grid = al.Grid2DIrregular(lens.rays.numpy().reshape(2, -1).T)
        expected = profile.deflections_yx_2d_from(grid).array
        found = lens.deflections(torch.as_tensor(values, dtype=torch.float32)[None])
        assert found.dtype == torch.float32
        assert np.max(np.abs(expected)) > 0.3
        assert np.allclose(found[0].reshape(2, -1).T, expected, rtol=0, atol=atol)


def test_a_pixelized_isothermal_becomes_the_isothermal():
    """Deflections of rays within 2" against `al.mp.Isothermal`, less its mass beyond the frame.

    In single precision; the error of 32, 64 and 128 pixels is of second order in the pixel.
    """
    isothermal = al.mp.Isothermal(ell_comps=(0.1, -0.15), einstein_radius=1.2)
    rms = []
    for side in (32, 64, 128):
        pixel = 2.0 * HALF_WIDTH / side
        lens = PixelizedLens((side, side), pixel, (8, 8), 0.1)
        kappa = torch.as_tensor(isothermal_map(isothermal, side), dtype=torch.float32)
        yx = lens.rays.double().numpy().reshape(2, -1).T
        ring = np.abs(np.hypot(*yx.T) - 1.3) < 0.7
        expected = isothermal.deflections_yx_2d_from(al.Grid2DIrregular(yx[ring])).array
        expected = expected - beyond_the_frame(isothermal, yx[ring])
        errors = lens.deflections(kappa[None])[0].reshape(2, -1).T.numpy()[ring] - expected
        rms.append(np.sqrt(np.mean(errors**2)))
        assert rms[-1] < 0.16 * pixel**2
    assert rms[0] > 3.0 * rms[1] > 9.0 * rms[2]


def test_divergence_is_twice_the_convergence_and_curl_is_zero():
    """By differences between the four rays around the centre of each pixel, which are its own."""
    values = smooth_map(24, 0.2)
    errors = []
    for over_sampling in (4, 8):
        lens = PixelizedLens(
            (24, 24), 0.2, (8, 8), 0.1, over_sampling=over_sampling, dtype=torch.float64
        )
        alpha = lens.deflections(double(values)[None])[0].numpy()
        middle = over_sampling // 2
        near, far = (slice(m, None, over_sampling) for m in (middle - 1, middle))
        step = 0.2 / over_sampling
        corners = [[alpha[:, i, j] for j in (near, far)] for i in (near, far)]
        by_x = sum(corners[i][1] - corners[i][0] for i in (0, 1)) / (2.0 * step)
        by_y = sum(corners[0][j] - corners[1][j] for j in (0, 1)) / (2.0 * step)
        assert np.allclose(by_x[0], by_y[1], rtol=0, atol=2e-3) and np.ptp(by_x[0]) > 0.2
        errors.append(np.max(np.abs(0.5 * (by_x[1] + by_y[0]) - values)))
    # The bilinear map falls away from its centres, so the mean over the rays is lower.
    assert errors[1] < 0.6 * errors[0] < 0.02 and np.max(values) > 0.7


def test_shear_is_that_of_pyautolens():
    """Rays that no mass deflects against `al.mp.ExternalShear`."""
    lens = lens_of()
    positions = lens.source_positions(torch.zeros(2, 12, 15), double([SHEAR, (0.0, 0.1)]))
    yx = lens.rays.numpy().reshape(2, -1).T
    grid = al.Grid2DIrregular(yx)
    for found, gammas in zip(positions, (SHEAR, (0.0, 0.1)), strict=True):
        expected = yx - al.mp.ExternalShear(*gammas).deflections_yx_2d_from(grid).array
        assert np.allclose(found.reshape(2, -1).T, expected, rtol=0, atol=1e-12)


def test_maps_may_be_given_as_logarithms():
    values = RNG.uniform(-2.0, 0.5, (3, 12, 15))
    found = lens_of(log_convergence=True).deflections(double(values))
    assert torch.allclose(found, lens_of().deflections(double(10.0**values)), rtol=1e-12)


# ---------------------------------------------------------------------------------------- images


def tracer_of(kappa, source, pixel, source_pixel):
    return al.Tracer(
        [
            al.Galaxy(
                redshift=0.5,
                mass=aml.mp.PixelConvergence(kappa, pixel),
                shear=al.mp.ExternalShear(*SHEAR),
            ),
            al.Galaxy(redshift=1.0, light=aml.lp.PixelLight(source, source_pixel)),
        ]
    )


@pytest.mark.parametrize(("over_sampling", "atol"), [(1, 1e-10), (2, 2e-3)])
def test_images_are_those_of_a_tracer(over_sampling, atol):
    """A `PixelLight` behind a `PixelConvergence` and shear, without and with PSF, in PyAutoLens.

    With one ray per pixel the deflections of both are exact, and images agree to rounding; with
    more the profile interpolates.
    """
    side, pixel, source_pixel = 50, 0.1, 0.05
    kappa, source = 1.8 * smooth_map(side, pixel), source_map(30, source_pixel)
    tracer = tracer_of(kappa, source, pixel, source_pixel)
    grid = al.Grid2D.uniform((side, side), pixel_scales=pixel, over_sample_size=over_sampling)
    expected = tracer.image_2d_from(grid)
    y, x = np.mgrid[-3:4, -2:3]
    kernel = np.exp(-0.5 * ((x - 0.3) ** 2 + (0.7 * y + 0.2 * x) ** 2))
    kernel /= kernel.sum()

    lens = PixelizedLens(
        (side, side),
        pixel,
        (30, 30),
        source_pixel,
        over_sampling=over_sampling,
        dtype=torch.float64,
    )
    batch = double(kappa)[None], double(source)[None], double([SHEAR])
    image = lens(*batch)[0].numpy()
    assert np.max(image) > 0.9 and np.mean(image > 0.1) > 0.05
    assert np.allclose(image, expected.native.array, rtol=0, atol=atol)

    psf = al.Convolver(kernel=al.Array2D.no_mask(kernel, pixel_scales=pixel))
    mask = al.Mask2D.circular(shape_native=(side, side), pixel_scales=pixel, radius=2.0)
    masked, blurring = (
        al.Grid2D.from_mask(m, over_sample_size=over_sampling)
        for m in (mask, mask.derive_mask.blurring_from(kernel_shape_native=(7, 5)))
    )
    blurred_image = psf.convolved_image_from(
        image=tracer.image_2d_from(masked), blurring_image=tracer.image_2d_from(blurring)
    )
    found = lens(*batch, double(kernel)[None])[0].numpy()
    used = ~np.array(mask)
    assert np.allclose(found[used], blurred_image.native.array[used], rtol=0, atol=atol)


def test_a_bicubic_source_converges_faster_than_a_bilinear_one():
    """Images of a Gaussian, given on 20 pixels, against those of it on 160."""
    kappa = double(1.8 * smooth_map(50, 0.1))[None]

    def image(side, lookup):
        grid = al.Grid2D.uniform((side, side), pixel_scales=2.0 / side, over_sample_size=1)
        light = al.lp.Gaussian(centre=(0.03, 0.07), sigma=0.2).image_2d_from(grid)
        source = double(light.native.array)[None]
        lens = PixelizedLens(
            (50, 50), 0.1, (side, side), 2.0 / side, lookup=lookup, dtype=torch.float64
        )
        return lens(kappa, source)

    truth = image(160, "bicubic")
    bilinear, bicubic = (
        float((image(20, lookup) - truth).std() / truth.max()) for lookup in ("bilinear", "bicubic")
    )
    assert bicubic < 0.2 * bilinear < 0.01


def test_lenses_of_a_batch_do_not_mix():
    lens = lens_of(over_sampling=2)
    kappa, source = double(RNG.uniform(size=(3, 12, 15))), double(RNG.uniform(size=(3, 9, 8)))
    shear, psf = double(RNG.normal(size=(3, 2)) * 0.05), double(RNG.uniform(size=(3, 3, 5)))
    images = lens(kappa, source, shear, psf)
    assert images.shape == (3, 12, 15)
    for i in range(3):
        one = lens(*(a[i : i + 1] for a in (kappa, source, shear, psf)))
        assert torch.allclose(images[i], one[0], rtol=0, atol=1e-12)
    shared = lens(kappa, source, shear, psf[:1])
    assert torch.allclose(shared[0], images[0]) and not torch.allclose(shared[1], images[1])


def test_blurring_is_a_convolution():
    """Against `scipy.signal.convolve2d` with zeros beyond the frame, of a kernel larger than it."""
    from scipy.signal import convolve2d

    image, psf = RNG.uniform(size=(2, 6, 9)), RNG.uniform(size=(2, 7, 11))
    found = blurred(double(image), double(psf)).numpy()
    for i in range(2):
        full = convolve2d(image[i], psf[i])[3:-3, 5:-5]
        assert np.allclose(found[i], full, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("lookup", ["bilinear", "bicubic"])
@pytest.mark.parametrize("over_sampling", [1, 2])
def test_gradients_are_those_of_finite_differences(lookup, over_sampling):
    """In log-convergence, source, shear and PSF together, in double precision."""
    lens = lens_of((5, 6), (4, 5), over_sampling=over_sampling, lookup=lookup, log_convergence=True)
    inputs = (
        double(RNG.uniform(-1.0, 0.0, (2, 5, 6))),
        double(RNG.uniform(size=(2, 4, 5))),
        double(0.05 * RNG.normal(size=(2, 2))),
        double(RNG.uniform(size=(2, 3, 3))),
    )
    assert torch.autograd.gradcheck(lens, tuple(a.requires_grad_() for a in inputs))
    for gradient in torch.autograd.grad(lens(*inputs).sum(), inputs):
        assert gradient.abs().max() > 1e-3


def test_single_precision_gradients_are_those_of_double():
    inputs = (
        RNG.uniform(-1.0, 0.0, (2, 12, 15)),
        RNG.uniform(size=(2, 9, 8)),
        0.05 * RNG.normal(size=(2, 2)),
    )
    gradients = []
    for dtype in (torch.float32, torch.float64):
        lens = PixelizedLens(
            (12, 15), 0.2, (9, 8), 0.25, lookup="bicubic", log_convergence=True, dtype=dtype
        )
        tensors = [torch.as_tensor(a, dtype=dtype).requires_grad_() for a in inputs]
        gradients.append(torch.autograd.grad(lens(*tensors).square().sum(), tensors))
    for single, exact in zip(*gradients, strict=True):
        assert torch.allclose(single.double(), exact, rtol=1e-3, atol=1e-4 * exact.abs().max())


@pytest.mark.parametrize("lookup", ["bilinear", "bicubic"])
def test_gradients_are_the_same_bit_for_bit(lookup):
    lens = PixelizedLens((64, 64), 0.1, (32, 32), 0.05, lookup=lookup)
    rng = torch.Generator().manual_seed(0)
    maps = [torch.rand(8, n, n, generator=rng).requires_grad_() for n in (64, 32)]
    first, second = (torch.autograd.grad(lens(*maps).square().sum(), maps) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_mixed_precision_leaves_the_physics_alone():
    lens = PixelizedLens((12, 15), 0.2, (9, 8), 0.25)
    kappa, source = torch.rand(2, 12, 15), torch.rand(2, 9, 8)
    psf = torch.rand(2, 3, 3)
    expected = lens(kappa, source, None, psf)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = lens(kappa, source, None, psf)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    # What comes from a network in half precision is lifted.
    lifted = lens(kappa.bfloat16(), source, None, psf)
    assert lifted.dtype == torch.float32 and torch.allclose(lifted, expected, atol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_same_images_and_gradients():
    lens = PixelizedLens((64, 64), 0.1, (32, 32), 0.05, over_sampling=2, lookup="bicubic")
    inputs = torch.rand(4, 64, 64), torch.rand(4, 32, 32), 0.05 * torch.rand(4, 2)
    results = []
    for device in ("cpu", "cuda"):
        tensors = [a.detach().to(device).requires_grad_() for a in inputs]
        image = lens.to(device)(*tensors, torch.ones(1, 5, 5, device=device) / 25.0)
        gradients = torch.autograd.grad(image.square().sum(), tensors)
        results.append([a.detach().cpu() for a in (image, *gradients)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert torch.allclose(on_cpu, on_gpu, rtol=1e-3, atol=1e-4 * float(on_cpu.abs().max()))


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"shape": (12,)}, "rows and columns"),
        ({"source_shape": (0, 4)}, "rows and columns"),
        ({"pixel_scale": 0.0}, "above zero"),
        ({"source_pixel_scale": float("nan")}, "above zero"),
        ({"over_sampling": 1.5}, "whole number"),
        ({"over_sampling": 0}, "whole number"),
        ({"lookup": "nearest"}, "bilinear, bicubic"),
        ({"dtype": torch.float16}, "float32 or"),
    ],
)
def test_options_that_mean_nothing_are_refused(bad, message):
    good = {
        "shape": (12, 15),
        "pixel_scale": 0.2,
        "source_shape": (9, 8),
        "source_pixel_scale": 0.25,
    }
    with pytest.raises(OptionError, match=message):
        PixelizedLens(**{**good, **bad})


def test_maps_of_other_shapes_are_refused():
    lens = lens_of()
    kappa, source = torch.zeros(2, 12, 15), torch.zeros(2, 9, 8)
    for arguments, message in (
        ((kappa[0], source), "convergence of shape"),
        ((kappa[:, :5], source), "convergence of shape"),
        ((kappa, source.mT), "source of shape"),
        ((kappa, source[:1]), "1 sources for 2 lenses"),
        ((kappa, source, torch.zeros(2)), "shear of shape"),
        ((kappa, source, None, torch.zeros(2, 4, 3)), "odd number"),
        ((kappa, source, None, torch.zeros(3, 3)), "odd number"),
        ((kappa, source, None, torch.zeros(3, 3, 3)), "3, 3, 3.* for 2 images"),
    ):
        with pytest.raises(OptionError, match=message):
            lens(*arguments)
