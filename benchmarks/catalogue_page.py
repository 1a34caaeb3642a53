"""The page about runs over catalogues, from the JSON files that `benchmarks.catalogue` stores."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import table

RESULTS = Path(__file__).resolve().parent / "results"
STORE = RESULTS / "catalogue"
# Mean number of records between kills; seconds would not do where workers take long to start.
KILL_EVERY = 12.0
# One in so many files is damaged.
DAMAGED = 20
# Lenses of a survey; cores of a node and of a cluster; cores that a GPU may be as fast as.
SURVEY, CORES, GPU_SPEEDS = 100_000, (64, 1024), (10, 100)


def page() -> str:
    """The page, of all parts that are stored."""
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(STORE.glob("*.json"))}
    lines = [
        "# Runs over catalogues",
        "",
        "`python -m benchmarks.catalogue` makes this page, part by part (`--part`, `--task`). "
        "`find` looks at cut-outs of 66 x 66 px with a network that has learned "
        "nothing, `fit` fits lenses of 24 x 24 px with four free "
        "parameters: small ones, because what is measured here are runs, not searches. Other "
        "programs ran beside these: load is the machine's average over five minutes, and where it "
        "is above the number of cores, wall times are longer than they would be alone.",
        "",
    ]
    writers = (_kill_lines, _fault_lines, _memory_lines, _fuzz_lines, _scale_lines, _report_lines)
    for writer in (*writers, _survey_lines):
        lines += writer(stored)
    machines = sorted({found["machine"] for found in stored.values()})
    return "\n".join([*lines, *(f"Machine: {each}." for each in machines), ""])


def _of_tasks(stored: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return [stored[name] for task in ("find", "fit") if (name := f"{part}-{task}") in stored]


def _kill_lines(stored: dict[str, Any]) -> list[str]:
    found = _of_tasks(stored, "kill")
    if not found:
        return []
    columns = ("killed", "lost", "twice", "without a reason", "others refused", "left behind")
    heads = ["task", "lenses", "calls", *columns, "damaged files refused", "minutes", "load"]
    rows = [
        [
            each["task"],
            each["n"],
            len(each["calls"]),
            *(each[c] for c in columns),
            f"{each['damaged refused']} of {each['damaged']}",
            f"{each['seconds'] / 60.0:.1f}",
            each["load"],
        ]
        for each in found
    ]
    words = (
        f"Two workers; one of them gets SIGKILL whenever some more lenses are done, on average "
        f"{KILL_EVERY:.0f}, and another is started in its place. One file in {DAMAGED} is cut in "
        "half. Twice are lenses with two rows, others refused are whole files without a result, "
        "and left behind are files of killed workers that nobody removed."
    )
    return ["## Workers killed at random", "", words, "", *table(heads, rows)]


def _fault_lines(stored: dict[str, Any]) -> list[str]:
    if "faults" not in stored:
        return []
    lenses, runs = stored["faults"]["lenses"], stored["faults"]["runs"]
    rows = [
        [_cell(name), _cell(status), _cell(reason)]
        for name, (status, reason) in lenses["became"].items()
    ]
    kept = ("lost", "twice", "without a reason", "files outside of the run's folder")
    counts = ", ".join(f"{name} {lenses[name]}" for name in kept)
    again = lenses["again after a half-written record"]
    of_runs = [
        [_cell(name), _cell("; ".join(f"{key}: {_words(value)}" for key, value in found.items()))]
        for name, found in runs.items()
    ]
    return [
        "## Faults",
        "",
        "One lens of each kind in one catalogue, fitted by one worker; the first has no fault.",
        "",
        *("| fault | became | reason |", "|---|---|---|"),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"{counts[0].upper()}{counts[1:]}. After the record of one lens was cut in two, the same "
        f"call measured {again} lens anew.",
        "",
        f"Runs over {stored['faults']['n']} whole cut-outs that the machine breaks; where they go "
        "on, the same call is given again.",
        "",
        *("| fault | what came of it |", "|---|---|"),
        *(f"| {' | '.join(row)} |" for row in of_runs),
        "",
    ]


def _short(number: float) -> str:
    """A number without digits that say nothing."""
    return f"{number:,.0f}" if number >= 10.0 else f"{number:.2g}"


def _words(value: Any) -> str:
    """A number, a line, or how many lenses have which status."""
    if isinstance(value, dict):
        return ", ".join(f"{count} {status}" for status, count in value.items())
    return str(value)


def _cell(text: str) -> str:
    """Text that ends no cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _memory_lines(stored: dict[str, Any]) -> list[str]:
    found = _of_tasks(stored, "memory")
    if not found:
        return []
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.0, 3.4), layout="constrained")
    rows = []
    for each in found:
        memory = np.array(each["memory_mb"])
        axis.plot(np.arange(1, len(memory) + 1), memory, label=each["task"])
        # The first tenth fills what is kept: networks, programs, pools of memory.
        later = np.arange(len(memory) // 10, len(memory))
        slope = np.polyfit(later, memory[later], 1)[0]
        rows.append(
            [
                each["task"],
                each["n"],
                each["workers"],
                f"{memory[0]:.0f}",
                f"{memory[-1]:.0f}",
                f"{each['peak_mb']:.0f}",
                f"{1000.0 * slope:+.1f}",
                each["load"],
            ]
        )
    top = 1.15 * max(max(each["memory_mb"]) for each in found)
    axis.set(xlabel="lens", ylabel="memory of the worker (MB)", ylim=(0.0, top))
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(STORE / "memory.png", dpi=110)
    plt.close(figure)
    heads = ["task", "lenses", "workers", "MB after the first", "after the last", "most"]
    heads += ["MB per 1,000 lenses, without the first tenth", "load"]
    picture = "![Memory of the worker after each lens](catalogue/memory.png)"
    return ["## Memory of a worker", "", *table(heads, rows), picture, ""]


def _fuzz_lines(stored: dict[str, Any]) -> list[str]:
    if "fuzz" not in stored:
        return []
    found = stored["fuzz"]
    outcome = "only typed errors" if found["passed"] else f"failed: {found['last line']}"
    row = [found["readers"], f"{found['n']:,}", outcome, f"{found['seconds'] / 60.0:.0f}"]
    words = (
        "Hypothesis makes the inputs: bytes and rows in place of a catalogue, cells in place of "
        "options, bytes in place of a record, and FITS files with bytes, cards and ends changed."
    )
    heads = ["readers", "inputs for each", "errors", "minutes"]
    return ["## Damaged inputs of the readers", "", words, "", *table(heads, [row])]


def _scale_lines(stored: dict[str, Any]) -> list[str]:
    found = _of_tasks(stored, "scale")
    if not found:
        return []
    rows = [
        [
            each["task"],
            each["n"],
            workers,
            f"{of['per hour']:,.0f}",
            f"{of['median CPU seconds of a lens']:.3g}",
            f"{of['seconds']:.0f}",
            each["load"],
        ]
        for each in found
        for workers, of in each["workers"].items()
    ]
    heads = ["task", "lenses", "workers", "lenses per hour", "median CPU s of a lens", "s of all"]
    first = "; ".join(
        f"{each['task']} {' and '.join(f'{s:.2g} s' for s in each['first and second lens [s]'])}"
        for each in found
    )
    words = (
        "All of a run counts, with the start of its processes. The first and the second lens of a "
        f"worker, of which the first loads the network or compiles the likelihood: {first}. "
        "Where the load is well above the workers, other programs had a share of the cores."
    )
    return ["## Lenses per hour", "", words, "", *table([*heads, "load"], rows)]


def _report_lines(stored: dict[str, Any]) -> list[str]:
    if "report" not in stored:
        return []
    found = stored["report"]
    words = (
        f"The page about {found['n']:,} fits that are made up, each with a picture drawn of its "
        f"data: {found['seconds']:.0f} s of CPU time, {found['page_mb']:.1f} MB and "
        f"{found['pictures_mb']:.0f} MB of pictures. The process that writes it takes "
        f"{found['peak_mb']:.0f} MB at most, for 10 lenses {found['peak_mb of 10 lenses']:.0f} MB. "
        "In a browser, in seconds (more rows than were made are the same rows again):"
    )
    rows = [
        [f"{int(n):,}", *(f"{seen[name]:.2f}" for name in ("shown", "sorted", "searched"))]
        for n, seen in found["browser"].items()
        if seen
    ]
    heads = ["rows", "until it is shown", "to sort", "to search"]
    return ["## The report page", "", words, "", *table(heads, rows)]


def _survey_lines(stored: dict[str, Any]) -> list[str]:
    """What many lenses would cost, from what single ones do."""
    costs = []
    for each in _of_tasks(stored, "scale"):
        median = each["workers"]["1"]["median CPU seconds of a lens"]
        what = "one cut-out" if each["task"] == "find" else "four free parameters, 24 x 24 px"
        costs.append((f"{each['task']}: {what}", median, f"catalogue/scale-{each['task']}.json"))
    for what, pattern in (
        ("fit: `aml.CNN(network=None)`, 14 to 17 free parameters", "search/*.cnn.json"),
        ('fit: `aml.CNN(network="euclid-sie")`, 17 free parameters', "networks/held*.network.json"),
        ("fit: `af.Nautilus(n_live=150)`, 14 to 17 free parameters", "search/*.nautilus-150.json"),
    ):
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(pattern))]
        seconds = [r["cpu_s"] for r in records if r.get("n_parameters") and r["lens"] != "euclid"]
        if seconds:
            costs.append((f"{what}, median of {len(seconds)}", np.median(seconds), pattern))
    if not costs:
        return []
    rows = [
        [what, *map(_short, (seconds, core_hours))]
        + [_short(core_hours / many) for many in (*CORES, *GPU_SPEEDS)]
        + [f"`{source}`"]
        for what, seconds, source in costs
        for core_hours in [SURVEY * seconds / 3600.0]
    ]
    heads = ["task", "s of a lens", "core hours", *(f"h on {cores} cores" for cores in CORES)]
    heads += [f"GPU hours, one as fast as {speed} cores" for speed in GPU_SPEEDS]
    memory = ", ".join(
        f"{each['peak_mb'] / 1e3:.1f} GB (`{each['task']}`)" for each in _of_tasks(stored, "memory")
    )
    words = (
        f"Core hours = {SURVEY:,} x seconds of a lens / 3,600; hours on a node = core hours / "
        "cores; GPU hours = core hours / how many cores a GPU is as fast as. Seconds of a lens are "
        "CPU time on one core: of runs (`scale`) the median, of searches with the start of the "
        "process and compilation."
    )
    assumptions = (
        "Assumed: each core has one worker with a lens of its own, and cores as fast as this "
        "machine's; lenses take no longer beside others, and what files, scheduler and the start "
        "of workers take is nothing beside them; all lenses cost what these do, though larger "
        "images, pixelized sources and fits that do not converge cost more; and failures are not "
        f"tried again. A worker takes {memory}. No fit was measured on a GPU: how "
        f"many cores one is as fast as is an assumption here, {GPU_SPEEDS[0]} or {GPU_SPEEDS[1]}, "
        "to be replaced by what a few of your lenses take on yours."
    )
    text = [f"## {SURVEY:,} lenses", "", words, "", *table([*heads, "measured in"], rows)]
    return [*text, assumptions, ""]
