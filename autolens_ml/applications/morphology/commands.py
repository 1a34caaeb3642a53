"""``autolens-ml morphology``: parses and calls, as the rest of the command line."""

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
    help="Dark-matter morphology: subhaloes against vortices, and what is strange without labels. "
    "Images must be free of the lens's light.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Files = Annotated[
    list[Path], typer.Argument(help="FITS files, .npy arrays, pictures, or folders of them.")
]
PixelScale = Annotated[
    float | None, typer.Option(help="arcsec per pixel; by default from the headers.")
]
Band = Annotated[str | None, typer.Option(help="Which band of files with several, e.g. VIS.")]
Psf = Annotated[
    Path | None, typer.Option(help="FITS file of the PSF of all images, where theirs have none.")
]
NoiseMap = Annotated[
    Path | None, typer.Option(help="FITS file of the noise map of all images, likewise.")
]
Out = Annotated[Path | None, typer.Option(help="CSV file of the table.")]
Classifier = Annotated[str, typer.Option(help="A network for morphology, by name or path.")]
Autoencoder = Annotated[str, typer.Option(help="A network for anomalies, by name or path.")]
Score = Annotated[
    str | None, typer.Option(help="error, elbo or mahalanobis: what says that a lens is strange.")
]
Maps = Annotated[
    Path | None, typer.Option(help="Folder for figures of where flagged lenses are strange.")
]

# Columns of a terminal beyond which even tables end.
_WIDEST = 500


@app.command(epilog="Example: `autolens-ml morphology classify lenses/ --out classes.csv`")
def classify(
    files: Files,
    network: Classifier = "morphology-i",
    pixel_scale: PixelScale = None,
    band: Band = None,
    psf: Psf = None,
    noise_map: NoiseMap = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Tell lenses without substructure from those with subhaloes and those with a vortex."""
    with _session() as say:
        from autolens_ml.applications.morphology.look import classify as look

        report = look(
            files,
            network=network,
            pixel_scale=pixel_scale,
            band=band,
            psf=psf,
            noise_map=noise_map,
            progress=say,
        )
        written = [] if out is None else [str(report.write(out))]
    _print({**report.as_dict(), "files": written}, as_json, report.table(), *written)


@app.command(epilog="Example: `autolens-ml morphology anomaly lenses/ --maps maps/`")
def anomaly(
    files: Files,
    network: Autoencoder = "anomaly-cvae",
    score: Score = None,
    pixel_scale: PixelScale = None,
    band: Band = None,
    psf: Psf = None,
    noise_map: NoiseMap = None,
    maps: Maps = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Say how strange lenses are to a network that knows only those without substructure."""
    with _session() as say:
        from autolens_ml.applications.morphology.look import anomalies

        report = anomalies(
            files,
            network=network,
            score=score,
            pixel_scale=pixel_scale,
            band=band,
            psf=psf,
            noise_map=noise_map,
            maps=maps,
            progress=say,
        )
        written = [] if out is None else [str(report.write(out))]
    _print({**report.as_dict(), "files": written}, as_json, report.table(), *written)


@app.command(epilog="Example: `autolens-ml morphology report lens.fits --fit --seed 1`")
def report(
    files: Files,
    network: Classifier = "morphology-i",
    autoencoder: Autoencoder = "anomaly-cvae",
    pixel_scale: PixelScale = None,
    band: Band = None,
    psf: Psf = None,
    noise_map: NoiseMap = None,
    fit_lenses: Annotated[
        bool,
        typer.Option(
            "--fit", help="Fit flagged lenses by aml.CNN with and without a vortex: minutes each."
        ),
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder under which fits write.")] = Path("output"),
    max_likelihood_calls: Annotated[
        int | None, typer.Option(help="Where a search gives up; by default its own limit.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the searches.")] = None,
    as_json: Json = False,
) -> None:
    """Classes and anomaly scores; with --fit the evidence for a vortex in every flagged lens."""
    with _session() as say:
        from autolens_ml.applications.fit.run import search_from
        from autolens_ml.applications.morphology.evidence import compare_flagged
        from autolens_ml.applications.morphology.look import classes_and_anomalies

        options: dict[str, Any] = {
            "pixel_scale": pixel_scale,
            "band": band,
            "psf": psf,
            "noise_map": noise_map,
            "progress": say,
        }
        if fit_lenses:
            # What is wrong for all lenses is refused before any is looked at.
            search_from(
                "cnn",
                name="check",
                unique_tag="check",
                seed=seed,
                max_likelihood_calls=max_likelihood_calls,
            )
        classes, strange = classes_and_anomalies(
            files, network=network, autoencoder=autoencoder, **options
        )
        fits = []
        if fit_lenses:
            flagged = {row.name: row for row in (*strange.flagged, *classes.flagged)}
            fits = compare_flagged(
                list(flagged.values()),
                classes.network,
                output=output,
                seed=seed,
                max_likelihood_calls=max_likelihood_calls,
                **options,
            )
    values = {
        "classes": classes.as_dict(),
        "anomalies": strange.as_dict(),
        "fits": [fit.as_dict() for fit in fits],
    }
    lines = [f"{fit.name}: {fit.verdict}" for fit in fits]
    _print(values, as_json, classes.table(), strange.table(), *lines)


@contextlib.contextmanager
def _session() -> Iterator[Callable[[str], None]]:
    """As of the other commands."""
    from autolens_ml.cli import _session as session

    with session() as say:
        yield say


def _print(values: dict[str, Any], as_json: bool, *shown: Any) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for each in shown:
        # Paths may be wider than the terminal: cut, they could not be copied.
        console = Console()
        options = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, Measurement.get(console, options, each).maximum)
        console.print(each, crop=False, soft_wrap=True, markup=False, highlight=False)
