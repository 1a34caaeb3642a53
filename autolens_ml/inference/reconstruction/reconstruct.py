"""The front door of pixelized reconstructions: from an image of a lens to its source and mass."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import autolens as al
import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import DataError, DataWarning, NetworkError, OptionError
from autolens_ml.inference.reconstruction.fine_tuning import FineTuning, Tuned, fine_tuned
from autolens_ml.inference.reconstruction.lens_image import (
    GriddedImage,
    LensImage,
    joined,
    on_grid,
)
from autolens_ml.inference.reconstruction.loop import Loop, LoopOptions, State
from autolens_ml.inference.reconstruction.loss import LossWeights
from autolens_ml.inference.reconstruction.refinement import Refinement, refined
from autolens_ml.inference.reconstruction.summary import LensSummary, summary_of
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.profiles.light import PixelLight
from autolens_ml.profiles.mass.pixel import PixelConvergence

__all__ = ["TASK", "Reconstruction", "Reconstructor", "Steps", "load_reconstructor"]

TASK = "reconstruction"
_REFINEMENT = Refinement()
# Lenses that the network sees at once.
_BATCH = 32
# How far widths of PSFs, pixels and signal-to-noise may leave the range of training, as factors.
_PSF_MARGIN, _SCALE_MARGIN, _SIGNAL_MARGIN = 1.1, 1.25, 1.5
# Pixels of data over those of the network beyond which no image is resampled.
_SCALES = (0.4, 2.0)
# A reduced chi-squared as far above one as this many of its own standard deviations, and at least
# by this much, is a bad one.
_BAD_SIGMA, _BAD = 4.0, 0.1


@dataclass(frozen=True, eq=False)
class Steps:
    """What a reconstruction looked like after each step.

    Attributes
    ----------
    source : ndarray
        Surface brightness, shape (n_steps, rows, columns).
    convergence : ndarray
        Shape (n_steps, y, x).
    shear : ndarray
        Shape (n_steps, 2).
    """

    source: np.ndarray
    convergence: np.ndarray
    shear: np.ndarray


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Source, convergence and shear of a lens.

    Maps have row 0 at +y, and their middle at `centre`; light is in the units of the data.

    Attributes
    ----------
    source : ndarray
        Surface brightness, shape (rows, columns).
    source_pixel_scale : float
        Side of its pixels [arcsec].
    convergence : ndarray
        Shape (y, x).
    pixel_scale : float
        Side of a pixel of convergence and image [arcsec].
    shear : tuple of float
        (gamma_1, gamma_2) of the external shear, which is that of all mass beyond the map.
    centre : tuple of float
        (y, x) of the middle of the maps in the coordinates of the data [arcsec].
    data, noise_map, mask, model_image : ndarray
        On the grid of the reconstruction, shape (y, x); the mask is 1 where data are used.
    chi_squared : ndarray
        Reduced chi-squared after each step, shape (n_steps,), and after the refinement if there was
        one, shape (n_steps + 1,).
    steps : Steps
        The maps after each of those.
    concerns : tuple of str
        What speaks against the result; empty when nothing does.
    tuning : ndarray
        Reduced chi-squared of the last step after each step of fine-tuning, empty without it.
    """

    source: np.ndarray
    source_pixel_scale: float
    convergence: np.ndarray
    pixel_scale: float
    shear: tuple[float, float]
    centre: tuple[float, float]
    data: np.ndarray
    noise_map: np.ndarray
    mask: np.ndarray
    model_image: np.ndarray
    chi_squared: np.ndarray
    steps: Steps
    concerns: tuple[str, ...]
    tuning: np.ndarray

    @property
    def reduced_chi_squared(self) -> float:
        """That of the result: the mean over the pixels that are used."""
        return float(self.chi_squared[-1])

    @property
    def normalised_residuals(self) -> np.ndarray:
        """Data minus model in units of the noise, zero where data are not used, shape (y, x)."""
        used = self.mask > 0
        return np.where(used, self.data - self.model_image, 0.0) / np.where(
            used, self.noise_map, 1.0
        )

    @property
    def light(self) -> PixelLight:
        """The source as a light profile.

        The shear of PyAutoLens is about (0, 0), that of the reconstruction about the middle of its
        maps, which moves the source by what the shear deflects there.
        """
        (y, x), (gamma_1, gamma_2) = self.centre, self.shear
        centre = (y - (gamma_2 * x - gamma_1 * y), x - (gamma_1 * x + gamma_2 * y))
        return PixelLight(values=self.source, pixel_scale=self.source_pixel_scale, centre=centre)

    @property
    def mass(self) -> PixelConvergence:
        """The convergence as a mass profile."""
        return PixelConvergence(
            values=self.convergence, pixel_scale=self.pixel_scale, centre=self.centre
        )

    @property
    def external_shear(self) -> al.mp.ExternalShear:
        """The shear as a mass profile."""
        return al.mp.ExternalShear(gamma_1=self.shear[0], gamma_2=self.shear[1])

    def galaxies(self, redshift_lens: float = 0.5, redshift_source: float = 1.0) -> list[al.Galaxy]:
        """Lens and source as PyAutoLens has them."""
        lens = al.Galaxy(redshift=redshift_lens, mass=self.mass, shear=self.external_shear)
        return [lens, al.Galaxy(redshift=redshift_source, light=self.light)]

    @cached_property
    def summary(self) -> LensSummary:
        """Einstein radius, slope of the convergence, flux and radii of the source."""
        return summary_of(self.source, self.source_pixel_scale, self.convergence, self.pixel_scale)

    @property
    def einstein_radius(self) -> float:
        """Of the convergence [arcsec]; see :class:`LensSummary`."""
        return self.summary.einstein_radius


