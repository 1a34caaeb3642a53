r"""A lattice of parallel vortices of a rotating condensate halo.

A condensate of particles of mass :math:`m` can rotate only by quantised vortices of circulation
:math:`\oint v\,dl = h/m`. Rotating at :math:`\Omega`, it holds :math:`n_v = m\Omega/(\pi\hbar)` of
them per area (Feynman 1955) on a triangular lattice parallel to the spin, so :math:`N = m\Omega
R^2/\hbar` within the radius R.

The lattice is a toy for testing what lensing could see. Vortices are favoured in strongly
self-interacting condensates, not in fuzzy dark matter, and there they are expected to be far
thinner and lighter than the kiloparsec strings with per cents of the halo's mass that make a
visible difference here.
"""

from typing import Any

import astropy.constants as const
import astropy.units as u
import autofit as af
import numpy as np
from autogalaxy import exc
from autogalaxy.cosmology.model import LensingCosmology

from autolens_ml.profiles.mass import physical
from autolens_ml.profiles.mass.vortex import VortexLine

__all__ = ["triangular_lattice", "vortex_lattice", "vortex_number"]


def vortex_number(
    halo_mass: Any, halo_radius_kpc: Any, particle_mass_ev: Any, rotation: float
) -> float:
    r"""Feynman's number of vortices :math:`N = m\Omega R^2/\hbar` of a rotating condensate halo.

    Parameters
    ----------
    halo_mass
        Mass inside `halo_radius_kpc`: a float in solar masses, or an astropy quantity.
    halo_radius_kpc
        Radius of the halo: a float in kpc, or an astropy quantity.
    particle_mass_ev
        Mass of the particle: a float in eV, or an astropy quantity in eV.
    rotation
        :math:`\Omega` as a fraction of break-up, :math:`\sqrt{GM/R^3}`; above 0, at most 1.

    Returns
    -------
    The number, not rounded; below 1 the halo rotates too slowly for any vortex.

    Raises
    ------
    ModelParameterException
        If a value is negative, not finite, of the wrong dimension, or `rotation` is not in (0, 1].
    """
    speed = _rotation_speed(halo_mass, halo_radius_kpc, rotation)
    radius = physical.in_unit(halo_radius_kpc, "kpc", "halo_radius_kpc") * u.kpc
    return float((_particle_mass(particle_mass_ev) * speed * radius / const.hbar).to(""))


def triangular_lattice(number: int, radius: float) -> np.ndarray:
    r"""The sites nearest the origin of a triangular lattice of density number / (pi radius^2).

    Returns
    -------
    Coordinates of shape (number, 2), one of them the origin, in the unit of `radius`. The
    outermost may lie slightly beyond `radius`.
    """
    spacing = radius * np.sqrt(2.0 * np.pi / (np.sqrt(3.0) * number))
    reach = int(np.ceil(2.0 * np.sqrt(number))) + 1
    i, j = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1), indexing="ij")
    # By the exact integer norm, then by index: sites at equal distance come in a fixed order.
    norm = (i * i + i * j + j * j).ravel()
    order = np.lexsort((j.ravel(), i.ravel(), norm))[:number]
    i, j = i.ravel()[order], j.ravel()[order]
    return spacing * np.stack((i + 0.5 * j, 0.5 * np.sqrt(3.0) * j), axis=-1)


