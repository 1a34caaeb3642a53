"""What can be done with every lens of a catalogue: one module for each task, one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from autolens_ml.catalogue.entries import Entry
from autolens_ml.exceptions import OptionError

__all__ = ["TASKS", "Outcome", "Task", "task_from"]

# Each module has a `TASK`.
TASKS = {
    "find": "autolens_ml.catalogue.tasks.find",
    "fit": "autolens_ml.catalogue.tasks.fit",
    "morphology": "autolens_ml.catalogue.tasks.morphology",
    "predict": "autolens_ml.catalogue.tasks.predict",
    "shear": "autolens_ml.catalogue.tasks.shear",
}


@dataclass(frozen=True)
class Outcome:
    """What came of one lens.

    Attributes
    ----------
    status : str
        A word of the task, such as CONVERGED.
    values : dict
        Numbers and words by column of the table.
    flags : tuple of str
        What is doubtful about it.
    output : Path or None
        Folder of its results, where there is one.
    figures : tuple of Path
        Pictures of it.
    """

    status: str
    values: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    output: Path | None = None
    figures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Task:
    """What is done with each lens.

    Attributes
    ----------
    name : str
        Of the task.
    options : type
        Frozen dataclass of its options: a field for each, with its default. Rows of a catalogue
        may have other values in columns of the same names.
    measure : callable
        ``(entry, options, folder) -> Outcome`` of one lens; ``folder`` is its own.
    check : callable
        ``(options)``: raises when the options of a run cannot be used, before it starts.
    chunk : int
        Lenses that a worker is given together; more where one takes less than about a second.
    file_columns : tuple of str
        Bands that may have columns of files of their own.
    effort : tuple of str
        Options that another call into the same folder may change: a larger budget.
    """

    name: str
    options: type
    measure: Callable[[Entry, Any, Path], Outcome]
    check: Callable[[Any], None]
    chunk: int = 1
    file_columns: tuple[str, ...] = ()
    effort: tuple[str, ...] = ()


def task_from(name: str) -> Task:
    """A task by name.

    Raises
    ------
    OptionError
        When there is none.
    """
    if name not in TASKS:
        raise OptionError(f"no task {name!r}; set --task to one of: {', '.join(TASKS)}")
    return import_module(TASKS[name]).TASK
