"""Fellings seen on snow: found by two scenes of winter, settled by two of spring."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva.change import events, fit, snow_counts, snow_offset, start, update
from lesniva.change.winter import FIELDS
from lesniva.conventions import NODATA_INT16, Status, from_day_number

HISTORY = np.arange("2021-04-01", "2024-10-01", 15, dtype="datetime64[D]")
LEVEL, NOISE = 0.8, 0.02
WINTER = np.datetime64("2025-01-10") + 10 * np.arange(4)
SPRING = np.datetime64("2025-04-20") + 10 * np.arange(4)
DARK, WHITE = 0.10, 0.55


def layers(values, scale=10_000):
    array = np.asarray(values, dtype=np.float64)[:, None, None]
    scaled = np.where(np.isnan(array), NODATA_INT16, np.rint(np.nan_to_num(array) * scale))
    return xr.DataArray(scaled.astype(np.int16), dims=("time", "y", "x"))


def begun(canopy=DARK, n_snow=8):
    model = fit(layers(np.full(len(HISTORY), LEVEL)), HISTORY, sigma_floor=NOISE)
    return start(model, snow=layers(np.full(n_snow, canopy)).values)


def seen(state, brightness, greenness=(), dates=WINTER, offset=0.0):
    """Feed snow scenes of so much brightness, then green ones of so many noises."""
    snow, spring = dates[: len(brightness)], SPRING[: len(greenness)]
    green = layers([np.nan] * len(snow) + [LEVEL + NOISE * z for z in greenness])
    return update(
        state,
        green,
        np.concatenate([snow, spring]),
        snow=layers(brightness),
        snow_time=snow,
        snow_offset=np.full(len(snow), offset),
    )


def status(state):
    return Status(events(state)["status"].item())


def test_two_white_scenes_of_a_dark_canopy_are_winter_early_from_the_first():
    once, twice = seen(begun(), [DARK, WHITE]), seen(begun(), [DARK, WHITE, WHITE])
    assert status(once) == Status.NONE
    assert status(twice) == Status.WINTER_EARLY
    found = events(twice)
    assert from_day_number(found["first_anomaly"].values)[0, 0] == WINTER[1]
    assert from_day_number(found["last_normal"].values)[0, 0] == WINTER[0]
    assert found["probability"].item() > 0.95


def test_a_white_scene_followed_by_dark_ones_was_snow_on_the_branches():
    assert status(seen(begun(), [WHITE, DARK, DARK])) == Status.NONE


def test_what_all_canopies_do_in_a_scene_is_no_felling():
    assert status(seen(begun(), [WHITE, WHITE], offset=WHITE - DARK)) == Status.NONE


@pytest.mark.parametrize(("canopy", "n_snow"), [(0.4, 8), (DARK, 3)])
def test_a_bright_canopy_and_one_seldom_seen_have_no_winter_channel(canopy, n_snow):
    assert status(seen(begun(canopy, n_snow), [WHITE, WHITE, WHITE])) == Status.NONE


def test_two_green_scenes_confirm_what_the_snow_has_shown_and_keep_its_date():
    once = seen(begun(), [DARK, WHITE, WHITE], [-6])
    assert status(once) == Status.WINTER_EARLY
    twice = seen(begun(), [DARK, WHITE, WHITE], [-6, -6])
    assert status(twice) == Status.CONFIRMED
    found = events(twice)
    assert from_day_number(found["first_anomaly"].values)[0, 0] == WINTER[1]
    assert from_day_number(found["confirmed"].values)[0, 0] == SPRING[1]


def test_a_felling_among_closed_leafless_canopies_is_told_from_snow_on_their_branches():
    assert status(seen(begun(0.3), [0.3, 0.7, 0.7])) == Status.WINTER_EARLY
    assert status(seen(begun(0.3), [0.3, 0.48, 0.48])) == Status.NONE


def test_a_canopy_dark_over_snow_stood_that_day():
    felled = seen(begun(), [DARK, DARK], [-6, -6, -6])
    assert status(felled) == Status.CONFIRMED
    found = events(felled)
    assert from_day_number(found["first_anomaly"].values)[0, 0] == SPRING[0]
    assert from_day_number(found["last_normal"].values)[0, 0] == WINTER[1]


def test_two_normal_green_scenes_close_what_the_snow_has_shown():
    assert status(seen(begun(), [WHITE, WHITE], [0])) == Status.WINTER_EARLY
    closed = seen(begun(), [WHITE, WHITE], [0, 0])
    assert status(closed) == Status.NONE
    assert events(closed)["first_anomaly"].item() == 0


@given(
    brightness=st.lists(st.sampled_from([0.08, 0.2, 0.5, np.nan]), min_size=4, max_size=4),
    greenness=st.lists(st.sampled_from([-6.0, -2.0, 0.0, np.nan]), min_size=4, max_size=4),
)
@settings(max_examples=20, deadline=None)
def test_one_batch_of_a_winter_equals_its_scenes_one_by_one(brightness, greenness):
    whole = seen(begun(), brightness, greenness)
    state = begun()
    for at, value in enumerate(brightness):
        state = seen(state, [value], dates=WINTER[at : at + 1])
    for at, value in enumerate(greenness):
        time = SPRING[at : at + 1]
        state = update(state, layers([LEVEL + NOISE * value]), time)
    xr.testing.assert_identical(whole, state)


def test_the_winter_channel_takes_twelve_bytes_a_pixel():
    state = begun()
    assert sum(state[name].dtype.itemsize for name in FIELDS) == 12


def test_the_departure_of_a_scene_is_its_median_whatever_the_cut_into_blocks():
    state = begun()
    scene = layers([DARK + 0.1]).values
    counts = snow_counts(state, scene)
    assert snow_offset(counts * 10_000)[0] == pytest.approx(0.1, abs=0.005)
    assert snow_offset(counts * 100)[0] == pytest.approx(0.1 / 3, abs=0.005)
    assert snow_offset(np.zeros_like(counts))[0] == 0.0
