"""Read an imaging dataset from FITS and say in words what is missing or wrong with it.

The extensions are found by name (``VIS_BGSUB``, ``VIS_PSF``, ``VIS_RMS``; ``DATA``, ``PSF``,
``NOISE_MAP``; ...) and handed to ``al.Imaging.from_fits`` by number, so arrays have PyAutoLens's
own orientation.
"""

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import autolens as al
import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from autolens_ml.exceptions import DataError, DataWarning

DATA, PSF, NOISE = "data", "PSF", "noise map"

# Names are compared in upper case, on their own or joined to a band (VIS_PSF, PSF_VIS). Order
# matters: the longer name of a role stands first, and the data come last because their names are
# the least specific.
ROLE_NAMES: dict[str, tuple[str, ...]] = {
    NOISE: ("NOISE_MAP", "NOISEMAP", "NOISE", "RMS", "SIGMA", "STDDEV", "ERROR", "ERR"),
    PSF: ("PSF", "KERNEL"),
    DATA: ("BGSUB", "DATA", "SCI", "IMAGE", "IMG"),
}
OPTIONS = {DATA: "--hdu", PSF: "--psf-hdu", NOISE: "--noise-map-hdu"}

# Read only to explain: turning them into a noise map needs to know what they leave out (source
# Poisson noise).
NOT_NOISE = ("WHT", "WEIGHT", "IVAR", "VAR", "VARIANCE")

PSF_SUM_TOLERANCE = 0.01
# Pixels above so many sigma are sampled as finely as is asked for, others by so many sub-pixels.
_BRIGHT, _COARSEST = 5.0, 2


@dataclass(frozen=True)
class Extension:
    """One two-dimensional image of a FITS file.

    Attributes
    ----------
    path
        The file.
    number
        The number of the header-data unit, from 0.
    name
        Its name in upper case; empty for an unnamed primary image.
    role
        ``"data"``, ``"PSF"``, ``"noise map"``, or None if the name says nothing.
    band
        What is left of the name without the role: ``"VIS"`` of ``VIS_PSF``, ``""`` of ``PSF``.
    shape
        (rows, columns).
    header
        The header of the unit.
    """

    path: Path
    number: int
    name: str
    role: str | None
    band: str
    shape: tuple[int, int]
    header: fits.Header

    def __str__(self) -> str:
        return f"{self.path.name}[{self.name or self.number}]"


def role_and_band_from(name: str) -> tuple[str | None, str]:
    """The role and the band that an extension's name stands for.

    Parameters
    ----------
    name
        The name of an extension, in any case.

    Returns
    -------
    tuple
        ``("noise map", "NIR_Y")`` for ``"nir_y_rms"``; ``(None, "")`` for a name that says nothing.
    """
    name = re.sub(r"[\s\-.]+", "_", name.strip().upper())
    for role, suffixes in ROLE_NAMES.items():
        for suffix in suffixes:
            if name == suffix:
                return role, ""
            if name.endswith(f"_{suffix}"):
                return role, name.removesuffix(f"_{suffix}")
            if name.startswith(f"{suffix}_"):
                return role, name.removeprefix(f"{suffix}_")
    return None, ""


