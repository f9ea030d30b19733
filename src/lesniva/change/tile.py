"""The arithmetic of a tile: linear algebra, medians and recursive residuals of many pixels at once.

Arrays are (…, lane), a lane being a pixel, and the inner loop of each step runs over lanes. Sums go
row by row, so that a row of weight 0 changes no bit of them. A loop names few arrays, as the
compiler gives up on making vector instructions where it has to tell many apart.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import Float, Int, select

Key = npt.NDArray[np.int16]
Function = TypeVar("Function", bound=Callable[..., Any])

NO_KEY = 0x7F80
"""Key of a missing value: that of infinity, above all others."""


def lanewise(function: Function) -> Function:
    """Compile a step as `regression.inner` does, with products and sums fused."""
    bare = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "fastmath": {"contract"}}
    compiled: Function = njit(nogil=True, error_model="numpy", **bare)(function)  # type: ignore[call-overload]
    return compiled


@lanewise
def weighted_sums(n_rows: int, rows: Int, columns: Float, v: Float, sums: Float) -> None:
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
                s = total[lane] + v0[lane] * c0
                s = s + v1[lane] * c1
                s = s + v2[lane] * c2
                total[lane] = s + v3[lane] * c3
    for i in range(whole, n_rows):
        for k in range(sums.shape[0]):
            total, vi, c = sums[k], v[i], columns[rows[i], k]
            for lane in range(lanes):
                total[lane] += vi[lane] * c


@lanewise
def combine(S: Float, place: Int, share: Float, A: Float) -> None:
    """Make A (q, lane) of sums S (m, lane), as `regression.moments` says."""
    for k in range(A.shape[0]):
        one, other, entry = S[place[k, 0]], S[place[k, 1]], A[k]
        of_one, of_other = share[k, 0], share[k, 1]
        for lane in range(entry.size):
            entry[lane] = of_one * one[lane] + of_other * other[lane]


@lanewise
def residuals(n_rows: int, rows: Int, X: Float, y: Float, beta: Float, r: Float) -> None:
    """Take a model off y, two columns a step; without observation r is of no account."""
    lanes, p = y.shape[1], X.shape[1]
    for i in range(n_rows):
        left, value = r[i], y[i]
        for lane in range(lanes):
            left[lane] = value[lane]
        for j in range(0, p - 1, 2):
            b0, b1 = beta[j], beta[j + 1]
            c0, c1 = X[rows[i], j], X[rows[i], j + 1]
            for lane in range(lanes):
                left[lane] = (left[lane] - c0 * b0[lane]) - c1 * b1[lane]
        if p % 2 == 1:
            b0, c0 = beta[p - 1], X[rows[i], p - 1]
            for lane in range(lanes):
                left[lane] -= c0 * b0[lane]


@lanewise
def solve(
    ridge: float,
    size: Int,
    A: Float,
    b: Float,
    L: Float,
    turned: Float,
    beta: Float,
    fine: Float,
) -> None:
    """Solve the normal equations of all lanes by L D Lᵀ.

    A (q, lane) holds packed lower triangles, to whose diagonal the ridge is added; of the p
    equations of a lane the first size are taken, beta (p, lane) being 0 above. fine is 0 where they
    are not positive definite to working precision, else 1. L (q, lane) and turned (p, lane) are
    for the work.
    """
    _take_first(ridge, size, A, b, L, beta)
    _factorise(L, turned, fine)
    _substitute(L, beta)


@lanewise
def _take_first(ridge: float, size: Int, A: Float, b: Float, L: Float, right: Float) -> None:
    """Copy the equations that a lane has, and trivial ones for the rest."""
    p, lanes = b.shape
    for i in range(p):
        for j in range(i + 1):
            row, of_A = L[i * (i + 1) // 2 + j], A[i * (i + 1) // 2 + j]
            diagonal, more = (1.0, ridge) if i == j else (0.0, 0.0)
            for lane in range(lanes):
                row[lane] = of_A[lane] + more if i < size[lane] else diagonal
        row, of_b = right[i], b[i]
        for lane in range(lanes):
            row[lane] = of_b[lane] if i < size[lane] else 0.0


@lanewise
def _factorise(L: Float, turned: Float, fine: Float) -> None:
    """Turn packed triangles into unit L below the diagonal and 1 / D on it, row by row."""
    lanes = fine.size
    q, p = L.shape[0], 0
    for lane in range(lanes):
        fine[lane] = 1.0
    while p * (p + 1) // 2 < q:
        first = p * (p + 1) // 2
        pivot, before = L[first + p], turned[p]
        for lane in range(lanes):
            before[lane] = pivot[lane]
        for j in range(p):
            entry, other = L[first + j], j * (j + 1) // 2
            for k in range(j):
                left, right = turned[k], L[other + k]
                for lane in range(lanes):
                    entry[lane] -= left[lane] * right[lane]
            held, inverse = turned[j], L[other + j]
            for lane in range(lanes):
                held[lane] = entry[lane]
                entry[lane] *= inverse[lane]
            for lane in range(lanes):
                pivot[lane] -= held[lane] * entry[lane]
        for lane in range(lanes):
            good = pivot[lane] > 1e-10 * before[lane]
            fine[lane] = fine[lane] if good else 0.0
            pivot[lane] = 1.0 / (pivot[lane] if good else 1.0)
        p += 1


@lanewise
def _substitute(L: Float, right: Float) -> None:
    """Solve with the factors, in place: forwards, then backwards."""
    p, lanes = right.shape
    for i in range(p):
        for j in range(i):
            entry, value, known = L[i * (i + 1) // 2 + j], right[i], right[j]
            for lane in range(lanes):
                value[lane] -= entry[lane] * known[lane]
    for i in range(p - 1, -1, -1):
        value, inverse = right[i], L[i * (i + 3) // 2]
        for lane in range(lanes):
            value[lane] *= inverse[lane]
        for k in range(i + 1, p):
            entry, known = L[k * (k + 1) // 2 + i], right[k]
            for lane in range(lanes):
                value[lane] -= entry[lane] * known[lane]


@lanewise
def median_sizes(
    n_rows: int,
    w: Float,
    r: Float,
    n: Int,
    keys: Key,
    bounds: Key,
    extremes: Float,
    work: Float,
    median: Float,
) -> None:
    """Median |r| of the n observations of each lane, exactly; without any it is of no account.

    A key is the upper half of |r| in single precision, which orders as |r| does. Bisection finds
    the key of the median; seldom more than two values share it. keys (row, lane), bounds (6, lane),
    extremes (3, lane) and work (row) are for the work.
    """
    lanes = median.size
    low, high, middle, wanted = bounds[0], bounds[1], bounds[2], bounds[3]
    _make_keys(n_rows, w, r, keys, extremes)
    total, single = extremes[0], np.empty(lanes, dtype=np.float32)
    bits = single.view(np.int32)
    # At most half of the values reach twice their mean, and few medians are below an eighth of it.
    for share, bound in ((2.1, high), (0.125, middle)):
        for lane in range(lanes):
            single[lane] = share * total[lane] / max(n[lane], 1)
        for lane in range(lanes):
            bound[lane] = bits[lane] >> 16
    for lane in range(lanes):
        low[lane] = 0
        wanted[lane] = n[lane] // 2 + 1
    _bisect(n_rows, keys, low, high, middle, wanted, bounds[4])
    below, inside = bounds[4], bounds[5]
    _look_into(n_rows, r, keys, low, below, inside, extremes)
    for lane in range(lanes):
        upper = n[lane] // 2 - below[lane]
        lower = upper - (n[lane] % 2 == 0)
        last = inside[lane] - 1
        if lower <= 0 and (upper <= 0 or upper == last):
            # of the values below the key the largest, of those that share it least or largest
            above = extremes[1, lane] if upper <= 0 else extremes[2, lane]
            under = extremes[0, lane] if lower < 0 else extremes[1, lane]
            median[lane] = 0.5 * (above + (under if lower < upper else above))
            continue
        found = 0
        for i in range(n_rows):
            if keys[i, lane] == low[lane]:
                work[found] = abs(r[i, lane])
                found += 1
        above = select(work, found, upper)
        under = extremes[0, lane] if lower < 0 else select(work, found, lower)
        median[lane] = 0.5 * (above + under)


@lanewise
def _make_keys(n_rows: int, w: Float, r: Float, keys: Key, extremes: Float) -> None:
    """Keys of all values, and the sum of |r| as first of the extremes."""
    lanes = w.shape[1]
    single = np.empty(lanes, dtype=np.float32)
    bits = single.view(np.int32)
    total = extremes[0]
    for lane in range(lanes):
        total[lane] = 0.0
    for i in range(n_rows):
        wi, ri, key = w[i], r[i], keys[i]
        for lane in range(lanes):
            value = abs(ri[lane])
            total[lane] += wi[lane] * value
            single[lane] = value if wi[lane] > 0.0 else np.inf
        for lane in range(lanes):
            key[lane] = bits[lane] >> 16


@lanewise
def _bisect(
    n_rows: int, keys: Key, low: Key, high: Key, middle: Key, wanted: Key, count: Key
) -> None:
    """Least key that so many keys of a lane do not exceed, into low; begins at middle."""
    lanes = low.size
    whole = n_rows - n_rows % 4
    for _ in range(16):
        for lane in range(lanes):
            count[lane] = 0
        for i in range(0, whole, 4):
            k0, k1, k2, k3 = keys[i], keys[i + 1], keys[i + 2], keys[i + 3]
            for lane in range(lanes):
                m = middle[lane]
                count[lane] += np.int16(
                    np.int16(k0[lane] <= m)
                    + np.int16(k1[lane] <= m)
                    + np.int16(k2[lane] <= m)
                    + np.int16(k3[lane] <= m)
                )
        for i in range(whole, n_rows):
            k0 = keys[i]
            for lane in range(lanes):
                count[lane] += np.int16(k0[lane] <= middle[lane])
        running = 0
        for lane in range(lanes):
            if count[lane] >= wanted[lane]:
                high[lane] = middle[lane]
            else:
                low[lane] = middle[lane] + 1
            running += low[lane] < high[lane]
            middle[lane] = (int(low[lane]) + int(high[lane])) >> 1
        if running == 0:
            break


@lanewise
def _look_into(
    n_rows: int, r: Float, keys: Key, chosen: Key, below: Key, inside: Key, extremes: Float
) -> None:
    """Count values below and of the chosen key; largest below, least and largest of that key."""
    lanes = chosen.size
    under, least, largest = extremes[0], extremes[1], extremes[2]
    for lane in range(lanes):
        below[lane], inside[lane] = 0, 0
        under[lane], least[lane], largest[lane] = 0.0, np.inf, 0.0
    for i in range(n_rows):
        ri, key = r[i], keys[i]
        for lane in range(lanes):
            below[lane] += np.int16(key[lane] < chosen[lane])
        for lane in range(lanes):
            inside[lane] += np.int16(key[lane] == chosen[lane])
        for lane in range(lanes):
            value = abs(ri[lane]) if key[lane] < chosen[lane] else 0.0
            under[lane] = max(under[lane], value)
        for lane in range(lanes):
            value = abs(ri[lane]) if key[lane] == chosen[lane] else 0.0
            largest[lane] = max(largest[lane], value)
        for lane in range(lanes):
            value = abs(ri[lane]) if key[lane] == chosen[lane] else np.inf
            least[lane] = min(least[lane], value)


@lanewise
def newest_first(n_rows: int, w: Float, place: Int, n: Int) -> int:
    """Rows of the observations of each lane, the newest first; returns the most there are."""
    most = 0
    for lane in range(n.size):
        found = 0
        for i in range(n_rows - 1, -1, -1):
            place[found, lane] = i
            found += w[i, lane] > 0.0
        n[lane] = found
        most = max(most, found)
        place[found:, lane] = 0
    return most


@lanewise
def recursive_residuals(
    n_steps: int,
    rows: Int,
    X: Float,
    y: Float,
    place: Int,
    n: Int,
    size: Int,
    R: Float,
    turning: Float,
    recursive: Float,
) -> None:
    """Recursive residuals of all lanes, newest observation first, by rotations without roots.

    Gentleman (1973): a row enters the triangular factor with a weight that each rotation lessens;
    what is left of its observation, times the root of that weight, is the recursive residual; the
    first size of a lane are none, and 0 here as those after its n observations. R (p + 1, p + 1,
    lane) holds the unit triangular factors, with the rotated observations as last column and the
    pivots as last row; turning (p + 5, lane) the row being rotated in, its observation and weight,
    and what a rotation needs.
    """
    p, lanes = X.shape[1], size.size
    R[:, :, :] = 0.0
    for step in range(n_steps):
        left, weight = turning[p], turning[p + 1]
        for lane in range(lanes):
            i = place[step, lane]
            left[lane] = y[i, lane]
            weight[lane] = 1.0 if step < n[lane] else 0.0
            for j in range(p):
                turning[j, lane] = X[rows[i], j] if j < size[lane] else 0.0
        for j in range(p):
            _rotate(j, p, R, turning)
        found = recursive[step]
        for lane in range(lanes):
            value = left[lane] * np.sqrt(weight[lane])
            found[lane] = value if size[lane] <= step < n[lane] else 0.0


@lanewise
def _rotate(j: int, p: int, R: Float, turning: Float) -> None:
    """Rotate column j of the row in hand into the factors."""
    x, d, weight = turning[j], R[p, j], turning[p + 1]
    cosine, sine, inverse = turning[p + 2], turning[p + 3], turning[p + 4]
    lanes = x.size
    for lane in range(lanes):
        entering = weight[lane] * x[lane]
        new = d[lane] + entering * x[lane]
        inverse[lane] = 1.0 / (new if new > 0.0 else 1.0)
        sine[lane] = entering * inverse[lane]
    for lane in range(lanes):
        new = d[lane] + weight[lane] * x[lane] * x[lane]
        cosine[lane] = d[lane] * inverse[lane] if new > 0.0 else 1.0
        d[lane] = new
    for lane in range(lanes):
        weight[lane] *= cosine[lane]
    for k in range(j + 1, p + 1):
        held, entering_row = R[j, k], turning[k]
        for lane in range(lanes):
            a, b = held[lane], entering_row[lane]
            entering_row[lane] = b - x[lane] * a
            held[lane] = cosine[lane] * a + sine[lane] * b


@lanewise
def stable_lengths(
    n_steps: int, n: Int, size: Int, critical: float, recursive: Float, work: Float, kept: Int
) -> None:
    """How many of the newest observations of each lane are a stable history.

    `regression.stable_start` from recursive residuals, whose rule and source it shares. work (4,
    lane) is for the work.
    """
    lanes = size.size
    total, square, mean, scale = work[0], work[1], work[2], work[3]
    for lane in range(lanes):
        total[lane], square[lane] = 0.0, 0.0
        kept[lane] = n[lane]
    for step in range(n_steps):
        value = recursive[step]
        for lane in range(lanes):
            total[lane] += value[lane]
    for lane in range(lanes):
        mean[lane] = total[lane] / max(n[lane] - size[lane], 1)
        total[lane] = 0.0
    for step in range(n_steps):
        value = recursive[step]
        for lane in range(lanes):
            off = value[lane] - mean[lane] if size[lane] <= step < n[lane] else 0.0
            square[lane] += off * off
    for lane in range(lanes):
        m = n[lane] - size[lane]
        scale[lane] = critical * np.sqrt(square[lane] / max(m - 1, 1)) * np.sqrt(max(m, 0))
    for step in range(n_steps):
        value = recursive[step]
        for lane in range(lanes):
            total[lane] += value[lane]
            m = n[lane] - size[lane]
            border = scale[lane] * (1.0 + 2.0 * (step - size[lane] + 1) / m)
            beyond = abs(total[lane]) > border and size[lane] <= step < n[lane]
            kept[lane] = min(kept[lane], step) if beyond and m >= 2 and border > 0 else kept[lane]
