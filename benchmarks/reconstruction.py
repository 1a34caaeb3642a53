"""Pixels against profiles: ``python -m benchmarks.reconstruction``.

It writes ``results/reconstruction.md``.

The lenses on which ``autolens-ml evaluate rim-small`` measures the network are fitted with what a
modeller would begin with: isothermal ellipsoid, external shear and one Sersic source, the most
probable of several climbs. The lenses are power laws with multipoles and their sources real
galaxies, which neither the network's training nor the profiles have.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import autolens as al
import numpy as np
import torch
from autofit.tools.util import open_atomic
from scipy.optimize import minimize
from scipy.stats import bootstrap

from autolens_ml.inference.reconstruction.fine_tuning import FineTuning, fine_tuned
from autolens_ml.inference.reconstruction.loop import Loop, Observed
from autolens_ml.inference.reconstruction.loss import LossWeights
from autolens_ml.inference.reconstruction.refinement import Refinement, refined
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.maps import einstein_radii_from
from autolens_ml.simulate.population import Population
from autolens_ml.training.optimizer_problems import LensLikelihood
from autolens_ml.training.reconstruction_accuracy import unseen_lenses
from benchmarks.page import table, words, write
from benchmarks.search import machine

RESULTS = Path(__file__).parent / "results"
STORE = RESULTS / "reconstruction"
NEAR_ONE, IN_RANGE = (0.95, 1.05), (0.95, 1.10)
N_DRAWS = 512
# Climbs and their iterations: most of the first ones are not followed to their end.
LEGS = ((8, 30), (2, 200))
# Noise of pixels that are masked, in units of that of an empty one.
MASKED = 1e6
# Of the card, by what they are called in the table; the stages of a reconstruction and its times.
STAGES = {"rim-small alone": "", "rim-small, refined": "refined_"}

Columns = dict[str, np.ndarray]


def population(observed: Observed, pixel_scale: float) -> Population:
    """Profiles, with priors as wide as the lenses."""
    offset = {"gaussian": [0.0, 0.1]}
    return population_from(
        {
            "instrument": {
                "name": "held-out",
                "shape": list(observed.image.shape[1:]),
                "pixel_scale": pixel_scale,
                "psf_fwhm": [0.12, 0.28],
                "psf_shape": list(observed.psf.shape[1:]),
                "exposure_time": 1.0,
                "background_sky_level": 1.0,
                "over_sample_size": 2,
            },
            "noise_units": True,
            "model": {
                "lens": {
                    "redshift": 0.5,
                    "mass": {
                        "class": "al.mp.Isothermal",
                        "centre": offset,
                        "ell_comps": {"gaussian": [0.0, 0.2]},
                        "einstein_radius": {"uniform": [0.3, 2.0]},
                    },
                    "shear": {
                        "class": "al.mp.ExternalShear",
                        "gamma_1": {"gaussian": [0.0, 0.06]},
                        "gamma_2": {"gaussian": [0.0, 0.06]},
                    },
                },
                "source": {
                    "redshift": 1.0,
                    "bulge": {
                        "class": "al.lp.Sersic",
                        "centre": {"gaussian": [0.0, 0.3]},
                        "ell_comps": {"gaussian": [0.0, 0.25]},
                        "intensity": {"log_uniform": [0.1, 1000.0]},
                        "effective_radius": {"log_uniform": [0.02, 1.0]},
                        "sersic_index": {"uniform": [0.4, 5.0]},
                    },
                },
            },
        }
    )


def fitted(likelihood: LensLikelihood, images: list[np.ndarray], seed: int) -> dict[str, float]:
    """The most probable lens: chi-squared, Einstein radius in pixels' own sense, and seconds."""
    began = time.perf_counter()
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    space = likelihood.population.space
    draws = rng.standard_normal((N_DRAWS, space.dim))
    values = likelihood.value(draws, *(np.repeat(each, N_DRAWS, axis=0) for each in images))

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = likelihood.value_and_gradient(z[None], *images)
        usable = np.isfinite(value[0]) and np.isfinite(gradient).all()
        return (-float(value[0]), -gradient[0]) if usable else (1e12, np.zeros_like(z))

    points = draws[np.argsort(-np.nan_to_num(values, nan=-np.inf))]
    for n_climbs, n_iterations in LEGS:
        ends = [
            minimize(
                loss,
                point,
                jac=True,
                method="L-BFGS-B",
                bounds=[(-6.0, 6.0)] * space.dim,
                options={"maxiter": n_iterations},
            )
            for point in points[:n_climbs]
        ]
        ends.sort(key=lambda end: end.fun)
        points = [end.x for end in ends]
    best = ends[0]
    instance = likelihood.population.model.instance_from_vector(
        space.physical_from(best.x[None])[0]
    )
    n_data = np.sum(images[1] < MASKED)
    scale = likelihood.population.instrument.pixel_scale
    grid = al.Grid2D.uniform(shape_native=images[0].shape[1:], pixel_scales=scale)
    mass = instance.galaxies.lens.mass
    convergence = np.asarray(mass.convergence_2d_from(grid=grid).native.array)
    return {
        "chi_squared": float((2.0 * best.fun - best.x @ best.x) / n_data),
        "einstein_radius": float(radii_of(convergence[None], scale)[0]),
        "seconds": time.perf_counter() - began,
    }


