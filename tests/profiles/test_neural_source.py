"""Galaxies that a decoder makes: geometry, gradients, models, files, fits."""

import json
import os

import autofit as af  # first: it switches 64-bit JAX on
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit.jax.pytrees import register_model
from autofit.mapper.identifier import Identifier
from autogalaxy import exc
from autonerves import conf

import autolens_ml as aml
from autolens_ml.exceptions import NetworkError
from autolens_ml.profiles.light import NeuralSource, PixelLight
from tests.profiles.decoders import MASS, autoencoder, stored

GEOMETRY = {"centre": (0.13, -0.21), "position_angle": 34.0, "intensity": 1.7, "scale": 1.3}
LATENTS = (0.4, -1.1, 0.7)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def network(card):
    return str(card.path)


def irregular(number=300, half_width=0.8, seed=5):
    yx = np.random.default_rng(seed).uniform(-half_width, half_width, (number, 2))
    return al.Grid2DIrregular(yx)


def lens_model(network, **latents):
    light = NeuralSource.model(network)
    for name, value in latents.items():
        setattr(light.latents, name, value)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=af.Model(al.mp.IsothermalSph)),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


def dataset_of(tracer=None, seed=1):
    """An image of 30 x 30 pixels, of noise alone if there is no tracer."""
    grid = al.Grid2D.uniform((30, 30), pixel_scales=0.1, over_sample_size=1)
    psf = al.Convolver.from_gaussian(shape_native=(5, 5), sigma=0.1, pixel_scales=0.1)
    if tracer is None:
        data = al.Array2D.no_mask(np.zeros((30, 30)), pixel_scales=0.1)
        dataset = al.Imaging(data=data, noise_map=data + 0.1, psf=psf)
    else:
        dataset = al.SimulatorImaging(
            exposure_time=2000.0, psf=psf, background_sky_level=5.0, noise_seed=seed
        ).via_tracer_from(tracer=tracer, grid=grid)
    mask = al.Mask2D.circular(shape_native=(30, 30), pixel_scales=0.1, radius=1.4)
    return dataset.apply_mask(mask).apply_over_sampling(over_sample_size_lp=1)


def test_it_is_the_decoded_map_moved_turned_and_scaled(network):
    profile = NeuralSource(network, latents=LATENTS, **GEOMETRY)
    values = profile.decoder.map_from(LATENTS)
    expected = PixelLight(values, pixel_scale=1.0 / 16.0, **GEOMETRY)
    over_sampled = al.Grid2D.uniform((20, 20), pixel_scales=0.1, over_sample_size=4)
    for grid in (irregular(), over_sampled):
        image = profile.image_2d_from(grid).array
        assert np.array_equal(image, expected.image_2d_from(grid).array) and image.any()
    in_jax = profile.image_2d_from(over_sampled, xp=jnp).array
    assert isinstance(in_jax, jax.Array) and np.allclose(in_jax, image, rtol=1e-11, atol=0)
    assert profile.pixels() == expected


def test_intensity_is_the_mean_in_the_disc_and_scale_the_side(network):
    profile = NeuralSource(network, intensity=2.5, scale=2.0, latents=LATENTS)
    grid = al.Grid2D.uniform((300, 300), pixel_scales=0.01, over_sample_size=1)
    image = profile.image_2d_from(grid).array
    inside = np.hypot(*grid.array.T) < 0.4 * 1.0  # a disc of 0.4 half sides
    assert image[inside].mean() == pytest.approx(2.5, rel=0.01)
    # Light reaches half a pixel beyond the square.
    lit = np.abs(grid.array).max(axis=1) < 1.0 + 0.5 * 2.0 / 16.0
    assert np.all(image[lit] > 0.0) and not image[~lit].any()


def test_without_latents_it_is_the_typical_galaxy(network):
    assert NeuralSource(network).latents == (0.0, 0.0, 0.0)
    assert NeuralSource(network) == NeuralSource(network, latents=np.zeros(3))
    assert NeuralSource(network) != NeuralSource(network, latents=LATENTS)


def test_it_is_light_that_the_telescope_has_yet_to_blur(network):
    grid = al.Grid2D.uniform((9, 9), pixel_scales=0.1)
    profile = NeuralSource(network)
    assert not np.any(profile.image_2d_from(grid, operated_only=True))
    unblurred = profile.image_2d_from(grid, operated_only=False).array
    assert np.array_equal(unblurred, profile.image_2d_from(grid).array) and unblurred.any()


