"""Mass profiles, used as `aml.mp` beside `al.mp`."""

from autolens_ml.profiles.mass.neural import NeuralConvergence
from autolens_ml.profiles.mass.pixel import PixelConvergence
from autolens_ml.profiles.mass.sheet import MassSheet, ScaledMass
from autolens_ml.profiles.mass.vortex import VortexLine, VortexLineComps, VortexTube

__all__ = [
    "MassSheet",
    "NeuralConvergence",
    "PixelConvergence",
    "ScaledMass",
    "VortexLine",
    "VortexLineComps",
    "VortexTube",
]
