"""autofit's search contract, checked on our searches as autofit checks it on its own."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autofit as af
import numpy as np
import pytest
from autofit.mapper.identifier import Identifier
from autofit.non_linear.paths.null import NullPaths
from autofit.non_linear.search import registry
from autofit.non_linear.search.capabilities import CAPABILITY_ATTRIBUTES, capabilities_from
from autonerves import conf
from autonerves.class_path import get_class_path
from autonerves.dictable import from_dict, to_dict

import autolens_ml as aml
from autolens_ml.search.registry import manifest
from tests.search import targets

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kind:
    """A search under test.

    Attributes
    ----------
    settings
        Small, and without a network.
    hopeless
        Far too few likelihoods for any certificate.
    identifier
        Of the default settings: changing it moves the output folder of every fit users have.
    changes
        Settings that change results.
    """

    name: str
    settings: dict[str, Any]
    hopeless: dict[str, Any]
    identifier: str
    changes: tuple[dict[str, Any], ...]

    @property
    def cls(self) -> type:
        return getattr(aml, self.name)


SETTINGS = {"network": None, "n_effective": 200, "n_draws": 64, "n_polish": 2, "seed": 1}
HOPELESS = {**SETTINGS, "max_likelihood_calls": 30, "n_draws": 16, "n_polish": 1}
CLIMBS = {"starts": None, "n_starts": 4, "n_steps": 20}
CHANGES = ({"n_effective": 500}, {"n_draws": 32}, {"n_polish": 1}, {"seed": 7}, {"network": None})

CNN = Kind(
    "CNN",
    SETTINGS,
    HOPELESS,
    "2951032f31755e624ee64e99bcf53fce",
    (*CHANGES, {"correct": False}),
)
RIM = Kind(
    "RIM",
    {**SETTINGS, **CLIMBS},
    {**HOPELESS, **CLIMBS},
    "958866e696640f17a371b9130428a90a",
    (*CHANGES, {"starts": None}, {"n_starts": 8}, {"n_steps": 50}, {"fine_tune": True}),
)


@pytest.fixture(params=[CNN, RIM], ids=lambda kind: kind.name)
def kind(request):
    """Every search of this package."""
    return request.param


REQUIRED_INFO = {
    "class_path",
    "ess",
    "log_evidence",
    "log_evidence_error",
    "n_gradient",
    "n_likelihood",
    "number_live_points",
    "pareto_k",
    "status",
    "time",
    "total_accepted_samples",
    "total_samples",
}

FILES = {
    ".completed",
    ".identifier",
    "files/covariance.csv",
    "files/model.json",
    "files/samples.csv",
    "files/samples_info.json",
    "files/samples_summary.json",
    "files/search.json",
    "model.info",
    "model.results",
    "search.log",
    "search.summary",
}
INTERNAL_FILES = {
    "files/search_internal/.start_time",
    "files/search_internal/.time",
    "files/search_internal/search_internal.dill",
}


@pytest.fixture
def output(monkeypatch, tmp_path):
    """Send output to an empty folder, without figures."""
    monkeypatch.setattr(conf.instance, "output_path", str(tmp_path))
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_WORKSPACE_VERSION_CHECK", "1")
    return tmp_path


@pytest.fixture
def keep_internal(monkeypatch):
    """Keep the search's internal state after a fit, as the user's config can ask for."""
    config = conf.instance["output"]
    before = config["search_internal"]
    config["search_internal"] = True
    yield
    config["search_internal"] = before


@pytest.fixture
def test_mode(monkeypatch, output):
    """Reduce the budget by environment; it is read when a search is made."""
    monkeypatch.setenv("PYAUTO_TEST_MODE", "1")


def count_runs(monkeypatch, cls: type) -> list[None]:
    """Return a list that grows by one with each run of the backend."""
    runs: list[None] = []
    run = cls.run

    def counted(self, ctx):
        runs.append(None)
        return run(self, ctx)

    monkeypatch.setattr(cls, "run", counted)
    return runs


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def arguments(cls: type) -> set[str]:
    """Return the names of a constructor's arguments, without self and the catch-alls."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    catch_all = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name for p in parameters if p.name != "self" and p.kind not in catch_all}


