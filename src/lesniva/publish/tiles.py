"""Map tiles of published rasters, coloured as QGIS colours them: by the style beside the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError

from lesniva.errors import InputError
from lesniva.publish.cog import rgba

SIZE = 256
"""Pixels along the edge of a tile."""

DEEPEST = 22
"""Largest zoom level: a pixel is four centimetres at the equator."""


@dataclass(frozen=True)
class Style:
    """What a QGIS style says of the colours of a raster."""

    kind: str
    """``paletted`` (a colour each value), ``discrete`` (each up to its value) or ``interpolated``.
    """
    values: npt.NDArray[np.float64]
    """Rising, in the unit of the layer."""
    colours: npt.NDArray[np.uint8]
    """(value, 4) RGBA."""


def read_style(path: Path) -> Style:
    """Read the colours of a raster style (QML) as `qgis.write_style` writes them, or QGIS.

    Raises
    ------
    InputError
        There is no such file, or it has no colours by value.
    """
    try:
        root = defusedxml.ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; a raster needs it") from error
    except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException) as error:
        raise InputError(f"{path} is no QGIS style: {error}; save the style anew") from error
    shader = root.find(".//colorrampshader")
    kind, entries = "paletted", root.findall(".//paletteEntry")
    if shader is not None:
        kind, entries = shader.get("colorRampType", "").lower(), shader.findall("item")
    if not entries or kind not in ("paletted", "discrete", "interpolated"):
        raise InputError(f"{path} has no colours by value; use a palette or a colour ramp")
    rising = sorted(entries, key=lambda entry: float(entry.get("value", "nan")))
    return Style(
        kind,
        np.array([float(entry.get("value", "nan")) for entry in rising]),
        np.array([_colour(entry) for entry in rising], dtype=np.uint8),
    )


def _colour(entry: Any) -> Sequence[int]:
    return (*rgba(entry.get("color", ""))[:3], int(entry.get("alpha", 255)))


def painted(style: Style, values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Colours of values.

    Parameters
    ----------
    values
        (y, x) in the unit of the layer, NaN = missing.

    Returns
    -------
    numpy.ndarray
        (y, x, 4) uint8 RGBA; transparent where missing, or where the style has no colour.
    """
    known = np.isfinite(values)
    picture = np.zeros((*values.shape, 4), dtype=np.uint8)
    if style.kind == "interpolated":
        for channel in range(4):
            steps = np.interp(values[known], style.values, style.colours[:, channel])
            picture[known, channel] = np.rint(steps)
        return picture
    place = np.searchsorted(style.values, np.where(known, values, np.inf))
    coloured = known & (place < len(style.values))
    if style.kind == "paletted":
        coloured &= style.values[np.minimum(place, len(style.values) - 1)] == values
    picture[coloured] = style.colours[place[coloured]]
    return picture


def tile(path: Path, zoom: int, column: int, row: int) -> bytes:
    """Draw one tile of a raster, in web mercator, north first (XYZ).

    Parameters
    ----------
    path
        Published raster, with its style beside it. Values are those of the nearest pixel: no new
        ones are made.

    Returns
    -------
    bytes
        PNG, transparent outside the raster.

    Raises
    ------
    InputError
        There is no such tile, the raster cannot be read, or it has no style.
    """
    from PIL import Image
    from rio_tiler.errors import TileOutsideBounds
    from rio_tiler.io import Reader

    if not 0 <= zoom <= DEEPEST or not (0 <= column < 2**zoom and 0 <= row < 2**zoom):
        raise InputError(f"there is no tile {zoom}/{column}/{row}; zoom goes from 0 to {DEEPEST}")
    style = read_style(path.with_suffix(".qml"))
    values = np.full((SIZE, SIZE), np.nan)
    try:
        with rasterio.open(path, driver="GTiff") as raster, Reader(None, dataset=raster) as reader:
            image = reader.tile(column, row, zoom, tilesize=SIZE, indexes=1)
            numbers = image.array[0].astype(np.float64)
            values = (numbers * raster.scales[0] + raster.offsets[0]).filled(np.nan)
    except TileOutsideBounds:
        pass  # nothing of the raster is there
    except RasterioError as error:
        raise InputError(f"{path.name} cannot be read as a GeoTIFF: {error}") from error
    buffer = BytesIO()
    Image.fromarray(painted(style, values)).save(buffer, "PNG")
    return buffer.getvalue()
