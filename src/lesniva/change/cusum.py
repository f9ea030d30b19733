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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lesniva.change.regression import Float, Int, Single, inner, predict
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import InputError

Columns = npt.NDArray[np.uint64]
"""Columns of a row; unsigned, so that no index has to be tested for being negative."""

Flags = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int32]

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
_TO_INDEX = np.float32(1.0 / _SCALE)
_TO_SIGMA = np.float32(SIGMA_STEP)
_TO_STEPS = np.float32(EVIDENCE_STEPS)
_NOTHING: Any = np.float32(0.0)
_HALF: Any = np.float32(0.5)
_ONE: Any = np.float32(1.0)
_MAX_EVIDENCE = 32767
_AT_ONCE = 8
"""Scenes that go over a block together: their rows in hand fit the second-level cache."""

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
    min_drop: float = 0.06
    """Least median departure of an event's observations, in index units, that a confirmation needs:
    thinnings begin there, and the shadow of a neighbouring cut ends below."""
    clip: float = 0.1
    """Least probability a single observation may give either class, c."""
    near: float = 0.65
    """Factor of the thresholds where half of the neighbours show evidence."""
    far: float = 1.35
    """Factor of the thresholds where fewer do."""
    min_neighbours: int = 3
    """Neighbours with a model that the spatial prior needs; with fewer the factor is 1."""
    witness: float = 1.2
    """Where a second index bears witness: the anomaly that counts is the weaker one, of the index
    or of so many times the witness."""
    phenology_days: float = 7.0
    """How far apart stands turn green and yellow (standard deviation): what a pixel's curve goes in
    that time is noise of an observation."""
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
                "min_drop ≥ 0": self.min_drop >= 0.0,
                "witness > 0": self.witness > 0.0,
                "phenology_days ≥ 0": self.phenology_days >= 0.0,
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


@njit(nogil=True, cache=True, error_model="numpy")
def _evidence(z: float, mean: float, spread: float, log_spread: float, limit: float) -> float:
    held = z
    if spread > _ONE:
        held = min(z, -mean / (spread * spread - _ONE))
    standard = (held - mean) / spread
    ratio = _HALF * (held * held - standard * standard) - log_spread
    if z < mean:
        ratio = max(ratio, _NOTHING)
    clipped: float = min(max(ratio, -limit), limit)
    return clipped


class Rule(NamedTuple):
    """`Options` in the units of the kernels."""

    sign: float
    witness: float
    mean: float
    spread: float
    log_spread: float
    limit: float
    min_drop: float
    low: float
    faint: float
    """Less evidence is of no confidence, whatever the neighbours say."""
    confirmed: float
    near: float
    far: float
    normal_z: float
    phenology: float
    """Steps of the noise in a step of the index a day."""
    min_dates: int
    min_neighbours: int
    forget_days: int
    finish_dates: int
    finish_days: int
    lasting_days: int
    rearm_days: int


def rule_of(options: Options, *, decrease: bool) -> Rule:
    """Express options in the units of the kernels."""
    low = EVIDENCE_STEPS * log(options.low / (1.0 - options.low))
    rule = Rule(
        sign=1.0 if decrease else -1.0,
        witness=options.witness,
        mean=options.mean,
        spread=options.spread,
        log_spread=log(options.spread),
        limit=log((1.0 - options.clip) / options.clip),
        min_drop=options.min_drop,
        low=low,
        faint=min(options.near, 1.0) * low,
        confirmed=EVIDENCE_STEPS * log(options.confirmed / (1.0 - options.confirmed)),
        near=options.near,
        far=options.far,
        normal_z=options.normal_z,
        phenology=options.phenology_days / (_SCALE * SIGMA_STEP),
        min_dates=options.min_dates,
        min_neighbours=options.min_neighbours,
        forget_days=options.forget_days,
        finish_dates=options.finish_dates,
        finish_days=options.finish_days,
        lasting_days=options.lasting_days,
        rearm_days=options.rearm_days,
    )
    return Rule._make(np.float32(x) if isinstance(x, float) else x for x in rule)


