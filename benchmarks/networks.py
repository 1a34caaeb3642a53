"""Measure what a network gives the search: ``python -m benchmarks.networks``.

The same held-out lenses are fitted with and without the network, at the same budget, each fit in a
process of its own and stored as one JSON file: a run that is stopped goes on where it ended.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search import (
    MISSED,
    RESULTS,
    largest_shift,
    measured_fit,
    run_pair,
    with_missed,
)

TABLE = RESULTS / "networks.md"
FOLDER = RESULTS / "networks"
N_EFFECTIVE = 500
# Lenses that are also fitted with nested sampling, which takes minutes each.
N_NESTED = 10
NESTED = ("nautilus-150", "nautilus-2000")
EUCLID_SEEDS = (1, 2, 3, 4, 5)


def _cnn(network: str | None, seed: int = 1) -> Callable[[], Any]:
    def make() -> Any:
        import autolens_ml as aml

        return aml.CNN(name="cnn", network=network, n_effective=N_EFFECTIVE, seed=seed)

    return make


def _euclid(network: str | None, seed: int) -> Callable[[], Any]:
    def make() -> Any:
        import autolens_ml as aml

        options = {"n_effective": 1000, "max_likelihood_calls": 60_000}
        return aml.CNN(name="cnn", network=network, seed=seed, **options)

    return make


def _nautilus(n_live: int) -> Callable[[], Any]:
    def make() -> Any:
        import autofit as af

        return af.Nautilus(name="nautilus", n_live=n_live, seed=1)

    return make


SEARCHES: dict[str, Callable[[], Any]] = {
    "network": _cnn("euclid-sie"),
    "prior": _cnn(None),
    "nautilus-150": _nautilus(150),
    "nautilus-2000": _nautilus(2000),
    **{f"network-seed-{seed}": _euclid("auto", seed) for seed in EUCLID_SEEDS},
    **{f"prior-seed-{seed}": _euclid(None, seed) for seed in EUCLID_SEEDS},
}


def measure(lens_name: str, search_name: str) -> dict[str, Any]:
    """Fit one lens with one search in this process and return what was measured."""
    from benchmarks.lenses import euclid, held_out

    lens = euclid() if lens_name == "euclid" else held_out(lens_name)
    return measured_fit(lens_name, lens, search_name, SEARCHES[search_name]())


def _pairs(n_lenses: int, euclid: bool) -> list[tuple[str, str]]:
    from benchmarks.lenses import EUCLID_FILE, HELD_OUT, SHARED_DATA

    pairs = [(lens, search) for lens in HELD_OUT[:n_lenses] for search in ("network", "prior")]
    if euclid and (SHARED_DATA / EUCLID_FILE).is_file():
        pairs += [
            ("euclid", f"{start}-seed-{seed}")
            for seed in EUCLID_SEEDS
            for start in ("network", "prior")
        ]
    return pairs + [(lens, search) for search in NESTED for lens in HELD_OUT[:N_NESTED]]


def _median(records: list[dict[str, Any]], key: str) -> float:
    return float(np.median([record[key] for record in records]))


def _row(name: str, records: list[dict[str, Any]]) -> str:
    done = [record for record in records if "parameters" in record]
    found = sum(record["found_mode"] for record in records)
    statuses = [record.get("status") for record in done]
    n = len(records)
    cells = (
        name,
        f"{n}",
        f"{found} ({100 * found / n:.0f} %)",
        f"{statuses.count('CONVERGED')} / {statuses.count('MARGINAL')} / "
        f"{statuses.count('FAILED')}",
        f"{_median(done, 'n_likelihood'):,.0f}",
        f"{_median(done, 'n_gradient'):,.0f}",
        f"{_median(done, 'ess'):,.0f}",
        f"{_median(done, 'wall_s'):.0f}",
        f"{_median(done, 'search_s'):.0f}",
    )
    return f"| {' | '.join(cells)} |"


_HEADER = [
    "| starts | lenses | right mode | CONVERGED / MARGINAL / FAILED | likelihoods | gradients "
    "| ESS | wall s | of it search s |",
    "|---|---:|---:|---|---:|---:|---:|---:|---:|",
]


def _against_nested(lenses: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    rows = [
        "| lens | against | ln Z, network - nested | largest shift (sigma) | likelihoods ratio "
        "| wall ratio |",
        "|---|---|---:|---|---:|---:|",
    ]
    for lens, records in lenses.items():
        ours = records.get("network")
        for name in NESTED:
            nested = records.get(name)
            if not (ours and nested and "parameters" in ours and "parameters" in nested):
                continue
            shift, path = largest_shift(ours, nested)
            cells = (
                lens,
                name,
                f"{ours['log_evidence'] - nested['log_evidence']:+.2f}",
                f"{shift:.2f} ({'.'.join(path.split('.')[1:])})",
                f"{(ours['n_likelihood'] + ours['n_gradient']) / nested['n_likelihood']:.3f}",
                f"{ours['wall_s'] / nested['wall_s']:.3f}",
            )
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _euclid_rows(records: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        "| starts | seed | status | best ln L | ln Z | error | ESS | likelihoods | gradients "
        "| wall s |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, record in sorted(records.items()):
        if "parameters" not in record:
            continue
        start, _, seed = name.split("-")
        cells = (
            start,
            seed,
            record["failure"] or record["status"],
            f"{record['max_log_likelihood']:.1f}",
            f"{record['log_evidence']:.2f}",
            f"{record['log_evidence_error']:.2f}",
            f"{record['ess']:.0f}",
            f"{record['n_likelihood']:,}",
            f"{record['n_gradient']:,}",
            f"{record['wall_s']:.0f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def render(folder: Path) -> str:
    """Make the tables from the stored measurements."""
    lenses: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        lenses.setdefault(record["lens"], {})[record["search"]] = record
    machines = {
        json.dumps(record["machine"], sort_keys=True)
        for records in lenses.values()
        for record in records.values()
    }
    lenses = {name: with_missed(records) for name, records in lenses.items()}
    euclid = lenses.pop("euclid", {})
    both = [records for records in lenses.values() if {"network", "prior"} <= set(records)]
    lines = [
        "# What a network gives the search",
        "",
        "`python -m benchmarks.networks`. Lenses that `euclid-sie` never saw, simulated at 0.1",
        "arcsec, lens light and source Sersic, fitted with isothermal mass, shear and linear",
        "Sersic light: 17 free parameters with wide priors.",
        f"`n_effective={N_EFFECTIVE}`, the default budget. Rows differ only in where the search",
        "starts. Medians over lenses; each fit runs alone in its own process with an empty",
        "compilation cache, so wall time includes imports of networks and compilation. A best",
        f"likelihood more than {MISSED:g} below the best known is not the right mode.",
        "",
        *(
            f"Machine: {', '.join(f'{key} {value}' for key, value in json.loads(entry).items())}."
            for entry in sorted(machines)
        ),
        "",
        "## With and without",
        "",
        *_HEADER,
    ]
    if both:
        lines += [_row(name, [records[name] for records in both]) for name in ("network", "prior")]
    lines += ["", "## Against nested sampling", "", "A gradient counts as a likelihood.", ""]
    lines += _against_nested(lenses)
    if euclid:
        lines += ["", "## The real Euclid lens", "", *_euclid_rows(euclid)]
    missed = [
        f"- {lens}, {name}: {record['failure']}"
        for lens, records in lenses.items()
        for name, record in records.items()
        if record["failure"]
    ]
    lines += ["", "## Missed, or without a result to be used", "", *(missed or ["None."])]
    return "\n".join(lines) + "\n"


def main(
    n_lenses: int = 100, time_limit: float = 60.0, folder: Path = FOLDER, euclid: bool = True
) -> Path:
    """Fit every pair that is not stored yet, and write the table.

    Parameters
    ----------
    n_lenses
        Held-out lenses.
    time_limit
        Minutes after which a fit is ended and counted as a failure.
    folder
        Of the measurements, one JSON file per pair.
    euclid
        Whether to fit the real lens as well, where its file is present.

    Returns
    -------
    Path
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for lens, search in _pairs(n_lenses, euclid):
        if (folder / f"{lens}.{search}.json").exists():
            continue
        start = time.perf_counter()
        record = run_pair("benchmarks.networks", lens, search, folder, time_limit)
        took = time.perf_counter() - start
        print(f"{lens} {search}: {took:.0f} s, {record['failure'] or 'done'}", flush=True)
        TABLE.write_text(render(folder))
    TABLE.write_text(render(folder))
    return TABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.networks", description=__doc__)
    parser.add_argument("--lenses", type=int, default=100, metavar="N")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="MINUTES")
    parser.add_argument("--no-euclid", action="store_true", help="leave out the real lens")
    parser.add_argument("--pair", nargs=3, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    if arguments.pair:
        lens, search, path = arguments.pair
        Path(path).write_text(json.dumps(measure(lens, search), indent=1))
    else:
        print(
            main(arguments.lenses, arguments.time_limit, euclid=not arguments.no_euclid).read_text()
        )
