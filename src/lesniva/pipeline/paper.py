"""The report page of a run, and the close looks at single alerts that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from lesniva import aoi, cube, ledger, publish, tasks
from lesniva.config import ForestPipeline
from lesniva.errors import InputError
from lesniva.pipeline.monitoring import ForestRun
from lesniva.pipeline.place import Place, common_bands, days_over, observing
from lesniva.pipeline.running import run_cached
from lesniva.pipeline.shelf import Shelf
from lesniva.tasks import closeups

REPORT = Path("report", "index.html")
"""Where the page lies in an output folder."""

FRESH = ("new", "grown", "promoted", "split")
"""What has happened to the alerts that are looked at first."""

YEARS = 6
"""Years that the chart of an alert goes back."""


def about(shelf: Shelf, language: publish.Language) -> publish.About:
    """Gather what the page tells of the run."""
    report, area = shelf.report, shelf.place.area
    return publish.About(
        run_id=report.run_id,
        started=report.started,
        area_en=area.name_en,
        area_ru=area.name_ru,
        credit=shelf.credit,
        approximate=area.approximate,
        settings=shelf.job.model_dump(mode="json"),
        stages={name: round(seconds, 1) for name, seconds in report.stages.items()},
        scenes=[
            {"date": str(day.date), "id": scene.id, "baseline": scene.processing[0]}
            for day in shelf.days
            for scene in day.scenes
        ],
        faults=report.faults,
        warnings=report.warnings,
        language=language,
    )


def rasters(shelf: Shelf) -> dict[str, list[Path]]:
    """List the published rasters by layer."""
    found: dict[str, list[Path]] = {}
    for made in shelf.rasters.values():
        for each in made:
            found.setdefault(each.layer.name, []).append(each.path)
    return found


def look_closely(
    job: ForestPipeline,
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    alerts: gpd.GeoDataFrame,
) -> dict[str, publish.CloseUp]:
    """Follow the newest and largest alerts through time, with pictures before and after.

    Returns
    -------
    dict
        By ``alert_id``, of ``report.close_ups`` alerts. One whose scenes could not be read is left
        out.
    """
    chosen = _chosen(alerts, job.report.close_ups)
    at_home = _blocks_of(chosen, run.place, ledger.seen(run.book))
    rows = _follow(run, days, at_home)
    dates = chosen.set_index("alert_id")[["date_min", "date_max"]]
    wanted = {
        alert: closeups.before_and_after(of_alert, *dates.loc[alert])
        for alert, of_alert in rows.items()
    }
    pictures = _picture(run, days, at_home, wanted)
    models = _models(run.book, at_home)
    outlines = _in_view(at_home)
    found = {}
    for alert, of_alert in rows.items():
        series = {
            name: of_alert.set_index("date")[name].dropna()
            for name in of_alert.columns.difference(["alert_id", "date", "clear"], sort=False)
        }
        fitted = {
            name: closeups.fitted_model(values, history_end=run.watching.history_end)
            for name, values in series.items()
        }
        own = {**fitted, run.watching.how.index: models[alert]}
        found[alert] = publish.CloseUp(
            series=series,
            models={name: model for name, model in own.items() if model is not None},
            chips=pictures.get(alert, {}),
            outline=outlines[alert],
        )
    return found


def _chosen(alerts: gpd.GeoDataFrame, most: int) -> gpd.GeoDataFrame:
    """Take those that something has happened to first, then the largest."""
    fresh = alerts["event"].isin(FRESH)
    order = alerts.assign(fresh=fresh).sort_values(
        ["fresh", "area_ha", "alert_id"], ascending=[False, False, True]
    )
    return order.head(most).drop(columns="fresh")


def _blocks_of(
    alerts: gpd.GeoDataFrame, place: Place, seen: Mapping[str, Any]
) -> dict[aoi.Block, dict[str, str]]:
    """Blocks that have a state, with the outlines of the alerts whose point they hold."""
    points = gpd.GeoSeries(gpd.points_from_xy(alerts["lon"], alerts["lat"]), crs="EPSG:4326")
    outlines = dict(
        zip(alerts["alert_id"], shapely.to_wkb(alerts.geometry.to_numpy(), hex=True), strict=True)
    )
    homeless = list(outlines)
    at_home: dict[aoi.Block, dict[str, str]] = {}
    by_crs: dict[str, gpd.GeoSeries] = {}
    for block in place.blocks:
        if block.key not in seen:
            continue
        crs = str(block.geobox.crs)
        if crs not in by_crs:
            by_crs[crs] = points.to_crs(crs)
        square = block.geobox.extent.geom
        inside = by_crs[crs].within(square).to_numpy()
        for alert in alerts["alert_id"][inside]:
            if alert in homeless:
                homeless.remove(alert)
                at_home.setdefault(block, {})[alert] = outlines[alert]
    return at_home


def _follow(
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    at_home: Mapping[aoi.Block, Mapping[str, str]],
) -> dict[str, pd.DataFrame]:
    """Rows of `closeups.series_block` by alert. Past years are read once, as files of their own."""
    names, how = _indices(run.watching.how, days, run.place)
    last = int(str(days[-1].date)[:4])
    work: dict[str, dict[str, Any]] = {}
    for block, outlines in at_home.items():
        over = days_over(block, days)
        for year in range(last - YEARS + 1, last + 1):
            of_year = [day for day in over if str(day.date)[:4] == str(year)]
            if of_year:
                work[f"{block.key}/{year}"] = {
                    "block": block,
                    "days": of_year,
                    "how": how,
                    "names": names,
                    "outlines": outlines,
                }
    paths = run_cached(run.report, run.run_tasks, closeups.series_block, work, "series", ".parquet")
    if not paths:
        return {}
    table = pd.concat(map(pd.read_parquet, paths.values())).sort_values(["alert_id", "date"])
    return {str(alert): rows for alert, rows in table.groupby("alert_id")}


def _indices(
    watched: tasks.Observing, days: Sequence[cube.SolarDay], place: Place
) -> tuple[tuple[str, ...], tasks.Observing]:
    """NDVI, which people know, where its bands are there, beside the indices that are watched."""
    names = (watched.index, *watched.also)
    try:
        ndvi = observing("ndvi", days, place)
    except InputError:
        return names, watched
    bands = tuple(dict.fromkeys((*watched.bands, *ndvi.bands)))
    return tuple(dict.fromkeys(("ndvi", *names))), replace(watched, bands=bands)


def _picture(
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    at_home: Mapping[aoi.Block, Mapping[str, str]],
    wanted: Mapping[str, Mapping[str, str]],
) -> dict[str, dict[str, tuple[str, Any]]]:
    """Pictures by alert and side; none where the scenes have no bands for colours."""
    common = common_bands(days)
    colours = next((bands for bands in closeups.COLOURS if common.issuperset(bands)), None)
    if colours is None:
        return {}
    how = tasks.Observing(index="", bands=colours, access=run.place.access)
    work = {}
    for block, outlines in at_home.items():
        dates = {alert: sorted(wanted.get(alert, {}).values()) for alert in outlines}
        needed = {date for of_alert in dates.values() for date in of_alert}
        work[block.key] = {
            "block": block,
            "days": [day for day in days_over(block, days) if str(day.date) in needed],
            "how": how,
            "outlines": outlines,
            "wanted": dates,
        }
    paths = run_cached(run.report, run.run_tasks, closeups.pictures_block, work, "pictures", ".npz")
    cut: dict[str, Any] = {}
    for path in paths.values():
        with np.load(path) as saved:
            cut |= dict(saved)
    return {
        alert: {
            side: (date, cut[f"{alert}@{date}"])
            for side, date in dates.items()
            if f"{alert}@{date}" in cut
        }
        for alert, dates in wanted.items()
    }


def _models(
    book: ledger.Ledger, at_home: Mapping[aoi.Block, Mapping[str, str]]
) -> dict[str, closeups.Model | None]:
    """Models of the watched index, as the monitor has them."""
    found: dict[str, closeups.Model | None] = {}
    for block, outlines in at_home.items():
        state = ledger.read_block(book, block.key, names=("coefficients", "sigma", "status"))
        for alert, outline in outlines.items():
            found[alert] = closeups.model_of(state, block, outline)
    return found


def _in_view(at_home: Mapping[aoi.Block, Mapping[str, str]]) -> dict[str, Any]:
    """Rings of the alerts in their pictures."""
    found = {}
    for block, outlines in at_home.items():
        for alert, outline in outlines.items():
            shape = closeups.on_grid(outline, block.geobox.crs)
            found[alert] = closeups.in_view(shape, closeups.view(shape, block.geobox.crs))
    return found
