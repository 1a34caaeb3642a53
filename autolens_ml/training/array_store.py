"""Arrays of many examples on disk: written batch by batch, continued where a run was cut off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from autofit.tools.util import open_atomic

from autolens_ml.exceptions import DataError, OptionError

# Name -> shape, whose first number is that of the examples, and type.
Layout = dict[str, tuple[tuple[int, ...], type]]


def stored_arrays(
    folder: Path,
    layout: Layout,
    seed: int,
    made: Callable[[int], Iterable[dict[str, np.ndarray]]],
    chunk: int,
    say: Callable[[int, int], None] = lambda done, n: None,
    origin: str = "",
) -> dict[str, np.ndarray]:
    """Arrays in ``folder``, with what is missing of them made.

    Parameters
    ----------
    folder
        Where they are; made if need be.
    layout
        What is stored of each example; all first axes have one length.
    seed
        Of the examples: a folder belongs to one seed.
    made
        Takes the number of the first example, a multiple of ``chunk``, and gives batches of
        examples from there to the end, by the names of the layout.
    chunk
        Examples that can only be made together.
    say
        Takes the number of examples that are there, and of all.
    origin
        What else tells examples of one seed apart, such as what they are made from.

    Returns
    -------
    dict
        Memory maps that cannot be written to.

    Raises
    ------
    DataError
        When the folder holds another set, or a damaged one.
    OptionError
        When the set does not fit on the disk.
    """
    n = next(iter(layout.values()))[0][0]
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.json"
    made_of = {"seed": seed, "origin": origin}
    done = _done(progress, made_of)
    if done < n:
        maps = _opened(folder, layout, "r+" if done else "w+")
        start = done - done % chunk
        for batch in made(start):
            rows = slice(start, start + len(next(iter(batch.values()))))
            for name, values in batch.items():
                maps[name][rows] = values
                maps[name].flush()
            start = rows.stop
            with open_atomic(progress) as file:
                file.write(json.dumps({"done": start, **made_of}))
            say(start, n)
    return _opened(folder, layout, "r")


def _done(progress: Path, made_of: dict[str, int | str]) -> int:
    """Examples that are already there."""
    if not progress.is_file():
        return 0
    try:
        stored = json.loads(progress.read_text())
        done = int(stored["done"])
        others = {name: stored[name] for name in made_of if name in stored}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{progress}: not readable; delete {progress.parent}") from error
    for name, value in others.items():
        if value != made_of[name]:
            raise DataError(
                f"{progress.parent} holds examples of {name} {value}, not {made_of[name]}: give "
                "another folder, or delete it"
            )
    return done


def _opened(folder: Path, layout: Layout, mode: str) -> dict[str, np.ndarray]:
    """The arrays of a set, as they are on disk."""
    if mode == "w+":
        needed = sum(
            int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in layout.values()
        )
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OptionError(
                f"{folder}: the set needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                "free: give another folder, or fewer examples"
            )
    maps = {}
    for name, (shape, dtype) in layout.items():
        file = folder / f"{name}.npy"
        try:
            maps[name] = np.lib.format.open_memmap(file, mode=mode, dtype=dtype, shape=shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: missing or damaged; delete {folder}") from error
        if maps[name].shape != shape or maps[name].dtype != dtype:
            raise DataError(
                f"{file} holds an array of {maps[name].shape}, not {shape}, so another set: give "
                "another folder, or delete it"
            )
    return maps
