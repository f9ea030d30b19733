"""Intervals calibrated by blocks of years.

Most of what a forecast misses is common to all districts of a year, so T years of R districts are
nearer to T observations than to T × R. The relative errors of the last walk-forward years are
split into a year part and a district part,

    error / level = year + district,    var = tau² + s²,

which gives quantiles of Student's t with Satterthwaite's degrees of freedom for that sum [1]_:
wide after three years, nearly normal after thirty. Yields fall further than they rise, so the
empirical quantiles of the same errors, widened as much as t is against the normal, are averaged
with them, quantile by quantile.

Errors made with n training years are first scaled by the variance 1 + 1/n of a level known from n
years, so that the early, poorly trained years do not widen the intervals of today.

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


CALIBRATION_YEARS = 5
"""Errors of this many years are looked at: the forecaster of long ago knew less."""


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
    shape: tuple[float, ...]
    """Empirical quantiles of the relative errors, in the order of `PROBABILITIES`."""


def calibrate(
    error: Floats, level: Floats, *, trained: npt.NDArray[np.int64], now: int
) -> Spread | None:
    """Split relative errors into a year part and a district part.

    Parameters
    ----------
    error
        Observed minus forecast of earlier walk-forward years, (T, R), t/ha; NaN = missing.
    level
        What errors are relative to, (T, R), t/ha.
    trained
        Years of yields each of those forecasts was made from, (T,).
    now
        Years of yields the forecast at hand is made from.

    Returns
    -------
    Spread or None
        Second moments about zero (a forecast that was biased so far may well stay biased); None
        when there is no error to learn from.
    """
    relative = np.divide(error, level, out=np.full(error.shape, np.nan), where=level > 0)
    learning = (1 + 1 / max(now, 1)) / (1 + 1 / np.maximum(trained, 1))
    relative = relative * np.sqrt(learning)[:, None]
    count = np.isfinite(relative).sum(axis=1)
    relative, count = (
        relative[count > 0][-CALIBRATION_YEARS:],
        count[count > 0][-CALIBRATION_YEARS:],
    )
    if not count.size:
        return None
    year = np.nansum(relative, axis=1) / count
    within = np.nansum((relative - year[:, None]) ** 2)
    freedom = float((count - 1).sum())
    s2 = float(within / freedom) if freedom > 0 else 0.0
    tau2 = max(float(np.mean(year**2 - s2 / count)), 0.0)
    shape = np.nanquantile(relative, PROBABILITIES)
    # The point forecast stays the median, also where the past errors lie to one side of it.
    side = np.sign(np.array(PROBABILITIES) - 0.5)
    shape = side * np.maximum(side * shape, 0.0)
    return Spread(
        float(np.sqrt(tau2)),
        float(np.sqrt(s2)),
        int(count.size),
        float(count.mean()),
        tuple(float(value) for value in shape),
    )


def quantiles(
    point: Floats, level: Floats, spread: Spread | None, *, unknown: Floats | float = 0.0
) -> Floats:
    """Quantiles of each district's yield around its point forecast.

    Parameters
    ----------
    point, level
        Forecast and the level its errors are relative to, (R,), t/ha.
    spread
        As `calibrate` gave it; None gives NaN.
    unknown
        Variance added to districts' own parts, (R,), t²/ha²: what is not known of their level.

    Returns
    -------
    ndarray
        (5, R) in the order of `PROBABILITIES`, t/ha, rising, not below zero.
    """
    if spread is None:
        return np.full((len(PROBABILITIES), *point.shape), np.nan)
    year, own = (spread.tau * level) ** 2, (spread.s * level) ** 2
    t = _student(spread, year, own + unknown)
    normal = _normal()
    widened = np.divide(t, normal[:, None], out=np.ones_like(t), where=normal[:, None] != 0)
    share = np.divide(own + year + unknown, own + year, out=np.ones_like(own), where=own + year > 0)
    empirical = np.array(spread.shape)[:, None] * widened * level * np.sqrt(share)
    parametric = t * np.sqrt(year + own + unknown)
    return np.maximum(point + (empirical + parametric) / 2, 0.0)


def mean_quantiles(
    point: Floats,
    level: Floats,
    spread: Spread | None,
    *,
    weight: Floats,
    unknown: Floats | float = 0.0,
) -> Floats:
    """Quantiles of the weighted mean yield of districts.

    Their own parts average out, the year's part does not.

    Parameters
    ----------
    point, level, spread, unknown
        As for `quantiles`.
    weight
        Weights (hectares), (R,).

    Returns
    -------
    ndarray
        (5,) in the order of `PROBABILITIES`, t/ha, rising, not below zero.
    """
    if spread is None:
        return np.full(len(PROBABILITIES), np.nan)
    share = weight / weight.sum()
    year = np.array([(spread.tau * (share * level).sum()) ** 2])
    own = np.array([(share**2 * ((spread.s * level) ** 2 + unknown)).sum()])
    t = _student(spread, year, own)[:, 0]
    return np.asarray(np.maximum((share * point).sum() + t * np.sqrt(year + own), 0.0))


def _student(spread: Spread, year: Floats, own: Floats) -> Floats:
    """Quantiles of t, (5, R), for a variance of a year part and an own part."""
    from scipy.special import stdtrit

    freedom_own = max(spread.years * (spread.districts - 1), 1.0)
    denominator = year**2 / spread.years + own**2 / freedom_own
    freedom = np.divide(
        (year + own) ** 2, denominator, out=np.ones_like(year), where=denominator > 0
    )
    return np.asarray(stdtrit(freedom[None], np.array(PROBABILITIES)[:, None]))


def _normal() -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri(PROBABILITIES))
