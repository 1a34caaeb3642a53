"""Stored networks: weights in ``NAME.safetensors`` and, beside them, their card ``NAME.json``.

The card says what a network is for, what it was trained on, how accurate it was found to be, and
the sha256 of its weights. Nothing is unpickled, and torch is imported only where tensors are.
"""

import difflib
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_origin

from autolens_ml.exceptions import NetworkError

if TYPE_CHECKING:
    import torch

WEIGHTS_FOLDER = Path(str(files("autolens_ml") / "weights"))

FORMAT = 1
METRIC_FIELDS = ("value", "low", "high", "n", "command")

# Far deeper than any af.Model, and shallow enough to copy and to write.
MAX_DEPTH = 64

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Card:
    """What is known of a stored network; made by `from_dict`, which checks every field.

    Attributes
    ----------
    name
        Name of the network and of its files: letters, digits, ``-`` and ``_``.
    task
        What it is for, one word such as ``"lens-parameters"``.
    description
        What it does, in a sentence or two.
    instrument
        The instrument its images are of; ``"name"`` is shown in lists.
    bands
        The bands of its images, in the order of its channels.
    n_parameters
        Number of trained parameters.
    sha256
        Of the safetensors file, 64 hexadecimal digits.
    architecture
        All that rebuilds the network: ``"class"`` and ``"config"``.
    inputs
        The images it takes: shape in pixels, pixel scale in arcsec, channels.
    outputs
        What it predicts: ``"parameters"``, paths in a model, and ``"prior"``, the prior of its
        training set as ``af.Model.dict()`` gives it.
    training
        ``"preset"``, ``"seed"``, ``"samples"``, ``"hardware"``, ``"hours"``, versions of packages.
    metrics
        By name: ``value``, its interval ``low`` to ``high``, the number ``n`` of lenses it is from
        and the ``command`` that measured it. The first two are the headline.
    format
        Version of this list of fields.
    folder
        The folder of the files; not stored, and not compared.
    """

    name: str
    task: str
    description: str
    instrument: dict[str, Any]
    bands: list[str]
    n_parameters: int
    sha256: str
    architecture: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    format: int
    folder: Path = field(default=Path(), compare=False)

    @property
    def path(self) -> Path:
        """The file of the card."""
        return self.folder / f"{self.name}.json"

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / f"{self.name}.safetensors"

    @classmethod
    def from_dict(cls, values: Any, folder: Path = Path()) -> Self:
        """Make a card of parsed JSON, whoever wrote it.

        Parameters
        ----------
        values
            The fields, all of them and no others; tuples are taken as lists.
        folder
            Where the files of the network are.

        Raises
        ------
        NetworkError
            If a field is missing, unknown, of the wrong type, or not expressible in JSON.
        """
        values = _plain(values, "card")
        if not isinstance(values, dict):
            raise NetworkError(f"a card must be a JSON object, not {_kind(values)}")
        version = values.get("format")
        if isinstance(version, int) and version != FORMAT:
            raise NetworkError(
                f"card.format is {version}, this autolens_ml reads {FORMAT}: update autolens_ml"
            )
        for problem, names in (
            ("lacks", [name for name in _FIELDS if name not in values]),
            ("has the unknown", [name for name in values if name not in _FIELDS]),
        ):
            if names:
                raise NetworkError(
                    f"card {problem} {', '.join(names)}: its fields are {', '.join(_FIELDS)}"
                )
        for name, kind in _FIELDS.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise NetworkError(f"card.{name} must be {_KINDS[kind]}, not {_kind(values[name])}")
        _check_values(values)
        for name, metric in values["metrics"].items():
            _check_metric(name, metric)
        return cls(**values, folder=folder)

    def as_dict(self) -> dict[str, Any]:
        """The stored fields, a copy in JSON types."""
        values = asdict(self)
        del values["folder"]
        return values

    def with_metrics(self, metrics: Mapping[str, Mapping[str, Any]]) -> Self:
        """The card with these metrics added, or in place of those of the same name."""
        measured = {name: dict(metric) for name, metric in metrics.items()}
        return self.from_dict(
            {**self.as_dict(), "metrics": {**self.metrics, **measured}}, self.folder
        )


