"""Lensed sources: PyAutoLens's forward model of one source behind one galaxy, and what counts.

Sources are Sersic profiles with the structure of real galaxies on top. Images are those of a source
of unit flux, so that one set of rays serves all bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import autofit as af
import autolens as al
import numpy as np
from scipy import fft

from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.galaxies import (
    Deflectors,
    Sources,
    draw_sources,
    ell_comps_from,
    truncated,
)
from autolens_ml.simulate.finding.light import PIXEL_SCALE, sersic_flux
from autolens_ml.simulate.forward import ForwardModel
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.sources import hubble_deep_field

__all__ = ["Arcs", "LensDefinition", "draw_arcs", "source_parameters", "window"]

# Arcs lie within these pixels around the lens.
WINDOW = 112
_STAMP_SIZE, _STAMP_SCALE = 64, 0.01
# PSF width [arcsec] in which pixels of arcs are counted.
_TYPICAL_FWHM = 0.17
# External shear: standard deviation of each component.
_SHEAR = 0.04


@dataclass(frozen=True)
class LensDefinition:
    """What the Euclid lens-finding challenge (Metcalf et al. 2019, A&A 625, A119) calls a lens.

    Attributes
    ----------
    magnification : float
        A source has more than this in total,
    n_pixels : int
        is brighter than the noise of an empty pixel in more VIS pixels than this,
    n_images : int
        and has more images than this.
    """

    magnification: float = 1.6
    n_pixels: int = 20
    n_images: int = 0

    def accepts(
        self, magnification: np.ndarray, n_pixels: np.ndarray, n_images: np.ndarray | int = 1
    ) -> np.ndarray:
        """Whether each system is a lens, shape (n,)."""
        return (
            (np.asarray(magnification) > self.magnification)
            & (np.asarray(n_pixels) > self.n_pixels)
            & (np.asarray(n_images) > self.n_images)
        )


@dataclass(frozen=True)
class Arcs:
    """Lensed sources.

    Attributes
    ----------
    images : ndarray
        Of unit flux without lensing, float32, shape (n, 112, 112).
    sources : Sources
        What is lensed.
    magnification : ndarray
        Flux of the arcs over that of the source, shape (n,).
    n_pixels : ndarray
        VIS pixels in which the arcs are brighter than the noise of an empty pixel, shape (n,).
    """

    images: np.ndarray
    sources: Sources
    magnification: np.ndarray
    n_pixels: np.ndarray

    def flux(self, index: int) -> np.ndarray:
        """Fluxes of one source without lensing, shape (n_bands,)."""
        return self.sources.flux[index]


def draw_arcs(
    deflectors: Deflectors, offsets: tuple[float, float], rng: np.random.Generator
) -> Arcs:
    """A source behind each deflector, and its image.

    Parameters
    ----------
    deflectors
        What lenses.
    offsets
        Smallest and largest distance of the source from the lens, in Einstein radii; uniform in
        area between them.
    rng
        Of all that is drawn.
    """
    n = len(deflectors)
    sources = draw_sources(deflectors.source_redshift, rng)
    distance = np.sqrt(rng.uniform(offsets[0] ** 2, offsets[1] ** 2, size=n))
    angle = rng.uniform(0.0, 2.0 * np.pi, size=n)
    centres = deflectors.centre + (distance * deflectors.einstein_radius)[:, None] * np.stack(
        [np.sin(angle), np.cos(angle)], axis=1
    )
    mass = deflectors.ell_comps + 0.04 * rng.standard_normal((n, 2))
    shear = _SHEAR * rng.standard_normal((n, 2))
    light, stamps = source_parameters(centres, sources.radius, rng)
    values = {
        "galaxies.lens.mass.centre.centre_0": deflectors.centre[:, 0],
        "galaxies.lens.mass.centre.centre_1": deflectors.centre[:, 1],
        "galaxies.lens.mass.ell_comps.ell_comps_0": mass[:, 0],
        "galaxies.lens.mass.ell_comps.ell_comps_1": mass[:, 1],
        "galaxies.lens.mass.einstein_radius": deflectors.einstein_radius,
        "galaxies.lens.shear.gamma_1": shear[:, 0],
        "galaxies.lens.shear.gamma_2": shear[:, 1],
        **{f"galaxies.source.{name}": column for name, column in light.items()},
    }
    planes = planes_from(_single(), values, stamps[:, None])
    return arcs_from(planes[:, -1], sources)


def arcs_from(plane: np.ndarray, sources: Sources) -> Arcs:
    """Arcs of lensed surface brightness, shape (n, 112, 112), of sources of unit flux."""
    images = (plane * PIXEL_SCALE**2).astype(np.float32)
    return Arcs(
        images=images,
        sources=sources,
        magnification=images.sum(axis=(1, 2)),
        n_pixels=_bright_pixels(images, sources.flux),
    )


def source_parameters(
    centres: np.ndarray, radii: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters of sources of unit flux, by path within the galaxy, and their stamps.

    Parameters
    ----------
    centres
        (y, x) in arcsec, shape (n, 2).
    radii
        Half-light radii in arcsec, shape (n,).
    rng
        Of shapes, structure and orientation.
    """
    n = len(centres)
    library = hubble_deep_field(_STAMP_SIZE)
    numbers = library.sample(n, rng)
    stamps = library.stamps[numbers]
    index = truncated(1.2, 0.6, 0.5, 4.0, n, rng)
    ell_comps = ell_comps_from(rng.uniform(0.35, 1.0, size=n), rng)
    scale = radii / (_STAMP_SCALE * library.half_light_radius[numbers])
    structured = rng.uniform(0.2, 0.95, size=n)
    area = (scale * _STAMP_SCALE) ** 2
    parameters = {
        "bulge.ell_comps.ell_comps_0": ell_comps[:, 0],
        "bulge.ell_comps.ell_comps_1": ell_comps[:, 1],
        "bulge.intensity": (1.0 - structured) / sersic_flux(radii, index),
        "bulge.effective_radius": radii,
        "bulge.sersic_index": index,
        "structure.intensity": structured / (stamps.sum(axis=(1, 2)) * area),
        "structure.position_angle": rng.uniform(0.0, 360.0, size=n),
        "structure.scale": scale,
    }
    for part in ("bulge", "structure"):
        for i in range(2):
            parameters[f"{part}.centre.centre_{i}"] = centres[:, i]
    return parameters, stamps


