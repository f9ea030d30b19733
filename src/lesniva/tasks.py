"""What is done to one block: the work of a Dask task, stages joined.

Each task reads its own scenes, keeps its memory within the block, writes its result whole, and
returns a few numbers. `pipeline` says in which order tasks run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox

from lesniva import aoi, change, composites, cube, indices, ledger, masks, zonal
from lesniva.conventions import NODATA_INT16, Status, from_day_number
from lesniva.errors import UnreadableSceneError
from lesniva.storage import whole_file

HALO = 1
"""Pixels around a block that its detector sees, so that blocks leave no seam."""

READ_THREADS = 4
"""Days a task reads at the same time: decoding one overlaps with waiting for another."""

INSIDE = {"y": slice(HALO, -HALO), "x": slice(HALO, -HALO)}
"""The block without its halo."""

WINTER_SPLIT = ((4, 1), (5, 10))
"""From 1 April to 10 May winter crops are green and summer crops are not there yet."""

WINTER_GREEN = 0.42
"""Median NDVI in that time above which a field carries a winter crop."""


@dataclass(frozen=True)
class Observing:
    """How scenes become observations; the same for all blocks of a job."""

    index: str
    """Name of the index."""
    bands: tuple[str, ...]
    """What to read: the index's bands, ``scl``, and those of the haze test where all scenes have
    them."""
    gdal_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockReport:
    """What a task says when it is done."""

    observed: int = 0
    """Days that were read."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Scene ids → why they could not be read."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """Files written, by what they hold."""


@dataclass(frozen=True)
class Observations:
    """An index stack, and what went into it."""

    stack: npt.NDArray[np.int16]
    """(time, y, x) index × `INDEX_SCALE`, missing `NODATA_INT16`."""
    days: tuple[cube.SolarDay, ...]
    """The slices."""
    unreadable: Mapping[str, str]

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """``datetime64[D]`` of the slices."""
        return np.array([day.date for day in self.days], dtype="datetime64[D]")

    def between(self, first: np.datetime64 | None, last: np.datetime64 | None) -> "Observations":
        """Keep the slices after `first` and up to `last`."""
        dates = self.dates
        keep = np.ones(len(dates), dtype=bool)
        if first is not None:
            keep &= dates > first
        if last is not None:
            keep &= dates <= last
        days = tuple(day for day, kept in zip(self.days, keep, strict=True) if kept)
        return Observations(self.stack[keep], days, self.unreadable)


def observe(
    days: Sequence[cube.SolarDay],
    geobox: GeoBox,
    how: Observing,
    *,
    inside: npt.NDArray[np.bool_],
) -> Observations:
    """Read solar days and compute the index of their clear observations.

    Parameters
    ----------
    days
        Rising.
    geobox
        Grid of the block.
    how
        What to compute from what.
    inside
        (y, x) bool: pixels outside are missing, whatever the scenes show there.

    Returns
    -------
    Observations
        Days whose scenes cannot be read are left out and named.
    """
    stack = np.empty((len(days), *geobox.shape), dtype=np.int16)

    def one(place: int) -> str | None:
        try:
            bands = cube.read_day(days[place], geobox, how.bands, gdal_options=how.gdal_options)
        except UnreadableSceneError as error:
            return str(error)
        indices.scaled(how.index, bands, _usable(bands) & inside, stack[place])
        return None

    with ThreadPoolExecutor(READ_THREADS) as pool:
        faults = list(pool.map(one, range(len(days))))
    readable = np.array([fault is None for fault in faults], dtype=bool)
    unreadable = {
        name: fault
        for day, fault in zip(days, faults, strict=True)
        if fault is not None
        for name in day.ids
    }
    seen = tuple(day for day, good in zip(days, readable, strict=True) if good)
    return Observations(stack if readable.all() else stack[readable], seen, unreadable)


