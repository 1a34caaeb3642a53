"""`aml.CNN` with a network: it helps, it says what it did, and it never changes the result."""

import itertools
import json
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import autofit as af
import autolens as al
import numpy as np
import pytest
from autofit.aggregator.aggregator import Aggregator
from autofit.mapper.identifier import Identifier
from autonerves import conf
from autonerves.dictable import from_dict, to_dict

import autolens_ml as aml
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks import checkpoint
from autolens_ml.search.starts import starts_at, starts_from
from autolens_ml.simulate.observation import observation_from
from tests.search import observed, targets
from tests.search.fits import FITS
from tests.search.test_analyses import moments
from tests.search.test_conformance import count_runs, files_below, in_fresh_process
from tests.search.test_resume import assert_same, results
from tests.search.test_resume import fit as fit_in_process
from tests.stored_networks import certain

SETTINGS = {"n_effective": 200, "n_draws": 64, "n_polish": 2, "seed": 1}
NETWORK_INFO = {"network", "network_sha256", "network_doubts"}


@pytest.fixture
def output(monkeypatch, tmp_path):
    """Send output to an empty folder, without figures and latent variables."""
    folder = tmp_path / "output"
    folder.mkdir()
    monkeypatch.setattr(conf.instance, "output_path", str(folder))
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_LATENTS", "1")
    monkeypatch.setenv("PYAUTO_SKIP_WORKSPACE_VERSION_CHECK", "1")
    return folder


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The folder of a network that is certain of the truth."""
    return observed.network(tmp_path_factory.mktemp("known")).folder


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """The folder of the networks that ship with the package: none."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "WEIGHTS_FOLDER", folder)
    return folder


def fit(network, analysis=None, model=None, **settings):
    search = aml.CNN(network=network, **{**SETTINGS, **settings})
    result = search.fit(model=model or targets.model(), analysis=analysis or observed.Gaussian())
    return search, result.samples


def logged(caplog) -> list[str]:
    """What was said of networks."""
    return [r.getMessage() for r in caplog.records if re.search("network|caution", r.getMessage())]


# --- the result does not depend on the network --------------------------------------------------

# As `fits` simulates: the network below finds nothing unusual.
INSTRUMENT = {
    "name": "fits",
    "shape": [36, 36],
    "pixel_scale": 0.1,
    "psf_fwhm": [0.2, 0.27],
    "exposure_time": [1000.0, 1000.0],
    "background_sky_level": 10.0,
}
PRECISE = {"n_effective": 1000, "seed": 1}
MASS, SOURCE = "galaxies.lens.mass", "galaxies.source.bulge"
WRONG = {
    f"{MASS}.einstein_radius": 1.2,
    f"{MASS}.ell_comps.ell_comps_0": -0.2,
    f"{SOURCE}.centre.centre_0": -0.2,
    f"{SOURCE}.effective_radius": 0.3,
}


