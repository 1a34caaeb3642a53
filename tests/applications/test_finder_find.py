"""Finding: files in, a table out, whatever happens on the way."""

import csv
import json
from importlib import import_module

import numpy as np
import pytest
from astropy.io import fits

from autolens_ml.applications.finder.find import COLUMNS, find, finder_card
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks import architectures
from tests.finders import MIDDLE, stored_finder, untrained_finder

# The package has the function under the name of the module.
module = import_module("autolens_ml.applications.finder.find")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(architectures.ARCHITECTURES, *MIDDLE)


@pytest.fixture
def card(tmp_path):
    return stored_finder(tmp_path / "network").path


def stamp(path, level, seed=0):
    """A point in the middle of noise."""
    values = np.random.default_rng(seed).normal(size=(66, 66)).astype(np.float32)
    values[32:34, 32:34] = level
    fits.writeto(path, values, fits.Header({"PIXSCALE": 0.3}), overwrite=True)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two lenses, two others and a broken file."""
    made = tmp_path / "stamps"
    made.mkdir()
    for name, level in {"a": 2000.0, "b": 50.0, "d": 1500.0, "e": 20.0}.items():
        stamp(made / f"{name}.fits", level)
    (made / "c.fits").write_text("no FITS")
    return made


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_broken_file_has_its_row_and_ends_nothing(folder, card, tmp_path):
    said = []
    report = find(
        [folder],
        network=card,
        output=tmp_path / "t" / "out.csv",
        batch_size=2,
        progress=said.append,
    )
    table = rows(report.output)
    assert list(table[0]) == list(COLUMNS)
    assert [row["name"] for row in table] == [f"{letter}.fits" for letter in "abcde"]
    assert [row["is_lens"] for row in table] == ["1", "0", "0", "1", "0"]
    assert float(table[0]["probability"]) > 0.9 > 0.1 > float(table[1]["probability"])
    assert table[2]["probability"] == "" and "not a readable FITS file" in table[2]["error"]
    assert report.n_failed == 1 and report.n_looked == 5
    assert {lens.name for lens in report.lenses} == {"a.fits", "d.fits"}
    assert "2 lenses among 5 candidates, 1 could not be read" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["n_lenses"] == 2
    assert len(said) == 3 and "5 of 5 candidates" in said[-1]


def test_batches_do_not_matter(folder, card, tmp_path):
    tables = [
        find([folder], network=card, output=tmp_path / f"{n}.csv", batch_size=n).output.read_text()
        for n in (1, 2, 64)
    ]
    assert tables[0] == tables[1] == tables[2]


def test_a_table_that_was_cut_off_goes_on(folder, card, tmp_path, monkeypatch):
    whole = find([folder], network=card, output=tmp_path / "whole.csv", batch_size=2)
    output = tmp_path / "out.csv"
    # Killed while it wrote the third row.
    lines = whole.output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:3]) + lines[4][:7])
    read = []
    original = module.cutout_from
    monkeypatch.setattr(module, "cutout_from", lambda *a: read.append(a[0].name) or original(*a))
    again = find([folder], network=card, output=output, batch_size=2)
    assert read == ["c.fits", "d.fits", "e.fits"] and again.n_looked == 3
    assert output.read_text() == whole.output.read_text()


def test_what_could_not_be_read_is_tried_again(folder, card, tmp_path):
    output = tmp_path / "out.csv"
    find([folder], network=card, output=output)
    stamp(folder / "c.fits", 3000.0)
    report = find([folder], network=card, output=output)
    assert report.n_looked == 1 and report.n_failed == 0 and len(report.lenses) == 3
    assert sorted(row["name"] for row in rows(output)) == [f"{c}.fits" for c in "abcde"]
    # A higher threshold holds for old rows as well.
    strict = find([folder], network=card, output=output, threshold=0.9999999)
    assert strict.n_looked == 0 and len(strict.lenses) < 3


def test_rows_of_others_stay_in_the_table_alone(folder, card, tmp_path):
    output = tmp_path / "out.csv"
    find([folder], network=card, output=output)
    report = find([folder / "a.fits"], network=card, output=output)
    assert [row.name for row in report.rows] == ["a.fits"] and len(rows(output)) == 5


def test_a_table_of_another_network_is_not_mixed(folder, card, tmp_path):
    output = tmp_path / "out.csv"
    find([folder], network=card, output=output)
    other = untrained_finder(tmp_path / "other").path
    with pytest.raises(OptionError, match="made by middle, not by this untrained"):
        find([folder], network=other, output=output)
    output.write_text("a,b\n1,2\n")
    with pytest.raises(OptionError, match="not a table of found lenses"):
        find([folder], network=card, output=output)


def test_networks_of_any_case_and_no_others(monkeypatch, tmp_path):
    asked = []

    def found(network, task):
        asked.append(network)
        if network != "ou-200":
            raise NetworkError("none")
        return "card"

    monkeypatch.setattr(module, "find_card", found)
    assert finder_card("OU-200") == "card" and asked == ["OU-200", "ou-200"]
    with pytest.raises(NetworkError):
        finder_card("nothing")


def test_networks_for_other_tasks_are_refused(folder):
    with pytest.raises(NetworkError, match="lens-finding"):
        find([folder], network="euclid-sie")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1.0}, "--threshold"),
        ({"threshold": -0.1}, "--threshold"),
        ({"batch_size": 0}, "--batch-size"),
        ({"pixel_scale": 0.0}, "--pixel-scale"),
    ],
)
def test_bad_options_are_refused(folder, card, options, words):
    with pytest.raises(OptionError, match=words):
        find([folder], network=card, **options)


def test_nothing_to_look_at(card, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file\n")
    with pytest.raises(DataError, match="nothing to look at"):
        find([table], network=card, output=tmp_path / "out.csv")
