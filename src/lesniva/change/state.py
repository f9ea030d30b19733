"""The monitor's state of a block: a small dataset that grows with no observation.

A block comes padded by a halo of one pixel where the area goes on (the caller pads; what is not
there is missing), and its state is kept padded. The spatial prior of a pixel looks only at what its
neighbours have made of their own observations, so the inside of a block does not depend on how the
area is cut into blocks; the status of halo pixels does, and is to be cropped.

A state takes 40 bytes a pixel with the default seven coefficients.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.change.cusum import (
    EVIDENCE_STEPS,
    N_RESIDUALS,
    NO_RESIDUAL,
    PROFILES,
    RESIDUAL_STEP,
    SIGMA_STEP,
    Fields,
    Options,
    accumulate,
    judge,
    rule_of,
)
from lesniva.change.history import checked_stack, plane_coords
from lesniva.change.regression import day_numbers, design
from lesniva.conventions import INDEX_SCALE, Status, flags, from_day_number
from lesniva.errors import InputError

STATE_VERSION = 1
"""Changes when a stored state can no longer be continued."""

_PLANE = ("y", "x")


def options_hash(options: Options, detector: str) -> str:
    """Short fingerprint of the method a state was begun with."""
    text = json.dumps({"detector": detector, **asdict(options)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def start(
    model: xr.Dataset,
    *,
    channel: str = "nbr",
    decrease: bool = True,
    options: Options | str = "standard",
    detector: str = "cusum_ll",
) -> xr.Dataset:
    """Begin to monitor: the state before the first date after the history.

    Parameters
    ----------
    model
        What `history.fit` returned, of the padded block.
    channel
        Name of the index.
    decrease
        True where a disturbance lowers the index (NBR, NDVI, NDMI, NDRE), False where it raises it
        (CRSWIR).
    options
        Parameters of the detector, or the name of a profile: early, standard, strict.
    detector
        "cusum_ll".

    Returns
    -------
    Dataset
        int16 ``coefficients`` (steps of 1 / `INDEX_SCALE`), uint16 ``sigma`` (steps of 1e-5), uint8
        ``n_history`` (255 = that or more), ``history_start``; int16 ``evidence`` S (steps of 1/256
        of log-odds), uint8 ``n_anomalies`` dates of evidence since S left 0; day numbers
        ``first_anomaly``, ``last_normal`` (the last normal observation before it), ``confirmed``,
        ``last_observed``; uint8 ``run_days`` since S left 0; ``normal_run`` dates and
        ``normal_days`` of the present run of normal observations; ``span_days`` from the first to
        the last anomaly of the event (of a finished or re-armed pixel: from the last normal
        observation to the evidence it has again); all day counts end at 255; int8 ``residuals``
        (recent, y, x; steps of 0.01, −128 = none) of the event's newest observations; uint8
        ``status``. Attributes: version, method, options hash, channel, last day processed.
    """
    chosen = chosen_options(options)
    sizes = {name: model.sizes[name] for name in _PLANE}
    shape = (sizes["y"], sizes["x"])
    fitted = model["status"].values == Status.NONE

    def zeros(dtype: npt.DTypeLike) -> tuple[tuple[str, str], npt.NDArray[np.generic]]:
        return _PLANE, np.zeros(shape, dtype=dtype)

    coefficients = np.where(fitted, model["coefficients"].values, 0.0)
    sigma = np.where(fitted, model["sigma"].values, 0.0)
    return xr.Dataset(
        {
            "coefficients": (
                ("coef", *_PLANE),
                np.rint(coefficients * INDEX_SCALE).astype(np.int16),
                model["coefficients"].attrs,
            ),
            "sigma": (
                _PLANE,
                np.clip(np.rint(sigma / SIGMA_STEP), fitted, 65535).astype(np.uint16),
            ),
            "n_history": (_PLANE, np.minimum(model["n_history"].values, 255).astype(np.uint8)),
            "history_start": (_PLANE, model["history_start"].values.copy()),
            "evidence": zeros(np.int16),
            "n_anomalies": zeros(np.uint8),
            "first_anomaly": zeros(np.uint16),
            "last_normal": (_PLANE, model["last_normal"].values.copy()),
            "confirmed": zeros(np.uint16),
            "last_observed": (_PLANE, model["last_observed"].values.copy()),
            "run_days": zeros(np.uint8),
            "normal_run": zeros(np.uint8),
            "normal_days": zeros(np.uint8),
            "span_days": zeros(np.uint8),
            "residuals": (
                ("recent", *_PLANE),
                np.full((N_RESIDUALS, *shape), NO_RESIDUAL, dtype=np.int8),
            ),
            "status": (_PLANE, model["status"].values.copy(), flags(Status)),
        },
        coords=plane_coords(model),
        attrs={
            "state_version": STATE_VERSION,
            "detector": detector,
            "options_hash": options_hash(chosen, detector),
            "channel": channel,
            "decrease": int(decrease),
            "trend": int(model.attrs["trend"]),
            "last_day": int(model.attrs["history_end"]),
        },
    )


def chosen_options(options: Options | str) -> Options:
    """Options by profile name or as they are.

    Raises
    ------
    InputError
        If there is no such profile.
    """
    if isinstance(options, Options):
        return options
    if options not in PROFILES:
        raise InputError(f"no profile {options!r}; use one of {', '.join(PROFILES)}")
    return PROFILES[options]


def check_state(
    state: xr.Dataset,
    *,
    channel: str | None = None,
    options: Options | str = "standard",
    detector: str = "cusum_ll",
    plane: xr.DataArray | xr.Dataset | None = None,
) -> None:
    """Refuse a state that another version, method, index or grid has made.

    Parameters
    ----------
    state
        As read from the store.
    channel, options, detector
        What the run asks for; channel None = whatever the state has.
    plane
        Something with the grid's sizes (and coordinates) of y and x.

    Raises
    ------
    InputError
        With all the differences.
    """
    chosen = chosen_options(options)
    faults = []
    version = state.attrs.get("state_version")
    if version != STATE_VERSION:
        faults.append(f"it is of state version {version}, this program writes {STATE_VERSION}")
    elif state.attrs["detector"] != detector:
        faults.append(f"its detector is {state.attrs['detector']}, asked is {detector}")
    elif state.attrs["options_hash"] != options_hash(chosen, detector):
        faults.append("it was begun with other detector options")
    if channel is not None and state.attrs.get("channel") != channel:
        faults.append(f"its channel is {state.attrs.get('channel')}, asked is {channel}")
    if plane is not None:
        faults += _grid_faults(state, plane)
    if faults:
        raise InputError(
            "the monitor state cannot be continued: "
            + "; ".join(faults)
            + ". Run with the old settings, or begin anew in another work folder"
        )


def _grid_faults(state: xr.Dataset, plane: xr.DataArray | xr.Dataset) -> list[str]:
    here = tuple(state.sizes[name] for name in _PLANE)
    there = tuple(plane.sizes[name] for name in _PLANE)
    if here != there:
        return [f"its grid has {here} pixels (y, x), the scenes have {there}"]
    faults = []
    for name in _PLANE:
        both = name in state.coords and name in plane.coords
        if both and not np.array_equal(state.coords[name], plane.coords[name]):
            faults.append(f"its {name} coordinates differ from the scenes'")
    return faults


def update(
    state: xr.Dataset,
    index: xr.DataArray,
    time: npt.ArrayLike,
    *,
    corrections: xr.Dataset | None = None,
    strata: xr.DataArray | None = None,
    options: Options | str = "standard",
) -> xr.Dataset:
    """Feed the detector with new dates.

    Parameters
    ----------
    state
        What `start` or the last update returned; it is left as it is.
    index
        (time, y, x) int16 on the state's padded block, missing = `NODATA_INT16`.
    time
        Rising dates, all after the state's last day.
    corrections
        What `scene.correction` gave: ``offset`` (time, stratum) in index units is taken off the
        residuals, σ is multiplied by ``noise`` (time, stratum); slices with ``rejected`` (time) are
        passed over.
    strata
        (y, x) uint8 stratum of each pixel, needed with corrections.
    options
        The options or profile the state was begun with.

    Returns
    -------
    Dataset
        The new state. A batch gives bit for bit what its dates give one after the other.

    Raises
    ------
    InputError
        If the state is of another grid, method or version; if dates are not after its last day (a
        late scene is to be replayed from an older state).
    """
    chosen = chosen_options(options)
    check_state(state, options=chosen, plane=index)
    stack = checked_stack(index, time)
    day = day_numbers(time)
    _refuse_late(state, day)
    shift, noise, rejected = _checked_corrections(corrections, len(day))
    stratum = _checked_strata(strata, corrections, stack.shape[1:])
    new = state.copy(deep=True)
    order = (new.sizes["coef"] - 1 - new.attrs["trend"]) // 2
    X = design(day, order, trend=bool(new.attrs["trend"]))
    rule = rule_of(chosen, decrease=bool(new.attrs["decrease"]))
    fields = _fields(new)
    for t in np.flatnonzero(~rejected):
        today = int(day[t])
        accumulate(stack[t], today, X[t], shift[t], noise[t], stratum, rule, fields)
        judge(today, rule, fields)
    new.attrs["last_day"] = int(day[-1])
    return new


def _refuse_late(state: xr.Dataset, day: npt.NDArray[np.int64]) -> None:
    last = int(state.attrs["last_day"])
    late = day[day <= last]
    if late.size:
        named = ", ".join(str(d) for d in from_day_number(late))
        raise InputError(
            f"the monitor state has already seen {from_day_number([last])[0]} and cannot take "
            f"{named}; replay late scenes from an older state"
        )


def _checked_corrections(
    corrections: xr.Dataset | None, n_times: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Shift and noise (time, stratum), rejected (time)."""
    if corrections is None:
        return np.zeros((n_times, 1)), np.ones((n_times, 1)), np.zeros(n_times, dtype=bool)
    if corrections.sizes["time"] != n_times:
        raise InputError(
            f"{corrections.sizes['time']} scene corrections for {n_times} slices; give one each"
        )
    shift, noise = (
        np.ascontiguousarray(corrections[name].transpose("time", "stratum").values, dtype=float)
        for name in ("offset", "noise")
    )
    return shift, noise, corrections["rejected"].values.astype(bool)


