"""Which draws of a prior are lenses of a population."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import autolens as al
import jax
import jax.numpy as jnp
import numpy as np

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.simulate.forward import instance_at, profiles_of


class Selection:
    """Draws that satisfy a model's assertions and have their source behind the lens.

    Parameters
    ----------
    model
        Any ``af.Model`` or ``af.Collection`` with ``galaxies``.
    max_source_offset
        Largest distance of the source from the lens, without lensing, in Einstein radii; ``None``
        for any. The lens is the mass profile of ``galaxies`` with the largest ``einstein_radius``
        at the middle of the priors, the source the first light profile of the farthest galaxy with
        light.

    Raises
    ------
    ModelError
        When there is a limit, but no such lens or source.
    OptionError
        When the limit is not a positive number.
    """

    def __init__(self, model: Any, max_source_offset: float | None = None) -> None:
        self.model = model
        self.max_source_offset = max_source_offset
        self._assertions = model.gathered_assertions()
        if max_source_offset is not None:
            if not max_source_offset > 0:
                raise OptionError(f"max_source_offset must be positive, not {max_source_offset}")
            self._paths = _lens_and_source(instance_at(model))

    def accepts(self, parameters: np.ndarray) -> np.ndarray:
        """Whether each lens is kept, shape (n,), of physical parameters, shape (n, dim)."""
        accepted = np.ones(len(parameters), dtype=bool)
        with jax.enable_x64(True):
            if self._assertions:
                accepted &= np.asarray(self._satisfied(parameters))
            if self.max_source_offset is not None:
                radius, lens, source = (np.asarray(v) for v in self._geometry(parameters))
                accepted &= np.hypot(*(source - lens).T) <= self.max_source_offset * radius
        return accepted

    @cached_property
    def _satisfied(self) -> Any:
        def satisfied(vector: Any) -> Any:
            return self.model.assertions_satisfied_from_vector(
                vector, xp=jnp, assertions=self._assertions
            )

        return jax.jit(jax.vmap(satisfied))

    @cached_property
    def _geometry(self) -> Any:
        def geometry(vector: Any) -> tuple[Any, Any, Any]:
            instance = self.model.instance_from_vector(vector, ignore_assertions=True, xp=jnp)
            lens, source = (instance.object_for_path(path) for path in self._paths)
            return (
                jnp.asarray(lens.einstein_radius),
                jnp.stack(lens.centre),
                jnp.stack(source.centre),
            )

        return jax.jit(jax.vmap(geometry))


def _lens_and_source(instance: Any) -> tuple[tuple, tuple]:
    """Paths of the main deflector and of the light of the farthest galaxy that has any."""
    # The lens may be in a group: what stands in ``extra_galaxies`` is a neighbour.
    masses = [
        (path, mass)
        for path, mass in profiles_of(instance, al.mp.MassProfile)
        if hasattr(mass, "einstein_radius")
    ]
    if not masses:
        raise ModelError("max_source_offset needs a mass profile with an einstein_radius")
    lights = [
        (path, float(galaxy.redshift))
        for where, galaxy in instance.path_instance_tuples_for_class(al.Galaxy)
        for path, _ in profiles_of(instance, al.LightProfile)
        if path[: len(where)] == where
    ]
    lens, _ = max(masses, key=lambda m: (m[0][0] == "galaxies", float(m[1].einstein_radius)))
    source, _ = max(lights, key=lambda found: found[1])
    return lens, source
