"""From a preset to a stored network: simulate, train, measure, store."""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from autofit.tools.util import open_atomic
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.population import Population
from autolens_ml.training.estimation import LensData, PosteriorEstimation
from autolens_ml.training.lens_set import LensSet, Observer, target_columns
from autolens_ml.training.preset import Preset

_PACKAGES = ("autolens", "autofit", "jax", "torch", "lightning", "numpy")
_SETS = ("training", "validation")
_SEEDS_PER_PRESET = 10
_FEATURE_BATCH = 64


@dataclass(frozen=True)
class Hardware:
    """Where and how a network is trained; none of it changes the preset.

    Attributes
    ----------
    accelerator, devices, nodes
        As Lightning's ``Trainer`` takes them.
    precision
        ``"bf16-mixed"`` halves the time on a CPU with bfloat16 and on GPUs; ``"32-true"`` is
        plain single precision.
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
    say: Callable[[str], None] = lambda line: None,
) -> Card:
    """Train a network and store it, without figures of merit: ``evaluate`` measures those.

    Everything is in ``folder``: the simulated sets, logs, checkpoints, and in the end
    ``NAME.safetensors`` and ``NAME.json``. Called again after an interruption it goes on.

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

    Raises
    ------
    OptionError
        When the folder holds the work of another preset.
    """
    hardware = hardware or Hardware()
    _claim(folder, preset)
    sets = lens_sets(preset, folder, say)
    population = sets["training"].population
    targets = target_columns(population.model, preset.targets)
    columns = list(targets.values())
    if not columns:
        raise OptionError(f"preset {preset.name}: no parameter begins with any of its targets")
    options = preset.training
    torch.manual_seed(preset.seed)
    # Gradients of blocks that start as the identity are denormal at first: ten times slower.
    torch.set_flush_denormal(True)
    network = PosteriorNetwork(dim=len(columns), **preset.network)
    data = LensData(
        Observer(sets["training"], columns, options.mask_share),
        Observer(sets["validation"], columns, options.mask_share, augment=False),
        options,
        preset.seed,
    )
    best = ModelCheckpoint(
        folder / "checkpoints", monitor="validation_loss", save_last=True, filename="best"
    )
    loggers: list[Logger] = [CSVLogger(folder, name="logs")]
    if hardware.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    progress = _Progress(options.n_steps, say)
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        precision=hardware.precision,
        max_steps=options.n_steps,
        gradient_clip_val=options.gradient_clip,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[
            EMAWeightAveraging(decay=options.ema_decay),
            best,
            EarlyStopping("validation_loss", patience=options.patience),
            progress,
        ],
        logger=loggers,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=50,
    )
    last = folder / "checkpoints" / "last.ckpt"
    with warnings.catch_warnings():
        # Batches are made on the fly by this process: workers would share its cores.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*IterableDataset.*")
        trainer.fit(
            PosteriorEstimation(network, options),
            data,
            ckpt_path=last if last.is_file() else None,
            weights_only=False,  # our own file, made a moment ago
        )
    stored = torch.load(best.best_model_path, map_location="cpu", weights_only=False)
    state = {
        name.removeprefix("network."): tensor
        for name, tensor in stored["state_dict"].items()
        if name.startswith("network.")
    }
    network.load_state_dict(state)
    network.learn_features(_features_of(network, data.validation))
    hours = progress.seconds / 3600.0
    fields = _card_fields(preset, population, targets, network, hours, trainer.global_step)
    return save_network(folder, fields, network.state_dict())


def lens_sets(
    preset: Preset, folder: Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, LensSet]:
    """The preset's simulated sets, ``training`` and ``validation``, made where they are missing.

    Each has a seed of its own: no validation lens is ever seen in training.
    """
    population = preset.make_population()
    options = preset.training
    sizes = (options.n_lenses, options.n_validation)
    sets = {}
    for i, (name, size) in enumerate(zip(_SETS, sizes, strict=True)):
        started = time.monotonic()

        def report(done: int, n: int, name: str = name, started: float = started) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            say(f"simulating the {name} set: {done:,} of {n:,} lenses ({rate:.0f} per second)")

        seed = _SEEDS_PER_PRESET * preset.seed + i
        sets[name] = LensSet.simulated(population, size, seed, folder / name, report)
    return sets


@torch.no_grad()
def _features_of(network: PosteriorNetwork, observer: Observer) -> torch.Tensor:
    """Features of the validation set, as the stored network will see images: not averaged."""
    network.eval()
    n, rng = len(observer.lenses), np.random.default_rng(0)
    batches = (
        observer.batch_from(np.arange(i, min(i + _FEATURE_BATCH, n)), rng)
        for i in range(0, n, _FEATURE_BATCH)
    )
    return torch.cat([network.features(*batch.inputs) for batch in batches])


class _Progress(pl.Callback):
    """Lines of progress, and the seconds spent over all resumed calls."""

    def __init__(self, n_steps: int, say: Callable[[str], None]) -> None:
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


def _claim(folder: Path, preset: Preset) -> None:
    """A folder belongs to one preset: mixed up, sets and checkpoints would be worthless."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "preset.json"
    values = json.loads(json.dumps(preset.as_dict(), default=str))
    if file.is_file():
        if json.loads(file.read_text()) != values:
            raise OptionError(
                f"{folder} holds the training of another preset: give another folder, or delete it"
            )
        return
    with open_atomic(file) as stream:
        stream.write(json.dumps(values, indent=1))


def _card_fields(
    preset: Preset,
    population: Population,
    targets: dict[str, int],
    network: PosteriorNetwork,
    hours: float,
    n_steps: int,
) -> dict[str, Any]:
    instrument = population.instrument
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "name": preset.name,
        "task": preset.task,
        "description": preset.description,
        "instrument": instrument.as_dict(),
        "bands": list(instrument.bands),
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        "inputs": {
            "shape": list(instrument.shape),
            "pixel_scale": instrument.pixel_scale,
            "units": "noise of an empty pixel",
        },
        "outputs": {
            "parameters": list(targets),
            "prior": population.model.dict(),
            "noise_units": population.noise_units,
            "population": json.loads(json.dumps(preset.population)),
        },
        "training": {
            "preset": preset.name,
            "seed": preset.seed,
            "samples": preset.training.n_lenses,
            "steps": n_steps,
            "batch_size": preset.training.batch_size,
            "hardware": gpu or f"{platform.machine()}, {os.cpu_count()} CPU cores",
            "hours": round(hours, 2),
            "versions": {name: version(name) for name in _PACKAGES},
        },
        "metrics": {},
    }
