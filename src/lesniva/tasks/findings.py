"""What is told of one block: findings, coverage, and the reflectance of alerts."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import xarray as xr
from scipy.ndimage import find_objects

from lesniva import alerts, aoi, change, cube, ledger
from lesniva.conventions import Coverage, Scl, Status, from_day_number
from lesniva.errors import UnreadableSceneError
from lesniva.storage import whole_file
from lesniva.tasks.files import digest
from lesniva.tasks.observing import INSIDE, READ_THREADS, BlockReport, Observing, usable


def findings_block(
    *,
    book: ledger.Ledger,
    block: aoi.Block,
    health: Sequence[str],
    version: str,
    as_of: np.datetime64,
    out: Path,
) -> BlockReport:
    """Write what the monitor says of a block, without its halo, as an ``.npz`` file.

    Parameters
    ----------
    health
        Indices of the health channel, where it is on.
    version
        Fingerprint of what the state has seen: it names the file, so that another state makes
        another file.
    as_of
        Day of the last scene of the area: what it has left unconfirmed for long is not shown.
    out
        Arrays (y, x) of `change.joined`, the probability in ``percent``, 0 without evidence, and
        ``n_obs``: the clear observations that the pixel's model stands on, missing outside forest.
    """
    del version
    state = ledger.read_block(book, block.key)
    states = [state, *(ledger.read_block(book, block.key, channel=name) for name in health)]
    removal, *ill = (change.events(each, halo=INSIDE, as_of=as_of) for each in states)
    events = change.joined(removal, ill)
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
    since: Mapping[str, np.datetime64],
    how: Observing,
    out: Path,
) -> BlockReport:
    """Say of each pixel whether it was seen clear lately, and if not, why: an ``.npz`` file.

    Parameters
    ----------
    days
        Solar days from the first of `since` on.
    findings
        File of `findings_block`.
    since
        Name of an array → first day that counts as lately in it.
    out
        Arrays (y, x) of uint8 `Coverage`. Where several scenes reach a pixel that was never clear,
        the last one gives the reason; one that the masks let pass was rejected as a whole.
    """
    with np.load(findings) as saved:
        status, last = saved["status"], from_day_number(saved["last_observed"])
    nowhere = np.full(status.shape, Coverage.NO_ACQUISITION, dtype=np.uint8)
    covered = {name: nowhere.copy() for name in since}
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
        for name, first in since.items():
            if day.date >= first:
                np.copyto(covered[name], reason, where=scl != Scl.NO_DATA)
    unwatched = status >= Status.NOT_FOREST
    for name, first in since.items():
        covered[name][last >= first] = Coverage.CLEAR
        covered[name][unwatched] = status[unwatched]
    out = out.with_suffix(f".partial{out.suffix}") if unreadable else out
    with whole_file(out) as temporary:
        np.savez(temporary, **covered)  # type: ignore[arg-type]
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
