"""Scenes: all that lies in a field, and the images that a survey takes of it, without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy import fft, ndimage

from autolens_ml.simulate.finding.bands import BANDS, Band
from autolens_ml.simulate.finding.light import PIXEL_SCALE, SIDE, sersic_images
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.sources import StampLibrary, hubble_deep_field

__all__ = ["Scene", "images_of", "pixel_of", "positions"]

# PSF widths of a band between which systems are drawn.
N_WIDTHS = 9
# Pixels a side of the stamps of galaxies, from coarse to fine: small galaxies need few.
_STAMP_SIZES = (16, 32, 64)

type Images = dict[str, np.ndarray]


@dataclass
class Scene:
    """What lies in a field of 21.6", in any order.

    Fluxes are in units of the noise of an empty pixel, in all ``BANDS``.

    Attributes
    ----------
    sersics : list
        Pairs of the parameters of ``sersic_images`` and fluxes.
    stamps : list
        Galaxies of the Hubble Deep Field: number, centre (y, x) in arcsec, half-light radius in
        arcsec, angle in degrees, fluxes.
    shapes : list
        Pairs of an image of unit flux, of the shape of the field or smaller and then in its middle,
        and fluxes.
    seen : list
        Pairs of an image that is already blurred, of the shape of the field, and of the fluxes.
    defects : list
        What happens to the images of all bands in the end.
    """

    sersics: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    stamps: list[tuple[int, np.ndarray, float, float, np.ndarray]] = field(default_factory=list)
    shapes: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    seen: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    defects: list[Callable[[Images], None]] = field(default_factory=list)


def positions() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y, shape (216, 1), and x, shape (1, 216), of the pixels of a field in arcsec."""
    x = ((np.arange(SIDE) - 0.5 * (SIDE - 1)) * PIXEL_SCALE).astype(np.float32)
    return -x[:, None], x[None, :]


def pixel_of(centre: Sequence[float]) -> tuple[float, float]:
    """Row and column of a position (y, x) in arcsec."""
    middle = 0.5 * (SIDE - 1)
    return middle - centre[0] / PIXEL_SCALE, middle + centre[1] / PIXEL_SCALE


def images_of(scenes: Sequence[Scene], widths: np.ndarray, bands: Sequence[Band]) -> Images:
    """Noise-free images in units of the noise of an empty pixel.

    Parameters
    ----------
    scenes
        What is observed.
    widths
        Which of the ``N_WIDTHS`` PSFs of its band each scene has, shape (n,), integers; wide in one
        band is wide in all.
    bands
        Which images to make.

    Returns
    -------
    dict
        By band, float32, shape (n, y, x).
    """
    images = {
        band.name: np.empty((len(scenes), *band.instrument.shape), dtype=np.float32)
        for band in bands
    }
    rows = [row for scene in scenes for row, _ in scene.sersics]
    lights = iter(sersic_images(np.array(rows).reshape(-1, 6)))
    columns = [list(BANDS).index(band.name) for band in bands]
    for i, (scene, width) in enumerate(zip(scenes, widths, strict=True)):
        sharp = _sharp(scene, lights, columns)
        kernels = np.stack([_transfer_functions(band.name)[width] for band in bands])
        blurred = fft.irfft2(fft.rfft2(sharp) * kernels, (SIDE, SIDE))
        for image, flux in scene.seen:
            blurred += flux[columns, None, None].astype(np.float32) * image
        taken = {
            band.name: _binned(image, band) for band, image in zip(bands, blurred, strict=True)
        }
        for defect in scene.defects:
            defect(taken)
        for band in bands:
            image = np.minimum(taken[band.name], band.full_well / band.unit, out=taken[band.name])
            images[band.name][i] = image
    return images


