"""Walk-forward: for a year t everything is fitted on the years before it.

Baselines, climatology and boosters know the years before t alone. How far to trust the boosters
(`Recipe`) is decided on their forecasts of earlier years, which were made the same way; so one pass
through the years serves the outer and the inner folds.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

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

MEAN_TOLERANCE = 1.05
"""The mean of all years stays the plain forecast unless it is worse by this factor."""


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
    """Weigh the baselines by inverse variance, or take the mean alone where it is about as good.

    Averaging plain forecasts beats choosing one on a few years; and where yields have no trend
    nothing must be read into their noise.
    """
    mean = plain_forecasts.NAMES.index("mean")
    weights = _inverse_variance(plain, Y)
    combined = metrics.rmse(weighted(plain, weights), Y)
    if metrics.rmse(plain[:, mean], Y) <= MEAN_TOLERANCE * combined:
        return np.asarray(np.eye(len(weights))[mean])
    return weights


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
    """Weight that would have been best, halfway to one half: few years cannot tell it finely."""
    both = np.isfinite(plain) & np.isfinite(boosters) & np.isfinite(Y)
    difference, wanted = (boosters - plain)[both], (Y - plain)[both]
    square = float((difference**2).sum())
    best = float(np.clip((difference * wanted).sum() / square, 0, 1)) if square > 0 else 0.0
    return (best + 0.5) / 2


def blend(plain: Floats, boosters: Floats, weight: Floats | float) -> Floats:
    """Give the boosters their weight where they say something."""
    return np.where(np.isfinite(boosters), weight * boosters + (1 - weight) * plain, plain)


def extended(values: Floats, length: int) -> Floats:
    """Take the first `length` years, NaN for those not there."""
    taken = values[:length]
    missing = np.full((length - len(taken), *values.shape[1:]), np.nan)
    return np.concatenate([taken, missing])
