"""How a network is trained on a ``data.json``: LensNet's configuration, in YAML or JSON."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.shear_files import entries_from
from autolens_ml.training.preset import Preset, TrainingOptions
from autolens_ml.training.stamp_regression import StampData, split

__all__ = ["ShearConfig"]

# Short names of losses and metrics.
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "rmse": "root_mean_squared_error",
}
# LensNet's configurations have one section for each model; this one is for all others.
_SECTION = "default"


@dataclass(frozen=True)
class ShearConfig:
    """A training on a set of stamps; LensNet's keys, and ``flip_rows``.

    Attributes
    ----------
    batch_size, epochs : int
        Images per step, and how often each is seen.
    learning_rate : float
        At its largest.
    classes, image_height, image_width, loss_function, metrics, mode, normalize_output, \
    random_state, test_ratio, flip_rows
        See :class:`~autolens_ml.training.stamp_regression.StampData`.

    Raises
    ------
    OptionError
        When one of them means nothing.
    """

    batch_size: int = 64
    classes: tuple[str, ...] = ("g1", "g2")
    epochs: int = 20
    image_height: int = 48
    image_width: int = 48
    learning_rate: float = 1e-3
    loss_function: str = "mean_squared_error"
    metrics: tuple[str, ...] = ("mean_absolute_error",)
    mode: str = "grayscale"
    normalize_output: bool = True
    random_state: int = 42
    test_ratio: float = 0.25
    flip_rows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss_function", _named(self.loss_function))
        for name in ("classes", "metrics"):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                object.__setattr__(self, name, tuple(_named(item) for item in value))
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} must be a whole number from 1, not {value!r}")
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 < rate < 1.0:
            raise OptionError(f"learning_rate must be above 0 and below 1, not {rate!r}")
        # Whatever else is wrong is refused where it is used.
        StampData(**self._data(""))

    @classmethod
    def from_file(cls, path: str | Path) -> ShearConfig:
        """A configuration in YAML or JSON; of LensNet's, the section ``default``.

        Raises
        ------
        OptionError
            When it cannot be read, or a key is unknown or means nothing.
        """
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text())
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise OptionError(f"{path}: neither YAML nor JSON") from error
        if isinstance(values, dict) and isinstance(values.get(_SECTION), dict):
            values = values[_SECTION]
        if not isinstance(values, dict):
            raise OptionError(f"{path}: needs keys such as classes and epochs")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(str(name) for name in values if name not in known):
            raise OptionError(f"{path}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
        try:
            return cls(**values)
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error

    def as_text(self) -> str:
        """The configuration in YAML, as `from_file` reads it."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return yaml.safe_dump(values, sort_keys=False)

    def preset(self, name: str, file: str | Path) -> Preset:
        """The training of a network called ``name`` on a ``data.json``.

        Raises
        ------
        StampProblems
            When the file cannot be read.
        OptionError
            When it has too few entries.
        """
        file = Path(file).resolve()
        parts = split(len(entries_from(file)), self.test_ratio, self.random_state)
        n = len(parts["training"])
        steps = max(1, n // self.batch_size)
        return Preset(
            name=re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_") or "network",
            description=f"{', '.join(self.classes)} regressed from images, as LensNet does.",
            task="stamp-regression",
            data=self._data(str(file)),
            training=TrainingOptions(
                n_training=n,
                n_validation=len(parts["validation"]),
                n_steps=self.epochs * steps,
                batch_size=self.batch_size,
                learning_rate=float(self.learning_rate),
                # Averages of weights reach back a tenth of the training, or of the usual one.
                ema_decay=min(0.998, max(0.0, 1.0 - 10.0 / (self.epochs * steps))),
                validate_every=steps,
                patience=self.epochs,
            ),
            seed=self.random_state,
        )

    def _data(self, file: str) -> dict[str, Any]:
        names = [field.name for field in fields(StampData) if field.name != "file"]
        return {"file": file, **{name: getattr(self, name) for name in names}}


def _named(name: Any) -> Any:
    return _ALIASES.get(name, name) if isinstance(name, str) else name
