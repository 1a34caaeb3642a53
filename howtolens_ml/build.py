"""Notebooks of the tutorials, made from their scripts and run: ``python -m howtolens_ml.build``.

A script is in the form of PyAutoLens's: module-level strings are text, what is between them is
code. Notebooks are stored as they came out, with their figures, so they can be read without running
anything. The figures that README and documentation show are taken out of them; ``--figures`` does
only that. ``--fast`` runs the scripts on little and stores nothing: see `howtolens_ml.fast`.
"""

from __future__ import annotations

import argparse
import ast
import base64
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import nbformat
from autofit.tools.util import open_atomic
from nbclient import NotebookClient

from howtolens_ml import fast

FOLDER = Path(__file__).parent
SCRIPTS, NOTEBOOKS = FOLDER / "scripts", FOLDER / "notebooks"
FIGURES = FOLDER.parent / "docs" / "figures"
# Figures of README and documentation: the script of each, and words of the cell that draws it.
SHOWN = {
    "chapter_1_fit.png": ("chapter_1_swap_the_search", 'title="Best model"'),
    "chapter_1_posterior.png": ("chapter_1_swap_the_search", '"aml.CNN": result.samples'),
    "chapter_2_vortex.png": ("chapter_2_vortex_and_mass_sheet", 'title="With vortex"'),
    "chapter_4_coverage.png": ("chapter_4_uncertainty", "aml.plot.coverage_plot("),
    "chapter_5_steps.png": ("chapter_5_the_rim", "shown(steps_plot(alone"),
    "chapter_7_explained.png": ("chapter_7_finding_lenses", 'set_title("Grad-CAM"'),
    "chapter_8_strange.png": ("chapter_8_morphology_and_anomalies", "heat_map_plot(autoencoder"),
    "chapter_10_population.png": ("chapter_10_catalogues", "infer_population(samples)\nmedians"),
}
# What is printed by libraries on their way is not for readers.
_STREAMS_KEPT = ("stdout",)
_LOGGED = re.compile(
    r"\d{4}-\d{2}-\d{2} [\d:,]+ - .+ - [A-Z]+ - .*\n?|Time to compute latent variables: .*\n?"
)
_TIMEOUT = 3600


def notebook_from(script: str) -> nbformat.NotebookNode:
    """Cells of a script: text where a string stands alone, code elsewhere."""
    lines = script.splitlines()
    cells, start = [], 0

    def code_until(end: int) -> None:
        source = "\n".join(lines[start:end]).strip("\n")
        if source.strip():
            cells.append(nbformat.v4.new_code_cell(source))

    for node in ast.parse(script).body:
        is_text = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
        if is_text:
            code_until(node.lineno - 1)
            cells.append(nbformat.v4.new_markdown_cell(_markdown(node.value.value)))
            start = node.end_lineno
    code_until(len(lines))
    notebook = nbformat.v4.new_notebook(cells=cells)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
    notebook.metadata.kernelspec = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return notebook


def _markdown(text: str) -> str:
    """Headings of Markdown where PyAutoLens's scripts write ``__Section__``."""
    lines = []
    for line in text.strip().splitlines():
        stripped = line.strip()
        if stripped.startswith("__") and stripped.endswith("__") and len(stripped) > 4:
            line = f"## {stripped.strip('_')}"
        lines.append(line)
    return "\n".join(lines)


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder; what libraries log is left out.

    Raises
    ------
    CellExecutionError
        When a cell fails.
    """
    client = NotebookClient(
        notebook,
        timeout=_TIMEOUT,
        startup_timeout=_TIMEOUT,  # on a busy machine a kernel takes minutes to come up
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
    )
    client.execute()
    return cleaned(notebook)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook with what it printed and drew, and without what libraries logged, in place."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        outputs: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            if output.output_type != "stream":
                outputs.append(output)
            elif output.name in _STREAMS_KEPT:
                # Joined as they came: a line may be in several pieces.
                if outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text
                else:
                    outputs.append(
                        nbformat.v4.new_output("stream", name="stdout", text=output.text)
                    )
        for output in outputs:
            if output.output_type == "stream":
                output.text = _as_shown(output.text)
        cell.outputs = [o for o in outputs if o.output_type != "stream" or o.text]
    return notebook


def _as_shown(text: str) -> str:
    """Text as a terminal shows it, where a line is written over, and without what is logged."""
    lines = _LOGGED.sub("", text).split("\n")
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines]
    # A log that is taken out leaves the blank line that ended it.
    return "\n".join(shown).strip("\n") + "\n" if any(shown) else ""


def order_of(script: Path) -> int:
    """The number of a chapter."""
    return int(script.stem.split("_")[1])


def figure_from(notebook: nbformat.NotebookNode, words: str) -> bytes:
    """The PNG that the one cell with these words drew.

    Raises
    ------
    ValueError
        When there is no such cell, or more than one, or it drew another number of figures.
    """
    figures = [
        output.data["image/png"]
        for cell in notebook.cells
        if cell.cell_type == "code" and words in cell.source
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    if len(figures) != 1:
        raise ValueError(f"{len(figures)} figures, not one, of cells with {words!r}")
    return base64.b64decode(figures[0])


def store_figures(script: Path) -> None:
    """Take the figures that are shown elsewhere out of a script's stored notebook."""
    notebook = nbformat.read(NOTEBOOKS / f"{script.stem}.ipynb", as_version=4)
    for name, (stem, words) in SHOWN.items():
        if stem == script.stem:
            FIGURES.mkdir(exist_ok=True)
            (FIGURES / name).write_bytes(figure_from(notebook, words))


def build(script: Path) -> None:
    """Make the notebook of a script, and the figures that are shown elsewhere."""
    notebook = notebook_from(script.read_text())
    with tempfile.TemporaryDirectory() as folder:
        executed(notebook, Path(folder))
    NOTEBOOKS.mkdir(exist_ok=True)
    with open_atomic(NOTEBOOKS / f"{script.stem}.ipynb", "w") as file:
        nbformat.write(notebook, file)
    store_figures(script)


def run_fast(script: Path) -> None:
    """Run a script on little, in a folder that is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        fast.run(script, Path(folder))


def main() -> int:
    """Build all, or those that are named by a part of their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names, e.g. chapter_2; all by default")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--fast", action="store_true", help="run on little, store nothing")
    instead.add_argument("--figures", action="store_true", help="only those of stored notebooks")
    options = parser.parse_args()
    scripts = sorted(SCRIPTS.glob("chapter_*.py"), key=order_of)
    names = options.names
    chosen = [path for path in scripts if not names or any(name in path.stem for name in names)]
    if not chosen:
        print(f"no tutorial like {', '.join(names)}: see {SCRIPTS}", file=sys.stderr)
        return 2
    work: Callable[[Path], None] = build
    if options.fast or options.figures:
        work = run_fast if options.fast else store_figures
    failed = False
    for script in chosen:
        started = time.perf_counter()
        try:
            work(script)
        except Exception:  # whatever a tutorial raises
            failed = True
            print(f"{script.stem}: failed", file=sys.stderr, flush=True)
            traceback.print_exc()
        else:
            print(f"{script.stem}: {time.perf_counter() - started:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
