"""Tiny scenes on disk whose every pixel is known beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

from lesniva.publish import Layer

WEST, NORTH = 500_040, 5_830_020
"""A corner on whole multiples of 10, 20 and 60 m, near the central meridian of a zone."""


def grid(
    height: int,
    width: int,
    resolution: float = 10,
    *,
    west: float = WEST,
    north: float = NORTH,
    crs: str = "EPSG:32637",
) -> GeoBox:
    """North-up grid by its upper left corner."""
    return GeoBox((height, width), Affine(resolution, 0, west, 0, -resolution, north), crs)


def outline(geobox: GeoBox) -> shapely.Polygon:
    """Outline a grid in longitude and latitude."""
    return shapely.box(*transform_bounds(str(geobox.crs), "EPSG:4326", *geobox.boundingbox))


def numbers(height: int, width: int, *, seed: int = 1, low: int = 1, high: int = 16_000) -> Any:
    """Draw DN of a band, none of them missing."""
    return np.random.default_rng(seed).integers(low, high, (height, width), dtype=np.uint16)


def write_tif(
    path: Path,
    values: npt.NDArray[Any],
    geobox: GeoBox,
    *,
    nodata: float | None = 0,
    scale: float = 1,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write a one-band GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype,
        "crs": str(geobox.crs),
        "transform": geobox.affine,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **{**profile, **options}) as file:
        file.write(values, 1)
        if scale != 1:
            file.scales = (scale,)
        if tags:
            file.update_tags(**tags)
    return path


def write_layer(path: Path, layer: Layer, values: npt.NDArray[Any], geobox: GeoBox) -> Path:
    """Write the numbers of a published layer, without the pains of a COG."""
    return write_tif(
        path, values.astype(layer.dtype), geobox, nodata=layer.nodata, scale=layer.scale
    )


@dataclass(frozen=True)
class Written:
    """A scene on disk: the item a catalog would give, and the address of each band."""

    item: pystac.Item
    files: Mapping[str, str]


def scene_of(
    files: Mapping[str, str | Path],
    *,
    name: str = "scene",
    when: datetime = datetime(2021, 6, 15, 8, 30, tzinfo=UTC),
    footprint: shapely.Geometry | None = None,
    **properties: Any,
) -> Written:
    """Make the item of files that are there already."""
    ground = footprint or shapely.box(-180, -85, 180, 85)
    stated = {"s2:processing_baseline": "02.14", "grid:code": "MGRS-37UDB", **properties}
    item = pystac.Item(name, shapely.geometry.mapping(ground), list(ground.bounds), when, stated)
    for band, path in files.items():
        item.add_asset(band, pystac.Asset(str(path)))
    return Written(item, {band: str(path) for band, path in files.items()})


def write_scene(
    folder: Path,
    bands: Mapping[str, tuple[npt.NDArray[Any], GeoBox]],
    *,
    name: str = "scene",
    **stated: Any,
) -> Written:
    """Write bands (array and its grid) and make their item; see `scene_of`."""
    files = {
        band: write_tif(folder / name / f"{band}.tif", values, geobox)
        for band, (values, geobox) in bands.items()
    }
    _, geobox = next(iter(bands.values()))
    return scene_of(files, name=name, **{"footprint": outline(geobox), **stated})
