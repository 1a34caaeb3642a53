"""Measure searches for the mode at equal cost: ``python -m benchmarks.optimizers``.

Held-out lenses (power-law ellipsoids with shear, Sersic sources, Euclid-like pixels: another mass
profile and another instrument than those that the learned optimiser was trained on) are fitted with
``al.AnalysisImaging``. What is compared is the best log posterior, in autofit's own sense (log
likelihood plus log prior of the physical parameters), that a method has found when it has spent a
number of likelihood evaluations. A gradient is counted as what it costs: the ratio of the times of
a gradient and of a likelihood, measured on the same lens, is rounded up.

Every lens is a JSON file; the table is made from those files, and a run that is stopped goes on.
"""

import argparse
import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search import fit_without_figures, machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLE = RESULTS / "optimizers.md"

BUDGETS = (1000, 2500, 5000)
HELD_OUT_SEED, N_LENSES = 161803, 30
MASK_RADIUS = 2.8
# Within this much of the best that any method found, a mode is found; it is missed beyond.
FOUND = 5.0
N_DRAWS = 256

POPULATION = {
    "instrument": {
        "name": "held-out",
        "shape": [56, 56],
        "pixel_scale": 0.1,
        "psf_fwhm": [0.16, 0.2],
        "exposure_time": 2000.0,
        "background_sky_level": 1.0,
        "over_sample_size": 2,
    },
    "max_source_offset": 0.6,
    "noise_units": True,
    "model": {
        "lens": {
            "redshift": 0.5,
            "mass": {
                "class": "al.mp.PowerLaw",
                "centre": {"gaussian": [0.0, 0.05]},
                "ell_comps": {"gaussian": [0.0, 0.15]},
                "einstein_radius": {"uniform": [0.6, 1.8]},
                "slope": {"gaussian": [2.0, 0.15]},
            },
            "shear": {
                "class": "al.mp.ExternalShear",
                "gamma_1": {"gaussian": [0.0, 0.05]},
                "gamma_2": {"gaussian": [0.0, 0.05]},
            },
        },
        "source": {
            "redshift": 1.0,
            "bulge": {
                "class": "al.lp.Sersic",
                "centre": {"gaussian": [0.0, 0.3]},
                "ell_comps": {"gaussian": [0.0, 0.2]},
                "intensity": {"log_uniform": [1.0, 40.0]},
                "effective_radius": {"log_uniform": [0.05, 0.5]},
                "sersic_index": {"uniform": [0.5, 4.0]},
            },
        },
    },
}


class Ledger:
    """The best log posterior against what was spent on it."""

    def __init__(self, gradient_cost: int) -> None:
        self.gradient_cost = gradient_cost
        self.spent, self.best = 0, -np.inf
        self.path: list[tuple[int, float]] = []

    def book(self, value: float, *, is_gradient: bool) -> None:
        self.spent += self.gradient_cost if is_gradient else 1
        if np.isfinite(value) and value > self.best:
            self.best = float(value)
            self.path.append((self.spent, self.best))

    def at(self, budget: int) -> float:
        values = [value for spent, value in self.path if spent <= budget]
        return values[-1] if values else -math.inf


class _Spent(Exception):
    """The largest budget is spent."""


def lens(index: int) -> tuple[Any, Any]:
    """The dataset and the model of a held-out lens; its light has the units of the noise."""
    import autolens as al

    from autolens_ml.simulate.description import population_from
    from autolens_ml.simulate.population import simulate

    population = population_from(POPULATION)
    lenses = simulate(population, N_LENSES, HELD_OUT_SEED)
    unit = population.instrument.background_noise_from(lenses.exposure_times[index])
    dataset = population.instrument.imaging_from(
        lenses.data[index] / unit, lenses.noise_maps[index] / unit, lenses.psf_fwhm[index]
    )
    mask = al.Mask2D.circular(
        shape_native=dataset.shape_native, pixel_scales=dataset.pixel_scales, radius=MASK_RADIUS
    )
    dataset = dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)
    return dataset, population.model


