"""What was said, and when: a table that only grows.

A forecast of 10 June stays what it was on 10 June. A re-run appends a row only where it says
something else of the same district, crop, year and cut-off than was said last.
"""

import datetime as dt
from pathlib import Path

import pandas as pd

from lesniva.errors import EnvironmentFaultError
from lesniva.forecast.intervals import QUANTILES
from lesniva.forecast.panel import KEY
from lesniva.storage import whole_file

SAID = ("yield_t_ha", *QUANTILES, "model_weight", "skill", "note")
"""What makes two forecasts the same."""

COLUMNS = ("issued", "run_id", *KEY, *SAID)


def record(path: Path, forecast: pd.DataFrame, *, issued: dt.datetime, run_id: str) -> int:
    """Append to the history what has not been said yet; nothing in it is ever changed.

    Parameters
    ----------
    path
        ``.parquet`` file, made when not there. A CSV of the same name is kept beside it.
    forecast
        Rows of `predict`.
    issued
        When they are said (UTC).
    run_id
        Name of the run.

    Returns
    -------
    int
        Rows appended.

    Raises
    ------
    EnvironmentFaultError
        The history is there and cannot be read: it is left alone.
    """
    said = forecast.assign(issued=pd.Timestamp(issued).tz_convert("UTC"), run_id=run_id)
    said = said[list(COLUMNS)].assign(cutoff=pd.to_datetime(said["cutoff"]).dt.normalize())
    before = read(path) if path.exists() else said.iloc[:0]
    last = before.drop_duplicates(list(KEY), keep="last")
    both = said[[*KEY, *SAID]].merge(last[[*KEY, *SAID]], how="left", on=list(KEY), indicator=True)
    same = both["_merge"] == "both"
    for name in SAID:
        now, then = both[f"{name}_x"], both[f"{name}_y"]
        same &= (now == then) | (now.isna() & then.isna())
    new = said[~same.to_numpy()]
    if len(new) or not path.exists():
        _write(pd.concat([before, new], ignore_index=True) if len(before) else new, path)
    return len(new)


def read(path: Path) -> pd.DataFrame:
    """Read a history: `COLUMNS`, in the order in which it was said."""
    try:
        table = pd.read_parquet(path)
        return table[list(COLUMNS)]
    except (OSError, ValueError, KeyError) as error:
        raise EnvironmentFaultError(
            f"the forecast history {path} cannot be read ({error}); it is never overwritten: put a"
            " backup in its place, or move it away to begin anew"
        ) from error


def _write(table: pd.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    with whole_file(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8-sig", float_format="%.4f")
