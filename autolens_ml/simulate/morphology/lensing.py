"""Images of lenses with substructure: PyAutoLens's forward model with slots for it.

How many subhaloes a lens has differs from lens to lens, while a compiled function takes arrays of
one shape: every lens has the same number of slots, and those that are not used hold no mass.
"""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import Any

import autoarray as aa
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from autogalaxy.profiles.mass.abstract.abstract import MassProfile
from scipy import fft

from autolens_ml.exceptions import DataError
from autolens_ml.profiles.light import PixelLight
from autolens_ml.profiles.mass import VortexLine
from autolens_ml.simulate.fast_math import accelerated
from autolens_ml.simulate.instrument import Instrument

__all__ = ["CHUNK", "MACRO", "POINT", "STRING", "LensImages", "Swarm"]

# Lenses that are made together, and those per compiled call: arrays of another length would be
# compiled anew.
CHUNK, _CALL = 64, 8

# Columns of the smooth lens and its source.
MACRO = (
    "einstein_radius",
    "ell_comps_0",
    "ell_comps_1",
    "gamma_1",
    "gamma_2",
    "source_y",
    "source_x",
    "source_radius",
    "source_ell_comps_0",
    "source_ell_comps_1",
    "source_index",
    "source_intensity",
)
# Columns of what is in a slot: a point, and a vortex.
POINT = ("y", "x", "einstein_radius")
STRING = ("y", "x", "position_angle", "half_length", "core_radius", "einstein_radius")

# Arcsec per pixel of pictures of sources before they are scaled; where sources are pictures, the
# columns of their ellipticity are sine and cosine of their position angle.
_STAMP_SCALE = 0.01


class Swarm(MassProfile):
    """Many mass profiles of one kind as one: their deflections are summed in a loop.

    Under ``jax.jit`` a hundred profiles then cost one to compile.

    Parameters
    ----------
    kind
        ``"points"``, ``al.mp.PointMass``, or ``"strings"``, ``aml.mp.VortexLine``.
    slots
        One row for each profile, its columns as in ``POINT`` or ``STRING``, shape (n_slots, n).
    """

    def __init__(self, kind: str, slots: Any) -> None:
        super().__init__(centre=(0.0, 0.0), ell_comps=(0.0, 0.0))
        self.kind = kind
        self.slots = slots

    @aa.decorators.to_vector_yx
    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        make = _PROFILES[self.kind]

        def added(total: Any, row: Any) -> tuple[Any, None]:
            found = make(row).deflections_yx_2d_from(grid=grid, xp=xp)
            return total + getattr(found, "array", found), None

        start = xp.zeros(grid.array.shape)
        if xp is np:
            total = start
            for row in self.slots:
                total, _ = added(total, row)
            return total
        return jax.lax.scan(added, start, self.slots)[0]

    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        rows = [_PROFILES[self.kind](row) for row in self.slots]
        return sum(profile.convergence_2d_from(grid=grid, xp=xp) for profile in rows)

    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        rows = [_PROFILES[self.kind](row) for row in self.slots]
        return sum(profile.potential_2d_from(grid=grid, xp=xp) for profile in rows)


def _point(row: Any) -> Any:
    return al.mp.PointMass(centre=(row[0], row[1]), einstein_radius=row[2])


def _string(row: Any) -> Any:
    return VortexLine(
        centre=(row[0], row[1]),
        position_angle=row[2],
        half_length=row[3],
        core_radius=row[4],
        einstein_radius=row[5],
    )


_PROFILES = {"points": _point, "strings": _string}


