r"""Calibration of a shear network on sheared simulations.

The network's posterior means respond to shear by R, which is about
:math:`\rho = 1 - v / \sigma_\epsilon^2`. Estimates of shear are
:math:`\hat\epsilon \, q / \rho` with the weights :math:`\rho`, so their mean is unbiased where

.. math::

    \sum_i \frac{\partial (\hat\epsilon_i q_i)}{\partial g} = \sum_i \rho_i ,
    \qquad q = 1 + \sum_k a_k \phi_k ,

which is linear in the coefficients a. It is asked for in bins of the true signal-to-noise and size,
which no shear changes: that q and the weights are themselves made of sheared images (the selection
bias of other calibrations) is thus part of what is measured. The PSF's own ellipticity is taken out
in the same way, by simulations whose PSFs differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from autolens_ml.networks.shear import ShearNetwork, psf_moments
from autolens_ml.simulate.shear_population import Scenes, ShearPopulation
from autolens_ml.training.shear_pairs import SHEAR, psf_pairs, shear_pairs
from autolens_ml.training.task import Say, silent

__all__ = ["calibrate"]

# Of the galaxies, those that are used for the PSF.
_PSF_SHARE = 0.25
# Bins of the true signal-to-noise and half-light radius, each with as many galaxies.
_N_BINS = (6, 4)
# Coefficients are believed to be about this large before anything is seen.
_PRIOR = 0.3


@torch.no_grad()
def calibrate(
    network: ShearNetwork, population: ShearPopulation, n: int, seed: int, say: Say = silent
) -> None:
    """Fill the buffers of a trained network: response, leakage and scale of the errors.

    Parameters
    ----------
    network
        In the form in which it will be used: what changes its answers changes its calibration.
    population
        Of galaxies like those that it is for.
    n
        Galaxies to simulate, each twice; the response is then known to about 0.15 / sqrt(n).
    seed
        Of the simulations.
    say
        Takes a line of progress.
    """
    for buffer in (network.response, network.leakage):
        buffer.zero_()
    network.noise_scale.fill_(1.0)
    sheared, behind, single = np.random.SeedSequence(seed).spawn(3)
    differences = []
    for scenes, component, stamps, psfs in shear_pairs(population, n, sheared):
        differences.append(_differences(network, scenes, component, stamps, psfs))
        say(f"calibrating: {sum(len(part['mean']) for part in differences):,} of {n:,} galaxies")
    found = _joined(differences)
    step = 2.0 * SHEAR
    network.response.copy_(
        _solved(found["terms"] / step, found["weight"] - found["mean"] / step, found)
    )
    say("calibrating: galaxies behind different PSFs")
    n_psf = max(2, int(_PSF_SHARE * n))
    differences = [_differences(network, *pair) for pair in psf_pairs(population, n_psf, behind)]
    found = _joined(differences)
    response = network.response.double().T[found["component"].long()]
    left = found["mean"] + (found["terms"] * response).sum(-1)
    network.leakage.copy_(_solved(found["psf"], left, found))
    network.noise_scale.copy_(_scatter(network, population, n_psf, single))


def _differences(
    network: ShearNetwork,
    scenes: Scenes,
    component: torch.Tensor,
    stamps: torch.Tensor,
    psfs: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """What changes in the answers to a pair, along the component that it differs in."""
    answers = [network(*pair) for pair in zip(stamps, psfs, strict=True)]
    rows = torch.arange(len(scenes))
    means = [mean[rows, component] for mean, _ in answers]
    terms = [
        network.terms(stamp, log_odds) for stamp, (_, log_odds) in zip(stamps, answers, strict=True)
    ]
    shapes = [psf_moments(psf)[rows, component] for psf in psfs]
    weights = [network.response_of(log_odds) for _, log_odds in answers]
    return {
        "mean": means[0] - means[1],
        "terms": means[0][:, None] * terms[0] - means[1][:, None] * terms[1],
        "psf": shapes[0][:, None] * terms[0] - shapes[1][:, None] * terms[1],
        "weight": 0.5 * (weights[0] + weights[1]),
        "component": component,
        "signal_to_noise": scenes.signal_to_noise,
        "radius": scenes.half_light_radius,
    }


def _joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}


def _solved(
    terms: torch.Tensor, wanted: torch.Tensor, found: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Coefficients for each component, shape (n_terms, 2).

    With them the means of the terms are those wanted, in every bin and in all of them.
    """
    n_terms = terms.shape[1]
    solutions = []
    for component in range(2):
        rows, values = [torch.eye(n_terms).double() / _PRIOR], [torch.zeros(n_terms).double()]
        for chosen in _bins(found, component):
            error = wanted[chosen].std() / len(chosen) ** 0.5
            rows.append(terms[chosen].mean(0, keepdim=True) / error)
            values.append(wanted[chosen].mean()[None] / error)
        design, right = torch.cat(rows), torch.cat(values)
        solutions.append(torch.linalg.lstsq(design, right[:, None]).solution[:, 0])
    return torch.stack(solutions, -1)


def _bins(found: dict[str, torch.Tensor], component: int) -> Iterator[torch.Tensor]:
    """Numbers of the galaxies in each bin, first of all of them."""
    rows = torch.nonzero(found["component"] == component)[:, 0]
    order = rows[found["signal_to_noise"][rows].argsort()]
    yield order
    for part in order.tensor_split(_N_BINS[0]):
        for chosen in part[found["radius"][part].argsort()].tensor_split(_N_BINS[1]):
            if len(chosen) > 1:
                yield chosen


def _scatter(
    network: ShearNetwork, population: ShearPopulation, n: int, seed: np.random.SeedSequence
) -> torch.Tensor:
    """RMS of the estimates of galaxies with next to no shear, in units of their errors."""
    pulls = []
    for _, _, stamps, psfs in shear_pairs(population, n, seed):
        shears, errors = network.shears(stamps[0], psfs[0])
        pulls.append(shears.square().mean(-1) / errors.square())
    return torch.cat(pulls).mean().sqrt()
