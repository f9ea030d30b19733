"""The forecast of the year at hand: the last step of the walk, kept as a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError, NoDataError
from lesniva.forecast import intervals, model, walk
from lesniva.forecast.baselines import NAMES, nanmean
from lesniva.forecast.hindcast import NO_SKILL, Hindcast
from lesniva.forecast.panel import Floats, Panel, data_hash, panel
from lesniva.forecast.walk import Recipe

MEAN5 = NAMES.index("mean5")


@dataclass(frozen=True)
class Model:
    """Everything one forecast needs; the yields it learnt from stay behind."""

    crop: str
    cutoff: str
    year: int
    """The harvest year it is for."""
    adm_ids: tuple[str, ...]
    predictors: tuple[str, ...]
    boosters: model.Boosters | None
    plain: Floats
    """Baselines of the year, (5, R), t/ha."""
    past_years: Floats
    """How many yields each district has had, (R,)."""
    area: Floats
    """Mean harvested area of the last five years, ha, (R,); NaN = not known."""
    recipe: Recipe
    skill: bool
    statement: str
    data_sha256: str
    """Of the yields and predictors of the training years."""


def fit(history: Hindcast, *, year: int | None = None) -> Model:
    """Fit the model of one harvest year on all years before it.

    Parameters
    ----------
    history
        The hindcast; the recipe, the intervals and the claim of skill come from it.
    year
        The year to forecast; by default the first one whose yields are not known.

    Raises
    ------
    NoDataError
        Fewer years of yields before `year` than the hindcast needed.
    """
    known = history.data.years[np.isfinite(history.data.Y).any(axis=1)]
    settings = history.settings
    year = int(known[-1]) + settings.yield_lag if year is None else year
    data = _through(history.data, year)
    index = year - int(data.years[0])
    published = np.isfinite(data.Y[: max(index - settings.yield_lag + 1, 0)])
    if published.any(axis=1).sum() < settings.min_train:
        raise NoDataError(
            f"forecast of {data.crop} {year}: {published.any(axis=1).sum()} earlier years of"
            f" yields, {settings.min_train} are needed; add years or forecast a later one"
        )
    plain = np.stack([walk.plain_at(data, i, settings) for i in range(index + 1)])
    trace = walk.Trace(plain, walk.extended(history.trace.members, index + 1))
    train = replace(
        data, years=data.years[:index], Y=data.Y[:index], X=data.X[:index], area=data.area[:index]
    )
    return Model(
        crop=data.crop,
        cutoff=data.cutoff,
        year=year,
        adm_ids=data.adm_ids,
        predictors=data.predictors,
        boosters=walk.boosters_at(data, plain, index, settings),
        plain=plain[index],
        past_years=published.sum(axis=0).astype(np.float64),
        area=nanmean(train.area[-5:]),
        recipe=walk.decide(data, trace, index, settings),
        skill=history.skill,
        statement=history.statement,
        data_sha256=data_hash(train),
    )


def predict(fitted: Model, features: pd.DataFrame) -> pd.DataFrame:
    """Forecast the year of the model.

    Parameters
    ----------
    fitted
        As `fit` or `load` gave it.
    features
        The table `hindcast` was given, or only the rows of the year: ``adm_id, year`` and the
        predictors; filtered on ``crop`` and ``cutoff`` when it has them.

    Returns
    -------
    DataFrame
        One row a district, known to the model or new: ``adm_id, crop, year, cutoff``;
        ``yield_t_ha`` and its quantiles ``q05_t_ha … q95_t_ha``; ``boosters_t_ha`` and
        ``plain_t_ha``, of which the forecast is made with ``model_weight``; ``area_ha``;
        ``skill``: whether in-season skill may be claimed; ``note``.

    Raises
    ------
    InputError
        A predictor of the model is missing from the table.
    """
    rows = rows_of_year(fitted, features)
    known = rearranged(fitted, rows.adm_ids)
    seen = np.isfinite(rows.X[0]).any(axis=1)
    members = model.forecast(known.boosters, rows.X[0], fitted.year, known.plain)
    used = known.recipe.members > 0
    boosters = known.recipe.members[used] @ members[used]
    plain = known.recipe.plain_weights @ known.plain
    weight = np.where(np.isfinite(boosters), known.recipe.weight, 0.0)
    point = weight * np.where(np.isfinite(boosters), boosters, 0.0) + (1 - weight) * plain
    quantiles = intervals.quantiles(
        point, known.plain[MEAN5], known.recipe.spread, unknown=unknown_level(known)
    )
    table = pd.DataFrame({"adm_id": known.adm_ids, "crop": fitted.crop, "year": fitted.year})
    table["cutoff"] = pd.Timestamp(cutoff_date(fitted.year, fitted.cutoff))
    table["yield_t_ha"] = point
    for name, values in zip(intervals.QUANTILES, quantiles, strict=True):
        table[name] = values
    table["boosters_t_ha"] = boosters
    table["plain_t_ha"] = plain
    table["model_weight"] = weight
    table["area_ha"] = known.area
    table["skill"] = fitted.skill
    table["note"] = _notes(known, seen)
    return table


def rearranged(fitted: Model, adm_ids: Sequence[str]) -> Model:
    """Put the districts of a model in this order; a new one is given the mean of the others."""
    place = pd.Index(fitted.adm_ids).get_indexer(pd.Index(adm_ids))
    new = place < 0

    def rows(values: Floats, axis: int, fill: Floats | float) -> Floats:
        taken = np.moveaxis(np.take(values, np.maximum(place, 0), axis=axis), axis, 0)
        taken[new] = fill
        return np.moveaxis(taken, 0, axis)

    boosters = fitted.boosters
    if boosters is not None:
        boosters = replace(
            boosters,
            climatology=rows(boosters.climatology, 0, nanmean(boosters.climatology)),
            mean=rows(boosters.mean, 0, float(nanmean(boosters.mean[:, None])[0])),
        )
    return replace(
        fitted,
        adm_ids=tuple(adm_ids),
        boosters=boosters,
        plain=rows(fitted.plain, 1, nanmean(fitted.plain, axis=1)),
        past_years=rows(fitted.past_years, 0, 0.0),
        area=rows(fitted.area, 0, np.nan),
    )


def unknown_level(fitted: Model) -> Floats:
    """Variance, t²/ha², that districts without a past add: how far levels lie apart, (R,)."""
    level = fitted.plain[MEAN5]
    has_past = fitted.past_years > 0
    apart = float(np.var(level[has_past])) if has_past.sum() > 1 else 0.0
    return np.where(has_past, 0.0, apart)


def rows_of_year(fitted: Model, features: pd.DataFrame) -> Panel:
    """Take the rows of the model's year, one a district known or new; NaN where not seen."""
    absent = [name for name in ("adm_id", "year", *fitted.predictors) if name not in features]
    if absent:
        raise InputError(
            f"the model of {fitted.crop} needs the columns {', '.join(absent)};"
            f" the features table has: {', '.join(map(str, features.columns))}"
        )
    rows = features[features["year"] == fitted.year]
    past = pd.DataFrame({"adm_id": fitted.adm_ids, "year": fitted.year, "yield_t_ha": 0.0})
    if rows.empty:
        rows = past.reindex(columns=["adm_id", "year", *fitted.predictors])
        rows = rows.astype(dict.fromkeys(fitted.predictors, float))
    return panel(rows, past, crop=fitted.crop, cutoff=fitted.cutoff, predictors=fitted.predictors)


def _notes(fitted: Model, seen: np.ndarray) -> list[str]:
    season = "" if fitted.skill and fitted.recipe.weight > 0 else NO_SKILL
    notes = []
    for saw, years in zip(seen, fitted.past_years, strict=True):
        own = [] if saw else ["no imagery"]
        own += [] if years > 0 else ["no past yields, level of the other districts"]
        notes.append("; ".join(own + ([season] if season and saw else [])))
    return notes


def _through(data: Panel, year: int) -> Panel:
    """Cut the panel after `year`, or extend it by empty years where it ends before."""
    years = np.arange(int(data.years[0]), year + 1, dtype=np.int64)
    return replace(
        data,
        years=years,
        Y=walk.extended(data.Y, len(years)),
        area=walk.extended(data.area, len(years)),
        X=walk.extended(data.X, len(years)),
    )
