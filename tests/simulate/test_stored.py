"""Sets on disk: what is read is what was simulated, also after an interruption."""

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import autofit as af
import autolens as al
import h5py
import numpy as np
import pytest

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate import stored
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.stored import open_set, write_fits, write_hdf5
from tests.simulate import models

N = 150


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Two batches: of two chunks and of what is left."""
    monkeypatch.setattr("autolens_ml.simulate.population._BATCH_SIZE", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.fixture(scope="module")
def small():
    return Population(models.small_model(), models.SMALL_CAMERA)


@pytest.fixture(scope="module")
def hdf5(plain, tmp_path_factory):
    return write_hdf5(plain, N, 3, tmp_path_factory.mktemp("sets") / "new" / "set.h5", planes=True)


def test_hdf5_holds_what_was_simulated(hdf5, plain, plain_lenses):
    with open_set(hdf5) as lenses:
        assert len(lenses) == N
        for name in ("parameters", "latents", "psf_fwhm", "exposure_times", "stamps"):
            expected = getattr(plain_lenses, name)
            np.testing.assert_array_equal(getattr(lenses, name)[:], expected, err_msg=name)
        for name in ("data", "noise_maps", "planes"):
            expected = getattr(plain_lenses, name).astype(np.float32)
            np.testing.assert_array_equal(getattr(lenses, name)[:], expected, err_msg=name)
        assert (lenses.names, lenses.seed) == (plain.names, 3)
        assert lenses.instrument == plain.instrument
        assert lenses.population["max_source_offset"] == 0.6
        assert set(lenses.versions) >= {"autolens_ml", "autolens", "jax"}
        model = af.AbstractPriorModel.from_dict(lenses.population["model"])
    again = Population(model, plain.instrument, max_source_offset=0.6)
    assert sorted(again.names) == sorted(plain.names)


def test_hdf5_gives_datasets(hdf5, plain_lenses):
    with open_set(hdf5) as lenses:
        datasets = [dataset for _, dataset in zip(range(2), lenses, strict=False)]
        datasets.append(lenses[-1])
        with pytest.raises(IndexError, match="lens 150 of 150"):
            lenses[N]
    for index, dataset in zip((0, 1, N - 1), datasets, strict=True):
        expected = plain_lenses.imaging_from(index)
        assert dataset.pixel_scales == expected.pixel_scales
        for name in ("data", "noise_map"):
            found, wanted = (getattr(d, name).native.array for d in (dataset, expected))
            np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=name)
        psf, wanted = (d.psf.kernel.native.array for d in (dataset, expected))
        np.testing.assert_array_equal(psf, wanted)


def test_planes_are_left_out_unless_asked_for(small, tmp_path):
    with open_set(write_hdf5(small, 3, 0, tmp_path / "set.h5")) as lenses:
        assert lenses.planes is None


def test_any_program_can_read_the_file(hdf5, plain):
    with h5py.File(hdf5) as file:
        assert file["data"].shape == (N, 21, 26)
        assert list(file["names"].asstr()) == list(plain.names)
        assert json.loads(file["population"][()])["seed"] == 3


@pytest.mark.parametrize("at", range(1, 6))
def test_what_a_killed_process_leaves_is_continued(at, plain, plain_lenses, tmp_path, monkeypatch):
    """The file as it is on disk just before each time that it is brought up to date."""
    path, left = tmp_path / "set.h5", tmp_path / "left"
    calls, sync = [], stored._sync

    def snapshot(file):
        calls.append(1)
        if len(calls) == at:
            shutil.copytree(tmp_path, left, ignore=shutil.ignore_patterns("left"))
        sync(file)

    monkeypatch.setattr(stored, "_sync", snapshot)
    write_hdf5(plain, N, 3, path)
    assert len(calls) == 5  # one for the empty file, two for each batch
    monkeypatch.setattr(stored, "_sync", sync)
    progress = []
    continued = write_hdf5(plain, N, 3, left / "set.h5", say=lambda *done: progress.append(done))
    # A batch counts when its lenses have been brought to the disk.
    assert progress[0][0] in {1: [0], 2: [0], 3: [0, 128], 4: [128], 5: [128, N]}[at]
    assert progress[-1] == (N, N)
    assert (left / "set.h5.partial").exists() is False
    with open_set(continued) as lenses:
        np.testing.assert_array_equal(lenses.data[:], plain_lenses.data.astype(np.float32))
        np.testing.assert_array_equal(lenses.parameters[:], plain_lenses.parameters)


def test_what_is_there_is_not_made_again(hdf5, plain):
    before = hdf5.stat().st_mtime_ns
    progress = []
    write_hdf5(plain, N, 3, hdf5, planes=True, say=lambda *done: progress.append(done))
    assert progress == [(N, N)]
    assert hdf5.stat().st_mtime_ns == before


def test_the_same_population_made_again_is_the_same(hdf5):
    """Numbers that autofit counts in a process tell nothing of the model."""
    again = Population(models.plain_model(), models.CAMERA, max_source_offset=0.6)
    write_hdf5(again, N, 3, hdf5, planes=True)


OTHERS = {
    "seed": (lambda p: p, 4, N, "seed"),
    "n": (lambda p: p, 3, N + 1, "n"),
    "limit": (lambda p: Population(p.model, p.instrument), 3, N, "max_source_offset"),
    "model": (
        lambda p: Population(models.small_model(), p.instrument, max_source_offset=0.6),
        3,
        N,
        "model",
    ),
    "instrument": (
        lambda p: Population(p.model, replace(p.instrument, read_noise=3.0), max_source_offset=0.6),
        3,
        N,
        "instrument",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("suffix", ["", ".partial"])
def test_another_set_is_not_overwritten(case, suffix, hdf5, plain, tmp_path):
    make, seed, n, differs = OTHERS[case]
    shutil.copy(hdf5, tmp_path / f"set.h5{suffix}")
    message = f"holds another set, which differs in {differs}: give another output, or delete it"
    with pytest.raises(OptionError, match=message):
        write_hdf5(make(plain), n, seed, tmp_path / "set.h5", planes=True)


def test_stamps_belong_to_the_population(rich, tmp_path):
    path = write_hdf5(rich, 1, 0, tmp_path / "set.h5")
    ((name, library),) = rich.stamps.items()
    flipped = replace(library, stamps=library.stamps[:, ::-1])
    other = Population(rich.model, rich.instrument, noise_units=True, stamps={name: flipped})
    with pytest.raises(OptionError, match="differs in stamps"):
        write_hdf5(other, 1, 0, path)


def test_files_that_are_no_sets(hdf5, tmp_path, small):
    with pytest.raises(DataError, match="no such file; give a file"):
        open_set(tmp_path / "nothing.h5")
    shutil.copy(hdf5, tmp_path / "set.h5.partial")
    with pytest.raises(DataError, match="no such file; run the command that began it again"):
        open_set(tmp_path / "set.h5")
    (tmp_path / "text.h5").write_text("text")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name, message in (("text.h5", "no HDF5 file"), ("other.h5", "not a set of simulated")):
        with pytest.raises(DataError, match=message):
            open_set(tmp_path / name)
        with pytest.raises(DataError, match=message):
            write_hdf5(small, 1, 0, tmp_path / name)


def test_two_processes_do_not_write_one_file(plain, small, tmp_path, monkeypatch):
    def again(done, n):
        with pytest.raises(DataError, match="another process writes it"):
            stored._opened(tmp_path / "set.h5.partial", "w")

    write_hdf5(small, 10, 0, tmp_path / "set.h5", say=again)


@pytest.mark.parametrize("write", [write_hdf5, write_fits])
@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-5, 0), (1, -1), (1.5, 0)])
def test_numbers_are_checked_before_anything_is_written(write, n, seed, small, tmp_path):
    with pytest.raises(OptionError):
        write(small, n, seed, tmp_path / "set")
    assert not any(tmp_path.iterdir())


def test_a_disk_that_is_too_small(small, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 10**6))
    with pytest.raises(OptionError, match=r"1000 lenses take 0\.0 GB, and 0\.0 GB are free"):
        write_hdf5(small, 1000, 0, tmp_path / "set.h5")


def resident():
    """Memory of this process [MB]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_number(small, tmp_path, monkeypatch):
    monkeypatch.setattr("autolens_ml.simulate.population._BATCH_SIZE", 2**24)
    n, memory = 12_000, []
    write_hdf5(small, n, 0, tmp_path / "set.h5", say=lambda *done: memory.append(resident()))
    # All lenses together would be three times as large as what is allowed here.
    size = n * 16 * 16 * 8 * 4 / 2**20
    assert len(memory) > 10
    assert memory[-1] - memory[2] < size / 3.0


