"""What has been done, and the state it led to: one transaction a run.

An Icechunk repository holds, a block, one Zarr group with the monitor's state and, in its
attributes, the scenes that went into it; the states of further channels are groups inside it. While
a run works, every finished block is a commit on the branch ``run``; when all is published, ``main``
moves there in one step and the run gets a tag.
A run that was killed leaves ``run`` behind, and the next one goes on from its last block; what
readers see on ``main`` is always a whole run. Local disks are no place for concurrent commits, so
every commit holds a file lock.

A run a night must not fill the disk: `tidy` keeps the last runs and, further back, one in ten days.
`roll_back` returns to any run that is kept.
"""

import datetime as dt
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import filelock
import numpy as np
import xarray as xr

from lesniva.errors import EnvironmentFaultError, InputError, LockedError

SCHEMA = 1
"""Version of the layout; a folder of a newer one is refused."""

MAIN, RUN = "main", "run"
"""The branch of whole runs, and the branch of the run at work."""

KEEP_RUNS = 3
"""The last runs that are kept whatever their age."""

KEEP_PERIODS = 5
"""Of older runs the first of each of the last periods is kept …"""

PERIOD_DAYS = 10
"""… of so many days: a scene that is late by a month finds a state from before it."""


@dataclass(frozen=True)
class Ledger:
    """Where the ledger of a job is; small, so that it travels to the workers."""

    folder: Path
    """Folder of the repository; made by `begin`."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a work folder for one run.

    Raises
    ------
    LockedError
        Another run holds it. The lock of a killed run is free at once.
    EnvironmentFaultError
        The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "lock", blocking=False)
        lock.acquire()
    except filelock.Timeout as error:
        raise LockedError(
            f"another run is at work in {folder}; wait for it to end, or give another --out"
        ) from error
    except OSError as error:
        raise EnvironmentFaultError(
            f"cannot write in {folder}: {error.strerror}; choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def begin(folder: Path, *, identity: Mapping[str, Any]) -> Ledger:
    """Open the ledger of a job and the transaction of a run.

    Parameters
    ----------
    folder
        Folder of the repository; made when it is not there.
    identity
        What the state depends on (grid, method, channels …), JSON values. A ledger made with
        another identity is refused, as its state would be misread.

    Returns
    -------
    Ledger
        It goes on from a killed run, or from the last whole one.

    Raises
    ------
    InputError
        The ledger was made with another identity or by a newer version.
    EnvironmentFaultError
        The ledger cannot be read or written.
    """
    ledger = Ledger(folder)
    with _writing(ledger):
        if not (folder / "repo").exists():
            _create(ledger, identity)
        repository = _repository(ledger)
        _check(_root_attributes(repository, MAIN), identity, folder)
        _complete(repository)
    return ledger


def _complete(repository: Any) -> None:
    """End what a run killed in the middle of `finish` had begun: readers see its result already."""
    if RUN not in repository.list_branches():
        return
    tip = repository.lookup_branch(RUN)
    if tip == repository.lookup_branch(MAIN):
        record = _root_attributes(repository, MAIN).get("run")
        if record is not None and record["id"] not in repository.list_tags():
            repository.create_tag(record["id"], tip)
        repository.delete_branch(RUN)


@contextmanager
def _writing(ledger: Ledger) -> Iterator[None]:
    """Hold the lock of commits; what the disk refuses becomes one line."""
    import icechunk

    try:
        ledger.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(ledger.folder / "commit.lock"):
            yield
    except (icechunk.IcechunkError, OSError) as error:
        raise EnvironmentFaultError(
            f"cannot write the ledger {ledger.folder}: {_reason(error)}; free some space or mend "
            "the disk, then run again: it goes on from here"
        ) from error


def _reason(error: Exception) -> str:
    """First line of an error: Icechunk adds the places in its own source."""
    return str(error).strip().partition("\n")[0].removeprefix("x ")


def _create(ledger: Ledger, identity: Mapping[str, Any]) -> None:
    """Make the repository under another name first: a killed creation must not look like one."""
    import icechunk
    import zarr

    unborn = ledger.folder / "repo.new"
    shutil.rmtree(unborn, ignore_errors=True)
    unborn.mkdir(parents=True)
    _quiet()
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(unborn)))
    session = repository.writable_session(MAIN)
    zarr.create_group(session.store, attributes={"schema": SCHEMA, "identity": dict(identity)})
    session.commit("new ledger")
    unborn.rename(ledger.folder / "repo")


def _repository(ledger: Ledger) -> Any:
    import icechunk

    _quiet()
    path = ledger.folder / "repo"
    try:
        return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
    except icechunk.IcechunkError as error:
        raise EnvironmentFaultError(
            f"the ledger {path} cannot be opened: {_reason(error)}; restore it from a backup, or "
            f"remove {ledger.folder} to start anew"
        ) from error


def _quiet() -> None:
    """Silence Icechunk's log: we hold the lock it asks for, and what is wrong is raised."""
    import icechunk

    icechunk.set_logs_filter("off")


def _root_attributes(repository: Any, branch: str) -> dict[str, Any]:
    return _attributes(repository.readonly_session(branch))


