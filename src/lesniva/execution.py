"""Blocks run as Dask tasks: bounded in flight, retried, each failing alone and by name."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lesniva.errors import EnvironmentFaultError, LesnivaError, SourceError
from lesniva.progress import progress

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 3
"""Tasks a worker has at hand: one at work, the next waiting, one to spare."""

RETRIES = 2
"""Times a task is tried again after an exception that is no verdict on its input."""

SYNCHRONOUS = "synchronous"
"""In place of a scheduler's address: run in this process, one block after the other."""


@dataclass
class Outcome(Generic[Result]):
    """What became of a set of tasks."""

    results: dict[str, Result] = field(default_factory=dict)
    """Task key → what the function returned."""
    failures: dict[str, str] = field(default_factory=dict)
    """Task key → one line that says why it failed."""


@contextmanager
def cluster(scheduler: str | None = None) -> Iterator[Any]:
    """Give a Dask client.

    Parameters
    ----------
    scheduler
        Address of a running scheduler; `SYNCHRONOUS` for no Dask at all; when not given, a local
        cluster with one process a core, reachable from this machine only.

    Yields
    ------
    distributed.Client or None
        None when synchronous.

    Raises
    ------
    SourceError
        Nothing answers at the scheduler's address.
    EnvironmentFaultError
        The local cluster does not start.
    """
    if scheduler == SYNCHRONOUS:
        yield None
        return
    import dask

    # has to be said before the import; what a user should know, we say ourselves
    dask.config.set({"logging.distributed": "critical"})
    from distributed import Client

    with _local_cluster() if scheduler is None else nullcontext(scheduler) as address:
        try:
            client = Client(address, timeout="20s")
        except (OSError, TimeoutError) as error:
            raise SourceError(
                f"no Dask scheduler answers at {scheduler}: {error}; "
                "check --scheduler, or leave it out to work on this machine"
            ) from error
        with client:
            yield client


def _local_cluster() -> AbstractContextManager[Any]:
    import dask
    from distributed import LocalCluster

    # a worker that starts compiling kernels may keep the event loop waiting: no reason to warn
    dask.config.set({"distributed.admin.tick.limit": "60s"})
    try:
        local: AbstractContextManager[Any] = LocalCluster(
            n_workers=os.cpu_count(),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
    except (OSError, TimeoutError, RuntimeError) as error:
        raise EnvironmentFaultError(f"the local Dask cluster does not start: {error}") from error
    return local


RunTasks = Callable[..., "Outcome[Any]"]
"""`run_tasks` with its client already chosen."""


@contextmanager
def engine(scheduler: str | None = None) -> Iterator[RunTasks]:
    """Give `run_tasks` on a cluster that starts when the first task comes.

    Parameters
    ----------
    scheduler
        As in `cluster`.
    """
    with ExitStack() as stack:
        clients: list[Any] = []

        def run(
            function: Callable[..., Result], tasks: Mapping[str, Mapping[str, Any]], *, title: str
        ) -> Outcome[Result]:
            if tasks and not clients:
                clients.append(stack.enter_context(cluster(scheduler)))
            return run_tasks(clients[0] if clients else None, function, tasks, title=title)

        yield run


def run_tasks(
    client: Any,
    function: Callable[..., Result],
    tasks: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
) -> Outcome[Result]:
    """Run one function over many blocks.

    Parameters
    ----------
    client
        From `cluster`; None runs in this process.
    function
        Called as ``function(**arguments)``; it, its arguments and its (small) result must pickle.
    tasks
        Key → arguments. Keys name the block in messages.
    title
        What is being done, for the progress bar.

    Returns
    -------
    Outcome
        A task that raises an expected error fails at once; any other exception, and the death of a
        worker, is tried again first. Nothing is raised for a failed task.
    """
    outcome: Outcome[Result] = Outcome()
    with progress(title, len(tasks)) as advance:
        for key, result, error in _finished(client, function, tasks):
            if error is None:
                outcome.results[key] = result
            else:
                outcome.failures[key] = _one_line(error)
                logger.warning("%s: %s failed: %s", title, key, outcome.failures[key])
            advance(1)
    return outcome


Finished = tuple[str, Any, BaseException | None]


def _finished(
    client: Any, function: Callable[..., Any], tasks: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finished]:
    if client is None:
        for key, arguments in tasks.items():
            _, result, error = _attempt(key, function, arguments)
            yield key, result, error
        return
    from distributed import as_completed

    waiting = iter(tasks.items())
    limit = max(1, len(client.scheduler_info(n_workers=-1)["workers"])) * IN_FLIGHT_PER_WORKER
    running = as_completed(with_results=False)

    def submit_next() -> None:
        for key, arguments in waiting:
            future = client.submit(
                _attempt,
                key,
                function,
                arguments,
                key=f"{function.__name__}-{key}",
                retries=RETRIES,
                pure=False,
            )
            names[future.key] = key
            running.add(future)
            return

    names: dict[str, str] = {}
    for _ in range(limit):
        submit_next()
    for future in running:
        error = future.exception()
        if error is None:
            yield future.result()
        else:
            yield names[future.key], None, error
        submit_next()


def _attempt(key: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Finished:
    """Call a task; an expected error is a result, so that Dask does not try it again."""
    try:
        return key, function(**arguments), None
    except LesnivaError as error:
        return key, None, error


def _one_line(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "the worker died again and again on this block, probably for want of memory"
    text = " ".join(str(error).split())
    return text if isinstance(error, LesnivaError) else f"{type(error).__name__}: {text}"
