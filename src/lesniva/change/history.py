"""The seasonal model of each pixel's stable history.

y(t) = β₀ + Σ_{k=1..K} [a_k cos 2πkτ + b_k sin 2πkτ], τ = (t − t₀) / 365.25 days,

fitted by ordinary least squares or robustly (iteratively reweighted, Tukey's bisquare), after the
history has been trimmed to its stable part by the reverse ordered CUSUM.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from numba import njit

from lesniva.change.critical import reverse_cusum_critical_value
from lesniva.change.regression import (
    MAD_TO_SIGMA,
    Float,
    Int,
    coefficient_names,
    day_numbers,
    design,
    median,
    products,
    reversed_recursive_residuals,
    solve_packed,
    stable_start,
)
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status, flags, from_day_number
from lesniva.errors import InputError

MIN_OBSERVATIONS = 9
"""Fewer clear observations than this carry no seasonal model (1.5 per coefficient at least)."""

MIN_SEASONS = 2
"""Calendar years a history must touch."""

MIN_STABLE_DAYS = 183
"""A stable history shorter than this says nothing of a season."""

MAX_COEFFICIENT = 3.2
"""An index lies between −1 and 1 (CRSWIR somewhat above): larger coefficients tell of gaps in the
season between which the harmonics swing; the order is then lowered. They also fit the int16 of the
monitor's state."""

_TUKEY = 4.685
"""Bisquare constant: 95 % efficient under normal noise."""

_ROBUST_ITERATIONS = 6
_RIDGE = 1e-6

_NODATA = int(NODATA_INT16)
_SCALE = float(INDEX_SCALE)
_FITTED = int(Status.NONE)
_TOO_FEW = int(Status.TOO_FEW_OBSERVATIONS)
_UNSTABLE = int(Status.UNSTABLE_HISTORY)
_NEVER = int(Status.NEVER_CLEAR)


def fit(
    index: xr.DataArray,
    time: npt.ArrayLike,
    *,
    method: Literal["robust", "ols"] = "robust",
    trim: Literal["roc"] | None = "roc",
    trim_level: float = 0.05,
    trend: bool = False,
    max_order: int | None = None,
    sigma: Literal["mad", "ols"] = "mad",
    sigma_floor: float = 0.012,
) -> xr.Dataset:
    """Fit the seasonal model of every pixel.

    Parameters
    ----------
    index
        (time, y, x) int16, index × `conventions.INDEX_SCALE`, missing = `NODATA_INT16`; the history
        only.
    time
        Rising ``datetime64`` dates of the slices, one a solar day.
    method
        "ols", or "robust": bisquare (c = 4.685) weights with scale 1.4826 × median |residual|, at
        most six iterations.
    trim
        "roc": drop what lies before the last structural change found by the reverse ordered CUSUM
        (Pesaran & Timmermann 2002; exact to R strucchange), then fit the rest anew. None: keep all.
    trim_level
        Significance level of that test.
    trend
        Add a linear trend (years).
    max_order
        Most harmonics; default 3, with a trend 2 (both fill the monitor's state).
        By the observations there are: 1 harmonic below 15, 2 below 40 or in fewer than three
        calendar years, 3 otherwise.
    sigma
        "mad": √((1.4826 median |residual|)² + floor²); "ols": √(RSS / (n − p)), without the floor.
    sigma_floor
        Least noise of the index, in index units (0.012 for NBR, NDVI, NDMI; 0.02 for CRSWIR, NDRE).

    Returns
    -------
    Dataset
        ``coefficients`` (coef, y, x) float32, zero above the order used; ``sigma`` float32;
        ``order`` uint8; ``n_history`` uint16; day numbers (uint16, 0 = none) ``history_start``,
        ``last_observed`` and ``last_normal`` (last observation within 1.5 σ); ``status`` uint8:
        `Status.NONE` where there is a model, NEVER_CLEAR without any observation,
        TOO_FEW_OBSERVATIONS (fewer than 9, or in one calendar year), UNSTABLE_HISTORY (fewer than
        9 or less than 183 days left after the trim). Without a model the coefficients are NaN.

    Raises
    ------
    InputError
        If the stack or its dates are not as described.
    """
    stack = checked_stack(index, time)
    if max_order is None:
        max_order = 2 if trend else 3
    if not 1 <= max_order <= 5:
        raise InputError(f"max_order is {max_order}; a seasonal model has 1 to 5 harmonics")
    if method not in ("robust", "ols") or trim not in ("roc", None) or sigma not in ("mad", "ols"):
        raise InputError(
            f"method={method!r}, trim={trim!r}, sigma={sigma!r}; use method 'robust' or 'ols', "
            "trim 'roc' or None, sigma 'mad' or 'ols'"
        )
    day = day_numbers(time)
    X = design(day, max_order, trend=trend)
    p = X.shape[1]
    shape = stack.shape[1:]
    n_pixels = shape[0] * shape[1]
    coefficients = np.empty((p, n_pixels), dtype=np.float32)
    scale = np.empty(n_pixels, dtype=np.float32)
    codes = np.empty((2, n_pixels), dtype=np.uint8)
    numbers = np.empty((4, n_pixels), dtype=np.uint16)
    years = from_day_number(day).astype("datetime64[Y]").astype(np.int64)
    _fit_pixels(
        stack.reshape(len(day), n_pixels),
        day,
        years,
        X,
        products(X),
        int(trend),
        max_order,
        method == "robust",
        reverse_cusum_critical_value(trim_level) if trim == "roc" else 0.0,
        -1.0 if sigma == "ols" else float(sigma_floor),
        0,
        n_pixels,
        coefficients,
        scale,
        codes,
        numbers,
    )
    plane = ("y", "x")
    return xr.Dataset(
        {
            "coefficients": (
                ("coef", *plane),
                coefficients.reshape(p, *shape),
                {"names": " ".join(coefficient_names(max_order, trend=trend))},
            ),
            "sigma": (plane, scale.reshape(shape), {"units": "1"}),
            "order": (plane, codes[0].reshape(shape)),
            "n_history": (plane, numbers[0].reshape(shape)),
            "history_start": (plane, numbers[1].reshape(shape)),
            "last_observed": (plane, numbers[2].reshape(shape)),
            "last_normal": (plane, numbers[3].reshape(shape)),
            "status": (plane, codes[1].reshape(shape), flags(Status)),
        },
        coords=plane_coords(index),
        attrs={
            "trend": int(trend),
            "method": method,
            "trim": trim or "none",
            "trim_level": trim_level,
            "sigma_rule": sigma,
            "sigma_floor": sigma_floor,
            "history_end": int(day[-1]),
        },
    )


