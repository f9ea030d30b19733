"""However many workers there are: the published bytes are the same."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fingerprints import fingerprints
from lesniva import config, execution, pipeline
from small import leave_out_pictures, write_archive, write_job


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("job")
    catalog = write_archive(folder / "archive")
    cover = folder / "archive" / "forest_cover.tif"
    file = write_job(folder, catalog, cover=cover, more="[report]\nclose_ups = 0")
    with pytest.MonkeyPatch.context() as patched:
        leave_out_pictures(patched)
        yield config.read(file)


@pytest.fixture(scope="module")
def synchronous(job, tmp_path_factory) -> dict[str, str]:
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
