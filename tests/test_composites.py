"""Composites: NumPy says what a period's value is."""

import datetime as dt
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesniva import composites
from lesniva.conventions import NODATA_INT16
from lesniva.errors import InputError

REPEATING = ("day", "dekad", "month", "season")

STACKS = hnp.arrays(
    np.int16,
    st.tuples(st.integers(0, 9), st.just(2), st.just(3)),
    elements=st.integers(-10_000, 10_000) | st.just(NODATA_INT16),
)
"""Index stacks, some dates of some pixels missing; perhaps no date at all."""


def pixels(stack):
    """Row, column and clear values of each pixel."""
    for row, col in np.ndindex(stack.shape[1:]):
        series = stack[:, row, col]
        yield row, col, series[series != NODATA_INT16].astype(np.float64)


@pytest.mark.parametrize(
    ("statistic", "oracle"), [("median", np.median), ("mean", np.mean), ("max", np.max)]
)
@given(stack=STACKS)
def test_composite_is_numpys_statistic_of_what_was_clear(statistic, oracle, stack):
    value, count = composites.composite(stack, np.arange(len(stack)), statistic=statistic)
    assert value.dtype == np.int16
    assert count.dtype == np.uint8
    for row, col, clear in pixels(stack):
        assert count[row, col] == len(clear)
        if len(clear):
            assert abs(value[row, col] - oracle(clear)) <= 0.5
        else:
            assert value[row, col] == NODATA_INT16


@given(stack=STACKS, data=st.data())
def test_composite_looks_at_its_members_only(stack, data):
    members = [n for n in range(len(stack)) if data.draw(st.booleans())]
    noise = stack.copy()
    noise[[n for n in range(len(stack)) if n not in members]] = 12_345
    for found, expected in zip(
        composites.composite(noise, members),
        composites.composite(stack[members], np.arange(len(members))),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@given(stack=STACKS, order=st.randoms(use_true_random=False))
def test_order_of_dates_does_not_matter(stack, order):
    places = list(range(len(stack)))
    order.shuffle(places)
    for statistic in ("median", "mean", "max"):
        value, _ = composites.composite(stack, places, statistic=statistic)
        same, _ = composites.composite(stack, sorted(places), statistic=statistic)
        np.testing.assert_array_equal(value, same)


def test_extreme_values_do_not_overflow():
    stack = np.full((5, 1, 1), 32_767, dtype=np.int16)
    for statistic in ("median", "mean", "max"):
        value, _ = composites.composite(stack, range(5), statistic=statistic)
        assert value.item() == 32_767


def test_more_than_255_clear_dates_count_as_255():
    stack = np.zeros((300, 1, 1), dtype=np.int16)
    _, count = composites.composite(stack, np.arange(300))
    assert count.item() == 255


@pytest.mark.parametrize("dates", [18, 31, 60])
def test_median_of_a_season_is_numpys(dates):
    draw = np.random.default_rng(dates)
    stack = draw.integers(-10_000, 10_000, (dates, 3, 300)).astype(np.int16)
    stack[draw.random(stack.shape) < draw.random(stack.shape[1:])] = NODATA_INT16
    value, _ = composites.composite(stack, range(dates))
    seen = np.where(stack == NODATA_INT16, np.nan, stack)
    with warnings.catch_warnings(action="ignore"):  # a pixel never seen has no median
        expected = np.rint(np.nanmedian(seen, axis=0))
    np.testing.assert_array_equal(value, np.where(np.isnan(expected), NODATA_INT16, expected))


def test_one_cloud_the_mask_missed_does_not_move_the_median():
    stack = np.array([7900, 8000, 1200, 8100, 8050], dtype=np.int16).reshape(5, 1, 1)
    assert composites.composite(stack, range(5), statistic="median")[0].item() == 8000


@given(stack=STACKS, low=st.floats(0, 1), high=st.floats(0, 1))
def test_percentile_is_the_nearest_order_statistic(stack, low, high):
    lows, highs = composites.percentile_range(stack, low=low, high=high)
    for row, col, clear in pixels(stack):
        if not len(clear):
            assert lows[row, col] == highs[row, col] == NODATA_INT16
            continue
        ordered = np.sort(clear)
        for share, found in ((low, lows[row, col]), (high, highs[row, col])):
            place = share * (len(ordered) - 1)
            near = ordered[np.abs(np.arange(len(ordered)) - place) <= 0.5 + 1e-9]
            assert found in near


def test_percentiles_of_the_ends_are_the_extremes():
    stack = np.array([3, 1, NODATA_INT16, 2], dtype=np.int16).reshape(4, 1, 1)
    low, high = composites.percentile_range(stack, low=0, high=1)
    assert (low.item(), high.item()) == (1, 3)


# ── Periods ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("day", ["2024-02-10", "2024-02-11", "2024-02-20", "2024-02-21", "2024-02-29"]),
        ("dekad", ["2024-02-d1", "2024-02-d2", "2024-02-d2", "2024-02-d3", "2024-02-d3"]),
        ("month", ["2024-02"] * 5),
        ("season", ["2024"] * 5),
        ("all", ["all"] * 5),
    ],
)
def test_dates_fall_into_their_period(period, expected):
    days = ["2024-02-10", "2024-02-11", "2024-02-20", "2024-02-21", "2024-02-29"]
    assert composites.periods(np.array(days, dtype="datetime64[D]"), period) == expected


