"""The task of reconstructing source and convergence of a lens, by a Recurrent Inference Machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.inference.reconstruction.loop import Loop, LoopOptions, Observed
from autolens_ml.inference.reconstruction.loss import LossWeights, Maps
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.rim import RecurrentInferenceMachine
from autolens_ml.training.preset import Preset
from autolens_ml.training.reconstruction_sets import (
    LensMaps,
    Observations,
    Truth,
    exposed,
    turned,
)
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = ["LensMapSource", "Reconstruction", "ReconstructionBatch"]

_SEEDS_PER_PRESET = 10
_ENTRIES = ("loop", "lenses", "galaxies", "sources", "observations", "loss")
# The loop gives these; a network has one of each.
_FOLLOWING = ("n_inputs", "n_maps", "n_numbers")


@dataclass(frozen=True)
class ReconstructionBatch:
    """A batch of observed lenses, and what they are.

    Attributes
    ----------
    image, noise_map, mask, psf, psf_fwhm : Tensor
        As in :class:`~autolens_ml.inference.reconstruction.loop.Observed`.
    source : Tensor
        Surface brightness in the units of the image, shape (n, rows, columns).
    convergence : Tensor
        Common logarithm, shape (n, y, x).
    shear : Tensor
        Shape (n, 2).
    """

    image: torch.Tensor
    noise_map: torch.Tensor
    mask: torch.Tensor
    psf: torch.Tensor
    psf_fwhm: torch.Tensor
    source: torch.Tensor
    convergence: torch.Tensor
    shear: torch.Tensor

    @property
    def observed(self) -> Observed:
        """The data alone."""
        return Observed(self.image, self.noise_map, self.mask, self.psf, self.psf_fwhm)

    @property
    def truth(self) -> Maps:
        """What is sought."""
        return Maps(self.source, self.convergence, self.shear)


class LensMapSource:
    """Batches of stored lenses, each time with other noise and another point spread function.

    Parameters
    ----------
    stored
        The arrays of a :class:`~autolens_ml.training.reconstruction_sets.Truth` by name.
    observations
        How lenses are observed.
    pixel_scale
        Side of a pixel of the image [arcsec].
    varied
        Whether lenses are seen in all eight forms of a square.
    """

    def __init__(
        self,
        stored: Mapping[str, np.ndarray],
        observations: Observations,
        pixel_scale: float,
        varied: bool,
    ) -> None:
        self._stored = stored
        self._observations = observations
        self._pixel_scale = pixel_scale
        self._varied = varied

    def __len__(self) -> int:
        return len(self._stored["image"])

    def truth_from(self, rows: np.ndarray) -> Truth:
        """Lenses as they are stored."""
        arrays = (self._stored[entry.name][rows] for entry in fields(Truth))
        return Truth(*(np.asarray(array, dtype=np.float32) for array in arrays))

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> ReconstructionBatch:
        """Observations of these lenses."""
        truth = self.truth_from(rows)
        if self._varied:
            truth = turned(truth, rng.integers(8, size=len(rows)))
        observed, units = exposed(truth, self._observations, self._pixel_scale, rng)
        source = torch.from_numpy(np.ascontiguousarray(truth.source)) / units[:, None, None]
        convergence, shear = (
            torch.from_numpy(np.ascontiguousarray(a)).float()
            for a in (truth.convergence, truth.shear)
        )
        return ReconstructionBatch(
            **vars(observed), source=source, convergence=convergence, shear=shear
        )


class Reconstruction(Task):
    """Source, convergence and shear of a lens in pixels, by a learned optimiser.

    The ``data`` of its presets are

    - ``loop``, the grids and the steps, see
      :class:`~autolens_ml.inference.reconstruction.loop.LoopOptions`;
    - ``lenses``, ``galaxies`` and ``sources``, see
      :class:`~autolens_ml.training.reconstruction_sets.LensMaps`;
    - ``observations``, see :class:`~autolens_ml.training.reconstruction_sets.Observations`;
    - ``loss``, if need be, see :class:`~autolens_ml.inference.reconstruction.loss.LossWeights`.

    ``network`` has the arguments of :class:`~autolens_ml.networks.rim.RecurrentInferenceMachine`,
    but for the numbers of channels.

    Attributes
    ----------
    loop : Loop
        Of which the network is a part.
    population : LensMaps
        Of the lenses.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        if missing := [name for name in ("lenses", "galaxies") if name not in data]:
            raise OptionError(f"data: needs {', '.join(missing)}")
        if given := [name for name in _FOLLOWING if name in preset.network]:
            raise OptionError(f"network: {', '.join(given)} follow from the loop: take them out")
        self.observations = Observations.from_dict(data.get("observations") or {})
        self.weights = LossWeights.from_dict(data.get("loss") or {})
        self.loop = Loop(LoopOptions.from_dict(data.get("loop") or {}))
        self.population = LensMaps(
            self.loop.options,
            data["lenses"],
            data["galaxies"],
            data.get("sources") or {},
            shear=self.observations.shear,
            seed=preset.seed,
        )

    def network(self) -> RecurrentInferenceMachine:
        """The untrained network."""
        try:
            network = RecurrentInferenceMachine(
                n_inputs=self.loop.options.n_inputs, n_maps=2, n_numbers=2, **self.preset.network
            )
        except TypeError as error:
            raise OptionError(f"network: {error}") from error
        return network.to(memory_format=torch.channels_last)

    def sources(self, folder: Path, say: Say = silent) -> dict[str, LensMapSource]:
        """The stored lenses; the galaxies of those of validation are not learned from.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one, or files of galaxies cannot be read.
        OptionError
            When a set does not fit on the disk.
        """
        options, sources = self.preset.training, {}
        sizes = {"training": options.n_training, "validation": options.n_validation}
        for i, (name, n) in enumerate(sizes.items()):
            learned = name == "training"
            stored = self.population.stored(
                folder / name, n, _SEEDS_PER_PRESET * self.preset.seed + i, not learned, say
            )
            sources[name] = LensMapSource(
                stored, self.observations, self.loop.options.pixel_scale, varied=learned
            )
        return sources

    def loss(self, network: RecurrentInferenceMachine, batch: ReconstructionBatch) -> torch.Tensor:
        """Mean of the losses of all steps."""
        self.loop.to(batch.image.device)
        states = self.loop.unroll(
            network, batch.observed, through_lens=self.weights.chi_squared > 0.0
        )
        return torch.stack([self.weights.of(state, batch.truth) for state in states]).mean()

    def card_fields(self) -> dict[str, Any]:
        """Of the grids, the loop and what was learned from."""
        options, seen = self.loop.options, self.observations
        return {
            "instrument": {
                "name": "any",
                "psf_fwhm": list(seen.psf_fwhm),
                "signal_to_noise": list(seen.signal_to_noise),
            },
            "bands": [],
            "inputs": {
                "shape": list(options.shape),
                "pixel_scale": options.pixel_scale,
                "lens_light": "subtracted",
            },
            "outputs": {
                "source_shape": list(options.source_shape),
                "source_pixel_scale": options.source_pixel_scale,
                "loop": options.as_dict(),
                "data": self.preset.data,
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Chi-squared and errors of reconstructions of lenses of another family."""
        from autolens_ml.training.reconstruction_accuracy import measured

        return measured(card, n, seed, say)
