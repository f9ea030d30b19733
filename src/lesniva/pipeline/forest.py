"""The forest journey: scenes → index → change → alerts."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from lesniva import (
    alerts,
    aoi,
    change,
    cube,
    execution,
    ledger,
    masks,
    notify,
    publish,
    tasks,
)
from lesniva.config import ForestPipeline, Pipeline
from lesniva.conventions import Coverage, Status
from lesniva.errors import NoDataError
from lesniva.pipeline import completeness
from lesniva.pipeline.composite import latest_ndvi, put_composite
from lesniva.pipeline.paper import REPORT, about, look_closely, rasters
from lesniva.pipeline.place import Place, days_over, find, observing
from lesniva.pipeline.running import STATE, Report, note, run_cached, running, settings, stage
from lesniva.pipeline.shelf import TITLES, Shelf, close, put_raster, put_tables
from lesniva.pipeline.telling import layer_files, read_layers, told
from lesniva.storage import sha256, whole_file

FOREST_RASTERS = {
    "status": "status",
    "first_anomaly": "first_anomaly",
    "last_normal": "last_normal",
    "confirmed_on": "confirmed",
    "probability": "percent",
    "magnitude": "magnitude",
    "n_obs": "n_obs",
}
"""Published layer → array of `tasks.findings_block`."""


LATE = np.timedelta64(30, "D")
"""A scene that comes after younger ones were processed makes its blocks start anew from their
history, unless it is older than this: then it is most likely a reprocessed copy of a known one."""


def monitor_forest(job: ForestPipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Watch the forests of an area: scenes → index → change → alerts.

    Incremental: only scenes that the ledger does not have are read. State and ledger become
    visible together, after the results are published.
    """
    with running(job, out) as report:
        layers = read_layers(job)
        place, days = find(job, report)
        as_of = days[-1].date
        if job.monitor.season is not None:
            days = [day for day in days if masks.in_season(day.date, season=job.monitor.season)]
        watching = _watching(job, place, days)
        book = ledger.begin(out / STATE, identity=_identity(job, place, watching))
        learned = _learn_history(report, run_tasks, place, book, watching, days)
        watched = _watch(report, run_tasks, place, book, watching, days)
        review = _review(book, report, out, days[-1].date)
        if not (learned or watched or review.changed) and _is_published(job, book, out):
            report.nothing_new = True
            return report
        findings = _findings(report, run_tasks, place, book, as_of)
        green = _of_season(book, days)
        today = days[-1].date
        with stage(report, "alerts"):
            found = _alerts(job, place, book, findings, review)
        table = told(layers, report, run_tasks, place, green, found.alerts)
        found = replace(found, alerts=alerts.reviewed(table, review.verdicts))
        with stage(report, "alerts"):
            over = _past(job, place, book, findings, found, today)
        covered = _coverage(report, run_tasks, place, watching, days, findings)
        ndvi = latest_ndvi(report, run_tasks, place, green)
        close_ups = look_closely(job, report, run_tasks, place, book, watching, green, found.alerts)
        with stage(report, "publish"):
            done = _completeness(report, place, book, days)
            shelf = Shelf(job, report, place, days)
            _publish(shelf, findings, found, over, review, ndvi, covered, close_ups, done)
        _put_message(job, report, found)
        _remember(book, report.run_id, found, over, review, _asked(job))
    return report


CORRECTIONS = "corrections.parquet"
"""Corrections of all scenes so far, inside the job's own memory."""

OUTBOX = "outbox"
"""Folder of messages, inside the job's own memory."""


def _put_message(job: ForestPipeline, report: Report, found: alerts.Identified) -> None:
    """Keep what is worth telling; the same message when a killed run is run again."""
    asked = job.notify
    worth = found.alerts[found.alerts["event"].isin(asked.events)]
    if worth.empty or not (asked.command or asked.webhook_env):
        return
    told = worth.drop(columns="geometry").sort_values("alert_id")
    message = {
        "job": job.name,
        "folder": str(report.folder),
        "last_day": report.results["last_day"],
        "synthetic": report.synthetic,
        "alerts": json.loads(told.to_json(orient="records", date_format="iso", date_unit="s")),
    }
    name = f"{message['last_day']}-{tasks.digest(message)}"
    notify.put(report.folder / STATE / OUTBOX, name, {**message, "run_id": report.run_id})


def deliver(job: ForestPipeline, out: Path) -> dict[str, str]:
    """Tell what waits in a job's outbox; give what could not be told, with the reason."""
    return notify.deliver(
        out / STATE / OUTBOX, command=job.notify.command, webhook_env=job.notify.webhook_env
    )


