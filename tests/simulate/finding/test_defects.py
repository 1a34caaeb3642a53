"""What instruments add to the sky."""

import numpy as np
import pytest

from autolens_ml.simulate.finding import defects
from autolens_ml.simulate.finding.bands import BANDS


def blank(names=tuple(BANDS)):
    return {name: np.zeros(BANDS[name].instrument.shape, dtype=np.float32) for name in names}


def seen(defect, seed, names=tuple(BANDS)):
    images = blank(names)
    defect(images, np.random.default_rng(seed))
    return images


@pytest.mark.parametrize("defect", defects.DEFECTS, ids=lambda d: d.__name__)
def test_defects_change_images_and_bands_do_not_depend_on_each_other(defect):
    changed = 0
    for seed in range(6):
        together = seen(defect, seed)
        changed += any(np.any(image != 0.0) for image in together.values())
        for name in BANDS:
            assert np.array_equal(seen(defect, seed, (name,))[name], together[name], equal_nan=True)
        assert all(image.dtype == np.float32 for image in together.values())
    assert changed == 6


def test_cosmic_rays_are_in_vis_alone():
    images = seen(defects.cosmic_rays, 0)
    assert images["VIS"].max() > 10.0
    assert not any(images[name].any() for name in "YJH")


def test_a_gap_is_at_the_same_place_in_all_bands():
    for seed in range(4):
        images = seen(defects.gap, seed)
        shares = [np.isnan(image).mean() for image in images.values()]
        assert min(shares) > 0.04 and max(shares) < 0.46
        assert max(shares) - min(shares) < 0.02
        middle = [image[len(image) // 2, len(image) // 2] for image in images.values()]
        assert np.all(np.isfinite(middle))
