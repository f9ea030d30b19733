"""Dekadal series of one season: smoothed by what is known, and the phenology they tell.

NDVI by dekad is smoothed by Whittaker's method [1]_ over what is there; the strength of the
smoothing is chosen for each row by leave-one-out errors of its own observations. Nothing is
extrapolated: after the last observation its value stands.

References
----------
.. [1] Eilers, P. H. C. (2003). A perfect smoother. Analytical Chemistry 75(14), 3631-3636.
   https://doi.org/10.1021/ac034173t
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SMOOTHING = (0.03, 0.3, 3.0)
"""Strengths to choose from, in units of a fully clear dekad."""

SPRING = "03-01"
"""Integrals and phenology start here."""

DENSE_NDVI = 0.5

SOS_SHARE = 0.2
"""The season starts at this share of the amplitude."""


def smooth(values: Floats, weights: Floats) -> Floats:
    """Whittaker smoothing of evenly spaced series with gaps.

    Parameters
    ----------
    values
        (N, D); NaN = missing.
    weights
        Trust in each value, (N, D), 0-1; ignored where missing.

    Returns
    -------
    ndarray
        (N, D): gaps filled between the first and the last value; NaN before the first; the last
        smoothed value after the last. A series of fewer than three values is interpolated.
    """
    present = np.isfinite(values)
    weight = np.where(present, np.maximum(weights, 1e-3), 0.0)
    filled = np.where(present, values, 0.0)
    smoothed = np.full(values.shape, np.nan)
    enough = present.sum(axis=1) >= 3
    if enough.any():
        smoothed[enough] = _whittaker(filled[enough], weight[enough])
    for row in np.flatnonzero(~enough & present.any(axis=1)):
        at = np.flatnonzero(present[row])
        smoothed[row] = np.interp(np.arange(values.shape[1]), at, values[row, at])
    return _held(smoothed, present)


def _whittaker(values: Floats, weights: Floats) -> Floats:
    length = values.shape[1]
    difference = np.diff(np.eye(length), n=2, axis=0)
    penalty = difference.T @ difference
    best = np.full(len(values), np.inf)
    result = np.empty_like(values)
    for strength in SMOOTHING:
        # (W + λ D'D) s = W z for all rows at once; the inverse also gives the leverages.
        system = strength * penalty + np.eye(length) * weights[:, None, :]
        inverse = np.linalg.inv(system)
        fit = np.einsum("nij,nj->ni", inverse, weights * values)
        leverage = np.einsum("nii->ni", inverse) * weights
        left_out = (values - fit) / np.maximum(1 - leverage, 1e-6)
        error = (weights * left_out**2).sum(axis=1)
        better = error < best
        best[better], result[better] = error[better], fit[better]
    return result


def _held(smoothed: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    """Unknown before the first value, constant after the last."""
    index = np.arange(smoothed.shape[1])
    first = np.where(present.any(axis=1), present.argmax(axis=1), smoothed.shape[1])
    last = smoothed.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
    held = np.take_along_axis(smoothed, np.minimum(index, last[:, None]), axis=1)
    return np.where(index < first[:, None], np.nan, held)


def phenology(ndvi: Floats, days: npt.NDArray[np.datetime64], year: int) -> dict[str, Floats]:
    """Season so far, from dekadal NDVI (N, D) at the middle days (D,) of the dekads."""
    spring = np.datetime64(f"{year}-{SPRING}")
    doy = (days - np.datetime64(f"{year}-01-01")).astype(np.float64) + 1
    last_day = days[-1]
    daily = np.arange(max(spring, days[0]), last_day + 1) if last_day >= spring else days[:0]
    at = (daily - np.datetime64(f"{year}-01-01")).astype(np.float64) + 1
    curve = _interpolated(ndvi, doy, at)
    peak, peak_doy = _peak(curve, at)
    base, sos = _start_of_season(curve, at, peak, peak_doy)
    steps = np.diff(curve, axis=1)
    last = ndvi[:, -1]
    after = doy[-1] - peak_doy
    month = days.astype("datetime64[M]")
    autumn = (month >= np.datetime64(f"{year - 1}-10")) & (month <= np.datetime64(f"{year - 1}-11"))
    april = (month == np.datetime64(f"{year}-04")).argmax()
    autumn_mean = nanmean(ndvi[:, autumn])
    reached_april = bool((month == np.datetime64(f"{year}-04")).any())
    nothing = np.full(len(ndvi), np.nan)
    return {
        "ndvi_last": last,
        "ndvi_peak": peak,
        "ndvi_peak_doy": peak_doy,
        "ndvi_int": integral(curve),
        "ndvi_int_30d": integral(curve[:, -31:]),
        "sos_doy": sos,
        "greenup_rate": nanmax(np.where(at[1:] <= peak_doy[:, None], steps, np.nan))
        if len(at) > 1
        else nothing,
        "days_ndvi_above_05": np.where(
            np.isfinite(curve).any(axis=1), (curve > DENSE_NDVI).sum(axis=1), np.nan
        ),
        "ndvi_amplitude": peak - base,
        "ndvi_autumn": autumn_mean,
        "ndvi_winter_loss": autumn_mean - ndvi[:, april] if reached_april else nothing,
        "senescence_rate": np.divide(
            last - peak, after, out=np.where(np.isfinite(peak), 0.0, np.nan), where=after >= 10
        ),
    }


def _interpolated(values: Floats, at: Floats, wanted: Floats) -> Floats:
    result = np.full((len(values), len(wanted)), np.nan)
    for row, series in enumerate(values):
        present = np.isfinite(series)
        if present.any() and len(wanted):
            result[row] = np.interp(wanted, at[present], series[present], left=np.nan)
    return result


def _peak(curve: Floats, at: Floats) -> tuple[Floats, Floats]:
    peak = nanmax(curve)
    if not curve.shape[1]:
        return peak, peak.copy()
    place = np.where(np.isfinite(curve), curve, -np.inf).argmax(axis=1)
    return peak, np.where(np.isfinite(peak), at[place], np.nan)


def _start_of_season(
    curve: Floats, at: Floats, peak: Floats, peak_doy: Floats
) -> tuple[Floats, Floats]:
    """Lowest value before the peak, and the day the curve then last rises through 20 %."""
    if not curve.shape[1]:
        return peak.copy(), peak.copy()
    rising = np.where(at <= peak_doy[:, None], curve, np.nan)
    base = -nanmax(-rising)
    below = rising <= (base + SOS_SHARE * (peak - base))[:, None]
    last_below = len(at) - 1 - below[:, ::-1].argmax(axis=1)
    known = below.any(axis=1) & (peak > base)
    return base, np.where(known, at[last_below], np.nan)


def integral(curve: Floats) -> Floats:
    """Sum over days, NaN where nothing is known."""
    return np.where(np.isfinite(curve).any(axis=1), np.nansum(curve, axis=1), np.nan)


def nanmax(values: Floats) -> Floats:
    """Largest value of each row, NaN where nothing is known."""
    present = np.isfinite(values)
    top = np.where(present, values, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(present.any(axis=1), top, np.nan)


def nanmean(values: Floats) -> Floats:
    """Mean of each row's known values, NaN where nothing is known."""
    count = np.isfinite(values).sum(axis=1)
    total = np.nansum(values, axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))
