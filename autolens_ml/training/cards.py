"""Cards of networks for people: a list of many, and all of one.

A card may come from anywhere, so its text is never read as markup.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from autolens_ml.networks.checkpoint import Card

N_HEADLINES = 2

_LIMITS = {"lower_limit": "from", "upper_limit": "to"}


def cards_table(cards: Sequence[Card]) -> Table:
    """One row per network: what it is for, how large, what it was trained on, how good.

    Parameters
    ----------
    cards
        The networks, in the order of the rows.

    Returns
    -------
    Table
        Sizes are those of the files of the weights, in MB; metrics the first of each card.
    """
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 1, 0))
    # A name must be copied whole.
    table.add_column("network", overflow="fold", no_wrap=True)
    for header in ("images", "parameters", "trained on", "accuracy"):
        table.add_column(header, overflow="fold")
    for card in cards:
        training = card.training
        table.add_row(
            Text.assemble((card.name, "bold"), "\n", card.task),
            _lines(str(card.instrument.get("name", "")), ", ".join(card.bands)),
            _lines(_count(card.n_parameters), _size(card)),
            _lines(
                _amount(training.get("samples"), "images"), _amount(training.get("hours"), "hours")
            ),
            _lines(
                *(
                    f"{_words(name)} {_number(metric['value'])}"
                    for name, metric in list(card.metrics.items())[:N_HEADLINES]
                )
            ),
        )
    return table


def card_text(card: Card) -> Group:
    """All that a card says.

    Parameters
    ----------
    card
        The network.

    Returns
    -------
    Group
        What rich prints: purpose, training prior, accuracy with intervals and the commands that
        measured it, training, files.
    """
    outputs = {key: value for key, value in card.outputs.items() if key != "prior"}
    sizes = {"task": card.task, "parameters": _count(card.n_parameters)}
    sections = (
        ("network", _grid(_flat({**sizes, **card.architecture}))),
        (
            "images",
            _grid(_flat({"instrument": card.instrument, "bands": card.bands, **card.inputs})),
        ),
        ("predicts", _grid(_flat(outputs))),
        ("prior of the training set", _grid(prior_words(card.outputs.get("prior")))),
        ("accuracy", _metrics(card)),
        ("training", _grid(_flat(card.training))),
        ("files", _files(card)),
    )
    parts = [Text(card.name, style="bold"), Text(card.description)]
    for title, content in sections:
        parts += [Text(f"\n{title}", style="bold"), content]
    return Group(*parts)


def prior_words(model: Any) -> Iterator[tuple[str, str]]:
    """The priors of ``af.Model.dict()`` in words, without making the model.

    Parameters
    ----------
    model
        The dictionary; anything else has no priors.

    Yields
    ------
    tuple of str
        Path of the parameter as autofit writes it, without ``galaxies.``, and its prior.
    """
    seen: dict[str, str] = {}
    for path, prior in _priors(model, ()):
        name = ".".join(path).removeprefix("galaxies.")
        first = seen.setdefault(str(prior.get("id", name)), name)
        yield name, _prior(prior) if first == name else f"as {first}"


def _priors(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if not isinstance(node, dict):
        return
    arguments = node.get("arguments")
    if isinstance(arguments, dict):
        # The parameters of a tuple carry its name already.
        parent = path[:-1] if node.get("type") == "tuple_prior" else path
        for name, argument in arguments.items():
            yield from _priors(argument, (*parent, name))
    elif "type" in node:
        yield path, node


def _prior(prior: dict[str, Any]) -> str:
    """``uniform from 0.4 to 2``, ``truncated gaussian mean 0 sigma 0.2 from -1 to 1``."""
    if prior["type"] == "Constant":
        return f"fixed at {_value(prior.get('value'))}"
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(prior["type"])).lower()]
    for key, value in prior.items():
        if key not in ("type", "id"):
            words.append(f"{_LIMITS.get(key, key)} {_value(value)}")
    return " ".join(words)


def _metrics(card: Card) -> Group | Text:
    """The metrics, each with the number of the command below that measured it."""
    if not card.metrics:
        return Text("not measured")
    commands = list(dict.fromkeys(metric["command"] for metric in card.metrics.values()))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric", overflow="fold")
    for header in ("value", "low", "high", "n", "by"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, metric in card.metrics.items():
        numbers = (_number(metric[key]) for key in ("value", "low", "high"))
        by = f"[{commands.index(metric['command']) + 1}]"
        row = (_words(name), *numbers, f"{metric['n']:,}", by)
        table.add_row(*(Text(cell) for cell in row))
    lines = (_line(f"[{number}] {command}") for number, command in enumerate(commands, start=1))
    return Group(table, *lines)


def _files(card: Card) -> Group:
    return Group(
        _line(f"weights  {card.weights}  ({_size(card)})"), _line(f"sha256   {card.sha256}")
    )


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values in words."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _value(value)


def _grid(rows: Iterable[tuple[str, str]]) -> Table | Text:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table if table.row_count else Text("not stated")


def _line(text: str) -> Text:
    """On one line whatever the width, so that it can be copied."""
    return Text(text, no_wrap=True, overflow="ignore")


def _lines(*texts: str) -> Text:
    return Text("\n".join(text for text in texts if text))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, list):
        if any(isinstance(item, dict) for item in value):
            return f"{len(value)}"  # such as orientations, with all that they do
        return ", ".join(_value(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _amount(value: Any, unit: str) -> str:
    """Nothing for what is not a number: a card may state its training in other words."""
    if isinstance(value, float):
        return f"{value:.3g} {unit}"
    return f"{value:,} {unit}" if isinstance(value, int) else ""


def _count(n_parameters: int) -> str:
    return f"{n_parameters / 1e6:.2f} M" if n_parameters >= 100_000 else f"{n_parameters:,}"


def _size(card: Card) -> str:
    path = card.weights
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "no weights"
