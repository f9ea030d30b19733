"""Changed pixels become polygons with dates and area.

Changed pixels are few, so the whole area's fit into one sparse table; neighbours are joined there,
not in blocks, and no seam can appear.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio.features
import shapely
from odc.geo.geobox import GeoBox
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lesniva.conventions import EQUAL_AREA_CRS, Channel, Status, from_day_number

NAMESPACE = uuid.UUID("6f9d3c4a-0c53-5f0e-9a3b-1c2f7f1d8e55")
"""Alert ids are UUIDv5 in this name space."""

OPEN = (Status.LOW, Status.CONFIRMED, Status.WINTER_EARLY, Status.REARMED)
"""States of a pixel that belongs to an alert."""

SURE = (Status.CONFIRMED, Status.REARMED, Status.FINISHED)
"""States of a confirmed change; one that has lasted a year is watched again, but is on record."""

MAX_GAP_DAYS = 45
"""Neighbours whose first anomalies lie further apart are two events, unless the later one was not
seen in between."""

DATES = ("first_anomaly", "last_normal", "likely_day", "confirmed")
FINDINGS = ("status", *DATES, "probability", "magnitude", "n_anomalies", "channel", "faded")
"""What an alert is made of, a pixel each."""


def changed_pixels(
    found: Mapping[str, npt.NDArray[Any]],
    *,
    first_row: int,
    first_col: int,
    states: Sequence[Status] = OPEN,
) -> pd.DataFrame:
    """Take the changed pixels out of what the monitor says of a block.

    Parameters
    ----------
    found
        `FINDINGS` → (y, x) array of one block without halo: ``status``, the dates `DATES` (day
        numbers), ``probability`` (0–1), ``magnitude`` (index units), ``n_anomalies``, ``channel``;
        ``faded``, the first anomaly of a pixel whose single date of evidence was long ago, else 0.
    first_row, first_col
        Place of the block's first pixel in its grid.
    states
        Which pixels to take.

    Returns
    -------
    pandas.DataFrame
        One row a pixel in one of the states: ``row, col`` in the grid and the findings. With LOW
        among the states those that are ``faded`` (bool) as well, as what they were.
    """
    shown = np.isin(found["status"], [int(status) for status in states])
    faded = (found["faded"] > 0) & ~shown & (Status.LOW in states)
    rows, cols = np.nonzero(shown | faded)
    table = {name: found[name][rows, cols] for name in FINDINGS}
    was_low = faded[rows, cols]
    first = np.where(was_low, table["faded"], table["first_anomaly"])
    status = np.where(was_low, np.uint8(Status.LOW), table["status"])
    table |= {"status": status, "first_anomaly": first, "faded": was_low}
    return pd.DataFrame({"row": rows + first_row, "col": cols + first_col, **table})


def connect(pixels: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Label the groups of touching pixels that changed at about the same time.

    Parameters
    ----------
    pixels
        Rows of `changed_pixels` of all blocks of one grid.

    Returns
    -------
    int64 array
        Group of each row: pixels that touch (8 neighbours) and whose first anomalies are at most
        `MAX_GAP_DAYS` apart, or the later of which was last seen normal before the first anomaly
        of the other (clouds hid it meanwhile), directly or through others. The order of the rows
        does not matter for who is grouped with whom.
    """
    row = pixels["row"].to_numpy(np.int64)
    col = pixels["col"].to_numpy(np.int64)
    day = pixels["first_anomaly"].to_numpy(np.int64)
    normal = pixels["last_normal"].to_numpy(np.int64)
    width = int(col.max(initial=0)) + 3
    address = row * width + col + 1
    order = np.argsort(address)
    ordered = address[order]
    left, right = [], []
    for step in (1, width - 1, width, width + 1):
        place = np.searchsorted(ordered, address + step)
        place[place == len(ordered)] = 0
        neighbour = order[place] if len(order) else place
        seen_last = np.where(day > day[neighbour], normal, normal[neighbour])
        hidden = (seen_last > 0) & (seen_last < np.minimum(day, day[neighbour]))
        near = hidden | (np.abs(day - day[neighbour]) <= MAX_GAP_DAYS)
        linked = near & (address[neighbour] == address + step)
        left.append(np.flatnonzero(linked))
        right.append(neighbour[linked])
    a, b = np.concatenate(left), np.concatenate(right)
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(len(pixels), len(pixels)))
    _, group = connected_components(graph, directed=False)
    return np.asarray(group, dtype=np.int64)


