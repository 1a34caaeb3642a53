"""The task of finding what is strange: learned from lenses without substructure alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.anomaly import SCORES, AnomalyNetwork, AnomalyScores
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.morphology.lensing import MACRO
from autolens_ml.training.morphology import (
    morphology_fields,
    morphology_sources,
    populations_from,
)
from autolens_ml.training.morphology_set import MorphologySource
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = ["CONDITIONS", "TASK", "Anomaly", "AnomalyBatch", "AnomalySource"]

TASK = "anomaly"
_BATCH = 128
# Lenses that the scatter of conditions is learned from.
_N_CONDITIONS = 2048
# The smooth lens and its source, as a conditional network is told them. Brightness is not: what a
# fit gives for it goes with the unit of the image.
CONDITIONS = tuple(name for name in MACRO if name != "source_intensity")
_COLUMNS = [MACRO.index(name) for name in CONDITIONS]


@dataclass(frozen=True)
class AnomalyBatch:
    """Observed lenses.

    Attributes
    ----------
    images, noise : Tensor
        Image and its RMS in units of the noise of an empty pixel, shape (n, y, x).
    draws : Tensor
        Unit-normal numbers, shape (n, latent_dim).
    conditions : Tensor
        Columns as in ``CONDITIONS``, shape (n, 11).
    """

    images: torch.Tensor
    noise: torch.Tensor
    draws: torch.Tensor
    conditions: torch.Tensor


class AnomalySource:
    """Observations with what else an autoencoder needs.

    Parameters
    ----------
    source
        Of the observations.
    latent_dim
        Of the network.
    """

    def __init__(self, source: MorphologySource, latent_dim: int) -> None:
        self.source = source
        self._latent_dim = latent_dim

    def __len__(self) -> int:
        return len(self.source)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> AnomalyBatch:
        """Observe the lenses of these rows."""
        batch = self.source.batch_from(rows, rng)
        draws = rng.standard_normal((len(rows), self._latent_dim), dtype=np.float32)
        return AnomalyBatch(
            batch.images, batch.noise, torch.from_numpy(draws), batch.macro[:, _COLUMNS]
        )


class Anomaly(Task):
    """An autoencoder of lenses without substructure.

    The ``data`` of its presets are those of :class:`~autolens_ml.training.morphology.Morphology`;
    no lens with substructure is ever seen. ``network`` has the arguments of
    :class:`AnomalyNetwork` other than ``side`` and ``n_conditions``.

    Attributes
    ----------
    populations : dict
        Of ``training`` and ``validation``.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        self.populations = populations_from(preset.data, {"no_sub": 1.0})
        # Weights are drawn when the network is asked for.
        with torch.random.fork_rng(devices=[]):
            self._config = self.network().config
        self._learned: AnomalySource | None = None

    def network(self) -> AnomalyNetwork:
        """The untrained network."""
        y, x = self.populations["training"].setting.instrument.shape
        if y != x:
            raise OptionError(f"data: images must be square, not {y} x {x}")
        is_conditional = self.preset.network.get("kind") == "conditional"
        n_conditions = len(CONDITIONS) if is_conditional else 0
        try:
            network = AnomalyNetwork(side=y, n_conditions=n_conditions, **self.preset.network)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error
        if is_conditional:
            macro, _ = self.populations["training"].smooth_lenses(
                _N_CONDITIONS, np.random.default_rng(0)
            )
            network.learn_conditions(torch.from_numpy(macro[:, _COLUMNS]).float())
        return network

    def sources(self, folder: Path, say: Say = silent) -> dict[str, AnomalySource]:
        """Observations of stored lenses without substructure.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one.
        OptionError
            When a set does not fit on the disk.
        """
        found = morphology_sources(self.preset, self.populations, folder, say)
        sources = {
            name: AnomalySource(source, self._config["latent_dim"])
            for name, source in found.items()
        }
        self._learned = sources["training"]
        return sources

    def loss(self, network: AnomalyNetwork, batch: AnomalyBatch) -> torch.Tensor:
        """That of the network."""
        told = batch.conditions if network.kind == "conditional" else None
        return network.loss(batch.images, batch.noise, batch.draws, told)

    @torch.no_grad()
    def finish(self, network: AnomalyNetwork, validation: AnomalySource) -> None:
        """Learn how latents are distributed, and the scores that few ordinary lenses exceed."""
        rng = np.random.default_rng(0)

        def batches(source: AnomalySource, n: int) -> list[AnomalyBatch]:
            return [
                source.batch_from(np.arange(i, min(i + _BATCH, n)), rng)
                for i in range(0, n, _BATCH)
            ]

        def told(batch: AnomalyBatch) -> torch.Tensor | None:
            return batch.conditions if network.kind == "conditional" else None

        learned = batches(self._learned, min(len(self._learned), 40 * _BATCH))
        means = [network.encode(batch.images, told(batch)).mean for batch in learned]
        network.learn_features(torch.cat(means))
        scores = [
            network.scores(batch.images, batch.noise, told(batch))
            for batch in batches(validation, len(validation))
        ]
        network.learn_thresholds(
            AnomalyScores(*(torch.cat(parts) for parts in zip(*scores, strict=True)))
        )

    def card_fields(self) -> dict[str, Any]:
        """Of images and scores."""
        kind = self._config["kind"]
        return {
            **morphology_fields(self.preset, self.populations["training"]),
            "outputs": {
                "scores": list(SCORES),
                "conditions": list(CONDITIONS) if kind == "conditional" else [],
                "latents": self._config["latent_dim"],
                "data": self.preset.data,
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """AUCs of each score on ``n`` lenses of each class."""
        from autolens_ml.training.anomaly_accuracy import measured

        return measured(card, n, seed, say)
