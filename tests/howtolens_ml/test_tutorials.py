"""The stored notebooks of the tutorials are those of their scripts, and ran."""

import tokenize

import nbformat
import pytest

from howtolens_ml.build import NOTEBOOKS, SCRIPTS, executed, notebook_from, order_of

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
    assert 200 <= len(text.splitlines()) <= 450


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
