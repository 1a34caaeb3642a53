"""The tasks themselves: fits with PyAutoLens's output, finding, classes; damaged files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import autofit as af
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import autolens_ml as aml
from autolens_ml.applications.fit.run import SEARCHES
from autolens_ml.applications.morphology.look import classify
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.fits_files import refuse_damaged, whole_files
from autolens_ml.catalogue.records import Records
from autolens_ml.catalogue.tasks.find import FindOptions, looked_at
from autolens_ml.catalogue.tasks.fit import FitOptions, fitted, seed_of
from autolens_ml.catalogue.tasks.morphology import MorphologyOptions, classified
from autolens_ml.catalogue.workers import ENVIRONMENT
from autolens_ml.cli import app
from autolens_ml.exceptions import AutolensMLError, DataError, ModelError, NetworkError, OptionError
from autolens_ml.networks import architectures
from autolens_ml.networks.checkpoint import find_card, load_state
from autolens_ml.networks.shear import StampRegressor
from autolens_ml.simulate.instrument import Instrument
from tests.applications.shear.conftest import store
from tests.catalogue.lenses import MASK_RADIUS, MODEL, PIXEL_SCALE, SHAPE, model, simulate, write
from tests.catalogue.test_entries import fuzzed
from tests.finders import untrained_finder
from tests.morphologies import observed, small_systems, stored_classifier
from tests.stored_networks import unsure

ROOT = Path(__file__).parents[2]
RADIUS = "galaxies.lens.mass.einstein_radius"
FIT = {"model": MODEL, "mask_radius": MASK_RADIUS, "figures": False}


@pytest.fixture(scope="module")
def lenses(tmp_path_factory):
    """A lens, and one of each thing that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("lenses")
    dataset = simulate(1.0, 1)
    write(folder / "a.fits", dataset)
    noise = dataset.noise_map.native.array.copy()
    noise[12, 12] = 0.0
    write(folder / "zero.fits", dataset, NOISE_MAP=noise)
    data = dataset.data.native.array.copy()
    data[11, 12] = np.nan
    write(folder / "nan.fits", dataset, DATA=data)
    write(folder / "nopsf.fits", dataset, PSF=None)
    whole = (folder / "a.fits").read_bytes()
    (folder / "cut.fits").write_bytes(whole[: len(whole) // 2])
    axes = whole.replace(b"NAXIS   =                    2", b"NAXIS   =          99999999999", 1)
    (folder / "axes.fits").write_bytes(axes)
    huge = whole.replace(b"NAXIS1  =                   24", b"NAXIS1  =         999999999999", 1)
    (folder / "huge.fits").write_bytes(huge)
    assert len({whole, axes, huge}) == 3
    (folder / "text.fits").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def run(lenses, tmp_path_factory):
    """All of them fitted by a search that ends in seconds."""
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            SEARCHES, "cheap", lambda calls, **common: af.DynestyStatic(nlive=50, **common)
        )
        report = aml.catalogue.run(lenses, "fit", out, workers=0, search="cheap", **FIT)
    return out, report


@pytest.mark.slow
def test_lenses_are_fitted_and_damaged_files_are_refused_in_words(run):
    out, report = run
    assert report.statuses == {"ERROR": 7, "DONE": 1}
    table = {row["name"]: row for row in aml.catalogue.read_table(out)}
    error = max(table["a"][f"{RADIUS}_error_minus"], table["a"][f"{RADIUS}_error_plus"])
    assert abs(table["a"][RADIUS] - 1.0) < 5.0 * error < 0.2
    reasons = {name: row["reason"] for name, row in table.items()}
    assert "noise map has 1 zero or negative pixels" in reasons["zero"]
    assert "data has 1 NaN or infinite pixels" in reasons["nan"]
    assert "no PSF among its images" in reasons["nopsf"]
    assert "bytes, which are not there; give a whole copy" in reasons["cut"]
    assert "NAXIS 99999999999; give a whole copy" in reasons["axes"]
    assert "bytes, which are not there" in reasons["huge"]
    assert "not a FITS file" in reasons["text"]
    assert not any("unexpected" in reason for reason in reasons.values())


@pytest.mark.slow
def test_pyautolens_reads_the_output(run):
    from autofit.aggregator.aggregator import Aggregator

    out, _ = run
    (found,) = Aggregator.from_directory(out / "lenses", completed_only=True)
    radius = found.samples.median_pdf().galaxies.lens.mass.einstein_radius
    assert radius == pytest.approx(1.0, abs=0.05)
    assert found.unique_tag.startswith("a-")


@pytest.mark.slow
def test_posteriors_of_a_run_have_a_page_and_a_population(run):
    out, _ = run
    records = Records(out)
    records.write(records.read("a") | {"name": "again", "key": "again"})
    lenses = aml.catalogue.samples_from(out, "einstein_radius")
    assert [lens.name for lens in lenses] == ["a", "again"]
    for lens in lenses:
        assert lens.weights @ lens.values == pytest.approx(1.0, abs=0.05)
        assert lens.bounds == (0.5, 2.0)
        np.testing.assert_array_equal(lens.log_prior, 0.0)
    with pytest.raises(OptionError, match="no parameter ends in 'mass'; give one of: "):
        aml.catalogue.samples_from(out, "mass")
    with pytest.raises(DataError, match="no fits with status CONVERGED in it"):
        aml.catalogue.samples_from(out, "einstein_radius", ("CONVERGED",))
    done = CliRunner().invoke(
        app, ["catalogue", "population", str(out), "-p", "einstein_radius", "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["n_lenses"] == 2
    assert found["mean"]["low"] < 1.0 < found["mean"]["high"]
    assert json.loads(Path(found["files"][0]).read_text())["mean"] == found["mean"]
    assert Image.open(found["files"][1]).width > 800
    text = aml.catalogue.write_page(out).read_text(encoding="utf-8")
    assert text.count("/image/lens_fit.png") == text.count("/image/corner.png") == 2
    samples = next((out / "lenses" / "a").rglob("samples.csv"))
    samples.write_text(samples.read_text()[:200])
    with pytest.raises(DataError, match=r"a: output that cannot be read .*; fit it again"):
        aml.catalogue.samples_from(out, "einstein_radius")


@pytest.mark.slow
def test_lenses_of_one_shape_share_their_programs(tmp_path):
    """With the variables of workers the second lens compiles nothing, and its values are right."""
    write(tmp_path / "a.fits", simulate(1.0, 1))
    write(tmp_path / "b.fits", simulate(1.3, 2))
    code = f"""
import autofit as af, autolens as al, jax, numpy as np
from collections import Counter
from autofit.non_linear.fitness import Fitness
from autolens_ml.applications.fit import imaging_from_fits
from tests.catalogue.lenses import MASK_RADIUS, model

events = Counter()
jax.monitoring.register_event_listener(lambda name, **kw: events.update([name.split("/")[-1]]))
for name in ("a", "b"):
    dataset = imaging_from_fits({str(tmp_path)!r} + f"/{{name}}.fits", mask_radius=MASK_RADIUS)
    fitted = model()
    point = np.array(fitted.physical_values_from_prior_medians)
    fitness = Fitness(model=fitted, analysis=al.AnalysisImaging(dataset=dataset))
    events.clear()
    value = fitness.call_wrap(point)
    gradient = fitness.call_wrap_value_and_grad(point)
    print("result", name, events["cache_hits"], events["cache_misses"])
    plain = al.AnalysisImaging(dataset=dataset, use_jax=False)
    expected = plain.log_likelihood_function(fitted.instance_from_vector(point))
    np.testing.assert_allclose([value, gradient[0]], expected, rtol=1e-8)
"""
    environment = (
        os.environ | ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("result")]
    (_, _, _, first_misses), (_, _, hits, misses) = lines
    assert int(first_misses) >= 2
    assert (int(hits), int(misses)) == (2, 0)


def test_seeds_of_lenses_depend_on_their_names_alone():
    assert seed_of(1, "a") == seed_of(1, "a")
    assert len({seed_of(1, "a"), seed_of(1, "b"), seed_of(2, "a")}) == 3
    assert seed_of(None, "a") is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"search": "emcee"}, OptionError, "no search 'emcee'"),
        ({"model": "sis"}, ModelError, "no model 'sis'"),
        ({"mask_radius": float("nan")}, OptionError, "mask radius of nan arcsec; set it above 0"),
        ({"psf": "gone.fits"}, DataError, "gone.fits: no such file; set psf to a FITS file"),
    ],
)
def test_what_all_lenses_would_be_refused_for_stops_a_run(
    lenses, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        aml.catalogue.run(lenses, "fit", tmp_path / "out", workers=0, **options)
    assert not (tmp_path / "out").exists()


def test_candidates_are_looked_at_and_altered_weights_are_refused(tmp_path):
    card = untrained_finder(tmp_path / "network", ("J",))
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        image = np.random.default_rng(seed).normal(size=(66, 66)).astype(np.float32)
        fits.writeto(folder / f"{name}.fits", image, fits.Header({"PIXSCALE": 0.3}))
    table = tmp_path / "lenses.csv"
    table.write_text("J,name\nin/a.fits,one\nin/b.fits,two\nin/gone.fits,three\n")
    out = tmp_path / "out"

    report = aml.catalogue.run(table, "find", out, workers=0, network=str(card.path))

    rows = {row["name"]: row for row in aml.catalogue.read_table(out)}
    assert report.n_errors == 1
    assert "gone.fits: no such file; give" in rows["three"]["reason"]
    for name, file in (("one", "a"), ("two", "b")):
        (own,) = aml_find(folder / f"{file}.fits", card.path, tmp_path / f"{file}.csv")
        assert rows[name]["probability"] == pytest.approx(own.probability, abs=1e-6)
        assert rows[name]["status"] == ("LENS" if own.is_lens else "NO LENS")
    weights = next(card.path.parent.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(NetworkError):
        aml.catalogue.run(table, "find", tmp_path / "other", workers=0, network=str(card.path))


def observed_lenses(folder, n=3):
    """FITS files of lenses with all that a network for morphology takes, and arrays of others."""
    population, systems = small_systems()
    images, noise = observed(systems)
    (kernel,) = population.setting.instrument.psf_kernels_from(np.array([0.2]))
    header = fits.Header({"PIXSCALE": 0.2})
    folder.mkdir()
    for i in range(n):
        arrays = {"DATA": images[i], "NOISE": noise[i], "PSF": kernel}
        units = [fits.ImageHDU(array, header, name=name) for name, array in arrays.items()]
        fits.HDUList([fits.PrimaryHDU(), *units]).writeto(folder / f"{i}.fits")
    np.save(folder / "array.npy", 5.0 * images[n])
    return folder


def test_lenses_are_classified_and_damaged_files_are_refused_in_words(tmp_path):
    card = stored_classifier(tmp_path / "network")
    folder = observed_lenses(tmp_path / "in")
    (folder / "cut.fits").write_bytes((folder / "0.fits").read_bytes()[:6000])
    (folder / "bad.npy").write_bytes(b"nothing")
    (folder / "folder.fits").mkdir()
    with fits.open(folder / "1.fits") as units:
        units[:3].writeto(folder / "nopsf.fits")
    names = ("0.fits", "1.fits", "2.fits", "array.npy", "cut.fits", "bad.npy", "nopsf.fits")
    table = tmp_path / "lenses.csv"
    lines = [f"in/{name},," for name in (*names, "gone.fits", "folder.fits")]
    table.write_text("\n".join(["file,pixel_scale,name", *lines, "in/0.fits,0.15,again"]))
    out = tmp_path / "out"
    asked = ["catalogue", "run", str(table), "--task", "morphology", "--workers", "0", "--json"]
    asked += ["--out", str(out), "--set", f"network={card.path}"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output

    rows = {row["name"]: row for row in aml.catalogue.read_table(out)}
    assert json.loads(done.stdout)["n_errors"] == 6
    for name, file in (("0", "0.fits"), ("1", "1.fits"), ("2", "2.fits"), ("array.npy",) * 2):
        (own,) = classify([folder / file], network=card.path).rows
        found = {kind: rows[name][kind] for kind in own.values}
        assert found == pytest.approx(own.values, abs=1e-6)
        assert sum(found.values()) == pytest.approx(1.0)
        verdict = {"no_sub": "NO SUBSTRUCTURE", "cdm": "SUBHALOES", "vortex": "VORTEX"}
        assert rows[name]["status"] == verdict[own.verdict]
        assert bool(rows[name]["flags"]) == (max(found.values()) <= 0.5)
        assert rows[name]["network"] == card.name
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert "bytes, which are not there; give a whole copy" in reasons["cut"]
    assert "not an array" in reasons["bad.npy"]
    assert "no PSF among its images" in reasons["nopsf"]
    assert "gone.fits: no such file; give" in reasons["gone"]
    assert "folder.fits: no such file; give" in reasons["folder"]
    assert 'pixels of 0.15", and the network takes 0.2"' in reasons["again"]
    text = aml.catalogue.write_page(out).read_text(encoding="utf-8")
    assert all(f'title="{name}"' in text for name in ("no_sub", "cdm", "vortex"))


def test_networks_for_morphology_that_cannot_be_used_stop_a_run(tmp_path):
    folder = observed_lenses(tmp_path / "in", 1)
    out = tmp_path / "out"
    finder = untrained_finder(tmp_path / "finder", ("J",))
    for network in ("gone", str(finder.path)):
        with pytest.raises(NetworkError):
            aml.catalogue.run(folder, "morphology", out, workers=0, network=network)
    card = stored_classifier(tmp_path / "network")
    weights = next(card.path.parent.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(NetworkError):
        aml.catalogue.run(folder, "morphology", out, workers=0, network=str(card.path))
    assert not out.exists()


def test_folders_of_images_noise_maps_and_psfs_are_classified(tmp_path):
    card = stored_classifier(tmp_path / "network")
    files = observed_lenses(tmp_path / "files", 2)
    for i in range(2):
        (tmp_path / "in" / f"{i}").mkdir(parents=True)
        with fits.open(files / f"{i}.fits") as units:
            for name, file in (("DATA", "data"), ("NOISE", "noise_map"), ("PSF", "psf")):
                array, header = units[name].data, fits.Header({"PIXSCALE": 0.2})
                fits.writeto(tmp_path / "in" / f"{i}" / f"{file}.fits", array, header)
    (tmp_path / "in" / "1" / "noise_map.fits").unlink()
    out = tmp_path / "out"
    aml.catalogue.run(tmp_path / "in", "morphology", out, workers=0, network=str(card.path))
    rows = {row["name"]: row for row in aml.catalogue.read_table(out)}
    (own,) = classify([files / "0.fits"], network=card.path).rows
    assert {k: rows["0"][k] for k in own.values} == pytest.approx(own.values, abs=1e-6)
    assert "no noise map" in rows["1"]["reason"]
    entry = Entry("x", "x", {"": files / "array.npy"})
    with pytest.raises(DataError, match=r"array\.npy: a PSF or noise map of its own needs a FITS"):
        classified(entry, MorphologyOptions(str(card.path), psf=files / "0.fits"), Path())


CAMERA = Instrument(
    name="camera",
    shape=SHAPE,
    pixel_scale=PIXEL_SCALE,
    psf_fwhm=(0.3, 0.5),
    exposure_time=(50.0, 200.0),
    background_sky_level=0.5,
)


def stored_regressor(folder):
    """A network of stamps that has learned nothing."""
    backbone = {"widths": [8, 8], "depths": [1, 1], "map_size": 2}
    regressor = StampRegressor(["g1"], [-0.4], [0.4], size=(16, 16), backbone_options=backbone)
    return find_card(store(regressor, folder, "stamp-regression"))


@pytest.fixture(params=["find", "morphology", "predict", "shear"])
def with_network(request, lenses, tmp_path):
    """A task, the card of a network for it, and a catalogue of three lenses."""
    card = {
        "find": lambda: untrained_finder(tmp_path / "network", ("J",)),
        "morphology": lambda: stored_classifier(tmp_path / "network"),
        "predict": lambda: unsure(tmp_path / "network", model(), instrument=CAMERA.as_dict()),
        "shear": lambda: stored_regressor(tmp_path / "network"),
    }[request.param]()
    file = lenses / "a.fits"
    if request.param == "find":
        file = tmp_path / "noise.fits"
        image = np.random.default_rng(1).normal(size=(66, 66))
        fits.writeto(file, image, fits.Header({"PIXSCALE": 0.3}))
    if request.param == "morphology":
        file = observed_lenses(tmp_path / "in", 1) / "0.fits"
    if request.param == "shear":
        file = tmp_path / "stamp.fits"
        fits.writeto(file, np.random.default_rng(1).normal(size=(16, 16)))
    table = tmp_path / "lenses.csv"
    table.write_text("name,file\n" + "".join(f"{name},{file}\n" for name in "abc"))
    return request.param, card, table


def test_a_network_is_loaded_once_for_all_lenses(with_network, tmp_path, monkeypatch):
    task, card, table = with_network
    loaded = []

    def counted(network):
        loaded.append(network)
        return load_state(network)

    monkeypatch.setattr(architectures, "load_state", counted)
    out = tmp_path / "out"
    report = aml.catalogue.run(table, task, out, workers=0, network=str(card.path))
    rows = aml.catalogue.read_table(out)
    assert report.n_errors == 0, list(rows["reason"])
    assert len(loaded) == 2  # to check it before the run, and to use it
    assert set(rows["network"]) == {card.name}


def test_files_that_are_none_are_refused_by_every_task(with_network, tmp_path):
    """A pipe that nobody writes to would be read for ever."""
    task, card, table = with_network
    os.mkfifo(tmp_path / "pipe.fits")
    files = {"pipe": "pipe.fits", "long": "x" * 5000 + ".fits", "zero": "/dev/zero"}
    table.write_text("name,file\n" + "".join(f"{k},{v}\n" for k, v in files.items()))
    out = tmp_path / "out"
    aml.catalogue.run(table, task, out, workers=0, network=str(card.path))
    reasons = {row["name"]: row["reason"] for row in aml.catalogue.read_table(out)}
    assert reasons["pipe"].endswith("pipe.fits: neither file nor folder; give a FITS file")
    assert reasons["zero"] == "/dev/zero: neither file nor folder; give a FITS file"
    assert reasons["long"].endswith("xxx: File name too long; give the path of a file")


def test_networks_that_are_damaged_stop_every_task(with_network, tmp_path):
    task, card, table = with_network
    content = bytearray(card.weights.read_bytes())
    content[-5] ^= 1
    card.weights.write_bytes(content)
    with pytest.raises(NetworkError, match="not the weights"):
        aml.catalogue.run(table, task, tmp_path / "out", workers=0, network=str(card.path))
    assert not (tmp_path / "out").exists()


def aml_find(file, network, table):
    from autolens_ml.applications.finder import find

    return find([file], network=network, output=table).rows


def test_options_of_candidates():
    entry = Entry("x", "x", {"": Path("x.fits")})
    with pytest.raises(DataError, match="give both ra and dec, or neither"):
        looked_at(entry, FindOptions(ra=1.0), Path())
    with pytest.raises(OptionError, match="threshold of 2"):
        FindOptions(threshold=2.0)
    with pytest.raises(OptionError, match="pixel scale of 0"):
        FindOptions(pixel_scale=0.0)
    with pytest.raises(DataError, match="no file to fit; give it in a column file"):
        fitted(Entry("x", "x", {"J": Path("x.fits")}), FitOptions(), Path())
    with pytest.raises(DataError, match="no image; give it in a column file"):
        classified(Entry("x", "x", {"J": Path("x.fits")}), MorphologyOptions(), Path())
    with pytest.raises(OptionError, match="pixel scale of nan"):
        MorphologyOptions(pixel_scale=float("nan"))


def test_whole_files_pass(lenses, tmp_path):
    refuse_damaged(lenses / "a.fits")
    with fits.open(lenses / "a.fits") as units:
        units.append(fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.ones(3))]))
        units.append(fits.CompImageHDU(np.ones((8, 8), dtype=np.float32)))
        units.writeto(tmp_path / "more.fits")
        units.writeto(tmp_path / "more.fits.gz")
    for name in ("more.fits", "more.fits.gz"):
        refuse_damaged(tmp_path / name)
    content = (tmp_path / "more.fits.gz").read_bytes()
    (tmp_path / "cut.fits.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="give a whole"):
        refuse_damaged(tmp_path / "cut.fits.gz")
    # Special records may follow the last unit; pictures are not looked at.
    (tmp_path / "tail.fits").write_bytes((lenses / "a.fits").read_bytes() + b"remarks")
    refuse_damaged(tmp_path / "tail.fits")
    (tmp_path / "tail.fits").write_bytes((lenses / "a.fits").read_bytes() + bytes(10**6))
    with pytest.raises(DataError, match=r"more than 288,000 bytes behind its last image; remove"):
        refuse_damaged(tmp_path / "tail.fits")
    (tmp_path / "a.png").write_text("")
    with whole_files([tmp_path / "a.png", None, tmp_path / "gone.fits"]):
        pass


VALUES = ("-1", "0", "1e308", "NaN", "99999999999", "'x'", "T", "1", "64")
KEYS = ("NAXIS", "NAXIS1", "NAXIS2", "BITPIX", "PIXSCALE", "EXTNAME", "PCOUNT", "GCOUNT")
changes = st.lists(
    st.one_of(
        st.tuples(st.just("byte"), st.integers(0, 25919), st.integers(0, 255)),
        st.tuples(st.just("card"), st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.tuples(st.just("cut"), st.integers(0, 25919), st.just(0)),
    ),
    max_size=6,
)


@fuzzed
@given(changes)
def test_damaged_files_are_read_or_refused(lenses, tmp_path, changes):
    from autolens_ml.applications.fit import imaging_from_fits

    content = bytearray((lenses / "a.fits").read_bytes())
    for kind, where, what in changes:
        if kind == "byte" and where < len(content):
            content[where] = what
        if kind == "cut":
            content = content[:where]
        if kind == "card":
            at = content.find(where.ljust(8).encode() + b"= ", len(content) // 3)
            if at >= 0:
                content[at + 10 : at + 30] = what.rjust(20).encode()
    path = tmp_path / "changed.fits"
    path.write_bytes(bytes(content))
    try:
        with whole_files([path]):
            dataset = imaging_from_fits(path, mask_radius=MASK_RADIUS)
    except AutolensMLError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert np.isfinite(dataset.data.array).all()
        assert (dataset.noise_map.array > 0.0).all()
