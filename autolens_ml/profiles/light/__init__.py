"""Light profiles, used as `aml.lp` beside `al.lp`."""

from autolens_ml.profiles.light.neural import NeuralSource
from autolens_ml.profiles.light.pixel import PixelLight

__all__ = ["NeuralSource", "PixelLight"]
