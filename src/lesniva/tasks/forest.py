"""The forest of one block: its history read and fitted, its monitor kept up to date."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from lesniva import aoi, change, composites, cube, indices, ledger, masks
from lesniva.conventions import NODATA_INT16, Status
from lesniva.storage import whole_file
from lesniva.tasks.lending import borrowed, lendable
from lesniva.tasks.observing import HALO, INSIDE, BlockReport, Observations, Observing, observe
from lesniva.tasks.scenes import COUNTS, read_corrections

LATE = np.timedelta64(30, "D")
"""A scene that is older than this beside the newest day seen is passed over: most likely it is a
reprocessed copy of a known one."""

ALSO = "also_"
"""In front of the names of further stacks, in the files between two passes."""

N_STRATA = len(change.AMPLITUDE_EDGES) + 1
"""Strata of equal seasonality that scenes are corrected by."""


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
        stacks = (observed.stack, observed.witness, observed.bright, *observed.also.values())
        for stack in stacks:
            stack[:, ~watched] = NODATA_INT16
    saved = _save_observed(
        out,
        observed,
        reached=observed.reached,
        watched=watched,
        covered=observed.covered(),
        open_land=observed.open_land(inside & ~watched),
    )
    return observed.report(history=saved)


def survey_history(
    *, block: aoi.Block, history: Path, scenes: Path, watching: Watching, out: Path
) -> BlockReport:
    """Fit the history of a block once, and count how each scene of the season departs from that.

    Parameters
    ----------
    history
        What `read_history` wrote.
    scenes
        Table of `seasons`.
    out
        ``.npz`` file with the counts for `corrections`, the median models for `lenders`, and the
        strata for `fit_history`; not written for a block without a scene in the season.
    """
    observed = _read_observed(history, scenes)
    if not len(observed.dates):
        return BlockReport()
    model, witness = _models(observed.stack, observed.witness, observed.dates, watching.how)
    strata = change.amplitude_strata(change.seasonal_amplitude(model))
    health = {
        name: _fit(name, _of_strata(name, stack, strata), observed.dates)
        for name, stack in observed.also.items()
    }
    counts = _count_all(observed, model, witness, health, strata, watching)
    lent = lendable(model, strata, block.padded(HALO))
    for name, of_index in health.items():
        lent |= lendable(of_index, strata, block.padded(HALO), channel=name)
    with whole_file(out) as temporary:
        np.savez(temporary, dates=observed.dates, strata=strata.values, **counts, **lent)  # type: ignore[arg-type]
    return BlockReport(paths={"survey": out})


def fit_history(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    history: Path,
    survey: Path,
    scenes: Path,
    corrections: Path,
    lent: Mapping[str, Path],
    watching: Watching,
    told: Mapping[np.datetime64, ledger.Told],
) -> BlockReport:
    """Fit the history of a block once its scenes are corrected, and commit the monitor's start.

    Parameters
    ----------
    lent
        Files of `lenders` by index of health, that of removal by "".
    told
        What blocks are told of each day; that of the newest is kept with the state.
    """
    observed = _read_observed(history, scenes)
    with np.load(survey) as saved:
        strata = _plane(saved["strata"])
    with np.load(history) as saved:
        names, watched, covered = saved["scenes"], saved["watched"], saved["covered"]
        dates = saved["dates"]
        snowy = _snowy(dates[saved["bright_places"]], scenes)
        bright = saved["bright"][snowy] if watching.how.winter else None
    shifts = read_corrections(corrections, observed.dates)
    stack = change.corrected(_labelled(observed.stack), strata, shifts)
    other = observed.witness
    if len(other):
        other = change.corrected(_labelled(other), strata, _those_of("witness", shifts)).values
    model, witness = _models(stack.values, other, observed.dates, watching.how)
    model["status"] = model["status"].where(watched, np.uint8(Status.NOT_FOREST))
    model = borrowed(model, stack.values, observed.dates, block.padded(HALO), lent[""])
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
    seen = ledger.Seen(
        frozenset(names.tolist()), watching.history_end, _newest(told, dates, watching.history_end)
    )
    # what has borrowed a model is of the kind of forest that lent it
    kinds = change.amplitude_strata(change.seasonal_amplitude(model))
    kinds = kinds.where(model["borrowed"], strata).astype(np.uint8)
    health = {
        name: _start_health(
            name, values, observed.dates, status, kinds, shifts, block.padded(HALO), lent[name]
        )
        for name, values in observed.also.items()
    }
    ledger.write_block(book, block.key, state, seen=seen, beside=health)
    history.unlink()
    survey.unlink()
    return BlockReport()


def try_days(*, block: aoi.Block, days: Sequence[cube.SolarDay], watching: Watching) -> BlockReport:
    """Read days of a block for no more than to know whether they can be read."""
    geobox = block.padded(HALO)
    tried = observe(days, geobox, watching.how, inside=np.zeros(geobox.shape, dtype=bool))
    return BlockReport(len(tried.days), tried.unreadable)


def read_new(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    grid: aoi.Grid,
    days: Sequence[cube.SolarDay],
    watching: Watching,
    at: str,
    out: Path,
) -> BlockReport:
    """Read the new days of a block, and count how each scene departs from the model.

    Parameters
    ----------
    days
        Solar days after the last one the state has seen, rising.
    at
        Which state goes on (`ledger.read_block`).
    out
        ``.npz`` file for `update_monitor`.
    """
    state = ledger.read_block(book, block.key, at=at)
    status = state["status"].values
    halo = replace(block, geobox=block.padded(HALO))
    observed = observe(days, halo.geobox, watching.how, inside=status < Status.NOT_FOREST)
    if not observed.days:
        return observed.report()
    strata = change.amplitude_strata(change.seasonal_amplitude(state))
    health = {
        name: ledger.read_block(book, block.key, at=at, channel=name) for name in watching.how.also
    }
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
        **_count_all(observed, state, _witness_model(state), health, strata, watching),
    )
    return observed.report(new=saved)


def update_monitor(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    seen: ledger.Seen,
    new: Path,
    scenes: Path,
    corrections: Path,
    watching: Watching,
    at: str,
    told: Mapping[np.datetime64, ledger.Told],
) -> BlockReport:
    """Feed the monitor of a block with its new days, and commit its state.

    Parameters
    ----------
    seen
        What the state that goes on has seen.
    at, told
        As in `read_new` and `fit_history`.
    """
    with np.load(new) as saved:
        stack, strata = _labelled(saved["stack"]), _plane(saved["strata"])
        witness = _labelled(saved["witness"]) if len(saved["witness"]) else None
        dates, names = saved["dates"], saved["scenes"]
        snow_time = dates[saved["bright_places"]]
        snowy = _snowy(snow_time, scenes)
        snow, snow_time = _labelled(saved["bright"][snowy]), snow_time[snowy]
        also = _saved_also(saved)
    shifts = read_corrections(corrections, dates)
    offsets = pd.read_parquet(scenes)["snow_offset"].loc[pd.DatetimeIndex(snow_time)]
    state = change.update(
        ledger.read_block(book, block.key, at=at),
        stack,
        dates,
        corrections=shifts,
        strata=strata,
        options=watching.profile,
        witness=witness,
        witness_corrections=_those_of("witness", shifts),
        snow=snow,
        snow_time=snow_time,
        snow_offset=offsets.to_numpy(),
    )
    health = {
        name: change.update(
            ledger.read_block(book, block.key, at=at, channel=name),
            _labelled(values),
            dates,
            corrections=_those_of(name, shifts),
            strata=strata,
            options=change.HEALTH_PROFILE,
        )
        for name, values in also.items()
    }
    taken_in = np.append(np.array(list(seen.told), dtype="datetime64[D]"), dates)
    now = ledger.Seen(
        seen.scenes | frozenset(names.tolist()), dates[-1], _newest(told, taken_in, dates[-1])
    )
    ledger.write_block(book, block.key, state, seen=now, beside=health)
    new.unlink()
    return BlockReport()


def _newest(
    told: Mapping[np.datetime64, ledger.Told],
    taken_in: npt.NDArray[np.datetime64],
    last_day: np.datetime64,
) -> dict[np.datetime64, ledger.Told]:
    """Pick what a block was told of the days it took in lately."""
    return {day: told[day] for day in taken_in if last_day - LATE < day and day in told}


def _snowy(dates: npt.NDArray[np.datetime64], scenes: Path) -> npt.NDArray[np.bool_]:
    """Which dates have open land under snow nearly everywhere."""
    share = pd.read_parquet(scenes)["snow_share"]
    return share.loc[pd.DatetimeIndex(dates)].to_numpy() >= masks.SNOWY_SHARE


def _models(
    stack: npt.NDArray[np.int16],
    witness: npt.NDArray[np.int16],
    dates: npt.NDArray[np.datetime64],
    how: Observing,
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Model of the index and of the witness, where there is one."""
    model = _fit(how.index, stack, dates)
    return model, _fit(how.witness, witness, dates) if how.witness is not None else None