def _watching(job: ForestPipeline, place: Place, days: Sequence[cube.SolarDay]) -> tasks.Watching:
    if not days:
        raise NoDataError(
            f"no scene lies in the season {job.monitor.season} (days of the year): "
            "widen monitor.season or the period"
        )
    how = observing(job.monitor.index, days, place, canopy=True)
    by_scene = job.monitor.season is None
    return tasks.Watching(
        how=replace(how, winter=by_scene and {"green", "red"} <= set(how.bands)),
        history_end=np.datetime64(job.monitor.history_end, "D"),
        profile=job.monitor.profile,
        cover=job.forest.cover,
        min_cover=job.forest.min_cover,
        by_scene=by_scene,
    )


def _learn_history(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    book: ledger.Ledger,
    watching: tasks.Watching,
    days: Sequence[cube.SolarDay],
) -> int:
    """Fit the blocks that have no state, or must start anew for a late scene; say how many."""
    seen = ledger.seen(book)
    history = [day for day in days if day.date <= watching.history_end]
    work = {
        block.key: {
            "block": block,
            "grid": place.grid_of(block),
            "days": past,
            "watching": watching,
        }
        for block, over in place.days_by_block(days)
        if (past := [day for day in over if day.date <= watching.history_end])
        and (block.key not in seen or _has_late(over, seen[block.key]))
    }
    if not history:
        raise NoDataError(
            f"no scene before {watching.history_end} makes a history: "
            "start the period earlier or end the history later"
        )
    stacks = run_cached(report, run_tasks, tasks.read_history, work, "history", ".npz")
    scenes = _seasons(book, place, stacks.values(), watching)
    if stacks and not pd.read_parquet(scenes)["in_season"].any():
        raise NoDataError(
            f"all scenes until {watching.history_end} lie out of season, under snow or in the "
            "weeks around it: start the period earlier, or give monitor.season"
        )
    surveys = {
        key: {"history": path, "scenes": scenes, "watching": watching}
        for key, path in stacks.items()
    }
    counted = run_cached(report, run_tasks, tasks.survey_history, surveys, "survey", ".npz")
    with stage(report, "fit"):
        shifts = _correct(book, counted.values(), scenes, watching, gate=False)
        fits = {
            key: {
                "book": book,
                "block": work[key]["block"],
                "history": stacks[key],
                "survey": path,
                "scenes": scenes,
                "corrections": shifts,
                "watching": watching,
            }
            for key, path in counted.items()
        }
        note(report, run_tasks(tasks.fit_history, fits, title="Fit history"))
    return len(work)


def _watch(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    book: ledger.Ledger,
    watching: tasks.Watching,
    days: Sequence[cube.SolarDay],
) -> int:
    """Feed each block's monitor with the days it has not seen; say for how many there were any."""
    seen = ledger.seen(book)
    work = {
        block.key: {
            "book": book,
            "block": block,
            "grid": place.grid_of(block),
            "days": new,
            "watching": watching,
        }
        for block, over in place.days_by_block(days)
        if block.key in seen
        and (new := [day for day in over if day.date > seen[block.key].last_day])
    }
    stacks = run_cached(report, run_tasks, tasks.read_new, work, "new", ".npz")
    with stage(report, "monitor"):
        scenes = _seasons(book, place, stacks.values(), watching)
        shifts = _correct(book, stacks.values(), scenes, watching, gate=True)
        updates = {
            key: {
                "book": book,
                "block": work[key]["block"],
                "seen": seen[key],
                "new": path,
                "scenes": scenes,
                "corrections": shifts,
                "watching": watching,
            }
            for key, path in stacks.items()
        }
        note(report, run_tasks(tasks.update_monitor, updates, title="Monitor forest"))
    return len(work)


def _has_late(over: Sequence[cube.SolarDay], seen: ledger.Seen) -> bool:
    return any(
        seen.last_day - LATE < day.date <= seen.last_day and not seen.scenes.issuperset(day.ids)
        for day in over
    )


def _seasons(
    book: ledger.Ledger, place: Place, stacks: Collection[Path], watching: tasks.Watching
) -> Path:
    """Tell of new scenes whether they lie in the season; of earlier ones it is said already."""
    path = book.folder / "seasons.parquet"
    if not stacks:
        return path
    before = pd.read_parquet(path) if path.exists() else None
    table = tasks.seasons(
        stacks, before, by_scene=watching.by_scene, latitude=place.area.outline.centroid.y
    )
    with whole_file(path) as temporary:
        table.to_parquet(temporary)
    return path