class Seen(NamedTuple):
    """An index in some scenes, and its model; planes without pixels where there is none."""

    values: npt.NDArray[np.int16]
    """(time, y, x)"""
    offset: Single
    """(time, stratum) what is taken off the residuals …"""
    noise: Single
    """(time, stratum) … and the factor of σ."""
    coefficients: npt.NDArray[np.int16]
    """(coef, y, x)"""
    sigma: npt.NDArray[np.uint16]
    """(y, x)"""


class Held(NamedTuple):
    """What a state holds of its pixels (…, y, x), see `state.start`."""

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


class Row(NamedTuple):
    """What `_accumulate` tells `_judge` of two rows (2, x) of each scene."""

    observed: Flags
    residual: Single
    before: npt.NDArray[np.int16]
    """Evidence before the scene."""
    normal_before: npt.NDArray[np.uint16]
    """Day of the observation before if that was normal, else 0."""


class Work(NamedTuple):
    """Room (x) for what is known of a row in between."""

    own: Single
    weakest: Single
    other: Single
    slope: Single
    calm: Single
    passed: Steps
    step: Steps
    normal: Flags
    again: Flags
    lively: Columns


@njit(nogil=True, cache=True, error_model="numpy")
def observe(
    scenes: Int,
    day: Int,
    X: Single,
    slopes: Single,
    strata: npt.NDArray[np.uint8],
    index: Seen,
    witness: Seen,
    rule: Rule,
    held: Held,
) -> None:
    """Feed a state with these scenes of a stack, date by date.

    The status of a pixel looks at the evidence of its neighbours. So a scene's statuses follow its
    evidence by a row, and the next scene follows by two: a row is dealt with in all the scenes
    while it is in the cache.
    """
    height, width = strata.shape
    most = min(_AT_ONCE, scenes.size)
    told = Row(
        observed=np.zeros((2 * most, width), dtype=np.bool_),
        residual=np.empty((2 * most, width), dtype=np.float32),
        before=np.zeros((2 * most, width), dtype=np.int16),
        normal_before=np.zeros((2 * most, width), dtype=np.uint16),
    )
    work = Work(
        own=np.empty(width, dtype=np.float32),
        weakest=np.empty(width, dtype=np.float32),
        other=np.empty(width, dtype=np.float32),
        slope=np.empty(width, dtype=np.float32),
        calm=np.empty(width, dtype=np.float32),
        passed=np.empty(width, dtype=np.int32),
        step=np.empty(width, dtype=np.int32),
        normal=np.empty(width, dtype=np.bool_),
        again=np.empty(width, dtype=np.bool_),
        lively=np.empty(width, dtype=np.uint64),
    )
    some = np.zeros(2 * most, dtype=np.bool_)
    for first in range(0, scenes.size, _AT_ONCE):
        together = min(_AT_ONCE, scenes.size - first)
        for front in range(height + 2 * together - 1):
            for k in range(together):
                t, i = scenes[first + k], front - 2 * k
                if 0 <= i < height:
                    place = 2 * k + i % 2
                    some[place] = _accumulate(
                        t,
                        i,
                        place,
                        day[t],
                        X[t],
                        slopes[t],
                        strata,
                        index,
                        witness,
                        rule,
                        held,
                        told,
                        work,
                    )
                place = 2 * k + (i - 1) % 2
                if 0 < i <= height and some[place]:
                    _judge(i - 1, place, day[t], rule, held, told, work)


@inner
def _observed(
    values: npt.NDArray[np.int16], status: npt.NDArray[np.uint8], observed: Flags
) -> bool:
    """Mark the pixels of a row with an observation and a model; whether there is any."""
    found = False
    for j in range(values.size):
        observed[j] = (values[j] != _NODATA) & (status[j] < _FIRST_WITHOUT_MODEL)
    for j in range(values.size):
        found |= observed[j]
    return found


@inner
def _residuals(
    i: int,
    values: npt.NDArray[np.int16],
    x: Single,
    coefficients: npt.NDArray[np.int16],
    offset: Single,
    strata: npt.NDArray[np.uint8],
    residual: Single,
) -> None:
    """Departures of a row from the model and the scene's offset, in index units.

    These steps take a whole row, so that they become vector instructions; what they say of pixels
    without observation or model is of no account.
    """
    predict(i, x, coefficients, residual)
    for j in range(values.size):
        residual[j] = (np.float32(values[j]) - residual[j]) * _TO_INDEX
    for j in range(values.size):
        residual[j] -= offset[strata[j]]


