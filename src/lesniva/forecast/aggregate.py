"""District forecasts added up to the oblast, with the uncertainty they share."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lesniva.errors import InputError, NoDataError
from lesniva.forecast import intervals
from lesniva.forecast.current import MEAN5, Model, rearranged, unknown_level


def aggregate(
    fitted: Model, forecast: pd.DataFrame, *, groups: Mapping[str, str] | str = "all"
) -> pd.DataFrame:
    """Area-weighted forecast of groups of districts.

    The year's part of the uncertainty is common to all districts and stays; their own parts
    average out. (Adding district intervals as if they were independent gives an oblast interval
    several times too narrow; as if they were one, too wide.)

    Parameters
    ----------
    fitted
        The model `forecast` was made with.
    forecast
        As `predict` gave it.
    groups
        Name of the group of each ``adm_id`` (districts not named are left out), or one name for
        all.

    Returns
    -------
    DataFrame
        ``group, crop, year, cutoff, yield_t_ha``, its quantiles, ``area_ha``, ``production_t``
        (yield × area, the sum over districts), ``districts``, ``skill``, ``note``. A district
        without an area takes the mean area of the group; without any all weigh the same and there
        is no production.

    Raises
    ------
    InputError
        The forecast is of another model.
    NoDataError
        No district belongs to a group.
    """
    if set(forecast["crop"]) != {fitted.crop} or set(forecast["year"]) != {fitted.year}:
        raise InputError(
            f"the model is of {fitted.crop} {fitted.year}, the forecast is not; predict with it"
        )
    adm_id = forecast["adm_id"].astype(str)
    group = (
        pd.Series(groups, index=forecast.index) if isinstance(groups, str) else adm_id.map(groups)
    )
    rows = []
    for name, part in forecast[forecast["yield_t_ha"].notna()].groupby(group):
        rows.append({"group": name, **_mean(fitted, part)})
    if not rows:
        raise NoDataError("no district of the forecast belongs to a group; check the names")
    return pd.DataFrame(rows)


def _mean(fitted: Model, part: pd.DataFrame) -> dict[str, object]:
    known = rearranged(fitted, list(part["adm_id"].astype(str)))
    area = part["area_ha"].to_numpy(dtype=np.float64)
    has_area = area > 0
    weight = np.where(has_area, area, area[has_area].mean() if has_area.any() else 1.0)
    point = part["yield_t_ha"].to_numpy(dtype=np.float64)
    quantiles = intervals.mean_quantiles(
        point,
        known.plain[MEAN5],
        fitted.recipe.spread,
        weight=weight,
        unknown=unknown_level(known),
    )
    notes = []
    if not has_area.any():
        notes.append("no areas are known, all districts weigh the same")
    elif not has_area.all():
        notes.append(f"{int((~has_area).sum())} districts without an area take the mean one")
    total = float(weight.sum()) if has_area.any() else np.nan
    mean = float((weight * point).sum() / weight.sum())
    return {
        "crop": fitted.crop,
        "year": fitted.year,
        "cutoff": part["cutoff"].iloc[0],
        "yield_t_ha": mean,
        **dict(zip(intervals.QUANTILES, map(float, quantiles), strict=True)),
        "area_ha": total,
        "production_t": total * mean,
        "districts": len(part),
        "skill": fitted.skill,
        "note": "; ".join(notes),
    }
