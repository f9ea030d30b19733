"""Alerts that are over: closed, merged, or temporary from the start."""

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva.alerts.identity import same

OUTCOMES = ("temporary", "withdrawn", "merged")
"""What became of an alert that is over: the canopy recovered; the evidence went; it is part of
another."""


def past(
    known: gpd.GeoDataFrame | None,
    former: gpd.GeoDataFrame | None,
    events: pd.DataFrame,
    finished: gpd.GeoDataFrame,
    *,
    today: np.datetime64,
) -> gpd.GeoDataFrame:
    """Add what has ended since the last run to the history of alerts.

    Parameters
    ----------
    known
        The history so far; None at first.
    former
        Alerts of the last run.
    events
        ``Identified.events`` of this run.
    finished
        Polygons of the pixels whose change turned out to be temporary (`alerts` of pixels in state
        FINISHED), all that the monitor remembers.
    today
        Day of the newest observation.

    Returns
    -------
    geopandas.GeoDataFrame
        EPSG:4326, one row an alert that is over: the columns it had, ``closed_on``, ``outcome``
        (one of `OUTCOMES`) and ``into``, the alert it is part of now. A temporary change that came
        and went between two runs was never an open alert; it is added with the cause "temporary".
    """
    closed_on = pd.Timestamp(today)
    temporary = {"outcome": "temporary", "into": None, "cause": "temporary", "cause_prob": 1.0}
    parts = [] if known is None else [known]
    if former is not None:
        over = events[events["event"].isin(["closed", "merged"])].set_index("alert_id")
        gone = former[former["alert_id"].isin(over.index)].assign(closed_on=closed_on)
        merged = over["event"].reindex(gone["alert_id"]).to_numpy() == "merged"
        recovered = ~merged & (gone["status"].to_numpy() == "confirmed")
        gone["into"] = over["into"].reindex(gone["alert_id"]).to_numpy(dtype=object)
        parts += [
            gone[merged].assign(outcome="merged"),
            gone[recovered].assign(**temporary),
            gone[~merged & ~recovered].assign(outcome="withdrawn"),
        ]
    if parts and len(finished):
        so_far = gpd.GeoDataFrame(pd.concat(parts), crs="EPSG:4326")
        known_already = set(same(finished, so_far)["new"])
        finished = finished.iloc[sorted(set(range(len(finished))) - known_already)]
    parts.append(finished.assign(**temporary, closed_on=closed_on))
    table = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs="EPSG:4326")
    return table.drop_duplicates("alert_id", keep="first", ignore_index=True)
