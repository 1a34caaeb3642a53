"""``autolens-ml shear``: parses and calls, as the rest of the command line."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Weak lensing: simulate galaxies, train networks on them, measure shears and their bias.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A network by name, or its folder; several times to compare.",
    ),
]
FlipRows = Annotated[
    bool,
    typer.Option(
        "--flip-rows", help="Row 0 of files that do not say so is at -y, as in GalSim's FITS."
    ),
]
Population = Annotated[
    str, typer.Option(help="euclid, seed, or a YAML file of what differs from euclid.")
]

# Columns of a terminal beyond which even tables end.
_WIDEST = 500


@app.command(epilog="Example: `autolens-ml shear simulate -n 1000 -o galaxies --noise`")
def simulate(
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Galaxies, each with its PSF.")] = 1000,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("galaxies"),
    noise: Annotated[bool, typer.Option("--noise", help="Add noise to the galaxies.")] = False,
    population: Population = "euclid",
    format: Annotated[
        list[str] | None, typer.Option(help="fits, tiff, or both by giving it twice.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Galaxy i depends on it and on i alone.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate galaxies and PSFs into files and a data.json; an interrupted call goes on."""
    with _session() as say:
        from autolens_ml.applications.shear.simulate import simulate_stamps

        report = simulate_stamps(
            population,
            n,
            output,
            noise=noise,
            formats=tuple(format or ["fits"]),
            seed=seed,
            progress=say,
        )
    _print(report.as_dict(), as_json, str(report))


@app.command(epilog="Example: `autolens-ml shear config > shear.yaml`")
def config() -> None:
    """Print the default configuration of a training, to be changed and given to train."""
    with _session():
        from autolens_ml.applications.shear.config import ShearConfig

        text = ShearConfig().as_text()
    print(text, end="")


@app.command(
    epilog="Example: `autolens-ml shear train galaxies/data.json -m models/mine --evaluate`"
)
def train(
    data: Annotated[Path, typer.Argument(help="data.json of a set of images.")],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="Folder of the network, made if need be.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML or JSON; see the command config.")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", "-e", help="Then evaluate it on the share kept for tests.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", "-r", help="Delete the network that is there first.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, ...")] = "auto",
    as_json: Json = False,
) -> None:
    """Train a network on images, as LensNet does; one that is trained already is loaded."""
    with _session() as say:
        from autolens_ml.applications.shear.config import ShearConfig
        from autolens_ml.applications.shear.training import train_on_files
        from autolens_ml.networks.checkpoint import save_card
        from autolens_ml.training.stamp_regression import StampRegression
        from autolens_ml.training.train import Hardware

        wanted = ShearConfig() if config is None else ShearConfig.from_file(config)
        card = train_on_files(
            data,
            model,
            wanted,
            remove=remove,
            hardware=Hardware(accelerator=accelerator),
            progress=say,
        )
        if evaluate:
            card = StampRegression.evaluate(card, card.training["samples"], 0, say).card
            save_card(card)
    from autolens_ml.training.cards import card_text

    _print(card.as_dict(), as_json, card_text(card))


@app.command(
    epilog="Example: `autolens-ml shear evaluate -m shear-euclid -m shear-naive --n 20000`"
)
def evaluate(
    data: Annotated[
        Path | None, typer.Argument(help="data.json; by default galaxies are simulated in pairs.")
    ] = None,
    model: Models = ["shear-euclid"],  # noqa: B006
    n: Annotated[int, typer.Option("--n", "-n", min=100, help="Galaxies to simulate.")] = 20000,
    population: Population = "euclid",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for figures and JSON.")
    ] = Path("output/shear"),
    flip_rows: FlipRows = False,
    seed: Annotated[int, typer.Option(help="Seed of the galaxies.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure networks: bias and PSF leakage on paired simulations, or errors on a data.json."""
    with _session() as say:
        from autolens_ml.applications.shear.measure import measure_biases, predict_set
        from autolens_ml.applications.shear.simulate import requested_population

        lines: list[str] = []
        if data is None:
            report: Any = measure_biases(model, requested_population(population), n, seed, say)
            lines = report.verdicts()
        else:
            report = predict_set(model, data, flip_rows)
        files = [str(file) for file in report.write(output)]
    _print({**report.as_dict(), "files": files}, as_json, report.table(), *lines, *files)


@app.command(epilog="Example: `autolens-ml shear predict gal_0.fits --psf psf_0.fits`")
def predict(
    data: Annotated[
        Path, typer.Argument(help="A FITS file or picture of a galaxy, or a data.json.")
    ],
    model: Models = ["shear-euclid"],  # noqa: B006
    psf: Annotated[Path | None, typer.Option(help="The PSF, for one galaxy.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Of a data.json: folder for JSON, figure.")
    ] = None,
    flip_rows: FlipRows = False,
    as_json: Json = False,
) -> None:
    """Predict one image or a data.json, whose truths, if it has them, are compared with."""
    with _session():
        from autolens_ml.applications.shear.measure import predict_image, predict_set

        files: list[str] = []
        if data.suffix == ".json":
            report: Any = predict_set(model, data, flip_rows)
            if output is not None:
                files = [str(file) for file in report.write(output)]
        else:
            report = predict_image(model, data, psf, flip_rows)
    _print(report.as_dict(), as_json, report.table(), *files)


@contextlib.contextmanager
def _session() -> Iterator[Callable[[str], None]]:
    """As of the other commands; of a set of files, every problem has its line."""
    from autolens_ml.cli import _session as session

    with session() as say:
        from autolens_ml.simulate.shear_files import StampProblems

        try:
            yield say
        except StampProblems as error:
            for problem in error.problems:
                typer.echo(f"error: {problem}", err=True)
            raise typer.Exit(2) from error


def _print(values: dict[str, Any], as_json: bool, *shown: Any) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for each in shown:
        # Paths and tables may be wider than the terminal: cut, they could not be copied.
        console = Console()
        options = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, Measurement.get(console, options, each).maximum)
        console.print(each, crop=False, soft_wrap=True, markup=False, highlight=False)