def vortex_lattice(
    halo_mass: Any,
    halo_radius_kpc: Any,
    particle_mass_ev: Any,
    redshift_lens: float,
    redshift_source: float,
    rotation: float = 1.0,
    mass_fraction: float = 0.03,
    length_kpc: Any = None,
    core_kpc: Any = None,
    cosmology: LensingCosmology | None = None,
    centre: tuple[float, float] = (0.0, 0.0),
    position_angle: float = 0.0,
    inclination: float = 90.0,
    max_vortices: int = 500,
    as_model: bool = False,
) -> dict[str, VortexLine] | dict[str, af.Model]:
    r"""The vortices of a rotating condensate halo, ready to be given to a galaxy.

    ::

        lattice = aml.vortex_lattice(1e12, 100.0, 1e-24, redshift_lens=0.5, redshift_source=1.0)
        lens = al.Galaxy(redshift=0.5, mass=al.mp.Isothermal(...), **lattice)

        shared = aml.vortex_lattice(1e12, 100.0, 1e-24, 0.5, 1.0, as_model=True)
        lens = af.Model(al.Galaxy, redshift=0.5, mass=al.mp.Isothermal, **shared)

    All vortices are equal and parallel to the spin of the halo, which is taken as a cylinder around
    it.

    Parameters
    ----------
    halo_mass, halo_radius_kpc, particle_mass_ev, rotation
        They give the number of vortices; see `vortex_number`.
    redshift_lens, redshift_source
        Redshifts of the halo and of the source.
    mass_fraction
        Mass of all vortices together over `halo_mass`; negative for deficits. See the caution in
        the module.
    length_kpc
        Length of every vortex: a float in kpc, or a quantity. By default the diameter of the halo.
    core_kpc
        Softening length: a float in kpc, or a quantity. By default the de Broglie wavelength
        :math:`h/(mv)` at :math:`v = \Omega R`, but at most a quarter of the spacing.
    cosmology
        A PyAutoLens cosmology; `al.cosmo.Planck15()` by default.
    centre
        The (y,x) centre of the halo [arcsec].
    position_angle
        Direction of the spin on the sky, counter-clockwise from the positive x-axis [deg].
    inclination
        Angle between the spin and the line of sight [deg]: at 90 the strings lie in the plane of
        the sky, at 0 they are seen end-on.
    max_vortices
        Upper limit on the number, which grows as mass times radius of the halo.
    as_model
        If true, the entries are `af.Model` whose `einstein_radius`, `half_length` and `core_radius`
        are three priors shared by all, and whose centres and position angle are fixed at the
        lattice's. The priors are log-uniform over a factor 10 either side of the physical value.

    Returns
    -------
    ``{"vortex_0": ..., "vortex_1": ..., ...}`` of `VortexLine`, or of `af.Model` if `as_model`.

    Raises
    ------
    ModelParameterException
        If there would be no vortex or more than `max_vortices`, if `as_model` is asked for a mass
        that is not positive or strings seen end-on (no logarithmic prior holds them), or for the
        reasons of `vortex_number` and `VortexLine.from_physical`.
    """
    expected = vortex_number(halo_mass, halo_radius_kpc, particle_mass_ev, rotation)
    number = int(expected)
    if not 1 <= number <= max_vortices:
        raise exc.ModelParameterException(
            f"this halo would hold {expected:.3g} vortices, outside 1 to {max_vortices}. It is "
            "m Omega R^2 / hbar: change particle_mass_ev, rotation or the halo, or max_vortices"
        )
    radius = physical.in_unit(halo_radius_kpc, "kpc", "halo_radius_kpc")
    if core_kpc is None:
        speed = _rotation_speed(halo_mass, halo_radius_kpc, rotation)
        wavelength = (const.h / (_particle_mass(particle_mass_ev) * speed)).to_value(u.kpc)
        core_kpc = min(wavelength, 0.25 * radius / np.sqrt(number))
    solar_masses = physical.in_unit(halo_mass, "Msun", "halo_mass")
    typical = VortexLine.from_physical(
        mass=mass_fraction * solar_masses / number,
        length_kpc=2.0 * radius if length_kpc is None else length_kpc,
        core_kpc=core_kpc,
        redshift_lens=redshift_lens,
        redshift_source=redshift_source,
        cosmology=cosmology,
        position_angle=position_angle,
        inclination=inclination,
    )
    centres = _projected_centres(
        triangular_lattice(
            number, physical.arcsec_from(radius, redshift_lens, "halo_radius_kpc", cosmology)
        ),
        centre,
        position_angle,
        inclination,
    )
    shape: dict[str, Any] = {
        name: getattr(typical, name) for name in ("half_length", "core_radius", "einstein_radius")
    }
    if not as_model:
        return {
            f"vortex_{k}": VortexLine(centre=c, position_angle=position_angle, **shape)
            for k, c in enumerate(centres)
        }
    # sin(180 deg) is 1e-16 and not 0: a length of rounding error is end-on too.
    if min(shape.values()) <= 1e-8:
        raise exc.ModelParameterException(
            "as_model centres its priors on the mass, length and core on the sky, which must be "
            f"positive; got {shape}"
        )
    priors = {
        name: af.LogUniformPrior(lower_limit=0.1 * value, upper_limit=10.0 * value)
        for name, value in shape.items()
    }
    models = {}
    for k, c in enumerate(centres):
        models[f"vortex_{k}"] = af.Model(VortexLine, position_angle=position_angle, **priors)
        models[f"vortex_{k}"].centre.centre_0, models[f"vortex_{k}"].centre.centre_1 = c
    return models


def _projected_centres(
    sites: np.ndarray, centre: tuple[float, float], position_angle: float, inclination: float
) -> list[tuple[float, float]]:
    """The (y,x) midpoints on the sky [arcsec] of strings through `sites` (N, 2) across the spin."""
    phi, tilt = np.radians(position_angle), np.radians(inclination)
    # One axis of that plane lies in the sky; the other is foreshortened, along the strings.
    across, along = sites[:, 0], sites[:, 1] * np.cos(tilt)
    y = centre[0] + across * np.cos(phi) + along * np.sin(phi)
    x = centre[1] - across * np.sin(phi) + along * np.cos(phi)
    return [(float(a), float(b)) for a, b in zip(y, x, strict=True)]


def _rotation_speed(halo_mass: Any, halo_radius_kpc: Any, rotation: float) -> u.Quantity:
    """Speed Omega R at the edge of the halo."""
    if not 0.0 < rotation <= 1.0:
        raise exc.ModelParameterException(
            "rotation must be in (0, 1]: it is the angular velocity over that of break-up, "
            f"sqrt(G M / R^3); got {rotation!r}"
        )
    mass = physical.in_unit(halo_mass, "Msun", "halo_mass") * u.Msun
    radius = physical.in_unit(halo_radius_kpc, "kpc", "halo_radius_kpc") * u.kpc
    if not (mass.value > 0.0 and radius.value > 0.0):
        raise exc.ModelParameterException(
            "halo_mass and halo_radius_kpc must be above 0; got "
            f"{halo_mass!r} and {halo_radius_kpc!r}"
        )
    return (rotation * np.sqrt(const.G * mass / radius)).to(u.km / u.s)


def _particle_mass(particle_mass_ev: Any) -> u.Quantity:
    energy = physical.in_unit(particle_mass_ev, "eV", "particle_mass_ev") * u.eV
    if energy.value == 0.0:
        raise exc.ModelParameterException("particle_mass_ev must be above 0")
    return (energy / const.c**2).to(u.kg)