def _fit(index: str, stack: npt.NDArray[np.int16], dates: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """Model of an index."""
    floor = indices.INDICES[index].least_noise
    return change.fit(_labelled(stack), dates, sigma_floor=floor)


def _of_strata(
    index: str, stack: npt.NDArray[np.int16], strata: xr.DataArray
) -> npt.NDArray[np.int16]:
    """Leave of a stack what an index of health watches."""
    return np.where(change.looked_at(index, strata), stack, np.int16(NODATA_INT16))


def _start_health(
    index: str,
    stack: npt.NDArray[np.int16],
    dates: npt.NDArray[np.datetime64],
    status: npt.NDArray[np.uint8],
    strata: xr.DataArray,
    shifts: xr.Dataset,
    geobox: GeoBox,
    lent: Path,
) -> xr.Dataset:
    """Begin to watch an index of health, on the corrected scenes, where removal is watched."""
    seen = _labelled(_of_strata(index, stack, strata))
    stable = change.corrected(seen, strata, _those_of(index, shifts)).values
    own = _fit(index, stable, dates)
    model = borrowed(own, stable, dates, geobox, lent).drop_vars("borrowed")
    # nobody borrows a model of an index that does not watch his kind of forest
    model["status"] = model["status"].where(change.looked_at(index, strata), own["status"])
    model["status"] = model["status"].where(status < Status.NOT_FOREST, status)
    falls = indices.INDICES[index].falls_with_damage
    return change.start(model, channel=index, decrease=falls, options=change.HEALTH_PROFILE)


def _those_of(channel: str, shifts: xr.Dataset) -> xr.Dataset:
    """Corrections of another index than the first: what is passed over is the same for all."""
    return shifts.assign(offset=shifts[f"{channel}_offset"], noise=shifts[f"{channel}_noise"])


def _saved_also(saved: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.int16]]:
    """Stacks of further indices, as `_save_observed` kept them."""
    return {name.removeprefix(ALSO): saved[name] for name in saved if name.startswith(ALSO)}


