"""Late scenes: which days a block has to see again, and from which state it goes on.

A scene that comes after younger ones changes what is said of its day: the day's pixels, the
correction that all its blocks share, and now and then the season. Blocks that have taken such a day
in go back to a state from before it, and see all days since anew. A day of the history changes the
models, and with them the corrections of all other days: there all blocks begin anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lesniva import cube, ledger, tasks
from lesniva.pipeline.place import Place


@dataclass(frozen=True)
class Calendar:
    """What blocks are to be told of each day."""

    since: np.datetime64
    """Days after this one are open: a scene that comes late is taken in."""
    listed: Mapping[np.datetime64, frozenset[str]]
    """Day → its scenes over the whole area, as the source lists them now."""
    known: Mapping[np.datetime64, ledger.Told]
    """What was said of each day so far."""

    def is_told(self, day: np.datetime64, told: ledger.Told | None) -> bool:
        """Whether a block knows all that there is to know of a day."""
        said = self.known.get(day)
        if told is None or said is None:
            return False
        wanted = self.listed.get(day, said.scenes) if day > self.since else said.scenes
        return told.scenes >= wanted and told.in_season == said.in_season

    def grown(self) -> list[np.datetime64]:
        """Open days that have more scenes now than when they were last spoken of."""
        return [
            day
            for day, said in self.known.items()
            if day > self.since and not said.scenes >= self.listed.get(day, frozenset())
        ]


@dataclass(frozen=True)
class Base:
    """State that a block goes back to."""

    run_id: str
    seen: ledger.Seen


def scenes_of(listed: str) -> frozenset[str]:
    """Ids in a cell of the tables of scenes."""
    return frozenset(listed.splitlines())


def listed(scenes: Iterable[str]) -> str:
    """Cell of the tables of scenes: the ids, a line each."""
    return "\n".join(sorted(scenes))


def calendar(
    days: Sequence[cube.SolarDay], seen: Mapping[str, ledger.Seen], known: pd.DataFrame | None
) -> Calendar:
    """Gather what blocks are to be told.

    Parameters
    ----------
    days
        Solar days of the area.
    seen
        By block, from the ledger. Without any, nobody relies on what was said: all days count as
        grown.
    known
        Table of `tasks.seasons` so far, None before the first run.
    """
    newest = max((each.last_day for each in seen.values()), default=np.datetime64("1970-01-01"))
    listed = {day.date: frozenset(day.ids) for day in days}
    said = {} if known is None else to_tell(known)
    if not seen:
        said = {day: replace(told, scenes=frozenset()) for day, told in said.items()}
    return Calendar(newest - tasks.LATE, listed, said)


def late_days(
    over: Sequence[cube.SolarDay], seen: ledger.Seen, calendar: Calendar
) -> list[cube.SolarDay]:
    """Open days that a block has passed without knowing all of them."""
    return [
        day
        for day in over
        if calendar.since < day.date <= seen.last_day
        and not (
            seen.scenes.issuperset(day.ids) and calendar.is_told(day.date, seen.told.get(day.date))
        )
    ]


def late_by_block(
    place: Place,
    days: Sequence[cube.SolarDay],
    seen: Mapping[str, ledger.Seen],
    calendar: Calendar,
) -> dict[str, list[cube.SolarDay]]:
    """Blocks that have late days, with these days."""
    return {
        block.key: late
        for block, over in place.days_by_block(days)
        if block.key in seen and (late := late_days(over, seen[block.key], calendar))
    }


def states_before(
    book: ledger.Ledger,
    place: Place,
    days: Sequence[cube.SolarDay],
    late: Mapping[str, Sequence[cube.SolarDay]],
    seen: Mapping[str, ledger.Seen],
    calendar: Calendar,
) -> dict[str, Base | None]:
    """Blocks that have to go back → the newest kept state of each from before what is late.

    None where no such run is kept: the block starts anew from its history.
    """
    over = {block.key: days for block, days in place.days_by_block(days) if block.key in late}
    found: dict[str, Base | None] = dict.fromkeys(late)
    for run_id, then in _earlier(book) if late else ():
        for key, (first, *_) in late.items():
            before = found[key] is None and key in then and then[key].last_day < first.date
            if before and _is_whole(then[key], seen[key], over[key], calendar):
                found[key] = Base(run_id, then[key])
    return found


def _earlier(book: ledger.Ledger) -> Iterator[tuple[str, Mapping[str, ledger.Seen]]]:
    """Kept runs with the models of today, the newest first, with what their states had seen."""
    models = ledger.beginnings(book)
    for run in reversed(ledger.runs(book)):
        if run.beginnings == models:
            yield run.run_id, ledger.seen(book, at=run.run_id)


def _is_whole(
    then: ledger.Seen, now: ledger.Seen, over: Sequence[cube.SolarDay], calendar: Calendar
) -> bool:
    """Whether a former state had all that the present one has of its days."""
    had = {name for day in over if day.date <= then.last_day for name in day.ids} & now.scenes
    return then.scenes >= had and all(calendar.is_told(*each) for each in then.told.items())


def to_tell(scenes: pd.DataFrame) -> dict[np.datetime64, ledger.Told]:
    """Give what blocks are told of each day, by the table of `tasks.seasons`."""
    return {
        np.datetime64(time.date(), "D"): ledger.Told(scenes_of(listed), bool(in_season))
        for time, listed, in_season in zip(
            pd.DatetimeIndex(scenes.index), scenes["scenes"], scenes["in_season"], strict=True
        )
    }
