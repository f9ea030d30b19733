"""However many workers there are, and however often they die: the published bytes are the same."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import psutil
import pytest

from fingerprints import fingerprints
from lesniva import config, execution, ledger, pipeline, publish
from small import leave_out_pictures, write_archive, write_job

KILL_EVERY = 3.0
"""Seconds, as promised, on a machine that does the run in `QUICK` seconds in one process; a slower
one would end no task between two deaths of a worker, and kills in proportion."""

QUICK = 20.0


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    catalog = write_archive(folder / "archive")
    cover = folder / "archive" / "forest_cover.tif"
    return write_job(folder, catalog, cover=cover, more="[report]\nclose_ups = 0")


@pytest.fixture(scope="module")
def job(file) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patched:
        leave_out_pictures(patched)
        yield config.read(file)


@dataclass(frozen=True)
class OneProcess:
    published: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def one_process(job, tmp_path_factory) -> OneProcess:
    out = tmp_path_factory.mktemp("synchronous") / "out"
    began = time.monotonic()
    assert pipeline.run(job, out, scheduler=execution.SYNCHRONOUS).exit_code == 0
    return OneProcess(fingerprints(out), time.monotonic() - began)


@pytest.fixture(scope="module")
def synchronous(one_process) -> dict[str, str]:
    return one_process.published


def run_on(client: Any, job: Any, out: Path) -> pipeline.Report:
    return pipeline.run(job, out, run_tasks=functools.partial(execution.run_tasks, client))


@contextmanager
def threads(workers: int, threads_per_worker: int) -> Iterator[Any]:
    """Workers in this process: kernels are loaded once."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads_per_worker,
            processes=False,
            host="127.0.0.1",
            protocol="tcp://",
            dashboard_address=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "each"), [(1, 4), (1, 1), (2, 1), (4, 1)])
def test_bytes_are_those_of_one_process_on_any_number_of_workers(
    job, synchronous, tmp_path, workers, each
):
    with threads(workers, each) as client:
        assert run_on(client, job, tmp_path / "out").exit_code == 0
    assert fingerprints(tmp_path / "out") == synchronous


# ── Processes that die ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """Workers as a run on one machine has them, but quicker to be there again."""
    from distributed.utils import get_mp_context

    quick = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set(quick), pytest.MonkeyPatch.context() as patched:
        get_mp_context().set_forkserver_preload(["distributed", "lesniva.pipeline"])
        patched.setattr(execution, "_workers", lambda *_: 4)
        with execution.cluster() as client:
            yield client


def kill_in_turn(client: Any, every: float, stop: threading.Event, killed: list[int]) -> None:
    """Kill one worker process after the other until told to stop."""
    while not stop.wait(every):
        nannies = list(client.cluster.workers.values())
        pid = nannies[len(killed) % len(nannies)].pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)


@pytest.mark.slow
def test_workers_killed_all_the_time_change_no_byte(job, one_process, processes, tmp_path):
    every = KILL_EVERY * max(1.0, one_process.seconds / QUICK)
    stop, killed = threading.Event(), []
    killer = threading.Thread(target=kill_in_turn, args=(processes, every, stop, killed))
    killer.start()
    try:
        report = run_on(processes, job, tmp_path / "out")
    finally:
        stop.set()
        killer.join()
    assert report.faults == {}
    assert len(killed) >= 2
    assert fingerprints(tmp_path / "out") == one_process.published


@pytest.mark.slow
def test_block_that_always_kills_its_worker_is_named_and_the_rest_is_published(
    job, processes, tmp_path, monkeypatch
):
    out, attempt = tmp_path / "out", execution._attempt
    poison = min(block.key for block in pipeline.place.place_of(job).blocks)

    def deadly(key: str, function: Any, arguments: Any) -> Any:
        if (function.__name__, key) == ("read_history", poison):
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(key, function, arguments)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "_attempt", deadly)
        report = run_on(processes, job, out)
    assert report.exit_code == 3
    assert list(report.faults) == [poison]
    assert report.faults[poison].startswith("the worker died on this block, also when it ran alone")
    assert publish.verify(out) == []
    blocks = pd.read_csv(out / "blocks.csv").set_index("block")
    lost = blocks["scenes_obtained"] < blocks["scenes_expected"]
    assert list(blocks.index[lost]) == [poison]
    assert blocks.loc[poison, "reason"].startswith(f"block {poison}: the worker died")
    # the next run has only this block to do
    report = pipeline.run(job, out, scheduler=execution.SYNCHRONOUS)
    assert report.exit_code == 0
    blocks = pd.read_csv(out / "blocks.csv").set_index("block")
    assert (blocks["scenes_obtained"] == blocks["scenes_expected"]).all()


@pytest.mark.slow
def test_killed_run_takes_its_workers_along_and_the_next_one_goes_on(
    file, job, synchronous, tmp_path
):
    out = tmp_path / "out"
    asked = [sys.executable, "-m", "lesniva", "run", str(file), "--out", str(out)]
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("survey in" in line for line in lines), "the run ended before it was killed"
        # blocks are fitted and committed now
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(workers) >= 1
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    with ledger.locked(out / ".lesniva"):
        assert not (out / "manifest.json").exists()
    assert pipeline.run(job, out, scheduler=execution.SYNCHRONOUS).exit_code == 0
    assert fingerprints(out) == synchronous
    assert not list(out.rglob("*.tmp-*"))
