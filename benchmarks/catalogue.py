"""Measure runs over catalogues: ``python -m benchmarks.catalogue`` writes results/catalogue.md.

Parts, each of which stores a JSON file of its own from which the page is made:

``kill``    a run of ``--n`` lenses (200) on two workers that are killed (SIGKILL) at random, called
            again until every lens has a result: none lost, none done twice.
``faults``  one lens, or one run, of each kind of fault, and what became of it.
``memory``  the memory of one worker over ``--n`` lenses (1000).
``scale``   lenses per hour with one and two workers.
``report``  the page about ``--n`` made-up fits (5000): its cost, and a browser's.
``fuzz``    10,000 inputs for each reader: only our own errors.

``--task find`` looks at cut-outs (tens in a second), ``--task fit`` fits small lenses (seconds
each: an isothermal sphere and a round source, 24 x 24 px, four free parameters). ``--table`` only
makes the page, which also says what 100,000 lenses would cost.
"""

import argparse
import contextlib
import gzip
import json
import os
import platform
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.catalogue_page import DAMAGED, KILL_EVERY, RESULTS, STORE, SURVEY, page

ROOT = Path(__file__).resolve().parents[1]
TABLE = RESULTS / "catalogue.md"
DEFAULT_N = {
    "kill": 200,
    "faults": 60,
    "memory": 1000,
    "scale": 40,
    "report": 5000,
    "fuzz": 10_000,
}
PARTS = tuple(DEFAULT_N)
# Of one task, or of none.
SINGLE = ("faults", "report", "fuzz")
# Seconds between looks at how many there are.
LOOK = 0.02


