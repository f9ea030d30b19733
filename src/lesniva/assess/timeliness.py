"""How soon changes are told, and how that depends on their size."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

LAGS = (0, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 365)
"""Days after the change at which the curve is read."""

SIZES_HA = (0.1, 0.3, 1.0, 5.0, np.inf)
"""Edges of the classes of event size, hectares."""


def curve(
    reference: "pd.Series[pd.Timestamp]",
    told: "pd.Series[pd.Timestamp]",
    *,
    weight: "pd.Series[float]",
    lags: Sequence[int] = LAGS,
) -> pd.DataFrame:
    """F1 score that a map would have had so many days after each change (Bullock et al. 2022).

    Parameters
    ----------
    reference
        Day of the change of each sample unit, NaT where nothing changed.
    told
        Day on which the map told of it, NaT where it did not.
    weight
        Area that each unit stands for.
    lags
        Days.

    Returns
    -------
    pandas.DataFrame
        ``lag_days``, ``recall``, ``precision``, ``f1``. A change counts as found at a lag when it
        was told no later than that. An alert on ground that has not changed is false at every lag.
    """
    changed, alarmed = reference.notna(), told.notna()
    delay = (told - reference).dt.days
    false = float(weight[alarmed & ~changed].sum())
    all_changed = float(weight[changed].sum())
    rows = []
    for lag in lags:
        hit = float(weight[changed & alarmed & (delay <= lag)].sum())
        recall = hit / all_changed if all_changed else np.nan
        precision = hit / (hit + false) if hit + false else np.nan
        both = 2 * hit + (all_changed - hit) + false
        rows.append((lag, recall, precision, 2 * hit / both if both else np.nan))
    return pd.DataFrame(rows, columns=["lag_days", "recall", "precision", "f1"])


def delays(
    reference: "pd.Series[pd.Timestamp]", told: "pd.Series[pd.Timestamp]"
) -> dict[str, float]:
    """Median and 90th percentile of the days from change to alert, of the changes found."""
    days = (told - reference).dt.days.dropna()
    return {
        "n": float(len(days)),
        "median_days": float(days.median()),
        "p90_days": float(days.quantile(0.9)),
    }


def by_size(area_ha: "pd.Series[float]", found: "pd.Series[bool]") -> pd.DataFrame:
    """Share of events found by size.

    Returns
    -------
    pandas.DataFrame
        ``size_ha`` (such as "0.3-1"), ``events``, ``found``, ``share``; classes of `SIZES_HA` that
        have no event are left out.
    """
    names = [f"{low:g}-{high:g}" for low, high in pairwise(SIZES_HA)]
    names[-1] = f">{SIZES_HA[-2]:g}"
    size = pd.cut(area_ha, SIZES_HA, labels=names, right=False)
    counted = found.groupby(size, observed=True).agg(events="size", found="sum").reset_index()
    counted.columns = pd.Index(["size_ha", "events", "found"])
    return counted.assign(share=counted["found"] / counted["events"])
