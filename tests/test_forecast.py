"""The forecaster on made panels whose truth is known."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva import forecast
from lesniva.errors import InputError, NoDataError
from lesniva.forecast import baselines, files, intervals, walk
from lesniva.forecast.hindcast import NO_SKILL

CUTOFF = "06-30"
QUANTILES = list(intervals.QUANTILES)


def made(
    *, signal: float, seed: int = 0, districts: int = 12, years: range = range(2010, 2022)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Yields = district mean + `signal` × season, of which the predictors know; plus noise."""
    rng = np.random.default_rng(seed)
    count = (len(years), districts)
    season = rng.normal(0, 0.8, (count[0], 1)) + rng.normal(0, 0.6, count)
    level = rng.uniform(3, 5, districts)
    noise = rng.normal(0, 0.25, (count[0], 1)) * (signal == 0) + rng.normal(0, 0.2, count)
    value = np.maximum(level + signal * season + noise, 0.1)
    names = [f"d{i:02d}" for i in range(districts)]
    keys = pd.MultiIndex.from_product([years, names], names=["year", "adm_id"])
    table = keys.to_frame(index=False)
    features = table.assign(crop="oats")
    features["cutoff"] = pd.to_datetime(features["year"].astype(str) + "-" + CUTOFF)
    features["ndvi_peak"] = 0.6 + 0.1 * (season + rng.normal(0, 0.2, count)).ravel()
    features["ndvi_int"] = 40 + 5 * (season + rng.normal(0, 0.3, count)).ravel()
    features["sos_doy"] = 100 - 5 * (season + rng.normal(0, 0.5, count)).ravel()
    features["prec_30d"] = rng.exponential(50, count).ravel()
    features["qa_n_obs"] = 20.0
    area = rng.uniform(5e3, 5e4, districts)
    yields = table.assign(crop="oats", yield_t_ha=value.ravel(), area_ha=np.tile(area, count[0]))
    return features, yields


