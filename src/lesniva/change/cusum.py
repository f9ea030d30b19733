"""The detector: a one-sided, clipped log-likelihood CUSUM, and the status machine that reads it.

Each clear observation gives z = s r / σ (s = +1 where a disturbance lowers the index) and the
evidence ℓ(z) = log f_NF(z) − log f_F(z) of non-forest N(μ, s_d²) against forest N(0, 1), clipped to
±log((1 − c) / c); S ← max(0, S + ℓ) (Page 1954). With P = 1 / (1 + e^−S) this is the Bayesian
updating of Reiche et al. (2015) in log-odds. S is counted in whole steps of 1 / `EVIDENCE_STEPS`,
so that a stored state is the state.

S and the counts that steer it depend on the pixel's own observations alone. The status of a pixel
also looks at S of its eight neighbours, never at their status: a block padded by one pixel gives
the same answer in its inside as any other partition of the area.
"""

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import Float, Int
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import InputError

EVIDENCE_STEPS = 256
"""Steps of the stored evidence in one unit of log-odds."""

SIGMA_STEP = 1e-5
"""Index units in one step of the stored noise."""

RESIDUAL_STEP = 0.01
"""Index units in one step of the stored residuals."""

N_RESIDUALS = 5
"""How many of the newest residuals of an event are kept for its magnitude."""

NO_RESIDUAL = -128

_NODATA = int(NODATA_INT16)
_SCALE = float(INDEX_SCALE)
_MAX_EVIDENCE = 32767
_NONE = int(Status.NONE)
_FLAGGED = int(Status.FLAGGED)
_LOW = int(Status.LOW)
_CONFIRMED = int(Status.CONFIRMED)
_FINISHED = int(Status.FINISHED)
_REARMED = int(Status.REARMED)
_FIRST_WITHOUT_MODEL = int(Status.NOT_FOREST)


@dataclass(frozen=True)
class Options:
    """Parameters of the detector; `PROFILES` holds the usual ones."""

    confirmed: float = 0.99
    """Probability at which an event is confirmed."""
    low: float = 0.85
    """Probability at which a flagged pixel has low confidence."""
    min_dates: int = 2
    """Dates with evidence for a change that a confirmation needs."""
    mean: float = -4.5
    """Mean of z over non-forest, μ."""
    spread: float = 2.5
    """Standard deviation of z over non-forest, s_d."""
    clip: float = 0.1
    """Least probability a single observation may give either class, c."""
    near: float = 0.65
    """Factor of the thresholds where half of the neighbours show evidence."""
    far: float = 1.35
    """Factor of the thresholds where fewer do."""
    min_neighbours: int = 3
    """Neighbours with a model that the spatial prior needs; with fewer the factor is 1."""
    forget_days: int = 60
    """A single date of evidence is forgotten after so many days without an observation."""
    normal_z: float = -1.5
    """z above which an observation is normal."""
    finish_dates: int = 3
    """Normal dates in a row that end an event …"""
    finish_days: int = 20
    """… and the days they must span."""
    rearm_days: int = 365
    """Days after the first anomaly when an event that has not finished makes room for a new one."""

    def __post_init__(self) -> None:
        """Refuse what makes no detector, all faults at once."""
        faults = [
            name
            for name, fine in {
                "0.5 < low ≤ confirmed < 1": 0.5 < self.low <= self.confirmed < 1.0,
                "1 ≤ min_dates ≤ 255": 1 <= self.min_dates <= 255,
                "mean < 0": self.mean < 0.0,
                "spread ≥ 1": self.spread >= 1.0,
                "0 < clip < 0.5": 0.0 < self.clip < 0.5,
                "0 < near ≤ far": 0.0 < self.near <= self.far,
                "0 ≤ min_neighbours ≤ 8": 0 <= self.min_neighbours <= 8,
                "forget_days ≥ 1": self.forget_days >= 1,
                "normal_z < 0": self.normal_z < 0.0,
                "1 ≤ finish_dates ≤ 255": 1 <= self.finish_dates <= 255,
                "0 ≤ finish_days ≤ 255": 0 <= self.finish_days <= 255,
                "rearm_days ≥ 1": self.rearm_days >= 1,
            }.items()
            if not fine
        ]
        if faults:
            raise InputError(f"detector options {self} break: " + "; ".join(faults))


