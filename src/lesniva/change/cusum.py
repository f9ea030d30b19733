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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import Float
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
    lasting_days: int = 60
    """An event that ends was temporary if its anomalies span fewer days."""
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
                "0 ≤ lasting_days ≤ 255": 0 <= self.lasting_days <= 255,
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


class Rule(NamedTuple):
    """`Options` in the units of the kernels."""

    sign: float
    mean: float
    spread: float
    log_spread: float
    limit: float
    low: float
    confirmed: float
    near: float
    far: float
    normal_z: float
    min_dates: int
    min_neighbours: int
    forget_days: int
    finish_dates: int
    finish_days: int
    lasting_days: int
    rearm_days: int


class Fields(NamedTuple):
    """Arrays (y, x) of a monitor state, and of the slice in hand."""

    coefficients: npt.NDArray[np.int16]
    sigma: npt.NDArray[np.uint16]
    status: npt.NDArray[np.uint8]
    evidence: npt.NDArray[np.int16]
    n_anomalies: npt.NDArray[np.uint8]
    last_observed: npt.NDArray[np.uint16]
    run_days: npt.NDArray[np.uint8]
    normal_run: npt.NDArray[np.uint8]
    normal_days: npt.NDArray[np.uint8]
    first_anomaly: npt.NDArray[np.uint16]
    last_normal: npt.NDArray[np.uint16]
    confirmed: npt.NDArray[np.uint16]
    span_days: npt.NDArray[np.uint8]
    residuals: npt.NDArray[np.int8]
    z: npt.NDArray[np.float32]
    """z of the slice, NaN without observation."""
    before: npt.NDArray[np.int16]
    """Evidence before the slice."""
    normal_before: npt.NDArray[np.uint16]
    """Day of the observation before the slice, if that was normal."""


def rule_of(options: Options, *, decrease: bool) -> Rule:
    """Express options in the units of the kernels."""
    return Rule(
        sign=1.0 if decrease else -1.0,
        mean=options.mean,
        spread=options.spread,
        log_spread=log(options.spread),
        limit=log((1.0 - options.clip) / options.clip),
        low=EVIDENCE_STEPS * log(options.low / (1.0 - options.low)),
        confirmed=EVIDENCE_STEPS * log(options.confirmed / (1.0 - options.confirmed)),
        near=options.near,
        far=options.far,
        normal_z=options.normal_z,
        min_dates=options.min_dates,
        min_neighbours=options.min_neighbours,
        forget_days=options.forget_days,
        finish_dates=options.finish_dates,
        finish_days=options.finish_days,
        lasting_days=options.lasting_days,
        rearm_days=options.rearm_days,
    )


@njit(nogil=True, cache=True)
def accumulate(
    values: npt.NDArray[np.int16],
    day: int,
    x: Float,
    offset: Float,
    noise: Float,
    strata: npt.NDArray[np.uint8],
    rule: Rule,
    f: Fields,
) -> None:
    """Evidence of one slice: everything that needs no neighbour.

    offset and noise (stratum): what is taken off the residuals, and the factor of σ in this scene.
    """
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            f.z[i, j] = np.nan
            if values[i, j] == _NODATA or f.status[i, j] >= _FIRST_WITHOUT_MODEL:
                continue
            fitted = 0.0
            for k in range(x.size):
                fitted += x[k] * f.coefficients[k, i, j]
            stratum = strata[i, j]
            residual = (values[i, j] - fitted) / _SCALE - offset[stratum]
            f.z[i, j] = rule.sign * residual / (f.sigma[i, j] * SIGMA_STEP * noise[stratum])
            _add_evidence(f, i, j, day, rule)


@njit(nogil=True, cache=True)
def _add_evidence(f: Fields, i: int, j: int, day: int, rule: Rule) -> None:
    """Take the observation of a pixel into its evidence and the counts that steer it."""
    z = f.z[i, j]
    held = f.evidence[i, j]
    if _is_forgotten(f, i, j, day, rule):
        held = np.int16(0)
        f.n_anomalies[i, j] = 0
    ratio = _evidence(z, rule.mean, rule.spread, rule.log_spread, rule.limit)
    step = int(np.rint(EVIDENCE_STEPS * ratio))
    total = min(max(held + step, 0), _MAX_EVIDENCE)
    passed = day - f.last_observed[i, j]
    f.before[i, j] = held
    f.normal_before[i, j] = f.last_observed[i, j] if f.normal_run[i, j] > 0 else 0
    f.normal_days[i, j] = min(f.normal_days[i, j] + passed, 255)
    f.run_days[i, j] = min(f.run_days[i, j] + passed, 255) if held > 0 else 0
    if z > rule.normal_z and step <= 0:
        if f.normal_run[i, j] == 0:
            f.normal_days[i, j] = 0
        f.normal_run[i, j] = min(f.normal_run[i, j] + 1, 255)
        if _is_normal_again(f, i, j, rule):
            total = 0
    else:
        f.normal_run[i, j] = 0
    if total == 0:
        f.n_anomalies[i, j] = 0
    elif step > 0:
        f.n_anomalies[i, j] = min(f.n_anomalies[i, j] + 1, 255)
    f.evidence[i, j] = total
    f.last_observed[i, j] = day


