"""Amortised posteriors: a trained network applied to a dataset, and as proposal for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.inference.matching import (
    TASK,
    card_from,
    checked,
    matched_columns,
    no_match,
    ties_of,
)
from autolens_ml.latent import UNIT_MARGIN, LatentSpace, unit_values_from
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.heads import FlowDensity, GaussianMixture
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.observation import Observation, observation_from
from autolens_ml.training.stored import space_from

# Shares of the prior among the draws of a proposal: when all is as in training, and when not.
_PRIOR_SHARE, _PRIOR_SHARE_DOUBTED = 0.1, 0.5
# Draws per accepted draw after which the rest come from the prior, and the fewest made at once.
_MAX_TRIES, _MIN_TRY = 50, 64
# Images that the network sees at once.
_BATCH = 64
# Draws that tell which share lies inside the priors; below the second a network and a model
# disagree.
_N_TO_COUNT = 1000
_FEW_INSIDE = 0.05
# How far widths of PSFs, pixels and depths may leave the range of training, as factors.
_PSF_MARGIN, _SCALE_MARGIN, _DEPTH_MARGIN = 1.1, 1.25, 2.0


class LensNetwork:
    """A network that estimates the parameters of lenses.

    Parameters
    ----------
    card
        Of a network for the task ``lens-parameters`` or ``arc-parameters``.

    Attributes
    ----------
    card : Card
        What it is and how good.
    names : tuple of str
        Paths of the parameters it estimates, such as ``galaxies.lens.mass.einstein_radius``.
    ties : dict
        Other paths of those parameters in its training, see ``matching.ties_of``.
    space : LatentSpace
        Latents of the parameters, from the prior of its training.
    instrument : Instrument
        What its training images were taken with.
    shape, pixel_scale
        Of the images it takes, in pixels and arcsec.

    Raises
    ------
    NetworkError
        When the weights are missing or altered, or the network is for another task.
    """

    def __init__(self, card: Card) -> None:
        self.card = checked(card)
        try:
            self.names = tuple(card.outputs["parameters"])
            self.space = space_from(card)
            self.ties = ties_of(card)
            self.shape = tuple(card.inputs["shape"])
            self.pixel_scale = float(card.inputs["pixel_scale"])
            self.instrument = Instrument.from_dict(card.instrument)
            self._has_noise_units = bool(card.outputs["noise_units"])
            self._network = stored_network(card)
        except (AttributeError, KeyError, TypeError, ValueError, OptionError) as error:
            raise NetworkError(
                f"{card.path}: not the card of a network of posteriors "
                f"({type(error).__name__}: {error}); train the network again"
            ) from error

    def posterior_from(self, dataset: Any) -> LensPosterior:
        """The posterior of one ``al.Imaging``.

        Raises
        ------
        DataError
            When the dataset is not an image with noise and PSF.
        """
        return self.posteriors_from([dataset])[0]

    def posteriors_from(self, datasets: Sequence[Any]) -> list[LensPosterior]:
        """The posteriors of many ``al.Imaging`` datasets."""
        return self.posteriors_of([self.observation_from(dataset) for dataset in datasets])

    def observation_from(self, dataset: Any) -> Observation:
        """An ``al.Imaging`` on the grid of the network.

        Raises
        ------
        DataError
            When the dataset is not an image with noise and PSF.
        """
        return observation_from(dataset, self.shape, self.pixel_scale, self.instrument.psf_beta)

    def posteriors_of(self, observations: Sequence[Observation]) -> list[LensPosterior]:
        """The posteriors of many observations, batch by batch."""
        posteriors = []
        for i in range(0, len(observations), _BATCH):
            batch = observations[i : i + _BATCH]
            features, density = self.densities_from(
                *(
                    torch.from_numpy(np.stack([getattr(o, name) for o in batch])).float()
                    for name in ("images", "noise", "mask", "psf_width")
                )
            )
            distances = self._network.distances(features)
            posteriors += [
                LensPosterior(self, o, density[j : j + 1], self._concerns(o, float(distances[j])))
                for j, o in enumerate(batch)
            ]
        return posteriors

    @torch.no_grad()
    def densities_from(
        self,
        images: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor,
        psf_width: torch.Tensor,
    ) -> tuple[torch.Tensor, GaussianMixture | FlowDensity]:
        """Features and densities of latents of a batch; arguments as of ``PosteriorNetwork``."""
        return self._network.features_and_densities(images, noise, mask, psf_width)

    def _concerns(self, observation: Observation, distance: float) -> tuple[str, ...]:
        """What about the data is unlike the training set, in words."""
        found = []
        low, high = self.instrument.psf_fwhm
        fwhm = float(observation.psf_width) * self.pixel_scale
        if not low / _PSF_MARGIN <= fwhm <= high * _PSF_MARGIN:
            found.append(f'PSF width {fwhm:.2f}" outside {low:.2f}"-{high:.2f}" of its training')
        ratio = observation.pixel_scale / self.pixel_scale
        if not 1.0 / _SCALE_MARGIN <= ratio <= _SCALE_MARGIN:
            found.append(
                f'pixels of {observation.pixel_scale:g}" resampled to its {self.pixel_scale:g}"'
            )
        times = np.array(self.instrument.exposure_time)
        low, high = np.sort(self.instrument.background_noise_from(times) * times)
        # Networks for arcs know noise in units of the arcs alone.
        electrons = observation.background_electrons if self.card.task == TASK else np.nan
        if electrons < low / _DEPTH_MARGIN or electrons > high * _DEPTH_MARGIN:
            found.append(
                f"noise of {electrons:.0f} electrons in empty pixels outside {low:.0f}-{high:.0f} "
                "of its training"
            )
        typical = float(self._network.typical_distance)
        if distance > typical:
            found.append(
                f"the image is unlike its training set (feature distance {distance:.0f}, "
                f"99.9 % of which are below {typical:.0f})"
            )
        return tuple(found)

    def physical_from(self, z: np.ndarray, observation: Observation) -> np.ndarray:
        """Parameters of an observed lens in physical units, of latents of shape (n, dim)."""
        physical = self.space.physical_from(z)
        for i, name in enumerate(self.names):
            last = name.split(".")[-1]
            if last == "intensity" and self._has_noise_units:
                physical[:, i] *= observation.unit
            elif last in ("centre_0", "centre_1"):
                physical[:, i] += observation.centre[int(last[-1])]
        return physical


@dataclass(frozen=True)
class LensPosterior:
    """What a network says about one lens.

    Attributes
    ----------
    network : LensNetwork
        Which network.
    observation : Observation
        The data as the network saw them.
    concerns : tuple of str
        What about the data is unlike the network's training; empty when nothing is.
    """

    network: LensNetwork
    observation: Observation
    _density: GaussianMixture | FlowDensity = field(repr=False)
    concerns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the parameters."""
        return self.network.names

    def sample(self, n: int, seed: int | np.random.Generator = 0) -> np.ndarray:
        """Draws of the parameters in physical units, shape (n, n_parameters)."""
        return self.sample_with_density(n, seed)[0]

    def sample_with_density(
        self, n: int, seed: int | np.random.Generator = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws, and the log of posterior over prior density at each, shape (n,).

        The second is what a log likelihood would be, up to a constant.
        """
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        with torch.no_grad():
            draws = self._density.sample(n, generator)
            log_density = self._density.log_prob(draws)
        z = draws[:, 0].double().numpy()
        log_prior = -0.5 * np.sum(z**2, axis=-1) - 0.5 * z.shape[-1] * np.log(2.0 * np.pi)
        physical = self.network.physical_from(z, self.observation)
        return physical, log_density[:, 0].double().numpy() - log_prior


def load_network(network: str | Path) -> LensNetwork:
    """A shipped network by name, or one by the path of its card, weights or folder.

    Raises
    ------
    NetworkError
        When there is none, its files are damaged, or it is for another task.
    """
    return LensNetwork(card_from(network))


class NetworkProposal:
    """A network's posterior as proposal of starts for a model.

    Parameters are matched by path; those the network does not know come from the prior, and so
    does a share of all draws, a larger one where the data are unlike the network's training. What
    the network draws outside the priors of the model, or against its assertions, is drawn anew.

    Parameters
    ----------
    posterior
        Of the dataset that is fitted.
    model
        The user's model.

    Attributes
    ----------
    posterior : LensPosterior
        Of the dataset that is fitted.
    matched : dict
        Index of the model's parameter -> column of the network's.
    inside : float
        Share of the network's draws that lie within the priors of the model.

    Raises
    ------
    NetworkError
        When the model shares no parameter with the network.
    """

    def __init__(self, posterior: LensPosterior, model: Any) -> None:
        network = posterior.network
        self.posterior = posterior
        self.matched = matched_columns(network.names, model, network.ties)
        if not self.matched:
            raise NetworkError(
                f"{no_match(network.card, model)}; name galaxies and profiles as it does, or use "
                "network=None"
            )
        self._model = model
        self._priors = model.priors_ordered_by_id
        self._space = LatentSpace.from_model(model)
        self._assertions = model.gathered_assertions()
        latents, _ = self._latents(_N_TO_COUNT, np.random.default_rng(0))
        self.inside = float(np.isfinite(latents).all(axis=1).mean())

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the network here: unusual data, or priors far from its posterior."""
        doubts = self.posterior.concerns
        if self.inside < _FEW_INSIDE:
            doubts += (f"{100 * self.inside:.0f} % of its posterior lies within your priors",)
        return doubts

    @property
    def knows_most(self) -> bool:
        """Whether the network knows at least half of the model's parameters."""
        return 2 * len(self.matched) >= len(self._priors)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Unit-normal latents of the model, shape (n, dim), a share of them from the prior."""
        share = _PRIOR_SHARE_DOUBTED if self.doubts else _PRIOR_SHARE
        z = rng.standard_normal((n, len(self._priors)))
        drawn, _ = self._draws(int(np.ceil((1.0 - share) * n)), rng)
        z[: len(drawn)] = drawn
        return z

    def posterior_draws(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the network's posterior within the priors of the model.

        Returns
        -------
        z
            Latents of the model, shape (n, dim); parameters the network does not know follow the
            prior.
        log_ratio
            Log of the network's posterior over its prior at each, shape (n,).

        Raises
        ------
        NetworkError
            When hardly any draw is within the priors.
        """
        z, log_ratio = self._draws(n, rng)
        if len(z) < n:
            raise NetworkError(
                f"network {self.posterior.network.card.name}: {100 * self.inside:.0f} % of its "
                "posterior lies within your priors and assertions; widen them, or use network=None"
            )
        return z, log_ratio

    def _draws(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Up to ``n`` latents of the model, fewer where hardly any is allowed; log ratios."""
        kept, ratios = [], []
        missing = n
        for _ in range(_MAX_TRIES):
            latents, log_ratio = self._latents(max(n, _MIN_TRY), rng)
            z = rng.standard_normal((len(latents), len(self._priors)))
            z[:, list(self.matched)] = latents
            rows = np.flatnonzero(self._is_allowed(z))[:missing]
            kept.append(z[rows])
            ratios.append(log_ratio[rows])
            missing -= len(rows)
            if missing == 0:
                break
        return np.concatenate(kept), np.concatenate(ratios)

    def _latents(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Latents of the matched parameters, (n, n_matched), NaN outside the priors; log ratios."""
        physical, log_ratio = self.posterior.sample_with_density(n, rng)
        columns = [_latents_of(self._priors[i], physical[:, j]) for i, j in self.matched.items()]
        return np.stack(columns, axis=1), log_ratio

    def _is_allowed(self, z: np.ndarray) -> np.ndarray:
        """Whether each of (n, dim) latents is finite and keeps the model's assertions, (n,)."""
        allowed = np.isfinite(z).all(axis=1)
        if self._assertions and allowed.any():
            # One by one: numpy cannot chain the comparisons of arrays.
            allowed[allowed] = [
                bool(
                    self._model.assertions_satisfied_for_arguments(
                        dict(zip(self._priors, x, strict=True)), assertions=self._assertions
                    )
                )
                for x in self._space.physical_from(z[allowed])
            ]
        return allowed


def _latents_of(prior: Any, values: np.ndarray) -> np.ndarray:
    """Unit-normal latents of physical values, NaN where they are outside a prior's support."""
    unit = unit_values_from(prior, values)
    inside = (unit > UNIT_MARGIN) & (unit < 1.0 - UNIT_MARGIN)
    return ndtri(np.where(inside, unit, np.nan))
