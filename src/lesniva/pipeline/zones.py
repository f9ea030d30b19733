"""Zonal NDVI without a single pixel: the Statistical API averages, only numbers travel."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from lesniva import aoi, publish
from lesniva.errors import InputError
from lesniva.sources import Skipped, sentinelhub, statistical


@dataclass(frozen=True)
class Zones:
    """What is to be averaged, and what that would cost."""

    area: aoi.Area
    """Its districts are the zones."""
    start: dt.date
    end: dt.date
    """Last day, included."""
    interval_days: int
    resolution: float
    """Pixel size in metres."""

    @property
    def units(self) -> float:
        """Processing units, estimated; asks nothing."""
        days = (self.end - self.start).days + 1
        return sum(
            statistical.statistical_units(
                outline, days=days, interval_days=self.interval_days, resolution=self.resolution
            )
            for outline in self.area.districts.geometry
        )


def zones_of(
    file: Path,
    *,
    start: dt.date,
    end: dt.date,
    interval_days: int = 10,
    resolution: float = 10.0,
) -> Zones:
    """Read the zones of an area file: districts, fields or any other polygons with an id.

    Raises
    ------
    InputError
        The file or the period is wrong.
    """
    if start > end:
        raise InputError(f"start {start} is after end {end}: swap them")
    return Zones(aoi.load(file), start, end, interval_days, resolution)


def zonal_ndvi(
    zones: Zones, account: sentinelhub.Account, out: Path, *, max_units: float
) -> list[Skipped]:
    """Ask a service for the NDVI of zones, interval by interval, and write the table as CSV.

    Parameters
    ----------
    zones
        From `zones_of`.
    account
        From `sources.sentinelhub.account`.
    out
        CSV file: ``zone_id name_en`` and the columns of `sources.statistical.zonal_ndvi`.
    max_units
        Nothing is asked when the estimate is above.

    Returns
    -------
    list of Skipped
        Zones and intervals that the service failed at.

    Raises
    ------
    InputError
        It would cost more than `max_units`.
    SourceError, CredentialsError, NoDataError
        As for every source; nothing is written then.
    """
    if zones.units > max_units:
        raise InputError(
            f"{len(zones.area.districts)} zones would cost {zones.units:.1f} processing units, "
            f"more than {max_units:g}; shorten the period, lengthen the interval or allow more"
        )
    failed: list[Skipped] = []
    districts = zones.area.districts
    table = statistical.zonal_ndvi(
        sentinelhub.Service(account),
        dict(districts.geometry.items()),
        start=zones.start,
        end=zones.end,
        interval_days=zones.interval_days,
        resolution=zones.resolution,
        on_skipped=failed.append,
    )
    table.insert(1, "name_en", table["zone_id"].map(districts["name_en"]))
    publish.write_csv(out, table)
    return failed