def in_fresh_process(code: str, *args: str) -> str:
    """Run code in a new interpreter from the repository root and return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip().splitlines()[-1]


# --- construction -------------------------------------------------------------------------------


def test_default_construction(kind):
    search = kind.cls()
    assert isinstance(search, af.NonLinearSearch)
    assert isinstance(search.paths, NullPaths)


def test_every_argument_is_stored(kind):
    """search.json is made by reading every constructor argument back from the search."""
    search = kind.cls()
    not_stored = {"iterations_per_quick_update", "iterations_per_full_update", "session"}
    missing = {name for name in arguments(kind.cls) - not_stored if not hasattr(search, name)}
    assert not missing


def test_constructor_has_what_all_searches_share(kind):
    shared = set.intersection(
        *(arguments(entry.resolve()) for entry in registry.entries() if not entry.lazy)
    )
    assert {"name", "path_prefix", "unique_tag"} <= shared
    assert shared <= arguments(kind.cls)


def test_identifier_fields_are_arguments(kind):
    fields = kind.cls.__identifier_fields__
    assert set(fields) <= arguments(kind.cls)
    assert not set(fields) & set(CAPABILITY_ATTRIBUTES)


def test_default_identifier(kind):
    assert str(Identifier(kind.cls())) == kind.identifier


def test_settings_that_change_the_result_change_the_folder(kind):
    default = str(Identifier(kind.cls()))
    assert all(str(Identifier(kind.cls(**change))) != default for change in kind.changes)


@pytest.mark.parametrize("change", [{"name": "other"}, {"silence": True}])
def test_settings_that_do_not_change_the_result_keep_the_folder(kind, change):
    assert str(Identifier(kind.cls(**change))) == str(Identifier(kind.cls()))


def test_search_json_round_trip(kind, output):
    for settings in ({}, kind.settings, {"path_prefix": "a/b", "name": "c"}):
        stored = json.dumps(to_dict(kind.cls(**settings)))
        loaded = from_dict(json.loads(stored))
        assert type(loaded) is kind.cls
        assert to_dict(loaded) == json.loads(stored)
        for name, value in settings.items():
            if name != "path_prefix":
                assert getattr(loaded, name) == value


def test_search_with_fallback_round_trips(kind, output):
    stored = json.loads(json.dumps(to_dict(kind.cls(fallback=af.Nautilus(n_live=77)))))
    loaded = from_dict(stored)
    assert type(loaded.fallback) is af.Nautilus
    assert loaded.fallback.n_live == 77


def test_construction_leaves_the_config_alone(kind):
    sections = ("general", "output", "visualize")
    before = {name: copy.deepcopy(conf.instance.dict.get(name)) for name in sections}
    assert before["output"]
    kind.cls(**kind.settings)
    assert {name: conf.instance.dict.get(name) for name in sections} == before


def test_search_is_copied_and_pickled(kind):
    search = kind.cls(**kind.settings)
    for other in (copy.copy(search), copy.deepcopy(search), pickle.loads(pickle.dumps(search))):
        assert all(getattr(other, name) == value for name, value in SETTINGS.items())


# --- a fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_jax", [False, True], ids=["numpy", "jax"])
def test_output_files(kind, test_mode, keep_internal, use_jax):
    search = kind.cls(name="files", **kind.settings)
    search.fit(model=targets.model(), analysis=targets.Gaussian(use_jax=use_jax))
    assert files_below(Path(search.paths.output_path)) == FILES | INTERNAL_FILES


def test_internal_state_is_removed_by_default(kind, test_mode):
    search = kind.cls(name="files", **kind.settings)
    search.fit(model=targets.model(), analysis=targets.Gaussian())
    assert files_below(Path(search.paths.output_path)) == FILES


def test_completed_fit_is_not_run_again(kind, test_mode, monkeypatch):
    runs = count_runs(monkeypatch, kind.cls)
    first, second = (
        kind.cls(name="twice", **kind.settings).fit(
            model=targets.model(), analysis=targets.Gaussian()
        )
        for _ in range(2)
    )
    assert len(runs) == 1
    assert second.samples.log_evidence == first.samples.log_evidence


def test_fit_without_a_name_writes_nothing(kind, test_mode, output):
    result = kind.cls(**kind.settings).fit(model=targets.model(), analysis=targets.Gaussian())
    assert len(result.samples.sample_list) > 0
    assert files_below(output) == set()


def test_samples_without_output_cannot_be_loaded(kind, test_mode):
    search = kind.cls(**kind.settings)
    search.fit(model=targets.model(), analysis=targets.Gaussian())
    # `NullPaths` keeps no internal state: reading samples from nothing is an error, not a guess.
    with pytest.raises((TypeError, AttributeError)):
        search.samples_from(targets.model(), None)


@pytest.mark.parametrize("error", [FileNotFoundError, NotImplementedError])
def test_samples_fall_back_on_the_table(kind, test_mode, monkeypatch, caplog, error):
    search = kind.cls(name="fallback", **kind.settings)
    model = targets.model()
    result = search.fit(model=model, analysis=targets.Gaussian())

    def unreadable(self, model, search_internal=None):
        raise error("no internal state")

    monkeypatch.setattr(kind.cls, "samples_via_internal_from", unreadable)
    with caplog.at_level("WARNING"):
        samples = search.samples_from(model, None)
    assert any("samples.csv" in record.message for record in caplog.records)
    assert samples.log_evidence == result.samples.log_evidence


def test_samples_are_made_from_the_archive(kind, test_mode, keep_internal):
    search = kind.cls(name="archive", **kind.settings)
    model = targets.model()
    result = search.fit(model=model, analysis=targets.Gaussian())
    samples = search.samples_via_internal_from(model, None)
    np.testing.assert_array_equal(samples.parameter_lists, result.samples.parameter_lists)
    np.testing.assert_array_equal(samples.weight_list, result.samples.weight_list)


def test_samples_info(kind, output):
    search = kind.cls(name="info", **kind.settings)
    samples = search.fit(model=targets.model(), analysis=targets.Gaussian()).samples
    assert isinstance(samples, af.SamplesNest)
    assert set(samples.samples_info) >= REQUIRED_INFO
    stored = json.loads((Path(search.paths.output_path) / "files/samples_info.json").read_text())
    assert set(stored) == set(samples.samples_info)
    assert stored["class_path"] == get_class_path(type(samples))
    assert stored["status"] in {"CONVERGED", "MARGINAL", "FAILED"}
    assert stored["total_samples"] >= stored["total_accepted_samples"] > 0
    assert stored["n_likelihood"] > 0


@pytest.mark.parametrize("use_jax", [False, True], ids=["numpy", "jax"])
def test_numpy_and_jax_analyses_agree_with_the_truth(kind, output, use_jax):
    samples = (
        kind.cls(**kind.settings)
        .fit(model=targets.model(), analysis=targets.Gaussian(use_jax=use_jax))
        .samples
    )
    info = samples.samples_info
    assert info["status"] == "CONVERGED"
    assert abs(info["log_evidence"] - targets.LOG_EVIDENCE) < 4.0 * info["log_evidence_error"]
    # JAX has gradients; counting them as likelihoods would flatter the search.
    assert (info["n_gradient"] > 0) == use_jax


def test_parameters_are_matched_by_path(kind, output):
    """autofit orders parameters by the creation of their priors, here z, x, y."""
    model = targets.model("zxy")
    assert [path[-1] for path in model.unique_prior_paths] == ["z", "x", "y"]
    instance = (
        kind.cls(**kind.settings).fit(model=model, analysis=targets.Gaussian()).samples.median_pdf()
    )
    for name, value in targets.CENTRE.items():
        assert abs(getattr(instance, name) - value) < targets.SIGMA[name]


def test_weights_are_normalised_and_finite(kind, output):
    samples = (
        kind.cls(**kind.settings).fit(model=targets.model(), analysis=targets.Gaussian()).samples
    )
    weights = np.asarray(samples.weight_list)
    assert np.all(np.isfinite(weights))
    assert np.all(weights >= 0.0)
    assert np.sum(weights) == pytest.approx(1.0)
    assert np.all(np.isfinite(samples.log_likelihood_list))


@pytest.mark.parametrize("level", [2, 3])
def test_modes_that_bypass_the_backend(kind, output, monkeypatch, level):
    monkeypatch.setenv("PYAUTO_TEST_MODE", str(level))
    runs = count_runs(monkeypatch, kind.cls)
    fallback = af.DynestyStatic(name="fallback")
    search = kind.cls(name=f"mode{level}", fallback=fallback, **kind.settings)
    result = search.fit(model=targets.model(), analysis=targets.Gaussian())
    assert not runs
    assert search.paths.is_complete
    assert not fallback.paths.is_complete
    # What scripts print is there, and is nothing that could be taken for a result.
    info = result.samples.samples_info
    assert info["status"] == "SKIPPED"
    assert info["ess"] == info["n_likelihood"] == info["n_gradient"] == 0
    assert min(info["pareto_k"], info["log_evidence_error"]) > 1e9
    assert info["network"] is None
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_test_mode_reduces_the_budget(kind, monkeypatch):
    assert kind.cls.test_mode_budget
    monkeypatch.setenv("PYAUTO_TEST_MODE", "1")
    search = kind.cls()
    for name, value in kind.cls.test_mode_budget.items():
        assert getattr(search, name) == value


def test_same_seed_same_result(kind, output):
    first, second, other = (
        kind.cls(**{**kind.settings, "seed": seed})
        .fit(model=targets.model(), analysis=targets.Gaussian())
        .samples
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.parameter_lists, second.parameter_lists)
    assert first.log_evidence == second.log_evidence
    assert first.log_evidence != other.log_evidence


def test_search_holds_no_torch_and_can_be_pickled_after_a_fit(kind, output):
    search = kind.cls(**kind.settings)
    search.fit(model=targets.model(), analysis=targets.Gaussian())
    assert b"torch" not in pickle.dumps(search)
    assert not any(type(value).__module__.startswith("torch") for value in vars(search).values())


# --- failure ------------------------------------------------------------------------------------


def test_failure_is_loud(kind, output):
    search = kind.cls(name="failed", **kind.hopeless)
    with pytest.warns(RuntimeWarning, match="FAILED.*max_likelihood_calls.*Nautilus.*prior"):
        result = search.fit(model=targets.model(), analysis=targets.Gaussian())
    assert result.samples.samples_info["status"] == "FAILED"
    summary = (Path(search.paths.output_path) / "search.summary").read_text()
    assert "FAILED" in summary


@pytest.mark.filterwarnings("ignore:aml.[A-Z]* FAILED")
def test_failure_is_logged_where_warnings_are_silenced(kind, output, caplog):
    """Some of PyAutoLens's modules silence all warnings of a process."""
    search = kind.cls(name="failed", **kind.hopeless)
    with caplog.at_level("WARNING"):
        search.fit(model=targets.model(), analysis=targets.Gaussian())
    assert any("FAILED" in record.getMessage() for record in caplog.records)


