"""Scene correction by stratum, and the gate that keeps spoilt scenes from the detector.

A whole stratum (forests of one type, or of one seasonal amplitude) departs from its model together
when spring is late, haze lies over it or the sun stands otherwise. Each block counts its residuals
into histograms with fixed bins; counts of blocks add up exactly, in any order and partition; from
the sum come the median departure of each stratum and the verdict on each scene.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from numba import njit

from lesniva.change.cusum import SIGMA_STEP
from lesniva.change.history import checked_stack, plane_coords
from lesniva.change.regression import (
    MAD_TO_SIGMA,
    Float,
    Single,
    day_numbers,
    design,
    inner,
    predict,
)
from lesniva.conventions import INDEX_SCALE, NODATA_INT16, Status
from lesniva.errors import InputError

RESIDUAL_BIN = 0.0025
"""Width of a bin of residuals, in index units; the bins span −1 … 1, the outer ones the rest."""

Z_BIN = 0.05
"""Width of a bin of standardised residuals; the bins span −20 … 20, the outer ones the rest."""

SIGMA_BIN = 0.0005
"""Width of a bin of the noise, in index units, from 0 to 0.4."""

AMPLITUDE_BIN = 0.001
"""Width of a bin of the seasonal amplitude, in index units, from 0 to 1."""

AMPLITUDE_EDGES = (0.05, 0.1, 0.15, 0.2, 0.3)
"""Edges of the default amplitude strata, in index units."""

_N_BINS = 800
_ROWS_AT_ONCE = 16
_N_AMPLITUDE_BINS = 1000
_NODATA = int(NODATA_INT16)
_SCALE = float(INDEX_SCALE)
_TO_INDEX = np.float32(1.0 / _SCALE)
_FIRST_BIN, _LAST_BIN = np.float32(0.0), np.float32(_N_BINS - 1)
_FIRST_WITHOUT_MODEL = int(Status.NOT_FOREST)


def seasonal_amplitude(model: xr.Dataset, *, season: tuple[int, int] = (115, 300)) -> xr.DataArray:
    """Range of the fitted curve within the season, without its trend.

    Parameters
    ----------
    model
        Model (`history.fit`) or monitor state.
    season
        First and last day of the year of the observations the model was fitted to: outside them the
        curve is not held by anything.

    Returns
    -------
    DataArray
        (y, x) float32 in index units, NaN without model.
    """
    coefficients, unit = _coefficients(model)
    trend = int(model.attrs["trend"])
    harmonics = coefficients[1 + trend :]
    # Day numbers count from a 1 January.
    X = design(np.arange(season[0] - 1, season[1], 5), harmonics.shape[0] // 2)[:, 1:]
    amplitude = np.empty(harmonics.shape[1:], dtype=np.float32)
    _range_of_curve(X, harmonics, unit, model["status"].values, amplitude)
    return xr.DataArray(amplitude, dims=("y", "x"), coords=plane_coords(model))


def amplitude_strata(
    amplitude: xr.DataArray, *, edges: Sequence[float] = AMPLITUDE_EDGES
) -> xr.DataArray:
    """Strata of equal seasonality: 0 below the first edge … len(edges) from the last one on.

    Parameters
    ----------
    amplitude
        What `seasonal_amplitude` returned.
    edges
        Rising, in index units; the same for all blocks of an area.

    Returns
    -------
    DataArray
        (y, x) uint8; 0 also where there is no model.
    """
    rising = np.asarray(edges, dtype=np.float64)
    if rising.size > 250 or (np.diff(rising) <= 0.0).any():
        raise InputError(f"amplitude edges {list(edges)} do not rise (or are more than 250)")
    known = np.nan_to_num(amplitude.values, nan=-1.0)
    strata = np.searchsorted(rising, known, side="right").astype(np.uint8)
    return xr.DataArray(strata, dims=("y", "x"), coords=plane_coords(amplitude))


def amplitude_counts(amplitude: xr.DataArray) -> npt.NDArray[np.int64]:
    """Histogram of amplitudes with fixed bins; counts of blocks (without halo) may be added."""
    known = amplitude.values[~np.isnan(amplitude.values)]
    place = np.clip((known / AMPLITUDE_BIN).astype(np.int64), 0, _N_AMPLITUDE_BINS - 1)
    return np.bincount(place, minlength=_N_AMPLITUDE_BINS).astype(np.int64)


def amplitude_quantiles(counts: npt.NDArray[np.int64], *, n: int = 6) -> tuple[float, ...]:
    """Edges that part the counted pixels into at most n strata of about equal size."""
    total = np.cumsum(counts)
    wanted = total[-1] * np.arange(1, n) / n
    edges = (np.searchsorted(total, wanted) + 1) * AMPLITUDE_BIN
    return tuple(float(edge) for edge in np.unique(np.round(edges, 6)))


def scene_residuals(
    model: xr.Dataset,
    index: xr.DataArray,
    time: npt.ArrayLike,
    strata: xr.DataArray,
    *,
    n_strata: int,
    decrease: bool = True,
    exclude: xr.DataArray | None = None,
) -> xr.Dataset:
    """Count the residuals of scenes by stratum; give a block's inside only, without its halo.

    Parameters
    ----------
    model
        Model (`history.fit`) or monitor state of the block.
    index, time
        As in `history.fit`.
    strata
        (y, x) uint8, less than n_strata.
    n_strata
        Number of strata of the area.
    decrease
        True where a disturbance lowers the index.
    exclude
        (y, x) bool, pixels to leave out, for example those flagged by then. Leaving none out keeps
        the statistics independent of the state; the median bears them.

    Returns
    -------
    Dataset
        int64 counts that may be added over blocks (`merge_statistics`): ``residuals`` (time,
        stratum, residual_bin), ``z`` (time, stratum, z_bin), ``sigma`` (stratum, sigma_bin) of all
        pixels with a model.
    """
    stack = checked_stack(index, time)
    plane = stack.shape[1:]
    if strata.shape != plane or strata.dtype != np.uint8 or strata.values.max() >= n_strata:
        raise InputError(
            f"strata are {strata.dtype} of shape {strata.shape} up to {strata.values.max()}; "
            f"give uint8 of shape {plane} below n_strata={n_strata}"
        )
    coefficients, unit = _coefficients(model)
    sigma, status = model.variables["sigma"].values, model.variables["status"].values
    sigma_unit = SIGMA_STEP if sigma.dtype == np.uint16 else 1.0
    left_out = np.zeros(plane, dtype=bool) if exclude is None else exclude.values
    order = (coefficients.shape[0] - 1 - int(model.attrs["trend"])) // 2
    X = design(day_numbers(time), order, trend=bool(model.attrs["trend"]))
    of_residual = np.zeros((len(stack), n_strata, _N_BINS), dtype=np.int64)
    of_z = np.zeros_like(of_residual)
    of_sigma = np.zeros((n_strata, _N_BINS), dtype=np.int64)
    _count_sigma(sigma, sigma_unit, status, left_out, strata.values, of_sigma)
    _count_residuals(
        stack,
        X.astype(np.float32),
        coefficients,
        np.float32(unit),
        sigma,
        np.float32(sigma_unit),
        status,
        left_out,
        strata.values,
        np.float32(1.0 if decrease else -1.0),
        of_residual,
        of_z,
    )
    return xr.Dataset(
        {
            "residuals": (("time", "stratum", "residual_bin"), of_residual),
            "z": (("time", "stratum", "z_bin"), of_z),
            "sigma": (("stratum", "sigma_bin"), of_sigma),
        },
        coords={"time": np.asarray(time, dtype="datetime64[ns]")},
        attrs={"decrease": int(decrease)},
    )


def merge_statistics(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Add the counts of blocks, all of the same scenes and strata."""
    if not parts:
        raise InputError("there are no scene statistics to merge; give those of one block at least")
    first = parts[0]
    for part in parts[1:]:
        dates = part.variables["time"].values, first.variables["time"].values
        same = part.sizes == first.sizes and np.array_equal(*dates)
        if not same or part.attrs != first.attrs:
            raise InputError(
                "scene statistics to merge differ in scenes, strata or sign: "
                f"{dict(first.sizes)} and {dict(part.sizes)}"
            )
    total = {
        name: variable.values.copy() for name, variable in first.variables.items() if name != "time"
    }
    for part in parts[1:]:
        for name in total:
            total[name] += part.variables[name].values
    return first.copy(data=total)


