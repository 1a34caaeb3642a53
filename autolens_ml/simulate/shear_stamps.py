"""Stamps of sheared galaxies and of their PSFs, thousands per second, made in Fourier space.

A stamp is sampled at its pixels' centres from what the PSF, the pixels' response and the galaxy
make together. Wavenumbers reach twice the pixels' Nyquist limit, beyond the cut-off of a telescope
that samples its PSF as Euclid does, and stamps are padded while they are made. Row 0 is +y.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from scipy import fft

from autolens_ml.simulate.shear_population import Scenes, ShearPopulation, sheared
from autolens_ml.simulate.shear_profiles import radial_transforms

__all__ = ["StampRenderer", "adaptive_moments"]

# Stamps are made this much wider, so that light that leaves at one side enters at none.
_PADDING = 4 / 3
_OVERSAMPLING = 2
# Scenes that are made at once: larger batches leave the cache.
_CHUNK = 64
# Cut-outs are padded to this multiple before their transforms are taken.
_CUT_OUT_PADDING = 4


class StampRenderer:
    """Makes stamps of the scenes of a population.

    Parameters
    ----------
    population
        Whose size, pixel scale and cut-outs are used.

    Attributes
    ----------
    size
        Pixels a side of a stamp.
    pixel_scale
        arcsec per pixel.
    """

    def __init__(self, population: ShearPopulation) -> None:
        self.size = population.size
        self.pixel_scale = population.pixel_scale
        self._library = population.cut_outs
        self._n = _OVERSAMPLING * fft.next_fast_len(int(np.ceil(_PADDING * self.size)), real=True)
        step = self.pixel_scale / _OVERSAMPLING
        # Row 0 is +y, so y falls from row to row.
        self._ky = -2.0 * np.pi * np.fft.fftfreq(self._n, step)
        self._kx = 2.0 * np.pi * np.fft.rfftfreq(self._n, step)
        self._quadratic = torch.from_numpy(_quadratic(self._kx, self._ky)).float()
        half = 0.5 * self.pixel_scale / np.pi
        self._pixel = torch.from_numpy(
            np.sinc(half * self._ky)[:, None] * np.sinc(half * self._kx)
        ).float()
        # Where pixel 0 of the stamp would lie, its middle being the origin.
        first = 0.5 * (self.size - 1) * self.pixel_scale
        self._middle = complex(first, -first)

    def psf_transforms(self, scenes: Scenes) -> torch.Tensor:
        """Transforms of the PSFs and of the pixels' response, shape (n, k_y, k_x), real."""
        ellipticity, size = scenes.psf_ellipticity[:, None], scenes.psf_fwhm[:, None]
        squared = self._squared(ellipticity, size)[:, 0]
        transforms = radial_transforms(scenes.psf_row, squared)
        return transforms.unflatten(1, (self._n, -1)) * self._pixel.to(transforms.device)

    def psfs(self, scenes: Scenes, psf_transforms: torch.Tensor) -> torch.Tensor:
        """Stamps of PSFs, of a sum of one but for what lies outside, shape (n, size, size).

        Parameters
        ----------
        scenes, psf_transforms
            As for `galaxies`.
        """
        return self._sampled(psf_transforms, scenes.psf_centre)

    def galaxies(self, scenes: Scenes, psf_transforms: torch.Tensor) -> torch.Tensor:
        """Stamps of galaxies without noise, of a flux of one, shape (n, size, size).

        Parameters
        ----------
        scenes
            What is seen.
        psf_transforms
            As of `psf_transforms`, those of the same scenes.
        """
        transforms = self._profile_transforms(scenes) * psf_transforms
        rows = torch.nonzero(scenes.cut_out >= 0)[:, 0]
        if len(rows):
            transforms = transforms.to(torch.complex64)
            transforms[rows] = self._cut_out_transforms(scenes[rows]) * psf_transforms[rows]
        return self._sampled(transforms, scenes.centre)

    def stamps(self, scenes: Scenes) -> tuple[torch.Tensor, torch.Tensor]:
        """Observed galaxies, in units of the noise of a pixel, and their PSFs.

        Parameters
        ----------
        scenes
            What is seen.

        Returns
        -------
        tuple of Tensor
            Galaxies with white Gaussian noise of unit RMS, and PSFs, both (n, size, size).
        """
        galaxies, psfs = self.alike((scenes,))
        return galaxies[0], psfs[0]

    @torch.no_grad()
    def alike(self, variants: Sequence[Scenes]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same galaxies under different shears, turned, or behind different PSFs.

        What is different in a pair of them is due to the difference alone: noise and flux are the
        same, the signal-to-noise being that of the mean.

        Parameters
        ----------
        variants
            m times n scenes, of which the first one's noise and signal-to-noise are taken.

        Returns
        -------
        tuple of Tensor
            Galaxies and PSFs as of `stamps`, shape (m, n, size, size).
        """
        noise = self.noise(variants[0])
        # Mixed precision knows no transforms.
        with torch.autocast(noise.device.type, enabled=False):
            pairs = [self._clean(scenes) for scenes in variants]
        light = torch.stack([light for light, _ in pairs])
        norm = variants[0].signal_to_noise / torch.linalg.vector_norm(light, dim=(2, 3)).mean(0)
        return light * norm[:, None, None] + noise, torch.stack([psfs for _, psfs in pairs])

    def noise(self, scenes: Scenes) -> torch.Tensor:
        """White noise of unit RMS, shape (n, size, size), by the first scene's seed."""
        device = scenes.kind.device
        generator = torch.Generator(device).manual_seed(int(scenes.noise_seed[0]))
        return torch.randn(len(scenes), self.size, self.size, generator=generator, device=device)

    def _clean(self, scenes: Scenes) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        for i in range(0, len(scenes), _CHUNK):
            chunk = scenes[i : i + _CHUNK]
            transforms = self.psf_transforms(chunk)
            parts.append((self.galaxies(chunk, transforms), self.psfs(chunk, transforms)))
        galaxies, psfs = zip(*parts, strict=True)
        return torch.cat(galaxies), torch.cat(psfs)

    def _squared(self, ellipticity: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """|size S k|^2 for the area-preserving shear S of each ellipticity, shape (n, c, k)."""
        modulus = ellipticity.abs().square()
        weights = torch.stack((1.0 + modulus, 2.0 * ellipticity.real, 2.0 * ellipticity.imag), -1)
        weights = weights * (size.square() / (1.0 - modulus))[..., None]
        return weights @ self._quadratic.to(weights.device)

    def _profile_transforms(self, scenes: Scenes) -> torch.Tensor:
        """Of all components of the galaxies, shape (n, k_y, k_x), real."""
        ellipticity = sheared(scenes.ellipticity, scenes.shear[:, None])
        total = torch.zeros(len(scenes), self._quadratic.shape[1], device=scenes.row.device)
        for component in range(scenes.flux.shape[1]):
            rows = torch.nonzero((scenes.flux[:, component] > 0.0) & (scenes.cut_out < 0))[:, 0]
            if len(rows) == 0:
                continue
            own = slice(component, component + 1)
            squared = self._squared(ellipticity[rows, own], scenes.radius[rows, own])[:, 0]
            transforms = radial_transforms(scenes.row[rows, component], squared)
            total[rows] += scenes.flux[rows, own] * transforms
        return total.unflatten(1, (self._n, -1))

    def _cut_out_transforms(self, scenes: Scenes) -> torch.Tensor:
        """Of galaxies that are cut-outs, shape (n, k_y, k_x), complex."""
        transforms, maps = cut_out_transforms(self._library)
        device = scenes.kind.device
        ellipticity, shear = scenes.ellipticity[:, 0], scenes.shear
        after = sheared(ellipticity, shear)
        # S(g) S(e) = S(e') R: the shear turns what is inside the ellipse.
        turn = scenes.turn + torch.angle(1.0 + shear * ellipticity.conj())
        size = scenes.radius[:, 0] / (1.0 - after.abs().square()).sqrt()
        stretch = torch.stack(
            (
                torch.stack((1.0 + after.real, after.imag), -1),
                torch.stack((after.imag, 1.0 - after.real), -1),
            ),
            -2,
        )
        cos, sin = turn.cos(), turn.sin()
        rotation = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
        onto_sky = size[:, None, None] * stretch @ rotation @ maps.to(device)[scenes.cut_out]
        # The transform of f(A^-1 x) at k is that of f at A^T k.
        ky, kx = np.meshgrid(self._ky, self._kx, indexing="ij")
        wavenumbers = torch.from_numpy(np.stack((kx, ky))).float().to(device)
        seen = torch.einsum("nij,iyx->nyxj", onto_sky, wavenumbers)
        # In pixels of the padded transform, whose middle is wavenumber zero, then in [-1, 1].
        n = transforms.shape[-1]
        place = (seen * (n / (2.0 * np.pi)) + n // 2) * (2.0 / (n - 1)) - 1.0
        values = torch.nn.functional.grid_sample(
            transforms.to(device)[scenes.cut_out], place, mode="bicubic", align_corners=True
        )
        return torch.complex(values[:, 0], values[:, 1])

    def _sampled(self, transforms: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """Stamps of transforms, their light moved to ``centres`` [arcsec, complex]."""
        device = transforms.device
        moved = centres + self._middle
        ky, kx = (torch.from_numpy(k).float().to(device) for k in (self._ky, self._kx))
        phase_y = torch.polar(torch.ones_like(ky), -moved.imag[:, None] * ky)
        phase_x = torch.polar(torch.ones_like(kx), -moved.real[:, None] * kx)
        shifted = transforms * phase_y[:, :, None] * phase_x[:, None, :]
        n = self._n // _OVERSAMPLING
        stamps = torch.fft.irfft2(_aliased(shifted, n), s=(n, n))
        return stamps[:, : self.size, : self.size]


def _aliased(transforms: torch.Tensor, n: int) -> torch.Tensor:
    """Transforms of every second pixel, from those of all 2n x 2n of a real image."""
    rows = transforms.unflatten(1, (2, n)).sum(1)
    # Wavenumber k - n in x is that of k seen from behind: only half of the plane is stored.
    behind = rows.roll(-1, 1).flip(1, 2).conj()
    return (rows + behind)[:, :, : n // 2 + 1]


def _quadratic(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """k_x^2 + k_y^2, k_x^2 - k_y^2 and 2 k_x k_y, shape (3, k)."""
    y, x = np.meshgrid(ky, kx, indexing="ij")
    return np.stack((x**2 + y**2, x**2 - y**2, 2.0 * x * y)).reshape(3, -1)


@cache
def cut_out_transforms(library: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Transforms of a library's galaxies, made round, and what makes them so.

    Parameters
    ----------
    library
        As for :func:`~autolens_ml.simulate.sources.library_from`.

    Returns
    -------
    tuple of Tensor
        Real and imaginary parts at the wavenumbers of the padded stamp, zero in the middle,
        (n, 2, k, k); and matrices that take (x, y) in pixels of the stamp to a round galaxy whose
        half-light radius is one, (n, 2, 2).
    """
    from autolens_ml.simulate.sources import library_from

    stamps = library_from(library)
    # Rows upwards, as y.
    light = np.asarray(stamps.stamps, dtype=float)[:, ::-1]
    light = light / light.sum(axis=(1, 2), keepdims=True)
    n = _CUT_OUT_PADDING * stamps.size
    frequency = np.fft.fftfreq(n)
    to_middle = np.exp(2j * np.pi * frequency * 0.5 * (stamps.size - 1))
    values = np.fft.fft2(light, s=(n, n)) * to_middle[:, None] * to_middle
    values = np.fft.fftshift(values, axes=(1, 2))
    maps = [
        _rounding(image) / radius
        for image, radius in zip(light, stamps.half_light_radius, strict=True)
    ]
    parts = np.stack((values.real, values.imag), axis=1)
    return torch.from_numpy(parts).float(), torch.from_numpy(np.array(maps)).float()


def _rounding(image: np.ndarray) -> np.ndarray:
    """The symmetric matrix of determinant 1 that makes the second moments of a galaxy round."""
    values, vectors = np.linalg.eigh(adaptive_moments(image))
    root = vectors * values**-0.5 @ vectors.T
    return root / np.sqrt(np.linalg.det(root))


def adaptive_moments(image: np.ndarray, n_steps: int = 200) -> np.ndarray:
    """Second moments of a galaxy, weighted by the Gaussian that has them [px^2].

    They follow every linear map of the galaxy exactly, as unweighted moments do, and are those of
    its bright parts (Bernstein & Jarvis 2002, AJ, 123, 583, section 3).

    Parameters
    ----------
    image
        Of a galaxy whose centre is in its middle, rows upwards, shape (y, x).
    n_steps
        Steps of the fixed-point iteration, at most.

    Returns
    -------
    ndarray
        Matrix over (x, y).
    """
    y, x = (np.arange(side) - 0.5 * (side - 1) for side in image.shape)
    products = np.stack(np.broadcast_arrays(x**2, x * y[:, None], y[:, None] ** 2))
    moments = np.eye(2) * (0.1 * len(y)) ** 2
    for _ in range(n_steps):
        inverse = np.linalg.inv(moments)
        weights = np.array([inverse[0, 0], 2.0 * inverse[0, 1], inverse[1, 1]])
        light = image * np.exp(-0.5 * np.tensordot(weights, products, 1))
        xx, xy, yy = 2.0 * np.tensordot(products, light, 2) / light.sum()
        before, moments = moments, np.array([[xx, xy], [xy, yy]])
        if np.allclose(moments, before, rtol=1e-6, atol=0.0):
            break
    return moments
