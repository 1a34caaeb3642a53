"""Parameters of Hezaveh et al. 2017 (arXiv:1708.08842) as those of ``al.mp.Isothermal``, and back.

The lens of Ensai is the singular isothermal ellipsoid of Kormann, Schneider & Bartelmann 1994
(A&A 284, 285), of axis ratio q. Three things differ from PyAutoLens.

- Einstein radius: of the half axes of the contour where the convergence is 1/2, Ensai's is the
  geometric mean and PyAutoLens's the arithmetic one, larger by (1 + q) / (2 sqrt(q)).
- Ellipticity: (e_x, e_y) = (1 - q) (cos t, sin t), with an angle t between 0 and 360 degrees that
  is *not* doubled and, by Kormann's axes, points along the *minor* axis. The ``ell_comps`` of
  PyAutoLens are (1 - q) / (1 + q) (sin 2p, cos 2p), where p = t + 90 degrees is the major axis.
- Order: (x, y) in Ensai, (y, x) in PyAutoLens.

(e_x, e_y) and (-e_x, -e_y) are one and the same lens: their common sign is lost on the way to
``ell_comps``. On the way back e_x is positive (or, if it is zero, e_y), so that components jump
where the minor axis turns through the y axis; train on ``ell_comps``, or with
:func:`autolens_ml.networks.losses.flip_invariant_mse`.

Row 0 of an image is at +y in PyAutoLens and at -y in the files of Ensai: turn those upside down
(``image[::-1]``) before either set of parameters is used with them.
"""

from __future__ import annotations

import numpy as np

from autolens_ml.exceptions import OptionError

__all__ = [
    "ENSAI_PARAMETERS",
    "ISOTHERMAL_PARAMETERS",
    "ensai_from_isothermal",
    "isothermal_from_ensai",
]

# arcsec, but for the ellipticities.
ENSAI_PARAMETERS = ("einstein_radius", "e_x", "e_y", "x", "y")
ISOTHERMAL_PARAMETERS = ("centre_0", "centre_1", "ell_comps_0", "ell_comps_1", "einstein_radius")


def isothermal_from_ensai(parameters: np.ndarray) -> np.ndarray:
    """Parameters of ``al.mp.Isothermal`` that deflect as Ensai's do.

    Parameters
    ----------
    parameters
        In the order of ``ENSAI_PARAMETERS``, shape (..., 5); lengths in arcsec.

    Returns
    -------
    In the order of ``ISOTHERMAL_PARAMETERS``, shape (..., 5).

    Raises
    ------
    OptionError
        If the last axis is not of length five, or an ellipticity is one or larger.
    """
    radius, e_x, e_y, x, y = _columns(parameters, ENSAI_PARAMETERS)
    e = np.hypot(e_x, e_y)
    if np.any(e >= 1.0):
        raise OptionError(f"an ellipticity 1 - q of {np.max(e):.3g}; it must be below 1")
    q = 1.0 - e
    # (1 - q) / (1 + q) times sin 2p = -2 e_x e_y / e^2 and cos 2p = (e_y^2 - e_x^2) / e^2.
    factor = np.divide(1.0, e * (1.0 + q), out=np.zeros_like(e), where=e > 0.0)
    return np.stack(
        (
            y,
            x,
            -2.0 * e_x * e_y * factor,
            (e_y - e_x) * (e_y + e_x) * factor,
            radius * (1.0 + q) / (2.0 * np.sqrt(q)),
        ),
        axis=-1,
    )


def ensai_from_isothermal(parameters: np.ndarray) -> np.ndarray:
    """Parameters of Ensai that deflect as those of ``al.mp.Isothermal`` do.

    Parameters
    ----------
    parameters
        In the order of ``ISOTHERMAL_PARAMETERS``, shape (..., 5); lengths in arcsec.

    Returns
    -------
    In the order of ``ENSAI_PARAMETERS``, shape (..., 5), with e_x >= 0.

    Raises
    ------
    OptionError
        If the last axis is not of length five, or the norm of ``ell_comps`` is one or larger.
    """
    y, x, ell_y, ell_x, radius = _columns(parameters, ISOTHERMAL_PARAMETERS)
    norm = np.hypot(ell_y, ell_x)
    if np.any(norm >= 1.0):
        raise OptionError(f"ell_comps of norm {np.max(norm):.3g}; it must be below 1")
    q = (1.0 - norm) / (1.0 + norm)
    # 0.0 - 0.0 is +0.0, so that an angle of 180 degrees does not come out as -180.
    angle = 0.5 * np.arctan2(0.0 - ell_y, -ell_x)
    return np.stack(
        (
            radius * 2.0 * np.sqrt(q) / (1.0 + q),
            (1.0 - q) * np.cos(angle),
            (1.0 - q) * np.sin(angle),
            x,
            y,
        ),
        axis=-1,
    )


def _columns(parameters: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    parameters = np.asarray(parameters, dtype=float)
    if parameters.ndim == 0 or parameters.shape[-1] != len(names):
        raise OptionError(
            f"parameters of shape {parameters.shape}; the last axis must be {', '.join(names)}"
        )
    return np.moveaxis(parameters, -1, 0)
