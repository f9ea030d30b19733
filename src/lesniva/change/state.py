"""The monitor's state of a block: a small dataset that grows with no observation.

A block comes padded by a halo of one pixel where the area goes on (the caller pads; what is not
there is missing), and its state is kept padded. The spatial prior of a pixel looks only at what its
neighbours have made of their own observations, so the inside of a block does not depend on how the
area is cut into blocks; the status of halo pixels does, and is to be cropped.

A state of the evidence CUSUM takes 40 bytes a pixel with the default seven coefficients, the model
of a witness 16 more; those of the classical detectors (`detectors`) are larger.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.change import cusum, detectors, winter
from lesniva.change.cusum import (
    EVIDENCE_STEPS,
    N_RESIDUALS,
    NO_RESIDUAL,
    PROFILES,
    RESIDUAL_STEP,
    SIGMA_STEP,
    Options,
)
from lesniva.change.detectors import DETECTORS, ClassicalOptions
from lesniva.change.history import checked_stack, plane_coords
from lesniva.change.regression import day_numbers, design, design_slope
from lesniva.conventions import INDEX_SCALE, Status, flags, from_day_number
from lesniva.errors import InputError

STATE_VERSION = 2
"""Changes when a stored state can no longer be continued."""

AnyOptions = Options | ClassicalOptions | str

_PLANE = ("y", "x")

_OF_THE_MODEL = (
    "coefficients",
    "sigma",
    "witness_coefficients",
    "witness_sigma",
    "n_history",
    "history_start",
)
"""Fields that no update changes."""


@cache
def options_hash(options: Options | ClassicalOptions, detector: str) -> str:
    """Short fingerprint of the method a state was begun with."""
    text = json.dumps({"detector": detector, **asdict(options)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def chosen_options(options: AnyOptions, detector: str = "cusum_ll") -> Options | ClassicalOptions:
    """Options by profile name or as they are, of the kind the detector takes.

    Raises
    ------
    InputError
        If there is no such profile or detector, or the options are another detector's.
    """
    if detector != "cusum_ll" and detector not in DETECTORS:
        known = ", ".join(("cusum_ll", *DETECTORS))
        raise InputError(f"no detector {detector!r}; use one of {known}")
    if isinstance(options, str) and options not in PROFILES:
        raise InputError(f"no profile {options!r}; use one of {', '.join(PROFILES)}")
    kind = Options if detector == "cusum_ll" else ClassicalOptions
    if isinstance(options, str):
        return PROFILES[options] if kind is Options else ClassicalOptions()
    if not isinstance(options, kind):
        raise InputError(f"detector {detector} takes {kind.__name__}, given is {options}")
    return options


def start(
    model: xr.Dataset,
    *,
    channel: str = "nbr",
    decrease: bool = True,
    options: AnyOptions = "standard",
    detector: str = "cusum_ll",
    history: tuple[xr.DataArray, npt.ArrayLike] | None = None,
    witness: xr.Dataset | None = None,
    snow: npt.NDArray[np.int16] | None = None,
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
        "cusum_ll", or a classical one: ols_cusum, ols_mosum, ewma, iqr, three_in_a_row.
    history
        Index and dates that the model was fitted to; ols_mosum and iqr need their residuals.
    witness
        Model of a second index of the same block and dates, one that a disturbance lowers too: what
        only one of the two sees (haze, drought, the smear of a coarser band) is then no evidence.
        For the evidence CUSUM; pixels where it has no model do without.

    snow
        (time, y, x) brightness of the history's snow scenes, see `winter.snow_fields`; None = no
        winter channel.

    Returns
    -------
    Dataset
        With (y, x), and for all detectors: ``status`` uint8; day numbers uint16 (0 = none)
        ``history_start``, ``first_anomaly``, ``last_normal`` (the last normal observation before
        it), ``confirmed``, ``last_observed``; ``n_history``; ``n_anomalies`` uint8. Attributes:
        version, detector, options hash, channel, last day processed.

        Of the evidence CUSUM besides: int16 ``coefficients`` (coef, y, x) in steps of
        1 / `INDEX_SCALE`; uint16 ``sigma`` in steps of 1e-5; int16 ``evidence`` S in steps of 1/256
        of log-odds, ``n_anomalies`` being the dates of evidence since S left 0; uint8 ``run_days``
        since then; ``normal_run`` dates and ``normal_days`` of the present run of normal
        observations; ``span_days`` from the first to the last anomaly of the event (of a finished
        or re-armed pixel: from the last normal observation to the evidence it has again); int8
        ``residuals`` (recent, y, x) of the event's newest observations in steps of 0.01, −128 =
        none. All uint8 end at 255. With a witness, ``witness_coefficients`` and ``witness_sigma``;
        with a winter channel, `winter.FIELDS`.

    Raises
    ------
    InputError
        For options of another detector, or a witness of a classical one.
    """
    chosen = chosen_options(options, detector)
    shape = tuple(model.sizes[name] for name in _PLANE)
    variables: dict[str, Any] = {
        "history_start": (_PLANE, model["history_start"].values.copy()),
        "n_anomalies": (_PLANE, np.zeros(shape, dtype=np.uint8)),
        "first_anomaly": (_PLANE, np.zeros(shape, dtype=np.uint16)),
        "last_normal": (_PLANE, model["last_normal"].values.copy()),
        "confirmed": (_PLANE, np.zeros(shape, dtype=np.uint16)),
        "last_observed": (_PLANE, model["last_observed"].values.copy()),
        "status": (_PLANE, model["status"].values.copy(), flags(Status)),
    }
    if isinstance(chosen, Options):
        variables |= _evidence_fields(model, shape)
        if witness is not None:
            variables |= _witness_fields(witness)
        if snow is not None:
            variables |= winter.snow_fields(snow, model["status"].values)
    elif witness is not None:
        raise InputError(f"detector {detector} hears no witness; use cusum_ll, or give none")
    else:
        detectors.rule_of(detector, chosen, decrease=decrease)  # refuses what has no border
        variables |= _classical_fields(model, shape, detector, chosen)
    state = xr.Dataset(
        variables,
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
    if isinstance(chosen, Options):
        state.attrs["forget_days"] = chosen.forget_days
    if isinstance(chosen, ClassicalOptions) and detector in ("ols_mosum", "iqr"):
        _remember(state, chosen, history)
    return state


def _evidence_fields(model: xr.Dataset, shape: tuple[int, ...]) -> dict[str, Any]:
    """Fields that only the evidence CUSUM has."""
    coefficients, sigma = _packed_model(model)
    bytes_ = ("run_days", "normal_run", "normal_days", "span_days")
    return {
        "coefficients": (("coef", *_PLANE), coefficients, model["coefficients"].attrs),
        "sigma": (_PLANE, sigma),
        "n_history": (_PLANE, np.minimum(model["n_history"].values, 255).astype(np.uint8)),
        "evidence": (_PLANE, np.zeros(shape, dtype=np.int16)),
        **{name: (_PLANE, np.zeros(shape, dtype=np.uint8)) for name in bytes_},
        "residuals": (
            ("recent", *_PLANE),
            np.full((N_RESIDUALS, *shape), NO_RESIDUAL, dtype=np.int8),
        ),
    }


def _packed_model(model: xr.Dataset) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]:
    """Coefficients and noise of a model in the steps of a state; noise 0 where there is none."""
    fitted = model["status"].values == Status.NONE
    coefficients = np.where(fitted, model["coefficients"].values, 0.0) * INDEX_SCALE
    sigma = np.where(fitted, model["sigma"].values, 0.0) / SIGMA_STEP
    return (
        np.rint(coefficients).astype(np.int16),
        np.clip(np.rint(sigma), fitted, 65535).astype(np.uint16),
    )


