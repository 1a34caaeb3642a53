"""A run over a catalogue: what is missing is done, what is done is kept, all ends in one table."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from autofit.tools.util import open_atomic

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.catalogue.entries import Entry, checked_options, entries_from, plain_text
from autolens_ml.catalogue.measuring import Job, carried_of
from autolens_ml.catalogue.records import ERROR, Records, disk_full, is_disk_full
from autolens_ml.catalogue.table import write_table
from autolens_ml.catalogue.tasks import Task, task_from
from autolens_ml.catalogue.workers import Workers
from autolens_ml.exceptions import DataError, OptionError

__all__ = ["RunReport", "run"]

# Results that are none: measured again when failures are to be tried again.
_FAILED = (ERROR, "FAILED")
_RUN = "run.json"
# Seconds between lines of progress, and tables while a run goes on; tables take at most a share.
_SAY_EVERY, _TABLE_EVERY, _TABLE_SHARE = 1.0, 60.0, 0.02


@dataclass(frozen=True)
class RunReport:
    """What a run came to.

    Attributes
    ----------
    output : Path
        Its folder.
    task : str
        What was done.
    n : int
        Lenses of the catalogue.
    n_measured : int
        Those that this call measured.
    statuses : dict
        How many lenses of the catalogue have each status.
    seconds : float
        Wall time of this call.
    tables : tuple of Path
        The table, in several formats.
    """

    output: Path
    task: str
    n: int
    n_measured: int
    statuses: dict[str, int]
    seconds: float
    tables: tuple[Path, ...]

    @property
    def n_errors(self) -> int:
        """Lenses that have a reason instead of a result."""
        return self.statuses.get(ERROR, 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self) | {"output": str(self.output), "n_errors": self.n_errors}
        return values | {"tables": [str(table) for table in self.tables]}

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {status}" for status, count in self.statuses.items())
        rate = 3600.0 * self.n_measured / self.seconds if self.seconds > 0.0 else 0.0
        return "\n".join(
            [
                f"{self.n:,} lenses: {counts}",
                f"{self.n_measured:,} measured in {_duration(self.seconds)} ({rate:,.0f} per hour)",
                *map(str, self.tables),
            ]
        )


def run(
    catalogue: str | Path,
    task: str = "fit",
    output: str | Path = "catalogue",
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    progress: Progress = lambda line: None,
    **options: Any,
) -> RunReport:
    """Fit, find, classify or measure every lens of a catalogue, on as many processes as there are.

    Each lens ends with a result or with the reason why it has none, in a small file of its own
    that is renamed into place; the table is made of these. The same call again measures what is
    missing, what had no result (a damaged file that was mended, a worker that died) and what has
    another row in the catalogue, and keeps all else.

    Workers are processes: in a script, call this under ``if __name__ == "__main__":``.

    Parameters
    ----------
    catalogue
        A CSV file with a column ``file`` of paths from its own folder, and, if need be, ``name``
        and columns of options that differ from lens to lens (``psf``, ``noise_map``, ``band``,
        ``hdu``, ``pixel_scale``, ``mask_radius``, ...); or a folder of FITS files.
    task
        ``"fit"``, ``"find"``, ``"morphology"``, ``"predict"`` or ``"shear"``.
    output
        The folder of the results: ``table.csv``, ``table.parquet``, ``table.fits``, PyAutoLens's
        own output below ``lenses``, and ``records``.
    workers
        Local processes, by default one for each core; 0 measures in this process.
    scheduler
        Address of a running Dask scheduler instead; its workers must see the same files.
    slurm
        Options of ``dask_jobqueue.SLURMCluster`` instead, and ``jobs``, how many to ask for.
    retry_failed
        Whether lenses whose search calls its result FAILED are fitted again: with a larger
        budget, which alone may differ from the first call's options.
    progress
        Takes a line at a time.
    **options
        Of the task, as of the command of its name.

    Returns
    -------
    RunReport
        How many lenses have which status, and where the table is.

    Raises
    ------
    OptionError
        When an option means nothing, the folder is of a run with others or is in use, workers
        cannot be reached, or the disk is full.
    DataError
        When the catalogue cannot be read.
    NetworkError, ModelError
        When the network or the model of all lenses cannot be used.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise OptionError('call run under if __name__ == "__main__": workers import the script too')
    began = time.monotonic()
    what = task_from(task)
    who = Workers(workers, scheduler, slurm)
    chosen = _absolute(checked_options(what.options, options))
    what.check(chosen)
    entries = entries_from(Path(catalogue).resolve(), what.options, what.file_columns)
    output = Path(output).resolve()
    records = Records(output)
    try:
        with _locked(output):
            _remember(output, what, chosen)
            records.sweep()
            known, todo = _todo(entries, records, retry_failed)
            progress(f"{len(entries):,} lenses, {len(entries) - len(todo):,} of them done")
            job = Job(what, chosen, output)
            tables: tuple[Path, ...] = ()
            try:
                count = _Progress(len(todo), progress)
                last = time.monotonic()
                for record in who.measured(job, todo, what.chunk, progress):
                    known[record["name"]] = record["status"]
                    count.add(record["status"])
                    now = time.monotonic()
                    if now - last > _TABLE_EVERY:
                        write_table(records)
                        # Of a large run a table takes long: the more rarely it is written.
                        last = time.monotonic() + (time.monotonic() - now) / _TABLE_SHARE
                records.sweep()
            finally:
                tables = write_table(records)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(output) from error
        if isinstance(error, PermissionError):
            raise OptionError(f"{error.filename}: cannot be written; give another --out") from error
        raise
    statuses = Counter(known[entry.name] for entry in entries)
    return RunReport(
        output=output,
        task=task,
        n=len(entries),
        n_measured=count.n,
        statuses=dict(statuses.most_common()),
        seconds=time.monotonic() - began,
        tables=tables,
    )


