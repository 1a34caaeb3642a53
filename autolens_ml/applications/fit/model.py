"""The lens models a user names on the command line, or brings in a file."""

import importlib.util
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autofit as af
import autolens as al

from autolens_ml.exceptions import ModelError


def sie_shear_mge(
    mask_radius: float, redshift_lens: float, redshift_source: float
) -> af.Collection:
    """Isothermal mass with external shear; lens and source light as multi-Gaussian expansions.

    The lens light has two bases of 20 Gaussians that share a centre, the source one basis of 20: 17
    free parameters, with every intensity solved for linearly.

    Parameters
    ----------
    mask_radius
        Radius in arcsec of the mask: the width of the largest Gaussian.
    redshift_lens, redshift_source
        Redshifts of the two planes.

    Returns
    -------
    af.Collection
        The model, with ``galaxies.lens`` and ``galaxies.source``.
    """
    lens_light = al.model_util.mge_model_from(
        mask_radius=mask_radius, total_gaussians=20, gaussian_per_basis=2
    )
    source_light = al.model_util.mge_model_from(
        mask_radius=mask_radius, total_gaussians=20, centre_prior_is_uniform=False
    )
    return _lens_and_source(lens_light, source_light, redshift_lens, redshift_source)


def sie_shear_sersic(
    mask_radius: float, redshift_lens: float, redshift_source: float
) -> af.Collection:
    """Isothermal mass with external shear; one Sersic profile each for lens and source light.

    The intensities are solved for linearly, which leaves 19 free parameters. The priors are
    PyAutoLens's own, except that no effective radius and no Einstein radius is larger than the
    mask, where data end.

    Parameters
    ----------
    mask_radius
        Radius in arcsec of the mask.
    redshift_lens, redshift_source
        Redshifts of the two planes.

    Returns
    -------
    af.Collection
        The model, with ``galaxies.lens`` and ``galaxies.source``.
    """
    model = _lens_and_source(
        af.Model(al.lp_linear.Sersic), af.Model(al.lp_linear.Sersic), redshift_lens, redshift_source
    )
    for light in (model.galaxies.lens.bulge, model.galaxies.source.bulge):
        light.effective_radius = af.UniformPrior(lower_limit=0.0, upper_limit=mask_radius)
    model.galaxies.lens.mass.einstein_radius = af.UniformPrior(
        lower_limit=0.0, upper_limit=mask_radius
    )
    return model


def _lens_and_source(
    lens_light: Any, source_light: Any, redshift_lens: float, redshift_source: float
) -> af.Collection:
    lens = af.Model(
        al.Galaxy,
        redshift=redshift_lens,
        bulge=lens_light,
        mass=af.Model(al.mp.Isothermal),
        shear=af.Model(al.mp.ExternalShear),
    )
    source = af.Model(al.Galaxy, redshift=redshift_source, bulge=source_light)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


MODELS: dict[str, Callable[[float, float, float], af.Collection]] = {
    "sie+shear+mge": sie_shear_mge,
    "sie+shear+sersic": sie_shear_sersic,
}


def model_from(
    spec: str,
    *,
    mask_radius: float = 3.0,
    redshift_lens: float = 0.5,
    redshift_source: float = 1.0,
    dataset: al.Imaging | None = None,
) -> af.AbstractPriorModel:
    """The model that a name, a JSON file or a function stands for.

    Parameters
    ----------
    spec
        A key of `MODELS`; a ``.json`` file of an ``af.Model`` (as autofit writes
        ``files/model.json``); or ``script.py:function``, a function that returns an ``af.Model``
        and may take any of the arguments ``dataset``, ``mask_radius``, ``redshift_lens`` and
        ``redshift_source`` by name.
    mask_radius
        Radius of the mask in arcsec.
    redshift_lens, redshift_source
        Redshifts of the two planes, for the named models and for functions that ask for them.
    dataset
        The masked dataset, for functions that ask for it.

    Returns
    -------
    af.AbstractPriorModel
        A model with ``galaxies`` and at least one free parameter.

    Raises
    ------
    ModelError
        One line that names the input and the remedy.
    """
    if not 0.0 < redshift_lens < redshift_source:
        raise ModelError(
            f"lens at redshift {redshift_lens:g} and source at {redshift_source:g}; "
            "set 0 < --redshift-lens < --redshift-source"
        )
    path, colon, function = spec.rpartition(":")
    if spec in MODELS:
        model = MODELS[spec](mask_radius, redshift_lens, redshift_source)
    elif spec.endswith(".json"):
        model = _model_from_json(Path(spec))
    elif colon and path.endswith(".py"):
        model = _model_from_script(
            Path(path),
            function,
            {
                "dataset": dataset,
                "mask_radius": mask_radius,
                "redshift_lens": redshift_lens,
                "redshift_source": redshift_source,
            },
        )
    else:
        raise ModelError(
            f"no model {spec!r}; set --model to {', '.join(MODELS)}, "
            "MODEL.json or script.py:function"
        )
    if not isinstance(model, af.AbstractPriorModel):
        raise ModelError(
            f"{spec}: gave a {type(model).__name__}; return an af.Model or af.Collection"
        )
    if not hasattr(model, "galaxies"):
        raise ModelError(
            f"{spec}: has no galaxies; "
            "make it af.Collection(galaxies=af.Collection(lens=..., source=...))"
        )
    if model.prior_count == 0:
        raise ModelError(f"{spec}: has no free parameter; give at least one a prior")
    return model


def _model_from_json(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give a model saved by autofit as JSON")
    try:
        return af.AbstractPriorModel.from_json(str(path))
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: not JSON ({error}); give a model saved by autofit") from error
    # autofit raises whatever the class it was asked to import raises: any of it means the same to
    # the user.
    except Exception as error:
        raise ModelError(
            f"{path}: not an autofit model ({_first_line(error)}); "
            "save one with json.dump(model.dict(), file)"
        ) from error


def _model_from_script(path: Path, function: str, offered: dict[str, Any]) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give script.py:function")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        make = getattr(module, function)
        takes = inspect.signature(make).parameters
        return make(**{name: value for name, value in offered.items() if name in takes})
    except AttributeError as error:
        if not hasattr(module, function):
            raise ModelError(
                f"{path}: has no function {function!r}; give script.py:function"
            ) from error
        raise ModelError(f"{path}:{function} failed: {_first_line(error)}") from error
    except Exception as error:
        raise ModelError(f"{path}:{function} failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
