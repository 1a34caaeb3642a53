"""Amortised posteriors: a trained network applied to a dataset, and as proposal for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from autolens_ml.exceptions import NetworkError
from autolens_ml.inference.matching import TASK, matched_columns
from autolens_ml.inference.observation import Observation, observation_from
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.heads import FlowDensity, GaussianMixture
from autolens_ml.training.stored import network_from, space_from

# Shares of the prior among the draws of a proposal: when all is as in training, and when not.
_PRIOR_SHARE, _PRIOR_SHARE_DOUBTED = 0.1, 0.5
# Draws per accepted draw after which the rest come from the prior.
_MAX_TRIES = 50
_BATCH = 64
# Draws that tell which share lies inside the priors; below the second a network and a model
# disagree.
_N_TO_COUNT = 1000
_FEW_INSIDE = 0.05


class LensNetwork:
    """A network that estimates the parameters of lenses.

    Parameters
    ----------
    card
        Of a network for the task ``lens-parameters``.

    Attributes
    ----------
    card : Card
        What it is and how good.
    names : tuple of str
        Paths of the parameters it estimates, such as ``galaxies.lens.mass.einstein_radius``.

    Raises
    ------
    NetworkError
        When the weights are missing or altered, or the network is for another task.
    """

    def __init__(self, card: Card) -> None:
        if card.task != TASK:
            raise NetworkError(
                f"network {card.name} is for {card.task}, not for {TASK}: choose another one"
            )
        self.card = card
        self.names = tuple(card.outputs["parameters"])
        self.space = space_from(card)
        self.shape = tuple(card.inputs["shape"])
        self.pixel_scale = float(card.inputs["pixel_scale"])
        self._network = network_from(card)

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
        observations = [observation_from(d, self.shape, self.pixel_scale) for d in datasets]
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
        features = self._network.features(images, noise, mask, psf_width)
        return features, self._network.head(features)

    def _concerns(self, observation: Observation, distance: float) -> tuple[str, ...]:
        """What about the data is unlike the training set, in words."""
        found = []
        low, high = np.asarray(self.card.instrument["psf_fwhm"], dtype=float)
        fwhm = float(observation.psf_width) * self.pixel_scale
        if not 0.9 * low <= fwhm <= 1.1 * high:
            found.append(f'PSF width {fwhm:.2f}" outside {low:.2f}"-{high:.2f}" of its training')
        ratio = observation.pixel_scale / self.pixel_scale
        if not 0.8 <= ratio <= 1.25:
            found.append(
                f'pixels of {observation.pixel_scale:g}" resampled to its {self.pixel_scale:g}"'
            )
        typical = float(self._network.typical_distance)
        if distance > typical:
            found.append(
                f"the image is unlike its training set (feature distance {distance:.0f}, "
                f"99.9 % of which are below {typical:.0f})"
            )
        return tuple(found)


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
        return self._physical_from(z), log_density[:, 0].double().numpy() - log_prior

    def _physical_from(self, z: np.ndarray) -> np.ndarray:
        physical = self.network.space.physical_from(z)
        for i, name in enumerate(self.names):
            last = name.split(".")[-1]
            if last == "intensity" and self.network.card.outputs["noise_units"]:
                physical[:, i] *= self.observation.unit
            elif last in ("centre_0", "centre_1"):
                physical[:, i] += self.observation.centre[int(last[-1])]
        return physical


def load_network(network: str | Path) -> LensNetwork:
    """A shipped network by name, or one by the path of its card, weights or folder.

    Raises
    ------
    NetworkError
        When there is none, or its files are damaged.
    """
    return LensNetwork(find_card(network))


class NetworkProposal:
    """A network's posterior as proposal of starts for a model.

    Parameters are matched by path; those the network does not know come from the prior, and so
    does a share of all draws, a larger one where the data are unlike the network's training. No
    draw lies outside the priors of the model.

    Parameters
    ----------
    posterior
        Of the dataset that is fitted.
    model
        The user's model.

    Attributes
    ----------
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
        self.posterior = posterior
        self.matched = matched_columns(posterior.names, model)
        if not self.matched:
            raise NetworkError(
                f"network {posterior.network.card.name} knows no parameter of this model: name "
                "galaxies and profiles as its card does, such as "
                f"{posterior.names[0]}, or use network=None"
            )
        self._priors = model.priors_ordered_by_id
        latents, _ = self._latents(_N_TO_COUNT, np.random.default_rng(0))
        self.inside = float(np.isfinite(latents).all(axis=1).mean())

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the network here: unusual data, or priors far from its posterior."""
        doubts = self.posterior.concerns
        if self.inside < _FEW_INSIDE:
            doubts += (f"{100 * self.inside:.0f} % of its posterior lies within your priors",)
        return doubts

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Unit-normal latents of the model, shape (n, dim), a share of them from the prior."""
        share = _PRIOR_SHARE_DOUBTED if self.doubts else _PRIOR_SHARE
        z = rng.standard_normal((n, len(self._priors)))
        drawn, _ = self.posterior_draws(int(np.ceil((1.0 - share) * n)), rng)
        z[: len(drawn)] = drawn
        return z

    def posterior_draws(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the network's posterior within the priors of the model.

        Returns
        -------
        z
            Latents of the model, shape (m, dim); parameters the network does not know follow the
            prior. Fewer than ``n`` where hardly any draw is inside the priors.
        log_ratio
            Log of the network's posterior over its prior at each, shape (m,).
        """
        kept, ratios = [], []
        missing = n
        for _ in range(_MAX_TRIES):
            latents, log_ratio = self._latents(n, rng)
            rows = np.flatnonzero(np.isfinite(latents).all(axis=1))[:missing]
            kept.append(latents[rows])
            ratios.append(log_ratio[rows])
            missing -= len(rows)
            if missing == 0:
                break
        latents = np.concatenate(kept)
        z = rng.standard_normal((len(latents), len(self._priors)))
        z[:, list(self.matched)] = latents
        return z, np.concatenate(ratios)

    def _latents(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Latents of the matched parameters, (n, n_matched), NaN outside the priors; log ratios."""
        physical, log_ratio = self.posterior.sample_with_density(n, rng)
        columns = [_latents_of(self._priors[i], physical[:, j]) for i, j in self.matched.items()]
        return np.stack(columns, axis=1), log_ratio


def _latents_of(prior: Any, values: np.ndarray) -> np.ndarray:
    """Unit-normal latents of physical values, NaN where they are outside a prior's support."""
    unit = np.array([_unit_value(prior, float(value)) for value in values])
    return ndtri(np.where((unit > 0.0) & (unit < 1.0), unit, np.nan))


def _unit_value(prior: Any, value: float) -> float:
    low, high = prior.limits if hasattr(prior, "limits") else (-np.inf, np.inf)
    return float(prior.unit_value_for(value)) if low <= value <= high else np.nan