def main() -> Path:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="by default all")
    parser.add_argument("--task", choices=("fit", "find"), default="find")
    parser.add_argument("--n", type=int, help="lenses, or inputs of the fuzz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    measures = dict(zip(PARTS, (kill, faults, memory, scale, report, fuzz), strict=True))
    STORE.mkdir(parents=True, exist_ok=True)
    for part in () if options.table else options.part or PARTS:
        print(part, flush=True)
        n = options.n or DEFAULT_N[part]
        found = measures[part](options.task, n, options.seed)
        name = part if part in SINGLE else f"{part}-{options.task}"
        (STORE / f"{name}.json").write_text(json.dumps({**found, **machine()}, indent=1) + "\n")
    TABLE.write_text(page())
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
        killer = Killer(seed, out / "records")
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
    """Kills a worker of this process whenever a random number of files more is in a folder."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.n = 0
        self._random, self._folder = random.Random(seed), folder
        self._end = threading.Event()

    def run(self) -> None:
        wanted = self._random.expovariate(1.0 / KILL_EVERY)
        while not self._end.wait(LOOK):
            n_files = sum(1 for _ in self._folder.glob("*/*"))
            if n_files < wanted:
                continue
            wanted = n_files + self._random.expovariate(1.0 / KILL_EVERY)
            # Those may end by themselves, while the run does.
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                # Workers are spawned; the other children look after shared memory.
                workers = [
                    child
                    for child in psutil.Process().children()
                    if "spawn_main" in " ".join(child.cmdline())
                ]
                if workers:
                    os.kill(self._random.choice(workers).pid, signal.SIGKILL)
                    self.n += 1

    def stop(self) -> None:
        self._end.set()
        self.join()


def faults(task: str, n: int, seed: int) -> dict[str, Any]:
    """What becomes of each kind of fault: of files, and of runs of ``n`` candidates."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = {"task": "fit and find", "n": n, "lenses": _damaged_lenses(seed, folder / "fit")}
        return found | {"runs": _broken_runs(n, seed, folder / "find")}


def _damaged_lenses(seed: int, folder: Path) -> dict[str, Any]:
    """A catalogue with one lens for each thing that can be wrong with a file, fitted."""
    import autolens_ml as aml
    from autolens_ml.catalogue.records import Records
    from tests.catalogue.lenses import simulate, write

    folder.mkdir(parents=True)
    dataset = simulate(1.0, seed)
    whole = write(folder / "whole.fits", dataset).read_bytes()
    noise, data = dataset.noise_map.native.array.copy(), dataset.data.native.array.copy()
    noise[12, 12], data[11, 12] = 0.0, np.nan
    write(folder / "zero.fits", dataset, NOISE_MAP=noise)
    write(folder / "nan.fits", dataset, DATA=data)
    write(folder / "nopsf.fits", dataset, PSF=None)
    scrambled = bytearray(whole)
    scrambled[2880:8640] = random.Random(seed).randbytes(5760)
    altered = {
        "half.fits": whole[: len(whole) // 2],
        "scrambled.fits": bytes(scrambled),
        "axes.fits": _with_card(whole, "NAXIS", "99999999999"),
        "huge.fits": _with_card(whole, "NAXIS1", "999999999999"),
        "negative.fits": _with_card(whole, "NAXIS1", "-24"),
        "empty.fits": b"",
        "text.fits": b"no image",
        "cut.fits.gz": gzip.compress(whole)[:2000],
        "announced.fits.gz": gzip.compress(_with_card(whole, "NAXIS1", "99999999999")),
        # A megabyte in the archive, a gigabyte outside of it.
        "bomb.fits.gz": gzip.compress(whole[:-2880]) + gzip.compress(bytes(2**30)),
        "archive.fits": b"PK\x03\x04" + bytes(200),
    }
    for name, content in altered.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.fits")
    (folder / "folder.fits").mkdir()
    (folder / "loop.fits").symlink_to("loop.fits")
    rows = {
        "none": "whole.fits",
        "half-written file": "half.fits",
        "random bytes in a header": "scrambled.fits",
        "absurd header: 10^11 axes": "axes.fits",
        "absurd header: 10^12 pixels": "huge.fits",
        "absurd header: negative size": "negative.fits",
        "NaN in the data": "nan.fits",
        "zero in the noise map": "zero.fits",
        "no PSF": "nopsf.fits",
        "empty file": "empty.fits",
        "text in a FITS file": "text.fits",
        "archive that is cut short": "cut.fits.gz",
        "archive that announces 10^12 pixels": "announced.fits.gz",
        "archive that grows a thousandfold": "bomb.fits.gz",
        "zip archive called FITS": "archive.fits",
        "named pipe": "pipe.fits",
        "device that never ends": "/dev/zero",
        "folder instead of a file": "folder.fits",
        "link to itself": "loop.fits",
        "missing file": "gone.fits",
        "path out of the folder": "../../../../../../../../../../etc/passwd",
        "path of 5000 letters": "x" * 5000 + ".fits",
        "../../name that is a path": "whole.fits",
    }
    table = folder / "lenses.csv"
    table.write_text("name,file\n" + "".join(f"{name},{file}\n" for name, file in rows.items()))
    options = options_of("fit", folder)
    out = folder / "out"
    before = {*folder.iterdir(), *folder.parent.iterdir()}
    report = aml.catalogue.run(table, "fit", out, workers=1, progress=say, **options)
    strays = {*folder.iterdir(), *folder.parent.iterdir()} - before - {out}
    counts = _counted(out, set(rows))
    # A record that was cut in two is no record: its lens is measured again.
    record = Records(out).path_of("none")
    record.write_bytes(record.read_bytes()[:100])
    n_errors = report.n_errors
    again = aml.catalogue.run(table, "fit", out, workers=1, progress=say, **options)
    became = {
        each["name"]: [each["status"], each["reason"].replace(f"{folder}/", "")[:160]]
        for each in Records(out)
    }
    return {
        "became": {name: became.get(name, ["lost", ""]) for name in rows},
        **counts,
        "lenses with a result": len(rows) - n_errors,
        "again after a half-written record": again.n_measured - n_errors,
        "files outside of the run's folder": len(strays),
    }


def _with_card(content: bytes, key: str, value: str) -> bytes:
    """A FITS file with another value in the first such card behind the primary header."""
    at = content.index(key.ljust(8).encode() + b"= ", 2880) + 10
    return content[:at] + value.rjust(20).encode() + content[at + 20 :]


def _counted(out: Path, wanted: set[str]) -> dict[str, int]:
    """Lenses that have no record, or more than one, or no result and no reason."""
    from autolens_ml.catalogue.records import ERROR, Records

    records = list(Records(out))
    names = Counter(record["name"] for record in records)
    return {
        "lost": len(wanted - set(names)),
        "twice": sum(count > 1 for count in names.values()),
        "without a reason": sum(
            record["status"] == ERROR and not record["reason"] for record in records
        ),
    }


def _broken_runs(n: int, seed: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Runs over whole files that the machine breaks."""
    table, options = catalogue("find", n, seed, folder / "in", False), options_of("find", folder)
    wanted = {f"lens {i}" for i in range(n)}
    broken: dict[str, Callable[[], dict[str, Any]]] = {
        "disk full": lambda: _full_disk(table, options, folder, wanted),
        "scheduler killed and started again": lambda: _restarted(table, options, folder, wanted),
        "scheduler gone for good": lambda: _command(
            table, options, folder / "gone", "--scheduler", f"tcp://127.0.0.1:{_free_port()}"
        ),
        "altered weights": lambda: _altered_weights(table, options, folder),
    }
    return {name: measure() for name, measure in broken.items()}


def _command_of(table: Path, options: dict[str, str], out: Path, *more: str) -> list[str]:
    asked = [sys.executable, "-m", "autolens_ml", "catalogue", "run", str(table)]
    asked += ["--task", "find", "--out", str(out), *more]
    return asked + [word for key, value in options.items() for word in ("-s", f"{key}={value}")]


def _command(table: Path, options: dict[str, str], out: Path, *more: str) -> dict[str, Any]:
    """The exit code of a command and the last line that it says."""
    done = subprocess.run(
        _command_of(table, options, out, *more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"exit code": done.returncode, "line": _last_line(done.stderr, table.parents[1])}


def _last_line(text: str, folder: Path) -> str:
    return (text.strip().splitlines() or [""])[-1].replace(f"{folder}/", "")


def _altered_weights(table: Path, options: dict[str, str], folder: Path) -> dict[str, Any]:
    weights = next((folder / "network").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    found = _command(table, options, folder / "altered", "--workers", "0")
    return found | {"records": len(list((folder / "altered").glob("records/*/*.json")))}


def _full_disk(
    table: Path, options: dict[str, str], folder: Path, wanted: set[str]
) -> dict[str, Any]:
    """A run on a disk with half a page for each record; then space is freed."""
    disk = folder / "disk"
    disk.mkdir()
    run = shlex.join(_command_of(table, options, disk / "out", "--workers", "1"))
    script = f"""
        mount -t tmpfs -o size=2m tmpfs {disk} || exit 9
        head -c {2**21 - 2048 * len(wanted)} /dev/zero > {disk}/ballast
        {run} > {folder}/full.txt 2>&1
        echo $?
        find {disk}/out/records -name '*.json' | wc -l
        rm {disk}/ballast
        {run} > {folder}/again.txt 2>&1
        echo $?
        cp -r {disk}/out {folder}/kept
    """
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"skipped": "no disk of its own can be mounted here"}
    first, n_records, second = (line for line in done.stdout.split() if line.isdigit())
    return {
        "exit code": int(first),
        "line": _last_line((folder / "full.txt").read_text(), folder),
        "records then": int(n_records),
        "exit code after space was freed": int(second),
        **_counted(folder / "kept", wanted),
    }


def _restarted(
    table: Path, options: dict[str, str], folder: Path, wanted: set[str]
) -> dict[str, Any]:
    """A scheduler and its worker, started by hand, of which the scheduler is killed half-way."""
    import autolens_ml as aml
    from autolens_ml.catalogue.records import Records

    address, out = f"tcp://127.0.0.1:{_free_port()}", folder / "restarted"
    running = _cluster(address)
    records = []

    def restart(line: str) -> None:
        say(line)
        n_done = len(list((out / "records").glob("*/*.json")))
        if not records and n_done >= len(wanted) // 3:
            records.append(n_done)
            scheduler, worker = running
            scheduler.kill()
            for process in (scheduler, worker):
                # Without its scheduler a worker ends by itself.
                process.wait(timeout=120)
            running[:] = _cluster(address)

    try:
        report = aml.catalogue.run(
            table, "find", out, scheduler=address, progress=restart, **options
        )
    finally:
        for process in running:
            process.kill()
            process.wait()
    return {
        "records when it was killed": records[0] if records else 0,
        "statuses": report.statuses,
        "measured more than once": sum(record["try"] > 1 for record in Records(out)),
        **_counted(out, wanted),
    }


def _cluster(address: str) -> list[subprocess.Popen]:
    """A scheduler and one worker, as they are started by hand."""
    from autolens_ml.catalogue.workers import ENVIRONMENT

    own = {"cwd": ROOT, "env": os.environ | ENVIRONMENT}
    own |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    port = address.rpartition(":")[2]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    return [
        subprocess.Popen([*scheduler, "--port", port, "--no-dashboard"], **own),
        subprocess.Popen([*worker, "--no-dashboard", "--no-nanny"], **own),
    ]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def memory(task: str, n: int, seed: int) -> dict[str, Any]:
    """Memory of one worker after each lens."""
    import autolens_ml as aml
    from autolens_ml.catalogue.records import Records

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, options = catalogue(task, n, seed, folder / "in", False), options_of(task, folder)
        report = aml.catalogue.run(table, task, folder / "out", workers=1, progress=say, **options)
        records = Records(folder / "out")
        # In the order in which they were measured.
        done = sorted(records, key=lambda r: records.path_of(r["key"]).stat().st_mtime_ns)
        return {
            "task": task,
            "n": n,
            "statuses": report.statuses,
            "seconds": report.seconds,
            "workers": len({record["worker"] for record in done}),
            "memory_mb": [record["memory_mb"] for record in done],
            "peak_mb": max(record["peak_memory_mb"] for record in done),
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
        found["first and second lens [s]"] = [float(value) for value in rows["cpu_seconds"]]
        for workers in (1, 2):
            out = folder / f"out-{workers}"
            report = aml.catalogue.run(table, task, out, workers=workers, progress=say, **options)
            rows = aml.catalogue.read_table(out)
            found["workers"][str(workers)] = {
                "seconds": report.seconds,
                "per hour": 3600.0 * n / report.seconds,
                "median CPU seconds of a lens": float(np.median(rows["cpu_seconds"])),
            }
            shutil.rmtree(out)
    return found


def report(task: str, n: int, seed: int) -> dict[str, Any]:
    """The page about ``n`` fits that never were: what it costs to make, and to look at."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        image = folder / "lens.fits"
        image.write_bytes(_cutouts(seed)[0])
        _made_up(folder / "few", 10, seed, image)
        out = _made_up(folder / "out", n, seed, image)
        few, many = (_written_page(each) for each in (folder / "few", out))
        page = out / "report" / "index.html"
        text = page.read_text(encoding="utf-8")
        found = {
            "n": n,
            "seconds": many["seconds"],
            "peak_mb": many["peak_mb"],
            "peak_mb of 10 lenses": few["peak_mb"],
            "page_mb": len(text.encode()) / 1e6,
            "pictures_mb": sum(p.stat().st_size for p in page.parent.rglob("*.png")) / 1e6,
        }
        found["browser"] = {f"{n}": _looked_at(page, text)}
        # The same rows again and again: as many as a survey has.
        head, rows, tail = _around_rows(text)
        more = SURVEY // n
        text = head + ",\n".join([rows] * more) + tail
        found["browser"][f"{more * n}"] = _looked_at(page, text)
        return found


def _made_up(out: Path, n: int, seed: int, image: Path) -> Path:
    """A folder with records of fits."""
    from autolens_ml.catalogue.records import Records

    rng, records = np.random.default_rng(seed), Records(out)
    names = [
        f"galaxies.lens.{name}"
        for name in ("mass.einstein_radius", "mass.ell_comps.ell_comps_0", "shear.gamma_1")
    ]
    for i in range(n):
        status = ("CONVERGED", "MARGINAL", "FAILED")[min(2, int(rng.exponential(0.5)))]
        values = {"log_evidence": rng.normal(1e4, 1e2), "ess": rng.uniform(500, 4e3)}
        for name in names:
            values |= {name: rng.normal(1.2, 0.2)}
            values |= {
                f"{name}_error_{side}": rng.uniform(0.01, 0.02) for side in ("minus", "plus")
            }
        record = {"name": f"lens {i}", "key": f"lens-{i:06d}", "task": "fit", "status": status}
        record |= {"reason": "", "values": values, "seconds": rng.uniform(20.0, 90.0)}
        path = records.path_of(record["key"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record | {"file": str(image), "flags": []}))
    (out / "run.json").write_text(json.dumps({"task": "fit"}))
    return out


def _written_page(out: Path) -> dict[str, float]:
    code = (
        "import json, resource, time; from autolens_ml.catalogue.page import write_page\n"
        f"began = time.process_time(); write_page({str(out)!r})\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6\n"
        "print(json.dumps({'seconds': time.process_time() - began, 'peak_mb': peak}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _around_rows(text: str) -> tuple[str, str, str]:
    """What is before the rows of a page, they, and what is behind."""
    head, _, rest = text.partition('id="rows">[')
    rows, _, tail = rest.partition("]</script>")
    return f'{head}id="rows">[', rows, f"]</script>{tail}"


def _looked_at(page: Path, text: str) -> dict[str, float] | None:
    """Seconds in a browser until the page is shown, sorted, and searched."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    script = """<script>
      const times = [performance.now()];
      const timed = (act) => { const t = performance.now(); act();
        document.querySelector("#lenses").getBoundingClientRect();
        times.push(performance.now() - t); };
      timed(() => document.querySelector("th:nth-child(4) button").click());
      const search = document.querySelector("#search"); search.value = "lens 123";
      timed(() => search.dispatchEvent(new Event("input")));
      document.body.setAttribute("data-times", JSON.stringify(times));
    </script></body>"""
    own = page.with_name("measured.html")
    own.write_text(text.replace("</body>", script), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync"
    asked = [browser, *flags.split(), f"--user-data-dir={page.parent / 'browser'}", "--dump-dom"]
    done = subprocess.run(
        [*asked, own.as_uri()], capture_output=True, text=True, check=False, timeout=600
    )
    times = json.loads(done.stdout.partition('data-times="')[2].partition('"')[0])
    return dict(zip(("shown", "sorted", "searched"), (t / 1e3 for t in times), strict=True))


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


if __name__ == "__main__":
    print(main())
