"""The task of estimating shears: galaxies are simulated as they are needed, and never stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.losses import gaussian_nll
from autolens_ml.networks.shear import ShearNetwork, StampRegressor
from autolens_ml.simulate.shear_population import POPULATIONS, Scenes, ShearPopulation
from autolens_ml.simulate.shear_stamps import StampRenderer
from autolens_ml.training.merit import speed_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.shear_bias import (
    BRIGHT,
    SHEARS,
    Measured,
    PairedSample,
    ShearBias,
    estimator_of,
    paired_sample,
)
from autolens_ml.training.shear_calibration import calibrate
from autolens_ml.training.task import Evaluation, Say, Task, silent

__all__ = [
    "CONVENTION",
    "TARGETS",
    "Shearing",
    "shear_population_from",
    "shear_population_of",
    "verdict_of",
]

CONVENTION = "reduced shear: |g| = (a - b) / (a + b), g_1 along x, g_2 along x = y, row 0 at +y"
# What is asked of networks, of galaxies of a signal-to-noise of 20 and more.
TARGETS = {"m": 5e-3, "c_1": 5e-4, "c_2": 5e-4}

_ENTRIES = ("population", "estimates", "n_calibration", "instrument", "bands")
_ESTIMATES = ("ellipticity", "shear")
_N_CALIBRATION = 60_000
# Galaxies that the prior variance is taken from, and those whose speed is measured at once.
_N_PRIOR, _N_SPEED = 100_000, 512
# Seeds of one preset: of the prior variance and of the calibration.
_PRIOR_STREAM, _CALIBRATION_STREAM = 1, 2


class Shearing(Task):
    """Ellipticities after shear, freed of the PSF, calibrated into shears.

    The ``data`` of its presets are

    - ``population``, a name of ``POPULATIONS`` or what `ShearPopulation.from_dict` takes;
    - ``estimates``, ``ellipticity`` (by default) for a :class:`ShearNetwork`, which learns the
      posterior of the ellipticity after shear and is then calibrated, or ``shear`` for a
      :class:`StampRegressor` that is taught the shear itself from the galaxy alone, which shrinks
      every answer towards zero and is there for comparison;
    - ``n_calibration``, galaxies of the calibration, 60,000 by default;
    - ``instrument`` and ``bands``, names for the card.

    ``network`` has the other arguments of the network.

    Attributes
    ----------
    population : ShearPopulation
        Of the galaxies.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        self.population = shear_population_from(data.get("population", "euclid"))
        self._estimates = data.get("estimates", _ESTIMATES[0])
        if self._estimates not in _ESTIMATES:
            raise OptionError(
                f"data: estimates must be {' or '.join(_ESTIMATES)}, not {self._estimates!r}"
            )
        self._n_calibration = data.get("n_calibration", _N_CALIBRATION)
        if not isinstance(self._n_calibration, int) or self._n_calibration < 100:
            raise OptionError(
                f"data: n_calibration must be a whole number from 100, not {self._n_calibration!r}"
            )
        self._renderer = StampRenderer(self.population)

    def network(self) -> nn.Module:
        """The untrained network."""
        size, options = self.population.size, self.preset.network
        try:
            if self._estimates == "ellipticity":
                return ShearNetwork(prior_variance=self._prior_variance(), size=size, **options)
            limit = self.population.max_shear
            return StampRegressor(SHEARS, [-limit] * 2, [limit] * 2, size=(size, size), **options)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error

    def sources(self, folder: Path, say: Say = silent) -> dict[str, _Sky]:
        """Scenes without end; of those for validation, ``n_validation``."""
        options = self.preset.training
        return {
            "training": _Sky(self.population, options.n_training),
            "validation": _Sky(self.population, options.n_validation),
        }

    def loss(self, network: nn.Module, batch: Scenes) -> torch.Tensor:
        """Of the stamps of scenes, which are made where the network is."""
        stamps, psfs = self._renderer.stamps(batch)
        if isinstance(network, StampRegressor):
            wanted = network.scaled(_components(batch.shear))
            return nn.functional.mse_loss(network.raw(stamps), wanted)
        mean, log_odds = network(stamps, psfs)
        log_variance = network.log_variance(log_odds)[:, None].expand_as(mean)
        return gaussian_nll(mean, log_variance, _components(batch.observed_ellipticity))

    def finish(self, network: nn.Module, validation: _Sky) -> None:
        """Calibrate the network as it will be stored."""
        if isinstance(network, ShearNetwork):
            with torch.no_grad():
                # Weights are stored in half precision: afterwards, rounding would change answers.
                for parameter in network.parameters():
                    parameter.copy_(parameter.half())
            seed = self._seed(_CALIBRATION_STREAM)
            calibrate(network, self.population, self._n_calibration, seed)

    def card_fields(self) -> dict[str, Any]:
        """What goes in and comes out."""
        population = self.population
        return {
            "instrument": {
                "name": str(self.preset.data.get("instrument", "simulated")),
                "pixel_scale": population.pixel_scale,
                "psf_fwhm": list(population.psf_fwhm),
            },
            "bands": list(self.preset.data.get("bands", ())),
            "inputs": {
                "shape": [population.size, population.size],
                "pixel_scale": population.pixel_scale,
                "channels": ["galaxy", "psf"][: 2 if self._estimates == "ellipticity" else 1],
                "units": "any; background subtracted",
            },
            "outputs": {
                "parameters": list(SHEARS),
                "convention": CONVENTION,
                "estimates": self._estimates,
                "population": population.as_dict(),
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Biases from ``n`` galaxies, each seen four times, and as many again by a fourth."""
        network = stored_network(card)
        population = shear_population_of(card)
        sample = paired_sample(estimator_of(network), population, n, seed, say)
        command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
        measured = {**_metrics(sample), "galaxies_per_second": _speed(network, population, seed)}
        return Evaluation(
            card=card.with_metrics(
                {name: {**metric, "command": command} for name, metric in measured.items()}
            ),
            report=sample.as_dict(),
            plots=_plots(card.name, sample),
            verdict=verdict_of(sample.bright().bias()),
        )

    def _prior_variance(self) -> float:
        rng = np.random.default_rng(self._seed(_PRIOR_STREAM))
        squares = self.population.draw(_N_PRIOR, rng).observed_ellipticity.abs().square()
        return float(0.5 * squares.double().mean())

    def _seed(self, stream: int) -> int:
        sequence = np.random.SeedSequence(self.preset.seed, spawn_key=(stream,))
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Sky:
    """Scenes of a population, new ones every time."""

    def __init__(self, population: ShearPopulation, n: int) -> None:
        self._population = population
        self._n = n

    def __len__(self) -> int:
        return self._n

    def batch_from(self, rows: np.ndarray, rng: np.random.Generator) -> Scenes:
        """As many scenes as rows, whatever these are."""
        return self._population.draw(len(rows), rng)


def shear_population_from(options: Any) -> ShearPopulation:
    """A population by name, or by what `ShearPopulation.from_dict` takes.

    Raises
    ------
    OptionError
        When there is none of this name, or an entry is wrong.
    """
    if isinstance(options, str):
        if options not in POPULATIONS:
            raise OptionError(
                f"no population {options!r}: choose one of {', '.join(POPULATIONS)}, or give a "
                "mapping"
            )
        return POPULATIONS[options]
    return ShearPopulation.from_dict(options)


def shear_population_of(card: Card) -> ShearPopulation:
    """The galaxies that a network is for.

    Raises
    ------
    NetworkError
        When its card does not say.
    """
    try:
        return shear_population_from(card.outputs["population"])
    except (KeyError, OptionError) as error:
        raise NetworkError(f"{card.path}: names no galaxies to measure it on") from error


def verdict_of(bias: ShearBias) -> str:
    """Whether bright galaxies meet ``TARGETS``, in words."""
    sentences = []
    for name, target in TARGETS.items():
        found: Measured = getattr(bias, name)
        bounds = found.as_dict()
        reached = max(abs(bounds["low"]), abs(bounds["high"])) <= target
        missed = max(bounds["low"], -bounds["high"]) > target
        word = "meets" if reached else "misses" if missed else "is compatible with"
        sentences.append(
            f"{name} = {found.value:+.5f} +- {found.error:.5f} {word} the target of {target:g}"
        )
    return f"Signal-to-noise of {BRIGHT:g} and more: {'; '.join(sentences)}."


def _metrics(sample: PairedSample) -> dict[str, dict[str, Any]]:
    metrics = {}
    for which, suffix in ((sample.bright(), f"_sn_{BRIGHT:g}"), (sample, "")):
        bias = which.bias()
        for name in ("m", "c_1", "c_2", "m_1", "m_2", "alpha"):
            metrics[f"{name}{suffix}"] = {**getattr(bias, name).as_dict(), "n": bias.n}
    return metrics


def _speed(network: nn.Module, population: ShearPopulation, seed: int) -> dict[str, Any]:
    scenes = population.draw(_N_SPEED, np.random.default_rng(seed))
    stamps, psfs = StampRenderer(population).stamps(scenes)
    estimate = estimator_of(network)
    return speed_of(lambda: estimate(stamps, psfs), _N_SPEED)


def _plots(name: str, sample: PairedSample) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.shear_plots import bias_plot

    return {"shear_bias": partial(bias_plot, {name: sample})}


def _components(values: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts, shape (n, 2)."""
    return torch.view_as_real(values)
