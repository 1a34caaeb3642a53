"""What a learned optimiser learns from: posteriors in unit-normal latents, drawn at random.

Some are formulas, which cost nothing; others are simulated lenses with PyAutoLens's own likelihood,
which is asked for values and gradients and is a black box otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autofit as af  # noqa: F401 - sets JAX's precision, before JAX is imported
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from autolens_ml.simulate.fast_math import accelerated
from autolens_ml.simulate.population import Population, SimulatedLenses, simulate

# Numbers of parameters of the formulas, and the numbers of draws that starts are the best of.
DIMENSIONS = (2, 24)
_RANKED = (1, 8, 32)
# Logarithms of scales: of the sharpest direction of a Gaussian, of noise, of bends.
_SHARPNESS, _NOISE, _BENDS = (0.0, 3.5), (-3.0, 0.0), (-2.0, 0.0)
# Shares of warped posteriors whose axes are mixed, that bend, and that stretch.
_MIXED, _BENT, _STRETCHED = 0.7, 0.6, 0.4
# Largest logarithm of a stretch.
_STRETCH = 4.0


@dataclass(frozen=True)
class Problems:
    """Posteriors of one family, with a start for each; arrays in double precision.

    Attributes
    ----------
    start : Tensor
        Latents, shape (n, dim).
    reference : Tensor
        About the highest log posterior of each, shape (n,).
    """

    start: Tensor
    reference: Tensor


@dataclass(frozen=True)
class Warped(Problems):
    """ln p = -|M u(z)|^2 / 2, where u bends and stretches space around the mode.

    u_i = (v_i + sum_j bends_ij v_j^2) exp(sum_j stretch_ij v_j), v = z - centre: Gaussians of any
    condition, bananas (Rosenbrock 1960) and funnels (Neal 2003).

    Attributes
    ----------
    centre, matrix, bends, stretch : Tensor
        Shapes (n, dim) and three times (n, dim, dim).
    """

    centre: Tensor
    matrix: Tensor
    bends: Tensor
    stretch: Tensor

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log posteriors, shape (n,), and gradients of latents, shape (n, dim)."""
        v = z - self.centre
        exponent = _product(self.stretch, v)
        scale = torch.exp(exponent.clamp(-_STRETCH, _STRETCH))
        u = (v + _product(self.bends, v**2)) * scale
        residuals = _product(self.matrix, u)
        pull = -_product(self.matrix.mT, residuals)
        of_bends = pull * scale
        of_stretch = torch.where(exponent.abs() < _STRETCH, pull * u, 0.0)
        gradient = of_bends + 2.0 * v * _product(self.bends.mT, of_bends)
        gradient = gradient + _product(self.stretch.mT, of_stretch)
        return -0.5 * residuals.square().sum(-1), gradient


@dataclass(frozen=True)
class Fitted(Problems):
    """Least squares of a random function: data that depend on parameters non-linearly.

    Attributes
    ----------
    first, second, offset, data, noise : Tensor
        Of data = second tanh(first z + offset) + noise: shapes (n, n_hidden, dim),
        (n, n_data, n_hidden), (n, n_hidden), (n, n_data) and (n, 1).
    """

    first: Tensor
    second: Tensor
    offset: Tensor
    data: Tensor
    noise: Tensor

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log posteriors, shape (n,), and gradients of latents, shape (n, dim)."""
        hidden = torch.tanh(_product(self.first, z) + self.offset)
        residuals = (_product(self.second, hidden) - self.data) / self.noise
        pull = -_product(self.second.mT, residuals / self.noise) * (1.0 - hidden**2)
        value = -0.5 * residuals.square().sum(-1) - 0.5 * z.square().sum(-1)
        return value, _product(self.first.mT, pull) - z


@dataclass(frozen=True)
class Lenses(Problems):
    """Simulated lenses, in units of the noise of an empty pixel.

    Attributes
    ----------
    population : Tensor
        Which population they are of, shape (n,), integers, all the same.
    images, noise_maps, kernels : Tensor
        Data, noise and PSFs, shapes (n, y, x).
    """

    population: Tensor
    images: Tensor
    noise_maps: Tensor
    kernels: Tensor


class LensLikelihood:
    """Log posteriors of lenses of a population, and their gradients.

    Parameters
    ----------
    population
        With intensities in units of the noise.
    """

    def __init__(self, population: Population) -> None:
        self.population = population

        def log_likelihood(vector: Any, image: Any, noise: Any, kernel: Any) -> Any:
            model = population.forward._planes(vector, kernel).sum(axis=0)
            return -0.5 * jnp.sum(((image - model) / noise) ** 2)

        self._value = _one_by_one(accelerated(log_likelihood))
        # The fast arc tangents and powers have no finite derivatives everywhere.
        self._both = _one_by_one(jax.value_and_grad(log_likelihood))

    def value(self, z: np.ndarray, *images: np.ndarray) -> np.ndarray:
        """Log posteriors, shape (n,), of latents, shape (n, dim), up to a constant.

        Parameters
        ----------
        z
            The latents.
        images
            Data, noise maps and kernels, shape (n, y, x) each.
        """
        with jax.enable_x64(True):
            value = np.asarray(self._value(self.population.space.physical_from(z), *images))
        return value - 0.5 * np.sum(z**2, axis=-1)

    def value_and_gradient(
        self, z: np.ndarray, *images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log posteriors, shape (n,), and their gradients, shape (n, dim); see :meth:`value`."""
        space = self.population.space
        with jax.enable_x64(True):
            value, gradient = self._both(space.physical_from(z), *images)
        gradient = np.asarray(gradient) * space.derivative_from(z) - z
        return np.asarray(value) - 0.5 * np.sum(z**2, axis=-1), gradient


