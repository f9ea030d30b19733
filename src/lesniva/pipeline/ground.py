"""What stays the same from year to year: where districts lie, their soil by the user's maps."""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.errors import InputError


def ground_of(districts: gpd.GeoDataFrame, soil: Mapping[str, Path]) -> pd.DataFrame:
    """Tell where districts lie and what their soil is like.

    Parameters
    ----------
    districts
        ``adm_id`` and polygons in any CRS.
    soil
        Name (``awc``, ``humus``) → GeoTIFF of one band, in any CRS and unit.

    Returns
    -------
    DataFrame
        ``adm_id``, ``lat`` and ``lon`` (degrees, of a point inside), and ``soil_NAME``: the mean of
        the raster over the district, each cell by its share inside; NaN where the raster has none.

    Raises
    ------
    InputError
        A raster cannot be read, or has no value in any district; all faults in one message.
    """
    points = districts.to_crs("EPSG:4326").representative_point()
    table = pd.DataFrame({"adm_id": districts["adm_id"].astype(str).to_numpy()})
    table["lat"], table["lon"] = points.y.to_numpy(), points.x.to_numpy()
    faults = []
    for name, path in soil.items():
        try:
            table[f"soil_{name}"] = _means(path, districts)
        except (OSError, ValueError) as error:
            faults.append(f"{path} cannot be read: {' '.join(str(error).split())}")
            continue
        if table[f"soil_{name}"].isna().all():
            faults.append(f"{path} has no value in any district")
    if faults:
        raise InputError(f"soil: {'; '.join(faults)}; check harvest.soil")
    return table


def _means(path: Path, districts: gpd.GeoDataFrame) -> npt.NDArray[np.float64]:
    import rasterio
    from exactextract import exact_extract
    from exactextract.raster import RasterioRasterSource

    with rasterio.open(path, driver="GTiff") as raster:
        if raster.crs is None:
            raise ValueError("it has no CRS")
        shapes = districts[["geometry"]].to_crs(raster.crs.to_wkt())
        source = RasterioRasterSource(raster)
        rows = exact_extract(source, shapes, ["mean"], output="pandas")
    return np.asarray(rows["mean"], dtype=np.float64)
