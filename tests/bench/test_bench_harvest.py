"""From observations of districts to judged forecasts: features and hindcasts of a whole season."""

import numpy as np
import pandas as pd
import pytest

from lesniva import features, forecast

DISTRICTS = [f"D{number:02d}" for number in range(20)]
YEARS = range(2015, 2025)
CUTOFFS = ("04-30", "05-20", "06-10", "06-30", "07-20")


@pytest.fixture(scope="module")
def seasons() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A scene every five days over two covers of twenty districts, and their yields."""
    draw = np.random.default_rng(6)
    days = pd.date_range(f"{YEARS[0] - 1}-09-01", f"{YEARS[-1]}-08-31", freq="5D")
    index = pd.MultiIndex.from_product(
        [DISTRICTS, ["cropland", "winter"], days], names=["adm_id", "cover", "date"]
    )
    table = index.to_frame(index=False)
    table["year"] = table["date"].dt.year + (table["date"].dt.month >= 9)
    yields = pd.MultiIndex.from_product([DISTRICTS, YEARS], names=["adm_id", "year"])
    yields = yields.to_frame(index=False)
    common = np.tile(draw.normal(0, 0.8, len(YEARS)), len(DISTRICTS))
    yields["season"] = common + draw.normal(0, 0.6, len(yields))
    good = table[["adm_id", "year"]].merge(yields, how="left")["season"]
    wave = np.exp(-(((table["date"].dt.day_of_year - 155) / 45) ** 2))
    noise = draw.normal(0, 0.02, len(table))
    table["ndvi"] = np.clip(0.2 + (0.55 + 0.05 * good) * wave + noise, -1, 1)
    table["evi2"] = 0.8 * table["ndvi"]
    table["weight"], table["clear_share"] = 500.0, draw.uniform(0.2, 1, len(table))
    yields["yield_t_ha"] = 4 + 0.7 * yields["season"] + draw.normal(0, 0.2, len(yields))
    yields["area_ha"] = 1000.0
    return table.drop(columns="year"), yields.drop(columns="season")


def judge(seen: pd.DataFrame, yields: pd.DataFrame) -> list[forecast.Hindcast]:
    """Judge every day of issue, with the null and all members, as a run does."""
    judged = []
    for cutoff in CUTOFFS:
        table = features.features(
            seen,
            crop="winter_wheat",
            years=YEARS,
            cutoff=cutoff,
            cover=features.cover_at("winter", cutoff),
        )
        judged.append(forecast.hindcast(table, yields, crop="winter_wheat", cutoff=cutoff))
    return judged


def test_a_season_of_hindcasts(benchmark, table, seasons):
    from conftest import Row

    seen, yields = seasons
    # once, without a rehearsal: nothing is compiled here
    first, *_, last = benchmark.pedantic(judge, args=(seen, yields), rounds=1)
    assert last.metrics["nrmse"]["forecast"] < first.metrics["nrmse"]["plain"]
    assert last.null["permutations"] == forecast.hindcast.__kwdefaults__["permutations"]
    seconds = benchmark.stats.stats.median
    rows = len(DISTRICTS) * len(YEARS) * len(CUTOFFS)
    work = "harvest: features and hindcasts, 20 districts × 10 years × 5 issue days"
    table.append(Row(work, seconds, f"{rows / seconds:.0f} district-years/s", target="under 60 s"))
