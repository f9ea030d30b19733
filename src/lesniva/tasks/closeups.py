"""What is seen of single alerts: their indices through time, and pictures before and after.

For the few alerts that a report shows closely. Their tasks read small windows of the archive again,
as no state keeps observations.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import shapely.affinity
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from lesniva import aoi, change, cube, indices
from lesniva.change.cusum import SIGMA_STEP
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import UnreadableSceneError
from lesniva.storage import whole_file
from lesniva.tasks.observing import HALO, READ_THREADS, BlockReport, Observing, usable

SIDE = 96
"""Pixels along the edge of a picture."""

LEAST_GROUND = 960.0
"""Metres that a picture shows at least: ten a pixel, as fine as the sensor sees."""

MOST_GROUND = 3_840.0
"""Metres that it shows at most; of a larger alert, the middle."""

AROUND = 2.0
"""A picture is so many times as wide as its alert."""

LEAST_SEEN = 0.5
"""Share of an alert's pixels that must be clear for their mean to count."""

COLOURS = (("red", "green", "blue"), ("swir22", "nir08", "red"), ("swir22", "nir", "red"))
"""Bands of a picture, best first; the others are false colours, where cut forest is purple."""

LEAST_CLEAR = 0.9
"""Share of what a picture can show that should be clear."""

Outlines = Mapping[str, str]
"""Alert id → polygon in EPSG:4326, as WKB in hexadecimal: text, as it names caches."""


def on_grid(outline: str, crs: Any) -> BaseGeometry:
    """Bring the polygon of an alert into the projection of a block."""
    degrees = gpd.GeoSeries.from_wkb([outline], crs="EPSG:4326")
    shape: BaseGeometry = degrees.to_crs(str(crs)).iloc[0]
    return shape


def view(shape: BaseGeometry, crs: Any) -> GeoBox:
    """Square that a picture of an alert shows, `SIDE` pixels wide, around its middle."""
    west, south, east, north = shape.bounds
    ground = AROUND * max(east - west, north - south)
    half = min(max(ground, LEAST_GROUND), MOST_GROUND) / 2
    x, y = (west + east) / 2, (south + north) / 2
    return GeoBox.from_bbox((x - half, y - half, x + half, y + half), crs=crs, shape=(SIDE, SIDE))


def in_view(shape: BaseGeometry, square: GeoBox) -> list[list[tuple[float, float]]]:
    """Give the rings of an alert as shares of its picture's width and height, from its top left."""
    pixels = shapely.affinity.affine_transform(shape, (~square.affine).to_shapely())
    shares = shapely.affinity.scale(pixels, 1 / SIDE, 1 / SIDE, origin=(0, 0))
    return [
        [(round(x, 4), round(y, 4)) for x, y in ring.coords]
        for part in shapely.get_parts(shares)
        for ring in (part.exterior, *part.interiors)
    ]


def series_block(
    *,
    block: aoi.Block,
    days: Sequence[cube.SolarDay],
    how: Observing,
    names: Sequence[str],
    outlines: Outlines,
    out: Path,
) -> BlockReport:
    """Follow some alerts of a block through time, into a Parquet file.

    Parameters
    ----------
    days
        Rising.
    how
        What to read: the bands of all the indices, and those that tell clear sky.
    names
        Indices.
    outlines
        Of an alert that reaches further than `SIDE` pixels beyond the block the rest is left out.
    out
        ``.parquet`` file: ``alert_id``, ``date``, ``clear`` (share of its picture that is clear),
        and for each index the mean over the alert, NaN where less than `LEAST_SEEN` of it is clear.
    """
    crs = block.geobox.crs
    shapes = {alert: on_grid(outline, crs) for alert, outline in outlines.items()}
    views = {alert: view(shape, crs).extent.geom for alert, shape in shapes.items()}
    window = _cropped(block.padded(SIDE), shapely.total_bounds(list(views.values())))
    places = {alert: _pixels(shape, window) for alert, shape in shapes.items()}
    pictures = {alert: _pixels(square, window) for alert, square in views.items()}

    def one(day: cube.SolarDay) -> tuple[list[dict[str, Any]], str | None]:
        try:
            bands = cube.read_day(day, window, how.bands, access=how.access)
        except UnreadableSceneError as error:
            return [], str(error)
        clear = usable(bands)
        values = {name: _index(name, bands, clear) for name in names}
        rows = [
            {
                "alert_id": alert,
                "date": day.date,
                "clear": _share(clear[pictures[alert]]),
                **{name: _mean(value[place]) for name, value in values.items()},
            }
            for alert, place in places.items()
        ]
        return rows, None

    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = list(pool.map(one, days))
    unreadable = {
        name: fault
        for day, (_, fault) in zip(days, read, strict=True)
        if fault is not None
        for name in day.ids
    }
    if len(unreadable) == sum(len(day.ids) for day in days):
        return BlockReport(unreadable=unreadable)
    out = out.with_suffix(f".partial{out.suffix}") if unreadable else out
    table = pd.DataFrame([row for rows, _ in read for row in rows])
    with whole_file(out) as temporary:
        table.to_parquet(temporary, index=False)
    return BlockReport(len(days), unreadable, {"series": out})


def _cropped(geobox: GeoBox, bounds: npt.NDArray[np.floating]) -> GeoBox:
    """Cut a grid to the pixels that bounds touch."""
    west, south, east, north = bounds
    first_col, first_row = ~geobox.affine * (west, north)
    end_col, end_row = ~geobox.affine * (east, south)
    rows = slice(max(math.floor(first_row), 0), math.ceil(end_row))
    cols = slice(max(math.floor(first_col), 0), math.ceil(end_col))
    return geobox[rows, cols]


