"""The harvest journey: scenes → NDVI of districts → features → forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesniva import cube, execution, features, forecast, publish, tasks, yields, zonal
from lesniva.config import CropSection, HarvestPipeline
from lesniva.errors import InputError
from lesniva.pipeline.composite import latest_ndvi, put_composite
from lesniva.pipeline.place import Place, days_over, find, observing
from lesniva.pipeline.running import STATE, Report, run_cached, running, settings, stage
from lesniva.pipeline.shelf import TITLES, Shelf, close, put_raster, put_tables
from lesniva.storage import sha256, write_text

MASK_SEASONS = 3
"""The first seasons of the archive show what is tilled; they are training seasons in any hindcast,
so that no test season takes part in its own mask."""

MADE_OF = "made-of"
"""File with the fingerprint of what the published results were made of."""


@dataclass(frozen=True)
class Outlook:
    """The forecast of one crop, and how good such forecasts were."""

    history: forecast.Hindcast
    districts: pd.DataFrame
    """Rows of `forecast.predict`."""


def forecast_harvest(job: HarvestPipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Forecast the harvest of an area: scenes → NDVI of districts → features → forecast.

    Incremental: a block's season is read again only when it has new scenes.
    """
    with running(job, out) as report:
        place, days = find(job, report)
        days = [day for day in days if day.date <= np.datetime64(job.harvest.cutoff)]
        cropland = _find_cropland(job, report, run_tasks, place, days)
        seasons = _sum_seasons(report, run_tasks, place, days, cropland)
        made_of = tasks.digest(
            settings(job),
            sha256(job.harvest.yields),
            sorted(str(path) for path in seasons.values()),
        )
        if _was_made_of(out, made_of):
            report.nothing_new = True
            return report
        with stage(report, "forecast"):
            observed = zonal.means(pd.concat(map(pd.read_parquet, seasons.values())))
            statistics = yields.read(job.harvest.yields)
            outlooks = {
                crop: _outlook(job, crop, wanted, observed, statistics)
                for crop, wanted in job.harvest.crops.items()
            }
        ndvi = latest_ndvi(report, run_tasks, place, days)
        with stage(report, "publish"):
            _publish(Shelf(job, report, place, days), outlooks, observed, cropland, ndvi)
        write_text(out / STATE / MADE_OF, made_of)
    return report


def harvest_year(date: np.datetime64) -> int:
    """Harvest year of a date: from September on, the next one."""
    year, month = (int(part) for part in str(date).split("-")[:2])
    return year + 1 if month >= 9 else year


def _find_cropland(
    job: HarvestPipeline,
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
) -> dict[str, Path]:
    """Cropland of each block: by the user's raster, or by the NDVI of earlier seasons."""
    years = sorted({harvest_year(day.date) for day in days})
    seasons = job.cropland.seasons or years[:MASK_SEASONS]
    telling = [] if job.cropland.mask else [day for day in days if _in_summer(day.date, seasons)]
    work = {
        block.key: {
            "block": block,
            "grid": place.grid_of(block),
            "days": days_over(block, telling),
            "how": observing("ndvi", days, place),
            "mask": job.cropland.mask,
            "values": tuple(job.cropland.values),
        }
        for block, _ in place.days_by_block(days)
    }
    listed = ", ".join(str(season) for season in seasons)
    told_by = job.cropland.mask.name if job.cropland.mask else f"the NDVI of seasons {listed}"
    report.results["cropland_from"] = told_by
    report.words.append(f"cropland is told by {told_by}")
    return run_cached(report, run_tasks, tasks.cropland_block, work, "cropland", ".npy")


def _in_summer(date: np.datetime64, years: Sequence[int]) -> bool:
    year, month = (int(part) for part in str(date).split("-")[:2])
    return year in years and 4 <= month <= 10


def _sum_seasons(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
    cropland: Mapping[str, Path],
) -> dict[str, Path]:
    """Sum NDVI by district, cover and date, into a file for each block and season."""
    how = observing("ndvi", days, place)
    districts = place.districts[["adm_id", "geometry"]]
    work: dict[str, dict[str, Any]] = {}
    for block, over in place.days_by_block(days):
        if block.key not in cropland:
            continue
        for year in sorted({harvest_year(day.date) for day in over}):
            work[f"{block.key}/{year}"] = {
                "block": block,
                "days": [day for day in over if harvest_year(day.date) == year],
                "year": year,
                "how": how,
                "cropland": cropland[block.key],
                "districts": districts,
            }
    return run_cached(report, run_tasks, tasks.season_block, work, "season", ".parquet")


