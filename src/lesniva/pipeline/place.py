"""Where and what: the area with its blocks, the scenes over them, and the bands to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import geopandas as gpd
import pystac
import shapely
from rasterio.warp import transform_bounds

from lesniva import aoi, change, cube, indices, masks, sources, tasks
from lesniva.config import AnyPipeline, Filters, ForestPipeline, Pipeline, StacSource
from lesniva.errors import InputError
from lesniva.pipeline import mirror
from lesniva.pipeline.running import Report, stage

CATALOG = "catalog.json"
"""Where a local archive lists its scenes."""

AUTO_INDICES = ("nbr", "ndvi", "ndmi")
"""What ``index = "auto"`` tries, best first: removal of canopy shows most in NBR."""

WITNESSES = {"ndvi": "ndmi", "ndmi": "ndvi"}
"""Index → the one that bears witness to it over forest, where its bands are there. NBR needs none:
in simulations a witness costs thinnings and spares no false alarm."""


FOOTPRINT_ERROR = 0.005
"""Degrees, some hundred metres: how far a footprint drawn straight from corner to corner may be off
its pixels. A scene looked at in vain costs less than one overlooked."""


@dataclass(frozen=True)
class Place:
    """An area with its grids and blocks."""

    area: aoi.Area
    grids: tuple[aoi.Grid, ...]
    blocks: tuple[aoi.Block, ...]
    access: cube.Access
    """How the source's files are opened."""
    cloud_guard: float = 0.0
    """Pixels around clouds that are not used either."""

    @property
    def districts(self) -> gpd.GeoDataFrame:
        """Districts with ``adm_id`` as a column."""
        return self.area.districts.reset_index()

    def grid_of(self, block: aoi.Block) -> aoi.Grid:
        """Grid that a block belongs to."""
        return next(grid for grid in self.grids if grid.id == block.grid_id)

    def offset(self, block: aoi.Block) -> tuple[int, int]:
        """Row and column of a block's first pixel in its grid."""
        rows, cols = self.grid_of(block).geobox.overlap_roi(block.geobox)
        return rows.start, cols.start

    def days_by_block(
        self, days: Sequence[cube.SolarDay]
    ) -> Iterator[tuple[aoi.Block, list[cube.SolarDay]]]:
        """Blocks that scenes reach, each with its days."""
        for block in self.blocks:
            over = days_over(block, days)
            if over:
                yield block, over


def days_over(block: aoi.Block, days: Sequence[cube.SolarDay]) -> list[cube.SolarDay]:
    """Solar days that reach a block, with the scenes that do."""
    bounds = transform_bounds(str(block.geobox.crs), "EPSG:4326", *block.geobox.boundingbox)
    footprint = shapely.box(*bounds).buffer(FOOTPRINT_ERROR)
    return [near for day in days if (near := day.over(footprint)) is not None]


def place_of(job: Pipeline) -> Place:
    """Area, grids and blocks of a job; opens the area file and no imagery."""
    area = aoi.load(job.area.file, clip=job.area.clip)
    size = job.grid.block
    grids = aoi.grids(
        area,
        resolution=job.grid.resolution,
        block_size=size,
        crs=job.grid.crs,
        anchor=job.grid.anchor,
    )
    blocks = [block for grid in grids for block in aoi.blocks(grid, block_size=size)]
    source = job.source
    # a mirrored source is read from the local archive
    remote = source.href if isinstance(source, StacSource) and source.archive is None else ""
    access = cube.Access(
        gdal_options=sources.gdal_env(remote),
        address=sources.address,
        retry_options=sources.retry_options,
        redact=sources.redact_text,
    )
    guard = job.clouds.guard_m / job.grid.resolution
    return Place(area, tuple(grids), tuple(blocks), access, guard)


def known(job: AnyPipeline, place: Place) -> list[pystac.Item]:
    """Scenes of a job as its source, or its local archive, lists them now."""
    archive = mirror.archive_of(job, place.area, place.grids)
    asked = job.source.model_dump(
        include={"kind", "href", "collection", "hosts", *Filters.model_fields}, exclude_none=True
    )
    if archive is not None and (archive / CATALOG).exists():
        asked |= {"kind": "catalog", "href": str(archive / CATALOG)}
        asked.pop("collection", None)
    return sources.search(
        **asked, area=place.area.outline, start=job.period.start, end=job.period.end
    )


