"""Blocks run as Dask tasks: bounded in flight, retried, each failing alone and by name.

A worker that dies takes along all it had at hand, finished results too, and Dask cannot tell whose
fault it was. So the tasks of dead workers are tried again at the end, one at a time with nothing
else at work: what is killed then, time after time, has killed its worker itself; all others finish.
"""

import logging
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lesniva.errors import (
    CredentialsError,
    EnvironmentFaultError,
    InputError,
    LesnivaError,
    SourceError,
)
from lesniva.logs import about
from lesniva.progress import progress

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 3
"""Tasks a worker has at hand: one at work, the next waiting, one to spare."""

HOPELESS = (CredentialsError, EnvironmentFaultError)
"""What one task meets all others would meet too: nothing more is begun."""

TRIES_ALONE = 2
"""Times that the tasks of dead workers are tried alone: workers may die of something else."""

RETRIES = 2
"""Times a task is tried again after an exception that is no verdict on its input."""

MEMORY_PER_WORKER = 2_000_000_000
"""Bytes; a machine with less for each core gets fewer workers."""

CONNECT_SECONDS = 20
"""How long a scheduler may take to answer."""

LOCAL_SETTINGS = {
    # a worker that starts compiling kernels may keep the event loop waiting: no reason to warn
    "distributed.admin.tick.limit": "60s",
    # one task at a time on a worker, so that few die with it
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 1,
    # a dead worker is started anew; LocalCluster would give up for good one that is just starting
    # when this time is over, and with the last one all tasks would wait for ever
    "distributed.deploy.lost-worker-timeout": "1 day",
    "distributed.scheduler.no-workers-timeout": "10 minutes",
    # results are paths and counts: spilling them frees nothing, and a worker that paused for the
    # memory of its libraries would wait for ever; only one that takes too much is ended
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # no pages for whoever else is on this machine
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""What a local cluster does differently from Dask's defaults."""

SYNCHRONOUS = "synchronous"
"""In place of a scheduler's address: run in this process, one block after the other."""


@dataclass
class Outcome(Generic[Result]):
    """What became of a set of tasks."""

    results: dict[str, Result] = field(default_factory=dict)
    """Task key → what the function returned."""
    failures: dict[str, str] = field(default_factory=dict)
    """Task key → one line that says why it failed."""
    errors: dict[str, BaseException] = field(default_factory=dict)
    """Task key → what it raised."""


@contextmanager
def cluster(scheduler: str | None = None) -> Iterator[Any]:
    """Give a Dask client.

    Parameters
    ----------
    scheduler
        Address of a running scheduler; `SYNCHRONOUS` for no Dask at all; when not given, a local
        cluster with one process a core, as far as the memory goes, for this machine only.

    Yields
    ------
    distributed.Client or None
        None when synchronous.

    Raises
    ------
    InputError
        The scheduler's address is none.
    SourceError
        Nothing answers there.
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

    if scheduler is not None:
        _check_address(scheduler)
    with _local_cluster() if scheduler is None else nullcontext(scheduler) as address:
        try:
            # not the process's default: one that fails to connect would stay the default for ever
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise SourceError(
                f"no Dask scheduler answers at {scheduler}: {error}; "
                "check --scheduler, or leave it out to work on this machine"
            ) from error
        with client:
            yield client


def _check_address(scheduler: str) -> None:
    from distributed.comm.addressing import get_address_host

    try:
        get_address_host(scheduler)
    except ValueError as error:
        raise InputError(
            f"--scheduler {scheduler} is no address of a Dask scheduler ({error}): "
            "give one such as tcp://host:8786"
        ) from error


def _local_cluster() -> AbstractContextManager[Any]:
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # what a container may use, not what the machine has
    from distributed.system import MEMORY_LIMIT

    dask.config.set(LOCAL_SETTINGS)
    try:
        local: AbstractContextManager[Any] = LocalCluster(
            n_workers=_workers(CPU_COUNT, MEMORY_LIMIT),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # its web server cannot be turned off: a free port, so that runs do not meet on 8787
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.ERROR,
        )
    except (OSError, TimeoutError, RuntimeError) as error:
        raise EnvironmentFaultError(f"the local Dask cluster does not start: {error}") from error
    return local


def _workers(cores: int, memory: int) -> int:
    """Give the number of workers that a machine bears; Dask shares its memory out among them."""
    return max(1, min(cores, memory // MEMORY_PER_WORKER))


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
        worker, is tried again first. Nothing is raised for a failed task, whatever it raised. After
        a fault that all tasks would meet (`HOPELESS`) those not begun are left out.
    """
    outcome: Outcome[Result] = Outcome()
    with (
        progress(title, len(tasks)) as advance,
        closing(_finished(client, function, tasks)) as finished,
    ):
        for key, result, error in finished:
            if error is None:
                outcome.results[key] = result
            else:
                outcome.failures[key] = _one_line(error)
                outcome.errors[key] = error
                with about(block=key):
                    logger.warning("%s: %s failed: %s", title, key, outcome.failures[key])
                    logger.debug("%s: %s", title, key, exc_info=error)
            advance(1)
            if isinstance(error, HOPELESS):
                break
    return outcome


Finished = tuple[str, Any, BaseException | None]


def _finished(
    client: Any, function: Callable[..., Any], tasks: Mapping[str, Mapping[str, Any]]
) -> Generator[Finished, None, None]:
    if client is None:
        for key, arguments in tasks.items():
            yield _here(key, function, arguments)
        return
    from distributed import KilledWorker

    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    left, killed = tasks, dict[str, Finished]()
    for limit in (max(1, workers) * IN_FLIGHT_PER_WORKER, *TRIES_ALONE * (1,)):
        killed = {}
        for finished in _submitted(client, function, left, limit=limit):
            key, _, error = finished
            if isinstance(error, KilledWorker):
                killed[key] = finished
            else:
                yield finished
        left = {key: tasks[key] for key in killed}
    yield from killed.values()


def _here(key: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Finished:
    """Run a task in this process, as often as Dask would."""
    for _ in range(RETRIES):
        try:
            return _attempt(key, function, arguments)
        except Exception as error:
            logger.debug("%s is tried again", key, exc_info=error)
    try:
        return _attempt(key, function, arguments)
    except Exception as error:  # noqa: BLE001 it fails alone, the others go on
        return key, None, error


def _submitted(
    client: Any,
    function: Callable[..., Any],
    tasks: Mapping[str, Mapping[str, Any]],
    *,
    limit: int,
) -> Generator[Finished, None, None]:
    """Submit tasks as others finish, so that at most `limit` are with the scheduler."""
    from distributed import as_completed

    # a scheduler that other runs use too gives them the result of a key it knows already
    call = uuid.uuid4().hex
    waiting = iter(tasks.items())
    running = as_completed(loop=client.loop)
    names: dict[str, str] = {}

    def submit_next() -> None:
        for key, arguments in waiting:
            future = client.submit(
                _attempt,
                key,
                function,
                arguments,
                key=f"{function.__name__}-{key}-{call}",
                retries=RETRIES,
                pure=False,
            )
            names[future.key] = key
            running.add(future)
            return

    for _ in range(limit):
        submit_next()
    try:
        for future in running:
            try:
                finished: Finished = future.result()
            except Exception as error:  # noqa: BLE001 a block fails alone, whatever it raised
                finished = names[future.key], None, error
            future.release()  # a result still held is made again when its worker dies
            yield finished
            submit_next()
    finally:
        # who stops listening wants no more of them
        if running.futures:
            client.cancel(list(running.futures), force=True)


def _attempt(key: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Finished:
    """Call a task; an expected error is a result, so that Dask does not try it again."""
    try:
        return key, function(**arguments), None
    except LesnivaError as error:
        return key, None, error


def _one_line(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "the worker died on this block, also when it ran alone, probably for want of memory"
    text = " ".join(str(error).split())
    return text if isinstance(error, LesnivaError) else f"{type(error).__name__}: {text}"
