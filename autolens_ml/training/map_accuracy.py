"""What an autoencoder of maps is worth: how unseen maps come back, how like maps samples are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.autoencoder import Autoencoder
from autolens_ml.networks.checkpoint import Card
from autolens_ml.profiles.decoder import decoder_from
from autolens_ml.profiles.mass import convergence_map
from autolens_ml.simulate.maps import Spectrum, coherence, power_spectrum
from autolens_ml.training.map_sets import Lenses, MapPopulation, population_of
from autolens_ml.training.merit import speed_of
from autolens_ml.training.task import Evaluation, Say, silent

__all__ = ["MapAccuracy", "measured"]

# Keeps the test maps apart from any training set with the same seed.
_STREAM = 7919
_BATCH = 256
_N_BOOTSTRAP = 100
_INTERVAL = (2.5, 97.5)
# Maps whose spectra are taken, and whose deflections.
_N_SPECTRA, _N_DEFLECTED = 500, 200
# Waves are resolved of which reconstructions share this much with the maps.
_RESOLVED = 0.5
# Deflections matter where images are: inside of this many Einstein radii.
_IMAGES_WITHIN = 1.5
_N_DECODED = 50

Metric = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class MapAccuracy(Evaluation):
    """Figures of merit of an autoencoder.

    Attributes
    ----------
    tested : MapComparison
        What they are measured on.
    """

    tested: MapComparison


@dataclass(frozen=True, eq=False)
class MapComparison:
    """Unseen maps and what a network makes of them; all maps have a mean of one in the disc.

    Attributes
    ----------
    truth, decoded, noise, samples : ndarray
        The maps, what their mean latents are decoded to, the noise of their pixels, and draws of
        the prior; shape (n, size, size).
    kind : ndarray
        What the maps are of, indices of the population's kinds, shape (n,).
    divergence : ndarray
        Of their latents from the prior in nats, shape (n,).
    pixel : float
        Side of a pixel in radii of the disc.
    tapered : bool
        Whether maps end above zero, so that spectra need a window.
    """

    truth: np.ndarray
    decoded: np.ndarray
    noise: np.ndarray
    samples: np.ndarray
    kind: np.ndarray
    divergence: np.ndarray
    pixel: float
    tapered: bool = False

    @property
    def error(self) -> np.ndarray:
        """Root mean square error of each map in units of noise, shape (n,)."""
        residual = (self.decoded - self.truth) / self.noise
        return np.sqrt(np.mean(residual**2, axis=(1, 2)))

    @property
    def relative_error(self) -> np.ndarray:
        """Norm of the error of each map over the norm of the map, shape (n,)."""
        difference = np.sum((self.decoded - self.truth) ** 2, axis=(1, 2))
        return np.sqrt(difference / np.sum(self.truth**2, axis=(1, 2)))

    def power(self, maps: np.ndarray, rows: np.ndarray | slice) -> Spectrum:
        """Power spectrum of the deviations of some maps from the typical one.

        What all maps have in common, such as a cusp in the middle, is no merit. Wavenumbers are in
        cycles per radius of the disc.
        """
        return power_spectrum(maps[rows] - self._typical, self.pixel, self.tapered)

    def shared(self, rows: np.ndarray | slice) -> Spectrum:
        """Coherence of the deviations of maps and of their reconstructions from the typical map."""
        both = (each[rows] - self._typical for each in (self.truth, self.decoded))
        return coherence(*both, self.pixel, self.tapered)

    @cached_property
    def _typical(self) -> np.ndarray:
        return self.truth.mean(axis=0)


def measured(card: Card, n: int = 4000, seed: int = 0, say: Say = silent) -> MapAccuracy:
    """Measure an autoencoder on ``n`` maps that it did not learn from.

    Galaxies are those that are held out of training; validation sees them as well.

    Parameters
    ----------
    card
        Of a network for ``autoencoder``.
    n
        Test maps, at least 2, and as many samples.
    seed
        Of the test maps and the samples.
    say
        Takes a line of progress.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what was learned from.
    """
    network = stored_network(card)
    population = _population_from(card, network)
    tested = _tested(network, population, n, seed, say)
    say("measuring")
    spectra = _spectra(tested)
    metrics = _metrics(population, tested, seed)
    metrics["decodings_per_second"] = _speed(card)
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    described = {name: {**metric, "command": command} for name, metric in metrics.items()}
    return MapAccuracy(
        card=card.with_metrics(described),
        report={name: _plain(spectrum) for name, spectrum in spectra.items()},
        plots=_plots(population, tested, spectra),
        verdict=_verdict(metrics),
        tested=tested,
    )


def _population_from(card: Card, network: Autoencoder) -> MapPopulation:
    try:
        data, seed = card.outputs["data"], card.training["seed"]
    except KeyError as error:
        raise NetworkError(f"{card.path}: does not say what was learned from") from error
    return population_of(data, network.config["size"], network.config["disc_radius"], seed)


@torch.no_grad()
def _tested(
    network: Autoencoder, population: MapPopulation, n: int, seed: int, say: Say
) -> MapComparison:
    own_seed = int(np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1)[0])
    with tempfile.TemporaryDirectory() as folder:
        stored = population.stored(Path(folder) / "test", n, own_seed, True, say)
        kind = np.array(stored["kind"])
        maps = torch.from_numpy(stored["maps"].astype(np.float32))
    say("decoding")
    parts = maps.split(_BATCH)
    encodings = [network.encode(part) for part in parts]
    truth = torch.cat([network.normalised(part) for part in parts])
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n, network.config["latent_dim"], generator=generator)
    decoded = torch.cat([network.decode(encoding.mean) for encoding in encodings])
    samples = torch.cat([network.decode(part) for part in draws.split(_BATCH)])
    divergence = torch.cat([encoding.divergence().sum(1) for encoding in encodings])
    return MapComparison(
        *(each.double().numpy() for each in (truth, decoded, network.noise(truth), samples)),
        kind=kind,
        divergence=divergence.double().numpy(),
        pixel=population.pixel,
        tapered=isinstance(population, Lenses),
    )


def _metrics(population: MapPopulation, tested: MapComparison, seed: int) -> dict[str, Metric]:
    """The errors first, in units of noise and of the maps, then what samples are like."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))

    def over_maps(values: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Metric:
        return _bootstrapped(lambda rows: statistic(values[rows]), len(values), rng)

    error = tested.error
    metrics = {
        "error_in_noise": over_maps(error, _rms),
        "relative_error": over_maps(tested.relative_error, np.median),
    }
    if len(population.kinds) > 1:
        for i, name in enumerate(population.kinds):
            own = error[tested.kind == i]
            if len(own):
                metrics[f"error_in_noise {name}"] = over_maps(own, _rms)
    if isinstance(population, Lenses):
        metrics["deflection_error"] = over_maps(_deflection_errors(tested), _rms)
    metrics["divergence"] = over_maps(tested.divergence, np.mean)

    n = min(len(error), _N_SPECTRA)
    metrics["resolved_wavelength"] = _bootstrapped(
        lambda rows: _shortest_resolved(tested.shared(rows)), n, rng
    )
    shortest = metrics["resolved_wavelength"]["value"]

    def power_error(rows: np.ndarray) -> float:
        found, right = (tested.power(maps, rows) for maps in (tested.samples, tested.truth))
        long = found.wavenumber * shortest <= 1.0
        return _rms(np.log10(found.value[long] / right.value[long]))

    metrics["sample_power_error"] = _bootstrapped(power_error, n, rng)
    return metrics


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _bootstrapped(
    statistic: Callable[[np.ndarray], float], n: int, rng: np.random.Generator
) -> Metric:
    """A statistic of maps with its 95 per cent interval over the choice of the maps."""
    value = float(statistic(np.arange(n)))
    values = [statistic(rng.integers(n, size=n)) for _ in range(_N_BOOTSTRAP)]
    low, high = np.percentile(values, _INTERVAL)
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": n}


def _deflection_errors(tested: MapComparison) -> np.ndarray:
    """Root mean square of each lens's wrong deflections where images are, in Einstein radii."""
    size = tested.truth.shape[1]
    places = (np.arange(size) - 0.5 * (size - 1)) * tested.pixel
    row, column = np.nonzero(np.hypot(places[:, None], places) < _IMAGES_WITHIN)
    errors = []
    for wrong in (tested.decoded - tested.truth)[:_N_DEFLECTED]:
        deflections = np.stack(
            convergence_map.deflections(
                convergence_map.lensing_maps(wrong), row.astype(float), column.astype(float)
            )
        )
        # A uniform deflection moves the source, and no image.
        deflections -= deflections.mean(axis=1, keepdims=True)
        errors.append(tested.pixel * np.sqrt(np.mean(np.sum(deflections**2, axis=0))))
    return np.array(errors)


def _shortest_resolved(shared: Spectrum) -> float:
    """The wavelength, in radii of the disc, down to which all waves are resolved."""
    below = np.flatnonzero(~(shared.value >= _RESOLVED))
    first = below[0] if below.size else len(shared.value)
    return float(1.0 / shared.wavenumber[max(first - 1, 0)])


def _spectra(tested: MapComparison) -> dict[str, Spectrum]:
    rows = slice(_N_SPECTRA)
    return {
        "power_of_maps": tested.power(tested.truth, rows),
        "power_of_reconstructions": tested.power(tested.decoded, rows),
        "power_of_samples": tested.power(tested.samples, rows),
        "coherence_of_reconstructions": tested.shared(rows),
    }


def _speed(card: Card) -> Metric:
    """Maps that the decoder makes in a second, one by one, compiled by JAX."""
    decoder = decoder_from(str(card.path), card.outputs["quantity"])
    decode = jax.jit(partial(decoder.map_from, xp=jnp))
    latents = np.zeros(decoder.latent_dim)

    def decode_all() -> None:
        for _ in range(_N_DECODED):
            decode(latents).block_until_ready()

    decode_all()  # compiles
    return speed_of(decode_all, _N_DECODED)


def _plots(
    population: MapPopulation, tested: MapComparison, spectra: dict[str, Spectrum]
) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.autoencoder_plots import (
        reconstructions_plot,
        samples_plot,
        spectra_plot,
    )

    kinds = [population.kinds[i] for i in tested.kind]
    return {
        "reconstructions": partial(
            reconstructions_plot, tested.truth, tested.decoded, tested.noise, kinds
        ),
        "samples": partial(samples_plot, tested.truth, tested.samples),
        "spectra": partial(spectra_plot, spectra),
    }


def _verdict(metrics: dict[str, Metric]) -> str:
    def words(name: str) -> str:
        metric = metrics[name]
        return f"{metric['value']:.3g} ({metric['low']:.3g} to {metric['high']:.3g})"

    return (
        f"unseen maps come back with errors of {words('error_in_noise')} times the noise, and with "
        f"all waves longer than {words('resolved_wavelength')} radii of the disc; power of samples "
        f"is off by {words('sample_power_error')} dex"
    )


def _plain(spectrum: Spectrum) -> dict[str, list[float | None]]:
    return {
        name: [float(value) if np.isfinite(value) else None for value in values]
        for name, values in vars(spectrum).items()
    }
