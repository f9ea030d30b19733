"""Where and what: the area with its blocks, the scenes over them, and the bands to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import geopandas as gpd
import pystac
import shapely
from rasterio.warp import transform_bounds

from lesniva import aoi, cube, indices, masks, sources, tasks
from lesniva.config import Pipeline
from lesniva.errors import InputError
from lesniva.pipeline.running import Report, stage

AUTO_INDICES = ("nbr", "ndmi", "ndvi")
"""What ``index = "auto"`` tries, best first: removal of canopy shows most in NBR."""


@dataclass(frozen=True)
class Place:
    """An area with its grids and blocks."""

    area: aoi.Area
    grids: tuple[aoi.Grid, ...]
    blocks: tuple[aoi.Block, ...]

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
    box = block.geobox.boundingbox
    footprint = shapely.box(*transform_bounds(str(block.geobox.crs), "EPSG:4326", *box))
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
    return Place(area, tuple(grids), tuple(blocks))


def search(job: Pipeline, area: aoi.Area) -> list[pystac.Item]:
    """Scenes of a job, rising in time."""
    asked = job.source.model_dump(exclude_none=True)
    return sources.search(**asked, area=area.outline, start=job.period.start, end=job.period.end)


def find(job: Pipeline, report: Report) -> tuple[Place, list[cube.SolarDay]]:
    """Area, blocks and solar days of a job."""
    with stage(report, "area"):
        place = place_of(job)
    with stage(report, "search"):
        items = search(job, place.area)
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


def observing(index: str, days: Sequence[cube.SolarDay]) -> tasks.Observing:
    """Settle the index by the bands that all scenes have, and add what the haze test needs.

    Raises
    ------
    InputError
        The scenes lack the bands.
    """
    common = set.intersection(*(set(scene.files) for day in days for scene in day.scenes))
    wanted = AUTO_INDICES if index == "auto" else (index,)
    possible = [name for name in wanted if common.issuperset(indices.bands_of([name]))]
    if not possible or "scl" not in common:
        needed = ", ".join((*indices.bands_of([wanted[-1]]), "scl"))
        raise InputError(
            f"index {index} needs {needed}; all scenes of the source have only "
            f"{', '.join(sorted(common)) or 'nothing in common'}: choose another index or source"
        )
    bands = [*indices.bands_of([possible[0]]), "scl"]
    if common.issuperset(masks.VEIL_BANDS):
        bands += [band for band in masks.VEIL_BANDS if band not in bands]
    return tasks.Observing(index=possible[0], bands=tuple(bands))
