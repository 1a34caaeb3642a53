"""FITS files that are what they say: what is damaged is refused before it can do harm.

A header that names a hundred thousand million axes keeps a reader busy for ever, one that names a
million million pixels takes all memory. Both are seen from the mandatory cards alone.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from astropy.io.fits.verify import VerifyError

from autolens_ml.catalogue.entries import plain_text
from autolens_ml.exceptions import DataError

__all__ = ["refuse_damaged", "whole_files"]

_OTHERS = (".npy", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_BLOCK, _CARD = 2880, 80
# Of the standard (Pence et al. 2010, A&A 524, A42): axes, and bits of a value.
_MOST_AXES, _BITS = 999, (8, 16, 32, 64, -32, -64)
# A header of 36,000 cards is none; of what is compressed the length is not known before.
_MOST_BLOCKS, _MOST_COMPRESSED = 1000, 2**32
# What may follow the last unit: special records, which nobody writes any more.
_MOST_BEHIND = 100 * _BLOCK
_LONGEST = 80
_KEYS = (b"BITPIX", b"NAXIS", b"PCOUNT", b"GCOUNT")
_NUMBER = re.compile(rb"\s*([+-]?\d+)\s*(/.*)?")


@contextlib.contextmanager
def whole_files(paths: Iterable[Path | None]) -> Iterator[None]:
    """Read FITS files within: those that are damaged are refused in words.

    Parameters
    ----------
    paths
        The files; one that is not there, or is a picture or an array of numpy, is left to whoever
        reads it.

    Raises
    ------
    DataError
        When one is damaged.
    """
    given = [path for path in paths if path is not None]
    for path in given:
        if _is_file(path) and path.suffix.lower() not in _OTHERS:
            refuse_damaged(path)
    try:
        yield
    except (VerifyError, AttributeError, IndexError, KeyError, MemoryError) as error:
        # What readers meet in headers whose optional cards are damaged.
        names = ", ".join(plain_text(path) for path in given)
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{names}: not readable ({type(error).__name__}: {plain_text(reason)}); give a whole "
            "file"
        ) from error


def _is_file(path: Path) -> bool:
    """Whether there is a file; a pipe or a device would keep its reader for ever."""
    try:
        if path.is_file():
            return True
        if path.exists() and not path.is_dir():
            raise DataError(f"{plain_text(path)}: neither file nor folder; give a FITS file")
    except OSError as error:
        # Of a name that is too long the beginning says enough.
        raise DataError(
            f"{plain_text(path.name)[:_LONGEST]}: {error.strerror}; give the path of a file"
        ) from error
    return False


def refuse_damaged(path: Path) -> None:
    """Check the mandatory cards of all headers of a FITS file against its length.

    Raises
    ------
    DataError
        When it is no FITS file, a header makes no sense, or data are missing.
    """
    where = plain_text(path)
    try:
        is_compressed = path.name.lower().endswith(".gz")
        with gzip.open(path) if is_compressed else open(path, "rb") as stream:
            length = None if is_compressed else path.stat().st_size
            number = 0
            while _is_header(stream, where, number):
                size = _data_size(_cards(stream, where, number), where, number)
                _skip(stream, size, length, where, number)
                number += 1
            if len(stream.read(_MOST_BEHIND + 1)) > _MOST_BEHIND:
                # Readers look for a header in it, block by block, for hours.
                raise DataError(
                    f"{where}: more than {_MOST_BEHIND:,} bytes behind its last image; remove them"
                )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: cannot be read ({error}); give a whole FITS file") from error


def _is_header(stream: BinaryIO, where: str, number: int) -> bool:
    """Whether another header follows; what else may follow the last is no matter."""
    start = stream.read(8)
    stream.seek(-len(start), 1)
    if number == 0 and start != b"SIMPLE  ":
        raise DataError(f"{where}: not a FITS file; give a FITS image")
    return number == 0 or start == b"XTENSION"


def _cards(stream: BinaryIO, where: str, number: int) -> dict[bytes, bytes]:
    """The mandatory cards of a header as text, the stream behind it."""
    found: dict[bytes, bytes] = {}
    for _ in range(_MOST_BLOCKS):
        block = stream.read(_BLOCK)
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            key = card[:8].rstrip()
            if key == b"END":
                return found
            if key.startswith(_KEYS) and card[8:10] == b"= ":
                found.setdefault(key, card[10:])
        if len(block) < _BLOCK:
            break
    raise DataError(f"{where}: header {number} has no end; give a whole copy of it")


def _data_size(cards: dict[bytes, bytes], where: str, number: int) -> int:
    """Bytes of data that a header announces."""

    def value(key: str, default: int | None = None) -> int:
        text = cards.get(key.encode())
        if text is None and default is not None:
            return default
        match = None if text is None else _NUMBER.fullmatch(text)
        if match is None:
            raise DataError(f"{where}: header {number} has no {key}; give a whole copy of it")
        return int(match[1])

    bits, n_axes = value("BITPIX"), value("NAXIS")
    if bits not in _BITS or not 0 <= n_axes <= _MOST_AXES:
        raise DataError(
            f"{where}: header {number} has BITPIX {bits} and NAXIS {n_axes}; give a whole copy of "
            "it"
        )
    axes = [value(f"NAXIS{axis}") for axis in range(1, n_axes + 1)]
    groups, parameters = value("GCOUNT", 1), value("PCOUNT", 0)
    if min([*axes, groups, parameters]) < 0:
        raise DataError(f"{where}: header {number} has negative sizes; give a whole copy of it")
    if not axes:
        return 0
    if axes[0] == 0:  # random groups, which no image is
        axes = axes[1:]
    return abs(bits) // 8 * groups * (parameters + math.prod(axes))


def _skip(stream: BinaryIO, size: int, length: int | None, where: str, number: int) -> None:
    """Go behind the data; they have to be there."""
    end = stream.tell() + size
    if end > (_MOST_COMPRESSED if length is None else length):
        raise DataError(
            f"{where}: header {number} announces {size:,} bytes, which are not there; give a "
            "whole copy of it"
        )
    padded = stream.tell() + -(-size // _BLOCK) * _BLOCK
    if stream.seek(padded) < end:
        raise DataError(f"{where}: cut short in data {number}; give a whole copy of it")
