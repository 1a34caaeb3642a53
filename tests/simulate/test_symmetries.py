"""Flips and turns: image and parameters move together, for every profile there is."""

import inspect

import autofit as af
import autolens as al
import numpy as np
import pytest

import autolens_ml as aml
from autolens_ml.latent import LatentSpace
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.symmetries import symmetries_of
from tests.simulate import models

ALL = [(flip, turns) for flip in (False, True) for turns in range(4)]
SQUARE = Instrument(
    name="square",
    shape=(20, 20),
    pixel_scale=0.2,
    psf_fwhm=(0.4, 0.4),
    exposure_time=(1000.0, 1000.0),
    background_sky_level=0.1,
)


def names_of(symmetries):
    return [(symmetry.flip, symmetry.turns) for symmetry in symmetries]


def symmetric_model():
    """Everything that turns: position, ellipticity, shear, multipole, vortex, picture."""
    mass = models.mass()
    multipole = af.Model(al.mp.PowerLawMultipole, m=3, slope=2.0)
    multipole.centre, multipole.einstein_radius = mass.centre, mass.einstein_radius
    for name in ("multipole_comps_0", "multipole_comps_1"):
        setattr(multipole.multipole_comps, name, af.GaussianPrior(mean=0.0, sigma=0.05))
    lens = af.Model(
        al.Galaxy,
        redshift=0.5,
        mass=mass,
        multipole=multipole,
        shear=af.Model(al.mp.ExternalShear),
        vortex=models.vortex(),
        light=models.light(),
    )
    source = models.source(structure=models.pixel_light(), bulge=models.light())
    return models.galaxies(lens=lens, source=source)


@pytest.fixture(scope="module")
def squared(library):
    stamps = {"galaxies.source.structure": library}
    return Population(symmetric_model(), SQUARE, stamps=stamps)


@pytest.fixture(scope="module")
def drawn(squared):
    latents = squared.draw(8, np.random.default_rng(4))
    parameters = squared.space.physical_from(latents)
    psfs = SQUARE.psf_kernels_from(np.full(8, 0.4))
    stamps = squared.stamps["galaxies.source.structure"].stamps[np.arange(8) % 2][:, None]
    return parameters, psfs, stamps, squared.forward.planes_from(parameters, psfs, stamps)


@pytest.mark.parametrize(("flip", "turns"), ALL)
def test_images_of_moved_parameters_are_moved_images(squared, drawn, flip, turns):
    parameters, psfs, stamps, planes = drawn
    symmetry = next(s for s in symmetries_of(squared.model) if (s.flip, s.turns) == (flip, turns))
    stamps = stamps[:, :, ::-1] if flip else stamps
    again = squared.forward.planes_from(symmetry.parameters_from(parameters), psfs, stamps)
    expected = symmetry.image_from(planes)
    np.testing.assert_allclose(again, expected, rtol=1e-6, atol=1e-9 * planes.max())
    if (flip, turns) != (False, 0):
        # No lens is so symmetric that it would not matter.
        change = np.abs(expected - planes).max(axis=(2, 3))
        assert np.all(change > 1e-3 * planes.max(axis=(2, 3)))


def test_all_eight_are_found_the_identity_first(squared):
    symmetries = symmetries_of(squared.model)
    assert names_of(symmetries) == ALL
    identity = symmetries[0]
    np.testing.assert_array_equal(identity.matrix, np.eye(squared.space.dim))
    assert not identity.offset.any()


def test_vortices_have_an_axis_and_pictures_a_direction(squared):
    periods = dict(zip(squared.names, symmetries_of(squared.model)[0].periods, strict=True))
    finite = {name: period for name, period in periods.items() if np.isfinite(period)}
    assert finite == {
        "galaxies.lens.vortex.position_angle": 180.0,
        "galaxies.source.structure.position_angle": 360.0,
    }


def profiles(module, base):
    classes = [getattr(module, name) for name in sorted(vars(module))]
    return [cls for cls in classes if inspect.isclass(cls) and issubclass(cls, base)]


# Without priors of PyAutoLens's, or many seconds slow, or (a Chameleon) not quite round itself.
LEFT_OUT = {
    "ChameleonSph",
    "GaussianMultipole",
    "GaussianRandomField",
    "InputDeflections",
    "InputPotential",
    "KaplinghatCoredNFWMCRLudlowSph",
    "KaplinghatCoredNFWSph",
    "LightProfile",
    "MassProfile",
    "NFWMCRScatterLudlow",
    "PIEMass",
    "SersicMultipole",
    "YangSIDMMCRLudlowSph",
    "YangSIDMSph",
    "gNFWVirialMassgNFWConcSph",
}
PROFILES = [
    cls
    for cls in (
        *profiles(al.mp, al.mp.MassProfile),
        *(aml.mp.VortexLine, aml.mp.VortexTube, aml.mp.MassSheet),
        *(cls for cls in profiles(al.lp, al.LightProfile) if "Shapelet" not in cls.__name__),
        PixelLight,
    )
    if cls.__name__ not in LEFT_OUT
]
FIXED = {PixelLight: {"values": np.arange(30.0).reshape(5, 6), "pixel_scale": 0.3}}
POINTS = np.random.default_rng(1).uniform(-2.0, 2.0, (12, 2))


def moved(points, symmetry):
    """Points, or vectors, (y, x), shape (n, 2), as the image moves."""
    y, x = points.T
    y = -y if symmetry.flip else y
    for _ in range(symmetry.turns):
        y, x = x, -y
    return np.stack([y, x], axis=-1)


def seen(profile, points):
    grid = al.Grid2DIrregular(points)
    if isinstance(profile, al.mp.MassProfile):
        return profile.deflections_yx_2d_from(grid=grid).array
    return profile.image_2d_from(grid=grid).array


