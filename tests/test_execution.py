"""Execution: the same results however tasks run; each fails alone, by name, and never for ever."""

import logging
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

from lesniva import execution
from lesniva.errors import InputError, SourceError, UnreadableSceneError

# ── What the tasks of these tests do (workers import this module) ─────────────────────────────


def square(*, n: int, pause: float = 0.0) -> int:
    time.sleep(pause)
    return n * n


def noise(*, seed: int) -> bytes:
    """Draw by seed and reduce: results of floating point, bit for bit."""
    values = np.random.default_rng(seed).normal(size=(64, 64))
    return np.asarray(values.mean(axis=0) / values.std()).tobytes()


def tally(folder: Path, name: str) -> int:
    """Count how often a task was tried, across processes and their deaths."""
    (folder / f"{name}-{time.monotonic_ns()}-{os.getpid()}").touch()
    return len(list(folder.glob(f"{name}-*")))


def careful(*, folder: Path, name: str, fault: str | None, until: int = 99) -> str:
    """Do as told, up to the given attempt."""
    attempt = tally(folder, name)
    if fault is not None and attempt < until:
        if fault == "expected":
            raise UnreadableSceneError(f"scene {name} cannot be read:\n  half of it is missing")
        if fault == "unexpected":
            raise ZeroDivisionError(f"no scene in {name}")
        if fault == "not even an Error":
            raise OSError(28, "No space left on device")
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def hopeless(*, folder: Path, name: str, kind: type[Exception]) -> None:
    tally(folder, name)
    raise kind("nothing can be written any more")


def attempts(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}-*")))


def where(*, n: int) -> int:
    assert n >= 0
    return os.getpid()


# ── Engines ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """One local cluster for all tests of this module."""
    with execution.cluster() as client:
        yield client


@pytest.fixture(params=["synchronous", "local"])
def client(request: pytest.FixtureRequest) -> Any:
    return None if request.param == "synchronous" else request.getfixturevalue("local")


def test_results_come_under_their_keys(client):
    tasks = {f"utm37n/{n:04d}_0001": {"n": n} for n in range(20)}
    done = execution.run_tasks(client, square, tasks, title="Square")
    assert done.failures == {}
    assert done.results == {f"utm37n/{n:04d}_0001": n * n for n in range(20)}


@pytest.mark.slow
def test_results_are_the_same_bits_in_this_process_and_on_workers(local):
    tasks = {f"block-{seed}": {"seed": seed} for seed in range(10)}
    here, there = (
        execution.run_tasks(engine, noise, tasks, title="Noise") for engine in (None, local)
    )
    assert here.results == there.results


def test_workers_are_other_processes(local):
    done = execution.run_tasks(local, where, {"a": {"n": 1}}, title="Where")
    assert done.results["a"] != os.getpid()


def test_expected_error_is_not_tried_again_and_told_in_one_line(client, tmp_path):
    tasks = {
        name: {"folder": tmp_path, "name": name, "fault": fault}
        for name, fault in (("good", None), ("bad", "expected"), ("fine", None))
    }
    done = execution.run_tasks(client, careful, tasks, title="Careful")
    assert done.failures == {"bad": "scene bad cannot be read: half of it is missing"}
    assert set(done.results) == {"good", "fine"}
    assert attempts(tmp_path, "bad") == 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("unexpected", "ZeroDivisionError: no scene in bad"),
        ("not even an Error", "OSError: [Errno 28] No space left on device"),
    ],
)
def test_unexpected_error_is_tried_twice_again_then_told_and_the_others_finish(
    client, tmp_path, fault, told
):
    tasks = {
        name: {"folder": tmp_path, "name": name, "fault": fault if name == "bad" else None}
        for name in ("good", "bad", "fine")
    }
    done = execution.run_tasks(client, careful, tasks, title="Careful")
    assert done.failures == {"bad": told}
    assert set(done.results) == {"good", "fine"}
    assert attempts(tmp_path, "bad") == 1 + execution.RETRIES