def stored(path: Path, card: Card, n: int, make: Callable[[int], dict[str, float]]) -> Columns:
    """What is made of the first n lenses of a card, kept as it is made."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    known = found["fits"] if found.get("sha256") == card.sha256 else []
    for i in range(len(known), n):
        known.append(make(i))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as stream:
            stream.write(json.dumps({"sha256": card.sha256, "fits": known}, indent=1))
        print(f"{i + 1} of {n}: {known[-1]}", flush=True)
    return {key: np.array([row[key] for row in known[:n]]) for key in known[0]} if n else {}


def profiles(card: Card, observed: Observed, pixel_scale: float, seed: int) -> Columns:
    """Fits of all lenses by profiles."""
    likelihood = LensLikelihood(population(observed, pixel_scale))

    def of_lens(i: int) -> dict[str, float]:
        one = observed[i : i + 1]
        image, noise, mask, psf = (
            each.double().numpy() for each in (one.image, one.noise_map, one.mask, one.psf)
        )
        unit = noise[mask > 0.0].min()
        noise = np.where(mask > 0.0, noise / unit, MASKED)
        return fitted(likelihood, [image / unit, noise, psf], i)

    n = len(observed)
    return stored(STORE / f"profiles-{n}-{seed}.json", card, n, of_lens)


def reconstructed(
    network: torch.nn.Module, loop: Loop, one: Observed, began: float
) -> tuple[dict[str, float], dict[str, float]]:
    """What a network makes of one lens, and what refinement makes of that; seconds since began."""
    with torch.no_grad():
        last = loop.unroll(network, one)[-1]
    ended = [time.perf_counter() - began]
    latents, _ = refined(loop, one, last.latents, Refinement())
    ended.append(time.perf_counter() - began)
    with torch.no_grad():
        states = (last, loop.state(one, latents))
    maps = [10.0 ** state.latents.convergence.double().numpy() for state in states]
    alone, after = (
        {
            "chi_squared": float(state.chi_squared),
            "einstein_radius": float(radii_of(each, loop.options.pixel_scale)[0]),
            "seconds": seconds,
        }
        for state, each, seconds in zip(states, maps, ended, strict=True)
    )
    return alone, after


def tuned(
    card: Card, loop: Loop, loss: LossWeights, observed: Observed, n: int, seed: int
) -> dict[str, Columns]:
    """The first n lenses by a network that is tuned to each, and these refined."""
    network = stored_network(card).requires_grad_(False)

    def of_lens(i: int) -> dict[str, float]:
        one, began = observed[i : i + 1], time.perf_counter()
        found = fine_tuned(network, loop, one, FineTuning(), loss, seed=i)
        alone, after = reconstructed(found.network, loop, one, began)
        return alone | {f"refined_{key}": value for key, value in after.items()}

    def untuned(i: int) -> dict[str, float]:
        return reconstructed(network, loop, observed[i : i + 1], time.perf_counter())[1]

    columns = stored(STORE / f"tuned-{seed}.json", card, n, of_lens)
    if not columns:
        return {}
    before = stored(STORE / f"untuned-{seed}.json", card, n, untuned)
    ended = {key: columns[f"refined_{key}"] for key in before}
    # As `Reconstructor.reconstruct`: where the noise is not reached, the better of the two.
    tried = ended["chi_squared"] > FineTuning().target
    better = tried & (before["chi_squared"] < ended["chi_squared"])
    best = {key: np.where(better, before[key], ended[key]) for key in before}
    best["seconds"] = ended["seconds"] + tried * before["seconds"]
    return {
        "fine-tuned": {key: columns[key] for key in before},
        "fine-tuned and refined": best,
    }


def radii_of(convergence: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Einstein radii of maps [arcsec], 0 where there is none."""
    return np.nan_to_num(einstein_radii_from(convergence, pixel_scale)[0])