def _witness_model(state: xr.Dataset) -> xr.Dataset | None:
    """Model of the witness in a state, in the shape of a model."""
    if "witness_sigma" not in state:
        return None
    return state[["status"]].assign(
        coefficients=state["witness_coefficients"],
        sigma=state["witness_sigma"],
        status=state["status"].where(state["witness_sigma"] > 0, Status.TOO_FEW_OBSERVATIONS),
    )


def _save_observed(out: Path, observed: Observations, **more: npt.NDArray[Any]) -> Path:
    """Keep what was observed for the second half of the work."""
    scenes = [name for day in observed.days for name in day.ids]
    out = observed.result_path(out)
    with whole_file(out) as temporary:
        np.savez(
            temporary,
            stack=observed.stack,
            witness=observed.witness,
            bright=observed.bright,
            bright_places=observed.bright_places,
            **{f"{ALSO}{name}": values for name, values in observed.also.items()},  # type: ignore[arg-type]
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
    also: Mapping[str, npt.NDArray[np.int16]]
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
            # one after the other: all of them whole beside their copies would be twice the memory
            {name.removeprefix(ALSO): saved[name][keep] for name in saved if name.startswith(ALSO)},
            saved["dates"][keep],
            saved["reached"][keep],
        )


def _count_all(
    observed: Observations | _Kept,
    model: xr.Dataset,
    witness: xr.Dataset | None,
    health: Mapping[str, xr.Dataset],
    strata: xr.DataArray,
    watching: Watching,
) -> dict[str, npt.NDArray[np.int64]]:
    """Count how each scene departs from the models, as ``count_…``, ``witness_count_…``, ….

    The indices of health have their own name in front.
    """
    counts = {}
    inner_strata = strata.isel(INSIDE)
    for prefix, name, stack, of_index in (
        ("", watching.how.index, observed.stack, model),
        ("witness_", watching.how.witness, observed.witness, witness),
        *((f"{each}_", each, observed.also[each], health[each]) for each in health),
    ):
        if name is None or of_index is None:
            continue
        falls = indices.INDICES[name].falls_with_damage
        inner_model = of_index.isel(INSIDE)
        of_dates = [
            _count(
                stack[place : place + 1],
                observed.dates[place : place + 1],
                inner_model,
                inner_strata,
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

    Only that forest: else the sums over all blocks would depend on how the area is cut. Model and
    strata come without the halo, scene and reach with it.
    """
    counts = change.scene_residuals(
        model,
        _labelled(stack[:, HALO:-HALO, HALO:-HALO]),
        date,
        strata,
        n_strata=N_STRATA,
        decrease=decrease,
        exclude=_plane(~reached).isel(INSIDE),
    )
    return {
        name: np.squeeze(counts[name].values, 0) if name != "sigma" else counts[name].values
        for name in COUNTS
    }


def _labelled(stack: npt.NDArray[np.int16]) -> xr.DataArray:
    return xr.DataArray(stack, dims=("time", "y", "x"))


def _plane(values: npt.NDArray[Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"))
