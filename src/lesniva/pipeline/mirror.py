"""Scenes of a remote source brought into a local archive before they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pystac

from lesniva import aoi, indices, masks, sources
from lesniva.config import AnyPipeline, ForestPipeline, Pipeline, SentinelHubSource, StacSource
from lesniva.sources import process, sentinelhub
from lesniva.sources import pull as mirroring
from lesniva.sources.query import Query


@dataclass(frozen=True)
class Cost:
    """What a pull would take from an account."""

    requests: int
    units: float
    """Processing units."""


def archive_of(job: Pipeline) -> Path | None:
    """Local archive that a job's scenes go through; None when they are read where they are."""
    source = job.source
    return source.archive if isinstance(source, StacSource | SentinelHubSource) else None


def bands_of(job: AnyPipeline) -> tuple[str, ...]:
    """Bands that a job would like to have, ``scl`` among them."""
    if isinstance(job, ForestPipeline):
        index = "nbr" if job.monitor.index == "auto" else job.monitor.index
        wanted = (*indices.bands_of([index, "ndvi"]), *masks.VEIL_BANDS)
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
        Largest size of the archive; what the file says when not given.

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
    source = job.source
    if isinstance(source, SentinelHubSource):
        service, wanted = _requests(job, source, area, grids)
        return process.pull(
            service,
            wanted,
            source.archive,
            bands=bands_of(job),
            max_units=source.max_units,
            max_gb=max_gb or source.max_gb,
        )
    assert isinstance(source, StacSource)  # noqa: S101 `archive_of` has said so
    assert source.archive is not None  # noqa: S101
    return mirroring.pull(
        search(job, source, area),
        source.archive,
        area=area.outline,
        bands=bands_of(job),
        max_gb=max_gb or source.max_gb,
        options=sources.gdal_env(source.href),
    )


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
    cost = process.estimate(wanted, job.source.archive, bands_of(job))
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


def search(job: Pipeline, source: StacSource, area: aoi.Area) -> list[pystac.Item]:
    """Ask the API, whatever the local archive has."""
    asked = source.model_dump(exclude={"archive", "max_gb"}, exclude_none=True)
    return sources.search(**asked, area=area.outline, start=job.period.start, end=job.period.end)
