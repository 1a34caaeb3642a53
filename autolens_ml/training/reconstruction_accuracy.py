"""What a reconstruction is worth, on lenses of another family than those that were learned from.

Their convergences are elliptical power laws with multipoles, with subhaloes and without random
fields; their sources are real galaxies that were held out of training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.inference.reconstruction.loop import Loop, Observed, State
from autolens_ml.inference.reconstruction.loss import LossWeights
from autolens_ml.inference.reconstruction.refinement import Refinement, refined
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.rim import RecurrentInferenceMachine
from autolens_ml.simulate.maps import Spectrum, coherence, einstein_radii_from
from autolens_ml.training.preset import Preset
from autolens_ml.training.reconstruction import Reconstruction
from autolens_ml.training.reconstruction_sets import LensMaps, Truth, exposed
from autolens_ml.training.task import Evaluation, Say, silent

__all__ = ["ReconstructionAccuracy", "ReconstructionTest", "measured", "unseen_lenses"]

# Keeps the test lenses apart from any training set with the same seed.
_STREAM = 7919
_BATCH = 32
_CHUNK = 64
# What the lenses of tests have, and those of training have not, and the other way round.
_FAMILY = {"multipoles": (3, 4), "multipole_strength": (0.0, 0.03), "texture": (0.0, 0.0)}
_GALAXIES = {"hubble-deep-field": 1.0}
# Reduced chi-squareds that are those of noise.
_NEAR_ONE, _IN_RANGE = (0.95, 1.05), (0.95, 1.10)
_N_BOOTSTRAP = 200
_INTERVAL = (2.5, 97.5)
_N_TIMED = 5

Metric = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReconstructionTest:
    """Unseen lenses and what a network makes of them, in the units of its data.

    Attributes
    ----------
    source, convergence, shear : ndarray
        Reconstructed, shape (n, rows, columns), (n, y, x) and (n, 2).
    true_source, true_convergence, true_shear : ndarray
        The truth on the same pixels.
    chi_squared : ndarray
        Reduced, after each step, shape (n, n_steps).
    chi_squared_of_truth : ndarray
        Of the true maps on the pixels of the reconstruction, shape (n,): what pixels cost.
    pixel_scale, source_pixel_scale : float
        Sides of pixels [arcsec].
    """

    source: np.ndarray
    convergence: np.ndarray
    shear: np.ndarray
    true_source: np.ndarray
    true_convergence: np.ndarray
    true_shear: np.ndarray
    chi_squared: np.ndarray
    chi_squared_of_truth: np.ndarray
    pixel_scale: float
    source_pixel_scale: float

    def __len__(self) -> int:
        return len(self.source)

    @property
    def source_correlation(self) -> np.ndarray:
        """Pearson's, of the pixels of each lens, shape (n,)."""
        return _correlations(self.source, self.true_source)

    @property
    def convergence_correlation(self) -> np.ndarray:
        """Pearson's, of the logarithms of the convergence of each lens, shape (n,)."""
        return _correlations(np.log10(self.convergence), np.log10(self.true_convergence))

    @property
    def einstein_radii(self) -> tuple[np.ndarray, np.ndarray]:
        """True and reconstructed ones [arcsec], shape (n,) each; NaN as 0 where there is none."""
        truth, found = (
            np.nan_to_num(einstein_radii_from(values, self.pixel_scale)[0])
            for values in (self.true_convergence, self.convergence)
        )
        return truth, found

    @property
    def coherences(self) -> dict[str, Spectrum]:
        """Of sources and of logarithms of convergences with the truth, over all lenses."""
        logs = (np.log10(self.convergence), np.log10(self.true_convergence))
        # What all lenses have in common is no merit.
        typical = logs[1].mean(axis=0)
        return {
            "source": coherence(self.source, self.true_source, self.source_pixel_scale),
            "convergence": coherence(
                *(each - typical for each in logs), self.pixel_scale, taper=True
            ),
        }


@dataclass(frozen=True, kw_only=True)
class ReconstructionAccuracy(Evaluation):
    """Figures of merit of a network of reconstructions.

    Attributes
    ----------
    tested : ReconstructionTest
        What they are measured on.
    refined : ReconstructionTest
        The same lenses after refinement.
    """

    tested: ReconstructionTest
    refined: ReconstructionTest


