"""The classical detectors, date by date: for comparison, and for who must reproduce them.

Each reads the residuals r of the seasonal model (steps of 1 / `INDEX_SCALE`, so that sums are exact
integers) in the direction of a disturbance and breaks for good at its first crossing:

- ``ols_cusum``, ``ols_mosum``: cumulative and moving sums against the borders of
  `classical.monitor` (fit with ``method="ols", sigma="ols"`` to have the numbers of R);
- ``ewma``: E ← (1 − λ) E + λ r / σ beyond L √(λ / (2 − λ)) (Brooks et al. 2014);
- ``iqr``: so many dates in a row beyond the quartiles of the history's residuals by a multiple of
  their distance;
- ``three_in_a_row``: so many dates in a row beyond a fixed threshold, the way of FORDEAD (Dutrieux
  et al. 2024).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.critical import cusum_critical_value, mosum_critical_value
from lesniva.change.regression import Float, Int, inner
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import InputError

DETECTORS = ("ols_cusum", "ols_mosum", "ewma", "iqr", "three_in_a_row")

_CUSUM, _MOSUM, _EWMA, _IQR, _ROW = range(5)
_NODATA = int(NODATA_INT16)
_SCALE = float(INDEX_SCALE)
_NONE = int(Status.NONE)
_FLAGGED = int(Status.FLAGGED)
_CONFIRMED = int(Status.CONFIRMED)


@dataclass(frozen=True)
class ClassicalOptions:
    """Parameters of the classical detectors; each uses those of its name."""

    level: float = 0.05
    """Significance level (ols_cusum, ols_mosum)."""
    h: float = 0.25
    """Window in shares of the history (ols_mosum)."""
    period: int = 10
    """Length of monitoring in histories (ols_mosum)."""
    ewma_weight: float = 0.3
    """λ (ewma)."""
    ewma_limit: float = 3.0
    """L (ewma)."""
    iqr_factor: float = 1.5
    """Distance to the quartiles in interquartile ranges (iqr)."""
    threshold: float = 0.16
    """Fixed threshold in index units (three_in_a_row)."""
    dates: int = 3
    """Dates in a row (iqr, three_in_a_row)."""
    two_sided: bool = False
    """Break in either direction, as R and nrt do."""

    def __post_init__(self) -> None:
        """Refuse what makes no detector, all faults at once."""
        faults = [
            name
            for name, fine in {
                "0 < h ≤ 1": 0.0 < self.h <= 1.0,
                "0 < ewma_weight ≤ 1": 0.0 < self.ewma_weight <= 1.0,
                "ewma_limit > 0": self.ewma_limit > 0.0,
                "iqr_factor ≥ 0": self.iqr_factor >= 0.0,
                "threshold > 0": self.threshold > 0.0,
                "1 ≤ dates ≤ 255": 1 <= self.dates <= 255,
            }.items()
            if not fine
        ]
        if faults:
            raise InputError(f"detector options {self} break: " + "; ".join(faults))


class ClassicalRule(NamedTuple):
    """`ClassicalOptions` in the units of the kernel."""

    kind: int
    sign: float
    critical: float
    h: float
    weight: float
    limit: float
    threshold: float
    dates: int
    two_sided: bool


class ClassicalFields(NamedTuple):
    """Arrays (y, x) of a classical state."""

    coefficients: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32]
    n_history: npt.NDArray[np.uint16]
    status: npt.NDArray[np.uint8]
    n_observed: npt.NDArray[np.uint16]
    """Observations since monitoring began."""
    n_anomalies: npt.NDArray[np.uint8]
    """Dates in a row beyond the limit."""
    last_observed: npt.NDArray[np.uint16]
    first_anomaly: npt.NDArray[np.uint16]
    last_normal: npt.NDArray[np.uint16]
    confirmed: npt.NDArray[np.uint16]
    total: npt.NDArray[np.int32]
    """Sum of residuals, of all or of the window, in steps."""
    process: npt.NDArray[np.float32]
    """EWMA, or the sum over σ √m."""
    lower: npt.NDArray[np.float32]
    upper: npt.NDArray[np.float32]
    """Limits of normal residuals in index units."""
    window: npt.NDArray[np.int16]
    """(window, y, x) newest residuals in steps, a ring."""


def rule_of(detector: str, options: ClassicalOptions, *, decrease: bool) -> ClassicalRule:
    """Express options in the units of the kernel."""
    kind = DETECTORS.index(detector)
    critical = 0.0
    if kind == _CUSUM:
        critical = cusum_critical_value(options.level)
    elif kind == _MOSUM:
        critical = mosum_critical_value(options.level, h=options.h, period=options.period)
    weight = options.ewma_weight
    return ClassicalRule(
        kind=kind,
        sign=1.0 if decrease else -1.0,
        critical=critical,
        h=options.h,
        weight=weight,
        limit=options.ewma_limit * float(np.sqrt(weight / (2.0 - weight))),
        threshold=options.threshold,
        dates=options.dates,
        two_sided=options.two_sided,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def remember_history(
    stack: npt.NDArray[np.int16],
    day: Int,
    X: Float,
    history_start: npt.NDArray[np.uint16],
    h: float,
    factor: float,
    f: ClassicalFields,
) -> None:
    """Fill window, total and limits from the residuals of the history (time, y, x)."""
    kept = np.empty(stack.shape[0])
    for i in range(stack.shape[1]):
        for j in range(stack.shape[2]):
            if f.status[i, j] != _NONE:
                continue
            n = 0
            for t in range(stack.shape[0]):
                if stack[t, i, j] != _NODATA and day[t] >= history_start[i, j]:
                    kept[n] = _residual_steps(stack[t, i, j], X[t], f, i, j)
                    n += 1
            size = min(int(np.floor(h * n)), f.window.shape[0])
            for k in range(size):
                step = kept[n - size + k]
                f.window[k, i, j] = step
                f.total[i, j] += np.int32(step)
            ordered = np.sort(kept[:n])
            low, high = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
            f.lower[i, j] = (low - factor * (high - low)) / _SCALE
            f.upper[i, j] = (high + factor * (high - low)) / _SCALE


@inner
def _quantile(ordered: Float, share: float) -> float:
    """Quantile of rising values, linear between them."""
    place = share * (ordered.size - 1)
    below = int(np.floor(place))
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


@inner
def _residual_steps(value: int, x: Float, f: ClassicalFields, i: int, j: int) -> float:
    """Residual in whole steps of 1 / INDEX_SCALE."""
    fitted = 0.0
    for k in range(x.size):
        fitted += x[k] * f.coefficients[k, i, j]
    step = np.rint(value - fitted * _SCALE)
    return float(min(max(step, -32767.0), 32767.0))


@njit(nogil=True, cache=True, error_model="numpy")
def observe(
    values: npt.NDArray[np.int16],
    day: int,
    x: Float,
    offset: Float,
    noise: Float,
    strata: npt.NDArray[np.uint8],
    rule: ClassicalRule,
    f: ClassicalFields,
) -> None:
    """Take one slice in; a pixel that has broken stays as it is."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if values[i, j] == _NODATA or f.status[i, j] > _FLAGGED:
                continue
            stratum = strata[i, j]
            step = _residual_steps(values[i, j], x, f, i, j) - np.rint(offset[stratum] * _SCALE)
            beyond = _is_beyond(step, noise[stratum], rule, f, i, j)
            if not beyond:
                f.n_anomalies[i, j] = 0
                f.first_anomaly[i, j] = 0
                f.last_normal[i, j] = day
                f.status[i, j] = _NONE
            else:
                if f.n_anomalies[i, j] == 0:
                    f.first_anomaly[i, j] = day
                f.n_anomalies[i, j] += 1
                needed = rule.dates if rule.kind >= _IQR else 1
                broken = f.n_anomalies[i, j] >= needed
                f.status[i, j] = _CONFIRMED if broken else _FLAGGED
                f.confirmed[i, j] = day if broken else 0
            f.last_observed[i, j] = day


