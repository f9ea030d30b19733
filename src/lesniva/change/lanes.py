"""Seasonal fits of many pixels side by side.

A tile of `LANES` pixels goes through each step together, so that the inner loops run over pixels
and become vector instructions; a pixel takes part with weights, 0 where it has no observation. What
a pixel gets depends on no other pixel of its tile: a weight of 0 adds exactly nothing. The buffers
of a tile are all the memory a fit needs besides the stack and its results.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import (
    MAD_TO_SIGMA,
    Float,
    Int,
    inner,
    median,
    solve_packed,
    stable_start,
)
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status

LANES = 64
"""Pixels of a tile: enough for the vector units, few enough for the second-level cache."""

MIN_OBSERVATIONS = 9
"""Fewer clear observations than this carry no seasonal model."""

MIN_SEASONS = 2
"""Calendar years a history must touch."""

MIN_STABLE_DAYS = 183
"""A stable history shorter than this says nothing of a season."""

MAX_COEFFICIENT = 3.2
"""An index lies between −1 and 1 (CRSWIR somewhat above): larger coefficients tell of gaps in the
season between which the harmonics swing; the order is then lowered. They also fit the int16 of the
monitor's state."""

_TUKEY = 4.685
_ROBUST_ITERATIONS = 6
_RIDGE = 1e-6
_SETTLED = 1e-7
"""Index units by which coefficients may still move when the iteration stops."""

_NODATA = int(NODATA_INT16)
_SCALE = float(INDEX_SCALE)
_FITTED = int(Status.NONE)
_TOO_FEW = int(Status.TOO_FEW_OBSERVATIONS)
_UNSTABLE = int(Status.UNSTABLE_HISTORY)
_NEVER = int(Status.NEVER_CLEAR)


class Calendar(NamedTuple):
    """What the dates of a stack mean to the fit."""

    day: Int
    """(time) day numbers."""
    year: Int
    """(time) calendar years."""
    X: Float
    """(time, p) regressors of the highest order."""
    XX: Float
    """(time, q) packed outer products of their rows."""


class Method(NamedTuple):
    """How to fit."""

    trend: int
    max_order: int
    robust: bool
    critical: float
    """λ of the reverse ordered CUSUM; 0 = no trim."""
    floor: float
    """Least noise in index units; negative = √(RSS / (n − p)) instead of the median rule."""


class Fitted(NamedTuple):
    """Results (…, pixel)."""

    coefficients: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32]
    order: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]
    n_history: npt.NDArray[np.uint16]
    history_start: npt.NDArray[np.uint16]
    last_observed: npt.NDArray[np.uint16]
    last_normal: npt.NDArray[np.uint16]


class Tile(NamedTuple):
    """Buffers of a tile: rows are the slices in which any of its pixels was observed."""

    rows: Int
    """(row) slice of each row."""
    y: Float
    """(row, lane) index, 0 where missing or trimmed."""
    w: Float
    """(row, lane) 1 where observed and not trimmed."""
    v: Float
    """(row, lane) weights of the fit in hand."""
    vy: Float
    """(row, lane) weighted index."""
    r: Float
    """(row, lane) residuals."""
    A: Float
    """(q, lane) normal matrices, packed."""
    b: Float
    """(p, lane) right sides."""
    beta: Float
    """(p, lane) coefficients, 0 above the order."""
    scale: Float
    """(lane) robust scale, 0 = leave the pixel as it is."""
    size: Int
    """(lane) number of coefficients, 0 = no model."""
    d: Float
    """(p, lane) pivots of the rotations."""
    R: Float
    """(p, p + 1, lane) unit triangular factors and, last, the rotated observations."""
    x: Float
    """(p + 1, lane) the row being rotated in, its observation last."""
    cs: Float
    """(3, lane) cosine and sine of a rotation, weight of the row."""
    recursive: Float
    """(lane, row) recursive residuals."""
    work: Float
    """(row)"""
    small: Float
    """(q + p) one pixel's normal equations."""


@njit(nogil=True, cache=True)
def fit_pixels(
    stack: npt.NDArray[np.int16], calendar: Calendar, method: Method, fitted: Fitted
) -> None:
    """Fit every pixel of stack (time, pixel)."""
    n_times, n_pixels = stack.shape
    p, q = calendar.X.shape[1], calendar.XX.shape[1]
    tile = Tile(
        np.empty(n_times, dtype=np.int64),
        np.empty((n_times, LANES)),
        np.empty((n_times, LANES)),
        np.empty((n_times, LANES)),
        np.empty((n_times, LANES)),
        np.empty((n_times, LANES)),
        np.empty((q, LANES)),
        np.empty((p, LANES)),
        np.empty((p, LANES)),
        np.empty(LANES),
        np.empty(LANES, dtype=np.int64),
        np.empty((p, LANES)),
        np.empty((p, p + 1, LANES)),
        np.empty((p + 1, LANES)),
        np.empty((3, LANES)),
        np.empty((LANES, n_times)),
        np.empty(n_times),
        np.empty(q + p),
    )
    for first in range(0, n_pixels, LANES):
        n_rows = _gather(stack, first, tile)
        _choose_orders(n_rows, first, calendar, method, tile, fitted)
        if method.critical > 0.0:
            _trim(n_rows, first, calendar, method, tile, fitted)
        _least_squares(n_rows, calendar, method, tile)
        if method.robust:
            _reweight(n_rows, calendar, tile)
        _store(n_rows, first, calendar, method, tile, fitted)


