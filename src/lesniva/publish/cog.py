"""Cloud Optimised GeoTIFF, whole area, from blocks in bounded memory.

The blocks go into a sparse, uncompressed, tiled GeoTIFF beside the final name; GDAL's COG driver
then makes the product of it. Two passes cost disk for a while, but a COG has its overviews before
its pixels and cannot be written block by block. The same blocks give the same bytes: nothing in the
file comes from the clock.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil

# GDAL's own errors come through some calls unwrapped; rasterio has no public name for them.
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from lesniva.errors import EnvironmentFaultError
from lesniva.publish.layers import Layer
from lesniva.storage import whole_file

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Block = tuple[int, int, npt.NDArray[Any]]
"""Row and column of the upper left pixel in the whole grid, and the pixels."""

TILE = 512

CACHE_MIB = 128
"""GDAL's block cache while a raster is written; its default grows with the machine."""


@dataclass(frozen=True)
class RasterStats:
    """What a published raster holds, in the numbers of the file (before scale and offset)."""

    total: int
    """Pixels of the grid."""
    valid: int
    """Pixels that are not missing."""
    minimum: int | None
    """None, like the other three, where nothing is valid."""
    maximum: int | None
    mean: float | None
    stddev: float | None
    classes: dict[int, int]
    """Pixels of each class that occurs; empty for other layers."""


def write_cog(
    path: Path,
    layer: Layer,
    geobox: "GeoBox",
    blocks: Iterable[Block],
    *,
    when: dt.date,
    attribution: str,
    tags: Mapping[str, str] | None = None,
) -> RasterStats:
    """Write one layer of a whole area as a COG.

    Parameters
    ----------
    path
        Final name, ``.tif``. It appears when the file is whole.
    layer
        How the numbers are stored and shown (`lesniva.publish.layers`).
    geobox
        Grid of the whole area, north up.
    blocks
        ``(row, column, pixels)`` in any order, pixels 2-D in the dtype of the layer
        (`lesniva.publish.layers.encode`), without halo. Where no block is, the file is missing
        (and takes no space); where blocks overlap, the later wins.
    when
        Date (or UTC time) the product stands for; goes into ``TIFFTAG_DATETIME``.
    attribution
        Credit, or the notice that the data is synthetic; goes into ``TIFFTAG_COPYRIGHT``.
    tags
        Provenance: more items for the metadata of the file.

    Returns
    -------
    RasterStats
        Counted on the pixels as they stand in the file. A raster without a single valid pixel is
        written as well (a date layer without alerts is one); see its ``valid``.

    Raises
    ------
    ValueError
        A block of another dtype, outside the grid, or with a class the layer does not have.
    EnvironmentFaultError
        The disk is full or cannot be written; an earlier file of that name is then untouched.
    """
    with whole_file(path) as temporary:
        mosaic = temporary.with_name(f"{temporary.stem}-mosaic.tif")
        try:
            # PAM would drop .aux.xml files beside ours.
            with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_CACHEMAX=CACHE_MIB):
                stats = _write_mosaic(
                    mosaic, layer, geobox, blocks, _tags(layer, when, attribution, tags)
                )
                rasterio.shutil.copy(mosaic, temporary, driver="COG", **_cog_options(layer))
        except (RasterioError, CPLE_BaseError) as error:
            needed = geobox.shape[0] * geobox.shape[1] * np.dtype(layer.dtype).itemsize
            raise EnvironmentFaultError(
                f"cannot write {path}: {error}; it takes up to {needed / 2**20:.0f} MiB beside "
                "itself while it is made: free some space or choose another folder"
            ) from error
        finally:
            mosaic.unlink(missing_ok=True)
    return stats


def _tags(
    layer: Layer, when: dt.date, attribution: str, tags: Mapping[str, str] | None
) -> dict[str, str]:
    return {
        **(tags or {}),
        "TIFFTAG_IMAGEDESCRIPTION": f"{layer.title_en}: {layer.description}",
        "TIFFTAG_SOFTWARE": f"lesniva {version('lesniva')}",
        "TIFFTAG_DATETIME": _tiff_time(when),
        "TIFFTAG_COPYRIGHT": attribution,
    }


def _tiff_time(when: dt.date) -> str:
    if not isinstance(when, dt.datetime):
        return f"{when:%Y:%m:%d} 00:00:00"
    if when.tzinfo is not None:
        when = when.astimezone(dt.UTC)
    return f"{when:%Y:%m:%d %H:%M:%S}"


def _cog_options(layer: Layer) -> dict[str, str]:
    return {
        "BLOCKSIZE": str(TILE),
        "COMPRESS": "DEFLATE",
        "LEVEL": "6",
        # Differences help where neighbours are near each other in value; classes are not.
        "PREDICTOR": "STANDARD" if layer.kind == "quantity" else "NO",
        "OVERVIEW_RESAMPLING": layer.overview_resampling,
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
    }