def _witness_fields(model: xr.Dataset) -> dict[str, Any]:
    """Model of the index that bears witness."""
    coefficients, sigma = _packed_model(model)
    return {
        "witness_coefficients": (("coef", *_PLANE), coefficients),
        "witness_sigma": (_PLANE, sigma),
    }


def _classical_fields(
    model: xr.Dataset, shape: tuple[int, ...], detector: str, options: ClassicalOptions
) -> dict[str, Any]:
    """Fields that only the classical detectors have."""
    depth = 1
    if detector == "ols_mosum":
        depth = max(1, int(options.h * int(model["n_history"].max())))
    return {
        "coefficients": (
            ("coef", *_PLANE),
            model["coefficients"].values.copy(),
            model["coefficients"].attrs,
        ),
        "sigma": (_PLANE, model["sigma"].values.copy()),
        "n_history": (_PLANE, model["n_history"].values.copy()),
        "n_observed": (_PLANE, np.zeros(shape, dtype=np.uint16)),
        "total": (_PLANE, np.zeros(shape, dtype=np.int32)),
        "process": (_PLANE, np.zeros(shape, dtype=np.float32)),
        "lower": (_PLANE, np.zeros(shape, dtype=np.float32)),
        "upper": (_PLANE, np.zeros(shape, dtype=np.float32)),
        "window": (("window", *_PLANE), np.zeros((depth, *shape), dtype=np.int16)),
    }


