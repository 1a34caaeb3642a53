"""Measure searches on the same lenses: ``python -m benchmarks.search``.

Every (lens, search) pair is fitted in a process of its own, with an empty compilation cache and
without visualisation, and stored as one JSON file; the table is made from those files. A run that
is stopped therefore goes on where it ended, and single pairs are repeated by deleting their file.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLE = RESULTS / "search.md"

_BARE = {
    "PYAUTO_SKIP_LATENTS": "1",
    "PYAUTO_SKIP_VISUALIZATION": "1",
    "PYAUTO_SKIP_WORKSPACE_VERSION_CHECK": "1",
}
# The same for all: no figures, no latent variables, and every search pays for its own compilation.
ENVIRONMENT = {"JAX_COMPILATION_CACHE_DIR": "", **_BARE}

# A search whose best likelihood is this far below the best one known has missed the solution.
MISSED = 10.0


def fit_without_figures():
    """From here on, fits of this process draw nothing and compute no latent variables."""
    for name, value in _BARE.items():
        os.environ.setdefault(name, value)


def _cnn(seed: int) -> Callable[[bool], Any]:
    def make(batched: bool) -> Any:
        import autolens_ml as aml

        # The real lens: what `autolens-ml fit` asks for, its heavy tails need the larger budget.
        larger = {} if batched else {"n_effective": 1000, "max_likelihood_calls": 60_000}
        return aml.CNN(name="cnn", network=None, seed=seed, **larger)

    return make


def _nautilus(n_live: int) -> Callable[[bool], Any]:
    def make(batched: bool) -> Any:
        import autofit as af

        # The only way to ask for the scalar likelihood: the argument still works, but warns.
        scalar = {} if batched else {"use_jax_vmap": False}
        return af.Nautilus(name="nautilus", n_live=n_live, seed=1, **scalar)

    return make


def _dynesty(batched: bool) -> Any:
    import autofit as af

    return af.DynestyStatic(name="dynesty", seed=1)


SEARCHES: dict[str, Callable[[bool], Any]] = {
    "cnn": _cnn(seed=1),
    "cnn-seed-2": _cnn(seed=2),
    "cnn-seed-3": _cnn(seed=3),
    "nautilus-150": _nautilus(n_live=150),
    "nautilus-2000": _nautilus(n_live=2000),
    "dynesty": _dynesty,
}
REFERENCE = ("cnn-seed-2", "cnn-seed-3")
DEFAULT_SEARCHES = ("cnn", *REFERENCE, "nautilus-150", "dynesty")


def machine() -> dict[str, str]:
    """Describe the hardware and the versions, without anything that names the machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("autolens", "autofit", "jax", "numpy", "nautilus-sampler", "dynesty")
    return {
        "cpu": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: Iterable[float]) -> Any:
    """Quantiles of weighted samples."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return np.interp(
        list(levels), (cumulative - 0.5 * weights[order]) / cumulative[-1], values[order]
    )


def measure(lens_name: str, search_name: str) -> dict[str, Any]:
    """Fit one lens with one search in this process and return what was measured."""
    from benchmarks.lenses import lenses

    lens = lenses()[lens_name]()
    return measured_fit(lens_name, lens, search_name, SEARCHES[search_name](lens.batched))


def measured_fit(lens_name: str, lens: Any, search_name: str, search: Any) -> dict[str, Any]:
    """Fit a lens with a search and return what was measured."""
    from autonerves import conf

    with tempfile.TemporaryDirectory() as folder:
        conf.instance.output_path = folder
        start, cpu_start = time.perf_counter(), time.process_time()
        result = search.fit(model=lens.model, analysis=lens.analysis)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        samples = result.samples
        info = samples.samples_info
        error = info.get("log_evidence_error")
        if search_name == "dynesty":
            error = result.search_internal.results.logzerr[-1]
    weights = np.asarray(samples.weight_list, dtype=float)
    parameters = {}
    for path, values in zip(
        lens.model.unique_prior_paths, np.asarray(samples.parameter_lists).T, strict=True
    ):
        low, median, high = weighted_quantiles(values, weights, (0.1587, 0.5, 0.8413))
        parameters[".".join(path)] = {
            "median": float(median),
            "sigma": float(high - low) / 2,
            "truth": lens.truth.get(path),
            "compared": lens.exchangeable is None
            or path[: len(lens.exchangeable)] != lens.exchangeable,
        }
    return {
        "lens": lens_name,
        "description": lens.description,
        "n_parameters": lens.model.prior_count,
        "search": search_name,
        "failure": "status FAILED" if info.get("status") == "FAILED" else None,
        "wall_s": wall,
        "search_s": float(info["time"]),
        "cpu_s": cpu,
        "load_average": os.getloadavg()[1],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        # For the nested samplers autofit stores the calls their backend counted.
        "n_likelihood": int(info.get("n_likelihood", info["total_samples"])),
        "n_gradient": int(info.get("n_gradient", 0)),
        "log_evidence": float(info["log_evidence"]),
        "log_evidence_error": None if error is None else float(error),
        "ess": float(np.sum(weights) ** 2 / np.sum(weights**2)),
        "pareto_k": info.get("pareto_k"),
        "status": info.get("status"),
        "network": info.get("network"),
        "max_log_likelihood": float(np.max(samples.log_likelihood_list)),
        "parameters": parameters,
        "machine": machine(),
    }


def run_pair(
    module: str, lens: str, search: str, folder: Path, time_limit: float
) -> dict[str, Any]:
    """Fit in a child process, so that a hang ends, memory is its own and caches are cold.

    ``module`` is what runs there, as ``python -m module --pair lens search path``.
    """
    path = folder / f"{lens}.{search}.json"
    failed = {"lens": lens, "search": search, "machine": machine()}
    with tempfile.TemporaryFile("w+") as log:
        try:
            code = subprocess.run(
                [sys.executable, "-m", module, "--pair", lens, search, str(path)],
                cwd=ROOT,
                env={**os.environ, **ENVIRONMENT},
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=time_limit * 60,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            record = {**failed, "failure": f"not done after {time_limit:g} min"}
            path.write_text(json.dumps(record, indent=1))
            return record
        if code == 0:
            return json.loads(path.read_text())
        log.seek(0)
        print(log.read()[-4000:], file=sys.stderr)
    # Not stored: an error is to be mended and the pair fitted again, not tabulated.
    return {**failed, "failure": f"error, exit code {code}"}


def largest_shift(record: dict[str, Any], reference: dict[str, Any]) -> tuple[float, str]:
    """Return the largest shift of a median, in sigma of the reference, and its parameter."""
    shifts = {
        path: abs(parameter["median"] - reference["parameters"][path]["median"])
        / reference["parameters"][path]["sigma"]
        for path, parameter in record["parameters"].items()
        if parameter["compared"]
    }
    path = max(shifts, key=shifts.__getitem__)
    return shifts[path], path


def _reference(records: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Average the independent frozen rounds of other seeds, where all of them succeeded."""
    rounds = [records[name] for name in REFERENCE if name in records]
    if len(rounds) < len(REFERENCE) or any(record["failure"] for record in rounds):
        return None
    return {
        "log_evidence": float(np.mean([record["log_evidence"] for record in rounds])),
        "parameters": {
            path: {
                key: float(np.mean([record["parameters"][path][key] for record in rounds]))
                for key in ("median", "sigma")
            }
            for path in rounds[0]["parameters"]
        },
    }


