"""Items become solar days: one observation a pixel and day, whatever the catalog repeats."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pystac
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from lesniva.cube.radiometry import DnOffset, dn_offset

SAME_FOOTPRINT = 0.95
"""Of one tile and pass, an older processing is dropped when newer ones show this much of its
ground. Less, and they are the halves of a split datastrip: all stay, the newest on top."""


@dataclass(frozen=True)
class Scene:
    """What reading an item needs; small, so that it travels to the workers."""

    id: str
    date: np.datetime64
    """Solar date (``datetime64[D]``): the UTC time shifted by 4 minutes a degree of longitude."""
    files: Mapping[str, str]
    """Band → address of the file."""
    offsets: Mapping[str, DnOffset]
    """Band → what is added to the file's numbers, and why."""
    footprint: BaseGeometry
    """Outline in longitude and latitude."""
    tile: str | None
    """MGRS tile."""
    platform: str | None
    processing: tuple[str, str]
    """Baseline and time of processing; the larger is the newer."""
    href: str | None = None
    """Address of the STAC item; None where it has none."""


@dataclass(frozen=True)
class SolarDay:
    """All scenes that one solar day has over an area."""

    date: np.datetime64
    scenes: tuple[Scene, ...]
    """Newest processing first; where several have a pixel, the first valid one counts."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the scenes."""
        return tuple(scene.id for scene in self.scenes)

    def over(self, footprint: BaseGeometry) -> "SolarDay | None":
        """Keep the scenes that touch an outline in longitude and latitude; None without any."""
        touching = tuple(scene for scene in self.scenes if scene.footprint.intersects(footprint))
        return SolarDay(self.date, touching) if touching else None


def solar_days(
    items: Iterable[pystac.Item], files: Mapping[str, Mapping[str, str]]
) -> list[SolarDay]:
    """Group items by solar day and drop superseded copies.

    Parameters
    ----------
    items
        Items with a datetime and a footprint, in any order.
    files
        Item id → band → address of the file.

    Returns
    -------
    list of SolarDay
        Rising and unique dates.
    """
    by_date: dict[np.datetime64, list[Scene]] = defaultdict(list)
    for item in items:
        scene = _scene(item, files[item.id])
        by_date[scene.date].append(scene)
    return [SolarDay(date, tuple(_newest(by_date[date]))) for date in sorted(by_date)]


def _scene(item: pystac.Item, files: Mapping[str, str]) -> Scene:
    properties = item.properties
    footprint = shapely.make_valid(shape(item.geometry or {}))
    tile = properties.get("grid:code") or properties.get("s2:mgrs_tile")
    baseline = properties.get("s2:processing_baseline") or properties.get("processing:version")
    return Scene(
        id=item.id,
        date=_solar_date(item),
        files=dict(files),
        offsets={band: dn_offset(item, band) for band in files if band != "scl"},
        footprint=footprint,
        tile=None if tile is None else str(tile).removeprefix("MGRS-"),
        platform=properties.get("platform"),
        processing=(str(baseline or ""), str(properties.get("s2:generation_time") or "")),
        href=item.get_self_href(),
    )


def _solar_date(item: pystac.Item) -> np.datetime64:
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:  # the STAC specification demands one of the two
        raise ValueError(f"item {item.id} has neither datetime nor start_datetime")
    west, _, east, _ = item.bbox or (0.0, 0.0, 0.0, 0.0)
    # a footprint over the antimeridian has west > east
    longitude = (west + east + (360 if west > east else 0)) / 2
    local: datetime = moment.astimezone(UTC) + timedelta(hours=longitude / 15)
    return np.datetime64(local.date(), "D")


def _newest(scenes: Sequence[Scene]) -> list[Scene]:
    """Order by processing, newest first, without the copies that a newer one supersedes."""
    kept: list[Scene] = []
    for scene in sorted(scenes, key=lambda scene: (scene.processing, scene.id), reverse=True):
        if not _superseded(scene, kept):
            kept.append(scene)
    return kept


def _superseded(scene: Scene, newer: Sequence[Scene]) -> bool:
    """Tell whether newer scenes of the same tile and pass, together, show a scene's ground."""
    if scene.tile is None:
        return False
    same_pass = [
        other.footprint
        for other in newer
        if (other.tile, other.platform) == (scene.tile, scene.platform)
    ]
    common = scene.footprint.intersection(shapely.union_all(same_pass)).area
    return bool(same_pass and common > SAME_FOOTPRINT * scene.footprint.area)