_FIELDS = {
    item.name: get_origin(item.type) or item.type for item in fields(Card) if item.name != "folder"
}


def cards(task: str | None = None) -> list[Card]:
    """The networks that ship with the package, sorted by name.

    Parameters
    ----------
    task
        Only those for this task.

    Raises
    ------
    NetworkError
        If a card is damaged.
    """
    shipped = [_read_card(WEIGHTS_FOLDER / f"{name}.json") for name in _shipped_names()]
    return [card for card in shipped if task in (None, card.task)]


def find_card(network: str | Path, task: str | None = None) -> Card:
    """The card of one network.

    Parameters
    ----------
    network
        The name of a shipped network, in any case (``OU-200`` is ``ou-200``); or a path: of its
        card, of its weights, or of a folder with nothing but this network in it. A name wins over a
        path that is spelled the same.
    task
        The task it must be for.

    Raises
    ------
    NetworkError
        If there is no such network, its card is damaged, or it is for another task.
    """
    if (name := str(network).lower()) in _shipped_names():
        card = _read_card(WEIGHTS_FOLDER / f"{name}.json")
    else:
        card = _read_card(_card_path(Path(network), task))
    if task not in (None, card.task):
        raise NetworkError(
            f"{card.path}: a network for {card.task}, not for {task}: {_choices(task)}"
        )
    return card


def load_state(network: Card | str | Path) -> "dict[str, torch.Tensor]":
    """Read the weights of a network, on the CPU.

    Parameters
    ----------
    network
        Its card, or what `find_card` takes.

    Returns
    -------
    dict
        By name: floating-point tensors as float32, all others as they were stored.

    Raises
    ------
    NetworkError
        If the weights are missing, or are not those that the card was written for.
    """
    import torch
    from safetensors.torch import load

    card = network if isinstance(network, Card) else find_card(network)
    data = _read(card.weights)
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise NetworkError(
            f"{card.weights}: not the weights that {card.path.name} was written for (altered, cut "
            f"short, or of another network); {_remedy(card.weights)}"
        )
    try:
        state = load(data)
    except Exception as error:  # a foreign file can fail anywhere in the reader
        raise NetworkError(
            f"{card.weights}: not a readable safetensors file ({type(error).__name__}); "
            f"{_remedy(card.weights)}"
        ) from error
    return {
        key: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for key, tensor in state.items()
    }


def save_network(
    folder: Path,
    card_fields: Mapping[str, Any],
    state_dict: "Mapping[str, torch.Tensor]",
    dtype: Literal["float16", "float32"] = "float16",
) -> Card:
    """Store a network: first its weights, then the card that carries their sha256.

    Each file is replaced at once or not at all. Ended between the two, the card of an earlier
    network of this name does not fit the weights any more, and `load_state` says so.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    card_fields
        The fields of its card; ``sha256`` and ``format`` are filled in here.
    state_dict
        The tensors of the network, on any device.
    dtype
        Type in which floating-point tensors are stored; others keep theirs.

    Raises
    ------
    NetworkError
        If a field of the card is wrong, or a tensor is not finite in ``dtype``; nothing is written.
    """
    from safetensors.torch import save

    data = save({key: _stored(key, tensor, dtype) for key, tensor in state_dict.items()})
    card = Card.from_dict(
        {**card_fields, "sha256": hashlib.sha256(data).hexdigest(), "format": FORMAT}, Path(folder)
    )
    card.folder.mkdir(parents=True, exist_ok=True)
    _write(card.weights, data)
    save_card(card)
    return card


def save_card(card: Card) -> None:
    """Write the card beside its weights, at once or not at all."""
    text = json.dumps(card.as_dict(), indent=2, ensure_ascii=False)
    _write(card.path, f"{text}\n".encode())


