"""From find to fit: which band, mask and model a found lens is given."""

import csv
from pathlib import Path
from types import SimpleNamespace

import autolens as al
import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.finder import chain
from autolens_ml.applications.finder.chain import (
    FIT_COLUMNS,
    chosen_band,
    chosen_mask_radius,
    fit_found,
)
from autolens_ml.applications.finder.find import FindReport, Found
from autolens_ml.applications.fit import FitReport, Parameter
from autolens_ml.exceptions import DataError, ModelError


def dataset(scale=0.1, side=101, ring=1.4, noise=0.1, neighbour=None):
    """A galaxy with a ring around it, and perhaps a bright neighbour."""
    y, x = np.indices((side, side)) - 0.5 * (side - 1)
    r = scale * np.hypot(y, x)
    values = 5.0 * np.exp(-r / 0.3) + np.exp(-0.5 * ((r - ring) / 0.15) ** 2)
    if neighbour is not None:
        away = scale * np.hypot(y - neighbour / scale, x)
        values += 5.0 * np.exp(-away / 0.15)
    values += noise * np.random.default_rng(0).normal(size=values.shape)

    def array(values):
        return al.Array2D.no_mask(values, pixel_scales=scale)

    psf = al.Convolver.from_gaussian(shape_native=(11, 11), sigma=1.0, pixel_scales=scale)
    return al.Imaging(data=array(values), noise_map=array(np.full_like(values, noise)), psf=psf)


def save(path, bands, scale=0.1, without=()):
    """A file with image, PSF and noise map of each band; PSFs are wider from band to band."""
    units = [fits.PrimaryHDU()]
    data = dataset(scale)
    for i, band in enumerate(bands):
        y, x = np.indices((11, 11)) - 5.0
        psf = np.exp(-0.5 * (y**2 + x**2) / (1.0 + i) ** 2)
        arrays = {
            "BGSUB": data.data.native.array,
            "PSF": psf / psf.sum(),
            "RMS": data.noise_map.native.array,
        }
        for name, values in arrays.items():
            if f"{band}_{name}" not in without:
                unit = fits.ImageHDU(np.asarray(values, np.float32), name=f"{band}_{name}")
                unit.header["PIXSCALE"] = scale
                units.append(unit)
    fits.HDUList(units).writeto(path)
    return path


@pytest.fixture
def fits_made(monkeypatch):
    """What is asked to be fitted, without fitting it."""
    made = []

    def fit_imaging(dataset, model, **options):
        made.append(SimpleNamespace(dataset=dataset, model=model, **options))
        if options["name"] == "worst":
            raise ModelError("no such luck")
        return FitReport(
            search="cnn",
            parameters=(Parameter("galaxies.lens.mass.einstein_radius", 1.4, 0.1, 0.2),),
            log_evidence=12.5,
            log_evidence_error=0.1,
            ess=1000.0,
            pareto_k=0.2,
            status="CONVERGED",
            n_likelihood=10,
            n_gradient=1,
            max_log_likelihood=1.0,
            seconds=1.0,
            resumed=False,
            output=Path("out") / options["name"],
        )

    monkeypatch.setattr(chain, "fit_imaging", fit_imaging)
    return made


def report(tmp_path, *names, bands=("VIS",)):
    rows = tuple(Found(f"{n}.fits", 0.9 - 0.1 * i, True) for i, n in enumerate(names))
    rows += (Found("no-lens.fits", 0.1, False), Found("broken.fits", None, False, "broken"))
    network = SimpleNamespace(bands=list(bands), name="finder")
    return FindReport(tmp_path / "table.csv", network, rows, len(rows), 1.0)


