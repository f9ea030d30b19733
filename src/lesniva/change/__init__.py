"""Forest change: history model, scene correction, detectors and the monitor's state.

Order of use. A block is padded by a halo of one pixel where the area goes on (`change.state` says
why); statistics of scenes are counted on the inside of blocks and merged over the area::

    model = fit(history, dates)                                  # a first look
    strata = amplitude_strata(seasonal_amplitude(model), edges=edges)
    counts = scene_residuals(model, history, dates, strata, n_strata=n)
    scenes = correction(merge_statistics([counts, ...]), gate=False)
    model = fit(corrected(history, strata, scenes), dates)       # the model

    state = start(model, channel="nbr")
    # night after night, one or several new dates:
    counts = scene_residuals(state, new, new_dates, strata, n_strata=n)
    scenes = correction(merge_statistics([counts, ...]), usual_spread=spread)
    state = update(state, new, new_dates, corrections=scenes, strata=strata)
    found = events(state, halo={"y": slice(1, -1), "x": slice(1, -1)})

Pure functions on arrays: nothing is read or written here. The kernels release the interpreter lock;
give each thread or process blocks of its own.
"""

from lesniva.change.borrow import MOST_OWN, alike, borrow, cell_medians
from lesniva.change.channels import HEALTH, HEALTH_PROFILE, joined, looked_at
from lesniva.change.classical import bfast_regressors, monitor, reverse_cusum
from lesniva.change.cusum import PROFILES, Options, evidence
from lesniva.change.detectors import DETECTORS, ClassicalOptions
from lesniva.change.history import expected, fit
from lesniva.change.scene import (
    AMPLITUDE_EDGES,
    amplitude_counts,
    amplitude_quantiles,
    amplitude_strata,
    corrected,
    correction,
    merge_statistics,
    scene_residuals,
    seasonal_amplitude,
    usual_spread,
)
from lesniva.change.state import check_state, events, start, update
from lesniva.change.winter import snow_counts, snow_offset

__all__ = [
    "AMPLITUDE_EDGES",
    "DETECTORS",
    "HEALTH",
    "HEALTH_PROFILE",
    "MOST_OWN",
    "PROFILES",
    "ClassicalOptions",
    "Options",
    "alike",
    "amplitude_counts",
    "amplitude_quantiles",
    "amplitude_strata",
    "bfast_regressors",
    "borrow",
    "cell_medians",
    "check_state",
    "corrected",
    "correction",
    "events",
    "evidence",
    "expected",
    "fit",
    "joined",
    "looked_at",
    "merge_statistics",
    "monitor",
    "reverse_cusum",
    "scene_residuals",
    "seasonal_amplitude",
    "snow_counts",
    "snow_offset",
    "start",
    "update",
    "usual_spread",
]
