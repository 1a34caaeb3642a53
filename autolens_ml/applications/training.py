"""What the command line asks to be trained."""

from __future__ import annotations

from pathlib import Path

from autolens_ml.applications.fit.dataset import imaging_from_fits
from autolens_ml.applications.fit.model import model_from
from autolens_ml.exceptions import OptionError
from autolens_ml.training.for_model import preset_for
from autolens_ml.training.preset import Preset, preset_from


def requested_preset(preset: str | None, model: str | None, like: Path | None) -> Preset:
    """A preset by name or file, or one made for a model and a dataset.

    Parameters
    ----------
    preset
        Name or YAML file.
    model
        ``MODEL.json`` or ``script.py:function``, with ``like``, instead of a preset.
    like
        FITS file with image, noise map and PSF.

    Raises
    ------
    OptionError
        When both or neither are given.
    DataError, ModelError
        When the dataset or the model cannot be used.
    """
    if (preset is None) == (model is None) or (model is None) != (like is None):
        raise OptionError("give a preset, or both --model MODEL.json and --like DATA.fits")
    if preset is not None:
        return preset_from(preset)
    dataset = imaging_from_fits(like)
    name = Path(model.split(":")[0]).stem
    return preset_for(model_from(model, dataset=dataset), dataset, name)
