"""Intervals calibrated by blocks of years.

Most of what a forecast misses is common to all districts of a year, so T years of R districts are
nearer to T observations than to T × R. The relative errors of earlier walk-forward years are split
into a year part and a district part,

    error / level = year + district,    var = tau² + s²,

and the quantiles are those of Student's t with Satterthwaite's degrees of freedom for that sum
[1]_: wide after three years, nearly normal after thirty.

References
----------
.. [1] Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance
   components. Biometrics Bulletin 2(6), 110-114. https://doi.org/10.2307/3002019
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesniva.forecast.panel import Floats

PROBABILITIES = (0.05, 0.1, 0.5, 0.9, 0.95)
"""Quantiles of every forecast: 5 and 95 % bound the 90 % interval, 10 and 90 % the 80 % one."""

QUANTILES = tuple(f"q{round(100 * p):02d}_t_ha" for p in PROBABILITIES)
"""Their column names."""


@dataclass(frozen=True)
class Spread:
    """How far forecasts of this kind have been from the truth, relative to the 5-year mean."""

    tau: float
    """Standard deviation of the part all districts of a year share."""
    s: float
    """Standard deviation of a district's own part."""
    years: int
    """Calibration years."""
    districts: float
    """Districts a calibration year, on average."""


def calibrate(error: Floats, level: Floats) -> Spread | None:
    """Split relative errors into a year part and a district part.

    Parameters
    ----------
    error
        Observed minus forecast of earlier walk-forward years, (T, R), t/ha; NaN = missing.
    level
        What errors are relative to, (T, R), t/ha.

    Returns
    -------
    Spread or None
        Second moments about zero (a forecast that was biased so far may well stay biased); None
        when there is no error to learn from.
    """
    relative = np.divide(error, level, out=np.full(error.shape, np.nan), where=level > 0)
    present = np.isfinite(relative)
    count = present.sum(axis=1)
    relative, count = relative[count > 0], count[count > 0]
    if not count.size:
        return None
    year = np.nansum(relative, axis=1) / count
    within = np.nansum((relative - year[:, None]) ** 2)
    freedom = float((count - 1).sum())
    s2 = float(within / freedom) if freedom > 0 else 0.0
    tau2 = max(float(np.mean(year**2 - s2 / count)), 0.0)
    return Spread(float(np.sqrt(tau2)), float(np.sqrt(s2)), int(count.size), float(count.mean()))


def quantiles(
    point: Floats,
    level: Floats,
    spread: Spread | None,
    *,
    weight: Floats | None = None,
    unknown: Floats | float = 0.0,
) -> Floats:
    """Quantiles of the yields around a point forecast.

    Parameters
    ----------
    point, level
        Forecast and the level its errors are relative to, (R,), t/ha.
    spread
        As `calibrate` gave it; None gives NaN.
    weight
        With weights (R,), the quantiles are those of the weighted mean of all districts: their own
        parts average out, the year's part does not. Without, each district has its own.

    Returns
    -------
    ndarray
        (5, R), or (5,) with `weight`, in the order of `PROBABILITIES`; not below zero.
    """
    shape = (len(PROBABILITIES), *(() if weight is not None else point.shape))
    if spread is None:
        return np.full(shape, np.nan)
    if weight is None:
        centre, year, own = point, (spread.tau * level) ** 2, (spread.s * level) ** 2 + unknown
    else:
        share = weight / weight.sum()
        centre = np.asarray((share * point).sum())
        year = np.asarray((spread.tau * (share * level).sum()) ** 2)
        own = np.asarray((share**2 * ((spread.s * level) ** 2 + unknown)).sum())
    return np.maximum(centre + _student(spread, year, own), 0.0)


def _student(spread: Spread, year: Floats, own: Floats) -> npt.NDArray[np.float64]:
    from scipy.special import stdtrit

    variance = year + own
    freedom_own = max(spread.years * (spread.districts - 1), 1.0)
    denominator = year**2 / spread.years + own**2 / freedom_own
    freedom = np.divide(
        variance**2, denominator, out=np.full_like(variance, 1.0), where=denominator > 0
    )
    t = stdtrit(freedom[None, ...], np.reshape(PROBABILITIES, (-1,) + (1,) * variance.ndim))
    return np.asarray(t * np.sqrt(variance))
