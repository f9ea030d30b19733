"""What is done to one block: the work of a Dask task, stages joined.

Each task reads its own scenes, keeps its memory within the block, writes its result whole, and
returns a few numbers. `pipeline` says in which order tasks run.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from scipy.ndimage import find_objects

from lesniva import alerts, aoi, change, composites, cube, indices, ledger, masks, zonal
from lesniva.conventions import NODATA_INT16, Coverage, Scl, Status, from_day_number
from lesniva.errors import UnreadableSceneError
from lesniva.storage import whole_file

HALO = 1
"""Pixels around a block that its detector sees, so that blocks leave no seam."""

READ_THREADS = 4
"""Days a task reads at the same time: decoding one overlaps with waiting for another."""

INSIDE = {"y": slice(HALO, -HALO), "x": slice(HALO, -HALO)}
"""The block without its halo."""

N_STRATA = len(change.AMPLITUDE_EDGES) + 1
"""Strata of equal seasonality that scenes are corrected by."""

COUNTS = {
    "residuals": ("time", "stratum", "residual_bin"),
    "z": ("time", "stratum", "z_bin"),
    "sigma": ("time", "stratum", "sigma_bin"),
}
"""Statistics of scenes (`change.scene_residuals`, one scene at a time) and their dims."""

OF_SCENE = ("rejected", "reason", "valid_share", "median_z", "anomalous_share", "snow_share")
"""Columns of the corrections that are the same for all strata of a scene."""

MIN_OPEN_PIXELS = 30
"""Fewer pixels of open land say nothing of snow."""

OUT_OF_SEASON = "out of season: snow on open land, or the weeks around it"
"""Why a scene is passed over; see `masks.snow_free_season`."""

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


@dataclass(frozen=True)
class Watching:
    """How a forest is watched; the same for all blocks of a job."""

    how: Observing
    history_end: np.datetime64
    """Last day of the history."""
    profile: str
    """Key of `change.PROFILES`."""
    cover: Path | None
    """Raster of tree cover; without one the history tells what is forest."""
    min_cover: float
    """Least tree cover of a forest pixel, per cent."""
    by_scene: bool = True
    """Whether the scenes tell the season; else all days lie in the one that the user gave."""


def read_history(
    *,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    watching: Watching,
    out: Path,
) -> BlockReport:
    """Read the history of a block, and count the snow on its open land.

    Parameters
    ----------
    days
        Solar days of the history, rising.
    out
        ``.npz`` file for `survey_history` and `fit_history`.
    """
    halo = replace(block, geobox=block.padded(HALO))
    inside = watched = aoi.inside(halo, grid)
    if watching.cover is not None:
        watched = inside & masks.forest(watching.cover, halo.geobox, min_cover=watching.min_cover)
    observed = observe(days, halo.geobox, watching.how, inside=watched)
    if not observed.days:
        return observed.report()
    if watching.cover is None:
        green = np.flatnonzero(masks.in_season(observed.dates))
        low, _ = composites.percentile_range(observed.stack[green], low=0.2, high=0.8)
        watched = watched & masks.forest_from_history(watching.how.index, indices.from_scaled(low))
        observed.stack[:, ~watched] = NODATA_INT16
        observed.witness[:, ~watched] = NODATA_INT16
        observed.bright[:, ~watched] = NODATA_INT16
    saved = _save_observed(
        out,
        observed,
        reached=observed.reached,
        watched=watched,
        covered=observed.covered(),
        open_land=observed.open_land(inside & ~watched),
    )
    return observed.report(history=saved)


def survey_history(*, history: Path, scenes: Path, watching: Watching, out: Path) -> BlockReport:
    """Fit the history of a block once, and count how each scene of the season departs from that.

    Parameters
    ----------
    history
        What `read_history` wrote.
    scenes
        Table of `seasons`.
    out
        ``.npz`` file with the counts for `corrections`, and the strata for `fit_history`; not
        written for a block without a scene in the season.
    """
    observed = _read_observed(history, scenes)
    if not len(observed.dates):
        return BlockReport()
    model, witness = _models(observed.stack, observed.witness, observed.dates)
    strata = change.amplitude_strata(change.seasonal_amplitude(model))
    counts = _count_all(observed, model, witness, strata, watching)
    with whole_file(out) as temporary:
        np.savez(temporary, dates=observed.dates, strata=strata.values, **counts)  # type: ignore[arg-type]
    return BlockReport(paths={"survey": out})


def fit_history(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    history: Path,
    survey: Path,
    scenes: Path,
    corrections: Path,
    watching: Watching,
) -> BlockReport:
    """Fit the history of a block once its scenes are corrected, and commit the monitor's start."""
    observed = _read_observed(history, scenes)
    with np.load(survey) as saved:
        strata = _plane(saved["strata"])
    with np.load(history) as saved:
        names, watched, covered = saved["scenes"], saved["watched"], saved["covered"]
        snowy = _snowy(saved["dates"][saved["bright_places"]], scenes)
        bright = saved["bright"][snowy] if watching.how.winter else None
    shifts = read_corrections(corrections, observed.dates)
    stack = change.corrected(_labelled(observed.stack), strata, shifts)
    other = observed.witness
    if len(other):
        of_witness = shifts.assign(offset=shifts["witness_offset"])
        other = change.corrected(_labelled(other), strata, of_witness).values
    model, witness = _models(stack.values, other, observed.dates)
    status = np.where(watched, model["status"].values, np.uint8(Status.NOT_FOREST))
    status[~covered] = Status.NO_DATA
    model["status"] = model["status"].copy(data=status)
    index = indices.INDICES[watching.how.index]
    state = change.start(
        model,
        channel=index.name,
        decrease=index.falls_with_damage,
        options=watching.profile,
        witness=witness,
        snow=bright,
    )
    seen = ledger.Seen(frozenset(names.tolist()), watching.history_end)
    ledger.write_block(book, block.key, state, seen=seen)
    history.unlink()
    survey.unlink()
    return BlockReport()


