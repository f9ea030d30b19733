"""Why the canopy went: rules on spectra, shape, season and neighbourhood, each with its words.

A rule looks at one feature: below its lower edge it speaks against a cause, above its upper edge
for it, in between in proportion, and it is silent where the feature is missing. What the rules of a
cause say adds up to log-odds; the causes' odds give the probabilities. Edges are where the
literature and the physics of burnt, bare, dead and thinned ground put them; published accuracies
of such attribution are 76–86 % (Oeser et al. 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from lesniva.alerts.spectra import BANDS, before_and_after
from lesniva.conventions import EQUAL_AREA_CRS

CAUSES = ("harvest", "fire", "dieback", "windthrow", "thinning", "temporary", "unknown")
"""What may be said of an alert; "unknown" where no cause stands out, "temporary"
of those that are over and recovered."""

UNKNOWN_ODDS = 0.5
"""Log-odds of "unknown": a cause needs more than that to be named."""

HOTSPOT_M, HOTSPOT_DAYS = 1000.0, 5
"""A fire detected from space lies within a kilometre (the pixel of MODIS) and a few days."""

STORM_DAYS = 3
"""A storm and the time between the last normal and the first anomalous observation may miss each
other by so much."""

CUT_M = 100.0
"""Cutting areas adjoin earlier ones."""

WINTER = (10, 4)
"""A change whose last normal and first anomalous observation lie on two sides of these months'
snow happened in winter, or very close to it."""


@dataclass(frozen=True)
class Rule:
    """What one feature says of one cause."""

    cause: str
    feature: str
    low: float
    high: float
    """Speaks fully against the cause at `low` and fully for it at `high`, which may be smaller."""
    weight: float
    """Log-odds at `high`, and with the sign turned at `low`."""
    en: str
    ru: str
    """Why, in words."""
    only_for: bool = False
    """Silent where it would speak against."""


RULES = (
    Rule("fire", "char", 0.10, 0.35, 3.0, "burnt ground in the short-wave infrared",
         "гарь в коротковолновом ИК"),
    Rule("fire", "nir_drop", 0.02, 0.08, 1.0, "near infrared fell", "падение в ближнем ИК"),
    Rule("fire", "nbr_drop", 0.15, 0.35, 0.5, "strong loss of NBR (> 0.27)",
         "сильное падение NBR (> 0,27)"),
    Rule("fire", "hotspot", 0.0, 1.0, 3.0, "fire detected from space nearby",
         "рядом термоточка", only_for=True),
    Rule("harvest", "nbr_drop", 0.20, 0.40, 1.5, "strong loss of canopy", "сильная потеря полога"),
    Rule("harvest", "rectangularity", 0.60, 0.76, 1.5, "straight edges", "прямые границы"),
    Rule("harvest", "bare", 0.05, 0.10, 1.0, "bare ground after it", "после — голая почва"),
    Rule("harvest", "winter", 0.0, 1.0, 2.0, "between two seasons, in winter",
         "между сезонами, зимой", only_for=True),
    Rule("harvest", "beside_cut", 0.0, 1.0, 1.0, "beside an earlier cut", "рядом прежняя вырубка",
         only_for=True),
    Rule("harvest", "char", 0.30, 0.15, 1.0, "no sign of fire", "без признаков огня"),
    Rule("windthrow", "nbr_drop", 0.15, 0.30, 1.0, "strong loss of canopy",
         "сильная потеря полога"),
    Rule("windthrow", "rectangularity", 0.75, 0.62, 1.0, "irregular outline",
         "неровный контур"),
    Rule("windthrow", "elongation", 1.6, 2.4, 1.5, "long swath", "вытянутая полоса"),
    Rule("windthrow", "bare", 0.13, 0.08, 0.5, "timber on the ground, little bare soil",
         "древесина на земле, мало голой почвы"),
    Rule("windthrow", "storm", 0.0, 1.0, 2.5, "a storm at that time", "буря в это время",
         only_for=True),
    Rule("windthrow", "char", 0.30, 0.15, 1.0, "no sign of fire", "без признаков огня"),
    Rule("dieback", "nbr_drop", 0.28, 0.20, 1.0, "canopy stands, but loses vigour",
         "полог стоит, но слабеет"),
    Rule("dieback", "health", 0.0, 1.0, 1.5, "seen by water and chlorophyll, not by the canopy",
         "видно по влаге и хлорофиллу, а не по пологу", only_for=True),
    Rule("dieback", "gradual", 0.10, 0.35, 1.5, "gradual", "постепенно"),
    Rule("dieback", "spread_days", 4.0, 16.0, 0.5, "spread for weeks", "распространялось неделями",
         only_for=True),
    Rule("dieback", "rectangularity", 0.75, 0.65, 1.0, "irregular outline", "неровный контур"),
    Rule("dieback", "elongation", 1.8, 1.3, 0.7, "compact patch", "компактное пятно"),
    Rule("dieback", "broadleaf", 0.34, 0.28, 0.5, "conifers", "хвойные"),
    Rule("dieback", "area_ha", 8.0, 3.0, 0.3, "small patch", "небольшое пятно"),
    Rule("thinning", "nbr_drop", 0.30, 0.20, 1.0, "part of the canopy is left",
         "часть полога осталась"),
    Rule("thinning", "rectangularity", 0.60, 0.74, 1.5, "straight edges", "прямые границы"),
    Rule("thinning", "elongation", 1.2, 1.6, 0.7, "shape of a stand", "форма выдела"),
    Rule("thinning", "gradual", 0.30, 0.10, 0.7, "at once", "сразу"),
    Rule("thinning", "area_ha", 1.0, 4.0, 0.5, "area of a stand", "площадь выдела"),
    Rule("unknown", "nbr_drop", 0.06, 0.0, 3.0, "hardly any change in the bands",
         "в каналах почти нет изменений", only_for=True),
    Rule("unknown", "n_after", 3.0, 1.0, 1.5, "few clear scenes since", "мало ясных снимков после",
         only_for=True),
)  # fmt: skip
"""Every rule; a cause's prior is even."""

