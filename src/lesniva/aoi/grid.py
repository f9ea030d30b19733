"""Pixels over an area: one grid per UTM zone, cut into blocks, the unit of work.

Blocks stand on a lattice that belongs to the CRS, not to the area: a block keeps its number and
its pixels when the outline moves elsewhere or districts are renamed, so its state stays good.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from lesniva.aoi.area import Area
from lesniva.aoi.geometry import AreaGeometry, polygons_of
from lesniva.errors import InputError

STEP_DEGREES = 0.01
"""Outlines get a vertex at least this often before they are projected, so that an edge straight in
degrees is followed to a decimetre, and neighbouring zones meet along their common meridian."""

TOP = 10_000_000
"""Metres, at or above everything in UTM: where rows are counted from, southwards."""

ROUNDING = 1e-3
"""Of a pixel: an outline that passes a pixel's edge by less does not need that pixel."""


@dataclass(frozen=True)
class Grid:
    """The pixels of one CRS that an area needs."""

    id: str
    """"utm37n", "epsg3035": names folders and block keys."""
    geobox: GeoBox
    """North up, square pixels in metres, tight around the outline."""
    outline: AreaGeometry
    """The piece of the area in this zone, in the grid's CRS."""
    lattice: tuple[float, float]
    """x and y of the corner where block (0, 0) begins: columns go east, rows south."""

    @property
    def resolution(self) -> float:
        """Edge of a pixel in metres."""
        return float(self.geobox.affine.a)


@dataclass(frozen=True)
class Block:
    """A tile of a grid: one task, bounded memory, one atomic write."""

    grid_id: str
    row: int
    col: int
    geobox: GeoBox
    """At most ``block_size`` pixels a side; less at the rim of the grid."""

    @property
    def key(self) -> str:
        """Name in folders and logs, such as ``utm37n/0793_0085``."""
        return f"{self.grid_id}/{self.row:04d}_{self.col:04d}"

    def padded(self, pixels: int) -> GeoBox:
        """Return the block with so many more pixels on each side."""
        return self.geobox.pad(pixels)


def grids(
    area: Area,
    *,
    resolution: float,
    block_size: int,
    crs: str | int | CRS | None = None,
    anchor: tuple[float, float] | None = None,
) -> list[Grid]:
    """Lay working grids over an area.

    Parameters
    ----------
    area
        Any area.
    resolution
        Edge of a pixel in metres.
    block_size
        Pixels along the edge of a block; the lattice of blocks is laid with it.
    crs
        One projected CRS for the whole area, for data that are not in UTM. By default every
        WGS 84 / UTM zone the area touches gets a grid (the exceptions of Norway and Svalbard are
        not made: Sentinel-2 tiles do not make them either).
    anchor
        x and y in metres of any pixel corner of the data, where these are not at whole multiples
        of the resolution; needs `crs`. The lattice of blocks begins there.

    Returns
    -------
    list of Grid
        From west to east, north before south. Edges at whole multiples of `resolution` (from
        `anchor`). The outlines of neighbouring zones meet without overlap or gap.

    Raises
    ------
    InputError
        When the resolution or block size is not positive, or the CRS is unknown, not projected
        in metres, or does not reach the area.
    """
    _check_numbers(resolution, block_size)
    if crs is None:
        if anchor is not None:
            raise InputError(f"grid anchor {anchor}: an anchor needs the crs it is given in")
        pieces = list(_utm_pieces(area.outline))
    else:
        pieces = [(_metric_crs(crs), area.outline)]
    span = resolution * block_size
    lattice = anchor or (0.0, math.ceil(TOP / span) * span)
    return [_grid(system, piece, resolution, lattice, area.id) for system, piece in pieces]


