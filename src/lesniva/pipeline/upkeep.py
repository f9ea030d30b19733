"""A job between its runs: how it stands, whether this machine can run it, going back."""

import datetime as dt
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesniva import config, ledger, publish
from lesniva.config import AnyPipeline, CatalogSource, StacSource
from lesniva.errors import (
    DONE,
    PARTIAL,
    EnvironmentFaultError,
    InputError,
    LesnivaError,
    LockedError,
    NoDataError,
)
from lesniva.pipeline import mirror
from lesniva.pipeline.place import known, place_of
from lesniva.pipeline.running import STATE
from lesniva.storage import whole_file

FREE_GB = 2.0
"""Less free disk than this, 10⁹ bytes, is a fault."""

CREDENTIALS = (
    "SH_CLIENT_ID",
    "SH_CLIENT_SECRET",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
"""Environment variables that sources read."""


@dataclass(frozen=True)
class Standing:
    """How a job stands."""

    folder: Path
    run_id: str
    outcome: str
    """Of the last run: done or partial."""
    finished: dt.datetime
    """When the last run that published ended (UTC)."""
    last_day: str
    """Newest solar day in the results."""
    newest_day: str | None
    """Newest day that the source has for the job; None when it could not be asked."""
    no_answer: str | None
    """Why the source could not be asked."""
    at_work: bool
    """A run holds the folder now."""
    left_in_the_middle: bool
    """A run died; the next one goes on."""
    faults: dict[str, str]
    """Blocks and scenes that the last run could not do."""
    kept_runs: list[str]
    """Runs that `roll_back` can return to, oldest first."""
    bytes: int
    """Size of results, state and caches."""
    free_bytes: int
    """On the folder's disk."""

    @property
    def lag_days(self) -> int | None:
        """Days from the newest day in the results to the newest the source has."""
        if self.newest_day is None:
            return None
        return (dt.date.fromisoformat(self.newest_day) - dt.date.fromisoformat(self.last_day)).days

    @property
    def exit_code(self) -> int:
        """Exit code of the command: the last run was done, or done in part."""
        return PARTIAL if self.faults else DONE

    def told(self) -> dict[str, Any]:
        """Say it as JSON values."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "finished": self.finished.isoformat(),
            "lag_days": self.lag_days,
        }

    def lines(self) -> list[str]:
        """Say it in plain words."""
        ago = dt.datetime.now(dt.UTC) - self.finished
        newest = (
            f"cannot be asked: {self.no_answer}"
            if self.newest_day is None
            else f"has {self.newest_day}, {self.lag_days} days later"
        )
        return [
            f"{self.folder}:",
            f"  last run  {self.run_id}, {self.outcome}, {ago.total_seconds() / 3600:.1f} h ago",
            f"  results   up to {self.last_day}; the source {newest}",
            f"  now       {self._now()}",
            *(f"  not done  {what}: {why}" for what, why in self.faults.items()),
            f"  disk      {self.bytes / 1e6:.1f} MB used, {self.free_bytes / 1e9:.1f} GB free",
            *([f"  kept runs {', '.join(self.kept_runs)}"] if self.kept_runs else []),
        ]

    def _now(self) -> str:
        if self.at_work:
            return "a run is at work"
        if self.left_in_the_middle:
            return "a run died in the middle; the next one goes on from there"
        if self.kept_runs and self.run_id not in self.kept_runs:
            return f"back at {self.kept_runs[-1]}; the next run publishes from there"
        return "no run is at work"


def status(out: Path) -> Standing:
    """Tell how a job stands: its last run, its lag behind the source, its faults, its disk.

    Parameters
    ----------
    out
        Output folder of the job. The source is asked for its newest scene; everything else is
        read from the folder.

    Raises
    ------
    NoDataError
        No run has ended here yet.
    InputError
        ``run.json`` is not readable.
    """
    run = _last_run(out)
    try:
        newest, no_answer = _newest_day(config.from_record(run["config"])), None
    except LesnivaError as error:
        newest, no_answer = None, str(error)
    book = ledger.Ledger(out / STATE)
    forest = (book.folder / "repo").exists()
    return Standing(
        folder=out,
        run_id=run["run_id"],
        outcome=run["outcome"],
        finished=dt.datetime.fromisoformat(run["finished"]),
        last_day=run["results"]["last_day"],
        newest_day=newest,
        no_answer=no_answer,
        at_work=_at_work(out),
        left_in_the_middle=forest and not ledger.is_whole(book),
        faults=run["results"]["faults"],
        kept_runs=[kept.run_id for kept in ledger.runs(book)] if forest else [],
        bytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        free_bytes=shutil.disk_usage(out).free,
    )


def _last_run(out: Path) -> dict[str, Any]:
    path = out / "run.json"
    if not path.exists():
        raise NoDataError(f"no run has ended in {out} yet: give the output folder of a job")
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not readable ({error}): run the job again") from error
    return run


def _at_work(out: Path) -> bool:
    try:
        with ledger.locked(out / STATE):
            return False
    except LockedError:
        return True


def _newest_day(job: AnyPipeline) -> str:
    place = place_of(job)
    source = job.source
    if isinstance(source, CatalogSource | StacSource) and source.archive is not None:
        items = mirror.search(job, source, place.area)
    else:
        items = known(job, place)
    days = sorted(str(item.datetime.date()) for item in items if item.datetime is not None)
    return days[-1]


def roll_back(out: Path, run_id: str) -> None:
    """Return a forest job to the state that a run left; the next run goes on from there.

    Raises
    ------
    LockedError
        A run is at work.
    InputError
        The folder holds no forest job, or not that run.
    """
    book = ledger.Ledger(out / STATE)
    if not (book.folder / "repo").exists():
        raise InputError(f"{out} holds no state of a forest job: give its output folder")
    with ledger.locked(book.folder):
        ledger.roll_back(book, run_id)


@dataclass(frozen=True)
class Checkup:
    """What this machine is like, and what is wrong with it."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def doctor(folder: Path) -> Checkup:
    """Look at this machine: versions, projections, drivers, disk, credentials (never shown).

    Parameters
    ----------
    folder
        Where output folders are to be.
    """
    found = Checkup()
    for title, look in (
        ("versions", _versions),
        ("projections", _projections),
        ("drivers", _drivers),
        ("machine", _machine),
        ("disk", lambda: _disk(folder)),
        ("credentials", _credentials),
    ):
        try:
            found.lines.extend(f"{title:<12}{line}" for line in look())
        except (LesnivaError, OSError, RuntimeError) as error:
            found.faults.append(f"{title}: {error}")
    return found


def _versions() -> Iterator[str]:
    yield ", ".join(f"{name} {version}" for name, version in publish.versions().items())


def _projections() -> Iterator[str]:
    import pyproj
    from rasterio.warp import transform

    # on the central meridian of zone 37, at the equator: known without a computer
    easting, northing = pyproj.Transformer.from_crs(4326, 32637, always_xy=True).transform(39, 0)
    x, y = transform("EPSG:4326", "EPSG:32637", [39.0], [0.0])
    if max(abs(easting - 500_000), abs(northing), abs(x[0] - 500_000), abs(y[0])) > 1e-3:
        raise EnvironmentFaultError(
            "39° E on the equator is not at easting 500,000 of UTM 37: the PROJ data is damaged, "
            "or PROJ_DATA points to that of another version; unset it"
        )
    yield f"right, with the data in {pyproj.datadir.get_data_dir()}"


def _drivers() -> Iterator[str]:
    import pyogrio
    from rasterio.drivers import raster_driver_extensions
    from rasterio.env import GDALVersion

    there = {*raster_driver_extensions().values(), *pyogrio.list_drivers()}
    missing = {"GTiff", "JP2OpenJPEG", "GPKG", "GeoJSON"} - there
    if missing:
        raise EnvironmentFaultError(
            f"GDAL lacks {', '.join(sorted(missing))}: install lesniva anew"
        )
    yield f"GTiff, JP2OpenJPEG, GPKG and GeoJSON of GDAL {GDALVersion.runtime()}"


def _machine() -> Iterator[str]:
    import psutil

    memory = psutil.virtual_memory()
    yield (
        f"{os.cpu_count()} cores, {memory.total / 1e9:.1f} GB of memory, "
        f"{memory.available / 1e9:.1f} GB of it free"
    )


def _disk(folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name,
        ledger.locked(Path(name)),
        whole_file(Path(name) / "written") as temporary,
    ):
        temporary.write_bytes(bytes(1_000_000))
    free = shutil.disk_usage(folder).free / 1e9
    if free < FREE_GB:
        raise EnvironmentFaultError(f"{folder} has {free:.1f} GB free, want {FREE_GB:g} or more")
    yield f"{folder.absolute()} can be written and locked, {free:.1f} GB free"


def _credentials() -> Iterator[str]:
    yield ", ".join(
        f"{name} is {'set' if os.environ.get(name) else 'not set'}" for name in CREDENTIALS
    )
