"""Convergence maps and their Einstein radii."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import ndimage

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.maps.resampling import resampled

__all__ = ["ConvergenceMaps", "einstein_radii_from"]

# The centre of a lens is the centroid under a Gaussian around itself, of this width [px], in a
# window of as many pixels around the peak.
_APERTURE, _REACH, _ITERATIONS = 1.0, 3, 10
# Circles per pixel of radius, a multiple of 4.
_STEPS = 20


@dataclass(frozen=True, eq=False)
class ConvergenceMaps:
    """Convergences of lenses, in units of the critical surface density.

    Attributes
    ----------
    values : ndarray
        Shape (n, y, x), float32, row 0 at +y. A value is the mean over its pixel.
    pixel_scale : float
        Side of a pixel [arcsec].
    einstein_radius : ndarray
        Radius of the circle around the centre in which the mean convergence is one [arcsec], shape
        (n,); 0 where no circle has as much, NaN where it does not end inside the frame.
    centre : ndarray
        Where the convergence is highest, (y, x) from the middle of the frame [arcsec], shape
        (n, 2).
    """

    values: np.ndarray
    pixel_scale: float
    einstein_radius: np.ndarray
    centre: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, pixel_scale: float) -> Self:
        """Maps with the Einstein radii and the centres that are measured on them.

        Parameters
        ----------
        values
            Shape (n, y, x).
        pixel_scale
            Side of a pixel [arcsec].

        Raises
        ------
        DataError, OptionError
            As :func:`einstein_radii_from`.
        """
        radius, centre = einstein_radii_from(values, pixel_scale)
        return cls(np.asarray(values, dtype=np.float32), pixel_scale, radius, centre)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(
            self.values[rows], self.pixel_scale, self.einstein_radius[rows], self.centre[rows]
        )

    def rescaled(
        self,
        einstein_radius: np.ndarray,
        centre: np.ndarray | None = None,
        shape: tuple[int, int] | None = None,
        pixel_scale: float | None = None,
    ) -> Self:
        """The same lenses with other Einstein radii, stretched on the sky about their centres.

        Convergence has no unit of length: where all lengths are multiplied by one factor, so is the
        Einstein radius, and the lens is as possible as before.

        Parameters
        ----------
        einstein_radius
            The wanted ones [arcsec], shape (n,). Those measured on the result differ by what the
            pixels smooth, a small part of a pixel.
        centre
            Where the lenses come to lie, (y, x) [arcsec], shape (n, 2); the middle by default.
        shape, pixel_scale
            Of the new maps; as they are by default.

        Raises
        ------
        DataError
            If a lens has no Einstein radius, or its map does not cover the new frame: crop, by
            `shape`, or shrink it less.
        OptionError
            If the wanted radii are not n finite numbers above zero.
        """
        wanted = np.asarray(einstein_radius, dtype=float)
        if wanted.shape != (len(self),) or not np.all((wanted > 0.0) & np.isfinite(wanted)):
            raise OptionError(
                f"einstein_radius must be {len(self)} finite numbers above 0, one for each map"
            )
        if not np.all(self.einstein_radius > 0.0):
            number = np.count_nonzero(~(self.einstein_radius > 0.0))
            raise DataError(f"{number} maps have no Einstein radius in their frame; take them out")
        shape = self.values.shape[1:] if shape is None else tuple(shape)
        pixel_scale = self.pixel_scale if pixel_scale is None else pixel_scale
        offset = np.zeros((len(self), 2)) if centre is None else np.asarray(centre, dtype=float)
        stretch = wanted / self.einstein_radius
        middle = offset - stretch[:, None] * self.centre
        # Beyond the centres of the outermost pixels there is nothing to interpolate.
        covered = 0.5 * (np.array(self.values.shape[1:]) - 1.0) * self.pixel_scale
        needed = 0.5 * np.array(shape) * pixel_scale
        missing = np.any(np.abs(middle) + needed > stretch[:, None] * covered + 1e-9, axis=1)
        if missing.any():
            raise DataError(
                f"{np.count_nonzero(missing)} maps do not cover {shape} pixels of {pixel_scale} "
                "arcsec once their Einstein radii are changed; give a smaller shape or larger radii"
            )
        turn = np.zeros(len(self))
        return type(self).of(
            resampled(self.values, self.pixel_scale, shape, pixel_scale, middle, turn, stretch),
            pixel_scale,
        )


def einstein_radii_from(values: np.ndarray, pixel_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Einstein radii measured on convergence maps.

    The centre is the centroid of the peak, under a Gaussian of one pixel around it. Of several
    circles with a mean convergence of one, the largest counts. Of isothermal spheres in pixels,
    centres come out to a tenth of a pixel, radii to a twentieth.

    Parameters
    ----------
    values
        Shape (n, y, x), row 0 at +y, n may be 0.
    pixel_scale
        Side of a pixel [arcsec].

    Returns
    -------
    radius : ndarray
        Shape (n,) [arcsec]; 0 where no circle has a mean of one, NaN where it is not inside the
        frame.
    centre : ndarray
        (y, x) from the middle of the frame [arcsec], shape (n, 2).

    Raises
    ------
    DataError
        If the array has another shape or values that are not finite.
    OptionError
        If `pixel_scale` is not above zero.
    """
    values = np.asarray(values)
    if values.ndim != 3 or min(values.shape[1:]) < 2 * _REACH + 1:
        raise DataError(
            f"convergence maps of shape {values.shape}; give (n, y, x) of at least "
            f"{2 * _REACH + 1} x {2 * _REACH + 1} pixels"
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"convergence maps have {np.sum(~np.isfinite(values))} NaN or infinite pixels"
        )
    if not 0.0 < pixel_scale < np.inf:
        raise OptionError(f"pixel_scale must be above 0, not {pixel_scale}")
    places = np.array([_centre(each) for each in values]).reshape(-1, 2)
    radii = [_radius(each, place) for each, place in zip(values, places, strict=True)]
    middle = 0.5 * (np.array(values.shape[1:]) - 1.0)
    return np.array(radii) * pixel_scale, (places - middle) * (-pixel_scale, pixel_scale)