def _of_season(book: ledger.Ledger, days: Sequence[cube.SolarDay]) -> list[cube.SolarDay]:
    """Days of the season: pictures and causes are taken from them."""
    counts = pd.read_parquet(book.folder / "seasons.parquet")["in_season"]
    inside = set(counts.index[counts].to_numpy().astype("datetime64[D]"))
    return [day for day in days if day.date in inside]


def _correct(
    book: ledger.Ledger,
    counts: Collection[Path],
    scenes: Path,
    watching: tasks.Watching,
    *,
    gate: bool,
) -> Path:
    """Add the corrections of new scenes to those of earlier ones, which stay as they are."""
    path = book.folder / CORRECTIONS
    if not counts:
        return path
    before = pd.read_parquet(path) if path.exists() else None
    spread = None if before is None else tasks.usual_spread(before, watching.history_end)
    table = tasks.corrections(
        counts, pd.read_parquet(scenes), how=watching.how, gate=gate, usual_spread=spread
    )
    if before is not None:
        table = pd.concat([before, table.loc[table.index.difference(before.index)]]).sort_index()
    with whole_file(path) as temporary:
        table.to_parquet(temporary)
    return path


def _identity(job: ForestPipeline, place: Place, watching: tasks.Watching) -> dict[str, Any]:
    """List what the state of a monitor depends on."""
    return {
        "area": tasks.digest(shapely.to_wkb(place.area.outline, hex=True)),
        "grid": job.grid.model_dump(mode="json"),
        "index": watching.how.index,
        "witness": watching.how.witness,
        "bands": list(watching.how.bands),
        **({"cloud_guard": watching.how.cloud_guard} if watching.how.cloud_guard else {}),
        "forest_cover": None if job.forest.cover is None else job.forest.cover.name,
        "min_cover": job.forest.min_cover,
        **job.monitor.model_dump(mode="json", exclude={"index"}),
    }


def _findings(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    book: ledger.Ledger,
    as_of: np.datetime64,
) -> dict[str, Path]:
    """Write what the monitor says of each block that has a state, into a file each."""
    seen = ledger.seen(book)
    work = {
        block.key: {
            "book": book,
            "block": block,
            "version": tasks.digest(
                sorted(seen[block.key].scenes), seen[block.key].last_day, *FOREST_RASTERS.values()
            ),
            "as_of": as_of,
        }
        for block in place.blocks
        if block.key in seen
    }
    if not work:
        raise NoDataError(
            "no block has a forest model: no scene could be used; see the warnings above"
        )
    return run_cached(report, run_tasks, tasks.findings_block, work, "findings", ".npz")


LATELY = {"coverage": 30, "coverage_week": 7}
"""Layer of coverage → days that it looks at, the last scene's the last."""


def _coverage(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    watching: tasks.Watching,
    days: Sequence[cube.SolarDay],
    findings: Mapping[str, Path],
) -> dict[str, Path]:
    """Write whether each pixel was seen lately and if not, why; add the shares to the report.

    Returns
    -------
    dict
        ``layer/block key`` → file.
    """
    since = {name: days[-1].date - np.timedelta64(count - 1, "D") for name, count in LATELY.items()}
    work = {
        f"{name}/{block.key}": {
            "block": block,
            "days": days_over(block, [day for day in days if day.date >= first]),
            "findings": findings[block.key],
            "since": first,
            "how": watching.how,
        }
        for name, first in since.items()
        for block in place.blocks
        if block.key in findings
    }
    made = run_cached(report, run_tasks, tasks.coverage_block, work, "coverage", ".npy")
    for name, count in LATELY.items():
        counts = np.zeros(256, dtype=np.int64)
        for key, path in made.items():
            if key.startswith(f"{name}/"):
                counts += np.bincount(np.load(path).ravel(), minlength=256)
        seen, forest = counts[Coverage.CLEAR], counts[: Coverage.NOT_FOREST].sum()
        if forest:
            report.results[f"clear_share_{count}_days"] = round(float(seen / forest), 4)
            report.words.append(
                f"{100 * seen / forest:.0f} % of the watched forest had a clear observation in the "
                f"{count} days up to {days[-1].date}"
            )
    return made


def _of_grid(
    place: Place, grid: aoi.Grid, findings: Mapping[str, Path], names: Sequence[str]
) -> Iterator[tuple[int, int, dict[str, npt.NDArray[Any]]]]:
    """Row, column and some findings of the blocks of a grid."""
    for block in place.blocks:
        if block.grid_id == grid.id and block.key in findings:
            with np.load(findings[block.key]) as saved:
                yield *place.offset(block), {name: saved[name] for name in names}


