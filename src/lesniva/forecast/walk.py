"""Walk-forward: for a year t everything is fitted on the years before it.

Baselines, climatology and boosters know the years before t alone. How far to trust the boosters
(`Recipe`) is decided on their forecasts of earlier years, which were made the same way; so one pass
through the years serves the outer and the inner folds.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesniva.forecast import baselines as plain_forecasts
from lesniva.forecast import intervals, metrics, model
from lesniva.forecast.intervals import Spread
from lesniva.forecast.panel import Floats, Panel

MIN_TRAIN_YEARS = 5
"""Years of yields before the first test year."""

FIRST_INNER = 2
"""Years of yields before the first inner fold."""

MIN_SKILL = 0.05
"""Inner skill over the plain forecast below which the boosters stay silent."""

MIN_EVIDENCE = 2
"""Fewer years than this prove nothing."""

FEW_YEARS = 3
"""So many years do not tell yet how much the districts of a year share."""

SHARED = 1.86
"""What is then assumed at least: 65 % of the variance is the year's (winter wheat of 48 raions)."""

PRICE, PRICE_OF_YEARS = 2.0, 4.0
"""A weight has to earn this many times its variance: as by Akaike's criterion, or two standard
errors where only the means of few years speak for it."""

ROUNDS, TINY = 5, 1e-12
"""Of the generalised least squares; t²/ha², so that districts that agree do not divide by zero."""


@dataclass(frozen=True)
class Recipe:
    """How the forecast of one year is put together, decided on the years before it."""

    plain_weights: Floats
    """Weights of the five baselines, (5,)."""
    members: Floats
    """Weights of the members of the ensemble, (K,)."""
    weight: float
    """Weight of the boosters, 0-1; the plain forecast has the rest."""
    inner_skill: float
    """Skill of the boosters over the plain forecast on the inner folds."""
    spread: Spread | None
    """Errors of this recipe on the inner folds."""


@dataclass(frozen=True)
class Trace:
    """One walk through the years; row i was made from the years known before year i."""

    plain: Floats
    """Baselines, (T, 5, R), t/ha."""
    members: Floats
    """Members of the ensemble, (T, K, R), t/ha; NaN before there was enough to learn from."""


@dataclass(frozen=True)
class Settings:
    """What a hindcast was asked, and a forecast then keeps to."""

    yield_lag: int = 1
    min_train: int = MIN_TRAIN_YEARS
    seeds: int = model.SEEDS
    trees: int = model.TREES
    seed: int = 0
    first_test: int = 0
    """Earliest year that may be judged."""


def walk(data: Panel, settings: Settings, pool: ThreadPoolExecutor) -> Trace:
    """Go through the years, each forecast from those before it."""
    plain = plain_walk(data, settings)
    members = np.full((len(plain), len(model.MEMBERS), plain.shape[2]), np.nan)
    jobs = {
        index: pool.submit(members_at, data, plain, index, settings)
        for index in range(len(plain))
        # a year without yields is no test of anything
        if known_years(data, index, settings) >= FIRST_INNER and np.isfinite(data.Y[index]).any()
    }
    for index, job in jobs.items():
        members[index] = job.result()
    return Trace(plain, members)


def plain_walk(data: Panel, settings: Settings) -> Floats:
    """Baselines of every year, (T, 5, R), t/ha."""
    T, R = data.Y.shape
    plain = np.full((T, len(plain_forecasts.NAMES), R), np.nan)
    for index in range(settings.yield_lag, T):
        plain[index] = plain_at(data, index, settings)
    return plain


def plain_at(data: Panel, index: int, settings: Settings) -> Floats:
    """Baselines of year `index`, (5, R), from the yields published before it."""
    known = index - settings.yield_lag + 1
    Y = np.where(data.Y[:known] > 0, data.Y[:known], np.nan)
    return plain_forecasts.baselines(Y, data.years[:known], int(data.years[index]))


def boosters_at(
    data: Panel, plain: Floats, index: int, settings: Settings
) -> model.Boosters | None:
    """Fit the members on the years published before year `index`."""
    known = index - settings.yield_lag + 1
    return model.fit(
        data.Y[:known],
        data.X[:known],
        data.years[:known],
        plain[:known],
        seeds=settings.seeds,
        trees=settings.trees,
        seed=settings.seed,
    )