def find(job: AnyPipeline, report: Report) -> tuple[Place, list[cube.SolarDay]]:
    """Area, blocks and solar days of a job."""
    with stage(report, "area"):
        place = place_of(job)
    with stage(report, "search"):
        archive = mirror.archive_of(job, place.area, place.grids)
        if archive is not None:
            pulled = mirror.pull(job, place.area, place.grids)
            report.words.append(mirror.in_words(archive, pulled))
            if pulled.failed or pulled.left:
                report.faults[str(archive)] = report.words[-1]
        items = known(job, place)
        days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
    report.synthetic = any(item.properties.get("lesniva:synthetic") for item in items)
    report.results |= {
        "area": place.area.id,
        "scenes": sum(len(day.scenes) for day in days),
        "days": len(days),
        "first_day": str(days[0].date),
        "last_day": str(days[-1].date),
        "blocks": len(place.blocks),
    }
    report.words.append(
        f"{report.results['scenes']} scenes on {len(days)} days from {days[0].date} to "
        f"{days[-1].date}, {len(place.blocks)} blocks of {place.area.name_en}"
    )
    return place, days


def over(place: Place, shapes: gpd.GeoDataFrame) -> Place:
    """Keep the blocks that some shapes touch."""
    blocks = [
        block
        for block in place.blocks
        if shapes.to_crs(str(block.geobox.crs)).intersects(block.geobox.extent.geom).any()
    ]
    return replace(place, blocks=tuple(blocks))


def common_bands(days: Sequence[cube.SolarDay]) -> set[str]:
    """Bands that all scenes have."""
    return set.intersection(*(set(scene.files) for day in days for scene in day.scenes))


def observing(
    index: str,
    days: Sequence[cube.SolarDay],
    place: Place,
    *,
    canopy: bool = False,
    also: Sequence[str] = (),
) -> tasks.Observing:
    """Settle the index by the bands that all scenes have.

    Parameters
    ----------
    index
        Name of an index, or "auto".
    canopy
        Read what a witness, the haze test and the test of snow need too, where it is there. The
        haze test is made for canopy: bare fields look like haze to it.
    also
        Further indices, taken where the bands of all scenes allow.

    Raises
    ------
    InputError
        The scenes lack the bands.
    """
    common = common_bands(days)
    wanted = AUTO_INDICES if index == "auto" else (index,)
    possible = [name for name in wanted if common.issuperset(indices.bands_of([name]))]
    if not possible or "scl" not in common:
        needed = ", ".join((*indices.bands_of([wanted[-1]]), "scl"))
        raise InputError(
            f"index {index} needs {needed}; all scenes of the source have only "
            f"{', '.join(sorted(common)) or 'nothing in common'}: choose another index or source"
        )
    witness = WITNESSES.get(possible[0]) if canopy else None
    if witness is not None and not common.issuperset(indices.bands_of([witness])):
        witness = None
    further = tuple(name for name in also if common.issuperset(indices.bands_of([name])))
    names = [possible[0], *(() if witness is None else (witness,)), *further]
    bands = [*indices.bands_of(names), "scl"]
    if canopy and common.issuperset(masks.VEIL_BANDS):
        bands += [band for band in masks.VEIL_BANDS if band not in bands]
    return tasks.Observing(
        index=possible[0],
        bands=tuple(bands),
        witness=witness,
        canopy=canopy,
        also=further,
        cloud_guard=place.cloud_guard,
        access=place.access,
    )


def watched(job: ForestPipeline, days: Sequence[cube.SolarDay], place: Place) -> tasks.Observing:
    """Settle what watches a forest: the index of removal and, where asked, those of health.

    Raises
    ------
    InputError
        The scenes lack the bands.
    """
    health = tuple(change.HEALTH) if job.monitor.health else ()
    how = observing(job.monitor.index, days, place, canopy=True, also=health)
    if how.also != health:
        common = common_bands(days)
        raise InputError(
            f"monitor.health needs {', '.join(indices.bands_of(health))}; all scenes of the source "
            f"have only {', '.join(sorted(common))}: set health = false, or choose another source"
        )
    return how