def _stored(key: str, tensor: "torch.Tensor", dtype: str) -> "torch.Tensor":
    """A copy on the CPU with memory of its own, as safetensors asks for."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.to(getattr(torch, dtype))
        if not tensor.isfinite().all():
            raise NetworkError(
                f"tensor {key!r} is not finite in {dtype}: train the network again, or store it "
                "with dtype='float32'"
            )
    return tensor.clone(memory_format=torch.contiguous_format)


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file; {_remedy(path)}") from None
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read ({error.strerror}); {_remedy(path)}") from error


def _read_card(path: Path) -> Card:
    try:
        values = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{path}: not readable JSON; {_remedy(path)}") from error
    try:
        card = Card.from_dict(values, path.parent)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
    if card.name != path.stem:
        raise NetworkError(f"{path}: the card of {card.name!r}: rename it {card.path.name}")
    return card


def _shipped_names() -> list[str]:
    return sorted(path.stem for path in WEIGHTS_FOLDER.glob("*.json"))


def _card_path(path: Path, task: str | None) -> Path:
    """The card that a path of a user's means."""
    if os.path.isdir(path):
        found = sorted(p for p in path.glob("*.json") if p.with_suffix(".safetensors").is_file())
        if len(found) == 1:
            return found[0]
        if not found:
            raise NetworkError(f"{path}: no network in it (NAME.json beside NAME.safetensors)")
        names = ", ".join(p.name for p in found)
        raise NetworkError(f"{path}: {len(found)} networks in it: give the path of one of {names}")
    if path.suffix in (".json", ".safetensors"):
        return path.with_suffix(".json")
    if os.path.exists(path):
        raise NetworkError(f"{path}: not a stored network: give the path of its NAME.json")
    raise NetworkError(f"no network {str(path)!r}: {_choices(task, str(path))}")


def _choices(task: str | None, meant: str = "") -> str:
    """What to give instead."""
    names = [card.name for card in cards(task)]
    if not names:
        return "none ships with autolens_ml for this, give the path of a NAME.json"
    close = difflib.get_close_matches(meant, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}give one of {', '.join(names)}, or the path of a NAME.json"


def _remedy(path: Path) -> str:
    if path.parent == WEIGHTS_FOLDER:
        return "reinstall autolens_ml"
    return "restore the file or train the network again"


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of ``value`` in JSON types: finite numbers, and text that fits on one line."""
    if depth > MAX_DEPTH:
        raise NetworkError(f"card is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise NetworkError(f"{where}: its keys must be text, not {_kind(key)}")
            _plain(key, f"{where}: a key of it")
        return {key: _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, str):
        if not value.isprintable():
            raise NetworkError(f"{where} must be one line of printable text")
    elif isinstance(value, (int, float)):
        # Written so that NaN fails, and whole numbers of any size can be compared.
        if not abs(value) <= sys.float_info.max:
            raise NetworkError(f"{where} must be a finite number")
        return float(value) if isinstance(value, float) else value  # numpy's own is one of them
    elif value is not None:
        raise NetworkError(f"{where} must be of a type that JSON has, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _check_values(values: dict[str, Any]) -> None:
    """Refuse fields of the right type that mean nothing."""
    for name in ("name", "task"):
        if not _WORD.fullmatch(values[name]):
            raise NetworkError(f"card.{name} must be up to 100 letters, digits, '-' and '_'")
    if not _SHA256.fullmatch(values["sha256"]):
        raise NetworkError("card.sha256 must be 64 hexadecimal digits in lower case")
    if values["n_parameters"] < 1:
        raise NetworkError("card.n_parameters must be above 0")
    if not all(isinstance(band, str) for band in values["bands"]):
        raise NetworkError("card.bands must be a list of text")


def _check_metric(name: str, metric: Any) -> None:
    where = f"card.metrics.{name}"
    if not isinstance(metric, dict) or set(metric) != set(METRIC_FIELDS):
        raise NetworkError(f"{where} must have {', '.join(METRIC_FIELDS)}, and no more")
    for key in ("value", "low", "high"):
        if type(metric[key]) not in (int, float):
            raise NetworkError(f"{where}.{key} must be a number, not {_kind(metric[key])}")
    if metric["low"] > metric["high"]:
        raise NetworkError(f"{where}.low must not be above its high")
    if type(metric["n"]) is not int or metric["n"] < 1:
        raise NetworkError(f"{where}.n must be a whole number above 0")
    if not isinstance(metric["command"], str):
        raise NetworkError(f"{where}.command must be text, not {_kind(metric['command'])}")
