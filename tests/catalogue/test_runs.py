"""Runs: every lens ends with a result or a reason, none twice, none lost."""

import csv
import errno
import fcntl
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from pyarrow import parquet

import autolens_ml as aml
from autolens_ml.catalogue import measuring
from autolens_ml.catalogue import records as records_module
from autolens_ml.catalogue.entries import entries_from
from autolens_ml.catalogue.measuring import Job, measure_chunk
from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import DataError, OptionError
from tests.catalogue import chores
from tests.catalogue.chores import calls, write

pytestmark = pytest.mark.usefixtures("chore")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(out):
    """A run in this process."""

    def run(catalogue, **options):
        return aml.catalogue.run(catalogue, "chore", out, **{"workers": 0} | options)

    return run


def rows_of(out):
    with open(out / "table.csv", newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def test_each_lens_has_a_result_or_a_reason(run, out, tmp_path):
    words = {"a": "3", "b": "refuse", "c": "break", "d": "leave", "e": "warn", "f": "fail"}
    said = []
    report = run(write(tmp_path / "in", **words), progress=said.append)

    assert report.statuses == {"ERROR": 3, "DONE": 2, "FAILED": 1}
    assert (report.n, report.n_measured, report.n_errors) == (6, 6, 3)
    rows = rows_of(out)
    assert list(rows) == list(words)
    assert float(rows["a"]["value"]) == 6.0
    assert rows["b"]["reason"] == "b: refused\\x0afor a reason"
    assert rows["c"]["reason"] == "unexpected KeyError: 'a bug'"
    assert rows["d"]["reason"] == "unexpected SystemExit: 3"
    assert "KeyError: 'a bug'" in (out / "lenses" / "c" / "error.txt").read_text()
    assert not (out / "lenses" / "b" / "error.txt").exists()
    assert rows["e"]["flags"] == "something was changed; told so"
    assert all(float(row["cpu_seconds"]) >= 0.0 for row in rows.values())
    assert said[0] == "6 lenses, 0 of them done"
    assert said[-1].startswith("6 of 6 lenses, 3 without a result, ")
    assert said[-1].endswith(" per hour, 0 s left")
    assert "6 lenses: 3 ERROR, 2 DONE, 1 FAILED" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["n_errors"] == 3


def test_memory_is_that_of_the_worker_after_the_lens(run, out, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_memory", iter([500.0, 300.0]).__next__)
    run(write(tmp_path / "in", a="1", b="2"))
    assert [float(rows_of(out)[name]["memory_mb"]) for name in "ab"] == [500.0, 300.0]
    assert all(float(row["peak_memory_mb"]) > 0.0 for row in rows_of(out).values())


def test_memory_that_is_given_back_is_not_counted():
    before = measuring._memory()
    ballast = np.ones(int(3e7))  # 240 MB
    full, peak = measuring._memory(), measuring._peak_memory()
    del ballast
    assert full - before > 100.0
    assert peak >= full - 1.0
    assert full - measuring._memory() > 100.0


def test_tables_say_the_same(run, out, tmp_path):
    catalogue = write(tmp_path / "in", a="3", b="refuse", c="4")
    assert [path.name for path in run(catalogue).tables] == [
        "table.csv",
        "table.fits",
        "table.parquet",
    ]
    columns = parquet.read_table(out / "table.parquet").to_pydict()
    fits = Table.read(out / "table.fits")
    own = aml.catalogue.read_table(out)
    texts = rows_of(out)
    assert columns["name"] == list(own["name"]) == ["a", "b", "c"]
    assert [str(name).strip() for name in fits["name"]] == ["a", "b", "c"]
    assert columns["value"] == [6.0, None, 8.0]
    np.testing.assert_array_equal(np.ma.filled(own["value"], np.nan), [6.0, np.nan, 8.0])
    np.testing.assert_array_equal(np.ma.filled(fits["value"], np.nan), [6.0, np.nan, 8.0])
    assert [row["value"] for row in texts.values()] == ["6.0", "", "8.0"]
    assert own["process"].dtype.kind == "i"


def test_a_second_call_does_what_is_missing_or_has_no_result(run, out, tmp_path):
    folder = write(tmp_path / "in", a="3", b="refuse", f="fail")
    run(folder)
    before = (out / "records").stat(), Records(out).path_of("a").stat()
    write(folder, b="5", g="7")
    report = run(folder)
    assert report.n_measured == 2
    assert report.statuses == {"DONE": 3, "FAILED": 1}
    rows = rows_of(out)
    assert (float(rows["b"]["value"]), rows["b"]["try"], rows["b"]["reason"]) == (10.0, "2", "")
    assert {key: calls(out, key) for key in "abfg"} == {"a": 1, "b": 2, "f": 1, "g": 1}
    assert Records(out).path_of("a").stat() == before[1]
    assert run(folder).n_measured == 0


def test_failed_fits_are_tried_again_when_asked_with_a_larger_budget(run, out, tmp_path):
    folder = write(tmp_path / "in", a="3", f="fail")
    run(folder)
    report = run(folder, retry_failed=True, budget=2)
    assert report.n_measured == 1
    assert report.statuses == {"DONE": 2}
    with pytest.raises(OptionError, match=r"holds a run with factor 2\.0, not 3\.0; give another"):
        run(folder, factor=3.0)


def test_a_changed_row_is_measured_again(run, out, tmp_path):
    folder = write(tmp_path / "in", a="3", b="4")
    table = tmp_path / "lenses.csv"
    table.write_text("file,factor,z\nin/a.fits,,0.3\nin/b.fits,5,0.4\n")
    run(table)
    rows = rows_of(out)
    assert [float(rows[name]["value"]) for name in "ab"] == [6.0, 20.0]
    assert [rows[name]["z"] for name in "ab"] == ["0.3", "0.4"]
    table.write_text("file,factor,z\nin/a.fits,,0.3\nin/b.fits,7,0.4\n")
    assert run(table).n_measured == 1
    assert float(rows_of(out)["b"]["value"]) == 28.0
    assert folder.exists()


def test_another_file_in_a_row_is_another_lens_to_measure(run, out, tmp_path):
    write(tmp_path / "in", a="3", b="4")
    table = tmp_path / "lenses.csv"
    table.write_text("name,file\nx,in/a.fits\n")
    run(table)
    table.write_text("name,file\nx,in/b.fits\n")
    assert run(table).n_measured == 1
    assert float(rows_of(out)["x"]["value"]) == 8.0
    # What lies elsewhere, in the same places, is the same catalogue.
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (tmp_path / "in", table):
        path.rename(moved / path.name)
    assert run(moved / table.name).n_measured == 0


def test_what_is_carried_may_change_without_a_measurement(run, out, tmp_path):
    write(tmp_path / "in", a="3", b="4")
    table = tmp_path / "lenses.csv"
    table.write_text("file,z\nin/a.fits,0.3\nin/b.fits,0.4\n")
    run(table)
    table.write_text("file,z,Value,catalogue_value,Z\nin/a.fits,0.5,u,v,w\nin/b.fits,0.4,,,\n")
    assert run(table).n_measured == 0
    row = rows_of(out)["a"]
    assert (row["z"], row["catalogue_Z"], row["value"]) == ("0.5", "w", "6.0")
    assert {row["catalogue_Value"], row["catalogue_catalogue_value"]} == {"u", "v"}
    # FITS tells no cases apart.
    names = Table.read(out / "table.fits").colnames
    assert len({name.lower() for name in names}) == len(names) == len(row)


def test_a_record_is_kept_only_for_what_is_asked(run, out, tmp_path):
    """As when a worker of an earlier call ends after the row of its lens was changed."""
    folder = write(tmp_path / "in", a="3")
    run(folder)
    records = Records(out)
    record = records.read("a") | {"asked": "another", "try": 2, "values": {"value": 99.0}}
    records.write(record)
    run(folder)
    assert rows_of(out)["a"]["value"] == "6.0"
    records.write(record | {"try": 4})  # stored while the next try, the fourth, is on its way
    assert measure_chunk_of(folder, out, 4)["values"]["value"] == 6.0


def measure_chunk_of(folder, out, number):
    job = Job(chores.TASK, chores.ChoreOptions(), out)
    (record,) = measure_chunk(job, entries_from(folder, chores.ChoreOptions), [number])
    return record


def test_a_cell_that_means_nothing_is_the_reason_of_its_lens(run, out, tmp_path):
    write(tmp_path / "in", a="3", b="4", c="5", d="6")
    table = tmp_path / "lenses.csv"
    table.write_text(
        "file,factor,inverted\nin/a.fits,many,\nin/b.fits,,maybe\nin/c.fits,0,\nin/d.fits,1,yes\n"
    )
    run(table)
    reasons = {name: row["reason"] for name, row in rows_of(out).items()}
    assert reasons == {
        "a": "factor of 'many': give a number",
        "b": "inverted of 'maybe': give true or false",
        "c": "a factor of 0 leaves nothing; set it to another number",
        "d": "",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": -1.0}, "a factor below 0; set it above"),
        ({"factor": "x"}, "factor of 'x': give a number"),
        ({"mask": 1.0}, "no option 'mask' of this task; known are factor, offset"),
        ({"workers": -1}, "-1 workers; set --workers to 0 or more"),
        ({"scheduler": "tcp://x:1"}, "give one of --workers, --scheduler and --slurm"),
    ],
)
def test_options_that_mean_nothing(run, out, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        run(write(tmp_path / "in", a="1"), **options)
    assert not out.exists()


def test_an_unknown_task_and_a_run_of_another_task(run, out, tmp_path):
    folder = write(tmp_path / "in", a="1")
    with pytest.raises(OptionError, match="no task 'fry'; set --task to one of: find, fit"):
        aml.catalogue.run(folder, "fry", out, workers=0)
    run(folder)
    about = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(about | {"task": "fit"}))
    with pytest.raises(OptionError, match="holds a run with task fit, not chore"):
        run(folder)
    for damaged in ('{"task": "ch', "[1]"):
        (out / "run.json").write_text(damaged)
        with pytest.raises(OptionError, match=r"run\.json: is damaged; remove it and out/records"):
            run(folder)
    (out / "run.json").unlink()
    with pytest.raises(OptionError, match=r"has records but no run\.json"):
        run(folder)


def test_a_folder_in_use_is_left_alone(run, out, tmp_path):
    folder = write(tmp_path / "in", a="1")
    out.mkdir()
    with open(out / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(OptionError, match="another run is writing there"):
            run(folder)
    assert run(folder).statuses == {"DONE": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is no folder"):
        aml.catalogue.run(folder, "chore", tmp_path / "file", workers=0)


def test_half_written_and_foreign_records_are_done_again(run, out, tmp_path):
    folder = write(tmp_path / "in", a="1", b="2", c="3", d="4")
    run(folder)
    records = Records(out)
    whole = records.path_of("a").read_bytes()
    records.path_of("a").write_bytes(whole[: len(whole) // 2])
    records.path_of("b").write_bytes(b"")
    records.path_of("c").write_bytes(b"[1, 2]")
    # A copy of one record under another's name counts as neither.
    records.path_of("d").write_bytes(whole)
    left = records.path_of("a").with_name("a.json.123.tmp")
    left.write_bytes(b"{")
    (out / "table.csv.123.tmp").write_bytes(b"name")
    assert list(Records(out)) == []
    assert run(folder).n_measured == 4
    assert [float(row["value"]) for row in rows_of(out).values()] == [2.0, 4.0, 6.0, 8.0]
    assert not list(out.rglob("*.tmp"))


def test_what_a_killed_worker_left_half_written_is_cleared(run, out, tmp_path):
    folder = write(tmp_path / "in", a="3", b="break")
    for key in "ab":
        (out / "lenses" / key).mkdir(parents=True)
        (out / "lenses" / key / "half-written").write_text("{")
    report = run(folder)
    assert report.statuses == {"DONE": 1, "ERROR": 1}
    assert not list((out / "lenses").rglob("half-written"))


def test_a_lens_that_was_begun_three_times_is_given_up_once(run, out, tmp_path):
    """As when the process of a run without workers is killed at the same lens again and again."""
    folder = write(tmp_path / "in", a="3", b="4")
    records = Records(out)
    assert [records.begin("a", 1) for _ in range(3)] == [1, 2, 3]
    run(folder)
    rows = rows_of(out)
    assert (rows["a"]["status"], rows["a"]["reason"]) == ("ERROR", "worker died")
    assert (calls(out, "a"), calls(out, "b")) == (0, 1)
    run(folder)
    assert (rows_of(out)["a"]["status"], calls(out, "a"), calls(out, "b")) == ("DONE", 1, 1)
    assert not list(out.rglob("*.begun"))


def test_who_can_say_why_a_lens_ended_is_not_dead(run, out, tmp_path):
    folder = write(tmp_path / "in", a="fill")
    for _ in range(4):
        with pytest.raises(OptionError, match="no space left"):
            run(folder)
    write(folder, a="3")
    assert run(folder).statuses == {"DONE": 1}
    assert not list(out.rglob("*.begun"))


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(run, out, tmp_path, monkeypatch):
    folder = write(tmp_path / "in", a="1", b="fill", c="3")
    message = "no space left to write in; free some and give the same command again"
    with pytest.raises(OptionError, match=message):
        run(folder)
    assert set(rows_of(out)) == {"a"}
    write(folder, b="2")
    written = []

    def full(descriptor):
        written.append(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records_module.os, "fsync", full)
    with pytest.raises(OptionError, match=message):
        run(folder)
    monkeypatch.undo()
    monkeypatch.setitem(aml.catalogue.tasks.TASKS, "chore", "tests.catalogue.chores")
    assert written
    assert not list(out.rglob("*.tmp"))
    report = run(folder)
    assert (report.n_measured, report.statuses) == (2, {"DONE": 3})


def test_files_that_may_not_grow_end_the_run_in_words(out, tmp_path):
    """The limit that a system has for a process, in place of a disk that is full."""
    folder = write(tmp_path / "in", **{f"lens_{i}": "1" for i in range(9)})
    code = (
        "import resource, sys\n"
        "from autolens_ml.catalogue import run, tasks\n"
        "from autolens_ml.exceptions import OptionError\n"
        "tasks.TASKS['chore'] = 'tests.catalogue.chores'\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "try:\n"
        f"    run({str(folder)!r}, 'chore', {str(out)!r}, workers=0)\n"
        "except OptionError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "no space left to write in" in done.stdout, done.stderr[-2000:]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    report = aml.catalogue.run(folder, "chore", out, workers=0)
    assert report.statuses == {"DONE": 9}
    assert len(rows_of(out)) == 9


def test_an_interrupted_run_writes_its_table_and_goes_on(run, out, tmp_path):
    folder = write(tmp_path / "in", a="1", b="2", c="3")

    def interrupt(line):
        if line.startswith("2 of"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autolens_ml.catalogue.runs._SAY_EVERY", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run(folder, progress=interrupt)
    assert set(rows_of(out)) == {"a", "b"}
    assert run(folder).n_measured == 1
    assert [calls(out, key) for key in "abc"] == [1, 1, 1]


def test_a_folder_that_may_not_be_written(run, out, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = write(tmp_path / "in", a="1")
    out.mkdir()
    out.chmod(0o500)
    with pytest.raises(OptionError, match="cannot be written; give another --out"):
        run(folder)
    out.chmod(0o700)


def test_a_script_without_a_guard_is_told_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(OptionError, match='if __name__ == "__main__"'):
        run(write(tmp_path / "in", a="1"))


def test_a_catalogue_that_is_not_there(run, tmp_path):
    with pytest.raises(DataError, match="no such catalogue; give a CSV file or a folder"):
        run(tmp_path / "nothing.csv")
