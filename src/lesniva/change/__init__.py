"""Forest change: history model, detectors, scene correction and the monitor's state.

Order of use, block by block (a block is padded by a halo of one pixel where the area goes on; see
`lesniva.change.state`)::

    model = fit(history, history_dates)
    state = start(model, channel="nbr")
    state = update(state, scenes, scene_dates)      # night after night
    found = events(state)

Pure functions on arrays: nothing is read or written here.
"""

from lesniva.change.cusum import PROFILES, Options, evidence
from lesniva.change.history import fit
from lesniva.change.state import check_state, events, start, update

__all__ = [
    "PROFILES",
    "Options",
    "check_state",
    "events",
    "evidence",
    "fit",
    "start",
    "update",
]
