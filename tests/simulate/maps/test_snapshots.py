"""Maps of particles: units, mass, projections, and a halo whose Einstein radius is known."""

import autolens as al
import h5py
import numpy as np
import pytest
from scipy import integrate

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.snapshots import ParticleHalo, maps_from_snapshots

H, REDSHIFT, BOX = 0.6774, 0.5, 75000.0
# File units of proper kpc and of solar masses.
LENGTH, MASS = H * (1.0 + REDSHIFT), H / 1e10
Z_SOURCE = 1.5
CRITICAL = al.cosmo.Planck15().critical_surface_density_between_redshifts_solar_mass_per_kpc2_from(
    redshift_0=REDSHIFT, redshift_1=Z_SOURCE
)
KPC = al.cosmo.Planck15().kpc_per_arcsec_from(redshift=REDSHIFT)
# Of the isothermal sphere [arcsec], and where it ends [kpc].
RADIUS, EDGE = 1.2, 100.0


def directions(n, rng):
    vectors = rng.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def isothermal(n, rng):
    """Positions [kpc] and masses [solar masses]; the radii are evenly spaced, as its mass is."""
    radii = EDGE * (np.arange(n) + 0.5) / n
    # Without an end, the mass inside a projected radius R is pi Sigma_crit t R; that inside of a
    # sphere is 2 / pi of it.
    total = 2.0 * CRITICAL * RADIUS * KPC * EDGE
    return radii[:, None] * directions(n, rng), np.full(n, total / n)


def cloud(n, rng, width=3.0):
    return width * rng.standard_normal((n, 3)) * (1.0, 0.6, 0.3), np.full(n, 1e9)


def save(path, types, centre=(4e4, 3e4, 2e4), table=None, **header):
    """Write {type: (positions [kpc], masses or None)} in the layout of IllustrisTNG."""
    with h5py.File(path, "w") as file:
        attributes = {"Redshift": REDSHIFT, "HubbleParam": H, "BoxSize": BOX} | header
        attributes["MassTable"] = np.zeros(6) if table is None else table
        file.create_group("Header").attrs.update(
            {name: value for name, value in attributes.items() if value is not None}
        )
        for number, (positions, masses) in types.items():
            group = file.create_group(f"PartType{number}")
            group["Coordinates"] = (positions * LENGTH + centre) % BOX
            if masses is not None:
                group["Masses"] = (masses * MASS).astype(np.float32)
    return path


@pytest.fixture(scope="module")
def sphere(tmp_path_factory):
    """Three parts of dark matter to one of stars, read back."""
    positions, masses = isothermal(24000, np.random.default_rng(1))
    stars = np.arange(len(masses)) % 4 == 0
    types = {1: (positions[~stars], masses[~stars]), 4: (positions[stars], masses[stars])}
    return save(tmp_path_factory.mktemp("halo") / "sphere.hdf5", types)


@pytest.fixture(scope="module")
def halo(sphere):
    return ParticleHalo.from_file(sphere, n_neighbours=32)


def test_isothermal_sphere_has_its_einstein_radius(halo):
    assert halo.redshift == REDSHIFT and len(halo.masses) == 24000
    assert halo.masses.sum() == pytest.approx(2.0 * CRITICAL * RADIUS * KPC * EDGE, rel=1e-6)
    maps = halo.convergence((40, 40), 0.1, REDSHIFT, Z_SOURCE)

    def inside(radius):
        """Mean convergence inside of a projected radius [kpc] of the sphere that ends."""
        beyond = integrate.quad(lambda r: 1.0 - np.sqrt(1.0 - (radius / r) ** 2), radius, EDGE)[0]
        return 2.0 * RADIUS * KPC * (radius + beyond) / (np.pi * radius**2)

    expected = RADIUS
    for _ in range(20):
        expected *= inside(expected * KPC)
    assert 0.95 * RADIUS < expected < RADIUS
    assert np.allclose(maps.einstein_radius, expected, rtol=0.03)
    assert np.abs(maps.centre).max() < 0.1
    native = [halo.einstein_radius(axis, CRITICAL) / KPC for axis in range(3)]
    assert np.allclose(native, expected, rtol=0.03)
    # And the profile of an isothermal sphere, a little smoothed in the middle.
    y, x = np.indices((40, 40)) - 19.5
    radius = 0.1 * np.hypot(y, x)
    ring = (radius > 0.6) & (radius < 1.6)
    ratio = maps.values[:, ring] / (0.5 * RADIUS / radius[ring])
    assert ratio.mean() == pytest.approx(0.98, abs=0.03) and ratio.std() < 0.15


