"""The examples for clusters do as the page says, taken from it word for word."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask_jobqueue
import pytest
import yaml

from lesniva import execution
from test_execution import careful, noise, square

PAGE = (Path(__file__).parents[1] / "docs" / "how-to-cluster.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(line: str) -> Iterator[None]:
    """Start a line of the page, and end it with all that it has started."""
    words = shlex.split(line)
    assert words[0] == "dask"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(["tests", *sys.path]),
        # a worker that has died is there again at once, and not after all imports
        "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *words[1:], "--no-dashboard"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def fleet() -> Iterator[str]:
    (example,) = examples("sh")
    port = free_port()
    with ExitStack() as stack:
        for line in example.replace("8786", str(port)).splitlines():
            stack.enter_context(started(line))
        yield f"tcp://127.0.0.1:{port}"


@pytest.mark.slow
def test_fleet_that_is_started_by_hand_gives_the_results_of_this_process(fleet):
    tasks = {f"block-{seed}": {"seed": seed} for seed in range(12)}
    with execution.cluster(fleet) as client:
        client.wait_for_workers(2, timeout=60)
        there = execution.run_tasks(client, noise, tasks, title="Noise")
    here = execution.run_tasks(None, noise, tasks, title="Noise")
    assert there.results == here.results
    assert there.failures == {}


@pytest.mark.slow
def test_task_that_kills_its_worker_is_named_on_a_fleet_of_ones_own_too(fleet, tmp_path):
    tasks = {
        f"b{n}": {"folder": tmp_path, "name": f"b{n}", "fault": "kill" if n == 0 else None}
        for n in range(8)
    }
    with execution.cluster(fleet) as client:
        client.wait_for_workers(2, timeout=60)
        done = execution.run_tasks(client, careful, tasks, title="Deadly")
    assert set(done.failures) == {"b0"}
    assert len(done.results) == 7


def test_job_script_for_slurm_asks_for_what_the_page_says(monkeypatch):
    asked: dict[str, Any] = {}

    class Recorded:
        """In place of the cluster: no scheduler is needed to see the script of a job."""

        scheduler_address = "tcp://127.0.0.1:8786"

        def __init__(self, *, processes: int, **options: Any) -> None:
            asked.update(options, processes=processes)

        def scale(self, *, jobs: int) -> None:
            asked["jobs"] = jobs

    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", Recorded)
    example = next(text for text in examples("python") if "SLURMCluster" in text)
    exec(compile(example, "how-to-cluster.md", "exec"), {})  # noqa: S102 our own page
    assert asked.pop("jobs") == 40
    job = dask_jobqueue.slurm.SLURMJob(Recorded.scheduler_address, name="lesniva", **asked)
    script = job.job_script()
    assert "#SBATCH --mem=4G" in script
    assert "#SBATCH -t 04:00:00" in script
    assert "--nthreads 1" in script
    assert Recorded.scheduler_address in script


def test_manifest_for_kubernetes_is_one_of_the_operator_and_holds_together():
    (example,) = examples("yaml")
    cluster = yaml.safe_load(example)
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    (worker,) = cluster["spec"]["worker"]["spec"]["containers"]
    (scheduler,) = cluster["spec"]["scheduler"]["spec"]["containers"]
    assert worker["image"] == scheduler["image"]
    assert worker["args"][:2] == ["dask", "worker"]
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "1"
    volumes = {volume["name"] for volume in cluster["spec"]["worker"]["spec"]["volumes"]}
    assert {mount["name"] for mount in worker["volumeMounts"]} == volumes
    ports = {port["name"] for port in scheduler["ports"]}
    service = cluster["spec"]["scheduler"]["service"]
    assert {port["targetPort"] for port in service["ports"]} == ports
    assert service["selector"]["dask.org/cluster-name"] == cluster["metadata"]["name"]
    assert f"tcp://{cluster['metadata']['name']}-scheduler:8786" in PAGE


@pytest.mark.parametrize(
    ("cores", "memory", "workers"), [(8, 64, 8), (8, 7, 3), (2, 25, 2), (4, 1, 1)]
)
def test_local_cluster_has_a_worker_a_core_as_far_as_the_memory_goes(cores, memory, workers):
    assert execution._workers(cores, memory * 10**9) == workers


@pytest.mark.slow
def test_results_are_the_same_on_one_two_and_four_workers(monkeypatch):
    tasks = {f"block-{seed}": {"seed": seed} for seed in range(8)}
    here = execution.run_tasks(None, noise, tasks, title="Noise")
    for workers in (1, 2, 4):
        monkeypatch.setattr(execution, "_workers", lambda *_, n=workers: n)
        with execution.cluster() as client:
            assert len(client.scheduler_info(n_workers=-1)["workers"]) == workers
            assert execution.run_tasks(client, noise, tasks, title="Noise").results == here.results
            assert execution.run_tasks(client, square, {"a": {"n": 2}}, title="A").results == {
                "a": 4
            }
