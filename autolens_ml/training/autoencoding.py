"""The task of describing maps by a few latents: an autoencoder of galaxies or of lenses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.autoencoder import Autoencoder, Encoding
from autolens_ml.networks.checkpoint import Card
from autolens_ml.training.map_sets import MapPopulation, population_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = ["Autoencoding", "MapBatch", "MapSource", "Objectives"]

_SEEDS_PER_PRESET = 10
_BATCH = 256
_ENTRIES = ("galaxies", "lenses", "objective")


@dataclass(frozen=True)
class MapBatch:
    """A batch of maps.

    Attributes
    ----------
    maps : Tensor
        In any unit, shape (n, size, size).
    draws : Tensor
        Unit-normal numbers, shape (n, latent_dim).
    """

    maps: torch.Tensor
    draws: torch.Tensor


@dataclass(frozen=True)
class Objectives:
    """What is asked of latents while a network learns.

    Attributes
    ----------
    annealing : float
        Share of the steps over which the price of latents rises to its full value, which leaves
        time to find a use for them (Bowman et al. 2016, arXiv:1511.06349).
    free_bits : float
        Nats that each latent costs nothing.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    annealing: float = 0.3
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        for entry, highest in zip(fields(self), (1.0, np.inf), strict=True):
            value = getattr(self, entry.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            # Written so that NaN fails.
            if not (is_number and 0.0 <= value <= highest):
                raise OptionError(
                    f"data: objective: {entry.name} must be a number from 0 to {highest:g}, not "
                    f"{value!r}"
                )


class MapSource:
    """Batches of stored maps.

    Parameters
    ----------
    maps
        Shape (n, size, size).
    kind
        Indices of what they are of, shape (n,).
    latent_dim
        Of the network.
    population
        Whose symmetries give new maps; ``None`` for the maps as they are.

    Attributes
    ----------
    maps, kind : ndarray
        As given.
    """

    def __init__(
        self,
        maps: np.ndarray,
        kind: np.ndarray,
        latent_dim: int,
        population: MapPopulation | None = None,
    ) -> None:
        self.maps = maps
        self.kind = kind
        self._latent_dim = latent_dim
        self._population = population

    def __len__(self) -> int:
        return len(self.maps)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> MapBatch:
        """Maps of these rows, and what their latents are drawn with."""
        maps = self.maps[rows].astype(np.float32)
        if self._population is not None:
            maps = np.ascontiguousarray(self._population.varied(maps, rng))
        draws = rng.standard_normal((len(rows), self._latent_dim), dtype=np.float32)
        return MapBatch(torch.from_numpy(maps), torch.from_numpy(draws))


class Autoencoding(Task):
    """A variational autoencoder of maps; its decoder is a profile of light or of mass.

    The ``data`` of its presets are

    - ``galaxies``, libraries of stamps and how often each is drawn from, see
      :class:`~autolens_ml.training.map_sets.Galaxies`; or ``lenses``, arguments of the generator
      of convergences, see :class:`~autolens_ml.training.map_sets.Lenses`;
    - ``objective``, if need be, see :class:`Objectives`.

    ``network`` has the arguments of :class:`~autolens_ml.networks.autoencoder.Autoencoder`.

    Attributes
    ----------
    population : MapPopulation
        Of the maps.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        self.objective = _objective_from(data.get("objective") or {})
        # Weights are drawn when the network is asked for.
        with torch.random.fork_rng(devices=[]):
            self._config = self.network().config
        self.population = population_of(
            data, self._config["size"], self._config["disc_radius"], preset.seed
        )
        self._learned: MapSource | None = None

    def network(self) -> Autoencoder:
        """The untrained network."""
        try:
            return Autoencoder(**self.preset.network)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error

    def sources(self, folder: Path, say: Say = silent) -> dict[str, MapSource]:
        """The stored maps; those of validation are of galaxies that are not learned from.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one, or files of galaxies cannot be read.
        OptionError
            When a set does not fit on the disk.
        """
        options, sources = self.preset.training, {}
        sizes = {"training": options.n_training, "validation": options.n_validation}
        for i, (name, n) in enumerate(sizes.items()):
            learned = name == "training"
            stored = self.population.stored(
                folder / name, n, _SEEDS_PER_PRESET * self.preset.seed + i, not learned, say
            )
            sources[name] = MapSource(
                stored["maps"],
                stored["kind"],
                self._config["latent_dim"],
                self.population if learned else None,
            )
        self._learned = sources["training"]
        return sources

    def loss(self, network: Autoencoder, batch: MapBatch) -> torch.Tensor:
        """Minus the bound on the evidence per pixel; in training its prior comes in slowly."""
        beta = 1.0
        if network.training:
            network.n_batches += 1
            n_annealed = self.objective.annealing * self.preset.training.n_steps
            beta = min(1.0, float(network.n_batches) / max(n_annealed, 1.0))
        found = network.objective(batch.maps, batch.draws, beta, self.objective.free_bits)
        return found.loss

    @torch.no_grad()
    def finish(self, network: Autoencoder, validation: MapSource) -> None:
        """Give latents the mean and the covariance of their prior, by the maps of training."""
        n, rng = len(self._learned), np.random.default_rng(0)
        parts = [
            network.encode(self._learned.batch_from(np.arange(i, min(i + _BATCH, n)), rng).maps)
            for i in range(0, n, _BATCH)
        ]
        network.learn_prior(Encoding(*(torch.cat(part) for part in zip(*parts, strict=True))))

    def card_fields(self) -> dict[str, Any]:
        """Of what maps are, and what was learned from."""
        return {
            "instrument": {"name": "any"},
            "bands": [],
            "inputs": {"shape": [self._config["size"]] * 2, "units": "any"},
            "outputs": {
                "quantity": self.population.quantity,
                "latents": self._config["latent_dim"],
                "disc_radius": self._config["disc_radius"],
                "data": self.preset.data,
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Errors of reconstructions, and how much samples are like the maps."""
        from autolens_ml.training.map_accuracy import measured

        return measured(card, n, seed, say)


def _objective_from(values: Any) -> Objectives:
    if not isinstance(values, Mapping):
        raise OptionError(f"data: objective must be a mapping, not {values!r}")
    try:
        return Objectives(**values)
    except TypeError as error:
        known = ", ".join(Objectives.__dataclass_fields__)
        raise OptionError(f"data: objective has {', '.join(values)}; known: {known}") from error