def test_mass_is_conserved_along_every_axis():
    rng = np.random.default_rng(2)
    positions, masses = cloud(3000, rng)
    halo = ParticleHalo(positions, masses, rng.uniform(0.01, 3.0, 3000), REDSHIFT)
    for axis in range(3):
        for shape in ((100, 110), (31, 40)):
            pixel = 60.0 / shape[0]
            density = halo.surface_density(axis, shape, pixel)
            assert density.min() >= 0.0
            assert density.sum() * pixel**2 == pytest.approx(3e12, rel=1e-5)


def test_a_particle_is_a_gaussian_at_its_place():
    halo = ParticleHalo(np.array([(1.0, 2.0, 3.0)]), np.array([5e9]), np.array([0.8]), REDSHIFT)
    pixel = 0.25
    for axis, (x, y) in enumerate(((2.0, 3.0), (3.0, 1.0), (1.0, 2.0))):
        density = halo.surface_density(axis, (64, 64), pixel, centre=(-1.5, 0.5))
        # Row 0 is the top.
        rows, columns = (np.arange(64) - 31.5) * -pixel, (np.arange(64) - 31.5) * pixel
        weights = density / density.sum()
        mean_y, mean_x = weights.sum(axis=1) @ rows, weights.sum(axis=0) @ columns
        assert (mean_y, mean_x) == pytest.approx((y - 1.5, x + 0.5), abs=1e-4)
        # The square of a pixel's width adds a twelfth.
        for spread in (
            weights.sum(axis=1) @ (rows - mean_y) ** 2,
            weights.sum(axis=0) @ (columns - mean_x) ** 2,
        ):
            assert spread == pytest.approx(0.64 + pixel**2 / 12.0, rel=1e-3)


def test_projections_are_permutations(halo):
    turned = ParticleHalo(halo.positions[:, [1, 2, 0]], halo.masses, halo.smoothing, halo.redshift)
    first = halo.convergence((20, 24), 0.2, REDSHIFT, Z_SOURCE).values
    second = turned.convergence((20, 24), 0.2, REDSHIFT, Z_SOURCE).values
    assert np.allclose(second, first[[1, 2, 0]], rtol=1e-4)
    assert not np.allclose(first[0], first[1], rtol=1e-2)


def test_smoothing_follows_the_density(tmp_path):
    rng = np.random.default_rng(3)
    # Two slabs side by side, one eight times as dense.
    dense = rng.uniform((0.0, 0.0, 0.0), (20.0, 20.0, 20.0), (8000, 3))
    thin = rng.uniform((20.0, 0.0, 0.0), (40.0, 20.0, 20.0), (1000, 3))
    positions = np.concatenate((dense, thin))
    path = save(tmp_path / "slabs.hdf5", {1: (positions, np.full(9000, 1e8))})
    halo = ParticleHalo.from_file(path, centre=(4e4, 3e4, 2e4), n_neighbours=64)
    assert np.allclose(halo.positions, positions, atol=1e-3)
    for start, density in ((0.0, 1.0), (20.0, 0.125)):
        inner = np.all(np.abs(positions - (start + 10.0, 10.0, 10.0)) < 5.0, axis=1)
        # The cubic spline that ends at the 64th neighbour.
        end = (64.0 / (4.0 / 3.0 * np.pi * density)) ** (1.0 / 3.0)
        r = np.linspace(0.0, 1.0, 20001)
        spline = np.where(r < 0.5, 1.0 - 6.0 * r**2 + 6.0 * r**3, 2.0 * (1.0 - r) ** 3)
        sigma = end * np.sqrt(np.sum(r**4 * spline) / np.sum(r**2 * spline) / 3.0)
        assert np.median(halo.smoothing[inner]) == pytest.approx(sigma, rel=0.05)


def test_types_masses_and_boxes(tmp_path):
    rng = np.random.default_rng(4)
    positions, masses = cloud(600, rng)
    gas, dark, hole = positions[:200], positions[200:599], positions[599:]
    plain = {0: (gas, masses[:200]), 1: (dark, masses[200:599]), 5: (hole, masses[599:])}
    first = ParticleHalo.from_file(save(tmp_path / "a.hdf5", plain))
    assert first.masses.sum() == pytest.approx(6e11, rel=1e-6) and len(first.masses) == 600
    # A lone black hole is as wide as the particles around it.
    assert 0.1 < first.smoothing[-1] < 10.0

    table = np.array([0.0, 1e9 * MASS, 0.0, 0.0, 0.0, 0.0])
    others = {**plain, 1: (dark, None), 3: (gas, None)}
    # Across the corner of the box, with the masses of dark matter in the header and tracers that
    # have none.
    path = save(tmp_path / "b.hdf5", others, centre=(1.0, BOX - 1.0, 0.0), table=table)
    second = ParticleHalo.from_file(path)
    for name in ("positions", "masses", "smoothing"):
        assert np.allclose(getattr(first, name), getattr(second, name), atol=0.02, rtol=1e-3), name

    near = ParticleHalo.from_file(path, max_radius=4.0)
    assert len(near.masses) == np.sum(np.linalg.norm(second.positions, axis=1) <= 4.0)


