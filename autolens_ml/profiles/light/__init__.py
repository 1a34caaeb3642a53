"""Light profiles, used as `aml.lp` beside `al.lp`."""

from autolens_ml.profiles.light.pixel import PixelLight

__all__ = ["PixelLight"]
