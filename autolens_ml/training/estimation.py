"""How a posterior network learns: the Lightning module and its data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.training.lens_set import Batch, Observer
from autolens_ml.training.preset import TrainingOptions


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
        self.log("validation_loss", self._loss(batch), batch_size=len(batch.images))

    def configure_optimizers(self) -> dict:
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

    An epoch is the stretch between two looks at the validation set: its batches depend on the seed
    and its number alone, so that a resumed training sees what an unbroken one would.

    Parameters
    ----------
    training, validation
        Observers of the two sets.
    options
        Batch size and length of an epoch.
    seed
        Of all batches.

    Attributes
    ----------
    validation : Observer
        Of the validation set.
    """

    def __init__(
        self, training: Observer, validation: Observer, options: TrainingOptions, seed: int
    ) -> None:
        super().__init__()
        self._training = training
        self.validation = validation
        self._options = options
        self._seed = seed

    def train_dataloader(self) -> DataLoader:
        """Batches of one epoch."""
        trainer = self.trainer
        n = min(self._options.validate_every, max(self._options.n_steps - trainer.global_step, 1))
        key = (trainer.current_epoch, trainer.global_rank)
        batches = _Batches(self._training, n, self._options.batch_size, (self._seed, *key))
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """The validation set: the same noise at every look."""
        n = len(self.validation.lenses) // self._options.batch_size
        batches = _Batches(
            self.validation, max(n, 1), self._options.batch_size, (self._seed,), in_order=True
        )
        return DataLoader(batches, batch_size=None)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch; Lightning does not know its class."""
        return Batch(**{name: value.to(device) for name, value in vars(batch).items()})


class _Batches(IterableDataset):
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
