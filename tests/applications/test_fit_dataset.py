"""Reading a dataset: what is found by name, whose orientation it has, and what is refused."""

import re
from pathlib import Path

import autolens as al
import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.fit.dataset import imaging_from_fits, role_and_band_from
from autolens_ml.exceptions import DataError, DataWarning

EUCLID = Path(__file__).parents[2].parent / "shared" / "data" / "euclid_q1_102018665.fits"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VIS_BGSUB", ("data", "VIS")),
        ("nir_y_rms", ("noise map", "NIR_Y")),
        ("DES_G_PSF", ("PSF", "DES_G")),
        ("PSF_F814W", ("PSF", "F814W")),
        ("NOISE_MAP", ("noise map", "")),
        ("Noise-Map", ("noise map", "")),
        ("sci", ("data", "")),
        ("ERR", ("noise map", "")),
        ("SEGMENTATION", (None, "")),
        ("WHT", (None, "")),
    ],
)
def test_role_and_band(name, expected):
    assert role_and_band_from(name) == expected


def test_orientation_and_values_are_those_of_pyautolens(arrays, write):
    path = write(arrays)

    dataset = imaging_from_fits(path)

    theirs = al.Imaging.from_fits(
        data_path=path,
        data_hdu=1,
        psf_path=path,
        psf_hdu=2,
        noise_map_path=path,
        noise_map_hdu=3,
        pixel_scales=0.2,
    )
    assert np.array_equal(dataset.data.native.array, theirs.data.native.array)
    assert np.array_equal(dataset.data.native.array, arrays["DATA"])
    assert np.array_equal(dataset.noise_map.native.array, arrays["NOISE_MAP"])
    assert np.allclose(dataset.psf.kernel.native.array, arrays["PSF"])
    # The file's first row is the top of the image: the largest y.
    assert dataset.grid.native.array[0, 0, 0] == pytest.approx(0.5 * 0.2 * (20 - 1))


def test_three_files(arrays, write):
    data = write({"DATA": arrays["DATA"]}, "data.fits")
    psf = write({"KERNEL": arrays["PSF"]}, "psf.fits")
    noise = write({"ANYTHING": arrays["NOISE_MAP"]}, "noise.fits")

    dataset = imaging_from_fits(data, psf=psf, noise_map=noise, mask_radius=1.5)

    assert np.array_equal(
        dataset.noise_map.array, arrays["NOISE_MAP"][~np.asarray(dataset.mask.array)]
    )


def test_unnamed_primary_image(arrays, write, tmp_path):
    data = tmp_path / "data.fits"
    fits.PrimaryHDU(arrays["DATA"]).writeto(data)
    rest = write({"PSF": arrays["PSF"], "RMS": arrays["NOISE_MAP"]}, "rest.fits")

    dataset = imaging_from_fits(data, psf=rest, noise_map=rest, pixel_scale=0.1)

    assert dataset.pixel_scales == (0.1, 0.1)
    assert np.array_equal(dataset.data.native.array, arrays["DATA"])


def test_a_band_is_read_whole(arrays, write):
    other = {"G_DATA": 2 * arrays["DATA"], "G_PSF": arrays["PSF"].T, "G_RMS": arrays["NOISE_MAP"]}
    path = write(
        {
            **other,
            "VIS_BGSUB": arrays["DATA"],
            "VIS_PSF": arrays["PSF"],
            "VIS_RMS": 3 * arrays["NOISE_MAP"],
        }
    )

    for dataset in (imaging_from_fits(path, band="vis"), imaging_from_fits(path, hdu="vis_bgsub")):
        assert np.array_equal(dataset.data.native.array, arrays["DATA"])
        assert np.array_equal(dataset.noise_map.native.array, 3 * arrays["NOISE_MAP"])
        assert np.allclose(dataset.psf.kernel.native.array, arrays["PSF"])


def test_extensions_by_number(arrays, write):
    path = write({"A": arrays["NOISE_MAP"], "B": arrays["PSF"], "C": arrays["DATA"]})

    dataset = imaging_from_fits(path, hdu=3, psf_hdu=2, noise_map_hdu="A")

    assert np.array_equal(dataset.data.native.array, arrays["DATA"])


