"""What a network is worth: measured on fresh examples, written for people and programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from autofit.tools.util import open_atomic

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.checkpoint import Card, save_card
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import TASKS, Evaluation, Say, silent, task_class


def evaluate(
    card: Card,
    n: int = 4000,
    seed: int = 0,
    say: Say = silent,
    on: Preset | None = None,
) -> Evaluation:
    """Measure a network on fresh examples of what it was trained on, or of something else.

    Parameters
    ----------
    card
        Of the network.
    n
        Examples.
    seed
        Of the examples; their stream is apart from those of training.
    say
        Takes a line of progress.
    on
        A preset whose data the examples are of; their metrics are named after it, and stand beside
        those that the card has already.

    Raises
    ------
    OptionError
        When ``on`` is for another task, or lacks what the network estimates.
    NetworkError
        When the weights are damaged, or the card is of no task that can be measured here, or does
        not say what to measure it on.
    """
    if card.task not in TASKS:
        raise NetworkError(
            f"{card.path}: no task {card.task!r} can be measured here, only {', '.join(TASKS)}"
        )
    measure = task_class(card.task).evaluate
    if on is None:
        return measure(card, n, seed, say)
    if on.task != card.task:
        raise OptionError(f"preset {on.name} is for {on.task}, the network for {card.task}")
    entries = {name: on.data[name] for name in on.data if name in card.outputs}
    other = replace(card, outputs={**card.outputs, **entries, "data": on.data})
    found = measure(other, n, seed, say)
    metrics = {
        f"{name} on {on.name}": {**metric, "command": f"{metric['command']} --on {on.name}"}
        for name, metric in found.card.metrics.items()
    }
    return replace(found, card=card.with_metrics({**card.metrics, **metrics}))


def store(evaluation: Evaluation, folder: Path, with_card: bool = False) -> list[Path]:
    """Write ``evaluation.json`` and figures to a folder; with ``with_card`` also the card.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "evaluation.json"
    with open_atomic(report) as stream:
        stream.write(json.dumps(evaluation.as_dict(), indent=1))
    written = [report] + [plot(folder / f"{name}.png") for name, plot in evaluation.plots.items()]
    if with_card:
        save_card(evaluation.card)
        written.append(evaluation.card.path)
    return written
