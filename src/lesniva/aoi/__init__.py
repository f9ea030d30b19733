"""Areas of interest: the area file, the working grids, their blocks, and the boundary import.

::

    boundary file ── import_boundaries ─┬─► Report
                                        └─► Area ── save ─► area file ── load ─► Area
    Area ── grids ─► one Grid per UTM zone ── blocks ─► Block, the unit of work

`geometry` mends polygons and measures them, `area` is the area file, `grid` lays pixels over it,
`names` knows how Russian districts are called, `vector` opens the files that people bring,
`boundaries` imports what others have drawn.
"""

from lesniva.aoi.area import Area, load, save
from lesniva.aoi.boundaries import DistrictRow, Gap, Overlap, Report, import_boundaries
from lesniva.aoi.geometry import areas_km2
from lesniva.aoi.grid import Block, Grid, blocks, grids, inside
from lesniva.aoi.names import match_name
from lesniva.aoi.vector import read_vector

__all__ = [
    "Area",
    "Block",
    "DistrictRow",
    "Gap",
    "Grid",
    "Overlap",
    "Report",
    "areas_km2",
    "blocks",
    "grids",
    "import_boundaries",
    "inside",
    "load",
    "match_name",
    "read_vector",
    "save",
]
