"""Catalogues: rows and folders in, lenses out; whatever is in them, only our own errors."""

import csv
import errno
import io
import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolens_ml.catalogue.entries import Entry, entries_from, options_of, plain_text
from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import AutolensMLError, DataError
from tests.catalogue.chores import ChoreOptions

# More by the environment, for a long look: benchmarks/catalogue.py sets it to 10,000.
N_EXAMPLES = int(os.environ.get("AUTOLENS_ML_FUZZ", "100"))
fuzzed = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def entries(text, tmp_path, bands=()):
    path = tmp_path / "lenses.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return entries_from(path, ChoreOptions, bands)


def test_rows_name_files_options_and_what_is_carried(tmp_path):
    found = entries(
        "\ufeffname, file ,factor,offset,inverted,table,survey\n"
        "one,a.fits,2.5,-3,yes,psf.fits,Q1\n"
        ",deep/b.fits.gz,,,,,\n",
        tmp_path,
    )
    one, two = found
    assert (one.name, one.key, one.file) == ("one", "one", tmp_path / "a.fits")
    assert one.carried == {"survey": "Q1"}
    assert options_of(one, ChoreOptions()) == ChoreOptions(2.5, -3, True, tmp_path / "psf.fits", 1)
    assert (two.name, two.file, two.cells) == ("b", tmp_path / "deep/b.fits.gz", {})
    assert options_of(two, ChoreOptions(factor=7.0)) == ChoreOptions(factor=7.0)
    assert one.asked != two.asked


def test_bands_have_columns_of_files(tmp_path):
    (found,) = entries("VIS,J,name\nv.fits,j.fits,x\n", tmp_path, ("VIS", "J"))
    assert found.files == {"VIS": tmp_path / "v.fits", "J": tmp_path / "j.fits"}
    assert found.file == tmp_path / "v.fits"


def test_a_folder_has_files_and_folders_of_lenses(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    for name in ("a.fits", "b.fits.gz", "c.fits", "c.fit", "notes.txt"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("")
    (folder / "lens_1").mkdir()
    for name in ("data.fits", "psf.fits", "noise_map.fits"):
        (folder / "lens_1" / name).write_text("")
    (folder / "empty").mkdir()
    found = entries_from(folder, ChoreOptions)
    assert [entry.name for entry in found] == ["a", "b", "c.fit", "c.fits", "lens_1"]
    assert found[-1].file == folder / "lens_1" / "data.fits"
    with pytest.raises(DataError, match="no lenses in it; give a folder of FITS files"):
        entries_from(folder / "empty", ChoreOptions)
    with monkeypatch.context() as patch:
        refused = PermissionError(errno.EACCES, "Permission denied")
        patch.setattr(Path, "iterdir", Mock(side_effect=refused))
        with pytest.raises(DataError, match=r"in: cannot be read \(Permission denied\)"):
            entries_from(folder, ChoreOptions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a column file of paths"),
        ("name\nx\n", "needs a column file of paths"),
        ("file\n", "has no rows; give one for each lens"),
        ("file,x\n,1\n", "row 1 names no file"),
        ("file\na.fits,b.fits\n", "row 1 has more cells than there are columns"),
        ("file,file\na,b\n", "two columns are called file; rename one"),
        ("file,factr\na,1\n", "column factr is unknown, factor is known; rename it"),
        ("file\nx/a.fits\ny/a.fits\n", "1 names stand for two lenses, such as 'a'; give each"),
        ('file\n"a\n', "not a CSV file"),
        (b"file\n\xff\xfe.fits\n", "not text in UTF-8"),
        ("file\na\0b.fits\n", "NUL"),
    ],
)
def test_catalogues_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        entries(text, tmp_path)


HOSTILE = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "con",
    "NUL.txt",
    "a/b",
    "a\\b",
    "a b",
    "ä",
    "\u202egnp",
    "'; DROP TABLE lenses; --",
    "<script>alert(1)</script>",
    "x" * 300,
    "Lens",
    "lens",
    "trailing.",
    "-rf",
    "$(reboot)",
    "a\tb",
)


def test_names_lead_nowhere_and_never_collide(tmp_path):
    text = io.StringIO()
    rows = [("name", "file"), *((name, f"{i}.fits") for i, name in enumerate(HOSTILE))]
    csv.writer(text).writerows(rows)
    found = entries(text.getvalue(), tmp_path)
    assert len({entry.key.lower() for entry in found}) == len(HOSTILE)
    records = Records(tmp_path / "out")
    for entry in found:
        assert entry.key.isascii()
        assert not set(entry.key) & set('/\\ :*?"<>|\0\n')
        assert not entry.key.startswith((".", "-"))
        assert len(entry.key) < 120
        for path in (records.path_of(entry.key), records.folder_of(entry.key)):
            assert path.resolve().is_relative_to((tmp_path / "out").resolve())
    safe = {entry.name: entry.key for entry in found}
    assert safe["x" * 300] != "x" * 300
    # Alone, a plain name is its own key.
    # Not even a name that is made for it has the key of another.
    (made,) = entries("name,file\na b,a.fits\n", tmp_path)
    both = entries(f"name,file\na b,a.fits\n{made.key},b.fits\n", tmp_path)
    assert len({entry.key for entry in both}) == 2
    assert [e.key for e in entries("file\nEUCL-J1_2+3.4.fits\n", tmp_path)] == ["EUCL-J1_2+3.4"]


def test_names_that_no_encoding_knows_are_spelt_out(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"lens\xff\x01.fits")
    (folder / name).write_text("1")
    (entry,) = entries_from(folder, ChoreOptions)
    assert entry.file.read_text() == "1"
    assert entry.name == "lens\\udcff\\x01"
    entry.name.encode("ascii")


@fuzzed
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda s: f"file,{s}")))
def test_any_bytes_are_a_catalogue_or_are_refused(tmp_path, content):
    content = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    try:
        found = entries(content, tmp_path)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len({entry.key.lower() for entry in found}) == len(found) > 0
        for entry in found:
            assert plain_text(entry.name) == entry.name
            try:
                options_of(entry, ChoreOptions())
            except AutolensMLError as error:
                assert str(error)


@fuzzed
@given(st.dictionaries(st.sampled_from(["factor", "offset", "inverted"]), st.text(max_size=12)))
def test_any_cell_is_a_value_or_is_refused(cells):
    entry = Entry("x", "x", {"": Path("x.fits")}, cells)
    try:
        own = options_of(entry, ChoreOptions())
    except AutolensMLError:
        return
    assert isinstance(own.factor, float)
    assert own.offset is None or isinstance(own.offset, int)
    assert isinstance(own.inverted, bool)


@fuzzed
@given(st.binary(max_size=300))
def test_any_bytes_in_place_of_a_record_are_a_record_or_none(tmp_path, content):
    records = Records(tmp_path / "out")
    path = records.path_of("lens")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert records.read("lens") is None
    assert list(records) == []


@pytest.mark.parametrize(
    "change", [{"flags": 5}, {"carried": ["z"]}, {"try": "one"}, {"figures": "a"}, {"asked": None}]
)
def test_an_altered_record_is_none(tmp_path, change):
    records = Records(tmp_path)
    record = {"name": "a", "key": "a", "status": "DONE", "reason": "", "values": {}}
    records.write(record)
    assert records.read("a") == record
    records.path_of("a").write_text(json.dumps(record | change))
    assert records.read("a") is None
