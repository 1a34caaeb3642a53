"""Lenses to learn reconstructions from: their truth is that of their images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.inference.reconstruction.loop import Loop, LoopOptions
from autolens_ml.simulate.maps import einstein_radii_from
from autolens_ml.training import reconstruction_sets
from autolens_ml.training.reconstruction_sets import (
    LensMaps,
    Observations,
    Truth,
    exposed,
    turned,
)

FRAME = LoopOptions(
    shape=(24, 24),
    pixel_scale=0.15,
    source_shape=(24, 24),
    source_pixel_scale=0.08,
    source_link="identity",
)
LENSES = {"einstein_radius": [0.5, 0.9], "offset": 0.05}
SOURCES = {"half_light_radius": [0.15, 0.25], "offset": 0.2}
OBSERVATIONS = Observations(psf_fwhm=(0.2, 0.4), psf_size=7)


@pytest.fixture(scope="module", autouse=True)
def few_galaxies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction_sets, "_N_DRAWN", 20)
        yield


@pytest.fixture(scope="module")
def population():
    return LensMaps(FRAME, LENSES, {"smooth": 1.0}, SOURCES)


@pytest.fixture(scope="module")
def truth(population):
    return population.drawn(0, seed=1, held_out=False)


def state_of(truth, observed, units):
    loop = Loop(FRAME)
    source = torch.from_numpy(truth.source) / units[:, None, None]
    at = type(loop.start(1))(
        source, *(torch.from_numpy(each).float() for each in (truth.convergence, truth.shear))
    )
    return loop.state(observed, at)


def test_images_are_those_of_the_maps_but_for_the_pixels(truth):
    """At the true maps on the pixels of the reconstruction, data are nearly reproduced."""
    observed, units = exposed(truth, OBSERVATIONS, 0.15, np.random.default_rng(1))
    chi_squared = state_of(truth, observed, units).chi_squared
    assert 0.95 < float(chi_squared.median()) < 1.3
    # With the shear left out, or with that of the drawn one's sign, they are not.
    wrong = replace(truth, shear=-truth.shear)
    assert float(state_of(wrong, observed, units).chi_squared.median()) > 1.5 * float(
        chi_squared.median()
    )


def test_lenses_are_good_enough(truth):
    assert truth.image.shape == (64, 24, 24) and truth.source.max(axis=(1, 2)).max() <= 1.0
    area = (0.15 / 0.08) ** 2
    magnification = area * truth.image.sum(axis=(1, 2)) / truth.source.sum(axis=(1, 2))
    assert magnification.min() > 3.0 and np.median(magnification) < 30.0
    border = np.ones((24, 24), bool)
    border[1:-1, 1:-1] = False
    edge = truth.image[:, border].max(axis=1) / truth.image.max(axis=(1, 2))
    assert edge.max() < 0.1
    radii, _ = einstein_radii_from(10.0**truth.convergence, 0.15)
    assert radii.min() > 0.4 and radii.max() < 1.0


def test_shear_is_that_of_all_mass_beyond_the_frame(population):
    """Without a drawn shear a small one is left, of the corners of elliptical haloes."""
    alone = replace(population, shear=0.0).drawn(0, seed=1, held_out=False).shear
    assert 0.0 < np.abs(alone).max() < 0.06
    drawn = population.drawn(0, seed=1, held_out=False).shear
    assert drawn.std() == pytest.approx(np.hypot(0.04, alone.std()), rel=0.2)


def test_a_uniform_tide_is_found():
    loop = Loop(FRAME)
    y, x = loop.lens.rays
    tide = torch.stack((-0.02 * x - 0.05 * y, 0.05 * x - 0.02 * y))[None]
    found = reconstruction_sets._shear_of(loop.lens.rays, tide + 0.1)
    assert torch.allclose(found, torch.tensor([[0.05, -0.02]]), atol=1e-6)


@pytest.mark.parametrize("form", range(8))
def test_lenses_turn_with_their_shear(truth, form):
    """Turned maps make turned images, which they would not with a shear that stays."""
    few = Truth(*(each[:4] for each in vars(truth).values()))
    found = turned(few, np.full(4, form))
    loop = Loop(FRAME)
    images = []
    for each in (few, found):
        source, kappa, shear = (
            torch.from_numpy(np.ascontiguousarray(a)).float()
            for a in (each.source, each.convergence, each.shear)
        )
        images.append(loop.lens(kappa, source, shear).numpy())
    again = turned(replace(few, image=images[0]), np.full(4, form)).image
    assert np.allclose(images[1], again, atol=1e-4)


def test_sets_are_stored_and_cut_anywhere(population, truth, tmp_path):
    stored = population.stored(tmp_path / "set", 70, 1, held_out=False)
    assert len(stored["image"]) == 70
    for name, values in vars(truth).items():
        assert np.allclose(stored[name][:64], values, atol=2e-3), name
    assert not np.allclose(stored["image"][64:], stored["image"][:6])


def test_what_is_held_out_has_other_galaxies(population):
    learned, held_out = population._samplers
    names = [set(sampler.libraries[0].names) for sampler in (learned, held_out)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 20


def test_noise_is_as_deep_as_is_said(truth):
    rng = np.random.default_rng(1)
    steady = replace(OBSERVATIONS, signal_to_noise=(20.0, 20.0), background=(1e6, 1e6), masked=0.0)
    observed, units = exposed(truth, steady, 0.15, rng)
    # On its own pixels the peak is a little lower.
    clean = state_of(truth, observed, units).image
    ratio = clean.amax(dim=(1, 2)) / observed.noise_map.amin(dim=(1, 2))
    assert torch.allclose(ratio, torch.full((64,), 20.0), rtol=0.25)
    assert observed.mask.all()
    # Photons: where there is light, there is more noise.
    bright, units = exposed(truth, replace(steady, background=(5.0, 5.0)), 0.15, rng)
    brightest = bright.noise_map.amax(dim=(1, 2)) / bright.noise_map.amin(dim=(1, 2))
    assert torch.allclose(brightest, torch.full((64,), np.sqrt(1.0 + 20.0 / 5.0)), rtol=0.02)


def test_masks_are_circles(truth):
    always = replace(OBSERVATIONS, masked=1.0, mask_radius=(1.0, 1.0))
    observed, _ = exposed(truth, always, 0.15, np.random.default_rng(1))
    assert float(observed.mask.sum(dim=(1, 2))[0]) * 0.15**2 == pytest.approx(np.pi, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lenses": {**LENSES, "shape": [8, 8]}}, "lenses: shape follow"),
        ({"lenses": {**LENSES, "mass": 1.0}}, "lenses: .*mass"),
        ({"lenses": {"einstein_radius": [0.5, 9.0]}}, "leaves a frame"),
        ({"galaxies": {}}, "galaxies must be a mapping"),
        ({"galaxies": {"smooth": -1.0}}, "smooth needs a weight above 0"),
        ({"sources": {"radius": 1.0}}, "sources: .*radius"),
    ],
)
def test_bad_populations_are_refused(changes, message):
    values = {"lenses": LENSES, "galaxies": {"smooth": 1.0}, "sources": SOURCES}
    with pytest.raises(OptionError, match=message):
        LensMaps(FRAME, **{**values, **changes})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"psf_fwhm": [0.4, 0.2]}, "psf_fwhm must be two numbers"),
        ({"psf_size": 4}, "psf_size must be odd"),
        ({"shear": 0.5}, "shear 0.5 must be"),
        ({"depth": 3.0}, "no mapping of"),
    ],
)
def test_bad_observations_are_refused(values, message):
    with pytest.raises(OptionError, match=message):
        Observations.from_dict(values)
