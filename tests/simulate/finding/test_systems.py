"""Sets of lenses and non-lenses: reproducible, labelled, as bright as a survey's."""

import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.kinds import NON_LENSES
from autolens_ml.simulate.finding.lensing import LensDefinition
from autolens_ml.simulate.finding.scene import Scene
from autolens_ml.simulate.finding.systems import (
    KINDS,
    SHARES,
    TRUTHS,
    FindingPopulation,
)
from autolens_ml.simulate.forward import CHUNK


@pytest.fixture(scope="module")
def systems():
    return next(FindingPopulation().batches(CHUNK, 7))


def truth(systems, name):
    return systems.truths[:, TRUTHS.index(name)]


def test_images_of_all_bands(systems):
    assert len(systems) == CHUNK and list(systems.images) == list(BANDS)
    for name, band in BANDS.items():
        images = systems.images[name]
        assert images.shape == (CHUNK, *band.instrument.shape) and images.dtype == np.float32
        # Only artefacts have pixels without data, and never all of them.
        without = np.isnan(images).mean(axis=(1, 2))
        assert np.all(without < 0.6)
        assert set(systems.kinds[without > 0.0]) <= {KINDS.index("artefact")}
        # The sky is empty, galaxies are not.
        assert np.all(np.nanmedian(images, axis=(1, 2)) < 60.0)
        assert np.nanmin(images) > -40.0


def test_kinds_are_labelled(systems):
    assert set(np.unique(systems.kinds)) <= {KINDS.index(kind) for kind in SHARES}
    assert np.array_equal(systems.is_lens, systems.kinds == KINDS.index("lens"))
    assert 0.25 < systems.is_lens.mean() < 0.75


def test_lenses_satisfy_the_definition_and_single_images_do_not(systems):
    definition = LensDefinition()
    accepted = definition.accepts(truth(systems, "magnification"), truth(systems, "n_pixels"))
    assert np.all(accepted[systems.is_lens])
    single = systems.kinds == KINDS.index("single-image")
    assert single.any() and not np.any(accepted[single])
    assert np.all(truth(systems, "n_pixels")[single] > definition.n_pixels)
    assert np.all(np.isnan(systems.truths[~systems.is_lens & ~single]))
    assert np.all(truth(systems, "source_redshift")[single] > truth(systems, "redshift")[single])


def test_a_system_depends_on_the_seed_and_its_number_alone(systems):
    alone = FindingPopulation(bands=["J"])
    part = next(alone.batches(10, 7))
    assert len(part) == 10 and list(part.images) == ["J"]
    assert np.array_equal(part.images["J"], systems.images["J"][:10], equal_nan=True)
    assert np.array_equal(part.truths, systems.truths[:10], equal_nan=True)
    # From where a run was cut off, and not the same again.
    later = list(alone.batches(CHUNK + 3, 7, start=CHUNK))
    assert [len(batch) for batch in later] == [3]
    assert not np.array_equal(later[0].images["J"], part.images["J"][:3], equal_nan=True)


def test_galaxies_in_the_middle_are_seen(systems):
    vis = systems.images["VIS"]
    middle = vis[:, 80:120, 80:120]
    ordinary = systems.kinds != KINDS.index("artefact")
    assert np.all(middle[ordinary].max(axis=(1, 2)) > 5.0)
    # Lenses and ellipticals are as bright as each other.
    lenses, others = (
        np.median(middle[systems.kinds == KINDS.index(kind)].sum(axis=(1, 2)))
        for kind in ("lens", "elliptical")
    )
    assert 0.2 < lenses / others < 5.0


@pytest.mark.parametrize("kind", NON_LENSES)
def test_every_kind_puts_light_in_the_middle(kind):
    from autolens_ml.simulate.finding.galaxies import draw_deflectors
    from autolens_ml.simulate.finding.scene import images_of

    rng = np.random.default_rng(11)
    deflectors = draw_deflectors(6, rng)
    scenes = [Scene() for _ in range(6)]
    for i, scene in enumerate(scenes):
        NON_LENSES[kind](scene, deflectors[i : i + 1], rng)
    images = images_of(scenes, np.zeros(6, dtype=int), (BANDS["VIS"], BANDS["H"]))
    assert all(np.isfinite(image).any(axis=(1, 2)).all() for image in images.values())
    bright = np.nanmax(images["VIS"][:, 70:130, 70:130], axis=(1, 2)) > 5.0
    assert bright.sum() >= (4 if kind == "artefact" else 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shares": {"lens": 1.0, "planet": 1.0}}, "no kind planet"),
        ({"shares": {}}, "positive"),
        ({"shares": {"lens": 0.0}}, "positive"),
        ({"bands": ["K"]}, "choose from"),
    ],
)
def test_bad_populations_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        FindingPopulation(**options)


@pytest.mark.parametrize("arguments", [(-1, 0), (10, -1), (10, 0, 3), (1.5, 0)])
def test_bad_numbers_are_refused(arguments):
    with pytest.raises(OptionError, match="must be a"):
        FindingPopulation().batches(*arguments)
