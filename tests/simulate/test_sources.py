"""Source stamps: what a stamp promises, wherever its galaxy comes from."""

import autolens as al
import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from autolens_ml.exceptions import DataError, DataWarning, OptionError
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate import sources
from autolens_ml.simulate.sources import StampLibrary

SIZE = 64


def galaxy(shape=(101, 101), radius=8.0, centre=(0.0, 0.0), angle=30.0, intensity=1.0):
    """An inclined disc [px] with a clump at +y: no reflection leaves it as it is."""
    grid = al.Grid2D.uniform(shape, pixel_scales=1.0, over_sample_size=2)
    disc = al.lp.Sersic(
        centre=centre,
        ell_comps=al.convert.ell_comps_from(axis_ratio=0.6, angle=angle),
        intensity=intensity,
        effective_radius=radius,
        sersic_index=0.5,
    )
    clump = al.lp.GaussianSph(
        centre=(centre[0] + radius, centre[1]), intensity=1.5 * intensity, sigma=0.3 * radius
    )
    return sum(light.image_2d_from(grid).native.array for light in (disc, clump))


def save(folder, **images):
    for name, image in images.items():
        fits.writeto(folder / f"{name}.fits", np.asarray(image, dtype=np.float32))
    return folder


def assert_stamps(library, size):
    """What holds for every library."""
    stamps = library.stamps
    assert stamps.shape == (len(library), size, size) and stamps.dtype == np.float32
    assert len(library.names) == len(set(library.names)) == len(library)
    assert stamps.min() == 0.0 and np.all(stamps.max(axis=(1, 2)) == 1.0)
    for edge in (stamps[:, 0], stamps[:, -1], stamps[:, :, 0], stamps[:, :, -1]):
        assert not edge.any()
    middle = 0.5 * (size - 1)
    centroids = np.array([ndimage.center_of_mass(stamp) for stamp in stamps])
    assert np.max(np.abs(centroids - middle)) < 0.01 * size
    # Ten half-light radii wide, a little less where much light faded out.
    radii = library.half_light_radius * sources.WIDTH / size
    assert radii.max() < 1.08 and radii.min() > 0.93


@pytest.fixture(scope="module")
def deep_field():
    return sources.hubble_deep_field(SIZE)


def test_galaxies_of_the_deep_field(deep_field):
    assert_stamps(deep_field, SIZE)
    # One more or less may depend on how the JPEG is decoded.
    assert 95 <= len(deep_field) <= 107
    assert np.median(deep_field.half_light_radius) == pytest.approx(SIZE / sources.WIDTH, rel=0.05)


def near(library, row, column):
    """Whether a galaxy of the library lies there in the picture [px]."""
    places = np.array([name.split("_")[1:] for name in library.names], dtype=float)
    return bool(np.any(np.hypot(*(places - (row, column)).T) < 4.0))


@pytest.mark.parametrize(
    ("what", "row", "column", "taken"),
    [
        ("face-on spiral", 401, 123, True),
        ("elliptical", 738, 774, True),
        ("edge-on disc", 406, 580, True),
        ("star with spikes", 577, 754, False),
        ("star with spikes", 166, 254, False),
        ("elliptical cut by the edge", 489, 979, False),
        ("one of an overlapping pair", 312, 335, False),
    ],
)
def test_what_the_deep_field_takes_and_leaves(deep_field, what, row, column, taken):
    assert near(deep_field, row, column) is taken, what


