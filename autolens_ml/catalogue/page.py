"""A page about a run: a table to sort and search, pictures of each lens, the population.

One HTML file with its style and script inside, and a folder of images: nothing is fetched.
"""

from __future__ import annotations

import contextlib
import html
import math
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.io import fits
from autofit.tools.util import open_atomic
from PIL import Image

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.catalogue.figures import histograms, parameter_plots
from autolens_ml.catalogue.fits_files import whole_files
from autolens_ml.catalogue.records import ERROR, Records
from autolens_ml.catalogue.runs import checked_run
from autolens_ml.catalogue.table import column_of, read_table
from autolens_ml.exceptions import DataError
from autolens_ml.plot.corner_plots import label_from, main_parameters

__all__ = ["write_page"]

_FOLDER, _IMAGES = "report", "images"
# Pixels of pictures in the table, twice what is shown, for sharp screens; images of more pixels
# are mosaics, of which a candidate is a small part.
_HEIGHT, _LARGEST = 220, 2048
_TABLES = {"table.csv": "CSV", "table.fits": "FITS", "table.parquet": "Parquet"}
_ERRORS = ("_error_minus", "_error_plus")
# Numbers beside the parameters, in this order, where a task has them.
_NUMBERS = (
    *("probability", "no_sub", "cdm", "vortex"),
    *("g1", "g2", "error", "log_evidence", "ess", "pareto_k"),
)
_LOOKS = {
    "CONVERGED": "good",
    "DONE": "good",
    "LENS": "good",
    "SUBHALOES": "good",
    "VORTEX": "good",
    "MARGINAL": "doubtful",
    "UNCORRECTED": "doubtful",
    "FAILED": "bad",
    ERROR: "bad",
}
# Contrast of pictures: the brightest share of pixels is white, and the stretch's softening.
_WHITE, _SOFT = 99.7, 0.1


def write_page(output: str | Path, progress: Progress = lambda line: None) -> Path:
    """Write the page about a run.

    Parameters
    ----------
    output
        The folder of the run.
    progress
        Takes a line at a time.

    Returns
    -------
    Path
        ``report/index.html`` in that folder.

    Raises
    ------
    DataError
        When the folder is of no run, or of one without records.
    """
    output, about = checked_run(output)
    store = Records(output)
    records = list(store)
    if not records:
        raise DataError(f"{output}: no lens is done; run the catalogue first")
    folder = output / _FOLDER
    pictures = {}
    for number, record in enumerate(records, start=1):
        written = store.path_of(record["key"]).stat().st_mtime
        pictures[record["name"]] = _pictures_of(record, output, folder, written)
        if number % 100 == 0:
            progress(f"pictures of {number:,} of {len(records):,} lenses")
    progress("drawing the population")
    path = folder / "index.html"
    tables = [path.name for path in map(output.joinpath, _TABLES) if path.is_file()]
    page = _page(about, records, pictures, _population(output, records, folder), tables)
    with open_atomic(path, "wb") as stream:
        stream.write(page.encode("utf-8", "backslashreplace"))
    return path


def _pictures_of(
    record: Mapping[str, Any], output: Path, folder: Path, written: float
) -> list[tuple[str, str]]:
    """Pictures of a lens and what each leads to, from the page; none older than its record."""
    found = []
    for number, name in enumerate(record.get("figures") or ()):
        figure = output / str(name)
        # Records may have been altered: nothing outside of the run is shown.
        if not figure.resolve().is_relative_to(output.resolve()) or not figure.is_file():
            continue
        small = folder / _IMAGES / f"{record['key']}-{number}.png"
        if not _is_newer(small, max(written, figure.stat().st_mtime)):
            try:
                _shrink(figure, small)
            except (OSError, ValueError):
                continue
        found.append((_url(small, folder), _url(figure, folder)))
    if not found and record["status"] != ERROR:
        small = folder / _IMAGES / f"{record['key']}.png"
        if _is_newer(small, written) or _draw(Path(str(record.get("file"))), small):
            found.append((_url(small, folder), _url(small, folder)))
    return found


def _is_newer(small: Path, than: float) -> bool:
    return small.is_file() and small.stat().st_mtime >= than


def _shrink(figure: Path, small: Path) -> None:
    with Image.open(figure) as image:
        _save(image.convert("RGB"), small, Image.Resampling.BICUBIC)


def _save(image: Image.Image, small: Path, how: Image.Resampling) -> None:
    """Write a picture of the height of the table's; a half-written one would be kept for good."""
    width = max(1, round(image.width * _HEIGHT / image.height))
    with open_atomic(small, "wb") as stream:
        image.resize((width, _HEIGHT), how).save(stream, "png")


def _draw(file: Path, small: Path) -> bool:
    """Draw the first image of a FITS file, row 0 at the bottom; whether there is one."""
    damaged = (DataError, OSError, TypeError, ValueError)
    with contextlib.suppress(*damaged), warnings.catch_warnings(), whole_files([file]):
        warnings.simplefilter("ignore")
        with fits.open(file, memmap=False) as units:
            shapes = [unit.shape if unit.is_image else () for unit in units]
            number = next((i for i, shape in enumerate(shapes) if _is_picture(shape)), None)
            if number is None:
                return False
            image = np.asarray(units[number].data, dtype=float)
        # Of a cube the first plane.
        image = image.reshape(-1, *image.shape[-2:])[0]
        finite = np.where(np.isfinite(image), image, np.nanmedian(image))
        black, white = np.nan_to_num(np.percentile(finite, (20.0, _WHITE)))
        level = np.clip((np.nan_to_num(finite) - black) / max(white - black, 1e-300), 0.0, 1.0)
        grey = np.arcsinh(level / _SOFT) / math.asinh(1.0 / _SOFT)
        picture = Image.fromarray((255.0 * grey[::-1]).astype(np.uint8))
        _save(picture, small, Image.Resampling.NEAREST)
        return True
    return False


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape) > 0 and max(shape) <= _LARGEST


