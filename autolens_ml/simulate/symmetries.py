"""Flips and quarter turns of an image, exact, with their action on every parameter.

A reflection or rotation of the sky takes polar angles phi to s phi + alpha. A pair
(sin m phi, cos m phi), as ellipticity (m = 2), shear (m = 2), multipole (m) and position (m = 1,
times a radius) are, transforms linearly; angles are shifted; everything else stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autolens_ml.exceptions import ModelError
from autolens_ml.latent import LatentSpace, indexed_paths

# Pairs (sine-like, cosine-like) by the name of their tuple, with the m of their angle.
_PAIRS = {"centre": 1, "ell_comps": 2, "multipole_comps": None}
# Pairs of separate parameters: ExternalShear has the cosine-like one first.
_SHEAR = {"gamma_1": "gamma_2", "gamma_2": "gamma_1"}
_ANGLES = {"position_angle": 360.0}
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Symmetry:
    """One flip and/or quarter turn.

    Attributes
    ----------
    flip : bool
        Whether y is mirrored first.
    turns : int
        Counter-clockwise quarter turns after that.
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
    """The eight symmetries of a square, as they act on the parameters of a model.

    A ``PixelLight`` keeps its map under turns; under a flip its map is mirrored as well.

    Raises
    ------
    ModelError
        When a pair of parameters is not known, or one of its components is fixed.
    """
    return [_symmetry(model, flip, turns) for flip in (False, True) for turns in range(4)]


def latent_symmetries_of(model: Any, symmetries: list[Symmetry]) -> list[Symmetry]:
    """Those symmetries that also are symmetries of the prior: they act on latents by ``matrix``."""
    space = LatentSpace.from_model(model)
    z = np.random.default_rng(0).standard_normal((16, space.dim))
    physical = space.physical_from(z)
    kept = []
    for symmetry in symmetries:
        if symmetry.offset.any():
            continue
        expected = space.physical_from(z @ symmetry.matrix.T)
        scale = np.maximum(np.abs(physical).max(axis=0), _TOLERANCE)
        moved = symmetry.parameters_from(physical)
        if np.all(np.abs(moved - expected) <= _TOLERANCE * scale):
            kept.append(symmetry)
    return kept


def _symmetry(model: Any, flip: bool, turns: int) -> Symmetry:
    columns = dict(indexed_paths(model))
    dim = model.prior_count
    sign, alpha = (-1.0 if flip else 1.0), turns * np.pi / 2.0
    matrix, offset, periods = np.eye(dim), np.zeros(dim), np.full(dim, np.inf)
    for path, i in columns.items():
        name = path[-1]
        in_tuple = len(path) > 1 and name.startswith(f"{path[-2]}_")
        if in_tuple:
            m = _PAIRS.get(path[-2], 0) or _order(model, path)
            other = _column(columns, (*path[:-1], f"{path[-2]}_{1 - int(name[-1])}"))
            is_sine = name.endswith("_0")
        elif name in _SHEAR:
            m, is_sine = 2, name == "gamma_2"
            other = _column(columns, (*path[:-1], _SHEAR[name]))
        elif name in _ANGLES:
            matrix[i] = 0.0
            matrix[i, i], offset[i], periods[i] = sign, np.degrees(alpha), _ANGLES[name]
            continue
        else:
            continue
        # Quarter turns have exact sines and cosines: no rounding may leak into a parameter.
        cosine, sine = np.round(np.cos(m * alpha)), np.round(np.sin(m * alpha))
        matrix[i] = 0.0
        if is_sine:
            matrix[i, i], matrix[i, other] = sign * cosine, sine
        else:
            matrix[i, i], matrix[i, other] = cosine, -sign * sine
    return Symmetry(flip, turns, matrix, offset, periods)


def _column(columns: dict, path: tuple[str, ...]) -> int:
    if path not in columns:
        raise ModelError(
            f"{'.'.join(path)} is fixed but its partner is free: such a model has no symmetries"
        )
    return columns[path]


def _order(model: Any, path: tuple[str, ...]) -> int:
    component = model.object_for_path(path[:-2])
    if path[-2] not in _PAIRS or not hasattr(component, "m"):
        raise ModelError(f"{'.'.join(path)}: how it turns with the image is not known")
    return int(component.m)
