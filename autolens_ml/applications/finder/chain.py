"""From find to fit: every lens that was found, with mask, band and model chosen for it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autolens as al
import numpy as np
from astropy.io import fits
from autofit.tools.util import open_atomic
from scipy import ndimage

from autolens_ml.applications.finder.cutouts import candidates_from
from autolens_ml.applications.finder.find import FindReport
from autolens_ml.applications.fit import FitReport, fit_imaging, imaging_from_fits, model_from
from autolens_ml.applications.fit.dataset import DATA, NOISE, PSF, extensions_from, pixel_scale_from
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.exceptions import AutolensMLError, DataError

__all__ = ["FIT_COLUMNS", "FittedLens", "chosen_band", "chosen_mask_radius", "fit_found"]

FIT_COLUMNS = (
    "name",
    "probability",
    "band",
    "model",
    "mask_radius",
    "einstein_radius",
    "error_minus",
    "error_plus",
    "log_evidence",
    "status",
    "output",
    "error",
)
# Light that is this many times its noise, smoothed over this many pixels and as large as a circle
# of this radius [arcsec], belongs to the system when some of it is this near to the middle
# [arcsec]; a mask ends a little farther out.
_THRESHOLD, _SMOOTHING, _SMALLEST = 3.0, 1.0, 0.25
_REACH, _BEYOND = 3.0, 1.25
_RADII = (1.5, 6.0)
# Many Gaussians need pixels that resolve them.
_RESOLVED = 0.15
_EINSTEIN_RADIUS = "mass.einstein_radius"


@dataclass(frozen=True)
class FittedLens:
    """A lens that was found, and its fit.

    Attributes
    ----------
    name : str
        Of the candidate.
    probability : float
        Of being a lens.
    band, model : str
        What was fitted, and by what.
    mask_radius : float
        In arcsec.
    report : FitReport or None
        Of the fit; ``None`` where there is none.
    error : str
        Why there is none, in one line.
    """

    name: str
    probability: float
    band: str = ""
    model: str = ""
    mask_radius: float = np.nan
    report: FitReport | None = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """``FIT_COLUMNS``, empty where there is nothing to say."""
        values: dict[str, Any] = dict.fromkeys(FIT_COLUMNS, "")
        values |= {name: getattr(self, name) for name in ("name", "probability", "band", "model")}
        values["error"] = self.error
        if np.isfinite(self.mask_radius):
            values["mask_radius"] = round(self.mask_radius, 3)
        if self.report is not None:
            values |= {
                "log_evidence": self.report.log_evidence,
                "status": self.report.status,
                "output": str(self.report.output),
            }
            for parameter in self.report.parameters:
                if parameter.path.endswith(_EINSTEIN_RADIUS):
                    values["einstein_radius"] = parameter.median
                    values["error_minus"] = parameter.error_minus
                    values["error_plus"] = parameter.error_plus
        return values


def fit_found(
    report: FindReport,
    inputs: Sequence[str | Path],
    *,
    output: str | Path = "output",
    seed: int | None = None,
    max_likelihood_calls: int | None = None,
    progress: Progress = lambda line: None,
) -> list[FittedLens]:
    """Fit every lens of a table with `aml.CNN`, the most probable first.

    The band is the sharpest that has an image, a PSF and a noise map; the mask ends where the light
    of the system does; the light is made of many Gaussians where pixels resolve them, of Sersic
    profiles elsewhere. A lens that cannot be fitted has its reason in its row, and ends nothing.
    The rows are in ``NAME-fits.csv`` beside the table. A fit that is finished is read back.

    Parameters
    ----------
    report
        Of `find`.
    inputs
        What `find` was given.
    output
        The folder under which the fits write.
    seed
        Of the searches.
    max_likelihood_calls
        Where a search gives up; ``None`` takes its own limit.
    progress
        Takes a line at a time.
    """
    candidates = {
        candidate.name: candidate for candidate in candidates_from(inputs, report.network.bands)
    }
    fitted: list[FittedLens] = []
    for number, found in enumerate(report.lenses, start=1):
        progress(f"lens {number} of {len(report.lenses)}: {found.name}")
        known: dict[str, Any] = {"name": found.name, "probability": found.probability}
        try:
            candidate = candidates[found.name]
            if candidate.position is not None:
                raise DataError(
                    "cut from a larger image: save a cut-out with its PSF, and fit that"
                )
            path = _file_for(candidate.files, report.network.bands)
            band = chosen_band(path)
            dataset = imaging_from_fits(path, band=band)
            radius = chosen_mask_radius(dataset)
            dataset = imaging_from_fits(path, band=band, mask_radius=radius)
            scale = float(dataset.pixel_scales[0])
            model = "sie+shear+mge" if scale <= _RESOLVED else "sie+shear+sersic"
            known |= {"band": band or "", "model": model, "mask_radius": radius}
            result = fit_imaging(
                dataset,
                model_from(model, mask_radius=radius, dataset=dataset),
                name=Path(found.name).stem,
                output=output,
                seed=seed,
                max_likelihood_calls=max_likelihood_calls,
                progress=progress,
            )
            fitted.append(FittedLens(**known, report=result))
        except AutolensMLError as error:
            fitted.append(FittedLens(**known, error=" ".join(str(error).split())))
        _write(report.output, fitted)
    return fitted


def chosen_band(path: Path) -> str | None:
    """The band with the smallest pixels that has image, PSF and noise map.

    ``None`` where a file has one band without a name.

    Raises
    ------
    DataError
        When no band has all three.
    """
    by_band: dict[str, dict[str, Any]] = {}
    for extension in extensions_from(path):
        if extension.role is not None:
            by_band.setdefault(extension.band, {})[extension.role] = extension
    whole = {band: found for band, found in by_band.items() if {DATA, PSF, NOISE} <= set(found)}
    if not whole:
        raise DataError(f"{path}: no band with image, PSF and noise map, so it cannot be fitted")
    # Of bands with the same pixels, the one with the sharpest PSF.
    _, _, band = min(
        (pixel_scale_from(found[DATA]), _width(path, found[PSF].number), band)
        for band, found in whole.items()
    )
    return band or None


def chosen_mask_radius(dataset: al.Imaging) -> float:
    """Radius in arcsec of a mask that holds the galaxy in the middle and what is around it.

    Between 1.5" and 6", and within the image.
    """
    scale = float(dataset.pixel_scales[0])
    data, noise = (np.asarray(a.native.array, float) for a in (dataset.data, dataset.noise_map))
    sky = np.median(data[data != 0.0]) if np.any(data) else 0.0
    # Smoothing over a Gaussian lowers the noise of a pixel by its width times 2 sqrt(pi).
    signal = ndimage.gaussian_filter((data - sky) / noise, _SMOOTHING)
    signal *= 2.0 * np.sqrt(np.pi) * _SMOOTHING
    objects, _ = ndimage.label(signal > _THRESHOLD)
    rows, columns = np.indices(data.shape)
    middle = 0.5 * (np.array(data.shape) - 1.0)
    distance = scale * np.hypot(rows - middle[0], columns - middle[1])
    large = np.bincount(objects.ravel()) * scale**2 >= np.pi * _SMALLEST**2
    near = np.unique(objects[(distance < _REACH) & (objects > 0) & large[objects]])
    system = np.isin(objects, near) & (distance < _RADII[1])
    # Nearly all of the area: single pixels at its end are noise.
    extent = float(np.percentile(distance[system], 98.0)) if system.any() else 0.0
    largest = 0.5 * scale * min(data.shape)
    return float(min(np.clip(_BEYOND * extent, *_RADII), largest))


def _file_for(files: Mapping[str, Path], bands: Sequence[str]) -> Path:
    """The file to fit: of the first band of the network, or of all bands."""
    return next((files[band] for band in bands if band in files), files.get("")) or next(
        iter(files.values())
    )


def _width(path: Path, number: int) -> float:
    """Area of a PSF by its noise-equivalent pixels: small for sharp ones."""
    values = np.asarray(fits.getdata(path, number), dtype=float)
    return float(values.sum() ** 2 / np.sum(values**2))


def _write(table: Path, fitted: Sequence[FittedLens]) -> None:
    with open_atomic(table.with_name(f"{table.stem}-fits.csv")) as stream:
        writer = csv.DictWriter(stream, FIT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lens.as_dict() for lens in fitted)
