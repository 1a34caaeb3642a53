"""Fit one lens from FITS files: the dataset, the model, the search and the report."""

from autolens_ml.applications.fit.dataset import finely_sampled, imaging_from_fits
from autolens_ml.applications.fit.model import MODELS, model_from
from autolens_ml.applications.fit.report import FitReport, Parameter
from autolens_ml.applications.fit.run import SEARCHES, fit_imaging

__all__ = [
    "MODELS",
    "SEARCHES",
    "FitReport",
    "Parameter",
    "finely_sampled",
    "fit_imaging",
    "imaging_from_fits",
    "model_from",
]
