"""Disturbances of a forest: what they are, when they happen, where they find room.

A plan says which events are wanted; `place` finds room for each, so that no two touch. Every pixel
has a day of its own: a harvester needs days for a cutting area, beetles spread for weeks.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from lesniva.conventions import to_day_number
from lesniva.synthetic.landscape import AGE_STEP_DAYS, Bytes, smooth_field, to_bytes
from lesniva.synthetic.season import DAY
from lesniva.synthetic.spectra import Floats

EVENT_PIXEL_M: Final = 20
"""Pixel size on which events are mapped, m."""

DIEBACK_DAYS: Final = 70
"""Time in which a dying conifer turns from green to grey."""

CLEARANCE_PIXELS: Final = 2
"""Undisturbed ground between two events."""

TRIES: Final = 60
"""Places tried before an event is left out."""


class Cause(IntEnum):
    """What disturbed a pixel of the forest."""

    NONE = 0
    CLEAR_CUT = 1
    WINTER_CLEAR_CUT = 2
    THINNING = 3
    DIEBACK = 4
    WINDTHROW = 5
    FIRE = 6


@dataclass(frozen=True)
class Habit:
    """How events of one cause are."""

    typical_ha: float
    """Median area."""
    first_day: int
    last_day: int
    """Season in which they begin, days of the year."""
    days: float
    """Time from the first to the last pixel, days, whatever the area."""
    days_per_ha: float
    """Further time for each hectare."""
    severity: tuple[float, float]
    """Share of the canopy that goes, from … to."""


HABITS: Final = {
    Cause.CLEAR_CUT: Habit(3.0, 110, 320, 1.0, 0.8, (0.90, 1.00)),
    Cause.WINTER_CLEAR_CUT: Habit(3.0, 8, 60, 1.0, 0.8, (0.90, 1.00)),
    Cause.THINNING: Habit(5.0, 125, 270, 1.0, 0.7, (0.28, 0.45)),
    Cause.DIEBACK: Habit(1.6, 155, 235, 40.0, 0.0, (0.55, 0.95)),
    Cause.WINDTHROW: Habit(2.2, 130, 265, 1.0, 0.0, (0.60, 0.95)),
    Cause.FIRE: Habit(6.0, 112, 250, 2.0, 0.0, (0.55, 1.00)),
}

ARCHIVE_COUNTS: Final = {
    Cause.CLEAR_CUT: 30,
    Cause.WINTER_CLEAR_CUT: 14,
    Cause.THINNING: 16,
    Cause.DIEBACK: 12,
    Cause.WINDTHROW: 10,
    Cause.FIRE: 6,
}
"""Events of the embedded archive in its later years."""


@dataclass(frozen=True)
class PlannedEvent:
    """An event to be placed somewhere in the forest."""

    cause: Cause
    area_ha: float
    start: np.datetime64


@dataclass(frozen=True)
class EventMap:
    """Where events found room; all (y, x) in pixels of `EVENT_PIXEL_M`."""

    cause: Bytes
    severity: Bytes
    """Share of the canopy that goes, 255 = all."""
    day: npt.NDArray[np.uint16]
    """Day number, 0 = undisturbed."""
    event: npt.NDArray[np.uint16]
    """Number of the event from 1, 0 = none."""


def archive_plan(seed: int, *, years: range, history: range) -> list[PlannedEvent]:
    """Plan the events of the embedded archive: many in `years`, six in the `history` before.

    Returns
    -------
    list of PlannedEvent
        0.36–25 ha each, the largest first, while there is room for them.
    """
    rng = np.random.default_rng([seed, 3])
    plan = []
    for cause, count in ARCHIVE_COUNTS.items():
        for number in range(count):
            date = _draw_date(rng, cause, years[number % len(years)])
            plan.append(PlannedEvent(cause, _draw_area(rng, cause), date))
    for number, cause in enumerate([Cause.CLEAR_CUT, Cause.WINTER_CLEAR_CUT, Cause.THINNING] * 2):
        date = _draw_date(rng, cause, history[number % len(history)])
        plan.append(PlannedEvent(cause, _draw_area(rng, cause), date))
    return sorted(plan, key=lambda event: -event.area_ha)


def balanced_plan(
    seed: int,
    *,
    wanted_ha: float,
    largest_ha: float,
    causes: tuple[Cause, ...],
    first: np.datetime64,
    last: np.datetime64,
) -> list[PlannedEvent]:
    """Plan events of all `causes` in turn until `wanted_ha` are reached.

    A cause whose season lies outside `first` … `last` does not occur.
    """
    rng = np.random.default_rng([seed, 3])
    years = np.arange(first.astype("datetime64[Y]"), last.astype("datetime64[Y]") + 1)
    plan: list[PlannedEvent] = []
    planned = 0.0
    for turn in range(100 * max(len(causes), 1)):
        if planned >= wanted_ha or not causes:
            break
        cause = causes[turn % len(causes)]
        date = _draw_date(rng, cause, int(rng.choice(years).astype(np.int64)) + 1970)
        area = min(_draw_area(rng, cause), largest_ha)
        if first <= date <= last:
            plan.append(PlannedEvent(cause, area, date))
            planned += area
    return plan


def place(
    rng: np.random.Generator,
    plan: list[PlannedEvent],
    *,
    forest: npt.NDArray[np.bool_],
    conifers: npt.NDArray[np.bool_],
) -> EventMap:
    """Find room for each event in turn; one that finds none is left out.

    Parameters
    ----------
    rng
        Source of chance.
    plan
        What to place.
    forest, conifers
        Where there is forest, and where it is of conifers (for dieback and fire), (y, x).

    Returns
    -------
    EventMap
        Events lie in the forest and at least `CLEARANCE_PIXELS` apart.
    """
    ragged = smooth_field(rng, forest.shape, scale=16, roughness=2.2)
    maps = EventMap(
        np.zeros(forest.shape, np.uint8),
        np.zeros(forest.shape, np.uint8),
        np.zeros(forest.shape, np.uint16),
        np.zeros(forest.shape, np.uint16),
    )
    free = forest.copy()
    number = 0
    for event in plan:
        allowed = free & conifers if event.cause in (Cause.DIEBACK, Cause.FIRE) else free
        found = _find_room(rng, event, allowed, ragged)
        if found is None:
            continue
        number += 1
        _enter(rng, maps, number, event, found)
        _keep_clear(free, found)
    return maps


def ages(start: np.datetime64, end: np.datetime64) -> Floats:
    """Ages of disturbed ground that can occur, days, in steps of `AGE_STEP_DAYS`."""
    steps = int((end - start) // DAY) // AGE_STEP_DAYS + 2
    return np.asarray((np.arange(steps) + 0.5) * AGE_STEP_DAYS, dtype=np.float32)


def progress(age_days: Floats) -> Floats:
    """Share of the severity reached at each age, (cause, age): at once, but dieback is slow."""
    share = np.ones((len(Cause), age_days.size), dtype=np.float32)
    share[Cause.DIEBACK] = np.clip(age_days / DIEBACK_DAYS, 0, 1)
    return share


@dataclass(frozen=True)
class _Room:
    """A window of the map, the event's pixels in it, how late each is reached (0…1)."""

    window: tuple[slice, slice]
    inside: npt.NDArray[np.bool_]
    lateness: Floats


