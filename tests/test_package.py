"""The package as a package: what importing it loads, its one version, and what no file may hold."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import autolens_ml as aml

ROOT = Path(__file__).parents[1]


def test_import_leaves_torch_and_the_command_line_alone():
    heavy = ("torch", "lightning", "zuko", "safetensors", "typer")
    code = f"import sys, autolens_ml; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_version_stands_in_one_place():
    assert metadata.version("autolens_ml") == aml.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{aml.__version__}]" in changelog
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {aml.__version__}\n" in citation


def test_package_data_is_there():
    package = files("autolens_ml")
    for name in ("py.typed", "data/demo/demo.fits", "data/demo/truth.json"):
        assert (package / name).is_file(), name


def test_public_names_exist():
    for name in aml.__all__:
        assert getattr(aml, name) is not None


def test_no_file_holds_a_path_of_a_machine_or_an_index():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    # Written in pieces, so that this file does not match itself.
    pieces = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/tm" + "p/", r"https?://\S+\.wh" + "l"]
    forbidden = re.compile("|".join(pieces))
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".json", ".ipynb", ".cff", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore") if path.is_file() else ""
            found += [f"{name}: {match.group()}" for match in forbidden.finditer(text)]
    assert not found


@pytest.mark.slow
def test_examples_of_the_readme_run(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len(examples) == 2
    # As a reader would, one after the other.
    script = "\n".join(examples)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    status, log_evidence = re.findall(r"^([A-Z]+) (\S+) \S+ \S+ \S+$", done.stdout, re.MULTILINE)[
        -1
    ]
    assert status == "CONVERGED"
    # The evidence of the demo's fit, some 3214: a local maximum is thousands below it.
    assert abs(float(log_evidence) - 3214.0) < 5.0
    assert list((tmp_path / "output" / "demo" / "readme").glob("*/files/samples.csv"))


def test_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pages = [*(ROOT / "autolens_ml").rglob("*.py"), *(ROOT / "docs").glob("**/*.md")]
    pages = [page for page in pages if "_build" not in page.parts] + [ROOT / "README.md"]
    named = {
        name
        for page in pages
        for group in re.findall(r"(?:autolens_ml|\.)\[([a-z,]+)\]", page.read_text())
        for name in group.split(",")
    }
    assert "slurm" in named
    assert named <= set(extras["optional-dependencies"])