@inner
def _calm(
    phenology: float,
    sigma: npt.NDArray[np.uint16],
    noise: Single,
    strata: npt.NDArray[np.uint8],
    slope: Single,
    calm: Single,
) -> None:
    """How much an observation tells: the inverse of the variance, in noises of the pixel.

    The variance is that of the scene (noise of the stratum) and that of the season: where the curve
    is steep (slope), a stand that is early or late departs from it.
    """
    for j in range(calm.size):
        calm[j] = noise[strata[j]]
    for j in range(calm.size):
        wander = phenology * slope[j] / np.float32(sigma[j])
        calm[j] = _ONE / (calm[j] * calm[j] + wander * wander)


@inner
def _standardise(
    sign: float,
    sigma: npt.NDArray[np.uint16],
    calm: Single,
    residual: Single,
    own: Single,
    z: Single,
) -> None:
    """Turn residuals into noises of the pixel (own), and of this observation of it (z)."""
    for j in range(own.size):
        own[j] = sign * residual[j] / (np.float32(sigma[j]) * _TO_SIGMA)
    for j in range(own.size):
        z[j] = own[j] * np.sqrt(calm[j])


@inner
def _hear(
    rule: Rule,
    values: npt.NDArray[np.int16],
    sigma: npt.NDArray[np.uint16],
    noise: Single,
    strata: npt.NDArray[np.uint8],
    slope: Single,
    residual: Single,
    own: Single,
    z: Single,
) -> None:
    """Let the weaker anomaly count, of the index or of its witness, where there is one."""
    for j in range(own.size):
        if values[j] != _NODATA and sigma[j] > 0:
            seen = residual[j] / (np.float32(sigma[j]) * _TO_SIGMA)
            seen *= rule.witness
            own[j] = max(own[j], seen)
            wander = rule.phenology * slope[j] / np.float32(sigma[j])
            z[j] = max(z[j], seen / np.hypot(noise[strata[j]], wander))


@inner
def _steps(z: Single, calm: Single, rule: Rule, ratio: Single, steps: Steps) -> None:
    """Evidence of a row of observations in whole steps.

    A change would hardly show in a noisy observation: that it does not says little against it.
    """
    mean, spread, log_spread, limit = rule.mean, rule.spread, rule.log_spread, rule.limit
    for j in range(z.size):
        ratio[j] = _evidence(z[j], mean, spread, log_spread, limit)
    for j in range(z.size):
        told = ratio[j]
        against = told * calm[j]
        ratio[j] = np.rint(_TO_STEPS * (told if told > _NOTHING else against))
    for j in range(z.size):
        steps[j] = np.int32(ratio[j])


@inner
def _is_forgotten(n_anomalies: int, passed: int, rule: Rule) -> bool:
    """Whether a single date of evidence is too old to count."""
    return (n_anomalies < 2) & (passed > rule.forget_days)


@inner
def _is_normal_again(normal_run: int, normal_days: int, rule: Rule) -> bool:
    """Whether a pixel has been normal for so many dates and days."""
    return (normal_run >= rule.finish_dates) & (normal_days >= rule.finish_days)