def measured(
    card: Card,
    n: int = 200,
    seed: int = 0,
    say: Say = silent,
) -> ReconstructionAccuracy:
    """Measure a network on ``n`` lenses of another family.

    Parameters
    ----------
    card
        Of a network for ``reconstruction``.
    n
        Test lenses, at least 2.
    seed
        Of the lenses and their noise.
    say
        Takes a line of progress.

    Raises
    ------
    NetworkError
        When the weights are damaged, or the card does not say what was learned from.
    """
    network = stored_network(card).requires_grad_(False)
    loop, _, observed, truth = unseen_lenses(card, n, seed, say)
    say("reconstructing")
    with torch.no_grad():
        batches = [loop.unroll(network, observed[i : i + _BATCH]) for i in range(0, n, _BATCH)]
    tested = _test_of(loop, observed, truth, batches)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))
    metrics = _metrics(tested, rng)
    metrics["chi_squared_of_truth"] = _bootstrapped(tested.chi_squared_of_truth, np.median, rng)
    metrics["seconds_per_lens"] = _seconds(loop, network, observed)
    refined_test, seconds = _refined(loop, observed, truth, batches, say)
    metrics |= _named("refined", refined_test, seconds, rng)
    command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
    described = {name: {**metric, "command": command} for name, metric in metrics.items()}
    return ReconstructionAccuracy(
        card=card.with_metrics(described),
        report={
            "chi_squared_by_step": np.median(tested.chi_squared, axis=0).tolist(),
            "chi_squared_quantiles": _quantiles(tested.chi_squared[:, -1]),
            **{f"coherence_{k}": _plain(v) for k, v in tested.coherences.items()},
        },
        plots=_plots(tested, refined_test),
        verdict=_verdict(metrics),
        tested=tested,
        refined=refined_test,
    )


def unseen_lenses(
    card: Card, n: int, seed: int, say: Say
) -> tuple[Loop, LossWeights, Observed, Truth]:
    """The loop and the loss of a network, and lenses; the light of the truth in units of data."""
    try:
        data = card.outputs["data"]
        task = Reconstruction(
            Preset(
                name=card.name,
                description=card.description,
                task=card.task,
                data={
                    **data,
                    "lenses": {**data["lenses"], **_FAMILY},
                    "galaxies": _GALAXIES,
                },
                seed=card.training["seed"],
            )
        )
    except (KeyError, TypeError, OptionError) as error:
        raise NetworkError(f"{card.path}: does not say what was learned from") from error
    own_seed = int(np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1)[0])
    truth = _drawn(task.population, n, own_seed, say)
    rng = np.random.default_rng(own_seed)
    observed, units = exposed(truth, task.observations, task.loop.options.pixel_scale, rng)
    source = truth.source / units.numpy()[:, None, None]
    return (
        task.loop,
        task.weights,
        observed,
        Truth(truth.image, source, truth.convergence, truth.shear),
    )


