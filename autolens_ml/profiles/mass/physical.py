"""From masses and lengths to the angles of a mass profile, by angular-diameter distances."""

from typing import Any

import astropy.units as u
import numpy as np
from autogalaxy import exc
from autogalaxy.cosmology.model import LensingCosmology, Planck15

__all__ = ["arcsec_from", "einstein_radius_from", "in_unit"]


def in_unit(value: Any, unit: str, name: str, negative: bool = False) -> float:
    """Return `value` as a plain float in `unit`.

    Parameters
    ----------
    value
        A float already in `unit`, or an astropy quantity that converts to it.
    unit
        The astropy name of the unit.
    name
        What the value is called in the error message.
    negative
        Whether a value below zero is allowed.

    Raises
    ------
    ModelParameterException
        If the value is not finite, is negative where it must not be, or has the wrong dimensions.
    """
    try:
        number = float(u.Quantity(value, unit).value)
    except (TypeError, u.UnitConversionError) as error:
        raise exc.ModelParameterException(
            f"{name} must be a number in {unit} or a quantity that converts to it; got {value!r}"
        ) from error
    if not np.isfinite(number) or (number < 0.0 and not negative):
        rule = "finite" if negative else "finite and not negative"
        raise exc.ModelParameterException(f"{name} must be {rule}; got {value!r}")
    return number


def einstein_radius_from(
    mass: Any,
    redshift_lens: float,
    redshift_source: float,
    cosmology: LensingCosmology | None = None,
) -> float:
    r"""Einstein radius of a point of this mass, with the sign of the mass [arcsec].

    :math:`\theta_E^2 = \frac{4GM}{c^2}\frac{D_{ls}}{D_l D_s} = M / (\pi\Sigma_{\rm cr})`.

    Parameters
    ----------
    mass
        A float in solar masses, or an astropy quantity. A negative mass is a deficit.
    redshift_lens, redshift_source
        Redshifts with ``0 < redshift_lens < redshift_source``.
    cosmology
        A PyAutoLens cosmology; `al.cosmo.Planck15()` by default, as in `al.Tracer`.

    Raises
    ------
    ModelParameterException
        If the mass is not a finite mass, or the redshifts are not in this order.
    """
    solar_masses = in_unit(mass, "Msun", "mass", negative=True)
    _check_redshifts(redshift_lens, redshift_source)
    critical = (cosmology or Planck15()).critical_surface_density_between_redshifts_from(
        redshift_0=redshift_lens, redshift_1=redshift_source
    )
    return float(np.sign(solar_masses) * np.sqrt(abs(solar_masses) / (np.pi * critical)))


def arcsec_from(
    length: Any, redshift: float, name: str, cosmology: LensingCosmology | None = None
) -> float:
    """Angle of a proper transverse length (a float in kpc, or an astropy quantity) [arcsec].

    Raises
    ------
    ModelParameterException
        If the length is negative, not finite, or not a length, or the redshift is not above 0.
    """
    kpc = in_unit(length, "kpc", name)
    if not 0.0 < redshift < np.inf:
        raise exc.ModelParameterException(f"the lens redshift must be above 0; got {redshift!r}")
    return float(kpc / (cosmology or Planck15()).kpc_per_arcsec_from(redshift=redshift))


def _check_redshifts(redshift_lens: float, redshift_source: float) -> None:
    if not 0.0 < redshift_lens < redshift_source < np.inf:
        raise exc.ModelParameterException(
            "the redshifts must satisfy 0 < redshift_lens < redshift_source; got "
            f"redshift_lens={redshift_lens!r}, redshift_source={redshift_source!r}"
        )
