"""The journeys, a page each.

::

    aoi → sources → cube → masks → indices ─┬→ change   → alerts   ─┬→ publish
                                            └→ features → forecast ─┘

Read `monitor_forest`, `forecast_harvest` and `composite` first: they say what happens in which
order. What happens to one block is in `tasks`; what a run leaves behind, and when it may call
itself done, is at the end.
"""

import datetime as dt
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pystac
import shapely
import xarray as xr

from lesniva import (
    alerts,
    aoi,
    change,
    composites,
    cube,
    execution,
    indices,
    ledger,
    masks,
    publish,
    sources,
    tasks,
)
from lesniva.config import (
    AnyPipeline,
    CompositePipeline,
    ForestPipeline,
    HarvestPipeline,
    Pipeline,
)
from lesniva.conventions import ATTRIBUTION, SYNTHETIC_NOTICE
from lesniva.errors import DONE, PARTIAL, InputError, NoDataError, SourceError
from lesniva.storage import sweep, whole_file

logger = logging.getLogger(__name__)

STATE = ".lesniva"
"""Folder of a job's own memory, inside its output folder."""

AUTO_INDICES = ("nbr", "ndmi", "ndvi")
"""What ``index = "auto"`` tries, best first: removal of canopy shows most in NBR."""


@dataclass
class Report:
    """What a run did; the command line tells it, ``run.json`` keeps it."""

    job: str
    journey: str
    folder: Path
    run_id: str
    synthetic: bool = False
    nothing_new: bool = False
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds a stage."""
    results: dict[str, Any] = field(default_factory=dict)
    """Numbers worth telling."""
    faults: dict[str, str] = field(default_factory=dict)
    """Blocks and scenes that failed, each with its reason."""

    def lines(self) -> list[str]:
        """Say in plain words what was done."""
        if self.nothing_new:
            return [f"{self.job}: nothing new; {self.folder} is up to date"]
        told = [
            f"{self.job}: {name.replace('_', ' ')} {value}" for name, value in self.results.items()
        ]
        took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.stages.items())
        told += [f"{self.job}: not done: {what}: {why}" for what, why in self.faults.items()]
        return [*told, f"{self.job}: {took}", f"{self.job}: results in {self.folder}"]

    @property
    def exit_code(self) -> int:
        """Exit code of the command: done, or done in part."""
        return PARTIAL if self.faults else DONE


def run(job: AnyPipeline, out: Path, *, scheduler: str | None = None) -> Report:
    """Run a job: the journey its file asks for.

    Parameters
    ----------
    job
        From `config.read`.
    out
        Output folder; holds the job's state too, so that the next run goes on from here.
    scheduler
        Address of a Dask scheduler; a local cluster when not given.

    Raises
    ------
    LesnivaError
        What stands in the way; nothing half-written is left, and the next run goes on.
    """
    if isinstance(job, ForestPipeline):
        return monitor_forest(job, out, scheduler=scheduler)
    if isinstance(job, HarvestPipeline):
        return forecast_harvest(job, out, scheduler=scheduler)
    return composite(job, out, scheduler=scheduler)


# ── The journeys ──────────────────────────────────────────────────────────────────────────────


def monitor_forest(job: ForestPipeline, out: Path, *, scheduler: str | None = None) -> Report:
    """Watch the forests of an area: scenes → index → change → alerts.

    Incremental: only scenes that the ledger does not have are read. State and ledger become
    visible together, after the results are published.
    """
    with _running(job, out) as report:
        place, days = _find(job, report)
        season = job.monitor.season
        days = [day for day in days if masks.in_season(day.date, season=season)]
        how = _observing(job.monitor.index, days)
        book = ledger.begin(out / STATE, identity=_identity(job, place, how))
        seen = ledger.scenes(book)
        work = {
            block.key: {
                "book": book,
                "block": block,
                "grid": place.grid_of(block),
                "days": over,
                "seen": seen.get(block.key),
                "how": how,
                "history_end": np.datetime64(job.monitor.history_end, "D"),
                "profile": job.monitor.profile,
                "forest": job.forest.cover,
                "min_cover": job.forest.min_cover,
            }
            for block, over in place.days_by_block(days)
            if not set(seen.get(block.key, ())).issuperset(_ids(over))
        }
        if not work and _is_published(job, book, out):
            report.nothing_new = True
            return report
        with _stage(report, "monitor"), _cluster_for(work, scheduler) as client:
            done = execution.run_tasks(client, tasks.monitor_block, work, title="Monitor forest")
        _note(report, done)
        with _stage(report, "alerts"):
            found = _alerts(job, place, book)
        with _stage(report, "publish"):
            _publish_forest(job, report, place, book, found, days)
        _remember(book, report.run_id, found, _settings(job))
    return report


def composite(job: CompositePipeline, out: Path, *, scheduler: str | None = None) -> Report:
    """Put the clear observations of each period together: scenes → index → composite."""
    with _running(job, out) as report:
        place, days = _find(job, report)
        periods = composites.periods([day.date for day in days], job.composite.period)
        work: dict[str, dict[str, Any]] = {}
        for index in job.composite.index:
            how = _observing(index, days)
            for period in sorted(set(periods)):
                members = [day for day, its in zip(days, periods, strict=True) if its == period]
                for block, over in place.days_by_block(members):
                    work[f"{index}_{period}/{block.key}"] = {
                        "block": block,
                        "grid": place.grid_of(block),
                        "days": over,
                        "how": how,
                        "statistic": job.composite.statistic,
                    }
        done = _run_cached(
            report, tasks.composite_block, work, "composite", ".npy", scheduler=scheduler
        )
        with _stage(report, "publish"):
            _publish_composites(job, report, place, done, days)
    return report


# ── Finding the scenes and the blocks ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Place:
    """An area with its grids and blocks."""

    area: aoi.Area
    grids: tuple[aoi.Grid, ...]
    blocks: tuple[aoi.Block, ...]

    @property
    def districts(self) -> gpd.GeoDataFrame:
        """Districts with ``adm_id`` as a column."""
        return self.area.districts.reset_index()

    def grid_of(self, block: aoi.Block) -> aoi.Grid:
        """Grid that a block belongs to."""
        return next(grid for grid in self.grids if grid.id == block.grid_id)

    def offset(self, block: aoi.Block) -> tuple[int, int]:
        """Row and column of a block's first pixel in its grid."""
        to_grid = ~self.grid_of(block).geobox.affine * block.geobox.affine
        return round(to_grid.f), round(to_grid.c)

    def days_by_block(
        self, days: Sequence[cube.SolarDay]
    ) -> Iterator[tuple[aoi.Block, list[cube.SolarDay]]]:
        """Blocks that scenes reach, each with its days."""
        for block in self.blocks:
            footprint = block.geobox.geographic_extent.geom
            over = [near for day in days if (near := day.over(footprint)) is not None]
            if over:
                yield block, over


