"""Polygons in degrees: what people bring, mended; and how large it is."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

LONGEST_EDGE = 0.01
"""Degrees. An edge in a GeoJSON file is straight in degrees, a geodesic is not; at this length they
are less than two centimetres apart."""

AreaGeometry = Polygon | MultiPolygon


def areas_km2(geometries: Iterable[BaseGeometry]) -> npt.NDArray[np.float64]:
    """Areas of polygons on the WGS 84 ellipsoid.

    Parameters
    ----------
    geometries
        Polygons in EPSG:4326 (longitude, latitude). Ring orientation does not matter. Other kinds
        of geometry, and empty ones, have area 0.

    Returns
    -------
    ndarray
        float64, km², one number a geometry.

    Notes
    -----
    Karney (2013), "Algorithms for geodesics", as implemented in PROJ.
    """
    geod = Geod(ellps="WGS84")
    straight = [
        shapely.segmentize(shapely.orient_polygons(geometry), LONGEST_EDGE)
        for geometry in geometries
    ]
    return np.array(
        [
            sum(geod.geometry_area_perimeter(part)[0] for part in _parts(geometry)) / 1e6
            for geometry in straight
        ],
        dtype=np.float64,
    )


def polygons_of(geometry: BaseGeometry) -> AreaGeometry | None:
    """Keep what has an area: points and lines of a mixed geometry go; None when nothing stays."""
    parts = _parts(geometry)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def mended(geometry: BaseGeometry) -> tuple[AreaGeometry, list[str]]:
    """Make a geometry in degrees fit to work with, and say what was done to it.

    Heights are dropped, polygons that cross the antimeridian are cut there (RFC 7946, 3.1.9),
    invalid polygons are repaired (rings keep their meaning: shells are joined, holes cut out).

    Parameters
    ----------
    geometry
        Any geometry, longitude and latitude in degrees.

    Returns
    -------
    tuple
        The valid Polygon or MultiPolygon, and notices in plain words; none when it was fine.

    Raises
    ------
    ValueError
        With the reason, when it cannot be a part of the Earth's surface given in degrees.
    """
    notices = []
    if geometry.has_z:
        geometry = shapely.force_2d(geometry)
        notices.append("heights dropped")
    _check_degrees(geometry)
    polygons = polygons_of(geometry)
    if polygons is None:
        raise ValueError(f"is {_described(geometry)}, not a polygon")
    if _crosses_antimeridian(polygons):
        polygons = _cut_at_antimeridian(polygons)
        notices.append("cut at the antimeridian")
    if polygons is not None and not polygons.is_valid:
        reason = shapely.is_valid_reason(polygons).split("[")[0].lower()
        polygons = polygons_of(shapely.make_valid(polygons, method="structure"))
        notices.append(f"repaired ({reason})")
    if polygons is None or polygons.area == 0:
        raise ValueError("encloses nothing")
    return polygons, notices


def _parts(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    parts = getattr(geometry, "geoms", ())
    return [polygon for part in parts for polygon in _parts(part)]


def _described(geometry: BaseGeometry) -> str:
    if geometry.is_empty:
        return "empty"
    return f"a {geometry.geom_type}"


def _check_degrees(geometry: BaseGeometry) -> None:
    if geometry.is_empty:
        return
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        raise ValueError("has coordinates that are no numbers")
    longitude, latitude = np.abs(coordinates).max(axis=0)
    if longitude > 360 or latitude > 360:
        raise ValueError(f"has coordinates like {coordinates[0, 0]:.0f}, which are not degrees")
    if latitude > 90:
        raise ValueError(
            f"has latitude {latitude:.2f}: longitude and latitude are probably swapped"
        )


def _crosses_antimeridian(geometry: AreaGeometry) -> bool:
    if np.abs(geometry.bounds[::2]).max() > 180:
        return True
    rings = shapely.get_rings(geometry)
    return any(np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])).max() > 180 for ring in rings)


def _cut_at_antimeridian(geometry: AreaGeometry) -> AreaGeometry | None:
    pieces: list[BaseGeometry] = []
    for polygon in _parts(geometry):
        if not _crosses_antimeridian(polygon):
            pieces.append(polygon)
            continue
        # Between 0 and 360 degrees the polygon is in one piece; what lies beyond 180 moves back.
        whole = shapely.make_valid(_moved(polygon, 360, where_below=0), method="structure")
        pieces.append(whole.intersection(shapely.box(0, -90, 180, 90)))
        beyond = whole.intersection(shapely.box(180, -90, 360, 90))
        pieces.append(_moved(beyond, -360, where_below=np.inf))
    return polygons_of(shapely.union_all([piece for piece in pieces if not piece.is_empty]))


def _moved(geometry: BaseGeometry, degrees: float, *, where_below: float) -> BaseGeometry:
    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        longitude = np.where(xy[:, 0] < where_below, xy[:, 0] + degrees, xy[:, 0])
        return np.column_stack([longitude, xy[:, 1]])

    moved: BaseGeometry = shapely.transform(geometry, move)
    return moved