def correction(
    statistics: xr.Dataset,
    *,
    gate: bool = True,
    usual_spread: npt.ArrayLike | None = None,
    min_pixels: int = 60,
    shrink: float = 200.0,
    cap: float = 3.0,
    min_valid_share: float = 0.05,
    max_median_z: float = 4.0,
    max_anomalous_share: float = 0.25,
) -> xr.Dataset:
    """Departure of each stratum in each scene, and which scenes to pass over.

    Parameters
    ----------
    statistics
        Merged over all blocks of the area.
    gate
        Reject spoilt scenes. False for the history, whose robust fit bears them better than the
        loss of dates; scenes that show too little of the forest are rejected all the same.
    usual_spread
        (stratum) spread of the departures in the history (`usual_spread`), for the regional
        anomalies; None = none reported.
    min_pixels
        A stratum with fewer observations is not corrected.
    shrink
        The departure of n pixels is multiplied by n / (n + shrink).
    cap
        Most that is taken off, in medians of the stratum's noise.
    min_valid_share, max_median_z, max_anomalous_share
        A scene is rejected with a smaller share of observed forest; with a median |z| above, before
        the correction; with a larger share of z < −3 after it (haze).

    Returns
    -------
    Dataset
        ``offset`` (time, stratum) float64 in index units, to be taken off the residuals;
        ``noise`` (time, stratum) float64 ≥ 1, by which σ is to be multiplied: how much wider than
        the model's noise the stratum scatters in this scene (haze in patches, half-open buds);
        ``departure`` the same before shrinking and cap, NaN where not known; ``regional_anomaly``
        (time, stratum) bool, |departure| > 2.5 usual spreads; ``rejected`` (time) bool and
        ``reason`` (time) str, empty where not; ``valid_share``, ``median_z``, ``anomalous_share``
        (time) float64.
    """
    variables = statistics.variables
    up_to, z_up_to, sigma_up_to = (
        variables[name].values.cumsum(axis=-1) for name in ("residuals", "z", "sigma")
    )
    seen = up_to[..., -1]
    departure = _histogram_quantile(up_to, 0.5, -1.0, RESIDUAL_BIN)
    departure[seen < min_pixels] = np.nan
    noise = _histogram_quantile(sigma_up_to, 0.5, 0.0, SIGMA_BIN)
    limit = cap * np.nan_to_num(noise)
    shift = np.clip(np.nan_to_num(departure) * seen / (seen + shrink), -limit, limit)

    sign = 1.0 if statistics.attrs["decrease"] else -1.0
    valid_share = seen.sum(axis=1) / max(int(sigma_up_to[..., -1].sum()), 1)
    median_z = _histogram_quantile(z_up_to.sum(axis=1), 0.5, -20.0, Z_BIN)
    # z < −3 after the correction is z < −3 + shift / σ before it; σ by its median in the stratum.
    edge = -3.0 + sign * shift / np.where(noise > 0.0, noise, 1.0)
    place = np.clip(np.floor((edge + 20.0) / Z_BIN).astype(np.int64), 0, _N_BINS)
    anomalous = np.where(place > 0, _at(z_up_to, place - 1), 0)
    anomalous_share = anomalous.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)

    reasons = [
        _reason(
            *values,
            min_valid_share,
            max_median_z if gate else np.inf,
            max_anomalous_share if gate else 1.0,
        )
        for values in zip(valid_share, median_z, anomalous_share, strict=True)
    ]
    regional = np.zeros(shift.shape, dtype=bool)
    if usual_spread is not None:
        regional = np.abs(departure) > 2.5 * np.asarray(usual_spread, dtype=np.float64)
    # Half of a normal distribution's lower side lies within 0.674 σ of its median. Changes that
    # cover less than a quarter of a stratum hardly widen it; greening does not at all.
    middle, lower = (_histogram_quantile(z_up_to, share, -20.0, Z_BIN) for share in (0.5, 0.25))
    wider = np.fmax((middle - lower) / 0.6745, 1.0)
    noise_factor = np.where(seen >= min_pixels, wider, 1.0)
    both = ("time", "stratum")
    return xr.Dataset(
        {
            "offset": (both, shift, {"units": "1"}),
            "noise": (both, noise_factor),
            "departure": (both, departure, {"units": "1"}),
            "regional_anomaly": (both, regional),
            "rejected": ("time", np.array([bool(reason) for reason in reasons])),
            "reason": ("time", np.array(reasons, dtype=np.str_)),
            "valid_share": ("time", valid_share),
            "median_z": ("time", median_z),
            "anomalous_share": ("time", anomalous_share),
        },
        coords=statistics.coords,
    )