def test_pixel_scale_from_a_celestial_header(arrays, write):
    path = write(arrays, pixel_scale=None)
    with fits.open(path, mode="update") as units:
        units["DATA"].header.update(
            CTYPE1="RA---TAN",
            CTYPE2="DEC--TAN",
            CRVAL1=10.0,
            CRVAL2=-50.0,
            CRPIX1=1.0,
            CRPIX2=1.0,
            CD1_1=-2.777777777778e-05,
            CD1_2=0.0,
            CD2_1=0.0,
            CD2_2=2.777777777778e-05,
        )

    assert imaging_from_fits(path).pixel_scales == (0.1, 0.1)
    assert imaging_from_fits(path, pixel_scale=0.3).pixel_scales == (0.3, 0.3)


def test_psf_is_normalised_and_said_to_be(arrays, write):
    arrays["PSF"] *= 7.0
    with pytest.warns(DataWarning, match=r"PSF sums to 7; it was normalised"):
        dataset = imaging_from_fits(write(arrays))
    assert np.sum(dataset.psf.kernel.array) == pytest.approx(1.0)


def test_sub_pixels_where_they_are_asked_for(arrays, write):
    arrays["DATA"] = arrays["NOISE_MAP"] * np.where(np.arange(24) < 4, 20.0, 4.0)
    path = write(arrays)

    sizes = imaging_from_fits(path, over_sample_size=8).grids.lp.over_sample_size.native.array

    assert (sizes[:, :4] == 8).all() and (sizes[:, 4:] == 2).all()
    once = imaging_from_fits(path, over_sample_size=1).grids.lp.over_sample_size
    assert (once.array == 1).all()
    usual = imaging_from_fits(path).grids.lp.over_sample_size.native.array
    assert usual[10, 12] == 4 and usual[0, 0] == 1


def test_bad_pixels_outside_the_mask_do_not_matter(arrays, write):
    arrays["DATA"][0, 0] = np.nan
    arrays["NOISE_MAP"][19, 23] = 0.0
    dataset = imaging_from_fits(write(arrays), mask_radius=1.5)
    assert np.isfinite(dataset.data.array).all()


def spoil(**changes):
    return lambda arrays: arrays.update(
        {name: change(arrays[name].copy()) for name, change in changes.items()}
    )


def put(value):
    def change(array):
        array[10, 12] = value
        return array

    return change