def test_deep_field_is_made_once_and_cannot_be_changed(deep_field):
    assert sources.hubble_deep_field(SIZE) is deep_field
    with pytest.raises(ValueError, match="read-only"):
        deep_field.stamps[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        deep_field.half_light_radius[0] = 1.0


def test_odd_sizes_hold_the_same_galaxies(deep_field):
    odd = sources.hubble_deep_field(41)
    assert_stamps(odd, 41)
    assert odd.names == deep_field.names
    ratios = odd.half_light_radius / deep_field.half_light_radius
    assert np.allclose(ratios, 41 / SIZE, rtol=0.08)


def test_stamps_of_one_galaxy_agree_however_it_was_seen(tmp_path):
    rng = np.random.default_rng(0)
    seen = {
        "a_plain": galaxy(),
        "b_off_centre": galaxy(centre=(9.3, -6.6)),
        "c_wide": galaxy(shape=(130, 161)),
        "d_far": galaxy(shape=(70, 70), radius=5.0),
        "e_near": galaxy(shape=(180, 180), radius=14.0),
        "f_bright": 1e4 * galaxy(),
        "g_on_sky": galaxy() + 37.0,
        "h_noisy": galaxy() + rng.normal(scale=0.01, size=(101, 101)),
        "i_with_neighbour": galaxy() + galaxy(centre=(-40.0, 40.0), radius=2.0, intensity=3.0),
    }
    library = sources.from_fits_folder(save(tmp_path, **seen), size=SIZE)
    assert_stamps(library, SIZE)
    assert library.names == tuple(f"{name}.fits" for name in seen)
    for name, stamp in zip(library.names, library.stamps, strict=True):
        assert np.max(np.abs(stamp - library[0])) < 0.06, name
        assert np.sum(np.abs(stamp - library[0])) < 0.04 * library[0].sum(), name
    for radius in library.half_light_radius:
        assert radius == pytest.approx(library.half_light_radius[0], rel=0.03)


def test_shrinking_averages_the_noise(tmp_path):
    big = galaxy(shape=(280, 280), radius=22.0)
    noise = np.random.default_rng(2).normal(scale=0.05 * big.max(), size=big.shape)
    clean, noisy = sources.from_fits_folder(save(tmp_path, a=big, b=big + noise), SIZE).stamps
    core = clean > 0.3
    # Pixels are 3.4 times larger; picking one of them would leave the noise at 0.05.
    assert np.std((noisy - clean)[core]) < 0.025


def test_a_galaxy_ends_where_its_neighbour_begins():
    segment, others = np.zeros((2, 60, 60), dtype=bool)
    segment[20:40, 15:30] = True
    others[20:40, 30:45] = True
    cut = sources._cut_out(np.ones((60, 60)), segment, others)
    assert np.all(cut[25:35, 18:27] == 1.0) and not cut[:, 33:].any()
    assert cut[30, 29] > 0.5 > cut[30, 30]
    # On the free side it falls to zero over the same width around a rim.
    assert cut[30, 14] > 0.5 and not cut[:, :9].any()
    # And so it does where the image cuts it.
    whole = sources._cut_out(np.ones((60, 60)), np.ones((60, 60), dtype=bool), others & segment)
    assert not whole[0].any() and not whole[:, -1].any() and whole[30, 30] == pytest.approx(1.0)
    assert np.max(np.abs(np.diff(whole, axis=0))) < 0.2


def test_a_stamp_has_the_orientation_of_the_file_in_pyautolens(tmp_path):
    image = galaxy()
    library = sources.from_fits_folder(save(tmp_path, disc=image), size=SIZE)
    seen = al.Array2D.from_fits(tmp_path / "disc.fits", pixel_scales=1.0, hdu=0).native.array
    # The galaxy has its clump at +y: in a row above the middle.
    assert np.argwhere(seen == seen.max())[0, 0] < 50
    assert np.argwhere(library[0] == 1.0)[0, 0] < SIZE / 2
    # Rotated by half a turn or mirrored, the stamp would be another.
    step = sources.WIDTH * library.half_light_radius[0] / SIZE
    assert step == pytest.approx(1.0, rel=0.05)
    for other in (library[0][::-1, ::-1], library[0][::-1], library[0][:, ::-1]):
        assert np.max(np.abs(other - library[0])) > 0.2


def test_half_light_radius_is_that_of_the_profile():
    grid = al.Grid2D.uniform((161, 161), pixel_scales=1.0, over_sample_size=4)
    disc = al.lp.SersicSph(effective_radius=9.0, sersic_index=1.0)
    library = StampLibrary.from_stamps(disc.image_2d_from(grid).native.array[None])
    assert library.half_light_radius[0] == pytest.approx(9.0, rel=0.01)

    # As a source it has the size that the class documents.
    p, s = 0.05, 1.5
    light = PixelLight(library[0], pixel_scale=p, scale=s, centre=(0.1, 0.0))
    fine = al.Grid2D.uniform((400, 400), pixel_scales=0.03, over_sample_size=1)
    image = light.image_2d_from(fine).array
    radii = np.hypot(fine.array[:, 0] - 0.1, fine.array[:, 1])
    half = image[radii < s * p * library.half_light_radius[0]].sum() / image.sum()
    assert half == pytest.approx(0.5, abs=0.01)


def test_clumpy_galaxies():
    library = sources.clumpy(12, size=SIZE, seed=4)
    assert_stamps(library, SIZE)
    again, other = sources.clumpy(12, size=SIZE, seed=4), sources.clumpy(12, size=SIZE, seed=5)
    assert np.array_equal(again.stamps, library.stamps)
    assert not np.array_equal(other.stamps, library.stamps)
    # A smooth disc would have one peak.
    peaks = [
        np.sum((stamp == ndimage.maximum_filter(stamp, 3)) & (stamp > 0.05))
        for stamp in library.stamps
    ]
    assert np.mean(peaks) > 2.5


def catalogue(folder, n=5, blank=(), **columns):
    """A catalogue as GalSim's: a table, and images in the units of two files."""
    rng = np.random.default_rng(1)
    units = {"images_n1.fits": [fits.PrimaryHDU()], "images_n2.fits": []}
    rows = []
    for i in range(n):
        name = f"images_n{1 + i % 2}.fits"
        image = rng.normal(scale=0.01, size=(80 + i, 90))
        if i not in blank:
            image += galaxy(shape=image.shape, radius=5.0 + i, angle=30.0 * i)
        kind = fits.ImageHDU if units[name] else fits.PrimaryHDU
        units[name].append(kind(image.astype(np.float32)))
        rows.append((1000 + i, 20.0 + i, name, len(units[name]) - 1))
    for name, hdus in units.items():
        fits.HDUList(hdus).writeto(folder / name)
    table = {
        "IDENT": ("J", [row[0] for row in rows]),
        "MAG": ("D", [row[1] for row in rows]),
        # Names are padded with blanks in the distributed catalogues.
        "GAL_FILENAME": ("A40", [f"{row[2]}  " for row in rows]),
        "GAL_HDU": ("J", [row[3] for row in rows]),
        "PIXEL_SCALE": ("D", [0.03] * n),
    }
    table = {name: value for name, value in (table | columns).items() if value is not None}
    path = folder / "real_galaxy_catalog.fits"
    fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=values) for name, (form, values) in table.items()]
    ).writeto(path)
    return path