def checked_stack(index: xr.DataArray, time: npt.ArrayLike) -> npt.NDArray[np.int16]:
    """Values of an index stack, after checks of its dims, type and dates.

    Raises
    ------
    InputError
        If dims are not (time, y, x), the type is not int16, or the dates do not rise.
    """
    if index.dims != ("time", "y", "x") or index.dtype != np.int16:
        raise InputError(
            f"the index stack has dims {index.dims} and type {index.dtype}; "
            "give int16 with dims ('time', 'y', 'x')"
        )
    days = day_numbers(time)
    if days.shape != (index.sizes["time"],) or days.size == 0:
        raise InputError(
            f"the index stack has {index.sizes['time']} slices and there are {days.size} dates; "
            "give one date a slice, and at least one"
        )
    if (np.diff(days) <= 0).any():
        at = int(np.flatnonzero(np.diff(days) <= 0)[0])
        pair = " then ".join(str(d) for d in from_day_number(days[at : at + 2]))
        raise InputError(f"dates must rise, one slice a solar day; found {pair}")
    if days[0] < 1:
        raise InputError(f"the first date is {from_day_number(days[:1])[0]}; dates begin in 2015")
    return np.ascontiguousarray(index.values)


def plane_coords(index: xr.DataArray | xr.Dataset) -> dict[str, xr.DataArray]:
    """Coordinates x and y, where the array has them."""
    return {name: index.coords[name] for name in ("y", "x") if name in index.coords}


@njit(nogil=True, cache=True)
def _order_of(n: int, n_years: int, max_order: int) -> int:
    if n < 15:
        order = 1
    elif n < 40 or n_years < 3:
        order = 2
    else:
        order = 3
    return min(order, max_order) if max_order <= 3 or order < 3 else max_order


@njit(nogil=True, cache=True)
def _years_of(years: Int, rows: Int, n: int) -> int:
    count = 1
    for i in range(1, n):
        if years[rows[i]] != years[rows[i - 1]]:
            count += 1
    return count


@njit(nogil=True, cache=True)
def _normal_equations(
    XX: Float, X: Float, y: Float, rows: Int, begin: int, n: int, p: int, A: Float, b: Float
) -> None:
    q = p * (p + 1) // 2
    for j in range(q):
        A[j] = 0.0
    for j in range(p):
        b[j] = 0.0
    for i in range(begin, n):
        row = rows[i]
        for j in range(q):
            A[j] += XX[row, j]
        for j in range(p):
            b[j] += X[row, j] * y[i]


