"""Zones of relative productivity: which places of a field have stood better, season by season.

Each season's peak NDVI of a pixel is divided by that of its field, so that crops of a rotation
count alike; the mean of the seasons is cut into parts of equal area. Zones rank the places of one
field; fields are not compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva import aoi, indices
from lesniva.conventions import EQUAL_AREA_CRS, NODATA_UINT8

ZONES = 10
"""Above the largest number of zones: a field and a zone in one number."""

TOUCHING = 1.5
"""Pixels this near share a side or a corner."""

NO_PIXELS = pd.DataFrame(
    {
        "block": pd.Series(dtype=str),
        "pixel": pd.Series(dtype=np.int64),
        "field": pd.Series(dtype=np.int64),
        "relative": pd.Series(dtype=np.float64),
        "zone": pd.Series(dtype=np.uint8),
    }
)

COLUMNS = ("zone_id", "field_id", "zone", "area_ha", "share", "relative_peak")


def pixels(
    blocks: Sequence[aoi.Block],
    parcels: gpd.GeoDataFrame,
    peaks: Mapping[str, Mapping[int, Path]],
    *,
    zones: int,
) -> pd.DataFrame:
    """Give each pixel of the fields its zone; a field is one, whatever blocks it lies in.

    Parameters
    ----------
    parcels
        ``adm_id`` and polygons in any CRS.
    peaks
        Block → season → file with the peak NDVI (int16, scaled).
    zones
        Zones a field; one with fewer known pixels gets none.

    Returns
    -------
    DataFrame
        ``block``, ``pixel`` (place in the flat block), ``field`` (row of `parcels`, from 0),
        ``relative`` (as `relative_peak` gives it) and ``zone`` (1 the lowest).
    """
    parts = [_inside(block, parcels, peaks[block.key]) for block in blocks if block.key in peaks]
    inside = pd.concat([NO_PIXELS, *parts])
    told = [_zoned(rows, zones) for _, rows in inside.groupby("field")]
    return pd.concat([NO_PIXELS, *told], ignore_index=True)[list(NO_PIXELS)]


def _inside(block: aoi.Block, parcels: gpd.GeoDataFrame, peaks: Mapping[int, Path]) -> pd.DataFrame:
    """Pixels of a block whose middle lies in a field, with their peak of each season."""
    from rasterio.features import rasterize

    local = parcels.to_crs(str(block.geobox.crs)).geometry
    shapes = [(shape, number) for number, shape in enumerate(local, start=1)]
    field = rasterize(shapes, block.geobox.shape, transform=block.geobox.affine, dtype="int32")
    pixel = np.flatnonzero(field)
    frame = pd.DataFrame({"block": block.key, "pixel": pixel, "field": field.ravel()[pixel] - 1})
    for year, path in peaks.items():
        frame[year] = indices.from_scaled(np.load(path)).ravel()[pixel]
    return frame


def _zoned(rows: pd.DataFrame, zones: int) -> pd.DataFrame:
    """Cut the pixels of one field into zones of equal area."""
    seasons = [name for name in rows if name not in NO_PIXELS]
    relative = relative_peak(rows[seasons].to_numpy(dtype=np.float64).T)
    rows = rows.assign(relative=relative)[np.isfinite(relative)]
    if len(rows) < zones:
        return rows.iloc[:0]
    edges = np.quantile(rows["relative"], np.linspace(0, 1, zones + 1)[1:-1])
    zone = np.searchsorted(edges, rows["relative"], side="right") + 1
    return rows.assign(zone=zone.astype(np.uint8))


def relative_peak(peaks: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Peak of each pixel over that of its field, averaged over seasons.

    Parameters
    ----------
    peaks
        Peak NDVI, (season, pixel); NaN where a pixel was not seen.

    Returns
    -------
    ndarray
        (pixel,), about 1; NaN where no season saw the pixel.
    """
    seen = np.isfinite(peaks)
    total = np.where(seen, peaks, 0.0).sum(axis=1, dtype=np.float64)
    mean = np.divide(total, seen.sum(axis=1), out=np.full(len(peaks), np.nan), where=total > 0)
    relative = np.where(seen, peaks / mean[:, None], np.nan)
    known = np.isfinite(relative)
    summed = np.where(known, relative, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    out = np.full(peaks.shape[1], np.nan)
    return np.asarray(np.divide(summed, count, out=out, where=count > 0))


def rasters(blocks: Sequence[aoi.Block], told: pd.DataFrame) -> dict[str, npt.NDArray[np.uint8]]:
    """Zones of each block, uint8 (y, x); 255 outside the fields and where nothing is known."""
    arrays = {b.key: np.full(b.geobox.shape, NODATA_UINT8, dtype=np.uint8) for b in blocks}
    for key, rows in told.groupby("block"):
        arrays[str(key)].ravel()[rows["pixel"].to_numpy(dtype=int)] = rows["zone"]
    return arrays


def polygons(
    blocks: Sequence[aoi.Block], parcels: gpd.GeoDataFrame, told: pd.DataFrame
) -> gpd.GeoDataFrame:
    """Outlines of the zones, cut by those of their fields.

    Parameters
    ----------
    blocks
        All blocks.
    parcels
        ``adm_id`` and polygons, in the order of the column ``field`` of `told`.
    told
        As `pixels` gives it.

    Returns
    -------
    geopandas.GeoDataFrame
        EPSG:4326, one row a field and zone: ``zone_id`` (field/zone), ``field_id``, ``zone``,
        ``area_ha`` (equal-area), ``share`` (0–1, of the field's zoned area), ``relative_peak``
        (mean over the zone, 1 = mean of the field).
    """
    by_key = {block.key: block for block in blocks}
    pieces = [_outlines(by_key[str(key)], parcels, rows) for key, rows in told.groupby("block")]
    if not pieces:
        empty = dict.fromkeys(COLUMNS[:2], pd.Series(dtype=str))
        empty |= {"zone": pd.Series(dtype="int64")}
        empty |= dict.fromkeys(COLUMNS[3:], pd.Series(dtype="float64"))
        return gpd.GeoDataFrame(empty, geometry=gpd.GeoSeries(crs="EPSG:4326"))
    layer = gpd.GeoDataFrame(pd.concat(pieces, ignore_index=True), crs="EPSG:4326")
    layer = layer.dissolve(by=["field", "zone"]).reset_index()
    relative = told.groupby(["field", "zone"])["relative"].mean()
    layer["relative_peak"] = relative.loc[
        list(zip(layer["field"], layer["zone"], strict=True))
    ].to_numpy()
    layer["field_id"] = parcels["adm_id"].to_numpy()[layer["field"]]
    layer["zone_id"] = layer["field_id"] + "/" + layer["zone"].astype(str)
    layer["area_ha"] = layer.to_crs(EQUAL_AREA_CRS).area / 10_000
    layer["share"] = layer["area_ha"] / layer.groupby("field")["area_ha"].transform("sum")
    return layer[[*COLUMNS, "geometry"]]


def _outlines(block: aoi.Block, parcels: gpd.GeoDataFrame, rows: pd.DataFrame) -> gpd.GeoDataFrame:
    """Pieces of the zones of one block, each within its own field."""
    import rasterio.features
    import shapely
    from scipy.ndimage import distance_transform_edt

    numbers = np.zeros(block.geobox.shape, dtype=np.int32)
    coded = ZONES * (rows["field"].to_numpy(dtype=int) + 1) + rows["zone"].to_numpy(dtype=int)
    numbers.ravel()[rows["pixel"].to_numpy(dtype=int)] = coded
    # pixels whose middle lies outside: the edge of a field belongs to the zone next to it
    away, nearest = distance_transform_edt(numbers == 0, return_indices=True)
    numbers = np.where(away < TOUCHING, numbers[tuple(nearest)], 0).astype(np.int32)
    found = rasterio.features.shapes(numbers, mask=numbers > 0, transform=block.geobox.affine)
    shapes, codes = zip(
        *((shapely.geometry.shape(each), int(code)) for each, code in found), strict=True
    )
    field, zone = np.divmod(np.array(codes), ZONES)
    crs = str(block.geobox.crs)
    own = parcels.to_crs(crs).geometry.to_numpy()[field - 1]
    pieces = gpd.GeoDataFrame(
        {"field": field - 1, "zone": zone},
        geometry=shapely.intersection(np.array(shapes), own),
        crs=crs,
    )
    pieces = pieces[pieces.area > 0]
    return pieces.to_crs("EPSG:4326")
