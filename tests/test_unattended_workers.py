"""However many workers there are, and however often they die: the published bytes are the same."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import dask
import pandas as pd
import psutil
import pytest

from fingerprints import fingerprints
from lesniva import config, execution, ledger, pipeline, publish
from small import leave_out_pictures, write_archive, write_job

KILL_EVERY = 3.0
"""Seconds between two deaths, as promised, where a task ends in them; a machine that is slower, if
only for a minute, would get nothing done."""


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


@pytest.fixture(scope="module")
def synchronous(job, tmp_path_factory) -> dict[str, str]:
    """What one process publishes."""
    out = tmp_path_factory.mktemp("synchronous") / "out"
    assert pipeline.run(job, out, scheduler=execution.SYNCHRONOUS).exit_code == 0
    return fingerprints(out)


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


class Killer:
    """Kills one worker process after the other, and no two before a task has ended between them."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed = 0
        self._nannies, self._over, self._ended = client.cluster.workers, Event(), Event()
        original = execution._finished

        def seen(*arguments: Any) -> Iterator[Any]:
            for finished in original(*arguments):
                self._ended.set()
                yield finished

        monkeypatch.setattr(execution, "_finished", seen)

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._kill_in_turn)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._ended.set()
        self._thread.join()

    def _kill_in_turn(self) -> None:
        while not self._over.wait(KILL_EVERY) and self._ended.wait():
            nannies = list(self._nannies.values())
            pid = nannies[self.killed % len(nannies)].pid
            if pid is not None and not self._over.is_set():
                self._ended.clear()
                os.kill(pid, signal.SIGKILL)
                self.killed += 1


@pytest.mark.slow
def test_workers_killed_all_the_time_change_no_byte(
    job, synchronous, processes, tmp_path, monkeypatch
):
    with Killer(processes, monkeypatch) as killer:
        report = run_on(processes, job, tmp_path / "out")
    assert report.faults == {}
    assert killer.killed >= 2
    assert fingerprints(tmp_path / "out") == synchronous


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
