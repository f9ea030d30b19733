"""The cube: STAC items and a block of a grid become labelled, harmonised reflectance.

- `days` groups items into solar days and settles duplicates;
- `radiometry` decides, in one place, how an item's numbers become reflectance;
- `read` brings windows of the files onto the block's grid.
"""

from lesniva.cube.days import Scene, SolarDay, solar_days
from lesniva.cube.radiometry import DnOffset, RedLook, dn_offset, look, suspicious
from lesniva.cube.read import Access, load, read_day

__all__ = [
    "Access",
    "DnOffset",
    "RedLook",
    "Scene",
    "SolarDay",
    "dn_offset",
    "load",
    "look",
    "read_day",
    "solar_days",
    "suspicious",
]
