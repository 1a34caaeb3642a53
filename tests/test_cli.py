"""The command line: exit codes, one line for a mistake, JSON alone on stdout."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from autolens_ml.applications.fit import FitReport, Parameter
from autolens_ml.cli import app

runner = CliRunner()


@pytest.fixture
def lens(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    psf = np.zeros((5, 5))
    psf[2, 2] = 1.0
    path = tmp_path / "lens.fits"
    write(path, DATA=rng.normal(size=(20, 20)), PSF=psf, NOISE_MAP=np.ones((20, 20)))
    return path


def write(path: Path, **arrays: np.ndarray) -> None:
    units = [fits.PrimaryHDU()]
    for name, array in arrays.items():
        units.append(fits.ImageHDU(array, name=name))
        units[-1].header["PIXSCALE"] = 0.2
    fits.HDUList(units).writeto(path, overwrite=True)


def changed(path: Path, **changes) -> None:
    with fits.open(path, memmap=False) as units:
        arrays = {unit.name: unit.data.copy() for unit in units[1:]}
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    write(path, **{name: array for name, array in arrays.items() if array is not None})


def made_report(status: str = "CONVERGED") -> FitReport:
    return FitReport(
        search="cnn",
        parameters=(Parameter("galaxies.lens.mass.einstein_radius", 1.2, 0.01, 0.02),),
        log_evidence=10.0,
        log_evidence_error=0.1,
        ess=2000.0,
        pareto_k=0.2,
        status=status,
        n_likelihood=3000,
        n_gradient=200,
        max_log_likelihood=20.0,
        seconds=3.0,
        resumed=False,
        output=Path("output"),
    )


@pytest.fixture
def fitted(monkeypatch):
    """Stand in for the fit itself; returns what it was called with."""
    calls = {"status": "CONVERGED"}

    def fit_imaging(dataset, model, **options):
        calls.update(options, dataset=dataset, model=model)
        options["progress"]("fitting")
        print("a search that prints")
        return made_report(calls["status"])

    monkeypatch.setattr("autolens_ml.applications.fit.fit_imaging", fit_imaging)
    return calls


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["fit"],
        ["demo"],
        ["simulate"],
        ["train"],
        ["evaluate"],
        ["combine"],
        ["predict"],
        ["find"],
        ["explain"],
        ["networks"],
        ["search-manifest"],
        ["benchmark"],
        ["benchmark", "search"],
    ],
)
def test_help_has_an_example(command):
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    if command and command != ["benchmark"]:
        assert f"Example: autolens-ml {' '.join(command)}" in " ".join(result.stdout.split())


def test_fit_passes_its_options_on(lens, fitted, tmp_path):
    result = runner.invoke(
        app,
        [
            *("fit", str(lens), "--mask-radius", "1.8", "--model", "sie+shear+sersic"),
            *("--search", "nautilus", "--seed", "7", "--output", str(tmp_path / "out")),
            *("--max-likelihood-calls", "99", "--redshift-lens", "0.2", "--pixel-scale", "0.25"),
        ],
    )

    assert result.exit_code == 0, result.stderr
    assert "lens.mass.einstein_radius" in result.stdout
    assert "CONVERGED" in result.stdout
    assert "fitting" in result.stderr
    assert fitted["model"].galaxies.lens.redshift == 0.2
    assert fitted["model"].prior_count == 19
    assert fitted["dataset"].pixel_scales == (0.25, 0.25)
    assert (fitted["search"], fitted["seed"], fitted["name"]) == ("nautilus", 7, "lens")
    assert (fitted["max_likelihood_calls"], fitted["output"]) == (99, tmp_path / "out")


def test_json_is_alone_on_stdout(lens, fitted):
    result = runner.invoke(app, ["fit", str(lens), "--mask-radius", "1.8", "--json"])
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["parameters"]["galaxies.lens.mass.einstein_radius"]["median"] == 1.2
    assert values["status"] == "CONVERGED"
    assert "a search that prints" in result.stderr


def test_a_failed_search_exits_with_1(lens, fitted):
    fitted["status"] = "FAILED"
    result = runner.invoke(app, ["fit", str(lens), "--mask-radius", "1.8"])
    assert result.exit_code == 1
    assert "FAILED" in result.stdout


def test_an_unforeseen_error_exits_with_1(lens, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr("autolens_ml.applications.fit.fit_imaging", broken)
    result = runner.invoke(app, ["fit", str(lens), "--mask-radius", "1.8"])
    assert result.exit_code == 1


def test_a_changed_psf_is_said_on_one_line(lens, fitted):
    changed(lens, PSF=lambda psf: 3.0 * psf)
    result = runner.invoke(app, ["fit", str(lens), "--mask-radius", "1.8"])
    assert result.exit_code == 0
    assert "warning: lens.fits[PSF]: PSF sums to 3; it was normalised to 1\n" in result.stderr


def drop(array):
    return None


def hole(value):
    def change(array):
        array[10, 10] = value
        return array

    return change


BAD_FILES = {
    "no PSF": ({"PSF": drop}, "--psf FILE"),
    "no noise map": ({"NOISE_MAP": drop}, "--noise-map FILE"),
    "zero noise": ({"NOISE_MAP": hole(0.0)}, "zero or negative"),
    "NaN noise": ({"NOISE_MAP": hole(np.nan)}, "NaN"),
    "NaN data": ({"DATA": hole(np.nan)}, "NaN"),
    "all zero": ({"DATA": np.zeros_like}, "every pixel inside the mask is 0"),
    "even PSF": ({"PSF": lambda a: a[:4, :4]}, "odd number of pixels"),
    "wrong shape": ({"NOISE_MAP": lambda a: a[:10]}, "10 x 20 px for an image of 20 x 20 px"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_exit_with_2_and_one_line(case, lens, fitted):
    changes, message = BAD_FILES[case]
    changed(lens, **changes)
    assert_refused(["fit", str(lens), "--mask-radius", "1.8"], message)


BAD_OPTIONS = {
    "large mask": (["--mask-radius", "3"], "set --mask-radius between 0 and 2"),
    "no model": (["--model", "sis"], "set --model to"),
    "no model file": (["--model", "nope.json"], "no such file"),
    "no function": (["--model", "nope.py:f"], "no such file"),
    "no psf file": (["--psf", "nope.fits"], "no such file"),
    "no noise file": (["--noise-map", "nope.fits"], "no such file"),
    "no hdu": (["--hdu", "SCI"], "set --hdu to one of"),
    "no band": (["--band", "VIS"], "leave --band out"),
    "scale": (["--pixel-scale", "0"], "give --pixel-scale above 0"),
    "redshifts": (["--redshift-lens", "2"], "set 0 < --redshift-lens"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_exit_with_2_and_one_line(case, lens, fitted):
    options, message = BAD_OPTIONS[case]
    assert_refused(["fit", str(lens), "--mask-radius", "1.8", *options], message)


def test_searches_that_do_not_exist(lens):
    command = ["--search", "emcee"]
    assert_refused(["fit", str(lens), "--mask-radius", "1.8", *command], "cnn, rim, nautilus")
    assert_refused(["demo", *command], "cnn, rim, nautilus")


def test_missing_and_foreign_files(tmp_path):
    assert_refused(["fit", str(tmp_path / "nope.fits")], "no such file")
    text = tmp_path / "text.fits"
    text.write_text("not FITS")
    assert_refused(["fit", str(text)], "not a readable FITS file")


def assert_refused(command: list[str], message: str) -> None:
    result = runner.invoke(app, command)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert message in errors[0]
    assert "Traceback" not in result.stderr


def test_benchmark_outside_a_source_checkout(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    assert_refused(["benchmark", "search"], "source checkout")


def test_manifest_is_json():
    result = runner.invoke(app, ["search-manifest"])
    assert result.exit_code == 0, result.output
    assert "CNN" in json.dumps(json.loads(result.stdout))


def test_networks_are_listed_and_shown():
    listed = runner.invoke(app, ["networks"])
    assert listed.exit_code == 0, listed.output
    assert "euclid-sie" in listed.stdout
    shown = runner.invoke(app, ["networks", "euclid-sie"])
    assert "einstein_radius" in shown.stdout
    (card,) = json.loads(runner.invoke(app, ["networks", "euclid-sie", "--json"]).stdout)
    assert card["task"] == "lens-parameters"
    assert card["metrics"]["coverage_68.3"]["command"].startswith("autolens-ml evaluate euclid-sie")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["networks", "euclid-sei"], "euclid-sie"),
        (["networks", "--task", "cooking"], "no network ships for the task cooking"),
        (["evaluate", "nothing"], "nothing"),
        (["train"], "give a preset, or both"),
        (["train", "euclid-sei"], "did you mean euclid-sie?"),
        (
            ["train", "euclid-sie", "--model", "m.json", "--like", "d.fits"],
            "give a preset, or both",
        ),
        (["simulate", "none-such"], "no preset 'none-such'"),
        (["combine", "euclid-sie", "--name", "two"], "for lens-parameters, not for arc-parameters"),
        (["combine", "nothing", "--name", "two"], "no network 'nothing'"),
    ],
)
def test_bad_requests_of_networks(command, message, tmp_path):
    output = (
        ["--output", str(tmp_path / "out")]
        if command[0] in ("train", "simulate", "combine")
        else []
    )
    assert_refused([*command, *output], message)
    assert not (tmp_path / "out").exists()


def test_simulated_lenses_are_written(tmp_path):
    command = ["simulate", "euclid-sie", "-n", "3", "--output", str(tmp_path / "set.h5"), "--json"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n"] == 3
    assert (tmp_path / "set.h5").stat().st_size > 10_000


@pytest.fixture
def arcs(tmp_path, monkeypatch) -> Path:
    """Two images that can be read and one that cannot, and where the command is called."""
    folder = tmp_path / "arcs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(2):
        image = rng.normal(size=(64, 64)).astype(np.float32)
        fits.PrimaryHDU(image).writeto(folder / f"lens_{i}.fits")
    (folder / "text.fits").write_text("not FITS")
    monkeypatch.chdir(tmp_path)
    return folder


def test_predictions_are_written(arcs):
    result = runner.invoke(app, ["predict", str(arcs), "--noise", "1", "--psf-fwhm", "0.2"])
    assert result.exit_code == 0, result.output
    assert "2 of 3 lenses: predictions.csv" in result.stdout
    assert "not a readable FITS file" in result.stderr and "Traceback" not in result.stderr
    lines = Path("predictions.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("file,error,") and "lens.mass.einstein_radius_low" in lines[0]


def test_predictions_as_json(arcs):
    files = [str(arcs / f"lens_{i}.fits") for i in range(2)]
    result = runner.invoke(app, ["predict", *files, "--out", "new/table.csv", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["file"] for row in rows] == files
    radius = "galaxies.lens.mass.einstein_radius"
    assert rows[0][f"{radius}_low"] < rows[0][radius] < rows[0][f"{radius}_high"]
    assert Path("new/table.csv").is_file()


def test_bad_files_alone_leave_an_earlier_table(arcs):
    Path("predictions.csv").write_text("file\n")
    result = runner.invoke(app, ["predict", str(arcs / "text.fits")])
    assert result.exit_code == 2
    assert "not a readable FITS file" in result.stderr
    assert "0 of 1 lenses: no table is written" in result.stdout
    assert Path("predictions.csv").read_text() == "file\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "euclid-sei"], "did you mean euclid-sie?"),
        (["--noise", "0"], "noise of 0: give a finite number above 0"),
        (["--pixel-scale", "-0.1"], "pixel scale of -0.1: give a finite number above 0"),
        (["--psf-fwhm", "nan"], "PSF width of nan: give a finite number above 0"),
        (["--out", "."], "cannot be written"),
    ],
)
def test_bad_requests_of_predictions(options, message, arcs):
    assert_refused(["predict", str(arcs), *options], message)
    assert not Path("predictions.csv").exists()


def test_predictions_of_nothing(arcs):
    for file in arcs.iterdir():
        file.unlink()
    assert_refused(["predict", str(arcs)], "give FITS or PNG files")