def _of(values: np.ndarray, statistic: Callable[..., np.ndarray]) -> str:
    low, high = bootstrap((values,), statistic, method="percentile", rng=0).confidence_interval
    return words({"value": float(statistic(values)), "low": low, "high": high})


def _share(values: np.ndarray, limits: tuple[float, float]) -> str:
    inside = ((values >= limits[0]) & (values <= limits[1])).astype(float)
    return _of(inside, np.mean)


def _rms(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values), axis=axis))


def row_of(label: str, found: Columns, true_radius: np.ndarray) -> list[str]:
    """A row of the table."""
    chi_squared = found["chi_squared"]
    return [
        label,
        _of(chi_squared, np.median),
        _share(chi_squared, NEAR_ONE),
        _share(chi_squared, IN_RANGE),
        _of(found["einstein_radius"] - true_radius[: len(chi_squared)], _rms),
        _of(found["seconds"], np.mean),
    ]


def main(n: int = 200, seed: int = 0, n_tuned: int = 0) -> Path:
    """Measure what is missing and write the table."""
    card = find_card("rim-small")
    loop, loss, observed, truth = unseen_lenses(card, n, seed, lambda line: None)
    scale = loop.options.pixel_scale
    true_radius = radii_of(10.0**truth.convergence, scale)
    names = (
        *("chi_squared", "chi_squared_near_one", "chi_squared_in_range"),
        *("einstein_radius_rms", "seconds_per_lens"),
    )
    rows = [
        [label, *(words(card.metrics[f"{prefix}{name}"]) for name in names)]
        for label, prefix in STAGES.items()
    ]
    for name, found in tuned(card, loop, loss, observed, n_tuned, seed).items():
        which = "" if n_tuned == n else f", the first {n_tuned}"
        rows.append(row_of(f"rim-small, {name}{which}", found, true_radius))
    fits = profiles(card, observed, scale, seed)
    rows.append(row_of("SIE + shear + Sersic", fits, true_radius))
    chi_squared = fits["chi_squared"]
    heads = (
        *("", "reduced chi-squared", "within 0.95-1.05", "within 0.95-1.10"),
        *("error of the Einstein radius, rms [arcsec]", "seconds per lens"),
    )
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    command = f"python -m benchmarks.reconstruction -n {n} --seed {seed}"
    command += f" --n-tuned {n_tuned}" * bool(n_tuned)
    quantiles = ", ".join(f"{value:.2f}" for value in np.quantile(chi_squared, shares))
    lines = [
        "# Pixels against profiles",
        "",
        f"`{command}`: the {n} lenses of",
        f"`autolens-ml evaluate rim-small --n {n} --seed {seed}`, power laws with multipoles and",
        "real galaxies as sources, which neither the network has learned from nor the profiles",
        "have.",
        f"Profiles are the best of {LEGS[0][0]} climbs from {N_DRAWS} draws of priors as wide as",
        "the lenses. Intervals hold 95 % of bootstraps; the Einstein radius is that of the map.",
        "",
        *table(heads, rows),
        f"Reduced chi-squared of the profiles, 5, 25, 50, 75 and 95 %: {quantiles}.",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine().items())}.",
    ]
    return write(RESULTS / "reconstruction.md", lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.reconstruction", description=__doc__)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-tuned", type=int, default=0, help="to which the network is tuned")
    print(main(**vars(parser.parse_args())))
