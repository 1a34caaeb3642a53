"""Reader of the published sets: folders of images, one for each class.

``Model_I`` to ``Model_IV`` of DeepLenseSim and the older sets have a folder for each class, in
folders such as ``train`` and ``val``; each file is an image (``.npy``, ``.png``, ``.jpg`` or
``.tif``) or, of vortices, an image with the mass of the axion, which numpy has pickled. Files may
come from anywhere, so nothing but arrays and numbers is ever made of a pickle.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage import color, io

from autolens_ml.exceptions import DataError
from autolens_ml.simulate.morphology.systems import CLASSES

__all__ = ["FOLDERS", "PublishedSet", "array_from", "image_from", "published_set"]

# What folders of each class are called, in lower case.
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "no_sub": ("no_sub", "no", "no_substructure", "nosub"),
    "cdm": ("cdm", "sub", "sphere", "spherical", "spheres"),
    "vortex": ("vortex", "vort", "axion"),
}
_ARRAYS, _PICTURES = (".npy",), (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# What numpy's pickles of arrays and numbers are made of.
_HARMLESS = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


@dataclass(frozen=True, eq=False)
class PublishedSet:
    """Images of a published set.

    Attributes
    ----------
    images : ndarray
        As they are stored, float32, shape (n, y, x).
    classes : ndarray
        Indices into ``systems.CLASSES``, shape (n,).
    axion_mass : ndarray
        In eV where files say it, NaN elsewhere, shape (n,).
    files : tuple of Path
        Where each is from.
    """

    images: np.ndarray
    classes: np.ndarray
    axion_mass: np.ndarray
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)


def published_set(folder: str | Path, n_per_class: int | None = None) -> PublishedSet:
    """The images of a folder such as ``Model_I/train``.

    Parameters
    ----------
    folder
        Has a folder for each class, see ``FOLDERS``; at least one of them.
    n_per_class
        Images of each class, in the order of their names; by default all.

    Raises
    ------
    DataError
        When there is no folder of a class, a file cannot be read, or images differ in shape.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the one with a folder for each class")
    found = _folders(folder)
    if not found:
        known = ", ".join(name for names in FOLDERS.values() for name in names)
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
        hint = f"; perhaps {folder / inner[0]}" if inner else ""
        raise DataError(f"{folder}: no folder of a class ({known}){hint}")
    images, classes, masses, files = [], [], [], []
    for number, name in enumerate(CLASSES):
        for place in found.get(name, ()):
            paths = sorted(
                path for path in place.iterdir() if path.suffix.lower() in _ARRAYS + _PICTURES
            )
            for path in paths[:n_per_class]:
                image, mass = image_from(path)
                if images and image.shape != images[0].shape:
                    raise DataError(
                        f"{path}: {image.shape[0]} x {image.shape[1]} pixels, where {files[0]} has "
                        f"{images[0].shape[0]} x {images[0].shape[1]}; give images of one size"
                    )
                images.append(image)
                classes.append(number)
                masses.append(mass)
                files.append(path)
    if not files:
        raise DataError(f"{folder}: no images ({', '.join(_ARRAYS + _PICTURES)})")
    return PublishedSet(np.stack(images), np.array(classes), np.array(masses), tuple(files))


def image_from(path: str | Path) -> tuple[np.ndarray, float]:
    """One image, float32, shape (y, x), and the mass of the axion in eV, NaN if it does not say.

    Raises
    ------
    DataError
        When the file cannot be read or holds no image.
    """
    path = Path(path)
    values: Any
    if path.suffix.lower() in _ARRAYS:
        values = array_from(path)
    else:
        try:
            values = np.asarray(io.imread(path), dtype=float)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: not a picture that can be read") from error
        if values.ndim == 3:
            values = color.rgb2gray(values[..., :3])
    mass = np.nan
    if values.dtype == object:
        # [image, mass].
        parts = list(values.ravel())
        values = np.asarray(parts[0])
        mass = float(parts[1]) if len(parts) > 1 and np.ndim(parts[1]) == 0 else np.nan
    values = np.squeeze(values)
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(f"{path}: holds no image of finite numbers, but an array of {values.shape}")
    return values.astype(np.float32), mass


def array_from(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file; a pickled one if it is made of arrays and numbers alone.

    Raises
    ------
    DataError
        When it cannot be read, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            _, _, dtype = read(file) if read else (None, None, np.dtype(float))
            if dtype.hasobject:
                return np.asarray(_Unpickler(file).load(), dtype=object)
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not an array that can be read ({reason})") from error


class _Unpickler(pickle.Unpickler):
    """Makes arrays and numbers, and nothing that could do anything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module, name)


def _folders(folder: Path) -> dict[str, list[Path]]:
    by_name: dict[str, list[Path]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, aliases in FOLDERS.items():
            if place.name.lower() in aliases:
                by_name.setdefault(name, []).append(place)
    return by_name
