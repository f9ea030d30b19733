"""A run: its clock, its lock, its faults, and the results that need not be made again."""

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import shapely

from lesniva import aoi, cube, execution, ledger, logs, sources, tasks
from lesniva.config import Pipeline
from lesniva.errors import (
    DONE,
    PARTIAL,
    CredentialsError,
    EnvironmentFaultError,
    LesnivaError,
    SourceError,
)
from lesniva.storage import sweep

logger = logging.getLogger(__name__)

STATE = ".lesniva"
"""Folder of a job's own memory, inside its output folder."""


@dataclass
class Report:
    """What a run did; the command line tells it, ``run.json`` keeps it."""

    job: str
    journey: str
    folder: Path
    started: dt.datetime
    synthetic: bool = False
    nothing_new: bool = False
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds a stage."""
    results: dict[str, Any] = field(default_factory=dict)
    """Numbers for machines."""
    words: list[str] = field(default_factory=list)
    """The same for people."""
    faults: dict[str, str] = field(default_factory=dict)
    """Blocks and scenes that failed, each with its reason."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """What people should know although the run did its work, in English and Russian."""
    not_told: dict[str, str] = field(default_factory=dict)
    """Messages that could not be delivered, each with its reason; tried again by the next run."""
    red: dict[str, cube.RedLook] = field(default_factory=dict)
    """Scene ids → what their red looks like in all that was read."""
    credits: list[str] = field(default_factory=list)
    """What other sources than the imagery ask to be said of them."""

    @property
    def run_id(self) -> str:
        """Name of the run: when it started."""
        return self.started.strftime("%Y%m%dT%H%M%S%fZ")

    @property
    def exit_code(self) -> int:
        """Exit code of the command: done, or done in part."""
        return PARTIAL if self.faults else DONE

    def told(self) -> dict[str, Any]:
        """Say what was done as JSON values."""
        outcome = "partial" if self.faults else "nothing new" if self.nothing_new else "done"
        return {
            "run_id": self.run_id,
            "job": self.job,
            "journey": self.journey,
            "outcome": outcome,
            "exit_code": self.exit_code,
            "folder": str(self.folder),
            "started": self.started.isoformat(timespec="seconds"),
            "stages_s": {stage: round(seconds, 3) for stage, seconds in self.stages.items()},
            "results": self.results,
            "faults": self.faults,
            "warnings": [english for english, _ in self.warnings],
            "not_told": self.not_told,
            "synthetic": self.synthetic,
        }

    def lines(self) -> list[str]:
        """Say in plain words what was done."""
        if self.nothing_new:
            return [
                f"{self.job}: nothing new; {os.path.relpath(self.folder)} is up to date",
                *(f"  warning: {english}" for english, _ in self.warnings),
                *(f"  not done: {what}: {why}" for what, why in self.faults.items()),
            ]
        took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.stages.items())
        return [
            f"{self.job}:",
            *(f"  {line}" for line in self.words),
            *(f"  warning: {english}" for english, _ in self.warnings),
            *(f"  not done: {what}: {why}" for what, why in self.faults.items()),
            f"  time: {took}",
            f"  results in {os.path.relpath(self.folder)}",
        ]


@contextmanager
def running(job: Pipeline, out: Path) -> Iterator[Report]:
    """Hold the output folder, and clear away what a killed run left in it."""
    journey = str(getattr(job, "journey", ""))
    report = Report(job.name, journey, out, started=dt.datetime.now(dt.UTC))
    sources.guard_logs()
    with ledger.locked(out / STATE), logs.about(run=report.run_id):
        sweep(out)
        yield report


@contextmanager
def stage(report: Report, name: str) -> Iterator[None]:
    """Add the time of a piece of work to the run's stages."""
    started = time.monotonic()
    yield
    report.stages[name] = report.stages.get(name, 0.0) + time.monotonic() - started
    logger.info("%s: %s in %.1f s", report.job, name, report.stages[name])


def settings(job: Pipeline) -> str:
    """Fingerprint of all that a pipeline file says of the results."""
    return tasks.digest(job.model_dump(mode="json", exclude={"notify"}))


def run_cached(
    report: Report,
    run_tasks: execution.RunTasks,
    function: Callable[..., tasks.BlockReport],
    work: Mapping[str, Mapping[str, Any]],
    what: str,
    suffix: str,
) -> dict[str, Path]:
    """Run the tasks whose result is not there yet; give the result file of each that has one.

    A result's file is named after all that it depends on, so that a file that is there is right.

    Parameters
    ----------
    function
        A task that takes ``out``, writes its result there, and names it in its report by `what`.
    work
        Key → the other arguments.
    what
        Name of the result; also of its folder and of the stage.
    suffix
        Of the file.
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
    with stage(report, what):
        done = run_tasks(function, todo, title=f"Read {what}")
    note(report, done)
    made = {key: block.paths[what] for key, block in done.results.items() if what in block.paths}
    for key in made:
        _drop_stale(paths[key])
    return {key: made.get(key, path) for key, path in paths.items() if key in made or path.exists()}


def _depends(arguments: Mapping[str, Any]) -> str:
    """Fingerprint of what a block's result depends on: its grid, its scenes, its settings."""
    parts: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, aoi.Block):
            parts[name] = [str(value.geobox.crs), list(value.geobox.affine), value.geobox.shape]
        elif isinstance(value, aoi.Grid):
            parts[name] = shapely.to_wkb(value.outline, hex=True)
        elif isinstance(value, gpd.GeoDataFrame):
            parts[name] = [list(value["adm_id"]), list(value.geometry.to_wkb(hex=True))]
        elif name == "days":
            parts[name] = [day.ids for day in value]
        else:
            parts[name] = str(value)
    return tasks.digest(parts)


def _drop_stale(path: Path) -> None:
    """Remove the results that a newer one has replaced."""
    name = path.name.rsplit("-", 1)[0]
    for stale in path.parent.glob(f"{name}-*"):
        if stale != path and not stale.name.startswith(f"{path.stem}."):
            stale.unlink()


def note(report: Report, done: execution.Outcome[tasks.BlockReport]) -> None:
    """Take up what a set of tasks did; give up when going on makes no sense.

    Raises
    ------
    EnvironmentFaultError, CredentialsError
        A block met one: so would all others.
    LesnivaError
        Every block failed; of the kind of the first failure.
    SourceError
        No scene could be read.
    """
    note_faults(report, done)
    for block in done.results.values():
        for name, look in block.red.items():
            report.red[name] = report.red.get(name, cube.RedLook()) + look
    if done.failures and not done.results:
        first = next(iter(done.failures.values()))
        error = next(iter(done.errors.values()))
        kind = type(error) if isinstance(error, LesnivaError) else LesnivaError
        raise kind(f"all {len(done.failures)} blocks failed, the first because: {first}")
    unreadable = {
        name: why for block in done.results.values() for name, why in block.unreadable.items()
    }
    if unreadable and not any(block.observed for block in done.results.values()):
        first = next(iter(unreadable.values()))
        raise SourceError(
            f"none of {len(unreadable)} scenes could be read, the first because: {first}"
        )


def note_faults(report: Report, done: execution.Outcome[tasks.BlockReport]) -> None:
    """Take up the blocks and scenes that failed.

    Raises
    ------
    EnvironmentFaultError, CredentialsError
        A block met one: so would all others.
    """
    for error in done.errors.values():
        if isinstance(error, EnvironmentFaultError | CredentialsError):
            raise error
    for faults in (done.failures, *(block.unreadable for block in done.results.values())):
        # whatever a library put into its exception
        report.faults |= {what: sources.redact_text(why) for what, why in faults.items()}