def planes_from(
    forward: ForwardModel, values: Mapping[str, np.ndarray], stamps: np.ndarray
) -> np.ndarray:
    """Planes of a model from the values of its parameters by path; those not given are zero."""
    paths = [".".join(path) for path in forward.model.paths]
    n = len(stamps)
    columns = [np.broadcast_to(values.get(path, 0.0), (n,)) for path in paths]
    # No PSF: bands differ in theirs.
    return forward.planes_from(np.stack(columns, axis=1), np.ones((n, 1, 1)), stamps)


def window(model: af.Collection, stamp_paths: tuple[tuple[str, ...], ...]) -> ForwardModel:
    """The forward model of the middle of a field, without a PSF."""
    instrument = Instrument(
        name="window",
        shape=(WINDOW, WINDOW),
        pixel_scale=PIXEL_SCALE,
        psf_fwhm=PIXEL_SCALE,
        psf_shape=(1, 1),
        exposure_time=1.0,
        background_sky_level=1.0,
        over_sample_size=2,
    )
    return ForwardModel(model, instrument, stamp_paths)


def deflector_model(redshift: float, **light: af.Model) -> af.Model:
    """A galaxy that lenses; its own light is no part of the arcs, unless it is given."""
    return af.Model(
        al.Galaxy,
        redshift=redshift,
        mass=af.Model(al.mp.Isothermal),
        shear=af.Model(al.mp.ExternalShear),
        **light,
    )


def source_light() -> dict[str, af.Model]:
    """Profiles of a source: a Sersic profile and the structure of a real galaxy."""
    blank = np.zeros((_STAMP_SIZE, _STAMP_SIZE))
    return {
        "bulge": af.Model(al.lp.Sersic),
        "structure": af.Model(PixelLight, values=blank, pixel_scale=_STAMP_SCALE),
    }


@cache
def _single() -> ForwardModel:
    # With one source, redshifts set nothing but the order: Einstein radii are what is seen.
    source = af.Model(al.Galaxy, redshift=1.0, **source_light())
    model = af.Collection(galaxies=af.Collection(lens=deflector_model(0.5), source=source))
    return window(model, (("galaxies", "source", "structure"),))


def _bright_pixels(images: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """VIS pixels above the noise of an empty one, shape (n,)."""
    vis = list(BANDS).index("VIS")
    fine = Instrument.from_dict({**BANDS["VIS"].instrument.as_dict(), "psf_shape": (33, 33)})
    (kernel,) = fine.psf_kernels_from(np.array([_TYPICAL_FWHM])).astype(np.float32)
    size = (fft.next_fast_len(WINDOW + 32, real=True),) * 2
    transfer = fft.rfft2(kernel, size)
    counts = np.empty(len(images), dtype=int)
    for i, image in enumerate(images):
        blurred = fft.irfft2(fft.rfft2(image, size) * transfer, size)[16 : 16 + WINDOW]
        counts[i] = np.count_nonzero(blurred[:, 16 : 16 + WINDOW] * flux[i, vis] > 1.0)
    return counts