@njit(nogil=True, cache=True)
def judge(day: int, rule: Rule, f: Fields) -> None:
    """Status of the pixels observed in a slice, after `accumulate` has been over all of it."""
    for i in range(f.status.shape[0]):
        for j in range(f.status.shape[1]):
            if np.isnan(f.z[i, j]):
                continue
            if f.status[i, j] <= _LOW:
                _judge_fresh(f, i, j, day, rule)
            else:
                _judge_recorded(f, i, j, day, rule)


@njit(nogil=True, cache=True)
def _judge_fresh(f: Fields, i: int, j: int, day: int, rule: Rule) -> None:
    """Judge a pixel without a confirmed event on record."""
    if f.evidence[i, j] == 0:
        if f.status[i, j] != _NONE:
            f.status[i, j] = _NONE
            f.first_anomaly[i, j] = 0
            f.span_days[i, j] = 0
            _forget_residuals(f, i, j)
        if f.normal_run[i, j] > 0:
            f.last_normal[i, j] = day
        return
    if f.before[i, j] == 0:
        f.first_anomaly[i, j] = day
        f.span_days[i, j] = 0
        _forget_residuals(f, i, j)
        # A greater gap than to the observation before only where that was neither normal nor not.
        if f.normal_before[i, j] > 0:
            f.last_normal[i, j] = f.normal_before[i, j]
    _follow(f, i, j, day, rule)
    f.status[i, j] = _confidence(f, i, j, day, rule)
    if f.status[i, j] == _CONFIRMED:
        f.confirmed[i, j] = day


@njit(nogil=True, cache=True)
def _judge_recorded(f: Fields, i: int, j: int, day: int, rule: Rule) -> None:
    """Judge a pixel with a confirmed event: it stays on record until another is confirmed.

    After a temporary one any evidence makes a new event, after a lasting one only what began a
    year later: regrowth on a felled area wavers.
    """
    started = day - f.run_days[i, j]
    over = f.status[i, j] != _CONFIRMED
    if over and f.before[i, j] == 0 and f.evidence[i, j] > 0:
        known = f.normal_before[i, j] > 0
        f.span_days[i, j] = min(day - f.normal_before[i, j], 255) if known else 255
    aged = f.run_days[i, j] < 255 and started - f.first_anomaly[i, j] > rule.rearm_days
    free = f.status[i, j] == _FINISHED or aged
    if free and _confidence(f, i, j, day, rule) == _CONFIRMED:
        if over and f.span_days[i, j] < 255:
            f.last_normal[i, j] = started - f.span_days[i, j]
        f.status[i, j] = _CONFIRMED
        f.first_anomaly[i, j] = started
        f.confirmed[i, j] = day
        _forget_residuals(f, i, j)
        _follow(f, i, j, day, rule)
    elif not over and _is_normal_again(f, i, j, rule):
        lasting = f.span_days[i, j] >= rule.lasting_days
        f.status[i, j] = _REARMED if lasting else _FINISHED
    elif not over:
        _follow(f, i, j, day, rule)


@njit(nogil=True, cache=True)
def _is_forgotten(f: Fields, i: int, j: int, day: int, rule: Rule) -> bool:
    """Whether a single date of evidence is too old to count."""
    return bool(f.n_anomalies[i, j] < 2 and day - f.last_observed[i, j] > rule.forget_days)


@njit(nogil=True, cache=True)
def _is_normal_again(f: Fields, i: int, j: int, rule: Rule) -> bool:
    """Whether the pixel has been normal for so many dates and days."""
    enough = f.normal_run[i, j] >= rule.finish_dates
    return bool(enough and f.normal_days[i, j] >= rule.finish_days)


@njit(nogil=True, cache=True)
def _forget_residuals(f: Fields, i: int, j: int) -> None:
    for k in range(f.residuals.shape[0]):
        f.residuals[k, i, j] = NO_RESIDUAL


@njit(nogil=True, cache=True)
def _follow(f: Fields, i: int, j: int, day: int, rule: Rule) -> None:
    """Keep the newest residuals of an event and the days that its anomalies span."""
    if f.normal_run[i, j] == 0:
        f.span_days[i, j] = min(day - f.first_anomaly[i, j], 255)
    last = f.residuals.shape[0] - 1
    for k in range(last):
        f.residuals[k, i, j] = f.residuals[k + 1, i, j]
    residual = rule.sign * f.z[i, j] * f.sigma[i, j] * SIGMA_STEP
    f.residuals[last, i, j] = min(max(round(residual / RESIDUAL_STEP), -127), 127)


@njit(nogil=True, cache=True)
def _confidence(f: Fields, i: int, j: int, day: int, rule: Rule) -> int:
    """Choose flagged, low or confirmed, by a pixel's evidence and that of its eight neighbours."""
    neighbours = 0
    active = 0
    for k in range(max(i - 1, 0), min(i + 2, f.status.shape[0])):
        for m in range(max(j - 1, 0), min(j + 2, f.status.shape[1])):
            if (k == i and m == j) or f.status[k, m] >= _FIRST_WITHOUT_MODEL:
                continue
            neighbours += 1
            if f.evidence[k, m] > 0 and not _is_forgotten(f, k, m, day, rule):
                active += 1
    factor = 1.0
    if neighbours >= rule.min_neighbours:
        factor = rule.near if 2 * active >= neighbours else rule.far
    if f.evidence[i, j] >= factor * rule.confirmed and f.n_anomalies[i, j] >= rule.min_dates:
        return _CONFIRMED
    return _LOW if f.evidence[i, j] >= factor * rule.low else _FLAGGED