@pytest.fixture(scope="module")
def control():
    """A lens, and its posterior without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYAUTO_SKIP_LATENTS", "1")
        lens = FITS["imaging"]()
        search = aml.CNN(network=None, **PRECISE)
        return lens, search.fit(model=lens.model, analysis=lens.analysis).samples


@pytest.mark.parametrize("place", ["true", "wrong"])
def test_same_posterior_as_without_a_network(output, control, tmp_path, place):
    lens, expected = control
    truth = {".".join(path): value for path, value in lens.truth.items()}
    unit = observation_from(lens.analysis.dataset, (36, 36), 0.1).unit
    truth[f"{SOURCE}.intensity"] /= unit
    population = lens.model.copy()
    population.galaxies.source.bulge.intensity = af.LogUniformPrior(1.0, 500.0)
    values = {**truth, **WRONG} if place == "wrong" else truth
    card = certain(tmp_path, population, values, sigma=0.05, instrument=INSTRUMENT)

    search = aml.CNN(network=tmp_path, **PRECISE)
    samples = search.fit(model=lens.model, analysis=lens.analysis).samples
    info, control_info = samples.samples_info, expected.samples_info
    assert info["status"] == control_info["status"] == "CONVERGED"
    assert (info["network"], info["network_sha256"]) == ("known", card.sha256)
    assert info["network_doubts"] == ""
    error = np.hypot(info["log_evidence_error"], control_info["log_evidence_error"])
    assert abs(samples.log_evidence - expected.log_evidence) < 4.0 * error
    found = moments(samples)
    for path, (mean, sigma) in moments(expected).items():
        assert abs(found[path][0] - mean) < 0.2 * sigma, path
        assert found[path][1] == pytest.approx(sigma, rel=0.2), path
    assert control_info["network"] is None
    # Where it is right, it spares the search for the mode.
    if place == "true":
        assert info["n_gradient"] < 0.5 * control_info["n_gradient"]


@pytest.mark.parametrize("typical_distance", [None, 1e-3], ids=["trusted", "doubted"])
def test_a_wrong_network_hides_no_mode(output, tmp_path, typical_distance):
    """All that the network draws ranks above any draw of the prior: it knows the lower mode."""
    values = dict.fromkeys("xyz", observed.TwoModes.places[1])
    observed.network(tmp_path, values, typical_distance=typical_distance)
    for seed in (1, 2, 3):
        _, samples = fit(tmp_path, observed.TwoModes(), n_draws=256, n_polish=4, seed=seed)
        info = samples.samples_info
        assert info["status"] == "CONVERGED"
        assert abs(samples.log_evidence - observed.TwoModes.log_evidence) < max(
            4.0 * info["log_evidence_error"], 0.05
        )
        assert np.mean(np.asarray(samples.parameter_lists) > 0.0) > 0.9


def test_priors_that_exclude_the_networks_posterior(output, tmp_path, caplog):
    """The network is of no use then, and the fit says so and is right all the same."""
    observed.network(tmp_path, dict.fromkeys("xyz", 4.0))
    model = targets.model()
    model.x = af.UniformPrior(-3.0, 3.0)
    with caplog.at_level("INFO"):
        _, samples = fit(tmp_path, model=model)
    assert "0 % of its posterior lies within your priors" in samples.samples_info["network_doubts"]
    assert sum("caution: 0 %" in line for line in logged(caplog)) == 1
    expected = targets.LOG_EVIDENCE + np.log(targets.WIDTH / 6.0)
    assert abs(samples.log_evidence - expected) < 4.0 * samples.samples_info["log_evidence_error"]


# --- which network ------------------------------------------------------------------------------


def test_auto_takes_the_shipped_network_that_matches(output, shipped, caplog):
    card = observed.network(shipped, name="euclid-test")
    with caplog.at_level("INFO"):
        _, samples = fit("auto")
    assert logged(caplog) == [
        'aml.CNN: network euclid-test knows 3 of 3 parameters, at 0.1" for pixels of 0.1"'
    ]
    assert samples.samples_info["network"] == "euclid-test"
    assert samples.samples_info["network_sha256"] == card.sha256


@pytest.mark.parametrize("network", ["name", "folder", "card", "text"])
def test_networks_by_name_and_path(shipped, network):
    card = observed.network(shipped, name="euclid-test")
    given = {
        "name": "euclid-test",
        "folder": card.folder,
        "card": card.path,
        "text": str(card.weights),
    }[network]
    starts = starts_from(given, targets.model(), observed.image())
    assert starts.card == card
    assert starts.lines == ("network euclid-test knows 3 of 3 parameters",)
    assert starts.are_trusted


def test_a_network_that_knows_little_is_not_trusted(tmp_path):
    observed.network(tmp_path, {"x": 1.0})
    starts = starts_from(tmp_path, targets.model(), observed.image())
    assert starts.lines == ("network known knows 1 of 3 parameters",)
    assert not starts.are_trusted


@pytest.mark.parametrize("name", ["interferometer", "point_source", "weak_lensing"])
def test_auto_starts_from_the_prior_where_data_are_no_images(shipped, name):
    observed.network(shipped)
    analysis = FITS[name]().analysis
    starts = starts_from("auto", targets.model(), analysis.dataset)
    (line,) = starts.lines
    assert re.fullmatch(r"no network \(.* has no .*\): draws of the prior", line)
    assert starts.card is None
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(starts.draw(5, rng), np.random.default_rng(1).normal(size=(5, 3)))


def test_auto_fits_a_factor_graph_from_the_prior(output, shipped, caplog):
    observed.network(shipped)
    model = targets.model()
    factors = [af.AnalysisFactor(prior_model=model, analysis=observed.Gaussian()) for _ in "ab"]
    graph = af.FactorGraphModel(*factors)
    with caplog.at_level("INFO"):
        _, samples = fit("auto", graph, graph.global_prior_model)
    (line,) = logged(caplog)
    assert "no network (there is no dataset" in line
    assert samples.samples_info["network"] is None
    assert samples.samples_info["status"] == "CONVERGED"


def test_auto_starts_from_the_prior_with_unusable_data(shipped):
    observed.network(shipped)
    dataset = observed.image()
    dataset.data._array[7] = np.nan
    starts = starts_from("auto", targets.model(), dataset)
    assert "1 of 4096 unmasked pixels have NaNs" in starts.lines[0]
    assert starts.proposal is None


# --- resuming and repeating ---------------------------------------------------------------------


def test_same_seed_same_result(output, known):
    first, second, other = (fit(known, seed=seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.parameter_lists, second.parameter_lists)
    np.testing.assert_array_equal(first.weight_list, second.weight_list)
    assert first.log_evidence == second.log_evidence
    assert first.log_evidence != other.log_evidence


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, known):
    folder = tmp_path_factory.mktemp("uninterrupted") / "whole"
    assert fit_in_process(folder, "--network", str(known)) == 0
    return folder


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(("--dies-at-likelihood", 0.4), id="likelihood"),
        pytest.param(("--dies-at-checkpoint", 2), id="checkpoint"),
    ],
)
def test_killed_with_a_network(tmp_path, known, uninterrupted, death):
    """The network is asked again after a kill: it must answer the same, bit by bit."""
    killed = tmp_path / "killed"
    options = ("--network", str(known))
    option, when = death
    if option == "--dies-at-likelihood":
        when = int(when * results(uninterrupted)[1]["calls"])
    assert fit_in_process(killed, *options, option, str(when)) == -signal.SIGKILL
    assert not (killed / "samples.npz").exists()
    assert fit_in_process(killed, *options) == 0
    assert_same(killed, uninterrupted)
    assert results(killed)[1]["network"] == "known"
    log = next(killed.rglob("search.log")).read_text()
    assert log.count("network known knows 3 of 3 parameters") == 2
    # A stage is said when it begins; only the one in which it was killed is said again.
    stages = re.findall(r"aml\.CNN: ([a-z ]+).*likelihoods", log)
    assert sum(a == b for a, b in itertools.pairwise(stages)) <= 1


def test_a_completed_fit_is_loaded_without_its_network(output, tmp_path, monkeypatch):
    folder = tmp_path / "network"
    observed.network(folder)
    _, first = fit(folder, name="done")
    shutil.rmtree(folder)
    runs = count_runs(monkeypatch, aml.CNN)
    _, second = fit(folder, name="done")
    assert not runs
    assert second.log_evidence == first.log_evidence
    assert second.samples_info["network"] == "known"


@pytest.mark.parametrize("dataset", ["None", "image"])
def test_torch_is_not_loaded_where_no_network_matches(tmp_path, dataset):
    """Neither for an analysis without a dataset, nor for a model that no network knows."""
    observed.network(tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import autofit as af, autolens as al, autolens_ml as aml, numpy as np\n"
        "from autolens_ml.networks import checkpoint\n"
        "from tests.search import targets\n"
        "checkpoint.WEIGHTS_FOLDER = Path(sys.argv[1])\n"
        "ones = al.Array2D.no_mask(np.ones((20, 20)), pixel_scales=0.1)\n"
        "psf = al.Convolver.from_gaussian((5, 5), pixel_scales=0.1, sigma=0.1)\n"
        "image = al.Imaging(data=ones, noise_map=ones, psf=psf)\n"
        "class Analysis(targets.Gaussian):\n"
        f"    dataset = {dataset}\n"
        "    def log_likelihood_function(self, instance):\n"
        "        return super().log_likelihood_function(instance.point)\n"
        "model = af.Collection(point=targets.model())\n"
        f"search = aml.CNN(network='auto', **{SETTINGS!r})\n"
        "samples = search.fit(model=model, analysis=Analysis()).samples\n"
        "print(len(checkpoint.cards()), samples.samples_info['network'], 'torch' in sys.modules)"
    )
    assert in_fresh_process(code, str(tmp_path)) == "1 None False"


# --- without correction -------------------------------------------------------------------------


def test_uncorrected_result(output, known):
    search, samples = fit(known, correct=False, name="uncorrected", n_effective=500)
    info = samples.samples_info
    assert info["status"] == "UNCORRECTED"
    assert info["log_evidence"] is None
    assert samples.log_evidence is None
    assert (info["n_likelihood"], info["n_gradient"]) == (1, 0)
    assert set(info) >= NETWORK_INFO
    assert len(samples.sample_list) == 500
    np.testing.assert_allclose(samples.weight_list, 1.0 / 500)
    # The network's own posterior: the truth, with its width and not that of the likelihood.
    space = aml.load_network(known).space
    for (path,), (mean, sigma) in moments(samples).items():
        latent = space.latent_from(np.full((1, 3), targets.CENTRE[path]))[0, 0]
        edges = np.array([[latent - 0.02] * 3, [latent + 0.02] * 3])
        expected = 0.5 * np.ptp(space.physical_from(edges)[:, 0])
        assert sigma == pytest.approx(expected, rel=0.2)
        assert abs(mean - targets.CENTRE[path]) < 0.2 * expected
    # The highest likelihood is a real one.
    best = samples.max_log_likelihood()
    true = targets.Gaussian().log_likelihood_function(best)
    assert max(samples.log_likelihood_list) == pytest.approx(true)

    folder = Path(search.paths.output_path)
    summary = (folder / "search.summary").read_text()
    assert "Status of the result = UNCORRECTED" in summary
    assert "Network = known" in summary
    assert "Evidence" not in summary
    assert "None" not in summary.split("\n\n")[0]
    assert "Bayesian Evidence" not in (folder / "model.results").read_text()
    assert json.loads((folder / "files/samples_info.json").read_text())["status"] == "UNCORRECTED"
    (loaded,) = Aggregator.from_directory(output).values("samples")
    assert loaded.samples_info["status"] == "UNCORRECTED"
    assert loaded.log_evidence is None
    np.testing.assert_allclose(loaded.parameter_lists, samples.parameter_lists)


def test_uncorrected_result_is_loaded_not_repeated(output, known, monkeypatch):
    _, first = fit(known, correct=False, name="uncorrected")
    runs = count_runs(monkeypatch, aml.CNN)
    _, second = fit(known, correct=False, name="uncorrected")
    assert not runs
    np.testing.assert_allclose(second.parameter_lists, first.parameter_lists)
    assert second.samples_info["status"] == "UNCORRECTED"


def test_uncorrected_fit_interrupted_in_its_last_moment(output, known):
    """autofit then compares the highest likelihood on disk with that of the analysis."""
    search, first = fit(known, correct=False, name="uncorrected")
    (Path(search.paths.output_path) / ".completed").unlink()
    _, second = fit(known, correct=False, name="uncorrected")
    np.testing.assert_array_equal(second.parameter_lists, first.parameter_lists)


def test_uncorrected_result_needs_no_fallback(output, known):
    fallback = af.DynestyStatic(name="fallback", nlive=30, seed=1)
    _, samples = fit(known, correct=False, name="uncorrected", fallback=fallback)
    assert samples.samples_info["status"] == "UNCORRECTED"
    assert files_below(output)
    assert {path.name for path in output.iterdir()} == {"uncorrected"}


def test_unknown_parameters_keep_their_priors_uncorrected(output, tmp_path):
    observed.network(tmp_path, {"x": 1.0})
    _, samples = fit(tmp_path, correct=False, n_effective=2000)
    found = moments(samples)
    assert found["x",][1] < 0.2
    for name in ("y", "z"):
        assert found[name,][1] == pytest.approx(targets.WIDTH / np.sqrt(12.0), rel=0.05)


def test_correct_is_part_of_the_search():
    """Other results in another folder, and back from ``search.json``."""
    search = aml.CNN(network=Path("some/network"), correct=False)
    assert str(Identifier(search)) != str(Identifier(aml.CNN(network="some/network")))
    assert str(Identifier(search)) == str(
        Identifier(aml.CNN(network="some/network", correct=False))
    )
    loaded = from_dict(json.loads(json.dumps(to_dict(search))))
    assert loaded.correct is False
    assert loaded.network == "some/network"


# --- start points for other searches ------------------------------------------------------------


class Recorded(observed.Gaussian):
    """Keeps what is evaluated, in order."""

    def __init__(self):
        super().__init__()
        self.points = []

    def log_likelihood_function(self, instance):
        self.points.append((instance.x, instance.y, instance.z))
        return super().log_likelihood_function(instance)


def bounds_of(model, initializer) -> dict[str, tuple[float, float]]:
    names = {prior: path[-1] for path, prior in model.path_priors_tuples}
    return {names[prior]: limits for prior, limits in initializer.parameter_dict.items()}


def test_start_points_are_the_networks_posterior(tmp_path):
    observed.network(tmp_path, {"x": 1.0, "y": -2.0})
    model = targets.model("zyx")
    initializer = aml.initializer_from(tmp_path, observed.image(), model)
    bounds = bounds_of(model, initializer)
    assert set(bounds) == {"x", "y"}
    space = aml.load_network(tmp_path).space
    for i, (name, value) in enumerate({"x": 1.0, "y": -2.0}.items()):
        z = space.latent_from(np.array([[1.0, -2.0]]))[0, i]
        edges = space.physical_from(np.array([[z - 0.02] * 2, [z + 0.02] * 2]))[:, i]
        np.testing.assert_allclose(bounds[name], edges, atol=0.15 * np.ptp(edges))
        assert bounds[name][0] < value < bounds[name][1]
    again = aml.initializer_from(tmp_path, observed.image(), model)
    assert bounds_of(model, again) == bounds
    other = aml.initializer_from(tmp_path, observed.image(), model, seed=5)
    assert bounds_of(model, other) != bounds


def test_emcee_starts_where_the_network_says(output, tmp_path):
    observed.network(tmp_path, {"x": 1.0, "y": -2.0})
    model = targets.model()
    initializer = aml.initializer_from(tmp_path, observed.image(), model)
    bounds = bounds_of(model, initializer)
    analysis = Recorded()
    search = af.Emcee(nwalkers=20, nsteps=400, initializer=initializer, seed=1)
    samples = search.fit(model=model, analysis=analysis).samples
    first = np.array(analysis.points[:20])
    for column, name in enumerate("xy"):
        low, high = bounds[name]
        assert np.all((first[:, column] >= low) & (first[:, column] <= high))
    # Not known to the network: anywhere in its prior.
    assert np.ptp(first[:, 2]) > 0.5 * targets.WIDTH
    found = moments(samples)
    for name, value in targets.CENTRE.items():
        assert abs(found[name,][0] - value) < targets.SIGMA[name]


# --- what is refused, and how it is mended ------------------------------------------------------


def without_psf() -> al.Imaging:
    dataset = observed.image()
    return al.Imaging(data=dataset.data, noise_map=dataset.noise_map)


def with_nan() -> al.Imaging:
    dataset = observed.image()
    dataset.data._array[7] = np.nan
    return dataset


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (without_psf, r"Imaging has no psf: give it one, or use network=None"),
        (with_nan, r"1 of 4096 unmasked pixels have NaNs.*dataset\.apply_mask"),
        (lambda: FITS["interferometer"]().analysis.dataset, r"Interferometer.*network=None"),
    ],
    ids=["no-psf", "nan", "interferometer"],
)
def test_unusable_data(output, known, dataset, message):
    with pytest.raises(DataError, match=message) as error:
        fit(known, observed.Gaussian(dataset()))
    assert "\n" not in str(error.value)


def test_analyses_without_a_dataset(output, known):
    with pytest.raises(DataError, match=r"there is no dataset.*network=None"):
        fit(known, targets.Gaussian())


def test_models_with_nothing_in_common(output, known):
    model = af.Collection(lens=targets.model())
    with pytest.raises(NetworkError, match=r"knows x .*model has lens\.x .*network=None") as error:
        fit(known, model=model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("correct", [True, False])
def test_unknown_names(output, shipped, correct):
    for name in ("euclid-sie", "hst-sie"):
        observed.network(shipped, name=name)
    message = r"no network 'euclid-sei': did you mean euclid-sie\? .*euclid-sie, hst-sie"
    with pytest.raises(NetworkError, match=message) as error:
        fit("euclid-sei", name="refused", correct=correct)
    assert "\n" not in str(error.value)
    # Refused before anything is written.
    assert not files_below(output)


def test_cards_of_other_tasks(output, shipped):
    observed.network(shipped, name="finder", task="finder")
    observed.network(shipped, name="euclid-sie")
    with pytest.raises(
        NetworkError, match=r"for finder, not for lens-parameters or arc-parameters: .*euclid-sie"
    ):
        fit("finder", name="refused")
    assert not files_below(output)


@pytest.mark.parametrize("damage", ["altered", "truncated"])
@pytest.mark.parametrize("network", ["auto", "path"])
def test_damaged_weights(output, shipped, damage, network):
    """Also those that ``auto`` would take: a damaged installation is not passed over."""
    card = observed.network(shipped)
    data = bytearray(card.weights.read_bytes())
    data[-1] ^= 1
    card.weights.write_bytes(data if damage == "altered" else data[:-1])
    with pytest.raises(NetworkError, match=r"altered, cut short.*reinstall") as error:
        fit("auto" if network == "auto" else card.path)
    assert "\n" not in str(error.value)


def test_uncorrected_without_a_network(output, shipped):
    with pytest.raises(NetworkError, match="correct=False needs a network: set network"):
        fit(None, correct=False, name="refused")
    assert not files_below(output)
    with pytest.raises(NetworkError, match=r"no network for lens parameters.*correct=True"):
        fit("auto", correct=False)


def test_uncorrected_with_priors_that_exclude_the_posterior(output, known):
    model = targets.model()
    model.x = af.UniformPrior(-4.0, -3.0)
    with pytest.raises(NetworkError, match=r"0 % of its posterior.*widen them"):
        fit(known, model=model, correct=False)


def test_start_points_without_a_network(shipped, known):
    with pytest.raises(NetworkError, match=r"no start points: no network.*give the name or path"):
        aml.initializer_from("auto", observed.image(), targets.model())
    model = targets.model()
    model.x = af.UniformPrior(-4.0, -3.0)
    with pytest.raises(NetworkError, match=r"0 % of its posterior.*widen them"):
        aml.initializer_from(known, observed.image(), model)


# --- start points of others ---------------------------------------------------------------------


@pytest.mark.parametrize("where", [(0.8, 1.2), (-4.9, -4.8)], ids=["right", "wrong"])
def test_a_search_starts_where_its_initializer_says(output, where):
    model, analysis = targets.model(), Recorded()
    initializer = af.InitializerParamBounds({model.x: where})
    _, samples = fit("auto", analysis, model, initializer=initializer)
    first = np.array(analysis.points[: SETTINGS["n_draws"]])
    assert np.mean((first[:, 0] >= where[0]) & (first[:, 0] <= where[1])) > 0.95
    assert np.ptp(first[:, 2]) > 0.5 * targets.WIDTH  # nothing was said of it: the prior
    assert samples.samples_info["network"] is None
    error = samples.samples_info["log_evidence_error"]
    assert abs(samples.log_evidence - targets.LOG_EVIDENCE) < 4.0 * error


def test_a_search_starts_at_an_earlier_result(output):
    _, samples = fit(None)
    model, analysis = targets.model("zyx"), Recorded()
    earlier = SimpleNamespace(samples=samples, model=samples.model)
    initializer = af.InitializerParamStartPoints.from_result(earlier, model)
    _, again = fit(None, analysis, model, initializer=initializer)
    best = samples.max_log_likelihood(as_instance=False)
    np.testing.assert_allclose(analysis.points[5], best, atol=1e-4)
    assert again.samples_info["status"] == "CONVERGED"
    assert again.samples_info["n_likelihood"] < samples.samples_info["n_likelihood"]


def test_start_points_are_seeded_and_inside_the_priors():
    model = targets.model()
    starts = starts_at(af.InitializerParamBounds({model.y: (0.0, 0.1)}), model)
    assert starts.are_trusted and not starts.are_prior
    z = starts.draw(50, np.random.default_rng(0))
    assert np.all(z == starts.draw(50, np.random.default_rng(0)))
    assert np.ptp(z[:, 1]) < 0.1 < np.ptp(z[:, 0])
    outside = starts_at(af.InitializerParamBounds({model.x: (99.0, 100.0)}), model)
    with pytest.raises(OptionError, match="outside of the prior"):
        outside.draw(1, np.random.default_rng(0))