@njit(nogil=True, cache=True)
def _weighted_equations(
    XX: Float,
    X: Float,
    y: Float,
    r: Float,
    cut: float,
    rows: Int,
    begin: int,
    n: int,
    p: int,
    A: Float,
    b: Float,
) -> None:
    q = p * (p + 1) // 2
    for j in range(q):
        A[j] = 0.0
    for j in range(p):
        b[j] = 0.0
        A[j * (j + 1) // 2 + j] = _RIDGE
    for i in range(begin, n):
        u = r[i] / cut
        if abs(u) >= 1.0:
            continue
        weight = (1.0 - u * u) ** 2
        row = rows[i]
        for j in range(q):
            A[j] += weight * XX[row, j]
        for j in range(p):
            b[j] += weight * X[row, j] * y[i]


@njit(nogil=True, cache=True)
def _residuals(
    X: Float, y: Float, rows: Int, begin: int, n: int, p: int, beta: Float, r: Float
) -> None:
    for i in range(begin, n):
        fitted = 0.0
        for j in range(p):
            fitted += X[rows[i], j] * beta[j]
        r[i] = y[i] - fitted


@njit(nogil=True, cache=True)
def _median_size(r: Float, begin: int, n: int, work: Float) -> float:
    for i in range(begin, n):
        work[i - begin] = abs(r[i])
    return median(work, n - begin)


@njit(nogil=True, cache=True)
def _fit_pixels(
    stack: npt.NDArray[np.int16],
    day: Int,
    years: Int,
    X: Float,
    XX: Float,
    trend: int,
    max_order: int,
    robust: bool,
    critical: float,
    floor: float,
    first: int,
    last: int,
    coefficients: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    numbers: npt.NDArray[np.uint16],
) -> None:
    """Fit pixels first … last − 1 of stack (time, pixel); critical 0 = no trim, floor < 0 = OLS."""
    n_times = stack.shape[0]
    p_max = X.shape[1]
    rows = np.empty(n_times, dtype=np.int64)
    y = np.empty(n_times)
    r = np.empty(n_times)
    work = np.empty(n_times)
    A = np.empty(XX.shape[1])
    b = np.empty(p_max)
    beta = np.empty(p_max)
    R = np.empty((p_max, p_max + 1))
    for pixel in range(first, last):
        n = 0
        for t in range(n_times):
            value = stack[t, pixel]
            if value != _NODATA:
                rows[n] = t
                y[n] = value / _SCALE
                n += 1
        for j in range(p_max):
            coefficients[j, pixel] = np.nan
        scale[pixel] = np.nan
        codes[0, pixel] = 0
        codes[1, pixel] = _NEVER
        numbers[0, pixel] = n
        for j in range(1, 4):
            numbers[j, pixel] = 0
        if n == 0:
            continue
        numbers[1, pixel] = day[rows[0]]
        numbers[2, pixel] = day[rows[n - 1]]
        n_years = _years_of(years, rows, n)
        if n < MIN_OBSERVATIONS or n_years < MIN_SEASONS:
            codes[1, pixel] = _TOO_FEW
            continue
        order = _order_of(n, n_years, max_order)
        begin = 0
        if critical > 0.0:
            p = 1 + trend + 2 * order
            reversed_recursive_residuals(X, y, rows, n, p, R, b, work)
            begin = stable_start(work, n, p, critical)
            if begin > 0:
                numbers[0, pixel] = n - begin
                numbers[1, pixel] = day[rows[begin]]
                span = day[rows[n - 1]] - day[rows[begin]]
                if n - begin < MIN_OBSERVATIONS or span < MIN_STABLE_DAYS:
                    codes[1, pixel] = _UNSTABLE
                    continue
                n_years = _years_of(years, rows[begin:], n - begin)
                order = _order_of(n - begin, n_years, max_order)
        solved = False
        p = 0
        while order > 0 and not solved:
            p = 1 + trend + 2 * order
            solved = _solve(X, XX, y, rows, begin, n, p, robust, A, b, beta, r, work)
            if not solved:
                order -= 1
        if not solved:
            codes[1, pixel] = _UNSTABLE
            continue
        _residuals(X, y, rows, begin, n, p, beta, r)
        if floor < 0.0:
            square = 0.0
            for i in range(begin, n):
                square += r[i] * r[i]
            s = np.sqrt(square / (n - begin - p))
        else:
            s = MAD_TO_SIGMA * _median_size(r, begin, n, work)
            s = np.sqrt(s * s + floor * floor)
        for j in range(p_max):
            coefficients[j, pixel] = beta[j] if j < p else 0.0
        scale[pixel] = s
        codes[0, pixel] = order
        codes[1, pixel] = _FITTED
        for i in range(n - 1, begin - 1, -1):
            if abs(r[i]) <= 1.5 * s:
                numbers[3, pixel] = day[rows[i]]
                break


@njit(nogil=True, cache=True)
def _solve(
    X: Float,
    XX: Float,
    y: Float,
    rows: Int,
    begin: int,
    n: int,
    p: int,
    robust: bool,
    A: Float,
    b: Float,
    beta: Float,
    r: Float,
    work: Float,
) -> bool:
    """Coefficients of one pixel into beta; False where the observations do not carry this order."""
    if 2 * (n - begin) < 3 * p:
        return False
    _normal_equations(XX, X, y, rows, begin, n, p, A, b)
    if not solve_packed(A, b, p):
        return False
    for j in range(p):
        beta[j] = b[j]
    if robust:
        for _ in range(_ROBUST_ITERATIONS):
            _residuals(X, y, rows, begin, n, p, beta, r)
            s = MAD_TO_SIGMA * _median_size(r, begin, n, work)
            if s < 1e-9:
                break
            _weighted_equations(XX, X, y, r, _TUKEY * s, rows, begin, n, p, A, b)
            if not solve_packed(A, b, p):
                return False
            moved = 0.0
            for j in range(p):
                moved = max(moved, abs(b[j] - beta[j]))
                beta[j] = b[j]
            if moved < 1e-7:
                break
    for j in range(p):
        if not abs(beta[j]) <= MAX_COEFFICIENT:
            return False
    return True
