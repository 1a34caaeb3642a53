"""Cut-outs from FITS files, in the bands and on the grid of a network."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from autolens_ml.applications.fit.dataset import (
    DATA,
    Extension,
    pixel_scale_from,
    role_and_band_from,
)
from autolens_ml.exceptions import DataError
from autolens_ml.simulate.finding.grid import regridded

__all__ = ["Candidate", "candidates_from", "cutout_from", "grids_from"]

_SUFFIXES = (".fits", ".fits.gz", ".fit")
# What surveys and challenges put before the name of a band.
_PREFIXES = ("NIR_", "NISP_", "EUC_", "EUCLID_")
# Cards of a header that say how large pixels are, wherever on the sky they lie.
_SCALE_CARDS = (
    *("PIXSCAY", "PIXSCALE", "NAXIS", "WCSAXES"),
    *(f"{name}{axis}" for name in ("CTYPE", "CUNIT", "CDELT", "CROTA") for axis in (1, 2)),
    *(f"{name}{i}_{j}" for name in ("CD", "PC") for i in (1, 2) for j in (1, 2)),
)
# What reading a damaged file raises.
_DAMAGED = (OSError, TypeError, ValueError, IndexError, fits.VerifyError)
# Of what is cut out of a mosaic, beyond the field of the network [arcsec].
_MARGIN = 1.0


@dataclass(frozen=True)
class Candidate:
    """One system to be looked at.

    Attributes
    ----------
    name : str
        What the table calls it.
    files : dict
        The file of each band; of all bands that are not named, that of ``""``.
    position : tuple of float or None
        Right ascension and declination in degrees of the middle of the cut-out; ``None`` for the
        middle of the image.
    """

    name: str
    files: dict[str, Path]
    position: tuple[float, float] | None = None


def candidates_from(inputs: Sequence[str | Path], bands: Sequence[str]) -> list[Candidate]:
    """What there is to be looked at: FITS files, folders of them, and catalogues.

    A catalogue is a CSV file with a column ``file``, or a column for each band, of paths from its
    own folder; and, if need be, ``name``, and ``ra`` and ``dec`` in degrees, where the files are
    larger images to cut from.

    Raises
    ------
    DataError
        When a file or folder is not there, or holds nothing to look at, or two candidates have the
        same name.
    """
    found: list[Candidate] = []
    for path in (Path(item) for item in inputs):
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.name.lower().endswith(_SUFFIXES))
            if not files:
                raise DataError(f"{path}: no FITS files in it; give a folder of cut-outs")
            found += [Candidate(file.name, {"": file}) for file in files]
        elif path.suffix.lower() == ".csv":
            found += _of_catalogue(path, bands)
        elif path.is_file():
            found.append(Candidate(path.name, {"": path}))
        else:
            raise DataError(
                f"{path}: no such file or folder; give FITS files, a folder of them or a catalogue"
            )
    seen: set[str] = set()
    for candidate in found:
        if candidate.name in seen:
            raise DataError(
                f"two candidates are called {candidate.name}: give them names in a catalogue"
            )
        seen.add(candidate.name)
    return found


def _of_catalogue(path: Path, bands: Sequence[str]) -> Iterator[Candidate]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a catalogue in CSV")
    with open(path, newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        columns = table.fieldnames or []
        named = [band for band in bands if band in columns]
        if "file" not in columns and len(named) < len(bands):
            raise DataError(
                f"{path}: needs a column file, or a column for each of {', '.join(bands)}"
            )
        if ("ra" in columns) != ("dec" in columns):
            raise DataError(f"{path}: needs both columns ra and dec, in degrees, or neither")
        for number, row in enumerate(table, start=1):
            own = {band: path.parent / row[band] for band in named if row[band]}
            if row.get("file"):
                own[""] = path.parent / row["file"]
            if not own:
                raise DataError(f"{path}: row {number} names no file")
            position = None
            if "ra" in columns:
                try:
                    position = float(row["ra"]), float(row["dec"])
                except (TypeError, ValueError) as error:
                    raise DataError(f"{path}: row {number} has no ra and dec in degrees") from error
            name = row.get("name") or (f"{number}" if position else next(iter(own.values())).name)
            yield Candidate(name, own, position)


def cutout_from(
    candidate: Candidate,
    bands: Sequence[str],
    shape: tuple[int, int],
    pixel_scale: float,
    given_pixel_scale: float | None = None,
) -> np.ndarray:
    """The images of a candidate on the grid of a network.

    Bands are found by the names of extensions (``VIS_BGSUB``, ``NIR_J``, ``J``); where a network
    has one band and a file one image, that is it. Images in other pixels are averaged, larger ones
    cut, smaller ones padded with NaN. All bands must have one orientation, whichever it is.

    Parameters
    ----------
    candidate
        Whose files are read.
    bands
        Names, in the order of the result.
    shape, pixel_scale
        Pixels (y, x) and arcsec per pixel of the network.
    given_pixel_scale
        Of the files, in arcsec, where their headers have none or a wrong one.

    Returns
    -------
    ndarray
        Float32, shape (n_bands, *shape).

    Raises
    ------
    DataError
        When a file is missing or damaged, or has not all bands, pixels without size, or no data
        where the cut-out is.
    """
    planes = np.empty((len(bands), *shape), dtype=np.float32)
    by_file: dict[Path, list[int]] = {}
    for i, band in enumerate(bands):
        path = candidate.files.get(band, candidate.files.get(""))
        if path is None:
            raise DataError(f"{candidate.name}: no file for band {band}")
        by_file.setdefault(path, []).append(i)
    for path, numbers in by_file.items():
        # Where a file is of one band, what it holds has to be it, whatever it is called.
        own = any(candidate.files.get(bands[i]) == path for i in numbers) or len(bands) == 1
        with _opened(path) as units:
            for i in numbers:
                unit, extension = _unit_of(units, path, bands[i], own and len(numbers) == 1)
                image, scale, centre = _image_of(
                    unit, extension, candidate.position, shape, pixel_scale, given_pixel_scale
                )
                planes[i] = regridded(image, scale, shape, pixel_scale, centre)
    if not np.isfinite(planes).any(axis=(1, 2)).all():
        raise DataError(f"{candidate.name}: no data in all bands at the place of the cut-out")
    return planes


def grids_from(
    path: Path, bands: Sequence[str], pixel_scale: float | None = None
) -> list[tuple[tuple[int, int], float]]:
    """Shape (y, x) and arcsec per pixel of the image of each band in a file.

    Parameters
    ----------
    path
        A FITS file.
    bands
        Names; of one band alone the file need not say the name.
    pixel_scale
        arcsec per pixel, by default of the headers.

    Raises
    ------
    DataError
        When the file cannot be read, or has no image of a band.
    """
    grids = []
    with _opened(path) as units:
        for band in bands:
            _, extension = _unit_of(units, path, band, len(bands) == 1)
            scale = _pixel_scale_of(extension) if pixel_scale is None else pixel_scale
            grids.append((extension.shape, scale))
    return grids


class _opened:
    """A FITS file, and its mistakes in words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._units: fits.HDUList | None = None

    def __enter__(self) -> fits.HDUList:
        if not self._path.is_file():
            raise DataError(f"{self._path}: no such file; give the path of a FITS file")
        try:
            with warnings.catch_warnings():
                # What astropy mends on reading needs no word; what it cannot mend raises.
                warnings.simplefilter("ignore", AstropyUserWarning)
                self._units = fits.open(self._path, memmap=True)
                len(self._units)
        except _DAMAGED as error:
            raise _unreadable(self._path, error) from error
        return self._units

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._units.close()
        if isinstance(error, _DAMAGED):
            raise _unreadable(self._path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].split(",")[0].rstrip(".")
    return DataError(f"{path}: not a readable FITS file ({reason}); give a whole copy of it")


