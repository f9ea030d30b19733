"""What is told of each alert beyond that and when: its cause, and whose ground it lies on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from lesniva import alerts, aoi, cube, masks, publish, tasks
from lesniva.config import ForestPipeline, PermitSection, UnitSection
from lesniva.errors import InputError
from lesniva.pipeline.monitoring import ForestRun
from lesniva.pipeline.place import FOOTPRINT_ERROR, Place, common_bands, days_over
from lesniva.pipeline.running import run_cached, stage

ACQUIRED = ("acq_date", "date")
"""Column with the day of a hotspot: FIRMS, or plain."""


@dataclass(frozen=True)
class Layers:
    """What a user brings to tell alerts by."""

    hints: alerts.Hints
    units: Mapping[str, gpd.GeoDataFrame]
    """By name of the layer: ``id``, ``name`` and polygon."""
    permits: gpd.GeoDataFrame | None


def layer_files(job: ForestPipeline) -> list[Path]:
    """Files of `Layers`."""
    asked = job.alerts
    brought = [unit.file for unit in asked.units]
    brought += [] if asked.permits is None else [asked.permits.file]
    return brought + ([] if asked.hotspots is None else [asked.hotspots])


def read_layers(job: ForestPipeline) -> Layers:
    """Read the layers that a pipeline file names, before any work is done.

    Raises
    ------
    InputError
        With all faults of all files.
    """
    known = publish.field_titles("en")
    faults = [
        f"alerts.units: {unit.name} is a column of all alerts; give the layer another name"
        for unit in job.alerts.units
        if unit.name in known
    ]

    def read(reader: Callable[[Any], Any], what: Any) -> Any:
        try:
            return reader(what)
        except InputError as error:
            faults.append(str(error))
            return None

    layers = Layers(
        hints=read(_hints, job),
        units={unit.name: read(_units, unit) for unit in job.alerts.units},
        permits=None if job.alerts.permits is None else read(_permits, job.alerts.permits),
    )
    if faults:
        raise InputError("; ".join(faults))
    return layers


def told(
    layers: Layers,
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    table: gpd.GeoDataFrame,
) -> gpd.GeoDataFrame:
    """Add cause, units and permits to the alerts of a run.

    Only the ground of alerts is read, on a few days around each change; what was read for an alert
    that has not changed since is kept.
    """
    reflectance = _spectra(run, days, table)
    with stage(run.report, "alerts"):
        table = alerts.attribute(table, alerts.features(table, reflectance, layers.hints))
        for name, units in layers.units.items():
            table = alerts.with_unit(table, units, name)
        if layers.permits is not None:
            table = alerts.with_permit(table, layers.permits)
    return table


def _spectra(
    run: ForestRun, days: Sequence[cube.SolarDay], table: gpd.GeoDataFrame
) -> pd.DataFrame:
    """Mean reflectance of the alerts on the days that show their changes."""
    how = _bands(days, run.place)
    wanted = _days_of_alerts(table, days)
    work: dict[str, dict[str, Any]] = {}
    for grid in run.place.grids:
        shapes = table.to_crs(str(grid.geobox.crs)).geometry.to_numpy()
        tree = shapely.STRtree(shapes)
        for block in run.place.blocks:
            if block.grid_id != grid.id:
                continue
            inside = np.sort(tree.query(shapely.box(*block.geobox.boundingbox), "intersects"))
            needed = sorted({number for at in inside for number in wanted[at]})
            if not needed:
                continue
            near = {day.date: day for day in days_over(block, [days[each] for each in needed])}
            ids = table["alert_id"].iloc[inside]
            work[block.key] = {
                "block": block,
                "outlines": {
                    name: shapely.to_wkb(shapes[at], hex=True)
                    for at, name in zip(inside, ids, strict=True)
                },
                "days": [near.get(days[each].date, days[each]) for each in needed],
                "wanted": [
                    (name, needed.index(number))
                    for at, name in zip(inside, ids, strict=True)
                    for number in wanted[at]
                ],
                "how": how,
            }
    made = run_cached(run.report, run.run_tasks, tasks.spectra_block, work, "spectra", ".parquet")
    return alerts.means([pd.read_parquet(path) for path in made.values()])


def _days_of_alerts(
    table: gpd.GeoDataFrame, days: Sequence[cube.SolarDay]
) -> list[npt.NDArray[np.int64]]:
    """Choose for each alert, among the days whose scenes reach it, those that show its change.

    By the alert and not by the block: it would look otherwise where blocks are cut otherwise.
    """
    dates = np.array([day.date for day in days], dtype="datetime64[D]")
    first_seen = table["date_max"].to_numpy("datetime64[D]")
    tree = shapely.STRtree(table.geometry.to_numpy())
    reached = np.zeros((len(table), len(days)), dtype=bool)
    for number, day in enumerate(days):
        for scene in day.scenes:
            around = scene.footprint.buffer(FOOTPRINT_ERROR)
            reached[tree.query(around, "intersects"), number] = True
    return [
        np.flatnonzero(reach)[alerts.days_to_read(dates[reach], first)]
        for reach, first in zip(reached, first_seen, strict=True)
    ]


def _bands(days: Sequence[cube.SolarDay], place: Place) -> tasks.Observing:
    """Those bands of the rules, and of the test for thin cloud, that all scenes have."""
    common = common_bands(days)
    wanted = dict.fromkeys((*alerts.BANDS, *masks.VEIL_BANDS, "scl"))
    return tasks.Observing(
        index="", bands=tuple(band for band in wanted if band in common), access=place.access
    )


def _hints(job: ForestPipeline) -> alerts.Hints:
    """Storms and fires that the pipeline file names."""
    storms = tuple(np.datetime64(day, "D") for day in job.alerts.storms)
    if job.alerts.hotspots is None:
        return alerts.Hints(storms=storms)
    spots, _ = aoi.read_vector(job.alerts.hotspots, "hotspot file")
    column = next((name for name in ACQUIRED if name in spots), None)
    when = _dates(spots[column]) if column else pd.Series(pd.NaT, index=spots.index)
    return alerts.Hints(spots[["geometry"]].assign(date=when), storms)


def _units(unit: UnitSection) -> gpd.GeoDataFrame:
    """``id``, ``name`` and polygon of the units of a layer, EPSG:4326."""
    table = _polygons(unit, f"unit file ({unit.name})", [unit.name_column])
    ids = table[unit.id_column].astype(str)
    names = ids if unit.name_column is None else table[unit.name_column].astype(str)
    return table[["geometry"]].assign(id=ids, name=names)


def _permits(permits: PermitSection) -> gpd.GeoDataFrame:
    """``id``, ``start``, ``end`` and polygon of felling permits, EPSG:4326."""
    what = "permit file"
    table = _polygons(permits, what, [permits.start_column, permits.end_column])
    columns = {"start": permits.start_column, "end": permits.end_column}
    times = {
        name: pd.Series(pd.NaT, index=table.index) if column is None else _dates(table[column])
        for name, column in columns.items()
    }
    for name, column in columns.items():
        bad = table.index[times[name].isna() & table[column].notna()] if column else []
        if len(bad):
            raise InputError(
                f"{what} {permits.file}: {column} of feature {bad[0] + 1} is "
                f"{table[column].iloc[bad[0]]!r}; write dates as YYYY-MM-DD or DD.MM.YYYY"
            )
    return table[["geometry"]].assign(id=table[permits.id_column].astype(str), **times)


def _polygons(
    section: UnitSection | PermitSection, what: str, columns: Sequence[str | None]
) -> gpd.GeoDataFrame:
    """Read the polygons of a user's file, mended, with the columns asked for."""
    table, _ = aoi.read_vector(section.file, what, layer=section.layer, encoding=section.encoding)
    missing = [name for name in (section.id_column, *columns) if name and name not in table]
    if missing:
        raise InputError(
            f"{what} {section.file}: no column {', '.join(missing)}; "
            f"it has {', '.join(str(name) for name in table.columns.drop('geometry'))}"
        )
    table = table.reset_index(drop=True)
    return table.set_geometry(shapely.make_valid(table.geometry.to_numpy()), crs=table.crs)


def _dates(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Dates of a column of dates or texts, NaT where it has none."""
    if pd.api.types.is_datetime64_any_dtype(column):
        naive: pd.Series[Any] = column.dt.tz_localize(None)
        return naive
    text = column.astype("string")
    russian = pd.to_datetime(text, format="%d.%m.%Y", errors="coerce")
    return russian.fillna(pd.to_datetime(text, format="ISO8601", errors="coerce"))
