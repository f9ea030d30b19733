"""What users see of a forest run: coverage, completeness, rasters, tables, the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva import alerts, aoi, change, cube, indices, ledger, publish, tasks
from lesniva.config import ForestPipeline, Pipeline
from lesniva.conventions import Coverage, Status
from lesniva.pipeline import completeness, regional
from lesniva.pipeline.composite import put_composite
from lesniva.pipeline.monitoring import CORRECTIONS, FOREST_RASTERS, ForestRun, of_grid
from lesniva.pipeline.paper import REPORT, about, rasters
from lesniva.pipeline.place import common_bands, days_over
from lesniva.pipeline.running import Report, run_cached
from lesniva.pipeline.shelf import TITLES, Shelf, close, put_raster, put_tables

LATELY = {"coverage": 30, "coverage_week": 7}
"""Layer of coverage → days that it looks at, the last scene's the last."""


def cover(
    run: ForestRun, days: Sequence[cube.SolarDay], findings: Mapping[str, Path]
) -> dict[str, Path]:
    """Write whether each pixel was seen lately and if not, why; add the shares to the report.

    Returns
    -------
    dict
        Block key → file of `tasks.coverage_block`, an array a layer.
    """
    since = {name: days[-1].date - np.timedelta64(count - 1, "D") for name, count in LATELY.items()}
    recent = [day for day in days if day.date >= min(since.values())]
    work = {
        block.key: {
            "block": block,
            "days": days_over(block, recent),
            "findings": findings[block.key],
            "since": since,
            "how": run.watching.how,
        }
        for block in run.place.blocks
        if block.key in findings
    }
    made = run_cached(run.report, run.run_tasks, tasks.coverage_block, work, "coverage", ".npz")
    counts = dict.fromkeys(LATELY, np.zeros(256, dtype=np.int64))
    for path in made.values():
        with np.load(path) as saved:
            for name, before in counts.items():
                counts[name] = before + np.bincount(saved[name].ravel(), minlength=256)
    for name, count in LATELY.items():
        seen, forest = counts[name][Coverage.CLEAR], counts[name][: Coverage.NOT_FOREST].sum()
        if forest:
            run.report.results[f"clear_share_{count}_days"] = round(float(seen / forest), 4)
            run.report.words.append(
                f"{100 * seen / forest:.0f} % of the watched forest had a clear observation in the "
                f"{count} days up to {days[-1].date}"
            )
    return made


def account(run: ForestRun, days: Sequence[cube.SolarDay]) -> dict[str, pd.DataFrame]:
    """Tables of what was expected, obtained, rejected, and departed everywhere.

    Their sums go into the report.
    """
    corrections = pd.read_parquet(run.book.folder / CORRECTIONS)
    done = completeness.tables(
        list(run.place.days_by_block(days)), ledger.seen(run.book), corrections, run.report.faults
    )
    departed = regional.anomalies(corrections, run.watching.history_end)
    run.report.results["regional_anomalies"] = len(departed)
    words = regional.in_words(departed, days[-1].date)
    if words is not None:
        run.report.warnings.append(words)
    scenes = done["completeness"]
    lost = scenes["blocks_obtained"] < scenes["blocks_expected"]
    run.report.results |= {
        "scenes_rejected": int(scenes["rejected"].sum()),
        "scenes_incomplete": int(lost.sum()),
    }
    run.report.words.append(
        f"{len(scenes)} scenes in season: {int(scenes['rejected'].sum())} passed over as spoilt, "
        f"{int(lost.sum())} not seen by all their blocks"
    )
    late = int((scenes["reason"] == completeness.TOO_LATE).sum())
    if late:
        run.report.results["scenes_too_late"] = late
        run.report.words.append(
            f"{late} scenes came over {tasks.LATE.astype(int)} days after younger ones and are "
            "passed over; completeness.csv names them"
        )
    return {**done, "regional_anomalies": departed}


@dataclass(frozen=True)
class Shown:
    """Blocks as they are to be shown, a file each, and the close looks at single alerts."""

    findings: Mapping[str, Path]
    """Of `tasks.findings_block`."""
    covered: Mapping[str, Path]
    """Of `tasks.coverage_block`."""
    ground: str
    """Index of the picture of the ground."""
    picture: Mapping[str, Path]
    """``ground/block key`` → file of `tasks.composite_block`."""
    close_ups: Mapping[str, publish.CloseUp]


