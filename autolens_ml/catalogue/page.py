"""A page about a run: a table to sort and search, pictures of each lens, the population.

One HTML file with its style and script inside, and a folder of images: nothing is fetched. The rows
are data in it, of which the script shows a hundred at a time: a browser takes 100,000 of those, but
not as many rows of a table.
"""

from __future__ import annotations

import contextlib
import html
import json
import math
import os
import warnings
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    n, names = _quantities(store)
    if not n:
        raise DataError(f"{output}: no lens is done; run the catalogue first")
    folder = output / _FOLDER
    path = folder / "index.html"
    with open_atomic(path, "wb") as stream:

        def write(text: str) -> None:
            stream.write(text.encode("utf-8", "backslashreplace"))

        write(_HEAD.format(style=_own("page.css")))
        seen = _Seen(names)
        for number, record in enumerate(store, start=1):
            # One row is in memory at a time, and of its picture nothing.
            write(",\n" if number > 1 else "\n")
            write(_json(_row(record, names, _pictures_of(record, store, folder))))
            seen.add(record)
            if number % 100 == 0:
                progress(f"pictures of {number:,} of {n:,} lenses")
        progress("drawing the population")
        write(_body(about, seen, _population(seen, folder), output))
    return path


class _Seen:
    """What is kept of all records: how many have which status, and the numbers of figures."""

    def __init__(self, names: Sequence[str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.names = names
        self._columns = {n: array("d") for name in names for n in (name, *_errors_of(name))}

    def add(self, record: Mapping[str, Any]) -> None:
        self.statuses[record["status"]] += 1
        for name, column in self._columns.items():
            value = record["values"].get(name)
            column.append(value if _is_number(value) else math.nan)

    def column(self, name: str) -> np.ndarray:
        """Shape (n,), NaN where there is no number."""
        return np.array(self._columns[name])

    def errors(self, name: str) -> np.ndarray | None:
        """(minus, plus), shape (2, n), where there are any."""
        errors = np.abs([self.column(each) for each in _errors_of(name)])
        return errors if np.isfinite(errors).any() else None


def _pictures_of(record: Mapping[str, Any], store: Records, folder: Path) -> list[tuple[str, str]]:
    """Pictures of a lens and what each leads to, from the page; none older than its record."""
    found, output = [], store.output
    written = store.path_of(record["key"]).stat().st_mtime
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


def _population(seen: _Seen, folder: Path) -> list[tuple[str, str]]:
    """Figures of all lenses, and their titles."""
    columns = {
        name: values for name in seen.names if np.isfinite(values := seen.column(name)).sum() > 1
    }
    if not columns:
        return []
    path = histograms(columns, folder / _IMAGES / "histograms.png")
    made = [("Histograms", _url(path, folder))]
    if len(columns) > 1:
        errors = {name: e for name in columns if (e := seen.errors(name)) is not None}
        path = parameter_plots(columns, errors, folder / _IMAGES / "parameters.png")
        made.append(("Parameters", _url(path, folder)))
    return made


def _quantities(records: Iterable[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """How many records, and numbers that are worth a look: parameters of the mass first."""
    n, known = 0, dict[str, None]()
    for record in records:
        n += 1
        known |= dict.fromkeys(record["values"])
    parameters = [name for name in known if all(each in known for each in _errors_of(name))]
    chosen = main_parameters(parameters) if parameters else []
    return n, chosen + [name for name in _NUMBERS if name in known]


def _errors_of(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{end}" for end in _ERRORS)


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
{style}</style>
<script type="application/json" id="rows">["""


def _body(
    about: Mapping[str, Any], seen: _Seen, population: Sequence[tuple[str, str]], output: Path
) -> str:
    """What follows the rows."""
    n = seen.statuses.total()
    boxes = "".join(
        f'<label><input type="checkbox" value="{_text(status)}" checked> '
        f'<span class="status {_LOOKS.get(status, "")}">{_text(status)}</span> {count:,}</label>\n'
        for status, count in seen.statuses.most_common()
    )
    heads = "".join(
        f'<th data-sort scope="col"><button type="button" title="{_text(name)}">'
        f"{_text(_label(name))}</button></th>"
        for name in ("name", "status", *seen.names, "seconds", "flags and reasons")
    )
    figures = "".join(
        f'<h2>{_text(title)}</h2><p><img src="{path}" alt="{_text(title)} of all lenses"></p>'
        for title, path in population
    )
    options = ", ".join(f"{k} {v}" for k, v in about.items() if k != "task" and v is not None)
    tables = [name for name in _TABLES if (output / name).is_file()]
    links = ", ".join(f'<a href="../{name}">{_TABLES[name]}</a>' for name in tables) or "none yet"
    return f"""
]</script>
<title>{_text(about["task"])}: {n:,} lenses</title>
</head>
<body>
<h1>{n:,} lenses: {_text(about["task"])}</h1>
<p>{_text(options)}</p>
<p>The whole table: {links}.</p>
<noscript><p>Without JavaScript only the files above have the table.</p></noscript>
<div class="controls">
<input type="search" id="search" placeholder="name, flag or reason" aria-label="Search">
{boxes}<span id="count"></span>
<button type="button" id="before">before</button>
<span id="page"></span>
<button type="button" id="after">after</button>
</div>
<div class="scroll">
<table id="lenses">
<thead><tr><th scope="col">pictures</th>{heads}</tr></thead>
<tbody></tbody>
</table>
</div>
<div class="population">{figures}</div>
<script>
{_own("page.js")}</script>
</body>
</html>
"""


def _own(name: str) -> str:
    return files("autolens_ml.catalogue").joinpath(name).read_text("utf-8")


def _row(
    record: Mapping[str, Any], names: Sequence[str], pictures: Sequence[tuple[str, str]]
) -> list[Any]:
    """The cells of a row: pictures, words, numbers, and [number, minus, plus]."""
    why = "; ".join(filter(None, [*(record.get("flags") or ()), record["reason"]]))
    numbers = [_number(record["values"], name) for name in names]
    seconds = record.get("seconds")
    return [pictures, record["name"], record["status"], *numbers, seconds, why]


def _number(values: Mapping[str, Any], name: str) -> Any:
    value, *errors = (values.get(each) for each in (name, *_errors_of(name)))
    if not _is_number(value):
        return None if value is None else str(value)
    return [value, *errors] if all(map(_is_number, errors)) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _json(row: list[Any]) -> str:
    """JSON that ends no script, whatever stands in names and reasons."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _label(name: str) -> str:
    return " ".join(label_from(name).split()) if "." in name else name


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _url(path: Path, folder: Path) -> str:
    """The way to a file from the page."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())
