"""Composites: one value a pixel and period from whatever was clear in it."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from lesniva.conventions import NODATA_INT16
from lesniva.errors import InputError

Period = Literal["day", "dekad", "month", "season", "all"]
Statistic = Literal["median", "max", "mean"]

_STATISTICS: Mapping[str, int] = {"median": 0, "max": 1, "mean": 2}


def periods(dates: npt.ArrayLike, period: Period) -> list[str]:
    """Label the period that each date belongs to.

    Parameters
    ----------
    dates
        ``datetime64`` array.
    period
        ``day``, ``dekad`` (days 1–10, 11–20, 21–end of a month), ``month``, ``season`` (calendar
        year) or ``all``.

    Returns
    -------
    list of str
        ``2024-06-15``, ``2024-06-d2``, ``2024-06``, ``2024`` or ``all``: sorting the labels sorts
        the periods.
    """
    days = np.asarray(dates, dtype="datetime64[D]")
    text = days.astype(str)
    if period == "day":
        return list(text)
    if period == "dekad":
        return [f"{day[:7]}-d{min((int(day[8:]) - 1) // 10, 2) + 1}" for day in text]
    if period == "month":
        return [day[:7] for day in text]
    if period == "season":
        return [day[:4] for day in text]
    if period == "all":
        return ["all"] * len(text)
    raise InputError(f"unknown period {period}: use day, dekad, month, season or all")


def days_of(period: str) -> tuple[dt.date, dt.date]:
    """First and last day of a period by its label (see `periods`), all but ``all``.

    Raises
    ------
    InputError
        The label is none.
    """
    parts = period.split("-")
    try:
        year, month = int(parts[0]), int(parts[1]) if len(parts) > 1 else 1
        if len(parts) == 1:
            return dt.date(year, 1, 1), dt.date(year, 12, 31)
        first = dt.date(year, month, 1)
        last = dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)
        if len(parts) == 2:
            return first, last
        if parts[2] in ("d1", "d2"):
            start = 1 if parts[2] == "d1" else 11
            return first.replace(day=start), first.replace(day=start + 9)
        if parts[2] == "d3":
            return first.replace(day=21), last
        day = first.replace(day=int(parts[2]))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"no period {period!r}; a label is like 2024-06-15, 2024-06-d2, 2024-06 or 2024"
        ) from error
    return day, day


def same_of_earlier_years(period: str, known: Iterable[str]) -> list[str]:
    """Labels of the same dekad, month or season in earlier years, rising.

    Parameters
    ----------
    period
        A label such as ``2024-06-d2`` (see `periods`).
    known
        The labels that there are.
    """
    year, rest = period[:4], period[4:]
    return sorted({label for label in known if label[4:] == rest and label[:4] < year})


def anomaly(
    value: npt.NDArray[np.int16], earlier: Iterable[npt.NDArray[np.int16]], *, min_years: int
) -> npt.NDArray[np.int16]:
    """Departure of a composite from the mean of the same period in earlier years.

    Parameters
    ----------
    value
        (y, x) int16 composite × `INDEX_SCALE`, missing `NODATA_INT16`.
    earlier
        Composites of the same period, one a year; looked at one by one.
    min_years
        Fewest earlier years in which a pixel has a value.

    Returns
    -------
    (y, x) int16
        `value` minus the mean, in the same steps, within ±32767; missing where either is.
    """
    total = np.zeros(value.shape, dtype=np.int64)
    years = np.zeros(value.shape, dtype=np.int64)
    for one in earlier:
        there = one != NODATA_INT16
        total += np.where(there, one, 0)
        years += there
    known = (value != NODATA_INT16) & (years >= max(min_years, 1))
    mean = np.divide(total, years, out=np.zeros(value.shape), where=years > 0)
    departure = np.clip(np.rint(value - mean), -32767, 32767)
    return np.where(known, departure, NODATA_INT16).astype(np.int16)


CHUNK = 64
"""Pixels that are worked on together: the innermost loops become SIMD, and their tile stays in the
cache while it is gone through again and again."""


@numba.njit(nogil=True, cache=True)
def _take(stack: Any, members: Any, row: int, first: int, tile: Any, missing: Any) -> None:
    """Copy the slices of some pixels of a row into tile[member, pixel]; count what is missing."""
    width = min(CHUNK, stack.shape[2] - first)
    missing[:] = members.size
    for t in range(members.size):
        for i in range(width):
            value = stack[members[t], row, first + i]
            tile[t, i] = value
            missing[i] -= value != NODATA_INT16


@numba.njit(nogil=True, cache=True)
def _select(tile: Any, rank: Any, out: Any) -> None:
    """Give the value of a rank (from 0) in each column of a tile; the missing are the smallest.

    Bisects the 16 bits of the answer by counting: no value is moved and no branch is guessed wrong.
    """
    low = np.full(CHUNK, -32768, dtype=np.int32)
    middle = np.empty(CHUNK, dtype=np.int16)
    above = np.full(CHUNK, 32768, dtype=np.int32)
    count = np.empty(CHUNK, dtype=np.int16)
    for _ in range(16):
        for i in range(CHUNK):
            middle[i] = (low[i] + above[i]) // 2 - 1
            count[i] = 0
        for t in range(tile.shape[0]):
            for i in range(CHUNK):
                count[i] += tile[t, i] <= middle[i]
        for i in range(CHUNK):
            if count[i] > rank[i]:
                above[i] = middle[i] + 1
            else:
                low[i] = middle[i] + 1
    for i in range(CHUNK):
        out[i] = low[i]


@numba.njit(nogil=True, cache=True)
def _fold(tile: Any, statistic: int, out: Any) -> None:
    """Largest value (1) or sum (2) of each column of a tile, the missing included."""
    out[:] = NODATA_INT16 if statistic == 1 else 0
    for t in range(tile.shape[0]):
        for i in range(CHUNK):
            out[i] = max(out[i], tile[t, i]) if statistic == 1 else out[i] + tile[t, i]


@numba.njit(nogil=True, cache=True)
def _reduce(stack: Any, members: Any, statistic: int, out: Any, count: Any) -> None:
    """One pass over the slices of a period; `out` int16, `count` uint8."""
    size = members.size
    tile = np.full((size, CHUNK), NODATA_INT16, dtype=np.int16)
    missing, rank = np.empty((2, CHUNK), dtype=np.int16)
    lower, upper = np.empty((2, CHUNK), dtype=np.int32)
    for row in range(out.shape[0]):
        for first in range(0, out.shape[1], CHUNK):
            _take(stack, members, row, first, tile, missing)
            if statistic == 0:
                rank[:] = (missing + size - 1) // 2
                _select(tile, rank, lower)
                rank[:] = (missing + size) // 2
                _select(tile, rank, upper)
            else:
                _fold(tile, statistic, upper)
            for i in range(min(CHUNK, out.shape[1] - first)):
                seen = size - missing[i]
                count[row, first + i] = min(seen, 255)
                if seen == 0:
                    value = NODATA_INT16
                elif statistic == 0:
                    value = int(np.rint((lower[i] + upper[i]) / 2))
                elif statistic == 1:
                    value = upper[i]
                else:
                    value = int(np.rint((upper[i] - missing[i] * NODATA_INT16) / seen))
                out[row, first + i] = value


def composite(
    stack: npt.NDArray[np.int16], members: npt.ArrayLike, *, statistic: Statistic = "median"
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Reduce some slices of an index stack to one.

    Parameters
    ----------
    stack
        (time, y, x) int16 index × `INDEX_SCALE`, missing `NODATA_INT16`.
    members
        Slices that belong to the period.
    statistic
        ``median`` (robust against clouds the mask missed), ``max`` or ``mean`` of the clear values.

    Returns
    -------
    value : (y, x) int16, missing `NODATA_INT16`
    count : (y, x) uint8
        Clear observations, at most 255.
    """
    shape = stack.shape[1:]
    out = np.empty(shape, dtype=np.int16)
    count = np.empty(shape, dtype=np.uint8)
    _reduce(stack, np.asarray(members, dtype=np.int64), _STATISTICS[statistic], out, count)
    return out, count