def _unit_of(
    units: fits.HDUList, path: Path, band: str, is_own: bool
) -> tuple[fits.hdu.base._BaseHDU, Extension]:
    """The image of a band."""
    images = []
    for number, unit in enumerate(units):
        shape = unit.shape if unit.is_image else ()
        if len(shape) != 2:
            continue
        name = "" if unit.name == "PRIMARY" else unit.name.strip().upper()
        role, of_band = role_and_band_from(name)
        extension = Extension(path, number, name, role, of_band, shape, unit.header)
        images.append((unit, extension))
    if not images:
        raise DataError(f"{path}: holds no two-dimensional image")
    matching = [pair for pair in images if _is_band(pair[1], band)]
    if matching:
        return matching[0]
    data = [pair for pair in images if pair[1].role in (DATA, None) and not pair[1].band]
    if is_own and len(images if len(images) == 1 else data) == 1:
        return images[0] if len(images) == 1 else data[0]
    names = ", ".join(extension.name or str(extension.number) for _, extension in images)
    raise DataError(f"{path}: no image of band {band} among its images ({names})")


def _is_band(extension: Extension, band: str) -> bool:
    """Whether an image is of a band: ``J`` of ``J``, ``NIR_J``, ``NIR_J_BGSUB``."""
    if extension.role not in (DATA, None):
        return False
    name = extension.band if extension.role else extension.name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name == band.upper()


def _pixel_scale_of(extension: Extension) -> float:
    """arcsec per pixel; the stamps of a survey have the same cards, which take time to read."""
    header = extension.header
    cards = tuple((name, header[name]) for name in _SCALE_CARDS if name in header)
    try:
        return _pixel_scale_from_cards(cards)
    except DataError:
        # The same once more, for a message that names the image.
        return pixel_scale_from(extension)


@lru_cache(maxsize=64)
def _pixel_scale_from_cards(cards: tuple[tuple[str, Any], ...]) -> float:
    return pixel_scale_from(Extension(Path(), 0, "", None, "", (0, 0), fits.Header(dict(cards))))


def _image_of(
    unit: fits.hdu.base._BaseHDU,
    extension: Extension,
    position: tuple[float, float] | None,
    shape: tuple[int, int],
    pixel_scale: float,
    given_pixel_scale: float | None,
) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Pixels, arcsec per pixel, and where in them the middle of the cut-out is."""
    scale = _pixel_scale_of(extension) if given_pixel_scale is None else given_pixel_scale
    if position is None:
        return np.asarray(unit.data, dtype=np.float32), scale, (0.0, 0.0)
    with warnings.catch_warnings():
        # astropy comments on non-standard cards that do not touch positions.
        warnings.simplefilter("ignore")
        wcs = WCS(unit.header).celestial
        if not wcs.has_celestial:
            raise DataError(f"{extension}: no sky coordinates in its header, so no cut-outs")
        column, row = (float(value) for value in wcs.world_to_pixel_values(*position))
    reach = [0.5 * side * pixel_scale / scale + _MARGIN / scale for side in shape]
    bounds = []
    for at, half, side in zip((row, column), reach, extension.shape, strict=True):
        if not -half < at < side - 1.0 + half:
            raise DataError(f"{extension}: ra {position[0]}, dec {position[1]} lies outside")
        bounds.append((max(int(at - half), 0), min(int(np.ceil(at + half)) + 1, side)))
    (top, bottom), (left, right) = bounds
    image = np.asarray(unit.section[top:bottom, left:right], dtype=np.float32)
    middle = 0.5 * (top + bottom - 1), 0.5 * (left + right - 1)
    return image, scale, (scale * (middle[0] - row), scale * (column - middle[1]))
