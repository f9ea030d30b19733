"""The history of forecasts only grows."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from lesniva import forecast
from lesniva.errors import EnvironmentFaultError
from lesniva.forecast.history import read
from lesniva.forecast.intervals import QUANTILES

NOON = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)


def said(value: float = 4.0, cutoff: str = "2026-06-10") -> pd.DataFrame:
    rows = pd.DataFrame({"adm_id": ["a", "b"], "crop": "winter_wheat", "year": 2026})
    rows["cutoff"] = pd.Timestamp(cutoff)
    rows["yield_t_ha"] = [value, float("nan")]
    for name in QUANTILES:
        rows[name] = rows["yield_t_ha"]
    return rows.assign(model_weight=0.5, skill=False, note="")


def record(path: Path, rows: pd.DataFrame, *, days: int = 0) -> int:
    run = NOON + dt.timedelta(days=days)
    return forecast.record(path, rows, issued=run, run_id=f"run{days}")


def test_what_was_said_on_a_day_stays_when_it_is_said_otherwise_later(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    assert record(path, said()) == 2
    assert record(path, said(3.5), days=1) == 1
    assert record(path, said(3.2, "2026-06-20"), days=10) == 2
    rows = read(path)
    assert rows.query("adm_id == 'a'")["yield_t_ha"].tolist() == [4.0, 3.5, 3.2]
    assert rows["run_id"].tolist() == ["run0", "run0", "run1", "run10", "run10"]
    assert rows["issued"].iloc[0] == pd.Timestamp(NOON)
    assert len(pd.read_csv(path.with_suffix(".csv"))) == 5


def test_the_same_said_again_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    record(path, said())
    before = path.read_bytes()
    assert record(path, said(), days=1) == 0
    assert path.read_bytes() == before


def test_going_back_to_what_was_said_earlier_is_said_again(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    for day, value in enumerate((4.0, 3.0, 4.0)):
        record(path, said(value), days=day)
    assert read(path).query("adm_id == 'a'")["yield_t_ha"].tolist() == [4.0, 3.0, 4.0]


def test_a_damaged_history_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    record(path, said())
    path.write_bytes(path.read_bytes()[:100])
    damaged = path.read_bytes()
    with pytest.raises(EnvironmentFaultError, match="it is never overwritten: put a backup"):
        record(path, said(3.0))
    assert path.read_bytes() == damaged