def blocks(grid: Grid, *, block_size: int) -> list[Block]:
    """Cut a grid into blocks and keep those that share ground with the outline.

    Parameters
    ----------
    grid
        From `grids`.
    block_size
        Pixels along the edge of a block; the same as in `grids`.

    Returns
    -------
    list of Block
        By rows from north to south, in a row from west to east. Together they hold every pixel
        of the grid inside the outline, once. Nothing is rasterised.
    """
    _check_numbers(grid.resolution, block_size)
    span = grid.resolution * block_size
    top, left = _offset(grid)
    height, width = grid.geobox.shape.yx
    rows = np.arange(top // block_size, (top + height - 1) // block_size + 1)
    cols = np.arange(left // block_size, (left + width - 1) // block_size + 1)
    row, col = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    x, y = grid.lattice[0] + col * span, grid.lattice[1] - row * span
    squares = shapely.box(x, y - span, x + span, y)
    shapely.prepare(grid.outline)
    touched = shapely.intersects(grid.outline, squares)
    touched[touched] = ~shapely.touches(grid.outline, squares[touched])
    return [
        Block(grid.id, r, c, _cropped(grid, r, c, block_size))
        for r, c in zip(row[touched].tolist(), col[touched].tolist(), strict=True)
    ]


def inside(block: Block, grid: Grid) -> npt.NDArray[np.bool_]:
    """Which pixels of a block belong to the area.

    Parameters
    ----------
    block
        A block of `grid`.
    grid
        The grid, for its outline.

    Returns
    -------
    ndarray
        bool, (y, x): True where the pixel's centre lies inside the outline.
    """
    from rasterio.features import geometry_mask

    shape = block.geobox.shape.yx
    if grid.outline.contains(shapely.box(*_bounds(block.geobox))):
        return np.ones(shape, dtype=np.bool_)
    mask: npt.NDArray[np.bool_] = geometry_mask(
        [grid.outline], shape, block.geobox.affine, all_touched=False, invert=True
    )
    return mask


def _check_numbers(resolution: float, block_size: int) -> None:
    if not (math.isfinite(resolution) and resolution > 0):
        raise InputError(f"grid resolution {resolution}: give metres, more than 0")
    if block_size < 1:
        raise InputError(f"grid block size {block_size}: give a number of pixels, 1 or more")


def _metric_crs(crs: str | int | CRS) -> CRS:
    try:
        system = CRS(crs)
    except CRSError as error:
        raise InputError(f"grid crs {crs}: unknown; give one like EPSG:32637") from error
    units = {axis.unit_name for axis in system.proj.axis_info}
    if not system.projected or units != {"metre"}:
        raise InputError(
            f"grid crs {crs}: its units are {', '.join(sorted(units))};"
            " pixels need a projected CRS in metres, such as EPSG:32637"
        )
    return system


def _utm_pieces(outline: AreaGeometry) -> Iterator[tuple[CRS, AreaGeometry]]:
    west, _, east, _ = outline.bounds
    first = int((west + 180) // 6) + 1
    last = min(int((east + 180) // 6) + 1, 60)
    for zone in range(first, last + 1):
        left = 6 * zone - 186
        for south, north, code in ((0, 90, 32600), (-90, 0, 32700)):
            piece = polygons_of(outline.intersection(shapely.box(left, south, left + 6, north)))
            if piece is not None:
                yield CRS(f"EPSG:{code + zone}"), piece


def _grid(
    crs: CRS, piece: AreaGeometry, resolution: float, lattice: tuple[float, float], area_id: str
) -> Grid:
    outline = _projected(piece, crs)
    if outline is None:
        raise InputError(f"grid crs {crs}: does not reach the area {area_id}; choose another")
    return Grid(_grid_id(crs), _tight_geobox(outline, crs, resolution, lattice), outline, lattice)


def _projected(piece: BaseGeometry, crs: CRS) -> AreaGeometry | None:
    transformer = CRS("EPSG:4326").transformer(crs)
    dense = shapely.segmentize(piece, STEP_DEGREES)
    projected = shapely.transform(
        dense, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
    )
    if not np.isfinite(shapely.get_coordinates(projected)).all():
        return None
    return polygons_of(shapely.make_valid(projected, method="structure"))


def _grid_id(crs: CRS) -> str:
    zone = crs.proj.utm_zone
    if crs.epsg is not None and zone and crs.epsg // 100 in (326, 327):
        return f"utm{zone.lower().zfill(3)}"
    if crs.epsg is not None:
        return f"epsg{crs.epsg}"
    return f"crs{hashlib.sha256(crs.to_wkt().encode()).hexdigest()[:8]}"


def _tight_geobox(
    outline: AreaGeometry, crs: CRS, resolution: float, lattice: tuple[float, float]
) -> GeoBox:
    west, south, east, north = outline.bounds
    cols = _steps(west - lattice[0], east - lattice[0], resolution)
    rows = _steps(lattice[1] - north, lattice[1] - south, resolution)
    x, y = lattice[0] + cols[0] * resolution, lattice[1] - rows[0] * resolution
    transform = Affine(resolution, 0, float(x), 0, -resolution, float(y))
    return GeoBox((len(rows), len(cols)), transform, crs)


def _steps(start: float, stop: float, step: float) -> npt.NDArray[np.int64]:
    """Numbers of the steps that cover start to stop; at least one."""
    first = math.floor(start / step + ROUNDING)
    last = math.ceil(stop / step - ROUNDING)
    return np.arange(first, max(last, first + 1), dtype=np.int64)


def _bounds(geobox: GeoBox) -> tuple[float, float, float, float]:
    box = geobox.boundingbox
    return box.left, box.bottom, box.right, box.top


def _offset(grid: Grid) -> tuple[int, int]:
    """Row and column, counted in pixels from the lattice, of the grid's first pixel."""
    west, _, _, north = _bounds(grid.geobox)
    top = round((grid.lattice[1] - north) / grid.resolution)
    left = round((west - grid.lattice[0]) / grid.resolution)
    return top, left


def _cropped(grid: Grid, row: int, col: int, block_size: int) -> GeoBox:
    """Pixels of block (row, col) that the grid has."""
    top, left = _offset(grid)
    height, width = grid.geobox.shape.yx
    y, x = row * block_size - top, col * block_size - left
    rows = slice(max(y, 0), min(y + block_size, height))
    cols = slice(max(x, 0), min(x + block_size, width))
    return grid.geobox[rows, cols]
