"""The task of measuring a vortex: mass, length, direction and position, with their posterior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.morphology.lensing import STRING
from autolens_ml.simulate.morphology.settings import Setting, masses_from
from autolens_ml.training.morphology import (
    morphology_fields,
    morphology_sources,
    populations_from,
)
from autolens_ml.training.morphology_set import MorphologyBatch, MorphologySource
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = ["PARAMETERS", "TASK", "VortexParameters", "latents_from", "parameters_from"]

TASK = "vortex-parameters"
# What posteriors are of; masses in solar masses, lengths in arcsec, angles in degrees.
PARAMETERS = ("y", "x", "log10_mass", "log10_half_length", "position_angle")
_N_LATENTS = 5
_BATCH = 64
# Of shares, beyond which latents would be infinite.
_MARGIN = 1e-6


class VortexParameters(Task):
    """Neural posterior estimation of the vortex of lenses that have one.

    The ``data`` of its presets are those of :class:`~autolens_ml.training.morphology.Morphology`,
    ``network`` has the arguments of :class:`PosteriorNetwork` other than ``dim``.

    Attributes
    ----------
    populations : dict
        Of ``training`` and ``validation``.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        self.populations = populations_from(preset.data, {"vortex": 1.0})
        self._setting = self.populations["training"].setting

    def network(self) -> PosteriorNetwork:
        """The untrained network; it has seen an image."""
        try:
            network = PosteriorNetwork(dim=_N_LATENTS, **self.preset.network)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error
        blank = torch.ones(1, *self._setting.instrument.shape)
        try:
            with torch.no_grad():
                network(blank, blank, blank, torch.ones(1))
        except RuntimeError as error:
            raise OptionError("network: fold must divide both sides of the images") from error
        return network

    def sources(self, folder: Path, say: Say = silent) -> dict[str, MorphologySource]:
        """Observations of stored lenses with a vortex.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one.
        OptionError
            When a set does not fit on the disk.
        """
        return morphology_sources(self.preset, self.populations, folder, say)

    def loss(self, network: PosteriorNetwork, batch: MorphologyBatch) -> torch.Tensor:
        """Minus the mean log density of the true latents."""
        latents = latents_from(batch.vortex, self._setting)
        return -network(*inputs_of(batch)).log_prob(latents).mean()

    @torch.no_grad()
    def finish(self, network: PosteriorNetwork, validation: MorphologySource) -> None:
        """Learn how features of the validation set are distributed."""
        n, rng = len(validation), np.random.default_rng(0)
        batches = (
            validation.batch_from(np.arange(i, min(i + _BATCH, n)), rng)
            for i in range(0, n, _BATCH)
        )
        network.learn_features(torch.cat([network.features(*inputs_of(b)) for b in batches]))

    def card_fields(self) -> dict[str, Any]:
        """Of images and parameters."""
        return {
            **morphology_fields(self.preset, self.populations["training"]),
            "outputs": {
                "vortex": list(PARAMETERS),
                "setting": self._setting.as_dict(),
                "data": self.preset.data,
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Errors and coverage on ``n`` lenses with a vortex, drawn as those of training."""
        from autolens_ml.training.morphology_vortex_accuracy import measured

        return measured(card, n, seed, say)


def inputs_of(batch: MorphologyBatch) -> tuple[torch.Tensor, ...]:
    """What a posterior network takes: image, noise, mask and PSF width."""
    return batch.images, batch.noise, torch.ones_like(batch.images), batch.psf_width


def latents_from(vortex: torch.Tensor, setting: Setting) -> torch.Tensor:
    """Latents of vortices with the columns of ``STRING``, which a setting draws from N(0, I).

    Position, mass, and length and direction together: a short string has hardly a direction, and
    one of 180 degrees is one of 0.

    Parameters
    ----------
    vortex
        Shape (n, 6).
    setting
        Whose prior it is. What lies beyond its ranges is taken to lie at their ends.

    Returns
    -------
    Tensor
        Shape (n, 5).
    """
    columns = dict(zip(STRING, vortex.double().T, strict=True))
    mass = torch.from_numpy(masses_from(columns["einstein_radius"].numpy()))
    masses, lengths = _ranges(setting)
    # The length of a vector of two unit normals is as unlikely to be less as the string is.
    share = _share_of(columns["half_length"].log10(), lengths)
    size = (-2.0 * torch.log1p(-share)).sqrt()
    angle = torch.deg2rad(2.0 * columns["position_angle"])
    return torch.stack(
        (
            columns["y"] / setting.vortex_offset,
            columns["x"] / setting.vortex_offset,
            torch.special.ndtri(_share_of(mass.log10(), masses)),
            size * angle.sin(),
            size * angle.cos(),
        ),
        dim=-1,
    ).to(vortex.dtype)


def parameters_from(latents: np.ndarray, setting: Setting) -> np.ndarray:
    """``PARAMETERS``, shape (..., 5), of latents (..., 5); angles are between 0 and 180."""
    masses, lengths = _ranges(setting)
    squared = latents[..., 3] ** 2 + latents[..., 4] ** 2
    return np.stack(
        (
            setting.vortex_offset * latents[..., 0],
            setting.vortex_offset * latents[..., 1],
            masses[0] + np.ptp(masses) * ndtr(latents[..., 2]),
            lengths[0] - np.ptp(lengths) * np.expm1(-0.5 * squared),
            np.mod(np.degrees(0.5 * np.arctan2(latents[..., 3], latents[..., 4])), 180.0),
        ),
        axis=-1,
    )


def _share_of(values: torch.Tensor, ends: np.ndarray) -> torch.Tensor:
    """Where values are between two ends, from 0 to 1 but for a margin; in the middle of one."""
    if ends[0] == ends[1]:
        return torch.full_like(values, 0.5)
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(_MARGIN, 1.0 - _MARGIN)


def _ranges(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the logarithms of mass and half-length."""
    return np.log10(setting.halo_mass * np.array(setting.vortex_share)), np.log10(
        setting.half_length
    )
