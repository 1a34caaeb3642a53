"""What the command line asks to be trained."""

from pathlib import Path

import pytest

from autolens_ml.applications.fit.demo import DEMO_FITS
from autolens_ml.applications.training import requested_preset
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.training.task import task_of


def test_a_shipped_preset():
    assert requested_preset("euclid-sie", None, None).name == "euclid-sie"


@pytest.mark.parametrize(
    "request_",
    [
        (None, None, None),
        ("euclid-sie", "model.json", Path("a.fits")),
        (None, "model.json", None),
        ("euclid-sie", None, Path("a.fits")),
    ],
)
def test_one_or_the_other(request_):
    with pytest.raises(OptionError, match="give a preset, or both"):
        requested_preset(*request_)


def test_for_a_model_and_data():
    preset = requested_preset(None, "sie+shear+sersic", DEMO_FITS)
    assert preset.name == "sie-shear-sersic"
    population = task_of(preset).population
    assert population.instrument.pixel_scale == pytest.approx(0.1)
    assert "galaxies.lens.mass.einstein_radius" in population.names


def test_data_that_is_not_there(tmp_path):
    with pytest.raises(DataError):
        requested_preset(None, "sie+shear+sersic", tmp_path / "none.fits")