class Reconstructor:
    """A network that reconstructs lenses.

    Parameters
    ----------
    card
        Of a network for ``reconstruction``.

    Attributes
    ----------
    card : Card
        What it is and how good.
    loop : Loop
        Its steps, and the lens.

    Raises
    ------
    NetworkError
        When the weights are missing or altered, or the network is for another task.
    """

    def __init__(self, card: Card) -> None:
        if card.task != TASK:
            raise NetworkError(
                f"network {card.name} is for {card.task}, not for {TASK}: give another one"
            )
        self.card = card
        try:
            self.loop = Loop(LoopOptions.from_dict(card.outputs["loop"]))
            self.loss = LossWeights.from_dict(card.outputs["data"].get("loss") or {})
            self._psf_fwhm, self._signal_to_noise = (
                tuple(map(float, card.instrument[name])) for name in ("psf_fwhm", "signal_to_noise")
            )
            self._radii = tuple(map(float, card.outputs["data"]["lenses"]["einstein_radius"]))
        except (AttributeError, KeyError, TypeError, ValueError, OptionError) as error:
            raise NetworkError(
                f"{card.path}: not the card of a network of reconstructions "
                f"({type(error).__name__}: {error}); train the network again"
            ) from error
        self._network = stored_network(card).requires_grad_(False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of image and convergence."""
        return self.loop.options.shape

    @property
    def pixel_scale(self) -> float:
        """Side of their pixels [arcsec]."""
        return self.loop.options.pixel_scale

    @property
    def source_shape(self) -> tuple[int, int]:
        """Rows and columns of the source."""
        return self.loop.options.source_shape

    @property
    def source_pixel_scale(self) -> float:
        """Side of its pixels [arcsec]."""
        return self.loop.options.source_pixel_scale

    @property
    def n_steps(self) -> int:
        """Steps of a reconstruction."""
        return self.loop.options.n_steps

    def reconstruct(
        self,
        data: al.Imaging | LensImage,
        refinement: Refinement | None = _REFINEMENT,
        fine_tuning: FineTuning | None = None,
        seed: int = 0,
        checkpoint: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Reconstruction:
        """Source, convergence and shear of one lens.

        Parameters
        ----------
        data
            An image without light of the lens, which is near (0, 0).
        refinement
            How the likelihood refines what the network found; ``None`` for what it found.
        fine_tuning
            How the network is tuned to these data first; not at all by default. Of the refined
            reconstructions with and without it that of the lower chi-squared is the result.
        seed
            Of what is random in the tuning.
        checkpoint
            A file that a tuning goes on from if it was interrupted; deleted at its end.
        say
            Takes a line of progress of the tuning.

        Raises
        ------
        DataError
            When the data are no image with noise and PSF, or have pixels of quite another size.

        Warns
        -----
        DataWarning
            For each of the result's concerns.
        """
        image = self._on_grid(data)
        tuned = None
        network: nn.Module = self._network
        if fine_tuning is not None:
            tuned = fine_tuned(
                network,
                self.loop,
                image.observed,
                fine_tuning,
                self.loss,
                seed=seed,
                checkpoint=checkpoint,
                identity=self._identity(image),
                say=say,
            )
            network = tuned.network
        states = self._states(network, image, refinement)
        if fine_tuning is not None and states[-1].chi_squared > fine_tuning.target:
            # From what was found before the tuning a refinement may end in a better place.
            before = self._states(self._network, image, refinement)
            states = min(states, before, key=lambda states: float(states[-1].chi_squared))
        result = self._result(image, states, tuned)
        for concern in result.concerns:
            warnings.warn(f"reconstruction: {concern}", DataWarning, stacklevel=2)
        return result

    def reconstruct_many(
        self,
        data: Sequence[al.Imaging | LensImage],
        refinement: Refinement | None = _REFINEMENT,
    ) -> list[Reconstruction]:
        """Reconstructions of many lenses, batch by batch and without tuning of the network.

        Concerns are in the results, and are not warned of.

        Parameters
        ----------
        data, refinement
            As of `reconstruct`.

        Raises
        ------
        DataError
            As `reconstruct`.
        """
        results: list[Reconstruction] = []
        for i in range(0, len(data), _BATCH):
            images = [self._on_grid(each) for each in data[i : i + _BATCH]]
            with torch.no_grad():
                batch = self.loop.unroll(self._network, joined(images))
            for j, image in enumerate(images):
                states = [state.row(j) for state in batch]
                states += self._refined(image, states[-1], refinement)
                results.append(self._result(image, states))
        return results

    def _states(
        self, network: nn.Module, image: GriddedImage, refinement: Refinement | None
    ) -> list[State]:
        """Those of the network, and that of the refinement."""
        with torch.no_grad():
            states = self.loop.unroll(network, image.observed)
        return states + self._refined(image, states[-1], refinement)

    def _refined(
        self, image: GriddedImage, state: State, refinement: Refinement | None
    ) -> list[State]:
        if refinement is None:
            return []
        latents, _ = refined(self.loop, image.observed, state.latents, refinement)
        with torch.no_grad():
            return [self.loop.state(image.observed, latents)]

    def _on_grid(self, data: al.Imaging | LensImage) -> GriddedImage:
        image = on_grid(data, self.shape, self.pixel_scale)
        ratio = image.pixel_scale / self.pixel_scale
        if not _SCALES[0] <= ratio <= _SCALES[1]:
            raise DataError(
                f'pixels of {image.pixel_scale:g}" cannot be resampled to the '
                f'{self.pixel_scale:g}" of {self.card.name}: give another network'
            )
        return image

    def _identity(self, image: GriddedImage) -> str:
        """Of the network and the data, for checkpoints."""
        digest = hashlib.sha256(self.card.sha256.encode())
        for tensor in vars(image.observed).values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def _result(
        self, image: GriddedImage, states: list[State], tuned: Tuned | None = None
    ) -> Reconstruction:
        """One lens, in the units of its data."""

        def plain(tensors: list[torch.Tensor]) -> np.ndarray:
            return np.stack([tensor[0].double().numpy() for tensor in tensors])

        steps = Steps(
            source=image.unit * plain([state.source for state in states]),
            convergence=10.0 ** plain([state.latents.convergence for state in states]),
            shear=plain([state.latents.shear for state in states]),
        )
        seen = image.observed
        data, noise_map, mask = (
            each[0].double().numpy() for each in (seen.image, seen.noise_map, seen.mask)
        )
        result = Reconstruction(
            source=steps.source[-1],
            source_pixel_scale=self.source_pixel_scale,
            convergence=steps.convergence[-1],
            pixel_scale=self.pixel_scale,
            shear=(float(steps.shear[-1, 0]), float(steps.shear[-1, 1])),
            centre=image.centre,
            data=image.unit * data,
            noise_map=image.unit * noise_map,
            mask=mask,
            model_image=image.unit * plain([states[-1].image])[0],
            chi_squared=plain([state.chi_squared for state in states]),
            steps=steps,
            concerns=(),
            tuning=np.empty(0) if tuned is None else tuned.chi_squared,
        )
        return replace(result, concerns=self._concerns(image, result))

    def _concerns(self, image: GriddedImage, result: Reconstruction) -> tuple[str, ...]:
        """What about data or result is unlike the network's training, in words."""
        found = []
        low, high = self._psf_fwhm
        fwhm = float(image.observed.psf_fwhm[0])
        if not low / _PSF_MARGIN <= fwhm <= high * _PSF_MARGIN:
            found.append(
                f'PSF width {fwhm:.2f}" outside {low:.2f}"-{high:.2f}" of the training of '
                f"{self.card.name}"
            )
        ratio = image.pixel_scale / self.pixel_scale
        if not 1.0 / _SCALE_MARGIN <= ratio <= _SCALE_MARGIN:
            found.append(
                f'pixels of {image.pixel_scale:g}" resampled to {self.pixel_scale:g}", which '
                "correlates their noise"
            )
        low, high = self._signal_to_noise
        if not low / _SIGNAL_MARGIN <= image.signal_to_noise <= high * _SIGNAL_MARGIN:
            found.append(
                f"peak signal-to-noise {image.signal_to_noise:.0f} outside {low:.0f}-{high:.0f} of "
                "training"
            )
        scatter = np.sqrt(2.0 / result.mask.sum())
        if result.reduced_chi_squared > 1.0 + max(_BAD, _BAD_SIGMA * scatter):
            remedy = "; try fine_tuning" if result.tuning.size == 0 else ""
            found.append(
                f"reduced chi-squared {result.reduced_chi_squared:.2f}: the model does not "
                f"reproduce the data{remedy}"
            )
        low, high = self._radii
        radius = result.einstein_radius
        if not low / _SCALE_MARGIN <= radius <= high * _SCALE_MARGIN:
            found.append(f'Einstein radius {radius:.2f}" outside {low:g}"-{high:g}" of training')
        return tuple(found)


def load_reconstructor(network: str | Path) -> Reconstructor:
    """A shipped network by name, or one by the path of its card, weights or folder.

    Raises
    ------
    NetworkError
        When there is none, its files are damaged, or it is for another task.
    """
    return Reconstructor(find_card(network, TASK))
