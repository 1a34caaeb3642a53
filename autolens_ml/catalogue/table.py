"""The table of a run, made of its records: Parquet, CSV and FITS with the same rows."""

from __future__ import annotations

import contextlib
import csv
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from autofit.tools.util import open_atomic

from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import DataError, OptionError

__all__ = ["read_table", "rows_from", "write_table"]

FIRST = (
    *("name", "task", "status", "reason", "flags", "seconds", "cpu_seconds"),
    *("memory_mb", "peak_memory_mb", "worker", "try", "file", "output"),
)
_NAME = "table"


def rows_from(records: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns, and one row for each record: what is known of all lenses, values, what was carried.

    A carried column that has the name of another, in whichever case, is called
    ``catalogue_NAME``: FITS tells no cases apart.
    """
    rows, values, carried = [], {}, {}
    for record in records:
        row = {name: record.get(name) for name in FIRST}
        row["flags"] = "; ".join(record.get("flags") or ())
        row |= record["values"]
        values |= dict.fromkeys(record["values"])
        rows.append((row, record.get("carried") or {}))
        carried |= dict.fromkeys(rows[-1][1])
    taken = {name.lower() for name in (*FIRST, *values)}
    names = {}
    for name in carried:
        own = name
        while own.lower() in taken:
            own = f"catalogue_{own}"
        names[name] = own
        taken.add(own.lower())
    columns = list(dict.fromkeys([*FIRST, *values, *names.values()]))
    return columns, [row | {names[name]: value for name, value in own.items()} for row, own in rows]


def write_table(records: Records) -> tuple[Path, ...]:
    """Write the table of all records beside them; files are whole, or what they were.

    Returns
    -------
    tuple of Path
        CSV, FITS and, where pyarrow is installed, Parquet; none where there are no records.

    Raises
    ------
    OSError
        When they cannot be written.
    """
    columns, rows = rows_from(records)
    if not rows:
        return ()
    path = records.output / f"{_NAME}.csv"
    with open_atomic(path, "wb") as stream:
        stream.write(_csv_from(columns, rows).encode("utf-8", "backslashreplace"))
    typed = {name: _typed([row.get(name) for row in rows]) for name in columns}
    written = [path, _write_fits(typed, records.output / f"{_NAME}.fits")]
    with contextlib.suppress(ImportError):
        written.append(_write_parquet(typed, records.output / f"{_NAME}.parquet"))
    return tuple(written)


def read_table(output: str | Path) -> Table:
    """The table of a run, as astropy has it; columns as of `rows_from`, without a value masked.

    Raises
    ------
    DataError
        When there are no records in the folder.
    """
    columns, rows = rows_from(Records(output))
    if not rows:
        raise DataError(f"{output}: no records in it; give the --out of a run")
    return _astropy_from({name: _typed([row.get(name) for row in rows]) for name in columns})


def _csv_from(columns: list[str], rows: list[dict[str, Any]]) -> str:
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _typed(values: list[Any]) -> list[Any]:
    """Values of one type: booleans, whole numbers, numbers, or else words."""
    known = [value for value in values if value is not None]
    for kinds, kind in (({bool}, bool), ({int}, int), ({int, float}, float)):
        if known and {type(value) for value in known} <= kinds:
            if kind is int and any(abs(value) >= 2**63 for value in known):
                continue
            return [None if value is None else kind(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _astropy_from(typed: Mapping[str, list[Any]]) -> Table:
    table = Table()
    for name, values in typed.items():
        mask = [value is None for value in values]
        kind = type(next((value for value in values if value is not None), ""))
        filled = [kind() if value is None else value for value in values]
        table[name] = MaskedColumn(filled, mask=mask) if any(mask) else filled
    return table


def _write_fits(typed: Mapping[str, list[Any]], path: Path) -> Path:
    # FITS knows neither letters beyond ASCII nor words that are missing, only empty ones.
    plain = {
        name: ["" if v is None else v.encode("ascii", "backslashreplace").decode() for v in values]
        if any(isinstance(v, str) for v in values) or all(v is None for v in values)
        else values
        for name, values in typed.items()
    }
    table = _astropy_from(
        {name.encode("ascii", "backslashreplace").decode(): v for name, v in plain.items()}
    )
    with open_atomic(path, "wb") as stream, warnings.catch_warnings():
        # Names of columns that are too long for a card have one of another kind.
        warnings.simplefilter("ignore")
        table.write(stream, format="fits")
    return path


def _write_parquet(typed: Mapping[str, list[Any]], path: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({name: pa.array(values) for name, values in typed.items()})
    with open_atomic(path, "wb") as stream:
        parquet.write_table(table, stream)
    return path


def column_of(table: Table, name: str) -> np.ndarray:
    """A column as float64, NaN where there is no number.

    Raises
    ------
    OptionError
        When there is no such column of numbers.
    """
    if name not in table.colnames or table[name].dtype.kind not in "fiu":
        numbers = [c for c in table.colnames if table[c].dtype.kind == "f"]
        raise OptionError(f"no column {name!r} of numbers; there are {', '.join(numbers)}")
    return np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)