PROFILES = {
    "early": Options(confirmed=0.975),
    "standard": Options(confirmed=0.99),
    "strict": Options(confirmed=0.999),
}
"""Options by name: the earlier an event is confirmed, the more often wrongly."""


def evidence(z: npt.ArrayLike, options: Options | None = None) -> Float:
    """Log-likelihood ratio ℓ of non-forest against forest, monotone and clipped.

    Parameters
    ----------
    z
        Standardised residuals, negative where a disturbance is likely.
    options
        μ, s_d and c; the standard profile by default.

    Returns
    -------
    ndarray
        float64, within ±log((1 − c) / c).

    Notes
    -----
    As s_d > 1 the raw ratio would rise again for z > −μ / (s_d² − 1), so that a strong greening
    counted for a change; it is held from there on. Below μ it never counts against a change.
    """
    chosen = options or Options()
    values = np.atleast_1d(np.asarray(z, dtype=np.float64))
    mean, spread = chosen.mean, chosen.spread
    limit = log((1.0 - chosen.clip) / chosen.clip)
    ratio = np.array([_evidence(v, mean, spread, log(spread), limit) for v in values.ravel()])
    return ratio.reshape(values.shape)


@njit(nogil=True, cache=True)
def _evidence(z: float, mean: float, spread: float, log_spread: float, limit: float) -> float:
    held = z
    if spread > 1.0:
        held = min(z, -mean / (spread * spread - 1.0))
    standard = (held - mean) / spread
    ratio = -0.5 * standard * standard - log_spread + 0.5 * held * held
    if z < mean:
        ratio = max(ratio, 0.0)
    return min(max(ratio, -limit), limit)


@njit(nogil=True, cache=True)
def accumulate(
    values: npt.NDArray[np.int16],
    day: int,
    x: Float,
    shift: Float,
    strata: npt.NDArray[np.uint8],
    sign: float,
    mean: float,
    spread: float,
    limit: float,
    forget_days: int,
    normal_z: float,
    finish_dates: int,
    finish_days: int,
    coefficients: npt.NDArray[np.int16],
    sigma: npt.NDArray[np.uint16],
    status: npt.NDArray[np.uint8],
    S: npt.NDArray[np.int16],
    n_anomalies: npt.NDArray[np.uint8],
    last_observed: npt.NDArray[np.uint16],
    recent_normal: npt.NDArray[np.uint16],
    normal_run: npt.NDArray[np.uint8],
    normal_span: npt.NDArray[np.uint8],
    before: npt.NDArray[np.int16],
    z_now: npt.NDArray[np.float32],
) -> None:
    """Evidence of one slice: everything that needs no neighbour.

    Leaves in ``before`` the evidence before the slice and in ``z_now`` z, NaN without observation.
    """
    log_spread = np.log(spread)
    p = coefficients.shape[0]
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            z_now[row, column] = np.nan
            value = values[row, column]
            if value == _NODATA or status[row, column] >= _FIRST_WITHOUT_MODEL:
                continue
            fitted = 0.0
            for j in range(p):
                fitted += x[j] * coefficients[j, row, column]
            residual = (value - fitted) / _SCALE - shift[strata[row, column]]
            z = sign * residual / (sigma[row, column] * SIGMA_STEP)
            held = S[row, column]
            if (
                held > 0
                and n_anomalies[row, column] < 2
                and day - last_observed[row, column] > forget_days
            ):
                held = np.int16(0)
            before[row, column] = held
            z_now[row, column] = z
            step = round(EVIDENCE_STEPS * _evidence(z, mean, spread, log_spread, limit))
            total = min(max(held + step, 0), _MAX_EVIDENCE)
            if held == 0:
                n_anomalies[row, column] = 0
            if z > normal_z and step <= 0:
                if normal_run[row, column] == 0:
                    normal_span[row, column] = 0
                else:
                    passed = normal_span[row, column] + day - recent_normal[row, column]
                    normal_span[row, column] = min(passed, 255)
                normal_run[row, column] = min(normal_run[row, column] + 1, 255)
                recent_normal[row, column] = day
                if normal_run[row, column] >= finish_dates and (
                    normal_span[row, column] >= finish_days
                ):
                    total = 0
            else:
                normal_run[row, column] = 0
            if total == 0:
                n_anomalies[row, column] = 0
            elif step > 0:
                n_anomalies[row, column] = min(n_anomalies[row, column] + 1, 255)
            S[row, column] = total
            last_observed[row, column] = day