@inner
def _accumulate(
    t: int,
    i: int,
    place: int,
    day: int,
    x: Single,
    x_slope: Single,
    strata: npt.NDArray[np.uint8],
    index: Seen,
    witness: Seen,
    rule: Rule,
    held: Held,
    told: Row,
    work: Work,
) -> bool:
    """Evidence of row i in scene t, which needs no neighbour; whether any pixel was observed.

    Noise of the scene and of the season weaken evidence, but make no observation normal that is
    not.
    """
    values, stratum = index.values[t, i], strata[i]
    observed, residual, before = told.observed[place], told.residual[place], told.before[place]
    own, weakest, other, passed, step = work.own, work.weakest, work.other, work.passed, work.step
    slope, calm = work.slope, work.calm
    if not _observed(values, held.status[i], observed):
        return False
    _residuals(i, values, x, index.coefficients, index.offset[t], stratum, residual)
    predict(i, x_slope, index.coefficients, slope)
    _calm(rule.phenology, index.sigma[i], index.noise[t], stratum, slope, calm)
    _standardise(rule.sign, index.sigma[i], calm, residual, own, weakest)
    if witness.values.shape[1] > 0:
        heard = witness.values[t, i]
        _residuals(i, heard, x, witness.coefficients, witness.offset[t], stratum, other)
        predict(i, x_slope, witness.coefficients, slope)
        _hear(rule, heard, witness.sigma[i], witness.noise[t], stratum, slope, other, own, weakest)
    _steps(weakest, calm, rule, other, step)
    _look(day, rule.normal_z, own, step, held.last_observed[i], passed, work.normal)
    _recall(passed, held.n_anomalies[i], held.evidence[i], rule, before)
    _date(held.normal_run[i], held.last_observed[i], told.normal_before[place])
    _settle(
        observed, work.normal, passed, rule, held.normal_run[i], held.normal_days[i], work.again
    )
    _add(observed, work.again, before, step, held.evidence[i])
    _number(observed, before, step, held.evidence[i], held.n_anomalies[i])
    _age(observed, before, passed, held.run_days[i])
    _note(observed, day, held.last_observed[i])
    return True


# The steps of `_accumulate` that follow take a whole row of few arrays each, and choose among
# values already loaded instead of branching: so they become vector instructions.


@inner
def _look(
    day: int,
    normal_z: float,
    own: Single,
    step: Steps,
    last_observed: npt.NDArray[np.uint16],
    passed: Steps,
    normal: Flags,
) -> None:
    """Days since the observation before, and whether this one is normal."""
    for j in range(own.size):
        passed[j] = np.int32(day) - np.int32(last_observed[j])
    for j in range(own.size):
        normal[j] = (own[j] > normal_z) & (step[j] <= 0)


@inner
def _recall(
    passed: Steps,
    n_anomalies: npt.NDArray[np.uint8],
    evidence: npt.NDArray[np.int16],
    rule: Rule,
    held: npt.NDArray[np.int16],
) -> None:
    """Evidence before this observation, without what is too old to count."""
    for j in range(held.size):
        before = evidence[j]
        forgotten = _is_forgotten(n_anomalies[j], passed[j], rule)
        held[j] = np.int16(0) if forgotten else before


@inner
def _date(
    normal_run: npt.NDArray[np.uint8],
    last_observed: npt.NDArray[np.uint16],
    normal_before: npt.NDArray[np.uint16],
) -> None:
    """Day of the observation before if that was normal, else 0."""
    for j in range(normal_run.size):
        day = last_observed[j]
        normal_before[j] = day if normal_run[j] > 0 else np.uint16(0)


@inner
def _settle(
    observed: Flags,
    normal: Flags,
    passed: Steps,
    rule: Rule,
    normal_run: npt.NDArray[np.uint8],
    normal_days: npt.NDArray[np.uint8],
    again: Flags,
) -> None:
    """Lengthen or end the runs of normal dates; who is normal again."""
    for j in range(observed.size):
        before = np.int32(normal_days[j])
        spent = min(before + passed[j], np.int32(255))
        spent = np.int32(0) if normal[j] & (normal_run[j] == 0) else spent
        normal_days[j] = spent if observed[j] else before
    for j in range(observed.size):
        before = np.int32(normal_run[j])
        run = min(before + np.int32(1), np.int32(255))
        run = run if normal[j] else np.int32(0)
        normal_run[j] = run if observed[j] else before
    for j in range(observed.size):
        again[j] = normal[j] & _is_normal_again(normal_run[j], normal_days[j], rule)


@inner
def _add(
    observed: Flags,
    again: Flags,
    held: npt.NDArray[np.int16],
    step: Steps,
    evidence: npt.NDArray[np.int16],
) -> None:
    """Add the evidence of this observation."""
    for j in range(observed.size):
        total = min(max(np.int32(held[j]) + step[j], np.int32(0)), np.int32(_MAX_EVIDENCE))
        total, before = np.int32(0) if again[j] else total, evidence[j]
        evidence[j] = total if observed[j] else before


