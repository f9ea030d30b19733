"""Regional anomalies are told, not absorbed."""

import numpy as np
import pandas as pd
import pytest

from lesniva.pipeline import regional

HISTORY_END = np.datetime64("2023-12-31")
LAST = np.datetime64("2024-08-31")


@pytest.fixture
def corrections() -> pd.DataFrame:
    """Three strata: ordinary scenes, and three after the history that are not."""
    dates = pd.to_datetime(
        ["2022-06-01", "2022-07-01", "2023-06-01", "2024-05-01", "2024-08-05", "2024-08-10"]
    )
    index = pd.MultiIndex.from_product([dates, range(3)], names=["time", "stratum"])
    table = pd.DataFrame(
        {
            "departure": [0.01, -0.01, 0.02] * 3 + [-0.08, 0.0, 0.0] + [0.0, 0.0, -0.09] * 2,
            "offset": 0.0,
            "rejected": False,
        },
        index=index,
    )
    table["regional_anomaly"] = table["departure"].abs() > 0.05
    return table


def test_each_scene_and_stratum_beyond_the_usual_is_a_row(corrections):
    found = regional.anomalies(corrections, HISTORY_END)
    assert found[["date", "stratum", "departure"]].to_numpy().tolist() == [
        ["2024-05-01", 0, -0.08],
        ["2024-08-05", 2, -0.09],
        ["2024-08-10", 2, -0.09],
    ]
    assert found.loc[1, ["amplitude_from", "amplitude_to"]].tolist() == [0.1, 0.15]
    assert found.loc[0, "usual_spread"] == pytest.approx(1.4826 * 0.01, abs=1e-4)


def test_scenes_that_were_passed_over_and_the_history_are_left_out(corrections):
    corrections.loc["2024-08-10", "rejected"] = True
    corrections.loc["2023-06-01", "regional_anomaly"] = True
    assert regional.anomalies(corrections, HISTORY_END)["date"].tolist() == [
        "2024-05-01",
        "2024-08-05",
    ]


def test_the_last_thirty_days_are_said_in_two_languages(corrections):
    english, russian = regional.in_words(regional.anomalies(corrections, HISTORY_END), LAST)
    assert "strata 2 (0.1–0.15)" in english
    assert "dates 2024-08-05 (-0.090), 2024-08-10 (-0.090)" in english
    assert "2024-05-01" not in english
    assert russian.startswith("региональная аномалия: группы 2 (0.1–0.15)")


def test_nothing_is_said_of_an_ordinary_month(corrections):
    found = regional.anomalies(corrections, HISTORY_END)
    assert regional.in_words(found, np.datetime64("2024-12-31")) is None
