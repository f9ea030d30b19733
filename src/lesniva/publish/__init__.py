"""From results to files that people open: COG, vectors, STAC, QGIS styles, manifest.

- `layers`: the raster layers we publish, their numbers and colours;
- `cog`: a layer of a whole area as COG, from blocks;
- `netcdf`, `zarr`: a layer over several times as a cube, by the CF conventions;
- `vector`: GeoJSON, GeoPackage, GeoParquet, CSV; `fields`: titles of their columns;
- `postgis`: features into a PostGIS database;
- `qgis`: styles (QML) of both;
- `maps`: pictures (PNG) of the results;
- `tiles`, `serve`: a folder of results on this machine's own address, with map tiles;
- `report`: the page that opens anywhere;
- `stac`: a collection of what was published;
- `manifest`: ``manifest.json`` and ``run.json`` of an output folder, and the check of it.
"""

from lesniva.publish.cog import RasterStats, write_cog
from lesniva.publish.fields import Language, field_titles
from lesniva.publish.layers import FOREST_LAYERS, HARVEST_LAYERS, LAYERS, Layer, encode
from lesniva.publish.manifest import upload, verify, versions, write_manifest, write_run
from lesniva.publish.maps import forest_map, harvest_map, season_chart
from lesniva.publish.netcdf import write_netcdf
from lesniva.publish.postgis import publish_folder, upsert
from lesniva.publish.qgis import (
    alerts_style,
    districts_style,
    forecast_style,
    sample_style,
    verdicts_style,
    write_style,
    zones_style,
)
from lesniva.publish.report import About, CloseUp, write_forest_report, write_harvest_report
from lesniva.publish.stac import Product, Raster, write_stac
from lesniva.publish.vector import (
    read_table,
    write_csv,
    write_geojson,
    write_geopackage,
    write_geoparquet,
)
from lesniva.publish.zarr import write_zarr

__all__ = [
    "FOREST_LAYERS",
    "HARVEST_LAYERS",
    "LAYERS",
    "About",
    "CloseUp",
    "Language",
    "Layer",
    "Product",
    "Raster",
    "RasterStats",
    "alerts_style",
    "districts_style",
    "encode",
    "field_titles",
    "forecast_style",
    "forest_map",
    "harvest_map",
    "publish_folder",
    "read_table",
    "sample_style",
    "season_chart",
    "upload",
    "upsert",
    "verdicts_style",
    "verify",
    "versions",
    "write_cog",
    "write_csv",
    "write_forest_report",
    "write_geojson",
    "write_geopackage",
    "write_geoparquet",
    "write_harvest_report",
    "write_manifest",
    "write_netcdf",
    "write_run",
    "write_stac",
    "write_style",
    "write_zarr",
    "zones_style",
]