def _reason(
    valid_share: float,
    median_z: float,
    anomalous_share: float,
    min_valid_share: float,
    max_median_z: float,
    max_anomalous_share: float,
) -> str:
    """Why a scene is rejected, empty where it is not."""
    if valid_share < min_valid_share:
        return f"{valid_share:.1%} of the forest observed, at least {min_valid_share:.0%} asked"
    if abs(median_z) > max_median_z:
        return f"median departure of {median_z:.1f} noises, at most {max_median_z:g} allowed"
    if anomalous_share > max_anomalous_share:
        return f"{anomalous_share:.0%} of the forest anomalous, likely haze or snow"
    return ""


def usual_spread(corrections: xr.Dataset) -> npt.NDArray[np.float64]:
    """Robust standard deviation of the departures of accepted scenes of the history.

    Parameters
    ----------
    corrections
        What `correction` gave for the scenes of the history.

    Returns
    -------
    ndarray
        (stratum) float64 in index units, NaN for a stratum never measured.
    """
    known = corrections["departure"].values[~corrections["rejected"].values]
    spread = np.full(known.shape[1], np.nan)
    some = ~np.isnan(known).all(axis=0)
    spread[some] = MAD_TO_SIGMA * np.nanmedian(np.abs(known[:, some]), axis=0)
    return spread


