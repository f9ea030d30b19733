"""Late scenes: which days a block has to see again, and from which state it goes on.

A scene that comes after younger ones changes what is said of its day: the day's pixels, the
correction that all its blocks share, and now and then the season. Blocks that have taken such a day
in go back to a state from before it, and see all days since anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
        By block, from the ledger.
    known
        Table of `tasks.seasons` so far, None before the first run.
    """
    newest = max((each.last_day for each in seen.values()), default=np.datetime64("1970-01-01"))
    listed = {day.date: frozenset(day.ids) for day in days}
    return Calendar(newest - tasks.LATE, listed, {} if known is None else to_tell(known))


def first_late(
    over: Sequence[cube.SolarDay], seen: ledger.Seen, calendar: Calendar
) -> np.datetime64 | None:
    """First open day that a block has passed without knowing all of it, or None."""
    return next(
        (
            day.date
            for day in over
            if calendar.since < day.date <= seen.last_day
            and not (
                seen.scenes.issuperset(day.ids)
                and calendar.is_told(day.date, seen.told.get(day.date))
            )
        ),
        None,
    )


def states_before(
    book: ledger.Ledger,
    place: Place,
    days: Sequence[cube.SolarDay],
    seen: Mapping[str, ledger.Seen],
    calendar: Calendar,
) -> dict[str, Base | None]:
    """Blocks that have to go back → the newest kept state of each from before what is late.

    None where no such run is kept: the block starts anew from its history.
    """
    late = {
        block.key: (first, over)
        for block, over in place.days_by_block(days)
        if block.key in seen and (first := first_late(over, seen[block.key], calendar)) is not None
    }
    found: dict[str, Base | None] = dict.fromkeys(late)
    for run_id, then in _earlier(book) if late else ():
        for key, (first, over) in late.items():
            before = found[key] is None and key in then and then[key].last_day < first
            if before and _is_whole(then[key], seen[key], over, calendar):
                found[key] = Base(run_id, then[key])
    return found


def _earlier(book: ledger.Ledger) -> Iterator[tuple[str, Mapping[str, ledger.Seen]]]:
    """Kept runs, the newest first, with what their states had seen."""
    for run in reversed(ledger.runs(book)):
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
