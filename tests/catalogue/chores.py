"""A task that costs nothing and does what the text of each file says; for tests of runs."""

import errno
import os
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.tasks import Outcome, Task
from autolens_ml.exceptions import DataError, DataWarning, OptionError


@dataclass(frozen=True)
class ChoreOptions:
    factor: float = 2.0
    offset: int | None = None
    inverted: bool = False
    table: Path | None = None
    budget: int = 1

    def __post_init__(self) -> None:
        if self.factor == 0.0:
            raise OptionError("a factor of 0 leaves nothing; set it to another number")


def done(entry: Entry, options: ChoreOptions, folder: Path) -> Outcome:
    """A number is multiplied; words are obeyed."""
    word, _, rest = entry.file.read_text().strip().partition(" ")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "calls", "a") as stream:
        stream.write("x")
    if word == "refuse":
        raise DataError(f"{entry.name}: refused\nfor a reason")
    if word == "break":
        raise KeyError("a bug")
    if word == "leave":
        raise SystemExit(3)
    if word == "fill":
        raise OSError(errno.ENOSPC, "No space left on device")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "die-once" and len((folder / "calls").read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / "half-written").exists():
        raise ValueError("half written")
    if word == "sleep":
        time.sleep(float(rest))
    if word == "warn":
        warnings.warn("something was changed", DataWarning, stacklevel=2)
    number = float(word) if word[0].isdigit() else 1.0
    values = {
        "value": options.factor * number + (options.offset or 0),
        "process": os.getpid(),
        "environment": os.environ.get("OMP_NUM_THREADS", ""),
    }
    status = "FAILED" if word == "fail" and options.budget == 1 else "DONE"
    return Outcome(status, values, ("told so",) if word == "warn" else ())


def check(options: ChoreOptions) -> None:
    if options.factor < 0.0:
        raise OptionError("a factor below 0; set it above")


TASK = Task("chore", ChoreOptions, done, check, chunk=4, effort=("budget",))


def write(folder: Path, **words: str) -> Path:
    """A folder of such files, each called after its name."""
    folder.mkdir(exist_ok=True)
    for name, word in words.items():
        (folder / f"{name}.fits").write_text(str(word))
    return folder


def calls(output: Path, key: str) -> int:
    """How often a lens was begun."""
    path = output / "lenses" / key / "calls"
    return len(path.read_text()) if path.exists() else 0
