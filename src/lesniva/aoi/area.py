"""The area file: which ground a job is about, and the districts its results are told by.

An area file is RFC 7946 GeoJSON. One feature of ``kind`` "region" carries ``id``, ``name_en``,
``name_ru`` and the outline; every other feature is a district with an ``id`` of its own. A file
with districts only is taken with their union as outline, a single polygon without any properties
as an area named after the file.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from lesniva.aoi.geometry import AreaGeometry, areas_km2, mended, polygons_of
from lesniva.errors import InputError
from lesniva.storage import write_text

logger = logging.getLogger(__name__)

DISTRICT_COLUMNS = ["name_en", "name_ru", "kind", "oktmo", "approximate", "geometry"]

MAX_BYTES = 128_000_000
MAX_VERTICES = 1_000_000
MAX_KM2 = 5_000_000.0
"""Larger than any subject of the Federation (Yakutia: 3.1 million); beyond it a polygon is more
likely a mistake, and a search over half the world is not what was meant."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "123456789"
}
_WGS84 = re.compile(r"(urn:ogc:def:crs:)?(OGC:(1\.3|2|):?CRS84|EPSG:[\d.]*:?4326)", re.IGNORECASE)
_NORTHERN_EURASIA = shapely.box(19, 41, 180, 82)


@dataclass(frozen=True, eq=False)
class Area:
    """The ground a job is about."""

    id: str
    """Name in files and folders: lower-case Latin letters, digits, ``_`` and ``-``."""
    name_en: str
    name_ru: str
    outline: AreaGeometry
    """EPSG:4326, valid, two-dimensional, cut at the antimeridian."""
    districts: gpd.GeoDataFrame
    """Index ``adm_id``; columns ``name_en name_ru kind oktmo approximate geometry`` (oktmo is ""
    where unknown). An area without districts has one: itself."""
    approximate: bool
    """True when any boundary is only a sketch, so that no figure of a district is official."""
    source: str
    """Where the boundaries come from, with their licence."""
    notices: tuple[str, ...] = ()
    """What was mended while reading."""


@dataclass(frozen=True)
class _Feature:
    properties: dict[str, Any]
    geometry: AreaGeometry
    kind: str

    def text(self, *keys: str) -> str:
        """Return the first of the named properties that says anything."""
        for key in keys:
            value = self.properties.get(key)
            if value is not None and str(value).strip():
                return str(value).strip()
        return ""


def is_path_safe(identifier: str) -> bool:
    """Whether an id may name files and folders on every system."""
    return bool(_ID.fullmatch(identifier)) and identifier not in _DEVICES


def load(path: str | Path, *, clip: Sequence[float] | None = None) -> Area:
    """Read an area file.

    Parameters
    ----------
    path
        RFC 7946 GeoJSON: a FeatureCollection, a Feature or a bare polygon, WGS 84.
    clip
        West, south, east, north in degrees: keep only this part of the area.

    Returns
    -------
    Area
        With every geometry valid. What had to be repaired is logged and listed in ``notices``.

    Raises
    ------
    InputError
        With all faults of the file: missing, no GeoJSON, another CRS, ids that are missing, twice
        there or unfit for a file name, empty or swapped coordinates, more than a million vertices,
        a `clip` outside the area.
    """
    path = Path(path)
    faults: list[str] = []
    notices: list[str] = []
    document = _read_json(path)
    try:
        features = _features(document, faults, notices)
    except RecursionError as error:
        raise InputError(f"area file {path}: nested too deep; no GeoJSON is") from error
    area = None if faults else _area(features, path, faults, notices)
    if area is None or faults:
        raise InputError(
            f"area file {path}: {'; '.join(faults)}. Mend the file, or make one from a boundary"
            " file in any CRS with `lesniva aoi import`"
        )
    for notice in notices:
        logger.warning("area file %s: %s", path, notice)
    return area if clip is None else clipped(area, clip)


def clipped(area: Area, clip: Sequence[float]) -> Area:
    """Cut an area to a box.

    Parameters
    ----------
    area
        The whole area.
    clip
        West, south, east, north in degrees.

    Returns
    -------
    Area
        Outline and districts cut to the box; districts outside it are left out; same id.

    Raises
    ------
    InputError
        When `clip` is no box or has no ground in common with the area.
    """
    bounds = [float(value) for value in clip]
    if not _is_box(bounds):
        raise InputError(
            f"clip of area {area.id}: {list(clip)} is no box; give west, south, east, north"
            " in degrees with west < east and south < north"
        )
    box = shapely.box(bounds[0], bounds[1], bounds[2], bounds[3])
    outline = polygons_of(area.outline.intersection(box))
    if outline is None:
        found = ", ".join(f"{value:.3f}" for value in area.outline.bounds)
        raise InputError(
            f"clip of area {area.id}: {bounds} lies outside it;"
            f" its west, south, east, north are {found}"
        )
    districts = area.districts.copy()
    districts["geometry"] = [polygons_of(shape.intersection(box)) for shape in districts.geometry]
    districts = districts[districts.geometry.notna()]
    return replace(area, outline=outline, districts=districts)