@inner
def _gather(stack: npt.NDArray[np.int16], first: int, tile: Tile) -> int:
    """Copy the observed slices of a tile; returns how many there are."""
    count = min(LANES, stack.shape[1] - first)
    n_rows = 0
    for t in range(stack.shape[0]):
        y, w = tile.y[n_rows], tile.w[n_rows]
        seen = 0
        for lane in range(count):
            value = stack[t, first + lane]
            there = value != _NODATA
            seen += there
            w[lane] = 1.0 if there else 0.0
            y[lane] = value / _SCALE if there else 0.0
        for lane in range(count, LANES):
            w[lane] = 0.0
            y[lane] = 0.0
        if seen > 0:
            tile.rows[n_rows] = t
            n_rows += 1
    return n_rows


@inner
def _order_of(n: int, n_years: int, max_order: int) -> int:
    """Choose the harmonics that n observations in so many calendar years carry."""
    if n < 15:
        return 1
    if n < 40 or n_years < 3:
        return min(2, max_order)
    return max_order


@inner
def _count(n_rows: int, lane: int, calendar: Calendar, tile: Tile) -> tuple[int, int, int, int]:
    """Observations and calendar years of a pixel, and its first and last row."""
    n, n_years = 0, 0
    begin, end, before = -1, -1, -1
    for i in range(n_rows):
        if tile.w[i, lane] > 0.0:
            year = calendar.year[tile.rows[i]]
            n += 1
            n_years += year != before
            before = year
            begin = i if begin < 0 else begin
            end = i
    return n, n_years, begin, end


@inner
def _choose_orders(
    n_rows: int, first: int, calendar: Calendar, method: Method, tile: Tile, fitted: Fitted
) -> None:
    """Order by the observations there are, or why there is none."""
    for lane in range(LANES):
        pixel = first + lane
        tile.size[lane] = 0
        if pixel >= fitted.status.size:
            continue
        n, n_years, begin, end = _count(n_rows, lane, calendar, tile)
        fitted.n_history[pixel] = n
        fitted.history_start[pixel] = calendar.day[tile.rows[begin]] if n > 0 else 0
        fitted.last_observed[pixel] = calendar.day[tile.rows[end]] if n > 0 else 0
        if n == 0:
            fitted.status[pixel] = _NEVER
        elif n < MIN_OBSERVATIONS or n_years < MIN_SEASONS:
            fitted.status[pixel] = _TOO_FEW
        else:
            fitted.status[pixel] = _FITTED
            order = _order_of(n, n_years, method.max_order)
            tile.size[lane] = 1 + method.trend + 2 * order


@inner
def _trim(
    n_rows: int, first: int, calendar: Calendar, method: Method, tile: Tile, fitted: Fitted
) -> None:
    """Leave the stable history only: reverse ordered CUSUM of recursive residuals."""
    _recursive_residuals(n_rows, calendar, tile)
    for lane in range(LANES):
        p = tile.size[lane]
        if p == 0:
            continue
        pixel = first + lane
        begin = stable_start(tile.recursive[lane], fitted.n_history[pixel], p, method.critical)
        if begin == 0:
            continue
        i = 0
        while begin > 0:
            begin -= tile.w[i, lane] > 0.0
            tile.w[i, lane] = 0.0
            tile.y[i, lane] = 0.0
            i += 1
        n, n_years, start, end = _count(n_rows, lane, calendar, tile)
        span = calendar.day[tile.rows[end]] - calendar.day[tile.rows[start]]
        fitted.n_history[pixel] = n
        fitted.history_start[pixel] = calendar.day[tile.rows[start]]
        if n < MIN_OBSERVATIONS or span < MIN_STABLE_DAYS:
            fitted.status[pixel] = _UNSTABLE
            tile.size[lane] = 0
        else:
            order = _order_of(n, n_years, method.max_order)
            tile.size[lane] = 1 + method.trend + 2 * order


