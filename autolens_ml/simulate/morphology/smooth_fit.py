"""The best lens without substructure: PyAutoLens's smooth model, fitted by least squares.

A lens that holds nothing but a smooth halo is fitted to the noise; what substructure does to an
arc, and no smooth lens can, stays in the residuals. Fits start from the most probable of many draws
of a wide prior and go on by Levenberg and Marquardt, whose derivatives JAX makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.lensing import MACRO, POINT, STRING, LensImages

__all__ = ["SmoothFit", "SmoothFits", "smooth_fit_for"]

# Priors: (mean, width) of a parameter, or of its logarithm where it is positive. They are wide, and
# hold what the data leave open.
_POSITIVE = ("einstein_radius", "source_radius", "source_index", "source_intensity")
_PRIORS = {
    "einstein_radius": (np.log(1.5), 0.25),
    "ell_comps_0": (0.0, 0.15),
    "ell_comps_1": (0.0, 0.15),
    "gamma_1": (0.0, 0.08),
    "gamma_2": (0.0, 0.08),
    "source_y": (0.0, 0.3),
    "source_x": (0.0, 0.3),
    "source_radius": (np.log(0.25), 0.4),
    "source_ell_comps_0": (0.0, 0.2),
    "source_ell_comps_1": (0.0, 0.2),
    "source_index": (np.log(1.0), 0.3),
    "source_intensity": (np.log(10.0), 2.0),
}
_MEAN, _WIDTH = (np.array([_PRIORS[name][i] for name in MACRO]) for i in (0, 1))
_IS_POSITIVE = np.array([name in _POSITIVE for name in MACRO])
_INTENSITY = MACRO.index("source_intensity")
# Draws that are ranked, and the best of them that are followed to the end, one after the other
# until one leaves no more than this mean squared residual, or two end at the same chi-squared.
_N_DRAWS, _N_STARTS, _GOOD, _SAME = 256, 3, 1.1, 1.0
_N_STEPS = 25
# Of the damping.
_FIRST, _UP, _DOWN = 1e-2, 8.0, 0.3
# Fits are over where a step gains less than this in chi-squared.
_GAIN = 1e-2
# Pixels where the model is brighter than this belong to the arcs, in units of the noise.
_ARC = 0.5


@dataclass(frozen=True, eq=False)
class SmoothFits:
    """Best smooth lenses.

    Attributes
    ----------
    macro : ndarray
        Columns as in ``lensing.MACRO``, intensities in the unit of the images, shape (n, 12).
    models : ndarray
        Their images, shape (n, y, x).
    residuals : ndarray
        Of the data, in units of the noise, shape (n, y, x).
    """

    macro: np.ndarray
    models: np.ndarray
    residuals: np.ndarray

    @property
    def chi_squared(self) -> np.ndarray:
        """Of all pixels, shape (n,)."""
        return np.square(self.residuals).sum(axis=(1, 2))

    def arc_chi_squared(self, noise: np.ndarray) -> np.ndarray:
        """Mean of the squared residuals in the pixels of the arcs, shape (n,).

        Parameters
        ----------
        noise
            RMS of the pixels, shape (n, y, x); the least of each image is that of an empty one.
        """
        empty = noise.min(axis=(1, 2), keepdims=True)
        arcs = self.models > _ARC * empty
        return np.sum(np.square(self.residuals) * arcs, axis=(1, 2)) / np.maximum(
            arcs.sum(axis=(1, 2)), 1
        )


class SmoothFit:
    """Fits an isothermal ellipsoid with shear and a Sersic source.

    Parameters
    ----------
    instrument
        Pixels, PSF and over-sampling of the images.
    seed
        Of the draws that fits start from.
    """

    def __init__(self, instrument: Instrument, seed: int = 0) -> None:
        self.instrument = instrument
        self._images = LensImages(instrument)
        rng = np.random.default_rng(seed)
        draws = _MEAN + _WIDTH * rng.standard_normal((_N_DRAWS, len(MACRO)))
        # Brightness is solved for.
        draws[:, _INTENSITY] = 0.0
        self._draws = draws

    def fit(self, images: np.ndarray, noise: np.ndarray, psf_fwhm: np.ndarray) -> SmoothFits:
        """Fit images.

        Parameters
        ----------
        images, noise
            Image and RMS in any unit, shape (n, y, x).
        psf_fwhm
            Full widths at half maximum [arcsec], shape (n,).

        Raises
        ------
        DataError
            When shapes do not belong together, or the noise is not positive.
        """
        images, noise = (np.asarray(a, dtype=float) for a in (images, noise))
        shape = self.instrument.shape
        if images.ndim != 3 or images.shape[1:] != tuple(shape) or noise.shape != images.shape:
            raise DataError(
                f"images of shape {images.shape} with noise of {noise.shape}; give both as "
                f"(n, {shape[0]}, {shape[1]})"
            )
        if not (np.isfinite(images).all() and np.all(noise > 0.0)):
            raise DataError("images must be finite, and their noise above 0: mask bad pixels first")
        unit = noise.min(axis=(1, 2), keepdims=True)
        images, noise = images / unit, noise / unit
        kernels = self.instrument.psf_kernels_from(np.asarray(psf_fwhm, dtype=float))
        macro, models = np.empty((len(images), len(MACRO))), np.empty(images.shape)
        with jax.enable_x64(True):
            for i, arrays in enumerate(zip(images, noise, kernels, strict=True)):
                macro[i], models[i] = self._best(*(jnp.asarray(a) for a in arrays))
        residuals = (images - models) / noise
        macro[:, _INTENSITY] *= unit[:, 0, 0]
        return SmoothFits(macro, models * unit, residuals)

    def refine(
        self,
        images: np.ndarray,
        noise: np.ndarray,
        psf_fwhm: np.ndarray,
        macro: np.ndarray,
        n_steps: int,
    ) -> np.ndarray:
        """Models near those that are given, after a few steps from there.

        Parameters
        ----------
        images, noise, psf_fwhm
            As of `fit`, but in units of the noise of an empty pixel.
        macro
            Where each starts, columns as in ``lensing.MACRO``, in the unit of the images.
        n_steps
            Of Levenberg and Marquardt.

        Returns
        -------
        ndarray
            Shape (n, y, x).
        """
        kernels = self.instrument.psf_kernels_from(np.asarray(psf_fwhm, dtype=float))
        starts = np.where(_IS_POSITIVE, np.log(np.where(_IS_POSITIVE, macro, 1.0)), macro)
        models = np.empty(np.shape(images))
        with jax.enable_x64(True):
            for i, rows in enumerate(zip(starts, images, noise, kernels, strict=True)):
                start, image, rms, kernel = (jnp.asarray(a, dtype=float) for a in rows)
                end, _ = self._descended(start, image, rms, kernel, n_steps)
                models[i] = self._model(end, kernel)
        return models

    def _best(self, image: Any, noise: Any, kernel: Any) -> tuple[np.ndarray, np.ndarray]:
        ranks, starts = self._ranked(self._library(kernel), image, noise)
        least, best = np.inf, starts[0]
        for k in np.argsort(np.asarray(ranks))[:_N_STARTS]:
            end, cost = self._descended(starts[k], image, noise, kernel, _N_STEPS)
            met = abs(float(cost) - least) < _SAME
            if cost < least:
                least, best = float(cost), end
            if met or least < _GOOD * image.size:
                break
        return np.asarray(_physical(best)), np.asarray(self._model(best, kernel))

    def _library(self, kernel: Any) -> Any:
        """Images of the draws; made once for each PSF."""
        key = np.asarray(kernel).tobytes()
        if getattr(self, "_key", None) != key:
            self._key = key
            self._made = self._blurred(self._spectra, kernel)
        return self._made

    @cached_property
    def _spectra(self) -> Any:
        """Of the draws, without a PSF."""
        return jax.jit(lambda draws: jax.lax.map(self._spectrum, draws))(self._draws)

    @cached_property
    def _blurred(self) -> Any:
        """Images of spectra, with the PSF."""
        shape = self._images.padded_shape
        rows, columns = (side - 1 for side in self.instrument.psf_shape)

        def blurred(spectra: Any, kernel: Any) -> Any:
            of_all = spectra * jnp.fft.rfft2(kernel, self._fft_shape)
            images = jnp.fft.irfft2(of_all, self._fft_shape)
            return images[..., rows : shape[0], columns : shape[1]]

        # Of one program for all PSFs: what is compiled anew for each fills the memory maps of a
        # process after some hundred.
        return jax.jit(blurred)

    @cached_property
    def _ranked(self) -> Any:
        def ranked(models: Any, image: Any, noise: Any) -> tuple[Any, Any]:
            weighted = models / noise
            data = image / noise
            scale = jnp.sum(weighted * data, (1, 2)) / jnp.sum(weighted**2, (1, 2))
            scale = jnp.maximum(scale, 1e-3)
            cost = jnp.sum((data - scale[:, None, None] * weighted) ** 2, (1, 2))
            return cost, jnp.asarray(self._draws).at[:, _INTENSITY].add(jnp.log(scale))

        return jax.jit(ranked)

    @cached_property
    def _descended(self) -> Any:
        def descended(
            start: Any, image: Any, noise: Any, kernel: Any, n_steps: Any
        ) -> tuple[Any, Any]:
            def residuals(vector: Any) -> Any:
                data = (image - self._model(vector, kernel)) / noise
                return jnp.concatenate([data.ravel(), (vector - _MEAN) / _WIDTH])

            def step(state: tuple) -> tuple:
                vector, cost, damping, number, _ = state
                jacobian = jax.jacfwd(residuals)(vector)
                found = residuals(vector)
                normal = jacobian.T @ jacobian
                damped = normal + damping * jnp.diag(jnp.diag(normal))
                tried = vector - jnp.linalg.solve(damped, jacobian.T @ found)
                new = jnp.sum(residuals(tried) ** 2)
                better = new < cost
                gain = jnp.where(better, cost - new, jnp.inf)
                # A step that fails may be too long: only one that succeeds can be the last.
                return (
                    jnp.where(better, tried, vector),
                    jnp.where(better, new, cost),
                    damping * jnp.where(better, _DOWN, _UP),
                    number + 1,
                    gain,
                )

            def goes_on(state: tuple) -> Any:
                _, _, damping, number, gain = state
                return (number < n_steps) & (gain > _GAIN) & (damping < 1e8)

            cost = jnp.sum(residuals(start) ** 2)
            state = (start, cost, jnp.asarray(_FIRST), jnp.asarray(0), jnp.asarray(jnp.inf))
            end = jax.lax.while_loop(goes_on, step, state)
            return end[0], end[1]

        return jax.jit(descended)

    @cached_property
    def _fft_shape(self) -> list[int]:
        return [fft.next_fast_len(side, real=True) for side in self._images.padded_shape]

    def _spectrum(self, vector: Any) -> Any:
        """Of the image of the vector of one lens, without a PSF."""
        points, strings = np.zeros((0, len(POINT))), np.zeros((0, len(STRING)))
        sharp = self._images.sharp_image(
            _physical(vector), points, strings, None, dtype=jnp.float64
        )
        return jnp.fft.rfft2(sharp, self._fft_shape)

    @cached_property
    def _model(self) -> Any:
        """Image of the vector of one lens, with the PSF."""
        return jax.jit(lambda vector, kernel: self._blurred(self._spectrum(vector), kernel))


@cache
def smooth_fit_for(instrument: Instrument) -> SmoothFit:
    """The one of an instrument, so that it is compiled once."""
    return SmoothFit(instrument)


def _physical(vector: Any) -> Any:
    return jnp.where(_IS_POSITIVE, jnp.exp(jnp.where(_IS_POSITIVE, vector, 0.0)), vector)