@pytest.mark.filterwarnings("ignore:aml.[A-Z]* FAILED")
def test_fallback_runs_when_the_result_failed(kind, output):
    fallback = af.DynestyStatic(name="fallback", nlive=30, seed=1)
    search = kind.cls(name="failed", fallback=fallback, **kind.hopeless)
    samples = search.fit(model=targets.model(), analysis=targets.Gaussian()).samples
    assert "status" not in samples.samples_info
    assert abs(samples.log_evidence - targets.LOG_EVIDENCE) < 2.0
    # The failed attempt stays on disk beside it.
    assert {path.name for path in output.iterdir()} == {"failed", "fallback"}


def test_fallback_does_not_run_otherwise(kind, output):
    fallback = af.DynestyStatic(name="fallback", nlive=30, seed=1)
    kind.cls(name="good", fallback=fallback, **kind.settings).fit(
        model=targets.model(), analysis=targets.Gaussian()
    )
    assert {path.name for path in output.iterdir()} == {"good"}


def test_budget_is_kept(kind, output):
    settings = {**kind.settings, "n_effective": 10**6, "max_likelihood_calls": 3000}
    samples = kind.cls(**settings).fit(model=targets.model(), analysis=targets.Gaussian()).samples
    # A stage that has begun is finished: within a tenth.
    assert samples.samples_info["n_likelihood"] <= 3300