def _attributes(session: Any) -> dict[str, Any]:
    import zarr

    return dict(zarr.open_group(session.store, mode="r").attrs)


def _check(attributes: Mapping[str, Any], identity: Mapping[str, Any], folder: Path) -> None:
    if attributes["schema"] > SCHEMA:
        raise InputError(
            f"the ledger {folder} has layout {attributes['schema']}, this version knows {SCHEMA}: "
            "upgrade lesniva"
        )
    wanted = json.loads(json.dumps(dict(identity)))
    found = attributes["identity"]
    changed = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if changed:
        what = "; ".join(f"{key}: {found.get(key)} → {wanted.get(key)}" for key in changed)
        raise InputError(
            f"the state in {folder} was made with other settings ({what}): "
            "set them back, or give another --out to start anew"
        )


@dataclass(frozen=True)
class Told:
    """What a block was told of a day when it took the day in."""

    scenes: frozenset[str]
    """Scenes that the day had over the whole area: its correction rests on all of them."""
    in_season: bool


@dataclass(frozen=True)
class Seen:
    """What the state of a block has seen."""

    scenes: frozenset[str]
    """Ids of the scenes."""
    last_day: np.datetime64
    """Newest day (``datetime64[D]``)."""
    told: Mapping[np.datetime64, Told] = field(default_factory=dict)
    """Of the newest days."""


def seen(ledger: Ledger, *, at: str = RUN) -> dict[str, Seen]:
    """Tell what each block's state has seen, by block key.

    Parameters
    ----------
    at
        `RUN` for the run at work, `MAIN` for the last whole run, or the id of one that is kept.
    """
    import zarr

    store = _readable(_repository(ledger), at).store
    blocks: dict[str, Seen] = {}
    for grid_id, grid in zarr.open_group(store, mode="r").groups():
        for name, block in grid.groups():
            attributes: dict[str, Any] = block.attrs.asdict()
            last_day = np.datetime64(attributes["last_day_seen"], "D")
            told = {
                np.datetime64(day, "D"): Told(frozenset(scenes), in_season)
                for day, (in_season, scenes) in attributes.get("told", {}).items()
            }
            blocks[f"{grid_id}/{name}"] = Seen(frozenset(attributes["scenes"]), last_day, told)
    return blocks


def _readable(repository: Any, at: str) -> Any:
    """Session that reads a branch or a run; a run without a commit is at the last whole one."""
    if at in repository.list_tags():
        return repository.readonly_session(tag=at)
    begun = at != RUN or RUN in repository.list_branches()
    return repository.readonly_session(at if begun else MAIN)


def read_block(
    ledger: Ledger,
    key: str,
    *,
    at: str = RUN,
    names: Sequence[str] | None = None,
    channel: str | None = None,
) -> xr.Dataset:
    """State of one block, loaded into memory.

    Parameters
    ----------
    key
        Key of a block that has a state (`seen` lists them).
    at
        As in `seen`.
    names
        Only these variables.
    channel
        Name of a further state of the block, of those that `write_block` was given.
    """
    store = _readable(_repository(ledger), at).store
    group = key if channel is None else f"{key}/{channel}"
    with xr.open_zarr(
        store, group=group, consolidated=False, chunks=None, decode_cf=False
    ) as state:
        loaded: xr.Dataset = (state if names is None else state[list(names)]).load()
    return loaded


def write_block(
    ledger: Ledger,
    key: str,
    state: xr.Dataset,
    *,
    seen: Seen,
    beside: Mapping[str, xr.Dataset] = MappingProxyType({}),
) -> None:
    """Commit the state of one block and the scenes that led to it, together.

    Parameters
    ----------
    key
        Key of the block.
    state
        Dims ``y, x`` (and small ones); written as one chunk an array.
    seen
        All that the state has seen.
    beside
        Further states of the block by channel, in the same commit.

    Raises
    ------
    EnvironmentFaultError
        The disk refuses; the block keeps the state it had.
    """
    history = {
        "scenes": sorted(seen.scenes),
        "last_day_seen": str(seen.last_day),
        "told": {
            str(day): [told.in_season, sorted(told.scenes)]
            for day, told in sorted(seen.told.items())
        },
    }
    # a group that is written anew loses those inside it: the block comes before its channels
    states = {key: state.assign_attrs(history)}
    states |= {f"{key}/{channel}": further for channel, further in beside.items()}
    with _writing(ledger):
        session = _writable(_repository(ledger))
        for group, each in states.items():
            _write(session.store, group, each)
        session.commit(f"block {key}")


def _write(store: Any, group: str, state: xr.Dataset) -> None:
    """Write a state as a group, one chunk an array."""
    # texts have no place in the Zarr standard yet; what coordinates say is in the code
    texts = [name for name, coord in state.coords.items() if coord.dtype.kind in "OSU"]
    whole = state.drop_vars(texts)
    encoding = {name: {"chunks": whole[name].shape} for name in whole.data_vars}
    whole.to_zarr(
        store, group=group, mode="w", consolidated=False, zarr_format=3, encoding=encoding
    )


