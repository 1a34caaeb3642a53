"""Training lenses: what is stored, and that seeing them anew is seeing others of their kind."""

import shutil
from types import SimpleNamespace

import autofit as af
import autolens as al
import numpy as np
import pytest
import torch
from scipy import stats

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.population import Population, simulate
from autolens_ml.training.lens_set import (
    LensSet,
    Observer,
    Shares,
    _dimmers_of,
    leading_intensities,
    symmetries_in_training,
    target_columns,
)
from tests.training.small import INSTRUMENT, LENS, SIDE, SOURCE

N = 64
DISK = {
    "class": "al.lp.ExponentialSph",
    "centre": {"same_as": "galaxies.lens.mass.centre"},
    "intensity": {"log_uniform": [0.5, 5.0]},
    "effective_radius": 0.8,
}
PICTURE = {
    "class": "aml.lp.PixelLight",
    "values": {"array": [[0.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]},
    "pixel_scale": 0.2,
    "centre": {"same_as": "galaxies.source.bulge.centre"},
    "position_angle": {"uniform": [0.0, 360.0]},
    "intensity": {"log_uniform": [0.5, 5.0]},
    "scale": 1.0,
}
MASS = "galaxies.lens.mass"


def population_of(lens=None, source=None, **options) -> Population:
    model = {"lens": {**LENS, **(lens or {})}, "source": {**SOURCE, **(source or {})}}
    return population_from(
        {"instrument": INSTRUMENT, "noise_units": True, "model": model, **options}
    )


@pytest.fixture(scope="module")
def population():
    """Two intensities in the plane of the lens, one in that of the source."""
    return population_of({"disk": DISK})


@pytest.fixture(scope="module")
def lenses(population, tmp_path_factory):
    return LensSet.simulated(population, N, 3, tmp_path_factory.mktemp("lenses"))


def every_column(population):
    return list(range(population.space.dim))


def clean_images(batch, lenses, rows):
    """Noise-free images of a batch in noise units, from how its noise grows with light."""
    times = lenses.exposure_times[rows]
    unit = lenses.population.instrument.background_noise_from(times)
    return (batch.noise.double().numpy() ** 2 - 1.0) * (unit * times)[:, None, None]


def simulated_images(lenses, rows, latents):
    """The same by a fresh simulation."""
    population = lenses.population
    kernels = population.instrument.psf_kernels_from(lenses.psf_fwhm[rows])
    return population.forward.planes_from(population.space.physical_from(latents), kernels).sum(1)


def assert_same_images(images, expected):
    """To half precision, in which planes are stored."""
    scale = expected.max(axis=(1, 2), keepdims=True)
    assert np.max(np.abs(images - expected) / scale) < 1e-3
    np.testing.assert_allclose(images, expected, rtol=2e-3, atol=2e-3)


def test_what_is_stored_is_what_is_simulated(population, lenses):
    simulated = simulate(population, N, 3)
    np.testing.assert_array_equal(lenses.latents, simulated.latents.astype(np.float32))
    np.testing.assert_array_equal(lenses.psf_fwhm, simulated.psf_fwhm.astype(np.float32))
    rows = np.arange(N)
    batch = Observer(lenses, [0], augment=False).batch_from(rows, np.random.default_rng(0))
    unit = population.instrument.background_noise_from(simulated.exposure_times)[:, None, None]
    assert_same_images(clean_images(batch, lenses, rows), simulated.images / unit)
    np.testing.assert_allclose(batch.noise, simulated.noise_maps / unit, rtol=1e-3)
    scale = population.instrument.pixel_scale
    np.testing.assert_allclose(batch.psf_width, simulated.psf_fwhm / scale, rtol=1e-6)


def test_intensities_of_any_unit(tmp_path):
    """Planes are in units of the noise also where intensities are in electrons per second."""
    dim = {"log_uniform": [0.02, 0.4]}
    population = population_of(
        {"bulge": {**LENS["bulge"], "intensity": dim}},
        {"bulge": {**SOURCE["bulge"], "intensity": dim}},
        noise_units=False,
    )
    lenses = LensSet.simulated(population, N, 3, tmp_path)
    rows = np.arange(N)
    observer = Observer(lenses, every_column(population))
    batch = observer.batch_from(rows, np.random.default_rng(0))
    times = lenses.exposure_times
    unit = population.instrument.background_noise_from(times)[:, None, None]
    expected = simulated_images(lenses, rows, batch.latents.double().numpy()) / unit
    assert_same_images(clean_images(batch, lenses, rows), expected)


@pytest.mark.parametrize("seed", range(6))
def test_seen_anew_is_simulated_anew(population, lenses, seed):
    """Brightness, flips and turns: images and parameters change together, exactly."""
    rows = np.arange(0, N, 2)
    observer = Observer(lenses, every_column(population))
    batch = observer.batch_from(rows, np.random.default_rng(seed))
    latents = batch.latents.double().numpy()
    assert not np.allclose(latents, lenses.latents[rows])
    images = clean_images(batch, lenses, rows)
    assert_same_images(images, simulated_images(lenses, rows, latents))


def test_all_flips_and_turns_are_seen(population, lenses):
    observer = Observer(lenses, every_column(population))
    rng = np.random.default_rng(0)
    rows = np.array([5])
    centres = {
        tuple(np.round(observer.batch_from(rows, rng).latents[0, :2].numpy(), 4))
        for _ in range(100)
    }
    y, x = lenses.latents[5, :2]
    expected = {(a, b) for p, q in ((y, x), (x, y)) for a in (p, -p) for b in (q, -q)}
    assert centres == {tuple(np.round(np.float32(pair), 4)) for pair in expected}


def test_brightness_keeps_to_its_prior(population):
    """Redrawn intensities are the population's, and independent of all else."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((20_000, population.space.dim))
    redrawn = z.copy()
    for dimmer in _dimmers_of(population):
        dimmer.redraw(redrawn, rng)
    changed = [i for i, name in enumerate(population.names) if name.endswith("intensity")]
    assert np.array_equal(np.flatnonzero((redrawn != z).any(0)), changed) and len(changed) == 3
    for i in changed:
        assert stats.kstest(redrawn[:, i], "norm").pvalue > 1e-3
    correlations = np.corrcoef(redrawn.T) - np.eye(z.shape[1])
    assert np.abs(correlations).max() < 5.0 / np.sqrt(len(z))
    # Within a plane the light keeps its composition.
    before, after = (population.space.physical_from(latents) for latents in (z, redrawn))
    bulge, disk, source = changed
    np.testing.assert_allclose(
        after[:, bulge] / after[:, disk], before[:, bulge] / before[:, disk], rtol=1e-9
    )
    assert abs(np.corrcoef(z[:, source], redrawn[:, source])[0, 1]) < 0.04


def fixed(profile):
    return {**profile, "intensity": 3.0}


def uniform(profile):
    return {**profile, "intensity": {"uniform": [1.0, 3.0]}}


def shared(profile, path):
    return {**profile, "intensity": {"same_as": path}}


@pytest.mark.parametrize(
    ("lens", "source", "n"),
    [
        ({}, {}, 2),
        ({"bulge": uniform(LENS["bulge"])}, {}, 2),
        ({"bulge": fixed(LENS["bulge"])}, {}, 1),
        ({"disk": fixed(DISK)}, {}, 1),
        ({"disk": uniform(DISK)}, {}, 1),
        ({"disk": shared(DISK, "galaxies.lens.bulge.intensity")}, {}, 2),
        ({}, {"bulge": shared(SOURCE["bulge"], "galaxies.lens.bulge.intensity")}, 0),
        # Light that is mass as well bends more when it is brighter.
        ({"disk": {"class": "al.lmp.SersicSph", "centre": [0.0, 0.0]}}, {}, 1),
    ],
)
def test_what_may_be_dimmed(lens, source, n):
    options = {"noise_units": "lmp" not in str(lens)}
    assert len(_dimmers_of(population_of(lens, source, **options))) == n


def test_assertions_are_respected():
    population = population_of({"disk": DISK})
    model = population.model
    lens = model.galaxies.lens
    # The ratio of two intensities is kept; that of one to a number is not.
    model.add_assertion(lens.bulge.intensity > lens.disk.intensity)
    assert len(_dimmers_of(Population(model, INSTRUMENT, noise_units=True))) == 2
    model.add_assertion(model.galaxies.source.bulge.intensity > 10.0)
    assert len(_dimmers_of(Population(model, INSTRUMENT, noise_units=True))) == 1
    asserted = Population(model, INSTRUMENT, noise_units=True)
    assert len(symmetries_in_training(asserted, every_column(asserted))) == 8
    model.add_assertion(lens.mass.centre.centre_0 > 0.0)
    columns = every_column(asserted)
    assert (
        len(symmetries_in_training(Population(model, INSTRUMENT, noise_units=True), columns)) == 2
    )


@pytest.mark.parametrize(
    ("source", "shape", "n"),
    [
        ({}, [SIDE, SIDE], 8),
        ({}, [SIDE, 2 * SIDE], 4),
        ({"bulge": {**SOURCE["bulge"], "centre": {"gaussian": [0.1, 0.2]}}}, [SIDE, SIDE], 2),
    ],
)
def test_symmetries_of_prior_and_image(source, shape, n):
    population = population_of(source=source, instrument={**INSTRUMENT, "shape": shape})
    assert len(symmetries_in_training(population, every_column(population))) == n


def test_pictures_turn_where_their_angle_is_not_asked_for():
    population = population_of(source={"picture": PICTURE})
    columns = target_columns(population.model, [MASS, "galaxies.source.bulge"])
    assert len(symmetries_in_training(population, list(columns.values()))) == 8
    assert len(symmetries_in_training(population, every_column(population))) == 2
    narrow = {**PICTURE, "position_angle": {"uniform": [0.0, 180.0]}}
    population = population_of(source={"picture": narrow})
    assert len(symmetries_in_training(population, list(columns.values()))) == 1


def test_noise(lenses):
    observer = Observer(lenses, [0], augment=False)
    rows = np.arange(N)
    rng = np.random.default_rng(5)
    first, second = observer.batch_from(rows, rng), observer.batch_from(rows, rng)
    assert torch.equal(first.noise, second.noise)
    assert not torch.equal(first.images, second.images)
    again = observer.batch_from(rows, np.random.default_rng(5))
    assert torch.equal(again.images, first.images)
    assert torch.equal(again.mask, first.mask)
    clean = clean_images(first, lenses, rows)
    drawn = (first.images.numpy() - clean) / first.noise.numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert first.noise.min() >= 1.0 and first.noise.max() > 2.0


def test_photon_noise_of_any_gain(lenses):
    """Its variance differs by up to the spread, either way and log-uniformly."""
    rows, spread = np.arange(N), 4.0
    observer = Observer(lenses, [0], Shares(photon_spread=spread), augment=False)
    bright = Observer(lenses, [0], augment=False).batch_from(rows, np.random.default_rng(0)).noise
    noise = observer.batch_from(rows, np.random.default_rng(0)).noise
    ratios = ((noise**2 - 1.0).sum((1, 2)) / (bright**2 - 1.0).sum((1, 2))).log().numpy()
    assert (
        stats.kstest(ratios, stats.uniform(-np.log(spread), 2 * np.log(spread)).cdf).pvalue > 0.01
    )


def test_uneven_depth(lenses):
    rows = np.arange(N)
    observer = Observer(lenses, [0], Shares(uneven_depth=0.5), augment=False)
    even = Observer(lenses, [0], augment=False).batch_from(rows, np.random.default_rng(0)).noise
    batch = observer.batch_from(rows, np.random.default_rng(0))
    factors = (batch.noise / even).numpy()
    uneven = factors.max(axis=(1, 2)) > 1.0 + 1e-6
    assert 0.3 < uneven.mean() < 0.7 and factors.min() > 1.0 - 1e-6 and factors.max() < 4.0 + 1e-5
    # The noise is what its map says.
    drawn = (batch.images.numpy() - clean_images(batch, lenses, rows)) / batch.noise.numpy()
    assert stats.kstest(drawn[~uneven].ravel(), "norm").pvalue > 1e-3


def test_noise_of_resampled_images(lenses):
    rows = np.arange(N)
    observer = Observer(lenses, [0], Shares(resampled=1.0), augment=False)
    rng = np.random.default_rng(0)
    batches = [observer.batch_from(rows, rng) for _ in range(20)]
    clean = clean_images(batches[0], lenses, rows)
    drawn = np.stack([(b.images.numpy() - clean) / b.noise.numpy() for b in batches])
    # With shifts a uniform from 0 to 1/2, the mean of (1 - a)^2 + a^2 is 2/3 along each axis.
    assert np.var(drawn) == pytest.approx(4.0 / 9.0, rel=0.05)
    # And that of a (1 - a), the covariance of neighbours, 1/6.
    for axis in (-2, -1):
        neighbours = np.mean(drawn * np.roll(drawn, 1, axis=axis))
        assert neighbours == pytest.approx(1.0 / 6.0 * 2.0 / 3.0, rel=0.1)
    assert abs(np.mean(drawn * np.roll(drawn, 3, axis=-1))) < 0.01


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_masks(lenses, share):
    observer = Observer(lenses, [0], Shares(masked=share))
    rng = np.random.default_rng(0)
    masks = np.concatenate([observer.batch_from(np.arange(N), rng).mask for _ in range(8)])
    assert set(np.unique(masks)) <= {0.0, 1.0}
    masked = masks.min(axis=(1, 2)) == 0.0
    assert abs(masked.mean() - share) < 0.1 and (share in (0.0, 1.0)) == (masked.std() == 0.0)
    if share == 0.0:
        return
    # Circles about the middle: the corners go first, and most of the rest is seen.
    assert not masks[masked][:, 0, 0].any()
    seen = masks[masked].mean(axis=(1, 2))
    assert seen.min() > 0.2 and seen.max() > 0.9 and seen.std() > 0.1
    y, x = np.indices((SIDE, SIDE)) - 0.5 * (SIDE - 1)
    inside = np.hypot(y, x) < 0.5 * SIDE * 0.6
    holes = 1.0 - masks[masked][:, inside].mean(axis=1)
    assert (holes == 0.0).any() and 0.0 < holes.max() < 0.5


def test_an_interrupted_simulation_goes_on(population, tmp_path, monkeypatch):
    monkeypatch.setattr("autolens_ml.simulate.population.os.cpu_count", lambda: 1)
    n = 600

    class Killed(BaseException):
        pass

    def killed(done, n):
        raise Killed

    said = []
    whole = LensSet.simulated(population, n, 3, tmp_path / "whole", lambda *done: said.append(done))
    assert len(said) > 2 and said[-1] == (n, n)
    with pytest.raises(Killed):
        LensSet.simulated(population, n, 3, tmp_path / "parts", killed)
    # As of a kill between writing and noting it.
    with open(tmp_path / "parts" / "planes.npy", "r+b") as file:
        file.seek(-100, 2)
        file.write(b"\xff" * 100)
    resumed = []
    parts = LensSet.simulated(population, n, 3, tmp_path / "parts", lambda *d: resumed.append(d))
    assert resumed == said[1:]
    for name in ("planes", "latents", "psf_fwhm", "exposure_times"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
        assert not getattr(parts, name).flags.writeable
    again = []
    LensSet.simulated(population, n, 3, tmp_path / "parts", lambda *done: again.append(done))
    assert again == []


def folder_of(lenses, tmp_path):
    """A copy of the set's files."""
    return shutil.copytree(lenses.planes.filename.parent, tmp_path / "copy")


def assert_damaged(match, population, n, seed, folder):
    with pytest.raises(DataError, match=match) as raised:
        LensSet.simulated(population, n, seed, folder)
    assert "\n" not in str(raised.value) and "delete" in str(raised.value)


def test_another_set_is_refused(population, lenses, tmp_path):
    folder = folder_of(lenses, tmp_path)
    assert_damaged(r"holds examples of seed 3, not 4", population, N, 4, folder)
    assert_damaged(r"array of \(64, 2, 16, 16\), not \(32, ", population, N // 2, 3, folder)
    assert_damaged(r"array of \(64, 2, 16, 16\), not \(128, ", population, 2 * N, 3, folder)
    assert_damaged("latents.npy", population_of(), N, 3, folder)


@pytest.mark.parametrize("name", ["planes.npy", "latents.npy", "psf_fwhm.npy", "progress.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "other"])
def test_damaged_sets_are_refused(population, lenses, tmp_path, name, damage):
    folder = folder_of(lenses, tmp_path)
    content = (folder / name).read_bytes()
    damaged = {"cut": content[:-10], "emptied": b"", "other": b"[1, 2]"}[damage]
    (folder / name).write_bytes(damaged)
    assert_damaged(name, population, N, 3, folder)


def test_missing_files_are_refused(population, lenses, tmp_path):
    folder = folder_of(lenses, tmp_path)
    (folder / "psf_fwhm.npy").unlink()
    assert_damaged("psf_fwhm.npy: missing", population, N, 3, folder)


def test_sets_that_do_not_fit_are_not_begun(population, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(OptionError, match=r"set needs 0\.1 GB, and 0\.0 GB are free"):
        LensSet.simulated(population, 50_000, 3, tmp_path)
    assert not list(tmp_path.iterdir())


def test_leading_intensities(population):
    names = {i: population.names[i] for i in leading_intensities(population).values()}
    assert list(leading_intensities(population)) == [0, 1]
    assert [name.split(".")[1:] for name in names.values()] == [
        ["lens", "bulge", "intensity"],
        ["source", "bulge", "intensity"],
    ]


def model_with_shared_centre():
    mass = af.Model(al.mp.Isothermal)
    lens = af.Model(
        al.Galaxy, redshift=0.5, bulge=al.lp.SersicSph, mass=mass, massive=al.mp.MassSheet
    )
    lens.bulge.centre = mass.centre
    return af.Collection(galaxies=af.Collection(lens=lens))


def test_target_columns():
    model = model_with_shared_centre()
    columns = target_columns(model, [MASS])
    assert list(columns) == [
        f"{MASS}.{name}"
        for name in (
            "centre.centre_0",
            "centre.centre_1",
            "ell_comps.ell_comps_0",
            "ell_comps.ell_comps_1",
            "einstein_radius",
        )
    ]
    priors = model.priors_ordered_by_id
    mass = model.galaxies.lens.mass
    assert priors[columns[f"{MASS}.einstein_radius"]] is mass.einstein_radius
    assert priors[columns[f"{MASS}.centre.centre_1"]] is mass.centre.centre_1
    # A shared parameter has the name by which it was asked for first.
    both = target_columns(model, ["galaxies.lens.bulge.centre", MASS])
    assert sorted(both.values()) == list(both.values()) and len(both) == 5
    assert "galaxies.lens.bulge.centre.centre_0" in both
    assert len(target_columns(model, ["galaxies"])) == model.prior_count
    assert list(target_columns(model, [f"{MASS}.einstein_radius"])) == [f"{MASS}.einstein_radius"]


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("galaxies.lens.mas", "did you mean galaxies.lens.mass"),
        ("galaxies.lens.mass.einstein_radii", "did you mean galaxies.lens.mass.einstein_radius"),
        ("xyz", "one of its paths is galaxies.lens"),
    ],
)
def test_unknown_targets(target, match):
    with pytest.raises(OptionError, match=f"target '{target}'.*{match}") as raised:
        target_columns(model_with_shared_centre(), [MASS, target])
    assert "\n" not in str(raised.value)