def place_of(job: Pipeline) -> Place:
    """Area, grids and blocks of a job; opens the area file and no imagery."""
    area = aoi.load(job.area.file, clip=job.area.clip)
    size = job.grid.block
    grids = aoi.grids(
        area,
        resolution=job.grid.resolution,
        block_size=size,
        crs=job.grid.crs,
        anchor=job.grid.anchor,
    )
    blocks = [block for grid in grids for block in aoi.blocks(grid, block_size=size)]
    return Place(area, tuple(grids), tuple(blocks))


def search(job: Pipeline, area: aoi.Area) -> list[pystac.Item]:
    """Scenes of a job, rising in time."""
    asked = job.source.model_dump()
    return sources.search(**asked, area=area.outline, start=job.period.start, end=job.period.end)


def _find(job: Pipeline, report: Report) -> tuple[Place, list[cube.SolarDay]]:
    with _stage(report, "area"):
        place = place_of(job)
    with _stage(report, "search"):
        items = search(job, place.area)
        days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
    report.synthetic = any(item.properties.get("lesniva:synthetic") for item in items)
    report.results |= {
        "area": place.area.id,
        "scenes": sum(len(day.scenes) for day in days),
        "days": len(days),
        "first_day": str(days[0].date),
        "last_day": str(days[-1].date),
        "blocks": len(place.blocks),
    }
    return place, days


