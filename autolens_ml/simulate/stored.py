"""Simulated sets on disk: one HDF5 file, or a folder of FITS files for every lens.

Both are written while the lenses are made, in memory that does not grow with their number. A run
that was killed leaves nothing broken behind: called again, it goes on where it stopped, and the set
is the one that it would have been.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import autolens as al
import h5py
import numpy as np
from autofit.tools.util import open_atomic

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.forward import CHUNK, instance_at
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.population import Population, SimulatedLenses

if TYPE_CHECKING:
    from autolens_ml.simulate.sources import StampLibrary

__all__ = ["LensFile", "open_set", "write_fits", "write_hdf5"]

FORMAT = 1
_PACKAGES = ("autolens_ml", "autolens", "autofit", "jax", "numpy")
_DTYPES = {
    "parameters": np.float64,
    "latents": np.float64,
    "psf_fwhm": np.float64,
    "exposure_times": np.float64,
    "stamps": np.int32,
    "data": np.float32,
    "noise_maps": np.float32,
    "planes": np.float32,
}
_PLANES = "planes"
_DESCRIPTION = "population.json"
_LABEL = re.compile(r"cls\d+")

Progress = Callable[[int, int], None]


def write_hdf5(
    population: Population,
    n: int,
    seed: int,
    path: str | Path,
    planes: bool = False,
    say: Progress = lambda done, n: None,
) -> Path:
    """Simulate lenses into an HDF5 file, which :func:`open_set` reads.

    The file has the datasets ``parameters`` and ``latents`` (n, n_parameters), ``data`` and
    ``noise_maps`` (n, y, x), ``psf_fwhm`` and ``exposure_times`` (n,), ``stamps``
    (n, n_libraries) and, if asked for, ``planes`` (n, n_planes, y, x), all as in
    :class:`SimulatedLenses`, images in single precision; ``names``, the model paths of the
    parameters; ``population``, the model, instrument, selection and seed as JSON; and the
    attributes ``format`` and ``versions``.

    Until it is complete it is called ``NAME.partial``. A call with the same arguments continues
    it, or, if the file is there, does nothing.

    Parameters
    ----------
    population
        What to draw from.
    n
        How many lenses, at least 1.
    seed
        Lens i is the same for every ``n``.
    path
        The file; its folder is made if need be.
    planes
        Whether to keep noise-free images of the planes.
    say
        Called at the start and after every batch with the numbers of lenses done and asked for.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OptionError
        When ``n`` or ``seed`` is out of range, the disk is too small, or there is another set at
        ``path``.
    DataError
        When a file at ``path`` is damaged, or another process writes it.
    ModelError
        When the population has no lenses, or an image is not finite.
    """
    path = Path(path)
    _check_numbers(population, n, seed)
    description = {**_description(population, seed), "n": n, "planes": planes}
    if path.exists():
        with _opened(path, "r") as file:
            _check_same(path, json.loads(file["population"][()]), description)
        say(n, n)
        return path
    partial = path.with_name(f"{path.name}.partial")
    if not partial.exists():
        _create(partial, population, description)
    with _opened(partial, "r+") as file:
        _check_same(partial, json.loads(file["population"][()]), description)
        done = int(file["done"][0])
        start = done - done % CHUNK if done < n else n
        say(start, n)
        for lenses in population.batches(n, seed, start) if start < n else ():
            rows = slice(start, start + len(lenses))
            for name in _arrays(population, n, planes):
                file[name][rows] = getattr(lenses, name)
            _sync(file)
            file["done"][0] = start = rows.stop
            _sync(file)
            say(start, n)
    os.replace(partial, path)
    return path


def write_fits(
    population: Population,
    n: int,
    seed: int,
    folder: str | Path,
    say: Progress = lambda done, n: None,
) -> Path:
    """Simulate lenses into folders ``lens_0000000``, ``lens_0000001``, ... of FITS files.

    Each has ``data.fits``, ``noise_map.fits`` and ``psf.fits``, as ``al.Imaging.from_fits`` and
    the PyAutoLens workspaces read them, and ``info.json``: the true parameters by model path,
    redshifts, pixel scale, width of the PSF and exposure time. ``population.json`` has the
    population.

    A call with the same arguments continues a set; so does one with a larger ``n``.

    Parameters
    ----------
    population
        What to draw from.
    n
        How many lenses, at least 1.
    seed
        Lens i is the same for every ``n``.
    folder
        Where; made if need be.
    say
        Called at the start and after every batch with the numbers of lenses done and asked for.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OptionError
        When ``n`` or ``seed`` is out of range, or the folder holds another set or other files.
    DataError
        When ``population.json`` is damaged.
    ModelError
        When the population has no lenses, or an image is not finite.
    """
    folder = Path(folder)
    _check_numbers(population, n, seed)
    _claim(folder, _description(population, seed))
    done = next((i for i in range(n) if not _folder(folder, i).is_dir()), n)
    start = done - done % CHUNK if done < n else n
    say(start, n)
    redshifts = _redshifts(population)
    for lenses in population.batches(n, seed, start) if start < n else ():
        for i in range(len(lenses)):
            _write_lens(_folder(folder, start + i), lenses, i, redshifts)
        start += len(lenses)
        say(start, n)
    return folder


def open_set(path: str | Path) -> LensFile:
    """The lenses of a file that :func:`write_hdf5` made.

    Raises
    ------
    DataError
        When there is no such file, it is not complete, or it is none of ours.
    """
    return LensFile(path)


class LensFile:
    """Lenses in an HDF5 file, read when they are asked for; ``with`` closes the file.

    ``for dataset in lenses`` and ``lenses[i]`` give ``al.Imaging``.

    Parameters
    ----------
    path
        A file that :func:`write_hdf5` made.

    Attributes
    ----------
    names : tuple of str
        Dotted model paths of the parameters, column by column.
    population : dict
        Model, instrument and selection. ``af.AbstractPriorModel.from_dict`` makes the model, whose
        parameters may come in another order than ``names``.
    instrument : Instrument
        What observed them.
    seed : int
        What they were drawn with.
    versions : dict
        Of the packages that began to write the file.
    parameters, latents, data, noise_maps, psf_fwhm, exposure_times, stamps : h5py.Dataset
        As in :class:`SimulatedLenses`; read from disk when sliced.
    planes : h5py.Dataset or None
        Noise-free images, if they were kept.

    Raises
    ------
    DataError
        When there is no such file, it is not complete, or it is none of ours.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            partial = path.with_name(f"{path.name}.partial")
            remedy = "run the command that began it again" if partial.exists() else "give a file"
            raise DataError(f"{path}: no such file; {remedy}")
        self._file = _opened(path, "r")
        self.names = tuple(self._file["names"].asstr()[:])
        self.versions: dict[str, str] = json.loads(self._file.attrs["versions"])
        self.population: dict[str, Any] = json.loads(self._file["population"][()])
        self.seed: int = self.population["seed"]
        self.instrument = Instrument.from_dict(self.population["instrument"])
        for name in _DTYPES:
            setattr(self, name, self._file.get(name))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> al.Imaging:
        if not -len(self) <= index < len(self):
            raise IndexError(f"lens {index} of {len(self)}")
        return self.instrument.imaging_from(
            self.data[index].astype(float),
            self.noise_maps[index].astype(float),
            float(self.psf_fwhm[index]),
        )

    def __iter__(self) -> Iterator[al.Imaging]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_numbers(population: Population, n: int, seed: int) -> None:
    """Refuse them before anything is written."""
    population.batches(n, seed)
    if n < 1:
        raise OptionError(f"the number of lenses must be positive, not {n}")


