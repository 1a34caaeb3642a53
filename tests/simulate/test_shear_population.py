"""Populations of galaxies: the algebra of shear, ranges, seeds, and what is refused."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.shear_population import (
    GALAXY_KINDS,
    POPULATIONS,
    Scenes,
    ShearPopulation,
    sheared,
)


def stretch(ellipticity):
    """The matrix over (x, y) that makes a circle an ellipse of the same area."""
    e = complex(ellipticity)
    matrix = np.array([[1.0 + e.real, e.imag], [e.imag, 1.0 - e.real]])
    return matrix / np.sqrt(1.0 - abs(e) ** 2)


def ellipticity_of(moments):
    spin = moments[0, 0] - moments[1, 1] + 2j * moments[0, 1]
    return spin / (np.trace(moments) + 2.0 * np.sqrt(np.linalg.det(moments)))


@pytest.fixture(scope="module")
def scenes():
    return ShearPopulation(max_shear=0.4).draw(2000, np.random.default_rng(1))


def test_mean_of_sheared_ellipticities_is_the_shear():
    angles = torch.arange(64, dtype=torch.double) * (2.0 * np.pi / 64)
    ellipticities = torch.polar(torch.full_like(angles, 0.5), angles)
    shear = torch.tensor(0.1 - 0.25j, dtype=torch.complex128)
    assert sheared(ellipticities, shear).mean() == pytest.approx(complex(shear), abs=1e-12)


def test_shear_is_what_a_matrix_does_to_an_ellipse():
    e, g = 0.4 - 0.3j, -0.2 + 0.1j
    shape = stretch(g) @ stretch(e)
    expected = ellipticity_of(shape @ shape.T)
    assert complex(sheared(torch.tensor(e), torch.tensor(g))) == pytest.approx(expected, abs=1e-6)


def test_ellipticity_of_two_components_follows_every_shear(scenes):
    two = scenes[scenes.kind == GALAXY_KINDS.index("bulge-disc")]
    for i in range(20):
        moments = sum(
            float(two.flux[i, c])
            * float(two.radius[i, c]) ** 2
            * (stretch(two.shear[i]) @ stretch(two.ellipticity[i, c]))
            @ (stretch(two.shear[i]) @ stretch(two.ellipticity[i, c])).T
            for c in range(2)
        )
        assert complex(two.observed_ellipticity[i]) == pytest.approx(
            ellipticity_of(moments), abs=1e-5
        )


def test_ellipticity_of_one_component_is_its_own(scenes):
    one = scenes[scenes.flux[:, 1] == 0.0]
    expected = sheared(one.ellipticity[:, 0], one.shear)
    assert torch.allclose(one.observed_ellipticity, expected, atol=1e-6)
    assert torch.allclose(one.half_light_radius, one.radius[:, 0])


def test_turned_galaxies_have_opposite_ellipticities(scenes):
    assert torch.allclose(scenes.turned().intrinsic_ellipticity, -scenes.intrinsic_ellipticity)
    pair = scenes.turned().observed_ellipticity + scenes.observed_ellipticity
    assert torch.allclose(scenes.turned().shear, scenes.shear)
    # Means over pairs are the shear, but for second order.
    assert (0.5 * pair.mean() - scenes.shear.mean()).abs() < 0.01


def test_draws_lie_in_their_ranges(scenes):
    population = ShearPopulation(max_shear=0.4)
    assert scenes.shear.real.abs().max() <= 0.4 and scenes.shear.imag.abs().max() <= 0.4
    assert scenes.shear.real.std() == pytest.approx(0.4 / np.sqrt(3.0), rel=0.05)
    assert scenes.intrinsic_ellipticity.abs().max() < 0.8
    one = scenes.ellipticity[:, 0]
    assert one.real.std() == pytest.approx(0.26, rel=0.06)
    assert abs(one.mean()) < 0.03
    for name, values in (
        ("half_light_radius", scenes.radius[:, 0]),
        ("psf_fwhm", scenes.psf_fwhm),
        ("signal_to_noise", scenes.signal_to_noise),
    ):
        low, high = getattr(population, name)
        assert values.min() >= low * 0.999 and values.max() <= high * 1.001
        assert values.max() - values.min() > 0.9 * (high - low)
    counts = torch.bincount(scenes.kind, minlength=3) / len(scenes)
    assert torch.allclose(counts, torch.tensor([0.5, 0.3, 0.2]), atol=0.04)
    assert ((scenes.cut_out >= 0) == (scenes.kind == 2)).all()
    assert torch.allclose(scenes.flux.sum(-1), torch.ones(len(scenes)))


def test_seeds_and_rows():
    draws = [POPULATIONS["euclid"].draw(30, np.random.default_rng(seed)) for seed in (4, 4, 5)]
    for name, value in vars(draws[0]).items():
        assert torch.equal(value, getattr(draws[1], name)), name
        assert torch.equal(value[7:9], getattr(draws[0][7:9], name)), name
    assert not torch.equal(draws[0].shear, draws[2].shear)
    assert isinstance(draws[0][3:], Scenes) and len(draws[0][3:]) == 27


def test_the_seed_draws_round_galaxies():
    scenes = POPULATIONS["seed"].draw(500, np.random.default_rng(0))
    assert scenes.intrinsic_ellipticity.abs().max() == 0.0
    assert torch.allclose(scenes.observed_ellipticity, scenes.shear)
    assert scenes.shear.real.abs().max() > 0.35
    assert scenes.psf_ellipticity.real.abs().max() <= 0.04


def test_dictionaries_make_the_same_population():
    population = ShearPopulation(size=32, psf_fwhm=0.2, galaxies={"sersic": 2, "cut-out": 2})
    assert ShearPopulation.from_dict(population.as_dict()) == population
    assert population.psf_fwhm == (0.2, 0.2)
    assert population.galaxies == {"sersic": 0.5, "bulge-disc": 0.0, "cut-out": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 47}, "size must be even"),
        ({"size": 4.5}, "size must be a whole number"),
        ({"pixel_scale": 0.0}, "pixel_scale must be above 0"),
        ({"max_shear": 0.8}, "max_shear must be 0 to 0.7"),
        ({"max_ellipticity": float("nan")}, "max_ellipticity must be 0 to 0.95"),
        ({"sersic_index": [0.2, 4.0]}, "sersic_index must be 0.5 to 6"),
        ({"signal_to_noise": [20.0, 10.0]}, "signal_to_noise must be one positive number"),
        ({"galaxies": {"spiral": 1.0}}, "galaxies must give shares"),
        ({"psfs": {"moffat": 0.0}}, "psfs needs a share above 0"),
        ({"cut_outs": 3}, "cut_outs must name a library"),
        ({"stars": 1}, "unknown stars"),
        ([1], "needs a mapping"),
    ],
)
def test_what_means_nothing_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        ShearPopulation.from_dict(options)
