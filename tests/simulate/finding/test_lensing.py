"""Lensed sources, against what is known of isothermal lenses, and PyAutoLens's own tracer."""

import autolens as al
import numpy as np
import pytest

import autolens_ml as aml
from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.finding import compound, lensing
from autolens_ml.simulate.finding.galaxies import Sources, draw_deflectors, draw_sources
from autolens_ml.simulate.finding.lensing import LensDefinition, arcs_from, planes_from
from autolens_ml.simulate.finding.light import PIXEL_SCALE

N = 8
RADIUS = np.full(N, 1.2)


def rng():
    return np.random.default_rng(2)


def sources(radius):
    drawn = draw_sources(np.full(N, 1.5), rng())
    return Sources(drawn.redshift, drawn.magnitude, np.full(N, radius), drawn.flux)


def arcs(einstein_radius, offsets, radius=0.15):
    """Spherical lenses without shear, sources on the +x side."""
    own = sources(radius)
    centres = np.stack([np.zeros(N), np.asarray(offsets) * np.ones(N)], axis=1)
    light, stamps = lensing.source_parameters(centres, own.radius, rng())
    values = {f"galaxies.source.{name}": column for name, column in light.items()}
    values["galaxies.lens.mass.einstein_radius"] = np.asarray(einstein_radius) * np.ones(N)
    return arcs_from(planes_from(lensing._single(), values, stamps[:, None])[:, -1], own)


def test_what_is_not_lensed_has_a_flux_of_one():
    unlensed = arcs(1e-6, 0.0, radius=0.4)
    # Light of cusps beyond the window is lost, and between sub-pixels some is not seen.
    assert unlensed.magnification == pytest.approx(np.ones(N), abs=0.04)


def test_magnification_of_an_isothermal_sphere():
    offsets = np.linspace(0.35, 0.9, N)
    lensed = arcs(1.2, offsets * 1.2, radius=0.1)
    # Two images of a point: 2 theta_E / beta in total.
    assert lensed.magnification == pytest.approx(2.0 / offsets, rel=0.12)


def test_images_beyond_the_einstein_radius_are_single():
    lensed = arcs(1.2, 1.2 * 2.4, radius=0.1)
    assert lensed.magnification == pytest.approx(np.full(N, 1.0 + 1.0 / 2.4), rel=0.1)


def test_bright_pixels_are_those_above_the_noise_of_vis():
    lensed = arcs(1.2, 0.3)
    brighter = arcs_from(lensed.images / PIXEL_SCALE**2, sources(0.15))
    assert np.array_equal(lensed.n_pixels, brighter.n_pixels)
    own = sources(0.15)
    fainter = Sources(own.redshift, own.magnitude, own.radius, own.flux / 50.0)
    few = arcs_from(lensed.images / PIXEL_SCALE**2, fainter).n_pixels
    assert np.all(few <= lensed.n_pixels) and few.sum() < 0.5 * lensed.n_pixels.sum()
    # No PSF spreads all of the light so thinly that none is above the noise.
    assert np.all(lensed.n_pixels[own.flux[:, 0] > 500.0] > 50)


def test_draws_are_as_far_from_the_lens_as_asked_for():
    deflectors = draw_deflectors(16, rng())
    close = lensing.draw_arcs(deflectors, (0.0, 0.5), rng())
    far = lensing.draw_arcs(deflectors, (2.0, 3.0), rng())
    assert np.median(close.magnification) > 3.0 > 1.6 > np.median(far.magnification)
    assert np.array_equal(close.sources.redshift, deflectors.source_redshift)
    assert np.array_equal(close.flux(3), close.sources.flux[3])


def test_the_definition_of_a_lens():
    definition = LensDefinition()
    accepted = definition.accepts([1.6, 1.7, 5.0, 5.0], [100, 21, 20, 100], [1, 1, 1, 0])
    assert accepted.tolist() == [False, True, False, False]
    assert LensDefinition(magnification=4.0).accepts([3.0, 5.0], [50, 50]).tolist() == [False, True]


