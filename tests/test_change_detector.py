"""The evidence CUSUM, its status machine and the monitor's state."""

import datetime as dt
from math import exp, log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva.change import (
    PROFILES,
    ClassicalOptions,
    Options,
    check_state,
    events,
    evidence,
    fit,
    start,
    update,
)
from lesniva.change.cusum import EVIDENCE_STEPS
from lesniva.conventions import NODATA_INT16, Status, from_day_number, to_day_number
from lesniva.errors import InputError

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
HISTORY = np.arange("2021-01-01", "2024-01-01", 15, dtype="datetime64[D]")
LEVEL, NOISE = 0.8, 0.02


def stack(values):
    """Index values (time, y, x), NaN = missing, as the room takes them."""
    array = np.asarray(values, dtype=np.float64)
    scaled = np.where(np.isnan(array), NODATA_INT16, np.rint(np.nan_to_num(array) * 10_000))
    return xr.DataArray(scaled.astype(np.int16), dims=("time", "y", "x"))


def flat_model(rows=1, columns=1):
    """Model of a constant series: level 0.8, noise 0.02 (the floor)."""
    return fit(stack(np.full((len(HISTORY), rows, columns), LEVEL)), HISTORY, sigma_floor=NOISE)


def of_z(z):
    """Index values of standardised residuals (time,) or (time, y, x) over the flat model."""
    array = np.asarray(z, dtype=np.float64)
    return stack(LEVEL + NOISE * (array[:, None, None] if array.ndim == 1 else array))


def days(n, first="2024-04-01", step=5):
    return np.datetime64(first, "D") + step * np.arange(n)


def run(z, time, options="standard"):
    plane = np.asarray(z).shape[1:] or (1, 1)
    state = start(flat_model(*plane), options=options)
    return update(state, of_z(z), time, options=options)


def at(state, name, row=0, column=0):
    value = state[name].values[row, column]
    if name in ("first_anomaly", "last_normal", "confirmed", "last_observed"):
        return from_day_number([value])[0]
    return value


# ---- evidence ----


@pytest.mark.parametrize(
    ("ndvi", "pnf"),
    [
        (0.5, 0.999957162904057),
        (0.7, 0.199275983428211),
        (0.85, 0.000919440259221523),
        (1.0, 0.0000440198607768583),
        (0.4, 0.999999974616701),
    ],
)
def test_evidence_is_the_log_odds_of_bayts(ndvi, pnf):
    # Forest N(.85, .075) and non-forest N(.4, .125) in units of the forest's deviation.
    options = Options(mean=(0.4 - 0.85) / 0.075, spread=0.125 / 0.075, clip=1e-12)
    found = evidence((ndvi - 0.85) / 0.075, options)[0]
    assert 1 / (1 + exp(-found)) == pytest.approx(pnf, rel=1e-9)


def test_the_state_follows_the_bayesian_updating_of_bayts():
    rng = np.random.default_rng(7)
    z = rng.normal(-1.6, 1.0, 40)
    z[::3] = -1.9  # no run of three normal dates, which would end an event at once
    seen = (of_z(z).values[:, 0, 0] / 10_000 - LEVEL) / NOISE  # the index has int16 steps
    time = days(40)
    state = start(flat_model())
    probability = 0.5
    for k in range(40):
        state = update(state, of_z(z[k : k + 1]), time[k : k + 1])
        pnf = 1 / (1 + exp(-evidence(seen[k])[0]))
        probability = probability * pnf / (probability * pnf + (1 - probability) * (1 - pnf))
        probability = max(probability, 0.5)
        odds = log(probability / (1 - probability))
        assert state["evidence"].item() / EVIDENCE_STEPS == pytest.approx(odds, abs=0.05)
    assert odds > 0


