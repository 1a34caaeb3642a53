"""``autolens-ml explain``: parses and calls, as the rest of the command line."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def explain(
    file: Annotated[Path, typer.Argument(help="FITS file of a cut-out, in all bands.")],
    network: Annotated[
        str, typer.Option(help="A network for lens finding, by name or by the path of a card.")
    ] = "finder-vis",
    method: Annotated[
        str,
        typer.Option(
            help="occlusion, grad-cam, guided-backprop, guided-grad-cam, kernels, class-image, "
            "deep-dream, excite or sanity."
        ),
    ] = "occlusion",
    out: Annotated[Path, typer.Option(help="Folder of figure, GIF and FITS file.")] = Path(
        "explanations"
    ),
    of: Annotated[
        str, typer.Option("--class", help="The class that is explained: lens or no-lens.")
    ] = "lens",
    layer: Annotated[
        int | None,
        typer.Option(help="A convolution, from 1, for grad-cam, guided-grad-cam and excite."),
    ] = None,
    kernel: Annotated[
        list[int] | None,
        typer.Option(help="With excite: a kernel of the layer, from 0; may be given repeatedly."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="With occlusion: pixels a side of what is hidden.")
    ] = None,
    by_band: Annotated[
        bool, typer.Option("--by-band", help="With occlusion: hide one band at a time.")
    ] = False,
    log_odds: Annotated[
        bool, typer.Option("--log-odds", help="With occlusion: instead of the probability.")
    ] = False,
    steps: Annotated[
        int, typer.Option(help="With class-image, deep-dream and excite: how far to go.")
    ] = 96,
    draws: Annotated[int, typer.Option(help="With sanity: draws of random weights.")] = 4,
    pixel_scale: Annotated[
        float | None, typer.Option(help="arcsec per pixel; by default from the header.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout instead of lines.")
    ] = False,
) -> None:
    """Show what a network that finds lenses looks at: maps, images, animations."""
    # The parent module: imported here, as it imports this one.
    from autolens_ml.cli import _session

    with _session() as say:
        from autolens_ml.explain.run import Options, explain_file

        options = Options(
            of=of,
            layer=layer,
            kernels=kernel or (),
            window=window,
            by_band=by_band,
            log_odds=log_odds,
            steps=steps,
            draws=draws,
            pixel_scale=pixel_scale,
            seed=seed,
        )
        report = explain_file(
            file, network=network, method=method, output=out, options=options, progress=say
        )
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        Console().print(str(report), markup=False, highlight=False, soft_wrap=True)
