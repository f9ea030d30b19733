"""Two channels watch a forest: removal of the canopy, and its health.

Removal has one index. Health has several, each with a model, corrections and a state of its own; a
pixel is as ill as the index with the most evidence says.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.change.scene import AMPLITUDE_EDGES
from lesniva.conventions import Channel, Status

EVERGREEN_STRATA = range(AMPLITUDE_EDGES.index(0.2) + 1)
"""Strata of the seasonal amplitude (of removal's index) in which conifers prevail …"""

DECIDUOUS_STRATA = range(EVERGREEN_STRATA.stop, len(AMPLITUDE_EDGES) + 1)
"""… and those in which they do not."""

HEALTH: Mapping[str, Sequence[int]] = {
    "ndre": range(len(AMPLITUDE_EDGES) + 1),
    "crswir": EVERGREEN_STRATA,
    "ndmi": DECIDUOUS_STRATA,
}
"""Index of the health channel → strata that it watches: chlorophyll everywhere, water by CRSWIR in
conifers and by NDMI elsewhere."""

HEALTH_PROFILE = "strict"
"""Profile of the health channel, whatever that of removal: the more indices are looked at, the more
often one of them errs. By the standard profile it reports three times the undisturbed pixels, most
of them leaves that turn early, and no more dieback."""

_SURE = (Status.CONFIRMED, Status.REARMED)


def looked_at(index: str, strata: xr.DataArray) -> npt.NDArray[np.bool_]:
    """(y, x) True where an index of `HEALTH` watches, by strata of `scene.amplitude_strata`."""
    return np.isin(strata.values, HEALTH[index])


def joined(removal: xr.Dataset, health: Sequence[xr.Dataset] = ()) -> xr.Dataset:
    """Join what the channels say of a block.

    Parameters
    ----------
    removal
        What `state.events` gave for the state of removal.
    health
        The same of each index of health.

    Returns
    -------
    Dataset
        As `state.events`, with ``channel`` (y, x) uint8 `Channel`. Removal speaks, but where it has
        confirmed nothing and an index of health has, the one of these with the most evidence. Of an
        index that damage raises the magnitude is turned, so that negative is damage for all.
    """
    told = removal.copy()
    told["magnitude"] = _turned(removal)
    silent = ~np.isin(removal["status"], (*_SURE, Status.WINTER_EARLY))
    silent &= removal["status"].values < Status.NOT_FOREST
    ill = np.zeros(silent.shape, dtype=bool)
    for each in health:
        sure = silent & np.isin(each["status"], _SURE)
        sure &= ~ill | (each["probability"].values > told["probability"].values)
        ill |= sure
        of_index = each.assign(magnitude=_turned(each))
        for name in removal.data_vars:
            values = np.where(sure, of_index[name].values, told[name].values)
            told[name] = told[name].copy(data=values)
    channel = np.where(ill, Channel.HEALTH, Channel.REMOVAL).astype(np.uint8)
    return told.assign(channel=(("y", "x"), channel))


def _turned(events: xr.Dataset) -> xr.DataArray:
    """Departure with the sign of damage: negative is loss."""
    return events["magnitude"] * np.float32(1.0 if events.attrs["decrease"] else -1.0)
