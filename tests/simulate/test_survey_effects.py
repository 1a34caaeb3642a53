"""Effects of surveys: the noise of subtracted lens light, and apertures."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.effects import BackgroundNoise, Observation, PSFBlur
from autolens_ml.simulate.survey_effects import SURVEY_EFFECTS, Aperture, LensLightNoise
from tests.simulate.test_effects import (
    SIZE,
    assert_same,
    distances,
    names,
    observation,
    rings,
    seeded,
    values,
)

EFFECTS = [LensLightNoise(), Aperture(radius=(14.0, 30.0), keep=0.5)]
EMPTY = 0.05


def noisy(n, **options):
    """Rings about a lens, with the noise of the sky."""
    return BackgroundNoise(rms=EMPTY, correlated=0.0, **options)(observation(n), seeded(9))


@pytest.mark.parametrize("effect", [*EFFECTS, SURVEY_EFFECTS], ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_seed_same_result(effect, dtype):
    given = noisy(40)
    given = Observation(
        *(v.to(dtype) if v.is_floating_point() else v for v in values(given).values())
    )
    before = {name: value.clone() for name, value in values(given).items()}
    first = effect(given, seeded(1))
    assert_same(first, effect(given, seeded(1)))
    assert not torch.equal(first.image, effect(given, seeded(2)).image)
    for name, value in values(first).items():
        assert value.dtype == before[name].dtype and value.isfinite().all(), name
        assert torch.equal(getattr(given, name), before[name]), name


@pytest.mark.parametrize("effect", EFFECTS, ids=names)
def test_happens_to_its_share_of_the_images_and_leaves_the_others(effect):
    n = 400
    given = noisy(n)
    effect = type(effect)(**{**vars(effect), "probability": 0.3})
    changed = (effect(given, seeded(3)).image != given.image).flatten(1).any(1)
    assert 0.3 * n - 4.0 * np.sqrt(0.21 * n) < changed.sum() < 0.3 * n + 4.0 * np.sqrt(0.21 * n)
    never = type(effect)(**{**vars(effect), "probability": 0.0})
    assert_same(never(given, seeded(3)), given)


def test_an_image_does_not_depend_on_the_others():
    """Though they are blurred by different widths."""
    light = observation(2).lens_light
    wide = Observation.of(observation(2).arcs, light)
    rms = torch.tensor([0.3, 2.0])
    given = Observation(**{**values(wide), "psf_rms": rms, "noise": torch.full_like(light, EMPTY)})
    effect = LensLightNoise(ratio=4.0, probability=1.0)
    together = effect(given, seeded()).noise
    for i in range(2):
        alone = effect(given[i : i + 1], seeded()).noise
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("ratio", [1.0, 3.0, 8.0])
def test_noise_at_the_lens_is_its_ratio_of_that_of_the_sky(ratio):
    given = noisy(600)
    observed = LensLightNoise(ratio=ratio, probability=1.0)(given, seeded())
    middle = (slice(None), SIZE // 2, SIZE // 2)
    light = given.lens_light[middle] / given.lens_light.amax((1, 2))
    expected = EMPTY * torch.sqrt(1.0 + (ratio**2 - 1.0) * light)
    torch.testing.assert_close(observed.noise[middle], expected, rtol=1e-4, atol=0.0)
    # Far from the lens it is that of the sky.
    torch.testing.assert_close(observed.noise[:, 0, 0], given.noise[:, 0, 0], rtol=1e-3, atol=0.0)
    # What was added to images has the variance that was added to the map.
    added = observed.image - given.image
    variance = observed.noise.square() - given.noise.square()
    if ratio == 1.0:
        assert not added.any() and not variance.abs().max() > 1e-8
        return
    seen = variance > 1e-4 * variance.amax()
    pulls = added[seen] / variance[seen].sqrt()
    assert pulls.mean() == pytest.approx(0.0, abs=0.02)
    assert pulls.std() == pytest.approx(1.0, abs=0.02)


def test_ratios_are_uniform_in_their_logarithm():
    observed = LensLightNoise(ratio=(1.0, 8.0), probability=1.0)(noisy(800), seeded())
    logs = torch.log(observed.noise.amax((1, 2)) / EMPTY) / np.log(8.0)
    assert logs.min() >= -1e-6 and logs.max() <= 1.0 + 1e-6
    assert logs.mean() == pytest.approx(0.5, abs=4.0 / np.sqrt(12 * 800))


def test_the_light_is_as_blurred_as_the_arcs():
    point = torch.zeros(1, 31, 31)
    point[:, 15, 15] = 1.0
    blur = PSFBlur(rms=1.5, probability=1.0)
    given = BackgroundNoise(rms=EMPTY)(blur(Observation.of(point, point), seeded()), seeded())
    observed = LensLightNoise(ratio=5.0, probability=1.0)(given, seeded())
    variance = (observed.noise.square() - EMPTY**2) / (24.0 * EMPTY**2)
    gaussian = torch.exp(-0.5 * (distances(31) / 1.5) ** 2)
    torch.testing.assert_close(variance[0], gaussian, atol=3e-3, rtol=0.0)


def test_where_data_are_masked_there_is_no_noise():
    given = Aperture(radius=12.0, keep=0.0, probability=1.0)(noisy(4), seeded())
    observed = LensLightNoise(ratio=8.0, probability=1.0)(given, seeded())
    assert not observed.image[observed.mask == 0.0].any()
    assert (observed.image != given.image).any()


def test_without_light_or_sky_there_is_no_noise():
    for given in (observation(3), BackgroundNoise()(Observation.of(rings(3)), seeded())):
        observed = LensLightNoise(probability=1.0)(given, seeded())
        torch.testing.assert_close(observed.image, given.image)
        torch.testing.assert_close(observed.noise, given.noise)


@pytest.mark.parametrize(("square", "corner"), [(0.0, False), (1.0, True)])
def test_apertures_are_round_or_square(square, corner):
    given = noisy(50)
    effect = Aperture(radius=15.0, square=square, keep=0.0, probability=1.0)
    observed = effect(given, seeded())
    distance = distances()
    axis = (torch.arange(SIZE) - 0.5 * (SIZE - 1)).abs()
    if corner:
        distance = torch.maximum(axis[:, None], axis[None, :])
    assert torch.equal(observed.mask, (distance <= 15.0).float().expand(50, SIZE, SIZE))
    assert torch.equal(observed.image, given.image * observed.mask)


def test_apertures_keep_their_share_of_the_arcs():
    given = noisy(300)
    observed = Aperture(radius=(2.0, 40.0), keep=0.9, probability=1.0)(given, seeded())
    kept = (given.arcs * observed.mask).sum((1, 2)) / given.arcs.sum((1, 2))
    assert kept.min() >= 0.9 - 1e-6
    sides = observed.mask.sum((1, 2))
    assert len(sides.unique()) > 20
    # Where no aperture does so, there is none.
    stuck = Aperture(radius=2.0, keep=0.9, probability=1.0)(given, seeded())
    assert torch.all(stuck.mask == 1.0)


def test_apertures_and_masks_add_up():
    given = noisy(10)
    given.mask[:, 20:24, 20:24] = 0.0
    observed = Aperture(radius=15.0, square=1.0, keep=0.0, probability=1.0)(given, seeded())
    whole = Aperture(radius=15.0, square=1.0, keep=0.0, probability=1.0)(noisy(10), seeded())
    assert torch.equal(observed.mask, whole.mask * given.mask)


@pytest.mark.parametrize(
    ("effect", "options", "message"),
    [
        (LensLightNoise, {"ratio": 0.5}, "LensLightNoise: ratio must be at least 1, not 0.5"),
        (LensLightNoise, {"ratio": (4.0, 2.0)}, "low to high"),
        (LensLightNoise, {"ratio": float("nan")}, "at least 0"),
        (Aperture, {"square": 1.5}, "share"),
        (Aperture, {"keep": -0.5}, "at least 0"),
        (Aperture, {"radius": (-1.0, 3.0)}, "at least 0"),
    ],
)
def test_options_that_mean_nothing(effect, options, message):
    with pytest.raises(OptionError, match=message):
        effect(**options)


def test_both_follow_one_another():
    given, generator = noisy(20), seeded(5)
    expected = given
    for effect in SURVEY_EFFECTS.effects:
        expected = effect(expected, generator)
    assert_same(SURVEY_EFFECTS(given, seeded(5)), expected)
    assert [type(effect) for effect in SURVEY_EFFECTS.effects] == [LensLightNoise, Aperture]
