"""Instruments: what turns the light of a lens into the image that is observed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from autolens_ml.exceptions import OptionError

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Instrument:
    """A telescope and camera, with the ranges in which observations differ.

    Every lens of a population draws its PSF width uniformly from ``psf_fwhm`` and its exposure
    time log-uniformly from ``exposure_time``.

    Parameters
    ----------
    name
        What cards and messages call it.
    shape
        Pixels of an image, (y, x).
    pixel_scale
        arcsec per pixel.
    psf_fwhm
        Smallest and largest full width at half maximum of the PSF, in arcsec.
    exposure_time
        Shortest and longest exposure, in seconds.
    background_sky_level
        Sky, in electrons per second and pixel.
    read_noise
        Total read noise of an exposure, in electrons per pixel.
    psf_beta
        Index of a Moffat PSF; ``None`` for a Gaussian.
    psf_shape
        Pixels of the PSF kernel, (y, x), odd; by default four times the largest width.
    over_sample_size
        Sub-pixels per side on which light is evaluated, as in PyAutoLens.
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
            object.__setattr__(self, name, _pair(self, name))
        object.__setattr__(self, "bands", tuple(self.bands))
        if self.psf_shape is None:
            side = 2 * int(np.ceil(2.0 * self.psf_fwhm[1] / self.pixel_scale)) + 1
            object.__setattr__(self, "psf_shape", (side, side))
        object.__setattr__(self, "psf_shape", _pair(self, "psf_shape"))
        positive = (*self.shape, self.pixel_scale, *self.psf_fwhm, *self.exposure_time)
        if not all(value > 0 for value in (*positive, self.over_sample_size)):
            raise OptionError(
                f"instrument {self.name!r}: shape, pixel_scale, psf_fwhm, exposure_time and "
                "over_sample_size must be positive"
            )
        for name in ("psf_fwhm", "exposure_time"):
            low, high = getattr(self, name)
            if low > high:
                raise OptionError(f"instrument {self.name!r}: {name} ({low}, {high}) is reversed")
        if self.background_sky_level < 0 or self.read_noise < 0:
            raise OptionError(f"instrument {self.name!r}: sky and read noise cannot be negative")
        if self.background_sky_level == 0 and self.read_noise == 0:
            raise OptionError(f"instrument {self.name!r}: needs sky or read noise")
        if any(side % 2 == 0 for side in self.psf_shape):
            raise OptionError(f"instrument {self.name!r}: psf_shape must be odd")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Instrument:
        """The instrument that ``as_dict`` described."""
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise OptionError(
                f"instrument: unknown {', '.join(sorted(unknown))}; known: "
                f"{', '.join(sorted(known))}"
            )
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


def _pair(instrument: Instrument, name: str) -> tuple:
    value = getattr(instrument, name)
    pair = tuple(value) if np.ndim(value) else (value, value)
    if len(pair) != 2:
        raise OptionError(f"instrument {instrument.name!r}: {name} needs two values, not {value}")
    return pair


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
            bands=("J", "Y", "H"),
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
    """A shipped instrument by name, one described by a dictionary, or the one given."""
    if isinstance(value, Instrument):
        return value
    if isinstance(value, dict):
        return Instrument.from_dict(value)
    if value not in INSTRUMENTS:
        raise OptionError(f"no instrument {value!r}: choose one of {', '.join(INSTRUMENTS)}")
    return INSTRUMENTS[value]