def percentile_range(
    stack: npt.NDArray[np.int16], *, low: float, high: float
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Low and high percentile of the clear values of each pixel.

    Parameters
    ----------
    stack
        (time, y, x) int16, missing `NODATA_INT16`.
    low, high
        Shares from 0 to 1; the nearest order statistic is taken.

    Returns
    -------
    Two (y, x) int16 arrays, missing `NODATA_INT16`.
    """
    lows = np.empty(stack.shape[1:], dtype=np.int16)
    highs = np.empty(stack.shape[1:], dtype=np.int16)
    _percentiles(stack, low, high, lows, highs)
    return lows, highs


@numba.njit(nogil=True, cache=True)
def _percentiles(stack: Any, low: float, high: float, lows: Any, highs: Any) -> None:
    size = stack.shape[0]
    members = np.arange(size)
    tile = np.full((size, CHUNK), NODATA_INT16, dtype=np.int16)
    missing, rank = np.empty((2, CHUNK), dtype=np.int16)
    value = np.empty(CHUNK, dtype=np.int32)
    for row in range(lows.shape[0]):
        for first in range(0, lows.shape[1], CHUNK):
            _take(stack, members, row, first, tile, missing)
            for share, out in ((low, lows), (high, highs)):
                for i in range(CHUNK):
                    rank[i] = missing[i] + round(share * max(size - missing[i] - 1, 0))
                _select(tile, rank, value)
                for i in range(min(CHUNK, lows.shape[1] - first)):
                    out[row, first + i] = value[i] if missing[i] < size else NODATA_INT16
