"""Finding lenses in many cut-outs: files in, a table out, row by row."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofit.tools.util import open_atomic

from autolens_ml.applications.finder.cutouts import Candidate, candidates_from, cutout_from
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.finder import Finder
from autolens_ml.training.detection import THRESHOLD
from autolens_ml.training.finding import TASK, grid_of

__all__ = ["COLUMNS", "FindReport", "Found", "find", "finder_card", "probabilities_of"]

COLUMNS = ("name", "probability", "is_lens", "network", "sha256", "error")
_HEADER = ",".join(COLUMNS) + "\n"
_SHA_DIGITS = 12
# Images of the candidates that could be read, and for each candidate why it could not, or nothing.
type _Read = tuple[list[np.ndarray], list[str]]


@dataclass(frozen=True)
class Found:
    """One row of the table.

    Attributes
    ----------
    name : str
        Of the candidate.
    probability : float or None
        Of being a lens; ``None`` where it could not be looked at.
    is_lens : bool
        Whether it is above the threshold.
    error : str
        Why it could not be looked at, in one line.
    """

    name: str
    probability: float | None
    is_lens: bool
    error: str = ""


@dataclass(frozen=True)
class FindReport:
    """What was found.

    Attributes
    ----------
    output : Path
        The table.
    network : Card
        Of the network that looked.
    rows : tuple of Found
        All rows of the table, those of earlier calls first.
    n_looked : int
        How many of them this call looked at.
    seconds : float
        Wall time of this call.
    """

    output: Path
    network: Card
    rows: tuple[Found, ...]
    n_looked: int
    seconds: float

    @property
    def lenses(self) -> list[Found]:
        """Rows above the threshold, the most probable first."""
        return sorted((row for row in self.rows if row.is_lens), key=lambda row: -row.probability)

    @property
    def n_failed(self) -> int:
        """Candidates that could not be looked at."""
        return sum(row.probability is None for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "output": str(self.output),
            "network": self.network.name,
            "n": len(self.rows),
            "n_looked": self.n_looked,
            "n_lenses": len(self.lenses),
            "n_failed": self.n_failed,
            "seconds": self.seconds,
            "rows": [vars(row) for row in self.rows],
        }

    def __str__(self) -> str:
        failed = f", {self.n_failed} could not be read" if self.n_failed else ""
        rate = f" ({self.n_looked / self.seconds:.0f} per second)" if self.n_looked else ""
        return (
            f"{len(self.lenses)} lenses among {len(self.rows)} candidates{failed}: {self.output}\n"
            f"{self.n_looked} looked at by {self.network.name} in {self.seconds:.1f} s{rate}"
        )


def find(
    inputs: Sequence[str | Path],
    *,
    network: str | Path = "finder-vis",
    output: str | Path = "lenses.csv",
    threshold: float = THRESHOLD,
    pixel_scale: float | None = None,
    batch_size: int = 64,
    progress: Progress = lambda line: None,
) -> FindReport:
    """Look for lenses in files, folders and catalogues; a call that was cut off goes on.

    A file that cannot be read has its reason in its row, and ends nothing.

    Parameters
    ----------
    inputs
        FITS files, folders of them, and catalogues, see `candidates_from`.
    network
        A network for lens finding, by name in any case, or by path.
    output
        The table, a CSV file with ``COLUMNS``. Rows that it has already are kept, if they are of
        the same network; what could not be read is tried again.
    threshold
        Probability above which a candidate is called a lens.
    pixel_scale
        arcsec per pixel of the files; by default from their headers.
    batch_size
        Candidates that are looked at together.
    progress
        Takes a line at a time.

    Raises
    ------
    DataError
        When an input is not there, or nothing is to be looked at.
    NetworkError
        When there is no such network for lens finding.
    OptionError
        When an option is out of its range, or the table is of another network.
    """
    began = time.monotonic()
    if not 0.0 <= threshold < 1.0:
        raise OptionError(f"a threshold of {threshold}; set --threshold between 0 and 1")
    if batch_size < 1:
        raise OptionError(f"batches of {batch_size}; set --batch-size to 1 or more")
    if pixel_scale is not None and not 0.0 < pixel_scale < np.inf:
        raise OptionError(f"pixels of {pixel_scale} arcsec; set --pixel-scale above 0")
    card = finder_card(network)
    bands, _, _ = grid_of(card)
    candidates = candidates_from(inputs, bands)
    if not candidates:
        raise DataError("nothing to look at: the catalogues have no rows")
    finder = stored_network(card)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    asked = {candidate.name for candidate in candidates}
    rows = _rows_of(output, card, threshold, asked)
    known = {row.name for row in rows}
    missing = [candidate for candidate in candidates if candidate.name not in known]
    parts = [missing[i : i + batch_size] for i in range(0, len(missing), batch_size)]
    done = 0
    with open(output, "a", newline="", encoding="utf-8") as stream:
        for part, read in zip(parts, _read_ahead(parts, card, pixel_scale), strict=True):
            looked = list(_looked_at(part, read, finder, threshold))
            stream.write(_lines(looked, card))
            stream.flush()
            os.fsync(stream.fileno())
            rows += looked
            done += len(part)
            rate = done / (time.monotonic() - began)
            progress(
                f"{done:,} of {len(missing):,} candidates, "
                f"{sum(row.is_lens for row in rows):,} lenses, {rate:.0f} per second, "
                f"{(len(missing) - done) / rate:.0f} s left"
            )
    return FindReport(
        output=output,
        network=card,
        # Others are of candidates that only earlier calls were asked for.
        rows=tuple(row for row in rows if row.name in asked),
        n_looked=len(missing),
        seconds=time.monotonic() - began,
    )


def finder_card(network: str | Path) -> Card:
    """The card of a network for lens finding; the case of its name does not matter.

    Raises
    ------
    NetworkError
        When there is none, or it is for something else.
    """
    try:
        return find_card(network, TASK)
    except NetworkError:
        if str(network) == str(network).lower():
            raise
        return find_card(str(network).lower(), TASK)


@torch.inference_mode()
def probabilities_of(finder: Finder, images: np.ndarray) -> np.ndarray:
    """Probabilities of lenses, shape (n,), of images (n, n_bands, y, x), NaN without data."""
    return finder.probabilities(torch.from_numpy(images)).double().numpy()


def _read_ahead(
    parts: Sequence[Sequence[Candidate]], card: Card, pixel_scale: float | None
) -> Iterator[_Read]:
    """The images of each batch of candidates, read while the network looks at the batch before."""
    bands, shape, own_scale = grid_of(card)

    def read(part: Sequence[Candidate]) -> _Read:
        images: list[np.ndarray] = []
        errors: list[str] = []
        for candidate in part:
            try:
                images.append(cutout_from(candidate, bands, shape, own_scale, pixel_scale))
                errors.append("")
            except DataError as error:
                errors.append(" ".join(str(error).split()))
        return images, errors

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = [reader.submit(read, part) for part in parts[:1]]
        for i in range(len(parts)):
            found = coming.pop().result()
            coming += [reader.submit(read, part) for part in parts[i + 1 : i + 2]]
            yield found


def _looked_at(
    candidates: Sequence[Candidate], read: _Read, finder: Finder, threshold: float
) -> Iterator[Found]:
    """Rows of the table, in the order of the candidates."""
    images, errors = read
    found = iter(probabilities_of(finder, np.stack(images)) if images else ())
    for candidate, error in zip(candidates, errors, strict=True):
        if error:
            yield Found(candidate.name, None, False, error)
        else:
            probability = round(float(next(found)), 6)
            yield Found(candidate.name, probability, probability > threshold)


def _lines(rows: Sequence[Found], card: Card) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        probability = "" if row.probability is None else f"{row.probability:.6f}"
        sha = card.sha256[:_SHA_DIGITS]
        writer.writerow([row.name, probability, int(row.is_lens), card.name, sha, row.error])
    return text.getvalue()


def _rows_of(output: Path, card: Card, threshold: float, asked: set[str]) -> list[Found]:
    """Rows that a table has already, without what was cut off, and what failed and is asked for."""
    rows = []
    if output.exists():
        text = output.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole and not whole.startswith(_HEADER):
            raise OptionError(f"{output}: not a table of found lenses; give another --out")
        for row in csv.DictReader(io.StringIO(whole)):
            if (row["network"], row["sha256"]) != (card.name, card.sha256[:_SHA_DIGITS]):
                raise OptionError(
                    f"{output}: made by {row['network']}, not by this {card.name}; give another "
                    "--out"
                )
            if row["probability"]:
                probability = float(row["probability"])
                rows.append(Found(row["name"], probability, probability > threshold))
            elif row["name"] not in asked:
                rows.append(Found(row["name"], None, False, row["error"]))
    with open_atomic(output) as stream:
        stream.write(_HEADER + _lines(rows, card))
    return rows
