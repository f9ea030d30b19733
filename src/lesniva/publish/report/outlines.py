"""Polygons in few numbers."""

from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from lesniva.publish.maps import words

STEPS_PER_DEGREE = 100_000
"""A step is about one metre, far below a pixel."""

Outline = list[list[list[int]]]
"""Polygons, each a list of rings (outer first), each flat steps: lon, lat of the first vertex, then
the differences from vertex to vertex; the closing vertex is left out."""


def encoded(geometry: shapely.Geometry) -> Outline:
    """Give the steps of a polygon or multipolygon in EPSG:4326; none of an empty one."""
    return [
        [_ring(ring) for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in shapely.get_parts(geometry)
        if isinstance(polygon, shapely.Polygon) and not polygon.is_empty
    ]


def _ring(ring: shapely.LinearRing) -> list[int]:
    steps: npt.NDArray[np.int64] = np.rint(
        shapely.get_coordinates(ring)[:-1] * STEPS_PER_DEGREE
    ).astype(np.int64)
    steps[1:] -= steps[:-1].copy()
    flat: list[int] = steps.ravel().tolist()
    return flat


def within_budget(shapes: gpd.GeoSeries, vertices: int) -> npt.NDArray[np.bool_]:
    """Mark the shapes, largest first, that together keep to a number of vertices."""
    largest_first = np.argsort(-shapely.area(shapes.to_numpy()), kind="stable")
    counts = shapely.get_num_coordinates(shapes.to_numpy())
    kept = np.zeros(len(shapes), dtype=bool)
    kept[largest_first] = np.cumsum(counts[largest_first]) <= vertices
    return kept


def districts(frame: gpd.GeoDataFrame, *, vertices: int = 20_000) -> list[dict[str, Any]]:
    """Give what the map of the page needs of districts: id, names, short names, outline.

    Parameters
    ----------
    frame
        ``adm_id``, ``name_en``, ``name_ru`` and geometry, any CRS.
    vertices
        Most vertices of all together; outlines are simplified until they have no more.
    """
    shapes = frame.geometry.to_crs("EPSG:4326")
    tolerance = 1e-4
    while shapely.get_num_coordinates(shapes.to_numpy()).sum() > vertices:
        shapes = shapely.coverage_simplify(shapes.to_numpy(), tolerance)
        shapes = gpd.GeoSeries(shapes, crs="EPSG:4326")
        tolerance *= 2
    return [
        {
            "id": adm_id,
            "en": name_en,
            "ru": name_ru,
            "label": {"en": words.short(name_en), "ru": words.short(name_ru)},
            "outline": encoded(shape),
        }
        for adm_id, name_en, name_ru, shape in zip(
            frame["adm_id"], frame["name_en"], frame["name_ru"], shapes, strict=True
        )
    ]