NO_REASON = {"en": "no cause stands out", "ru": "ни одна причина не выделяется"}
"""Words of a cause that no rule speaks for aloud."""


@dataclass(frozen=True)
class Hints:
    """What else is known of an area; all optional."""

    hotspots: gpd.GeoDataFrame | None = None
    """Fires detected from space: points, ``date`` (datetime64, NaT where unknown)."""
    storms: tuple[np.datetime64, ...] = ()
    """Days of storms, ``datetime64[D]``."""


NOTHING_ELSE = Hints()


def features(
    alerts: gpd.GeoDataFrame, reflectance: pd.DataFrame, hints: Hints = NOTHING_ELSE
) -> pd.DataFrame:
    """Measure what the rules look at.

    Parameters
    ----------
    alerts
        Rows of `polygons.alerts` (EPSG:4326); ``event`` may be there.
    reflectance
        Result of `spectra.means`; alerts without rows are judged by the rest.
    hints
        Fires and storms.

    Returns
    -------
    pandas.DataFrame
        Index ``alert_id``, one column a feature, NaN where nothing is known: ``nbr_drop`` (fall of
        NBR = (nir08 − swir22) / (nir08 + swir22), or of the monitor's index where bands are
        missing), ``nir_drop``, ``bare`` (rise of swir16), ``char`` (rise of the mid-infrared burn
        index 10 swir22 − 9.8 swir16 + 2, Trigg & Flasse 2001), ``gradual`` (share of the NBR loss
        that came later than six weeks), ``broadleaf`` (nir08 before), ``rectangularity`` (area
        over that of the smallest rotated rectangle), ``elongation`` (its sides), ``area_ha``,
        ``spread_days``, and 0 or 1 for ``winter``, ``hotspot``, ``storm``, ``health`` (the channel
        that tells of it);
        ``n_after``, the scenes seen since.
    """
    by_alert = dict(list(reflectance.groupby(level="alert_id")))
    none = pd.DataFrame(columns=list(BANDS), index=pd.DatetimeIndex([]), dtype=float)
    rows = [
        _spectral(
            by_alert[alert.alert_id].droplevel("alert_id") if alert.alert_id in by_alert else none,
            alert.date_max,
            alert.date_min,
        )
        for alert in alerts.itertuples()
    ]
    table = pd.DataFrame(rows, index=pd.Index(alerts["alert_id"], name="alert_id"), dtype=float)
    table = table.reindex(columns=["nbr_drop", "nir_drop", "bare", "char", "gradual", "broadleaf",
                                   "n_after"])  # fmt: skip
    table["nbr_drop"] = table["nbr_drop"].fillna(-alerts.set_index("alert_id")["magnitude"])
    table[["rectangularity", "elongation"]] = shape(alerts)
    table["area_ha"] = alerts["area_ha"].to_numpy(float)
    table["spread_days"] = alerts["spread_days"].to_numpy(float)
    table["health"] = (alerts["channel"] == "health").to_numpy(float)
    table["winter"] = _over_winter(alerts)
    table["hotspot"] = _near_hotspot(alerts, hints.hotspots)
    table["storm"] = _in_storm(alerts, hints.storms)
    return table


