"""What a map stands on: rasters, one projection for all, districts, scale, and words in place."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import rasterio
import rasterio.transform
import rasterio.warp
import rasterio.windows
import shapely
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from lesniva.errors import InputError
from lesniva.publish.maps import page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Bounds = tuple[float, float, float, float]
"""West, south, east, north, in the units of the map."""

READ_SIDE = 1600
"""Most pixels a side that are read of one raster; its overviews make this quick for an oblast."""

BACKGROUND_SIDE = 640
"""Most cells a side of the drawn background: as fine as the picture shows at README width, and
coarse enough that even pure noise stays within the size of a picture one can send."""

GROUND = ("#f4f2ec", "#e6e6da", "#d3d9c6", "#bcc9b0", "#a5b79b", "#93a88b")
"""Background, from bare (NDVI `GROUND_RANGE`) to dense: quiet, so that alerts are seen first."""

GROUND_RANGE = (0.1, 0.9)


@dataclass(frozen=True)
class Piece:
    """The part of one raster that has values; all of it where none has."""

    values: npt.NDArray[np.float32]
    """(y, x), in the unit of the layer; NaN = missing."""
    crs: Any
    transform: Any
    when: str
    """Day the raster stands for, ISO; empty where it does not say."""


def read(path: Path) -> Piece:
    """Read a raster (north up), decimated to at most `READ_SIDE` pixels a side."""
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            if dataset.crs is None:
                raise InputError(f"{path} has no CRS and cannot be put on a map; give it one")
            shrink = max(1.0, max(dataset.shape) / READ_SIDE)
            rows, cols = (max(1, round(side / shrink)) for side in dataset.shape)
            numbers = dataset.read(
                1, out_shape=(rows, cols), masked=True, resampling=Resampling.average
            )
            values = numbers.astype(np.float32) * dataset.scales[0] + dataset.offsets[0]
            values = values.filled(np.nan).astype(np.float32)
            transform = rasterio.transform.from_bounds(*dataset.bounds, cols, rows)
            window = rasterio.windows.get_data_window(values, nodata=np.nan)
            if window.width:
                values = values[window.toslices()]
                transform = rasterio.windows.transform(window, transform)
            stamp = dataset.tags().get("TIFFTAG_DATETIME", "")[:10].replace(":", "-")
            return Piece(values, dataset.crs, transform, stamp)
    except RasterioError as error:
        raise InputError(f"cannot read the raster {path}: {error}; make it anew") from error


def _box(piece: Piece, crs: str) -> shapely.Polygon:
    """Box around a piece in another CRS."""
    bounds = rasterio.transform.array_bounds(*piece.values.shape, piece.transform)
    box: shapely.Polygon = shapely.box(*rasterio.warp.transform_bounds(piece.crs, crs, *bounds))
    return box


def projection(pieces: Sequence[Piece]) -> pyproj.CRS:
    """UTM where the rasters share a zone, else an equal-area projection of their middle.

    In the middle of either a unit is a metre on the ground, to a thousandth.
    """
    crs = pyproj.CRS.from_user_input(pieces[0].crs)
    if crs.utm_zone and all(piece.crs == pieces[0].crs for piece in pieces):
        return crs
    boxes = [_box(piece, "EPSG:4326") for piece in pieces]
    return equal_area(gpd.GeoSeries(boxes, crs="EPSG:4326"))


def equal_area(shapes: gpd.GeoSeries) -> pyproj.CRS:
    """Lambert's azimuthal equal-area projection around the middle of what is shown."""
    lon, lat = np.radians(shapely.get_coordinates(shapes.to_crs("EPSG:4326"))).T
    # The mean of directions knows no antimeridian.
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    lon_0 = math.degrees(math.atan2(y.mean(), x.mean()))
    lat_0 = math.degrees(math.atan2(z.mean(), math.hypot(x.mean(), y.mean())))
    return pyproj.CRS.from_proj4(
        f"+proj=laea +lat_0={lat_0:.4f} +lon_0={lon_0:.4f} +datum=WGS84 +units=m"
    )


