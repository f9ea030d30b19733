"""Scenes of a remote source brought into a local archive before they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pystac
import shapely

from lesniva import aoi, change, indices, masks, sources
from lesniva.config import (
    AnyPipeline,
    CatalogSource,
    ForestPipeline,
    Pipeline,
    SentinelHubSource,
    StacSource,
)
from lesniva.sources import download, process, sentinelhub, stac, store
from lesniva.sources import pull as mirroring
from lesniva.sources.query import Query


@dataclass(frozen=True)
class Cost:
    """What a pull would take from an account."""

    requests: int
    units: float
    """Processing units."""


def archive_of(job: Pipeline, area: aoi.Area, grids: Sequence[aoi.Grid]) -> Path | None:
    """Local archive that a job's scenes go through; None when they are read where they are.

    A folder of its own in ``source.archive`` for each area (and grid, where the service cuts to the
    grid), so that jobs may share ``source.archive``: windows of one scene for different areas do
    not meet, jobs on the same ground share what is there.
    """
    source = job.source
    if source.archive is None:
        return None
    ground: list[object] = [shapely.to_wkb(shapely.normalize(area.outline), hex=True)]
    if isinstance(source, SentinelHubSource):
        ground += [(str(g.geobox.crs), tuple(g.geobox.affine), g.geobox.shape) for g in grids]
        ground.append(job.grid.block)
    origin = source.service if isinstance(source, SentinelHubSource) else source.href
    return source.archive / store.digest(origin, getattr(source, "collection", ""), *ground)


def bands_of(job: AnyPipeline) -> tuple[str, ...]:
    """Bands that a job would like to have, ``scl`` among them."""
    if isinstance(job, ForestPipeline):
        index = "nbr" if job.monitor.index == "auto" else job.monitor.index
        health = change.HEALTH if job.monitor.health else ()
        wanted = (*indices.bands_of([index, "ndvi", *health]), *masks.VEIL_BANDS)
    elif job.journey == "composite":
        wanted = indices.bands_of(job.composite.index)
    else:
        wanted = indices.bands_of(["ndvi"])
    return tuple(dict.fromkeys((*wanted, "scl")))


def pull(
    job: AnyPipeline, area: aoi.Area, grids: Sequence[aoi.Grid], *, max_gb: float | None = None
) -> mirroring.Pulled:
    """Bring what a job needs into its local archive; only what is missing is asked for.

    Parameters
    ----------
    job
        With a source that has an archive.
    area, grids
        Where.
    max_gb
        Largest size of the whole archive; what the file says when not given.

    Returns
    -------
    Pulled
        Counts of acquisitions.

    Raises
    ------
    SourceError, CredentialsError, EnvironmentFaultError
        As the source does.
    InputError
        It would cost more than the file allows.
    """
    source, archive = job.source, archive_of(job, area, grids)
    assert archive is not None  # noqa: S101 the caller has seen it
    room = _room(archive, max_gb or source.max_gb)
    if isinstance(source, SentinelHubSource):
        service, wanted = _requests(job, source, area, grids)
        return process.pull(
            service,
            wanted,
            archive,
            bands=bands_of(job),
            max_units=source.max_units,
            max_gb=room,
        )
    token = _by_token(source)
    return mirroring.pull(
        search(job, source, area),
        archive,
        area=area.outline,
        bands=bands_of(job),
        max_gb=room,
        options=sources.gdal_env("" if token else source.href),
        service=token,
    )


def _by_token(source: CatalogSource | StacSource) -> sentinelhub.Service | None:
    """Take an account to fetch whole files with, where there are no keys for windows."""
    if not stac.is_cdse(source.href) or not stac.missing_keys():
        return None
    who = download.account()
    return None if who is None else sentinelhub.Service(who)


def _room(archive: Path, max_gb: float | None) -> float | None:
    """Size that a job's folder may grow to, given what other areas take of the whole archive."""
    if max_gb is None:
        return None
    others = store.used_bytes(archive.parent) - store.used_bytes(archive)
    return max(max_gb - others / 1e9, 0.0)


def in_words(archive: Path, done: mirroring.Pulled) -> str:
    """Say what a pull did."""
    return (
        f"{archive}: {done.fetched} acquisitions fetched ({done.bytes / 1e6:.1f} MB), "
        f"{done.known} were there, {done.empty} have no pixel here, {done.failed} failed, "
        f"{done.left} left out for want of room"
    )


def estimate(job: AnyPipeline, area: aoi.Area, grids: Sequence[aoi.Grid]) -> Cost | None:
    """Cost of what is missing in the archive; None for sources that cost nothing."""
    if not isinstance(job.source, SentinelHubSource):
        return None
    _, wanted = _requests(job, job.source, area, grids)
    archive = archive_of(job, area, grids)
    assert archive is not None  # noqa: S101 such a source always has one
    cost = process.estimate(wanted, archive, bands_of(job))
    return Cost(cost.requests, cost.units)


def _requests(
    job: AnyPipeline, source: SentinelHubSource, area: aoi.Area, grids: Sequence[aoi.Grid]
) -> tuple[sentinelhub.Service, list[process.Task]]:
    account = sentinelhub.account(
        source.service, token_url=source.token_url, profile=source.profile
    )
    service = sentinelhub.Service(account)
    items = sentinelhub.search(service, where=_query(job, area))
    wanted = [
        task
        for grid in grids
        for task in process.tasks(items, grid.geobox, block=job.grid.block, area=area.outline)
    ]
    return service, wanted


def _query(job: Pipeline, area: aoi.Area) -> Query:
    source = job.source
    return sources.query(
        area=area.outline,
        start=job.period.start,
        end=job.period.end,
        max_cloud=source.max_cloud,
        tiles=source.tiles,
        months=source.months,
        relative_orbit=source.relative_orbit,
    )


def search(job: Pipeline, source: CatalogSource | StacSource, area: aoi.Area) -> list[pystac.Item]:
    """Ask the source, whatever the local archive has."""
    asked = source.model_dump(exclude={"archive", "max_gb"}, exclude_none=True)
    return sources.search(**asked, area=area.outline, start=job.period.start, end=job.period.end)