@inner
def _recursive_residuals(n_rows: int, calendar: Calendar, tile: Tile) -> None:
    """Recursive residuals of all pixels, newest observation first, by rotations without roots.

    Gentleman (1973): a row enters the triangular factor with a weight that each rotation lessens;
    what is left of its observation, times the root of that weight, is the recursive residual.
    """
    p_max = calendar.X.shape[1]
    lanes = tile.size.size
    tile.d[:, :] = 0.0
    tile.R[:, :, :] = 0.0
    entered = np.zeros(lanes, dtype=np.int64)
    for i in range(n_rows - 1, -1, -1):
        row = tile.rows[i]
        for j in range(p_max):
            x = tile.x[j]
            value = calendar.X[row, j]
            for lane in range(lanes):
                x[lane] = value if j < tile.size[lane] else 0.0
        x = tile.x[p_max]
        weight = tile.cs[2]
        for lane in range(lanes):
            x[lane] = tile.y[i, lane]
            weight[lane] = tile.w[i, lane]
        for j in range(p_max):
            _rotate(tile, j, p_max)
        for lane in range(lanes):
            there = tile.w[i, lane] > 0.0
            at = max(entered[lane] - tile.size[lane], 0)
            if there:
                tile.recursive[lane, at] = x[lane] * np.sqrt(weight[lane])
            entered[lane] += there


@inner
def _rotate(tile: Tile, j: int, p_max: int) -> None:
    """Rotate column j of the row in hand into the factors."""
    lanes = tile.size.size
    d, xj, cosine, sine, weight = tile.d[j], tile.x[j], tile.cs[0], tile.cs[1], tile.cs[2]
    for lane in range(lanes):
        old = d[lane]
        new = old + weight[lane] * xj[lane] * xj[lane]
        inverse = 1.0 / (new if new > 0.0 else 1.0)
        cosine[lane] = old * inverse if new > 0.0 else 1.0
        sine[lane] = weight[lane] * xj[lane] * inverse
        d[lane] = new
        weight[lane] *= cosine[lane]
    for k in range(j + 1, p_max + 1):
        held, xk = tile.R[j, k], tile.x[k]
        for lane in range(lanes):
            before, entering = held[lane], xk[lane]
            xk[lane] = entering - xj[lane] * before
            held[lane] = cosine[lane] * before + sine[lane] * entering


@inner
def _accumulate(n_rows: int, calendar: Calendar, tile: Tile) -> None:
    """Form the normal equations of all pixels from the weights v and the weighted index vy."""
    _weighted_sums(n_rows, tile.rows, calendar.XX, tile.v, tile.A)
    _weighted_sums(n_rows, tile.rows, calendar.X, tile.vy, tile.b)


@inner
def _weighted_sums(n_rows: int, rows: Int, columns: Float, v: Float, sums: Float) -> None:
    """Sum columns (time, k) over rows, weighted by v (row, lane), four rows a step."""
    lanes = sums.shape[1]
    sums[:, :] = 0.0
    whole = n_rows - n_rows % 4
    for i in range(0, whole, 4):
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        for k in range(sums.shape[0]):
            total = sums[k]
            c0, c1 = columns[rows[i], k], columns[rows[i + 1], k]
            c2, c3 = columns[rows[i + 2], k], columns[rows[i + 3], k]
            for lane in range(lanes):
                total[lane] += (v0[lane] * c0 + v1[lane] * c1) + (v2[lane] * c2 + v3[lane] * c3)
    for i in range(whole, n_rows):
        for k in range(sums.shape[0]):
            total, vi, c = sums[k], v[i], columns[rows[i], k]
            for lane in range(lanes):
                total[lane] += vi[lane] * c


@inner
def _residuals(n_rows: int, calendar: Calendar, tile: Tile) -> None:
    """Residuals of all pixels; what they are without observation is of no account."""
    lanes = tile.size.size
    for i in range(n_rows):
        r, y = tile.r[i], tile.y[i]
        for lane in range(lanes):
            r[lane] = y[lane]
        for j in range(calendar.X.shape[1]):
            beta, c = tile.beta[j], calendar.X[tile.rows[i], j]
            for lane in range(lanes):
                r[lane] -= c * beta[lane]


@inner
def _median_size(n_rows: int, lane: int, tile: Tile) -> float:
    """Median |residual| of a pixel."""
    n = 0
    for i in range(n_rows):
        tile.work[n] = abs(tile.r[i, lane])
        n += tile.w[i, lane] > 0.0
    return median(tile.work, n)


