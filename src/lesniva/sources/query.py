"""What a search asks for, and whether a feature of a catalog answers it."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from lesniva.errors import InputError

Moment = str | date | datetime
"""A day (``2019-06-01``, the whole of it) or an instant; without a zone it is UTC."""

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east crosses the antimeridian."""

_TILE = re.compile(r"(?:^|_)T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?:_|\.|$)")
_ORBIT = re.compile(r"_R(\d{3})(?:_|$)")


class BrokenItemError(ValueError):
    """A feature is no usable STAC item; the message is one line."""


@dataclass(frozen=True)
class Query:
    """Which items are wanted; None asks for everything. Made by `query`, which checks it."""

    area: BaseGeometry | None
    """WGS 84; an item must touch it."""
    start: datetime | None
    """First instant, UTC."""
    end: datetime | None
    """Last instant, UTC."""
    max_cloud: float | None
    """Per cent of the scene; items that do not say pass."""
    tiles: frozenset[str] | None
    """MGRS tiles such as 37UDB; items that do not say fail."""
    months: frozenset[int] | None
    """1…12 of the sensing date."""
    orbits: frozenset[int] | None
    """Relative orbits, 1…143; items that do not say fail."""


def query(
    *,
    bbox: Box | None = None,
    area: BaseGeometry | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    max_cloud: float | None = None,
    tiles: Collection[str] | None = None,
    months: Collection[int] | None = None,
    relative_orbit: int | Collection[int] | None = None,
) -> Query:
    """Check the conditions of a search and put them into one value.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.
    area
        Outline in WGS 84 (longitude, latitude); not together with `bbox`.
    start, end
        First and last moment; a day counts as a whole, both ends included.
    max_cloud
        Largest cloud cover of a scene, per cent.
    tiles
        MGRS tiles, ``37UDB`` or ``T37UDB``.
    months
        Months of the year, 1…12.
    relative_orbit
        One or several, 1…143.

    Raises
    ------
    InputError
        With all faults in one message.
    """
    faults: list[str] = []
    first, last = _moment(start, time.min, faults), _moment(end, time.max, faults)
    if first and last and first > last:
        faults.append(f"start {start} is after end {end}")
    if max_cloud is not None and not 0 <= max_cloud <= 100:
        faults.append(f"max_cloud is {max_cloud}, it must be 0…100 per cent")
    names = None if tiles is None else frozenset(tile.upper().removeprefix("T") for tile in tiles)
    faults += [
        f"tile {name!r} is no MGRS tile" for name in names or () if not _TILE.fullmatch(name)
    ]
    numbers = None if months is None else frozenset(months)
    faults += [
        f"month {month} is not in 1…12" for month in numbers or () if month not in range(1, 13)
    ]
    orbits = _orbits(relative_orbit)
    faults += [
        f"relative orbit {o} is not in 1…143" for o in orbits or () if o not in range(1, 144)
    ]
    outline = _outline(bbox, area, faults)
    if faults:
        raise InputError(f"the search is wrong: {'; '.join(faults)}")
    return Query(outline, first, last, max_cloud, names, numbers, orbits)


def missed_condition(feature: Any, wanted: Query) -> str | None:
    """Name the first condition a feature does not meet; None when it meets all.

    Raises
    ------
    BrokenItemError
        The feature is no STAC item, or has no time, or no place although one is asked for.
    """
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise BrokenItemError("is no STAC item (no GeoJSON feature)")
    properties = feature.get("properties")
    if not isinstance(properties, Mapping) or not isinstance(feature.get("id"), str):
        raise BrokenItemError("is no STAC item (no id or no properties)")
    when = sensed(feature)
    cloud = properties.get("eo:cloud_cover")
    cloudy = isinstance(cloud, int | float) and cloud > (wanted.max_cloud or 0)
    conditions: tuple[tuple[str, object, Callable[[], bool]], ...] = (  # the cheap ones first
        ("period", wanted.start or wanted.end, lambda: _within(when, wanted.start, wanted.end)),
        ("months", wanted.months, lambda: when.month in (wanted.months or ())),
        ("cloud cover", wanted.max_cloud is not None, lambda: not cloudy),
        ("tiles", wanted.tiles, lambda: tile(feature) in (wanted.tiles or ())),
        ("relative orbit", wanted.orbits, lambda: relative_orbit(feature) in (wanted.orbits or ())),
        ("area", wanted.area, lambda: _footprint(feature).intersects(wanted.area)),
    )
    return next((name for name, asked, met in conditions if asked and not met()), None)


