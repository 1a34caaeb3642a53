"""Neural inference for PyAutoLens, imported beside it: ``import autolens as al, autolens_ml as aml``.

The public face of the package. Nothing here loads torch: networks are imported when they are used.
"""

from autonerves import conf

conf.instance.register(__file__)

from autolens_ml.profiles import mass as mp
from autolens_ml.profiles.mass.lattice import vortex_lattice
from autolens_ml.profiles.mass.sheet import mass_sheet_transform
from autolens_ml.search.cnn import CNN
from autolens_ml.search.registry import register, search_entries

__version__ = "0.1.0"

__all__ = [
    "CNN",
    "mass_sheet_transform",
    "mp",
    "register",
    "search_entries",
    "vortex_lattice",
]
