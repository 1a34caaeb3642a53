"""How any network learns: the Lightning module and its data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from autolens_ml.training.task import Say, Source, Task, silent


class Learning(pl.LightningModule):
    """Lowers the loss of a task.

    Parameters
    ----------
    network
        What is trained.
    task
        Whose loss it is; its preset has the optimiser and the schedule.
    """

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        """The loss of one batch."""
        loss = self.task.loss(self.network, batch)
        self.log("loss", loss, batch_size=_size(batch))
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Log the loss of one batch of the validation set."""
        loss = self.task.loss(self.network, batch)
        self.log("validation_loss", loss, batch_size=_size(batch), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; in each cycle the rate rises linearly and falls as a cosine."""
        options = self.task.preset.training
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        n_cycle = options.n_steps / options.n_cycles
        n_warm = max(1.0, options.warm_up * n_cycle)

        def rate(step: int) -> float:
            step_of_cycle = step % n_cycle if step < options.n_steps else n_cycle
            if step_of_cycle < n_warm:
                return min(1.0, (step_of_cycle + 1) / n_warm)
            done = (step_of_cycle - n_warm) / max(1.0, n_cycle - n_warm)
            return 0.5 * (1.0 + math.cos(math.pi * done))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _size(batch: Any) -> int:
    return len(next(iter(vars(batch).values())))


class TaskData(pl.LightningDataModule):
    """Batches of a task's sources.

    One process of all makes what is stored, on a disk that all of them see. An epoch is the stretch
    between two looks at the validation set: its batches depend on the seed, on its number and on
    that of the process alone, so that a resumed training sees what an unbroken one would.

    Parameters
    ----------
    task
        Whose sources.
    folder
        Where they keep what they need.
    say
        Takes a line of progress.

    Attributes
    ----------
    validation : Source
        Once `setup` has been called.
    """

    def __init__(self, task: Task, folder: Path, say: Say = silent) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self._task = task
        self._folder = folder
        self._say = say

    def prepare_data(self) -> None:
        """Make what is missing; Lightning calls this in one process, while all others wait."""
        self._task.sources(self._folder, self._say)

    def setup(self, stage: str) -> None:
        """Open the sources."""
        sources = self._task.sources(self._folder)
        self._training, self.validation = sources["training"], sources["validation"]

    def train_dataloader(self) -> DataLoader:
        """Batches of one epoch."""
        preset, epoch = self._task.preset, self.trainer.current_epoch
        options = preset.training
        n = min(options.validate_every, options.n_steps - epoch * options.validate_every)
        key = (preset.seed, epoch, self.trainer.global_rank)
        return _loader(_Batches(self._training, max(n, 1), options.batch_size, key))

    def val_dataloader(self) -> DataLoader:
        """The validation set: the same noise at every look, and in every process."""
        size, key = self._task.preset.training.batch_size, (self._task.preset.seed,)
        n = -(-len(self.validation) // size)
        return _loader(_Batches(self.validation, n, size, key, in_order=True))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch; Lightning does not know its class."""
        return type(batch)(**{name: value.to(device) for name, value in vars(batch).items()})


def _loader(batches: _Batches) -> DataLoader:
    # The generator is not used, but without one torch's global stream would be.
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


class _Batches(IterableDataset):
    """``n`` batches of a source, drawn at random or in order."""

    def __init__(
        self,
        source: Source,
        n: int,
        batch_size: int,
        key: tuple[int, ...],
        in_order: bool = False,
    ) -> None:
        self._source = source
        self._n = n
        self._batch_size = batch_size
        self._key = key
        self._in_order = in_order

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Any]:
        seed, *spawn_key = self._key
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(spawn_key)))
        n_examples = len(self._source)
        for i in range(self._n):
            if self._in_order:
                rows = np.arange(i * self._batch_size, min((i + 1) * self._batch_size, n_examples))
            else:
                rows = np.sort(rng.integers(n_examples, size=self._batch_size))
            yield self._source.batch_from(rows, rng)