def corrected(index: xr.DataArray, strata: xr.DataArray, corrections: xr.Dataset) -> xr.DataArray:
    """Take the offsets off a stack and blank the rejected scenes, to fit the history anew.

    Parameters
    ----------
    index
        (time, y, x) int16 as in `history.fit`.
    strata
        (y, x) uint8.
    corrections
        What `correction` gave for these scenes.

    Returns
    -------
    DataArray
        A new int16 stack.
    """
    if corrections.sizes["time"] != index.sizes["time"]:
        raise InputError(
            f"{corrections.sizes['time']} scene corrections for {index.sizes['time']} slices; "
            "give one each"
        )
    steps = np.rint(corrections["offset"].values * _SCALE).astype(np.int16)
    values = index.values.copy()
    for t, rejected in enumerate(corrections["rejected"].values):
        if rejected:
            values[t] = _NODATA
        else:
            seen = values[t] != _NODATA
            values[t][seen] -= steps[t][strata.values[seen]]
    return index.copy(data=values)


def _coefficients(model: xr.Dataset) -> tuple[npt.NDArray[np.generic], float]:
    """Coefficients as stored, and index units in one of them: a model's or a state's."""
    values = model.variables["coefficients"].values
    return values, 1.0 / _SCALE if values.dtype == np.int16 else 1.0


def _histogram_quantile(
    up_to: npt.NDArray[np.int64], share: float, low: float, width: float
) -> Float:
    """Quantile along the last axis of running sums, linear in its bin; NaN for empty histograms."""
    total = up_to[..., -1]
    wanted = share * total
    # counts are whole numbers
    place = (up_to >= np.ceil(wanted).astype(np.int64)[..., None]).argmax(axis=-1)
    before = np.where(place > 0, _at(up_to, place - 1), 0)
    within = (wanted - before) / np.maximum(_at(up_to, place) - before, 1)
    return np.where(total > 0, low + (place + within) * width, np.nan)


