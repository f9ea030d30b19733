"""Accuracy and area from an interpreted stratified sample, with confidence intervals.

Where the strata are the classes of the map: Olofsson et al. (2014). Where they are not: the ratio
estimators of Stehman (2014), which give the same numbers in the first case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.errors import InputError

Z95 = 1.96
"""Standard errors in half a 95 % confidence interval."""


@dataclass(frozen=True)
class Accuracy:
    """Estimates, each with half the width of its 95 % confidence interval."""

    classes: pd.DataFrame
    """By class: ``users``, ``producers`` (0–1), ``area_share`` (0–1), ``area_ha``, each with
    ``…_ci``; NaN where the sample says nothing."""
    overall: float
    overall_ci: float
    matrix: pd.DataFrame
    """Estimated shares of the area by map class (rows) and reference class (columns)."""


def accuracy(
    sample: pd.DataFrame, stratum_ha: Mapping[str, float], *, classes: Sequence[str]
) -> Accuracy:
    """Estimate accuracy and areas by the ratio estimators of Stehman (2014).

    Parameters
    ----------
    sample
        One row a sample unit: ``stratum``, ``map`` and ``reference`` (classes).
    stratum_ha
        Hectares of each stratum.
    classes
        The classes, in the order wanted.

    Returns
    -------
    Accuracy
        User's accuracy of a class is the share of its mapped area that is truly of the class,
        producer's accuracy the share of its true area that is mapped so. With strata that are the
        map classes the numbers equal those of Olofsson et al. (2014), eq. 5–11.

    Raises
    ------
    InputError
        A stratum of the sample has no area, or fewer than two units, or a class is none of
        `classes`.
    """
    _check(sample, stratum_ha, classes)
    weights = _Weights.of(sample, stratum_ha)
    mapped = {name: _ones(sample["map"] == name) for name in classes}
    true = {name: _ones(sample["reference"] == name) for name in classes}
    total_ha = sum(stratum_ha.values())
    rows = {}
    for name in classes:
        both = mapped[name] * true[name]
        users, users_se = weights.ratio(both, mapped[name])
        producers, producers_se = weights.ratio(both, true[name])
        share, share_se = weights.mean(true[name])
        rows[name] = {
            "users": users, "users_ci": Z95 * users_se,
            "producers": producers, "producers_ci": Z95 * producers_se,
            "area_share": share, "area_share_ci": Z95 * share_se,
            "area_ha": share * total_ha, "area_ha_ci": Z95 * share_se * total_ha,
        }  # fmt: skip
    right, right_se = weights.mean(_ones(sample["map"] == sample["reference"]))
    cells = {
        column: {row: weights.mean(mapped[row] * true[column])[0] for row in classes}
        for column in classes
    }
    return Accuracy(
        pd.DataFrame.from_dict(rows, orient="index"), right, Z95 * right_se, pd.DataFrame(cells)
    )


def _ones(flag: "pd.Series[bool]") -> npt.NDArray[np.float64]:
    return np.asarray(flag, dtype=np.float64)


def _check(sample: pd.DataFrame, stratum_ha: Mapping[str, float], classes: Sequence[str]) -> None:
    count = {name: int((sample["stratum"] == name).sum()) for name in stratum_ha}
    faults = [
        f"stratum {name} has {n} interpreted units, 2 are needed"
        for name, n in count.items()
        if n < 2
    ]
    unknown = sorted(set(sample["stratum"]) - set(stratum_ha))
    if unknown:
        faults.append(f"no area is known of stratum {', '.join(unknown)}")
    for column in ("map", "reference"):
        strange = sorted(set(sample[column].astype(str)) - set(classes))
        if strange:
            faults.append(f"{column} class {', '.join(strange)} is none of {', '.join(classes)}")
    if faults:
        raise InputError(f"the sample cannot be evaluated: {'; '.join(faults)}")


@dataclass(frozen=True)
class _Weights:
    """A stratified random sample: stratum of each unit, share of the area and size of each."""

    stratum: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    n: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sample: pd.DataFrame, stratum_ha: Mapping[str, float]) -> "_Weights":
        names = list(stratum_ha)
        place = pd.Index(names).get_indexer(pd.Index(sample["stratum"]))
        area = np.array([stratum_ha[name] for name in names], dtype=np.float64)
        return cls(place, area / area.sum(), np.bincount(place, minlength=len(names)))

    def _means(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(self.stratum, weights=values, minlength=len(self.n)) / self.n

    def _variance(self, values: npt.NDArray[np.float64]) -> float:
        """Variance of the stratified mean; strata are large, the finite correction is 1."""
        off = values - self._means(values)[self.stratum]
        within = np.bincount(self.stratum, weights=off**2, minlength=len(self.n)) / (self.n - 1)
        return float(np.sum(self.share**2 * within / self.n))

    def mean(self, values: npt.NDArray[np.float64]) -> tuple[float, float]:
        """Stratified mean and its standard error (Stehman 2014, eq. 3 and 25)."""
        return float(self.share @ self._means(values)), self._variance(values) ** 0.5

    def ratio(
        self, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64]
    ) -> tuple[float, float]:
        """Ratio of two stratified means and its standard error (Stehman 2014, eq. 27 and 28)."""
        below = float(self.share @ self._means(bottom))
        if below == 0:
            return np.nan, np.nan
        value = float(self.share @ self._means(top)) / below
        return value, self._variance(top - value * bottom) ** 0.5 / below
