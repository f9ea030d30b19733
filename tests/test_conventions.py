"""What all stages agree on."""

from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesniva import conventions
from lesniva.conventions import (
    ASSET_KEYS,
    BANDS,
    EPOCH,
    cutoff_date,
    flags,
    from_day_number,
    to_day_number,
)

STATES = [
    value
    for value in vars(conventions).values()
    if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
]


@given(st.lists(st.integers(1, 65_535)))
def test_day_numbers_are_days_and_back(numbers):
    dates = from_day_number(numbers)
    assert dates.dtype == np.dtype("datetime64[D]")
    found = to_day_number(dates)
    assert found.dtype == np.uint16
    assert found.tolist() == numbers


def test_day_one_is_the_day_after_the_epoch():
    assert from_day_number(1) == np.datetime64("2015-01-02")
    assert to_day_number(EPOCH + 1) == 1


def test_no_date_is_zero_and_zero_is_no_date():
    assert to_day_number(np.datetime64("NaT")) == 0
    assert np.isnat(from_day_number(0))


def test_moments_belong_to_their_day():
    assert to_day_number(np.datetime64("2023-06-01T23:59:59.999999999")) == to_day_number(
        np.datetime64("2023-06-01")
    )


def test_shape_is_kept():
    dates = np.array([["2023-01-01", "NaT"]], dtype="datetime64[D]")
    assert to_day_number(dates).shape == from_day_number(to_day_number(dates)).shape == (1, 2)


@pytest.mark.parametrize(
    ("cutoff", "expected"),
    [
        ("06-30", "2023-06-30"),
        ("09-30", "2023-09-30"),
        ("10-01", "2022-10-01"),
        ("12-31", "2022-12-31"),
        ("01-01", "2023-01-01"),
    ],
)
def test_autumn_cutoffs_lie_in_the_year_before_the_harvest(cutoff, expected):
    assert cutoff_date(2023, cutoff) == np.datetime64(expected)


@pytest.mark.parametrize("states", STATES, ids=lambda states: states.__name__)
def test_states_fit_a_byte_and_explain_themselves(states):
    attributes = flags(states)
    assert attributes["flag_values"].dtype == np.uint8
    assert attributes["flag_values"].tolist() == [int(state) for state in states]
    meanings = attributes["flag_meanings"].split(" ")
    assert len(meanings) == len(set(meanings)) == len(states)
    assert states(attributes["flag_values"][0]).name.lower() == meanings[0]


def test_every_band_has_an_asset_key_and_no_key_means_two_bands():
    assert tuple(ASSET_KEYS) == BANDS
    keys = [key for keys in ASSET_KEYS.values() for key in keys]
    assert len(keys) == len(set(keys))
    assert all(band in ASSET_KEYS[band] for band in BANDS)