def _is_box(bounds: list[float]) -> bool:
    finite = len(bounds) == 4 and all(map(math.isfinite, bounds))
    return finite and bounds[0] < bounds[2] and bounds[1] < bounds[3]


def save(area: Area, path: str | Path) -> None:
    """Write an area file, whole or not at all.

    RFC 7946: longitude and latitude with six decimals (a decimetre), exterior rings
    counter-clockwise, no ``crs`` member; one feature a line, so that versions can be compared.

    Parameters
    ----------
    area
        What `load` will give back.
    path
        The file to write; its folder is made.

    Raises
    ------
    InputError
        When a district is too small for that precision.
    EnvironmentFaultError
        When the disk does not let it.
    """
    region = {
        "id": area.id,
        "kind": "region",
        "name_en": area.name_en,
        "name_ru": area.name_ru,
        "source": area.source,
        "axis_order": "lonlat" if _looks_swapped(area.outline) else None,
    }
    lines = [_feature_line(region, area.outline)]
    for adm_id, row in area.districts.iterrows():
        if row.kind == "region":
            continue
        properties = {
            "id": adm_id,
            "kind": row.kind,
            "name_en": row.name_en,
            "name_ru": row.name_ru,
            "oktmo": row.oktmo or None,
            "approximate": True if row.approximate else None,
        }
        lines.append(_feature_line(properties, row.geometry))
    text = ",\n".join(lines)
    write_text(Path(path), f'{{"type":"FeatureCollection","features":[\n{text}\n]}}\n')


def _feature_line(properties: dict[str, Any], geometry: AreaGeometry) -> str:
    exact = polygons_of(shapely.set_precision(geometry, 1e-6))
    if exact is None:
        raise InputError(
            f"area {properties['id']}: vanishes when its coordinates are rounded to a decimetre;"
            " leave it out of the boundary file"
        )
    kept = {key: value for key, value in properties.items() if value is not None}
    feature = {
        "type": "Feature",
        "properties": kept,
        # Normal form first: saved twice, an area gives the same bytes.
        "geometry": json.loads(shapely.to_geojson(shapely.orient_polygons(exact.normalize()))),
    }
    return json.dumps(feature, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _read_json(path: Path) -> Any:
    advice = "give a GeoJSON file, or make one with `lesniva aoi import`"
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"area file {path}: {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f};"
                " simplify the boundaries first"
            )
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON ({error})"
        raise InputError(f"area file {path}: {reason}; {advice}") from error
    except RecursionError as error:
        raise InputError(f"area file {path}: nested too deep; no GeoJSON is") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _features(document: Any, faults: list[str], notices: list[str]) -> list[_Feature]:
    raw = _raw_features(document, faults)
    crs = _crs_name(document)
    if crs and not _WGS84.fullmatch(crs):
        faults.append(f"its crs is {crs}, an area file is in WGS 84 (use `lesniva aoi import`)")
    if faults:
        return []
    vertices = sum(_count_positions(feature.get("geometry")) for feature in raw)
    if vertices > MAX_VERTICES:
        faults.append(f"{vertices} vertices, more than {MAX_VERTICES}: simplify the boundaries")
        return []
    found = []
    for number, feature in enumerate(raw, start=1):
        properties = dict(feature.get("properties") or {})
        if "id" in feature:
            properties.setdefault("id", feature["id"])
        label = f"feature {number}" + (f" ({properties['id']})" if "id" in properties else "")
        try:
            geometry, done = mended(_geometry(feature.get("geometry")))
        except ValueError as error:
            faults.append(f"{label} {error}")
            continue
        notices += [f"{label}: {what}" for what in done]
        kind = str(properties.get("kind") or "district")
        found.append(_Feature(properties, geometry, kind))
    return found


def _raw_features(document: Any, faults: list[str]) -> list[dict[str, Any]]:
    kind = document.get("type") if isinstance(document, dict) else None
    if kind in ("Polygon", "MultiPolygon"):
        return [{"type": "Feature", "properties": {}, "geometry": document}]
    if kind == "Feature":
        return [document]
    features = document.get("features") if kind == "FeatureCollection" else None
    if not isinstance(features, list) or not all(map(_is_feature, features)):
        faults.append("not a GeoJSON FeatureCollection")
        return []
    if not features:
        faults.append("no features, so no area")
    return features


def _is_feature(value: Any) -> bool:
    properties = value.get("properties") if isinstance(value, dict) else ()
    return properties is None or isinstance(properties, dict)


def _crs_name(document: Any) -> str:
    """Name of the ``crs`` member that GeoJSON had until 2016."""
    crs = document.get("crs") if isinstance(document, dict) else None
    if not isinstance(crs, dict):
        return ""
    properties = crs.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    return str(name or "unnamed")


