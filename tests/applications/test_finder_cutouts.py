"""Cut-outs from files of all sorts."""

import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.finder.cutouts import Candidate, candidates_from, cutout_from
from autolens_ml.exceptions import DataError

GRID = {"shape": (66, 66), "pixel_scale": 0.3}


def header(scale=0.3, shape=(66, 66), wcs=False):
    cards = fits.Header()
    if not wcs:
        cards["PIXSCALE"] = scale
        return cards
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CUNIT1"], cards["CUNIT2"] = "deg", "deg"
    cards["CRVAL1"], cards["CRVAL2"] = 150.0, 0.0
    # The middle of the array, in pixels that count from 1.
    cards["CRPIX1"], cards["CRPIX2"] = 0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)
    cards["CD1_1"], cards["CD2_2"] = -scale / 3600.0, scale / 3600.0
    cards["CD1_2"], cards["CD2_1"] = 0.0, 0.0
    return cards


def image(level, shape=(66, 66)):
    values = np.full(shape, level, dtype=np.float32)
    values[0, 0] = -level
    return values


def save(path, primary=None, scale=0.3, **extensions):
    units = [fits.PrimaryHDU(primary, header(scale) if primary is not None else None)]
    for name, values in extensions.items():
        units.append(fits.ImageHDU(values, header(scale), name=name))
    fits.HDUList(units).writeto(path)
    return path


def cut(path, bands, position=None, **options):
    files = path if isinstance(path, dict) else {"": path}
    return cutout_from(Candidate("it", files, position), bands, **{**GRID, **options})


@pytest.mark.parametrize("names", [("NIR_J_BGSUB", "NIR_H_BGSUB"), ("J", "H"), ("EUC_J", "EUC_H")])
def test_bands_are_found_by_the_names_of_extensions(tmp_path, names):
    extra = {"NIR_J_PSF": np.ones((5, 5), np.float32), "NIR_J_RMS": image(9.0)}
    path = save(
        tmp_path / "a.fits", VIS_BGSUB=image(3.0), **{names[0]: image(1.0), names[1]: image(2.0)}
    )
    fits.append(path, extra["NIR_J_PSF"], fits.Header({"EXTNAME": "NIR_J_PSF"}))
    planes = cut(path, ("H", "J"))
    assert planes.shape == (2, 66, 66) and planes.dtype == np.float32
    assert planes[:, 5, 5] == pytest.approx([2.0, 1.0])
    # Pixels stay where they are.
    assert planes[0, 0, 0] == pytest.approx(-2.0)


@pytest.mark.parametrize("where", ["primary", "extension"])
def test_the_only_image_of_a_file_is_that_of_the_only_band(tmp_path, where):
    if where == "primary":
        path = save(tmp_path / "a.fits", image(4.0))
    else:
        path = save(tmp_path / "a.fits", SCI=image(4.0), WHT=image(1.0), ERR=image(2.0))
        with pytest.raises(DataError, match="no image of band J"):
            cut(path, ("J",))
        path = save(tmp_path / "b.fits", SCI=image(4.0), ERR=image(2.0))
    assert cut(path, ("J",))[0, 5, 5] == pytest.approx(4.0)


def test_each_band_may_have_a_file(tmp_path):
    files = {
        "J": save(tmp_path / "j.fits", image(1.0)),
        "H": save(tmp_path / "h.fits", image(2.0)),
    }
    assert cut(files, ("H", "J"))[:, 5, 5] == pytest.approx([2.0, 1.0])
    with pytest.raises(DataError, match="no file for band Y"):
        cut(files, ("Y",))


def test_other_sizes_and_pixel_scales(tmp_path):
    values = np.arange(100.0, dtype=np.float32).reshape(10, 10)
    small = cut(save(tmp_path / "small.fits", values), ("J",))[0]
    assert np.allclose(small[28:38, 28:38], values) and np.isnan(small).sum() == 66**2 - 100
    large = cut(save(tmp_path / "large.fits", image(1.0, (90, 80))), ("J",))[0]
    assert large == pytest.approx(1.0)
    fine = cut(save(tmp_path / "fine.fits", image(1.0, (100, 100)), scale=0.1), ("J",))[0]
    assert fine[20:45, 20:45] == pytest.approx(1.0) and np.isnan(fine).any()
    # What the user says wins over what the header says.
    said = cut(save(tmp_path / "said.fits", image(1.0), scale=7.0), ("J",), given_pixel_scale=0.3)
    assert said[0, 0, 0] == pytest.approx(-1.0)