def test_fits_folders_are_what_pyautolens_reads(rich, rich_lenses, tmp_path):
    folder = write_fits(rich, 3, 11, tmp_path / "set")
    assert sorted(os.listdir(folder)) == [
        "lens_0000000",
        "lens_0000001",
        "lens_0000002",
        "population.json",
    ]
    for index in range(3):
        lens = folder / f"lens_000000{index}"
        info = json.loads((lens / "info.json").read_text())
        dataset = al.Imaging.from_fits(
            data_path=lens / "data.fits",
            noise_map_path=lens / "noise_map.fits",
            psf_path=lens / "psf.fits",
            pixel_scales=info["pixel_scale"],
        )
        expected = rich_lenses.imaging_from(index)
        for name in ("data", "noise_map"):
            found, wanted = (getattr(d, name).native.array for d in (dataset, expected))
            np.testing.assert_array_equal(found, wanted, err_msg=name)
        psf, wanted = (d.psf.kernel.native.array for d in (dataset, expected))
        np.testing.assert_allclose(psf, wanted, rtol=1e-12)
        values = dict(zip(rich.names, rich_lenses.parameters[index], strict=True))
        assert info["parameters"] == values
        assert info["redshifts"] == {
            "galaxies.lens": 0.5,
            "galaxies.middle": 0.8,
            "galaxies.source": 2.0,
            "extra_galaxies.neighbour": 0.5,
        }
        stamp = ("first", "second")[rich_lenses.stamps[index, 0]]
        assert info["stamps"] == {"galaxies.source.structure": stamp}
        assert (info["psf_fwhm"], info["exposure_time"]) == (
            rich_lenses.psf_fwhm[index],
            rich_lenses.exposure_times[index],
        )


