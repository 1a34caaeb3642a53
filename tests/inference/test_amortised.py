"""From an image to latents of a user's model, with networks whose answer is known."""

import json

import autofit as af
import autolens as al
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from autolens_ml.exceptions import NetworkError
from autolens_ml.inference.amortised import LensNetwork, NetworkProposal, load_network
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.networks.checkpoint import Card, find_card
from tests.inference.test_matching import galaxies
from tests.simulate.test_observation import gaussian_psf, imaging
from tests.stored_networks import card_fields, certain, unsure, untrained

SIGMA = 0.02  # of the networks, in latents
FWHM = 0.2
NOISE = 0.05
RADIUS = "galaxies.lens.mass.einstein_radius"
CENTRE = ("galaxies.lens.mass.centre.centre_0", "galaxies.lens.mass.centre.centre_1")
INTENSITY = "galaxies.lens.bulge.intensity"
SIZE = "galaxies.lens.bulge.effective_radius"


def training_model() -> af.Collection:
    """An isothermal sphere with light, priors of every kind that populations use."""
    mass = af.Model(al.mp.IsothermalSph)
    mass.centre.centre_0 = af.GaussianPrior(0.0, 0.05)
    mass.centre.centre_1 = af.GaussianPrior(0.0, 0.05)
    mass.einstein_radius = af.UniformPrior(0.4, 2.0)
    bulge = af.Model(al.lp.ExponentialSph)
    bulge.centre = mass.centre
    bulge.intensity = af.LogUniformPrior(0.5, 50.0)
    bulge.effective_radius = af.TruncatedGaussianPrior(0.8, 0.5, 0.1, 2.0)
    return galaxies(lens_mass=mass, lens_bulge=bulge)


# Einstein radius and size in arcsec, intensity in units of the noise, centre from that of the grid.
VALUES = {CENTRE[0]: 0.03, CENTRE[1]: -0.02, RADIUS: 1.1, INTENSITY: 8.0, SIZE: 0.6}


def image(side: int = 64, seed: int = 1, scale: float = 0.1, **options) -> al.Imaging:
    data = NOISE * np.random.default_rng(seed).normal(size=(side, side))
    psf = gaussian_psf(FWHM / 2.3548, side=31, scale=scale)
    return imaging(data, noise=NOISE, scale=scale, psf=psf, **options)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> LensNetwork:
    folder = tmp_path_factory.mktemp("known")
    certain(folder, training_model(), VALUES, SIGMA)
    return load_network(folder)


@pytest.fixture(scope="module")
def posterior(known):
    return known.posterior_from(image())


# --- the posterior of an image ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "offset"), [(64, (0.0, 0.0)), (65, (0.05, -0.05)), (63, (0.05, -0.05))]
)
def test_known_values_come_out_in_physical_units(known, side, offset):
    """Intensities in the units of the data, centres in their coordinates."""
    draws = known.posterior_from(image(side, origin=(0.3, -0.2))).sample(2000)
    expected = {
        **VALUES,
        INTENSITY: VALUES[INTENSITY] * NOISE,
        CENTRE[0]: VALUES[CENTRE[0]] + offset[0],
        CENTRE[1]: VALUES[CENTRE[1]] + offset[1],
    }
    errors = draws.std(axis=0)
    assert np.all(errors > 0.0)
    for name, median, error in zip(known.names, np.median(draws, axis=0), errors, strict=True):
        # Medians of 2000 draws are known to 3 per cent of their standard deviation.
        assert abs(median - expected[name]) < 0.15 * error, name


def test_unit_of_intensities_is_that_of_the_resampled_image(known):
    """Four pixels in one: half the noise, and so half the intensity for the same latents."""
    draws = known.posterior_from(image(128, scale=0.05)).sample(2000)
    median = np.median(draws[:, known.names.index(INTENSITY)])
    assert median == pytest.approx(0.5 * VALUES[INTENSITY] * NOISE, rel=0.01)


def test_intensities_of_networks_without_noise_units(tmp_path):
    card = certain(tmp_path, training_model(), VALUES)
    certain(tmp_path, training_model(), VALUES, outputs={**card.outputs, "noise_units": False})
    network = load_network(tmp_path)
    median = np.median(network.posterior_from(image()).sample(2000), axis=0)
    assert median[network.names.index(INTENSITY)] == pytest.approx(VALUES[INTENSITY], rel=0.01)


def test_log_ratio_is_that_of_posterior_and_prior(posterior):
    draws, log_ratio = posterior.sample_with_density(500)
    shift = np.zeros(5)
    shift[posterior.names.index(INTENSITY)] = 1.0
    draws[:, shift > 0] /= posterior.observation.unit
    z = posterior.network.space.latent_from(draws)
    means = posterior.network.space.latent_from(np.array([[VALUES[n] for n in posterior.names]]))
    expected = stats.norm(means, SIGMA).logpdf(z) - stats.norm().logpdf(z)
    np.testing.assert_allclose(log_ratio, expected.sum(axis=1), atol=0.02)


