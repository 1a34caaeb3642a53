"""From a preset to a stored network: simulate, train, store."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import platform
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from autofit.tools.util import open_atomic
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.checkpoint import FORMAT, Card, find_card, load_state, save_network
from autolens_ml.simulate.description import renumbered
from autolens_ml.training.loop import Learning, TaskData
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Say, Task, silent, task_of

_PACKAGES = ("autolens", "autofit", "jax", "torch", "lightning", "numpy")
# Warnings of what is done on purpose here (batches are made on the fly, in this process), or is
# Lightning's own affair.
_NO_CONCERN = (
    ".*IterableDataset.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*LeafSpec.*",
)


@dataclass(frozen=True)
class Hardware:
    """Where and how a network is trained; none of it changes the preset.

    Attributes
    ----------
    accelerator, devices, nodes
        As Lightning's ``Trainer`` takes them. Each device sees batches of its own.
    precision
        ``"bf16-mixed"`` halves the time on a CPU with bfloat16 and on GPUs; ``"32-true"`` is
        plain single precision. Densities are in single precision in either case.
    tensorboard
        Whether to write TensorBoard logs beside the CSV file.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    precision: str = "bf16-mixed"
    tensorboard: bool = False


def train(
    preset: Preset,
    folder: Path,
    hardware: Hardware | None = None,
    say: Say = silent,
    sets: Path | None = None,
) -> Card:
    """Train a network and store it, without figures of merit: ``evaluate`` measures those.

    Everything is in ``folder``: logs, checkpoints, the simulated sets unless ``sets`` is given, and
    in the end ``NAME.safetensors`` and ``NAME.json``. Called again after an interruption it goes on
    from the last look at the validation set; called again after the end it returns the card. With
    several devices or nodes every process makes this call, and the folder must be on a disk that
    all see.

    Parameters
    ----------
    preset
        What to train.
    folder
        Where; made if need be. One folder for one preset.
    hardware
        Accelerator, devices, precision.
    say
        Takes a line of progress.
    sets
        Where the simulated sets are kept, by default ``folder``. Presets with the same data, seed
        and number of examples share them.

    Returns
    -------
    Card
        Of the stored network: the average of the weights that did best on the validation set.

    Raises
    ------
    OptionError
        When the folder holds the work of another preset, no network can be made of the preset, the
        hardware is not there, or the loss is never finite.
    ModelError
        When the model of the preset cannot be simulated.
    NetworkError
        When no card can be written for the preset.
    DataError
        When the sets in the folder are damaged.
    """
    hardware = hardware or Hardware()
    task = task_of(preset)
    network = _untrained(task)
    fields = _card_fields(task, network)
    if preset.initial is not None:
        initial = find_card(preset.initial, preset.task)
        _start_from(initial, network)
        fields["training"]["initial"] = {**initial.training, "sha256": initial.sha256}
    # What cannot be stored in the end is better refused now.
    Card.from_dict({**fields, "sha256": "0" * 64, "format": FORMAT})
    if rank_zero_only.rank == 0:
        _claim(folder, preset)
    else:  # the first process alone tells of progress
        say = silent
    if card := _finished(preset, folder):
        say(f"{card.path} is trained already")
        return card
    data = TaskData(task, sets or folder, say)
    progress = _Progress(preset.training.n_steps, say)
    looks = _Looks(folder / "checkpoints", preset.training.patience)
    with _quiet_lightning(), _denormals_flushed():
        trainer = _trainer(preset, folder, hardware, [progress, looks])
        trainer.fit(
            Learning(network, task),
            data,
            ckpt_path=looks.last if looks.last.is_file() else None,
            weights_only=True,
        )
        if trainer.is_global_zero:
            _load_best(network, looks.best)
            task.finish(network.eval(), data.validation)
            fields["training"] |= {
                "steps": trainer.global_step,
                "hours": round(progress.seconds / 3600.0, 2),
                "hardware": _hardware_words(trainer),
            }
            save_network(folder, fields, network.state_dict())
        trainer.strategy.barrier()
    return find_card(folder / f"{preset.name}.json")


def _claim(folder: Path, preset: Preset) -> None:
    """A folder belongs to one preset: mixed up, sets and checkpoints would be worthless."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "preset.json"
    if file.is_file():
        with contextlib.suppress(ValueError, OptionError):
            # Options that came later are at their defaults.
            begun = Preset.from_dict(json.loads(file.read_text()))
            if _numbered_anew(begun) == _numbered_anew(preset):
                return
        raise OptionError(
            f"{folder} holds the training of another preset: give another folder, or delete it"
        )
    with open_atomic(file) as stream:
        stream.write(json.dumps(preset.as_dict(), indent=1))


def _numbered_anew(preset: Preset) -> Any:
    """Its entries as JSON has them; priors have numbers of their own in every process."""
    return renumbered(json.loads(json.dumps(preset.as_dict())))


def _finished(preset: Preset, folder: Path) -> Card | None:
    """The card of the stored network, if it is there and whole."""
    with contextlib.suppress(NetworkError):
        card = find_card(folder / f"{preset.name}.json")
        load_state(card)
        return card
    return None


def _untrained(task: Task) -> nn.Module:
    """The network before training, which depends on the preset's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.preset.seed)
        return task.network()


