"""Pages of results: tables, numbers with their intervals, and the networks that are there."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autofit.tools.util import open_atomic

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.checkpoint import Card, find_card


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table whose first column are words, all others numbers; an empty line ends it."""
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def words(figure: dict[str, float]) -> str:
    """``0.953 (0.947 to 0.958)``."""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def known(names: Iterable[str]) -> dict[str, Card]:
    """Cards of those networks that are there; the others are named on the way."""
    cards = {}
    for name in names:
        try:
            cards[name] = find_card(name)
        except NetworkError as error:
            print(f"left out: {error}")
    return cards


def write(path: Path, lines: Iterable[str]) -> Path:
    """Write a page; the path again."""
    with open_atomic(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path
