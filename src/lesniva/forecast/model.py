"""The booster: four views of the same yields, few leaves, strong shrinkage.

Each *member* learns one transform of the target (absolute, difference to the pooled trend,
difference to the mean of five years, ratio to it) from raw predictors, their anomalies, or both.
Level and trend are handed to every member as predictors, computed for each row from the years
before it, so that a training row looks like the row of the day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lesniva.forecast.baselines import NAMES, learnable, nanmean
from lesniva.forecast.panel import Floats

MEMBERS = ("raw", "diff_trend", "diff_mean5", "ratio_mean5")
"""Members of the ensemble, by what they learn."""

LEVELS = ("level_mean5", "level_trend", "level_last", "level_year", "level_mean")
"""Predictors made from past yields: 5-year mean, pooled trend, last yield (t/ha), harvest year,
district mean (t/ha)."""

PARAMETERS: Mapping[str, Any] = MappingProxyType(
    {
        "objective": "regression",
        "num_leaves": 7,
        "min_data_in_leaf": 12,
        "feature_fraction": 0.35,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "feature_pre_filter": False,
        "deterministic": True,
        "force_row_wise": True,
        "max_bin": 31,
        "num_threads": 1,
        "verbosity": -1,
    }
)
"""LightGBM parameters; one thread is fastest on a few hundred rows and keeps runs bit-identical."""

TREES = 100
SEEDS = 3

LEARNING = 8.0
"""Learning rate times trees: fewer trees take larger steps (100 trees: rate 0.08)."""

MIN_ROWS = 20
"""Fewer rows than this, less those bagging leaves out, do not fill a leaf."""

_RAW = {"raw": True, "diff_trend": True, "diff_mean5": True, "ratio_mean5": False}
_ANOMALIES = {"raw": False, "diff_trend": False, "diff_mean5": True, "ratio_mean5": True}
_MEAN5 = NAMES.index("mean5")
_LAST = NAMES.index("last")
_TREND = NAMES.index("pooled_trend")


@dataclass(frozen=True)
class Boosters:
    """The fitted members and what a row needs to be put before them."""

    members: Mapping[str, tuple[Any, ...]]
    """LightGBM boosters of each member, one a seed."""
    climatology: Floats
    """Mean of each predictor in the training years, (R, P)."""
    mean: Floats
    """Mean yield of each district in the training years, t/ha, (R,)."""
    train_years: tuple[int, ...]


def fit(
    Y: Floats,
    X: Floats,
    years: npt.NDArray[np.int64],
    plain: Floats,
    *,
    seeds: int = SEEDS,
    trees: int = TREES,
    seed: int = 0,
) -> Boosters | None:
    """Fit all members on the years handed in.

    Parameters
    ----------
    Y, X
        Yields (T, R), t/ha, and predictors (T, R, P) of the training years only.
    years
        Training years, (T,).
    plain
        Baselines of each training year as they stood before it, (T, 5, R).
    seeds, trees, seed
        Boosters a member, trees a booster, and where the seeds start.

    Returns
    -------
    Boosters or None
        None when no row has both a yield and a predictor. A member with too few rows is left out.
    """
    usable = learnable(Y, years) & np.isfinite(X).any(axis=2)
    if not usable.any():
        return None
    kept = np.where(usable, Y, np.nan)
    climatology = nanmean(X)
    mean = nanmean(kept)
    target = _targets(kept, plain)
    blocks = _blocks(X, climatology, _levels(plain, mean, years))
    members = {}
    for name in MEMBERS:
        rows = np.isfinite(target[name])
        if rows.sum() >= MIN_ROWS:
            members[name] = _boost(blocks[name][rows], target[name][rows], seeds, trees, seed)
    return Boosters(members, climatology, mean, tuple(int(year) for year in years))


def forecast(model: Boosters | None, X: Floats, year: int, plain: Floats) -> Floats:
    """Ask each member for one year.

    Parameters
    ----------
    model
        As `fit` gave it.
    X
        Predictors of the year, (R, P).
    year
        The harvest year.
    plain
        Its baselines, (5, R).

    Returns
    -------
    ndarray
        (members, R), t/ha, not below zero; NaN where a district has no predictor or there is no
        model.
    """
    result = np.full((len(MEMBERS), X.shape[0]), np.nan)
    if model is None:
        return result
    seen = np.isfinite(X).any(axis=1)
    if not seen.any():
        return result
    rows = design(model, X, year, plain)
    for index, name in enumerate(MEMBERS):
        if name not in model.members:
            continue
        boosters = model.members[name]
        block = rows[name][seen]
        raw = np.mean([one.predict(block, num_threads=1) for one in boosters], axis=0)
        result[index, seen] = np.maximum(_back(name, raw, plain[:, seen]), 0.0)
    return result


def design(model: Boosters, X: Floats, year: int, plain: Floats) -> dict[str, Floats]:
    """Rows (R, columns) each member is asked, columns as in `columns`."""
    levels = _levels(plain[None], model.mean, np.array([year], dtype=np.int64))
    return {name: block[0] for name, block in _blocks(X[None], model.climatology, levels).items()}


def columns(member: str, predictors: Sequence[str]) -> list[str]:
    """Names of the columns of a member, anomalies with the suffix ``_anom``."""
    raw = list(predictors) if _RAW[member] else []
    anomalies = [f"{name}_anom" for name in predictors] if _ANOMALIES[member] else []
    return raw + anomalies + list(LEVELS)


def _targets(Y: Floats, plain: Floats) -> dict[str, Floats]:
    mean5 = np.where(plain[:, _MEAN5] > 0, plain[:, _MEAN5], np.nan)
    return {
        "raw": Y,
        "diff_trend": Y - plain[:, _TREND],
        "diff_mean5": Y - plain[:, _MEAN5],
        "ratio_mean5": Y / mean5,
    }


def _back(member: str, value: Floats, plain: Floats) -> Floats:
    offset, scale = scale_back(member, plain)
    return np.asarray(offset + scale * value)


def scale_back(member: str, plain: Floats) -> tuple[Floats, Floats]:
    """Offset and scale, (R,) each, t/ha, that turn a member's answer into a yield."""
    zero, one = np.zeros(plain.shape[1]), np.ones(plain.shape[1])
    return {
        "raw": (zero, one),
        "diff_trend": (plain[_TREND], one),
        "diff_mean5": (plain[_MEAN5], one),
        "ratio_mean5": (zero, plain[_MEAN5]),
    }[member]


