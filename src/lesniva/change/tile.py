"""The arithmetic of a tile: linear algebra, medians and recursive residuals of many pixels at once.

Arrays are (…, lane), a lane being a pixel, and the inner loop of each step runs over lanes. Sums go
row by row, so that a row of weight 0 changes no bit of them. A loop names few arrays, as the
compiler gives up on making vector instructions where it has to tell many apart; and it chooses
among numbers that it has loaded, as what is loaded in one branch only becomes no vector either.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import Code, Float, Int, Single, select
from lesniva.conventions import NODATA_INT16

Key = npt.NDArray[np.int16]
Function = TypeVar("Function", bound=Callable[..., Any])

_NODATA = int(NODATA_INT16)
_NORMAL = np.float32(0.845)
"""Median by mean of the sizes of normal residuals."""

_MOST_PASSES = 12
"""Pivots that are tried for a median; by then it has been found in nearly all lanes."""


def lanewise(function: Function) -> Function:
    """Compile a step as `regression.inner` does, with products and sums fused."""
    bare = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "fastmath": {"contract"}}
    compiled: Function = njit(nogil=True, error_model="numpy", **bare)(function)  # type: ignore[call-overload]
    return compiled


@lanewise
def sums_of_subsets(codes: Code, table: Int, sums: Int) -> None:
    """Sum moments over the observed dates of each lane, in steps of 1 / `regression.MOMENT_STEPS`.

    codes (group, lane) say which dates of a group were observed, table (group, code, m) the sums
    over them (`regression.subset_sums`); sums are (lane, m). Whole numbers, so that the sum depends
    neither on the order of dates nor on how they are grouped.
    """
    sums[:, :] = 0
    for g in range(0, table.shape[0], 4):
        for lane in range(sums.shape[0]):
            total = sums[lane]
            one, two = table[g, codes[g, lane]], table[g + 1, codes[g + 1, lane]]
            three, four = table[g + 2, codes[g + 2, lane]], table[g + 3, codes[g + 3, lane]]
            for k in range(total.size):
                total[k] += (one[k] + two[k]) + (three[k] + four[k])


@lanewise
def weighted_sums(n_rows: int, rows: Int, columns: Float, v: Float, sums: Float) -> None:
    """Sum columns (time, k) over rows, weighted by v (row, lane)."""
    lanes = sums.shape[1]
    sums[:, :] = 0.0
    whole, even = n_rows - n_rows % 4, sums.shape[0] - sums.shape[0] % 2
    for i in range(0, whole, 4):
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        c0, c1, c2, c3 = (
            columns[rows[i]], columns[rows[i + 1]], columns[rows[i + 2]], columns[rows[i + 3]]
        )  # fmt: skip
        for k in range(0, even, 2):
            one, other = sums[k], sums[k + 1]
            a0, a1, a2, a3 = c0[k], c1[k], c2[k], c3[k]
            b0, b1, b2, b3 = c0[k + 1], c1[k + 1], c2[k + 1], c3[k + 1]
            for lane in range(lanes):
                w0, w1, w2, w3 = v0[lane], v1[lane], v2[lane], v3[lane]
                s = ((one[lane] + w0 * a0) + w1 * a1) + w2 * a2
                t = ((other[lane] + w0 * b0) + w1 * b1) + w2 * b2
                one[lane] = s + w3 * a3
                other[lane] = t + w3 * b3
        for k in range(even, sums.shape[0]):
            one = sums[k]
            a0, a1, a2, a3 = c0[k], c1[k], c2[k], c3[k]
            for lane in range(lanes):
                s = ((one[lane] + v0[lane] * a0) + v1[lane] * a1) + v2[lane] * a2
                one[lane] = s + v3[lane] * a3
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
def residual_sizes(
    n_rows: int,
    rows: Int,
    X: Single,
    raw: Key,
    beta: Single,
    line: Single,
    r: Single,
    total: Single,
    squares: Single,
) -> None:
    """Sizes of the residuals, infinite without observation; sum those of each lane, and squares.

    X (time, c) and beta (c, lane) are padded with zeros to a multiple of four columns, two steps at
    least; line (lane) is for the work.
    """
    lanes, last = raw.shape[1], beta.shape[0] - 4
    for lane in range(lanes):
        total[lane], squares[lane] = 0.0, 0.0
    for i in range(n_rows):
        x, value, size = X[rows[i]], raw[i], r[i]
        b0, b1, b2, b3 = beta[0], beta[1], beta[2], beta[3]
        x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
        for lane in range(lanes):
            one = (np.float32(value[lane]) - x0 * b0[lane]) - x1 * b1[lane]
            line[lane] = (one - x2 * b2[lane]) - x3 * b3[lane]
        for j in range(4, last, 4):
            b0, b1, b2, b3 = beta[j], beta[j + 1], beta[j + 2], beta[j + 3]
            x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
            for lane in range(lanes):
                one = (line[lane] - x0 * b0[lane]) - x1 * b1[lane]
                line[lane] = (one - x2 * b2[lane]) - x3 * b3[lane]
        b0, b1, b2, b3 = beta[last], beta[last + 1], beta[last + 2], beta[last + 3]
        x0, x1, x2, x3 = x[last], x[last + 1], x[last + 2], x[last + 3]
        for lane in range(lanes):
            one = (line[lane] - x0 * b0[lane]) - x1 * b1[lane]
            size[lane] = (one - x2 * b2[lane]) - x3 * b3[lane]
        for lane in range(lanes):
            size[lane] = abs(size[lane]) if value[lane] != _NODATA else np.float32(np.inf)
        for lane in range(lanes):
            known = size[lane] if size[lane] < np.float32(np.inf) else np.float32(0.0)
            total[lane] += known
            squares[lane] += known * known


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
    r: Single,
    n: Int,
    total: Single,
    search: Single,
    near: Single,
    work: Single,
    median: Float,
) -> None:
    """Median of the n finite sizes r of each lane, exactly; without any it is of no account.

    A pivot is sought that half of the numbers do not exceed, or one more or one less: the middle
    ones are then among the two largest up to it and the two least beyond. Of hardly a lane in
    thousands, unless numbers are equal, none is found, and its numbers are put in order. total
    (lane) is the sum of the numbers; search (7, lane), near (4, lane) and work (row) are for the
    work.
    """
    count, half = search[3], search[4]
    _search(n_rows, r, n, total, search)
    _neighbours(n_rows, r, search[2], near)
    under, before, above, beyond = near[0], near[1], near[2], near[3]
    for lane in range(median.size):
        a, b, c, d = before[lane], under[lane], above[lane], beyond[lane]
        surplus = count[lane] - half[lane]
        lower = a if surplus > 0.0 else (b if surplus == 0.0 else c)
        upper = b if surplus > 0.0 else (c if surplus == 0.0 else d)
        lower = lower if n[lane] % 2 == 0 else upper
        median[lane] = 0.5 * (np.float64(lower) + upper)
    for lane in range(median.size):
        if abs(count[lane] - half[lane]) > 1.0 and n[lane] > 0:
            found = 0
            for i in range(n_rows):
                work[found] = r[i, lane]
                found += work[found] < np.inf
            median[lane] = _median_of(work, found)


@lanewise
def _search(n_rows: int, r: Single, n: Int, total: Single, search: Single) -> None:
    """Find pivots that half of a lane's numbers do not exceed, give or take one, in nearly all."""
    low, high, pivot, count, half = search[0], search[1], search[2], search[3], search[4]
    below, upto = search[5], search[6]
    zero, one = np.float32(0.0), np.float32(1.0)
    for lane in range(pivot.size):
        mean = total[lane] / np.float32(max(n[lane], 1))
        # less than half of the numbers reach twice their mean
        low[lane], high[lane], pivot[lane] = zero, np.float32(2.1) * mean, _NORMAL * mean
        half[lane], below[lane] = np.float32(n[lane] // 2), zero
        upto[lane] = np.float32(2.0) * half[lane]
    for attempt in range(1, _MOST_PASSES + 1):
        _count_up_to(n_rows, r, pivot, count)
        running = zero
        for lane in range(pivot.size):
            running += one if abs(count[lane] - half[lane]) > one else zero
        if running == zero or attempt == _MOST_PASSES:
            break
        for lane in range(pivot.size):
            tried, found, wanted = pivot[lane], count[lane], half[lane]
            bottom, top, under, up = low[lane], high[lane], below[lane], upto[lane]
            top = tried if found > wanted else top
            up = found if found > wanted else up
            bottom = bottom if found > wanted else tried
            under = under if found > wanted else found
            low[lane], high[lane], below[lane], upto[lane] = bottom, top, under, up
            # where the median would be if the numbers between the bounds lay evenly
            share = (wanted - under + np.float32(0.5)) / max(up - under, one)
            there = bottom + share * (top - bottom)
            pivot[lane] = there if abs(found - wanted) > one else tried


@lanewise
def _count_up_to(n_rows: int, r: Single, pivot: Single, count: Single) -> None:
    """How many numbers of each lane do not exceed its pivot."""
    zero, one = np.float32(0.0), np.float32(1.0)
    whole = n_rows - n_rows % 4
    for lane in range(pivot.size):
        count[lane] = zero
    for i in range(0, whole, 4):
        r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
        for lane in range(pivot.size):
            m = pivot[lane]
            first = (one if r0[lane] <= m else zero) + (one if r1[lane] <= m else zero)
            second = (one if r2[lane] <= m else zero) + (one if r3[lane] <= m else zero)
            count[lane] += first + second
    for i in range(whole, n_rows):
        r0 = r[i]
        for lane in range(pivot.size):
            count[lane] += one if r0[lane] <= pivot[lane] else zero


@lanewise
def _neighbours(n_rows: int, r: Single, pivot: Single, near: Single) -> None:
    """Find the two largest numbers up to a pivot, the largest first, and the two least beyond."""
    under, before, above, beyond = near[0], near[1], near[2], near[3]
    zero, infinite = np.float32(0.0), np.float32(np.inf)
    for lane in range(pivot.size):
        under[lane], before[lane] = zero, zero
        above[lane], beyond[lane] = infinite, infinite
    for i in range(n_rows):
        ri = r[i]
        for lane in range(pivot.size):
            size = ri[lane]
            small = size if size <= pivot[lane] else zero
            large = infinite if size <= pivot[lane] else size
            a, b, c, d = before[lane], under[lane], above[lane], beyond[lane]
            second, next_one = min(small, b), max(large, c)
            before[lane] = max(second, a)
            under[lane] = max(small, b)
            above[lane] = min(large, c)
            beyond[lane] = min(next_one, d)


@lanewise
def _median_of(values: Single, n: int) -> float:
    """Median of the first n values; reorders them."""
    upper = select(values, n, n // 2)
    if n % 2 == 1:
        return upper
    return 0.5 * (upper + select(values, n // 2, n // 2 - 1))


@lanewise
def newest_first(n_rows: int, raw: Key, place: Int, n: Int) -> int:
    """Rows of the observations of each lane, the newest first; returns the most there are."""
    most = 0
    for lane in range(n.size):
        found = 0
        for i in range(n_rows - 1, -1, -1):
            place[found, lane] = i
            found += raw[i, lane] != _NODATA
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
    p, lanes = R.shape[0] - 1, size.size
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
