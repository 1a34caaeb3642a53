"""Configuration of Sphinx: ``make docs`` builds the pages into docs/_build/html."""

import shutil
from importlib.metadata import version as version_of
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent

project = "autolens_ml"
author = "The autolens_ml developers"
copyright = "the autolens_ml developers"
release = version = version_of("autolens_ml")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_generated/api/**/__pycache__"]
html_theme = "furo"
html_title = f"autolens_ml {release}"

# Notebooks are stored as they came out of `make tutorials`.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

GENERATED = FOLDER / "_generated"


def _copied(folder: Path, pattern: str, name: str) -> None:
    """Pages that live elsewhere in the repository, where Sphinx can see them."""
    target = GENERATED / name
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob(pattern)):
        shutil.copyfile(path, target / path.name)


def _cards() -> None:
    """One page for each network that ships, made from its card."""
    from autolens_ml.networks.checkpoint import cards

    folder = GENERATED / "cards"
    folder.mkdir(parents=True, exist_ok=True)
    for card in cards():
        training = card.training
        lines = [
            f"# {card.name}",
            card.description,
            "| | |\n|---|---|\n"
            f"| task | {card.task} |\n"
            f"| instrument | {card.instrument.get('name', '')} |\n"
            f"| bands | {', '.join(card.bands) or 'any'} |\n"
            f"| parameters | {card.n_parameters:,} |\n"
            f"| sha256 of the weights | `{card.sha256}` |\n"
            f"| trained by | `autolens-ml train {training.get('preset', card.name)}` |\n"
            f"| seed | {training.get('seed', '')} |\n"
            f"| examples | {training.get('samples', 0):,} |\n"
            f"| hours | {training.get('hours', '')} on {training.get('hardware', '')} |",
        ]
        if card.metrics:
            rows = "\n".join(
                f"| {name} | {metric['value']:.4g} "
                f"| {metric['low']:.4g}&nbsp;to&nbsp;{metric['high']:.4g} | {metric['n']:,} |"
                for name, metric in card.metrics.items()
            )
            lines.append(
                "## Measured on examples that it never saw\n\n"
                f"By `{next(iter(card.metrics.values()))['command']}`.\n\n"
                f"| | value | 95 % interval | examples |\n|---|---:|---:|---:|\n{rows}"
            )
        figures = sorted((FOLDER / "cards" / card.name).glob("*.png"))
        if figures:
            shown = "\n\n".join(
                f"![{path.stem.replace('_', ' ')}](../../cards/{card.name}/{path.name})"
                for path in figures
            )
            lines.append(f"## Figures\n\n{shown}")
        (folder / f"{card.name}.md").write_text("\n\n".join(lines) + "\n")


_copied(ROOT / "howtolens_ml" / "notebooks", "*.ipynb", "tutorials")
_copied(ROOT / "benchmarks" / "results", "*.md", "benchmarks")
for _figures in (ROOT / "benchmarks" / "results").glob("*/*.png"):
    _copied(_figures.parent, _figures.name, f"benchmarks/{_figures.parent.name}")
_cards()
