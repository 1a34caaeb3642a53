"""The number, the lattice and the projection of the vortices of a rotating halo."""

import astropy.units as u
import autofit as af
import autolens as al
import numpy as np
import pytest
from autogalaxy import exc

import autolens_ml as aml
from autolens_ml.profiles.mass.lattice import triangular_lattice, vortex_number

# 220 km/s is break-up at the edge of this halo of 100 kpc, by M = v^2 R / G.
HALO = 220.0**2 * 100.0 / 4.30091e-6


@pytest.mark.parametrize(
    ("particle_mass", "expected"), [(1e-24, 11.5), (1e-23, 115.0), (1e-22, 1148.0)]
)
def test_number_is_that_of_feynman(particle_mass, expected):
    assert vortex_number(HALO, 100.0, particle_mass, 1.0) == pytest.approx(expected, rel=3e-3)
    half = vortex_number(HALO * u.Msun, 0.1 * u.Mpc, particle_mass * u.eV, 0.5)
    assert half == pytest.approx(0.5 * expected, rel=3e-3)


@pytest.mark.parametrize("number", [1, 2, 7, 19, 100, 400])
def test_lattice_is_triangular_and_of_the_right_density(number):
    sites = triangular_lattice(number, 3.0)
    assert sites.shape == (number, 2) and np.allclose(sites[0], 0.0)
    assert np.max(np.hypot(*sites.T), initial=0.0) < 3.0 * (1.0 + 1.5 / np.sqrt(number))
    if number >= 7:
        spacing = 3.0 * np.sqrt(2.0 * np.pi / (np.sqrt(3.0) * number))
        assert np.allclose(np.hypot(*sites[1:7].T), spacing)


def test_lattice_adds_up_to_the_mass_in_vortices():
    lattice = aml.vortex_lattice(HALO, 100.0, 1e-24, 0.5, 1.0, mass_fraction=0.02)
    assert list(lattice) == [f"vortex_{k}" for k in range(11)]
    total = aml.mp.VortexLine.from_physical(0.02 * HALO, 1.0, 1.0, 0.5, 1.0).einstein_radius ** 2
    assert sum(v.einstein_radius**2 for v in lattice.values()) == pytest.approx(total)
    # The core is a quarter of the spacing scale at most, the length the diameter of the halo.
    vortex = lattice["vortex_3"]
    assert vortex.half_length == pytest.approx(100.0 / 6.288, rel=1e-3)
    assert vortex.core_radius == pytest.approx(25.0 / np.sqrt(11) / 6.288, rel=1e-3)
    deficit = aml.vortex_lattice(HALO, 100.0, 1e-24, 0.5, 1.0, mass_fraction=-0.02)
    assert deficit["vortex_0"].einstein_radius == pytest.approx(-vortex.einstein_radius)

    galaxy = al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=1.2), **lattice)
    assert len(galaxy.cls_list_from(aml.mp.VortexLine)) == 11
    far = al.Grid2DIrregular([(0.0, 1e5)])
    alone = al.Galaxy(redshift=0.5, **lattice).deflections_yx_2d_from(far).array
    assert alone[0, 1] == pytest.approx(total / 1e5, rel=1e-4)


def test_projection_of_the_lattice():
    def centres(**geometry):
        lattice = aml.vortex_lattice(HALO, 100.0, 1e-24, 0.5, 1.0, **geometry)
        return np.array([v.centre for v in lattice.values()]), lattice["vortex_0"]

    end_on, vortex = centres(inclination=0.0)
    assert vortex.half_length == pytest.approx(0.0, abs=1e-12)
    assert np.std(end_on[:, 0]) > 1.0 and np.std(end_on[:, 1]) > 1.0
    # In the plane of the sky and along x, the strings differ only in y; turned by 90, only in x.
    side, _ = centres(inclination=90.0, centre=(1.0, 2.0))
    assert np.allclose(side[:, 1], 2.0) and np.std(side[:, 0]) > 1.0
    turned, vortex = centres(inclination=90.0, position_angle=90.0)
    assert np.allclose(turned[:, 0], 0.0, atol=1e-12) and vortex.position_angle == 90.0
    # Foreshortening of one axis of the lattice by cos(60) and of the strings by sin(60).
    tilted, vortex = centres(inclination=60.0)
    assert np.allclose(tilted[:, 1], 0.5 * end_on[:, 1])
    assert np.allclose(tilted[:, 0], end_on[:, 0])
    assert vortex.half_length == pytest.approx(np.sin(np.pi / 3) * 100.0 / 6.288, rel=1e-3)


def test_a_model_of_the_lattice_shares_three_priors(tmp_path):
    shared = aml.vortex_lattice(HALO, 100.0, 1e-24, 0.5, 1.0, as_model=True)
    model = af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph, **shared)
    assert model.prior_count == 3 + 3
    lattice = aml.vortex_lattice(HALO, 100.0, 1e-24, 0.5, 1.0)
    galaxy = model.instance_from_prior_medians()
    for name, vortex in lattice.items():
        fitted = getattr(galaxy, name)
        assert fitted.centre == pytest.approx(vortex.centre)
        assert fitted.einstein_radius == pytest.approx(vortex.einstein_radius)
    path = tmp_path / "model.json"
    al.output_to_json(model, path)
    assert af.AbstractPriorModel.from_json(str(path)).prior_count == model.prior_count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"particle_mass_ev": 1e-26}, "would hold 0.11"),
        ({"particle_mass_ev": 1e-21}, "max_vortices"),
        ({"particle_mass_ev": 0.0}, "above 0"),
        ({"rotation": 0.0}, "rotation"),
        ({"rotation": 1.5}, "rotation"),
        ({"halo_mass": 0.0}, "above 0"),
        ({"halo_radius_kpc": -1.0}, "halo_radius_kpc"),
        ({"redshift_source": 0.3}, "redshift_lens < redshift_source"),
        ({"mass_fraction": -0.1, "as_model": True}, "positive"),
        ({"inclination": 0.0, "as_model": True}, "positive"),
        ({"inclination": 180.0, "as_model": True}, "positive"),
    ],
)
def test_what_makes_no_lattice_is_refused(change, message):
    arguments = {
        "halo_mass": HALO,
        "halo_radius_kpc": 100.0,
        "particle_mass_ev": 1e-24,
        "redshift_lens": 0.5,
        "redshift_source": 1.0,
    }
    with pytest.raises(exc.ModelParameterException, match=message):
        aml.vortex_lattice(**{**arguments, **change})
