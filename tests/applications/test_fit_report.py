"""The report: weighted marginals by path, an honest status, JSON that any reader takes."""

import io
import json
from pathlib import Path

import autofit as af
import autolens as al
import numpy as np
import pytest
from rich.console import Console

from autolens_ml.applications.fit.report import (
    FitReport,
    Parameter,
    labels_from,
    quantiles,
    report_from,
)


def report(**changes) -> FitReport:
    values = {
        "search": "cnn",
        "parameters": (
            Parameter("galaxies.lens.mass.einstein_radius", 1.2345, 0.0123, 0.0045, 1.25),
            Parameter("galaxies.lens.bulge.profile_list.39.ell_comps_0", 0.1, 0.02, 0.03),
        ),
        "log_evidence": 5066.0,
        "log_evidence_error": 0.031,
        "ess": 2100.4,
        "pareto_k": 0.31,
        "status": "CONVERGED",
        "n_likelihood": 6000,
        "n_gradient": 400,
        "max_log_likelihood": 5080.0,
        "seconds": 31.4,
        "resumed": False,
        "output": Path("output/lens"),
        "figures": (Path("output/lens/image/corner.png"),),
    }
    return FitReport(**{**values, **changes})


def printed(value) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(value, crop=False)
    return stream.getvalue()


def test_quantiles_of_weighted_samples_are_those_of_repeated_samples():
    rng = np.random.default_rng(1)
    values, repeats = rng.normal(size=400), rng.integers(0, 5, size=400)
    weighted = quantiles(values, repeats / repeats.sum(), (0.16, 0.5, 0.84))
    repeated = np.quantile(np.repeat(values, repeats), (0.16, 0.5, 0.84))
    assert weighted == pytest.approx(repeated, abs=0.02)


def test_zero_weights_do_not_count():
    assert quantiles(np.array([1.0, 2.0, 3.0, 99.0]), np.array([1, 1, 1, 0]), (0.5,)) == (2.0,)


def test_parameters_follow_paths_when_priors_were_replaced():
    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=al.mp.Isothermal),
            source=af.Model(al.Galaxy, redshift=1.0, bulge=al.lp_linear.SersicSph),
        )
    )
    model.galaxies.lens.mass.einstein_radius = af.UniformPrior(0.0, 3.0)
    names = model.model_component_and_parameter_names
    # Each parameter's samples stand at a value that belongs to its name alone.
    expected = {name: 0.01 * index for index, name in enumerate(sorted(names))}
    vectors = [[expected[name] + shift for name in names] for shift in (-1e-3, 0, 1e-3)]
    samples = af.SamplesNest(
        model=model,
        sample_list=af.Sample.from_lists(
            model=model,
            parameter_lists=vectors,
            log_likelihood_list=[1.0, 2.0, 3.0],
            log_prior_list=[0.0] * 3,
            weight_list=[0.25, 0.5, 0.25],
        ),
        samples_info={"log_evidence": 4.5, "total_samples": 12},
    )

    made = report_from(
        samples, search="nautilus", seconds=1.0, resumed=False, output=Path(), truth={names[0]: 7.0}
    )

    assert {p.path: p.median for p in made.parameters} == pytest.approx(expected)
    assert {p.path for p in made.parameters if p.truth is not None} == {names[0]}
    assert made.parameters[0].path.startswith("galaxies.lens")
    assert (made.log_evidence, made.n_likelihood) == (4.5, 12)
    # Two effective samples are no result, whatever the search says of itself.
    assert made.status == "FAILED"
    assert made.ess == pytest.approx(1 / 0.375)
    instance = model.instance_from_vector(vectors[1])
    mass = {p.path: p.median for p in made.parameters}
    assert instance.galaxies.lens.mass.einstein_radius == pytest.approx(
        mass["galaxies.lens.mass.einstein_radius"]
    )


def test_sigmas_from_truth_use_the_error_on_that_side():
    assert Parameter("a", 1.0, 0.1, 0.2, truth=1.4).sigmas_from_truth == pytest.approx(2.0)
    assert Parameter("a", 1.0, 0.1, 0.2, truth=0.9).sigmas_from_truth == pytest.approx(-1.0)
    assert Parameter("a", 1.0, 0.1, 0.2).sigmas_from_truth is None


def test_table():
    text = printed(report())
    assert "lens.mass.einstein_radius" in text
    # Two digits of the larger error set the decimals of the whole row.
    assert "1.234 -0.012 +0.004 1.250 +3.4" in " ".join(text.split())
    assert "5066.00 +- 0.031" in text
    assert "off by (sigma)" in text
    assert "CONVERGED" in text
    assert "6000 and 400 gradients" in text


@pytest.mark.parametrize("status", ["MARGINAL", "FAILED"])
def test_a_doubtful_status_says_what_to_do(status):
    text = printed(report(status=status))
    assert status in text
    assert "--search nautilus" in " ".join(text.split())


def test_paths_stay_on_one_line():
    long = Path("output") / ("x" * 150) / "corner.png"
    assert str(long) in printed(report(figures=(long,)))


def test_json_has_no_number_that_json_lacks():
    values = report(pareto_k=float("inf"), log_evidence_error=float("nan")).as_dict()
    text = json.dumps(values, allow_nan=False)
    read = json.loads(text)
    assert read["pareto_k"] is None
    assert read["parameters"]["galaxies.lens.mass.einstein_radius"]["median"] == 1.2345
    assert read["figures"] == ["output/lens/image/corner.png"]


def test_labels_tell_two_bases_apart():
    paths = [
        "galaxies.lens.bulge.profile_list.19.ell_comps_0",
        "galaxies.lens.bulge.profile_list.39.ell_comps_0",
        "galaxies.lens.mass.centre_0",
    ]
    labels = labels_from(tuple(Parameter(path, 0.0, 1.0, 1.0) for path in paths))
    assert labels == ["lens.bulge.ell_comps_0", "lens.bulge.ell_comps_0 (2)", "lens.mass.centre_0"]
