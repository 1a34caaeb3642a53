"""The task of LensNet: numbers of a ``data.json`` regressed from the images that it names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.shear import StampRegressor
from autolens_ml.simulate.shear_files import StampFiles, stamp_files_from
from autolens_ml.training.merit import speed_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = ["LOSSES", "MODES", "StampRegression", "errors_of", "split", "stamp_files_of"]

# Losses and metrics by the names that Keras, and so LensNet, has for them, and by their own.
LOSSES = {
    "mean_squared_error": lambda error: error.square().mean(),
    "mean_absolute_error": lambda error: error.abs().mean(),
    "root_mean_squared_error": lambda error: error.square().mean().sqrt(),
    "huber": lambda error: nn.functional.huber_loss(error, torch.zeros_like(error)),
    "log_cosh": lambda error: torch.logaddexp(error, -error).mean() - np.log(2.0),
}
MODES = ("grayscale", "rgb")

# Of the images that are trained on, those that training is watched with.
_VALIDATION_SHARE = 0.1
_BATCH = 256
_N_SPEED, _N_BOOTSTRAP = 512, 200


@dataclass(frozen=True)
class StampData:
    """What a network is taught, and how it is watched; made of a preset's ``data``.

    Attributes
    ----------
    file : str
        ``data.json`` of the set.
    classes : tuple of str
        Numbers of its entries.
    image_height, image_width : int
        Pixels of every image.
    mode : str
        ``"grayscale"`` or ``"rgb"``.
    normalize_output : bool
        Whether the smallest and largest value of each class are 0 and 1 inside.
    random_state : int
        Of the split into training and test.
    test_ratio : float
        Share of the entries that is kept for tests.
    loss_function : str
        One of ``LOSSES``.
    metrics : tuple of str
        Some of ``LOSSES``, computed of every class on the test set.
    flip_rows : bool
        See :func:`~autolens_ml.simulate.shear_files.stamp_files_from`.

    Raises
    ------
    OptionError
        When one of them means nothing.
    """

    file: str
    classes: tuple[str, ...] = ("g1", "g2")
    image_height: int = 48
    image_width: int = 48
    mode: str = "grayscale"
    normalize_output: bool = True
    random_state: int = 42
    test_ratio: float = 0.25
    loss_function: str = "mean_squared_error"
    metrics: tuple[str, ...] = ("mean_absolute_error",)
    flip_rows: bool = False

    def __post_init__(self) -> None:
        for name in ("classes", "metrics"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
                raise OptionError(f"{name} must be a list of names, not {value!r}")
            object.__setattr__(self, name, tuple(value))
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise OptionError(f"classes must be different keys of data.json, not {self.classes!r}")
        for name in ("image_height", "image_width", "random_state"):
            value = getattr(self, name)
            least = 0 if name == "random_state" else 8
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise OptionError(f"{name} must be a whole number from {least}, not {value!r}")
        for name in ("normalize_output", "flip_rows"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if not isinstance(self.test_ratio, float) or not 0.0 < self.test_ratio < 1.0:
            raise OptionError(f"test_ratio must be above 0 and below 1, not {self.test_ratio!r}")
        if self.mode not in MODES:
            raise OptionError(f"mode must be {' or '.join(MODES)}, not {self.mode!r}")
        for name in (self.loss_function, *self.metrics):
            if name not in LOSSES:
                raise OptionError(f"no loss or metric {name!r}: choose from {', '.join(LOSSES)}")

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (y, x) of an image."""
        return self.image_height, self.image_width


@dataclass(frozen=True)
class Batch:
    """Images (n, channels, y, x) and what belongs to them, (n, n_classes)."""

    images: torch.Tensor
    values: torch.Tensor


