"""What a worker does: lens after lens, each with a record at its end, whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from autolens_ml.applications.fit.progress import progress_lines
from autolens_ml.catalogue.entries import Entry, options_of, plain_text
from autolens_ml.catalogue.records import ERROR, Records, is_disk_full
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import AutolensMLError, DataWarning

__all__ = ["WORKER_DIED", "Job", "measure_chunk"]

# autofit's config, matplotlib and the log are of a process: one lens at a time in each.
_ONE_LENS = threading.Lock()
_REASON_LENGTH = 500
# A lens that was begun so often without an end is what its workers die of.
WORKER_DIED = "worker died"
_BEGINNINGS = 3
_VERSION = 1


@dataclass(frozen=True)
class Job:
    """What is done with all lenses of a run.

    Attributes
    ----------
    task : Task
        What.
    options : object
        Of the task.
    output : Path
        The folder of the run.
    """

    task: Task
    options: Any
    output: Path


def measure_chunk(job: Job, entries: Sequence[Entry], tries: Sequence[int]) -> list[dict[str, Any]]:
    """Measure some lenses and store their records; those that have one from this try keep it.

    A lens that was begun three times and never ended is given up: its workers die of it.

    Parameters
    ----------
    job
        What to do.
    entries
        The lenses.
    tries
        For each, the number of this try, from 1: by it a worker that takes over from one that died
        knows the records that the dead one wrote.

    Returns
    -------
    list of dict
        The records.

    Raises
    ------
    OSError
        When the disk is full: that is no fault of a lens.
    """
    records = Records(job.output)
    done = []
    # The other cores have workers of their own.
    with _ONE_LENS, threadpool_limits(1):
        for entry, number in zip(entries, tries, strict=True):
            record = records.read(entry.key)
            wanted = {"try": number, "asked": entry.asked}
            if record is None or any(record.get(k) != v for k, v in wanted.items()):
                n_begun = records.begin(entry.key, number)
                try:
                    if n_begun > _BEGINNINGS:
                        record = _record(entry, job, Outcome(ERROR), WORKER_DIED, 0.0)
                    else:
                        record = _measured(job, entry, records)
                    record |= wanted
                    records.write(record)
                finally:
                    # Also of a full disk, or an interrupt: who can raise is not dead.
                    records.end(entry.key)
            else:
                # Whoever stored it may have died before its mark was gone.
                records.end(entry.key)
            done.append(record)
    return done


def _measured(job: Job, entry: Entry, records: Records) -> dict[str, Any]:
    """The record of one lens; only a full disk is an error here."""
    began, began_cpu = time.monotonic(), time.process_time()
    folder = records.folder_of(entry.key)
    is_old = folder.exists()
    outcome, reason = Outcome(ERROR), ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DataWarning)
        try:
            own = options_of(entry, job.options)
            try:
                outcome = _quietly(job.task, entry, own, folder)
            except AutolensMLError:
                raise
            except Exception as error:
                # What a killed worker left may be half written: once more, from nothing.
                if not is_old or is_disk_full(error):
                    raise
                records.clear(entry.key)
                outcome = _quietly(job.task, entry, own, folder)
        except AutolensMLError as error:
            reason = str(error)
        except (Exception, SystemExit) as error:
            if is_disk_full(error):
                raise OSError(_errno_of(error), "no space left") from error
            reason = f"unexpected {type(error).__name__}: {error}"
            _keep_traceback(folder)
    flags = [plain_text(f"{w.message}") for w in caught if issubclass(w.category, DataWarning)]
    record = _record(entry, job, outcome, reason, time.monotonic() - began, flags)
    # Where other programs run beside it, this says more than the time that went by.
    return record | {"cpu_seconds": round(time.process_time() - began_cpu, 3)}


def _quietly(task: Task, entry: Entry, options: Any, folder: Path) -> Outcome:
    """Measure without a word: each fit has a log of its own."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        progress_lines(lambda line: None),
    ):
        return task.measure(entry, options, folder)


def _memory() -> float:
    """The memory that this process has now, in MB; the most it has had where that is not said."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak_memory() -> float:
    """The most memory that this process has had, in MB."""
    # Counted in bytes on macOS, in kilobytes of 1,024 bytes elsewhere.
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _keep_traceback(folder: Path) -> None:
    """For whoever looks for the reason of what was not foreseen."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")


def _errno_of(error: BaseException | None) -> int:
    while not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error.errno


def _record(
    entry: Entry,
    job: Job,
    outcome: Outcome,
    reason: str,
    seconds: float,
    flags: Sequence[str] = (),
) -> dict[str, Any]:
    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, job.output)).as_posix()

    return {
        "version": _VERSION,
        "name": entry.name,
        "key": entry.key,
        "task": job.task.name,
        "status": outcome.status,
        "reason": plain_text(reason)[:_REASON_LENGTH],
        "flags": [*flags, *map(plain_text, outcome.flags)],
        "seconds": round(seconds, 3),
        "memory_mb": round(_memory(), 1),
        "peak_memory_mb": round(_peak_memory(), 1),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "file": plain_text(entry.file),
        "asked": entry.asked,
        "output": None if outcome.output is None else relative(outcome.output),
        "figures": [relative(figure) for figure in outcome.figures],
        "values": {
            key: plain_text(value) if isinstance(value, str) else value
            for key, value in outcome.values.items()
        },
        "carried": carried_of(entry),
    }


def carried_of(entry: Entry) -> dict[str, str]:
    """What a record carries of the row of its lens."""
    return {plain_text(k): plain_text(v) for k, v in entry.carried.items()}
