"""Composites: one value a pixel and period from whatever was clear in it."""

from collections.abc import Mapping
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
