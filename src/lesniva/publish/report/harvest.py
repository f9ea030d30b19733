"""What the page of a harvest run is told."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.publish.fields import TITLES
from lesniva.publish.layers import LAYERS
from lesniva.publish.maps import words
from lesniva.publish.report import about, outlines
from lesniva.publish.report.forest import overlay, title
from lesniva.publish.report.page import write_page

OVERLAYS = ("ndvi", "ndvi_anomaly", "cropland")
"""Layers that the map can lie on, where they were published."""

SEASON_DAYS = np.arange(60, 305, 5)
"""Days of the harvest year that curves are told at: 1 March to 31 October."""

LEAST_SEEN = 0.3
"""Share of a district's cover that must be clear for its NDVI of a day to count."""

LONGEST_GAP = 45
"""Days between two observations that a curve is drawn through."""

RECENT_DAYS = 30
"""How old the last NDVI may be that the anomaly of a district is told by."""

FEWEST_YEARS = 2
"""Past years that a range needs."""

HINDCAST = (
    "adm_id",
    "year",
    "observed_t_ha",
    "yield_t_ha",
    "q10_t_ha",
    "q90_t_ha",
    "plain_t_ha",
)


SEASON = ("forecast", "plain")
"""Forecasters whose error is followed through the season."""

CLAIM = (
    "cutoff",
    "lead_days",
    "skill",
    "statement_en",
    "statement_ru",
    "test_years",
    "null_nrmse_low",
    "null_nrmse_high",
    "null_p",
    "worst_years",
    "mask_en",
    "mask_ru",
)

TOTAL = (
    "cutoff",
    "yield_t_ha",
    "q05_t_ha",
    "q10_t_ha",
    "q90_t_ha",
    "q95_t_ha",
    "area_ha",
    "production_t",
    "skill",
)

BY_YEAR = (
    "year",
    "n",
    "observed_t_ha",
    "yield_t_ha",
    "rmse",
    "rmse_plain",
    "coverage80",
    "coverage90",
    "width80",
    "model_weight",
)

MOST_REASONS = 5
"""Reasons told of a district, the largest first."""

NOTHING = pd.DataFrame({"crop": pd.Series(dtype=str)})


def write_harvest_report(
    path: Path,
    *,
    run: about.About,
    forecast: gpd.GeoDataFrame,
    districts: gpd.GeoDataFrame,
    tables: Mapping[str, pd.DataFrame],
    ndvi: pd.DataFrame,
    yields: pd.DataFrame,
    covers: Mapping[str, str],
    rasters: Mapping[str, Sequence[Path]],
) -> None:
    """Write the page of a harvest run.

    Parameters
    ----------
    path
        HTML file.
    run
        Of which run.
    forecast
        As published: ``adm_id``, ``crop``, ``year``, ``cutoff``, ``yield_t_ha``, ``q10_t_ha``, … Of
        several cut-offs the last one of a district and crop is shown. Columns that the page does
        not know are shown by their titles.
    districts
        ``adm_id``, ``name_en``, ``name_ru`` and geometry.
    tables
        As published: ``hindcast`` and ``skill``, what would have been forecast in past years and
        how good that was; and where they are there ``claims``, ``skill_by_year``,
        ``forecast_total``, ``reasons`` and ``analogues``.
    ndvi
        ``adm_id, cover, date, ndvi, clear_share``.
    yields
        Statistics: ``adm_id, crop, year, yield_t_ha``.
    covers
        Crop → cover that its NDVI is taken from; the page has the crops in this order.
    rasters
        Layer → published files, one a grid.
    """
    last = forecast.sort_values("cutoff").drop_duplicates(["adm_id", "crop"], keep="last")
    by_crop = {str(crop): rows for crop, rows in last.groupby("crop")}
    crops = [
        _crop(
            crop,
            rows,
            tables={name: table[table["crop"] == crop] for name, table in tables.items()},
            ndvi=ndvi[ndvi["cover"] == cover],
            yields=yields[yields["crop"] == crop],
        )
        for crop, cover in covers.items()
        if (rows := by_crop.get(crop)) is not None
    ]
    found = {name: rasters[name] for name in OVERLAYS if rasters.get(name)}
    write_page(
        path,
        journey="harvest",
        title=title(run, "harvest_title"),
        language=run.language,
        values={
            "run": about.told(run),
            "crops": crops,
            "titles": {column: TITLES[column] for column in forecast.columns if column in TITLES},
            "districts": outlines.districts(districts),
            "overlays": [overlay(LAYERS[name], paths) for name, paths in found.items()],
        },
    )


