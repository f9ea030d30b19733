"""Exact zonal sums: what a district's pixels say on each date, block by block.

A pixel on a border counts by the share of its area inside (exactextract). The sums of several
blocks add up, so that a district may lie in any number of blocks and zones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import geopandas as gpd
import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from lesniva.conventions import INDEX_SCALE, NODATA_INT16

NEW_SEASON = 4
"""Months from September to the end of the year: covers hold from one September to the next."""

SEASONAL = frozenset({"winter", "summer"})
"""Covers that are drawn anew each season; all others are where they are."""

KEYS = ["adm_id", "cover", "date"]
SUMS = ["weighted", "clear_ha", "cover_ha"]


@dataclass(frozen=True)
class Zones:
    """Pixels of one block that lie in zones, with their weights (compressed sparse rows)."""

    ids: tuple[str, ...]
    """Zones with at least one pixel in the block."""
    start: npt.NDArray[np.int64]
    """Pixels of zone i are ``start[i]:start[i + 1]`` of the arrays below."""
    pixel: npt.NDArray[np.int64]
    """Flat pixel number in the block, row-major."""
    hectares: npt.NDArray[np.float64]
    """Area of the pixel inside the zone, in hectares of the grid's plane."""


def zones(polygons: gpd.GeoDataFrame, geobox: GeoBox) -> Zones:
    """Find the pixels of a block that each polygon covers, and by how much.

    Parameters
    ----------
    polygons
        Columns ``adm_id`` and geometry, any CRS.
    geobox
        Grid of the block.

    Returns
    -------
    Zones
    """
    import exactextract
    from exactextract.raster import NumPyRasterSource

    height, width = geobox.shape
    bounds = geobox.boundingbox
    local = polygons[["adm_id", "geometry"]].to_crs(str(geobox.crs))
    local = local[local.intersects(geobox.extent.geom)]
    hectares = abs(geobox.resolution.x * geobox.resolution.y) / 10_000
    raster = NumPyRasterSource(
        np.ones((height, width), dtype=np.uint8),
        xmin=bounds.left,
        ymin=bounds.bottom,
        xmax=bounds.right,
        ymax=bounds.top,
        srs_wkt=local.crs.to_wkt(),
    )
    rows = (
        exactextract.exact_extract(
            raster, local, ["cell_id", "coverage"], include_cols=["adm_id"], output="pandas"
        )
        if len(local)
        else pd.DataFrame({"adm_id": [], "cell_id": [], "coverage": []})
    )
    rows = rows[rows["cell_id"].map(len) > 0]  # a zone may touch the block's edge only
    pixels = [np.asarray(cells, dtype=np.int64) for cells in rows["cell_id"]]
    weights = [np.asarray(shares, dtype=np.float64) * hectares for shares in rows["coverage"]]
    sizes = [len(cells) for cells in pixels]
    return Zones(
        ids=tuple(rows["adm_id"]),
        start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        pixel=np.concatenate(pixels) if pixels else np.empty(0, dtype=np.int64),
        hectares=np.concatenate(weights) if weights else np.empty(0),
    )


@numba.njit(nogil=True, cache=True)
def _sums(start: Any, pixel: Any, hectares: Any, cover: Any, values: Any, out: Any) -> None:
    """Fill out[zone] with (Σ w·v, Σ w clear, Σ w) over the pixels where `cover` is True."""
    for zone in range(start.size - 1):
        weighted = clear = total = 0.0
        for i in range(start[zone], start[zone + 1]):
            where = pixel[i]
            if cover[where]:
                total += hectares[i]
                value = values[where]
                if value != NODATA_INT16:
                    clear += hectares[i]
                    weighted += hectares[i] * value
        out[zone, 0] = weighted
        out[zone, 1] = clear
        out[zone, 2] = total


