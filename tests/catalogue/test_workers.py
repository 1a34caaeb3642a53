"""Workers that die, schedulers that restart, clusters that are not there."""

import sys
import types
from collections import Counter

import pytest
from distributed import LocalCluster

import autolens_ml as aml
from autolens_ml.catalogue import workers as workers_module
from autolens_ml.catalogue.measuring import WORKER_DIED
from autolens_ml.catalogue.records import Records
from autolens_ml.catalogue.workers import ENVIRONMENT, Workers
from autolens_ml.exceptions import OptionError
from tests.catalogue.chores import calls, write

pytestmark = pytest.mark.usefixtures("chore")


def run(tmp_path, **options):
    return aml.catalogue.run(tmp_path / "in", "chore", tmp_path / "out", **options)


def threads(port=0):
    """A cluster in this process, reached by its address as one elsewhere is."""
    return LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        scheduler_port=port,
        dashboard_address=None,
    )


@pytest.mark.slow
def test_workers_may_die_and_no_lens_is_lost_or_done_twice(tmp_path):
    # All deaths are in the first chunk, beside lenses that are to be spared.
    numbers = {f"n{i:02d}": str(i) for i in range(12)}
    write(tmp_path / "in", **numbers, die="die", once="die-once", no="refuse")
    said = []

    report = run(tmp_path, workers=2, progress=said.append)

    assert report.statuses == {"DONE": 13, "ERROR": 2}
    table = {row["name"]: row for row in aml.catalogue.read_table(tmp_path / "out")}
    assert len(table) == len(list(Records(tmp_path / "out"))) == 15
    assert table["die"]["reason"] == WORKER_DIED
    assert table["no"]["reason"] == "no: refused\\x0afor a reason"
    assert all(table[name]["value"] == 2.0 * i for i, name in enumerate(numbers))
    # What was done before a worker died is not done again.
    assert all(calls(tmp_path / "out", name) == 1 for name in numbers)
    assert {name: calls(tmp_path / "out", name) for name in ("die", "once")} == {
        "die": 3,
        "once": 2,
    }
    assert not list((tmp_path / "out").rglob("*.begun"))
    assert table["n00"]["environment"] == "1"
    assert any("scheduler tcp://" in line or "dashboard " in line for line in said)


def test_a_scheduler_may_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "_PATIENCE", 5.0)
    monkeypatch.setattr("autolens_ml.catalogue.runs._SAY_EVERY", 0.0)
    write(tmp_path / "in", **{f"n{i}": str(i) for i in range(8)})
    clusters = [threads()]
    address = clusters[0].scheduler_address
    said = []

    def restart(line):
        said.append(line)
        if line.startswith("4 of 8") and len(clusters) == 1:
            clusters[0].close()
            clusters.append(threads(int(address.rpartition(":")[2])))

    try:
        report = run(tmp_path, scheduler=address, progress=restart)
    finally:
        for cluster in clusters:
            cluster.close()
    assert len(clusters) == 2
    assert f"the scheduler at {address} does not answer: trying again" in said
    assert report.statuses == {"DONE": 8}
    assert Counter(calls(tmp_path / "out", f"n{i}") for i in range(8)) == {1: 8}


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "_PATIENCE", 0.2)
    write(tmp_path / "in", a="1")
    with pytest.raises(
        OptionError, match=r"the scheduler at tcp://127\.0\.0\.1:1 is gone; start it"
    ):
        run(tmp_path, scheduler="tcp://127.0.0.1:1")
    assert run(tmp_path, workers=0).statuses == {"DONE": 1}


def test_workers_of_another_environment_and_errors_without_words(tmp_path, monkeypatch):
    write(tmp_path / "in", a="1")

    def missing(*given):
        raise ModuleNotFoundError("No module named 'autolens_ml'")

    cluster = threads()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(workers_module, "measure_chunk", missing)
            message = r"cannot take up the task \(No module named 'autolens_ml'\); install this"
            with pytest.raises(OptionError, match=message):
                run(tmp_path, scheduler=cluster.scheduler_address)
    finally:
        cluster.close()

    def slow(**options):
        raise TimeoutError

    monkeypatch.setattr("distributed.LocalCluster", slow)
    with pytest.raises(OptionError, match=r"no local workers \(TimeoutError\); in a script"):
        run(tmp_path, workers=1)


def test_slurm_is_asked_for_jobs_with_the_variables_of_workers(tmp_path, monkeypatch):
    asked = {}

    class SLURMCluster(LocalCluster):
        def __init__(self, **options):
            if "colour" in options:
                raise TypeError("got an unexpected keyword argument 'colour'")
            asked.update(options)
            super().__init__(
                n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None
            )

        def scale(self, n=0, jobs=0):
            if jobs:
                asked["jobs"] = jobs
                super().scale(1)

    module = types.ModuleType("dask_jobqueue")
    module.SLURMCluster = SLURMCluster
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    write(tmp_path / "in", a="1", b="2")

    report = run(tmp_path, slurm={"queue": "cpu", "cores": "2", "jobs": "20"})

    assert report.statuses == {"DONE": 2}
    assert (asked["queue"], asked["cores"], asked["jobs"]) == ("cpu", 2, 20)
    exports = [f"export {name}='{value}'" for name, value in ENVIRONMENT.items()]
    assert asked["job_script_prologue"] == exports
    write(tmp_path / "in", c="3")
    with pytest.raises(OptionError, match="SLURM: got an unexpected keyword argument 'colour'"):
        run(tmp_path, slurm={"colour": "red"})


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    write(tmp_path / "in", a="1")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(OptionError, match=r'pip install "autolens_ml\[slurm\]"'):
        run(tmp_path, slurm={})
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionError, match=r'pip install "autolens_ml\[catalogue\]"'):
        run(tmp_path, workers=1)


def test_one_kind_of_workers():
    with pytest.raises(OptionError, match="give one of --workers, --scheduler and --slurm"):
        Workers(1, slurm={})
