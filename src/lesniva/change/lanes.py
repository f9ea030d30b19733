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
    select,
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


@njit(nogil=True, cache=True, error_model="numpy")
def fit_pixels(
    stack: npt.NDArray[np.int16], calendar: Calendar, method: Method, fitted: Fitted, lanes: int
) -> None:
    """Fit every pixel of stack (time, pixel) in tiles of so many.

    The number of lanes is an argument because the compiler unrolls loops of a known length instead
    of making vector instructions of them.

    Buffers are (row, lane), a row being a slice in which any pixel of the tile was observed: y the
    index (0 where missing or trimmed), w 1 where observed and not trimmed, v the weights of the fit
    in hand and vy the index weighted by them, r residuals. size is the number of coefficients of
    each pixel, 0 without model; beta (p, lane) is 0 above it.
    """
    day, year, X, XX = calendar
    n_times, n_pixels = stack.shape
    p, q = X.shape[1], XX.shape[1]
    rows = np.empty(n_times, dtype=np.int64)
    y, w = np.empty((n_times, lanes)), np.empty((n_times, lanes))
    v, vy = np.empty((n_times, lanes)), np.empty((n_times, lanes))
    r = np.empty((n_times, lanes))
    recursive = np.empty((lanes, n_times))
    R = np.empty((p + 1, p + 1, lanes))
    turning = np.empty((p + 4, lanes))
    A, b, beta = np.empty((q, lanes)), np.empty((p, lanes)), np.empty((p, lanes))
    size = np.empty(lanes, dtype=np.int64)
    counts = np.empty((3, lanes))
    scale = np.empty(lanes)
    work = np.empty(n_times)
    bins = np.empty(128, dtype=np.int64)
    small = np.empty(q + p)
    for first in range(0, n_pixels, lanes):
        n_rows = _gather(stack, first, rows, y, w)
        _choose_orders(n_rows, first, rows, w, day, year, method, size, counts, fitted)
        if method.critical > 0.0:
            _recursive_residuals(n_rows, rows, X, y, w, size, R, turning, recursive)
            _trim(n_rows, first, rows, y, w, day, year, method, size, counts, recursive, fitted)
        _least_squares(n_rows, rows, X, XX, y, w, method.trend, size, A, b, beta, small)
        if method.robust:
            _reweight(
                n_rows, rows, X, XX, y, w, v, vy, r, size, scale, A, b, beta, work, bins, small
            )
        _residuals(n_rows, rows, X, y, beta, r)
        _store(n_rows, first, rows, w, r, day, method, size, beta, work, bins, fitted)


@inner
def _gather(stack: npt.NDArray[np.int16], first: int, rows: Int, y: Float, w: Float) -> int:
    """Copy the observed slices of a tile; returns how many there are."""
    lanes = w.shape[1]
    count = min(lanes, stack.shape[1] - first)
    n_rows = 0
    for t in range(stack.shape[0]):
        seen = 0
        for lane in range(count):
            seen += stack[t, first + lane] != _NODATA
        if seen == 0:
            continue
        for lane in range(count):
            value = stack[t, first + lane]
            w[n_rows, lane] = 1.0 if value != _NODATA else 0.0
            y[n_rows, lane] = value / _SCALE if value != _NODATA else 0.0
        for lane in range(count, lanes):
            w[n_rows, lane] = 0.0
            y[n_rows, lane] = 0.0
        rows[n_rows] = t
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
def _count(n_rows: int, rows: Int, w: Float, year: Int, counts: Float) -> None:
    """Observations of each pixel, and calendar years with any; the third row is for the work."""
    n, n_years, seen = counts[0], counts[1], counts[2]
    counts[:, :] = 0.0
    for i in range(n_rows):
        for lane in range(n.size):
            n[lane] += w[i, lane]
            seen[lane] = max(seen[lane], w[i, lane])
        if i + 1 == n_rows or year[rows[i + 1]] != year[rows[i]]:
            for lane in range(n.size):
                n_years[lane] += seen[lane]
                seen[lane] = 0.0


@inner
def _first_row(n_rows: int, lane: int, w: Float) -> int:
    """First row in which a pixel was observed; it was in one."""
    i = 0
    while i < n_rows - 1 and w[i, lane] == 0.0:
        i += 1
    return i


