"""Hindcast: what the forecaster would have said in each past year, and how good that was."""

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
from lesniva.forecast.intervals import QUANTILES
from lesniva.forecast.panel import Floats, Panel, panel
from lesniva.forecast.walk import (
    MIN_TRAIN_YEARS,
    Recipe,
    Settings,
    Trace,
    blend,
    calibrated,
    decide,
    known_years,
    members_at,
    plain_walk,
    walk,
    weighted,
)

MAX_P = 0.1
"""In-season skill is claimed when neither the year-permuted null nor the signed-rank test of the
years' errors against the plain forecast has a larger p."""

PERMUTATIONS = 20

NULL_HASTE = 2
"""The null is judged with this many times fewer trees."""

LEFT_OUT = ("mean", "own_trend", "pooled_trend")
"""Baselines that are there when a year is left out: the others need the years right before."""

NO_SKILL = "no satellite skill yet at this date"
NO_SKILL_RU = "на эту дату снимки ещё не уточняют прогноз"


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
    loyo: pd.DataFrame
    """Errors where each year was forecast from all others, beside those of walking forward: for
    comparison with the literature alone."""
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
        trace = walk(data, settings, pool)
        null = _null(data, settings, tests, permutations, pool)
        left_out = _left_out(data, settings, tests, pool)
    return _judge(data, trace, settings, tests, null, left_out)


def _test_years(data: Panel, settings: Settings) -> list[int]:
    tests = [
        index
        for index in range(len(data.years))
        if np.isfinite(data.Y[index]).any()
        and data.years[index] >= settings.first_test
        and known_years(data, index, settings) >= settings.min_train
    ]
    if not tests:
        have = int(np.isfinite(data.Y).any(axis=1).sum())
        after = f", none judged before {settings.first_test}" if settings.first_test else ""
        raise NoDataError(
            f"hindcast of {data.crop}: {have} years of yields{after}, at least"
            f" {settings.min_train + 1} are needed; add earlier years"
        )
    return tests


def _null(
    data: Panel, settings: Settings, tests: list[int], permutations: int, pool: ThreadPoolExecutor
) -> dict[str, float]:
    """Boosters with the right predictors against boosters with those of permuted years.

    Level and trend predictors stay right in all of them, so that what differs is the season.
    """
    quick = _quick(settings)
    plain = plain_walk(data, settings)
    random = np.random.default_rng([settings.seed, 7])
    orders = [np.arange(len(data.years))]
    orders += [random.permutation(len(data.years)) for _ in range(permutations)]

    def error(order: npt.NDArray[np.int64]) -> float:
        shuffled = data.permuted(order)
        said = np.stack([members_at(shuffled, plain, index, quick) for index in tests])
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


def _quick(settings: Settings) -> Settings:
    """One seed a member and fewer, larger trees: for what is compared with its like."""
    return replace(settings, seeds=1, trees=max(settings.trees // NULL_HASTE, 1))


def _left_out(
    data: Panel, settings: Settings, tests: list[int], pool: ThreadPoolExecutor
) -> dict[str, Floats]:
    """Forecast each test year from all other years, later ones too, (tests, R) each, t/ha.

    The literature reports such errors. They flatter whoever learns what the climate and the fields
    became later, so that nothing here is decided by them.
    """
    quick = _quick(settings)
    plain = plain_walk(data, settings)

    def boosters(index: int) -> Floats:
        others = np.arange(len(data.years)) != index
        fitted = model.fit(
            data.Y[others], data.X[others], data.years[others], plain[others],
            seeds=quick.seeds, trees=quick.trees, seed=quick.seed,
        )  # fmt: skip
        said = model.forecast(fitted, data.X[index], int(data.years[index]), plain[index])
        return plain_forecasts.nanmean(said)

    said = {"boosters": np.stack(list(pool.map(boosters, tests)))}
    for name in LEFT_OUT:
        place = plain_forecasts.NAMES.index(name)
        said[name] = np.full(said["boosters"].shape, np.nan)
        for row, index in enumerate(tests):
            others = np.arange(len(data.years)) != index
            Y = np.where(data.Y[others] > 0, data.Y[others], np.nan)
            year = int(data.years[index])
            said[name][row] = plain_forecasts.baselines(Y, data.years[others], year)[place]
    return said


def _judge(
    data: Panel,
    trace: Trace,
    settings: Settings,
    tests: list[int],
    null: dict[str, float],
    left_out: dict[str, Floats],
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
        loyo=_loyo_table(left_out, observed, table),
        skill=skill,
        statement=_statement(data, now, null, skill=skill),
        statement_ru=_statement_ru(data, now, null, skill=skill),
        data=data,
        trace=trace,
        settings=settings,
    )


def _said(
    data: Panel, trace: Trace, settings: Settings, tests: list[int], recipes: list[Recipe]
) -> dict[str, Floats]:
    """Collect what each forecaster said of the test years, (tests, R) each, t/ha."""
    pairs = list(zip(tests, recipes, strict=True))
    plain = np.stack([weighted(trace.plain[i : i + 1], r.plain_weights)[0] for i, r in pairs])
    boosters = np.stack([weighted(trace.members[i : i + 1], r.members)[0] for i, r in pairs])
    weight = np.array([recipe.weight for recipe in recipes])[:, None]
    said = {"forecast": blend(plain, boosters, weight), "boosters": boosters, "plain": plain}
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
        plain = weighted(trace.plain[: index + 1], recipe.plain_weights)
        spread = calibrated(data, trace, index, settings, plain[:known])
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


def _loyo_table(left_out: dict[str, Floats], observed: Floats, table: pd.DataFrame) -> pd.DataFrame:
    walked = table.reindex(columns=["nrmse", "r2"])
    rows = {
        name: {
            "n": float(np.isfinite(said + observed).sum()),
            "loyo_nrmse": metrics.nrmse(said, observed),
            "loyo_r2": metrics.r2(said, observed),
            **walked.loc[name],
        }
        for name, said in left_out.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "forecaster"
    return frame


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