def _observing(index: str, days: Sequence[cube.SolarDay]) -> tasks.Observing:
    """Settle the index by the bands that all scenes have, and add what the haze test needs."""
    common = set.intersection(*(set(scene.files) for day in days for scene in day.scenes))
    wanted = AUTO_INDICES if index == "auto" else (index,)
    possible = [name for name in wanted if common.issuperset(indices.bands_of([name]))]
    if not possible or "scl" not in common:
        needed = ", ".join((*indices.bands_of([wanted[-1]]), "scl"))
        raise InputError(
            f"index {index} needs {needed}; all scenes of the source have only "
            f"{', '.join(sorted(common)) or 'nothing in common'}: choose another index or source"
        )
    bands = [*indices.bands_of([possible[0]]), "scl"]
    if common.issuperset(masks.VEIL_BANDS):
        bands += [band for band in masks.VEIL_BANDS if band not in bands]
    return tasks.Observing(index=possible[0], bands=tuple(bands))


def _ids(days: Sequence[cube.SolarDay]) -> list[str]:
    return [name for day in days for name in day.ids]


# ── Forest: what comes out ────────────────────────────────────────────────────────────────────

FOREST_RASTERS = {
    "status": "status",
    "first_anomaly": "first_anomaly",
    "last_normal": "last_normal",
    "confirmed_on": "confirmed",
    "probability": "probability",
    "magnitude": "magnitude",
}
"""Published layer → variable of `change.events`."""


def _identity(job: ForestPipeline, place: Place, how: tasks.Observing) -> dict[str, Any]:
    """List what the state of a monitor depends on."""
    return {
        "area": tasks.digest(shapely.to_wkb(place.area.outline, hex=True)),
        "grid": job.grid.model_dump(mode="json"),
        "index": how.index,
        "bands": list(how.bands),
        "forest_cover": None if job.forest.cover is None else job.forest.cover.name,
        "min_cover": job.forest.min_cover,
        **job.monitor.model_dump(mode="json", exclude={"index"}),
    }


def _monitored(
    place: Place, grid: aoi.Grid, book: ledger.Ledger
) -> Iterator[tuple[int, int, xr.Dataset]]:
    """Row, column and monitor's findings of the blocks of a grid that have a state."""
    known = ledger.scenes(book)
    for block in place.blocks:
        if block.grid_id == grid.id and block.key in known:
            state = ledger.read_block(book, block.key)
            yield *place.offset(block), change.events(state, halo=tasks.INSIDE)


def _alerts(job: ForestPipeline, place: Place, book: ledger.Ledger) -> alerts.Identified:
    """Alerts of the whole area with their lasting ids, and what became of the former ones."""
    parts = []
    for grid in place.grids:
        pixels = [
            alerts.changed_pixels(events, first_row=row, first_col=col)
            for row, col, events in _monitored(place, grid, book)
        ]
        if pixels:
            table = pd.concat(pixels, ignore_index=True)
            parts.append(
                alerts.alerts(table, grid.id, grid.geobox, min_area_ha=job.alerts.min_area_ha)
            )
    if not parts:
        raise NoDataError(
            "no block has a forest model: no scene could be used; see the warnings above"
        )
    found = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs="EPSG:4326")
    return alerts.identify(
        alerts.with_district(found, place.districts), _former(book, "alerts")
    )


def _former(book: ledger.Ledger, what: str) -> gpd.GeoDataFrame | None:
    """Alerts or events that the last whole run left, None before the first."""
    record = ledger.last_run(book)
    if record is None:
        return None
    read = gpd.read_parquet if what == "alerts" else pd.read_parquet
    return read(book.folder / record[what])


def _remember(book: ledger.Ledger, run_id: str, found: alerts.Identified, settings: str) -> None:
    """Commit the run, with the alerts and events that the next one starts from."""
    before = _former(book, "events")
    events = found.events.assign(run_id=run_id)
    history = events if before is None else pd.concat([before, events], ignore_index=True)
    record = {"alerts": f"alerts-{run_id}.parquet", "events": f"events-{run_id}.parquet"}
    with whole_file(book.folder / record["alerts"]) as temporary:
        found.alerts.to_parquet(temporary)
    with whole_file(book.folder / record["events"]) as temporary:
        history.to_parquet(temporary)
    ledger.finish(book, run_id=run_id, record={**record, "settings": settings})
    for stale in book.folder.glob("*.parquet"):
        if stale.name not in record.values():
            stale.unlink()


def _is_published(job: ForestPipeline, book: ledger.Ledger, out: Path) -> bool:
    record = ledger.last_run(book)
    return (
        record is not None
        and record["settings"] == _settings(job)
        and ledger.is_whole(book)
        and not publish.verify(out)
    )