def alone(profile):
    return models.galaxies(galaxy=af.Model(al.Galaxy, redshift=0.5, profile=profile))


def assert_symmetric(model, seed=2):
    space = LatentSpace.from_model(model)
    z = 0.5 * np.random.default_rng(seed).standard_normal((1, space.dim))
    (parameters,) = space.physical_from(z)
    symmetries = symmetries_of(model)
    for symmetry in symmetries:
        before, after = (
            model.instance_from_vector(list(vector), ignore_assertions=True).galaxies.galaxy.profile
            for vector in (parameters, symmetry.parameters_from(parameters))
        )
        if isinstance(after, PixelLight) and symmetry.flip:
            after.values = after.values[::-1]
        expected = seen(before, POINTS)
        expected = moved(expected, symmetry) if expected.ndim == 2 else expected
        found = seen(after, moved(POINTS, symmetry))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    return symmetries


@pytest.mark.parametrize("cls", PROFILES, ids=lambda cls: cls.__name__)
def test_every_profile_moves_with_its_parameters(cls):
    assert len(assert_symmetric(alone(af.Model(cls, **FIXED.get(cls, {}))))) == 8


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_multipoles_of_the_mass_turn_by_their_order(m):
    model = alone(af.Model(al.mp.PowerLawMultipole, m=m, slope=2.1))
    assert len(assert_symmetric(model)) == 8


def light_multipole(**fixed):
    profile = af.Model(al.lp.SersicMultipole, **fixed)
    for name in ("multipole_3_comps", "multipole_4_comps"):
        pair = getattr(profile, name)
        if name not in fixed:
            for i in (0, 1):
                setattr(pair, f"{name}_{i}", af.GaussianPrior(mean=0.0, sigma=0.05))
    return alone(profile)


def test_multipoles_of_the_light_turn_if_they_are_even():
    assert len(assert_symmetric(light_multipole(multipole_3_comps=(0.0, 0.0)))) == 8
    assert names_of(symmetries_of(light_multipole())) == [(False, 0)]


def changed(edit):
    model = models.plain_model()
    edit(model, model.galaxies.lens)
    return model


def add_neighbour(centre):
    def edit(model, lens):
        mass = al.mp.IsothermalSph(centre=centre, einstein_radius=0.2)
        model.extra_galaxies = af.Collection(other=al.Galaxy(redshift=0.5, mass=mass))

    return edit


def fix(**values):
    def edit(model, lens):
        lens.extra = af.Model(aml.mp.VortexLine, half_length=0.5, core_radius=0.1, **values)

    return edit


def shear(**values):
    def edit(model, lens):
        lens.shear = af.Model(al.mp.ExternalShear, **values)

    return edit


def tie(model, lens):
    lens.mass.centre.centre_0 = model.galaxies.source.light.centre.centre_0 + 0.1


def one_for_two(model, lens):
    lens.mass.centre.centre_0 = lens.mass.centre.centre_1


IDENTITY, HALF_TURN = (False, 0), (False, 2)
SINGLED_OUT = {
    "a neighbour at the middle": (add_neighbour((0.0, 0.0)), ALL),
    "a neighbour on the x axis": (add_neighbour((0.0, 1.5)), [IDENTITY, (True, 0)]),
    "a neighbour on the y axis": (add_neighbour((1.5, 0.0)), [IDENTITY, (True, 2)]),
    "a neighbour on the diagonal": (add_neighbour((1.5, 1.5)), [IDENTITY, (True, 1)]),
    "a neighbour somewhere": (add_neighbour((1.5, 0.7)), [IDENTITY]),
    "a direction along x": (
        fix(position_angle=0.0),
        [IDENTITY, HALF_TURN, (True, 0), (True, 2)],
    ),
    "a direction": (fix(position_angle=30.0), [IDENTITY, HALF_TURN]),
    "shear along the axes": (
        shear(gamma_1=0.05, gamma_2=0.0),
        [IDENTITY, HALF_TURN, (True, 0), (True, 2)],
    ),
    "no diagonal shear": (shear(gamma_2=0.0), ALL),
    "diagonal shear": (
        shear(gamma_2=0.05),
        [IDENTITY, HALF_TURN, (True, 1), (True, 3)],
    ),
    "a centre computed from another": (tie, [IDENTITY]),
    "one prior for y and x": (one_for_two, [IDENTITY, HALF_TURN, (True, 1), (True, 3)]),
}


@pytest.mark.parametrize("case", SINGLED_OUT)
def test_what_is_fixed_may_single_out_a_direction(case):
    edit, expected = SINGLED_OUT[case]
    assert names_of(symmetries_of(changed(edit))) == expected


def test_fixed_partners_move_the_free_one():
    """A half turn leaves both components of the shear, one of which is fixed, and all others."""
    model = changed(shear(gamma_2=0.05))
    symmetries = symmetries_of(model)
    vector = np.linspace(0.1, 0.9, model.prior_count)
    half = symmetries[1].parameters_from(vector)
    names = LatentSpace.from_model(model).names
    for name, before, after in zip(names, vector, half, strict=True):
        assert after == (-before if "centre" in name else before), name


def test_maps_of_mass_do_not_turn():
    mask = al.Mask2D.all_false((8, 8), pixel_scales=1.0)
    grid = al.Grid2D.from_mask(mask)
    ones = np.ones(64)
    maps = al.mp.InputDeflections(ones, ones, image_plane_grid=grid, mask=mask)
    model = models.plain_model()
    model.galaxies.lens.extra = maps
    assert names_of(symmetries_of(model)) == [IDENTITY]