def judged(features: pd.DataFrame, yields: pd.DataFrame, **keywords: object) -> forecast.Hindcast:
    asked = {"crop": "oats", "cutoff": CUTOFF, "trees": 40, "seeds": 1, **keywords}
    return forecast.hindcast(features, yields, **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def season() -> tuple[pd.DataFrame, pd.DataFrame]:
    return made(signal=0.7)


@pytest.fixture(scope="module")
def history(season: tuple[pd.DataFrame, pd.DataFrame]) -> forecast.Hindcast:
    features, yields = season
    return judged(features, yields[yields["year"] < 2021])


@pytest.fixture(scope="module")
def fitted(history: forecast.Hindcast) -> forecast.Model:
    return forecast.fit(history)


@pytest.fixture(scope="module")
def said(fitted: forecast.Model, season: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    return forecast.predict(fitted, season[0])


def test_a_season_the_predictors_know_is_claimed_and_beats_the_plain_forecast(
    history: forecast.Hindcast,
) -> None:
    assert history.skill
    assert "the season helps" in history.statement
    assert history.null["p"] <= 0.1
    table = history.metrics
    assert table["rmse"]["forecast"] < 0.8 * table["rmse"]["plain"]
    assert table["skill_plain"]["forecast"] > 0.3
    assert table["r_anomaly"]["forecast"] > 0.7
    assert history.rows["year"].unique().tolist() == list(range(2015, 2021))
    assert history.by_year["n"].tolist() == [12] * 6
    assert history.pit.sum() == pytest.approx(1)
    assert history.pit[2:4].sum() == pytest.approx(table["coverage80"]["forecast"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_the_average_is_best_the_forecast_is_the_average_and_claims_nothing(
    seed: int,
) -> None:
    history = judged(*made(signal=0.0, seed=seed))
    assert history.metrics["rmse"]["forecast"] <= 1.05 * history.metrics["rmse"]["mean"]
    assert not history.skill
    assert NO_SKILL in history.statement


@pytest.mark.parametrize(
    ("districts", "count"), [(5, 8), (5, 14), (8, 10), (12, 9), (12, 12), (20, 8), (20, 16)]
)
def test_of_many_panels_without_a_signal_each_comes_out_as_the_average(
    districts: int, count: int
) -> None:
    for seed in range(100, 103):
        tables = made(signal=0.0, seed=seed, districts=districts, years=range(2022 - count, 2022))
        history = judged(*tables, permutations=0, trees=20)
        error = history.metrics["rmse"]
        assert error["forecast"] <= 1.05 * error["mean"]
        assert error["plain"] <= 1.05 * error["mean"]


def test_a_candidate_is_believed_as_far_as_whole_years_bear_it_out() -> None:
    rng = np.random.default_rng(3)
    reference = np.zeros((8, 20))
    season = rng.normal(0, 1, (8, 1)) + rng.normal(0, 0.5, (8, 20))
    error = rng.normal(0, 0.3, (8, 1)) + rng.normal(0, 0.3, (8, 20))
    best, certain = walk.evidence(reference, season, 0.7 * season + error)
    assert best == pytest.approx(0.7, abs=0.1)
    assert certain > 0.95
    # three years tell as much where the districts of a year bear it out, too
    assert walk.evidence(reference[:3], season[:3], 0.7 * season[:3] + error[:3])[1] > 0.9
    assert walk.evidence(reference, season, error - season) == (0, 0)
    assert walk.evidence(reference, reference, error) == (0, 0)
    assert walk.evidence(reference[:1], season[:1], season[:1]) == (0, 0)


@pytest.mark.parametrize("years", [2, 3, 5, 10])
def test_what_twenty_districts_share_in_a_year_is_believed_once_not_twenty_times(
    years: int,
) -> None:
    rng = np.random.default_rng(years)
    everywhere = np.zeros((years, 20))
    believed = []
    for _ in range(300):
        said, came = rng.normal(0, 1, (2, years, 1)) + everywhere
        best, certain = walk.evidence(everywhere, said, came + rng.normal(0, 0.1, (years, 20)))
        believed.append(best * certain)
    assert np.mean(np.array(believed) > 0.3) < 0.15


def test_a_signal_that_all_districts_share_is_believed_after_some_years() -> None:
    rng = np.random.default_rng(8)
    everywhere = np.zeros((9, 6))
    season = rng.normal(0, 1, (9, 1)) + everywhere
    came = season + rng.normal(0, 0.3, (9, 1)) + rng.normal(0, 0.3, (9, 6))
    best, certain = walk.evidence(everywhere, season + rng.normal(0, 0.3, (9, 6)), came)
    assert best > 0.7
    assert certain > 0.6


def test_leaving_a_year_out_tells_the_error_of_the_literature_beside_ours(
    history: forecast.Hindcast, season: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table = history.loyo
    assert table.index.tolist() == ["boosters", "mean", "own_trend", "pooled_trend"]
    assert table["n"].eq(72).all()
    assert (table["nrmse"] == history.metrics.loc[table.index, "nrmse"]).all()
    assert table["loyo_nrmse"]["boosters"] < table["loyo_nrmse"]["mean"]
    wide = (
        season[1]
        .query("year < 2021")
        .pivot_table(index="year", columns="adm_id", values="yield_t_ha")
    )
    others = (wide.sum() - wide) / (len(wide) - 1)
    error = (others - wide).loc[2015:].to_numpy()
    expected = 100 * np.sqrt((error**2).mean()) / wide.loc[2015:].to_numpy().mean()
    assert table["loyo_nrmse"]["mean"] == pytest.approx(expected)


def test_one_extreme_year_widens_the_intervals_after_it_and_the_others_stay_covered() -> None:
    covered, wider = [], []
    for seed in range(200, 203):
        features, yields = made(signal=0.7, seed=seed, years=range(2008, 2022))
        bad = yields["year"] == 2017
        halved = yields.assign(
            yield_t_ha=yields["yield_t_ha"].where(~bad, yields["yield_t_ha"] / 2)
        )
        usual, struck = (
            judged(features, table, permutations=0, trees=20).by_year.set_index("year")
            for table in (yields, halved)
        )
        covered.append(struck["coverage80"].drop(2017).mean())
        wider.append(struck["width80"][2018] > usual["width80"][2018])
    assert 0.7 <= np.mean(covered) <= 0.9
    assert all(wider)


def test_no_forecast_moves_when_its_own_and_all_later_years_change(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    before = judged(features, yields, permutations=0).rows
    rng = np.random.default_rng(9)
    later = yields["year"] >= 2018
    changed = yields.copy()
    changed.loc[later, "yield_t_ha"] = rng.uniform(0.5, 9, int(later.sum()))
    later = features["year"] > 2018
    numbers = ["ndvi_peak", "ndvi_int", "sos_doy", "prec_30d"]
    noisy = features.copy()
    noisy.loc[later, numbers] = rng.normal(0, 9, (int(later.sum()), 4))
    after = judged(noisy, changed, permutations=0).rows
    columns = [c for c in before if c.endswith("_t_ha") and c != "observed_t_ha"]
    columns += ["model_weight", "inner_skill", "note"]
    past = before["year"] <= 2018
    assert past.sum() == 4 * 12
    pd.testing.assert_frame_equal(before.loc[past, columns], after.loc[past, columns])


def test_yields_not_yet_published_are_not_used(season: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    features, yields = season
    before = judged(features, yields, permutations=0, yield_lag=2).rows.query("year == 2020")
    changed = yields.assign(yield_t_ha=yields["yield_t_ha"] + 3.0 * (yields["year"] == 2019))
    after = judged(features, changed, permutations=0, yield_lag=2).rows.query("year == 2020")
    pd.testing.assert_frame_equal(before, after)


def test_this_years_forecast_is_the_next_step_of_the_walk(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    history = judged(features, yields, permutations=0)
    walked = history.rows[history.rows["year"] == 2019].reset_index(drop=True)
    alone = forecast.predict(forecast.fit(history, year=2019), features)
    columns = ["adm_id", "yield_t_ha", *QUANTILES, "boosters_t_ha", "plain_t_ha", "model_weight"]
    pd.testing.assert_frame_equal(walked[columns], alone[columns], check_exact=False, rtol=1e-12)


def test_the_result_depends_on_the_seed_and_on_nothing_else(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    one = judged(features, yields, permutations=2, threads=1)
    shuffled = features.sample(frac=1, random_state=1), yields.sample(frac=1, random_state=2)
    two = judged(*shuffled, permutations=2, threads=2)
    pd.testing.assert_frame_equal(one.rows, two.rows)
    assert one.null == two.null
    other = judged(features, yields, permutations=0, seed=5)
    assert not other.rows["boosters_t_ha"].equals(one.rows["boosters_t_ha"])


def test_quantiles_rise_and_hold_the_forecast_in_the_middle(said: pd.DataFrame) -> None:
    values = said[QUANTILES].to_numpy()
    assert (np.diff(values, axis=1) > 0).all()
    np.testing.assert_allclose(said["q50_t_ha"], said["yield_t_ha"])
    assert said["skill"].all()
    assert (said["note"] == "").all()


def test_baselines_are_what_their_names_say() -> None:
    rng = np.random.default_rng(0)
    years = np.arange(2010, 2018)
    Y = rng.uniform(2, 5, (8, 4))
    Y[-1, 1] = np.nan
    Y[:, 3] = np.nan
    said = dict(zip(baselines.NAMES, baselines.baselines(Y, years, 2018), strict=True))
    assert said["mean"][0] == pytest.approx(Y[:, 0].mean())
    assert said["mean5"][1] == pytest.approx(np.nanmean(Y[-5:, 1]))
    assert said["last"][1] == Y[-2, 1]
    line = np.polyfit(years, Y[:, 0], 1)
    assert said["own_trend"][0] == pytest.approx(np.polyval(line, 2018))
    # Own means and one slope: a regression on district dummies and time.
    known = np.isfinite(Y)
    t, r = np.nonzero(known)
    A = np.column_stack([r == k for k in range(3)] + [years[t] - 2010]).astype(float)
    solution = np.linalg.lstsq(A, Y[known], rcond=None)[0]
    assert said["pooled_trend"][:3] == pytest.approx(solution[:3] + 8 * solution[3])
    assert said["mean"][3] == pytest.approx(said["mean"][:3].mean())


def test_impossible_highs_and_zeros_are_not_learnt_from_but_droughts_are() -> None:
    rng = np.random.default_rng(1)
    Y = 4 + rng.normal(0, 0.3, (10, 20))
    Y[3, 3], Y[4, 4], Y[5, 5] = 0.0, 15.0, 0.4
    kept = baselines.learnable(Y, np.arange(2010, 2020))
    assert not kept[3, 3]
    assert not kept[4, 4]
    assert kept[5, 5]
    assert kept.sum() == Y.size - 2


def test_calibration_finds_the_share_of_the_year() -> None:
    rng = np.random.default_rng(4)
    squares = []
    for _ in range(400):
        error = 4 * (rng.normal(0, 0.2, (5, 1)) + rng.normal(0, 0.1, (5, 30)))
        spread = intervals.calibrate(error, np.full((5, 30), 4.0), trained=np.full(5, 10), now=10)
        assert spread is not None
        squares.append((spread.tau**2, spread.s**2))
    assert np.mean(squares, axis=0) == pytest.approx([0.04, 0.01], rel=0.1)


@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_of_districts_and_of_their_mean_cover_when_the_year_is_shared(
    weighted: bool,
) -> None:
    rng = np.random.default_rng(6)
    inside = {0.8: [], 0.9: []}
    level, weight = np.full(20, 4.0), rng.uniform(1, 9, 20)
    for _ in range(600):
        error = 4 * (rng.normal(0, 0.15, (6, 1)) + rng.normal(0, 0.1, (6, 20)))
        spread = intervals.calibrate(error[:5], np.full((5, 20), 4.0), trained=np.full(5, 8), now=8)
        truth = level + error[5]
        if weighted:
            q = intervals.mean_quantiles(level, level, spread, weight=weight)
            truth = np.array((weight * truth).sum() / weight.sum())
        else:
            q = intervals.quantiles(level, level, spread)
        inside[0.8].append(((truth >= q[1]) & (truth <= q[3])).mean())
        inside[0.9].append(((truth >= q[0]) & (truth <= q[4])).mean())
    for nominal, shares in inside.items():
        assert np.mean(shares) == pytest.approx(nominal, abs=0.05)


def test_districts_add_up_and_share_the_year(fitted: forecast.Model, said: pd.DataFrame) -> None:
    whole = forecast.aggregate(fitted, said).iloc[0]
    production = (said["yield_t_ha"] * said["area_ha"]).sum()
    assert whole["production_t"] == pytest.approx(production)
    assert whole["yield_t_ha"] == pytest.approx(production / said["area_ha"].sum())
    assert whole["q10_t_ha"] < whole["yield_t_ha"] < whole["q90_t_ha"]
    halves = {name: "east" if name < "d06" else "west" for name in said["adm_id"]}
    parts = forecast.aggregate(fitted, said, groups=halves)
    assert parts["production_t"].sum() == pytest.approx(production)
    # Narrower than a district's own, wider than of independent districts.
    width = said["q90_t_ha"] - said["q10_t_ha"]
    share = said["area_ha"] / said["area_ha"].sum()
    total = whole["q90_t_ha"] - whole["q10_t_ha"]
    assert np.sqrt(((share * width) ** 2).sum()) < total < (share * width).sum() * 1.05


def test_groups_without_areas_or_districts_are_told(
    fitted: forecast.Model, said: pd.DataFrame
) -> None:
    bare = forecast.aggregate(fitted, said.assign(area_ha=np.nan)).iloc[0]
    assert bare["yield_t_ha"] == pytest.approx(said["yield_t_ha"].mean())
    assert "no areas are known" in bare["note"]
    assert np.isnan(bare["production_t"])
    with pytest.raises(NoDataError, match="no district of the forecast belongs to a group"):
        forecast.aggregate(fitted, said, groups={"elsewhere": "x"})
    with pytest.raises(InputError, match="predict with it"):
        forecast.aggregate(fitted, said.assign(crop="rye"))


def test_contributions_add_up_to_the_boosters_part_and_name_the_season(
    fitted: forecast.Model,
    said: pd.DataFrame,
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    reasons = forecast.explain(fitted, season[0])
    total = reasons.groupby("adm_id")["contribution_t_ha"].sum()
    base = reasons.groupby("adm_id")["base_t_ha"].first()
    expected = said.set_index("adm_id")
    moved = expected["model_weight"] * (expected["boosters_t_ha"] - base)
    np.testing.assert_allclose(total, moved, atol=1e-9)
    first = reasons[reasons["reason"] == "peak"].iloc[0]
    above = first["value"] > first["normal"]
    assert first["text_en"].startswith(
        f"peak of the vegetation index {'above' if above else 'below'} the mean: "
    )
    assert ("выше" in first["text_ru"]) == above
    # The season carries the signal, rain does not.
    size = reasons.groupby("reason")["contribution_t_ha"].apply(lambda c: c.abs().mean())
    assert size["peak"] + size["green_mass"] > 3 * size.get("moisture", 0.0)


def test_a_year_like_an_earlier_one_has_it_as_its_analogue(
    history: forecast.Hindcast, season: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    features = season[0].copy()
    numbers = ["ndvi_peak", "ndvi_int", "sos_doy", "prec_30d"]
    now, then = features["year"] == 2021, features["year"] == 2014
    features.loc[now, numbers] = features.loc[then, numbers].to_numpy()
    found = forecast.analogues(history, features, year=2021, count=2)
    best = found.groupby("adm_id").first()
    assert (best["analogue_year"] == 2014).all()
    assert best["distance"].max() == pytest.approx(0)
    assert (found["analogue_year"] < 2021).all()
    with pytest.raises(InputError, match="height were asked for"):
        forecast.analogues(history, features, year=2021, predictors=["height"])


def test_a_saved_model_says_the_same(
    fitted: forecast.Model,
    said: pd.DataFrame,
    season: tuple[pd.DataFrame, pd.DataFrame],
    tmp_path: Path,
) -> None:
    forecast.save(fitted, tmp_path / "model")
    again = forecast.load(tmp_path / "model")
    pd.testing.assert_frame_equal(forecast.predict(again, season[0]), said)
    assert again.data_sha256 == fitted.data_sha256
    assert again.boosters is not None
    assert again.boosters.train_years == tuple(range(2010, 2021))


def test_no_damaged_model_is_loaded(fitted: forecast.Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    forecast.save(fitted, folder)
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[int(rng.integers(10, len(whole) - 3))] ^= 0x15
        for damaged in (whole[: len(whole) * 9 // 10], bytes(changed), b""):
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=r"damaged|not the manifest"):
                forecast.load(folder)
        path.unlink()
        with pytest.raises(InputError, match="cannot be read"):
            forecast.load(folder)
        path.write_bytes(whole)
    forecast.load(folder)
    manifest = folder / "model.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(InputError, match="schema 99, this program reads 1"):
        forecast.load(folder)


def test_boosters_damaged_under_a_right_checksum_end_no_interpreter_but_their_own(
    fitted: forecast.Model, tmp_path: Path
) -> None:
    forecast.save(fitted, tmp_path)
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    entry = content["boosters"][0]
    damaged = (tmp_path / entry["file"]).read_text().replace("leaf_value=", "leaf_value=x", 1)
    (tmp_path / entry["file"]).write_text(damaged)
    entry["sha256"] = hashlib.sha256(damaged.encode()).hexdigest()
    del content["sha256"]
    content["sha256"] = files._digest(content)
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="LightGBM cannot read its boosters"):
        forecast.load(tmp_path)


def test_one_district_is_forecast(season: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    features, yields = (table[table["adm_id"] == "d03"] for table in season)
    history = judged(features, yields[yields["year"] < 2021], permutations=2)
    said = forecast.predict(forecast.fit(history), features)
    assert len(said) == 1
    assert said[["yield_t_ha", *QUANTILES]].notna().all(axis=None)


def test_too_few_years_are_refused_with_the_number_needed(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    with pytest.raises(NoDataError, match="1 years of yields, at least 6 are needed"):
        judged(features, yields[yields["year"] == 2015])
    with pytest.raises(NoDataError, match="no value is given"):
        judged(features, yields.assign(yield_t_ha=np.nan))
    with pytest.raises(InputError, match="at least 3 and 1"):
        judged(features, yields, min_train=1)


def test_a_missing_crop_or_cutoff_is_named(season: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with pytest.raises(NoDataError, match="crop 'rye' were asked for; the table has: oats"):
        judged(*season, crop="rye")
    with pytest.raises(NoDataError, match="cut-off 05-31 were asked for; the table has: 06-30"):
        judged(*season, cutoff="05-31")


def test_without_any_imagery_the_plain_forecast_stands(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    features = features.copy()
    features[["ndvi_peak", "ndvi_int", "sos_doy", "prec_30d"]] = np.nan
    history = judged(features, yields[yields["year"] < 2021])
    assert not history.skill
    assert "no imagery" in history.statement
    np.testing.assert_array_equal(history.rows["yield_t_ha"], history.rows["plain_t_ha"])
    said = forecast.predict(forecast.fit(history), features)
    assert (said["note"] == "no imagery").all()
    assert said[QUANTILES].notna().all(axis=None)
    assert forecast.explain(forecast.fit(history), features).empty


def test_a_year_without_imagery_and_one_without_yields_are_bridged(
    season: tuple[pd.DataFrame, pd.DataFrame], fitted: forecast.Model
) -> None:
    features, yields = season
    history = judged(
        features[features["year"] != 2016], yields[yields["year"] != 2013], permutations=2
    )
    dark = history.rows[history.rows["year"] == 2016]
    assert (dark["note"] == "no imagery").all()
    np.testing.assert_array_equal(dark["yield_t_ha"], dark["plain_t_ha"])
    unseen = forecast.predict(fitted, features[features["year"] < 2021])
    assert (unseen["note"] == "no imagery").all()
    assert unseen["yield_t_ha"].notna().all()


def test_a_new_district_takes_the_level_of_the_others_and_a_wider_interval(
    fitted: forecast.Model, said: pd.DataFrame, season: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    features = season[0][season[0]["year"] == 2021]
    new = features[features["adm_id"] == "d00"].assign(adm_id="new")
    both = forecast.predict(fitted, pd.concat([features, new])).set_index("adm_id")
    width = both["q90_t_ha"] - both["q10_t_ha"]
    assert both.loc["new", "plain_t_ha"] == pytest.approx(said["plain_t_ha"].mean())
    assert width["new"] > 1.3 * width.drop("new").max()
    assert "no past yields" in both.loc["new", "note"]
    expected = said.set_index("adm_id")
    pd.testing.assert_frame_equal(both.drop("new"), expected, check_exact=False)


def test_yields_of_zero_do_no_harm(season: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    features, yields = season
    zeros = yields.assign(yield_t_ha=yields["yield_t_ha"].where(yields.index % 9 != 0, 0.0))
    history = judged(features, zeros, permutations=2)
    table = history.metrics.loc["forecast"]
    assert table["mape"] < 100
    assert np.isfinite(history.rows["yield_t_ha"]).all()
    nothing = judged(features, yields.assign(yield_t_ha=0.0), permutations=2)
    assert not nothing.skill


@settings(max_examples=25, deadline=None)
@given(
    districts=st.integers(1, 4),
    count=st.integers(1, 9),
    unseen=st.sampled_from([0.0, 0.4, 1.0]),
    unknown=st.sampled_from([0.0, 0.4, 0.9]),
    zeros=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 999),
)
def test_whatever_is_missing_there_is_a_forecast_or_a_reason_why_not(
    districts: int, count: int, unseen: float, unknown: float, zeros: float, seed: int
) -> None:
    features, yields = made(
        signal=0.5, seed=seed, districts=districts, years=range(2021 - count, 2022)
    )
    rng = np.random.default_rng(seed)
    numbers = ["ndvi_peak", "ndvi_int", "sos_doy", "prec_30d"]
    features[numbers] = features[numbers].mask(rng.random((len(features), 4)) < unseen)
    yields["yield_t_ha"] = yields["yield_t_ha"].mask(rng.random(len(yields)) < zeros, 0.0)
    yields = yields[(rng.random(len(yields)) >= unknown) & (yields["year"] < 2021)]
    try:
        history = judged(features, yields, trees=3, permutations=1, min_train=3)
        said = forecast.predict(forecast.fit(history, year=2021), features)
    except NoDataError:
        return  # too few years, and the message says how many are needed
    assert said["adm_id"].tolist() == sorted(features["adm_id"].unique())
    assert said["note"].str.contains("no imagery").tolist() == (
        features.query("year == 2021")[numbers].isna().all(axis=1).tolist()
    )
    if (yields["yield_t_ha"] > 0).any():
        assert np.isfinite(said["yield_t_ha"]).all()
        assert (said["yield_t_ha"] >= 0).all()
        quantiles = said[QUANTILES].dropna().to_numpy()
        assert (np.diff(quantiles, axis=1) >= 0).all()


def test_all_faults_of_the_tables_come_in_one_message(
    season: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    features, yields = season
    twice = pd.concat([features, features.head(2)])
    twice["ndvi_peak"] = np.inf
    negative = yields.assign(yield_t_ha=-1.0)
    with pytest.raises(InputError, match=r"2 repeated rows.*infinite.*negative"):
        judged(twice, negative)
    with pytest.raises(InputError, match="predictors height are not in the features table"):
        judged(features, yields, predictors=["height"])
    with pytest.raises(InputError, match="predictors note are not numeric"):
        judged(features.assign(note="x"), yields, predictors=["note"])
    with pytest.raises(InputError, match="a year of the yields is missing"):
        judged(features, yields.assign(year=np.nan))
    with pytest.raises(InputError, match="the cut-off is '02-29', a day like 06-30"):
        judged(features, yields, cutoff="02-29")


def test_a_model_asks_for_the_predictors_it_lacks(
    fitted: forecast.Model, season: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    with pytest.raises(InputError, match="needs the columns sos_doy; the features table has"):
        forecast.predict(fitted, season[0].drop(columns="sos_doy"))


def test_quality_and_fitted_columns_are_not_predictors(history: forecast.Hindcast) -> None:
    assert history.data.predictors == ("ndvi_peak", "ndvi_int", "sos_doy", "prec_30d")
