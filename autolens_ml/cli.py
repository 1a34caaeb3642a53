"""The ``autolens-ml`` command: parses and calls, holds no logic."""

import typer

app = typer.Typer(no_args_is_help=True, help=__doc__)
