"""Shears of galaxies from their stamps, as a dataset that PyAutoLens fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autolens as al
import numpy as np
import torch

from autolens_ml.exceptions import DataError, NetworkError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.shear import ShearNetwork

__all__ = ["ShearEstimator", "Shears"]

_BATCH = 256
# Pixel scales that differ by less are the same.
_SAME_SCALE = 0.01


@dataclass(frozen=True, eq=False)
class Shears:
    """Estimates of shear, one for each galaxy.

    Attributes
    ----------
    shear
        Reduced shears (g_1, g_2), shape (n, 2): g_1 along x, g_2 along x = y, row 0 at +y.
    error
        Standard deviation of either component, from intrinsic shapes and noise, shape (n,).
    """

    shear: np.ndarray
    error: np.ndarray

    def __len__(self) -> int:
        return len(self.error)

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean shear of all galaxies and its standard error, both of shape (2,)."""
        weight = self.error**-2.0
        mean = weight @ self.shear / weight.sum()
        return mean, np.full(2, weight.sum() ** -0.5)


class ShearEstimator:
    """Measures shears with a calibrated network.

    Parameters
    ----------
    network
        A shipped network by name, the path of a card or its folder, a card, or a network itself.

    Attributes
    ----------
    card : Card or None
        Of a stored network.
    size : int
        Pixels a side that the network sees of a stamp.
    pixel_scale : float or None
        arcsec per pixel of the stamps that it was trained on, if known.

    Raises
    ------
    NetworkError
        When there is no such network, it is damaged, or it is none that calibrated shears come of.
    """

    def __init__(self, network: str | Path | Card | ShearNetwork = "shear-euclid") -> None:
        self.card: Card | None = None
        self.pixel_scale: float | None = None
        if not isinstance(network, ShearNetwork):
            self.card = network if isinstance(network, Card) else find_card(network, "shear")
            self.pixel_scale = self.card.inputs.get("pixel_scale")
            network = stored_network(self.card)
            if not isinstance(network, ShearNetwork):
                raise NetworkError(
                    f"{self.card.path}: a network that shears were regressed with, which is biased "
                    "and has no errors: choose a calibrated one, such as shear-euclid"
                )
        self._network = network.eval()
        self.size = network.config["size"]

    def measure(
        self,
        stamps: np.ndarray | Sequence[Any],
        psfs: np.ndarray | Sequence[Any],
        pixel_scale: float | None = None,
    ) -> Shears:
        """Measure the shears of galaxies.

        Parameters
        ----------
        stamps
            Galaxies in the middle of square images, their background subtracted, in any units:
            shape (n, y, x), row 0 at +y, or n ``al.Array2D``. Larger ones are cut.
        psfs
            Their PSFs on the same pixels, as stamps; or one for all of them, shape (y, x).
        pixel_scale
            arcsec per pixel; where it is given it must be that of the network.

        Raises
        ------
        DataError
            When images are too small, not finite, empty, of another pixel scale, or galaxies and
            PSFs differ in number.
        """
        galaxies = self._cut(_stack(stamps, "stamps"))
        kernels = _stack(psfs, "psfs")
        if len(kernels) == 1:
            kernels = np.repeat(kernels, len(galaxies), axis=0)
        if len(kernels) != len(galaxies):
            raise DataError(
                f"{len(kernels)} PSFs for {len(galaxies)} galaxies: give one for each, or one"
            )
        self._check_scale(pixel_scale, stamps)
        parts = [
            self._network.shears(
                torch.from_numpy(galaxies[i : i + _BATCH]),
                torch.from_numpy(kernels[i : i + _BATCH]),
            )
            for i in range(0, len(galaxies), _BATCH)
        ]
        shears, errors = (torch.cat(part).double().numpy() for part in zip(*parts, strict=True))
        return Shears(shears, errors)

    def dataset_from(
        self,
        stamps: np.ndarray | Sequence[Any],
        psfs: np.ndarray | Sequence[Any],
        positions: np.ndarray | Sequence[tuple[float, float]],
        redshifts: np.ndarray | Sequence[float] | None = None,
        pixel_scale: float | None = None,
        name: str = "",
    ) -> al.WeakDataset:
        """Shears as the dataset that ``al.AnalysisWeak`` fits.

        Parameters
        ----------
        stamps, psfs, pixel_scale
            As for :meth:`measure`.
        positions
            Of the galaxies, (y, x) in arcsec, shape (n, 2).
        redshifts
            Of the galaxies; by default all are at that of the model's source.
        name
            Of the dataset.

        Returns
        -------
        al.WeakDataset
            Of reduced shears; its noise is that of intrinsic shapes and pixels.

        Raises
        ------
        DataError
            As :meth:`measure`, or when positions or redshifts differ from galaxies in number.
        """
        shears = self.measure(stamps, psfs, pixel_scale)
        places = np.asarray(positions, dtype=float)
        if places.shape != (len(shears), 2):
            raise DataError(
                f"positions of shape {places.shape} for {len(shears)} galaxies: give (y, x) of each"
            )
        if redshifts is not None and len(redshifts) != len(shears):
            raise DataError(f"{len(redshifts)} redshifts for {len(shears)} galaxies: give one each")
        return al.WeakDataset.from_arrays(
            positions=places,
            gamma_1=shears.shear[:, 0],
            gamma_2=shears.shear[:, 1],
            noise_map=shears.error.tolist(),
            redshifts=None if redshifts is None else [float(z) for z in redshifts],
            is_reduced=True,
            name=name,
        )

    def _cut(self, stamps: np.ndarray) -> np.ndarray:
        """The middles of stamps."""
        spare = [side - self.size for side in stamps.shape[1:]]
        if min(spare) < 0:
            y, x = stamps.shape[1:]
            raise DataError(
                f"stamps of {y} x {x} pixels: the network sees {self.size} x {self.size}, give "
                "stamps of that size or larger"
            )
        top, left = (n // 2 for n in spare)
        return np.ascontiguousarray(stamps[:, top : top + self.size, left : left + self.size])

    def _check_scale(self, pixel_scale: float | None, stamps: Any) -> None:
        if pixel_scale is None:
            pixel_scale = getattr(stamps[0], "pixel_scale", None)
        if pixel_scale is None or self.pixel_scale is None:
            return
        if abs(pixel_scale / self.pixel_scale - 1.0) > _SAME_SCALE:
            raise DataError(
                f"stamps of {pixel_scale:g} arcsec per pixel: the network is for "
                f"{self.pixel_scale:g}, choose or train another"
            )


def _stack(images: Any, what: str) -> np.ndarray:
    """float32 of shape (n, y, x) from an array, or from arrays that may be PyAutoLens's."""
    if not isinstance(images, np.ndarray):
        images = images if isinstance(images, (list, tuple)) else [images]
        arrays = [np.asarray(getattr(image, "native", image), dtype=np.float32) for image in images]
        if len({array.shape for array in arrays}) != 1:
            raise DataError(f"{what} of different shapes, or none: give images of one size")
        images = np.stack(arrays)
    stacked = np.asarray(images, dtype=np.float32)
    if stacked.ndim == 2:
        stacked = stacked[None]
    if stacked.ndim != 3 or stacked.size == 0:
        raise DataError(f"{what} of shape {stacked.shape}: give images, shape (n, y, x)")
    if wrong := [i for i, image in enumerate(stacked) if not np.isfinite(image).all()]:
        raise DataError(f"{what} {wrong[0]}: has NaN or infinite pixels; replace or leave it out")
    if empty := [i for i, image in enumerate(stacked) if not image.any()]:
        raise DataError(f"{what} {empty[0]}: is empty; leave it out")
    return stacked