def _of_cutoff(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the same day of the year as the forecast, where the table tells them apart."""
    if "cutoff" not in table:
        return table
    day = str(rows["cutoff"].iloc[-1])[5:10]
    return table[table["cutoff"].astype(str).str[-5:] == day]


def _crop(
    crop: str,
    rows: gpd.GeoDataFrame,
    *,
    tables: Mapping[str, pd.DataFrame],
    ndvi: pd.DataFrame,
    yields: pd.DataFrame,
) -> dict[str, Any]:
    year = int(rows["year"].max())
    curves = {
        str(adm_id): _curves(of_district, year) for adm_id, of_district in ndvi.groupby("adm_id")
    }
    usual = _usual(yields, year)
    table = pd.DataFrame(
        rows.drop(columns=[rows.geometry.name, "name_en", "name_ru", "crop"], errors="ignore")
    )
    if "note" in table:
        notes = table.pop("note").fillna("").astype(str)
        table["note_en"] = notes
        table["note_ru"] = [words.translated(note, "ru") for note in notes]
    table["usual_t_ha"] = table["adm_id"].map(usual)
    table["anomaly"] = 100 * (table["yield_t_ha"] / table["usual_t_ha"] - 1)
    table["ndvi_anomaly"] = table["adm_id"].map(
        {adm_id: curve["anomaly"] for adm_id, curve in curves.items()}
    )
    past = yields[yields["year"] < year].dropna(subset="yield_t_ha")
    digits = {"yield_t_ha": 2, "q10_t_ha": 2, "q90_t_ha": 2, "usual_t_ha": 2, "anomaly": 1}
    today = {name: _of_cutoff(of_crop, rows) for name, of_crop in tables.items()}
    return {
        "crop": crop,
        "name": [words.crop(crop, "en"), words.crop(crop, "ru")],
        "year": year,
        "cutoff": str(rows["cutoff"].max())[:10],
        "rows": about.columns(table, digits),
        "curves": curves,
        "hindcast": about.columns(_some(today["hindcast"], HINDCAST), dict.fromkeys(HINDCAST, 2)),
        "yields": about.columns(past[["adm_id", "year", "yield_t_ha"]], {"yield_t_ha": 2}),
        "skill": about.columns(
            today["skill"].drop(columns=["crop", "cutoff"], errors="ignore"), {"nrmse": 1}
        ),
        "by_year": about.columns(_some(today.get("skill_by_year", NOTHING), BY_YEAR), {}),
        "claims": about.columns(_some(_claims(tables.get("claims", NOTHING), year), CLAIM), {}),
        "errors": about.columns(_errors(_dated(tables["skill"], year)), {"nrmse": 1}),
        "totals": about.columns(_some(tables.get("forecast_total", NOTHING), TOTAL), {}),
        "reasons": _reasons(today.get("reasons", NOTHING)),
        "analogues": _analogues(today.get("analogues", NOTHING)),
    }


def _some(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Those of the columns that are there."""
    return table[[name for name in names if name in table]]


def _dated(table: pd.DataFrame, year: int) -> pd.DataFrame:
    """Days of issue ``MM-DD`` as dates of the season."""
    if "cutoff" not in table:
        return table
    return table.assign(cutoff=[str(cutoff_date(year, str(day))) for day in table["cutoff"]])


def _claims(claims: pd.DataFrame, year: int) -> pd.DataFrame:
    masks = claims["mask"].fillna("") if "mask" in claims else pd.Series("", index=claims.index)
    in_russian = [words.translated(mask, "ru") for mask in masks]
    return _dated(claims, year).assign(mask_en=masks, mask_ru=in_russian)


def _errors(skill: pd.DataFrame) -> pd.DataFrame:
    """Error by day of issue, a row each day and forecaster of `SEASON`."""
    if "cutoff" not in skill:
        return skill.iloc[:0][["forecaster", "nrmse"]].assign(cutoff=[])
    rows = skill[skill["forecaster"].isin(SEASON)].sort_values("cutoff")
    return rows[["cutoff", "forecaster", "nrmse"]]


def _reasons(table: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Reasons of each district, the largest first, as [English, Russian]."""
    return {
        str(adm_id): rows[["text_en", "text_ru"]].head(MOST_REASONS).to_numpy().tolist()
        for adm_id, rows in (table.groupby("adm_id") if len(table) else ())
    }


def _analogues(table: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
    """Years most like this one, of each district."""
    names = ["analogue_year", "observed_t_ha", "ratio_mean5"]
    return {
        str(adm_id): about.columns(rows[names], {})
        for adm_id, rows in (table.groupby("adm_id") if len(table) else ())
    }


def _usual(yields: pd.DataFrame, year: int) -> pd.Series:
    """Mean observed yield of the last five years before `year`, by district."""
    recent = yields[yields["year"].between(year - 5, year - 1)]
    usual: pd.Series = recent.groupby("adm_id")["yield_t_ha"].mean()
    return usual


def _curves(observed: pd.DataFrame, year: int) -> dict[str, Any]:
    """NDVI of this year's season, the range of past years, and the departure from their median."""
    seen = observed[(observed["clear_share"] >= LEAST_SEEN) & observed["ndvi"].notna()]
    dates = pd.DatetimeIndex(seen["date"])
    past = np.array(
        [
            on_season_days(dates[dates.year == each], seen["ndvi"][dates.year == each])
            for each in range(int(dates.year.min()), year)
        ]
        if len(dates)
        else []
    ).reshape(-1, len(SEASON_DAYS))
    known = np.isfinite(past).sum(axis=0) >= FEWEST_YEARS
    low, middle, high = np.full((3, len(SEASON_DAYS)), np.nan)
    low[known], high[known] = np.nanmin(past[:, known], 0), np.nanmax(past[:, known], 0)
    middle[known] = np.nanmedian(past[:, known], 0)
    now = seen[(dates.year == year) & (dates.day_of_year >= SEASON_DAYS[0])]
    return {
        "past": [_numbers(each) for each in (low, middle, high)],
        "years": len(past),
        "days": [str(date)[:10] for date in now["date"]],
        "values": _numbers(now["ndvi"].to_numpy()),
        "anomaly": _departure(now, middle),
    }


def on_season_days(dates: pd.DatetimeIndex, values: pd.Series) -> npt.NDArray[np.float64]:
    """Interpolate one year's NDVI to `SEASON_DAYS`; NaN outside the observations and in long gaps.

    Parameters
    ----------
    dates
        Rising, of one year.
    values
        As many, without NaN.
    """
    days = dates.day_of_year.to_numpy()
    if len(days) == 0:
        return np.full(len(SEASON_DAYS), np.nan)
    after = np.searchsorted(days, SEASON_DAYS)
    before = np.searchsorted(days, SEASON_DAYS, side="right") - 1
    inside = (before >= 0) & (after < len(days))
    gap = np.where(inside, days[np.minimum(after, len(days) - 1)] - days[before], np.inf)
    curve = np.interp(SEASON_DAYS, days, values.to_numpy())
    return np.where(gap <= LONGEST_GAP, curve, np.nan)


def _departure(now: pd.DataFrame, middle: npt.NDArray[np.float64]) -> float | None:
    """Mean departure of the last month's observations from the median of past years."""
    if now.empty:
        return None
    dates = pd.DatetimeIndex(now["date"])
    recent = dates > dates[-1] - pd.Timedelta(days=RECENT_DAYS)
    usual = np.interp(dates[recent].day_of_year, SEASON_DAYS, middle)
    departure = now["ndvi"].to_numpy()[recent] - usual
    return round(float(departure.mean()), 4) if np.isfinite(departure).all() else None


def _numbers(values: npt.NDArray[np.floating]) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]
