"""Presets: everything that makes a network, in one YAML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from autolens_ml.exceptions import OptionError

_FOLDER = files("autolens_ml.training") / "presets"
# Of options that are shares.
_LARGEST = {"warm_up": 1.0, "ema_decay": 1.0}
_KINDS: dict[str, tuple[type, str]] = {
    "name": (str, "text"),
    "description": (str, "text"),
    "task": (str, "text"),
    "data": (dict, "a mapping"),
    "network": (dict, "a mapping"),
}


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    n_training, n_validation : int
        Examples to learn from, and to validate with.
    n_steps : int
        Optimiser steps; the learning rate falls to zero over them.
    n_cycles : int
        How often it does so: equal shares of the steps begin with it at its largest again
        (Loshchilov & Hutter 2017, arXiv:1608.03983).
    batch_size : int
        Examples per step and device.
    learning_rate, weight_decay : float
        Of AdamW, the rate at its largest.
    warm_up : float
        Share of the steps in which the rate rises.
    gradient_clip : float
        Largest norm of a gradient.
    ema_decay : float
        Decay of the running average of the weights, which is what is kept.
    validate_every : int
        Steps between looks at the validation set.
    patience : int
        Looks without a gain after which training ends.

    Raises
    ------
    OptionError
        When one of them is not a number, or out of its range.
    """

    n_training: int = 150_000
    n_validation: int = 2_000
    n_steps: int = 12_000
    n_cycles: int = 1
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up: float = 0.03
    gradient_clip: float = 5.0
    ema_decay: float = 0.998
    validate_every: int = 500
    patience: int = 20

    def __post_init__(self) -> None:
        for entry in fields(self):
            name, value = entry.name, getattr(self, entry.name)
            if isinstance(entry.default, int):
                if not _is_whole(value) or value < 1:
                    raise OptionError(f"training: {name} must be a whole number > 0, not {value!r}")
            # Written so that NaN fails.
            elif not (_is_number(value) and 0.0 <= value <= _LARGEST.get(name, math.inf)):
                largest = f" and <= {_LARGEST[name]:g}" if name in _LARGEST else ""
                raise OptionError(f"training: {name} must be a number >= 0{largest}, not {value!r}")
        if self.n_cycles > self.n_steps:
            raise OptionError(
                f"training: n_cycles must be at most n_steps, {self.n_steps}, not {self.n_cycles}"
            )


@dataclass(frozen=True)
class Preset:
    """A network to be trained.

    Attributes
    ----------
    name : str
        Of the preset and of its network: letters, digits, ``-`` and ``_``.
    description : str
        For people.
    task : str
        What the network is for, one of :data:`~autolens_ml.training.task.TASKS`.
    data : dict
        What it learns from, as the task takes it.
    network : dict
        Arguments of the network, as the task takes them.
    training : TrainingOptions
        How it is trained.
    seed : int
        Of simulation and training.
    initial : str or None
        A network, by name or path, whose weights training starts from.

    Raises
    ------
    OptionError
        When an entry is not of its type.
    """

    name: str
    description: str
    task: str
    data: dict[str, Any]
    network: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    seed: int = 1
    initial: str | None = None

    def __post_init__(self) -> None:
        for name, (kind, words) in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or not (value or name == "network"):
                raise OptionError(f"preset: {name} must be {words}, not {value!r}")
        if not isinstance(self.initial, str | None):
            raise OptionError(f"preset: initial must name a network, not {self.initial!r}")
        if not _is_whole(self.seed) or self.seed < 0:
            raise OptionError(f"preset: seed must be a whole number >= 0, not {self.seed!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "preset") -> Preset:
        """The preset that a mapping describes.

        Raises
        ------
        OptionError
            When an entry is missing, unknown or not of its type.
        """
        _check_names(values, cls, where)
        missing = [n for n in ("name", "description", "task", "data") if n not in values]
        if missing:
            raise OptionError(f"{where}: needs {', '.join(missing)}")
        training = values.get("training") or {}
        _check_names(training, TrainingOptions, f"{where}: training")
        return cls(**{**values, "training": TrainingOptions(**training)})

    def as_dict(self) -> dict[str, Any]:
        """The entries, as `from_dict` takes them."""
        return asdict(self)

    def changed(
        self, n_steps: int | None = None, n_training: int | None = None, seed: int | None = None
    ) -> Preset:
        """The preset with other steps, training examples or seed; ``None`` keeps its own."""
        options = {"n_steps": n_steps, "n_training": n_training}
        given = {name: value for name, value in options.items() if value is not None}
        return replace(
            self,
            training=replace(self.training, **given),
            seed=self.seed if seed is None else seed,
        )


def presets() -> list[str]:
    """Names of the shipped presets."""
    return sorted(Path(str(file)).stem for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))


def preset_from(name_or_path: str | Path) -> Preset:
    """A shipped preset by name, or one from a YAML file.

    Raises
    ------
    OptionError
        When there is none, or it cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise OptionError(f"no preset file {path}")
        where = str(path)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{where}: cannot be read as text") from error
    else:
        known = presets()
        if str(name_or_path) not in known:
            close = get_close_matches(str(name_or_path), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise OptionError(
                f"no preset {str(name_or_path)!r}: choose one of {', '.join(known)}, or give a "
                f"YAML file{hint}"
            )
        text, where = (_FOLDER / f"{name_or_path}.yaml").read_text(), f"preset {name_or_path}"
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OptionError(f"{where}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise OptionError(f"{where}: needs entries such as name and population")
    return Preset.from_dict(values, where)


def _check_names(values: Any, cls: type, where: str) -> None:
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: needs a mapping, not {values!r}")
    known = {entry.name for entry in fields(cls)}
    if unknown := sorted(str(name) for name in values if name not in known):
        raise OptionError(
            f"{where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
