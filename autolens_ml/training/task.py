"""Tasks: what a network is for, what it learns from, by what loss, and how it is judged.

The trainer (:mod:`autolens_ml.training.train`) knows none of them; a preset names the one it is of.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.training.preset import Preset

# Where each task lives; imported when it is asked for.
TASKS = {
    "lens-parameters": ("autolens_ml.training.lens_parameters", "LensParameters"),
    "arc-parameters": ("autolens_ml.training.arc_parameters", "ArcParameters"),
    "autoencoder": ("autolens_ml.training.autoencoding", "Autoencoding"),
    "optimizer": ("autolens_ml.training.optimizing", "Optimizing"),
    "lens-finding": ("autolens_ml.training.finding", "Finding"),
    "reconstruction": ("autolens_ml.training.reconstruction", "Reconstruction"),
    "morphology": ("autolens_ml.training.morphology", "Morphology"),
    "vortex-parameters": ("autolens_ml.training.morphology_vortex", "VortexParameters"),
    "anomaly": ("autolens_ml.training.anomaly", "Anomaly"),
    "shear": ("autolens_ml.training.shearing", "Shearing"),
    "stamp-regression": ("autolens_ml.training.stamp_regression", "StampRegression"),
}

Say = Callable[[str], None]


def silent(line: str) -> None:
    """Takes a line of progress and tells nobody."""


def reporter(name: str, say: Say) -> Callable[[int, int], None]:
    """Lines of progress of a simulation, which may have been begun before."""
    times: list[tuple[float, int]] = []

    def report(done: int, n: int) -> None:
        times.append((time.monotonic(), done))
        elapsed, made = times[-1][0] - times[0][0], done - times[0][1]
        left = f", {(n - done) * elapsed / made / 60.0:.0f} min left" if made else ""
        say(f"simulating the {name} set: {done:,} of {n:,}{left}")

    return report


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """A dataclass of tensors, whose first axis is that of ``rows``, an ascending array."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's figures of merit.

    Attributes
    ----------
    card : Card
        Of the network, with the metrics.
    report : dict
        More figures than a card holds, as plain values.
    plots : dict
        Name -> what draws a figure into the file it is given.
    verdict : str
        The figures in words.
    """

    card: Card
    report: dict[str, Any] = field(default_factory=dict)
    plots: dict[str, Callable[[Path], Path]] = field(default_factory=dict)
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, for JSON."""
        return {
            "network": self.card.name,
            "sha256": self.card.sha256,
            "metrics": self.card.metrics,
            **self.report,
        }


class Task(ABC):
    """What a preset asks for; made anew in every process of a training.

    Parameters
    ----------
    preset
        Whose ``data`` and ``network`` are arguments of this task.

    Attributes
    ----------
    preset : Preset
        The preset.

    Raises
    ------
    OptionError
        When an entry of ``data`` is missing, unknown or of the wrong type.
    """

    def __init__(self, preset: Preset) -> None:
        self.preset = preset

    @abstractmethod
    def network(self) -> nn.Module:
        """The untrained network; its ``config`` holds the arguments that make it again.

        Raises
        ------
        OptionError
            When an argument of the network is unknown or out of its range.
        """

    @abstractmethod
    def sources(self, folder: Path, say: Say = silent) -> dict[str, Source]:
        """The ``training`` and ``validation`` sources; what is missing in ``folder`` is made.

        Called in one process first and then in all.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """The loss of a batch, which training lowers."""

    @abstractmethod
    def card_fields(self) -> dict[str, Any]:
        """``instrument``, ``bands``, ``inputs`` and ``outputs`` of the card."""

    def finish(self, network: nn.Module, validation: Source) -> None:  # noqa: B027
        """Learn what is learned once, after training: buffers, not weights."""

    @staticmethod
    @abstractmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Measure a network on ``n`` fresh examples, whose stream is apart from training's.

        Raises
        ------
        NetworkError
            When the weights are damaged, or the card does not say what the network is for.
        """


def task_class(name: str) -> type[Task]:
    """The class of a task.

    Raises
    ------
    OptionError
        When there is none of this name.
    """
    if name not in TASKS:
        raise OptionError(f"no task {name!r}: choose one of {', '.join(TASKS)}")
    module, attribute = TASKS[name]
    return getattr(import_module(module), attribute)


def task_of(preset: Preset) -> Task:
    """The task of a preset.

    Raises
    ------
    OptionError
        When there is no such task, or an entry of the preset's ``data`` is wrong.
    ModelError
        When a model among them cannot be simulated.
    """
    return task_class(preset.task)(preset)