def _pixels(shape: BaseGeometry, window: GeoBox) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = geometry_mask([shape], window.shape, window.affine, invert=True)
    return inside


def _index(
    name: str, bands: Mapping[str, npt.NDArray[Any]], clear: npt.NDArray[np.bool_]
) -> npt.NDArray[np.floating]:
    scaled = np.empty(clear.shape, dtype=np.int16)
    indices.scaled(name, bands, clear, scaled)
    return indices.from_scaled(scaled)


def _share(clear: npt.NDArray[np.bool_]) -> float:
    return float(clear.mean()) if clear.size else 0.0


def _mean(values: npt.NDArray[np.floating]) -> float:
    seen = values[np.isfinite(values)]
    return float(seen.mean()) if seen.size and seen.size >= LEAST_SEEN * values.size else np.nan


def pictures_block(
    *,
    block: aoi.Block,
    days: Sequence[cube.SolarDay],
    how: Observing,
    outlines: Outlines,
    wanted: Mapping[str, Sequence[str]],
    out: Path,
) -> BlockReport:
    """Cut pictures of some alerts out of scenes, into an ``.npz`` file.

    Parameters
    ----------
    days
        At least the wanted ones.
    how
        The three bands to read.
    wanted
        Alert id → ISO dates.
    out
        Arrays (3, y, x) int16 harmonised DN, missing `NODATA_INT16`, named ``ALERT@DATE``; a scene
        that cannot be read leaves its pictures out.
    """
    by_date = {str(day.date): day for day in days}
    cut: dict[str, npt.NDArray[np.int16]] = {}
    unreadable: dict[str, str] = {}
    for alert, dates in wanted.items():
        square = view(on_grid(outlines[alert], block.geobox.crs), block.geobox.crs)
        for date in dates:
            try:
                bands = cube.read_day(by_date[date], square, how.bands, access=how.access)
            except UnreadableSceneError as error:
                unreadable |= dict.fromkeys(by_date[date].ids, str(error))
                continue
            cut[f"{alert}@{date}"] = np.stack([bands[band] for band in how.bands])
    out = out.with_suffix(f".partial{out.suffix}") if unreadable else out
    with whole_file(out) as temporary:
        np.savez(temporary, **cut)  # type: ignore[arg-type]
    return BlockReport(len(days), unreadable, {"pictures": out})


def before_and_after(series: pd.DataFrame, last_normal: Any, first_anomaly: Any) -> dict[str, str]:
    """Choose the days of the pictures of one alert.

    Parameters
    ----------
    series
        Its rows of `series_block`, rising.
    last_normal, first_anomaly
        Dates between which the change lies; NaT where not known.

    Returns
    -------
    dict
        ``before``: the last clear day not after `last_normal` (else before `first_anomaly`),
        ``after``: the first clear day from `first_anomaly` on, as ISO dates. Clear is
        `LEAST_CLEAR` of what the clearest day shows: at the edge of the scenes no day shows all. A
        side without any day that shows something is left out.
    """
    dates = pd.DatetimeIndex(series["date"])
    first, last = pd.Timestamp(first_anomaly), pd.Timestamp(last_normal)
    sides = {
        "before": series[dates < first] if pd.isna(last) else series[dates <= last],
        "after": series[dates >= first],
    }
    chosen = {}
    for side, rows in sides.items():
        seen = rows[rows["clear"] > 0]
        if len(seen):
            clear = seen[seen["clear"] >= LEAST_CLEAR * seen["clear"].max()]
            chosen[side] = str(clear["date"].iloc[-1 if side == "before" else 0])[:10]
    return chosen


Model = tuple[list[float], float]
"""Coefficients of a seasonal model as in `change.fit`, and its noise, in index units."""


def model_of(state: xr.Dataset, block: aoi.Block, outline: str) -> Model | None:
    """Mean of the models that the monitor has for the pixels of an alert.

    The models are linear in their coefficients: the mean of the coefficients is the model of the
    mean.

    Parameters
    ----------
    state
        ``coefficients``, ``sigma`` and ``status`` of the block with its halo, packed or not.
    """
    place = _pixels(on_grid(outline, block.geobox.crs), block.padded(HALO))
    place &= state["status"].values < Status.NOT_FOREST
    if not place.any():
        return None
    packed = state["sigma"].dtype == np.uint16
    coefficients = state["coefficients"].values[:, place].mean(axis=1)
    sigma = float(state["sigma"].values[place].mean())
    if packed:
        return (coefficients / INDEX_SCALE).tolist(), sigma * SIGMA_STEP
    return coefficients.tolist(), sigma


def fitted_model(series: pd.Series, *, history_end: np.datetime64) -> Model | None:
    """Seasonal model of the history of one series, fitted as the monitor fits its own.

    Parameters
    ----------
    series
        Means by date, rising, without gaps.
    """
    history = series[series.index <= pd.Timestamp(history_end)]
    if history.empty:
        return None
    stack = np.full((len(history), 1, 1), NODATA_INT16, dtype=np.int16)
    stack[:, 0, 0] = np.rint(history * INDEX_SCALE)
    dates = history.index.to_numpy().astype("datetime64[D]")
    model = change.fit(xr.DataArray(stack, dims=("time", "y", "x")), dates)
    if int(model["status"].item()) != Status.NONE:
        return None
    return model["coefficients"].values[:, 0, 0].tolist(), float(model["sigma"].item())