@inner
def _number(
    observed: Flags,
    held: npt.NDArray[np.int16],
    step: Steps,
    evidence: npt.NDArray[np.int16],
    n_anomalies: npt.NDArray[np.uint8],
) -> None:
    """Count the anomalies that make up the evidence."""
    for j in range(observed.size):
        before = np.int32(n_anomalies[j])
        n = np.int32(0) if held[j] == 0 else before
        n = min(n + np.int32(step[j] > 0), np.int32(255))
        n = n if evidence[j] > 0 else np.int32(0)
        n_anomalies[j] = n if observed[j] else before


@inner
def _age(
    observed: Flags, held: npt.NDArray[np.int16], passed: Steps, run_days: npt.NDArray[np.uint8]
) -> None:
    """Days since the evidence began."""
    for j in range(observed.size):
        before = np.int32(run_days[j])
        days = min(before + passed[j], np.int32(255))
        days = days if held[j] > 0 else np.int32(0)
        run_days[j] = days if observed[j] else before


@inner
def _note(observed: Flags, day: int, last_observed: npt.NDArray[np.uint16]) -> None:
    """Date of the newest observation."""
    for j in range(observed.size):
        last = last_observed[j]
        last_observed[j] = np.uint16(day) if observed[j] else last


@inner
def _judge(  # noqa: C901, PLR0912, PLR0915  (parts that are handed all these arrays made it slow)
    i: int, place: int, day: int, rule: Rule, held: Held, told: Row, work: Work
) -> None:
    """Status of the pixels of row i observed in a scene, after `_accumulate` has been one further.

    A pixel without a confirmed event is judged afresh at each date. A confirmed event stays on
    record until another is confirmed: after a temporary one any evidence may grow into a new event,
    after a lasting one only what began a year later, as regrowth on a felled area wavers.
    """
    status, evidence, n_anomalies = held.status, held.evidence, held.n_anomalies
    last_observed, run_days = held.last_observed, held.run_days
    normal_run, normal_days, span_days = held.normal_run, held.normal_days, held.span_days
    first_anomaly, last_normal, confirmed = held.first_anomaly, held.last_normal, held.confirmed
    residuals = held.residuals
    residual, before = told.residual[place], told.before[place]
    normal_before, lively = told.normal_before[place], work.lively
    count = _lively(
        day,
        told.observed[place],
        evidence[i],
        status[i],
        normal_run[i],
        last_normal[i],
        work.normal,
        lively,
    )
    for at in range(count):
        j = lively[at]
        old = status[i, j]
        starts = before[j] == 0 and evidence[i, j] > 0
        grade = _NONE
        if evidence[i, j] > 0:
            grade = _FLAGGED
            if evidence[i, j] >= rule.faint:
                grade = _grade(i, j, day, rule, status, evidence, n_anomalies, last_observed)
        if old <= _LOW and grade == _NONE:
            if normal_run[i, j] > 0:
                last_normal[i, j] = day
            if old != _NONE:
                status[i, j] = _NONE
                _begin(i, j, 0, first_anomaly, confirmed, span_days, residuals)
            continue
        if old <= _LOW:
            if starts:
                _begin(i, j, day, first_anomaly, confirmed, span_days, residuals)
                if normal_before[j] > 0:
                    last_normal[i, j] = normal_before[j]
        else:
            if starts and old != _CONFIRMED:
                span_days[i, j] = _gap(day, normal_before[j])
            began = day - int(run_days[i, j])
            aged = run_days[i, j] < 255 and began - first_anomaly[i, j] > rule.rearm_days
            if grade == _CONFIRMED and (old == _FINISHED or aged):
                if old != _CONFIRMED and span_days[i, j] < 255:
                    last_normal[i, j] = began - int(span_days[i, j])
                _begin(i, j, began, first_anomaly, confirmed, span_days, residuals)
            elif old != _CONFIRMED:
                continue
            elif _is_normal_again(normal_run[i, j], normal_days[i, j], rule):
                lasting = span_days[i, j] >= rule.lasting_days
                status[i, j] = _REARMED if lasting else _FINISHED
                continue
            grade = _CONFIRMED
        if normal_run[i, j] == 0:
            span_days[i, j] = min(day - int(first_anomaly[i, j]), 255)
            _push(residuals[:, i, j], residual[j])
        if grade == _CONFIRMED and confirmed[i, j] == 0:
            if _drop(residuals[:, i, j], rule.sign) >= rule.min_drop:
                confirmed[i, j] = day
            else:
                grade = _LOW
        status[i, j] = grade


