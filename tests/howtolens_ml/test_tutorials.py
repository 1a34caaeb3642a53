"""The scripts of the tutorials run, and their stored notebooks are theirs, and ran."""

import os
import re
import tokenize
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from autonerves import conf

from howtolens_ml import fast
from howtolens_ml.build import (
    FIGURES,
    NOTEBOOKS,
    SCRIPTS,
    SHOWN,
    executed,
    figure_from,
    notebook_from,
    order_of,
)

ROOT = Path(__file__).parents[2]

CHAPTERS = sorted(SCRIPTS.glob("chapter_*.py"), key=order_of)
CHAPTER = pytest.mark.parametrize("script", CHAPTERS, ids=lambda path: path.stem)

SCRIPT = '''"""
Title
=====

__Contents__
"""

import os

"""
__A Section__

Words.
"""

x = """not text"""
print(x)
'''


def test_text_and_code_become_cells():
    cells = notebook_from(SCRIPT).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown", "code"]
    assert cells[0].source == "Title\n=====\n\n## Contents"
    assert cells[2].source == "## A Section\n\nWords."
    assert cells[3].source == 'x = """not text"""\nprint(x)'


def test_outputs_are_stored_as_a_terminal_shows_them(tmp_path):
    script = 'import sys\n\nprint("1 of 2\\r2 of 2")\nprint("noise", file=sys.stderr)\n'
    (cell,) = executed(notebook_from(script), tmp_path).cells
    assert [output.text for output in cell.outputs] == ["2 of 2\n"]


@CHAPTER
def test_a_chapter_has_the_form_of_a_tutorial(script):
    with tokenize.open(script) as stream:
        text = stream.read()
    first = notebook_from(text).cells[0].source.splitlines()
    assert first[0].startswith("Chapter ") and set(first[1]) == {"="}
    for section in ("__Contents__", "__Exercise__", "__Wrap Up__"):
        assert section in text
    # What the contents promise is there.
    contents = text.split("__Contents__")[1].split('"""')[0]
    promised = [line.split("**")[1].rstrip(":") for line in contents.splitlines() if "**" in line]
    assert len(promised) > 4
    for name in promised:
        assert f"__{name}__" in text, name
    assert 250 <= len(text.splitlines()) <= 450


@CHAPTER
def test_the_notebook_is_of_its_script_and_ran(script):
    path = NOTEBOOKS / f"{script.stem}.ipynb"
    assert path.is_file(), "run `make tutorials`"
    notebook = nbformat.read(path, as_version=4)
    made = notebook_from(script.read_text())
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in made.cells]
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


# Even on little these are the longest; `make tutorials-fast` runs all of them.
HEAVY = (2, 3, 4, 10)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, marks=pytest.mark.heavy if order_of(script) in HEAVY else ())
        for script in CHAPTERS
    ],
    ids=lambda path: path.stem,
)
@pytest.mark.filterwarnings("default")
def test_a_chapter_runs_on_little(script, tmp_path):
    fast.run(script, tmp_path)


def test_a_quick_run_leaves_nothing_behind(tmp_path):
    script = tmp_path / "chapter_99_breaks.py"
    script.write_text(
        "import os\n"
        "import matplotlib.pyplot as plt\n"
        "plt.figure()\n"
        "plt.rcParams['font.size'] = 30\n"
        "open('here', 'w').close()\n"
        "raise InterruptedError(os.environ['PYAUTO_TEST_MODE'])\n"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    before = dict(os.environ), Path.cwd(), conf.instance.output_path, plt.rcParams["font.size"]
    with pytest.raises(InterruptedError, match="2"):
        fast.run(script, folder)
    after = dict(os.environ), Path.cwd(), conf.instance.output_path, plt.rcParams["font.size"]
    assert after == before
    assert not plt.get_fignums()
    assert (folder / "here").is_file()


def test_numbers_that_are_made_smaller_are_in_their_scripts(tmp_path, monkeypatch):
    assert set(fast.SMALLER) <= {script.stem for script in CHAPTERS}
    script = tmp_path / "chapter_99_twice.py"
    script.write_text("n = 100\nm = 100\n")
    monkeypatch.setitem(fast.SMALLER, script.stem, {"n = 100": "n = 1"})
    assert fast.smaller(script) == "n = 1\nm = 100\n"
    monkeypatch.setitem(fast.SMALLER, script.stem, {"= 100": "= 1"})
    with pytest.raises(ValueError, match="2 times"):
        fast.smaller(script)


def test_figures_of_the_documentation_are_those_of_the_notebooks():
    assert {path.name for path in FIGURES.iterdir()} == set(SHOWN)
    for name, (stem, words) in SHOWN.items():
        notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
        assert (FIGURES / name).read_bytes() == figure_from(notebook, words), name
    with pytest.raises(ValueError, match="0 figures"):
        figure_from(notebook, "no such words")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("guides/*.md")]
    shown = {match for page in pages for match in re.findall(r"figures/([\w.]+)", page.read_text())}
    assert shown == set(SHOWN)