def alerts(
    pixels: pd.DataFrame, grid_id: str, geobox: GeoBox, *, min_area_ha: float
) -> gpd.GeoDataFrame:
    """Turn the changed pixels of one grid into alert polygons.

    Parameters
    ----------
    pixels
        Rows of `changed_pixels` of all blocks of the grid.
    grid_id
        Name of the grid; goes into the ids.
    geobox
        The whole grid.
    min_area_ha
        Minimum mapping unit, hectares; smaller groups are left out. A group is ``confirmed`` when
        its confirmed pixels alone reach it, else ``low``.

    Returns
    -------
    geopandas.GeoDataFrame
        EPSG:4326, one row an alert: ``alert_id``; ``status`` (confirmed, low); ``date_min`` last
        clear normal observation and ``date_max`` first anomaly (the event lies between them, most
        likely near ``date_likely``); ``channel`` (removal, or health when most of its
        confirmed pixels are told of by that);
        ``confirmed_on`` (NaT when low); ``area_ha`` (hectares, equal-area); ``probability`` (0–1,
        median); ``magnitude`` (median change of the index, negative = loss); ``n_obs`` (median
        number of anomalies seen); ``spread_days`` (days between the tenth and the ninetieth
        percentile of the pixels' first anomalies); ``lon, lat`` of an inner point.
    """
    pixel_ha = abs(geobox.resolution.x * geobox.resolution.y) / 10_000
    min_pixels = min_area_ha / pixel_ha
    pixels, group = _without_lone_faded(pixels, min_pixels)
    # a projected pixel is within a few parts in a thousand of its true area
    large = np.bincount(group)[group] >= 0.99 * min_pixels
    if not large.any():
        return no_alerts()
    pixels, group = pixels[large], group[large]
    table = gpd.GeoDataFrame(
        _described(pixels, group, grid_id, min_pixels),
        geometry=_outlines(pixels, group, geobox),
        crs=str(geobox.crs),
    )
    table = table.to_crs("EPSG:4326")
    table.geometry = [_cut_at_antimeridian(shape) for shape in table.geometry]
    table["area_ha"] = table.to_crs(EQUAL_AREA_CRS).area / 10_000
    point = table.representative_point()
    table["lon"], table["lat"] = point.x.round(6), point.y.round(6)
    return table[table["area_ha"] >= 0.98 * min_area_ha].reset_index(drop=True)