def _outlook(
    job: HarvestPipeline,
    crop: str,
    wanted: CropSection,
    observed: pd.DataFrame,
    statistics: pd.DataFrame,
) -> Outlook:
    """Hindcast and forecast of one crop, from what is known before the harvest year."""
    cutoff = job.harvest.cutoff.strftime("%m-%d")
    years = sorted({harvest_year(np.datetime64(date, "D")) for date in observed["date"].unique()})
    table = features.features(
        observed,
        crop=crop,
        years=[y for y in years if y <= job.harvest.year],
        cutoff=cutoff,
        cover=wanted.cover,
    )
    known = statistics[(statistics["crop"] == crop) & (statistics["year"] < job.harvest.year)]
    if known.empty:
        have = ", ".join(sorted(statistics["crop"].unique()))
        raise InputError(
            f"{job.harvest.yields} has no yields of {crop} before {job.harvest.year}; it has {have}"
        )
    history = forecast.hindcast(table, known, crop=crop, cutoff=cutoff)
    fitted = forecast.fit(history, year=job.harvest.year)
    return Outlook(history, forecast.predict(fitted, table))


def _was_made_of(out: Path, made_of: str) -> bool:
    path = out / STATE / MADE_OF
    return path.exists() and path.read_text() == made_of and not publish.verify(out)


def _publish(
    shelf: Shelf,
    outlooks: Mapping[str, Outlook],
    observed: pd.DataFrame,
    cropland: Mapping[str, Path],
    ndvi: dict[str, Path],
) -> None:
    report, place = shelf.report, shelf.place
    table = pd.concat([each.districts for each in outlooks.values()], ignore_index=True)
    table.insert(0, "forecast_id", table["adm_id"] + "/" + table["crop"])
    shapes = place.districts[["adm_id", "name_en", "name_ru", "geometry"]]
    layer = shapes.merge(table, on="adm_id").sort_values("forecast_id", ignore_index=True)
    past = {
        name: pd.concat(
            [
                _with_index(getattr(each.history, part)).assign(crop=crop)
                for crop, each in outlooks.items()
            ],
            ignore_index=True,
        )
        for name, part in (("hindcast", "rows"), ("skill", "metrics"), ("skill_by_year", "by_year"))
    }
    put_tables(
        shelf,
        {"forecast": layer},
        key="forecast_id",
        tables={**past, "district_ndvi": observed},
        styles={"forecast": publish.forecast_style(layer["yield_t_ha"])},
    )
    publish.harvest_map(
        report.folder / "harvest.png",
        forecast=layer,
        districts=place.districts,
        skill=past["skill"],
        title=f"{TITLES['harvest']}: {shelf.where}",
        credit=shelf.credit,
    )
    for grid in place.grids:
        blocks = (
            (*place.offset(block), np.load(cropland[block.key]).astype(np.uint8))
            for block in place.blocks
            if block.grid_id == grid.id and block.key in cropland
        )
        put_raster(shelf, grid, "cropland", publish.LAYERS["cropland"], blocks)
        put_composite(shelf, grid, "ndvi", ndvi)
    report.results["districts"] = int(layer["adm_id"].nunique())
    for crop, each in outlooks.items():
        report.words.append(f"{crop}: {_in_words(each)}")
        report.results[crop] = each.history.statement
    close(shelf)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Make a named index a column; a nameless one says nothing."""
    return frame.reset_index(drop=frame.index.name is None)


def _in_words(outlook: Outlook) -> str:
    """Say what is forecast, and how good such forecasts were beside the plain ones."""
    rows = outlook.districts
    weight = rows["area_ha"].fillna(rows["area_ha"].mean()).fillna(1.0)
    point = float(np.average(rows["yield_t_ha"], weights=weight))
    error = outlook.history.metrics["nrmse"]
    plain = {"mean": "mean", "own trend": "own_trend", "last year": "last"}
    beside = ", ".join(f"{words} {error[name]:.1f} %" for words, name in plain.items())
    return (
        f"{point:.2f} t/ha on average over {len(rows)} districts; error in past years "
        f"{error['forecast']:.1f} % beside {beside}; {outlook.history.statement}"
    )
