"""What the command line asks to be trained."""

from __future__ import annotations

import re
from pathlib import Path

from autolens_ml.applications.fit.dataset import imaging_from_fits
from autolens_ml.applications.fit.model import model_from
from autolens_ml.exceptions import OptionError
from autolens_ml.training.for_model import preset_for
from autolens_ml.training.preset import Preset, preset_from


def requested_preset(
    preset: str | None,
    model: str | None,
    like: Path | None,
    mask_radius: float | None = None,
    pixel_scale: float | None = None,
    band: str | None = None,
) -> Preset:
    """A preset by name or file, or one made for a model and a dataset.

    Parameters
    ----------
    preset
        Name or YAML file.
    model
        A named model, ``MODEL.json`` or ``script.py:function``, with ``like``, instead of a preset.
    like
        FITS file with image, noise map and PSF, or a folder with ``data.fits``, ``noise_map.fits``
        and ``psf.fits``.
    mask_radius, pixel_scale, band
        Of the dataset, see ``imaging_from_fits``.

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
    files: dict[str, Path] = {"data": like}
    if like.is_dir():
        files = {name: like / f"{name}.fits" for name in ("data", "psf", "noise_map")}
    dataset = imaging_from_fits(
        **files, mask_radius=mask_radius, pixel_scale=pixel_scale, band=band
    )
    radius = {} if mask_radius is None else {"mask_radius": mask_radius}
    stem = Path(model.split(":")[0]).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "network"
    return preset_for(model_from(model, dataset=dataset, **radius), dataset, name)