def test_error_that_passes_is_no_failure(client, tmp_path):
    task = {"folder": tmp_path, "name": "a", "fault": "unexpected", "until": 3}
    done = execution.run_tasks(client, careful, {"a": task}, title="Careful")
    assert (done.results, done.failures) == ({"a": "a"}, {})


def test_failures_are_logged_with_their_block(client, tmp_path, caplog):
    task = {"folder": tmp_path, "name": "a", "fault": "expected"}
    with caplog.at_level(logging.WARNING, logger="lesniva"):
        execution.run_tasks(client, careful, {"utm37n/0001_0002": task}, title="Monitor")
    assert [record.getMessage() for record in caplog.records] == [
        "Monitor: utm37n/0001_0002 failed: scene a cannot be read: half of it is missing"
    ]


@pytest.mark.parametrize("kind", execution.HOPELESS)
def test_fault_that_all_tasks_would_meet_ends_the_work_at_once(client, tmp_path, kind):
    tasks = {f"b{n}": {"folder": tmp_path, "name": f"b{n}", "kind": kind} for n in range(60)}
    done = execution.run_tasks(client, hopeless, tasks, title="Hopeless")
    assert [type(error) for error in done.errors.values()] == [kind]
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) < 30, "tasks were begun after the end"
    assert execution.run_tasks(client, square, {"a": {"n": 3}}, title="On").results == {"a": 9}


def careful_tasks(folder: Path, *, kill: set[str], **options: Any) -> dict[str, Any]:
    """Ten tasks, some of which kill their worker."""
    names = [f"b{n}" for n in range(10)]
    return {
        name: {
            "folder": folder,
            "name": name,
            "fault": "kill" if name in kill else None,
            **options,
        }
        for name in names
    }


@pytest.mark.slow
def test_task_that_kills_its_worker_is_named_and_all_others_finish(local, tmp_path):
    deadly = {"b0"}  # the first, so that others wait behind it
    tasks = {
        f"b{n}": {
            "folder": tmp_path,
            "name": f"b{n}",
            "fault": "kill" if f"b{n}" in deadly else None,
        }
        for n in range(10)
    }
    done = execution.run_tasks(local, careful, tasks, title="Deadly")
    assert set(done.results) == set(tasks) - deadly
    assert set(done.failures) == deadly
    for told in done.failures.values():
        assert told == (
            "the worker died on this block, also when it ran alone, probably for want of memory"
        )


@pytest.mark.slow
def test_worker_that_dies_once_costs_nothing_but_time(local, tmp_path):
    tasks = {
        f"b{n}": {
            "folder": tmp_path,
            "name": f"b{n}",
            "fault": "kill" if n == 1 else None,
            "until": 2,
        }
        for n in range(6)
    }
    done = execution.run_tasks(local, careful, tasks, title="Once")
    assert done.failures == {}
    assert set(done.results) == set(tasks)


@pytest.mark.slow
def test_two_runs_on_one_scheduler_do_not_get_each_others_results(local):
    from distributed import Client

    results: dict[str, Any] = {}

    def run(client: Any, name: str, base: int) -> None:
        tasks = {f"utm37n/{n}": {"n": base + n, "pause": 0.3} for n in range(3)}
        results[name] = execution.run_tasks(client, square, tasks, title=name).results

    with Client(local.scheduler.address) as other:
        runs = [
            threading.Thread(target=run, args=arguments)
            for arguments in ((local, "one", 0), (other, "two", 100))
        ]
        for thread in runs:
            thread.start()
        for thread in runs:
            thread.join()
    assert results["one"] == {f"utm37n/{n}": n * n for n in range(3)}
    assert results["two"] == {f"utm37n/{n}": (100 + n) ** 2 for n in range(3)}