def _description(population: Population, seed: int) -> dict[str, Any]:
    """All that the lenses depend on, for JSON, and the same in every process."""
    return {
        "format": FORMAT,
        "model": _numbered(population.model.dict()),
        "instrument": population.instrument.as_dict(),
        "max_source_offset": population.max_source_offset,
        "noise_units": population.noise_units,
        "stamps": {path: _digest(library) for path, library in population.stamps.items()},
        "seed": int(seed),
    }


def _numbered(model: dict[str, Any]) -> dict[str, Any]:
    """The dictionary of a model without what autofit counts in the whole process.

    Priors are numbered in their order from 0, and labels like ``cls12`` left out.
    """
    ids: set[int] = set()

    def visit(node: Any, change: Callable[[dict], dict]) -> Any:
        if isinstance(node, dict):
            return {key: visit(value, change) for key, value in change(node).items()}
        return [visit(value, change) for value in node] if isinstance(node, list) else node

    def collect(node: dict) -> dict:
        if isinstance(node.get("id"), int):
            ids.add(node["id"])
        return {k: v for k, v in node.items() if k != "label" or not _LABEL.fullmatch(str(v))}

    plain = visit(json.loads(json.dumps(model)), collect)
    rank = {number: i for i, number in enumerate(sorted(ids))}

    def renumber(node: dict) -> dict:
        return {**node, "id": rank[node["id"]]} if node.get("id") in rank else node

    return visit(plain, renumber)


def _digest(library: StampLibrary) -> str:
    return hashlib.sha256(np.ascontiguousarray(library.stamps).tobytes()).hexdigest()


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    if differs := sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k)):
        raise OptionError(
            f"{path}: holds another set, which differs in {', '.join(differs)}: give another "
            "output, or delete it"
        )


