"""Libraries of source stamps: galaxies with the arms, clumps and companions no Sersic profile has.

A stamp is the map of an `autolens_ml.profiles.light.PixelLight`. Whatever a galaxy comes from, it
is cut out along its own isophote, fades to exactly zero around it, lies with its centroid in the
middle, and is resampled so that its stamp is ten half-light radii wide; what light there is beyond
four fades out. Angular sizes and fluxes are thus those that a population gives it, by `scale` and
`intensity`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import autolens as al
import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from scipy import ndimage

from autolens_ml.exceptions import DataError, DataWarning, OptionError

__all__ = [
    "StampLibrary",
    "clumpy",
    "from_fits_folder",
    "from_galsim_cosmos",
    "hubble_deep_field",
    "library_from",
]

# Width of a stamp in half-light radii.
WIDTH = 10.0

# Where a picture smoothed by one pixel is this many times its noise above the background (or, in a
# picture without noise, this fraction of the peak) is galaxy.
_THRESHOLD = 5.0
_FAINTEST = 1e-3
# Width of the fall to zero around a galaxy: a fraction of its radius, and at least [px].
_TAPER, _MIN_TAPER = 0.15, 1.5
# Below this fraction of the peak, what a spline leaves is ringing.
_RINGING = 1e-4

# Hubble Deep Field: two peaks are two objects if the light between them falls to half the fainter.
_DEBLEND = 2.0
# A galaxy touches another object only where its own light has fallen to this fraction of its peak.
_MAX_TOUCH = 0.15
# Half-light radii [px] below this are too few times the width of the picture's point sources.
_MIN_RADIUS = 2.5
# Objects nearer to the edge of the picture [px] may go on beyond it.
_EDGE = 6
# Cores of stars are white: as many pixels are saturated in all three bands.
_STAR_PIXELS = 4
_SATURATED = 250


@dataclass(frozen=True, eq=False)
class StampLibrary:
    """Galaxies as maps of one size, to be drawn as sources.

    ``PixelLight(values=library[i], pixel_scale=p, scale=s, intensity=b)`` has the half-light radius
    ``s * p * library.half_light_radius[i]`` arcsec and the peak surface brightness ``b``.

    Attributes
    ----------
    stamps
        Surface brightness with a peak of 1, float32 of shape (n, size, size), read-only. `size` may
        be odd or even: the middle is a pixel or a corner. Row 0 is +y, as in PyAutoLens arrays.
    names
        What each stamp is called, n of them.
    half_light_radius
        Radius of the circle about the centroid that holds half the light [px], shape (n,).
    """

    stamps: np.ndarray
    names: tuple[str, ...]
    half_light_radius: np.ndarray

    @classmethod
    def from_stamps(cls, stamps: np.ndarray, names: Sequence[str] | None = None) -> Self:
        """A library of maps as they are, but for the peak of 1.

        Parameters
        ----------
        stamps
            Surface brightness, shape (n, size, size), row 0 at +y.
        names
            What each is called, n of them; by default its number.

        Raises
        ------
        DataError
            If the array has another shape, names and stamps differ in number, or a stamp holds no
            light or values that are not finite.
        """
        stamps = np.array(stamps, dtype=np.float32)
        if stamps.ndim != 3 or stamps.shape[1] != stamps.shape[2] or stamps.size == 0:
            raise DataError(
                f"stamps of shape {stamps.shape}; give square ones of one size: (n, size, size)"
            )
        names = tuple(map(str, range(len(stamps)))) if names is None else tuple(names)
        if len(names) != len(stamps):
            raise DataError(f"{len(names)} names for {len(stamps)} stamps; give one for each")
        peaks = stamps.max(axis=(1, 2))
        for name, peak, stamp in zip(names, peaks, stamps, strict=True):
            if not (np.isfinite(stamp).all() and peak > 0.0):
                raise DataError(f"stamp {name}: no light, or NaN or infinite pixels; take it out")
        stamps /= peaks[:, None, None]
        radii = np.array([_half_light_radius(stamp) for stamp in stamps])
        # A library may be cached, so nobody may change it in place.
        stamps.flags.writeable = radii.flags.writeable = False
        return cls(stamps, names, radii)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.stamps.shape[1]

    def __len__(self) -> int:
        return len(self.stamps)

    def __getitem__(self, index: int) -> np.ndarray:
        """One stamp as float64, which autofit's names of output folders distinguish by value."""
        return self.stamps[index].astype(float)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Indices of `n` stamps drawn independently, each as likely as the others, shape (n,)."""
        return rng.integers(len(self), size=n)


@cache
def hubble_deep_field(size: int = 64) -> StampLibrary:
    """Galaxies of the Hubble eXtreme Deep Field, from the picture that scikit-image carries.

    They are real in shape only: the picture has 8 bits, JPEG compression and an unknown stretch.
    Its brightness is the luminance of its sRGB colours, so the surface brightness is that of the
    picture on a screen, with the dynamic range (about 1000) and the concentration of a disc.

    A galaxy is taken if its half-light radius is at least 2.5 pixels of the picture (an unresolved
    object's is about 1), it is not cut by the edge, it touches others only where its light has
    fallen below 15 % of its peak, and its core is not a star's, saturated to white. About a hundred
    are.

    Parameters
    ----------
    size
        Pixels a side of the stamps, at least 16.

    Returns
    -------
    The library, the same every time; a stamp is named by the row and column of its galaxy.

    Raises
    ------
    OptionError
        If `size` is below 16.
    """
    from skimage import color, data

    _check_size(size)
    picture = data.hubble_deep_field()
    light = color.rgb2xyz(picture)[..., 1]
    light = light - np.median(light)
    smooth = ndimage.gaussian_filter(light, 1.0)
    objects = _objects(smooth)
    saturated = (picture >= _SATURATED).all(axis=-1)

    stamps, names = [], []
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        window = _window(box, light.shape)
        if window is None:
            continue
        segment = objects[window] == number
        if segment.sum() < np.pi * _MIN_RADIUS**2:
            continue
        others = (objects[window] > 0) & ~segment
        touching = segment & ndimage.binary_dilation(others, iterations=2)
        bright = np.max(smooth[window], where=touching, initial=0.0)
        star = np.count_nonzero(saturated[window] & segment) >= _STAR_PIXELS
        if star or bright > _MAX_TOUCH * np.max(smooth[window][segment]):
            continue
        galaxy = _cut_out(light[window], segment, others)
        if _half_light_radius(galaxy) < _MIN_RADIUS:
            continue
        stamps.append(_framed(galaxy, size))
        row, column = np.add(ndimage.center_of_mass(galaxy), [side.start for side in window])
        names.append(f"hdf_{row:.0f}_{column:.0f}")
    return StampLibrary.from_stamps(np.array(stamps), names)


def from_fits_folder(folder: str | Path, size: int = 64) -> StampLibrary:
    """Galaxies from a folder of FITS images, one galaxy in each.

    Of every file, the first two-dimensional image is read; the galaxy is what is connected to the
    light nearest to its middle, after a background (the median of the outermost pixels) is
    subtracted.

    Parameters
    ----------
    folder
        Where the files are (``*.fits`` and ``*.fits.gz``); read in the order of their names.
    size
        Pixels a side of the stamps, at least 16.

    Returns
    -------
    The library; a stamp is named by its file.

    Raises
    ------
    DataError
        If the folder holds no FITS file, or a file is not readable, has no two-dimensional image,
        pixels that are not finite, or no light above its noise.
    OptionError
        If `size` is below 16.
    """
    _check_size(size)
    paths = sorted((*Path(folder).glob("*.fits"), *Path(folder).glob("*.fits.gz")))
    if not paths:
        raise DataError(f"{folder}: no FITS files (*.fits); give the folder of the stamps")
    stamps = []
    for path in paths:
        (image,) = _images_from(path)
        stamp = _stamp_from(image, size)
        if stamp is None:
            raise DataError(f"{path}: no galaxy above the noise; take the file out of the folder")
        stamps.append(stamp)
    return StampLibrary.from_stamps(np.array(stamps), [path.name for path in paths])


def from_galsim_cosmos(
    path: str | Path,
    size: int = 64,
    number: int | None = None,
    max_magnitude: float | None = None,
    seed: int = 0,
) -> StampLibrary:
    """Galaxies of a catalogue in GalSim's format, such as its COSMOS training samples.

    GalSim itself is not needed. The galaxies keep their telescope's point spread function and what
    noise their images have, so prefer bright ones. Those without light above their noise are left
    out, with a warning.

    Parameters
    ----------
    path
        The catalogue, such as ``real_galaxy_catalog_23.5.fits``, beside its files of images.
    size
        Pixels a side of the stamps, at least 16.
    number
        Read this many, drawn at random; by default, and where there are not as many, all.
    max_magnitude
        Read only galaxies brighter than this.
    seed
        Of the random choice.

    Returns
    -------
    The library; a stamp is named by its ``IDENT``.

    Raises
    ------
    DataError
        If the catalogue or an image is missing or not readable, or no galaxy is bright enough.
    OptionError
        If `size` is below 16.

    Warns
    -----
    DataWarning
        If galaxies were left out.
    """
    _check_size(size)
    path = Path(path)
    table = _catalogue_from(path)
    rows = np.arange(len(table))
    if max_magnitude is not None:
        rows = rows[table["MAG"] < max_magnitude]
        if len(rows) == 0:
            raise DataError(
                f"{path}: no galaxy is brighter than {max_magnitude}; set max_magnitude up"
            )
    if number is not None and number < len(rows):
        chosen = np.random.default_rng(seed).choice(rows, size=number, replace=False)
        rows = np.sort(chosen)

    # A file holds a thousand images, so each is opened once.
    files = np.array([str(name) for name in table["GAL_FILENAME"][rows]])
    stamps, names = [], []
    for file in dict.fromkeys(files):
        of_file = rows[files == file]
        images = _images_from(path.parent / file, table["GAL_HDU"][of_file].tolist())
        for ident, image in zip(table["IDENT"][of_file], images, strict=True):
            stamp = _stamp_from(image, size)
            if stamp is not None:
                stamps.append(stamp)
                names.append(str(ident))
    if not stamps:
        raise DataError(f"{path}: no galaxy has light above its noise; give another catalogue")
    if len(stamps) < len(rows):
        warnings.warn(
            f"{path}: {len(rows) - len(stamps)} of {len(rows)} galaxies have no light above their "
            "noise and were left out",
            DataWarning,
            stacklevel=2,
        )
    return StampLibrary.from_stamps(np.array(stamps), names)


def clumpy(n: int, size: int = 64, seed: int = 0) -> StampLibrary:
    """Irregular star-forming galaxies: discs with 3 to 12 clumps that hold 10 to 50 % of the light.

    Discs have Sersic indices of 0.5 to 1 and axis ratios of 0.4 to 1. Clumps are Gaussians of 0.15
    to 0.4 half-light radii (1 sigma) that follow the disc's light, as the giant clumps of
    star-forming galaxies at redshifts of 1 to 3 do.

    Parameters
    ----------
    n
        Number of galaxies.
    size
        Pixels a side of the stamps, at least 16.
    seed
        Of everything random.

    Raises
    ------
    OptionError
        If `n` is below 1 or `size` below 16.

    References
    ----------
    Elmegreen & Elmegreen 2005, ApJ, 627, 632; Guo et al. 2015, ApJ, 800, 39.
    """
    _check_size(size)
    if n < 1:
        raise OptionError(f"{n} galaxies; set n to 1 or more")
    rng = np.random.default_rng(seed)
    grid = al.Grid2D.uniform(shape_native=(size, size), pixel_scales=1.0, over_sample_size=4)
    stamps = [_stamp_from(_clumpy_galaxy(grid, size / WIDTH, rng), size) for _ in range(n)]
    return StampLibrary.from_stamps(np.array(stamps), [f"clumpy_{seed}_{i}" for i in range(n)])


# Galaxies of the library that is called "clumpy".
_N_CLUMPY = 500
_LIBRARIES = {"hubble-deep-field": hubble_deep_field, "clumpy": lambda: clumpy(_N_CLUMPY)}


def library_from(name: str | Path) -> StampLibrary:
    """A library by name, or from files.

    Parameters
    ----------
    name
        ``"hubble-deep-field"``; ``"clumpy"``, 500 irregular galaxies; a folder of FITS stamps; or
        a ``.fits`` file, a catalogue in GalSim's format beside its files of images.

    Raises
    ------
    OptionError
        If it is none of these.
    DataError
        If the files cannot be read.
    """
    path = Path(name)
    if str(name) in _LIBRARIES:
        return _LIBRARIES[str(name)]()
    if path.is_dir():
        return from_fits_folder(path)
    if path.suffix == ".fits":
        return from_galsim_cosmos(path)
    raise OptionError(
        f"no source stamps {str(name)!r}: choose one of {', '.join(_LIBRARIES)}, or give a folder "
        "of FITS stamps or a catalogue real_galaxy_catalog_*.fits"
    )


def _clumpy_galaxy(grid: al.Grid2D, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A disc of half-light radius `radius` [px] with clumps, on a grid of 1-pixel spacing."""
    disc = al.lp.Sersic(
        ell_comps=al.convert.ell_comps_from(
            axis_ratio=rng.uniform(0.4, 1.0), angle=rng.uniform(0.0, 180.0)
        ),
        effective_radius=radius,
        sersic_index=rng.uniform(0.5, 1.0),
    )
    light = disc.image_2d_from(grid).native.array
    light /= light.sum()
    number = rng.integers(3, 13)
    places = rng.choice(light.size, size=number, p=light.ravel())
    centres = grid.array[places] + rng.uniform(-0.5, 0.5, (number, 2))
    sigmas = radius * rng.uniform(0.15, 0.4, number)
    fluxes = rng.uniform(0.1, 0.5) * rng.dirichlet(np.full(number, 4.0))
    light *= 1.0 - fluxes.sum()
    for centre, sigma, flux in zip(centres, sigmas, fluxes, strict=True):
        clump = al.lp.GaussianSph(centre=tuple(centre), sigma=sigma)
        image = clump.image_2d_from(grid).native.array
        light += flux * image / image.sum()
    return light


def _check_size(size: int) -> None:
    if size < 16:
        raise OptionError(f"stamps of {size} pixels a side; set size to 16 or more")


def _half_light_radius(image: np.ndarray) -> float:
    """Radius of the circle about the centroid that holds half the light [px]."""
    image = np.maximum(image, 0.0)
    # A circle takes a pixel in bit by bit.
    bits = np.linspace(-0.4, 0.4, 5)
    radii = np.add.outer(bits, _radii(image)).ravel()
    order = np.argsort(radii)
    light = np.cumsum(np.tile(image.ravel(), len(bits))[order], dtype=float)
    return float(np.interp(0.5 * light[-1], light, radii[order]))


def _radii(image: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(image.shape)
    row, column = ndimage.center_of_mass(image)
    return np.hypot(rows - row, columns - column)


def _objects(smooth: np.ndarray) -> np.ndarray:
    """The objects of a picture without background, numbered from 1; 0 is sky."""
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    noise = _noise(smooth)
    # Ratios of brightness are differences of its logarithm.
    peaks = h_maxima(np.log(np.maximum(smooth, noise)), np.log(_DEBLEND))
    light = smooth > _THRESHOLD * noise
    markers, _ = ndimage.label(peaks.astype(bool) & light)
    return watershed(-smooth, markers, mask=light)


def _noise(values: np.ndarray) -> float:
    """Standard deviation of what is not galaxy, from the median of absolute deviations."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _window(box: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """A box with room for the fall to zero; None where the picture ends before."""
    margin = _EDGE + max(side.stop - side.start for side in box) // 4
    if any(
        side.start < _EDGE or side.stop > length - _EDGE
        for side, length in zip(box, shape, strict=True)
    ):
        return None
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)


def _stamp_from(image: np.ndarray, size: int) -> np.ndarray | None:
    """The stamp of the galaxy in the middle of an image; None if there is only noise."""
    border = np.ones(image.shape, dtype=bool)
    width = max(min(image.shape) // 16, 1)
    border[width:-width, width:-width] = False
    light = image - np.median(image[border])
    smooth = ndimage.gaussian_filter(light, 1.0)
    level = max(_THRESHOLD * _noise(smooth[border]), _FAINTEST * smooth.max())
    objects, _ = ndimage.label(smooth > level)
    rows, columns = np.indices(image.shape)
    middle = 0.5 * (np.array(image.shape) - 1.0)
    distance = np.hypot(rows - middle[0], columns - middle[1])
    nearest = objects.ravel()[np.argmin(np.where(objects > 0, distance, np.inf))]
    segment = (objects == nearest) & (objects > 0)
    galaxy = _cut_out(light, segment, (objects > 0) & ~segment)
    return _framed(galaxy, size) if galaxy.any() else None


def _cut_out(light: np.ndarray, segment: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The light of one object, falling to zero around it and where others or the edge begin."""
    taper = max(_TAPER * np.sqrt(segment.sum() / np.pi), _MIN_TAPER)
    # The object and a rim of one taper, smoothed by a kernel that ends after one taper.
    inside = (ndimage.distance_transform_edt(~segment) <= taper) & ~others
    edge = int(taper + 0.5) + 1
    inside[:edge] = inside[-edge:] = inside[:, :edge] = inside[:, -edge:] = False
    weight = ndimage.gaussian_filter(inside.astype(float), 0.5 * taper, truncate=2.0)
    return np.maximum(light * weight, 0.0)


def _framed(galaxy: np.ndarray, size: int) -> np.ndarray:
    """A galaxy on black, centred and resampled to a stamp of (size, size)."""
    step = WIDTH * _half_light_radius(galaxy) / size
    # Pixels that get larger average over those that they replace.
    smooth = ndimage.gaussian_filter(galaxy, max(0.0, 0.5 * (step - 1.0)))
    middle = 0.5 * (size - 1)
    first = np.array(ndimage.center_of_mass(galaxy)) - middle * step
    stamp = ndimage.affine_transform(smooth, np.full(2, step), first, (size, size), order=3)
    pixels = np.arange(size) - middle
    inside = np.clip(10.0 * (middle - np.hypot(pixels[:, None], pixels)) / size, 0.0, 1.0)
    stamp *= 0.5 - 0.5 * np.cos(np.pi * inside)
    return np.where(stamp > _RINGING * stamp.max(), stamp, 0.0)


def _images_from(path: Path, numbers: Sequence[int] | None = None) -> list[np.ndarray]:
    """Images of a FITS file: its units of these numbers, or its first one.

    Rows are in the file's order, as `al.Array2D.from_fits` reads them.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; put it there, or leave its galaxies out")
    try:
        with warnings.catch_warnings():
            # What astropy mends on reading needs no word; what it cannot mend raises.
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, memmap=False) as units:
                if numbers is None:
                    flat = [i for i, u in enumerate(units) if u.is_image and len(u.shape) == 2]
                    numbers = flat[:1]
                images = [units[number].data for number in numbers]
    except (IndexError, OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].split(",")[0].rstrip(".")
        raise DataError(
            f"{path}: not a readable FITS file ({reason}); give a whole copy of it, or take it out"
        ) from error
    if not images:
        raise DataError(f"{path}: holds no two-dimensional image; save one plane, or take it out")
    for number, image in zip(numbers, images, strict=True):
        if image is None or image.ndim != 2 or min(image.shape) < 8:
            raise DataError(
                f"{path}: unit {number} is no image of at least 8 x 8 pixels; take it out"
            )
        if not np.isfinite(image).all():
            raise DataError(
                f"{path}: unit {number} has {np.sum(~np.isfinite(image))} NaN or infinite pixels; "
                "replace them with the background"
            )
    return [np.asarray(image, dtype=float) for image in images]


def _catalogue_from(path: Path) -> fits.FITS_rec:
    """The table of a catalogue in GalSim's format."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a catalogue real_galaxy_catalog_*.fits")
    try:
        table = fits.getdata(path, 1)
    except (IndexError, OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].split(",")[0].rstrip(".")
        raise DataError(
            f"{path}: holds no table ({reason}); give a catalogue real_galaxy_catalog_*.fits"
        ) from error
    found = {name.upper() for name in table.names or ()}
    missing = {"IDENT", "MAG", "GAL_FILENAME", "GAL_HDU"} - found
    if missing:
        raise DataError(
            f"{path}: has no column {', '.join(sorted(missing))}; give the catalogue that names "
            "the images, real_galaxy_catalog_*.fits"
        )
    return table
