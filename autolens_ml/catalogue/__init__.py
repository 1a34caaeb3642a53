"""Many lenses: runs on Dask, one table of results, a page to look at, and the population.

Names are imported when they are first used: the command line must not wait for PyAutoLens.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "PopulationPosterior": "autolens_ml.catalogue.population",
    "RunReport": "autolens_ml.catalogue.runs",
    "infer_population": "autolens_ml.catalogue.population",
    "read_table": "autolens_ml.catalogue.table",
    "run": "autolens_ml.catalogue.runs",
    "samples_from": "autolens_ml.catalogue.posteriors",
    "write_page": "autolens_ml.catalogue.page",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