def test_a_lens_is_where_its_light_is(tmp_path):
    """The lens galaxy at upper right: rows count from the top, and FITS does not turn them."""
    model = models.small_model()
    model.galaxies.lens.light = af.Model(
        al.lp.GaussianSph, centre=(1.0, 0.5), intensity=500.0, sigma=0.2
    )
    population = Population(model, models.SMALL_CAMERA)
    folder = write_fits(population, 1, 0, tmp_path / "set") / "lens_0000000"
    data = al.Array2D.from_fits(file_path=folder / "data.fits", pixel_scales=0.25)
    brightest = np.argmax(data.array)
    y, x = al.Grid2D.uniform(shape_native=(16, 16), pixel_scales=0.25).array[brightest]
    assert (abs(y - 1.0), abs(x - 0.5)) <= (0.13, 0.13)


def test_headers_have_the_pixel_scale(small, tmp_path):
    from autolens_ml.applications.fit import imaging_from_fits

    lens = write_fits(small, 1, 0, tmp_path / "set") / "lens_0000000"
    dataset = imaging_from_fits(
        lens / "data.fits",
        psf=lens / "psf.fits",
        noise_map=lens / "noise_map.fits",
        mask_radius=1.5,
    )
    assert dataset.pixel_scales == (0.25, 0.25)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_fits_folders_are_continued_and_extended(small, tmp_path, monkeypatch):
    whole = contents(write_fits(small, 70, 5, tmp_path / "whole"))
    folder = tmp_path / "part"
    replaced, n_left = os.replace, [66]

    def killed(source, target):
        if Path(target).name.startswith("lens_"):
            n_left[0] -= 1
            if n_left[0] == 0:
                raise KeyboardInterrupt
        replaced(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_fits(small, 68, 5, folder)
    monkeypatch.setattr(os, "replace", replaced)
    assert (folder / "lens_0000065.partial").is_dir()
    assert not (folder / "lens_0000065").exists()
    kept = (folder / "lens_0000064" / "data.fits").stat().st_mtime_ns
    progress = []
    write_fits(small, 68, 5, folder, say=lambda *done: progress.append(done))
    assert progress == [(64, 68), (68, 68)]
    write_fits(small, 70, 5, folder)
    assert (folder / "lens_0000064" / "data.fits").stat().st_mtime_ns == kept
    assert contents(folder) == whole
    write_fits(small, 70, 5, folder, say=lambda *done: progress.append(done))
    assert progress[2:] == [(70, 70)]


def test_fits_folders_that_are_taken(small, tmp_path):
    folder = write_fits(small, 1, 5, tmp_path / "set")
    with pytest.raises(OptionError, match="differs in seed"):
        write_fits(small, 1, 6, folder)
    with pytest.raises(OptionError, match="differs in instrument"):
        write_fits(Population(small.model, INSTRUMENTS["lsst"]), 1, 5, folder)
    with pytest.raises(OptionError, match="holds something else: give a new folder"):
        write_fits(small, 1, 5, folder / "lens_0000000")
    with pytest.raises(OptionError, match="holds something else: give a new folder"):
        write_fits(small, 1, 5, folder / "population.json")
    (folder / "population.json").write_text("{")
    with pytest.raises(DataError, match=r"population\.json: damaged; delete"):
        write_fits(small, 1, 5, folder)