@inner
def _last_row(n_rows: int, lane: int, w: Float) -> int:
    """Last row in which a pixel was observed; it was in one."""
    i = n_rows - 1
    while i > 0 and w[i, lane] == 0.0:
        i -= 1
    return i


@inner
def _choose_orders(
    n_rows: int,
    first: int,
    rows: Int,
    w: Float,
    day: Int,
    year: Int,
    method: Method,
    size: Int,
    counts: Float,
    fitted: Fitted,
) -> None:
    """Order by the observations there are, or why there is none."""
    _count(n_rows, rows, w, year, counts)
    for lane in range(size.size):
        pixel = first + lane
        size[lane] = 0
        if pixel >= fitted.status.size:
            continue
        n, n_years = int(counts[0, lane]), int(counts[1, lane])
        fitted.n_history[pixel] = n
        if n == 0:
            fitted.history_start[pixel] = 0
            fitted.last_observed[pixel] = 0
            fitted.status[pixel] = _NEVER
            continue
        fitted.history_start[pixel] = day[rows[_first_row(n_rows, lane, w)]]
        fitted.last_observed[pixel] = day[rows[_last_row(n_rows, lane, w)]]
        if n < MIN_OBSERVATIONS or n_years < MIN_SEASONS:
            fitted.status[pixel] = _TOO_FEW
        else:
            fitted.status[pixel] = _FITTED
            size[lane] = 1 + method.trend + 2 * _order_of(n, n_years, method.max_order)


@inner
def _trim(
    n_rows: int,
    first: int,
    rows: Int,
    y: Float,
    w: Float,
    day: Int,
    year: Int,
    method: Method,
    size: Int,
    counts: Float,
    recursive: Float,
    fitted: Fitted,
) -> None:
    """Leave the stable history only, by the reverse ordered CUSUM."""
    for lane in range(size.size):
        if size[lane] == 0:
            continue
        n = int(fitted.n_history[first + lane])
        begin = stable_start(recursive[lane], n, size[lane], method.critical)
        i = 0
        while begin > 0:
            begin -= w[i, lane] > 0.0
            w[i, lane] = 0.0
            y[i, lane] = 0.0
            i += 1
    _count(n_rows, rows, w, year, counts)
    for lane in range(size.size):
        if size[lane] == 0:
            continue
        pixel = first + lane
        n, n_years = int(counts[0, lane]), int(counts[1, lane])
        if n == fitted.n_history[pixel]:
            continue
        start = day[rows[_first_row(n_rows, lane, w)]]
        fitted.n_history[pixel] = n
        fitted.history_start[pixel] = start
        if n < MIN_OBSERVATIONS or fitted.last_observed[pixel] - start < MIN_STABLE_DAYS:
            fitted.status[pixel] = _UNSTABLE
            size[lane] = 0
        else:
            size[lane] = 1 + method.trend + 2 * _order_of(n, n_years, method.max_order)


@inner
def _recursive_residuals(
    n_rows: int,
    rows: Int,
    X: Float,
    y: Float,
    w: Float,
    size: Int,
    R: Float,
    turning: Float,
    recursive: Float,
) -> None:
    """Recursive residuals of all pixels, newest observation first, by rotations without roots.

    Gentleman (1973): a row enters the triangular factor with a weight that each rotation lessens;
    what is left of its observation, times the root of that weight, is the recursive residual. R
    holds the unit triangular factors, with the rotated observations as last column and the pivots
    as last row; turning the row being rotated in, its weight, and cosine and sine of a rotation.
    """
    p = X.shape[1]
    lanes = size.size
    R[:, :, :] = 0.0
    weight = turning[p + 1]
    entered = np.zeros(lanes, dtype=np.int64)
    for i in range(n_rows - 1, -1, -1):
        for j in range(p):
            x, value = turning[j], X[rows[i], j]
            for lane in range(lanes):
                x[lane] = value if j < size[lane] else 0.0
        left = turning[p]
        for lane in range(lanes):
            left[lane] = y[i, lane]
            weight[lane] = w[i, lane]
        for j in range(p):
            _rotate(j, p, R, turning)
        for lane in range(lanes):
            if w[i, lane] > 0.0:
                at = max(entered[lane] - size[lane], 0)
                recursive[lane, at] = left[lane] * np.sqrt(weight[lane])
                entered[lane] += 1


