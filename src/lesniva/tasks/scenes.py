"""Scenes of the whole area: which lie in the season, and how each departs from the models."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from lesniva import change, indices, masks
from lesniva.tasks.observing import Observing

COUNTS = {
    "residuals": ("time", "stratum", "residual_bin"),
    "z": ("time", "stratum", "z_bin"),
    "sigma": ("time", "stratum", "sigma_bin"),
}
"""Statistics of scenes (`change.scene_residuals`, one scene at a time) and their dims."""

OF_SCENE = (
    "rejected",
    "reason",
    "valid_share",
    "median_z",
    "anomalous_share",
    "snow_share",
    "scenes",
    "gate_reason",
)
"""Columns of the corrections that are the same for all strata of a scene."""

MIN_OPEN_PIXELS = 30
"""Fewer pixels of open land say nothing of snow."""

OUT_OF_SEASON = "out of season: snow on open land, or the weeks around it"
"""Why a scene is passed over; see `masks.snow_free_season`."""


def seasons(
    paths: Iterable[Path],
    before: pd.DataFrame | None,
    *,
    scenes: Mapping[np.datetime64, str],
    by_scene: bool,
    latitude: float,
    grown: Sequence[np.datetime64] = (),
    closed: np.datetime64 | None = None,
) -> pd.DataFrame:
    """Tell which scenes lie in the season, by the snow on the open land of the whole area.

    Parameters
    ----------
    paths
        What `read_history` or `read_new` wrote, a file a block.
    before
        Table of earlier scenes; its counts stay.
    scenes
        Day → its scenes, to be kept with what was counted in them.
    by_scene
        False where the days were chosen by a calendar: all count.
    latitude
        Of the area, degrees north.
    grown
        Days that are counted anew, as they have more scenes than before.
    closed
        Up to this day, what was said of a scene stays.

    Returns
    -------
    pandas.DataFrame
        Index ``time``, rising; ``open_land`` and ``snow`` (pixels), ``snow_share``, ``in_season``,
        ``snow_offset``, what `change.snow_offset` says of a scene of the snow season, and
        ``scenes``.
    """
    total: dict[np.datetime64, npt.NDArray[np.int64]] = {}
    on_snow: dict[np.datetime64, npt.NDArray[np.int64]] = {}
    for path in paths:
        with np.load(path) as saved:
            for date, counts in zip(saved["dates"], saved["open_land"], strict=True):
                total[date] = total.get(date, 0) + counts
            if "snow_count" in saved:
                dates = saved["dates"][saved["bright_places"]]
                for date, counts in zip(dates, saved["snow_count"], strict=True):
                    on_snow[date] = on_snow.get(date, 0) + counts
    table = pd.DataFrame.from_dict(
        {pd.Timestamp(date): counts for date, counts in total.items()},
        orient="index",
        columns=["open_land", "snow"],
        dtype=np.int64,
    ).rename_axis("time")
    table["snow_offset"] = 0.0
    for date, counts in on_snow.items():
        table.loc[pd.Timestamp(date), "snow_offset"] = change.snow_offset(counts[np.newaxis])[0]
    table["scenes"] = [scenes[date.to_datetime64().astype("datetime64[D]")] for date in table.index]
    if before is not None:
        known = before[["open_land", "snow", "snow_offset", "scenes"]]
        known = known.drop(index=table.index.intersection(pd.DatetimeIndex(list(grown))))
        table = pd.concat([known, table.loc[table.index.difference(known.index)]])
    table = table.sort_index()
    share = (table["snow"] / table["open_land"]).where(table["open_land"] >= MIN_OPEN_PIXELS)
    dates = table.index.to_numpy().astype("datetime64[D]")
    table["snow_share"] = share
    table["in_season"] = (
        masks.snow_free_season(dates, share.to_numpy(), latitude=latitude) if by_scene else True
    )
    if before is not None and closed is not None:
        stays = before.index[before.index <= pd.Timestamp(closed)]
        table.loc[stays, "in_season"] = before.loc[stays, "in_season"]
    return table


def corrections(
    paths: Iterable[Path],
    scenes: pd.DataFrame,
    *,
    how: Observing,
    gate: bool,
    usual_spread: npt.NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """How the forests of the whole area depart from their models, scene by scene.

    Parameters
    ----------
    paths
        What `survey_history` or `read_new` wrote, a file a block; a scene counts where it reaches.
    scenes
        Table of `seasons`.
    how
        Index, witness and indices of health.
    gate
        Whether to reject spoilt scenes; the robust fit of the history bears them.
    usual_spread
        As in `change.correction`.

    Returns
    -------
    pandas.DataFrame
        Index ``(time, stratum)``, columns as the variables of `change.correction`, with
        ``witness_offset`` and ``witness_noise``, the same of each index of health by its name, the
        ``scenes`` that were counted, and ``gate_reason``, why the scene would be passed over in any
        season; then as `within_season`.
    """
    total: dict[np.datetime64, dict[str, npt.NDArray[np.int64]]] = {}
    others = {} if how.witness is None else {"witness": how.witness}
    others |= {name: name for name in how.also}
    prefixes = ("", *(f"{other}_" for other in others))
    names = [f"{prefix}count_{name}" for prefix in prefixes for name in COUNTS]
    for path in paths:
        with np.load(path) as saved:
            dates = saved["dates"]
            counts = {name: saved[name] for name in names if name in saved}
        for place, date in enumerate(dates):
            of_date = total.setdefault(date, {})
            for name, of_block in counts.items():
                of_date[name] = of_date.get(name, 0) + of_block[place]
    tables = []
    for date, of_date in sorted(total.items()):
        made = change.correction(
            _statistics(date, of_date, how.index), gate=gate, usual_spread=usual_spread
        )
        further = {"witness_offset": made["offset"], "witness_noise": made["noise"]}
        for other, index in others.items():
            of_other = change.correction(_statistics(date, of_date, index, f"{other}_"), gate=gate)
            further |= {
                f"{other}_offset": of_other["offset"],
                f"{other}_noise": of_other["noise"],
            }
        made = made.assign(further)
        tables.append(made.to_dataframe(dim_order=["time", "stratum"]))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables)
    time = table.index.get_level_values("time")
    table["scenes"] = scenes["scenes"].reindex(time).to_numpy()
    return within_season(table.rename(columns={"reason": "gate_reason"}), scenes)


def within_season(table: pd.DataFrame, scenes: pd.DataFrame) -> pd.DataFrame:
    """Pass over the scenes that lie out of season.

    Parameters
    ----------
    table
        Of `corrections`.
    scenes
        Table of `seasons`.

    Returns
    -------
    pandas.DataFrame
        With ``snow_share`` of the open land, ``rejected`` and ``reason``.
    """
    result = table.copy()
    of_time = scenes.reindex(table.index.get_level_values("time"))
    outside = ~of_time["in_season"].to_numpy(dtype=bool)
    result["snow_share"] = of_time["snow_share"].to_numpy()
    result["rejected"] = outside | (table["gate_reason"] != "").to_numpy()
    result["reason"] = np.where(outside, OUT_OF_SEASON, table["gate_reason"])
    return result


def usual_spread(table: pd.DataFrame, history_end: np.datetime64) -> npt.NDArray[np.float64]:
    """Spread of each stratum's departures in the history; see `change.usual_spread`."""
    of_history = table[table.index.get_level_values("time") <= pd.Timestamp(history_end)]
    scenes = of_history.to_xarray()
    return change.usual_spread(scenes.assign(rejected=scenes["rejected"].isel(stratum=0)))


def _statistics(
    date: np.datetime64,
    counts: Mapping[str, npt.NDArray[np.int64]],
    index: str,
    prefix: str = "",
) -> xr.Dataset:
    """Label the counts of one scene over the whole area as `change.correction` wants them."""
    variables = {}
    for name, dims in COUNTS.items():
        counted = counts[f"{prefix}count_{name}"]
        # `change.correction` takes the noise for all scenes at once
        variables[name] = (dims[1:], counted) if name == "sigma" else (dims, counted[np.newaxis])
    time = np.array([date], dtype="datetime64[ns]")
    decrease = int(indices.INDICES[index].falls_with_damage)
    return xr.Dataset(variables, coords={"time": time}, attrs={"decrease": decrease})


def read_corrections(path: Path, dates: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """Corrections of some days, as `change.update` wants them, from the file of all."""
    table = pd.read_parquet(path).loc[pd.DatetimeIndex(dates)].to_xarray()
    of_scene = [name for name in OF_SCENE if name in table]
    return table.assign({name: table[name].isel(stratum=0) for name in of_scene})
