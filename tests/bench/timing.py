"""Work that says how long it took, in this process or in the peers' environment."""

import time
from collections.abc import Callable
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
