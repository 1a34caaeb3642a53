"""Settings of simulated sets: those of the published ones, put right, and one of real sources.

The published sets ``Model_I`` to ``Model_IV`` are those of DeepLenseSim, the code around Alexander
et al. (2020, ApJ 893, 15). What is kept of them is the halo of 1e12 solar masses at a redshift of
0.5, the source at 1.0, sizes, fluxes and depths, and the share of the halo's mass that is in
subhaloes (3.8 %). Vortices have the masses (3 to 5.5 % of the halo's), the lengths (0.5" to 2") and
the places of the paper; those of the code all have 3 %, go through the middle, and may be as short
as 0.06", where nothing but the mass in the middle could tell. What else differs:

- Einstein radii are of angular-diameter distances; theirs, of luminosity distances, are 1.30 times
  too small.
- Subhaloes are as many as a Poisson process gives and have the mass function m^-1.9 that they
  state; theirs are always 25, of m^-0.9. To hold the same mass there are more of them here, and
  those below 1e8 solar masses, which lens too little to be seen, are left out.
- The halo loses the mass that is in substructure; theirs gains it, and its ring gives it away.
- Noise is that of an observation, once. Their code adds photon noise twice (I) or not at all
  (II, III).
- Vortices are closed forms; theirs are rows of 100 points.
- Mass, ellipticity, shear and source differ a little from lens to lens around their values, and in
  the setting of real sources more; theirs are all alike but for the source's position.
- Images of I have 64 pixels of 0.1" and not 150 of 0.05", of the same depth; sources of II to IV
  have 22 mag and not 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.mass.physical import einstein_radius_from
from autolens_ml.simulate.instrument import Instrument

__all__ = [
    "REDSHIFTS",
    "SETTINGS",
    "Setting",
    "einstein_radii_from",
    "masses_from",
    "setting_from",
]

# Of halo and source.
REDSHIFTS = (0.5, 1.0)
_VECTORS = ("ell_comps", "shear", "source_ell_comps")


@dataclass(frozen=True)
class Setting:
    """What lenses of a set are like. Pairs are the ends of a range.

    Attributes
    ----------
    name : str
        Of the setting.
    instrument : Instrument
        What observes; exposure times and PSF widths differ from lens to lens.
    halo_mass : float
        Solar masses in the Einstein radius, typically;
    halo_scatter : float
        its scatter from lens to lens in dex.
    ell_comps, shear : tuple
        Means of ``ell_comps`` and of (gamma_1, gamma_2) of the lens,
    ell_comps_scatter, shear_scatter : float
        and standard deviations of each component.
    vortex_share : tuple
        Mass of a vortex over that of the halo, uniform in its logarithm.
    half_length : tuple
        Half the length of a vortex [arcsec], uniform in its logarithm.
    core_radius : float
        Of vortices [arcsec].
    vortex_offset : float
        Standard deviation of each coordinate of its middle [arcsec].
    subhalo_share : tuple
        Expected mass of all subhaloes over that of the halo, uniform in its logarithm.
    subhalo_mass : tuple
        Least and largest mass of a subhalo [solar masses],
    slope : float
        and the power of its mass that their number goes with.
    subhalo_radius : tuple
        Distance of subhaloes from the middle [arcsec], uniform.
    source_offset : float
        The source is within this of the middle in y and in x [arcsec].
    source_flux : tuple
        Electrons per second without lensing, uniform in its logarithm.
    source_radius, source_index : tuple
        Effective radius [arcsec] and Sersic index, uniform.
    source_ell_comps : tuple
        Mean ``ell_comps`` of the source,
    source_ell_comps_scatter : float
        and standard deviation of each component.
    stamps : str or None
        Library of pictures that sources are instead of Sersic profiles, see
        :func:`~autolens_ml.simulate.sources.library_from`.

    Raises
    ------
    OptionError
        When a value is out of its range.
    """

    name: str
    instrument: Instrument
    halo_mass: float = 1e12
    halo_scatter: float = 0.01
    ell_comps: tuple[float, float] = (0.0, 0.1)
    ell_comps_scatter: float = 0.02
    shear: tuple[float, float] = (0.05, 0.0)
    shear_scatter: float = 0.01
    vortex_share: tuple[float, float] = (0.03, 0.055)
    half_length: tuple[float, float] = (0.25, 1.0)
    core_radius: float = 0.05
    vortex_offset: float = 0.5
    subhalo_share: tuple[float, float] = (0.038, 0.038)
    subhalo_mass: tuple[float, float] = (1e8, 1e10)
    slope: float = -1.9
    subhalo_radius: tuple[float, float] = (0.25, 2.5)
    source_offset: float = 0.35
    source_flux: tuple[float, float] = (15.0, 15.0)
    source_radius: tuple[float, float] = (0.24, 0.26)
    source_index: tuple[float, float] = (0.95, 1.05)
    source_ell_comps: tuple[float, float] = (0.1, -0.1)
    source_ell_comps_scatter: float = 0.02
    stamps: str | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(entry.default, tuple):
                pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
                if len(pair) != 2 or not all(_is_number(x) for x in pair):
                    raise self._error(f"{entry.name} must be two numbers, not {value!r}")
                if entry.name in _VECTORS:
                    if np.hypot(*pair) >= 0.6:
                        raise self._error(f"{entry.name} {pair} must be below 0.6 in size")
                elif not 0.0 < pair[0] <= pair[1]:
                    raise self._error(f"{entry.name} must be above 0 and ascend, not {pair}")
                object.__setattr__(self, entry.name, pair)
            elif entry.name == "slope":
                if not _is_number(value):
                    raise self._error(f"slope must be a number, not {value!r}")
            elif isinstance(entry.default, float) and not (_is_number(value) and value >= 0.0):
                raise self._error(f"{entry.name} must be a number from 0, not {value!r}")
        if self.halo_mass == 0.0:
            raise self._error("halo_mass must be above 0")
        if max(self.vortex_share[1], self.subhalo_share[1]) >= 1.0:
            raise self._error("shares of the halo's mass must be below 1")

    @property
    def mean_subhalo_mass(self) -> float:
        """Of the mass function [solar masses]."""
        low, high = self.subhalo_mass
        return _integral(low, high, self.slope + 1.0) / _integral(low, high, self.slope)

    @property
    def largest_number(self) -> float:
        """Expected number of subhaloes where they hold most mass."""
        return self.subhalo_share[1] * self.halo_mass / self.mean_subhalo_mass

    def subhalo_masses_from(self, u: np.ndarray) -> np.ndarray:
        """Masses [solar masses] at quantiles of the mass function, of their shape."""
        low, high = self.subhalo_mass
        power = self.slope + 1.0
        if abs(power) < 1e-9:
            return low * (high / low) ** u
        return (low**power + u * (high**power - low**power)) ** (1.0 / power)

    def changed(self, **values: Any) -> Setting:
        """The setting with other values.

        Raises
        ------
        OptionError
            When there is no such entry, or a value is out of its range.
        """
        known = {entry.name for entry in fields(self)} - {"name"}
        if unknown := sorted(str(name) for name in values if name not in known):
            raise self._error(f"no {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        if isinstance(values.get("instrument"), Mapping):
            options = {**self.instrument.as_dict(), **values["instrument"]}
            values = {**values, "instrument": Instrument.from_dict(options)}
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `setting_from` takes them."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**values, "instrument": self.instrument.as_dict()}

    def _error(self, message: str) -> OptionError:
        return OptionError(f"setting {self.name!r}: {message}")


def einstein_radii_from(masses: np.ndarray) -> np.ndarray:
    """Einstein radii [arcsec] of masses in the lens plane [solar masses], of their shape."""
    return einstein_radius_from(1.0, *REDSHIFTS) * np.sqrt(masses)


def masses_from(einstein_radii: np.ndarray) -> np.ndarray:
    """Masses [solar masses] of Einstein radii [arcsec], of their shape."""
    return (np.asarray(einstein_radii) / einstein_radius_from(1.0, *REDSHIFTS)) ** 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


# Of a source of 22 mag; zero points of 25.72 and 25.96 mag.
_EUCLID, _HST = 30.8, 38.4
SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name="model-i",
            # The noise of an empty pixel is 0.02 at 1800 s, twice that of a pixel of 0.05".
            instrument=Instrument(
                name="model-i",
                shape=(64, 64),
                pixel_scale=0.1,
                psf_fwhm=0.087,
                exposure_time=(10.0**3.0, 10.0**3.5),
                background_sky_level=0.72,
                psf_shape=(5, 5),
            ),
        ),
        Setting(
            name="model-ii",
            instrument=Instrument(
                name="model-ii",
                shape=(64, 64),
                pixel_scale=0.1,
                psf_fwhm=0.16,
                exposure_time=4 * 566.0,
                background_sky_level=0.233,
                read_noise=8.4,
                bands=("VIS",),
            ),
            source_flux=(_EUCLID, _EUCLID),
        ),
        Setting(
            name="model-iii",
            instrument=Instrument(
                name="model-iii",
                shape=(64, 64),
                pixel_scale=0.08,
                psf_fwhm=0.08,
                exposure_time=5400.0,
                background_sky_level=0.186,
                read_noise=8.0,
                psf_shape=(5, 5),
            ),
            source_flux=(_HST, _HST),
        ),
        Setting(
            name="real-sources",
            instrument=Instrument(
                name="real-sources",
                shape=(64, 64),
                pixel_scale=0.1,
                psf_fwhm=(0.15, 0.18),
                exposure_time=4 * 566.0,
                background_sky_level=0.233,
                read_noise=8.4,
                bands=("VIS",),
            ),
            source_flux=(_EUCLID, _EUCLID),
            halo_scatter=0.02,
            ell_comps_scatter=0.04,
            shear_scatter=0.02,
            source_radius=(0.2, 0.5),
            stamps="hubble-deep-field",
        ),
    )
}


def setting_from(values: str | Mapping[str, Any]) -> Setting:
    """A setting by name; or by a mapping, with ``name`` that of a setting and what differs from it.

    Raises
    ------
    OptionError
        When there is none, or a value is out of its range.
    """
    options = {"name": values} if isinstance(values, str) else dict(values)
    name = options.pop("name", None)
    if name not in SETTINGS:
        raise OptionError(f"no setting {name!r}: choose one of {', '.join(SETTINGS)}")
    return SETTINGS[name].changed(**options)


def _integral(low: float, high: float, power: float) -> float:
    """Of m^power."""
    if abs(power + 1.0) < 1e-9:
        return float(np.log(high / low))
    return (high ** (power + 1.0) - low ** (power + 1.0)) / (power + 1.0)
