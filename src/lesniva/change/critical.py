"""Critical values of the fluctuation tests, from the formulas of their limit processes."""

from collections.abc import Callable
from functools import lru_cache
from math import erfc, exp, pi, sqrt

from lesniva.errors import InputError


def _normal_cdf(x: float) -> float:
    return 0.5 * erfc(-x / sqrt(2.0))


def _normal_pdf(x: float) -> float:
    return exp(-0.5 * x * x) / sqrt(2.0 * pi)


def _checked_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"the significance level is {level}; give a number between 0 and 1")


def reverse_cusum_p_value(statistic: float) -> float:
    """p-value of max |S_j| / (1 + 2j / (n − k)) of recursive residuals.

    Crossing probability of a Brownian motion and a straight line (Brown, Durbin & Evans 1975),
    below 0.3 its usual linear approximation.
    """
    x = statistic
    if x < 0.3:
        return 1.0 - 0.1464 * x
    return 2.0 * (
        1.0
        - _normal_cdf(3.0 * x)
        + exp(-4.0 * x * x) * (_normal_cdf(x) + _normal_cdf(5.0 * x) - 1.0)
        - exp(-16.0 * x * x) * (1.0 - _normal_cdf(x))
    )


@lru_cache
def reverse_cusum_critical_value(level: float) -> float:
    """λ of the boundary λ (1 + 2j / (n − k)): 0.9479 at the level 0.05."""
    _checked_level(level)
    return _decreasing_root(lambda x: reverse_cusum_p_value(x) - level, 0.3, 5.0)


@lru_cache
def cusum_critical_value(level: float) -> float:
    """Level a of the monitoring OLS-CUSUM: 2 (Φ(a) − a φ(a)) = 2 − α; 2.7955 at the level 0.05.

    Chu, Stinchcombe & White (1996).
    """
    _checked_level(level)
    return _decreasing_root(
        lambda a: 2.0 - level - 2.0 * (_normal_cdf(a) - a * _normal_pdf(a)), 0.0, 40.0
    )


_MOSUM = {
    # (h, period): (level 0.01, level 0.05); simulated, as R package strucchange 1.5-3 tabulates.
    (0.25, 2): (1.4332629474243, 1.22762665817831),
    (0.25, 4): (1.51983679278537, 1.33623105388957),
    (0.25, 6): (1.52159988186384, 1.34108685187662),
    (0.25, 8): (1.52162850629023, 1.34165681503561),
    (0.25, 10): (1.52164497279622, 1.34182451007628),
    (0.5, 2): (2.03146339358619, 1.68732328328598),
    (0.5, 4): (2.20116995886405, 1.8863309010041),
    (0.5, 6): (2.20853516508261, 1.8995844505951),
    (0.5, 8): (2.20875377365514, 1.90129850983572),
    (0.5, 10): (2.20907282819197, 1.90200317899371),
    (1.0, 2): (2.79961591720564, 2.22408818231127),
    (1.0, 4): (3.2528296362616, 2.70443676308234),
    (1.0, 6): (3.27400632880909, 2.73714807589866),
    (1.0, 8): (3.27485973776243, 2.74287924359951),
    (1.0, 10): (3.27693245691716, 2.74592761324742),
}


def mosum_critical_value(level: float, *, h: float = 0.25, period: int = 10) -> float:
    """λ of the monitoring OLS-MOSUM for a window share h and a monitoring period in histories.

    Zeileis et al. (2005); the values are simulated, so only the tabulated ones can be had.

    Raises
    ------
    InputError
        If the combination is not in the table.
    """
    if (h, period) not in _MOSUM or level not in (0.01, 0.05):
        raise InputError(
            f"no OLS-MOSUM critical value for h={h}, period={period}, level={level}; "
            "use h 0.25, 0.5 or 1, period 2, 4, 6, 8 or 10, level 0.01 or 0.05"
        )
    return _MOSUM[h, period][level == 0.05]


def _decreasing_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Root of a decreasing function, by bisection to the last bit."""
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return middle
        if function(middle) > 0.0:
            low = middle
        else:
            high = middle
