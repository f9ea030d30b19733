"""Tables in, aligned arrays out: everything the forecaster computes runs on one `Panel`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError, NoDataError

Floats = npt.NDArray[np.float64]

KEY = ("adm_id", "crop", "year", "cutoff")
"""Key of feature, yield and forecast tables."""

QUALITY_PREFIX = "qa_"
"""Columns that tell how well a district was seen; not offered to the model."""

FITTED_SUFFIXES = ("_anom", "_vci")
"""Columns relative to a climatology; the forecaster fits its own inside each fold."""

NOT_PREDICTORS = frozenset({*KEY, "yield_t_ha", "area_ha", "weight_basis"})


@dataclass(frozen=True)
class Panel:
    """One crop at one cut-off: districts × consecutive harvest years."""

    crop: str
    cutoff: str
    """Month and day of the last day whose data is known, ``MM-DD``."""
    adm_ids: tuple[str, ...]
    """R districts, sorted."""
    years: npt.NDArray[np.int64]
    """T consecutive harvest years, rising."""
    predictors: tuple[str, ...]
    """P names, in the order of the last axis of `X`."""
    Y: Floats
    """Official yield, t/ha, (T, R); NaN = not published or not known."""
    area: Floats
    """Harvested area, ha, (T, R); NaN = not known."""
    X: Floats
    """Predictors, (T, R, P); NaN = not seen."""

    def permuted(self, order: npt.NDArray[np.int64]) -> "Panel":
        """Give every year the predictors of another year; yields stay in place."""
        return replace(self, X=self.X[order])


def panel(
    features: pd.DataFrame,
    yields: pd.DataFrame,
    *,
    crop: str,
    cutoff: str,
    predictors: Sequence[str] | None = None,
) -> Panel:
    """Align the rows of one crop and one cut-off.

    Parameters
    ----------
    features
        Columns ``adm_id, year`` and any numeric ones. ``crop`` and ``cutoff`` (dates) are filtered
        on when present. Missing values are NaN.
    yields
        Columns ``adm_id, year, yield_t_ha`` and optionally ``crop`` and ``area_ha``.
    crop, cutoff
        What to take: a crop name and the day ``MM-DD`` of the cut-off.
    predictors
        Columns of `features` to use; by default all numeric ones but the key, ``qa_*`` and those
        already relative to a climatology (``*_anom``, ``*_vci``).

    Raises
    ------
    InputError
        A column is missing or not numeric, a key occurs twice, a value is infinite or a yield
        negative; all faults in one message.
    NoDataError
        Nothing is there for this crop or this cut-off.
    """
    cutoff_date(2001, cutoff)
    feature_rows = _of_cutoff(_of_crop(features, crop, "features"), cutoff)
    yield_rows = _of_crop(yields, crop, "yields")
    names = _predictors(feature_rows, predictors)
    _check(feature_rows, yield_rows, names)
    known = yield_rows.dropna(subset=["yield_t_ha"])
    if known.empty:
        raise NoDataError(
            f"yields of {crop!r}: no value is given; add the published yields of past years"
        )
    every = pd.concat([known[["adm_id", "year"]], feature_rows[["adm_id", "year"]]])
    adm_ids = tuple(sorted(every["adm_id"].astype(str).unique()))
    years = np.arange(int(known["year"].min()), int(every["year"].max()) + 1, dtype=np.int64)
    area = "area_ha" if "area_ha" in known else None
    return Panel(
        crop=crop,
        cutoff=cutoff,
        adm_ids=adm_ids,
        years=years,
        predictors=names,
        Y=_grid(known, ["yield_t_ha"], adm_ids, years)[..., 0],
        area=_grid(known, [area], adm_ids, years)[..., 0]
        if area
        else np.full((len(years), len(adm_ids)), np.nan),
        X=_grid(feature_rows, list(names), adm_ids, years),
    )


def data_hash(data: Panel) -> str:
    """SHA-256 of everything a model learns from: names, years, yields and predictors."""
    digest = hashlib.sha256()
    digest.update(repr((data.crop, data.cutoff, data.adm_ids, data.predictors)).encode())
    for array in (data.years, data.Y, data.X):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _of_crop(table: pd.DataFrame, crop: str, what: str) -> pd.DataFrame:
    if "crop" not in table:
        return table
    rows = table[table["crop"] == crop]
    if rows.empty:
        found = ", ".join(sorted(map(str, table["crop"].unique()))) or "none"
        raise NoDataError(f"{what} of crop {crop!r} were asked for; the table has: {found}")
    return rows


def _of_cutoff(features: pd.DataFrame, cutoff: str) -> pd.DataFrame:
    if "cutoff" not in features:
        return features
    days = pd.to_datetime(features["cutoff"]).dt.strftime("%m-%d")
    rows = features[days == cutoff]
    if rows.empty:
        found = ", ".join(sorted(days.unique())) or "none"
        raise NoDataError(f"features of cut-off {cutoff} were asked for; the table has: {found}")
    return rows


def _predictors(features: pd.DataFrame, asked: Sequence[str] | None) -> tuple[str, ...]:
    if asked is not None:
        absent = [name for name in asked if name not in features]
        if absent:
            raise InputError(
                f"predictors {', '.join(absent)} are not in the features table;"
                f" it has: {', '.join(map(str, features.columns))}"
            )
        return tuple(asked)
    numeric = features.select_dtypes("number").columns
    return tuple(
        str(name)
        for name in numeric
        if name not in NOT_PREDICTORS
        and not str(name).startswith(QUALITY_PREFIX)
        and not str(name).endswith(FITTED_SUFFIXES)
    )


def _check(features: pd.DataFrame, yields: pd.DataFrame, names: tuple[str, ...]) -> None:
    faults = []
    for what, table, needed in (
        ("features", features, ("adm_id", "year")),
        ("yields", yields, ("adm_id", "year", "yield_t_ha")),
    ):
        absent = [name for name in needed if name not in table]
        if absent:
            faults.append(f"{what} lack {', '.join(absent)}")
            continue
        if not (pd.to_numeric(table["year"], errors="coerce") % 1 == 0).all():
            faults.append(f"a year of the {what} is missing or no whole number")
        twice = table[table.duplicated(["adm_id", "year"])]
        if len(twice):
            first = twice.iloc[0]
            faults.append(
                f"{what} have {len(twice)} repeated rows, first {first['adm_id']} {first['year']}"
            )
    values = features.loc[:, list(names)]
    not_numeric = [name for name in names if not pd.api.types.is_numeric_dtype(values[name])]
    if not_numeric:
        faults.append(f"predictors {', '.join(not_numeric)} are not numeric")
    elif names and np.isinf(values.to_numpy(dtype=np.float64, na_value=np.nan)).any():
        faults.append("a predictor is infinite")
    if "yield_t_ha" in yields and (yields["yield_t_ha"] < 0).any():
        faults.append("a yield is negative")
    if faults:
        raise InputError(f"the tables of the forecast: {'; '.join(faults)}; correct them")


def _grid(
    table: pd.DataFrame,
    columns: Sequence[str],
    adm_ids: tuple[str, ...],
    years: npt.NDArray[np.int64],
) -> Floats:
    """(T, R, C) of a long table; what it does not have is NaN."""
    grid = np.full((len(years), len(adm_ids), len(columns)), np.nan)
    row = table["year"].to_numpy(dtype=np.int64) - years[0]
    column = pd.Index(adm_ids).get_indexer(pd.Index(table["adm_id"].astype(str)))
    inside = (row >= 0) & (row < len(years)) & (column >= 0)
    values = table.loc[:, list(columns)].to_numpy(dtype=np.float64, na_value=np.nan)
    grid[row[inside], column[inside]] = values[inside]
    return grid