def _settings(job: Pipeline) -> str:
    return tasks.digest(job.model_dump(mode="json"))


def _publish_forest(
    job: ForestPipeline,
    report: Report,
    place: Place,
    book: ledger.Ledger,
    found: alerts.Identified,
    days: Sequence[cube.SolarDay],
) -> None:
    when = _last_day(days)
    rasters = {}
    for grid in place.grids:
        for name, variable in FOREST_RASTERS.items():
            path = report.folder / "rasters" / _raster_name(name, grid, place)
            layer = publish.LAYERS[name]
            blocks = (
                (row, col, publish.encode(layer, events[variable].values))
                for row, col, events in _monitored(place, grid, book)
            )
            rasters[path] = publish.write_cog(
                path, layer, grid.geobox, blocks, when=when, attribution=_credit(report, days)
            )
    open_alerts = found.alerts.sort_values(["date_max", "alert_id"], ignore_index=True)
    _publish_tables(report, {"alerts": open_alerts}, place, days, key="alert_id")
    confirmed = open_alerts[open_alerts["status"] == "confirmed"]
    report.results |= {
        "alerts": len(open_alerts),
        "confirmed": len(confirmed),
        "confirmed_ha": round(float(confirmed["area_ha"].sum()), 1),
        "events": {str(event): int(n) for event, n in found.events["event"].value_counts().items()},
    }
    _close(job, report, days, rasters)


# ── Composites: what comes out ────────────────────────────────────────────────────────────────


def _publish_composites(
    job: CompositePipeline,
    report: Report,
    place: Place,
    done: Mapping[str, Path],
    days: Sequence[cube.SolarDay],
) -> None:
    rasters = {}
    for name in dict.fromkeys(key.split("/")[0] for key in done):
        for grid in place.grids:
            path = report.folder / "rasters" / _raster_name(name, grid, place)
            blocks = (
                (*place.offset(block), np.load(done[f"{name}/{block.key}"]))
                for block in place.blocks
                if block.grid_id == grid.id and f"{name}/{block.key}" in done
            )
            rasters[path] = publish.write_cog(
                path,
                _index_layer(name.split("_")[0]),
                grid.geobox,
                blocks,
                when=_last_day(days),
                attribution=_credit(report, days),
            )
    report.results["composites"] = len(rasters)
    _close(job, report, days, rasters)


def _index_layer(index: str) -> publish.Layer:
    title = indices.INDICES[index].long_name
    layer = publish.LAYERS["ndvi"]
    if index == "ndvi":
        return layer
    return replace(
        layer, name=index, title_en=index.upper(), title_ru=index.upper(), description=title
    )


# ── Every journey: running, publishing, closing ───────────────────────────────────────────────


@contextmanager
def _running(job: Pipeline, out: Path) -> Iterator[Report]:
    """Hold the output folder, and clear away what a killed run left in it."""
    now = dt.datetime.now(dt.UTC)
    journey = str(getattr(job, "journey", ""))
    report = Report(job.name, journey, out, run_id=now.strftime("%Y%m%dT%H%M%S%fZ"))
    with ledger.locked(out / STATE):
        sweep(out)
        yield report


@contextmanager
def _stage(report: Report, name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report.stages[name] = report.stages.get(name, 0.0) + time.monotonic() - started
    logger.info("%s: %s in %.1f s", report.job, name, report.stages[name])


@contextmanager
def _cluster_for(work: Mapping[str, Any], scheduler: str | None) -> Iterator[Any]:
    """Start a cluster only when there is something to do."""
    with execution.cluster(scheduler if work else execution.SYNCHRONOUS) as client:
        yield client


def _run_cached(
    report: Report,
    function: Any,
    work: Mapping[str, Mapping[str, Any]],
    what: str,
    suffix: str,
    *,
    scheduler: str | None,
) -> dict[str, Path]:
    """Run the tasks whose result is not there yet; give the result file of each that has one.

    A result's file is named after all that it depends on, so that a file that is there is right.
    """
    paths = {
        key: report.folder / STATE / what / f"{key}-{_depends(arguments)}{suffix}"
        for key, arguments in work.items()
    }
    todo = {
        key: {**arguments, "out": paths[key]}
        for key, arguments in work.items()
        if not paths[key].exists()
    }
    with _stage(report, what), _cluster_for(todo, scheduler) as client:
        done = execution.run_tasks(client, function, todo, title=what.capitalize())
    _note(report, done)
    for key in done.results:
        _drop_stale(paths[key])
    incomplete = {key: block.paths[what] for key, block in done.results.items()}
    return {
        key: incomplete.get(key, path)
        for key, path in paths.items()
        if key in incomplete or path.exists()
    }


def _depends(arguments: Mapping[str, Any]) -> str:
    """Fingerprint of what a block's result depends on: its grid, its scenes, its settings."""
    parts: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, aoi.Block):
            parts[name] = [str(value.geobox.crs), list(value.geobox.affine), value.geobox.shape]
        elif isinstance(value, aoi.Grid):
            parts[name] = shapely.to_wkb(value.outline, hex=True)
        elif isinstance(value, gpd.GeoDataFrame):
            parts[name] = [list(value["adm_id"]), [g.wkb_hex for g in value.geometry]]
        elif name == "days":
            parts[name] = _ids(value)
        else:
            parts[name] = str(value)
    return tasks.digest(parts)