def _population(
    output: Path, records: Sequence[Mapping[str, Any]], folder: Path
) -> list[tuple[str, str]]:
    """Figures of all lenses, and their titles."""
    table = read_table(output)
    names = _quantities(records)
    columns = {
        name: values
        for name in names
        if name in table.colnames
        and table[name].dtype.kind in "fiu"
        and np.isfinite(values := column_of(table, name)).sum() > 1
    }
    if not columns:
        return []
    path = histograms(columns, folder / _IMAGES / "histograms.png")
    made = [("Histograms", _url(path, folder))]
    if len(columns) > 1:
        errors = {
            name: np.abs([column_of(table, f"{name}{end}") for end in _ERRORS])
            for name in columns
            if all(f"{name}{end}" in table.colnames for end in _ERRORS)
        }
        path = parameter_plots(columns, errors, folder / _IMAGES / "parameters.png")
        made.append(("Parameters", _url(path, folder)))
    return made


def _quantities(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of the table that are worth a look: parameters of the mass first."""
    known: dict[str, None] = {}
    for record in records:
        known |= dict.fromkeys(record["values"])
    parameters = [n for n in known if all(f"{n}{end}" in known for end in _ERRORS)]
    chosen = main_parameters(parameters) if parameters else []
    return chosen + [name for name in _NUMBERS if name in known]


def _page(
    about: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Sequence[tuple[str, str]]],
    population: Sequence[tuple[str, str]],
    tables: Sequence[str],
) -> str:
    names = _quantities(records)
    counts = Counter(record["status"] for record in records)
    boxes = "".join(
        f'<label><input type="checkbox" value="{_text(status)}" checked> '
        f'<span class="status {_LOOKS.get(status, "")}">{_text(status)}</span> {count:,}</label>'
        for status, count in counts.most_common()
    )
    heads = "".join(
        f'<th data-sort scope="col"><button type="button" title="{_text(name)}">'
        f"{_text(_label(name))}</button></th>"
        for name in ("name", "status", *names, "seconds", "flags and reasons")
    )
    rows = "\n".join(_row(record, names, pictures[record["name"]]) for record in records)
    figures = "".join(
        f'<h2>{_text(title)}</h2><p><img src="{path}" alt="{_text(title)} of all lenses"></p>'
        for title, path in population
    )
    options = ", ".join(f"{k} {v}" for k, v in about.items() if k != "task" and v is not None)
    links = ", ".join(f'<a href="../{name}">{_TABLES[name]}</a>' for name in tables) or "none yet"
    own = files("autolens_ml.catalogue")
    style, script = (own.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(about["task"])}: {len(records):,} lenses</title>
<style>
{style}</style>
</head>
<body>
<h1>{len(records):,} lenses: {_text(about["task"])}</h1>
<p>{_text(options)}</p>
<p>The whole table: {links}.</p>
<div class="controls">
<input type="search" id="search" placeholder="name, flag or reason" aria-label="Search">
{boxes}
<span id="count"></span>
<button type="button" id="before">before</button>
<span id="page"></span>
<button type="button" id="after">after</button>
</div>
<div class="scroll">
<table id="lenses">
<thead><tr><th scope="col">pictures</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<div class="population">{figures}</div>
<script>
{script}</script>
</body>
</html>
"""


def _row(
    record: Mapping[str, Any], names: Sequence[str], pictures: Sequence[tuple[str, str]]
) -> str:
    images = "".join(
        f'<a href="{large}"><img src="{small}" alt="{_text(record["name"])}" loading="lazy"></a>'
        for small, large in pictures
    )
    status = record["status"]
    why = "; ".join(filter(None, [*(record.get("flags") or ()), record["reason"]]))
    cells = [
        f"<td>{images}</td>",
        _cell(record["name"], record["name"]),
        f'<td data-value="{_text(status)}"><span class="status {_LOOKS.get(status, "")}">'
        f"{_text(status)}</span></td>",
        *(_number(record["values"], name) for name in names),
        _number(record, "seconds"),
        _cell(why, why, "why"),
    ]
    return f'<tr data-status="{_text(status)}">{"".join(cells)}</tr>'


def _number(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _cell("" if value is None else value, "" if value is None else value)
    errors = [values.get(f"{name}{end}") for end in _ERRORS]
    if all(isinstance(error, (int, float)) for error in errors):
        largest = max(errors)
        decimals = max(0, 1 - math.floor(math.log10(largest))) if largest > 0.0 else 4
        low, high = (f"{error:.{decimals}f}" for error in errors)
        return _cell(value, f"{value:.{decimals}f} −{low} +{high}", "number")
    return _cell(value, f"{value:.4g}", "number")


def _cell(value: Any, shown: Any, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<td{of_kind} data-value="{_text(value)}">{_text(shown)}</td>'


def _label(name: str) -> str:
    return " ".join(label_from(name).split()) if "." in name else name


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _url(path: Path, folder: Path) -> str:
    """The way to a file from the page."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())
