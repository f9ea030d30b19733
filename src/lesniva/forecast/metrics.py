"""How good forecasts were, said in the field's own measures.

Arrays are (T, R): years × districts, t/ha, NaN = missing. Rows of a year are not independent, so
confidence intervals and tests resample whole years.
"""

import numpy as np
import numpy.typing as npt

from lesniva.forecast.baselines import nanmean
from lesniva.forecast.intervals import PROBABILITIES
from lesniva.forecast.panel import Floats

MIN_SLICE = 3
"""Fewest values for a correlation."""

NEAR_ZERO = 0.1
"""Relative errors are taken only of yields above this share of the mean yield."""

RESAMPLES = 2000


def rmse(forecast: Floats, observed: Floats) -> float:
    """Root mean square error of what is there; NaN when nothing is."""
    square = (forecast - observed) ** 2
    present = np.isfinite(square)
    return float(np.sqrt(square[present].mean())) if present.any() else np.nan


def nrmse(forecast: Floats, observed: Floats) -> float:
    """RMSE over the mean observed yield, %; NaN when that is zero or nothing is there."""
    mean = nanmean(observed.ravel()[:, None])[0]
    return float(100 * rmse(forecast, observed) / mean) if mean > 0 else np.nan


def point_metrics(
    forecast: Floats, observed: Floats, *, area: Floats, mean5: Floats
) -> dict[str, float]:
    """Measures of point forecasts.

    Parameters
    ----------
    forecast, observed
        (T, R), t/ha.
    area
        Weights of the area-weighted mean, ha; where a year has none all districts weigh the same.
    mean5
        The 5-year mean as it stood before each year: what "above normal" means.

    Returns
    -------
    dict
        ``n``; ``rmse``, ``mae``, ``bias`` (forecast minus observed), t/ha; ``nrmse`` (RMSE over
        the mean observed yield), ``mape``, ``aggregated_mape`` (of the area-weighted mean), %;
        ``r2``; ``r_anomaly``, ``r2_anomaly`` (each district's mean removed); ``r2_spatial`` (median
        over years); ``r_temporal`` (median over districts); ``r_year`` (area-weighted mean);
        ``rmse_worst_quartile`` (the quarter of years with the lowest mean yield); ``sign_hits``
        (share of right signs against `mean5`). NaN where there are too few values.
    """
    both = np.isfinite(forecast) & np.isfinite(observed)
    f = np.where(both, forecast, np.nan)
    o = np.where(both, observed, np.nan)
    n = int(both.sum())
    if n == 0:
        return {"n": 0.0}
    error = f - o
    mean = float(np.nanmean(o))
    weight = np.where(both, np.where(area > 0, area, np.nan), np.nan)
    has_area = np.asarray(np.isfinite(weight).any(axis=1))
    weight = np.where(has_area[:, None], weight, both)
    f_year, o_year = _weighted(f, weight), _weighted(o, weight)
    worst = nanmean(o, axis=1) <= np.nanquantile(nanmean(o, axis=1), 0.25)
    f_anomaly, o_anomaly = f - nanmean(f), o - nanmean(o)
    known = both & np.isfinite(mean5)
    return {
        "n": float(n),
        "rmse": rmse(f, o),
        "nrmse": nrmse(f, o),
        "mae": float(np.nanmean(np.abs(error))),
        "mape": _mape(f, o, mean),
        "bias": float(np.nanmean(error)),
        "r2": r2(f, o),
        "r_anomaly": _r(f_anomaly, o_anomaly),
        "r2_anomaly": r2(f_anomaly, o_anomaly),
        "r2_spatial": _median([r2(f[i], o[i]) for i in range(len(o))]),
        "r_temporal": _median([_r(f[:, j], o[:, j]) for j in range(o.shape[1])]),
        "r_year": _r(f_year, o_year),
        "rmse_worst_quartile": rmse(f[worst], o[worst]),
        "sign_hits": float(((f > mean5) == (o > mean5))[known].mean()) if known.any() else np.nan,
        "aggregated_mape": _mape(f_year, o_year, mean),
    }


def interval_metrics(quantiles: Floats, observed: Floats) -> dict[str, float]:
    """Measures of quantile forecasts.

    Parameters
    ----------
    quantiles
        (T, 5, R) in the order of `PROBABILITIES`, t/ha.
    observed
        (T, R), t/ha.

    Returns
    -------
    dict
        ``pinball`` (mean over quantiles), ``crps`` (twice the pinball integrated over the
        quantiles), ``winkler80``, ``winkler90``, t/ha; ``coverage80``, ``coverage90`` (0-1);
        ``width80``, ``width90`` (mean, % of the mean yield).
    """
    present = np.isfinite(observed) & np.isfinite(quantiles).all(axis=1)
    if not present.any():
        return {}
    o = observed[present]
    q = np.moveaxis(quantiles, 1, 0)[:, present]
    p = np.array(PROBABILITIES)[:, None]
    loss = np.maximum(p * (o - q), (p - 1) * (o - q)).mean(axis=1)
    result = {
        "pinball": float(loss.mean()),
        "crps": float(2 * np.trapezoid(loss, PROBABILITIES) / np.ptp(PROBABILITIES)),
    }
    for percent, low, high in ((80, 1, 3), (90, 0, 4)):
        miss = np.maximum(q[low] - o, 0) + np.maximum(o - q[high], 0)
        width = q[high] - q[low]
        result[f"coverage{percent}"] = float(((o >= q[low]) & (o <= q[high])).mean())
        result[f"width{percent}"] = float(100 * width.mean() / o.mean()) if o.mean() > 0 else np.nan
        result[f"winkler{percent}"] = float((width + 2 / (1 - percent / 100) * miss).mean())
    return result


