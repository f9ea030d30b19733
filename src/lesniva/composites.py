"""Composites: one value a pixel and period from whatever was clear in it."""

import datetime as dt
from collections.abc import Iterable, Mapping
from functools import lru_cache
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


CHUNK = 256
"""Pixels that are worked on together: the innermost loops become SIMD, and their tile stays in the
cache while it is gone through again and again."""


def _lanewise(function: Any) -> Any:
    """Compile a step over tiles (member, pixel).

    Choosing among numbers already loaded, instead of branching, makes it SIMD.
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


@lru_cache
def _sorting(size: int) -> npt.NDArray[np.int64]:
    """Which rows to compare, one pair after the other, to sort the columns of a tile.

    Batcher's network for any number of values (Knuth 1998, 5.2.2 M): what is compared does not
    depend on the values, so that many pixels are sorted side by side.

    Returns
    -------
    (pair, 4) int64
        The two rows, and whether the smaller value is to be kept in the first of them and the
        larger one in the second (1 or 0).
    """
    pairs = []
    run = 1
    while run < size:
        apart = run
        while apart >= 1:
            for start in range(apart % run, size - apart, 2 * apart):
                pairs += [
                    (t, t + apart, 1, 1)
                    for t in range(start, min(start + apart, size - apart))
                    if t // (2 * run) == (t + apart) // (2 * run)
                ]
            apart //= 2
        run *= 2
    return np.array(pairs, dtype=np.int64).reshape(-1, 4)


@lru_cache
def _middle(size: int) -> npt.NDArray[np.int64]:
    """Leave of `_sorting` what the two rows in the middle depend on."""
    wanted = {(size - 1) // 2, (size - 1) // 2 + 1}
    kept = []
    for one, other, _, _ in reversed(_sorting(size).tolist()):
        if one in wanted or other in wanted:
            kept.append((one, other, int(one in wanted), int(other in wanted)))
            wanted |= {one, other}
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 4)


@_lanewise
def _take(
    stack: Any, members: Any, row: int, first: int, balanced: bool, tile: Any, missing: Any
) -> None:
    """Copy the slices of some pixels of a row into a tile; count what is missing.

    Where `balanced` is set every second missing value of a pixel becomes the largest number there
    is, so that the median is in the middle of the column however many are missing.
    """
    width = min(tile.shape[1], stack.shape[2] - first)
    missing[:] = 0
    for t in range(members.size):
        values, line = stack[members[t], row, first : first + width], tile[t]
        for i in range(values.size):
            value, before = values[i], missing[i]
            lacks = np.int16(value == NODATA_INT16)
            # a smallest number, all bits turned, is the largest one
            line[i] = value ^ -(lacks & before & np.int16(balanced))
            missing[i] = before + lacks


@_lanewise
def _put(value: Any, out: Any) -> None:
    """Copy as much as there is room for (a slice set to a slice takes ten times as long)."""
    for i in range(out.size):
        out[i] = value[i]


@_lanewise
def _exchange(low: Any, high: Any) -> None:
    """Put the smaller of two values first, pixel by pixel."""
    for i in range(low.size):
        one, other = low[i], high[i]
        low[i], high[i] = min(one, other), max(one, other)


@_lanewise
def _lower(low: Any, high: Any) -> None:
    for i in range(low.size):
        low[i] = min(low[i], high[i])


@_lanewise
def _raise(low: Any, high: Any) -> None:
    for i in range(low.size):
        high[i] = max(low[i], high[i])


@_lanewise
def _sort(tile: Any, pairs: Any) -> None:
    """Sort each column of a tile as far as the pairs do."""
    for p in range(pairs.shape[0]):
        low, high = tile[pairs[p, 0]], tile[pairs[p, 1]]
        if pairs[p, 2] and pairs[p, 3]:
            _exchange(low, high)
        elif pairs[p, 2]:
            _lower(low, high)
        else:
            _raise(low, high)


@_lanewise
def _pick(tile: Any, rank: Any, out: Any) -> None:
    """Give the value of a rank (from 0) in each column of a sorted tile."""
    out[:] = NODATA_INT16
    for t in range(tile.shape[0]):
        line = tile[t]
        for i in range(out.size):
            value, before = line[i], out[i]
            out[i] = value if rank[i] == t else before


@_lanewise
def _median(tile: Any, pairs: Any, missing: Any, out: Any) -> None:
    """Median of each column of a balanced tile: the mean of its two middle values, half to even."""
    size = tile.shape[0]
    _sort(tile, pairs)
    middle = (size - 1) // 2
    # of an odd number of values there is one in the middle: which, tells the size of the column
    first, second = tile[middle], tile[min(middle + 1, size - 1)]
    for i in range(out.size):
        one, other = np.int32(first[i]), np.int32(second[i])
        odd = ((size - missing[i]) & 1) == 1
        low = other if odd & (size % 2 == 0) else one
        high = one if odd & (size % 2 == 1) else other
        total = low + high
        value = total >> 1
        value += total & value & 1
        out[i] = value if missing[i] < size else NODATA_INT16


@_lanewise
def _largest(tile: Any, out: Any) -> None:
    """Largest value of each column; what is missing is below all others."""
    out[:] = NODATA_INT16
    for t in range(tile.shape[0]):
        line = tile[t]
        for i in range(out.size):
            out[i] = max(out[i], line[i])


@_lanewise
def _mean(tile: Any, missing: Any, total: Any, out: Any) -> None:
    """Mean of the values of each column that are there."""
    size = tile.shape[0]
    total[:] = 0
    for t in range(size):
        line = tile[t]
        for i in range(out.size):
            value = np.int32(line[i])
            total[i] += value if value != NODATA_INT16 else np.int32(0)
    for i in range(out.size):
        mean = np.int32(np.rint(total[i] / max(size - missing[i], 1)))
        out[i] = mean if missing[i] < size else NODATA_INT16


@_lanewise
def _reduce(stack: Any, members: Any, pairs: Any, statistic: int, out: Any, count: Any) -> None:
    """One pass over the slices of a period; `out` int16, `count` uint8."""
    size = members.size
    tile = np.full((size, CHUNK), NODATA_INT16, dtype=np.int16)
    missing, value = np.empty((2, CHUNK), dtype=np.int16)
    total = np.empty(CHUNK, dtype=np.int32)
    for row in range(out.shape[0]):
        for first in range(0, out.shape[1], CHUNK):
            _take(stack, members, row, first, statistic == 0, tile, missing)
            if statistic == 0:
                _median(tile, pairs, missing, value)
            elif statistic == 1:
                _largest(tile, value)
            else:
                _mean(tile, missing, total, value)
            width = min(CHUNK, out.shape[1] - first)
            _put(value, out[row, first : first + width])
            counted = count[row, first : first + width]
            for i in range(width):
                counted[i] = min(size - missing[i], 255)


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
    places = np.asarray(members, dtype=np.int64)
    if not places.size:
        out.fill(NODATA_INT16)
        count.fill(0)
        return out, count
    _reduce(stack, places, _middle(places.size), _STATISTICS[statistic], out, count)
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
    _percentiles(stack, _sorting(len(stack)), low, high, lows, highs)
    return lows, highs


@_lanewise
def _percentiles(stack: Any, pairs: Any, low: float, high: float, lows: Any, highs: Any) -> None:
    size = stack.shape[0]
    members = np.arange(size)
    tile = np.full((size, CHUNK), NODATA_INT16, dtype=np.int16)
    missing, rank, value = np.empty((3, CHUNK), dtype=np.int16)
    for row in range(lows.shape[0]):
        for first in range(0, lows.shape[1], CHUNK):
            _take(stack, members, row, first, False, tile, missing)
            _sort(tile, pairs)
            width = min(CHUNK, lows.shape[1] - first)
            for share, out in ((low, lows), (high, highs)):
                for i in range(CHUNK):
                    rank[i] = missing[i] + round(share * max(size - missing[i] - 1, 0))
                _pick(tile, rank, value)
                _put(value, out[row, first : first + width])