@inner
def _lively(
    day: int,
    observed: Flags,
    evidence: npt.NDArray[np.int16],
    status: npt.NDArray[np.uint8],
    normal_run: npt.NDArray[np.uint8],
    last_normal: npt.NDArray[np.uint16],
    busy: Flags,
    lively: Columns,
) -> int:
    """Columns of a row that were observed and have something going on; deal with the others."""
    for j in range(status.size):
        busy[j] = (evidence[j] > 0) | (status[j] != _NONE)
    for j in range(status.size):
        normal, before = observed[j] & (not busy[j]) & (normal_run[j] > 0), last_normal[j]
        last_normal[j] = np.uint16(day) if normal else before
    for j in range(status.size):
        busy[j] &= observed[j]
    count = 0
    for j in range(status.size):
        lively[count] = j
        count += busy[j]
    return count


@inner
def _gap(day: int, normal_before: int) -> int:
    """Days since the observation before, if that was normal, else 255."""
    return min(day - int(normal_before), 255) if normal_before > 0 else 255


@inner
def _begin(
    i: int,
    j: int,
    day: int,
    first_anomaly: npt.NDArray[np.uint16],
    confirmed: npt.NDArray[np.uint16],
    span_days: npt.NDArray[np.uint8],
    residuals: npt.NDArray[np.int8],
) -> None:
    """Make room for an event that began on a day; day 0 = none."""
    first_anomaly[i, j] = day
    confirmed[i, j] = 0
    span_days[i, j] = 0
    residuals[:, i, j] = NO_RESIDUAL


@inner
def _push(kept: npt.NDArray[np.int8], residual: float) -> None:
    """Keep the newest residuals of an event."""
    for k in range(kept.size - 1):
        kept[k] = kept[k + 1]
    step = np.rint(np.float32(residual) / RESIDUAL_STEP)
    kept[kept.size - 1] = min(max(int(step), -127), 127)


@inner
def _drop(kept: npt.NDArray[np.int8], sign: float) -> float:
    """How far the index fell: the median of the kept residuals, the larger of two middle ones."""
    n = 0
    while n < kept.size and kept[kept.size - 1 - n] != NO_RESIDUAL:
        n += 1
    if n == 0:
        return 0.0
    ordered = np.sort(kept[kept.size - n :])
    middle = (n - 1) // 2 if sign > 0.0 else n // 2
    return -sign * RESIDUAL_STEP * float(ordered[middle])


@inner
def _grade(
    i: int,
    j: int,
    day: int,
    rule: Rule,
    status: npt.NDArray[np.uint8],
    evidence: npt.NDArray[np.int16],
    n_anomalies: npt.NDArray[np.uint8],
    last_observed: npt.NDArray[np.uint16],
) -> int:
    """Choose flagged, low or confirmed, by a pixel's evidence and that of its eight neighbours."""
    neighbours = 0
    active = 0
    for k in range(max(i - 1, 0), min(i + 2, status.shape[0])):
        for m in range(max(j - 1, 0), min(j + 2, status.shape[1])):
            if (k == i and m == j) or status[k, m] >= _FIRST_WITHOUT_MODEL:
                continue
            neighbours += 1
            passed = day - int(last_observed[k, m])
            active += evidence[k, m] > 0 and not _is_forgotten(n_anomalies[k, m], passed, rule)
    factor = 1.0
    if neighbours >= rule.min_neighbours:
        factor = rule.near if 2 * active >= neighbours else rule.far
    if evidence[i, j] >= factor * rule.confirmed and n_anomalies[i, j] >= rule.min_dates:
        return _CONFIRMED
    return _LOW if evidence[i, j] >= factor * rule.low else _FLAGGED
