"""Sets of lenses and non-lenses as a survey sees them, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.finding.bands import BANDS, Band, bands_from
from autolens_ml.simulate.finding.compound import ARCS, RING, draw_compound
from autolens_ml.simulate.finding.galaxies import Deflectors, draw_deflectors
from autolens_ml.simulate.finding.kinds import NON_LENSES, add_deflector
from autolens_ml.simulate.finding.lensing import Arcs, LensDefinition, draw_arcs
from autolens_ml.simulate.finding.scene import N_WIDTHS, Scene, images_of
from autolens_ml.simulate.forward import CHUNK

__all__ = ["COMPOUND", "KINDS", "LENS", "SHARES", "TRUTHS", "FindingPopulation", "Systems"]

LENS, SINGLE = "lens", "single-image"
COMPOUND = (ARCS, RING)
KINDS = (LENS, *NON_LENSES, SINGLE, *COMPOUND)
# Half are lenses; among the others, what is most often taken for a lens is most common.
SHARES = {
    LENS: 0.5,
    "elliptical": 0.10,
    "spiral": 0.12,
    "ring": 0.05,
    "merger": 0.07,
    "star": 0.03,
    "artefact": 0.06,
    SINGLE: 0.07,
}
TRUTHS = (
    "redshift",
    "source_redshift",
    "einstein_radius",
    "magnitude",
    "source_magnitude",
    "magnification",
    "n_pixels",
)
# Sources of lenses, and of galaxies whose sources have one image, in Einstein radii from the lens.
_LENS_OFFSETS, _SINGLE_OFFSETS = (0.0, 1.0), (1.9, 3.2)
_MAX_TRIES = 200


@dataclass(frozen=True)
class Systems:
    """Simulated systems without noise.

    Attributes
    ----------
    images : dict
        By band, in units of the noise of an empty pixel of a typical observation, NaN where there
        are no data; float32, shape (n, y, x).
    kinds : ndarray
        Indices into ``KINDS``, shape (n,).
    truths : ndarray
        Columns as in ``TRUTHS``, NaN where a system has no such thing, shape (n, n_truths).
    """

    images: dict[str, np.ndarray]
    kinds: np.ndarray
    truths: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, rows: slice) -> Systems:
        images = {name: image[rows] for name, image in self.images.items()}
        return Systems(images, self.kinds[rows], self.truths[rows])

    @property
    def is_lens(self) -> np.ndarray:
        """Whether each is a lens, compound ones included, shape (n,)."""
        return np.isin(self.kinds, [KINDS.index(kind) for kind in (LENS, *COMPOUND)])


class FindingPopulation:
    """Systems of several kinds, in fixed shares.

    Parameters
    ----------
    shares
        Share of each kind among all, by name: positive numbers with any sum. By default half are
        lenses, and none is compound.
    bands
        Of the images.
    definition
        What a lens is: lenses satisfy it, and single images do not.

    Raises
    ------
    OptionError
        When there is no such kind or band, or a share is not positive.
    """

    def __init__(
        self,
        shares: Mapping[str, float] | None = None,
        bands: Sequence[str] = tuple(BANDS),
        definition: LensDefinition | None = None,
    ) -> None:
        shares = dict(SHARES if shares is None else shares)
        if unknown := sorted(str(kind) for kind in shares if kind not in KINDS):
            raise OptionError(f"shares: no kind {', '.join(unknown)}; known: {', '.join(KINDS)}")
        if not shares or not all(share > 0.0 for share in shares.values()):
            raise OptionError(f"shares must be positive numbers by kind, not {shares}")
        total = sum(shares.values())
        self.shares = {kind: share / total for kind, share in shares.items()}
        self.bands: tuple[Band, ...] = bands_from(bands)
        self.definition = definition or LensDefinition()

    def batches(self, n: int, seed: int, start: int = 0) -> Iterator[Systems]:
        """Systems ``start`` to ``n`` in batches of ``CHUNK``, the last one cut.

        System i depends on the seed and on i alone, and not on the bands.

        Raises
        ------
        OptionError
            When ``n`` or ``seed`` is not a whole number of at least 0, or ``start`` not a multiple
            of ``CHUNK``.
        """
        for name, value in (("n", n), ("seed", seed), ("start", start)):
            if not isinstance(value, Integral) or value < 0:
                raise OptionError(f"{name} must be a whole number of at least 0, not {value!r}")
        if start % CHUNK:
            raise OptionError(f"start must be a multiple of {CHUNK}, not {start}")
        return (self._chunk(seed, first // CHUNK)[: n - first] for first in range(start, n, CHUNK))

    def _chunk(self, seed: int, index: int) -> Systems:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        names = list(self.shares)
        drawn = rng.choice(len(names), size=CHUNK, p=list(self.shares.values()))
        scenes: list[Scene | None] = [None] * CHUNK
        truths = np.full((CHUNK, len(TRUTHS)), np.nan)
        for number, kind in enumerate(names):
            rows = np.flatnonzero(drawn == number)
            if len(rows) == 0:
                continue
            made, known = self._made(kind, len(rows), rng)
            truths[rows] = known
            for row, scene in zip(rows, made, strict=True):
                scenes[row] = scene
        widths = rng.integers(N_WIDTHS, size=CHUNK)
        kinds = np.array([KINDS.index(names[number]) for number in drawn])
        return Systems(images_of(scenes, widths, self.bands), kinds, truths)

    def _made(self, kind: str, n: int, rng: np.random.Generator) -> tuple[list[Scene], np.ndarray]:
        if kind not in NON_LENSES:
            return self._lensed(kind, n, rng)
        deflectors = draw_deflectors(n, rng)
        scenes = [Scene() for _ in range(n)]
        for i, scene in enumerate(scenes):
            NON_LENSES[kind](scene, deflectors[i : i + 1], rng)
        return scenes, np.full((n, len(TRUTHS)), np.nan)

    def _lensed(
        self, kind: str, n: int, rng: np.random.Generator
    ) -> tuple[list[Scene], np.ndarray]:
        """Lenses, or galaxies with one magnified image of a source too far off."""
        scenes: list[Scene] = []
        truths: list[np.ndarray] = []
        for _ in range(_MAX_TRIES):
            deflectors, lensed = self._candidates(kind, rng)
            (arcs, *_), definition = lensed, self.definition
            if kind == SINGLE:
                accepted = arcs.magnification < definition.magnification
            else:
                accepted = definition.accepts(arcs.magnification, arcs.n_pixels)
            # Whatever else is lensed must be seen as well.
            for other in lensed:
                accepted &= other.n_pixels > definition.n_pixels
            for i in np.flatnonzero(accepted)[: n - len(scenes)]:
                scene = Scene(shapes=[(other.images[i], other.flux(i)) for other in lensed])
                add_deflector(scene, deflectors[i : i + 1], rng)
                scenes.append(scene)
                truths.append(_truths(deflectors, arcs, i))
            if len(scenes) == n:
                return scenes, np.array(truths)
        raise OptionError(f"definition: no draw of {kind} satisfies {self.definition}")

    @staticmethod
    def _candidates(kind: str, rng: np.random.Generator) -> tuple[Deflectors, tuple[Arcs, ...]]:
        """Deflectors, and all that they lens, the farthest first."""
        if kind in COMPOUND:
            deflectors, far, middle = draw_compound(kind, CHUNK, rng)
            return deflectors, (far, middle)
        deflectors = draw_deflectors(CHUNK, rng)
        offsets = _LENS_OFFSETS if kind == LENS else _SINGLE_OFFSETS
        return deflectors, (draw_arcs(deflectors, offsets, rng),)


def _truths(deflectors: Deflectors, arcs: Arcs, i: int) -> np.ndarray:
    values = {
        "redshift": deflectors.redshift[i],
        "source_redshift": arcs.sources.redshift[i],
        "einstein_radius": deflectors.einstein_radius[i],
        "magnitude": deflectors.magnitude[i],
        "source_magnitude": arcs.sources.magnitude[i],
        "magnification": arcs.magnification[i],
        "n_pixels": arcs.n_pixels[i],
    }
    return np.array([values[name] for name in TRUTHS])
