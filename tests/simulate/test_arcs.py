"""Arcs as Hezaveh et al. 2017 simulate them: PyAutoLens's light, caustics and what is selected."""

import autolens as al
import numpy as np
import pytest
from scipy import stats

from autolens_ml.exceptions import OptionError
from autolens_ml.latent import LatentSpace
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate import arcs as module
from autolens_ml.simulate.arcs import ArcPopulation, Arcs, caustics_of, lens_lights
from autolens_ml.simulate.ensai_conventions import (
    ISOTHERMAL_PARAMETERS,
    ensai_from_isothermal,
    isothermal_from_ensai,
)
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.simulate.sources import clumpy

SIZE, PIXEL_SCALE = 48, 0.16
# Ensai's parameters: Einstein radius, e_x, e_y, x, y.
ENSAI = np.array(
    [
        [1.3, 0.3, -0.2, 0.01, 0.03],
        [2.0, 0.0, 0.5, 0.0, 0.0],
        [0.5, -0.6, 0.6, 0.02, -0.04],
        [1.0, 0.05, 0.0, -0.05, 0.05],
    ]
)


@pytest.fixture(scope="module")
def galaxies():
    return clumpy(4, size=32, seed=2)


@pytest.fixture(scope="module")
def population(galaxies):
    """Ensai's frame with pixels four times as large."""
    return ArcPopulation(galaxies, SIZE, PIXEL_SCALE)


@pytest.fixture(scope="module")
def arcs(population):
    """Two chunks and a part of a third."""
    return joined(population.batches(150, 3))


def joined(batches) -> Arcs:
    parts = list(batches)
    names = ("images", "parameters", "magnification")
    return Arcs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def drawn_and_kept(population, monkeypatch, seed):
    """What one chunk is made of: arcs, with the sources (n, 4) and stamps (n,) behind them."""
    drawn = []

    def spy(n, rng):
        drawn.append(ArcPopulation._drawn(population, n, rng))
        return drawn[-1]

    monkeypatch.setattr(population, "_drawn", spy)
    (arcs,) = population.batches(CHUNK, seed)
    lenses, sources, stamps = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    rows = [np.flatnonzero((lenses == one).all(axis=1)).item() for one in arcs.parameters]
    return arcs, sources[rows], stamps[rows]


def tracer_of(population, parameters, source, stamp) -> al.Tracer:
    y, x, ell_y, ell_x, radius = parameters
    mass = al.mp.Isothermal(centre=(y, x), ell_comps=(ell_y, ell_x), einstein_radius=radius)
    light = PixelLight(
        values=population.galaxies[stamp],
        pixel_scale=1.0,
        centre=tuple(source[:2]),
        position_angle=source[2],
        scale=source[3],
    )
    return al.Tracer(
        galaxies=[al.Galaxy(redshift=0.5, mass=mass), al.Galaxy(redshift=2.0, bulge=light)]
    )


def test_arcs_are_those_of_pyautolens(population, monkeypatch):
    """And so is the light that decides, on pixels three times as large and 1.6 times the frame."""
    arcs, sources, stamps = drawn_and_kept(population, monkeypatch, 5)
    assert set(stamps) == {0, 1, 2, 3}
    fine = al.Grid2D.uniform((SIZE, SIZE), PIXEL_SCALE, over_sample_size=2)
    coarse = 3.0 * PIXEL_SCALE
    wide = al.Grid2D.uniform((26, 26), coarse, over_sample_size=2)
    frame = (slice(5, 21), slice(5, 21))
    for i in range(0, CHUNK, 3):
        tracer = tracer_of(population, arcs.parameters[i], sources[i], stamps[i])
        image = tracer.image_2d_from(fine).native.array
        np.testing.assert_allclose(arcs.images[i], image / image.max(), atol=1e-9)
        light = tracer.image_2d_from(wide).native.array
        unlensed = population.galaxies[stamps[i]].sum() * sources[i, 3] ** 2
        assert arcs.magnification[i] == pytest.approx(light.sum() * coarse**2 / unlensed, rel=1e-6)
        assert light[frame].sum() >= 0.99 * light.sum()
    assert arcs.magnification.min() >= 2.0