@inner
def _rotate(j: int, p: int, R: Float, turning: Float) -> None:
    """Rotate column j of the row in hand into the factors."""
    x, d = turning[j], R[p, j]
    weight, cosine, sine = turning[p + 1], turning[p + 2], turning[p + 3]
    lanes = x.size
    for lane in range(lanes):
        old = d[lane]
        new = old + weight[lane] * x[lane] * x[lane]
        inverse = 1.0 / (new if new > 0.0 else 1.0)
        cosine[lane] = old * inverse if new > 0.0 else 1.0
        sine[lane] = weight[lane] * x[lane] * inverse
        weight[lane] *= cosine[lane]
        d[lane] = new
    for k in range(j + 1, p + 1):
        held, entering = R[j, k], turning[k]
        for lane in range(lanes):
            a, b = held[lane], entering[lane]
            entering[lane] = b - x[lane] * a
            held[lane] = cosine[lane] * a + sine[lane] * b


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
def _residuals(n_rows: int, rows: Int, X: Float, y: Float, beta: Float, r: Float) -> None:
    """Residuals of all pixels; what they are without observation is of no account."""
    for i in range(n_rows):
        left = r[i]
        for lane in range(left.size):
            left[lane] = y[i, lane]
        for j in range(X.shape[1]):
            slope, c = beta[j], X[rows[i], j]
            for lane in range(left.size):
                left[lane] -= c * slope[lane]


@inner
def _median_size(n_rows: int, lane: int, w: Float, r: Float, work: Float, bins: Int) -> float:
    """Median |residual| of a pixel, exactly, by way of a histogram as wide as four means."""
    n = 0
    total = 0.0
    for i in range(n_rows):
        value = abs(r[i, lane])
        work[n] = value
        n += w[i, lane] > 0.0
        total += value * w[i, lane]
    if not total > 0.0:
        return 0.0
    last = bins.size - 1
    unit = 0.25 * bins.size * n / total
    bins[:] = 0
    for i in range(n):
        bins[int(min(work[i] * unit, float(last)))] += 1
    upper = n // 2
    place, before = 0, 0
    while before + bins[place] <= upper:
        before += bins[place]
        place += 1
    # Of the histogram's bin the values themselves are looked at, and of those below it the largest.
    below, found = 0.0, 0
    for i in range(n):
        value = work[i]
        at = int(min(value * unit, float(last)))
        below = max(below, value if at < place else 0.0)
        work[found] = value
        found += at == place
    middle = select(work, found, upper - before)
    if n % 2 == 1:
        return middle
    for i in range(upper - before):
        below = max(below, work[i])
    return 0.5 * (below + middle)