def _usable(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    usable = masks.clear(bands["scl"], blue=bands.get("blue"))
    if all(band in bands for band in masks.VEIL_BANDS):
        usable &= ~masks.veiled(bands)
    return usable


def monitor_block(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    seen: Sequence[str] | None,
    how: Observing,
    history_end: np.datetime64,
    profile: str,
    forest: Path | None,
    min_cover: float,
) -> BlockReport:
    """Bring the forest monitor of one block up to date and commit its state.

    Parameters
    ----------
    days
        All solar days of the vegetation season over the block, rising; those in `seen` are not read again, unless a scene
        comes late: then the block is replayed from its history.
    seen
        Ids of the scenes that the block's state has; None when there is no state yet.
    """
    known = set(seen or ())
    new = [day for day in days if not known.issuperset(day.ids)]
    if not new:
        return BlockReport()
    halo = replace(block, geobox=block.padded(HALO))
    inside = aoi.inside(halo, grid)
    if forest is not None:
        inside &= masks.forest(forest, halo.geobox, min_cover=min_cover)
    state = None if seen is None else ledger.read_block(book, block.key)
    if state is not None:
        observed = observe(new, halo.geobox, how, inside=inside)
        if _comes_late(observed.dates, state):
            state = None
    if state is None:
        observed = observe(days, halo.geobox, how, inside=inside)
        state = _begin(
            observed.between(None, history_end),
            how.index,
            inside,
            profile=profile,
            forest_is_known=forest is not None,
        )
        known = {name for day in observed.days for name in day.ids}
    fresh = observed.between(max(history_end, _last_day(state)), None)
    if fresh.days:
        state = change.update(state, _labelled(fresh), fresh.dates, options=profile)
    known.update(name for day in observed.days for name in day.ids)
    ledger.write_block(book, block.key, state, scenes=sorted(known))
    return BlockReport(len(observed.days), observed.unreadable)


def _comes_late(dates: npt.NDArray[np.datetime64], state: xr.Dataset) -> bool:
    return bool((dates <= _last_day(state)).any())


def _last_day(state: xr.Dataset) -> np.datetime64:
    return np.datetime64(from_day_number([state.attrs["last_day"]])[0])


def _begin(
    history: Observations,
    index: str,
    inside: npt.NDArray[np.bool_],
    *,
    profile: str,
    forest_is_known: bool,
) -> xr.Dataset:
    """Fit the history of a block and start its monitor."""
    if not forest_is_known:
        low, _ = composites.percentile_range(history.stack, low=0.2, high=0.8)
        inside = inside & masks.forest_from_history(index, indices.from_scaled(low))
        history = replace(history, stack=np.where(inside, history.stack, NODATA_INT16))
    model = change.fit(_labelled(history), history.dates)
    status = np.where(inside, model["status"].values, np.uint8(Status.NOT_FOREST))
    model["status"] = model["status"].copy(data=status)
    falls = indices.INDICES[index].falls_with_damage
    return change.start(model, channel=index, decrease=falls, options=profile)


def _labelled(observed: Observations) -> xr.DataArray:
    return xr.DataArray(observed.stack, dims=("time", "y", "x"))


def cropland_block(
    *,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    how: Observing,
    mask: Path | None,
    values: Sequence[int],
    out: Path,
) -> BlockReport:
    """Find the cropland of one block and write it as a bool array (y, x).

    Parameters
    ----------
    days
        Solar days from April to October of the seasons that show what is tilled; not needed with a
        `mask`.
    mask, values
        Class raster and its classes of cropland; None derives the mask from the NDVI of `days`.
    out
        ``.npy`` file.
    """
    inside = aoi.inside(block, grid)
    if mask is not None:
        _save(out, inside & masks.cropland(mask, block.geobox, values=values))
        return BlockReport(paths={"cropland": out})
    observed = observe(days, block.geobox, how, inside=inside)
    years = observed.dates.astype("datetime64[Y]")
    ranges = [
        composites.percentile_range(observed.stack[years == year], low=0.1, high=0.9)
        for year in np.unique(years)
    ]
    low, high = (np.array([indices.from_scaled(each[side]) for each in ranges]) for side in (0, 1))
    out = _name_of(out, observed)
    _save(out, inside & masks.cropland_from_seasons(low, high))
    return BlockReport(len(observed.days), observed.unreadable, {"cropland": out})


def season_block(
    *,
    block: aoi.Block,
    days: Sequence[cube.SolarDay],
    year: int,
    how: Observing,
    cropland: Path,
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
    districts
        ``adm_id`` and geometry.
    out
        ``.parquet`` file with the rows of `zonal.sums` for the covers ``cropland``, ``winter`` and
        ``summer``; the last two only where scenes from 1 April to 10 May tell them apart.
    """
    tilled = np.load(cropland)
    observed = observe(days, block.geobox, how, inside=tilled)
    covers = {"cropland": tilled, **_split(observed, tilled, year)}
    sums = zonal.sums(zonal.zones(districts, block.geobox), observed.stack, observed.dates, covers)
    out = _name_of(out, observed)
    with whole_file(out) as temporary:
        sums.to_parquet(temporary, index=False)
    return BlockReport(len(observed.days), observed.unreadable, {"season": out})


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


def composite_block(
    *,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    how: Observing,
    statistic: composites.Statistic,
    out: Path,
) -> BlockReport:
    """Reduce solar days of one block to one value a pixel: a ``.npy`` file (y, x) of int16."""
    observed = observe(days, block.geobox, how, inside=aoi.inside(block, grid))
    value, _ = composites.composite(
        observed.stack, np.arange(len(observed.days)), statistic=statistic
    )
    out = _name_of(out, observed)
    _save(out, value)
    return BlockReport(len(observed.days), observed.unreadable, {"composite": out})


def _name_of(out: Path, observed: Observations) -> Path:
    """Where a result goes: under another name when scenes are missing, so that it is made again."""
    return out.with_suffix(f".partial{out.suffix}") if observed.unreadable else out


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with whole_file(path) as temporary:
        np.save(temporary, array)


def digest(*parts: Any) -> str:
    """Fingerprint of what a result depends on, short enough to name the result's file."""
    text = json.dumps(parts, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
