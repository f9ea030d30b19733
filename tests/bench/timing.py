"""Work that says how long it took, in this process or in the peers' environment."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Seconds = Callable[[], float]
"""Does a piece of work and says how long it took."""


def timed(work: Callable[[], Any]) -> Seconds:
    """Turn work done in this process into one that says how long it took."""

    def seconds() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return seconds


def halves(stack: Any) -> tuple[Any, Any]:
    """Upper and lower half of a stack (time, y, x), each in one piece of memory as a block is."""
    middle = stack.shape[1] // 2
    return stack[:, :middle].copy(), stack[:, middle:].copy()


def in_threads(work: Callable[[Any], Any], parts: Iterable[Any]) -> list[Any]:
    """Work on two parts at the same time, as two workers do."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, parts))
