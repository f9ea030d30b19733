"""One crop on one day, whatever the tables are like: a clear answer each time."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from lesniva import forecast
from lesniva.errors import NoDataError
from lesniva.pipeline import harvest
from lesniva.pipeline.outlook import TABLES, Outlook, outlook

YEAR = 2024
QUICK = {"trees": 15, "seeds": 1, "permutations": 3}
DISTRICTS = ("a", "b", "c", "d", "e", "f")


def made(
    districts: tuple[str, ...] = DISTRICTS, *, first: int = 2012, signal: float = 1.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seasons whose peak NDVI tells the yield; 2024 has features only."""
    rng = np.random.default_rng(4)
    keys = [(name, year) for name in districts for year in range(first, YEAR + 1)]
    table = pd.DataFrame(keys, columns=["adm_id", "year"])
    season = table["year"].map(
        dict(zip(range(first, YEAR + 1), rng.normal(0, 1, 99), strict=False))
    )
    table["ndvi_peak"] = 0.7 + 0.05 * season + rng.normal(0, 0.01, len(table))
    table["sos_doy"] = 100 - 4 * season + rng.normal(0, 1, len(table))
    yields = table[["adm_id", "year"]].assign(
        yield_t_ha=4 + signal * 0.6 * season + rng.normal(0, 0.2, len(table)), area_ha=100.0
    )
    return table, yields[yields["year"] < YEAR]


def ask(folder: Path, features: pd.DataFrame, yields: pd.DataFrame, **more: Any) -> Outlook:
    asked = {"crop": "winter_wheat", "cutoff": "06-30", "year": YEAR, "group": "area"}
    settings = {**QUICK, **more.pop("settings", {})}
    return outlook(folder, features, yields, **{**asked, **more}, lead_days=11, settings=settings)


def test_an_outlook_is_kept_and_made_anew_only_when_its_tables_change(tmp_path: Path) -> None:
    features, yields = made()
    first = ask(tmp_path, features, yields)
    marks = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = ask(tmp_path, features, yields)
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    for name in TABLES:
        pd.testing.assert_frame_equal(first.tables[name], again.tables[name])
    other = ask(tmp_path, features, yields.assign(yield_t_ha=yields["yield_t_ha"] + 0.1))
    assert other.model != first.model
    assert not first.model.exists()


def test_the_area_is_said_with_the_uncertainty_that_its_districts_share(tmp_path: Path) -> None:
    said = ask(tmp_path, *made())
    rows, total = said.tables["forecast"], said.tables["forecast_total"].iloc[0]
    assert total["yield_t_ha"] == pytest.approx(rows["yield_t_ha"].mean())
    assert total["production_t"] == pytest.approx((rows["yield_t_ha"] * rows["area_ha"]).sum())
    width = (rows["q90_t_ha"] - rows["q10_t_ha"]).mean()
    alone = width / np.sqrt(len(rows))
    assert alone < total["q90_t_ha"] - total["q10_t_ha"] <= 1.05 * width


def test_reasons_and_analogues_are_told_for_every_district(tmp_path: Path) -> None:
    said = ask(tmp_path, *made())
    assert set(said.tables["reasons"]["adm_id"]) == set(DISTRICTS)
    assert said.tables["analogues"].groupby("adm_id").size().eq(3).all()
    assert said.tables["forecast"]["reasons_ru"].str.contains("т/га").all()


def test_a_day_that_has_not_come_has_a_hindcast_and_no_forecast(tmp_path: Path) -> None:
    features, yields = made()
    said = ask(tmp_path, features[features["year"] < YEAR], yields)
    assert said.tables["forecast"].empty
    assert said.tables["forecast_total"].empty
    assert said.claim["test_years"] == 7
    assert not said.model.exists()


def test_what_is_published_is_what_the_saved_model_says(tmp_path: Path) -> None:
    features, yields = made()
    said = ask(tmp_path, features, yields)
    again = forecast.predict(forecast.load(said.model), features)
    np.testing.assert_allclose(again["yield_t_ha"], said.tables["forecast"]["yield_t_ha"])


