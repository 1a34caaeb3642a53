"""What reconstructed maps say in numbers, and how they compare with a truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.maps import Spectrum, coherence, einstein_radii_from, power_spectrum

__all__ = [
    "Comparison",
    "LensSummary",
    "compared",
    "convergence_slopes",
    "light_radii",
    "mass_sheet_factor",
    "summary_of",
]

# Shares of the light inside of the radii that are given.
_SHARES = (0.5, 0.8, 0.9)
# The mean slope is that between these radii, in Einstein radii.
_SLOPED = (0.5, 1.5)
# Width of the rings of a profile [px].
_RING = 1.0
# Sub-pixels a side for what is inside of a circle.
_BITS = 4


@dataclass(frozen=True, eq=False)
class LensSummary:
    """A lens and its source in numbers.

    Attributes
    ----------
    einstein_radius : float
        Radius of the circle around the peak of the convergence in which its mean is one [arcsec];
        0 where no circle has as much, NaN where it is not inside the map.
    centre : tuple of float
        (y, x) of the peak, from the middle of the map [arcsec].
    slope : float
        Of the power law nearest to the convergence between half and one and a half Einstein radii,
        minus d ln(kappa) / d ln(r); 1 is isothermal. NaN without an Einstein radius.
    slope_radii, local_slope : ndarray
        Radii [arcsec] and the slope there, from ring to ring.
    source_flux : float
        Integral of the surface brightness [its unit times arcsec^2].
    source_centroid : tuple of float
        (y, x) of its light, from the middle of the map [arcsec].
    source_radii : dict
        Share of the light -> radius of the circle around the centroid that holds it [arcsec].
    """

    einstein_radius: float
    centre: tuple[float, float]
    slope: float
    slope_radii: np.ndarray
    local_slope: np.ndarray
    source_flux: float
    source_centroid: tuple[float, float]
    source_radii: dict[float, float]


def summary_of(
    source: np.ndarray, source_pixel_scale: float, convergence: np.ndarray, pixel_scale: float
) -> LensSummary:
    """The summary of a reconstruction.

    Parameters
    ----------
    source
        Surface brightness, shape (rows, columns); what is below zero is taken as zero.
    source_pixel_scale
        Side of its pixels [arcsec].
    convergence
        Shape (y, x).
    pixel_scale
        Side of its pixels [arcsec].

    Raises
    ------
    DataError
        If a map has another shape, or the source no light.
    """
    radii, centres = einstein_radii_from(np.asarray(convergence)[None], pixel_scale)
    centre = (float(centres[0, 0]), float(centres[0, 1]))
    at, slopes = convergence_slopes(convergence, pixel_scale, centre)
    mean = np.nan
    if radii[0] > 0.0:
        mean = _mean_slope(convergence, pixel_scale, centre, float(radii[0]))
    centroid, sizes = light_radii(source, source_pixel_scale)
    return LensSummary(
        einstein_radius=float(radii[0]),
        centre=centre,
        slope=mean,
        slope_radii=at,
        local_slope=slopes,
        source_flux=float(np.maximum(source, 0.0).sum() * source_pixel_scale**2),
        source_centroid=centroid,
        source_radii=sizes,
    )


def convergence_slopes(
    convergence: np.ndarray, pixel_scale: float, centre: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Local slopes of the mean convergence on rings, minus d ln(kappa) / d ln(r).

    Parameters
    ----------
    convergence
        Above zero, shape (y, x).
    pixel_scale
        Side of a pixel [arcsec].
    centre
        (y, x) of the rings from the middle of the map [arcsec].

    Returns
    -------
    radius : ndarray
        Between rings of one pixel [arcsec], those that are whole inside of the map.
    slope : ndarray
        Of the same shape.
    """
    radius, kappa = _rings(convergence, pixel_scale, centre)
    slope = -np.diff(np.log(kappa)) / np.diff(np.log(radius))
    return np.sqrt(radius[1:] * radius[:-1]), slope


def light_radii(
    source: np.ndarray, pixel_scale: float
) -> tuple[tuple[float, float], dict[float, float]]:
    """Centroid, and radii that hold 50, 80 and 90 per cent of the light around it [arcsec].

    Parameters
    ----------
    source
        Surface brightness, shape (rows, columns); what is below zero is taken as zero.
    pixel_scale
        Side of a pixel [arcsec].

    Raises
    ------
    DataError
        If there is no light.
    """
    light = np.maximum(np.asarray(source, dtype=float), 0.0)
    if light.ndim != 2 or not light.sum() > 0.0:
        raise DataError(f"a source of shape {light.shape} with no light has no radii")
    y, x = _places(light.shape, pixel_scale)
    centroid = (
        float(np.sum(light * y) / light.sum()),
        float(np.sum(light * x) / light.sum()),
    )
    fine = light.repeat(_BITS, axis=0).repeat(_BITS, axis=1).ravel()
    y, x = _places(tuple(_BITS * n for n in light.shape), pixel_scale / _BITS)
    radius = np.hypot(y - centroid[0], x - centroid[1]).ravel()
    order = np.argsort(radius, kind="stable")
    inside = np.cumsum(fine[order]) / fine.sum()
    return centroid, {share: float(np.interp(share, inside, radius[order])) for share in _SHARES}


