"""The pixelized lens in torch, for networks that are trained and tuned through its gradients."""

from autolens_ml.physics.likelihood import chi_squared, log_likelihood, normalised_residuals
from autolens_ml.physics.lookup import bicubic, bilinear
from autolens_ml.physics.pixelized_lens import PixelizedLens, blurred

__all__ = [
    "PixelizedLens",
    "bicubic",
    "bilinear",
    "blurred",
    "chi_squared",
    "log_likelihood",
    "normalised_residuals",
]