@pytest.mark.parametrize("period", ["day", "dekad", "month", "season", "all"])
@given(days=st.lists(st.integers(16_600, 47_000), max_size=20))
def test_sorting_labels_sorts_periods(period, days):
    dates = np.sort(np.array(days, dtype="datetime64[D]"))  # 2015 to 2098
    labels = composites.periods(dates, period)
    assert len(labels) == len(dates)
    assert labels == sorted(labels)


def test_every_month_has_three_dekads_and_the_last_takes_the_rest():
    year = np.arange(np.datetime64("2023-01-01"), np.datetime64("2024-01-01"))
    labels, sizes = np.unique(composites.periods(year, "dekad"), return_counts=True)
    assert len(labels) == 36
    assert set(sizes[[label[-1] != "3" for label in labels]]) == {10}
    assert set(sizes[[label[-1] == "3" for label in labels]]) == {8, 10, 11}


def test_moments_of_a_day_belong_to_that_day():
    moments = np.array(["2024-06-10T23:59:59", "2024-06-11T00:00:01"], dtype="datetime64[s]")
    assert composites.periods(moments, "dekad") == ["2024-06-d1", "2024-06-d2"]


def test_unknown_period_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown period week: use day, dekad, month, season or"):
        composites.periods(["2024-06-10"], "week")


@given(st.dates(dt.date(2015, 6, 1), dt.date(2030, 12, 31)), st.sampled_from(REPEATING))
def test_a_day_lies_in_the_days_of_its_period_and_its_neighbours_do_not(day, period):
    (label,) = composites.periods([day], period)
    first, last = composites.days_of(label)
    assert first <= day <= last
    span = np.arange(first, last + dt.timedelta(days=1), dtype="datetime64[D]")
    assert set(composites.periods(span, period)) == {label}
    beside = [first - dt.timedelta(days=1), last + dt.timedelta(days=1)]
    assert label not in composites.periods(beside, period)


@pytest.mark.parametrize("label", ["all", "2024-06-d4", "2024-13", "2024-06-31", "June"])
def test_what_is_no_period_is_refused(label):
    with pytest.raises(InputError, match=f"no period '{label}'"):
        composites.days_of(label)


def test_the_same_dekads_of_earlier_years_are_found():
    known = ["2024-06-d1", "2022-06-d1", "2023-06-d1", "2023-06-d2", "2025-06-d1"]
    assert composites.same_of_earlier_years("2024-06-d1", known) == ["2022-06-d1", "2023-06-d1"]
    assert composites.same_of_earlier_years("2024", ["2022", "2024", "2025"]) == ["2022"]


@given(STACKS.filter(len), st.integers(1, 4))
def test_an_anomaly_is_the_departure_from_numpys_mean_where_there_are_enough_years(stack, least):
    value, earlier = stack[0], stack[1:]
    found = composites.anomaly(value, earlier, min_years=least)
    for row, col, clear in pixels(earlier):
        if value[row, col] == NODATA_INT16 or len(clear) < least:
            assert found[row, col] == NODATA_INT16
        else:
            departure = value[row, col] - np.mean(clear)
            assert abs(found[row, col] - np.clip(departure, -32767, 32767)) <= 0.5