class LensImages:
    """Noise-free images of lensed sources.

    The smooth lens is isothermal and elliptical, in the middle, with an external shear; the source
    a Sersic profile, or a picture of a galaxy. The lens has no light.

    Parameters
    ----------
    instrument
        Pixels, PSF and over-sampling.
    stamp_size
        Pixels a side of pictures of sources; ``None`` for Sersic profiles.
    """

    def __init__(self, instrument: Instrument, stamp_size: int | None = None) -> None:
        self.instrument = instrument
        self.stamp_size = stamp_size
        grid = al.Grid2D.uniform(
            shape_native=instrument.shape,
            pixel_scales=instrument.pixel_scale,
            over_sample_size=instrument.over_sample_size,
        )
        self._grid = grid.padded_grid_from(kernel_shape_native=instrument.psf_shape)

    def images_from(
        self,
        macro: np.ndarray,
        points: np.ndarray,
        strings: np.ndarray,
        psf_fwhm: np.ndarray,
        stamps: np.ndarray | None = None,
    ) -> np.ndarray:
        """Images with the PSF, without noise.

        Parameters
        ----------
        macro
            Columns as in ``MACRO``, shape (n, 12).
        points, strings
            Slots of each lens, shapes (n, n_points, 3) and (n, n_strings, 6). Slots with an
            Einstein radius of zero are empty; there may be none.
        psf_fwhm
            Full widths at half maximum [arcsec], shape (n,).
        stamps
            Pictures of sources, shape (n, size, size), if the sources are pictures.

        Returns
        -------
        ndarray
            Float32, shape (n, y, x), in the units of the sources' intensities.

        Raises
        ------
        DataError
            When sources are pictures and there are none, or the other way round.
        """
        n, size = len(macro), self.stamp_size
        if (size is None) != (stamps is None) or (size and stamps.shape != (n, size, size)):
            raise DataError(
                f"pictures of sources of shape {np.shape(stamps)} for {n} lenses of pictures of "
                f"{size} pixels: give (n, size, size), or none for Sersic sources"
            )
        if stamps is None:
            stamps = np.zeros((n, 0, 0))
        arrays = [np.asarray(a, dtype=float) for a in (macro, points, strings, stamps)]
        padding = -n % _CALL
        arrays = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for a in arrays]
        shape = self.padded_shape
        size = [fft.next_fast_len(side, real=True) for side in shape]
        images = np.empty((n + padding, *self.instrument.shape), dtype=np.float32)
        kernels = self.instrument.psf_kernels_from(psf_fwhm).astype(np.float32)
        kernels = np.concatenate([kernels, np.repeat(kernels[-1:], padding, axis=0)])
        rows, columns = (side - 1 for side in self.instrument.psf_shape)
        with jax.enable_x64(True):
            for first in range(0, n, _CALL):
                chunk = slice(first, first + _CALL)
                sharp = np.asarray(self._jitted(*(a[chunk] for a in arrays)))
                # What a Fourier transform carries from one edge to the other ends in the padding.
                spectrum = fft.rfft2(sharp, size) * fft.rfft2(kernels[chunk], size)
                whole = fft.irfft2(spectrum, size)
                images[chunk] = whole[:, rows : shape[0], columns : shape[1]]
        return images[:n]

    @cached_property
    def _jitted(self) -> Any:
        if jax.default_backend() == "cpu":
            # On a CPU a batch only leaves the cache; fusing one lens at a time is what pays.
            one = accelerated(self.sharp_image)
            return jax.jit(lambda *arrays: jax.lax.map(lambda each: one(*each), arrays))
        return jax.jit(jax.vmap(self.sharp_image))

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Pixels (y, x) of images before the PSF."""
        return tuple(self._grid.mask.shape_native)

    def sharp_image(
        self, macro: Any, points: Any, strings: Any, stamp: Any, dtype: Any = jnp.float32
    ) -> Any:
        """The image of one lens before the PSF, of `padded_shape`; of JAX arrays."""
        tracer = self.tracer_from(macro, points, strings, stamp, xp=jnp)
        # The lens is dark.
        (_, image) = tracer.image_2d_list_from(grid=self._grid, xp=jnp)
        native = jnp.reshape(getattr(image, "array", image), self.padded_shape)
        return native.astype(dtype)

    def tracer_from(
        self, macro: Any, points: Any, strings: Any, stamp: Any = None, xp: ModuleType = np
    ) -> al.Tracer:
        """The lens and its source as PyAutoLens has them; one row of each array."""
        values = dict(zip(MACRO, macro, strict=True))
        parts: dict[str, Any] = {
            "mass": al.mp.Isothermal(
                ell_comps=(values["ell_comps_0"], values["ell_comps_1"]),
                einstein_radius=values["einstein_radius"],
            ),
            "shear": al.mp.ExternalShear(gamma_1=values["gamma_1"], gamma_2=values["gamma_2"]),
        }
        for kind, slots in (("points", points), ("strings", strings)):
            if len(slots):
                parts[kind] = Swarm(kind, slots)
        centre = (values["source_y"], values["source_x"])
        ell_comps = (values["source_ell_comps_0"], values["source_ell_comps_1"])
        if self.stamp_size is None:
            light: Any = al.lp.Sersic(
                centre=centre,
                ell_comps=ell_comps,
                intensity=values["source_intensity"],
                effective_radius=values["source_radius"],
                sersic_index=values["source_index"],
            )
        else:
            # A stamp is ten half-light radii wide.
            light = PixelLight(
                values=stamp,
                pixel_scale=_STAMP_SCALE,
                centre=centre,
                position_angle=xp.degrees(xp.arctan2(ell_comps[0], ell_comps[1])),
                intensity=values["source_intensity"],
                scale=10.0 * values["source_radius"] / (self.stamp_size * _STAMP_SCALE),
            )
        # With one source, redshifts set nothing but the order: Einstein radii are what is seen.
        lens = al.Galaxy(redshift=0.5, **parts)
        return al.Tracer(galaxies=[lens, al.Galaxy(redshift=1.0, light=light)])
