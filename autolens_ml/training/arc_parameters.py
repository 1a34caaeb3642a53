"""The task of Hezaveh et al. 2017: the five parameters of a lens from an image of its arcs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.latent import LatentSpace
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.losses import flip_invariant_mse
from autolens_ml.networks.orientations import Orientation, turned
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.arcs import ArcPopulation, lens_lights
from autolens_ml.simulate.effects import ENSAI_EFFECTS, Observation
from autolens_ml.simulate.ensai_conventions import (
    ENSAI_PARAMETERS,
    ISOTHERMAL_PARAMETERS,
    ensai_from_isothermal,
)
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.simulate.instrument import INSTRUMENTS, Instrument
from autolens_ml.simulate.sources import library_from
from autolens_ml.simulate.survey_effects import SURVEY_EFFECTS
from autolens_ml.simulate.symmetries import symmetries_of
from autolens_ml.training.array_store import Layout, stored_arrays
from autolens_ml.training.lens_parameters import posterior_network_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, reporter, silent

_SEEDS_PER_PRESET = 10
_ENTRIES = ("galaxies", "loss", "effects")
_LOSSES = ("density", "flip-invariant")
_EFFECTS = ("ensai", "survey")
# Galaxies whose light leaves residuals.
_N_LIGHTS = 256
# Full width at half maximum of a Gaussian over its rms, and the narrowest that pixels can show.
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_NARROWEST = 0.5
# One over the variances of Ensai's parameters in their prior, shifts of the image included.
_ENSAI_WEIGHTS = torch.tensor([1.43, 7.4, 7.4, 48.0, 48.0])
# Validation images seen at once.
_BATCH = 64
# Of these batches, those on which the rate of dropout is tuned: each is seen 160 times.
_N_DROPOUT = 6


@dataclass(frozen=True)
class ArcBatch:
    """Observed arcs as a network sees them.

    Attributes
    ----------
    images, noise, mask : Tensor
        Shape (n, y, x), images and noise in units of the noise of an empty pixel.
    psf_width : Tensor
        Full width at half maximum in pixels, shape (n,).
    latents : Tensor
        Of the five parameters, shape (n, 5).
    parameters : Tensor
        Of ``al.mp.Isothermal``, in the order of ``ISOTHERMAL_PARAMETERS``, shape (n, 5).
    """

    images: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor
    psf_width: torch.Tensor
    latents: torch.Tensor
    parameters: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Arguments of a ``PosteriorNetwork``."""
        return self.images, self.noise, self.mask, self.psf_width


class ArcSource:
    """Arcs of a stored set, observed afresh every time they are asked for.

    Parameters
    ----------
    images, parameters
        As :class:`~autolens_ml.simulate.arcs.Arcs` has them.
    space
        Latents of the parameters.
    pixel_scale
        arcsec per pixel.
    augment
        Whether images are flipped and turned at random.
    survey
        Whether ``SURVEY_EFFECTS`` follow those of Ensai.
    """

    def __init__(
        self,
        images: np.ndarray,
        parameters: np.ndarray,
        space: LatentSpace,
        pixel_scale: float,
        augment: bool = False,
        survey: bool = False,
    ) -> None:
        self.images = images
        self.parameters = parameters
        self._space = space
        self._pixel_scale = pixel_scale
        self._augment = augment
        self._survey = survey

    def __len__(self) -> int:
        return len(self.images)

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> ArcBatch:
        """Observe the arcs at ``rows``, an ascending array."""
        arcs = torch.from_numpy(np.asarray(self.images[rows])).float()
        parameters = np.array(self.parameters[rows], dtype=np.float64)
        if self._augment:
            arcs, parameters = _turned(arcs, parameters, *rng.integers((2, 4)))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        lights = _lights_of(_N_LIGHTS, arcs.shape[-1], self._pixel_scale)
        lights = lights[torch.from_numpy(rng.integers(_N_LIGHTS, size=len(rows)))]
        middle = np.rint(parameters[:, :2] / self._pixel_scale).astype(int)
        lights = torch.stack(
            [
                torch.roll(light, (-y, x), dims=(0, 1))
                for light, (y, x) in zip(lights, middle.tolist(), strict=True)
            ]
        )
        seen = ENSAI_EFFECTS(Observation.of(arcs, lights), generator)
        if self._survey:
            seen = SURVEY_EFFECTS(seen, generator)
        parameters[:, :2] += seen.shift.numpy() * self._pixel_scale
        # As real data are given to networks, see `simulate.observation`.
        unit = seen.noise.amin((1, 2), keepdim=True)
        return ArcBatch(
            images=seen.image / unit,
            noise=seen.noise / unit,
            mask=seen.mask,
            psf_width=(_FWHM_PER_SIGMA * seen.psf_rms).clamp(min=_NARROWEST).float(),
            latents=torch.from_numpy(self._space.latent_from(parameters)).float(),
            parameters=torch.from_numpy(parameters).float(),
        )