@pytest.mark.parametrize("head", ["mixture", "flow"])
def test_log_ratio_is_normalised(tmp_path, head):
    """The mean of prior over posterior under the posterior is the prior's mass: one."""
    unsure(tmp_path, training_model(), head)
    _, log_ratio = load_network(tmp_path).posterior_from(image()).sample_with_density(4000)
    ratio = np.exp(-log_ratio)
    error = ratio.std() / np.sqrt(len(ratio))
    assert 0.0 < error < 0.1
    assert abs(ratio.mean() - 1.0) < 5.0 * error


@pytest.mark.parametrize("head", ["mixture", "flow"])
def test_batches_give_what_single_images_give(tmp_path, head, monkeypatch):
    monkeypatch.setattr("autolens_ml.inference.amortised._BATCH", 2)
    unsure(tmp_path, training_model(), head)
    network = load_network(tmp_path)
    datasets = [image(seed=seed) for seed in range(5)]
    together = [p.sample(20, seed=3) for p in network.posteriors_from(datasets)]
    for draws, dataset in zip(together, datasets, strict=True):
        np.testing.assert_allclose(draws, network.posterior_from(dataset).sample(20, seed=3), 1e-4)
    assert not np.allclose(together[0], together[1], rtol=1e-3)


def test_same_seed_same_draws(posterior):
    first, second, other = (posterior.sample(50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.any(first == other)


# --- what is unlike the training ----------------------------------------------------------------


def with_light(electrons: float) -> al.Imaging:
    """A bright disc, with ``electrons`` of noise where there is none."""
    light = np.zeros((64, 64))
    light[20:40, 20:40] = 30.0 * electrons
    psf = gaussian_psf(FWHM / 2.3548, side=31)
    return imaging(light, np.sqrt(electrons**2 + light), psf=psf)


def test_no_concerns_about_data_as_in_training(known):
    """The instrument's depth is between 17 and 31 electrons."""
    for dataset in (image(), image(60), with_light(20.0), with_light(30.0)):
        assert known.posterior_from(dataset).concerns == ()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (lambda: imaging(np.ones((64, 64)), psf=gaussian_psf(0.2, side=31)), "PSF width 0.47"),
        (lambda: image(128, scale=0.06), "pixels of 0.06"),
        (lambda: with_light(150.0), "noise of 150 electrons"),
        (lambda: with_light(5.0), "noise of 5 electrons"),
    ],
    ids=["psf", "pixels", "shallow", "deep"],
)
def test_concerns_about_other_data(known, dataset, words):
    (concern,) = known.posterior_from(dataset()).concerns
    assert words in concern
    assert "\n" not in concern


def test_concern_about_unusual_features(tmp_path):
    certain(tmp_path, training_model(), VALUES, typical_distance=1e-3)
    (concern,) = load_network(tmp_path).posterior_from(image()).concerns
    assert "unlike its training set" in concern


# --- proposals for a model ----------------------------------------------------------------------


def user_model() -> af.Collection:
    """Other priors than in training, in another order, and a shear that the network ignores."""
    model = galaxies(
        lens_mass=al.mp.IsothermalSph,
        lens_bulge=al.lp.ExponentialSph,
        lens_shear=al.mp.ExternalShear,
    )
    lens = model.galaxies.lens
    lens.bulge.effective_radius = af.UniformPrior(0.0, 3.0)
    lens.bulge.intensity = af.LogGaussianPrior(-1.0, 1.0)
    lens.shear.gamma_1 = af.GaussianPrior(0.0, 0.1)
    lens.shear.gamma_2 = af.UniformPrior(-0.2, 0.2)
    lens.mass.centre.centre_0 = af.GaussianPrior(0.0, 0.1)
    lens.mass.centre.centre_1 = af.TruncatedGaussianPrior(0.0, 0.1, -np.inf, 0.5)
    lens.bulge.centre.centre_0 = af.UniformPrior(-0.5, 0.5)
    lens.bulge.centre.centre_1 = lens.mass.centre.centre_1
    lens.mass.einstein_radius = af.TruncatedGaussianPrior(1.0, 0.5, 0.0, np.inf)
    return model


def by_path(model, values: np.ndarray) -> dict[str, np.ndarray]:
    return {".".join(path): values[:, i] for path, i in indexed_paths(model)}


