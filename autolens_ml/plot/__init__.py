"""Figures, as functions like ``aplt``'s: each saves one file and returns its path.

Every name is imported when it is first used: those of networks load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration_plots": ["coverage_plot", "sbc_plot", "tarp_plot"],
        "corner_plots": ["corner"],
        "explain_plots": ["map_plot", "sanity_plot"],
        "finder_plots": ["reliability_plot", "roc_plot"],
        "fit_plots": ["subplot_fit"],
        "morphology_plots": ["heat_map_plot"],
        "reconstruction_plots": ["TrueMaps", "reconstruction_plot", "steps_plot"],
        "shear_plots": ["bias_plot"],
    },
)
