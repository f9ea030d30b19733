"""Harmonic design and the small linear algebra that the fits share.

The kernels work on one pixel at a time with buffers that the caller owns, so that a fit needs no
array of the size of a stack besides the stack itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Float = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
"""For residuals: fine enough, and twice as many numbers to a vector."""
Int = npt.NDArray[np.int64]
Code = npt.NDArray[np.uint16]
Function = TypeVar("Function", bound=Callable[..., Any])

_FOUR_YEARS = 1461
"""Days in four Julian years of 365.25 days."""

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""


def inner(function: Function) -> Function:
    """Compile a function that only kernels call.

    Without the entries from Python, which take much of the time of compiling, and without a cache
    of its own: the kernel's holds it. (After an edit here numba does not see that the cached
    kernels of other modules are old; ``make clean`` drops them.)
    """
    bare = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: Function = njit(nogil=True, error_model="numpy", **bare)(function)  # type: ignore[call-overload]
    return compiled


def day_numbers(time: npt.ArrayLike) -> Int:
    """Days since `conventions.EPOCH` of dates, as signed integers."""
    from lesniva.conventions import EPOCH

    return (np.asarray(time, dtype="datetime64[D]") - EPOCH).astype(np.int64)


def design(day: npt.ArrayLike, order: int, *, trend: bool = False) -> Float:
    """Build the regressors of the seasonal model.

    Parameters
    ----------
    day
        Day numbers.
    order
        Number of harmonics K.
    trend
        Add a column of years since `conventions.EPOCH` after the intercept.

    Returns
    -------
    ndarray
        (time, coefficient) float64: 1, [years,] cos 2πτ, sin 2πτ, cos 4πτ, … with
        τ = days / 365.25. A model of lower order uses the first columns only.

    Notes
    -----
    The phase is taken from integer days modulo 1461, so that a shift by four years changes no bit.
    """
    days = np.asarray(day, dtype=np.int64)
    phase = 2.0 * np.pi * ((4 * days) % _FOUR_YEARS) / _FOUR_YEARS
    columns = [np.ones(days.size)]
    if trend:
        columns.append(days / 365.25)
    for k in range(1, order + 1):
        columns += [np.cos(k * phase), np.sin(k * phase)]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def design_slope(day: npt.ArrayLike, order: int, *, trend: bool = False) -> Float:
    """Build the change of the regressors of `design` in a day, shaped as these."""
    columns = design(day, order, trend=trend)
    slope = np.zeros_like(columns)
    if trend:
        slope[:, 1] = 1.0 / 365.25
    for k in range(1, order + 1):
        cosine = 2 * k - 1 + int(trend)
        slope[:, cosine] = -2.0 * np.pi * k / 365.25 * columns[:, cosine + 1]
        slope[:, cosine + 1] = 2.0 * np.pi * k / 365.25 * columns[:, cosine]
    return slope


def moments(day: npt.ArrayLike, order: int, *, trend: bool = False) -> tuple[Float, Int, Float]:
    """Build what the products of two regressors of `design` are made of.

    A product of two harmonics is half a sum of two others: of 28 products of three harmonics 13
    columns are made, so that sums over dates are formed of these.

    Parameters
    ----------
    day, order, trend
        As in `design`.

    Returns
    -------
    columns
        (time, m) float64: 1, cos and sin up to twice the order; with a trend the regressors times
        the years besides.
    place, share
        (q, 2): product k of the packed lower triangle of x xᵀ, row by row, is the sum of
        share[k, i] × columns[:, place[k, i]]. The triangle of a model with fewer columns is a
        prefix of it.
    """
    days = np.asarray(day, dtype=np.int64)
    columns = design(days, 2 * order)
    n_harmonics = columns.shape[1]
    if trend:
        years = days / 365.25
        columns = np.hstack([columns, years[:, None] * design(days, order, trend=True)])
    # Harmonic numbers of the regressors: 0, then −k for cos k and k for sin k; None = years.
    kinds = [0, *([None] if trend else []), *(s * k for k in range(1, order + 1) for s in (-1, 1))]
    pairs = [
        _product(i, kinds[i], j, kinds[j], n_harmonics)
        for i in range(len(kinds))
        for j in range(i + 1)
    ]
    place, share = zip(*pairs, strict=True)
    return np.ascontiguousarray(columns), np.array(place), np.array(share, dtype=np.float64)


MOMENT_STEPS = 2.0**36
"""Steps in which moments are counted where sums must be exact: a step is 1e-11, and thousands of
dates with a trend of centuries stay within 64 bits."""

GROUP = 6
"""Dates whose subsets are listed together."""


def grouped(year: Int) -> Int:
    """First date of each group of at most `GROUP` dates of one calendar year, and the end.

    The number of groups is a multiple of four; the last ones may be empty.
    """
    within = np.arange(year.size) - np.searchsorted(year, year)
    first = np.flatnonzero(within % GROUP == 0)
    return np.concatenate([first, np.full(1 + -first.size % 4, year.size)])


def subset_sums(columns: Float, first: Int) -> Int:
    """Sum moments over every subset of the dates of each group.

    Parameters
    ----------
    columns
        (time, m) moments.
    first
        What `grouped` gave.

    Returns
    -------
    ndarray
        (group, 2^`GROUP`, m') int64 in steps of 1 / `MOMENT_STEPS`: bit i of the second index
        stands for date i of the group. Padded with zeros to a multiple of 16 moments.

    Notes
    -----
    Known as the method of the four Russians: with weights 0 and 1 an addition then takes in up to
    `GROUP` dates.
    """
    n_moments = columns.shape[1]
    table = np.zeros((first.size - 1, 2**GROUP, n_moments + -n_moments % 16), dtype=np.int64)
    whole = np.rint(columns * MOMENT_STEPS).astype(np.int64)
    for sums, begin, end in zip(table, first[:-1], first[1:], strict=True):
        for bit, moment in enumerate(whole[begin:end]):
            sums[1 << bit : 2 << bit, :n_moments] = sums[: 1 << bit, :n_moments] + moment
    return table


def _product(
    i: int, a: int | None, j: int, b: int | None, n_harmonics: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Columns of `moments` and their shares that make the product of regressors i ≥ j."""
    if a is None or b is None:
        other = i if b is None else j
        return (n_harmonics + other, 0), (1.0, 0.0)
    if a == 0 or b == 0:
        return (_column(a or b), 0), (1.0, 0.0)
    m, k = abs(a), abs(b)
    less, more = abs(m - k), m + k
    if (a < 0) == (b < 0):  # cos cos and sin sin
        return (_column(-less), _column(-more)), (0.5, 0.5 if a < 0 else -0.5)
    sine, cosine = (m, k) if a > 0 else (k, m)
    sign = float(np.sign(sine - cosine))
    return (_column(more), _column(less)), (0.5, 0.5 * sign)


def _column(kind: int) -> int:
    """Column of `design` without a trend: 0 the intercept, −k cos k, k sin k."""
    return 2 * abs(kind) - (kind < 0) if kind != 0 else 0


def coefficient_names(order: int, *, trend: bool) -> Sequence[str]:
    """Names of the columns of `design`."""
    names = ["intercept"] + (["trend_per_year"] if trend else [])
    for k in range(1, order + 1):
        names += [f"cos{k}", f"sin{k}"]
    return names


@inner
def predict(row: int, x: Single, coefficients: npt.NDArray[np.generic], expected: Single) -> None:
    """Model of a row of pixels on a day, in the unit of the coefficients, into expected.

    x (coef) are the regressors of the day, coefficients (coef, y, x). A whole row at once, so that
    it becomes vector instructions; of pixels without a model it is of no account.
    """
    for j in range(expected.size):
        expected[j] = 0.0
    even = x.size - x.size % 2
    for k in range(0, even, 2):
        one, other, x_one, x_other = coefficients[k, row], coefficients[k + 1, row], x[k], x[k + 1]
        for j in range(expected.size):
            both = x_one * np.float32(one[j]) + x_other * np.float32(other[j])
            expected[j] += both
    for k in range(even, x.size):
        one, x_one = coefficients[k, row], x[k]
        for j in range(expected.size):
            expected[j] += x_one * np.float32(one[j])


@inner
def select(values: npt.NDArray[np.floating[Any]], n: int, rank: int) -> float:
    """Value of the given rank (0 = least) among the first n; reorders them (Hoare's selection)."""
    left, right = 0, n - 1
    while left < right:
        pivot = values[rank]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < rank:
            left = i
        if rank < i:
            right = j
    return float(values[rank])


@njit(nogil=True, cache=True, error_model="numpy")
def median(values: Float, n: int) -> float:
    """Median of the first n values (n ≥ 1); reorders them."""
    upper = select(values, n, n // 2)
    if n % 2 == 1:
        return upper
    lower = float(values[0])
    for i in range(1, n // 2):
        lower = max(lower, values[i])
    return 0.5 * (lower + upper)


@inner
def rotate_in(R: Float, x: Float, y: float, p: int) -> float:
    """Add the row (x, y) to the triangular factor R (p, p + 1) of [X y] by Givens rotations.

    Returns what is left of y: the recursive residual of the row against the rows before it, zero
    while they do not determine the model. x is spoilt.
    """
    for i in range(p):
        if x[i] == 0.0:
            continue
        old = R[i, i]
        new = np.sqrt(old * old + x[i] * x[i])
        c = old / new
        s = x[i] / new
        R[i, i] = new
        for j in range(i + 1, p):
            held = R[i, j]
            R[i, j] = c * held + s * x[j]
            x[j] = c * x[j] - s * held
        held = R[i, p]
        R[i, p] = c * held + s * y
        y = c * y - s * held
        if old == 0.0:
            return 0.0
    return y


@inner
def back_substitute(R: Float, p: int, beta: Float) -> None:
    """Coefficients from the factor that `rotate_in` has built."""
    for i in range(p - 1, -1, -1):
        total = R[i, p]
        for j in range(i + 1, p):
            total -= R[i, j] * beta[j]
        beta[i] = total / R[i, i]


@njit(nogil=True, cache=True, error_model="numpy")
def reversed_recursive_residuals(
    X: Float, y: Float, rows: Int, n: int, p: int, R: Float, x: Float, w: Float
) -> None:
    """Recursive residuals, newest observation first; w gets the n − p of them.

    y holds the n observations, rows their rows in X (Brown, Durbin & Evans 1975, by rotations).
    """
    R[:, :] = 0.0
    for i in range(n):
        row = rows[n - 1 - i]
        for j in range(p):
            x[j] = X[row, j]
        left = rotate_in(R, x, y[n - 1 - i], p)
        if i >= p:
            w[i - p] = left


@njit(nogil=True, cache=True, error_model="numpy")
def stable_start(w: Float, n: int, p: int, critical: float) -> int:
    """First (0-based) of n observations of the stable history, from reversed recursive residuals.

    Reverse ordered CUSUM (Pesaran & Timmermann 2002) with the conventions of strucchange: the
    residuals' standard deviation has ddof 1; the boundary is λ (1 + 2j / (n − p)).
    """
    m = n - p
    if m < 2:
        return 0
    mean = 0.0
    for i in range(m):
        mean += w[i]
    mean /= m
    square = 0.0
    for i in range(m):
        square += (w[i] - mean) ** 2
    scale = np.sqrt(square / (m - 1)) * np.sqrt(m)
    if not scale > 0.0:
        return 0
    total = 0.0
    for i in range(m):
        total += w[i]
        if abs(total) / scale > critical * (1.0 + 2.0 * (i + 1) / m):
            # The process has m + 1 values, S_0 = 0 among them, and R counts from 1.
            return m - i
    return 0