@inner
def _solve(lane: int, p: int, ridge: float, A: Float, b: Float, small: Float) -> bool:
    """Coefficients of one pixel to the end of small; False where its equations do not hold p."""
    q = p * (p + 1) // 2
    matrix, right = small[:q], small[small.size - p :]
    for k in range(q):
        matrix[k] = A[k, lane]
    for j in range(p):
        matrix[j * (j + 3) // 2] += ridge
        right[j] = b[j, lane]
    if not solve_packed(matrix, right, p):
        return False
    fine = True
    for j in range(p):
        fine &= abs(right[j]) <= MAX_COEFFICIENT
    return fine


@inner
def _least_squares(
    n_rows: int,
    rows: Int,
    X: Float,
    XX: Float,
    y: Float,
    w: Float,
    trend: int,
    size: Int,
    A: Float,
    b: Float,
    beta: Float,
    small: Float,
) -> None:
    """Ordinary least squares of all pixels, at a lower order where the first one does not hold."""
    _weighted_sums(n_rows, rows, XX, w, A)
    _weighted_sums(n_rows, rows, X, y, b)
    beta[:, :] = 0.0
    for lane in range(size.size):
        p = size[lane]
        n = A[0, lane]
        while p > 1 + trend and not (2 * n >= 3 * p and _solve(lane, p, 0.0, A, b, small)):
            p -= 2
        p = 0 if p <= 1 + trend else p
        size[lane] = p
        for j in range(p):
            beta[j, lane] = small[small.size - p + j]


@inner
def _bisquare(n_rows: int, y: Float, w: Float, r: Float, scale: Float, v: Float, vy: Float) -> None:
    """Tukey's weights of the residuals (c = 4.685), and the index weighted by them."""
    for i in range(n_rows):
        for lane in range(scale.size):
            cut = _TUKEY * scale[lane]
            u = r[i, lane] / (cut if cut > 0.0 else 1.0)
            rest = max(1.0 - u * u, 0.0)
            v[i, lane] = w[i, lane] * rest * rest
            vy[i, lane] = v[i, lane] * y[i, lane]


@inner
def _reweight(
    n_rows: int,
    rows: Int,
    X: Float,
    XX: Float,
    y: Float,
    w: Float,
    v: Float,
    vy: Float,
    r: Float,
    size: Int,
    scale: Float,
    A: Float,
    b: Float,
    beta: Float,
    work: Float,
    bins: Int,
    small: Float,
) -> None:
    """Bisquare weights from the residuals, least squares with them, again; scale 0 = settled."""
    lanes = size.size
    for lane in range(lanes):
        scale[lane] = 1.0 if size[lane] > 0 else 0.0
    for _ in range(_ROBUST_ITERATIONS):
        _residuals(n_rows, rows, X, y, beta, r)
        running = 0
        for lane in range(lanes):
            if scale[lane] > 0.0:
                s = MAD_TO_SIGMA * _median_size(n_rows, lane, w, r, work, bins)
                scale[lane] = s if s > 1e-9 else 0.0
                running += s > 1e-9
        if running == 0:
            break
        _bisquare(n_rows, y, w, r, scale, v, vy)
        _weighted_sums(n_rows, rows, XX, v, A)
        _weighted_sums(n_rows, rows, X, vy, b)
        for lane in range(lanes):
            p = size[lane]
            if scale[lane] > 0.0 and _solve(lane, p, _RIDGE, A, b, small):
                moved = 0.0
                for j in range(p):
                    value = small[small.size - p + j]
                    moved = max(moved, abs(value - beta[j, lane]))
                    beta[j, lane] = value
                scale[lane] = scale[lane] if moved >= _SETTLED else 0.0
            else:
                scale[lane] = 0.0


@inner
def _store(
    n_rows: int,
    first: int,
    rows: Int,
    w: Float,
    r: Float,
    day: Int,
    method: Method,
    size: Int,
    beta: Float,
    work: Float,
    bins: Int,
    fitted: Fitted,
) -> None:
    """Noise and results of a tile."""
    for lane in range(min(size.size, fitted.status.size - first)):
        pixel = first + lane
        p = size[lane]
        fitted.last_normal[pixel] = 0
        fitted.order[pixel] = max(p - 1 - method.trend, 0) // 2
        if p == 0:
            if fitted.status[pixel] == _FITTED:
                fitted.status[pixel] = _UNSTABLE
            fitted.sigma[pixel] = np.nan
            fitted.coefficients[:, pixel] = np.nan
            continue
        sigma = _noise(n_rows, lane, p, method.floor, w, r, work, bins)
        fitted.sigma[pixel] = sigma
        for j in range(beta.shape[0]):
            fitted.coefficients[j, pixel] = beta[j, lane]
        for i in range(n_rows - 1, -1, -1):
            if w[i, lane] > 0.0 and abs(r[i, lane]) <= 1.5 * sigma:
                fitted.last_normal[pixel] = day[rows[i]]
                break


@inner
def _noise(
    n_rows: int, lane: int, p: int, floor: float, w: Float, r: Float, work: Float, bins: Int
) -> float:
    """Noise of a pixel by either rule of `Method.floor`."""
    if floor >= 0.0:
        s = MAD_TO_SIGMA * _median_size(n_rows, lane, w, r, work, bins)
        return float(np.sqrt(s * s + floor * floor))
    square, n = 0.0, 0
    for i in range(n_rows):
        square += w[i, lane] * r[i, lane] ** 2
        n += w[i, lane] > 0.0
    return float(np.sqrt(square / (n - p)))