def test_one_district_is_forecast(tmp_path: Path) -> None:
    said = ask(tmp_path, *made(("alone",), first=2000))
    assert said.tables["forecast"]["yield_t_ha"].between(1, 8).all()
    assert len(said.tables["forecast"]) == 1


def test_features_that_are_all_missing_leave_the_plain_forecast_and_say_so(tmp_path: Path) -> None:
    features, yields = made()
    said = ask(tmp_path, features.assign(ndvi_peak=np.nan, sos_doy=np.nan), yields)
    rows = said.tables["forecast"]
    np.testing.assert_allclose(rows["yield_t_ha"], rows["plain_t_ha"])
    assert rows["note"].str.contains("no imagery").all()
    assert not said.claim["skill"]
    assert said.tables["reasons"].empty


def test_a_season_without_imagery_is_forecast_from_past_yields(tmp_path: Path) -> None:
    features, yields = made()
    features.loc[features["year"] == YEAR, ["ndvi_peak", "sos_doy"]] = np.nan
    rows = ask(tmp_path, features, yields).tables["forecast"]
    assert rows["note"].eq("no imagery").all()
    assert (rows["model_weight"] == 0).all()


def test_a_new_district_gets_the_level_of_the_others_and_a_wider_interval(tmp_path: Path) -> None:
    features, yields = made()
    # how far levels lie apart is what is not known of a new one
    yields["yield_t_ha"] += yields["adm_id"].map({"a": 0.6, "b": -0.6, "c": 0.9}).fillna(0.0)
    rows = ask(tmp_path, features, yields[yields["adm_id"] != "f"]).tables["forecast"]
    rows = rows.set_index("adm_id")
    assert "no past yields" in rows.loc["f", "note"]
    width = rows["q90_t_ha"] - rows["q10_t_ha"]
    assert width["f"] > width["a"]


def test_yields_of_zero_give_forecasts_that_are_finite_and_not_negative(tmp_path: Path) -> None:
    features, yields = made()
    yields.loc[yields["year"] == 2018, "yield_t_ha"] = 0.0
    said = ask(tmp_path, features, yields)
    assert np.isfinite(said.tables["forecast"]["q05_t_ha"]).all()
    assert (said.tables["forecast"]["q05_t_ha"] >= 0).all()
    with pytest.raises(NoDataError, match="no past yield is above zero"):
        ask(tmp_path, features, yields.assign(yield_t_ha=0.0))


@pytest.mark.parametrize("years", [1, 3])
def test_too_few_years_are_said_with_what_is_needed(tmp_path: Path, years: int) -> None:
    features, yields = made()
    few = yields[yields["year"] >= YEAR - years]
    with pytest.raises(NoDataError, match=rf"{years} years of yields.* at least 6 are needed"):
        ask(tmp_path, features, few)


def test_where_the_average_is_best_the_average_comes_out_and_nothing_is_claimed(
    tmp_path: Path,
) -> None:
    said = ask(tmp_path, *made(signal=0.0))
    error = said.tables["skill"].set_index("forecaster")["rmse"]
    assert error["forecast"] <= 1.05 * error["mean"]
    assert not said.claim["skill"]
    assert "ещё не уточняют" in said.claim["statement_ru"]


def test_each_of_several_crops_has_a_layer_of_its_own_for_the_map() -> None:
    rows = pd.DataFrame({"crop": ["winter_wheat", "maize"], "yield_t_ha": [4.0, 7.0]})
    both = gpd.GeoDataFrame(rows, geometry=gpd.points_from_xy([39, 39], [52, 52]), crs=4326)
    layers = harvest._by_crop(both)
    assert {name: rows["yield_t_ha"].tolist() for name, rows in layers.items()} == {
        "forecast_winter_wheat": [4.0],
        "forecast_maize": [7.0],
    }
    assert harvest._by_crop(both.head(1)) == {}