@njit(nogil=True, cache=True)
def judge(
    day: int,
    low: int,
    confirmed: int,
    near: float,
    far: float,
    min_dates: int,
    min_neighbours: int,
    forget_days: int,
    finish_dates: int,
    finish_days: int,
    rearm_days: int,
    sigma: npt.NDArray[np.uint16],
    S: npt.NDArray[np.int16],
    n_anomalies: npt.NDArray[np.uint8],
    last_observed: npt.NDArray[np.uint16],
    recent_normal: npt.NDArray[np.uint16],
    normal_run: npt.NDArray[np.uint8],
    normal_span: npt.NDArray[np.uint8],
    before: npt.NDArray[np.int16],
    z_now: npt.NDArray[np.float32],
    sign: float,
    status: npt.NDArray[np.uint8],
    first_anomaly: npt.NDArray[np.uint16],
    last_normal: npt.NDArray[np.uint16],
    confirmed_on: npt.NDArray[np.uint16],
    residuals: npt.NDArray[np.int8],
) -> None:
    """Status of the pixels observed in a slice, after `accumulate` has been over all of it."""
    n_rows, n_columns = status.shape
    kept = residuals.shape[0]
    for row in range(n_rows):
        for column in range(n_columns):
            z = z_now[row, column]
            if np.isnan(z):
                continue
            state = status[row, column]
            held = S[row, column]
            starts = before[row, column] == 0 and held > 0
            if state == _CONFIRMED:
                if normal_run[row, column] >= finish_dates and (
                    normal_span[row, column] >= finish_days
                ):
                    status[row, column] = _FINISHED
                    continue
                aged = day - first_anomaly[row, column] > rearm_days
                if not (starts and aged):
                    _push(residuals, row, column, kept, sign * z * sigma[row, column])
                    continue
            if held == 0:
                if state in (_FLAGGED, _LOW):
                    status[row, column] = _NONE
                    first_anomaly[row, column] = 0
                    for k in range(kept):
                        residuals[k, row, column] = NO_RESIDUAL
                elif state == _FINISHED and day - first_anomaly[row, column] > rearm_days:
                    status[row, column] = _REARMED
                continue
            if starts:
                first_anomaly[row, column] = day
                last_normal[row, column] = recent_normal[row, column]
                confirmed_on[row, column] = 0
                for k in range(kept):
                    residuals[k, row, column] = NO_RESIDUAL
            _push(residuals, row, column, kept, sign * z * sigma[row, column])
            neighbours = 0
            active = 0
            for i in range(max(row - 1, 0), min(row + 2, n_rows)):
                for j in range(max(column - 1, 0), min(column + 2, n_columns)):
                    if (i == row and j == column) or status[i, j] >= _FIRST_WITHOUT_MODEL:
                        continue
                    neighbours += 1
                    if S[i, j] > 0 and (
                        n_anomalies[i, j] >= 2 or day - last_observed[i, j] <= forget_days
                    ):
                        active += 1
            factor = 1.0
            if neighbours >= min_neighbours:
                factor = near if 2 * active >= neighbours else far
            if held >= factor * confirmed and n_anomalies[row, column] >= min_dates:
                status[row, column] = _CONFIRMED
                confirmed_on[row, column] = day
            elif held >= factor * low:
                status[row, column] = _LOW
            else:
                status[row, column] = _FLAGGED


@njit(nogil=True, cache=True)
def _push(
    residuals: npt.NDArray[np.int8], row: int, column: int, kept: int, sigma_steps: float
) -> None:
    """Keep the newest residual of a pixel, drop its oldest."""
    for k in range(kept - 1):
        residuals[k, row, column] = residuals[k + 1, row, column]
    step = round(sigma_steps * SIGMA_STEP / RESIDUAL_STEP)
    residuals[kept - 1, row, column] = min(max(step, -127), 127)
