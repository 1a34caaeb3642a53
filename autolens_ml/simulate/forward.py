"""The forward model: noise-free images of any ``af.Model``, by PyAutoLens under ``jax.jit``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import autofit as af
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from autogalaxy.profiles.light.linear import LightProfileLinear
from autolens.analysis.analysis.lens import AnalysisLens
from jax.scipy.signal import fftconvolve

from autolens_ml.exceptions import ModelError
from autolens_ml.simulate.instrument import Instrument

# Lenses per compiled call: arrays of another length would be compiled anew.
CHUNK = 64


class ForwardModel:
    """Images of lenses as an instrument sees them, before noise.

    Light is evaluated plane by plane, so that lens light and lensed source can be scaled apart.

    Parameters
    ----------
    model
        Any ``af.Model`` or ``af.Collection`` with ``galaxies`` at fixed redshifts.
    instrument
        Pixels, PSF and over-sampling.
    stamp_paths
        Paths of the ``PixelLight`` profiles of the model whose map differs from lens to lens.

    Raises
    ------
    ModelError
        When the model has no galaxies, free redshifts, or linear light, whose intensity only a
        fit determines.
    """

    def __init__(
        self, model: Any, instrument: Instrument, stamp_paths: Sequence[tuple[str, ...]] = ()
    ) -> None:
        _check(model)
        self.model = model
        self.instrument = instrument
        self.stamp_paths = tuple(stamp_paths)
        self._analysis = AnalysisLens()
        grid = al.Grid2D.uniform(
            shape_native=instrument.shape,
            pixel_scales=instrument.pixel_scale,
            over_sample_size=instrument.over_sample_size,
        )
        self._grid = grid.padded_grid_from(kernel_shape_native=instrument.psf_shape)

    @cached_property
    def n_planes(self) -> int:
        """Planes of different redshift, the nearest first."""
        vector = [float(prior.value_for(0.5)) for prior in self.model.priors_ordered_by_id]
        instance = self.model.instance_from_vector(vector, ignore_assertions=True)
        return len(self._analysis.tracer_via_instance_from(instance).planes)

    def planes_from(
        self, parameters: np.ndarray, kernels: np.ndarray, stamps: np.ndarray | None = None
    ) -> np.ndarray:
        """PSF-convolved images of every plane.

        Parameters
        ----------
        parameters
            Physical parameters, shape (n, n_parameters), in the model's own order.
        kernels
            PSF kernels, shape (n, y, x).
        stamps
            Maps of the profiles at ``stamp_paths``, shape (n, n_paths, y, x).

        Returns
        -------
        ndarray
            Shape (n, n_planes, y, x), float64, in the units of the model's intensities.
        """
        n = len(parameters)
        arrays = [np.asarray(parameters, dtype=float), np.asarray(kernels, dtype=float)]
        if self.stamp_paths:
            arrays.append(np.asarray(stamps, dtype=float))
        n_chunks = -(-n // CHUNK)
        padding = n_chunks * CHUNK - n
        arrays = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for a in arrays]
        chunks = [tuple(a[i * CHUNK : (i + 1) * CHUNK] for a in arrays) for i in range(n_chunks)]
        first = np.asarray(self._jitted(*chunks[0]))  # compiles, once and in one thread
        if jax.default_backend() == "cpu":
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                rest = list(pool.map(lambda chunk: np.asarray(self._jitted(*chunk)), chunks[1:]))
        else:
            rest = [np.asarray(self._jitted(*chunk)) for chunk in chunks[1:]]
        return np.concatenate([first, *rest])[:n]

    @cached_property
    def _jitted(self) -> Any:
        if jax.default_backend() == "cpu":
            # On a CPU a batch only leaves the cache; fusing one lens at a time is what pays.
            return jax.jit(lambda *arrays: jax.lax.map(lambda one: self._planes(*one), arrays))
        return jax.jit(jax.vmap(self._planes))

    def _planes(self, vector: Any, kernel: Any, stamps: Any = ()) -> Any:
        instance = self.model.instance_from_vector(vector, ignore_assertions=True, xp=jnp)
        for i, path in enumerate(self.stamp_paths):
            instance.object_for_path(path).values = stamps[i]
        tracer = self._analysis.tracer_via_instance_from(instance)
        shape = self._grid.mask.shape_native
        images = [
            jnp.reshape(getattr(image, "array", image), shape)
            for image in tracer.image_2d_list_from(grid=self._grid, xp=jnp)
        ]
        return jnp.stack([fftconvolve(image, kernel, mode="valid") for image in images])


def _check(model: Any) -> None:
    if not hasattr(model, "galaxies"):
        raise ModelError("a population needs a model with galaxies: af.Collection(galaxies=...)")
    for path, prior in model.path_priors_tuples:
        if path[-1] == "redshift":
            raise ModelError(f"{'.'.join(path)} is free: a population needs fixed redshifts")
        del prior
    for path, component in model.attribute_tuples_with_type(af.Model, ignore_children=False):
        if isinstance(component.cls, type) and issubclass(component.cls, LightProfileLinear):
            raise ModelError(
                f"{'.'.join(str(part) for part in path)} is linear light, whose intensity only a "
                "fit determines: use the al.lp profile of the same name"
            )
