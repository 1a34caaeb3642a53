"""How rough likelihoods are: ``python -m benchmarks.roughness`` writes results/roughness.md.

A profile with a cusp, seen at the centres of few sub-pixels, makes a likelihood that jumps from
model to model. Models of the posterior of every lens of the search benchmark are evaluated at
several over-samplings; what is tabulated is how much their log likelihoods scatter about those at
the finest one. A constant difference would not matter to a posterior: its mean is taken out.
"""

import argparse
import tempfile
from pathlib import Path
from time import process_time

import autolens as al
import numpy as np
from autofit.non_linear.fitness import Fitness
from autofit.tools.util import open_atomic
from autonerves import conf

import autolens_ml as aml
from benchmarks.lenses import SKIES, Lens, simulated
from benchmarks.search import machine

TABLE = Path(__file__).parent / "results" / "roughness.md"
UNIFORM, FINEST = (1, 2, 4, 8), 16
N_MODELS = 30


def posterior_vectors(lens: Lens, seed: int) -> np.ndarray:
    """Different draws of the posterior of a lens, one vector a row."""
    with tempfile.TemporaryDirectory() as folder:
        conf.instance.output_path = folder
        search = aml.CNN(name="cnn", network=None, n_effective=300, seed=seed)
        samples = search.fit(model=lens.model, analysis=lens.analysis).samples
    weights = np.asarray(samples.weight_list)
    # With replacement the heaviest would be drawn several times.
    n = min(N_MODELS, np.count_nonzero(weights))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(weights), size=n, replace=False, p=weights / weights.sum())
    return np.asarray(samples.parameter_lists)[chosen]


def evaluated(lens: Lens, dataset: al.Imaging, vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Log likelihoods of models on a dataset, and milliseconds of CPU time for each."""
    analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)
    fitness = Fitness(
        model=lens.model,
        analysis=analysis,
        fom_is_log_likelihood=True,
        resample_figure_of_merit=-np.inf,
    )
    fitness.call_wrap(vectors[0])  # compiles
    began = process_time()
    values = np.array([fitness.call_wrap(vector) for vector in vectors])
    return values, 1e3 * (process_time() - began) / len(vectors)


def main(seed: int = 1) -> Path:
    """Measure all lenses and write the table."""
    rows = []
    for name in SKIES:
        lens = simulated(name)
        vectors = posterior_vectors(lens, seed)
        at_size = lens.dataset.apply_over_sampling
        uniform = [at_size(over_sample_size_lp=size) for size in (*UNIFORM, FINEST)]
        *others, (finest, _) = (
            evaluated(lens, dataset, vectors) for dataset in (lens.dataset, *uniform)
        )
        cells = [f"{np.std(values - finest):.2f} ({cost:.1f})" for values, cost in others]
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    lines = [
        "# Roughness of likelihoods",
        "",
        "`python -m benchmarks.roughness`. Scatter (rms about the mean) of the differences in log",
        f"likelihood from {FINEST} x {FINEST} sub-pixels, over {N_MODELS} models of the posterior;",
        "in brackets milliseconds of CPU time of a compiled likelihood.",
        "",
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine().items())}.",
        "",
        f"| lens | as fitted | {' | '.join(f'{size} x {size}' for size in UNIFORM)} |",
        f"|---|{'---:|' * (len(UNIFORM) + 1)}",
        *rows,
    ]
    with open_atomic(TABLE, "w") as file:
        file.write("\n".join(lines) + "\n")
    return TABLE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.roughness", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    print(main(parser.parse_args().seed))
