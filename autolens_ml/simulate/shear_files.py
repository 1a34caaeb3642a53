"""Stamps of galaxies and PSFs as files, in the layout of LensNet.

A folder has ``gal_0.fits``, ``psf_0.fits``, ... (or ``.tif``) and ``data.json``, a list with one
entry for each pair: the names ``galaxy`` and ``psf``, the PSF's shear ``e1`` and ``e2``, the
galaxy's ``g1`` and ``g2``, and whatever other numbers are known. LensNet does not say whether its
e1 and e2 are shears, (a - b) / (a + b), or distortions, (a^2 - b^2) / (a^2 + b^2), nor which way is
up: here every entry says so, by ``convention`` and ``row_0``, and so do the headers of FITS files.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from autofit.tools.util import open_atomic
from skimage import color, io

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.shear_population import GALAXY_KINDS, Scenes, ShearPopulation
from autolens_ml.simulate.shear_stamps import StampRenderer

__all__ = [
    "CONVENTION",
    "FORMATS",
    "StampFiles",
    "StampProblems",
    "entries_from",
    "image_from",
    "stamp_files_from",
    "write_stamps",
]

# The endings of files by the name of their format.
FORMATS = {"fits": ".fits", "tiff": ".tif"}
CONVENTION = "shear"

_DATA, _DESCRIPTION = "data.json", "population.json"
_FITS = (".fits", ".fit", ".fits.gz")
_IMAGES = {"galaxy": "gal", "psf": "psf"}
_VERSION = 1
# Pairs whose scenes are drawn, and are made, together.
_BATCH = 64
# Of the problems of a set, those that are told one by one.
_MAX_PROBLEMS = 20


class StampProblems(DataError):
    """What is wrong with a set of stamps, all of it.

    Attributes
    ----------
    problems : list of str
        A line for each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems[:_MAX_PROBLEMS])
        if len(problems) > _MAX_PROBLEMS:
            self.problems.append(f"and {len(problems) - _MAX_PROBLEMS} more")
        super().__init__("\n".join(self.problems))


def write_stamps(
    population: ShearPopulation,
    n: int,
    folder: str | Path,
    *,
    noise: bool = False,
    formats: Sequence[str] = ("fits",),
    seed: int = 0,
    say: Callable[[int, int], None] = lambda done, n: None,
) -> Path:
    """Simulate pairs of galaxies and PSFs into a folder.

    A call with the same arguments continues a set; so does one with a larger ``n``. ``data.json``
    comes last and lists all pairs that are there.

    Parameters
    ----------
    population
        What to draw from.
    n
        How many pairs, at least 1.
    folder
        Where; made if need be.
    noise
        Whether galaxies have white noise, of unit RMS. Their brightness is the same without it.
    formats
        Of ``FORMATS``; the first is that of the names in ``data.json``. TIFF files are of 32 bits.
    seed
        Pair i depends on it and on i alone.
    say
        Called with the numbers of pairs done and asked for.

    Returns
    -------
    Path
        ``data.json``.

    Raises
    ------
    OptionError
        When ``n``, ``seed`` or a format means nothing, or the folder holds something else.
    DataError
        When the description of the set in the folder is damaged.
    """
    folder = Path(folder)
    if n < 1:
        raise OptionError(f"the number of galaxies must be positive, not {n}")
    if seed < 0:
        raise OptionError(f"the seed must not be negative, but is {seed}")
    if not formats or (unknown := [name for name in formats if name not in FORMATS]):
        wrong = ", ".join(unknown) if formats else "none"
        raise OptionError(f"no format {wrong}: choose from {', '.join(FORMATS)}")
    _claim(
        folder,
        {
            "version": _VERSION,
            "population": population.as_dict(),
            "noise": noise,
            "formats": list(formats),
            "seed": seed,
        },
    )
    renderer = StampRenderer(population)
    entries: list[dict[str, Any]] = []
    for first in range(0, n, _BATCH):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first // _BATCH,)))
        scenes = population.draw(_BATCH, rng)
        batch = _entries(scenes, first, FORMATS[formats[0]], population.pixel_scale)[: n - first]
        names = [
            [f"{stem}_{first + i}{FORMATS[name]}" for name in formats for stem in _IMAGES.values()]
            for i in range(len(batch))
        ]
        if not all((folder / name).is_file() for pair in names for name in pair):
            galaxies, psfs = renderer.stamps(scenes)
            if not noise:
                galaxies = galaxies - renderer.noise(scenes)
            for i, entry in enumerate(batch):
                for ending in (FORMATS[name] for name in formats):
                    _write(folder / f"gal_{first + i}{ending}", galaxies[i].numpy(), entry)
                    _write(folder / f"psf_{first + i}{ending}", psfs[i].numpy(), entry)
        entries += batch
        say(len(entries), n)
    known = len(json.loads((folder / _DATA).read_text())) if (folder / _DATA).is_file() else 0
    if known < n:
        with open_atomic(folder / _DATA) as stream:
            stream.write(json.dumps(entries, indent=1))
    return folder / _DATA