def _centre(values: np.ndarray) -> np.ndarray:
    """Row and column of the peak."""
    smooth = ndimage.uniform_filter(values, 3, mode="nearest")
    peak = np.array(np.unravel_index(np.argmax(smooth), values.shape))
    # At the edge of the frame the window moves inside.
    first = np.clip(peak - _REACH, 0, np.array(values.shape) - 2 * _REACH - 1)
    rows, columns = (np.arange(i, i + 2 * _REACH + 1) for i in first)
    window = values[np.ix_(rows, columns)]
    light = window - window.min()
    place = peak.astype(float)
    if not light.any():
        return place
    for _ in range(_ITERATIONS):
        across = np.exp(-0.5 * ((rows - place[0]) / _APERTURE) ** 2)
        along = np.exp(-0.5 * ((columns - place[1]) / _APERTURE) ** 2)
        weights = across[:, None] * light * along
        place = np.array((weights.sum(axis=1) @ rows, weights.sum(axis=0) @ columns))
        place /= weights.sum()
    return place


def _radius(values: np.ndarray, place: np.ndarray) -> float:
    """Radius [px] of the largest circle with a mean of one around a row and column."""
    quarters = values.repeat(2, axis=0).repeat(2, axis=1).ravel()
    rows, columns = (
        0.5 * np.arange(2 * length) - 0.25 - start
        for length, start in zip(values.shape, place, strict=True)
    )
    ring = np.rint(np.hypot(rows[:, None], columns) * _STEPS).astype(int).ravel()
    inside = np.min((place + 0.5, np.array(values.shape) - 0.5 - place))
    # A circle takes a quarter of a pixel in bit by bit, from a quarter of a side before its centre
    # to a quarter behind: circle number i has a radius of i / _STEPS.
    width = _STEPS // 2
    mass, number = (
        np.cumsum(np.convolve(np.bincount(ring, weights), np.full(width, 1.0 / width)))
        for weights in (quarters, None)
    )
    first, last = width // 2, int(inside * _STEPS)
    mass, number = (each[first - 1 : first + last] for each in (mass, number))
    means = np.divide(mass, number, out=np.zeros(last + 1), where=number > 0)
    critical = np.flatnonzero(means >= 1.0)
    if critical.size == 0:
        return 0.0
    i = critical[-1]
    if i == last:
        return np.nan
    return (i + (means[i] - 1.0) / (means[i] - means[i + 1])) / _STEPS