class _Objective:
    """autofit's log posterior of one lens and its gradient, compiled once."""

    def __init__(self, model: Any, analysis: Any) -> None:
        from autofit.non_linear.fitness import Fitness

        from autolens_ml.latent import LatentSpace

        self.model = model
        self.space = LatentSpace.from_model(model)
        self._fitness = Fitness(model=model, analysis=analysis, fom_is_log_likelihood=True)
        self.ledger = Ledger(1)
        point = self.space.physical_from(np.zeros((1, self.space.dim)))[0]
        self.gradient_cost = max(
            1,
            math.ceil(
                _seconds(lambda: self._fitness.call_wrap_value_and_grad(point))
                / _seconds(lambda: self._fitness.call_wrap(point))
            ),
        )

    def log_prior(self, vector: np.ndarray) -> float:
        return float(sum(self.model.log_prior_list_from_vector(vector=list(vector))))

    def value(self, vector: np.ndarray) -> float:
        value = float(self._fitness.call_wrap(vector))
        self._book(vector, value, is_gradient=False)
        return value

    def value_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self._fitness.call_wrap_value_and_grad(vector)
        self._book(vector, float(value), is_gradient=True)
        return float(value), np.asarray(gradient)

    def _book(self, vector: np.ndarray, value: float, *, is_gradient: bool) -> None:
        self.ledger.book(value + self.log_prior(vector), is_gradient=is_gradient)
        if self.ledger.spent > max(BUDGETS):
            raise _Spent


def _seconds(call: Callable[[], Any]) -> float:
    call()
    times = []
    for _ in range(20):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _modes(objective: _Objective, climbs: bool, network: Any, seed: int) -> None:
    """The search for modes of ``aml.RIM`` (``climbs``) or of ``aml.CNN``, from the prior."""
    from autolens_ml.inference.ascent import Ascent, Climber, learned_optimizer
    from autolens_ml.inference.engine import Engine
    from autolens_ml.inference.state import Settings, Stage, State
    from autolens_ml.inference.target import Target
    from autolens_ml.latent import blocks_of

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, objective.space.dim))

    target = Target(objective.space, objective.value, objective.value_and_gradient)
    # The engine adapts what it finds to the prior when its own budget ends: here it never does.
    settings = Settings(n_draws=N_DRAWS, max_likelihood_calls=20_000)
    engine = Engine(target, draw, settings, blocks=blocks_of(objective.model))
    state = State(entropy=seed)
    if climbs:
        climber = Climber(target, draw, learned_optimizer(network), settings)
        state = climber.state_from(climber.run(Ascent(entropy=seed)), [])
    while state.stage in (Stage.RANK, Stage.POLISH, Stage.HOP):
        engine.advance(state)


def _lbfgs(objective: _Objective, analysis: Any, seed: int) -> None:
    """``af.LBFGS`` from start to start until the budget is spent."""
    import autofit as af

    rng = np.random.default_rng(seed)

    class Restarted(af.LBFGS):
        def start_points(self, model: Any, fitness: Any, n: int, **_: Any) -> tuple:
            start = objective.space.physical_from(rng.standard_normal((n, objective.space.dim)))
            return None, start, np.zeros(n)

        def run(self, ctx: Any) -> Any:
            call = ctx.fitness.call_wrap_value_and_grad

            def booked(vector: np.ndarray) -> tuple[float, np.ndarray]:
                value, gradient = call(vector)
                # autofit minimises minus twice the log posterior.
                objective.ledger.book(-0.5 * float(value), is_gradient=True)
                if objective.ledger.spent > max(BUDGETS):
                    raise _Spent
                return value, gradient

            ctx.fitness.call_wrap_value_and_grad = booked
            while True:
                super().run(ctx)

    Restarted(seed=seed).fit(model=objective.model, analysis=analysis)


def _adam(objective: _Objective, analysis: Any, seed: int, **options: Any) -> None:
    """``af.MultiStartAdam`` with as many steps as the budget allows."""
    import autofit as af
    from autofit.non_linear.search.mle.multi_start_gradient.convergence import (
        MultiStartGradientConvergence,
    )

    search = af.MultiStartAdam(seed=seed, **options)
    n_steps = max(BUDGETS) // (objective.gradient_cost * search.n_starts)
    search = af.MultiStartAdam(
        seed=seed,
        n_steps=n_steps,
        # It shall spend its budget.
        convergence=MultiStartGradientConvergence(check_for_convergence=False),
        **options,
    )
    samples = search.fit(model=objective.model, analysis=analysis).samples
    for figure in samples.samples_info["fom_history"]:
        objective.ledger.spent += objective.gradient_cost * (search.n_starts - 1)
        objective.ledger.book(-0.5 * float(figure), is_gradient=True)


def methods(network: Any) -> dict[str, Callable[[_Objective, Any, int], None]]:
    """What is compared, by name."""
    import autofit as af

    return {
        "aml.RIM": lambda o, a, seed: _modes(o, True, network, seed),
        "aml.RIM(network=None)": lambda o, a, seed: _modes(o, True, None, seed),
        "aml.CNN(network=None)": lambda o, a, seed: _modes(o, False, None, seed),
        "af.LBFGS, restarted": _lbfgs,
        "af.MultiStartAdam": _adam,
        "af.MultiStartAdam(n_starts=8, learning_rate=0.03, clipper)": lambda o, a, seed: _adam(
            o, a, seed, n_starts=8, learning_rate=0.03, clipper=af.ClipperPriorBox()
        ),
    }


