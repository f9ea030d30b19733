"""One row per (district, crop, year, cut-off), made of what was known on the day."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError
from lesniva.features import sky
from lesniva.features.curve import SPRING, Floats, nanmax, phenology, smooth

IMAGERY_LATENCY_DAYS = 2
"""Days from a Sentinel-2 pass to its L2A scene in the catalogues."""

WEATHER_LATENCY_DAYS = 5
"""Days from a day to its ERA5-Land values."""

MIN_CLEAR_SHARE = 0.05
"""A district seen less than this on a day was not seen."""

COVER_KNOWN_FROM = "05-12"
"""Winter and spring-sown fields are told apart by observations up to 10 May, which are known two
days later."""

WINTER_CROPS = frozenset(
    {"winter_wheat", "winter_barley", "winter_rye", "winter_triticale", "winter_rapeseed"}
)

LAST_DEKADS = 6
"""How many dekads before the cut-off are features of their own."""

KEY = ("adm_id", "crop", "year", "cutoff")

GDD_BASE = {"maize": 8.0, "soybean": 8.0, "sunflower": 8.0, "sugar_beet": 5.0}
"""Base temperature, °C, of growing degree days; 0 for cereals."""


def features(
    observations: pd.DataFrame,
    *,
    crop: str,
    years: Sequence[int],
    cutoff: str,
    weather: pd.DataFrame | None = None,
    places: pd.DataFrame | None = None,
    climatology_years: Iterable[int] | None = None,
    cover: str | None = None,
    latency_days: int = IMAGERY_LATENCY_DAYS,
    weather_latency_days: int = WEATHER_LATENCY_DAYS,
) -> pd.DataFrame:
    """Features of every district and harvest year as they were known at the cut-off.

    Parameters
    ----------
    observations
        One row per ``adm_id, cover, date``: ``ndvi`` (coverage-weighted mean over clear pixels),
        ``weight`` (hectares of clear pixels), ``clear_share`` (0-1); further indices in float
        columns (``ndre``, ``evi2``) are taken along.
    crop
        Name of the crop; decides the cover and the base temperature.
    years
        Harvest years wanted; each gives a row for every district, all NaN where it was not seen.
    cutoff
        Last day whose data is known, ``MM-DD``; October to December mean the autumn before.
    weather
        One row per ``adm_id, date``: any of ``tmin, tmax, tmean`` (°C), ``prec, et0`` (mm/day),
        ``soil_moisture`` (m³/m³), ``snow_depth`` (cm).
    places
        What does not change from year to year: one row per ``adm_id``, float columns (``lat``,
        ``lon``, ``soil_awc`` …), which are taken along as they are.
    climatology_years
        With years given, ``*_anom`` columns (minus the district's mean of those years) and
        ``ndvi_vci`` are added. For training leave it out: the forecaster fits its own climatology
        inside each fold.
    cover
        Class to look at; by default winter or spring-sown fields where they can be told apart at
        the cut-off in every year, else all cropland.
    latency_days, weather_latency_days
        Days from acquisition to availability.

    Returns
    -------
    DataFrame
        ``adm_id, crop, year, cutoff`` (date), ``cover``, then float columns: ``ndvi_d{k}`` (dekad
        k of the year, the last six), ``ndvi_last``, ``ndvi_peak``, ``ndvi_peak_doy``, ``ndvi_int``
        (NDVI·days since 1 March), ``ndvi_int_30d``, ``sos_doy``, ``greenup_rate`` (per day),
        ``days_ndvi_above_05``, ``ndvi_autumn`` (October-November), ``ndvi_winter_loss``,
        ``senescence_rate`` (per day), peak and last value of other indices; at most
        `sky.MAX_COLUMNS` columns of weather; those of `places`; and quality: ``qa_n_obs``,
        ``qa_clear_share``, ``qa_days_since_obs``, ``qa_area_ha``.

    Raises
    ------
    InputError
        Columns are missing, values out of range, keys repeated; all faults in one message.
    """
    _check(observations, weather, places, cutoff, years)
    seen = _normalised(observations)
    seen = seen[(seen["clear_share"] >= MIN_CLEAR_SHARE) & seen["ndvi"].notna()]
    adm_ids = sorted(observations["adm_id"].astype(str).unique())
    years = sorted({int(year) for year in years})
    known = {year: _known(seen, year, cutoff, latency_days) for year in years}
    cover = _cover(known, crop, cutoff) if cover is None else cover
    tables = []
    for year in years:
        rows = known[year][known[year]["cover"] == cover]
        table = _of_year(rows, adm_ids, year, cutoff)
        if weather is not None:
            base = GDD_BASE.get(crop, 0.0)
            part = _known(_normalised(weather), year, cutoff, weather_latency_days)
            winter = crop in WINTER_CROPS
            table = table.join(sky.weather_columns(part, table, year, base=base, winter=winter))
        if places is not None:
            table = table.join(_places(places, table))
        table.insert(0, "crop", crop)
        table.insert(1, "year", year)
        table.insert(2, "cutoff", pd.Timestamp(cutoff_date(year, cutoff)))
        table.insert(3, "cover", cover)
        tables.append(table.rename_axis("adm_id").reset_index())
    result = pd.concat(tables, ignore_index=True)
    told = [name for name in sky.COLUMNS if name in result]
    result = result.drop(columns=told[sky.MAX_COLUMNS :])
    return result if climatology_years is None else anomalies(result, years=climatology_years)


def anomalies(table: pd.DataFrame, *, years: Iterable[int]) -> pd.DataFrame:
    """Add what each value is against the district's normal.

    Parameters
    ----------
    table
        As `features` gives it, one crop and cut-off.
    years
        The years normal is taken from; to judge a forecast, only years before the one judged.

    Returns
    -------
    DataFrame
        `table` with ``{name}_anom`` = value minus the mean of the district over `years`, and
        ``ndvi_vci`` = place of ``ndvi_last`` between the lowest and highest of those years, %
        (vegetation condition index, Kogan 1995); NaN where the district was not seen in them.
    """
    names = [
        name
        for name in table.select_dtypes("number")
        if name not in KEY and not str(name).startswith("qa_")
    ]
    normal = table[table["year"].isin(list(years))].groupby("adm_id")
    mean = normal[names].mean().reindex(table["adm_id"]).to_numpy()
    last = normal["ndvi_last"]
    low = last.min().reindex(table["adm_id"]).to_numpy(dtype=np.float64)
    high = last.max().reindex(table["adm_id"]).to_numpy(dtype=np.float64)
    deviation = pd.DataFrame(
        table[names].to_numpy() - mean, index=table.index, columns=[f"{n}_anom" for n in names]
    )
    span = np.where(high > low, high - low, np.nan)
    deviation["ndvi_vci"] = 100 * (table["ndvi_last"].to_numpy() - low) / span
    return pd.concat([table, deviation], axis=1)


def _known(table: pd.DataFrame, year: int, cutoff: str, latency_days: int) -> pd.DataFrame:
    """Rows of a harvest year that were available at its cut-off."""
    start = np.datetime64(f"{year - 1}-09-01")
    end = cutoff_date(year, cutoff) - np.timedelta64(latency_days, "D")
    return table[(table["date"] >= start) & (table["date"] <= end)]


def cover_at(cover: str, cutoff: str) -> str:
    """Return the cover to look at on a day: cropland before winter and summer crops are told apart.

    Examples
    --------
    >>> cover_at("winter", "06-30"), cover_at("winter", "04-30")
    ('winter', 'cropland')
    """
    told = COVER_KNOWN_FROM <= cutoff < "10"
    return "cropland" if cover in ("winter", "summer") and not told else cover


def _cover(known: dict[int, pd.DataFrame], crop: str, cutoff: str) -> str:
    """Choose the class to look at, the same in all years, so that they can be compared."""
    wanted = cover_at("winter" if crop in WINTER_CROPS else "summer", cutoff)
    seen = [set(rows["cover"]) for rows in known.values() if len(rows)]
    return wanted if seen and all(wanted in covers for covers in seen) else "cropland"


def _of_year(rows: pd.DataFrame, adm_ids: list[str], year: int, cutoff: str) -> pd.DataFrame:
    start = _dekad(np.datetime64(f"{year - 1}-09-01"))
    end = _dekad(cutoff_date(year, cutoff))
    count = int(end - start) + 1
    row = pd.Index(adm_ids).get_indexer(pd.Index(rows["adm_id"]))
    column = _dekad(rows["date"].to_numpy()) - start
    share = rows["clear_share"].to_numpy()
    shape = (len(adm_ids), count)
    trust = np.minimum(_binned(row, column, share, shape), 1.0)
    series = {
        name: smooth(_binned_mean(row, column, rows[name].to_numpy(), share, shape), trust)
        for name in _indices(rows)
    }
    days = _mid_days(year, count, cutoff)
    table = pd.DataFrame(phenology(series["ndvi"], days, year), index=pd.Index(adm_ids))
    for k in range(max(count - LAST_DEKADS, 0), count):
        table[f"ndvi_d{(start + k) % 36 + 1:02d}"] = series["ndvi"][:, k]
    spring = days >= np.datetime64(f"{year}-{SPRING}")
    for name, values in series.items():
        if name != "ndvi":
            table[f"{name}_peak"] = nanmax(values[:, spring])
            table[f"{name}_last"] = values[:, -1]
    return table.join(_quality(rows, adm_ids, cutoff_date(year, cutoff)))


def _places(places: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Give each district what stays the same; nothing where the season was not seen."""
    still = places.astype({"adm_id": str}).set_index("adm_id").reindex(table.index)
    season = [name for name in table if not str(name).startswith("qa_")]
    return still.astype(np.float64).where(table[season].notna().any(axis=1))


def _quality(rows: pd.DataFrame, adm_ids: list[str], cutoff: np.datetime64) -> pd.DataFrame:
    groups = rows.groupby("adm_id")
    quality = pd.DataFrame(index=pd.Index(adm_ids))
    quality["qa_n_obs"] = groups.size().reindex(adm_ids).fillna(0).astype(np.float64)
    quality["qa_clear_share"] = groups["clear_share"].mean().reindex(adm_ids)
    since = pd.Timestamp(cutoff) - groups["date"].max().reindex(adm_ids)
    quality["qa_days_since_obs"] = since.dt.days.astype(np.float64)
    area = (rows["weight"] / rows["clear_share"]).groupby(rows["adm_id"]).median()
    quality["qa_area_ha"] = area.reindex(adm_ids)
    return quality


def _indices(rows: pd.DataFrame) -> list[str]:
    others = ("adm_id", "cover", "date", "weight", "clear_share")
    return ["ndvi"] + [
        str(name) for name in rows.select_dtypes("number") if name not in others and name != "ndvi"
    ]


def _dekad(date: Any) -> Any:
    """Count dekads from 1970 on, 36 a year."""
    days = np.asarray(date, dtype="datetime64[D]")
    month = days.astype("datetime64[M]")
    day = (days - month.astype("datetime64[D]")).astype(np.int64)
    return month.astype(np.int64) * 3 + np.minimum(day // 10, 2)


def _mid_days(year: int, count: int, cutoff: str) -> npt.NDArray[np.datetime64]:
    """Middle day of each dekad from 1 September on; the last one not after the cut-off."""
    number = np.arange(count)
    month = np.datetime64(f"{year - 1}-09", "M") + (number // 3).astype("timedelta64[M]")
    days: npt.NDArray[np.datetime64] = month.astype("datetime64[D]") + (
        4 + 10 * (number % 3)
    ).astype("timedelta64[D]")
    return np.minimum(days, cutoff_date(year, cutoff))


def _binned(row: Any, column: Any, values: Floats, shape: tuple[int, int]) -> Floats:
    flat = np.bincount(row * shape[1] + column, weights=values, minlength=shape[0] * shape[1])
    return np.asarray(flat, dtype=np.float64).reshape(shape)


def _binned_mean(
    row: Any, column: Any, values: Floats, weights: Floats, shape: tuple[int, int]
) -> Floats:
    present = np.isfinite(values)
    row, column, values, weights = row[present], column[present], values[present], weights[present]
    total = _binned(row, column, weights, shape)
    summed = _binned(row, column, weights * values, shape)
    return np.asarray(np.divide(summed, total, out=np.full(shape, np.nan), where=total > 0))


def _normalised(table: pd.DataFrame) -> pd.DataFrame:
    dates = pd.to_datetime(table["date"])
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    return table.assign(adm_id=table["adm_id"].astype(str), date=dates.dt.normalize())


def _check(
    observations: pd.DataFrame,
    weather: pd.DataFrame | None,
    places: pd.DataFrame | None,
    cutoff: str,
    years: Sequence[int],
) -> None:
    faults = _faults_of_observations(observations)
    if weather is not None:
        lost = [name for name in ("adm_id", "date") if name not in weather]
        if lost:
            faults.append(f"weather lacks {', '.join(lost)}")
        elif weather.duplicated(["adm_id", "date"]).any():
            faults.append("weather repeats an adm_id and date")
    if places is not None:
        if "adm_id" not in places:
            faults.append("places lack adm_id")
        elif places["adm_id"].duplicated().any():
            faults.append("places repeat an adm_id")
    try:
        cutoff_date(2001, cutoff)
    except InputError as error:
        faults.append(str(error))
    if not len(years):
        faults.append("no year is asked for")
    if faults:
        raise InputError(f"features: {'; '.join(faults)}")


def _faults_of_observations(observations: pd.DataFrame) -> list[str]:
    needed = ("adm_id", "cover", "date", "ndvi", "weight", "clear_share")
    absent = [name for name in needed if name not in observations]
    if absent:
        return [f"observations lack {', '.join(absent)}"]
    faults = []
    if not observations["ndvi"].dropna().between(-1, 1).all():
        faults.append("an NDVI is outside -1..1")
    if not observations["clear_share"].between(0, 1).all():
        faults.append("a clear_share is outside 0..1 or missing")
    repeated = int(observations.duplicated(["adm_id", "cover", "date"]).sum())
    if repeated:
        faults.append(f"{repeated} observations repeat their adm_id, cover and date")
    return faults
