"""Items become solar days: one observation a pixel and day, whatever the catalog repeats."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pystac
import shapely
from shapely.geometry import shape

SAME_FOOTPRINT = 0.8
"""Two items of one tile and pass that share this much of the smaller one show the same ground:
the older processing is dropped. Less, and they are the halves of a split datastrip: both stay."""


@dataclass(frozen=True)
class SolarDay:
    """All items that one solar day has over an area, best first."""

    date: np.datetime64
    """Solar date (``datetime64[D]``): the UTC time shifted by 4 minutes a degree of longitude."""

    items: tuple[pystac.Item, ...]
    """Newest processing baseline first; where several have a pixel, the first valid one counts."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Item ids in the order of `items`."""
        return tuple(item.id for item in self.items)


def solar_days(items: Iterable[pystac.Item]) -> list[SolarDay]:
    """Group items by solar day and drop superseded copies.

    Parameters
    ----------
    items
        Items with a datetime and a footprint, in any order.

    Returns
    -------
    list of SolarDay
        Rising and unique dates.
    """
    by_date: dict[np.datetime64, list[pystac.Item]] = defaultdict(list)
    for item in items:
        by_date[_solar_date(item)].append(item)
    return [SolarDay(date, tuple(_newest(by_date[date]))) for date in sorted(by_date)]


def _solar_date(item: pystac.Item) -> np.datetime64:
    west, _, east, _ = item.bbox or (0.0, 0.0, 0.0, 0.0)
    # a footprint over the antimeridian has west > east
    longitude = (west + east + (360 if west > east else 0)) / 2
    local = _sensed(item) + timedelta(hours=longitude / 15)
    return np.datetime64(local.date(), "D")


def _sensed(item: pystac.Item) -> datetime:
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:  # the STAC specification demands one of the two
        raise ValueError(f"item {item.id} has neither datetime nor start_datetime")
    return moment.astimezone(UTC).replace(tzinfo=None)


def _newest(items: Sequence[pystac.Item]) -> list[pystac.Item]:
    """Order by processing, newest first, without the copies that a newer one supersedes."""
    kept: list[pystac.Item] = []
    for item in sorted(items, key=_processing, reverse=True):
        if not any(_superseded(item, newer) for newer in kept):
            kept.append(item)
    return kept


def _processing(item: pystac.Item) -> tuple[str, str, str]:
    properties = item.properties
    baseline = properties.get("s2:processing_baseline") or properties.get("processing:version")
    return str(baseline or ""), str(properties.get("s2:generation_time") or ""), item.id


def _superseded(item: pystac.Item, newer: pystac.Item) -> bool:
    if _tile(item) is None or _tile(item) != _tile(newer):
        return False
    if item.properties.get("platform") != newer.properties.get("platform"):
        return False
    footprint, other = (shapely.make_valid(shape(each.geometry or {})) for each in (item, newer))
    smaller = min(footprint.area, other.area)
    return bool(smaller > 0 and footprint.intersection(other).area > SAME_FOOTPRINT * smaller)


def _tile(item: pystac.Item) -> str | None:
    properties = item.properties
    tile = properties.get("grid:code") or properties.get("s2:mgrs_tile")
    return None if tile is None else str(tile).removeprefix("MGRS-")