def _count_positions(value: Any) -> int:
    if isinstance(value, dict):
        members = [value.get("coordinates"), value.get("geometries")]
        return sum(_count_positions(member) for member in members)
    if not isinstance(value, list):
        return 0
    if value and not isinstance(value[0], list | dict):
        return 1
    return sum(_count_positions(member) for member in value)


def _geometry(value: Any) -> BaseGeometry:
    if value is None:
        raise ValueError("has no geometry")
    try:
        geometry: BaseGeometry = shapely.from_geojson(json.dumps(value))
    except shapely.GEOSException as error:
        raise ValueError(f"has a broken geometry ({error})") from error
    return geometry


def _area(
    features: list[_Feature], path: Path, faults: list[str], notices: list[str]
) -> Area | None:
    regions = [feature for feature in features if feature.kind == "region"]
    districts = [feature for feature in features if feature.kind != "region"]
    if len(regions) > 1:
        faults.append(f"{len(regions)} features of kind region; an area file is about one")
        return None
    if regions:
        region = regions[0]
    elif len(districts) == 1:
        region = replace(districts.pop(), kind="region")
    else:
        region = _joined(districts, notices)
    area_id = region.text("id") or path.stem.lower()
    faults += id_faults(area_id, [district.text("id", "adm_id") for district in districts])
    faults += place_faults(
        region.geometry,
        lonlat=region.text("axis_order") == "lonlat",
        remedy='add "axis_order": "lonlat" to the properties',
    )
    if faults:
        return None
    return Area(
        id=area_id,
        name_en=region.text("name_en", "name", "name_ru") or area_id,
        name_ru=region.text("name_ru", "name", "name_en") or area_id,
        outline=region.geometry,
        districts=_districts(districts or [region], area_id),
        approximate=any(_is_approximate(feature) for feature in features),
        source=region.text("source") or path.name,
        notices=tuple(notices),
    )


def _joined(features: list[_Feature], notices: list[str]) -> _Feature:
    geometry, done = mended(shapely.union_all([feature.geometry for feature in features]))
    notices += ["no feature of kind region: the outline is the union of the districts", *done]
    sources = {feature.text("source") for feature in features} - {""}
    return _Feature({"source": "; ".join(sorted(sources))}, geometry, "region")


def id_faults(area_id: str, district_ids: Sequence[str]) -> list[str]:
    """Say what is wrong with the ids of an area and its districts ("" = none given)."""
    faults = []
    unnamed = [str(number) for number, adm_id in enumerate(district_ids, start=1) if not adm_id]
    if unnamed:
        faults.append(f"districts without an id: number {', '.join(unnamed)}")
    named = [area_id, *filter(None, district_ids)]
    twice = sorted(adm_id for adm_id, count in Counter(named).items() if count > 1)
    if twice:
        faults.append(f"ids given twice: {', '.join(twice)}")
    unfit = [identifier for identifier in named if not is_path_safe(identifier)]
    if unfit:
        faults.append(
            f"ids unfit for a file name: {', '.join(map(repr, unfit))}"
            " (use up to 64 of a-z, 0-9, _ and -, beginning with a letter or digit)"
        )
    return faults


def place_faults(outline: AreaGeometry, *, lonlat: bool, remedy: str) -> list[str]:
    """Say whether an outline is too large, or where it would not be with its axes swapped.

    `lonlat` vouches for the order of the axes; `remedy` tells the user how to.
    """
    faults = []
    km2 = float(areas_km2([outline])[0])
    if km2 > MAX_KM2:
        faults.append(f"{km2:.0f} km², more than {MAX_KM2:.0f}: not an area to work on")
    if _looks_swapped(outline) and not lonlat:
        centre = outline.representative_point()
        faults.append(
            f"it lies at longitude {centre.x:.1f}, latitude {centre.y:.1f}, south of where this"
            " toolkit is used, and would lie inside with the two swapped; longitude comes first"
            f" (if the place is right, {remedy})"
        )
    return faults


def _looks_swapped(outline: AreaGeometry) -> bool:
    centre = outline.representative_point()
    swapped = shapely.Point(centre.y, centre.x)
    return bool(not _NORTHERN_EURASIA.covers(centre) and _NORTHERN_EURASIA.covers(swapped))


def _is_approximate(feature: _Feature) -> bool:
    return feature.properties.get("approximate") is True


def _districts(features: list[_Feature], area_id: str) -> gpd.GeoDataFrame:
    rows = [
        (
            feature.text("name_en", "name", "name_ru"),
            feature.text("name_ru", "name", "name_en"),
            feature.kind,
            feature.text("oktmo"),
            _is_approximate(feature),
            feature.geometry,
        )
        for feature in features
    ]
    ids = [feature.text("id", "adm_id") or area_id for feature in features]
    index = pd.Index(ids, name="adm_id")
    return gpd.GeoDataFrame(rows, index=index, columns=DISTRICT_COLUMNS, crs="EPSG:4326")
