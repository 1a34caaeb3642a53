"""Measure runs over catalogues: ``python -m benchmarks.catalogue`` writes results/catalogue.md.

Parts, each of which stores a JSON file of its own from which the table is made:

``kill``    a run of ``--n`` lenses (200) on two workers that are killed (SIGKILL) at random, called
            again until every lens has a result: none lost, none done twice.
``memory``  the peak memory of one worker over ``--n`` lenses (1000).
``scale``   lenses per hour with one and two workers.
``fuzz``    10,000 inputs for each reader: only our own errors.

``--task find`` looks at cut-outs (tens in a second), ``--task fit`` fits small lenses (seconds
each: an isothermal sphere and a round source, 24 x 24 px, four free parameters).
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLE = RESULTS / "catalogue.md"
STORE = RESULTS / "catalogue"
PARTS = ("kill", "memory", "scale", "fuzz")
DEFAULT_N = {"kill": 200, "memory": 1000, "scale": 40, "fuzz": 10_000}
# Mean seconds between kills, for each task: several lenses' time.
KILL_EVERY = {"fit": 60.0, "find": 4.0}
# One in so many files is damaged.
DAMAGED = 20


def main() -> Path:
    """Measure what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="by default all")
    parser.add_argument("--task", choices=("fit", "find"), default="find")
    parser.add_argument("--n", type=int, help="lenses, or inputs of the fuzz")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    measures = {"kill": kill, "memory": memory, "scale": scale, "fuzz": fuzz}
    STORE.mkdir(parents=True, exist_ok=True)
    for part in options.part or PARTS:
        print(part, flush=True)
        n = options.n or DEFAULT_N[part]
        found = measures[part](options.task, n, options.seed)
        name = part if part == "fuzz" else f"{part}-{options.task}"
        (STORE / f"{name}.json").write_text(json.dumps({**found, **machine()}, indent=1))
    TABLE.write_text(table())
    return TABLE


