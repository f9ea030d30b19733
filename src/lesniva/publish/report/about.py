"""What every page is told of its run."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.fields import Language
from lesniva.publish.manifest import versions, without_secrets


@dataclass(frozen=True)
class About:
    """A run, as its page tells it."""

    run_id: str
    started: dt.datetime
    area_en: str
    area_ru: str
    credit: str
    """Attribution, or the notice that the data is synthetic."""
    approximate: bool
    """True when the district boundaries are a sketch."""
    settings: Mapping[str, Any]
    """What the pipeline file asked."""
    stages: Mapping[str, float]
    """Seconds."""
    scenes: Sequence[Mapping[str, str]]
    """``id``, ``date`` and ``baseline`` of each."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """What was not done, each with its reason."""
    warnings: Sequence[tuple[str, str]] = ()
    """What people should know although the run did its work, in English and Russian."""
    language: Language = "ru"
    """The page opens in this one."""


def told(about: About) -> dict[str, Any]:
    """Plain values of a run; secrets are hidden as in ``run.json``."""
    run: dict[str, Any] = without_secrets(
        {
            "run_id": about.run_id,
            "started": about.started.isoformat(timespec="seconds"),
            "area": {"en": about.area_en, "ru": about.area_ru or about.area_en},
            "credit": about.credit,
            "synthetic": SYNTHETIC_NOTICE in about.credit,
            "approximate": about.approximate,
            "settings": about.settings,
            "stages": dict(about.stages),
            "scenes": [[each["date"], each["id"], each["baseline"]] for each in about.scenes],
            "faults": dict(about.faults),
            "warnings": [{"en": english, "ru": russian} for english, russian in about.warnings],
            "versions": versions(),
        }
    )
    return run


def columns(table: pd.DataFrame, digits: Mapping[str, int]) -> dict[str, list[Any]]:
    """Columns as plain lists: dates as ISO text, numbers rounded, missing values None.

    Parameters
    ----------
    digits
        Decimals to keep of a column of numbers; 4 where it says nothing.
    """
    return {str(name): _plain(values, digits.get(str(name), 4)) for name, values in table.items()}


def _plain(values: pd.Series, digits: int) -> list[Any]:
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_float_dtype(values):
        values = values.round(digits).replace([np.inf, -np.inf], np.nan)
    as_objects = values.astype(object)
    return [_scalar(value) for value in as_objects.where(as_objects.notna(), None)]


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return "; ".join(map(str, value))
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)
