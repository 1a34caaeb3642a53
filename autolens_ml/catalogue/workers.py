"""Where lenses are measured: in this process, on local processes, a Dask scheduler, or SLURM."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.catalogue.entries import Entry
from autolens_ml.catalogue.measuring import Job, measure_chunk
from autolens_ml.exceptions import OptionError

__all__ = ["ENVIRONMENT", "Workers"]

# Chunks that are under way for each worker: one that is measured, one that waits.
_AHEAD = 2
# Seconds between looks at what is finished, at how many workers there are, and before giving up on
# a scheduler.
_NAP, _LOOK, _PATIENCE, _TRIES_TO_CONNECT = 0.02, 5.0, 20.0, 3
# Before anything is imported in a worker: numpy, torch, JAX and XLA read these once. By default the
# pixels of a dataset are constants of the JAX program of its likelihood, and each lens compiles its
# own; the switch of JAX hands them over as arguments, so that lenses of the same shape have the
# same program, which is found in JAX's store of compiled programs (PyAutoLens switches that on).
ENVIRONMENT = {
    "JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS": "true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
_SETTINGS = {
    # Which lens it was that a worker died of is known here, not to the scheduler.
    "distributed.scheduler.allowed-failures": 0,
    # Memory of lenses is no data that could be written elsewhere: a worker that pauses for lack
    # of it would pause for ever. One that has too much is ended, and its lens tried again.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # It keeps what a worker did at each hundredth of a second of the last hour.
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT
    | {"MALLOC_TRIM_THRESHOLD_": "65536", "DASK_LOGGING__DISTRIBUTED": "critical"},
}


@dataclass(frozen=True)
class Workers:
    """Who measures the lenses.

    Attributes
    ----------
    n : int or None
        Local processes, by default one for each core; 0 measures in this process, one lens after
        the other, and needs no Dask.
    scheduler : str or None
        Address of a running Dask scheduler instead, such as ``tcp://host:8786``. Its workers
        should have been started with the variables of `ENVIRONMENT`, and one thread each.
    slurm : dict or None
        Options of ``dask_jobqueue.SLURMCluster`` instead, and ``jobs``, how many of them.

    Raises
    ------
    OptionError
        When more than one is asked for, or ``n`` is negative.
    """

    n: int | None = None
    scheduler: str | None = None
    slurm: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.n, self.scheduler, self.slurm)) > 1:
            raise OptionError("give one of --workers, --scheduler and --slurm")
        if self.n is not None and self.n < 0:
            raise OptionError(f"{self.n} workers; set --workers to 0 or more")

    def measured(
        self, job: Job, todo: Sequence[tuple[Entry, int]], chunk: int, say: Progress
    ) -> Iterator[dict[str, Any]]:
        """Records of lenses, as they are finished, each once.

        Parameters
        ----------
        job
            What to do.
        todo
            Lenses, and which try it is for each.
        chunk
            Lenses that a worker is given together.
        say
            Takes a line at a time.

        Raises
        ------
        OptionError
            When the workers cannot be reached, or Dask is not installed.
        OSError
            When the disk is full.
        """
        if self.n == 0:
            for entry, number in todo:
                yield from measure_chunk(job, [entry], [number])
            return
        left = {entry.name: (entry, number) for entry, number in todo}
        failures = 0
        while True:
            try:
                with self._client(say) as (client, wanted):
                    chunks = _chunks(list(left.values()), chunk, wanted or _n_workers(client))
                    for record in _distributed(client, job, chunks, wanted, say):
                        failures = 0
                        left.pop(record["name"], None)
                        yield record
                return
            except _Gone as error:
                failures += 1
                if self.scheduler is None or failures == _TRIES_TO_CONNECT:
                    raise OptionError(
                        f"the scheduler{f' at {self.scheduler}' if self.scheduler else ''} is "
                        "gone; start it and give the same command again, what is done is kept"
                    ) from error
                say(f"the scheduler at {self.scheduler} does not answer: trying again")

    @contextlib.contextmanager
    def _client(self, say: Progress) -> Iterator[tuple[Any, int]]:
        """A client, and how many workers its cluster is to have, 0 where others look after that."""
        dask, distributed = _dask()
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set(_SETTINGS))
            stack.enter_context(_silence())
            cluster, wanted = None, 0
            if self.slurm is not None:
                cluster = stack.enter_context(_slurm_cluster(self.slurm))
            elif self.scheduler is None:
                wanted = self.n or dask.system.CPU_COUNT
                cluster = stack.enter_context(_local_cluster(distributed, wanted))
            try:
                client = distributed.Client(
                    cluster or self.scheduler,
                    timeout=_PATIENCE,
                    # Not the client of whatever else runs in this process.
                    set_as_default=False,
                )
            except (OSError, TimeoutError, ValueError) as error:
                raise _Gone(str(error)) from error
            stack.callback(_closed, client)
            if importlib.util.find_spec("bokeh") is None:
                say(f"scheduler {client.scheduler.address} (a dashboard needs bokeh)")
            else:
                say(f"dashboard {client.dashboard_link}")
            yield client, wanted


class _Gone(Exception):
    """The scheduler is."""


def _chunks(
    todo: list[tuple[Entry, int]], chunk: int, n_workers: int
) -> deque[list[tuple[Entry, int]]]:
    """Lenses in parts, small enough that every worker has some."""
    size = max(1, min(chunk, len(todo) // (_AHEAD * max(1, n_workers))))
    return deque(todo[i : i + size] for i in range(0, len(todo), size))


def _distributed(
    client: Any, job: Job, waiting: deque[list[tuple[Entry, int]]], wanted: int, say: Progress
) -> Iterator[dict[str, Any]]:
    """Records of lenses as workers finish them; a few chunks are under way at any time."""
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    given: dict[Any, list[tuple[Entry, int]]] = {}
    finished = as_completed(loop=client.loop)
    looked, room = -_LOOK, 0
    while waiting or given:
        if time.monotonic() - looked > _LOOK:
            looked, room = time.monotonic(), _AHEAD * max(1, _checked_workers(client, wanted, say))
        while waiting and len(given) < room:
            part = waiting.popleft()
            try:
                future = client.submit(
                    measure_chunk, job, [e for e, _ in part], [n for _, n in part], pure=False
                )
            except (CommClosedError, OSError, RuntimeError) as error:
                raise _Gone(str(error)) from error
            given[future] = part
            finished.add(future)
        if not finished.has_ready():
            time.sleep(_NAP)
            continue
        future = next(finished)
        part = given.pop(future)
        try:
            yield from future.result(timeout=_PATIENCE)
        except KilledWorker:
            # Some of them were only waiting there: each goes to a worker of its own, which knows
            # how often it was begun.
            waiting.extendleft([each] for each in reversed(part))
        except TimeoutError:
            if future.status == "error":  # of the file system of the worker
                raise
            # The worker died after it was done, and another one looks for the records.
            given[future] = part
            finished.add(future)
            continue
        except (FutureCancelledError, CommClosedError) as error:
            raise _Gone(str(error)) from error
        except (AttributeError, ImportError, RuntimeError) as error:
            raise OptionError(
                f"workers cannot take up the task ({_reason_of(error)}); install this autolens_ml "
                "and its extras where the scheduler and its workers run"
            ) from error
        future.release()


def _checked_workers(client: Any, wanted: int, say: Progress) -> int:
    """How many workers there are; where they are ours, those that are missing are started."""
    if client.status != "running":
        raise _Gone(client.status)
    n_workers = _n_workers(client)
    if n_workers < wanted:
        # One that dies while it starts is given up by whoever looks after it.
        client.cluster.scale(wanted)
    if n_workers == 0:
        say("waiting for workers")
    return n_workers


def _n_workers(client: Any) -> int:
    from distributed.comm import CommClosedError

    try:
        return len(client.ncores())
    except (CommClosedError, OSError, TimeoutError, RuntimeError) as error:
        raise _Gone(str(error)) from error


@contextlib.contextmanager
def _local_cluster(distributed: ModuleType, n: int) -> Iterator[Any]:
    """Processes of one thread each, on this machine."""
    try:
        with warnings.catch_warnings():
            # Another run has the port of the dashboard: this one has another.
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            cluster = distributed.LocalCluster(
                n_workers=n,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:8787",
            )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise OptionError(
            f"no local workers ({_reason_of(error)}); in a script, call run under "
            'if __name__ == "__main__", or set --workers 0'
        ) from error
    try:
        yield cluster
    finally:
        _closed(cluster)


@contextlib.contextmanager
def _slurm_cluster(options: Mapping[str, Any]) -> Iterator[Any]:
    """Jobs of SLURM, one worker of one thread in each unless ``options`` say otherwise."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise OptionError(
            'SLURM needs dask-jobqueue: install it with pip install "autolens_ml[slurm]"'
        ) from error
    given = {"cores": 1, "processes": 1, "memory": "4GB", "jobs": 1}
    given |= {k: int(v) if str(v).isdigit() else v for k, v in options.items()}
    jobs = given.pop("jobs")
    exports = [f"export {name}='{value}'" for name, value in ENVIRONMENT.items()]
    given["job_script_prologue"] = [*exports, *given.get("job_script_prologue", ())]
    try:
        cluster = SLURMCluster(**given)
    except (TypeError, ValueError) as error:
        raise OptionError(f"SLURM: {_reason_of(error)}; see dask_jobqueue") from error
    try:
        cluster.scale(jobs=jobs)
        yield cluster
    finally:
        _closed(cluster)


def _reason_of(error: Exception) -> str:
    """The first line of an error that may have none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dask() -> tuple[ModuleType, ModuleType]:
    try:
        import dask.system
        import distributed
    except ImportError as error:
        raise OptionError(
            'workers need Dask: install it with pip install "autolens_ml[catalogue]", or set '
            "--workers 0"
        ) from error
    return dask, distributed


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing of Dask's log: what comes of a worker that dies is said in the record of its lens."""
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _closed(one: Any) -> None:
    """Close a client or a cluster, which may be gone."""
    with contextlib.suppress(Exception):
        one.close(timeout=_PATIENCE)