def _draw_area(rng: np.random.Generator, cause: Cause) -> float:
    """Hectares, log-normal."""
    return float(np.clip(HABITS[cause].typical_ha * np.exp(rng.normal(0, 0.8)), 0.36, 25))


def _draw_date(rng: np.random.Generator, cause: Cause, year: int) -> np.datetime64:
    """First day of an event, in the season of its cause."""
    habit = HABITS[cause]
    return np.datetime64(f"{year}-01-01") + int(rng.integers(habit.first_day, habit.last_day)) * DAY


def _find_room(
    rng: np.random.Generator,
    event: PlannedEvent,
    allowed: npt.NDArray[np.bool_],
    ragged: Floats,
) -> _Room | None:
    candidates = np.flatnonzero(allowed)
    if candidates.size == 0:
        return None
    pixels = event.area_ha * 10_000 / EVENT_PIXEL_M**2
    reach = int(2.2 * np.sqrt(pixels)) + 2
    for _ in range(TRIES):
        row, column = divmod(int(rng.choice(candidates)), allowed.shape[1])
        window = (
            slice(max(row - reach, 0), row + reach + 1),
            slice(max(column - reach, 0), column + reach + 1),
        )
        rows = np.arange(allowed.shape[0])[window[0], np.newaxis] - row
        columns = np.arange(allowed.shape[1])[np.newaxis, window[1]] - column
        shape, lateness = _outline(rng, event.cause, pixels, rows, columns, ragged[window])
        inside = shape & allowed[window]
        if inside.sum() >= max(8, 0.7 * pixels):
            return _Room(window, inside, lateness)
    return None


