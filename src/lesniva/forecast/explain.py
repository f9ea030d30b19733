"""Reasons for a forecast: what moved it, and which past years were like this one."""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from lesniva.errors import InputError, NoDataError
from lesniva.forecast import model
from lesniva.forecast.baselines import NAMES, nanmean
from lesniva.forecast.current import Model, rearranged, rows_of_year
from lesniva.forecast.hindcast import Hindcast
from lesniva.forecast.panel import Floats, panel

REASONS: tuple[tuple[str, str, str, str, str], ...] = (
    # key, columns, English name, Russian name, kind of comparison
    ("level", r"level_.*", "level and trend of past yields", "уровень и тренд урожайности", ""),
    ("start_of_season", r"sos_doy", "start of the season", "начало вегетации", "date"),
    ("peak_date", r".*_peak_doy", "date of the peak", "дата максимума NDVI", "date"),
    ("greenup", r"greenup_rate", "speed of greening up", "скорость отрастания", "amount"),
    (
        "peak",
        r"\w+_peak|ndvi_amplitude",
        "peak of the vegetation index",
        "максимум вегетационного индекса",
        "amount",
    ),
    (
        "green_mass",
        r"ndvi_int.*|days_ndvi.*",
        "green mass gathered so far",
        "накопленная зелёная масса",
        "amount",
    ),
    (
        "wintering",
        r"ndvi_autumn|ndvi_winter_loss|tmin_winter.*",
        "autumn growth and wintering",
        "осеннее развитие и перезимовка",
        "amount",
    ),
    ("ripening", r"senescence_rate", "ripening", "созревание", "amount"),
    ("frost", r"frost_days", "frost after greening up", "заморозки", "amount"),
    (
        "heat",
        r"heat_days|lst_.*|.*tmax.*|gdd.*|.*temp.*|t2m.*|tair.*",
        "warmth and heat",
        "тепло и жара",
        "amount",
    ),
    (
        "moisture",
        r"prec.*|cwb.*|dry_spell|htk|soil_moisture.*|sm_.*|swvl.*|rain.*",
        "moisture",
        "влагообеспеченность",
        "amount",
    ),
    (
        "greenness",
        r"(?:ndvi|evi|evi2|ndre|lai|fpar|fapar|ndmi)_.*",
        "greenness of the last weeks",
        "вегетация последних недель",
        "amount",
    ),
    ("place", r"lat|lon|soil_.*", "place and soil", "место и почва", ""),
    ("other", r".*", "other observations", "прочие наблюдения", "amount"),
)
"""Columns (the first pattern that fits whole) grouped into an agronomist's words."""

_WORDS = {
    ("date", True): ("later than usual", "позже обычного"),
    ("date", False): ("earlier than usual", "раньше обычного"),
    ("amount", True): ("above the mean", "выше нормы"),
    ("amount", False): ("below the mean", "ниже нормы"),
}


def explain(fitted: Model, features: pd.DataFrame) -> pd.DataFrame:
    """Say what moved the boosters of each district, in t/ha.

    Exact contributions of trees (TreeSHAP, Lundberg et al. 2020,
    https://doi.org/10.1038/s42256-019-0138-9), brought back from each member's target to yields,
    weighted as the forecast weighs them, and summed over the columns of a reason.

    Parameters
    ----------
    fitted, features
        As for `predict`.

    Returns
    -------
    DataFrame
        For each district seen, largest first: ``adm_id, crop, year, reason``;
        ``contribution_t_ha`` to the published forecast (they add up to
        ``model_weight × (boosters_t_ha − base_t_ha)``); ``base_t_ha``: what the boosters say
        without knowing anything of the row; ``predictor``: the column of the reason that moved
        most, its ``value`` and ``normal``; ``text_en``, ``text_ru``. Empty when the boosters have
        no part in the forecast.
    """
    rows = rows_of_year(fitted, features)
    known = rearranged(fitted, rows.adm_ids)
    X = rows.X[0]
    seen = np.isfinite(X).any(axis=1)
    parts = []
    if known.boosters is not None and known.recipe.weight > 0 and seen.any():
        contribution, base = _contributions(known, X)
        for place in np.flatnonzero(seen):
            parts += _reasons(known, X, contribution, base, int(place))
    columns = (
        "adm_id crop year reason contribution_t_ha base_t_ha predictor value normal text_en text_ru"
    )
    return pd.DataFrame(parts, columns=columns.split())


def _contributions(known: Model, X: Floats) -> tuple[dict[str, Floats], Floats]:
    """Contribution of each raw predictor or level, (R,) t/ha, and the base (R,), unweighted."""
    boosters = known.boosters
    if boosters is None:
        raise NoDataError("there are no boosters to explain")
    rows = model.design(boosters, X, known.year, known.plain)
    total: dict[str, Floats] = {}
    base = np.zeros(len(X))
    for name, share in zip(model.MEMBERS, known.recipe.members, strict=True):
        if share == 0 or name not in boosters.members:
            continue
        fits = boosters.members[name]
        shap = np.mean(
            [one.predict(rows[name], pred_contrib=True, num_threads=1) for one in fits], axis=0
        )
        offset, scale = model.scale_back(name, known.plain)
        base += share * (offset + scale * shap[:, -1])
        for place, column in enumerate(model.columns(name, known.predictors)):
            predictor = column.removesuffix("_anom")
            moved = share * scale * shap[:, place]
            total[predictor] = total.get(predictor, np.zeros(len(X))) + moved
    return total, base


