"""`aml.CNN` fits everything PyAutoLens fits, inside a chain of searches too."""

import autofit as af
import numpy as np
import pytest
from autofit.aggregator.aggregator import Aggregator
from autonerves import conf

import autolens_ml as aml
from tests.search.fits import FITS, Fit

# Small budgets: these tests show that a fit works, the benchmark how well.
SETTINGS = {"network": None, "n_effective": 200, "max_likelihood_calls": 6000, "seed": 1}
MAX_SIGMA = 5.0

# More than about 20 seconds on two cores.
SLOW = {"imaging_pixelized"}


@pytest.fixture(scope="module")
def quiet():
    """No figures, and no latent variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
        patch.setenv("PYAUTO_SKIP_LATENTS", "1")
        patch.setenv("PYAUTO_SKIP_WORKSPACE_VERSION_CHECK", "1")
        yield


@pytest.fixture(scope="module")
def fitted(quiet, tmp_path_factory):
    """A function that fits each kind once: the fit, its result and where it was written."""
    done = {}

    def result(name):
        if name not in done:
            fit, folder = FITS[name](), tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(conf.instance, "output_path", str(folder))
                search = aml.CNN(name=name, **SETTINGS)
                done[name] = fit, search.fit(model=fit.model, analysis=fit.analysis), folder
        return done[name]

    return result


@pytest.fixture
def output(quiet, monkeypatch, tmp_path):
    """Send output to an empty folder."""
    monkeypatch.setattr(conf.instance, "output_path", str(tmp_path))
    return tmp_path


def moments(samples) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the posterior's mean and standard deviation, by every path of every parameter.

    By path, because a model that is loaded orders its parameters differently.
    """
    values = np.asarray(samples.parameter_lists)
    weights = np.asarray(samples.weight_list)
    weights = weights / weights.sum()
    mean = weights @ values
    sigma = np.sqrt(weights @ (values - mean) ** 2)
    index = {prior: i for i, prior in enumerate(samples.model.priors_ordered_by_id)}
    return {
        path: (mean[index[prior]], sigma[index[prior]])
        for path, prior in samples.model.path_priors_tuples
    }


def assert_truth_is_inside(fit: Fit, samples) -> None:
    found = moments(samples)
    for path, value in fit.truth.items():
        mean, sigma = found[path]
        assert abs(mean - value) < MAX_SIGMA * sigma, (path, value, mean, sigma)


def assert_same_posterior(samples, expected, largest_shift: float) -> None:
    """Compare means, in standard deviations of what is expected."""
    found = moments(samples)
    for path, (other, sigma) in moments(expected).items():
        mean, _ = found[path]
        assert abs(mean - other) < largest_shift * sigma, (path, mean, other, sigma)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FITS]
)
def test_every_kind_of_fit(fitted, name):
    fit, result, output = fitted(name)
    samples = result.samples
    info = samples.samples_info
    assert info["status"] in {"CONVERGED", "MARGINAL"}
    assert np.isfinite(samples.log_evidence)
    assert 0.0 < info["log_evidence_error"] < 0.5
    assert info["n_likelihood"] <= SETTINGS["max_likelihood_calls"]
    assert_truth_is_inside(fit, samples)

    (loaded,) = Aggregator.from_directory(output).values("samples")
    assert loaded.log_evidence == samples.log_evidence
    # Samples of negligible weight are not written, so not exactly.
    assert_same_posterior(loaded, samples, largest_shift=1e-4)


def test_numpy_and_jax_agree(fitted):
    """The same posterior and evidence, whether or not the analysis has gradients."""
    results = {name: fitted(name)[1].samples for name in ("imaging", "imaging_numpy")}
    jax, numpy = results["imaging"], results["imaging_numpy"]
    error = np.hypot(
        jax.samples_info["log_evidence_error"], numpy.samples_info["log_evidence_error"]
    )
    assert abs(jax.log_evidence - numpy.log_evidence) < 4.0 * error
    assert_same_posterior(numpy, jax, largest_shift=0.5)


@pytest.fixture
def first(fitted):
    """Return a fit and its result, which other searches start from."""
    fit, result, _ = fitted("imaging")
    return fit, result


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(lambda: aml.CNN(**SETTINGS), id="CNN"),
        pytest.param(
            lambda: af.Nautilus(n_live=60, n_eff=200, seed=1, verbose=False),
            id="Nautilus",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_search_on_the_centred_model(output, first, search):
    fit, result = first
    model = result.model_centred
    assert model.prior_count == fit.model.prior_count
    samples = search().fit(model=model, analysis=fit.analysis).samples
    # Its priors are narrower and so is the posterior, but not by much.
    assert_same_posterior(samples, result.samples, largest_shift=1.0)


def test_emcee_from_our_result(output, first):
    fit, result = first
    start = af.InitializerParamStartPoints.from_result(
        result, model=fit.model, n_points=30, jitter=1.0
    )
    search = af.Emcee(name="emcee", nwalkers=30, nsteps=300, initializer=start, seed=1)
    samples = search.fit(model=fit.model, analysis=fit.analysis).samples
    assert_same_posterior(samples, result.samples, largest_shift=1.0)