def members_at(data: Panel, plain: Floats, index: int, settings: Settings) -> Floats:
    """Ask the members of year `index`, (K, R), t/ha."""
    fitted = boosters_at(data, plain, index, settings)
    return model.forecast(fitted, data.X[index], int(data.years[index]), plain[index])


def known_years(data: Panel, index: int, settings: Settings) -> int:
    """Years of yields that are published when year `index` is forecast."""
    known = max(index - settings.yield_lag + 1, 0)
    return int(np.isfinite(data.Y[:known]).any(axis=1).sum())


def decide(data: Panel, trace: Trace, index: int, settings: Settings) -> Recipe:
    """Put together the recipe of year `index` from the years known before it."""
    known = index - settings.yield_lag + 1
    Y = data.Y[:known]
    weights = _plain_weights(trace.plain[:known], Y)
    plain = weighted(trace.plain[:known], weights)
    members = _inverse_variance(trace.members[:known], Y)
    boosters = weighted(trace.members[:known], members)
    inner_skill = metrics.skill(boosters, plain, Y)
    weight = _model_weight(plain, boosters, Y) if inner_skill > MIN_SKILL else 0.0
    spread = calibrated(data, trace, index, settings, blend(plain, boosters, weight))
    return Recipe(weights, members, weight, inner_skill, spread)


def calibrated(
    data: Panel, trace: Trace, index: int, settings: Settings, said: Floats
) -> Spread | None:
    """Spread of what was `said`, (known, R), of the years known before year `index`."""
    known = len(said)
    trained = [known_years(data, i, settings) for i in range(known)]
    errors = data.Y[:known] - said
    errors[np.array(trained) < FIRST_INNER] = np.nan
    level = trace.plain[:known, plain_forecasts.NAMES.index("mean5")]
    now = known_years(data, index, settings)
    return intervals.calibrate(errors, level, trained=np.array(trained), now=now)


def _plain_weights(plain: Floats, Y: Floats) -> Floats:
    """Weigh the baselines by inverse variance, beside the mean of all years.

    Averaging plain forecasts beats choosing one on a few years; and where yields have no trend
    nothing must be read into their noise.
    """
    mean = np.eye(plain.shape[1])[plain_forecasts.NAMES.index("mean")]
    weights = _inverse_variance(plain, Y)
    best, certain = evidence(weighted(plain, mean), weighted(plain, weights), Y)
    share = certain * best
    return np.asarray(share * weights + (1 - share) * mean)


def _inverse_variance(said: Floats, Y: Floats) -> Floats:
    """Weights (K,) of the forecasters in `said` (T, K, R), by their mean square errors so far."""
    error = np.array([metrics.rmse(said[:, k], Y) for k in range(said.shape[1])])
    known = np.isfinite(error)
    if not known.any():
        return np.full(len(error), 1 / len(error))
    # An error of nothing at all would take all the weight and divide by zero.
    floor = max(1e-6, 1e-3 * float(np.nanmax(error)))
    precision = np.where(known, np.maximum(np.where(known, error, 1.0), floor) ** -2.0, 0.0)
    return np.asarray(precision / precision.sum())


def weighted(said: Floats, weights: Floats) -> Floats:
    """(T, R) of (T, K, R); a forecaster without weight may be missing."""
    used = weights > 0
    return np.asarray(np.einsum("tkr,k->tr", said[:, used], weights[used]))


def _model_weight(plain: Floats, boosters: Floats, Y: Floats) -> float:
    """Weight that would have been best, halfway to one half, as far as the years bear it out."""
    best, certain = evidence(plain, boosters, Y)
    return certain * (best + 0.5) / 2


