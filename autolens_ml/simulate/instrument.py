"""Instruments: what turns the light of a lens into the image that is observed."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from autolens_ml.exceptions import OptionError

if TYPE_CHECKING:
    import autolens as al

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Instrument:
    """A telescope and camera, with the ranges in which observations differ.

    Every lens of a population draws its PSF width uniformly from ``psf_fwhm`` and its exposure
    time log-uniformly from ``exposure_time``. Where two values are asked for, one stands for both.

    Parameters
    ----------
    name
        What cards and messages call it.
    shape
        Pixels of an image, (y, x), at least 1.
    pixel_scale
        arcsec per pixel, > 0.
    psf_fwhm
        Smallest and largest full width at half maximum of the PSF, in arcsec, > 0.
    exposure_time
        Shortest and longest exposure, in seconds, > 0.
    background_sky_level
        Sky, in electrons per second and pixel, >= 0.
    read_noise
        Total read noise of an exposure, in electrons per pixel, >= 0; sky and read noise are not
        both 0.
    psf_beta
        Index of a Moffat PSF, > 1; ``None`` for a Gaussian.
    psf_shape
        Pixels of the PSF kernel, (y, x), equal and odd; by default four times the largest width.
    over_sample_size
        Sub-pixels per side on which light is evaluated, as in PyAutoLens, at least 1.
    bands
        Names of the bands, for cards.

    Raises
    ------
    OptionError
        When a value is out of its range.
    """

    name: str
    shape: tuple[int, int]
    pixel_scale: float
    psf_fwhm: tuple[float, float]
    exposure_time: tuple[float, float]
    background_sky_level: float
    read_noise: float = 0.0
    psf_beta: float | None = None
    psf_shape: tuple[int, int] | None = None
    over_sample_size: int = 2
    bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("shape", "psf_fwhm", "exposure_time"):
            self._set_pair(name)
        object.__setattr__(self, "bands", tuple(self.bands))
        optional = [value for value in (self.psf_beta,) if value is not None]
        level = (self.background_sky_level, self.read_noise)
        sizes = (*self.shape, self.over_sample_size)
        lengths = (self.pixel_scale, *self.psf_fwhm, *self.exposure_time)
        for value in (*sizes, *lengths, *level, *optional):
            if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value):
                raise self._error(f"{value!r} is no finite number")
        if not all(value > 0 for value in lengths):
            raise self._error("pixel_scale, psf_fwhm and exposure_time must be positive")
        if not all(isinstance(value, Integral) and value > 0 for value in sizes):
            raise self._error("shape and over_sample_size must be whole numbers of at least 1")
        for name in ("psf_fwhm", "exposure_time"):
            low, high = getattr(self, name)
            if low > high:
                raise self._error(f"{name} ({low}, {high}) is reversed")
        if min(level) < 0:
            raise self._error("sky and read noise cannot be negative")
        if max(level) == 0:
            raise self._error("needs sky or read noise")
        if self.psf_beta is not None and self.psf_beta <= 1:
            raise self._error(f"psf_beta {self.psf_beta} must be above 1: the PSF has no end")
        if self.psf_shape is None:
            side = 2 * int(np.ceil(2.0 * self.psf_fwhm[1] / self.pixel_scale)) + 1
            object.__setattr__(self, "psf_shape", (side, side))
        self._set_pair("psf_shape")
        side, other = self.psf_shape
        if not isinstance(side, Integral) or side < 1 or side % 2 == 0 or other != side:
            raise self._error(f"psf_shape {self.psf_shape} must be one odd number of pixels, twice")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Instrument:
        """The instrument that ``as_dict`` described.

        Raises
        ------
        OptionError
            When an entry is missing, unknown or out of its range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(str(name) for name in set(values) - known):
            raise OptionError(
                f"instrument: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            )
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        if missing := [name for name in needed if name not in values]:
            raise OptionError(f"instrument: needs {', '.join(missing)}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def background_noise_from(self, exposure_time: np.ndarray | float) -> np.ndarray | float:
        """RMS of an empty pixel, in electrons per second."""
        variance = self.background_sky_level * exposure_time + self.read_noise**2
        return np.sqrt(variance) / exposure_time

    def psf_kernels_from(self, fwhm: np.ndarray) -> np.ndarray:
        """Normalised PSF kernels, shape (n, y, x), of widths in arcsec, shape (n,)."""
        y, x = ((np.arange(side) - (side - 1) / 2.0) * self.pixel_scale for side in self.psf_shape)
        r_squared = y[:, None] ** 2 + x[None, :] ** 2
        width = np.asarray(fwhm, dtype=float)[:, None, None]
        if self.psf_beta is None:
            kernels = np.exp(-0.5 * r_squared / (width / _FWHM_PER_SIGMA) ** 2)
        else:
            alpha = 0.5 * width / np.sqrt(2.0 ** (1.0 / self.psf_beta) - 1.0)
            kernels = (1.0 + r_squared / alpha**2) ** -self.psf_beta
        return kernels / kernels.sum(axis=(1, 2), keepdims=True)

    def imaging_from(self, data: np.ndarray, noise_map: np.ndarray, psf_fwhm: float) -> al.Imaging:
        """An observation as the dataset that PyAutoLens fits.

        Parameters
        ----------
        data, noise_map
            Image and its RMS, shape (y, x).
        psf_fwhm
            Full width at half maximum of its PSF, in arcsec.
        """
        import autolens as al

        def array_from(values: np.ndarray) -> al.Array2D:
            return al.Array2D.no_mask(values, pixel_scales=self.pixel_scale)

        (kernel,) = self.psf_kernels_from(np.array([psf_fwhm]))
        return al.Imaging(
            data=array_from(data),
            noise_map=array_from(noise_map),
            psf=al.Convolver(kernel=array_from(kernel), normalize=True),
            over_sample_size_lp=self.over_sample_size,
        )

    def _set_pair(self, name: str) -> None:
        value = getattr(self, name)
        is_pair = isinstance(value, (tuple, list, np.ndarray))
        pair = tuple(value) if is_pair else (value, value)
        if len(pair) != 2:
            raise self._error(f"{name} needs two values, not {value}")
        object.__setattr__(self, name, pair)

    def _error(self, message: str) -> OptionError:
        return OptionError(f"instrument {self.name!r}: {message}")


# Depths are those of one visit of the surveys' wide fields, or of a typical snapshot: the ranges
# around them are what networks are trained to expect.
INSTRUMENTS: dict[str, Instrument] = {
    instrument.name: instrument
    for instrument in (
        Instrument(
            name="euclid-vis",
            shape=(64, 64),
            pixel_scale=0.1,
            psf_fwhm=(0.14, 0.26),
            exposure_time=(1000.0, 4000.0),
            background_sky_level=0.22,
            read_noise=9.0,
            bands=("VIS",),
        ),
        Instrument(
            name="euclid-nisp",
            shape=(24, 24),
            pixel_scale=0.3,
            psf_fwhm=(0.40, 0.65),
            exposure_time=(200.0, 800.0),
            background_sky_level=1.4,
            read_noise=12.0,
            over_sample_size=4,
            bands=("Y", "J", "H"),
        ),
        Instrument(
            name="hst-acs",
            shape=(96, 96),
            pixel_scale=0.05,
            psf_fwhm=(0.08, 0.13),
            exposure_time=(500.0, 4000.0),
            background_sky_level=0.10,
            read_noise=8.0,
            bands=("F814W",),
        ),
        Instrument(
            name="hst-wfc3",
            shape=(80, 80),
            pixel_scale=0.08,
            psf_fwhm=(0.14, 0.22),
            exposure_time=(500.0, 4000.0),
            background_sky_level=0.30,
            read_noise=20.0,
            bands=("F160W",),
        ),
        Instrument(
            name="lsst",
            shape=(48, 48),
            pixel_scale=0.2,
            psf_fwhm=(0.55, 0.95),
            exposure_time=(1000.0, 6000.0),
            background_sky_level=40.0,
            read_noise=60.0,
            psf_beta=3.0,
            over_sample_size=4,
            bands=("r",),
        ),
        Instrument(
            name="ensai",
            shape=(192, 192),
            pixel_scale=0.04,
            psf_fwhm=(0.05, 0.19),
            exposure_time=(500.0, 4000.0),
            background_sky_level=0.06,
            read_noise=8.0,
            bands=("F814W",),
        ),
    )
}


def instrument_from(value: str | Instrument | dict[str, Any]) -> Instrument:
    """A shipped instrument by name, one described by a dictionary, or the one given.

    Raises
    ------
    OptionError
        When no shipped instrument has that name, or the dictionary describes none.
    """
    if isinstance(value, Instrument):
        return value
    if isinstance(value, dict):
        return Instrument.from_dict(value)
    if not isinstance(value, str) or value not in INSTRUMENTS:
        raise OptionError(f"no instrument {value!r}: choose one of {', '.join(INSTRUMENTS)}")
    return INSTRUMENTS[value]
