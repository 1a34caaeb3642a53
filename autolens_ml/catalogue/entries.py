"""The lenses of a catalogue: rows of a CSV file, or the FITS files of a folder."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
import types
import typing
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from autolens_ml.exceptions import DataError, OptionError

__all__ = ["Entry", "entries_from", "options_of", "plain_text"]

_SUFFIXES = (".fits.gz", ".fits", ".fit")
# A folder with these is one lens, as `autolens-ml simulate` writes them.
_DATASET = {"file": "data.fits", "psf": "psf.fits", "noise_map": "noise_map.fits"}
_NAMED = ("name", "file")
# A name that is a safe name of a file on every system stays what it is.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*")
_LONGEST = 80
# What Windows reserves, whatever its ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# A column so like the name of an option is taken for a mistyped one.
_ALIKE = 0.8
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Entry:
    """One lens of a catalogue.

    Attributes
    ----------
    name : str
        What the table calls it; no two have the same.
    key : str
        What its files are called: letters, digits and ``_+-.`` alone.
    files : dict
        Its images: that of ``""``, and those of single bands by their names.
    cells : dict
        Cells of its row that are options of the task, as text; empty ones are left out.
    carried : dict
        Cells of its row that are none: they are carried into the table.
    folder : Path
        Paths in its cells are relative to this folder.
    """

    name: str
    key: str
    files: dict[str, Path]
    cells: dict[str, str] = field(default_factory=dict)
    carried: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def file(self) -> Path:
        """The image, or the first of those of bands."""
        return self.files.get("") or next(iter(self.files.values()))

    @property
    def asked(self) -> str:
        """What its row asks for, in short: a lens whose row was changed is measured again."""
        # As the row has them: a catalogue that is moved with its files asks for the same.
        files = [
            (band, (p.relative_to(self.folder) if p.is_relative_to(self.folder) else p).as_posix())
            for band, p in sorted(self.files.items())
        ]
        text = repr((files, sorted(self.cells.items())))
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def entries_from(
    catalogue: str | Path, options: type, file_columns: Sequence[str] = ()
) -> list[Entry]:
    """The lenses of a catalogue, in its order.

    Parameters
    ----------
    catalogue
        A CSV file in UTF-8 with a column ``file``, or columns of ``file_columns``, of paths from
        the CSV file's own folder. A column ``name`` names the lenses, which the file does
        otherwise. Columns that are options of the task hold, where they are not empty, what is
        different for a lens; all others are carried into the table. Or a folder: each FITS file
        in it is a lens, and so is each folder with ``data.fits``, ``psf.fits`` and
        ``noise_map.fits``.
    options
        Dataclass of the task's options.
    file_columns
        Bands that have columns of files of their own.

    Raises
    ------
    DataError
        When the catalogue cannot be read, names no file in a row, has a column that is nearly an
        option, or two lenses of the same name.
    """
    path = Path(catalogue)
    if path.is_dir():
        rows = _rows_of_folder(path)
    elif path.is_file():
        rows = _rows_of_csv(path, [f.name for f in fields(options)], file_columns)
    else:
        raise DataError(f"{plain_text(path)}: no such catalogue; give a CSV file or a folder")
    known = {f.name for f in fields(options)}
    names = [row["name"] for row in rows]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"{plain_text(path)}: {len(doubled)} names stand for two lenses, such as "
            f"{doubled[0]!r}; give each a name of its own in a column name"
        )
    entries = []
    folder = path if path.is_dir() else path.parent
    for row, key in zip(rows, _keys_of(names), strict=True):
        files = {
            "" if column == "file" else column: folder / row[column]
            for column in ("file", *file_columns)
            if row.get(column)
        }
        others = {k: v for k, v in row.items() if k not in (*_NAMED, *file_columns) and v}
        cells = {k: v for k, v in others.items() if k in known}
        carried = {k: v for k, v in others.items() if k not in known}
        entries.append(Entry(row["name"], key, files, cells, carried, folder))
    return entries


def options_of(entry: Entry, options: Any) -> Any:
    """The options of one lens: those of the run, but for what its row says.

    Raises
    ------
    DataError
        When a cell means nothing.
    OptionError
        When the options refuse a value.
    """
    if not entry.cells:
        return options
    kinds = typing.get_type_hints(type(options))
    changes = {}
    for name, text in entry.cells.items():
        try:
            changes[name] = _value_from(text, kinds[name], entry.folder)
        except ValueError as error:
            raise DataError(f"{name} of {text!r}: {error}") from error
    return type(options)(**({f.name: getattr(options, f.name) for f in fields(options)} | changes))


def plain_text(value: Any) -> str:
    """Text on one line that can be written in UTF-8: what cannot be shown has its number."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _value_from(text: str, kind: Any, folder: Path) -> Any:
    """A value of a type, of ``type | None``, from the text of a cell."""
    if isinstance(kind, types.UnionType):
        (kind,) = (k for k in typing.get_args(kind) if k is not types.NoneType)
    if kind is Path:
        return folder / text
    if kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError("give true or false")
        return text.lower() in _TRUE
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"give {what}") from None
    return text