def _snowy(dates: npt.NDArray[np.datetime64], scenes: Path) -> npt.NDArray[np.bool_]:
    """Which dates have open land under snow nearly everywhere."""
    share = pd.read_parquet(scenes)["snow_share"]
    return share.loc[pd.DatetimeIndex(dates)].to_numpy() >= masks.SNOWY_SHARE


def _models(
    stack: npt.NDArray[np.int16],
    witness: npt.NDArray[np.int16],
    dates: npt.NDArray[np.datetime64],
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Model of the index and of the witness, where there is one."""
    model = change.fit(_labelled(stack), dates)
    return model, change.fit(_labelled(witness), dates) if len(witness) else None


def read_new(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    watching: Watching,
    out: Path,
) -> BlockReport:
    """Read the new days of a block, and count how each scene departs from the model.

    Parameters
    ----------
    days
        Solar days after the last one the state has seen, rising.
    out
        ``.npz`` file for `update_monitor`.
    """
    state = ledger.read_block(book, block.key)
    status = state["status"].values
    halo = replace(block, geobox=block.padded(HALO))
    observed = observe(days, halo.geobox, watching.how, inside=status < Status.NOT_FOREST)
    if not observed.days:
        return observed.report()
    strata = change.amplitude_strata(change.seasonal_amplitude(state))
    more = {}
    if "snow_sigma" in state:
        bright = observed.bright[:, HALO:-HALO, HALO:-HALO]
        more["snow_count"] = change.snow_counts(state.isel(INSIDE), bright)
    saved = _save_observed(
        out,
        observed,
        **more,
        strata=strata.values,
        open_land=observed.open_land(aoi.inside(halo, grid) & (status == Status.NOT_FOREST)),
        **_count_all(observed, state, _witness_model(state), strata, watching),
    )
    return observed.report(new=saved)


def _witness_model(state: xr.Dataset) -> xr.Dataset | None:
    """Model of the witness in a state, in the shape of a model."""
    if "witness_sigma" not in state:
        return None
    return state[["status"]].assign(
        coefficients=state["witness_coefficients"],
        sigma=state["witness_sigma"],
        status=state["status"].where(state["witness_sigma"] > 0, Status.TOO_FEW_OBSERVATIONS),
    )


def update_monitor(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    seen: ledger.Seen,
    new: Path,
    scenes: Path,
    corrections: Path,
    watching: Watching,
) -> BlockReport:
    """Feed the monitor of a block with its new days, and commit its state."""
    with np.load(new) as saved:
        stack, strata = _labelled(saved["stack"]), _plane(saved["strata"])
        witness = _labelled(saved["witness"]) if len(saved["witness"]) else None
        dates, names = saved["dates"], saved["scenes"]
        snow_time = dates[saved["bright_places"]]
        snowy = _snowy(snow_time, scenes)
        snow, snow_time = _labelled(saved["bright"][snowy]), snow_time[snowy]
    shifts = read_corrections(corrections, dates)
    offsets = pd.read_parquet(scenes)["snow_offset"].loc[pd.DatetimeIndex(snow_time)]
    state = change.update(
        ledger.read_block(book, block.key),
        stack,
        dates,
        corrections=shifts,
        strata=strata,
        options=watching.profile,
        witness=witness,
        witness_corrections=shifts.assign(
            offset=shifts["witness_offset"], noise=shifts["witness_noise"]
        ),
        snow=snow,
        snow_time=snow_time,
        snow_offset=offsets.to_numpy(),
    )
    now = ledger.Seen(seen.scenes | frozenset(names.tolist()), dates[-1])
    ledger.write_block(book, block.key, state, seen=now)
    new.unlink()
    return BlockReport()


def findings_block(
    *, book: ledger.Ledger, block: aoi.Block, version: str, as_of: np.datetime64, out: Path
) -> BlockReport:
    """Write what the monitor says of a block, without its halo, as an ``.npz`` file.

    Parameters
    ----------
    version
        Fingerprint of what the state has seen: it names the file, so that another state makes
        another file.
    as_of
        Day of the last scene of the area: what it has left unconfirmed for long is not shown.
    out
        Arrays (y, x) of `change.events`, the probability in ``percent``, 0 without evidence, and
        ``n_obs``: the clear observations that the pixel's model stands on, missing outside forest.
    """
    del version
    state = ledger.read_block(book, block.key)
    events = change.events(state, halo=INSIDE, as_of=as_of)
    # log-odds of 0 are "no evidence", not "fifty-fifty"
    found = {str(name): variable.values for name, variable in events.data_vars.items()}
    probability = found["probability"]
    found["percent"] = np.where(probability == 0.5, 0.0, 100 * probability)
    found["n_obs"] = _count_of_history(state)
    with whole_file(out) as temporary:
        np.savez(temporary, **found)  # type: ignore[arg-type]
    return BlockReport(paths={"findings": out})


def _count_of_history(state: xr.Dataset) -> npt.NDArray[np.float32]:
    inside = state[["n_history", "status"]].isel(INSIDE)
    outside = inside["status"].isin([int(Status.NOT_FOREST), int(Status.NO_DATA)])
    counts: npt.NDArray[np.float32] = inside["n_history"].astype(np.float32).where(~outside).values
    return counts


WHY_NOT_CLEAR = {
    Coverage.CLOUD: (Scl.CLOUD_MEDIUM, Scl.CLOUD_HIGH, Scl.THIN_CIRRUS),
    Coverage.SHADOW: (Scl.CLOUD_SHADOW, Scl.DARK_AREA),
    Coverage.SNOW: (Scl.SNOW_OR_ICE,),
}
"""Reasons why a pixel is not clear, by what the scene classification says."""


def coverage_block(
    *,
    block: aoi.Block,
    days: Sequence[cube.SolarDay],
    findings: Path,
    since: np.datetime64,
    how: Observing,
    out: Path,
) -> BlockReport:
    """Say of each pixel whether it was seen clear lately, and if not, why: a ``.npy`` file.

    Parameters
    ----------
    days
        Solar days from `since` on.
    findings
        File of `findings_block`.
    since
        First day that counts as lately.
    out
        (y, x) uint8 `Coverage`. Where several scenes reach a pixel that was never clear, the last
        one gives the reason; one that the masks let pass was rejected as a whole.
    """
    with np.load(findings) as saved:
        status, last = saved["status"], from_day_number(saved["last_observed"])
    covered = np.full(status.shape, Coverage.NO_ACQUISITION, dtype=np.uint8)
    unreadable: dict[str, str] = {}
    for day in days:
        try:
            scl = cube.read_day(day, block.geobox, ("scl",), access=how.access)["scl"]
        except UnreadableSceneError as error:
            unreadable |= dict.fromkeys(day.ids, str(error))
            continue
        reason = np.full(scl.shape, Coverage.SCENE_REJECTED, dtype=np.uint8)
        for why, classes in WHY_NOT_CLEAR.items():
            reason[np.isin(scl, [int(each) for each in classes])] = why
        np.copyto(covered, reason, where=scl != Scl.NO_DATA)
    covered[last >= since] = Coverage.CLEAR
    unwatched = status >= Status.NOT_FOREST
    covered[unwatched] = status[unwatched]
    out = out.with_suffix(f".partial{out.suffix}") if unreadable else out
    _save(out, covered)
    return BlockReport(max(len(days), 1), unreadable, {"coverage": out})


def spectra_block(
    *,
    block: aoi.Block,
    outlines: Mapping[str, str],
    days: Sequence[cube.SolarDay],
    wanted: Sequence[tuple[str, int]],
    how: Observing,
    out: Path,
) -> BlockReport:
    """Add up the reflectance of alerts in a block: a Parquet file of `alerts.sums` by ``date``.

    What an earlier file of the block has is taken from there, so that a night reads no more than
    its new scenes over the ground of alerts, and some days for each new alert.

    Parameters
    ----------
    outlines
        Alert id → outline in the CRS of the block, as hexadecimal WKB.
    days
        Solar days over the block.
    wanted
        Alert id and place in `days` of each scene that shows its change (`alerts.days_to_read`).
    """
    asked = pd.DataFrame(list(wanted), columns=["alert_id", "place"])
    asked["date"] = pd.to_datetime([str(days[place].date) for place in asked["place"]])
    asked["outline"] = [digest(outlines[name]) for name in asked["alert_id"]]
    keys = ["alert_id", "outline", "date"]
    known = pd.concat([asked[keys].iloc[:0], *map(pd.read_parquet, _earlier(out))])
    known = known.drop_duplicates(keys).merge(asked[keys], on=keys)
    new = asked.merge(known[keys], on=keys, how="left", indicator="from")
    new = new[new["from"] == "left_only"]
    burnt = alerts.labels(shapely.from_wkb(list(outlines.values())), block.geobox)

    def one(place: int) -> pd.DataFrame | str:
        chosen = new[new["place"] == place]
        numbers = [
            1 + number for number, name in enumerate(outlines) if name in set(chosen["alert_id"])
        ]
        # an alert may touch the block and have no pixel in it
        box = next(iter(find_objects(np.isin(burnt, numbers).astype(np.uint8))), None)
        if box is None:
            return chosen.iloc[:0][keys]
        try:
            bands = cube.read_day(days[place], block.geobox[box], how.bands, access=how.access)
        except UnreadableSceneError as error:
            return str(error)
        table = alerts.sums(burnt[box], bands, usable(bands), list(outlines))
        return table.merge(chosen[keys], on="alert_id")

    places = sorted(set(new["place"]))
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = list(pool.map(one, places))
    unreadable = {
        name: fault
        for place, fault in zip(places, read, strict=True)
        if isinstance(fault, str)
        for name in days[place].ids
    }
    table = pd.concat([known, *(part for part in read if not isinstance(part, str))])
    out = out.with_suffix(f".partial{out.suffix}") if unreadable else out
    with whole_file(out) as temporary:
        table.sort_values(keys, ignore_index=True).to_parquet(temporary, index=False)
    # a change that no scene shows has an unknown cause; that is no reason to give up the run
    return BlockReport(len(days), unreadable, {"spectra": out})


def _earlier(out: Path) -> list[Path]:
    """Results of the same block that other inputs led to."""
    return sorted(out.parent.glob(f"{out.name.rsplit('-', 1)[0]}-*{out.suffix}"))


def _save_observed(out: Path, observed: Observations, **more: npt.NDArray[Any]) -> Path:
    """Keep what was observed for the second half of the work."""
    scenes = [name for day in observed.days for name in day.ids]
    out = _name_of(out, observed)
    with whole_file(out) as temporary:
        np.savez(
            temporary,
            stack=observed.stack,
            witness=observed.witness,
            bright=observed.bright,
            bright_places=observed.bright_places,
            dates=observed.dates,
            scenes=np.array(scenes, dtype=np.str_),
            **more,  # type: ignore[arg-type]
        )
    return out


@dataclass(frozen=True)
class _Kept:
    """Part of `Observations` that was kept in a file: the slices of the season."""

    stack: npt.NDArray[np.int16]
    witness: npt.NDArray[np.int16]
    dates: npt.NDArray[np.datetime64]
    reached: npt.NDArray[np.uint8]

    def covered(self, place: int) -> npt.NDArray[np.bool_]:
        """(y, x) True where a slice has data."""
        height, width = self.stack.shape[1:]
        bits = np.unpackbits(self.reached[place], count=height * width)
        return bits.astype(bool).reshape(height, width)


def _read_observed(history: Path, scenes: Path) -> _Kept:
    """Read the slices of a history that lie in the season."""
    counts = pd.read_parquet(scenes)["in_season"]
    with np.load(history) as saved:
        keep = counts.loc[pd.DatetimeIndex(saved["dates"])].to_numpy()
        witness = saved["witness"]
        return _Kept(
            saved["stack"][keep],
            witness[keep] if len(witness) else witness,
            saved["dates"][keep],
            saved["reached"][keep],
        )


def _count_all(
    observed: Observations | _Kept,
    model: xr.Dataset,
    witness: xr.Dataset | None,
    strata: xr.DataArray,
    watching: Watching,
) -> dict[str, npt.NDArray[np.int64]]:
    """Count how each scene departs from the models, as ``count_…`` and ``witness_count_…``."""
    counts = {}
    for prefix, name, stack, of_index in (
        ("", watching.how.index, observed.stack, model),
        ("witness_", watching.how.witness, observed.witness, witness),
    ):
        if name is None or of_index is None:
            continue
        falls = indices.INDICES[name].falls_with_damage
        of_dates = [
            _count(
                stack[place : place + 1],
                observed.dates[place : place + 1],
                of_index,
                strata,
                reached=observed.covered(place),
                decrease=falls,
            )
            for place in range(len(observed.dates))
        ]
        for what in COUNTS:
            counts[f"{prefix}count_{what}"] = np.array([each[what] for each in of_dates])
    return counts


def _count(
    stack: npt.NDArray[np.int16],
    date: npt.NDArray[np.datetime64],
    model: xr.Dataset,
    strata: xr.DataArray,
    *,
    reached: npt.NDArray[np.bool_],
    decrease: bool,
) -> dict[str, npt.NDArray[np.int64]]:
    """Count how one scene departs from the model, over the forest that the scene reaches.

    Only that forest: else the sums over all blocks would depend on how the area is cut.
    """
    counts = change.scene_residuals(
        model.isel(INSIDE),
        _labelled(stack[:, HALO:-HALO, HALO:-HALO]),
        date,
        strata.isel(INSIDE),
        n_strata=N_STRATA,
        decrease=decrease,
        exclude=_plane(~reached).isel(INSIDE),
    )
    return {
        name: np.squeeze(counts[name].values, 0) if name != "sigma" else counts[name].values
        for name in COUNTS
    }


def seasons(
    paths: Iterable[Path], before: pd.DataFrame | None, *, by_scene: bool, latitude: float
) -> pd.DataFrame:
    """Tell which scenes lie in the season, by the snow on the open land of the whole area.

    Parameters
    ----------
    paths
        What `read_history` or `read_new` wrote, a file a block.
    before
        Table of earlier scenes; what it says stays.
    by_scene
        False where the days were chosen by a calendar: all count.
    latitude
        Of the area, degrees north.

    Returns
    -------
    pandas.DataFrame
        Index ``time``, rising; ``open_land`` and ``snow`` (pixels), ``snow_share``, ``in_season``,
        and ``snow_offset``, what `change.snow_offset` says of a scene of the snow season.
    """
    total: dict[np.datetime64, npt.NDArray[np.int64]] = {}
    on_snow: dict[np.datetime64, npt.NDArray[np.int64]] = {}
    for path in paths:
        with np.load(path) as saved:
            for date, counts in zip(saved["dates"], saved["open_land"], strict=True):
                total[date] = total.get(date, 0) + counts
            if "snow_count" in saved:
                dates = saved["dates"][saved["bright_places"]]
                for date, counts in zip(dates, saved["snow_count"], strict=True):
                    on_snow[date] = on_snow.get(date, 0) + counts
    table = pd.DataFrame.from_dict(
        {pd.Timestamp(date): counts for date, counts in total.items()},
        orient="index",
        columns=["open_land", "snow"],
        dtype=np.int64,
    ).rename_axis("time")
    table["snow_offset"] = 0.0
    for date, counts in on_snow.items():
        table.loc[pd.Timestamp(date), "snow_offset"] = change.snow_offset(counts[np.newaxis])[0]
    if before is not None:
        known = before[["open_land", "snow", "snow_offset"]]
        table = pd.concat([known, table.loc[table.index.difference(known.index)]])
    table = table.sort_index()
    share = (table["snow"] / table["open_land"]).where(table["open_land"] >= MIN_OPEN_PIXELS)
    dates = table.index.to_numpy().astype("datetime64[D]")
    table["snow_share"] = share
    table["in_season"] = (
        masks.snow_free_season(dates, share.to_numpy(), latitude=latitude) if by_scene else True
    )
    if before is not None:
        table.loc[before.index, "in_season"] = before["in_season"]
    return table


def corrections(
    paths: Iterable[Path],
    scenes: pd.DataFrame,
    *,
    how: Observing,
    gate: bool,
    usual_spread: npt.NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """How the forests of the whole area depart from their models, scene by scene.

    Parameters
    ----------
    paths
        What `survey_history` or `read_new` wrote, a file a block; a scene counts where it reaches.
    scenes
        Table of `seasons`; a scene out of season is passed over.
    how
        Index and witness.
    gate
        Whether to reject spoilt scenes; the robust fit of the history bears them.
    usual_spread
        As in `change.correction`.

    Returns
    -------
    pandas.DataFrame
        Index ``(time, stratum)``, columns as the variables of `change.correction`, with
        ``witness_offset`` and ``witness_noise``, and ``snow_share`` of the open land.
    """
    total: dict[np.datetime64, dict[str, npt.NDArray[np.int64]]] = {}
    names = [f"{prefix}count_{name}" for prefix in ("", "witness_") for name in COUNTS]
    for path in paths:
        with np.load(path) as saved:
            dates = saved["dates"]
            counts = {name: saved[name] for name in names if name in saved}
        for place, date in enumerate(dates):
            of_date = total.setdefault(date, {})
            for name, of_block in counts.items():
                of_date[name] = of_date.get(name, 0) + of_block[place]
    tables = []
    for date, of_date in sorted(total.items()):
        made = change.correction(
            _statistics(date, of_date, how.index), gate=gate, usual_spread=usual_spread
        )
        of_witness = made
        if how.witness is not None:
            of_witness = change.correction(
                _statistics(date, of_date, how.witness, "witness_"), gate=gate
            )
        made = made.assign(witness_offset=of_witness["offset"], witness_noise=of_witness["noise"])
        tables.append(made.to_dataframe(dim_order=["time", "stratum"]))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables)
    time = table.index.get_level_values("time")
    table["snow_share"] = scenes["snow_share"].reindex(time).to_numpy()
    outside = ~scenes["in_season"].reindex(time).to_numpy(dtype=bool)
    table["rejected"] |= outside
    table["reason"] = np.where(outside, OUT_OF_SEASON, table["reason"])
    return table


def usual_spread(table: pd.DataFrame, history_end: np.datetime64) -> npt.NDArray[np.float64]:
    """Spread of each stratum's departures in the history; see `change.usual_spread`."""
    of_history = table[table.index.get_level_values("time") <= pd.Timestamp(history_end)]
    scenes = of_history.to_xarray()
    return change.usual_spread(scenes.assign(rejected=scenes["rejected"].isel(stratum=0)))


def _statistics(
    date: np.datetime64,
    counts: Mapping[str, npt.NDArray[np.int64]],
    index: str,
    prefix: str = "",
) -> xr.Dataset:
    """Label the counts of one scene over the whole area as `change.correction` wants them."""
    variables = {}
    for name, dims in COUNTS.items():
        counted = counts[f"{prefix}count_{name}"]
        # `change.correction` takes the noise for all scenes at once
        variables[name] = (dims[1:], counted) if name == "sigma" else (dims, counted[np.newaxis])
    time = np.array([date], dtype="datetime64[ns]")
    decrease = int(indices.INDICES[index].falls_with_damage)
    return xr.Dataset(variables, coords={"time": time}, attrs={"decrease": decrease})


def read_corrections(path: Path, dates: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """Corrections of some days, as `change.update` wants them, from the file of all."""
    table = pd.read_parquet(path).loc[pd.DatetimeIndex(dates)].to_xarray()
    of_scene = [name for name in OF_SCENE if name in table]
    return table.assign({name: table[name].isel(stratum=0) for name in of_scene})


def _labelled(stack: npt.NDArray[np.int16]) -> xr.DataArray:
    return xr.DataArray(stack, dims=("time", "y", "x"))


def _plane(values: npt.NDArray[Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"))


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
        return inside & masks.parcels(given.path, geobox)
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
        _save(out, _mapped(given, block.geobox, inside))
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
    out = _name_of(out, observed)
    _save(out, inside & masks.cropland_from_seasons(low, high))
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
    out = _name_of(out, observed)
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
    if not observed.days:
        return observed.report()
    out = _name_of(out, observed)
    _save(out, value)
    return observed.report(composite=out)


def anomaly_block(
    *, value: Path, earlier: Sequence[Path], min_years: int, out: Path
) -> BlockReport:
    """Departure of a composite of one block from those of earlier years, a file as theirs."""
    departure = composites.anomaly(np.load(value), map(np.load, earlier), min_years=min_years)
    _save(out, departure)
    return BlockReport(paths={"anomaly": out})


def _name_of(out: Path, observed: Observations) -> Path:
    """Where a result goes: under another name when scenes are missing, so that it is made again."""
    return out.with_suffix(f".partial{out.suffix}") if observed.unreadable else out


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with whole_file(path) as temporary:
        np.save(temporary, array)


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, whole or not at all."""
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def digest(*parts: Any) -> str:
    """Fingerprint of what a result depends on, short enough to name the result's file."""
    text = json.dumps(parts, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
