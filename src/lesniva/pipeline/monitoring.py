"""The monitor of a forest's blocks: its history learnt, its new days fed, and what it then says."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from lesniva import alerts, aoi, cube, execution, ledger, tasks
from lesniva.config import ForestPipeline
from lesniva.errors import NoDataError
from lesniva.pipeline import replaying
from lesniva.pipeline.place import Place, watched
from lesniva.pipeline.running import Report, note, note_faults, run_cached, stage
from lesniva.storage import whole_file

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

MEMORY = 2
"""Version of what a job remembers beside the states of its blocks; another one is refused."""

SEASONS = "seasons.parquet"
"""Which scenes lie in the season, inside the job's own memory."""

CORRECTIONS = "corrections.parquet"
"""Corrections of all scenes so far, inside the job's own memory."""

LENDERS = "lenders-{}{}.parquet"
"""What the blocks of a grid lend each other, and of which index of health, inside the job's own
memory."""


@dataclass(frozen=True)
class ForestRun:
    """What the stages of a forest run share."""

    report: Report
    run_tasks: execution.RunTasks
    place: Place
    book: ledger.Ledger
    watching: tasks.Watching


def watching_of(job: ForestPipeline, place: Place, days: Sequence[cube.SolarDay]) -> tasks.Watching:
    """Settle how the forest is watched, by the bands that all scenes have."""
    if not days:
        raise NoDataError(
            f"no scene lies in the season {job.monitor.season} (days of the year): "
            "widen monitor.season or the period"
        )
    how = watched(job, days, place)
    by_scene = job.monitor.season is None
    return tasks.Watching(
        how=replace(how, winter=by_scene and {"green", "red"} <= set(how.bands)),
        history_end=np.datetime64(job.monitor.history_end, "D"),
        profile=job.monitor.profile,
        cover=job.forest.cover,
        min_cover=job.forest.min_cover,
        by_scene=by_scene,
    )


def identity_of(job: ForestPipeline, place: Place, watching: tasks.Watching) -> dict[str, Any]:
    """List what the state of a monitor depends on."""
    return {
        "memory": MEMORY,
        "area": tasks.digest(shapely.to_wkb(place.area.outline, hex=True)),
        "grid": job.grid.model_dump(mode="json"),
        "index": watching.how.index,
        "witness": watching.how.witness,
        "bands": list(watching.how.bands),
        **({"cloud_guard": watching.how.cloud_guard} if watching.how.cloud_guard else {}),
        **({"health": list(watching.how.also)} if watching.how.also else {}),
        "forest_cover": None if job.forest.cover is None else job.forest.cover.name,
        "min_cover": job.forest.min_cover,
        **job.monitor.model_dump(mode="json", exclude={"index", "health"}),
    }


def keep_up(run: ForestRun, days: Sequence[cube.SolarDay]) -> int:
    """Bring the monitor of every block up to the last day; say for how many it was not yet.

    A late scene may turn the season of days that other blocks have taken in: they follow in a
    second pass.
    """
    before = _known(run.book, SEASONS)
    done = _advance(run, days)
    if before is not None and done:
        now = pd.read_parquet(run.book.folder / SEASONS)["in_season"]
        if not now.reindex(before.index).equals(before["in_season"]):
            done += _advance(run, days)
    return done


def _advance(run: ForestRun, days: Sequence[cube.SolarDay]) -> int:
    """Learn the history of blocks without a state, and feed all with the days they lack."""
    seen, known = ledger.seen(run.book), _known(run.book, SEASONS)
    calendar = replaying.calendar(days, seen, known)
    late = _readable(run, replaying.late_by_block(run.place, days, seen, calendar), seen)
    back: dict[str, replaying.Base | None]
    if any(first.date <= run.watching.history_end for first, *_ in late.values()):
        back = dict.fromkeys(seen)
        ledger.begin_anew(run.book)
        seen, calendar = {}, replaying.calendar(days, {}, known)
    else:
        back = replaying.states_before(run.book, run.place, days, late, seen, calendar)
    if not seen:
        lent = (
            LENDERS.format(grid.id, channel and f"-{channel}")
            for grid in run.place.grids
            for channel in ("", *run.watching.how.also)
        )
        for stale in (CORRECTIONS, *lent):
            (run.book.folder / stale).unlink(missing_ok=True)
    bases = {key: base for key, base in back.items() if base is not None}
    if back:
        anew = len(back) - len(bases)
        run.report.results |= {"blocks_replayed": len(bases), "blocks_anew": anew}
        run.report.words.append(
            f"late scenes: {len(bases)} blocks went back to a state from before them, {anew} to "
            "their history"
        )
    ready = seen.keys() - (back.keys() - bases.keys())
    learned = _learn_history(run, days, calendar, ready)
    return learned + _watch(run, days, calendar, bases)


