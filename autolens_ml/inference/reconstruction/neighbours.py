"""Lenses like a reconstruction: what a network must not forget while it is tuned to one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import affine_transform

from autolens_ml.inference.reconstruction.loop import Loop, Observed
from autolens_ml.inference.reconstruction.loss import Maps
from autolens_ml.networks.autoencoder import Autoencoder
from autolens_ml.simulate.maps import einstein_radii_from, gaussian_random_fields
from autolens_ml.training.map_sets import frames_of

__all__ = ["field_neighbours", "latent_neighbours", "observed_as"]

# Random fields of neighbours: their spectral slope, and root mean squares of their logarithms.
_SLOPE = 4.0
_OF_SOURCE, _OF_CONVERGENCE = 0.3, 0.05
# Standard deviation of the shears around that of the reconstruction.
_SHEAR = 0.01
# Convergences fall as one over the radius beyond the frame; the core of that [px].
_CORE = 0.5


def field_neighbours(maps: Maps, n: int, rng: np.random.Generator) -> Maps:
    """Lenses whose source and convergence differ by Gaussian random fields in the logarithm.

    Parameters
    ----------
    maps
        A batch of one.
    n
        How many.
    rng
        Of everything random.
    """

    def factor(shape: torch.Size, rms: float) -> torch.Tensor:
        # Cut out of periodic fields twice as wide.
        wide = tuple(2 * side for side in shape[1:])
        fields = gaussian_random_fields(n, wide, _SLOPE, rng)[:, : shape[1], : shape[2]]
        return torch.from_numpy(rms * fields)

    source = maps.source.clamp(min=0.0) * factor(maps.source.shape, _OF_SOURCE).exp()
    exponent = factor(maps.convergence.shape, _OF_CONVERGENCE) / np.log(10.0)
    return Maps(source, maps.convergence + exponent, _sheared(maps, n, rng))


def latent_neighbours(
    maps: Maps,
    n: int,
    spread: float,
    source_autoencoder: Autoencoder,
    convergence_autoencoder: Autoencoder,
    rng: np.random.Generator,
) -> Maps:
    """Lenses that autoencoders take for neighbours, as published (Adam et al. 2023).

    Latents are drawn around those of the reconstruction. What decoded maps differ by from the
    decoded map of the reconstruction is added to the source, and multiplies the convergence: so
    what latents cannot describe stays as it is.

    Parameters
    ----------
    maps
        A batch of one.
    n
        How many.
    spread
        Standard deviation of the latents around those of the reconstruction; their prior has 1.
    source_autoencoder, convergence_autoencoder
        Of galaxies that stand alike, and of lenses of one Einstein radius in the middle, as
        :mod:`autolens_ml.training.map_sets` has them.
    rng
        Of everything random.
    """
    light = maps.source[0].clamp(min=0.0).double().numpy()
    source = light + _source_differences(light, n, spread, source_autoencoder, rng)
    kappa = 10.0 ** maps.convergence[0].double().numpy()
    ratio = _convergence_ratios(kappa, n, spread, convergence_autoencoder, rng)
    return Maps(
        torch.from_numpy(source.clip(min=0.0)).float(),
        torch.from_numpy(np.log10(kappa * ratio)).float(),
        _sheared(maps, n, rng),
    )


def observed_as(observed: Observed, loop: Loop, maps: Maps, rng: np.random.Generator) -> Observed:
    """Lenses as they would be observed: with the noise and the point spread function of one.

    Parameters
    ----------
    observed
        A batch of one.
    loop
        Whose lens it is.
    maps
        n lenses.
    rng
        Of the noise.
    """
    n = len(maps.source)
    with torch.no_grad():
        image = loop.lens(maps.convergence, maps.source, maps.shear, observed.psf)
    noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
    alike = {name: value.expand(n, *value.shape[1:]) for name, value in vars(observed).items()}
    seen = replace(observed, **alike)
    return replace(seen, image=torch.where(seen.mask > 0, image + noise * seen.noise_map, 0.0))


def _sheared(maps: Maps, n: int, rng: np.random.Generator) -> torch.Tensor:
    return maps.shear + torch.from_numpy(rng.normal(scale=_SHEAR, size=(n, 2))).float()


@torch.no_grad()
def _decoded(
    autoencoder: Autoencoder, values: np.ndarray, n: int, spread: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The map of the latents of a map, and maps around it; their means in the disc are one."""
    mean = autoencoder.encode(torch.from_numpy(values[None]).float()).mean
    around = mean + spread * torch.from_numpy(rng.standard_normal((n, mean.shape[1]))).float()
    return autoencoder.decode(mean).double().numpy(), autoencoder.decode(around).double().numpy()


def _source_differences(
    light: np.ndarray, n: int, spread: float, autoencoder: Autoencoder, rng: np.random.Generator
) -> np.ndarray:
    """On the pixels of the source, shape (n, rows, columns)."""
    centroid, angle = (each[0] for each in frames_of(light[None]))
    turn = np.radians(angle)
    size, disc = autoencoder.config["size"], autoencoder.config["disc_radius"]
    scale = _half_light_radius(light) / (0.5 * size * disc)
    # From rows and columns of the autoencoder's frame, whose x is the major axis, to those of the
    # source; rows count downwards.
    forth = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = 0.5 * (np.array(light.shape) - 1.0) + (-centroid[0], centroid[1])
    own = np.full(2, 0.5 * (size - 1))
    framed = affine_transform(
        light, forth, offset=middle - forth @ own, output_shape=(size, size), order=1
    )
    at, around = _decoded(autoencoder, framed, n, spread, rng)
    unit = np.sum(framed * at) / np.sum(at**2)
    back = np.linalg.inv(forth)
    return np.array(
        [
            affine_transform(
                each, back, offset=own - back @ middle, output_shape=light.shape, order=1
            )
            for each in unit * (around - at)
        ]
    )


def _convergence_ratios(
    kappa: np.ndarray, n: int, spread: float, autoencoder: Autoencoder, rng: np.random.Generator
) -> np.ndarray:
    """On the pixels of the convergence, shape (n, y, x)."""
    radius, centre = (each[0] for each in einstein_radii_from(kappa[None], 1.0))
    if not radius > 0.0:
        return np.ones((n, *kappa.shape))
    size, disc = autoencoder.config["size"], autoencoder.config["disc_radius"]
    scale = radius / (0.5 * size * disc)
    middle = 0.5 * (np.array(kappa.shape) - 1.0) + (-centre[0], centre[1])
    own = np.full(2, 0.5 * (size - 1))
    # Beyond the frame what would be constant for an isothermal lens is.
    distance = _distance(kappa.shape, middle) + _CORE
    framed = affine_transform(
        kappa * distance,
        np.full(2, scale),
        offset=middle - scale * own,
        output_shape=(size, size),
        order=1,
        mode="nearest",
    ) / (scale * _distance((size, size), own) + _CORE)
    at, around = _decoded(autoencoder, framed, n, spread, rng)
    return np.array(
        [
            affine_transform(
                each,
                np.full(2, 1.0 / scale),
                offset=own - middle / scale,
                output_shape=kappa.shape,
                order=1,
                mode="nearest",
            )
            for each in around / at
        ]
    )


def _distance(shape: tuple[int, ...], middle: np.ndarray) -> np.ndarray:
    return np.hypot(np.arange(shape[0])[:, None] - middle[0], np.arange(shape[1]) - middle[1])


def _half_light_radius(light: np.ndarray) -> float:
    from autolens_ml.inference.reconstruction.summary import light_radii

    return light_radii(light, 1.0)[1][0.5]