def _write_mosaic(
    path: Path, layer: Layer, geobox: "GeoBox", blocks: Iterable[Block], tags: Mapping[str, str]
) -> RasterStats:
    with rasterio.open(
        path,
        "w+",
        driver="GTiff",
        width=geobox.shape[1],
        height=geobox.shape[0],
        count=1,
        dtype=layer.dtype,
        nodata=layer.nodata,
        crs=_crs(geobox),
        transform=geobox.affine,
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        SPARSE_OK=True,
        BIGTIFF="IF_SAFER",
    ) as dataset:
        for row, column, pixels in blocks:
            _check_block(layer, geobox, row, column, pixels)
            height, width = pixels.shape
            dataset.write(pixels, 1, window=Window(column, row, width, height))
        stats = _stats(dataset, layer)
        dataset.update_tags(**tags)
        dataset.update_tags(1, **_statistics_tags(stats))
        dataset.set_band_description(1, layer.name)
        if layer.unit:
            dataset.set_band_unit(1, layer.unit)
        if (layer.scale, layer.offset) != (1.0, 0.0):
            dataset.scales, dataset.offsets = (layer.scale,), (layer.offset,)
        if layer.classes:
            dataset.write_colormap(1, _colour_table(layer))
    return stats


def _crs(geobox: "GeoBox") -> CRS:
    if geobox.crs is None:
        raise ValueError("a grid without a CRS cannot be published; give the geobox its CRS")
    epsg = geobox.crs.to_epsg()
    return CRS.from_epsg(epsg) if epsg else CRS.from_wkt(geobox.crs.to_wkt())


def _check_block(
    layer: Layer, geobox: "GeoBox", row: int, column: int, pixels: npt.NDArray[Any]
) -> None:
    where = f"block at row {row}, column {column} of layer {layer.name}"
    if pixels.ndim != 2 or pixels.dtype != layer.dtype:
        raise ValueError(
            f"{where} is {pixels.ndim}-D {pixels.dtype}, not 2-D {layer.dtype}; use encode()"
        )
    height, width = pixels.shape
    rows, columns = geobox.shape
    if row < 0 or column < 0 or row + height > rows or column + width > columns:
        raise ValueError(f"{where} ({height} x {width}) leaves the grid of {rows} x {columns}")


def _stats(dataset: Any, layer: Layer) -> RasterStats:
    """Statistics in exact integers, so that the order of the tiles cannot matter."""
    valid = sums = squares = 0
    low, high = None, None
    shift: int | None = None
    counts = np.zeros(256, dtype=np.int64)
    for _, window in dataset.block_windows(1):
        block = dataset.read(1, window=window)
        numbers = block[block != layer.nodata]
        if numbers.size == 0:
            continue
        if layer.classes:
            counts += np.bincount(numbers, minlength=256)
        first, last = int(numbers.min()), int(numbers.max())
        low = first if low is None else min(low, first)
        high = last if high is None else max(high, last)
        # Squares of YYYYMMDD would overflow 64 bits; squares of differences do not.
        shift = first if shift is None else shift
        shifted = numbers.astype(np.int64) - shift
        valid += numbers.size
        sums += int(shifted.sum())
        squares += int((shifted * shifted).sum())
    classes = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    unknown = sorted(set(classes) - {known.value for known in layer.classes})
    if layer.classes and unknown:
        raise ValueError(f"layer {layer.name} has no classes {unknown}; add them to its table")
    total = dataset.width * dataset.height
    if shift is None:
        return RasterStats(total, 0, None, None, None, None, {})
    mean = sums / valid + shift
    stddev = math.sqrt(max(valid * squares - sums * sums, 0)) / valid
    return RasterStats(total, valid, low, high, mean, stddev, classes)


def _statistics_tags(stats: RasterStats) -> dict[str, str]:
    if stats.valid == 0:
        return {}
    return {
        "STATISTICS_MINIMUM": str(stats.minimum),
        "STATISTICS_MAXIMUM": str(stats.maximum),
        "STATISTICS_MEAN": f"{stats.mean:.10g}",
        "STATISTICS_STDDEV": f"{stats.stddev:.10g}",
        "STATISTICS_VALID_PERCENT": f"{100 * stats.valid / stats.total:.4g}",
    }


def _colour_table(layer: Layer) -> dict[int, tuple[int, int, int, int]]:
    return {known.value: rgba(known.colour) for known in layer.classes}


def rgba(colour: str) -> tuple[int, int, int, int]:
    """Red, green, blue and alpha (0-255) of ``#rrggbb`` or ``#rrggbbaa``."""
    parts = bytes.fromhex(colour.removeprefix("#"))
    red, green, blue = parts[:3]
    return red, green, blue, parts[3] if len(parts) == 4 else 255
