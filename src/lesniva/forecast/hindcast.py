"""Walk-forward: what the forecaster would have said in each past year, and what it says now.

For a year t everything is fitted on the years before it: baselines, climatology, boosters. How
far to trust the boosters (`Recipe`) is decided on their forecasts of earlier years, which were
made the same way; so one pass through the years serves the outer and the inner folds.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError, NoDataError
from lesniva.forecast import baselines as plain_forecasts
from lesniva.forecast import intervals, metrics, model
from lesniva.forecast.intervals import QUANTILES, Spread
from lesniva.forecast.panel import Floats, Panel, panel

MIN_TRAIN_YEARS = 5
"""Years of yields before the first test year."""

FIRST_INNER = 2
"""Years of yields before the first inner fold."""

MIN_SKILL = 0.05
"""Inner skill over the plain forecast below which the boosters stay silent."""

MEAN_TOLERANCE = 1.05
"""The mean of all years stays the plain forecast unless it is worse by this factor."""

MAX_P = 0.1
"""In-season skill is claimed when neither the year-permuted null nor the signed-rank test of the
years' errors against the plain forecast has a larger p."""

PERMUTATIONS = 20

NULL_HASTE = 2
"""The null is judged with this many times fewer trees."""

NO_SKILL = "no satellite skill yet at this date"
NO_SKILL_RU = "на эту дату снимки ещё не уточняют прогноз"


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


@dataclass(frozen=True)
class Hindcast:
    """Past years as they would have been forecast."""

    crop: str
    cutoff: str
    rows: pd.DataFrame
    """One row per (adm_id, crop, year, cutoff): ``observed_t_ha``, the forecast ``yield_t_ha`` and
    its quantiles, what the boosters alone and each baseline said, ``model_weight``, ``note``."""
    metrics: pd.DataFrame
    """One row a forecaster (forecast, boosters, plain, the five baselines, ridge)."""
    by_year: pd.DataFrame
    """One row a test year."""
    pit: Floats
    """Share of observations below, between and above the five quantiles, (6,); a calibrated
    forecast has .05, .05, .4, .4, .05, .05."""
    null: dict[str, float]
    """Boosters against themselves with the predictors of permuted years."""
    skill: bool
    """Whether in-season skill may be claimed."""
    statement: str
    """The claim, in words."""
    statement_ru: str
    """The same in Russian."""
    data: Panel
    trace: Trace
    settings: Settings


def hindcast(
    features: pd.DataFrame,
    yields: pd.DataFrame,
    *,
    crop: str,
    cutoff: str,
    predictors: Sequence[str] | None = None,
    yield_lag: int = 1,
    min_train: int = MIN_TRAIN_YEARS,
    permutations: int = PERMUTATIONS,
    seeds: int = model.SEEDS,
    trees: int = model.TREES,
    seed: int = 0,
    first_test: int = 0,
    threads: int = 2,
) -> Hindcast:
    """Forecast every past year from the years before it, and judge.

    Parameters
    ----------
    features
        Columns ``adm_id, year`` and any numeric predictors known at the cut-off (raw levels:
        climatologies are fitted here, fold by fold); filtered on ``crop`` and ``cutoff`` when it
        has them. NaN = not seen.
    yields
        Columns ``adm_id, year, yield_t_ha`` and optionally ``crop, area_ha``.
    crop, cutoff
        Crop name, and the last day whose data is known as ``MM-DD``.
    predictors
        Columns to use, by default all numeric ones (see `panel`).
    yield_lag
        1 when last year's yields are published at the cut-off, 2 when not yet.
    min_train
        Years of yields before the first test year, at least 3.
    permutations
        Walks with the predictors of permuted years (the null); 0 leaves the null, and with it any
        claim of skill, out.
    seeds, trees, seed
        Boosters a member, trees a booster, first seed.
    first_test
        Earliest year that may be judged, where earlier ones had a part in the predictors (a mask
        that was derived from them).
    threads
        Boosters fitted at the same time; the result does not depend on it.

    Returns
    -------
    Hindcast

    Raises
    ------
    InputError
        The tables are wrong (all faults in one message).
    NoDataError
        Too few years of yields for a single test year.
    """
    if min_train < 3 or yield_lag < 1:
        raise InputError(
            f"min_train {min_train} and yield_lag {yield_lag} were asked for;"
            " they must be at least 3 and 1"
        )
    data = panel(features, yields, crop=crop, cutoff=cutoff, predictors=predictors)
    settings = Settings(yield_lag, min_train, seeds, trees, seed, first_test)
    tests = _test_years(data, settings)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        trace = _walk(data, settings, pool)
        null = _null(data, settings, tests, permutations, pool)
    return _judge(data, trace, settings, tests, null)


