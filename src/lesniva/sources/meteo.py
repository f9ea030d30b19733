"""Daily weather of places: NASA POWER (no account) and ERA5-Land by the Climate Data Store.

Both are asked for points, one request a place, and answer with one value a day. The names of the
columns are those of `lesniva.weather`.
"""

import datetime as dt
import io
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pandas as pd

from lesniva.errors import CredentialsError, SourceError
from lesniva.progress import progress
from lesniva.sources.remote import fetch, fetch_json, redact, redact_text

Point = tuple[float, float]
"""Longitude and latitude, degrees."""

POWER = "https://power.larc.nasa.gov/api/temporal/daily/point"
POWER_PARAMETERS = {"T2M_MIN": "tmin", "T2M_MAX": "tmax", "T2M": "tmean", "PRECTOTCORR": "prec"}

CDS = "https://cds.climate.copernicus.eu/api"
CDS_KEY = "CDSAPI_KEY"
"""Environment variable with the personal access token of the Climate Data Store."""

ERA5_LAND = "reanalysis-era5-land-timeseries"
ERA5_LAND_VARIABLES = (
    "2m_temperature",
    "total_precipitation",
    "volumetric_soil_water_layer_1",
    "volumetric_soil_water_layer_2",
    "snow_depth",
)

SOIL_LAYERS = {"swvl1": 0.25, "swvl2": 0.75}
"""Soil water of 0-7 and 7-28 cm, and the share of each in 0-28 cm."""

POLL_SECONDS = 5.0
"""Between two looks at a job of the Climate Data Store."""

PATIENCE_SECONDS = 3600.0
"""A job that takes longer than this stands in a queue that another day may be shorter."""

ZERO_CELSIUS = 273.15


def nasa_power(
    places: Mapping[str, Point], *, start: dt.date, end: dt.date, url: str = POWER
) -> pd.DataFrame:
    """Ask NASA POWER (MERRA-2, 0.5° × 0.625°) for the daily weather of places.

    Parameters
    ----------
    places
        ``adm_id`` → longitude, latitude.
    start, end
        First and last day, both included; days not there yet are left out.
    url
        The daily point API.

    Returns
    -------
    DataFrame
        ``adm_id, date, tmin, tmax, tmean`` (°C), ``prec`` (mm/day); NaN where POWER has none.

    Raises
    ------
    SourceError, CredentialsError
        As `remote.fetch`; an answer of another shape too.
    """

    def ask(place: Point) -> pd.DataFrame:
        asked = {
            "parameters": ",".join(POWER_PARAMETERS),
            "community": "AG",
            "longitude": f"{place[0]:.4f}",
            "latitude": f"{place[1]:.4f}",
            "start": f"{start:%Y%m%d}",
            "end": f"{end:%Y%m%d}",
            "format": "JSON",
        }
        return _of_power(fetch_json(f"{url}?{urlencode(asked)}"), url)

    return _of_places(places, ask)


def era5_land(
    places: Mapping[str, Point],
    *,
    start: dt.date,
    end: dt.date,
    url: str = CDS,
    key: str | None = None,
) -> pd.DataFrame:
    """Ask the Climate Data Store for the daily weather of places by ERA5-Land (0.1°).

    The hourly series of a point becomes the minimum, maximum and mean of its UTC days, and their
    sum of rain; soil moisture (0-28 cm) and the depth of the snow are means of the day.

    Parameters
    ----------
    places, start, end
        As for `nasa_power`.
    url
        Root of the API.
    key
        Personal access token; by default from the environment (`CDS_KEY`).

    Raises
    ------
    CredentialsError
        There is no token, or it is refused, or the licence of the data set is not accepted.
    SourceError
        As `remote.fetch`; a job that failed, or was not done within `PATIENCE_SECONDS`.
    """
    key = key or os.environ.get(CDS_KEY, "")
    if not key:
        raise CredentialsError(
            f"ERA5-Land needs a personal access token of the Climate Data Store in {CDS_KEY}; "
            "make an account there, accept the licence of the data set and set the variable"
        )
    headers = {"PRIVATE-TOKEN": key}

    def ask(place: Point) -> pd.DataFrame:
        inputs = {
            "variable": list(ERA5_LAND_VARIABLES),
            "location": {"longitude": round(place[0], 4), "latitude": round(place[1], 4)},
            # the first hour of the next day closes the last day's sum of rain
            "date": [f"{start}/{end + dt.timedelta(days=1)}"],
            "data_format": "csv",
        }
        hourly = _csv_tables(_job(url, headers, inputs), url)
        return _daily(hourly, start, end)

    return _of_places(places, ask)


def _of_places(places: Mapping[str, Point], ask: Callable[[Point], pd.DataFrame]) -> pd.DataFrame:
    tables = []
    with progress("weather", len(places)) as advance:
        for adm_id, place in places.items():
            table = ask(place)
            table.insert(0, "adm_id", adm_id)
            tables.append(table)
            advance(1)
    return pd.concat(tables, ignore_index=True)