def with_missed(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mark the searches that did not find the best solution any of them found.

    A search can be in the right mode, ``found_mode``, and fail all the same.
    """
    best = max(
        (record["max_log_likelihood"] for record in records.values() if "parameters" in record),
        default=0.0,
    )
    marked = {}
    for name, record in records.items():
        below = best - record.get("max_log_likelihood", -np.inf)
        missed = below > MISSED
        words = f"best ln L is {below:.0f} too low" if missed else None
        marked[name] = {**record, "found_mode": not missed, "failure": record["failure"] or words}
    return marked


def _number(value: float | None, digits: str) -> str:
    return "–" if value is None else format(value, digits)


def _rows(records: dict[str, dict[str, Any]], reference: dict[str, Any] | None) -> list[str]:
    rows = [
        "| search | wall s | of it search s | CPU s | load | likelihoods | gradients | ln Z "
        "| error | ln Z - reference | ESS | k-hat | largest shift (sigma) | memory MB | status |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---|",
    ]
    for name in SEARCHES:
        if name not in records:
            continue
        record = records[name]
        if "parameters" not in record:
            rows.append(f"| {name} |{' – |' * 13} {record['failure']} |")
            continue
        difference = shift = "–"
        if reference is not None and name not in REFERENCE:
            difference = f"{record['log_evidence'] - reference['log_evidence']:+.2f}"
            value, path = largest_shift(record, reference)
            shift = f"{value:.2f} ({'.'.join(path.split('.')[1:])})"
        cells = (
            name,
            f"{record['wall_s']:.0f}",
            f"{record['search_s']:.0f}",
            f"{record['cpu_s']:.0f}",
            f"{record['load_average']:.1f}",
            f"{record['n_likelihood']:,}",
            f"{record['n_gradient']:,}",
            f"{record['log_evidence']:.2f}",
            _number(record["log_evidence_error"], ".2f"),
            difference,
            f"{record['ess']:.0f}",
            _number(record["pareto_k"], ".2f"),
            shift,
            f"{record['memory_mb']:.0f}",
            record["failure"] or record["status"] or "done",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _summary(lenses: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Compare ``cnn`` with ``nautilus-150`` lens by lens, against the targets."""
    rows = [
        "| lens | ln Z, cnn - nautilus-150 | ln Z, cnn - reference | largest shift to nautilus-150 "
        "| likelihoods ratio | wall ratio | CPU ratio | failures |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    columns: list[list[float]] = [[], [], [], [], [], []]
    n_failures = 0
    for name, records in lenses.items():
        cnn, nautilus = records.get("cnn"), records.get("nautilus-150")
        if cnn is None or nautilus is None:
            continue
        n_failures += cnn["failure"] is not None
        failures = "; ".join(
            f"{record['search']}: {record['failure']}"
            for record in (cnn, nautilus)
            if record["failure"]
        )
        if "parameters" not in cnn or "parameters" not in nautilus:
            rows.append(f"| {name} |{' – |' * 6} {failures} |")
            continue
        reference = _reference(records)
        values = (
            cnn["log_evidence"] - nautilus["log_evidence"],
            cnn["log_evidence"] - reference["log_evidence"] if reference else None,
            largest_shift(cnn, nautilus)[0],
            (cnn["n_likelihood"] + cnn["n_gradient"]) / nautilus["n_likelihood"],
            cnn["wall_s"] / nautilus["wall_s"],
            cnn["cpu_s"] / nautilus["cpu_s"],
        )
        for column, value in zip(columns, values, strict=True):
            if value is not None:
                column.append(abs(value))
        digits = ("+.2f", "+.2f", ".2f", ".3f", ".3f", ".3f")
        cells = (_number(v, d) for v, d in zip(values, digits, strict=True))
        rows.append(f"| {name} | {' | '.join(cells)} | {failures or 'none'} |")
    if columns[0]:
        for label, of in (("median", np.median), ("worst", max)):
            values = (of(column) if column else None for column in columns)
            cells = " | ".join(_number(value, ".3f") for value in values)
            failures = f"{n_failures} of cnn" if label == "worst" else ""
            rows.append(f"| **{label}** | {cells} | {failures} |")
        rows.append("| **target** | 0.3 | 0.3 | 0.25 | 0.2 | 0.1 | 0.1 | none |")
    return rows


def render(folder: Path) -> str:
    """Make the table from the stored measurements."""
    from benchmarks.lenses import SKIES

    stored = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    lenses: dict[str, dict[str, dict[str, Any]]] = {}
    for name in (*SKIES, "euclid"):
        records = {record["search"]: record for record in stored if record["lens"] == name}
        if records:
            lenses[name] = with_missed(records)
    machines = {json.dumps(record["machine"], sort_keys=True) for record in stored}
    lines = [
        "# Searches on the same lenses",
        "",
        "`python -m benchmarks.search`. Each fit runs alone in its own process with an empty",
        "compilation cache, so wall time includes compilation; figures and latent variables are",
        "switched off for all. Images are made with 8 x 8 or 16 x 16 sub-pixels and fitted with as",
        "many where they are brighter than five sigma, as a modeller would: see roughness.md.",
        "CPU time is of all cores; load is the machine's average over five minutes: where other",
        "programs ran beside a fit, its CPU time says more than wall time. Likelihoods and",
        "gradients are those each search called. ESS is Kish's. The reference is the mean of",
        "independent certified runs from two other seeds; shifts are of medians, in units of the",
        "reference's posterior sigma. A search whose best likelihood is more than",
        f"{MISSED:g} below the best known counts as a failure.",
        "",
        *(
            f"Machine: {', '.join(f'{key} {value}' for key, value in json.loads(entry).items())}."
            for entry in sorted(machines)
        ),
        "",
        "## Against the targets",
        "",
        "A gradient counts as a likelihood in the ratio.",
        "",
        *_summary(lenses),
    ]
    for name, records in lenses.items():
        described = next((r for r in records.values() if "description" in r), None)
        title = f"{described['description']}; {described['n_parameters']} free" if described else ""
        lines += ["", f"## {name}", "", title, "", *_rows(records, _reference(records))]
    return "\n".join(lines) + "\n"


def main(
    lenses: Iterable[str] | None = None,
    searches: Iterable[str] | None = None,
    output: Path | None = None,
    time_limit: float = 30.0,
    table: Path = TABLE,
) -> Path:
    """Fit every pair that is not stored yet, and write the table.

    Parameters
    ----------
    lenses, searches
        Names; by default all lenses, and all searches but ``nautilus-2000``.
    output
        Folder of the measurements, one JSON file per pair.
    time_limit
        Minutes after which a fit is ended and counted as a failure.
    table
        The Markdown file to write.

    Returns
    -------
    Path
        The table.
    """
    from benchmarks.lenses import lenses as available

    unknown = {*(lenses or ()), *(searches or ())} - {*available(), *SEARCHES}
    if unknown:
        raise ValueError(f"{sorted(unknown)}: choose from {[*available()]} and {[*SEARCHES]}")
    folder = Path(output or RESULTS / "search")
    folder.mkdir(parents=True, exist_ok=True)
    for lens in lenses or available():
        for search in searches or DEFAULT_SEARCHES:
            if (folder / f"{lens}.{search}.json").exists():
                continue
            start = time.perf_counter()
            record = run_pair("benchmarks.search", lens, search, folder, time_limit)
            print(
                f"{lens} {search}: {time.perf_counter() - start:.0f} s, "
                f"{record['failure'] or 'done'}",
                flush=True,
            )
            table.write_text(render(folder))
    table.write_text(render(folder))
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__)
    parser.add_argument("--lenses", nargs="+", metavar="LENS", help="default: all")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, metavar="SEARCH")
    parser.add_argument("--output", type=Path, help="folder of the measurements")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="MINUTES")
    parser.add_argument("--pair", nargs=3, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    if arguments.pair:
        lens, search, path = arguments.pair
        Path(path).write_text(json.dumps(measure(lens, search), indent=1))
    else:
        path = main(
            arguments.lenses,
            arguments.searches,
            arguments.output,
            arguments.time_limit,
            arguments.table,
        )
        print(path.read_text())
