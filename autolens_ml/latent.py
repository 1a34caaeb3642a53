"""The unit-normal latent space of an autofit model.

autofit maps the unit cube onto the parameters of any model, whatever its priors. With
u = Phi(z) the prior over z is exactly N(0, I), so inference in z needs no Jacobians and no
(possibly unnormalised) prior densities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import autofit as af
import numpy as np
from scipy.special import ndtr, ndtri

# Phi(z) is kept this far from 0 and 1, where the inverse cumulatives of priors diverge.
UNIT_MARGIN = 1e-15
_DERIVATIVE_STEP = 1e-5


class LatentSpace:
    """The map between unit-normal latents z and the physical parameters of a model.

    Parameters
    ----------
    priors
        The model's free priors, in autofit's order (``model.priors_ordered_by_id``).
    names
        The path of every parameter, in the same order.

    Attributes
    ----------
    dim : int
        The number of free parameters.
    names : tuple of str
        Dotted model paths, such as ``galaxies.lens.mass.einstein_radius``.
    """

    def __init__(self, priors: Sequence[Any], names: Sequence[str] = ()) -> None:
        self._priors = tuple(priors)
        self.names = tuple(names)
        self.dim = len(self._priors)

    @classmethod
    def from_model(cls, model: Any) -> LatentSpace:
        """The latent space of an ``af.Model`` or ``af.Collection``."""
        priors = model.priors_ordered_by_id
        paths = [next(iter(model.all_paths_for_prior(prior))) for prior in priors]
        return cls(priors, [".".join(str(part) for part in path) for path in paths])

    def physical_from(self, z: np.ndarray) -> np.ndarray:
        """Physical parameters, shape (n, dim), of latents of shape (n, dim)."""
        unit = np.clip(ndtr(z), UNIT_MARGIN, 1.0 - UNIT_MARGIN)
        return np.stack(
            [_values_from(prior, unit[:, i]) for i, prior in enumerate(self._priors)], axis=-1
        )

    def latent_from(self, physical: np.ndarray) -> np.ndarray:
        """Latents, shape (n, dim), of physical parameters inside the priors' support."""
        unit = np.stack(
            [unit_values_from(prior, physical[:, i]) for i, prior in enumerate(self._priors)],
            axis=-1,
        )
        return ndtri(np.clip(unit, UNIT_MARGIN, 1.0 - UNIT_MARGIN))

    def derivative_from(self, z: np.ndarray) -> np.ndarray:
        """d physical / d z, shape (n, dim): the map acts on every parameter alone.

        Central differences serve every prior, also those of users; their relative error of
        about 1e-10 is far below what an optimiser notices.
        """
        h = _DERIVATIVE_STEP
        return (self.physical_from(z + h) - self.physical_from(z - h)) / (2.0 * h)


def indexed_paths(model: Any) -> list[tuple[tuple[str, ...], int]]:
    """Every path of a model with the index of its parameter in ``model.priors_ordered_by_id``."""
    index = {prior: i for i, prior in enumerate(model.priors_ordered_by_id)}
    return [
        (tuple(str(part) for part in path), index[prior])
        for path, prior in model.path_priors_tuples
    ]


def blocks_of(model: Any) -> list[np.ndarray]:
    """Indices of parameters that belong to the same components of a model.

    Parameters
    ----------
    model
        An ``af.Model`` or ``af.Collection``.

    Returns
    -------
    list of ndarray
        One array of indices per set of owners, in the order of ``model.priors_ordered_by_id``:
        the ellipticities of one light basis, the centre that two bases share, a shear.
    """
    owners: dict[int, set] = defaultdict(set)
    for path, i in indexed_paths(model):
        in_tuple = len(path) > 1 and path[-1].startswith(f"{path[-2]}_")
        owners[i].add(path[:-2] if in_tuple else path[:-1])
    blocks: dict[frozenset, list[int]] = defaultdict(list)
    for i in sorted(owners):
        blocks[frozenset(owners[i])].append(i)
    # A block that is the whole model frees everything: that is the prior, which explains nothing.
    return [np.array(block) for block in blocks.values() if len(block) < len(owners)]


def unit_values_from(prior: Any, values: np.ndarray) -> np.ndarray:
    """Unit values, shape (n,), of many physical values inside the support of a prior at once."""
    return _at_once(prior.unit_value_for, values)


def _values_from(prior: Any, unit: np.ndarray) -> np.ndarray:
    """Physical values of many unit values at once."""
    if isinstance(prior, af.UniformPrior):  # its numpy path rounds, and takes scalars only
        return prior.lower_limit + prior.width * unit
    return _at_once(prior.value_for, unit)


def _at_once(function: Callable[[Any], Any], arguments: np.ndarray) -> np.ndarray:
    """The values of a function of a prior, which may take scalars only."""
    try:
        values = np.asarray(function(arguments), dtype=float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape == arguments.shape:
        return values
    return np.array([function(float(argument)) for argument in arguments], dtype=float)