@dataclass(frozen=True, eq=False)
class StampFiles:
    """The contents of a ``data.json``.

    Attributes
    ----------
    path : Path
        The file.
    entries : list of dict
        Its entries.
    galaxies : ndarray
        float32 of shape (n, channels, y, x), row 0 at +y.
    psfs : ndarray or None
        Of shape (n, y, x), if they were asked for.
    values : dict
        The numbers that were asked for, each of shape (n,).
    """

    path: Path
    entries: list[dict[str, Any]]
    galaxies: np.ndarray
    psfs: np.ndarray | None
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.entries)


def stamp_files_from(
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    wanted: Sequence[str] = (),
    shape: tuple[int, int] | None = None,
    mode: str = "grayscale",
    psfs: bool = False,
    flip_rows: bool = False,
) -> StampFiles:
    """Read a set of stamps.

    Parameters
    ----------
    path
        ``data.json``; the files that it names are beside it.
    classes
        Numbers that every entry must have.
    wanted
        Numbers that are read if every entry has them.
    shape
        Pixels (y, x) that every galaxy must have; by default those of the first.
    mode
        ``"grayscale"`` or ``"rgb"``.
    psfs
        Whether to read them too.
    flip_rows
        Whether row 0 of files that do not say so is at -y, as in FITS files of GalSim, not at +y.

    Raises
    ------
    StampProblems
        When something is missing or cannot be read: every such thing, a line for each.
    """
    path = Path(path)
    entries = entries_from(path)
    problems: list[str] = []
    values = {name: _numbers(entries, name, path, problems) for name in classes}
    for name in wanted:
        if name not in values and all(_is_number(entry.get(name)) for entry in entries):
            values[name] = np.array([entry[name] for entry in entries], dtype=float)
    kinds = ("galaxy", "psf") if psfs else ("galaxy",)
    images: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    for i, entry in enumerate(entries):
        for kind in kinds:
            name = entry.get(kind)
            if not isinstance(name, str):
                problems.append(f"{path}: entry {i} names no {kind}")
                continue
            try:
                flip = _flip(entry.get("row_0"), f"{path}: entry {i}", flip_rows)
                image = image_from(
                    path.parent / name, mode if kind == "galaxy" else "grayscale", flip
                )
            except DataError as error:
                problems.append(str(error))
                continue
            images[kind].append(image)
            expected = (
                shape if shape is not None and kind == "galaxy" else images[kind][0].shape[1:]
            )
            if image.shape[1:] != tuple(expected):
                problems.append(
                    f"{path.parent / name}: {_size(image.shape[1:])} pixels, not "
                    f"{_size(expected)}: set image_height and image_width, or cut images alike"
                )
    if problems:
        raise StampProblems(problems)
    return StampFiles(
        path=path,
        entries=entries,
        galaxies=np.stack(images["galaxy"]),
        psfs=np.stack(images["psf"])[:, 0] if psfs else None,
        values=values,
    )


def entries_from(path: Path) -> list[dict[str, Any]]:
    """The entries of a ``data.json``.

    Raises
    ------
    StampProblems
        When there is no such file, or it is no list of entries.
    """
    try:
        entries = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise StampProblems([f"{path}: no such file; give the data.json of a set"]) from error
    except (OSError, ValueError) as error:
        raise StampProblems([f"{path}: not readable as JSON"]) from error
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        raise StampProblems([f"{path}: must be a list of entries such as galaxy, psf, g1, g2"])
    return entries