def sums(
    zones: Zones,
    stack: npt.NDArray[np.int16],
    dates: npt.ArrayLike,
    covers: Mapping[str, npt.NDArray[np.bool_]],
    *,
    also: Mapping[str, npt.NDArray[np.int16]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Sum an index over the pixels of each zone, cover and date.

    Parameters
    ----------
    zones
        Of the block.
    stack
        (time, y, x) int16 index × `INDEX_SCALE`, missing `NODATA_INT16`.
    dates
        ``datetime64`` of the slices.
    covers
        Name → (y, x) bool: which pixels belong to the cover.
    also
        Name of a further index → its stack.

    Returns
    -------
    pandas.DataFrame
        ``adm_id, cover, date``, ``weighted`` (Σ hectares · index over clear pixels), ``clear_ha``
        and ``cover_ha``; for each further index ``weighted_NAME`` and ``clear_ha_NAME``. No row
        where the zone has no pixel of the cover.
    """
    table = _table(zones, stack, dates, covers)
    for name, further in also.items():
        of_name = _table(zones, further, dates, covers)
        table[f"weighted_{name}"] = of_name["weighted"]
        table[f"clear_ha_{name}"] = of_name["clear_ha"]
    return table


def _table(
    zones: Zones,
    stack: npt.NDArray[np.int16],
    dates: npt.ArrayLike,
    covers: Mapping[str, npt.NDArray[np.bool_]],
) -> pd.DataFrame:
    days = np.asarray(dates, dtype="datetime64[ns]")
    flat = stack.reshape(len(stack), -1)
    rows: list[tuple[Any, ...]] = []
    out = np.empty((len(zones.ids), 3))
    for name, cover in covers.items():
        for day, values in zip(days, flat, strict=True):
            _sums(zones.start, zones.pixel, zones.hectares, cover.ravel(), values, out)
            rows.extend(
                (adm_id, name, day, weighted / INDEX_SCALE, clear, total)
                for adm_id, (weighted, clear, total) in zip(zones.ids, out, strict=True)
                if total > 0
            )
    columns = [*KEYS, *SUMS]
    frame = pd.DataFrame(rows, columns=columns)
    # without rows pandas cannot know, and one block without cropland would spoil the whole table
    texts, numbers = dict.fromkeys(columns[:2], "str"), dict.fromkeys(columns[3:], "float64")
    return frame.astype({**texts, "date": "datetime64[ns]", **numbers})


def means(parts: pd.DataFrame) -> pd.DataFrame:
    """Turn the sums of all blocks into the observations of each zone.

    Parameters
    ----------
    parts
        Rows of `sums` of any number of blocks, told apart by ``block`` where there are several.

    Returns
    -------
    pandas.DataFrame
        ``adm_id, cover, date, ndvi`` (area-weighted mean over clear pixels, NaN where none was
        clear), ``weight`` (clear hectares) and ``clear_share`` (0–1, of all the zone has of the
        cover), and the mean of each further index; one row a key, sorted.
    """
    numbers = parts.select_dtypes("number").columns
    total = parts.groupby(KEYS, as_index=False)[list(numbers)].sum()
    for name in ("", *(each.removeprefix("weighted") for each in numbers if "weighted_" in each)):
        seen = total[f"clear_ha{name}"].where(total[f"clear_ha{name}"] > 0)
        total[name.removeprefix("_") or "ndvi"] = (total[f"weighted{name}"] / seen).astype(float)
    total["weight"] = total["clear_ha"]
    total = total.merge(_whole(parts, total), on=KEYS)
    total["clear_share"] = (total["clear_ha"] / total["whole"]).clip(upper=1.0)
    further = [each.removeprefix("weighted_") for each in numbers if "weighted_" in each]
    kept = [*KEYS, "ndvi", "weight", "clear_share", *further]
    return total[kept].sort_values(KEYS, ignore_index=True)


def _whole(parts: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """Hectares that each zone has of a cover, also in blocks that no scene reached on a day.

    What a block has is ground, and known whenever any scene reached it; only the covers that are
    drawn anew are of their season.
    """
    rows = parts.assign(season=_season(parts), block=parts.get("block", ""))
    by_block = ["adm_id", "cover", "season", "block"]
    of_day = rows.groupby([*by_block, "date"], as_index=False)["cover_ha"].sum()
    of_block = of_day.groupby(by_block, as_index=False)["cover_ha"].max()
    of_season = ["adm_id", "cover", "season"]
    whole = of_block.groupby(of_season, as_index=False)["cover_ha"].sum()
    keyed = days[KEYS].assign(season=_season(days))
    return keyed.merge(whole.rename(columns={"cover_ha": "whole"}), on=of_season)[[*KEYS, "whole"]]


def _season(rows: pd.DataFrame) -> "pd.Series[int]":
    """Harvest year of the rows of seasonal covers, 0 for all others."""
    year = (rows["date"] + pd.DateOffset(months=NEW_SEASON)).dt.year
    return year.where(rows["cover"].isin(SEASONAL), 0).astype(int)


def series(
    polygons: gpd.GeoDataFrame, index: xr.DataArray, geobox: GeoBox, *, cover: str = "cropland"
) -> pd.DataFrame:
    """Mean of an index over each polygon and date: the curve of a field or a district.

    Parameters
    ----------
    polygons
        Columns ``adm_id`` and geometry, any CRS.
    index
        Float index with NaN where not clear, dims ``time, y, x`` (`indices.index` gives it).
    geobox
        Its grid.
    cover
        What all pixels of the polygons are taken for, as `features.features` asks for it.

    Returns
    -------
    pandas.DataFrame
        As `means`: ``adm_id, cover, date, ndvi, weight, clear_share``.
    """
    values = index.transpose("time", "y", "x").to_numpy()
    numbers = np.clip(np.rint(values * INDEX_SCALE), -32767, 32767)
    stack = np.where(np.isnan(values), NODATA_INT16, numbers).astype(np.int16)
    everywhere = {cover: np.ones(stack.shape[1:], dtype=bool)}
    return means(sums(zones(polygons, geobox), stack, index["time"].to_numpy(), everywhere))
