"""The harvest journey: scenes → NDVI of districts → features → forecasts through the season."""

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva import cube, execution, features, forecast, publish, tasks, yields, zonal
from lesniva.config import CropSection, HarvestPipeline
from lesniva.errors import InputError
from lesniva.pipeline.composite import latest_picture, put_composite
from lesniva.pipeline.ground import ground_of
from lesniva.pipeline.meteo import weather_of
from lesniva.pipeline.outlook import TABLES, Outlook, day_of, outlook
from lesniva.pipeline.paper import REPORT, about, rasters
from lesniva.pipeline.place import Place, days_over, find, observing
from lesniva.pipeline.running import STATE, Report, run_cached, running, settings, stage
from lesniva.pipeline.shelf import TITLES, Shelf, close, put_raster, put_tables
from lesniva.storage import sha256, write_text

MASK_SEASONS = 3
"""The first seasons of the archive show what is tilled; hindcasts are judged on later ones, so that
no test season takes part in its own mask."""

ALSO = ("evi2", "ndre")
"""Indices beside NDVI, where the scenes have their bands: EVI2 saturates later (Jiang et al. 2008),
NDRE sees into dense stands."""

MADE_OF = "made-of"
"""File with the fingerprint of what the published results were made of."""

HISTORY = "forecast_history.parquet"


@dataclass(frozen=True)
class Maps:
    """Where crops grow, and from which seasons that is known."""

    cropland: Mapping[str, Path]
    """Mask of each block."""
    crops: Mapping[str, tasks.Map]
    """The user's maps of crops."""
    first_test: Mapping[str, int]
    """Crop → earliest harvest year that had no part in its map; 0 where the map does not say."""
    told_by: Mapping[str, str]
    """Crop → what tells where it grows, in words."""


