"""Sources of a network against Sersics: ``python -m benchmarks.neural`` writes results/neural.md.

Lenses with real galaxies behind them, which the network did not learn from, are simulated by
PyAutoLens and fitted by ``aml.CNN`` with `aml.lp.NeuralSource` and with `al.lp.Sersic`: what the
evidence says of the two, and what the decoder costs beside a Sersic.
"""

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import autofit as af
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np
from autofit.tools.util import open_atomic
from autonerves import conf

import autolens_ml as aml
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.training.map_sets import population_of

TABLE = Path(__file__).parent / "results" / "neural.md"
REAL = "hubble-deep-field"
PIXEL_SCALE, N_PIXELS, MASK_RADIUS = 0.05, 80, 1.9
TRUE_EINSTEIN_RADIUS = 1.2
MAX_CALLS = 60_000
REPEATS = 300


def real_galaxies(card: Card, n: int, seed: int) -> list[np.ndarray]:
    """Different galaxies of the deep field that the network of a card did not learn from."""
    config = card.architecture["config"]
    population = population_of(
        card.outputs["data"], config["size"], config["disc_radius"], card.training["seed"]
    )
    maps, kinds = population.drawn(64, seed, 0, held_out=True)
    real = maps[kinds == population.kinds.index(REAL)]
    distinct: list[np.ndarray] = []
    for galaxy in real:
        likeness = [np.corrcoef(galaxy.ravel(), other.ravel())[0, 1] for other in distinct]
        if all(value < 0.95 for value in likeness):
            distinct.append(galaxy)
    return distinct[:n]


def simulated_dataset(galaxy: np.ndarray, seed: int) -> al.Imaging:
    """A 4 arcsec image of an isothermal lens with shear and a galaxy behind it."""
    grid = al.Grid2D.uniform(
        shape_native=(N_PIXELS, N_PIXELS), pixel_scales=PIXEL_SCALE, over_sample_size=4
    )
    lens = al.Galaxy(
        redshift=0.5,
        mass=al.mp.Isothermal(ell_comps=(0.1, 0.05), einstein_radius=TRUE_EINSTEIN_RADIUS),
        shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
    )
    light = aml.lp.PixelLight(
        values=galaxy,
        pixel_scale=2.0 / len(galaxy),
        centre=(0.05, -0.08),
        position_angle=30.0,
        intensity=8.0,
    )
    simulator = al.SimulatorImaging(
        exposure_time=1000.0,
        psf=al.Convolver.from_gaussian(
            shape_native=(7, 7), pixel_scales=PIXEL_SCALE, sigma=PIXEL_SCALE
        ),
        background_sky_level=2.0,
        noise_seed=seed,
    )
    tracer = al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)])
    dataset = simulator.via_tracer_from(tracer=tracer, grid=grid)
    mask = al.Mask2D.circular(
        shape_native=dataset.shape_native, pixel_scales=PIXEL_SCALE, radius=MASK_RADIUS
    )
    return dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)


def lights(network: str) -> dict[str, af.Model]:
    """The two sources, alike in their priors on place and brightness."""
    neural = aml.lp.NeuralSource.model(network)
    neural.scale = af.LogUniformPrior(lower_limit=0.5, upper_limit=6.0)
    sersic = af.Model(al.lp.Sersic)
    sersic.effective_radius = af.LogUniformPrior(lower_limit=0.06, upper_limit=0.75)
    sersic.sersic_index = af.UniformPrior(lower_limit=0.5, upper_limit=6.0)
    for light in (neural, sersic):
        light.intensity = af.LogUniformPrior(lower_limit=0.01, upper_limit=100.0)
        for name in ("centre_0", "centre_1"):
            setattr(light.centre, name, af.GaussianPrior(mean=0.0, sigma=0.2))
    return {"neural": neural, "sersic": sersic}


def model_of(light: af.Model) -> af.Collection:
    """A lens with wide priors, and a source."""
    mass = af.Model(al.mp.Isothermal)
    for name in ("centre_0", "centre_1"):
        setattr(mass.centre, name, af.GaussianPrior(mean=0.0, sigma=0.05))
    mass.einstein_radius = af.UniformPrior(lower_limit=0.8, upper_limit=1.6)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=al.mp.ExternalShear),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


@dataclass(frozen=True)
class Fit:
    """What one fit found; residuals as reduced chi squared of the best model."""

    log_evidence: float
    error: float
    status: str
    n_likelihood: int
    reduced_chi_squared: float
    einstein_radius: float
    einstein_radius_error: float


