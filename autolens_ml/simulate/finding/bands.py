"""The bands in which systems are simulated: pixels, PSF, depth and zero point of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.instrument import INSTRUMENTS, Instrument

__all__ = ["BANDS", "Band", "bands_from"]


@dataclass(frozen=True)
class Band:
    """One band of a survey.

    Attributes
    ----------
    name : str
        What files and networks call it.
    instrument : Instrument
        Pixels, PSF and noise; its images are 20" wide.
    wavelengths : tuple of float
        Where the band begins and ends, in micrometres.
    zero_point : float
        AB magnitude of one electron per second.
    exposure_time : float
        Seconds of a typical observation: images are stored in units of its noise.
    full_well : float
        Largest count rate of a pixel, in electrons per second.
    """

    name: str
    instrument: Instrument
    wavelengths: tuple[float, float]
    zero_point: float
    exposure_time: float
    full_well: float

    @property
    def unit(self) -> float:
        """RMS of an empty pixel of a typical observation, in electrons per second."""
        return float(self.instrument.background_noise_from(self.exposure_time))

    def flux_from(self, magnitude: np.ndarray | float) -> np.ndarray | float:
        """Flux of an AB magnitude, in units of the noise of an empty pixel."""
        return 10.0 ** (0.4 * (self.zero_point - np.asarray(magnitude))) / self.unit


def _euclid(
    name: str,
    instrument: str,
    shape: int,
    psf_fwhm: tuple[float, float],
    psf_beta: float,
    **values: float | tuple[float, float],
) -> Band:
    stamps = replace(
        INSTRUMENTS[instrument],
        name=f"{instrument}-{name.lower()}" if name != "VIS" else instrument,
        shape=shape,
        psf_fwhm=psf_fwhm,
        psf_beta=psf_beta,
        psf_shape=None,
        bands=(name,),
    )
    return Band(name, stamps, **values)


# Euclid's wide survey: the noise of an empty pixel is 30.6 mag in VIS, as the noise maps of its
# first release (Q1) say, and about 28 mag in NISP, whose pixels are nine times larger. The full
# wells are 190,000 and 130,000 electrons over single exposures of 565 and 87 s.
BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        _euclid(
            "VIS",
            "euclid-vis",
            200,
            (0.15, 0.20),
            2.5,
            wavelengths=(0.55, 0.90),
            zero_point=25.7,
            exposure_time=2260.0,
            full_well=336.0,
        ),
        _euclid(
            "Y",
            "euclid-nisp",
            66,
            (0.40, 0.52),
            3.5,
            wavelengths=(0.95, 1.21),
            zero_point=25.0,
            exposure_time=348.0,
            full_well=1490.0,
        ),
        _euclid(
            "J",
            "euclid-nisp",
            66,
            (0.42, 0.54),
            3.5,
            wavelengths=(1.17, 1.57),
            zero_point=25.2,
            exposure_time=348.0,
            full_well=1490.0,
        ),
        _euclid(
            "H",
            "euclid-nisp",
            66,
            (0.44, 0.56),
            3.5,
            wavelengths=(1.52, 2.02),
            zero_point=25.1,
            exposure_time=348.0,
            full_well=1490.0,
        ),
    )
}


def bands_from(names: Sequence[str]) -> tuple[Band, ...]:
    """Bands by name.

    Raises
    ------
    OptionError
        When there is no band of a name, or no name.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names or any(name not in BANDS for name in names):
        raise OptionError(f"bands {names}: choose from {', '.join(BANDS)}")
    return tuple(BANDS[name] for name in names)
