"""Weather of a job: the user's file, or a service whose answers are kept."""

import datetime as dt
from pathlib import Path

import geopandas as gpd
import pandas as pd

from lesniva import weather
from lesniva.config import WeatherSection
from lesniva.errors import EnvironmentFaultError
from lesniva.pipeline.running import STATE, Report, stage
from lesniva.sources import meteo
from lesniva.storage import whole_file

CREDITS = {
    "nasa-power": "weather: NASA Langley Research Center POWER Project",
    "era5-land": "contains modified Copernicus Climate Change Service information (ERA5-Land)",
}
"""What the services ask to be said of their data."""


def weather_of(
    wanted: WeatherSection,
    report: Report,
    districts: gpd.GeoDataFrame,
    *,
    start: dt.date,
    end: dt.date,
) -> pd.DataFrame:
    """Daily weather of districts.

    Days of a service are asked for once and kept in the job's own memory: a later run asks for
    those that have come since.

    Parameters
    ----------
    wanted
        What the pipeline file says.
    districts
        ``adm_id`` and polygons.
    start, end
        First and last day of use.

    Raises
    ------
    InputError, SourceError, CredentialsError
        As `weather.read` and the services.
    """
    with stage(report, "weather"):
        if wanted.file is not None:
            table = weather.read(wanted.file, districts)
        else:
            table = _of_service(wanted, report.folder, districts, start, end)
            report.credits.append(CREDITS[wanted.source])
    told_by = wanted.file.name if wanted.file is not None else wanted.source
    last = table["date"].max()
    report.results["weather_from"] = told_by
    report.words.append(f"weather from {told_by}, to {last:%Y-%m-%d}")
    return table


def _of_service(
    wanted: WeatherSection, folder: Path, districts: gpd.GeoDataFrame, start: dt.date, end: dt.date
) -> pd.DataFrame:
    path = folder / STATE / "weather" / f"{wanted.source}.parquet"
    kept = _kept(path)
    points = districts.set_index("adm_id").to_crs("EPSG:4326").representative_point()
    asked_from: dict[dt.date, dict[str, tuple[float, float]]] = {}
    for adm_id, point in points.items():
        days = kept.loc[kept["adm_id"] == adm_id, "date"]
        known = not days.empty and days.min().date() <= start
        first = days.max().date() + dt.timedelta(days=1) if known else start
        asked_from.setdefault(first, {})[str(adm_id)] = (point.x, point.y)
    service = meteo.nasa_power if wanted.source == "nasa-power" else meteo.era5_land
    address = {} if wanted.url is None else {"url": wanted.url}
    for first, places in asked_from.items():
        if first > end:
            continue
        told = service(places, start=first, end=end, **address)
        told = weather.checked(told, list(places), what=f"weather of {wanted.source}")
        # what is not there yet comes with a later run
        told = told.dropna(how="all", subset=told.columns[2:])
        kept = pd.concat([kept, told]).drop_duplicates(["adm_id", "date"], keep="first")
        with whole_file(path) as temporary:
            kept.to_parquet(temporary, index=False)
    table = weather.checked(kept, districts["adm_id"], what=f"weather of {wanted.source}")
    return weather.completed(table, districts)


def _kept(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame({"adm_id": [], "date": pd.to_datetime([])})
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise EnvironmentFaultError(f"{path} is damaged ({error}); remove it") from error