def _reasons(
    known: Model, X: Floats, contribution: dict[str, Floats], base: Floats, place: int
) -> list[dict[str, object]]:
    grouped: dict[str, dict[str, float]] = {}
    for predictor, moved in contribution.items():
        grouped.setdefault(_reason(predictor), {})[predictor] = float(moved[place])
    result = []
    for key, english, russian, kind in ((r[0], *r[2:]) for r in REASONS if r[0] in grouped):
        leading = max(grouped[key], key=lambda name: abs(grouped[key][name]))
        value, normal = _value_and_normal(known, X, leading, place)
        in_all = known.recipe.weight * sum(grouped[key].values())
        words = _WORDS.get((kind, value > normal)) if np.isfinite(value - normal) else None
        result.append(
            {
                "adm_id": known.adm_ids[place],
                "crop": known.crop,
                "year": known.year,
                "reason": key,
                "contribution_t_ha": in_all,
                "base_t_ha": float(base[place]),
                "predictor": leading,
                "value": value,
                "normal": normal,
                "text_en": _text(english, words[0] if words else "", f"{in_all:+.2f} t/ha"),
                "text_ru": _text(
                    russian, words[1] if words else "", f"{in_all:+.2f} т/га".replace(".", ",")
                ),
            }
        )
    return sorted(result, key=lambda row: -abs(float(str(row["contribution_t_ha"]))))


def _reason(predictor: str) -> str:
    return next(key for key, columns, *_ in REASONS if re.fullmatch(columns, predictor))


def _value_and_normal(known: Model, X: Floats, predictor: str, place: int) -> tuple[float, float]:
    if predictor not in known.predictors or known.boosters is None:
        return np.nan, np.nan
    column = known.predictors.index(predictor)
    return float(X[place, column]), float(known.boosters.climatology[place, column])


def _text(name: str, words: str, moved: str) -> str:
    return f"{name}{' ' if words else ''}{words}: {moved}"


def analogues(
    history: Hindcast,
    features: pd.DataFrame,
    *,
    year: int,
    count: int = 3,
    predictors: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Find the past years whose season looked most like this one.

    Parameters
    ----------
    history
        The hindcast with the past years.
    features
        The table with the rows of `year`, as for `predict`.
    year
        The year to find analogues of; only years before it are looked at.
    count
        Years a district.
    predictors
        Columns to compare; by default all of the hindcast.

    Returns
    -------
    DataFrame
        ``adm_id, crop, year, analogue_year, distance`` (root mean square difference of the
        anomalies in standard deviations of the predictor), ``observed_t_ha`` of that year and
        ``ratio_mean5``: its yield against the 5-year mean before it. Districts not seen this year
        have no rows.
    """
    data = history.data
    names = data.predictors if predictors is None else tuple(predictors)
    unknown = [name for name in names if name not in data.predictors]
    if unknown or not names:
        raise InputError(
            f"predictors {', '.join(unknown) or '(none)'} were asked for;"
            f" the hindcast has: {', '.join(data.predictors)}"
        )
    columns = [data.predictors.index(name) for name in names]
    here = pd.DataFrame({"adm_id": data.adm_ids, "year": year, "yield_t_ha": 0.0})
    wanted = features[features["year"] == year]
    now = panel(wanted, here, crop=data.crop, cutoff=data.cutoff, predictors=data.predictors)
    place = [now.adm_ids.index(name) for name in data.adm_ids]
    past = data.X[data.years < year][..., columns]
    anomaly = past - nanmean(past)
    spread = np.sqrt(nanmean((anomaly**2).reshape(-1, len(columns))))
    spread = np.where(spread > 0, spread, np.nan)
    today = (now.X[0][place][:, columns] - nanmean(past)) / spread
    distance = np.sqrt(nanmean((anomaly / spread - today) ** 2, axis=2))
    mean5 = history.trace.plain[:, NAMES.index("mean5")]
    rows = []
    for r, adm_id in enumerate(data.adm_ids):
        order = [t for t in np.argsort(distance[:, r]) if np.isfinite(distance[t, r])]
        rows += [
            {
                "adm_id": adm_id,
                "crop": data.crop,
                "year": year,
                "analogue_year": int(data.years[t]),
                "distance": float(distance[t, r]),
                "observed_t_ha": float(data.Y[t, r]),
                "ratio_mean5": float(data.Y[t, r] / mean5[t, r]) if mean5[t, r] > 0 else np.nan,
            }
            for t in order[:count]
        ]
    names_of_columns = "adm_id crop year analogue_year distance observed_t_ha ratio_mean5"
    return pd.DataFrame(rows, columns=names_of_columns.split())
