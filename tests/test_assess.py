"""Accuracy from a sample: the published example to the digit, and truths known beforehand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesniva import assess
from lesniva.errors import InputError

CLASSES = ["deforestation", "forest gain", "stable forest", "stable non-forest"]
OLOFSSON = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
"""Olofsson et al. (2014), table 8: rows are the map."""
MAPPED_HA = dict(zip(CLASSES, [18_000.0, 13_500.0, 288_000.0, 580_500.0], strict=True))


def sample_of(counts, classes=CLASSES):
    rows = [
        (mapped, mapped, reference)
        for mapped, line in zip(classes, counts, strict=True)
        for reference, count in zip(classes, line, strict=True)
        for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["stratum", "map", "reference"])


def test_the_example_of_olofsson_comes_out_as_published():
    found = assess.accuracy(sample_of(OLOFSSON), MAPPED_HA, classes=CLASSES)
    table = found.classes
    assert table["users"].round(3).tolist() == [0.88, 0.733, 0.927, 0.963]
    assert table["users_ci"].round(3).tolist() == [0.074, 0.101, 0.040, 0.021]
    assert table["producers"].tolist() == pytest.approx([0.749, 0.847, 0.934, 0.962], abs=1e-3)
    assert table["producers_ci"].tolist() == pytest.approx([0.213, 0.254, 0.034, 0.018], abs=1e-3)
    assert found.overall == pytest.approx(0.9465, abs=5e-5)
    assert found.overall_ci == pytest.approx(0.0185, abs=5e-5)
    assert table["area_ha"].tolist() == pytest.approx([21158, 11686, 285770, 581386], abs=1)
    assert table["area_ha_ci"].tolist() == pytest.approx([6158, 3756, 15510, 16282], abs=1)


def test_shares_of_the_matrix_add_up_to_one_and_its_rows_to_the_map():
    found = assess.accuracy(sample_of(OLOFSSON), MAPPED_HA, classes=CLASSES)
    assert found.matrix.to_numpy().sum() == pytest.approx(1)
    shares = np.array(list(MAPPED_HA.values())) / sum(MAPPED_HA.values())
    assert found.matrix.loc[CLASSES].sum(axis=1).tolist() == pytest.approx(shares.tolist())


def test_strata_that_are_no_map_classes_give_the_truth_on_average():
    rng = np.random.default_rng(4)
    n = 40_000
    stratum = rng.choice(["alert", "near", "far"], n, p=[0.05, 0.15, 0.8])
    truth = rng.random(n) < pd.Series(stratum).map({"alert": 0.9, "near": 0.2, "far": 0.01})
    said = rng.random(n) < np.where(truth, 0.8, 0.02)
    names = np.array(["stable", "change"])
    ground = pd.DataFrame(
        {"stratum": stratum, "map": names[said.astype(int)], "reference": names[truth.astype(int)]}
    )
    area = ground["stratum"].value_counts().astype(float).to_dict()
    users, inside = [], 0
    true_users = (truth & said).sum() / said.sum()
    for seed in range(200):
        drawn = ground.groupby("stratum").sample(150, random_state=seed)
        row = assess.accuracy(drawn, area, classes=["stable", "change"]).classes.loc["change"]
        users.append(row["users"])
        inside += abs(row["users"] - true_users) <= row["users_ci"]
    assert np.mean(users) == pytest.approx(true_users, abs=0.01)
    assert 0.90 <= inside / 200 <= 0.99


def test_every_fault_of_a_sample_is_told_at_once():
    sample = pd.DataFrame(
        {"stratum": ["a", "c", "c"], "map": ["x", "x", "y"], "reference": ["x", "z", "y"]}
    )
    with pytest.raises(InputError, match=r"stratum a has 1 .* of stratum c; .* class z is none"):
        assess.accuracy(sample, {"a": 1.0}, classes=["x", "y"])


def test_sample_size_is_that_of_equation_13():
    # Olofsson et al. (2014), section 5.1.1: 641 units
    expected = dict(zip(CLASSES, [0.7, 0.6, 0.9, 0.95], strict=True))
    assert assess.sample_size(MAPPED_HA, expected) == 641


@given(
    pixels=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10_000), min_size=1),
    n=st.integers(1, 2000),
)
def test_no_stratum_gets_more_units_than_pixels_or_fewer_than_the_least(pixels, n):
    shared = assess.allocate(pixels, n, least=50)
    assert set(shared) == {name for name, count in pixels.items() if count}
    for name, units in shared.items():
        assert min(50, pixels[name]) <= units <= pixels[name]


def test_units_are_drawn_where_their_stratum_is_each_once_and_the_same_for_a_seed():
    strata = np.repeat(np.array([1, 2, 3], dtype=np.uint8), 40)
    places = assess.draw(strata, {1: 10, 3: 40}, seed=5)
    assert np.bincount(strata[places], minlength=4).tolist() == [0, 10, 0, 40]
    assert len(set(places.tolist())) == 50
    np.testing.assert_array_equal(assess.draw(strata, {1: 10, 3: 40}, seed=5), places)


def test_curve_of_f1_rises_with_the_lag_to_the_score_of_the_map():
    day = pd.to_datetime(pd.Series(["2023-06-01"] * 4 + [None] * 4))
    told = pd.to_datetime(
        pd.Series(["2023-06-05", "2023-06-20", "2023-08-01", None, "2023-06-01", None, None, None])
    )
    found = assess.curve(day, told, weight=pd.Series(1.0, index=day.index), lags=[0, 10, 30, 100])
    assert found["recall"].tolist() == [0, 0.25, 0.5, 0.75]
    assert found["precision"].tolist() == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4])
    assert found["f1"].is_monotonic_increasing
    assert assess.delays(day, told) == {"n": 3.0, "median_days": 19.0, "p90_days": 52.6}


def test_events_are_counted_by_size():
    area = pd.Series([0.1, 0.2, 0.3, 7.0])
    found = assess.by_size(area, pd.Series([True, False, True, True]))
    assert found["size_ha"].tolist() == ["0.1-0.3", "0.3-1", ">5"]
    assert found["events"].tolist() == [2, 1, 1]
    assert found["share"].tolist() == [0.5, 1.0, 1.0]
