"""Rasters and cut-outs of scenes as images inside the page."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.transform
import rasterio.warp
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from lesniva.conventions import DN_PER_REFLECTANCE, NODATA_INT16
from lesniva.publish.cog import rgba
from lesniva.publish.layers import Layer

WEB_MERCATOR = "EPSG:3857"

SIDES = (1600, 1200, 800, 400)
"""Most pixels a side of an overlay, tried until it is small enough."""

MOST_BYTES = 1_500_000
"""Of one overlay."""

BRIGHT = 0.16
"""Reflectance that is shown white: forest is dark, and bare ground is about this bright."""

GAMMA = 1 / 1.6
"""Lifts the dark greens."""

Pixels = npt.NDArray[np.uint8]


def coloured(layer: Layer, numbers: npt.NDArray[Any]) -> Pixels:
    """Colours of the numbers of a raster file, as its QGIS style has them.

    Parameters
    ----------
    layer
        Classes or a quantity.
    numbers
        (y, x), as in the file.

    Returns
    -------
    numpy.ndarray
        (y, x, 4) uint8 RGBA; missing values and unknown classes are transparent.
    """
    picture: Pixels = np.zeros((*numbers.shape, 4), dtype=np.uint8)
    if layer.kind == "classes":
        for each in layer.classes:
            picture[numbers == each.value] = rgba(each.colour)
        return picture
    values = numbers * layer.scale + layer.offset
    stops = [stop.value for stop in layer.ramp]
    colours = np.array([rgba(stop.colour) for stop in layer.ramp])
    for channel in range(4):
        picture[..., channel] = np.rint(np.interp(values, stops, colours[:, channel]))
    picture[numbers == layer.nodata] = 0
    return picture


def overlay(layer: Layer, paths: Sequence[Path]) -> dict[str, Any]:
    """Draw the rasters of one layer as a picture in web mercator, for a map without tiles.

    Parameters
    ----------
    layer
        What they hold.
    paths
        Rasters of the layer, one a grid.

    Returns
    -------
    dict
        ``image`` (data URI) and ``bounds`` ([[south, west], [north, east]] in degrees).
    """
    boxes = np.array([_mercator_bounds(path) for path in paths])
    bounds = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    for side in SIDES:
        image = _webp(coloured(layer, _mosaic(layer, paths, bounds, side)))
        if len(image) <= MOST_BYTES:
            break
    west, south, east, north = rasterio.warp.transform_bounds(WEB_MERCATOR, "EPSG:4326", *bounds)
    return {"image": _data_uri(image), "bounds": [[south, west], [north, east]]}


def _mercator_bounds(path: Path) -> tuple[float, float, float, float]:
    with (
        rasterio.open(path, driver="GTiff") as raster,
        WarpedVRT(raster, crs=WEB_MERCATOR) as warped,
    ):
        west, south, east, north = warped.bounds
    return west, south, east, north


def _mosaic(
    layer: Layer, paths: Sequence[Path], bounds: tuple[float, ...], side: int
) -> npt.NDArray[Any]:
    """Numbers of rasters on one grid in web mercator; the first that has a value counts."""
    west, south, east, north = bounds
    cell = max(east - west, north - south) / side
    width, height = (max(1, round(span / cell)) for span in (east - west, north - south))
    grid = {
        "crs": WEB_MERCATOR,
        "transform": rasterio.transform.from_bounds(*bounds, width, height),
        "width": width,
        "height": height,
        "resampling": Resampling.average if layer.kind == "quantity" else Resampling.nearest,
    }
    mosaic = np.full((height, width), layer.nodata, dtype=layer.dtype)
    for path in paths:
        with rasterio.open(path, driver="GTiff") as raster, WarpedVRT(raster, **grid) as warped:
            numbers = warped.read(1)
        np.copyto(mosaic, numbers, where=mosaic == layer.nodata)
    return mosaic


def chip(bands: npt.NDArray[np.int16]) -> str:
    """Draw a cut-out of a scene.

    Parameters
    ----------
    bands
        (3, y, x) int16 harmonised DN, shown as red, green and blue.

    Returns
    -------
    str
        Data URI; missing pixels are transparent.
    """
    reflectance = np.clip(bands / (DN_PER_REFLECTANCE * BRIGHT), 0, 1)
    colour = np.rint(255 * reflectance**GAMMA).astype(np.uint8)
    alpha = np.where((bands == NODATA_INT16).any(axis=0), 0, 255).astype(np.uint8)
    return _data_uri(_webp(np.dstack([*colour, alpha])))


def _webp(pixels: Pixels) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=82, method=4)
    return buffer.getvalue()


def _data_uri(image: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(image).decode('ascii')}"