def image_from(path: str | Path, mode: str = "grayscale", flip_rows: bool = False) -> np.ndarray:
    """One image of a FITS file or a picture.

    Parameters
    ----------
    path
        Of the file.
    mode
        ``"grayscale"``: colours are averaged to their luminance; ``"rgb"``: three channels.
    flip_rows
        Whether row 0 is at -y; a FITS file whose header has ``ROW_0`` knows better.

    Returns
    -------
    ndarray
        float32 of shape (channels, y, x), row 0 at +y.

    Raises
    ------
    DataError
        When there is no such file, it cannot be read, or it holds no image of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give an image in FITS, PNG or TIFF")
    if path.name.lower().endswith(_FITS):
        image, stated = _fits_image(path)
        flip_rows = _flip(stated, str(path), flip_rows)
    else:
        image = _picture(path)
    if image.ndim == 3 and mode == "grayscale":
        image = color.rgb2gray(image[..., :3]) if image.shape[-1] >= 3 else image[..., 0]
    image = image[None] if image.ndim == 2 else np.moveaxis(image[..., :3], -1, 0)
    if mode == "rgb" and len(image) == 1:
        image = np.repeat(image, 3, axis=0)
    if min(image.shape) == 0 or not np.isfinite(image).all():
        raise DataError(f"{path}: has NaN or infinite pixels, or none at all")
    return np.ascontiguousarray(image[:, ::-1] if flip_rows else image, dtype=np.float32)


def _entries(scenes: Scenes, first: int, ending: str, pixel_scale: float) -> list[dict[str, Any]]:
    """What is true of each pair."""
    columns = {
        "e": scenes.psf_ellipticity,
        "g": scenes.shear,
        "ellipticity_": scenes.observed_ellipticity,
        "intrinsic_": scenes.intrinsic_ellipticity,
    }
    numbers = {}
    for name, values in columns.items():
        numbers |= {f"{name}1": values.real.tolist(), f"{name}2": values.imag.tolist()}
    numbers |= {
        "psf_fwhm": scenes.psf_fwhm.tolist(),
        "signal_to_noise": scenes.signal_to_noise.tolist(),
        "half_light_radius": scenes.half_light_radius.tolist(),
    }
    kinds = [GALAXY_KINDS[kind] for kind in scenes.kind.tolist()]
    return [
        {
            **{kind: f"{stem}_{first + i}{ending}" for kind, stem in _IMAGES.items()},
            **{name: values[i] for name, values in numbers.items()},
            "kind": kinds[i],
            "pixel_scale": pixel_scale,
            "convention": CONVENTION,
            "row_0": "+y",
        }
        for i in range(len(scenes))
    ]


def _write(path: Path, image: np.ndarray, entry: Mapping[str, Any]) -> None:
    """An image at once or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix == ".fits":
        unit = fits.PrimaryHDU(image.astype(np.float32))
        for name in ("e1", "e2", "g1", "g2"):
            unit.header[name.upper()] = entry[name]
        unit.header["CONVENT"] = (CONVENTION, "|g| = (a - b) / (a + b)")
        unit.header["PIXSCALE"] = (entry["pixel_scale"], "arcsec")
        unit.header["ROW_0"] = (entry["row_0"], "where the first row of the array is")
        unit.writeto(partial, overwrite=True)
    else:
        tifffile.imwrite(partial, image.astype(np.float32))
    os.replace(partial, path)


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write what a folder is for, or check that it is for this."""
    file = folder / _DESCRIPTION
    description = json.loads(json.dumps(description))
    if file.is_file():
        try:
            found = json.loads(file.read_text())
            differs = sorted(
                k for k in {*found, *description} if found.get(k) != description.get(k)
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: damaged; delete {folder}, or give another output") from error
        if differs:
            raise OptionError(
                f"{folder}: holds another set, which differs in {', '.join(differs)}: give "
                "another output, or delete it"
            )
        return
    # An interrupted call may have left a part of the description.
    if folder.exists() and (
        not folder.is_dir() or any(not f.name.startswith(file.name) for f in folder.iterdir())
    ):
        raise OptionError(f"{folder}: holds something else: give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open_atomic(file) as stream:
        stream.write(json.dumps(description, indent=1))


def _numbers(
    entries: list[dict[str, Any]], name: str, path: Path, problems: list[str]
) -> np.ndarray:
    """A number of every entry; what is missing is a problem."""
    missing = [i for i, entry in enumerate(entries) if not _is_number(entry.get(name))]
    if len(missing) == len(entries):
        known = sorted(k for k, value in entries[0].items() if _is_number(value))
        problems.append(f"{path}: no entry has a number {name}; there are {', '.join(known)}")
        return np.zeros(0)
    problems += [f"{path}: entry {i} has no number {name}" for i in missing]
    return np.array([entry[name] for entry in entries if _is_number(entry.get(name))], dtype=float)


def _fits_image(path: Path) -> tuple[np.ndarray, Any]:
    """The first image of a FITS file, and what its header says of its rows."""
    try:
        with warnings.catch_warnings():
            # What astropy mends on reading needs no word; what it cannot mend raises.
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, memmap=False) as units:
                unit = next((u for u in units if u.is_image and len(u.shape) == 2), None)
                if unit is None:
                    raise DataError(f"{path}: holds no two-dimensional image")
                return np.asarray(unit.data, dtype=float), unit.header.get("ROW_0")
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a readable FITS file") from error


def _picture(path: Path) -> np.ndarray:
    try:
        image = np.asarray(io.imread(path), dtype=float)
    except Exception as error:  # each format's reader raises its own
        raise DataError(f"{path}: not a readable image") from error
    if image.ndim not in (2, 3):
        raise DataError(f"{path}: {image.ndim} dimensions, not those of one image")
    return image


def _flip(stated: Any, where: str, otherwise: bool) -> bool:
    """Whether row 0 is at -y."""
    if stated is None:
        return otherwise
    if stated not in ("+y", "-y"):
        raise DataError(f"{where}: row_0 must be +y or -y, not {stated!r}")
    return stated == "-y"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
