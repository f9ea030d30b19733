"""Composites: what was clear in a period, put together."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lesniva import aoi, composites, cube, execution, indices, publish, tasks
from lesniva.config import CompositePipeline
from lesniva.errors import NoDataError
from lesniva.pipeline.place import Place, find, observing
from lesniva.pipeline.running import Report, run_cached, running, stage
from lesniva.pipeline.shelf import Shelf, Span, close, put_cube, put_raster

LATEST_DAYS = 60
"""How far back the latest NDVI looks for a clear observation."""


def composite(job: CompositePipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Put the clear observations of each period together: scenes → index → composite."""
    with running(job, out) as report:
        place, days = find(job, report)
        members: dict[str, list[cube.SolarDay]] = {}
        labels = composites.periods([day.date for day in days], job.composite.period)
        for label, day in zip(labels, days, strict=True):
            members.setdefault(label, []).append(day)
        wanted = [label for label in members if _is_wanted(job, label)]
        if not wanted:
            raise NoDataError(
                f"no scene lies in a period from composite.since {job.composite.since} on; the "
                f"last is of {days[-1].date}: set it earlier or end the period later"
            )
        done = _compose(job, report, run_tasks, place, days, members)
        departures = _depart(job, report, run_tasks, wanted, done)
        with stage(report, "publish"):
            shelf = Shelf(job, report, place, days)
            for index in job.composite.index:
                _put(job, shelf, index, index, _spans(job, wanted, members), done)
                against = _spans(job, wanted, members, with_earlier=True)
                _put(job, shelf, index, f"{index}_anomaly", against, departures)
            names = report.results["composites"]
            report.words.append(f"{len(names)} composites: {', '.join(names)}")
            close(shelf)
    return report


def _is_wanted(job: CompositePipeline, label: str) -> bool:
    since = job.composite.since
    return since is None or label == "all" or composites.days_of(label)[1] >= since


def _spans(
    job: CompositePipeline,
    labels: Iterable[str],
    members: Mapping[str, Sequence[cube.SolarDay]],
    *,
    with_earlier: bool = False,
) -> list[Span]:
    """Give some periods with their days, for anomalies also with those of earlier years."""
    spans = []
    for label in labels:
        first, last = (
            (job.period.start, job.period.end) if label == "all" else composites.days_of(label)
        )
        earlier = composites.same_of_earlier_years(label, members) if with_earlier else []
        days = [day for name in (*earlier, label) for day in members[name]]
        spans.append(Span(label, first, last, tuple(days)))
    return spans


def _compose(
    job: CompositePipeline,
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
    members: Mapping[str, Sequence[cube.SolarDay]],
) -> dict[str, Path]:
    """Composite of each index, period and block: ``index_period/block key`` → file."""
    work: dict[str, dict[str, Any]] = {}
    for index in job.composite.index:
        how = observing(index, days, place)
        for label, its in members.items():
            for block, over in place.days_by_block(its):
                work[f"{index}_{label}/{block.key}"] = {
                    "block": block,
                    "grid": place.grid_of(block),
                    "days": over,
                    "how": how,
                    "statistic": job.composite.statistic,
                }
    return run_cached(report, run_tasks, tasks.composite_block, work, "composite", ".npy")


def _depart(
    job: CompositePipeline,
    report: Report,
    run_tasks: execution.RunTasks,
    wanted: Collection[str],
    done: Mapping[str, Path],
) -> dict[str, Path]:
    """Departure of each wanted composite from earlier years, by the same keys as `done`."""
    if not job.composite.anomaly:
        return {}
    periods_of: dict[tuple[str, str], list[str]] = {}
    for key in done:
        name, block = key.split("/", maxsplit=1)
        index, label = name.split("_", maxsplit=1)
        periods_of.setdefault((index, block), []).append(label)
    work = {}
    for (index, block), labels in periods_of.items():
        for label in labels:
            earlier = composites.same_of_earlier_years(label, labels)
            if label in wanted and len(earlier) >= job.composite.min_years:
                work[f"{index}_{label}/{block}"] = {
                    "value": done[f"{index}_{label}/{block}"],
                    "earlier": [done[f"{index}_{year}/{block}"] for year in earlier],
                    "min_years": job.composite.min_years,
                }
    return run_cached(report, run_tasks, tasks.anomaly_block, work, "anomaly", ".npy")


def _put(
    job: CompositePipeline,
    shelf: Shelf,
    index: str,
    kind: str,
    spans: Sequence[Span],
    files: Mapping[str, Path],
) -> None:
    """Publish what there is of one index, or of its anomaly, as rasters and as a cube."""
    there = {key.split("/", maxsplit=1)[0] for key in files}
    made = [span for span in spans if f"{index}_{span.label}" in there]
    layer = layer_of(kind)
    for grid in shelf.place.grids if made else ():
        for span in made:
            blocks = _blocks(shelf.place, grid, f"{index}_{span.label}", files)
            put_raster(shelf, grid, f"{kind}_{span.label}", layer, blocks, span=span)
        if job.composite.netcdf or job.composite.zarr:
            slices = (
                (number, *block)
                for number, span in enumerate(made)
                for block in _blocks(shelf.place, grid, f"{index}_{span.label}", files)
            )
            formats = {"netcdf": job.composite.netcdf, "zarr": job.composite.zarr}
            put_cube(shelf, grid, kind, layer, slices, made, formats=formats)
    shelf.report.results.setdefault("composites", []).extend(
        f"{kind}_{span.label}" for span in made
    )


def latest_picture(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
    index: str = "ndvi",
) -> dict[str, Path]:
    """Index of the last `LATEST_DAYS` days: what the ground looks like now."""
    recent = [day for day in days if day.date > days[-1].date - np.timedelta64(LATEST_DAYS, "D")]
    how = observing(index, recent, place)
    work = {
        f"{index}/{block.key}": {
            "block": block,
            "grid": place.grid_of(block),
            "days": over,
            "how": how,
            "statistic": "median",
        }
        for block, over in place.days_by_block(recent)
    }
    return run_cached(report, run_tasks, tasks.composite_block, work, "composite", ".npy")


def put_composite(shelf: Shelf, grid: aoi.Grid, name: str, done: Mapping[str, Path]) -> None:
    """Publish one composite of one grid from the results of its blocks.

    Parameters
    ----------
    name
        ``index`` or ``index_period``, the first part of the keys of `done`.
    done
        ``name/block key`` → file of `tasks.composite_block`.
    """
    blocks = _blocks(shelf.place, grid, name, done)
    put_raster(shelf, grid, name, layer_of(name.split("_", maxsplit=1)[0]), blocks)


def _blocks(
    place: Place, grid: aoi.Grid, name: str, files: Mapping[str, Path]
) -> Iterator[tuple[int, int, npt.NDArray[np.int16]]]:
    """Row, column and pixels of the blocks of one grid that there is a file of."""
    for block in place.blocks:
        path = files.get(f"{name}/{block.key}")
        if block.grid_id == grid.id and path is not None:
            yield *place.offset(block), np.load(path)


def layer_of(kind: str) -> publish.Layer:
    """Layer of an index, or of its anomaly (``ndvi_anomaly``)."""
    index, _, anomaly = kind.partition("_")
    like = publish.LAYERS["ndvi_anomaly" if anomaly else "ndvi"]
    if index == "ndvi":
        return like
    title, long_name = index.upper(), indices.INDICES[index].long_name
    return replace(
        like,
        name=kind,
        title_en=f"{title} anomaly" if anomaly else title,
        title_ru=f"Аномалия {title}" if anomaly else title,
        description=like.description.replace("NDVI", title) if anomaly else long_name,
    )
