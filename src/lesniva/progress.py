"""Progress a person can follow: bars on a terminal, plain log lines anywhere else."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 30.0
"""How often a long stage reports itself where there is no terminal."""

Advance = Callable[[int], None]
"""Tells that so many more steps are done."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show how far a stage has come.

    Parameters
    ----------
    title
        What is being done, a few words.
    total
        Number of steps.

    Yields
    ------
    Advance
        Call it with the number of steps just done; safe from any thread.
    """
    if total == 0:
        yield lambda _steps: None
    elif sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        yield from _log_lines(title, total)


def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total)
        yield lambda steps: bars.advance(task, steps)


def _log_lines(title: str, total: int) -> Iterator[Advance]:
    started = last = time.monotonic()
    done = 0
    one_at_a_time = threading.Lock()

    def advance(steps: int) -> None:
        nonlocal done, last
        with one_at_a_time:
            done += steps
            now = time.monotonic()
            if now - last >= LOG_EVERY_SECONDS and done < total:
                last = now
                logger.info("%s: %d of %d", title, done, total)

    yield advance
    logger.info("%s: %d of %d in %.1f s", title, done, total, time.monotonic() - started)
