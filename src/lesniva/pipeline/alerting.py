"""Alerts with an identity: found, reviewed, over, and remembered for the next run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from lesniva import alerts, change, ledger, publish
from lesniva.config import ForestPipeline
from lesniva.conventions import Status
from lesniva.pipeline.monitoring import of_grid
from lesniva.pipeline.place import Place
from lesniva.pipeline.running import Report
from lesniva.storage import whole_file

TABLES = ("alerts", "events", "verdicts", "history")
"""What the next run starts from, a Parquet file each."""


def read_review(
    book: ledger.Ledger, report: Report, out: Path, today: np.datetime64
) -> alerts.Review:
    """Read what reviewers wrote into the GeoPackage since the last run."""
    edited = publish.read_table(out / "lesniva.gpkg", "verdicts")
    review = alerts.review(edited, _former(book, "verdicts"), _former(book, "alerts"))
    report.warnings += review.warnings
    return replace(review, verdicts=alerts.dated(review.verdicts, today))


def find_alerts(
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
            for row, col, found in of_grid(place, grid, findings, alerts.FINDINGS)
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


def alerts_over(
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


def remember(
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
