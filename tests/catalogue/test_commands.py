"""``autolens-ml catalogue``: options reach the run, mistakes are one line."""

import json

import pytest
from typer.testing import CliRunner

from autolens_ml.cli import app
from tests.catalogue.chores import write

runner = CliRunner()


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["population"]])
def test_help_has_an_example(command):
    shown = runner.invoke(app, ["catalogue", *command, "--help"])
    assert shown.exit_code == 0
    assert not command or f"autolens-ml catalogue {command[0]}" in shown.output


def test_run_and_report(chore, tmp_path):
    folder = write(tmp_path / "in", a="1", b="refuse")
    asked = ["catalogue", "run", str(folder), "--task", "chore", "--workers", "0"]
    asked += ["--out", str(tmp_path / "out"), "--set", "factor=3", "-s", "offset=1"]
    done = runner.invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert (values["n"], values["n_errors"], values["statuses"]) == (2, 1, {"DONE": 1, "ERROR": 1})
    assert "2 lenses, 0 of them done" in done.stderr

    page = runner.invoke(app, ["catalogue", "report", str(tmp_path / "out")])
    assert page.exit_code == 0, page.output
    assert page.stdout.strip().endswith("index.html")

    again = runner.invoke(app, asked)
    assert again.exit_code == 0
    assert "1 measured in" in again.stdout


def test_a_run_without_any_result_fails(chore, tmp_path):
    folder = write(tmp_path / "in", b="refuse")
    out = str(tmp_path / "out")
    asked = ["catalogue", "run", str(folder), "--task", "chore", "--workers", "0", "--out", out]
    assert runner.invoke(app, asked).exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "factor"], "error: --set factor: give KEY=VALUE, each key once"),
        (["--set", "factor=1", "--set", "factor=2"], "each key once"),
        (["--slurm", "=3"], "error: --slurm =3: give KEY=VALUE, each key once"),
        (["--set", "mask=1"], "error: no option 'mask' of this task; known are factor"),
        (["--workers", "0", "--scheduler", "x"], "give one of --workers, --scheduler and --slurm"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(chore, tmp_path, options, message):
    folder = write(tmp_path / "in", a="1")
    out = str(tmp_path / "out")
    asked = ["catalogue", "run", str(folder), "--task", "chore", "--out", out, *options]
    done = runner.invoke(app, asked)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_population_of_no_run(tmp_path):
    done = runner.invoke(app, ["catalogue", "population", str(tmp_path)])
    assert done.exit_code == 2
    assert "no run of a catalogue; give the --out" in done.stderr
