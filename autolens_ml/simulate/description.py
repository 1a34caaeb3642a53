"""Models written for people: the ``model`` section of a preset as an ``af.Model``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import autofit as af
import numpy as np

from autolens_ml.exceptions import ModelError

_PRIORS = {
    "uniform": af.UniformPrior,
    "log_uniform": af.LogUniformPrior,
    "gaussian": af.GaussianPrior,
    "truncated_gaussian": af.TruncatedGaussianPrior,
}


def model_from_description(description: Mapping[str, Any]) -> af.Collection:
    """The model that a nested mapping describes.

    Parameters
    ----------
    description
        Galaxies by name; each has a ``redshift`` and profiles by name; each profile has a
        ``class`` such as ``al.mp.Isothermal`` and, for its parameters, a number, a list of
        numbers, a prior (``{uniform: [0.4, 2.0]}``, ``log_uniform``, ``gaussian``,
        ``truncated_gaussian``) for a parameter or for both components of a pair, a list of
        priors, or the path of parameters to share (``{same_as: galaxies.lens.mass.centre}``).
        What is not mentioned keeps the default priors of its class.

    Returns
    -------
    af.Collection
        With the galaxies in ``galaxies``.

    Raises
    ------
    ModelError
        When a class, parameter, prior or path is unknown.
    """
    galaxies: dict[str, Any] = {}
    shared: list[tuple[str, Any, str, str]] = []
    for name, parts in description.items():
        profiles = {}
        for part, values in parts.items():
            if part == "redshift":
                continue
            where = f"{name}.{part}"
            profiles[part] = _profile_from(where, values, shared)
        galaxies[name] = af.Model(
            _class_from("al.Galaxy", name), redshift=parts.get("redshift", 0.5), **profiles
        )
    model = af.Collection(galaxies=af.Collection(**galaxies))
    for where, profile, parameter, path in shared:
        try:
            setattr(profile, parameter, model.object_for_path(tuple(path.split("."))))
        except (AttributeError, KeyError) as error:
            raise ModelError(f"{where}.{parameter}: nothing at {path!r} to share") from error
    return model


def _profile_from(where: str, values: Mapping[str, Any], shared: list) -> af.Model:
    if not isinstance(values, Mapping) or "class" not in values:
        raise ModelError(f"{where}: needs a class, such as al.mp.Isothermal")
    cls = _class_from(values["class"], where)
    constants = {k: np.asarray(v["array"]) for k, v in values.items() if _is_array(v)}
    profile = af.Model(cls, **constants)
    for parameter, value in values.items():
        if parameter == "class" or parameter in constants:
            continue
        if not hasattr(profile, parameter):
            raise ModelError(f"{where}: {values['class']} has no parameter {parameter!r}")
        if isinstance(value, Mapping) and set(value) == {"same_as"}:
            shared.append((where, profile, parameter, value["same_as"]))
            continue
        current = getattr(profile, parameter)
        if hasattr(current, "value_for") or not hasattr(current, f"{parameter}_0"):
            setattr(profile, parameter, _value_from(f"{where}.{parameter}", value))
            continue
        pair = value if isinstance(value, (list, tuple)) else [value, value]
        for i, one in enumerate(pair):
            setattr(current, f"{parameter}_{i}", _value_from(f"{where}.{parameter}", one))
    return profile


def _value_from(where: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    (kind, arguments), *more = value.items()
    if more or kind not in _PRIORS:
        raise ModelError(f"{where}: unknown prior {kind!r}; choose one of {', '.join(_PRIORS)}")
    try:
        return _PRIORS[kind](*arguments)
    except TypeError as error:
        raise ModelError(f"{where}: {kind} cannot take {arguments}") from error


def _is_array(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"array"}


def _class_from(name: str, where: str) -> type:
    package, *attributes = name.split(".")
    try:
        value: Any = import_module({"al": "autolens", "aml": "autolens_ml"}[package])
        for attribute in attributes:
            value = getattr(value, attribute)
    except (KeyError, AttributeError) as error:
        raise ModelError(
            f"{where}: no class {name!r}; write al.mp.X, al.lp.X or aml.mp.X"
        ) from error
    return value