def evidence(reference: Floats, candidate: Floats, Y: Floats) -> tuple[float, float]:
    """Weigh up what past years say for a candidate beside a reference.

    What the reference missed, e, is b times what the candidate says otherwise, d, plus an error of
    the year, which its districts share, and one of the district. b, the weight that would have been
    best, is shrunk by its own uncertainty (the positive part of James and Stein [1]_), so that
    nothing is left of what may be chance. It is asked for twice, and what leaves more is taken: by
    generalised least squares, to which the differences between districts say most, already after
    few years; and by ordinary least squares, to which years do, for signals that all districts
    share.

    Parameters
    ----------
    reference, candidate
        What both said of past years, (T, R), t/ha; NaN = nothing.
    Y
        What it came to, (T, R), t/ha.

    Returns
    -------
    best
        The weight of the candidate that would have been best, 0-1.
    certain
        The share of it to believe, 0-1: 1 - k T / (T - 1) var(b) / b², not below 0, where k is the
        `PRICE`; 0 with fewer years than `MIN_EVIDENCE`.

    References
    ----------
    .. [1] Efron, B., Morris, C. (1973). Stein's estimation rule and its competitors. Journal of the
       American Statistical Association 68(341), 117-130.
       https://doi.org/10.1080/01621459.1973.10481350
    """
    both = np.isfinite(reference) & np.isfinite(candidate) & np.isfinite(Y)
    told = np.where(both, candidate - reference, 0.0).any(axis=1)
    if told.sum() < MIN_EVIDENCE:
        return 0.0, 0.0
    parts = _Parts(
        both[told].sum(axis=1),
        *_apart((candidate - reference)[told], both[told]),
        *_apart((Y - reference)[told], both[told]),
    )
    price = len(parts.count) / (len(parts.count) - 1)
    found = []
    for k, (best, variance) in (
        (PRICE, _generalised(parts)),
        (PRICE_OF_YEARS, _ordinary(parts)),
    ):
        if best > 0:
            found.append((min(best, 1.0), max(1 - k * price * variance / best**2, 0.0)))
    return max(found, key=lambda each: each[0] * each[1], default=(0.0, 0.0))


@dataclass(frozen=True)
class _Parts:
    """What the candidate says otherwise, d, and what the reference missed, e, of T years."""

    count: npt.NDArray[np.int64]
    """Districts of each year, (T,)."""
    d: Floats
    """Of districts, less the mean of the year, (T, R)."""
    d_year: Floats
    """Mean of the year, (T,)."""
    e: Floats
    e_year: Floats


def _generalised(parts: _Parts) -> tuple[float, float]:
    """Slope and its variance; a year's mean counts the less the more its districts share."""
    best, own, square = 0.0, TINY, 1.0
    for _ in range(ROUNDS):
        own, year = _variances(parts, best, best)
        weight = parts.count / (1 + parts.count * year / own)
        square = float((parts.d**2).sum() + (weight * parts.d_year**2).sum())
        product = (parts.d * parts.e).sum() + (weight * parts.d_year * parts.e_year).sum()
        best = float(product) / square
    return best, own / square


def _ordinary(parts: _Parts) -> tuple[float, float]:
    """Slope over all district-years, and its variance where years and districts err."""
    own_square, year_square = float((parts.d**2).sum()), float((parts.d_year**2).sum())
    own_slope = float((parts.d * parts.e).sum()) / max(own_square, TINY)
    year_slope = float((parts.d_year * parts.e_year).sum()) / max(year_square, TINY)
    own, year = _variances(parts, own_slope, year_slope)
    square = own_square + float((parts.count * parts.d_year**2).sum())
    product = (parts.d * parts.e).sum() + (parts.count * parts.d_year * parts.e_year).sum()
    spread = own * own_square
    spread += float((parts.count**2 * parts.d_year**2 * (year + own / parts.count)).sum())
    return float(product) / square, spread / square**2


def _variances(parts: _Parts, own_slope: float, year_slope: float) -> tuple[float, float]:
    """Variance of a district's own error and of the year's, t²/ha²."""
    years = len(parts.count)
    own = float(((parts.e - own_slope * parts.d) ** 2).sum()) / max((parts.count - 1).sum(), 1)
    own = max(own, TINY)
    year = float(((parts.e_year - year_slope * parts.d_year) ** 2).sum()) / (years - 1)
    year -= own / float(parts.count.mean())
    return own, max(year, SHARED * own if years <= FEW_YEARS else 0.0)


def _apart(values: Floats, known: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Part of each district (T, R), zero where not known, and mean of each year (T,)."""
    filled = np.where(known, values, 0.0)
    mean = filled.sum(axis=1) / known.sum(axis=1)
    return np.where(known, filled - mean[:, None], 0.0), mean


def blend(plain: Floats, boosters: Floats, weight: Floats | float) -> Floats:
    """Give the boosters their weight where they say something."""
    return np.where(np.isfinite(boosters), weight * boosters + (1 - weight) * plain, plain)


def extended(values: Floats, length: int) -> Floats:
    """Take the first `length` years, NaN for those not there."""
    taken = values[:length]
    missing = np.full((length - len(taken), *values.shape[1:]), np.nan)
    return np.concatenate([taken, missing])