def _remember(
    state: xr.Dataset,
    options: ClassicalOptions,
    history: tuple[xr.DataArray, npt.ArrayLike] | None,
) -> None:
    """Put what the residuals of the history tell into a classical state."""
    if history is None:
        raise InputError(
            f"detector {state.attrs['detector']} begins with the residuals of the history; give "
            "history=(index, dates) that the model was fitted to"
        )
    day = day_numbers(history[1])
    detectors.remember_history(
        checked_stack(*history),
        day,
        _regressors(state, day),
        state["history_start"].values,
        options.h,
        options.iqr_factor,
        detectors.ClassicalFields(
            *(state[name].values for name in detectors.ClassicalFields._fields)
        ),
    )
    state.attrs["h"] = options.h


def _regressors(
    model: xr.Dataset,
    day: npt.NDArray[np.int64],
    *,
    of: Callable[..., npt.NDArray[np.float64]] = design,
) -> npt.NDArray[np.float64]:
    """Design of a model or state on these days, or its slope."""
    trend = bool(model.attrs["trend"])
    return of(day, (model.sizes["coef"] - 1 - trend) // 2, trend=trend)


def check_state(
    state: xr.Dataset,
    *,
    channel: str | None = None,
    options: AnyOptions = "standard",
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
    chosen = chosen_options(options, detector)
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
    options: AnyOptions = "standard",
    witness: xr.DataArray | None = None,
    witness_corrections: xr.Dataset | None = None,
    snow: xr.DataArray | None = None,
    snow_time: npt.ArrayLike = (),
    snow_offset: npt.ArrayLike = (),
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
    witness, witness_corrections
        Stack of the second index and what `scene.correction` gave for it, where the state was begun
        with a witness; which scenes are passed over is decided by `corrections` alone.
    snow, snow_time, snow_offset
        Brightness (time, y, x) int16 of snow scenes, their dates, after the state's last day too,
        and what `winter.snow_offset` gave for each; for a state with a winter channel.

    Returns
    -------
    Dataset
        The new state; it shares the model's arrays with the old one. A batch gives bit for bit
        what its dates give one after the other.

    Raises
    ------
    InputError
        If the state is of another grid, method or version; if dates are not after its last day (a
        late scene is to be replayed from an older state).
    """
    detector = str(state.attrs.get("detector", "cusum_ll"))
    chosen = chosen_options(options, detector)
    check_state(state, options=chosen, detector=detector, plane=index)
    stack = checked_stack(index, time)
    day = day_numbers(time)
    _refuse_late(state, day)
    offset, noise, rejected = _checked_corrections(corrections, len(day))
    stratum = _checked_strata(strata, corrections, stack.shape[1:])
    fields = _successors(state)
    X = _regressors(state, day)
    decrease = bool(state.attrs["decrease"])
    used = np.flatnonzero(~rejected)
    if isinstance(chosen, Options):
        rule = cusum.rule_of(chosen, decrease=decrease)
        how_seen = offset.astype(np.float32), noise.astype(np.float32)
        of_index = cusum.Seen(stack, *how_seen, fields["coefficients"], fields["sigma"])
        of_witness = _witness_seen(fields, witness, time, witness_corrections)
        held = cusum.Held(*(fields[name] for name in cusum.Held._fields))
        slopes = _regressors(state, day, of=design_slope).astype(np.float32)
        how = day, X.astype(np.float32), slopes, stratum, of_index, of_witness, rule, held
        if "snow_sigma" not in fields:
            cusum.observe(used, *how)
        else:
            snowy = _snow_scenes(state, snow, snow_time, snow_offset)
            for t in used:
                _see_snow(fields, snowy, until=int(day[t]))
                cusum.observe(np.array([t]), *how)
                winter.settle(stack[t], int(day[t]), *(fields[name] for name in winter.SETTLED))
            _see_snow(fields, snowy)
    else:
        classical = detectors.rule_of(detector, chosen, decrease=decrease)
        of_detector = detectors.ClassicalFields(
            *(fields[name] for name in detectors.ClassicalFields._fields)
        )
        for t in used:
            detectors.observe(
                stack[t], int(day[t]), X[t], offset[t], noise[t], stratum, classical, of_detector
            )
    new = state.copy()
    for name, values in fields.items():
        new.variables[name].values = values
    new.attrs["last_day"] = int(max(day[-1], *day_numbers(snow_time), 0))
    return new


def _successors(state: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Copy what an update writes into; the model, half of the bytes, stays shared."""
    return {
        str(name): variable.values if name in _OF_THE_MODEL else variable.values.copy()
        for name, variable in state.variables.items()
        if variable.ndim > 1  # "window" is named as its dimension, and so no data variable
    }


def _snow_scenes(
    state: xr.Dataset, snow: xr.DataArray | None, time: npt.ArrayLike, offset: npt.ArrayLike
) -> list[tuple[npt.NDArray[np.int16], int, float]]:
    """Snow scenes with day and offset, the newest first."""
    if snow is None or "snow_sigma" not in state or snow.sizes["time"] == 0:
        return []
    day = day_numbers(time)
    _refuse_late(state, day)
    offsets = np.asarray(offset, dtype=np.float64)
    stack = checked_stack(snow, time)
    return [(stack[t], int(day[t]), float(offsets[t])) for t in range(len(day))][::-1]


def _see_snow(
    fields: dict[str, Any],
    scenes: list[tuple[npt.NDArray[np.int16], int, float]],
    *,
    until: int | None = None,
) -> None:
    """Take in the snow scenes before a day, or all that are left."""
    while scenes and (until is None or scenes[-1][1] < until):
        winter.see_snow(*scenes.pop(), *(fields[name] for name in ("status", *winter.FIELDS)))


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
    """Offset and noise (time, stratum), rejected (time)."""
    if corrections is None:
        return np.zeros((n_times, 1)), np.ones((n_times, 1)), np.zeros(n_times, dtype=bool)
    if corrections.sizes["time"] != n_times:
        raise InputError(
            f"{corrections.sizes['time']} scene corrections for {n_times} slices; give one each"
        )
    variables = corrections.variables
    offset, noise = (
        np.ascontiguousarray(variables[name].transpose("time", "stratum").values, dtype=float)
        for name in ("offset", "noise")
    )
    return offset, noise, variables["rejected"].values.astype(bool)


def _witness_seen(
    fields: Mapping[str, npt.NDArray[Any]],
    witness: xr.DataArray | None,
    time: npt.ArrayLike,
    corrections: xr.Dataset | None,
) -> cusum.Seen:
    """Gather what the witness has seen; planes without pixels where there is none."""
    if "witness_sigma" not in fields:
        no_plane, no_row = np.empty((0, 0, 0), dtype=np.int16), np.empty((0, 0), dtype=np.float32)
        return cusum.Seen(no_plane, no_row, no_row, no_plane, np.empty((0, 0), dtype=np.uint16))
    if witness is None:
        raise InputError("the monitor state has a witness; give its index stack too")
    values = checked_stack(witness, time)
    offset, noise, _ = _checked_corrections(corrections, len(values))
    how_seen = offset.astype(np.float32), noise.astype(np.float32)
    return cusum.Seen(values, *how_seen, fields["witness_coefficients"], fields["witness_sigma"])


def _checked_strata(
    strata: xr.DataArray | None, corrections: xr.Dataset | None, plane: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    if corrections is None:
        return np.zeros(plane, dtype=np.uint8)
    if strata is None or strata.shape != plane or strata.dtype != np.uint8:
        found = "none" if strata is None else f"{strata.dtype} of shape {strata.shape}"
        raise InputError(f"scene corrections need uint8 strata of shape {plane}; found {found}")
    values = np.ascontiguousarray(strata.values)
    if values.max() >= corrections.sizes["stratum"]:
        raise InputError(
            f"the strata go up to {values.max()}, the corrections have "
            f"{corrections.sizes['stratum']} strata"
        )
    return values


def events(
    state: xr.Dataset,
    *,
    halo: Mapping[str, slice] | None = None,
    as_of: np.datetime64 | None = None,
) -> xr.Dataset:
    """Read what a state says of each pixel, in users' units.

    Parameters
    ----------
    state
        State of a block.
    halo
        The inside of a padded block as ``{"y": slice(1, -1), "x": slice(1, -1)}``; None = all.
    as_of
        Day of the reading, by default the state's last one: a single date of evidence that no
        observation has followed for `Options.forget_days` is no longer shown. Give the same day for
        all blocks of an area.

    Returns
    -------
    Dataset
        (y, x): ``status`` uint8; day numbers ``first_anomaly``, ``last_normal``, ``confirmed``,
        ``last_observed`` uint16 (0 = none), and ``likely_day``, the middle of the time from the
        last normal observation to the first anomaly, in which the change lies;
        ``probability`` float32 0 … 1, NaN without model; ``magnitude`` float32, the median of the
        event's newest anomalous residuals in index units, NaN without event; ``n_anomalies`` and
        ``span_days`` uint8; ``faded`` uint16, the first anomaly of a pixel of low confidence that
        is no longer shown, 0 elsewhere. Of a classical detector the magnitude is the residual or
        mean residual that its process stands for, the probability is NaN, and there is no
        ``span_days``. A REARMED pixel has a confirmed event, a lasting one that is over; the event
        of a FINISHED one was temporary.
    """
    inside = state.isel(halo) if halo else state
    faded = np.zeros(inside["status"].shape, dtype=np.uint16)
    if inside.attrs["detector"] == "cusum_ll":
        day = inside.attrs["last_day"] if as_of is None else int(day_numbers([as_of])[0])
        forgotten = _is_forgotten(inside, day)
        low = forgotten & (inside["status"].values == Status.LOW)
        faded[low] = inside["first_anomaly"].values[low]
        inside = _without(inside, forgotten)
        inside = _with_snow(inside)
    of_evidence = inside.attrs["detector"] == "cusum_ll"
    probability, magnitude = (_evidence_event if of_evidence else _classical_event)(inside)
    names = ["status", "first_anomaly", "last_normal", "confirmed", "last_observed", "n_anomalies"]
    return inside[names + (["span_days"] if of_evidence else [])].assign(
        likely_day=(_PLANE, _likely_day(inside)),
        faded=(_PLANE, faded),
        probability=(_PLANE, probability.astype(np.float32), {"units": "1"}),
        magnitude=(_PLANE, magnitude.astype(np.float32), {"units": "1"}),
    )


def _likely_day(state: xr.Dataset) -> npt.NDArray[np.uint16]:
    """Middle of the time in which the change lies; the first anomaly where no beginning is known.

    In the absence of any other knowledge a change is as likely on any of these days, and the middle
    is off by the least.
    """
    first, normal = state["first_anomaly"].values, state["last_normal"].values
    bounded = (normal > 0) & (normal < first)
    return np.where(bounded, first - (first - normal) // 2, first).astype(np.uint16)


def _is_forgotten(state: xr.Dataset, day: int) -> npt.NDArray[np.bool_]:
    """(y, x) True where all that speaks for a change is a single date too long ago."""
    flagged = np.isin(state["status"].values, (Status.FLAGGED, Status.LOW))
    alone = state["n_anomalies"].values < 2
    passed = day - state["last_observed"].values.astype(np.int64)
    return np.asarray(flagged & alone & (passed > state.attrs["forget_days"]))


def _without(state: xr.Dataset, forgotten: npt.NDArray[np.bool_]) -> xr.Dataset:
    """Take off what is forgotten."""
    kept = xr.DataArray(~forgotten, dims=_PLANE)
    shown = state.copy()
    for name in ("status", "first_anomaly", "evidence", "n_anomalies", "span_days"):
        shown[name] = state[name].where(kept, 0).astype(state[name].dtype)
    shown["residuals"] = state["residuals"].where(kept, NO_RESIDUAL).astype(np.int8)
    return shown


def _with_snow(state: xr.Dataset) -> xr.Dataset:
    """Show what the snow has shown, where no green scene has settled it."""
    if "snow_sigma" not in state:
        return state
    early = winter.shown_on_snow(state)
    shown = state.copy()
    normal = np.where(state["snow_normal"] > 0, state["snow_normal"], state["last_normal"])
    for name, value in (
        ("status", np.uint8(Status.WINTER_EARLY)),
        ("first_anomaly", state["snow_first"].values),
        ("last_normal", normal),
        ("evidence", state["snow_evidence"].values),
        ("n_anomalies", state["snow_dates"].values),
    ):
        values = np.where(early, value, state[name].values)
        shown[name] = state[name].copy(data=values.astype(state[name].dtype))
    return shown


def _evidence_event(state: xr.Dataset) -> tuple[npt.NDArray[np.floating], ...]:
    """Probability and magnitude of the evidence CUSUM."""
    residuals = state["residuals"].values
    kept = np.where(residuals == NO_RESIDUAL, np.nan, residuals * RESIDUAL_STEP)
    magnitude = np.full(kept.shape[1:], np.nan)
    some = ~np.isnan(kept).all(axis=0)
    magnitude[some] = np.nanmedian(kept[:, some], axis=0)
    odds = state["evidence"].values / EVIDENCE_STEPS
    monitored = state["status"].values < Status.NOT_FOREST
    return np.where(monitored, 1.0 / (1.0 + np.exp(-odds)), np.nan), magnitude


def _classical_event(state: xr.Dataset) -> tuple[npt.NDArray[np.floating], ...]:
    """No probability, and the residual (or mean residual) that the process stands for."""
    process = state["process"].values.astype(np.float64)
    sigma, m = state["sigma"].values, state["n_history"].values.astype(np.float64)
    summed = process * sigma * np.sqrt(m)
    magnitude = {
        "ols_cusum": lambda: summed / np.maximum(state["n_observed"].values, 1),
        "ols_mosum": lambda: summed / np.maximum(np.floor(state.attrs["h"] * m), 1),
        "ewma": lambda: process * sigma,
    }.get(state.attrs["detector"], lambda: process)()
    broken = state["status"].values == Status.CONFIRMED
    return np.full(process.shape, np.nan), np.where(broken, magnitude, np.nan)
