"""The seasonal model of each pixel's stable history.

y(t) = β₀ + Σ_{k=1..K} [a_k cos 2πkτ + b_k sin 2πkτ], τ = (t − t₀) / 365.25 days,

fitted by ordinary least squares or robustly (iteratively reweighted, Tukey's bisquare), after the
history has been trimmed to its stable part by the reverse ordered CUSUM.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from lesniva.change.critical import reverse_cusum_critical_value
from lesniva.change.lanes import LANES, Calendar, Fitted, Method, fit_pixels
from lesniva.change.regression import (
    coefficient_names,
    day_numbers,
    design,
    grouped,
    moments,
    subset_sums,
)
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status, flags, from_day_number
from lesniva.errors import InputError

NEWEST = 5
"""So many of the newest observations tell whether a pixel is what it was …"""

NORMAL_DEPARTURE = 1.5
"""… by their median, at most so many noises off the curve."""

_AT_ONCE = 4096
"""Unstable pixels that are fitted again at the same time; bounds the memory."""


def fit(
    index: xr.DataArray,
    time: npt.ArrayLike,
    *,
    method: Literal["robust", "ols"] = "robust",
    trim: Literal["roc"] | None = "roc",
    trim_level: float = 0.05,
    trend: bool = False,
    max_order: int | None = None,
    sigma: Literal["mad", "ols"] = "mad",
    sigma_floor: float = 0.012,
) -> xr.Dataset:
    """Fit the seasonal model of every pixel.

    Parameters
    ----------
    index
        (time, y, x) int16, index × `conventions.INDEX_SCALE`, missing = `NODATA_INT16`; the history
        only.
    time
        Rising ``datetime64`` dates of the slices, one a solar day.
    method
        "ols", or "robust": bisquare (c = 4.685) weights with scale 1.4826 × median |residual|, at
        most six iterations.
    trim
        "roc": drop what lies before the last structural change found by the reverse ordered CUSUM
        (Pesaran & Timmermann 2002; exact to R strucchange), then fit the rest anew. Where that
        leaves too little, a robust fit keeps all if the median of the five newest observations is
        within 1.5 σ of it. None: keep all.
    trim_level
        Significance level of that test.
    trend
        Add a linear trend (years).
    max_order
        Most harmonics; default 3, with a trend 2 (both fill the monitor's state).
        By the observations there are: 1 harmonic below 15, 2 below 40 or in fewer than three
        calendar years, 3 otherwise.
    sigma
        "mad": √((1.4826 median |residual|)² + floor²); "ols": √(RSS / (n − p)), without the floor.
    sigma_floor
        Least noise of the index, in index units (0.012 for NBR, NDVI, NDMI; 0.02 for CRSWIR, NDRE).

    Returns
    -------
    Dataset
        ``coefficients`` (coef, y, x) float32, zero above the order used; ``sigma`` float32;
        ``order`` uint8; ``n_history`` uint16; day numbers (uint16, 0 = none) ``history_start``,
        ``last_observed`` and ``last_normal`` (last observation within 1.5 σ); ``status`` uint8:
        `Status.NONE` where there is a model, NEVER_CLEAR without any observation,
        TOO_FEW_OBSERVATIONS (fewer than 9, or in one calendar year), UNSTABLE_HISTORY (fewer than
        9 or less than 183 days left after a trim that is believed). Without a model the
        coefficients are NaN.

    Raises
    ------
    InputError
        If the stack or its dates are not as described.
    """
    stack = checked_stack(index, time)
    if max_order is None:
        max_order = 2 if trend else 3
    if not 1 <= max_order <= 5:
        raise InputError(f"max_order is {max_order}; a seasonal model has 1 to 5 harmonics")
    if method not in ("robust", "ols") or trim not in ("roc", None) or sigma not in ("mad", "ols"):
        raise InputError(
            f"method={method!r}, trim={trim!r}, sigma={sigma!r}; use method 'robust' or 'ols', "
            "trim 'roc' or None, sigma 'mad' or 'ols'"
        )
    day = day_numbers(time)
    p = 1 + trend + 2 * max_order
    shape = stack.shape[1:]
    n_pixels = shape[0] * shape[1]
    fitted = _room(p, n_pixels)
    calendar = _calendar(day, max_order, trend=trend)
    how = Method(
        trend=int(trend),
        max_order=max_order,
        robust=method == "robust",
        critical=reverse_cusum_critical_value(trim_level) if trim == "roc" else 0.0,
        floor=-1.0 if sigma == "ols" else float(sigma_floor),
    )
    pixels = stack.reshape(len(day), n_pixels)
    fit_pixels(pixels, calendar, how, fitted, LANES)
    if method == "robust" and trim == "roc":
        _reconsider(pixels, calendar, how, fitted)
    plane = ("y", "x")
    variables = {
        name: (plane, values.reshape(shape))
        for name, values in fitted._asdict().items()
        if name != "coefficients"
    }
    model = xr.Dataset(
        {
            "coefficients": (
                ("coef", *plane),
                fitted.coefficients.reshape(p, *shape),
                {"names": " ".join(coefficient_names(max_order, trend=trend))},
            ),
            **variables,
        },
        coords=plane_coords(index),
        attrs={
            "trend": int(trend),
            "method": method,
            "trim": trim or "none",
            "trim_level": trim_level,
            "sigma_rule": sigma,
            "sigma_floor": sigma_floor,
            "history_end": int(day[-1]),
        },
    )
    model["status"].attrs.update(flags(Status))
    return model


def _calendar(day: npt.NDArray[np.int64], max_order: int, *, trend: bool) -> Calendar:
    """Prepare what depends on the dates alone."""
    year = from_day_number(day).astype("datetime64[Y]").astype(np.int64)
    X = design(day, max_order, trend=trend)
    columns, place, share = moments(day, max_order, trend=trend)
    first = grouped(year)
    padding = max(8, -(-X.shape[1] // 4) * 4) - X.shape[1]
    padded = np.pad(X, ((0, 0), (0, padding)))
    return Calendar(
        day=day,
        year=year,
        X=padded,
        x=padded.astype(np.float32),
        moments=columns,
        place=place,
        share=share,
        first=first,
        subsets=subset_sums(columns, first),
    )


def _room(p: int, n_pixels: int) -> Fitted:
    """Arrays for the results of so many pixels."""
    return Fitted(
        coefficients=np.empty((p, n_pixels), dtype=np.float32),
        sigma=np.empty(n_pixels, dtype=np.float32),
        order=np.empty(n_pixels, dtype=np.uint8),
        status=np.empty(n_pixels, dtype=np.uint8),
        n_history=np.empty(n_pixels, dtype=np.uint16),
        history_start=np.empty(n_pixels, dtype=np.uint16),
        last_observed=np.empty(n_pixels, dtype=np.uint16),
        last_normal=np.empty(n_pixels, dtype=np.uint16),
    )


def _reconsider(
    stack: npt.NDArray[np.int16], calendar: Calendar, how: Method, fitted: Fitted
) -> None:
    """Keep the whole history of unstable pixels whose newest observations are normal in it.

    The recursive residuals of the trim are not robust: a few hazy dates late in a history cross the
    boundary. The robust curve through all of it bears them. A canopy that was lost in the last
    months of the history lies far off that curve, and stays unstable.
    """
    every = np.flatnonzero(fitted.status == Status.UNSTABLE_HISTORY)
    for first in range(0, every.size, _AT_ONCE):
        unstable = every[first : first + _AT_ONCE]
        columns = np.ascontiguousarray(stack[:, unstable])
        whole = _room(fitted.coefficients.shape[0], unstable.size)
        fit_pixels(columns, calendar, how._replace(critical=0.0), whole, LANES)
        modelled = whole.status == Status.NONE
        seen = columns != NODATA_INT16
        newest = seen & (np.cumsum(seen[::-1], axis=0)[::-1] <= NEWEST)
        residual = columns / INDEX_SCALE
        # not as a matrix product: what a pixel gets must not depend on how many there are
        columns_of_X = calendar.X.T[: len(whole.coefficients)]  # without the padding
        for x, coefficient in zip(columns_of_X, whole.coefficients, strict=True):
            residual -= x[:, np.newaxis] * np.where(modelled, coefficient, 0.0)
        residual[~newest] = np.nan
        departure = np.abs(np.nanmedian(residual, axis=0))
        normal = modelled & (departure <= NORMAL_DEPARTURE * whole.sigma)
        for name in Fitted._fields:
            getattr(fitted, name)[..., unstable[normal]] = getattr(whole, name)[..., normal]


def expected(model: xr.Dataset, time: npt.ArrayLike) -> xr.DataArray:
    """Index that a history model expects at some dates.

    Parameters
    ----------
    model
        What `fit` returned.
    time
        ``datetime64`` dates.

    Returns
    -------
    DataArray
        (time, y, x) float32, NaN where a pixel has no model.
    """
    trend = bool(model.attrs["trend"])
    order = (model.sizes["coef"] - 1 - trend) // 2
    regressors = xr.DataArray(design(day_numbers(time), order, trend=trend), dims=("time", "coef"))
    values = (regressors * model["coefficients"]).sum("coef", skipna=False)
    dates = np.asarray(time, dtype="datetime64[ns]")
    return values.transpose("time", "y", "x").astype(np.float32).assign_coords(time=dates)


def checked_stack(index: xr.DataArray, time: npt.ArrayLike) -> npt.NDArray[np.int16]:
    """Values of an index stack, after checks of its dims, type and dates.

    Raises
    ------
    InputError
        If dims are not (time, y, x), the type is not int16, or the dates do not rise.
    """
    if index.dims != ("time", "y", "x") or index.dtype != np.int16:
        raise InputError(
            f"the index stack has dims {index.dims} and type {index.dtype}; "
            "give int16 with dims ('time', 'y', 'x')"
        )
    days = day_numbers(time)
    if days.shape != (index.sizes["time"],) or days.size == 0:
        raise InputError(
            f"the index stack has {index.sizes['time']} slices and there are {days.size} dates; "
            "give one date a slice, and at least one"
        )
    if (np.diff(days) <= 0).any():
        at = int(np.flatnonzero(np.diff(days) <= 0)[0])
        pair = " then ".join(str(d) for d in from_day_number(days[at : at + 2]))
        raise InputError(f"dates must rise, one slice a solar day; found {pair}")
    if days[0] < 1:
        raise InputError(f"the first date is {from_day_number(days[:1])[0]}; dates begin in 2015")
    return np.ascontiguousarray(index.values)


def plane_coords(index: xr.DataArray | xr.Dataset) -> dict[str, xr.DataArray]:
    """Coordinates x and y, where the array has them."""
    return {name: index.coords[name] for name in ("y", "x") if name in index.coords}