def _writable(repository: Any) -> Any:
    """Session on the branch of the run, which begins at the last whole run."""
    if RUN not in repository.list_branches():
        repository.create_branch(RUN, repository.lookup_branch(MAIN))
    return repository.writable_session(RUN)


def begin_anew(ledger: Ledger) -> None:
    """Forget the states of all blocks in the run at work; readers see the last whole run.

    Raises
    ------
    EnvironmentFaultError
        The disk refuses; the states are as they were.
    """
    import zarr

    with _writing(ledger):
        session = _writable(_repository(ledger))
        root = zarr.open_group(session.store, mode="a")
        for grid_id in list(root.group_keys()):
            del root[grid_id]
        root.attrs["beginnings"] = _beginnings(dict(root.attrs)) + 1
        session.commit("begin anew")


def beginnings(ledger: Ledger) -> int:
    """How often the run at work, or one it goes on from, has begun anew (`begin_anew`)."""
    return _beginnings(_attributes(_readable(_repository(ledger), RUN)))


def _beginnings(attributes: Mapping[str, Any]) -> int:
    return int(attributes.get("beginnings", 0))


def finish(ledger: Ledger, *, run_id: str, record: Mapping[str, Any]) -> None:
    """Make this run the one that readers see.

    Parameters
    ----------
    run_id
        Name of the run, unique in the ledger.
    record
        What the run did (JSON values); kept with the state and given back by `last_run`.

    Raises
    ------
    EnvironmentFaultError
        The disk refuses; readers see the run before.
    """
    import zarr

    with _writing(ledger):
        repository = _repository(ledger)
        session = _writable(repository)
        zarr.open_group(session.store, mode="a").attrs["run"] = {"id": run_id, **record}
        tip = session.commit(f"run {run_id}")
        repository.reset_branch(MAIN, tip)
        repository.create_tag(run_id, tip)
        repository.delete_branch(RUN)


def is_whole(ledger: Ledger) -> bool:
    """Tell whether readers see all that was committed: no run was left in the middle."""
    return RUN not in _repository(ledger).list_branches()


def last_run(ledger: Ledger) -> dict[str, Any] | None:
    """Record of the last whole run, or None before the first."""
    record: dict[str, Any] | None = _root_attributes(_repository(ledger), MAIN).get("run")
    return record


@dataclass(frozen=True)
class Run:
    """A whole run that can be returned to."""

    run_id: str
    at: dt.datetime
    """When it was committed (UTC)."""
    record: Mapping[str, Any]
    """What it did."""
    beginnings: int = 0
    """As `beginnings` said then."""


def runs(ledger: Ledger) -> list[Run]:
    """Whole runs that are kept, oldest first."""
    repository = _repository(ledger)
    kept = []
    for run_id in repository.list_tags():
        snapshot = next(iter(repository.ancestry(tag=run_id)))
        then = _attributes(repository.readonly_session(tag=run_id))
        kept.append(Run(run_id, snapshot.written_at, then.get("run", {}), _beginnings(then)))
    return sorted(kept, key=lambda run: (run.at, run.run_id))


def tidy(ledger: Ledger) -> list[Run]:
    """Drop the runs that are no longer needed, and what only they refer to; give those kept.

    Only the holder of the folder's lock may call this, after `finish`.

    Raises
    ------
    EnvironmentFaultError
        The disk refuses; nothing that is kept is lost.
    """
    with _writing(ledger):
        repository = _repository(ledger)
        known = runs(ledger)
        kept = _worth_keeping(known)
        for run in known:
            if run not in kept:
                repository.delete_tag(run.run_id)
        now = dt.datetime.now(dt.UTC)
        # squashes the commits between those that a branch or a tag names
        repository.expire_snapshots(now)
        repository.garbage_collect(now)
    return kept


def _worth_keeping(known: Sequence[Run]) -> list[Run]:
    """Choose the last few runs, and the first of each of the last periods."""
    firsts: dict[int, str] = {}
    for run in known:
        firsts.setdefault(run.at.toordinal() // PERIOD_DAYS, run.run_id)
    kept = {run.run_id for run in known[-KEEP_RUNS:]}
    kept |= {firsts[period] for period in sorted(firsts)[-KEEP_PERIODS:]}
    return [run for run in known if run.run_id in kept]


def roll_back(ledger: Ledger, run_id: str) -> None:
    """Return to the state that a run left; what came after is forgotten.

    Only the holder of the folder's lock may call this.

    Raises
    ------
    InputError
        The run is not kept.
    EnvironmentFaultError
        The disk refuses; readers see the run before.
    """
    known = runs(ledger)
    if run_id not in {run.run_id for run in known}:
        there = ", ".join(run.run_id for run in known) or "none"
        raise InputError(f"run {run_id} is not kept in {ledger.folder}; kept are {there}")
    with _writing(ledger):
        repository = _repository(ledger)
        repository.reset_branch(MAIN, repository.lookup_tag(run_id))
        if RUN in repository.list_branches():
            repository.delete_branch(RUN)
        place = [run.run_id for run in known].index(run_id)
        for later in known[place + 1 :]:
            repository.delete_tag(later.run_id)