def test_centre_is_the_densest_place(tmp_path):
    rng = np.random.default_rng(5)
    main, satellite = cloud(6000, rng, width=1.0), cloud(3000, rng, width=1.0)
    types = {4: (np.concatenate((main[0], satellite[0] + (30.0, 0.0, 0.0))), np.full(9000, 1e8))}
    halo = ParticleHalo.from_file(save(tmp_path / "pair.hdf5", types))
    assert np.linalg.norm(np.median(halo.positions[:6000], axis=0)) < 0.2


def test_maps_of_a_population(sphere, halo):
    options = {"n_per_halo": 3, "offset": 0.1, "n_neighbours": 32, "max_radius": EDGE}
    maps = maps_from_snapshots([sphere], (40, 40), 0.1, (0.8, 1.5), seed=3, **options)
    assert maps.values.shape == (9, 40, 40) and maps.values.min() > 0.0
    assert maps.einstein_radius.min() > 0.77 and maps.einstein_radius.max() < 1.53
    assert np.ptp(maps.einstein_radius) > 0.2 and 0.02 < np.abs(maps.centre).max() < 0.2
    again = maps_from_snapshots([sphere], (40, 40), 0.1, (0.8, 1.5), seed=3, **options)
    assert np.array_equal(maps.values, again.values)


def test_light_haloes_are_left_out(sphere, tmp_path):
    light = save(tmp_path / "light.hdf5", {1: cloud(300, np.random.default_rng(6), width=100.0)})
    maps = maps_from_snapshots([light, sphere], (20, 20), 0.2, (1.0, 1.0), n_neighbours=16)
    assert len(maps) == 3
    with pytest.raises(DataError, match="massive enough"):
        maps_from_snapshots([light], (20, 20), 0.2, (1.0, 1.0))
    # Eleven times smaller would show what is beyond the halo.
    with pytest.raises(DataError, match="massive enough"):
        maps_from_snapshots([sphere], (20, 20), 0.02, (0.1, 0.1), n_neighbours=16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HubbleParam": None}, "HubbleParam"),
        ({"HubbleParam": 0.0}, "header of"),
        ({"types": {}}, "holds no particles"),
        ({"types": {1: (np.ones((300, 3)), None)}}, "MassTable"),
        ({"types": {1: (np.ones((300, 3)), np.ones(299))}}, "of shape .300, 3. and Masses"),
        ({"types": {1: (np.ones((300, 3)), np.full(300, np.nan))}}, "not finite"),
        ({"types": {1: (np.ones((20, 3)), np.ones(20))}}, "20 particles"),
    ],
)
def test_files_that_are_no_haloes(tmp_path, change, message):
    types = change.pop("types", {1: cloud(300, np.random.default_rng(7))})
    path = save(tmp_path / "halo.hdf5", types, **change)
    with pytest.raises(DataError, match=message):
        ParticleHalo.from_file(path)


def test_files_that_are_not_there_or_not_hdf5(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        ParticleHalo.from_file(tmp_path / "none.hdf5")
    (tmp_path / "text.hdf5").write_text("halo")
    with pytest.raises(DataError, match="not a snapshot"):
        ParticleHalo.from_file(tmp_path / "text.hdf5")


def test_impossible_options(sphere, halo):
    for options in ({"n_neighbours": 1}, {"n_neighbours": 100}, {"max_radius": 0.0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            ParticleHalo.from_file(sphere, **options)
    with pytest.raises(OptionError, match="behind the lens"):
        halo.convergence((8, 8), 0.1, 1.5, 0.5)
    for shape, radius, options, message in (
        ((20, 30), (0.5, 0.9), {}, "square"),
        ((20, 20), (1.0, 0.5), {}, "einstein_radius"),
        ((20, 20), (0.5, 2.0), {}, "einstein_radius"),
        ((20, 20), (0.5, 0.9), {"offset": -1.0}, "offset"),
        ((20, 20), (0.5, 0.9), {"n_per_halo": 0}, "n_per_halo"),
    ):
        with pytest.raises(OptionError, match=message):
            maps_from_snapshots([sphere], shape, 0.1, radius, **options)
