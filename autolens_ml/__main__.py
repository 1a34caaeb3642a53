"""``python -m autolens_ml`` is ``autolens-ml``."""

from autolens_ml.cli import app

app(prog_name="autolens-ml")
