"""The classical detectors behind the interface of the monitor."""

import numpy as np
import pytest
import xarray as xr

from lesniva.change import DETECTORS, ClassicalOptions, Options, events, fit, monitor, start, update
from lesniva.change.regression import day_numbers, design
from lesniva.conventions import NODATA_INT16, Status, from_day_number
from lesniva.errors import InputError

HISTORY = np.datetime64("2019-01-04") + 13 * np.arange(100)
SCENES = np.datetime64("2023-01-03") + 11 * np.arange(60)
TIME = np.concatenate([HISTORY, SCENES])


@pytest.fixture(scope="module")
def archive():
    """Index (time, y, x) of 12 × 10 pixels, half of which fall at a date of their own."""
    rng = np.random.default_rng(2)
    values = 0.7 + rng.normal(0, 0.03, (160, 12, 10))
    values += 0.1 * np.cos(2 * np.pi * day_numbers(TIME) / 365.25)[:, None, None]
    for i, j in np.ndindex(6, 10):
        values[105 + 4 * j + i :, i, j] -= 0.05 + 0.03 * i
    scaled = np.rint(values * 10_000).astype(np.int16)
    scaled[rng.random(scaled.shape) < 0.4] = NODATA_INT16
    return xr.DataArray(scaled, dims=("time", "y", "x"))


@pytest.fixture(scope="module")
def model(archive):
    return fit(archive[:100], HISTORY, method="ols", sigma="ols", trim=None, max_order=2)


def run(model, archive, detector, cuts=(), **options):
    chosen = ClassicalOptions(**options)
    history = (archive[:100], HISTORY)
    state = start(model, detector=detector, options=chosen, history=history)
    for part in np.split(np.arange(60), cuts):
        state = update(state, archive[100:][part], SCENES[part], options=chosen)
    return state


@pytest.mark.parametrize("detector", ["ols_cusum", "ols_mosum"])
def test_breaks_are_those_of_the_exact_monitoring(archive, model, detector):
    y = np.where(archive.values == NODATA_INT16, np.nan, archive.values / 10_000).reshape(160, -1)
    X = design(day_numbers(TIME), 2)
    exact = monitor(y, X, 100, process=detector[4:])
    state = run(model, archive, detector, two_sided=True)
    broken = state["status"].values.ravel() == Status.CONFIRMED
    np.testing.assert_array_equal(broken, exact.break_row >= 0)
    dates = from_day_number(state["confirmed"].values.ravel()[broken])
    np.testing.assert_array_equal(dates, TIME[exact.break_row[broken]])
    assert 40 < broken.sum() < 110


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_update_leaves_the_state_before_it_as_it_was(archive, model, detector):
    chosen = ClassicalOptions()
    state = start(model, detector=detector, options=chosen, history=(archive[:100], HISTORY))
    kept = state.copy(deep=True)
    update(state, archive[100:], SCENES, options=chosen)
    xr.testing.assert_identical(state, kept)


@pytest.mark.parametrize("detector", DETECTORS)
def test_one_batch_is_many_batches(archive, model, detector):
    together = run(model, archive, detector)
    apart = run(model, archive, detector, cuts=(1, 2, 30, 31))
    xr.testing.assert_identical(together, apart)


@pytest.mark.parametrize("detector", DETECTORS)
def test_falling_pixels_break_after_their_change_and_few_others(archive, model, detector):
    found = events(run(model, archive, detector))
    broken = found["status"].values == Status.CONFIRMED
    assert broken[3:6].mean() > (0.5 if detector == "three_in_a_row" else 0.9)
    assert broken[6:].mean() < 0.2
    days = from_day_number(found["first_anomaly"].values)
    change = np.array([[TIME[105 + 4 * j + i] for j in range(10)] for i in range(6)])
    assert (days[:6] >= change)[broken[:6]].mean() > 0.85
    assert (found["magnitude"].values[broken] < 0).all()
    assert np.isnan(found["magnitude"].values[~broken]).all()