def _review(book: ledger.Ledger, report: Report, out: Path, today: np.datetime64) -> alerts.Review:
    """Read what reviewers wrote into the GeoPackage since the last run."""
    edited = publish.read_table(out / "lesniva.gpkg", "verdicts")
    review = alerts.review(edited, _former(book, "verdicts"), _former(book, "alerts"))
    report.faults |= review.faults
    return replace(review, verdicts=alerts.dated(review.verdicts, today))


def _alerts(
    job: ForestPipeline,
    place: Place,
    book: ledger.Ledger,
    findings: Mapping[str, Path],
    review: alerts.Review,
) -> alerts.Identified:
    """Alerts of the whole area with their lasting ids, and what became of the former ones."""
    options = change.PROFILES[job.monitor.profile]
    found = _polygons(job, place, findings, alerts.OPEN, review.verdicts, options)
    identified = alerts.identify(found, _former(book, "alerts"))
    open_now = tuple(name for name in review.new if name in set(identified.alerts["alert_id"]))
    events = [identified.events, alerts.review_events(open_now)]
    return replace(identified, events=pd.concat(events, ignore_index=True))


def _polygons(
    job: ForestPipeline,
    place: Place,
    findings: Mapping[str, Path],
    states: Sequence[Status],
    verdicts: gpd.GeoDataFrame,
    options: change.Options,
) -> gpd.GeoDataFrame:
    """Polygons of the pixels in some states, with their districts."""
    parts = []
    for grid in place.grids:
        pixels = [
            alerts.changed_pixels(found, first_row=row, first_col=col, states=states)
            for row, col, found in _of_grid(place, grid, findings, alerts.FINDINGS)
        ]
        if pixels:
            table = alerts.doubted(
                pd.concat(pixels, ignore_index=True),
                grid.geobox,
                verdicts,
                low=options.low,
                confirmed=options.confirmed,
            )
            parts.append(
                alerts.alerts(table, grid.id, grid.geobox, min_area_ha=job.alerts.min_area_ha)
            )
    found = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs="EPSG:4326")
    return alerts.with_district(found, place.districts)


def _past(
    job: ForestPipeline,
    place: Place,
    book: ledger.Ledger,
    findings: Mapping[str, Path],
    found: alerts.Identified,
    today: np.datetime64,
) -> gpd.GeoDataFrame:
    """Alerts that are over."""
    options = change.PROFILES[job.monitor.profile]
    nobody = found.alerts.iloc[:0].assign(verdict=None, reviewed_on=pd.NaT)
    finished = _polygons(job, place, findings, [Status.FINISHED], nobody, options)
    return alerts.past(
        _former(book, "history"), _former(book, "alerts"), found.events, finished, today=today
    )


def _former(book: ledger.Ledger, what: str) -> gpd.GeoDataFrame | None:
    """Read a table that the last whole run left (`TABLES`), None before the first."""
    record = ledger.last_run(book)
    if record is None or what not in record:
        return None
    read = pd.read_parquet if what == "events" else gpd.read_parquet
    return read(book.folder / record[what])


TABLES = ("alerts", "events", "verdicts", "history")
"""What the next run starts from, a Parquet file each."""


def _remember(
    book: ledger.Ledger,
    run_id: str,
    found: alerts.Identified,
    over: gpd.GeoDataFrame,
    review: alerts.Review,
    settings: str,
) -> None:
    """Commit the run, with the tables that the next one starts from."""
    before = _former(book, "events")
    events = found.events.assign(run_id=run_id)
    told_so_far = events if before is None else pd.concat([before, events], ignore_index=True)
    tables = dict(zip(TABLES, (found.alerts, told_so_far, review.verdicts, over), strict=True))
    record = {what: f"{what}-{run_id}.parquet" for what in TABLES}
    for what, table in tables.items():
        with whole_file(book.folder / record[what]) as temporary:
            table.to_parquet(temporary)
    ledger.finish(book, run_id=run_id, record={**record, "settings": settings})
    needed = {run.record.get(what) for run in ledger.tidy(book) for what in record}
    for what in record:
        for stale in book.folder.glob(f"{what}-*.parquet"):
            if stale.name not in needed:
                stale.unlink()


def _is_published(job: ForestPipeline, book: ledger.Ledger, out: Path) -> bool:
    record = ledger.last_run(book)
    return (
        record is not None
        and record["settings"] == _asked(job)
        and ledger.is_whole(book)
        and not publish.verify(out)
    )


