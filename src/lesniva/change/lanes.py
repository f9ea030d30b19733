"""Seasonal fits of many pixels side by side.

A tile of `LANES` pixels goes through each step together, so that the inner loops run over pixels
and become vector instructions; a pixel takes part with weights, 0 where it has no observation. What
a pixel gets depends on no other pixel of its tile: sums go date by date, and a weight of 0 adds
exactly nothing. The buffers of a tile are all the memory a fit needs besides the stack and its
results. Inside, the index counts in the whole steps of the stack.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import MAD_TO_SIGMA, MOMENT_STEPS, Code, Float, Int, Single, inner
from lesniva.change.tile import (
    Key,
    combine,
    lanewise,
    median_sizes,
    newest_first,
    recursive_residuals,
    residual_sizes,
    solve,
    stable_lengths,
    sums_of_subsets,
    weighted_sums,
)
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status

LANES = 128
"""Pixels of a tile: enough for the vector units, few enough for the second-level cache."""

_TILES = 8
"""Tiles whose slices are fetched together."""

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
_SETTLED = 1e-3
"""Steps of the stack by which coefficients may still move when the iteration stops."""

_NO_SCATTER = 1e-5
"""Steps of the stack: residuals below have no scale."""

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
    """(time, p') regressors of the highest order, and columns of zeros (`tile.residual_sizes`) …"""
    x: Single
    """(time, p') … and the same in single precision."""
    moments: Float
    """(time, m) what the products of two regressors are made of (`regression.moments`)."""
    place: Int
    """(q, 2) the two moments of a product …"""
    share: Float
    """(q, 2) … and the share of each."""
    first: Int
    """(group + 1) first date of each group of dates (`regression.grouped`) …"""
    subsets: Int
    """(group, code, m') … and the moments' sums over its subsets (`regression.subset_sums`)."""


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


class Room(NamedTuple):
    """Buffers of a tile (…, lane), a row being a slice in which any pixel of it was observed."""

    rows: Int
    """(row) slices of the stack."""
    raw: Key
    """(row, lane) index as in the stack, missing where not observed or trimmed …"""
    y: Float
    """(row, lane) … and 0 there."""
    codes: Code
    """(group, lane) the same as bits: which dates of a group a pixel has."""
    of_year: Code
    """(lane) those of the groups of a year."""
    sums: Int
    """(lane, m') moments summed over them."""
    v: Float
    """(row, lane) weights of the fit in hand …"""
    vy: Float
    """(row, lane) … and the index weighted by them; also recursive residuals."""
    r: Single
    """(row, lane) sizes of the residuals, infinite without observation."""
    place: Int
    """(row, lane) rows of a pixel's observations, the newest first."""
    n: Int
    """(lane) its observations."""
    size: Int
    """(lane) number of coefficients, 0 without model."""
    scale: Float
    """(lane) robust scale of the residuals, 0 = settled."""
    S: Float
    """(m, lane) weighted sums of the moments …"""
    A: Float
    """(q, lane) … and the normal equations they make."""
    b: Float
    """(p, lane) their right sides."""
    beta: Float
    """(p', lane) coefficients, 0 above the size."""
    better: Float
    """(p, lane) those of the next iteration."""
    fine: Float
    """(lane) 0 where the equations do not hold."""
    total: Single
    """(lane) sum of |residual| …"""
    squares: Single
    """(lane) … of their squares …"""
    median: Float
    """(lane) … and their median."""
    search: Single
    near: Single
    column: Single
    floats: Float
    """(p + 5, lane) for the steps to work in, as the others around."""
    singles: Single
    """(p' + 1, lane) a row of residuals in the making, and beta in single precision."""
    L: Float
    R: Float


@inner
def _room(n_times: int, p: int, calendar: Calendar, lanes: int) -> Room:
    q = p * (p + 1) // 2
    plane = (n_times, lanes)
    return Room(
        rows=np.empty(n_times, dtype=np.int64),
        raw=np.empty(plane, dtype=np.int16),
        y=np.empty(plane),
        codes=np.zeros((calendar.subsets.shape[0], lanes), dtype=np.uint16),
        of_year=np.zeros(lanes, dtype=np.uint16),
        sums=np.empty((lanes, calendar.subsets.shape[2]), dtype=np.int64),
        v=np.empty(plane),
        vy=np.empty(plane),
        r=np.empty(plane, dtype=np.float32),
        place=np.empty((n_times + 1, lanes), dtype=np.int64),
        n=np.empty(lanes, dtype=np.int64),
        size=np.empty(lanes, dtype=np.int64),
        scale=np.empty(lanes),
        S=np.empty((calendar.moments.shape[1], lanes)),
        A=np.empty((q, lanes)),
        b=np.empty((p, lanes)),
        beta=np.zeros((calendar.X.shape[1], lanes)),
        better=np.empty((p, lanes)),
        fine=np.empty(lanes),
        total=np.empty(lanes, dtype=np.float32),
        squares=np.empty(lanes, dtype=np.float32),
        median=np.empty(lanes),
        search=np.empty((7, lanes), dtype=np.float32),
        near=np.empty((4, lanes), dtype=np.float32),
        column=np.empty(n_times, dtype=np.float32),
        floats=np.empty((p + 5, lanes)),
        singles=np.empty((calendar.X.shape[1] + 1, lanes), dtype=np.float32),
        L=np.empty((q, lanes)),
        R=np.empty((p + 1, p + 1, lanes)),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def fit_pixels(
    stack: npt.NDArray[np.int16], calendar: Calendar, method: Method, fitted: Fitted, lanes: int
) -> None:
    """Fit every pixel of stack (time, pixel) in tiles of so many.

    The number of lanes is an argument because the compiler unrolls loops of a known length instead
    of making vector instructions of them.
    """
    n_times, n_pixels = stack.shape
    room = _room(n_times, fitted.coefficients.shape[0], calendar, lanes)
    # A tile's part of a slice is too short to be fetched in time; that of some tiles is not.
    strip = np.empty((n_times, _TILES * lanes), dtype=np.int16)
    for first in range(0, n_pixels, lanes):
        at = first % strip.shape[1]
        if at == 0:
            _fetch(stack, first, strip)
        n_rows = _gather(strip, at, calendar.first, room)
        _choose_orders(first, calendar, method, room, fitted)
        if method.critical > 0.0:
            _trim(n_rows, first, calendar, method, room, fitted)
        _fit(n_rows, calendar, method, room)
        _store(n_rows, first, calendar, method, room, fitted)


@lanewise
def _fetch(stack: npt.NDArray[np.int16], first: int, strip: npt.NDArray[np.int16]) -> None:
    """Copy the pixels from the first on, missing ones beyond the last."""
    width = min(strip.shape[1], stack.shape[1] - first)
    for t in range(strip.shape[0]):
        # a loop is a tenth of the time that a slice set to a slice takes
        values, copy = stack[t, first : first + width], strip[t, :width]
        for k in range(values.size):
            copy[k] = values[k]
        strip[t, width:] = _NODATA


@lanewise
def _gather(strip: npt.NDArray[np.int16], at: int, first: Int, room: Room) -> int:
    """Copy the observed slices of a tile; returns how many there are."""
    lanes = room.size.size
    n_rows = 0
    for g in range(first.size - 1):
        seen = _encode(strip, at, first[g], first[g + 1], room.codes[g])
        for t in range(first[g], first[g + 1]):
            if seen >> (t - first[g]) & 1 == 0:
                continue
            values, raw, y = strip[t, at : at + lanes], room.raw[n_rows], room.y[n_rows]
            for lane in range(lanes):
                raw[lane] = values[lane]
            for lane in range(lanes):
                y[lane] = values[lane] if values[lane] != _NODATA else 0.0
            room.rows[n_rows] = t
            n_rows += 1
    return n_rows


@lanewise
def _encode(
    strip: npt.NDArray[np.int16], at: int, begin: int, end: int, code: npt.NDArray[np.uint16]
) -> int:
    """Which dates of a group each pixel of a tile has, as bits; returns those of any pixel."""
    lanes = code.size
    for lane in range(lanes):
        code[lane] = 0
    for t in range(begin, end):
        values, bit = strip[t, at : at + lanes], np.uint16(1 << (t - begin))
        for lane in range(lanes):
            code[lane] |= bit if values[lane] != _NODATA else np.uint16(0)
    seen = np.uint16(0)
    for lane in range(lanes):
        seen |= code[lane]
    return int(seen)


@inner
def _order_of(n: int, n_years: int, max_order: int) -> int:
    """Choose the harmonics that n observations in so many calendar years carry."""
    if n < 15:
        return 1
    if n < 40 or n_years < 3:
        return min(2, max_order)
    return max_order


@lanewise
def _count(calendar: Calendar, room: Room) -> None:
    """Observations of each pixel into n, calendar years with any as first row of floats."""
    lanes = room.n.size
    first, year = calendar.first, calendar.year
    years, of_year = room.floats[0], room.of_year
    sums_of_subsets(room.codes, calendar.subsets, room.sums)
    for lane in range(lanes):
        years[lane], of_year[lane] = 0.0, 0
        room.n[lane] = room.sums[lane, 0] // int(MOMENT_STEPS)  # the first moment is 1
    for g in range(first.size - 1):
        code = room.codes[g]
        for lane in range(lanes):
            of_year[lane] |= code[lane]
        if first[g + 1] == year.size or year[first[g + 1]] != year[first[g]]:
            for lane in range(lanes):
                years[lane] += 1.0 if of_year[lane] != 0 else 0.0
            for lane in range(lanes):
                of_year[lane] = 0


@inner
def _first_observed(lane: int, first: Int, codes: Code) -> int:
    """First date that a pixel has; it has one."""
    g = 0
    while codes[g, lane] == 0:
        g += 1
    t = first[g]
    while codes[g, lane] >> (t - first[g]) & 1 == 0:
        t += 1
    return int(t)


@inner
def _last_observed(lane: int, first: Int, codes: Code) -> int:
    """Last date that a pixel has; it has one."""
    g = codes.shape[0] - 1
    while codes[g, lane] == 0:
        g -= 1
    t = first[g + 1] - 1
    while codes[g, lane] >> (t - first[g]) & 1 == 0:
        t -= 1
    return int(t)


@inner
def _choose_orders(
    first: int, calendar: Calendar, method: Method, room: Room, fitted: Fitted
) -> None:
    """Order by the observations there are, or why there is none."""
    day, size = calendar.day, room.size
    _count(calendar, room)
    for lane in range(size.size):
        pixel = first + lane
        size[lane] = 0
        if pixel >= fitted.status.size:
            continue
        n, n_years = room.n[lane], int(room.floats[0, lane])
        fitted.n_history[pixel] = n
        if n == 0:
            fitted.history_start[pixel] = 0
            fitted.last_observed[pixel] = 0
            fitted.status[pixel] = _NEVER
            continue
        fitted.history_start[pixel] = day[_first_observed(lane, calendar.first, room.codes)]
        fitted.last_observed[pixel] = day[_last_observed(lane, calendar.first, room.codes)]
        if n < MIN_OBSERVATIONS or n_years < MIN_SEASONS:
            fitted.status[pixel] = _TOO_FEW
        else:
            fitted.status[pixel] = _FITTED
            size[lane] = 1 + method.trend + 2 * _order_of(n, n_years, method.max_order)


@inner
def _trim(
    n_rows: int, first: int, calendar: Calendar, method: Method, room: Room, fitted: Fitted
) -> None:
    """Leave the stable history only, by the reverse ordered CUSUM."""
    size, n = room.size, room.n
    n_steps = newest_first(n_rows, room.raw, room.place, n)
    recursive_residuals(
        n_steps, room.rows, calendar.X, room.y, room.place, n, size, room.R, room.floats, room.vy
    )
    kept = np.empty_like(n)
    stable_lengths(n_steps, n, size, method.critical, room.vy, room.floats, kept)
    for lane in range(size.size):
        if size[lane] > 0 and kept[lane] < n[lane]:
            _forget(room.place[kept[lane], lane] + 1, lane, calendar.first, room)
    _count(calendar, room)
    for lane in range(size.size):
        pixel = first + lane
        if size[lane] == 0 or n[lane] == fitted.n_history[pixel]:
            continue
        start = calendar.day[_first_observed(lane, calendar.first, room.codes)]
        fitted.n_history[pixel] = n[lane]
        fitted.history_start[pixel] = start
        if n[lane] < MIN_OBSERVATIONS or fitted.last_observed[pixel] - start < MIN_STABLE_DAYS:
            fitted.status[pixel] = _UNSTABLE
            size[lane] = 0
        else:
            n_years = int(room.floats[0, lane])
            size[lane] = 1 + method.trend + 2 * _order_of(n[lane], n_years, method.max_order)


@inner
def _forget(n_rows: int, lane: int, first: Int, room: Room) -> None:
    """Leave the first rows out of a pixel's observations."""
    g = 0
    for i in range(n_rows):
        room.raw[i, lane] = _NODATA
        room.y[i, lane] = 0.0
        while first[g + 1] <= room.rows[i]:
            g += 1
        room.codes[g, lane] &= ~(1 << (room.rows[i] - first[g]))


@inner
def _fit(n_rows: int, calendar: Calendar, method: Method, room: Room) -> None:
    """Least squares, then bisquare weights from the residuals and least squares with them, again.

    The first fit falls back on a lower order where the equations do not hold. Leaves coefficients,
    residuals and their medians.
    """
    size, better, fine = room.size, room.better, room.fine
    vy, ridge = room.y, 0.0
    for iteration in range(_ROBUST_ITERATIONS + 1 if method.robust else 1):
        if iteration == 0:
            _unweighted(room.sums, room.S)
        else:
            if not _rescale(iteration, room):
                break
            vy, ridge = room.vy, _RIDGE
            _bisquare(n_rows, room.r, room.y, room.scale, room.floats[0], room.v, vy)
            weighted_sums(n_rows, room.rows, calendar.moments, room.v, room.S)
        weighted_sums(n_rows, room.rows, calendar.X, vy, room.b)
        combine(room.S, calendar.place, calendar.share, room.A)
        lowering = True
        while lowering:
            solve(ridge, size, room.A, room.b, room.L, room.floats, better, fine)
            _check_range(better, fine)
            lowering = iteration == 0 and _lower(method.trend, room.n, size, fine)
        _take(iteration, better, fine, room.scale, room.beta)
        line, beta = room.singles[0], room.singles[1:]
        _shorten(room.beta, beta)
        residual_sizes(
            n_rows, room.rows, calendar.x, room.raw, beta, line, room.r, room.total, room.squares
        )
        if method.floor >= 0.0 or method.robust:
            median_sizes(
                n_rows, room.r, room.n, room.total, room.search, room.near, room.column, room.median
            )


@lanewise
def _unweighted(sums: Int, S: Float) -> None:
    """Moments that `tile.sums_of_subsets` has summed, as numbers."""
    for k in range(S.shape[0]):
        total = S[k]
        for lane in range(total.size):
            total[lane] = sums[lane, k] / MOMENT_STEPS


@lanewise
def _shorten(beta: Float, singles: Single) -> None:
    """Coefficients in single precision, in which the sizes of residuals are made."""
    for j in range(beta.shape[0]):
        single, double = singles[j], beta[j]
        for lane in range(single.size):
            single[lane] = double[lane]


@inner
def _lower(trend: int, n: Int, size: Int, fine: Float) -> bool:
    """Lower the order where equations do not hold or are too many; whether any was lowered."""
    lowered = False
    for lane in range(size.size):
        if size[lane] > 0 and not (fine[lane] > 0.0 and 2 * n[lane] >= 3 * size[lane]):
            size[lane] -= 2
            size[lane] = size[lane] if size[lane] > 1 + trend else 0
            lowered = True
    return lowered


@inner
def _take(iteration: int, better: Float, fine: Float, scale: Float, beta: Float) -> None:
    """Coefficients of pixels that are not settled; those that hardly moved are."""
    for lane in range(scale.size):
        if iteration > 0 and (scale[lane] == 0.0 or fine[lane] == 0.0):
            scale[lane] = 0.0
            continue
        moved = 0.0
        for j in range(better.shape[0]):
            moved = max(moved, abs(better[j, lane] - beta[j, lane]))
            beta[j, lane] = better[j, lane]
        if iteration > 0 and moved < _SETTLED:
            scale[lane] = 0.0


@inner
def _rescale(iteration: int, room: Room) -> bool:
    """Robust scale of each pixel, 0 = settled; whether any is not."""
    running = False
    for lane in range(room.scale.size):
        known = room.scale[lane] > 0.0 if iteration > 1 else room.size[lane] > 0
        s = MAD_TO_SIGMA * room.median[lane] if known else 0.0
        room.scale[lane] = s if s > _NO_SCATTER else 0.0
        running |= s > _NO_SCATTER
    return running


@lanewise
def _check_range(beta: Float, fine: Float) -> None:
    """No index has larger coefficients than `MAX_COEFFICIENT`."""
    for j in range(beta.shape[0]):
        values = beta[j]
        for lane in range(fine.size):
            fine[lane] = fine[lane] if abs(values[lane]) <= MAX_COEFFICIENT * _SCALE else 0.0


@lanewise
def _bisquare(
    n_rows: int, r: Single, y: Float, scale: Float, inverse: Float, v: Float, vy: Float
) -> None:
    """Tukey's weights of the residuals (c = 4.685), and the index weighted by them."""
    lanes = scale.size
    for lane in range(lanes):
        cut = _TUKEY * scale[lane]
        inverse[lane] = 1.0 / (cut if cut > 0.0 else 1.0)
    for i in range(n_rows):
        ri, vi, yi, vyi = r[i], v[i], y[i], vy[i]
        for lane in range(lanes):
            u = ri[lane] * inverse[lane]
            rest = 1.0 - u * u
            rest = max(0.0, rest)
            vi[lane] = rest * rest
        for lane in range(lanes):
            vyi[lane] = vi[lane] * yi[lane]


@inner
def _store(
    n_rows: int, first: int, calendar: Calendar, method: Method, room: Room, fitted: Fitted
) -> None:
    """Noise and results of a tile."""
    size, beta = room.size, room.beta
    n_lanes = min(size.size, fitted.status.size - first)
    _noise(method.floor, room.squares, room.n, size, room.median, room.scale)
    for lane in range(n_lanes):
        pixel = first + lane
        fitted.last_normal[pixel] = 0
        fitted.order[pixel] = max(size[lane] - 1 - method.trend, 0) // 2
        if size[lane] == 0:
            if fitted.status[pixel] == _FITTED:
                fitted.status[pixel] = _UNSTABLE
            fitted.sigma[pixel] = np.nan
            continue
        sigma = room.scale[lane]
        fitted.sigma[pixel] = sigma / _SCALE
        for i in range(n_rows - 1, -1, -1):
            if room.r[i, lane] <= 1.5 * sigma:
                fitted.last_normal[pixel] = calendar.day[room.rows[i]]
                break
    for j in range(fitted.coefficients.shape[0]):
        for lane in range(n_lanes):
            value = beta[j, lane] / _SCALE if size[lane] > 0 else np.nan
            fitted.coefficients[j, first + lane] = value


@lanewise
def _noise(floor: float, squares: Single, n: Int, size: Int, median: Float, noise: Float) -> None:
    """Noise of each pixel, in steps, by either rule of `Method.floor`."""
    lanes = noise.size
    if floor >= 0.0:
        for lane in range(lanes):
            s = MAD_TO_SIGMA * median[lane]
            noise[lane] = np.sqrt(s * s + (floor * _SCALE) ** 2)
        return
    for lane in range(lanes):
        noise[lane] = np.sqrt(squares[lane] / max(n[lane] - size[lane], 1))