def test_catalogue_in_the_format_of_galsim(tmp_path):
    path = catalogue(tmp_path)
    library = sources.from_galsim_cosmos(path, size=SIZE)
    assert_stamps(library, SIZE)
    # File by file.
    assert library.names == ("1000", "1002", "1004", "1001", "1003")
    # Every name has its own image: the discs turn by 30 degrees from one to the next.
    for name, stamp in zip(library.names, library.stamps, strict=True):
        i = int(name) - 1000
        alone = galaxy(shape=(80 + i, 90), radius=5.0 + i, angle=30.0 * i)
        (tmp_path / name).mkdir()
        expected = sources.from_fits_folder(save(tmp_path / name, disc=alone), size=SIZE)
        assert np.corrcoef(stamp.ravel(), expected.stamps.ravel())[0, 1] > 0.99, name

    bright = sources.from_galsim_cosmos(path, size=SIZE, max_magnitude=22.0)
    assert sorted(bright.names) == ["1000", "1001"]
    some = sources.from_galsim_cosmos(path, size=SIZE, number=3, seed=1)
    assert len(some) == 3 and set(some.names) < set(library.names)
    assert sources.from_galsim_cosmos(path, size=SIZE, number=3, seed=1).names == some.names
    draws = {sources.from_galsim_cosmos(path, 32, number=1, seed=i).names for i in range(8)}
    assert len(draws) > 1


def test_galaxies_without_light_are_left_out_aloud(tmp_path):
    path = catalogue(tmp_path, blank=(1, 2))
    with pytest.warns(DataWarning, match="2 of 5 galaxies"):
        library = sources.from_galsim_cosmos(path, size=SIZE)
    assert library.names == ("1000", "1004", "1003")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"GAL_HDU": None}, {}, "no column GAL_HDU; give"),
        ({"GAL_FILENAME": ("A20", ["gone.fits"] * 5)}, {}, "gone.fits: no such file; put it"),
        ({"GAL_HDU": ("J", [9] * 5)}, {}, "images_n1.fits: not a readable FITS file .* whole copy"),
        ({}, {"max_magnitude": 10.0}, "no galaxy is brighter than 10.0; set max_magnitude"),
        ({"blank": range(5)}, {}, "no galaxy has light above its noise; give"),
    ],
)
def test_bad_catalogues_name_the_file_and_the_remedy(tmp_path, columns, options, message):
    path = catalogue(tmp_path, **columns)
    with pytest.raises(DataError, match=message) as error:
        sources.from_galsim_cosmos(path, size=SIZE, **options)
    assert "\n" not in str(error.value) and ".fits" in str(error.value)


