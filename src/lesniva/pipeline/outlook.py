"""One crop on one day: how good forecasts of that day were, and this year's once it has come.

An outlook is a handful of tables and a model. It depends on its features, the yields and the
settings alone, and is kept under their fingerprint: a run ten days later makes only what is new.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesniva import forecast, tasks
from lesniva.errors import NoDataError
from lesniva.pipeline.running import STATE
from lesniva.storage import write_text

TABLES = (
    "hindcast",
    "skill",
    "skill_by_year",
    "skill_loyo",
    "claims",
    "forecast",
    "forecast_total",
    "reasons",
    "analogues",
)

DONE = "done"
"""File that is written when all others of an outlook are there."""

REASONS = 3
"""Reasons that go into the forecast's own row."""


_NULL = {
    "permutations": "null_permutations",
    "nrmse": "null_nrmse_right",
    "null_nrmse_low": "null_nrmse_low",
    "null_nrmse_mean": "null_nrmse_mean",
    "null_nrmse_high": "null_nrmse_high",
    "p": "null_p",
}
"""Columns of what a hindcast says of its year-permuted null."""


@dataclass(frozen=True)
class Outlook:
    """What is said of one crop on one day of the season."""

    crop: str
    cutoff: str
    """``MM-DD``."""
    tables: Mapping[str, pd.DataFrame]
    """`TABLES`; those of this year are empty before the day has come."""
    model: Path
    """Folder of the model (`forecast.load`), there when there is a forecast."""

    @property
    def claim(self) -> "pd.Series[Any]":
        """The one row of ``claims``."""
        return self.tables["claims"].iloc[0]


def outlook(
    folder: Path,
    features: pd.DataFrame,
    yields: pd.DataFrame,
    *,
    crop: str,
    cutoff: str,
    year: int,
    group: str,
    lead_days: int | None,
    settings: Mapping[str, Any],
) -> Outlook:
    """Hindcast one crop at one cut-off, and forecast the year where its features are there.

    Parameters
    ----------
    folder
        Output folder of the job.
    features
        Of this crop and cut-off (`features.features`); a year without rows is not forecast.
    yields
        Of this crop, of years before `year`.
    crop, cutoff, year
        What to forecast.
    group
        Name of all districts together.
    lead_days
        Days to the harvest, for the report.
    settings
        Keyword arguments of `forecast.hindcast`.

    Returns
    -------
    Outlook
        From the job's memory when all it depends on is the same.
    """
    made_of = tasks.digest(
        _fingerprint(features), _fingerprint(yields), crop, cutoff, year, group, lead_days,
        dict(settings), version("lesniva"),
    )  # fmt: skip
    home = folder / STATE / "outlook" / f"{crop}-{cutoff}-{made_of}"
    model = home / "model"
    if not (home / DONE).exists():
        history = forecast.hindcast(features, yields, crop=crop, cutoff=cutoff, **settings)
        tables = _of_past(history, lead_days)
        tables |= _of_year(history, features, year, group, model)
        for name, table in tables.items():
            tasks.save_table(home / f"{name}.parquet", table)
        write_text(home / DONE, made_of)
        _drop_stale(home)
    tables = {
        name: pd.read_parquet(home / f"{name}.parquet")
        for name in TABLES
        if (home / f"{name}.parquet").exists()
    }
    return Outlook(crop, cutoff, {name: tables.get(name, pd.DataFrame()) for name in TABLES}, model)


def _of_past(history: forecast.Hindcast, lead_days: int | None) -> dict[str, pd.DataFrame]:
    """Tables of the hindcast, each with its crop and cut-off."""
    key = {"crop": history.crop, "cutoff": history.cutoff}
    last = history.rows.iloc[-1]
    years = history.by_year.sort_values("rmse", ascending=False)["year"].head(3)
    claim: dict[str, Any] = {
        **key,
        "lead_days": lead_days,
        "skill": history.skill,
        "statement_en": history.statement,
        "statement_ru": history.statement_ru,
        "test_years": len(history.by_year),
        "first_test_year": int(history.by_year["year"].min()),
        "model_weight": float(last["model_weight"]),
        **{_NULL[name]: value for name, value in history.null.items()},
        "worst_years": " ".join(str(int(year)) for year in years),
        "pit": " ".join(f"{share:.3f}" for share in history.pit),
    }
    skill = history.metrics.reset_index()
    return {
        "hindcast": history.rows,
        "skill": _with_key(skill, key),
        "skill_by_year": _with_key(history.by_year, key),
        "skill_loyo": _with_key(history.loyo.reset_index(), key),
        "claims": pd.DataFrame([claim]),
    }


def _of_year(
    history: forecast.Hindcast, features: pd.DataFrame, year: int, group: str, model: Path
) -> dict[str, pd.DataFrame]:
    """Forecast, total, reasons and analogues of the year; nothing before its day has come."""
    if year not in set(features["year"]):
        return {}
    forecast.save(forecast.fit(history, year=year), model)
    # what is published is what the model on the disk says
    fitted = forecast.load(model, probe=False)
    rows = forecast.predict(fitted, features)
    if rows["yield_t_ha"].isna().all():
        raise NoDataError(
            f"forecast of {history.crop} {year}: no past yield is above zero; check the statistics"
        )
    reasons = forecast.explain(fitted, features)
    total = forecast.aggregate(fitted, rows, groups=group)
    for language in ("en", "ru"):
        by_district = reasons.groupby("adm_id")[f"text_{language}"]
        said = {adm_id: "; ".join(texts.head(REASONS)) for adm_id, texts in by_district}
        rows[f"reasons_{language}"] = [said.get(adm_id, "") for adm_id in rows["adm_id"]]
    return {
        "forecast": rows,
        "forecast_total": total,
        "reasons": reasons.assign(cutoff=rows["cutoff"].iloc[0]),
        "analogues": forecast.analogues(history, features, year=year).assign(
            cutoff=rows["cutoff"].iloc[0]
        ),
    }


def _with_key(table: pd.DataFrame, key: Mapping[str, str]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(key, index=table.index), table], axis=1)


def _fingerprint(table: pd.DataFrame) -> str:
    rows = np.asarray(pd.util.hash_pandas_object(table, index=False))
    return hashlib.sha256(repr(list(table)).encode() + rows.tobytes()).hexdigest()


def _drop_stale(home: Path) -> None:
    """Remove what the same crop and day was before."""
    import shutil

    name = home.name.rpartition("-")[0]
    for stale in home.parent.glob(f"{name}-*"):
        if stale != home:
            shutil.rmtree(stale)


def day_of(cutoff: str, year: int) -> dt.date:
    """Date of a cut-off ``MM-DD`` inside the calendar year of the harvest."""
    return dt.date.fromisoformat(f"{year}-{cutoff}")