@pytest.mark.parametrize("detector", DETECTORS)
def test_only_two_sided_detectors_break_on_a_rise(archive, model, detector):
    risen = archive.copy(deep=True)
    later = np.arange(160)[:, None, None] >= 110
    risen.values[(risen.values != NODATA_INT16) & later] += 4_000
    one_sided = run(model, risen, detector)["status"].values[6:]
    two_sided = run(model, risen, detector, two_sided=True)["status"].values[6:]
    assert (one_sided == Status.CONFIRMED).mean() < 0.2
    assert (two_sided == Status.CONFIRMED).mean() > 0.9


def test_ewma_is_the_recursion_of_its_formula(archive, model):
    state = run(model, archive, "ewma", ewma_limit=100.0)
    X = design(day_numbers(SCENES), 2)
    beta = model["coefficients"].values.astype(np.float64)
    process = np.zeros((12, 10))
    for t in range(60):
        values = archive.values[100 + t]
        residual = values / 10_000 - np.tensordot(X[t], beta, axes=1)
        step = 0.7 * process + 0.3 * residual / model["sigma"].values
        process = np.where(values == NODATA_INT16, process, step)
    np.testing.assert_allclose(state["process"], process, atol=0.01)
    assert (state["status"] == Status.NONE).all()


def test_three_in_a_row_dates_the_event_by_its_first_date(model):
    values = np.full((6, 12, 10), 0.0)
    X = design(day_numbers(SCENES[:6]), 2)
    fitted = np.tensordot(X, model["coefficients"].values.astype(np.float64), axes=1)
    values[[1, 3, 4, 5]] = -0.3
    index = xr.DataArray(
        np.rint((fitted + values) * 10_000).astype(np.int16), dims=("time", "y", "x")
    )
    state = update(start(model, detector="three_in_a_row"), index, SCENES[:6])
    assert (state["status"] == Status.CONFIRMED).all()
    assert (from_day_number(state["first_anomaly"].values) == SCENES[3]).all()
    assert (from_day_number(state["last_normal"].values) == SCENES[2]).all()
    assert (from_day_number(state["confirmed"].values) == SCENES[5]).all()
    np.testing.assert_allclose(events(state)["magnitude"], -0.3, atol=2e-4)


def test_quartile_limits_are_those_of_numpy(archive, model):
    state = run(model, archive, "iqr")
    X = design(day_numbers(HISTORY), 2)
    fitted = np.tensordot(X, model["coefficients"].values.astype(np.float64), axes=1)
    seen = archive.values[:100] != NODATA_INT16
    residual = np.where(seen, archive.values[:100] / 10_000 - fitted, np.nan)
    low, high = np.nanquantile(residual, [0.25, 0.75], axis=0)
    np.testing.assert_allclose(state["lower"], low - 1.5 * (high - low), atol=4e-4)
    np.testing.assert_allclose(state["upper"], high + 1.5 * (high - low), atol=4e-4)


def test_what_cannot_begin_is_told(model):
    with pytest.raises(InputError, match=r"ols_mosum begins with the residuals.*give history="):
        start(model, detector="ols_mosum")
    with pytest.raises(InputError, match="no detector 'ccdc'; use one of cusum_ll, ols_cusum"):
        start(model, detector="ccdc")
    with pytest.raises(InputError, match="detector ewma takes ClassicalOptions"):
        start(model, detector="ewma", options=Options())
    with pytest.raises(InputError, match=r"0 < h ≤ 1; ewma_limit > 0"):
        ClassicalOptions(h=2.0, ewma_limit=0.0)
    with pytest.raises(InputError, match=r"use h 0\.25, 0\.5 or 1"):
        start(model, detector="ols_mosum", options=ClassicalOptions(h=0.4))


def test_a_state_of_one_detector_is_not_continued_by_another(archive, model):
    state = start(model, detector="ewma")
    with pytest.raises(InputError, match="begun with other detector options"):
        update(state, archive[100:101], SCENES[:1], options=ClassicalOptions(ewma_limit=2.0))
