"""Scenes become observations: what every task begins with."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from lesniva import cube, indices, masks
from lesniva.conventions import Scl
from lesniva.errors import UnreadableSceneError

HALO = 1
"""Pixels around a block that its detector sees, so that blocks leave no seam."""

INSIDE = {"y": slice(HALO, -HALO), "x": slice(HALO, -HALO)}
"""The block without its halo."""

READ_THREADS = 4
"""Days a task reads at the same time: decoding one overlaps with waiting for another."""


@dataclass(frozen=True)
class Observing:
    """How scenes become observations; the same for all blocks of a job."""

    index: str
    """Name of the index."""
    bands: tuple[str, ...]
    """What to read: the index's bands, ``scl`` and, over forest, those of the witness, the haze
    test and the test of snow where all scenes have them."""
    witness: str | None = None
    """Name of the index that bears witness (`change.start`)."""
    canopy: bool = False
    """Whether forest is looked at: snow is told, and haze where there are the bands."""
    winter: bool = False
    """Whether the brightness of scenes of the snow season is kept (`change.start`)."""
    cloud_guard: float = 0.0
    """Pixels around clouds and their shadows that are not used either."""
    also: tuple[str, ...] = ()
    """Further indices of the same observations."""
    access: cube.Access = field(default_factory=cube.Access, repr=False)
    """How the files are opened; does not change what is in them."""


@dataclass(frozen=True)
class BlockReport:
    """What a task says when it is done."""

    observed: int = 0
    """Days that were read."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Scene ids → why they could not be read."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """Files written, by what they hold."""
    red: Mapping[str, cube.RedLook] = field(default_factory=dict)
    """Scene ids → what their red looks like in this block; of scenes that share a day, together."""


@dataclass(frozen=True)
class Observations:
    """An index stack, and what went into it."""

    stack: npt.NDArray[np.int16]
    """(time, y, x) index × `INDEX_SCALE`, missing `NODATA_INT16`."""
    days: tuple[cube.SolarDay, ...]
    """The slices."""
    unreadable: Mapping[str, str]
    reached: npt.NDArray[np.uint8]
    """(time, n) packed bits: the pixels where a slice has data, clear or not."""
    red: Mapping[str, cube.RedLook]
    """Scene ids → what their red looks like; empty where red was not read."""
    witness: npt.NDArray[np.int16]
    """(time, y, x) as `stack`, of the index that bears witness; (0, y, x) without one."""
    white: npt.NDArray[np.uint8]
    """(time, n) packed bits: snow."""
    told: npt.NDArray[np.uint8]
    """(time, n) packed bits: snow, or clear ground without."""
    bright: npt.NDArray[np.int16]
    """(k, y, x) brightness of the slices of the snow season, missing `NODATA_INT16`."""
    bright_places: npt.NDArray[np.int64]
    """(k) the slices that `bright` belongs to."""
    also: Mapping[str, npt.NDArray[np.int16]] = field(default_factory=dict)
    """Further indices, each as `stack`."""

    def report(self, **paths: Path) -> BlockReport:
        """Say what was read, and which files came of it."""
        return BlockReport(len(self.days), self.unreadable, paths, self.red)

    def result_path(self, out: Path) -> Path:
        """By another name when scenes are missing, so that the result is made again."""
        return out.with_suffix(f".partial{out.suffix}") if self.unreadable else out

    def covered(self, place: int | None = None) -> npt.NDArray[np.bool_]:
        """(y, x) True where a slice, or any slice, has data."""
        bits = np.bitwise_or.reduce(self.reached) if place is None else self.reached[place]
        return self._plane(bits)

    def open_land(self, land: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """(time, 2) pixels of open land, without the halo, that a slice tells of, and with snow."""
        inside = np.zeros_like(land)
        inside[HALO:-HALO, HALO:-HALO] = land[HALO:-HALO, HALO:-HALO]
        bits = np.packbits(inside)
        both = np.stack([self.told & bits, self.white & bits], axis=1)
        return np.asarray(np.bitwise_count(both).sum(axis=-1, dtype=np.int64))

    def _plane(self, bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        height, width = self.stack.shape[1:]
        return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """``datetime64[D]`` of the slices."""
        return np.array([day.date for day in self.days], dtype="datetime64[D]")


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
    also = {name: np.empty_like(stack) for name in how.also}
    red: dict[str, cube.RedLook] = {}
    witness = np.empty((len(days) if how.witness else 0, *geobox.shape), dtype=np.int16)
    n_bytes = -(-geobox.shape[0] * geobox.shape[1] // 8)
    row_of = {place: row for row, place in enumerate(_winter_places(days, how))}
    bright = np.empty((len(row_of), *geobox.shape), dtype=np.int16)
    reached, white, told = (np.zeros((len(days), n_bytes), dtype=np.uint8) for _ in range(3))

    def one(place: int) -> str | None:
        try:
            bands, near_cloud = _read(days[place], geobox, how)
        except UnreadableSceneError as error:
            return str(error)
        clear = usable(bands) & ~near_cloud
        if how.canopy:
            snow = masks.snow(bands)
            white[place] = np.packbits(snow)
            told[place] = np.packbits(clear | snow)
            clear &= ~snow
        clear &= inside
        for name, values in {how.index: stack, **also}.items():
            indices.scaled(name, bands, clear, values[place])
        if how.witness:
            indices.scaled(how.witness, bands, clear, witness[place])
        if place in row_of:
            masks.brightness(bands, inside & ~near_cloud, bright[row_of[place]])
        reached[place] = np.packbits(bands["scl"] != Scl.NO_DATA)
        if "red" in bands:
            red.update(dict.fromkeys(days[place].ids, cube.look(bands["red"], bands["scl"])))
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
    if not readable.all():
        stack, reached, white, told = (each[readable] for each in (stack, reached, white, told))
        witness = witness[readable] if how.witness else witness
        also = {name: values[readable] for name, values in also.items()}
        bright = bright[readable[np.array(list(row_of), dtype=np.int64)]]
    places = _winter_places(seen, how)
    return Observations(
        stack, seen, unreadable, reached, red, witness, white, told, bright, places, also
    )


def _winter_places(days: Sequence[cube.SolarDay], how: Observing) -> npt.NDArray[np.int64]:
    """Slices of the snow season, by the calendar: the same for all blocks."""
    first, last = masks.WINTER
    dates = np.array([day.date for day in days], dtype="datetime64[D]")
    return np.flatnonzero(~masks.in_season(dates, season=(last + 1, first - 1)) & how.winter)


def _read(
    day: cube.SolarDay, geobox: GeoBox, how: Observing
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_]]:
    """Read a day's bands and tell what is near a cloud, also one beyond the edge of the block."""
    if not how.cloud_guard:
        bands = cube.read_day(day, geobox, how.bands, access=how.access)
        return bands, np.zeros(geobox.shape, dtype=bool)
    margin = math.ceil(how.cloud_guard)
    wide = cube.read_day(day, geobox.pad(margin), ("scl",), access=how.access)["scl"]
    others = [band for band in how.bands if band != "scl"]
    bands = cube.read_day(day, geobox, others, access=how.access)
    inner = (slice(margin, -margin), slice(margin, -margin))
    near = masks.near_cloud(wide, how.cloud_guard)[inner]
    return {**bands, "scl": np.ascontiguousarray(wide[inner])}, near


def usable(bands: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Tell where a pixel shows the ground: no cloud, no shadow; no haze where bands tell."""
    seen = masks.clear(bands["scl"], blue=bands.get("blue"))
    if all(band in bands for band in masks.VEIL_BANDS):
        seen &= ~masks.veiled(bands)
    return seen