def test_what_is_no_catalogue(tmp_path):
    with pytest.raises(DataError, match=r"none\.fits: no such file; give a catalogue"):
        sources.from_galsim_cosmos(tmp_path / "none.fits")
    save(tmp_path, image=galaxy())
    with pytest.raises(DataError, match=r"image\.fits: holds no table .*; give a catalogue"):
        sources.from_galsim_cosmos(tmp_path / "image.fits")
    (tmp_path / "text.fits").write_text("not FITS")
    with pytest.raises(DataError, match=r"text\.fits: holds no table .*; give a catalogue"):
        sources.from_galsim_cosmos(tmp_path / "text.fits")


def cut_short(path):
    fits.writeto(path, np.ones((100, 100)))
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("not FITS"), "not a readable FITS file"),
        (cut_short, "not a readable FITS file"),
        (lambda path: fits.writeto(path, np.ones((3, 50, 50))), "no two-dimensional image"),
        (lambda path: fits.writeto(path, galaxy()[48:53]), "at least 8 x 8"),
        (lambda path: fits.writeto(path, np.where(galaxy() > 1, np.nan, 0.0)), "NaN or infinite"),
        (lambda path: fits.writeto(path, np.ones((50, 50))), "no galaxy above the noise"),
        (lambda path: fits.writeto(path, -galaxy()), "no galaxy above the noise"),
        (lambda path: fits.writeto(path, np.eye(1, 900).reshape(30, 30)), "no galaxy above"),
    ],
)
def test_bad_files_are_named_with_a_remedy(tmp_path, write, message):
    save(tmp_path, a_good=galaxy())
    write(tmp_path / "b_bad.fits")
    with pytest.raises(DataError, match=rf"b_bad\.fits: .*{message}.*(; |, )") as error:
        sources.from_fits_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_fits_files(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"no FITS files .* give the folder"):
            sources.from_fits_folder(folder)


def test_libraries_of_given_arrays():
    arrays = np.stack([galaxy((20, 20), radius=2.0), 5.0 * galaxy((20, 20), radius=3.0)])
    library = StampLibrary.from_stamps(arrays, ["one", "two"])
    assert (len(library), library.size, library.names) == (2, 20, ("one", "two"))
    peaks = arrays.max(axis=(1, 2))[:, None, None]
    assert np.allclose(library.stamps, arrays / peaks, rtol=1e-6)
    assert library[1].dtype == np.float64 and np.array_equal(library[1], library.stamps[1])
    # What the library was made from stays.
    assert arrays[1].max() > 5.0 and arrays.flags.writeable

    for bad, message in (
        (arrays[0], "square ones"),
        (arrays[:, :-1], "square ones"),
        (arrays[:0], "square ones"),
        (arrays * [[[1.0]], [[0.0]]], "stamp two: no light"),
        (np.where(arrays == arrays.max(), np.nan, arrays), "stamp two: no light, or NaN"),
    ):
        with pytest.raises(DataError, match=message):
            StampLibrary.from_stamps(bad, ["one", "two"])
    with pytest.raises(DataError, match="1 names for 2 stamps"):
        StampLibrary.from_stamps(arrays, ["one"])


def test_samples_are_uniform_and_repeatable(deep_field):
    indices = deep_field.sample(100_000, np.random.default_rng(8))
    assert np.array_equal(indices, deep_field.sample(100_000, np.random.default_rng(8)))
    counts = np.bincount(indices, minlength=len(deep_field))
    expected = 100_000 / len(deep_field)
    assert len(counts) == len(deep_field)
    # Chi-squared per degree of freedom: 1 with a standard deviation of 0.14.
    assert 0.4 < np.sum((counts - expected) ** 2) / expected / len(counts) < 1.6


def test_sizes_and_numbers_too_small_are_refused(tmp_path):
    for make in (
        lambda: sources.hubble_deep_field(15),
        lambda: sources.clumpy(1, size=15),
        lambda: sources.from_fits_folder(tmp_path, size=15),
        lambda: sources.from_galsim_cosmos(tmp_path / "catalogue.fits", size=15),
    ):
        with pytest.raises(OptionError, match="set size to 16 or more"):
            make()
    with pytest.raises(OptionError, match="set n to 1 or more"):
        sources.clumpy(0)
