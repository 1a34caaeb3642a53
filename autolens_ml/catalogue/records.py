"""Records: one small file per lens, renamed into place; tables are made of them."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autofit.tools.util import open_atomic

from autolens_ml.exceptions import OptionError

__all__ = ["ERROR", "Records", "is_disk_full"]

# The status of a lens that has a reason instead of a result.
ERROR = "ERROR"
_NEEDED = {"name": str, "key": str, "status": str, "reason": str, "values": dict}
_OPTIONAL = {"try": int, "asked": str, "flags": list, "figures": list, "carried": dict}
_FOLDER, _LENSES = "records", "lenses"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Records:
    """The records of a run, in its output folder.

    Parameters
    ----------
    output
        The folder of the run.
    """

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output)

    def path_of(self, key: str) -> Path:
        """Where the record of a lens is; 256 folders share them."""
        return self.output / _FOLDER / hashlib.sha256(key.encode()).hexdigest()[:2] / f"{key}.json"

    def folder_of(self, key: str) -> Path:
        """Where PyAutoLens writes of a lens."""
        return self.output / _LENSES / key

    def write(self, record: Mapping[str, Any]) -> None:
        """Store a record: it is there whole, or not at all.

        Raises
        ------
        OSError
            When it cannot be written; ``is_disk_full`` tells why.
        """
        content = json.dumps(_json_types(record), allow_nan=False).encode()
        with open_atomic(self.path_of(record["key"]), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def begin(self, key: str, number: int) -> int:
        """Note that a lens is begun, and say how often it was in this try without an end."""
        path = self._mark_of(key)
        try:
            of, _, count = path.read_text().partition(" ")
            begun = int(count) if of == str(number) else 0
        except (OSError, ValueError):
            begun = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} {begun + 1}")
        return begun + 1

    def end(self, key: str) -> None:
        """Note that a lens is done, or that what ended it was no death of a worker."""
        self._mark_of(key).unlink(missing_ok=True)

    def read(self, key: str) -> dict[str, Any] | None:
        """The record of a lens; ``None`` where there is none, or what is there is no record."""
        record = _record_in(self.path_of(key))
        return record if record is not None and record["key"] == key else None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All records, by key; what was half written, or is no record, is passed over."""
        for path in sorted((self.output / _FOLDER).glob("*/*.json"), key=lambda p: p.name):
            record = _record_in(path)
            # A record under another's name would count twice.
            if record is not None and self.path_of(record["key"]) == path:
                yield record

    def sweep(self) -> None:
        """Remove what killed processes left half written: records, and tables beside them."""
        for pattern in (f"{_FOLDER}/*/*.tmp", "*.tmp"):
            for path in self.output.glob(pattern):
                path.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Remove a record."""
        self.path_of(key).unlink(missing_ok=True)

    def _mark_of(self, key: str) -> Path:
        return self.path_of(key).with_name(f"{key}.begun")

    def clear(self, key: str) -> None:
        """Remove what PyAutoLens wrote of a lens."""
        shutil.rmtree(self.folder_of(key), ignore_errors=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that no more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(output: Path) -> OptionError:
    """What to say then."""
    return OptionError(
        f"{output}: no space left to write in; free some and give the same command again, what "
        "is done is kept"
    )


def _record_in(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    is_whole = all(isinstance(record.get(name), kind) for name, kind in _NEEDED.items())
    is_whole &= all(isinstance(record.get(k, kind()), kind) for k, kind in _OPTIONAL.items())
    return record if is_whole else None


def _json_types(value: Any) -> Any:
    """JSON types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): _json_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_types(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    number = float(value)
    return number if math.isfinite(number) else None