def test_sources_have_ensais_sizes(population):
    _, sources, stamps = population._drawn(2000, np.random.default_rng(1))
    radii = population.galaxies.half_light_radius[stamps] * sources[:, 3]
    # A galaxy that fades out at 0.6" times 0.2 to 1; a stamp is ten half-light radii wide.
    scales = radii / (0.6 / 2.5) * (3.2 / population.galaxies.half_light_radius[stamps])
    assert stats.kstest(scales, stats.uniform(0.2, 0.8).cdf).pvalue > 1e-3
    assert stats.kstest(sources[:, 2], stats.uniform(0.0, 360.0).cdf).pvalue > 1e-3
    assert 0.04 < radii.min() < radii.max() < 0.27


def test_brightest_pixel_is_one_and_none_is_below_zero(arcs):
    np.testing.assert_array_equal(arcs.images.max(axis=(1, 2)), 1.0)
    assert arcs.images.min() == 0.0
    assert len(arcs) == 150 and arcs.images.shape == (150, SIZE, SIZE)


def test_parameters_have_ensais_ranges(population, arcs):
    radius, e_x, e_y, x, y = ensai_from_isothermal(arcs.parameters).T
    assert 0.1 <= radius.min() < radius.max() <= 3.0
    assert np.hypot(e_x, e_y).max() <= 0.9
    assert np.abs([x, y]).max() <= 0.05
    # Before the selection.
    lenses, _, stamps = population._drawn(2000, np.random.default_rng(0))
    radius, e_x, e_y, x, y = ensai_from_isothermal(lenses).T
    uniform = {
        (0.1, 2.9): radius,
        (0.0, 0.9): np.hypot(e_x, e_y),
        # The sign of the ellipticity is lost.
        (-0.5 * np.pi, np.pi): np.arctan2(e_y, e_x),
        (-0.05, 0.1): np.concatenate((x, y)),
    }
    for bounds, values in uniform.items():
        assert stats.kstest(values, stats.uniform(*bounds).cdf).pvalue > 1e-3
    assert stats.chisquare(np.bincount(stamps)).pvalue > 1e-3


def test_an_arc_depends_on_the_seed_and_its_number_alone(population, arcs):
    (first,) = population.batches(CHUNK, 3)
    np.testing.assert_array_equal(first.images, arcs.images[:CHUNK])
    rest = joined(population.batches(150, 3, start=CHUNK))
    for name in ("images", "parameters", "magnification"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(arcs, name)[CHUNK:])
    assert not list(population.batches(150, 3, start=3 * CHUNK))
    (other,) = population.batches(CHUNK, 4)
    assert not np.intersect1d(other.parameters, arcs.parameters).size
    assert not np.intersect1d(first.parameters, arcs.parameters[CHUNK:]).size


@pytest.mark.parametrize("size", [0, 2, 64, -3])
def test_sizes_that_no_coarser_frame_fits(galaxies, size):
    with pytest.raises(OptionError, match=rf"3, 6, 9, ... pixels a side, not {size}"):
        ArcPopulation(galaxies, size)


def test_a_frame_that_holds_no_arcs(galaxies, monkeypatch):
    monkeypatch.setattr(module, "_MAX_TRIES", 2)
    with pytest.raises(OptionError, match=r'only 0 of 128 lenses .* frame of 0.03": make it larg'):
        next(ArcPopulation(galaxies, 3, 0.01).batches(4, 1))


