"""What a physicist compares networks with: principal components, and the best smooth lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.smooth_fit import smooth_fit_for

__all__ = ["PrincipalComponents", "smooth_fit_scores"]


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The linear autoencoder: images rebuilt from their largest principal components.

    Attributes
    ----------
    mean : ndarray
        Mean image, shape (y, x).
    components : ndarray
        Orthonormal images, shape (n_components, y, x).
    """

    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, n_components: int) -> Self:
        """Those of images, shape (n, y, x), n > n_components.

        Raises
        ------
        DataError
            When there are too few images.
        """
        n = len(images)
        if not 0 < n_components < n:
            raise DataError(f"{n_components} components of {n} images: give more images")
        flat = np.asarray(images, dtype=np.float32).reshape(n, -1)
        mean = flat.mean(axis=0)
        flat = flat - mean
        # The smaller of the two matrices of products has all that is needed.
        if n <= flat.shape[1]:
            last = (n - n_components, n - 1)
            _, vectors = linalg.eigh(flat @ flat.T, subset_by_index=last)
            components = vectors.T @ flat
            components /= np.linalg.norm(components, axis=1, keepdims=True)
        else:
            size = flat.shape[1]
            last = (size - n_components, size - 1)
            _, vectors = linalg.eigh(flat.T @ flat, subset_by_index=last)
            components = vectors.T
        shape = np.shape(images)[1:]
        return cls(mean.reshape(shape), components.reshape(-1, *shape))

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Images rebuilt from their components, of their shape."""
        flat = self.components.reshape(len(self.components), -1)
        codes = (images - self.mean).reshape(len(images), -1) @ flat.T
        return self.mean + (codes @ flat).reshape(images.shape)

    def scores(self, images: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Mean squared errors of reconstructions in units of the noise, shape (n,)."""
        errors = (images - self.reconstruct(images)) / noise
        return np.square(errors).mean(axis=(1, 2))


def smooth_fit_scores(
    images: np.ndarray, noise: np.ndarray, psf_fwhm: np.ndarray, instrument: Instrument
) -> np.ndarray:
    """Mean squared residuals in the arcs, of the best smooth lens by PyAutoLens, shape (n,).

    Parameters
    ----------
    images, noise
        Image and RMS in any unit, shape (n, y, x).
    psf_fwhm
        Full widths at half maximum [arcsec], shape (n,).
    instrument
        Whose grid the images are on.
    """
    return smooth_fit_for(instrument).fit(images, noise, psf_fwhm).arc_chi_squared(noise)
