"""The seasonal model of the stable history."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva.change import expected, fit, reverse_cusum
from lesniva.change.regression import (
    GROUP,
    MOMENT_STEPS,
    design,
    grouped,
    median,
    moments,
    subset_sums,
)
from lesniva.conventions import NODATA_INT16, Status, from_day_number, to_day_number
from lesniva.errors import InputError

DATES = np.datetime64("2018-02-03") + 11 * np.arange(130)
DAYS = to_day_number(DATES).astype(np.int64)


def stack(values):
    array = np.asarray(values, dtype=np.float64)
    scaled = np.where(np.isnan(array), NODATA_INT16, np.rint(np.nan_to_num(array) * 10_000))
    return xr.DataArray(scaled.astype(np.int16), dims=("time", "y", "x"))


def values_of(index):
    """Index values (time, y, x) after the rounding to int16, NaN = missing."""
    return np.where(index.values == NODATA_INT16, np.nan, index.values / 10_000)


def noisy(rows=4, columns=5, seed=0, noise=0.03, missing=0.4, dates=DAYS):
    rng = np.random.default_rng(seed)
    beta = rng.normal(0, 0.06, (7, rows, columns))
    beta[0] = 0.6
    values = np.einsum("tk,kij->tij", design(dates, 3), beta)
    values += rng.normal(0, noise, values.shape)
    values[rng.random(values.shape) < missing] = np.nan
    return stack(values)


def test_ordinary_least_squares_is_that_of_numpy():
    index = noisy()
    model = fit(index, DATES, method="ols", trim=None, sigma="ols")
    y, X = values_of(index), design(DAYS, 3)
    assert (model["order"] == 3).all()
    for i, j in np.ndindex(4, 5):
        seen = ~np.isnan(y[:, i, j])
        beta, rss, *_ = np.linalg.lstsq(X[seen], y[seen, i, j], rcond=None)
        np.testing.assert_allclose(model["coefficients"][:, i, j], beta, rtol=1e-5, atol=1e-7)
        sigma = np.sqrt(rss[0] / (seen.sum() - 7))
        assert model["sigma"][i, j].item() == pytest.approx(sigma, rel=1e-6)
        assert model["n_history"][i, j] == seen.sum()


def test_robust_fit_is_the_fixed_point_of_its_weights_and_bears_outliers():
    index = noisy(noise=0.02)
    clean = fit(index, DATES, trim=None)
    rng = np.random.default_rng(5)
    spoilt = index.copy(deep=True)
    hazy = (rng.random(spoilt.shape) < 0.15) & (spoilt.values != NODATA_INT16)
    spoilt.values[hazy] -= 4_000
    model = fit(spoilt, DATES, trim=None)
    plain = fit(spoilt, DATES, trim=None, method="ols")
    truth = clean["coefficients"].values
    assert np.abs(model["coefficients"].values - truth).max() < 0.05
    assert np.abs(plain["coefficients"].values - truth).mean() > 0.02

    y, X = values_of(spoilt), design(DAYS, 3)
    for i, j in ((0, 0), (3, 4)):
        seen = ~np.isnan(y[:, i, j])
        beta = model["coefficients"].values[:, i, j].astype(np.float64)
        residual = y[seen, i, j] - X[seen] @ beta
        cut = 4.685 * 1.4826 * np.median(np.abs(residual))
        weight = np.clip(1 - (residual / cut) ** 2, 0, None) ** 2
        root = np.sqrt(weight)[:, None]
        again = np.linalg.lstsq(root * X[seen], root[:, 0] * y[seen, i, j], rcond=None)[0]
        np.testing.assert_allclose(beta, again, atol=2e-3)


@pytest.mark.parametrize(
    "spread",
    [
        lambda draw, shape: draw.normal(0, 0.03, shape),
        lambda draw, shape: 0.01 * draw.standard_t(1.5, shape),  # a median far below the mean
        lambda draw, shape: 0.05 * draw.integers(-2, 3, shape),  # few different sizes
        lambda draw, shape: np.where(draw.random(shape) < 0.55, 0.0, 0.2),  # halves far apart
    ],
    ids=["normal", "heavy tails", "steps", "gap"],
)
def test_the_noise_is_the_scaled_median_over_its_floor(spread):
    draw = np.random.default_rng(6)
    values = 0.2 + spread(draw, (len(DATES), 15, 15))
    values[draw.random(values.shape) < draw.uniform(0, 0.85, (15, 15))] = np.nan
    index = stack(np.clip(values, -2, 2))
    model = fit(index, DATES, method="ols", trim=None, sigma_floor=0.001)
    y, X = values_of(index), design(DAYS, 3)
    beta = np.nan_to_num(model["coefficients"].values.astype(np.float64))
    residual = y - np.einsum("tk,kij->tij", X, beta)
    wanted = np.hypot(1.4826 * np.nanmedian(np.abs(residual), axis=0), 0.001)
    fitted = (model["order"] > 0).values
    assert fitted.sum() > 200
    np.testing.assert_allclose(model["sigma"].values[fitted], wanted[fitted], rtol=2e-5, atol=1e-6)


def test_the_history_is_trimmed_where_the_reverse_cusum_says_and_fitted_anew():
    index = noisy(6, 6, seed=2, missing=0.3)
    index.values[:50, :3] = np.where(
        index.values[:50, :3] == NODATA_INT16, NODATA_INT16, index.values[:50, :3] - 2_500
    )
    model = fit(index, DATES, method="ols", sigma="ols")
    y, X = values_of(index), design(DAYS, 3)
    trimmed = 0
    for i, j in np.ndindex(6, 6):
        rows = np.flatnonzero(~np.isnan(y[:, i, j]))
        begin = reverse_cusum(y[:, i, j], X).start
        trimmed += begin > 0
        assert from_day_number(model["history_start"][i, j].item()) == DATES[rows[begin]]
        assert model["n_history"][i, j] == rows.size - begin
        if model["order"][i, j] == 3:
            kept = rows[begin:]
            beta = np.linalg.lstsq(X[kept], y[kept, i, j], rcond=None)[0]
            np.testing.assert_allclose(model["coefficients"][:, i, j], beta, rtol=1e-4, atol=1e-6)
    assert trimmed >= 15


@pytest.mark.parametrize(
    ("n", "years", "order"), [(9, 2, 1), (14, 2, 1), (15, 2, 2), (39, 3, 2), (40, 3, 3)]
)
def test_the_order_follows_the_observations(n, years, order):
    dates = np.linspace(0, 365 * years - 40, n).astype(int) + np.datetime64("2018-01-20")
    index = noisy(1, 1, missing=0, dates=to_day_number(dates).astype(np.int64))
    assert fit(index, dates, trim=None)["order"].item() == order


def test_forty_observations_in_two_years_carry_two_harmonics():
    dates = np.datetime64("2018-01-20") + 15 * np.arange(45)
    index = noisy(1, 1, missing=0, dates=to_day_number(dates).astype(np.int64))
    assert fit(index, dates, trim=None)["order"].item() == 2


def test_unused_harmonics_are_zero():
    dates = DATES[:45:3]
    index = noisy(1, 1, missing=0, dates=to_day_number(dates).astype(np.int64))
    model = fit(index, dates, trim=None)
    assert model["order"].item() == 2
    assert (model["coefficients"].values[5:] == 0).all()


def test_pixels_without_a_model_say_why():
    values = np.full((130, 1, 5), 0.7)
    values += np.random.default_rng(0).normal(0, 0.01, values.shape)
    values[:, 0, 0] = np.nan
    values[1:, 0, 1] = np.nan
    values[8:, 0, 2] = np.nan
    values[30:, 0, 3] = np.nan  # one calendar year
    values[:, 0, 3][np.datetime64("2019-01-01") <= DATES] = np.nan
    model = fit(stack(values), DATES)
    wanted = [Status.NEVER_CLEAR] + [Status.TOO_FEW_OBSERVATIONS] * 3 + [Status.NONE]
    assert model["status"].values[0].tolist() == wanted
    assert np.isnan(model["coefficients"].values[:, 0, :4]).all()
    assert np.isnan(model["sigma"].values[0, :4]).all()
    assert model["n_history"].values[0, 1] == 1
    assert model["history_start"].values[0].tolist()[0] == 0


def test_a_history_that_changed_lately_is_unstable():
    rng = np.random.default_rng(4)
    values = 0.8 + rng.normal(0, 0.01, (200, 1, 1))
    values[190:] -= 0.05
    model = fit(stack(values), np.datetime64("2019-02-03") + 2 * np.arange(200), max_order=1)
    assert 0 < 2 * model["n_history"].item() < 183
    assert model["status"].item() == Status.UNSTABLE_HISTORY
    assert np.isnan(model["sigma"].item())


def test_haze_at_the_end_of_a_history_does_not_make_it_unstable():
    rng = np.random.default_rng(4)
    values = 0.8 + rng.normal(0, 0.01, (200, 1, 2))
    values[[192, 194, 196]] -= 0.08
    values[:, 0, 1][190:] -= 0.05  # lost for good
    dates = np.datetime64("2019-02-03") + 2 * np.arange(200)
    assert (fit(stack(values), dates, method="ols", max_order=1)["status"] == 252).all()
    model = fit(stack(values), dates, max_order=1)
    assert model["status"].values[0].tolist() == [Status.NONE, Status.UNSTABLE_HISTORY]
    kept = fit(stack(values[:, :, :1]), dates, trim=None, max_order=1)
    xr.testing.assert_equal(model.isel(x=slice(1)), kept)


def test_a_constant_series_has_the_floor_for_noise():
    model = fit(stack(np.full((130, 2, 2), 0.5)), DATES)
    np.testing.assert_allclose(model["sigma"], 0.012, rtol=1e-6)
    np.testing.assert_allclose(model["coefficients"][0], 0.5, atol=1e-7)
    np.testing.assert_allclose(model["coefficients"][1:], 0, atol=1e-7)


def test_a_trend_is_found_per_year():
    values = (0.3 + 0.04 * DAYS / 365.25)[:, None, None]
    model = fit(stack(values), DATES, trend=True, trim=None)
    assert model["coefficients"].attrs["names"].split()[1] == "trend_per_year"
    assert model["coefficients"][1].item() == pytest.approx(0.04, abs=1e-4)


def test_harmonics_that_swing_in_a_gap_are_given_up():
    # Observations within 60 days of each year cannot hold three harmonics.
    dates = np.concatenate(
        [np.datetime64(f"{year}-06-01") + 4 * np.arange(15) for year in (2018, 2019, 2020)]
    )
    rng = np.random.default_rng(1)
    values = 0.7 + rng.normal(0, 0.03, (45, 3, 3))
    model = fit(stack(values), dates, trim=None)
    assert (model["order"] < 3).all()
    assert np.nanmax(np.abs(model["coefficients"])) <= 3.2


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_pixels_do_not_depend_on_their_neighbours_or_on_missing_dates(seed):
    index = noisy(3, 67, seed=seed % 1000, missing=0.5)
    model = fit(index, DATES)
    order = np.random.default_rng(seed).permutation(67)
    xr.testing.assert_identical(fit(index[:, :, order], DATES), model.isel(x=order))
    part = fit(index[:, 1:2, 30:32], DATES)
    xr.testing.assert_identical(part, model.isel(y=slice(1, 2), x=slice(30, 32)))
    more = np.sort(np.concatenate([DATES, DATES[:60] + 3]))
    padded = np.full((190, 3, 67), NODATA_INT16, dtype=np.int16)
    padded[np.isin(more, DATES)] = index.values
    again = fit(xr.DataArray(padded, dims=index.dims), more)
    xr.testing.assert_identical(again, model)


def test_a_shift_by_four_years_changes_only_the_dates():
    index = noisy()
    model = fit(index, DATES)
    later = fit(index, DATES + 1461)
    for name in ("coefficients", "sigma", "order", "status"):
        xr.testing.assert_identical(model[name], later[name])
    np.testing.assert_array_equal(later["history_start"], model["history_start"] + 1461)


def test_turning_the_index_over_turns_the_coefficients_over():
    index = noisy()
    turned = index.copy(data=np.where(index == NODATA_INT16, NODATA_INT16, -index))
    model, other = fit(index, DATES), fit(turned, DATES)
    np.testing.assert_array_equal(model["coefficients"], -other["coefficients"])
    np.testing.assert_array_equal(model["sigma"], other["sigma"])
    np.testing.assert_array_equal(model["last_normal"], other["last_normal"])


@given(values=st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0, 8.25]), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_median_is_that_of_numpy(values):
    array = np.array(values)
    assert median(array.copy(), array.size) == np.median(array)


def test_the_design_is_of_julian_years():
    X = design([0, 1461], 1, trend=True)
    np.testing.assert_allclose(X, [[1, 0, 1, 0], [1, 4, 1, 0]], atol=1e-12)
    quarter = design([1461 // 4], 1)[0]
    np.testing.assert_allclose(quarter[1:], [1, 0], atol=0.01)


@pytest.mark.parametrize("trend", [False, True])
@pytest.mark.parametrize("order", [1, 3, 5])
def test_products_of_regressors_are_made_of_fewer_columns(order, trend):
    X = design(DAYS, order, trend=trend)
    columns, place, share = moments(DAYS, order, trend=trend)
    row, column = np.tril_indices(X.shape[1])
    wanted = X[:, row] * X[:, column]
    np.testing.assert_allclose((columns[:, place] * share).sum(axis=-1), wanted, atol=1e-13)
    assert order == 1 or columns.shape[1] < wanted.shape[1]


def test_moments_of_any_choice_of_dates_are_sums_of_listed_subsets():
    year = from_day_number(DAYS).astype("datetime64[Y]").astype(np.int64)
    first = grouped(year)
    columns, _, _ = moments(DAYS, 2, trend=True)
    table = subset_sums(columns, first)
    assert (len(first) - 1) % 4 == 0
    assert first[-1] == DAYS.size
    assert np.diff(first).max() <= GROUP
    seen = np.random.default_rng(3).random(DAYS.size) < 0.5
    total = np.zeros(table.shape[2], dtype=np.int64)
    for group, (begin, end) in enumerate(pairwise(first)):
        assert np.unique(year[begin:end]).size <= 1
        total += table[group, (seen[begin:end] << np.arange(end - begin)).sum()]
    wanted = columns[seen].sum(axis=0)
    np.testing.assert_allclose(total[: wanted.size] / MOMENT_STEPS, wanted, atol=1e-8)
    assert (total[wanted.size :] == 0).all()


@pytest.mark.parametrize(
    ("index", "dates", "message"),
    [
        (noisy().astype(np.float32), DATES, "int16 with dims"),
        (noisy().transpose("y", "x", "time"), DATES, r"dims \('y', 'x', 'time'\)"),
        (noisy(), DATES[:-1], "130 slices and there are 129 dates"),
        (noisy(), np.repeat(DATES[:65], 2), "dates must rise.*2018-02-03 then 2018-02-03"),
        (noisy(), DATES[::-1], "dates must rise"),
        (noisy(), DATES - 3000, "the first date is 2009"),
    ],
)
def test_stacks_that_are_not_as_agreed_are_refused(index, dates, message):
    with pytest.raises(InputError, match=message):
        fit(index, dates)


def test_unknown_methods_are_refused():
    with pytest.raises(InputError, match="method='huber'"):
        fit(noisy(), DATES, method="huber")
    with pytest.raises(InputError, match="max_order is 9"):
        fit(noisy(), DATES, max_order=9)


@pytest.mark.parametrize("trend", [False, True])
def test_a_model_expects_the_season_it_was_fitted_to(trend):
    order = 2 if trend else 3
    beta = np.array([0.55, *([0.01] if trend else []), 0.1, -0.05, 0.02, 0.01, 0.0, 0.01])
    truth = design(DAYS, order, trend=trend) @ beta[: 1 + trend + 2 * order]
    index = stack(np.repeat(truth, 2).reshape(-1, 1, 2))
    index[:, 0, 1] = NODATA_INT16
    said = expected(fit(index, DATES, trend=trend, trim=None), DATES)
    assert said.dims == ("time", "y", "x")
    np.testing.assert_allclose(said[:, 0, 0], truth, atol=2e-4)
    assert np.isnan(said[:, 0, 1]).all()