def _levels(plain: Floats, mean: Floats, years: npt.NDArray[np.int64]) -> Floats:
    """(T, R, 5) in the order of `LEVELS`."""
    shape = (plain.shape[0], plain.shape[2])
    return np.stack(
        [
            plain[:, _MEAN5],
            plain[:, _TREND],
            plain[:, _LAST],
            np.broadcast_to(years[:, None].astype(np.float64), shape),
            np.broadcast_to(mean, shape),
        ],
        axis=2,
    )


def _blocks(X: Floats, climatology: Floats, levels: Floats) -> dict[str, Floats]:
    anomalies = X - climatology
    return {
        name: np.concatenate([X] * _RAW[name] + [anomalies] * _ANOMALIES[name] + [levels], axis=2)
        for name in MEMBERS
    }


def _boost(rows: Floats, target: Floats, seeds: int, trees: int, seed: int) -> tuple[Any, ...]:
    import lightgbm

    parameters = {**PARAMETERS, "learning_rate": LEARNING / trees}
    data = lightgbm.Dataset(rows, target, params=dict(parameters), free_raw_data=False)
    return tuple(
        lightgbm.train(
            {**parameters, "seed": seed + number},
            data,
            num_boost_round=trees,
            keep_training_booster=True,
        )
        for number in range(seeds)
    )
