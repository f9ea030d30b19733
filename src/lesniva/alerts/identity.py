"""Alerts keep their ids from run to run.

An alert keeps its id as long as it overlaps its former self; what became of it since the last run
is its event.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from lesniva.alerts.polygons import NAMESPACE, no_alerts
from lesniva.conventions import EQUAL_AREA_CRS

SAME_OVERLAP = 0.3
"""Share of the smaller polygon that an alert has in common with its former self."""

SAME_GAP_DAYS = 120
"""Most days between the first anomalies of an alert and of its former self, unless it was not seen
normal in between."""

GROWN = 1.1
"""An alert has grown when its area has, by this factor."""


@dataclass(frozen=True)
class Identified:
    """Alerts of this run, and what became of those of the last one."""

    alerts: gpd.GeoDataFrame
    """Open alerts with their lasting ids; ``event`` is new, grown, promoted, split or same."""
    events: pd.DataFrame
    """``alert_id, event, into``: everything but "same", also merged and closed alerts."""


def identify(found: gpd.GeoDataFrame, previous: gpd.GeoDataFrame | None) -> Identified:
    """Give alerts the ids they had in the last run, and say what became of each.

    Parameters
    ----------
    found
        Alerts of this run, EPSG:4326.
    previous
        Alerts of the last run; None before the first.

    Returns
    -------
    Identified
        An alert is its former self when they share at least `SAME_OVERLAP` of the smaller one and
        their first anomalies are at most `SAME_GAP_DAYS` apart, or the later one was last seen
        normal before the first anomaly of the other (as in `polygons.connect`). When several former
        alerts became one it keeps the id of the largest share and the others are ``merged`` into
        it; when one became several, the largest share keeps the id and the others are ``split``
        from it.
    """
    before = no_alerts() if previous is None else previous
    pairs = same(found, before)
    former = _partners(pairs)
    result = found.copy()
    old_ids = before["alert_id"].to_numpy(dtype=object)
    ids = _lasting_ids(found["alert_id"], old_ids, former)
    happened = ["new"] * len(found)
    for new, old in former.items():
        happened[new] = _change(found.iloc[new], before.iloc[old])
    rows = []
    for new, old in zip(pairs["new"], pairs["old"], strict=True):
        if new not in former:
            happened[new] = "split"
            rows.append((ids[new], "split", old_ids[old]))
        elif former[new] != old and old not in former.values():
            rows.append((old_ids[old], "merged", ids[new]))
    result["alert_id"], result["event"] = ids, happened
    gone = set(range(len(before))) - set(pairs["old"])
    rows += [(old_ids[old], "closed", None) for old in sorted(gone)]
    told = {"new", "grown", "promoted"}
    rows += [(i, e, None) for i, e in zip(ids, happened, strict=True) if e in told]
    events = pd.DataFrame(rows, columns=["alert_id", "event", "into"])
    return Identified(result, events.drop_duplicates(["alert_id", "event"], ignore_index=True))


def same(found: gpd.GeoDataFrame, before: gpd.GeoDataFrame) -> pd.DataFrame:
    """Pairs (new, old) that may be the same alert, largest common area first."""
    new_shapes = found.to_crs(EQUAL_AREA_CRS).geometry.to_numpy()
    old_shapes = before.to_crs(EQUAL_AREA_CRS).geometry.to_numpy()
    new, old = shapely.STRtree(old_shapes).query(new_shapes, predicate="intersects")
    common = shapely.area(shapely.intersection(new_shapes[new], old_shapes[old]))
    smaller = np.minimum(shapely.area(new_shapes[new]), shapely.area(old_shapes[old]))
    now, then = (
        table[["date_min", "date_max"]].to_numpy("datetime64[D]")[rows]
        for table, rows in ((found, new), (before, old))
    )
    gap = np.abs(now[:, 1] - then[:, 1])
    seen_last = np.where(now[:, 1] > then[:, 1], now[:, 0], then[:, 0])
    near = gap <= np.timedelta64(SAME_GAP_DAYS, "D")
    near |= seen_last < np.minimum(now[:, 1], then[:, 1])
    same = (common >= SAME_OVERLAP * smaller) & near
    pairs = pd.DataFrame({"new": new, "old": old, "common": common}).loc[same]
    return pd.DataFrame(pairs.sort_values(["common", "new", "old"], ascending=[False, True, True]))


def _partners(pairs: pd.DataFrame) -> dict[int, int]:
    """Match new alerts with their former selves: the largest overlaps choose first."""
    former: dict[int, int] = {}
    taken = set()
    for new, old in zip(pairs["new"], pairs["old"], strict=True):
        if new not in former and old not in taken:
            former[new] = old
            taken.add(old)
    return former


def _lasting_ids(
    own: pd.Series, old_ids: npt.NDArray[Any], former: Mapping[int, int]
) -> npt.NDArray[Any]:
    """Ids of this run's alerts: the former one's, or one that no other alert has."""
    ids = own.to_numpy(dtype=object).copy()
    taken = set(old_ids)
    for new in range(len(ids)):
        if new in former:
            ids[new] = old_ids[former[new]]
            continue
        # the part that split off may be the one with the pixel that the id was made of
        while ids[new] in taken:
            ids[new] = str(uuid.uuid5(NAMESPACE, ids[new]))
        taken.add(ids[new])
    return ids


def _change(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    if now["status"] == "confirmed" and then["status"] != "confirmed":
        return "promoted"
    if now["area_ha"] > GROWN * then["area_ha"]:
        return "grown"
    return "same"