def pit_histogram(quantiles: Floats, observed: Floats) -> npt.NDArray[np.float64]:
    """Share of observations in each of the six bins the five quantiles make.

    A calibrated forecast gives .05, .05, .4, .4, .05, .05.
    """
    present = np.isfinite(observed) & np.isfinite(quantiles).all(axis=1)
    place = (observed[:, None, :] > quantiles).sum(axis=1)[present]
    count = np.bincount(place, minlength=len(PROBABILITIES) + 1)
    return np.asarray(count / max(count.sum(), 1))


def skill(forecast: Floats, reference: Floats, observed: Floats) -> float:
    """Share of the reference's mean square error that the forecast removes, ≤ 1."""
    both = np.isfinite(forecast) & np.isfinite(reference)
    truth = np.where(both, observed, np.nan)
    base = rmse(reference, truth)
    return 1 - (rmse(forecast, truth) / base) ** 2 if base > 0 else np.nan


def year_block(
    forecast: Floats, reference: Floats, observed: Floats, *, seed: int = 0
) -> dict[str, float]:
    """Resample whole years to compare a forecast with a reference.

    Returns
    -------
    dict
        ``skill_low``, ``skill_high``: 90 % bootstrap interval of `skill`; ``rmse_low``,
        ``rmse_high``: of the RMSE, t/ha; ``wilcoxon_p``: one-sided signed-rank test that the mean
        absolute error of a year is smaller than the reference's. NaN with fewer than three years.
    """
    names = ("skill_low", "skill_high", "rmse_low", "rmse_high", "wilcoxon_p")
    error, base = (forecast - observed), (reference - observed)
    both = np.isfinite(error) & np.isfinite(base)
    rows = both.any(axis=1)
    if rows.sum() < MIN_SLICE:
        return dict.fromkeys(names, np.nan)
    both, error, base = both[rows], error[rows], base[rows]
    count = both.sum(axis=1)
    se = np.where(both, error**2, 0).sum(axis=1)
    sb = np.where(both, base**2, 0).sum(axis=1)
    draw = np.random.default_rng([seed, 5]).integers(0, len(se), (RESAMPLES, len(se)))
    total, reference_total = se[draw].sum(axis=1), sb[draw].sum(axis=1)
    ratio = np.divide(total, reference_total, out=np.ones_like(total), where=reference_total > 0)
    error_draws = np.sqrt(total / count[draw].sum(axis=1))
    difference = (np.where(both, np.abs(error) - np.abs(base), 0).sum(axis=1)) / count
    return {
        "skill_low": float(np.quantile(1 - ratio, 0.05)),
        "skill_high": float(np.quantile(1 - ratio, 0.95)),
        "rmse_low": float(np.quantile(error_draws, 0.05)),
        "rmse_high": float(np.quantile(error_draws, 0.95)),
        "wilcoxon_p": _wilcoxon(difference),
    }


def _wilcoxon(difference: Floats) -> float:
    from scipy.stats import wilcoxon

    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, alternative="less").pvalue)


def _weighted(values: Floats, weight: Floats) -> Floats:
    return np.asarray(np.nansum(values * weight, axis=1)) / np.where(
        np.nansum(weight, axis=1) > 0, np.nansum(weight, axis=1), np.nan
    )


def _mape(f: Floats, o: Floats, mean: float) -> float:
    counted = np.isfinite(f) & (o > NEAR_ZERO * mean)
    return float(100 * np.mean(np.abs(f - o)[counted] / o[counted])) if counted.any() else np.nan


def r2(f: Floats, o: Floats) -> float:
    """Coefficient of determination; NaN with fewer values than `MIN_SLICE`."""
    both = np.isfinite(f) & np.isfinite(o)
    if both.sum() < MIN_SLICE:
        return np.nan
    total = ((o[both] - o[both].mean()) ** 2).sum()
    return float(1 - ((f - o)[both] ** 2).sum() / total) if total > 0 else np.nan


def _r(f: Floats, o: Floats) -> float:
    both = np.isfinite(f) & np.isfinite(o)
    if both.sum() < MIN_SLICE or np.ptp(f[both]) == 0 or np.ptp(o[both]) == 0:
        return np.nan
    return float(np.corrcoef(f[both], o[both])[0, 1])


def _median(values: list[float]) -> float:
    present = [value for value in values if np.isfinite(value)]
    return float(np.median(present)) if present else np.nan