def _readable(
    run: ForestRun,
    late: Mapping[str, Sequence[cube.SolarDay]],
    seen: Mapping[str, ledger.Seen],
) -> dict[str, list[cube.SolarDay]]:
    """Leave out the late days that a block still cannot read: nobody goes back for them.

    Else a broken file would make its blocks go over a month every night.
    """
    blocks = {block.key: block for block in run.place.blocks}
    lacking = {
        key: [day for day in over if not seen[key].scenes.issuperset(day.ids)]
        for key, over in late.items()
    }
    work = {
        key: {"block": blocks[key], "days": over, "watching": run.watching}
        for key, over in lacking.items()
        if over
    }
    tried = run.run_tasks(tasks.try_days, work, title="Try late scenes")
    note_faults(run.report, tried)
    lost = {key: set(block.unreadable) for key, block in tried.results.items()}
    readable = {
        key: [day for day in over if lost.get(key, set()).isdisjoint(day.ids)]
        for key, over in late.items()
        if key not in tried.failures
    }
    return {key: over for key, over in readable.items() if over}


def _learn_history(
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    calendar: replaying.Calendar,
    ready: Collection[str],
) -> int:
    """Fit the blocks that have no state to go on from; say how many."""
    history = [day for day in days if day.date <= run.watching.history_end]
    work = {
        block.key: {
            "block": block,
            "grid": run.place.grid_of(block),
            "days": past,
            "watching": run.watching,
        }
        for block, over in run.place.days_by_block(days)
        if (past := [day for day in over if day.date <= run.watching.history_end])
        and block.key not in ready
    }
    if not history:
        raise NoDataError(
            f"no scene before {run.watching.history_end} makes a history: "
            "start the period earlier or end the history later"
        )
    stacks = run_cached(run.report, run.run_tasks, tasks.read_history, work, "history", ".npz")
    scenes = _seasons(run, stacks.values(), calendar)
    if stacks and not pd.read_parquet(scenes)["in_season"].any():
        raise NoDataError(
            f"all scenes until {run.watching.history_end} lie out of season, under snow or in the "
            "weeks around it: start the period earlier, or give monitor.season"
        )
    surveys = {
        key: {
            "block": work[key]["block"],
            "history": path,
            "scenes": scenes,
            "watching": run.watching,
        }
        for key, path in stacks.items()
    }
    counted = run_cached(run.report, run.run_tasks, tasks.survey_history, surveys, "survey", ".npz")
    with stage(run.report, "fit"):
        shifts = _correct(run, counted.values(), scenes, calendar, gate=False)
        lent = _lend(run, counted)
        told = replaying.to_tell(pd.read_parquet(scenes)) if counted else {}
        fits = {
            key: {
                "book": run.book,
                "block": work[key]["block"],
                "history": stacks[key],
                "survey": path,
                "scenes": scenes,
                "corrections": shifts,
                "lent": lent[key.partition("/")[0]],
                "watching": run.watching,
                "told": told,
            }
            for key, path in counted.items()
        }
        note(run.report, run.run_tasks(tasks.fit_history, fits, title="Fit history"))
    return len(work)