def _start_from(card: Card, network: nn.Module) -> None:
    """Give a network the weights of a stored one."""
    try:
        network.load_state_dict(load_state(card))
    except RuntimeError as error:
        raise OptionError(
            f"initial: the weights of {card.name} do not fit this preset's network: its network "
            "and data sections must be those of the same network"
        ) from error


def _trainer(
    preset: Preset, folder: Path, hardware: Hardware, callbacks: list[pl.Callback]
) -> pl.Trainer:
    options = preset.training
    loggers: list[Logger] = [CSVLogger(folder, name="logs")]
    try:
        if hardware.tensorboard:
            loggers.append(TensorBoardLogger(folder, name="tensorboard"))
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            precision=hardware.precision,
            max_steps=options.n_steps,
            gradient_clip_val=options.gradient_clip,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            # Buffers are the same at all times; averages would round the indices among them.
            callbacks=[EMAWeightAveraging(decay=options.ema_decay, use_buffers=False), *callbacks],
            logger=loggers,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=50,
        )
    except ModuleNotFoundError as error:
        raise OptionError(
            "TensorBoard is not installed: pip install tensorboard, or leave it out; the logs are "
            "in a CSV file in any case"
        ) from error
    except (MisconfigurationException, ValueError) as error:
        raise OptionError(f"training: {str(error).splitlines()[0]}") from error


def _load_best(network: nn.Module, checkpoint: Path) -> None:
    """Give a network the averaged weights of a checkpoint."""
    if not checkpoint.is_file():
        raise OptionError("training: the loss was never finite; set a lower learning_rate")
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    prefix = "network."
    network.load_state_dict(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in stored["state_dict"].items()
            if name.startswith(prefix)
        }
    )


class _Looks(Checkpoint):
    """What a look at the validation set leads to: checkpoints, and the end after too many in vain.

    The averaged weights are those that are looked at, and are ``state_dict`` in checkpoints.

    Parameters
    ----------
    folder
        Of the checkpoints.
    patience
        Looks without a gain after which training ends.

    Attributes
    ----------
    best, last : Path
        Checkpoints of the best look and of the latest.
    """

    def __init__(self, folder: Path, patience: int) -> None:
        self.best = folder / "best.ckpt"
        self.last = folder / "last.ckpt"
        self._patience = patience
        self._least = math.inf
        self._in_vain = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._in_vain >= self._patience:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if "validation_loss" not in trainer.callback_metrics:
            return  # resumed at the end of an epoch, whose look is the one that was saved
        loss = float(trainer.callback_metrics["validation_loss"])
        self._in_vain += 1
        if loss < self._least:
            self._least, self._in_vain = loss, 0
            self._save(trainer, self.best)
        self._save(trainer, self.last)
        if self._in_vain >= self._patience or not math.isfinite(loss):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"least": self._least, "in_vain": self._in_vain}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._least, self._in_vain = state_dict["least"], state_dict["in_vain"]

    @staticmethod
    def _save(trainer: pl.Trainer, path: Path) -> None:
        """At once or not at all, which Lightning promises on one and the same disk only."""
        partial = path.with_name(f".{path.name}.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, path)


class _Progress(pl.Callback):
    """Lines of progress, and the seconds spent over all resumed calls."""

    def __init__(self, n_steps: int, say: Say) -> None:
        self.seconds = 0.0
        self._n_steps = n_steps
        self._say = say
        self._since = (time.monotonic(), 0)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = (time.monotonic(), trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        then, step = self._since
        now = time.monotonic()
        self.seconds += now - then
        self._since = (now, trainer.global_step)
        rate = (trainer.global_step - step) / max(now - then, 1e-9)
        left = (self._n_steps - trainer.global_step) / max(rate, 1e-9)
        metrics = trainer.callback_metrics
        self._say(
            f"step {trainer.global_step:,} of {self._n_steps:,}: "
            f"loss {float(metrics.get('loss', float('nan'))):.3f}, "
            f"validation {float(metrics['validation_loss']):.3f}, "
            f"{rate:.1f} steps/s, {left / 60:.0f} min left"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes, and its warnings of what is done on purpose here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _NO_CONCERN:
            warnings.filterwarnings("ignore", message=message)
        try:
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _denormals_flushed() -> Iterator[None]:
    """With denormal numbers taken as zero.

    Gradients of blocks that start as the identity are denormal at first: ten times slower.
    """
    before = float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _card_fields(task: Task, network: nn.Module) -> dict[str, Any]:
    """All that is known before the training."""
    preset = task.preset
    return {
        "name": preset.name,
        "task": preset.task,
        "description": preset.description,
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        **task.card_fields(),
        "training": {
            "preset": preset.name,
            "seed": preset.seed,
            "samples": preset.training.n_training,
            "batch_size": preset.training.batch_size,
            "versions": {name: version(name) for name in _PACKAGES},
        },
        "metrics": {},
    }


def _hardware_words(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cpu":
        return f"{platform.machine()}, {os.cpu_count()} CPU cores"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.world_size} x {name}"
