"""Stored networks made into one: how an ensemble is fitted and stored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import FORMAT, WEIGHTS_FOLDER, Card, find_card, save_network
from autolens_ml.networks.ensemble import EnsembleNetwork
from autolens_ml.training.arc_accuracy import task_of_card
from autolens_ml.training.cards import prior_words
from autolens_ml.training.task import Say, silent

_BATCH = 64
# Keeps these arcs apart from any training or test set with the same seed.
_STREAM = 104_729
_TASK = "arc-parameters"
# What members have in common. Priors have numbers of their own in every process.
_PARTS: dict[str, Callable[[Card], Any]] = {
    "parameters": lambda card: card.outputs.get("parameters"),
    "prior": lambda card: list(prior_words(card.outputs.get("prior"))),
    "data": lambda card: card.outputs.get("data"),
}


def combine(
    networks: Sequence[str | Path],
    name: str,
    folder: Path,
    weighted: bool = True,
    n: int = 4000,
    seed: int = 0,
    say: Say = silent,
) -> Card:
    """Make one network of several for arcs, and store it; its members stay where they are.

    Parameters
    ----------
    networks
        Names or paths, in the order of their columns.
    name
        Of the ensemble.
    folder
        Where ``NAME.safetensors`` and ``NAME.json`` are written.
    weighted
        Whether means are summed with weights, and widths rescaled, or densities mixed; see
        :class:`~autolens_ml.networks.ensemble.EnsembleNetwork`.
    n
        Fresh arcs from which weights and widths are found.
    seed
        Of these arcs.
    say
        Takes a line of progress.

    Raises
    ------
    NetworkError
        When a network is not there, is damaged, or has no mean and variance to combine, or the
        name is no name.
    OptionError
        When there are fewer than two networks, they differ in what they estimate, or one of them
        has the name of the ensemble.
    """
    cards = [find_card(network, _TASK) for network in networks]
    if len(cards) < 2:
        raise OptionError("an ensemble needs two networks or more")
    if name in [card.name for card in cards]:
        raise OptionError(f"{name} is a network of the ensemble: give that another name")
    first, *others = cards
    for card in others:
        for part, of_card in _PARTS.items():
            if of_card(card) != of_card(first):
                raise OptionError(f"networks {first.name} and {card.name} differ in {part}")
    task = task_of_card(first)
    members = [_member_of(card) for card in cards]
    network = EnsembleNetwork(members, task.space.dim, weighted).eval()
    kind = "Weighted sum" if weighted else "Mixture"
    fields = {
        "name": name,
        "task": first.task,
        "description": f"{kind} of {', '.join(card.name for card in cards)}.",
        "instrument": first.instrument,
        "bands": first.bands,
        "n_parameters": sum(card.n_parameters for card in cards)
        + sum(parameter.numel() for parameter in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "inputs": first.inputs,
        "outputs": first.outputs,
        "training": {
            "seed": seed,
            "samples": n,
            "versions": {package: version(package) for package in ("autolens", "torch")},
        },
        "metrics": {},
    }
    # What cannot be stored in the end is better refused now.
    Card.from_dict({**fields, "sha256": "0" * 64, "format": FORMAT})
    stream = int(np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1)[0])
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))
    with tempfile.TemporaryDirectory() as scratch:
        source = task.source(n, stream, Path(scratch), "combination", say, survey=task.survey)
        batches = (
            source.batch_from(np.arange(i, min(i + _BATCH, n)), rng) for i in range(0, n, _BATCH)
        )
        network.learn((batch.inputs, batch.latents) for batch in batches)
    return save_network(folder, fields, network.state_dict())


def _member_of(card: Card) -> dict[str, str]:
    """A network that does not ship is found by its folder."""
    member, folder = {"name": card.name, "sha256": card.sha256}, card.folder.resolve()
    return member if folder == WEIGHTS_FOLDER.resolve() else {**member, "folder": str(folder)}
