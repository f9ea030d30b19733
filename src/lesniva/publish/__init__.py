"""From results to files that people open: COG, vectors, STAC, QGIS styles, manifest.

- `layers`: the raster layers we publish, their numbers and colours;
- `cog`: a layer of a whole area as COG, from blocks;
- `vector`: GeoJSON, GeoPackage, GeoParquet, CSV;
- `manifest`: ``manifest.json`` and ``run.json`` of an output folder, and the check of it.
"""

from lesniva.publish.cog import RasterStats, write_cog
from lesniva.publish.layers import LAYERS, Layer, encode
from lesniva.publish.manifest import verify, write_manifest, write_run
from lesniva.publish.vector import write_csv, write_geojson, write_geopackage, write_geoparquet

__all__ = [
    "LAYERS",
    "Layer",
    "RasterStats",
    "encode",
    "verify",
    "write_cog",
    "write_csv",
    "write_geojson",
    "write_geopackage",
    "write_geoparquet",
    "write_manifest",
    "write_run",
]
