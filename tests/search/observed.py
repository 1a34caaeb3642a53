"""Analytic fits with an image that a network can look at, importable by a fresh process."""

from pathlib import Path

import autolens as al
import numpy as np

from autolens_ml.networks.checkpoint import Card
from tests.search import targets
from tests.stored_networks import certain

SCALE, SIDE = 0.1, 64


def image(seed: int = 1) -> al.Imaging:
    """Noise alone, seen with a PSF as Euclid's: the networks below see the same in everything."""
    data = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    data, noise_map = (
        al.Array2D.no_mask(array, pixel_scales=SCALE) for array in (data, np.ones_like(data))
    )
    psf = al.Convolver.from_gaussian(
        shape_native=(11, 11), sigma=0.085, pixel_scales=SCALE, normalize=True
    )
    return al.Imaging(data=data, noise_map=noise_map, psf=psf)


def network(folder: Path, values: dict[str, float] | None = None, **options) -> Card:
    """A network for a `targets.Point`, certain of ``values``, by default of the truth."""
    return certain(folder, targets.model(), values or targets.CENTRE, **options)


class Gaussian(targets.Gaussian):
    """The Gaussian likelihood, of a dataset."""

    def __init__(self, dataset: al.Imaging | None = None, use_jax: bool = False):
        super().__init__(use_jax=use_jax)
        self.dataset = image() if dataset is None else dataset


class TwoModes(Gaussian):
    """A high mode at 2 and a lower one at -2, far apart."""

    places, width, difference = (2.0, -2.0), 0.2, 10.0
    log_evidence = 3.0 * np.log(np.sqrt(2.0 * np.pi) * width / targets.WIDTH) + np.log1p(
        np.exp(-difference)
    )

    def log_likelihood_function(self, instance):
        x = np.array([instance.x, instance.y, instance.z])
        high, low = (-0.5 * np.sum((x - place) ** 2) / self.width**2 for place in self.places)
        return float(np.logaddexp(high, low - self.difference))
