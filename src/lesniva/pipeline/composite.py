"""Composites: what was clear in a period, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lesniva import aoi, composites, cube, execution, indices, publish, tasks
from lesniva.config import CompositePipeline
from lesniva.pipeline.place import Place, find, observing
from lesniva.pipeline.running import Report, run_cached, running, stage
from lesniva.pipeline.shelf import Shelf, close, put_raster

LATEST_DAYS = 60
"""How far back the latest NDVI looks for a clear observation."""


def composite(job: CompositePipeline, out: Path, run_tasks: execution.RunTasks) -> Report:
    """Put the clear observations of each period together: scenes → index → composite."""
    with running(job, out) as report:
        place, days = find(job, report)
        periods = composites.periods([day.date for day in days], job.composite.period)
        work: dict[str, dict[str, Any]] = {}
        for index in job.composite.index:
            how = observing(index, days, place)
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
        done = run_cached(report, run_tasks, tasks.composite_block, work, "composite", ".npy")
        with stage(report, "publish"):
            shelf = Shelf(job, report, place, days)
            names = list(dict.fromkeys(key.split("/")[0] for key in done))
            for name in names:
                for grid in place.grids:
                    put_composite(shelf, grid, name, done)
            report.results["composites"] = names
            report.words.append(f"{len(names)} composites: {', '.join(names)}")
            close(shelf)
    return report


def latest_ndvi(
    report: Report,
    run_tasks: execution.RunTasks,
    place: Place,
    days: Sequence[cube.SolarDay],
) -> dict[str, Path]:
    """NDVI of the last `LATEST_DAYS` days: what the ground looks like now."""
    recent = [day for day in days if day.date > days[-1].date - np.timedelta64(LATEST_DAYS, "D")]
    how = observing("ndvi", recent, place)
    work = {
        f"ndvi/{block.key}": {
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
    place = shelf.place
    blocks = (
        (*place.offset(block), np.load(done[f"{name}/{block.key}"]))
        for block in place.blocks
        if block.grid_id == grid.id and f"{name}/{block.key}" in done
    )
    put_raster(shelf, grid, name, _layer(name.split("_", maxsplit=1)[0]), blocks)


def _layer(index: str) -> publish.Layer:
    ndvi = publish.LAYERS["ndvi"]
    if index == "ndvi":
        return ndvi
    title = index.upper()
    return replace(
        ndvi,
        name=index,
        title_en=title,
        title_ru=title,
        description=indices.INDICES[index].long_name,
    )