def _without_lone_faded(
    pixels: pd.DataFrame, min_pixels: float
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Keep faded pixels where they are part of a confirmed alert; give the groups too.

    A pixel that was seen felled once, beside others that are confirmed, is felled: that clouds have
    hidden it since makes no alert smaller.
    """
    group = connect(pixels)
    sure = pixels["status"].isin([int(status) for status in SURE])
    backed = np.bincount(group, weights=sure)[group] >= 0.99 * min_pixels
    kept = pixels[~pixels["faded"].to_numpy(dtype=bool) | backed]
    return kept, connect(kept)


def _described(
    pixels: pd.DataFrame, group: npt.NDArray[np.int64], grid_id: str, min_pixels: float
) -> pd.DataFrame:
    """Everything about each group but its outline, one row a group by rising number."""
    first = (
        pixels.assign(group=group)
        .sort_values(["group", "first_anomaly", "row", "col"])
        .drop_duplicates("group")
    )
    # what has faded has its place, and nothing to say; no group is of such alone
    tell = ~pixels["faded"].to_numpy(dtype=bool)
    pixels, group = pixels[tell], group[tell]
    sure = pixels["status"].isin([int(status) for status in SURE])
    is_confirmed = (sure.groupby(group).sum() >= 0.99 * min_pixels).to_numpy()
    confirmed_on = pixels["confirmed"].where(sure).groupby(group).median().where(is_confirmed, 0)
    middle = pixels.drop(columns="confirmed").groupby(group).median()
    day = pixels["first_anomaly"].astype(float).groupby(group)
    spread = day.quantile(0.9) - day.quantile(0.1)
    ill = (pixels["channel"] == Channel.HEALTH).where(sure).groupby(group).mean() > 0.5
    return pd.DataFrame(
        {
            "alert_id": [
                str(uuid.uuid5(NAMESPACE, f"{grid_id}/{row}/{col}/{day}"))
                for row, col, day in zip(
                    first["row"], first["col"], first["first_anomaly"], strict=True
                )
            ],
            "status": np.where(is_confirmed, "confirmed", "low"),
            "channel": np.where(ill, "health", "removal"),
            "date_min": _dates(middle["last_normal"]),
            "date_max": _dates(middle["first_anomaly"]),
            "date_likely": _dates(middle["likely_day"]),
            "confirmed_on": _dates(confirmed_on),
            "probability": middle["probability"].astype(float).round(3).to_numpy(),
            "magnitude": middle["magnitude"].astype(float).round(4).to_numpy(),
            "n_obs": middle["n_anomalies"].astype(np.int64).to_numpy(),
            "spread_days": spread.round().astype(np.int64).to_numpy(),
        }
    )


def _dates(day_numbers: pd.Series) -> npt.NDArray[np.datetime64]:
    return from_day_number(day_numbers.to_numpy(np.uint16)).astype("datetime64[ns]")


def _outlines(
    pixels: pd.DataFrame, group: npt.NDArray[np.int64], geobox: GeoBox
) -> list[shapely.Geometry]:
    """Outline of each group by rising number."""
    order = np.argsort(group, kind="stable")
    row, col = (pixels[name].to_numpy()[order] for name in ("row", "col"))
    starts = np.flatnonzero(np.diff(group[order]))
    places = zip(np.split(row, starts + 1), np.split(col, starts + 1), strict=True)
    with rasterio.Env():  # once, not for each
        return [_outline(rows, cols, geobox) for rows, cols in places]


def _outline(
    row: npt.NDArray[np.int64], col: npt.NDArray[np.int64], geobox: GeoBox
) -> shapely.Geometry:
    """Outline some pixels along their edges; parts that touch at a corner stay two parts."""
    image = np.zeros((np.ptp(row) + 1, np.ptp(col) + 1), dtype=np.uint8)
    image[row - row.min(), col - col.min()] = 1
    transform = geobox.affine * geobox.affine.translation(int(col.min()), int(row.min()))
    shapes = rasterio.features.shapes(image, mask=image == 1, connectivity=4, transform=transform)
    return shapely.union_all([shapely.geometry.shape(polygon) for polygon, _ in shapes])


def no_alerts() -> gpd.GeoDataFrame:
    """Give the table of `alerts` without rows, each column with its dtype."""
    columns: dict[str, Any] = {
        "alert_id": "str", "status": "str", "channel": "str", "date_min": "datetime64[ns]",
        "date_max": "datetime64[ns]", "date_likely": "datetime64[ns]",
        "confirmed_on": "datetime64[ns]", "probability": "float64", "magnitude": "float64",
        "n_obs": "int64", "spread_days": "int64", "area_ha": "float64", "lon": "float64",
        "lat": "float64",
    }  # fmt: skip
    frame = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    return gpd.GeoDataFrame(frame, geometry=gpd.GeoSeries([], crs="EPSG:4326"))


def _cut_at_antimeridian(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut a shape that crosses 180° in two (RFC 7946, 3.1.9); else it would span the globe."""
    west, _, east, _ = shapely.bounds(shape)
    if east - west <= 180:
        return shape
    # from 0 to 360 degrees it is in one piece
    whole = shapely.transform(
        shape, lambda at: np.where(at[:, :1] < 0, at + np.array([360, 0]), at)
    )
    here = shapely.intersection(whole, shapely.box(0, -90, 180, 90))
    beyond = shapely.intersection(whole, shapely.box(180, -90, 360, 90))
    moved = shapely.transform(beyond, lambda at: at - np.array([360, 0]))
    return shapely.MultiPolygon([*shapely.get_parts(here), *shapely.get_parts(moved)])
