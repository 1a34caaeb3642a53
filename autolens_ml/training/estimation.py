"""How a posterior network learns: the Lightning module and its data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.population import Population
from autolens_ml.training.lens_set import Batch, LensSet, Observer, Shares
from autolens_ml.training.preset import Preset, TrainingOptions

_SEEDS_PER_PRESET = 10


class PosteriorEstimation(pl.LightningModule):
    """Neural posterior estimation: minus the mean log density of the true latents.

    Its minimum over all densities is the posterior (Papamakarios & Murray 2016,
    arXiv:1605.06376).

    Parameters
    ----------
    network
        What is trained.
    options
        Optimiser and schedule.
    """

    def __init__(self, network: PosteriorNetwork, options: TrainingOptions) -> None:
        super().__init__()
        self.network = network
        self.options = options

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of one batch."""
        loss = self._loss(batch)
        self.log("loss", loss, batch_size=len(batch.images))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log the loss of one batch of the validation set."""
        loss = self._loss(batch)
        self.log("validation_loss", loss, batch_size=len(batch.images), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the rate rises linearly and falls as a cosine."""
        options = self.options
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        n_warm = max(1.0, options.warm_up * options.n_steps)

        def rate(step: int) -> float:
            if step < n_warm:
                return (step + 1) / n_warm
            done = min(1.0, (step - n_warm) / max(1.0, options.n_steps - n_warm))
            return 0.5 * (1.0 + math.cos(math.pi * done))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _loss(self, batch: Batch) -> torch.Tensor:
        return -self.network(*batch.inputs).log_prob(batch.latents).mean()


class LensData(pl.LightningDataModule):
    """Batches of observed lenses.

    One process of all simulates the sets, which must be on a disk that all of them see. An epoch is
    the stretch between two looks at the validation set: its batches depend on the seed, on its
    number and on that of the process alone, so that a resumed training sees what an unbroken one
    would.

    Parameters
    ----------
    preset
        What is simulated, and how it is observed.
    population
        Of the preset.
    columns
        Of the latents that the network estimates.
    folder
        Of the sets.
    say
        Takes a line of progress.

    Attributes
    ----------
    validation : Observer
        Of the validation set, once `setup` has been called.
    """

    def __init__(
        self,
        preset: Preset,
        population: Population,
        columns: list[int],
        folder: Path,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self._preset = preset
        self._population = population
        self._columns = columns
        self._folder = folder
        self._say = say

    def prepare_data(self) -> None:
        """Simulate what is missing; Lightning calls this in one process, while all others wait."""
        lens_sets(self._preset, self._population, self._folder, self._say)

    def setup(self, stage: str) -> None:
        """Open the sets."""
        sets = lens_sets(self._preset, self._population, self._folder)
        options = self._preset.training
        shares = Shares(
            masked=options.mask_share,
            uneven_depth=options.uneven_depth_share,
            resampled=options.resampled_share,
            photon_spread=options.photon_spread,
        )
        self._training = Observer(sets["training"], self._columns, shares)
        self.validation = Observer(sets["validation"], self._columns, shares, augment=False)

    def train_dataloader(self) -> DataLoader:
        """Batches of one epoch."""
        options, epoch = self._preset.training, self.trainer.current_epoch
        n = min(options.validate_every, options.n_steps - epoch * options.validate_every)
        key = (self._preset.seed, epoch, self.trainer.global_rank)
        batches = _Batches(self._training, max(n, 1), options.batch_size, key)
        return _loader(batches)

    def val_dataloader(self) -> DataLoader:
        """The validation set: the same noise at every look, and in every process."""
        size = self._preset.training.batch_size
        n = -(-len(self.validation.lenses) // size)
        batches = _Batches(self.validation, n, size, (self._preset.seed,), in_order=True)
        return _loader(batches)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch; Lightning does not know its class."""
        return Batch(**{name: value.to(device) for name, value in vars(batch).items()})


def _loader(batches: _Batches) -> DataLoader:
    # The generator is not used, but without one torch's global stream would be.
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


def lens_sets(
    preset: Preset,
    population: Population,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, LensSet]:
    """The preset's simulated sets, ``training`` and ``validation``, made where they are missing.

    Each has a seed of its own: no validation lens is ever seen in training.

    Raises
    ------
    DataError
        When a folder holds another set, or a damaged one.
    OptionError
        When a set does not fit on the disk.
    """
    options = preset.training
    sizes = {"training": options.n_lenses, "validation": options.n_validation}
    return {
        name: LensSet.simulated(
            population, n, _SEEDS_PER_PRESET * preset.seed + i, folder / name, _reporter(name, say)
        )
        for i, (name, n) in enumerate(sizes.items())
    }


def _reporter(name: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Lines of progress of a simulation, which may have been begun before."""
    times: list[tuple[float, int]] = []

    def report(done: int, n: int) -> None:
        times.append((time.monotonic(), done))
        elapsed, made = times[-1][0] - times[0][0], done - times[0][1]
        left = f", {(n - done) * elapsed / made / 60.0:.0f} min left" if made else ""
        say(f"simulating the {name} set: {done:,} of {n:,} lenses{left}")

    return report


class _Batches(IterableDataset):
    """``n`` batches of an observer, drawn at random or in order."""

    def __init__(
        self,
        observer: Observer,
        n: int,
        batch_size: int,
        key: tuple[int, ...],
        in_order: bool = False,
    ) -> None:
        self._observer = observer
        self._n = n
        self._batch_size = batch_size
        self._key = key
        self._in_order = in_order

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Batch]:
        seed, *spawn_key = self._key
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(spawn_key)))
        n_lenses = len(self._observer.lenses)
        for i in range(self._n):
            if self._in_order:
                rows = np.arange(i * self._batch_size, min((i + 1) * self._batch_size, n_lenses))
            else:
                rows = np.sort(rng.integers(n_lenses, size=self._batch_size))
            yield self._observer.batch_from(rows, rng)
