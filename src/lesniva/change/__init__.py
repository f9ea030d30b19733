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
from lesniva.change.scene import (
    AMPLITUDE_EDGES,
    amplitude_strata,
    corrected,
    correction,
    scene_residuals,
    seasonal_amplitude,
)
from lesniva.change.state import check_state, events, start, update

__all__ = [
    "AMPLITUDE_EDGES",
    "PROFILES",
    "Options",
    "amplitude_strata",
    "check_state",
    "corrected",
    "correction",
    "events",
    "evidence",
    "fit",
    "scene_residuals",
    "seasonal_amplitude",
    "start",
    "update",
]
