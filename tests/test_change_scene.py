"""Scene correction by stratum and the gate for spoilt scenes."""

import numpy as np
import pytest
import xarray as xr

from lesniva.change import (
    amplitude_counts,
    amplitude_quantiles,
    amplitude_strata,
    corrected,
    correction,
    events,
    fit,
    merge_statistics,
    scene_residuals,
    seasonal_amplitude,
    start,
    update,
    usual_spread,
)
from lesniva.change.regression import day_numbers, design
from lesniva.conventions import NODATA_INT16, Status
from lesniva.errors import InputError

HISTORY = np.datetime64("2020-01-05") + 12 * np.arange(110)
SCENES = np.datetime64("2024-05-02") + 6 * np.arange(8)
NOISE = 0.02


def stack(values):
    array = np.asarray(values, dtype=np.float64)
    scaled = np.where(np.isnan(array), NODATA_INT16, np.rint(np.nan_to_num(array) * 10_000))
    return xr.DataArray(scaled.astype(np.int16), dims=("time", "y", "x"))


@pytest.fixture(scope="module")
def forest():
    """Two forests: evergreen in the upper half, deciduous below; model and strata."""
    rng = np.random.default_rng(0)
    amplitude = np.repeat([0.02, 0.15], 20)[:, None] * np.ones((40, 30))
    season = design(day_numbers(HISTORY), 1)[:, 1][:, None, None]
    values = 0.7 - amplitude * season + rng.normal(0, NOISE, (len(HISTORY), 40, 30))
    model = fit(stack(values), HISTORY)
    strata = amplitude_strata(seasonal_amplitude(model), edges=(0.1,))
    return model, strata


def scenes_of(model, offsets, seed=1, noise=NOISE):
    """Scenes that follow the model but for an offset (time, y, x) and noise."""
    rng = np.random.default_rng(seed)
    X = design(day_numbers(SCENES), 3)
    fitted = np.einsum("tk,kij->tij", X, model["coefficients"].values.astype(np.float64))
    return stack(fitted + offsets + rng.normal(0, noise, fitted.shape))


def of_halves(upper, lower):
    """Offsets of the two forests in each scene."""
    offsets = np.zeros((len(SCENES), 40, 30))
    offsets[:, :20] = np.asarray(upper, dtype=np.float64)[:, None, None]
    offsets[:, 20:] = np.asarray(lower, dtype=np.float64)[:, None, None]
    return offsets


def counts_of(model, index, strata, **keywords):
    return scene_residuals(model, index, SCENES, strata, n_strata=2, **keywords)


def test_strata_part_the_forests_by_their_season(forest):
    model, strata = forest
    assert (strata.values[:20] == 0).all()
    assert (strata.values[20:] == 1).all()
    amplitude = seasonal_amplitude(model, season=(1, 365)).values
    assert np.median(amplitude[:20]) == pytest.approx(0.04, abs=0.02)
    assert np.median(amplitude[20:]) == pytest.approx(0.3, abs=0.02)


def test_quantile_edges_part_the_pixels_evenly_and_add_up_over_blocks(forest):
    amplitude = seasonal_amplitude(forest[0])
    counts = amplitude_counts(amplitude)
    parts = amplitude_counts(amplitude[:7]) + amplitude_counts(amplitude[7:])
    np.testing.assert_array_equal(parts, counts)
    edges = amplitude_quantiles(counts, n=4)
    shares = np.bincount(amplitude_strata(amplitude, edges=edges).values.ravel()) / 1200
    assert len(shares) == 4
    assert (abs(shares - 0.25) < 0.1).all()


def test_the_departure_of_each_stratum_is_found(forest):
    model, strata = forest
    upper, lower = np.linspace(-0.03, 0.02, 8), np.linspace(0.04, -0.04, 8)
    index = scenes_of(model, of_halves(upper, lower))
    found = correction(counts_of(model, index, strata))
    np.testing.assert_allclose(found["departure"][:, 0], upper, atol=0.004)
    np.testing.assert_allclose(found["departure"][:, 1], lower, atol=0.004)
    np.testing.assert_allclose(found["offset"], found["departure"] * 600 / 800, atol=1e-12)
    assert not found["rejected"].any()
    np.testing.assert_allclose(found["valid_share"], 1)


def test_statistics_of_a_model_and_of_its_state_agree(forest):
    model, strata = forest
    index = scenes_of(model, of_halves(np.full(8, -0.02), np.zeros(8)))
    one = correction(counts_of(model, index, strata))
    other = correction(counts_of(start(model), index, strata))
    np.testing.assert_allclose(one["departure"], other["departure"], atol=2e-4)


