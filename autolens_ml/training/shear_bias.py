r"""Biases of shear estimates, as the field states them.

.. math:: \langle \hat g_i \rangle = (1 + m_i) g_i + c_i + \alpha_i e^{PSF}_i ,

means weighted by the inverse squares of the estimates' errors, from paired simulations: each galaxy
is seen four times, sheared either way and turned by 90 degrees, with the same noise (Heymans et al.
2006, MNRAS, 368, 1323, for m and c; Pujol et al. 2019, A&A, 621, A2, for the pairs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.shear import ShearNetwork
from autolens_ml.simulate.shear_population import GALAXY_KINDS, Scenes, ShearPopulation
from autolens_ml.training.shear_pairs import PSF_SHEAR, SHEAR, psf_pairs, shear_pairs
from autolens_ml.training.task import Say, reporter, silent

__all__ = [
    "BRIGHT",
    "EDGES",
    "SHEARS",
    "Changes",
    "Measured",
    "PairedSample",
    "ShearBias",
    "estimator_of",
    "paired_sample",
]

# Intervals are central and hold this many standard errors to either side: 95 per cent.
_TWO_SIDED = 1.959964
# Of the galaxies, those that are used for the PSF.
_PSF_SHARE = 0.25
# Quality of Mandelbaum et al. 2014, ApJS, 212, 5, equation 14, for images from space.
_QUALITY, _LEAST_NOISE, _M_TARGET, _C_TARGET = 2000.0 * 1.232, 1.0, 2e-3, 2e-4

# Bins of the reports: signal-to-noise, and half-light radius over the PSF's full width.
EDGES = {
    "signal_to_noise": (10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0),
    "radius": (0.5, 1.0, 1.5, 2.0, 3.0, 6.0),
}
# What the components of the shear are called.
SHEARS = ("g1", "g2")
# Signal-to-noise of what counts as bright.
BRIGHT = 20.0
# Galaxies below which nothing is said.
_FEWEST, _FEWEST_IN_BIN = 4, 50
# Keeps these galaxies apart from those of any training.
_STREAM = 9241

# Shears (n, 2) and their errors (n,) of galaxies and PSFs.
Estimator = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Measured:
    """A number and its standard error."""

    value: float
    error: float

    def as_dict(self) -> dict[str, float]:
        """``value`` and the bounds ``low`` and ``high`` of its 95 per cent interval."""
        half = _TWO_SIDED * self.error
        return {"value": self.value, "low": self.value - half, "high": self.value + half}


@dataclass(frozen=True)
class ShearBias:
    """Biases of the weighted mean of estimates.

    Attributes
    ----------
    m, m_1, m_2
        Multiplicative, of both components together and of each.
    c_1, c_2
        Additive.
    alpha
        Share of the PSF's own shear that leaks into estimates.
    shape_noise
        Standard deviation of one component of an estimate of average weight: the mean of n has
        this over root n.
    quality
        Q_c of the GREAT3 challenge for these m and c, 1000 where both are on its targets.
    n
        Galaxies.
    """

    m: Measured
    m_1: Measured
    m_2: Measured
    c_1: Measured
    c_2: Measured
    alpha: Measured
    shape_noise: float
    quality: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {k: v.as_dict() if isinstance(v, Measured) else v for k, v in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Changes:
    """How weighted estimates change between paired simulations, galaxy by galaxy.

    Attributes
    ----------
    component
        The one (0 or 1) in which a galaxy's simulations differ, shape (n,).
    change
        Of the weighted estimate of that component, per unit of what differs, shape (n,).
    weight
        Mean weight of the galaxy's simulations, shape (n,).
    offset
        Mean of the weighted estimates of all of them, shape (n, 2).
    square
        Mean square of a component of the weighted estimates, shape (n,).
    signal_to_noise, radius, kind
        Of the scenes, shape (n,); half-light radius in units of the PSF's full width at half
        maximum, place in ``GALAXY_KINDS``.
    """

    component: np.ndarray
    change: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    square: np.ndarray
    signal_to_noise: np.ndarray
    radius: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, rows: np.ndarray) -> Self:
        return type(self)(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class PairedSample:
    """Estimates of paired simulations.

    Attributes
    ----------
    shear
        Where the shear differs.
    psf
        Where the PSF's own shear does.
    """

    shear: Changes
    psf: Changes

    def where(self, keep: Callable[[Changes], np.ndarray]) -> Self:
        """Galaxies for which ``keep`` is true, both of those sheared and of those behind PSFs."""
        return type(self)(self.shear[keep(self.shear)], self.psf[keep(self.psf)])

    def bias(self) -> ShearBias:
        """The biases of all galaxies together.

        Raises
        ------
        OptionError
            When there are fewer than four galaxies of either sort.
        """
        shear, psf = self.shear, self.psf
        if min(len(shear), len(psf)) < _FEWEST:
            raise OptionError(f"{len(shear)} galaxies are too few for a bias: simulate more")
        m, m_1, m_2 = (
            _ratio(shear.change[rows], shear.weight[rows], less=1.0)
            for rows in (slice(None), shear.component == 0, shear.component == 1)
        )
        c_1, c_2 = (_ratio(shear.offset[:, i], shear.weight) for i in range(2))
        noise = float(np.sqrt(shear.square.mean()) / shear.weight.mean())
        squares = sum((x.value / _M_TARGET) ** 2 for x in (m_1, m_2)) + sum(
            (x.value / _C_TARGET) ** 2 for x in (c_1, c_2)
        )
        return ShearBias(
            m=m,
            m_1=m_1,
            m_2=m_2,
            c_1=c_1,
            c_2=c_2,
            alpha=_ratio(psf.change, psf.weight),
            shape_noise=noise,
            quality=float(_QUALITY / np.sqrt(_LEAST_NOISE + squares)),
            n=len(shear),
        )

    def bright(self) -> Self:
        """Galaxies of a signal-to-noise of ``BRIGHT`` and more."""
        return self.where(lambda changes: changes.signal_to_noise >= BRIGHT)

    def binned(self, by: str) -> list[tuple[float, float, ShearBias]]:
        """Biases in the bins of ``EDGES`` that have galaxies enough: lower and upper edge, bias.

        Parameters
        ----------
        by
            ``"signal_to_noise"`` or ``"radius"``.
        """
        bins = []
        for low, high in pairwise(EDGES[by]):
            inside = self.where(
                lambda c, low=low, high=high: (getattr(c, by) >= low) & (getattr(c, by) < high)
            )
            if min(len(inside.shear), len(inside.psf)) >= _FEWEST_IN_BIN:
                bins.append((low, high, inside.bias()))
        return bins

    def by_kind(self) -> dict[str, ShearBias]:
        """Biases of each kind of galaxy of which there are enough."""
        found = {}
        for number, name in enumerate(GALAXY_KINDS):
            of_kind = self.where(lambda c, number=number: c.kind == number)
            if min(len(of_kind.shear), len(of_kind.psf)) >= _FEWEST_IN_BIN:
                found[name] = of_kind.bias()
        return found

    def as_dict(self) -> dict[str, Any]:
        """Biases of all galaxies, of the bright ones, by kind and in bins, for JSON."""
        bins = {
            by: [
                {"low": low, "high": high, **bias.as_dict()} for low, high, bias in self.binned(by)
            ]
            for by in EDGES
        }
        return {
            "all": self.bias().as_dict(),
            "bright": self.bright().bias().as_dict(),
            "kinds": {name: bias.as_dict() for name, bias in self.by_kind().items()},
            **bins,
        }


def estimator_of(network: nn.Module) -> Estimator:
    """How a network estimates shears: calibrated and with errors, or, if it is naive, plainly.

    Raises
    ------
    OptionError
        When it estimates no shears.
    """
    if isinstance(network, ShearNetwork):
        return network.shears
    classes = network.config["classes"]
    if missing := [name for name in SHEARS if name not in classes]:
        raise OptionError(
            f"a network for {', '.join(classes)} estimates no {', '.join(missing)}: its shears "
            "cannot be measured"
        )
    columns = [classes.index(name) for name in SHEARS]

    @torch.no_grad()
    def regressed(stamps: torch.Tensor, psfs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return network(stamps)[:, columns], stamps.new_ones(len(stamps))

    return regressed


def paired_sample(
    estimate: Estimator, population: ShearPopulation, n: int, seed: int, say: Say = silent
) -> PairedSample:
    """Simulate galaxies in pairs and estimate their shears.

    Parameters
    ----------
    estimate
        Gives shears (n, 2) and their errors (n,) of stamps of galaxies and PSFs.
    population
        Of the galaxies.
    n
        How many, each seen four times; a fourth as many more are seen behind different PSFs.
    seed
        Of the simulations.
    say
        Takes a line of progress.
    """
    sheared, behind = np.random.SeedSequence(seed, spawn_key=(_STREAM,)).spawn(2)
    report = reporter("paired", say)
    parts, done = [], 0
    for pairs in shear_pairs(population, n, sheared, turned=True):
        parts.append(_changes(estimate, *pairs, step=SHEAR))
        done += len(parts[-1])
        report(done, n)
    n_psf = max(_FEWEST, int(_PSF_SHARE * n))
    say(f"simulating {n_psf:,} galaxies behind different PSFs")
    pairs = psf_pairs(population, n_psf, behind)
    return PairedSample(
        shear=_joined(parts),
        psf=_joined([_changes(estimate, *pair, step=PSF_SHEAR) for pair in pairs]),
    )


def _changes(
    estimate: Estimator,
    scenes: Scenes,
    component: torch.Tensor,
    stamps: torch.Tensor,
    psfs: torch.Tensor,
    step: float,
) -> Changes:
    """Of one batch of pairs, whose simulations alternate between plus and minus ``step``."""
    m, n = stamps.shape[:2]
    shears, errors = estimate(stamps.flatten(0, 1), psfs.flatten(0, 1))
    weights = errors.double().reshape(m, n) ** -2.0
    weighted = weights[..., None] * shears.double().reshape(m, n, 2)
    along = weighted[:, torch.arange(n), component]
    sign = torch.tensor([1.0, -1.0], dtype=torch.double).repeat(m // 2)
    return Changes(
        component=component.numpy(),
        change=((sign[:, None] * along).mean(0) / step).numpy(),
        weight=weights.mean(0).numpy(),
        offset=weighted.mean(0).numpy(),
        square=weighted.square().mean((0, 2)).numpy(),
        signal_to_noise=scenes.signal_to_noise.numpy(),
        radius=(scenes.half_light_radius / scenes.psf_fwhm).numpy(),
        kind=scenes.kind.numpy(),
    )


def _joined(parts: list[Changes]) -> Changes:
    names = vars(parts[0])
    return Changes(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _ratio(above: np.ndarray, below: np.ndarray, less: float = 0.0) -> Measured:
    """Ratio of two means, with the error that their common scatter leaves (delta method)."""
    ratio = above.mean() / below.mean()
    residuals = above - ratio * below
    error = residuals.std(ddof=1) / (np.sqrt(len(below)) * below.mean())
    return Measured(float(ratio - less), float(error))