def test_known_values_come_out_at_their_paths(posterior):
    model = user_model()
    proposal = NetworkProposal(posterior, model)
    assert proposal.inside == 1.0
    assert proposal.doubts == ()
    assert proposal.knows_most
    z, log_ratio = proposal.posterior_draws(1000, np.random.default_rng(1))
    assert z.shape == (1000, 8)
    assert log_ratio.shape == (1000,)
    draws = by_path(model, LatentSpace.from_model(model).physical_from(z))
    light = "galaxies.lens.bulge.centre.centre"
    expected = {
        **VALUES,
        INTENSITY: VALUES[INTENSITY] * NOISE,
        # What was one parameter in training, also where the user's model has two.
        f"{light}_0": VALUES[CENTRE[0]],
        f"{light}_1": VALUES[CENTRE[1]],
    }
    for path, value in expected.items():
        assert abs(np.median(draws[path]) - value) < 0.2 * draws[path].std(), path
    np.testing.assert_allclose(draws[f"{light}_0"], draws[CENTRE[0]])


def test_unknown_parameters_follow_their_priors(posterior):
    model = user_model()
    z, _ = NetworkProposal(posterior, model).posterior_draws(2000, np.random.default_rng(2))
    latents = by_path(model, z)
    for name in ("gamma_1", "gamma_2"):
        assert stats.kstest(latents[f"galaxies.lens.shear.{name}"], "norm").pvalue > 1e-3
    assert stats.kstest(latents[RADIUS], "norm").pvalue < 1e-9


@pytest.mark.parametrize(
    ("typical_distance", "share"), [(None, 0.1), (1e-3, 0.5)], ids=["usual", "unusual"]
)
def test_a_share_of_the_draws_is_the_prior(tmp_path, typical_distance, share):
    certain(tmp_path, training_model(), VALUES, typical_distance=typical_distance)
    model = user_model()
    proposal = NetworkProposal(load_network(tmp_path).posterior_from(image()), model)
    assert bool(proposal.doubts) == (share > 0.1)
    z = proposal.draw(400, np.random.default_rng(3))
    radius = by_path(model, z)[RADIUS]
    from_network = np.abs(radius - np.median(radius[:150])) < 10.0 * radius[:150].std()
    assert np.sum(~from_network) == pytest.approx(400 * share, rel=0.25)


def test_draws_are_the_posterior_cut_by_the_priors(known, posterior):
    """A prior that begins at the network's median leaves the upper half of its posterior."""
    model = user_model()
    model.galaxies.lens.mass.einstein_radius = af.UniformPrior(VALUES[RADIUS], 1.5)
    proposal = NetworkProposal(posterior, model)
    assert proposal.inside == pytest.approx(0.5, abs=0.06)
    z, _ = proposal.posterior_draws(2000, np.random.default_rng(4))
    physical = LatentSpace.from_model(model).physical_from(z)
    radius = by_path(model, physical)[RADIUS]
    assert radius.min() >= VALUES[RADIUS]
    in_training = ndtri((radius - 0.4) / 1.6)
    half_normal = stats.halfnorm(ndtri((VALUES[RADIUS] - 0.4) / 1.6), SIGMA)
    assert stats.kstest(in_training, half_normal.cdf).pvalue > 1e-3


def test_draws_keep_the_assertions_of_the_model(posterior):
    model = user_model()
    lens = model.galaxies.lens
    model.add_assertion(lens.shear.gamma_1 > 0.05)
    lens.add_assertion((lens.shear.gamma_2 < 0.1) > -0.1)
    lens.mass.add_assertion(lens.mass.einstein_radius > VALUES[RADIUS])
    z, _ = NetworkProposal(posterior, model).posterior_draws(300, np.random.default_rng(5))
    for vector in LatentSpace.from_model(model).physical_from(z):
        model.instance_from_vector(list(vector))  # raises where an assertion fails
    assert len(z) == 300


@pytest.mark.parametrize(
    "prior",
    [
        af.UniformPrior(1.5, 1.9),
        af.TruncatedGaussianPrior(1.6, 0.2, 1.4, 2.0),
        af.GaussianPrior(3.1, 0.1),
        af.GaussianPrior(-0.9, 0.1),
        af.LogUniformPrior(1e-3, 0.5),
    ],
    ids=["uniform", "truncated", "20-sigma-below", "20-sigma-above", "log-uniform"],
)
def test_priors_that_exclude_the_posterior(posterior, prior):
    model = user_model()
    model.galaxies.lens.mass.einstein_radius = prior
    proposal = NetworkProposal(posterior, model)
    assert proposal.inside == 0.0
    assert any("0 % of its posterior lies within your priors" in d for d in proposal.doubts)
    rng = np.random.default_rng(6)
    with pytest.raises(NetworkError, match=r"known: 0 % .*widen them, or use network=None"):
        proposal.posterior_draws(100, rng)
    # Starts are then those of the prior, of every parameter.
    z = proposal.draw(500, rng)
    assert all(stats.kstest(column, "norm").pvalue > 1e-4 for column in z.T)