def test_merging_is_exact_in_any_order_and_partition(forest):
    model, strata = forest
    index = scenes_of(model, np.zeros((8, 40, 30)))
    index.values[3, 5:9] = NODATA_INT16
    whole = counts_of(model, index, strata)
    for cut in (1, 13, 20):
        parts = [
            counts_of(model.isel(y=part), index.isel(y=part), strata.isel(y=part))
            for part in (slice(cut), slice(cut, None))
        ]
        xr.testing.assert_identical(merge_statistics(parts), whole)
        xr.testing.assert_identical(merge_statistics(parts[::-1]), whole)
    assert whole["residuals"].sum() == (index.values != NODATA_INT16).sum()


def test_late_spring_alarms_without_the_correction_and_not_with_it(forest):
    model, strata = forest
    late = np.linspace(-0.055, -0.035, 8)
    index = scenes_of(model, of_halves(np.zeros(8), late))
    found = correction(counts_of(model, index, strata))
    assert not found["rejected"].any()
    plain = events(update(start(model), index, SCENES))
    mended = update(start(model), index, SCENES, corrections=found, strata=strata)
    assert (plain["status"].values[20:] == Status.CONFIRMED).mean() > 0.5
    assert (events(mended)["status"].values == Status.CONFIRMED).mean() < 0.01


def test_a_felled_corner_is_found_under_the_correction(forest):
    model, strata = forest
    offsets = of_halves(np.full(8, -0.03), np.full(8, -0.03))
    offsets[:, :6, :6] -= 0.25
    index = scenes_of(model, offsets)
    found = correction(counts_of(model, index, strata))
    state = update(start(model), index, SCENES, corrections=found, strata=strata)
    status = events(state)["status"].values
    assert (status[:6, :6] == Status.CONFIRMED).all()
    assert (status[8:, 8:] == Status.CONFIRMED).mean() < 0.01


def test_a_scene_of_patchy_haze_counts_for_less(forest):
    model, strata = forest
    offsets = np.zeros((8, 40, 30))
    offsets[2] = np.random.default_rng(3).normal(0, 0.06, (40, 30))
    found = correction(counts_of(model, scenes_of(model, offsets), strata))
    assert (found["noise"][2] > 2).all()
    assert (found["noise"].drop_isel(time=2) < 1.3).all()
    assert (found["noise"] >= 1).all()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda values: values[:, :, 1:].fill(NODATA_INT16), "3.3% of the forest observed"),
        (lambda values: np.subtract(values, 3_000, out=values), "median departure of -"),
        (
            lambda values: np.subtract(values[:, 14:30], 2_000, out=values[:, 14:30]),
            "40% of the forest anomalous",
        ),
    ],
)
def test_spoilt_scenes_are_rejected_with_their_reason(forest, spoil, reason):
    model, strata = forest
    index = scenes_of(model, np.zeros((8, 40, 30)))
    spoil(index.values[5:6])
    found = correction(counts_of(model, index, strata))
    assert found["rejected"].values.tolist() == [k == 5 for k in range(8)]
    assert found["reason"].values[5].startswith(reason)
    assert found["reason"].values[4] == ""
    state = update(start(model), index, SCENES, corrections=found, strata=strata)
    skipped = np.delete(np.arange(8), 5)
    without = update(
        start(model),
        index[skipped],
        SCENES[skipped],
        corrections=found.isel(time=skipped),
        strata=strata,
    )
    xr.testing.assert_identical(state, without)


def test_the_gate_may_be_left_open(forest):
    model, strata = forest
    index = scenes_of(model, of_halves(np.full(8, -0.3), np.full(8, -0.3)))
    counts = counts_of(model, index, strata)
    assert correction(counts)["rejected"].all()
    assert not correction(counts, gate=False)["rejected"].any()


def test_the_offset_is_capped_at_three_noises(forest):
    model, strata = forest
    index = scenes_of(model, of_halves(np.full(8, 0.3), np.zeros(8)))
    found = correction(counts_of(model, index, strata), gate=False)
    noise = np.median(model["sigma"].values[:20])
    np.testing.assert_allclose(found["offset"][:, 0], 3 * noise, rtol=0.03)
    np.testing.assert_allclose(found["departure"][:, 0], 0.3, atol=0.01)


