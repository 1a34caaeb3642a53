"""The ``autolens-ml`` command: parses and calls, holds no logic."""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from autolens_ml.applications.morphology.commands import app as morphology
from autolens_ml.applications.shear.commands import app as shear
from autolens_ml.catalogue.commands import app as catalogue
from autolens_ml.exceptions import AutolensMLError, DataWarning
from autolens_ml.explain.commands import explain

# Everything else is imported where it is used: PyAutoLens takes seconds, and --help should not.
if TYPE_CHECKING:
    from autolens_ml.applications.fit import FitReport

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="Fit strong lenses with PyAutoLens and `autolens_ml`. "
    "Exit codes: 0 done, 1 failed, 2 bad input.",
)
benchmark = typer.Typer(no_args_is_help=True, help="Measure; from a source checkout only.")
app.add_typer(benchmark, name="benchmark")
app.add_typer(catalogue, name="catalogue")
app.add_typer(morphology, name="morphology")
app.add_typer(shear, name="shear")

Seed = Annotated[int | None, typer.Option(help="Seed of the search: same seed, same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Search = Annotated[str, typer.Option(help="The search: cnn, rim or nautilus.")]
Budget = Annotated[
    int | None, typer.Option(help="Where the search gives up; by default its own limit.")
]
Output = Annotated[Path, typer.Option(help="Folder under which the fit writes.")]


@app.command(epilog="Example: `autolens-ml fit lens.fits --band VIS --mask-radius 3.0 --seed 1`")
def fit(
    data: Annotated[
        Path,
        typer.Argument(help="FITS file of the image, or of image, PSF and noise map."),
    ],
    psf: Annotated[Path | None, typer.Option(help="FITS file of the PSF, if apart.")] = None,
    noise_map: Annotated[
        Path | None, typer.Option(help="FITS file of the noise map (RMS per pixel), if apart.")
    ] = None,
    pixel_scale: Annotated[
        float | None, typer.Option(help="arcsec per pixel; by default from the header.")
    ] = None,
    band: Annotated[
        str | None, typer.Option(help="Which band of a file with several, e.g. VIS.")
    ] = None,
    hdu: Annotated[str | None, typer.Option(help="Name or number of its extension.")] = None,
    psf_hdu: Annotated[
        str | None, typer.Option(help="Name or number of the PSF's extension.")
    ] = None,
    noise_map_hdu: Annotated[
        str | None, typer.Option(help="Name or number of the noise map's extension.")
    ] = None,
    mask_radius: Annotated[float, typer.Option(help="Radius of the mask in arcsec.")] = 3.0,
    over_sampling: Annotated[
        int | None,
        typer.Option(
            help="Sub-pixels per side where the image is bright; by default 4, 2, 1 with distance."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="sie+shear+mge, sie+shear+sersic, MODEL.json or script.py:function."),
    ] = "sie+shear+mge",
    redshift_lens: Annotated[float, typer.Option(help="Redshift of the lens.")] = 0.5,
    redshift_source: Annotated[float, typer.Option(help="Redshift of the source.")] = 1.0,
    search: Search = "cnn",
    max_likelihood_calls: Budget = None,
    output: Output = Path("output"),
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit a lens from FITS files: posterior, evidence, and whether to trust them."""
    with _session() as say:
        from autolens_ml.applications.fit import fit_imaging, imaging_from_fits, model_from

        dataset = imaging_from_fits(
            data,
            psf=psf,
            noise_map=noise_map,
            pixel_scale=pixel_scale,
            mask_radius=mask_radius,
            band=band,
            hdu=hdu,
            psf_hdu=psf_hdu,
            noise_map_hdu=noise_map_hdu,
            over_sample_size=over_sampling,
        )
        report = fit_imaging(
            dataset,
            model_from(
                model,
                mask_radius=mask_radius,
                redshift_lens=redshift_lens,
                redshift_source=redshift_source,
                dataset=dataset,
            ),
            search=search,
            name=data.stem if band is None else f"{data.stem}_{band}",
            output=output,
            seed=seed,
            max_likelihood_calls=max_likelihood_calls,
            progress=say,
        )
    _finish(report, as_json)


@app.command(epilog="Example: `autolens-ml demo`")
def demo(
    search: Search = "cnn",
    max_likelihood_calls: Budget = None,
    output: Output = Path("output"),
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Fit the simulated lens that ships with the package, its true values beside the result."""
    with _session() as say:
        from autolens_ml.applications.fit.demo import fit_demo

        report = fit_demo(
            search=search,
            output=output,
            seed=seed,
            max_likelihood_calls=max_likelihood_calls,
            progress=say,
        )
    _finish(report, as_json)


@app.command(epilog="Example: `autolens-ml networks --task lens-parameters`")
def networks(
    name: Annotated[
        str | None,
        typer.Argument(help="One network, by name or by the path of its card; by default all."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only for this task, e.g. lens-parameters.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the networks that ship with the package, or show one: prior, accuracy, training."""
    from autolens_ml.networks.checkpoint import cards, find_card

    try:
        card = None if name is None else find_card(name, task)
        found = cards(task) if card is None else [card]
    except AutolensMLError as error:
        _refuse(str(error))
    if task is not None and not found:
        _refuse(f"no network ships for the task {task}: see `autolens-ml networks` for the tasks")
    if as_json:
        print(json.dumps([card.as_dict() for card in found], indent=2))
        return
    from autolens_ml.training.cards import card_text, cards_table

    # Commands and paths may be longer than the terminal is wide: cut, they could not be copied.
    Console().print(cards_table(found) if card is None else card_text(card), crop=False)


@app.command(epilog="Example: `autolens-ml simulate euclid-sie -n 1000 --output set.h5`")
def simulate(
    model: Annotated[
        str,
        typer.Argument(help="A preset, by name or YAML file, MODEL.json or script.py:function."),
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Lenses.")] = 1000,
    output: Annotated[
        Path, typer.Option(help="An HDF5 file, or a folder for one folder of FITS per lens.")
    ] = Path("lenses.h5"),
    format: Annotated[
        str | None, typer.Option(help="hdf5 or fits; by default as the output's name says.")
    ] = None,
    instrument: Annotated[
        str | None, typer.Option(help="e.g. euclid-vis; by default that of the preset.")
    ] = None,
    planes: Annotated[
        bool, typer.Option("--planes", help="Store noise-free images of every plane as well.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Lens i depends on it and on i alone.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate a population of lenses into files; a call that was interrupted goes on."""
    with _session() as say:
        from autolens_ml.applications.simulate import simulate_set

        report = simulate_set(
            model,
            n,
            output,
            format=format,
            instrument=instrument,
            seed=seed,
            planes=planes,
            progress=say,
        )
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        Console().print(str(report), markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: `autolens-ml train euclid-sie --output training/euclid-sie`")
def train(
    preset: Annotated[
        str | None, typer.Argument(help="A shipped preset by name, or a YAML file.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of a preset: sie+shear+mge, MODEL.json or script.py:function."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="With --model: FITS file of data as the network will see.")
    ] = None,
    mask_radius: Annotated[
        float | None, typer.Option(help="With --like: radius of its mask in arcsec.")
    ] = None,
    pixel_scale: Annotated[
        float | None, typer.Option(help="With --like: arcsec per pixel; by default its header's.")
    ] = None,
    band: Annotated[str | None, typer.Option(help="With --like: which band, e.g. VIS.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the training; by default training/NAME.")
    ] = None,
    sets: Annotated[
        Path | None,
        typer.Option(help="Folder of the simulated sets, to share them; by default the output."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training examples, instead of the preset's.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, ...")] = "auto",
    devices: Annotated[str, typer.Option(help="How many, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="Computers.")] = 1,
    precision: Annotated[str, typer.Option(help="bf16-mixed, 16-mixed or 32-true.")] = "bf16-mixed",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="TensorBoard logs beside the CSV file.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    as_json: Json = False,
) -> None:
    """Train a network by preset, or for your own model and data; the same command resumes."""
    with _session() as say:
        from autolens_ml.applications.training import requested_preset
        from autolens_ml.training.train import Hardware
        from autolens_ml.training.train import train as run

        wanted = requested_preset(preset, model, like, mask_radius, pixel_scale, band)
        wanted = wanted.changed(steps, samples, seed)
        card = run(
            wanted,
            output or Path("training") / wanted.name,
            Hardware(
                accelerator=accelerator,
                devices=int(devices) if devices.isdigit() else devices,
                nodes=nodes,
                precision=precision,
                tensorboard=tensorboard,
            ),
            say,
            sets,
        )
    if as_json:
        print(json.dumps(card.as_dict(), indent=2))
        return
    Console().print(f"trained {card.name}: {card.path}", soft_wrap=True, highlight=False)
    Console().print(
        f"measure it with: autolens-ml evaluate {card.path} --update-card",
        soft_wrap=True,
        highlight=False,
    )


@app.command(epilog="Example: `autolens-ml evaluate euclid-sie --n 4000 --output evaluation`")
def evaluate(
    network: Annotated[
        str, typer.Argument(help="A shipped network by name, or the path of a card or its folder.")
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=100, help="Fresh examples to measure.")] = 4000,
    output: Annotated[
        Path, typer.Option(help="Folder for evaluation.json and the figures.")
    ] = Path("output/evaluation"),
    on: Annotated[
        str | None,
        typer.Option(help="Measure on the data of this preset (name or YAML) instead of its own."),
    ] = None,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the figures of merit into the card.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of those examples.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a network on examples it never saw: errors, calibration, figures."""
    with _session() as say:
        from autolens_ml.networks.checkpoint import find_card
        from autolens_ml.training.evaluate import evaluate as measure
        from autolens_ml.training.evaluate import store
        from autolens_ml.training.preset import preset_from

        examples = None if on is None else preset_from(on)
        result = measure(find_card(network), n, seed, say, examples)
        files = store(result, output, with_card=update_card)
    if as_json:
        print(json.dumps({**result.as_dict(), "files": [str(file) for file in files]}, indent=2))
        return
    from autolens_ml.training.cards import card_text

    Console().print(card_text(result.card), crop=False)
    if result.verdict:
        Console().print(result.verdict, markup=False)
    for file in files:
        Console().print(str(file), soft_wrap=True, highlight=False)


@app.command(epilog="Example: `autolens-ml combine ensai-overfeat ensai-alexnet --name mine`")
def combine(
    networks: Annotated[
        list[str], typer.Argument(help="Networks for arcs, by name or by the path of a card.")
    ],
    name: Annotated[str, typer.Option(help="Of the combination.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of its card; by default training/NAME.")
    ] = None,
    mixture: Annotated[
        bool, typer.Option("--mixture", help="Mix posteriors instead of summing with weights.")
    ] = False,
    n: Annotated[int, typer.Option("--n", "-n", min=100, help="Arcs to find weights from.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of those arcs.")] = 0,
    as_json: Json = False,
) -> None:
    """Make one network of several: a weighted sum for each parameter, or a deep ensemble."""
    with _session() as say:
        from autolens_ml.training.combining import combine as make

        folder = output or Path("training") / name
        card = make(networks, name, folder, weighted=not mixture, n=n, seed=seed, say=say)
    if as_json:
        print(json.dumps(card.as_dict(), indent=2))
        return
    Console().print(f"combined {card.name}: {card.path}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: `autolens-ml predict arcs/ --network ensai-alexnet --out table.csv`")
def predict(
    files: Annotated[
        list[Path], typer.Argument(help="FITS files, pictures, datasets or folders of them.")
    ],
    network: Annotated[
        str, typer.Option(help="A shipped network by name, or the path of a card.")
    ] = "euclid-sie",
    out: Annotated[Path, typer.Option(help="CSV file of the table.")] = Path("predictions.csv"),
    pixel_scale: Annotated[
        float | None, typer.Option(help="arcsec per pixel, where files do not say.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="RMS noise of images without a noise map; by default their scatter."),
    ] = None,
    psf_fwhm: Annotated[
        float | None, typer.Option(help="PSF width in arcsec of images without a PSF.")
    ] = None,
    flip_rows: Annotated[
        bool, typer.Option("--flip-rows", help="Row 0 of pictures is at -y, as in Ensai's.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draws of the posteriors.")] = 0,
    as_json: Json = False,
) -> None:
    """Estimate lens parameters with errors by a network alone, without any likelihood."""
    with _session() as say:
        from autolens_ml.applications.predict import predict_files, write_table

        predictions = predict_files(
            files,
            network,
            pixel_scale=pixel_scale,
            noise=noise,
            psf_fwhm=psf_fwhm,
            flip_rows=flip_rows,
            seed=seed,
            progress=say,
        )
        failed = [prediction for prediction in predictions if prediction.error]
        # A table of nothing is not worth one that may be there.
        is_written = len(failed) < len(predictions)
        if is_written:
            write_table(predictions, out)
    if as_json:
        print(json.dumps([prediction.as_dict() for prediction in predictions], indent=2))
    else:
        for prediction in failed:
            Console(stderr=True).print(prediction.error, markup=False, soft_wrap=True)
        done = len(predictions) - len(failed)
        where = out if is_written else "no table is written"
        Console().print(f"{done} of {len(predictions)} lenses: {where}", soft_wrap=True)
    if not is_written:
        raise typer.Exit(2)


@app.command(epilog="Example: `autolens-ml find cutouts/ --network ou-200-vis --out lenses.csv`")
def find(
    inputs: Annotated[
        list[Path], typer.Argument(help="FITS files, folders of them, or CSV catalogues.")
    ],
    network: Annotated[
        str, typer.Option(help="A network for lens finding, by name or by the path of a card.")
    ] = "finder-vis",
    out: Annotated[
        Path, typer.Option(help="CSV file of the table; a call that was cut off goes on.")
    ] = Path("lenses.csv"),
    threshold: Annotated[float, typer.Option(help="Probability above which it is a lens.")] = 0.5,
    pixel_scale: Annotated[
        float | None, typer.Option(help="arcsec per pixel; by default from the headers.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Candidates looked at together.")] = 64,
    fit_lenses: Annotated[
        bool, typer.Option("--fit", help="Fit every lens with aml.CNN, mask and model chosen.")
    ] = False,
    output: Output = Path("output"),
    max_likelihood_calls: Budget = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Look for lenses in images, and fit those that are found."""
    with _session() as say:
        from autolens_ml.applications.finder.chain import fit_found
        from autolens_ml.applications.finder.find import find as look

        report = look(
            inputs,
            network=network,
            output=out,
            threshold=threshold,
            pixel_scale=pixel_scale,
            batch_size=batch_size,
            progress=say,
        )
        fits = []
        if fit_lenses:
            fits = fit_found(
                report,
                inputs,
                output=output,
                seed=seed,
                max_likelihood_calls=max_likelihood_calls,
                progress=say,
            )
    if as_json:
        print(json.dumps({**report.as_dict(), "fits": [f.as_dict() for f in fits]}, indent=2))
        return
    Console().print(str(report), markup=False, highlight=False, soft_wrap=True)
    for fitted in fits:
        what = fitted.error or f"{fitted.report.status}, mask of {fitted.mask_radius:.1f} arcsec"
        Console().print(f"{fitted.name}: {what}", markup=False, highlight=False, soft_wrap=True)


app.command(epilog="Example: `autolens-ml explain lens.fits --network finder-vis --out maps`")(
    explain
)


@app.command("search-manifest", epilog="Example: `autolens-ml search-manifest > manifest.json`")
def search_manifest() -> None:
    """Print the searches as JSON: autofit's and those of this package, in autofit's own schema."""
    from autolens_ml.search import registry

    print(json.dumps(registry.manifest(), indent=2))


@benchmark.command("search", epilog="Example: `autolens-ml benchmark search --lens arc`")
def benchmark_search(
    lens: Annotated[list[str] | None, typer.Option(help="A lens; by default all of them.")] = None,
    search: Annotated[list[str] | None, typer.Option(help="A search; by default all.")] = None,
    time_limit: Annotated[float, typer.Option(help="Minutes after which a fit is ended.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Fit the same simulated lenses with each search and tabulate cost and agreement."""
    table = _benchmark("search")(lenses=lens, searches=search, time_limit=time_limit)
    print(json.dumps({"table": str(table)}) if as_json else table)


def _benchmark(name: str) -> Callable[..., Any]:
    """The ``main`` of a module of ``benchmarks/``, beside the package in a source checkout."""
    from importlib import import_module

    checkout = str(Path(__file__).resolve().parents[1])
    if checkout not in sys.path:
        sys.path.append(checkout)
    try:
        return import_module(f"benchmarks.{name}").main
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("benchmarks"):
            raise
        _refuse("benchmarks are not installed with the package: run this in a source checkout")


def _refuse(line: str) -> None:
    """Say on one line of stderr what to change, and exit with 2."""
    typer.echo(f"error: {' '.join(line.split())}", err=True)
    raise typer.Exit(2)


def _finish(report: "FitReport", as_json: bool) -> None:
    """Print the report; a fit that its search calls FAILED is a failure here as well."""
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        # Paths may be longer than the terminal is wide: cut, they could not be copied.
        Console().print(report, crop=False)
    if report.status == "FAILED":
        raise typer.Exit(1)


@contextlib.contextmanager
def _session() -> Iterator[Callable[[str], None]]:
    """Progress and warnings as lines on stderr; a mistake in the input as one, with exit code 2."""
    console = Console(stderr=True)

    def warn(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        console.print(f"warning: {' '.join(str(message).split())}", markup=False, soft_wrap=True)

    try:
        with console.status("loading PyAutoLens") as status, warnings.catch_warnings():

            def say(line: str) -> None:
                if console.is_terminal:
                    status.update(Text(line))
                else:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)

            from autolens_ml.applications.fit.progress import progress_lines

            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = warn
            with progress_lines(say):
                yield say
    except AutolensMLError as error:
        _refuse(str(error))