class ScalarPrior(af.UniformPrior):
    """A prior of a user's that takes one number at a time."""

    n_calls = 0

    def unit_value_for(self, physical_value):
        type(self).n_calls += 1
        return (float(physical_value) - self.lower_limit) / (self.upper_limit - self.lower_limit)


def test_priors_that_take_scalars_only(posterior):
    model = user_model()
    model.galaxies.lens.mass.einstein_radius = ScalarPrior(0.0, 2.0)
    z, _ = NetworkProposal(posterior, model).posterior_draws(200, np.random.default_rng(7))
    assert ScalarPrior.n_calls >= 200
    assert np.median(by_path(model, z)[RADIUS]) == pytest.approx(ndtri(0.55), abs=0.01)


def test_priors_are_asked_once_for_all_draws(posterior, monkeypatch):
    """A call for every draw and parameter would take longer than the search."""
    calls = []
    ask = af.Prior.unit_value_for

    def counted(self, value):
        calls.append(self)
        return ask(self, value)

    monkeypatch.setattr(af.Prior, "unit_value_for", counted)
    proposal = NetworkProposal(posterior, user_model())
    calls.clear()
    proposal.posterior_draws(1000, np.random.default_rng(8))
    assert len(calls) == len(proposal.matched)


def test_a_network_that_knows_little_does_not_know_most(posterior):
    model = galaxies(lens_mass=af.Model(al.mp.IsothermalSph), lens_shear=al.mp.ExternalShear)
    model.galaxies.lens.mass.centre = (0.0, 0.0)
    assert not NetworkProposal(posterior, model).knows_most


def test_a_model_with_nothing_in_common(posterior):
    model = galaxies(lens_halo=al.mp.IsothermalSph)
    with pytest.raises(NetworkError, match=r"mass\.centre.*lens\.halo.*network=None") as error:
        NetworkProposal(posterior, model)
    assert "\n" not in str(error.value)


# --- damaged and foreign files ------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path) -> Card:
    return certain(tmp_path, training_model(), VALUES)


def test_a_card_can_be_used_again(stored):
    """Reading its prior must not change it."""
    before = json.dumps(stored.as_dict())
    first, second = LensNetwork(stored), LensNetwork(stored)
    assert first.names == second.names
    assert json.dumps(stored.as_dict()) == before


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
def test_damaged_weights(stored, damage):
    data = bytearray(stored.weights.read_bytes())
    if damage == "altered":
        data[-1] ^= 1
        stored.weights.write_bytes(data)
    elif damage == "truncated":
        stored.weights.write_bytes(data[:-10])
    else:
        stored.weights.unlink()
    with pytest.raises(NetworkError, match="restore the file or train the network again") as error:
        load_network(stored.path)
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture(stored):
    values = json.loads(stored.path.read_text())
    values["architecture"]["config"]["backbone_options"]["n_features"] = 32
    stored.path.write_text(json.dumps(values))
    with pytest.raises(NetworkError, match=r"do not fit.*train the network again"):
        load_network(stored.path)


@pytest.mark.parametrize(
    ("part", "entry", "message"),
    [
        ("outputs", "parameters", "'parameters'.*train the network again"),
        ("outputs", "prior", "its prior is no model"),
        ("outputs", "noise_units", "'noise_units'.*train the network again"),
        ("inputs", "shape", "'shape'.*train the network again"),
        ("inputs", "pixel_scale", "'pixel_scale'.*train the network again"),
        ("instrument", "psf_fwhm", "needs psf_fwhm.*train the network again"),
        ("architecture", "config", "do not fit.*train the network again"),
    ],
)
def test_cards_without_what_a_network_for_lenses_needs(stored, part, entry, message):
    values = json.loads(stored.path.read_text())
    del values[part][entry]
    stored.path.write_text(json.dumps(values))
    with pytest.raises(NetworkError, match=message) as error:
        load_network(stored.path)
    assert "\n" not in str(error.value)


def test_networks_for_another_task(tmp_path):
    fields = card_fields(training_model(), untrained(1), [RADIUS], task="finder")
    with pytest.raises(NetworkError, match="for finder, not for lens-parameters"):
        LensNetwork(Card.from_dict({**fields, "sha256": "0" * 64, "format": 1}))
    certain(tmp_path, training_model(), VALUES, task="finder")
    with pytest.raises(NetworkError, match="for finder, not for lens-parameters"):
        load_network(tmp_path)


def test_networks_by_path(stored):
    for path in (stored.path, stored.weights, stored.folder, str(stored.folder)):
        assert load_network(path).card == find_card(stored.path)
