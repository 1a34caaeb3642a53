"""Lenses that a decoder makes: Einstein radius, lensing, gradients, models."""

import autofit as af  # first: it switches 64-bit JAX on
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autogalaxy import exc
from autonerves import conf

from autolens_ml.exceptions import NetworkError
from autolens_ml.profiles.mass import NeuralConvergence, PixelConvergence
from tests.profiles.decoders import LIGHT, MASS, autoencoder, stored

LATENTS = (0.4, -1.1, 0.7)
GEOMETRY = {"centre": (0.13, -0.21), "position_angle": 34.0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return str(stored(tmp_path_factory.mktemp("network"), quantity=MASS).path)


def irregular(number=200, half_width=3.5, seed=5):
    """Inside of the map and outside of it, whose half side is 2.5 Einstein radii."""
    yx = np.random.default_rng(seed).uniform(-half_width, half_width, (number, 2))
    return al.Grid2DIrregular(yx)


def test_it_is_the_decoded_map_moved_turned_and_scaled(network):
    profile = NeuralConvergence(network, einstein_radius=1.2, latents=LATENTS, **GEOMETRY)
    values = profile.decoder.map_from(LATENTS)
    side = 1.2 * 2.0 / 0.4
    expected = PixelConvergence(values, pixel_scale=side / 16.0, **GEOMETRY)
    grid = irregular()
    for name in ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from"):
        found = np.asarray(getattr(profile, name)(grid))
        assert np.allclose(found, np.asarray(getattr(expected, name)(grid)), rtol=1e-9, atol=1e-12)
        in_jax = np.asarray(getattr(profile, name)(grid, xp=jnp))
        assert np.allclose(in_jax, found, rtol=1e-9, atol=1e-9) and found.any()
    radii = np.array([0.3, 1.0, 2.0])
    assert np.allclose(profile.convergence_func(radii), expected.convergence_func(radii))


@pytest.mark.parametrize("einstein_radius", [0.5, 1.3])
def test_the_mean_convergence_is_one_in_the_einstein_radius(network, einstein_radius):
    profile = NeuralConvergence(network, (0.3, 0.1), 20.0, einstein_radius, LATENTS)
    mass = profile.mass_angular_within_circle_from(einstein_radius)
    assert mass == pytest.approx(np.pi * einstein_radius**2, rel=2e-3)
    # The largest such circle, as random maps have several.
    found = profile.average_convergence_of_1_radius
    assert found == profile.pixels().average_convergence_of_1_radius
    assert found > 0.99 * einstein_radius


def test_convergence_does_not_change_with_the_einstein_radius(network):
    grid = irregular()
    doubled = al.Grid2DIrregular(2.0 * grid.array)
    one, two = (NeuralConvergence(network, einstein_radius=r, latents=LATENTS) for r in (1.0, 2.0))
    same = two.convergence_2d_from(doubled).array
    assert np.allclose(same, one.convergence_2d_from(grid).array, rtol=1e-9, atol=1e-12)
    twice = two.deflections_yx_2d_from(doubled).array
    assert np.allclose(twice, 2.0 * one.deflections_yx_2d_from(grid).array, rtol=1e-8, atol=1e-10)


def test_gradients_through_a_tracer_are_those_of_finite_differences(network):
    source = al.lp.SersicSph(centre=(0.05, -0.1), effective_radius=0.4, sersic_index=1.0)
    grid = irregular(40, half_width=1.5)

    def image(vector, xp=np):
        y, x, angle, einstein_radius, *latents = vector
        mass = NeuralConvergence(network, (y, x), angle, einstein_radius, tuple(latents))
        tracer = al.Tracer([al.Galaxy(redshift=0.5, mass=mass), al.Galaxy(redshift=1, b=source)])
        yx = al.Grid2DIrregular(xp.asarray(grid.array), xp=xp)
        return tracer.image_2d_from(yx, xp=xp).array

    vector = np.array([0.03, -0.02, 34.0, 0.9, *LATENTS])
    exact = np.asarray(jax.jit(jax.jacfwd(lambda v: image(v, jnp)))(vector))
    steps = np.array([1e-6, 1e-6, 1e-4, 1e-6, 1e-5, 1e-5, 1e-5])
    for i, step in enumerate(steps * np.eye(len(vector))):
        difference = (image(vector + step) - image(vector - step)) / (2.0 * step[i])
        assert np.allclose(exact[:, i], difference, rtol=1e-4, atol=1e-6)
        assert np.abs(exact[:, i]).max() > 1e-5


def test_a_model_frees_the_latents_and_round_trips(network, tmp_path):
    mass = NeuralConvergence.model(network)
    names = [path[-1] for path in mass.paths]
    assert names == ["centre_0", "centre_1", "einstein_radius"] + [
        f"latents_0{i}" for i in range(3)
    ]
    # Networks learn lenses of all directions: latents turn them.
    assert mass.position_angle.value == 0.0
    notation = conf.instance["notation"]
    assert all(notation["label"]["label"][name] for name in names)
    model = af.Collection(galaxies=af.Collection(lens=af.Model(al.Galaxy, redshift=0.5, mass=mass)))
    al.output_to_json(model, tmp_path / "model.json")
    back = af.AbstractPriorModel.from_json(str(tmp_path / "model.json"))
    vector = [0.1, 0.2, 1.1, *LATENTS]
    first, second = (m.instance_from_vector(vector).galaxies.lens.mass for m in (model, back))
    assert (second.latents, second.einstein_radius) == (LATENTS, 1.1)
    assert first.sha256 == second.sha256 == mass.sha256


def test_what_is_no_lens_is_refused(network, tmp_path):
    with pytest.raises(exc.ModelParameterException, match="einstein_radius must be a finite pos"):
        NeuralConvergence(network, einstein_radius=0.0)
    with pytest.raises(exc.ModelParameterException, match="latents must be 3 numbers"):
        NeuralConvergence(network, latents=(1.0, 2.0))
    path = stored(tmp_path, autoencoder(), quantity=LIGHT).path
    with pytest.raises(NetworkError, match="of surface brightness, not of convergence"):
        NeuralConvergence(str(path))
