"""``autolens-ml catalogue``: parses and calls, as the rest of the command line."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from autolens_ml.exceptions import OptionError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Many lenses: run a task on all of them, look at the results, infer their population.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a run, its --out.")]


@app.command(
    epilog="Example: `autolens-ml catalogue run lenses.csv --task fit --out results --workers 4 "
    "--set mask_radius=2.5`"
)
def run(
    catalogue: Annotated[
        Path, typer.Argument(help="CSV with a column file, or a folder of FITS files.")
    ],
    task: Annotated[str, typer.Option(help="fit, find, morphology, predict or shear.")] = "fit",
    out: Annotated[
        Path, typer.Option(help="Folder of the results; a call that was cut off goes on.")
    ] = Path("catalogue"),
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes, by default one for each core; 0: no other."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running Dask scheduler instead.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE of dask_jobqueue.SLURMCluster instead, e.g. jobs=20."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="KEY=VALUE, an option of the task, e.g. mask_radius=2.5."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also fit again what its search calls FAILED.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a task on every lens; each ends with a result or a reason, none is lost."""
    with _session() as say:
        from autolens_ml.catalogue.runs import run as start

        report = start(
            catalogue,
            task,
            out,
            workers=workers,
            scheduler=scheduler,
            slurm=None if slurm is None else _pairs("--slurm", slurm),
            retry_failed=retry_failed,
            progress=say,
            **_pairs("--set", options or []),
        )
    _print(report.as_dict(), as_json, str(report))
    if report.n and report.n_errors == report.n:
        raise typer.Exit(1)


@app.command(epilog="Example: `autolens-ml catalogue report results`")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write a page about a run: a table to sort and search, pictures, histograms."""
    with _session() as say:
        from autolens_ml.catalogue.page import write_page

        path = write_page(folder, say)
    _print({"page": str(path)}, as_json, str(path))


@app.command(epilog="Example: `autolens-ml catalogue population results -p einstein_radius`")
def population(
    folder: Folder,
    parameter: Annotated[
        str, typer.Option("--parameter", "-p", help="Path of a parameter, or the end of it.")
    ] = "einstein_radius",
    log: Annotated[
        bool, typer.Option("--log", help="Its decimal logarithm is Gaussian, as of masses.")
    ] = False,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Fits to use; by default CONVERGED and MARGINAL."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; by default that of the run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Infer the mean and width of the distribution that a parameter of all lenses comes from."""
    with _session() as say:
        from autolens_ml.catalogue.inferring import infer

        result = infer(folder, parameter, log=log, statuses=status, output=output, progress=say)
    _print(result.as_dict(), as_json, str(result))


def _pairs(option: str, given: list[str]) -> dict[str, str]:
    """Keys and values."""
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not (key and equals) or key in found:
            raise OptionError(f"{option} {each}: give KEY=VALUE, each key once")
        found[key] = value
    return found


@contextlib.contextmanager
def _session() -> Iterator[Callable[[str], None]]:
    from autolens_ml.cli import _session as session

    with session() as say:
        yield say


def _print(values: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
    else:
        Console().print(text, markup=False, highlight=False, soft_wrap=True)
