import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError
from lesniva.features import IMAGERY_LATENCY_DAYS, anomalies, features, smooth
from lesniva.features.sky import COLUMNS as SKY

YEARS = range(2018, 2022)
DISTRICTS = ("a", "b", "c")
COVERS = ("cropland", "winter", "summer")


def observations(seed: int = 1, years: range = YEARS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range(f"{years[0] - 1}-09-01", f"{years[-1]}-10-31", freq="5D")
    keys = pd.MultiIndex.from_product([DISTRICTS, COVERS, dates], names=["adm_id", "cover", "date"])
    table = keys.to_frame(index=False)
    doy = table["date"].dt.day_of_year
    table["ndvi"] = 0.2 + 0.6 * np.exp(-(((doy - 155) / 45) ** 2)) + rng.normal(0, 0.03, len(table))
    table["ndre"] = table["ndvi"] * 0.6
    table["clear_share"] = rng.uniform(0, 1, len(table))
    table["weight"] = 5000 * table["clear_share"]
    return table[rng.random(len(table)) < 0.6].reset_index(drop=True)


def weather(seed: int = 2, years: range = YEARS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range(f"{years[0] - 1}-09-01", f"{years[-1]}-10-31")
    keys = pd.MultiIndex.from_product([DISTRICTS, dates], names=["adm_id", "date"])
    table = keys.to_frame(index=False)
    season = 12 - 14 * np.cos(2 * np.pi * table["date"].dt.day_of_year / 365)
    table["tmin"] = season - 5 + rng.normal(0, 3, len(table))
    table["tmax"] = season + 6 + rng.normal(0, 3, len(table))
    table["prec"] = rng.exponential(2, len(table)) * (rng.random(len(table)) < 0.3)
    table["et0"] = np.maximum(season / 5, 0.1)
    table["soil_moisture"] = rng.uniform(0.1, 0.4, len(table))
    return table


def made(seen: pd.DataFrame, cutoff: str, **keywords: object) -> pd.DataFrame:
    asked = {"crop": "winter_wheat", "years": YEARS, "cutoff": cutoff, **keywords}
    return features(seen, **asked)  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None)
@given(
    cutoff=st.sampled_from(["04-30", "05-10", "06-30", "07-14", "09-30", "10-31", "12-20"]),
    year=st.sampled_from(list(YEARS)),
    seed=st.integers(0, 99),
)
def test_no_feature_moves_when_everything_after_the_cutoff_is_noise(
    cutoff: str, year: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    seen, sky = observations(), weather().assign(snow_depth=8.0)
    before = made(seen, cutoff, weather=sky)
    day = pd.Timestamp(cutoff_date(year, cutoff))
    late = seen["date"] > day - pd.Timedelta(days=IMAGERY_LATENCY_DAYS)
    seen.loc[late, ["ndvi", "ndre"]] = rng.uniform(-1, 1, (int(late.sum()), 2))
    seen.loc[late, "clear_share"] = rng.uniform(0, 1, int(late.sum()))
    seen.loc[late, "weight"] = rng.uniform(0, 9e4, int(late.sum()))
    seen = seen[~(late & (rng.random(len(seen)) < 0.3))]
    late = sky["date"] > day - pd.Timedelta(days=5)
    for name in ("tmin", "tmax", "prec", "et0", "soil_moisture", "snow_depth"):
        sky.loc[late, name] = rng.uniform(-50, 50, int(late.sum()))
    after = made(seen, cutoff, weather=sky)
    past = before["year"] <= year
    assert past.sum() == len(DISTRICTS) * (year - YEARS[0] + 1)
    pd.testing.assert_frame_equal(before[past], after[past], check_exact=True)


@pytest.mark.parametrize("cutoff", ["04-30", "06-30"])
def test_todays_row_is_made_as_the_training_rows_are(cutoff: str) -> None:
    seen = observations()
    all_years = made(seen, cutoff)
    known = seen["date"] <= pd.Timestamp(cutoff_date(2021, cutoff)) - pd.Timedelta(days=2)
    today = made(seen[known & (seen["date"] >= "2020-09-01")], cutoff, years=[2021])
    expected = all_years[all_years["year"] == 2021].reset_index(drop=True)
    pd.testing.assert_frame_equal(today, expected[today.columns], check_exact=True)


def test_anomalies_are_against_the_years_handed_in_and_no_others() -> None:
    table = made(observations(), "06-30")
    normal = anomalies(table, years=[2018, 2019])
    row = normal[(normal["adm_id"] == "b") & (normal["year"] == 2021)].iloc[0]
    past = table[(table["adm_id"] == "b") & table["year"].isin([2018, 2019])]
    assert row["ndvi_peak_anom"] == pytest.approx(row["ndvi_peak"] - past["ndvi_peak"].mean())
    low, high = past["ndvi_last"].min(), past["ndvi_last"].max()
    assert row["ndvi_vci"] == pytest.approx(100 * (row["ndvi_last"] - low) / (high - low))
    changed = table.copy()
    changed.loc[changed["year"] == 2020, "ndvi_peak"] = 0.99
    again = anomalies(changed, years=[2018, 2019])
    same = again["year"] == 2021
    pd.testing.assert_frame_equal(again[same], normal[same])
    assert "ndvi_peak_anom" in made(observations(), "06-30", climatology_years=[2018])


def test_a_known_curve_gives_its_phenology() -> None:
    date = pd.date_range("2018-09-01", "2019-08-31", freq="2D")
    doy = (date - pd.Timestamp("2018-12-31")).days.to_numpy()
    curve = 0.2 + 0.6 * np.exp(-(((doy - 150) / 30) ** 2))
    seen = pd.DataFrame(
        {
            "adm_id": "a",
            "cover": "cropland",
            "date": date,
            "ndvi": curve,
            "weight": 1.0,
            "clear_share": 1.0,
        }
    )
    row = made(seen, "07-31", years=[2019]).iloc[0]
    assert row["ndvi_peak"] == pytest.approx(0.8, abs=0.025)
    assert row["ndvi_peak_doy"] == pytest.approx(150, abs=5)
    # 20 % of the amplitude are crossed at 30 * sqrt(ln 5) days before the peak.
    assert row["sos_doy"] == pytest.approx(150 - 30 * np.sqrt(np.log(5)), abs=5)
    days = np.arange(60, 213)
    truth = 0.2 + 0.6 * np.exp(-(((days - 150) / 30) ** 2))
    assert row["ndvi_int"] == pytest.approx(truth.sum(), rel=0.03)
    assert row["days_ndvi_above_05"] == pytest.approx((truth > 0.5).sum(), abs=3)
    assert row["greenup_rate"] == pytest.approx(np.diff(truth).max(), rel=0.15)
    assert row["senescence_rate"] == pytest.approx((0.218 - 0.8) / 56, rel=0.15)
    assert row["ndvi_autumn"] == pytest.approx(0.2, abs=0.01)
    assert row["qa_days_since_obs"] == 3
    assert row["qa_area_ha"] == 1.0


def test_winter_fields_are_looked_at_only_once_they_can_be_told_apart() -> None:
    seen = observations()
    assert set(made(seen, "04-30")["cover"]) == {"cropland"}
    assert set(made(seen, "12-20")["cover"]) == {"cropland"}
    assert set(made(seen, "06-30")["cover"]) == {"winter"}
    assert set(made(seen, "06-30", crop="maize")["cover"]) == {"summer"}
    one_year_without = seen[(seen["cover"] != "winter") | (seen["date"] < "2020-09-01")]
    assert set(made(one_year_without, "06-30")["cover"]) == {"cropland"}


def test_a_year_without_imagery_has_a_row_that_says_so() -> None:
    seen = observations()
    gap = seen[(seen["date"] < "2018-09-01") | (seen["date"] >= "2019-09-01")]
    row = made(gap, "06-30").query("year == 2019 and adm_id == 'a'").iloc[0]
    assert row["qa_n_obs"] == 0
    assert row.filter(like="ndvi").isna().all()
    nothing = made(seen, "06-30", years=[1999])
    assert len(nothing) == len(DISTRICTS)
    assert nothing.filter(like="ndvi").isna().all(axis=None)


def test_cloudy_days_and_missing_values_do_not_count() -> None:
    seen = observations()
    clouded = seen.copy()
    few = clouded.index[::7]
    clouded.loc[few, "clear_share"] = 0.01
    without = made(seen.drop(few), "06-30")
    pd.testing.assert_frame_equal(made(clouded, "06-30"), without)
    clouded = seen.copy()
    clouded.loc[few, "ndvi"] = np.nan
    pd.testing.assert_frame_equal(made(clouded, "06-30"), without)


def test_weather_sums_are_what_constant_weather_gives() -> None:
    sky = weather().assign(tmin=5.0, tmax=15.0, prec=2.0, et0=3.0, soil_moisture=0.3)
    row = made(observations(), "06-30", weather=sky).query("year == 2020 and adm_id == 'a'").iloc[0]
    # Known to 25 June, day 177 of a leap year.
    assert row["gdd_sos"] == pytest.approx(10 * (177 - row["sos_doy"] + 1))
    assert row["prec_30d"] == 60
    assert row["cwb_60d"] == -60
    assert row["heat_days"] == row["frost_days"] == 0
    assert row["soil_moisture_30d"] == pytest.approx(0.3)
    with_tmean = made(observations(), "06-30", weather=sky.assign(tmean=20.0))
    # 10 * sum P / sum T of the days above 10 °C.
    assert with_tmean["htk"].to_numpy() == pytest.approx(10 * 2.0 / 20.0)


def test_eight_columns_of_weather_are_kept_the_most_telling_first() -> None:
    sky = weather().assign(prec=0.5)
    winter = made(observations(), "06-30", weather=sky)
    told = [name for name in SKY if name in winter]
    assert told == list(SKY[:8])
    # sugar beet has no winter, and few know the water in the soil
    fewer = made(
        observations(), "06-30", crop="sugar_beet", weather=sky.drop(columns="soil_moisture")
    )
    told = {name for name in SKY if name in fewer}
    assert told == set(SKY) - {"tmin_winter", "soil_moisture_30d"}
    row = fewer.query("year == 2020 and adm_id == 'a'").iloc[0]
    # April, May and 25 days of June, all of them dry
    assert row["dry_spell"] == 86
    assert row["prec_since_april"] == 43


def test_frost_counts_where_no_snow_lies() -> None:
    sky = weather().assign(tmin=-5.0, tmax=5.0, snow_depth=0.0)
    cold = sky["date"] == "2020-01-15"
    sky.loc[cold, "tmin"] = -30.0
    told = made(observations(), "06-30", weather=sky)["tmin_winter"]
    assert told.min() == -30
    sky.loc[cold, "snow_depth"] = 12.0
    assert (made(observations(), "06-30", weather=sky)["tmin_winter"] == -5).all()
    snowy = made(observations(), "06-30", weather=sky.assign(snow_depth=20.0))
    assert (snowy["tmin_winter"] == 0).all()
    unknown = made(observations(), "06-30", weather=sky.assign(snow_depth=np.nan))
    assert unknown["tmin_winter"].min() == -30


def test_what_does_not_change_is_told_of_districts_that_were_seen() -> None:
    seen = observations()
    seen = seen[(seen["adm_id"] != "c") | (seen["date"] < "2019-09-01")]
    still = pd.DataFrame({"adm_id": ["c", "a"], "lat": [53.0, 52.0], "soil_awc": [150.0, 90.0]})
    table = made(seen, "06-30", places=still).set_index(["adm_id", "year"])
    assert table.loc["a", "lat"].eq(52).all()
    assert table.loc["c", "soil_awc"].loc[:2019].eq(150).all()
    assert table.loc["c", "soil_awc"].loc[2020:].isna().all()
    assert table.loc["b", ["lat", "soil_awc"]].isna().all(axis=None)
    with pytest.raises(InputError, match="places repeat an adm_id"):
        made(seen, "06-30", places=pd.concat([still, still]))


def test_the_winters_cold_is_told_of_winter_crops_alone() -> None:
    sky = weather().assign(tmin=-5.0, tmax=5.0)
    for day, cold in (("2019-12-01", -21.0), ("2020-02-28", -24.0), ("2020-03-05", -30.0)):
        sky.loc[(sky["date"] == day) & (sky["adm_id"] == "a"), "tmin"] = cold
    told = made(observations(), "06-30", weather=sky).set_index(["adm_id", "year"])["tmin_winter"]
    assert told["a", 2020] == -24
    assert (told.drop(("a", 2020)) == -5).all()
    spring = made(observations(), "06-30", crop="maize", weather=sky)
    assert "tmin_winter" not in spring


@given(
    st.floats(-0.2, 0.9), st.lists(st.booleans(), min_size=5, max_size=30), st.floats(-0.02, 0.02)
)
def test_smoothing_keeps_lines_and_neither_invents_a_past_nor_extrapolates(
    level: float, holes: list[bool], slope: float
) -> None:
    line = level + slope * np.arange(len(holes))
    values = np.where(holes, np.nan, line)[None]
    smoothed = smooth(values, np.ones_like(values))[0]
    known = np.flatnonzero(~np.array(holes))
    if not len(known):
        assert np.isnan(smoothed).all()
        return
    first, last = known[0], known[-1]
    assert np.isnan(smoothed[:first]).all()
    np.testing.assert_allclose(smoothed[first : last + 1], line[first : last + 1], atol=1e-6)
    np.testing.assert_allclose(smoothed[last:], line[last], atol=1e-6)


def test_smoothing_brings_noise_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(5)
    truth = 0.5 + 0.3 * np.sin(np.arange(30) / 5)
    noisy = truth + rng.normal(0, 0.08, (200, 30))
    smoothed = smooth(noisy, np.ones_like(noisy))
    assert np.std(smoothed - truth) < 0.7 * np.std(noisy - truth)


def test_time_zones_and_hours_do_not_matter() -> None:
    seen = observations()
    zoned = seen.assign(date=(seen["date"] + pd.Timedelta(hours=8)).dt.tz_localize("UTC"))
    pd.testing.assert_frame_equal(made(zoned, "06-30"), made(seen, "06-30"))


def test_all_faults_come_in_one_message() -> None:
    seen = observations()
    seen.loc[0, "ndvi"] = 3.0
    seen.loc[1, "clear_share"] = np.nan
    seen = pd.concat([seen, seen.tail(2)])
    with pytest.raises(InputError) as caught:
        features(seen, crop="oats", years=[], cutoff="30.06", weather=pd.DataFrame({"date": []}))
    for fault in (
        "NDVI",
        "clear_share",
        "2 observations repeat",
        "weather lacks adm_id",
        "06-30 is",
    ):
        assert fault in str(caught.value)
    with pytest.raises(InputError, match="observations lack cover, date"):
        features(seen.drop(columns=["cover", "date"]), crop="oats", years=[2020], cutoff="06-30")