# --- the registry -------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", aml.search_entries(), ids=lambda entry: entry.name)
def test_entry_equals_class_attributes(entry):
    cls = entry.resolve()
    assert cls is getattr(aml, entry.name)
    assert entry.to_dict()["capabilities"] == capabilities_from(cls)
    assert entry.family in registry.FAMILIES
    assert not entry.missing_requirements()


def test_manifest_has_the_schema_of_autofit():
    ours, theirs = manifest(), registry.manifest()
    assert set(ours) == set(theirs)
    for key in ("schema", "autofit_version", "capability_attributes"):
        assert ours[key] == theirs[key]
    names = {search["name"]: search for search in ours["searches"]}
    for ours_alone in ("CNN", "RIM"):
        assert set(names[ours_alone]) == set(theirs["searches"][0])
    assert json.loads(json.dumps(ours)) == ours


def test_manifest_imports_no_backend():
    code = (
        "import sys; from autolens_ml.search.registry import manifest; manifest(); "
        "print([m for m in ('torch', 'lightning', 'zuko', 'blackjax') if m in sys.modules])"
    )
    assert in_fresh_process(code) == "[]"


def test_register_is_opt_in_and_idempotent():
    code = (
        "import autofit as af, autolens_ml as aml\n"
        "from autofit.non_linear.search import registry\n"
        "count = lambda: [e.name in ('CNN', 'RIM') for e in registry.entries()].count(True)\n"
        "before = count(); aml.register(); aml.register()\n"
        "print(before, count(), registry.entry('RIM').resolve() is aml.RIM)"
    )
    assert in_fresh_process(code) == "0 2 True"


