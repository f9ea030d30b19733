"""Zonal NDVI from the Statistical API: fifty fields for a few processing units.

The service averages over each zone on its side; only numbers travel.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from shapely.geometry.base import BaseGeometry

from lesniva.conventions import Scl
from lesniva.errors import InputError, NoDataError, SourceError
from lesniva.progress import progress
from lesniva.sources import catalog
from lesniva.sources.catalog import OnSkipped, Skipped
from lesniva.sources.outlines import DEGREES, project
from lesniva.sources.process import MAX_SIDE, processing_units
from lesniva.sources.query import Moment, query
from lesniva.sources.sentinelhub import Service

CLEAR = (Scl.VEGETATION, Scl.NOT_VEGETATED, Scl.UNCLASSIFIED)
"""Classes whose pixels count."""

ATTEMPTS = 3
"""Times an interval that failed on the service's side is asked for."""

COLUMNS = ("zone_id", "start", "end", "ndvi", "ndvi_std", "pixels", "pixels_missing")

EVALSCRIPT = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "B08", "SCL", "dataMask"]}],
    output: [{id: "ndvi", bands: 1, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]};
}
function evaluatePixel(s) {
  const sum = s.B08 + s.B04;
  const clear = [%s].includes(s.SCL) && sum > 0.01;
  return {ndvi: [clear ? (s.B08 - s.B04) / sum : 0], dataMask: [clear ? s.dataMask : 0]};
}
""" % ", ".join(str(int(state)) for state in CLEAR)  # noqa: UP031 (braces are the script's own)


def zonal_ndvi(
    service: Service,
    zones: Mapping[str, BaseGeometry],
    *,
    start: Moment,
    end: Moment,
    interval_days: int = 10,
    resolution: float = 10.0,
    on_skipped: OnSkipped = catalog.log_skipped,
) -> pd.DataFrame:
    """Average NDVI of the clear pixels of zones, interval by interval.

    Parameters
    ----------
    service
        Whom to ask.
    zones
        Zone id → outline in WGS 84.
    start, end
        First and last day, both included.
    interval_days
        Days of an interval; the service takes one value a pixel, from the least cloudy scene.
    resolution
        Pixel size in metres; made coarser for a zone larger than the service takes.
    on_skipped
        Told of every zone or interval that failed after all tries.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row a zone and interval: ``start`` and ``end`` (UTC, end excluded), mean and
        standard deviation of NDVI (NaN without a clear pixel), pixels used and not used.

    Raises
    ------
    InputError
        No zones, or the period is wrong.
    NoDataError
        Not one interval of one zone succeeded.
    SourceError, CredentialsError
        As for every source.
    """
    wanted = query(start=start, end=end)
    if not zones or wanted.start is None or wanted.end is None:
        raise InputError("zonal NDVI needs zones, start and end")
    period = (wanted.start.isoformat(), wanted.end.isoformat())
    rows: list[dict[str, Any]] = []
    with progress("zonal NDVI", len(zones)) as advance:
        for zone_id, outline in zones.items():
            try:
                rows += _zone(
                    service, zone_id, outline, period, interval_days, resolution, on_skipped
                )
            except SourceError as error:
                on_skipped(Skipped(zone_id, str(error)))
            advance(1)
    if not rows:
        raise NoDataError(
            f"the service gave no NDVI for any of the {len(zones)} zones; check the period, "
            "and the messages above"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["zone_id", "start"], ignore_index=True)


def statistical_units(
    outline: BaseGeometry, *, days: float, interval_days: int = 10, resolution: float = 10.0
) -> float:
    """Estimate the processing units of one zone: its box, three bands, one sample an interval."""
    _, bounds, metres = _projected(outline, resolution)
    height, width = _shape(bounds, metres)
    return processing_units(height, width, 3) * math.ceil(days / interval_days)


def _zone(
    service: Service,
    zone_id: str,
    outline: BaseGeometry,
    period: tuple[str, str],
    interval_days: int,
    resolution: float,
    on_skipped: OnSkipped,
) -> list[dict[str, Any]]:
    """Ask for a zone, and again for the intervals that failed."""
    projected, bounds, metres = _projected(outline, resolution)
    waiting = [period]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for attempt in range(ATTEMPTS):
        failed: list[tuple[str, str]] = []
        for span in waiting:
            asked = _request(service, projected, span, interval_days, metres)
            units = processing_units(*_shape(bounds, metres), bands=3)
            answer = service.send(asked, units=units).decode()
            for interval, stats in _intervals(answer, zone_id):
                if stats is None:
                    failed.append(interval)
                else:
                    rows[interval] = _row(zone_id, interval, stats)
        waiting = failed
        if not waiting:
            break
        if attempt == ATTEMPTS - 1:
            for first, last in waiting:
                on_skipped(Skipped(zone_id, f"no statistics from {first} to {last}"))
    return list(rows.values())


def _projected(outline: BaseGeometry, resolution: float) -> tuple[Any, tuple[float, ...], float]:
    """Bring a zone into its UTM zone; also its bounds and the pixel size the service will take."""
    from sentinelhub.constants import CRS
    from sentinelhub.geometry import Geometry

    centre = outline.centroid
    crs = CRS.get_utm_from_wgs84(centre.x, centre.y)
    shape = project(outline, DEGREES, int(crs.epsg), step=0.05)
    west, south, east, north = shape.bounds
    coarsest = max(east - west, north - south) / MAX_SIDE
    metres = resolution * max(1, math.ceil(coarsest / resolution))
    return Geometry(shape.__geo_interface__, crs), shape.bounds, metres


def _shape(bounds: tuple[float, ...], metres: float) -> tuple[int, int]:
    west, south, east, north = bounds
    return max(math.ceil((north - south) / metres), 1), max(math.ceil((east - west) / metres), 1)


def _request(
    service: Service, zone: Any, span: tuple[str, str], interval_days: int, metres: float
) -> Any:
    from sentinelhub.api.statistical import SentinelHubStatistical
    from sentinelhub.constants import MosaickingOrder

    built = SentinelHubStatistical(
        aggregation=SentinelHubStatistical.aggregation(
            evalscript=EVALSCRIPT,
            time_interval=span,
            aggregation_interval=f"P{interval_days}D",
            resolution=(metres, metres),
        ),
        input_data=[
            SentinelHubStatistical.input_data(
                service.collection(), mosaicking_order=MosaickingOrder.LEAST_CC
            )
        ],
        geometry=zone,
        config=service.config(),
    )
    return built.download_list[0]


def _intervals(
    answer: Any, zone_id: str
) -> Iterator[tuple[tuple[str, str], Mapping[str, Any] | None]]:
    """Give each interval of an answer with its statistics, None where the service failed."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        reason = (
            answer.get("error", answer.get("status")) if isinstance(answer, dict) else "no JSON"
        )
        raise SourceError(f"zone {zone_id}: the service gave no statistics ({reason})")
    for one in data:
        interval = (one["interval"]["from"], one["interval"]["to"])
        try:
            stats = one["outputs"]["ndvi"]["bands"]["B0"]["stats"]
        except KeyError:
            stats = None
        yield interval, stats


def _row(zone_id: str, interval: tuple[str, str], stats: Mapping[str, Any]) -> dict[str, Any]:
    missing = int(stats["noDataCount"])
    used = int(stats["sampleCount"]) - missing
    return {
        "zone_id": zone_id,
        "start": pd.Timestamp(interval[0]),
        "end": pd.Timestamp(interval[1]),
        # The service writes NaN as a string.
        "ndvi": float(stats["mean"]) if used else math.nan,
        "ndvi_std": float(stats["stDev"]) if used else math.nan,
        "pixels": used,
        "pixels_missing": missing,
    }