BAD_ARRAYS = {
    "no PSF": (lambda a: a.pop("PSF"), "no PSF among its images .*give it with --psf FILE"),
    "no noise map": (lambda a: a.pop("NOISE_MAP"), "no noise map among .* --noise-map FILE"),
    "only weights": (
        lambda a: a.update(WHT=a.pop("NOISE_MAP")),
        "no noise map, only 3 WHT, .*convert it to the RMS error",
    ),
    "no data": (
        lambda a: (a.pop("DATA"), a.update(A=a["PSF"], B=a["PSF"])),
        "cannot tell which image is the data; set --hdu to one of: 1 PSF, 2 NOISE_MAP, 3 A, 4 B",
    ),
    "zero noise": (
        spoil(NOISE_MAP=put(0.0)),
        r"noise map has 1 zero or negative pixels .*row 10, column 12\); give those pixels",
    ),
    "negative noise": (spoil(NOISE_MAP=put(-1.0)), "noise map has 1 zero or negative pixels"),
    "NaN noise": (spoil(NOISE_MAP=put(np.nan)), "noise map has 1 NaN or infinite pixels"),
    "NaN data": (spoil(DATA=put(np.nan)), "data has 1 NaN or infinite pixels inside the mask"),
    "all zero": (spoil(DATA=np.zeros_like), "every pixel inside the mask is 0; set --hdu"),
    "even PSF": (spoil(PSF=lambda a: a[:4, :]), "PSF of 4 x 5 px has no central pixel; resample"),
    "NaN PSF": (spoil(PSF=lambda a: a * np.nan), "PSF has 25 NaN or infinite pixels; replace"),
    "PSF of nothing": (spoil(PSF=np.zeros_like), "PSF sums to 0; give a PSF"),
    "shapes": (
        spoil(NOISE_MAP=lambda a: a[:, :-1]),
        "noise map of 20 x 23 px for an image of 20 x 24 px; give the noise map of this image",
    ),
    "a cube": (
        lambda a: [a.update({name: np.stack([array] * 3)}) for name, array in list(a.items())],
        "arrays of shape 3 x 20 x 24, .*a two-dimensional image is needed",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_words(case, arrays, write):
    change, message = BAD_ARRAYS[case]
    change(arrays)
    with pytest.raises(DataError, match=message) as error:
        imaging_from_fits(write(arrays))
    assert "\n" not in str(error.value)


BAD_OPTIONS = {
    "no scale": ({}, None, "no pixel scale in the header; give it with --pixel-scale"),
    "negative scale": ({"pixel_scale": -0.1}, None, "give --pixel-scale above 0"),
    "large mask": ({"mask_radius": 2.5}, 0.2, "set --mask-radius between 0 and 2$"),
    "no mask": ({"mask_radius": 0.0}, 0.2, "set --mask-radius between 0 and 2$"),
    "empty mask": ({"mask_radius": 0.01}, 0.2, "holds no pixel of 0.2 arcsec; set a larger"),
    "no such band": ({"band": "VIS"}, 0.2, "has no band 'VIS'; leave --band out"),
    "no such hdu": ({"hdu": "FLUX"}, 0.2, "no image 'FLUX' for the data; set --hdu to one of: 1 D"),
    "no such psf": ({"psf_hdu": "9"}, 0.2, "no image '9' for the PSF; set --psf-hdu to one of"),
    "no such file": ({"psf": "nope.fits"}, 0.2, "nope.fits: no such file"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_refused_in_words(case, arrays, write):
    options, scale, message = BAD_OPTIONS[case]
    with pytest.raises(DataError, match=message) as error:
        imaging_from_fits(write(arrays, pixel_scale=scale), **options)
    assert "\n" not in str(error.value)


def test_several_bands_ask_for_one(arrays, write):
    path = write({"G_SCI": arrays["DATA"], "R_SCI": arrays["DATA"]})
    with pytest.raises(DataError, match=r"several bands; set --band to one of: G, R$"):
        imaging_from_fits(path)
    with pytest.raises(DataError, match=r"no band 'I'; set --band to one of: G, R$"):
        imaging_from_fits(path, band="i")


@pytest.mark.parametrize("content", [b"", b"not a FITS file at all", b"SIMPLE  =   T" + b" " * 99])
def test_a_file_that_is_not_fits(tmp_path, content):
    path = tmp_path / "lens.fits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))) as error:
        imaging_from_fits(path)
    assert "\n" not in str(error.value)


def test_pixels_that_are_not_square(arrays, write):
    path = write(arrays, pixel_scale=None)
    with fits.open(path, mode="update") as units:
        units["DATA"].header.update(
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CDELT1=-1e-4, CDELT2=2e-4, CRVAL2=0.0
        )
    with pytest.raises(DataError, match=r"pixels of 0.72 x 0.36 arcsec are not square"):
        imaging_from_fits(path)


@pytest.mark.skipif(not EUCLID.is_file(), reason=f"the real lens {EUCLID.name} is not here")
def test_real_euclid_lens():
    with pytest.warns(DataWarning, match="VIS_PSF"):
        dataset = imaging_from_fits(EUCLID, band="VIS", mask_radius=3.0)

    assert dataset.pixel_scales == (0.1, 0.1)
    assert dataset.data.shape == (2828,)
    assert dataset.psf.kernel.shape_native == (21, 21)
    image = fits.getdata(EUCLID, "VIS_BGSUB")
    assert np.array_equal(dataset.data.array, image[~np.asarray(dataset.mask.array)].astype(float))
    signal_to_noise = dataset.signal_to_noise_map.native.array
    row, column = np.unravel_index(np.argmax(signal_to_noise), signal_to_noise.shape)
    # The lens galaxy, of peak signal-to-noise 29, stands at the centre.
    assert signal_to_noise.max() == pytest.approx(29.0, abs=1.0)
    assert abs(row - 50) <= 2
    assert abs(column - 50) <= 2