def _units(job: Pipeline) -> list[str]:
    """Columns that the summary counts by: the district, and the last layer of units."""
    layers = job.alerts.units if isinstance(job, ForestPipeline) else []
    return ["adm_id", *(f"{unit.name}_id" for unit in layers[-1:])]


def _asked(job: ForestPipeline) -> str:
    """Fingerprint of the pipeline file and of the layers that alerts are told by."""
    return tasks.digest(settings(job), [sha256(path) for path in layer_files(job)])


def _completeness(
    report: Report, place: Place, book: ledger.Ledger, days: Sequence[cube.SolarDay]
) -> dict[str, pd.DataFrame]:
    """Tables of what was expected, obtained and rejected; their sums go into the report."""
    done = completeness.tables(
        list(place.days_by_block(days)),
        ledger.seen(book),
        pd.read_parquet(book.folder / CORRECTIONS),
        report.faults,
    )
    scenes = done["completeness"]
    lost = scenes["blocks_obtained"] < scenes["blocks_expected"]
    report.results |= {
        "scenes_rejected": int(scenes["rejected"].sum()),
        "scenes_incomplete": int(lost.sum()),
    }
    report.words.append(
        f"{len(scenes)} scenes in season: {int(scenes['rejected'].sum())} passed over as spoilt, "
        f"{int(lost.sum())} not seen by all their blocks"
    )
    return done


def _publish(
    shelf: Shelf,
    findings: Mapping[str, Path],
    found: alerts.Identified,
    over: gpd.GeoDataFrame,
    review: alerts.Review,
    ndvi: dict[str, Path],
    covered: dict[str, Path],
    close_ups: Mapping[str, publish.CloseUp],
    done: Mapping[str, pd.DataFrame],
) -> None:
    report, place = shelf.report, shelf.place
    for grid in place.grids:
        for name, variable in FOREST_RASTERS.items():
            layer = publish.LAYERS[name]
            blocks = (
                (row, col, publish.encode(layer, found_here[variable]))
                for row, col, found_here in _of_grid(place, grid, findings, [variable])
            )
            put_raster(shelf, grid, name, layer, blocks)
        for name in LATELY:
            blocks = (
                (*place.offset(block), np.load(covered[f"{name}/{block.key}"]))
                for block in place.blocks
                if block.grid_id == grid.id and f"{name}/{block.key}" in covered
            )
            put_raster(shelf, grid, name, publish.LAYERS[name], blocks)
        put_composite(shelf, grid, "ndvi", ndvi)
    table = found.alerts.sort_values(["date_max", "alert_id"], ignore_index=True)
    put_tables(
        shelf,
        {"alerts": table, "alert_history": over},
        key="alert_id",
        tables={**done, "summary": alerts.summary(table, _units(shelf.job))},
        styles={
            "alerts": publish.alerts_style(),
            "alert_history": publish.alerts_style(by="cause"),
            "verdicts": publish.verdicts_style(),
        },
        forms={"verdicts": alerts.review_table(table, review.verdicts)},
    )
    publish.forest_map(
        report.folder / "forest.png",
        ndvi=[
            each.path
            for made in shelf.rasters.values()
            for each in made
            if each.layer.name == "ndvi"
        ],
        alerts=table,
        districts=place.districts,
        title=f"{TITLES['forest']}: {shelf.where}",
        credit=shelf.credit,
    )
    _report(shelf, table, close_ups)
    confirmed = table[(table["status"] == "confirmed") & (table["review_status"] != "false")]
    events = {str(event): int(n) for event, n in found.events["event"].value_counts().items()}
    report.results |= {
        "alerts": len(table),
        "confirmed": len(confirmed),
        "confirmed_ha": round(float(confirmed["area_ha"].sum()), 1),
        "events": events,
    }
    since = ", ".join(f"{n} {event}" for event, n in sorted(events.items())) or "nothing changed"
    report.words += [
        (
            f"{len(table)} alerts, {len(confirmed)} of them confirmed on "
            f"{report.results['confirmed_ha']} ha"
        ),
        f"since the last run: {since}",
    ]
    close(shelf)


def _report(
    shelf: Shelf, table: gpd.GeoDataFrame, close_ups: Mapping[str, publish.CloseUp]
) -> None:
    """Write the page that opens anywhere."""
    job = shelf.job
    if not isinstance(job, ForestPipeline):
        raise TypeError(f"a forest run was asked of {type(job).__name__}")
    publish.write_forest_report(
        shelf.report.folder / REPORT,
        run=about(shelf, job.report.language),
        alerts=table,
        districts=shelf.place.districts,
        rasters=rasters(shelf),
        close_ups=close_ups,
    )