# --- a fresh process ----------------------------------------------------------------------------


def test_a_fit_without_a_network_loads_no_torch():
    code = (
        "import sys\n"
        "from tests.search import targets\n"
        "import autolens_ml as aml\n"
        f"aml.CNN(**{SETTINGS!r}).fit(model=targets.model(), analysis=targets.Gaussian())\n"
        "print('torch' in sys.modules)"
    )
    assert in_fresh_process(code) == "False"


def test_aggregator_loads_results_without_importing_us(kind, output):
    search = kind.cls(name="aggregated", **kind.settings)
    samples = search.fit(model=targets.model(), analysis=targets.Gaussian()).samples
    code = (
        "import sys\n"
        "from autofit.aggregator.aggregator import Aggregator\n"
        "aggregator = Aggregator.from_directory(sys.argv[1])\n"
        "assert not any(name.startswith('autolens_ml') for name in sys.modules)\n"
        "samples, = aggregator.values('samples')\n"
        "search, = aggregator.values('search')\n"
        "print(repr(float(samples.log_evidence)), type(search).__name__, search.n_draws)"
    )
    printed = in_fresh_process(code, str(output)).split()
    assert float(printed[0]) == samples.log_evidence
    assert printed[1:] == [kind.name, str(kind.settings["n_draws"])]
