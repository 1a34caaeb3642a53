"""Sets of lenses with substructure: simulated once, observed afresh in every step.

What is stored has no noise. At every step exposure times, noise and orientation are drawn anew, so
that no image is ever seen twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from autolens_ml.simulate.morphology.lensing import CHUNK, MACRO, POINT, STRING
from autolens_ml.simulate.morphology.systems import (
    MorphologyPopulation,
    MorphologySystems,
    classes_of,
)
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.finding_set import turned

__all__ = ["MorphologyBatch", "MorphologySource", "stored_systems", "turned_columns"]

# Half precision holds values up to 65504.
_LARGEST = 6.0e4
_N_ORIENTATIONS = 8


@dataclass(frozen=True)
class MorphologyBatch:
    """Observed lenses.

    Attributes
    ----------
    images, noise : Tensor
        Image and its RMS in units of the noise of an empty pixel, shape (n, y, x).
    psf_width : Tensor
        Full widths at half maximum in pixels, shape (n,).
    labels : Tensor
        Indices into ``systems.CLASSES``, shape (n,).
    macro : Tensor
        Columns as in ``lensing.MACRO``, turned as the images are, shape (n, 12).
    residuals : Tensor
        Of the smooth lens that fits best, in units of the noise, shape (n, y, x); zero where none
        is known.
    vortex : Tensor
        Of the first vortex, columns as in ``lensing.STRING``, turned likewise, shape (n, 6).
    """

    images: torch.Tensor
    noise: torch.Tensor
    psf_width: torch.Tensor
    labels: torch.Tensor
    macro: torch.Tensor
    residuals: torch.Tensor
    vortex: torch.Tensor


def stored_systems(
    population: MorphologyPopulation,
    n: int,
    seed: int,
    folder: Path,
    say: Callable[[int, int], None] = lambda done, n: None,
) -> MorphologySystems:
    """Simulate into a folder under ``folder``, one for each setting and mixture of kinds.

    What an interrupted call left there is kept.

    Returns
    -------
    MorphologySystems
        Memory maps, images in half precision.

    Raises
    ------
    DataError
        When the folder holds another set, or a damaged one.
    OptionError
        When the set does not fit on the disk.
    """
    made_of = {
        "setting": population.setting.as_dict(),
        "shares": population.shares,
        "held_out": population.held_out,
        "with_smooth": population.with_smooth,
    }
    origin = sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    layout: Layout = {
        "images": ((n, *population.setting.instrument.shape), np.float16),
        "kinds": ((n,), np.int8),
        "macro": ((n, len(MACRO)), np.float32),
        "points": ((n, population.n_slots, len(POINT)), np.float32),
        "strings": ((n, population.n_strings, len(STRING)), np.float32),
        "psf_fwhm": ((n,), np.float32),
    }
    if population.with_smooth:
        layout["smooth"] = layout["images"]

    def made(start: int) -> Iterator[dict[str, np.ndarray]]:
        for systems in population.batches(n, seed, start):
            values = {name: getattr(systems, name) for name in layout}
            for name in {"images", "smooth"} & set(values):
                values[name] = np.minimum(values[name], _LARGEST)
            yield values

    place = folder / f"{population.setting.name}-{origin}-{n}-{seed}"
    return MorphologySystems(**stored_arrays(place, layout, seed, made, CHUNK, say, origin))


class MorphologySource:
    """Observations of stored lenses.

    Parameters
    ----------
    systems
        What is observed.
    population
        What they were drawn from.
    augment
        Whether exposure times are drawn anew; otherwise they are those of a typical observation.
    turn
        Whether orientations are, by default if exposure times are.

    Attributes
    ----------
    labels : ndarray
        Indices into ``systems.CLASSES``, shape (n,).
    """

    def __init__(
        self,
        systems: MorphologySystems,
        population: MorphologyPopulation,
        augment: bool,
        turn: bool | None = None,
    ) -> None:
        self.systems = systems
        self.population = population
        self.augment = augment
        self.turn = augment if turn is None else turn
        self.labels = classes_of(systems.kinds)

    def __len__(self) -> int:
        return len(self.systems)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> MorphologyBatch:
        """Observe lenses.

        Parameters
        ----------
        rows
            Which ones, shape (n,), ascending.
        rng
            Of what differs between observations.
        """
        n, population, systems = len(rows), self.population, self.systems
        instrument = population.setting.instrument
        turns = np.zeros(n, dtype=int)
        times = np.full(n, population.exposure_time)
        if self.turn:
            turns = rng.integers(_N_ORIENTATIONS, size=n)
        if self.augment:
            times = np.exp(rng.uniform(*np.log(instrument.exposure_time), size=n))
        unit = instrument.background_noise_from(times)
        clean = torch.from_numpy(np.asarray(systems.images[rows], dtype=np.float32))
        clean = turned(clean[:, None], turns)[:, 0] * _column(population.unit / unit)
        noise = torch.sqrt(1.0 + _column(1.0 / (unit * times)) * clean.clamp(min=0.0))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images = clean + noise * torch.randn(clean.shape, generator=generator)
        residuals = torch.zeros_like(images)
        if systems.smooth is not None:
            smooth = torch.from_numpy(np.asarray(systems.smooth[rows], dtype=np.float32))
            smooth = turned(smooth[:, None], turns)[:, 0] * _column(population.unit / unit)
            residuals = (images - smooth) / noise
        macro = turned_columns(systems.macro[rows], MACRO, turns)
        vortex = turned_columns(systems.strings[rows, 0], STRING, turns)
        return MorphologyBatch(
            images=images,
            noise=noise,
            psf_width=torch.from_numpy(systems.psf_fwhm[rows] / instrument.pixel_scale).float(),
            labels=torch.from_numpy(self.labels[rows]),
            macro=torch.from_numpy(macro).float(),
            residuals=residuals,
            vortex=torch.from_numpy(vortex).float(),
        )


# Columns that turn together, sine-like first, and the m of their angle.
_PAIRS = (
    ("y", "x", 1),
    ("source_y", "source_x", 1),
    ("ell_comps_0", "ell_comps_1", 2),
    ("gamma_2", "gamma_1", 2),
    ("source_ell_comps_0", "source_ell_comps_1", 2),
)


def turned_columns(values: np.ndarray, names: tuple[str, ...], turns: np.ndarray) -> np.ndarray:
    """Parameters, shape (n, n_names), of images in the orientations of `finding_set.turned`.

    Parameters
    ----------
    values
        Columns as in ``names``.
    names
        Those of ``lensing.MACRO`` or ``lensing.STRING``.
    turns
        Number of each orientation, 0 to 7: quarter turns, and from 4 on of the image that was
        mirrored in x before; shape (n,).
    """
    values = np.array(values, dtype=float)
    flipped, quarters = turns >= 4, turns % 4
    for sine, cosine, m in _PAIRS:
        if sine not in names:
            continue
        s, c = (values[:, names.index(name)] for name in (sine, cosine))
        # A mirrored angle is 180 degrees minus it: of m = 2 the sine changes its sign.
        s = np.where(flipped & (m == 2), -s, s)
        c = np.where(flipped & (m == 1), -c, c)
        angle = 0.5 * np.pi * m * quarters
        cosines, sines = np.round(np.cos(angle)), np.round(np.sin(angle))
        values[:, names.index(sine)] = cosines * s + sines * c
        values[:, names.index(cosine)] = cosines * c - sines * s
    if "position_angle" in names:
        column = names.index("position_angle")
        angle = np.where(flipped, 180.0 - values[:, column], values[:, column])
        values[:, column] = np.mod(angle + 90.0 * quarters, 180.0)
    return values


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)).float()[:, None, None]