def extent(
    pieces: Sequence[Piece], crs: pyproj.CRS, districts: gpd.GeoDataFrame, alerts: gpd.GeoDataFrame
) -> Bounds:
    """Choose what to show: what was seen of the districts, with all alerts and a margin."""
    boxes = [_box(piece, crs.to_wkt()) for piece in pieces]
    area: Any = shapely.box(*shapely.total_bounds(boxes))
    if len(districts):
        both = area.intersection(shapely.box(*districts.total_bounds))
        area = both if both.area else area
    if len(alerts):
        area = shapely.union(area, shapely.box(*alerts.total_bounds))
    west, south, east, north = area.bounds
    pad = 0.004 * max(east - west, north - south)
    return west - pad, south - pad, east + pad, north + pad


def frame(
    figure: "Figure", left: float, bottom: float, width: float, height: float, wanted: Bounds
) -> "Axes":
    """Give axes that show `wanted`, and around it what their shape has room for."""
    west, south, east, north = wanted
    inch = max((east - west) / width, (north - south) / height)
    x, y = (west + east) / 2, (south + north) / 2
    ax = page.axes(figure, left, bottom, width, height)
    ax.spines[:].set_visible(True)
    ax.set(xticks=[], xlim=(x - inch * width / 2, x + inch * width / 2))
    ax.set(yticks=[], ylim=(y - inch * height / 2, y + inch * height / 2))
    return ax


def view(ax: "Axes") -> Bounds:
    """Bounds of what a map shows."""
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    return west, south, east, north


def point(ax: "Axes") -> float:
    """Map units in one typographic point of paper."""
    west, east = ax.get_xlim()
    return (east - west) / ax.get_window_extent().width * page.DPI / 72


def draw(ax: "Axes", pieces: Sequence[Piece], crs: pyproj.CRS) -> "AxesImage":
    """Draw the rasters, brought onto one grid of the view."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    west, south, east, north = view(ax)
    cell = max(east - west, north - south) / BACKGROUND_SIDE
    rows, cols = (max(1, round(side / cell)) for side in (north - south, east - west))
    mosaic = np.full((rows, cols), np.nan, dtype=np.float32)
    for piece in pieces:
        part = np.full_like(mosaic, np.nan)
        rasterio.warp.reproject(
            piece.values,
            part,
            src_transform=piece.transform,
            src_crs=piece.crs,
            src_nodata=np.nan,
            dst_transform=rasterio.transform.from_bounds(west, south, east, north, cols, rows),
            dst_crs=crs.to_wkt(),
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
        mosaic = np.where(np.isnan(mosaic), part, mosaic)
    return ax.imshow(
        np.ma.masked_invalid(mosaic),
        extent=(west, east, south, north),
        cmap=ListedColormap(list(GROUND)),
        norm=BoundaryNorm(np.linspace(*GROUND_RANGE, len(GROUND) - 1), len(GROUND), extend="both"),
        interpolation="nearest",
        aspect="auto",
    )


def scale(ax: "Axes", unit: str) -> None:
    """Draw a bar of round kilometres under the right corner of a map, where it hides nothing."""
    west, south, east, _ = view(ax)
    power = 10.0 ** math.floor(math.log10((east - west) / 4))
    length = max(digit * power for digit in (1, 2, 5) if digit * power <= (east - west) / 4)
    low, high, left = south - 12 * point(ax), south - 7 * point(ax), east - length
    ends = [left, left, east, east], [high, low, low, high]
    ax.plot(*ends, color=page.INK, linewidth=1.4, clip_on=False)
    words = f"{length / 1000:g} {unit}"
    ax.text(left - 5 * point(ax), low, words, ha="right", va="center")


def demand(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> None:
    """Refuse a table without the columns, or shapes without a CRS."""
    absent = [column for column in columns if column not in frame]
    if absent:
        raise ValueError(f"{name} lack the columns {', '.join(absent)}; have {list(frame.columns)}")
    if isinstance(frame, gpd.GeoDataFrame) and frame.crs is None:
        raise ValueError(f"{name} have no CRS; call set_crs() before")


def present(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Rows that have a shape."""
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)]