def _checked_strata(
    strata: xr.DataArray | None, corrections: xr.Dataset | None, plane: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    if corrections is None:
        return np.zeros(plane, dtype=np.uint8)
    if strata is None or strata.shape != plane or strata.dtype != np.uint8:
        found = "none" if strata is None else f"{strata.dtype} of shape {strata.shape}"
        raise InputError(f"scene corrections need uint8 strata of shape {plane}; found {found}")
    if int(strata.max()) >= corrections.sizes["stratum"]:
        raise InputError(
            f"the strata go up to {int(strata.max())}, the corrections have "
            f"{corrections.sizes['stratum']} strata"
        )
    return np.ascontiguousarray(strata.values)


def _fields(state: xr.Dataset) -> Fields:
    """Arrays of a state for the kernels, and scratch for the slice in hand."""
    held = {str(name): variable.values for name, variable in state.data_vars.items()}
    plane = held["status"].shape
    return Fields(
        **{name: held[name] for name in Fields._fields if name in held},
        z=np.empty(plane, dtype=np.float32),
        before=np.zeros(plane, dtype=np.int16),
        normal_before=np.zeros(plane, dtype=np.uint16),
    )


def events(state: xr.Dataset, *, halo: Mapping[str, slice] | None = None) -> xr.Dataset:
    """What the state says of each pixel, in users' units.

    Parameters
    ----------
    state
        State of a block.
    halo
        The inside of a padded block as ``{"y": slice(1, -1), "x": slice(1, -1)}``; None = all.

    Returns
    -------
    Dataset
        (y, x): ``status`` uint8; day numbers ``first_anomaly``, ``last_normal``, ``confirmed``,
        ``last_observed`` uint16 (0 = none); ``probability`` float32 0 … 1; ``magnitude`` float32,
        the median of the event's newest residuals in index units, NaN without event;
        ``n_anomalies`` and ``span_days`` uint8.
    """
    inside = state.isel(halo) if halo else state
    residuals = inside["residuals"].values
    kept = np.where(residuals == NO_RESIDUAL, np.nan, residuals * RESIDUAL_STEP)
    magnitude = np.full(kept.shape[1:], np.nan, dtype=np.float32)
    some = ~np.isnan(kept).all(axis=0)
    magnitude[some] = np.nanmedian(kept[:, some], axis=0)
    evidence = inside["evidence"].values / EVIDENCE_STEPS
    monitored = inside["status"].values < Status.NOT_FOREST
    probability = np.where(monitored, 1.0 / (1.0 + np.exp(-evidence)), np.nan)
    names = ["status", "first_anomaly", "last_normal", "confirmed", "last_observed"]
    names += ["n_anomalies", "span_days"]
    return inside[names].assign(
        probability=(_PLANE, probability.astype(np.float32), {"units": "1"}),
        magnitude=(_PLANE, magnitude, {"units": "1"}),
    )