def _spectral(
    reflectance: pd.DataFrame, first_anomaly: pd.Timestamp, last_normal: pd.Timestamp
) -> dict[str, float]:
    around = before_and_after(reflectance, first_anomaly=first_anomaly, last_normal=last_normal)
    before, soon = around["soon_before"], around["soon"]
    change = soon - before
    fell = _nbr(before) - _nbr(soon)
    fell_later = _nbr(around["late_before"]) - _nbr(around["late"])
    # a loss that heals has nothing to say of how fast it came
    slow = 1 - fell / fell_later if fell_later > max(fell, 0.02) else 0.0
    return {
        "nbr_drop": np.nanmax([fell, fell_later]) if not np.isnan(fell) else fell_later,
        "nir_drop": -change["nir08"],
        "bare": change["swir16"],
        "char": 10 * change["swir22"] - 9.8 * change["swir16"],
        "gradual": np.nan if np.isnan(fell_later) else slow,
        "broadleaf": before["nir08"],
        "n_after": soon["n"],
    }


def _nbr(spectrum: "pd.Series[float]") -> float:
    nir, swir = spectrum["nir08"], spectrum["swir22"]
    return float((nir - swir) / (nir + swir))


def shape(alerts: gpd.GeoDataFrame) -> npt.NDArray[np.float64]:
    """Rectangularity (0–1) and elongation (≥ 1) of polygons in longitude and latitude.

    Degrees of longitude are shortened by the cosine of each polygon's latitude: over the few
    kilometres of an alert that keeps shapes.
    """
    shapes = alerts.geometry.to_numpy()
    points, of_shape = shapely.get_coordinates(shapes, return_index=True)
    middle = np.deg2rad(alerts["lat"].to_numpy(float))
    points[:, 0] *= np.cos(middle)[of_shape]
    true = shapely.set_coordinates(shapes.copy(), points)
    box = shapely.minimum_rotated_rectangle(true)
    sides = np.array([_sides(each) for each in box]).reshape(-1, 2)
    return np.column_stack(
        [shapely.area(true) / shapely.area(box), sides.max(axis=1) / sides.min(axis=1)]
    )


def _sides(rectangle: shapely.Polygon) -> npt.NDArray[np.float64]:
    steps = np.diff(shapely.get_coordinates(rectangle), axis=0)[:2]
    return np.asarray(np.hypot(steps[:, 0], steps[:, 1]))


def _over_winter(alerts: gpd.GeoDataFrame) -> npt.NDArray[np.float64]:
    """1 where the change lies between autumn and spring, NaN where its beginning is unknown."""
    first, last = alerts["date_min"], alerts["date_max"]
    autumn, spring = WINTER
    # the last 1 January before the first anomaly
    new_year = pd.to_datetime(last.dt.year.astype(str) + "-01-01")
    over = (
        (first < new_year)
        & (first.dt.month >= autumn - 1)
        & (last.dt.month <= spring + 1)
        & (first >= new_year - pd.Timedelta(days=120))
    )
    return np.asarray(over.astype(float).where(first.notna(), np.nan))


def _near_hotspot(
    alerts: gpd.GeoDataFrame, hotspots: gpd.GeoDataFrame | None
) -> npt.NDArray[np.float64]:
    """1 where a fire was detected nearby at the time, NaN where no fires are given."""
    if hotspots is None:
        return np.full(len(alerts), np.nan)
    near = np.zeros(len(alerts))
    # metres of an equal-area projection are good enough for a kilometre only near its standard
    # parallel; a UTM zone of the alerts themselves is
    metric = alerts.estimate_utm_crs() if len(alerts) else EQUAL_AREA_CRS
    of_alert, of_spot = shapely.STRtree(hotspots.to_crs(metric).geometry.to_numpy()).query(
        alerts.to_crs(metric).geometry.to_numpy(), predicate="dwithin", distance=HOTSPOT_M
    )
    slack = np.timedelta64(HOTSPOT_DAYS, "D")
    when = hotspots["date"].to_numpy("datetime64[D]")[of_spot]
    first = alerts["date_min"].to_numpy("datetime64[D]")[of_alert] - slack
    last = alerts["date_max"].to_numpy("datetime64[D]")[of_alert] + slack
    fits = np.isnat(when) | ((when <= last) & ((when >= first) | np.isnat(first)))
    near[of_alert[fits]] = 1.0
    return near


