"""A corner of the embedded farmland, small enough to simulate in a test."""

import geopandas as gpd
import pandas as pd
import shapely

from lesniva import aoi
from lesniva.synthetic.embedded import FARMLAND_GRID

PIXELS = 240
"""Edge of the corner, pixels of 120 m."""


def corner() -> aoi.Area:
    """Area of four square districts that fill the corner: d00, d01, d10, d11."""
    left, top = FARMLAND_GRID.left, FARMLAND_GRID.top
    half = PIXELS * FARMLAND_GRID.resolution / 2
    cells = {
        f"d{row}{col}": shapely.box(
            left + col * half, top - (row + 1) * half, left + (col + 1) * half, top - row * half
        )
        for row in range(2)
        for col in range(2)
    }
    shapes = gpd.GeoSeries(cells.values(), crs=32637).segmentize(1000).to_crs("EPSG:4326")
    names = {"kind": "raion", "name_en": list(cells), "name_ru": list(cells), "oktmo": ""}
    districts = gpd.GeoDataFrame(
        {**names, "approximate": True},
        geometry=shapes.to_numpy(),
        index=pd.Index(cells, name="adm_id"),
        crs="EPSG:4326",
    )
    outline = shapely.MultiPolygon([districts.union_all()])
    return aoi.Area("corner", "Corner", "Угол", outline, districts, True, "made for a test")
