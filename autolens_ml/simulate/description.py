"""Models and populations written for people, as in presets."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from copy import deepcopy
from importlib import import_module
from inspect import signature
from numbers import Real
from typing import Any

import autofit as af
import autolens as al
import numpy as np

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.sources import library_from

_PACKAGES = {"al": "autolens", "aml": "autolens_ml"}
_LIMITS = ("lower_limit", "upper_limit")
_PRIORS = {
    "uniform": (af.UniformPrior, _LIMITS),
    "log_uniform": (af.LogUniformPrior, _LIMITS),
    "gaussian": (af.GaussianPrior, ("mean", "sigma")),
    "truncated_gaussian": (af.TruncatedGaussianPrior, ("mean", "sigma", *_LIMITS)),
}


def model_from_description(description: Mapping[str, Any]) -> af.Collection:
    """The model that a nested mapping describes.

    Parameters
    ----------
    description
        Galaxies by name; each has a ``redshift`` and profiles by name; each profile has a
        ``class`` such as ``al.mp.Isothermal`` and, for its parameters, a number, a prior
        (``{uniform: [0.4, 2.0]}``, ``log_uniform``, ``gaussian``, ``truncated_gaussian``), an
        array (``{array: [[0.0, 1.0], [2.0, 3.0]]}``) or the path of parameters to share
        (``{same_as: galaxies.lens.mass.centre}``). A pair, such as a centre (y, x), takes a list of
        two of them, or one number or prior for each of its components. What is not mentioned keeps
        the default priors of its class.

    Returns
    -------
    af.Collection
        With the galaxies in ``galaxies``.

    Raises
    ------
    ModelError
        When a class, parameter, prior, number or path is not what it should be.
    """
    if not isinstance(description, Mapping) or not description:
        raise ModelError("the model needs galaxies by name, each with a redshift and profiles")
    galaxies: dict[str, af.Model] = {}
    shared: list[_Shared] = []
    for name, parts in description.items():
        if not isinstance(parts, Mapping) or "redshift" not in parts:
            raise ModelError(f"{name}: needs a redshift, and profiles by name")
        profiles = {
            part: _profile_from(f"{name}.{part}", values, shared)
            for part, values in parts.items()
            if part != "redshift"
        }
        redshift = _number_or_prior_from(f"{name}.redshift", parts["redshift"])
        galaxies[name] = af.Model(al.Galaxy, redshift=redshift, **profiles)
    model = af.Collection(galaxies=af.Collection(**galaxies))
    # What is shared may itself be shared: once round for each link of the longest chain.
    for _ in shared:
        for one in shared:
            one.put_into(model)
    return model


def population_from(options: Mapping[str, Any]) -> Population:
    """The population that a mapping describes.

    Parameters
    ----------
    options
        ``model``, as :func:`model_from_description` takes it or as ``af.Model.dict()`` gives it;
        ``instrument``; and, if need be, ``max_source_offset``, ``noise_units`` and ``stamps``, a
        library by name for each path.

    Raises
    ------
    OptionError
        When an entry is missing, unknown or not of its type.
    ModelError
        When the model cannot be made, or not be simulated.
    """
    known = ("model", "instrument", "max_source_offset", "noise_units", "stamps")
    if unknown := sorted(str(name) for name in options if name not in known):
        raise OptionError(f"population: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    if missing := [name for name in known[:2] if name not in options]:
        raise OptionError(f"population: needs {', '.join(missing)}")
    model = options["model"]
    if isinstance(model, Mapping):
        is_stored = isinstance(model.get("type"), str)
        model = _model_from_dict(model) if is_stored else model_from_description(model)
    stamps = options.get("stamps") or {}
    if not isinstance(stamps, Mapping):
        raise OptionError(f"population: stamps must be libraries by path, not {stamps!r}")
    return Population(
        model,
        options["instrument"],
        max_source_offset=options.get("max_source_offset"),
        noise_units=options.get("noise_units", False),
        stamps={path: library_from(name) for path, name in stamps.items()},
    )


def renumbered(description: Any, without: Collection[str] = ()) -> Any:
    """A description in plain values, whose priors are numbered as they appear, from 0.

    autofit numbers priors anew in every session. Numbers say which parameters are the same, and
    nothing else, so two descriptions of the same lenses are equal when they are renumbered.

    Parameters
    ----------
    description
        What holds models as ``af.Model.dict()`` gives them.
    without
        Entries to leave out, wherever they are.

    Returns
    -------
    Any
        As JSON gives it back.
    """
    numbers: dict[int, int] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: numbers.setdefault(item, len(numbers)) if key == "id" else plain(item)
                for key, item in value.items()
                if key not in without
            }
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(json.loads(json.dumps(description)))


def _model_from_dict(values: Mapping[str, Any]) -> Any:
    try:
        # autofit takes the dictionary apart that it reads.
        return af.AbstractPriorModel.from_dict(deepcopy(values))
    except Exception as error:  # autofit raises whatever the classes that it imports raise
        raise ModelError(
            f"population: model is not as af.Model.dict() gives it ({type(error).__name__})"
        ) from error


class _Shared:
    """A parameter that is the same as others of the model."""

    def __init__(self, where: str, profile: af.Model, parameter: str, path: Any) -> None:
        self._where, self._profile, self._parameter, self._path = where, profile, parameter, path

    def put_into(self, model: af.Collection) -> None:
        try:
            value = model.object_for_path(tuple(self._path.split(".")))
        except (AttributeError, KeyError) as error:
            raise ModelError(f"{self._where}: nothing at {self._path!r} to share") from error
        setattr(self._profile, self._parameter, value)


def _profile_from(where: str, values: Any, shared: list[_Shared]) -> af.Model:
    if not isinstance(values, Mapping) or "class" not in values:
        raise ModelError(f"{where}: needs a class, such as al.mp.Isothermal")
    cls = _class_from(values["class"], where)
    known = [name for name in signature(cls.__init__).parameters if name != "self"]
    given = {name: value for name, value in values.items() if name != "class"}
    if unknown := sorted(str(name) for name in set(given) - set(known)):
        raise ModelError(
            f"{where}: {values['class']} has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(known)}"
        )
    arrays = {name: given.pop(name)["array"] for name in list(given) if _is(given[name], "array")}
    profile = af.Model(cls, **{name: np.asarray(values) for name, values in arrays.items()})
    for parameter, value in given.items():
        here = f"{where}.{parameter}"
        pair = getattr(profile, parameter, None)
        if _is(value, "same_as"):
            shared.append(_Shared(here, profile, parameter, value["same_as"]))
        elif isinstance(pair, af.TuplePrior):
            both = value if isinstance(value, (list, tuple)) else [value, value]
            if len(both) != 2:
                raise ModelError(f"{here}: needs two values, not {len(both)}")
            for i, one in enumerate(both):
                setattr(pair, f"{parameter}_{i}", _number_or_prior_from(here, one))
        else:
            setattr(profile, parameter, _number_or_prior_from(here, value))
    return profile


def _number_or_prior_from(where: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _number_from(where, value)
    if len(value) != 1 or (kind := next(iter(value))) not in _PRIORS:
        raise ModelError(
            f"{where}: unknown prior {', '.join(map(str, value))!r}; choose one of "
            f"{', '.join(_PRIORS)}"
        )
    cls, names = _PRIORS[kind]
    arguments = value[kind]
    if not isinstance(arguments, (list, tuple)) or len(arguments) != len(names):
        raise ModelError(f"{where}: {kind} needs [{', '.join(names)}], not {arguments}")
    numbers = [_number_from(where, argument) for argument in arguments]
    try:
        return cls(**dict(zip(names, numbers, strict=True)))
    except af.exc.PriorException as error:
        raise ModelError(f"{where}: {kind} cannot take {arguments}: {error}") from error


def _number_from(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ModelError(f"{where}: {value!r} is no number (YAML reads 1e-3 as text: write 1.0e-3)")
    return value


def _is(value: Any, key: str) -> bool:
    return isinstance(value, Mapping) and set(value) == {key}


def _class_from(name: Any, where: str) -> type:
    package, *attributes = str(name).split(".")
    try:
        value: Any = import_module(_PACKAGES[package])
        for attribute in attributes:
            value = getattr(value, attribute)
    except (KeyError, AttributeError):
        value = None
    if not isinstance(value, type):
        raise ModelError(f"{where}: no class {name!r}; write al.mp.X, al.lp.X or aml.mp.X")
    return value