@cache
def _lights_of(n: int, size: int, pixel_scale: float) -> torch.Tensor:
    """Lens galaxies, shape (n, size, size), the same in every set."""
    return torch.from_numpy(lens_lights(n, size, pixel_scale))


def _turned(
    arcs: torch.Tensor, parameters: np.ndarray, flip: int, turns: int
) -> tuple[torch.Tensor, np.ndarray]:
    """Images flipped upside down, then turned counter-clockwise by right angles."""
    y, x, ell_y, ell_x, radius = parameters.T
    if flip:
        y, ell_y = -y, -ell_y
    for _ in range(turns):
        # A turn by 90 degrees takes (y, x) to (x, -y), and twice the angle of ellipses by 180.
        y, x, ell_y, ell_x = x, -y, -ell_y, -ell_x
    return turned(arcs, bool(flip), turns), np.stack((y, x, ell_y, ell_x, radius), axis=1)


def _chosen(data: dict[str, Any], name: str, known: tuple[str, ...]) -> str:
    """An entry of a preset's data, by default the first that is known."""
    value = data.get(name, known[0])
    if value not in known:
        raise OptionError(f"data: {name} must be {' or '.join(known)}, not {value!r}")
    return value


class ArcParameters(Task):
    """Lens parameters from arcs, with Ensai's priors, effects and networks.

    The ``data`` of its presets are ``galaxies``, the sources: the name of a library or a folder of
    FITS images, see :func:`~autolens_ml.simulate.sources.library_from`; and, if need be,
    ``effects``, which are ``ensai``, the default, or ``survey``, for networks of real data: these
    are followed by :data:`~autolens_ml.simulate.survey_effects.SURVEY_EFFECTS`. And ``loss``:

    - ``density``, the default: minus the log density of the latents of ``al.mp.Isothermal``;
    - ``flip-invariant``: the squared error of Ensai's own parameters, in units of their scatter,
      see :func:`~autolens_ml.networks.losses.flip_invariant_mse`. Of the density only the mean
      is learned, in Ensai's parameters: its card names these, and such a network is no proposal for
      a fit.

    ``network`` has the arguments of :class:`PosteriorNetwork` other than ``dim``; of these
    ``orientations`` is their number, 1 to 8, as of
    :class:`~autolens_ml.training.lens_parameters.LensParameters`.

    Attributes
    ----------
    survey : bool
        Whether the effects are those of surveys.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        if "galaxies" not in data:
            raise OptionError("data: needs galaxies, a library by name or a folder of FITS images")
        self._loss = _chosen(data, "loss", _LOSSES)
        self.survey = _chosen(data, "effects", _EFFECTS) == "survey"
        self.instrument: Instrument = INSTRUMENTS["ensai"]
        self.population = ArcPopulation(
            library_from(data["galaxies"]), self.instrument.shape[0], self.instrument.pixel_scale
        )
        self.space = LatentSpace.from_model(self.population.model())

    @property
    def _outputs(self) -> list[str]:
        """What the network says something of: paths in the model, or Ensai's own parameters."""
        return list(self.space.names if self._loss == "density" else ENSAI_PARAMETERS)

    def network(self) -> PosteriorNetwork:
        """The untrained network."""
        network = posterior_network_of(self.preset, self.space.dim, self._orientations)
        blank = torch.ones(1, *self.instrument.shape)
        try:
            with torch.no_grad():
                network.eval()(blank, blank, blank, torch.ones(1))
        except RuntimeError as error:
            raise OptionError(
                f"network: does not take images of {self.instrument.shape} pixels"
            ) from error
        return network.train()

    def _orientations(self) -> list[Orientation]:
        # The prior of every parameter is symmetric: latents turn as parameters do.
        return [
            Orientation.from_matrix(symmetry.flip, symmetry.turns, symmetry.matrix)
            for symmetry in symmetries_of(self.population.model())
        ]

    def sources(self, folder: Path, say: Say = silent) -> dict[str, ArcSource]:
        """Sources of the simulated sets."""
        options = self.preset.training
        sizes = {"training": options.n_training, "validation": options.n_validation}
        return {
            name: self.source(
                n,
                _SEEDS_PER_PRESET * self.preset.seed + i,
                folder / name,
                name,
                say,
                augment=name != "validation",
                survey=self.survey,
            )
            for i, (name, n) in enumerate(sizes.items())
        }

    def source(
        self,
        n: int,
        seed: int,
        folder: Path,
        name: str,
        say: Say,
        *,
        augment: bool = False,
        survey: bool = False,
    ) -> ArcSource:
        """The source of ``n`` arcs that are kept in ``folder``; see :class:`ArcSource`."""
        layout: Layout = {
            "images": ((n, *self.instrument.shape), np.float16),
            "parameters": ((n, len(ISOTHERMAL_PARAMETERS)), np.float32),
        }

        def made(start: int) -> Iterator[dict[str, np.ndarray]]:
            for arcs in self.population.batches(n, seed, start):
                yield {"images": arcs.images, "parameters": arcs.parameters}

        galaxies = str(self.preset.data["galaxies"])
        arrays = stored_arrays(folder, layout, seed, made, CHUNK, reporter(name, say), galaxies)
        return ArcSource(
            **arrays,
            space=self.space,
            pixel_scale=self.instrument.pixel_scale,
            augment=augment,
            survey=survey,
        )

    def loss(self, network: PosteriorNetwork, batch: ArcBatch) -> torch.Tensor:
        """Minus the mean log density, or the squared error that knows no sign."""
        density = network(*batch.inputs)
        if self._loss == "density":
            return -density.log_prob(batch.latents).mean()
        true = torch.from_numpy(ensai_from_isothermal(batch.parameters.cpu().numpy()))
        return flip_invariant_mse(
            density.mean, true.to(batch.latents), _ENSAI_WEIGHTS.to(batch.latents)
        )

    @torch.no_grad()
    def finish(self, network: PosteriorNetwork, validation: ArcSource) -> None:
        """Learn how features are distributed; how much dropout is calibrated, and what width."""
        n, rng = len(validation), np.random.default_rng(0)
        batches = [
            validation.batch_from(np.arange(i, min(i + _BATCH, n)), rng)
            for i in range(0, n, _BATCH)
        ]
        network.learn_features(torch.cat([network.features(*b.inputs) for b in batches]))
        if self._loss != "density":
            return
        answered = [(batch.inputs, batch.latents) for batch in batches]
        if network.has_dropout:
            network.learn_dropout(answered[:_N_DROPOUT])
        if network.orientations:
            network.learn_orientations(answered)

    def card_fields(self) -> dict[str, Any]:
        """Of images, priors and parameters."""
        return {
            "instrument": self.instrument.as_dict(),
            "bands": list(self.instrument.bands),
            "inputs": {
                "shape": list(self.instrument.shape),
                "pixel_scale": self.instrument.pixel_scale,
                "units": "noise of an empty pixel; lens light subtracted",
            },
            "outputs": {
                "parameters": self._outputs,
                "prior": self.population.model().dict(),
                "noise_units": False,
                "data": dict(self.preset.data),
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Errors as Ensai states them, and calibration, on fresh arcs."""
        from autolens_ml.training.arc_accuracy import measured

        return measured(card, n, seed, say)
