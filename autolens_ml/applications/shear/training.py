"""LensNet's trainings: a network on a ``data.json``, made, gone on with, or made afresh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.shear.config import ShearConfig
from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.training.train import Hardware, train

__all__ = ["train_on_files"]

_PRESET = "preset.json"


def train_on_files(
    data: str | Path,
    model: str | Path,
    config: ShearConfig,
    *,
    remove: bool = False,
    hardware: Hardware | None = None,
    progress: Progress = lambda line: None,
) -> Card:
    """Train a network on a set of stamps; one that is there already is loaded.

    Parameters
    ----------
    data
        ``data.json``.
    model
        Folder of the network, which is called after it.
    config
        What is learned, and how.
    remove
        Whether to delete the network that is there and start afresh.
    hardware
        Where to train.
    progress
        Takes a line at a time.

    Raises
    ------
    StampProblems
        When something of the set is missing or cannot be read.
    OptionError
        When the folder holds something else, or the training of another configuration.
    """
    folder = Path(model)
    # Whatever is wrong with the set is found before anything is deleted.
    preset = config.preset(folder.name, data)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not _is_ours(folder))
    ):
        raise OptionError(f"{folder}: holds no network of this kind: give a new folder")
    if remove and folder.is_dir():
        shutil.rmtree(folder)
    try:
        return train(preset, folder, hardware, progress)
    except OptionError as error:
        if "another preset" in str(error):
            raise OptionError(
                f"{folder} holds a network that was trained in another way: give another --model, "
                "or start afresh with --remove"
            ) from error
        raise


def _is_ours(folder: Path) -> bool:
    try:
        return json.loads((folder / _PRESET).read_text())["task"] == "stamp-regression"
    except (OSError, ValueError, KeyError, TypeError):
        return False