def test_only_a_few_tasks_are_with_the_scheduler_at_a_time(local):
    most = 0
    submit = local.submit

    class Counting:
        """The client, with an eye on what it holds."""

        def __getattr__(self, name: str) -> Any:
            return getattr(local, name)

        def submit(self, *arguments: Any, **options: Any) -> Any:
            nonlocal most
            future = submit(*arguments, **options)
            most = max(most, len(local.futures))
            return future

    tasks = {str(n): {"n": n} for n in range(60)}
    done = execution.run_tasks(Counting(), square, tasks, title="Many")
    assert len(done.results) == 60
    workers = len(local.scheduler_info(n_workers=-1)["workers"])
    assert most <= workers * execution.IN_FLIGHT_PER_WORKER + 2


def test_nothing_is_held_after_a_run(local):
    execution.run_tasks(local, square, {str(n): {"n": n} for n in range(5)}, title="Few")
    deadline = time.monotonic() + 10
    while local.futures and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not local.futures


# ── Starting and not starting ─────────────────────────────────────────────────────────────────


def test_nothing_to_do_starts_nothing(monkeypatch):
    def refuse() -> None:
        pytest.fail("a cluster was started")

    monkeypatch.setattr(execution, "_local_cluster", refuse)
    with execution.engine() as run_tasks:
        done = run_tasks(square, {}, title="Nothing")
    assert (done.results, done.failures) == ({}, {})


def test_engine_starts_one_cluster_for_all_its_sets_of_tasks(monkeypatch, local):
    started = []

    def once(scheduler: str | None) -> Any:
        started.append(scheduler)
        return execution.nullcontext(local)

    monkeypatch.setattr(execution, "cluster", once)
    with execution.engine("tcp://somewhere") as run_tasks:
        assert not started
        for n in range(3):
            assert run_tasks(square, {"a": {"n": n}}, title="One").results == {"a": n * n}
    assert started == ["tcp://somewhere"]


def test_synchronous_engine_stays_in_this_process():
    with execution.engine(execution.SYNCHRONOUS) as run_tasks:
        assert run_tasks(where, {"a": {"n": 1}}, title="Where").results == {"a": os.getpid()}


def test_existing_scheduler_is_joined_and_left_running(local):
    with execution.cluster(local.scheduler.address) as client:
        assert execution.run_tasks(client, square, {"a": {"n": 3}}, title="Join").results == {
            "a": 9
        }
    assert execution.run_tasks(local, square, {"a": {"n": 4}}, title="Still").results == {"a": 16}


def test_local_cluster_listens_on_loopback_only_and_shows_no_pages(local):
    info = local.scheduler_info(n_workers=-1)
    addresses = [info["address"], *info["workers"]]
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
    services = [info["services"], *(worker["services"] for worker in info["workers"].values())]
    for port in {service["dashboard"] for service in services}:
        for page in ("status", "json/counts.json", "info/main/workers.html", "metrics"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)


@pytest.mark.parametrize("address", ["nonsense", "foo://host:1", "tcp://127.0.0.1:abc"])
def test_what_is_no_address_is_the_users_mistake(address):
    message = rf"^--scheduler {address} is no address of a Dask scheduler .*tcp://host:8786$"
    with pytest.raises(InputError, match=message), execution.cluster(address):
        pytest.fail("it answered")


def test_scheduler_that_does_not_answer_is_told_with_its_address(monkeypatch):
    monkeypatch.setattr(execution, "CONNECT_SECONDS", 1)
    message = r"no Dask scheduler answers at tcp://127\.0\.0\.1:9: .*check --scheduler, or leave it"
    before = dask.config.get("scheduler", None)
    with pytest.raises(SourceError, match=message), execution.cluster("tcp://127.0.0.1:9"):
        pytest.fail("it answered")
    assert dask.config.get("scheduler", None) == before


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_second_local_cluster_leaves_the_first_alone_and_takes_its_workers_along(
    local, monkeypatch
):
    monkeypatch.setattr(execution, "_workers", lambda *_: 1)
    with execution.cluster() as other:
        for client in (local, other):
            done = execution.run_tasks(client, square, {"a": {"n": 5}}, title="Both")
            assert done.results == {"a": 25}
        worker = execution.run_tasks(other, where, {"a": {"n": 1}}, title="Where").results["a"]
        assert is_alive(worker)
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)