def forecast_harvest(job: HarvestPipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Forecast the harvest of an area: scenes → NDVI of districts → features → forecasts.

    Incremental: a block's season is read again only when it has new scenes, a crop's issue day
    judged again only when its features or yields are others.
    """
    with running(job, out) as report:
        place, days = find(job, report)
        cutoff = issue_date(job.harvest.cutoff, job.harvest.year, end=job.period.end)
        days = [day for day in days if day.date <= np.datetime64(cutoff)]
        maps = _find_maps(job, report, run_tasks, place, days)
        seasons = sum_seasons(report, run_tasks, place, place.districts, days, maps)
        weather = None
        if job.weather is not None:
            start = dt.date(harvest_year(days[0].date) - 1, 9, 1)
            weather = weather_of(job.weather, report, place.districts, start=start, end=cutoff)
        ground = ground_of(place.districts, job.harvest.soil)
        made_of = tasks.digest(
            settings(job),
            cutoff,
            sha256(job.harvest.yields),
            sorted(str(path) for path in seasons.values()),
            None if weather is None else weather.to_csv(index=False),
            ground.to_csv(index=False),
        )
        if _was_made_of(out, made_of):
            report.nothing_new = True
            return report
        with stage(report, "forecast"):
            observed = zonal.means(sums_of(seasons))
            outlooks = [
                each
                for crop in job.harvest.crops
                for each in _outlooks(
                    job, report, place, cutoff, crop, observed, weather, ground, maps
                )
            ]
        ndvi = latest_picture(report, run_tasks, place, days)
        with stage(report, "publish"):
            shelf = Shelf(job, report, place, days)
            _publish(shelf, cutoff, outlooks, observed, maps, ndvi)
        write_text(out / STATE / MADE_OF, made_of)
    return report


def harvest_year(date: np.datetime64) -> int:
    """Harvest year of a date: from September on, the next one."""
    year, month = (int(part) for part in str(date).split("-")[:2])
    return year + 1 if month >= 9 else year


def issue_date(cutoff: dt.date | str, year: int, *, end: dt.date) -> dt.date:
    """Issue date of a run: as given, or the end of the last dekad that is over.

    Parameters
    ----------
    cutoff
        A date, or "latest".
    year
        Harvest year.
    end
        Last day of the period.
    """
    if isinstance(cutoff, dt.date):
        return cutoff
    until = min(end, dt.datetime.now(dt.UTC).date())
    over = [day_of(yields.dekad_end(dekad), year) for dekad in range(1, 37)]
    over = [day for day in over if day <= until]
    if not over:
        raise InputError(f"no dekad of {year} is over on {until}; set cutoff, year or period.end")
    return over[-1]


def _issue_days(job: HarvestPipeline, crop: str, cutoff: dt.date) -> tuple[list[str], Any]:
    """Days ``MM-DD`` of a crop, with the run's own; and its calendar, None where not known."""
    asked = job.harvest.issue_days
    own = job.harvest.crops[crop].calendar.model_dump(exclude_none=True)
    table = yields.calendar({crop: own} if own else None, region=job.harvest.region)
    dates: Any = table.loc[crop] if crop in table.index else None
    if asked == "season":
        if dates is None:
            raise InputError(
                f"{crop} is not in the crop calendar, which has {', '.join(table.index)}; give its"
                f" four dekads in [harvest.crops.{crop}.calendar], or harvest.issue_days"
            )
        asked = yields.issue_days(dates)
    listed = [] if asked == "cutoff" else list(asked)
    return sorted({*listed, cutoff.strftime("%m-%d")}), dates


def _find_maps(
    job: HarvestPipeline,
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
) -> Maps:
    """Find the cropland of each block, by the user's map or by NDVI, and the maps of crops."""
    years = sorted({harvest_year(day.date) for day in days})
    seasons = job.cropland.seasons or years[:MASK_SEASONS]
    given = _given(job.cropland)
    telling = [] if given else [day for day in days if _in_summer(day.date, seasons)]
    work = {
        block.key: {
            "block": block,
            "grid": place.grid_of(block),
            "days": days_over(block, telling),
            "how": observing("ndvi", days, place),
            "given": given,
        }
        for block, _ in place.days_by_block(days)
    }
    listed = ", ".join(str(season) for season in seasons)
    told_by = given.path.name if given else f"the NDVI of seasons {listed}"
    report.results["cropland_from"] = told_by
    report.words.append(f"cropland is told by {told_by}")
    cropland = run_cached(report, run_tasks, tasks.cropland_block, work, "cropland", ".npy")
    known_from = job.cropland.made_of if given else max(seasons)
    crops, first_test, sources = {}, {}, {}
    for crop, wanted in job.harvest.crops.items():
        own = _given(wanted)
        made_of = wanted.made_of if own else known_from
        first_test[crop] = 0 if made_of is None else made_of + 1
        if own is not None:
            crops[crop] = own
        sources[crop] = own.path.name if own else f"{wanted.cover} cover of {told_by}"
        if made_of is None:
            sources[crop] += ", a map whose season is not said: hindcasts may know their own map"
        report.results[f"{crop}_from"] = sources[crop]
        report.words.append(f"{crop} is told by {sources[crop]}")
    return Maps(cropland, crops, first_test, sources)


def _given(section: Any) -> tasks.Map | None:
    """Map of the user, None where there is none."""
    path = section.mask or section.parcels
    if path is None:
        return None
    if not path.is_file():
        raise InputError(f"the map {path} is not there; check the path")
    return tasks.Map(path, tuple(section.values) if section.mask else None, sha256(path))


def _in_summer(date: np.datetime64, years: Sequence[int]) -> bool:
    year, month = (int(part) for part in str(date).split("-")[:2])
    return year in years and 4 <= month <= 10


def sum_seasons(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    zones: gpd.GeoDataFrame,
    days: Sequence[cube.SolarDay],
    maps: Maps,
) -> dict[str, Path]:
    """Sum the indices by zone, cover and date, into a file for each block and season."""
    how = observing("ndvi", days, place, also=ALSO)
    districts = zones[["adm_id", "geometry"]]
    work: dict[str, dict[str, Any]] = {}
    for block, over in place.days_by_block(days):
        if block.key not in maps.cropland:
            continue
        for year in sorted({harvest_year(day.date) for day in over}):
            work[f"{block.key}/{year}"] = {
                "block": block,
                "days": [day for day in over if harvest_year(day.date) == year],
                "year": year,
                "how": how,
                "cropland": maps.cropland[block.key],
                "crops": maps.crops,
                "districts": districts,
            }
    return run_cached(report, run_tasks, tasks.season_block, work, "season", ".parquet")


def sums_of(seasons: Mapping[str, Path]) -> pd.DataFrame:
    """Put the sums of all blocks and seasons together, each with its block."""
    return pd.concat(
        [
            pd.read_parquet(path).assign(block=key.rpartition("/")[0])
            for key, path in seasons.items()
        ]
    )


def _outlooks(
    job: HarvestPipeline,
    report: Report,
    place: Place,
    cutoff: dt.date,
    crop: str,
    observed: pd.DataFrame,
    weather: pd.DataFrame | None,
    ground: pd.DataFrame,
    maps: Maps,
) -> Iterator[Outlook]:
    """Hindcasts of one crop on each issue day, and forecasts of those that have come."""
    known = _statistics(job, crop)
    issue_days, dates = _issue_days(job, crop, cutoff)
    seen = {harvest_year(np.datetime64(date, "D")) for date in observed["date"].unique()}
    for day in issue_days:
        come = day_of(day, job.harvest.year) <= cutoff
        years = sorted(year for year in seen if year < job.harvest.year + come)
        table = features.features(
            observed,
            crop=crop,
            years=years if not come else sorted({*years, job.harvest.year}),
            cutoff=day,
            cover=_cover(job.harvest.crops[crop], crop, day),
            weather=weather,
            places=ground,
        )
        yield outlook(
            report.folder,
            table,
            known,
            crop=crop,
            cutoff=day,
            year=job.harvest.year,
            group=place.area.id,
            lead_days=None if dates is None else yields.lead_days(dates, day),
            settings={"yield_lag": job.harvest.yield_lag, "first_test": maps.first_test[crop]},
        )


def _statistics(job: HarvestPipeline, crop: str) -> pd.DataFrame:
    """Read the yields of a crop before the harvest year."""
    statistics = yields.read(job.harvest.yields)
    known = statistics[(statistics["crop"] == crop) & (statistics["year"] < job.harvest.year)]
    if known.empty:
        have = ", ".join(sorted(statistics["crop"].unique()))
        raise InputError(
            f"{job.harvest.yields} has no yields of {crop} before {job.harvest.year}; it has {have}"
        )
    return known


def _cover(wanted: CropSection, crop: str, day: str) -> str:
    return crop if wanted.cover is None else features.cover_at(wanted.cover, day)


def _was_made_of(out: Path, made_of: str) -> bool:
    path = out / STATE / MADE_OF
    return path.exists() and path.read_text() == made_of and not publish.verify(out)


def _publish(
    shelf: Shelf,
    cutoff: dt.date,
    outlooks: Sequence[Outlook],
    observed: pd.DataFrame,
    maps: Maps,
    ndvi: dict[str, Path],
) -> None:
    report, place = shelf.report, shelf.place
    today = [each for each in outlooks if each.cutoff == cutoff.strftime("%m-%d")]
    tables = {
        name: pd.concat([each.tables[name] for each in outlooks], ignore_index=True)
        for name in TABLES
    }
    tables["claims"]["mask"] = tables["claims"]["crop"].map(maps.told_by)
    layer = _layer(place, pd.concat([each.tables["forecast"] for each in today]))
    season = tables.pop("forecast")
    by_crop = _by_crop(layer)
    put_tables(
        shelf,
        {"forecast": layer},
        key="forecast_id",
        tables={**tables, "forecast_season": season, "district_ndvi": observed},
        forms=by_crop,
        styles={
            name: publish.forecast_style(rows["yield_t_ha"])
            for name, rows in {"forecast": layer, **by_crop}.items()
        },
    )
    said = pd.concat([each.tables["forecast"] for each in today], ignore_index=True)
    new = forecast.record(
        report.folder / HISTORY, said, issued=report.started, run_id=report.run_id
    )
    report.results["history_rows_added"] = new
    shutil.rmtree(report.folder / "models", ignore_errors=True)
    for each in today:
        shutil.copytree(each.model, report.folder / "models" / f"{each.crop}_{each.cutoff}")
    _draw(shelf, layer, outlooks, tables)
    for grid in place.grids:
        blocks = (
            (*place.offset(block), np.load(maps.cropland[block.key]).astype(np.uint8))
            for block in place.blocks
            if block.grid_id == grid.id and block.key in maps.cropland
        )
        put_raster(shelf, grid, "cropland", publish.LAYERS["cropland"], blocks)
        put_composite(shelf, grid, "ndvi", ndvi)
    _report(shelf, layer, tables, observed)
    report.results["districts"] = int(layer["adm_id"].nunique())
    report.results["cutoff"] = str(cutoff)
    for each in today:
        report.words.append(f"{each.crop}: {_in_words(each)}")
        report.results[each.crop] = each.claim["statement_en"]
    close(shelf)


def _layer(place: Place, rows: pd.DataFrame) -> gpd.GeoDataFrame:
    """Forecasts with the outline and the names of their district."""
    rows = rows.assign(forecast_id=rows["adm_id"] + "/" + rows["crop"])
    rows = rows[["forecast_id", *(name for name in rows if name != "forecast_id")]]
    shapes = place.districts[["adm_id", "name_en", "name_ru", "geometry"]]
    return shapes.merge(rows, on="adm_id").sort_values("forecast_id", ignore_index=True)


def _by_crop(layer: gpd.GeoDataFrame) -> dict[str, gpd.GeoDataFrame]:
    """Give each of several crops a layer of its own: stacked, the maps of crops hide each other."""
    crops = dict.fromkeys(layer["crop"])
    if len(crops) < 2:
        return {}
    return {f"forecast_{crop}": layer[layer["crop"] == crop] for crop in crops}


def _draw(
    shelf: Shelf,
    layer: gpd.GeoDataFrame,
    outlooks: Sequence[Outlook],
    tables: Mapping[str, pd.DataFrame],
) -> None:
    """Draw the forecast of the day, and the season of each crop."""
    report, place = shelf.report, shelf.place
    day = layer["cutoff"].iloc[0].strftime("%m-%d")
    publish.harvest_map(
        report.folder / "harvest.png",
        forecast=layer,
        districts=place.districts,
        skill=tables["skill"][tables["skill"]["cutoff"] == day],
        title=f"{TITLES['harvest']}: {shelf.where}",
        credit=shelf.credit,
    )
    for crop in dict.fromkeys(each.crop for each in outlooks):
        of_crop = {name: rows[rows["crop"] == crop] for name, rows in tables.items() if len(rows)}
        publish.season_chart(
            report.folder / f"season_{crop}.png",
            crop=crop,
            cutoff=day,
            skill=of_crop["skill"],
            claims=of_crop["claims"],
            hindcast=of_crop["hindcast"],
            total=of_crop["forecast_total"],
            title=f"{TITLES['harvest']}: {shelf.where}",
            credit=shelf.credit,
        )


def _in_words(each: Outlook) -> str:
    """Say what is forecast, and how good such forecasts were beside the plain ones."""
    total = each.tables["forecast_total"].iloc[0]
    error = each.tables["skill"].set_index("forecaster")["nrmse"]
    plain = {"mean": "mean", "own trend": "own_trend", "last year": "last"}
    beside = ", ".join(f"{words} {error[name]:.1f} %" for words, name in plain.items())
    return (
        f"{total['yield_t_ha']:.2f} t/ha over {total['districts']} districts (80 %: "
        f"{total['q10_t_ha']:.2f}-{total['q90_t_ha']:.2f}); error in past years "
        f"{error['forecast']:.1f} % beside {beside}; {each.claim['statement_en']}"
    )


def _report(
    shelf: Shelf,
    layer: gpd.GeoDataFrame,
    tables: Mapping[str, pd.DataFrame],
    observed: pd.DataFrame,
) -> None:
    """Write the page that opens anywhere."""
    job = shelf.job
    if not isinstance(job, HarvestPipeline):
        raise TypeError(f"a harvest run was asked of {type(job).__name__}")
    day = layer["cutoff"].iloc[0].strftime("%m-%d")
    publish.write_harvest_report(
        shelf.report.folder / REPORT,
        run=about(shelf, job.report.language),
        forecast=layer,
        districts=shelf.place.districts,
        tables=tables,
        ndvi=observed,
        yields=yields.read(job.harvest.yields),
        covers={crop: _cover(wanted, crop, day) for crop, wanted in job.harvest.crops.items()},
        rasters=rasters(shelf),
    )