def test_lenses_alone_are_fitted_and_a_failure_ends_nothing(tmp_path, fits_made):
    files = [save(tmp_path / f"{n}.fits", ["VIS"]) for n in ("best", "worst", "last")]
    bare = tmp_path / "bare.fits"
    fits.writeto(bare, np.ones((20, 20), np.float32))
    inputs = [*files, bare]
    found = fit_found(
        report(tmp_path, "best", "worst", "bare", "last"),
        inputs,
        output="fits",
        seed=3,
        max_likelihood_calls=500,
    )
    assert [lens.name for lens in found] == ["best.fits", "worst.fits", "bare.fits", "last.fits"]
    assert [bool(lens.error) for lens in found] == [False, True, True, False]
    assert [made.name for made in fits_made] == ["best", "worst", "last"]
    one = fits_made[0]
    assert (one.output, one.seed, one.max_likelihood_calls) == ("fits", 3, 500)
    # The mask holds the ring of 1.4", and the image is that of the file.
    assert 1.6 < found[0].mask_radius < 2.6
    assert one.dataset.mask.pixels_in_mask == pytest.approx(
        np.pi * (found[0].mask_radius / 0.1) ** 2, rel=0.05
    )
    with open(tmp_path / "table-fits.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(FIT_COLUMNS) and len(rows) == 4
    assert rows[0]["einstein_radius"] == "1.4" and rows[0]["error_plus"] == "0.2"
    assert rows[0]["status"] == "CONVERGED" and rows[0]["band"] == "VIS"
    assert rows[1]["error"] == "no such luck" and rows[1]["model"] == "sie+shear+mge"
    assert "no band with image, PSF and noise map" in rows[2]["error"]


@pytest.mark.parametrize(
    ("scale", "model", "number"), [(0.1, "sie+shear+mge", 17), (0.3, "sie+shear+sersic", 19)]
)
def test_the_model_is_one_that_the_pixels_resolve(tmp_path, fits_made, scale, model, number):
    path = save(tmp_path / "lens.fits", ["J"], scale)
    (lens,) = fit_found(report(tmp_path, "lens", bands=("J",)), [path])
    assert lens.model == model and fits_made[0].model.prior_count == number


def test_a_lens_of_a_mosaic_has_to_be_cut_out_first(tmp_path, fits_made):
    save(tmp_path / "lens.fits", ["VIS"])
    table = tmp_path / "list.csv"
    table.write_text("file,name,ra,dec\nlens.fits,lens.fits,1.0,2.0\n")
    (lens,) = fit_found(report(tmp_path, "lens"), [table])
    assert "save a cut-out" in lens.error and not fits_made


def test_bands_of_their_own_files(tmp_path, fits_made):
    save(tmp_path / "v.fits", ["VIS"])
    save(tmp_path / "j.fits", ["NIR_J"], 0.3)
    table = tmp_path / "list.csv"
    table.write_text("name,J,VIS\nlens.fits,j.fits,v.fits\n")
    (lens,) = fit_found(report(tmp_path, "lens", bands=("VIS", "J")), [table])
    assert lens.band == "VIS" and not lens.error


def test_the_sharpest_whole_band_is_chosen(tmp_path):
    path = save(tmp_path / "a.fits", ["NIR_J", "VIS", "NIR_H"])
    assert chosen_band(path) == "NIR_J"  # whose PSF is the narrowest here
    path = save(tmp_path / "b.fits", ["NIR_J", "VIS"], without=("NIR_J_RMS",))
    assert chosen_band(path) == "VIS"
    path = save(tmp_path / "c.fits", ["VIS"], without=("VIS_PSF",))
    with pytest.raises(DataError, match="no band with image"):
        chosen_band(path)


@pytest.mark.parametrize("ring", [1.0, 2.0, 3.0])
def test_masks_end_where_the_light_does(ring):
    radius = chosen_mask_radius(dataset(ring=ring))
    assert ring + 0.15 < radius < 1.25 * (ring + 0.9)


def test_masks_have_limits():
    # A point, a system as wide as the image, and a bright neighbour far off.
    assert chosen_mask_radius(dataset(ring=50.0, noise=10.0)) == 1.5
    assert chosen_mask_radius(dataset(side=41, ring=2.5)) == pytest.approx(2.05)
    alone = chosen_mask_radius(dataset(ring=1.0))
    assert chosen_mask_radius(dataset(ring=1.0, neighbour=4.0)) == pytest.approx(alone, abs=0.15)
