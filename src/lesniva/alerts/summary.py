"""Alerts counted by week, unit, cause and confidence."""

from collections.abc import Sequence

import geopandas as gpd
import pandas as pd


def summary(alerts: gpd.GeoDataFrame, units: Sequence[str]) -> pd.DataFrame:
    """Count alerts and their hectares.

    Parameters
    ----------
    alerts
        Alerts with ``cause`` and ``review_status``; those that reviewers found false do not count.
    units
        Columns to count by, such as ``adm_id``; missing values make a group of their own.

    Returns
    -------
    pandas.DataFrame
        ``week`` (Monday of the week of ``date_max``), the units, ``cause``, ``status``, ``alerts``
        (count) and ``area_ha``, in rising order.
    """
    true = pd.DataFrame(alerts.loc[alerts["review_status"] != "false"])
    day = true["date_max"]
    true["week"] = (day - pd.to_timedelta(day.dt.day_of_week, unit="D")).dt.normalize()
    keys = ["week", *units, "cause", "status"]
    counted = true.groupby(keys, dropna=False, as_index=False, sort=True).agg(
        alerts=("alert_id", "size"), area_ha=("area_ha", "sum")
    )
    return pd.DataFrame(counted.round({"area_ha": 4}))
