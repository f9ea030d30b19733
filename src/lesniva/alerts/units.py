"""Whose ground an alert lies on: districts, forest compartments, felling permits."""

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

INSIDE_PERMIT = 0.5
"""Share of an alert that permits must cover for it to count as permitted."""


def with_district(alerts: gpd.GeoDataFrame, districts: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Add the district that has the largest part of each alert.

    Parameters
    ----------
    alerts
        Rows of `alerts`.
    districts
        ``adm_id, name_en, name_ru`` and geometry, EPSG:4326.

    Returns
    -------
    geopandas.GeoDataFrame
        With ``adm_id, district_en, district_ru``; missing outside all districts.
    """
    best = _largest(_overlaps(alerts, districts), len(alerts))
    result = alerts.copy()
    for column, source in (
        ("adm_id", "adm_id"), ("district_en", "name_en"), ("district_ru", "name_ru"),
    ):  # fmt: skip
        result[column] = _of(districts[source], best["of"])
    return result


def with_unit(alerts: gpd.GeoDataFrame, units: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """Add the unit of a layer, such as a forest compartment, that has most of each alert.

    Parameters
    ----------
    alerts
        Rows of `alerts`.
    units
        ``id`` and ``name`` (text) and geometry, EPSG:4326.
    name
        Of the layer; the columns are named after it.

    Returns
    -------
    geopandas.GeoDataFrame
        With ``NAME_id`` and ``NAME`` (None outside all units) and ``NAME_overlap_share``, the share
        of the alert's area in that unit (0–1).
    """
    best = _largest(_overlaps(alerts, units), len(alerts))
    result = alerts.copy()
    result[f"{name}_id"] = _of(units["id"], best["of"])
    result[name] = _of(units["name"], best["of"])
    result[f"{name}_overlap_share"] = best["share"].round(3).to_numpy()
    return result


def with_permit(alerts: gpd.GeoDataFrame, permits: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Add the felling permit that an alert lies in.

    Parameters
    ----------
    alerts
        Rows of `alerts`; ``date_min`` and ``date_max`` are the time in which the change happened.
    permits
        ``id`` (text), ``start`` and ``end`` (datetime64, NaT where open) and geometry, EPSG:4326.

    Returns
    -------
    geopandas.GeoDataFrame
        With ``inside_permit``, the permit valid at some time between ``date_min`` and ``date_max``
        that has most of the alert, None when all such permits together cover less than
        `INSIDE_PERMIT` of it; and ``permit_overlap_share``, the share they cover (0–1).
    """
    pairs = _overlaps(alerts, permits)
    first = alerts["date_min"].fillna(alerts["date_max"]).to_numpy("datetime64[D]")
    last = alerts["date_max"].to_numpy("datetime64[D]")
    start, end = (permits[name].to_numpy("datetime64[D]") for name in ("start", "end"))
    of_alert, of_permit = pairs["alert"].to_numpy(), pairs["of"].to_numpy()
    started = np.isnat(start[of_permit]) | (start[of_permit] <= last[of_alert])
    lasts = np.isnat(end[of_permit]) | (end[of_permit] >= first[of_alert])
    valid = pairs[started & lasts]
    best = _largest(valid, len(alerts))
    covered = _covered(alerts, permits, valid)
    result = alerts.copy()
    result["inside_permit"] = _of(
        permits["id"], best["of"].where(pd.Series(covered >= INSIDE_PERMIT, index=best.index))
    )
    result["permit_overlap_share"] = covered.round(3)
    return result


def _overlaps(alerts: gpd.GeoDataFrame, layer: gpd.GeoDataFrame) -> pd.DataFrame:
    """Pairs (alert, of) by position, with the share of the alert that they have in common."""
    shapes, others = alerts.geometry.to_numpy(), layer.geometry.to_numpy()
    of_alert, of_other = shapely.STRtree(others).query(shapes, predicate="intersects")
    # within one alert, areas in degrees are to each other as true ones
    common = shapely.area(shapely.intersection(shapes[of_alert], others[of_other]))
    share = common / shapely.area(shapes[of_alert])
    pairs = pd.DataFrame({"alert": of_alert, "of": of_other, "share": share})
    return pairs[pairs["share"] > 0]


def _largest(pairs: pd.DataFrame, n_alerts: int) -> pd.DataFrame:
    """For each alert its largest partner ``of`` (NaN without one) and their ``share``."""
    best = pairs.sort_values(["alert", "share", "of"], ascending=[True, False, True])
    best = best.drop_duplicates("alert").set_index("alert").reindex(range(n_alerts))
    return best.fillna({"share": 0.0})


def _of(column: "pd.Series[str]", places: "pd.Series[float]") -> list[str | None]:
    """Values of a column by position, None where the position is missing."""
    values = column.to_numpy(dtype=object)
    return [None if pd.isna(place) else values[int(place)] for place in places]


def _covered(
    alerts: gpd.GeoDataFrame, layer: gpd.GeoDataFrame, pairs: pd.DataFrame
) -> npt.NDArray[np.float64]:
    """Share of each alert under all its partners together; overlapping ones count once."""
    covered = np.zeros(len(alerts))
    shapes, others = alerts.geometry.to_numpy(), layer.geometry.to_numpy()
    for alert in pairs["alert"].unique():
        of = pairs.loc[pairs["alert"] == alert, "of"].to_numpy()
        under = shapely.intersection(shapes[alert], shapely.union_all(others[of]))
        covered[alert] = shapely.area(under) / shapely.area(shapes[alert])
    return covered