def _drop_stale(path: Path) -> None:
    """Remove the results that a newer one has replaced."""
    name = path.name.rsplit("-", 1)[0]
    for stale in path.parent.glob(f"{name}-*"):
        if stale != path and not stale.name.startswith(f"{path.stem}."):
            stale.unlink()


def _note(report: Report, done: execution.Outcome[tasks.BlockReport]) -> None:
    """Take up what a set of tasks did; give up when nothing could be done at all."""
    report.faults |= done.failures
    for block in done.results.values():
        report.faults |= block.unreadable
    observed = sum(block.observed for block in done.results.values())
    if done.failures and not done.results:
        first = next(iter(done.failures.values()))
        raise SourceError(f"all {len(done.failures)} blocks failed, the first because: {first}")
    if done.results and report.faults and not observed:
        first = next(iter(report.faults.values()))
        raise SourceError(f"no scene could be read, the first because: {first}")


def _publish_tables(
    report: Report,
    layers: Mapping[str, gpd.GeoDataFrame],
    place: Place,
    days: Sequence[cube.SolarDay],
    *,
    key: str,
) -> None:
    """Write GeoJSON and CSV of each layer, and one GeoPackage of all and the districts."""
    credit = _credit(report, days)
    about = {"attribution": credit, "districts_approximate": place.area.approximate}
    for name, layer in layers.items():
        publish.write_geojson(
            report.folder / f"{name}.geojson", layer, id_column=key, metadata=about
        )
        publish.write_csv(report.folder / f"{name}.csv", layer.drop(columns="geometry"))
    publish.write_geopackage(
        report.folder / "lesniva.gpkg",
        {**layers, "districts": place.districts},
        when=dt.datetime.combine(_last_day(days), dt.time(), dt.UTC),
        attribution=credit,
    )


def _close(
    job: Pipeline,
    report: Report,
    days: Sequence[cube.SolarDay],
    rasters: Mapping[Path, publish.RasterStats],
) -> None:
    """Write ``run.json`` and, last, the manifest that says what is whole."""
    started = dt.datetime.strptime(report.run_id, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=dt.UTC)
    publish.write_run(
        report.folder,
        run_id=report.run_id,
        outcome="partial" if report.faults else "done",
        started=started,
        finished=dt.datetime.now(dt.UTC),
        stages=report.stages,
        config=job.model_dump(mode="json"),
        inputs=[job.area.file],
        scenes=[
            {"id": scene.id, "date": str(day.date), "baseline": scene.processing[0]}
            for day in days
            for scene in day.scenes
        ],
        results={**report.results, "faults": report.faults},
        attribution=_credit(report, days),
    )
    publish.write_manifest(report.folder, rasters=rasters)


def _credit(report: Report, days: Sequence[cube.SolarDay]) -> str:
    """Attribution of a result, or the notice that it is synthetic."""
    if report.synthetic:
        return SYNTHETIC_NOTICE
    first, last = (str(day.date)[:4] for day in (days[0], days[-1]))
    return f"{ATTRIBUTION} {first if first == last else f'{first}-{last}'}"


def _last_day(days: Sequence[cube.SolarDay]) -> dt.date:
    return dt.date.fromisoformat(str(days[-1].date))


def _raster_name(name: str, grid: aoi.Grid, place: Place) -> str:
    return f"{name}.tif" if len(place.grids) == 1 else f"{name}_{grid.id}.tif"