def test_gradients_through_a_tracer_are_those_of_finite_differences(network):
    grid = irregular(60)
    lens = al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=0.5))

    def image(vector, xp=np):
        y, x, angle, intensity, scale, *latents = vector
        light = NeuralSource(network, (y, x), angle, intensity, scale, tuple(latents))
        tracer = al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)])
        yx = al.Grid2DIrregular(xp.asarray(grid.array), xp=xp)
        return tracer.image_2d_from(yx, xp=xp).array

    vector = np.array([0.03, -0.02, 34.0, 1.7, 1.3, *LATENTS])
    exact = np.asarray(jax.jit(jax.jacfwd(lambda v: image(v, jnp)))(vector))
    steps = np.array([1e-6, 1e-6, 1e-4, 1e-5, 1e-6, 1e-5, 1e-5, 1e-5])
    for i, step in enumerate(steps * np.eye(len(vector))):
        difference = (image(vector + step) - image(vector - step)) / (2.0 * step[i])
        # A point that a step carries over the border of a pixel sees both slopes.
        close = np.isclose(exact[:, i], difference, rtol=1e-5, atol=1e-6)
        assert close.mean() > (0.95 if i < 5 else 0.999)
        assert np.abs(exact[:, i]).max() > 1e-3


def test_a_model_frees_the_latents_with_unit_normal_priors(network, card):
    model = NeuralSource.model(network, intensity=3.0)
    names = [path[-1] for path in model.paths]
    assert names == ["centre_0", "centre_1", "position_angle", "scale"] + [
        f"latents_0{i}" for i in range(3)
    ]
    for i in range(3):
        prior = getattr(model.latents, f"latents_0{i}")
        assert isinstance(prior, af.GaussianPrior) and (prior.mean, prior.sigma) == (0.0, 1.0)
    assert (model.position_angle.lower_limit, model.position_angle.upper_limit) == (0.0, 360.0)
    instance = model.instance_from_vector([0.1, 0.2, 30.0, 2.0, 4.0, 5.0, 6.0])
    assert instance.latents == (4.0, 5.0, 6.0) and instance.centre == (0.1, 0.2)
    assert (instance.intensity, instance.scale, instance.sha256) == (3.0, 2.0, card.sha256)
    fixed = NeuralSource.model(network, latents=LATENTS)
    assert fixed.prior_count == 5 and fixed.instance_from_prior_medians().latents == LATENTS


def test_more_than_ten_latents_stay_in_order(tmp_path):
    path = stored(tmp_path, autoencoder(latent_dim=12)).path
    model = NeuralSource.model(path)
    values = tuple(0.1 * i for i in range(12))
    instance = model.instance_from_vector([0.0, 0.0, 0.0, 1.0, 1.0, *values])
    assert instance.latents == values
    model.latents_03 = 0.7
    assert model.prior_count == 16 and model.instance_from_prior_medians().latents[3] == 0.7


def test_autofit_alone_makes_a_model_of_sixteen_latents(tmp_path, network):
    path = str(stored(tmp_path, autoencoder(latent_dim=16)).path)
    first, second = (af.Model(aml.lp.NeuralSource, network=path) for _ in range(2))
    assert [p[-1] for p in first.paths if p[0] == "latents"] == [
        f"latents_{i:02d}" for i in range(16)
    ]
    assert not set(first.priors) & set(second.priors)
    assert first.instance_from_prior_medians().latents == (0.0,) * 16
    with pytest.raises(exc.ModelParameterException, match=r"must be 3 .*NeuralSource.model\("):
        af.Model(aml.lp.NeuralSource, network=network).instance_from_prior_medians()


def test_every_free_parameter_has_a_label_a_format_and_a_width(tmp_path):
    notation = conf.instance["notation"]
    model = NeuralSource.model(stored(tmp_path, autoencoder(latent_dim=32)).path)
    for path in model.paths:
        # A name without an entry raises.
        assert notation["label"]["label"][path[-1]]
    assert any(name in "latents_31" for name in notation["label_format"]["format"])
    # What a search passes on to the next keeps the order of the latents.
    passed = model.mapper_from_prior_means([0.5 * i for i in range(37)])
    assert passed.latents.latents_31.mean == 18.0
    assert passed.latents.latents_00.sigma == pytest.approx(0.5)


def test_model_json_names_the_network_and_its_weights(network, card, tmp_path):
    model = lens_model(network, latents_01=0.3)
    al.output_to_json(model, tmp_path / "model.json")
    text = (tmp_path / "model.json").read_text()
    light = json.loads(text)["arguments"]["galaxies"]["arguments"]["source"]["arguments"]["light"]
    assert light["arguments"]["network"] == network
    assert light["arguments"]["sha256"] == card.sha256
    assert len(text) < 10_000  # no weights
    back = af.AbstractPriorModel.from_json(str(tmp_path / "model.json"))
    before, after = dict(model.path_priors_tuples), dict(back.path_priors_tuples)
    assert before.keys() == after.keys() and len(before) == 10
    for path, prior in before.items():
        assert after[path].parameter_string == prior.parameter_string
    instance = back.instance_from_prior_medians().galaxies.source.light
    assert instance.latents == (0.0, 0.3, 0.0) and instance.sha256 == card.sha256