def ground_index(days: Sequence[cube.SolarDay], watching: tasks.Watching) -> str:
    """Index of the picture of the ground: NDVI, which people know, or else the watched one."""
    known = common_bands(days).issuperset(indices.bands_of(["ndvi"]))
    return "ndvi" if known else watching.how.index


def put(
    shelf: Shelf,
    shown: Shown,
    found: alerts.Identified,
    over: gpd.GeoDataFrame,
    review: alerts.Review,
    done: Mapping[str, pd.DataFrame],
) -> None:
    """Publish the run: rasters, tables, the picture, the page; the manifest comes last."""
    for grid in shelf.place.grids:
        _put_rasters(shelf, grid, shown)
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
        forms={"verdicts": alerts.review_table(table, review.verdicts, review.unread)},
    )
    publish.forest_map(
        shelf.report.folder / "forest.png",
        ndvi=rasters(shelf)[shown.ground],
        index=shown.ground.upper(),
        alerts=table,
        districts=shelf.place.districts,
        title=f"{TITLES['forest']}: {shelf.where}",
        credit=shelf.credit,
    )
    _report(shelf, table, shown.close_ups)
    _count_borrowed(shelf.report, shown)
    _sum_up(shelf.report, table, found.events)
    close(shelf)


def _put_rasters(shelf: Shelf, grid: aoi.Grid, shown: Shown) -> None:
    """Publish what the monitor says of a grid, what was seen lately, and the ground."""
    place = shelf.place
    for name, variable in FOREST_RASTERS.items():
        layer = publish.LAYERS[name]
        blocks = (
            (row, col, publish.encode(layer, found_here[variable]))
            for row, col, found_here in of_grid(place, grid, shown.findings, [variable])
        )
        put_raster(shelf, grid, name, layer, blocks)
    for name in LATELY:
        blocks = (
            (row, col, saved[name])
            for row, col, saved in of_grid(place, grid, shown.covered, [name])
        )
        put_raster(shelf, grid, name, publish.LAYERS[name], blocks)
    put_composite(shelf, grid, shown.ground, shown.picture)


def _count_borrowed(report: Report, shown: Shown) -> None:
    """Add how much of the forest is watched by a model of its neighbours to the report."""
    borrowed = watched = 0
    for path in shown.findings.values():
        with np.load(path) as saved:
            has_model = saved["status"] < Status.NOT_FOREST
            watched += int(has_model.sum())
            borrowed += int((has_model & (saved["n_obs"] <= change.MOST_OWN)).sum())
    report.results["borrowed_share"] = round(borrowed / max(watched, 1), 4)
    if borrowed:
        report.words.append(
            f"{100 * borrowed / watched:.1f} % of the watched forest has too few observations and "
            "a model borrowed from the forest around"
        )


def _sum_up(report: Report, table: gpd.GeoDataFrame, events: pd.DataFrame) -> None:
    """Add the alerts, and what became of the former ones, to the report."""
    confirmed = table[(table["status"] == "confirmed") & (table["review_status"] != "false")]
    counts = {str(event): int(n) for event, n in events["event"].value_counts().items()}
    report.results |= {
        "alerts": len(table),
        "confirmed": len(confirmed),
        "confirmed_ha": round(float(confirmed["area_ha"].sum()), 1),
        "events": counts,
    }
    since = ", ".join(f"{n} {event}" for event, n in sorted(counts.items())) or "nothing changed"
    report.words += [
        (
            f"{len(table)} alerts, {len(confirmed)} of them confirmed on "
            f"{report.results['confirmed_ha']} ha"
        ),
        f"since the last run: {since}",
    ]


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


def _units(job: Pipeline) -> list[str]:
    """Columns that the summary counts by: the district, and the last layer of units."""
    layers = job.alerts.units if isinstance(job, ForestPipeline) else []
    return ["adm_id", *(f"{unit.name}_id" for unit in layers[-1:])]
