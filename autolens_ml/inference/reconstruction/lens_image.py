"""Images of lenses on the grid of a reconstruction, with their point spread functions."""

from __future__ import annotations

from dataclasses import dataclass

import autolens as al
import numpy as np
import torch
from scipy.ndimage import map_coordinates

from autolens_ml.exceptions import DataError
from autolens_ml.inference.reconstruction.loop import Observed, units_of
from autolens_ml.simulate.observation import observation_from, psf_fwhm_from

__all__ = ["GriddedImage", "LensImage", "joined", "on_grid"]

# Pixel scales this close are the same, as in `simulate.observation`.
_SAME_SCALE = 0.005


@dataclass(frozen=True, eq=False)
class LensImage:
    """An image of a lens, whose own light is subtracted, as plain arrays.

    Parameters
    ----------
    image
        Shape (y, x), row 0 at +y; (0, 0) is in the middle.
    noise_map
        Root mean square of the noise, of the same shape.
    psf
        Point spread function in the pixels of the image, an odd number of rows and columns.
    pixel_scale
        Side of a pixel [arcsec].
    mask
        True or 1 where data are used, of the shape of the image; all are by default.

    Raises
    ------
    DataError
        If the shapes do not fit.
    """

    image: np.ndarray
    noise_map: np.ndarray
    psf: np.ndarray
    pixel_scale: float
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.image)
        if len(shape) != 2 or np.shape(self.noise_map) != shape:
            raise DataError(
                f"image of shape {shape} and noise_map of {np.shape(self.noise_map)}: give two "
                "arrays (y, x) of one shape"
            )
        if self.mask is not None and np.shape(self.mask) != shape:
            raise DataError(f"mask of shape {np.shape(self.mask)} for an image of {shape}")
        if np.ndim(self.psf) != 2 or not all(n % 2 for n in np.shape(self.psf)):
            raise DataError(
                f"psf of shape {np.shape(self.psf)}: give an odd number of rows and of columns"
            )
        if not 0.0 < self.pixel_scale < np.inf:
            raise DataError(f"pixel_scale must be above 0, not {self.pixel_scale!r}")

    def imaging(self) -> al.Imaging:
        """The same as the dataset that PyAutoLens fits."""

        def array_from(values: np.ndarray) -> al.Array2D:
            return al.Array2D.no_mask(
                np.asarray(values, dtype=float), pixel_scales=self.pixel_scale
            )

        used = np.ones(np.shape(self.image), bool) if self.mask is None else self.mask > 0
        dataset = al.Imaging(
            # Where data are not used they may be anything.
            data=array_from(np.where(used, self.image, 0.0)),
            noise_map=array_from(np.where(used, self.noise_map, 1.0)),
            psf=al.Convolver(kernel=array_from(self.psf), normalize=True),
        )
        if used.all():
            return dataset
        return dataset.apply_mask(mask=al.Mask2D(mask=~used, pixel_scales=self.pixel_scale))


@dataclass(frozen=True, eq=False)
class GriddedImage:
    """An image on the grid of a reconstruction.

    Attributes
    ----------
    observed : Observed
        A batch of one.
    unit : float
        What the data are divided by there.
    centre : tuple of float
        (y, x) of the middle of the grid in the coordinates of the data [arcsec].
    pixel_scale : float
        Of the data themselves [arcsec].
    signal_to_noise : float
        Peak of the data over the noise of a typical pixel, both smoothed by three pixels by three
        the one and not at all the other.
    """

    observed: Observed
    unit: float
    centre: tuple[float, float]
    pixel_scale: float
    signal_to_noise: float


def on_grid(
    data: al.Imaging | LensImage, shape: tuple[int, int], pixel_scale: float
) -> GriddedImage:
    """Data on a grid around (0, 0).

    Data on the same pixel scale are cut or padded by whole pixels. Others are averaged over the
    overlaps of pixels, with their noise, which is then correlated between neighbours.

    Parameters
    ----------
    data
        An image without light of the lens.
    shape, pixel_scale
        Of the grid.

    Raises
    ------
    DataError
        When it is not imaging data, has no PSF, has NaNs, or nothing of it lies on the grid.
    """
    dataset = data.imaging() if isinstance(data, LensImage) else data
    found = observation_from(dataset, shape, pixel_scale)
    image, noise_map, mask = (
        torch.from_numpy(np.asarray(array)).float()[None]
        for array in (found.unit * found.images, found.unit * found.noise, found.mask)
    )
    unit = float(units_of(image, noise_map, mask)[0])
    psf = torch.from_numpy(_psf_on(dataset, found.pixel_scale, pixel_scale)).float()[None]
    fwhm = torch.tensor([psf_fwhm_from(dataset)], dtype=torch.float32)
    return GriddedImage(
        Observed(image / unit, noise_map / unit, mask, psf, fwhm),
        unit=unit,
        centre=found.centre,
        pixel_scale=found.pixel_scale,
        signal_to_noise=unit / float(noise_map[mask > 0].median()),
    )


def joined(images: list[GriddedImage]) -> Observed:
    """A batch of images; their point spread functions are given zeros around them."""
    sizes = [image.observed.psf.shape[1:] for image in images]
    rows, columns = (max(size[i] for size in sizes) for i in (0, 1))
    psfs = []
    for image, (n_rows, n_columns) in zip(images, sizes, strict=True):
        margins = [(columns - n_columns) // 2] * 2 + [(rows - n_rows) // 2] * 2
        psfs.append(torch.nn.functional.pad(image.observed.psf, margins))
    others = {
        name: torch.cat([getattr(image.observed, name) for image in images])
        for name in ("image", "noise_map", "mask", "psf_fwhm")
    }
    return Observed(**others, psf=torch.cat(psfs))


def _psf_on(dataset: al.Imaging, native: float, pixel_scale: float) -> np.ndarray:
    """The kernel of a dataset in pixels of another size, of sum one."""
    kernel = np.asarray(dataset.psf.kernel.native.array, dtype=float)
    scale = native / dataset.psf.convolve_over_sample_size
    if abs(scale / pixel_scale - 1.0) > _SAME_SCALE or any(n % 2 == 0 for n in kernel.shape):
        half = [max(1, round(0.5 * n * scale / pixel_scale)) for n in kernel.shape]
        places = [
            np.arange(-h, h + 1) * pixel_scale / scale + 0.5 * (n - 1)
            for h, n in zip(half, kernel.shape, strict=True)
        ]
        kernel = map_coordinates(kernel, np.meshgrid(*places, indexing="ij"), order=3)
        kernel = kernel.clip(min=0.0)
    return kernel / kernel.sum()
