"""The farmland of one block: where the fields are, and their NDVI by district and date."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from lesniva import aoi, composites, cube, indices, masks, zonal
from lesniva.tasks.files import save_array, save_table
from lesniva.tasks.observing import BlockReport, Observations, Observing, observe

WINTER_SPLIT = ((4, 1), (5, 10))
"""From 1 April to 10 May winter crops are green and summer crops are not there yet."""

WINTER_GREEN = 0.42
"""Median NDVI in that time above which a field carries a winter crop."""


@dataclass(frozen=True)
class Map:
    """A map of where something grows, that the user gives."""

    path: Path
    """Raster of classes, or parcels."""
    values: tuple[int, ...] | None
    """Classes of the raster that count; None for parcels."""
    sha256: str
    """Of the file: another map makes another result."""


def _mapped(given: Map, geobox: GeoBox, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    if given.values is None:
        shapes, _ = aoi.read_vector(given.path, "parcel file")
        return inside & masks.parcels(shapes, geobox)
    return inside & masks.cropland(given.path, geobox, values=given.values)


def cropland_block(
    *,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    how: Observing,
    given: Map | None,
    out: Path,
) -> BlockReport:
    """Find the cropland of one block and write it as a bool array (y, x).

    Parameters
    ----------
    days
        Solar days from April to October of the seasons that show what is tilled; not needed with a
        map.
    given
        The user's map; None derives the mask from the NDVI of `days`.
    out
        ``.npy`` file.
    """
    inside = aoi.inside(block, grid)
    if given is not None:
        save_array(out, _mapped(given, block.geobox, inside))
        return BlockReport(paths={"cropland": out})
    observed = observe(days, block.geobox, how, inside=inside)
    years = observed.dates.astype("datetime64[Y]")
    if not observed.days:
        return observed.report()
    ranges = [
        composites.percentile_range(observed.stack[years == year], low=0.1, high=0.9)
        for year in np.unique(years)
    ]
    low, high = (np.array([indices.from_scaled(each[side]) for each in ranges]) for side in (0, 1))
    out = observed.result_path(out)
    save_array(out, inside & masks.cropland_from_seasons(low, high))
    return observed.report(cropland=out)


def season_block(
    *,
    block: aoi.Block,
    days: Sequence[cube.SolarDay],
    year: int,
    how: Observing,
    cropland: Path,
    crops: Mapping[str, Map],
    districts: gpd.GeoDataFrame,
    out: Path,
) -> BlockReport:
    """Sum the NDVI of one block and season by district, cover and date, into a Parquet file.

    Parameters
    ----------
    days
        Solar days of the season, rising.
    year
        Harvest year.
    cropland
        What `cropland_block` wrote.
    crops
        Crop → the user's map of it; a cover of that name.
    districts
        ``adm_id`` and geometry.
    out
        ``.parquet`` file with the rows of `zonal.sums` for the covers ``cropland``, ``winter`` and
        ``summer``, and those of `crops`; winter and summer only where scenes from 1 April to 10 May
        tell them apart.
    """
    tilled = np.load(cropland)
    everywhere = np.ones(block.geobox.shape, dtype=bool)
    own = {crop: _mapped(given, block.geobox, everywhere) for crop, given in crops.items()}
    observed = observe(
        days, block.geobox, how, inside=np.logical_or.reduce([tilled, *own.values()])
    )
    covers = {"cropland": tilled, **_split(observed, tilled, year), **own}
    zones = zonal.zones(districts, block.geobox)
    sums = zonal.sums(zones, observed.stack, observed.dates, covers, also=observed.also)
    if not observed.days:
        return observed.report()
    out = observed.result_path(out)
    save_table(out, sums)
    return observed.report(season=out)


def _split(
    observed: Observations, tilled: npt.NDArray[np.bool_], year: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """Tell winter from summer crops by the spring's NDVI; nothing without scenes of that time."""
    first, last = (np.datetime64(f"{year}-{month:02d}-{day:02d}") for month, day in WINTER_SPLIT)
    spring = np.flatnonzero((observed.dates >= first) & (observed.dates <= last))
    if not len(spring):
        return {}
    value, count = composites.composite(observed.stack, spring)
    green = indices.from_scaled(value) > WINTER_GREEN
    told = count > 0
    return {"winter": tilled & told & green, "summer": tilled & told & ~green}