class StampRegression(Task):
    """Numbers that belong to images, regressed.

    The ``data`` of its presets are the arguments of :class:`StampData`, ``network`` those of
    :class:`StampRegressor` that the data do not give.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        try:
            self.data = StampData(**preset.data)
        except TypeError as error:
            known = ", ".join(StampData.__dataclass_fields__)
            raise OptionError(f"data: {error}; known: {known}") from error

    @cached_property
    def _files(self) -> StampFiles:
        return stamp_files_of(self.data)

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        return split(len(self._files), self.data.test_ratio, self.data.random_state)

    def network(self) -> StampRegressor:
        """The untrained network, which knows the range of what it is taught."""
        rows = np.concatenate((self._rows["training"], self._rows["validation"]))
        low, high = [], []
        for name, values in self._files.values.items():
            seen = values[rows]
            if np.ptp(seen) == 0.0:
                raise OptionError(f"{self.data.file}: {name} is the same for all images")
            low.append(float(seen.min()) if self.data.normalize_output else 0.0)
            high.append(float(seen.max()) if self.data.normalize_output else 1.0)
        try:
            return StampRegressor(
                list(self.data.classes),
                low,
                high,
                size=self.data.shape,
                in_channels=3 if self.data.mode == "rgb" else 1,
                **self.preset.network,
            )
        except TypeError as error:
            raise OptionError(f"network: {error}") from error

    def sources(self, folder: Path, say: Say = silent) -> dict[str, _Images]:
        """The images, in memory."""
        return {name: _Images(self._files, rows) for name, rows in self._rows.items()}

    def loss(self, network: StampRegressor, batch: Batch) -> torch.Tensor:
        """The loss function, of values between 0 and 1."""
        error = network.raw(batch.images) - network.scaled(batch.values)
        return LOSSES[self.data.loss_function](error)

    def card_fields(self) -> dict[str, Any]:
        """What goes in and comes out, and the split."""
        return {
            "instrument": {"name": Path(self.data.file).parent.name or "files"},
            "bands": [],
            "inputs": {
                "shape": list(self.data.shape),
                "channels": ["red", "green", "blue"] if self.data.mode == "rgb" else ["galaxy"],
            },
            "outputs": {
                "parameters": list(self.data.classes),
                "data": dict(self.preset.data),
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Errors on the share of the set that was kept for tests, at most ``n`` images of it."""
        network = stored_network(card)
        try:
            data = StampData(**card.outputs["data"])
        except (KeyError, TypeError, OptionError) as error:
            raise NetworkError(f"{card.path}: does not say what it was trained on") from error
        say("reading the images")
        files = stamp_files_of(data)
        rows = split(len(files), data.test_ratio, data.random_state)["test"][:n]
        images = torch.from_numpy(files.galaxies[rows])
        predicted = regressed(network, images)
        command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
        metrics = {}
        for i, name in enumerate(data.classes):
            error = torch.from_numpy(predicted[:, i] - files.values[name][rows])
            for metric in dict.fromkeys((data.loss_function, *data.metrics)):
                metrics[f"{metric} {name}"] = errors_of(error, metric, seed)
        some = images[:_N_SPEED]
        metrics["images_per_second"] = speed_of(lambda: regressed(network, some), len(some))
        return Evaluation(
            card=card.with_metrics({k: {**v, "command": command} for k, v in metrics.items()}),
            verdict=f"{len(rows)} images that training did not see.",
        )


class _Images:
    """Images of a set, with the numbers that belong to them."""

    def __init__(self, files: StampFiles, rows: np.ndarray) -> None:
        self._files = files
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Those at ``rows``, as they are."""
        chosen = self._rows[rows]
        values = np.stack([column[chosen] for column in self._files.values.values()], axis=-1)
        return Batch(
            images=torch.from_numpy(self._files.galaxies[chosen]),
            values=torch.from_numpy(values).float(),
        )


def stamp_files_of(data: StampData) -> StampFiles:
    """The set that a network is taught.

    Raises
    ------
    StampProblems
        When something of it is missing or cannot be read.
    """
    return stamp_files_from(
        data.file,
        classes=data.classes,
        shape=data.shape,
        mode=data.mode,
        flip_rows=data.flip_rows,
    )


def split(n: int, test_ratio: float, random_state: int) -> dict[str, np.ndarray]:
    """Numbers of the entries that are trained on, watched and kept for tests.

    Raises
    ------
    OptionError
        When there are too few for each to have one.
    """
    order = np.random.default_rng(random_state).permutation(n)
    n_test = int(np.ceil(test_ratio * n))
    n_validation = int(np.ceil(_VALIDATION_SHARE * (n - n_test)))
    parts = np.split(order, [n_test, n_test + n_validation])
    if not all(map(len, parts)):
        raise OptionError(f"{n} images are too few for a test_ratio of {test_ratio:g}")
    return dict(zip(("test", "validation", "training"), parts, strict=True))


@torch.no_grad()
def regressed(network: StampRegressor, images: torch.Tensor) -> np.ndarray:
    """What a network says to images (n, channels, y, x), shape (n, n_classes)."""
    return torch.cat([network(part) for part in images.split(_BATCH)]).double().numpy()


def errors_of(error: torch.Tensor, metric: str, seed: int = 0) -> dict[str, Any]:
    """A metric of the errors of n images, with its 95 per cent interval by the bootstrap."""
    rng = np.random.default_rng(seed)
    values = [
        float(LOSSES[metric](error[torch.from_numpy(rng.integers(len(error), size=len(error)))]))
        for _ in range(_N_BOOTSTRAP)
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    value = float(LOSSES[metric](error))
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": len(error)}
