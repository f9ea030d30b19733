"""A stack of COGs as Earth Search has them, and the floor of reading it."""

import datetime as dt
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from lesniva import cube, sources
from scenes import outline, scene_of, write_tif


@dataclass(frozen=True)
class CogStack:
    """Scenes of one place as COGs, and what reads them."""

    items: Path
    """Item collection."""
    geobox: GeoBox
    days: list[cube.SolarDay]


def write(folder: Path, *, dates: int = 18, side: int = 2048) -> CogStack:
    """Write scenes of so many pixels of 10 m along an edge: red and nir, and scl at 20 m."""
    noise = np.random.default_rng(1)
    geobox = GeoBox.from_bbox(
        (500_040, 5_809_540, 500_040 + 10 * side, 5_809_540 + 10 * side),
        "EPSG:32637",
        resolution=10,
    )
    coarse = geobox.zoom_out(2)
    lie = np.add.outer(np.sin(np.arange(side) / 40), np.cos(np.arange(side) / 55))
    items = []
    for number in range(dates):
        when = dt.datetime(2024, 5, 1, 8, 30, tzinfo=dt.UTC) + dt.timedelta(days=5 * number)
        name = f"S2A_37UDB_{when:%Y%m%d}_0_L2A"
        files = {}
        for band, level in (("red", 1_600), ("nir", 4_200)):
            values = level + 300 * lie + noise.normal(0, 60, lie.shape)
            files[band] = _write_cog(
                folder / name / f"{band}.tif", values.astype(np.uint16), geobox
            )
        patches = noise.choice([4, 5, 8, 9], p=[0.5, 0.2, 0.1, 0.2], size=(side // 64, side // 64))
        files["scl"] = _write_cog(
            folder / name / "scl.tif", np.kron(patches, np.ones((32, 32))).astype(np.uint8), coarse
        )
        items.append(scene_of(files, name=name, when=when, footprint=outline(geobox)).item)
    collection = folder / "items.json"
    collection.write_text(json.dumps(pystac.ItemCollection(_projected(items)).to_dict()))
    days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
    return CogStack(collection, geobox, days)


def _write_cog(path: Path, values: npt.NDArray[Any], geobox: GeoBox) -> Path:
    options = {"driver": "COG", "compress": "deflate", "predictor": 2, "blocksize": 1024}
    return write_tif(path, values, geobox, **options)


def _projected(items: list[pystac.Item]) -> list[pystac.Item]:
    """Say the projection of the files, which odc-stac and stackstac would open them for."""
    for item in items:
        item.properties["proj:code"] = "EPSG:32637"
        item.properties["proj:epsg"] = 32637
        for asset in item.assets.values():
            with rasterio.open(asset.href) as file:
                asset.extra_fields["proj:shape"] = list(file.shape)
                asset.extra_fields["proj:transform"] = list(file.transform)
                asset.extra_fields["raster:bands"] = [{"data_type": file.dtypes[0], "nodata": 0}]
    return items


def plain_reads(stack: CogStack) -> Callable[[], Any]:
    """Return the floor: GDAL reads all files in two threads, and nothing is done with them."""

    def read(href: str) -> None:
        with rasterio.open(href) as file:
            file.read(1)

    hrefs = [href for day in stack.days for scene in day.scenes for href in scene.files.values()]

    def read_all() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, hrefs))

    return read_all


def plain_windows(stack: CogStack, side: int) -> Callable[[], Any]:
    """Return the floor of reading blocks: GDAL reads the same windows in two threads.

    Parameters
    ----------
    side
        Pixels of 10 m along the edge of a block.
    """

    def one(corner: tuple[int, int]) -> None:
        for day in stack.days:
            for scene in day.scenes:
                for band, href in scene.files.items():
                    finer = 2 if band == "scl" else 1
                    place = (value // finer for value in (*corner, side, side))
                    with rasterio.open(href, driver="GTiff") as file:
                        file.read(1, window=Window(*place))

    height, width = stack.geobox.shape
    corners = [(col, row) for row in range(0, height, side) for col in range(0, width, side)]

    def read_all() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, corners))

    return read_all
