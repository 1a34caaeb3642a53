"""Effects of an observation: their statistics, what they leave alone, and their seeds."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.effects import (
    ENSAI_EFFECTS,
    BackgroundNoise,
    CircularMasks,
    CosmicRays,
    HotPixels,
    LensLightResidual,
    Normalisation,
    Observation,
    Pixellation,
    PoissonNoise,
    PSFBlur,
    Sequence,
    Shift,
    ZeroPointBias,
)

SIZE = 48
EFFECTS = [
    Shift(pixels=3),
    LensLightResidual(),
    PSFBlur(),
    PoissonNoise(),
    CosmicRays(length=(1.0, 20.0)),
    HotPixels(),
    BackgroundNoise(),
    Pixellation(size=(24, 40)),
    Normalisation(),
    ZeroPointBias(),
    CircularMasks(number=(1, 4), radius=3.0),
]


def names(effect):
    return type(effect).__name__


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def distances(size=SIZE, y=0.0, x=0.0):
    axis = torch.arange(size) - 0.5 * (size - 1)
    return torch.hypot(axis[:, None] + y, axis[None, :] - x)


def rings(n, size=SIZE):
    """Arcs of different brightness along their circle: no reflection leaves them as they are."""
    radius = distances(size, y=1.0, x=-2.0)
    axis = torch.arange(size) - 0.5 * (size - 1)
    tilt = 1.0 + 0.3 * axis[:, None] / size + 0.2 * axis[None, :] / size
    widths = torch.linspace(1.0, 2.0, n)[:, None, None]
    light = torch.exp(-0.5 * ((radius - 0.2 * size) / widths) ** 2) * tilt
    return light / light.amax((1, 2), keepdim=True)


def observation(n, size=SIZE):
    lens = torch.exp(-0.5 * (distances(size) / 4.0) ** 2)
    return Observation.of(rings(n, size), lens.expand(n, size, size).clone())


def flat(n, value, size=SIZE):
    return Observation.of(torch.full((n, size, size), value))


def values(observed):
    return {field.name: getattr(observed, field.name) for field in fields(observed)}


def assert_same(first, second):
    for name, value in values(first).items():
        assert torch.equal(value, getattr(second, name)), name


def always(effect):
    return type(effect)(**{**vars(effect), "probability": 1.0})


# What holds for all of them.


@pytest.mark.parametrize("effect", [*EFFECTS, ENSAI_EFFECTS], ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_seed_same_result(effect, dtype):
    given = Observation.of(*(getattr(observation(40), n).to(dtype) for n in ("arcs", "lens_light")))
    before = {name: value.clone() for name, value in values(given).items()}
    first = effect(given, seeded(1))
    assert_same(first, effect(given, seeded(1)))
    other = effect(given, seeded(2))
    assert any(not torch.equal(v, getattr(other, name)) for name, v in values(first).items())
    for name, value in values(first).items():
        assert value.shape == before[name].shape and value.dtype == before[name].dtype, name
        assert value.isfinite().all(), name
        # What was given is as it was.
        assert torch.equal(getattr(given, name), before[name]), name


@pytest.mark.parametrize("effect", EFFECTS, ids=names)
def test_happens_to_its_share_of_the_images_and_leaves_the_others(effect):
    n = 400
    given = observation(n, size=SIZE)
    effect = type(effect)(**{**vars(effect), "probability": 0.3})
    observed = effect(given, seeded(3))
    changed = torch.zeros(n, dtype=torch.bool)
    for name, value in values(observed).items():
        changed |= (value != getattr(given, name)).reshape(n, -1).any(1)
    # A shift may be by nothing, 1 in 49.
    assert 0.3 * n - 4.0 * np.sqrt(0.21 * n) < changed.sum() < 0.3 * n + 4.0 * np.sqrt(0.21 * n)
    never = type(effect)(**{**vars(effect), "probability": 0.0})
    assert_same(never(given, seeded(3)), given)


def test_shares_of_ensai():
    shares = {names(effect): effect.probability for effect in ENSAI_EFFECTS.effects}
    rare = {name: share for name, share in shares.items() if share != 1.0}
    assert rare == {
        "PSFBlur": 0.8,
        "PoissonNoise": 0.8,
        "CosmicRays": 0.8,
        "HotPixels": 0.8,
        "CircularMasks": 0.5,
    }


@pytest.mark.parametrize(
    "effect",
    [
        PSFBlur(rms=1.3, probability=1.0),
        Pixellation(size=31),
        Normalisation(scatter=0.0),
        LensLightResidual(rms=0.0),
        ZeroPointBias(rms=0.0),
        Shift(pixels=0),
    ],
    ids=names,
)
def test_a_batch_is_its_images(effect):
    given = observation(5)
    together = effect(given, seeded())
    for i in range(5):
        alone = effect(given[i : i + 1], seeded())
        for name, value in values(alone).items():
            torch.testing.assert_close(value, getattr(together, name)[i : i + 1], msg=name)


def test_a_sequence_is_its_effects_in_order():
    given = observation(6)
    generator = seeded(5)
    expected = given
    for effect in ENSAI_EFFECTS.effects:
        expected = effect(expected, generator)
    assert_same(ENSAI_EFFECTS(given, seeded(5)), expected)
    assert_same(Sequence(())(given, seeded(5)), given)
    pair = (Normalisation(scatter=0.0), ZeroPointBias())
    first = Sequence(pair)(given, seeded(5)).image
    assert not torch.allclose(first, Sequence(pair[::-1])(given, seeded(5)).image)


@pytest.mark.parametrize(
    ("effect", "options", "message"),
    [
        (ZeroPointBias, {"probability": 1.1}, "share"),
        (ZeroPointBias, {"probability": -0.1}, "at least 0"),
        (ZeroPointBias, {"rms": -0.1}, "ZeroPointBias: rms must be at least 0"),
        (ZeroPointBias, {"rms": float("nan")}, "at least 0"),
        (ZeroPointBias, {"rms": (0.1, 0.2)}, "one number"),
        (PSFBlur, {"rms": (2.0, 1.0)}, "low to high"),
        (PSFBlur, {"rms": (1.0, 2.0, 3.0)}, "two ends"),
        (PSFBlur, {"rms": (0.1, float("inf"))}, "finite"),
        (PoissonNoise, {"counts": (0.0, 10.0)}, "above 0"),
        (BackgroundNoise, {"correlated": 1.5}, "share"),
        (BackgroundNoise, {"drop": (0.0, 1.0)}, "above 0"),
        (CosmicRays, {"length": (0.0, 1.0)}, "above 0"),
        (CosmicRays, {"number": (0, 4)}, "above 0"),
        (HotPixels, {"number": (1, 2.5)}, "whole"),
        (CircularMasks, {"keep": 1.2}, "share"),
        (CircularMasks, {"radius": -1.0}, "at least 0"),
        (Shift, {"pixels": 2.5}, "whole"),
        (Shift, {"pixels": -1}, "at least 0"),
        (Pixellation, {"size": (0, 3)}, "above 0"),
    ],
)
def test_options_that_mean_nothing(effect, options, message):
    with pytest.raises(OptionError, match=message) as error:
        effect(**options)
    assert "\n" not in str(error.value)


def test_a_number_and_a_list_are_ranges():
    assert PSFBlur(rms=1.0) == PSFBlur(rms=(1.0, 1.0))
    assert PSFBlur(rms=[0.5, 1.0]) == PSFBlur(rms=(0.5, 1.0))


@pytest.mark.parametrize(
    ("arcs", "lens_light", "message"),
    [
        (torch.zeros(8, 8), None, "arcs of shape"),
        (torch.zeros(2, 8, 8, dtype=torch.int32), None, "floating point"),
        (torch.zeros(2, 8, 8), torch.zeros(2, 8, 9), "lens_light of shape"),
    ],
)
def test_what_cannot_be_observed(arcs, lens_light, message):
    with pytest.raises(OptionError, match=message):
        Observation.of(arcs, lens_light)


# Point spread function.


def test_blur_of_a_point_is_a_gaussian():
    point = torch.zeros(300, 31, 31)
    point[:, 15, 15] = 1.0
    image = PSFBlur(rms=(0.8, 2.0), probability=1.0)(Observation.of(point), seeded()).image
    assert torch.all(image.amax((1, 2)) == 1.0)
    axis = torch.arange(31.0) - 15.0
    light = image.sum((1, 2))
    rms_y = (((image.sum(2) * axis**2).sum(1)) / light).sqrt()
    rms_x = (((image.sum(1) * axis**2).sum(1)) / light).sqrt()
    torch.testing.assert_close(rms_y, rms_x)
    assert rms_x.min() > 0.79 and rms_x.max() < 2.01
    assert rms_x.mean() == pytest.approx(1.4, abs=4.0 * 1.2 / np.sqrt(12 * 300))
    gaussian = torch.exp(-0.5 * (distances(31) / rms_x[:, None, None]) ** 2)
    torch.testing.assert_close(image, gaussian, atol=3e-3, rtol=0)


def test_blur_keeps_light_and_the_edge_of_an_even_field():
    given = observation(1)
    image = PSFBlur(rms=1.5, probability=1.0)(given, seeded()).image[0]
    # The shape of the light, not its unit: the same total but for the new peak.
    by_scipy = pytest.importorskip("scipy.ndimage").gaussian_filter(given.image[0].numpy(), 1.5)
    np.testing.assert_allclose(image, by_scipy / by_scipy.max(), atol=2e-3)
    even = PSFBlur(rms=2.0, probability=1.0)(flat(1, 0.3), seeded()).image
    torch.testing.assert_close(even, torch.ones_like(even))


def test_a_sharp_point_spread_function_changes_nothing():
    given = observation(4)
    blurred = PSFBlur(rms=(0.0, 0.1), probability=1.0)(given, seeded()).image
    torch.testing.assert_close(blurred, given.image)


# Noise.


def test_photons_have_a_variance_of_their_mean():
    brightness, counts = 0.3, 200.0
    given = flat(20, brightness)
    observed = PoissonNoise(counts=counts, probability=1.0)(given, seeded())
    # The error of a pixel tells by what the image was divided.
    peak = np.sqrt(brightness / counts) / observed.noise
    photons = (observed.image * peak * counts).double()
    torch.testing.assert_close(photons, photons.round(), atol=1e-2, rtol=0.0)
    assert torch.all(observed.image.amax((1, 2)) == 1.0)
    mean, n = brightness * counts, photons.numel()
    assert photons.mean() == pytest.approx(mean, abs=4.0 * np.sqrt(mean / n))
    assert photons.var() == pytest.approx(mean, abs=4.0 * mean * np.sqrt((2.0 + 1.0 / mean) / n))


def test_counts_are_drawn_for_each_image():
    given = flat(500, 0.5)
    observed = PoissonNoise(counts=(50.0, 1000.0), probability=1.0)(given, seeded())
    # (S/N)^2 of a pixel is its number of photons; dividing by the peak leaves it.
    relative = (observed.image / observed.noise).mean((1, 2)).square() / 0.5
    assert relative.min() > 45.0 and relative.max() < 1050.0
    assert relative.mean() == pytest.approx(525.0, abs=4.0 * 950.0 / np.sqrt(12 * 500) + 5.0)


def test_light_below_zero_has_no_photons():
    arcs = rings(3)
    arcs[:, :4] = -0.1
    observed = PoissonNoise(probability=1.0)(Observation.of(arcs), seeded())
    below = observed.image[:, :4]
    assert torch.all(below < 0.0) and torch.all(below == below[:, :1, :1])
    assert not observed.noise[:, :4].any() and observed.noise[:, 4:].any()


def test_dark_images_stay_dark():
    for effect in (PoissonNoise, PSFBlur, Normalisation):
        observed = effect(probability=1.0)(flat(2, 0.0), seeded())
        assert not observed.image.any() and not observed.noise.any()


def correlations(noise, lag_y, lag_x):
    moved = torch.roll(noise, (lag_y, lag_x), (1, 2))
    return (noise * moved).mean((1, 2)) / noise.square().mean((1, 2))


def test_white_noise():
    given = flat(40, 0.0, 96)
    observed = BackgroundNoise(rms=0.05, correlated=0.0)(given, seeded())
    n = observed.image.numel()
    assert observed.image.mean() == pytest.approx(0.0, abs=4.0 * 0.05 / np.sqrt(n))
    assert observed.image.std() == pytest.approx(0.05, rel=4.0 / np.sqrt(2.0 * n))
    torch.testing.assert_close(observed.noise, torch.full_like(observed.noise, 0.05))
    for lags in ((0, 1), (1, 0), (1, 1), (0, 2)):
        assert correlations(observed.image, *lags).mean() == pytest.approx(0, abs=4 / np.sqrt(n))


def smoothed_correlation(drop, lag):
    """By numbers: boxes of a pixel and of a drop, each convolved with itself, on a fine grid."""
    fine = 1000
    pixel, drop = np.ones(fine), np.ones(round(drop * fine))
    kernel = np.convolve(pixel, drop)
    whole = np.correlate(kernel, kernel, mode="full")
    middle = len(whole) // 2
    shift = lag * fine
    return whole[middle + shift] / whole[middle] if shift <= middle else 0.0


@pytest.mark.parametrize("drop", [0.4, 1.0, 1.7, 2.5])
def test_correlated_noise_has_the_correlation_of_drizzle(drop):
    given = flat(60, 0.0, 96)
    noise = BackgroundNoise(rms=1.0, correlated=1.0, drop=drop)(given, seeded()).image
    n = noise.numel()
    # Correlated numbers are fewer independent ones: their errors are up to three times larger.
    error = 4.0 * 3.0 / np.sqrt(n)
    assert noise.std() == pytest.approx(1.0, abs=error)
    assert noise.mean() == pytest.approx(0.0, abs=error)
    along = [smoothed_correlation(drop, lag) for lag in range(5)]
    if drop == 1.0:
        assert along[1:3] == pytest.approx([0.25, 0.0], abs=1e-5)
    for y, x in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 1), (0, 3), (0, 4)):
        measured = correlations(noise, y, x).mean()
        assert measured == pytest.approx(along[y] * along[x], abs=error), (y, x)


def test_correlated_noise_has_a_power_spectrum_like_that_of_ensai():
    given = flat(400, 0.0, 32)
    noise = BackgroundNoise(rms=1.0, correlated=1.0, drop=1.2)(given, seeded()).image
    power = torch.fft.fft2(noise).abs().square().mean(0) / 32**2
    amplitude = power.sqrt()
    # Along an axis from the lowest to the highest frequency, and then also along the other one.
    low = amplitude[:2, :2].mean()
    assert amplitude[16, :2].mean() / low == pytest.approx(0.45, abs=0.03)
    assert amplitude[:2, 16].mean() / low == pytest.approx(0.45, abs=0.03)
    assert amplitude[16, 16] / low == pytest.approx(0.45**2, abs=0.03)
    # Hermitian, and of unit variance.
    torch.testing.assert_close(power[1:, 1:], power[1:, 1:].flip(0, 1), rtol=1e-3, atol=1e-4)
    assert power.mean() == pytest.approx(1.0, abs=0.02)


def test_noise_levels_and_the_share_of_correlated_noise():
    given = flat(600, 0.0)
    observed = BackgroundNoise()(given, seeded())
    rms = observed.noise[:, 0, 0]
    assert torch.all(observed.noise == rms[:, None, None])
    assert rms.min() >= 0.01 and rms.max() <= 0.1
    assert rms.mean() == pytest.approx(0.055, abs=4.0 * 0.09 / np.sqrt(12 * 600))
    measured = observed.image.std((1, 2)) / rms
    assert measured.mean() == pytest.approx(1.0, abs=0.01)
    # White noise: 0 with a scatter of 1/48; drops of a pixel or more: at least 1/4.
    correlated = (correlations(observed.image, 0, 1) > 0.125).float().mean()
    assert correlated == pytest.approx(0.75, abs=4.0 * np.sqrt(0.1875 / 600))


def test_the_noise_map_is_that_of_all_noises_together():
    given = observation(200)
    photons = PoissonNoise(counts=80.0, probability=1.0)
    observed = Sequence((photons, BackgroundNoise(rms=0.05)))(given, seeded())
    bright = given.arcs > 0.2
    # What the peak was is known from the error of the photons.
    error = torch.sqrt(given.arcs / 80.0)
    peak = (error / torch.sqrt(observed.noise**2 - 0.05**2))[bright]
    residual = (observed.image[bright] - given.arcs[bright] / peak) / observed.noise[bright]
    assert residual.mean() == pytest.approx(0.0, abs=0.01)
    assert residual.std() == pytest.approx(1.0, abs=0.01)


# Artefacts.


def test_cosmic_rays_are_tracks():
    n = 300
    given = flat(n, 0.0, 64)
    options = {"number": 1, "length": (5.0, 30.0), "intensity": 0.5, "probability": 1.0}
    image = CosmicRays(**options)(given, seeded()).image
    assert image.min() == 0.0
    torch.testing.assert_close(image.amax((1, 2)), torch.full((n,), 0.5))
    axis = torch.arange(64.0)
    lengths, widths, angles = [], [], []
    for track in image:
        y, x = torch.nonzero(track, as_tuple=True)
        if min(y.min(), x.min()) == 0 or max(y.max(), x.max()) == 63:
            continue
        weight = track / track.sum()
        middle = torch.stack(((weight.sum(1) * axis).sum(), (weight.sum(0) * axis).sum()))
        offsets = torch.stack((y, x), 1) - middle
        covariance = (offsets * weight[y, x, None]).T @ offsets
        spread, directions = torch.linalg.eigh(covariance)
        widths.append(float(spread[0].clamp(min=0.0).sqrt()))
        lengths.append(float((12.0 * spread[1]).sqrt()))
        angles.append(float(torch.atan2(directions[0, 1], directions[1, 1])) % np.pi)
    assert len(lengths) > 150
    # A line of even brightness, about a pixel wide.
    assert max(widths) < 0.6
    assert min(lengths) > 3.5 and max(lengths) < 32.0
    assert np.mean(lengths) > 10.0
    # Of all directions.
    assert np.all(np.histogram(angles, bins=6, range=(0.0, np.pi))[0] > 0.06 * len(angles))


def test_cosmic_rays_differ_in_number_and_brightness():
    given = flat(400, 0.0, 96)
    image = CosmicRays(probability=1.0)(given, seeded()).image
    peaks = image.amax((1, 2))
    assert peaks.max() <= 0.5
    assert peaks.mean() == pytest.approx(0.25, abs=4.0 * 0.5 / np.sqrt(12 * 400))
    hit = (image > 0.0).float().mean((1, 2))
    # Tracks of one image differ in brightness: less of their light is near the brightest.
    near_the_peak = []
    for number in (1, 8):
        tracks = CosmicRays(number=number, length=20.0, intensity=1.0, probability=1.0)
        light = tracks(given, seeded()).image
        near_the_peak.append((light > 0.5).sum() / (light > 0.05).sum())
    assert near_the_peak[1] < 0.5 * near_the_peak[0]
    # From one short track to eight long ones, four pixels across at most.
    assert hit.min() < 0.005 and hit.max() > 0.03 and hit.max() < 8 * 4 * 42 / 96**2


def test_hot_pixels_are_counted():
    given = flat(500, 0.1)
    image = HotPixels(number=(2, 5), probability=1.0)(given, seeded()).image - 0.1
    number = (image > 1e-6).sum((1, 2))
    # Now and then two fall on one pixel, or one is hardly hot.
    assert number.min() >= 1 and number.max() == 5
    assert number.float().mean() == pytest.approx(3.5, abs=0.3)
    assert image.max() <= 0.5 and image.min() >= -1e-6
    assert image[image > 1e-6].mean() == pytest.approx(0.25, abs=0.02)
    rows, columns = torch.nonzero(image > 1e-6, as_tuple=True)[1:]
    for place in (rows, columns):
        assert place.min() == 0 and place.max() == SIZE - 1
        assert place.float().mean() == pytest.approx((SIZE - 1) / 2, abs=1.5)


# Masks.


def test_masks_are_discs_and_applied():
    given = observation(300)
    effect = CircularMasks(number=1, radius=5.0, keep=0.0, probability=1.0)
    observed = effect(given, seeded())
    hidden = observed.mask == 0.0
    assert torch.equal(hidden, observed.mask != 1.0)
    assert not observed.image[hidden].any()
    assert torch.equal(observed.image[~hidden], given.image[~hidden])
    # All middles in the frame: a disc of 25 pi pixels, cut where it meets an edge.
    area = hidden.sum((1, 2))
    assert area.max() == pytest.approx(25.0 * np.pi, abs=8.0)
    assert area.min() >= 25.0 * np.pi / 4.0 - 6.0
    inside = (hidden[:, 0].any(1) | hidden[:, -1].any(1)).float().mean()
    assert 0.02 < inside < 0.4
    for disc, size in zip(hidden, area, strict=True):
        if size < 70:
            continue
        y, x = torch.nonzero(disc, as_tuple=True)
        reach = torch.hypot(y - y.float().mean(), x - x.float().mean()).max()
        assert reach < 5.6


def test_masks_keep_their_share_of_the_arcs():
    given = observation(400)
    observed = CircularMasks(radius=4.0, keep=0.75, probability=1.0)(given, seeded())
    kept = (given.arcs * observed.mask).sum((1, 2)) / given.arcs.sum((1, 2))
    assert kept.min() >= 0.75 - 1e-6
    masked = (observed.mask == 0.0).flatten(1).any(1)
    assert masked.float().mean() > 0.9
    assert kept[masked].mean() < 0.95
    # Where there is no such mask, there is none.
    everywhere = CircularMasks(keep=1.0, probability=1.0)(flat(5, 1.0), seeded())
    assert torch.all(everywhere.mask == 1.0) and torch.all(everywhere.image == 1.0)


def test_masks_add_up():
    given = observation(20)
    effect = CircularMasks(number=2, keep=0.0, probability=1.0)
    first = effect(given, seeded(1))
    both = effect(first, seeded(2))
    assert torch.equal(both.mask, first.mask * effect(given, seeded(2)).mask)
    assert torch.equal(both.image, given.image * both.mask)


# Geometry.


def test_shifts_are_whole_pixels_up_and_to_the_right():
    given = observation(300)
    observed = Shift(pixels=4, keep=0.0)(given, seeded())
    for i in range(300):
        up, right = observed.shift[i].tolist()
        for name in ("image", "arcs", "lens_light"):
            before = torch.nn.functional.pad(getattr(given, name)[i], (4, 4, 4, 4))
            expected = before[4 + up :, 4 - right :][:SIZE, :SIZE]
            assert torch.equal(getattr(observed, name)[i], expected), name
    seen = [tuple(shift) for shift in observed.shift.tolist()]
    for axis in (0, 1):
        assert {shift[axis] for shift in seen} == set(range(-4, 5))
    again = Shift(pixels=4, keep=0.0)(observed, seeded(2))
    alone = Shift(pixels=4, keep=0.0)(given, seeded(2))
    assert torch.equal(again.shift, observed.shift + alone.shift)


def test_shifts_keep_their_share_of_the_arcs():
    arcs = torch.zeros(300, SIZE, SIZE)
    arcs[:, 1, SIZE - 3] = 1.0
    observed = Shift(pixels=4, keep=1.0)(Observation.of(arcs), seeded())
    assert torch.all(observed.arcs.sum((1, 2)) == 1.0)
    assert observed.shift[:, 0].max() == 1 and observed.shift[:, 0].min() == -4
    assert observed.shift[:, 1].max() == 2 and observed.shift[:, 1].min() == -4
    stuck = Shift(pixels=4, keep=1.0)(flat(20, 1.0), seeded())
    assert torch.all(stuck.image.sum((1, 2)) == SIZE**2)


def test_pixels_are_averaged():
    given = observation(4)
    image = Pixellation(size=SIZE // 2)(given, seeded()).image
    blocks = given.image.view(4, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4))
    expected = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(image, expected)
    same = Pixellation(size=SIZE)(given, seeded()).image
    torch.testing.assert_close(same, given.image)
    odd = Pixellation(size=(20, 47))(given, seeded()).image
    torch.testing.assert_close(odd.sum((1, 2)), given.image.sum((1, 2)), rtol=1e-4, atol=0.0)
    assert len({float(image.amax()) for image in odd}) == 4


@pytest.mark.parametrize("size", [SIZE // 2, 31, SIZE])
def test_noise_of_averaged_pixels(size):
    noisy = BackgroundNoise(rms=0.1, correlated=0.0)(flat(2000, 0.0), seeded())
    observed = Pixellation(size=size)(noisy, seeded())
    measured = observed.image.std(0)
    # Of 2000 images the scatter of a pixel is known to 1.6 %.
    torch.testing.assert_close(measured, observed.noise[0], rtol=0.09, atol=0.0)
    assert (measured / observed.noise[0]).mean() == pytest.approx(1.0, abs=0.005)


def test_coarser_pixels_are_no_more_than_there_are():
    with pytest.raises(OptionError, match="more than the image has"):
        Pixellation()(flat(1, 1.0), seeded())


# Levels.


def test_lens_light_leaves_a_fraction_of_either_sign():
    given = observation(2000)
    residual = LensLightResidual(rms=0.01)(given, seeded()).image - given.image
    fraction = residual[:, SIZE // 2, SIZE // 2] / given.lens_light[:, SIZE // 2, SIZE // 2]
    expected = fraction[:, None, None] * given.lens_light
    torch.testing.assert_close(residual, expected, atol=1e-6, rtol=0.0)
    assert fraction.mean() == pytest.approx(0.0, abs=4.0 * 0.01 / np.sqrt(2000))
    assert fraction.std() == pytest.approx(0.01, rel=4.0 / np.sqrt(4000))


def test_without_lens_light_there_is_no_residual():
    given = Observation.of(rings(3))
    assert torch.equal(LensLightResidual()(given, seeded()).image, given.image)


def test_zero_point_is_one_number_for_each_image():
    given = observation(2000)
    bias = ZeroPointBias(rms=0.05)(given, seeded()).image - given.image
    torch.testing.assert_close(bias, bias[:, :1, :1].expand_as(bias), atol=1e-6, rtol=0.0)
    bias = bias[:, 0, 0]
    assert bias.mean() == pytest.approx(0.0, abs=4.0 * 0.05 / np.sqrt(2000))
    assert bias.std() == pytest.approx(0.05, rel=4.0 / np.sqrt(4000))


def test_unit_is_the_brightest_pixel_on_the_arcs():
    given = observation(1000)
    given.image[:, 0, 0] = 30.0  # a star: no arc is there
    given = Sequence((BackgroundNoise(rms=0.05),))(given, seeded())
    observed = Normalisation(threshold=0.4, scatter=0.01)(given, seeded())
    unit = given.image.masked_fill(given.arcs <= 0.4, 0.0).amax((1, 2))
    peak = observed.image.masked_fill(given.arcs <= 0.4, 0.0).amax((1, 2))
    assert peak.mean() == pytest.approx(1.0, abs=4.0 * 0.01 / np.sqrt(1000))
    assert peak.std() == pytest.approx(0.01, rel=0.1)
    ratio = (peak / unit)[:, None, None]
    torch.testing.assert_close(observed.image, given.image * ratio)
    torch.testing.assert_close(observed.noise, given.noise * ratio)


def test_faint_arcs_keep_their_unit():
    given = Observation.of(0.3 * rings(3))
    observed = Normalisation(threshold=0.4, scatter=0.0)(given, seeded())
    assert torch.equal(observed.image, given.image)


def test_the_whole_sequence_on_images_of_ensai():
    arcs = rings(30, size=192)
    observed = ENSAI_EFFECTS(Observation.of(arcs), seeded())
    assert not observed.image[observed.mask == 0.0].any()
    masked = (observed.mask == 0.0).flatten(1).any(1).float().mean()
    assert 0.2 < masked < 0.8
    assert 0.008 < observed.noise.median() < 0.12
    # The arcs, where they went, are still what is brightest.
    bright = observed.arcs > 0.5
    assert observed.image[bright].mean() - observed.image[~bright].mean() > 0.3


# The width of the point spread function.


def test_a_perfect_observation_is_sharp():
    sharp = observation(3).psf_rms
    assert sharp.shape == (3,) and not sharp.any()
    for effect in EFFECTS:
        if not isinstance(effect, PSFBlur):
            assert not effect(observation(3), seeded()).psf_rms.any(), names(effect)


def test_widths_are_those_of_the_blur():
    """The second moment of a point."""
    n = 40
    given = torch.zeros(n, SIZE + 1, SIZE + 1, dtype=torch.float64)
    given[:, SIZE // 2, SIZE // 2] = 1.0
    blur = PSFBlur(rms=(0.8, 2.0), probability=1.0)
    once = blur(Observation.of(given), seeded(1))
    axis = torch.arange(SIZE + 1, dtype=torch.float64) - SIZE // 2

    def second_moment(image):
        return (image.sum(2) * axis**2).sum(1) / image.sum((1, 2))

    torch.testing.assert_close(once.psf_rms, second_moment(once.image).sqrt(), rtol=2e-3, atol=0.0)
    assert once.psf_rms.min() >= 0.8 and once.psf_rms.max() <= 2.0
    assert len(once.psf_rms.unique()) == n
    # Two blurs add in quadrature.
    twice = blur(once, seeded(2))
    torch.testing.assert_close(
        twice.psf_rms, second_moment(twice.image).sqrt(), rtol=2e-3, atol=0.0
    )
    assert torch.all(twice.psf_rms > 1.1)


def test_widths_of_what_is_not_blurred_stay():
    blurred = PSFBlur(rms=1.0, probability=0.5)(observation(200), seeded(3))
    changed = (blurred.image != observation(200).image).flatten(1).any(1)
    assert 70 < changed.sum() < 130
    torch.testing.assert_close(blurred.psf_rms, changed.float())
    # Moving, masking and noise leave it as it is.
    after = ENSAI_EFFECTS.effects[0](blurred, seeded(4))
    assert torch.equal(after.psf_rms, blurred.psf_rms)