@pytest.fixture(scope="module")
def three_planes():
    """One compound lens, by the compiled model and by PyAutoLens."""
    generator = rng()
    middle_redshift = compound._MIDDLES[1]
    centres = {"middle": np.array([[0.1, -0.05]]), "far": np.array([[-0.15, 0.1]])}
    radii = {"near": 1.4, "middle": 0.35}
    values = {
        "galaxies.near.mass.einstein_radius": np.array([radii["near"]]),
        "galaxies.middle.mass.einstein_radius": np.array([radii["middle"]]),
        "galaxies.near.mass.ell_comps.ell_comps_0": np.array([0.15]),
        "galaxies.middle.mass.centre.centre_0": centres["middle"][:, 0],
        "galaxies.middle.mass.centre.centre_1": centres["middle"][:, 1],
        "galaxies.near.shear.gamma_1": np.array([0.03]),
    }
    galaxies, stamps = [], []
    for name, redshift in (("middle", middle_redshift), ("far", compound._FAR)):
        light, stamp = lensing.source_parameters(centres[name], np.array([0.2]), generator)
        values |= {f"galaxies.{name}.{path}": column for path, column in light.items()}
        stamps.append(stamp[0])
        one = {path: float(column[0]) for path, column in light.items()}
        profiles = {
            "bulge": al.lp.Sersic(
                centre=tuple(centres[name][0]),
                ell_comps=(one["bulge.ell_comps.ell_comps_0"], one["bulge.ell_comps.ell_comps_1"]),
                intensity=one["bulge.intensity"],
                effective_radius=one["bulge.effective_radius"],
                sersic_index=one["bulge.sersic_index"],
            ),
            "structure": aml.lp.PixelLight(
                stamp[0],
                lensing._STAMP_SCALE,
                centre=tuple(centres[name][0]),
                position_angle=one["structure.position_angle"],
                intensity=one["structure.intensity"],
                scale=one["structure.scale"],
            ),
        }
        if name == "middle":
            profiles["mass"] = al.mp.Isothermal(
                centre=tuple(centres[name][0]), einstein_radius=radii["middle"]
            )
        galaxies.append(al.Galaxy(redshift=redshift, **profiles))
    near = al.Galaxy(
        redshift=compound._NEAR,
        mass=al.mp.Isothermal(ell_comps=(0.15, 0.0), einstein_radius=radii["near"]),
        shear=al.mp.ExternalShear(gamma_1=0.03),
    )
    planes = planes_from(compound._forward(middle_redshift), values, np.stack(stamps)[None])
    return planes[0], al.Tracer(galaxies=[near, *galaxies])


def test_compound_lenses_are_those_of_a_tracer_of_three_planes(three_planes):
    planes, tracer = three_planes
    grid = al.Grid2D.uniform((lensing.WINDOW,) * 2, pixel_scales=PIXEL_SCALE, over_sample_size=2)
    expected = tracer.image_2d_list_from(grid=grid)
    assert planes.shape == (3, lensing.WINDOW, lensing.WINDOW)
    for i in (1, 2):
        image = expected[i].native.array
        assert np.allclose(planes[i], image, rtol=1e-3, atol=1e-4 * image.max())


def test_the_middle_galaxy_is_lensed_as_well(three_planes):
    planes, _ = three_planes
    flux = planes.sum(axis=(1, 2)) * PIXEL_SCALE**2
    assert flux[0] == 0.0 and flux[1] > 3.0 and flux[2] > 3.0


def test_the_configuration_is_the_nearest_in_the_share_of_the_first_deflection():
    near = np.full(3, compound._NEAR)
    chosen = compound._nearest_configuration(
        near, np.array(compound._MIDDLES), np.full(3, compound._FAR)
    )
    assert chosen.tolist() == [0, 1, 2]
    # A source right behind the nearest galaxy sees hardly anything of its deflection.
    assert compound._seen_share(0.5, 0.51, 3.5) < 0.05
    assert compound._seen_share(0.5, 3.5, 3.5) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [compound.ARCS, compound.RING])
def test_draws_of_compound_lenses(kind, monkeypatch):
    monkeypatch.setattr(compound, "_MIDDLES", compound._MIDDLES[1:2])
    near, far, middle = compound.draw_compound(kind, 16, rng())
    assert np.all(far.sources.redshift > 3.0)
    assert np.all(middle.sources.redshift < 3.0)
    assert np.all(middle.sources.redshift > near.redshift)
    assert np.array_equal(near.source_redshift, far.sources.redshift)
    # Rings are better aligned than arcs.
    limits = {compound.RING: 4.0, compound.ARCS: 2.0}
    assert np.median(far.magnification) > limits[kind]


def test_a_definition_that_nothing_satisfies_is_refused(monkeypatch):
    from autolens_ml.simulate.finding import systems

    monkeypatch.setattr(systems, "_MAX_TRIES", 1)
    population = systems.FindingPopulation({"lens": 1.0}, definition=LensDefinition(1e6))
    with pytest.raises(OptionError, match="no draw of lens"):
        next(population.batches(1, 0))
