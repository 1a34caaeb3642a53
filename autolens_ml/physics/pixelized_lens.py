r"""From a map of convergence and a map of a source to the image of the lens.

The convergence is bilinear between the centres of its pixels, as that of
`aml.mp.PixelConvergence`, whose kernel this is
(`autolens_ml.profiles.mass.convergence_map.pixel_fields`): deflections are exact sums over the
pixels, made by zero-padded FFT. The spacing of the kernel is that of the pixels. Everything is
batched, and can be differentiated in both maps and in the shear.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.physics.lookup import bicubic, bilinear
from autolens_ml.profiles.mass.convergence_map import spectra

__all__ = ["PixelizedLens", "blurred"]

_LOOKUPS = {"bilinear": bilinear, "bicubic": bicubic}


class PixelizedLens(nn.Module):
    r"""Images of pixelized sources behind pixelized lenses.

    Rays from the pixels of the image are deflected by the map of convergence, which has the pixels
    of the image, and by an external shear; they end on the map of the source, which has pixels of
    its own. Both maps are centred on (0, 0). What a ray finds there is averaged over each pixel of
    the image, and blurred by the point spread function. No light comes from beyond the frame of the
    image, and no mass is beyond it.

    >>> lens = PixelizedLens((64, 64), 0.1, source_shape=(48, 48), source_pixel_scale=0.05)
    >>> image = lens(torch.rand(8, 64, 64), torch.rand(8, 48, 48), shear=torch.zeros(8, 2))
    >>> image.shape
    torch.Size([8, 64, 64])

    Gradients by autograd in the convergence are those of the rays' positions on the source, so a
    bilinear source gives slopes that jump from pixel to pixel; a bicubic one gives smooth slopes.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_scale: float,
        source_shape: tuple[int, int],
        source_pixel_scale: float,
        over_sampling: int = 1,
        lookup: str = "bilinear",
        log_convergence: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """
        Parameters
        ----------
        shape
            Rows and columns of image and convergence.
        pixel_scale
            Side of their pixels [arcsec], > 0.
        source_shape
            Rows and columns of the source.
        source_pixel_scale
            Side of its pixels [arcsec], > 0.
        over_sampling
            Rays along each side of a pixel, >= 1. Their deflections are exact as well, at the cost
            of a pair of FFTs for each ray of a pixel.
        lookup
            How the source is between its pixels: "bilinear", as `aml.lp.PixelLight`, or "bicubic".
        log_convergence
            Whether maps of the common logarithm of the convergence are given.
        dtype
            ``torch.float32`` or ``torch.float64``, in which all is computed whatever is given, also
            where mixed precision is on.

        Raises
        ------
        OptionError
            If a value is not so.
        """
        super().__init__()
        for name, sizes in (("shape", shape), ("source_shape", source_shape)):
            if len(sizes) != 2 or min(sizes) < 1:
                raise OptionError(f"{name}={sizes!r}: give the numbers of rows and columns")
        for name, scale in (
            ("pixel_scale", pixel_scale),
            ("source_pixel_scale", source_pixel_scale),
        ):
            if not 0.0 < scale < np.inf:
                raise OptionError(f"{name}={scale!r}: it must be above zero [arcsec]")
        if over_sampling != int(over_sampling) or over_sampling < 1:
            raise OptionError(f"over_sampling={over_sampling!r}: it must be a whole number, 1 up")
        if lookup not in _LOOKUPS:
            raise OptionError(f"lookup={lookup!r}: it must be one of {', '.join(_LOOKUPS)}")
        if dtype not in (torch.float32, torch.float64):
            raise OptionError(f"dtype={dtype!r}: it must be torch.float32 or torch.float64")
        self.shape, self.source_shape = tuple(shape), tuple(source_shape)
        self.pixel_scale, self.source_pixel_scale = pixel_scale, source_pixel_scale
        self.over_sampling = int(over_sampling)
        self.log_convergence = log_convergence
        self._lookup = _LOOKUPS[lookup]
        # Of each ray of a pixel, its distance from the pixel's centre [px].
        offsets = (np.arange(self.over_sampling) + 0.5) / self.over_sampling - 0.5
        kernels = []
        for down in offsets:
            for right in offsets:
                self._padded, fields = spectra(self.shape, self.shape, (down, right))
                # Along y, which is up, and along x.
                kernels.append(pixel_scale * np.stack((-fields[1], fields[2])))
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        kernel = torch.as_tensor(np.stack(kernels)).to(complex_dtype)
        self.register_buffer("_kernels", kernel, persistent=False)
        step = pixel_scale / self.over_sampling
        y, x = ((np.arange(n * self.over_sampling) + 0.5) * step for n in self.shape)
        rays = np.stack(np.meshgrid(0.5 * shape[0] * pixel_scale - y, x, indexing="ij"))
        rays[1] -= 0.5 * shape[1] * pixel_scale
        self.register_buffer("rays", torch.as_tensor(rays).to(dtype), persistent=False)

    def deflections(self, convergence: torch.Tensor) -> torch.Tensor:
        """The (y,x) deflections [arcsec] of the rays by the map of convergence alone.

        Parameters
        ----------
        convergence
            Shape (n, y, x); its common logarithm if `log_convergence`.

        Returns
        -------
        Shape (n, 2, y, x), with `over_sampling` rays for each pixel along both sides.

        Raises
        ------
        OptionError
            If the map has another shape.
        """
        self._check("convergence", convergence, self.shape)
        with torch.autocast(convergence.device.type, enabled=False):
            kappa = convergence.to(self.rays.dtype)
            if self.log_convergence:
                kappa = torch.pow(10.0, kappa)
            spectrum = torch.fft.rfft2(kappa, self._padded)[:, None, None] * self._kernels
            rows, columns = self.shape
            alpha = torch.fft.irfft2(spectrum, self._padded)[..., :rows, :columns]
            n, s = len(kappa), self.over_sampling
            # (n, down, right, 2, y, x) -> (n, 2, y, down, x, right)
            alpha = alpha.reshape(n, s, s, 2, rows, columns).permute(0, 3, 4, 1, 5, 2)
            return alpha.reshape(n, 2, s * rows, s * columns)

    def source_positions(
        self, convergence: torch.Tensor, shear: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Where on the source plane the rays end: (y,x) positions [arcsec], (n, 2, y, x).

        Parameters and errors as `forward`.
        """
        positions = self.rays - self.deflections(convergence)
        if shear is None:
            return positions
        if shear.shape != (len(convergence), 2):
            raise OptionError(
                f"shear of shape {tuple(shear.shape)}: give (gamma_1, gamma_2) of each lens, "
                f"{(len(convergence), 2)}"
            )
        gamma_1, gamma_2 = shear.to(self.rays.dtype)[:, :, None, None].unbind(dim=1)
        y, x = self.rays
        return positions - torch.stack((gamma_2 * x - gamma_1 * y, gamma_1 * x + gamma_2 * y), 1)

    def forward(
        self,
        convergence: torch.Tensor,
        source: torch.Tensor,
        shear: torch.Tensor | None = None,
        psf: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The images.

        Parameters
        ----------
        convergence
            Shape (n, y, x); its common logarithm if `log_convergence`.
        source
            Surface brightness, shape (n, rows, columns).
        shear
            (gamma_1, gamma_2) as of `al.mp.ExternalShear`, shape (n, 2); none by default.
        psf
            Point spread functions in the pixels of the image, odd sizes, shape (n, ky, kx), or
            (1, ky, kx) for one of all; none by default. They are not normalised here.

        Returns
        -------
        Surface brightness, shape (n, y, x).

        Raises
        ------
        OptionError
            If a shape is not so.
        """
        positions = self.source_positions(convergence, shear)
        self._check("source", source, self.source_shape)
        if len(source) != len(positions):
            raise OptionError(f"{len(source)} sources for {len(positions)} lenses")
        with torch.autocast(positions.device.type, enabled=False):
            light = self._lookup(source.to(positions.dtype), self.source_pixel_scale, positions)
            rows, columns = self.shape
            s = self.over_sampling
            image = light.reshape(-1, rows, s, columns, s).mean(dim=(2, 4))
            return image if psf is None else blurred(image, psf.to(image.dtype))

    @staticmethod
    def _check(name: str, maps: torch.Tensor, shape: tuple[int, ...]) -> None:
        if maps.ndim != 3 or maps.shape[1:] != shape:
            raise OptionError(
                f"{name} of shape {tuple(maps.shape)}: this lens takes (n, {shape[0]}, {shape[1]})"
            )


def blurred(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
    """Images convolved with point spread functions, by FFT; beyond the frame there is no light.

    Parameters
    ----------
    image
        Shape (n, y, x).
    psf
        Centred on the middle of an odd number of pixels, shape (n, ky, kx) or (1, ky, kx).

    Returns
    -------
    Shape (n, y, x).

    Raises
    ------
    OptionError
        If the point spread functions have an even size, or are not one or as many as images.
    """
    height, width = psf.shape[-2:]
    if psf.ndim != 3 or not height % 2 or not width % 2 or len(psf) not in (1, len(image)):
        raise OptionError(
            f"psf of shape {tuple(psf.shape)} for {len(image)} images: give one, or one for each, "
            "with an odd number of rows and of columns, shape (n, ky, kx)"
        )
    rows, columns = image.shape[-2:]
    padded = [next_fast_len(n + k - 1, real=True) for n, k in ((rows, height), (columns, width))]
    product = torch.fft.rfft2(image, padded) * torch.fft.rfft2(psf, padded)
    first_row, first_column = height // 2, width // 2
    full = torch.fft.irfft2(product, padded)
    return full[:, first_row : first_row + rows, first_column : first_column + columns]
