"""Structural change tests in double precision, with the conventions of R.

Ordinary least squares on a history, then the cumulative or moving sums of the residuals against
their borders (Chu, Stinchcombe & White 1996; Zeileis et al. 2005; Verbesselt et al. 2012). The
numbers are those of the R packages strucchange 1.5-3 (``mefp``, ``efp``) and bfast 1.7.2
(``bfastmonitor``, ``history_roc``); residuals are observed minus predicted everywhere.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.critical import (
    cusum_critical_value,
    mosum_critical_value,
    reverse_cusum_critical_value,
)
from lesniva.change.regression import (
    Float,
    Int,
    back_substitute,
    inner,
    median,
    reversed_recursive_residuals,
    rotate_in,
    stable_start,
)
from lesniva.errors import InputError


class ReverseCusum(NamedTuple):
    """Recursive residuals of a series taken backwards, and their CUSUM."""

    residuals: Float
    """(n − k) recursive residuals, newest first."""
    process: Float
    """(n − k) S_1 …; S_0 = 0 is left out."""
    boundary: Float
    """(n − k) λ (1 + 2j / (n − k))."""
    statistic: float
    """max |S_j| / (1 + 2j / (n − k))."""
    start: int
    """First (0-based) observation of the stable history."""


class Monitoring(NamedTuple):
    """What monitoring found in each pixel."""

    coefficients: Float
    """(coefficient, pixel), NaN where the history does not carry the model."""
    sigma: Float
    """(pixel) √(RSS / (m − k)) of the history."""
    history_start: Int
    """(pixel) first row of the history used; −1 without model."""
    n_history: Int
    """(pixel) m, observations of the history used."""
    process: Float
    """(row of monitoring, pixel), NaN without observation."""
    border: Float
    """(row of monitoring, pixel), NaN without observation."""
    break_row: Int
    """(pixel) row of y at which |process| first exceeds the border; −1 = none."""
    magnitude: Float
    """(pixel) median residual of the whole monitoring period."""


def reverse_cusum(y: npt.ArrayLike, X: npt.ArrayLike, *, level: float = 0.05) -> ReverseCusum:
    """Reverse ordered Rec-CUSUM of one series (Pesaran & Timmermann 2002).

    Parameters
    ----------
    y
        (time) float64, NaN = missing; observations are counted without the missing ones.
    X
        (time, k) regressors.
    level
        Significance level.

    Raises
    ------
    InputError
        If fewer than k + 2 observations are there.
    """
    values, regressors = _checked(np.atleast_1d(np.asarray(y, dtype=np.float64))[:, None], X)
    rows = np.flatnonzero(~np.isnan(values[:, 0]))
    n, k = rows.size, regressors.shape[1]
    if n < k + 2:
        raise InputError(f"{n} observations for {k} coefficients; give {k + 2} at least")
    critical = reverse_cusum_critical_value(level)
    w = np.empty(n - k)
    seen = values[rows, 0]
    reversed_recursive_residuals(regressors, seen, rows, n, k, np.empty((k, k + 1)), np.empty(k), w)
    process = np.cumsum(w) / (w.std(ddof=1) * np.sqrt(n - k))
    slope = 1.0 + 2.0 * np.arange(1, n - k + 1) / (n - k)
    return ReverseCusum(
        residuals=w,
        process=process,
        boundary=critical * slope,
        statistic=float(np.max(np.abs(process) / slope)),
        start=stable_start(w, n, k, critical),
    )


def monitor(
    y: npt.ArrayLike,
    X: npt.ArrayLike,
    n_history: int,
    *,
    process: Literal["cusum", "mosum"] = "mosum",
    history: Literal["all", "roc"] = "all",
    h: float = 0.25,
    period: int = 10,
    level: float = 0.05,
) -> Monitoring:
    """Monitor series for a structural change after their history.

    Parameters
    ----------
    y
        (time, pixel) float64, NaN = missing.
    X
        (time, k) regressors, the same for all pixels (`regression.design`, `bfast_regressors`).
    n_history
        Rows of the history; the rest is monitored.
    process
        "cusum": OLS-CUSUM; "mosum": OLS-MOSUM over ⌊h m⌋ observations.
    history
        "all", or "roc": its stable part by the reverse ordered CUSUM at the same level.
    h, period
        Window share of the OLS-MOSUM, and monitoring period in histories of its critical value.
    level
        Significance level.

    Returns
    -------
    Monitoring
        Pixels with fewer than k + 2 observations in the history have no model.

    Notes
    -----
    With x = t / m, t counting all observations from the history's start: the cumulative sum of
    residuals over σ √m has the border √(x (x − 1) (a² + log(x / (x − 1)))); the moving sum has
    λ √(2 log₊ x), log₊ = 1 up to e.
    """
    values, regressors = _checked(y, X)
    if not 0 < n_history < len(values):
        raise InputError(
            f"n_history is {n_history} of {len(values)} rows; leave at least one row to monitor"
        )
    if process not in ("cusum", "mosum") or history not in ("all", "roc"):
        raise InputError(
            f"process={process!r}, history={history!r}; use process 'cusum' or 'mosum', "
            "history 'all' or 'roc'"
        )
    mosum = process == "mosum"
    critical = (
        mosum_critical_value(level, h=h, period=period) if mosum else cusum_critical_value(level)
    )
    k = regressors.shape[1]
    n_pixels = values.shape[1]
    n_monitored = len(values) - n_history
    found = Monitoring(
        coefficients=np.full((k, n_pixels), np.nan),
        sigma=np.full(n_pixels, np.nan),
        history_start=np.full(n_pixels, -1),
        n_history=np.zeros(n_pixels, dtype=np.int64),
        process=np.full((n_monitored, n_pixels), np.nan),
        border=np.full((n_monitored, n_pixels), np.nan),
        break_row=np.full(n_pixels, -1),
        magnitude=np.full(n_pixels, np.nan),
    )
    _monitor_pixels(
        values,
        regressors,
        n_history,
        reverse_cusum_critical_value(level) if history == "roc" else 0.0,
        h if mosum else 0.0,
        critical,
        found,
    )
    return found


def bfast_regressors(time: npt.ArrayLike, order: int, *, trend: bool = True) -> tuple[Float, Float]:
    """Decimal years and regressors as ``bfastmonitor`` makes them of dates.

    Parameters
    ----------
    time
        Rising ``datetime64`` dates.
    order
        Number of harmonics.
    trend
        With the trend column (after the intercept): the 1-based day of a grid that begins at the
        first date.

    Returns
    -------
    tuple of ndarray
        (time) decimal years and (time, k) regressors: 1, [trend,] cos 2πt, sin 2πt, … Years have
        365 days; 29 February is taken for 1 March.
    """
    days = np.asarray(time, dtype="datetime64[D]")
    years = days.astype("datetime64[Y]")
    year = years.astype(np.int64) + 1970
    day_of_year = (days - years.astype("datetime64[D]")).astype(np.int64)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    day_of_year -= leap & (day_of_year >= 60)
    decimal = year + day_of_year / 365.0
    columns = [np.ones(days.size)]
    if trend:
        grid = 365 * year + day_of_year
        columns.append((grid - grid[0] + 1).astype(np.float64))
    for k in range(1, order + 1):
        columns += [np.cos(2.0 * np.pi * k * decimal), np.sin(2.0 * np.pi * k * decimal)]
    return decimal, np.ascontiguousarray(np.stack(columns, axis=1))


def _checked(y: npt.ArrayLike, X: npt.ArrayLike) -> tuple[Float, Float]:
    values = np.ascontiguousarray(y, dtype=np.float64)
    regressors = np.ascontiguousarray(X, dtype=np.float64)
    if values.ndim != 2 or regressors.ndim != 2 or len(values) != len(regressors):
        raise InputError(
            f"series of shape {values.shape} and regressors of shape {regressors.shape} do not "
            "match; give (time, pixel) and (time, k)"
        )
    return values, regressors


@njit(nogil=True, cache=True, error_model="numpy")
def _monitor_pixels(
    values: Float,
    X: Float,
    n_history: int,
    roc: float,
    h: float,
    critical: float,
    found: Monitoring,
) -> None:
    """All pixels; roc 0 = whole history, h 0 = cumulative instead of moving sums."""
    n_times, k = X.shape
    rows = np.empty(n_times, dtype=np.int64)
    y = np.empty(n_times)
    e = np.empty(n_times)
    work = np.empty(n_times)
    R = np.empty((k, k + 1))
    x = np.empty(k)
    for pixel in range(values.shape[1]):
        n, m = _gather(values[:, pixel], n_history, rows, y)
        if m < k + 2:
            continue
        begin = 0
        if roc > 0.0:
            reversed_recursive_residuals(X, y, rows, m, k, R, x, work)
            begin = stable_start(work, m, k, roc)
        m -= begin
        found.n_history[pixel] = m
        found.history_start[pixel] = rows[begin]
        if m <= k:
            continue
        beta = found.coefficients[:, pixel]
        found.sigma[pixel] = _history_fit(X, y[begin:], rows[begin:], m, k, R, x, beta)
        total = n - begin
        _residuals(X, y[begin:], rows[begin:], total, beta, e)
        _sums(e, rows[begin:], m, total, found.sigma[pixel], h, critical, n_history, pixel, found)
        if total > m:
            work[: total - m] = e[m:total]
            found.magnitude[pixel] = median(work, total - m)


@inner
def _gather(series: Float, n_history: int, rows: Int, y: Float) -> tuple[int, int]:
    """Observations of a series into rows and y; how many there are, and in the history."""
    n, m = 0, 0
    for t in range(series.size):
        if not np.isnan(series[t]):
            rows[n] = t
            y[n] = series[t]
            n += 1
            if t < n_history:
                m = n
    return n, m


@inner
def _residuals(X: Float, y: Float, rows: Int, n: int, beta: Float, e: Float) -> None:
    for i in range(n):
        fitted = 0.0
        for j in range(beta.size):
            fitted += X[rows[i], j] * beta[j]
        e[i] = y[i] - fitted


@inner
def _history_fit(
    X: Float, y: Float, rows: Int, m: int, k: int, R: Float, x: Float, beta: Float
) -> float:
    """Least squares of the first m observations; returns √(RSS / (m − k))."""
    R[:, :] = 0.0
    for i in range(m):
        for j in range(k):
            x[j] = X[rows[i], j]
        rotate_in(R, x, y[i], k)
    back_substitute(R, k, beta)
    square = 0.0
    for i in range(m):
        fitted = 0.0
        for j in range(k):
            fitted += X[rows[i], j] * beta[j]
        square += (y[i] - fitted) ** 2
    return float(np.sqrt(square / (m - k)))


@inner
def _sums(
    e: Float,
    rows: Int,
    m: int,
    total: int,
    sigma: float,
    h: float,
    critical: float,
    n_history: int,
    pixel: int,
    found: Monitoring,
) -> None:
    """Process, border and break of one pixel."""
    scale = sigma * np.sqrt(m)
    window = int(np.floor(h * m))
    running = 0.0
    for i in range(m - window if h > 0.0 else 0, m):
        running += e[i]
    for i in range(m, total):
        running += e[i]
        if h > 0.0:
            running -= e[i - window]
        share = (i + 1) / m
        if h > 0.0:
            border = critical * np.sqrt(2.0 * max(1.0, np.log(share)))
        else:
            border = np.sqrt(share * (share - 1.0) * (critical**2 + np.log(share / (share - 1.0))))
        process = running / scale
        row = rows[i] - n_history
        found.process[row, pixel] = process
        found.border[row, pixel] = border
        if found.break_row[pixel] < 0 and abs(process) > border:
            found.break_row[pixel] = rows[i]