def catalogue(task: str, n: int, seed: int, folder: Path, damaged: bool) -> Path:
    """Files of ``n`` lenses, some of them damaged, and a CSV file of their names."""
    folder.mkdir(parents=True)
    contents = _lenses(seed) if task == "fit" else _cutouts(seed)
    lines = ["name,file"]
    for i in range(n):
        content = contents[i % len(contents)]
        if damaged and i % DAMAGED == DAMAGED - 1:
            content = content[: len(content) // 2]
        (folder / f"{i:05d}.fits").write_bytes(content)
        lines.append(f"lens {i},{i:05d}.fits")
    path = folder / "lenses.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _lenses(seed: int) -> list[bytes]:
    """FITS files of a few small lenses."""
    from tests.catalogue.lenses import simulate, write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lens.fits"
        return [
            write(path, simulate(radius, seed + i)).read_bytes()
            for i, radius in enumerate(np.linspace(0.9, 1.5, 8))
        ]


def _cutouts(seed: int) -> list[bytes]:
    """FITS files of noise, as large as a network of NISP's pixels sees."""
    import io

    from astropy.io import fits

    found = []
    for i in range(16):
        image = np.random.default_rng(seed + i).normal(size=(66, 66)).astype(np.float32)
        stream = io.BytesIO()
        fits.writeto(stream, image, fits.Header({"PIXSCALE": 0.3}))
        found.append(stream.getvalue())
    return found


def options_of(task: str, folder: Path) -> dict[str, Any]:
    """Of a run of the task."""
    if task == "fit":
        from tests.catalogue.lenses import MASK_RADIUS, MODEL

        return {"model": MODEL, "mask_radius": MASK_RADIUS, "figures": False}
    from tests.finders import untrained_finder

    return {"network": str(untrained_finder(folder / "network", ("J",)).path)}


def kill(task: str, n: int, seed: int) -> dict[str, Any]:
    """Workers of a run are killed at random; it is called again until all have a result."""
    import autolens_ml as aml
    from autolens_ml.catalogue.records import ERROR, Records

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, options = catalogue(task, n, seed, folder / "in", True), options_of(task, folder)
        out = folder / "out"
        killer = Killer(KILL_EVERY[task], seed, out / "records")
        calls, began = [], time.monotonic()
        killer.start()
        try:
            report = aml.catalogue.run(table, task, out, workers=2, progress=say, **options)
            calls.append(report.statuses)
        finally:
            killer.stop()
        while len(calls) < 5 and any(r["reason"] == "worker died" for r in Records(out)):
            report = aml.catalogue.run(table, task, out, workers=2, progress=say, **options)
            calls.append(report.statuses)
        records = list(Records(out))
        names = Counter(record["name"] for record in records)
        wanted = {f"lens {i}" for i in range(n)}
        damaged = {f"lens {i}" for i in range(DAMAGED - 1, n, DAMAGED)}
        refused = {record["name"] for record in records if record["status"] == ERROR}
        return {
            "task": task,
            "n": n,
            "killed": killer.n,
            "seconds": time.monotonic() - began,
            "calls": calls,
            "lost": len(wanted - set(names)),
            "twice": sum(count > 1 for count in names.values()),
            "without a reason": sum(
                record["status"] == ERROR and not record["reason"] for record in records
            ),
            "damaged": len(damaged),
            "damaged refused": len(damaged & refused),
            "others refused": len(refused - damaged),
            "left behind": len(list(out.rglob("*.tmp"))) + len(list(out.rglob("*.begun"))),
        }


class Killer(threading.Thread):
    """Kills a worker of this process at random times, once there is a file in a folder."""

    def __init__(self, every: float, seed: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.n = 0
        self._random, self._every, self._folder = random.Random(seed), every, folder
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._random.expovariate(1.0 / self._every)):
            # Workers are spawned; the other children look after shared memory.
            workers = [
                child
                for child in psutil.Process().children()
                if "spawn_main" in " ".join(child.cmdline())
            ]
            if workers and any(self._folder.glob("*")):
                os.kill(self._random.choice(workers).pid, signal.SIGKILL)
                self.n += 1

    def stop(self) -> None:
        self._end.set()
        self.join()


def memory(task: str, n: int, seed: int) -> dict[str, Any]:
    """Peak memory of one worker, lens after lens."""
    import autolens_ml as aml

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, options = catalogue(task, n, seed, folder / "in", False), options_of(task, folder)
        report = aml.catalogue.run(table, task, folder / "out", workers=1, progress=say, **options)
        rows = aml.catalogue.read_table(folder / "out")
        peak = np.sort(np.asarray(rows["memory_mb"], dtype=float))
        at = sorted({min(n - 1, i) for i in (0, 1, 9, 49, 99, 249, 499, 749, 999)})
        return {
            "task": task,
            "n": n,
            "statuses": report.statuses,
            "seconds": report.seconds,
            "peak_mb": {str(i + 1): float(peak[i]) for i in at},
        }


def scale(task: str, n: int, seed: int) -> dict[str, Any]:
    """Lenses per hour with one worker and with two; programs are compiled beforehand."""
    import autolens_ml as aml

    found: dict[str, Any] = {"task": task, "n": n, "workers": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, options = catalogue(task, n, seed, folder / "in", False), options_of(task, folder)
        first = catalogue(task, 2, seed, folder / "first", False)
        warm = aml.catalogue.run(first, task, folder / "warm", workers=1, **options)
        rows = aml.catalogue.read_table(warm.output)
        found["first and second lens [s]"] = [float(value) for value in rows["seconds"]]
        for workers in (1, 2):
            out = folder / f"out-{workers}"
            report = aml.catalogue.run(table, task, out, workers=workers, progress=say, **options)
            rows = aml.catalogue.read_table(out)
            found["workers"][str(workers)] = {
                "seconds": report.seconds,
                "per hour": 3600.0 * n / report.seconds,
                "median seconds of a lens": float(np.median(rows["seconds"])),
            }
            shutil.rmtree(out)
    return found


def fuzz(task: str, n: int, seed: int) -> dict[str, Any]:
    """The tests of the readers with many inputs each."""
    names = (
        "tests/catalogue/test_entries.py::test_any_bytes_are_a_catalogue_or_are_refused",
        "tests/catalogue/test_entries.py::test_any_cell_is_a_value_or_is_refused",
        "tests/catalogue/test_entries.py::test_any_bytes_in_place_of_a_record_are_a_record_or_none",
        "tests/catalogue/test_tasks.py::test_damaged_files_are_read_or_refused",
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names],
        cwd=ROOT,
        env=os.environ | {"AUTOLENS_ML_FUZZ": str(n)},
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "n": n,
        "readers": len(names),
        "passed": done.returncode == 0,
        "last line": done.stdout.strip().splitlines()[-1],
        "seconds": time.monotonic() - began,
    }


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"python {platform.python_version()}, dask {version('dask')}, jax {version('jax')}, "
        f"autolens {version('autolens')}",
        "load": round(os.getloadavg()[1], 1),
    }


def say(line: str) -> None:
    print(f"  {line}", flush=True)


def table() -> str:
    """The table, of all parts that are stored."""
    lines = ["# Runs over catalogues", "", "`python -m benchmarks.catalogue`", ""]
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(STORE.glob("*.json"))}
    for name, found in stored.items():
        lines += [f"## {name}", "", "| | |", "|---|---|"]
        for key, value in found.items():
            shown = f"{value:.1f}" if isinstance(value, float) else value
            if isinstance(value, dict | list):
                shown = json.dumps(value)
            lines.append(f"| {key} | {shown} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
