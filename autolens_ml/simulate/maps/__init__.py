"""Maps that networks learn from: convergences of lenses, surface brightnesses of sources."""

from autolens_ml.simulate.maps.convergence import ConvergenceGenerator
from autolens_ml.simulate.maps.galaxies import (
    GalaxyMaps,
    GalaxySampler,
    smooth_galaxies,
    split_by_galaxy,
)
from autolens_ml.simulate.maps.mass_maps import ConvergenceMaps, einstein_radii_from
from autolens_ml.simulate.maps.preparation import QualityCuts, prepared
from autolens_ml.simulate.maps.random_fields import gaussian_random_fields
from autolens_ml.simulate.maps.snapshots import ParticleHalo, maps_from_snapshots
from autolens_ml.simulate.maps.spectra import Spectrum, coherence, cross_spectrum, power_spectrum

__all__ = [
    "ConvergenceGenerator",
    "ConvergenceMaps",
    "GalaxyMaps",
    "GalaxySampler",
    "ParticleHalo",
    "QualityCuts",
    "Spectrum",
    "coherence",
    "cross_spectrum",
    "einstein_radii_from",
    "gaussian_random_fields",
    "maps_from_snapshots",
    "power_spectrum",
    "prepared",
    "smooth_galaxies",
    "split_by_galaxy",
]