def warped_problems(n: int, rng: np.random.Generator) -> Warped:
    """Draw ``n`` of :class:`Warped`, of one random number of parameters."""
    dim = int(rng.integers(*DIMENSIONS, endpoint=True))
    rotations = np.linalg.qr(rng.standard_normal((n, dim, dim)))[0]
    rotations = np.where(rng.random((n, 1, 1)) < _MIXED, rotations, np.eye(dim))
    scales = 10.0 ** (rng.uniform(*_SHARPNESS, (n, 1)) * rng.random((n, dim)))
    lower = np.tril(rng.standard_normal((2, n, dim, dim)), -1) / np.sqrt(dim)
    bends = lower[0] * 10.0 ** rng.uniform(*_BENDS, (n, 1, 1))
    stretch = lower[1] * rng.random((n, 1, 1))
    arrays = {
        "start": rng.standard_normal((n, dim)),
        "reference": np.zeros(n),
        "centre": 0.7 * rng.standard_normal((n, dim)),
        "matrix": scales[:, :, None] * rotations,
        "bends": bends * (rng.random((n, 1, 1)) < _BENT),
        "stretch": stretch * (rng.random((n, 1, 1)) < _STRETCHED),
    }
    return Warped(**{name: torch.as_tensor(array) for name, array in arrays.items()})


def fitted_problems(n: int, rng: np.random.Generator) -> Fitted:
    """Draw ``n`` of :class:`Fitted`, of one random number of parameters."""
    dim = int(rng.integers(*DIMENSIONS, endpoint=True))
    n_hidden, n_data = 2 * dim, 4 * dim
    noise = 10.0 ** rng.uniform(*_NOISE, (n, 1))
    sizes = 10.0 ** rng.uniform(-1.0, 0.5, (n, 1, dim))
    first = sizes * rng.standard_normal((n, n_hidden, dim)) / np.sqrt(dim)
    second = rng.standard_normal((n, n_data, n_hidden)) / np.sqrt(n_hidden)
    offset = 0.5 * rng.standard_normal((n, n_hidden))
    truth = rng.standard_normal((n, dim))
    hidden = np.tanh(np.einsum("nhd,nd->nh", first, truth) + offset)
    errors = rng.standard_normal((n, n_data))
    arrays = {
        "start": rng.standard_normal((n, dim)),
        # At the truth, and by half a unit for each parameter better where data are matched.
        "reference": 0.5 * (dim - np.sum(errors**2, axis=-1) - np.sum(truth**2, axis=-1)),
        "first": first,
        "second": second,
        "offset": offset,
        "data": np.einsum("noh,nh->no", second, hidden) + noise * errors,
        "noise": noise,
    }
    return Fitted(**{name: torch.as_tensor(array) for name, array in arrays.items()})


def lens_problems(
    likelihood: LensLikelihood, population: int, n: int, rng: np.random.Generator
) -> Lenses:
    """Simulate ``n`` :class:`Lenses`; starts are the best of some draws of the prior.

    Parameters
    ----------
    likelihood
        Of the population.
    population
        Its number.
    n
        How many.
    rng
        Of the lenses and of the starts.
    """
    lenses = simulate(likelihood.population, n, int(rng.integers(2**62)))
    images = images_in_noise_units(lenses)
    truth = lenses.latents
    start = rng.standard_normal(truth.shape)
    n_ranked = int(rng.choice(_RANKED))
    best = likelihood.value(start, *images) if n_ranked > 1 else None
    for _ in range(n_ranked - 1):
        z = rng.standard_normal(truth.shape)
        value = likelihood.value(z, *images)
        start = np.where((value > best)[:, None], z, start)
        best = np.maximum(value, best)
    arrays = {
        "start": start,
        "reference": likelihood.value(truth, *images) + 0.5 * truth.shape[1],
        "population": np.full(n, population),
        **dict(zip(("images", "noise_maps", "kernels"), images, strict=True)),
    }
    return Lenses(**{name: torch.as_tensor(array) for name, array in arrays.items()})


def images_in_noise_units(lenses: SimulatedLenses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data and noise maps in units of the noise of an empty pixel, and PSFs, each (n, y, x)."""
    instrument = lenses.population.instrument
    unit = instrument.background_noise_from(lenses.exposure_times)[:, None, None]
    return lenses.data / unit, lenses.noise_maps / unit, lenses.psfs


def _one_by_one(function: Callable) -> Callable:
    """On a CPU a batch only leaves the cache."""
    return jax.jit(lambda *arrays: jax.lax.map(lambda one: function(*one), arrays))


def _product(matrices: Tensor, vectors: Tensor) -> Tensor:
    return torch.einsum("nij,nj->ni", matrices, vectors)