def _drawn(population: LensMaps, n: int, seed: int, say: Say) -> Truth:
    chunks = []
    for i in range(-(-n // _CHUNK)):
        chunks.append(population.drawn(i, seed, held_out=True))
        say(f"simulating lenses: {min(n, (i + 1) * _CHUNK)} of {n}")
    return Truth(*(np.concatenate([getattr(c, e.name) for c in chunks])[:n] for e in fields(Truth)))


def _test_of(
    loop: Loop, observed: Observed, truth: Truth, batches: list[list[State]]
) -> ReconstructionTest:
    last = [states[-1] for states in batches]
    chi_squared = [torch.stack([s.chi_squared for s in states], dim=1) for states in batches]
    n = sum(len(state.source) for state in last)
    source, convergence, shear = (
        np.asarray(each[:n], dtype=float) for each in (truth.source, truth.convergence, truth.shear)
    )
    with torch.no_grad():
        maps = (torch.from_numpy(each) for each in (convergence, source, shear))
        of_truth = loop.chi_squared_of(observed[:n], loop.lens(*maps, observed.psf[:n]))
    return ReconstructionTest(
        source=torch.cat([state.source for state in last]).double().numpy(),
        convergence=10.0 ** torch.cat([s.latents.convergence for s in last]).double().numpy(),
        shear=torch.cat([s.latents.shear for s in last]).double().numpy(),
        true_source=source,
        true_convergence=10.0**convergence,
        true_shear=shear,
        chi_squared=torch.cat(chi_squared).double().numpy(),
        chi_squared_of_truth=of_truth.double().numpy(),
        pixel_scale=loop.options.pixel_scale,
        source_pixel_scale=loop.options.source_pixel_scale,
    )


def _refined(
    loop: Loop, observed: Observed, truth: Truth, batches: list[list[State]], say: Say
) -> tuple[ReconstructionTest, np.ndarray]:
    """The lenses after refinement, and the seconds that each took."""
    found, seconds = [], []
    for i, start in enumerate(_rows([states[-1] for states in batches])):
        one = observed[i : i + 1]
        started = time.perf_counter()
        latents, _ = refined(loop, one, start.latents, Refinement())
        seconds.append(time.perf_counter() - started)
        with torch.no_grad():
            found.append([loop.state(one, latents)])
        if (i + 1) % _BATCH == 0:
            say(f"refining: {i + 1} of {len(observed)}")
    return _test_of(loop, observed, truth, found), np.array(seconds)


def _rows(batches: list[State]) -> Iterator[State]:
    for batch in batches:
        for i in range(len(batch.source)):
            yield batch.row(i)


def _metrics(tested: ReconstructionTest, rng: np.random.Generator) -> dict[str, Metric]:
    """Chi-squared first, then errors of the maps."""
    chi_squared = tested.chi_squared[:, -1]

    def share(low: float, high: float) -> Metric:
        return _bootstrapped((chi_squared >= low) & (chi_squared <= high), np.mean, rng)

    truth, found = tested.einstein_radii
    shear_error = (tested.shear - tested.true_shear).ravel()
    return {
        "chi_squared": _bootstrapped(chi_squared, np.median, rng),
        "einstein_radius_rms": _bootstrapped(found - truth, _rms, rng),
        "chi_squared_in_range": share(*_IN_RANGE),
        "chi_squared_near_one": share(*_NEAR_ONE),
        "source_correlation": _bootstrapped(tested.source_correlation, np.median, rng),
        "convergence_correlation": _bootstrapped(tested.convergence_correlation, np.median, rng),
        "shear_rms": _bootstrapped(shear_error, _rms, rng),
    }


def _named(
    prefix: str, tested: ReconstructionTest, seconds: np.ndarray, rng: np.random.Generator
) -> dict[str, Metric]:
    """The metrics of another stage, and its time."""
    metrics = _metrics(tested, rng)
    metrics["seconds_per_lens"] = _bootstrapped(seconds, np.mean, rng)
    return {f"{prefix}_{name}": metric for name, metric in metrics.items()}


def _bootstrapped(
    values: np.ndarray, statistic: Callable[[np.ndarray], float], rng: np.random.Generator
) -> Metric:
    """A statistic with its 95 per cent interval over the choice of the lenses."""
    value = float(statistic(values))
    n = len(values)
    others = [float(statistic(values[rng.integers(n, size=n)])) for _ in range(_N_BOOTSTRAP)]
    low, high = np.percentile(others, _INTERVAL)
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": n}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    pairs = zip(first, second, strict=True)
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])


def _seconds(loop: Loop, network: RecurrentInferenceMachine, observed: Observed) -> Metric:
    """Of one lens alone: median, least and most."""
    times = []
    with torch.no_grad():
        for _ in range(_N_TIMED):
            started = time.perf_counter()
            loop.unroll(network, observed[:1])
            times.append(time.perf_counter() - started)
    return {
        "value": float(np.median(times)),
        "low": float(min(times)),
        "high": float(max(times)),
        "n": _N_TIMED,
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    shares = (0.05, 0.16, 0.5, 0.84, 0.95)
    return {f"{share:g}": float(np.quantile(values, share)) for share in shares}


def _plain(spectrum: Spectrum) -> dict[str, list[float | None]]:
    return {
        name: [float(value) if np.isfinite(value) else None for value in values]
        for name, values in vars(spectrum).items()
    }


def _plots(
    tested: ReconstructionTest, refined_test: ReconstructionTest
) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.reconstruction_plots import accuracy_plot

    chi_squared = {
        "network": tested.chi_squared[:, -1],
        "refined": refined_test.chi_squared[:, -1],
        "truth on these pixels": tested.chi_squared_of_truth,
    }
    radii, coherences = refined_test.einstein_radii, refined_test.coherences
    return {"accuracy": partial(accuracy_plot, chi_squared, radii, coherences)}


def _verdict(metrics: dict[str, Metric]) -> str:
    def words(name: str) -> str:
        metric = metrics[name]
        return f"{metric['value']:.3g} ({metric['low']:.3g} to {metric['high']:.3g})"

    return (
        "unseen lenses are reproduced with a median reduced chi-squared of "
        f"{words('chi_squared')} by the network and {words('refined_chi_squared')} after "
        f"refinement, a share of {words('refined_chi_squared_in_range')} of them within 0.95 to "
        f"1.10; Einstein radii are off by {words('refined_einstein_radius_rms')} arcsec"
    )
