"""Plain forecasts from past yields alone: what any model has to beat.

All take the yields of the years known on the day of issue, (T, R) in t/ha with NaN where nothing
was published, and give one value for each district. A district without a past takes the mean of
the others.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lesniva.forecast.panel import Floats

NAMES = ("mean", "mean5", "last", "own_trend", "pooled_trend")
"""Order of the first axis of `baselines`."""

MIN_TREND_YEARS = 5
"""An own trend of fewer years is noise."""

MIN_POOLED_YEARS = 3
"""Years for a slope common to all districts."""

RIDGE_PENALTY = 0.1
"""Penalty a row, in units of the standardised predictors."""

OUTLIER_SD = 3.0
"""Yields this many standard deviations above the pooled trend are not learnt from."""


def baselines(Y: Floats, years: npt.NDArray[np.int64], year: int) -> Floats:
    """Five plain forecasts of `year`.

    Parameters
    ----------
    Y
        Yields known on the day of issue, (T, R), t/ha; NaN = missing.
    years
        Their harvest years, (T,), rising.
    year
        The year to forecast.

    Returns
    -------
    ndarray
        (5, R) in the order of `NAMES`: mean of all years; of the last five calendar years known;
        last yield; own linear trend (least squares, from five years on, else the mean); pooled
        trend (own mean, slope common to all districts). All NaN when `Y` is.
    """
    values = np.stack(
        [
            nanmean(Y),
            nanmean(Y[-5:]),
            _last(Y),
            _own_trend(Y, years, year),
            pooled_trend(Y, years, year),
        ]
    )
    values[1] = np.where(np.isnan(values[1]), values[0], values[1])
    level = nanmean(values, axis=1)
    return np.where(np.isnan(values), level[:, None], np.maximum(values, 0.0))


def pooled_trend(Y: Floats, years: npt.NDArray[np.int64], year: int) -> Floats:
    """Own mean plus a slope common to all districts, (R,), t/ha."""
    mean = nanmean(Y)
    if np.isfinite(Y).any(axis=1).sum() < MIN_POOLED_YEARS:
        return mean
    slope, centre = _pooled_slope(Y, years, mean)
    return mean + slope * (year - centre)


def learnable(Y: Floats, years: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where a yield may be learnt from: published, above zero, not impossibly high.

    Low yields always stay: droughts are what the model is for.
    """
    known = np.isfinite(Y) & (Y > 0)
    kept = np.where(known, Y, np.nan)
    if known.any(axis=1).sum() < MIN_TREND_YEARS:
        return known
    mean = nanmean(kept)
    slope, centre = _pooled_slope(kept, years, mean)
    trend = mean + slope * (years[:, None] - centre)
    excess = (kept - trend) / np.where(mean > 0, mean, np.nan)
    return np.asarray(known & ~(excess > OUTLIER_SD * np.sqrt(np.nanmean(excess**2))))


def greenness(X: Floats, predictors: Sequence[str]) -> Floats | None:
    """Peak and integral of NDVI, (T, R, 2), from the columns that carry them.

    ``ndvi_peak`` and ``ndvi_int`` when there; else maximum and sum of the monthly or dekadal
    columns (``ndvi_m05``, ``ndvi_d14``); None without any.
    """
    names = list(predictors)
    if "ndvi_peak" in names and "ndvi_int" in names:
        return X[..., [names.index("ndvi_peak"), names.index("ndvi_int")]]
    series = [k for k, name in enumerate(names) if re.fullmatch(r"ndvi_[md]\d+", name)]
    if not series:
        return None
    present = np.asarray(np.isfinite(X[..., series]).any(axis=-1))
    filled = np.where(present[..., None], X[..., series], 0.0)
    both = np.stack([np.nanmax(filled, axis=-1), np.nansum(filled, axis=-1)], axis=-1)
    return np.where(present[..., None], both, np.nan)


def ridge(Y: Floats, trend: Floats, greenness: Floats, index: int, known: int) -> Floats:
    """Pooled trend plus a ridge regression on anomalies of peak and integral NDVI.

    Parameters
    ----------
    Y, trend
        Yields and pooled trends as they stood before each year, (T, R), t/ha.
    greenness
        As `greenness` gives it, (T, R, 2).
    index, known
        The year to forecast, and how many years are published then; nothing else is used.

    Returns
    -------
    ndarray
        (R,), t/ha; the trend alone where a district was not seen.
    """
    climatology = nanmean(greenness[:known])
    train = (greenness[:known] - climatology).reshape(-1, 2)
    target = (Y[:known] - trend[:known]).ravel()
    rows = np.isfinite(train).all(axis=1) & np.isfinite(target)
    scale = train[rows].std(axis=0) if rows.any() else np.zeros(2)
    if not (scale > 0).all():
        return np.asarray(trend[index])
    A = train[rows] / scale
    coefficients = np.linalg.solve(A.T @ A + RIDGE_PENALTY * len(A) * np.eye(2), A.T @ target[rows])
    change = (greenness[index] - climatology) / scale @ coefficients
    return np.asarray(np.maximum(trend[index] + np.where(np.isfinite(change), change, 0.0), 0.0))


def nanmean(values: Floats, axis: int = 0) -> Floats:
    """Mean of what is there; NaN, without a warning, where nothing is."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _pooled_slope(Y: Floats, years: npt.NDArray[np.int64], mean: Floats) -> tuple[float, Floats]:
    time = np.where(np.isfinite(Y), years[:, None], np.nan).astype(np.float64)
    centre = nanmean(time)
    distance = time - centre
    square = np.nansum(distance**2)
    slope = float(np.nansum(distance * (Y - mean)) / square) if square > 0 else 0.0
    return slope, centre


def _last(Y: Floats) -> Floats:
    value = np.full(Y.shape[1], np.nan)
    for row in Y:
        value = np.where(np.isfinite(row), row, value)
    return value


def _own_trend(Y: Floats, years: npt.NDArray[np.int64], year: int) -> Floats:
    mean = nanmean(Y)
    time = np.where(np.isfinite(Y), years[:, None], np.nan).astype(np.float64)
    centre = nanmean(time)
    distance = time - centre
    square = np.nansum(distance**2, axis=0)
    slope = np.divide(
        np.nansum(distance * (Y - mean), axis=0),
        square,
        out=np.zeros_like(square),
        where=square > 0,
    )
    enough = np.isfinite(Y).sum(axis=0) >= MIN_TREND_YEARS
    return np.where(enough, mean + slope * (year - centre), mean)
