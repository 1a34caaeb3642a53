"""The forward model: noise-free images of any ``af.Model``, by PyAutoLens under ``jax.jit``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import autofit as af
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from autogalaxy.profiles.light.linear import LightProfileLinear
from autogalaxy.profiles.light.operated import LightProfileOperated
from autogalaxy.profiles.light.snr import LightProfileSNR
from autolens.analysis.analysis.lens import AnalysisLens
from autonerves.exc import ConfigException
from scipy.fft import next_fast_len

from autolens_ml.exceptions import DataError, ModelError
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.fast_math import accelerated
from autolens_ml.simulate.instrument import Instrument

# Lenses per compiled call: arrays of another length would be compiled anew.
CHUNK = 64

# What has no brightness of its own to simulate, and why.
_REFUSED = {
    LightProfileLinear: "is linear light, whose intensity only a fit determines",
    LightProfileOperated: "is light that is already convolved, while PSFs differ from lens to lens",
    LightProfileSNR: "is light of a signal-to-noise ratio, which depends on the exposure",
    al.Pixelization: "is a pixelized source, whose light only a fit determines",
}


class ForwardModel:
    """Images of lenses as an instrument sees them, before noise.

    Light is evaluated plane by plane, so that lens light and lensed source can be scaled apart.

    Parameters
    ----------
    model
        Any ``af.Model`` or ``af.Collection`` with ``galaxies`` (and ``extra_galaxies``,
        ``fields``, ``cosmology``, as PyAutoLens takes them) at fixed redshifts.
    instrument
        Pixels, PSF and over-sampling.
    stamp_paths
        Paths of the ``PixelLight`` profiles of the model whose map differs from lens to lens.

    Raises
    ------
    ModelError
        When the model has no galaxies, no light, free redshifts, or light whose brightness it does
        not fix; when a stamp path leads to no ``PixelLight``.
    """

    def __init__(
        self, model: Any, instrument: Instrument, stamp_paths: Sequence[tuple[str, ...]] = ()
    ) -> None:
        _check(model, stamp_paths)
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
        return len(self._analysis.tracer_via_instance_from(instance_at(self.model)).planes)

    def planes_from(
        self, parameters: np.ndarray, kernels: np.ndarray, stamps: np.ndarray | None = None
    ) -> np.ndarray:
        """PSF-convolved images of every plane.

        Parameters
        ----------
        parameters
            Physical parameters, shape (n, n_parameters), in the model's own order.
        kernels
            PSF kernels, shape (n, y, x), as the instrument makes them.
        stamps
            Maps of the profiles at ``stamp_paths``, shape (n, n_paths, y, x).

        Returns
        -------
        ndarray
            Shape (n, n_planes, y, x), float64, in the units of the model's intensities.

        Raises
        ------
        DataError
            When the model has stamp paths and there are no stamps for them.
        ModelError
            When JAX cannot trace a profile of the model.
        """
        n = len(parameters)
        arrays = [np.asarray(parameters, dtype=float), np.asarray(kernels, dtype=float)]
        if self.stamp_paths:
            if np.ndim(stamps) != 4 or np.shape(stamps)[:2] != (n, len(self.stamp_paths)):
                raise DataError(
                    f"stamps of shape {np.shape(stamps)} for {n} lenses with "
                    f"{len(self.stamp_paths)} stamp paths: give (n, n_paths, y, x)"
                )
            arrays.append(np.asarray(stamps, dtype=float))
        if n == 0:
            return np.empty((0, self.n_planes, *self.instrument.shape))
        padding = -n % CHUNK
        arrays = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for a in arrays]
        try:
            # Also where JAX was imported before PyAutoLens, which makes doubles its default.
            with jax.enable_x64(True):
                planes = [
                    np.asarray(self._jitted(*(array[first : first + CHUNK] for array in arrays)))
                    for first in range(0, n, CHUNK)
                ]
        except jax.errors.JAXTypeError as error:
            raise ModelError(
                f"JAX cannot trace a profile of the model ({_first_line(error)}): use profiles "
                "written with xp"
            ) from error
        return np.concatenate(planes)[:n]

    @cached_property
    def _jitted(self) -> Any:
        if jax.default_backend() == "cpu":
            # On a CPU a batch only leaves the cache; fusing one lens at a time is what pays.
            planes = accelerated(self._planes)
            return jax.jit(lambda *arrays: jax.lax.map(lambda one: planes(*one), arrays))
        return jax.jit(jax.vmap(self._planes))

    def _planes(self, vector: Any, kernel: Any, stamps: Any = ()) -> Any:
        instance = self.model.instance_from_vector(vector, ignore_assertions=True, xp=jnp)
        for i, path in enumerate(self.stamp_paths):
            instance.object_for_path(path).values = stamps[i]
        tracer = self._analysis.tracer_via_instance_from(instance)
        images = tracer.image_2d_list_from(grid=self._grid, xp=jnp)
        return jnp.stack(
            [
                self._convolved(image, kernel)
                if any(galaxy.has(cls=al.LightProfile) for galaxy in galaxies)
                else jnp.zeros(self.instrument.shape)
                for image, galaxies in zip(images, tracer.planes, strict=True)
            ]
        )

    def _convolved(self, image: Any, kernel: Any) -> Any:
        shape = self._grid.mask.shape_native
        native = jnp.reshape(getattr(image, "array", image), shape)
        # What a Fourier transform carries from one edge to the other ends in the padding.
        size = [next_fast_len(side, real=True) for side in shape]
        spectrum = jnp.fft.rfft2(native, size) * jnp.fft.rfft2(kernel, size)
        rows, columns = (side - 1 for side in self.instrument.psf_shape)
        return jnp.fft.irfft2(spectrum, size)[rows : shape[0], columns : shape[1]]


def instance_at(model: Any, unit: float = 0.5) -> Any:
    """The instance of a model with every prior at one value of its unit interval.

    Raises
    ------
    ModelError
        When a parameter has no prior, or a profile refuses the values.
    """
    for path, _ in model.path_instance_tuples_for_class(ConfigException, ignore_children=False):
        raise ModelError(f"{_dotted(path)} has no prior: give it one, or a value")
    try:
        vector = [float(prior.value_for(unit)) for prior in model.priors_ordered_by_id]
        return model.instance_from_vector(vector, ignore_assertions=True)
    except Exception as error:  # whatever the user's profiles raise means the same here
        raise ModelError(
            f"the model makes no lens within its priors: {_first_line(error)}"
        ) from error


def profiles_of(instance: Any, cls: type | tuple[type, ...]) -> list[tuple[tuple, Any]]:
    """Paths and profiles of a class in an instance; of a basis, the profiles in it."""
    found = {
        path: profile
        for path, profile in instance.path_instance_tuples_for_class(cls, ignore_children=False)
        if not isinstance(profile, al.lp_basis.Basis)
    }
    # Profiles that another one is made of are no part of the model.
    return [
        (path, profile)
        for path, profile in found.items()
        if not any(path[:length] in found for length in range(len(path)))
    ]


def _check(model: Any, stamp_paths: Sequence[tuple[str, ...]]) -> None:
    if not isinstance(model, af.AbstractPriorModel) or not hasattr(model, "galaxies"):
        raise ModelError("a population needs a model with galaxies: af.Collection(galaxies=...)")
    for path, _ in model.path_priors_tuples:
        if "redshift" in path:
            raise ModelError(f"{_dotted(path)} is free: a population needs fixed redshifts")
    instance = instance_at(model)
    for cls, reason in _REFUSED.items():
        for path, _ in instance.path_instance_tuples_for_class(cls, ignore_children=False):
            raise ModelError(f"{_dotted(path)} {reason}: use an al.lp profile")
    if not profiles_of(instance, al.LightProfile):
        raise ModelError("the model has no light: give one of its galaxies a light profile")
    for path in stamp_paths:
        try:
            component = model.object_for_path(path)
        except (AttributeError, KeyError, TypeError, IndexError):
            component = None
        # A map put into a fixed instance would stay there: the profile has to be made anew.
        if not isinstance(component, af.Model) or not issubclass(component.cls, PixelLight):
            raise ModelError(
                f"stamps at {_dotted(path)}: the model has no af.Model(aml.lp.PixelLight) there"
            )


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(str(part) for part in path)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
