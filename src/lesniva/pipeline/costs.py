"""What a forest job costs in hours, disk and memory: measured rates, and what follows from them.

The rates are of one core of a small server (2 cores of an Intel Xeon, AVX-512, 2.0 GHz), the lower
ones of two runs of ``test_bench_scale.py -k rates`` and of the update's own benchmark. `plan` and
the projection of ``tests/bench/test_bench_scale.py`` say what these functions say.
"""

from dataclasses import dataclass

MEASURED = "2026-11-22"
"""Day of the rates."""

READ_BYTES = 62e6
"""Decoded bytes that a core reads from local COGs, masks and turns into an index in a second."""

FIT_PIXELS = 0.075e6
"""Pixels that a core fits in a second: stable history and robust fit of 75 clear dates."""

UPDATE_PIXELS = 11e6
"""Pixels of a scene that a core takes into the monitor in a second, with the scene's correction."""

STATE_BYTES_PER_SECOND = 27e6
"""Bytes of state that a core reads, or compresses and commits, in a second."""

CLEAR_SHARE = 0.5
"""Share of a history's dates on which a pixel is clear."""

STATE_BYTES = 40
"""Bytes a pixel of the monitor's state, before compression …"""

WITNESS_BYTES = 16
"""… and of the model of a witness …"""

WINTER_BYTES = 12
"""… and of the winter channel."""

HEALTH_MODELS = 2
"""Indices of health that watch a pixel: NDRE, and one of CRSWIR and NDMI (`change.HEALTH`)."""

STORED_SHARE = 0.35
"""Size of a state on disk by its size in memory, with a noisy index."""

KEPT_RUNS = 8
"""Most versions of a state that the repository keeps (see `ledger`)."""

BASE_MEMORY = 0.55e9
"""Bytes of a worker without a block: Python, the libraries, the compiled kernels, buffers."""

PIXEL_MEMORY = 500
"""Bytes a pixel of a block, however many dates: the scenes being read, four at a time with all
their bands, or the models and what it takes to fit them (``tests/test_memory.py`` measures it)."""

STACK_MEMORY = 4
"""Bytes a value of an index stack, at the worst moment of a task: the stack, and the part of it in
season or its corrected copy; as much again with a witness and for each index of health."""


@dataclass(frozen=True)
class Work:
    """What there is to do."""

    pixels: int
    """Pixels of all blocks that scenes reach."""
    pixel_dates: int
    """Sum over blocks of pixels × solar days of the history."""
    bytes_per_pixel: int
    """Decoded bytes of all bands a pixel and date."""
    largest_block: int
    """Most pixels × dates of a block that are read at once: the history, or all that came since."""
    block_pixels: int
    """Most pixels of a block."""
    channels: int = 1
    """1, or 2 with a witness."""
    winter: bool = False
    health: int = 0
    """Indices of the health channel, each with a stack and a state of its own, which are empty
    where it does not watch."""


@dataclass(frozen=True)
class Cost:
    """What it takes."""

    first_hours: float
    """First run: read the history, fit it twice, begin the state."""
    night_hours: float
    """A night with one new scene everywhere."""
    disk_gb: float
    """State after a year of nights, at most."""
    transient_gb: float
    """Stacks of the history that wait between the passes of the first run."""
    memory_gb: float
    """Of each worker."""


def forest(work: Work, *, cores: int) -> Cost:
    """Estimate what a forest job takes on so many cores, from local files, in linear time."""
    clear_dates = CLEAR_SHARE * work.pixel_dates / max(work.pixels, 1)
    # the time of a fit grows with the dates it has, that of its overheads does not
    stacks, watching = work.channels + work.health, min(work.health, HEALTH_MODELS)
    models = work.channels + watching
    fits = 2 * models * work.pixels * (0.25 + 0.75 * clear_dates / 75) / FIT_PIXELS
    reading = work.pixel_dates * work.bytes_per_pixel / READ_BYTES
    more = (work.channels - 1) * WITNESS_BYTES + work.winter * WINTER_BYTES
    storing = work.pixels * (STATE_BYTES * (1 + work.health) + more) / STATE_BYTES_PER_SECOND
    # what is empty takes no room on disk
    state = work.pixels * (STATE_BYTES * (1 + watching) + more)
    night = (
        work.pixels * work.bytes_per_pixel / READ_BYTES
        + stacks * work.pixels / UPDATE_PIXELS
        + 3 * storing  # read for the counts, read for the update, written
    )
    return Cost(
        first_hours=(reading + fits + storing) / cores / 3600,
        night_hours=night / cores / 3600,
        disk_gb=state * STORED_SHARE * KEPT_RUNS / 1e9,
        transient_gb=2 * stacks * work.pixel_dates / 1e9,
        memory_gb=memory_gb(work.block_pixels, work.largest_block * stacks),
    )


def memory_gb(pixels: int, values: int) -> float:
    """Memory of a worker whose largest block has so many pixels, and values of index stacks."""
    return (BASE_MEMORY + pixels * PIXEL_MEMORY + values * STACK_MEMORY) / 1e9