def fitted(name: str, model: af.Collection, dataset: al.Imaging) -> Fit:
    """The result of one fit."""
    search = aml.CNN(
        name=name,
        path_prefix="neural",
        network=None,
        n_effective=300,
        n_draws=512,
        n_polish=6,
        max_likelihood_calls=MAX_CALLS,
        seed=1,
    )
    result = search.fit(model=model, analysis=al.AnalysisImaging(dataset=dataset, use_jax=True))
    samples, info = result.samples, result.samples.samples_info
    fit = result.max_log_likelihood_fit
    low, high = (
        values(sigma=1.0).galaxies.lens.mass.einstein_radius
        for values in (samples.values_at_lower_sigma, samples.values_at_upper_sigma)
    )
    return Fit(
        log_evidence=samples.log_evidence,
        error=info["log_evidence_error"],
        status=info["status"],
        n_likelihood=info["n_likelihood"],
        reduced_chi_squared=float(fit.chi_squared) / dataset.data.array.size,
        einstein_radius=samples.median_pdf().galaxies.lens.mass.einstein_radius,
        einstein_radius_error=0.5 * (high - low),
    )


def cost_ratios(network: str) -> dict[int, float]:
    """CPU time of a decoder pass over that of a Sersic image of 64 px, by its over-sampling.

    Both are compiled by JAX, with their parameters as arguments.
    """
    neural = aml.lp.NeuralSource(network)
    decode = jax.jit(partial(neural.decoder.map_from, xp=jnp))
    latents = jnp.zeros(neural.decoder.latent_dim)
    decoding = _cpu_seconds(lambda: decode(latents).block_until_ready())
    ratios = {}
    for sub in (1, 2, 4):
        mask = al.Mask2D.all_false(shape_native=(64, 64), pixel_scales=PIXEL_SCALE)
        grid = al.Grid2D.from_mask(mask, over_sample_size=sub)

        @jax.jit
        def image(radius, index, grid=grid):
            light = al.lp.Sersic(ell_comps=(0.1, 0.05), effective_radius=radius, sersic_index=index)
            return light.image_2d_from(grid=grid, xp=jnp).array

        seconds = _cpu_seconds(lambda image=image: image(0.3, 2.0).block_until_ready())
        ratios[sub] = decoding / seconds
    return ratios


def _cpu_seconds(call) -> float:
    """The least CPU time of a few rounds of calls: other processes can only add to it."""
    call()
    rounds = []
    for _ in range(5):
        start = process_time()
        for _ in range(REPEATS):
            call()
        rounds.append((process_time() - start) / REPEATS)
    return min(rounds)


def main() -> None:
    """Fit, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="source-vae")
    parser.add_argument("-n", type=int, default=3, help="number of galaxies")
    parser.add_argument("--table", type=Path, default=TABLE)
    arguments = parser.parse_args()
    card = find_card(arguments.network, "autoencoder")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        conf.instance.output_path = folder
        for i, galaxy in enumerate(real_galaxies(card, arguments.n, seed=0)):
            dataset = simulated_dataset(galaxy, seed=i)
            signal_to_noise = float(np.max(dataset.signal_to_noise_map.array))
            fits = {
                name: fitted(f"{name}-{i}", model_of(light), dataset)
                for name, light in lights(arguments.network).items()
            }
            gain = fits["neural"].log_evidence - fits["sersic"].log_evidence
            for name, fit in fits.items():
                rows.append(
                    f"| {i} | {signal_to_noise:.0f} | {name} | {fit.log_evidence:.1f} +- "
                    f"{fit.error:.1f} | {f'{gain:+.1f}' if name == 'neural' else ''} | "
                    f"{fit.reduced_chi_squared:.3f} | {fit.einstein_radius:.4f} +- "
                    f"{fit.einstein_radius_error:.4f} | {fit.n_likelihood:,} | {fit.status} |"
                )
                print(rows[-1], flush=True)
    ratios = cost_ratios(arguments.network)
    text = (
        "# Sources of a network against Sersics\n\n"
        f"`python -m benchmarks.neural`: galaxies of the Hubble Deep Field that `{card.name}`\n"
        f"(sha256 {card.sha256[:12]}) did not learn from, behind an isothermal lens of Einstein\n"
        f"radius {TRUE_EINSTEIN_RADIUS} arcsec with shear, {N_PIXELS} x {N_PIXELS} px at "
        f"{PIXEL_SCALE} arcsec, fitted by\n"
        "`aml.CNN(network=None)`. ln Z neural - Sersic is the gain; chi squared is that of the\n"
        "best model per pixel; the evidence of a fit that is not CONVERGED is a lower bound in\n"
        "practice, for modes and tails that are not found are missing from it.\n\n"
        "| galaxy | peak S/N | source | ln Z | gain | chi^2 / px | Einstein radius | likelihoods |"
        " status |\n|---:|---:|---|---:|---:|---:|---:|---:|---|\n"
        + "\n".join(rows)
        + "\n\nCPU time of a decoder pass over that of a Sersic image of 64 x 64 px, both\n"
        "compiled by JAX: "
        + ", ".join(f"{ratio:.2f} at over-sampling {sub}" for sub, ratio in ratios.items())
        + ".\n"
    )
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(arguments.table, "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