def _sharp(scene: Scene, lights: object, columns: list[int]) -> np.ndarray:
    """The light of a scene before the PSF, shape (n_bands, 216, 216)."""
    sharp = np.zeros((len(columns), SIDE, SIDE), dtype=np.float32)

    def add(image: np.ndarray, flux: np.ndarray, rows: slice, cols: slice) -> None:
        for plane, value in zip(sharp, flux[columns], strict=True):
            plane[rows, cols] += np.float32(value) * image

    for _, flux in scene.sersics:
        add(next(lights), flux, slice(None), slice(None))
    for image, flux in scene.shapes:
        first = (SIDE - len(image)) // 2
        window = slice(first, first + len(image))
        add(image, flux, window, window)
    for number, centre, radius, angle, flux in scene.stamps:
        found = _stamp(number, centre, radius, angle)
        if found is not None:
            add(found[0], flux, *found[1])
    return sharp


def _stamp(
    number: int, centre: np.ndarray, radius: float, angle: float
) -> tuple[np.ndarray, tuple[slice, slice]] | None:
    """A galaxy of the Hubble Deep Field, and where on the field; None if it is beyond."""
    library = _library(_size_for(radius))
    # Pixels of the stamp per pixel of the field.
    step = library.half_light_radius[number] * PIXEL_SCALE / radius
    reach = int(np.ceil(0.5 * library.size / step)) + 1
    row, column = pixel_of(centre)
    bounds = [
        (max(int(np.floor(p)) - reach, 0), min(int(np.ceil(p)) + reach + 1, SIDE))
        for p in (row, column)
    ]
    if any(low >= high for low, high in bounds):
        return None
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    # Rows count downwards: a turn counter-clockwise on the sky is one clockwise in the array.
    matrix = step * np.array([[cosine, sine], [-sine, cosine]])
    start = np.array([bounds[0][0] - row, bounds[1][0] - column])
    offset = 0.5 * (library.size - 1) + matrix @ start
    shape = tuple(high - low for low, high in bounds)
    image = ndimage.affine_transform(
        library.stamps[number], matrix, offset, shape, order=1, mode="constant"
    )
    image *= step**2 / _sums(library.size)[number]
    return image, tuple(slice(*bound) for bound in bounds)


def _size_for(radius: float) -> int:
    """Size of the stamps, ten half-light radii wide, from which one of this radius is drawn."""
    enough = [size for size in _STAMP_SIZES if 10.0 * radius / PIXEL_SCALE <= size]
    return (enough or _STAMP_SIZES[-1:])[0]


@cache
def _library(size: int) -> StampLibrary:
    finest = hubble_deep_field(_STAMP_SIZES[-1])
    factor = finest.size // size
    blocks = finest.stamps.reshape(len(finest), size, factor, size, factor)
    return StampLibrary.from_stamps(blocks.mean(axis=(2, 4)), finest.names)


@cache
def _sums(size: int) -> np.ndarray:
    return _library(size).stamps.sum(axis=(1, 2))


@cache
def _transfer_functions(name: str) -> np.ndarray:
    """Fourier transforms of the PSFs of a band, shape (9, 216, 109)."""
    instrument = BANDS[name].instrument
    fine = Instrument.from_dict(
        {
            **instrument.as_dict(),
            "pixel_scale": PIXEL_SCALE,
            "psf_shape": (SIDE - 1, SIDE - 1),
        }
    )
    kernels = fine.psf_kernels_from(np.linspace(*instrument.psf_fwhm, N_WIDTHS))
    padded = np.zeros((N_WIDTHS, SIDE, SIDE), dtype=np.float32)
    padded[:, :-1, :-1] = kernels
    middle = SIDE // 2 - 1
    return fft.rfft2(np.roll(padded, (-middle, -middle), axis=(1, 2)))


def _binned(image: np.ndarray, band: Band) -> np.ndarray:
    """The middle of a field in the pixels of a band."""
    factor = round(band.instrument.pixel_scale / PIXEL_SCALE)
    side = factor * band.instrument.shape[0]
    first = (SIDE - side) // 2
    cut = image[first : first + side, first : first + side]
    n = side // factor
    return np.ascontiguousarray(cut.reshape(n, factor, n, factor).sum(axis=(1, 3)))
