"""Figures, as functions like ``aplt``'s: each saves one file and returns its path."""

from autolens_ml.plot.calibration_plots import coverage_plot, sbc_plot, tarp_plot
from autolens_ml.plot.corner_plots import corner
from autolens_ml.plot.fit_plots import subplot_fit

__all__ = ["corner", "coverage_plot", "sbc_plot", "subplot_fit", "tarp_plot"]