def test_priors_hold_the_population():
    """All lenses of the population, moved by 6 pixels of 0.04", are well inside the priors."""
    space = LatentSpace.from_model(ArcPopulation.model())
    assert tuple(name.split(".")[-1] for name in space.names) == ISOTHERMAL_PARAMETERS
    turns = np.linspace(0.0, 2.0 * np.pi, 24)
    ensai = np.array(
        [
            (radius, e * np.cos(turn), e * np.sin(turn), x, -x)
            for radius in (0.1, 3.0)
            for e in (0.0, 0.9)
            for turn in turns
            for x in (-0.29, 0.29)
        ]
    )
    latents = space.latent_from(isothermal_from_ensai(ensai))
    assert np.abs(latents).max() < 3.5


# Caustics and sources.


def kormann(ensai: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangential caustic and cut of equations 22 to 30 of Kormann et al. 1994, from Ensai's lens.

    At the polar angles of positions (y, x) on the sky, about the lens; both (n, 2) in (y, x).
    """
    radius, e_x, e_y, x, y = ensai
    f = 1.0 - np.hypot(e_x, e_y)
    f_prime = np.sqrt(1.0 - f**2)
    minor = np.array([e_y, e_x]) / np.hypot(e_x, e_y)
    major = np.array([e_x, -e_y]) / np.hypot(e_x, e_y)
    phi = np.arctan2(position @ major, position @ minor)
    cosine, sine = np.cos(phi), np.sin(phi)
    delta = np.hypot(cosine, f * sine)
    deflection = (np.arcsinh(f_prime / f * cosine) / f_prime, np.arcsin(f_prime * sine) / f_prime)
    scale, centre = radius * np.sqrt(f), np.array([y, x])
    first = [scale * (c / delta - d) for c, d in zip((cosine, sine), deflection, strict=True)]
    second = [-scale * d for d in deflection]
    return tuple(centre + a[:, None] * minor + b[:, None] * major for a, b in (first, second))


@pytest.mark.parametrize("ensai", ENSAI)
def test_caustics_are_those_of_kormann(ensai):
    (lens,) = isothermal_from_ensai(ensai[None])
    (caustic,), (cut,) = caustics_of(lens[None])
    t = np.linspace(0.0, 2.0 * np.pi, len(caustic), endpoint=False)
    major = 0.5 * np.arctan2(lens[2], lens[3])
    q = 1.0 - np.hypot(ensai[1], ensai[2])
    along, across = np.cos(t), q * np.sin(t)
    position = np.stack(
        (
            along * np.sin(major) + across * np.cos(major),
            along * np.cos(major) - across * np.sin(major),
        ),
        axis=1,
    )
    expected, _ = kormann(ensai, position)
    np.testing.assert_allclose(caustic, expected, atol=1e-9)
    _, expected = kormann(ensai, np.stack((np.sin(t), np.cos(t)), axis=1))
    # The cut is a limit.
    np.testing.assert_allclose(cut, expected, atol=2e-4 * lens[4])


@pytest.mark.parametrize("ensai", ENSAI[:2])
def test_caustics_are_those_of_pyautolens(ensai):
    (lens,) = isothermal_from_ensai(ensai[None])
    mass = al.mp.Isothermal(
        centre=tuple(lens[:2]), ell_comps=tuple(lens[2:4]), einstein_radius=lens[4]
    )
    grid = al.Grid2D.uniform((120, 120), 0.05)
    (expected,) = al.LensCalc.from_mass_obj(mass).tangential_caustic_list_from(grid=grid)
    (caustic,), _ = caustics_of(lens[None])
    start, step = caustic, np.roll(caustic, -1, axis=0) - caustic
    offset = np.asarray(expected)[:, None] - start
    share = np.clip(np.sum(offset * step, axis=-1) / np.sum(step**2, axis=-1), 0.0, 1.0)
    distance = np.linalg.norm(offset - share[..., None] * step, axis=-1).min(axis=1)
    assert distance.max() < 0.01 < 0.1 < np.ptp(caustic)


def test_a_round_lens_has_a_point_and_a_circle():
    (caustic,), (cut,) = caustics_of(np.array([[0.1, -0.2, 0.0, 0.0, 1.2]]))
    assert np.abs(caustic - [0.1, -0.2]).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(cut - [0.1, -0.2], axis=1), 1.2, rtol=1e-3)


def reach(curve: np.ndarray, angle: float) -> float:
    """How far a curve about zero, (n, 2), is in a direction."""
    angles = np.arctan2(curve[:, 0], curve[:, 1])
    return float(np.interp(angle, angles, np.linalg.norm(curve, axis=1), period=2.0 * np.pi))


def test_every_source_is_in_its_place():
    n, seed = 400, 8
    rng = np.random.default_rng(seed)
    e, turn = rng.uniform(0.0, 0.9, n), rng.uniform(0.0, 2.0 * np.pi, n)
    radius = rng.uniform(0.1, 3.0, n)
    centre = rng.uniform(-0.05, 0.05, (2, n))
    ensai = np.stack((radius, e * np.cos(turn), e * np.sin(turn), *centre), axis=1)
    lenses = isothermal_from_ensai(ensai)
    offsets = module._source_centres(lenses, np.random.default_rng(seed)) - lenses[:, :2]
    in_caustic = np.random.default_rng(seed).random(n) < 0.5
    directions = np.linspace(0.0, 2.0 * np.pi, 2000, endpoint=False)
    directions = np.stack((np.sin(directions), np.cos(directions)), axis=1)
    shares = []
    for lens, offset, inside in zip(ensai, offsets, in_caustic, strict=True):
        caustic, cut = (curve - lens[[4, 3]] for curve in kormann(lens, directions))
        angle, distance = np.arctan2(*offset), np.linalg.norm(offset)
        limit = reach(caustic, angle) + 0.15 if inside else 0.7 * reach(cut, angle)
        shares.append(distance / limit)
    assert max(shares) < 1.02
    # They fill it.
    for chosen in (in_caustic, ~in_caustic):
        assert max(np.array(shares)[chosen]) > 0.95


def test_sources_behind_round_lenses():
    """Half of them fill a disc of 0.15"; a Gaussian within 0.7 Einstein radii has the others."""
    n, radius = 3000, 2.0
    lenses = np.tile([0.02, -0.03, 0.0, 0.0, radius], (n, 1))
    offsets = module._source_centres(lenses, np.random.default_rng(4)) - lenses[:, :2]
    in_caustic = np.random.default_rng(4).random(n) < 0.5
    distance, angle = np.linalg.norm(offsets, axis=1), np.arctan2(*offsets.T)
    assert stats.kstest(angle, stats.uniform(-np.pi, 2.0 * np.pi).cdf).pvalue > 1e-3
    disc = (distance[in_caustic] / 0.15) ** 2
    assert stats.kstest(disc, "uniform").pvalue > 1e-3
    # A fifth of the whole width of the cut.
    rayleigh = stats.rayleigh(scale=0.4 * radius)
    rank = rayleigh.cdf(distance[~in_caustic]) / rayleigh.cdf(0.7 * radius)
    assert stats.kstest(rank, "uniform").pvalue > 1e-3


# Light of lenses.


def test_lens_lights():
    lights = lens_lights(6, 33, 0.1, seed=1)
    assert lights.shape == (6, 33, 33) and lights.dtype == np.float32
    np.testing.assert_array_equal(lights.max(axis=(1, 2)), 1.0)
    np.testing.assert_array_equal(lights[:, 16, 16], 1.0)
    # Ellipses look the same when they are turned upside down and left to right.
    np.testing.assert_allclose(lights, lights[:, ::-1, ::-1], rtol=1e-5)
    assert np.all(lights[:, [0, -1]] < 0.3) and np.all(lights > 0.0)
    np.testing.assert_array_equal(lens_lights(6, 33, 0.1, seed=1), lights)
    np.testing.assert_array_equal(lens_lights(2, 33, 0.1, seed=1), lights[:2])
    assert not np.allclose(lens_lights(6, 33, 0.1, seed=2), lights, atol=0.05)
    assert not np.allclose(lights[0], lights[1], atol=0.05)