def mass_sheet_factor(
    convergence: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> float:
    r"""The factor of the mass-sheet transform that brings a convergence nearest to another.

    The least squares of :math:`\lambda\kappa + (1 - \lambda) - \kappa_{true}` over all pixels
    (Falco, Gorenstein & Shapiro 1985, ApJ, 289, L1): images do not tell factors apart.

    Parameters
    ----------
    convergence, truth
        Of one shape.
    weights
        Of the pixels, of the same shape; all alike by default.
    """
    found, right = np.asarray(convergence) - 1.0, np.asarray(truth) - 1.0
    weights = np.ones_like(found) if weights is None else weights
    return float(np.sum(weights * found * right) / np.sum(weights * found**2))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A reconstruction against the truth.

    Attributes
    ----------
    source_correlation, convergence_correlation : float
        Pearson's, of the surface brightness and of the logarithm of the convergence.
    einstein_radius_error, slope_error : float
        Reconstruction minus truth.
    mass_sheet_factor : float
        See :func:`mass_sheet_factor`; inside of one and a half Einstein radii of the truth.
    flux_ratio : float
        Of the source, reconstruction over truth.
    source_coherence, convergence_coherence : Spectrum
        Of the two maps, wave by wave; wavenumbers in cycles per arcsec.
    source_power, true_source_power : Spectrum
        Of reconstruction and truth.
    """

    source_correlation: float
    convergence_correlation: float
    einstein_radius_error: float
    slope_error: float
    mass_sheet_factor: float
    flux_ratio: float
    source_coherence: Spectrum
    convergence_coherence: Spectrum
    source_power: Spectrum
    true_source_power: Spectrum


def compared(
    source: np.ndarray,
    true_source: np.ndarray,
    source_pixel_scale: float,
    convergence: np.ndarray,
    true_convergence: np.ndarray,
    pixel_scale: float,
) -> Comparison:
    """A reconstruction against the truth on the same pixels.

    Parameters
    ----------
    source, true_source
        Surface brightness, shape (rows, columns).
    source_pixel_scale
        Side of their pixels [arcsec].
    convergence, true_convergence
        Above zero, shape (y, x).
    pixel_scale
        Side of their pixels [arcsec].

    Raises
    ------
    DataError
        If shapes differ.
    """
    for name, pair in (
        ("source", (source, true_source)),
        ("convergence", (convergence, true_convergence)),
    ):
        if np.shape(pair[0]) != np.shape(pair[1]):
            raise DataError(f"{name} of shapes {np.shape(pair[0])} and {np.shape(pair[1])}")
    found, right = (
        summary_of(each[0], source_pixel_scale, each[1], pixel_scale)
        for each in ((source, convergence), (true_source, true_convergence))
    )
    logs = np.log10(convergence), np.log10(true_convergence)
    y, x = _places(np.shape(convergence), pixel_scale)
    near = np.hypot(y - right.centre[0], x - right.centre[1]) < 1.5 * right.einstein_radius
    return Comparison(
        source_correlation=_correlation(source, true_source),
        convergence_correlation=_correlation(*logs),
        einstein_radius_error=found.einstein_radius - right.einstein_radius,
        slope_error=found.slope - right.slope,
        mass_sheet_factor=mass_sheet_factor(convergence, true_convergence, near.astype(float)),
        flux_ratio=found.source_flux / right.source_flux,
        source_coherence=coherence(source, true_source, source_pixel_scale),
        convergence_coherence=coherence(*logs, pixel_scale, taper=True),
        source_power=power_spectrum(source, source_pixel_scale),
        true_source_power=power_spectrum(true_source, source_pixel_scale),
    )


def _places(shape: tuple[int, ...], pixel_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """y, shape (rows, 1), and x, shape (columns,), of the pixels of a map."""
    y = pixel_scale * (0.5 * (shape[0] - 1) - np.arange(shape[0]))
    x = pixel_scale * (np.arange(shape[1]) - 0.5 * (shape[1] - 1))
    return y[:, None], x


def _rings(
    convergence: np.ndarray, pixel_scale: float, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean radii and mean convergences of rings of a pixel, but for the innermost one."""
    y, x = _places(np.shape(convergence), pixel_scale)
    radius = np.hypot(y - centre[0], x - centre[1])
    ring = np.rint(radius / (_RING * pixel_scale)).astype(int).ravel()
    whole = min(np.min(np.abs(y[[0, -1], 0] - centre[0])), np.min(np.abs(x[[0, -1]] - centre[1])))
    number = np.bincount(ring)
    means = [
        np.bincount(ring, np.ravel(values)) / np.maximum(number, 1)
        for values in (radius, convergence)
    ]
    kept = slice(1, max(2, int(whole / (_RING * pixel_scale))))
    return means[0][kept], means[1][kept]


def _mean_slope(
    convergence: np.ndarray, pixel_scale: float, centre: tuple[float, float], radius: float
) -> float:
    at, kappa = _rings(convergence, pixel_scale, centre)
    used = (at > _SLOPED[0] * radius) & (at < _SLOPED[1] * radius)
    if np.count_nonzero(used) < 2:
        return np.nan
    return float(-np.polyfit(np.log(at[used]), np.log(kappa[used]), 1)[0])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])