def test_instance_round_trip(network, tmp_path):
    profile = NeuralSource(network, latents=LATENTS, **GEOMETRY)
    tracer = al.Tracer([al.Galaxy(redshift=0.5), al.Galaxy(redshift=1.0, light=profile)])
    al.output_to_json(tracer, tmp_path / "tracer.json")
    back = al.from_json(tmp_path / "tracer.json").galaxies[1].light
    assert back == profile and isinstance(back, NeuralSource)


def test_weights_that_were_replaced_are_refused(tmp_path):
    path = stored(tmp_path).path
    model = NeuralSource.model(path)
    al.output_to_json(model, tmp_path / "model.txt")
    instance = model.instance_from_prior_medians()
    stored(tmp_path, autoencoder(seed=8))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    for use in (
        model.instance_from_prior_medians,
        lambda: instance.image_2d_from(irregular()),
        af.AbstractPriorModel.from_json(str(tmp_path / "model.txt")).instance_from_prior_medians,
    ):
        with pytest.raises(NetworkError, match="restore the network, or make the model again"):
            use()
    # A model without a sha256 takes what is there.
    assert NeuralSource(str(path)).sha256 != instance.sha256


def test_fits_with_other_weights_have_other_folders(tmp_path):
    identifiers = set()
    for seed in (1, 8):
        path = stored(tmp_path, autoencoder(seed=seed)).path
        os.utime(path, ns=(1, 10**18 + 1_000_000 * seed))
        identifiers.add(str(Identifier(lens_model(str(path)))))
    assert len(identifiers) == 2


def test_an_instance_is_a_tree_of_its_free_parameters(network):
    """As autofit hands it to a compiled likelihood."""
    model = NeuralSource.model(network)
    register_model(model)
    vector = [0.02, -0.05, 40.0, 2.0, 1.1, *LATENTS]
    instance = model.instance_from_vector(vector)
    leaves, tree = jax.tree.flatten(instance)
    assert sorted(leaves) == sorted(vector)
    grid = irregular()
    again = jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in leaves])
    image = again.image_2d_from(grid, xp=jnp).array
    assert np.allclose(image, instance.image_2d_from(grid).array, rtol=1e-11)
    assert again.sha256 == instance.sha256


def test_what_is_no_network_no_latents_or_no_size_is_refused(network, tmp_path):
    with pytest.raises(exc.ModelParameterException, match="latents must be 3 numbers"):
        NeuralSource(network, latents=(1.0, 2.0))
    with pytest.raises(exc.ModelParameterException, match="finite positive"):
        NeuralSource(network, scale=0.0)
    with pytest.raises(NetworkError, match="no network 'sourse-vae'"):
        NeuralSource("sourse-vae")
    with pytest.raises(NetworkError, match="name of a shipped network or a path, not None"):
        NeuralSource(None)
    path = stored(tmp_path, quantity=MASS).path
    with pytest.raises(NetworkError, match="of convergence, not of surface brightness"):
        NeuralSource.model(path)


def test_a_search_finds_the_galaxy_that_a_lens_was_simulated_with(network, tmp_path, monkeypatch):
    """From a model that was stored to a result that was stored."""
    monkeypatch.setattr(conf.instance, "output_path", str(tmp_path))
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_WORKSPACE_VERSION_CHECK", "1")
    model = lens_model(network, latents_02=0.0)
    light = model.galaxies.source.light
    light.centre, light.position_angle, light.scale = (0.05, -0.1), 40.0, 0.8
    light.intensity = af.UniformPrior(lower_limit=1.0, upper_limit=4.0)
    mass = model.galaxies.lens.mass
    mass.centre, mass.einstein_radius = (0.0, 0.0), af.UniformPrior(0.7, 1.1)
    truth = {"einstein_radius": 0.9, "intensity": 2.0, "latents_00": 0.8, "latents_01": -0.6}
    names = [path[-1] for path in model.paths]
    assert set(names) == truth.keys()
    instance = model.instance_from_vector([truth[name] for name in names])
    dataset = dataset_of(al.Tracer(list(instance.galaxies)))
    al.output_to_json(model, tmp_path / "model.json")
    back = af.AbstractPriorModel.from_json(str(tmp_path / "model.json"))
    settings = {"network": None, "n_effective": 200, "n_draws": 64, "n_polish": 2, "seed": 1}
    search = aml.CNN(name="neural", **settings)
    result = search.fit(model=back, analysis=al.AnalysisImaging(dataset=dataset, use_jax=True))
    info = result.samples.samples_info
    assert info["status"] == "CONVERGED" and info["n_likelihood"] < 10_000
    names = [path[-1] for path in result.samples.model.paths]
    bounds = result.samples.values_at_sigma(sigma=3.0, as_instance=False)
    for name, (low, high) in zip(names, bounds, strict=True):
        assert low < truth[name] < high, name
        # Of priors as wide as six, 0.4 and 3: the data speak.
        assert high - low < {"einstein_radius": 0.1, "intensity": 0.5}.get(name, 2.0), name
    (stored_model,) = tmp_path.glob("neural/*/files/model.json")
    assert dataset and json.loads(stored_model.read_text())