def _lend(run: ForestRun, surveys: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Put together what blocks can lend pixels with too few observations.

    A file for each grid and index of health, and for removal by the name "".
    """
    lent: dict[str, dict[str, Path]] = {}
    for grid in run.place.grids:
        mine = [
            surveys[block.key]
            for block in run.place.blocks
            if block.grid_id == grid.id and block.key in surveys
        ]
        for channel in ("", *run.watching.how.also) if mine else ():
            name = LENDERS.format(grid.id, channel and f"-{channel}")
            table = tasks.lenders(mine, _known(run.book, name), channel=channel)
            path = lent.setdefault(grid.id, {})[channel] = run.book.folder / name
            with whole_file(path) as temporary:
                table.to_parquet(temporary)
    return lent


def _watch(
    run: ForestRun,
    days: Sequence[cube.SolarDay],
    calendar: replaying.Calendar,
    bases: Mapping[str, replaying.Base],
) -> int:
    """Feed each block's monitor with the days it has not seen; say for how many there were any."""
    seen = ledger.seen(run.book) | {key: base.seen for key, base in bases.items()}
    at = {key: bases[key].run_id if key in bases else ledger.RUN for key in seen}
    work = {
        block.key: {
            "book": run.book,
            "block": block,
            "grid": run.place.grid_of(block),
            "days": new,
            "watching": run.watching,
            "at": at[block.key],
        }
        for block, over in run.place.days_by_block(days)
        if block.key in seen
        and (new := [day for day in over if day.date > seen[block.key].last_day])
    }
    stacks = run_cached(run.report, run.run_tasks, tasks.read_new, work, "new", ".npz")
    with stage(run.report, "monitor"):
        scenes = _seasons(run, stacks.values(), calendar)
        shifts = _correct(run, stacks.values(), scenes, calendar, gate=True)
        told = replaying.to_tell(pd.read_parquet(scenes)) if stacks else {}
        updates = {
            key: {
                "book": run.book,
                "block": work[key]["block"],
                "seen": seen[key],
                "new": path,
                "scenes": scenes,
                "corrections": shifts,
                "watching": run.watching,
                "at": at[key],
                "told": told,
            }
            for key, path in stacks.items()
        }
        note(run.report, run.run_tasks(tasks.update_monitor, updates, title="Monitor forest"))
    return len(work)


def _seasons(run: ForestRun, stacks: Collection[Path], calendar: replaying.Calendar) -> Path:
    """Tell of new scenes whether they lie in the season, and of open days anew."""
    path = run.book.folder / SEASONS
    if not stacks:
        return path
    table = tasks.seasons(
        stacks,
        _known(run.book, SEASONS),
        scenes={day: replaying.listed(ids) for day, ids in calendar.listed.items()},
        by_scene=run.watching.by_scene,
        latitude=run.place.area.outline.centroid.y,
        grown=calendar.grown(),
        closed=calendar.since,
    )
    with whole_file(path) as temporary:
        table.to_parquet(temporary)
    return path


def _known(book: ledger.Ledger, name: str) -> pd.DataFrame | None:
    """Table of earlier scenes, None before the first."""
    path = book.folder / name
    return pd.read_parquet(path) if path.exists() else None


def of_season(book: ledger.Ledger, days: Sequence[cube.SolarDay]) -> list[cube.SolarDay]:
    """Days of the season: pictures and causes are taken from them."""
    counts = pd.read_parquet(book.folder / SEASONS)["in_season"]
    inside = set(counts.index[counts].to_numpy().astype("datetime64[D]"))
    return [day for day in days if day.date in inside]


def _correct(
    run: ForestRun,
    counts: Collection[Path],
    scenes: Path,
    calendar: replaying.Calendar,
    *,
    gate: bool,
) -> Path:
    """Add the corrections of new scenes to those of earlier ones.

    Those stay as they are, but for open days that have got more scenes since: all blocks of such
    a day go over it again (`replaying`), so that their counts are all there. The season of an open
    day may turn as well, and that needs no counts.
    """
    path = run.book.folder / CORRECTIONS
    if not counts:
        return path
    before = _known(run.book, CORRECTIONS)
    spread = None if before is None else tasks.usual_spread(before, run.watching.history_end)
    seasons = pd.read_parquet(scenes)
    table = tasks.corrections(counts, seasons, how=run.watching.how, gate=gate, usual_spread=spread)
    if before is not None:
        time = before.index.get_level_values("time")
        stale = before["scenes"].to_numpy() != seasons["scenes"].reindex(time).to_numpy()
        stale &= time > pd.Timestamp(calendar.since)
        before = before[~(stale & before.index.isin(table.index))]
        table = pd.concat([before, table.loc[table.index.difference(before.index)]]).sort_index()
        table = tasks.within_season(table, seasons)
    with whole_file(path) as temporary:
        table.to_parquet(temporary)
    return path


def findings_of(run: ForestRun, as_of: np.datetime64) -> dict[str, Path]:
    """Write what the monitor says of each block that has a state, into a file each."""
    seen = ledger.seen(run.book)
    work = {
        block.key: {
            "book": run.book,
            "block": block,
            "health": run.watching.how.also,
            "version": tasks.digest(
                *_taken_in(seen[block.key]), *FOREST_RASTERS.values(), *alerts.FINDINGS
            ),
            "as_of": as_of,
        }
        for block in run.place.blocks
        if block.key in seen
    }
    if not work:
        raise NoDataError(
            "no block has a forest model: no scene could be used; see the warnings above"
        )
    return run_cached(run.report, run.run_tasks, tasks.findings_block, work, "findings", ".npz")


def _taken_in(seen: ledger.Seen) -> tuple[Any, ...]:
    """List what tells one state of a block from another."""
    told = [
        (str(day), told.in_season, sorted(told.scenes)) for day, told in sorted(seen.told.items())
    ]
    return sorted(seen.scenes), seen.last_day, told


def of_grid(
    place: Place, grid: aoi.Grid, findings: Mapping[str, Path], names: Sequence[str]
) -> Iterator[tuple[int, int, dict[str, npt.NDArray[Any]]]]:
    """Row, column and some findings of the blocks of a grid."""
    for block in place.blocks:
        if block.grid_id == grid.id and block.key in findings:
            with np.load(findings[block.key]) as saved:
                yield *place.offset(block), {name: saved[name] for name in names}