def extensions_from(path: Path) -> list[Extension]:
    """Every two-dimensional image of a FITS file, in the file's order.

    Raises
    ------
    DataError
        If the file is missing, is not FITS, is cut short, or holds no two-dimensional image.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a FITS image")
    try:
        with warnings.catch_warnings():
            # What astropy mends on reading needs no word; what it cannot mend raises.
            warnings.simplefilter("ignore", VerifyWarning)
            with fits.open(path, memmap=False) as units:
                images = [
                    (number, unit.name, unit.data.shape, unit.header)
                    for number, unit in enumerate(units)
                    if unit.is_image and unit.data is not None
                ]
    except (OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].split(",")[0].rstrip(".")
        raise DataError(
            f"{path}: not a readable FITS file ({reason}); give a FITS image, or a whole copy of it"
        ) from error

    extensions = []
    for number, name, shape, header in images:
        if len(shape) != 2:
            continue
        name = "" if name == "PRIMARY" else name.strip().upper()
        extensions.append(Extension(path, number, name, *role_and_band_from(name), shape, header))
    if extensions:
        return extensions
    if images:
        found = ", ".join(" x ".join(map(str, shape)) for _, _, shape, _ in images)
        raise DataError(
            f"{path}: holds arrays of shape {found}, but a two-dimensional image is needed; "
            "save one plane of it"
        )
    raise DataError(f"{path}: holds no image")


def _names(extensions: Iterable[Extension]) -> str:
    return ", ".join(f"{extension.number} {extension.name}".strip() for extension in extensions)


def _chosen(extensions: Sequence[Extension], hdu: str, role: str) -> Extension:
    """The extension that a user named or numbered."""
    for extension in extensions:
        if hdu.strip().upper() == extension.name or hdu.strip() == str(extension.number):
            return extension
    raise DataError(
        f"{extensions[0].path}: no image {hdu!r} for the {role}; "
        f"set {OPTIONS[role]} to one of: {_names(extensions)}"
    )


def _found(extensions: Sequence[Extension], role: str, band: str | None) -> Extension | None:
    """The extension with a role, of one band or shared by all; None if there is none."""
    candidates = [extension for extension in extensions if extension.role == role]
    if band is not None:
        candidates = [e for e in candidates if e.band == band] or [
            e for e in candidates if not e.band
        ]
    bands = {extension.band for extension in candidates}
    if len(bands) > 1:
        raise DataError(
            f"{extensions[0].path}: holds several bands; "
            f"set --band to one of: {', '.join(sorted(filter(None, bands)))}"
        )
    return candidates[0] if candidates else None


def _data_extension(path: Path, hdu: str | None, band: str | None) -> Extension:
    extensions = extensions_from(path)
    if hdu is not None:
        return _chosen(extensions, hdu, DATA)
    if band is not None:
        bands = sorted({e.band for e in extensions if e.role == DATA and e.band})
        if band not in bands:
            remedy = f"set --band to one of: {', '.join(bands)}" if bands else "leave --band out"
            raise DataError(f"{path}: has no band {band!r}; {remedy}")
    found = _found(extensions, DATA, band)
    if found is not None:
        return found
    unnamed = [extension for extension in extensions if extension.role is None]
    if len(unnamed) == 1:
        return unnamed[0]
    raise DataError(
        f"{path}: cannot tell which image is the data; set --hdu to one of: {_names(extensions)}"
    )


def _companion(
    role: str, data: Extension, path: Path | None, hdu: str | None, option: str
) -> Extension:
    """The PSF or the noise map that belongs to the data: in its own file, or beside the data."""
    extensions = extensions_from(path or data.path)
    if hdu is not None:
        return _chosen(extensions, hdu, role)
    found = _found(extensions, role, data.band)
    if found is not None:
        return found
    if path is not None:
        if len(extensions) == 1:
            return extensions[0]
        raise DataError(
            f"{path}: cannot tell which image is the {role}; "
            f"set {OPTIONS[role]} to one of: {_names(extensions)}"
        )
    of_band = f" of band {data.band}" if data.band else ""
    weights = [e for e in extensions if set(e.name.split("_")) & set(NOT_NOISE)]
    if role == NOISE and weights:
        raise DataError(
            f"{data.path}: no noise map{of_band}, only {_names(weights)}, which is not one; "
            f"convert it to the RMS error per pixel and give it with {option} FILE"
        )
    raise DataError(
        f"{data.path}: no {role}{of_band} among its images ({_names(extensions)}); "
        f"give it with {option} FILE or {OPTIONS[role]}"
    )


def pixel_scale_from(extension: Extension) -> float:
    """The pixel scale in arcsec of an image, from its header.

    Read from ``PIXSCAY``/``PIXSCALE`` (PyAutoLens and others write these) or the celestial WCS.

    Raises
    ------
    DataError
        If the header has none, or the pixels are not square within 1 per cent.
    """
    for keyword in ("PIXSCAY", "PIXSCALE"):
        if keyword in extension.header:
            try:
                return float(extension.header[keyword])
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{extension}: {keyword} in the header is no number; give --pixel-scale ARCSEC"
                ) from error
    with warnings.catch_warnings():
        # astropy comments on non-standard cards that do not touch the pixel scale.
        warnings.simplefilter("ignore")
        wcs = WCS(extension.header).celestial
    if not wcs.has_celestial:
        raise DataError(
            f"{extension}: no pixel scale in the header; give it with --pixel-scale ARCSEC"
        )
    scales = proj_plane_pixel_scales(wcs) * 3600.0
    if not math.isclose(scales[0], scales[1], rel_tol=0.01):
        raise DataError(
            f"{extension}: pixels of {scales[1]:.4g} x {scales[0]:.4g} arcsec are not square; "
            "resample the image, or give one --pixel-scale"
        )
    # The header's rounding (2.777777777778e-05 deg) is not the instrument's pixel scale.
    return round(float(np.mean(scales)), 8)


def imaging_from_fits(
    data: str | Path,
    *,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
    pixel_scale: float | None = None,
    mask_radius: float | None = None,
    band: str | None = None,
    hdu: str | int | None = None,
    psf_hdu: str | int | None = None,
    noise_map_hdu: str | int | None = None,
    over_sample_size: int | None = None,
) -> al.Imaging:
    """Read, check and mask an imaging dataset.

    Parameters
    ----------
    data
        FITS file of the image, and of the PSF and noise map unless they are given apart.
    psf, noise_map
        FITS files of the PSF and of the noise map (RMS error per pixel, in the units of the image).
    pixel_scale
        arcsec per pixel; by default read from the image's header.
    mask_radius
        Radius in arcsec of the circular mask about the image's centre; None keeps every pixel.
    band
        Which band to read of a file that holds several (``"VIS"`` reads ``VIS_BGSUB``, ``VIS_PSF``,
        ``VIS_RMS``).
    hdu, psf_hdu, noise_map_hdu
        Name or number of an extension, where its name does not give it away.
    over_sample_size
        Sub-pixels per side where the image is bright, see `finely_sampled`; by default 4 within 0.3
        arcsec of the centre, 2 within 0.6 and 1 beyond, the choice of PyAutoLens's own scripts.

    Returns
    -------
    al.Imaging
        The dataset, masked, its PSF normalised to 1.

    Raises
    ------
    DataError
        One line that names the input and the remedy.

    Warns
    -----
    DataWarning
        If the PSF did not sum to 1 within 1 per cent.
    """
    if over_sample_size is not None and over_sample_size < 1:
        raise DataError(f"over-sampling of {over_sample_size}; set --over-sampling to 1 or more")
    image = _data_extension(
        Path(data), None if hdu is None else str(hdu), band.strip().upper() if band else None
    )
    kernel = _companion(PSF, image, _path(psf), None if psf_hdu is None else str(psf_hdu), "--psf")
    errors = _companion(
        NOISE,
        image,
        _path(noise_map),
        None if noise_map_hdu is None else str(noise_map_hdu),
        "--noise-map",
    )
    scale = pixel_scale if pixel_scale is not None else pixel_scale_from(image)
    if not (math.isfinite(scale) and scale > 0.0):
        raise DataError(f"{image}: pixel scale of {scale} arcsec; give --pixel-scale above 0")

    if errors.shape != image.shape:
        raise DataError(
            f"{errors}: noise map of {_size(errors.shape)} px for an image of "
            f"{_size(image.shape)} px; give the noise map of this image"
        )
    _check_psf(kernel)
    mask = _mask_from(image, scale, mask_radius)
    _check_pixels(image, errors, mask)

    dataset = al.Imaging.from_fits(
        pixel_scales=scale,
        data_path=image.path,
        data_hdu=image.number,
        psf_path=kernel.path,
        psf_hdu=kernel.number,
        noise_map_path=errors.path,
        noise_map_hdu=errors.number,
        # Pixels outside the mask may hold anything; those inside were checked above, in plainer
        # words.
        check_noise_map=False,
    )
    dataset = dataset.apply_mask(mask=mask)
    if over_sample_size is not None:
        return finely_sampled(dataset, over_sample_size)
    # Fine where the lens galaxy peaks, as PyAutoLens's own scripts choose.
    sizes = al.util.over_sample.over_sample_size_via_radial_bins_from(
        grid=dataset.grid,
        sub_size_list=[4, 2, 1],
        radial_list=[0.3, 0.6],
        centre_list=[(0.0, 0.0)],
    )
    return dataset.apply_over_sampling(over_sample_size_lp=sizes)


def finely_sampled(dataset: al.Imaging, over_sample_size: int) -> al.Imaging:
    """Over-sample a dataset where there is light to sample.

    Cuspy light, such as Sersic profiles and strings of mass make, seen by few sub-pixels makes
    likelihoods that jump from model to model, and searches fail on them. Many sub-pixels in all
    pixels would be slow.

    Parameters
    ----------
    dataset
        With a mask.
    over_sample_size
        Sub-pixels per side in pixels above 5 sigma; 2 in all others, or 1 if that is 1.
    """
    sizes = al.util.over_sample.over_sample_size_via_adapt_from(
        data=dataset.data,
        noise_map=dataset.noise_map,
        signal_to_noise_cut=_BRIGHT,
        sub_size_lower=min(_COARSEST, over_sample_size),
        sub_size_upper=over_sample_size,
    )
    return dataset.apply_over_sampling(over_sample_size_lp=sizes)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _array(extension: Extension) -> np.ndarray:
    return np.asarray(fits.getdata(extension.path, extension.number), dtype=float)


def _check_psf(kernel: Extension) -> None:
    if any(side % 2 == 0 for side in kernel.shape):
        raise DataError(
            f"{kernel}: PSF of {_size(kernel.shape)} px has no central pixel; "
            "resample or trim it to an odd number of pixels a side"
        )
    values = _array(kernel)
    if not np.isfinite(values).all():
        raise DataError(
            f"{kernel}: PSF has {np.sum(~np.isfinite(values))} NaN or infinite pixels; "
            "replace them with 0"
        )
    total = values.sum()
    if total <= 0.0:
        raise DataError(f"{kernel}: PSF sums to {total:.4g}; give a PSF with a positive sum")
    if abs(total - 1.0) > PSF_SUM_TOLERANCE:
        warnings.warn(
            f"{kernel}: PSF sums to {total:.4g}; it was normalised to 1",
            DataWarning,
            stacklevel=3,
        )


def _mask_from(image: Extension, scale: float, radius: float | None) -> al.Mask2D:
    if radius is None:
        return al.Mask2D.all_false(shape_native=image.shape, pixel_scales=scale)
    half_width = 0.5 * scale * min(image.shape)
    if not 0.0 < radius <= half_width:
        raise DataError(
            f"{image}: mask radius of {radius:g} arcsec for an image of "
            f"{2 * half_width:.4g} arcsec across; set --mask-radius between 0 and {half_width:.4g}"
        )
    mask = al.Mask2D.circular(shape_native=image.shape, pixel_scales=scale, radius=radius)
    if mask.pixels_in_mask == 0:
        raise DataError(
            f"{image}: mask radius of {radius:g} arcsec holds no pixel of {scale:g} arcsec; "
            "set a larger --mask-radius"
        )
    return mask


def _check_pixels(image: Extension, errors: Extension, mask: al.Mask2D) -> None:
    inside = ~np.asarray(mask.array, dtype=bool)
    data, noise = _array(image), _array(errors)
    where = "inside the mask"

    _refuse(image, "data", inside & ~np.isfinite(data), f"NaN or infinite pixels {where}")
    if not np.any(data[inside]):
        raise DataError(f"{image}: every pixel {where} is 0; set --hdu to the image itself")
    _refuse(errors, "noise map", inside & ~np.isfinite(noise), f"NaN or infinite pixels {where}")
    _refuse(errors, "noise map", inside & (noise <= 0.0), f"zero or negative pixels {where}")


def _refuse(extension: Extension, role: str, bad: np.ndarray, what: str) -> None:
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    remedy = (
        "give those pixels a large noise, or shrink --mask-radius"
        if role == NOISE
        else "set them to 0 with a large noise, or shrink --mask-radius"
    )
    raise DataError(
        f"{extension}: {role} has {bad.sum()} {what} "
        f"(the first at row {row}, column {column}); {remedy}"
    )
