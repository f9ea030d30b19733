"""The journey of an agronomist's fields: scenes → NDVI curves, phenology, productivity zones."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva import aoi, cube, execution, features, publish, tasks, yields, zonal
from lesniva.config import FieldsPipeline
from lesniva.errors import InputError
from lesniva.pipeline import productivity
from lesniva.pipeline.harvest import Maps, harvest_year, issue_date, sum_seasons, sums_of
from lesniva.pipeline.outlook import outlook
from lesniva.pipeline.place import Place, days_over, find, observing, over
from lesniva.pipeline.running import Report, run_cached, running, stage
from lesniva.pipeline.shelf import Shelf, close, put_raster, put_tables
from lesniva.storage import sha256

COVER = "cropland"
"""All pixels of the parcels."""

NO_YIELDS = "no yields of this field are known: no figure"

DATES = {"sos": "sos_doy", "peak": "ndvi_peak_doy"}
"""Dates of the season, and the feature that has them as a day of the year."""

SHOWN = (
    "ndvi_last", "ndvi_last_anom", "ndvi_vci", "ndvi_peak", "ndvi_peak_anom", "ndvi_int",
    "ndvi_int_anom", "sos_doy", "sos_doy_anom", "ndvi_peak_doy", "ndvi_peak_doy_anom", "qa_n_obs",
    "qa_days_since_obs", "qa_area_ha",
)  # fmt: skip
"""Features that are published."""


def survey_fields(job: FieldsPipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Tell an agronomist how the fields stand: curve, anomaly, dates, zones; yields where known."""
    parcels = _parcels(job)
    west, south, east, north = parcels.total_bounds
    area = job.area.model_copy(update={"clip": (west, south, east, north)})
    job = job.model_copy(update={"area": area})
    with running(job, out) as report:
        place, days = find(job, report)
        place = over(place, parcels)
        cutoff = issue_date(job.fields.cutoff, job.fields.year, end=job.period.end)
        days = [day for day in days if day.date <= np.datetime64(cutoff)]
        mask = tasks.Map(job.fields.file, None, sha256(job.fields.file))
        masks = _masks(report, run_tasks, place, days, mask)
        seasons = sum_seasons(report, run_tasks, place, parcels, days, Maps(masks, {}, {}, {}))
        peaks = _peaks(report, run_tasks, place, days)
        with stage(report, "fields"):
            observed = zonal.means(sums_of(seasons))
            observed = observed[observed["cover"] == COVER]
            table = _features(job, observed, cutoff)
            layer = parcels.merge(_state(job, report, table, cutoff), on="adm_id")
            pixels = productivity.pixels(place.blocks, parcels, peaks, zones=job.fields.zones)
            zones = productivity.polygons(place.blocks, parcels, pixels)
        with stage(report, "publish"):
            shelf = Shelf(job, report, place, days)
            _publish(
                shelf, layer, observed, table, zones, productivity.rasters(place.blocks, pixels)
            )
    return report


def _parcels(job: FieldsPipeline) -> gpd.GeoDataFrame:
    """Read the parcels: ``adm_id`` and polygons in degrees."""
    path, column = job.fields.file, job.fields.id_column
    shapes, _ = aoi.read_vector(path, "parcel file")
    if column not in shapes:
        raise InputError(
            f"{path} has no column {column!r}, only {', '.join(map(str, shapes.columns))}; name the"
            " one with the ids as fields.id_column"
        )
    faults = []
    if not shapes.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        faults.append("not all of its shapes are polygons")
    ids = shapes[column].astype(str)
    if ids.duplicated().any() or shapes[column].isna().any():
        faults.append(f"ids are missing or twice there ({ids[ids.duplicated()].iloc[:3].tolist()})")
    if faults or shapes.empty:
        raise InputError(f"{path}: {'; '.join(faults) or 'it holds no parcel'}; mend the file")
    frame = gpd.GeoDataFrame({"adm_id": ids}, geometry=shapes.geometry.make_valid())
    return frame.to_crs("EPSG:4326")


def _masks(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
    given: tasks.Map,
) -> dict[str, Path]:
    """Pixels of the parcels, block by block."""
    how = observing("ndvi", days, place)
    work = {
        block.key: {
            "block": block, "grid": place.grid_of(block), "days": [], "how": how, "given": given
        }
        for block, _ in place.days_by_block(days)
    }  # fmt: skip
    return run_cached(report, run_tasks, tasks.cropland_block, work, "cropland", ".npy")


def _peaks(
    report: Report, run_tasks: execution.RunTasks, place: Place, days: Sequence[cube.SolarDay]
) -> dict[str, dict[int, Path]]:
    """Peak NDVI of every season, April to August: block → season → file."""
    how = observing("ndvi", days, place)
    work: dict[str, dict[str, Any]] = {}
    for block in place.blocks:
        for day in days_over(block, [day for day in days if _is_summer(day.date)]):
            key = f"{block.key}/{harvest_year(day.date)}"
            asked = {"block": block, "grid": place.grid_of(block), "how": how, "statistic": "max"}
            work.setdefault(key, {**asked, "days": []})["days"].append(day)
    done = run_cached(report, run_tasks, tasks.composite_block, work, "composite", ".npy")
    by_block: dict[str, dict[int, Path]] = {}
    for key, path in sorted(done.items()):
        block_key, _, year = key.rpartition("/")
        by_block.setdefault(block_key, {})[int(year)] = path
    return by_block


