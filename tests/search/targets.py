"""Cheap analytic fits whose posterior and evidence are known, importable by a fresh process."""

import autofit as af
import numpy as np

WIDTH = 10.0  # of every uniform prior below
CENTRE = {"x": 1.0, "y": -2.0, "z": 3.0}
SIGMA = {"x": 0.1, "y": 0.2, "z": 0.4}

# All of the likelihood's mass is inside the prior, so its integral over the prior is the evidence.
LOG_EVIDENCE = float(sum(np.log(np.sqrt(2.0 * np.pi) * sigma / WIDTH) for sigma in SIGMA.values()))


class Point:
    """A point in three dimensions: the model."""

    def __init__(self, x: float = 0.0, y: float = 0.0, z: float = 0.0):
        self.x, self.y, self.z = x, y, z


class Gaussian(af.Analysis):
    """An uncorrelated Gaussian likelihood of a `Point`, on numpy or JAX."""

    def log_likelihood_function(self, instance):
        return -0.5 * sum(
            ((getattr(instance, name) - CENTRE[name]) / SIGMA[name]) ** 2 for name in CENTRE
        )


def model(names: str = "xyz") -> af.Model:
    """Uniform priors, created in the order of `names`: autofit orders parameters by creation."""
    point = af.Model(Point, x=0.0, y=0.0, z=0.0)
    for name in names:
        setattr(point, name, af.UniformPrior(-WIDTH / 2, WIDTH / 2))
    return point


class Curved(Gaussian):
    """A banana in x and y, which a search needs several stages of adaptation for."""

    def log_likelihood_function(self, instance):
        bend = instance.y + 2.0 * instance.x**2
        return -0.5 * (
            (instance.x / 0.7) ** 2
            + (bend / 0.2) ** 2
            + ((instance.z - CENTRE["z"]) / SIGMA["z"]) ** 2
        )
