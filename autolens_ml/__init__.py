"""Neural inference for PyAutoLens: ``import autolens as al, autolens_ml as aml``.

The public face of the package. Every name is imported when it is first used, so neither this import
nor ``autolens-ml --help`` waits for PyAutoLens, and nothing loads torch before a network is needed.
"""

from importlib import import_module
from typing import Any

from autonerves import conf

__version__ = "0.1.0"

# Where each public name lives: a module, or a module and an attribute of it.
_PUBLIC = {
    "CNN": ("autolens_ml.search.cnn", "CNN"),
    "Instrument": ("autolens_ml.simulate.instrument", "Instrument"),
    "Population": ("autolens_ml.simulate.population", "Population"),
    "catalogue": ("autolens_ml.catalogue", None),
    "RIM": ("autolens_ml.search.rim", "RIM"),
    "ShearEstimator": ("autolens_ml.applications.shear.estimator", "ShearEstimator"),
    "explain": ("autolens_ml.explain", None),
    "initializer_from": ("autolens_ml.search.starts", "initializer_from"),
    "load_network": ("autolens_ml.inference.amortised", "load_network"),
    "lp": ("autolens_ml.profiles.light", None),
    "mass_sheet_transform": ("autolens_ml.profiles.mass.sheet", "mass_sheet_transform"),
    "mp": ("autolens_ml.profiles.mass", None),
    "networks": ("autolens_ml.networks", None),
    "plot": ("autolens_ml.plot", None),
    "register": ("autolens_ml.search.registry", "register"),
    "search_entries": ("autolens_ml.search.registry", "search_entries"),
    "simulate": ("autolens_ml.simulate", None),
    "vortex_lattice": ("autolens_ml.profiles.mass.lattice", "vortex_lattice"),
}

__all__ = sorted(_PUBLIC)

# Behind the workspace's own config, which always wins, and before PyAutoLens's defaults.
conf.instance.register(__file__)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = import_module(module)
    if attribute is not None:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