def _rows_of_folder(folder: Path) -> list[dict[str, str]]:
    rows = []
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{plain_text(folder)}: cannot be read ({error.strerror})") from error
    for path in inside:
        if path.is_dir() and (path / _DATASET["file"]).is_file():
            parts = {k: v for k, v in _DATASET.items() if (path / v).is_file()}
            rows.append({"name": path.name, **{k: f"{path.name}/{v}" for k, v in parts.items()}})
        elif path.name.lower().endswith(_SUFFIXES):
            rows.append({"name": path.name, "file": path.name})
    if not rows:
        raise DataError(
            f"{plain_text(folder)}: no lenses in it; give a folder of FITS files, or of folders "
            "with data.fits, psf.fits and noise_map.fits"
        )
    # Endings go where names stay different without them.
    stems = [_stem(row["name"]) for row in rows]
    counts = Counter(stems)
    for row, stem in zip(rows, stems, strict=True):
        row["name"] = plain_text(stem if counts[stem] == 1 else row["name"])
    return rows


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _rows_of_csv(
    path: Path, options: Sequence[str], file_columns: Sequence[str]
) -> list[dict[str, str]]:
    where = plain_text(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not text in UTF-8; give a catalogue in CSV") from error
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from error
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(line)]
    except csv.Error as error:
        raise DataError(f"{where}: not a CSV file ({error}); mend it") from error
    columns = [column.strip() for column in lines[0]] if lines else []
    _check_columns(where, columns, options, file_columns)
    if len(lines) == 1:
        raise DataError(f"{where}: has no rows; give one for each lens")
    rows = []
    for number, line in enumerate(lines[1:], start=1):
        if len(line) > len(columns):
            raise DataError(f"{where}: row {number} has more cells than there are columns")
        row = {c: v.strip() for c, v in zip(columns, line, strict=False) if c}
        if any("\0" in value for value in row.values()):
            raise DataError(f"{where}: row {number} holds a NUL character; mend it")
        found = [row[c] for c in ("file", *file_columns) if row.get(c)]
        if not found:
            raise DataError(f"{where}: row {number} names no file")
        row["name"] = plain_text(row.get("name") or _stem(Path(found[0]).name) or number)
        rows.append(row)
    return rows


def _check_columns(
    where: str, columns: Sequence[str], options: Sequence[str], file_columns: Sequence[str]
) -> None:
    files = ("file", *file_columns)
    if not set(files) & set(columns):
        raise DataError(f"{where}: needs a column {' or '.join(files)} of paths of FITS files")
    if doubled := [c for c, count in Counter(columns).items() if count > 1 and c]:
        raise DataError(f"{where}: two columns are called {plain_text(doubled[0])}; rename one")
    known = [*_NAMED, *file_columns, *options]
    for column in set(columns) - set(known):
        if like := difflib.get_close_matches(column.lower(), known, 1, _ALIKE):
            raise DataError(
                f"{where}: column {plain_text(column)} is unknown, {like[0]} is known; rename it, "
                "or make it less like an option"
            )


def _keys_of(names: Iterable[str]) -> list[str]:
    """Names of files, no two the same where case does not count, from names of lenses.

    They hold no separators, so none of them leads out of a folder.
    """
    names = list(names)
    safe = [
        name
        if _SAFE.fullmatch(name) and len(name) <= _LONGEST and not _RESERVED.fullmatch(name)
        else None
        for name in names
    ]
    counts = Counter(key.lower() for key in safe if key)
    keys = []
    for name, key in zip(names, safe, strict=True):
        if key is None or counts[key.lower()] > 1:
            digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:12]
            words = re.sub(r"[^A-Za-z0-9_+-]+", "-", name).strip("-_+")[:_LONGEST]
            # No name that is its own key has two points in a row.
            key = f"{words or 'lens'}..{digest}"
        keys.append(key)
    return keys


def checked_options(kind: type, given: Mapping[str, Any]) -> Any:
    """Options of a task from those of a run.

    Raises
    ------
    OptionError
        When one is unknown, or refused.
    """
    known = [f.name for f in fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise OptionError(f"no option {unknown[0]!r} of this task; known are {', '.join(known)}")
    kinds = typing.get_type_hints(kind)
    values = {}
    for name, value in given.items():
        try:
            is_text = isinstance(value, str)
            values[name] = _value_from(value, kinds[name], Path()) if is_text else value
        except ValueError as error:
            raise OptionError(f"{name} of {value!r}: {error}") from error
    return kind(**values)
