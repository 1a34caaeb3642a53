"""The second lens-finding challenge for Euclid: its folders of stamps, its table, its lenses.

The challenge (Metcalf et al. 2019, A&A 625, A119, describes the first) has a folder of FITS files
for each band, ``EUC_VIS/imageEUC_VIS-200000.fits`` and so on for ``EUC_J``, ``EUC_Y`` and
``EUC_H``, and a table of all systems, ``EuclidDataFile2.0train.csv``, with one row for each ``ID``.
Lines before the row of column names are comments.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from autolens_ml.exceptions import DataError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.simulate.finding.bands import bands_from
from autolens_ml.simulate.finding.grid import regridded
from autolens_ml.simulate.finding.lensing import LensDefinition
from autolens_ml.training.detection import Detection, detection_from
from autolens_ml.training.finding import grid_of
from autolens_ml.training.finding_set import FindingBatch, turned

__all__ = ["ChallengeSet", "judged_on_challenge"]

_COLUMNS = ("ID", "n_source_im", "mag_eff", "n_pix_source")
_BATCH = 64


class ChallengeSet:
    """Systems of the challenge, in the bands and on the grid of a network.

    It is a ``Source`` of batches, as training takes them.

    Parameters
    ----------
    folder
        Of the folders ``EUC_VIS`` and so on, and of the table.
    bands
        Names, in the order of the network's channels.
    shape, pixel_scale
        Pixels (y, x) and arcsec per pixel of the network's grid.
    table
        The table, by default the only CSV file of the folder.
    definition
        What a lens is; by default the challenge's own.
    augment
        Whether images are turned and flipped at random.

    Attributes
    ----------
    ids : ndarray
        Of all systems that have images in all bands, shape (n,), integers.
    labels : Tensor
        1 for lenses, 0 for all others, shape (n,), integers.

    Raises
    ------
    DataError
        When the table or the images are not there, or not as the challenge has them.
    """

    def __init__(
        self,
        folder: str | Path,
        bands: Sequence[str],
        shape: tuple[int, int],
        pixel_scale: float,
        table: str | Path | None = None,
        definition: LensDefinition | None = None,
        augment: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.bands = bands_from(bands)
        self.shape = shape
        self.pixel_scale = pixel_scale
        self.augment = augment
        rows = _table_from(_table_path(self.folder) if table is None else Path(table))
        self._files = [_files_of(self.folder / f"EUC_{band.name}") for band in self.bands]
        there = np.array([all(int(i) in files for files in self._files) for i in rows["ID"]])
        if not there.any():
            raise DataError(f"{self.folder}: has images of none of the systems in its table")
        self.ids = rows["ID"][there].astype(int)
        is_lens = (definition or LensDefinition()).accepts(
            rows["mag_eff"][there], rows["n_pix_source"][there], rows["n_source_im"][there]
        )
        self.labels = torch.from_numpy(is_lens.astype(np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> FindingBatch:
        """The images of the systems at ``rows``.

        Raises
        ------
        DataError
            When an image cannot be read, or has not the pixels of its band.
        """
        images = np.empty((len(rows), len(self.bands), *self.shape), dtype=np.float32)
        for i, number in enumerate(self.ids[rows]):
            for j, (band, files) in enumerate(zip(self.bands, self._files, strict=True)):
                image = _image_from(files[int(number)], band.instrument.shape)
                scale = band.instrument.pixel_scale
                images[i, j] = regridded(image, scale, self.shape, self.pixel_scale)
        turns = rng.integers(8, size=len(rows)) if self.augment else np.zeros(len(rows), dtype=int)
        return FindingBatch(
            turned(torch.from_numpy(images), turns), self.labels[torch.from_numpy(rows)]
        )


def judged_on_challenge(
    card: Card, folder: str | Path, table: str | Path | None = None, seed: int = 0
) -> Detection:
    """Figures of merit of a network on the challenge's images.

    Raises
    ------
    DataError
        As `ChallengeSet`; or when its systems are all lenses, or none is.
    NetworkError
        When the card is not that of a finder, or its weights are damaged.
    """
    bands, shape, pixel_scale = grid_of(card)
    systems = ChallengeSet(folder, bands, shape, pixel_scale, table)
    network, rng = stored_network(card), np.random.default_rng(seed)
    found = []
    with torch.inference_mode():
        for i in range(0, len(systems), _BATCH):
            batch = systems.batch_from(np.arange(i, min(i + _BATCH, len(systems))), rng)
            found.append(network.probabilities(batch.images).double().numpy())
    return detection_from(np.concatenate(found), systems.labels.numpy(), seed)


def _table_path(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(f"{folder}: {len(tables)} CSV files in it; name the table of the challenge")
    return tables[0]


def _table_from(path: Path) -> dict[str, np.ndarray]:
    """Columns of the table that say what a lens is, as floats."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the table of the challenge")
    columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    with open(path, newline="", encoding="utf-8") as stream:
        names: list[str] | None = None
        for row in csv.reader(stream):
            cells = [cell.strip() for cell in row]
            if names is None:
                if "ID" in cells:
                    names = cells
                    if missing := [name for name in _COLUMNS if name not in names]:
                        raise DataError(f"{path}: has no column {', '.join(missing)}")
                continue
            try:
                for name, values in columns.items():
                    values.append(float(cells[names.index(name)]))
            except (IndexError, ValueError) as error:
                line = len(columns["ID"])
                raise DataError(f"{path}: row {line} of the systems has no {name}") from error
    if not columns["ID"]:
        raise DataError(f"{path}: no row of column names with ID, or no system below it")
    return {name: np.array(values) for name, values in columns.items()}


def _files_of(folder: Path) -> dict[int, Path]:
    """Files by the number at the end of their names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; the challenge has one for each band")
    found = {}
    for path in folder.glob("*.fits"):
        number = path.stem.rpartition("-")[2]
        if number.isdigit():
            found[int(number)] = path
    return found


def _image_from(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        image = np.asarray(fits.getdata(path), dtype=np.float32)
    except (OSError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{path}: not a readable FITS image; take its row out of the table"
        ) from error
    if image.shape != tuple(shape):
        raise DataError(f"{path}: {image.shape} pixels, where the challenge has {tuple(shape)}")
    return image
