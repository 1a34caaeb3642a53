"""The task of telling what a lens holds: nothing but the smooth halo, subhaloes, or a vortex."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.morphology import MorphologyNetwork
from autolens_ml.simulate.morphology.settings import setting_from
from autolens_ml.simulate.morphology.systems import CLASSES, MorphologyPopulation
from autolens_ml.training.detection import temperature_from
from autolens_ml.training.morphology_set import MorphologyBatch, MorphologySource, stored_systems
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, reporter, silent

__all__ = [
    "TASK",
    "Morphology",
    "morphology_fields",
    "morphology_sources",
    "populations_from",
    "test_population_of",
]

TASK = "morphology"
_BATCH = 64
_SEEDS_PER_PRESET = 10
# Of a network that is asked what it sees, before its images are known.
_ANY_SIDE = 64
_ENTRIES = ("setting", "changes")


class Morphology(Task):
    """Classification by cross-entropy, with probabilities that are calibrated afterwards.

    The ``data`` of its presets are

    - ``setting``, as :func:`~autolens_ml.simulate.morphology.settings.setting_from` takes it, which
      is what the network is measured on;
    - ``changes``, what is different in the sets that it learns from, such as masses of vortices in
      a wider range.

    ``network`` has the arguments of :class:`MorphologyNetwork` other than ``side`` and
    ``n_classes``. Presets with the same data share their sets.

    Attributes
    ----------
    populations : dict
        Of ``training`` and ``validation``.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        with torch.random.fork_rng(devices=[]):
            needs_fit = _network_from(preset, _ANY_SIDE).needs_fit
        shares = dict.fromkeys(CLASSES, 1.0)
        self.populations = populations_from(preset.data, shares, needs_fit)

    def network(self) -> MorphologyNetwork:
        """The untrained network."""
        y, x = self.populations["training"].setting.instrument.shape
        if y != x:
            raise OptionError(f"data: images must be square, not {y} x {x}")
        return _network_from(self.preset, y)

    def sources(self, folder: Path, say: Say = silent) -> dict[str, MorphologySource]:
        """Observations of stored lenses.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one.
        OptionError
            When a set does not fit on the disk.
        """
        return morphology_sources(self.preset, self.populations, folder, say)

    def loss(self, network: nn.Module, batch: MorphologyBatch) -> torch.Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(network(batch.images, batch.residuals), batch.labels)

    @torch.no_grad()
    def finish(self, network: nn.Module, validation: MorphologySource) -> None:
        """Learn the temperature that makes probabilities right on the validation set."""
        rng, logits = np.random.default_rng(0), []
        for i in range(0, len(validation), _BATCH):
            rows = np.arange(i, min(i + _BATCH, len(validation)))
            batch = validation.batch_from(rows, rng)
            logits.append(network(batch.images, batch.residuals))
        found = temperature_from(torch.cat(logits).numpy(), validation.labels)
        network.temperature.fill_(found)

    def card_fields(self) -> dict[str, Any]:
        """Of images and classes."""
        return {
            **morphology_fields(self.preset, self.populations["training"]),
            "outputs": {"classes": list(CLASSES), "data": self.preset.data},
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Figures of merit on ``n`` lenses of each class, in the setting itself."""
        from autolens_ml.training.morphology_accuracy import measured

        return measured(card, n, seed, say)


def _network_from(preset: Preset, side: int) -> MorphologyNetwork:
    try:
        return MorphologyNetwork(side=side, n_classes=len(CLASSES), **preset.network)
    except TypeError as error:
        raise OptionError(f"network: {error}") from error


def populations_from(
    data: Mapping[str, Any], shares: Mapping[str, float], with_smooth: bool = False
) -> dict[str, MorphologyPopulation]:
    """The populations of ``training`` and ``validation`` that the data of a preset describe.

    Raises
    ------
    OptionError
        When an entry is missing, unknown or wrong.
    """
    if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
        raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
    if not isinstance(data.get("setting"), str | Mapping):
        raise OptionError(f"data: setting must be a name or a mapping, not {data.get('setting')!r}")
    changes = data.get("changes") or {}
    if not isinstance(changes, Mapping):
        raise OptionError(f"data: changes must be a mapping, not {changes!r}")
    setting = setting_from(data["setting"]).changed(**changes)
    return {
        name: MorphologyPopulation(setting, shares, name == "validation", with_smooth)
        for name in ("training", "validation")
    }


def morphology_sources(
    preset: Preset, populations: Mapping[str, MorphologyPopulation], folder: Path, say: Say
) -> dict[str, MorphologySource]:
    """Observations of the sets of a preset, which are made where they are missing."""
    options = preset.training
    sizes = {"training": options.n_training, "validation": options.n_validation}
    sources = {}
    for i, (name, n) in enumerate(sizes.items()):
        seed = _SEEDS_PER_PRESET * preset.seed + i
        systems = stored_systems(
            populations[name], n, seed, folder / "morphology", reporter(name, say)
        )
        sources[name] = MorphologySource(systems, populations[name], name == "training")
    return sources


def morphology_fields(preset: Preset, population: MorphologyPopulation) -> dict[str, Any]:
    """``instrument``, ``bands`` and ``inputs`` of a card."""
    instrument = population.setting.instrument
    return {
        "instrument": instrument.as_dict(),
        "bands": list(instrument.bands),
        "inputs": {
            "shape": list(instrument.shape),
            "pixel_scale": instrument.pixel_scale,
            "units": "noise of an empty pixel",
        },
    }


def test_population_of(card: Card, **changes: Any) -> MorphologyPopulation:
    """The population that the network of a card is measured on: of its setting, held out.

    Parameters
    ----------
    card
        Of a network for images of lenses with substructure.
    changes
        ``shares``, and what is different from the setting.

    Raises
    ------
    NetworkError
        When the card does not say what the network was trained on.
    """
    shares = changes.pop("shares", None)
    try:
        setting = setting_from(card.outputs["data"]["setting"]).changed(**changes)
    except (KeyError, TypeError, OptionError) as error:
        raise NetworkError(f"{card.path}: names no setting to measure it in") from error
    return MorphologyPopulation(setting, shares, held_out=True)