def sensed(feature: Mapping[str, Any]) -> datetime:
    """Give the sensing time of a feature in UTC (``datetime``, else ``start_datetime``)."""
    properties = feature["properties"]
    stated = properties.get("datetime") or properties.get("start_datetime")
    try:
        when = datetime.fromisoformat(stated)
    except (TypeError, ValueError):
        raise BrokenItemError(f"has no time (datetime is {stated!r})") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def tile(feature: Mapping[str, Any]) -> str | None:
    """Give the MGRS tile of a feature from its grid code, properties, product name or id."""
    properties = feature["properties"]
    code = str(properties.get("grid:code", ""))
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-")
    if properties.get("s2:mgrs_tile"):
        return str(properties["s2:mgrs_tile"]).removeprefix("T")
    found = _TILE.search(str(properties.get("s2:product_uri", ""))) or _TILE.search(feature["id"])
    return found[1] if found else None


def relative_orbit(feature: Mapping[str, Any]) -> int | None:
    """Give the relative orbit of a feature from ``sat:relative_orbit`` or a product's name."""
    properties = feature["properties"]
    stated = properties.get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    uri = str(properties.get("s2:product_uri", ""))
    found = _ORBIT.search(uri) or _ORBIT.search(feature["id"])
    return int(found[1]) if found else None


def boxes(bbox: Box) -> BaseGeometry:
    """Give a box in degrees as geometry, in two parts when it crosses the antimeridian."""
    west, south, east, north = bbox
    if west <= east:
        return box(west, south, east, north)
    return shapely.union_all([box(west, south, 180, north), box(-180, south, east, north)])


def _within(when: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or start <= when) and (end is None or when <= end)


def _footprint(feature: Mapping[str, Any]) -> BaseGeometry:
    """Outline of a feature; its box where the outline is missing or damaged."""
    try:
        if feature.get("geometry"):
            outline: BaseGeometry = shape(feature["geometry"])
            if outline.is_valid and not outline.is_empty:
                return outline
        numbers = [float(number) for number in feature["bbox"]]
        if len(numbers) == 6:
            numbers = [*numbers[:2], *numbers[3:5]]
        west, south, east, north = numbers
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError):
        raise BrokenItemError("has no place (neither geometry nor bbox)") from None
    if south > north or not all(abs(number) <= 180 for number in numbers):
        raise BrokenItemError(f"has an impossible bbox {numbers}")
    return boxes((west, south, east, north))


def _outline(bbox: Box | None, area: BaseGeometry | None, faults: list[str]) -> BaseGeometry | None:
    if bbox is not None and area is not None:
        faults.append("bbox and area are both given")
    if area is not None and (area.is_empty or not area.is_valid):
        faults.append("the area is empty or crosses itself")
    if bbox is None:
        return area
    _, south, _, north = bbox
    if not (-90 <= south < north <= 90 and all(abs(lon) <= 180 for lon in (bbox[0], bbox[2]))):
        faults.append(f"bbox {list(bbox)} is not west, south, east, north in degrees")
        return None
    return boxes(bbox)


def _moment(stated: Moment | None, of_day: time, faults: list[str]) -> datetime | None:
    if stated is None:
        return None
    if isinstance(stated, str):
        try:
            whole_day = len(stated) <= len("2019-06-01")
            stated = date.fromisoformat(stated) if whole_day else datetime.fromisoformat(stated)
        except ValueError:
            faults.append(f"{stated!r} is no date (write 2019-06-01)")
            return None
    if not isinstance(stated, datetime):
        return datetime.combine(stated, of_day, UTC)
    return stated.replace(tzinfo=UTC) if stated.tzinfo is None else stated.astimezone(UTC)


def _orbits(stated: int | Collection[int] | None) -> frozenset[int] | None:
    if stated is None:
        return None
    return frozenset([stated] if isinstance(stated, int) else stated)