def _of_power(answer: Any, url: str) -> pd.DataFrame:
    try:
        series = answer["properties"]["parameter"]
        missing = float(answer["header"]["fill_value"])
        table = pd.DataFrame({name: series[asked] for asked, name in POWER_PARAMETERS.items()})
        dates = pd.to_datetime(table.index, format="%Y%m%d")
    except (KeyError, TypeError, ValueError) as error:
        said = answer.get("messages", "") if isinstance(answer, dict) else ""
        raise SourceError(
            f"{redact(url)} answers without daily weather ({redact_text(str(said or error))}); "
            "try again later"
        ) from error
    table = table.astype(np.float64)
    table = table.mask(table == missing).rename_axis(None).reset_index(drop=True)
    table.insert(0, "date", dates)
    return table


def _job(url: str, headers: Mapping[str, str], inputs: Mapping[str, Any]) -> bytes:
    """Hand in a job, wait for it, and fetch its file."""
    asked = f"{url}/retrieve/v1/processes/{ERA5_LAND}/execution"
    job = fetch_json(asked, method="POST", body={"inputs": inputs}, headers=headers)
    number = _member(job, url, "jobID")
    where = f"{url}/retrieve/v1/jobs/{number}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    status = _member(job, url, "status")
    while status in ("accepted", "running"):
        if time.monotonic() > deadline:
            raise SourceError(
                f"{redact(where)} is still {status} after {PATIENCE_SECONDS / 60:.0f} minutes; "
                "run again later"
            )
        time.sleep(POLL_SECONDS)
        status = _member(fetch_json(where, headers=headers), url, "status")
    if status != "successful":
        raise SourceError(f"{redact(where)}: the job is {status}; look at it on the site")
    result = fetch_json(f"{where}/results", headers=headers)
    address = str(_member(result, url, "asset", "value", "href"))
    # the file lies in an object store: the token stays here
    if urlsplit(address).scheme != "https" and urlsplit(address).netloc != urlsplit(url).netloc:
        raise SourceError(f"{redact(url)} names a file at {redact(address)}, which is not https")
    return bytes(fetch(address).content)


def _member(answer: Any, url: str, *names: str) -> Any:
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise SourceError(f"{redact(url)} answers without {'.'.join(names)}; try again later")
        answer = answer[name]
    return answer


def _csv_tables(content: bytes, url: str) -> pd.DataFrame:
    """Hourly values by time: one CSV, or a ZIP with one for each group of variables."""
    texts = [content]
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                texts = [archive.read(name) for name in archive.namelist()]
        tables = [pd.read_csv(io.BytesIO(text), parse_dates=["valid_time"]) for text in texts]
        joined = pd.concat([table.set_index("valid_time") for table in tables], axis=1)
        also = [name for name in (*SOIL_LAYERS, "sde") if name in joined]
        return joined[["t2m", "tp", *also]].sort_index().astype(np.float64)
    except (zipfile.BadZipFile, KeyError, ValueError, pd.errors.ParserError) as error:
        raise SourceError(
            f"{redact(url)} gives a file without hourly t2m and tp ({error}); try again later"
        ) from error


def _daily(hourly: pd.DataFrame, start: dt.date, end: dt.date) -> pd.DataFrame:
    celsius = hourly["t2m"] - ZERO_CELSIUS
    by_day = celsius.groupby(pd.DatetimeIndex(hourly.index).floor("D"))
    table = pd.DataFrame({"tmin": by_day.min(), "tmax": by_day.max(), "tmean": by_day.mean()})
    table["prec"] = 1000 * _rain(hourly["tp"])
    means = hourly.groupby(pd.DatetimeIndex(hourly.index).floor("D")).mean()
    if set(SOIL_LAYERS) <= set(hourly):
        table["soil_moisture"] = sum(share * means[name] for name, share in SOIL_LAYERS.items())
    if "sde" in hourly:
        # the packing of the files makes zeros slightly negative
        table["snow_depth"] = 100 * means["sde"].clip(lower=0.0)
    whole = by_day.size() == 24
    table = table[whole].loc[pd.Timestamp(start) : pd.Timestamp(end)]
    return table.rename_axis("date").reset_index()


def _rain(tp: "pd.Series[float]") -> "pd.Series[float]":
    """Rain of each day, m, from hourly sums or from sums that run since midnight.

    The value of an hour is of the hour before it. ERA5-Land's own files run up from 01:00 to 00:00
    of the next day; which of both a series is shows in whether it ever falls within a day.
    """
    ended = pd.DatetimeIndex(tp.index) - pd.Timedelta(hours=1)
    day = ended.floor("D")
    falls = (tp.diff() < -1e-7)[(ended.hour > 0)]
    of_day = tp.groupby(day)
    total = of_day.sum(min_count=24) if falls.any() else of_day.max().where(of_day.size() == 24)
    return total.clip(lower=0.0)
