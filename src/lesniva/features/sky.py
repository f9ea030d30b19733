"""Daily weather of a season up to the cut-off as a few columns."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.features.curve import Floats, integral, nanmax, nanmean

COLUMNS = (
    "gdd_sos", "htk", "cwb_60d", "prec_30d", "heat_days", "frost_days", "tmin_winter",
    "soil_moisture_30d", "prec_since_april", "dry_spell",
)  # fmt: skip
"""All columns of weather, the most telling first."""

MAX_COLUMNS = 8
"""A few years cannot tell many columns apart: the first of those that the inputs allow are kept."""

SNOW_COVER = 5.0
"""cm; under less snow than this winter crops stand in the frost."""


def weather_columns(
    rows: pd.DataFrame, table: pd.DataFrame, year: int, *, base: float, winter: bool
) -> pd.DataFrame:
    """Weather of the season so far, each column where its inputs are given.

    Parameters
    ----------
    rows
        Days known at the cut-off: ``adm_id, date`` and the variables of `features`.
    table
        ``sos_doy`` and ``ndvi_peak_doy`` of each district, which is the index.
    year
        Harvest year.
    base
        Of the growing degree days, °C.
    winter
        A winter crop, to which the winter's cold matters.
    """
    start = np.datetime64(f"{year - 1}-09-01")
    days = int((rows["date"].max() - start).days) + 1 if len(rows) else 0
    doy = np.arange(days) + 1 - float((np.datetime64(f"{year}-01-01") - start).astype(int))
    row = pd.Index(table.index).get_indexer(pd.Index(rows["adm_id"]))
    column = (rows["date"].to_numpy() - start).astype("timedelta64[D]").astype(int)

    def daily(name: str) -> Floats:
        grid = np.full((len(table), days), np.nan)
        if name in rows:
            grid[row[row >= 0], column[row >= 0]] = rows[name].to_numpy(dtype=float)[row >= 0]
        return grid

    tmin, tmax, prec, et0 = daily("tmin"), daily("tmax"), daily("prec"), daily("et0")
    tmean = daily("tmean") if "tmean" in rows else (tmin + tmax) / 2
    season = doy >= np.where(np.isfinite(table["sos_doy"]), table["sos_doy"], 60.0)[:, None]
    april = doy > float(
        (np.datetime64(f"{year}-04-01") - np.datetime64(f"{year}-01-01")).astype(int)
    )
    peak = table["ndvi_peak_doy"].to_numpy()[:, None]
    warm = np.where(tmean > 10, tmean, 0.0).sum(axis=1, where=np.isfinite(tmean))
    wet = np.where((tmean > 10) & np.isfinite(prec), prec, 0.0).sum(axis=1)
    result = {
        "gdd_sos": integral(np.where(season, np.maximum(tmean - base, 0.0), np.nan)),
        "prec_30d": integral(prec[:, -30:]),
        "prec_since_april": integral(prec[:, april]),
        "cwb_60d": integral((prec - et0)[:, -60:]),
        "heat_days": integral(np.where(np.abs(doy - peak) <= 10, _above(tmax, 30.0), np.nan)),
        "frost_days": integral(np.where(season, _above(-tmin, 2.0), np.nan)),
        "dry_spell": _longest(np.where(np.isfinite(prec), prec < 1.0, False)[:, april]),
        "htk": np.divide(10 * wet, warm, out=np.full(len(table), np.nan), where=warm > 100),
    }
    result["dry_spell"] = np.where(
        np.isfinite(prec[:, april]).any(axis=1), result["dry_spell"], np.nan
    )
    if "soil_moisture" in rows:
        result["soil_moisture_30d"] = nanmean(daily("soil_moisture")[:, -30:])
    if winter:
        winter_days = (doy > -31) & (doy <= 59)  # December to February
        result["tmin_winter"] = _bare_frost(
            tmin[:, winter_days], daily("snow_depth")[:, winter_days]
        )
    frame = pd.DataFrame(result, index=table.index)
    return frame.dropna(axis=1, how="all") if len(rows) else frame


def _above(values: Floats, limit: float) -> Floats:
    return np.where(np.isfinite(values), (values > limit).astype(np.float64), np.nan)


def _bare_frost(tmin: Floats, snow: Floats) -> Floats:
    """Lowest temperature of the days without snow cover, 0 °C at most where snow was looked at.

    Without any word of snow all days count.
    """
    covered = snow >= SNOW_COVER
    lowest = -nanmax(-np.where(covered, np.nan, tmin))
    sheltered = (covered & np.isfinite(tmin)).any(axis=1)
    return np.where(sheltered, np.fmin(lowest, 0.0), lowest)


def _longest(true: npt.NDArray[np.bool_]) -> Floats:
    run = np.zeros(len(true))
    longest = np.zeros(len(true))
    for day in true.T:
        run = np.where(day, run + 1, 0.0)
        longest = np.maximum(longest, run)
    return longest
