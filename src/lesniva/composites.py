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


@numba.njit(nogil=True, cache=True)
def _sort(values: Any, n: int) -> None:
    """Sort the first n values in place; series are short, and this compiles in no time."""
    for i in range(1, n):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@numba.njit(nogil=True, cache=True)
def _reduce(stack: Any, members: Any, statistic: int, out: Any, count: Any) -> None:
    """One pass a pixel over the slices of a period; `out` int16, `count` uint8."""
    values = np.empty(members.size, dtype=np.int32)
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            n = 0
            for member in members:
                value = stack[member, row, col]
                if value != NODATA_INT16:
                    values[n] = value
                    n += 1
            count[row, col] = min(n, 255)
            if n == 0:
                out[row, col] = NODATA_INT16
            elif statistic == 0:
                _sort(values, n)
                out[row, col] = int(np.rint((values[(n - 1) // 2] + values[n // 2]) / 2))
            elif statistic == 1:
                _sort(values, n)
                out[row, col] = values[n - 1]
            else:
                total = 0
                for i in range(n):
                    total += values[i]
                out[row, col] = int(np.rint(total / n))


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
    values = np.empty(stack.shape[0], dtype=np.int16)
    for row in range(lows.shape[0]):
        for col in range(lows.shape[1]):
            n = 0
            for date in range(stack.shape[0]):
                value = stack[date, row, col]
                if value != NODATA_INT16:
                    values[n] = value
                    n += 1
            if n == 0:
                lows[row, col] = highs[row, col] = NODATA_INT16
            else:
                _sort(values, n)
                lows[row, col] = values[round(low * (n - 1))]
                highs[row, col] = values[round(high * (n - 1))]