def _arrays(population: Population, n: int, planes: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of the datasets by name."""
    shape, dim = population.instrument.shape, population.space.dim
    shapes = {
        "parameters": (n, dim),
        "latents": (n, dim),
        "psf_fwhm": (n,),
        "exposure_times": (n,),
        "stamps": (n, len(population.stamps)),
        "data": (n, *shape),
        "noise_maps": (n, *shape),
    }
    return {**shapes, _PLANES: (n, population.forward.n_planes, *shape)} if planes else shapes


def _create(path: Path, population: Population, description: dict[str, Any]) -> None:
    """A file with room for all lenses, so that nothing but numbers is written into it later.

    HDF5 keeps its bookkeeping in memory: a file that grew would be lost with the process.
    """
    arrays = _arrays(population, description["n"], description[_PLANES])
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(int(np.prod(s)) * np.dtype(_DTYPES[name]).itemsize for name, s in arrays.items())
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OptionError(
            f"{path.parent}: {description['n']} lenses take {size / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free: ask for fewer, or give another output"
        )
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    fresh = path.with_name(f"{path.name}.new")
    with h5py.File(fresh, "w") as file:
        for name, shape in arrays.items():
            file.create_dataset(name, shape, _DTYPES[name], dcpl=early, fill_time="never")
        file.create_dataset("done", (1,), np.int64, dcpl=early, data=[0])
        # No attributes: those hold no more than 64 kB.
        file["population"] = json.dumps(description)
        file["names"] = list(population.names)
        file.attrs["format"] = FORMAT
        file.attrs["versions"] = json.dumps({name: version(name) for name in _PACKAGES})
        _sync(file)
    os.replace(fresh, path)


def _opened(path: Path, mode: str) -> h5py.File:
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        raise DataError(
            f"{path}: no HDF5 file, or another process writes it: wait for it, or delete the file"
        ) from error
    if file.attrs.get("format") != FORMAT or "population" not in file:
        file.close()
        raise DataError(f"{path}: not a set of simulated lenses of this version; make it again")
    return file


def _sync(file: h5py.File) -> None:
    file.flush()
    os.fsync(file.id.get_vfd_handle())


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write what a folder is for, or check that it is for this."""
    file = folder / _DESCRIPTION
    if file.is_file():
        try:
            found = json.loads(file.read_text())
            found.pop("versions")
        except (ValueError, AttributeError, KeyError) as error:
            raise DataError(f"{file}: damaged; delete {folder}, or give another output") from error
        _check_same(folder, found, description)
        return
    # An interrupted call may have left a part of the description.
    if folder.exists() and (
        not folder.is_dir() or any(not f.name.startswith(file.name) for f in folder.iterdir())
    ):
        raise OptionError(f"{folder}: holds something else: give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in _PACKAGES}
    with open_atomic(file) as opened:
        opened.write(json.dumps({**description, "versions": versions}, indent=2))


def _folder(folder: Path, index: int) -> Path:
    return folder / f"lens_{index:07d}"


def _write_lens(
    folder: Path, lenses: SimulatedLenses, index: int, redshifts: dict[str, float]
) -> None:
    if folder.is_dir():
        return
    population = lenses.population
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (psf,) = population.instrument.psf_kernels_from(lenses.psf_fwhm[[index]])
    images = {"data": lenses.data[index], "noise_map": lenses.noise_maps[index], "psf": psf}
    for name, image in images.items():
        al.output_to_fits(
            image,
            partial / f"{name}.fits",
            header_dict={"PIXSCALE": population.instrument.pixel_scale},
        )
    info = {**_info(lenses, index), "redshifts": redshifts}
    (partial / "info.json").write_text(json.dumps(info, indent=2))
    os.replace(partial, folder)


def _redshifts(population: Population) -> dict[str, float]:
    galaxies = instance_at(population.model).path_instance_tuples_for_class(al.Galaxy)
    return {".".join(str(p) for p in path): float(galaxy.redshift) for path, galaxy in galaxies}


def _info(lenses: SimulatedLenses, index: int) -> dict[str, Any]:
    """What is true of one lens."""
    population = lenses.population
    instrument = population.instrument
    parameters = zip(population.names, lenses.parameters[index].tolist(), strict=True)
    stamps = zip(population.stamps.items(), lenses.stamps[index], strict=True)
    return {
        "instrument": instrument.name,
        "pixel_scale": instrument.pixel_scale,
        "psf_fwhm": float(lenses.psf_fwhm[index]),
        "exposure_time": float(lenses.exposure_times[index]),
        "parameters": dict(parameters),
        "stamps": {path: library.names[i] for (path, library), i in stamps},
    }