@inner
def _is_beyond(
    step: float, noise: float, rule: ClassicalRule, f: ClassicalFields, i: int, j: int
) -> bool:
    """Advance the pixel's process by one residual; whether it is beyond its limit."""
    f.n_observed[i, j] += 1
    residual = step / _SCALE
    low, high = -rule.threshold, rule.threshold
    value = residual
    if rule.kind <= _MOSUM:
        value, high = _sum_and_border(step, rule, f, i, j)
        low = -high
        f.process[i, j] = value
    elif rule.kind == _EWMA:
        z = residual / (f.sigma[i, j] * noise)
        f.process[i, j] = (1.0 - rule.weight) * f.process[i, j] + rule.weight * z
        value = float(f.process[i, j])
        low, high = -rule.limit, rule.limit
    elif rule.kind == _IQR:
        low, high = float(f.lower[i, j]), float(f.upper[i, j])
    if rule.kind >= _IQR:
        f.process[i, j] = residual
    if rule.two_sided:
        return value < low or value > high
    return value < low if rule.sign > 0.0 else value > high


@inner
def _sum_and_border(
    step: float, rule: ClassicalRule, f: ClassicalFields, i: int, j: int
) -> tuple[float, float]:
    """Sum of residuals over σ √m and its border."""
    m = float(f.n_history[i, j])
    share = (m + f.n_observed[i, j]) / m
    f.total[i, j] += np.int32(step)
    border = np.sqrt(share * (share - 1.0) * (rule.critical**2 + np.log(share / (share - 1.0))))
    if rule.kind == _MOSUM:
        border = rule.critical * np.sqrt(2.0 * max(1.0, np.log(share)))
        size = int(np.floor(rule.h * m))
        if size > 0:
            place = (f.n_observed[i, j] - 1) % size
            f.total[i, j] -= np.int32(f.window[place, i, j])
            f.window[place, i, j] = step
    return f.total[i, j] / _SCALE / (f.sigma[i, j] * np.sqrt(m)), border
