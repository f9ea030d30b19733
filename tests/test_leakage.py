"""No forecast knows what was not known on its day: the checklist of the method, item by item."""

import numpy as np
import pandas as pd
import pytest

from lesniva import features, forecast, zonal
from lesniva.forecast import baselines, intervals, metrics, model

YEARS = list(range(2013, 2023))
DISTRICTS = [f"d{number}" for number in range(6)]
CUTOFF = "06-10"
NUMBERS = ["ndvi", "evi2"]


def observations(seed: int = 1) -> pd.DataFrame:
    """Ten seasons of six districts, from September to August, a scene every eight days."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2012-09-01", "2022-08-31", freq="8D")
    keys = [(d, cover, day) for d in DISTRICTS for cover in ("cropland", "winter") for day in days]
    table = pd.DataFrame(keys, columns=["adm_id", "cover", "date"])
    wave = np.exp(-(((table["date"].dt.day_of_year - 160) / 50) ** 2))
    table["ndvi"] = np.clip(0.2 + 0.6 * wave + rng.normal(0, 0.03, len(table)), -1, 1)
    table["evi2"] = 0.8 * table["ndvi"]
    table["weight"], table["clear_share"] = 100.0, rng.uniform(0.3, 1, len(table))
    return table


def daily_weather(seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = pd.date_range("2012-09-01", "2022-08-31")
    table = pd.DataFrame([(d, day) for d in DISTRICTS for day in days], columns=["adm_id", "date"])
    warm = 8 - 15 * np.cos(2 * np.pi * (table["date"].dt.day_of_year - 15) / 365)
    table["tmin"], table["tmax"] = warm - 5, warm + 5 + rng.normal(0, 3, len(table))
    table["prec"] = rng.exponential(1.5, len(table))
    table["et0"], table["soil_moisture"] = 3.0, rng.uniform(0.1, 0.4, len(table))
    return table


def of_day(
    seen: pd.DataFrame, weather: pd.DataFrame | None, years: list[int] = YEARS
) -> pd.DataFrame:
    return features.features(
        seen, crop="winter_wheat", years=years, cutoff=CUTOFF, cover="winter", weather=weather
    )


def after(dates: pd.Series, latency: int) -> pd.Series:
    """Whether a day of any harvest year was not known at the cut-off of that year."""
    year = dates.dt.year + (dates.dt.month >= 9)
    cutoff = pd.to_datetime(year.astype(str) + f"-{CUTOFF}")
    return dates > cutoff - pd.Timedelta(days=latency)


@pytest.fixture(scope="module")
def yields() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [(d, year, 4 + rng.normal(0, 0.5)) for d in DISTRICTS for year in YEARS]
    return pd.DataFrame(rows, columns=["adm_id", "year", "yield_t_ha"])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return of_day(observations(), daily_weather())


def walked(table: pd.DataFrame, yields: pd.DataFrame, **asked: int) -> pd.DataFrame:
    asked = {"permutations": 0, "trees": 20, "seeds": 1, **asked}
    return forecast.hindcast(table, yields, crop="winter_wheat", cutoff=CUTOFF, **asked).rows


def test_features_after_the_issue_date_are_noise_and_not_one_moves(table: pd.DataFrame) -> None:
    rng = np.random.default_rng(7)
    seen, weather = observations(), daily_weather()
    late = after(seen["date"], features.IMAGERY_LATENCY_DAYS)
    assert 0.15 < late.mean() < 0.35
    seen.loc[late, NUMBERS] = rng.uniform(-1, 1, (int(late.sum()), 2))
    seen.loc[late, "clear_share"] = rng.uniform(0, 1, int(late.sum()))
    late = after(weather["date"], features.WEATHER_LATENCY_DAYS)
    numbers = ["tmin", "tmax", "prec", "et0", "soil_moisture"]
    weather.loc[late, numbers] = rng.normal(0, 50, (int(late.sum()), 5))
    noisy = of_day(seen, weather)
    assert {"evi2_peak", "gdd_sos", "cwb_60d", "soil_moisture_30d", "htk"} <= set(noisy)
    pd.testing.assert_frame_equal(noisy, table)


def test_what_comes_after_may_as_well_not_be_there(table: pd.DataFrame) -> None:
    seen, weather = observations(), daily_weather()
    seen = seen[~after(seen["date"], features.IMAGERY_LATENCY_DAYS)]
    weather = weather[~after(weather["date"], features.WEATHER_LATENCY_DAYS)]
    pd.testing.assert_frame_equal(of_day(seen, weather), table)


def test_a_row_knows_nothing_of_other_years(table: pd.DataFrame) -> None:
    seen, weather = observations(), daily_weather()
    alone = of_day(
        seen[seen["date"].between("2017-09-01", "2018-08-31")],
        weather[weather["date"].between("2017-09-01", "2018-08-31")],
        [2018],
    )
    here = table[table["year"] == 2018].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, here)


def test_weather_is_summed_to_the_cutoff_and_not_over_the_calendar_year(
    table: pd.DataFrame,
) -> None:
    weather = daily_weather().drop(columns="soil_moisture")
    weather["prec"] = 1.0
    rain = of_day(observations(), weather)["prec_since_april"]
    # 1 April to 5 June: five days before the cut-off
    assert rain.to_numpy() == pytest.approx(66, abs=1)


def test_winter_crops_are_not_told_apart_before_that_is_known() -> None:
    assert features.cover_at("winter", "04-30") == "cropland"
    assert features.cover_at("winter", "05-10") == "cropland"
    assert features.cover_at("winter", "05-20") == "winter"
    assert features.cover_at("summer", "10-31") == "cropland"
    assert features.cover_at("my_map", "04-30") == "my_map"


def test_what_a_district_has_of_a_cover_does_not_depend_on_later_scenes() -> None:
    def sums(last: str) -> pd.DataFrame:
        """Two blocks; the second is reached in July for the first time in the season."""
        rows = [
            ("d", "cropland", "2021-06-01", "a", 40.0, 100.0, 100.0),
            ("d", "cropland", "2021-06-05", "b", 20.0, 50.0, 50.0),
            ("d", "cropland", "2022-06-01", "a", 40.0, 100.0, 100.0),
            ("d", "cropland", "2022-07-20", "b", 20.0, 50.0, 50.0),
        ]
        names = ["adm_id", "cover", "date", "block", "weighted", "clear_ha", "cover_ha"]
        table = pd.DataFrame(rows, columns=names)
        table["date"] = pd.to_datetime(table["date"])
        return zonal.means(table[table["date"] <= last])

    early, late = sums("2022-06-30"), sums("2022-08-31")
    assert late["clear_share"].tolist()[2] == pytest.approx(2 / 3)
    pd.testing.assert_frame_equal(early, late.iloc[:3])


@pytest.mark.parametrize("test_year", [2019, 2021])
def test_trend_climatology_and_blend_know_no_test_year(
    test_year: int, table: pd.DataFrame, yields: pd.DataFrame
) -> None:
    before = walked(table, yields)
    changed, noisy = yields.copy(), table.copy()
    changed.loc[changed["year"] >= test_year, "yield_t_ha"] = 19.0
    numbers = noisy.select_dtypes("float").columns
    noisy.loc[noisy["year"] > test_year, numbers] = 7.0
    moved = [name for name in before if name != "observed_t_ha"]
    rows = before["year"] <= test_year
    after_change = walked(noisy, changed)
    pd.testing.assert_frame_equal(after_change.loc[rows, moved], before.loc[rows, moved])


def test_no_year_that_drew_the_mask_is_judged(table: pd.DataFrame, yields: pd.DataFrame) -> None:
    assert walked(table, yields)["year"].min() == 2018
    assert walked(table, yields, first_test=2020)["year"].min() == 2020


def test_yields_are_not_used_before_they_are_published(
    table: pd.DataFrame, yields: pd.DataFrame
) -> None:
    before = walked(table, yields, yield_lag=2)
    changed = yields.copy()
    changed.loc[changed["year"] >= 2020, "yield_t_ha"] *= 3
    rows = before["year"] <= 2021
    moved = [name for name in before if name != "observed_t_ha"]
    again = walked(table, changed, yield_lag=2)
    pd.testing.assert_frame_equal(again.loc[rows, moved], before.loc[rows, moved])


def test_intervals_of_a_year_are_calibrated_on_earlier_years(
    table: pd.DataFrame, yields: pd.DataFrame
) -> None:
    before = walked(table, yields)
    changed = yields.copy()
    changed.loc[changed["year"] == 2021, "yield_t_ha"] = 0.5
    again = walked(table, changed)
    width = [f"q{p:02d}_t_ha" for p in (5, 10, 90, 95)]
    early = before["year"] <= 2021
    pd.testing.assert_frame_equal(again.loc[early, width], before.loc[early, width])
    spread = again.loc[~early, "q90_t_ha"] - again.loc[~early, "q10_t_ha"]
    known = before.loc[~early, "q90_t_ha"] - before.loc[~early, "q10_t_ha"]
    assert (spread > known).all()


def test_no_district_can_be_learnt_by_its_name(table: pd.DataFrame, yields: pd.DataFrame) -> None:
    assert not any("adm" in name or "id" in name for name in model.columns("raw", ["ndvi_peak"]))
    other = dict(zip(DISTRICTS, [f"x{number}" for number in range(6)], strict=True))
    renamed = walked(table.replace({"adm_id": other}), yields.replace({"adm_id": other}))
    np.testing.assert_allclose(renamed["yield_t_ha"], walked(table, yields)["yield_t_ha"])


def test_districts_of_a_year_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(11)
    truth = rng.normal(4, 0.5, (6, 1)) + np.zeros((6, 40))
    said, plain = np.full((6, 40), 4.0), np.full((6, 40), 4.1)
    few = metrics.year_block(said[:, :1], plain[:, :1], truth[:, :1])
    many = metrics.year_block(said, plain, truth)
    assert many["wilcoxon_p"] == pytest.approx(few["wilcoxon_p"])
    assert many["skill_high"] - many["skill_low"] == pytest.approx(
        few["skill_high"] - few["skill_low"]
    )


def test_percentages_do_not_explode_on_yields_near_zero() -> None:
    observed = np.array([[4.0, 1e-6], [4.0, 4.0]])
    said = np.full((2, 2), 4.0)
    area = np.ones((2, 2))
    assert metrics.point_metrics(said, observed, area=area, mean5=said)["mape"] < 1


def test_the_best_baseline_is_not_chosen_on_the_test_years(
    table: pd.DataFrame, yields: pd.DataFrame
) -> None:
    before = walked(table, yields)
    last = yields["year"] == YEARS[-1]
    changed = yields.copy()
    changed.loc[last, "yield_t_ha"] = 2 * yields.loc[last, "yield_t_ha"].to_numpy()[::-1]
    again = walked(table, changed)
    names = ["plain_t_ha", "yield_t_ha", "model_weight", *(f"{n}_t_ha" for n in baselines.NAMES)]
    pd.testing.assert_frame_equal(again[names], before[names])
    assert set(intervals.QUANTILES) <= set(before)