def _is_summer(date: np.datetime64) -> bool:
    return 4 <= int(str(date)[5:7]) <= 8


def _features(job: FieldsPipeline, observed: pd.DataFrame, cutoff: dt.date) -> pd.DataFrame:
    """Features of every season on the day of the cut-off, with anomalies against earlier ones."""
    dates = observed["date"].unique()
    years = sorted({harvest_year(np.datetime64(date, "D")) for date in dates})
    years = [year for year in years if year <= job.fields.year]
    return features.features(
        observed,
        crop=job.fields.crop or "field",
        years=sorted({*years, job.fields.year}),
        cutoff=cutoff.strftime("%m-%d"),
        cover=COVER,
        climatology_years=[year for year in years if year < job.fields.year],
    )


def _state(
    job: FieldsPipeline, report: Report, table: pd.DataFrame, cutoff: dt.date
) -> pd.DataFrame:
    """State of each field on the day, and its yield where past yields allow a figure."""
    year = job.fields.year
    rows = table[table["year"] == year].set_index("adm_id")
    state = rows[["year", "cutoff", *(name for name in SHOWN if name in rows)]].copy()
    for name, feature in DATES.items():
        state[name] = pd.Timestamp(f"{year}-01-01") + pd.to_timedelta(rows[feature] - 1, unit="D")
    state["note"] = NO_YIELDS
    if job.fields.yields is not None and job.fields.crop is not None:
        statistics = yields.read(job.fields.yields)
        known = statistics[(statistics["crop"] == job.fields.crop) & (statistics["year"] < year)]
        known = known[known["adm_id"].isin(rows.index)]
        if known.empty:
            raise InputError(
                f"{job.fields.yields} has no yields of {job.fields.crop} of these fields before"
                f" {year}; check its adm_id against {job.fields.file.name}"
            )
        raw = table.drop(columns=[n for n in table if str(n).endswith(("_anom", "_vci"))])
        said = outlook(
            report.folder, raw, known, crop=job.fields.crop, cutoff=cutoff.strftime("%m-%d"),
            year=year, group=job.name, lead_days=None, settings={},
        )  # fmt: skip
        figures = said.tables["forecast"].set_index("adm_id")
        figures = figures[figures.index.isin(known["adm_id"])]
        names = ["yield_t_ha", "q10_t_ha", "q90_t_ha", "skill", "reasons_en", "reasons_ru", "note"]
        state = state.drop(columns="note").join(figures[names])
        state["note"] = state["note"].fillna(NO_YIELDS)
        report.words.append(str(said.claim["statement_en"]))
    return state.reset_index()


def _curves(observed: pd.DataFrame, year: int) -> pd.DataFrame:
    """NDVI of each field by dekad, beside mean, least and most of earlier years."""
    seen = observed.dropna(subset=["ndvi"])
    dates = seen["date"]
    dekad = (dates.dt.month - 1) * 3 + np.minimum((dates.dt.day - 1) // 10, 2) + 1
    rows = seen.assign(dekad=dekad, harvest=dates.dt.year + (dates.dt.month >= 9))
    weighted = rows.assign(sum=rows["ndvi"] * rows["weight"])
    total = weighted.groupby(["adm_id", "harvest", "dekad"])[["sum", "weight"]].sum()
    ndvi = (total["sum"] / total["weight"]).rename("ndvi").reset_index()
    earlier = ndvi[ndvi["harvest"] < year].groupby(["adm_id", "dekad"])["ndvi"]
    normal = earlier.agg(normal="mean", lowest="min", highest="max", years="size").reset_index()
    now = ndvi[ndvi["harvest"] == year].drop(columns="harvest")
    curve = normal.merge(now, how="outer", on=["adm_id", "dekad"])
    return curve.assign(year=year, anomaly=curve["ndvi"] - curve["normal"])


def _publish(
    shelf: Shelf,
    layer: gpd.GeoDataFrame,
    observed: pd.DataFrame,
    table: pd.DataFrame,
    zones: gpd.GeoDataFrame,
    arrays: Mapping[str, npt.NDArray[np.uint8]],
) -> None:
    report, place = shelf.report, shelf.place
    layer = layer.rename(columns={"adm_id": "field_id"})
    year = int(layer["year"].iloc[0])
    put_tables(
        shelf,
        {"fields": layer, "productivity_zones": zones},
        key={"fields": "field_id", "productivity_zones": "zone_id"},
        tables={
            "field_curves": _curves(observed, year).rename(columns={"adm_id": "field_id"}),
            "field_ndvi": observed.rename(columns={"adm_id": "field_id"}),
            "field_seasons": table.rename(columns={"adm_id": "field_id"}),
        },
        styles={
            "fields": publish.forecast_style(layer["ndvi_last"], column="ndvi_last"),
            "productivity_zones": publish.zones_style(),
        },
    )
    for grid in place.grids:
        blocks = (
            (*place.offset(block), arrays[block.key])
            for block in place.blocks
            if block.grid_id == grid.id
        )
        put_raster(shelf, grid, "productivity", publish.LAYERS["productivity"], blocks)
    report.results["fields"] = len(layer)
    seen = int(layer["ndvi_last"].notna().sum())
    report.words.append(f"{seen} of {len(layer)} fields seen this season")
    close(shelf)
