"""The forest journey: scenes → index → change → alerts."""

import json
from dataclasses import replace
from pathlib import Path

from lesniva import alerts, execution, ledger, masks, notify, publish, tasks
from lesniva.config import ForestPipeline
from lesniva.pipeline.alerting import alerts_over, find_alerts, read_review, remember
from lesniva.pipeline.composite import latest_picture
from lesniva.pipeline.monitoring import (
    ForestRun,
    findings_of,
    identity_of,
    keep_up,
    of_season,
    watching_of,
)
from lesniva.pipeline.paper import look_closely
from lesniva.pipeline.place import find
from lesniva.pipeline.running import STATE, Report, running, settings, stage
from lesniva.pipeline.shelf import Shelf
from lesniva.pipeline.showing import Shown, account, cover, ground_index, put
from lesniva.pipeline.telling import layer_files, read_layers, told
from lesniva.storage import sha256

OUTBOX = "outbox"
"""Folder of messages, inside the job's own memory."""


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
        watching = watching_of(job, place, days)
        book = ledger.begin(out / STATE, identity=identity_of(job, place, watching))
        run = ForestRun(report, run_tasks, place, book, watching)
        advanced = keep_up(run, days)
        review = read_review(book, report, out, days[-1].date)
        asked = _asked(job, review)
        if not (advanced or review.changed) and _is_published(asked, book, out):
            report.nothing_new = True
            return report
        findings = findings_of(run, as_of)
        green = of_season(book, days)
        today = days[-1].date
        with stage(report, "alerts"):
            found = find_alerts(job, place, book, findings, review)
        table = told(layers, run, green, found.alerts)
        found = replace(found, alerts=alerts.reviewed(table, review.verdicts))
        with stage(report, "alerts"):
            over = alerts_over(job, place, book, findings, found, today)
        ground = ground_index(green, watching)
        shown = Shown(
            findings=findings,
            covered=cover(run, days, findings),
            ground=ground,
            picture=latest_picture(report, run_tasks, place, green, ground),
            close_ups=look_closely(job, run, green, found.alerts),
        )
        with stage(report, "publish"):
            done = account(run, days)
            put(Shelf(job, report, place, days), shown, found, over, review, done)
        _put_message(job, report, found)
        remember(book, report.run_id, found, over, review, asked)
    return report


def _is_published(asked: str, book: ledger.Ledger, out: Path) -> bool:
    record = ledger.last_run(book)
    return (
        record is not None
        and record["settings"] == asked
        and ledger.is_whole(book)
        and not publish.verify(out)
    )


def _asked(job: ForestPipeline, review: alerts.Review) -> str:
    """Fingerprint of what is to be told: by which settings and layers, with which warnings."""
    return tasks.digest(
        settings(job), [sha256(path) for path in layer_files(job)], *review.warnings
    )


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