def test_a_stratum_with_few_pixels_is_left_alone(forest):
    model, strata = forest
    index = scenes_of(model, of_halves(np.full(8, -0.03), np.full(8, -0.03)))
    index.values[:, :20] = NODATA_INT16
    index.values[:, 0, :29] = 5_000
    found = correction(counts_of(model, index, strata))
    assert np.isnan(found["departure"][:, 0]).all()
    assert (found["offset"][:, 0] == 0).all()
    assert (found["noise"][:, 0] == 1).all()


def test_a_regional_drought_is_reported(forest):
    model, strata = forest
    lower = np.array([0.01, -0.01, 0.005, 0.0, -0.005, 0.01, -0.01, -0.06])
    index = scenes_of(model, of_halves(np.zeros(8), lower))
    counts = counts_of(model, index, strata)
    spread = usual_spread(correction(counts, gate=False))
    found = correction(counts, usual_spread=spread)
    assert found["regional_anomaly"][7, 1]
    assert not found["regional_anomaly"][:7, 1].any()
    assert not correction(counts)["regional_anomaly"].any()


def test_flagged_pixels_can_be_left_out(forest):
    model, strata = forest
    offsets = np.zeros((8, 40, 30))
    offsets[:, :14] = -0.1
    index = scenes_of(model, offsets)
    felled = xr.DataArray(offsets[0] < 0, dims=("y", "x"))
    alone = correction(counts_of(model, index, strata, exclude=felled), gate=False)
    np.testing.assert_allclose(alone["departure"][:, 0], 0, atol=0.006)
    everything = correction(counts_of(model, index, strata), gate=False)
    assert (everything["departure"][:, 0] < -0.05).all()


def test_an_index_that_rises_with_disturbance_is_gated_by_its_rise(forest):
    model, strata = forest
    offsets = np.zeros((8, 40, 30))
    offsets[5, 12:32] = 0.2
    index = scenes_of(model, offsets)
    rising = correction(counts_of(model, index, strata, decrease=False))
    assert rising["rejected"].values.tolist() == [k == 5 for k in range(8)]
    assert not correction(counts_of(model, index, strata))["rejected"][5]


def test_a_corrected_history_has_less_noise(forest):
    strata = forest[1]
    rng = np.random.default_rng(9)
    shifts = rng.normal(0, 0.04, len(HISTORY))[:, None, None]
    season = design(day_numbers(HISTORY), 1)[:, 1][:, None, None]
    amplitude = np.repeat([0.02, 0.15], 20)[:, None] * np.ones((40, 30))
    values = 0.7 - amplitude * season + shifts
    index = stack(values + rng.normal(0, 0.01, (len(HISTORY), 40, 30)))
    first = fit(index, HISTORY, trim=None)
    counts = scene_residuals(first, index, HISTORY, strata, n_strata=2)
    mended = corrected(index, strata, correction(counts, gate=False))
    second = fit(mended, HISTORY, trim=None)
    assert second["sigma"].median() < 0.6 * first["sigma"].median()


def test_corrected_keeps_what_is_missing_and_blanks_rejected_scenes(forest):
    model, strata = forest
    index = scenes_of(model, of_halves(np.full(8, 0.02), np.zeros(8)))
    index.values[:, 3, 3] = NODATA_INT16
    index.values[6] -= 3_000
    found = correction(counts_of(model, index, strata))
    mended = corrected(index, strata, found)
    assert (mended.values[:, 3, 3] == NODATA_INT16).all()
    assert (mended.values[6] == NODATA_INT16).all()
    step = int(np.rint(found["offset"].values[0, 0] * 10_000))
    assert mended.values[0, 0, 0] == index.values[0, 0, 0] - step


def test_wrong_strata_and_counts_are_told(forest):
    model, strata = forest
    index = scenes_of(model, np.zeros((8, 40, 30)))
    counts = counts_of(model, index, strata)
    with pytest.raises(InputError, match="below n_strata=1"):
        scene_residuals(model, index, SCENES, strata, n_strata=1)
    with pytest.raises(InputError, match="differ in scenes"):
        merge_statistics([counts, counts.isel(time=slice(3))])
    with pytest.raises(InputError, match="no scene statistics"):
        merge_statistics([])
    with pytest.raises(InputError, match="do not rise"):
        amplitude_strata(seasonal_amplitude(model), edges=(0.2, 0.1))
    found = correction(counts)
    with pytest.raises(InputError, match="need uint8 strata"):
        update(start(model), index, SCENES, corrections=found)
    with pytest.raises(InputError, match="8 scene corrections for 3 slices"):
        update(start(model), index[:3], SCENES[:3], corrections=found, strata=strata)
    with pytest.raises(InputError, match="8 scene corrections for 3 slices"):
        corrected(index[:3], strata, found)
