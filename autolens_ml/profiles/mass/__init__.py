"""Mass profiles, used as `aml.mp` beside `al.mp`."""

from autolens_ml.profiles.mass.sheet import MassSheet, ScaledMass
from autolens_ml.profiles.mass.vortex import VortexLine, VortexTube

__all__ = ["MassSheet", "ScaledMass", "VortexLine", "VortexTube"]
