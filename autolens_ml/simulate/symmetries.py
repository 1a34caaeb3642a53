"""Flips and quarter turns of an image, exact, with their action on every parameter.

A reflection or rotation of the sky takes polar angles phi to s phi + alpha. A pair
(sin m phi, cos m phi), as ellipticity (m = 2), shear (m = 2), multipole (m) and position (m = 1,
times a radius) are, transforms linearly; angles are shifted; everything else stays. A parameter
that is fixed has to stay as well, or the flip or turn leads out of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

import autolens as al
import numpy as np
from autogalaxy.profiles.geometry_profiles import GeometryProfile

from autolens_ml.latent import indexed_paths
from autolens_ml.profiles.light import PixelLight
from autolens_ml.profiles.mass import PixelConvergence
from autolens_ml.simulate.forward import instance_at, profiles_of

# Tuples (sine-like, cosine-like) by name, with the m of their angle; None: the profile has it.
_TUPLES = {"centre": 1, "ell_comps": 2, "multipole_comps": None}
# Pairs of separate parameters (sine-like, cosine-like), with the m of their angle.
_PAIRS = {("gamma_2", "gamma_1"): 2, ("tau_2", "tau_1"): 1, ("delta_2", "delta_1"): 3}
# Multipoles (cosine-like, sine-like) in the frame of an ellipse. Its axis has no direction, so odd
# ones change their sign in places that no linear map knows.
_EVEN, _ODD = ("multipole_4_comps", 4), "multipole_3_comps"
# Angles [deg] with their periods; of a picture, which has a direction where others have an axis.
_PERIODS = {"position_angle": 180.0, "angle_pos": 180.0, "angle_binary": 360.0}
_PICTURE_PERIOD = 360.0
# Mass that is a map cannot be turned.
_MAPS = (al.mp.InputDeflections, al.mp.InputPotential, al.mp.GaussianRandomField, PixelConvergence)


@dataclass(frozen=True)
class Symmetry:
    """One flip and/or quarter turn.

    Attributes
    ----------
    flip : bool
        Whether y is mirrored first.
    turns : int
        Counter-clockwise quarter turns after that, 0 to 3.
    matrix, offset : ndarray
        Parameters become ``matrix @ parameters + offset``, shapes (d, d) and (d,).
    periods : ndarray
        Period of each parameter, ``inf`` where it has none, shape (d,).
    """

    flip: bool
    turns: int
    matrix: np.ndarray
    offset: np.ndarray
    periods: np.ndarray

    def image_from(self, image: np.ndarray) -> np.ndarray:
        """The transformed image; rows and columns are the last two axes, row 0 is the top."""
        flipped = np.flip(image, axis=-2) if self.flip else image
        return np.rot90(flipped, self.turns, axes=(-2, -1))

    def parameters_from(self, parameters: np.ndarray) -> np.ndarray:
        """The parameters of the transformed lens, shape (..., d)."""
        moved = parameters @ self.matrix.T + self.offset
        return np.where(np.isfinite(self.periods), np.mod(moved, self.periods), moved)


def symmetries_of(model: Any) -> list[Symmetry]:
    """Those of the eight symmetries of a square that lead from lenses of a model to others.

    The identity comes first; it is alone where something that is fixed, such as the position of a
    neighbour, singles out a direction, or where a parameter's action is not known.

    A ``PixelLight`` keeps its map under turns; under a flip its map is mirrored as well.

    Raises
    ------
    ModelError
        When the model has no instance at the middle of its priors.
    """
    directions = _Directions(model)
    found = [directions.symmetry(flip, turns) for flip in (False, True) for turns in range(4)]
    return [symmetry for symmetry in found if symmetry is not None]


class _Directions:
    """What of a model has a direction on the sky.

    A quantity, free or fixed, is an affine form of the d free parameters: an array of their
    coefficients and, in the end, a constant.

    Attributes
    ----------
    pairs : list
        Quantities (sine-like, cosine-like) and the m of their angle.
    angles : list
        Quantities [deg] and their periods.
    others : list
        Quantities that stay as they are.
    is_free : bool
        Whether any flip or turn can be a symmetry.
    """

    def __init__(self, model: Any) -> None:
        self.dim = model.prior_count
        self.pairs: list[tuple[np.ndarray, np.ndarray, int]] = []
        self.angles: list[tuple[np.ndarray, float]] = []
        self.others: list[np.ndarray] = []
        self.is_free = True
        self._columns = dict(indexed_paths(model))
        self._taken: set[tuple[str, ...]] = set()
        # What differs between two instances without being a parameter is computed from others.
        first, second = (
            profiles_of(instance_at(model, unit), (GeometryProfile, al.ps.Point))
            for unit in (0.37, 0.61)
        )
        for (path, profile), (_, other) in zip(first, second, strict=True):
            self._take(tuple(str(part) for part in path), profile, other)
        self.others += [
            np.eye(self.dim + 1)[column]
            for path, column in self._columns.items()
            if path not in self._taken
        ]

    def _take(self, path: tuple[str, ...], *profiles: Any) -> None:
        profile = profiles[0]
        names = signature(type(profile).__init__).parameters

        def quantity(name: str, i: int | None = None) -> np.ndarray:
            full = (*path, name) if i is None else (*path, name, f"{name}_{i}")
            if full in self._columns:
                self._taken.add(full)
                return np.eye(self.dim + 1)[self._columns[full]]
            values = [getattr(p, name) if i is None else getattr(p, name)[i] for p in profiles]
            self.is_free &= values[0] == values[1]
            return np.append(np.zeros(self.dim), values[0])

        for name, m in _TUPLES.items():
            if name in names:
                self.pairs.append((quantity(name, 0), quantity(name, 1), m or int(profile.m)))
        for (sine, cosine), m in _PAIRS.items():
            if sine in names:
                self.pairs.append((quantity(sine), quantity(cosine), m))
        for name, period in _PERIODS.items():
            if name in names:
                is_picture = isinstance(profile, PixelLight)
                self.angles.append((quantity(name), _PICTURE_PERIOD if is_picture else period))
        if _EVEN[0] in names:
            self.pairs.append((quantity(_EVEN[0], 1), quantity(_EVEN[0], 0), _EVEN[1]))
            odd = [quantity(_ODD, i) for i in (0, 1)]
            self.others += odd
            self.is_free &= not np.any(odd)
        self.is_free &= not isinstance(profile, _MAPS)

    def symmetry(self, flip: bool, turns: int) -> Symmetry | None:
        """The flip and turns as they act on the free parameters; None if they lead elsewhere."""
        if (flip or turns) and not self.is_free:
            return None
        sign, alpha = (-1.0 if flip else 1.0), turns * np.pi / 2.0
        moves = [(quantity, quantity, np.inf) for quantity in self.others]
        for sine, cosine, m in self.pairs:
            # Quarter turns have exact sines and cosines: no rounding may leak into a parameter.
            c, s = np.round(np.cos(m * alpha)), np.round(np.sin(m * alpha))
            moves.append((sine, sign * c * sine + s * cosine, np.inf))
            moves.append((cosine, c * cosine - sign * s * sine, np.inf))
        shift = np.append(np.zeros(self.dim), np.degrees(alpha))
        moves += [(angle, sign * angle + shift, period) for angle, period in self.angles]
        forms: dict[int, np.ndarray] = {}
        periods = np.zeros(self.dim)
        for before, after, period in moves:
            if before[:-1].any():
                column = int(np.argmax(before[:-1]))
                periods[column] = max(periods[column], period)
                if not np.array_equal(forms.setdefault(column, after), after):
                    return None
            elif after[:-1].any() or np.remainder(after[-1] - before[-1], period):
                return None
        rows = np.array([forms[column] for column in range(self.dim)])
        return Symmetry(flip, turns, rows[:, :-1], rows[:, -1], periods)