def _in_storm(alerts: gpd.GeoDataFrame, storms: Sequence[np.datetime64]) -> npt.NDArray[np.float64]:
    """1 where a storm lies between the last normal and the first anomaly, NaN without storms."""
    if not storms:
        return np.full(len(alerts), np.nan)
    days = np.array(storms, dtype="datetime64[D]")
    slack = np.timedelta64(STORM_DAYS, "D")
    first = alerts["date_min"].to_numpy("datetime64[D]")[:, np.newaxis] - slack
    last = alerts["date_max"].to_numpy("datetime64[D]")[:, np.newaxis] + slack
    return np.asarray(((days >= first) & (days <= last)).any(axis=1).astype(float))


def attribute(alerts: gpd.GeoDataFrame, known: pd.DataFrame) -> gpd.GeoDataFrame:
    """Name the cause of each alert.

    Parameters
    ----------
    alerts
        The alerts.
    known
        Result of `features` for them.

    Returns
    -------
    geopandas.GeoDataFrame
        The alerts with ``cause`` (one of `CAUSES`), ``cause_prob`` (0–1), and the words of the
        rules that spoke for it, most important first: ``reasons``, ``reasons_ru``. The ground
        beside a harvest that is older counts for harvest, so that causes are named twice: first
        without neighbours, then with them.
    """
    alone, _ = _judged(known.assign(beside_cut=np.nan))
    beside = _beside_cut(alerts, alone)
    cause, spoken = _judged(known.assign(beside_cut=beside))
    result = alerts.copy()
    result["cause"] = cause["cause"].to_numpy()
    result["cause_prob"] = cause["probability"].to_numpy()
    for column, language in (("reasons", "en"), ("reasons_ru", "ru")):
        result[column] = [
            _words(name, row, language) for name, row in zip(cause["cause"], spoken, strict=True)
        ]
    return result


def _judged(known: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Cause and probability of each alert, and what every rule said (alert, rule)."""
    spoken = np.column_stack([_says(rule, known[rule.feature].to_numpy(float)) for rule in RULES])
    odds = np.zeros((len(known), len(CAUSES)))
    for number, rule in enumerate(RULES):
        odds[:, CAUSES.index(rule.cause)] += spoken[:, number]
    odds[:, CAUSES.index("unknown")] += UNKNOWN_ODDS
    odds[:, CAUSES.index("temporary")] = -np.inf
    share = np.exp(odds - odds.max(axis=1, keepdims=True, initial=0))
    share /= share.sum(axis=1, keepdims=True)
    best = share.argmax(axis=1)
    table = {
        "cause": [CAUSES[place] for place in best],
        "probability": share[np.arange(len(known)), best].round(3),
    }
    return pd.DataFrame(table, index=known.index), spoken


def _says(rule: Rule, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-odds that a rule adds; 0 where the feature is missing."""
    share = np.clip((values - rule.low) / (rule.high - rule.low), 0, 1)
    said = rule.weight * (2 * share - 1)
    if rule.only_for:
        said = np.maximum(said, 0)
    return np.nan_to_num(said)


def _beside_cut(alerts: gpd.GeoDataFrame, alone: pd.DataFrame) -> npt.NDArray[np.float64]:
    """1 where an older harvest lies within `CUT_M`."""
    beside = np.zeros(len(alerts))
    harvest = np.flatnonzero((alone["cause"] == "harvest").to_numpy())
    if not len(harvest):
        return beside
    shapes = alerts.to_crs(alerts.estimate_utm_crs()).geometry.to_numpy()
    of_alert, of_cut = shapely.STRtree(shapes[harvest]).query(
        shapes, predicate="dwithin", distance=CUT_M
    )
    day = alerts["date_max"].to_numpy("datetime64[D]")
    older = day[harvest[of_cut]] <= day[of_alert]
    beside[of_alert[older & (harvest[of_cut] != of_alert)]] = 1.0
    return beside


def _words(cause: str, spoken: npt.NDArray[np.float64], language: str) -> list[str]:
    """Words of the rules that spoke for a cause, the loudest first."""
    loud = [
        (-said, number)
        for number, said in enumerate(spoken)
        if RULES[number].cause == cause and said > 0.25 * RULES[number].weight
    ]
    words = [str(getattr(RULES[number], language)) for _, number in sorted(loud)]
    return words or [NO_REASON[language]]
