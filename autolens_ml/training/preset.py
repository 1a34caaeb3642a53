"""Presets: everything that makes a network, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import autofit as af
import yaml

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.description import model_from_description
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.sources import StampLibrary, clumpy, from_fits_folder, hubble_deep_field

_FOLDER = files("autolens_ml.training") / "presets"
_N_CLUMPY = 500
_LIBRARIES = {"hubble-deep-field": hubble_deep_field, "clumpy": lambda: clumpy(_N_CLUMPY)}


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes
    ----------
    n_lenses, n_validation : int
        Lenses simulated to learn from, and to watch.
    n_steps : int
        Optimiser steps; the learning rate falls to zero over them.
    batch_size : int
        Lenses per step.
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
    mask_share : float
        Share of lenses that are seen through a mask.
    """

    n_lenses: int = 150_000
    n_validation: int = 2_000
    n_steps: int = 12_000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up: float = 0.03
    gradient_clip: float = 5.0
    ema_decay: float = 0.998
    validate_every: int = 500
    patience: int = 20
    mask_share: float = 0.5

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise OptionError(f"training: {entry.name} must be a number >= 0, not {value!r}")
        for name in ("n_lenses", "n_validation", "n_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"training: {name} must be positive")


@dataclass(frozen=True)
class Preset:
    """A network to be trained.

    Attributes
    ----------
    name, description : str
        For people.
    population : dict
        ``model`` (see ``simulate.description``), ``instrument``, ``max_source_offset``,
        ``noise_units`` and ``stamps`` of a :class:`Population`.
    targets : list of str
        Paths, or the beginnings of paths, of the parameters that the network estimates.
    network : dict
        Arguments of :class:`PosteriorNetwork` other than ``dim``.
    training : TrainingOptions
        How it is trained.
    seed : int
        Of simulation and training.
    """

    name: str
    description: str
    population: dict[str, Any]
    targets: list[str]
    network: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    seed: int = 1
    task: str = "lens-parameters"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "preset") -> Preset:
        """The preset that a mapping describes.

        Raises
        ------
        OptionError
            When an entry is missing or unknown.
        """
        _check_names(values, cls, where)
        missing = [n for n in ("name", "description", "population", "targets") if n not in values]
        if missing:
            raise OptionError(f"{where}: needs {', '.join(missing)}")
        training = values.get("training") or {}
        _check_names(training, TrainingOptions, f"{where}: training")
        return cls(**{**values, "training": TrainingOptions(**training)})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        return asdict(self)

    def make_population(self) -> Population:
        """The population of the training lenses."""
        return population_from(self.population)


def population_from(options: Mapping[str, Any]) -> Population:
    """The population that the ``population`` entry of a preset describes.

    ``model`` is a description (see ``simulate.description``) or the dictionary of an
    ``af.Model``; ``stamps`` names a library for each path.

    Raises
    ------
    OptionError
        When an entry is missing or unknown.
    """
    known = ("model", "instrument", "max_source_offset", "noise_units", "stamps")
    if unknown := sorted(set(options) - set(known)):
        raise OptionError(f"population: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    if missing := [name for name in known[:2] if name not in options]:
        raise OptionError(f"population: needs {', '.join(missing)}")
    model = options["model"]
    if isinstance(model, Mapping):
        is_stored = isinstance(model.get("type"), str)
        model = (
            af.AbstractPriorModel.from_dict(model) if is_stored else model_from_description(model)
        )
    stamps = options.get("stamps") or {}
    return Population(
        model,
        options["instrument"],
        max_source_offset=options.get("max_source_offset"),
        noise_units=options.get("noise_units", False),
        stamps={path: _library_from(name) for path, name in stamps.items()},
    )


def _library_from(name: str) -> StampLibrary:
    """A library of stamps by name, or the FITS stamps of a folder."""
    if name in _LIBRARIES:
        return _LIBRARIES[name]()
    if not Path(name).is_dir():
        raise OptionError(
            f"no source stamps {name!r}: choose one of {', '.join(_LIBRARIES)}, or give a folder "
            "of FITS stamps"
        )
    return from_fits_folder(name)


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
        text, where = path.read_text(), str(path)
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
        raise OptionError(f"{where}: not YAML ({error})") from error
    if not isinstance(values, dict):
        raise OptionError(f"{where}: needs entries such as name and population")
    return Preset.from_dict(values, where)


def _check_names(values: Any, cls: type, where: str) -> None:
    if not isinstance(values, Mapping):
        raise OptionError(f"{where}: needs a mapping, not {values!r}")
    known = {entry.name for entry in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(
            f"{where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