def _todo(
    entries: Sequence[Entry], records: Records, retry_failed: bool
) -> tuple[dict[str, str], list[tuple[Entry, int]]]:
    """The status of each lens that is done; and what is to be done, each with its try."""
    again = _FAILED if retry_failed else (ERROR,)
    # Of a large catalogue the values would fill the memory.
    kept = ("status", "key", "asked", "try", "carried")
    old = {record["name"]: {name: record.get(name) for name in kept} for record in records}
    known: dict[str, str] = {}
    todo: list[tuple[Entry, int]] = []
    for entry in entries:
        record = old.get(entry.name)
        if record is None:
            todo.append((entry, 1))
        elif record["status"] in again or record["asked"] != entry.asked:
            if record["key"] != entry.key:  # the catalogue has grown another name like it
                records.forget(record["key"])
            todo.append((entry, (record["try"] or 0) + 1))
        else:
            known[entry.name] = record["status"]
            if record["carried"] != (carried := carried_of(entry)):
                records.write(records.read(record["key"]) | {"carried": carried})
    return known, todo


class _Progress:
    """Lines that say how far a run is, how fast, and how long it will take."""

    def __init__(self, n_todo: int, say: Progress) -> None:
        self.n = 0
        self._n_todo, self._say = n_todo, say
        self._n_errors = 0
        self._began = self._said = time.monotonic()

    def add(self, status: str) -> None:
        self.n += 1
        self._n_errors += status == ERROR
        now = time.monotonic()
        if now - self._said < _SAY_EVERY and self.n < self._n_todo:
            return
        self._said = now
        rate = self.n / max(now - self._began, 1e-9)
        errors = f", {self._n_errors:,} without a result" if self._n_errors else ""
        self._say(
            f"{self.n:,} of {self._n_todo:,} lenses{errors}, {3600.0 * rate:,.0f} per hour, "
            f"{_duration((self._n_todo - self.n) / rate)} left"
        )


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 120.0 else f"{minutes / 60.0:.1f} h"


def _absolute(options: Any) -> Any:
    """Options whose paths a worker in another folder finds as well."""
    changes: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Path):
            changes[field.name] = value.resolve()
        elif isinstance(value, str):
            path, _, function = value.rpartition(":")
            path = path if path.endswith(".py") else value
            if (os.sep in path or Path(path).suffix) and Path(path).exists():
                tail = f":{function}" if path != value else ""
                changes[field.name] = f"{Path(path).resolve()}{tail}"
    return replace(options, **changes)


def _remember(output: Path, task: Task, options: Any) -> None:
    """Write down what the run does; refuse a folder where another was done.

    Raises
    ------
    OptionError
        When the task or an option is another than before.
    """
    wanted = {"task": task.name} | {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(options).items()
    }
    path = output / _RUN
    try:
        before = json.loads(path.read_bytes())
    except FileNotFoundError:
        if any((output / "records").glob("*/*.json")):
            raise OptionError(f"{output}: has records but no {_RUN}; give another --out") from None
        before = wanted
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(before, dict):
        raise _damaged(path)
    for name, value in wanted.items():
        if name not in task.effort and before.get(name) != value:
            raise OptionError(
                f"{output}: holds a run with {name} {plain_text(before.get(name))}, not "
                f"{plain_text(value)}; give another --out"
            )
    with open_atomic(path, "wb") as stream:
        stream.write(json.dumps(wanted, indent=1).encode())


def _damaged(path: Path) -> OptionError:
    return OptionError(
        f"{path}: is damaged; remove it and {path.parent.name}/records, or give another --out"
    )


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """The folder for this run alone; a process that is killed leaves it free.

    Raises
    ------
    OptionError
        When another run is writing there, or it is no folder.
    """
    import fcntl

    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OptionError(f"{output}: is no folder; give another --out") from error
    with open(output / ".lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OptionError(
                f"{output}: another run is writing there; wait for it, or give another --out"
            ) from error
        yield


def checked_run(output: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and what it does.

    Raises
    ------
    DataError
        When it is none.
    """
    path = Path(output)
    try:
        about = json.loads((path / _RUN).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no run of a catalogue; give the --out of autolens-ml catalogue run"
        ) from error
    if not isinstance(about, dict) or "task" not in about:
        raise DataError(f"{path / _RUN}: is damaged; run the catalogue again")
    return path, about