@inner
def _solve(lane: int, p: int, ridge: float, tile: Tile) -> bool:
    """Coefficients of one pixel into ``small``; False where its observations do not carry p."""
    q = p * (p + 1) // 2
    A, b = tile.small[:q], tile.small[q : q + p]
    for k in range(q):
        A[k] = tile.A[k, lane]
    for j in range(p):
        A[j * (j + 3) // 2] += ridge
        b[j] = tile.b[j, lane]
    if not solve_packed(A, b, p):
        return False
    fine = True
    for j in range(p):
        fine &= abs(b[j]) <= MAX_COEFFICIENT
    return fine


@inner
def _least_squares(n_rows: int, calendar: Calendar, method: Method, tile: Tile) -> None:
    """Ordinary least squares of all pixels, at a lower order where the first one does not hold."""
    for i in range(n_rows):
        for lane in range(tile.size.size):
            tile.v[i, lane] = tile.w[i, lane]
            tile.vy[i, lane] = tile.y[i, lane]
    _accumulate(n_rows, calendar, tile)
    tile.beta[:, :] = 0.0
    for lane in range(tile.size.size):
        p = tile.size[lane]
        n = tile.A[0, lane]
        while p > 1 + method.trend and not (2 * n >= 3 * p and _solve(lane, p, 0.0, tile)):
            p -= 2
        if p <= 1 + method.trend:
            p = 0
        tile.size[lane] = p
        q = p * (p + 1) // 2
        for j in range(p):
            tile.beta[j, lane] = tile.small[q + j]


@inner
def _reweight(n_rows: int, calendar: Calendar, tile: Tile) -> None:
    """Bisquare weights from the residuals, least squares with them, and again."""
    lanes = tile.size.size
    for lane in range(lanes):
        tile.scale[lane] = 1.0 if tile.size[lane] > 0 else 0.0
    for _ in range(_ROBUST_ITERATIONS):
        _residuals(n_rows, calendar, tile)
        running = 0
        for lane in range(lanes):
            if tile.scale[lane] > 0.0:
                s = MAD_TO_SIGMA * _median_size(n_rows, lane, tile)
                tile.scale[lane] = s if s > 1e-9 else 0.0
                running += s > 1e-9
        if running == 0:
            break
        for i in range(n_rows):
            v, vy, r, y, w = tile.v[i], tile.vy[i], tile.r[i], tile.y[i], tile.w[i]
            for lane in range(lanes):
                cut = _TUKEY * tile.scale[lane]
                u = r[lane] / (cut if cut > 0.0 else 1.0)
                rest = max(1.0 - u * u, 0.0)
                v[lane] = w[lane] * rest * rest
                vy[lane] = v[lane] * y[lane]
        _accumulate(n_rows, calendar, tile)
        for lane in range(lanes):
            if tile.scale[lane] > 0.0:
                _take_step(lane, tile)


@inner
def _take_step(lane: int, tile: Tile) -> None:
    """Coefficients of a pixel from its weighted equations; its scale becomes 0 when they settle."""
    p = tile.size[lane]
    if not _solve(lane, p, _RIDGE, tile):
        tile.scale[lane] = 0.0
        return
    q = p * (p + 1) // 2
    moved = 0.0
    for j in range(p):
        moved = max(moved, abs(tile.small[q + j] - tile.beta[j, lane]))
        tile.beta[j, lane] = tile.small[q + j]
    if moved < _SETTLED:
        tile.scale[lane] = 0.0


@inner
def _store(
    n_rows: int, first: int, calendar: Calendar, method: Method, tile: Tile, fitted: Fitted
) -> None:
    """Noise and results of a tile."""
    _residuals(n_rows, calendar, tile)
    for lane in range(min(LANES, fitted.status.size - first)):
        pixel = first + lane
        p = tile.size[lane]
        fitted.last_normal[pixel] = 0
        fitted.order[pixel] = max(p - 1 - method.trend, 0) // 2
        if p == 0:
            if fitted.status[pixel] == _FITTED:
                fitted.status[pixel] = _UNSTABLE
            fitted.sigma[pixel] = np.nan
            fitted.coefficients[:, pixel] = np.nan
            continue
        sigma = _noise(n_rows, lane, p, method.floor, tile)
        fitted.sigma[pixel] = sigma
        for j in range(tile.beta.shape[0]):
            fitted.coefficients[j, pixel] = tile.beta[j, lane]
        for i in range(n_rows - 1, -1, -1):
            if tile.w[i, lane] > 0.0 and abs(tile.r[i, lane]) <= 1.5 * sigma:
                fitted.last_normal[pixel] = calendar.day[tile.rows[i]]
                break


@inner
def _noise(n_rows: int, lane: int, p: int, floor: float, tile: Tile) -> float:
    """Noise of a pixel by either rule of `Method.floor`."""
    if floor >= 0.0:
        s = MAD_TO_SIGMA * _median_size(n_rows, lane, tile)
        return float(np.sqrt(s * s + floor * floor))
    square, n = 0.0, 0
    for i in range(n_rows):
        square += tile.w[i, lane] * tile.r[i, lane] ** 2
        n += tile.w[i, lane] > 0.0
    return float(np.sqrt(square / (n - p)))