def test_cut_outs_of_a_mosaic_are_where_the_sky_says(tmp_path):
    mosaic = np.zeros((400, 500), dtype=np.float32)
    mosaic[320, 130] = 100.0
    path = tmp_path / "mosaic.fits"
    fits.writeto(path, mosaic, header(0.3, mosaic.shape, wcs=True))
    # 120.5 rows up, 119.5 columns towards the east, of the middle.
    position = 150.0 + 119.5 * 0.3 / 3600.0, 120.5 * 0.3 / 3600.0
    plane = cut(path, ("J",), position)[0]
    row, column = np.unravel_index(np.nanargmax(plane), plane.shape)
    assert abs(row - 32.5) <= 1.0 and abs(column - 32.5) <= 1.0
    assert np.nansum(plane) == pytest.approx(100.0, rel=1e-3) and np.isfinite(plane).all()
    # At the edge there are no data beyond it, and far outside none at all.
    edge = cut(path, ("J",), (150.0, 199.0 * 0.3 / 3600.0))[0]
    assert 0.4 < np.isnan(edge).mean() < 0.6
    with pytest.raises(DataError, match="lies outside"):
        cut(path, ("J",), (150.0, 1.0))
    with pytest.raises(DataError, match="no sky coordinates"):
        cut(save(tmp_path / "plain.fits", image(1.0)), ("J",), (150.0, 0.0))


def test_damaged_files_are_told_from_missing_ones(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        cut(tmp_path / "none.fits", ("J",))
    (tmp_path / "text.fits").write_text("SIMPLE? not at all")
    with pytest.raises(DataError, match="not a readable FITS file"):
        cut(tmp_path / "text.fits", ("J",))
    whole = save(tmp_path / "whole.fits", image(1.0)).read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) - 9000])
    with pytest.raises(DataError, match="not a readable FITS file"):
        cut(tmp_path / "cut.fits", ("J",))
    # A card that is none, in the place of the blanks behind the last.
    end = whole.rindex(b"END".ljust(80))
    bad = b"CDELT1  = abc def ghi".ljust(80) + b"END".ljust(80)
    (tmp_path / "card.fits").write_bytes(whole[:end] + bad + whole[end + 160 :])
    with pytest.raises(DataError, match="not a readable FITS file"):
        cut(tmp_path / "card.fits", ("J",))
    with pytest.raises(DataError, match="no two-dimensional image"):
        cut(save(tmp_path / "cube.fits", np.ones((2, 9, 9), np.float32)), ("J",))
    with pytest.raises(DataError, match="no data"):
        cut(save(tmp_path / "nan.fits", image(np.nan)), ("J",))
    bare = tmp_path / "bare.fits"
    fits.writeto(bare, image(1.0))
    with pytest.raises(DataError, match="no pixel scale"):
        cut(bare, ("J",))


def test_files_folders_and_catalogues(tmp_path):
    for name in ("b.fits", "a.fits.gz", "c.txt"):
        (tmp_path / name).touch()
    found = candidates_from([tmp_path / "b.fits"], ("J",))
    assert found == [Candidate("b.fits", {"": tmp_path / "b.fits"})]
    assert [c.name for c in candidates_from([tmp_path], ("J",))] == ["a.fits.gz", "b.fits"]

    table = tmp_path / "list.csv"
    table.write_text("file,name\nb.fits,first\na.fits.gz,\n")
    first, second = candidates_from([table], ("J",))
    assert (first.name, first.files) == ("first", {"": tmp_path / "b.fits"})
    assert second.name == "a.fits.gz"
    table.write_text("name,J,H\nx,b.fits,a.fits.gz\n")
    (one,) = candidates_from([table], ("H", "J"))
    assert one.files == {"J": tmp_path / "b.fits", "H": tmp_path / "a.fits.gz"}
    table.write_text("file,ra,dec\nb.fits,150.1,2.2\nb.fits,150.2,2.3\n")
    places = candidates_from([table], ("J",))
    assert [c.position for c in places] == [(150.1, 2.2), (150.2, 2.3)]
    assert len({c.name for c in places}) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,H\nx,b.fits\n", "a column file, or a column for each of J"),
        ("file,ra\nb.fits,1.0\n", "both columns"),
        ("file,ra,dec\nb.fits,north,1.0\n", "row 1 has no ra"),
        ("file\n\nb.fits\nb.fits\n", "two candidates are called b.fits"),
        ("file,J\n,\n", "row 1 names no file"),
    ],
)
def test_bad_catalogues_are_refused(tmp_path, text, words):
    table = tmp_path / "list.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=words):
        candidates_from([table], ("J",))


def test_inputs_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        candidates_from([tmp_path / "nothing"], ("J",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no FITS files"):
        candidates_from([tmp_path / "empty"], ("J",))
    with pytest.raises(DataError, match=r"list\.csv: no such file"):
        candidates_from([tmp_path / "list.csv"], ("J",))