def _at(values: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Values at one place each of the last axis."""
    return np.take_along_axis(values, place[..., None], axis=-1)[..., 0]


@njit(nogil=True, cache=True, error_model="numpy")
def _range_of_curve(
    X: Float,
    harmonics: npt.NDArray[np.generic],
    unit: float,
    status: npt.NDArray[np.uint8],
    amplitude: npt.NDArray[np.float32],
) -> None:
    for row in range(amplitude.shape[0]):
        for column in range(amplitude.shape[1]):
            if status[row, column] >= _FIRST_WITHOUT_MODEL:
                amplitude[row, column] = np.nan
                continue
            low, high = np.inf, -np.inf
            for t in range(X.shape[0]):
                fitted = 0.0
                for j in range(X.shape[1]):
                    fitted += X[t, j] * harmonics[j, row, column]
                low, high = min(low, fitted), max(high, fitted)
            amplitude[row, column] = (high - low) * unit


@njit(nogil=True, cache=True, error_model="numpy")
def _count_sigma(
    sigma: npt.NDArray[np.generic],
    sigma_unit: float,
    status: npt.NDArray[np.uint8],
    left_out: npt.NDArray[np.bool_],
    strata: npt.NDArray[np.uint8],
    of_sigma: npt.NDArray[np.int64],
) -> None:
    last = of_sigma.shape[1] - 1
    for row in range(sigma.shape[0]):
        for column in range(sigma.shape[1]):
            if status[row, column] < _FIRST_WITHOUT_MODEL and not left_out[row, column]:
                place = int(sigma[row, column] * sigma_unit / SIGMA_BIN)
                of_sigma[strata[row, column], min(place, last)] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _count_residuals(
    values: npt.NDArray[np.int16],
    X: Single,
    coefficients: npt.NDArray[np.generic],
    unit: np.float32,
    sigma: npt.NDArray[np.generic],
    sigma_unit: np.float32,
    status: npt.NDArray[np.uint8],
    left_out: npt.NDArray[np.bool_],
    strata: npt.NDArray[np.uint8],
    sign: np.float32,
    of_residual: npt.NDArray[np.int64],
    of_z: npt.NDArray[np.int64],
) -> None:
    """Count scenes (time, y, x), some rows in all scenes while their model is in the cache."""
    n_times, height, width = values.shape
    residual, z = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    of_row, z_of_row = np.empty(width, dtype=np.int32), np.empty(width, dtype=np.int32)
    counted, columns = np.empty(width, dtype=np.bool_), np.empty(width, dtype=np.uint64)
    for first in range(0, height, _ROWS_AT_ONCE):
        for t in range(n_times):
            bins, z_bins = of_residual[t].reshape(-1), of_z[t].reshape(-1)
            for row in range(first, min(first + _ROWS_AT_ONCE, height)):
                n = _columns_to_count(values[t, row], status[row], left_out[row], counted, columns)
                if n == 0:
                    continue
                _residuals(row, values[t, row], X[t], coefficients, unit, residual)
                for column in range(width):
                    noise = np.float32(sigma[row, column]) * sigma_unit
                    z[column] = sign * residual[column] / noise
                _places(residual, -1.0, RESIDUAL_BIN, strata[row], of_row)
                _places(z, -20.0, Z_BIN, strata[row], z_of_row)
                for at in range(n):
                    column = columns[at]
                    bins[of_row[column]] += 1
                    z_bins[z_of_row[column]] += 1


@inner
def _columns_to_count(
    values: npt.NDArray[np.int16],
    status: npt.NDArray[np.uint8],
    left_out: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
    columns: npt.NDArray[np.uint64],
) -> int:
    """Columns of a row that have a model and an observation; returns how many there are."""
    for column in range(values.size):
        modelled = (status[column] < _FIRST_WITHOUT_MODEL) & (not left_out[column])
        counted[column] = modelled & (values[column] != _NODATA)
    n = 0
    for column in range(values.size):
        # no branch: clouds do not let themselves be predicted
        columns[n] = column
        n += counted[column]
    return n


@inner
def _residuals(
    row: int,
    values: npt.NDArray[np.int16],
    x: Single,
    coefficients: npt.NDArray[np.generic],
    unit: np.float32,
    residual: Single,
) -> None:
    """Departures of a row from the model; without observation or model of no account."""
    predict(row, x, coefficients, residual)
    for column in range(values.size):
        residual[column] = np.float32(values[column]) * _TO_INDEX - residual[column] * unit


@inner
def _places(
    values: Single,
    low: float,
    width: float,
    strata: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int32],
) -> None:
    """Bins of values in those of all strata, the outer ones for what lies beyond."""
    first, per_unit = np.float32(low), np.float32(1.0 / width)
    for column in range(values.size):
        place = min(max((values[column] - first) * per_unit, _FIRST_BIN), _LAST_BIN)
        places[column] = np.int32(place) + np.int32(strata[column]) * np.int32(_N_BINS)