@given(
    z=st.floats(-30, 30),
    step=st.floats(0, 10),
    spread=st.floats(1.0, 4.0),
    mean=st.floats(-10, -1),
    clip=st.floats(0.001, 0.49),
)
def test_evidence_falls_with_z_and_keeps_its_bounds(z, step, spread, mean, clip):
    options = Options(mean=mean, spread=spread, clip=clip)
    here, above = evidence([z, z + step], options)
    limit = log((1 - clip) / clip)
    # Below μ a wide non-forest may drop to 0 but not under it.
    assert above <= here + 1e-12 or z < mean
    assert -limit <= above <= limit
    assert here >= 0 or z >= mean


@given(z=st.floats(0, 50), held=st.lists(st.floats(-6, -2), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_a_positive_anomaly_never_raises_the_evidence(z, held):
    time = days(len(held) + 1)
    before = run(held, time[:-1])
    after = update(before, of_z([min(z, 9.0)]), time[-1:])
    assert after["evidence"].item() <= before["evidence"].item()


# ---- status machine ----


def test_three_clear_anomalies_confirm_a_lone_pixel_and_date_it_by_the_first():
    time = days(5)
    state = run([0, -6, -6, -6, -6], time)
    assert at(state, "status") == Status.CONFIRMED
    assert at(state, "first_anomaly") == time[1]
    assert at(state, "last_normal") == time[0]
    assert at(state, "confirmed") == time[3]
    found = events(state)
    assert found["magnitude"].item() == pytest.approx(-6 * NOISE, abs=0.005)
    assert found["probability"].item() > 0.99


@pytest.mark.parametrize(("profile", "dates"), [("early", 2), ("standard", 3), ("strict", 4)])
def test_profiles_confirm_after_two_three_and_four_dates(profile, dates):
    time = days(6)
    state = run([-6] * 6, time, profile)
    assert at(state, "confirmed") == time[dates - 1]


def test_one_anomaly_has_low_confidence_and_is_dropped_by_a_normal_date():
    time = days(2)
    assert at(run([-6], time[:1]), "status") == Status.LOW
    dropped = run([-6, 0], time)
    assert at(dropped, "status") == Status.NONE
    assert np.isnat(at(dropped, "first_anomaly"))
    assert at(dropped, "last_normal") == time[1]
    assert np.isnan(events(dropped)["magnitude"].item())


def test_weak_evidence_is_flagged_only():
    assert at(run([-2.0], days(1)), "status") == Status.FLAGGED


def test_a_lone_anomaly_is_forgotten_after_sixty_days_without_observation():
    time = np.array(["2024-04-01", "2024-06-30"], dtype="datetime64[D]")
    state = run([-6, -2.0], time)
    assert at(state, "first_anomaly") == time[1]
    assert at(state, "n_anomalies") == 1
    close = run([-6, -2.0], np.array(["2024-04-01", "2024-05-31"], dtype="datetime64[D]"))
    assert at(close, "first_anomaly") == time[0]


def test_a_forgotten_anomaly_is_not_shown_though_nothing_was_observed_since():
    time = days(1)
    state = run([-6], time)
    assert events(state)["status"].item() == Status.LOW
    later = events(state, as_of=time[0] + 61)
    assert later["status"].item() == Status.NONE
    assert later["first_anomaly"].item() == 0
    assert from_day_number(later["faded"].values).item() == time[0]
    assert events(state)["faded"].item() == 0
    assert later["probability"].item() == 0.5
    assert np.isnan(later["magnitude"].item())
    assert events(state, as_of=time[0] + 60)["status"].item() == Status.LOW
    twice = run([-6, -6], days(2))
    assert events(twice, as_of=time[0] + 300)["status"].item() == Status.LOW


def test_an_event_that_recovers_soon_is_finished():
    time = days(12)
    state = run([-6] * 4 + [0] * 8, time)
    assert at(state, "status") == Status.FINISHED
    assert at(state, "first_anomaly") == time[0]
    assert at(state, "evidence") == 0


def test_three_normal_dates_in_too_few_days_do_not_finish_an_event():
    time = days(7, step=6)
    state = run([-6] * 4 + [0] * 3, time)
    assert at(state, "status") == Status.CONFIRMED


def test_a_lasting_event_that_greens_up_is_re_armed_and_keeps_its_dates():
    time = days(24)
    state = run([-6] * 16 + [0] * 8, time)
    assert at(state, "status") == Status.REARMED
    assert at(state, "first_anomaly") == time[0]
    assert at(state, "confirmed") == time[2]


def test_after_a_temporary_event_a_new_one_is_found_with_its_own_dates():
    z = [-6] * 4 + [0] * 8 + [-6] * 2
    time = days(len(z) + 1)
    state = run(z, time[:-1])
    assert at(state, "status") == Status.FINISHED
    assert at(state, "first_anomaly") == time[0]
    again = update(state, of_z([-6]), time[-1:])
    assert at(again, "status") == Status.CONFIRMED
    assert at(again, "first_anomaly") == time[12]
    assert at(again, "last_normal") == time[11]
    assert at(again, "confirmed") == time[14]


def test_after_a_lasting_event_a_new_one_needs_a_year():
    z = [-6] * 16 + [0] * 8 + [-6] * 5
    state = run(z, days(len(z)))
    assert at(state, "status") == Status.REARMED
    assert at(state, "first_anomaly") == days(1)[0]
    late = days(5, first="2025-06-01")
    again = update(run([-6] * 16 + [0] * 8, days(24)), of_z([-6] * 5), late)
    assert at(again, "status") == Status.CONFIRMED
    assert at(again, "first_anomaly") == late[0]


def test_neighbours_with_evidence_help_and_without_hinder():
    time = days(2)
    block = np.full((2, 5, 5), -6.0)
    assert (run(block, time)["status"].values == Status.CONFIRMED).all()
    lone = np.zeros((3, 5, 5))
    lone[:, 2, 2] = -6
    assert run(lone[:2], time)["status"].values[2, 2] == Status.LOW
    assert run(lone, days(3))["status"].values[2, 2] == Status.CONFIRMED


def test_a_pixel_without_observation_keeps_everything():
    time = days(3)
    before = run([-6, -6], time[:2])
    after = update(before, stack(np.full((1, 1, 1), np.nan)), time[2:])
    xr.testing.assert_equal(before, after)


@pytest.mark.parametrize(
    ("name", "history", "monitored", "first", "confirmed"),
    [
        ("7_logging_hls_w*", "2020-01-01", "2024-04-01", "2024-04-08", "2024-04-13"),
        ("1_hls_sc", "2018-01-01", "2024-01-01", "2024-03-23", None),
    ],
)
@pytest.mark.parametrize("trim", ["roc", None])
def test_known_events_of_real_pixels_are_dated(name, history, monitored, first, confirmed, trim):
    folder = DATA / "pixel_series"
    if not folder.is_dir():
        pytest.skip("the pixel series of ../shared/data are not here")
    batches = [_nbr_series(path) for path in sorted(folder.glob(f"{name}.csv"))]
    begin, end = np.datetime64(history), np.datetime64(monitored)
    time, nbr = batches[0]
    past = (time >= begin) & (time < end)
    model = fit(stack(nbr[past]), time[past], trim=trim, sigma_floor=0.02)
    state = start(model)
    for time, nbr in batches:
        new = time >= end
        if new.any():
            state = update(state, stack(nbr[new]), time[new])
    assert at(state, "first_anomaly") == np.datetime64(first)
    assert at(state, "last_normal") < np.datetime64(first)
    assert at(state, "status") in (Status.CONFIRMED, Status.REARMED)
    if confirmed:
        assert at(state, "confirmed") <= np.datetime64(confirmed)

    new = np.concatenate([nbr for _, nbr in batches])
    days_of = np.concatenate([time for time, _ in batches])
    at_once = update(start(model), stack(new[days_of >= end]), days_of[days_of >= end])
    xr.testing.assert_identical(at_once, state)


def _nbr_series(path):
    """Clear observations: dates, and NBR (time, 1, 1); the first of a day."""
    table = pd.read_csv(path).rename(columns=str.lower)
    table = table[table["qa"] <= 1].drop_duplicates("dates")
    time = [np.datetime64(dt.date.fromordinal(int(day))) for day in table["dates"]]
    nbr = (table["nir"] - table["swir2"]) / (table["nir"] + table["swir2"])
    return np.array(time, dtype="datetime64[D]"), nbr.to_numpy()[:, None, None]


# ---- the state as a whole ----


@pytest.fixture(scope="module")
def scenes():
    """A model of 9 × 8 noisy pixels and ten slices with gaps and changes."""
    rng = np.random.default_rng(3)
    history = 0.7 + 0.1 * np.sin(np.arange(len(HISTORY)) / 24.35 * 2 * np.pi)[:, None, None]
    history = history + rng.normal(0, 0.02, (len(HISTORY), 9, 8))
    history[rng.random(history.shape) < 0.3] = np.nan
    model = fit(stack(history), HISTORY)
    z = rng.normal(0, 1.3, (10, 9, 8))
    z[4:, 2:6, 3:7] -= 4
    z[7:, 2:4, 3:5] += 5
    z[rng.random(z.shape) < 0.4] = np.nan
    return model, stack(0.7 + 0.03 * z), days(10, first="2024-01-15", step=9)


def test_a_batch_of_ten_is_ten_batches_of_one(scenes):
    model, index, time = scenes
    together = update(start(model), index, time)
    single = start(model)
    for k in range(10):
        single = update(single, index[k : k + 1], time[k : k + 1])
    xr.testing.assert_identical(together, single)
    assert (together["status"] == Status.CONFIRMED).any()


def test_the_input_state_is_left_as_it_was(scenes):
    model, index, time = scenes
    state = start(model)
    kept = state.copy(deep=True)
    update(state, index, time)
    xr.testing.assert_identical(state, kept)


def test_saving_and_loading_a_state_between_dates_changes_nothing(scenes, tmp_path):
    model, index, time = scenes
    half = update(start(model), index[:5], time[:5])
    half.to_zarr(tmp_path / "state.zarr", zarr_format=3, consolidated=False)
    loaded = xr.open_zarr(tmp_path / "state.zarr", consolidated=False).load()
    for name, variable in half.data_vars.items():
        assert loaded[name].dtype == variable.dtype
    ahead = update(loaded, index[5:], time[5:])
    xr.testing.assert_equal(ahead, update(half, index[5:], time[5:]))


def test_the_inside_of_padded_blocks_does_not_depend_on_the_partition(scenes):
    model, index, time = scenes
    whole = events(update(start(model), index, time))
    for cut in (3, 4, 5):
        upper = {"y": slice(0, cut + 1)}
        lower = {"y": slice(cut - 1, None)}
        parts = [
            events(update(start(model.isel(part)), index.isel(part), time), halo={"y": inside})
            for part, inside in ((upper, slice(0, cut)), (lower, slice(1, None)))
        ]
        xr.testing.assert_identical(xr.concat(parts, "y"), whole)


def test_turning_the_index_over_changes_only_signs(scenes):
    model, index, time = scenes
    turned = index.copy(data=np.where(index == NODATA_INT16, NODATA_INT16, -index))
    flipped = model.assign(coefficients=-model["coefficients"])
    one = events(update(start(model), index, time))
    other = events(update(start(flipped, decrease=False), turned, time))
    xr.testing.assert_equal(one.drop_vars("magnitude"), other.drop_vars("magnitude"))
    np.testing.assert_allclose(one["magnitude"], -other["magnitude"], atol=1e-6)


def test_a_state_takes_at_most_forty_bytes_a_pixel(scenes):
    state = start(scenes[0])
    assert sum(variable.nbytes for variable in state.data_vars.values()) <= 40 * 9 * 8


def test_no_anomaly_is_dated_before_the_change():
    rng = np.random.default_rng(11)
    z = rng.normal(0, 0.7, (30, 6, 6))
    z[20:] = -7
    time = days(30)
    state = run(z, time)
    assert (state["status"] == Status.CONFIRMED).all()
    assert (from_day_number(state["first_anomaly"].values) >= time[20]).mean() > 0.9


def test_dates_already_seen_are_refused_by_name():
    time = days(3)
    state = run([0, 0, 0], time)
    with pytest.raises(InputError, match=r"already seen 2024-04-11.*cannot take 2024-04-06, 2024"):
        update(state, of_z([0, 0]), time[1:])
    with pytest.raises(InputError, match=r"cannot take 2023-06-01"):
        update(start(flat_model()), of_z([0]), np.array(["2023-06-01"], dtype="datetime64[D]"))


def test_a_state_of_another_method_version_or_grid_is_refused():
    state = start(flat_model(), channel="nbr")
    with pytest.raises(InputError, match="begun with other detector options"):
        update(state, of_z([0]), days(1), options="strict")
    with pytest.raises(InputError, match=r"\(1, 1\) pixels.*\(2, 3\)"):
        update(state, of_z(np.zeros((1, 2, 3))), days(1))
    old = state.assign_attrs(state_version=0)
    with pytest.raises(InputError, match=r"version 0.*begin anew"):
        update(old, of_z([0]), days(1))
    with pytest.raises(InputError, match="channel is nbr, asked is ndvi"):
        check_state(state, channel="ndvi")


def test_a_state_on_shifted_coordinates_is_refused():
    model = flat_model(2, 2).assign_coords(x=[5.0, 15.0], y=[25.0, 15.0])
    index = of_z(np.zeros((1, 2, 2))).assign_coords(x=[15.0, 25.0], y=[25.0, 15.0])
    with pytest.raises(InputError, match="x coordinates differ"):
        update(start(model), index, days(1))


def test_unknown_profiles_and_senseless_options_are_refused():
    with pytest.raises(InputError, match="no profile 'fast'; use one of early, standard, strict"):
        start(flat_model(), options="fast")
    with pytest.raises(InputError, match=r"0\.5 < low.*; 0 < clip < 0\.5"):
        Options(low=0.3, clip=0.7)


def test_profiles_differ_only_in_the_probability_of_confirmation():
    assert {name: o.confirmed for name, o in PROFILES.items()} == {
        "early": 0.975,
        "standard": 0.99,
        "strict": 0.999,
    }


def test_pixels_without_a_model_stay_as_they_are():
    values = np.full((len(HISTORY), 1, 3), LEVEL)
    values[:, 0, 1] = np.nan
    values[5:, 0, 2] = np.nan
    model = fit(stack(values), HISTORY, sigma_floor=NOISE)
    state = update(start(model), of_z(np.full((4, 1, 3), -6.0)), days(4))
    wanted = [Status.CONFIRMED, Status.NEVER_CLEAR, Status.TOO_FEW_OBSERVATIONS]
    assert state["status"].values[0].tolist() == wanted
    assert np.isnan(events(state)["probability"].values[0, 1:]).all()
    assert (state["first_anomaly"].values[0, 1:] == 0).all()
    assert to_day_number(days(1))[0] == state["first_anomaly"].values[0, 0]


# ---- what an event must be ----


def test_a_departure_too_small_for_a_thinning_is_never_confirmed():
    z = [-0.04 / NOISE] * 12
    assert at(run(z, days(12)), "status") == Status.LOW
    assert at(run([-0.07 / NOISE] * 12, days(12)), "status") == Status.CONFIRMED
    lenient = Options(min_drop=0.03)
    assert at(run(z, days(12), lenient), "status") == Status.CONFIRMED


def test_the_magnitude_is_that_of_the_anomalous_dates_whatever_followed():
    time = days(24)
    finished = run([-6] * 16 + [0] * 8, time)
    assert at(finished, "status") == Status.REARMED
    assert events(finished)["magnitude"].item() == pytest.approx(-6 * NOISE, abs=0.005)


STRATA = xr.DataArray(np.zeros((1, 1), dtype=np.uint8), dims=("y", "x"))


def scenes_of_noise(noise, n):
    """Corrections of n scenes that scatter so much."""
    return xr.Dataset(
        {
            "offset": (("time", "stratum"), np.zeros((n, 1))),
            "noise": (("time", "stratum"), np.full((n, 1), noise)),
            "rejected": ("time", np.zeros(n, dtype=bool)),
        }
    )


def test_a_scene_of_great_noise_makes_no_observation_normal():
    time = days(12)
    cut = run([-6] * 4, time[:4])
    for z, status in ((-5.0, Status.CONFIRMED), (0.0, Status.FINISHED)):
        wide = scenes_of_noise(4.0, 8)
        later = update(cut, of_z([z] * 8), time[4:], corrections=wide, strata=STRATA)
        assert at(later, "status") == status


def test_a_normal_view_in_a_scene_of_twice_the_noise_counts_a_quarter():
    time = days(3)
    cut = run([-6] * 2, time[:2])
    wide = scenes_of_noise(2.0, 1)
    later = update(cut, of_z([-2.0]), time[2:], corrections=wide, strata=STRATA)
    lost = at(cut, "evidence") - at(later, "evidence")
    assert lost == pytest.approx(-EVIDENCE_STEPS * evidence(-1.0)[0] / 4, abs=1)


def seasonal_model(amplitude):
    """Model of a wave that peaks on 1 January and is steepest in April."""
    tau = 2 * np.pi * (HISTORY - np.datetime64("2021-01-01")).astype(int) / 365.25
    wave = LEVEL + amplitude * np.cos(tau)
    return fit(stack(wave[:, None, None]), HISTORY, sigma_floor=NOISE)


def test_where_the_curve_is_steep_a_departure_tells_as_much_less_as_a_week_makes_of_it():
    amplitude, z = 0.3, -6.0
    for date, steepness in (("2024-01-01", 0.0), ("2024-04-01", 1.0)):
        time = np.array([date], dtype="datetime64[D]")
        turn = 2 * np.pi * (time[0] - np.datetime64("2021-01-01")).astype(int) / 365.25
        expected = LEVEL + amplitude * np.cos(turn)
        state = update(start(seasonal_model(amplitude)), stack([[[expected + NOISE * z]]]), time)
        week = 7 * amplitude * 2 * np.pi / 365.25 * abs(np.sin(turn)) / NOISE
        assert week == pytest.approx(1.8 * steepness, abs=0.03)
        told = EVIDENCE_STEPS * evidence(z / np.hypot(1.0, week))[0]
        assert at(state, "evidence") == pytest.approx(told, abs=25)


@pytest.mark.parametrize(
    ("index", "other", "status"),
    [
        (-6.0, -6.0, Status.CONFIRMED),
        (-6.0, 0.0, Status.NONE),
        (0.0, -6.0, Status.NONE),
        (-6.0, np.nan, Status.CONFIRMED),
    ],
)
def test_what_only_one_of_two_indices_sees_is_no_evidence(index, other, status):
    time = days(5)
    witness = stack(LEVEL + NOISE * np.full((5, 1, 1), other))
    state = start(flat_model(), witness=flat_model())
    state = update(state, of_z([index] * 5), time, witness=witness)
    assert at(state, "status") == status


def test_a_witness_is_asked_for_where_the_state_has_one_and_refused_elsewhere():
    state = start(flat_model(), witness=flat_model())
    with pytest.raises(InputError, match="has a witness; give its index stack too"):
        update(state, of_z([0]), days(1))
    with pytest.raises(InputError, match="hears no witness"):
        start(flat_model(), detector="ewma", options=ClassicalOptions(), witness=flat_model())