def fill(ax: "Axes", shapes: Iterable[shapely.Geometry], **look: Any) -> None:
    """Draw polygons with matplotlib's face and edge colours, one each or one for all."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path as Outline

    paths = []
    # Detail finer than a third of a point is not seen, only paid for.
    for shape in shapely.simplify(list(shapes), 0.3 * point(ax)):
        # Where rings turn the same way the renderer fills the holes, too.
        rings = shapely.get_rings(shapely.get_parts(shapely.orient_polygons(shape)))
        # The rim of a hole three points wide would hide the hole and much beside it.
        large = shapely.area(shapely.polygons(rings)) >= (3 * point(ax)) ** 2
        wanted = rings[shapely.is_ccw(rings) | large]
        parts = [Outline(shapely.get_coordinates(ring), closed=True) for ring in wanted]
        paths.append(Outline.make_compound_path(*parts))
    ax.add_collection(PathCollection(paths, **look), autolim=False)


def outlines(ax: "Axes", districts: gpd.GeoDataFrame) -> None:
    """Fade what is outside of all districts, and draw their outlines."""
    if districts.empty:
        return
    outside = shapely.box(*view(ax)).difference(districts.make_valid().union_all())
    fill(ax, [outside], facecolors="white", alpha=0.65, linewidths=0)
    fill(ax, districts.geometry, facecolors="none", edgecolors="white", linewidths=2.2, alpha=0.6)
    fill(ax, districts.geometry, facecolors="none", edgecolors="#4d4d4d", linewidths=0.8)


def halo() -> list[Any]:
    """Effect that keeps words readable on any ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground="white")]


def text_box(ax: "Axes", text: Any) -> shapely.Polygon:
    """Box that a text takes, in map units."""
    corners = ax.transData.inverted().transform(text.get_window_extent().get_points())
    box: shapely.Polygon = shapely.box(*corners.ravel())
    return box


def write_inside(
    ax: "Axes",
    words: str,
    room: Any,
    *,
    alerts: Sequence[shapely.Geometry] = (),
    taken: Sequence[shapely.Polygon] = (),
    **look: Any,
) -> list[shapely.Polygon]:
    """Write words where they fit inside a shape, off what is taken and off most alerts.

    Gives the box they take; none, and nothing is written, where there is no room.
    """
    # A mended or cut shape may have lines beside its polygons; this leaves the polygons.
    room = shapely.make_valid(room).buffer(0)
    text = ax.text(0, 0, words, ha="center", va="center", parse_math=False, **look)
    west, south, east, north = text_box(ax, text).bounds
    wide, high = (east - west) / 2, (north - south) / 2
    if room.area:
        west, south, east, north = room.bounds
        middle = shapely.maximum_inscribed_circle(room).coords[0]
        grid = product(np.linspace(west, east, 25)[1:-1], np.linspace(south, north, 25)[1:-1])
        x, y = np.array([middle, *grid]).T
        places = shapely.box(x - wide, y - high, x + wide, y + high)
        shapely.prepare(room)
        free = shapely.contains(room, places) & shapely.disjoint(shapely.union_all(taken), places)
        hidden = shapely.STRtree(alerts).query(places, predicate="intersects")[0]
        hides = np.bincount(hidden, minlength=len(places))
        # Of the free places the one that hides the fewest alerts, then the nearest to the middle.
        best = np.lexsort((np.hypot(x - middle[0], y - middle[1]), hides, ~free))[0]
        if free[best]:
            text.set_position((x[best], y[best]))
            return [places[best]]
    text.remove()
    return []