def decide(data: Panel, trace: Trace, index: int, settings: Settings) -> Recipe:
    """Put together the recipe of year `index` from the years known before it."""
    known = index - settings.yield_lag + 1
    Y = data.Y[:known]
    weights = _plain_weights(trace.plain[:known], Y)
    plain = _weighted(trace.plain[:known], weights)
    members = _inverse_variance(trace.members[:known], Y)
    boosters = _weighted(trace.members[:known], members)
    inner_skill = metrics.skill(boosters, plain, Y)
    weight = _model_weight(plain, boosters, Y) if inner_skill > MIN_SKILL else 0.0
    spread = _calibrated(data, trace, index, settings, _blend(plain, boosters, weight))
    return Recipe(weights, members, weight, inner_skill, spread)


def _calibrated(
    data: Panel, trace: Trace, index: int, settings: Settings, said: Floats
) -> Spread | None:
    """Spread of what was `said`, (known, R), of the years known before year `index`."""
    known = len(said)
    trained = [_known_years(data, i, settings) for i in range(known)]
    errors = data.Y[:known] - said
    errors[np.array(trained) < FIRST_INNER] = np.nan
    level = trace.plain[:known, plain_forecasts.NAMES.index("mean5")]
    now = _known_years(data, index, settings)
    return intervals.calibrate(errors, level, trained=np.array(trained), now=now)


def _walk(data: Panel, settings: Settings, pool: ThreadPoolExecutor) -> Trace:
    plain = _plain_walk(data, settings)
    members = np.full((len(plain), len(model.MEMBERS), plain.shape[2]), np.nan)
    jobs = {
        index: pool.submit(_members_at, data, plain, index, settings)
        for index in range(len(plain))
        if _known_years(data, index, settings) >= FIRST_INNER
    }
    for index, job in jobs.items():
        members[index] = job.result()
    return Trace(plain, members)


def _plain_walk(data: Panel, settings: Settings) -> Floats:
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


def _members_at(data: Panel, plain: Floats, index: int, settings: Settings) -> Floats:
    fitted = boosters_at(data, plain, index, settings)
    return model.forecast(fitted, data.X[index], int(data.years[index]), plain[index])


def _known_years(data: Panel, index: int, settings: Settings) -> int:
    known = max(index - settings.yield_lag + 1, 0)
    return int(np.isfinite(data.Y[:known]).any(axis=1).sum())


def _test_years(data: Panel, settings: Settings) -> list[int]:
    tests = [
        index
        for index in range(len(data.years))
        if np.isfinite(data.Y[index]).any()
        and data.years[index] >= settings.first_test
        and _known_years(data, index, settings) >= settings.min_train
    ]
    if not tests:
        have = int(np.isfinite(data.Y).any(axis=1).sum())
        after = f", none judged before {settings.first_test}" if settings.first_test else ""
        raise NoDataError(
            f"hindcast of {data.crop}: {have} years of yields{after}, at least"
            f" {settings.min_train + 1} are needed; add earlier years"
        )
    return tests


def _plain_weights(plain: Floats, Y: Floats) -> Floats:
    """Weigh the baselines by inverse variance, or take the mean alone where it is about as good.

    Averaging plain forecasts beats choosing one on a few years; and where yields have no trend
    nothing must be read into their noise.
    """
    mean = plain_forecasts.NAMES.index("mean")
    weights = _inverse_variance(plain, Y)
    combined = metrics.rmse(_weighted(plain, weights), Y)
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


def _weighted(said: Floats, weights: Floats) -> Floats:
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


def _blend(plain: Floats, boosters: Floats, weight: float) -> Floats:
    return np.where(np.isfinite(boosters), weight * boosters + (1 - weight) * plain, plain)


