"""Figures, as functions like ``aplt``'s: each saves one file and returns its path.

Every name is imported when it is first used: those of networks load torch.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "TrueMaps": "reconstruction_plots",
    "bias_plot": "shear_plots",
    "corner": "corner_plots",
    "coverage_plot": "calibration_plots",
    "heat_map_plot": "morphology_plots",
    "map_plot": "explain_plots",
    "reconstruction_plot": "reconstruction_plots",
    "reliability_plot": "finder_plots",
    "roc_plot": "finder_plots",
    "sanity_plot": "explain_plots",
    "sbc_plot": "calibration_plots",
    "steps_plot": "reconstruction_plots",
    "subplot_fit": "fit_plots",
    "tarp_plot": "calibration_plots",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