def _outline(
    rng: np.random.Generator,
    cause: Cause,
    pixels: float,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    ragged: Floats,
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Rectangles for what machines do, ragged patches for what nature does."""
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.12)
    aspect = rng.uniform(1.3, 3.0)
    if cause is Cause.WINDTHROW:  # along the wind, whose direction storms here share
        angle, aspect = 0.6 + rng.normal(0, 0.15), rng.uniform(2.5, 4.5)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    if cause in (Cause.CLEAR_CUT, Cause.WINTER_CLEAR_CUT, Cause.THINNING):
        half_length, half_width = np.sqrt(pixels * aspect) / 2, np.sqrt(pixels / aspect) / 2
        shape = (np.abs(along) <= half_length) & (np.abs(across) <= half_width)
        lateness = (along + half_length) / (2 * half_length)
    else:
        stretch = np.sqrt(aspect) if cause is Cause.WINDTHROW else 1.0
        distance = np.hypot(along / stretch, across * stretch) / np.sqrt(pixels / np.pi)
        shape = distance < 1 + 0.28 * ragged
        lateness = distance / 1.6
    return np.asarray(shape), np.asarray(np.clip(lateness, 0, 0.999), dtype=np.float32)


def _enter(
    rng: np.random.Generator, maps: EventMap, number: int, event: PlannedEvent, room: _Room
) -> None:
    habit = HABITS[event.cause]
    window, inside = room.window, room.inside
    days = habit.days + habit.days_per_ha * event.area_ha
    low, high = habit.severity
    severity = rng.uniform(low, high) + 0.06 * rng.standard_normal(int(inside.sum()))
    maps.event[window][inside] = number
    maps.cause[window][inside] = event.cause
    late = np.floor(room.lateness[inside] * days).astype(np.uint16)
    maps.day[window][inside] = to_day_number(event.start) + late
    maps.severity[window][inside] = to_bytes(np.clip(severity, low, 1))


def _keep_clear(free: npt.NDArray[np.bool_], room: _Room) -> None:
    """Take the event and a margin around it out of what is free."""
    from scipy.ndimage import binary_dilation

    margin = CLEARANCE_PIXELS
    rows, columns = room.window
    wide = (
        slice(max(rows.start - margin, 0), rows.stop + margin),
        slice(max(columns.start - margin, 0), columns.stop + margin),
    )
    around = np.zeros(free[wide].shape, dtype=bool)
    top, left = rows.start - wide[0].start, columns.start - wide[1].start
    height, width = room.inside.shape
    around[top : top + height, left : left + width] = room.inside
    free[wide] &= ~binary_dilation(around, iterations=margin)