def _null(
    data: Panel, settings: Settings, tests: list[int], permutations: int, pool: ThreadPoolExecutor
) -> dict[str, float]:
    """Boosters with the right predictors against boosters with those of permuted years.

    Level and trend predictors stay right in all of them, so that what differs is the season.
    One seed a member and fewer, larger trees on both sides.
    """
    quick = replace(settings, seeds=1, trees=max(settings.trees // NULL_HASTE, 1))
    plain = _plain_walk(data, settings)
    random = np.random.default_rng([settings.seed, 7])
    orders = [np.arange(len(data.years))]
    orders += [random.permutation(len(data.years)) for _ in range(permutations)]

    def error(order: npt.NDArray[np.int64]) -> float:
        shuffled = data.permuted(order)
        said = np.stack([_members_at(shuffled, plain, index, quick) for index in tests])
        observed = data.Y[tests]
        return metrics.nrmse(plain_forecasts.nanmean(said, axis=1), observed)

    nrmse = list(pool.map(error, orders)) if permutations else [np.nan]
    real, permuted = nrmse[0], np.array(nrmse[1:])
    beaten = int((permuted <= real).sum())
    known = bool(permutations) and bool(np.isfinite(real))
    return {
        "permutations": float(permutations),
        "nrmse": float(real),
        "null_nrmse_low": float(permuted.min()) if known else np.nan,
        "null_nrmse_mean": float(permuted.mean()) if known else np.nan,
        "null_nrmse_high": float(permuted.max()) if known else np.nan,
        "p": (1 + beaten) / (1 + permutations) if known else np.nan,
    }


def _judge(
    data: Panel, trace: Trace, settings: Settings, tests: list[int], null: dict[str, float]
) -> Hindcast:
    observed = data.Y[tests]
    recipes = [decide(data, trace, index, settings) for index in tests]
    mean5 = trace.plain[tests, plain_forecasts.NAMES.index("mean5")]
    said = _said(data, trace, settings, tests, recipes)
    quantiles = np.stack(
        [
            intervals.quantiles(said["forecast"][row], mean5[row], recipe.spread)
            for row, recipe in enumerate(recipes)
        ]
    )
    references = _reference_quantiles(data, trace, tests, settings, recipes)
    table = _metrics_table(data, tests, said, mean5, settings)
    for name, q in {"forecast": quantiles, **references}.items():
        for measure, value in metrics.interval_metrics(q, observed).items():
            table.loc[name, measure] = value
    now = decide(data, trace, int(tests[-1]) + settings.yield_lag, settings)
    skill = bool(
        now.weight > 0 and null["p"] <= MAX_P and float(table["wilcoxon_p"]["forecast"]) <= MAX_P
    )
    return Hindcast(
        crop=data.crop,
        cutoff=data.cutoff,
        rows=_rows(data, tests, recipes, said, quantiles),
        metrics=table,
        by_year=_by_year(data, tests, recipes, said, quantiles),
        pit=metrics.pit_histogram(quantiles, observed),
        null=null,
        skill=skill,
        statement=_statement(data, now, null, skill=skill),
        statement_ru=_statement_ru(data, now, null, skill=skill),
        data=data,
        trace=trace,
        settings=settings,
    )


def extended(values: Floats, length: int) -> Floats:
    """Take the first `length` years, NaN for those not there."""
    taken = values[:length]
    missing = np.full((length - len(taken), *values.shape[1:]), np.nan)
    return np.concatenate([taken, missing])


def _said(
    data: Panel, trace: Trace, settings: Settings, tests: list[int], recipes: list[Recipe]
) -> dict[str, Floats]:
    """Collect what each forecaster said of the test years, (tests, R) each, t/ha."""
    pairs = list(zip(tests, recipes, strict=True))
    plain = np.stack([_weighted(trace.plain[i : i + 1], r.plain_weights)[0] for i, r in pairs])
    boosters = np.stack([_weighted(trace.members[i : i + 1], r.members)[0] for i, r in pairs])
    weight = np.array([recipe.weight for recipe in recipes])[:, None]
    forecast = np.where(np.isfinite(boosters), weight * boosters + (1 - weight) * plain, plain)
    said = {"forecast": forecast, "boosters": boosters, "plain": plain}
    for k, name in enumerate(plain_forecasts.NAMES):
        said[name] = trace.plain[tests, k]
    greenness = plain_forecasts.greenness(data.X, data.predictors)
    if greenness is not None:
        trend = trace.plain[:, plain_forecasts.NAMES.index("pooled_trend")]
        said["ridge"] = np.stack(
            [
                plain_forecasts.ridge(data.Y, trend, greenness, i, i - settings.yield_lag + 1)
                for i in tests
            ]
        )
    return said


def _reference_quantiles(
    data: Panel, trace: Trace, tests: list[int], settings: Settings, recipes: list[Recipe]
) -> dict[str, Floats]:
    """Quantiles a forecaster without a model would give.

    ``pooled_trend``: the trend and the empirical quantiles of its relative errors so far;
    ``plain``: the plain forecast with year-block intervals of its own.
    """
    trend = trace.plain[:, plain_forecasts.NAMES.index("pooled_trend")]
    mean5 = trace.plain[:, plain_forecasts.NAMES.index("mean5")]
    by_trend, by_plain = [], []
    for index, recipe in zip(tests, recipes, strict=True):
        known = index - settings.yield_lag + 1
        ratio = (data.Y[:known] - trend[:known]) / np.where(
            mean5[:known] > 0, mean5[:known], np.nan
        )
        past = ratio[np.isfinite(ratio)]
        shift = np.quantile(past if past.size else [np.nan], intervals.PROBABILITIES)
        by_trend.append(np.maximum(trend[index] + shift[:, None] * mean5[index], 0.0))
        plain = _weighted(trace.plain[: index + 1], recipe.plain_weights)
        spread = _calibrated(data, trace, index, settings, plain[:known])
        by_plain.append(intervals.quantiles(plain[index], mean5[index], spread))
    return {"pooled_trend": np.stack(by_trend), "plain": np.stack(by_plain)}


def _metrics_table(
    data: Panel, tests: list[int], said: dict[str, Floats], mean5: Floats, settings: Settings
) -> pd.DataFrame:
    observed, area = data.Y[tests], data.area[tests]
    rows = {}
    for name, value in said.items():
        measures = metrics.point_metrics(value, observed, area=area, mean5=mean5)
        measures["skill_trend"] = metrics.skill(value, said["pooled_trend"], observed)
        measures["skill_plain"] = metrics.skill(value, said["plain"], observed)
        measures |= metrics.year_block(value, said["plain"], observed, seed=settings.seed)
        rows[name] = measures
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "forecaster"
    return table


def _rows(
    data: Panel,
    tests: list[int],
    recipes: list[Recipe],
    said: dict[str, Floats],
    quantiles: Floats,
) -> pd.DataFrame:
    parts = []
    for row, (index, recipe) in enumerate(zip(tests, recipes, strict=True)):
        year = int(data.years[index])
        part = pd.DataFrame({"adm_id": data.adm_ids, "crop": data.crop, "year": year})
        part["cutoff"] = pd.Timestamp(cutoff_date(year, data.cutoff))
        part["observed_t_ha"] = data.Y[index]
        part["area_ha"] = data.area[index]
        part["yield_t_ha"] = said["forecast"][row]
        for name, value in zip(QUANTILES, quantiles[row], strict=True):
            part[name] = value
        for name, values in said.items():
            if name != "forecast":
                part[f"{name}_t_ha"] = values[row]
        seen = np.isfinite(data.X[index]).any(axis=1)
        part["model_weight"] = np.where(seen, recipe.weight, 0.0)
        part["inner_skill"] = recipe.inner_skill
        part["note"] = np.where(~seen, "no imagery", "" if recipe.weight > 0 else NO_SKILL)
        parts.append(part[part["observed_t_ha"].notna()])
    return pd.concat(parts, ignore_index=True)


def _by_year(
    data: Panel,
    tests: list[int],
    recipes: list[Recipe],
    said: dict[str, Floats],
    quantiles: Floats,
) -> pd.DataFrame:
    rows = []
    for row, (index, recipe) in enumerate(zip(tests, recipes, strict=True)):
        observed = data.Y[index : index + 1]
        interval = metrics.interval_metrics(quantiles[row : row + 1], observed)
        rows.append(
            {
                "year": int(data.years[index]),
                "n": int(np.isfinite(observed).sum()),
                "observed_t_ha": _mean(observed),
                "yield_t_ha": _mean(np.where(np.isfinite(observed), said["forecast"][row], np.nan)),
                "rmse": metrics.rmse(said["forecast"][row], observed[0]),
                "rmse_boosters": metrics.rmse(said["boosters"][row], observed[0]),
                "rmse_plain": metrics.rmse(said["plain"][row], observed[0]),
                "coverage80": interval.get("coverage80", np.nan),
                "coverage90": interval.get("coverage90", np.nan),
                "width80": interval.get("width80", np.nan),
                "model_weight": recipe.weight,
            }
        )
    return pd.DataFrame(rows)


def _statement(data: Panel, now: Recipe, null: dict[str, float], *, skill: bool) -> str:
    where = f"{data.crop}, cut-off {data.cutoff}"
    if skill:
        return (
            f"{where}: the season helps (inner skill {now.inner_skill:.2f} over the plain"
            f" forecast, year-permuted null p = {null['p']:.2f})"
        )
    inner = f"inner skill {now.inner_skill:.2f}" if np.isfinite(now.inner_skill) else "no imagery"
    p = f"p = {null['p']:.2f}" if np.isfinite(null["p"]) else "not run"
    return f"{where}: {NO_SKILL} ({inner} over the plain forecast, year-permuted null {p})"


def _statement_ru(data: Panel, now: Recipe, null: dict[str, float], *, skill: bool) -> str:
    claim = "снимки сезона уточняют прогноз" if skill else NO_SKILL_RU
    known = np.isfinite(now.inner_skill)
    inner = f"внутренняя оценка {now.inner_skill:.2f}" if known else "снимков нет"
    p = f"p = {null['p']:.2f}" if np.isfinite(null["p"]) else "не проверено"
    where = f"{data.crop}, данные по {data.cutoff[3:]}.{data.cutoff[:2]}"
    return f"{where}: {claim} ({inner} против простого прогноза; перестановка лет: {p})"


def _mean(values: Floats) -> float:
    present = np.isfinite(values)
    return float(values[present].mean()) if present.any() else np.nan