def measure(index: int, network_name: str, seed: int = 1) -> dict[str, Any]:
    """All methods on one lens."""
    import autolens as al

    from autolens_ml.networks.checkpoint import find_card

    card = find_card(network_name, "optimizer")
    dataset, model = lens(index)
    analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)
    objective = _Objective(model, analysis)
    best, seconds = {}, {}
    for name, method in methods(card).items():
        objective.ledger = Ledger(objective.gradient_cost)
        started = time.perf_counter()
        with contextlib.suppress(_Spent):
            method(objective, analysis, seed)
        seconds[name] = time.perf_counter() - started
        best[name] = [objective.ledger.at(budget) for budget in BUDGETS]
    return {
        "lens": index,
        "network": card.name,
        "sha256": card.sha256,
        "gradient_cost": objective.gradient_cost,
        "best": best,
        "seconds": seconds,
        "machine": machine(),
    }


def render(records: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    names = list(records[0]["best"])
    values = np.array([[record["best"][name] for name in names] for record in records])
    top = values[:, :, -1].max(axis=1)
    left = top[:, None, None] - values
    ours = names.index("aml.RIM")
    head = ["", *(f"{budget:,}" for budget in BUDGETS)]

    def table(cell: Callable[[int, int], str]) -> list[str]:
        rows = [[name, *(cell(i, j) for j in range(len(BUDGETS)))] for i, name in enumerate(names)]
        lines = [head, ["---"] * len(head), *rows]
        return [f"| {' | '.join(row)} |" for row in lines]

    def wins(i: int, j: int) -> str:
        if i == ours:
            return "-"
        better = np.mean(left[:, ours, j] < left[:, i, j] - 0.1)
        worse = np.mean(left[:, ours, j] > left[:, i, j] + 0.1)
        return f"{better:.0%} : {worse:.0%}"

    costs = [record["gradient_cost"] for record in records]
    entries = ", ".join(f"{key} {value}" for key, value in records[0]["machine"].items())
    return "\n".join(
        [
            "# Searches for the mode at equal cost",
            "",
            f"{len(records)} held-out simulated lenses: power-law ellipsoid, shear, Sersic source "
            f'(15 parameters), 56 x 56 pixels of 0.1". `{records[0]["network"]}`, '
            f"{records[0]['sha256'][:12]}. A gradient counts as {min(costs)}-{max(costs)} "
            "likelihoods, as measured. Made by `python -m benchmarks.optimizers`.",
            "",
            "All start from the prior alone. `aml.RIM` and `aml.CNN` are their searches for modes, "
            f"from {N_DRAWS} ranked draws, which are counted; `network=None` is the same without "
            "what was learned, by a damped BFGS rule and by L-BFGS. `af.LBFGS` starts again "
            "when it has converged.",
            "",
            "## Left of the log posterior: median over lenses",
            "",
            "The highest that any method found with the largest budget, minus what was found.",
            "",
            *table(lambda i, j: f"{np.median(left[:, i, j]):,.1f}"),
            "",
            f"## Lenses whose mode was found, to within {FOUND:g}",
            "",
            *table(lambda i, j: f"{np.mean(left[:, i, j] < FOUND):.0%}"),
            "",
            "## aml.RIM against each: lenses on which it is ahead : behind, by more than 0.1",
            "",
            *table(wins),
            "",
            f"Machine: {entries}.",
            "",
        ]
    )


def main(n: int = N_LENSES, network: str = "rim-parametric", output: Path | None = None) -> Path:
    """Measure the lenses that are not stored yet, and write the table.

    Parameters
    ----------
    n
        How many lenses, at most 30.
    network
        Name or path of the learned optimiser.
    output
        Folder of the measurements.

    Returns
    -------
    Path
        The table.
    """
    fit_without_figures()
    folder = Path(output or RESULTS / "optimizers")
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(min(n, N_LENSES)):
        file = folder / f"lens-{index:02d}.json"
        if not file.exists():
            started = time.perf_counter()
            file.write_text(json.dumps(measure(index, network), indent=1))
            print(f"lens {index}: {time.perf_counter() - started:.0f} s", flush=True)
    records = [json.loads(file.read_text()) for file in sorted(folder.glob("lens-*.json"))]
    TABLE.write_text(render(records))
    return TABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.optimizers", description=__doc__)
    parser.add_argument("--n", type=int, default=N_LENSES, help="lenses")
    parser.add_argument("--network", default="rim-parametric", help="name or path")
    parser.add_argument("--output", type=Path, help="folder of the measurements")
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    print(main(arguments.n, arguments.network, arguments.output).read_text())
